"""What can happen next: every step that a scenario can go on with, ready to append.

Calls are tried, not reasoned about: an offer is a step that the simulator has just played on a
copy of the world.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import state as s
from .documents import InputError, Scenario, Step
from .language import Arg, StepSpec, is_relative
from .phrases import fill
from .simulator import Player, player
from .state import Broken
from .values import CPU, FD, IDX, LIFE, OBJ, RUN
from .vocabulary import MAX_CARGO
from .world import FIRST_FD, World

MAX_EACH = 30  # of one step by one process: a longer list is not read
OFFERED_KEYS = (0, 1)  # of a map's elements
MAX_OFFERED = 4  # living processes; who has as many is offered no new one


@dataclass(frozen=True)
class Choice:
    """A step that can happen now, ready to append to the scenario."""

    step: Step
    label: str
    actor: str
    errno: str | None = None


def choices(scenario: Scenario, limit: int = 80) -> list[Choice]:
    """The steps that can happen after a scenario, calls of processes first (at most `limit` of
    each), then events, then the kernel's own work (when the scenario is not settled by itself)."""
    p = player(scenario)
    found: list[Choice] = []
    if p.violation:
        return found
    world = p.world
    names = [n for n in world.procs if world.get(s.RUN_OF, world.process(n)) == RUN.running]
    fresh = next(n for n in _new_processes() if n not in world.procs)
    for by in [*names, fresh] if len(names) < MAX_OFFERED else names:
        found += _calls_of(p, by)[:limit]
    found += _events(p)
    if not scenario.settle:
        for rule, env in p.world.enabled([r for r in p.internal if r.actor != "cpu"]):
            args = {q.name: _entity_text(p.world, q.sort, env[q.name]) for q in rule.params}
            step = Step(do="fire", rule=rule.name, **args)
            words = {q.name: p.world.name(q.sort, env[q.name]) for q in rule.params}
            found.append(Choice(step, fill(rule.words, words), "kernel"))
    return found


def _new_processes() -> Iterator[str]:
    """Names for processes that have done nothing yet."""
    yield from ("loader", "admin", "other")
    yield from (f"process{n}" for n in itertools.count(4))


def _entity_text(world: World, sort: Any, n: int) -> str:
    return str(n + FIRST_FD - 1) if sort == FD else world.name(sort, n)


def _calls_of(p: Player, by: str) -> list[Choice]:
    found = []
    for spec in p.language.specs:
        if spec.actor != "process" or spec.do == "replace":
            continue
        if spec.do in ("exit", "exec") and by not in p.world.procs:
            continue  # who has done nothing yet can do so, but why
        if spec.do == "spawn" and by in p.world.procs:
            continue
        offered = 0
        for args in _arguments(p, spec, by):
            if offered == MAX_EACH:
                break
            step = Step(do=spec.do, by=by, **args)
            errno = errno_of(p, spec, step)
            if errno is None:
                continue
            shown = ", ".join(
                f"[{', '.join(v)}]" if isinstance(v, list) else str(v)
                for k, v in args.items() if k != "api"
            )  # fmt: skip
            offered += 1
            found.append(Choice(step, f"{spec.title}{f': {shown}' if shown else ''}", by))
    return found


def errno_of(p: Player, spec: StepSpec, step: Step) -> str | None:
    """ "" when the call would succeed, None when it is refused or would wait."""
    trial = Player.__new__(Player)
    trial.system, trial.world, trial.language = p.system, p.world.copy(), p.language
    trial.watched = False
    trial.rules, trial.internal, trial.steps, trial.states = p.rules, p.internal, [], []
    trial.fired = set()
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
    unusual: list[Arg] = []
    for arg in spec.args:
        if arg.optional and arg.kind != "maps":
            if arg.kind in ("type", "word"):
                unusual.append(arg)
            continue
        rows = [{**r, arg.name: v} for r in rows for v in _values(p, spec, arg, by)]
    others = [{**r, arg.name: t} for arg in unusual for t in arg.words[1:] for r in rows[:1]]
    return [*rows, *others]  # the usual goes without saying; one thing at a time is unusual


def _values(p: Player, spec: StepSpec, arg: Arg, by: str) -> list[Any]:
    world = p.world
    mine = [
        label for (owner, label), n in world.fds.items()
        if owner == by and n and label[:1] != "@" and world.get(s.FD_SLOT, world.process(by), n)
    ] if by in world.procs else []  # fmt: skip
    if arg.kind == "name":
        stem = {"map": "counts", "prog": "filter", "target": "hook"}.get(arg.name, arg.name)
        taken = set(world.objects.values())
        return [next(f"{stem}{n}" for n in range(1, 99) if f"{stem}{n}" not in taken)]
    if arg.kind == "fd":
        return [m for m in mine if not arg.of or _behind(world, by, m) == arg.of]
    if arg.kind == "maps":
        maps = [m for m in mine if _behind(world, by, m) in arg.of.split("|")]
        return [[], *[[m] for m in maps], *([maps] if len(maps) > 1 else [])]
    if arg.kind == "files":
        files = [m for m in mine if _behind(world, by, m) != "socket"]  # those are not sent
        return [*files, *([files[:MAX_CARGO]] if len(files) > 1 else [])]
    if arg.kind in ("number", "theirs", "mapping"):
        return _labels(world, by, arg.kind)
    if arg.kind == "key":
        return list(OFFERED_KEYS)
    if arg.kind == "child":
        return [next(n for n in _children(by) if n not in world.procs)]
    if arg.kind == "process":
        return [n for n in world.procs if n != by]
    if arg.kind == "object":
        kinds = arg.of.split("|")
        return [n for i, n in world.objects.items() if world.kind_word(i) in kinds]
    if arg.kind == "path":
        return _paths(world, is_relative(spec))
    if arg.kind == "point":
        points = [name.removesuffix("/") for _, name in world.paths if name[-1] == "/"]
        new = next(f"m{n}" for n in range(1, 99) if f"m{n}" not in points)
        return [*points, new] if spec.do == "mount" else points
    wanted = (arg.of,) if arg.of else tuple(p.system.targets)
    return [
        name
        for n, name in world.objects.items()
        if world.scope.kinds[n - 1] in wanted and world.get(s.LIFE_OF, n) == LIFE.live
    ]


def _paths(world: World, relative: bool) -> list[str]:
    """The names that there were in the first bpffs, at mount points or in a directory, and a new
    one in each."""
    names = [name for _, name in world.paths if name[-1] != "/"]
    new = next(f"pin{n}" for n in range(1, 99) if f"pin{n}" not in names)
    points = [name for _, name in world.paths if name[-1] == "/" and not relative]
    found = [name for i, name in world.paths if name[-1] != "/" and (relative or not i)]
    found += [new]
    for point in points:
        number = world.path(point)
        inside = [x for i, x in world.paths if i and world.get(s.POINT, i) == number]
        found += [f"{point}{name}" for name in [*inside, new]]
    return list(dict.fromkeys(found))


def _behind(world: World, by: str, label: str) -> str:
    """The kind of object behind a descriptor."""
    file = world.get(s.FD_SLOT, world.process(by), world.fds[(by, label)])
    o = world.get(s.FILE_OBJ, file)
    return world.kind_word(o) if o else ""


def _labels(world: World, by: str, kind: str) -> list[str]:
    """Names of one's own descriptors, of one's mappings, or of what others have."""
    if kind == "theirs":
        return sorted({n for p, n in world.fds if p != by and n[:1] != "@"})
    own = [n for (p, n), number in world.fds.items() if p == by and number]
    return [n.removeprefix("@") for n in own if (n[:1] == "@") == (kind == "mapping")]


def _children(by: str) -> Iterator[str]:
    """Names for children."""
    yield from (f"{by}-child{n or ''}" for n in itertools.count())


def _events(p: Player) -> list[Choice]:
    found = []
    for name in ("kill", "enter", "leave"):
        rule = p.rules.get(name)
        if rule is None:
            continue
        for _, env in p.world.enabled([rule]):
            words = {q.name: p.world.name(q.sort, env[q.name]) for q in rule.params}
            fields = {"p": "process", "c": "cpu", "hook": "hook"}
            args = {fields[k]: v for k, v in words.items()}
            step = Step(do=name, **args)
            found.append(Choice(step, fill(rule.words, words), words.get("c", "world")))
    return [*found, *_look_ups(p)]


def _look_ups(p: Player) -> Iterator[Choice]:
    """What running programs can find in the maps of maps that they use."""
    world = p.world
    for cpu in world.scope.domain(CPU) if "look_up" in p.rules else ():
        prog = world.get(s.RUNNING, cpu)
        used = dict.fromkeys(world.get(s.USED, prog, i) for i in world.scope.domain(IDX))
        for outer, i in itertools.product(used if prog else (), world.scope.domain(IDX)):
            inner = world.get(s.ELEM, outer, i)
            if outer and inner and world.get(s.MTYPE, outer) in s.HOLDS_MAPS:
                names = [world.name(OBJ, o) for o in (prog, outer, inner)]
                who = world.name(CPU, cpu)
                text = f"{names[0]} finds {names[2]} in {names[1]}, and has no count for it"
                yield Choice(Step(do="look_up", cpu=who, map=names[1], key=i - 1), text, who)
