"""An actor: a child process in a world that runs commands on request (commands.py lists them)."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bpflife.proofs.kernel.commands import MESSAGE

_MAKES: Final = {"map_create": "map", "prog_load": "prog", "link_create": "link"}
_PATIENCE = 30.0  # seconds until a command counts as hung


class GoneError(Exception):
    """The actor ended before it answered."""


@dataclass(frozen=True)
class Reply:
    """A command's outcome: the kernel's errno by name (None: success), a descriptor, an id.

    `log` is the verifier's text when it refused a program.
    """

    errno: str | None
    value: int | None
    id: int | None
    log: str = ""


class Actor:
    """A process named `name` with number `pid`. `World.actor` makes it."""

    def __init__(
        self,
        name: str,
        pid: int,
        control: socket.socket,
        reap: Callable[[int, bool], int],
        made: Mapping[str, set[int]],
    ) -> None:
        self.name, self.pid = name, pid
        self._control, self._reap, self._made = control, reap, made
        self._command = ""
        self._running = True
        control.settimeout(_PATIENCE)

    @property
    def running(self) -> bool:
        """Whether nobody ended the actor yet."""
        return self._running

    def call(self, command: str, **arguments: Any) -> Reply:
        """Run a command and wait for its outcome.

        "exit" waits until the process has ended and let go of all it held, and gives its status.
        ValueError for a wrong request, GoneError if the actor is no more, TimeoutError if it hangs.
        """
        if command == "exit":
            return Reply(None, self.exit(**arguments), None)
        self.start(command, **arguments)
        return self.finish()

    def start(self, command: str, **arguments: Any) -> None:
        """Begin a command without waiting, so that several actors run at the same time."""
        self._command = command
        try:
            self._control.send(json.dumps({"do": command, **arguments}).encode())
        except OSError as broken:
            raise GoneError(f"actor {self.name} is gone") from broken

    def finish(self) -> Reply:
        """The outcome of the command that `start` began; raises as `call` does."""
        try:
            packet = self._control.recv(MESSAGE)
        except ConnectionError:
            packet = b""
        if not packet:
            raise GoneError(f"actor {self.name} ended during {self._command}")
        answer = json.loads(packet)
        if "fault" in answer:
            raise ValueError(f"{self._command}: {answer['fault']}")
        reply = Reply(**answer)
        if reply.id is not None and self._command in _MAKES:
            self._made[_MAKES[self._command]].add(reply.id)
        return reply

    def exit(self, status: int = 0) -> int:
        """Let the process end by itself: its exit status, as in `os.waitstatus_to_exitcode`."""
        self.start("exit", status=status)
        return self._end(kill=False)

    def kill(self) -> int:
        """Kill the process by SIGKILL, whatever it does: its exit status, -9."""
        return self._end(kill=True)

    def _end(self, kill: bool) -> int:
        if not self._running:
            raise GoneError(f"actor {self.name} is gone")
        self._running = False
        status = self._reap(self.pid, kill)
        self._control.close()
        return os.waitstatus_to_exitcode(status)

    def forget(self) -> None:
        """Note that the process was ended by the world."""
        self._running = False
        self._control.close()
