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
    after, the thread ends the process.
    """

    def __init__(self) -> None:
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
            say_cancelled()
            os._exit(CANCELLED)


def say_cancelled() -> None:
    """The one line that Ctrl-C leaves."""
    complain("cancelled; nothing was concluded about what was still being checked")


def check(
    name: str, properties: Sequence[str], *, as_json: bool, trace: Path | None, html: Path | None
) -> int:
    """Check a card (or all) and print the verdicts. The exit code: 1 if any is unexpected."""
    cards = _cards(name)
    for wanted in properties:
        if wanted not in CATALOGUE:
            raise InputError(f"no property `{wanted[:60]}`; there are {', '.join(CATALOGUE)}")
    for file in (trace, html):
        if file and not file.resolve().parent.is_dir():
            raise InputError(f"{file}: the folder does not exist")  # said before the long work
    verdicts: list[Verdict] = []
    interrupt = Interrupt()
    interrupt.watch()
    try:
        for card in cards:
            verdicts += _check_card(card, properties, interrupt, as_json)
    except Exception:
        if not interrupt.set.is_set():  # Cancelled, or whatever an interrupted solver raises
            raise
    finally:
        interrupt.done.set()
    if interrupt.set.is_set():
        say_cancelled()
        return CANCELLED
    _write(verdicts, trace, ".json", lambda v: v.trace.model_dump_json() + "\n" if v.trace else "")
    _write(verdicts, html, ".html", _html)
    return FINE if all(v.expected for v in verdicts) else FINDING


def _cards(name: str) -> list[AttachCard]:
    return [inputs.card(n) for n in card_names()] if name == "all" else [inputs.card(name)]


def _check_card(
    card: AttachCard, properties: Sequence[str], interrupt: Interrupt, as_json: bool
) -> list[Verdict]:
    """The verdicts on one card, printed as soon as they are there."""
    from bpflife.proofs.check import Cancelled, check_all  # z3: only for who checks

    def each(verdict: Verdict) -> None:
        if interrupt.set.is_set():  # an interrupted solver knows nothing: don't show its answer
            raise Cancelled
        if as_json:
            print(verdict.model_dump_json(), flush=True)

    with terminal.progress(f"checking {card.api}") as say:
        found = check_all(
            card, list(properties), progress=say, cancelled=interrupt.set.is_set, each=each
        )
    if not as_json:
        out = terminal.console()
        tables.print_verdicts(out, found)
        out.print()
    return found


def _html(verdict: Verdict) -> str:
    from .picture.standalone import standalone_html

    return standalone_html(verdict.trace) if verdict.trace else ""


def _write(
    verdicts: Sequence[Verdict], path: Path | None, suffix: str, text: Callable[[Verdict], str]
) -> None:
    """Write the counterexamples: one to the file itself, several to files named after it."""
    if path is None:
        return
    shown = [v for v in verdicts if v.trace]
    if not shown:
        complain(f"{path}: not written: there is no counterexample")
    for verdict in shown:
        name = f"{path.stem}-{verdict.card}-{verdict.property}{path.suffix or suffix}"
        terminal.write_file(path if len(shown) == 1 else path.with_name(name), text(verdict))
