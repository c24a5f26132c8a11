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
from ..steps import Env, Frame, Step, StepError
from ..values import NONE, OBJ, And, If, Not, Or, eq, ne
from .registry import step


@step("dispatch: begin", part="xdp")
def _dispatch(f: Frame) -> Step:
    """The dispatcher takes in what the device runs now, if it does not have it yet, and lets go of
    what the device ran before, if none runs that any more. If one of both was so, a grace period
    starts. (bpf_dispatcher_change_prog: kernel/bpf/dispatcher.c; it has room for 48 programs)"""

    kind = next((kind for kind in f.targets if kind in s.XDP_STATE.owners), "")
    if not kind:
        raise StepError("dispatch: the hook is no network device")

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        new, old = k.get(f.entry, t), k.get(s.XDP_STATE, t)
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
    return Step("dispatch: begin", words, effect)


@step("swap state <-> {reg}", part="xdp")
def _swap(f: Frame, reg: str) -> Step:
    """The device's record of its program and the local change places. (dev_xdp_set_prog)"""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        old, new = k.get(s.XDP_STATE, t), k.get(f.reg(reg), e["me"])
        k.set(s.XDP_STATE, (t,), new)
        k.set(f.reg(reg), (e["me"],), old)

    words = f"notes {{{reg}}} as the device's program; the local holds the one that it was"
    return Step(f"swap state <-> {reg}", words, effect, regs={reg: "maybe"}, kinds=("prog",))


@step("clear state -> {reg}", part="xdp")
def _clear(f: Frame, reg: str) -> Step:
    """The device's record is empty, the local holds its reference. (dev_xdp_set_prog)"""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"clear finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), k.get(s.XDP_STATE, t))
        k.set(s.XDP_STATE, (t,), NONE)

    words = f"notes that the device has none; {{{reg}}} is held by the call"
    return Step(f"clear state -> {reg}", words, effect, regs={reg: "maybe"}, kinds=("prog",))
