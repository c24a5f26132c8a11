"""Does the running kernel do what a card says? Its example is played on both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bpflife.model.catalogue import example_of, load_card, system_of
from bpflife.model.documents import Scenario
from bpflife.model.features import ELEMENTS
from bpflife.model.simulator import play

from .available import why_not
from .compare import compare_trace, not_on_a_kernel
from .world import World

YES = "yes"


def confirmed(
    names: Iterable[str], progress: Callable[[str], None] = lambda _: None
) -> dict[str, str]:
    """By card: "yes", or why not: the machine, the card, or how the two sides differ."""
    names = list(names)
    refused = why_not()
    if refused:
        return dict.fromkeys(names, refused)
    with World() as world:
        return {name: _one(name, world, progress) for name in names}


def elements() -> dict[str, str]:
    """The same for elements of maps, by the type of map."""
    if refused := why_not():
        return {one.map_type: refused for one in ELEMENTS}
    with World() as world:
        return {one.map_type: _agrees(one.example, world) for one in ELEMENTS}


def _one(api: str, world: World, progress: Callable[[str], None]) -> str:
    progress(api)
    if load_card(api).since == "proposed":
        return "a proposal"
    scenario = example_of(api)
    if scenario is None:
        return "not tried: the card has no example"
    if refused := not_on_a_kernel(system_of(scenario), api):
        return refused.partition(": ")[2] or refused
    return _agrees(scenario, world)


def _agrees(scenario: Scenario, world: World) -> str:
    world.reset()
    compared = compare_trace(scenario, play(scenario), world=world)
    if compared.why_not:
        return compared.why_not
    return f"NO: {compared.differences[0]}" if compared.differences else YES
