"""What an actor process can do: each command is a function, run one at a time on request.

The commands are in commands_*.py, by topic. `serve` answers every request, a JSON object
{"do": name, ...arguments}, with one of
  {"errno": name or null, "value": number or null, "id": object id or null, "log": text,
   "more": [number ...], "named": [[name, number] ...], "attached": [[number ...] ...]}
  {"fault": text}      the request itself was wrong: nothing was done
A command runs as in a fresh process: its descriptors are the lowest free ones, and the kernel
answers for those that are closed. What the commands open for themselves lies above `CONTROL`.

Run as `python -m bpflife.proofs.kernel.commands PARENT` this is an actor after its exec.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

from bpflife.proofs.kernel import (
    bpf,
    commands_attach,
    commands_devices,
    commands_files,
    commands_netns,
    commands_networks,
    commands_objects,
    commands_pins,
    commands_processes,
    commands_socket_programs,
    commands_sockets,
    commands_tracing,
    commands_traffic,
    libc,
)
from bpflife.proofs.kernel.results import CONTROL, Result, Unasked

MESSAGE: Final = 1 << 17  # bytes of a message at most

COMMANDS: Final[dict[str, Callable[..., Result]]] = {
    command.__name__: command
    for command in (
        *commands_objects.COMMANDS,
        *commands_files.COMMANDS,
        *commands_sockets.COMMANDS,
        *commands_socket_programs.COMMANDS,
        *commands_pins.COMMANDS,
        *commands_attach.COMMANDS,
        *commands_tracing.COMMANDS,
        *commands_networks.COMMANDS,
        *commands_devices.COMMANDS,
        *commands_netns.COMMANDS,
        *commands_processes.COMMANDS,
        *commands_traffic.COMMANDS,
    )
}


def serve(control: socket.socket) -> None:
    """Answer requests until the other side closes."""
    while request := control.recv(MESSAGE):
        with contextlib.suppress(Unasked):
            _send(control, *_answer(json.loads(request)))


def _send(control: socket.socket, answer: dict[str, object], fd: int | None) -> None:
    packet = json.dumps(answer).encode()
    if fd is None:
        control.send(packet)
        return
    socket.send_fds(control, [packet], [fd])
    os.close(fd)


def _answer(request: dict[str, Any]) -> tuple[dict[str, object], int | None]:
    """The answer to a request, and a descriptor that goes with it."""
    try:
        result = COMMANDS[str(request.pop("do"))](**request)
    except OSError as refused:
        log = refused.log if isinstance(refused, bpf.LoadError) else ""
        return _packet(Result(), bpf.errno_name(refused.errno or 0), log), None
    except Exception as wrong:  # a wrong request must not end the actor
        return {"fault": f"{type(wrong).__name__}: {wrong}"}, None
    return _packet(result), result.sends


def _packet(result: Result, errno: str | None = None, log: str = "") -> dict[str, object]:
    value, id, more, _, named, attached = result
    return {
        "errno": errno, "value": value, "id": id, "log": log, "more": more, "named": named,
        "attached": attached,
    }  # fmt: skip


def main() -> None:
    """Go on as the actor that called exec: say that it succeeded, then obey."""
    libc.die_with_parent()
    if os.getppid() == int(sys.argv[1]):
        libc.set_cloexec(CONTROL, True)
        with contextlib.suppress(ConnectionError), socket.socket(fileno=CONTROL) as control:
            _send(control, _packet(Result()), None)
            serve(control)
    os._exit(0)


if __name__ == "__main__":
    main()
