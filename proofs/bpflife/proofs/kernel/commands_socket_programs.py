"""Commands on the programs of sockets: a socket's own filter, and that of a group on one port.

Sockets are those of commands_sockets. A program is attached by a descriptor of it, and no
descriptor is needed to detach it.
"""

from __future__ import annotations

from typing import Final

from bpflife.proofs.kernel import libc
from bpflife.proofs.kernel.results import Result


def socket_filter_attach(socket: int, prog: int) -> Result:
    """Give a socket a program that sees what it receives, in place of the one that it has.

    (net/core/filter.c:sk_attach_bpf)
    """
    libc.set_option(socket, "SO_ATTACH_BPF", prog)
    return Result()


def socket_filter_detach(socket: int) -> Result:
    """Take a socket's program away (net/core/filter.c:sk_detach_filter)."""
    libc.set_option(socket, "SO_DETACH_FILTER")
    return Result()


def socket_filter_lock(socket: int) -> Result:
    """Forbid to change a socket's program and that of its group through it, for ever."""
    libc.set_option(socket, "SO_LOCK_FILTER")
    return Result()


def reuseport_attach(socket: int, prog: int) -> Result:
    """Give the group of a socket a program that chooses one of it, in place of the one it has.

    (net/core/sock_reuseport.c:reuseport_attach_prog)
    """
    libc.set_option(socket, "SO_ATTACH_REUSEPORT_EBPF", prog)
    return Result()


def reuseport_detach(socket: int) -> Result:
    """Take the program of a socket's group away.

    (net/core/sock_reuseport.c:reuseport_detach_prog)
    """
    libc.set_option(socket, "SO_DETACH_REUSEPORT_BPF")
    return Result()


COMMANDS: Final = (
    *(socket_filter_attach, socket_filter_detach, socket_filter_lock),
    *(reuseport_attach, reuseport_detach),
)
