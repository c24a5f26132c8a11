"""Unbounded induction: which candidates are inductive, and what follows from them.

Houdini: start from all candidates, and as long as some rule leads from a state that satisfies
those that are left to one that violates some, drop the violated ones. What is left is inductive
for this system (all of it together), so it holds in every reachable state, for any number of
objects. A `sat` here never means VIOLATED, only "not proved".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from bpflife.model.concrete import ConcreteView, Scope
from bpflife.model.properties import Invariant, emptied
from bpflife.model.rules import Rule
from bpflife.model.state import FILE_OBJ
from bpflife.model.system import System
from bpflife.model.values import BOOL, CPU, ENTITIES, FD, IDX, OBJ, PATH, PROC, TASK, Sort, lift

from .lemmas import candidates
from .scopes import Cancelled
from .unbounded import Entities, Theory, UnboundedView


class Lemma:
    """A candidate, built once over the state before, with holes for its entities.

    `template` says: if the lemma is assumed (its literal) and the entities are not none, it holds
    of them. Instances are made and asserted through Z3's C interface: there are tens of thousands
    of them, and Python's wrapping of each would take most of the time of a proof.
    """

    def __init__(self, theory: Theory, invariant: Invariant) -> None:
        if len(set(invariant.sorts)) < len(invariant.sorts):
            raise NotImplementedError(f"{invariant.name}: two entities of one sort")
        self.invariant = invariant
        self.literal = z3.Bool(f"lemma {invariant.name}")
        view = UnboundedView(theory)
        sorts = invariant.sorts
        self.holes = [theory.constant(s, f"{s.name}?{i}") for i, s in enumerate(sorts)]
        with view.muting(*self.holes):
            terms = [view.term(sort, h) for sort, h in zip(sorts, self.holes, strict=True)]
            self.body = lift(theory.backend, BOOL, invariant.body(view, *terms))
        if view.quantified or view.guards:  # an instance would leave them out, and prove anything
            raise NotImplementedError(f"{invariant.name}: a quantifier or a guard inside")
        self.reads = set(view.read_families)
        there = [h != theory.backend.none[sort] for sort, h in zip(sorts, self.holes, strict=True)]
        self.template = z3.Implies(z3.And(self.literal, *there), self.body)
        self._from = _asts(self.holes)

    def assert_at(self, solver: Any, terms: tuple[Any, ...]) -> None:
        """Assert the instance for these entities."""
        context, count = solver.ctx.ref(), len(terms)
        instance = z3.Z3_substitute(
            context, self.template.as_ast(), count, self._from, _asts(terms)
        )
        z3.Z3_solver_assert(context, solver.solver, instance)


def _asts(terms: Sequence[Any]) -> Any:
    return (z3.Ast * len(terms))(*[t.as_ast() for t in terms])


@dataclass
class Attempt:
    """One rule, and what it must not break."""

    rule: Rule
    view: UnboundedView
    goals: dict[str, Any] = field(default_factory=dict)  # lemma name -> "it fails afterwards"
    places: set[int] = field(default_factory=set)  # of calls, that the goals speak of
    rested: set[str] | None = None  # lemmas that it rested on when it last held


@dataclass
class Question:
    """A solver that knows a rule and instances of the lemmas in `known`."""

    solver: Any
    known: list[str]


@dataclass
class Proof:
    """What an induction over a system gave.

    `kept`: the inductive invariants. `dropped`: candidate -> the rule that breaks it.
    `obligations`: how many rule x invariant questions were asked (those where the rule writes
    what the invariant reads)."""

    system: System
    kept: list[str]
    dropped: dict[str, str]
    obligations: int


class Induction:
    """The inductive invariants of a system, and questions on top of them."""

    def __init__(
        self,
        system: System,
        say: Callable[[str], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
        rules: Sequence[Rule] | None = None,
    ) -> None:
        """`rules`: other ones than the system's, to see what a changed rule breaks."""
        self.system, self.say, self.cancelled = system, say, cancelled
        self.theory = Theory(system)
        self.lemmas = {c.name: Lemma(self.theory, c) for c in candidates(system)}
        self.rules = list(rules or system.rules())
        self.dropped = dict.fromkeys(self._false_at_first(), "the initial state")
        self.alive = {name: name not in self.dropped for name in self.lemmas}
        self.shared = {f.name for f in system.families if f.args != (TASK,)}
        self.attempts: list[Attempt] = []
        self.obligations = 0

    def _false_at_first(self) -> list[str]:
        """The candidates that do not hold where nothing exists yet. There all cells have their
        default, so entities differ by kind only: a scope with one of each is all there is."""
        kinds = list(self.system.kinds)
        scope = Scope(dict.fromkeys((PROC, FD, PATH, IDX, CPU), 1), kinds, [1])
        view = ConcreteView(scope, {})
        found = []
        for name, lemma in self.lemmas.items():
            domains = [scope.domain(sort) for sort in lemma.invariant.sorts]
            rows = itertools.product(*domains)
            if not all(lemma.invariant.body(view, *row) for row in rows):
                found.append(name)
        return found

    # -- building ------------------------------------------------------------------------------

    def _run(self, rule: Rule) -> UnboundedView:
        view = UnboundedView(self.theory)
        env = {
            p.name: view.entity(p.sort, self.theory.constant(p.sort, f"{p.name}!r"))
            for p in rule.params
        }
        for p in rule.params:
            if p.kind:
                view.when(view.kind(env[p.name], *p.kind.split("|")))
        rule.body(view, env)
        return view

    def _goal_terms(self, view: UnboundedView) -> dict[Sort, Any]:
        return {
            sort: view.entity(sort, self.theory.constant(sort, f"{sort.name}!goal"))
            for sort in ENTITIES
        }

    def assume(
        self,
        solver: Any,
        view: UnboundedView,
        rule: Rule | None,
        places: set[int],
        at: Entities | None = None,
    ) -> list[str]:
        """Assert instances of all lemmas, about the state before, at every entity that was read
        (or that is in `at`). The names of the lemmas that have any: `assumed` of them switches
        them on.

        A lemma about tasks at one place of a call is only instantiated where that place matters:
        the place from which the rule starts, and the places that the goals speak of.
        """
        at = at or view.reads
        if rule and rule.edges and rule.mode == "micro":
            places = {*places, rule.edges[0].source}
        known = []
        for name, lemma in self.lemmas.items():
            at_places = lemma.invariant.places
            if at_places is not None and not at_places & places:
                continue
            rows = [list(at[sort].values()) for sort in lemma.invariant.sorts]
            for row in itertools.product(*rows):
                lemma.assert_at(solver, row)
            known.append(name)
        return known

    def attempt(self, rule: Rule) -> Attempt:
        """The rule, and the lemmas that it could break."""
        view = self._run(rule)
        touched = set(view.updates) | set(view.deltas)
        relevant = [
            n
            for n, lemma in self.lemmas.items()
            if lemma.reads & touched and not self._elsewhere(lemma, rule, touched)
        ]
        goal = self._goal_terms(view)
        attempt = Attempt(rule, view)
        for name in relevant:
            c = self.lemmas[name].invariant
            body = c.body(view, *[goal[x] for x in c.sorts])
            attempt.goals[name] = z3.Not(lift(self.theory.backend, BOOL, body))
            attempt.places |= c.places or frozenset()
        self.obligations += len(relevant)
        return attempt

    def question(self, attempt: Attempt, wide: bool = True) -> Question:
        """What is known before and during the rule. Most of what is read is only compared: what
        is true of such an entity is, by congruence, said of the one that it is equal to. So
        instances are first made only at entities that own a cell that was read (`wide` False),
        which are a third as many. Leaving instances out can't prove more."""
        view = attempt.view
        at = view.reads if wide else view.applied
        solver = z3.SolverFor("QF_UFLIA")
        solver.add(*view.guards)
        known = self.assume(solver, view, attempt.rule, attempt.places, at)
        solver.add(*view.facts(at))
        return Question(solver, known)

    def _elsewhere(self, lemma: Lemma, rule: Rule, touched: set[str]) -> bool:
        """The lemma speaks of tasks at a place to which this rule does not lead, and what it
        reads and the rule writes belongs to the task alone: nobody else's cells change, and the
        task itself is not there afterwards."""
        if lemma.invariant.places is None or not rule.edges:
            return False
        leads_there = rule.edges[-1].target in lemma.invariant.places
        return not leads_there and not lemma.reads & touched & self.shared

    # -- Houdini -------------------------------------------------------------------------------

    def run(self) -> Proof:
        """Drop candidates until the rest is inductive."""
        for number, rule in enumerate(self.rules):
            self._check_cancelled()
            self.say(f"induction: rule {number + 1} of {len(self.rules)}")
            self.attempts.append(self.attempt(rule))
            self._weed(self.attempts[-1])
        while sum(map(self._weed, self.attempts)):  # each of them, every time
            pass
        kept = [n for n, alive in self.alive.items() if alive]
        return Proof(self.system, kept, dict(self.dropped), self.obligations)

    def failures(self, lemmas: Sequence[str]) -> list[tuple[str, str]]:
        """The induction step of exactly these lemmas, nothing dropped: every (rule, lemma) where
        the rule leads out of the states in which all of them hold. Empty: they are inductive."""
        self.alive = {n: n in lemmas for n in self.lemmas}
        found = []
        for rule in self.rules:
            self._check_cancelled()
            attempt = self.attempt(rule)
            broken, _ = self._broken(attempt, self._asked(attempt))
            found += [(rule.name, name) for name in broken]
        return found

    def _check_cancelled(self) -> None:
        if self.cancelled():
            raise Cancelled

    def _weed(self, attempt: Attempt) -> bool:
        """Drop every candidate that this rule can break; True if any was."""
        self._check_cancelled()
        changed = False
        while attempt.rested is None or not all(self.alive[n] for n in attempt.rested):
            broken, attempt.rested = self._broken(attempt, self._asked(attempt))
            for name in broken:
                self.alive[name] = False
                self.dropped.setdefault(name, attempt.rule.name)
                changed = True
        return changed

    def _asked(self, attempt: Attempt) -> list[str]:
        return [n for n in attempt.goals if self.alive[n]]

    def _broken(self, attempt: Attempt, asked: Sequence[str]) -> tuple[list[str], set[str]]:
        """The lemmas that the rule can break although all that are left hold before it, and the
        lemmas that the others of those asked about rest on."""
        doubtful, rested = self._refuted(attempt, asked, wide=False)
        if not doubtful:
            return [], rested
        broken, more = self._refuted(attempt, doubtful, wide=True)
        return broken, rested | more

    def _refuted(
        self, attempt: Attempt, asked: Sequence[str], wide: bool
    ) -> tuple[list[str], set[str]]:
        """The same, with the instances that `wide` says."""
        question = self.question(attempt, wide)
        fails = {n: z3.Bool(f"fails {n}") for n in asked}
        question.solver.add(*[literal == attempt.goals[n] for n, literal in fails.items()])
        assumed = self.assumed(question.known)
        found: list[str] = []
        while fails:
            some = z3.FreshConst(z3.BoolSort(), "some")
            question.solver.add(z3.Implies(some, z3.Or(*fails.values())))
            answer = question.solver.check(*assumed, some)
            if answer == z3.unsat:
                core = {literal.get_id() for literal in question.solver.unsat_core()}
                literals = {n: self.lemmas[n].literal.get_id() for n in question.known}
                return found, {n for n, literal in literals.items() if literal in core}
            new = list(fails)
            if answer == z3.sat:
                model = question.solver.model()
                new = [n for n, f in fails.items() if z3.is_true(model.eval(f, True))] or new
            found += new
            fails = {n: f for n, f in fails.items() if n not in new}
        return found, set()

    # -- questions on top ----------------------------------------------------------------------

    def assumed(self, known: Sequence[str]) -> list[Any]:
        """The literals of the lemmas that are left, of those that a solver knows."""
        return [self.lemmas[n].literal for n in known if self.alive[n]]

    def holds(
        self, view: UnboundedView, rule: Rule, claims: Sequence[tuple[list[Any], Any]]
    ) -> list[bool]:
        """For each (guards, claim): do the lemmas that are left and the guards imply the claim?"""
        solver = z3.SolverFor("QF_UFLIA")
        assumed = self.assumed(self.assume(solver, view, rule, set()))
        solver.add(*view.facts())
        answers = []
        for guards, claim in claims:
            solver.push()
            solver.add(*guards, z3.Not(claim))
            answers.append(bool(solver.check(*assumed) == z3.unsat))
            solver.pop()
            self.obligations += 1
        return answers

    def needs_unproved(self) -> list[str]:
        """Rules with a need that could not be shown to hold whenever the rule fires."""
        failed = []
        for rule in self.rules:
            self._check_cancelled()
            view = self._run(rule)
            if not view.needs:
                continue
            self._read_locals(view, rule)
            claims = [(view.guards[:at], need) for need, _, at in view.needs]
            for (_, what, _), fine in zip(view.needs, self.holds(view, rule, claims), strict=True):
                if not fine:
                    failed.append(f"{rule.name}: {what}")
        return failed

    def _read_locals(self, view: UnboundedView, rule: Rule) -> None:
        """Reads what the caller holds, and what its open files hold: a need may rest on a
        reference that the step itself does not touch."""
        graph = self.system.graphs.get(rule.op)
        if graph is None or rule.mode != "micro":
            return
        me = view.term(TASK, self.theory.constant(TASK, "me!r"))
        for family in graph.frame.registers.values():
            view.get(family, me)
            held = self.theory.functions[family.name](me.payload)
            view.get(FILE_OBJ, view.term(OBJ, held))

    def gap_unproved(self, operations: set[str]) -> list[str]:
        """Steps of an operation that could not be shown never to empty a populated hook."""
        failed = []
        for rule in self.rules:
            if rule.op not in operations:
                continue
            view = self._run(rule)
            before = UnboundedView(self.theory)
            hook = self.theory.constant(OBJ, "hook!goal")
            target = view.entity(OBJ, hook)
            empties = emptied(self.system, before, view, before.entity(OBJ, hook))
            assert target is not None
            claim = z3.Not(lift(self.theory.backend, BOOL, empties))
            if not self.holds(view, rule, [(view.guards, claim)])[0]:
                failed.append(rule.name)
        return failed
