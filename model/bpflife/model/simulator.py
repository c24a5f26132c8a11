"""The simulator: plays a scenario on the rules and writes down what happened (a `Trace`).

    trace = play(scenario)            # every step, with the kernel's own work in between
    nexts = choices(scenario)         # what can happen after it

Nothing here knows a rule: calls run along their step graph, internal work is whatever rule marked
internal can fire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import state as s
from .catalogue import system_for
from .concrete import Blocked
from .documents import InputError, Scenario, Step, Trace, TraceStep, Violation
from .language import BPFFS, Arg, Language, StepSpec, where
from .operations import Rule
from .state import Broken
from .system import System
from .values import CPU, FD, LIFE, OBJ, PATH, PROC, RUN, TASK
from .world import FIRST_FD, Outcome, World

MAX_INTERNAL = 500  # internal work after one step; it terminates, this catches a broken card


def fill(template: str, words: Mapping[str, str]) -> str:
    """`{name}` replaced by words; anything else is left as it stands (never `str.format`: a
    card may be hostile)."""
    return re.sub(r"\{(\w+)\}", lambda m: words.get(m.group(1), m.group(0)), template)


@dataclass
class Player:
    """Plays steps one after another; `trace_steps` and `states` grow."""

    system: System
    title: str = ""
    world: World = field(init=False)
    steps: list[TraceStep] = field(default_factory=list)
    scenario: Scenario | None = None

    def __post_init__(self) -> None:
        self.world = World(self.system)
        self.language = Language(self.system)
        self.rules = {r.name: r for r in self.system.rules()}
        self.internal = [r for r in self.rules.values() if r.internal]
        self.states = [self.world.state()]
        self.violation: Violation | None = None

    # -- one step of a scenario ----------------------------------------------------------------

    def play(self, step: Step, at: str, settle: bool) -> None:
        """One step, then the kernel's own work. InputError if it can't be done here."""
        spec = self.language.spec(step, at)
        try:
            if spec.do == "fire":
                self._fire_named(step, at)
            elif spec.actor == "process":
                self._call(spec, step, at)
            else:
                self._world_step(spec, step, at)
        except Broken as e:
            broken = f"a step of {step.do} can't run: {e} does not hold"
            self.violation = Violation(
                property="no-broken-step", at=len(self.states) - 1, sentence=broken
            )
            return
        if settle:
            self.settle()
        settled = self._settled_copy()
        last = next(i for i in reversed(range(len(self.steps))) if not self.steps[i].internal)
        self.steps[last] = self.steps[last].model_copy(update={"settled": settled.settled()})

    def _settled_copy(self) -> World:
        twin = self.world.copy()
        quiet = Player.__new__(Player)
        quiet.world, quiet.internal, quiet.steps, quiet.states = twin, self.internal, [], []
        quiet.system = self.system
        quiet.settle(readers=True)
        return twin

    def settle(self, readers: bool = False) -> None:
        """Let internal work run until none is left. Readers stay inside unless told."""
        rules = [r for r in self.internal if readers or r.actor != "cpu"]
        for _ in range(MAX_INTERNAL):
            ready = self.world.enabled(rules)
            if not ready:
                return
            rule, env = ready[0]
            self._record(rule, env, self.world.fire(rule, env), "", None)
        raise InputError(f"internal work does not end ({rule.name} again and again)")

    # -- calls ---------------------------------------------------------------------------------

    def _call(self, spec: StepSpec, step: Step, at: str) -> None:
        world = self.world
        assert step.by is not None
        me = world.process(step.by)
        if world.get(s.RUN_OF, me) in (RUN.exiting, RUN.exited):
            raise InputError(f"{at}: by: process {step.by} has exited")
        wanted = self._new_name(spec, step, at)
        env: dict[str, Any] = {"me": me, "type": self._type(step, at)}
        for arg in spec.args:
            if arg.kind not in ("name", "newfd", "type"):
                env[arg.name] = self._value(arg, step, at)
        try:
            outcome = world.call(self.system.graphs[spec.rule], env)
        except Blocked:
            raise InputError(f"{at}: {step.do} has to wait here, and nothing will end it") from None
        self._bind(spec, step, outcome, wanted, at)
        world.adopt(outcome, wanted)
        words = self._call_words(spec, step, outcome)
        sentence = fill(self.system.operations[spec.rule].sentence, words)
        if outcome.errno:
            sentence = f"{step.by}: {spec.title} is refused with {outcome.errno}; nothing changes"
        args = {k: str(v) for k, v in step.args.items()}
        self._append(
            TraceStep(
                rule=spec.rule, actor=step.by, args=args, sentence=sentence, say=step.say or "",
                call=self._strace(spec, words, step, outcome), errno=outcome.errno,
            )
        )  # fmt: skip

    def _new_name(self, spec: StepSpec, step: Step, at: str) -> str:
        arg = next((a for a in spec.args if a.kind == "name"), None)
        name = str(step.args[arg.name]) if arg else ""
        if name and (self.world.object_named(name) or name in self.world.procs):
            raise InputError(f"{at}: {arg.name if arg else ''}: the name `{name}` is taken")
        return name

    def _type(self, step: Step, at: str) -> int:
        names = self.system.types.names
        wanted = step.args.get("type", names[0])
        if wanted not in names:
            raise InputError(f"{at}: type: one of {', '.join(names)} (the types of these cards)")
        return names.index(str(wanted))

    def _value(self, arg: Arg, step: Step, at: str) -> Any:
        value = step.args.get(arg.name, [])
        if arg.kind == "maps":
            return [self._fd(step, v, arg.name, at) for v in value]
        if arg.kind == "fd":
            return self._fd(step, value, arg.name, at)
        if arg.kind == "path":
            return self.world.path(value)
        if arg.kind == "cpu":
            return self._cpu(value, at)
        if arg.kind == "process":
            if value not in self.world.procs:
                raise InputError(f"{at}: {arg.name}: no process `{value}` has acted before")
            return self.world.process(value)
        n = self.world.object_named(value)
        if not n or self.world.scope.kinds[n - 1] not in self.system.targets:
            raise InputError(f"{at}: {arg.name}: no hook `{value}` was made before")
        return n

    def _fd(self, step: Step, name: str, field_: str, at: str) -> int:
        key = (step.by or "", name)
        if key not in self.world.fds:
            known = sorted(n for p, n in self.world.fds if p == step.by)
            hint = f"; it has had {', '.join(known)}" if known else "; it has had none"
            raise InputError(f"{at}: {field_}: {step.by} has no descriptor `{name}`{hint}")
        return self.world.fds[key]

    def _cpu(self, name: str, at: str) -> int:
        cpus = {f"cpu{c - 1}": c for c in self.world.scope.domain(CPU)}
        if name not in cpus:
            raise InputError(f"{at}: cpu: one of {', '.join(cpus)}")
        return cpus[name]

    def _bind(self, spec: StepSpec, step: Step, outcome: Outcome, wanted: str, at: str) -> None:
        """The scenario's name for the descriptor that the call returned (0: it failed)."""
        arg = next((a for a in spec.args if a.kind == "newfd"), None)
        if arg is None or step.by is None:
            return
        default = wanted or str(step.args.get("path", "")).removeprefix(BPFFS) or f"{step.args.get('fd')}2"
        label = str(step.args.get(arg.name, default)).lower()
        number = 0 if outcome.errno else outcome.seen.get("fd number", 0)
        if number or (step.by, label) not in self.world.fds:
            self.world.fds[(step.by, label)] = number

    # -- words -----------------------------------------------------------------------------------

    def _call_words(self, spec: StepSpec, step: Step, outcome: Outcome) -> dict[str, str]:
        world = self.world
        words = {"actor": step.by or ""}
        for key, n in outcome.seen.items():
            prefix, _, name = key.partition(".")
            if prefix in ("reg", "ptr", "dying"):
                words[name] = world.name(OBJ, n)
        if "fd number" in outcome.seen:
            words["fd"] = f"descriptor {outcome.seen['fd number'] + FIRST_FD - 1}"
        for arg in spec.args:
            value = step.args.get(arg.name)
            if arg.kind == "fd" and value is not None:
                words[arg.name] = self._fd_words(step, str(value))
            elif arg.kind == "maps":
                words[arg.name] = ", ".join(value or []) or "no map"
            elif arg.kind == "path":
                words[arg.name] = BPFFS + str(value).removeprefix(BPFFS)
            elif value is not None and arg.kind != "newfd":
                words[arg.name] = str(value)
        words["type"] = self.system.types.names[self._type(step, "")]
        return words

    def _fd_words(self, step: Step, label: str) -> str:
        n = self.world.fds.get((step.by or "", label), 0)
        return f"descriptor {n + FIRST_FD - 1} ({label})" if n else f"descriptor -1 ({label})"

    def _strace(
        self, spec: StepSpec, words: dict[str, str], step: Step, outcome: Outcome
    ) -> str:
        if not spec.call:
            return ""
        numbers = {k: re.sub(r"descriptor (-?\d+).*", r"\1", v) for k, v in words.items()}
        for arg in spec.args:
            if arg.kind == "maps":
                labels = step.args.get(arg.name, [])
                fds = [self.world.fds.get((step.by or "", m), 0) + FIRST_FD - 1 for m in labels]
                numbers[arg.name] = f"[{', '.join(map(str, fds))}]"
        result = "0"
        if outcome.errno:
            result = f"-1 {outcome.errno}"
        elif "fd number" in outcome.seen:
            result = str(outcome.seen["fd number"] + FIRST_FD - 1)
        if "new" not in numbers:
            numbers["new"] = next((str(step.args[a.name]) for a in spec.args if a.kind == "name"), "")
        return f"{fill(spec.call, numbers)} = {result}"

    # -- the world and single rules ----------------------------------------------------------------

    def _world_step(self, spec: StepSpec, step: Step, at: str) -> None:
        names = {"process": "p", "cpu": "c", "hook": "hook"}
        env = {names[a.name]: int(self._value(a, step, at)) for a in spec.args}
        rule = self.rules[spec.rule]
        try:
            outcome = self.world.fire(rule, env)
        except Blocked:
            raise InputError(f"{at}: {self._why_not(spec, env)}") from None
        self._record(rule, env, outcome, spec.call, step)

    def _why_not(self, spec: StepSpec, env: Mapping[str, int]) -> str:
        """Why an event can't happen here, in words."""
        world = self.world
        if spec.do == "kill":
            return f"{world.name(PROC, env['p'])} is not running"
        cpu = world.name(CPU, env["c"])
        running = world.get(s.RUNNING, env["c"])
        if spec.do == "leave":
            return f"{cpu} runs no program"
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
        self._record(rule, env, outcome, "", step, str(step.args.get("name", "")))

    def _entity(self, sort: Any, value: Any, at: str) -> int:
        text = str(value)
        if value is None:
            raise InputError(f"{at}: this field is missing")
        if sort in (TASK, PROC):
            return self.world.process(text)
        if sort == PATH:
            return self.world.path(text)
        if sort == CPU:
            return self._cpu(text, at)
        if sort == FD and text.isdigit() and FIRST_FD <= int(text) < FIRST_FD + 64:
            return int(text) - FIRST_FD + 1
        if sort == OBJ and self.world.object_named(text):
            return self.world.object_named(text)
        if sort.names and text in sort.names:
            return int(sort.names.index(text))
        if text.isdigit() and int(text) <= 64:
            return int(text)
        raise InputError(f"{at}: no {sort.name} `{text[:60]}`")

    def _record(
        self, rule: Rule, env: Mapping[str, int], outcome: Outcome, call: str,
        step: Step | None, wanted: str = "",
    ) -> None:  # fmt: skip
        world = self.world
        world.adopt(outcome, wanted)
        words = {p.name: world.name(p.sort, env[p.name]) for p in rule.params if p.name in env}
        for key, n in outcome.seen.items():
            prefix, _, name = key.partition(".")
            if prefix in ("reg", "ptr", "dying"):
                words.setdefault(name, world.name(OBJ, n))
        words["actor"] = words.get("me", "")
        actor = words["me"] if rule.actor == "task" else words.get("c", rule.actor)
        self._append(
            TraceStep(
                rule=rule.name, actor=actor, args={k: v for k, v in words.items() if k in env},
                sentence=fill(rule.words, words), say=(step.say or "") if step else "",
                call=call, errno=outcome.errno, internal=rule.internal,
            )
        )  # fmt: skip

    def _append(self, step: TraceStep) -> None:
        self.steps.append(step)
        self.states.append(self.world.state())

    def trace(self) -> Trace:
        """What happened so far."""
        return Trace(
            title=self.title, steps=self.steps, states=self.states, violation=self.violation,
            scenario=self.scenario,
        )  # fmt: skip


def player(scenario: Scenario) -> Player:
    """A player that has played the whole scenario. InputError names the step that can't be."""
    p = Player(system_for(scenario.cards), scenario.title or scenario.scenario)
    p.scenario = scenario
    for number, step in enumerate(scenario.steps):
        p.play(step, where(scenario, number), scenario.settle)
        if p.violation:
            break
    return p


def play(scenario: Scenario) -> Trace:
    """The trace of a scenario. InputError if a step can't be understood or can't happen."""
    return player(scenario).trace()


# ---------------------------------------------------------------------------------------------
# what can happen next


@dataclass(frozen=True)
class Choice:
    """A step that can happen now, ready to append to the scenario."""

    step: Step
    label: str
    actor: str
    errno: str | None = None


def choices(scenario: Scenario, limit: int = 80) -> list[Choice]:
    """The steps that can happen after a scenario, calls of processes first, then events, then
    the kernel's own work (when the scenario is not settled by itself)."""
    p = player(scenario)
    found: list[Choice] = []
    if p.violation:
        return found
    names = [n for n in p.world.procs if p.world.get(s.RUN_OF, p.world.process(n)) == RUN.running]
    spare = next(n for n in ("loader", "admin", "other", "fourth", "fifth") if n not in p.world.procs)
    for by in [*names, spare] if len(p.world.procs) < 4 else names:
        found += _calls_of(p, by)
    found += _events(p)
    if not scenario.settle:
        for rule, env in p.world.enabled([r for r in p.internal if r.actor != "cpu"]):
            args = {q.name: _entity_text(p.world, q.sort, env[q.name]) for q in rule.params}
            step = Step(do="fire", rule=rule.name, **args)  # type: ignore[arg-type]
            words = {q.name: p.world.name(q.sort, env[q.name]) for q in rule.params}
            found.append(Choice(step, fill(rule.words, words), "kernel"))
    return found[:limit]


def _entity_text(world: World, sort: Any, n: int) -> str:
    return str(n + FIRST_FD - 1) if sort == FD else world.name(sort, n)


def _calls_of(p: Player, by: str) -> list[Choice]:
    found = []
    for spec in p.language.specs:
        if spec.actor != "process" or spec.do == "replace":
            continue
        for args in _arguments(p, spec, by):
            step = Step(do=spec.do, by=by, **args)
            errno = _errno_of(p, spec, step)
            if errno is None:
                continue
            shown = ", ".join(
                f"[{', '.join(v)}]" if isinstance(v, list) else str(v)
                for k, v in args.items() if k != "api"
            )  # fmt: skip
            found.append(Choice(step, f"{spec.title}{f': {shown}' if shown else ''}", by))
    return found


def _errno_of(p: Player, spec: StepSpec, step: Step) -> str | None:
    """"" when the call would succeed, None when it is refused or would wait."""
    trial = Player.__new__(Player)
    trial.system, trial.world, trial.language = p.system, p.world.copy(), p.language
    trial.rules, trial.internal, trial.steps, trial.states = p.rules, p.internal, [], []
    try:
        trial._call(spec, step, "")
    except InputError:
        return None
    except Broken:
        return ""
    return None if trial.steps[-1].errno else ""


def _arguments(p: Player, spec: StepSpec, by: str) -> list[dict[str, Any]]:
    """Sensible arguments: every open descriptor, every hook, every path and one new name."""
    rows: list[dict[str, Any]] = [{"api": spec.api}] if spec.api else [{}]
    for arg in spec.args:
        if arg.optional and arg.kind != "maps":
            if arg.kind == "type" and len(p.system.types.names) > 1:
                rows = [{**r, "type": t} for r in rows for t in p.system.types.names]
            continue
        rows = [{**r, arg.name: v} for r in rows for v in _values(p, arg, by)]
    return rows


def _values(p: Player, arg: Arg, by: str) -> list[Any]:
    world = p.world
    mine = [
        label for (owner, label), n in world.fds.items()
        if owner == by and n and world.get(s.FD_SLOT, world.process(by), n)
    ] if by in world.procs else []  # fmt: skip
    if arg.kind == "name":
        stem = {"map": "counts", "prog": "filter"}.get(arg.name, "hook")
        taken = set(world.objects.values())
        return [next(f"{stem}{n}" for n in range(1, 99) if f"{stem}{n}" not in taken)]
    if arg.kind == "fd":
        return mine
    if arg.kind == "maps":
        maps = [m for m in mine if _is_map(world, by, m)]
        return [[], *[[m] for m in maps], *([maps] if len(maps) > 1 else [])]
    if arg.kind == "path":
        new = next(f"pin{n}" for n in range(1, 99) if f"pin{n}" not in world.paths)
        return [*world.paths, new]
    return [
        world.objects[n] for n in world.objects
        if world.scope.kinds[n - 1] in p.system.targets and world.get(s.LIFE_OF, n) == LIFE.live
    ]  # fmt: skip


def _is_map(world: World, by: str, label: str) -> bool:
    file = world.get(s.FD_SLOT, world.process(by), world.fds[(by, label)])
    o = world.get(s.FILE_OBJ, file)
    return bool(o) and world.scope.kinds[o - 1] == "map"


def _events(p: Player) -> list[Choice]:
    found = []
    kinds = [("kill", "process"), ("enter", "cpu"), ("leave", "cpu")]
    for name, _ in kinds:
        rule = p.rules.get(name)
        if rule is None:
            continue
        for _, env in p.world.enabled([rule]):
            words = {q.name: p.world.name(q.sort, env[q.name]) for q in rule.params}
            fields = {"p": "process", "c": "cpu", "hook": "hook"}
            args = {fields[k]: v for k, v in words.items()}
            step = Step(do=name, **args)  # type: ignore[arg-type]
            found.append(Choice(step, fill(rule.words, words), words.get("c", "world")))
    return found
