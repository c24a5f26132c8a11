"""Commands on network namespaces and their devices, and on what netlink attaches to those."""

from __future__ import annotations

import os
import socket
from typing import Final

from bpflife.proofs.kernel import libc, netlink
from bpflife.proofs.kernel.results import Result


def unshare_net() -> Result:
    """Get an own network namespace, which ends with its processes."""
    libc.private_network()
    return Result()


def open_net(pid: int) -> Result:
    """Open the network namespace of a process: a descriptor, which exec keeps."""
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    os.set_inheritable(fd, True)
    return Result(fd)


def enter_net(netns: int) -> Result:
    """Enter the network namespace behind a descriptor."""
    libc.enter_network(netns)
    return Result()


def make_veth(target: str, peer: str) -> Result:
    """Make two devices that are connected."""
    netlink.make_veth(target, peer)
    return Result()


def open_tap() -> Result:
    """Open the driver of tap devices: a descriptor, which exec keeps."""
    fd = os.open(libc.TAP_DRIVER, os.O_RDWR)
    os.set_inheritable(fd, True)
    return Result(fd)


def make_tap(tap: int, target: str) -> Result:
    """Make a tap device, which goes with the open file behind the descriptor."""
    libc.make_tap(tap, target)
    return Result()


def delete_device(target: str) -> Result:
    """Delete a device of the own network namespace."""
    netlink.delete_device(target)
    return Result()


def xdp_set(
    target: str,
    fd: int = -1,
    expected: int | None = None,
    if_noexist: bool = False,
    mode: str = "",
) -> Result:
    """Give a device an XDP program, or none (-1): in place of an `expected` one only, or only where
    there is none. `mode` is the generic one, "skb", the driver's own, "drv", or what fits."""
    flags = netlink.XDP_MODES[mode] | (netlink.XDP_IF_NOEXIST if if_noexist else 0)
    values = [(netlink.XDP_FD, fd)]
    if expected is not None:
        values.append((netlink.XDP_EXPECTED_FD, expected))
        flags |= netlink.XDP_REPLACE
    netlink.set_xdp(target, [*values, (netlink.XDP_FLAGS, flags)])
    return Result()


def devices() -> Result:
    """The devices of the own network namespace, with the ids of their XDP programs (0: none)."""
    return Result(named=tuple(netlink.devices().items()))


def device_indexes() -> Result:
    """The devices of the own network namespace, with the numbers by which the kernel knows them."""
    return Result(named=tuple((name, index) for index, name in socket.if_nameindex()))


COMMANDS: Final = (
    *(unshare_net, open_net, enter_net),
    *(make_veth, open_tap, make_tap, delete_device, xdp_set, devices, device_indexes),
)
