"""bpf(2), raw: one function per command, by ctypes, without libbpf.

Every function raises OSError with the kernel's errno. File descriptors are plain ints that the
caller closes. Types are named as in uapi.py; numbers are accepted too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from bpflife.proofs.kernel.uapi import (
    ATTACH_FLAGS,
    ATTACH_TYPES,
    MAP_FLAGS,
    MAP_TYPES,
    MODES,
    PATH_FD,
    PROG_FLAGS,
    PROG_TYPES,
    number_of,
)

ENOTSUPP: Final = 524  # include/linux/errno.h; Python has no name for it

_NUMBERS = {"x86_64": 321, "aarch64": 280}  # of the system call
_MAP_CREATE, _MAP_UPDATE_ELEM, _MAP_DELETE_ELEM, _MAP_FREEZE = 0, 2, 3, 22
_PROG_LOAD, _OBJ_PIN, _OBJ_GET, _PROG_ATTACH, _PROG_DETACH = 5, 6, 7, 8, 9
_OBJ_GET_INFO_BY_FD, _PROG_QUERY, _LINK_CREATE, _LINK_UPDATE = 15, 16, 28, 29
_RAW_TRACEPOINT_OPEN, _BTF_LOAD, _ITER_CREATE, _LINK_DETACH, _PROG_BIND_MAP = 17, 18, 33, 34, 35
_GET_FD_BY_ID = {"prog": 13, "map": 14, "btf": 19, "link": 30}
_NETFILTER_LINK = 10  # BPF_LINK_TYPE_NETFILTER
_ELEMENT_SIZE = 4096  # bytes for a map's key or value: zeros follow the given ones
_LOG_SIZE = 1 << 16  # bytes
_NAME_SIZE = 15  # characters of an object's name
_LOAD_RETRIES = 4  # while signals interrupt the verifier, as libbpf does
_QUERY_SIZE = 64  # program ids; a cgroup's limit (kernel/bpf/cgroup.c:BPF_CGROUP_MAX_PROGS)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class LoadError(OSError):
    """The kernel refused a program. `log` is the verifier's text, "" if it wrote none."""

    log = ""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.log}".strip()


class Query(NamedTuple):
    """What is attached at a hook: program ids in running order, flags, revision (0: unknown).

    `link_ids` are those of their links, 0 for a program without one or where hooks don't say it.
    """

    prog_ids: tuple[int, ...]
    flags: int
    revision: int
    link_ids: tuple[int, ...] = ()


def errno_name(number: int) -> str:
    """The name of an errno, as in "EINVAL", also of the kernel's own ENOTSUPP."""
    return "ENOTSUPP" if number == ENOTSUPP else errno.errorcode.get(number, str(number))


def error(number: int, what: str) -> OSError:
    """The OSError for an errno (with its Python subclass, such as PermissionError)."""
    return OSError(number, f"{what}: {errno_name(number)}")


def call(command: int, attr: bytes, what: str = "bpf") -> tuple[int, bytes]:
    """bpf(command, attr): its result and the attribute as the kernel left it."""
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise error(errno.ENOSYS, f"bpf(2) on {os.uname().machine}")
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result = int(_libc.syscall(ctypes.c_long(number), command, buffer, len(attr)))
    if result < 0:
        raise error(ctypes.get_errno(), what)
    return result, buffer.raw


class MapBtf(NamedTuple):
    """The BTF of a map: its descriptor and the ids of the types of key and value."""

    fd: int
    key: int
    value: int


class FuncInfo(NamedTuple):
    """The BTF of a program of one function: its descriptor and the function's type id."""

    fd: int
    function: int


def map_create(
    type: str | int,
    key: int = 4,
    value: int = 4,
    entries: int = 1,
    name: str = "",
    *,
    flags: Iterable[str] = (),
    inner_fd: int = 0,
    btf: MapBtf | None = None,
) -> int:
    """Descriptor of a new map. `key` and `value` in bytes; `name` of at most 15 characters.

    `inner_fd` is the model of a map of maps' elements.
    """
    number, bits = number_of(MAP_TYPES, type), _bits(MAP_FLAGS, flags)
    attr = struct.pack("=5Ii", number, key, value, entries, bits, inner_fd)
    attr += struct.pack("=I16sI", 0, _name(name), 0) + struct.pack("=iII", *(btf or (0, 0, 0)))
    return call(_MAP_CREATE, attr, "BPF_MAP_CREATE")[0]


def map_update(fd: int, key: int, value: bytes) -> None:
    """Set an element. Zeros follow `value` up to the map's value size."""
    where, what = _element(key.to_bytes(8, "little")), _element(value)
    attr = struct.pack("=i4xQQQ", fd, _at(where), _at(what), 0)
    call(_MAP_UPDATE_ELEM, attr, "BPF_MAP_UPDATE_ELEM")


def map_delete(fd: int, key: int) -> None:
    """Remove an element."""
    where = _element(key.to_bytes(8, "little"))
    call(_MAP_DELETE_ELEM, struct.pack("=i4xQ", fd, _at(where)), "BPF_MAP_DELETE_ELEM")


def map_freeze(fd: int) -> None:
    """Forbid writing to a map from user space, for ever (syscall.c:map_freeze)."""
    call(_MAP_FREEZE, struct.pack("=i", fd), "BPF_MAP_FREEZE")


def btf_load(blob: bytes) -> int:
    """Descriptor of new BTF."""
    data = ctypes.create_string_buffer(blob, len(blob))
    return call(_BTF_LOAD, struct.pack("=QQIII", _at(data), 0, len(blob), 0, 0), "BPF_BTF_LOAD")[0]


def prog_load(
    type: str | int,
    insns: bytes,
    *,
    name: str = "",
    flags: Iterable[str] = (),
    attach_type: str | int = 0,
    attach_btf_id: int = 0,
    btf: FuncInfo | None = None,
    fd_array: Sequence[int] = (),
    fd_array_count: int = 0,
    log: bool = True,
) -> int:
    """Descriptor of a new GPL program; LoadError with the verifier's log if it is refused.

    A verifier that has more to say than fits in the log refuses the program (ENOSPC), as it may
    where loops are long: without `log` it says nothing.

    Instructions may name maps by their place in `fd_array`; the program also holds the first
    `fd_array_count` of them that no instruction names (verifier.c:process_fd_array).
    """
    code, gpl = ctypes.create_string_buffer(insns, len(insns)), ctypes.create_string_buffer(b"GPL")
    text = ctypes.create_string_buffer(_LOG_SIZE)
    info = ctypes.create_string_buffer(struct.pack("=II", 0, btf.function if btf else 0), 8)
    array = (ctypes.c_int32 * len(fd_array))(*fd_array)
    attr = struct.pack("=IIQQ", number_of(PROG_TYPES, type), len(insns) // 8, _at(code), _at(gpl))
    attr += struct.pack("=IIQ", 1, _LOG_SIZE, _at(text)) if log else bytes(16)
    attr += struct.pack("=II", 0, _bits(PROG_FLAGS, flags))
    attr += struct.pack("=16sII", _name(name), 0, number_of(ATTACH_TYPES, attach_type))
    attr += struct.pack("=iIQI", btf.fd, 8, _at(info), 1) if btf else bytes(20)
    attr += struct.pack("=16xI8x", attach_btf_id)
    if fd_array:  # else also kernels without it load the program
        attr += struct.pack("=QQIIiI", ctypes.addressof(array), 0, 0, 0, 0, fd_array_count)
    try:
        return _load(attr, _LOAD_RETRIES)
    except OSError as refused:
        raise _load_error(refused, text.value) from None


def prog_bind_map(prog_fd: int, map_fd: int) -> None:
    """Let a program hold a map that it doesn't use (syscall.c:bpf_prog_bind_map)."""
    call(_PROG_BIND_MAP, struct.pack("=iiI", prog_fd, map_fd, 0), "BPF_PROG_BIND_MAP")


def obj_pin(fd: int, path: str, at: int | None = None) -> None:
    """Pin the object behind `fd` at `path`, which must be new and in a bpffs.

    With `at`, the path is relative to the directory behind that descriptor.
    """
    text = ctypes.create_string_buffer(os.fsencode(path))
    call(_OBJ_PIN, struct.pack("=QiIi", _at(text), fd, *_base(at)), "BPF_OBJ_PIN")


def obj_get(path: str, at: int | None = None, mode: str = "read_write") -> int:
    """Descriptor of the object pinned at `path`, relative to the directory `at` if given."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    base, directory = _base(at)
    attr = struct.pack("=QIIi", _at(text), 0, base | number_of(MODES, mode), directory)
    return call(_OBJ_GET, attr, "BPF_OBJ_GET")[0]


def get_fd_by_id(kind: str, id: int, mode: str = "read_write") -> int:
    """Descriptor of a new file of the "map", "prog", "link" or "btf" with an id."""
    attr = struct.pack("=III", id, 0, number_of(MODES, mode))
    return call(number_of(_GET_FD_BY_ID, kind), attr, "GET_FD_BY_ID")[0]


def prog_attach(
    target_fd: int,
    prog_fd: int,
    attach_type: str | int,
    flags: int = 0,
    *,
    replace_fd: int = 0,
    relative: int = 0,
    revision: int = 0,
) -> None:
    """Attach a program to the object behind `target_fd`, such as a cgroup's directory.

    A network device is named by its index instead. `replace_fd` counts with the flag "replace",
    `relative` with "before" and "after"; `revision` is the expected one, 0 for any.
    """
    kind = number_of(ATTACH_TYPES, attach_type)
    attr = struct.pack("=iiIIiiQ", target_fd, prog_fd, kind, flags, replace_fd, relative, revision)
    call(_PROG_ATTACH, attr, "BPF_PROG_ATTACH")


def prog_detach(
    target_fd: int,
    prog_fd: int,
    attach_type: str | int,
    flags: int = 0,
    *,
    relative: int = 0,
    revision: int = 0,
) -> None:
    """Detach a program. `prog_fd` 0 names none: legacy single attachments ignore it anyway."""
    kind = number_of(ATTACH_TYPES, attach_type)
    attr = struct.pack("=iiIIiiQ", target_fd, prog_fd, kind, flags, 0, relative, revision)
    call(_PROG_DETACH, attr, "BPF_PROG_DETACH")


def prog_query(target_fd: int, attach_type: str | int, query_flags: int = 0) -> Query:
    """What is attached at the object behind `target_fd`, by itself (flag 1: and inherited)."""
    progs, links = (ctypes.c_uint32 * _QUERY_SIZE)(), (ctypes.c_uint32 * _QUERY_SIZE)()
    kind = number_of(ATTACH_TYPES, attach_type)
    attr = struct.pack("=iIII", target_fd, kind, query_flags, 0)
    attr += struct.pack("=QII8xQ16x", _at(progs), _QUERY_SIZE, 0, _at(links))
    after = call(_PROG_QUERY, attr, "BPF_PROG_QUERY")[1]
    flags, count, revision = struct.unpack_from("=12xI8xI28xQ", after)
    return Query(tuple(progs[:count]), flags, revision, tuple(links[:count]))


def link_create(
    prog_fd: int, target_fd: int, attach_type: str | int, flags: int = 0, extra: bytes = b""
) -> int:
    """Descriptor of a new link. `extra` is the part of the attribute that the type defines."""
    kind = number_of(ATTACH_TYPES, attach_type)
    attr = struct.pack("=iiII", prog_fd, target_fd, kind, flags) + extra
    return call(_LINK_CREATE, attr, "BPF_LINK_CREATE")[0]


def link_update(link_fd: int, prog_fd: int, old_fd: int | None = None) -> None:
    """Change the program of a link; with `old_fd` only if that is its program now."""
    replace = 0 if old_fd is None else ATTACH_FLAGS["replace"]
    attr = struct.pack("=iiIi", link_fd, prog_fd, replace, old_fd or 0)
    call(_LINK_UPDATE, attr, "BPF_LINK_UPDATE")


def link_detach(link_fd: int) -> None:
    """Detach a link from its hook; the link stays, without effect."""
    call(_LINK_DETACH, struct.pack("=i", link_fd), "BPF_LINK_DETACH")


def raw_tracepoint_open(name: str | None, prog_fd: int) -> int:
    """Descriptor of a new link that attaches a program to a tracepoint.

    A "tracing" program knows its own: then None.
    """
    text = ctypes.create_string_buffer((name or "").encode())
    attr = struct.pack("=Qi4xQ", 0 if name is None else _at(text), prog_fd, 0)
    return call(_RAW_TRACEPOINT_OPEN, attr, "BPF_RAW_TRACEPOINT_OPEN")[0]


def iter_link_create(prog_fd: int, info: bytes = b"") -> int:
    """Descriptor of a new iterator link. `info` is a union bpf_iter_link_info, b"" for none."""
    target = ctypes.create_string_buffer(info, max(len(info), 1))
    extra = struct.pack("=QI", _at(target) if info else 0, len(info))
    return link_create(prog_fd, 0, "trace_iter", extra=extra)


def iter_create(link_fd: int) -> int:
    """Descriptor to read the output of an iterator from, once, from its start."""
    return call(_ITER_CREATE, struct.pack("=iI", link_fd, 0), "BPF_ITER_CREATE")[0]


def info(fd: int, question: bytes) -> bytes:
    """What the kernel says of the object behind a descriptor; `question` may name buffers."""
    answer = ctypes.create_string_buffer(question, len(question))
    attr = struct.pack("=iIQ", fd, len(question), _at(answer))
    call(_OBJ_GET_INFO_BY_FD, attr, "BPF_OBJ_GET_INFO_BY_FD")
    return answer.raw


def object_id(fd: int) -> int:
    """The id of the map, program, link or BTF behind `fd`. Their four id spaces are separate.

    An info begins with type and id, and no type is 0: that is BTF's, whose first word is the
    address of a buffer, here none (include/uapi/linux/bpf.h: struct bpf_btf_info).
    """
    type, id, _, btf_id = _info(fd)
    return id if type else btf_id


def map_type(fd: int) -> str:
    """The name of the type of the map behind `fd`; "" where there is none."""
    try:
        number = _info(fd)[0]
    except OSError:
        return ""
    return next((name for name, n in MAP_TYPES.items() if n == number), "")


def netfilter_place(link_fd: int) -> tuple[int, int, int] | None:
    """Protocol family, hook and priority of a link of netfilter, also of a detached one; None for
    other links. (net/netfilter/nf_bpf_link.c:bpf_nf_link_fill_link_info)"""
    type, *_, family, hook, priority = struct.unpack("=IIIIIIi", info(link_fd, bytes(28)))
    return (family, hook, priority) if type == _NETFILTER_LINK else None


def _info(fd: int) -> tuple[int, int, int, int]:
    """The first words of what the kernel says of the object behind a descriptor."""
    a, b, c, d = struct.unpack_from("=IIII", info(fd, bytes(80)))
    return a, b, c, d


def _name(name: str) -> bytes:
    encoded = name.encode("ascii")
    if len(encoded) > _NAME_SIZE:
        raise ValueError(f"the name {name!r} is longer than {_NAME_SIZE} characters")
    return encoded


def _at(buffer: ctypes.Array[Any]) -> int:
    return ctypes.addressof(buffer)


def _bits(names: dict[str, int], flags: Iterable[str]) -> int:
    return sum({number_of(names, flag) for flag in flags})


def _base(at: int | None) -> tuple[int, int]:
    return 0 if at is None else PATH_FD, at or 0


def _element(value: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(value, _ELEMENT_SIZE)


def _load(attr: bytes, retries: int) -> int:
    try:
        return call(_PROG_LOAD, attr, "BPF_PROG_LOAD")[0]
    except OSError as refused:
        if refused.errno != errno.EAGAIN or not retries:
            raise
    return _load(attr, retries - 1)


def _load_error(refused: OSError, log: bytes) -> LoadError:
    error = LoadError(refused.errno, refused.strerror)
    error.log = log.decode(errors="replace").strip()
    return error
