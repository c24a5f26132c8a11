"""What a card says about itself in a word each: read off its steps, so nobody writes it twice.

persistence    what an attachment lives with: the target, an open file, a link
multiplicity   one or many for each hook
replace guard  what whoever replaces has to show
pinnable       it can outlive every process by a name in bpffs
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import state as s
from .cards import AttachCard, Operation
from .documents import Scenario
from .graphs import parse_step

NOTHING = "-"  # where there is nothing to say


@dataclass(frozen=True)
class Features:
    """The columns of `bpflife list cards`."""

    persistence: str
    multiplicity: str
    guard: str
    pinnable: str


def features(card: AttachCard) -> Features:
    """Read off the steps of a card."""
    pinnable = "yes" if card.link else "no"
    return Features(persistence(card), multiplicity(card), replace_guard(card), pinnable)


@dataclass(frozen=True)
class Element:
    """An element of a map as a place for a program: no card is about it, but `linux/maps.yaml`."""

    map_type: str
    title: str
    since: str
    program: str

    @property
    def features(self) -> Features:
        """A map's elements live with it, or with its last user; a pin of the map keeps them."""
        cleared = getattr(s.MAP_TYPE, self.map_type) in s.CLEARED
        return Features("map's last user" if cleared else "map", "one", "none", "with the map")

    @property
    def example(self) -> Scenario:
        """Into an element, another program in its place, out, and in again until the end."""
        put = {"do": "map_update", "by": "loader", "map": "m", "key": 0}
        load = {"do": "prog_load", "by": "loader", "type": self.program}
        steps = [
            {"do": "map_create", "by": "loader", "map": "m", "type": self.map_type},
            {**load, "prog": "p"},
            {**load, "prog": "q"},
            {**put, "value": "p"},
            {**put, "value": "q"},
            {"do": "map_delete", "by": "loader", "map": "m", "key": 0},
            {**put, "value": "p"},
            {"do": "exit", "by": "loader"},
        ]
        name = f"{self.map_type}_element"
        return Scenario.model_validate({"scenario": name, "title": self.title, "steps": steps})


ELEMENTS = (
    Element("prog_array", "tail call, an element of a prog array", "4.2", "socket_filter"),
    Element("devmap", "redirect to a device, an element of a devmap", "5.8", "xdp_devmap"),
    Element("cpumap", "redirect to a CPU, an element of a cpumap", "5.9", "xdp_cpumap"),
)


def texts(operations: Iterable[Operation]) -> list[str]:
    """The steps of operations in words, without what they answer and undo."""
    return [parse_step(item)[0] for op in operations for item in op.steps]


def persistence(card: AttachCard) -> str:
    """What an attachment lives with: with the open file by which the target is attached to, where
    that keeps the target."""
    if card.link:
        return "link"
    by_file = card.target.held_by == "file"
    given = card.target.kind in card.operations.attach.args.values()
    return "file" if by_file and given else "target"


def multiplicity(card: AttachCard) -> str:
    """How many programs one hook takes."""
    attach = texts([card.operations.attach])
    if any(" entry" in text for text in attach) or "expect no links" in attach:
        return "one"
    once = any(text.startswith(("expect no record of", "expect no attachment ")) for text in attach)
    return "many, each program once" if once else "many"


def replace_guard(card: AttachCard) -> str:
    """What whoever replaces has to show: nothing, the old program, the link, or the number by
    which the kernel knows the attachment."""
    operations = card.operations
    if operations.replace is None:
        return NOTHING
    ways: list[Operation] = [v for v in operations.variants.values() if v.of == "replace"]
    ways += [operations.replace] if isinstance(operations.replace, Operation) else []
    silent = any(text.startswith("swap entry") for text in texts([operations.attach]))
    asked = [_asks_for_the_old(texts([way])) for way in ways] + ([False] if silent else [])
    named = any(text.startswith("copy ") and " named " in text for text in texts(ways))
    nothing = "link" if card.link else "its number" if named else "none"
    if not any(asked):
        return nothing
    return "old program" if all(asked) else f"{nothing}; old program if told"


def _asks_for_the_old(steps: Iterable[str]) -> bool:
    return any(
        " == exp" in text or (text.startswith("copy ") and " named " not in text) for text in steps
    )
