"""Cards that are wrong in one more way each, made from the good one: what do the verdicts say?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bpflife.model.cards import AttachCard
from bpflife.model.catalogue import load_card
from bpflife.model.documents import Verdict
from bpflife.model.properties import CATALOGUE
from bpflife.proofs.check import LADDER, Checker

Card = dict[str, Any]


def mutant(change: Callable[[Card], None]) -> AttachCard:
    data = load_card("cgroup_legacy").model_dump(by_alias=True, exclude_none=True)
    change(data)
    return AttachCard.model_validate(data)


def verdict(change: Callable[[Card], None], name: str) -> Verdict:
    return Checker(mutant(change), ladder=LADDER[:2]).verdict(CATALOGUE[name])


def steps(card: Card, operation: str) -> list[Any]:
    found: list[Any] = card["operations"][operation]["steps"]
    return found


def leaking_death(card: Card) -> None:
    card["on_target_death"] = ["work"]


def attach_to_the_dying(card: Card) -> None:
    steps(card, "attach").remove({"expect target live else ENOENT": ["unlock target", "put new"]})


def as_lines(card: Card) -> None:
    """Nothing is changed."""


def death_that_locks_twice(card: Card) -> None:
    card["on_target_death"].insert(0, "lock target")


def death_that_keeps_the_lock(card: Card) -> None:
    card["on_target_death"].remove("unlock target")


def attach_that_locks_twice(card: Card) -> None:
    steps(card, "attach").insert(3, "lock target")


def detach_that_puts_twice(card: Card) -> None:
    steps(card, "detach").append("put old")


def detach_that_keeps_the_reference(card: Card) -> None:
    steps(card, "detach")[-1] = "work"


@pytest.mark.parametrize(
    ("change", "name", "word"),
    [
        (as_lines, "count-equals-holders", "PROVED"),
        (leaking_death, "count-equals-holders", "VIOLATED"),
        (attach_to_the_dying, "count-equals-holders", "VIOLATED"),
        (death_that_keeps_the_lock, "no-broken-step", "VIOLATED"),
        (detach_that_puts_twice, "no-broken-step", "VIOLATED"),
        (detach_that_keeps_the_reference, "count-equals-holders", "VIOLATED"),
    ],
)
def test_what_a_mutant_is_told(change: Callable[[Card], None], name: str, word: str) -> None:
    found = verdict(change, name)
    assert found.word == word, found.unproved
    assert (found.trace is not None) == (word == "VIOLATED")


@pytest.mark.parametrize(
    ("change", "operation"),
    [(death_that_locks_twice, "on_target_death"), (attach_that_locks_twice, "attach")],
)
def test_what_never_succeeds_is_not_proved(change: Callable[[Card], None], operation: str) -> None:
    for name in CATALOGUE:
        found = verdict(change, name)
        assert found.word == "UNDECIDED"
        assert f"{operation} " in found.reason and "never succeed" in found.reason
        assert not found.expected


def test_a_proof_says_what_it_takes_for_granted() -> None:
    """Behind a step that breaks the model has no states; a proof of others must say so."""
    found = verdict(detach_that_puts_twice, "reachable-not-freed")
    assert found.word == "PROVED"
    assert "as long as no step breaks" in found.reason
