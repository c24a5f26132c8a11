"""Random scenarios, made of the language's own steps: calls that the kernel refuses included.

Most arguments are of the kind that the call wants, so that scenarios get somewhere; the rest are
whatever there is, so that errnos are compared too. Steps that have been taken least go first. A
new card or system call takes part without a line here.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bpflife.model import state as s
from bpflife.model.catalogue import system_for
from bpflife.model.documents import InputError, Scenario, Step, Trace
from bpflife.model.language import Arg, StepSpec
from bpflife.model.simulator import Player
from bpflife.model.values import RUN
from bpflife.model.world import World

PROCESSES = ("loader", "admin", "other")
PATHS = ("one", "two")
HOOKS = ("web", "db")
KEYS = (0, 1, 2)
RARE = ("exit", "kill", "exec", "cgroup_remove")  # else no scenario gets anywhere
FITTING = 0.85  # the share of arguments that are of the kind that the call wants


@dataclass
class Generator:
    """Scenarios of one system. `taken`: how often each step was, over all scenarios."""

    cards: list[str]
    rng: random.Random
    taken: Counter[str] = field(default_factory=Counter)
    fired: set[str] = field(default_factory=set)  # rules, by the scenario that came last

    def scenario(self, name: str, length: int) -> tuple[Scenario, Trace]:
        """A scenario that the model can play, and what the model makes of it."""
        player = Player(system_for(self.cards))
        usable = [x for x in player.language.specs if x.do != "fire"]
        steps: list[Step] = []
        for _ in range(length * 40):
            if len(steps) == length:
                break
            step = self._step(player, self._spec(usable), len(steps))
            try:
                player.play(step, "", True)
            except InputError:
                continue
            steps.append(step)
            self.taken[step.do] += 1
        scenario = Scenario(scenario=name, cards=self.cards, steps=steps)
        player.scenario = scenario
        self.fired = player.fired
        return scenario, player.trace()

    def _spec(self, usable: list[StepSpec]) -> StepSpec:
        spec = min(self.rng.sample(usable, 3), key=lambda x: self.taken[x.do])
        if spec.do in RARE and self.rng.random() < 0.8:
            return self._spec(usable)
        return spec

    def _step(self, player: Player, spec: StepSpec, number: int) -> Step:
        args: dict[str, Any] = {"api": spec.api} if spec.api else {}
        by = self._process(player, spec)
        for arg in spec.args:
            if arg.kind in ("newfd", "newmapping") or (arg.optional and self.rng.random() < 0.4):
                continue
            found = _Values(player, by, args, number, self.rng).of(arg)
            args[arg.name] = self.rng.choice(found) if arg.kind != "maps" else found
        actor = {"by": by} if spec.actor == "process" else {}
        return Step(do=spec.do, **actor, **args)

    def _process(self, player: Player, spec: StepSpec) -> str:
        """Mostly one that has what the call wants; else one that lives, or a new one of few."""
        world = player.world
        living = [n for n in world.procs if world.get(s.RUN_OF, world.process(n)) == RUN.running]
        fresh = [n for n in PROCESSES if n not in world.procs]
        if not fresh and len(living) < 2:
            fresh = [f"process{len(world.procs)}"]
        wanted = [arg for arg in spec.args if arg.kind == "fd"]
        fit = [n for n in living if all(fitting(world, n, arg) for arg in wanted)]
        if fit and self.rng.random() < FITTING:
            return self.rng.choice(fit)
        return self.rng.choice((living or fresh) if self.rng.random() < 0.8 else fresh or living)


@dataclass
class _Values:
    """What an argument may be in a world."""

    player: Player
    by: str
    args: dict[str, Any]
    number: int
    rng: random.Random

    def of(self, arg: Arg) -> list[Any]:
        """Values to choose from; for a list of descriptors the list itself."""
        own = self._labels(self.by)
        fds = [n for n in own if n[:1] != "@"] or ["none"]
        fit = fitting(self.player.world, self.by, arg)
        if arg.kind == "fd":
            return fit if fit and self.rng.random() < FITTING else fds
        if arg.kind == "maps":
            maps = fitting(self.player.world, self.by, Arg("", "fd", of="map"))
            some = maps if maps and self.rng.random() < FITTING else fds
            return self.rng.choices(some, k=self.rng.randrange(3)) if own else []
        if arg.kind == "name":
            return list(HOOKS) if arg.name == "target" else [f"{arg.name}{self.number}"]
        world = self.player.world
        objects = [n for n in world.objects.values() if " " not in n]
        theirs = [n for n in self._labels(str(self.args.get("process"))) if n[:1] != "@"]
        table: dict[str, list[Any]] = {
            "number": fds, "path": list(PATHS), "target": list(HOOKS), "process": world.procs,
            "cpu": ["cpu0", "cpu1"], "flag": [True, False], "key": list(KEYS),
            "theirs": theirs, "mapping": [n[1:] for n in own if n[:1] == "@"],
            "object": objects, "child": [f"child{self.number}"],
            "type": list(arg.words), "word": list(arg.words),
        }  # fmt: skip
        return table[arg.kind] or ["none"]

    def _labels(self, process: str) -> list[str]:
        return [label for owner, label in self.player.world.fds if owner == process]


def fitting(world: World, process: str, arg: Arg) -> list[str]:
    """The descriptors of a process that an argument is meant for: open ones, of its kind."""
    found = []
    for (owner, label), number in world.fds.items():
        if owner != process or label[:1] == "@" or not number:
            continue
        file = world.get(s.FD_SLOT, world.process(process), number)
        o = world.get(s.FILE_OBJ, file)
        if o and (not arg.of or world.scope.kinds[o - 1] == arg.of):
            found.append(label)
    return found


def random_scenario(seed: int, cards: list[str], length: int) -> Scenario:
    """One scenario; the same for the same seed."""
    return Generator(cards, random.Random(seed)).scenario(f"random-{seed}", length)[0]
