"""Pins: files in bpffs. A name leads to an inode, which holds the object as long as it has a name.

A name holds the inode (its count is the kernel's nlink), so a second name is no second reference
to the object. (kernel/bpf/inode.c)
"""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Param, Step
from ..values import LIFE, NONE, OBJ, PATH, And, If, Not, Or, Value, eq, ne
from .paths import in_sight, lookup, meant
from .registry import step


@step("pin {path} <- {reg}")
def _pin(f: Frame, path: str, reg: str) -> Step:
    """A new file in bpffs takes over the local's reference; for a map it is a user reference.
    The test and the creation are one step under the directory's lock. EEXIST: the name is taken;
    EPERM: it is in no bpffs. (bpf_obj_do_pin -> vfs_mkobj -> bpf_mkobj_ops: kernel/bpf/inode.c)"""

    def effect(k: View, e: Env) -> None:
        o = k.get(f.reg(reg), e["me"])
        k.need(ne(o, NONE), f"pin finds an object in {reg}")
        inode = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), "inode")
        k.set(s.LIFE_OF, (inode,), LIFE.live)
        k.set(s.REFCNT, (inode,), 1)
        k.set(s.INODE_OBJ, (inode,), o)
        k.set(s.PIN, (e[path],), inode)
        k.set(f.reg(reg), (e["me"],), NONE)
        f.count_user(k, o, 1)

    waits, checks, params = lookup(f, path, "EPERM")
    checks.append(Check("EEXIST", lambda k, e: eq(k.get(s.PIN, e[path]), NONE)))
    words = "the new file in bpffs takes over the reference"
    text, regs = f"pin {path} <- {reg}", {reg: "empty"}
    return Step(text, words, effect, tuple(params), waits, tuple(checks), regs)


def _both(k: View, e: Env, path: str, new: str) -> Value:
    """Both paths are what the caller means."""
    return And(meant(k, e, e[path]), meant(k, e, e[new]))


def _one_mount(k: View, e: Env, path: str, new: str) -> Value:
    """Both paths lead into one mount. (Where no bpffs is mounted, that is what is below.)"""
    same = eq(k.get(s.INST, e[path]), k.get(s.INST, e[new]))
    old_there, new_there = in_sight(k, e, e[path]), in_sight(k, e, e[new])
    return Or(And(old_there, new_there, same), And(Not(old_there), Not(new_there)))


@step("link {path} as {new}")
def _link(f: Frame, path: str, new: str) -> Step:
    """The file gets a second name: its object does not notice. ENOENT: there is no such pin;
    EEXIST: the new name is taken; EXDEV: it is in another mount. One step, under the locks of file
    and directory. (do_linkat, vfs_link: fs/namei.c, simple_link: fs/libfs.c)"""

    def there(k: View, e: Env) -> Value:
        return And(in_sight(k, e, e[path]), ne(k.get(s.PIN, e[path]), NONE))

    def free(k: View, e: Env) -> Value:
        return Or(Not(in_sight(k, e, e[new])), eq(k.get(s.PIN, e[new]), NONE))

    checks = (
        Check("ENOENT", there),
        Check("EEXIST", free),
        Check("EXDEV", lambda k, e: _one_mount(k, e, path, new)),
    )

    def effect(k: View, e: Env) -> None:
        inode = k.get(s.PIN, e[path])
        k.inc(inode)
        k.set(s.PIN, (e[new],), inode)

    words = "gives the file a second name, which holds it too"
    text, params = f"link {path} as {new}", (Param(path, PATH), Param(new, PATH))
    return Step(text, words, effect, params, lambda k, e: _both(k, e, path, new), checks)


@step("move {path} to {new} -> {reg}")
def _move(f: Frame, path: str, new: str, reg: str) -> Step:
    """A file gets another name; the local gets the reference of what had that name before. To
    itself, or to another name of the same file: nothing happens. EXDEV: the paths lead into
    different mounts; ENOENT: there is no such pin. One step, under the directory's lock.
    (do_renameat2, vfs_rename: fs/namei.c, simple_rename: fs/libfs.c)"""

    def there(k: View, e: Env) -> Value:
        return And(in_sight(k, e, e[path]), ne(k.get(s.PIN, e[path]), NONE))

    checks = (
        Check("EXDEV", lambda k, e: _one_mount(k, e, path, new)),
        Check("ENOENT", there),
    )

    def effect(k: View, e: Env) -> None:
        moved, there_now = k.get(s.PIN, e[path]), k.get(s.PIN, e[new])
        same = eq(moved, there_now)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"move finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), If(same, NONE, there_now, OBJ))
        k.set(s.PIN, (e[new],), moved)
        k.set(s.PIN, (e[path],), If(same, moved, NONE, OBJ))

    words = f"moves the pin; {{{reg}}} had that name before and is held by the call"
    text, params = f"move {path} to {new} -> {reg}", (Param(path, PATH), Param(new, PATH))
    waits = lambda k, e: _both(k, e, path, new)  # noqa: E731
    return Step(text, words, effect, params, waits, checks, {reg: "maybe"}, ("inode",))
