"""What induction kept is true: every kept lemma is evaluated, by numbers, on random walks."""

from __future__ import annotations

import itertools

import pytest

from bpflife.model.catalogue import load_card
from bpflife.model.concrete import ConcreteView
from bpflife.model.properties import Invariant
from bpflife.model.system import System
from bpflife.model.values import OBJ
from bpflife.proofs.induction import Induction
from bpflife.proofs.lemmas import candidates
from bpflife.proofs.recheck import cvc5_says, smtlib
from bpflife.proofs.scopes import LARGER
from walks import Walk


@pytest.mark.parametrize("card", ["cgroup_legacy", "perf_event", "bad_put_before_unpublish"])
def test_kept_lemmas_hold_on_random_walks(card: str) -> None:
    system = System([load_card(card)])
    kept = set(Induction(system).run().kept)
    lemmas = [c for c in candidates(system) if c.name in kept]
    walk = Walk(system, system.rules(), LARGER, seed=11)
    states = {frozenset(cells.items()) for _, _, cells in walk.states(25, 60)}
    assert len(states) > 300
    for state in states:
        view = ConcreteView(walk.space.scope, dict(state))
        for lemma in lemmas:
            domains = [walk.space.scope.domain(sort) for sort in lemma.sorts]
            for row in itertools.product(*domains):
                assert lemma.body(view, *row), (lemma.name, row)


def test_what_a_bad_card_breaks_is_dropped_with_the_rule_that_breaks_it() -> None:
    proof = Induction(System([load_card("bad_forgotten_reference")])).run()
    assert proof.dropped["refcnt of a prog = holders"] == "bad_forgotten_reference.attach.6"
    assert "refcnt of a map = holders" in proof.kept
    assert proof.obligations > 1000


def test_another_solver_confirms_the_obligations_of_attach_and_detach() -> None:
    system = System([load_card("cgroup_legacy")])
    induction = Induction(system)
    induction.run()
    asked = 0
    for attempt in induction.attempts:
        lemma = "refcnt of a prog = holders"
        if attempt.rule.op.startswith("cgroup_legacy.") and lemma in attempt.goals:
            assert cvc5_says(smtlib(induction, attempt, lemma)) == "unsat", attempt.rule.name
            asked += 1
    assert asked > 5


def test_what_is_false_where_nothing_exists_is_no_lemma(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductive is not enough: no rule leads from "everything is live" to anything else here."""
    alive = Invariant("everything is live", (OBJ,), lambda k, o: k.live(o))
    monkeypatch.setattr("bpflife.proofs.induction.candidates", lambda _: [alive])
    proof = Induction(System([load_card("perf_event")])).run()
    assert proof.kept == []
    assert proof.dropped == {alive.name: "the initial state"}
