"""Who may write: the mode of an open file, frozen maps, writable mappings."""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Guard, Step
from ..values import And, Not, Value, at_least, ne
from .registry import nothing, step


def _may_write(f: Frame, file: str) -> Guard:
    """The open file is not read-only and its map is not frozen: FMODE_CAN_WRITE.
    (map_get_sys_perms: kernel/bpf/syscall.c)"""

    def may(k: View, e: Env) -> Value:
        held = k.get(f.reg(file), e["me"])
        frozen = k.get(s.FROZEN, k.get(s.FILE_OBJ, held))
        return And(ne(k.get(s.MODE_OF, held), s.MODE.read_only), Not(frozen))

    return may


@step("may write {file}", part="access")
def _may(f: Frame, file: str) -> Step:
    """EPERM: the open file is read-only, or its map is frozen. (map_update_elem)"""
    checks = (Check("EPERM", _may_write(f, file)),)
    return Step(f"may write {file}", "checks that it may write", nothing, checks=checks)


@step("freeze {file}")
def _freeze(f: Frame, file: str) -> Step:
    """User space can't write to the map any more, for ever; programs can. EPERM: the open file is
    read-only, or the map is frozen already; EBUSY: it is mapped for writing, by whomever.
    (map_freeze: kernel/bpf/syscall.c)"""

    def behind(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, k.get(f.reg(file), e["me"]))

    checks = (
        Check("EPERM", _may_write(f, file)),
        Check("EBUSY", lambda k, e: Not(at_least(k.get(s.WRITECNT, behind(k, e)), 1))),
    )

    def effect(k: View, e: Env) -> None:
        k.set(s.FROZEN, (behind(k, e),), True)

    words = "freezes the map: user space can't write to it any more"
    return Step(f"freeze {file}", words, effect, checks=checks)
