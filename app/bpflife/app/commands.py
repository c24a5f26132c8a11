"""What the command line can do: `bpflife app | list | run | check | conform | traffic | restarts`.

Exit codes: 0 fine, 1 a finding, 2 what was asked can't be done (one line on stderr says why).
Nothing heavy is imported here: the help, the lists and a run answer at once.
"""

from __future__ import annotations

import argparse
import errno
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

from bpflife.model.documents import InputError

from . import terminal
from .terminal import BAD_INPUT, CANCELLED, FINE, complain

ABOUT = "Who keeps this BPF object alive, and what happens when they let go?"
EXAMPLES = """\
examples:
  bpflife app                           the pictures, in a browser
  bpflife run two_phase_load            a story, step by step
  bpflife run my.yaml --kernel          your scenario, model and running kernel side by side
  bpflife check cgroup_legacy           what holds for an attach API, and what does not
  bpflife check my_api.yaml --html counterexample.html
  bpflife list stories                  what there is; also cards, claims, steps ...

exit codes: 0 fine, 1 a finding (a violation, a difference), 2 bad input
"""


class Parser(argparse.ArgumentParser):
    """argparse with one line for an error, as everywhere else."""

    def error(self, message: str) -> NoReturn:
        """One line and exit 2."""
        complain(f"{message} ({self.prog} --help shows how)")
        raise SystemExit(BAD_INPUT)

    def print_help(self, file: IO[str] | None = None) -> None:  # type: ignore[override]
        """The help. argparse itself would not say that stdout took nothing."""
        print(self.format_help(), end="", file=file)


def parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    top = Parser(
        prog="bpflife",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    _app_options(commands.add_parser("app", help="serve the pictures on this machine"))
    _list_options(commands.add_parser("list", help="what there is to play, check and write"))
    _run_options(commands.add_parser("run", help="play scenarios, on the kernel too if asked"))
    _check_options(commands.add_parser("check", help="what holds for an attach API"))
    _conform_options(commands.add_parser("conform", help="the model against the running kernel"))
    _traffic_options(commands.add_parser("traffic", help="events while a program is replaced"))
    _restarts_options(commands.add_parser("restarts", help="what piles up when loaders restart"))
    return top


def _conform_options(conform: argparse.ArgumentParser) -> None:
    conform.add_argument(
        "--random", type=_count, default=100, metavar="N", help="scenarios; default: %(default)s"
    )
    conform.add_argument("--seed", type=_count, default=1, metavar="S", help="default: %(default)s")
    conform.add_argument("--length", type=_count, default=30, metavar="L", help="steps of each")
    conform.add_argument("--jobs", type=_count, default=0, help="worker processes; default: cores")
    conform.add_argument(
        "--cards", default="cgroup_legacy,xdp_netlink", metavar="A,B", help="attach APIs"
    )
    conform.add_argument("--json", action="store_true", help="the report as one JSON document")
    conform.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where disagreements are written"
    )


def _traffic_options(traffic: argparse.ArgumentParser) -> None:
    traffic.add_argument(
        "--events", type=_count, default=20_000, metavar="N",
        help="at least, for each way of replacing; default: %(default)s",
    )  # fmt: skip
    traffic.add_argument("--json", action="store_true", help="what was measured as one document")


def _restarts_options(restarts: argparse.ArgumentParser) -> None:
    restarts.add_argument("cards", nargs="*", metavar="CARD", help="attach APIs; default: all")
    restarts.add_argument(
        "--times", type=_count, default=5, metavar="N", help="starts; default: %(default)s"
    )
    restarts.add_argument("--json", action="store_true", help="the table as one JSON document")
    restarts.add_argument("--yaml", action="store_true", help="the scenarios, to run and to change")


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 7:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number from 0 to 9999999")
    return int(text)


def _app_options(app: argparse.ArgumentParser) -> None:
    app.add_argument("--port", type=_port, default=5006, help="default: %(default)s")
    app.add_argument("--address", default="127.0.0.1", help="default: %(default)s")


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:6]) <= 65535:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a port, 1 to 65535")
    return int(text)


def _list_options(listed: argparse.ArgumentParser) -> None:
    what = ("cards", "claims", "properties", "stories", "steps", "vocabulary")
    listed.add_argument("what", choices=what, metavar="WHAT", help=", ".join(what))
    listed.add_argument(
        "--cards", metavar="A,B", help="for steps: with the attach APIs of these cards"
    )


def _run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "scenarios", nargs="+", metavar="SCENARIO", help="a story's name or a file (.yaml)"
    )
    run.add_argument("--kernel", action="store_true", help="compare with the running kernel")
    run.add_argument("--json", action="store_true", help="one JSON document per line and scenario")
    _file_options(run, "the run")


def _check_options(check: argparse.ArgumentParser) -> None:
    check.add_argument("card", metavar="CARD", help="a card's name, `all`, or a file (.yaml)")
    check.add_argument(
        "--property", action="append", default=[], metavar="NAME", help="only this one; repeatable"
    )
    check.add_argument("--json", action="store_true", help="one JSON document per line and verdict")
    _file_options(check, "the counterexample")


def _file_options(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--trace", type=Path, metavar="FILE", help=f"write {what} as JSON")
    command.add_argument(
        "--html", type=Path, metavar="FILE", help=f"write {what} as a page that needs no server"
    )


# ---------------------------------------------------------------------------------------------
# running


def serve(port: int, address: str) -> int:
    """The app; InputError when it can't listen there, before anything heavy is imported."""
    if ":" in address:  # the server's check of origins knows no such names
        raise InputError(f"can't listen on {address}: an IPv4 address or a name is needed")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except (OSError, UnicodeError) as e:
        if getattr(e, "errno", None) == errno.EADDRINUSE:
            hint = f"choose another: --port {port + 1 if port < 65535 else 5006}"
            raise InputError(f"port {port} on {address} is taken; {hint}") from None
        why = getattr(e, "strerror", None) or e
        raise InputError(f"can't listen on {address}, port {port}: {why}") from None
    from .serve import main as serve_main

    serve_main(port, address)
    return FINE


def command(options: argparse.Namespace) -> int:
    """Carry out what was asked; the exit code."""
    if options.command == "app":
        return serve(options.port, options.address)
    if options.command == "list":
        from . import listing

        if options.cards is not None and options.what != "steps":
            raise InputError(f"--cards goes with `list steps`, not with `list {options.what}`")
        listing.show(options.what, list(listing.names_in(options.cards or "")))
        return FINE
    if options.command == "conform":
        return _conform(options)
    if options.command == "traffic":
        from .traffic import traffic

        return traffic(options.events, as_json=options.json)
    if options.command == "restarts":
        from .restarts import restarts

        return restarts(options.cards, options.times, as_json=options.json, as_yaml=options.yaml)
    from . import inputs

    names = options.scenarios if options.command == "run" else [options.card]
    outputs = (("--trace", options.trace), ("--html", options.html))
    terminal.keep_apart(
        [(option, path) for option, path in outputs if path],
        [name for name in names if inputs.is_file(name)],
    )
    files = {"as_json": options.json, "trace": options.trace, "html": options.html}
    if options.command == "run":
        from .run import run

        return run(names, kernel=options.kernel, **files)
    from .check import check

    return check(options.card, options.property, **files)


def _conform(options: argparse.Namespace) -> int:
    from .conform import conform
    from .listing import names_in

    if not options.out.is_dir():
        raise InputError(f"{options.out}: the folder does not exist")
    if not 1 <= options.length <= 200:
        raise InputError("--length: a scenario has 1 to 200 steps")
    return conform(
        options.random, options.seed, list(names_in(options.cards)), length=options.length,
        jobs=options.jobs, as_json=options.json, folder=options.out,
    )  # fmt: skip


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"bpflife {version('bpflife')}"
    except PackageNotFoundError:
        return "bpflife (not installed)"


def answer(arguments: Sequence[str] | None) -> int:
    """Read the command line and carry it out; errors become one line and an exit code."""
    try:
        options = parser().parse_args(arguments)
        if options.version:
            print(_version())
            return FINE
        if options.command is None:
            parser().print_help()
            return FINE
        return command(options)
    except SystemExit as e:  # argparse, after its help or its error
        return e.code if isinstance(e.code, int) else BAD_INPUT
    except InputError as e:
        complain(str(e))
        return BAD_INPUT
    except KeyboardInterrupt:
        complain("interrupted")
        return CANCELLED


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole run of the command; the exit code. A reader that goes away (`| head`) is no error
    of ours, a full disk under stdout is one that can be said in a line."""
    terminal.prepare_streams()
    try:
        code = answer(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        terminal.drop_stdout()
        return 128 + signal.SIGPIPE
    except OSError as e:
        terminal.drop_stdout()
        complain(f"{e.filename or 'stdout'}: {e.strerror or e}")
        return BAD_INPUT
    return code
