"""`bpflife run`: plays scenarios on the model and, if asked, on the running kernel beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bpflife.model.catalogue import system_of
from bpflife.model.documents import Comparison, InputError, Scenario, Settled, Trace
from bpflife.model.simulator import play

from . import inputs, tables, terminal
from .terminal import FINDING, FINE, complain


@dataclass(frozen=True)
class Run:
    """One scenario with what the model made of it."""

    name: str
    scenario: Scenario
    trace: Trace

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The model's side: every step with its errno and the settled state after it."""
        return [
            _side(group[0].sentence, group[0].errno, group[0].settled)
            for group in tables.groups(self.trace, self.scenario)
        ]

    def findings(self) -> list[str]:
        """Steps whose errno is not the one that the scenario expects, and a violation."""
        found = []
        pairs = zip(self.scenario.steps, self.steps, strict=False)
        for number, (step, played) in enumerate(pairs, 1):
            got = played["errno"] or "success"
            wanted = "success" if step.errno in ("0", None) else step.errno
            if step.errno is not None and wanted != got:
                found.append(f"{self.name}: step {number}: errno: expected {wanted}, got {got}")
        if self.trace.violation:
            violation = self.trace.violation
            found.append(f"{self.name}: {violation.property} is violated: {violation.sentence}")
        return found


def run(
    names: Sequence[str], *, kernel: bool, as_json: bool, trace: Path | None, html: Path | None
) -> int:
    """Play scenarios and print them. The exit code: 1 for any finding."""
    if (trace or html) and len(names) > 1:
        raise InputError("--trace and --html take one scenario at a time")
    runs = [_played(name) for name in names]
    for one in runs:
        _write(one.trace, trace, html)
    out = terminal.console()
    code = FINE
    for number, one in enumerate(runs):
        if number and not as_json:
            out.print()
        compared = _compare(one) if kernel else None
        if as_json:
            print(json.dumps(document(one, compared), ensure_ascii=True), flush=True)
        else:
            _show(out, one, compared)
        code = max(code, _report(one, compared, as_json))
    return code


def _played(name: str) -> Run:
    scenario = inputs.scenario(name)
    with inputs.playing(name, scenario):
        return Run(name, scenario, play(scenario))


def _write(trace: Trace, file: Path | None, html: Path | None) -> None:
    if file:
        terminal.write_file(file, trace.model_dump_json() + "\n")
    if html:
        from .picture.standalone import standalone_html  # it draws; a plain run must not wait

        terminal.write_file(html, standalone_html(trace))


def _compare(one: Run) -> Comparison:
    if one.trace.violation:
        return Comparison(
            scenario=one.scenario.scenario,
            why_not="no kernel is asked to do what breaks the model",
        )
    from bpflife.proofs.kernel.compare import compare

    with terminal.progress() as progress, inputs.playing(one.name, one.scenario):
        progress.begin(f"{one.scenario.scenario} on the kernel")
        return compare(one.scenario, progress=progress.say)


def _show(out: Console, one: Run, compared: Comparison | None) -> None:
    tables.print_title(out, one.name, one.scenario)
    if compared and not compared.why_not:
        tables.print_comparison(out, one.trace, one.scenario, compared)
    else:
        tables.print_run(out, one.trace, one.scenario)


def _report(one: Run, compared: Comparison | None, as_json: bool) -> int:
    """One line per finding, on stderr; the exit code."""
    found = one.findings()
    if compared and compared.why_not:
        complain(f"{one.name}: not compared with the kernel: {compared.why_not}")
    elif compared:
        found += [f"{one.name}: {difference}" for difference in compared.differences]
    for line in found:
        complain(line)
    return FINDING if found else FINE


# ---------------------------------------------------------------------------------------------
# JSON


def _side(step: str, errno: str | None, settled: Settled | None) -> dict[str, Any]:
    """One step on one side; model and kernel have the same shape."""
    state = settled.model_dump(mode="json") if settled else None
    return {"step": step, "errno": errno, "settled": state}


def document(one: Run, compared: Comparison | None) -> dict[str, Any]:
    """The run as data: `steps` is the model's side, `kernel.steps` has the same shape."""
    system = system_of(one.scenario)
    violation = one.trace.violation
    found: dict[str, Any] = {
        "version": 1,
        "scenario": one.scenario.scenario,
        "steps": one.steps,
        "model": {"cards": one.scenario.cards, "rules": system.fingerprint()},
        "violation": violation.model_dump(mode="json") if violation else None,
        "findings": one.findings(),
    }
    if compared:
        words = [step["step"] for step in one.steps]
        rows = [
            _side(said, row.kernel_errno, row.kernel)
            for said, row in zip(words, compared.rows, strict=False)
        ]
        found["kernel"] = {
            "release": compared.kernel, "why_not": compared.why_not, "steps": rows,
        }  # fmt: skip
        found["differences"] = compared.differences
    return found
