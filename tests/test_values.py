"""A symbolic value decides nothing in Python: `if`, `and`, `not`, `in`, `any`, order and arithmetic
on one raise, because each of them would silently pick a branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bpflife.model.values import (
    BOOL,
    LIFE,
    NAT,
    OBJ,
    RUN,
    And,
    If,
    Implies,
    MisuseError,
    Not,
    Or,
    Sort,
    Term,
    at_least,
    eq,
    ne,
    one_of,
    plus,
)


class Words:
    """A backend whose payloads are texts: enough to see what an operator builds."""

    def literal(self, sort: Sort, value: int) -> Any:
        return repr(value)

    def equal(self, a: Any, b: Any) -> Any:
        return f"({a} = {b})"

    def conj(self, xs: Sequence[Any]) -> Any:
        return f"all{tuple(xs)}"

    def disj(self, xs: Sequence[Any]) -> Any:
        return f"some{tuple(xs)}"

    def negate(self, a: Any) -> Any:
        return f"no {a}"

    def choose(self, c: Any, a: Any, b: Any) -> Any:
        return f"[{c}: {a}, {b}]"

    def plus(self, a: Any, n: int) -> Any:
        return f"{a}+{n}"

    def at_least(self, a: Any, n: int) -> Any:
        return f"{a}>={n}"


def term(sort: Sort = BOOL, name: str = "x") -> Term:
    return Term(Words(), sort, name)


MISUSES: dict[str, Callable[[Term], object]] = {
    "if": lambda x: 1 if x else 2,
    "and": lambda x: x and True,
    "or": lambda x: x or False,
    "not": lambda x: not x,
    "bool": bool,
    "any": lambda x: any([x]),
    "all": lambda x: all([x]),
    "in": lambda x: x in [term(name="y")],
    "in it": lambda x: 1 in x,
    "iteration": lambda x: list(x),
    "dict key": lambda x: {x: 1},
    "set": lambda x: {x},
    "index": lambda x: [1, 2][x],
    "int": lambda x: int(x),
    "len": lambda x: len(x),
    "less": lambda x: x < 1,
    "at least": lambda x: x >= 1,
    "chain": lambda x: 0 < x < 2,
    "max": lambda x: max(x, term(name="y")),
    "sort": lambda x: sorted([x, x]),
    "plus": lambda x: x + 1,
    "minus": lambda x: 1 - x,
    "&": lambda x: x & True,
    "|": lambda x: x | True,
    "~": lambda x: ~x,
    "== chain": lambda x: x == 1 == 1,
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_python_decides_nothing_about_a_symbolic_value(misuse: str) -> None:
    sort = BOOL if misuse in ("any", "all", "if", "and", "or", "not", "bool") else NAT
    with pytest.raises(TypeError):
        MISUSES[misuse](term(sort))


def test_the_message_says_what_to_write_instead() -> None:
    with pytest.raises(MisuseError, match="use And, Or, Not, If"):
        bool(term(NAT))


@pytest.mark.parametrize(
    ("left", "right"),
    [(LIFE.live, RUN.running), (LIFE.live, term(RUN)), (term(OBJ), term(NAT)), (True, term(NAT))],
)
def test_values_of_different_sorts_are_not_compared(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        left = Term(Words(), LIFE, "x")
    with pytest.raises(MisuseError):
        eq(left, right)


def test_operators_on_plain_values_are_plain() -> None:
    assert And(True, True) is True
    assert And(True, False) is False
    assert Or(False, True) is True
    assert Not(False) is True
    assert Implies(True, False) is False
    assert If(True, 1, 2) == 1
    assert eq(2, 2)
    assert ne(2, 3)
    assert one_of(2, (1, 2))
    assert plus(2, -1) == 1
    assert at_least(2, 2)


def test_plain_operators_want_truth_values() -> None:
    for wrong in (And, Or):
        with pytest.raises(MisuseError):
            wrong(1, True)
    with pytest.raises(MisuseError):
        Not(0)


def test_operators_on_terms_build_terms() -> None:
    x, n = term(), term(NAT, "n")
    assert And(x, True).payload == "x"
    assert And(x, False) is False
    assert Or(x, True) is True
    assert Not(x).payload == "no x"
    assert If(x, 1, 2, NAT).payload == "[x: 1, 2]"
    assert If(x, LIFE.live, LIFE.freed).payload == "[x: live, freed]"
    assert eq(3, n).payload == "(n = 3)"
    assert plus(n, 1).payload == "n+1"
    assert at_least(n, 1).payload == "n>=1"


def test_if_between_literals_needs_a_sort() -> None:
    with pytest.raises(MisuseError, match="sort"):
        If(term(), 1, 2)
