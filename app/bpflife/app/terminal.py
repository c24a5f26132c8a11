"""What the command line prints and how: clean text, one-line errors, progress, quiet pipes.

Everything that comes from a user's file goes through `clean`: no control character reaches a
terminal, and nothing is ever read as rich's markup.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.text import Text

from bpflife.model.documents import InputError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

FINE, FINDING, BAD_INPUT, CANCELLED = 0, 1, 2, 130
LONG = 5.0  # seconds of silence after which a log gets a line, so that it shows life
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
    """One line on stderr; who closed stderr does not want it."""
    with suppress(OSError):
        print(f"bpflife: {clean(text)}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------
# files


def keep_apart(outputs: Iterable[tuple[str, Path]], inputs: Iterable[str]) -> None:
    """InputError where two options would write one file, or one that is read."""
    taken = {_identity(name): "the input" for name in inputs}
    for option, path in outputs:
        other = taken.setdefault(_identity(path), option)
        if other != option:
            raise InputError(f"{path}: {option} and {other} are the same file")


def _identity(path: str | Path) -> object:
    """What tells files apart, also those that have links to them or aren't there yet."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def write_file(path: Path, text: str) -> None:
    """Write what the user asked for; InputError if the file can't be written."""
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe: nothing to put in place
            path.write_text(text, encoding="utf-8")
        else:
            _put_in_place(Path(os.path.realpath(path)), text)
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: {getattr(e, 'strerror', None) or e}") from None
    complain(f"wrote {path}")


def _put_in_place(path: Path, text: str) -> None:
    """Write beside the file and rename: whoever is killed meanwhile leaves no half of it."""
    old = path.stat() if path.exists() else None
    if old and not os.access(path, os.W_OK):  # renaming would not ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    part = path.with_name(f".bpflife-{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        if old:
            part.chmod(old.st_mode & 0o777)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


# ---------------------------------------------------------------------------------------------
# progress


class Progress:
    """Says on stderr what is being worked on, if it takes long: one line for each piece of work.
    That is for a log; a terminal has `_Live`."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        self._news = ""

    def begin(self, what: str) -> None:
        """A piece of work begins, and the one before is done."""
        self.close()
        self._news = ""
        self._timer = threading.Timer(LONG, self._still_at, [what])
        self._timer.daemon = True
        self._timer.start()

    def say(self, text: str) -> None:
        """How far it is."""
        self._news = text

    def _still_at(self, what: str) -> None:
        complain(f"{what}: more than {LONG:.0f} s{f'; {self._news}' if self._news else ''}")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Something is printed meanwhile."""
        yield

    def close(self) -> None:
        """Nothing more is to be said."""
        if self._timer:
            self._timer.cancel()


class _Live(Progress):
    """A line at the bottom of a terminal, with the time that the piece of work has taken."""

    def __init__(self, bar: Bar) -> None:
        super().__init__()
        self._bar = bar
        self._task = bar.add_task("", total=None)
        self._what = ""

    def begin(self, what: str) -> None:
        self._what = what
        self._bar.reset(self._task, total=None)
        self.say("")

    def say(self, text: str) -> None:
        shown = f"{self._what}: {text}" if text else self._what
        self._bar.update(self._task, description=clean(shown))

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._bar.stop()  # it is transient: the line is gone now
        yield
        self._bar.start()


@contextmanager
def progress() -> Iterator[Progress]:
    """What says how far a long piece of work is, on stderr."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        log = Progress()
        try:
            yield log
        finally:
            log.close()
        return
    from rich.progress import Progress as Bar  # a short command must not wait for it
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    # stdout is left alone: it may go elsewhere, and rich would bring it to the terminal
    with Bar(
        *columns, console=shown, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        yield _Live(bar)


# ---------------------------------------------------------------------------------------------
# streams


def prepare_streams() -> None:
    """What a locale can't write becomes a question mark; what is closed (`>&-`) takes all."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure:
            reconfigure(errors="replace")


def drop_stdout() -> None:
    """Nobody takes what goes to stdout: send the rest nowhere, so that exit stays quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
