"""What the command for links to sockmaps does on the running kernel."""

from __future__ import annotations

from typing import Any

import pytest

from bpflife.proofs.kernel import available
from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, made, ok, settles, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures

VERDICT = {"attach_type": "sk_skb_verdict"}


@pytest.fixture(name="actor")
def _actor(world: World) -> Actor:
    if lack := available.lacking("sockmap_link"):
        pytest.skip(lack)
    return world.actor("a")


@pytest.fixture(name="sockmap")
def _sockmap(world: World, actor: Actor) -> dict[str, int]:
    """A sockmap at 3, two programs for it at 4 and 5, one of another type at 6: the ids."""
    return {
        "map": made(actor, "map_create", type="sockmap"),
        "one": made(actor, "prog_load", type="sk_skb"),
        "two": made(actor, "prog_load", type="sk_skb"),
        "msg": made(actor, "prog_load", type="sk_msg"),
    }


def test_a_link_to_a_sockmap_keeps_it_in_use(
    world: World, actor: Actor, sockmap: dict[str, int]
) -> None:
    """It is a user of the map; the program is held twice, by link and map."""
    map, one, two, msg = sockmap.values()
    link = made(actor, "sockmap_link", map=3, prog=4, **VERDICT)
    settles(
        world,
        maps={map: (2, 2)},
        links={link: (1, one, map)},
        progs={one: 3, two: 1, msg: 1},
    )
    assert ok(actor, "link_info", link=7).named == {"sockmap": map}
    ok(actor, "pin", fd=7, path=world.pin_path("link"))
    for fd in (3, 7):
        ok(actor, "close", fd=fd)
    settles(world, maps={map: (1, 1)}, links={link: (1, one, map)})
    ok(actor, "unlink", path=world.pin_path("link"))
    settles(world, maps={}, links={}, progs={one: 1, two: 1, msg: 1})


def test_a_link_owns_its_place_in_a_sockmap(
    world: World, actor: Actor, sockmap: dict[str, int]
) -> None:
    """Nothing else is attached or detached there; it takes the place of a program without link."""
    map, one, two, msg = sockmap.values()
    ok(actor, "map_attach", map=3, prog=4, **VERDICT)
    settles(world, progs={one: 2, two: 1, msg: 1})
    link = made(actor, "sockmap_link", map=3, prog=5, **VERDICT)
    settles(world, progs={one: 1, two: 3, msg: 1}, links={link: (1, two, map)})
    programs = [{"map": 3, "prog": fd, **VERDICT} for fd in (4, 5)]
    for command in ("sockmap_link", "map_attach", "map_detach"):
        assert errnos(actor, command, *programs) == ["EBUSY"] * 2
    beside = {"map": 3, "prog": 4, "attach_type": "sk_skb_stream_verdict"}
    assert errnos(actor, "sockmap_link", beside) == ["EBUSY"]
    ok(actor, "sockmap_link", map=3, prog=6, attach_type="sk_msg_verdict")
    settles(world, progs={one: 1, two: 3, msg: 3})


def test_updating_a_link_to_a_sockmap(world: World, actor: Actor, sockmap: dict[str, int]) -> None:
    """A socket that is in the map keeps the program with which it came."""
    map, one, two, msg = sockmap.values()
    link = made(actor, "sockmap_link", map=3, prog=4, **VERDICT)
    ok(actor, "socketpair", type="stream")
    ok(actor, "map_update", fd=3, key=0, value_fd=8)
    settles(world, progs={one: 4, two: 1, msg: 1})
    ok(actor, "link_update", link=7, fd=5, old_fd=4)
    settles(world, links={link: (1, two, map)}, progs={one: 2, two: 3, msg: 1})
    for old in ({}, {"old_fd": 5}):
        ok(actor, "link_update", link=7, fd=5, **old)
    settles(world, progs={one: 2, two: 3, msg: 1})
    pairs: list[dict[str, Any]] = [
        *({"fd": 4, "old_fd": 4}, {"fd": 6, "old_fd": 4}, {"fd": 6}, {"fd": 6, "old_fd": 5}),
        *({"fd": 77}, {"fd": 4, "old_fd": 77}, {"fd": 3}),
    ]
    assert errnos(actor, "link_update", *({"link": 7, **pair} for pair in pairs)) == [
        *("EPERM", "EPERM", "EINVAL", "EINVAL", "EBADF", "EBADF", "EINVAL"),
    ]
    ok(actor, "map_delete", fd=3, key=0)
    settles(world, maps={map: (2, 2)}, progs={one: 1, two: 3, msg: 1})


def test_detaching_a_link_from_a_sockmap(
    world: World, actor: Actor, sockmap: dict[str, int]
) -> None:
    """The map is let go of; the link keeps its program, and takes no other."""
    map, one, two, msg = sockmap.values()
    link = made(actor, "sockmap_link", map=3, prog=4, **VERDICT)
    for _ in range(2):
        ok(actor, "link_detach", link=7)
    settles(
        world,
        maps={map: (1, 1)},
        links={link: (1, one, 0)},
        progs={one: 2, two: 1, msg: 1},
    )
    assert ok(actor, "link_info", link=7).named == {"sockmap": 0}
    pairs: list[dict[str, Any]] = [
        *({"fd": 5}, {"fd": 5, "old_fd": 4}, {"fd": 5, "old_fd": 5}, {"fd": 6}, {"fd": 77}),
    ]
    assert errnos(actor, "link_update", *({"link": 7, **pair} for pair in pairs)) == [
        *("ENOLINK", "ENOLINK", "EPERM", "EINVAL", "EBADF"),
    ]
    ok(actor, "sockmap_link", map=3, prog=5, **VERDICT)
    ok(actor, "link_detach", link=7)
    settles(world, progs={one: 2, two: 3, msg: 1})


def test_what_no_link_to_a_sockmap_is_made_of(
    world: World, actor: Actor, sockmap: dict[str, int]
) -> None:
    """First the program and its type, then the map."""
    ok(actor, "map_create")
    pairs = [(3, 6), (3, 77), (3, 3), (7, 4), (7, 77), (77, 4), (77, 6), (77, 77), (4, 4)]
    wrong = [{"map": map, "prog": prog, **VERDICT} for map, prog in pairs]
    assert errnos(actor, "sockmap_link", *wrong) == [
        *("EINVAL", "EBADF", "EINVAL", "EINVAL", "EBADF", "EBADF", "EINVAL", "EBADF", "EINVAL"),
    ]
    counts = world.snapshot().maps[sockmap["map"]]
    assert (counts.refcnt, counts.usercnt) == (1, 1)
