"""Own cgroups for experiments: made below one own directory, removed afterwards, also after a kill.

A world's directory is `bpflife-<pid>-<n>` at the top of the cgroup2 hierarchy, with the pid of the
process that runs the world. Its maker holds a lock (flock) on it. No other cgroup is touched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
from functools import partial

from bpflife.proofs.kernel import bpf
from bpflife.proofs.kernel.poll import wait_until

_OWN = re.compile(r"bpflife-(\d+)-\d+")


def top() -> str:
    """Where cgroup2 is mounted; OSError (ENOENT) if it isn't."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, point, kind, *_ = line.split()
            path = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
            if kind == "cgroup2" and os.path.exists(os.path.join(path, "cgroup.procs")):
                return path  # else another mount covers it
    raise bpf.error(errno.ENOENT, "no cgroup2 is mounted")


def of_process(pid: int) -> str:
    """The directory of the cgroup that a process is a member of."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as lines:
        path = next(line.rstrip("\n")[3:] for line in lines if line.startswith("0::"))
    return top() + path


def make_own(pid: int) -> tuple[str, int]:
    """Make a directory for a world of process `pid`: its path, and the descriptor of its lock."""
    base = top()
    for number in itertools.count():
        path = os.path.join(base, f"bpflife-{pid}-{number}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
            lock = _lock(path)
            if lock is not None:
                return path, lock
    raise AssertionError("not reached")


def remove_tree(path: str, deadline: float = 2.0) -> None:
    """Remove a cgroup and those below it. Fine if it is gone; OSError (EBUSY) if it stays in use.

    Attached programs are detached by the kernel some time later (cgroup.c:cgroup_bpf_offline).
    """
    for directory, _, _ in os.walk(path, topdown=False):
        refused, _ = wait_until(partial(_rmdir, directory), lambda left: left is None, deadline)
        if refused is not None:
            raise refused


def sweep() -> list[str]:
    """Remove the directories of killed runs: the process is gone and nobody holds the lock.

    Their paths. OSError if there is no cgroup2; a directory that can't be removed is left.
    """
    base, removed = top(), []
    for name in os.listdir(base):
        own = _OWN.fullmatch(name)
        if own is None or os.path.exists(f"/proc/{own[1]}"):
            continue
        path = os.path.join(base, name)
        with contextlib.suppress(OSError):
            lock = _lock(path)
            if lock is not None:
                try:
                    remove_tree(path)
                    removed.append(path)
                finally:
                    os.close(lock)
    return removed


def _lock(path: str) -> int | None:
    """Descriptor that locks a directory; None if it is locked or gone."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(lock).st_ino:  # not removed before it was locked
            return lock
    os.close(lock)
    return None


def _rmdir(path: str) -> OSError | None:
    """Try to remove one cgroup: why it stays, if it is in use; other errors are raised."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return error
    return None
