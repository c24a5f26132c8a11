"""Elements of maps that hold objects: programs, maps, the open files of perf events."""

from __future__ import annotations

from dataclasses import dataclass

from .. import state as s
from ..state import HOLDS_MAPS, HOLDS_PROGS, MAP_TYPE, REDIRECTS, View
from ..steps import Check, Env, Frame, Guard, Param, Step, StepError
from ..values import (
    BOOL,
    FD,
    IDX,
    NONE,
    OBJ,
    And,
    If,
    Implies,
    Not,
    Or,
    Value,
    at_least,
    eq,
    ne,
    one_of,
)
from .registry import step

HELD = ("prog", "map", "file", "psock")  # by elements


def _map(f: Frame, file: str) -> Guard:
    """The map whose open file a local holds."""
    return lambda k, e: k.get(s.FILE_OBJ, k.get(f.reg(file), e["me"]))


@step("set type of {reg}", part="maps")
def _type(f: Frame, reg: str) -> Step:
    """The new map is of the type that the caller asks for. EINVAL: only an array can be made to be
    mapped, only a perf event array to preserve its elements; a cpumap and a ring buffer have no
    descriptors of another mode. (array_map_alloc_check, cpu_map_alloc, ringbuf_map_alloc)"""
    access = "access" in f.parts

    def fine(k: View, e: Env) -> Value:
        made = e["maptype"]
        mapped = Or(Not(e["mmapable"]), eq(made, MAP_TYPE.array))
        kept = Or(Not(e["preserve"]), eq(made, MAP_TYPE.perf_event_array))
        usual = eq(e["mode"], s.MODE.read_write) if access else True
        return And(mapped, kept, Or(usual, Not(one_of(made, (MAP_TYPE.cpumap, MAP_TYPE.ringbuf)))))

    def effect(k: View, e: Env) -> None:
        m = k.get(f.reg(reg), e["me"])
        k.when(Not(one_of(e["maptype"], HOLDS_MAPS)))
        k.set(s.MTYPE, (m,), e["maptype"])
        k.set(s.MMAPABLE, (m,), e["mmapable"])
        k.set(s.PRESERVE, (m,), e["preserve"])

    params = [Param("maptype", MAP_TYPE), Param("mmapable", BOOL), Param("preserve", BOOL)]
    params += [Param("mode", s.MODE)] if access else []
    checks = (Check("EINVAL", fine),)
    return Step(f"set type of {reg}", "sets its type", effect, tuple(params), None, checks)


@step("outer type of {reg}")
def _outer(f: Frame, reg: str) -> Step:
    """The new map holds maps, in an array or a hash as the caller asks for."""

    def effect(k: View, e: Env) -> None:
        k.when(one_of(e["maptype"], HOLDS_MAPS))
        k.set(s.MTYPE, (k.get(f.reg(reg), e["me"]),), e["maptype"])

    return Step(f"outer type of {reg}", "sets its type", effect, (Param("maptype", MAP_TYPE),))


@step("get {reg} from {value} for {file}")
def _get_value(f: Frame, reg: str, value: str, file: str) -> Step:
    """A counted reference to what an element of this local's map shall hold: a program, a map like
    the inner one, the open file of a perf event. The first program decides what programs a map
    takes. EBADF: closed, or no perf event; EINVAL: it does not fit; ENOMEM: nor into a cpumap.
    (prog_fd_array_get_ptr, bpf_map_fd_get_ptr, perf_event_fd_array_get_ptr, __dev_map_alloc_node,
    __cpu_map_entry_alloc, bpf_prog_map_compatible: kernel/bpf/)"""
    found = _map(f, file)
    fits = _Fits(f, found, value)

    def effect(k: View, e: Env) -> None:
        held = If(fits.is_type(k, e, MAP_TYPE.perf_event_array), *fits.both(k, e), OBJ)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(held)
        k.set(f.reg(reg), (e["me"],), held)
        _decide(f, k, found(k, e), held)

    words = f"takes a reference on {{{reg}}}: refcnt +1"
    text = f"get {reg} from {value} for {file}"
    params = (Param(value, FD),)
    return Step(text, words, effect, params, None, fits.checks(), {reg: "full"}, HELD)


@dataclass(frozen=True)
class _Fits:
    """Whether what a descriptor `value` leads to can become an element of `map`."""

    f: Frame
    map: Guard
    value: str

    def both(self, k: View, e: Env) -> tuple[Value, Value]:
        """The open file, and the object behind it."""
        file = self.f.file_of(k, e, self.value)
        return file, k.get(s.FILE_OBJ, file)

    def is_type(self, k: View, e: Env, *types: int) -> Value:
        """The map is of one of these types."""
        return one_of(k.get(s.MTYPE, self.map(k, e)), types)

    def checks(self) -> tuple[Check, ...]:
        """Each type of map says in its own way that something does not fit."""
        is_type, both = self.is_type, self.both
        other = (*REDIRECTS, MAP_TYPE.perf_event_array)
        return (
            Check("EBADF", lambda k, e: Or(is_type(k, e, *REDIRECTS), ne(both(k, e)[0], NONE))),
            Check("EINVAL", lambda k, e: Or(is_type(k, e, *other), self._tail_or_inner(k, e))),
            Check("EINVAL", self._redirect("devmap")),
            Check("ENOMEM", self._redirect("cpumap")),
            Check("EBADF", lambda k, e: Or(Not(is_type(k, e, MAP_TYPE.perf_event_array)),
                                           k.kind(both(k, e)[1], *self.f.events))),
        )  # fmt: skip

    def _tail_or_inner(self, k: View, e: Env) -> Value:
        m, o = self.map(k, e), self.both(k, e)[1]
        alike = [eq(k.get(x, o), k.get(x, m)) for x in (s.MMAPABLE, s.PRESERVE)]
        inner = And(k.kind(o, "map"), eq(k.get(s.MTYPE, o), k.get(s.INNER, m)), *alike)
        prog = And(k.kind(o, "prog"), _same_type(self.f, k, m, o))
        tail = self.is_type(k, e, MAP_TYPE.prog_array)
        return Or(And(tail, prog), And(self.is_type(k, e, *HOLDS_MAPS), inner))

    def _redirect(self, name: str) -> Guard:
        """Redirected packets meet a program that was loaded for it."""
        made_for = self.f.ptype.range.names.index(f"xdp_{name}")

        def holds(k: View, e: Env) -> Value:
            m, o = self.map(k, e), self.both(k, e)[1]
            right = And(k.kind(o, "prog"), eq(k.get(self.f.ptype, o), made_for))
            return Or(
                Not(self.is_type(k, e, getattr(MAP_TYPE, name))),
                And(right, _same_type(self.f, k, m, o)),
            )

        return holds


def _same_type(f: Frame, k: View, holder: Value, prog: Value) -> Value:
    """The program has the type of the map that holds programs, or that has none yet."""
    return Implies(k.get(s.OWNED, holder), _alike(f, k, holder, prog))


def _alike(f: Frame, k: View, holder: Value, prog: Value) -> Value:
    """The program is of the type of a map. What it is to be attached to, xdp_devmap or xdp, is
    part of its type for a prog array only. (__bpf_prog_map_compatible: kernel/bpf/core.c)"""
    xdp = [n for n, name in enumerate(f.ptype.range.names) if name.startswith("xdp")]
    mine, its = k.get(f.ptype, holder), k.get(f.ptype, prog)
    redirect = one_of(k.get(s.MTYPE, holder), REDIRECTS)
    return Or(eq(mine, its), And(redirect, one_of(mine, xdp), one_of(its, xdp)))


def _decide(f: Frame, k: View, array: Value, prog: Value) -> None:
    """The first program decides what programs a map takes. (bpf_prog_map_compatible)"""
    new = And(one_of(k.get(s.MTYPE, array), HOLDS_PROGS), Not(k.get(s.OWNED, array)))
    k.set(f.ptype, (array,), If(new, k.get(f.ptype, prog), k.get(f.ptype, array)))
    k.set(s.OWNED, (array,), Or(new, k.get(s.OWNED, array)))


@step("fit arrays", part="maps")
def _fit(f: Frame) -> Step:
    """The maps of programs that the new program `new` uses take programs of its type: the first
    one decides it. EINVAL: such a map has another type already.
    (bpf_check_tail_call -> bpf_prog_map_compatible: kernel/bpf/core.c)"""
    new = "new"

    def used(k: View, e: Env, i: Value) -> tuple[Value, Value]:
        prog = k.get(f.reg(new), e["me"])
        return prog, k.get(s.USED, prog, i)

    def is_array(k: View, e: Env, i: Value) -> Value:
        return one_of(k.get(s.MTYPE, used(k, e, i)[1]), HOLDS_PROGS)

    def settled(k: View, e: Env, i: Value) -> Value:
        prog, array = used(k, e, i)
        same = _alike(f, k, array, prog)
        return Implies(is_array(k, e, i), And(k.get(s.OWNED, array), same))

    def holds(k: View, e: Env) -> Value:
        prog, array = used(k, e, e["i"])
        return Implies(is_array(k, e, e["i"]), _same_type(f, k, array, prog))

    def effect(k: View, e: Env) -> None:
        k.when(Not(settled(k, e, e["i"])))
        prog, array = used(k, e, e["i"])
        _decide(f, k, array, prog)

    def done(k: View, e: Env) -> Value:
        return k.all(IDX, lambda i: settled(k, e, i))

    words = "a map that it uses takes programs of its type from now on"
    params, checks = (Param("i", IDX),), (Check("EINVAL", holds),)
    return Step("fit arrays", words, effect, params, None, checks, loop=True, done=done)


def _defer(f: Frame, k: View, outer: Value, old: Value) -> None:
    """A map that leaves a map of maps will wait, when it dies, for those that may have found it
    there. The kernel says so when it gives up the element's reference, which keeps it until then.
    (bpf_map_fd_put_ptr: kernel/bpf/map_in_map.c)"""
    inner = And(one_of(k.get(s.MTYPE, outer), HOLDS_MAPS), k.kind(old, "map"))
    sleepers = at_least(k.get(s.SLEEPERS, outer), 1) if "flavours" in f.parts else False
    for family, now in ((s.AFTER_MULT, sleepers), (s.AFTER_RCU, Not(sleepers))):
        k.set(family, (old,), Or(k.get(family, old), And(inner, now)))


@step("swap {key} of {file} <-> {reg}")
def _swap(f: Frame, key: str, file: str, reg: str) -> Step:
    """The element and the local change places in one store. An element of a perf event array is of
    the map's open file by which it was set, unless the map preserves it; one of a devmap is of a
    device, that is of the caller's network namespace.
    (bpf_fd_array_map_update_elem, bpf_event_entry_gen: kernel/bpf/arraymap.c)"""
    found = _map(f, file)

    def effect(k: View, e: Env) -> None:
        m = found(k, e)
        old, new = k.get(s.ELEM, m, e[key]), k.get(f.reg(reg), e["me"])
        k.set(s.ELEM, (m, e[key]), new)
        k.set(f.reg(reg), (e["me"],), old)
        _defer(f, k, m, old)
        event = eq(k.get(s.MTYPE, m), MAP_TYPE.perf_event_array)
        own = And(event, Not(k.get(s.PRESERVE, m)))
        other: Value = NONE
        if "net" in f.parts:  # of its own loopback device (dev_get_by_index: kernel/bpf/devmap.c)
            mine = k.get(s.NET, k.get(s.PROC_OF, e["me"]))
            other = If(eq(k.get(s.MTYPE, m), MAP_TYPE.devmap), mine, NONE, OBJ)
        k.set(s.VIA, (m, e[key]), If(own, k.get(f.reg(file), e["me"]), other, OBJ))

    words = f"puts {{{reg}}} into the element; the local holds what was there before"
    text = f"swap {key} of {file} <-> {reg}"
    return Step(text, words, effect, (Param(key, IDX),), regs={reg: "maybe"}, kinds=HELD)


@step("take {key} of {file} -> {reg}")
def _take(f: Frame, key: str, file: str, reg: str) -> Step:
    """The element is empty; the local holds its reference. It was empty: ENOENT, of a sockmap
    EINVAL; a devmap or a cpumap does not mind. (fd_array_map_delete_elem, dev_map_delete_elem,
    cpu_map_delete_elem: kernel/bpf/, __sock_map_delete: net/core/sock_map.c)"""
    found = _map(f, file)

    def there(*minds_not: int) -> Guard:
        def holds(k: View, e: Env) -> Value:
            m = found(k, e)
            return Or(one_of(k.get(s.MTYPE, m), minds_not), ne(k.get(s.ELEM, m, e[key]), NONE))

        return holds

    def effect(k: View, e: Env) -> None:
        m = found(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"take finds the local {reg} empty")
        _defer(f, k, m, k.get(s.ELEM, m, e[key]))
        k.set(f.reg(reg), (e["me"],), k.get(s.ELEM, m, e[key]))
        k.set(s.ELEM, (m, e[key]), NONE)
        k.set(s.VIA, (m, e[key]), NONE)

    words = f"empties the element; {{{reg}}} is held by the call"
    text, params = f"take {key} of {file} -> {reg}", (Param(key, IDX),)
    checks = (
        Check("ENOENT", there(*REDIRECTS, MAP_TYPE.sockmap)),
        Check("EINVAL", there(*REDIRECTS)),
    )
    return Step(text, words, effect, params, None, checks, {reg: "maybe"}, HELD)


@step("forget elements", part="maps")
def _forget(f: Frame) -> Step:
    """The dying file takes an element with it that a perf event array has through it, whoever else
    uses the map. (bpf_map_release -> perf_event_fd_array_release: kernel/bpf/arraymap.c)"""

    def mine(k: View, e: Env, i: Value) -> Value:
        return eq(k.get(s.VIA, k.get(s.FILE_OBJ, e["me"]), i), e["me"])

    def effect(k: View, e: Env) -> None:
        k.when(mine(k, e, e["i"]))
        place = (k.get(s.FILE_OBJ, e["me"]), e["i"])
        f.drop(k, k.get(s.ELEM, *place), maybe=True)
        k.set(s.ELEM, place, NONE)
        k.set(s.VIA, place, NONE)

    def done(k: View, e: Env) -> Value:
        return k.all(IDX, lambda i: Not(mine(k, e, i)))

    words = "an element that was set through it goes with it"
    return Step("forget elements", words, effect, (Param("i", IDX),), loop=True, done=done)


@step("like {inner} in {reg}")
def _like(f: Frame, inner: str, reg: str) -> Step:
    """The new map of maps will take maps like the one behind a descriptor, which it does not hold.
    EBADF: closed; EINVAL: not a map, or itself a map of maps; ENOTSUPP: not as an inner map.
    (bpf_map_meta_alloc: kernel/bpf/map_in_map.c)"""
    if f.args.get(inner) != "map":
        raise StepError(f"`{inner}` is not a map")

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, f.file_of(k, e, inner))

    checks = (
        Check("EBADF", lambda k, e: ne(f.file_of(k, e, inner), NONE)),
        Check("EINVAL", lambda k, e: k.kind(behind(k, e), "map")),
        Check("EINVAL", lambda k, e: Not(one_of(k.get(s.MTYPE, behind(k, e)), HOLDS_MAPS))),
        Check("ENOTSUPP", lambda k, e: ne(k.get(s.MTYPE, behind(k, e)), MAP_TYPE.prog_array)),
    )

    def effect(k: View, e: Env) -> None:
        m = k.get(f.reg(reg), e["me"])
        inner = behind(k, e)
        k.set(s.INNER, (m,), k.get(s.MTYPE, inner))
        for flag in (s.MMAPABLE, s.PRESERVE):
            k.set(flag, (m,), k.get(flag, inner))
        if "btf" in f.parts:  # the description of the inner map holds its type information
            types = k.get(s.BTF_OF, inner)
            k.inc(types, unless=eq(types, NONE))
            k.set(s.BTF_OF, (m,), types)

    words = "will hold maps like the given one, which it does not hold itself"
    return Step(f"like {inner} in {reg}", words, effect, (Param(inner, FD),), None, checks)
