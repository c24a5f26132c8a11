"""Random scenarios, made of the language's own steps: calls that the kernel refuses included.

Most arguments are of the kind that the call wants, so that scenarios get somewhere; the rest are
whatever there is, so that errnos are compared too. Steps that have been taken least go first, and a
scenario dwells on one part of Linux, so that long ways are gone too. A new card or system call
takes part without a line here.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from bpflife.model import state as s
from bpflife.model.cards import AttachCard, Operation
from bpflife.model.catalogue import load_card, system_for
from bpflife.model.choices import errno_of
from bpflife.model.documents import InputError, Scenario, Step, Trace
from bpflife.model.graphs import parse_step
from bpflife.model.language import Arg, StepSpec, is_relative
from bpflife.model.simulator import Player
from bpflife.model.system import PARTS, System, linux
from bpflife.model.values import LIFE, RUN

PROCESSES = ("loader", "admin", "other")
PATHS = ("one", "two")
POINTS = ("m1", "m2")
HOOKS = ("web", "db")
KEYS = (0, 1, 2)
SHARES = (0.2, 0.5, 1.0)  # of the kinds of steps, in a scenario
RARE = (  # else no scenario gets anywhere
    *("exit", "kill", "exec", "cgroup_remove", "delete_device", "delete_clsact"),
)
DWELLING = (0.3, 0.6, 0.9)  # the shares of steps of the part of Linux that a scenario is about
OF_CARDS = 0.35  # the share of scenarios that are about a card
SUCCEEDING = (0.1, 0.6, 0.9)  # the shares of calls that are tried until they succeed
RICH = 0.6  # the share of calls, of those that want nothing, by who has most
TRIES = 6  # of arguments, until a call succeeds
FITTING = (0.5, 0.8, 0.95)  # the shares of arguments that are of the kind that the call wants
ALONE = 0.3  # the share of calls, of those that need not succeed, with one odd argument
SOCKET = Arg("", "fd", of="socket")  # those are not sent


def _makes(spec: StepSpec) -> bool:
    """The step makes an object."""
    return any(arg.kind == "name" for arg in spec.args)


class NotNow(Exception):
    """The step wants what nobody has yet."""


def not_now() -> NoReturn:
    """There is nothing that would fit."""
    raise NotNow


def needed(system: System, card: AttachCard) -> set[str]:
    """The operations that bring what a card's operations are about: programs, its target, what that
    is made of; and those of the parts of Linux that it names."""
    found = {"prog_load"} | {x for part in card.parts for x in linux((part,)).operations}
    kinds = [card.target.kind]
    for kind in kinds:  # it grows
        makers = {name for name, op in system.operations.items() if _makes_kind(op, kind)}
        args = [arg for name in makers - found for arg in system.operations[name].args.values()]
        kinds += [arg for arg in args if arg in system.kinds and arg not in kinds]
        found |= makers
    return found


def _makes_kind(op: Operation, kind: str) -> bool:
    return bool(op.made) and any(kind in parse_step(step)[0].split() for step in op.steps)


@dataclass
class Generator:
    """Scenarios of one system. `taken`: how often each operation was, over all scenarios."""

    cards: list[str]
    rng: random.Random
    taken: Counter[str] = field(default_factory=Counter)
    fired: set[str] = field(default_factory=set)  # rules, by the scenario that came last
    without: frozenset[str] = frozenset()  # operations that are never taken
    dwelling: float = 0.0
    succeeding: float = 0.0
    fitting: float = 0.0

    def scenario(self, name: str, length: int) -> tuple[Scenario, Trace]:
        """A scenario that the model can play, and what the model makes of it."""
        player = Player(system_for(self.cards), watched=False)
        left_out = {"fire", "look_up", *self.without}
        usable = [x for x in player.language.specs if not {x.do, x.rule} & left_out]
        self.dwelling, self.succeeding, self.fitting = (
            self.rng.choice(shares) for shares in (DWELLING, SUCCEEDING, FITTING)
        )  # scenarios that get far, and scenarios of many errnos
        about = self._about(usable)
        usable = self._some(usable)
        steps: list[Step] = []
        for tries in range(length * 40):
            if len(steps) == length:
                break
            if tries == length * 10:  # little of what was wanted is possible here
                self.dwelling, self.succeeding = DWELLING[0], SUCCEEDING[0]
            try:
                some = about if self.rng.random() < self.dwelling else usable
                if steps and steps[-1].do == "enter":  # on the kernel it is over by now
                    step = Step(do="leave", cpu=steps[-1].args["cpu"])
                else:
                    step = self._call(player, self._spec(some), len(steps))
                player.play(step, "", True)
            except (NotNow, InputError):
                continue
            steps.append(step)
            self.taken[player.language.spec(step, name).rule] += 1
        scenario = Scenario(scenario=name, cards=self.cards, steps=steps)
        player.scenario = scenario
        self.fired = player.fired
        return scenario, player.trace()

    def _about(self, usable: list[StepSpec]) -> list[StepSpec]:
        """The steps of one part of Linux, or of one card; where there are none, all."""
        cards = self.cards if self.rng.random() < OF_CARDS else []
        topic = self.rng.choice(cards or PARTS)
        if topic in self.cards:
            own = needed(system_for(self.cards), load_card(topic))
            return [x for x in usable if x.api == topic or x.rule in own] or usable
        return [x for x in usable if x.rule in linux((topic,)).operations] or usable

    def _some(self, usable: list[StepSpec]) -> list[StepSpec]:
        """A scenario of few kinds of steps gets deeper than one of all ("swarm testing"). What
        makes objects is always among them."""
        share = self.rng.choice(SHARES)
        return [x for x in usable if _makes(x) or self.rng.random() < share]

    def _spec(self, usable: list[StepSpec]) -> StepSpec:
        some = self.rng.sample(usable, min(3, len(usable)))
        spec = min(some, key=lambda x: self.taken[x.rule])
        if spec.do in RARE and self.rng.random() < 0.8:
            return self._spec(usable)
        return spec

    def _step(self, player: Player, spec: StepSpec, number: int) -> Step:
        args: dict[str, Any] = {"api": spec.api} if spec.api else {}
        by = self._process(player, spec)
        alone = spec.args and self.rng.random() < ALONE
        wrong = self.rng.choice(spec.args).name if alone else ""
        for arg in spec.args:
            if arg.kind in ("newfd", "newmapping") or self._left_out(arg):
                continue
            fitting = self.fitting if not wrong else float(arg.name != wrong)
            found = _Values(player, by, args, number, self.rng, spec, fitting).of(arg)
            args[arg.name] = self.rng.choice(found) if arg.kind != "maps" else found
        actor = {"by": by} if spec.actor == "process" else {}
        return Step(do=spec.do, **actor, **args)

    def _call(self, player: Player, spec: StepSpec, number: int) -> Step:
        """Mostly calls that succeed: else no scenario gets anywhere."""
        if spec.actor != "process" or self.rng.random() >= self.succeeding:
            return self._step(player, spec, number)
        for _ in range(TRIES):
            step = self._step(player, spec, number)
            if errno_of(player, player.language.spec(step, ""), step) == "":
                return step
        return not_now()

    def _left_out(self, arg: Arg) -> bool:
        """Optional arguments often are; the type of a map seldom, there are many; flags mostly,
        few maps take one."""
        of_map = bool(set(arg.words) & set(s.MAP_TYPE.names))
        often = 0.1 if of_map else 0.8 if arg.kind in ("flag", "word") else 0.4
        return arg.optional and self.rng.random() < often

    def _process(self, player: Player, spec: StepSpec) -> str:
        """Mostly one that has what the call wants; else one that lives, or a new one of few."""
        world = player.world
        living = [n for n in world.procs if world.get(s.RUN_OF, world.process(n)) == RUN.running]
        fresh = [n for n in PROCESSES if n not in world.procs]
        if not fresh and len(living) < 2:
            fresh = [f"process{len(world.procs)}"]
        wanted = [arg for arg in spec.args if arg.kind == "fd"]
        fit = [n for n in living if all(Fitting(player, spec, n).of(arg) for arg in wanted)]
        if wanted and self.rng.random() < self.fitting:
            return self.rng.choice(fit or not_now())
        if living and self.rng.random() < RICH:
            owners = [owner for owner, _ in world.fds]
            return max(living, key=owners.count)
        return self.rng.choice((living or fresh) if self.rng.random() < 0.8 else fresh or living)


@dataclass
class _Values:
    """What an argument may be in a world."""

    player: Player
    by: str
    args: dict[str, Any]
    number: int
    rng: random.Random
    spec: StepSpec
    fitting: float

    def of(self, arg: Arg) -> list[Any]:
        """Values to choose from; for a list of descriptors the list itself."""
        own = self._labels(self.by)
        fds = [n for n in own if n[:1] != "@"] or ["none"]
        fitting = Fitting(self.player, self.spec, self.by)
        if arg.kind == "fd":
            fit = fitting.of(arg, self.args)
            return (fit or not_now()) if self.rng.random() < self.fitting else fds
        if arg.kind == "maps":
            maps = fitting.of(arg)
            some = maps if maps and self.rng.random() < self.fitting else fds
            return self.rng.choices(some, k=self.rng.randrange(3)) if own else []
        if arg.kind == "files":
            files = [n for n in fitting.of(arg) if n not in fitting.of(SOCKET)] or fds
            return [self.rng.choice(files), self.rng.choices(files, k=self.rng.randint(1, 4))]
        if arg.kind == "name":
            makers = [c.target.made_by for c in self.player.system.targets.values()]
            hook = self.spec.do in makers and not any(x.kind == "newfd" for x in self.spec.args)
            first = HOOKS if hook and arg.name == "target" else ()
            free = [name for name in first if not self.player.world.object_named(name)]
            targets = (c.target for c in self.player.system.targets.values())
            if any(t.made_by == self.spec.do and t.held_by == "kernel" for t in targets):
                return free or not_now()  # parts of the kernel: of those there are few
            return free or [f"{arg.name}{self.number}"]
        world = self.player.world
        objects = [
            n for i, n in world.objects.items()
            if " " not in n and world.kind_word(i) in arg.of.split("|")
        ]  # fmt: skip
        theirs = [n for n in self._labels(str(self.args.get("process"))) if n[:1] != "@"]
        table: dict[str, list[Any]] = {
            "number": fds, "path": self._paths(), "point": list(POINTS),
            "target": self._targets(arg), "process": world.procs,
            "cpu": ["cpu0", "cpu1"], "flag": [True, False], "key": list(KEYS),
            "theirs": theirs, "mapping": [n[1:] for n in own if n[:1] == "@"],
            "object": objects, "child": [f"child{self.number}"],
            "type": self._types(arg), "word": list(arg.words),
        }  # fmt: skip
        return table[arg.kind] or ["none"]

    def _paths(self) -> list[str]:
        """Names in the first bpffs, at the mount points that there are, or in a directory."""
        points = [p for p in POINTS if self.player.world.known_point(p)]
        places = ["", *(f"{p}/" for p in points)] if not is_relative(self.spec) else [""]
        return [f"{place}{name}" for place in places for name in PATHS]

    def _types(self, arg: Arg) -> list[str]:
        """Types; of programs more often those that a hook takes."""
        hooked = [c.program for c in self.player.system.cards.values()]
        return [*arg.words, *(t for t in hooked if t in arg.words for _ in range(4))]

    def _targets(self, arg: Arg) -> list[str]:
        """Names of hook targets and attachments; mostly of such that the call can find."""
        world = self.player.world
        kinds = (arg.of,) if arg.of else tuple(self.player.system.targets)
        found = [i for i in world.objects if world.scope.kinds[i - 1] in kinds]
        by_name = ("netdev", "clsact", *self.player.system.records)
        if arg.of in by_name and self.rng.random() < self.fitting:
            live = [i for i in found if world.get(s.LIFE_OF, i) == LIFE.live]
            found = [i for i in live if self._finds(arg.of, i)] or not_now()
        return [world.objects[i] for i in found]

    def _finds(self, kind: str, n: int) -> bool:
        """The process sees the device (of the discipline); the attachment is at a target, at that
        which the step has got already."""
        world = self.player.world
        if kind in self.player.system.records:
            target, at = str(self.args.get("target", "")), world.get(s.LISTED, n)
            return bool(at) and (not target or at == world.object_named(target))
        device = world.get(s.QDISC_OF, n) if kind == "clsact" else n
        return world.get(s.ND_NET, device) == world.get(s.NET, world.process(self.by))

    def _labels(self, process: str) -> list[str]:
        return [label for owner, label in self.player.world.fds if owner == process]


@dataclass(frozen=True)
class Fitting:
    """The descriptors of a process that an argument is meant for: open ones, of its kind; for a
    map that the step can work on, and for an element what such a map holds."""

    player: Player
    spec: StepSpec
    process: str

    def of(self, arg: Arg, args: Mapping[str, Any] = MappingProxyType({})) -> list[str]:
        """Their names. `args`: what the step has been given so far."""
        mine = [x for owner, x in self.player.world.fds if owner == self.process and x[:1] != "@"]
        return [label for label in mine if self._fits(arg, label, args)]

    def _fits(self, arg: Arg, label: str, args: Mapping[str, Any]) -> bool:
        kind, operation = self._kind(label), self.player.system.operations[self.spec.rule]
        if not kind or kind not in (arg.of or kind).split("|"):
            return False
        card = self.player.system.cards.get(self.spec.api)
        if card and kind == "prog":
            return self._prog_type(label) == card.program
        types = operation.only.get(arg.name)
        if types:
            return (self._socket_type if kind == "socket" else self._map_type)(label) in types
        map_type = self._map_type(str(args.get("map"))) if "map" in operation.only else ""
        return s.ELEMENTS.get(map_type, "") in ("", kind)

    def _behind(self, label: str) -> int:
        world = self.player.world
        number = world.fds.get((self.process, label), 0)
        return world.get(s.FILE_OBJ, world.get(s.FD_SLOT, world.process(self.process), number))

    def _kind(self, label: str) -> str:
        o = self._behind(label)
        return self.player.world.kind_word(o) if o else ""

    def _socket_type(self, label: str) -> str:
        return s.SOCKET_TYPE.names[self.player.world.get(s.STYPE, self._behind(label))]

    def _prog_type(self, label: str) -> str:
        system = self.player.system
        return system.types.names[self.player.world.get(system.ptype, self._behind(label))]

    def _map_type(self, label: str) -> str:
        is_map = self._kind(label) == "map"
        return (
            s.MAP_TYPE.names[self.player.world.get(s.MTYPE, self._behind(label))] if is_map else ""
        )


def random_scenario(seed: int, cards: list[str], length: int) -> Scenario:
    """One scenario; the same for the same seed."""
    return Generator(cards, random.Random(seed)).scenario(f"random-{seed}", length)[0]
