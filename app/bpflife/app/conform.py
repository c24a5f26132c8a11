"""`bpflife conform`: random scenarios on the model and on the running kernel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bpflife.model.catalogue import system_for
from bpflife.model.documents import Conformance

from . import files, terminal
from .terminal import FINDING, FINE, complain

SHOWN = 12  # rules that were not reached: more on one line helps nobody


def conform(
    number: int, seed: int, cards: Sequence[str], *, length: int, jobs: int, as_json: bool,
    folder: Path,
) -> int:  # fmt: skip
    """Run and report. The exit code: 1 where the two sides differ; their scenarios are files."""
    system_for(list(cards))  # an unknown card is said at once
    from bpflife.proofs.kernel.conform import conform as run

    with terminal.progress() as progress:
        progress.begin("model and kernel")
        report = run(number, seed, cards, length=length, jobs=jobs, progress=progress.say)
    if as_json:
        print(report.model_dump_json(), flush=True)
    elif report.why_not:
        print(f"not compared with the kernel: {report.why_not}")
    else:
        _show(report)
    for n, wrong in enumerate(report.disagreements, 1):
        path = folder / f"conform-{report.seed}-{n}.yaml"
        terminal.write_file(path, files.scenario_yaml(wrong.scenario))
        for difference in wrong.differences:
            complain(f"{path}: {difference}")
    return FINDING if report.disagreements else FINE


def _show(report: Conformance) -> None:
    rate = 60 * report.scenarios / report.seconds if report.seconds else 0
    print(
        f"{report.scenarios} scenarios, {report.steps} steps on Linux {report.kernel} in "
        f"{report.seconds} s ({rate:.0f} scenarios a minute)"
    )
    print(f"  {len(report.disagreements) or 'none'} DISAGREE" if report.disagreements
          else "  all agree: existence, refcnt, usercnt, file counts, hooks, errnos")  # fmt: skip
    (fired, rules), (pairs, possible) = report.rules, report.pairs
    print(f"  rules of the model that fired: {fired} of {rules}")
    print(f"  pairs of steps: {pairs} of {possible}")
    for skipped in report.skipped:
        print(f"  left out: {skipped}")
    if report.not_fired:
        rest = len(report.not_fired) - SHOWN
        more = f" and {rest} more (--json has all)" if rest > 0 else ""
        print(f"  not reached: {', '.join(report.not_fired[:SHOWN])}{more}")
