"""Filters of traffic control: a queueing discipline for them, and programs as filters of devices.

(include/uapi/linux/rtnetlink.h, pkt_sched.h, pkt_cls.h; net/sched/cls_api.c, cls_bpf.c)
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

from bpflife.proofs.kernel import netlink
from bpflife.proofs.kernel.netlink import Value

DIRECTIONS: Final = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # TC_H_CLSACT, TC_H_MIN_*
HOW: Final = {"add": 0x400 | 0x200, "replace": 0x400, "change": 0}  # NLM_F_CREATE, NLM_F_EXCL

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38  # RTM_*
_NEWFILTER, _DELFILTER, _GETFILTER = 44, 45, 46
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_KIND, _OPTIONS = 1, 2  # TCA_*
_FD, _NAME, _FLAGS, _ID = 6, 7, 8, 11  # TCA_BPF_*
_DIRECT_ACTION = 1  # TCA_BPF_FLAG_ACT_DIRECT
_ALL_PROTOCOLS = 0x0300  # ETH_P_ALL, in the network's byte order
_MESSAGE: Final = struct.Struct("=BxxxiIIHH")  # struct tcmsg; info: protocol and priority


class Filter(NamedTuple):
    """A program as a filter: its id, and by what the filter is known in its direction."""

    prog_id: int
    prio: int
    handle: int


def make_clsact(device: str) -> None:
    """Give a device the queueing discipline that filters of both directions need."""
    body = _message(device, _CLSACT, handle=_CLSACT_HANDLE)
    netlink.ask(_NEWQDISC, body + netlink.attributes([(_KIND, "clsact")]), netlink.CREATE)


def delete_clsact(device: str) -> None:
    """Take it away, with all filters."""
    netlink.ask(_DELQDISC, _message(device, _CLSACT, handle=_CLSACT_HANDLE))


def with_clsact() -> list[str]:
    """The devices that have it."""
    found = []
    for answer in netlink.dump(_GETQDISC, _MESSAGE.pack(0, 0, 0, 0, 0, 0)):
        kind = netlink.parsed(answer[_MESSAGE.size :])[_KIND]
        if kind.rstrip(b"\0") == b"clsact":
            found.append(socket.if_indextoname(_MESSAGE.unpack_from(answer)[1]))
    return found


def add(device: str, direction: str, prio: int, handle: int, fd: int, how: str) -> None:
    """Make a program a filter that decides what becomes of packets (direct action)."""
    options: Value = [(_FD, fd), (_NAME, "bpflife"), (_FLAGS, _DIRECT_ACTION)]
    body = _message(device, DIRECTIONS[direction], handle, prio)
    body += netlink.attributes([(_KIND, "bpf"), (_OPTIONS, options)])
    netlink.ask(_NEWFILTER, body, HOW[how])


def delete(device: str, direction: str, prio: int, handle: int) -> None:
    """Delete a filter; all of a priority (handle 0), or all of a direction (and priority 0)."""
    body = _message(device, DIRECTIONS[direction], handle, prio)
    of_kind = netlink.attributes([(_KIND, "bpf")]) if prio else b""  # all are of whatever kind
    netlink.ask(_DELFILTER, body + of_kind)


def filters(device: str, direction: str) -> list[Filter]:
    """The filters of a direction with programs, in the order in which they run."""
    found = []
    for answer in netlink.dump(_GETFILTER, _message(device, DIRECTIONS[direction])):
        _, _, handle, _, _, prio = _MESSAGE.unpack_from(answer)
        about = netlink.parsed(answer[_MESSAGE.size :])
        options = netlink.parsed(about.get(_OPTIONS, b""))
        if _ID in options:
            found.append(Filter(int.from_bytes(options[_ID], "little"), prio, handle))
    return found


def _message(device: str, parent: int, handle: int = 0, prio: int = 0) -> bytes:
    index = netlink.index(device)
    return _MESSAGE.pack(0, index, handle, parent, _ALL_PROTOCOLS if prio else 0, prio)
