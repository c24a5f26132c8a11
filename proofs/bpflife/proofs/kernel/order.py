"""Where an attachment goes among those that are there: the options of an ordered hook.

Cgroups and the tcx hooks of devices have them (kernel/bpf/mprog.c, kernel/bpf/cgroup.c).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from bpflife.proofs.kernel.uapi import ATTACH_FLAGS, RELATIVES, number_of


class Order(NamedTuple):
    """The options as the attributes of bpf(2) have them."""

    flags: int
    replace_fd: int
    relative: int
    revision: int

    def of_link(self) -> bytes:
        """The part of BPF_LINK_CREATE's attribute that ordered hooks define."""
        return struct.pack("=i4xQ", self.relative, self.revision)


def order(
    flags: int | Sequence[str] = 0,
    before: int | None = None,
    after: int | None = None,
    of: str = "prog",
    replace: int | None = None,
    revision: int = 0,
) -> Order:
    """`before` or `after` another attachment, or 0: all others. `of` says what that number is: a
    descriptor of a "prog" or a "link", or a "prog_id" or a "link_id". `replace` is a descriptor of
    the program to replace; `revision` is how often the hook must have changed until now, 0: any."""
    named = {"before": before, "after": after, "replace": replace}
    words = {word for word, number in named.items() if number is not None}
    words |= set() if isinstance(flags, int) else set(flags)
    bits = flags if isinstance(flags, int) else 0
    for word in words:
        bits |= number_of(ATTACH_FLAGS, word)
    relative = before or after or 0
    if relative:
        bits |= number_of(RELATIVES, of)
    return Order(bits, replace or 0, relative, revision)
