"""Commands about the actor's process itself."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from typing import Final, NoReturn

from bpflife.proofs.kernel import cgroups, libc
from bpflife.proofs.kernel.results import CONTROL, Result, Unasked

_MODULE = "bpflife.proofs.kernel.commands"


def fork() -> Result:
    """Fork: the pid of a new actor with the same descriptors and mappings.

    The owner gets its control socket. It is a child of the keeper, as all actors are.
    """
    keeper = os.getppid()
    with _in_network_of(keeper), _in_cgroup_of(keeper):  # a socket holds where it was made
        mine, theirs = (
            libc.above(end.detach(), CONTROL + 1)
            for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        )
    pid = libc.fork_sibling()
    if pid == 0:
        _be_child(mine, theirs, keeper)
    os.close(theirs)
    return Result(pid, sends=mine)


def exec() -> Result:
    """Start anew with another program image, that of a fresh actor.

    Descriptors closed on exec and mappings are gone; the pid and the other descriptors stay.
    """
    arguments = [sys.executable, "-S", "-P", "-m", _MODULE, str(os.getppid())]
    libc.set_cloexec(CONTROL, False)
    try:
        os.execv(sys.executable, arguments)
    finally:
        libc.set_cloexec(CONTROL, True)


def unshare_mounts() -> Result:
    """Get an own mount namespace, a copy of the world's. Its mounts end with the process."""
    libc.private_mounts()
    return Result()


def cgroup_join(target: str) -> Result:
    """Become a member of a cgroup; what it makes from now on may belong to it. Children inherit."""
    procs = os.open(os.path.join(target, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(procs, b"0")
    finally:
        os.close(procs)
    return Result()


def exit(status: int = 0) -> Result:
    """End the process. No answer comes: the socket closes."""
    os._exit(status)


@contextlib.contextmanager
def _in_network_of(pid: int) -> Iterator[None]:
    """In the network namespace of another process for a moment."""
    theirs, mine = (
        libc.above(os.open(f"/proc/{of}/ns/net", os.O_RDONLY), CONTROL + 1) for of in (pid, "self")
    )
    try:
        libc.enter_network(theirs)
        yield
        libc.enter_network(mine)
    finally:
        os.close(theirs)
        os.close(mine)


@contextlib.contextmanager
def _in_cgroup_of(pid: int) -> Iterator[None]:
    """In the cgroup of another process for a moment."""
    theirs, mine = (cgroups.of_process(of) for of in (pid, os.getpid()))
    if theirs == mine:
        yield
        return
    cgroup_join(theirs)
    try:
        yield
    finally:
        cgroup_join(mine)


def _be_child(mine: int, theirs: int, keeper: int) -> NoReturn:
    """In the new process: be killed with the keeper, and obey the new socket instead of the old."""
    try:
        libc.die_with_parent()
        if os.getppid() != keeper:
            os._exit(0)
        os.close(mine)
        os.dup2(theirs, CONTROL, inheritable=False)
        os.close(theirs)
    except OSError:
        os._exit(1)
    raise Unasked


COMMANDS: Final = (fork, exec, unshare_mounts, cgroup_join, exit)
