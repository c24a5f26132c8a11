"""What belongs to a cgroup: processes while they live, sockets and messages for good.

A process is a member and holds nothing: a cgroup with members can't be removed. What it makes is
born in its cgroup and holds that (sk->sk_cgrp_data), also when the cgroup has been removed, so what
was attached there stays until the last of them is gone. A network namespace is made with sockets of
the kernel's own (rtnetlink, icmp): it is born in a cgroup like them. A socket that is closed is not
gone as long as the other end points at it: then that end has the reference here.
"""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Step
from ..values import NONE, PROC, If, Or, Value, eq, ne
from .registry import step

PART = "membership"
WITH_SOCKETS = ("socket", "netns", "tap")  # a namespace and a tap's file have the kernel's own


def join_cgroup(f: Frame, k: View, me: Value, o: Value) -> None:
    """A new socket belongs to the cgroup of whoever makes it, also one that the kernel makes for
    itself meanwhile. (cgroup_sk_alloc: kernel/cgroup/cgroup.c; sk_alloc: net/core/sock.c, 6.12)"""
    if PART in f.parts:
        belong(f, k, o, k.get(s.MEMBER, k.get(s.PROC_OF, me)))


def belong(f: Frame, k: View, o: Value, cgroup: Value) -> None:
    """It holds the cgroup, if there is one. A message belongs where its sender does: until it is
    read it keeps the sender's memory. (sock_wfree, __sk_free: net/core/sock.c, 6.12)"""
    if PART in f.parts:
        k.inc(cgroup, unless=eq(cgroup, NONE))
        k.set(s.BORN, (o,), cgroup)


def forget_peer(f: Frame, k: View, o: Value, when: Value) -> None:
    """The socket lets go of the other end, which was closed before.
    (unix_dgram_sendmsg -> sock_put: net/unix/af_unix.c, 6.12)"""
    if PART in f.parts:
        old = k.get(s.PEER_BORN, o)
        f.drop(k, If(when, old, NONE), maybe=True)
        k.set(s.PEER_BORN, (o,), If(when, NONE, old))


def leave_to_peer(f: Frame, k: View, me: Value, peer: Value) -> None:
    """A socket that is closed stays in memory while the other end points at it: the other end keeps
    the cgroup of both. (unix_release_sock, unix_peer: net/unix/af_unix.c, 6.12)"""
    if PART in f.parts:
        mine = k.get(s.BORN, me)
        free = eq(k.get(s.PEER_BORN, peer), NONE)
        k.need(Or(eq(peer, NONE), free), "a socket has one peer in its life")
        k.set(s.BORN, (me,), If(eq(peer, NONE), mine, NONE))
        k.set(s.PEER_BORN, (peer,), mine)


@step("join target", part=PART)
def _join(f: Frame) -> Step:
    """The caller's process is a member from now on, and of no other cgroup.
    (cgroup_attach_task under cgroup_mutex: kernel/cgroup/cgroup.c, 6.12)"""

    def effect(k: View, e: Env) -> None:
        k.set(s.MEMBER, (k.get(s.PROC_OF, e["me"]),), f.target(k, e))

    return Step("join target", "is a member of {target} from now on", effect)


@step("leave cgroup", part=PART)
def _leave(f: Frame) -> Step:
    """The caller's process is a member of the world's own cgroup, to which nothing is attached."""

    def effect(k: View, e: Env) -> None:
        k.set(s.MEMBER, (k.get(s.PROC_OF, e["me"]),), NONE)

    return Step("leave cgroup", "is a member of no cgroup here", effect)


@step("expect no member", part=PART)
def _no_member(f: Frame, errno: str) -> Step:
    """No process is a member of the target; else the errno.
    (cgroup_is_populated in cgroup_destroy_locked: kernel/cgroup/cgroup.c, 6.12)"""

    def nobody(k: View, e: Env) -> Value:
        target = f.target(k, e)
        return k.all(PROC, lambda p: ne(k.get(s.MEMBER, p), target))

    words = "checks that no process is a member"
    return Step("expect no member", words, lambda k, e: None, checks=(Check(errno, nobody),))
