"""bpf(2), raw: one function per command, by ctypes, without libbpf.

Every function raises OSError with the kernel's errno. File descriptors are plain ints that the
caller closes. Names of types are the kernel's (include/uapi/linux/bpf.h), in lower case and
without their prefix; numbers are accepted too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final, NamedTuple

MAP_TYPES: Final = {
    "hash": 1,
    "array": 2,
    "prog_array": 3,
    "perf_event_array": 4,
    "percpu_hash": 5,
    "percpu_array": 6,
    "lru_hash": 9,
    "array_of_maps": 12,
    "hash_of_maps": 13,
    "sockmap": 15,
    "struct_ops": 26,
    "ringbuf": 27,
}
PROG_TYPES: Final = {
    "socket_filter": 1,
    "kprobe": 2,
    "sched_cls": 3,
    "sched_act": 4,
    "tracepoint": 5,
    "xdp": 6,
    "perf_event": 7,
    "cgroup_skb": 8,
    "cgroup_sock": 9,
    "lwt_in": 10,
    "lwt_out": 11,
    "lwt_xmit": 12,
    "sock_ops": 13,
    "sk_skb": 14,
    "cgroup_device": 15,
    "sk_msg": 16,
    "raw_tracepoint": 17,
    "cgroup_sock_addr": 18,
    "sk_reuseport": 21,
    "flow_dissector": 22,
    "cgroup_sysctl": 23,
    "cgroup_sockopt": 25,
    "tracing": 26,
    "sk_lookup": 30,
    "netfilter": 32,
}
ATTACH_TYPES: Final = {
    "cgroup_inet_ingress": 0,
    "cgroup_inet_egress": 1,
    "cgroup_inet_sock_create": 2,
    "cgroup_sock_ops": 3,
    "sk_skb_stream_parser": 4,
    "sk_skb_stream_verdict": 5,
    "cgroup_device": 6,
    "sk_msg_verdict": 7,
    "cgroup_inet4_bind": 8,
    "cgroup_inet6_bind": 9,
    "cgroup_inet4_connect": 10,
    "cgroup_inet6_connect": 11,
    "flow_dissector": 17,
    "cgroup_sysctl": 18,
    "cgroup_getsockopt": 21,
    "cgroup_setsockopt": 22,
    "trace_raw_tp": 23,
    "trace_iter": 28,
    "xdp": 37,
    "sk_skb_verdict": 38,
    "perf_event": 41,
    "netfilter": 45,
    "tcx_ingress": 46,
    "tcx_egress": 47,
}
ATTACH_FLAGS: Final = {"allow_override": 1, "allow_multi": 2, "replace": 4}
ENOTSUPP: Final = 524  # include/linux/errno.h; Python has no name for it

_NUMBERS = {"x86_64": 321, "aarch64": 280}  # of the system call
_MAP_CREATE, _PROG_LOAD, _OBJ_PIN, _OBJ_GET, _PROG_ATTACH, _PROG_DETACH = 0, 5, 6, 7, 8, 9
_OBJ_GET_INFO_BY_FD, _PROG_QUERY, _LINK_CREATE, _LINK_UPDATE = 15, 16, 28, 29
_ITER_CREATE, _LINK_DETACH = 33, 34
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
    """What is attached at a hook: program ids in running order, flags, revision (0: unknown)."""

    prog_ids: tuple[int, ...]
    flags: int
    revision: int


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


def map_create(
    type: str | int, key: int = 4, value: int = 4, entries: int = 1, name: str = ""
) -> int:
    """Descriptor of a new map. `key` and `value` in bytes; `name` of at most 15 characters."""
    attr = struct.pack(
        "=7I16s", number_of(MAP_TYPES, type), key, value, entries, 0, 0, 0, _name(name)
    )
    return call(_MAP_CREATE, attr, "BPF_MAP_CREATE")[0]


def prog_load(
    type: str | int,
    insns: bytes,
    *,
    name: str = "",
    attach_type: str | int = 0,
    attach_btf_id: int = 0,
) -> int:
    """Descriptor of a new GPL program; LoadError with the verifier's log if it is refused."""
    code, gpl = ctypes.create_string_buffer(insns, len(insns)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_LOG_SIZE)
    attr = struct.pack("=IIQQ", number_of(PROG_TYPES, type), len(insns) // 8, _at(code), _at(gpl))
    attr += struct.pack("=IIQII16s", 1, _LOG_SIZE, _at(log), 0, 0, _name(name))
    attr += struct.pack("=II36xI4x", 0, number_of(ATTACH_TYPES, attach_type), attach_btf_id)
    try:
        return _load(attr, _LOAD_RETRIES)
    except OSError as refused:
        raise _load_error(refused, log.value) from None


def obj_pin(fd: int, path: str) -> None:
    """Pin the object behind `fd` at `path`, which must be new and in a bpffs."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    call(_OBJ_PIN, struct.pack("=QII", _at(text), fd & 0xFFFFFFFF, 0), "BPF_OBJ_PIN")


def obj_get(path: str) -> int:
    """Descriptor of the object pinned at `path`."""
    text = ctypes.create_string_buffer(os.fsencode(path))
    return call(_OBJ_GET, struct.pack("=QII", _at(text), 0, 0), "BPF_OBJ_GET")[0]


def prog_attach(
    target_fd: int,
    prog_fd: int,
    attach_type: str | int,
    flags: int = 0,
    *,
    replace_fd: int = 0,
    revision: int = 0,
) -> None:
    """Attach a program to the object behind `target_fd`, such as a cgroup's directory.

    `replace_fd` counts with the flag "replace"; `revision` is the expected one, 0 for any.
    """
    kind = number_of(ATTACH_TYPES, attach_type)
    attr = struct.pack("=iiIIiIQ", target_fd, prog_fd, kind, flags, replace_fd, 0, revision)
    call(_PROG_ATTACH, attr, "BPF_PROG_ATTACH")


def prog_detach(target_fd: int, prog_fd: int, attach_type: str | int, *, revision: int = 0) -> None:
    """Detach a program. `prog_fd` 0 names none: legacy single attachments ignore it anyway."""
    kind = number_of(ATTACH_TYPES, attach_type)
    attr = struct.pack("=iiIIiIQ", target_fd, prog_fd, kind, 0, 0, 0, revision)
    call(_PROG_DETACH, attr, "BPF_PROG_DETACH")


def prog_query(target_fd: int, attach_type: str | int, query_flags: int = 0) -> Query:
    """What is attached at the object behind `target_fd`, by itself (flag 1: and inherited)."""
    ids = (ctypes.c_uint32 * _QUERY_SIZE)()
    kind = number_of(ATTACH_TYPES, attach_type)
    attr = struct.pack("=iIII", target_fd, kind, query_flags, 0)
    attr += struct.pack("=QII32x", ctypes.addressof(ids), _QUERY_SIZE, 0)
    after = call(_PROG_QUERY, attr, "BPF_PROG_QUERY")[1]
    flags, count, revision = struct.unpack_from("=12xI8xI28xQ", after)
    return Query(tuple(ids[:count]), flags, revision)


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


def iter_link_create(prog_fd: int, info: bytes = b"") -> int:
    """Descriptor of a new iterator link. `info` is a union bpf_iter_link_info, b"" for none."""
    target = ctypes.create_string_buffer(info, max(len(info), 1))
    extra = struct.pack("=QI", _at(target) if info else 0, len(info))
    return link_create(prog_fd, 0, "trace_iter", extra=extra)


def iter_create(link_fd: int) -> int:
    """Descriptor to read the output of an iterator from, once, from its start."""
    return call(_ITER_CREATE, struct.pack("=iI", link_fd, 0), "BPF_ITER_CREATE")[0]


def object_id(fd: int) -> int:
    """The id of the map, program or link behind `fd`. Their three id spaces are separate."""
    info = ctypes.create_string_buffer(80)
    attr = struct.pack("=iIQ", fd, len(info), _at(info))
    call(_OBJ_GET_INFO_BY_FD, attr, "BPF_OBJ_GET_INFO_BY_FD")
    return int(struct.unpack_from("=II", info)[1])


def number_of(names: dict[str, int], name: str | int) -> int:
    """The number of a UAPI name; ValueError if it is unknown. Numbers pass through."""
    if isinstance(name, int):
        return name
    if name not in names:
        raise ValueError(f"unknown name {name!r}, expected one of {', '.join(names)}")
    return names[name]


def _name(name: str) -> bytes:
    encoded = name.encode("ascii")
    if len(encoded) > _NAME_SIZE:
        raise ValueError(f"the name {name!r} is longer than {_NAME_SIZE} characters")
    return encoded


def _at(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


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
