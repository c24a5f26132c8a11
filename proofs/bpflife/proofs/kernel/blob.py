"""A minimal BTF blob, made by hand (Documentation/bpf/btf.rst): what maps and programs can hold."""

from __future__ import annotations

import struct
from typing import Final

INT, _PROTO, FUNCTION = 1, 2, 3  # type ids

_KIND_INT, _KIND_FUNC, _KIND_FUNC_PROTO = 1, 12, 13
_SIGNED: Final = 1 << 24  # BTF_INT_SIGNED, beside the number of bits
_NAMES: Final = b"\0int\0function\0"


def minimal() -> bytes:
    """An int of four bytes, and a function without arguments that returns it."""
    types = _type(1, _KIND_INT, 4) + struct.pack("=I", _SIGNED | 32)
    types += _type(0, _KIND_FUNC_PROTO, INT)
    types += _type(5, _KIND_FUNC, _PROTO)
    header = struct.pack("=HBBI", 0xEB9F, 1, 0, 24)
    return header + struct.pack("=4I", 0, len(types), len(types), len(_NAMES)) + types + _NAMES


def _type(name: int, kind: int, size_or_type: int) -> bytes:
    """A struct btf_type; `name` is a place in the names."""
    return struct.pack("=III", name, kind << 24, size_or_type)
