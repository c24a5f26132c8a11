"""Tests about one card run in one worker, so that what they share is computed once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def grouped(cards: Iterable[str]) -> list[Any]:
    """The cards as parameters of a test."""
    return [pytest.param(card, marks=pytest.mark.xdist_group(card)) for card in cards]
