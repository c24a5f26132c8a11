"""Commands that send events through hooks, and load the programs that count them (marks.py)."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

from bpflife.proofs.kernel import bpf, marks
from bpflife.proofs.kernel.results import Result, opened

_PATIENCE: Final = struct.pack("=qq", 5, 0)  # struct timeval: until an event counts as lost


def load_counting(type: str, map: int, second: bool = False) -> Result:
    """Load the first or the `second` of two programs that count events, each in its element of an
    array of 8 bytes each: its descriptor and id."""
    return opened(bpf.prog_load(type, marks.counting(type, map, second)))


def load_meeting(type: str, map: int, second: bool = False) -> Result:
    """Load the first or the `second` of two programs that count when they run at once, in an array
    of one element of twice 8 bytes: its descriptor and id."""
    return opened(bpf.prog_load(type, marks.meeting(type, map, second), log=False))


def send_events(
    map: int, least: int = 1, most: int = 1, number: int = 1, cpu: int | None = None
) -> Result:
    """Send events over the loopback device, numbered from 0 on, each when the one before has
    arrived: how many ("sent").

    The array `map`, which is mmapable, has words of 64 bits. The one at `number` says how many have
    arrived so far; the first one, when it is no longer zero, that `least` are enough. `most` are in
    any case. With `cpu` the process stays on that one. OSError (EAGAIN) where an event is lost.
    """
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    with _words(map) as words, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loop:
        loop.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        loop.bind(("127.0.0.1", 0))
        loop.connect(loop.getsockname())
        sent = 0
        while sent < least or (sent < most and not words[0]):
            loop.send(marks.EVENT.pack(marks.MAGIC, sent))
            loop.recv(marks.EVENT.size)
            sent += 1
            words[number] = sent
    return Result(named=(("sent", sent),))


@contextlib.contextmanager
def _words(map: int) -> Iterator[memoryview[int]]:
    with mmap.mmap(map, mmap.PAGESIZE) as memory, memoryview(memory).cast("Q") as words:
        yield words


COMMANDS: Final = (load_counting, load_meeting, send_events)
