"""What the commands of an actor share: their outcome, and the place of what isn't theirs."""

from __future__ import annotations

from typing import Final, NamedTuple

from bpflife.proofs.kernel import bpf

CONTROL: Final = 1000  # descriptor of the control socket; the commands' own ones lie above


class Result(NamedTuple):
    """A command's outcome.

    `value` is the descriptor that it made (of `mmap` a mapping's handle, of `fork` a pid), `more`
    further ones, `id` the object behind `value`. `sends` is a descriptor for the owner, which is
    closed here. `named` are numbers with names, where it answers with several. `attached` is what
    is attached somewhere, in running order: the ids of a program and of its link (0: none), and
    what the place is known by, if it is.
    """

    value: int | None = None
    id: int | None = None
    more: tuple[int, ...] = ()
    sends: int | None = None
    named: tuple[tuple[str, int], ...] = ()
    attached: tuple[tuple[int, ...], ...] = ()


class Unasked(BaseException):
    """In a just forked process: the request was the parent's, and so is the answer."""


def opened(fd: int) -> Result:
    """A new descriptor of a BPF object, and the object's id."""
    return Result(fd, bpf.object_id(fd))


def received(fd: int) -> Result:
    """A new descriptor of any file, and the id of the BPF object if there is one behind it."""
    try:
        return opened(fd)
    except OSError:  # EINVAL: another file
        return Result(fd)


def own(fd: int) -> int:
    """A descriptor that an actor may close or replace; ValueError for those it is run by."""
    if fd >= CONTROL:
        raise ValueError(f"descriptors from {CONTROL} on are the actor's own")
    return fd
