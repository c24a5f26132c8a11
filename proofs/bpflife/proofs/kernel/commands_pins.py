"""Commands on bpffs: pins, directories, and instances that are mounted and unmounted.

Paths are whole ones, or with `at` relative to a directory's descriptor: only so is an instance
reached that is no longer mounted.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from bpflife.proofs.kernel import bpf, libc
from bpflife.proofs.kernel.results import Result, opened


def pin(fd: int, path: str, at: int | None = None) -> Result:
    """Pin an object at a path of a bpffs."""
    bpf.obj_pin(fd, path, at)
    return Result()


def obj_get(path: str, at: int | None = None, mode: str = "read_write") -> Result:
    """Open a pinned object: a descriptor of a new file in some mode, and the object's id."""
    return opened(bpf.obj_get(path, at, mode))


def unlink(path: str, at: int | None = None) -> Result:
    """Remove a name of a pin."""
    os.unlink(path, dir_fd=at)
    return Result()


def hard_link(old: str, new: str) -> Result:
    """Give a pin a second name in the same instance."""
    os.link(old, new)
    return Result()


def rename(old: str, new: str) -> Result:
    """Rename a pin or a directory; what had the new name is removed."""
    os.rename(old, new)
    return Result()


def mkdir(path: str) -> Result:
    """Make a directory."""
    os.mkdir(path)
    return Result()


def rmdir(path: str) -> Result:
    """Remove an empty directory."""
    os.rmdir(path)
    return Result()


def mount(path: str) -> Result:
    """Mount a new, empty bpffs at a directory, which is made if there is none.

    In the mount namespace of the actor: that of the world, unless it has an own one.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    libc.mount("bpf", path)
    return Result()


def umount(path: str, lazy: bool = False) -> Result:
    """Unmount a bpffs; if `lazy`, also one in use, which lives on until its users let go."""
    libc.umount(path, lazy)
    return Result()


def open_dir(path: str) -> Result:
    """Open a directory, which keeps the instance alive: a descriptor, which exec keeps."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(fd, True)
    return Result(fd)


COMMANDS: Final = (
    *(pin, obj_get, unlink, hard_link, rename, mkdir, rmdir),
    *(mount, umount, open_dir),
)
