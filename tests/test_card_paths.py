"""A card is more than attributes: what can go wrong with its operations has steps and an errno.

`lacking` says in words what a card does not say; it is empty for the cards of Linux that ship, and
not for cards from which a path was taken away.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bpflife.model.cards import AttachCard
from bpflife.model.catalogue import card_names, load_card
from bpflife.model.features import features
from bpflife.model.system import PARTS, System

LINUX = [name for name in card_names() if load_card(name).since != "proposed"]


def paths(system: System, names: set[str]) -> set[tuple[str, str]]:
    """(step, errno) of every way in which these operations fail."""
    return {
        (edge.step.text, edge.errno)
        for name in names
        for edge in system.graphs[name].edges
        if edge.errno
    }


def lacking(card: AttachCard) -> list[str]:
    """What must be able to go wrong, and can't; what must happen, and does not."""
    system = System([card])
    attach = paths(system, system.steps_of(card.api, "attach"))
    replace = (
        paths(system, system.steps_of(card.api, "replace")) if card.operations.replace else set()
    )
    said = features(card)
    found = []

    def want(what: str, there: bool) -> None:
        if not there:
            found.append(what)

    errnos = {errno for _, errno in attach}
    want("attach: a closed descriptor (EBADF)", "EBADF" in errnos)
    want("attach: a program of another type, another object (EINVAL)", "EINVAL" in errnos)
    if card.target.held_by in ("directory", "registration"):
        want("attach: a target that is gone", any(text.startswith("find ") for text, _ in attach))
    silent = card.operations.replace == "attach"
    if said.multiplicity == "one" and not silent:
        full = ("expect entry == none", "expect no links", "expect entry != none")
        want("attach: a hook that is taken", any(text.startswith(full) for text, _ in attach))
    if "once" in said.multiplicity:
        want("attach: the same program again", any("expect no " in text for text, _ in attach))
    if "old program" in said.guard:
        stale = any("exp" in text.split() for text, _ in replace)
        want("replace: another program is there than expected", stale)
    if card.link and card.operations.replace:
        want("replace: a defunct link (ENOLINK)", "ENOLINK" in {errno for _, errno in replace})
    alone = {edge.step.text for edge in system.releases[card.target.kind].edges}
    lets_go = {"clear entry -> old", "detach links", "drop records"}
    want("on_target_death: what is attached goes", bool(alone & lets_go))
    return found


@pytest.mark.parametrize("name", LINUX)
def test_what_can_go_wrong_has_steps(name: str) -> None:
    assert lacking(load_card(name)) == []


def without(name: str, operation: str, step: str) -> AttachCard:
    """The card, from which the first such step of an operation was taken away."""
    data = copy.deepcopy(load_card(name).model_dump(by_alias=True, exclude_none=True))
    owner: Any = data["operations"].get(operation) or data["operations"]["variants"][operation]
    steps = owner["steps"]
    gone = next(x for x in steps if (x if isinstance(x, str) else next(iter(x))).startswith(step))
    steps.remove(gone)
    return AttachCard.model_validate(data)


@pytest.mark.parametrize(
    ("card", "what"),
    [
        (without("xdp_link", "attach", "expect entry == none"), None),  # links still are
        (without("perf_event", "attach", "expect entry == none"), "a hook that is taken"),
        (without("cgroup_multi", "attach", "expect no record of"), None),  # then it is for many
        (without("xdp_netlink", "replace", "expect entry == exp"), None),  # then it is silent
    ],
)
def test_a_path_that_is_missing_is_named(card: AttachCard, what: str | None) -> None:
    assert (what is None) == (lacking(card) == [])
    assert what is None or what in "; ".join(lacking(card))


def test_a_target_that_takes_its_programs_along_unseen_is_named() -> None:
    data = load_card("perf_event").model_dump(by_alias=True, exclude_none=True)
    data["on_target_death"] = ["wait rcu"]
    assert "on_target_death" in lacking(AttachCard.model_validate(data))[0]


@pytest.mark.parametrize("name", [name for name in LINUX if load_card(name).example])
def test_every_operation_says_how_a_kernel_does_it(name: str) -> None:
    card = load_card(name)
    for operation in card.own_operations().values():
        assert operation.kernel.get("command") and operation.call
    assert card.asks or card.target.kind in System([card], PARTS).events or card.link
    assert card.cite
