"""Mounts of bpffs, and mount namespaces.

An instance of bpffs (a superblock) is held by its mounts, a mount by being mounted and by the open
directories in it; the instance lives until the last of its mounts goes. Its names go with it.
A mount of the world's first instance is not in the model: nobody unmounts it.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import state as s
from ..state import View
from ..steps import Check, Effect, Env, Frame, Param, Step
from ..values import BOOL, LIFE, NONE, OBJ, PATH, And, Not, Or, Value, eq, ne
from .paths import mounted, namespace, top
from .registry import step

Mine = Callable[[View, Env, Value], Value]


def _new_mount(k: View, root: Value, ns: Value, below: Value) -> Value:
    """A mount of an instance in a namespace, over what was seen there. (attach_recursive_mnt)"""
    m = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), "mnt")
    k.set(s.LIFE_OF, (m,), LIFE.live)
    k.set(s.REFCNT, (m,), 1)
    k.set(s.MOUNTED, (m,), m)
    k.set(s.ROOT, (m,), root)
    k.set(s.NS_OF, (m,), ns)
    k.set(s.BELOW, (m,), below)
    k.set(s.COVER, (below,), m)
    return m


@step("mount {reg} at {point}")
def _mount(f: Frame, reg: str, point: str) -> Step:
    """The new instance is seen at a place from now on; what was seen there before is covered. The
    mount takes over the local's reference. (do_new_mount: fs/namespace.c)"""

    def effect(k: View, e: Env) -> None:
        fs = k.get(f.reg(reg), e["me"])
        k.need(ne(fs, NONE), "mount finds an instance")
        _new_mount(k, fs, namespace(k, e), top(k, e, e[point]))
        k.set(s.POINT, (fs,), e[point])
        k.set(f.reg(reg), (e["me"],), NONE)

    words = f"mounts {{{reg}}}: the mount holds it"
    params = (Param(point, PATH),)
    return Step(f"mount {reg} at {point}", words, effect, params, regs={reg: "empty"})


@step("get {reg} at {point}")
def _get(f: Frame, reg: str, point: str) -> Step:
    """A counted reference to the mount that is seen at a place. EINVAL: there is none.
    (user_path_at; path_mounted: fs/namespace.c)"""
    some = Check("EINVAL", lambda k, e: ne(top(k, e, e[point]), NONE))
    return _seen(f, reg, point, f"get {reg} at {point}", (some,))


@step("find {reg} at {point}")
def _find(f: Frame, reg: str, point: str) -> Step:
    """The same; it waits until there is one, since the directory below is not in the model."""
    return _seen(f, reg, point, f"find {reg} at {point}", ())


def _seen(f: Frame, reg: str, point: str, text: str, checks: tuple[Check, ...]) -> Step:
    def effect(k: View, e: Env) -> None:
        m = top(k, e, e[point])
        k.when(ne(k.get(s.MOUNTED, m), NONE))
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(m)
        k.set(f.reg(reg), (e["me"],), m)

    words = f"finds the mount {{{reg}}} and holds it for the length of the call"
    params = (Param(point, PATH),)
    return Step(text, words, effect, params, None, checks, {reg: "full"}, ("mnt",))


@step("detach {reg}")
def _detach(f: Frame, reg: str) -> Step:
    """The mount is seen at its place no more, what it covered is again. EINVAL: it was unmounted
    since; EBUSY: it is not `lazy`, and somebody uses the mount: an open directory, another call, a
    mount over it. (do_umount, propagate_mount_busy, umount_tree: fs/namespace.c)"""

    def found(k: View, e: Env) -> Value:
        return k.get(f.reg(reg), e["me"])

    def idle(k: View, e: Env) -> Value:
        m = found(k, e)
        return And(k.same(k.get(s.REFCNT, m), 2), eq(k.get(s.COVER, m), NONE))

    checks = (
        Check("EINVAL", lambda k, e: ne(k.get(s.MOUNTED, found(k, e)), NONE)),
        Check("EBUSY", lambda k, e: Or(e["lazy"], idle(k, e))),
    )

    def effect(k: View, e: Env) -> None:
        m = found(k, e)
        f.put(k, s.MOUNTED, (m,), "mnt")
        k.set(s.NS_OF, (m,), NONE)
        k.set(s.COVER, (k.get(s.BELOW, m),), k.get(s.COVER, m))
        k.set(s.BELOW, (k.get(s.COVER, m),), k.get(s.BELOW, m))
        k.set(s.BELOW, (m,), NONE)

    words = f"takes the mount {{{reg}}} away from its place"
    return Step(f"detach {reg}", words, effect, (Param("lazy", BOOL),), None, checks)


# ---------------------------------------------------------------------------------------------
# mount namespaces


@step("clone mounts to {reg}")
def _copy_mounts(f: Frame, reg: str) -> Step:
    """The new namespace gets a mount of its own of one instance that is mounted in the caller's;
    those below come first. (copy_tree: fs/namespace.c)"""

    def in_new(k: View, e: Env, m: Value) -> Value:
        return eq(k.get(s.NS_OF, k.get(s.COPY, m)), k.get(f.reg(reg), e["me"]))

    def left(k: View, e: Env, m: Value) -> Value:
        return And(mounted(k, m, namespace(k, e)), Not(in_new(k, e, m)))

    def effect(k: View, e: Env) -> None:
        m, root, below = e["m"], k.get(s.ROOT, e["m"]), k.get(s.BELOW, e["m"])
        k.when(left(k, e, m))
        k.when(Or(eq(below, NONE), in_new(k, e, below)))
        k.inc(root)
        twin = _new_mount(k, root, k.get(f.reg(reg), e["me"]), k.get(s.COPY, below))
        k.set(s.COPY, (m,), twin)

    def done(k: View, e: Env) -> Value:
        return k.all(OBJ, lambda m: Not(left(k, e, m)), "mnt")

    words = "the new namespace has a mount of its own of one more instance"
    params = (Param("m", OBJ, "mnt"),)
    return Step(f"clone mounts to {reg}", words, effect, params, loop=True, done=done)


@step("swap namespace <-> {reg}")
def _swap(f: Frame, reg: str) -> Step:
    """The process is in the new mount namespace; the local holds the one that it was in, unless
    that was the world's. (switch_task_namespaces: kernel/nsproxy.c)"""

    def effect(k: View, e: Env) -> None:
        p, new = k.get(s.PROC_OF, e["me"]), k.get(f.reg(reg), e["me"])
        k.set(f.reg(reg), (e["me"],), k.get(s.NS, p))
        k.set(s.NS, (p,), new)

    words = "is in the new mount namespace"
    text, regs = f"swap namespace <-> {reg}", {reg: "maybe"}
    return Step(text, words, effect, regs=regs, kinds=("mntns",))


# ---------------------------------------------------------------------------------------------
# the ends of namespaces and instances


@step("unmount all")
def _unmount_all(f: Frame) -> Step:
    """A mount of the namespace that nobody is in any more goes. (put_mnt_ns: fs/namespace.c)"""

    def mine(k: View, e: Env, m: Value) -> Value:
        return mounted(k, m, e["me"])

    def effect(k: View, e: Env) -> None:
        k.when(mine(k, e, e["m"]))
        k.set(s.NS_OF, (e["m"],), NONE)
        f.put(k, s.MOUNTED, (e["m"],), "mnt")

    return _loop("unmount all", "a mount of it goes", effect, Param("m", OBJ, "mnt"), mine)


@step("drop names")
def _drop_names(f: Frame) -> Step:
    """A name of the instance that is mounted nowhere any more lets go of its file.
    (kill_litter_super: fs/super.c)"""

    def mine(k: View, e: Env, path: Value) -> Value:
        return And(eq(k.get(s.INST, path), e["me"]), ne(k.get(s.PIN, path), NONE))

    def effect(k: View, e: Env) -> None:
        k.when(mine(k, e, e["path"]))
        f.put(k, s.PIN, (e["path"],), "file")

    words = "a name in it lets go of its file"
    return _loop("drop names", words, effect, Param("path", PATH), mine)


def _loop(text: str, words: str, effect: Effect, param: Param, mine: Mine) -> Step:
    def done(k: View, e: Env) -> Value:
        return k.all(param.sort, lambda x: Not(mine(k, e, x)), param.kind)

    return Step(text, words, effect, (param,), loop=True, done=done)
