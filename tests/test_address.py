"""The address bar: every scenario comes back from its address, and nonsense is refused in words."""

from __future__ import annotations

import random
import string

import pytest

from bpflife.app.address import (
    MAX_ADDRESS,
    Address,
    page_address,
    parse_address,
    scenario_address,
)
from bpflife.app.files import scenario_yaml
from bpflife.model.catalogue import card_names, load_scenario, story_names
from bpflife.model.choices import choices
from bpflife.model.documents import InputError, Scenario, Step, parse_document
from bpflife.model.simulator import play

HOSTILE = "<img src=x onerror=alert(1)>&steps=;,=()~%00\"'\u202e\U0001f642"


def walked(seed: int, steps: int, *, settle: bool = True) -> Scenario:
    """A scenario of random choices."""
    dice = random.Random(seed)
    of_cgroups = [name for name in card_names() if name != "perf_event"]
    cards = [dice.choice(of_cgroups), "perf_event"]  # one card a kind of hook
    scenario = Scenario(scenario="walked", cards=cards, settle=settle, steps=[])
    for _ in range(steps):
        step = dice.choice(choices(scenario)).step
        scenario = scenario.model_copy(update={"steps": [*scenario.steps, step]})
    return scenario


def settled(scenario: Scenario) -> list[object]:
    """What a scenario does, as model and kernel are compared."""
    return [step.settled for step in play(scenario).steps]


@pytest.mark.parametrize("name", story_names())
def test_a_story_survives_the_address(name: str) -> None:
    story = load_scenario(name)
    found = parse_address(scenario_address(story)).scenario
    assert found == story.model_copy(update={"about": ""})


@pytest.mark.parametrize("seed", range(6))
def test_what_was_clicked_survives_address_and_file(seed: int) -> None:
    scenario = walked(seed, 9, settle=seed % 3 != 0)
    assert parse_address(scenario_address(scenario)).scenario == scenario
    again = parse_document(Scenario, scenario_yaml(scenario), "x")
    assert again == scenario
    assert settled(again) == settled(scenario)


def test_words_of_people_survive_whatever_they_contain() -> None:
    said = Step(do="exit", by="loader", say=HOSTILE, errno="EPERM")
    scenario = Scenario(scenario="my_scenario", title=HOSTILE, steps=[said])
    address = scenario_address(scenario)
    assert parse_address(address).scenario == scenario
    assert not set(address) & set("<>\"' \u202e"), "it needs no escaping in a page or a mail"


def test_a_rule_of_a_counterexample_survives() -> None:
    step = Step(do="fire", rule="prog_load.2!0", me="loader", map="3")
    scenario = Scenario(scenario="x", settle=False, steps=[step])
    assert parse_address(scenario_address(scenario)).scenario == scenario


def test_lists_of_every_length_survive() -> None:
    for maps in ([], ["a"], ["a", "b"]):
        step = Step(do="prog_load", by="p", prog="f", maps=maps)
        scenario = Scenario(scenario="x", steps=[step])
        assert parse_address(scenario_address(scenario)).scenario == scenario


def test_a_long_scenario_leaves_out_what_was_said_then_refuses() -> None:
    said = [Step(do="exit", by="loader", say="x" * 290)] * 60
    scenario = Scenario(scenario="long", steps=said)
    address = scenario_address(scenario)
    assert len(address) <= MAX_ADDRESS
    found = parse_address(address).scenario
    assert found is not None
    assert [s.say for s in found.steps] == [None] * 60
    wide = Step(do="attach", by="loader", target="t" * 40, prog="p" * 40)
    with pytest.raises(InputError, match="download"):
        scenario_address(Scenario(scenario="wide", steps=[wide] * 200))


def test_pages_and_what_is_open_in_them() -> None:
    assert parse_address("") == Address()
    assert parse_address("?story=3_pin&step=4") == Address(story="3_pin", step=4)
    assert parse_address(page_address("check", card="perf_event", property="crash-cleans-up")) == (
        Address(page="check", card="perf_event", property="crash-cleans-up")
    )
    assert parse_address("?page=build").scenario is None
    assert parse_address("?page=") == Address()


def test_parameters_of_others_are_ignored_and_named() -> None:
    found = parse_address("?utm_source=mail&story=3_pin&fbclid")
    assert found == Address(story="3_pin", ignored=("utm_source", "fbclid"))


@pytest.mark.parametrize(
    ("search", "why"),
    [
        ("?page=nowhere", "no page"),
        ("?story", "no value"),
        ("?story=a&story=b", "twice"),
        ("?story=../../etc/passwd", "not a name"),
        ("?story=%ff", "not text"),
        ("?story=%zz", "character"),
        ("?story=<b>", "not a name"),
        ("?story=\u00e4", "character"),
        ("?step=minus", "not a number"),
        ("?step=999999999999", "not a number"),
        ("?page=build&settle=maybe", "yes or no"),
        ("?page=build&cards=../x", "list of names"),
        ("?steps=LOADER:exit", "step 1"),
        ("?steps=loader:exit;:::", "step 2"),
        ("?steps=loader:pin,fd", "NAME=VALUE"),
        ("?steps=loader:pin,fd=a,fd=b", "twice"),
        ("?steps=loader:pin,do=exit", "twice"),
        ("?steps=loader:pin,fd=%3Cb%3E", "no value"),
        ("?steps=loader:exit,errno=eperm", "errno"),
        ("?steps=" + ";".join(["a:exit"] * 201), "at most 200"),
        ("?cards=" + ",".join(["a"] * 9) + "&page=build", "at most 8"),
        ("?title=" + "x" * 301 + "&page=build", "300"),
        ("?story=" + "x" * MAX_ADDRESS, "at most"),
        ("?" + "&".join(["story=a"] * 20), "too many"),
    ],
)
def test_nonsense_is_refused_in_one_line(search: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        parse_address(search)
    assert "\n" not in str(refused.value)


def test_no_random_address_raises_anything_else() -> None:
    dice = random.Random(7)
    good = [scenario_address(walked(seed, 5)) for seed in range(4)] + ["?story=3_pin&step=2"]
    for _ in range(1500):
        text = list(dice.choice(good))
        for _ in range(dice.randint(1, 6)):
            place = dice.randrange(len(text))
            text[place] = dice.choice([*string.printable, "%", "&", "", ";", ",", "\u00fc"])
        try:
            scenario = parse_address("".join(text)).scenario
            if scenario is not None:
                play(scenario)
        except InputError as e:
            assert str(e)
