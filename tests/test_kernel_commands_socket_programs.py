"""What the commands on the programs of sockets and of their groups do on the running kernel."""

from __future__ import annotations

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.poll import wait_until
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, holds, made, ok, settles, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures


@pytest.fixture(name="actor")
def _actor(world: World) -> Actor:
    actor = world.actor("a")
    ok(actor, "unshare_net")
    return actor


def filters(actor: Actor, number: int = 2) -> list[int]:
    """Programs for sockets, from descriptor 3 on: their ids."""
    return [made(actor, "prog_load", type="socket_filter") for _ in range(number)]


def have(world: World, *expected: tuple[int, int]) -> None:
    """Wait until just so many descriptors of sockets lead to programs, in the order of numbers: the
    socket's filter and that of its group."""

    def read() -> list[tuple[int, ...]]:
        found = world.snapshot(fds=True)
        files = [file for fds in found.others.values() for _, file in sorted(fds.items())]
        return [
            tuple(found.sockets[file.object_id])
            for file in files
            if file.kind == "socket" and file.object_id in found.sockets
        ]

    got, _ = wait_until(read, [*expected].__eq__)
    assert got == [*expected]


def pair(actor: Actor, port: int = 7, kind: str = "dgram") -> None:
    """Two sockets that share a port: descriptors 5 and 6."""
    for fd in (5, 6):
        ok(actor, "inet_socket", type=kind, reuseport=True)
        ok(actor, "bind_port", socket=fd, port=port)


# -- filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dgram", "stream"])
@pytest.mark.parametrize("make", ["socket", "inet_socket"])
def test_a_socket_holds_its_filter(world: World, actor: Actor, make: str, kind: str) -> None:
    """Once; another one takes its place; it goes with the last descriptor."""
    one, two = filters(actor)
    ok(actor, make, type=kind)
    attach = {"socket": 5, "prog": 3}
    for _ in range(2):
        ok(actor, "socket_filter_attach", **attach)
        have(world, (one, 0))
        settles(world, progs={one: 2, two: 1})
    ok(actor, "socket_filter_attach", socket=5, prog=4)
    have(world, (two, 0))
    settles(world, progs={one: 1, two: 2})
    ok(actor, "socket_filter_detach", socket=5)
    have(world)
    settles(world, progs={one: 1, two: 1})
    assert errnos(actor, "socket_filter_detach", {"socket": 5}) == ["ENOENT"]
    ok(actor, "socket_filter_attach", **attach)
    ok(actor, "dup", fd=5)
    ok(actor, "exec")
    settles(world, progs={one: 1})
    holds(world, actor, {5: ("socket", 2), 6: ("socket", 2)})
    for fd in (5, 6):
        ok(actor, "close", fd=fd)
    settles(world, progs={})


@pytest.mark.parametrize("kind", ["dgram", "stream"])
def test_the_other_end_keeps_a_closed_socket(world: World, actor: Actor, kind: str) -> None:
    """And with it the filter, which nothing can show or take away any more."""
    (one,) = filters(actor, 1)
    ok(actor, "socketpair", type=kind)
    ok(actor, "socket_filter_attach", socket=4, prog=3)
    ok(actor, "close", fd=4)
    holds(world, actor, {3: ("prog", 1), 5: ("socket", 1)})
    settles(world, progs={one: 2})
    ok(actor, "close", fd=5)
    settles(world, progs={one: 1})


def test_a_filter_is_not_that_of_a_connection(world: World, actor: Actor) -> None:
    """Between Unix sockets nothing is inherited; a connection keeps a closed client's socket."""
    first, second = filters(actor)
    ok(actor, "socket", type="stream")
    ok(actor, "bind", socket=5)
    ok(actor, "socket_filter_attach", socket=5, prog=3)
    ok(actor, "listen", socket=5)
    ok(actor, "socket", type="stream")
    ok(actor, "socket_filter_attach", socket=6, prog=4)
    listener = world.snapshot(fds=True).others[actor.pid][5].object_id
    ok(actor, "connect", socket=6, to=listener)
    assert ok(actor, "accept", socket=5).id == listener
    have(world, (first, 0), (second, 0))
    settles(world, progs={first: 2, second: 2})
    ok(actor, "close", fd=6)
    ok(actor, "close", fd=5)
    settles(world, progs={first: 1, second: 2})
    ok(actor, "close", fd=7)
    settles(world, progs={first: 1, second: 1})


def test_connections_of_tcp_inherit_the_filter(world: World, actor: Actor) -> None:
    """When they are made, also if nobody has accepted them yet.

    A filter counts once for all sockets that share it.
    """
    first, second = filters(actor)
    ok(actor, "switch_device", target="lo", on=True)
    ok(actor, "inet_socket", type="stream")
    ok(actor, "bind_port", socket=5, port=7)
    ok(actor, "socket_filter_attach", socket=5, prog=3)
    ok(actor, "listen", socket=5)
    for fd in (6, 7):
        ok(actor, "inet_socket", type="stream")
        ok(actor, "connect_port", socket=fd, port=7)
    settles(world, progs={first: 2, second: 1})
    ok(actor, "socket_filter_attach", socket=5, prog=4)
    settles(world, progs={first: 2, second: 2})
    ok(actor, "accept", socket=5)
    have(world, (second, 0), (first, 0))
    ok(actor, "close", fd=5)
    settles(world, progs={first: 2, second: 1})
    ok(actor, "close", fd=8)
    settles(world, progs={first: 1, second: 1})


def test_a_connection_of_tcp_inherits_the_lock(actor: Actor) -> None:
    filters(actor, 1)
    ok(actor, "switch_device", target="lo", on=True)
    ok(actor, "inet_socket", type="stream")
    ok(actor, "bind_port", socket=4, port=7)
    ok(actor, "socket_filter_lock", socket=4)
    ok(actor, "listen", socket=4)
    ok(actor, "inet_socket", type="stream")
    ok(actor, "connect_port", socket=5, port=7)
    ok(actor, "accept", socket=4)
    ends = [{"socket": fd, "prog": 3} for fd in (5, 6)]
    assert errnos(actor, "socket_filter_attach", *ends) == [None, "EPERM"]


def test_a_filter_travels_with_its_socket(world: World, actor: Actor) -> None:
    (one,) = filters(actor, 1)
    for _ in range(2):
        ok(actor, "socketpair")  # 4, 5; 6, 7
    ok(actor, "socket_filter_attach", socket=6, prog=3)
    ok(actor, "send_fd", socket=4, fd=6)
    ok(actor, "close", fd=6)
    settles(world, progs={one: 2})
    ok(actor, "recv_fd", socket=5)
    have(world, (one, 0))
    ok(actor, "socket_filter_detach", socket=6)
    settles(world, progs={one: 1})


def test_what_is_no_filter(actor: Actor) -> None:
    """First the socket, then whether it is locked, then the program."""
    filters(actor, 1)
    ok(actor, "socket", type="dgram")
    for kind in ("cgroup_skb", "sk_reuseport"):
        ok(actor, "prog_load", type=kind)  # 5, 6
    pairs = [(4, 5), (4, 6), (4, 4), (4, 77), (77, 3), (77, 77), (3, 3), (3, 77)]
    wrong = [{"socket": fd, "prog": prog} for fd, prog in pairs]
    assert errnos(actor, "socket_filter_attach", *wrong) == [
        *("EINVAL", "EINVAL", "EINVAL", "EBADF", "EBADF", "EBADF", "ENOTSOCK", "ENOTSOCK"),
    ]
    for command in ("socket_filter_detach", "socket_filter_lock", "reuseport_detach"):
        no_sockets = [{"socket": fd} for fd in (77, 3)]
        assert errnos(actor, command, *no_sockets) == ["EBADF", "ENOTSOCK"]


def test_a_locked_socket_keeps_its_filter(world: World, actor: Actor) -> None:
    """Also none, and whatever descriptor it is asked by; the lock is never taken off."""
    (one,) = filters(actor, 1)
    ok(actor, "socketpair")
    ok(actor, "socket_filter_attach", socket=4, prog=3)
    for fd in (4, 5, 4):
        ok(actor, "socket_filter_lock", socket=fd)
    ok(actor, "dup", fd=4)
    for fd in (4, 5, 6):
        progs = [{"socket": fd, "prog": prog} for prog in (3, 77, 4)]
        assert errnos(actor, "socket_filter_attach", *progs) == ["EPERM"] * 3
        assert errnos(actor, "socket_filter_detach", {"socket": fd}) == ["EPERM"]
        assert errnos(actor, "reuseport_attach", *progs) == ["EPERM"] * 3
    have(world, (one, 0), (one, 0))
    actor.exit()
    settles(world, progs={})


# -- groups of sockets -------------------------------------------------------------------------


def test_a_group_holds_one_program(world: World, actor: Actor) -> None:
    """Each of its sockets can change it; it goes with the last of them."""
    one = made(actor, "prog_load", type="socket_filter")
    two = made(actor, "prog_load", type="sk_reuseport")
    pair(actor)
    ok(actor, "reuseport_attach", socket=5, prog=3)
    have(world, (0, one), (0, one))
    settles(world, progs={one: 2, two: 1})
    for fd in (6, 5):
        ok(actor, "reuseport_attach", socket=fd, prog=4)
        have(world, (0, two), (0, two))
        settles(world, progs={one: 1, two: 2})
    ok(actor, "inet_socket", reuseport=True)
    ok(actor, "bind_port", socket=7, port=7)
    have(world, (0, two), (0, two), (0, two))
    for fd in (5, 6):
        ok(actor, "close", fd=fd)
    settles(world, progs={one: 1, two: 2})
    ok(actor, "close", fd=7)
    settles(world, progs={one: 1, two: 1})


def test_detaching_from_a_group(world: World, actor: Actor) -> None:
    """Through any of its sockets, also a locked one: only attaching minds the lock."""
    one, two = filters(actor)
    pair(actor)
    ok(actor, "reuseport_attach", socket=5, prog=3)
    ok(actor, "socket_filter_lock", socket=5)
    progs = [{"socket": fd, "prog": 4} for fd in (5, 6)]
    assert errnos(actor, "reuseport_attach", *progs) == ["EPERM", None]
    ok(actor, "reuseport_attach", socket=6, prog=3)
    settles(world, progs={one: 2, two: 1})
    ok(actor, "reuseport_detach", socket=5)
    have(world)
    settles(world, progs={one: 1, two: 1})
    assert errnos(actor, "reuseport_detach", {"socket": 5}, {"socket": 6}) == ["ENOENT"] * 2


def test_a_socket_without_a_port_is_a_group_of_its_own(world: World, actor: Actor) -> None:
    """Others join it; it joins nobody."""
    one, two = filters(actor)
    for fd in (5, 6):
        ok(actor, "inet_socket", reuseport=True)
        ok(actor, "reuseport_attach", socket=fd, prog=fd - 2)
    have(world, (0, one), (0, two))
    ok(actor, "bind_port", socket=5, port=7)
    assert errnos(actor, "bind_port", {"socket": 6, "port": 7}) == ["EADDRINUSE"]
    ok(actor, "inet_socket", reuseport=True)
    ok(actor, "bind_port", socket=7, port=7)
    have(world, (0, one), (0, two), (0, one))
    settles(world, progs={one: 2, two: 2})
    actor.exit()
    settles(world, progs={})


def test_sockets_of_tcp_join_when_they_listen(world: World, actor: Actor) -> None:
    """One with a group of its own does not listen where another has the port."""
    one, two = filters(actor)
    pair(actor, kind="stream")
    ok(actor, "reuseport_attach", socket=5, prog=3)
    assert errnos(actor, "listen", {"socket": 5}) == ["EADDRINUSE"]
    ok(actor, "close", fd=5)
    ok(actor, "inet_socket", type="stream", reuseport=True)
    ok(actor, "bind_port", socket=5, port=7)
    ok(actor, "listen", socket=5)
    ok(actor, "reuseport_attach", socket=5, prog=3)
    have(world, (0, one))
    ok(actor, "listen", socket=6)
    have(world, (0, one), (0, one))
    ok(actor, "close", fd=5)
    settles(world, progs={one: 2, two: 1})
    ok(actor, "close", fd=6)
    settles(world, progs={one: 1, two: 1})


def test_connections_of_tcp_are_in_no_group(world: World, actor: Actor) -> None:
    """Though they could share the port: they have nothing to detach, others must not even ask."""
    one, _ = filters(actor)
    ok(actor, "switch_device", target="lo", on=True)
    ok(actor, "inet_socket", type="stream", reuseport=True)
    ok(actor, "bind_port", socket=5, port=7)
    ok(actor, "listen", socket=5)
    ok(actor, "reuseport_attach", socket=5, prog=3)
    ok(actor, "inet_socket", type="stream")
    ok(actor, "connect_port", socket=6, port=7)
    ok(actor, "accept", socket=5)
    have(world, (0, one))
    assert errnos(actor, "reuseport_attach", {"socket": 7, "prog": 4}) == ["EINVAL"]
    assert errnos(actor, "reuseport_detach", {"socket": 7}, {"socket": 6}) == ["ENOENT", "EINVAL"]


def test_what_is_no_group(actor: Actor) -> None:
    """The program is looked at before the socket: it is a socket's that can share a port."""
    ok(actor, "prog_load", type="socket_filter")
    for kind in ("sk_reuseport", "cgroup_skb"):
        ok(actor, "prog_load", type=kind)  # 4, 5
    ok(actor, "inet_socket")
    ok(actor, "socket", type="dgram")
    pairs = [(6, 3), (6, 4), (6, 5), (6, 77), (7, 3), (7, 4), (7, 77), (77, 3), (3, 77)]
    wrong = [{"socket": fd, "prog": prog} for fd, prog in pairs]
    assert errnos(actor, "reuseport_attach", *wrong) == [
        *("EINVAL", "EINVAL", "EINVAL", "EBADF", "EINVAL", "ENOTSUPP", "EBADF"),
        *("EBADF", "ENOTSOCK"),
    ]
    assert errnos(actor, "reuseport_detach", {"socket": 6}, {"socket": 7}) == ["EINVAL"] * 2


def test_a_socket_can_have_a_filter_and_a_group(world: World, actor: Actor) -> None:
    one, two = filters(actor)
    pair(actor)
    ok(actor, "socket_filter_attach", socket=5, prog=3)
    ok(actor, "reuseport_attach", socket=5, prog=3)
    have(world, (one, one), (0, one))
    settles(world, progs={one: 3, two: 1})
