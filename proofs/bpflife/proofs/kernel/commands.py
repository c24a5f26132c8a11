"""What an actor process can do: each command is a function here, run one at a time on request.

`serve` answers every request, a JSON object {"do": name, ...arguments}, with one of
  {"errno": name or null, "value": number or null, "id": object id or null, "log": text}
  {"fault": text}      the request itself was wrong: nothing was done
A command runs as in a fresh process: its descriptors are the lowest free ones, and the kernel
answers for those that are closed. What the commands open for themselves lies above `CONTROL`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from bpflife.proofs.kernel import asm, bpf

CONTROL: Final = 1000  # descriptor of the control socket
MESSAGE: Final = 1 << 17  # bytes of a message at most


class Result(NamedTuple):
    """A command's outcome: a descriptor, if it makes one, and the id of its new object."""

    value: int | None = None
    id: int | None = None


def map_create(
    type: str = "array", key: int = 4, value: int = 4, entries: int = 1, name: str = ""
) -> Result:
    """Make a map: its descriptor and id."""
    return _new(bpf.map_create(type, key, value, entries, name))


def prog_load(
    type: str = "cgroup_skb",
    maps: Sequence[int] = (),
    returns: int = 1,
    name: str = "",
    attach_type: str | int = 0,
) -> Result:
    """Load a program that uses the maps behind some descriptors: its descriptor and id."""
    insns = asm.trivial(maps, returns)
    return _new(bpf.prog_load(type, insns, name=name, attach_type=attach_type))


def dup(fd: int) -> Result:
    """Make a second descriptor of the same file."""
    return Result(os.dup(fd))


def close(fd: int) -> Result:
    """Close a descriptor."""
    if fd == CONTROL:
        raise ValueError(f"descriptor {CONTROL} controls the actor")
    os.close(fd)
    return Result()


def pin(fd: int, path: str) -> Result:
    """Pin an object at a path of the world's bpffs."""
    bpf.obj_pin(fd, path)
    return Result()


def obj_get(path: str) -> Result:
    """Open a pinned object: a descriptor of a new file, and the object's id."""
    return _new(bpf.obj_get(path))


def unlink(path: str) -> Result:
    """Remove a pin."""
    os.unlink(path)
    return Result()


def prog_attach(
    target: str,
    fd: int,
    attach_type: str,
    flags: int = 0,
    replace_fd: int = 0,
    revision: int = 0,
) -> Result:
    """Attach a program to the cgroup at the path `target`."""
    with _directory(target) as cgroup:
        bpf.prog_attach(cgroup, fd, attach_type, flags, replace_fd=replace_fd, revision=revision)
    return Result()


def prog_detach(target: str, attach_type: str, fd: int | None = None, revision: int = 0) -> Result:
    """Detach a program, or whatever single one is attached, from the cgroup at `target`."""
    with _directory(target) as cgroup:
        bpf.prog_detach(cgroup, fd or 0, attach_type, revision=revision)
    return Result()


def link_create(target: str, fd: int, attach_type: str, flags: int = 0) -> Result:
    """Attach a program by a link to the cgroup at `target`: the link's descriptor and id."""
    with _directory(target) as cgroup:
        return _new(bpf.link_create(fd, cgroup, attach_type, flags))


def link_update(link: int, fd: int, old_fd: int | None = None) -> Result:
    """Change a link's program, with `old_fd` only if that is its program now."""
    bpf.link_update(link, fd, old_fd)
    return Result()


def link_detach(link: int) -> Result:
    """Detach a link; it stays without effect."""
    bpf.link_detach(link)
    return Result()


def exit(status: int = 0) -> Result:
    """End the process. No answer comes: the socket closes."""
    os._exit(status)


COMMANDS: Final[dict[str, Callable[..., Result]]] = {
    command.__name__: command
    for command in (
        *(map_create, prog_load, dup, close, pin, obj_get, unlink),
        *(prog_attach, prog_detach, link_create, link_update, link_detach, exit),
    )
}


def serve(control: socket.socket) -> None:
    """Answer requests until the other side closes."""
    while request := control.recv(MESSAGE):
        control.send(json.dumps(_answer(json.loads(request))).encode())


def _answer(request: dict[str, object]) -> dict[str, object]:
    try:
        result = COMMANDS[str(request.pop("do"))](**request)
    except OSError as refused:
        log = refused.log if isinstance(refused, bpf.LoadError) else ""
        name = bpf.errno_name(refused.errno or 0)
        return {"errno": name, "value": None, "id": None, "log": log}
    except Exception as wrong:  # a wrong request must not end the actor
        return {"fault": f"{type(wrong).__name__}: {wrong}"}
    return {"errno": None, "value": result.value, "id": result.id, "log": ""}


def _new(fd: int) -> Result:
    return Result(fd, bpf.object_id(fd))


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    """A descriptor above all that commands name: else it could be a closed one's number."""
    low = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, CONTROL + 1)
    finally:
        os.close(low)
    try:
        yield high
    finally:
        os.close(high)
