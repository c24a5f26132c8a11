"""The process that keeps a world: it owns the mounts, network and cgroups, and forks the actors.

Run as `python -m bpflife.proofs.kernel.keeper DESCRIPTOR PID`: a fresh process with one thread, so
that it may change its namespaces and fork at will. It obeys the process PID over the socket
DESCRIPTOR. When that process closes the socket or ends, even by SIGKILL, the keeper kills the
actors, removes the cgroups and ends; the pins go with the mount namespace,
the devices with the network namespace. When the keeper is
killed, the actors are killed by the kernel.

One packet is one JSON object. The keeper says {"pins": path, "mounts": path, "cgroups":
path} first, or {"refused": what, "errno": name} and ends. Requests:
  {"do": "actor"}                     -> {"pid": pid}, and its socket (SCM_RIGHTS)
  {"do": "adopt", "pid": p}           -> {}; an actor forked p, which is the keeper's child
  {"do": "reap", "pid": p, "kill": b} -> {"status": wait status}
  {"do": "reset"}                     -> {}; no actor, pin, device or cgroup is left
  {"do": "stop"}                      -> {}; the same, and the keeper ends
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from bpflife.proofs.kernel import bpf, cgroups, commands, libc
from bpflife.proofs.kernel.results import CONTROL

_MOUNT_POINTS = ("/sys/fs/bpf", "/mnt", "/tmp")  # any directory does: only the world sees it
_PINS = ".pins"  # the world's first bpffs; no scenario can name a mount point so


class Keeper:
    """The state of a keeper: its socket, the world's mounts and cgroup, the living actors."""

    def __init__(self, control: socket.socket, owner: int) -> None:
        self._control = control
        self._owner = os.pidfd_open(owner)
        self._actors: set[int] = set()
        self._cgroups = ""
        self._mounts = next(path for path in _MOUNT_POINTS if os.path.isdir(path))
        self._pins = os.path.join(self._mounts, _PINS)
        self._lock = -1

    def setup(self, owner: int) -> None:
        """Make the mounts and the cgroup and say so, or say what was refused and end."""
        what = "a descriptor above 1000"
        try:
            _room_for_control()
            what = "a private mount namespace"
            libc.private_mounts()
            what = "a private network namespace"
            libc.private_network()
            what = "mounting a bpffs"
            self._mount()
            what = "an own cgroup"
            self._cgroups, self._lock = cgroups.make_own(owner)
        except OSError as refused:
            self._say({"refused": what, "errno": bpf.errno_name(refused.errno or 0)})
            sys.exit(1)
        self._say({"pins": self._pins, "mounts": self._mounts, "cgroups": self._cgroups})

    def run(self) -> None:
        """Obey until the owner says stop or is gone; then clean up."""
        orders: dict[str, Callable[..., dict[str, Any]]] = {
            "adopt": self._adopt,
            "reap": self._reap,
            "reset": self._reset,
        }
        while (request := self._next()) is not None:
            order = request.pop("do")
            if order == "stop":
                break
            if order == "actor":
                self._fork()
            else:
                self._say(orders[order](**request))
        self._clear()
        cgroups.remove_tree(self._cgroups)
        self._say({})

    def _next(self) -> dict[str, Any] | None:
        """The next request; None if the owner is gone."""
        control = self._control.fileno()
        if control not in select.select([control, self._owner], [], [])[0]:
            return None
        with contextlib.suppress(ConnectionError):
            packet = self._control.recv(commands.MESSAGE)
            return json.loads(packet) if packet else None
        return None

    def _say(self, answer: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Answer. An owner that is gone is noticed by `_next`, which comes after."""
        with contextlib.suppress(ConnectionError):
            socket.send_fds(self._control, [json.dumps(answer).encode()], fds)

    def _fork(self) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            _be_actor(theirs, parent)
        self._actors.add(pid)
        theirs.close()
        with mine:
            self._say({"pid": pid}, [mine.fileno()])

    def _reap(self, pid: int, kill: bool) -> dict[str, Any]:
        """Wait for an actor's end, which SIGKILL brings about if `kill`."""
        self._actors.remove(pid)
        if kill:
            os.kill(pid, signal.SIGKILL)
        return {"status": os.waitpid(pid, 0)[1]}

    def _adopt(self, pid: int) -> dict[str, Any]:
        self._actors.add(pid)
        return {}

    def _reset(self) -> dict[str, Any]:
        self._clear()
        libc.private_network()  # devices, and all that is attached, end with the one of before
        if os.listdir(self._mounts) == [_PINS] and os.stat(self._pins).st_dev == self._device:
            _empty(self._pins)
        else:  # actors mounted or unmounted: the kernel takes a millisecond for a new beginning
            libc.umount(self._mounts, lazy=True)
            self._mount()
        return {}

    def _mount(self) -> None:
        """Mount a new, empty bpffs that only the world sees, and make room for more beside it."""
        libc.mount("tmpfs", self._mounts)
        os.mkdir(self._pins)
        libc.mount("bpf", self._pins)
        self._device = os.stat(self._pins).st_dev

    def _clear(self) -> None:
        """Kill the actors and remove the cgroups below the world's own."""
        for pid in tuple(self._actors):
            self._reap(pid, kill=True)
        for entry in tuple(os.scandir(self._cgroups)):
            if entry.is_dir(follow_symlinks=False):
                cgroups.remove_tree(entry.path)


def _empty(pins: str) -> None:
    """Remove the pins and directories of a bpffs."""
    for directory, _, files in os.walk(pins, topdown=False):
        for name in files:
            with contextlib.suppress(OSError):  # the kernel's own maps.debug, progs.debug stay
                os.unlink(os.path.join(directory, name))
        if directory != pins:
            os.rmdir(directory)


def _be_actor(control: socket.socket, parent: int) -> None:
    """Turn this just forked process into an actor: low descriptors free, killed with the keeper."""
    try:
        libc.die_with_parent()
        if os.getppid() == parent:
            high = fcntl.fcntl(control.detach(), fcntl.F_DUPFD_CLOEXEC, CONTROL)
            os.closerange(3, CONTROL)
            with contextlib.suppress(ConnectionError):
                commands.serve(socket.socket(fileno=high))
    finally:
        os._exit(0)


def _room_for_control() -> None:
    """Allow descriptors above the control socket's number; OSError if the limit is fixed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONTROL + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        enough = hard == resource.RLIM_INFINITY or hard >= wanted
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard if enough else wanted))
        except ValueError:
            raise bpf.error(errno.EPERM, "RLIMIT_NOFILE") from None


def main() -> None:
    """Keep a world for the process and socket that the arguments name."""
    control, owner = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    control.set_inheritable(False)
    try:
        keeper = Keeper(control, owner)
    except ProcessLookupError:  # the owner is gone already
        os._exit(0)
    if os.getppid() == owner:
        keeper.setup(owner)
        keeper.run()
    os._exit(0)  # nothing is left to finalize


if __name__ == "__main__":
    main()
