"""Cards: what is refused, what must be there, and that nothing is text only."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from bpflife.model import state as s
from bpflife.model.cards import AttachCard
from bpflife.model.catalogue import (
    card_names,
    load_card,
    load_scenario,
    story_names,
    system_of,
)
from bpflife.model.concrete import ConcreteView
from bpflife.model.documents import InputError, parse_document
from bpflife.model.language import WORLD, Language
from bpflife.model.properties import CATALOGUE
from bpflife.model.system import System, linux
from bpflife.model.vocabulary import VOCABULARY
from bpflife.proofs.bounded import BoundedView
from bpflife.proofs.unbounded import UnboundedView

VIEWS = (ConcreteView, BoundedView, UnboundedView)


def card_data(name: str = "cgroup_legacy") -> dict[str, Any]:
    return load_card(name).model_dump(by_alias=True, exclude_none=True)


def read(data: dict[str, Any]) -> System:
    return System([parse_document(AttachCard, yaml.safe_dump(data), "mine.yaml")])


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_do_everything_that_rules_ask_for(view: type[s.View]) -> None:
    """A view that lacks an operation can't even be made."""
    assert not inspect.isabstract(view)
    for name in s.View.__abstractmethods__:
        assert getattr(view, name) is not getattr(s.View, name)


def test_a_view_that_lacks_an_operation_cannot_be_made() -> None:
    half = type("Half", (s.View,), {"get": lambda *_: 0})
    with pytest.raises(TypeError, match="abstract"):
        half()


@pytest.mark.parametrize("name", card_names())
def test_shipped_cards_compile_and_name_every_rule_once(name: str) -> None:
    system = System([load_card(name)])
    micro = {r.name for r in system.rules()}
    assert len(micro) == len(system.rules())
    for rule in system.all_rules.values():
        assert rule.words, rule.name


@pytest.mark.parametrize("field", ["operations", "on_target_death", "target", "program"])
def test_a_card_needs_its_parts(field: str) -> None:
    data = card_data()
    del data[field]
    with pytest.raises(InputError, match=f"{field}: this field is missing"):
        read(data)


@pytest.mark.parametrize("operation", ["attach", "detach"])
def test_a_card_needs_attach_and_detach(operation: str) -> None:
    data = card_data()
    del data["operations"][operation]
    with pytest.raises(InputError, match=f"operations.{operation}: this field is missing"):
        read(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("get new from progg", "`progg` is not an argument"),
        ("teleport entry", "no such step: `teleport entry`"),
        ("put nothing", "nothing ever puts anything into `nothing`"),
        ("expect entry == none", "needs `else ERRNO`"),
        ("expect entry == none else not an errno", "is no errno"),
        ("get extra from prog", "`prog` is read twice"),
        ("find target", "`target` is read twice"),
        ("find prog", "`prog` is a descriptor"),
        ("hold file from target", "`target` is a name, not a descriptor"),
        ("get used from prog", "`used` is a slot of a dying object"),
        ("create extra banana", "no kind of object `banana`"),
        ("make prog", "only what a directory holds"),
        ("create extra map of new", "`map` is no kind of link"),
        ("leave hook", "a step of on_last_put"),
        ("detach links", "a step of on_target_death"),
        ({"expect target live else ENOENT": ["expect entry == none"]}, "an undo list can't fail"),
        ({"lock target else EINTR": ["put new"]}, "`lock target` can't fail: it has no `else`"),
        ("swap entry <-> new else EBUSY", "can't fail"),
        ({"get x from prog else EPERM": []}, "has errnos of its own"),
    ],
)
def test_a_step_that_means_nothing_here(change: object, message: str) -> None:
    data = card_data()
    data["operations"]["attach"]["steps"].append(change)
    with pytest.raises(InputError, match=message):
        read(data)


def test_a_card_is_refused_where_it_is_wrong() -> None:
    data = card_data()
    data["operations"]["attach"]["args"]["prog"] = "banana"
    with pytest.raises(InputError, match=r"args.prog: no kind `banana`"):
        read(data)
    data = card_data()
    data["operations"]["attach"]["args"]["me"] = "cgroup"
    with pytest.raises(InputError, match="`me` has a meaning of its own"):
        read(data)
    data = card_data()
    data["target"]["made_by"] = "map_create"
    with pytest.raises(InputError, match="`map_create` is a system call already"):
        read(data)
    data["target"]["made_by"] = "cgroup"
    with pytest.raises(InputError, match="`cgroup` is a kind of object already"):
        read(data)
    data = card_data("perf_event")
    data["on_target_death"] = ["create x prog", "put x"]
    with pytest.raises(InputError, match="a dying object makes nothing new"):
        read(data)
    data = card_data("perf_event")
    data["on_target_death"] = ["take it from dir", "put it"]
    with pytest.raises(InputError, match="it has no directory"):
        read(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"on_last_put": []}, "on_last_put: this field is missing"),
        ({"link": None}, "link: this field is missing"),
        ({"link": "map"}, "`map` can't be used here"),
        ({"on_last_put": ["unlist prog"]}, "nothing ever puts anything into `prog`"),
        ({"on_last_put": ["detach links"]}, "a step of on_target_death"),
        ({"on_target_death": ["leave hook"]}, "a step of on_last_put"),
    ],
)
def test_a_link_that_means_nothing(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(card_data("cgroup_link") | change)


def test_two_cards_of_one_kind_of_hook_are_refused() -> None:
    with pytest.raises(InputError, match="are both about a cgroup"):
        System([load_card("cgroup_legacy"), load_card("bad_replace_gap")])
    with pytest.raises(InputError, match="are both about a cgroup"):
        other = card_data("cgroup_link") | {"api": "other"}
        System([load_card("cgroup_link"), AttachCard.model_validate(other)])


def test_links_are_beside_a_program_of_the_same_hook() -> None:
    """The death of the hook is about both; alone, a card does not ask about the other."""
    both = System([load_card("cgroup_legacy"), load_card("cgroup_link")])
    steps = {edge.step.text for edge in both.releases["cgroup"].edges}
    assert {"clear entry -> old", "detach links"} <= steps
    alone = System([load_card("cgroup_legacy")])
    texts = {e.step.text for graph in alone.graphs.values() for e in graph.edges}
    assert "expect no links" not in texts


def test_an_expectation_of_an_unknown_property_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    expect = {"banana": {"is": "VIOLATED", "because": ""}}
    path.write_text(yaml.safe_dump(card_data() | {"expect": expect}))
    with pytest.raises(InputError, match="expect: no property `banana`"):
        load_card(str(path))


def test_the_targets_death_must_have_steps() -> None:
    data = card_data()
    data["on_target_death"] = []
    with pytest.raises(InputError, match="on_target_death"):
        read(data)


def test_every_expectation_names_a_property() -> None:
    for name in card_names():
        assert set(load_card(name).expect) <= set(CATALOGUE)


def test_every_form_of_step_is_explained() -> None:
    for form, (_, _, doc) in VOCABULARY.items():
        assert doc, form


def test_every_operation_says_what_it_does_in_all_ways() -> None:
    """A sentence for people, a call as strace prints it, a call for the kernel."""
    cards = {name: load_card(name).target.made_by for name in card_names()}
    made = [System([load_card(name)]).operations.get(maker) for name, maker in cards.items()]
    for operation in [*linux().operations.values(), *filter(None, made)]:
        assert operation.sentence
        assert operation.call
        assert operation.kernel


@pytest.mark.parametrize("name", story_names())
def test_stories_are_scenarios_and_nothing_else(name: str) -> None:
    """No frame of a story is typed by hand: it has steps of the language, and the narrator."""
    story = load_scenario(name)
    language = Language(system_of(story))
    for step in story.steps:
        assert language.spec(step, name).do == step.do


def test_the_language_is_derived() -> None:
    """Every operation is a step; the rest is the world around it."""
    system = System([load_card("cgroup_legacy"), load_card("perf_event")])
    rules = {spec.rule for spec in Language(system).specs}
    assert rules - {spec.rule for spec in WORLD} == set(system.operations)
