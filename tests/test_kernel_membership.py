"""What belongs to a cgroup: processes while they live, sockets for good, each to that of its maker.

The model has no members of cgroups (README). What a removed cgroup had attached is given back when
the last socket is gone that was born in it (cgroup_sk_alloc, cgroup_bpf_release).
"""

from __future__ import annotations

import os

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, made, ok, settles, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures
EGRESS = "cgroup_inet_egress"


def attached(world: World, actor: Actor, name: str) -> tuple[str, int]:
    """A cgroup, and the id of a program that only it holds."""
    path, prog = world.cgroup_make(name), made(actor, "prog_load", type="cgroup_skb")
    ok(actor, "prog_attach", target=path, fd=3, attach_type=EGRESS)
    ok(actor, "close", fd=3)
    return path, prog


def test_a_populated_cgroup_is_not_removed(world: World) -> None:
    """A fork inherits the membership; a dead process leaves by itself."""
    parent = world.actor("a")
    path, _ = attached(world, parent, "g")
    ok(parent, "cgroup_join", target=path)
    child = parent.fork("b")
    ok(parent, "cgroup_join", target=world.cgroups)
    with pytest.raises(OSError, match="busy"):
        os.rmdir(path)
    child.kill()
    os.rmdir(path)
    settles(world, progs={})
    assert errnos(parent, "cgroup_join", {"target": path}) == ["ENOENT"]


@pytest.mark.parametrize("kind", ["dgram", "stream"])
def test_sockets_keep_what_their_removed_cgroup_had(world: World, kind: str) -> None:
    actor = world.actor("a")
    path, prog = attached(world, actor, "g")
    ok(actor, "cgroup_join", target=path)
    ok(actor, "socketpair", type=kind)
    ok(actor, "cgroup_join", target=world.cgroups)
    os.rmdir(path)
    ok(actor, "close", fd=3)
    settles(world, progs={prog: 1})
    ok(actor, "close", fd=4)
    settles(world, progs={})


def listener(world: World) -> tuple[Actor, int]:
    """A process with a listener, descriptor 3, and the number of its inode."""
    server = world.actor("server")
    ok(server, "socket", type="stream")
    ok(server, "bind", socket=3)
    ok(server, "listen", socket=3)
    [file] = world.snapshot(fds=True).others[server.pid].values()
    return server, file.object_id


def test_a_connection_belongs_to_the_cgroup_of_who_connects(world: World) -> None:
    """The end that accept gives was made by connect, whoever accepts it."""
    (server, inode), client = listener(world), world.actor("client")
    path, prog = attached(world, client, "g")
    ok(client, "socket", type="stream")
    ok(client, "cgroup_join", target=path)
    ok(client, "connect", socket=3, to=inode)
    ok(client, "cgroup_join", target=world.cgroups)
    os.rmdir(path)
    ok(client, "close", fd=3)
    settles(world, progs={prog: 1})
    ok(server, "accept", socket=3)
    settles(world, progs={prog: 1})
    ok(server, "close", fd=4)
    settles(world, progs={})


def test_a_closed_socket_is_kept_by_its_peer(world: World) -> None:
    """A peer that is gone is forgotten only when the socket itself goes: until then it belongs to
    its cgroup."""
    (server, inode), client = listener(world), world.actor("client")
    path, prog = attached(world, client, "g")
    ok(client, "cgroup_join", target=path)
    ok(client, "socket", type="stream")
    ok(client, "cgroup_join", target=world.cgroups)
    ok(client, "connect", socket=3, to=inode)
    os.rmdir(path)
    ok(client, "close", fd=3)
    ok(server, "accept", socket=3)
    settles(world, progs={prog: 1})
    ok(server, "close", fd=4)
    settles(world, progs={})
