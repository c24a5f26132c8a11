"""`bpflife restarts`: what piles up at a hook when a loader is started again and again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bpflife.model import catalogue
from bpflife.model.documents import InputError, Scenario
from bpflife.model.features import persistence
from bpflife.model.restarts import MOST, Left, left, restarted, runs_per_event
from bpflife.model.simulator import player

from . import files, tables, terminal
from .terminal import FINDING, FINE, complain

HEADS = (
    "card",
    "attachment lives with",
    "attachments",
    "runs per event",
    "with a process",
    "kernel",
)


@dataclass(frozen=True)
class Row:
    """One card: what the model says is left, and what the kernel says of that."""

    card: str
    persistence: str
    left: Left
    runs: int
    kernel: str
    agrees: bool


def restarts(names: Sequence[str], times: int, *, as_json: bool, as_yaml: bool) -> int:
    """Play and report. The exit code: 1 where model and kernel differ."""
    if not 1 <= times <= MOST:
        raise InputError(f"--times: 1 to {MOST} starts fit into a scenario")
    wanted = list(names) or [n for n in catalogue.card_names() if catalogue.load_card(n).example]
    scenarios = {name: restarted(name, times) for name in wanted}
    if as_yaml:
        for scenario in scenarios.values():
            print(files.scenario_yaml(scenario), end="")
        return FINE
    with terminal.progress() as progress:
        progress.begin("restarts")
        rows = []
        for name, scenario in scenarios.items():
            progress.say(name)
            rows.append(_row(name, scenario))
    if as_json:
        print(json.dumps([asdict(row) for row in rows]), flush=True)
    else:
        _show(rows, times)
    wrong = [row for row in rows if not row.agrees]
    for row in wrong:
        complain(f"{row.card}: {row.kernel}")
    return FINDING if wrong else FINE


def _row(name: str, scenario: Scenario) -> Row:
    from bpflife.proofs.kernel.compare import compare_trace

    played = player(scenario)
    trace = played.trace()
    last = next(step.settled for step in reversed(trace.steps) if step.settled)
    compared = compare_trace(scenario, trace)
    kernel, agrees = compared.why_not, True
    if not compared.why_not:
        agrees = not compared.differences
        kernel = "the same" if agrees else f"DIFFERS: {compared.differences[0]}"
    lives, runs = persistence(catalogue.load_card(name)), runs_per_event(played.world)
    return Row(name, lives, left(last), runs, kernel, agrees)


def _show(rows: Sequence[Row], times: int) -> None:
    out = terminal.console()
    out.print(terminal.literal(f"A loader was started {times} times, and nobody cleaned up:"))
    out.print()
    cells = [
        (
            row.card,
            row.persistence,
            str(row.left.attachments),
            str(row.runs),
            str(row.left.behind),
            row.kernel,
        )
        for row in rows
    ]
    out.print(tables.table((*HEADS[:-1], f"Linux {os.uname().release}"), cells))
