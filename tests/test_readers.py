"""Grace periods by flavour, on numbers: what a CPU is inside of, or has found, is not freed."""

from __future__ import annotations

from typing import Any

import pytest

from bpflife.model import catalogue
from bpflife.model import state as s
from bpflife.model.cards import AttachCard, Linux
from bpflife.model.catalogue import load_card
from bpflife.model.choices import choices
from bpflife.model.documents import InputError, ObjectState, Scenario, Step, Verdict
from bpflife.model.properties import CATALOGUE
from bpflife.model.simulator import Player, player
from bpflife.model.system import System, linux
from bpflife.model.values import OBJ
from bpflife.proofs.check import LADDER, Checker

PROBE = [
    Step(do="uprobe_open", by="a", target="probe"),
    Step(do="prog_load", by="a", prog="p", type="kprobe", sleepable=True),
    Step(do="attach", by="a", event="probe", prog="p"),
    Step(do="enter", cpu="cpu0", hook="probe"),
]


def played(card: str, *steps: Step) -> Player:
    return player(Scenario(scenario="readers", cards=[card], steps=list(steps)))


def thing(p: Player, name: str) -> ObjectState:
    return p.states[-1].objects[name]


@pytest.mark.parametrize("sleepable", [True, False])
def test_a_uprobes_program_is_waited_for_whatever_its_flavour(sleepable: bool) -> None:
    """One that may sleep by its own grace period, the other by that of the dying event."""
    load = PROBE[1].model_copy(update={"sleepable": sleepable})
    ends = [Step(do="close", by="a", fd="p"), Step(do="close", by="a", fd="probe")]
    inside = played("uprobe", PROBE[0], load, *PROBE[2:], *ends)
    assert thing(inside, "p").life != "freed"
    assert thing(inside, "probe").waits_for == ["cpu0"]
    left = played("uprobe", PROBE[0], load, *PROBE[2:], *ends, Step(do="leave", cpu="cpu0"))
    assert thing(left, "p").life == "freed"


def test_a_dead_program_waits_for_its_own_flavour_only() -> None:
    """A CPU inside a probe does not keep a program that may not sleep."""
    other = [
        Step(do="prog_load", by="a", prog="q", type="kprobe"),
        Step(do="close", by="a", fd="q"),
    ]
    assert thing(played("uprobe", *PROBE, *other), "q").life == "freed"
    asleep = [other[0].model_copy(update={"sleepable": True}), other[1]]
    assert thing(played("uprobe", *PROBE, *asleep), "q").waits_for == ["cpu0"]


def test_a_map_of_no_map_waits_for_nobody_and_its_story_does_not_say_so() -> None:
    def told(outer: bool) -> list[str]:
        steps = [Step(do="map_create", by="a", map="m")]
        if outer:
            steps += [
                Step(do="map_of_maps", by="a", map="o", inner="m"),
                Step(do="map_update", by="a", map="o", key=0, value="m"),
                Step(do="map_delete", by="a", map="o", key=0),
            ]
        trace = player(Scenario(scenario="told", steps=[*steps, Step(do="close", by="a", fd="m")]))
        return [x.sentence for x in trace.steps if x.sentence.startswith("m: ")]

    assert not any("grace period" in x for x in told(outer=False))
    assert sum("grace period" in x for x in told(outer=True)) == 2


def found_inside(card: str, load: dict[str, Any], hook: list[Step]) -> Player:
    """A program that a CPU is inside of has found an inner map, which is then replaced."""
    return played(
        card,
        Step(do="map_create", by="a", map="first"),
        Step(do="map_create", by="a", map="second"),
        Step(do="map_of_maps", by="a", map="outer", inner="first"),
        Step(do="map_update", by="a", map="outer", key=0, value="first"),
        Step(do="close", by="a", fd="first"),
        Step(do="prog_load", by="a", prog="p", maps=["outer"], **load),
        *hook,
        Step(do="look_up", cpu="cpu0", map="outer", key=0),
        Step(do="map_update", by="a", map="outer", key=0, value="second"),
    )


CGROUP = [
    Step(do="cgroup_make", by="a", target="web"),
    Step(do="attach", by="a", target="web", prog="p"),
    Step(do="enter", cpu="cpu0", hook="web"),
]


@pytest.mark.parametrize(
    ("card", "load", "hook"),
    [
        ("cgroup_legacy", {"type": "cgroup_skb"}, CGROUP),
        ("uprobe", {"type": "kprobe", "sleepable": True}, [PROBE[0], *PROBE[2:]]),
    ],
)
def test_an_inner_map_that_was_found_waits_when_it_is_replaced(
    card: str, load: dict[str, Any], hook: list[Step]
) -> None:
    p = found_inside(card, load, hook)
    first = thing(p, "first")
    assert (first.refcnt, first.life, first.waits_for) == (0, "dying", ["cpu0"])
    p.play(Step(do="leave", cpu="cpu0"), "", True)
    assert thing(p, "first").life == "freed"


def test_a_program_that_may_not_sleep_takes_rcu_before_it_looks_up() -> None:
    p = found_inside("uprobe", {"type": "kprobe"}, [PROBE[0], *PROBE[2:]])
    assert [x.rule for x in p.steps if x.rule in ("nest", "look_up")] == ["nest", "look_up"]
    assert thing(p, "first").waits_for == ["cpu0"]


def test_what_a_program_can_look_up_is_offered_and_else_refused() -> None:
    outer = [
        Step(do="map_create", by="a", map="first"),
        Step(do="map_of_maps", by="a", map="outer", inner="first"),
        Step(do="map_update", by="a", map="outer", key=1, value="first"),
        Step(do="prog_load", by="a", prog="p", maps=["outer"], type="cgroup_skb"),
        *CGROUP,
    ]
    scenario = Scenario(scenario="readers", cards=["cgroup_legacy"], steps=outer)
    offered = [c for c in choices(scenario) if c.step.do == "look_up"]
    assert [c.step.args for c in offered] == [{"cpu": "cpu0", "map": "outer", "key": 1}]
    assert offered[0].label == "p finds first in outer, and has no count for it"
    played("cgroup_legacy", *outer, offered[0].step)
    with pytest.raises(InputError, match="p finds no inner map there: it does not use that map"):
        played("cgroup_legacy", *outer, Step(do="look_up", cpu="cpu0", map="outer", key=0))
    with pytest.raises(InputError, match="cpu1 runs no program"):
        played("cgroup_legacy", *outer, Step(do="look_up", cpu="cpu1", map="outer", key=0))


def test_any_other_map_is_freed_at_once() -> None:
    """Programs that used it had their own grace period before."""
    p = played(
        "cgroup_legacy",
        Step(do="prog_load", by="a", prog="p", type="cgroup_skb"),
        *CGROUP,
        Step(do="map_create", by="a", map="plain"),
        Step(do="close", by="a", fd="plain"),
    )
    assert thing(p, "plain").life == "freed"


# -- broken twins ------------------------------------------------------------------------------


def with_release(monkeypatch: pytest.MonkeyPatch, kind: str, steps: list[str]) -> None:
    """Linux, but a dying object of this kind does something else."""

    def changed(parts: tuple[str, ...]) -> Linux:
        data = linux(parts).model_dump()
        data["release"][kind]["steps"] = steps
        return Linux.model_validate(data)

    monkeypatch.setattr("bpflife.model.system.linux", changed)
    monkeypatch.setattr(
        catalogue, "_system", lambda names, parts: System([load_card(n) for n in names], parts)
    )  # not one that is kept


def for_sleepers() -> AttachCard:
    """A probe that only takes programs which may sleep: their own wait is enough, it needs none."""
    data = load_card("uprobe").model_dump(by_alias=True, exclude_none=True)
    undo = ["unlock target", "put new", "put file"]
    data["operations"]["attach"]["steps"].insert(4, {"expect new may sleep else EINVAL": undo})
    data["on_target_death"].remove("wait rcu tasks trace")
    return AttachCard.model_validate(data)


def reachable_not_freed() -> Verdict:
    return Checker(for_sleepers(), ladder=LADDER[:2]).verdict(CATALOGUE["reachable-not-freed"])


def test_a_sleeper_that_is_freed_after_its_own_wait_is_not_used_after_free() -> None:
    assert reachable_not_freed().word != "VIOLATED"


def test_a_sleeper_that_is_freed_after_rcu_only_is_used_after_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_release(monkeypatch, "prog", ["put btf", "wait rcu", "put used"])
    found = reachable_not_freed()
    assert found.word == "VIOLATED"
    assert found.trace and found.trace.violation
    assert found.trace.violation.sentence == "cpu0 is inside prog1, which is freed"


def test_an_inner_map_that_does_not_wait_is_used_after_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_release(monkeypatch, "map", ["work", "put elems", "put btf"])
    p = found_inside("cgroup_legacy", {"type": "cgroup_skb"}, CGROUP)
    cell = p.world.get(s.SEES, 1)
    assert p.world.name(OBJ, cell) == "first"
    assert thing(p, "first").life == "freed"
