"""What the commands on maps, programs, BTF and links do on the running kernel."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.poll import wait_until
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, holds, holds_at, made, ok, settles, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures

EGRESS = "cgroup_inet_egress"


# -- by id -----------------------------------------------------------------------------------


def test_an_id_opens_a_new_file(world: World) -> None:
    """A reference each, and a map's user; the files are different ones."""
    actor = world.actor("a")
    map = made(actor, "map_create")
    prog, btf = made(actor, "prog_load", maps=[3]), made(actor, "btf_load")
    ids = {"map": map, "prog": prog, "btf": btf}
    settles(world, maps={map: (2, 1)}, progs={prog: 1}, btfs={btf: 1})
    for kind, id in ids.items():
        assert ok(actor, "get_fd_by_id", kind=kind, id=id).id == id
    settles(world, maps={map: (3, 2)}, progs={prog: 2}, btfs={btf: 2})
    holds_at(world, actor, 6, ("map", 1))
    for fd in range(3, 9):
        ok(actor, "close", fd=fd)
    settles(world, maps={}, progs={}, btfs={})
    gone = [{"kind": kind, "id": id} for kind, id in ids.items()]
    assert errnos(actor, "get_fd_by_id", *gone) == ["ENOENT"] * 3
    never = [{"kind": kind, "id": 0} for kind in ("map", "prog", "btf", "link")]
    assert errnos(actor, "get_fd_by_id", *never) == ["ENOENT"] * 4


def test_an_id_of_what_only_a_program_holds(world: World) -> None:
    """The map has no users any more, and then one again."""
    actor = world.actor("a")
    map = made(actor, "map_create")
    ok(actor, "prog_load", maps=[3])
    ok(actor, "close", fd=3)
    settles(world, maps={map: (1, 0)})
    ok(actor, "get_fd_by_id", kind="map", id=map)
    settles(world, maps={map: (2, 1)})


# -- programs in maps --------------------------------------------------------------------------


def test_a_prog_array_holds_programs_while_it_has_users(world: World) -> None:
    """What a program and its array hold of each other is no leak: the last user clears it."""
    actor = world.actor("a")
    array = made(actor, "map_create", type="prog_array", entries=2)
    caller = made(actor, "prog_load", tail_call=3)
    settles(world, maps={array: (2, 1)}, progs={caller: 1})
    ok(actor, "map_update", fd=3, key=0, value_fd=4)
    ok(actor, "map_update", fd=3, key=1, value_fd=4)
    settles(world, maps={array: (2, 1)}, progs={caller: 3})
    ok(actor, "pin", fd=3, path=world.pin_path("array"))
    for fd in (3, 4):
        ok(actor, "close", fd=fd)
    settles(world, maps={array: (2, 1)}, progs={caller: 2})
    ok(actor, "unlink", path=world.pin_path("array"))
    settles(world, maps={}, progs={})


def test_an_array_that_lost_its_users_can_be_used_again(world: World) -> None:
    """It is empty then, but lives on in the program that jumps through it."""
    actor = world.actor("a")
    array = made(actor, "map_create", type="prog_array")
    caller, callee = made(actor, "prog_load", tail_call=3), made(actor, "prog_load")
    ok(actor, "map_update", fd=3, key=0, value_fd=5)
    settles(world, maps={array: (2, 1)}, progs={caller: 1, callee: 2})
    ok(actor, "close", fd=3)
    settles(world, maps={array: (1, 0)}, progs={caller: 1, callee: 1})
    ok(actor, "get_fd_by_id", kind="map", id=array)
    settles(world, maps={array: (2, 1)}, progs={caller: 1, callee: 1})
    ok(actor, "map_update", fd=3, key=0, value_fd=5)
    settles(world, progs={caller: 1, callee: 2})


def test_a_prog_array_is_of_one_program_type(world: World) -> None:
    """Its first element or its first program decides; to be bound to a program does not."""
    actor = world.actor("a")
    ok(actor, "map_create", type="prog_array")
    ok(actor, "prog_load")
    ok(actor, "prog_load", type="xdp", returns=2)
    ok(actor, "bind_map", prog=4, map=3)
    ok(actor, "map_update", fd=3, key=0, value_fd=5)
    assert errnos(actor, "map_update", {"fd": 3, "key": 0, "value_fd": 4}) == ["EINVAL"]
    assert errnos(actor, "prog_load", {"tail_call": 3}) == ["EINVAL"]
    ok(actor, "map_delete", fd=3, key=0)
    assert errnos(actor, "map_update", {"fd": 3, "key": 0, "value_fd": 4}) == ["EINVAL"]


def test_what_a_prog_array_does_not_take(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "map_create", type="prog_array")
    ok(actor, "prog_load")
    values = [{"fd": 3, "key": 0, "value_fd": fd} for fd in (77, 3)]
    assert errnos(actor, "map_update", *values) == ["EBADF", "EINVAL"]
    keys = {"fd": 3, "key": 1, "value_fd": 4}, {"fd": 77, "key": 0, "value_fd": 4}
    assert errnos(actor, "map_update", *keys) == ["E2BIG", "EBADF"]
    assert errnos(actor, "map_delete", {"fd": 3, "key": 0}) == ["ENOENT"]


@pytest.mark.parametrize("kind", ["devmap", "cpumap"])
def test_redirect_maps_hold_programs(world: World, kind: str) -> None:
    """Only of the map's own attach type; without users too, unlike a prog_array."""
    actor = world.actor("a")
    first = {"devmap": 1, "cpumap": 64}[kind]  # the loopback device; the length of a queue
    map = made(actor, "map_create", type=kind, value=8)
    prog = made(actor, "prog_load", type="xdp", returns=2, attach_type=f"xdp_{kind}")
    element = {"fd": 3, "key": 0, "number": first}
    ok(actor, "map_update", **element, value_fd=4)
    settles(world, maps={map: (1, 1)}, progs={prog: 2})
    ok(actor, "map_update", **element, value_fd=0)  # 0 is no program here
    settles(world, progs={prog: 1})
    other = "cpumap" if kind == "devmap" else "devmap"
    made(actor, "prog_load", type="xdp", returns=2, attach_type=f"xdp_{other}")
    refused = {"devmap": "EINVAL", "cpumap": "ENOMEM"}[kind]
    values = [{**element, "value_fd": fd} for fd in (5, 3, 77)]
    assert errnos(actor, "map_update", *values) == [refused] * 3
    ok(actor, "close", fd=5)
    ok(actor, "map_update", **element, value_fd=4)
    ok(actor, "map_delete", fd=3, key=0)
    ok(actor, "map_delete", fd=3, key=0)
    settles(world, progs={prog: 1})
    ok(actor, "map_update", **element, value_fd=4)
    holder = made(actor, "prog_load", type="xdp", returns=2, maps=[3])
    ok(actor, "close", fd=3)
    settles(world, maps={map: (1, 0)}, progs={prog: 2, holder: 1})
    ok(actor, "close", fd=5)
    settles(world, maps={}, progs={prog: 1})


@pytest.mark.parametrize("kind", ["devmap", "cpumap"])
def test_a_program_in_a_redirect_map_that_it_uses_is_never_freed(world: World, kind: str) -> None:
    """No descriptor, no pin, yet each holds the other: only an id leads there.

    A prog_array is cleared with its last user (map_release_uref), these maps aren't.
    """
    actor = world.actor("a")
    map = made(actor, "map_create", type=kind, value=8)
    prog = made(actor, "prog_load", type="xdp", returns=2, attach_type=f"xdp_{kind}", maps=[3])
    ok(actor, "map_update", fd=3, key=0, value_fd=4, number={"devmap": 1, "cpumap": 64}[kind])
    try:
        for fd in (3, 4):
            ok(actor, "close", fd=fd)
        settles(world, maps={map: (1, 0)}, progs={prog: 1})
        time.sleep(0.3)  # what is freed here is freed within 40 ms
        settles(world, maps={map: (1, 0)}, progs={prog: 1})
    finally:
        ok(actor, "get_fd_by_id", kind="map", id=map)
        ok(actor, "map_delete", fd=3, key=0)
        ok(actor, "close", fd=3)
    settles(world, maps={}, progs={})


# -- maps in maps, and other files in maps -----------------------------------------------------


@pytest.mark.parametrize("kind", ["array_of_maps", "hash_of_maps"])
def test_a_map_of_maps_holds_maps(world: World, kind: str) -> None:
    """A reference but no user; the model map is only looked at."""
    actor = world.actor("a")
    inner = made(actor, "map_create")
    outer = made(actor, "map_create", type=kind, inner=3)
    settles(world, maps={inner: (1, 1), outer: (1, 1)})
    ok(actor, "map_update", fd=4, key=0, value_fd=3)
    settles(world, maps={inner: (2, 1), outer: (1, 1)})
    ok(actor, "close", fd=3)
    settles(world, maps={inner: (1, 0), outer: (1, 1)})
    second = made(actor, "map_create")
    ok(actor, "map_update", fd=4, key=0, value_fd=3)
    settles(world, maps={outer: (1, 1), second: (2, 1)})
    ok(actor, "map_delete", fd=4, key=0)
    settles(world, maps={outer: (1, 1), second: (1, 1)})
    assert errnos(actor, "map_delete", {"fd": 4, "key": 0}) == ["ENOENT"]
    ok(actor, "map_update", fd=4, key=0, value_fd=3)
    prog = made(actor, "prog_load", maps=[4])
    for fd in (3, 4):
        ok(actor, "close", fd=fd)
    settles(world, maps={outer: (1, 0), second: (1, 0)}, progs={prog: 1})
    ok(actor, "close", fd=5)
    settles(world, maps={}, progs={})


def test_what_a_map_of_maps_does_not_take(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "map_create")
    ok(actor, "map_create", type="array_of_maps", inner=3)
    ok(actor, "map_create", value=8)
    values = [{"fd": 4, "key": 0, "value_fd": fd} for fd in (5, 4, 77)]
    assert errnos(actor, "map_update", *values) == ["EINVAL", "EINVAL", "EBADF"]
    ok(actor, "map_create", type="prog_array")
    models = [{"type": "array_of_maps", "inner": fd} for fd in (77, 4, 6)]
    assert errnos(actor, "map_create", *models) == ["EBADF", "EINVAL", "ENOTSUPP"]
    assert errnos(actor, "map_create", {"type": "array_of_maps"}) == ["EINVAL"]


def test_a_perf_event_array_forgets_with_the_file_that_set_it(world: World) -> None:
    """Not with the map: an element set through a file goes with that file, unless preserved."""
    actor = world.actor("a")
    map = made(actor, "map_create", type="perf_event_array")
    ok(actor, "perf_event_open")
    ok(actor, "map_update", fd=3, key=0, value_fd=4)
    holds_at(world, actor, 4, ("perf_event", 2))
    ok(actor, "pin", fd=3, path=world.pin_path("map"))
    ok(actor, "dup", fd=3)
    ok(actor, "close", fd=3)
    holds_at(world, actor, 4, ("perf_event", 2))
    ok(actor, "close", fd=5)
    holds(world, actor, {4: ("perf_event", 1)})
    settles(world, maps={map: (1, 1)})


def test_a_preserving_perf_event_array_keeps_its_events(world: World) -> None:
    actor = world.actor("a")
    map = made(actor, "map_create", type="perf_event_array", preserve=True)
    ok(actor, "perf_event_open")
    ok(actor, "map_update", fd=3, key=0, value_fd=4)
    ok(actor, "pin", fd=3, path=world.pin_path("map"))
    ok(actor, "close", fd=3)
    holds(world, actor, {4: ("perf_event", 2)})
    ok(actor, "unlink", path=world.pin_path("map"))
    settles(world, maps={})
    holds(world, actor, {4: ("perf_event", 1)})
    assert map not in world.snapshot().maps
    ok(actor, "map_create", type="perf_event_array")
    values = [{"fd": 3, "key": 0, "value_fd": fd} for fd in (3, 77)]
    assert errnos(actor, "map_update", *values) == ["EBADF", "EBADF"]
    assert errnos(actor, "map_delete", {"fd": 3, "key": 0}) == ["ENOENT"]
    assert errnos(actor, "map_create", {"type": "array", "preserve": True}) == ["EINVAL"]


def test_a_sockmap_holds_no_file(world: World) -> None:
    """A closed socket leaves the map by itself."""
    actor = world.actor("a")
    ok(actor, "map_create", type="sockmap")
    ok(actor, "socketpair")
    ok(actor, "map_update", fd=3, key=0, value_fd=4)
    holds(world, actor, {3: ("map", 1), 4: ("socket", 1), 5: ("socket", 1)})
    ok(actor, "close", fd=4)
    assert errnos(actor, "map_delete", {"fd": 3, "key": 0}) == ["EINVAL"]
    values = [{"fd": 3, "key": 0, "value_fd": fd} for fd in (3, 77)]
    assert errnos(actor, "map_update", *values) == ["ENOTSOCK", "EBADF"]


def test_numbers_in_maps(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "map_create")
    ok(actor, "map_create", type="hash")
    ok(actor, "map_update_value", fd=3, key=0, number=7)
    ok(actor, "map_update_value", fd=4, key=5, number=7)
    ok(actor, "map_delete", fd=4, key=5)
    absent = [{"fd": 4, "key": 5}, {"fd": 3, "key": 0}]
    assert errnos(actor, "map_delete", *absent) == ["ENOENT", "EINVAL"]
    assert errnos(actor, "map_update_value", {"fd": 3, "key": 1, "number": 7}) == ["E2BIG"]
    ok(actor, "map_freeze", fd=4)
    assert errnos(actor, "map_delete", {"fd": 4, "key": 5}) == ["EPERM"]


def test_a_ringbuf(world: World) -> None:
    actor = world.actor("a")
    map = made(actor, "map_create", type="ringbuf")
    ok(actor, "mmap", fd=3, prot="read_write")
    ok(actor, "close", fd=3)
    settles(world, maps={map: (1, 1)})


# -- BTF ---------------------------------------------------------------------------------------


def test_btf_lives_by_descriptors_maps_and_programs(world: World) -> None:
    actor = world.actor("a")
    btf = made(actor, "btf_load")
    map, prog = made(actor, "map_create", btf=3), made(actor, "prog_load", btf=3)
    settles(world, btfs={btf: 3}, maps={map: (1, 1)}, progs={prog: 1})
    holds_at(world, actor, 3, ("btf", 1))
    ok(actor, "close", fd=3)
    settles(world, btfs={btf: 2})
    ok(actor, "close", fd=4)
    settles(world, btfs={btf: 1})
    assert ok(actor, "get_fd_by_id", kind="btf", id=btf).value == 3
    ok(actor, "close", fd=5)
    settles(world, btfs={btf: 1}, maps={}, progs={})
    ok(actor, "close", fd=3)
    settles(world, btfs={})
    assert errnos(actor, "get_fd_by_id", {"kind": "btf", "id": btf}) == ["ENOENT"]


def test_btf_on_its_way(world: World) -> None:
    """Nothing that can be listed leads there, only its id."""
    actor = world.actor("a")
    btf = made(actor, "btf_load")
    ok(actor, "socketpair")
    ok(actor, "send_fd", socket=4, fd=3)
    ok(actor, "close", fd=3)
    settles(world, btfs={btf: 1})
    assert ok(actor, "recv_fd", socket=5).id == btf
    holds_at(world, actor, 3, ("btf", 1))
    settles(world, btfs={btf: 1})


def test_which_maps_take_btf(world: World) -> None:
    """Only type ids make a map look at the descriptor; those must fit the sizes."""
    actor = world.actor("a")
    btf = made(actor, "btf_load")
    ok(actor, "map_create")
    wrong = [{"btf": 77}, {"btf": 4}, {"btf": 3, "btf_value": 0}, {"btf": 3, "value": 8}]
    assert errnos(actor, "map_create", *wrong) == ["EBADF", "EINVAL", "EINVAL", "EINVAL"]
    kinds = [{"type": "ringbuf", "btf": 3}, {"type": "array_of_maps", "btf": 3, "inner": 4}]
    assert errnos(actor, "map_create", *kinds) == ["EINVAL", "ENOTSUPP"]
    ok(actor, "map_create", btf=77, btf_key=0, btf_value=0)
    settles(world, btfs={btf: 1})
    ok(actor, "map_create", type="hash", btf=3)
    ok(actor, "map_create", type="prog_array", btf=3)
    settles(world, btfs={btf: 3})


def test_what_takes_no_btf(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "btf_load")
    assert errnos(actor, "pin", {"fd": 3, "path": world.pin_path("btf")}) == ["EINVAL"]
    ok(actor, "map_create")
    assert errnos(actor, "prog_load", {"btf": 77}, {"btf": 4}) == ["EBADF", "EINVAL"]


# -- programs ----------------------------------------------------------------------------------


def test_sleepable_programs(world: World) -> None:
    """Of the types that load here: those of uprobes ("kprobe"), and "syscall", always so."""
    actor = world.actor("a")
    map = made(actor, "map_create")
    progs = {
        made(actor, "prog_load", type=kind, sleepable=True, maps=[3]): 1
        for kind in ("kprobe", "syscall")
    }
    settles(world, maps={map: (3, 1)}, progs=progs)
    for fd in (4, 5):
        ok(actor, "close", fd=fd)
    settles(world, maps={map: (1, 1)}, progs={})
    assert errnos(actor, "prog_load", {"sleepable": True}, {"type": "syscall"}) == ["EINVAL"] * 2


def has_fd_array_count(actor: Actor) -> bool:
    """Whether the kernel knows fd_array_cnt (6.14): else it refuses the long attribute."""
    reply = actor.call("prog_load", fd_array=[0], fd_array_count=1)
    return reply.errno != "E2BIG"


def test_maps_by_an_array_of_descriptors(world: World) -> None:
    """A program holds what instructions name and, up to the count, what only the array names."""
    actor = world.actor("a")
    if not has_fd_array_count(actor):
        pytest.skip("this kernel has no fd_array_cnt")
    maps = [made(actor, "map_create") for _ in range(3)]
    array = {"fd_array": [3, 4, 5]}

    def counts(*refs: int) -> dict[int, tuple[int, int]]:
        return {map: (n, 1) for map, n in zip(maps, refs, strict=True)}

    ok(actor, "prog_load", **array, indexes=[1])
    settles(world, maps=counts(1, 2, 1))
    ok(actor, "prog_load", **array, fd_array_count=2)
    settles(world, maps=counts(2, 3, 1))
    ok(actor, "prog_load", **array, fd_array_count=2, indexes=[2])
    settles(world, maps=counts(3, 4, 2))
    ok(actor, "prog_load", **array, fd_array_count=3, indexes=[2, 2, 0], maps=[3])  # once each
    settles(world, maps=counts(4, 5, 3))


def test_wrong_arrays_of_descriptors(world: World) -> None:
    actor = world.actor("a")
    if not has_fd_array_count(actor):
        pytest.skip("this kernel has no fd_array_cnt")
    ok(actor, "map_create")
    ok(actor, "prog_load")
    wrong: list[dict[str, Any]] = [
        {"fd_array": [3, 77], "fd_array_count": 2},
        {"fd_array": [3, 77], "indexes": [1]},
        {"fd_array": [3, 4], "fd_array_count": 2},
        {"maps": [77]},
        {"maps": [4]},
    ]
    assert errnos(actor, "prog_load", *wrong) == ["EBADF", "EBADF", "EINVAL", "EBADF", "EINVAL"]
    ok(actor, "prog_load", fd_array=[3, 77], fd_array_count=1)
    ok(actor, "prog_load", fd_array=[3, 3], fd_array_count=2)


def test_binding_a_map(world: World) -> None:
    actor = world.actor("a")
    map, prog = made(actor, "map_create"), made(actor, "prog_load")
    ok(actor, "bind_map", prog=4, map=3)
    settles(world, maps={map: (2, 1)}, progs={prog: 1})
    ok(actor, "bind_map", prog=4, map=3)
    settles(world, maps={map: (2, 1)}, progs={prog: 1})
    wrong = [(3, 3), (4, 4), (77, 3), (4, 77)]
    arguments = [{"prog": prog_fd, "map": map_fd} for prog_fd, map_fd in wrong]
    assert errnos(actor, "bind_map", *arguments) == ["EINVAL", "EINVAL", "EBADF", "EBADF"]
    ok(actor, "close", fd=3)
    settles(world, maps={map: (1, 0)})
    ok(actor, "close", fd=4)
    settles(world, maps={}, progs={})


# -- links -------------------------------------------------------------------------------------


def test_a_cgroup_link_by_descriptor_id_and_pin(world: World) -> None:
    actor = world.actor("a")
    cgroup, path = world.cgroup_make("g"), world.pin_path("link")
    here = os.stat(cgroup).st_ino
    prog = made(actor, "prog_load")
    link = made(actor, "link_create", target=cgroup, fd=3, attach_type=EGRESS)
    settles(world, links={link: (1, prog, here)}, progs={prog: 2})
    assert ok(actor, "get_fd_by_id", kind="link", id=link).value == 5
    ok(actor, "pin", fd=4, path=path)
    settles(world, links={link: (3, prog, here)}, progs={prog: 2})
    holds_at(world, actor, 4, ("link", 1))
    for fd in (3, 4, 5):
        ok(actor, "close", fd=fd)
    settles(world, links={link: (1, prog, here)}, progs={prog: 1})
    assert world.attached("g", EGRESS) == (prog,)
    assert ok(actor, "obj_get", path=path).id == link
    settles(world, links={link: (2, prog, here)})
    ok(actor, "unlink", path=path)
    ok(actor, "close", fd=3)
    settles(world, links={}, progs={})
    assert world.attached("g", EGRESS) == ()
    assert errnos(actor, "get_fd_by_id", {"kind": "link", "id": link}) == ["ENOENT"]


def test_a_detached_cgroup_link_keeps_its_program(world: World) -> None:
    actor = world.actor("a")
    prog = made(actor, "prog_load")
    cgroup = world.cgroup_make("g")
    link = made(actor, "link_create", target=cgroup, fd=3, attach_type=EGRESS)
    ok(actor, "link_detach", link=4)
    settles(world, links={link: (1, prog, 0)}, progs={prog: 2})
    assert world.attached("g", EGRESS) == ()
    ok(actor, "link_detach", link=4)
    assert errnos(actor, "link_update", {"link": 4, "fd": 3}) == ["ENOLINK"]
    assert ok(actor, "get_fd_by_id", kind="link", id=link).value == 5


def test_a_link_outlives_its_cgroup(world: World) -> None:
    """It keeps its program, can be pinned and detached, but no longer updated."""
    actor = world.actor("a")
    prog = made(actor, "prog_load")
    cgroup = world.cgroup_make("g")
    link = made(actor, "link_create", target=cgroup, fd=3, attach_type=EGRESS)
    world.cgroup_remove("g")

    def update() -> str | None:
        return actor.call("link_update", link=4, fd=3).errno

    assert wait_until(update, lambda errno: errno is not None)[0] == "ENOLINK"
    settles(world, links={link: (1, prog, 0)}, progs={prog: 2})
    ok(actor, "pin", fd=4, path=world.pin_path("link"))
    ok(actor, "link_detach", link=4)
    settles(world, links={link: (2, prog, 0)}, progs={prog: 2})


def test_what_is_no_cgroup_link(world: World) -> None:
    actor = world.actor("a")
    cgroup = world.cgroup_make("g")
    ok(actor, "prog_load")
    ok(actor, "map_create")
    fds = [{"target": cgroup, "fd": fd, "attach_type": EGRESS} for fd in (77, 4)]
    assert errnos(actor, "link_create", *fds) == ["EBADF", "EINVAL"]
    wrong_type = {"target": cgroup, "fd": 3, "attach_type": "cgroup_inet_sock_create"}
    assert errnos(actor, "link_create", wrong_type) == ["EINVAL"]
    links = [{"link": fd} for fd in (77, 3)]
    assert errnos(actor, "link_detach", *links) == ["EBADF", "EINVAL"]


def test_updating_a_cgroup_link_moves_the_reference(world: World) -> None:
    actor = world.actor("a")
    old, new = made(actor, "prog_load"), made(actor, "prog_load")
    cgroup = world.cgroup_make("g")
    here = os.stat(cgroup).st_ino
    link = made(actor, "link_create", target=cgroup, fd=3, attach_type=EGRESS)
    wrong = [{"link": 5, "fd": 4, "old_fd": 4}, {"link": 5, "fd": 77}, {"link": 3, "fd": 4}]
    assert errnos(actor, "link_update", *wrong) == ["EPERM", "EBADF", "EINVAL"]
    settles(world, links={link: (1, old, here)}, progs={old: 2, new: 1})
    ok(actor, "link_update", link=5, fd=4, old_fd=3)
    settles(world, links={link: (1, new, here)}, progs={old: 1, new: 2})


def test_a_raw_tracepoint_link(world: World) -> None:
    """It can't be detached or updated: only its end ends it."""
    actor = world.actor("a")
    prog = made(actor, "prog_load", type="raw_tracepoint")
    link = made(actor, "raw_tracepoint_open", fd=3)
    settles(world, links={link: (1, prog, 0)}, progs={prog: 2})
    assert errnos(actor, "link_detach", {"link": 4}) == ["ENOTSUP"]
    assert errnos(actor, "link_update", {"link": 4, "fd": 3}) == ["EINVAL"]
    ok(actor, "pin", fd=4, path=world.pin_path("link"))
    for fd in (3, 4):
        ok(actor, "close", fd=fd)
    settles(world, links={link: (1, prog, 0)}, progs={prog: 1})
    assert ok(actor, "get_fd_by_id", kind="link", id=link).value == 3
    ok(actor, "close", fd=3)
    ok(actor, "unlink", path=world.pin_path("link"))
    settles(world, links={}, progs={})


def test_what_is_no_raw_tracepoint(world: World) -> None:
    actor = world.actor("a")
    ok(actor, "prog_load", type="raw_tracepoint")
    ok(actor, "prog_load")
    wrong: list[dict[str, Any]] = [{"fd": 3, "target": "no such"}, {"fd": 4}, {"fd": 77}]
    assert errnos(actor, "raw_tracepoint_open", *wrong) == ["ENOENT", "EINVAL", "EBADF"]
