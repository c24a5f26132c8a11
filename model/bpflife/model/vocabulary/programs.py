"""What a program holds: the maps that it uses, by whatever name; whether it may sleep."""

from __future__ import annotations

from .. import state as s
from ..readers import asleep
from ..state import View
from ..steps import Check, Env, Frame, Param, Step, StepError
from ..values import FD, IDX, NONE, And, If, Implies, Not, Or, Value, eq, ne, one_of
from .registry import nothing, step

MAY_SLEEP = ("kprobe", "uprobe_multi", "syscall")  # types of programs, of those that the model has
ONLY_SLEEPABLE = ("syscall",)
FOR_EVENTS = ("perf_event", "kprobe", "tracepoint")
FOR_SLEEPERS = (  # types of maps (check_map_prog_compatibility: kernel/bpf/verifier.c)
    *(s.MAP_TYPE.array, s.MAP_TYPE.hash, s.MAP_TYPE.ringbuf),
    *s.HOLDS_MAPS,
)


def may_sleep(f: Frame, ptype: Value) -> Value:
    """A program of this type can be sleepable. (can_be_sleepable: kernel/bpf/verifier.c)"""
    return one_of(ptype, [n for n, name in enumerate(f.ptype.range.names) if name in MAY_SLEEP])


def loaded_as(f: Frame, ptype: int) -> list[int]:
    """The types that the kernel loads as one type of program: what such a program is to be attached
    to (xdp_devmap: to an element of a devmap) is asked for later. (bpf_prog_get_type)"""
    names = f.ptype.range.names
    like = "xdp" if names[ptype].startswith("xdp_") else names[ptype]
    return [n for n, x in enumerate(names) if x == like or (like == "xdp" and x.startswith("xdp_"))]


@step("use {maps}")
def _use(f: Frame, maps: str) -> Step:
    """One map descriptor of the instructions becomes a reference that the program `new` holds, once
    per distinct map and whichever way it is named (by descriptor, by place in fd_array).
    EBADF: closed; EINVAL: not a map, or none for a sleepable program.
    (resolve_pseudo_ldimm64 -> add_used_map: kernel/bpf/verifier.c)"""
    return _used(f, maps, "maps", ("map",), f"use {maps}")


@step("use all {fds}", part="maps")
def _use_all(f: Frame, fds: str) -> Step:
    """One of the descriptors that fd_array_cnt counts becomes a reference that the program `new`
    holds, a map or BTF; once per distinct one. EBADF: closed; EINVAL: neither, or no map for a
    sleepable program. (process_fd_array: kernel/bpf/verifier.c)"""
    return _used(f, fds, "fds", ("map", "btf"), f"use all {fds}")


def _used(f: Frame, arg: str, sort: str, kinds: tuple[str, ...], text: str) -> Step:
    if f.args.get(arg) != sort:
        raise StepError(f"`{arg}` is not a list of {sort}")
    one = "map" if sort == "maps" else arg

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, f.file_of(k, e, one))

    def effect(k: View, e: Env) -> None:
        prog, new = k.get(f.reg("new"), e["me"]), behind(k, e)
        known = Not(k.all(IDX, lambda i: ne(k.get(s.USED, prog, i), new)))
        place = k.lowest(IDX, lambda i: eq(k.get(s.USED, prog, i), NONE))
        k.inc(new, unless=known)
        _hold(f, k, prog, place, If(known, NONE, new))

    def fits(k: View, e: Env) -> Value:
        asked = ne(k.get(s.SLEEPABLE, k.get(f.reg("new"), e["me"])), s.SLEEP.no)
        return Implies(
            And(asked, k.kind(behind(k, e), "map")),
            one_of(k.get(s.MTYPE, behind(k, e)), FOR_SLEEPERS),
        )

    checks = [
        Check("EBADF", lambda k, e: ne(f.file_of(k, e, one), NONE)),
        Check("EINVAL", lambda k, e: k.kind(behind(k, e), *kinds)),
    ]
    if {"maps", "flavours"} <= f.parts:
        checks.append(Check("EINVAL", fits))
    words = "a descriptor becomes a reference of the program"
    params = (Param(one, FD),)
    return Step(text, words, effect, params, None, tuple(checks), loop=True, turns=arg)


def _hold(f: Frame, k: View, prog: Value, place: Value, o: Value) -> None:
    """The program's place holds the object, and the map knows how many sleepable ones use it.
    (__add_used_map: kernel/bpf/verifier.c)"""
    if "flavours" in f.parts:
        counts = And(asleep(k, prog), k.kind(o, "map"))
        k.tally(s.USED_ASLEEP, (prog, place), If(counts, o, NONE))
    k.set(s.USED, (prog, place), o)


@step("verify {reg}", part="flavours")
def _verify(f: Frame, reg: str) -> Step:
    """EINVAL: a program of this type can't be sleepable, or (syscall) nothing else.
    (check_attach_btf_id: kernel/bpf/verifier.c)"""

    def fine(k: View, e: Env) -> Value:
        prog = k.get(f.reg(reg), e["me"])
        asked = k.get(s.SLEEPABLE, prog)
        only = [n for n, name in enumerate(f.ptype.range.names) if name in ONLY_SLEEPABLE]
        awake = And(eq(asked, s.SLEEP.no), one_of(k.get(f.ptype, prog), only))
        return Not(Or(eq(asked, s.SLEEP.wrong), awake))

    checks = (Check("EINVAL", fine),)
    return Step(f"verify {reg}", "is looked at by the verifier", nothing, checks=checks)


@step("expect {reg} may sleep", part="flavours")
def _expect_asleep(f: Frame, reg: str, errno: str) -> Step:
    """The local's program is a sleepable one, else the errno."""
    checks = (Check(errno, lambda k, e: asleep(k, k.get(f.reg(reg), e["me"]))),)
    text = f"expect {reg} may sleep"
    return Step(text, "checks that the program may sleep", nothing, checks=checks)


@step("expect {reg} for perf events")
def _expect_for_events(f: Frame, reg: str, errno: str) -> Step:
    """The local's program is of a type that some kind of perf event takes, else the errno.
    (bpf_prog_attach_check_attach_type: kernel/bpf/syscall.c)"""
    fine = [n for n, name in enumerate(f.ptype.range.names) if name in FOR_EVENTS]
    check = Check(errno, lambda k, e: one_of(k.get(f.ptype, k.get(f.reg(reg), e["me"])), fine))
    text = f"expect {reg} for perf events"
    return Step(text, "looks at the type of the program", nothing, checks=(check,))


@step("bind {reg} to {prog}")
def _bind(f: Frame, reg: str, prog: str) -> Step:
    """The program of one local holds the map of another as if its instructions used it; where it
    holds it already, the local keeps its reference. (bpf_prog_bind_map: kernel/bpf/syscall.c)"""

    def effect(k: View, e: Env) -> None:
        p, new = k.get(f.reg(prog), e["me"]), k.get(f.reg(reg), e["me"])
        k.need(And(ne(p, NONE), ne(new, NONE)), "bind finds a program and a map")
        known = Not(k.all(IDX, lambda i: ne(k.get(s.USED, p, i), new)))
        place = k.lowest(IDX, lambda i: eq(k.get(s.USED, p, i), NONE))
        _hold(f, k, p, place, If(known, NONE, new))
        k.set(f.reg(reg), (e["me"],), If(known, new, NONE))

    words = f"{{{prog}}} holds {{{reg}}} from now on, if it did not already"
    regs = {reg: "maybe"}
    return Step(f"bind {reg} to {prog}", words, effect, regs=regs, kinds=("map",))
