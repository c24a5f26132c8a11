"""Sockmaps: sockets by key, and programs that a socket gets when it is put into one.

A map does not hold a socket: the socket has a `psock`, which lives as long as the socket is in
some map, and each element of a sockmap holds that. The map's programs are given to the psock when
the socket comes into the map, with a reference each; what is attached later is for later sockets.
"""

from __future__ import annotations

from .. import state as s
from ..state import MAP_TYPE, SOCKMAP_HOOK, VERDICTS, Family, View
from ..steps import Check, Env, Frame, Guard, Param, Step, StepError
from ..values import IDX, LIFE, NONE, OBJ, And, If, Not, Or, Value, eq, ne, plus
from .references import leads_to
from .registry import step

PROGRAMS = ("sk_skb", "sk_msg")  # what each hook takes, in the order of VERDICTS
GIVEN = dict(zip(("skb", "msg"), VERDICTS, strict=True))  # local -> the slot that it is meant for


def _behind(f: Frame, reg: str) -> Guard:
    """What the open file in a local is of."""
    return lambda k, e: k.get(s.FILE_OBJ, k.get(f.reg(reg), e["me"]))


def _which(hook: Value, slot: Family) -> Value:
    """The slot is the one that the hook names: one of the two, whatever the hook."""
    first = eq(hook, SOCKMAP_HOOK.sk_skb_verdict)
    return first if slot == VERDICTS[0] else Not(first)


def _at(k: View, hook: Value, m: Value) -> Value:
    """The program that a sockmap has at a hook."""
    first, second = (k.get(slot, m) for slot in VERDICTS)
    return If(_which(hook, VERDICTS[0]), first, second, OBJ)


# ---------------------------------------------------------------------------------------------
# attaching to the map


@step("get {reg} from {arg} as verdict")
def _get(f: Frame, reg: str, arg: str) -> Step:
    """A counted reference to the program behind a descriptor, of the type that this hook of a
    sockmap takes. EBADF: closed; EINVAL: no program, or another type.
    (bpf_prog_get_type, attach_type_to_prog_type: kernel/bpf/syscall.c)"""
    behind, checks, params, *_ = leads_to(f, arg)
    skb, msg = (f.ptype.range.names.index(name) for name in PROGRAMS)

    def right(k: View, e: Env) -> Value:
        wanted = If(_which(e["attach_type"], VERDICTS[0]), skb, msg, f.ptype.range)
        return eq(k.get(f.ptype, behind(k, e)), wanted)

    def effect(k: View, e: Env) -> None:
        o = behind(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(o)
        k.set(f.reg(reg), (e["me"],), o)

    words, text = f"takes a reference on {{{reg}}}: refcnt +1", f"get {reg} from {arg} as verdict"
    params = (*params, Param("attach_type", SOCKMAP_HOOK))
    checks = (*checks, Check("EINVAL", right))
    return Step(text, words, effect, params, None, checks, {reg: "full"}, ("prog",))


def _is_sockmap(f: Frame, file: str) -> Check:
    found = _behind(f, file)
    return Check("ENOTSUP", lambda k, e: eq(k.get(s.MTYPE, found(k, e)), MAP_TYPE.sockmap))


@step("set hook of {file} <-> {reg}")
def _swap(f: Frame, file: str, reg: str) -> Step:
    """The sockmap's program and the local change places in one store. ENOTSUP: no sockmap.
    (sock_map_prog_update, psock_set_prog: net/core/sock_map.c)"""
    found = _behind(f, file)

    def effect(k: View, e: Env) -> None:
        m, new = found(k, e), k.get(f.reg(reg), e["me"])
        old = _at(k, e["attach_type"], m)
        for slot in VERDICTS:
            k.set(slot, (m,), If(_which(e["attach_type"], slot), new, k.get(slot, m), OBJ))
        k.set(f.reg(reg), (e["me"],), old)

    words = f"attaches {{{reg}}} to the map; the local holds what was attached before"
    params, checks = (Param("attach_type", SOCKMAP_HOOK),), (_is_sockmap(f, file),)
    text = f"set hook of {file} <-> {reg}"
    return Step(text, words, effect, params, None, checks, {reg: "maybe"}, ("prog",))


@step("clear hook of {file} if {prog} -> {reg}")
def _clear(f: Frame, file: str, prog: str, reg: str) -> Step:
    """The sockmap's hook is empty, the local holds its reference. ENOTSUP: no sockmap; ENOENT:
    another program is attached, or none. (psock_replace_prog: include/linux/skmsg.h)"""
    found = _behind(f, file)

    def same(k: View, e: Env) -> Value:
        return eq(_at(k, e["attach_type"], found(k, e)), k.get(f.reg(prog), e["me"]))

    def effect(k: View, e: Env) -> None:
        m = found(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"clear finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), _at(k, e["attach_type"], m))
        for slot in VERDICTS:
            k.set(slot, (m,), If(_which(e["attach_type"], slot), NONE, k.get(slot, m), OBJ))

    words = f"detaches it from the map; {{{reg}}} is held by the call"
    checks = (_is_sockmap(f, file), Check("ENOENT", same))
    params, text = (Param("attach_type", SOCKMAP_HOOK),), f"clear hook of {file} if {prog} -> {reg}"
    return Step(text, words, effect, params, None, checks, {reg: "maybe"}, ("prog",))


# ---------------------------------------------------------------------------------------------
# sockets come and go


@step("get {reg} of {file}")
def _get_verdict(f: Frame, reg: str, file: str) -> Step:
    """A counted reference to a program of the sockmap, `skb` or `msg`, if one is attached: the
    socket that comes into the map will hold it. (sock_map_link: net/core/sock_map.c)"""
    if reg not in GIVEN:
        raise StepError(f"`{reg}`: a sockmap has {' and '.join(GIVEN)}")
    found = _behind(f, file)

    def effect(k: View, e: Env) -> None:
        prog = k.get(GIVEN[reg], found(k, e))
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(prog, unless=eq(prog, NONE))
        k.set(f.reg(reg), (e["me"],), prog)

    words = "takes a reference on the program that the map has for its sockets, if any"
    return Step(f"get {reg} of {file}", words, effect, regs={reg: "maybe"}, kinds=("prog",))


@step("link {sock} -> {reg}")
def _link(f: Frame, sock: str, reg: str) -> Step:
    """The local gets a reference to the socket's psock, a new one if it was in no map; that takes
    over the programs in `skb` and `msg`. EBUSY: it has such a program from another map, or from the
    same. One step, under the socket's lock.
    (sock_map_link, sk_psock_init: net/core/sock_map.c, net/core/skmsg.c)"""
    found = _behind(f, sock)

    def gives(k: View, e: Env, name: str) -> Value:
        return k.get(f.reg(name), e["me"])

    def free(k: View, e: Env) -> Value:
        p = k.get(s.PSOCK, found(k, e))
        twice = [
            And(ne(gives(k, e, name), NONE), ne(k.get(slot, p), NONE))
            for name, slot in GIVEN.items()
        ]
        return Or(eq(p, NONE), And(k.live(p), Not(Or(*twice))))

    def effect(k: View, e: Env) -> None:
        socket = found(k, e)
        old = k.get(s.PSOCK, socket)
        new = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), "psock")
        p = If(eq(old, NONE), new, old, OBJ)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"link finds the local {reg} empty")
        k.set(s.LIFE_OF, (p,), LIFE.live)
        k.set(s.REFCNT, (p,), plus(k.get(s.REFCNT, p), 1))
        k.set(s.PSOCK, (socket,), p)
        k.set(s.SOCK, (p,), socket)
        k.set(f.reg(reg), (e["me"],), p)
        for name, slot in GIVEN.items():
            prog = gives(k, e, name)
            k.set(slot, (p,), If(eq(prog, NONE), k.get(slot, p), prog, OBJ))
            k.set(f.reg(name), (e["me"],), NONE)

    words = "gets to the socket's part for maps, which takes over the map's programs"
    regs = {reg: "full", **dict.fromkeys(GIVEN, "empty")}
    checks = (Check("EBUSY", free),)
    return Step(f"link {sock} -> {reg}", words, effect, (), None, checks, regs, ("psock",))


@step("stop {psock} of {file} -> {reg}", part="sockmap")
def _stop(f: Frame, psock: str, file: str, reg: str) -> Step:
    """A socket that leaves a map which has a program for received data stops to run one, although
    another map may have given it. (sock_map_del_link, sk_psock_stop_verdict)"""
    found, skb = _behind(f, file), VERDICTS[0]

    def effect(k: View, e: Env) -> None:
        p = k.get(f.reg(psock), e["me"])
        stops = And(k.kind(p, "psock"), ne(k.get(skb, found(k, e)), NONE))
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"stop finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), If(stops, k.get(skb, p), NONE, OBJ))
        k.set(skb, (p,), If(stops, NONE, k.get(skb, p), OBJ))

    words = "a socket that leaves the map stops to run a program on what it receives"
    text = f"stop {psock} of {file} -> {reg}"
    return Step(text, words, effect, regs={reg: "maybe"}, kinds=("prog",))


@step("leave maps", part="sockmap")
def _leave_maps(f: Frame) -> Step:
    """The dying socket leaves every map that it is in. (sock_map_close, sock_map_remove_links)"""

    def effect(k: View, e: Env) -> None:
        p = k.get(s.PSOCK, e["me"])
        k.when(And(ne(p, NONE), eq(k.get(s.ELEM, e["map"], e["i"]), p)))
        f.put(k, s.ELEM, (e["map"], e["i"]), "element")

    def done(k: View, e: Env) -> Value:
        return eq(k.get(s.PSOCK, e["me"]), NONE)

    params = (Param("map", OBJ, "map"), Param("i", IDX))
    words = "leaves a map that it is in"
    return Step("leave maps", words, effect, params, loop=True, done=done)


@step("leave socket")
def _leave_socket(f: Frame) -> Step:
    """The socket is in no map any more: it forgets the dying psock. (sk_psock_drop)"""

    def effect(k: View, e: Env) -> None:
        socket = k.get(s.SOCK, e["me"])
        mine = eq(k.get(s.PSOCK, socket), e["me"])
        k.set(s.PSOCK, (socket,), If(mine, NONE, k.get(s.PSOCK, socket), OBJ))
        k.set(s.SOCK, (e["me"],), NONE)

    return Step("leave socket", "the socket is in no map any more", effect)
