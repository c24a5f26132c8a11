"""The hand-made iterator programs that output real reference counts, one record per object.

Each is a TRACING program for a BPF iterator (kernel/bpf/{map,prog,link,task}_iter.c), built for
the running kernel from its BTF. A record's layout is the `struct` format beside the program.

R6 holds the iterator's context, whose first pointer leads to the seq_file and whose next ones are
the object; the record grows on the stack below R10.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from bpflife.proofs.kernel.asm import R1, R2, R6, R7, R8, R9, R10, Code
from bpflife.proofs.kernel.btf import Btf
from bpflife.proofs.kernel.uapi import LINK_TYPES

# id, second id (the program of a link), refcnt, usercnt (of a map) or what a link is attached to,
# id of its BTF, and the BTF's refcnt or the type of a link
OBJECT_RECORD = "=IIQQII"
# process, descriptor, f_op, file refcount, object id or inode, depth of pid ns; and the refcnt of
# BTF, or the id of the program of a perf event, an iterator, a socket; and of a socket's group
FILE_RECORD = "=IIQQIIII"

_Members: TypeAlias = tuple[str, ...]  # a struct and, one in the other, its members


class _Target(NamedTuple):
    """How to find what a link of a type is attached to: the last member of `way` is its number.

    The other members of `way` are pointers, null where it isn't attached any more; or `unless` says
    so. Numbers of devices are their namespaces' own: `within` leads to the namespace's.
    """

    way: tuple[_Members, ...]
    within: tuple[_Members, ...] = ()
    unless: _Members = ()
    size: int = 4


_NET: Final = (("net", "ns", "inum"),)
_INDEX: Final = (("net_device", "ifindex"),)
_NET_OF_DEVICE: Final = (("net_device", "nd_net", "net"), *_NET)
_XDP, _TCX, _NF = ("bpf_xdp_link", "dev"), ("tcx_link", "dev"), ("bpf_nf_link", "net")
_CGROUP: Final = (("bpf_cgroup_link", "cgroup"), ("cgroup", "kn"), ("kernfs_node", "id"))
_MAP: Final = ("bpf_map", "id")
_EVENT: Final = (("bpf_perf_link", "perf_file"), ("file", "private_data"), ("perf_event", "id"))
_FILE: Final = (
    ("bpf_uprobe_multi_link", "path", "dentry"),
    ("dentry", "d_inode"),
    ("inode", "i_ino"),
)
_TARGETS: Final = {  # by type of link
    "cgroup": _Target(_CGROUP, size=8),
    "iter": _Target((("bpf_iter_link", "aux", "map"), _MAP)),
    "netns": _Target((("bpf_netns_link", "net"), *_NET)),
    "xdp": _Target((_XDP, *_INDEX), (_XDP, *_NET_OF_DEVICE)),
    "perf_event": _Target(_EVENT),
    "netfilter": _Target((_NF, *_NET), unless=("bpf_nf_link", "dead")),
    "tcx": _Target((_TCX, *_INDEX), (_TCX, *_NET_OF_DEVICE)),
    "uprobe_multi": _Target(_FILE),
    "sockmap": _Target((("sockmap_link", "map"), _MAP)),
}

_SIZE = 32  # bytes of an OBJECT_RECORD
_FILE_SIZE = 40  # bytes of a FILE_RECORD


def maps(btf: Btf) -> bytes:
    """Outputs every map: id, 0, refcnt, usercnt, and its BTF."""
    code = _begin()
    code.load(R1, R7, btf.offset("bpf_map", "id"), 4).store(R10, -32, R1)
    code.load(R1, R7, btf.offset("bpf_map", "refcnt")).store(R10, -24, R1)
    code.load(R1, R7, btf.offset("bpf_map", "usercnt")).store(R10, -16, R1)
    return _end(_btf(code, btf, btf.offset("bpf_map", "btf")), _SIZE)


def progs(btf: Btf) -> bytes:
    """Outputs every program: id, 0, refcnt, 0, and its BTF."""
    code = _begin().load(R7, R7, btf.offset("bpf_prog", "aux"))
    code.load(R1, R7, btf.offset("bpf_prog_aux", "id"), 4).store(R10, -32, R1)
    code.load(R1, R7, btf.offset("bpf_prog_aux", "refcnt")).store(R10, -24, R1)
    code.set(R1, 0).store(R10, -16, R1)
    return _end(_btf(code, btf, btf.offset("bpf_prog_aux", "btf")), _SIZE)


def links(btf: Btf) -> bytes:
    """Outputs every link: id, id of its program or 0, refcnt, its target or 0, 0, its type.

    The target is the id of a cgroup, a perf event or a map, or the inode of a network namespace or
    of the file that uprobes are in; of a device its index, with its namespace's inode in the upper
    half. It is 0 once the link is detached, and for other types.
    """
    code = _begin()
    code.load(R1, R7, btf.offset("bpf_link", "id"), 4).store(R10, -32, R1, 4)
    code.load(R1, R7, btf.offset("bpf_link", "refcnt")).store(R10, -24, R1)
    code.set(R1, 0).store(R10, -28, R1, 4).store(R10, -16, R1).store(R10, -8, R1)
    code.load(R8, R7, btf.offset("bpf_link", "prog")).jump_if_zero(R8, "no program")
    code.load(R8, R8, btf.offset("bpf_prog", "aux"))
    code.load(R1, R8, btf.offset("bpf_prog_aux", "id"), 4).store(R10, -28, R1, 4)
    code.label("no program").load(R9, R7, btf.offset("bpf_link", "type"), 4)
    code.store(R10, -4, R9, 4)
    for type, target in _TARGETS.items():
        with contextlib.suppress(KeyError):  # a kernel without links of this type
            _target(code, btf, LINK_TYPES[type], target)
    return _end(code.label("write"), _SIZE)


def _target(code: Code, btf: Btf, type: int, target: _Target) -> None:
    """Add the target of the link at R7 if R9 is this type. KeyError before any code."""
    way, within = _from_link(btf, target.way), _from_link(btf, target.within)
    unless = _from_link(btf, (target.unless,) if target.unless else ())
    code.set(R1, type).jump_if_differ(R9, R1, f"not {type}")
    for offset in unless:
        code.mov(R8, R7).plus(R8, offset).probe_read(-40, 4, R8)
        code.load(R1, R10, -40, 4).set(R2, 0).jump_if_differ(R1, R2, "write")
    _follow(code, way, -16, target.size, "write", -40)
    if within:
        _follow(code, within, -12, 4, "write", -40)
    code.jump("write").label(f"not {type}")


def _from_link(btf: Btf, way: Sequence[_Members]) -> list[int]:
    """Offsets as in `_offsets`, but from the common part of links, which may be inside."""
    inside = btf.offset(way[0][0], "link") if way else 0
    return [offset - (0 if n else inside) for n, offset in enumerate(_offsets(btf, way))]


def _offsets(btf: Btf, way: Sequence[_Members]) -> list[int]:
    return [btf.offset(struct, *members) for struct, *members in way]


def _follow(code: Code, way: Sequence[int], place: int, size: int, end: str, scratch: int) -> None:
    """Copy what pointers lead to, from R7 on, to R10 + place. Go to `end` where one is null.

    The pointers are copied to R10 + scratch, R9 is the last one.
    """
    code.mov(R9, R7)
    for offset in way[:-1]:
        code.plus(R9, offset).probe_read(scratch, 8, R9)
        code.load(R9, R10, scratch).jump_if_zero(R9, end)
    code.plus(R9, way[-1]).probe_read(place, size, R9)


def all_files(btf: Btf) -> bytes:
    """Outputs every open file, without object id: to learn f_op addresses from known files."""
    code = _begin_file(btf).label("found").load(R1, R8, btf.offset("file", "f_op"))
    code.store(R10, -32, R1).set(R1, 0).store(R10, -16, R1, 4)
    return _end(_process(code, btf, None), _FILE_SIZE)


def bpf_files(btf: Btf, f_ops: dict[str, int], depth: int, others: bool = False) -> bytes:
    """Outputs the open files whose f_op is that of a "map", "prog", "link" or "btf".

    Processes are named as seen from the pid namespace at `depth` (0 is the machine's). With
    `others` also the other files, with the number of their inode, and those of `_OTHERS` with the
    programs that they have.
    """
    code = _begin_file(btf).load(R9, R8, btf.offset("file", "f_op")).store(R10, -32, R9)
    code.load(R7, R8, btf.offset("file", "private_data"))
    code.set64(R1, f_ops["map"]).jump_if_differ(R9, R1, "not a map")
    code.plus(R7, btf.offset("bpf_map", "id")).jump("found")
    code.label("not a map").set64(R1, f_ops["link"]).jump_if_differ(R9, R1, "not a link")
    code.plus(R7, btf.offset("bpf_link", "id")).jump("found")
    code.label("not a link").set64(R1, f_ops["prog"]).jump_if_differ(R9, R1, "not a prog")
    code.plus(R7, btf.offset("bpf_prog", "aux")).probe_read(-16, 8, R7)
    code.load(R7, R10, -16).plus(R7, btf.offset("bpf_prog_aux", "id")).jump("found")
    code.label("not a prog").set64(R1, f_ops["btf"]).jump_if_differ(R9, R1, "not BTF")
    code.mov(R9, R7).plus(R9, btf.offset("btf", "refcnt")).probe_read(-8, 4, R9)
    code.plus(R7, btf.offset("btf", "id")).jump("found").label("not BTF")
    for kind, add in _OTHERS.items() if others else ():
        if kind in f_ops:
            code.set64(R1, f_ops[kind]).jump_if_differ(R9, R1, f"not {kind}")
            add(code, btf)
            code.label(f"not {kind}")
    if others:
        code.label("inode").load(R7, R8, btf.offset("file", "f_inode"))
        code.plus(R7, btf.offset("inode", "i_ino"))
    else:
        code.jump("out")
    code.label("found").probe_read(-16, 4, R7)
    return _end(_process(code, btf, depth), _FILE_SIZE)


def _perf_event(code: Code, btf: Btf) -> None:
    """Add the program of the perf event at R7; find the event's id."""
    _program(code, btf, -8, ("perf_event", "prog"))
    code.plus(R7, btf.offset("perf_event", "id")).jump("found")


def _iterator(code: Code, btf: Btf) -> None:
    """Add the program of an open iterator whose seq_file is at R7; find the session's number."""
    code.plus(R7, btf.offset("seq_file", "private")).probe_read(-16, 8, R7)
    code.load(R7, R10, -16).plus(R7, -btf.offset("bpf_iter_priv_data", "target_private"))
    _program(code, btf, -8, ("bpf_iter_priv_data", "prog"))
    code.plus(R7, btf.offset("bpf_iter_priv_data", "session_id")).jump("found")


def _socket(code: Code, btf: Btf) -> None:
    """Add the programs of the socket at R7 and of its group. The file's inode has its number."""
    code.plus(R7, btf.offset("socket", "sk")).probe_read(-16, 8, R7).load(R7, R10, -16)
    _program(code, btf, -8, ("sock", "sk_filter"), ("sk_filter", "prog"))
    _program(code, btf, -4, ("sock", "sk_reuseport_cb"), ("sock_reuseport", "prog"))
    code.jump("inode")


def _program(code: Code, btf: Btf, place: int, *way: _Members) -> None:
    """Put the id of the program that pointers lead to from R7 on at R10 + place, if there is one.

    A program of classic BPF has no id: 0.
    """
    to_id = (*way, ("bpf_prog", "aux"), ("bpf_prog_aux", "id"))
    end = f"no program of {way[0]}"
    _follow(code, _offsets(btf, to_id), place, 4, end, -16)
    code.label(end)


_OTHERS: Final = {"perf_event": _perf_event, "iter": _iterator, "socket": _socket}


def _begin() -> Code:
    """R7 = the object; the last call of an iteration has none."""
    return Code().mov(R6, R1).load(R7, R6, 8).jump_if_zero(R7, "out")


def _btf(code: Code, btf: Btf, offset: int) -> Code:
    """Add id and refcnt of the BTF that R7 + offset points to, or 0 and 0."""
    code.set(R1, 0).store(R10, -8, R1).load(R8, R7, offset).jump_if_zero(R8, "write")
    code.load(R1, R8, btf.offset("btf", "id"), 4).store(R10, -8, R1, 4)
    code.load(R1, R8, btf.offset("btf", "refcnt"), 4).store(R10, -4, R1, 4)
    return code.label("write")


def _begin_file(btf: Btf) -> Code:
    """R8 = the file, R10 - 48 = the process's struct pid; no BTF yet.

    The verifier wants both the task and the file checked for null, each time they are loaded.
    """
    code = _begin().load(R8, R6, 24).jump_if_zero(R8, "out")
    code.load(R7, R7, btf.offset("task_struct", "group_leader"))
    code.load(R7, R7, btf.offset("task_struct", "thread_pid")).store(R10, -48, R7)
    code.load(R1, R6, 16, 4).store(R10, -36, R1, 4)
    code.set(R1, 0).store(R10, -8, R1)
    count = "f_ref" if btf.has("file", "f_ref") else "f_count"
    return code.load(R1, R8, btf.offset("file", count)).store(R10, -24, R1)


def _process(code: Code, btf: Btf, depth: int | None) -> Code:
    """Add the depth of the process's pid namespace, and its number in the one at `depth`."""
    upid, number = btf.offset("pid", "numbers"), btf.offset("upid", "nr")
    code.load(R7, R10, -48).load(R1, R7, btf.offset("pid", "level"), 4).store(R10, -12, R1, 4)
    if depth is not None:
        upid_size = btf.size("upid")
        code.jump_if_less(R1, depth, "out")
        return code.plus(R7, upid + depth * upid_size + number).probe_read(-40, 4, R7)
    return code.set(R1, 0).store(R10, -40, R1, 4)


def _end(code: Code, size: int) -> bytes:
    return bytes(code.seq_write(R6, -size, size).label("out").exit())
