"""The picture's data: what is drawn, where, and in which words; no browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bpflife.app.picture import looks
from bpflife.app.picture.charts import counts_chart, update_chart
from bpflife.app.picture.layout import LABEL_HEIGHT
from bpflife.app.picture.picture import ENDS, picture_data, rule_words, text_width
from bpflife.model.catalogue import load_card, load_scenario, story_names
from bpflife.model.documents import (
    ObjectState,
    Scenario,
    Slot,
    State,
    Step,
    Trace,
    TraceStep,
    Violation,
)
from bpflife.model.simulator import play
from bpflife.model.system import PARTS, System

CALL = "call by loader"


def state(life: str = "live", *, attached: bool = True) -> State:
    """A call in the middle of a replace: two registers hold the program, the hook points at it."""
    slots = [
        Slot(slot="fd", owner="loader", key="3", points="file 1", held="counted"),
        Slot(slot="reg.new", owner=CALL, points="prog1", held="uncounted"),
        Slot(slot="reg.old", owner=CALL, points="prog1", held="uncounted"),
        Slot(slot="on.target", owner=CALL, points="cgroup1", held="uncounted"),
    ]
    if attached:
        slots.append(Slot(slot="entry", owner="cgroup1", points="prog1", held="counted"))
    return State.model_validate(
        {
            "objects": {
                "prog1": ObjectState.model_validate(
                    {"kind": "prog", "life": life, "refcnt": int(life == "live")}
                ),
                "file 1": ObjectState(kind="file", life="live", refcnt=1),
                "cgroup1": ObjectState(kind="cgroup", life="live", refcnt=1),
            },
            "processes": {"loader": "running"},
            "cpus": {},
            "slots": slots,
        }
    )


def trace(*states: State, violated: bool = False) -> Trace:
    """A trace through these states."""
    steps = [
        TraceStep(rule="bad.replace.6", actor="loader", sentence="something happens")
        for _ in states[1:]
    ]
    wrong = Violation(property="p", at=len(states) - 1, sentence="wrong", nodes=["cgroup1"])
    return Trace(
        title="a trace", steps=steps, states=list(states), violation=wrong if violated else None
    )


Box = tuple[float, float, float, float]


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes (left, top, right, bottom) share a point."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("orientation", ["wide", "tall"])
def test_labels_and_strikes_lie_on_nothing_else(orientation: str) -> None:
    data = picture_data(trace(state(), state(attached=False)))
    layout = data[orientation]
    nodes = [(x, y, x + w, y + h) for x, y, w, h in layout["nodes"].values()]
    marks: list[Box] = []
    for edge, (x, y) in zip(data["edges"], layout["labels"], strict=True):
        if "label" in edge:
            half = text_width(edge["label"], 11.5) / 2
            marks.append((x - half, y - LABEL_HEIGHT / 2, x + half, y + LABEL_HEIGHT / 2))
    assert len(marks) == 3
    gone = data["states"][1]["removed"]
    assert len(gone) == 1
    x, y = layout["mids"][gone[0]]
    marks.append((x - 6, y - 6, x + 6, y + 6))
    for i, mark in enumerate(marks):
        assert not any(overlap(mark, box) for box in nodes)
        assert not any(overlap(mark, other) for other in marks[:i])
    width, height = layout["width"], layout["height"]
    assert all(m[0] >= 0 and m[2] <= width and m[1] >= 0 and m[3] <= height for m in marks)


@pytest.mark.parametrize(("life", "dangling"), [("live", 0), ("dying", 1), ("freed", 3)])
def test_what_keeps_nothing_alive_is_dangling(life: str, dangling: int) -> None:
    data = picture_data(trace(state(), state(life), violated=True))
    ends = [data["edges"][n] for n in data["states"][1]["dangling"]]
    assert [edge["to"] for edge in ends] == ["prog1"] * dangling
    assert data["states"][0]["dangling"] == []
    assert data["violation"]["nodes"] == (["cgroup1", "prog1"] if dangling else ["cgroup1"])


def test_a_call_is_a_call_whatever_it_works_on() -> None:
    data = picture_data(trace(state()))
    (call,) = [node for node in data["nodes"] if node["id"] == CALL]
    assert call["kind"] == "call"
    assert data["states"][0]["nodes"][CALL]["word"] == "in flight"


@pytest.mark.parametrize("name", story_names())
def test_no_step_is_called_by_its_rule(name: str) -> None:
    for step in picture_data(play(load_scenario(name)))["steps"]:
        assert step["title"] != step["rule"]
        assert not set(step["title"]) & set("_#!"), step["title"]


def test_rules_in_words() -> None:
    titles = {"prog_load": "load a program", "prog": "a program goes away"}
    assert rule_words("prog_load#6", titles) == "load a program"
    assert rule_words("prog.3.done", titles) == "a program goes away, part 3"
    assert rule_words("mine.attach.5!0.1", titles) == "attach, part 5"


def test_a_chart_takes_a_longer_trace_and_refuses_another_one() -> None:
    longer, shorter = play(load_scenario("two_phase_load")), play(load_scenario("create"))
    chart = counts_chart(shorter, 1)
    assert update_chart(chart, longer, 2)
    fresh = counts_chart(longer, 2)
    assert chart.tags == fresh.tags
    drawn: list[Any] = chart.renderers
    wanted: list[Any] = fresh.renderers
    for old, new in zip(drawn, wanted, strict=True):
        assert str(old.data_source.data) == str(new.data_source.data)  # text: NaN is not itself
    assert not update_chart(chart, shorter, 0)


def test_wide_letters_get_room() -> None:
    assert text_width("mmmm", 14) > 1.3 * text_width("aaaa", 14) > text_width("iiii", 14)
    assert text_width("\u5730\u56fe", 14) >= 28


@pytest.mark.parametrize("card", ["cgroup_legacy", "cgroup_link"])
def test_every_kind_and_family_of_the_model_has_its_look(card: str) -> None:
    """Nothing that can be in a trace is drawn as "something": kinds have a lane and an icon that
    the drawing module knows, families of slots have words."""
    system = System([load_card(card), load_card("perf_event")], PARTS)
    icons = (Path(looks.__file__).parent / "picture.js").read_text("utf-8")
    for kind in system.kinds:
        look = looks.look_of(system.kind_word(kind))
        assert look is not looks.LOOKS["other"], kind
        assert look.lane in looks.LANES
        assert f"\n  {look.icon}: " in icons, kind
    for rule in system.rules():
        if rule.internal and rule.op not in system.targets:
            assert system.kind_word(rule.op) in ENDS or rule.op == "leave", rule.op
    for family in system.families:
        if family.slot:
            assert looks.family_of(family.name) is not looks.UNKNOWN, family.name


PINNED = [
    Step(do="map_create", by="a", map="m"),
    Step(do="pin", by="a", fd="m", path="one"),
    Step(do="rename", by="a", path="one", new_path="two"),
]
SECOND = Step(do="hard_link", by="a", path="two", new_path="three")


@pytest.mark.parametrize(("more", "files"), [([], 0), ([SECOND], 1)])
def test_a_file_in_bpffs_is_drawn_where_it_has_several_names(more: list[Step], files: int) -> None:
    """Else it is its pin, whatever that is called; every edge and change is of a node."""
    steps = [*PINNED, *more, Step(do="unlink", by="a", path="two")]
    data = picture_data(play(Scenario(scenario="pinned", steps=steps)))
    kinds = [node["kind"] for node in data["nodes"]]
    assert (kinds.count("file in bpffs"), kinds.count("pin")) == (files, 2 + files)
    ids = {node["id"] for node in data["nodes"]}
    assert {end for edge in data["edges"] for end in (edge["from"], edge["to"])} <= ids
    assert {change["node"] for step in data["steps"] for change in step["changes"]} <= ids
    holders = {edge["from"] for edge in data["edges"] if edge["to"] == "m"}
    assert ("/sys/fs/bpf/two" in holders) == (files == 0)
