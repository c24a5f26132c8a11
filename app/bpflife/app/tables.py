"""How runs, verdicts and lists look in a terminal: aligned, no meaning in colour alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table

from bpflife.model.documents import (
    Compared,
    Comparison,
    Scenario,
    Settled,
    Trace,
    TraceStep,
    Verdict,
)

from .terminal import literal

LEGEND = (
    "After each step, when the kernel has done its own work: "
    "maps [refcnt, usercnt], programs and BTF refcnt, descriptors (count of the open file), hooks."
)
NOTHING = "nothing is left"
NAMES = ("card", "property", "story")  # columns that never fold
LONGEST_WORD = 24  # a longer one may fold
WIDE = 100  # columns of a terminal in which every verdict can repeat its card
GAP = 2  # blanks between the columns of verdicts
HEADLINE = 24  # columns for a verdict, before its evidence gets more
NARROW, BROAD = 12, 36  # a column of words: the longest word of a scope, the longest evidence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table. Long cells fold between words, names stay in one piece."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    rows = [heads, *rows]
    for column, head in enumerate(heads):
        longest = max(len(word) for row in rows for word in row[column].split() or [""])
        width = min(longest, LONGEST_WORD)
        made.add_column(head, overflow="fold", no_wrap=head in NAMES, min_width=width)
    for row in rows[1:]:
        made.add_row(*[literal(cell) for cell in row])
    return made


def print_entries(out: Console, entries: Iterable[Sequence[str]]) -> None:
    """A headline each, with what is said about it indented below."""
    for head, *lines in entries:
        out.print(literal(head, "bold"), soft_wrap=True)
        for line in lines:
            if line:
                out.print(_indented(literal(line), 4))


def _indented(what: RenderableType, by: int) -> Padding:
    return Padding(what, (0, 0, 0, by), expand=False)


# ---------------------------------------------------------------------------------------------
# runs


def settled_lines(state: Settled) -> list[tuple[str, str]]:
    """What a settled state holds, as (label, text) pairs; what there is none of is left out."""
    rows = [
        ("maps", ", ".join(f"{n} [{r}, {u}]" for n, (r, u) in state.maps.items())),
        ("progs", ", ".join(f"{n} {count}" for n, count in state.progs.items())),
        ("BTF", ", ".join(f"{n} {count}" for n, count in state.btfs.items())),
        ("links", ", ".join(_link(n, *link) for n, link in state.links.items())),
    ]
    for process, fds in state.fds.items():
        shown = [f"{fd} {kind} {name} ({count})" for fd, (kind, name, count) in fds.items()]
        rows.append((f"fds of {process}", ", ".join(shown)))
    for hook, progs in state.hooks.items():
        rows.append((f"hook {hook}", ", ".join(progs) or "empty"))
    return [(label, text) for label, text in rows if text]


def _link(name: str, count: int, prog: str, hook: str) -> str:
    return f"{name} {count} ({prog} at {hook})" if hook else f"{name} {count} ({prog}, defunct)"


def groups(trace: Trace, played: Scenario) -> list[list[TraceStep]]:
    """A trace's transitions: each step of the scenario with the kernel's work that it led to."""
    found: list[list[TraceStep]] = []
    for step in trace.steps:
        if step.settled is not None or not step.internal or not played.settle or not found:
            found.append([])
        found[-1].append(step)
    return found


def print_title(out: Console, name: str, played: Scenario) -> None:
    """The heading of one scenario."""
    title = f"{played.scenario}: {played.title}" if played.title else played.scenario
    out.print(literal(title, "bold"), soft_wrap=True)
    if played.about:
        out.print(literal(played.about), soft_wrap=True)
    if not name.endswith(played.scenario):
        out.print(literal(f"from {name}"), soft_wrap=True)
    out.print(literal(LEGEND, "dim"), soft_wrap=True)


def print_run(out: Console, trace: Trace, played: Scenario) -> None:
    """The model's run: numbered steps, each with its call and the settled state after it."""
    for number, group in enumerate(groups(trace, played), 1):
        _print_step(out, number, group)
        if group[0].settled:
            rows = settled_lines(group[0].settled) or [("", NOTHING)]
            out.print(_indented(_grid(rows), 6))
    print_violation(out, trace)


def print_comparison(out: Console, trace: Trace, played: Scenario, compared: Comparison) -> None:
    """Model and kernel side by side, with the verdict on every step in words."""
    steps = groups(trace, played)
    for number, (group, row) in enumerate(zip(steps, compared.rows, strict=False), 1):
        _print_step(out, number, group)
        if row.kernel is not None:
            shown = table(("", "model", "kernel"), _sides(row, row.kernel))
            out.print(_indented(shown, 6))
        out.print(literal(f"      {mark(row)}", "bold" if row.differences else ""), soft_wrap=True)
    out.print()
    out.print(literal(summary(compared)), soft_wrap=True)


def summary(compared: Comparison) -> str:
    """How a whole run compares, in one line."""
    rows = [row for row in compared.rows if row.kernel is not None]
    differing = [row for row in rows if row.differences]
    steps = f"{len(rows)} step{'' if len(rows) == 1 else 's'} compared with Linux {compared.kernel}"
    return f"{steps}: {f'{len(differing)} DIFFER' if differing else 'all agree'}"


def mark(row: Compared) -> str:
    """How the two sides of a step relate, in words."""
    if row.differences:
        return f"DIFFERS: {'; '.join(row.differences)}"
    return "agree" if row.kernel is not None else "not compared: the kernel can't be made to do it"


def _sides(row: Compared, kernel: Settled) -> list[tuple[str, str, str]]:
    rows = [("result", row.model_errno or "success", row.kernel_errno or "success")]
    left, right = dict(settled_lines(row.model)), dict(settled_lines(kernel))
    rows += [(k, left.get(k, "-"), right.get(k, "-")) for k in {**left, **right}]
    return rows


def _print_step(out: Console, number: int, group: Sequence[TraceStep]) -> None:
    first, *rest = group
    out.print()
    out.print(literal(f"{number:>3}. {first.sentence}", "bold"), soft_wrap=True)
    if first.call:
        out.print(literal(f"     {first.call}"), soft_wrap=True)
    if first.say:
        out.print(literal(f"     {first.say}", "italic"), soft_wrap=True)
    for step in rest:
        out.print(literal(f"     then {step.sentence}", "dim"), soft_wrap=True)


def _grid(rows: Iterable[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(literal(label), literal(text))
    return grid


def print_violation(out: Console, trace: Trace) -> None:
    """The violation that a trace ends in, if it does."""
    if trace.violation:
        found = trace.violation
        out.print()
        out.print(literal(f"VIOLATED {found.property}: {found.sentence}", "bold"), soft_wrap=True)


# ---------------------------------------------------------------------------------------------
# verdicts

VERDICT_HEADS = ("card", "property", "verdict", "depth", "evidence", "expected")


def verdict_row(verdict: Verdict) -> tuple[str, ...]:
    """One verdict as a row; empty cells where a number would mean nothing."""
    depth = "" if verdict.depth is None else str(verdict.depth)
    evidence = [f"{verdict.obligations} obligations"] if verdict.obligations else []
    evidence += [f"{len(verdict.lemmas)} lemmas"] if verdict.lemmas else []
    expected = "as expected" if verdict.expected else "NOT EXPECTED"
    found = ", ".join([*evidence, f"{verdict.seconds:.1f} s"])
    return verdict.card, verdict.property, verdict.headline(), depth, found, expected


class VerdictTable:
    """A table whose rows are printed one by one, each as soon as its verdict is there.

    So its widths come from what is known before: the names, and what the terminal has left.
    """

    def __init__(self, out: Console, cards: Iterable[str], properties: Iterable[str]) -> None:
        self.out = out
        self.first = 0 if out.width >= WIDE else 1  # without the card in every row
        longest = [max(map(len, ("property", *names))) for names in (cards, properties)]
        ends = [len("depth"), len("NOT EXPECTED")]
        shown = [*longest[self.first :], *ends]
        left = out.width - sum(shown) - GAP * (len(shown) + 1)
        evidence = min(max(left - HEADLINE, NARROW), BROAD)
        verdict = min(max(left - evidence, NARROW), BROAD)
        self.widths = [*longest[self.first :], verdict, ends[0], evidence, ends[1]]
        self.card = ""

    def add(self, verdict: Verdict) -> None:
        """Print one verdict, under the heads if it is the first of its card."""
        if verdict.card != self.card:
            self.card = verdict.card
            if self.first:
                self.out.print(literal(f"card {self.card}", "bold"))
            self.out.print(self._row(VERDICT_HEADS, "bold"))
            rules = ["\u2500" * width for width in self.widths]
            self.out.print(self._row(["", *rules] if self.first else rules))
        self.out.print(self._row(verdict_row(verdict)))

    def _row(self, cells: Sequence[str], style: str = "") -> Table:
        row = Table.grid(padding=(0, GAP, 0, 0))
        for width in self.widths:
            row.add_column(width=width, overflow="fold")
        row.add_row(*[literal(cell, style) for cell in cells[self.first :]])
        return row


def print_details(out: Console, verdicts: Sequence[Verdict]) -> None:
    """What stands behind each verdict: reasons, counterexamples."""
    for verdict in verdicts:
        _print_reasons(out, verdict)
        if verdict.trace:
            print_counterexample(out, verdict.trace)


def _print_reasons(out: Console, verdict: Verdict) -> None:
    rows = [("reason", verdict.reason), ("expected, because", verdict.because)]
    rows += [("not proved", text) for text in verdict.unproved]
    rows += [("depth counts", verdict.unit if verdict.depth else "")]
    rows = [(label, text) for label, text in rows if text]
    if rows:
        out.print()
        out.print(literal(f"{verdict.card}, {verdict.property}", "bold"), soft_wrap=True)
        for label, text in rows:
            out.print(literal(f"  {label}: {text}"), soft_wrap=True)


def print_counterexample(out: Console, trace: Trace) -> None:
    """A counterexample: numbered steps, a sentence each, and what is wrong at the end."""
    for number, step in enumerate(trace.steps, 1):
        refused = f" ({step.errno})" if step.errno and step.errno not in step.sentence else ""
        out.print(literal(f"{number:>5}. {step.sentence}{refused}"), soft_wrap=True)
    if trace.violation:
        out.print(literal(f"       => {trace.violation.sentence}", "bold"), soft_wrap=True)
