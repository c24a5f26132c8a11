"""The scenario language: every step with its arguments, actor and the system call it stands for.

Derived from the operations of a system (linux.yaml and the cards), so nothing is listed twice.
`bpflife list steps` prints these; the simulator, the address bar and the builder read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .cards import Operation
from .documents import InputError, Scenario, Step
from .system import System

BPFFS = "/sys/fs/bpf/"
WORD = re.compile(r"[a-z][a-z0-9_-]{0,39}")
PIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True)
class Arg:
    """An argument of a step. `kind`: "name" (of a new object), "fd" (a descriptor, by the name
    that it was given), "target" (a hook target, by name; of the kind `of`, if said), "path",
    "maps", "type", "process", "cpu", "rule" or "any"."""

    name: str
    kind: str
    optional: bool = False
    of: str = ""


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
        for a in self.args:
            parts.append(f"[{a.name}: {a.kind}]" if a.optional else f"{a.name}: {a.kind}")
        return ", ".join(parts)


WORLD = (
    StepSpec("kill", "kill", (Arg("process", "process"),), "kernel",
             "a process is killed; a call in flight finishes first", "kill(PID, SIGKILL)"),
    StepSpec("enter", "enter", (Arg("cpu", "cpu"), Arg("hook", "target")), "cpu",
             "an event arrives: a CPU runs what is attached", ""),
    StepSpec("leave", "leave", (Arg("cpu", "cpu"),), "cpu", "the program returns", ""),
    StepSpec("fire", "", (Arg("rule", "rule"),), "kernel",
             "one single rule, as counterexamples use it: its parameters follow by name", ""),
)  # fmt: skip


def _arg(name: str, kind: str, system: System) -> Arg:
    if kind in ("fd", "path", "maps"):
        return Arg(name, kind, optional=kind == "maps")
    if kind in system.targets and system.targets[kind].target.held_by == "directory":
        return Arg(name, "target", of=kind)
    return Arg(name, "fd")


def _spec(do: str, full: str, op: Operation, system: System, api: str = "") -> StepSpec:
    args = [Arg(op.makes, "name")] if op.makes else []
    args += [_arg(n, k, system) for n, k in op.args.items()]
    steps = [s if isinstance(s, str) else next(iter(s)) for s in op.steps]
    if any(s.startswith("create new prog") for s in steps):
        args.append(Arg("type", "type", optional=True))
    if any(s.startswith("install ") for s in steps):
        taken = any(a.name == "fd" for a in args)
        args.append(Arg("as" if taken else "fd", "newfd", optional=True))
    return StepSpec(do, full, tuple(args), "process", op.title, op.call, api)


def specs(system: System) -> list[StepSpec]:
    """Every step that scenarios of this system can use."""
    found = []
    for full, op in system.operations.items():
        api, _, short = full.rpartition(".")
        found.append(_spec(short or full, full, op, system, api))
        card = system.cards.get(api)
        if card and short == "attach" and card.operations.replace == "attach":
            found.append(_spec("replace", full, op, system, api))
    hooks = bool(system.targets)  # without a hook no event runs anything
    return [*found, *(w for w in WORLD if hooks or w.actor != "cpu")]


class Language:
    """The steps of one system, and the check of a scenario's steps against them."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.specs = specs(system)

    def spec(self, step: Step, where: str) -> StepSpec:
        """The spec of a step. InputError names the step and the field."""
        found = [x for x in self.specs if x.do == step.do]
        if not found:
            known = ", ".join(dict.fromkeys(x.do for x in self.specs))
            hint = self._card_hint(step)
            raise InputError(f"{where}: do: no step `{step.do}`{hint}; there are: {known}")
        if found[0].api:
            found = self._by_api(found, step, where)
        spec = found[0]
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
            elif not a.optional:
                raise InputError(f"{where}: {a.name}: this field is missing; {spec.usage()}")


def check_value(arg: Arg, value: Any, where: str) -> None:
    """The shape of one argument; InputError says what it should be."""
    if arg.kind == "maps":
        fine = isinstance(value, list) and len(value) <= 16 and all(
            isinstance(v, str) and WORD.fullmatch(v) for v in value
        )  # fmt: skip
        if not fine:
            raise InputError(f"{where}: {arg.name}: a list of at most 16 descriptors, [m1, m2]")
        return
    if arg.kind == "path":
        if not isinstance(value, str) or not PIN_NAME.fullmatch(value.removeprefix(BPFFS)):
            raise InputError(
                f"{where}: {arg.name}: a name in {BPFFS}: letters, digits, - and _, at most 40"
            )
        return
    if not isinstance(value, str) or not WORD.fullmatch(value):
        raise InputError(
            f"{where}: {arg.name}: a name of at most 40 characters: a small letter, then small "
            f"letters, digits, - and _"
        )


def where(scenario: Scenario, number: int) -> str:
    """How messages name a step."""
    return f"{scenario.scenario}: step {number + 1}"


def new_label(spec: StepSpec, step: Step) -> str:
    """The scenario's name for the descriptor that a step returns: as it says, else the new
    object's name, the path's, or the old descriptor's with a 2; "" when it returns none."""
    arg = next((a for a in spec.args if a.kind == "newfd"), None)
    if arg is None:
        return ""
    said = step.args.get(arg.name)
    name = next((step.args[a.name] for a in spec.args if a.kind == "name"), None)
    path = str(step.args.get("path", "")).removeprefix(BPFFS)
    return str(said or name or path or f"{step.args.get('fd')}2").lower()
