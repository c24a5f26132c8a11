"""Tests about one card run in one worker, so that what they share is computed once."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import pytest


def grouped(cards: Iterable[str], later: Container[str] = ()) -> list[Any]:
    """The cards as parameters of a test; those of `later` only when all are asked for."""
    return [pytest.param(card, marks=_marks(card, card in later)) for card in cards]


def _marks(card: str, later: bool) -> list[pytest.MarkDecorator]:
    return [pytest.mark.xdist_group(card), *([pytest.mark.whole] if later else [])]
