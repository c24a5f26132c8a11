"""The verdict table, and the second opinion on every counterexample."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from bpflife.model import state as s
from bpflife.model.catalogue import card_names, load_card
from bpflife.model.documents import Verdict
from bpflife.model.properties import CATALOGUE, attached, counts, reachable
from bpflife.model.rules import Rule
from bpflife.model.simulator import play
from bpflife.model.state import View
from bpflife.model.steps import Env
from bpflife.model.system import System
from bpflife.model.values import plus
from bpflife.proofs.check import LADDER, Checker
from bpflife.proofs.end import unproved
from bpflife.proofs.explicit import Explicit
from bpflife.proofs.induction import Induction
from bpflife.proofs.replay import DisagreementError, replay
from bpflife.proofs.scopes import SMALL, Cancelled, Found, fitted
from bpflife.proofs.search import Search
from groups import grouped

P, V, NO = "PROVED", "VIOLATED", "DOES NOT APPLY"
SCOPED = "PROVED for scope S"
TABLE = {
    # card: count, reachable, replace, crash, dying, step
    "cgroup_legacy": (P, P, P, V, P, P),
    "cgroup_attach_race": (V, P, P, V, P, P),
    "cgroup_override": (P, P, P, V, P, P),
    "cgroup_multi": (P, P, P, V, P, P),
    "cgroup_link": (P, P, P, P, P, P),
    "perf_event": (P, P, NO, P, P, P),
    "perf_event_link": (P, P, NO, P, P, P),
    "xdp_netlink": (P, P, P, V, P, P),
    "xdp_link": (P, P, P, P, P, P),
    "tcx": (P, P, P, V, P, P),
    "tcx_link": (P, P, P, P, P, P),
    "tc_filter": (P, P, P, V, P, P),
    "lwt_route": (P, P, P, V, P, P),
    "flow_dissector": (P, P, P, P, P, P),
    "flow_dissector_link": (P, P, P, P, P, P),
    "sk_lookup": (P, P, P, P, P, P),
    "netfilter_link": (P, P, NO, P, P, P),
    "raw_tracepoint": (P, P, NO, P, P, P),
    "tp_btf": (P, P, NO, P, P, P),
    "tracepoint_event": (P, P, NO, P, P, P),
    "tracepoint_link": (P, P, NO, P, P, P),
    "uprobe": (P, P, NO, P, P, P),
    "uprobe_link": (P, P, NO, P, P, P),
    "uprobe_multi": (P, P, NO, P, P, P),
    "uprobe_mixed_flavours": (P, V, NO, P, P, P),
    "bad_replace_gap": (P, P, V, V, P, P),
    "bad_forgotten_reference": (V, V, P, V, P, V),
    "bad_double_put": (P, P, P, V, P, V),
    "bad_put_before_unpublish": (V, V, P, V, P, SCOPED),
}
LATER = {  # one of their family is asked about in every run, these by `make verdicts`
    "cgroup_override", "cgroup_multi", "tcx", "tcx_link", "xdp_link", "sk_lookup", "flow_dissector",
    "flow_dissector_link", "netfilter_link", "lwt_route", "tp_btf", "tracepoint_event",
    "tracepoint_link", "uprobe_link", "uprobe_multi",
}  # fmt: skip
ORDER = (
    "count-equals-holders",
    "reachable-not-freed",
    "replace-never-empty",
    "crash-cleans-up",
    "dying-gets-freed",
    "no-broken-step",
)
UNDER = {  # the property under which each proposal is caught
    "bad_replace_gap": "replace-never-empty",
    "bad_forgotten_reference": "count-equals-holders",
    "bad_double_put": "no-broken-step",
    "bad_put_before_unpublish": "reachable-not-freed",
}


@functools.cache
def verdicts(card: str) -> dict[str, Verdict]:
    checker = Checker(load_card(card), ladder=LADDER[:2])
    return {name: checker.verdict(CATALOGUE[name]) for name in ORDER}


def test_the_table_has_every_card_and_property() -> None:
    assert sorted(TABLE) == sorted(card_names())
    assert sorted(ORDER) == sorted(CATALOGUE)


@pytest.mark.parametrize("card", grouped(TABLE, LATER))
def test_verdicts(card: str) -> None:
    found = verdicts(card)
    assert tuple(found[name].word for name in ORDER) == TABLE[card]
    for verdict in found.values():
        assert verdict.expected, verdict.property
        assert (verdict.trace is not None) == (verdict.word == V)
        assert verdict.obligations > 0 or verdict.word != P


@pytest.mark.parametrize("card", grouped(UNDER))
def test_every_bad_proposal_is_caught_under_its_property(card: str) -> None:
    name = UNDER[card]
    verdict = verdicts(card)[name]
    assert verdict.word == V
    assert verdict.trace is not None and verdict.trace.violation is not None
    assert verdict.trace.violation.property == name
    assert verdict.unproved


@pytest.mark.parametrize("card", grouped(TABLE, LATER))
def test_explicit_search_agrees_in_verdict_and_depth(card: str) -> None:
    """Breadth-first, in the simulator, over every state of the scope: no solver, no lemma, no
    symmetry. What is violated there is what Z3 found there, at the same depth; nothing else is.
    (What takes two callers was found in a scope that has them.)"""
    system = System([load_card(card)])
    properties = [p for p in CATALOGUE.values() if not p.applies(system, card)]
    small = fitted(system, SMALL)
    seen = Explicit(system, system.search_rules([card]), small, card).run(properties, 60)
    depths = {name: len(found.path) for name, found in seen.found.items()}
    violated = {n: v.depth for n, v in verdicts(card).items() if v.word == V and v.scope == small}
    assert depths == violated
    assert seen.complete or len(depths) == len(properties)


@pytest.mark.parametrize("card", grouped(["bad_replace_gap", "bad_forgotten_reference"]))
def test_search_without_lemmas_and_symmetry_finds_the_same_depth(card: str) -> None:
    """Pruning may cost no counterexample and lengthen none."""
    system = System([load_card(card)])
    prop = CATALOGUE[UNDER[card]]
    plain = Search(system, system.search_rules([card]), SMALL, api=card, symmetry=False)
    found, _ = plain.run([prop], 16)
    assert len(found[prop.name].path) == verdicts(card)[prop.name].depth


@pytest.mark.parametrize("card", grouped(TABLE, LATER))
def test_a_counterexample_is_a_scenario_that_plays_to_the_same_end(card: str) -> None:
    for verdict in verdicts(card).values():
        if verdict.trace is None:
            continue
        assert verdict.trace.scenario is not None
        again = play(verdict.trace.scenario)
        last, known = again.states[-1], verdict.trace.states[-1]
        assert len(again.states) == len(verdict.trace.states), verdict.property
        assert sorted(o.refcnt for o in last.objects.values()) == sorted(
            o.refcnt for o in known.objects.values() if o.life != "unborn"
        )


def test_a_path_that_shows_nothing_is_no_verdict() -> None:
    """The simulator has the last word on what an engine found."""
    system = System([load_card("cgroup_legacy")])
    rule = next(r for r in system.search_rules([]) if r.name.startswith("map_create"))
    prop = CATALOGUE["count-equals-holders"]
    with pytest.raises(DisagreementError):
        replay(system, prop, "cgroup_legacy", {**SMALL, "maps": 1}, Found([(rule, {"me": 1})]))


@functools.cache
def inductive() -> tuple[System, tuple[str, ...]]:
    system = System([load_card("cgroup_legacy")])
    kept = tuple(Induction(system).run().kept)
    assert Induction(system).failures(kept) == []
    return system, kept


@pytest.mark.parametrize(
    ("name", "register", "broken"),
    [
        ("cgroup_legacy.attach.2", "reg.new", ["refcnt of a prog = holders"]),
        ("dup.1", "reg.file", ["refcnt of a file = holders"]),
    ],
)
def test_one_forgotten_increment_fails_exactly_one_obligation(
    name: str, register: str, broken: list[str]
) -> None:
    """Sharp: not a heap of failures, but the rule that was broken and the sum that it breaks."""
    system, kept = inductive()
    family = next(f for f in system.families if f.name == register)

    def forgetful(rule: Rule) -> Rule:
        def body(k: View, e: Env) -> None:
            rule.body(k, e)
            held = k.get(family, e["me"])
            k.set(s.REFCNT, (held,), plus(k.get(s.REFCNT, held), -1))

        return dataclasses.replace(rule, body=body)

    rules = [forgetful(r) if r.name == name else r for r in system.rules()]
    found = Induction(system, rules=rules).failures(kept)
    assert found == [(name, lemma) for lemma in broken]


def test_the_end_states_of_a_proof_exist() -> None:
    """Nothing attached is proved for the perf event; without "nothing is attached" the premises
    must be satisfiable, or the proof would be about nothing. And the global hook is not proved."""
    local = Induction(System([load_card("perf_event")]))
    local.run()
    nothing = attached(local.system)
    assert unproved(local, nothing) == []
    assert unproved(local, nothing, claim=False) != []
    remote = Induction(System([load_card("cgroup_legacy")]))
    remote.run()
    assert unproved(remote, attached(remote.system)) != []


def test_two_cards_of_one_hook_are_proved_together() -> None:
    """A hook with a program of its own, or with links: the invariants hold of both at once."""
    induction = Induction(System([load_card("cgroup_legacy"), load_card("cgroup_link")]))
    kept = induction.run().kept
    wanted = (*counts(induction.system), *reachable(induction.system))
    assert {invariant.name for invariant in wanted} <= set(kept)
    assert induction.needs_unproved() == []


def test_a_check_can_be_cancelled() -> None:
    asked = iter(range(10_000))
    checker = Checker(load_card("cgroup_legacy"), cancelled=lambda: next(asked) > 3)
    with pytest.raises(Cancelled):
        checker.verdict(CATALOGUE["count-equals-holders"])
