"""What the tests of the actors' commands share: a world, and waiting for the counts they expect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest

from bpflife.proofs.kernel.actors import Actor, Reply
from bpflife.proofs.kernel.available import lacking, why_not
from bpflife.proofs.kernel.poll import wait_until
from bpflife.proofs.kernel.world import World

Arguments: TypeAlias = dict[str, Any]  # of a command


@pytest.fixture(scope="module", name="shared")
def shared_world() -> Iterator[World]:
    """One world for the tests of a file; skips them where it is refused."""
    if refused := why_not():
        pytest.skip(refused)
    with World() as world:
        yield world


@pytest.fixture(name="world")
def fresh_world(shared: World) -> World:
    """The world, empty again."""
    shared.reset()
    return shared


def needs(*commands: str) -> None:
    """Skip a test, or the rest of it, where the machine lacks something for a command."""
    for lack in filter(None, map(lacking, commands)):
        pytest.skip(lack)


def ok(actor: Actor, command: str, **arguments: Any) -> Reply:
    """Run a command that must succeed."""
    reply = actor.call(command, **arguments)
    assert reply.errno is None, f"{command} {arguments}: {reply.errno}\n{reply.log}"
    return reply


def made(actor: Actor, command: str, **arguments: Any) -> int:
    """Run a command that must succeed: the id of its object."""
    id = ok(actor, command, **arguments).id
    assert id is not None
    return id


def loaded(actor: Actor, type: str, **arguments: Any) -> tuple[int, int]:
    """Load a program: its descriptor and id."""
    reply = ok(actor, "prog_load", type=type, **arguments)
    assert reply.value is not None and reply.id is not None
    return reply.value, reply.id


def linked(actor: Actor, command: str, **arguments: Any) -> tuple[int, int]:
    """Make a link: its descriptor and id."""
    reply = ok(actor, command, **arguments)
    assert reply.value is not None and reply.id is not None
    return reply.value, reply.id


def errnos(actor: Actor, command: str, *alternatives: Arguments) -> list[str | None]:
    """The errnos of a command with one set of arguments after the other."""
    return [actor.call(command, **arguments).errno for arguments in alternatives]


def answers(
    actor: Actor, command: str, usual: Arguments, *expected: tuple[Arguments, str | None]
) -> None:
    """Run a command with its usual and with further arguments: each has the errno beside it."""
    got = [(more, actor.call(command, **{**usual, **more}).errno) for more, _ in expected]
    assert got == [*expected]


def settles(world: World, **expected: Any) -> None:
    """Wait until the world's objects are exactly so: maps={id: (refcnt, usercnt)}, progs={id: n},
    links={id: (refcnt, program, cgroup)}, btfs={id: n}; of kinds that aren't named, any."""

    def read() -> dict[str, Any]:
        snapshot = world.snapshot(fds=True)
        return {kind: plain(getattr(snapshot, kind)) for kind in expected}

    got, _ = wait_until(read, expected.__eq__)
    assert got == expected


def plain(counts: Any) -> dict[int, Any]:
    """Counts without the names of their fields."""
    return {id: tuple(refs) if isinstance(refs, tuple) else refs for id, refs in counts.items()}


def holds(world: World, actor: Actor, expected: dict[int, tuple[str, int]]) -> None:
    """Wait until an actor's descriptors are exactly so: the kind of file and its references."""
    got, _ = wait_until(lambda: files(world, actor), expected.__eq__)
    assert got == expected


def holds_at(world: World, actor: Actor, fd: int, expected: tuple[str, int]) -> None:
    """Wait until one descriptor is so."""
    got, _ = wait_until(lambda: files(world, actor).get(fd), lambda found: found == expected)
    assert got == expected


def files(world: World, actor: Actor) -> dict[int, tuple[str, int]]:
    """An actor's descriptors: the kind of file and its references."""
    snapshot = world.snapshot(fds=True)
    found = {**snapshot.files.get(actor.pid, {}), **snapshot.others.get(actor.pid, {})}
    return {fd: (refs.kind, refs.refcnt) for fd, refs in sorted(found.items())}
