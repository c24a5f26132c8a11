"""What the commands on network namespaces and devices do on the running kernel."""

from __future__ import annotations

import socket

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.poll import wait_until
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, holds_at, made, ok, settles, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures


@pytest.fixture(name="actor")
def _actor(world: World) -> Actor:
    return world.actor("a")


def pair(actor: Actor, one: str = "left", other: str = "right") -> None:
    """Two devices."""
    ok(actor, "make_veth", target=one, peer=other)


def xdp(actor: Actor, maps: tuple[int, ...] = ()) -> tuple[int, int]:
    """A program for devices: its descriptor and id."""
    reply = ok(actor, "prog_load", type="xdp", maps=maps)
    assert reply.value is not None and reply.id is not None
    return reply.value, reply.id


def test_a_world_has_devices_of_its_own(world: World, actor: Actor) -> None:
    """Nobody else sees them, and a new beginning has none."""
    before = socket.if_nameindex()
    pair(actor)
    assert ok(world.actor("b"), "devices").named == {"lo": 0, "left": 0, "right": 0}
    assert socket.if_nameindex() == before
    world.reset()
    assert ok(world.actor("a"), "devices").named == {"lo": 0}


def test_names_of_devices(actor: Actor) -> None:
    pair(actor)
    names = [{"target": "left", "peer": "x"}, {"target": "x", "peer": "left"},
             {"target": "x", "peer": "x"}, {"target": "lo", "peer": "x"},
             {"target": "more-than-15-characters", "peer": "x"}]  # fmt: skip
    assert errnos(actor, "make_veth", *names) == ["EEXIST"] * 4 + ["ERANGE"]
    assert errnos(actor, "delete_device", {"target": "none"}, {"target": "lo"}) == [
        "ENODEV", "ENOTSUP",
    ]  # fmt: skip


def test_a_child_belongs_to_the_namespace_only_by_itself(world: World, actor: Actor) -> None:
    """Its control socket does not keep the namespace that it left."""
    ok(actor, "unshare_net")
    pair(actor)
    map = made(actor, "map_create")
    fd, _ = xdp(actor, (3,))
    ok(actor, "xdp_set", target="left", fd=fd)
    child = actor.fork("b")
    ok(child, "unshare_net")
    for number in (3, 4):
        ok(child, "close", fd=number)
    actor.exit()
    settles(world, maps={}, progs={})
    assert map not in world.snapshot().maps


def test_each_mode_of_xdp_excludes_the_other(world: World, actor: Actor) -> None:
    """The wrong mode in a detach succeeds and detaches nothing."""
    pair(actor)
    fd, prog = xdp(actor)
    left = {"target": "left"}
    ok(actor, "xdp_set", **left, fd=fd, mode="skb")
    settles(world, progs={prog: 4})
    others = [{**left, "fd": fd, "mode": "drv"}, {**left, "fd": fd}]
    assert errnos(actor, "xdp_set", *others) == ["EEXIST"] * 2
    for mode in ("drv", ""):
        ok(actor, "xdp_set", **left, mode=mode)
        assert ok(actor, "devices").named["left"] == prog
    ok(actor, "xdp_set", **left, mode="skb")
    assert ok(actor, "devices").named["left"] == 0
    ok(actor, "xdp_set", **left, fd=fd)
    settles(world, progs={prog: 4})  # in the driver's mode: the driver has the second reference
    ok(actor, "xdp_set", **left, mode="skb")
    assert ok(actor, "devices").named["left"] == prog


def test_nothing_can_be_expected(world: World, actor: Actor) -> None:
    """-1 is an empty device; a detach can have an expectation too."""
    pair(actor)
    (one, first), (two, _) = xdp(actor), xdp(actor)
    left = {"target": "left"}
    ok(actor, "xdp_set", **left, fd=one, expected=-1)
    assert errnos(actor, "xdp_set", {**left, "fd": two, "expected": -1}) == ["EEXIST"]
    assert errnos(actor, "xdp_set", {**left, "expected": two}) == ["EEXIST"]
    ok(actor, "xdp_set", **left, if_noexist=True)
    assert ok(actor, "devices").named["left"] == 0
    ok(actor, "xdp_set", **left, fd=one)
    ok(actor, "xdp_set", **left, expected=one)
    assert wait_until(lambda: world.snapshot().progs[first], lambda n: n == 1)[1]


def test_an_open_namespace(world: World, actor: Actor) -> None:
    other = world.actor("b")
    ok(actor, "unshare_net")
    ok(other, "open_net", pid=actor.pid)
    holds_at(world, other, 3, ("other", 1))
    pair(actor)
    assert "left" not in ok(other, "devices").named
    ok(other, "enter_net", netns=3)
    assert "left" in ok(other, "devices").named
    ok(other, "map_create")
    assert errnos(other, "enter_net", {"netns": 4}, {"netns": 9}) == ["EINVAL", "EBADF"]
