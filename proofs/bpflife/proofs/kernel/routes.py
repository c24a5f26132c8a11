"""Routes that lead through programs (light-weight tunnels).

(include/uapi/linux/rtnetlink.h, lwtunnel.h; net/ipv4/fib_frontend.c, net/core/lwt_bpf.c)
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import Final, TypeAlias

from bpflife.proofs.kernel import netlink
from bpflife.proofs.kernel.netlink import Value

HOW: Final = {  # NLM_F_CREATE, NLM_F_REPLACE
    "add": netlink.CREATE, "replace": 0x400 | 0x100, "change": 0x100,
}  # fmt: skip
PLACES: Final = {"lwt_in": 1, "lwt_out": 2, "lwt_xmit": 3}  # LWT_BPF_*, by type of program

_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26  # RTM_*
_DST, _OIF, _ENCAP_TYPE, _ENCAP = 1, 4, 21, 22  # RTA_*
_BPF: Final = struct.pack("=H", 6)  # LWTUNNEL_ENCAP_BPF
_FD, _NAME = 1, 2  # LWT_BPF_PROG_*
_MAIN, _STATIC, _ON_LINK, _UNICAST, _NOWHERE = 254, 4, 253, 1, 255  # table, protocol, scopes, type
_MESSAGE: Final = struct.Struct("=BBBBBBBBI")  # struct rtmsg


Address: TypeAlias = str | int  # a number is the last of 10.0.0.0/24


def add(to: Address, device: str, programs: Mapping[str, tuple[int, str]], how: str) -> None:
    """Make a route to an address by a device. `programs` are descriptors and names, by place."""
    encap: Value = [
        (PLACES[place], [(_FD, fd), (_NAME, name)]) for place, (fd, name) in programs.items()
    ]
    values = [*_to(to), (_OIF, netlink.index(device)), (_ENCAP_TYPE, _BPF), (_ENCAP, encap)]
    body = _MESSAGE.pack(socket.AF_INET, 32, 0, 0, _MAIN, _STATIC, _ON_LINK, _UNICAST, 0)
    netlink.ask(_NEWROUTE, body + netlink.attributes(values), HOW[how])


def delete(to: Address) -> None:
    """Delete the route to an address."""
    body = _MESSAGE.pack(socket.AF_INET, 32, 0, 0, _MAIN, 0, _NOWHERE, 0, 0)
    netlink.ask(_DELROUTE, body + netlink.attributes(_to(to)))


def routes(device: str = "") -> dict[str, dict[str, str]]:
    """The routes that lead through programs (by a device): by address the names of programs, by
    place."""
    found = {}
    index = netlink.index(device) if device else 0
    body = _MESSAGE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    for answer in netlink.dump(_GETROUTE, body):
        about = netlink.parsed(answer[_MESSAGE.size :])
        by = int.from_bytes(about.get(_OIF, b""), "little")
        if about.get(_ENCAP_TYPE) == _BPF and index in (0, by):
            places = netlink.parsed(about[_ENCAP])
            found[socket.inet_ntoa(about[_DST])] = {
                place: netlink.parsed(places[number])[_NAME].rstrip(b"\0").decode()
                for place, number in PLACES.items()
                if number in places
            }
    return found


def _to(address: Address) -> list[tuple[int, Value]]:
    text = f"10.0.0.{address}" if isinstance(address, int) else address
    return [(_DST, socket.inet_aton(text))]
