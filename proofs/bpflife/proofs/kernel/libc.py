"""The other system calls of an actor, as raw as bpf(2): Python's own would change what they do.

`os` and `socket` set close-on-exec, `mmap` duplicates its descriptor, `fcntl` refuses numbers
below zero. Every function raises OSError with the kernel's errno; descriptors are plain ints.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import struct
from collections.abc import Sequence
from typing import Any, Final

from bpflife.proofs.kernel import bpf

CLONE_NEWNS: Final = 0x20000
CLONE_NEWNET: Final = 0x40000000
_CLONE_PARENT = 0x8000
_MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x4000, 0x40000, 2
_PR_SET_PDEATHSIG = 1
_F_DUPFD_CLOEXEC, _F_SETFD, _FD_CLOEXEC = 1030, 2, 1
_AF_UNIX, _AF_INET = 1, 2
_SOCKET_TYPES = {"stream": 1, "dgram": 2}
_SOL_SOCKET, _SCM_RIGHTS, _MSG_DONTWAIT, _MSG_NOSIGNAL = 1, 1, 0x40, 0x4000
_OPTIONS = {  # include/uapi/asm-generic/socket.h
    "SO_REUSEPORT": 15,
    "SO_DETACH_FILTER": 27,
    "SO_LOCK_FILTER": 44,
    "SO_ATTACH_BPF": 50,
    "SO_ATTACH_REUSEPORT_EBPF": 52,
    "SO_DETACH_REUSEPORT_BPF": 68,
}
_F_SETFL, _O_NONBLOCK = 4, 0x800
_MAP_SHARED = 1
_PROTECTION = {"read_only": 1, "write_only": 2, "read_write": 3}
_CLONE = {"x86_64": 56, "aarch64": 220}
_TUNSETIFF, _TAP = 0x400454CA, 0x2 | 0x1000  # IFF_TAP | IFF_NO_PI (include/uapi/linux/if_tun.h)
TAP_DRIVER: Final = "/dev/net/tun"
_PIDFD_GETFD, _FSOPEN, _FSCONFIG, _FSMOUNT = 438, 430, 431, 432  # everywhere
_FSCONFIG_CREATE, _CLOSE_ON_EXEC = 6, 1  # FSCONFIG_CMD_CREATE; FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_RIGHTS = struct.Struct("=QII")  # struct cmsghdr, without the descriptors
_BACKLOG = 4096  # SOMAXCONN
_MAX_RIGHTS = 253  # SCM_MAX_FD
_MESSAGE = struct.Struct("=QI4xQQQQi4x")  # struct msghdr

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


def socketpair(kind: str = "dgram") -> tuple[int, int]:
    """Two connected sockets, kept on exec."""
    pair = (ctypes.c_int * 2)()
    checked(_libc.socketpair(_AF_UNIX, _SOCKET_TYPES[kind], 0, pair), "socketpair")
    return pair[0], pair[1]


def socket(kind: str) -> int:
    """A Unix socket, kept on exec."""
    return checked(_libc.socket(_AF_UNIX, _SOCKET_TYPES[kind], 0), "socket")


def inet_socket(kind: str) -> int:
    """A socket of IPv4, kept on exec: UDP for "dgram", TCP for "stream"."""
    return checked(_libc.socket(_AF_INET, _SOCKET_TYPES[kind], 0), "socket")


def bind_port(sock: int, port: int) -> None:
    """Give a socket of IPv4 a port of all devices, 0 for any free one."""
    address = _port(port, b"\0\0\0\0")
    checked(_libc.bind(sock, address, len(address)), "bind")


def connect_port(sock: int, port: int) -> None:
    """Connect to a port of the own network namespace by its loopback device."""
    address = _port(port, b"\x7f\0\0\1")
    checked(_libc.connect(sock, address, len(address)), "connect")


def set_option(sock: int, name: str, value: int = 1) -> None:
    """Set an option of a socket, as SO_LOCK_FILTER, to a number (net/core/sock.c:sk_setsockopt)."""
    number = ctypes.c_int(value)
    size = ctypes.sizeof(number)
    checked(_libc.setsockopt(sock, _SOL_SOCKET, _OPTIONS[name], ctypes.byref(number), size), name)


def bind(sock: int, name: bytes) -> None:
    """Give a socket an abstract name as its address."""
    checked(_libc.bind(sock, *_address(name)), "bind")


def listen(sock: int) -> None:
    """Take connections, as many as anybody may wait for."""
    checked(_libc.listen(sock, _BACKLOG), "listen")


def connect(sock: int, name: bytes) -> None:
    """Connect to the socket of an abstract name. It never waits: the backlog is not full."""
    checked(_libc.connect(sock, *_address(name)), "connect")


def accept(sock: int) -> int:
    """The next connection of a socket that listens, kept on exec. Doesn't wait."""
    with contextlib.suppress(OSError):  # what is no socket is refused by accept itself
        checked(_libc.fcntl(sock, _F_SETFL, _O_NONBLOCK), "fcntl")
    return checked(_libc.accept(sock, None, None), "accept")


def _port(port: int, host: bytes) -> bytes:
    """A struct sockaddr_in."""
    return struct.pack("=H", _AF_INET) + struct.pack("!H", port) + host + bytes(8)


def _address(name: bytes) -> tuple[ctypes.Array[Any], int]:
    """A struct sockaddr_un of an abstract name, and its length."""
    address = struct.pack("=H", _AF_UNIX) + b"\0" + name
    return ctypes.create_string_buffer(address, len(address)), len(address)


def send_fds(sock: int, fds: Sequence[int]) -> None:
    """Send one byte and descriptors' files. Doesn't wait; a broken pipe is no signal."""
    numbers = struct.pack(f"={len(fds)}i", *fds)
    rights = _RIGHTS.pack(_RIGHTS.size + len(numbers), _SOL_SOCKET, _SCM_RIGHTS) + numbers
    message, _keep = _message(rights + bytes(-len(rights) % 8))
    checked(_libc.sendmsg(sock, message, _MSG_DONTWAIT | _MSG_NOSIGNAL), "sendmsg")


def recv_fds(sock: int) -> list[int]:
    """Receive one byte and what `send_fds` sent with it: new descriptors, kept on exec.

    Doesn't wait; none came where the other end of a stream is gone.
    """
    message, (_, control) = _message(bytes(_RIGHTS.size + 4 * _MAX_RIGHTS + 4))
    checked(_libc.recvmsg(sock, message, _MSG_DONTWAIT), "recvmsg")
    length, level, kind = _RIGHTS.unpack_from(control.raw)
    if (level, kind) != (_SOL_SOCKET, _SCM_RIGHTS):
        return []
    return [*struct.unpack_from(f"={(length - _RIGHTS.size) // 4}i", control.raw, _RIGHTS.size)]


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A descriptor here of the file that another process has as `fd`, closed on exec."""
    return syscall("pidfd_getfd", _PIDFD_GETFD, pidfd, fd, 0)


def ioctl(fd: int, request: int, argument: Any, what: str) -> None:
    """An ioctl(2)."""
    checked(_libc.ioctl(fd, ctypes.c_ulong(request), argument), what)


def make_tap(tap: int, name: str) -> None:
    """Make a tap device, which goes with the open file of its driver."""
    request = struct.pack("=16sH22x", name.encode(), _TAP)  # struct ifreq
    ioctl(tap, _TUNSETIFF, request, "TUNSETIFF")


@functools.cache
def tap_driver() -> int:
    """The number of the inode that all open files of the driver have; 0: there is none."""
    try:
        return os.stat(TAP_DRIVER).st_ino
    except OSError:
        return 0


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


def detached_mount(kind: str) -> int:
    """Descriptor of the root of a file system that is mounted nowhere, closed on exec."""
    name = ctypes.create_string_buffer(kind.encode())
    context = syscall("fsopen", _FSOPEN, ctypes.addressof(name), _CLOSE_ON_EXEC)
    try:
        syscall("fsconfig", _FSCONFIG, context, _FSCONFIG_CREATE, 0, 0, 0)
        return syscall("fsmount", _FSMOUNT, context, _CLOSE_ON_EXEC, 0)
    finally:
        os.close(context)


def umount(point: str, lazy: bool) -> None:
    """Unmount; if `lazy`, also when it is in use, and all that is mounted below."""
    checked(_libc.umount2(os.fsencode(point), _MNT_DETACH if lazy else 0), "umount2")


def private_mounts() -> None:
    """Give this process an own mount namespace, whose mounts nobody else sees."""
    checked(_libc.unshare(CLONE_NEWNS), "unshare")
    flags = ctypes.c_ulong(_MS_REC | _MS_PRIVATE)
    checked(_libc.mount(b"none", b"/", None, flags, None), "mount")


def private_network() -> None:
    """Give this process an own network namespace, with a loopback device only."""
    checked(_libc.unshare(CLONE_NEWNET), "unshare")


def enter_network(fd: int) -> None:
    """Enter the network namespace behind a descriptor."""
    checked(_libc.setns(fd, CLONE_NEWNET), "setns")


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


def syscall(what: str, number: int, *arguments: int) -> int:
    """A system call by its number."""
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
