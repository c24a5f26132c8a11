"""What the commands on bpffs do on the running kernel: names, instances, mount namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, holds_at, made, ok, settles, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures


@pytest.fixture(name="actor")
def _actor(world: World) -> Actor:
    return world.actor("a")


def test_a_second_name_is_no_second_pin(world: World, actor: Actor) -> None:
    """References are the inode's: the last name's end gives them back."""
    first, second = world.pin_path("first"), world.pin_path("second")
    map = made(actor, "map_create")
    ok(actor, "pin", fd=3, path=first)
    settles(world, maps={map: (2, 2)})
    ok(actor, "hard_link", old=first, new=second)
    settles(world, maps={map: (2, 2)})
    ok(actor, "unlink", path=first)
    settles(world, maps={map: (2, 2)})
    assert ok(actor, "obj_get", path=second).id == map
    ok(actor, "unlink", path=second)
    settles(world, maps={map: (2, 2)})  # descriptors 3 and 4
    assert errnos(actor, "unlink", {"path": second}) == ["ENOENT"]


def test_what_cannot_have_a_second_name(world: World, actor: Actor) -> None:
    old = world.pin_path("old")
    ok(actor, "map_create")
    ok(actor, "pin", fd=3, path=old)
    ok(actor, "mkdir", path=world.pin_path("directory"))
    news = [old, world.pin_path("a.b"), "/tmp/bpflife", world.pin_path("none/x")]
    got = errnos(actor, "hard_link", *({"old": old, "new": new} for new in news))
    assert got == ["EEXIST", "EPERM", "EXDEV", "ENOENT"]
    olds = [world.pin_path("none"), world.pin_path("directory")]
    got = errnos(actor, "hard_link", *({"old": old, "new": world.pin_path("x")} for old in olds))
    assert got == ["ENOENT", "EPERM"]


def test_renaming_over_a_pin_unpins_it(world: World, actor: Actor) -> None:
    a, b = world.pin_path("a"), world.pin_path("b")
    first, second = made(actor, "map_create"), made(actor, "map_create")
    ok(actor, "pin", fd=3, path=a)
    ok(actor, "pin", fd=4, path=b)
    ok(actor, "rename", old=a, new=b)
    settles(world, maps={first: (2, 2), second: (1, 1)})
    assert ok(actor, "obj_get", path=b).id == first
    again = [{"old": a, "new": b}, {"old": b, "new": b}]
    assert errnos(actor, "rename", *again) == ["ENOENT", None]


def test_renaming_over_one_of_two_names(world: World, actor: Actor) -> None:
    """The other name still pins; the object that takes the first may be of another kind."""
    a, b, c = (world.pin_path(name) for name in "abc")
    map, prog = made(actor, "map_create"), made(actor, "prog_load")
    ok(actor, "pin", fd=3, path=a)
    ok(actor, "hard_link", old=a, new=b)
    ok(actor, "pin", fd=4, path=c)
    ok(actor, "rename", old=c, new=a)
    settles(world, maps={map: (2, 2)}, progs={prog: 2})
    assert ok(actor, "obj_get", path=a).id == prog
    assert ok(actor, "obj_get", path=b).id == map


def test_renaming_onto_the_same_pin_does_nothing(world: World, actor: Actor) -> None:
    """rename(2) with two names of one file: both stay."""
    a, b = world.pin_path("a"), world.pin_path("b")
    map = made(actor, "map_create")
    ok(actor, "pin", fd=3, path=a)
    ok(actor, "hard_link", old=a, new=b)
    ok(actor, "rename", old=a, new=b)
    assert ok(actor, "obj_get", path=a).id == map


def test_wrong_renames(world: World, actor: Actor) -> None:
    pin, directory, full = (world.pin_path(name) for name in ("pin", "directory", "full"))
    ok(actor, "map_create")
    for path in (directory, full):
        ok(actor, "mkdir", path=path)
    for path in (pin, f"{full}/pin"):
        ok(actor, "pin", fd=3, path=path)
    wrong = [
        (pin, world.pin_path("a.b")),
        (pin, "/tmp/bpflife"),
        (pin, directory),
        (directory, pin),
        (directory, full),
    ]
    got = errnos(actor, "rename", *({"old": old, "new": new} for old, new in wrong))
    assert got == ["EPERM", "EXDEV", "EISDIR", "ENOTDIR", "ENOTEMPTY"]
    ok(actor, "rename", old=full, new=directory)
    ok(actor, "obj_get", path=f"{directory}/pin")


def test_directories(world: World, actor: Actor) -> None:
    path = world.pin_path("d")
    ok(actor, "map_create")
    ok(actor, "mkdir", path=path)
    wrong = [path, world.pin_path("a.b"), world.pin_path("none/x")]
    got = errnos(actor, "mkdir", *({"path": path} for path in wrong))
    assert got == ["EEXIST", "EPERM", "ENOENT"]
    ok(actor, "pin", fd=3, path=f"{path}/pin")
    got = errnos(actor, "rmdir", {"path": path}, {"path": f"{path}/pin"})
    assert got == ["ENOTEMPTY", "ENOTDIR"]
    assert errnos(actor, "unlink", {"path": path}) == ["EISDIR"]
    ok(actor, "unlink", path=f"{path}/pin")
    ok(actor, "rmdir", path=path)
    assert errnos(actor, "rmdir", {"path": path}) == ["ENOENT"]


def test_wrong_pins(world: World, actor: Actor) -> None:
    """A closed descriptor is EINVAL here, not EBADF (inode.c:bpf_fd_probe_obj)."""
    pin = world.pin_path("pin")
    ok(actor, "map_create")
    ok(actor, "pin", fd=3, path=pin)
    ok(actor, "socketpair")
    paths = [pin, world.pin_path("a.b"), world.pin_path("none/x"), "/tmp/bpflife"]
    got = errnos(actor, "pin", *({"fd": 3, "path": path} for path in paths))
    assert got == ["EEXIST", "EPERM", "ENOENT", "EPERM"]
    got = errnos(actor, "pin", *({"fd": fd, "path": world.pin_path("x")} for fd in (77, 4)))
    assert got == ["EINVAL", "EINVAL"]
    paths = [world.pin_path("none"), world.pins, "/proc/version"]
    got = errnos(actor, "obj_get", *({"path": path} for path in paths))
    assert got == ["ENOENT", "EACCES", "EACCES"]


def test_instances_are_separate(world: World, actor: Actor) -> None:
    """Unmounting one gives back the references of its pins."""
    point = world.mount_path("second")
    ok(actor, "mount", path=point)
    map = made(actor, "map_create")
    ok(actor, "pin", fd=3, path=f"{point}/pin")
    settles(world, maps={map: (2, 2)})
    for command in ("hard_link", "rename"):
        wrong = {"old": f"{point}/pin", "new": world.pin_path("pin")}
        assert errnos(actor, command, wrong) == ["EXDEV"]
    ok(actor, "umount", path=point)
    settles(world, maps={map: (1, 1)})
    assert errnos(actor, "umount", {"path": point}) == ["EINVAL"]
    ok(actor, "mount", path=point)
    assert errnos(actor, "obj_get", {"path": f"{point}/pin"}) == ["ENOENT"]


def test_an_instance_over_another(world: World, actor: Actor) -> None:
    point = world.mount_path("second")
    ok(actor, "mount", path=point)
    map = made(actor, "map_create")
    ok(actor, "pin", fd=3, path=f"{point}/pin")
    ok(actor, "mount", path=point)
    assert errnos(actor, "obj_get", {"path": f"{point}/pin"}) == ["ENOENT"]
    settles(world, maps={map: (2, 2)})
    ok(actor, "umount", path=point)
    assert ok(actor, "obj_get", path=f"{point}/pin").id == map


def test_an_open_directory_keeps_an_instance(world: World, actor: Actor) -> None:
    """Busy; but unmounted lazily it lives on, and takes pins, until the last descriptor goes."""
    point = world.mount_path("second")
    ok(actor, "mount", path=point)
    assert ok(actor, "open_dir", path=point).value == 3
    map = made(actor, "map_create")
    ok(actor, "pin", fd=4, path=f"{point}/pin")
    assert errnos(actor, "umount", {"path": point}) == ["EBUSY"]
    ok(actor, "umount", path=point, lazy=True)
    assert errnos(actor, "obj_get", {"path": f"{point}/pin"}) == ["ENOENT"]
    assert ok(actor, "obj_get", path="pin", at=3).id == map
    ok(actor, "pin", fd=4, path="more", at=3)
    settles(world, maps={map: (4, 4)})
    ok(actor, "unlink", path="more", at=3)
    ok(actor, "dup", fd=3)
    holds_at(world, actor, 3, ("other", 2))
    ok(actor, "close", fd=3)
    settles(world, maps={map: (3, 3)})
    ok(actor, "exec")  # the map's descriptors go, the directory's stays
    settles(world, maps={map: (1, 1)})
    ok(actor, "close", fd=6)
    settles(world, maps={})


def test_an_open_object_does_not_keep_an_instance(world: World, actor: Actor) -> None:
    """The file of a descriptor is in no bpffs: the pin is only where it came from."""
    point = world.mount_path("second")
    ok(actor, "mount", path=point)
    map = made(actor, "map_create")
    ok(actor, "pin", fd=3, path=f"{point}/pin")
    ok(actor, "obj_get", path=f"{point}/pin")
    ok(actor, "umount", path=point)
    settles(world, maps={map: (2, 2)})


def test_wrong_directories(world: World, actor: Actor) -> None:
    ok(actor, "map_create")
    paths = [world.mount_path("none"), "/proc/version"]
    assert errnos(actor, "open_dir", *({"path": p} for p in paths)) == ["ENOENT", "ENOTDIR"]
    places = [{"fd": 3, "path": "pin", "at": at} for at in (77, 3)]
    assert errnos(actor, "pin", *places) == ["EBADF", "ENOTDIR"]
    assert errnos(actor, "mount", {"path": world.mount_path("a/b")}) == ["ENOENT"]


def test_a_mount_namespace_keeps_its_copies(world: World, actor: Actor) -> None:
    """An instance ends with its last mount; what its owner mounts, others don't see."""
    shared, own = world.mount_path("shared"), world.mount_path("own")
    ok(actor, "mount", path=shared)
    map = made(actor, "map_create")
    ok(actor, "pin", fd=3, path=f"{shared}/pin")
    ok(actor, "close", fd=3)
    other = world.actor("b")
    ok(other, "unshare_mounts")
    ok(actor, "umount", path=shared)
    assert errnos(actor, "obj_get", {"path": f"{shared}/pin"}) == ["ENOENT"]
    settles(world, maps={map: (1, 1)})
    ok(other, "mount", path=own)
    ok(other, "get_fd_by_id", kind="map", id=map)
    ok(other, "pin", fd=3, path=f"{own}/pin")
    assert errnos(actor, "obj_get", {"path": f"{own}/pin"}) == ["ENOENT"]
    child = other.fork("c")
    other.kill()
    ok(child, "exec")
    settles(world, maps={map: (2, 2)})
    child.kill()
    settles(world, maps={})


def test_a_reset_world_has_its_first_bpffs_again(world: World, actor: Actor) -> None:
    """Whatever was mounted, unmounted or pinned."""
    pin = world.pin_path("pin")
    spoils: list[list[tuple[str, dict[str, Any]]]] = [
        [("pin", {"fd": 3, "path": pin})],
        [("mount", {"path": world.mount_path("second")})],
        [("umount", {"path": world.pins})],
        [("mount", {"path": world.pins}), ("pin", {"fd": 3, "path": pin})],
    ]
    for spoil in spoils:
        actor = world.actor("b")
        ok(actor, "map_create")
        for command, arguments in spoil:
            ok(actor, command, **arguments)
        world.reset()
        actor = world.actor("c")
        map = made(actor, "map_create")
        ok(actor, "pin", fd=3, path=pin)
        settles(world, maps={map: (2, 2)})
        ok(actor, "unlink", path=pin)
