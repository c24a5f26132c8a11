"""A world: an own place on the real kernel for experiments, and actors that live in it.

The place is a private mount namespace with a fresh bpffs, a private network namespace, and an own
cgroup directory. It belongs to a keeper process (keeper.py); the process that runs the world stays
as it was, so tests and threads may use worlds. Everything is removed at the end, also after an
exception or a SIGKILL.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from bpflife.model.language import MAX_KEY
from bpflife.proofs.kernel import bpf, cgroups, links
from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.commands import MESSAGE
from bpflife.proofs.kernel.commands_netns import NETFILTER_HOOKS
from bpflife.proofs.kernel.refs import FileRefs, Refs, Snapshot
from bpflife.proofs.kernel.results import CONTROL

_PATIENCE = 30.0  # seconds until the keeper counts as hung
_SOURCE_ROOT = Path(__file__).parents[3]


class RefusedError(OSError):
    """The machine refuses a part of a world. `what` names the part, `errno` says why."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(number, f"{what} is refused: {bpf.errno_name(number)}")
        self.what = what


class World:
    """A world; use it as a context manager, or close it.

    `refs` lets several worlds share a reader of reference counts; without it the world has an own
    one. Raises RefusedError, or what `Refs` raises. Not for use by several threads at once.
    """

    pins: str  # directory of the world's bpffs; only its actors see it
    mounts: str  # directory for further instances of bpffs; only its actors see it
    cgroups: str  # the world's own cgroup directory; everybody sees it
    made: dict[str, set[int]]  # ids of the objects that its actors made, by kind

    def __init__(self, refs: Refs | None = None) -> None:
        with contextlib.suppress(OSError):
            sweep()
        self._open = contextlib.ExitStack()
        self.made = {"map": set(), "prog": set(), "link": set(), "btf": set()}
        self._actors: list[Actor] = []
        try:
            self._refs = refs or self._open.enter_context(Refs())
            self._keeper = _Keeper()
            self._open.callback(self._keeper.close)
            place = self._keeper.hello()
        except BaseException:
            self._open.close()
            raise
        self.pins, self.mounts, self.cgroups = place["pins"], place["mounts"], place["cgroups"]
        self._open.callback(cgroups.remove_tree, self.cgroups)  # if the keeper could not
        self._open.callback(self._stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all actors and remove all cgroups and pins. Closing twice is fine."""
        self._open.close()

    def reset(self) -> None:
        """Begin anew in the same world, faster than a new one: end actors, remove cgroups, pins.

        What the objects of before left in the kernel is no longer in `snapshot`.
        """
        self._forget_actors()
        self._keeper.ask({"do": "reset"})
        self._empty_maps()
        for ids in self.made.values():
            ids.clear()

    def actor(self, name: str) -> Actor:
        """A new process in the world, with no descriptors but 0, 1 and 2."""
        answer, control = self._keeper.ask_for_socket({"do": "actor"})
        return self._enlist(Actor(name, answer["pid"], control, self))

    def adopt(self, name: str, pid: int, control: socket.socket) -> Actor:
        """For actors only: make an actor of a process that one has forked."""
        self._keeper.ask({"do": "adopt", "pid": pid})
        return self._enlist(Actor(name, pid, control, self))

    def reap(self, pid: int, kill: bool) -> int:
        """For actors only: wait for a process's end, or kill it: its wait status."""
        return int(self._keeper.ask({"do": "reap", "pid": pid, "kill": kill})["status"])

    def pin_path(self, name: str) -> str:
        """The path of a pin, for commands of actors."""
        return os.path.join(self.pins, name)

    def mount_path(self, name: str) -> str:
        """The path where actors may mount a further bpffs."""
        return os.path.join(self.mounts, name)

    def cgroup_path(self, name: str) -> str:
        """The path of a cgroup of this world, "" for the own directory. ValueError for "..".

        A name may have parts: "parent/child".
        """
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r} leads out of the world")
        return os.path.join(self.cgroups, name) if name else self.cgroups

    def cgroup_make(self, name: str) -> str:
        """Make a cgroup: its path. OSError as from mkdir."""
        os.mkdir(self.cgroup_path(name))
        return self.cgroup_path(name)

    def cgroup_remove(self, name: str) -> None:
        """Remove a cgroup. OSError as from rmdir. The kernel detaches its programs later."""
        os.rmdir(self.cgroup_path(name))

    @property
    def network(self) -> int:
        """The number of the network namespace that its processes begin in."""
        return network(self._keeper.pid)

    def tracepoint(self, link_id: int) -> str:
        """The name of the tracepoint that a link is attached to; "" where it is another place."""
        fd = bpf.get_fd_by_id("link", link_id)
        try:
            place = links.where(fd)
        finally:
            os.close(fd)
        return place[0][0].removeprefix("tracepoint ") if place else ""

    def attached(self, cgroup: str, attach_type: str) -> tuple[int, ...]:
        """Ids of the programs attached to a cgroup, in running order; not the inherited ones."""
        directory = os.open(self.cgroup_path(cgroup), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return bpf.prog_query(directory, attach_type).prog_ids
        finally:
            os.close(directory)

    def netfilter(self, namespace: int, hook: str = "input") -> tuple[tuple[int, int], ...]:
        """Ids of the programs and their links at a hook of the packet filter of the network
        namespace with this inode, in running order."""
        found = []
        for id, link in self._refs.snapshot().links.items():
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                place = _netfilter_place(id) if link.target_id == namespace else None
                if place and place[1] == NETFILTER_HOOKS[hook]:
                    found.append((place[2], link.prog_id, id))
        return tuple((prog, id) for _, prog, id in sorted(found))

    def snapshot(self, fds: bool = False, everything: bool = False) -> Snapshot:
        """The kernel's counts now, for the objects that this world's actors made.

        With `fds` also the actors' descriptors by pid, but for 0, 1, 2 and those by which they
        are run; with `everything` the whole machine's objects and BPF descriptors.
        """
        if everything:
            return self._refs.snapshot(fds)
        running = [actor.pid for actor in self._actors if actor.running]
        counts = self._refs.snapshot(pids=running if fds else (), btf_ids=self.made["btf"])
        snapshot = counts.only(self.made, running)
        return replace(snapshot, others=_without_own(snapshot.others))

    def _enlist(self, actor: Actor) -> Actor:
        self._actors.append(actor)
        return actor

    def _empty_maps(self) -> None:
        """Empty the maps that are left: a program in a devmap that it uses is else never freed."""
        for id in self.made["map"]:
            with contextlib.suppress(OSError):
                fd = bpf.get_fd_by_id("map", id)
                for key in range(MAX_KEY + 1):
                    with contextlib.suppress(OSError):
                        bpf.map_delete(fd, key)
                os.close(fd)

    def _forget_actors(self) -> None:
        for actor in self._actors:
            actor.forget()
        self._actors.clear()

    def _stop(self) -> None:
        self._forget_actors()
        with contextlib.suppress(OSError):  # its process may have been killed
            self._keeper.ask({"do": "stop"})
        self._empty_maps()


def _netfilter_place(link_id: int) -> tuple[int, int, int] | None:
    fd = bpf.get_fd_by_id("link", link_id)
    try:
        return bpf.netfilter_place(fd)
    finally:
        os.close(fd)


def network(pid: int) -> int:
    """The number of the network namespace that a process is in."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def sweep() -> list[str]:
    """Remove what killed runs left behind: the paths of their cgroups. OSError without cgroup2.

    Every world does it first. Pins, mounts, devices and processes don't outlive killed runs.
    """
    return cgroups.sweep()


class _Keeper:
    """The owner's side of a keeper process."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_PATIENCE)
        try:
            with theirs:
                self._process = _spawn(theirs)
        except BaseException:
            self._socket.close()
            raise

    @property
    def pid(self) -> int:
        """Of the keeper."""
        return self._process.pid

    def hello(self) -> dict[str, Any]:
        """Where the pins and cgroups are; RefusedError if there is no world."""
        answer = self._receive()[0]
        if "refused" in answer:
            raise RefusedError(answer["refused"], _errno_number(answer["errno"]))
        return answer

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer; ConnectionError if the keeper is gone."""
        self._socket.send(json.dumps(request).encode())
        return self._receive()[0]

    def ask_for_socket(self, request: dict[str, Any]) -> tuple[dict[str, Any], socket.socket]:
        """`ask` for an answer that brings a socket."""
        self._socket.send(json.dumps(request).encode())
        answer, fds = self._receive()
        return answer, socket.socket(fileno=fds[0])

    def close(self) -> None:
        """Let go of the keeper, which ends when the socket closes, and wait for its end."""
        self._socket.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        packet, fds, _, _ = socket.recv_fds(self._socket, MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        if not packet:
            raise ConnectionResetError(errno.ECONNRESET, "the world's keeper has ended")
        return json.loads(packet), fds


def _spawn(control: socket.socket) -> subprocess.Popen[bytes]:
    """Start a keeper in an own session, so that Ctrl-C reaches only its owner."""
    module = "bpflife.proofs.kernel.keeper"
    return subprocess.Popen(
        [sys.executable, "-S", "-P", "-m", module, str(control.fileno()), str(os.getpid())],
        pass_fds=[control.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(_SOURCE_ROOT)},
        start_new_session=True,
    )


def _without_own(others: Mapping[int, Mapping[int, FileRefs]]) -> dict[int, dict[int, FileRefs]]:
    """Without the files that an actor has from its start: the standard ones, its control."""
    return {
        pid: {fd: refs for fd, refs in files.items() if 2 < fd < CONTROL}
        for pid, files in others.items()
        if max(files) > 2
    }


def _errno_number(name: str) -> int:
    return bpf.ENOTSUPP if name == "ENOTSUPP" else int(getattr(errno, name, 0))
