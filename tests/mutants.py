"""Views that forget something: what a proof must find where it is."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from bpflife.model.rules import Rule
from bpflife.model.state import Family, View
from bpflife.model.steps import Env
from bpflife.model.values import Value


def forgetful(rule: Rule) -> Rule:
    """The rule, but it counts nothing."""

    def body(k: View, e: Env) -> None:
        rule.body(cast(View, Uncounting(k)), e)

    return dataclasses.replace(rule, body=body)


class Uncounting:
    """The view, but it forgets to count: references, and writers of a map."""

    def __init__(self, view: View) -> None:
        self._view = view

    def inc(self, o: Value, unless: Value = False) -> None:
        """Nothing."""

    def tally(self, family: Family, args: tuple[Value, ...], o: Value) -> None:
        """The slot alone."""
        self._view.set(family, args, o)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)
