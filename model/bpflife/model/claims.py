"""The statements of the post that all this began with, numbered: what became of each, and where to
see it (claims.yaml)."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Annotated

import yaml
from pydantic import Field

from .documents import Document, Line, Name


class Claim(Document):
    """A statement and its evidence: names of stories, scenarios (of tests), properties, cards."""

    claim: Line
    today: Line
    stories: list[Name] = []
    scenarios: list[Name] = []
    properties: list[Annotated[str, Field(pattern=r"^[a-z-]+$")]] = []
    cards: list[Name] = []

    def evidence(self) -> list[str]:
        """Where to see it, in words."""
        return [
            f"{what}: {', '.join(names)}"
            for what in ("stories", "scenarios", "properties", "cards")
            if (names := getattr(self, what))
        ]


@functools.cache
def claims() -> dict[str, Claim]:
    """All of them by number, in the order of the post."""
    text = resources.files(__package__).joinpath("claims.yaml").read_text("utf-8")
    return {number: Claim.model_validate(data) for number, data in yaml.safe_load(text).items()}
