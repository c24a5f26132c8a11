"""Cards that are wrong in one more way each, made from the good ones: what do the verdicts say?"""

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


def mutant(change: Callable[[Card], None], of: str = "cgroup_legacy") -> AttachCard:
    data = load_card(of).model_dump(by_alias=True, exclude_none=True)
    change(data)
    return AttachCard.model_validate(data)


def verdict(change: Callable[[Card], None], name: str, of: str = "cgroup_legacy") -> Verdict:
    return Checker(mutant(change, of), ladder=LADDER[:3]).verdict(CATALOGUE[name])


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
        (death_that_locks_twice, "no-broken-step", "VIOLATED"),
        (attach_that_locks_twice, "no-broken-step", "VIOLATED"),
    ],
)
def test_what_a_mutant_is_told(change: Callable[[Card], None], name: str, word: str) -> None:
    found = verdict(change, name)
    assert found.word == word, found.unproved
    assert (found.trace is not None) == (word == "VIOLATED")


def attach_without_lock(card: Card) -> None:
    """Two threads of one process may both find the event empty."""
    check = {"expect entry == none else EEXIST": ["put new", "put file"]}
    get = {"get new from prog else": ["put file"]}
    card["operations"]["attach"]["steps"] = [
        "hold file from event", get, check, "publish entry <- new", "put file",
    ]  # fmt: skip


def attach_with_an_error_path_that_waits_for_itself(card: Card) -> None:
    undo = ["lock target", "unlock target", "put new", "put file"]
    steps(card, "attach")[4] = {"expect entry == none else EEXIST": undo}


def attach_that_borrows_and_death_that_drops(card: Card) -> None:
    """The program in the hook is not counted, and the last step of the event drops it."""
    check = {"expect entry == none else EEXIST": ["put file"]}
    card["operations"]["attach"]["steps"] = [
        "hold file from event", {"copy new from prog else": ["put file"]}, check,
        "publish entry <- new", "put file",
    ]  # fmt: skip
    card["on_target_death"] = ["drop entry", "clear entry"]


@pytest.mark.parametrize(
    ("change", "name", "word"),
    [
        (attach_without_lock, "no-broken-step", "VIOLATED"),
        (attach_with_an_error_path_that_waits_for_itself, "no-broken-step", "VIOLATED"),
        (attach_that_borrows_and_death_that_drops, "crash-cleans-up", "PROVED"),
    ],
)
def test_what_a_mutant_of_the_perf_event_is_told(
    change: Callable[[Card], None], name: str, word: str
) -> None:
    """Its hook is shared by threads of one process: a scope has them."""
    assert verdict(change, name, "perf_event").word == word


def link_that_borrows_its_program(card: Card) -> None:
    steps(card, "attach")[1] = "copy prog from prog"


def end_that_stays_attached(card: Card) -> None:
    card["on_last_put"].remove("leave hook")


def death_that_keeps_its_links(card: Card) -> None:
    card["on_target_death"].remove("detach links")


@pytest.mark.parametrize(
    ("change", "name", "word"),
    [
        (link_that_borrows_its_program, "count-equals-holders", "VIOLATED"),
        (end_that_stays_attached, "reachable-not-freed", "VIOLATED"),
        (death_that_keeps_its_links, "reachable-not-freed", "VIOLATED"),
    ],
)
def test_what_a_mutant_of_a_link_is_told(
    change: Callable[[Card], None], name: str, word: str
) -> None:
    found = verdict(change, name, "cgroup_link")
    assert found.word == word, found.unproved
    assert found.trace is not None


def attach_that_attaches_nothing(card: Card) -> None:
    there = steps(card, "attach")
    there[there.index("swap entry <-> new")] = "work"


def replace_that_is_refused(card: Card) -> None:
    undo = ["unlock target", "put new"]
    steps(card, "attach").insert(4, {"expect entry == none else EBUSY": undo})


def detach_that_detaches_nothing(card: Card) -> None:
    card["operations"]["detach"]["steps"] = ["find target", "lock target", "unlock target"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (death_that_locks_twice, "on_target_death never comes to its end"),
        (attach_that_locks_twice, "attach never attaches a program"),
        (attach_that_attaches_nothing, "attach never attaches a program"),
        (replace_that_is_refused, "replace never puts one program in the place of another"),
        (detach_that_detaches_nothing, "detach never detaches a program"),
    ],
)
def test_what_an_operation_never_does_is_not_proved(
    change: Callable[[Card], None], words: str
) -> None:
    checker = Checker(mutant(change), ladder=LADDER[:3])
    for prop in CATALOGUE.values():
        found = checker.verdict(prop)
        if found.word == "VIOLATED":
            continue  # the step that breaks is why
        assert found.word == "UNDECIDED"
        assert words in found.reason
        assert not found.expected


def test_uncounted_locals_of_calls_and_of_dying_objects_are_apart() -> None:
    def change(card: Card) -> None:
        steps(card, "attach").insert(3, "copy x from entry")
        card["on_target_death"].insert(1, "copy x from entry")

    assert verdict(change, "count-equals-holders").word == "PROVED"


def test_a_proof_says_what_it_takes_for_granted() -> None:
    """Behind a step that breaks the model has no states; a proof of others must say so."""
    found = verdict(as_lines, "reachable-not-freed", "bad_double_put")
    assert found.word == "PROVED"
    assert "as long as no step breaks" in found.reason
