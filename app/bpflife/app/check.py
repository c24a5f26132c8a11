"""`bpflife check`: verdicts on cards, with progress; Ctrl-C works inside the solver too."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from bpflife.model.cards import AttachCard
from bpflife.model.catalogue import card_names
from bpflife.model.documents import InputError, Verdict
from bpflife.model.properties import CATALOGUE

from . import inputs, tables, terminal
from .terminal import CANCELLED, FINDING, FINE, complain

PATIENCE = 2.0  # seconds that the solver has to notice that it is not wanted any more
SHOW_CURSOR = "\x1b[?25h"


class Interrupt:
    """Ctrl-C as a flag.

    z3 puts its own handler for SIGINT in place while it solves, and that swallows the signal: so
    SIGINT is blocked everywhere and one thread waits for it. If the solver does not stop soon
    after, the thread has the last word and ends the process.
    """

    def __init__(self, last_words: Callable[[], None]) -> None:
        self.last_words = last_words
        self.set = threading.Event()
        self.done = threading.Event()

    def watch(self) -> None:
        """Start to wait for Ctrl-C. Threads made before may still get it; there are none."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        signal.sigwait({signal.SIGINT})
        self.set.set()
        if "z3" in sys.modules:
            sys.modules["z3"].main_ctx().interrupt()
        if not self.done.wait(PATIENCE):
            if sys.stderr.isatty():
                sys.stderr.write(f"{SHOW_CURSOR}\n")
            try:
                self.last_words()
            finally:
                os._exit(CANCELLED)


class Report:
    """What was found so far, shown as it comes: a row or a document at once, what stands behind
    the rows when their card is done."""

    def __init__(self, cards: Sequence[str], properties: Sequence[str], as_json: bool) -> None:
        self.as_json = as_json
        self.found: list[Verdict] = []
        self.explained = 0  # how many of them
        self.out = terminal.console()
        self.table = tables.VerdictTable(self.out, cards, properties)

    def add(self, verdict: Verdict) -> None:
        """A verdict is there."""
        self.found.append(verdict)
        if self.as_json:
            print(verdict.model_dump_json(), flush=True)
        else:
            self.table.add(verdict)

    def explain(self) -> None:
        """What stands behind the verdicts whose rows are there."""
        verdicts = self.found[self.explained :]
        self.explained = len(self.found)
        if verdicts and not self.as_json:
            tables.print_details(self.out, verdicts)
            self.out.print()

    def cancelled(self) -> None:
        """Ctrl-C: what was found stays, and one line says what it does not mean."""
        self.explain()
        sys.stdout.flush()
        complain("cancelled; nothing was concluded about what was still being checked")


def check(
    name: str, properties: Sequence[str], *, as_json: bool, trace: Path | None, html: Path | None
) -> int:
    """Check a card (or all) and print the verdicts. The exit code: 1 if any is unexpected."""
    cards = _cards(name)
    for wanted in properties:
        if wanted not in CATALOGUE:
            raise InputError(f"no property `{wanted[:60]}`; there are {', '.join(CATALOGUE)}")
    names = list(dict.fromkeys(properties or CATALOGUE))
    for file in (trace, html):
        if file and not Path(os.path.realpath(file)).parent.is_dir():
            raise InputError(f"{file}: the folder does not exist")  # said before the long work
    report = Report([card.api for card in cards], names, as_json)
    interrupt = Interrupt(report.cancelled)
    interrupt.watch()
    try:
        with terminal.progress() as progress:
            for card in cards:
                _check_card(card, names, interrupt, report, progress)
    except Exception:
        if not interrupt.set.is_set():  # Cancelled, or whatever an interrupted solver raises
            raise
    finally:
        interrupt.done.set()
    if interrupt.set.is_set():
        report.cancelled()
        return CANCELLED
    found = report.found
    _write(found, trace, ".json", lambda v: v.trace.model_dump_json() + "\n" if v.trace else "")
    _write(found, html, ".html", _html)
    return FINE if all(v.expected for v in found) else FINDING


def _cards(name: str) -> list[AttachCard]:
    return [inputs.card(n) for n in card_names()] if name == "all" else [inputs.card(name)]


def _check_card(
    card: AttachCard,
    names: Sequence[str],
    interrupt: Interrupt,
    report: Report,
    progress: terminal.Progress,
) -> None:
    """The verdicts on one card, each shown as soon as it is there."""
    from bpflife.proofs.check import Cancelled, check_all  # z3: only for who checks

    left = iter(names)

    def begin() -> None:
        name = next(left, None)
        if name:
            progress.begin(f"checking {card.api}, {name}")
        else:
            progress.close()

    def each(verdict: Verdict) -> None:
        if interrupt.set.is_set():  # an interrupted solver knows nothing: don't show its answer
            raise Cancelled
        with progress.aside():
            report.add(verdict)
        begin()

    begin()
    check_all(card, list(names), progress=progress.say, cancelled=interrupt.set.is_set, each=each)
    with progress.aside():
        report.explain()


def _html(verdict: Verdict) -> str:
    from .picture.standalone import standalone_html

    return standalone_html(verdict.trace) if verdict.trace else ""


def _write(
    verdicts: Sequence[Verdict], path: Path | None, suffix: str, text: Callable[[Verdict], str]
) -> None:
    """Write the counterexamples: one to the file itself, several to files named after it and
    their property (and their card, where there are several)."""
    if path is None:
        return
    shown = [v for v in verdicts if v.trace]
    if not shown:
        complain(f"{path}: not written: there is no counterexample")
    several = len({verdict.card for verdict in verdicts}) > 1
    for verdict in shown:
        what = f"{verdict.card}-{verdict.property}" if several else verdict.property
        name = f"{path.stem}-{what}{path.suffix or suffix}"
        terminal.write_file(path if len(shown) == 1 else path.with_name(name), text(verdict))
