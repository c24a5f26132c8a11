"""Commands that attach programs, by themselves or by links."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

from bpflife.proofs.kernel import bpf, libc, links
from bpflife.proofs.kernel.order import order
from bpflife.proofs.kernel.results import CONTROL, Result, opened


def prog_attach(target: str, fd: int, attach_type: str, **options: Any) -> Result:
    """Attach a program to the cgroup at the path `target`; `options` as in order.py.

    (kernel/bpf/cgroup.c:cgroup_bpf_prog_attach)
    """
    with _directory(target) as cgroup:
        bpf.prog_attach(cgroup, fd, attach_type, **order(**options)._asdict())
    return Result()


def prog_detach(target: str, attach_type: str, fd: int | None = None, revision: int = 0) -> Result:
    """Detach a program, or whatever single one is attached, from the cgroup at `target`.

    (kernel/bpf/cgroup.c:cgroup_bpf_prog_detach)
    """
    with _directory(target) as cgroup:
        bpf.prog_detach(cgroup, fd or 0, attach_type, revision=revision)
    return Result()


def map_attach(map: int, prog: int, attach_type: str) -> Result:
    """Attach a program to a sockmap: sockets that come into it from now on get it too."""
    bpf.prog_attach(map, prog, attach_type)
    return Result()


def map_detach(map: int, prog: int, attach_type: str) -> Result:
    """Detach just this program from a sockmap."""
    bpf.prog_detach(map, prog, attach_type)
    return Result()


def sockmap_link(map: int, prog: int, attach_type: str) -> Result:
    """Attach a program to a sockmap by a link, which keeps the map in use: descriptor and id.

    (net/core/sock_map.c:sock_map_link_create)
    """
    return opened(bpf.link_create(prog, map, attach_type))


def link_create(target: str, fd: int, attach_type: str, **options: Any) -> Result:
    """Attach a program by a link to the cgroup at `target`: the link's descriptor and id.

    `options` as in order.py. (kernel/bpf/cgroup.c:cgroup_bpf_link_attach)
    """
    place = order(**options)
    with _directory(target) as cgroup:
        return opened(bpf.link_create(fd, cgroup, attach_type, place.flags, place.of_link()))


def cgroup_attached(target: str, attach_type: str) -> Result:
    """The programs attached to the cgroup at `target`; the "revision" and "flags" of its hook.

    (kernel/bpf/cgroup.c:cgroup_bpf_prog_query)
    """
    with _directory(target) as cgroup:
        found = bpf.prog_query(cgroup, attach_type)
    named = (("revision", found.revision), ("flags", found.flags))
    return Result(attached=tuple((id, 0) for id in found.prog_ids), named=named)


def link_update(link: int, fd: int, old_fd: int | None = None) -> Result:
    """Change a link's program, with `old_fd` only if that is its program now."""
    bpf.link_update(link, fd, old_fd)
    return Result()


def link_detach(link: int) -> Result:
    """Detach a link; it stays without effect."""
    bpf.link_detach(link)
    return Result()


def link_info(link: int) -> Result:
    """What a link is attached to, by kind ("map", "iterator map", "tracepoint bpf_test_finish" ...)
    with a number, 0 where it has none (links.py)."""
    return Result(named=links.where(link))


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    """A descriptor above all that commands name: else it could be a closed one's number."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    fd = libc.above(os.open(path, flags), CONTROL + 1)
    try:
        yield fd
    finally:
        os.close(fd)


COMMANDS: Final = (
    *(prog_attach, prog_detach, map_attach, map_detach),
    *(link_create, cgroup_attached, sockmap_link, link_update, link_detach, link_info),
)
