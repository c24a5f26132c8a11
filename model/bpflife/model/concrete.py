"""The concrete view: the state as Python values. The simulator and the explicit search use it.

A state is a plain dict of the cells that differ from their default, keyed by (family, *args).
Entities are ints from 1; `Scope` says how many there are of each sort, and the kind of each
object. A scope may grow: then a call that needs a new object or descriptor always finds one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .state import FD_SLOT, INST, PROC_OF, VMA, Broken, Family, View
from .values import BOOL, FD, IDX, NONE, OBJ, TASK, Sort, Value

Cells = dict[tuple[object, ...], int]
LIMIT = 64  # a growing scope stops here: more on one screen helps nobody


class Blocked(Exception):
    """The rule can't fire in this state."""


@dataclass
class Scope:
    """How many entities of each sort there are; `kinds[i]` is the kind of object i + 1;
    `table[i]` the process of task i + 1, `inside` the instance of bpffs that a path belongs to."""

    sizes: dict[Sort, int]
    kinds: list[str] = field(default_factory=list)
    table: list[int] = field(default_factory=list)
    inside: dict[int, int] = field(default_factory=dict)
    grows: bool = False

    def domain(self, sort: Sort, kind: str = "") -> Sequence[int]:
        """The entities of a sort; of one kind (or several, `a|b`) for objects."""
        if sort == OBJ:
            wanted = kind.split("|") if kind else None
            return [i for i, k in enumerate(self.kinds, 1) if wanted is None or k in wanted]
        if sort == TASK:
            return range(1, len(self.table) + 1)
        if sort == BOOL:
            return (False, True)
        if sort.names:
            return range(len(sort.names))
        return range(1, self.sizes.get(sort, 0) + 1)

    def copy(self) -> Scope:
        """An independent one."""
        sizes, inside = dict(self.sizes), dict(self.inside)
        return Scope(sizes, list(self.kinds), list(self.table), inside, self.grows)

    def fixed(self, family: Family, x: int) -> int:
        """The value of a rigid family."""
        if not x:
            return 0
        return self.table[x - 1] if family == PROC_OF else self.inside.get(x, 0)

    def grow(self, sort: Sort, kind: str) -> int | None:
        """One entity more, if this scope grows and is not at its limit."""
        if not self.grows:
            return None
        if sort == OBJ and len(self.kinds) < LIMIT * 4:
            self.kinds.append(kind)
            return len(self.kinds)
        if sort in (FD, IDX) and self.sizes.get(sort, 0) < LIMIT:
            self.sizes[sort] = self.sizes.get(sort, 0) + 1
            return self.sizes[sort]
        return None

    def full(self) -> str:
        """What a growing scope can have no more of, in words; "" while there is room."""
        rows = (
            (len(self.kinds), LIMIT * 4, "objects"),
            (self.sizes.get(FD, 0), LIMIT, "descriptors of one process"),
            (self.sizes.get(IDX, 0), LIMIT, "mappings of one process, or maps of one program"),
        )
        return next((f"{most} {what}" for n, most, what in rows if self.grows and n >= most), "")


class ConcreteView(View):
    """A rule runs on this: reads of `cells`, writes kept apart until `commit`.

    Raises Blocked when a guard is false, Broken when a need is.
    """

    def __init__(self, scope: Scope, cells: Cells) -> None:
        self.scope, self.cells = scope, cells
        self.updates: Cells = {}
        self.seen: dict[str, int] = {}  # last object put into each local
        self.given: list[tuple[str, int, int]] = []  # family, process, number: slots that filled

    def commit(self) -> Cells:
        """The state after the rule."""
        new = {**self.cells, **self.updates}
        return {key: v for key, v in new.items() if v}

    def get(self, family: Family, *args: Value) -> Value:
        if family in (PROC_OF, INST):
            return self.scope.fixed(family, args[0])
        key = (family.name, *args)
        value = self.updates.get(key)
        if value is None:
            value = self.cells.get(key, 0)
        return bool(value) if family.range == BOOL else value

    def set(self, family: Family, args: Sequence[Value], value: Value) -> None:
        if all(args):
            self.updates[(family.name, *args)] = int(value)
            if value and family.slot:
                self.seen[family.name] = int(value)
                if family in (FD_SLOT, VMA):
                    self.given.append((family.name, args[0], args[1]))

    def each(self, family: Family, new: Callable[..., Value]) -> None:
        rows: list[tuple[int, ...]] = [()]
        for sort in family.args:
            rows = [(*row, x) for row in rows for x in self.scope.domain(sort)]
        values = {row: new(self.get(family, *row), *row) for row in rows}
        for row, value in values.items():
            if int(value) != int(self.get(family, *row)):
                self.set(family, row, value)

    def kind(self, o: Value, *kinds: str) -> Value:
        return o != NONE and self.scope.kinds[o - 1] in kinds

    def by_kind(self, o: Value, table: Sequence[tuple[str, int]], sort: Sort) -> Value:
        return dict(table).get(self.scope.kinds[o - 1], 0) if o else 0

    def when(self, guard: Value) -> None:
        if not guard:
            raise Blocked

    def need(self, guard: Value, what: str) -> None:
        if not guard:
            raise Broken(what)

    def lowest(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        for x in self.scope.domain(sort, kind):
            if pred(x):
                return x
        new = self.scope.grow(sort, kind)
        if new is None:
            raise Blocked
        return new

    def find(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        return next((x for x in self.scope.domain(sort, kind) if pred(x)), NONE)

    def all(self, sort: Sort, pred: Callable[[Value], Value], kind: str = "") -> Value:
        return all(pred(x) for x in self.scope.domain(sort, kind))

    def holders(self, families: Sequence[Family], o: Value) -> Value:
        names = {f.name for f in families}
        return sum(
            1
            for key, value in {**self.cells, **self.updates}.items()
            if value == o and key[0] in names
        )

    def same(self, value: Value, number: Value) -> Value:
        return value == number


def fire(scope: Scope, cells: Cells, body: Callable[..., None], env: Mapping[str, int]) -> Cells:
    """The state after one rule. Raises Blocked or Broken."""
    view = ConcreteView(scope, cells)
    body(view, env)
    return view.commit()
