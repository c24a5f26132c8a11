"""What the commands on iterators, their links and their open files do on the running kernel."""

from __future__ import annotations

from typing import Any

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.poll import wait_until
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, holds_at, made, ok, settles, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures


@pytest.fixture(name="actor")
def _actor(world: World) -> Actor:
    return world.actor("a")


def iterator(actor: Actor, target: str = "bpf_map") -> int:
    """A program that iterates: its id."""
    return made(actor, "prog_load", type="tracing", attach_type="trace_iter", target=target)


def read_by(world: World, *expected: int) -> None:
    """Wait until the open iterators have just these programs, in the order of their opening."""

    def read() -> list[int]:
        return [prog for _, prog in sorted(world.snapshot(fds=True).iters.items())]

    got, _ = wait_until(read, [*expected].__eq__)
    assert got == [*expected]


def test_a_link_and_each_open_file_hold_the_program(world: World, actor: Actor) -> None:
    """A file outlives the link and the program's descriptors."""
    prog = iterator(actor)
    link, twin = made(actor, "iter_link", fd=3), made(actor, "iter_link", fd=3)
    settles(world, links={link: (1, prog, 0), twin: (1, prog, 0)}, progs={prog: 3})
    for _ in range(2):
        ok(actor, "iter_create", link=4)
    settles(world, links={link: (1, prog, 0), twin: (1, prog, 0)}, progs={prog: 5})
    read_by(world, prog, prog)
    holds_at(world, actor, 6, ("iter", 1))
    for fd in (3, 4, 5):
        ok(actor, "close", fd=fd)
    settles(world, links={}, progs={prog: 2})
    size = ok(actor, "read_all", fd=6).value
    assert size and size % 8 == 0
    assert ok(actor, "read_all", fd=6).value == 0
    for fd in (6, 7):
        ok(actor, "close", fd=fd)
    settles(world, progs={})


@pytest.mark.parametrize("kind", ["array", "hash", "percpu_array", "percpu_hash", "lru_hash"])
def test_a_map_is_held_by_link_and_file_as_by_users(world: World, actor: Actor, kind: str) -> None:
    """What iterates over its elements keeps it in use."""
    prog = iterator(actor, "bpf_map_elem")
    map = made(actor, "map_create", type=kind, entries=3)
    link = made(actor, "iter_link", fd=3, map=4)
    settles(world, links={link: (1, prog, map)})
    assert ok(actor, "link_info", link=5).named == {"iterator bpf_map_elem": map}
    settles(world, maps={map: (2, 2)}, progs={prog: 2})
    ok(actor, "iter_create", link=5)
    settles(world, maps={map: (3, 3)}, progs={prog: 3})
    for fd in (3, 4, 5):
        ok(actor, "close", fd=fd)
    settles(world, maps={map: (1, 1)}, progs={prog: 1}, links={})
    objects = 1 + (3 if kind.endswith("array") else 0)  # one call more, without an element
    assert ok(actor, "read_all", fd=6).value == 8 * objects
    ok(actor, "close", fd=6)
    settles(world, maps={}, progs={})


def test_an_update_is_for_files_that_are_opened_later(world: World, actor: Actor) -> None:
    old, new = iterator(actor), iterator(actor)
    link = made(actor, "iter_link", fd=3)
    ok(actor, "iter_create", link=5)
    ok(actor, "link_update", link=5, fd=4)
    settles(world, links={link: (1, new, 0)}, progs={old: 2, new: 2})
    ok(actor, "iter_create", link=5)
    read_by(world, old, new)
    settles(world, progs={old: 2, new: 3})
    ok(actor, "link_update", link=5, fd=4)
    ok(actor, "link_update", link=5, fd=3, old_fd=4)
    settles(world, links={link: (1, old, 0)}, progs={old: 3, new: 2})


def test_what_an_update_does_not_take(world: World, actor: Actor) -> None:
    """A wrong old program is found before a wrong new one; then it must be of the same target."""
    first, same = iterator(actor), iterator(actor)
    other = iterator(actor, "task")
    raw = made(actor, "prog_load", type="raw_tracepoint")
    made(actor, "iter_link", fd=3)
    plain = [{"link": 7, "fd": fd} for fd in (5, 6, 7, 77)]
    assert errnos(actor, "link_update", *plain) == ["EINVAL", "EINVAL", "EINVAL", "EBADF"]
    olds = [(4, 4), (5, 4), (6, 4), (4, 77), (77, 4), (5, 3)]
    expected = [{"link": 7, "fd": fd, "old_fd": old} for fd, old in olds]
    assert errnos(actor, "link_update", *expected) == [
        *("EPERM", "EPERM", "EPERM", "EBADF", "EBADF", "EINVAL"),
    ]
    assert errnos(actor, "link_detach", {"link": 7}) == ["ENOTSUP"]
    settles(world, progs={first: 2, same: 1, other: 1, raw: 1})


def test_which_programs_and_maps_iterate(world: World, actor: Actor) -> None:
    """A program without a need for a map looks at none."""
    iterator(actor)
    iterator(actor, "bpf_map_elem")
    ok(actor, "prog_load", type="raw_tracepoint")
    ok(actor, "map_create", type="ringbuf")
    wrong: list[dict[str, Any]] = [
        *({"fd": 77}, {"fd": 5}, {"fd": 6}, {"fd": 77, "map": 77}, {"fd": 5, "map": 77}),
        *({"fd": 4}, {"fd": 4, "map": 77}, {"fd": 4, "map": 3}, {"fd": 4, "map": 6}),
    ]
    assert errnos(actor, "iter_link", *wrong) == [
        *("EBADF", "EINVAL", "EINVAL", "EBADF", "EINVAL"),
        *("EBADF", "EBADF", "EINVAL", "EINVAL"),
    ]
    ok(actor, "iter_link", fd=3, map=77)
    settles(world, maps={min(world.made["map"]): (1, 1)})
    ok(actor, "raw_tracepoint_open", fd=5)
    links = [{"link": fd} for fd in (3, 6, 8, 77)]
    assert errnos(actor, "iter_create", *links) == ["EINVAL", "EINVAL", "EINVAL", "EBADF"]


def test_a_pin_can_be_opened_and_read(world: World, actor: Actor) -> None:
    """Each open is a new iterator, and holds the pin's inode: the link outlives its name."""
    prog, pin = iterator(actor), world.pin_path("iterator")
    link = made(actor, "iter_link", fd=3)
    ok(actor, "pin", fd=4, path=pin)
    for fd in (3, 4):
        ok(actor, "close", fd=fd)
    ok(actor, "iter_open", path=pin)
    settles(world, links={link: (1, prog, 0)}, progs={prog: 2})
    read_by(world, prog)
    ok(actor, "unlink", path=pin)
    settles(world, links={link: (1, prog, 0)}, progs={prog: 2})
    assert ok(actor, "read_all", fd=3).value
    assert errnos(actor, "iter_create", {"link": 3}) == ["EINVAL"]
    assert errnos(actor, "pin", {"fd": 3, "path": pin}) == ["EINVAL"]
    ok(actor, "exec")
    holds_at(world, actor, 3, ("iter", 1))
    ok(actor, "close", fd=3)
    settles(world, links={}, progs={})


def test_other_pins_are_not_opened_so(world: World, actor: Actor) -> None:
    ok(actor, "prog_load", type="raw_tracepoint")
    ok(actor, "raw_tracepoint_open", fd=3)
    for name, fd in (("prog", 3), ("link", 4)):
        ok(actor, "pin", fd=fd, path=world.pin_path(name))
    paths = [{"path": world.pin_path(name)} for name in ("prog", "link", "none")]
    assert errnos(actor, "iter_open", *paths) == ["EIO", "EIO", "ENOENT"]
