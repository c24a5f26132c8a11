"""Commands on descriptors of any kind: copies and mappings."""

from __future__ import annotations

import itertools
import mmap as pages
import os
from typing import Final

from bpflife.proofs.kernel import libc
from bpflife.proofs.kernel.results import CONTROL, Result, own, received

_mappings: dict[int, int] = {}  # handle -> address
_handles = itertools.count(1)


def dup(fd: int) -> Result:
    """Make a second descriptor of the same file; exec keeps it."""
    return Result(libc.dup(fd))


def dup2(fd: int, to: int) -> Result:
    """Make `to` a descriptor of the same file, and close what it was; exec keeps it."""
    return Result(libc.dup2(fd, own(to)))


def cloexec(fd: int, on: bool) -> Result:
    """Say whether exec closes a descriptor. It closes BPF's unless they came by dup or a socket."""
    libc.set_cloexec(own(fd), on)
    return Result()


def close(fd: int) -> Result:
    """Close a descriptor."""
    os.close(own(fd))
    return Result()


def pidfd_getfd(pid: int, fd: int) -> Result:
    """Take a copy of another process's descriptor; exec closes it."""
    pidfd = libc.above(os.pidfd_open(pid), CONTROL + 1)
    try:
        return received(libc.pidfd_getfd(pidfd, fd))
    finally:
        os.close(pidfd)


def mmap(fd: int, prot: str = "read_only") -> Result:
    """Map the first page of a map's memory: `value` is a handle for `munmap`, no descriptor.

    `prot` is "read_only", "write_only" or "read_write".

    After a fork the child has the mapping too, by the same handle.
    """
    address = libc.mmap(fd, pages.PAGESIZE, prot)
    handle = next(_handles)
    _mappings[handle] = address
    return Result(handle)


def munmap(handle: int) -> Result:
    """Unmap what `mmap` mapped. ValueError if it isn't mapped."""
    if handle not in _mappings:
        raise ValueError(f"no mapping {handle}")
    libc.munmap(_mappings.pop(handle), pages.PAGESIZE)
    return Result()


COMMANDS: Final = (
    *(dup, dup2, cloexec, close, pidfd_getfd),
    *(mmap, munmap),
)
