"""A tiny assembler for eBPF: enough for the hand-made programs of the kernel runner.

`Code` collects instructions; jumps go forward or backward to named labels. Registers are plain
numbers (R0 ... R10). `trivial` makes the program that uses some maps and returns a number.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)

MAP_LOOKUP = 1  # helper: the address of an element, 0 if there is none
KTIME = 5  # helper: the time, in nanoseconds
PROCESSOR_ID = 8  # helper: the number of the CPU
TAIL_CALL = 12  # helper: jump into a program of a prog_array; returns if there is none
SEQ_WRITE = 127  # helper: write to the seq_file of an iterator
PROBE_READ_KERNEL = 113  # helper: copy from a kernel address, 0 bytes if it faults

_LOAD = {4: 0x61, 8: 0x79}
_STORE = {4: 0x63, 8: 0x7B}
_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE, _PSEUDO_MAP_IDX = 1, 2, 5
_ALU = {"and": 0x5F, "or": 0x4F, "shift_left": 0x6F, "shift_right": 0x7F, "xor": 0xAF}
_ATOMIC = {"add": 0x00, "or": 0x40, "and": 0x50}


def _pack(op: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("=BBhi", op, src << 4 | dst, off, imm)


class Code:
    """An eBPF program under construction. Every method appends and returns the code itself."""

    def __init__(self) -> None:
        self._slots: list[bytes] = []
        self._labels: dict[str, int] = {}
        self._jumps: dict[int, str] = {}

    def add(self, op: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> Code:
        """Append one instruction as it is."""
        self._slots.append(_pack(op, dst, src, off, imm))
        return self

    def mov(self, dst: int, src: int) -> Code:
        """dst = src."""
        return self.add(0xBF, dst, src)

    def set(self, dst: int, imm: int) -> Code:
        """dst = imm, a signed 32-bit number."""
        return self.add(0xB7, dst, imm=imm)

    def set64(self, dst: int, value: int, *, map_fd: bool = False) -> Code:
        """dst = value of 64 bits, or the map behind the descriptor `value`."""
        low, high = struct.unpack("=ii", struct.pack("=Q", value & (1 << 64) - 1))
        self.add(0x18, dst, _PSEUDO_MAP_FD if map_fd else 0, imm=low)
        return self.add(0, imm=0 if map_fd else high)

    def set_to_value(self, dst: int, map_fd: int) -> Code:
        """dst = the address of the value of an array of one element."""
        return self.add(0x18, dst, _PSEUDO_MAP_VALUE, imm=map_fd).add(0)

    def plus(self, dst: int, imm: int) -> Code:
        """dst += imm."""
        return self.add(0x07, dst, imm=imm)

    def alu(self, what: str, dst: int, src: int) -> Code:
        """dst = dst `what` src: "and", "or", "xor", "shift_left", "shift_right"."""
        return self.add(_ALU[what], dst, src)

    def load(self, dst: int, src: int, offset: int, size: int = 8) -> Code:
        """dst = the `size` bytes at src + offset."""
        return self.add(_LOAD[size], dst, src, offset)

    def store(self, dst: int, offset: int, src: int, size: int = 8) -> Code:
        """The `size` bytes at dst + offset = src."""
        return self.add(_STORE[size], dst, src, offset)

    def atomic(self, what: str, dst: int, offset: int, src: int) -> Code:
        """The 8 bytes at dst + offset `what`= src, "add", "or" or "and", at one go on all CPUs."""
        return self.add(0xDB, dst, src, offset, _ATOMIC[what])

    def call(self, helper: int) -> Code:
        """r0 = helper(r1 ... r5); r1 ... r5 are lost."""
        return self.add(0x85, imm=helper)

    def exit(self, returns: int = 0) -> Code:
        """Leave the program with a constant."""
        return self.set(R0, returns).add(0x95)

    def jump(self, label: str) -> Code:
        """Go to `label`."""
        return self._jump(label, 0x05)

    def jump_if_zero(self, reg: int, label: str) -> Code:
        """Go to `label` if reg == 0."""
        return self._jump(label, 0x15, reg)

    def jump_unless(self, reg: int, imm: int, label: str) -> Code:
        """Go to `label` if reg != imm."""
        return self._jump(label, 0x55, reg, imm=imm)

    def jump_if_less(self, reg: int, imm: int, label: str) -> Code:
        """Go to `label` if reg < imm, unsigned."""
        return self._jump(label, 0xA5, reg, imm=imm)

    def jump_if_differ(self, a: int, b: int, label: str) -> Code:
        """Go to `label` if the two registers differ."""
        return self._jump(label, 0x5D, a, b)

    def label(self, name: str) -> Code:
        """Name the place of the next instruction."""
        self._labels[name] = len(self._slots)
        return self

    def probe_read(self, frame_offset: int, size: int, source: int) -> Code:
        """Copy `size` bytes from the kernel address in register `source` to r10 + frame_offset."""
        self.mov(R3, source).mov(R1, R10).plus(R1, frame_offset).set(R2, size)
        return self.call(PROBE_READ_KERNEL)

    def seq_write(self, context: int, frame_offset: int, size: int) -> Code:
        """Output `size` bytes at r10 + frame_offset; register `context` is the iterator's."""
        self.load(R1, context, 0).load(R1, R1, 0)  # ctx->meta->seq
        self.mov(R2, R10).plus(R2, frame_offset).set(R3, size)
        return self.call(SEQ_WRITE)

    def __bytes__(self) -> bytes:
        """The finished program; KeyError if a label is missing."""
        slots = list(self._slots)
        for place, label in self._jumps.items():
            offset = struct.pack("=h", self._labels[label] - place - 1)
            slots[place] = slots[place][:2] + offset + slots[place][4:]
        return b"".join(slots)

    def _jump(self, label: str, op: int, dst: int = 0, src: int = 0, imm: int = 0) -> Code:
        self._jumps[len(self._slots)] = label
        return self.add(op, dst, src, imm=imm)


def trivial(
    map_fds: Sequence[int] = (),
    returns: int = 1,
    *,
    indexes: Sequence[int] = (),
    tail_call: int | None = None,
    writes: bool = False,
) -> bytes:
    """A program that uses the maps behind `map_fds` and returns `returns`.

    `indexes` are places of more maps in the load's fd_array. With `tail_call` it goes on in the
    first program of that map, a prog_array, if there is one. One that `writes` is an iterator's and
    outputs 8 bytes each time. The kernel takes one reference per different map
    (verifier.c:add_used_map).
    """
    code = Code()
    if writes:
        code.mov(R6, R1).set(R1, 0).store(R10, -8, R1).seq_write(R6, -8, 8)
    if tail_call is not None:
        code.set64(R2, tail_call, map_fd=True).set(R3, 0).call(TAIL_CALL)
    for fd in map_fds:
        code.set64(R1, fd, map_fd=True)
    for index in indexes:
        code.add(0x18, R1, _PSEUDO_MAP_IDX, imm=index).add(0)
    return bytes(code.exit(returns))
