"""Random scenarios, calls that the kernel refuses included: for the tests that compare engines.

The words come from the language itself (every step that a system has), so a new card or operation
takes part without a line here.
"""

from __future__ import annotations

import random
from typing import Any

from bpflife.model.catalogue import system_for
from bpflife.model.documents import InputError, Scenario, Step
from bpflife.model.language import Arg, Language, StepSpec
from bpflife.model.simulator import Player

PROCESSES = ("loader", "admin", "other")
PATHS = ("one", "two")
HOOKS = ("web", "db")
RARE = ("exit", "kill", "exec", "cgroup_remove")  # else no scenario gets anywhere


def random_scenario(seed: int, cards: list[str], length: int) -> Scenario:
    """A scenario that the model can play; the same for the same seed."""
    rng = random.Random(seed)
    player = Player(system_for(cards))
    language = Language(player.system)
    usable = [x for x in language.specs if x.do != "fire"]
    steps: list[Step] = []
    for _ in range(length * 40):
        if len(steps) == length:
            break
        spec = rng.choice(usable)
        if spec.do in RARE and rng.random() < 0.8:
            continue
        step = Step(do=spec.do, **_arguments(rng, player, spec, len(steps)))
        try:
            language.spec(step, "")
            player.play(step, "", True)
        except InputError:
            continue
        steps.append(step)
    return Scenario(scenario=f"random-{seed}", cards=cards, steps=steps)


def _arguments(rng: random.Random, player: Player, spec: StepSpec, number: int) -> dict[str, Any]:
    args: dict[str, Any] = {}
    if spec.actor == "process":
        args["by"] = rng.choice(PROCESSES)
    for arg in spec.args:
        if arg.optional and rng.random() < 0.4:
            continue
        if arg.kind not in ("newfd", "newmapping"):
            args[arg.name] = _value(rng, player, arg, args.get("by", ""), number)
    if spec.api:
        args["api"] = spec.api
    return args


def _value(rng: random.Random, player: Player, arg: Arg, by: str, number: int) -> Any:
    own = [label for owner, label in player.world.fds if owner == by]
    fds = [n for n in own if n[:1] != "@"] or ["none"]
    if arg.kind == "name":
        return rng.choice(HOOKS) if arg.name == "target" else f"{arg.name}{number}"
    if arg.kind == "maps":
        return rng.choices(fds, k=rng.randrange(3)) if fds != ["none"] else []
    objects = [n for i, n in player.world.objects.items() if " " not in n]
    table = {
        "fd": fds, "number": fds, "path": PATHS, "target": HOOKS, "process": PROCESSES,
        "cpu": ("cpu0", "cpu1"), "flag": (True, False), "key": (0, 1, 2),
        "theirs": sorted({n for _, n in player.world.fds if n[:1] != "@"}) or ["none"],
        "mapping": [n[1:] for n in own if n[:1] == "@"] or ["none"],
        "object": objects or ["none"], "child": [f"child{number}"], "type": arg.words,
    }  # fmt: skip
    return rng.choice(list(table[arg.kind]))
