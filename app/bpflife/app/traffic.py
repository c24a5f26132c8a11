"""`bpflife traffic`: what becomes of events on the running kernel while a program is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpflife.model.documents import InputError

from . import tables, terminal
from .terminal import FINDING, FINE, complain

if TYPE_CHECKING:
    from bpflife.proofs.kernel.traffic import Measured, Meetings, Traffic

HEADS = ("hook", "way", "changes", "events", "missed", "twice", "expected")


def traffic(events: int, *, as_json: bool) -> int:
    """Measure and report. The exit code: 1 where not all is as expected."""
    from bpflife.proofs.kernel import available
    from bpflife.proofs.kernel.traffic import MOST, measure

    if not 1 <= events <= MOST:
        raise InputError(f"--events: 1 to {MOST} events")
    if refused := available.why_not():
        raise InputError(f"no traffic on this machine: {refused}")
    with terminal.progress() as progress:
        progress.begin("traffic")
        try:
            found = measure(events, progress=progress.say)
        except (OSError, RuntimeError) as failed:
            raise InputError(f"traffic: {failed}") from None
    if as_json:
        print(found.model_dump_json(), flush=True)
    else:
        _show(found)
    wrong = [f"{way.way} ({way.hook}): {way.wrong}, expected: {way.expected}"
             for way in found.ways if way.wrong]  # fmt: skip
    wrong += [found.at_once.wrong] if found.at_once.wrong else []
    for finding in wrong:
        complain(finding)
    return FINDING if wrong else FINE


def _show(found: Traffic) -> None:
    out = terminal.console()
    out.print(tables.table(HEADS, [_row(way) for way in found.ways]))
    out.print()
    for line in (_together(found.at_once), f"Linux {found.kernel}"):
        out.print(terminal.literal(line), soft_wrap=True)


def _together(found: Meetings) -> str:
    if found.refused:
        return f"old and new at once: not measured, {found.refused}"
    return (
        f"old and new at once: {found.met} events met the other program on another CPU, "
        f"in {found.changes} updates of a link"
    )


def _row(way: Measured) -> tuple[str, ...]:
    if way.refused:
        return way.hook, way.way, *[""] * 4, f"not measured: {way.refused}"
    counts = (way.changes, way.sent, way.missed, way.twice)
    return way.hook, way.way, *(str(count) for count in counts), way.expected
