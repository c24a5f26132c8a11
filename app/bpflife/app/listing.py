"""`bpflife list`: what there is to check, ask, play and write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple

from bpflife.model import catalogue, language
from bpflife.model.claims import claims as all_claims
from bpflife.model.features import ELEMENTS, features
from bpflife.model.properties import CATALOGUE
from bpflife.model.system import PARTS, System
from bpflife.model.vocabulary import VOCABULARY

from . import inputs, tables, terminal

Rows = list[tuple[str, ...]]
COLUMNS = ("since", "persistence", "multiplicity", "replace guard", "pinnable")


def cards() -> Rows:
    """The cards that ship: what they say of themselves, and whether this kernel confirms it."""
    from bpflife.proofs.kernel.confirm import confirmed, elements

    names = catalogue.card_names()
    with terminal.progress() as progress:
        progress.begin("asking the kernel")
        found = confirmed(names, progress.say) | elements()
    rows: Rows = [("card", "title", "hook", *COLUMNS, f"confirmed on Linux {os.uname().release}")]
    for name in names:
        card = catalogue.load_card(name)
        said = features(card)
        hook = f"{card.target.kind}, {card.program}"
        rows.append((name, card.title, hook, card.since, *astuple(said), found[name]))
    for one in ELEMENTS:
        rows.append(
            ("(maps)", one.title, f"map, {one.program}", one.since, *astuple(one.features),
             found[one.map_type])
        )  # fmt: skip
    return rows


def properties() -> Rows:
    """The questions that can be asked of a card."""
    return [(p.name, p.sentence, *[f"source: {s}" for s in p.sources]) for p in CATALOGUE.values()]


def stories() -> Rows:
    """The stories that ship, in the order in which they are told."""
    rows: Rows = [("story", "title", "cards")]
    for name in catalogue.story_names():
        story = catalogue.load_scenario(name)
        rows.append((name, story.title, ", ".join(story.cards)))
    return rows


def steps(names: Sequence[str]) -> Rows:
    """The steps of scenarios with these cards: how each is written, who does it, what it is."""
    system = System([inputs.card(name) for name in dict.fromkeys(names)], PARTS)
    return [
        (spec.usage(), f"{spec.actor}: {spec.title}", spec.call) for spec in language.specs(system)
    ]


def claims() -> Rows:
    """What the post of 2018 says about hooks, what became of it, where to see it."""
    return [
        (f"{number}  {claim.claim}", f"today: {claim.today}", *claim.evidence())
        for number, claim in all_claims().items()
    ]


def vocabulary() -> Rows:
    """The forms of step that cards are made of."""
    return [(form, doc) for form, (_, _, doc) in VOCABULARY.items()]


TABLES: dict[str, Callable[[], Rows]] = {"cards": cards, "stories": stories}
NOTES = {
    "cards": "persistence: what an attachment lives with. Replace guard: what who replaces must "
    "show. Confirmed: the card's example was played on model and kernel just now, and they agree.",
    "stories": "A name can be given without its number: bpflife run two_phase_load",
}
ENTRIES: dict[str, Callable[[], Rows]] = {
    "properties": properties,
    "vocabulary": vocabulary,
    "claims": claims,
}


def show(what: str, card_names: Sequence[str]) -> None:
    """Print one of the lists; `card_names` only matters for steps."""
    out = terminal.console()
    if what in TABLES:
        heads, *rows = TABLES[what]()
        out.print(tables.table(heads, rows))
        if what in NOTES:
            out.print()
            out.print(terminal.literal(NOTES[what]), soft_wrap=True)
    else:
        tables.print_entries(out, steps(card_names) if what == "steps" else ENTRIES[what]())


def names_in(text: str) -> Iterator[str]:
    """The names in `a,b`."""
    return (name.strip() for name in text.split(",") if name.strip())
