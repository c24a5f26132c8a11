"""Commands on tracing: perf events, tracepoints, uprobes and iterators, and the links to them.

Nothing that a program is attached to here ever runs it, but an iterator that is read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Final

from bpflife.proofs.kernel import bpf, events, links
from bpflife.proofs.kernel.results import CONTROL, Result, opened


def perf_event_open() -> Result:
    """Open a perf event that counts nothing."""
    return Result(events.software())


def uprobe_open() -> Result:
    """Open a perf event at the beginning of an own file, which nobody ever runs."""
    with events.own_file(CONTROL + 1) as path:
        return Result(events.uprobe(path))


def tracepoint_open(target: str = events.QUIET_TRACEPOINT) -> Result:
    """Open a perf event at a quiet tracepoint, which has one list of programs for all events."""
    return Result(events.tracepoint(target))


def perf_set_bpf(event: int, prog: int) -> Result:
    """Attach a program to the perf event behind a descriptor, for as long as the event lives."""
    events.set_program(event, prog)
    return Result()


def tracepoint_attached(event: int) -> Result:
    """The programs at the tracepoint of an event, with or without links, in running order."""
    return Result(attached=tuple((id, 0) for id in events.programs(event)))


def perf_link(event: int, fd: int) -> Result:
    """Attach a program to a perf event by a link, which holds the event's file: descriptor and id.

    (kernel/bpf/syscall.c:bpf_perf_link_attach)
    """
    return opened(bpf.link_create(fd, event, "perf_event", extra=struct.pack("=Q", 0)))


def raw_tracepoint_open(fd: int, target: str | None = events.QUIET_TRACEPOINT) -> Result:
    """Attach a program to a tracepoint by a link, its only file so far: its descriptor and id.

    A "tracing" program knows its tracepoint from its load: then `target` must be None.
    (kernel/bpf/syscall.c:bpf_raw_tp_link_attach)
    """
    return opened(bpf.raw_tracepoint_open(target, fd))


def tracing_link(fd: int, target: int = 0) -> Result:
    """Attach a "tracing" program to the tracepoint that it was loaded for, by BPF_LINK_CREATE."""
    return opened(bpf.link_create(fd, target, "trace_raw_tp"))


def uprobe_multi_link(fd: int, offsets: Sequence[int] = (0,), pid: int = 0) -> Result:
    """Attach a program to several places of an own file by one link, which holds the file.

    With `pid` for one process only. (kernel/trace/bpf_trace.c:bpf_uprobe_multi_link_attach)
    """
    with events.own_file(CONTROL + 1) as path:
        return opened(links.uprobe_multi(fd, path, offsets, pid))


def iter_link(fd: int, map: int | None = None) -> Result:
    """Make a link of an iterator program, over the elements of a map if it is for that.

    Its descriptor and id. (kernel/bpf/bpf_iter.c:bpf_iter_link_attach)
    """
    return opened(bpf.iter_link_create(fd, b"" if map is None else struct.pack("=i", map)))


def iter_create(link: int) -> Result:
    """Open what a link's iterator says: a descriptor to read it once, closed on exec.

    It holds the program that the link has now. (kernel/bpf/bpf_iter.c:bpf_iter_new_fd)
    """
    return Result(bpf.iter_create(link))


def iter_open(path: str) -> Result:
    """Open the pin of an iterator's link as a file, as `cat` does: a descriptor, kept on exec."""
    fd = os.open(path, os.O_RDONLY)
    os.set_inheritable(fd, True)
    return Result(fd)


def read_all(fd: int) -> Result:
    """Read what is left of a file: `value` is the number of bytes."""
    size = 0
    while part := os.read(fd, 1 << 16):
        size += len(part)
    return Result(size)


COMMANDS: Final = (
    *(perf_event_open, uprobe_open, tracepoint_open, perf_set_bpf, perf_link),
    *(tracepoint_attached, raw_tracepoint_open, tracing_link, uprobe_multi_link),
    *(iter_link, iter_create, iter_open, read_all),
)
