"""Descriptors sent over sockets: a message in flight holds the open files, whoever sent it.

A message is an object of its own: the queue of the socket that it was sent to holds it (a counted
slot, `sent`), and it holds the files (`cargo`). Objects of a kind are born in order, so "the oldest
message" is the lowest one. What sockets are, and how they come and go: sockets.py.
"""

from __future__ import annotations

from .. import state as s
from ..state import SOCKET_STATE, SOCKET_TYPE, View
from ..steps import Check, Env, Frame, Guard, Param, Step, StepError
from ..values import FD, IDX, NONE, OBJ, And, If, Implies, Not, Or, Value, eq, ne
from .members import belong, forget_peer
from .registry import nothing, step

MAX_CARGO = 4  # descriptors that a scenario's message carries; the kernel takes 253


def socket_of(f: Frame, reg: str) -> Guard:
    """The socket whose open file a local holds."""
    return lambda k, e: k.get(s.FILE_OBJ, k.get(f.reg(reg), e["me"]))


def is_stream(k: View, socket: Value) -> Value:
    """It is a stream socket."""
    return eq(k.get(s.STYPE, socket), SOCKET_TYPE.stream)


def stands_in(k: View, o: Value, socket: Value) -> Value:
    """A message, or a connection, stands in the queue of a socket."""
    return And(ne(k.get(s.SENT, o), NONE), eq(k.get(s.QUEUE, o), socket))


def nothing_in(k: View, socket: Value, kind: str) -> Value:
    """No message (no connection) stands in the queue of a socket."""
    return k.all(OBJ, lambda o: Not(stands_in(k, o, socket)), kind)


# ---------------------------------------------------------------------------------------------
# sending


@step("load {files} into {reg}")
def _load(f: Frame, files: str, reg: str) -> Step:
    """One descriptor of the list becomes a reference that the new message holds. EBADF: closed.
    (__scm_send -> scm_fp_copy: net/core/scm.c; one that fails puts those before it)"""
    if f.args.get(files) != "files":
        raise StepError(f"`{files}` is not a list of descriptors")

    def effect(k: View, e: Env) -> None:
        m, file = k.get(f.reg(reg), e["me"]), f.file_of(k, e, "one")
        place = k.lowest(IDX, lambda i: eq(k.get(s.CARGO, m, i), NONE))
        k.inc(file)
        k.set(s.CARGO, (m, place), file)

    is_open = Check("EBADF", lambda k, e: ne(f.file_of(k, e, "one"), NONE))
    words, params = "the message takes a reference on one more open file", (Param("one", FD),)
    text = f"load {files} into {reg}"
    return Step(text, words, effect, params, None, (is_open,), loop=True, turns=files)


@step("send {reg} over {sock}")
def _send(f: Frame, reg: str, sock: str) -> Step:
    """The message stands in the peer's queue, which takes over the local's reference: the sender
    may close what it sent, and die. ENOTCONN: there is no peer, or it gave up on it; EPIPE,
    ECONNREFUSED: the peer of a stream, of a datagram socket is gone. One step, under the peer's
    lock. (unix_stream_sendmsg, unix_dgram_sendmsg: net/unix/af_unix.c)"""
    socket = socket_of(f, sock)

    def connected(k: View, e: Env) -> Value:
        return eq(k.get(s.SSTATE, socket(k, e)), SOCKET_STATE.connected)

    def reaches(k: View, e: Env) -> Value:
        return ne(k.get(s.PEER, socket(k, e)), NONE)

    def not_cut(k: View, e: Env) -> Value:
        return Implies(is_stream(k, socket(k, e)), reaches(k, e))

    checks = (
        Check("ENOTCONN", connected),
        Check("EPIPE", not_cut),
        Check("ECONNREFUSED", reaches),
    )

    def effect(k: View, e: Env) -> None:
        m = k.get(f.reg(reg), e["me"])
        k.need(ne(m, NONE), f"send finds a message in {reg}")
        k.set(s.SENT, (m,), m)
        k.set(s.QUEUE, (m,), k.get(s.PEER, socket(k, e)))
        k.set(f.reg(reg), (e["me"],), NONE)
        if "membership" in f.parts:
            belong(f, k, m, k.get(s.BORN, socket(k, e)))

    words = f"sends {{{reg}}}: the queue at the other end holds it"
    return Step(f"send {reg} over {sock}", words, effect, (), None, checks, {reg: "empty"})


@step("part {sock}")
def _part(f: Frame, sock: str) -> Step:
    """A datagram socket gives up on a peer that is gone: it was refused once, and what the peer had
    sent is lost. (unix_dgram_sendmsg, unix_dgram_disconnected: net/unix/af_unix.c)"""
    socket = socket_of(f, sock)

    def effect(k: View, e: Env) -> None:
        o = socket(k, e)
        state = k.get(s.SSTATE, o)
        gone = And(Not(is_stream(k, o)), eq(state, SOCKET_STATE.connected))
        k.set(s.SSTATE, (o,), If(gone, SOCKET_STATE.parted, state))
        forget_peer(f, k, o, gone)

    return Step(f"part {sock}", "gives up on the other end", effect)


# ---------------------------------------------------------------------------------------------
# receiving


@step("expect open {sock}")
def _expect_open(f: Frame, sock: str, errno: str) -> Step:
    """A stream socket is, or was, connected, and has nothing to report; else the errno.
    (unix_stream_read_generic: net/unix/af_unix.c)"""
    socket = socket_of(f, sock)

    def holds(k: View, e: Env) -> Value:
        o = socket(k, e)
        return Implies(is_stream(k, o), eq(k.get(s.SSTATE, o), SOCKET_STATE.connected))

    words = "checks that the socket is connected"
    return Step(f"expect open {sock}", words, nothing, checks=(Check(errno, holds),))


@step("expect no reset of {sock}")
def _expect_no_reset(f: Frame, sock: str, errno: str) -> Step:
    """Where nothing waits to be read: the peer did not go with something unread, or it was said
    already; else the errno. (sock_error: include/net/sock.h)"""
    socket = socket_of(f, sock)

    def holds(k: View, e: Env) -> Value:
        o = socket(k, e)
        return Or(eq(k.get(s.RESET, o), False), Not(nothing_in(k, o, "message")))

    words = "asks whether the connection was reset"
    text = f"expect no reset of {sock}"
    return Step(text, words, nothing, checks=(Check(errno, holds),))


@step("forget reset of {sock}")
def _forget_reset(f: Frame, sock: str) -> Step:
    """It is said once. (sock_error: include/net/sock.h)"""
    socket = socket_of(f, sock)

    def effect(k: View, e: Env) -> None:
        k.set(s.RESET, (socket(k, e),), False)

    return Step(f"forget reset of {sock}", "has said that the connection was reset", effect)


@step("receive {reg} over {sock}")
def _receive(f: Frame, reg: str, sock: str) -> Step:
    """The local takes the oldest message out of the queue; none, if the peer of a stream is gone
    and all is read. EAGAIN: there is none.
    (unix_dgram_recvmsg, unix_stream_read_generic: net/unix/af_unix.c)"""
    socket = socket_of(f, sock)

    def ended(k: View, e: Env) -> Value:
        o = socket(k, e)
        return And(is_stream(k, o), eq(k.get(s.PEER, o), NONE))

    def some(k: View, e: Env) -> Value:
        return Not(nothing_in(k, socket(k, e), "message"))

    def waits(k: View, m: Value, o: Value) -> Value:
        return And(k.kind(m, "message"), stands_in(k, m, o))

    def effect(k: View, e: Env) -> None:
        o, empty = socket(k, e), nothing_in(k, socket(k, e), "message")
        m = k.lowest(OBJ, lambda x: Or(empty, waits(k, x, o)), "message|socket")
        found = If(empty, NONE, m, OBJ)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"receive finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), found)
        k.set(s.QUEUE, (found,), NONE)
        k.set(s.SENT, (found,), NONE)

    checks = (Check("EAGAIN", lambda k, e: Or(some(k, e), ended(k, e))),)
    words = f"takes {{{reg}}}, the oldest message, out of the queue"
    text, regs = f"receive {reg} over {sock}", {reg: "maybe"}
    return Step(text, words, effect, (), None, checks, regs, ("message",))


@step("unpack {reg}")
def _unpack(f: Frame, reg: str) -> Step:
    """The lowest free descriptor takes over a file that the message carries; it survives exec.
    (scm_detach_fds -> receive_fd: net/core/scm.c)"""

    def cargo(k: View, e: Env, i: Value) -> Value:
        return k.get(s.CARGO, k.get(f.reg(reg), e["me"]), i)

    def effect(k: View, e: Env) -> None:
        m, p = k.get(f.reg(reg), e["me"]), k.get(s.PROC_OF, e["me"])
        file = cargo(k, e, e["i"])
        k.when(ne(file, NONE))
        n = k.lowest(FD, lambda x: eq(k.get(s.FD_SLOT, p, x), NONE))
        k.set(s.FD_SLOT, (p, n), file)
        k.set(s.CLOEXEC, (p, n), False)
        k.set(s.CARGO, (m, e["i"]), NONE)

    def done(k: View, e: Env) -> Value:
        return k.all(IDX, lambda i: eq(cargo(k, e, i), NONE))

    words, params = "gets the lowest free descriptor number for a file of it", (Param("i", IDX),)
    return Step(f"unpack {reg}", words, effect, params, loop=True, done=done, gives="descriptor")
