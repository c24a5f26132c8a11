"""XDP: a device holds its program twice, and the machine's dispatcher holds it once more.

What a device runs is one pointer (the hook's entry: `dev->xdp_prog`, or the driver's own), what it
was told to run another (`dev->xdp_state`). The dispatcher is code that jumps to the programs of all
devices without an indirect call. Whoever changes its set of programs waits until nobody is in the
old code; so a detach waits for running programs if the device was the last that ran this one.
"""

from __future__ import annotations

from .. import state as s
from ..readers import inside
from ..state import View
from ..steps import Env, Frame, Guard, Step, StepError
from ..values import NONE, OBJ, And, If, Not, Or, Value, eq, ne
from .registry import step


@step("dispatch: begin", part="xdp")
def _dispatch(f: Frame) -> Step:
    """The dispatcher takes in what the device runs now, if it does not have it yet, and lets go of
    what the device ran before (so says its record, or its link), if none runs that any more. If one
    of both was so, a grace period starts.
    (bpf_dispatcher_change_prog: kernel/bpf/dispatcher.c; it has room for 48 programs)"""

    links = tuple(kind for kind in f.beside if kind in f.links)

    def before(k: View, e: Env) -> Value:
        t = f.target(k, e)
        own = k.get(s.XDP_STATE, t) if "xdp_state" in f.parts else NONE
        if not links:
            return own
        link = k.find(OBJ, lambda x: eq(k.get(s.LISTED, x), t), "|".join(links))
        return If(ne(own, NONE), own, k.get(s.LINK_PROG, link), OBJ)

    def now(k: View, e: Env) -> Value:
        return k.get(f.entry, f.target(k, e))

    return _dispatching(f, "dispatch: begin", now, before)


@step("dispatch of link: begin", part="xdp")
def _dispatch_link(f: Frame) -> Step:
    """The same, for a link that has left its device: which runs nothing now, and ran its program
    before. The link is in the local `link`, or is the dying one."""

    def before(k: View, e: Env) -> Value:
        link = e["me"] if f.own in f.links else k.get(f.reg("link"), e["me"])
        return k.get(s.LINK_PROG, link)

    return _dispatching(f, "dispatch of link: begin", lambda k, e: NONE, before)


def _dispatching(f: Frame, text: str, now: Guard, before: Guard) -> Step:
    kind = next((kind for kind in f.targets if kind in s.XDP_STATE.owners), "")
    if not kind:
        raise StepError("dispatch: the hook is no network device")

    def effect(k: View, e: Env) -> None:
        new, old = now(k, e), before(k, e)
        come = And(ne(new, NONE), eq(k.get(s.DISPATCHED, new), NONE))
        unused = k.all(OBJ, lambda o: ne(k.get(f.entry, o), old), kind)
        go = And(ne(k.get(s.DISPATCHED, old), NONE), unused)
        k.inc(new, unless=Not(come))
        k.set(s.DISPATCHED, (If(come, new, NONE, OBJ),), new)
        gone = If(go, old, NONE, OBJ)
        f.drop(k, k.get(s.DISPATCHED, gone), maybe=True)
        k.set(s.DISPATCHED, (gone,), NONE)
        news = Or(come, go)
        k.start_grace_period(
            f.gp, e["me"], lambda cpu: And(news, inside(k, cpu, f.parts, True, False))
        )

    words = "the dispatcher jumps to what devices run now; if that is news, it waits for readers"
    return Step(text, words, effect)


@step("swap state <-> {reg}", part="xdp_state")
def _swap(f: Frame, reg: str) -> Step:
    """The device's record of its program and the local change places. (dev_xdp_set_prog)"""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        old, new = k.get(s.XDP_STATE, t), k.get(f.reg(reg), e["me"])
        k.set(s.XDP_STATE, (t,), new)
        k.set(f.reg(reg), (e["me"],), old)

    words = f"notes {{{reg}}} as the device's program; the local holds the one that it was"
    return Step(f"swap state <-> {reg}", words, effect, regs={reg: "maybe"}, kinds=("prog",))


@step("clear state -> {reg}", part="xdp_state")
def _clear(f: Frame, reg: str) -> Step:
    """The device's record is empty, the local holds its reference. (dev_xdp_set_prog)"""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"clear finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), k.get(s.XDP_STATE, t))
        k.set(s.XDP_STATE, (t,), NONE)

    words = f"notes that the device has none; {{{reg}}} is held by the call"
    return Step(f"clear state -> {reg}", words, effect, regs={reg: "maybe"}, kinds=("prog",))
