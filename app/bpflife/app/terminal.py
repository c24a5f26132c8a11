"""What the command line prints and how: clean text, one-line errors, progress, quiet pipes.

Everything that comes from a user's file goes through `clean`: no control character reaches a
terminal, and nothing is ever read as rich's markup.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.text import Text

from bpflife.model.documents import InputError

FINE, FINDING, BAD_INPUT, CANCELLED = 0, 1, 2, 130
PIPED_WIDTH = 120  # columns where there is no terminal to ask, as in a file or a pager


class _Console(Console):
    """A console that leaves a reader who went away (`| head`) to `main`."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr that takes every text literally."""
    stream = sys.stderr if stderr else sys.stdout
    asked = os.environ.get("COLUMNS", "")
    width = None if stream.isatty() or asked.isdigit() else PIPED_WIDTH
    return _Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


def clean(text: str) -> str:
    """A text for one line of a terminal: blanks for line ends, U+FFFD for what can't be seen."""
    return "".join(c if c.isprintable() else " " if c in "\t\n" else "\ufffd" for c in text)


def literal(text: str, style: str = "") -> Text:
    """A text for rich that is only ever shown, never interpreted."""
    return Text(clean(text), style=style)


def complain(text: str) -> None:
    """One line on stderr."""
    print(f"bpflife: {clean(text)}", file=sys.stderr, flush=True)


def write_file(path: Path, text: str) -> None:
    """Write what the user asked for; InputError if the file can't be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: {getattr(e, 'strerror', None) or e}") from None
    complain(f"wrote {path}")


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """A line on a terminal's stderr that says what is being done; silent elsewhere."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        yield lambda _: None
        return
    with shown.status(literal(what)) as status:
        yield lambda text: status.update(literal(f"{what}: {text}"))


def tolerate_locale() -> None:
    """Whatever a locale can't write becomes a question mark instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")


def drop_stdout() -> None:
    """Nobody reads stdout any more: send the rest nowhere, so that exit stays quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
