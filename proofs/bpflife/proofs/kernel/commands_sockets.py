"""Commands on sockets, and on descriptors that are sent over them. None of them waits.

A Unix socket that is bound has the number of its inode as its (abstract) name: nobody else has it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from bpflife.proofs.kernel import libc
from bpflife.proofs.kernel.results import Result, received

_PREFIX: Final = "bpflife-socket-"


def socket(type: str) -> Result:
    """Make a Unix socket of a type, "stream" or "dgram"; exec keeps it."""
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
    return Result(libc.accept(socket), os.fstat(socket).st_ino)


def inet_socket(type: str = "dgram", reuseport: bool = False) -> Result:
    """Make a socket of UDP ("dgram") or TCP ("stream"), which may share a port; exec keeps it."""
    fd = libc.inet_socket(type)
    if reuseport:
        libc.set_option(fd, "SO_REUSEPORT")
    return Result(fd)


def bind_port(socket: int, port: int) -> Result:
    """Give a socket a port. Those that share it are one group, which has one program.

    (net/core/sock_reuseport.c:reuseport_alloc, reuseport_add_sock)
    """
    libc.bind_port(socket, port)
    return Result()


def connect_port(socket: int, port: int) -> Result:
    """Connect a socket to a port of the own network namespace, whose loopback device is up."""
    libc.connect_port(socket, port)
    return Result()


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


COMMANDS: Final = (
    *(socket, socketpair, bind, listen, connect, accept),
    *(inet_socket, bind_port, connect_port, send_fd, recv_fd),
)
