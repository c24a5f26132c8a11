"""One rule, three views: what it does to numbers, to bit-vectors and to uninterpreted functions.

Every rule, in micro-steps and as a whole call, runs on states from random walks and on broken
copies of them. The bounded view must give the same answer with the same cells after it; the
unbounded view must allow exactly the same, with ghost counts that equal a real count.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest
import z3

from bpflife.model import state as s
from bpflife.model.catalogue import card_names, load_card
from bpflife.model.concrete import Blocked, Cells, ConcreteView, Scope
from bpflife.model.rules import Rule
from bpflife.model.state import Broken
from bpflife.model.system import CORE, PARTS, System
from bpflife.model.values import BOOL, ENTITIES, OBJ, And, Implies, Not, Sort, Value, eq
from bpflife.proofs.bounded import BoundedView, Layout
from bpflife.proofs.induction import Induction
from bpflife.proofs.scopes import LARGER, make_scope
from bpflife.proofs.unbounded import Theory, UnboundedView
from groups import grouped
from walks import Walk

LINUX = "linux"  # beside the cards: all the parts of Linux
EVERYTHING = [LINUX, *card_names()]
SAMPLES = 4  # states per rule, half of them broken copies
SCOPE = {
    **LARGER, "maps": 2, "files": 4, "descriptors": 3, "sockets": 3, "messages": 1, "BTFs": 1,
    "pins": 3, "inodes": 2, "psocks": 1,
    "instances": 1, "mounts": 2, "mount namespaces": 1, "network namespaces": 1,
    "network devices": 2, "taps": 1,
}  # fmt: skip
BESIDE = {
    LINUX: ["tc_filter"], "cgroup_link": ["cgroup_legacy"],
    "cgroup_multi": ["cgroup_legacy", "cgroup_override"],
    "tcx": ["tcx_link"], "tcx_link": ["tcx"], "perf_event_link": ["cgroup_legacy"],
}  # fmt: skip
TRIES = 4000  # to make a rule fire that no walk reached
Sample = tuple[Rule, dict[str, int], Cells]


Said = set[tuple[str, int | None]]  # steps in words, with the check that failed


def said_by(rules: Iterable[Rule]) -> Said:
    """What rules are made of: the same words are the same function, whatever the card."""
    return {(edge.step.text, edge.failed) for rule in rules for edge in rule.edges}


@functools.cache
def told_before(card: str) -> Said:
    """The steps of the cards that come before it: with those they are run."""
    found: Said = set()
    for name in card_names()[: card_names().index(card)]:
        system = System([load_card(name)])
        own = [rule for rule in system.rules() if rule.op.startswith(f"{name}.")]
        found |= said_by(own)
    return found


@functools.cache
def samples(card: str) -> tuple[System, Scope, dict[str, list[Sample]]]:
    """For every rule of a card's system some states to run it on; where it fires, if possible.

    A second card is beside it, so that there are two types of programs and of hooks; beside links
    and records also one of the same hook. A rule of which an earlier card has all the steps is left
    to that. Linux's core is sampled with the first good card only; all of Linux, in micro-steps, as
    "linux".
    """
    first = "cgroup_legacy" if card == LINUX else card
    other = "cgroup_legacy" if first == "perf_event" else "perf_event"
    cards = [first, other, *BESIDE.get(card, [])]
    system = System([load_card(c) for c in cards], PARTS if card == LINUX else CORE)
    every = system.rules() if card == LINUX else system.all_rules.values()
    rules = [r for r in every if not r.noop]
    walk = Walk(system, rules, SCOPE, seed=7)
    every_op = card in (LINUX, "cgroup_legacy")
    own = tuple(f"{c}." for c in (card, *cards[2:]))
    wanted = [r for r in rules if every_op or r.op.startswith(own)]
    known = set() if every_op else told_before(card)
    wanted = [r for r in wanted if not r.edges or not said_by([r]) <= known]
    by_rule: dict[str, list[Sample]] = {r.name: [] for r in wanted}
    seen: list[Cells] = []
    for rule, env, cells in walk.states(30 if every_op else 8 if wanted else 0, 60):
        seen.append(cells)
        if len(by_rule.get(rule.name, [0] * SAMPLES)) < SAMPLES // 2:
            by_rule[rule.name].append((rule, env, cells))
    for rule in wanted:
        by_rule[rule.name] += _forced(walk, rule, seen) if not by_rule[rule.name] else []
        by_rule[rule.name] += [(r, e, walk.breakage(c)) for r, e, c in by_rule[rule.name]]
    return system, walk.space.scope, by_rule


def _forced(walk: Walk, rule: Rule, seen: list[Cells]) -> list[Sample]:
    """A rule that the walks did not reach: put its actor where it must be, and change what it
    reads, until it fires."""
    found: list[Sample] = []
    for _ in range(TRIES):
        staged = walk.staged(rule, walk.rng.choice(seen))
        if staged is None:
            continue
        env, cells = staged
        for _ in range(12):
            found.append((rule, env, cells))
            if concretely(walk.space.scope, found[-1])[0] != "blocked":
                return found[-1:]
            cells = walk.nudged(rule, env, cells)
    return found[-1:]


def concretely(scope: Scope, sample: Sample) -> tuple[str, Cells]:
    """ "blocked", "broken" or "fires", and the state after it."""
    rule, env, cells = sample
    view = ConcreteView(scope, cells)
    try:
        rule.body(view, env)
    except Blocked:
        return "blocked", {}
    except Broken:
        return "broken", {}
    return "fires", view.commit()


def boundedly(system: System, sample: Sample) -> tuple[str, Cells]:
    """The same on bit-vectors: all cells are literals, so Z3's simplifier must decide."""
    rule, env, cells = sample
    layout = Layout(system, make_scope(system, SCOPE))
    literals = {
        (f.name, row): layout.backend.literal(f.range, _typed(f.range, cells, f.name, row))
        for f in layout.families
        for row in layout.rows[f.name]
    }
    view = BoundedView(layout, literals)
    values = {
        p.name: view.value(p.sort, layout.backend.literal(p.sort, env[p.name])) for p in rule.params
    }
    rule.body(view, values)
    needs = {at for _, _, at in view.needs}
    for at, guard in enumerate(view.guards):
        if z3.is_false(z3.simplify(guard)):
            return ("broken" if at in needs else "blocked"), {}
        assert z3.is_true(z3.simplify(guard)), guard
    after = {**literals, **view.updates}
    found = {(name, *row): _number(z3.simplify(v)) for (name, row), v in after.items()}
    return "fires", {k: v for k, v in found.items() if v}


def _typed(sort: Sort, cells: Cells, name: str, row: tuple[int, ...]) -> int:
    value = cells.get((name, *row), 0)
    return bool(value) if sort == BOOL else value


def _number(value: Any) -> int:
    return int(z3.is_true(value)) if z3.is_bool(value) else int(value.as_long())


@pytest.mark.parametrize("card", grouped(EVERYTHING))
def test_every_rule_fires_somewhere(card: str) -> None:
    """A rule that no sample lets through would be compared nowhere. (Some whole calls can't: a
    path that fails at a check which passed a moment ago needs somebody in between.)"""
    _, scope, by_rule = samples(card)
    never = [
        name
        for name, found in by_rule.items()
        if found[0][0].mode != "call" and all(concretely(scope, x)[0] == "blocked" for x in found)
    ]
    assert never == []


@pytest.mark.parametrize("card", grouped(EVERYTHING))
def test_bounded_view_equals_concrete(card: str) -> None:
    system, scope, by_rule = samples(card)
    layout = Layout(system, make_scope(system, SCOPE))
    for sample in itertools.chain(*by_rule.values()):
        answer, after = concretely(scope, sample)
        # in a broken state a local may hold an object of a kind that has no such slot
        real = {key: v for key, v in after.items() if key[1:] in layout.rows[str(key[0])]}
        assert boundedly(system, sample) == (answer, real), sample[0].name


class Lowest(UnboundedView):
    """The unbounded view takes any entity that will do (nothing proved rests on which); the other
    views take the lowest, which in a broken state may be no good for what comes next. So here it
    must be the lowest too."""

    def __init__(self, theory: Theory, entities: dict[Sort, list[Any]]) -> None:
        super().__init__(theory)
        self.entities = entities

    def lowest(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        """Whoever is lower will not do."""
        return self._no_lower(super().lowest(sort, pred, kind), sort, pred, kind)

    def find(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        """Whoever is lower will not do."""
        return self._no_lower(super().find(sort, pred, kind), sort, pred, kind)

    def _no_lower(
        self, chosen: Value, sort: Sort, pred: Callable[[Value], Value], kind: str
    ) -> Value:
        for lower, higher in itertools.combinations(self.entities[sort][1:], 2):
            x = self.term(sort, lower)
            fits = And(self.kind(x, *kind.split("|")), pred(x)) if kind else pred(x)
            self.when(Implies(eq(chosen, self.term(sort, higher)), Not(fits)))
        return chosen


class Embedding:
    """One concrete state, said in the theory of the unbounded view: an entity is a constant, all
    constants differ, every cell and every ghost count has its value."""

    def __init__(self, system: System, scope: Scope, theory: Theory | None = None) -> None:
        self.system, self.scope, self.theory = system, scope, theory or Theory(system)
        self.layout = Layout(system, scope)
        self.entities = {
            sort: [self.theory.backend.none[sort], *self._constants(sort)] for sort in ENTITIES
        }

    def _constants(self, sort: Sort) -> list[Any]:
        return [self.theory.constant(sort, f"{sort.name} {i}") for i in self.scope.domain(sort)]

    def value(self, sort: Sort, n: int) -> Any:
        """A number of the concrete state as a term."""
        return self.entities[sort][n] if sort in self.entities else (
            z3.BoolVal(bool(n)) if sort == BOOL else z3.IntVal(n)
        )  # fmt: skip

    def facts(self, cells: Cells, of: Collection[str] | None = None) -> list[Any]:
        """The state, or what it says of these families."""
        named = {f.name for f in self.system.families} if of is None else set(of)
        found = [z3.Distinct(*constants) for constants in self.entities.values()]
        for i, kind in enumerate(self.scope.kinds, 1):
            number = self.system.kinds.index(kind)
            found.append(self.theory.kind(self.entities[OBJ][i]) == number)
        view = ConcreteView(self.scope, cells)
        for family in (f for f in self.system.families if f.name in named):
            for row in itertools.product(*[self.scope.domain(x) for x in family.args]):
                args = [self.value(x, n) for x, n in zip(family.args, row, strict=True)]
                term = self.theory.functions[family.name](*args)
                found.append(term == self.value(family.range, int(view.get(family, *row))))
        for family in (f for f in self.system.tallied if f.name in named):
            for i in self.scope.domain(OBJ):
                ghost = self.theory.cards[family.name](self.entities[OBJ][i])
                found.append(ghost == view.holders([family], i))
        return found

    def run(self, rule: Rule, env: dict[str, int]) -> UnboundedView:
        """The rule on the unbounded view, with these entities."""
        view = Lowest(self.theory, self.entities)
        args = {}
        for p in rule.params:
            if p.sort in self.entities:
                args[p.name] = view.entity(p.sort, self.value(p.sort, env[p.name]))
            else:
                args[p.name] = view.term(p.sort, self.value(p.sort, env[p.name]))
        rule.body(view, args)
        return view

    def closed(self, view: UnboundedView) -> list[Any]:
        """Nothing exists beyond the scope: chosen entities are of it, "all" means all of it, and
        who is found is one that was sought."""
        found = []
        for sort, terms in view.reads.items():
            for x in terms.values():
                found.append(z3.Or(*[x == e for e in self.entities[sort]]))
        for q in view.quantified:
            rows = [z3.substitute(q.body, (q.hole, e)) for e in self.entities[q.sort][1:]]
            found.append(q.name == z3.And(*rows))
            one = z3.And(
                q.skolem != self.entities[q.sort][0],
                z3.Not(z3.substitute(q.body, (q.hole, q.skolem))),
            )
            found.append(z3.Or(q.name, one))
        return found

    def after(self, view: UnboundedView, cells: Cells) -> list[Any]:
        """Every cell that the rule wrote, and every ghost count, as in the concrete state."""
        concrete = ConcreteView(self.scope, cells)
        found = []
        for family in self.system.families:
            if family.name not in view.updates:
                continue
            for row in self.layout.rows[family.name]:
                args = [
                    view.term(x, self.value(x, n)) for x, n in zip(family.args, row, strict=True)
                ]
                value = self.value(family.range, int(concrete.get(family, *row)))
                found.append(view.get(family, *args).payload == value)
            for i in self.scope.domain(OBJ) if family.tallied else ():
                ghost = view.card(family, self.entities[OBJ][i])
                found.append(ghost == concrete.holders([family], i))
        return found


@pytest.mark.parametrize("card", grouped(EVERYTHING))
def test_unbounded_view_equals_concrete(card: str) -> None:
    system, scope, by_rule = samples(card)
    embedding = Embedding(system, scope)
    for rule, env, cells in itertools.chain(*by_rule.values()):
        answer, after = concretely(scope, (rule, env, cells))
        view = embedding.run(rule, env)
        solver = z3.Solver()
        read = {*view.read_families, *view.updates, *view.deltas}
        solver.add(*embedding.facts(cells, read), *embedding.closed(view))
        breaks = z3.Or(*[z3.And(*view.guards[:at], z3.Not(need)) for need, _, at in view.needs])
        assert (solver.check(*view.guards) == z3.sat) == (answer == "fires"), rule.name
        assert (solver.check(breaks) == z3.sat) == (answer == "broken"), rule.name
        if answer == "fires":
            solver.add(*view.guards, *embedding.after(view, after))
            assert solver.check() == z3.sat, rule.name


@pytest.mark.parametrize("card", grouped(["cgroup_legacy", "perf_event"]))
def test_what_a_proof_assumes_is_true_of_real_steps(card: str) -> None:
    """All that an obligation takes for granted (instances of the kept lemmas, the facts about
    ghost counts) is said of a step that was really taken, with the state that it led to. If a
    hypothesis were wrong this would be inconsistent, and the proofs worth nothing."""
    system = System([load_card(card)])
    induction = Induction(system)
    induction.run()
    walk = Walk(system, system.rules(), SCOPE, seed=5)
    embedding = Embedding(system, walk.space.scope, induction.theory)
    taken: dict[str, Sample] = {r.name: (r, e, c) for r, e, c in walk.states(12, 60)}
    assert len(taken) > len(system.rules()) / 2
    for rule, env, cells in taken.values():
        answer, after = concretely(walk.space.scope, (rule, env, cells))
        assert answer == "fires", rule.name
        view = embedding.run(rule, env)
        solver = z3.Solver()
        solver.add(*embedding.facts(cells), *embedding.closed(view))
        known = induction.assume(solver, view, rule, set())
        solver.add(*induction.assumed(known), *view.facts(), *view.guards)
        solver.add(*embedding.after(view, after))
        assert solver.check() == z3.sat, rule.name


def test_a_literal_beyond_its_sort_is_refused() -> None:
    """A bit-vector literal wraps: the views must refuse it instead."""
    system = System([load_card("cgroup_legacy")])
    layout = Layout(system, make_scope(system, SCOPE))
    with pytest.raises(TypeError, match="is not a object of this scope"):
        layout.backend.literal(OBJ, 99)
    with pytest.raises(TypeError, match="no such literal"):
        Theory(system).backend.literal(OBJ, 1)
    assert s.LIFE_OF in system.families
