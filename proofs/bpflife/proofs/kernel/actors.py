"""An actor: a child process in a world that runs commands on request (commands.py lists them)."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from bpflife.proofs.kernel.commands import MESSAGE

_MAKES: Final = {
    "map_create": "map",
    "prog_load": "prog",
    "load_counting": "prog",
    "load_meeting": "prog",
    "btf_load": "btf",
    "link_create": "link",
    "tcx_link": "link",
    "xdp_link": "link",
    "netns_link": "link",
    "netfilter_link": "link",
    "raw_tracepoint_open": "link",
    "tracing_link": "link",
    "perf_link": "link",
    "uprobe_multi_link": "link",
    "iter_link": "link",
    "sockmap_link": "link",
}
_PATIENCE = 30.0  # seconds until a command counts as hung
_CLOEXEC = socket.MSG_CMSG_CLOEXEC


class GoneError(Exception):
    """The actor ended before it answered."""


@dataclass(frozen=True)
class Reply:
    """A command's outcome: the kernel's errno by name (None: success), a descriptor, an id.

    `value` is a descriptor but for `mmap`, `more` are further ones, `named` numbers with
    names, `attached` the ids of a program and of its link (0: none) with what else is known of
    each place where something is attached. `log` is the verifier's text when it refused a program.
    """

    errno: str | None
    value: int | None
    id: int | None
    log: str = ""
    more: tuple[int, ...] = ()
    named: Mapping[str, int] = field(default_factory=dict)
    attached: tuple[tuple[int, ...], ...] = ()


class Owner(Protocol):
    """What an actor needs of its world."""

    made: dict[str, set[int]]  # ids of the objects that the world's actors made

    def reap(self, pid: int, kill: bool) -> int:
        """Wait for a process's end, or kill it: its wait status."""

    def adopt(self, name: str, pid: int, control: socket.socket) -> Actor:
        """Make an actor of a process that one of the world's has forked."""


class Actor:
    """A process named `name` with number `pid`. `World.actor` makes it."""

    def __init__(self, name: str, pid: int, control: socket.socket, owner: Owner) -> None:
        self.name, self.pid = name, pid
        self._control, self._owner = control, owner
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
        if command == "fork":
            raise ValueError("fork makes an actor: call the method of this name")
        self.start(command, **arguments)
        return self.finish()

    def start(self, command: str, **arguments: Any) -> None:
        """Begin a command without waiting, so that several actors run at the same time."""
        self._command = command
        try:
            self._control.send(json.dumps({"do": command, **arguments}).encode())
        except OSError as broken:
            raise GoneError(f"actor {self.name} is gone") from broken

    def ready(self) -> bool:
        """Whether the outcome of the command that `start` began is there, or the actor is gone."""
        return bool(select.select([self._control], [], [], 0)[0])

    def finish(self) -> Reply:
        """The outcome of the command that `start` began; raises as `call` does."""
        return self._receive()[0]

    def fork(self, name: str) -> Actor:
        """Let the process fork: an actor with the same descriptors, mappings and mounts.

        OSError if the kernel refuses it; else raises as `call` does.
        """
        self.start("fork")
        reply, fds = self._receive()
        if reply.value is None:
            raise OSError(getattr(errno, reply.errno or "", 0), f"fork: {reply.errno}")
        return self._owner.adopt(name, reply.value, socket.socket(fileno=fds[0]))

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
        status = self._owner.reap(self.pid, kill)
        self._control.close()
        return os.waitstatus_to_exitcode(status)

    def forget(self) -> None:
        """Note that the process was ended by the world."""
        self._running = False
        self._control.close()

    def _receive(self) -> tuple[Reply, list[int]]:
        """The answer to the last request, and the descriptors that came with it."""
        try:
            packet, fds, _, _ = socket.recv_fds(self._control, MESSAGE, 1, _CLOEXEC)
        except ConnectionError:
            packet, fds = b"", []
        if not packet:
            raise GoneError(f"actor {self.name} ended during {self._command}")
        answer = json.loads(packet)
        if "fault" in answer:
            raise ValueError(f"{self._command}: {answer['fault']}")
        several = {"more": tuple(answer["more"]), "named": dict(answer["named"])}
        several["attached"] = tuple(tuple(place) for place in answer["attached"])
        reply = Reply(**answer | several)
        if reply.id is not None and self._command in _MAKES:
            self._owner.made[_MAKES[self._command]].add(reply.id)
        return reply, fds
