"""The types of the running kernel, from its BTF: function ids and member offsets.

The kernel describes its own structs in /sys/kernel/btf/vmlinux (Documentation/bpf/btf.rst). Only
the two questions that the reader of reference counts asks are answered here. One pass over the
types notes where each begins; it runs once per process.
"""

from __future__ import annotations

import functools
import struct
from array import array
from collections.abc import Iterator

PATH = "/sys/kernel/btf/vmlinux"

_STRUCT, _UNION, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _FUNC, _TYPE_TAG = (
    *(4, 5, 8, 9, 10, 11, 12, 18),
)
_ALIASES = frozenset((_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG))
_FIXED = {1: 1, 3: 3, 14: 1, 17: 1}  # kind -> 32-bit words after the common three
_PER_ENTRY = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}  # kind -> words per member, value ...
_NAMED = frozenset((_STRUCT, _UNION, _TYPEDEF, _FUNC))


class Btf:
    """One BTF blob. ValueError if it is not BTF of this machine's byte order."""

    def __init__(self, blob: bytes) -> None:
        magic, version, _, header, types, types_size, strings, size = struct.unpack_from(
            "=HBBIIIII", blob
        )
        if (magic, version) != (0xEB9F, 1):
            raise ValueError("not BTF, or of another byte order")
        self._strings = blob[header + strings : header + strings + size]
        self._words = array("I", blob[header + types : header + types + types_size])
        self._starts, self._named = self._index()

    def function(self, name: str) -> int:
        """The type id of a kernel function; KeyError if the kernel has none of this name."""
        return self._find(_FUNC, name)

    def typedef(self, name: str) -> int:
        """The type id of a typedef; KeyError if the kernel has none of this name."""
        return self._find(_TYPEDEF, name)

    def offset(self, struct_name: str, *path: str) -> int:
        """Bytes from a struct's start to a member; more names go into members that are structs.

        Members of anonymous structs and unions count as the outer struct's. KeyError if missing.
        """
        type_id, total = self._find(_STRUCT, struct_name), 0
        for member in path:
            found = self._member(self._resolve(type_id), member)
            if found is None:
                raise KeyError(f"no member {member!r} in the kernel's {struct_name}")
            total, type_id = total + found[0], found[1]
        return total

    def has(self, struct_name: str, member: str) -> bool:
        """Whether a struct has a member."""
        return self._member(self._find(_STRUCT, struct_name), member) is not None

    def size(self, struct_name: str) -> int:
        """Bytes of a struct; KeyError if missing."""
        return self._words[self._starts[self._find(_STRUCT, struct_name)] + 2]

    def _index(self) -> tuple[array[int], dict[tuple[int, int], int]]:
        """Where each type begins, by id; and ids by kind and place of the name."""
        words, end, at = self._words, len(self._words), 0
        starts, named = array("I", [0]), {}
        while at < end:
            info = words[at + 1]
            kind = info >> 24 & 31
            if kind in _NAMED:
                named[kind, words[at]] = len(starts)
            starts.append(at)
            entries = _PER_ENTRY.get(kind)
            at += 3 + (_FIXED.get(kind, 0) if entries is None else entries * (info & 0xFFFF))
        return starts, named

    def _find(self, kind: int, name: str) -> int:
        place = self._strings.find(b"\0" + name.encode() + b"\0") + 1
        type_id = self._named.get((kind, place)) if place else None
        if type_id is None:
            raise KeyError(f"the kernel's BTF has no {name!r}")
        return type_id

    def _resolve(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        while self._kind(type_id) in _ALIASES:
            type_id = self._words[self._starts[type_id] + 2]
        return type_id

    def _kind(self, type_id: int) -> int:
        return self._words[self._starts[type_id] + 1] >> 24 & 31

    def _name(self, place: int) -> bytes:
        return self._strings[place : self._strings.index(b"\0", place)]

    def _members(self, type_id: int) -> Iterator[tuple[bytes, int, int]]:
        """Name, type id and offset in bytes of each member of a struct or union."""
        start = self._starts[type_id]
        info = self._words[start + 1]
        for at in range(start + 3, start + 3 + 3 * (info & 0xFFFF), 3):
            name, member_type, bits = self._words[at : at + 3]
            yield self._name(name), member_type, (bits & 0xFFFFFF if info >> 31 else bits) // 8

    def _member(self, type_id: int, wanted: str) -> tuple[int, int] | None:
        """Offset and type id of a member, also of one in an anonymous part."""
        if self._kind(type_id) not in (_STRUCT, _UNION):
            return None
        for name, member_type, offset in self._members(type_id):
            if name == wanted.encode():
                return offset, member_type
            inner = None if name else self._member(self._resolve(member_type), wanted)
            if inner is not None:
                return offset + inner[0], inner[1]
        return None


@functools.cache
def vmlinux() -> Btf:
    """The running kernel's BTF, parsed once. OSError if the kernel has none or refuses it."""
    with open(PATH, "rb") as file:
        return Btf(file.read())
