"""The vocabulary: every kernel step that an operation can be made of, each written once.

An operation (a system call, a release path) is a list of steps in words, `get new from prog`.
Here each form of step is a Python function over a `View`; `operations.py` strings them together.

A step runs in a *frame*: a task inside a system call, or a dying object that gives up what it
holds. Both have registers (locals), a place in their operation, a lock and a grace period to wait
for; `Frame` hides which it is, so the same step serves both.

Three kinds of guard, and the difference is soundness:
  waits   the step can't run yet (a lock, the end of a grace period)
  checks  `errno` when it does not hold: a second transition, with an undo path of its own
  needs   must hold (inside the effect, `View.need`): a state where it is false is a violation
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import state as s
from .state import Family, View
from .values import (
    BOOL,
    FD,
    IDX,
    LIFE,
    NONE,
    OBJ,
    PATH,
    RUN,
    And,
    If,
    Not,
    Or,
    Sort,
    Value,
    eq,
    ne,
)

Env = Mapping[str, Value]
Effect = Callable[[View, Env], None]
Guard = Callable[[View, Env], Value]


@dataclass(frozen=True)
class Param:
    """A parameter of a rule: chosen by the caller, or by whoever explores."""

    name: str
    sort: Sort
    kind: str = ""


@dataclass(frozen=True)
class Check:
    """`errno` when `holds` is false."""

    errno: str
    holds: Guard


@dataclass(frozen=True)
class Step:
    """One step, ready to run. `regs` says what it leaves in registers (empty, full, maybe),
    `kinds` of which kind, `lock` whether it takes (+1) or gives (-1) the target's lock: facts for the lemma templates."""

    text: str
    words: str
    effect: Effect
    params: tuple[Param, ...] = ()
    waits: Guard | None = None
    checks: tuple[Check, ...] = ()
    regs: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()  # of what it leaves in the register it fills
    target: str = ""  # the kind of hook target that the call works on from here
    lock: int = 0
    loop: bool = False
    done: Guard | None = None  # of a loop: when it may end


@dataclass(frozen=True)
class Frame:
    """Where an operation runs: the families of its registers, its position, its grace period.

    `args` maps the operation's arguments to what they are: a kind of object (the argument is a
    descriptor of one), "fd", "path", "maps" or "type". `first` starts release paths.
    """

    owner: Sort  # TASK or OBJ
    at: Family
    gp: Family
    args: Mapping[str, str]
    first: Sequence[tuple[str, int]]
    registers: Mapping[str, Family]
    own: str = ""  # kind of the dying object
    program_type: int = -1
    entry: Family = Family("entry", (OBJ,), OBJ)
    dir: Family = Family("dir", (OBJ,), OBJ)
    ptype: Family = Family("ptype", (OBJ,), BOOL)

    def reg(self, name: str) -> Family:
        """The family of a register."""
        if name not in self.registers:
            raise StepError(f"nothing ever puts anything into `{name}`")
        return self.registers[name]

    def target(self, k: View, e: Env) -> Value:
        """The hook target that the operation works on."""
        return e["me"] if self.owner == OBJ else k.get(s.TARGET, e["me"])

    def drop(self, k: View, o: Value, maybe: bool = False) -> None:
        """Decrement, with the start of the release path at zero."""
        k.drop(o, self.first, maybe)

    def put(self, k: View, family: Family, args: tuple[Value, ...], what: str) -> None:
        """drop + clear of a slot that nobody else can read (a register, a dying owner's own)."""
        o = k.get(family, *args)
        k.need(ne(o, NONE), f"put {what} finds a reference to put")
        self.drop(k, o)
        k.set(family, args, NONE)

    def there(self, k: View, target: Value) -> Value:
        """The target can be found: it is live, and its directory (if that is what keeps it) has
        been made and not been removed. (cgroup_is_dead: kernel/cgroup/cgroup.c)"""
        if not self.dir.owners:
            return k.live(target)
        rooted = Or(Not(k.kind(target, *self.dir.owners)), ne(k.get(self.dir, target), NONE))
        return And(k.live(target), rooted)

    def file_of(self, k: View, e: Env, arg: str) -> Value:
        """The open file behind a descriptor argument; none if it is closed."""
        return k.get(s.FD_SLOT, k.get(s.PROC_OF, e["me"]), e[arg])


class StepError(ValueError):
    """The text of a step can't be understood; str() says why."""


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
    for regex, make, _ in VOCABULARY.values():
        found = regex.fullmatch(text)
        if found:
            extra: dict[str, Any] = {"errno": errno} if "errno" in make.__annotations__ else {}
            return make(frame, **found.groupdict(), **extra)
    raise StepError(f"no such step: `{text}` (bpflife list vocabulary shows them)")


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
    is_open = Check("EBADF", lambda k, e: ne(f.file_of(k, e, arg), NONE))

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
        behind, checks, params, slot = _behind(f, arg)
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


@step("find {arg}")
def _find(f: Frame, arg: str) -> Step:
    """Looks a hook target up by name; the pointer is not counted. ENOENT: it is gone."""
    kind = f.args.get(arg)
    if kind is None:
        raise StepError(f"`{arg}` is not an argument of this operation")
    check = Check("ENOENT", lambda k, e: f.there(k, e[arg]))

    def effect(k: View, e: Env) -> None:
        k.set(s.TARGET, (e["me"],), e[arg])

    words = f"finds {{{arg}}} by its name"
    params = (Param(arg, OBJ, kind),)
    return Step(f"find {arg}", words, effect, params, None, (check,), target=kind)


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
    """Takes the target's lock; waits while somebody has it. Readers take no lock."""

    def effect(k: View, e: Env) -> None:
        if f.owner == OBJ:
            k.set(s.LOCK_SELF, (e["me"],), True)
        else:
            k.set(s.LOCK, (f.target(k, e),), e["me"])

    words = "takes the lock of the hook"
    return Step("lock target", words, effect, waits=lambda k, e: k.unlocked(f.target(k, e)), lock=1)


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
    return Step("expect target live", "checks that the target still lives", _nothing, checks=(check,))


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

    return Step("wait rcu: begin", "a grace period starts: CPUs that are inside now must leave", effect)


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
