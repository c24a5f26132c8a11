"""Is a property violated in this state, or by this step? Asked of plain numbers.

The replay of a counterexample and the explicit search ask here; no solver is involved.
"""

from __future__ import annotations

import itertools
from typing import Any

from bpflife.model import state as s
from bpflife.model.concrete import ConcreteView, Scope
from bpflife.model.documents import Violation
from bpflife.model.phrases import fill
from bpflife.model.properties import Invariant, Property, emptied, internal, places, quiet_owner
from bpflife.model.system import System
from bpflife.model.values import CPU, LIFE, OBJ
from bpflife.model.world import World


def violated(
    system: System, prop: Property, api: str, world: World, before: dict[Any, int], op: str, at: int
) -> Violation | None:
    """The violation of a property in the world's state (or by the step that led here)."""
    now = ConcreteView(world.scope, world.cells)
    if prop.form == "step":
        return _gap(system, prop, api, world, before, op, at)
    if prop.form == "end" and not is_end(system, world.scope, now, world):
        return None
    for invariant in prop.invariants(system):
        for row in rows(invariant, world.scope):
            if not invariant.body(now, *row):
                names = [world.name(sort, x) for sort, x in zip(invariant.sorts, row, strict=True)]
                words = fill(invariant.wrong, _facts(system, invariant, world, row[0], names[0]))
                return Violation(property=prop.name, at=at, sentence=words, nodes=names)
    return None


def rows(invariant: Invariant, scope: Scope) -> list[tuple[int, ...]]:
    """All rows of entities that an invariant speaks of."""
    kinds = "|".join(invariant.kinds)
    return list(itertools.product(*[scope.domain(sort, kinds) for sort in invariant.sorts]))


def _facts(system: System, invariant: Invariant, world: World, x: int, name: str) -> dict[str, str]:
    """The words that an invariant's `wrong` may use, for its first entity."""
    if invariant.sorts[0] == CPU:
        return {"x": name, "prog": world.name(OBJ, world.get(s.RUNNING, x))}
    if invariant.sorts[0] != OBJ:
        return {"x": name}
    now = ConcreteView(world.scope, world.cells)
    families = system.holder_families(world.scope.kinds[x - 1])
    return {
        "x": name,
        "refcnt": str(world.get(s.REFCNT, x)),
        "usercnt": str(world.get(s.USERCNT, x)),
        "holders": str(now.holders(families, x)),
        "users": str(now.holders(system.user, x)),
        "life": LIFE.names[world.get(s.LIFE_OF, x)],
        "prog": world.name(OBJ, world.get(system.entry, x)),
    }


def _gap(
    system: System, prop: Property, api: str, world: World, before: dict[Any, int], op: str, at: int
) -> Violation | None:
    if op not in system.steps_of(api, prop.operation):
        return None
    then, now = ConcreteView(world.scope, before), ConcreteView(world.scope, world.cells)
    for place in world.scope.domain(OBJ, "|".join(places(system))):
        if emptied(system, then, now, place):
            name = world.name(OBJ, place)
            sentence = f"{name} is empty in the middle of a replace: an event here runs nothing"
            return Violation(property=prop.name, at=at, sentence=sentence, nodes=[name])
    return None


def is_end(system: System, scope: Scope, now: ConcreteView, world: World) -> bool:
    """Owners gone, nothing pinned, and no internal rule can fire."""
    quiet = all(now.all(sort, premise) for _, sort, premise in quiet_owner(now))
    return quiet and next(world.enabled(internal(system.rules())), None) is None
