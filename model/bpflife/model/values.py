"""Values that rules compute with: plain Python numbers, or terms of a solver.

A rule is one Python function. On the concrete view it gets ints and bools; on a symbolic view it
gets `Term`s. The operators here (`eq`, `And`, `Or`, `Not`, `If`, ...) work on both.

The embedding is guarded. A Python `if`, `and`, `not`, `in`, `any` on a symbolic value would pick
a branch silently (Z3's `==` even has a truth value), so `Term` has no truth value, no iteration,
no order, no hash; literals are typed and range-checked, because a bit-vector literal wraps.

Every sort has a default, written 0: "none" for entities (objects, tasks, paths ...), the first
name of an enumeration, False, the number 0. Reading at none gives the default, in every view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol


class MisuseError(TypeError):
    """A rule treats a symbolic value as a Python truth value, number or collection."""


@dataclass(frozen=True)
class Sort:
    """A kind of value. `names` is non-empty for enumerations only."""

    name: str
    names: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Lit:
        try:
            return Lit(self, self.__dict__["names"].index(name))
        except (KeyError, ValueError):
            raise AttributeError(f"{self.__dict__.get('name')} has no value {name!r}") from None


class Lit(int):
    """A typed literal: an int that knows its sort (a value of an enumeration, or none)."""

    sort: Sort

    def __new__(cls, sort: Sort, value: int) -> Lit:
        self = super().__new__(cls, value)
        self.sort = sort
        return self

    def __repr__(self) -> str:
        return self.sort.names[self] if self.sort.names else int.__repr__(self)


BOOL = Sort("bool")
NAT = Sort("nat")
OBJ = Sort("object")
TASK = Sort("task")
PROC = Sort("process")
FD = Sort("descriptor")
PATH = Sort("path")
IDX = Sort("index")
CPU = Sort("cpu")
ENTITIES = (OBJ, TASK, PROC, FD, PATH, IDX, CPU)

LIFE = Sort("life", ("unborn", "live", "dying", "freed"))
RUN = Sort("run", ("unborn", "running", "exiting", "exited", "starting"))

NONE = 0  # of every entity sort; the views read it by the sort of the place where it stands

Value = Any  # int | bool | Term: mypy can't follow a rule through three views


class Backend(Protocol):
    """What a solver (or the checking interpreter of the tests) provides for `Term`."""

    def literal(self, sort: Sort, value: int) -> Any:
        """The payload of a literal; MisuseError if it is out of range."""

    def equal(self, a: Any, b: Any) -> Any:
        """Payload of a == b."""

    def conj(self, xs: Sequence[Any]) -> Any:
        """Payload of the conjunction."""

    def disj(self, xs: Sequence[Any]) -> Any:
        """Payload of the disjunction."""

    def negate(self, a: Any) -> Any:
        """Payload of not a."""

    def choose(self, c: Any, a: Any, b: Any) -> Any:
        """Payload of a if c else b."""

    def plus(self, a: Any, n: int) -> Any:
        """Payload of a + n for a count."""

    def at_least(self, a: Any, n: int) -> Any:
        """Payload of a >= n for a count."""


class Term:
    """A symbolic value: a payload of one backend with its sort, and nothing Python may decide."""

    __slots__ = ("backend", "payload", "sort")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, backend: Backend, sort: Sort, payload: Any) -> None:
        self.backend, self.sort, self.payload = backend, sort, payload

    def __eq__(self, other: object) -> Term:  # type: ignore[override]
        return Term(self.backend, BOOL, self.backend.equal(self.payload, self.lift(other)))

    def __ne__(self, other: object) -> Term:  # type: ignore[override]
        same = self.backend.equal(self.payload, self.lift(other))
        return Term(self.backend, BOOL, self.backend.negate(same))

    def lift(self, other: object) -> Any:
        """The payload of `other` as a value of this sort; MisuseError if it is none."""
        return lift(self.backend, self.sort, other)

    def _refuse(self, *_: object) -> NoReturn:
        raise MisuseError(
            f"a symbolic {self.sort.name} has no Python truth value, order or arithmetic; "
            "use And, Or, Not, If, eq, plus, at_least"
        )

    def __bool__(self) -> bool:
        self._refuse()

    def __iter__(self) -> Iterator[object]:
        self._refuse()

    def __index__(self) -> int:
        self._refuse()

    __len__ = __contains__ = __index__
    __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __and__ = __or__ = __invert__ = _refuse

    def __repr__(self) -> str:
        return f"<{self.sort.name} {self.payload}>"


def lift(backend: Backend, sort: Sort, value: object) -> Any:
    """Payload of `value`, a Term or a Python literal, as a value of `sort`."""
    if isinstance(value, Term):
        if value.sort != sort:
            raise MisuseError(f"a {value.sort.name} where a {sort.name} is needed")
        return value.payload
    if isinstance(value, Lit) and value.sort != sort:
        raise MisuseError(f"{value.sort.name} {value!r} where a {sort.name} is needed")
    if (sort == BOOL) != isinstance(value, bool):
        raise MisuseError(f"{value!r} where a {sort.name} is needed")
    if not isinstance(value, int):
        raise MisuseError(f"{value!r} is not a value of {sort.name}")
    return backend.literal(sort, value)


def _terms(xs: Sequence[Value]) -> list[Term]:
    return [x for x in xs if isinstance(x, Term)]


def _plain(xs: Sequence[Value]) -> list[Value]:
    return [x for x in xs if not isinstance(x, Term)]


def _boolean(x: Value) -> bool:
    if not isinstance(x, bool):
        raise MisuseError(f"{x!r} is not a truth value")
    return x


def And(*xs: Value) -> Value:
    """Conjunction; a Python bool when no argument is symbolic."""
    terms = _terms(xs)
    plain = all(list(map(_boolean, _plain(xs))))
    if not terms or not plain:
        return plain
    b = terms[0].backend
    return terms[0] if len(terms) == 1 else Term(b, BOOL, b.conj([t.payload for t in terms]))


def Or(*xs: Value) -> Value:
    """Disjunction; a Python bool when no argument is symbolic."""
    terms = _terms(xs)
    plain = any(list(map(_boolean, _plain(xs))))
    if not terms or plain:
        return plain
    b = terms[0].backend
    return terms[0] if len(terms) == 1 else Term(b, BOOL, b.disj([t.payload for t in terms]))


def Not(x: Value) -> Value:
    """Negation."""
    if isinstance(x, Term):
        return Term(x.backend, BOOL, x.backend.negate(x.payload))
    return not _boolean(x)


def Implies(a: Value, b: Value) -> Value:
    """a implies b."""
    return Or(Not(a), b)


def eq(a: Value, b: Value) -> Value:
    """a == b, whichever of the two is symbolic."""
    return b == a if isinstance(b, Term) and not isinstance(a, Term) else a == b


def ne(a: Value, b: Value) -> Value:
    """a != b."""
    return Not(eq(a, b))


def one_of(x: Value, values: Sequence[int]) -> Value:
    """x equals one of the literals."""
    return Or(*[eq(x, v) for v in values])


def If(c: Value, a: Value, b: Value, sort: Sort | None = None) -> Value:
    """a if c else b. With two Python literals the sort must be said when c is symbolic."""
    if not isinstance(c, Term):
        return a if _boolean(c) else b
    known = [x.sort for x in (a, b) if isinstance(x, (Term, Lit))]
    if not known and sort is None:
        sort = BOOL if isinstance(a, bool) and isinstance(b, bool) else None
    if not known and sort is None:
        raise MisuseError("If(symbolic, literal, literal) needs its sort")
    s = sort or known[0]
    backend = c.backend
    return Term(backend, s, backend.choose(c.payload, lift(backend, s, a), lift(backend, s, b)))


def plus(x: Value, n: int) -> Value:
    """x + n for a count."""
    return Term(x.backend, x.sort, x.backend.plus(x.payload, n)) if isinstance(x, Term) else x + n


def at_least(x: Value, n: int) -> Value:
    """x >= n for a count."""
    if isinstance(x, Term):
        return Term(x.backend, BOOL, x.backend.at_least(x.payload, n))
    return bool(x >= n)
