"""What the commands do that make programs filters of devices, and steps of routes.

Both are made by netlink, and there are no links to them.
"""

from __future__ import annotations

from typing import Any

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.world import World
from kernel_actors import (
    answers,
    errnos,
    fresh_world,
    loaded,
    made,
    needs,
    ok,
    settles,
    shared_world,
)

__all__ = ["fresh_world", "shared_world"]  # fixtures

LEFT = {"target": "left"}
NOWHERE = {"target": "none"}
CLOSED = 99


@pytest.fixture(name="actor")
def _actor(world: World) -> Actor:
    """A process with two devices, "left" and "right"."""
    needs("make_veth")
    actor = world.actor("a")
    ok(actor, "make_veth", target="left", peer="right")
    return actor


def as_filters(actor: Actor, **where: Any) -> list[tuple[int, ...]]:
    """The ids of programs that are filters of a device, and their handles."""
    found = ok(actor, "filters_attached", **LEFT, **where).attached
    return [(prog, handle) for prog, _, _, handle in found]


def at_tcx(actor: Actor) -> list[tuple[int, ...]]:
    """The ids of programs and links at a device's ingress."""
    return list(ok(actor, "tcx_attached", **LEFT).attached)


# ---------------------------------------------------------------------------------------------
# filters of traffic control


def test_filters_pile_up(world: World, actor: Actor) -> None:
    """Each takes a reference, the newest runs first, and nothing but a handle tells them apart."""
    needs("filter_add")
    (one, first), (two, second) = loaded(actor, "sched_cls"), loaded(actor, "sched_cls")
    ok(actor, "make_clsact", **LEFT)
    for fd in (one, two, one):
        ok(actor, "filter_add", **LEFT, fd=fd)
    assert as_filters(actor) == [(first, 3), (second, 2), (first, 1)]
    settles(world, progs={first: 3, second: 2})
    ok(actor, "filter_add", **LEFT, fd=two, handle=1, how="replace")
    assert as_filters(actor) == [(first, 3), (second, 2), (second, 1)]
    settles(world, progs={first: 2, second: 3})
    ok(actor, "filter_add", **LEFT, fd=two, how="replace")  # of no handle: one more
    ok(actor, "filter_add", **LEFT, fd=one, direction="egress")
    settles(world, progs={first: 3, second: 4})
    ok(actor, "filter_delete", **LEFT, prio=1, handle=3)
    ok(actor, "filter_delete", **LEFT, direction="egress", prio=1)
    settles(world, progs={first: 1, second: 4})
    ok(actor, "delete_clsact", **LEFT)
    settles(world, progs={first: 1, second: 1})


def test_filters_go_at_once(world: World, actor: Actor) -> None:
    """All of a priority, or all of a direction: only the former have to be there."""
    needs("filter_add")
    fd, prog = loaded(actor, "sched_cls")
    ok(actor, "make_clsact", **LEFT)
    ok(actor, "filter_delete", **LEFT)
    assert errnos(actor, "filter_delete", {**LEFT, "prio": 1}) == ["ENOENT"]
    for prio in (1, 1, 2):
        ok(actor, "filter_add", **LEFT, fd=fd, prio=prio)
    ok(actor, "filter_delete", **LEFT, prio=1)
    settles(world, progs={prog: 2})
    ok(actor, "filter_delete", **LEFT)
    settles(world, progs={prog: 1})
    assert ok(actor, "clsacts").named == {"left": 1}
    assert errnos(actor, "filter_delete", NOWHERE) == ["ENODEV"]


def test_filters_that_are_refused(world: World, actor: Actor) -> None:
    """The handle is looked at before the program."""
    needs("filter_add")
    (fd, prog), (xdp, other) = loaded(actor, "sched_cls"), loaded(actor, "xdp")
    map = ok(actor, "map_create").value
    assert errnos(actor, "filter_add", {**NOWHERE, "fd": CLOSED}, {**LEFT, "fd": CLOSED}) == [
        "ENODEV", "EINVAL",
    ]  # fmt: skip
    ok(actor, "make_clsact", **LEFT)
    ok(actor, "filter_add", **LEFT, fd=fd, handle=1)
    numbers = (CLOSED, map, xdp)
    for place in ({}, {"prio": 2}, {"handle": 1, "how": "replace"}):
        refused = errnos(actor, "filter_add", *({**LEFT, **place, "fd": each} for each in numbers))
        assert refused == ["EBADF", "EINVAL", "EINVAL"]
    for place, number in (
        ({"handle": 1}, "EEXIST"), ({"handle": 2, "how": "change"}, "ENOENT"),
        ({"handle": 1, "prio": 2, "how": "change"}, "ENOENT"), ({"prio": 0}, "EINVAL"),
    ):  # fmt: skip
        for each in (CLOSED, fd):
            wrong = {**LEFT, **place, "fd": each}
            if (each, place) != (CLOSED, {"prio": 0}):
                assert errnos(actor, "filter_add", wrong) == [number]
    settles(world, progs={prog: 2, other: 1})
    answers(
        actor,
        "filter_delete",
        LEFT,
        ({"prio": 1, "handle": 2}, "ENOENT"),
        ({"prio": 2, "handle": 1}, "ENOENT"),
        ({"handle": 1}, "ENOENT"),
        ({"direction": "egress", "prio": 1, "handle": 1}, "ENOENT"),
    )


def test_the_discipline_of_filters(world: World, actor: Actor) -> None:
    """It is beside tcx: neither takes the other along."""
    needs("filter_add", "tcx_attach")
    assert errnos(actor, "delete_clsact", LEFT, NOWHERE) == ["ENOENT", "ENODEV"]
    assert errnos(actor, "filter_delete", {**LEFT, "prio": 1, "handle": 1}) == ["EINVAL"]
    (one, first), (two, second) = loaded(actor, "sched_cls"), loaded(actor, "sched_cls")
    ok(actor, "tcx_attach", **LEFT, fd=one)
    ok(actor, "make_clsact", **LEFT)
    assert errnos(actor, "make_clsact", LEFT, NOWHERE) == ["EEXIST", "ENODEV"]
    for fd in (one, two):
        ok(actor, "filter_add", **LEFT, fd=fd)
    settles(world, progs={first: 3, second: 2})
    ok(actor, "delete_clsact", **LEFT)
    assert at_tcx(actor) == [(first, 0)]
    settles(world, progs={first: 2, second: 1})
    assert errnos(actor, "delete_clsact", LEFT) == ["EINVAL"]
    ok(actor, "make_clsact", **LEFT)
    ok(actor, "filter_add", **LEFT, fd=two)
    ok(actor, "tcx_detach", **LEFT, fd=one)
    assert as_filters(actor) == [(second, 1)]
    ok(actor, "delete_device", **LEFT)
    settles(world, progs={first: 1, second: 1})


# ---------------------------------------------------------------------------------------------
# routes


@pytest.fixture(name="routed")
def _routed(actor: Actor) -> Actor:
    """A process whose device "left" is on."""
    needs("route_add")
    ok(actor, "switch_device", **LEFT, on=True)
    return actor


def through(actor: Actor) -> dict[str, int]:
    """The ids of the programs of routes."""
    return dict(ok(actor, "routes_attached").named)


def test_a_route_through_programs(world: World, routed: Actor) -> None:
    """Each program is held once; they go with the route, after a grace period."""
    places = ("lwt_in", "lwt_out", "lwt_xmit")
    progs = {place: loaded(routed, place) for place in places}
    ok(routed, "route_add", **LEFT, to="10.0.0.1", **{p: fd for p, (fd, _) in progs.items()})
    ids = {place: id for place, (_, id) in progs.items()}
    assert through(routed) == {f"10.0.0.1 {place}": id for place, id in ids.items()}
    settles(world, progs=dict.fromkeys(ids.values(), 2))
    ok(routed, "route_delete", to="10.0.0.1")
    assert through(routed) == {}
    settles(world, progs=dict.fromkeys(ids.values(), 1))
    assert errnos(routed, "route_delete", {"to": "10.0.0.1"}) == ["ESRCH"]


def test_routes_are_replaced(world: World, routed: Actor) -> None:
    (one, first), (two, second) = loaded(routed, "lwt_xmit"), loaded(routed, "lwt_xmit")
    route = {**LEFT, "to": "10.0.0.1"}
    ok(routed, "route_add", **route, lwt_xmit=one)
    again = [{**route, "lwt_xmit": fd} for fd in (one, two)]
    assert errnos(routed, "route_add", *again) == ["EEXIST", "EEXIST"]
    for fd in (two, two):
        ok(routed, "route_add", **route, lwt_xmit=fd, how="replace")
    assert through(routed) == {"10.0.0.1 lwt_xmit": second}
    settles(world, progs={first: 1, second: 2})
    ok(routed, "route_add", **LEFT, to="10.0.0.2", lwt_xmit=one, how="replace")
    settles(world, progs={first: 2, second: 2})


def test_routes_that_differ_only_in_their_addresses_share_a_program(
    world: World, routed: Actor
) -> None:
    """The kernel tells programs of routes apart by their names only: the first one serves."""
    (one, first), (two, second) = loaded(routed, "lwt_xmit"), loaded(routed, "lwt_xmit")
    for number, fd, name in ((1, one, ""), (2, one, ""), (3, two, str(first))):
        ok(routed, "route_add", **LEFT, to=f"10.0.0.{number}", lwt_xmit=fd, name=name)
    settles(world, progs={first: 2, second: 1})
    for number in (1, 2):
        ok(routed, "route_delete", to=f"10.0.0.{number}")
    settles(world, progs={first: 2, second: 1})
    ok(routed, "route_delete", to="10.0.0.3")
    settles(world, progs={first: 1, second: 1})


def test_routes_that_are_refused(world: World, routed: Actor) -> None:
    """The program is looked at before the device, and before what is there."""
    (fd, prog), (other, wrong) = loaded(routed, "lwt_xmit"), loaded(routed, "lwt_in")
    map = ok(routed, "map_create").value
    ok(routed, "route_add", **LEFT, to="10.0.0.1", lwt_xmit=fd)
    for target in (LEFT, NOWHERE):
        asked = [{**target, "to": "10.0.0.1", "lwt_xmit": n} for n in (CLOSED, map, other)]
        assert errnos(routed, "route_add", *asked) == ["EBADF", "EINVAL", "EINVAL"]
    fits = {"to": "10.0.0.1", "lwt_xmit": fd}
    assert errnos(routed, "route_add", {**NOWHERE, **fits}) == ["ENODEV"]
    ok(routed, "switch_device", target="left", on=False)
    assert through(routed) == {}
    assert errnos(routed, "route_add", {**LEFT, **fits}) == ["ENETDOWN"]
    settles(world, progs={prog: 1, wrong: 1})


@pytest.mark.parametrize("end", ["device", "namespace"])
def test_routes_go_with_their_device(world: World, routed: Actor, end: str) -> None:
    fd, prog = loaded(routed, "lwt_out")
    if end == "namespace":
        ok(routed, "unshare_net")
        ok(routed, "make_veth", target="left", peer="right")
        ok(routed, "switch_device", **LEFT, on=True)
    ok(routed, "route_add", **LEFT, to="10.0.0.1", lwt_out=fd)
    settles(world, progs={prog: 2})
    if end == "namespace":
        ok(routed, "unshare_net")
    else:
        ok(routed, "delete_device", **LEFT)
    assert through(routed) == {}
    settles(world, progs={prog: 1})


def test_a_program_that_only_a_device_holds(world: World, actor: Actor) -> None:
    """Its maps stay as long as it is attached."""
    needs("filter_add")
    map = made(actor, "map_create")
    fd, prog = loaded(actor, "sched_cls", maps=[3])
    ok(actor, "make_clsact", **LEFT)
    ok(actor, "filter_add", **LEFT, fd=fd)
    ok(actor, "exit")
    settles(world, maps={map: (1, 0)}, progs={prog: 1})
    ok(world.actor("b"), "delete_clsact", **LEFT)
    settles(world, maps={}, progs={})
