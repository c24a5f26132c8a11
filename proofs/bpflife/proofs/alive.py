"""Does the card do anything at all? A proof about an attach that never succeeds says nothing.

The explicit search takes whole calls in a small scope until each operation of the card has
succeeded once, and its target has died once. What never did in `STEPS` steps (a handful would do:
make, load, load, attach, detach) is named in the verdict.
"""

from __future__ import annotations

from collections.abc import Callable

from bpflife.model.graphs import IDLE
from bpflife.model.system import System

from .explicit import Explicit
from .scopes import ROOMY

STEPS = 10
SECONDS = 30.0


def never(system: System, api: str, cancelled: Callable[[], bool] = lambda: False) -> list[str]:
    """The operations of a card that never succeed; where the search ran out of time, nothing is
    said."""
    rules = system.search_rules(())
    wanted = {
        op: {r.name for r in rules if r.op == op and not r.errno} for op in system.reviewed[api]
    }
    kind = system.cards[api].target.kind
    wanted["on_target_death"] = {
        r.name for r in rules if r.op == kind and r.internal and r.edges[-1].target == IDLE
    }
    search = Explicit(system, rules, ROOMY, api)
    seen = search.run(
        [], STEPS, cancelled=cancelled, seconds=SECONDS,
        until=lambda fired: all(names & fired for names in wanted.values()),
    )  # fmt: skip
    missing = [op for op, names in wanted.items() if not names & search.fired]
    said = seen.complete or seen.depth >= STEPS
    return sorted(op.removeprefix(f"{api}.") for op in missing) if said else []
