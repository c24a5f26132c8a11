"""The other system calls of an actor, as raw as bpf(2): Python's own would change what they do.

`os` and `socket` set close-on-exec, `mmap` duplicates its descriptor, `fcntl` refuses numbers
below zero. Every function raises OSError with the kernel's errno; descriptors are plain ints.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from typing import Any, Final

from bpflife.proofs.kernel import bpf

CLONE_NEWNS: Final = 0x20000
_CLONE_PARENT = 0x8000
_MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x4000, 0x40000, 2
_PR_SET_PDEATHSIG = 1
_F_DUPFD_CLOEXEC, _F_SETFD, _FD_CLOEXEC = 1030, 2, 1
_AF_UNIX, _SOCK_DGRAM = 1, 2
_SOL_SOCKET, _SCM_RIGHTS, _MSG_DONTWAIT = 1, 1, 0x40
_MAP_SHARED = 1
_PROTECTION = {"read_only": 1, "write_only": 2, "read_write": 3}
_CLONE = {"x86_64": 56, "aarch64": 220}
QUIET_EVENT: Final = 1, 10  # type and config of a perf event that only BPF programs write to
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_PERF_SET_BPF = 0x40042408  # PERF_EVENT_IOC_SET_BPF (include/uapi/linux/perf_event.h)
_PIDFD_GETFD = 438  # everywhere
_RIGHTS = struct.Struct("=QIIi4x")  # struct cmsghdr, one descriptor, padding
_RIGHTS_LENGTH = 20  # bytes of it without the padding
_MESSAGE = struct.Struct("=QI4xQQQQi4x")  # struct msghdr
_PERF_ATTR = struct.Struct("=IIQ120x")  # struct perf_event_attr: type, size, config

_libc = ctypes.CDLL(None, use_errno=True)
_locked = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock during a call
for _name in ("sendmsg", "recvmsg", "syscall", "mmap"):
    getattr(_libc, _name).restype = ctypes.c_long
_locked.syscall.restype = ctypes.c_long


def checked(result: int, what: str) -> int:
    """The result of a call by ctypes; OSError if it failed."""
    if result < 0:
        raise bpf.error(ctypes.get_errno(), what)
    return result


def above(fd: int, number: int) -> int:
    """Move a descriptor to the lowest free number from `number` on, closed on exec: that number."""
    try:
        return checked(_libc.fcntl(fd, _F_DUPFD_CLOEXEC, number), "fcntl")
    finally:
        os.close(fd)


def dup(fd: int) -> int:
    """Lowest free descriptor of the same file, kept on exec whatever `fd` is."""
    return checked(_libc.dup(fd), "dup")


def dup2(fd: int, to: int) -> int:
    """Make `to` a descriptor of the same file, kept on exec; what it was is closed."""
    return checked(_libc.dup2(fd, to), "dup2")


def set_cloexec(fd: int, on: bool) -> None:
    """Say whether a descriptor is closed on exec."""
    checked(_libc.fcntl(fd, _F_SETFD, _FD_CLOEXEC if on else 0), "fcntl")


def socketpair() -> tuple[int, int]:
    """Two connected datagram sockets, kept on exec."""
    pair = (ctypes.c_int * 2)()
    checked(_libc.socketpair(_AF_UNIX, _SOCK_DGRAM, 0, pair), "socketpair")
    return pair[0], pair[1]


def send_fd(sock: int, fd: int) -> None:
    """Send one byte and a descriptor's file. Doesn't wait."""
    rights = _RIGHTS.pack(_RIGHTS_LENGTH, _SOL_SOCKET, _SCM_RIGHTS, fd)
    message, _keep = _message(rights)
    checked(_libc.sendmsg(sock, message, _MSG_DONTWAIT), "sendmsg")


def recv_fd(sock: int) -> int:
    """Receive what `send_fd` sent: the new descriptor, kept on exec; -1 if none came.

    Doesn't wait.
    """
    message, (_, control) = _message(bytes(_RIGHTS.size))
    checked(_libc.recvmsg(sock, message, _MSG_DONTWAIT), "recvmsg")
    length, level, kind, fd = _RIGHTS.unpack(control.raw)
    return fd if (length, level, kind) == (_RIGHTS_LENGTH, _SOL_SOCKET, _SCM_RIGHTS) else -1


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A descriptor here of the file that another process has as `fd`, closed on exec."""
    return _syscall("pidfd_getfd", _PIDFD_GETFD, pidfd, fd, 0)


def perf_event_open(kind: int, config: int) -> int:
    """Descriptor of a perf event of every process on CPU 0, kept on exec."""
    attr = ctypes.create_string_buffer(_PERF_ATTR.pack(kind, _PERF_ATTR.size, config))
    number = _PERF_EVENT_OPEN[os.uname().machine]
    return _syscall("perf_event_open", number, ctypes.addressof(attr), -1, 0, -1, 0)


def perf_set_bpf(event: int, prog: int) -> None:
    """Attach a program to a perf event."""
    number = ctypes.c_ulong(_PERF_SET_BPF)
    checked(_libc.ioctl(event, number, ctypes.c_long(prog)), "PERF_EVENT_IOC_SET_BPF")


def mmap(fd: int, size: int, prot: str) -> int:
    """Map a file's beginning, shared, "read_only", "write_only" or "read_write": the address."""
    protection = _PROTECTION[prot]
    size_, zero = ctypes.c_size_t(size), ctypes.c_long(0)
    return checked(_libc.mmap(None, size_, protection, _MAP_SHARED, fd, zero), "mmap")


def munmap(address: int, size: int) -> None:
    """Unmap what `mmap` mapped."""
    checked(_libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size)), "munmap")


def mount(kind: str, point: str) -> None:
    """Mount a new instance of a file system."""
    arguments = (kind.encode(), os.fsencode(point), kind.encode())
    checked(_libc.mount(*arguments, ctypes.c_ulong(0), None), "mount")


def umount(point: str, lazy: bool) -> None:
    """Unmount; if `lazy`, also when it is in use, and all that is mounted below."""
    checked(_libc.umount2(os.fsencode(point), _MNT_DETACH if lazy else 0), "umount2")


def private_mounts() -> None:
    """Give this process an own mount namespace, whose mounts nobody else sees."""
    checked(_libc.unshare(CLONE_NEWNS), "unshare")
    flags = ctypes.c_ulong(_MS_REC | _MS_PRIVATE)
    checked(_libc.mount(b"none", b"/", None, flags, None), "mount")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def fork_sibling() -> int:
    """Fork into a process that is a child of this one's parent: its pid, 0 in itself.

    For a process with one thread. The lock of the interpreter stays held, in the child too.
    """
    number, flags = _CLONE[os.uname().machine], _CLONE_PARENT | signal.SIGCHLD
    zero = ctypes.c_long(0)
    return checked(
        _locked.syscall(ctypes.c_long(number), ctypes.c_long(flags), zero, zero, zero, zero),
        "clone",
    )


def _syscall(what: str, number: int, *arguments: int) -> int:
    longs = (ctypes.c_long(argument) for argument in (number, *arguments))
    return checked(_libc.syscall(*longs), what)


def _message(rights: bytes) -> tuple[ctypes.Array[Any], tuple[Any, Any]]:
    """A struct msghdr of one byte of data and `rights`; and what must live as long as it."""
    data = ctypes.create_string_buffer(1)
    control = ctypes.create_string_buffer(rights, len(rights))
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(data), 1), 16)
    header = _MESSAGE.pack(
        0, 0, ctypes.addressof(vector), 1, ctypes.addressof(control), len(rights), 0
    )
    return ctypes.create_string_buffer(header, len(header)), ((data, vector), control)
