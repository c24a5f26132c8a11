"""All of Linux that the model has, with a hook: the invariants of counting are proved for any number
of objects, and every step finds what it needs. What is proved is also sharp."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from bpflife.model import state as s
from bpflife.model.catalogue import load_card
from bpflife.model.properties import counts, reachable
from bpflife.model.rules import Rule
from bpflife.model.state import View
from bpflife.model.steps import Env
from bpflife.model.system import PARTS, System
from bpflife.model.values import FD, OBJ, eq
from bpflife.proofs.induction import Induction, Proof

together = pytest.mark.xdist_group("linux")


@functools.cache
def proved() -> tuple[Induction, Proof]:
    induction = Induction(System([load_card("cgroup_legacy")], PARTS))
    return induction, induction.run()


@together
def test_the_invariants_of_counting_hold_of_all_of_linux() -> None:
    """Count equals holders, user count equals user holders, live means counted, what is freed
    holds nothing, what can run is not freed: rule by rule, of every part."""
    induction, proof = proved()
    wanted = {i.name for i in (*counts(induction.system), *reachable(induction.system))}
    assert wanted <= set(proof.kept), {n: proof.dropped.get(n) for n in wanted - set(proof.kept)}


@together
def test_every_step_of_linux_finds_what_it_needs() -> None:
    induction, _ = proved()
    assert induction.needs_unproved() == []


@together
def test_every_rule_has_obligations() -> None:
    """A rule that no invariant is asked about would be covered by nothing."""
    induction, _ = proved()
    asked = {a.rule.name for a in induction.attempts if a.goals}
    only_refused = {r.name for r in induction.rules if r.noop}
    assert {r.name for r in induction.rules} - asked <= only_refused


@together
@pytest.mark.parametrize(
    ("rule", "slot", "broken"),
    [
        ("fork.2", s.FD_SLOT, "refcnt of a file = holders"),
        ("send.3", s.CARGO, "refcnt of a file = holders"),
        ("map_update.3", s.ELEM, "refcnt of a prog = holders"),
    ],
)
def test_a_step_that_fills_one_more_slot_breaks_the_count(
    rule: str, slot: s.Family, broken: str
) -> None:
    """A copy that is not counted: the induction step of the right invariant fails, at that rule."""
    induction, proof = proved()

    def wrong(r: Rule) -> Rule:
        def body(k: View, e: Env) -> None:
            r.body(k, e)
            if slot == s.FD_SLOT:
                p = k.get(s.PROC_OF, e["me"])
                free = k.lowest(FD, lambda n: eq(k.get(s.FD_SLOT, p, n), 0))
                k.set(slot, (p, free), k.get(slot, p, e["n"]))
            else:
                held = k.get(s.Family("reg.file", (s.TASK,), OBJ, counted=True), e["me"])
                kind = "message" if slot == s.CARGO else "map"
                other = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), 1), kind)
                args = (other,) if slot == s.CARGO else (other, e["key"])
                k.set(slot, args, held)

        return dataclasses.replace(r, body=body)

    changed = [wrong(r) if r.name == rule else r for r in induction.rules if r.name == rule]
    found = Induction(induction.system, rules=changed).failures(proof.kept)
    assert (rule, broken) in found or any(name == rule for name, _ in found)
