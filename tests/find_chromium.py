"""Prints the path of a Chromium that runs, for the browser tests (as BPFLIFE_CHROMIUM).

    python tests/find_chromium.py             # one that is there already
    python tests/find_chromium.py --install   # else Debian's package (as root), else playwright's

Exit 1 and one line on stderr, where there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "no Chromium: apt-get install chromium, or set BPFLIFE_CHROMIUM to one that you have"


def runs(path: str) -> bool:
    """Whether it starts: a command of that name may only be a hint to install a package."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def find() -> str | None:
    """The path of a Chromium that is here."""
    asked = os.environ.get("BPFLIFE_CHROMIUM")
    if asked:
        return asked if runs(asked) else None
    there = [shutil.which(name) for name in COMMANDS]
    return next((path for path in [*there, _playwrights()] if path and runs(path)), None)


def _playwrights() -> str | None:
    """Where playwright keeps its own, whether it has been downloaded or not."""
    script = (
        "from playwright.sync_api import sync_playwright as p\n"
        "with p() as q: print(q.chromium.executable_path)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    path = done.stdout.strip()
    return path if done.returncode == 0 and os.path.exists(path) else None


def install() -> str | None:
    """Install one: Debian's package where we are root, else playwright's download."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _say("installing Debian's chromium")
        apt = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
        _quiet([*apt, "update"])
        _quiet([*apt, "install", "-y", "--no-install-recommends", "chromium"])
        found = find()
        if found:
            return found
    _say("downloading playwright's chromium")
    _quiet([sys.executable, "-m", "playwright", "install", "chromium"])
    return find()


def _quiet(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Print the path; the exit code."""
    wanted = os.environ.get("BPFLIFE_CHROMIUM")
    found = find() or (install() if "--install" in sys.argv[1:] and not wanted else None)
    if found:
        print(found)
        return 0
    _say(f"BPFLIFE_CHROMIUM={wanted} does not run" if wanted else MISSING)
    return 1


if __name__ == "__main__":
    sys.exit(main())
