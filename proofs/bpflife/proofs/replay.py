"""A path that a solver found, replayed by the simulator: nobody sees one before that.

The concrete rules run the path; the property is evaluated on the states that come out. If they
do not show the violation, the engines disagree, and that is an error of ours, never a verdict.
"""

from __future__ import annotations

from typing import Any

from bpflife.model.catalogue import card_names, load_card
from bpflife.model.concrete import Blocked
from bpflife.model.documents import Scenario, Step, Trace
from bpflife.model.properties import Property
from bpflife.model.rules import path_env
from bpflife.model.simulator import Player
from bpflife.model.state import Broken
from bpflife.model.system import System
from bpflife.model.values import FD
from bpflife.model.world import FIRST_FD, World

from .judge import violated
from .scopes import Fired, Found, make_scope

PROCESSES = ("loader", "other", "third", "fourth")


class DisagreementError(RuntimeError):
    """The simulator does not confirm what an engine found."""


def replay(system: System, prop: Property, api: str, sizes: dict[str, int], found: Found) -> Trace:
    """The trace of a path, with the violation that the simulator sees at its end.

    Raises DisagreementError when it sees none.
    """
    player = Player(system, f"{api}: {prop.title}, violated")
    world = player.world
    world.scope = make_scope(system, sizes)
    for name in PROCESSES[: sizes["processes"]]:
        world.process(name)
    world.paths = [(0, f"pin{n + 1}") for n in range(sizes["pins"])]
    player.states = [world.state()]
    steps: list[Step] = []
    violation = None
    for number, (rule, env) in enumerate(_expanded(system, found)):
        steps.append(Step(do="fire", rule=rule.name, **_arguments(world, rule, env)))
        before = dict(world.cells)
        try:
            outcome = world.fire(rule, env)
        except Broken as e:
            player.break_off(player.actor(rule, env), rule.name, e)
            violation = player.violation
            break
        except Blocked:
            raise DisagreementError(f"step {number + 1}, {rule.name}, can't fire") from None
        player.record(rule, env, outcome, "", None)
        violation = violated(system, prop, api, world, before, rule.op, len(player.states) - 1)
    if violation is None or violation.property != prop.name:
        raise DisagreementError(f"{prop.name} of {api}: the simulator sees no violation")
    player.violation = violation
    if api in card_names() and system.cards[api] == load_card(api):  # a user's may be its twin
        player.scenario = Scenario(
            scenario="counterexample",
            title=player.title,
            cards=[api],
            settle=False,
            steps=steps,
            linux="core",
        )
    return player.trace()


def _expanded(system: System, found: Found) -> list[Fired]:
    """The path; a whole call that breaks in its middle is shown in micro-steps."""
    rule, env = found.path[-1]
    if not found.broken or rule.mode != "call":
        return found.path
    micro = {id(r.edges[0]): r for r in system.rules() if r.mode == "micro"}
    last: list[Fired] = []
    for edge, names in path_env(rule.edges):
        own = {n: env[m] for n, m in names.items() if m in env}
        last.append((micro[id(edge)], {"me": env["me"], **own}))
    return [*found.path[:-1], *last]


def _arguments(world: World, rule: Any, env: dict[str, int]) -> dict[str, str]:
    """A rule's parameters as a scenario says them."""
    found = {}
    for p in rule.params:
        n = env[p.name]
        if p.sort == FD:
            found[p.name] = str(n + FIRST_FD - 1)
        elif p.sort.names:
            found[p.name] = p.sort.names[n]
        else:
            found[p.name] = world.name(p.sort, n)
    return found
