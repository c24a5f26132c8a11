"""What the commands that attach to network namespaces do on the running kernel."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.world import World
from kernel_actors import (
    Arguments,
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

SK_LOOKUP = {"attach_type": "sk_lookup"}
FLOW = {"attach_type": "flow_dissector"}
CLOSED = 99


@pytest.fixture(name="actor")
def _actor(world: World) -> Actor:
    """A process in an own network namespace."""
    needs("netns_link", "netfilter_link")
    actor = world.actor("a")
    ok(actor, "unshare_net")
    return actor


def lookup(actor: Actor) -> tuple[int, int]:
    """A program that looks sockets up."""
    return loaded(actor, "sk_lookup", **SK_LOOKUP)


def dissector(actor: Actor) -> tuple[int, int]:
    """A program that dissects packets."""
    return loaded(actor, "flow_dissector")


def filter(actor: Actor) -> tuple[int, int]:
    """A program of netfilter."""
    return loaded(actor, "netfilter", attach_type="netfilter")


def netns(actor: Actor) -> int:
    """The inode of a process's network namespace."""
    return os.stat(f"/proc/{actor.pid}/ns/net").st_ino


def attached(actor: Actor, **what: Any) -> list[int]:
    """The programs that are attached to a process's network namespace."""
    return [prog for prog, _ in ok(actor, "netns_attached", **what).attached]


# ---------------------------------------------------------------------------------------------
# sk_lookup: links only, in the order in which they were made


def test_links_of_sk_lookup(world: World, actor: Actor) -> None:
    """One program may be there twice; a link has one reference on its own."""
    (one, first), (two, second) = lookup(actor), lookup(actor)
    link, id = linked(actor, "netns_link", fd=one)
    _, other = linked(actor, "netns_link", fd=two)
    _, again = linked(actor, "netns_link", fd=one)
    own = netns(actor)
    ids = {id: (1, first, own), other: (1, second, own), again: (1, first, own)}
    settles(world, progs={first: 3, second: 2}, links=ids)
    assert attached(actor) == [first, second, first]
    ok(actor, "close", fd=link)
    assert attached(actor) == [second, first]
    settles(world, progs={first: 2, second: 2}, links={other: ids[other], again: ids[again]})
    assert errnos(actor, "netns_attach", {"fd": one, **SK_LOOKUP}) == ["EINVAL"]
    assert errnos(actor, "netns_detach", {"fd": one, **SK_LOOKUP}) == ["EINVAL"]


def test_the_namespace_behind_a_descriptor(world: World, actor: Actor) -> None:
    """Also of one whose processes are gone: the open file keeps it."""
    other = world.actor("b")
    own = ok(actor, "open_net", pid=actor.pid).value
    ok(other, "unshare_net")
    theirs = ok(actor, "open_net", pid=other.pid).value
    inode = netns(other)
    other.exit()
    fd, prog = lookup(actor)
    link, id = linked(actor, "netns_link", fd=fd, netns=theirs)
    settles(world, progs={prog: 2}, links={id: (1, prog, inode)})
    assert (attached(actor), attached(actor, netns=own)) == ([], [])
    assert attached(actor, netns=theirs) == [prog]
    ok(actor, "close", fd=theirs)
    settles(world, progs={prog: 2}, links={id: (1, prog, 0)})
    assert errnos(actor, "link_update", {"link": link, "fd": fd}) == ["ENOLINK"]


def test_programs_that_do_not_fit_a_namespace(actor: Actor) -> None:
    """The program is looked at first, then its type and the flags, then the namespace."""
    (fd, _), (xdp, _) = lookup(actor), loaded(actor, "xdp")
    map = ok(actor, "map_create").value
    answers(
        actor,
        "netns_link",
        {},
        ({"fd": CLOSED}, "EBADF"),
        ({"fd": map}, "EINVAL"),
        ({"fd": xdp}, "EINVAL"),
        ({"fd": dissector(actor)[0]}, "EINVAL"),
        ({"fd": CLOSED, "netns": CLOSED}, "EBADF"),
        ({"fd": xdp, "netns": CLOSED}, "EINVAL"),
        ({"fd": fd, "netns": CLOSED}, "EBADF"),
        ({"fd": fd, "netns": map}, "EINVAL"),
        ({"fd": fd, "flags": 1}, "EINVAL"),
        ({"fd": fd, "flags": 1, "netns": CLOSED}, "EINVAL"),
        ({"fd": CLOSED, "flags": 1}, "EBADF"),
    )


def test_updates_of_links_of_sk_lookup(world: World, actor: Actor) -> None:
    """What is expected is looked at first, then the type, then whether it is attached."""
    (one, first), (two, second), (xdp, other) = lookup(actor), lookup(actor), loaded(actor, "xdp")
    link, id = linked(actor, "netns_link", fd=one)
    refused = (
        ({"fd": CLOSED}, "EBADF"),
        ({"fd": two, "old_fd": CLOSED}, "EBADF"),
        ({"fd": two, "old_fd": two}, "EPERM"),
        ({"fd": xdp, "old_fd": two}, "EPERM"),
        ({"fd": xdp}, "EINVAL"),
    )
    answers(actor, "link_update", {"link": link}, *refused, ({"fd": one}, None))
    settles(world, progs={first: 2, second: 1, other: 1})
    ok(actor, "link_update", link=link, fd=two, old_fd=one)
    settles(world, progs={first: 1, second: 2, other: 1}, links={id: (1, second, netns(actor))})
    ok(actor, "link_update", link=link, fd=one)
    for _ in range(2):
        ok(actor, "link_detach", link=link)
    settles(world, progs={first: 2, second: 1, other: 1}, links={id: (1, first, 0)})
    answers(actor, "link_update", {"link": link}, *refused, ({"fd": one}, "ENOLINK"))


def test_sk_lookup_has_room_for_64(actor: Actor) -> None:
    (fd, prog), (xdp, _) = lookup(actor), loaded(actor, "xdp")
    for _ in range(64):
        ok(actor, "netns_link", fd=fd)
    assert errnos(actor, "netns_link", {"fd": fd}, {"fd": xdp}) == ["E2BIG", "EINVAL"]
    assert attached(actor) == [prog] * 64


# ---------------------------------------------------------------------------------------------
# flow dissectors: one, by itself or by a link


def test_a_flow_dissector(world: World, actor: Actor) -> None:
    (one, first), (two, second), (xdp, other) = (
        dissector(actor), dissector(actor), loaded(actor, "xdp"),
    )  # fmt: skip
    detach: list[Arguments] = [{"fd": one}, {}, {"fd": CLOSED}, {"fd": xdp}]
    refused = ["ENOENT", "EINVAL", "EBADF", "EINVAL"]
    assert errnos(actor, "netns_detach", *detach) == refused
    ok(actor, "netns_attach", fd=one)
    settles(world, progs={first: 2, second: 1, other: 1})
    assert errnos(actor, "netns_attach", *({"fd": fd} for fd in (one, xdp, CLOSED))) == [
        "EINVAL", "EINVAL", "EBADF",
    ]  # fmt: skip
    ok(actor, "netns_attach", fd=two)
    settles(world, progs={first: 1, second: 2, other: 1})
    assert errnos(actor, "netns_detach", *detach) == refused
    asked: list[Arguments] = [{"fd": fd, **FLOW} for fd in (one, two, xdp)]
    assert errnos(actor, "netns_link", *asked) == ["EEXIST", "EEXIST", "EINVAL"]
    ok(actor, "netns_detach", fd=two)
    assert attached(actor, **FLOW) == []
    settles(world, progs={first: 1, second: 1, other: 1})


def test_a_link_of_a_flow_dissector(world: World, actor: Actor) -> None:
    (one, first), (two, second) = dissector(actor), dissector(actor)
    link, id = linked(actor, "netns_link", fd=one, **FLOW)
    settles(world, progs={first: 2, second: 1}, links={id: (1, first, netns(actor))})
    assert errnos(actor, "netns_link", {"fd": one, **FLOW}, {"fd": two, **FLOW}) == ["E2BIG"] * 2
    assert errnos(actor, "netns_attach", {"fd": one}, {"fd": two}) == ["EEXIST"] * 2
    assert errnos(actor, "netns_detach", {"fd": one}, {"fd": two}, {}) == ["EINVAL"] * 3
    ok(actor, "link_update", link=link, fd=two)
    assert attached(actor, **FLOW) == [second]
    ok(actor, "close", fd=link)
    ok(actor, "netns_attach", fd=one)
    settles(world, progs={first: 2, second: 1}, links={})


def test_the_end_of_a_namespace(world: World, actor: Actor) -> None:
    """A program of its own goes; links stay with theirs, and are detached."""
    (one, first), (two, second) = dissector(actor), lookup(actor)
    ok(actor, "netns_attach", fd=one)
    _, id = linked(actor, "netns_link", fd=two)
    settles(world, progs={first: 2, second: 2}, links={id: (1, second, netns(actor))})
    ok(actor, "unshare_net")
    settles(world, progs={first: 1, second: 2}, links={id: (1, second, 0)})


def test_a_new_beginning_has_nothing_attached(world: World) -> None:
    needs("netns_link")
    actor = world.actor("a")
    fd, _ = dissector(actor)
    ok(actor, "netns_attach", fd=fd)
    world.reset()
    assert attached(world.actor("a"), **FLOW) == []


# ---------------------------------------------------------------------------------------------
# netfilter: links at hooks of the packet filter, by priority


def test_links_of_netfilter(world: World, actor: Actor) -> None:
    """A priority is taken once for each hook; a program may be there often."""
    (one, first), (two, second) = filter(actor), filter(actor)
    link, id = linked(actor, "netfilter_link", fd=one, priority=1)
    settles(world, progs={first: 2, second: 1}, links={id: (1, first, netns(actor))})
    places: list[Arguments] = [{"priority": 1}, {"priority": 2}, {"priority": 1, "hook": "output"}]
    for fd in (one, two):
        assert errnos(actor, "netfilter_link", {"fd": fd, **places[0]}) == ["EBUSY"]
    for place in places[1:]:
        ok(actor, "netfilter_link", fd=one, **place)
    settles(world, progs={first: 4, second: 1})
    for _ in range(2):
        ok(actor, "link_detach", link=link)
    assert world.snapshot().links[id] == (1, first, 0)
    ok(actor, "netfilter_link", fd=two, priority=1)
    settles(world, progs={first: 4, second: 2})
    ok(actor, "close", fd=link)
    settles(world, progs={first: 3, second: 2})


def test_links_of_netfilter_run_by_priority(world: World, actor: Actor) -> None:
    (one, first), (two, second) = filter(actor), filter(actor)
    places = ((one, 5), (two, -5), (two, 1))
    links = [linked(actor, "netfilter_link", fd=fd, priority=order) for fd, order in places]
    ok(actor, "netfilter_link", fd=one, hook="output")
    ok(actor, "netns_link", fd=lookup(actor)[0])
    a, b, c = (id for _, id in links)
    assert world.netfilter(netns(actor)) == ((second, b), (second, c), (first, a))
    ok(actor, "link_detach", link=links[1][0])
    assert world.netfilter(netns(actor)) == ((second, c), (first, a))
    assert world.netfilter(netns(actor), "forward") == ()


def test_programs_that_do_not_fit_netfilter(actor: Actor) -> None:
    """A wrong type is seen before a priority that is taken; the ends of the scale are not free."""
    (fd, _), (xdp, _) = filter(actor), loaded(actor, "xdp")
    map = ok(actor, "map_create").value
    ok(actor, "netfilter_link", fd=fd)
    answers(
        actor,
        "netfilter_link",
        {},
        ({"fd": CLOSED}, "EBADF"),
        ({"fd": map}, "EINVAL"),
        ({"fd": xdp}, "EINVAL"),
        ({"fd": fd, "priority": -(1 << 31)}, "ERANGE"),
        ({"fd": fd, "priority": (1 << 31) - 1}, "ERANGE"),
    )


def test_links_of_netfilter_are_not_updated(world: World, actor: Actor) -> None:
    (one, first), (two, second) = filter(actor), filter(actor)
    link, _ = linked(actor, "netfilter_link", fd=one)
    updates = (
        ({"fd": two}, "ENOTSUP"),
        ({"fd": one}, "ENOTSUP"),
        ({"fd": two, "old_fd": one}, "ENOTSUP"),
        ({"fd": CLOSED}, "EBADF"),
        ({"fd": two, "old_fd": CLOSED}, "EBADF"),
    )
    answers(actor, "link_update", {"link": link}, *updates)
    ok(actor, "link_detach", link=link)
    answers(actor, "link_update", {"link": link}, *updates)
    settles(world, progs={first: 2, second: 1})


def test_a_link_of_netfilter_keeps_its_namespace(world: World, actor: Actor) -> None:
    """So it does not end with its processes: what else is attached there stays until a detach."""
    (one, first), (two, second) = filter(actor), lookup(actor)
    flow, third = dissector(actor)
    link, id = linked(actor, "netfilter_link", fd=one)
    _, other = linked(actor, "netns_link", fd=two)
    ok(actor, "netns_attach", fd=flow)
    own = netns(actor)
    ok(actor, "unshare_net")
    later, fourth = dissector(actor)
    ok(actor, "netns_attach", fd=later)
    ok(actor, "unshare_net")  # the end of this one comes after what the first one's might have done
    links = {id: (1, first, own), other: (1, second, own)}
    settles(world, progs={first: 2, second: 2, third: 2, fourth: 1}, links=links)
    ok(actor, "link_detach", link=link)
    links = {id: (1, first, 0), other: (1, second, 0)}
    settles(world, progs={first: 2, second: 2, third: 1, fourth: 1}, links=links)
