"""Elements of maps that hold objects: programs in a prog array, maps in a map of maps."""

from __future__ import annotations

from .. import state as s
from ..state import HOLDS_MAPS, HOLDS_PROGS, View
from ..steps import Check, Env, Frame, Guard, Param, Step, StepError
from ..values import BOOL, FD, IDX, NONE, And, If, Implies, Not, Or, Value, eq, ne, one_of
from .registry import step


def _map(f: Frame, file: str) -> Guard:
    """The map whose open file a local holds."""
    return lambda k, e: k.get(s.FILE_OBJ, k.get(f.reg(file), e["me"]))


@step("set type of {reg}", part="maps")
def _type(f: Frame, reg: str) -> Step:
    """The new map is of the type that the caller asks for. EINVAL: only an array can be made to be
    mapped. (array_map_alloc_check: kernel/bpf/arraymap.c)"""

    def fine(k: View, e: Env) -> Value:
        return Or(Not(e["mmapable"]), eq(e["maptype"], s.MAP_TYPE.array))

    def effect(k: View, e: Env) -> None:
        m = k.get(f.reg(reg), e["me"])
        k.when(Not(one_of(e["maptype"], HOLDS_MAPS)))
        k.set(s.MTYPE, (m,), e["maptype"])
        k.set(s.MMAPABLE, (m,), e["mmapable"])

    params = (Param("maptype", s.MAP_TYPE), Param("mmapable", BOOL))
    checks = (Check("EINVAL", fine),)
    return Step(f"set type of {reg}", "sets its type", effect, params, None, checks)


@step("outer type of {reg}")
def _outer(f: Frame, reg: str) -> Step:
    """The new map holds maps, in an array or a hash as the caller asks for."""

    def effect(k: View, e: Env) -> None:
        k.when(one_of(e["maptype"], HOLDS_MAPS))
        k.set(s.MTYPE, (k.get(f.reg(reg), e["me"]),), e["maptype"])

    return Step(f"outer type of {reg}", "sets its type", effect, (Param("maptype", s.MAP_TYPE),))


@step("get {reg} from {value} for {file}")
def _get_value(f: Frame, reg: str, value: str, file: str) -> Step:
    """A counted reference to what a descriptor leads to, if the map of this local's file takes it:
    a program of the array's type (the first one decides it), or a map like the inner one.
    EBADF: closed; EINVAL: it does not fit.
    (prog_fd_array_get_ptr, bpf_prog_map_compatible, bpf_map_fd_get_ptr: kernel/bpf/)"""
    found = _map(f, file)

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, f.file_of(k, e, value))

    def fits(k: View, e: Env) -> Value:
        m, o = found(k, e), behind(k, e)
        kind = k.get(s.MTYPE, m)
        prog = And(k.kind(o, "prog"), _same_type(f, k, m, o))
        inner = And(
            k.kind(o, "map"), eq(k.get(s.MTYPE, o), k.get(s.INNER, m)),
            eq(k.get(s.MMAPABLE, o), k.get(s.MMAPABLE, m)),
        )  # fmt: skip
        return Or(And(one_of(kind, HOLDS_PROGS), prog), And(one_of(kind, HOLDS_MAPS), inner))

    checks = (
        Check("EBADF", lambda k, e: ne(f.file_of(k, e, value), NONE)),
        Check("EINVAL", fits),
    )

    def effect(k: View, e: Env) -> None:
        o = behind(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(o)
        k.set(f.reg(reg), (e["me"],), o)
        _decide(f, k, found(k, e), o)

    words = f"takes a reference on {{{reg}}}: refcnt +1"
    text = f"get {reg} from {value} for {file}"
    params = (Param(value, FD),)
    return Step(text, words, effect, params, None, checks, {reg: "full"}, ("prog", "map"))


def _same_type(f: Frame, k: View, array: Value, prog: Value) -> Value:
    """The program has the type of the prog array, or the array has none yet."""
    return Implies(k.get(s.OWNED, array), eq(k.get(f.ptype, array), k.get(f.ptype, prog)))


def _decide(f: Frame, k: View, array: Value, prog: Value) -> None:
    """The first program decides a prog array's type. (bpf_prog_map_compatible)"""
    new = And(one_of(k.get(s.MTYPE, array), HOLDS_PROGS), Not(k.get(s.OWNED, array)))
    k.set(f.ptype, (array,), If(new, k.get(f.ptype, prog), k.get(f.ptype, array)))
    k.set(s.OWNED, (array,), Or(new, k.get(s.OWNED, array)))


@step("fit arrays", part="maps")
def _fit(f: Frame) -> Step:
    """The prog arrays that the new program `new` uses take programs of its type: the first one
    decides it. EINVAL: an array has another type already.
    (bpf_check_tail_call -> bpf_prog_map_compatible: kernel/bpf/core.c)"""
    new = "new"

    def used(k: View, e: Env, i: Value) -> tuple[Value, Value]:
        prog = k.get(f.reg(new), e["me"])
        return prog, k.get(s.USED, prog, i)

    def is_array(k: View, e: Env, i: Value) -> Value:
        return one_of(k.get(s.MTYPE, used(k, e, i)[1]), HOLDS_PROGS)

    def settled(k: View, e: Env, i: Value) -> Value:
        prog, array = used(k, e, i)
        same = eq(k.get(f.ptype, array), k.get(f.ptype, prog))
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

    words = "a prog array that it uses takes programs of its type from now on"
    params, checks = (Param("i", IDX),), (Check("EINVAL", holds),)
    return Step("fit arrays", words, effect, params, None, checks, loop=True, done=done)


@step("swap {key} of {file} <-> {reg}")
def _swap(f: Frame, key: str, file: str, reg: str) -> Step:
    """The element and the local change places in one store. (bpf_fd_array_map_update_elem)"""
    found = _map(f, file)

    def effect(k: View, e: Env) -> None:
        m = found(k, e)
        old = k.get(s.ELEM, m, e[key])
        k.set(s.ELEM, (m, e[key]), k.get(f.reg(reg), e["me"]))
        k.set(f.reg(reg), (e["me"],), old)

    words = f"puts {{{reg}}} into the element; the local holds what was there before"
    text = f"swap {key} of {file} <-> {reg}"
    return Step(text, words, effect, (Param(key, IDX),), regs={reg: "maybe"}, kinds=("prog", "map"))


@step("take {key} of {file} -> {reg}")
def _take(f: Frame, key: str, file: str, reg: str) -> Step:
    """The element is empty; the local holds its reference. ENOENT: it was empty.
    (fd_array_map_delete_elem)"""
    found = _map(f, file)
    there = Check("ENOENT", lambda k, e: ne(k.get(s.ELEM, found(k, e), e[key]), NONE))

    def effect(k: View, e: Env) -> None:
        m = found(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"take finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), k.get(s.ELEM, m, e[key]))
        k.set(s.ELEM, (m, e[key]), NONE)

    words = f"empties the element; {{{reg}}} is held by the call"
    text, params = f"take {key} of {file} -> {reg}", (Param(key, IDX),)
    return Step(text, words, effect, params, None, (there,), {reg: "full"}, ("prog", "map"))


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
        Check("ENOTSUPP", lambda k, e: Not(one_of(k.get(s.MTYPE, behind(k, e)), HOLDS_PROGS))),
    )

    def effect(k: View, e: Env) -> None:
        m = k.get(f.reg(reg), e["me"])
        inner = behind(k, e)
        k.set(s.INNER, (m,), k.get(s.MTYPE, inner))
        k.set(s.MMAPABLE, (m,), k.get(s.MMAPABLE, inner))
        if "btf" in f.parts:  # the description of the inner map holds its type information
            types = k.get(s.BTF_OF, inner)
            k.inc(types, unless=eq(types, NONE))
            k.set(s.BTF_OF, (m,), types)

    words = "will hold maps like the given one, which it does not hold itself"
    return Step(f"like {inner} in {reg}", words, effect, (Param(inner, FD),), None, checks)
