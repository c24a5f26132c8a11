"""The vocabulary: every kernel step that an operation can be made of, each written once.

`bpflife list vocabulary` prints the forms with what their docstrings say. A new form is in all
three views at once, because it only uses what every `View` has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from . import state as s
from .state import Family, View
from .steps import Check, Env, Frame, Guard, Param, Step, StepError
from .values import (
    FD,
    IDX,
    LIFE,
    NONE,
    OBJ,
    PATH,
    RUN,
    If,
    Not,
    Value,
    eq,
    ne,
)

Maker = Callable[..., Step]
VOCABULARY: dict[str, tuple[re.Pattern[str], Maker, str]] = {}


def step(pattern: str) -> Callable[[Maker], Maker]:
    """Register one form of step; `{x}` in the pattern is a word."""
    regex = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[a-z][a-z0-9_]*)", re.escape(pattern))

    def add(make: Maker) -> Maker:
        doc = " ".join((make.__doc__ or "").split())
        VOCABULARY[pattern] = (re.compile(regex), make, doc)
        return make

    return add


def make_step(frame: Frame, text: str, errno: str = "") -> Step:
    """The step that a text stands for; StepError if there is none."""
    for form, (regex, make, _) in VOCABULARY.items():
        found = regex.fullmatch(text)
        if found:
            words = found.groupdict()
            _check_words(frame, form, words)
            extra: dict[str, Any] = {"errno": errno} if "errno" in make.__annotations__ else {}
            made = make(frame, **words, **extra)
            first = _not_freed(frame) if _on_target(form, words) else ()
            return replace(made, first=(*first, *made.first))
    raise StepError(f"no such step: `{text}` (bpflife list vocabulary shows them)")


def _on_target(form: str, words: Mapping[str, str]) -> bool:
    """The step reads or writes the memory of the hook target."""
    return any(x in form for x in (" entry", " target")) or words.get("arg") in ("entry", "dir")


def _not_freed(f: Frame) -> tuple[tuple[Guard, str], ...]:
    """What a task's step needs of its hook target. (A dying object's memory is its own.)"""
    if f.owner == OBJ:
        return ()

    def holds(k: View, e: Env) -> Value:
        return ne(k.get(s.LIFE_OF, f.target(k, e)), LIFE.freed)

    return ((holds, "the hook that the call works on is not freed memory"),)


def _check_words(f: Frame, form: str, words: Mapping[str, str]) -> None:
    """The words of a step mean something here; StepError says which does not."""
    for name in (words.get("reg"), words.get("file")):
        if name in OWN_SLOTS and not (form.startswith("put") and f.owner == OBJ):
            raise StepError(f"`{name}` is a slot of a dying object, not a local")
    arg = words.get("arg")
    if arg == "dir" and not f.dir.owners:
        raise StepError("`dir`: this target is held by an open file, it has no directory")
    by_name = f.args.get(arg or "") in f.dir.owners
    if by_name:
        raise StepError(f"`{arg}` is a name, not a descriptor: find {arg}")
    kind = words.get("kind")
    if kind and kind not in f.kinds:
        raise StepError(f"no kind of object `{kind}`; there are {', '.join(f.kinds)}")
    if form.startswith("create ") and f.owner == OBJ:
        raise StepError("create: a dying object makes nothing new")
    if form.startswith("make ") and kind not in f.dir.owners:
        raise StepError(f"make {kind}: only what a directory holds is made so; create X {kind}")


def registers_of(text: str) -> list[tuple[str, bool]]:
    """The registers that a step names, each with whether the step makes it a counted local
    (every form but `copy` does)."""
    for form, (regex, _, _) in VOCABULARY.items():
        found = regex.fullmatch(text)
        if found:
            words = found.groupdict()
            names = [words[g] for g in ("reg", "file") if g in words]
            return [(n, not form.startswith("copy")) for n in names if n not in OWN_SLOTS]
    return []


OWN_SLOTS = ("object", "used")  # `put object`: a slot of the dying object, not a register


# ---------------------------------------------------------------------------------------------
# from a descriptor, a path, the hook, into a register


PINNABLE = ("map", "prog")


def _kinds(f: Frame, arg: str) -> tuple[str, ...]:
    """The kinds of object that an argument can lead to."""
    return PINNABLE if f.args[arg] in ("path", "fd") else (f.args[arg],)


def _behind(f: Frame, arg: str) -> tuple[Guard, tuple[Check, ...], tuple[Param, ...], Family]:
    """How an argument leads to an object: the object, its checks, its parameter, its slot."""
    sort = f.args.get(arg)
    if sort is None:
        raise StepError(f"`{arg}` is not an argument of this operation")
    if sort == "path":
        missing = Check("ENOENT", lambda k, e: ne(k.get(s.PIN, e[arg]), NONE))
        return (lambda k, e: k.get(s.PIN, e[arg])), (missing,), (Param(arg, PATH),), s.PIN
    closed = "EINVAL" if sort == "fd" else "EBADF"  # bpf_fd_probe_obj tries kinds in turn
    is_open = Check(closed, lambda k, e: ne(f.file_of(k, e, arg), NONE))

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, f.file_of(k, e, arg))

    kinds = _kinds(f, arg)
    right = [Check("EINVAL", lambda k, e: k.kind(behind(k, e), *kinds))]
    if sort == "prog" and f.program_type >= 0:
        wanted = f.program_type
        right.append(Check("EINVAL", lambda k, e: eq(k.get(f.ptype, behind(k, e)), wanted)))
    return behind, (is_open, *right), (Param(arg, FD),), s.FD_SLOT


@step("get {reg} from {arg}")
def _get(f: Frame, reg: str, arg: str) -> Step:
    """A counted reference to the object behind a descriptor, or pinned at a path.
    EBADF: closed; EINVAL: another kind of object; ENOENT: no such path.
    (bpf_map_get, bpf_prog_get, bpf_obj_get_user)"""
    if arg == "entry":
        return _get_entry(f, reg)
    behind, checks, params, _ = _behind(f, arg)

    def effect(k: View, e: Env) -> None:
        o = behind(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(o)
        k.set(f.reg(reg), (e["me"],), o)

    words = f"takes a reference on {{{reg}}}: refcnt +1"
    text, regs = f"get {reg} from {arg}", {reg: "full"}
    return Step(text, words, effect, params, None, checks, regs, _kinds(f, arg))


def _get_entry(f: Frame, reg: str) -> Step:
    def effect(k: View, e: Env) -> None:
        o = k.get(f.entry, f.target(k, e))
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.need(ne(o, NONE), "get from entry finds a program")
        k.inc(o)
        k.set(f.reg(reg), (e["me"],), o)

    words = f"takes a reference on {{{reg}}}, the program in the hook: refcnt +1"
    return Step(f"get {reg} from entry", words, effect, regs={reg: "full"}, kinds=("prog",))


@step("hold {reg} from {arg}")
def _hold(f: Frame, reg: str, arg: str) -> Step:
    """A counted reference to the open file itself, so that a close during the call can't free
    it; if it is a hook target's file, the call works on that target.
    EBADF: closed; ENOTTY: not a file of that kind. (fdget)"""
    sort = f.args.get(arg)
    if sort is None:
        raise StepError(f"`{arg}` is not an argument of this operation")
    checks = [Check("EBADF", lambda k, e: ne(f.file_of(k, e, arg), NONE))]
    is_target = sort != "fd"
    if is_target:
        checks.append(
            Check("ENOTTY", lambda k, e: k.kind(k.get(s.FILE_OBJ, f.file_of(k, e, arg)), sort))
        )

    def effect(k: View, e: Env) -> None:
        file = f.file_of(k, e, arg)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"hold {reg} finds the local empty")
        k.inc(file)
        k.set(f.reg(reg), (e["me"],), file)
        if is_target:
            k.set(s.TARGET, (e["me"],), k.get(s.FILE_OBJ, file))

    words = f"holds the open file {{{reg}}} for the length of the call: file count +1"
    text, params = f"hold {reg} from {arg}", (Param(arg, FD),)
    target = sort if is_target else ""
    checks_, regs = tuple(checks), {reg: "full"}
    return Step(text, words, effect, params, None, checks_, regs, ("file",), target)


@step("copy {reg} from {arg}")
def _copy(f: Frame, reg: str, arg: str) -> Step:
    """An uncounted pointer to the object behind a descriptor, or to the program in the hook:
    nothing keeps it alive. EBADF, EINVAL as for get."""
    if arg == "entry":
        checks: tuple[Check, ...] = ()
        params: tuple[Param, ...] = ()
        source: Guard = lambda k, e: k.get(f.entry, f.target(k, e))  # noqa: E731
    else:
        source, checks, params, _ = _behind(f, arg)

    def effect(k: View, e: Env) -> None:
        k.set(f.reg(reg), (e["me"],), source(k, e))

    words = f"copies the pointer to {{{reg}}} without taking a reference"
    regs = {reg: "maybe" if arg == "entry" else "full"}
    kinds = ("prog",) if arg == "entry" else _kinds(f, arg)
    return Step(f"copy {reg} from {arg}", words, effect, params, None, checks, regs, kinds)


@step("take {reg} from {arg}")
def _take(f: Frame, reg: str, arg: str) -> Step:
    """Moves the reference out of a descriptor, a path, or the target's directory into a local:
    the place is empty afterwards, the count unchanged. EBADF, ENOENT: nothing there.
    (close_fd, bpf unlink -> bpf_any_put, cgroup rmdir)"""
    if arg == "dir":
        return _take_dir(f, reg)
    if f.args.get(arg) == "path":
        _, checks, params, slot = _behind(f, arg)
        place: Callable[[View, Env], tuple[Value, ...]] = lambda k, e: (e[arg],)  # noqa: E731
    else:
        checks = (Check("EBADF", lambda k, e: ne(f.file_of(k, e, arg), NONE)),)
        params, slot = (Param(arg, FD),), s.FD_SLOT
        place = lambda k, e: (k.get(s.PROC_OF, e["me"]), e[arg])  # noqa: E731

    def effect(k: View, e: Env) -> None:
        o = k.get(slot, *place(k, e))
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"take {reg} finds the local empty")
        k.set(slot, place(k, e), NONE)
        k.set(f.reg(reg), (e["me"],), o)
        if slot.user:
            k.count_user(o, -1)

    words = f"takes {{{reg}}} out of its place; the call holds its reference now"
    text, kinds = f"take {reg} from {arg}", PINNABLE if slot == s.PIN else ("file",)
    return Step(text, words, effect, params, None, checks, {reg: "full"}, kinds)


def _take_dir(f: Frame, reg: str) -> Step:
    def effect(k: View, e: Env) -> None:
        target = f.target(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"take {reg} finds the local empty")
        k.set(f.reg(reg), (e["me"],), k.get(f.dir, target))
        k.set(f.dir, (target,), NONE)

    words = f"removes the directory of {{{reg}}}; the call holds its reference now"
    return Step(f"take {reg} from dir", words, effect, regs={reg: "full"}, kinds=f.dir.targets)


@step("find {target}")
def _find(f: Frame, target: str) -> Step:
    """Looks a hook target up by its name. The call is inside it from then on: it can die, but its
    memory stays until the call returns. ENOENT: it is gone.
    (cgroup_get_from_fd; the offline of a cgroup does not wait for cgroup_put, its free does)"""
    kind = f.args.get(target)
    if kind is None:
        raise StepError(f"`{target}` is not an argument of this operation")
    if kind not in f.dir.owners:
        raise StepError(f"`{target}` is a descriptor ({kind}), not a name: hold FILE from {target}")
    check = Check("ENOENT", lambda k, e: f.there(k, e[target]))

    def effect(k: View, e: Env) -> None:
        k.set(s.TARGET, (e["me"],), e[target])

    words = f"finds {{{target}}} by its name; its memory stays until the call returns"
    params = (Param(target, OBJ, kind),)
    return Step(f"find {target}", words, effect, params, None, (check,), target=kind)


# ---------------------------------------------------------------------------------------------
# new objects


@step("create {reg} {kind}")
def _create(f: Frame, reg: str, kind: str) -> Step:
    """A new object with refcnt 1; the local holds that reference.
    (map_create, bpf_prog_load: kernel/bpf/syscall.c)"""

    def effect(k: View, e: Env) -> None:
        o = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), kind)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"create {reg} finds the local empty")
        k.set(s.LIFE_OF, (o,), LIFE.live)
        k.set(s.REFCNT, (o,), 1)
        k.set(f.reg(reg), (e["me"],), o)
        if kind == "prog":
            k.set(f.ptype, (o,), e["type"])

    params = (Param("type", f.ptype.range),) if kind == "prog" else ()
    words = f"creates {{{reg}}} with refcnt 1"
    return Step(f"create {reg} {kind}", words, effect, params, regs={reg: "full"}, kinds=(kind,))


@step("open {file} on {reg}")
def _open(f: Frame, file: str, reg: str) -> Step:
    """A new open file takes over the local's reference; for a map it is a user reference.
    (anon_inode_getfd; bpf_map_new_fd, bpf_prog_new_fd)"""

    def effect(k: View, e: Env) -> None:
        new = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), "file")
        o = k.get(f.reg(reg), e["me"])
        k.need(ne(o, NONE), f"open on {reg} finds an object")
        k.need(eq(k.get(f.reg(file), e["me"]), NONE), f"open {file} finds the local empty")
        k.set(s.LIFE_OF, (new,), LIFE.live)
        k.set(s.REFCNT, (new,), 1)
        k.set(f.reg(file), (e["me"],), new)
        k.set(s.FILE_OBJ, (new,), o)
        k.set(f.reg(reg), (e["me"],), NONE)
        k.count_user(o, 1)

    words = f"opens {{{file}}}: it takes over the reference"
    regs = {file: "full", reg: "empty"}
    return Step(f"open {file} on {reg}", words, effect, regs=regs, kinds=("file",))


@step("install {file}")
def _install(f: Frame, file: str) -> Step:
    """The lowest free descriptor takes over the local's reference to the file. (fd_install)"""

    def effect(k: View, e: Env) -> None:
        p = k.get(s.PROC_OF, e["me"])
        n = k.lowest(FD, lambda x: eq(k.get(s.FD_SLOT, p, x), NONE))
        o = k.get(f.reg(file), e["me"])
        k.need(ne(o, NONE), f"install {file} finds a file")
        k.set(s.FD_SLOT, (p, n), o)
        k.set(f.reg(file), (e["me"],), NONE)

    words = "gets the lowest free descriptor number"
    return Step(f"install {file}", words, effect, regs={file: "empty"})


@step("use {maps}")
def _use(f: Frame, maps: str) -> Step:
    """One map descriptor of the instructions becomes a reference that the program `new` holds;
    once per distinct map. EBADF: closed; EINVAL: not a map.
    (resolve_pseudo_ldimm64 -> bpf_map_inc: kernel/bpf/verifier.c)"""
    if f.args.get(maps) != "maps":
        raise StepError(f"`{maps}` is not a list of maps")

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, f.file_of(k, e, "map"))

    def effect(k: View, e: Env) -> None:
        prog, new = k.get(f.reg("new"), e["me"]), behind(k, e)
        known = Not(k.all(IDX, lambda i: ne(k.get(s.USED, prog, i), new)))
        place = k.lowest(IDX, lambda i: eq(k.get(s.USED, prog, i), NONE))
        k.inc(new, unless=known)
        k.set(s.USED, (prog, place), If(known, NONE, new))

    checks = (
        Check("EBADF", lambda k, e: ne(f.file_of(k, e, "map"), NONE)),
        Check("EINVAL", lambda k, e: k.kind(behind(k, e), "map")),
    )
    words = "the descriptor of a map becomes a reference of the program"
    return Step(f"use {maps}", words, effect, (Param("map", FD),), None, checks, loop=True)


# ---------------------------------------------------------------------------------------------
# the hook


@step("lock target")
def _lock(f: Frame) -> Step:
    """Takes the target's lock; waits while somebody has it (who has it already would wait for ever:
    a violation). Readers take no lock."""

    def not_mine(k: View, e: Env) -> Value:
        if f.owner == OBJ:
            return eq(k.get(s.LOCK_SELF, e["me"]), False)
        return ne(k.get(s.LOCK, f.target(k, e)), e["me"])

    def effect(k: View, e: Env) -> None:
        if f.owner == OBJ:
            k.set(s.LOCK_SELF, (e["me"],), True)
        else:
            k.set(s.LOCK, (f.target(k, e),), e["me"])

    words = "takes the lock of the hook"
    return Step(
        "lock target", words, effect, waits=lambda k, e: k.unlocked(f.target(k, e)), lock=1,
        first=((not_mine, "a lock that is taken is not held by this call already"),),
    )  # fmt: skip


@step("unlock target")
def _unlock(f: Frame) -> Step:
    """Gives the target's lock back; it must hold it."""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        mine = k.get(s.LOCK_SELF, t) if f.owner == OBJ else eq(k.get(s.LOCK, t), e["me"])
        k.need(eq(mine, True), "unlock finds the lock held by this call")
        if f.owner == OBJ:
            k.set(s.LOCK_SELF, (t,), False)
        else:
            k.set(s.LOCK, (t,), NONE)

    return Step("unlock target", "gives the lock back", effect, lock=-1)


def _nothing(k: View, e: Env) -> None:
    """A step that only checks."""


@step("expect entry == {what}")
def _expect_is(f: Frame, what: str, errno: str) -> Step:
    """The hook's entry holds this local's program (or `none`), else the errno."""
    if what == "none":
        holds: Guard = lambda k, e: eq(k.get(f.entry, f.target(k, e)), NONE)  # noqa: E731
    else:
        f.reg(what)
        holds = lambda k, e: eq(  # noqa: E731
            k.get(f.entry, f.target(k, e)), k.get(f.reg(what), e["me"])
        )
    text = f"expect entry == {what}"
    return Step(text, "looks at what is attached", _nothing, checks=(Check(errno, holds),))


@step("expect entry != {what}")
def _expect_not(f: Frame, what: str, errno: str) -> Step:
    """The hook's entry does not hold this local's program (or is not `none`), else the errno."""
    inner = _expect_is(f, what, errno)
    check = Check(errno, lambda k, e: Not(inner.checks[0].holds(k, e)))
    return Step(f"expect entry != {what}", inner.words, _nothing, checks=(check,))


@step("expect target live")
def _expect_live(f: Frame, errno: str) -> Step:
    """The target is there and has not started to die, else the errno."""
    check = Check(errno, lambda k, e: f.there(k, f.target(k, e)))
    words = "checks that the target still lives"
    return Step("expect target live", words, _nothing, checks=(check,))


@step("swap entry <-> {reg}")
def _swap(f: Frame, reg: str) -> Step:
    """The hook's pointer and the local change places in one store: a reader sees the old
    program or the new one. No count changes. (xchg, rcu_replace_pointer, WRITE_ONCE)"""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        old, new = k.get(f.entry, t), k.get(f.reg(reg), e["me"])
        k.set(f.entry, (t,), new)
        k.set(f.reg(reg), (e["me"],), old)

    words = f"swaps the hook's pointer in one store; {{{reg}}} is now what was attached before"
    return Step(f"swap entry <-> {reg}", words, effect, regs={reg: "maybe"}, kinds=("prog",))


@step("publish entry <- {reg}")
def _publish(f: Frame, reg: str) -> Step:
    """The hook's empty entry takes over what the local holds: events run it from now on."""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        new = k.get(f.reg(reg), e["me"])
        k.need(eq(k.get(f.entry, t), NONE), "publish finds the entry empty")
        k.need(ne(new, NONE), "publish finds a program to publish")
        k.set(f.entry, (t,), new)
        k.set(f.reg(reg), (e["me"],), NONE)

    words = "publishes the program in the hook: events run it from now on"
    return Step(f"publish entry <- {reg}", words, effect, regs={reg: "empty"})


@step("clear entry -> {reg}")
def _unpublish(f: Frame, reg: str) -> Step:
    """Unpublishes: the entry is empty, the local holds its reference; no count changes."""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"clear finds the local {reg} empty")
        old = k.get(f.entry, t)
        k.set(f.entry, (t,), NONE)
        k.set(f.reg(reg), (e["me"],), old)

    words = f"empties the hook; {{{reg}}} is held by the call"
    return Step(f"clear entry -> {reg}", words, effect, regs={reg: "maybe"}, kinds=("prog",))


@step("clear entry")
def _clear(f: Frame) -> Step:
    """The pointer goes; no count changes."""

    def effect(k: View, e: Env) -> None:
        k.set(f.entry, (f.target(k, e),), NONE)

    return Step("clear entry", "clears the hook's pointer", effect)


@step("drop entry")
def _drop(f: Frame) -> Step:
    """Decrements the program in the hook; the pointer stays."""

    def effect(k: View, e: Env) -> None:
        f.drop(k, k.get(f.entry, f.target(k, e)))

    return Step("drop entry", "drops the hook's reference: refcnt -1, the pointer stays", effect)


# ---------------------------------------------------------------------------------------------
# putting, pinning, waiting


@step("put {reg} if set")
def _put_if(f: Frame, reg: str) -> Step:
    """Puts the local's reference, if it holds one."""

    def effect(k: View, e: Env) -> None:
        f.drop(k, k.get(f.reg(reg), e["me"]), maybe=True)
        k.set(f.reg(reg), (e["me"],), NONE)

    words = f"puts {{{reg}}}, if there was one: refcnt -1"
    return Step(f"put {reg} if set", words, effect, regs={reg: "empty"})


@step("put {reg}")
def _put(f: Frame, reg: str) -> Step:
    """Gives back a reference: drop + clear of a local, or of a slot that a dying object owns
    (`object` of a file, each `used` map of a program) and nobody else can read."""
    if f.owner == OBJ and reg == "object":
        return _put_object(f)
    if f.owner == OBJ and reg == "used":
        return _put_used(f)

    def effect(k: View, e: Env) -> None:
        f.put(k, f.reg(reg), (e["me"],), reg)

    return Step(f"put {reg}", f"puts {{{reg}}}: refcnt -1", effect, regs={reg: "empty"})


def _put_object(f: Frame) -> Step:
    def effect(k: View, e: Env) -> None:
        k.count_user(k.get(s.FILE_OBJ, e["me"]), -1)
        f.put(k, s.FILE_OBJ, (e["me"],), "object")

    words = "the open file is closed for good: what it held loses a reference"
    return Step("put object", words, effect)


def _put_used(f: Frame) -> Step:
    def effect(k: View, e: Env) -> None:
        k.when(ne(k.get(s.USED, e["me"], e["i"]), NONE))
        f.put(k, s.USED, (e["me"], e["i"]), "used map")

    def done(k: View, e: Env) -> Value:
        return k.all(IDX, lambda i: eq(k.get(s.USED, e["me"], i), NONE))

    words = "the dead program gives back a map that it used: refcnt -1"
    return Step("put used", words, effect, (Param("i", IDX),), loop=True, done=done)


@step("pin {path} <- {reg}")
def _pin(f: Frame, path: str, reg: str) -> Step:
    """A new bpffs file takes over the local's reference; for a map it is a user reference.
    The test and the creation are one step under the directory's lock. EEXIST: the name is taken.
    (bpf_obj_do_pin -> vfs_mkobj: kernel/bpf/inode.c)"""

    def effect(k: View, e: Env) -> None:
        o = k.get(f.reg(reg), e["me"])
        k.need(ne(o, NONE), f"pin finds an object in {reg}")
        k.set(s.PIN, (e[path],), o)
        k.set(f.reg(reg), (e["me"],), NONE)
        k.count_user(o, 1)

    free = Check("EEXIST", lambda k, e: eq(k.get(s.PIN, e[path]), NONE))
    words = "the new file in bpffs takes over the reference"
    params = (Param(path, PATH),)
    return Step(f"pin {path} <- {reg}", words, effect, params, None, (free,), {reg: "empty"})


@step("make {kind}")
def _make(f: Frame, kind: str) -> Step:
    """A new hook target with its directory, which holds the only reference: it lives until it is
    removed. One step: nobody can find it before. (cgroup_mkdir under cgroup_mutex)"""

    def effect(k: View, e: Env) -> None:
        o = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), kind)
        k.set(s.LIFE_OF, (o,), LIFE.live)
        k.set(s.REFCNT, (o,), 1)
        k.set(f.dir, (o,), o)

    return Step(f"make {kind}", f"makes a {kind}; its directory keeps it alive", effect)


@step("wait rcu: begin")
def _wait_begin(f: Frame) -> Step:
    """A grace period starts: it waits for the CPUs that are inside a program now."""

    def effect(k: View, e: Env) -> None:
        k.start_grace_period(f.gp, e["me"])

    words = "a grace period starts: CPUs that are inside now must leave"
    return Step("wait rcu: begin", words, effect)


@step("wait rcu: end")
def _wait_end(f: Frame) -> Step:
    """The grace period ends when all the CPUs that it waits for have left."""
    words = "the grace period is over: every CPU that was inside has left"
    return Step(
        "wait rcu: end", words, _nothing, waits=lambda k, e: k.grace_period_over(f.gp, e["me"])
    )


@step("work")
def _work(f: Frame) -> Step:
    """A work item runs later, on some kernel thread. (queue_work)"""
    return Step("work", "a work item of the kernel runs", _nothing)


@step("exit")
def _exit(f: Frame) -> Step:
    """The process ends: its descriptors will be closed one by one. (exit_group, exit_files)"""

    def effect(k: View, e: Env) -> None:
        k.set(s.RUN_OF, (k.get(s.PROC_OF, e["me"]),), RUN.exiting)

    return Step("exit", "ends; its descriptors are closed one by one", effect)


WAITS = {"wait rcu": ("wait rcu: begin", "wait rcu: end")}  # a step in words -> its two halves
