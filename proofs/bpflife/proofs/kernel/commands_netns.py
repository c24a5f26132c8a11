"""Commands that attach programs to network namespaces."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from typing import Final

from bpflife.proofs.kernel import bpf, libc
from bpflife.proofs.kernel.results import CONTROL, Result, opened

NETFILTER_HOOKS: Final = {  # include/uapi/linux/netfilter.h: enum nf_inet_hooks
    "prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4
}  # fmt: skip
PRIORITIES: Final = {"first": -100, "second": 0, "third": 100}
_IPV4 = 2  # NFPROTO_IPV4
_OWN = "/proc/thread-self/ns/net"


def netns_attach(fd: int, attach_type: str = "flow_dissector") -> Result:
    """Attach a program to the own network namespace.

    (kernel/bpf/net_namespace.c:netns_bpf_prog_attach)
    """
    bpf.prog_attach(0, fd, attach_type)
    return Result()


def netns_detach(fd: int | None = None, attach_type: str = "flow_dissector") -> Result:
    """Detach a program from the own network namespace.

    (kernel/bpf/net_namespace.c:netns_bpf_prog_detach)
    """
    bpf.prog_detach(0, fd or 0, attach_type)
    return Result()


def netns_link(
    fd: int, attach_type: str = "sk_lookup", netns: int | None = None, flags: int = 0
) -> Result:
    """Attach a program by a link to the network namespace behind a descriptor, or to the own one:
    the link's descriptor and id.

    (kernel/bpf/net_namespace.c:netns_bpf_link_create)
    """
    with _namespace(netns) as target:
        return opened(bpf.link_create(fd, target, attach_type, flags))


def netfilter_link(fd: int, priority: int | str = 0, hook: str = "input") -> Result:
    """Attach a program by a link to a hook of the own network namespace's packet filter, for IPv4:
    the link's descriptor and id. Lower priorities run first; some have names here.

    (net/netfilter/nf_bpf_link.c:bpf_nf_link_attach)
    """
    number = PRIORITIES[priority] if isinstance(priority, str) else priority
    extra = struct.pack("=IIiI", _IPV4, NETFILTER_HOOKS[hook], number, 0)
    return opened(bpf.link_create(fd, 0, "netfilter", extra=extra))


def netns_attached(attach_type: str = "sk_lookup", netns: int | None = None) -> Result:
    """What is attached to the network namespace behind a descriptor, or to the own one.

    Links are not told from programs, and netfilter's are not told at all: a link knows where it is
    attached. (kernel/bpf/net_namespace.c:netns_bpf_prog_query)
    """
    with _namespace(netns) as target:
        found = bpf.prog_query(target, attach_type)
    return Result(attached=tuple((id, 0) for id in found.prog_ids))


@contextlib.contextmanager
def _namespace(netns: int | None) -> Iterator[int]:
    """The descriptor, or an own one of the own namespace, above all that commands name."""
    if netns is not None:
        yield netns
        return
    fd = libc.above(os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC), CONTROL + 1)
    try:
        yield fd
    finally:
        os.close(fd)


COMMANDS: Final = (
    *(netns_attach, netns_detach, netns_link, netfilter_link, netns_attached),
)  # fmt: skip
