"""The bounded symbolic view: a finite scope, one bit-vector (or Boolean) per cell.

A rule runs once, with its parameters as bit-vectors, and yields guards and new values for the
cells that it touches. `Transition` puts all rules together: one Boolean per rule, at most one
fires per step, and a cell changes only if a rule that touches it fired. The formula is built once
and instantiated for each frame by substitution.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from bpflife.model.concrete import Scope
from bpflife.model.rules import Rule
from bpflife.model.state import Family, View
from bpflife.model.steps import Param
from bpflife.model.system import System
from bpflife.model.values import (
    BOOL,
    ENTITIES,
    NAT,
    OBJ,
    MisuseError,
    Sort,
    Term,
    Value,
    lift,
)

COUNT_BITS = 4
MAX_COUNT = 2**COUNT_BITS - 3  # of a state that is searched on from: two more still fit
Row = tuple[int, ...]
Cell = tuple[str, Row]


def bits_for(n: int) -> int:
    """Bits that hold the numbers 0..n."""
    return max(1, n.bit_length())


class BitBackend:
    """`Term` over Z3 bit-vectors whose widths come from a scope."""

    def __init__(self, system: System, scope: Scope) -> None:
        self.limits = {sort: len(scope.domain(sort)) for sort in ENTITIES}
        self.limits[NAT] = 2**COUNT_BITS - 1
        self.limits |= {sort: size - 1 for sort, size in system.sizes.items()}

    def limit(self, sort: Sort) -> int:
        """The highest value of a sort."""
        return len(sort.names) - 1 if sort.names else self.limits[sort]

    def z3_sort(self, sort: Sort) -> Any:
        """The Z3 sort of values of a sort."""
        return z3.BoolSort() if sort == BOOL else z3.BitVecSort(bits_for(self.limit(sort)))

    def literal(self, sort: Sort, value: int) -> Any:
        if sort == BOOL:
            return z3.BoolVal(bool(value))
        if not 0 <= value <= self.limit(sort):
            raise MisuseError(f"{value} is not a {sort.name} of this scope")
        return z3.BitVecVal(int(value), bits_for(self.limit(sort)))

    def equal(self, a: Any, b: Any) -> Any:
        if a.eq(b):
            return z3.BoolVal(True)
        if z3.is_bv_value(a) and z3.is_bv_value(b):
            return z3.BoolVal(False)
        return a == b

    def conj(self, xs: Sequence[Any]) -> Any:
        kept = [x for x in xs if not z3.is_true(x)]
        if any(z3.is_false(x) for x in kept):
            return z3.BoolVal(False)
        return z3.And(*kept) if len(kept) > 1 else kept[0] if kept else z3.BoolVal(True)

    def disj(self, xs: Sequence[Any]) -> Any:
        kept = [x for x in xs if not z3.is_false(x)]
        if any(z3.is_true(x) for x in kept):
            return z3.BoolVal(True)
        return z3.Or(*kept) if len(kept) > 1 else kept[0] if kept else z3.BoolVal(False)

    def negate(self, a: Any) -> Any:
        if z3.is_true(a) or z3.is_false(a):
            return z3.BoolVal(z3.is_false(a))
        return z3.Not(a)

    def choose(self, c: Any, a: Any, b: Any) -> Any:
        if z3.is_true(c) or a.eq(b):
            return a
        return b if z3.is_false(c) else z3.If(c, a, b)

    def plus(self, a: Any, n: int) -> Any:
        return a + n if n >= 0 else a - (-n)

    def at_least(self, a: Any, n: int) -> Any:
        return z3.UGE(a, n)


class Layout:
    """The cells of a scope and their variables."""

    def __init__(self, system: System, scope: Scope) -> None:
        self.system, self.scope = system, scope
        self.backend = BitBackend(system, scope)
        self.rows: dict[str, list[Row]] = {}
        for family in system.families:
            domains = [
                scope.domain(sort, "|".join(family.owners) if sort == OBJ and i == 0 else "")
                for i, sort in enumerate(family.args)
            ]
            self.rows[family.name] = list(itertools.product(*domains))
        self.families = [f for f in system.families if not f.rigid]

    def cells(self, prefix: str) -> dict[Cell, Any]:
        """Fresh variables for every cell."""
        return {
            (f.name, row): z3.Const(f"{prefix}{f.name}{list(row)}", self.backend.z3_sort(f.range))
            for f in self.families
            for row in self.rows[f.name]
        }

    def initial(self) -> dict[Cell, Any]:
        """Every cell at its default: nothing was ever created."""
        return {
            (f.name, row): self.backend.literal(f.range, 0)
            for f in self.families
            for row in self.rows[f.name]
        }


class BoundedView(View):
    """A rule, invariant or property runs on this; `updates`, `guards`, `needs` are read off."""

    def __init__(self, layout: Layout, cells: dict[Cell, Any]) -> None:
        self.layout, self.cells = layout, cells
        self.backend = layout.backend
        self.updates: dict[Cell, Any] = {}
        self.guards: list[Any] = []
        self.needs: list[tuple[Any, str, int]] = []

    def value(self, sort: Sort, payload: Any) -> Term:
        """A payload as a value of a sort."""
        return Term(self.backend, sort, payload)

    def _now(self, family: Family, row: Row) -> Any:
        if family.rigid:
            return self.backend.literal(family.range, self.layout.scope.fixed(family, row[0]))
        cell = (family.name, row)
        return self.updates.get(cell, self.cells[cell])

    def _is_row(self, family: Family, payloads: Sequence[Any], row: Row) -> Any:
        same = [
            self.backend.equal(p, self.backend.literal(sort, i))
            for sort, p, i in zip(family.args, payloads, row, strict=True)
        ]
        return self.backend.conj(same)

    def get(self, family: Family, *args: Value) -> Value:
        payloads = self._lift(family, args)
        value = self.backend.literal(family.range, 0)
        for row in self.layout.rows[family.name]:
            hit = self._is_row(family, payloads, row)
            value = self.backend.choose(hit, self._now(family, row), value)
        return self.value(family.range, value)

    def _lift(self, family: Family, args: Sequence[Value]) -> list[Any]:
        return [lift(self.backend, sort, a) for sort, a in zip(family.args, args, strict=True)]

    def set(self, family: Family, args: Sequence[Value], value: Value) -> None:
        payloads = self._lift(family, args)
        new = lift(self.backend, family.range, value)
        for row in self.layout.rows[family.name]:
            hit = self._is_row(family, payloads, row)
            if not z3.is_false(hit):
                old = self._now(family, row)
                self.updates[(family.name, row)] = self.backend.choose(hit, new, old)

    def each(self, family: Family, new: Callable[..., Value]) -> None:
        values = {}
        for row in self.layout.rows[family.name]:
            args = [
                self.value(sort, self.backend.literal(sort, i))
                for sort, i in zip(family.args, row, strict=True)
            ]
            old = self.value(family.range, self._now(family, row))
            values[(family.name, row)] = lift(self.backend, family.range, new(old, *args))
        self.updates.update(values)

    def kind(self, o: Value, *kinds: str) -> Value:
        payload = lift(self.backend, OBJ, o)
        wanted = self.layout.scope.domain(OBJ, "|".join(kinds))
        hits = [self.backend.equal(payload, self.backend.literal(OBJ, i)) for i in wanted]
        return self.value(BOOL, self.backend.disj(hits))

    def by_kind(self, o: Value, table: Sequence[tuple[str, int]], sort: Sort) -> Value:
        value = self.backend.literal(sort, 0)
        for kind, literal in table:
            hit = self.kind(o, kind).payload
            value = self.backend.choose(hit, self.backend.literal(sort, literal), value)
        return self.value(sort, value)

    def when(self, guard: Value) -> None:
        self.guards.append(lift(self.backend, BOOL, guard))

    def need(self, guard: Value, what: str) -> None:
        payload = lift(self.backend, BOOL, guard)
        self.needs.append((payload, what, len(self.guards)))
        self.guards.append(payload)

    def _domain(self, sort: Sort, kind: str) -> list[Term]:
        return [
            self.value(sort, self.backend.literal(sort, i))
            for i in self.layout.scope.domain(sort, kind)
        ]

    def lowest(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        chosen, fits = self._lowest(sort, pred, kind)
        self.guards.append(self.backend.disj(fits))
        return chosen

    def find(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        return self._lowest(sort, pred, kind)[0]

    def _lowest(
        self, sort: Sort, pred: Callable[[Value], Value], kind: str
    ) -> tuple[Value, list[Any]]:
        """The lowest entity that fits, else none; and of each whether it does."""
        chosen = self.backend.literal(sort, 0)
        fits = []
        for x in reversed(self._domain(sort, kind)):
            fit = lift(self.backend, BOOL, pred(x))
            fits.append(fit)
            chosen = self.backend.choose(fit, x.payload, chosen)
        return self.value(sort, chosen), fits

    def all(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        each = [lift(self.backend, BOOL, pred(x)) for x in self._domain(sort, kind)]
        return self.value(BOOL, self.backend.conj(each))

    def holders(self, families: Sequence[Family], o: Value) -> Value:
        payload = lift(self.backend, OBJ, o)
        one, zero = (z3.BitVecVal(n, COUNT_BITS) for n in (1, 0))
        total: Any = zero
        for family in families:
            for row in self.layout.rows[family.name]:
                hit = self.backend.equal(self._now(family, row), payload)
                if not z3.is_false(hit):
                    total = total + z3.If(hit, one, zero)
        return self.value(NAT, total)

    def same(self, value: Value, number: Value) -> Value:
        return value == number if isinstance(value, Term) else number == value


@dataclass
class Compiled:
    """A rule on the bounded view: its Boolean, the shared parameters that it uses, its guards."""

    rule: Rule
    fires: Any
    breaks: Any | None
    params: dict[str, Any]
    view: BoundedView


@dataclass
class Transition:
    """The transition relation of a rule set over one scope, between `before` and `after`."""

    layout: Layout
    rules: list[Rule]
    before: dict[Cell, Any] = field(init=False)
    after: dict[Cell, Any] = field(init=False)
    params: dict[tuple[Sort, int], Any] = field(default_factory=dict)
    compiled: list[Compiled] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.before, self.after = self.layout.cells("pre "), self.layout.cells("post ")
        self.compiled = [c for r in self.rules if (c := self._compile(r))]
        self.formula = z3.And(*self._constraints())

    def _param(self, param: Param, number: int) -> Any:
        key = (param.sort, number)
        if key not in self.params:
            sort = self.layout.backend.z3_sort(param.sort)
            self.params[key] = z3.Const(f"par {param.sort.name} {number}", sort)
        return self.params[key]

    def _compile(self, rule: Rule) -> Compiled | None:
        """None when the scope has nothing that the rule could be about."""
        view = BoundedView(self.layout, self.before)
        used: dict[Sort, int] = {}
        params: dict[str, Any] = {}
        env: dict[str, Value] = {}
        for p in rule.params:
            used[p.sort] = used.get(p.sort, -1) + 1
            domain = self.layout.scope.domain(p.sort, p.kind)
            if not domain:
                return None
            params[p.name] = self._param(p, used[p.sort])
            env[p.name] = view.value(p.sort, params[p.name])
            backend = self.layout.backend
            fits = [params[p.name] == backend.literal(p.sort, i) for i in domain]
            view.guards.append(z3.Or(*fits))
        rule.body(view, env)
        if any(z3.is_false(z3.simplify(g)) for g in view.guards[: len(rule.params)]):
            return None
        breaks = z3.Bool(f"breaks {rule.name}") if view.needs else None
        return Compiled(rule, z3.Bool(f"fires {rule.name}"), breaks, params, view)

    def _constraints(self) -> Iterable[Any]:
        touched: dict[Cell, list[Any]] = {}
        booleans = []
        for c in self.compiled:
            booleans.append(c.fires)
            effects = [*c.view.guards]
            for cell, value in c.view.updates.items():
                effects.append(self.after[cell] == value)
                touched.setdefault(cell, []).append(c.fires)
            yield z3.Implies(c.fires, z3.And(*effects))
            if c.breaks is not None:
                booleans.append(c.breaks)
                yield z3.Implies(c.breaks, z3.Or(*broken(c.view)))
        for cell, now in self.before.items():
            yield z3.Or(self.after[cell] == now, *touched.get(cell, []))
        yield z3.AtMost(*booleans, 1)

    def variables(self) -> list[Any]:
        """All variables of the formula: cells before, cells after, parameters, rule Booleans."""
        booleans = [b for c in self.compiled for b in (c.fires, c.breaks) if b is not None]
        return [*self.before.values(), *self.after.values(), *self.params.values(), *booleans]


def broken(view: BoundedView) -> list[Any]:
    """For each need: the guards before it hold and it does not."""
    return [z3.And(*view.guards[:at], z3.Not(need)) for need, _, at in view.needs]


def literal_view(layout: Layout, cells: dict[Cell, Any], rule: Rule, row: Row) -> BoundedView:
    """The rule run with literal parameters (to ask whether it is enabled)."""
    view = BoundedView(layout, cells)
    env = {
        p.name: view.value(p.sort, layout.backend.literal(p.sort, i))
        for p, i in zip(rule.params, row, strict=True)
    }
    rule.body(view, env)
    return view
