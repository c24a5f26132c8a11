"""Plays a scenario on the model and on the running kernel, and compares them step by step.

What a step calls on the kernel is data beside its steps (`kernel:` in linux.yaml and the cards);
here is only the way from a step's arguments to that call. After each step the kernel is read
until it equals the model's settled state, for at most some seconds: frees are deferred.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bpflife.model.catalogue import system_for
from bpflife.model.documents import Compared, Comparison, InputError, Scenario, Settled, Step
from bpflife.model.language import BPFFS, Arg, Language, StepSpec, new_label, where
from bpflife.model.simulator import play
from bpflife.model.system import System

from .actors import Actor, Reply
from .available import why_not
from .poll import wait_until
from .world import World

SETTLE = 3.0  # seconds in which the kernel must have become equal; frees took up to 0.6
NAME_LENGTH = 15  # BPF_OBJ_NAME_LEN - 1
CLOSED = -1  # what a descriptor variable holds when the call that should have set it failed


def compare(
    scenario: Scenario, progress: Callable[[str], None] = lambda _: None, settle: float = SETTLE
) -> Comparison:
    """The scenario on both sides.

    Where the machine refuses bpf(2), or a card is only a proposal, the answer has no rows and
    says why. Raises InputError for a step that the model can't play or a kernel can't do alone.
    """
    trace = play(scenario)
    release = os.uname().release
    refused = _only_model(scenario) or why_not()
    if trace.violation:
        refused = f"the model's play ends in a violation: {trace.violation.sentence}"
    if refused:
        return Comparison(scenario=scenario.scenario, kernel=release, why_not=refused)
    model_steps = [step for step in trace.steps if step.settled]
    rows = []
    with World() as world:
        side = KernelSide(system_for(scenario.cards), world)
        for number, (step, played) in enumerate(zip(scenario.steps, model_steps, strict=True)):
            progress(f"step {number + 1} of {len(model_steps)}: {step.do}")
            spec = side.language.spec(step, where(scenario, number))
            got = side.do(spec, step)
            assert played.settled is not None
            kernel, _ = wait_until(side.settled, played.settled.__eq__, settle)
            rows.append(_row(step, played.settled, kernel, played.errno, got))
    return Comparison(scenario=scenario.scenario, kernel=release, rows=rows)


def _only_model(scenario: Scenario) -> str:
    """Why a kernel can't play the scenario; "" when it can."""
    system = system_for(scenario.cards)
    language = Language(system)
    for number, step in enumerate(scenario.steps):
        spec = language.spec(step, where(scenario, number))
        if spec.do == "fire":
            raise InputError(
                f"{where(scenario, number)}: do: a kernel runs whole system calls, "
                "`fire` is a single rule of the model"
            )
        if spec.actor != "process":
            continue
        command = system.operations[spec.rule].kernel.get("command")
        if command is None:
            return f"`{spec.do}` of {spec.api or 'linux.yaml'} is a proposal: no kernel has it"
        if command not in KNOWN:
            return f"the kernel runner has no `{command}` yet (`{spec.do}`)"
    return ""


def _row(
    step: Step, model: Settled, kernel: Settled, expected: str | None, got: str | None
) -> Compared:
    said = {"by": step.by, **step.args}
    words = ", ".join(f"{k}: {v}" for k, v in said.items() if v is not None)
    found = []
    if expected != got:
        found.append(f"errno: model {expected or 'none'}, kernel {got or 'none'}")
    ours, theirs = model.model_dump(), kernel.model_dump()
    for part in ours:
        for name in sorted({*ours[part], *theirs[part]}):
            a, b = ours[part].get(name), theirs[part].get(name)
            if a != b:
                found.append(f"{part} {name}: model {_said(a)}, kernel {_said(b)}")
    return Compared(
        step=f"{step.do} ({words})" if words else step.do, model=model, kernel=kernel,
        model_errno=expected, kernel_errno=got, differences=found,
    )  # fmt: skip


def _said(value: object) -> str:
    return "absent" if value is None else str(value)


@dataclass
class KernelSide:
    """A scenario's names on a kernel: its processes, descriptors, objects and hooks."""

    system: System
    world: World
    actors: dict[str, Actor] = field(default_factory=dict)
    fds: dict[tuple[str, str], int] = field(default_factory=dict)
    names: dict[tuple[str, int], str] = field(default_factory=dict)
    hooks: dict[str, str] = field(default_factory=dict)  # name -> kind

    def __post_init__(self) -> None:
        self.language = Language(self.system)

    # -- doing ---------------------------------------------------------------------------------

    def do(self, spec: StepSpec, step: Step) -> str | None:
        """One step of the scenario: the errno's name, or None."""
        if spec.actor == "process":
            return self._call(spec, step)
        if spec.do == "kill":
            self.actors[str(step.args["process"])].kill()
        return None  # an event: what it runs has left again in a settled state

    def actor(self, name: str) -> Actor:
        """The process of that name."""
        if name not in self.actors:
            self.actors[name] = self.world.actor(name)
        return self.actors[name]

    def _call(self, spec: StepSpec, step: Step) -> str | None:
        assert step.by is not None
        actor = self.actor(step.by)
        fixed = dict(self.system.operations[spec.rule].kernel)
        command = fixed.pop("command")
        if command in DIRECTORIES:
            return self._directory(command, spec, step)
        arguments = fixed
        for arg in spec.args:
            arguments |= self._argument(arg, step, command)
        reply = actor.call(command, **arguments)
        self._remember(spec, step, reply)
        return reply.errno

    def _argument(self, arg: Arg, step: Step, command: str) -> dict[str, Any]:
        """One argument of a step as the runner's command takes it."""
        value = step.args.get(arg.name)
        by = step.by or ""
        if arg.kind == "type":
            kind = value or self.system.types.names[0]
            return {"type": kind} if self.system.cards else {}
        if value is None or arg.kind == "newfd":
            return {}
        if arg.kind == "name":
            return {"name": str(value).replace("-", "_")[:NAME_LENGTH]}
        if arg.kind == "maps":
            return {"maps": [self.fds.get((by, m), CLOSED) for m in value]}
        if arg.kind == "path":
            return {"path": self.world.pin_path(str(value).removeprefix(BPFFS))}
        if arg.kind == "target":
            return {arg.name: self.world.cgroup_path(str(value))}
        return {"fd": self.fds.get((by, str(value)), CLOSED)}

    def _directory(self, command: str, spec: StepSpec, step: Step) -> str | None:
        """mkdir and rmdir of a hook target, by the world."""
        name = str(next(v for k, v in step.args.items() if k == "target"))
        try:
            DIRECTORIES[command](self.world, name)
        except OSError as e:
            return errno.errorcode.get(e.errno or 0, str(e.errno))
        if command == "mkdir":
            kind = next(k for k, c in self.system.targets.items() if c.target.made_by == spec.do)
            self.hooks[name] = kind
        else:
            self.hooks.pop(name, None)
        return None

    def _remember(self, spec: StepSpec, step: Step, reply: Reply) -> None:
        """The scenario's names for what the call returned (as the model binds them)."""
        label, by = new_label(spec, step), step.by or ""
        if label and (reply.errno is None or (by, label) not in self.fds):
            self.fds[(by, label)] = CLOSED if reply.value is None else reply.value
        made = self.system.operations[spec.rule].makes
        if made in ("map", "prog") and reply.id is not None:
            self.names[(made, reply.id)] = str(step.args[made])

    # -- reading -------------------------------------------------------------------------------

    def settled(self) -> Settled:
        """The kernel's state now, in the names of the scenario."""
        snapshot = self.world.snapshot(fds=True)
        pids = {actor.pid: name for name, actor in self.actors.items() if actor.running}
        fds = {
            pids[pid]: {
                str(n): (f.kind, self._name(f.kind, f.object_id), f.refcnt)
                for n, f in sorted(files.items())
            }
            for pid, files in snapshot.files.items()
            if files
        }
        return Settled(
            maps={self._name("map", i): tuple(refs) for i, refs in snapshot.maps.items()},
            progs={self._name("prog", i): refs for i, refs in snapshot.progs.items()},
            fds=fds,
            hooks={name: self._attached(name, kind) for name, kind in self.hooks.items()},
        )

    def _name(self, kind: str, number: int) -> str:
        return self.names.get((kind, number), f"{kind} {number}")

    def _attached(self, hook: str, kind: str) -> list[str]:
        attach = self.system.targets[kind].operations.attach
        ids = self.world.attached(hook, str(attach.kernel["attach_type"]))
        return [self._name("prog", i) for i in ids]


DIRECTORIES: dict[str, Callable[[World, str], object]] = {
    "mkdir": World.cgroup_make,
    "rmdir": World.cgroup_remove,
}
KNOWN = {
    *("map_create", "prog_load", "dup", "close", "pin", "obj_get", "unlink", "exit"),
    *("prog_attach", "prog_detach", *DIRECTORIES),
}
