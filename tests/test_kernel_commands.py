"""What the actors' commands do on the running kernel: descriptors, processes, passing, mappings.

Each test states counts before and after, and the errnos of what fails. refcnt and usercnt are the
object's; the number beside a descriptor's kind is its `struct file`'s.
"""

from __future__ import annotations

from typing import Any

import pytest

from bpflife.proofs.kernel.actors import GoneError
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, holds, holds_at, made, ok, settles, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures


def test_copies_of_a_descriptor_share_its_file(world: World) -> None:
    actor = world.actor("a")
    map = made(actor, "map_create")
    assert ok(actor, "dup", fd=3).value == 4
    assert ok(actor, "dup2", fd=3, to=9).value == 9
    holds(world, actor, dict.fromkeys((3, 4, 9), ("map", 3)))
    settles(world, maps={map: (1, 1)})


def test_dup2_closes_what_was_there(world: World) -> None:
    actor = world.actor("a")
    first, second = made(actor, "map_create"), made(actor, "map_create")
    settles(world, maps={first: (1, 1), second: (1, 1)})
    ok(actor, "dup2", fd=3, to=4)
    settles(world, maps={first: (1, 1)})
    assert ok(actor, "dup2", fd=3, to=3).value == 3
    holds(world, actor, {3: ("map", 2), 4: ("map", 2)})


def test_copies_of_closed_descriptors(world: World) -> None:
    actor = world.actor("a")
    assert errnos(actor, "dup", {"fd": 7}, {"fd": -1}) == ["EBADF", "EBADF"]
    assert errnos(actor, "dup2", {"fd": 7, "to": 8}, {"fd": 0, "to": -1}) == ["EBADF", "EBADF"]
    assert errnos(actor, "cloexec", {"fd": 7, "on": True}) == ["EBADF"]


def test_the_actors_own_descriptors_are_not_for_commands(world: World) -> None:
    actor = world.actor("a")
    with pytest.raises(ValueError, match="the actor's own"):
        actor.call("dup2", fd=0, to=1000)
    with pytest.raises(ValueError, match="the actor's own"):
        actor.call("close", fd=1000)
    assert ok(actor, "map_create").value == 3


def test_exec_closes_bpf_descriptors_but_not_their_copies(world: World) -> None:
    """bpf(2) sets close-on-exec, dup(2) clears it: also the count of the shared file falls."""
    actor = world.actor("a")
    map = made(actor, "map_create")
    ok(actor, "dup", fd=3)
    ok(actor, "dup", fd=3)
    ok(actor, "cloexec", fd=5, on=True)
    ok(actor, "exec")
    holds(world, actor, {4: ("map", 1)})
    settles(world, maps={map: (1, 1)})
    assert ok(actor, "map_create").value == 3
    ok(actor, "cloexec", fd=3, on=False)
    ok(actor, "exec")
    holds(world, actor, {3: ("map", 1), 4: ("map", 1)})
    ok(actor, "close", fd=4)
    ok(actor, "close", fd=3)
    settles(world, maps={})


def test_exec_keeps_the_process(world: World) -> None:
    actor = world.actor("a")
    pid = actor.pid
    for _ in range(3):
        ok(actor, "exec")
    other = world.actor("b")
    ok(actor, "map_create")
    ok(actor, "dup", fd=3)
    assert ok(other, "pidfd_getfd", pid=pid, fd=4).id is not None
    assert actor.exit(7) == 7


def test_fork_copies_descriptors_without_new_references(world: World) -> None:
    """The files are shared; the object's counts are those of files, so they stay."""
    parent = world.actor("a")
    map = made(parent, "map_create")
    child = parent.fork("b")
    holds(world, parent, {3: ("map", 2)})
    holds(world, child, {3: ("map", 2)})
    ok(parent, "close", fd=3)
    settles(world, maps={map: (1, 1)})
    holds(world, child, {3: ("map", 1)})
    assert child.kill() == -9
    settles(world, maps={})
    assert ok(parent, "map_create").value == 3


def test_a_forked_actor_is_an_actor(world: World) -> None:
    """It forks, execs and exits itself, and outlives its parent."""
    parent = world.actor("a")
    child = parent.fork("b")
    ok(child, "exec")
    grandchild = child.fork("c")
    assert len({parent.pid, child.pid, grandchild.pid}) == 3
    assert parent.exit(3) == 3
    assert child.kill() == -9
    map = made(grandchild, "map_create")
    settles(world, maps={map: (1, 1)})
    assert grandchild.exit(5) == 5
    with pytest.raises(GoneError):
        grandchild.call("dup", fd=0)
    with pytest.raises(ValueError, match="call the method"):
        world.actor("d").call("fork")


def test_a_socket_keeps_a_file_on_its_way(world: World) -> None:
    """The file waits in the other end: its count is one more, also when no descriptor is left."""
    actor = world.actor("a")
    map = made(actor, "map_create")
    pair = ok(actor, "socketpair")
    assert (pair.value, pair.more) == (4, (5,))
    ok(actor, "send_fd", socket=4, fd=3)
    holds(world, actor, {3: ("map", 2), 4: ("socket", 1), 5: ("socket", 1)})
    ok(actor, "close", fd=3)
    settles(world, maps={map: (1, 1)})
    got = ok(actor, "recv_fd", socket=5)
    assert (got.value, got.id) == (3, map)
    holds_at(world, actor, 3, ("map", 1))
    ok(actor, "exec")
    holds_at(world, actor, 3, ("map", 1))  # what a socket brings isn't closed on exec


def test_files_pass_between_processes(world: World) -> None:
    parent = world.actor("a")
    ok(parent, "socketpair")
    child = parent.fork("b")
    prog = made(parent, "prog_load")
    ok(parent, "send_fd", socket=3, fd=5)
    assert ok(child, "recv_fd", socket=4).id == prog
    holds_at(world, parent, 5, ("prog", 2))
    holds_at(world, child, 5, ("prog", 2))
    settles(world, progs={prog: 1})


def test_a_fork_shares_what_waits(world: World) -> None:
    """It copies descriptors, not the queue: each file comes once, to whoever asks first."""
    parent = world.actor("a")
    ok(parent, "socketpair")
    map = made(parent, "map_create")
    ok(parent, "send_fd", socket=3, fd=5)
    ok(parent, "close", fd=5)
    child = parent.fork("b")
    assert ok(child, "recv_fd", socket=4).id == map
    assert errnos(parent, "recv_fd", {"socket": 4}) == ["EAGAIN"]
    holds(world, child, {3: ("socket", 2), 4: ("socket", 2), 5: ("map", 1)})


def test_an_exec_keeps_what_waits(world: World) -> None:
    """Sockets aren't closed on exec, and so the map lives, without a descriptor."""
    actor = world.actor("a")
    ok(actor, "socketpair")
    map = made(actor, "map_create")
    ok(actor, "send_fd", socket=3, fd=5)
    ok(actor, "exec")
    holds(world, actor, {3: ("socket", 1), 4: ("socket", 1)})
    settles(world, maps={map: (1, 1)})
    assert ok(actor, "recv_fd", socket=4).id == map


def test_a_dead_receiver_lets_go_of_what_waits(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "socketpair")
    map = made(actor, "map_create")
    ok(actor, "send_fd", socket=3, fd=5)
    ok(actor, "close", fd=5)
    settles(world, maps={map: (1, 1)})
    ok(actor, "close", fd=4)
    settles(world, maps={})
    ok(actor, "map_create")
    alternatives = [{"socket": 3, "fd": 4}] * 3
    assert errnos(actor, "send_fd", *alternatives) == ["ECONNREFUSED", "ENOTCONN", "ENOTCONN"]


def test_a_dead_sender_leaves_what_it_sent(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "socketpair")
    map = made(actor, "map_create")
    ok(actor, "send_fd", socket=3, fd=5)
    ok(actor, "close", fd=5)
    ok(actor, "close", fd=3)
    settles(world, maps={map: (1, 1)})
    assert ok(actor, "recv_fd", socket=4).id == map
    assert errnos(actor, "recv_fd", {"socket": 4}) == ["EAGAIN"]


def test_a_socket_in_its_own_queue_is_found_later(world: World) -> None:
    """Nobody has a descriptor, yet the map stays until the next close of a socket (garbage.c).

    Of anybody's socket, so a test can't see it stay.
    """
    actor = world.actor("a")
    ok(actor, "socketpair")
    ok(actor, "map_create")
    ok(actor, "send_fd", socket=3, fd=5)
    ok(actor, "send_fd", socket=3, fd=4)
    for fd in (5, 3, 4):
        ok(actor, "close", fd=fd)
    ok(actor, "socketpair")
    ok(actor, "close", fd=3)
    settles(world, maps={})


def test_passing_what_cannot_be_passed(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "socketpair")
    ok(actor, "map_create")
    nonsense = [{"socket": 3, "fd": 77}, {"socket": 77, "fd": 5}, {"socket": 5, "fd": 5}]
    assert errnos(actor, "send_fd", *nonsense) == ["EBADF", "EBADF", "ENOTSOCK"]
    sockets = [{"socket": fd} for fd in (4, 77, 5)]
    assert errnos(actor, "recv_fd", *sockets) == ["EAGAIN", "EBADF", "ENOTSOCK"]


def test_taking_another_process_s_descriptor(world: World) -> None:
    """One more user of the file; close-on-exec, unlike what a socket brings."""
    owner, thief = world.actor("a"), world.actor("b")
    map = made(owner, "map_create")
    got = ok(thief, "pidfd_getfd", pid=owner.pid, fd=3)
    assert (got.value, got.id) == (3, map)
    holds(world, owner, {3: ("map", 2)})
    holds(world, thief, {3: ("map", 2)})
    ok(thief, "exec")
    holds(world, owner, {3: ("map", 1)})
    holds(world, thief, {})


def test_taking_what_is_not_there(world: World) -> None:
    owner, thief = world.actor("a"), world.actor("b")
    gone = owner.fork("c")
    gone.kill()
    arguments = [{"pid": owner.pid, "fd": 3}, {"pid": gone.pid, "fd": 0}]
    assert errnos(thief, "pidfd_getfd", *arguments) == ["EBADF", "ESRCH"]
    assert ok(thief, "map_create").value == 3


def test_a_mapping_holds_the_file(world: World) -> None:
    """Not the map itself: its counts are the file's, until the last mapping is gone."""
    actor = world.actor("a")
    map = made(actor, "map_create", mmapable=True)
    handle = ok(actor, "mmap", fd=3).value
    holds(world, actor, {3: ("map", 2)})
    child = actor.fork("b")
    holds(world, actor, {3: ("map", 4)})
    ok(actor, "close", fd=3)
    ok(child, "close", fd=3)
    settles(world, maps={map: (1, 1)})
    ok(actor, "munmap", handle=handle)
    settles(world, maps={map: (1, 1)})
    ok(child, "exec")
    settles(world, maps={})
    with pytest.raises(ValueError, match="no mapping"):
        actor.call("munmap", handle=handle)


def test_freeze_waits_for_writable_mappings(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "map_create", mmapable=True)
    ok(actor, "mmap", fd=3)
    handle = ok(actor, "mmap", fd=3, prot="read_write").value
    child = actor.fork("b")
    assert errnos(actor, "map_freeze", {"fd": 3}) == ["EBUSY"]
    ok(actor, "munmap", handle=handle)
    assert errnos(actor, "map_freeze", {"fd": 3}) == ["EBUSY"]  # the child's copy
    ok(child, "munmap", handle=handle)
    ok(actor, "map_freeze", fd=3)
    assert errnos(actor, "map_freeze", {"fd": 3}) == ["EPERM"]
    modes: list[dict[str, Any]] = [{"fd": 3, "prot": "read_write"}, {"fd": 3}]
    assert errnos(actor, "mmap", *modes) == ["EPERM", None]
    assert errnos(actor, "map_update_value", {"fd": 3, "key": 0, "number": 1}) == ["EPERM"]


def test_what_cannot_be_mapped(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "map_create")
    ok(actor, "map_create", type="hash")
    ok(actor, "prog_load")
    ok(actor, "socketpair")
    got = errnos(actor, "mmap", *({"fd": fd} for fd in (3, 4, 5, 6, 77)))
    assert got == ["EINVAL", "ENOTSUPP", "ENODEV", "ENODEV", "EBADF"]
    assert errnos(actor, "map_create", {"type": "hash", "mmapable": True}) == ["EINVAL"]
    assert errnos(actor, "map_freeze", {"fd": 77}, {"fd": 5}) == ["EBADF", "EINVAL"]


def test_a_message_brings_several_files(world: World) -> None:
    """Each by a descriptor of its own, in order; the id is that of the first."""
    actor = world.actor("a")
    map, prog = made(actor, "map_create"), made(actor, "prog_load")
    ok(actor, "socketpair", type="stream")
    ok(actor, "send_fd", socket=5, fd=[3, 4, 3])
    ok(actor, "close", fd=3)
    ok(actor, "close", fd=4)
    settles(world, maps={map: (1, 1)}, progs={prog: 1})
    got = ok(actor, "recv_fd", socket=6)
    assert (got.value, got.more, got.id) == (3, (4, 7), map)
    holds_at(world, actor, 7, ("map", 2))


def test_a_connection_is_accepted_later(world: World) -> None:
    """What was sent over it waits with it, whoever sent it is gone."""
    server, client = world.actor("a"), world.actor("b")
    ok(server, "socket", type="stream")
    ok(server, "bind", socket=3)
    ok(server, "listen", socket=3)
    assert errnos(server, "accept", {"socket": 3}, {"socket": 9}) == ["EAGAIN", "EBADF"]
    [inode] = [f.object_id for f in world.snapshot(fds=True).others[server.pid].values()]
    ok(client, "socket", type="stream")
    ok(client, "connect", socket=3, to=inode)
    assert errnos(client, "connect", {"socket": 3, "to": 0}) == ["ECONNREFUSED"]
    map = made(client, "map_create")
    ok(client, "send_fd", socket=3, fd=4)
    client.exit()
    settles(world, maps={map: (1, 1)})
    accepted = ok(server, "accept", socket=3)
    assert (accepted.value, accepted.id) == (4, inode)
    assert ok(server, "recv_fd", socket=4).id == map
    assert ok(server, "recv_fd", socket=4).value is None  # the end of the stream
    assert errnos(server, "send_fd", {"socket": 4, "fd": 5}) == ["EPIPE"]
