"""Links of tracing, iterators and sockmaps: what they are attached to, by what they say.

BPF_OBJ_GET_INFO_BY_FD answers by struct bpf_link_info (include/uapi/linux/bpf.h), whose first words
are type, id and the program's id; from byte 16 on each type has its own.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from typing import Final

from bpflife.proofs.kernel import bpf
from bpflife.proofs.kernel.uapi import LINK_TYPES

_SIZE: Final = 80  # bytes of an info; a kernel that knows less leaves the rest
_NAME_SIZE: Final = 128  # bytes for a name
_NAME_AT: Final = {"raw_tracepoint": 16, "iter": 16, "perf_event": 24}  # its address and size
_NUMBER_AT: Final = {  # of what a link of a type is attached to
    "tracing": ("tracing", 24),  # a type in the kernel's BTF
    "iter": ("iterator", 28),  # a map
    "sockmap": ("sockmap", 16),  # the map; 0 once it is detached
    "uprobe_multi": ("uprobe_multi", 52),  # how many places
}
_PERF_KINDS: Final = {1: "uprobe", 2: "uprobe", 5: "tracepoint", 6: "event"}


def where(link: int) -> tuple[tuple[str, int], ...]:
    """What the link behind a descriptor is attached to, as a kind and a number; else nothing.

    ("tracepoint NAME", 0), ("iterator NAME", map or 0), ("sockmap", map or 0), ("event", config),
    ("uprobe", offset), ("uprobe_multi", number of places), ("tracing", type id).
    """
    kind = type_name(struct.unpack_from("=I", bpf.info(link, bytes(_SIZE)))[0])
    if kind not in _NAME_AT and kind not in _NUMBER_AT:
        return ()
    name = ctypes.create_string_buffer(_NAME_SIZE)
    question = bytearray(_SIZE)
    if kind in _NAME_AT:
        struct.pack_into("=QI", question, _NAME_AT[kind], ctypes.addressof(name), _NAME_SIZE)
    answer = bpf.info(link, bytes(question))
    if kind == "perf_event":
        return (_event(answer, name.value.decode()),)
    word, place = _NUMBER_AT.get(kind, ("tracepoint", 0))
    number = struct.unpack_from("=I", answer, place)[0] if place else 0
    return ((f"{word} {name.value.decode()}".strip(), number),)


def type_name(number: int) -> str:
    """The name of a link's type; its number where we have none."""
    return next((name for name, known in LINK_TYPES.items() if known == number), str(number))


def _event(answer: bytes, name: str) -> tuple[str, int]:
    kind = _PERF_KINDS[struct.unpack_from("=I", answer, 16)[0]]
    if kind == "tracepoint":
        return f"{kind} {name}", 0
    return kind, struct.unpack_from("=I", answer, 36 if kind == "uprobe" else 24)[0]


def uprobe_multi(prog: int, path: str, offsets: Sequence[int], pid: int = 0) -> int:
    """Descriptor of a new link that attaches a program to places of a file, of one process or all.

    (kernel/trace/bpf_trace.c:bpf_uprobe_multi_link_attach)
    """
    name = ctypes.create_string_buffer(os.fsencode(path))
    places = (ctypes.c_uint64 * max(len(offsets), 1))(*offsets)
    pointers = ctypes.addressof(name), ctypes.addressof(places), 0, 0
    extra = struct.pack("=4Q3I", *pointers, len(offsets), 0, pid)
    return bpf.link_create(prog, 0, "trace_uprobe_multi", extra=extra)
