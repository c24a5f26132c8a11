"""What is attached where, as the kernel says: for the hooks that a scenario has names for.

A card says how to ask about its hook (`asks:`): the command, and fixed arguments. Who is asked
follows from what the hook belongs to: the world about its cgroups, a process in each network
namespace about the devices there, each process about its own namespace. What a perf event runs is
in the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bpflife.model.cards import AttachCard
from bpflife.model.world import network_of

from .actors import Actor
from .refs import Snapshot
from .world import network

if TYPE_CHECKING:
    from .side import KernelSide

Found = dict[str, list[str]]
Ask = Callable[[AttachCard], tuple[int, ...]]  # the ids of the programs at a card's hook, in order


def attached(side: KernelSide, snapshot: Snapshot) -> Found:
    """Programs in the order in which they run, by the name of the hook."""
    found = _events(side, snapshot) | _cgroups(side) | _tracepoints(side, snapshot)
    found |= _places(side, snapshot)
    for actor in networks(side).values() if side.devices else ():
        found |= _devices(side, actor)
    for actor in side.running() if "netns" in side.system.targets else ():
        if network(actor.pid) != side.world.network:
            found |= _asked(side, "netns", network_of(actor.name), _of_namespace(side, actor))
    for actor in networks(side).values() if side.disciplines else ():
        found |= _disciplines(side, actor)
    return found


def _asked(side: KernelSide, kind: str, label: str, ask: Ask) -> Found:
    """What is attached to each hook of one target."""
    return {
        f"{label} {hook}".strip(): [side.name_of("prog", i) for i in ask(card)]
        for hook, card in side.system.hooks_of(kind).items()
    }


def _by_command(actor: Actor, **arguments: str) -> Ask:
    def ask(card: AttachCard) -> tuple[int, ...]:
        fixed = dict(card.asks)
        reply = actor.call(fixed.pop("command"), **fixed, **arguments)
        return tuple(row[0] for row in reply.attached)

    return ask


def _of_namespace(side: KernelSide, actor: Actor) -> Ask:
    """A process says what is attached to the namespace that it is in, but for the packet filter's:
    there each link knows where it is."""
    others = _by_command(actor)

    def ask(card: AttachCard) -> tuple[int, ...]:
        if card.asks["command"] != "netfilter":
            return others(card)
        there = side.world.netfilter(network(actor.pid), str(card.asks["hook"]))
        return tuple(prog for prog, _ in there)

    return ask


def _tracepoints(side: KernelSide, snapshot: Snapshot) -> Found:
    """Their links tell: each knows where it is, and they run in the order of their birth."""
    raw = [i for i in snapshot.links if snapshot.link_types[i] == "raw_tracepoint"]
    places = {i: side.world.tracepoint(i) for i in raw} if side.tracepoints else {}
    found: Found = {}
    for known, name in side.tracepoints.items():
        ids = [snapshot.links[i].prog_id for i, at in sorted(places.items()) if at == known]
        found |= _asked(side, "tracepoint", name, _of_type(side, ids))
    return found


def _places(side: KernelSide, snapshot: Snapshot) -> Found:
    """Places in user space, by their links."""
    found: Found = {}
    for name, links in side.places.items():
        ids = tuple(snapshot.links[i].prog_id for i in links if i in snapshot.links)
        found |= _asked(side, "place", name, _of_type(side, ids))
    return found


def _of_type(side: KernelSide, ids: Sequence[int]) -> Ask:
    """Of the programs at a place those of the type that a card is about."""
    return lambda card: tuple(i for i in ids if side.types.get(i) == card.program)


def _known(prog: int) -> Ask:
    """Where it is known already; 0 is none."""
    return lambda card: (prog,) if prog else ()


def _cgroups(side: KernelSide) -> Found:
    def ask(name: str) -> Ask:
        return lambda card: side.world.attached(name, str(card.asks["attach_type"]))

    found: Found = {}
    for name, kind in side.hooks.items():
        found |= _asked(side, kind, name, ask(name))
    return found


def _events(side: KernelSide, snapshot: Snapshot) -> Found:
    """Of the perf events behind descriptors, those that a card is about."""
    found: Found = {}
    for i, prog in snapshot.events.items():
        if (kind := side.probes.get(i, "")) in side.system.targets:
            found |= _asked(side, kind, side.name_of("perf_event", i), _known(prog))
    return found


def networks(side: KernelSide) -> dict[int, Actor]:
    """A process in each network namespace."""
    return {network(actor.pid): actor for actor in side.running()}


def _devices(side: KernelSide, actor: Actor) -> Found:
    """What is attached to the devices that a process sees. The program of XDP is said of all of
    them at once."""
    xdp = dict(actor.call("devices").named)
    found: Found = {}
    for name in xdp.keys() & side.devices.keys():
        by_command = _by_command(actor, target=name)

        def ask(card: AttachCard, name: str = name, other: Ask = by_command) -> tuple[int, ...]:
            if card.asks["command"] != "devices":
                return other(card)
            return _known(xdp[name])(card)

        found |= _asked(side, "netdev", side.devices[name], ask)
    return found


def _disciplines(side: KernelSide, actor: Actor) -> Found:
    """What is attached to the disciplines of the devices that a process sees; a device has the one
    that was made last."""
    latest = {device: name for name, device in side.disciplines.items()}
    found: Found = {}
    for device in actor.call("clsacts").named:
        found |= _asked(side, "clsact", latest[device], _by_command(actor, target=device))
    return found
