"""The reader of real counts, on files of this process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from bpflife.proofs.kernel import blob, bpf
from bpflife.proofs.kernel.available import why_not
from bpflife.proofs.kernel.refs import FileRefs, Refs


@pytest.fixture(scope="module", name="refs")
def _refs() -> Iterator[Refs]:
    if refused := why_not():
        pytest.skip(refused)
    with Refs() as refs:
        yield refs


@pytest.fixture(name="fds")
def _fds(refs: Refs) -> Iterator[dict[str, int]]:
    """An own descriptor of each kind of object."""
    with ExitStack() as until_tested:
        fds = {"map": bpf.map_create("hash"), "btf": bpf.btf_load(blob.minimal())}
        fds["prog"] = bpf.prog_load("socket_filter", b"\xb7" + bytes(7) + b"\x95" + bytes(7))
        for fd in fds.values():
            until_tested.callback(os.close, fd)
        yield fds


def test_files_lead_to_objects(refs: Refs, fds: dict[str, int]) -> None:
    """The pass over one process sees the same as the pass over all."""
    expected = {fd: FileRefs(kind, bpf.object_id(fd), 1) for kind, fd in fds.items()}
    everything = refs.snapshot(fds=True).files[os.getpid()]
    assert {fd: everything[fd] for fd in fds.values()} == expected
    assert refs.snapshot(pids=[os.getpid()]).files[os.getpid()] == everything


def test_btf_is_found_by_its_files(refs: Refs, fds: dict[str, int]) -> None:
    """No iterator shows it: without files, what only descriptors hold isn't seen."""
    id = bpf.object_id(fds["btf"])
    assert refs.snapshot(fds=True).btfs[id] == refs.snapshot(pids=[os.getpid()]).btfs[id] == 1
    assert id not in refs.snapshot().btfs
    assert refs.snapshot(btf_ids=[id, 1 << 30]).btfs[id] == 1
    assert 1 << 30 not in refs.snapshot(btf_ids=[1 << 30]).btfs


def test_other_files_by_their_inodes(refs: Refs) -> None:
    with socket.socket() as sock, open("/proc/version", encoding="utf-8") as file:
        copy = os.dup(file.fileno())
        others = refs.snapshot(pids=[os.getpid()]).others[os.getpid()]
        os.close(copy)
        for opened, kind, refcnt in ((sock, "socket", 1), (file, "other", 2)):
            inode = os.fstat(opened.fileno()).st_ino & 0xFFFFFFFF
            assert others[opened.fileno()] == FileRefs(kind, inode, refcnt)
        assert others[copy] == others[file.fileno()]
    assert refs.snapshot(fds=True).others == {}


def test_the_reader_leaves_itself_out() -> None:
    """Its programs and links, those of the passes over files too."""
    before = own_ids()
    with Refs() as refs:
        refs.snapshot(fds=True)
        one = refs.snapshot(pids=[os.getpid()])
        made = {kind: own_ids()[kind] - before[kind] for kind in before}
        everything = refs.snapshot(fds=True)
    assert len(made["prog"]) > 4
    for snapshot in (one, everything):
        assert not made["prog"] & set(snapshot.progs)
        assert not made["link"] & set(snapshot.links)
        files = snapshot.files.get(os.getpid(), {}).values()
        assert not [file for file in files if file.object_id in made.get(file.kind, ())]


def own_ids() -> dict[str, set[int]]:
    """The ids of the programs and links that this process has descriptors of."""
    found: dict[str, set[int]] = {"prog": set(), "link": set()}
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            target = os.readlink(f"/proc/self/fd/{fd}")
            for kind in found:
                if f"bpf-{kind}" in target or f"bpf_{kind}" in target:
                    found[kind].add(bpf.object_id(int(fd)))
    return found


def test_a_process_that_is_gone_has_no_files(refs: Refs) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    snapshot = refs.snapshot(pids=[pid])
    assert snapshot.files == snapshot.others == {}
