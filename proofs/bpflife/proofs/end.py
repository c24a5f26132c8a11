"""End states: when the kernel has nothing left to do, and the owners are gone, what remains?

"Eventually" becomes a statement about states in which no internal rule can fire (grace periods
end, work runs, readers leave: fairness). To prove that nothing is attached there, assume a hook
target with a program, and ask who keeps it alive. Live means its count is at least 1 (a proved
lemma); the count is the sum of the ghost counts; a ghost count of at least 1 has a member, the
*witness*: an open file, a directory, a local. The same question about the file leads to a
descriptor, and that to a process. Kinds rise strictly on the way (target, file, descriptor), so
two witness steps suffice, and the obligation stays ground.
"""

from __future__ import annotations

import itertools
from typing import Any

import z3

from bpflife.model.properties import internal, quiet_owner
from bpflife.model.rules import Rule
from bpflife.model.state import Family
from bpflife.model.values import NONE, OBJ, Term, ne

from .induction import Induction
from .unbounded import UnboundedView


def nothing_attached(induction: Induction, claim: bool = True) -> list[str]:
    """Empty when it is proved that no hook has a program in an end state without owners; else
    what could not be excluded. `claim` False leaves out "has a program": that such end states
    exist at all must then not be excluded, or the proof would be about nothing."""
    kinds = induction.system.targets
    return [
        f"an end state with a program still on a {kind} could not be excluded"
        for kind in kinds
        if not _excluded(induction, kind, claim)
    ]


def _excluded(induction: Induction, kind: str, claim: bool) -> bool:
    """No end state has a program on a target of this kind."""
    theory, system = induction.theory, induction.system
    view = UnboundedView(theory)
    target = view.entity(OBJ, theory.constant(OBJ, "hook!goal"))
    view.when(view.kind(target, kind))
    if claim:
        view.when(ne(view.get(system.entry, target), NONE))
    _witnesses(induction, view, target.payload, kind)
    for _, sort, premise in quiet_owner(view):
        view.when(view.all(sort, premise))
    solver = z3.SolverFor("QF_UFLIA")
    solver.add(*_no_internal_rule(induction, view))
    induction.assume(solver, view, None, set())
    solver.add(*view.guards, *view.facts())
    induction.obligations += 1
    return bool(solver.check(*induction.assumed()) == z3.unsat)


def _witnesses(induction: Induction, view: UnboundedView, o: Any, kind: str) -> None:
    """A ghost count of at least 1 has a member; if that is an object, the same of it. A family
    whose owner could be of the same kind again ends the way (nothing is lost but strength)."""
    for family in induction.system.holder_families(kind):
        holder = _witness(induction, view, family, o)
        for owner in family.owners:
            if owner != kind and holder is not None:
                _witnesses(induction, view, holder, owner)


def _witness(induction: Induction, view: UnboundedView, family: Family, o: Any) -> Any | None:
    """The member of one family that holds `o`; the object whose slot it is, if it is one."""
    theory = induction.theory
    args = [theory.fresh(sort, f"holder in {family.name}") for sort in family.args]
    for sort, a in zip(family.args, args, strict=True):
        view.note(sort, a)
    there = [a != theory.backend.none[sort] for sort, a in zip(family.args, args, strict=True)]
    member = z3.And(theory.functions[family.name](*args) == o, *there)
    view.guards.append(z3.Implies(theory.cards[family.name](o) >= 1, member))
    terms = [Term(theory.backend, sort, a) for sort, a in zip(family.args, args, strict=True)]
    view.get(family, *terms)
    return args[0] if family.args[0] == OBJ else None


def _no_internal_rule(induction: Induction, view: UnboundedView) -> list[Any]:
    """No internal rule can fire for the entities that were read before (those that its own
    reading adds are not asked again). Leaving out an instance only weakens the hypothesis."""
    known = {sort: list(terms.values()) for sort, terms in view.reads.items()}
    found = []
    for rule in internal(induction.rules):
        rows = [known[p.sort] for p in rule.params]
        for row in itertools.product(*rows):
            found.append(_disabled(induction, view, rule, row))
    return found


def _disabled(induction: Induction, view: UnboundedView, rule: Rule, row: tuple[Any, ...]) -> Any:
    """The rule can't fire for these entities: one of its guards is false."""
    theory = induction.theory
    trial = UnboundedView(theory)
    env = {}
    for p, a in zip(rule.params, row, strict=True):
        env[p.name] = trial.term(p.sort, a)
        if p.kind:
            trial.when(trial.kind(env[p.name], *p.kind.split("|")))
    rule.body(trial, env)
    absent = [a == theory.backend.none[p.sort] for p, a in zip(rule.params, row, strict=True)]
    needs = {at for _, _, at in trial.needs}  # by place: equal terms are one term to Z3
    guards = [g for at, g in enumerate(trial.guards) if at not in needs]
    view.quantified += trial.quantified
    for sort, terms in trial.reads.items():
        for x in terms.values():
            view.note(sort, x)
    return z3.Or(*absent, z3.Not(z3.And(*guards)))
