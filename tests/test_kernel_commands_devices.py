"""What the commands that attach to network devices do on the running kernel.

These are tcx and XDP links.
"""

from __future__ import annotations

import os

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.poll import wait_until
from bpflife.proofs.kernel.refs import device
from bpflife.proofs.kernel.world import World
from kernel_actors import (
    answers,
    errnos,
    fresh_world,
    linked,
    loaded,
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


def at_tcx(actor: Actor, target: str = "left") -> list[tuple[int, ...]]:
    """The ids of programs and links at a device's ingress."""
    return list(ok(actor, "tcx_attached", target=target).attached)


def left(actor: Actor) -> int:
    """The device "left" as a link's target: the second of its namespace, or a later one."""
    namespace = os.stat(f"/proc/{actor.pid}/ns/net").st_ino
    return device(namespace, ok(actor, "device_indexes").named["left"])


# ---------------------------------------------------------------------------------------------
# tcx


def test_a_program_at_tcx(world: World, actor: Actor) -> None:
    """One reference for each place; a device's end lets go at once."""
    needs("tcx_attach")
    fd, prog = loaded(actor, "sched_cls")
    ok(actor, "tcx_attach", **LEFT, fd=fd)
    settles(world, progs={prog: 2})
    ok(actor, "tcx_attach", **LEFT, fd=fd, direction="egress")
    settles(world, progs={prog: 3})
    assert errnos(actor, "tcx_attach", {**LEFT, "fd": fd}) == ["EEXIST"]
    ok(actor, "tcx_detach", **LEFT, fd=fd)
    assert at_tcx(actor) == []
    settles(world, progs={prog: 2})
    ok(actor, "close", fd=fd)
    settles(world, progs={prog: 1})
    ok(actor, "delete_device", **LEFT)
    settles(world, progs={})


def test_the_end_of_a_namespace_lets_go_of_tcx(world: World, actor: Actor) -> None:
    needs("tcx_link")
    ok(actor, "unshare_net")
    ok(actor, "make_veth", target="left", peer="right")
    (one, first), (two, second) = loaded(actor, "sched_cls"), loaded(actor, "sched_cls")
    ok(actor, "tcx_attach", **LEFT, fd=one)
    link, id = linked(actor, "tcx_link", **LEFT, fd=two)
    settles(world, progs={first: 2, second: 2}, links={id: (1, second, left(actor))})
    ok(actor, "unshare_net")
    settles(world, progs={first: 1, second: 2}, links={id: (1, second, 0)})
    assert errnos(actor, "link_update", {"link": link, "fd": one}) == ["ENOLINK"]


def test_programs_that_do_not_fit_tcx(actor: Actor) -> None:
    """The program is looked at first, then the device, then what else is asked for."""
    needs("tcx_attach")
    (fd, _), (xdp, _) = loaded(actor, "sched_cls"), loaded(actor, "xdp")
    map = ok(actor, "map_create").value
    for command in ("tcx_attach", "tcx_link"):
        wrong = ({"fd": CLOSED}, {"fd": map}, {"fd": xdp})
        for target in (LEFT, NOWHERE):
            refused = errnos(actor, command, *({**target, **one} for one in wrong))
            assert refused == ["EBADF", "EINVAL", "EINVAL"]
        late = {"fd": fd, "revision": 9}
        assert errnos(actor, command, {**NOWHERE, **late}, {**LEFT, **late}) == [
            "ENODEV", "ESTALE",
        ]  # fmt: skip
    bad = {"fd": fd, "flags": ["allow_override"]}
    assert errnos(actor, "tcx_attach", {**NOWHERE, **bad}) == ["EINVAL"]
    assert errnos(actor, "tcx_link", {**NOWHERE, **bad}, {**LEFT, **bad}) == ["ENODEV", "EINVAL"]


def test_detaching_from_tcx(actor: Actor) -> None:
    """Without a program and a place it takes the last one."""
    needs("tcx_attach")
    (one, first), (two, second) = loaded(actor, "sched_cls"), loaded(actor, "sched_cls")
    xdp, _ = loaded(actor, "xdp")
    answers(
        actor,
        "tcx_detach",
        LEFT,
        ({}, "ENOENT"),
        ({"fd": one}, "ENOENT"),
        ({"fd": CLOSED}, "EBADF"),
        ({"fd": one, "revision": 9}, "ENOENT"),
    )
    for fd in (one, two):
        ok(actor, "tcx_attach", **LEFT, fd=fd)
    third, _ = loaded(actor, "sched_cls")
    answers(
        actor,
        "tcx_detach",
        LEFT,
        ({"fd": third}, "ENOENT"),
        ({"fd": third, "revision": 9}, "ESTALE"),
        ({"fd": one, "revision": 9}, "ESTALE"),
        ({"revision": 9}, "ESTALE"),
        ({"fd": xdp}, "EINVAL"),
        ({"fd": one, "flags": ["replace"]}, "EINVAL"),
        ({"fd": one, "after": two}, "ERANGE"),
    )
    assert errnos(actor, "tcx_detach", {**NOWHERE, "fd": one}, {**NOWHERE, "fd": CLOSED}) == [
        "ENODEV", "EBADF",
    ]  # fmt: skip
    assert at_tcx(actor) == [(first, 0), (second, 0)]
    ok(actor, "tcx_detach", **LEFT)
    assert at_tcx(actor) == [(first, 0)]
    ok(actor, "tcx_attach", **LEFT, fd=two)
    ok(actor, "tcx_detach", **LEFT, before=0)
    assert at_tcx(actor) == [(second, 0)]
    ok(actor, "tcx_detach", **LEFT, fd=two)
    assert ok(actor, "tcx_attached", **LEFT).named == {"revision": 1}  # a new hook


def test_a_link_at_tcx(world: World, actor: Actor) -> None:
    """It is attached while it has a file or a pin; its program is its own."""
    needs("tcx_link")
    fd, prog = loaded(actor, "sched_cls")
    link, id = linked(actor, "tcx_link", **LEFT, fd=fd)
    settles(world, progs={prog: 2}, links={id: (1, prog, left(actor))})
    assert at_tcx(actor) == [(prog, id)]
    assert errnos(actor, "tcx_link", {**LEFT, "fd": fd}) == ["EEXIST"]
    assert errnos(actor, "tcx_attach", {**LEFT, "fd": fd}) == ["EEXIST"]
    assert errnos(actor, "tcx_detach", {**LEFT, "fd": fd}, {**LEFT}) == ["EBUSY", "EBUSY"]
    assert errnos(actor, "tcx_detach", {**LEFT, "fd": fd, "revision": 9}) == ["ESTALE"]
    other, _ = loaded(actor, "sched_cls")
    assert errnos(actor, "tcx_attach", {**LEFT, "fd": other, "replace": fd}) == ["EBUSY"]
    assert errnos(actor, "tcx_link", {**LEFT, "fd": other, "replace": fd}) == ["ENOENT"]
    ok(actor, "close", fd=link)
    assert at_tcx(actor) == []
    ok(actor, "close", fd=other)
    settles(world, progs={prog: 1}, links={})


def test_updates_of_a_link_at_tcx(world: World, actor: Actor) -> None:
    needs("tcx_link")
    (one, first), (two, second) = loaded(actor, "sched_cls"), loaded(actor, "sched_cls")
    (three, third), (xdp, other) = loaded(actor, "sched_cls"), loaded(actor, "xdp")
    link, id = linked(actor, "tcx_link", **LEFT, fd=one)
    ok(actor, "tcx_attach", **LEFT, fd=two)
    answers(
        actor,
        "link_update",
        {"link": link},
        ({"fd": two}, "EEXIST"),
        ({"fd": xdp}, "EINVAL"),
        ({"fd": CLOSED}, "EBADF"),
        ({"fd": three, "old_fd": two}, "EPERM"),
        ({"fd": xdp, "old_fd": two}, "EPERM"),
        ({"fd": one, "old_fd": two}, "EPERM"),
    )
    ok(actor, "link_update", link=link, fd=one)
    settles(world, progs={first: 2, second: 2, third: 1, other: 1})
    ok(actor, "link_update", link=link, fd=three, old_fd=one)
    settles(world, progs={first: 1, second: 2, third: 2, other: 1})
    assert at_tcx(actor) == [(third, id), (second, 0)]


def test_a_detached_link_at_tcx_keeps_its_program(world: World, actor: Actor) -> None:
    needs("tcx_link")
    (one, first), (two, second), (xdp, other) = (
        loaded(actor, "sched_cls"), loaded(actor, "sched_cls"), loaded(actor, "xdp"),
    )  # fmt: skip
    link, id = linked(actor, "tcx_link", **LEFT, fd=one)
    for _ in range(2):
        ok(actor, "link_detach", link=link)
    settles(world, progs={first: 2, second: 1, other: 1}, links={id: (1, first, 0)})
    answers(
        actor,
        "link_update",
        {"link": link},
        ({"fd": one}, "ENOLINK"),
        ({"fd": two}, "ENOLINK"),
        ({"fd": xdp}, "ENOLINK"),
        ({"fd": two, "old_fd": two}, "ENOLINK"),
    )
    ok(actor, "tcx_attach", **LEFT, fd=one)
    ok(actor, "close", fd=link)
    settles(world, progs={first: 2, second: 1, other: 1}, links={})
    assert at_tcx(actor) == [(first, 0)]


def test_a_pin_keeps_a_link_attached(world: World, actor: Actor) -> None:
    """What the last pin lets go of is detached some time later."""
    needs("tcx_link")
    fd, prog = loaded(actor, "sched_cls")
    link, id = linked(actor, "tcx_link", **LEFT, fd=fd)
    ok(actor, "pin", fd=link, path=world.pin_path("p"))
    ok(actor, "close", fd=link)
    assert at_tcx(actor) == [(prog, id)]
    ok(actor, "unlink", path=world.pin_path("p"))
    assert wait_until(lambda: at_tcx(actor), lambda now: now == [])[1]
    settles(world, progs={prog: 1}, links={})


def test_a_device_takes_its_links_with_it(world: World, actor: Actor) -> None:
    """The one that is connected to it, too."""
    needs("tcx_link", "xdp_link")
    (cls, first), (xdp, second) = loaded(actor, "sched_cls"), loaded(actor, "xdp")
    tcx, one = linked(actor, "tcx_link", **LEFT, fd=cls)
    link, two = linked(actor, "xdp_link", **LEFT, fd=xdp)
    where = left(actor)
    settles(world, links={one: (1, first, where), two: (1, second, where)})
    ok(actor, "delete_device", target="right")
    settles(world, progs={first: 2, second: 2}, links={one: (1, first, 0), two: (1, second, 0)})
    for number, fd in ((tcx, cls), (link, xdp)):
        assert errnos(actor, "link_update", {"link": number, "fd": fd}) == ["ENOLINK"]
        ok(actor, "link_detach", link=number)
        ok(actor, "close", fd=number)
    settles(world, progs={first: 1, second: 1}, links={})


def test_a_device_that_is_off_keeps_what_is_attached(world: World, actor: Actor) -> None:
    needs("tcx_link", "xdp_link")
    (cls, first), (xdp, second) = loaded(actor, "sched_cls"), loaded(actor, "xdp")
    ok(actor, "switch_device", **LEFT, on=True)
    _, one = linked(actor, "tcx_link", **LEFT, fd=cls)
    _, two = linked(actor, "xdp_link", **LEFT, fd=xdp)
    ok(actor, "switch_device", **LEFT, on=False)
    where = left(actor)
    links = {one: (1, first, where), two: (1, second, where)}
    settles(world, progs={first: 2, second: 4}, links=links)
    assert at_tcx(actor) == [(first, one)]


def test_a_link_of_another_device_is_not_beside(actor: Actor) -> None:
    """Nor is a detached one; a link of another kind is no link that could be."""
    needs("tcx_link", "xdp_link")
    (one, _), (two, _), (xdp, _) = (
        loaded(actor, "sched_cls"), loaded(actor, "sched_cls"), loaded(actor, "xdp"),
    )  # fmt: skip
    link, _ = linked(actor, "tcx_link", target="right", fd=one)
    other, _ = linked(actor, "xdp_link", target="right", fd=xdp)
    new = {**LEFT, "fd": two, "of": "link"}
    expected = (({"before": link}, "ENOENT"), ({"before": other}, "EINVAL"))
    answers(actor, "tcx_attach", new, *expected)
    ok(actor, "link_detach", link=link)
    answers(actor, "tcx_attach", new, *expected)


def test_a_full_tcx_hook(actor: Actor) -> None:
    """It has room for 63: who is there already and what is asked for is looked at first."""
    needs("tcx_attach")
    fds = [loaded(actor, "sched_cls")[0] for _ in range(64)]
    for fd in fds[:-1]:
        ok(actor, "tcx_attach", **LEFT, fd=fd)
    new = {**LEFT, "fd": fds[-1]}
    answers(
        actor,
        "tcx_attach",
        {},
        (new, "ERANGE"),
        ({**new, "revision": 9}, "ESTALE"),
        ({**LEFT, "fd": fds[0]}, "EEXIST"),
        ({**new, "before": CLOSED}, "EBADF"),
        ({**new, "before": fds[-1]}, "ERANGE"),
    )
    assert errnos(actor, "tcx_link", new) == ["ERANGE"]
    ok(actor, "tcx_attach", **new, replace=fds[0])


# ---------------------------------------------------------------------------------------------
# links and XDP


def test_an_xdp_link(world: World, actor: Actor) -> None:
    """Link, device and dispatcher hold its program; netlink can do nothing about it."""
    needs("xdp_link")
    (one, first), (two, second) = loaded(actor, "xdp"), loaded(actor, "xdp")
    link, id = linked(actor, "xdp_link", **LEFT, fd=one)
    settles(world, progs={first: 4, second: 1}, links={id: (1, first, left(actor))})
    answers(
        actor,
        "xdp_set",
        LEFT,
        ({"fd": two, "mode": "skb"}, "EBUSY"),
        ({"mode": "skb"}, "EBUSY"),
        ({"fd": one, "mode": "skb"}, "EBUSY"),
        ({"fd": two, "mode": "skb", "expected": one}, "EBUSY"),
        ({"fd": two, "mode": "drv"}, "EEXIST"),
        ({"mode": "drv"}, None),
    )
    answers(
        actor,
        "xdp_link",
        LEFT,
        ({"fd": two}, "EBUSY"),
        ({"fd": one}, "EBUSY"),
        ({"fd": two, "mode": "drv"}, "EEXIST"),
    )
    ok(actor, "link_update", link=link, fd=two)
    settles(world, progs={first: 1, second: 4}, links={id: (1, second, left(actor))})
    ok(actor, "close", fd=link)
    assert ok(actor, "devices").named["left"] == 0
    settles(world, progs={first: 1, second: 1}, links={})


def test_an_xdp_link_over_a_program(world: World, actor: Actor) -> None:
    """Refused, also of the same program; a wrong program is seen first, then the device."""
    needs("xdp_link")
    (one, first), (two, second), (cls, other) = (
        loaded(actor, "xdp"), loaded(actor, "xdp"), loaded(actor, "sched_cls"),
    )  # fmt: skip
    ok(actor, "xdp_set", **LEFT, fd=one, mode="skb")
    answers(
        actor,
        "xdp_link",
        LEFT,
        ({"fd": one}, "EBUSY"),
        ({"fd": two}, "EBUSY"),
        ({"fd": two, "mode": "drv"}, "EEXIST"),
        ({"fd": cls}, "EINVAL"),
        ({"fd": CLOSED}, "EBADF"),
    )
    nowhere = [{**NOWHERE, "fd": fd} for fd in (one, cls, CLOSED)]
    assert errnos(actor, "xdp_link", *nowhere) == ["EINVAL", "EINVAL", "EBADF"]
    settles(world, progs={first: 4, second: 1, other: 1})


def test_updates_of_an_xdp_link(world: World, actor: Actor) -> None:
    needs("xdp_link")
    (one, first), (two, second), (cls, other) = (
        loaded(actor, "xdp"), loaded(actor, "xdp"), loaded(actor, "sched_cls"),
    )  # fmt: skip
    link, id = linked(actor, "xdp_link", **LEFT, fd=one)
    answers(
        actor,
        "link_update",
        {"link": link},
        ({"fd": CLOSED}, "EBADF"),
        ({"fd": two, "old_fd": two}, "EPERM"),
        ({"fd": cls, "old_fd": two}, "EPERM"),
        ({"fd": one, "old_fd": two}, "EPERM"),
        ({"fd": cls}, "EINVAL"),
        ({"fd": one}, None),
    )
    settles(world, progs={first: 4, second: 1, other: 1})
    for _ in range(2):
        ok(actor, "link_detach", link=link)
    settles(world, progs={first: 2, second: 1, other: 1}, links={id: (1, first, 0)})
    answers(
        actor,
        "link_update",
        {"link": link},
        ({"fd": CLOSED}, "EBADF"),
        ({"fd": two, "old_fd": two}, "ENOLINK"),
        ({"fd": cls}, "ENOLINK"),
        ({"fd": one}, "ENOLINK"),
    )
    ok(actor, "xdp_set", **LEFT, fd=two, mode="skb")
    ok(actor, "close", fd=link)
    settles(world, progs={first: 1, second: 4, other: 1}, links={})
