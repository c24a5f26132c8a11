"""Reads the real reference counts of the kernel's maps, programs, links and their files.

Only BPF iterators show them. What the kernel shows is corrected here:
- an iterator holds one reference on the map, program or link it shows: subtracted; an object that
  only the iterator holds any more is dead and left out;
- `struct file.f_ref` counts from -1 (include/linux/file_ref.h) and the file iterator holds one, so
  the raw number is the true one; the older `f_count` counts from 0;
- the reader's own programs and links are left out.

A snapshot reads maps, programs and links one after the other: it isn't atomic. Let the system
settle and compare again (poll.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from bpflife.proofs.kernel import asm, bpf, btf, iterators


class MapRefs(NamedTuple):
    """References of a map: all, and those of users (descriptors' files and pins)."""

    refcnt: int
    usercnt: int


class LinkRefs(NamedTuple):
    """References of a link, and the id of its program (0: none)."""

    refcnt: int
    prog_id: int


class FileRefs(NamedTuple):
    """What a descriptor leads to ("map", "prog" or "link", its id), and the file's references."""

    kind: str
    object_id: int
    refcnt: int


@dataclass(frozen=True)
class Snapshot:
    """Counts by object id; files by process and descriptor.

    An object that isn't here has no references. It may still hold some until RCU frees it: a dead
    program its maps.
    """

    maps: Mapping[int, MapRefs] = field(default_factory=dict)
    progs: Mapping[int, int] = field(default_factory=dict)
    links: Mapping[int, LinkRefs] = field(default_factory=dict)
    files: Mapping[int, Mapping[int, FileRefs]] = field(default_factory=dict)

    def only(self, ids: Mapping[str, Collection[int]], pids: Collection[int]) -> Snapshot:
        """The part about some objects (ids by "map", "prog", "link") and processes."""
        return Snapshot(
            {id: refs for id, refs in self.maps.items() if id in ids["map"]},
            {id: refs for id, refs in self.progs.items() if id in ids["prog"]},
            {id: refs for id, refs in self.links.items() if id in ids["link"]},
            {pid: files for pid, files in self.files.items() if pid in pids},
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
        self._files: int | None = None
        self._kinds: dict[int, str] = {}
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

    def snapshot(self, fds: bool = False) -> Snapshot:
        """The counts now of every object of the machine; with `fds` also all processes' files."""
        return Snapshot(
            {id: MapRefs(ref - 1, user) for id, _, ref, user in self._objects(self._maps)},
            {
                id: ref - 1
                for id, _, ref, _ in self._objects(self._progs)
                if id not in self._own["prog"]
            },
            {
                id: LinkRefs(ref - 1, prog)
                for id, prog, ref, _ in self._objects(self._links)
                if id not in self._own["link"]
            },
            self._read_files() if fds else {},
        )

    def _objects(self, link: int) -> Iterator[tuple[int, int, int, int]]:
        """The records of the objects that somebody besides the iterator holds."""
        for record in struct.iter_unpack(iterators.OBJECT_RECORD, _output(link)):
            if record[2] > 1:
                yield record

    def _read_files(self) -> dict[int, dict[int, FileRefs]]:
        if self._files is None:
            self._files = self._file_iterator()
        bias = 0 if self._btf.has("file", "f_ref") else 1
        found: dict[int, dict[int, FileRefs]] = {}
        for record in struct.iter_unpack(iterators.FILE_RECORD, _output(self._files)):
            pid, fd, f_op, refs, object_id, _ = record
            kind = self._kinds[f_op]
            if object_id not in self._own.get(kind, ()):
                found.setdefault(pid, {})[fd] = FileRefs(kind, object_id, refs - bias)
        return found

    def _iterator(self, target: str, code: bytes, info: bytes = b"") -> int:
        """Descriptor of an iterator link over `target`, open until `close`."""
        function = self._btf.function(f"bpf_iter_{target}")
        prog = bpf.prog_load(
            "tracing",
            code,
            name="bpflife_reader",
            attach_type="trace_iter",
            attach_btf_id=function,
        )
        self._keep("prog", prog)
        link = bpf.iter_link_create(prog, info)
        self._keep("link", link)
        return link

    def _keep(self, kind: str, fd: int) -> None:
        self._open.callback(os.close, fd)
        self._own[kind].add(bpf.object_id(fd))

    def _file_iterator(self) -> int:
        """The iterator over all BPF files. Their f_op addresses are learnt from own files."""
        learner = self._iterator(
            "task_file", iterators.all_files(self._btf), struct.pack("=III", 0, os.getpid(), 0)
        )
        fds = {"map": bpf.map_create("array")}
        try:
            fds["prog"] = bpf.prog_load("socket_filter", asm.trivial())
            output = _output(learner)
        finally:
            for fd in fds.values():
                os.close(fd)
        fds["link"] = learner
        records = {
            record[1]: record for record in struct.iter_unpack(iterators.FILE_RECORD, output)
        }
        f_ops = {kind: records[fd][2] for kind, fd in fds.items()}
        self._kinds = {f_op: kind for kind, f_op in f_ops.items()}
        depth = records[learner][5]
        return self._iterator("task_file", iterators.bpf_files(self._btf, f_ops, depth))


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
