"""The simulator: plays a scenario on the rules and writes down what happened (a `Trace`).

    trace = play(scenario)            # every step, with the kernel's own work in between

Nothing here knows a rule: calls run along their step graph, internal work is whatever rule marked
internal can fire.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import state as s
from .catalogue import system_of
from .concrete import Blocked
from .documents import InputError, Scenario, State, Step, Trace, TraceStep, Violation
from .language import (
    WORD,
    Arg,
    Language,
    StepSpec,
    bind,
    check_value,
    is_relative,
    short_path,
    where,
)
from .phrases import LOCALS, arguments, fill, results, strace
from .rules import Rule, edge_name
from .state import Broken
from .steps import Param
from .system import System
from .values import BOOL, CPU, FD, IDX, OBJ, PATH, PROC, RUN, TASK
from .world import CPUS, FIRST_FD, Outcome, World

MAX_PROCESSES = 64
MAX_INTERNAL = 500  # internal work after one step; it terminates, this catches a broken card
STEPS_OF_ONE = 20  # more than what one object asks for when it goes


@dataclass
class Player:
    """Plays steps one after another; `steps` and `states` grow. Who is not `watched` keeps no
    states: only what each step settles to."""

    system: System
    title: str = ""
    world: World = field(init=False)
    steps: list[TraceStep] = field(default_factory=list)
    fired: set[str] = field(default_factory=set)  # micro-step rules
    scenario: Scenario | None = None
    watched: bool = True

    def __post_init__(self) -> None:
        self.world = World(self.system)
        self.language = Language(self.system)
        self.rules = self.system.all_rules
        self.internal = [r for r in self.rules.values() if r.internal]
        self.states = [self.world.state()] if self.watched else []
        self.violation: Violation | None = None

    # -- one step of a scenario ----------------------------------------------------------------

    def play(self, step: Step, at: str, settle: bool) -> None:
        """One step, then the kernel's own work. InputError if it can't be done here."""
        spec = self.language.spec(step, at)
        mine = len(self.steps)
        try:
            if spec.do == "fire":
                self._fire_named(step, at)
            elif spec.actor == "process":
                self._call(spec, step, at)
            else:
                self._world_step(spec, step, at)
        except Broken as e:
            self.break_off(step.by or "the kernel", spec.rule or step.do, e)
            return
        if settle:
            self.settle()
        settled = self._settled_copy()
        self.steps[mine] = self.steps[mine].model_copy(update={"settled": settled.settled()})

    def break_off(self, actor: str, rule: str, why: Broken) -> None:
        """A step found less than it needs: the end of the play, and a violation."""
        self.violation = Violation(
            property="no-broken-step",
            at=len(self.steps),
            sentence=f"{actor} in {rule}: `{why}` is not so here",
        )

    def _settled_copy(self) -> World:
        twin = self.world.copy()
        quiet = Player.__new__(Player)
        quiet.world, quiet.internal, quiet.steps, quiet.states = twin, self.internal, [], []
        quiet.system, quiet.fired, quiet.watched = self.system, self.fired, False
        quiet.settle(readers=True)
        return twin

    def settle(self, readers: bool = False) -> None:
        """Let internal work run until none is left. Readers stay inside unless told."""
        rules = [r for r in self.internal if readers or r.actor != "cpu"]
        for _ in range(MAX_INTERNAL + STEPS_OF_ONE * len(self.world.objects)):
            ready = next(self.world.enabled(rules), None)
            if ready is None:
                return
            rule, env = ready
            idle = self.world.idle(rule, env)
            self.record(rule, env, self.world.fire(rule, env), "", None)
            if idle or (_gives_up_nothing(rule) and _looks_the_same(self.states[-2:])):
                del self.steps[-1], self.states[-2:-1]  # it goes on: nothing to see
        raise InputError(f"internal work does not end ({rule.name} again and again)")

    # -- calls ---------------------------------------------------------------------------------

    def _call(self, spec: StepSpec, step: Step, at: str) -> None:
        world = self.world
        assert step.by is not None
        me = world.first_task(step.by)
        if world.get(s.RUN_OF, world.get(s.PROC_OF, me)) in (RUN.exiting, RUN.exited):
            raise InputError(f"{at}: by: process {step.by} has exited")
        if spec.do == "spawn" and world.get(s.RUN_OF, world.process(step.by)):
            raise InputError(f"{at}: by: the process {step.by} is there already")
        wanted = self._new_names(spec, step, at)
        said = arguments(world, spec, step)
        env: dict[str, Any] = {"me": me}
        for arg in spec.args:
            if arg.kind == "type":
                self._type(arg, step, env, at)
            elif arg.kind not in ("name", "newfd", "newmapping"):
                env[arg.name] = self._value(arg, step, at)
        try:
            outcome = world.call(self.system.graphs[spec.rule], env)
        except Blocked:
            elsewhere = self.system.operations[spec.rule].elsewhere
            why = fill(elsewhere, said.words) if elsewhere else self._why_blocked(step)
            raise InputError(f"{at}: {why}") from None
        graph = self.system.graphs[spec.rule]
        self.fired |= {edge_name(graph, edge) for edge in outcome.path}
        given = [*outcome.numbers(me), *outcome.numbers(me, s.VMA)]
        bind(spec, step, world.fds, [] if outcome.errno else given, 0)
        world.adopt(outcome, wanted)
        world.forget_mappings()
        results(said, world, spec, step, outcome, outcome.numbers(me))
        sentence = fill(self.system.operations[spec.rule].sentence, said.words)
        if outcome.errno:
            sentence = f"{step.by}: {spec.title} is refused with {outcome.errno}"
        args = {k: str(v) for k, v in step.args.items()}
        self._append(
            TraceStep(
                rule=spec.rule, actor=step.by, args=args, sentence=sentence, say=step.say or "",
                call=strace(spec.call, said, spec, step, outcome.errno, outcome.numbers(me)),
                errno=outcome.errno,
            )
        )  # fmt: skip

    def _why_blocked(self, step: Step) -> str:
        """Why a call can't go on here."""
        if full := self.world.scope.full():
            return f"the model has at most {full}"
        inside = [c for c in self.world.scope.domain(CPU) if self.world.get(s.RUNNING, c)]
        if inside:
            cpu = self.world.name(CPU, inside[0])
            return f"{step.do} has to wait until {cpu} has left its program (do: leave, cpu: {cpu})"
        return f"{step.do} has to wait here, and nothing will end it"

    def _new_names(self, spec: StepSpec, step: Step, at: str) -> list[str]:
        names: list[str] = []
        for arg in spec.args:
            if arg.kind in ("name", "child"):
                name = str(step.args[arg.name])
                if self.world.object_named(name) or name in [*self.world.procs, *names]:
                    raise InputError(f"{at}: {arg.name}: the name `{name}` is taken")
                names += [name] if arg.kind == "name" else []
        return names

    def _type(self, arg: Arg, step: Step, env: dict[str, Any], at: str) -> None:
        """The type of a new map or program, into the parameter of the rule that it is."""
        wanted = str(step.args.get(arg.name, arg.words[0]))
        for param, sort in (
            ("maptype", s.MAP_TYPE),
            ("sockettype", s.SOCKET_TYPE),
            ("type", self.system.types),
        ):
            if wanted in sort.names:
                env[param] = sort.names.index(wanted)

    def _value(self, arg: Arg, step: Step, at: str) -> Any:
        value = step.args.get(arg.name, [])
        if arg.kind == "word":
            return arg.words.index(value or arg.words[0])
        if arg.kind == "maps":
            return [self._fd(step, v, arg.name, at) for v in value]
        if arg.kind == "files":
            several = value if isinstance(value, list) else [value]
            numbers = [self._fd(step, v, arg.name, at) for v in several]
            return [self._allowed(arg, step, n, at) for n in numbers]
        if arg.kind == "fd":
            return self._allowed(arg, step, self._fd(step, value, arg.name, at), at)
        if arg.kind == "number":
            return self._number(step, value, arg.name, at)
        if arg.kind == "theirs":
            return self._fd(step, value, arg.name, at, str(step.args.get("process")))
        if arg.kind == "mapping":
            return self._mapping(step, value, arg.name, at)
        if arg.kind == "flag":
            return bool(value)
        if arg.kind == "key":
            return self._key(step, int(value), at)
        if arg.kind == "child":
            return self.world.process(value)
        if arg.kind == "object":
            return self._object(arg, value, at)
        if arg.kind == "path":
            return self._path(arg, step, short_path(value), at)
        if arg.kind == "point":
            return self._point(arg, step, value, at)
        if arg.kind == "cpu":
            return self._cpu(value, at)
        if arg.kind == "process":
            known = value in self.world.procs
            if not known or not self.world.get(s.RUN_OF, self.world.process(value)):
                raise InputError(f"{at}: {arg.name}: no process `{value}` has acted before")
            return self.world.process(value)
        n = self.world.object_named(value)
        kind = self.world.scope.kinds[n - 1] if n else ""
        if kind not in ((arg.of,) if arg.of else self.system.targets):
            what = (arg.of or "hook").replace("_", " ")
            raise InputError(f"{at}: {arg.name}: no {what} `{value}` was made before")
        return n

    def _fd(self, step: Step, name: str, field_: str, at: str, owner: str = "") -> int:
        """The number behind a descriptor's name (0: the call that should have given it failed)."""
        by = owner or step.by or ""
        what = "mapping" if name.startswith("@") else "descriptor"
        if (by, name) not in self.world.fds:
            mark = name[:1] == "@"
            own = [n for p, n in self.world.fds if p == by and (n[:1] == "@") == mark]
            known = sorted(n.removeprefix("@") for n in own)
            hint = f"; it has had {', '.join(known)}" if known else "; it has had none"
            raise InputError(f"{at}: {field_}: {by} has no {what} `{name.removeprefix('@')}`{hint}")
        return self.world.fds[(by, name)]

    def _path(self, arg: Arg, step: Step, text: str, at: str) -> list[int]:
        """What a text can mean, of which the rules take what it does mean."""
        found = self.world.meant(text, is_relative(self.language.spec(step, at)))
        if not found:
            point = text.rpartition("/")[0]
            raise InputError(f"{at}: {arg.name}: nothing was ever mounted at `{point}`")
        return found

    def _point(self, arg: Arg, step: Step, name: str, at: str) -> int:
        """A mount point; only a mount makes one."""
        if step.do != "mount" and not self.world.known_point(name):
            raise InputError(f"{at}: {arg.name}: nothing was ever mounted at `{name}`")
        return self.world.point(name)

    def _number(self, step: Step, name: str, field_: str, at: str) -> int:
        """A descriptor's number, whether it is open or not; it must have been given once."""
        number = self._fd(step, name, field_, at)
        if not number:
            raise InputError(f"{at}: {field_}: `{name}` never got a number: its call failed")
        return number

    def _mapping(self, step: Step, name: str, field_: str, at: str) -> int:
        """The number of a mapping that is there: what is not mapped can't be unmapped by name."""
        number = self._fd(step, f"@{name}", field_, at)
        process = self.world.process(step.by or "")
        if not number or not self.world.get(s.VMA, process, number):
            raise InputError(f"{at}: {field_}: {step.by} has no mapping `{name}` any more")
        return number

    def _allowed(self, arg: Arg, step: Step, number: int, at: str) -> int:
        """What the model leaves out is refused here, in words (README)."""
        operation = self.system.operations[self.language.spec(step, at).rule]
        if not number and arg.name in operation.given:
            name = step.args[arg.name]
            raise InputError(f"{at}: {arg.name}: `{name}` never got a number: its call failed")
        behind = self._behind(step, number)
        kind = self.world.scope.kinds[behind - 1] if behind else ""
        if kind and kind == operation.never.get(arg.name):
            raise InputError(f"{at}: {arg.name}: the model does not {step.do} a {kind}")
        if kind in self.system.events and kind in self.system.targets:
            self._named_as_its_event(arg, step, kind, at)
        if kind in self.system.links and arg.of == "link":
            self._named_by_its_card(arg, step, kind, at)
        if kind == "socket" and (step.do, arg.name) == ("send", "over"):
            self._not_intercepted(behind, at)
        types = set(operation.only.get(arg.name, ()))
        if types & set(s.SOCKET_TYPE.names):
            found = s.SOCKET_TYPE.names[self.world.get(s.STYPE, behind)]
            if kind == "socket" and found not in types:
                raise InputError(f"{at}: {arg.name}: the model does not {step.do} a {found} socket")
        elif types and kind == "map":
            found = s.MAP_TYPE.names[self.world.get(s.MTYPE, behind)]
            if found not in types:
                raise InputError(
                    f"{at}: {arg.name}: the model has no elements for a map of type {found}; "
                    f"only for {', '.join(operation.only[arg.name])}"
                )
        return number

    def _named_as_its_event(self, arg: Arg, step: Step, kind: str, at: str) -> None:
        """One system call attaches to every kind of perf event, and goes by the event: a scenario
        must call it by the card of that kind. (__perf_event_set_bpf_prog: kernel/events/core.c)"""
        card = self.system.targets[kind]
        if arg.of in self.system.events and arg.of != kind:
            event = step.args[arg.name]
            raise InputError(f"{at}: api: `{event}` is a {kind}: say `api: {card.api}`")

    def _named_by_its_card(self, arg: Arg, step: Step, kind: str, at: str) -> None:
        """What is done with a link goes by its kind: a scenario must call it by the card of that
        kind. (link->ops: kernel/bpf/syscall.c:link_update, link_detach)"""
        card, link = self.system.links[kind], step.args[arg.name]
        if self.language.spec(step, at).api == card.api:
            return
        if any(x.do == step.do and x.api == card.api for x in self.language.specs):
            raise InputError(f"{at}: api: `{link}` is of {card.api}: say `api: {card.api}`")
        raise InputError(f"{at}: {arg.name}: the model does not {step.do} a link of {card.api}")

    def _not_intercepted(self, socket: int, at: str) -> None:
        """A program that runs on what a socket receives takes it, but for its descriptors."""
        psock = self.world.get(s.PSOCK, self.world.get(s.PEER, socket))
        if self.world.get(s.VERDICTS[0], psock):
            raise InputError(
                f"{at}: over: the model sends nothing to a socket that has an sk_skb program"
            )

    def _behind(self, step: Step, number: int) -> int:
        """The object behind a descriptor of the acting process, or 0."""
        process = self.world.process(step.by or "")
        return self.world.get(s.FILE_OBJ, self.world.get(s.FD_SLOT, process, number))

    def _key(self, step: Step, key: int, at: str) -> int:
        """A key of a cpumap is a CPU, of which the model has few."""
        fds = self.world.fds
        behind = self._behind(step, fds.get((step.by or "", str(step.args.get("map"))), 0))
        is_cpumap = self.world.get(s.MTYPE, behind) == s.MAP_TYPE.cpumap
        if is_cpumap and step.do == "map_update" and key >= CPUS:
            raise InputError(f"{at}: key: a cpumap's keys are CPUs: a number from 0 to {CPUS - 1}")
        return key + 1

    def _object(self, arg: Arg, name: str, at: str) -> int:
        n = self.world.object_named(name)
        if not n or self.world.kind_word(n) not in arg.of.split("|"):
            raise InputError(
                f"{at}: {arg.name}: no {arg.of.replace('|', ', ')} `{name}` was made before"
            )
        return n

    def _cpu(self, name: str, at: str) -> int:
        cpus = {f"cpu{c - 1}": c for c in self.world.scope.domain(CPU)}
        if name not in cpus:
            raise InputError(f"{at}: cpu: one of {', '.join(cpus)}")
        return cpus[name]

    # -- the world and single rules ------------------------------------------------------------

    def _world_step(self, spec: StepSpec, step: Step, at: str) -> None:
        names = {"process": "p", "cpu": "c", "hook": "hook", "map": "outer"}
        env = {names[a.name]: int(self._value(a, step, at)) for a in spec.args if a.name in names}
        if spec.do == "look_up" and "nest" in self.rules:
            self._nest(env["c"])
        for rule, row in self._rules_of(spec, step, env):
            try:
                outcome = self.world.fire(rule, row)
            except Blocked:
                continue
            self.record(rule, row, outcome, spec.call, step)
            return
        raise InputError(f"{at}: {self._why_not(spec, env)}")

    def _rules_of(
        self, spec: StepSpec, step: Step, env: Mapping[str, int]
    ) -> Iterator[tuple[Rule, Mapping[str, int]]]:
        """What a step of the world can be: an event runs the hook's own program, or its first
        link's."""
        if spec.do == "look_up":
            yield from self._look_ups(env, int(step.args["key"]) + 1)
            return
        yield self.rules[spec.rule], env
        if spec.do == "enter" and "enter_link" in self.rules:
            for link in self.world.attachments_of(env["hook"]):
                yield self.rules["enter_link"], {"c": env["c"], "link": link}

    def _nest(self, cpu: int) -> None:
        """A program that may not sleep takes RCU before it looks anything up, where it has not."""
        rule, env = self.rules["nest"], {"c": cpu}
        with contextlib.suppress(Blocked):
            self.record(rule, env, self.world.fire(rule, env), "", None)

    def _look_ups(
        self, env: Mapping[str, int], element: int
    ) -> Iterator[tuple[Rule, Mapping[str, int]]]:
        """The program's places that hold the map."""
        world, c = self.world, env["c"]
        for place in world.scope.domain(IDX):
            if world.get(s.USED, world.get(s.RUNNING, c), place) == env["outer"]:
                yield self.rules["look_up"], {"c": c, "i": place, "n": element}

    def _why_not(self, spec: StepSpec, env: Mapping[str, int]) -> str:
        """Why an event can't happen here, in words."""
        world = self.world
        if spec.do == "kill":
            return f"{world.name(PROC, env['p'])} is not running"
        cpu = world.name(CPU, env["c"])
        running = world.get(s.RUNNING, env["c"])
        if spec.do == "leave" or (spec.do == "look_up" and not running):
            return f"{cpu} runs no program"
        if spec.do == "look_up":
            what = f"{world.name(OBJ, running)} finds no inner map there"
            return f"{what}: it does not use that map of maps, or the element is empty"
        if running:
            return f"{cpu} is still inside {world.name(OBJ, running)}"
        return f"nothing is attached to {world.name(OBJ, env['hook'])}, so no event runs anything"

    def _fire_named(self, step: Step, at: str) -> None:
        name = str(step.args.get("rule"))
        rule = self.rules.get(name)
        if rule is None:
            raise InputError(f"{at}: rule: no rule `{name[:60]}`")
        env: dict[str, int] = {}
        for p in rule.params:
            env[p.name] = self._entity(p.sort, step.args.get(p.name), f"{at}: {p.name}")
        known = {"rule", "name", *(p.name for p in rule.params)}
        for extra in step.args:
            if extra not in known:
                raise InputError(f"{at}: {extra}: {name} takes {', '.join(sorted(known))}")
        try:
            outcome = self.world.fire(rule, env)
        except Blocked:
            raise InputError(f"{at}: rule: {name} can't fire here") from None
        self.record(rule, env, outcome, "", step, str(step.args.get("name", "")))

    def _entity(self, sort: Any, value: Any, at: str) -> int:
        text = str(value)
        if value is None:
            raise InputError(f"{at}: this field is missing")
        if sort in (TASK, PROC):
            if not WORD.fullmatch(text) or len(self.world.procs) > MAX_PROCESSES:
                raise InputError(f"{at}: no process `{text[:60]}`")
            return self.world.task(text) if sort == TASK else self.world.process(text)
        if sort == PATH:
            known = self.world.path_named(text)
            if not known:
                check_value(Arg("", "path"), text, at)
            return known or self.world.path(short_path(text))
        if sort == CPU:
            return self._cpu(text, at)
        if sort == FD and text.isdigit() and FIRST_FD <= int(text) < FIRST_FD + 64:
            return int(text) - FIRST_FD + 1
        if sort == OBJ and self.world.object_named(text):
            return self.world.object_named(text)
        if sort.names and text in sort.names:
            return int(sort.names.index(text))
        if sort == BOOL and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if text.isdigit() and int(text) <= 64:
            return int(text)
        raise InputError(f"{at}: no {sort.name} `{text[:60]}`")

    def record(
        self, rule: Rule, env: Mapping[str, int], outcome: Outcome, call: str,
        step: Step | None, wanted: str = "",
    ) -> None:  # fmt: skip
        world = self.world
        self.fired.add(rule.name)
        words = {p.name: self._word(p, env) for p in rule.params if p.name in env}
        held = self._locals(rule, env)
        world.adopt(outcome, [wanted] if wanted else [])
        for key, n in outcome.seen.items():
            prefix, _, name = key.partition(".")
            if prefix in LOCALS:
                words.setdefault(name, world.name(OBJ, n))
            elif key == self.system.dir.name:
                words.setdefault("target", world.name(OBJ, n))
        words = {**held, **words, "actor": words.get("me", "")}
        caller = world.get(s.PROC_OF, env["me"]) if rule.actor == "task" and "me" in env else 0
        numbers = outcome.numbers(caller)
        if numbers:
            words["fd"] = world.name(FD, numbers[-1])
        actor = self.actor(rule, env)
        self._append(
            TraceStep(
                rule=rule.name, actor=actor, args={k: v for k, v in words.items() if k in env},
                sentence=fill(rule.words, words), say=(step.say or "") if step else "",
                call=call, errno=outcome.errno, internal=rule.internal and step is None,
            )
        )  # fmt: skip

    def _locals(self, rule: Rule, env: Mapping[str, int]) -> dict[str, str]:
        """What the locals of a call, or of a dying object, hold before a step."""
        graph = self.system.releases.get(rule.op) or self.system.graphs.get(rule.op)
        families = graph.frame.registers if graph else {}
        held = {name: self.world.get(f, env["me"]) for name, f in families.items()}
        return {name: self.world.name(OBJ, n) for name, n in held.items()}

    def actor(self, rule: Rule, env: Mapping[str, int]) -> str:
        """Who takes a step: a task, a CPU, or the kernel."""
        first = next((p for p in rule.params if p.name in ("me", "c")), None)
        own = first is not None and rule.actor in ("task", "cpu")
        return self.world.name(first.sort, env[first.name]) if own and first else rule.actor

    def _word(self, p: Param, env: Mapping[str, int]) -> str:
        """A parameter in words; a descriptor with what is behind it."""
        world = self.world
        text = world.name(p.sort, env[p.name])
        if p.sort != FD:
            return text
        process = world.get(s.PROC_OF, env["me"]) if "me" in env else env["p"]
        behind = world.get(s.FILE_OBJ, world.get(s.FD_SLOT, process, env[p.name]))
        return f"{text} ({world.name(OBJ, behind)})" if behind else text

    def _append(self, step: TraceStep) -> None:
        self.steps.append(step)
        if self.watched:
            self.states.append(self.world.state())

    def trace(self) -> Trace:
        """What happened so far."""
        return Trace(
            title=self.title, steps=self.steps, states=self.states, violation=self.violation,
            scenario=self.scenario,
        )  # fmt: skip


def _gives_up_nothing(rule: Rule) -> bool:
    """A step of a release path that may have nothing to do: a loop that ends, an optional put.
    (That work runs, or a grace period begins, is always worth a step.)"""
    return any(edge.leaves_loop or edge.step.text.startswith("put ") for edge in rule.edges)


def _looks_the_same(states: list[State]) -> bool:
    """Nothing that people see has changed, but for what a dying object does next."""
    if len(states) < 2:
        return False
    before, after = states
    old, new = (
        {n: o.model_copy(update={"note": ""}) for n, o in x.objects.items()}
        for x in (before, after)
    )
    rest = (before.processes, before.cpus, before.slots) == (
        after.processes, after.cpus, after.slots,
    )  # fmt: skip
    return rest and old == new


def player(scenario: Scenario) -> Player:
    """A player that has played the whole scenario. InputError names the step that can't be."""
    p = Player(system_of(scenario), scenario.title or scenario.scenario)
    p.scenario = scenario
    for number, step in enumerate(scenario.steps):
        p.play(step, where(scenario, number), scenario.settle)
        if p.violation:
            break
    return p


def play(scenario: Scenario) -> Trace:
    """The trace of a scenario. InputError if a step can't be understood or can't happen."""
    return player(scenario).trace()
