"""The queueing discipline of a device that has filters (clsact): the hook of traffic control.

A device has at most one. It is held by its place at the device: until somebody deletes it, or the
device goes. A system call says the device, and gets what is there; a scenario says the discipline,
which is one that was made: a call that would get another one than is meant waits for ever.
(net/sched/sch_api.c, cls_api.c, sch_ingress.c)
"""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Guard, Param, Step, StepError
from ..values import LIFE, NONE, OBJ, And, Not, Or, Value, eq
from .networks import near
from .registry import step


@step("make {kind} at {device}", part="tc")
def _make(f: Frame, kind: str, device: str) -> Step:
    """A new discipline of a device, whose place there holds it. ENODEV: there is no device of that
    name in the caller's network namespace; EEXIST: it has one. One step, under the lock of all
    devices. (tc_modify_qdisc: net/sched/sch_api.c)"""
    checks = (
        Check("ENODEV", lambda k, e: _seen(f, k, e, e[device])),
        Check("EEXIST", lambda k, e: eq(k.get(s.QDISC, e[device]), NONE)),
    )

    def effect(k: View, e: Env) -> None:
        o = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), kind)
        k.set(s.LIFE_OF, (o,), LIFE.live)
        k.set(s.REFCNT, (o,), 1)
        k.set(f.dir, (o,), o)
        k.set(s.QDISC, (e[device],), o)
        k.set(s.QDISC_OF, (o,), e[device])

    text, words = f"make {kind} at {device}", f"makes a {kind}; its place at the device keeps it"
    return Step(text, words, effect, (Param(device, OBJ, f.args[device]),), checks=checks)


def _seen(f: Frame, k: View, e: Env, device: Value) -> Value:
    """The caller finds the device by its name."""
    return And(f.there(k, device), near(k, e, device))


def _meant(f: Frame, target: str) -> tuple[Guard | None, tuple[Check, ...]]:
    """When a call gets the discipline that is meant, and its errnos: ENODEV: the caller does not
    see the device; EINVAL: the device has no discipline any more."""
    there = Check("EINVAL", lambda k, e: f.there(k, e[target]))
    if "tc" not in f.parts:  # the discipline is there without a device
        return None, (there,)

    def device(k: View, e: Env) -> Value:
        return k.get(s.QDISC_OF, e[target])

    def no_other(k: View, e: Env) -> Value:
        at_place = k.get(s.QDISC, device(k, e))
        return Or(Not(_seen(f, k, e, device(k, e))), eq(at_place, NONE), eq(at_place, e[target]))

    return no_other, (Check("ENODEV", lambda k, e: _seen(f, k, e, device(k, e))), there)


@step("find {target} at its device")
def _find(f: Frame, target: str) -> Step:
    """Looks a discipline up by its device. The call is inside it from then on: it can be deleted,
    but its memory stays until the call returns. ENODEV: the device is gone, or in another network
    namespace than the caller; EINVAL: it has no discipline.
    (tc_new_tfilter, __tcf_qdisc_find: net/sched/cls_api.c)"""
    kind = f.args.get(target, "")
    if kind not in f.dir.owners:
        raise StepError(f"`{target}` is nothing that has a place at a device")
    waits, checks = _meant(f, target)

    def effect(k: View, e: Env) -> None:
        k.set(s.TARGET, (e["me"],), e[target])

    words = f"finds {{{target}}} by its device; its memory stays until the call returns"
    params = (Param(target, OBJ, kind),)
    return Step(f"find {target} at its device", words, effect, params, waits, checks, target=kind)


@step("remove {target} from its device -> {reg}", part="tc")
def _remove(f: Frame, target: str, reg: str) -> Step:
    """The discipline has no place any more; the local holds its reference. ENODEV: the caller does
    not see the device; EINVAL: it has no discipline any more (one that never had any: ENOENT).
    (tc_get_qdisc, qdisc_graft: net/sched/sch_api.c)"""
    waits, checks = _meant(f, target)

    def effect(k: View, e: Env) -> None:
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"remove finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), k.get(f.dir, e[target]))
        _leave(f, k, e[target])

    text, words = f"remove {target} from its device -> {reg}", "takes it from its device"
    params, kinds = (Param(target, OBJ, f.args[target]),), (f.args[target],)
    return Step(text, words, effect, params, waits, checks, {reg: "full"}, kinds)


def _leave(f: Frame, k: View, discipline: Value) -> None:
    k.set(f.dir, (discipline,), NONE)
    k.set(s.QDISC, (k.get(s.QDISC_OF, discipline),), NONE)


@step("drop discipline", part="tc")
def _drop(f: Frame) -> Step:
    """The dying device lets its discipline go, if it has one. (dev_shutdown: net/sched/
    sch_generic.c)"""

    def effect(k: View, e: Env) -> None:
        discipline = k.get(s.QDISC, e["me"])
        f.drop(k, k.get(f.dir, discipline), maybe=True)
        _leave(f, k, discipline)

    return Step("drop discipline", "its queueing discipline goes with it, if it has one", effect)
