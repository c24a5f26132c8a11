"""Reads the real reference counts of the kernel's maps, programs, links, BTF and their files.

Only BPF iterators show them. What the kernel shows is corrected here:
- an iterator holds one reference on the map, program or link it shows: subtracted; an object that
  only the iterator holds any more is dead and left out;
- `struct file.f_ref` counts from -1 (include/linux/file_ref.h) and the file iterator holds one, so
  the raw number is the true one; the older `f_count` counts from 0;
- the reader's own programs and links are left out.

No iterator shows BTF: it is found through the maps, programs and files that hold it, or opened by
its id.

A snapshot reads maps, programs and links one after the other: it isn't atomic. Let the system
settle and compare again (poll.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self, TypeAlias

from bpflife.proofs.kernel import asm, blob, bpf, btf, events, iterators
from bpflife.proofs.kernel.links import type_name


class MapRefs(NamedTuple):
    """References of a map: all, and those of users (descriptors' files and pins)."""

    refcnt: int
    usercnt: int


class LinkRefs(NamedTuple):
    """References of a link, the id of its program, and what it is attached to (0: nothing).

    That is, by the link's type, the id of a cgroup, a perf event or a map, the inode's number of a
    network namespace or of the file that uprobes are in, or a device (`device`).
    """

    refcnt: int
    prog_id: int
    target_id: int


class FileRefs(NamedTuple):
    """What a descriptor leads to, and the file's references.

    "map", "prog", "link", "btf", "perf_event" and its id; "iter", an open iterator, and its
    session's; or "socket" or "other" and its inode's number.
    """

    kind: str
    object_id: int
    refcnt: int


class SocketProgs(NamedTuple):
    """The ids of a socket's filter, and of the program of the group that shares its port."""

    filter: int
    group: int


_OTHERS = ("perf_event", "iter", "socket", "other")  # kinds of files without a BPF object
_Files: TypeAlias = dict[int, dict[int, FileRefs]]


@dataclass
class _Found:
    """What passes over files find, as in `Snapshot`."""

    btfs: dict[int, int]
    files: _Files = field(default_factory=dict)
    others: _Files = field(default_factory=dict)
    events: dict[int, int] = field(default_factory=dict)
    iters: dict[int, int] = field(default_factory=dict)
    sockets: dict[int, SocketProgs] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """Counts by object id; files by process and descriptor.

    BTF is here if something else in the snapshot holds it, or if it was asked for. `others` are
    files without a BPF object: perf events, sockets, directories and the like. Of these, `events`
    are the perf events, `iters` the open iterators and `sockets` those with a program, by the
    number that they have in `others`, with the ids of their programs (0: none). `link_types` are
    the names of the links' types (uapi.LINK_TYPES).

    An object that isn't here has no references. It may still hold some until RCU frees it: a dead
    program its maps.
    """

    maps: Mapping[int, MapRefs] = field(default_factory=dict)
    progs: Mapping[int, int] = field(default_factory=dict)
    links: Mapping[int, LinkRefs] = field(default_factory=dict)
    files: Mapping[int, Mapping[int, FileRefs]] = field(default_factory=dict)
    btfs: Mapping[int, int] = field(default_factory=dict)
    others: Mapping[int, Mapping[int, FileRefs]] = field(default_factory=dict)
    events: Mapping[int, int] = field(default_factory=dict)
    iters: Mapping[int, int] = field(default_factory=dict)
    sockets: Mapping[int, SocketProgs] = field(default_factory=dict)
    link_types: Mapping[int, str] = field(default_factory=dict)

    def only(self, ids: Mapping[str, Collection[int]], pids: Collection[int]) -> Snapshot:
        """The part about some objects (ids by "map", "prog", "link", "btf") and processes."""
        return Snapshot(
            {id: refs for id, refs in self.maps.items() if id in ids["map"]},
            {id: refs for id, refs in self.progs.items() if id in ids["prog"]},
            {id: refs for id, refs in self.links.items() if id in ids["link"]},
            {pid: files for pid, files in self.files.items() if pid in pids},
            {id: refs for id, refs in self.btfs.items() if id in ids["btf"]},
            {pid: files for pid, files in self.others.items() if pid in pids},
            self.events,
            self.iters,
            self.sockets,
            {id: type for id, type in self.link_types.items() if id in ids["link"]},
        )


class Refs:
    """The reader. Needs root and a kernel with BPF iterators and BTF; else OSError or KeyError.

    Use it as a context manager, or close it. Its descriptors are closed on exec; a process forked
    without exec must close it too, or its copies keep the iterators alive.
    """

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._own: dict[str, set[int]] = {"prog": set(), "link": set()}
        self._btf = btf.vmlinux()
        self._kinds: dict[int, str] = {}  # of files, by f_op
        self._depth = 0
        self._all_files: int | None = None
        self._files_of_one: int | None = None
        try:
            self._maps = self._iterator("bpf_map", iterators.maps(self._btf))
            self._progs = self._iterator("bpf_prog", iterators.progs(self._btf))
            self._links = self._iterator("bpf_link", iterators.links(self._btf))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the iterators back to the kernel. Closing twice is fine."""
        self._open.close()

    def snapshot(
        self, fds: bool = False, pids: Collection[int] = (), btf_ids: Collection[int] = ()
    ) -> Snapshot:
        """The counts now of every map, program and link of the machine.

        With `fds` also all processes' files that lead to objects; with `pids` all files of these
        processes, which is faster. BTF with one of `btf_ids` is there whatever holds it.
        """
        btfs: dict[int, int] = {}
        maps = {
            id: MapRefs(ref - 1, user) for id, _, ref, user, _, _ in self._objects(self._maps, btfs)
        }
        progs = {
            id: ref - 1
            for id, _, ref, *_ in self._objects(self._progs, btfs)
            if id not in self._own["prog"]
        }
        links, types = {}, {}
        for id, prog, ref, target, _, type in self._objects(self._links, btfs):
            if id not in self._own["link"]:
                links[id], types[id] = LinkRefs(ref - 1, prog, target), type_name(type)
        found = _Found(btfs)
        if fds:
            self._read_files(self._all_files_output(), found)
        for pid in pids:
            with self._files_output(pid) as output:
                self._read_files(output, found)
        if not btfs.keys() >= set(btf_ids):
            btfs |= self._open_btfs(set(btf_ids) - btfs.keys())
        return Snapshot(maps, progs, links, link_types=types, **vars(found))

    def _objects(self, link: int, btfs: dict[int, int]) -> Iterator[tuple[int, ...]]:
        """The records of the objects that somebody besides the iterator holds; notes their BTF."""
        for record in struct.iter_unpack(iterators.OBJECT_RECORD, _output(link)):
            if record[2] > 1:
                if record[4]:
                    btfs[record[4]] = record[5]
                yield record

    def _iterator(self, target: str, code: bytes, info: bytes = b"") -> int:
        """Descriptor of an iterator link over `target`, open until `close`."""
        link = bpf.iter_link_create(self._program(target, code), info)
        self._keep("link", link)
        return link

    def _program(self, target: str, code: bytes) -> int:
        """Descriptor of a program that iterates over `target`, open until `close`."""
        prog = bpf.prog_load(
            "tracing",
            code,
            name="bpflife_reader",
            attach_type="trace_iter",
            attach_btf_id=self._btf.function(f"bpf_iter_{target}"),
        )
        self._keep("prog", prog)
        return prog

    def _keep(self, kind: str, fd: int) -> None:
        self._open.callback(os.close, fd)
        self._own[kind].add(bpf.object_id(fd))

    def _all_files_output(self) -> bytes:
        """A pass over the files of all processes that lead to objects."""
        if self._all_files is None:
            f_ops = self._learn_kinds()
            code = iterators.bpf_files(self._btf, f_ops, self._depth)
            self._all_files = self._iterator("task_file", code)
        return _output(self._all_files)

    @contextlib.contextmanager
    def _files_output(self, pid: int) -> Iterator[bytes]:
        """A pass over the files of one process. Its iterator is made for it: that is cheap."""
        if self._files_of_one is None:
            f_ops = self._learn_kinds()
            code = iterators.bpf_files(self._btf, f_ops, self._depth, others=True)
            self._files_of_one = self._program("task_file", code)
        link = bpf.iter_link_create(self._files_of_one, struct.pack("=III", 0, pid, 0))
        id = bpf.object_id(link)
        self._own["link"].add(id)
        try:
            yield _output(link)
        finally:
            self._own["link"].remove(id)
            os.close(link)

    def _read_files(self, output: bytes, found: _Found) -> None:
        """Sort the records of a pass over files, and what is known of those behind them."""
        bias = 0 if self._btf.has("file", "f_ref") else 1
        numbers = {"btf": found.btfs, "perf_event": found.events, "iter": found.iters}
        for record in struct.iter_unpack(iterators.FILE_RECORD, output):
            pid, fd, f_op, refs, object_id, _, more, group = record
            kind = self._kinds.get(f_op, "other")
            if object_id in self._own.get(kind, ()):
                continue
            if kind in numbers:
                numbers[kind][object_id] = more
            elif kind == "socket" and (more or group):
                found.sockets[object_id] = SocketProgs(more, group)
            files = found.others if kind in _OTHERS else found.files
            files.setdefault(pid, {})[fd] = FileRefs(kind, object_id, refs - bias)

    def _open_btfs(self, ids: Collection[int]) -> dict[int, int]:
        """The counts of BTF by id: an own file leads there for a moment. Of those that exist."""
        fds = {}
        try:
            for id in ids:
                with contextlib.suppress(FileNotFoundError):
                    fds[bpf.get_fd_by_id("btf", id)] = id
            if not fds:
                return {}
            with self._files_output(os.getpid()) as output:
                records = struct.iter_unpack(iterators.FILE_RECORD, output)
                return {fds[record[1]]: record[6] - 1 for record in records if record[1] in fds}
        finally:
            for fd in fds:
                os.close(fd)

    def _learn_kinds(self) -> dict[str, int]:
        """The f_op addresses of files by what they lead to, learnt from own files."""
        if self._kinds:
            return {kind: f_op for f_op, kind in self._kinds.items()}
        learner = self._iterator(
            "task_file", iterators.all_files(self._btf), struct.pack("=III", 0, os.getpid(), 0)
        )
        with contextlib.ExitStack() as until_read:
            fds = {
                "map": bpf.map_create("array"),
                "prog": bpf.prog_load("socket_filter", asm.trivial()),
                "btf": bpf.btf_load(blob.minimal()),
            }
            for fd in fds.values():
                until_read.callback(os.close, fd)
            sock = until_read.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            fds |= {"link": learner, "socket": sock.fileno(), "iter": bpf.iter_create(learner)}
            until_read.callback(os.close, fds["iter"])
            with contextlib.suppress(OSError):  # not everybody may open one
                fds["perf_event"] = events.software()
                until_read.callback(os.close, fds["perf_event"])
            output = _output(learner)
        records = {
            record[1]: record for record in struct.iter_unpack(iterators.FILE_RECORD, output)
        }
        self._depth = records[learner][5]
        self._kinds = {records[fd][2]: kind for kind, fd in fds.items()}
        return {kind: records[fd][2] for kind, fd in fds.items()}


def device(namespace: int, index: int) -> int:
    """What a link to a device has as its target: its index, in the namespace of an inode."""
    return namespace << 32 | index


def _output(link: int) -> bytes:
    """All output of one pass of an iterator."""
    fd = bpf.iter_create(link)
    try:
        parts = []
        while part := _read(fd):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, 1 << 16)
        except OSError as error:
            if error.errno != errno.EAGAIN:  # many objects without output: bpf_iter.c:bpf_seq_read
                raise
