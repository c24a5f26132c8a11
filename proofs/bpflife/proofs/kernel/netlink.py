"""Messages of routing netlink: devices, and what is attached to them.

A message is a header, a fixed body and attributes; an attribute is bytes, a number, a name or again
attributes. (include/uapi/linux/netlink.h, rtnetlink.h, if_link.h)
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from bpflife.proofs.kernel import bpf, libc
from bpflife.proofs.kernel.results import CONTROL

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19  # RTM_*
CREATE: Final = 0x400 | 0x200  # NLM_F_CREATE, NLM_F_EXCL: it must be new
IFNAME, LINKINFO, XDP = 3, 18, 43  # IFLA_*
INFO_KIND, INFO_DATA, VETH_PEER = 1, 2, 1  # IFLA_INFO_*, VETH_INFO_PEER
XDP_FD, XDP_FLAGS, XDP_PROG_ID, XDP_EXPECTED_FD = 1, 3, 4, 8  # IFLA_XDP_*
XDP_MODES: Final = {"": 0, "skb": 2, "drv": 4}  # XDP_FLAGS_*_MODE
XDP_IF_NOEXIST, XDP_REPLACE = 1, 16  # XDP_FLAGS_*

NO_DEVICE: Final = 0x7FFFFFFF  # an index
UP: Final = 1  # IFF_UP

_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr
_LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg
_LARGE: Final = 1 << 16
_TYPE: Final = 0x3FFF  # of an attribute, without NLA_F_NESTED and the like

Value: TypeAlias = "bytes | int | str | Sequence[tuple[int, Value]]"
Message: TypeAlias = tuple[int, bytes]  # type, and what follows the header


def attributes(values: Sequence[tuple[int, Value]]) -> bytes:
    """Attributes as a message has them; a number is 32 bits."""
    return b"".join(_attribute(kind, value) for kind, value in values)


def _attribute(kind: int, value: Value) -> bytes:
    if isinstance(value, int):
        value = struct.pack("=i", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    elif not isinstance(value, bytes):
        value = attributes(value)
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def parsed(data: bytes) -> dict[int, bytes]:
    """The attributes of a message, by type."""
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        found[kind & _TYPE] = data[_ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]
    return found


def link(values: Sequence[tuple[int, Value]]) -> bytes:
    """A message about one device: what follows the header."""
    return _LINK.pack(0, 0, 0, 0, 0) + attributes(values)


def ask(kind: int, body: bytes, flags: int = 0) -> None:
    """Ask for a change in the caller's network namespace. OSError as the kernel answers."""
    _transact(kind, body, flags | _ACK)


def dump(kind: int, body: bytes) -> list[bytes]:
    """All that there is of a kind: what follows the header of each answer."""
    return [answer for _, answer in _transact(kind, body, _DUMP)]


def _transact(kind: int, body: bytes, flags: int) -> list[Message]:
    """The answers to a request. Its socket lies above all descriptors that commands name: else it
    could be a closed one's number."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with socket.socket(fileno=libc.above(made.detach(), CONTROL + 1)) as sock:
        size = _HEADER.size + len(body)
        sock.send(_HEADER.pack(size, kind, flags | _REQUEST, 1, 0) + body)
        found: list[Message] = []
        while True:
            for answer, data in _messages(sock.recv(_LARGE)):
                if answer == _ERROR:
                    (number,) = struct.unpack_from("=i", data)
                    if number:
                        raise bpf.error(-number, "netlink")
                if answer in (_ERROR, _DONE):
                    return found
                found.append((answer, data))


def _messages(packet: bytes) -> Iterator[Message]:
    while len(packet) >= _HEADER.size:
        size, kind, *_ = _HEADER.unpack_from(packet)
        yield kind, packet[_HEADER.size : size]
        packet = packet[(size + 3) & ~3 :]


# ---------------------------------------------------------------------------------------------
# devices


def make_veth(name: str, peer: str) -> None:
    """Make two devices that are connected."""
    other = link([(IFNAME, peer)])
    info: Value = [(INFO_KIND, "veth"), (INFO_DATA, [(VETH_PEER, other)])]
    ask(NEWLINK, link([(IFNAME, name), (LINKINFO, info)]), CREATE)


def delete_device(name: str) -> None:
    """Delete a device."""
    ask(DELLINK, link([(IFNAME, name)]))


def index(name: str) -> int:
    """The index of a device; one that no device has where there is none of this name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return NO_DEVICE


def switch(name: str, on: bool) -> None:
    """Switch a device on, so that routes may lead to it, or off, which deletes those."""
    ask(SETLINK, _LINK.pack(0, 0, index(name), UP if on else 0, UP))


def set_xdp(name: str, values: Sequence[tuple[int, Value]]) -> None:
    """Change what XDP program a device has."""
    ask(SETLINK, link([(IFNAME, name), (XDP, values)]))


def devices() -> Mapping[str, int]:
    """The devices of the caller's network namespace, with the id of the XDP program (0: none)."""
    found = {}
    for answer in dump(GETLINK, link([])):
        about = parsed(answer[_LINK.size :])
        xdp = parsed(about.get(XDP, b""))
        name = about[IFNAME].rstrip(b"\0").decode()
        found[name] = int.from_bytes(xdp.get(XDP_PROG_ID, b""), "little")
    return found
