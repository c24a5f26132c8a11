"""The scenario language: every step with its arguments, actor and the system call it stands for.

Derived from the operations of a system (linux/ and the cards), so nothing is listed twice.
`bpflife list steps` prints these; the simulator, the address bar and the builder read them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .cards import Operation
from .documents import InputError, Scenario, Step
from .explain import did_you_mean
from .graphs import Graph
from .readers import has_inner_maps
from .system import ABOUT, System, linux
from .values import BOOL
from .vocabulary import MAX_CARGO

BPFFS = "/sys/fs/bpf/"
MOUNTS = "/mnt/"  # where further instances are mounted
WORD = re.compile(r"[a-z][a-z0-9_-]{0,39}")
PIN_NAME = re.compile(r"([a-z][a-z0-9_-]{0,39}/)?[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True)
class Arg:
    """An argument of a step. `kind`: "name" (of a new object), "fd" (a descriptor, by the name
    that it was given), "newfd" (a name for the one that the call returns), "number" (the number
    behind such a name, open or not), "theirs" (a descriptor of another process), "mapping",
    "newmapping", "target" (a hook target, by name), "object" (any object, by name), "path" (a name
    in the world's first bpffs, or in the one at a mount point: `m1/name`), "point" (that mount
    point), "maps" (a list of descriptors), "files" (one descriptor or several), "type", "word" (one
    of some), "flag" (true or false), "key" (0 to 7), "process", "child" (a name for a new process),
    "cpu" or "rule". `of`: the kinds of object that it may be, `a|b`; `words`: the values of a type
    or word, the usual one first."""

    name: str
    kind: str
    optional: bool = False
    of: str = ""
    words: tuple[str, ...] = ()

    def usage(self) -> str:
        """`name: kind`, in brackets when it may be left out."""
        kind = "|".join(self.words) or {"newfd": "name", "newmapping": "name"}.get(
            self.kind, self.kind
        )
        text = f"{self.name}: {kind}"
        return f"[{text}]" if self.optional else text


@dataclass(frozen=True)
class StepSpec:
    """One step of the language. `rule`: the operation or world rule that it runs."""

    do: str
    rule: str
    args: tuple[Arg, ...]
    actor: str  # "process", "kernel" or "cpu"
    title: str
    call: str
    api: str = ""

    def usage(self) -> str:
        """`do: attach, by: PROCESS, to: ...` in one line."""
        parts = [f"do: {self.do}"]
        parts += ["by: PROCESS"] if self.actor == "process" else []
        parts += [a.usage() for a in self.args]
        return ", ".join(parts)


WORLD = (
    StepSpec("kill", "kill", (Arg("process", "process"),), "kernel",
             "a process is killed; a call in flight finishes first", "kill(PID, SIGKILL)"),
    StepSpec("enter", "enter", (Arg("cpu", "cpu"), Arg("hook", "target")), "cpu",
             "an event arrives: a CPU runs what is attached", ""),
    StepSpec("look_up", "look_up", (Arg("cpu", "cpu"), Arg("map", "object", of="map"),
                                    Arg("key", "key")), "cpu",
             "the program looks up an inner map in an element of a map of maps", ""),
    StepSpec("leave", "leave", (Arg("cpu", "cpu"),), "cpu", "the program returns", ""),
    StepSpec("fire", "", (Arg("rule", "rule"),), "kernel",
             "one single rule, as counterexamples use it: its parameters follow by name", ""),
)  # fmt: skip


EXAMPLE = {"cgroup": "cgroup_legacy", "clsact": "tc_filter"}  # a card about a kind
MAX_KEY = 7  # elements that a map of the model has, from 0
PLAIN = (
    *("path", "number", "theirs", "child", "mapping", "process", "key", "object", "flag", "point"),
)


def _arg(name: str, kind: str, system: System) -> Arg:
    if kind in PLAIN:
        return Arg(name, kind, optional=kind == "flag")
    if kind == "files":
        return Arg(name, kind)
    if kind == "listener":
        return Arg(name, "object", of="socket")
    if "|" in kind:
        return Arg(name, "object", of=kind)
    if kind in ("maps", "fds"):
        of = "map" if kind == "maps" else "map|btf"
        return Arg(name, "maps", optional=kind == "maps", of=of)
    if kind in system.dir.owners or kind in system.records:
        return Arg(name, "target", of=kind)
    return Arg(name, "fd", of="" if kind == "fd" else kind)


def _from_graph(graph: Graph, op: Operation, system: System) -> list[Arg]:
    """The arguments that stand in the steps only: types, flags, names for what a call returns."""
    found: dict[str, Arg] = {}
    for edge in graph.edges:
        for p in edge.step.params:
            if p.name == "type":
                found["type"] = Arg("type", "type", True, words=system.types.names)
            elif op.types and set(op.types) <= set(p.sort.names):
                found["type"] = Arg("type", "type", True, words=tuple(op.types))
            elif p.sort == BOOL:
                found[p.name] = Arg(p.name, "flag", True)
            elif p.sort.names:
                found[p.name] = Arg(p.name, "word", True, words=p.sort.names)
    args = list(found.values())
    if len(op.made) > 1:
        return args
    given = [e.step.gives for e in graph.edges if e.failed is None and e.step.gives]
    if "descriptor" in given:
        args.append(Arg("as" if "fd" in op.args else "fd", "newfd", True))
    if "mapping" in given:
        args.append(Arg("as", "newmapping", True))
    return args


def _spec(full: str, op: Operation, system: System, api: str = "", do: str = "") -> StepSpec:
    args = [Arg(name, "name") for name in op.made]
    args += [_arg(n, k, system) for n, k in op.args.items()]
    args += _from_graph(system.graphs[full], op, system)
    do = do or op.does or full.rpartition(".")[2] or full
    return StepSpec(do, full, tuple(args), "process", op.title, op.call, api)


def specs(system: System) -> list[StepSpec]:
    """Every step that scenarios of this system can use."""
    found = []
    for full, op in system.operations.items():
        api, _, short = full.rpartition(".")
        found.append(_spec(full, op, system, api))
        card = system.cards.get(api)
        if card and short == "attach" and card.operations.replace == "attach":
            found.append(_spec(full, op, system, api, "replace"))
    hooks = bool(system.targets)  # without a hook no event runs anything
    world = [w for w in WORLD if hooks or w.actor != "cpu"]
    nested = has_inner_maps(system.parts)
    return [*found, *(w for w in world if nested or w.rule != "look_up")]


class Language:
    """The steps of one system, and the check of a scenario's steps against them."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.specs = specs(system)

    def spec(self, step: Step, where: str) -> StepSpec:
        """The spec of a step. InputError names the step and the field."""
        found = [x for x in self.specs if x.do == step.do]
        if not found:
            hint = self._card_hint(step) or did_you_mean(step.do, {x.do for x in self.specs})
            show = "`bpflife list steps` shows them"
            raise InputError(f"{where}: do: no step `{step.do}`{hint} ({show})")
        if found[0].api:
            found = self._by_api(found, step, where)
        spec = _variant(found, step)
        if spec.actor == "process" and step.by is None:
            raise InputError(f"{where}: by: who does it? name a process (by: loader)")
        if spec.actor != "process" and step.by is not None:
            raise InputError(f"{where}: by: `{step.do}` has no acting process")
        if spec.do != "fire":
            self._check_args(spec, step.args, where)
        return spec

    def _card_hint(self, step: Step) -> str:
        if step.do in ("attach", "detach", "replace") and not self.system.cards:
            return " without a card (cards: [cgroup_legacy])"
        for part, kind in ABOUT.items():
            if step.do in linux((part,)).operations and part not in self.system.parts:
                return f" without a card about a {kind} (cards: [{EXAMPLE[kind]}])"
        return ""

    def _by_api(self, found: list[StepSpec], step: Step, where: str) -> list[StepSpec]:
        api = step.args.get("api")
        apis = [x.api for x in found]
        if api is None and len(set(apis)) == 1:
            return found
        if api not in apis:
            raise InputError(f"{where}: api: which of {', '.join(apis)}?")
        return [x for x in found if x.api == api]

    def _check_args(self, spec: StepSpec, args: dict[str, Any], where: str) -> None:
        allowed = {a.name for a in spec.args} | ({"api"} if spec.api else set())
        for name in args:
            if name not in allowed:
                raise InputError(f"{where}: {name}: no such field; {spec.usage()}")
        for a in spec.args:
            if a.name in args:
                check_value(a, args[a.name], where)
                self._check_relative(spec, a, args[a.name], where)
            elif not a.optional:
                raise InputError(f"{where}: {a.name}: this field is missing; {spec.usage()}")

    @staticmethod
    def _check_relative(spec: StepSpec, arg: Arg, value: Any, where: str) -> None:
        if arg.kind == "path" and is_relative(spec) and "/" in value:
            raise InputError(f"{where}: {arg.name}: a name in the directory `at`, without a /")


def is_relative(spec: StepSpec) -> bool:
    """Its paths are names in the directory behind a descriptor."""
    return any(arg.name == "at" and arg.kind == "fd" for arg in spec.args)


def full_path(value: str) -> str:
    """A path of a scenario as it is: in the world's first bpffs, or at a mount point."""
    return value if value[:1] == "/" else (MOUNTS if "/" in value else BPFFS) + value


def short_path(value: str) -> str:
    """The other way round: a path is said in both ways."""
    return value.removeprefix(BPFFS).removeprefix(MOUNTS)


def _variant(found: list[StepSpec], step: Step) -> StepSpec:
    """Of the variants of a step the one that takes just these arguments; else the first."""
    given = set(step.args)

    def takes(spec: StepSpec) -> bool:
        wanted = {a.name for a in spec.args if not a.optional}
        return wanted <= given <= {a.name for a in spec.args} | {"api"}

    return next((spec for spec in found if takes(spec)), found[0])


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and WORD.fullmatch(value) is not None


def check_value(arg: Arg, value: Any, where: str) -> None:
    """The shape of one argument; InputError says what it should be."""
    if arg.kind == "maps":
        fine = isinstance(value, list) and len(value) <= 16 and all(_is_word(v) for v in value)
        if not fine:
            raise InputError(f"{where}: {arg.name}: a list of at most 16 descriptors, [m1, m2]")
        return
    if arg.kind in ("word", "type"):
        if value not in arg.words:
            raise InputError(f"{where}: {arg.name}: one of {', '.join(arg.words)}")
        return
    if arg.kind == "files" and isinstance(value, list):
        if not 1 <= len(value) <= MAX_CARGO or not all(_is_word(v) for v in value):
            raise InputError(
                f"{where}: {arg.name}: a message of the model carries 1 to {MAX_CARGO} "
                f"descriptors, [m1, m2]"
            )
        return
    if arg.kind == "flag":
        if not isinstance(value, bool):
            raise InputError(f"{where}: {arg.name}: true or false")
        return
    if arg.kind == "key":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_KEY:
            raise InputError(f"{where}: {arg.name}: a number from 0 to {MAX_KEY}")
        return
    if arg.kind == "path":
        if not isinstance(value, str) or not PIN_NAME.fullmatch(short_path(value)):
            raise InputError(
                f"{where}: {arg.name}: a name in {BPFFS}: letters, digits, - and _, at most 40; "
                "or such a name behind a mount point, m1/name"
            )
        return
    if not _is_word(value):
        raise InputError(
            f"{where}: {arg.name}: a name of at most 40 characters: a small letter, then small "
            f"letters, digits, - and _"
        )


def where(scenario: Scenario, number: int) -> str:
    """How messages name a step."""
    return f"{scenario.scenario}: step {number + 1}"


def new_labels(spec: StepSpec, step: Step) -> list[str]:
    """The scenario's names for the descriptors that a step returns, in order: as it says, else the
    new object's name, the path's, the found object's, the old descriptor's with a 2, what came
    over a socket, or what was opened."""
    names = [str(step.args[a.name]) for a in spec.args if a.kind == "name"]
    if len(names) > 1:
        return names
    arg = next((a for a in spec.args if a.kind == "newfd"), None)
    return [_label(arg, step, names)] if arg else []


def new_mapping(spec: StepSpec, step: Step) -> str:
    """The scenario's name for the mapping that a step makes; "" when it makes none."""
    arg = next((a for a in spec.args if a.kind == "newmapping"), None)
    return _label(arg, step, []) if arg else ""


def bind(
    spec: StepSpec,
    step: Step,
    names: dict[tuple[str, str], int],
    numbers: Sequence[int],
    closed: int,
) -> None:
    """The scenario's names for what a call returned. `names`: (process, name) -> number, where a
    mapping's name starts with `@`; `closed` is what a variable holds after a call that failed.
    What comes beside the first descriptor has its name with a 2, a 3 ..."""
    by = step.by or ""
    labels = [*new_labels(spec, step), *(f"@{m}" for m in [new_mapping(spec, step)] if m)]
    for n, label in enumerate(labels):
        names[(by, label)] = numbers[n] if n < len(numbers) else closed
    for n, number in enumerate(numbers[len(labels) :] if labels else (), 2):
        names[(by, f"{labels[0]}{n}")] = number
    child = next((str(step.args[a.name]) for a in spec.args if a.kind == "child"), "")
    if child:
        names |= {(child, label): n for (p, label), n in names.items() if p == by}


def _label(arg: Arg, step: Step, names: list[str]) -> str:
    said = step.args.get(arg.name)
    path = str(step.args.get("path", step.args.get("at", ""))).rpartition("/")[2]
    socket = step.args.get("over") or step.args.get("socket")
    got = f"{socket}-got" if socket else step.do.removeprefix("open_")
    known = step.args.get("object") or step.args.get("their_fd") or got
    other = f"{step.args.get('fd')}2" if "fd" in step.args else known
    return str(said or (names[0] if names else "") or path or other).lower()
