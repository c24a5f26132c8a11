"""Bounded search: the shortest way into a violation, frame by frame.

Depth d asks: is there a path of d steps to a bad state (or a bad last step)? One incremental
solver, one assumption literal per depth and property, all properties in one run. Lemmas that were
*proved for this very rule set* are asserted at every frame: they cut the states that no run can
reach, and with counts that is most of them.

Symmetry: unused entities are interchangeable, so a new object is the lowest unborn one (that is
in the rules), and process n acts for the first time only after process n - 1 has. Both lose no
shortest trace: rename the entities of any trace in the order of their first use, and it obeys.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import z3

from bpflife.model import state as s
from bpflife.model.properties import Invariant, Property, emptied, internal, places, quiet_owner
from bpflife.model.rules import Rule
from bpflife.model.system import System
from bpflife.model.values import BOOL, OBJ, PROC, RUN, lift

from .bounded import MAX_COUNT, BoundedView, Cell, Layout, Transition, literal_view
from .scopes import Cancelled, Fired, Found, make_scope


@dataclass
class Frame:
    """The variables of one frame of the unrolling."""

    cells: dict[Cell, Any]
    params: dict[Any, Any]
    fires: dict[str, Any]
    breaks: dict[str, Any]


class Search:
    """A bounded search over one scope for several properties of one card at once."""

    def __init__(
        self,
        system: System,
        rules: Sequence[Rule],
        sizes: dict[str, int],
        lemmas: Sequence[Invariant] = (),
        api: str = "",
        symmetry: bool = True,
    ) -> None:
        self.system, self.api, self.symmetry = system, api, symmetry
        self.rules = [r for r in rules if not r.noop]
        self.layout = Layout(system, make_scope(system, sizes))
        self.transition = Transition(self.layout, self.rules)
        self.lemmas = lemmas
        self.solver = z3.SolverFor("QF_FD")
        self.cells = [self.layout.initial()]
        self.frames: list[Frame] = []
        self.lemma_formula = self._conjunction(lemmas)

    # -- the unrolling -------------------------------------------------------------------------

    def _conjunction(self, invariants: Sequence[Invariant]) -> Any:
        """All instances of the invariants over the transition's cells before."""
        view = BoundedView(self.layout, self.transition.before)
        parts = [
            lift(self.layout.backend, BOOL, body)
            for body in instances(self.layout, view, invariants)
        ]
        for (name, _), cell in self.transition.before.items():
            if name in (s.REFCNT.name, s.USERCNT.name):  # a longer path would wrap, not count
                parts.append(z3.ULE(cell, MAX_COUNT))
        if self.symmetry:
            for p in list(self.layout.scope.domain(PROC))[1:]:
                acted, earlier = (
                    self.transition.before[(s.RUN_OF.name, (q,))] != int(RUN.unborn)
                    for q in (p, p - 1)
                )
                parts.append(z3.Implies(acted, earlier))
        return z3.And(*parts)

    def extend(self) -> None:
        """One frame more."""
        number = len(self.frames)
        after = self.layout.cells(f"{number + 1} ")
        params = {k: z3.Const(f"{number} {v}", v.sort()) for k, v in self.transition.params.items()}
        fires = {c.rule.name: z3.Bool(f"{number} {c.fires}") for c in self.transition.compiled}
        breaks = {
            c.rule.name: z3.Bool(f"{number} {c.breaks}")
            for c in self.transition.compiled
            if c.breaks is not None
        }
        now = self.cells[-1]
        new = [*now.values(), *after.values(), *params.values()]
        for c in self.transition.compiled:
            new.append(fires[c.rule.name])
            if c.breaks is not None:
                new.append(breaks[c.rule.name])
        pairs = list(zip(self.transition.variables(), new, strict=True))
        self.solver.add(z3.substitute(self.transition.formula, *pairs))
        self.solver.add(self.at(after, self.lemma_formula))
        self.cells.append(after)
        self.frames.append(Frame(now, params, fires, breaks))

    def at(self, cells: dict[Cell, Any], formula: Any) -> Any:
        """A formula over the cells before, about another frame's cells."""
        pairs = [(self.transition.before[c], cells[c]) for c in cells]
        return z3.substitute(formula, *pairs)

    # -- badness -------------------------------------------------------------------------------

    def bad(self, prop: Property) -> Any:
        """The formula "bad here" for the last frame (state) or the last step."""
        if prop.form in ("state", "end"):
            return self.at(self.cells[-1], self._bad_state(prop))
        if not self.frames:
            return z3.BoolVal(False)
        last = self.frames[-1]
        if prop.form == "needs":
            return z3.Or(*last.breaks.values())
        return self._bad_step(prop, last)

    def _bad_state(self, prop: Property) -> Any:
        view = BoundedView(self.layout, self.transition.before)
        backend = self.layout.backend
        wrong = [
            z3.Not(lift(backend, BOOL, b))
            for b in instances(self.layout, view, prop.invariants(self.system))
        ]
        if prop.form == "state":
            return z3.Or(*wrong)
        return z3.And(z3.Or(*wrong), *self._quiet(view))

    def _quiet(self, view: BoundedView) -> list[Any]:
        """The premises of an end state: owners gone, no internal rule enabled."""
        backend = self.layout.backend
        found = []
        for _, sort, premise in quiet_owner(view):
            found.append(lift(backend, BOOL, view.all(sort, premise)))
        for rule in internal(list(self.rules)):
            domains = [self.layout.scope.domain(p.sort, p.kind) for p in rule.params]
            for row in itertools.product(*domains):
                ran = literal_view(self.layout, self.transition.before, rule, row)
                needs = {at for _, _, at in ran.needs}  # a step that breaks can be taken too
                guards = [g for at, g in enumerate(ran.guards) if at not in needs]
                found.append(z3.Not(z3.And(*guards)))
        return found

    def _bad_step(self, prop: Property, last: Frame) -> Any:
        steps = self.system.steps_of(self.api, prop.operation)
        fired = [b for c in self.transition.compiled if c.rule.op in steps
                 for b in [last.fires[c.rule.name]]]  # fmt: skip
        before = BoundedView(self.layout, last.cells)
        after = BoundedView(self.layout, self.cells[-1])
        backend = self.layout.backend
        gaps = []
        for i in self.layout.scope.domain(OBJ, "|".join(places(self.system))):
            place = before.value(OBJ, backend.literal(OBJ, i))
            gaps.append(lift(backend, BOOL, emptied(self.system, before, after, place)))
        return z3.And(z3.Or(*fired), z3.Or(*gaps))

    # -- searching -----------------------------------------------------------------------------

    def run(
        self,
        properties: Sequence[Property],
        depth: int,
        say: Callable[[str], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
        seconds: float = 600,
    ) -> tuple[dict[str, Found], int]:
        """Shortest violations by property, and the depth that was searched completely."""
        found: dict[str, Found] = {}
        stop = time.monotonic() + seconds
        for d in range(depth + 1):
            if d:
                self.extend()
            for prop in properties:
                if prop.name in found:
                    continue
                say(f"search: {prop.name}, depth {d}")
                answer = self._ask(self.bad(prop), cancelled, stop)
                if answer is None:
                    return found, d - 1
                if answer:
                    found[prop.name] = self._decode(self.solver.model())
            if len(found) == len(properties):
                return found, d
        return found, depth

    def _ask(self, bad: Any, cancelled: Callable[[], bool], stop: float) -> bool | None:
        """True: sat; False: unsat; None: out of time. Asks in slices, so that it can be stopped."""
        if z3.is_false(bad):
            return False
        literal = z3.FreshConst(z3.BoolSort(), "bad")
        self.solver.add(z3.Implies(literal, bad))
        slice_ms = 2000
        while time.monotonic() < stop:
            if cancelled():
                raise Cancelled
            self.solver.set("timeout", slice_ms)
            answer = self.solver.check(literal)
            if answer != z3.unknown:
                return bool(answer == z3.sat)
            slice_ms *= 2
        return None

    def _decode(self, model: Any) -> Found:
        """Which rule fired in each frame, with which parameters."""
        path: list[Fired] = []
        is_broken = False
        for frame in self.frames:
            for c in self.transition.compiled:
                name = c.rule.name
                breaks = name in frame.breaks and z3.is_true(model.eval(frame.breaks[name]))
                if not breaks and not z3.is_true(model.eval(frame.fires[name])):
                    continue
                path.append((c.rule, self._params(model, frame, c.params)))
                is_broken = is_broken or breaks
        return Found(path, is_broken)

    def _params(self, model: Any, frame: Frame, params: dict[str, Any]) -> dict[str, int]:
        by_variable = {v.get_id(): k for k, v in self.transition.params.items()}
        env = {}
        for name, variable in params.items():
            value = model.eval(frame.params[by_variable[variable.get_id()]], model_completion=True)
            env[name] = z3.is_true(value) if z3.is_bool(value) else value.as_long()
        return env


def instances(layout: Layout, view: BoundedView, invariants: Sequence[Invariant]) -> list[Any]:
    """Every invariant for every row of entities of its sorts."""
    found = []
    for invariant in invariants:
        kinds = "|".join(invariant.kinds)
        domains = [layout.scope.domain(sort, kinds) for sort in invariant.sorts]
        for row in itertools.product(*domains):
            args = [
                view.value(sort, layout.backend.literal(sort, i))
                for sort, i in zip(invariant.sorts, row, strict=True)
            ]
            found.append(invariant.body(view, *args))
    return found
