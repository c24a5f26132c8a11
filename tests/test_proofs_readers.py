"""Readers, proved for any number of CPUs, programs and maps: what one is inside of, or has found,
is not freed. A uprobe is entered under RCU tasks trace, so both flavours of RCU are there."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, cast

import pytest

from bpflife.model import state as s
from bpflife.model.catalogue import load_card
from bpflife.model.properties import counts, reachable
from bpflife.model.rules import Rule
from bpflife.model.state import Family, View
from bpflife.model.steps import Env
from bpflife.model.system import System
from bpflife.model.values import Value
from bpflife.proofs.induction import Induction, Proof

PARTS = ("core", "processes", "maps", "access", "perf", "flavours")  # what a map of maps needs
RUNS = "a running program is live or its grace period waits"
SEES = "an inner map that is seen is there or its grace period waits"
together = pytest.mark.xdist_group("readers-proof")


@functools.cache
def proved() -> tuple[Induction, Proof]:
    induction = Induction(System([load_card("uprobe")], PARTS))
    return induction, induction.run()


@together
def test_what_a_reader_is_inside_of_or_has_found_is_not_freed() -> None:
    induction, proof = proved()
    wanted = {i.name for i in (*counts(induction.system), *reachable(induction.system))}
    assert {"a running program is not freed", "an inner map that is seen is not freed"} <= wanted
    assert wanted <= set(proof.kept), {n: proof.dropped.get(n) for n in wanted - set(proof.kept)}
    assert {RUNS, SEES} <= set(proof.kept)
    assert induction.needs_unproved() == []


class Changed:
    """The view, but for what a mutant does."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)


class Hasty(Changed):
    """Nobody is waited for."""

    def start_grace_period(self, waits: Family, owner: Value, _: Any) -> None:
        """For nobody."""
        self._view.start_grace_period(waits, owner, lambda cpu: False)


class OtherFlavour(Changed):
    """Who holds the other flavour of RCU is waited for."""

    def get(self, family: Family, *args: Value) -> Value:
        """The other one."""
        other = {s.IN_RCU: s.IN_TRACE, s.IN_TRACE: s.IN_RCU}
        return self._view.get(other.get(family, family), *args)


class OnlyRcu(Changed):
    """Who is inside under RCU tasks trace is not waited for."""

    def get(self, family: Family, *args: Value) -> Value:
        """False for tasks trace."""
        return False if family == s.IN_TRACE else self._view.get(family, *args)


class Unmarked(Changed):
    """A map that leaves a map of maps is not told to wait."""

    def set(self, family: Family, args: tuple[Value, ...], value: Value) -> None:
        """All but the marks."""
        if family not in (s.AFTER_RCU, s.AFTER_MULT):
            self._view.set(family, args, value)


@together
@pytest.mark.parametrize(
    ("step", "op", "how", "broken"),
    [
        ("wait rcu by flavour: begin", "prog", Hasty, RUNS),
        ("wait rcu by flavour: begin", "prog", OtherFlavour, RUNS),
        ("wait rcu by flavour: begin", "prog", OnlyRcu, RUNS),
        ("wait rcu tasks trace: begin", "uprobe", Hasty, RUNS),
        ("wait rcu if deferred: begin", "map", Hasty, SEES),
        ("wait rcu if deferred: begin", "map", OtherFlavour, SEES),
        ("wait rcu if deferred: begin", "map", OnlyRcu, SEES),
        ("swap key of file <-> new", "map_update", Unmarked, SEES),
        ("take key of file -> old", "map_delete", Unmarked, SEES),
    ],
)
def test_a_forgotten_wait_is_found_where_it_is(
    step: str, op: str, how: type[Changed], broken: str
) -> None:
    induction, proof = proved()

    def hasty(r: Rule) -> Rule:
        def body(k: View, e: Env) -> None:
            r.body(cast(View, how(k)), e)

        return dataclasses.replace(r, body=body)

    there = [r for r in induction.rules if r.op == op and r.edges and r.edges[0].step.text == step]
    assert there
    found = Induction(induction.system, rules=[hasty(r) for r in there]).failures(proof.kept)
    assert broken in {name for _, name in found}
    intact = Induction(induction.system, rules=there).failures(proof.kept)
    assert intact == []
