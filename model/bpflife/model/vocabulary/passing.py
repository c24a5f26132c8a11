"""Descriptors sent over sockets: a message in flight holds the open file, whoever sent it.

The sockets are a pair of Unix datagram sockets. A message is an object of its own: the queue of
the socket that it was sent to holds it (a counted slot, `sent`), and it holds the file (`cargo`).
Objects of a kind are born in order, so "the oldest message" is the lowest one.
"""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Guard, Param, Step
from ..values import LIFE, NONE, OBJ, And, Not, Value, eq, ne
from .registry import step


def _socket(f: Frame, reg: str) -> Guard:
    """The socket whose open file a local holds."""
    return lambda k, e: k.get(s.FILE_OBJ, k.get(f.reg(reg), e["me"]))


@step("pair {reg} with {other}")
def _pair(f: Frame, reg: str, other: str) -> Step:
    """Two new sockets get to know each other; neither holds the other here: when one dies it
    says so. (unix_socketpair, unix_release_sock: net/unix/af_unix.c)"""

    def effect(k: View, e: Env) -> None:
        a, b = k.get(f.reg(reg), e["me"]), k.get(f.reg(other), e["me"])
        k.need(And(ne(a, NONE), ne(b, NONE)), "pair finds two sockets")
        k.set(s.PEER, (a,), b)
        k.set(s.PEER, (b,), a)

    words = f"connects {{{reg}}} and {{{other}}}"
    return Step(f"pair {reg} with {other}", words, effect)


@step("disconnect {sock}")
def _disconnect(f: Frame, sock: str) -> Step:
    """The socket gives up on a peer that is gone: it was refused once, and what the peer had sent
    is lost. (unix_dgram_sendmsg, unix_dgram_disconnected: net/unix/af_unix.c)"""
    socket = _socket(f, sock)

    def effect(k: View, e: Env) -> None:
        k.set(s.HUNG_UP, (socket(k, e),), True)

    return Step(f"disconnect {sock}", "gives up on the other end", effect)


@step("send {file} over {sock}")
def _send(f: Frame, file: str, sock: str) -> Step:
    """A new message stands in the peer's queue and takes over the local's reference to the file:
    the sender may close it, and die. ENOTCONN: it gave up on the peer before; ECONNREFUSED: the
    peer is gone. One step, under the peer's lock. (unix_dgram_sendmsg: net/unix/af_unix.c)"""
    socket = _socket(f, sock)
    checks = (
        Check("ENOTCONN", lambda k, e: eq(k.get(s.HUNG_UP, socket(k, e)), False)),
        Check("ECONNREFUSED", lambda k, e: ne(k.get(s.PEER, socket(k, e)), NONE)),
    )

    def effect(k: View, e: Env) -> None:
        m = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), "message")
        cargo = k.get(f.reg(file), e["me"])
        k.need(ne(cargo, NONE), f"send finds a file in {file}")
        k.set(s.LIFE_OF, (m,), LIFE.live)
        k.set(s.REFCNT, (m,), 1)
        k.set(s.SENT, (m,), m)
        k.set(s.QUEUE, (m,), k.get(s.PEER, socket(k, e)))
        k.set(s.CARGO, (m,), cargo)
        k.set(f.reg(file), (e["me"],), NONE)

    words = f"sends {{{file}}}: the message in flight holds the open file"
    text, regs = f"send {file} over {sock}", {file: "empty"}
    return Step(text, words, effect, (), None, checks, regs)


@step("receive {file} over {sock}")
def _receive(f: Frame, file: str, sock: str) -> Step:
    """The oldest message of the queue gives its file to the local and is gone.
    EAGAIN: there is none. (unix_dgram_recvmsg: net/unix/af_unix.c, scm_detach_fds)"""
    socket = _socket(f, sock)

    def waits(k: View, e: Env, m: Value) -> Value:
        return And(ne(k.get(s.SENT, m), NONE), eq(k.get(s.QUEUE, m), socket(k, e)))

    def some(k: View, e: Env) -> Value:
        return Not(k.all(OBJ, lambda m: Not(waits(k, e, m)), "message"))

    def effect(k: View, e: Env) -> None:
        m = k.lowest(OBJ, lambda x: waits(k, e, x), "message")
        k.need(eq(k.get(f.reg(file), e["me"]), NONE), f"receive finds the local {file} empty")
        k.need(ne(k.get(s.CARGO, m), NONE), "a message in a queue has a file")
        k.set(f.reg(file), (e["me"],), k.get(s.CARGO, m))
        k.set(s.CARGO, (m,), NONE)
        k.set(s.QUEUE, (m,), NONE)
        f.put(k, s.SENT, (m,), "message")

    words = f"takes {{{file}}} out of the oldest message"
    text = f"receive {file} over {sock}"
    checks = (Check("EAGAIN", some),)
    return Step(text, words, effect, (), None, checks, {file: "full"}, ("file",))


# ---------------------------------------------------------------------------------------------
# the end of a socket


@step("leave peer")
def _leave_peer(f: Frame) -> Step:
    """The dying socket is nobody's peer any more."""

    def effect(k: View, e: Env) -> None:
        peer = k.get(s.PEER, e["me"])
        k.set(s.PEER, (peer,), NONE)
        k.set(s.PEER, (e["me"],), NONE)

    return Step("leave peer", "tells its peer that it is gone", effect)


@step("purge queue")
def _purge(f: Frame) -> Step:
    """A message that nobody will receive any more is dropped. (unix_release_sock)"""

    def mine(k: View, e: Env, m: Value) -> Value:
        return And(ne(k.get(s.SENT, m), NONE), eq(k.get(s.QUEUE, m), e["me"]))

    def effect(k: View, e: Env) -> None:
        k.when(mine(k, e, e["m"]))
        k.set(s.QUEUE, (e["m"],), NONE)
        f.put(k, s.SENT, (e["m"],), "message")

    def done(k: View, e: Env) -> Value:
        return k.all(OBJ, lambda m: Not(mine(k, e, m)), "message")

    params = (Param("m", OBJ, "message"),)
    words = "a message in its queue is dropped"
    return Step("purge queue", words, effect, params, loop=True, done=done)
