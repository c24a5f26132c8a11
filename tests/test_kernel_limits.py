"""Hooks that are full: how many attachments a list takes, and what the next one is told.

Too long for scenarios that are read; each is played on the model and on the kernel all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bpflife.model.documents import Scenario, Step
from bpflife.model.simulator import play
from bpflife.proofs.kernel.compare import compare_trace
from bpflife.proofs.kernel.world import World
from kernel_actors import fresh_world, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures

LOADER, HELPER = "loader", "helper"
WEB, NET = {"target": "web"}, {"net": "net"}


def by(do: str, errno: str | None = None, **args: object) -> Step:
    return Step(do=do, by=LOADER, errno=errno, **args)


CGROUP = [by("cgroup_make", target="web")]
DEVICE = [by("make_veth", target="web", peer="other")]
NETWORK = [by("unshare_net"), by("open_net", process=LOADER, fd="net")]


def own(n: int, program: str, **where: str) -> list[Step]:
    """One more program, by itself."""
    return [by("prog_load", prog=f"p{n}", type=program), by("attach", prog=f"p{n}", **where)]


def own_link(n: int, program: str, **where: str) -> list[Step]:
    """One more program, by a link."""
    load = by("prog_load", prog=f"p{n}", type=program)
    return [load, by("link_create", link=f"l{n}", prog=f"p{n}", **where)]


def same_link(n: int, program: str, **where: str) -> list[Step]:
    """One more link, of the program that is there first."""
    return [by("link_create", link=f"l{n}", prog="p0", **where)]


@dataclass(frozen=True)
class Full:
    """A hook with room for so many: how its halves are filled, and what is done when it is full.
    The second half is filled by another process, as one has at most 64 descriptors in the model."""

    cards: list[str]
    program: str
    start: list[Step]
    room: int
    where: dict[str, str]
    halves: tuple[Callable[..., list[Step]], Callable[..., list[Step]]]
    last: list[Step]

    def scenario(self) -> Scenario:
        """Fill it, then do the rest."""
        steps = [
            *self.start,
            by("prog_load", prog="p0", type=self.program),
            by("fork", child=HELPER),
        ]
        for n in range(1, self.room + 1):
            second = n > 30
            more = self.halves[second](n, self.program, **self.where)
            steps += [x.model_copy(update={"by": HELPER}) for x in more] if second else more
        return Scenario(scenario="full", cards=self.cards, steps=[*steps, *self.last])


HOOKS = {
    "cgroup_multi": Full(
        ["cgroup_multi"], "cgroup_skb", CGROUP, 64,
        WEB, (own, own),
        [
            by("attach", "E2BIG", target="web", prog="p0"),
            by("attach", "E2BIG", target="web", prog="p1"),
            by("replace", "E2BIG", target="web", prog="p0", old="p1"),
            by("attach", "E2BIG", target="web", prog="p0", before="p0"),
            by("detach", target="web", prog="p1"),
            by("attach", target="web", prog="p0"),
        ],
    ),
    "cgroup_link": Full(
        ["cgroup_multi", "cgroup_link"], "cgroup_skb", CGROUP, 64,
        WEB, (same_link, same_link),
        [
            by("link_create", "E2BIG", link="more", target="web", prog="p0"),
            by("attach", "E2BIG", target="web", prog="p0"),
            by("prog_load", prog="new", type="cgroup_skb"),
            by("link_update", link="l1", prog="new"),
            by("link_detach", link="l2"),
            by("attach", target="web", prog="p0"),
        ],
    ),
    "tcx": Full(
        ["tcx"], "sched_cls", DEVICE, 63,
        WEB, (own, own),
        [
            by("attach", "ERANGE", target="web", prog="p0"),
            by("attach", "EEXIST", target="web", prog="p1"),
            by("attach", "ERANGE", target="web", prog="p0", after="p0"),
            by("replace", target="web", prog="p0", old="p1"),
            by("attach", target="other", prog="p0"),
            by("detach", "ERANGE", target="web"),  # it looks behind the end for the last one
            by("detach", target="web", prog="p0"),
            by("attach", target="web", prog="p0"),
            by("detach", "ERANGE", target="web"),
            by("detach", target="web", prog="p2"),
            by("detach", target="web"),
            by("attach", target="web", prog="p0"),
            by("attach", target="web", prog="p1", before="p0"),
        ],
    ),
    "tcx_link": Full(
        ["tcx", "tcx_link"], "sched_cls", DEVICE, 63,
        WEB, (own_link, own),
        [
            by("link_create", "ERANGE", link="more", target="web", prog="p0"),
            by("attach", "ERANGE", target="web", prog="p0", before="p0"),
            by("link_update", link="l1", prog="p0"),
            by("close", fd="l2"),
            by("attach", target="web", prog="p1", before="p0"),
        ],
    ),
    "sk_lookup": Full(
        ["sk_lookup"], "sk_lookup", NETWORK, 64,
        NET, (same_link, same_link),
        [
            by("link_create", "E2BIG", link="more", net="net", prog="p0"),
            by("link_detach", link="l1"),
            by("link_create", link="more", net="net", prog="p0"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOOKS)
def test_a_full_hook_refuses_the_next(name: str, world: World) -> None:
    scenario = HOOKS[name].scenario()
    trace = play(scenario)
    assert trace.violation is None
    assert [x.errno for x in trace.steps if x.settled] == [x.errno for x in scenario.steps]
    compared = compare_trace(scenario, trace, world=world)
    assert (compared.why_not, compared.differences) == ("", [])
