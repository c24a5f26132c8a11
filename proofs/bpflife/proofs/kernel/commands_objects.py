"""Commands that make maps, programs and BTF, open them by id, and work on a map's elements."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Final

from bpflife.proofs.kernel import asm, blob, bpf
from bpflife.proofs.kernel import btf as kernel_btf
from bpflife.proofs.kernel.results import Result, opened

_SIZES: Final = {  # key, value, entries where a type takes no others or wants more to be said
    "ringbuf": (0, 0, 4096), "devmap": (4, 8, 1), "cpumap": (4, 8, 1)
}  # fmt: skip


def map_create(
    type: str = "array",
    key: int | None = None,
    value: int | None = None,
    entries: int | None = None,
    name: str = "",
    mmapable: bool = False,
    preserve: bool = False,
    mode: str = "read_write",
    inner: int | None = None,
    btf: int | None = None,
    btf_key: int = blob.INT,
    btf_value: int = blob.INT,
) -> Result:
    """Make a map: its descriptor and id. Sizes are 4 bytes and one entry unless given, or 8 bytes
    for a value that is a number and a program.

    `mode` is that of the descriptor's file, "read_write", "read_only" or "write_only".
    `preserve` keeps the elements of a perf_event_array when the descriptor that set them closes;
    `inner` is a map like those that a map of maps will hold. A map holds the BTF behind `btf` if a
    type id isn't 0 and its map type knows BTF (syscall.c:map_check_btf).
    """
    sizes = _SIZES.get(type, (4, 4, 1))
    given = [a if b is None else b for a, b in zip(sizes, (key, value, entries), strict=True)]
    wanted = {"mmapable": mmapable, "preserve_elems": preserve, mode: True}
    return opened(
        bpf.map_create(
            type,
            *(given[0], given[1], given[2]),
            name=name,
            flags=[flag for flag, on in wanted.items() if on],
            inner_fd=0 if inner is None else inner,
            btf=None if btf is None else bpf.MapBtf(btf, btf_key, btf_value),
        )
    )


def map_update(fd: int, key: int, value_fd: int, number: int | None = None) -> Result:
    """Put what is behind a descriptor into a map: a program, a map, a perf event or a socket.

    In a devmap and a cpumap a value is an interface or the length of a queue, then a program: it is
    `number`, 1 unless given (the loopback interface; room for one packet).
    """
    if number is None and bpf.map_type(fd) in ("devmap", "cpumap"):
        number = 1
    head = b"" if number is None else struct.pack("=I", number)
    bpf.map_update(fd, key, head + struct.pack("=i", value_fd))
    return Result()


def map_update_value(fd: int, key: int, number: int) -> Result:
    """Set an element to a number."""
    bpf.map_update(fd, key, number.to_bytes(8, "little"))
    return Result()


def map_delete(fd: int, key: int) -> Result:
    """Remove an element and let go of what it held."""
    bpf.map_delete(fd, key)
    return Result()


def map_freeze(fd: int) -> Result:
    """Make a map read-only for user space."""
    bpf.map_freeze(fd)
    return Result()


def btf_load() -> Result:
    """Load BTF with an int (type 1) and a function (type 3): its descriptor and id."""
    return opened(bpf.btf_load(blob.minimal()))


def prog_load(
    type: str = "cgroup_skb",
    maps: Sequence[int] = (),
    returns: int = 1,
    name: str = "",
    attach_type: str | int = 0,
    btf: int | None = None,
    sleepable: bool = False,
    tail_call: int | None = None,
    fd_array: Sequence[int] = (),
    indexes: Sequence[int] = (),
    fd_array_count: int = 0,
    held: Sequence[int] = (),
    by_index: bool = False,
    target: str = "",
) -> Result:
    """Load a program that uses the maps behind some descriptors: its descriptor and id.

    `btf` describes its function; `tail_call` is a prog_array that it jumps through. `fd_array`
    are more descriptors of maps: the program uses those at the places `indexes` of it, and holds
    the first `fd_array_count` without using them. `held` are further descriptors in front of all
    others there, that are counted too; with `by_index` it names `maps` by their places there.
    `target` is what a "tracing" program is for: with the attach type "trace_iter" an iterator, to
    whose output it adds a word per object, with "trace_raw_tp" a tracepoint.
    """
    if held or by_index:
        indexes = range(len(held), len(held) + (len(maps) if by_index else 0))
        fd_array, fd_array_count = [*held, *(maps if by_index else ())], len(held)
        maps = () if by_index else maps
    iterates = attach_type == "trace_iter"
    returns = 0 if iterates else returns  # else the same object comes again
    return opened(
        bpf.prog_load(
            type,
            asm.trivial(maps, returns, indexes=indexes, tail_call=tail_call, writes=iterates),
            name=name,
            flags=["sleepable"] if sleepable else [],
            attach_type=attach_type,
            attach_btf_id=_traced(str(attach_type), target) if target else 0,
            btf=None if btf is None else bpf.FuncInfo(btf, blob.FUNCTION),
            fd_array=fd_array,
            fd_array_count=fd_array_count,
        )
    )


def _traced(attach_type: str, target: str) -> int:
    """The type id in the kernel's BTF of an iterator or a tracepoint; ENOENT without one."""
    try:
        if attach_type == "trace_iter":
            return kernel_btf.vmlinux().function(f"bpf_iter_{target}")
        return kernel_btf.vmlinux().typedef(f"btf_trace_{target}")
    except KeyError:
        raise bpf.error(errno.ENOENT, f"no {target} for {attach_type}") from None


def bind_map(prog: int, map: int) -> Result:
    """Let a program hold a map that it doesn't use."""
    bpf.prog_bind_map(prog, map)
    return Result()


def get_fd_by_id(kind: str, id: int, mode: str = "read_write") -> Result:
    """Open the "map", "prog", "link" or "btf" with an id: a descriptor of a new file.

    `mode` is the file's, but only a map can be opened in another one than the usual.
    """
    return Result(bpf.get_fd_by_id(kind, id, mode), id)


COMMANDS: Final = (
    *(map_create, map_update, map_update_value, map_delete, map_freeze),
    *(btf_load, prog_load, bind_map, get_fd_by_id),
)
