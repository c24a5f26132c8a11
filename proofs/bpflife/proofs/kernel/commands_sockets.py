"""Commands on Unix sockets, and on descriptors that are sent over them. None of them waits.

A socket that is bound has the number of its inode as its (abstract) name: nobody else has it.
"""

from __future__ import annotations

import os
import socket as sockets
from collections.abc import Sequence
from typing import Final

from bpflife.proofs.kernel import libc
from bpflife.proofs.kernel.results import Result, received

_PREFIX: Final = "bpflife-socket-"


def socket(type: str) -> Result:
    """Make a socket of a type, "stream" or "dgram"; exec keeps it."""
    return Result(libc.socket(type))


def socketpair(type: str = "dgram") -> Result:
    """Make two connected sockets: `value` and the one of `more`."""
    first, second = libc.socketpair(type)
    return Result(first, more=(second,))


def bind(socket: int) -> Result:
    """Give a socket its name."""
    libc.bind(socket, _name(os.fstat(socket).st_ino))
    return Result()


def listen(socket: int) -> Result:
    """Let a socket take connections."""
    libc.listen(socket)
    return Result()


def connect(socket: int, to: int) -> Result:
    """Connect a socket to the one whose inode has the number `to`."""
    libc.connect(socket, _name(to))
    return Result()


def accept(socket: int) -> Result:
    """Accept a connection: its descriptor, which exec keeps; `id` is the listener's inode."""
    fd = libc.accept(socket)
    with sockets.socket(fileno=os.dup(fd)) as accepted:
        address = accepted.getsockname()
    return Result(fd, int(address[1:].removeprefix(_PREFIX.encode())))


def send_fd(socket: int, fd: int | Sequence[int]) -> Result:
    """Send a descriptor's file, or several, to the other end, where they wait as one message."""
    libc.send_fds(socket, [fd] if isinstance(fd, int) else fd)
    return Result()


def recv_fd(socket: int) -> Result:
    """Receive a message's files: new descriptors, and the id of the BPF object behind the first.
    Exec keeps them. Nothing where the other end of a stream is gone."""
    fds = libc.recv_fds(socket)
    return received(fds[0])._replace(more=tuple(fds[1:])) if fds else Result()


def _name(inode: int) -> bytes:
    return f"{_PREFIX}{inode}".encode()


COMMANDS: Final = (socket, socketpair, bind, listen, connect, accept, send_fd, recv_fd)
