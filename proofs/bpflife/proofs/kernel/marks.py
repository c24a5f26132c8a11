"""Programs that leave a mark of every event that they see: which it was, or whom they met.

An event is a UDP datagram that says who it is: `EVENT`, a magic number and its own number. A
program counts it in its own element of an array, so that each event by itself can be looked at
afterwards: nobody saw it, one program did, or two.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from bpflife.proofs.kernel.asm import (
    KTIME,
    MAP_LOOKUP,
    PROCESSOR_ID,
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R8,
    R9,
    R10,
    Code,
)

EVENT: Final = struct.Struct("=II")  # MAGIC, its number
MAGIC: Final = 0x46495042
WORD: Final = 8  # bytes of a count

_SKB_LOAD, _XDP_LOAD = 26, 189  # helpers: copy a part of the packet to the stack
_IP_UDP, _ETHERNET = 28, 14  # bytes of headers
_PER_PROGRAM: Final = 32  # bits of a word
_LOOKS: Final = 8_000  # at who else is inside before a program leaves; the verifier allows 8192


class Hook(NamedTuple):
    """How the programs of a type read an event, and what they return to let it pass."""

    load: int
    headers: int
    allow: int


HOOKS: Final = {
    "cgroup_skb": Hook(_SKB_LOAD, _IP_UDP, 1),
    "sched_cls": Hook(_SKB_LOAD, _ETHERNET + _IP_UDP, -1),  # TCX_NEXT
    "xdp": Hook(_XDP_LOAD, _ETHERNET + _IP_UDP, 2),  # XDP_PASS
}


def counting(type: str, map_fd: int, second: bool) -> bytes:
    """A program that adds one to an event's element of the array: to the low half of its 64 bits,
    or, as the `second` of two programs, to the high one. All else passes uncounted."""
    hook, event = HOOKS[type], -EVENT.size
    number = event + 4
    code = Code()
    code.set(R2, hook.headers).mov(R3, R10).plus(R3, event).set(R4, EVENT.size).call(hook.load)
    code.jump_unless(R0, 0, "pass")
    code.load(R1, R10, event, 4).jump_unless(R1, MAGIC, "pass")
    code.set64(R1, map_fd, map_fd=True).mov(R2, R10).plus(R2, number).call(MAP_LOOKUP)
    code.jump_if_zero(R0, "pass")
    code.set64(R1, 1 << _PER_PROGRAM * second).atomic("add", R0, 0, R1)
    return bytes(code.label("pass").exit(hook.allow))


def seen(mark: int) -> tuple[int, int]:
    """How often the first and the second program saw an event, by its element."""
    return mark & (1 << _PER_PROGRAM) - 1, mark >> _PER_PROGRAM


INSIDE, MET = 0, WORD  # where in the value of `meeting`'s array


def meeting(type: str, map_fd: int, second: bool) -> bytes:
    """A program that stays until it sees the other one of two run on another CPU, which it counts,
    or until it has looked for long.

    Each has a bit for each CPU in one word, set as long as it is inside there. The 33rd CPU shares
    the bit of the first one, and a program may be preempted by one that clears its bit: then two
    that meet aren't counted, but nobody is counted who was alone.
    """
    mine, others, value, looks = R6, R7, R8, R9
    code = Code().call(PROCESSOR_ID).set(R1, _PER_PROGRAM - 1).alu("and", R0, R1)
    code.set(mine, 1).alu("shift_left", mine, R0)
    code.mov(others, mine).set(R1, -1).alu("xor", others, R1)
    code.set(R1, _PER_PROGRAM).alu("shift_left", others, R1)
    if second:
        code.alu("shift_right", others, R1).alu("shift_left", mine, R1)
    code.set_to_value(value, map_fd).atomic("or", value, INSIDE, mine)
    code.set(looks, _LOOKS).label("look")
    code.load(R1, value, INSIDE).alu("and", R1, others).jump_unless(R1, 0, "met")
    code.call(KTIME)  # only takes its time
    code.plus(looks, -1).jump_unless(looks, 0, "look").jump("leave")
    code.label("met").set(R1, 1).atomic("add", value, MET, R1)
    code.label("leave").set(R1, -1).alu("xor", mine, R1).atomic("and", value, INSIDE, mine)
    return bytes(code.exit(HOOKS[type].allow))
