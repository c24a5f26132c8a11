"""What ships with the product: cards and stories, by name; and the way to a user's own files."""

from __future__ import annotations

import functools
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from .cards import AttachCard
from .documents import InputError, Scenario, parse_document, read_text
from .properties import CATALOGUE
from .system import CORE, PARTS, System


def _folder(name: str) -> Traversable:
    return resources.files(__package__).joinpath(name)


def _names(folder: str) -> list[str]:
    files = [f.name for f in _folder(folder).iterdir()]
    return sorted(f.removesuffix(".yaml") for f in files if f.endswith(".yaml"))


def card_names() -> list[str]:
    """The cards that ship with the product: those of Linux, then the proposals."""
    return sorted(_names("cards"), key=lambda name: (name.startswith("bad_"), name))


def story_names() -> list[str]:
    """The stories, in the order in which they are told."""
    return sorted(_names("stories"), key=lambda name: int(name.partition("_")[0]))


@functools.cache
def _shipped_card(name: str) -> AttachCard:
    path = _folder("cards").joinpath(f"{name}.yaml")
    return parse_document(AttachCard, path.read_text("utf-8"), f"{name}.yaml")


def load_card(name: str) -> AttachCard:
    """A card by its name, or from a user's file (anything with a slash or ending in .yaml)."""
    if name in card_names():
        return _shipped_card(name)
    if "/" in name or name.endswith((".yaml", ".yml")):
        card = parse_document(AttachCard, read_text(Path(name)), name)
        for asked in card.expect:
            if asked not in CATALOGUE:
                known = ", ".join(CATALOGUE)
                raise InputError(f"{name}: expect: no property `{asked}`; there are {known}")
        try:
            System([card])
        except InputError as e:
            raise InputError(f"{name}: {str(e).removeprefix(card.api + ': ')}") from None
        return card
    raise InputError(f"no card `{name[:60]}`; there are {', '.join(card_names())}, or give a file")


@functools.cache
def _shipped_story(name: str) -> Scenario:
    path = _folder("stories").joinpath(f"{name}.yaml")
    return parse_document(Scenario, path.read_text("utf-8"), f"{name}.yaml")


def load_scenario(name: str) -> Scenario:
    """A story by its name (with or without its number), or a scenario from a user's file."""
    for known in story_names():
        if name in (known, known.partition("_")[2]):
            return _shipped_story(known)
    if "/" in name or name.endswith((".yaml", ".yml", ".json")):
        return parse_document(Scenario, read_text(Path(name)), name)
    raise InputError(
        f"no story `{name[:60]}`; there are {', '.join(story_names())}, or give a file"
    )


def example_of(api: str) -> Scenario | None:
    """The scenario by which a kernel confirms a shipped card; None where it has none."""
    card = load_card(api)
    if not card.example:
        return None
    return Scenario(scenario=f"{api}_example", title=card.title, cards=[api], steps=card.example)


@functools.lru_cache(maxsize=64)
def _system(names: tuple[str, ...], parts: tuple[str, ...]) -> System:
    return System([load_card(n) for n in names], parts)


def system_of(scenario: Scenario) -> System:
    """The system that a scenario is played on."""
    return system_for(scenario.cards, scenario.linux)


def system_for(cards: list[str], linux: str = "all") -> System:
    """Linux (all or its core) with these cards. InputError for an unknown one (a scenario names
    only shipped cards: an address must not make the app read files)."""
    for name in cards:
        if name not in card_names():
            raise InputError(f"cards: no card `{name}`; there are {', '.join(card_names())}")
    return _system(tuple(dict.fromkeys(cards)), CORE if linux == "core" else PARTS)
