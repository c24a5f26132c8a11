"""Plays a scenario on the model and on the running kernel, and compares them step by step.

What a step calls on the kernel is data beside its steps (`kernel:` in linux/ and the cards);
`side.py` has the way from a step's arguments to that call. After each step the kernel is read
until it equals the model's settled state, for at most some seconds: frees are deferred.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from bpflife.model.catalogue import system_of
from bpflife.model.documents import Compared, Comparison, InputError, Scenario, Settled, Step, Trace
from bpflife.model.language import Language, where
from bpflife.model.simulator import play
from bpflife.model.system import System

from .available import lacking, why_not
from .poll import wait_until
from .side import KNOWN, KernelSide, NotThereError
from .world import World

SETTLE = 3.0  # seconds in which the kernel must have become equal; frees took up to 0.6


def compare(
    scenario: Scenario, progress: Callable[[str], None] = lambda _: None, settle: float = SETTLE
) -> Comparison:
    """The scenario on both sides.

    Where the machine refuses bpf(2), or a card is only a proposal, the answer has no rows and
    says why. Raises InputError for a step that the model can't play or a kernel can't do alone.
    """
    return compare_trace(scenario, play(scenario), progress, settle)


def compare_trace(
    scenario: Scenario,
    trace: Trace,
    progress: Callable[[str], None] = lambda _: None,
    settle: float = SETTLE,
    world: World | None = None,
) -> Comparison:
    """A scenario that the model has played already, in a world of its own or in `world`."""
    release = os.uname().release
    refused = _only_model(scenario) or (why_not() if world is None else "")
    if trace.violation:
        refused = f"the model's play ends in a violation: {trace.violation.sentence}"
    if refused:
        return Comparison(scenario=scenario.scenario, kernel=release, why_not=refused)
    with contextlib.nullcontext(world) if world else World() as place:
        rows = _rows(scenario, trace, KernelSide(system_of(scenario), place), progress, settle)
    return Comparison(scenario=scenario.scenario, kernel=release, rows=rows)


def _rows(
    scenario: Scenario, trace: Trace, side: KernelSide, progress: Callable[[str], None],
    settle: float,
) -> list[Compared]:  # fmt: skip
    model_steps = [step for step in trace.steps if step.settled]
    rows = []
    for number, (step, played) in enumerate(zip(scenario.steps, model_steps, strict=True)):
        progress(f"step {number + 1} of {len(model_steps)}: {step.do}")
        spec = side.language.spec(step, where(scenario, number))
        assert played.settled is not None
        try:
            got = side.do(spec, step)
        except NotThereError as lost:
            rows.append(_row(step, played.settled, side.settled(), played.errno, None))
            rows[-1].differences.append(str(lost))
            break
        kernel, _ = wait_until(side.settled, played.settled.__eq__, settle)
        rows.append(_row(step, played.settled, kernel, played.errno, got))
    return rows


def _only_model(scenario: Scenario) -> str:
    """Why a kernel can't play the scenario; "" when it can."""
    if not scenario.settle:
        raise InputError("settle: a kernel's calls settle one by one: leave `settle: false` out")
    system = system_of(scenario)
    for api in system.cards:
        if refused := not_on_a_kernel(system, api):
            return refused
    language = Language(system)
    for number, step in enumerate(scenario.steps):
        spec = language.spec(step, where(scenario, number))
        if spec.do == "fire":
            raise InputError(
                f"{where(scenario, number)}: do: a kernel runs whole system calls, "
                "`fire` is a single rule of the model"
            )
        if spec.actor == "process" and (lack := lacking(needed(system, spec.rule))):
            return f"`{spec.do}` can't be played here: {lack}"
    return ""


def command_of(system: System, rule: str) -> str:
    """The runner's command for an operation; "" where it has none."""
    return str(system.operations[rule].kernel.get("command", ""))


def needed(system: System, rule: str) -> str:
    """What an operation needs of a kernel: its command, or what a card says of a variant that came
    later (`needs:`)."""
    return str(system.operations[rule].kernel.get("needs", command_of(system, rule)))


def not_on_a_kernel(system: System, api: str) -> str:
    """Why no kernel plays the operations of a card; "" when it does."""
    target = system.cards[api].target
    if target.made_by in system.operations and (
        lack := lacking(command_of(system, target.made_by))
    ):
        return f"`{api}` can't be played here: {lack}"
    for name in system.operations:
        if not name.startswith(f"{api}."):
            continue
        command = command_of(system, name)
        if not command and system.cards[api].since == "proposed":
            return f"`{api}` is a proposal: no kernel has it"
        if not command:
            return f"`{api}` is what other kernels do: it is played by the model only"
        if command not in KNOWN:
            return f"the kernel runner has no `{command}` yet (`{name}`)"
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
