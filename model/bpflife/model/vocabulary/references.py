"""References: taken from a descriptor, a path or the hook into a local, and given back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from .. import state as s
from ..state import Family, View
from ..steps import Check, Env, Frame, Guard, Param, Step, StepError
from ..values import FD, IDX, NONE, OBJ, And, If, Not, Or, Value, eq, ne, one_of
from .networks import near
from .paths import lookup
from .programs import loaded_as
from .registry import OWN_SLOTS, nothing, step

WRONG_KIND = {"socket": "ENOTSOCK", "tap": "ENOTTY"}  # said of another kind of file; else EINVAL
ABSENT = {"netdev": "ENODEV"}  # what a call says where there is no target of that name; else ENOENT


def pinnable(f: Frame) -> tuple[str, ...]:
    """The kinds of object that bpffs can hold. (bpf_fd_probe_obj: kernel/bpf/inode.c)"""
    return ("map", "prog", *f.links)


def kinds_of(f: Frame, arg: str) -> tuple[str, ...]:
    """The kinds of object that an argument can lead to."""
    sort = f.args[arg]
    if sort == "link":
        return tuple(f.links)
    return pinnable(f) if sort in ("path", "fd") else (sort,)


class Way(NamedTuple):
    """How an argument leads to an object: the object, its checks, its parameters, its slot, and
    when it is the argument that the caller means."""

    object: Guard
    checks: tuple[Check, ...]
    params: tuple[Param, ...]
    slot: Family
    waits: Guard | None = None


def leads_to(f: Frame, arg: str) -> Way:
    """How an argument leads to an object."""
    sort = f.args.get(arg)
    if sort is None:
        raise StepError(f"`{arg}` is not an argument of this operation")
    if sort == "path":
        found: Guard = lambda k, e: k.get(s.INODE_OBJ, k.get(s.PIN, e[arg]))  # noqa: E731
        waits, checks, params = lookup(f, arg, "ENOENT")
        checks.append(Check("ENOENT", lambda k, e: ne(k.get(s.PIN, e[arg]), NONE)))
        return Way(found, tuple(checks), tuple(params), s.PIN, waits)
    closed = "EINVAL" if sort == "fd" else "EBADF"  # bpf_fd_probe_obj tries kinds in turn
    is_open = Check(closed, lambda k, e: ne(f.file_of(k, e, arg), NONE))

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, f.file_of(k, e, arg))

    kinds = kinds_of(f, arg)
    right = [Check("EINVAL", lambda k, e: k.kind(behind(k, e), *kinds))]
    if sort == "prog" and f.program_type >= 0:
        wanted = loaded_as(f, f.program_type)
        right.append(Check("EINVAL", lambda k, e: one_of(k.get(f.ptype, behind(k, e)), wanted)))
    return Way(behind, (is_open, *right), (Param(arg, FD),), s.FD_SLOT)


@step("get {reg} from {arg}")
def _get(f: Frame, reg: str, arg: str) -> Step:
    """A counted reference to the object behind a descriptor, or pinned at a path.
    EBADF: closed; EINVAL: another kind of object; ENOENT: no such path.
    (bpf_map_get, bpf_prog_get, bpf_obj_get_user)"""
    if arg == "entry":
        return _get_entry(f, reg)
    way = leads_to(f, arg)

    def effect(k: View, e: Env) -> None:
        o = way.object(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(o)
        k.set(f.reg(reg), (e["me"],), o)

    words = f"takes a reference on {{{reg}}}: refcnt +1"
    text, regs = f"get {reg} from {arg}", {reg: "full"}
    return Step(text, words, effect, way.params, way.waits, way.checks, regs, kinds_of(f, arg))


@step("get {reg} from {arg} of any type")
def _get_any(f: Frame, reg: str, arg: str) -> Step:
    """As get, whatever the type of the program: it will be asked for later. (bpf_prog_get)"""
    made = _get(replace(f, program_type=-1), reg, arg)
    return replace(made, text=f"{made.text} of any type")


@step("get {reg} from {arg} if any")
def _get_if_any(f: Frame, reg: str, arg: str) -> Step:
    """As get; where that would fail, the local stays empty and the call goes on: what it is about
    need not be said. (cgroup_bpf_prog_detach: kernel/bpf/cgroup.c)"""
    way = leads_to(f, arg)

    def effect(k: View, e: Env) -> None:
        right = And(*[check.holds(k, e) for check in way.checks])
        o = If(right, way.object(k, e), NONE, OBJ)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(o, unless=eq(o, NONE))
        k.set(f.reg(reg), (e["me"],), o)

    words, text = (
        f"takes a reference on {{{reg}}}, if it is one: refcnt +1",
        f"get {reg} from {arg} if any",
    )
    return Step(
        text, words, effect, way.params, way.waits, regs={reg: "maybe"}, kinds=kinds_of(f, arg)
    )


def _get_entry(f: Frame, reg: str) -> Step:
    def effect(k: View, e: Env) -> None:
        o = k.get(f.entry, f.target(k, e))
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.need(ne(o, NONE), "get from entry finds a program")
        k.inc(o)
        k.set(f.reg(reg), (e["me"],), o)

    words = f"takes a reference on {{{reg}}}, the program in the hook: refcnt +1"
    return Step(f"get {reg} from entry", words, effect, regs={reg: "full"}, kinds=("prog",))


@step("hold {reg} from any {arg}")
def _hold_any(f: Frame, reg: str, arg: str) -> Step:
    """A counted reference to the open file of a perf event of any kind. EBADF: closed; ENOTTY: no
    perf event; a tap says EBADFD without a device, EINVAL with one.
    (perf_ioctl: kernel/events/core.c)"""
    is_open = Check("EBADF", lambda k, e: ne(f.file_of(k, e, arg), NONE))
    checks = (is_open, *_knows_the_call(f, arg, f.events))

    def effect(k: View, e: Env) -> None:
        file = f.file_of(k, e, arg)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"hold {reg} finds the local empty")
        k.inc(file)
        k.set(f.reg(reg), (e["me"],), file)

    words = f"holds the open file {{{reg}}} for the length of the call: file count +1"
    text, params = f"hold {reg} from any {arg}", (Param(arg, FD),)
    return Step(text, words, effect, params, None, checks, {reg: "full"}, ("file",))


@step("hold {reg} from {arg} of any kind")
def _hold_event(f: Frame, reg: str, arg: str) -> Step:
    """The same for a link: what is no perf event at all is EBADF, like a closed descriptor.
    (perf_event_get: kernel/events/core.c)"""
    made = _hold_any(f, reg, arg)

    def is_event(k: View, e: Env) -> Value:
        return k.kind(k.get(s.FILE_OBJ, f.file_of(k, e, arg)), *f.events)

    text = f"hold {reg} from {arg} of any kind"
    return replace(made, text=text, checks=(Check("EBADF", is_event),))


@step("expect target behind {reg}")
def _target_behind(f: Frame, reg: str, errno: str) -> Step:
    """From here on the call works on the hook behind a file that it holds; the errno: what is
    behind it is of another kind."""

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, k.get(f.reg(reg), e["me"]))

    def effect(k: View, e: Env) -> None:
        k.set(s.TARGET, (e["me"],), behind(k, e))

    check = Check(errno, lambda k, e: k.kind(behind(k, e), f.hook))
    text, words = f"expect target behind {reg}", "looks what kind of event it is"
    return Step(text, words, effect, checks=(check,), target=f.hook, behind={reg: f.hook})


@step("expect {reg} on no other target")
def _on_no_other(f: Frame, reg: str, errno: str) -> Step:
    """No target of this kind has the local's program, else the errno: they share one list of
    programs. (bpf_prog_array_copy: kernel/bpf/core.c; perf_event_attach_bpf_prog)"""

    def holds(k: View, e: Env) -> Value:
        prog = k.get(f.reg(reg), e["me"])
        return eq(k.find(OBJ, lambda o: eq(k.get(f.entry, o), prog), f.hook), NONE)

    text, words = f"expect {reg} on no other target", "looks what is attached elsewhere"
    return Step(text, words, nothing, checks=(Check(errno, holds),))


def _is_of(f: Frame, arg: str, errno: str, kinds: Sequence[str]) -> Check:
    return Check(errno, lambda k, e: k.kind(k.get(s.FILE_OBJ, f.file_of(k, e, arg)), *kinds))


def _knows_the_call(f: Frame, arg: str, kinds: Sequence[str]) -> list[Check]:
    """What is behind a descriptor takes such an ioctl. (__tun_chr_ioctl: drivers/net/tun.c)"""

    def no_tap(has_device: bool) -> Guard:
        def holds(k: View, e: Env) -> Value:
            o = k.get(s.FILE_OBJ, f.file_of(k, e, arg))
            has = ne(k.get(s.CABLE, o), NONE)
            return Not(And(k.kind(o, "tap"), has if has_device else Not(has)))

        return holds

    taps = {"EBADFD": False, "EINVAL": True} if "tap" in f.kinds else {}
    found = [Check(errno, no_tap(has)) for errno, has in taps.items()]
    return [*found, _is_of(f, arg, "ENOTTY", kinds)]


@step("hold {reg} from {arg}")
def _hold(f: Frame, reg: str, arg: str) -> Step:
    """A counted reference to the open file itself, so that a close during the call can't free
    it; if it is a hook target's file, the call works on that target. EBADF: closed; ENOTTY,
    ENOTSOCK, EINVAL: not a file of that kind. (fdget)"""
    sort = f.args.get(arg)
    if sort is None:
        raise StepError(f"`{arg}` is not an argument of this operation")
    checks = [Check("EBADF", lambda k, e: ne(f.file_of(k, e, arg), NONE))]
    is_target = sort in f.targets
    if sort != "fd":
        other = [_is_of(f, arg, WRONG_KIND.get(sort, "EINVAL"), (sort,))]
        checks += _knows_the_call(f, arg, (sort,)) if sort in f.events else other

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
    return Step(
        text, words, effect, params, None, checks_, regs, ("file",), target=target,
        behind={} if sort == "fd" else {reg: sort},
    )  # fmt: skip


@step("copy {reg} from {arg}")
def _copy(f: Frame, reg: str, arg: str) -> Step:
    """An uncounted pointer to the object behind a descriptor, or to the program in the hook:
    nothing keeps it alive. EBADF, EINVAL as for get."""
    if arg == "entry":
        checks: tuple[Check, ...] = ()
        params: tuple[Param, ...] = ()
        waits: Guard | None = None
        source: Guard = lambda k, e: k.get(f.entry, f.target(k, e))  # noqa: E731
    else:
        source, checks, params, _, waits = leads_to(f, arg)

    def effect(k: View, e: Env) -> None:
        k.set(f.reg(reg), (e["me"],), source(k, e))

    words = f"copies the pointer to {{{reg}}} without taking a reference"
    regs = {reg: "maybe" if arg == "entry" else "full"}
    kinds = ("prog",) if arg == "entry" else kinds_of(f, arg)
    return Step(f"copy {reg} from {arg}", words, effect, params, waits, checks, regs, kinds)


@step("take {reg} from {arg}")
def _take(f: Frame, reg: str, arg: str) -> Step:
    """Moves the reference out of a descriptor, a name in bpffs (a reference to the file there), or
    the target's directory into a local: the place is empty afterwards, the count unchanged.
    EBADF, ENOENT: nothing there. (close_fd, simple_unlink, cgroup rmdir)"""
    if arg == "dir":
        return _take_dir(f, reg)
    waits: Guard | None = None
    if f.args.get(arg) == "path":
        _, checks, params, slot, waits = leads_to(f, arg)
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

    words = f"takes {{{reg}}} out of its place; the call holds its reference now"
    text, kinds = f"take {reg} from {arg}", slot.targets
    return Step(text, words, effect, params, waits, checks, {reg: "full"}, kinds)


def _take_dir(f: Frame, reg: str) -> Step:
    def effect(k: View, e: Env) -> None:
        target = f.target(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"take {reg} finds the local empty")
        k.set(f.reg(reg), (e["me"],), k.get(f.dir, target))
        k.set(f.dir, (target,), NONE)

    words = f"removes the directory of {{{reg}}}; the call holds its reference now"
    return Step(f"take {reg} from dir", words, effect, regs={reg: "full"}, kinds=f.dir.targets)


@step("find {target}")
def _find(f: Frame, target: str, errno: str) -> Step:
    """Looks a hook target up by its name. The call is inside it from then on: it can die, but its
    memory stays until the call returns. ENOENT: it is gone; ENODEV: the device is gone, or in
    another network namespace than the caller; or the errno that the step says.
    (cgroup_get_from_fd; the offline of a cgroup does not wait for cgroup_put, its free does)"""
    kind = f.args.get(target)
    if kind is None:
        raise StepError(f"`{target}` is not an argument of this operation")
    if kind not in f.dir.owners:
        raise StepError(f"`{target}` is a descriptor ({kind}), not a name: hold FILE from {target}")
    in_net = "net" in f.parts and kind in s.ND_NET.owners

    def found(k: View, e: Env) -> Value:
        return And(f.there(k, e[target]), near(k, e, e[target]) if in_net else True)

    check = Check(errno or ABSENT.get(kind, "ENOENT"), found)

    def effect(k: View, e: Env) -> None:
        k.set(s.TARGET, (e["me"],), e[target])

    words = f"finds {{{target}}} by its name; its memory stays until the call returns"
    params = (Param(target, OBJ, kind),)
    return Step(f"find {target}", words, effect, params, None, (check,), target=kind)


@step("find first {kind}")
def _find_first(f: Frame, kind: str) -> Step:
    """The call works on the hook that its program was loaded for: in the model the first of its
    kind that got a name; it waits for one. (attach_btf_id: kernel/bpf/verifier.c)"""
    if kind != f.hook or kind not in f.dir.owners:
        raise StepError(f"`{kind}` is not what the card is about, or has no name")

    def effect(k: View, e: Env) -> None:
        first = k.find(OBJ, lambda o: f.there(k, o), kind)
        k.when(ne(first, NONE))
        k.set(s.TARGET, (e["me"],), first)

    words = f"works on the {kind.replace('_', ' ')} that the program was loaded for"
    return Step(f"find first {kind}", words, effect, target=kind)


@step("put {reg} if set")
def _put_if(f: Frame, reg: str) -> Step:
    """Puts the local's reference, if it holds one; or a slot that a dying object owns."""
    if f.owner == OBJ and reg in OWN_SLOTS:
        return _put_own(f, reg, OWN_SLOTS[reg], maybe=True)

    def effect(k: View, e: Env) -> None:
        f.drop(k, k.get(f.reg(reg), e["me"]), maybe=True)
        k.set(f.reg(reg), (e["me"],), NONE)

    words = f"puts what the local holds ({{{reg}}}), if anything: refcnt -1"
    return Step(f"put {reg} if set", words, effect, regs={reg: "empty"})


@step("put {reg}")
def _put(f: Frame, reg: str) -> Step:
    """Gives back a reference: drop + clear of a local, or of a slot that a dying object owns
    (`object` of a file, `pinned` of a file in bpffs, each `used` map of a program) and nobody
    else can read."""
    if f.owner == OBJ and reg in OWN_SLOTS:
        return _put_own(f, reg, OWN_SLOTS[reg])

    def effect(k: View, e: Env) -> None:
        f.put(k, f.reg(reg), (e["me"],), reg)

    return Step(f"put {reg}", f"puts {{{reg}}}: refcnt -1", effect, regs={reg: "empty"})


def _put_own(f: Frame, word: str, slot: Family, maybe: bool = False) -> Step:
    """A dying object gives up a slot, or one after the other of its slots of a family."""
    words = OWN_WORDS[word]
    if len(slot.args) == 1:

        def once(k: View, e: Env) -> None:
            if slot.user:
                f.count_user(k, k.get(slot, e["me"]), -1)
            if word in ALWAYS_FULL and not maybe:
                f.put(k, slot, (e["me"],), word)
                return
            f.drop(k, k.get(slot, e["me"]), maybe=True)
            k.set(slot, (e["me"],), NONE)

        return Step(f"put {word}{' if set' if maybe else ''}", words, once)

    def one(k: View, e: Env) -> None:
        k.when(ne(k.get(slot, e["me"], e["i"]), NONE))
        if slot == s.USED and "flavours" in f.parts:
            k.tally(s.USED_ASLEEP, (e["me"], e["i"]), NONE)
        f.put(k, slot, (e["me"], e["i"]), word)

    def done(k: View, e: Env) -> Value:
        return k.all(IDX, lambda i: eq(k.get(slot, e["me"], i), NONE))

    return Step(f"put {word}", words, one, (Param("i", IDX),), loop=True, done=done)


ALWAYS_FULL = (
    "object",
    "pinned",
    "root",
    "program",
    "held",
)  # nothing else may be missing at the end
OWN_WORDS = {
    "object": "the open file is closed for good: what it held loses a reference",
    "pinned": "the file in bpffs has no name any more: what it held loses a reference",
    "root": "the mount is used by nobody any more: its instance loses a reference",
    "used": "the dead program gives back a map that it used: refcnt -1",
    "elems": "the dead map gives back what an element held: refcnt -1",
    "cargo": "lets go of the open file that it carried, if it still does",
    "btf": "lets go of its type information, if it has any",
    "net": "lets go of its network namespace, unless that is the world's first",
    "born": "lets go of the cgroup that it was made in, if any",
    "peer_born": "lets go of the cgroup of the other end, which was closed before, if any",
    "skb_verdict": "lets go of the program that ran on what it received, if any",
    "msg_parser": "lets go of the program that ran on what it sent, if any",
    "program": "gives its program back: refcnt -1",
    "held": "lets go of what it was attached to: it need not be kept any more",
}


@step("find {reg} by id")
def _find_by_id(f: Frame, reg: str) -> Step:
    """A counted reference to an object by its id: only once the call that made it has published
    that, and while its count is above zero, so nothing comes back from the dead. ENOENT: it is
    gone. EINVAL: a mode is asked for, and it is no map.
    (bpf_map_get_fd_by_id, bpf_prog_by_id, bpf_link_by_id: kernel/bpf/syscall.c, under the lock of
    the ids; a link that is not settled yet is EAGAIN there)"""
    named = f.args["object"].split("|") if "object" in f.args else []
    kinds = [x for kind in named for x in (f.links if kind == "link" else (kind,))]

    def known(k: View, e: Env) -> Value:
        return And(k.live(e["object"]), eq(k.get(s.PUBLISHED, e["object"]), True))

    checks = [Check("ENOENT", known)]
    params = [Param("object", OBJ, "|".join(kinds))]
    if "access" in f.parts:

        def fits(k: View, e: Env) -> Value:
            return Or(k.kind(e["object"], "map"), eq(e["mode"], s.MODE.read_write))

        checks.insert(0, Check("EINVAL", fits))
        params.append(Param("mode", s.MODE))

    def effect(k: View, e: Env) -> None:
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"find {reg} finds the local empty")
        k.inc(e["object"])
        k.set(f.reg(reg), (e["me"],), e["object"])

    words = f"finds {{{reg}}} by its id: refcnt +1"
    text, regs = f"find {reg} by id", {reg: "full"}
    return Step(text, words, effect, tuple(params), None, tuple(checks), regs, tuple(kinds))
