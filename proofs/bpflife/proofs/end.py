"""End states: when the kernel has nothing left to do, and the owners are gone, what remains?

"Eventually" becomes a statement about states in which no internal rule can fire (grace periods
end, work runs, readers leave: fairness). To prove that nothing is attached there, assume a hook
target with a program, and ask who keeps it alive. To prove that nothing is still dying, assume
something that is: the step of its release path that comes next could be taken.

Live means that its count is at least 1 (a proved lemma); the count is the sum of the ghost counts;
a ghost count of at least 1 has a member, the *witness*: an open file, a directory, a local. The
same question about the file leads to a descriptor, and that to a process. Kinds rise strictly on
the way (target, file, descriptor), so two witness steps suffice, and the obligation stays ground.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import z3

from bpflife.model.properties import OF_ENTRY, Invariant, internal, quiet_owner
from bpflife.model.rules import Rule
from bpflife.model.state import Family
from bpflife.model.steps import Param
from bpflife.model.values import OBJ, Not, Term

from .induction import Induction
from .lemmas import of_link
from .unbounded import UnboundedView

GOAL = "object!goal"  # what the question is about
HOLDER = "holder in "  # how a witness is called, with the family of its slot


def unproved(
    induction: Induction, invariants: Sequence[Invariant], claim: bool = True
) -> list[str]:
    """Empty when it is proved that the invariants (about one object each) hold in every end state
    without owners; else what could not be excluded. `claim` False leaves the invariants out: that
    such end states exist at all must then not be excluded, or the proof would be about nothing."""
    left = []
    for invariant in invariants:
        for kind in invariant.kinds or tuple(induction.system.targets):
            if claim and invariant.name == OF_ENTRY and _by_link(induction, kind):
                continue
            tries = (_excluded(induction, invariant, kind, claim, who) for who in (False, True))
            if not any(tries):
                left.append(f"an end state in which it is not so that {invariant.name} ({kind})")
    return left


def _by_link(induction: Induction, kind: str) -> bool:
    """What is in the entry of such a target is there by a link that stands in its list (proved: a
    lemma): where nothing stands in a list, which is asked too, no entry is full."""
    lemmas = [of_link(own, kind) for own in induction.system.links]
    return any(induction.alive.get(name, False) for name in lemmas)


def _excluded(
    induction: Induction, invariant: Invariant, kind: str, claim: bool, witnesses: bool
) -> bool:
    """In no end state the invariant is false for an object of this kind. Without `witnesses` nobody
    asks who keeps it alive: fewer hypotheses, and for what is dying they are enough."""
    theory = induction.theory
    view = UnboundedView(theory)
    target = view.entity(OBJ, theory.constant(OBJ, GOAL))
    view.when(view.kind(target, kind))
    if claim:
        view.when(Not(invariant.body(view, target)))
    if witnesses:
        _witnesses(induction, view, target.payload, kind)
    for _, sort, premise in quiet_owner(view):
        view.when(view.all(sort, premise))
    solver = z3.SolverFor("QF_UFLIA")
    solver.add(*_no_internal_rule(induction, view, kind))
    solver.add(*_not_released_on(induction, view, kind, kind, target.payload))
    for pointed_at, o in _points_at(induction, view, kind, target):
        solver.add(*_not_released_on(induction, view, kind, pointed_at, o))
    known = induction.assume(solver, view, None, set())
    solver.add(*view.guards, *view.facts())
    induction.obligations += 1
    return bool(solver.check(*induction.assumed(known)) == z3.unsat)


def _witnesses(
    induction: Induction, view: UnboundedView, o: Any, kind: str,
    above: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    """A ghost count of at least 1 has a member; if that is an object, the same of it. A family
    whose owner could be of a kind again that was asked about ends the way (nothing is lost but
    strength)."""
    above |= {kind}
    for family in induction.system.holder_families(kind):
        holder = _witness(induction, view, family, o)
        for owner in family.owners:
            if owner not in above and holder is not None:
                _witnesses(induction, view, holder, owner, above)


def _witness(induction: Induction, view: UnboundedView, family: Family, o: Any) -> Any | None:
    """The member of one family that holds `o`; the object whose slot it is, if it is one."""
    theory = induction.theory
    args = [theory.fresh(sort, f"{HOLDER}{family.name}") for sort in family.args]
    for sort, a in zip(family.args, args, strict=True):
        view.note(sort, a)
    there = [a != theory.backend.none[sort] for sort, a in zip(family.args, args, strict=True)]
    member = z3.And(theory.functions[family.name](*args) == o, *there)
    view.guards.append(z3.Implies(theory.cards[family.name](o) >= 1, member))
    terms = [Term(theory.backend, sort, a) for sort, a in zip(family.args, args, strict=True)]
    view.get(family, *terms)
    return args[0] if family.args[0] == OBJ else None


def _no_internal_rule(induction: Induction, view: UnboundedView, goal: str) -> list[Any]:
    """No internal rule can fire for the entities that were read before (those that its own
    reading adds are not asked again), where they can be of the kind that it is about. Leaving out
    an instance only weakens the hypothesis."""
    known = _Known(induction, view, goal)
    found = []
    for rule in internal(induction.rules):
        rows = [known.values(p) for p in rule.params]
        for row in itertools.product(*rows):
            found.append(_disabled(induction, view, rule, row))
    return found


def _not_released_on(
    induction: Induction, view: UnboundedView, goal: str, kind: str, o: Any
) -> list[Any]:
    """The same for the release path of one object, at all that has been read by now: a loop of it
    that can't end has a slot that is still full, and then its other edge could be taken."""
    known = _Known(induction, view, goal)
    found = []
    for rule in internal(induction.rules):
        if rule.op != kind or rule.mode != "micro":
            continue
        rows = [[o] if p.name == "me" else known.values(p) for p in rule.params]
        found += [_disabled(induction, view, rule, row) for row in itertools.product(*rows)]
    return found


class _Known:
    """The entities that were read by now, and what kinds of object they can be."""

    def __init__(self, induction: Induction, view: UnboundedView, goal: str) -> None:
        self.theory = induction.theory
        self.terms = {sort: list(terms.values()) for sort, terms in view.reads.items()}
        objects = self.terms.get(OBJ, [])
        self.kinds = {x.get_id(): _kinds(induction, x, goal) for x in objects}

    def values(self, p: Param) -> Sequence[Any]:
        """What a parameter may be: of its kind, or every value of an enumeration."""
        if p.sort not in self.terms:
            return [self.theory.backend.literal(p.sort, n) for n in range(len(p.sort.names))]
        return [x for x in self.terms[p.sort] if self._fits(x, p)]

    def _fits(self, x: Any, p: Param) -> bool:
        can_be = self.kinds.get(x.get_id())
        return can_be is None or not p.kind or bool(can_be & set(p.kind.split("|")))


def _kinds(induction: Induction, x: Any, goal: str) -> set[str] | None:
    """The kinds of object that a term can be, as far as its form says: the goal, who holds
    something by a family of slots, what a slot points at. None: any."""
    name = x.decl().name()
    if name == GOAL:
        return {goal}
    holder = name.startswith(HOLDER)
    family = name.removeprefix(HOLDER).rpartition("!")[0] if holder else name
    found = next((f for f in induction.system.families if f.name == family), None)
    if found is None:
        return None
    return set(found.owners if holder else induction.system.targets_of(found)) or None


def _points_at(
    induction: Induction, view: UnboundedView, kind: str, o: Term
) -> list[tuple[str, Any]]:
    """What an object points at without holding it, with the kinds that this can be: it may wait for
    their lock, and they may be in the middle of their own end."""
    families = [f for f in induction.system.families if f.slot and kind in f.owners]
    return [
        (target, view.get(f, o).payload)
        for f in families if f.args == (OBJ,) and not f.counted for target in f.targets
    ]  # fmt: skip


def _disabled(induction: Induction, view: UnboundedView, rule: Rule, row: tuple[Any, ...]) -> Any:
    """The rule can't fire for these entities: one of its guards is false. What it read are entities
    from here on; of objects those that own a cell or were sought: what is only compared is by
    congruence one of them, or nothing is known of it."""
    theory = induction.theory
    trial = UnboundedView(theory)
    env = {}
    for p, a in zip(rule.params, row, strict=True):
        env[p.name] = trial.term(p.sort, a)
        if p.kind:
            trial.when(trial.kind(env[p.name], *p.kind.split("|")))
    rule.body(trial, env)
    none = theory.backend.none
    pairs = zip(rule.params, row, strict=True)
    absent = [a == none[p.sort] for p, a in pairs if p.sort in none]
    needs = {at for _, _, at in trial.needs}  # by place: equal terms are one term to Z3
    view.guards += [g for at, g in enumerate(trial.guards) if at in trial.defined]
    needs |= trial.defined
    guards = [g for at, g in enumerate(trial.guards) if at not in needs]
    view.quantified += trial.quantified
    for sort, terms in trial.reads.items():
        for number, x in terms.items():
            if sort != OBJ or number in trial.applied[OBJ] or not x.num_args():
                view.note(sort, x)
    return z3.Or(*absent, z3.Not(z3.And(*guards)))
