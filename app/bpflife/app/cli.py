"""The command `bpflife`, from its first moment on: what it can do is in `commands.py`.

Nothing is imported before `main` can answer an early Ctrl-C: the imports take most of the time of
a short command.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence


def answer(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit code."""
    from . import commands

    return commands.answer(arguments)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script."""
    try:
        from . import commands

        code = commands.main(arguments)
    except KeyboardInterrupt:
        code = 130
        sys.stderr.write("bpflife: interrupted\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
