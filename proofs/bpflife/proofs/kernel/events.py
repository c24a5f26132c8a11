"""Perf events (perf_event_open(2)): what counts nothing, tracepoints, uprobes; and their programs.

All events are of every process on CPU 0. Their descriptors are kept on exec. Every function raises
OSError with the kernel's errno.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from typing import Final

from bpflife.proofs.kernel import bpf, libc

UPROBES: Final = "/sys/bus/event_source/devices/uprobe/type"
TRACEPOINTS: Final = {  # that never fire unless a program asks for it, and their groups
    "bpf_test_finish": "bpf_test_run",  # BPF_PROG_TEST_RUN (net/bpf/test_run.c)
    "bpf_trace_printk": "bpf_trace",  # a helper (kernel/trace/bpf_trace.c)
}
QUIET_TRACEPOINT: Final = "bpf_test_finish"

_NOTHING = 1, 10  # type and config of an event that only BPF programs write to
_TRACEPOINT = 2  # PERF_TYPE_TRACEPOINT
_OPEN = {"x86_64": 298, "aarch64": 241}  # perf_event_open
_SET_BPF, _QUERY_BPF = 0x40042408, 0xC008240A  # PERF_EVENT_IOC_* (include/uapi/linux/perf_event.h)
_QUERY_SIZE = 64  # program ids; a tracepoint's limit (kernel/trace/bpf_trace.c:BPF_TRACE_MAX_PROGS)
_ATTR = struct.Struct("=IIQ40xQQ64x")  # struct perf_event_attr: type, size, config, config1, 2
_PAGE = 4096  # bytes


def software() -> int:
    """Descriptor of an event that counts nothing."""
    return _open(*_NOTHING)


def tracepoint(name: str) -> int:
    """Descriptor of an event at one of the quiet tracepoints."""
    return _open(_TRACEPOINT, tracepoint_number(name))


def uprobe(path: str, offset: int = 0) -> int:
    """Descriptor of an event at a place in a file."""
    with open(UPROBES, encoding="ascii") as number:
        kind = int(number.read())
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _open(kind, 0, ctypes.addressof(name), offset)


def tracepoint_number(name: str) -> int:
    """What perf events call a tracepoint; ENOENT if the kernel has none of this name."""
    with _tracefs() as root:
        path = f"events/{TRACEPOINTS.get(name, name)}/{name}/id"
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
        with open(number, encoding="ascii") as file:
            return int(file.read())


def set_program(event: int, prog: int) -> None:
    """Attach a program to an event (kernel/events/core.c:perf_event_set_bpf_prog)."""
    libc.ioctl(event, _SET_BPF, ctypes.c_long(prog), "PERF_EVENT_IOC_SET_BPF")


def programs(event: int) -> tuple[int, ...]:
    """Ids of the programs at the tracepoint of an event, in running order; EINVAL for other events.

    (kernel/trace/bpf_trace.c:perf_event_query_prog_array)
    """
    query = ctypes.create_string_buffer(struct.pack("=I", _QUERY_SIZE), 8 + 4 * _QUERY_SIZE)
    libc.ioctl(event, _QUERY_BPF, query, "PERF_EVENT_IOC_QUERY_BPF")
    _, count, *ids = struct.unpack(f"={2 + _QUERY_SIZE}I", query)
    return tuple(ids[:count])


@contextlib.contextmanager
def own_file(number: int) -> Iterator[str]:
    """The path of a new file that nobody ever runs, behind a descriptor from `number` on."""
    file = libc.above(os.memfd_create("probed"), number)
    try:
        os.ftruncate(file, _PAGE)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


def lacking() -> str:
    """Why there are no events at tracepoints here, in words; "" where there are."""
    try:
        tracepoint_number(QUIET_TRACEPOINT)
    except OSError as refused:
        name = bpf.errno_name(refused.errno or errno.ENOENT)
        return f"tracefs does not number {QUIET_TRACEPOINT}: {name} (CONFIG_EVENT_TRACING)"
    return ""


@contextlib.contextmanager
def _tracefs() -> Iterator[int]:
    """A descriptor of tracefs, which nobody needs to have mounted for it."""
    root = libc.detached_mount("tracefs")
    try:
        yield root
    finally:
        os.close(root)


def _open(kind: int, config: int, config1: int = 0, config2: int = 0) -> int:
    attributes = _ATTR.pack(kind, _ATTR.size, config, config1, config2)
    attr = ctypes.create_string_buffer(attributes)
    number = _OPEN[os.uname().machine]
    return libc.syscall("perf_event_open", number, ctypes.addressof(attr), -1, 0, -1, 0)
