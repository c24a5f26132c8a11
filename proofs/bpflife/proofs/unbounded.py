"""The unbounded view: any number of processes, files, programs, maps, hooks and CPUs.

One uninterpreted sort per kind of entity, one function per family. A rule runs once and leaves
its updates; the value of a cell *after* it is a term over the functions *before* it (an If-chain:
weakest precondition), so there are no primed functions and no frame axioms.

**Ghost counts.** `holders(o)`, the number of slots that point at an object, can't be computed over
an unbounded state. Instead each family F whose slots are counted has a number `#F(o)`, changed by
exactly what a point update of F changes: -1 for the object that the slot pointed at, +1 for the new
one. `set` records that by itself, no rule writes it. What may be used of #F are facts of every
finite set: `#F(o) >= 0`, and a member makes it at least 1. (End-state proofs also use: at least 1
has a member, a witness.) That these facts and updates are right is what a proof here rests on; the
tests count for real at small scopes.

**Ground obligations.** Hypotheses are instantiated at the entities that rule and goal *read*; the
view notes them. Every obligation is quantifier-free (uninterpreted functions and linear integers),
so a failing one answers with a model in milliseconds and another solver can recheck it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from bpflife.model.state import PROC_OF, Family, View
from bpflife.model.system import System
from bpflife.model.values import (
    BOOL,
    ENTITIES,
    NAT,
    OBJ,
    PROC,
    TASK,
    And,
    MisuseError,
    Sort,
    Term,
    Value,
    lift,
)


class Z3Backend:
    """`Term` over Z3 with integers for counts and enumerations."""

    def __init__(self) -> None:
        self.sorts = {sort: z3.DeclareSort(sort.name) for sort in ENTITIES}
        self.none = {sort: z3.Const(f"no_{sort.name}", z) for sort, z in self.sorts.items()}

    def z3_sort(self, sort: Sort) -> z3.SortRef:
        """The Z3 sort of values of a sort."""
        if sort in self.sorts:
            return self.sorts[sort]
        return z3.BoolSort() if sort == BOOL else z3.IntSort()

    def literal(self, sort: Sort, value: int) -> Any:
        if sort in self.sorts:
            if value != 0:
                raise MisuseError(f"{sort.name} {value}: the unbounded view has no such literal")
            return self.none[sort]
        if sort == BOOL:
            return z3.BoolVal(bool(value))
        if value < 0 or (sort.names and value >= len(sort.names)):
            raise MisuseError(f"{value} is not a value of {sort.name}")
        return z3.IntVal(int(value))

    def equal(self, a: Any, b: Any) -> Any:
        if a.get_id() == b.get_id():
            return z3.BoolVal(True)
        return _bool(z3.Z3_mk_eq(a.ctx.ref(), a.as_ast(), b.as_ast()), a.ctx)

    def conj(self, xs: Sequence[Any]) -> Any:
        return _joined(z3.Z3_mk_and, xs) if xs else z3.BoolVal(True)

    def disj(self, xs: Sequence[Any]) -> Any:
        return _joined(z3.Z3_mk_or, xs) if xs else z3.BoolVal(False)

    def negate(self, a: Any) -> Any:
        return _bool(z3.Z3_mk_not(a.ctx.ref(), a.as_ast()), a.ctx)

    def choose(self, c: Any, a: Any, b: Any) -> Any:
        return a if a.eq(b) else z3.If(c, a, b)

    def plus(self, a: Any, n: int) -> Any:
        return a + n

    def at_least(self, a: Any, n: int) -> Any:
        return a >= n


# Z3's own interface casts and checks every argument of these, which takes as long as all of a
# proof's questions; here they are terms of the right sort already (Z3 itself refuses others).


def _bool(ast: Any, context: Any) -> z3.BoolRef:
    return z3.BoolRef(ast, context)


def _joined(make: Callable[..., Any], xs: Sequence[Any]) -> z3.BoolRef:
    context = xs[0].ctx
    return _bool(
        make(context.ref(), len(xs), (z3.Ast * len(xs))(*[x.as_ast() for x in xs])), context
    )


@dataclass
class Quantified:
    """`name` is true exactly when `body` holds for every entity: instances of both directions
    are added as needed (`skolem` is a counterexample if it is false)."""

    name: Any
    sort: Sort
    hole: Any
    body: Any
    skolem: Any


@dataclass
class Theory:
    """The symbols of one system: shared by all obligations about it."""

    system: System
    backend: Z3Backend = field(default_factory=Z3Backend)

    def __post_init__(self) -> None:
        z = self.backend.z3_sort
        self.functions = {
            f.name: z3.Function(f.name, *[z(a) for a in f.args], z(f.range))
            for f in self.system.families
        }
        self.cards = {
            f.name: z3.Function(f"#{f.name}", z(OBJ), z3.IntSort()) for f in self.system.tallied
        }
        self.kind = z3.Function("kind", z(OBJ), z3.IntSort())
        self.names = itertools.count()

    def fresh(self, sort: Sort, label: str) -> Any:
        """A new constant of a sort."""
        return z3.Const(f"{label}!{next(self.names)}", self.backend.z3_sort(sort))

    def constant(self, sort: Sort, label: str) -> Any:
        """A named constant of a sort."""
        return z3.Const(label, self.backend.z3_sort(sort))


Update = tuple[Any, ...]
Entities = dict[Sort, dict[int, Any]]  # terms by sort and Z3's id


class UnboundedView(View):
    """A rule, an invariant or a property runs on this. Read off afterwards: `guards`, `needs`,
    `reads` (entities by sort), `applied` (those of them that own a cell that was read, or whose
    kind was asked for), `slots` (cells of counted families), `quantified`."""

    def __init__(self, theory: Theory) -> None:
        self.theory = theory
        self.kind_names = theory.system.kinds
        self.guards: list[Any] = []
        self.defined: set[int] = set()  # guards that only say what was found: by their place
        self.needs: list[tuple[Any, str, int]] = []  # need, in words, guards before it
        self.updates: dict[str, list[Update]] = {}
        self.deltas: dict[str, list[tuple[Any, Any, int]]] = {}
        self.reads: Entities = {sort: {} for sort in ENTITIES}
        self.applied: Entities = {sort: {} for sort in ENTITIES}
        self.slots: dict[tuple[str, tuple[int, ...]], tuple[Family, tuple[Any, ...]]] = {}
        self.ranged: dict[int, tuple[Any, int]] = {}
        self.tasks: dict[int, tuple[Any, Any]] = {}
        self.quantified: list[Quantified] = []
        self.found: dict[int, tuple[Any, Any]] = {}  # question of `find` -> who was found
        self.present: dict[int, Any] = {}  # terms known not to be none (kept: ids are reused)
        self.read_families: set[str] = set()
        self.known: dict[tuple[str | int, ...], tuple[Any, Any]] = {}  # cells that were read
        self.muted = 0

    # -- entities ------------------------------------------------------------------------------

    def entity(self, sort: Sort, payload: Any, present: bool = True) -> Term:
        """A constant (parameter, Skolem constant) as a value; present: it is not none."""
        self.note(sort, payload)
        if present and sort in self.theory.backend.none:
            self.present[payload.get_id()] = payload
            if not self.muted:
                self.guards.append(payload != self.theory.backend.none[sort])
        return Term(self.theory.backend, sort, payload)

    def note(self, sort: Sort, payload: Any) -> None:
        """Remember an entity that was read: hypotheses are instantiated there."""
        if not self.muted and sort in self.reads:
            self.reads[sort][payload.get_id()] = payload

    def apply(self, sort: Sort, payload: Any) -> None:
        """Remember an entity that a cell belongs to, or whose kind matters."""
        self.note(sort, payload)
        if not self.muted and sort in self.applied:
            self.applied[sort][payload.get_id()] = payload

    def term(self, sort: Sort, payload: Any) -> Term:
        """A payload as a value of a sort."""
        return Term(self.theory.backend, sort, payload)

    # -- cells ---------------------------------------------------------------------------------

    def get(self, family: Family, *args: Value) -> Value:
        payloads = self._lift(family, args)
        self.read_families.add(family.name)
        upto = len(self.updates.get(family.name, []))
        key = (family.name, upto, *(p.get_id() for p in payloads))
        if self.muted or key not in self.known:
            before = self._before(family, payloads)
            if not self.muted:
                self._remember(family, payloads, before)
            value = self._after(family, payloads, before, upto)
            if self.muted:
                return self.term(family.range, value)
            self.known[key] = payloads, value  # the payloads too: an id is theirs while they live
        return self.term(family.range, self.known[key][1])

    def _lift(self, family: Family, args: Sequence[Value]) -> tuple[Any, ...]:
        backend = self.theory.backend
        return tuple(lift(backend, sort, a) for sort, a in zip(family.args, args, strict=True))

    def _absent(self, family: Family, payloads: Sequence[Any]) -> list[Any]:
        none = self.theory.backend.none
        return [
            p == none[sort]
            for sort, p in zip(family.args, payloads, strict=True)
            if sort in none and p.get_id() not in self.present
        ]

    def _before(self, family: Family, payloads: tuple[Any, ...]) -> Any:
        value = self.theory.functions[family.name](*payloads)
        absent = self._absent(family, payloads)
        if not absent:
            return value
        default = self.theory.backend.literal(family.range, 0)
        return z3.If(z3.Or(*absent), default, value)

    def _remember(self, family: Family, payloads: tuple[Any, ...], before: Any) -> None:
        for sort, p in zip(family.args, payloads, strict=True):
            self.apply(sort, p)
        raw = self.theory.functions[family.name](*payloads)
        if family.range in self.reads:
            self.note(family.range, raw)
        if family.tallied:
            self.slots[(family.name, tuple(p.get_id() for p in payloads))] = (family, payloads)
        if family == PROC_OF:  # every task has a process
            self.tasks[raw.get_id()] = (payloads[0], raw)
        if family.range.names:
            self.ranged[raw.get_id()] = (raw, len(family.range.names))
        assert before is not None

    def _after(self, family: Family, payloads: tuple[Any, ...], before: Any, upto: int) -> Any:
        value = before
        for update in self.updates.get(family.name, [])[:upto]:
            if update[0] == "point":
                same = [
                    z3.BoolVal(True) if a.eq(b) else a == b
                    for a, b in zip(update[1], payloads, strict=True)
                ]
                hit = z3.simplify(z3.And(*same, *update[3]))
                value = update[2] if z3.is_true(hit) else (
                    value if z3.is_false(hit) else z3.If(hit, update[2], value)
                )  # fmt: skip
            else:
                holes, old, new = update[1:]
                pairs = [*zip(holes, payloads, strict=True), (old, value)]
                value = z3.substitute(new, *pairs)
        return value

    def set(self, family: Family, args: Sequence[Value], value: Value) -> None:
        payloads = self._lift(family, args)
        new = lift(self.theory.backend, family.range, value)
        if family.tallied:
            old = self.get(family, *args).payload
            there = [z3.Not(a) for a in self._absent(family, payloads)]
            self._count(family, old, -1, there)
            self._count(family, new, +1, there)
            self.slots[(family.name, tuple(p.get_id() for p in payloads))] = (family, payloads)
        there = [z3.Not(a) for a in self._absent(family, payloads)]
        self.updates.setdefault(family.name, []).append(("point", payloads, new, there))

    def _count(self, family: Family, o: Any, change: int, there: Sequence[Any]) -> None:
        """The ghost count follows the point update: generated here, never written by a rule."""
        self.apply(OBJ, o)
        guard = z3.And(*there) if there else None
        self.deltas.setdefault(family.name, []).append((guard, o, change))

    def each(self, family: Family, new: Callable[..., Value]) -> None:
        if family.tallied:
            raise MisuseError(f"{family.name} is counted: update one slot at a time")
        holes = [self.theory.fresh(sort, "hole") for sort in family.args]
        old = self.theory.fresh(family.range, "old")
        with self.muting(*holes):
            args = [self.term(sort, h) for sort, h in zip(family.args, holes, strict=True)]
            value = new(self.term(family.range, old), *args)
        payload = lift(self.theory.backend, family.range, value)
        self.updates.setdefault(family.name, []).append(("each", holes, old, payload))

    def muting(self, *holes: Any) -> Muting:
        """While a body with holes is built, its reads are not entities."""
        return Muting(self, holes)

    # -- kinds, guards, choice -----------------------------------------------------------------

    def kind(self, o: Value, *kinds: str) -> Value:
        if not isinstance(o, Term):
            return False
        self.apply(OBJ, o.payload)
        numbers = [self.kind_names.index(k) for k in kinds if k in self.kind_names]
        number = self.theory.kind(o.payload)
        right = z3.Or(*[number == n for n in numbers])
        if o.payload.get_id() not in self.present:
            right = z3.And(o.payload != self.theory.backend.none[OBJ], right)
        return self.term(BOOL, right)

    def by_kind(self, o: Value, table: Sequence[tuple[str, int]], sort: Sort) -> Value:
        value: Any = z3.IntVal(0)
        number = self.theory.kind(lift(self.theory.backend, OBJ, o))
        for name, literal in table:
            value = z3.If(number == self.kind_names.index(name), z3.IntVal(literal), value)
        return self.term(sort, value)

    def when(self, guard: Value) -> None:
        self.guards.append(lift(self.theory.backend, BOOL, guard))

    def need(self, guard: Value, what: str) -> None:
        payload = lift(self.theory.backend, BOOL, guard)
        self.needs.append((payload, what, len(self.guards)))
        self.guards.append(payload)

    def lowest(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        chosen = self.entity(sort, self.theory.fresh(sort, "any"))
        if kind:
            self.when(self.kind(chosen, *kind.split("|")))
        self.when(pred(chosen))
        return chosen

    def find(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        """The same question has the same answer; what it reads of who is found is not noted."""
        hole = self.theory.constant(sort, f"{sort.name} sought")
        with self.muting(hole):
            x = self.term(sort, hole)
            fits = And(self.kind(x, *kind.split("|")), pred(x)) if kind else pred(x)
        asked = lift(self.theory.backend, BOOL, fits)
        if asked.get_id() not in self.found:
            found, nobody = self.theory.fresh(sort, "found"), self.theory.fresh(BOOL, "nobody")
            self.note(sort, found)
            self.quantified.append(Quantified(nobody, sort, hole, z3.Not(asked), found))
            self.defined.add(len(self.guards))
            self.guards.append(z3.Implies(nobody, found == self.theory.backend.none[sort]))
            self.found[asked.get_id()] = (asked, found)
        return self.term(sort, self.found[asked.get_id()][1])

    def all(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        hole = self.theory.fresh(sort, "hole")
        skolem = self.theory.fresh(sort, "witness")
        with self.muting(hole):
            body = lift(self.theory.backend, BOOL, pred(self.term(sort, hole)))
            if kind:
                fits = lift(
                    self.theory.backend, BOOL, self.kind(self.term(sort, hole), *kind.split("|"))
                )
                body = z3.Implies(fits, body)
        name = self.theory.fresh(BOOL, "all")
        self.note(sort, skolem)
        self.quantified.append(Quantified(name, sort, hole, body, skolem))
        return self.term(BOOL, name)

    # -- counting ------------------------------------------------------------------------------

    def holders(self, families: Sequence[Family], o: Value) -> Value:
        payload = lift(self.theory.backend, OBJ, o)
        self.apply(OBJ, payload)
        total = z3.IntVal(0)
        for family in families:
            self.read_families.add(family.name)
            total = total + self.card(family, payload)
        return self.term(NAT, total)

    def card(self, family: Family, o: Any) -> Any:
        """The ghost count of a family, with the changes that this rule has made."""
        value = self.theory.cards[family.name](o)
        for there, target, change in self.deltas.get(family.name, []):
            hit = z3.And(target == o, o != self.theory.backend.none[OBJ])
            hit = hit if there is None else z3.And(hit, there)
            value = value + z3.If(hit, z3.IntVal(change), z3.IntVal(0))
        return value

    def same(self, value: Value, number: Value) -> Value:
        if isinstance(value, Term):
            return value == number
        return number == value

    # -- facts ---------------------------------------------------------------------------------

    def facts(self, at: Entities | None = None) -> list[Any]:
        """What holds of every state: ghost counts of finite sets, ranges, quantified guards.
        `at`: said of these entities only; without it, of all that were read."""
        at = at or self.reads
        none = self.theory.backend.none[OBJ]
        found: list[Any] = []
        objects = list(at[OBJ].values())
        for family in self.theory.system.tallied:
            for o in objects:
                found.append(self.theory.cards[family.name](o) >= 0)
                if family.name in self.deltas:
                    found.append(z3.Implies(o != none, self.card(family, o) >= 0))
        for family, payloads in self.slots.values():
            old = self._before(family, payloads)
            found.append(z3.Implies(old != none, self.theory.cards[family.name](old) >= 1))
            new = self._after(family, payloads, old, len(self.updates.get(family.name, [])))
            if not new.eq(old) or family.name in self.deltas:
                found.append(z3.Implies(new != none, self.card(family, new) >= 1))
        found += [z3.And(raw >= 0, raw < size) for raw, size in self.ranged.values()]
        backend = self.theory.backend
        for task, process in self.tasks.values():
            there = process != backend.none[PROC]
            found.append(z3.Implies(task != backend.none[TASK], there))
        for q in self.quantified:
            absent = self.theory.backend.none[q.sort]
            for x in self.reads[q.sort].values():
                instance = z3.substitute(q.body, (q.hole, x))
                found.append(z3.Implies(z3.And(q.name, x != absent), instance))
            refuted = z3.Not(z3.substitute(q.body, (q.hole, q.skolem)))
            found.append(z3.Or(q.name, z3.And(refuted, q.skolem != absent)))
        return found


@dataclass
class Muting:
    """Context manager: reads inside are not noted; holes count as present."""

    view: UnboundedView
    holes: tuple[Any, ...]

    def __enter__(self) -> None:
        self.view.muted += 1
        self.view.present.update({h.get_id(): h for h in self.holes})

    def __exit__(self, *_: object) -> None:
        self.view.muted -= 1
