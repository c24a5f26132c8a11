"""Unix sockets: pairs, streams that listen and are connected by name, and their end.

A socket's address is its name in the scenario (an abstract one: it goes with the socket). A
connection that nobody has accepted yet is a socket without a file: the listener's queue holds it,
as it holds a message (`sent`), and what was sent over it stands in its own queue.
"""

from __future__ import annotations

from .. import state as s
from ..state import SOCKET_STATE, SOCKET_TYPE, View
from ..steps import Check, Env, Frame, Param, Step
from ..values import LIFE, NONE, OBJ, And, If, Not, Or, Value, eq, ne, one_of
from .members import join_cgroup, leave_to_peer
from .networks import join_net
from .passing import is_stream, nothing_in, socket_of, stands_in
from .registry import step

QUEUED = "message|socket"  # kinds that stand in queues


@step("set socket type of {reg}")
def _type(f: Frame, reg: str) -> Step:
    """The new socket is of the type that the caller asks for. (unix_create: net/unix/af_unix.c)"""

    def effect(k: View, e: Env) -> None:
        k.set(s.STYPE, (k.get(f.reg(reg), e["me"]),), e["sockettype"])

    params = (Param("sockettype", SOCKET_TYPE),)
    return Step(f"set socket type of {reg}", "sets its type", effect, params)


@step("pair {reg} with {other}")
def _pair(f: Frame, reg: str, other: str) -> Step:
    """Two new sockets of one type get to know each other; neither holds the other here: when one
    dies it says so. (unix_socketpair, unix_release_sock: net/unix/af_unix.c)"""

    def effect(k: View, e: Env) -> None:
        a, b = k.get(f.reg(reg), e["me"]), k.get(f.reg(other), e["me"])
        k.need(And(ne(a, NONE), ne(b, NONE)), "pair finds two sockets")
        for one, two in ((a, b), (b, a)):
            k.set(s.STYPE, (one,), e["sockettype"])
            k.set(s.SSTATE, (one,), SOCKET_STATE.connected)
            k.set(s.PEER, (one,), two)

    words, params = f"connects {{{reg}}} and {{{other}}}", (Param("sockettype", SOCKET_TYPE),)
    return Step(f"pair {reg} with {other}", words, effect, params)


@step("bind {sock}")
def _bind(f: Frame, sock: str) -> Step:
    """The socket gets its own name as address. EINVAL: it has one.
    (unix_bind_abstract: net/unix/af_unix.c)"""
    socket = socket_of(f, sock)

    def effect(k: View, e: Env) -> None:
        k.set(s.BOUND, (socket(k, e),), True)

    free = Check("EINVAL", lambda k, e: eq(k.get(s.BOUND, socket(k, e)), False))
    return Step(f"bind {sock}", "can be found by its name from now on", effect, checks=(free,))


@step("listen on {sock}")
def _listen(f: Frame, sock: str) -> Step:
    """The socket takes connections. ENOTSUP: no stream; EINVAL: no address, or connected.
    (unix_listen: net/unix/af_unix.c; its backlog has no end here)"""
    socket = socket_of(f, sock)
    fresh = (SOCKET_STATE.unconnected, SOCKET_STATE.listening)
    checks = (
        Check("ENOTSUP", lambda k, e: is_stream(k, socket(k, e))),
        Check("EINVAL", lambda k, e: eq(k.get(s.BOUND, socket(k, e)), True)),
        Check("EINVAL", lambda k, e: one_of(k.get(s.SSTATE, socket(k, e)), fresh)),
    )

    def effect(k: View, e: Env) -> None:
        k.set(s.SSTATE, (socket(k, e),), SOCKET_STATE.listening)

    return Step(f"listen on {sock}", "takes connections from now on", effect, checks=checks)


@step("connect {sock} to {name}")
def _connect(f: Frame, sock: str, name: str) -> Step:
    """A new socket, the other end, stands in the queue of the listener of that name; it has the
    listener's address. One step, under the listener's lock. ECONNREFUSED: nobody of that name and
    type listens in the socket's network namespace; EISCONN: the socket is connected, or was;
    EINVAL: it listens itself.
    (unix_stream_connect, unix_dgram_connect: net/unix/af_unix.c)"""
    socket, nets = socket_of(f, sock), "net" in f.parts

    def found(k: View, e: Env) -> Value:
        there = And(k.live(e[name]), eq(k.get(s.SSTATE, e[name]), SOCKET_STATE.listening))
        near = eq(k.get(s.SK_NET, e[name]), k.get(s.SK_NET, socket(k, e))) if nets else True
        return And(there, near, is_stream(k, socket(k, e)))

    def in_state(k: View, e: Env, *states: int) -> Value:
        return one_of(k.get(s.SSTATE, socket(k, e)), states)

    checks = (
        Check("ECONNREFUSED", found),
        Check("EISCONN", lambda k, e: Not(in_state(k, e, SOCKET_STATE.connected))),
        Check("EINVAL", lambda k, e: in_state(k, e, SOCKET_STATE.unconnected)),
    )

    def effect(k: View, e: Env) -> None:
        mine = socket(k, e)
        end = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), "socket")
        k.set(s.LIFE_OF, (end,), LIFE.live)
        k.set(s.REFCNT, (end,), 1)
        k.set(s.SENT, (end,), end)
        k.set(s.QUEUE, (end,), e[name])
        k.set(s.STYPE, (end,), SOCKET_TYPE.stream)
        k.set(s.SSTATE, (end,), SOCKET_STATE.waiting)
        k.set(s.BOUND, (end,), True)
        k.set(s.PEER, (end,), mine)
        if nets:
            join_net(k, end, k.get(s.SK_NET, mine))
        k.set(s.PEER, (mine,), end)
        k.set(s.SSTATE, (mine,), SOCKET_STATE.connected)
        join_cgroup(f, k, e["me"], end)

    words = "connects: the other end waits in the listener's queue, which holds it"
    params = (Param(name, OBJ, "socket"),)
    return Step(f"connect {sock} to {name}", words, effect, params, None, checks)


@step("accept {reg} over {sock}")
def _accept(f: Frame, reg: str, sock: str) -> Step:
    """The local takes the oldest connection out of the listener's queue. ENOTSUP: no stream;
    EINVAL: it does not listen; EAGAIN: no connection. (unix_accept: net/unix/af_unix.c)"""
    socket = socket_of(f, sock)
    listening = SOCKET_STATE.listening
    checks = (
        Check("ENOTSUP", lambda k, e: is_stream(k, socket(k, e))),
        Check("EINVAL", lambda k, e: eq(k.get(s.SSTATE, socket(k, e)), listening)),
        Check("EAGAIN", lambda k, e: Not(nothing_in(k, socket(k, e), "socket"))),
    )

    def effect(k: View, e: Env) -> None:
        o = socket(k, e)
        end = k.lowest(OBJ, lambda x: stands_in(k, x, o), "socket")
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"accept finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), end)
        k.set(s.QUEUE, (end,), NONE)
        k.set(s.SENT, (end,), NONE)
        k.set(s.SSTATE, (end,), SOCKET_STATE.connected)

    words = f"takes {{{reg}}}, the oldest connection, out of the queue"
    text, regs = f"accept {reg} over {sock}", {reg: "full"}
    return Step(text, words, effect, (), None, checks, regs, ("socket",))


# ---------------------------------------------------------------------------------------------
# the end of a socket


@step("leave peer")
def _leave_peer(f: Frame) -> Step:
    """The dying socket is nobody's peer any more. The peer of a stream learns of it by a reset, if
    something was left unread or nobody had accepted it. (unix_release_sock: net/unix/af_unix.c)"""

    def effect(k: View, e: Env) -> None:
        me = e["me"]
        peer = k.get(s.PEER, me)
        waiting = eq(k.get(s.SSTATE, me), SOCKET_STATE.waiting)
        unread = Or(waiting, Not(nothing_in(k, me, "message")))
        reset = And(is_stream(k, me), unread)
        k.set(s.RESET, (peer,), If(reset, True, k.get(s.RESET, peer)))
        k.set(s.PEER, (peer,), NONE)
        k.set(s.PEER, (me,), NONE)
        leave_to_peer(f, k, me, peer)

    return Step("leave peer", "tells its peer that it is gone", effect)


@step("purge queue")
def _purge(f: Frame) -> Step:
    """A message that nobody will receive any more is dropped, and a connection that nobody will
    accept. (unix_release_sock: net/unix/af_unix.c)"""

    def effect(k: View, e: Env) -> None:
        k.when(stands_in(k, e["m"], e["me"]))
        k.set(s.QUEUE, (e["m"],), NONE)
        f.put(k, s.SENT, (e["m"],), "message")

    def done(k: View, e: Env) -> Value:
        return nothing_in(k, e["me"], QUEUED)

    params = (Param("m", OBJ, QUEUED),)
    words = "a message, or a connection, in its queue is dropped"
    return Step("purge queue", words, effect, params, loop=True, done=done)
