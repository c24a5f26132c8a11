"""Does the card do anything at all? A proof about an attach that never attaches says nothing.

The explicit search takes whole calls in a small scope until it has seen each operation of the card
do what it is for: attach puts a program into the hook, replace puts another one in its place,
detach takes it out, and the target dies, unless it is a part of the kernel. What was never seen in
`STEPS` steps (a handful would do: make, load, load, attach, detach) is named in the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bpflife.model.concrete import Cells
from bpflife.model.graphs import IDLE
from bpflife.model.rules import Rule
from bpflife.model.state import LINK_PROG, LISTED
from bpflife.model.system import System

from .explicit import Explicit
from .scopes import ROOMY, fitted

STEPS = 10
SECONDS = 30.0

Seen = Callable[[Rule, Cells, Cells], bool]


def never(system: System, api: str, cancelled: Callable[[], bool] = lambda: False) -> list[str]:
    """What the card never does, in words; where the search ran out of time, nothing is said."""
    missing = _goals(system, api)

    def watch(rule: Rule, before: Cells, after: Cells) -> bool:
        for words in [w for w, seen in missing.items() if seen(rule, before, after)]:
            del missing[words]
        return not missing

    search = Explicit(system, system.search_rules(()), fitted(system, ROOMY), api)
    seen = search.run([], STEPS, cancelled=cancelled, seconds=SECONDS, watch=watch)
    said = seen.complete or seen.depth >= STEPS
    return sorted(missing) if said else []


def _goals(system: System, api: str) -> dict[str, Seen]:
    """What must be seen once, by what to say where it never is."""
    card = system.cards[api]
    kind = card.target.kind
    goals: dict[str, Seen] = {}
    if card.target.held_by != "kernel":
        goals["on_target_death never comes to its end"] = lambda rule, _, after: (
            rule.op == kind and rule.internal and _ended(rule)
        )
    changes: Mapping[str, tuple[str, Callable[[int, int], bool]]] = {
        "attach": ("attach never attaches a program", lambda old, new: not old and bool(new)),
        "replace": (
            "replace never puts one program in the place of another",
            lambda old, new: old != new and bool(old) and bool(new),
        ),
        "detach": ("detach never detaches a program", lambda old, new: bool(old) and not new),
    }
    for operation, (words, change) in changes.items():
        spec = getattr(card.operations, operation)
        if spec is None or spec == "on_target_death":
            continue
        steps = system.steps_of(api, operation)
        goals[words] = _changed(system, steps, change)
    return goals


def _changed(system: System, steps: set[str], change: Callable[[int, int], bool]) -> Seen:
    def seen(rule: Rule, before: Cells, after: Cells) -> bool:
        if rule.op not in steps or rule.errno:
            return False
        old, new = _attached(system, before), _attached(system, after)
        return any(change(old.get(place, 0), new.get(place, 0)) for place in {*old, *new})

    return seen


def _attached(system: System, cells: Cells) -> dict[object, int]:
    """What is attached, by place: the entry of a target, or a link that stands in a list."""
    own = {key[1]: prog for key, prog in cells.items() if key[0] == system.entry.name}
    listed = [key[1] for key in cells if key[0] == LISTED.name]
    return own | {link: cells.get((LINK_PROG.name, link), 0) for link in listed}


def _ended(rule: Rule) -> bool:
    """The rule is the last step of its path."""
    return rule.edges[-1].target == IDLE
