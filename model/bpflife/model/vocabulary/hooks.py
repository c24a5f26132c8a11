"""The hook: its lock, what is expected of it, and every way to change its entry."""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Guard, Param, Step
from ..values import BOOL, NONE, OBJ, Not, Or, Value, eq, ne
from .registry import nothing, step


@step("lock target")
def _lock(f: Frame) -> Step:
    """Takes the target's lock; waits while somebody has it (who has it already would wait for ever:
    a violation). Readers take no lock."""

    def not_mine(k: View, e: Env) -> Value:
        if f.owner == OBJ:
            return eq(k.get(s.LOCK_SELF, e["me"]), False)
        return ne(k.get(s.LOCK, f.target(k, e)), e["me"])

    def effect(k: View, e: Env) -> None:
        if f.owner == OBJ:
            k.set(s.LOCK_SELF, (e["me"],), True)
        else:
            k.set(s.LOCK, (f.target(k, e),), e["me"])

    words = "takes the lock of the hook"
    return Step(
        "lock target", words, effect, waits=lambda k, e: k.unlocked(f.target(k, e)), lock=1,
        first=((not_mine, "a lock that is taken is not held by this call already"),),
    )  # fmt: skip


@step("unlock target")
def _unlock(f: Frame) -> Step:
    """Gives the target's lock back; it must hold it."""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        mine = k.get(s.LOCK_SELF, t) if f.owner == OBJ else eq(k.get(s.LOCK, t), e["me"])
        k.need(eq(mine, True), "unlock finds the lock held by this call")
        if f.owner == OBJ:
            k.set(s.LOCK_SELF, (t,), False)
        else:
            k.set(s.LOCK, (t,), NONE)

    return Step("unlock target", "gives the lock back", effect, lock=-1)


@step("expect entry == {what}")
def _expect_is(f: Frame, what: str, errno: str) -> Step:
    """The hook's entry holds this local's program (or `none`), else the errno."""
    if what == "none":
        holds: Guard = lambda k, e: eq(k.get(f.entry, f.target(k, e)), NONE)  # noqa: E731
    else:
        f.reg(what)
        holds = lambda k, e: eq(  # noqa: E731
            k.get(f.entry, f.target(k, e)), k.get(f.reg(what), e["me"])
        )
    text = f"expect entry == {what}"
    return Step(text, "looks at what is attached", nothing, checks=(Check(errno, holds),))


@step("expect entry == none if {flag}")
def _expect_empty_if(f: Frame, flag: str, errno: str) -> Step:
    """If the caller asks for it by a flag, nothing is attached yet, else the errno.
    (XDP_FLAGS_UPDATE_IF_NOEXIST: net/core/dev.c:dev_xdp_attach)"""

    def holds(k: View, e: Env) -> Value:
        return Or(Not(e[flag]), eq(k.get(f.entry, f.target(k, e)), NONE))

    text, words = f"expect entry == none if {flag}", "looks at what is attached"
    check = Check(errno, holds)
    return Step(text, words, nothing, (Param(flag, BOOL),), checks=(check,))


@step("expect entry != {what}")
def _expect_not(f: Frame, what: str, errno: str) -> Step:
    """The hook's entry does not hold this local's program (or is not `none`), else the errno."""
    inner = _expect_is(f, what, errno)
    check = Check(errno, lambda k, e: Not(inner.checks[0].holds(k, e)))
    return Step(f"expect entry != {what}", inner.words, nothing, checks=(check,))


@step("expect own mode", part="modes")
def _expect_mode(f: Frame, errno: str) -> Step:
    """Nothing is attached, or it was attached in the mode of this card, else the errno.
    (__cgroup_bpf_attach: cgrp->bpf.flags: kernel/bpf/cgroup.c)"""

    def holds(k: View, e: Env) -> Value:
        t = f.target(k, e)
        return Or(eq(k.get(f.entry, t), NONE), eq(k.get(f.mode_at, t), f.mode))

    words = "looks in which mode the hook is"
    return Step("expect own mode", words, nothing, checks=(Check(errno, holds),))


@step("set mode", part="modes")
def _set_mode(f: Frame) -> Step:
    """The hook is in the mode of this card as long as anything is attached."""

    def effect(k: View, e: Env) -> None:
        k.set(f.mode_at, (f.target(k, e),), f.mode)

    return Step("set mode", "notes in which mode the hook is", effect)


@step("expect target live")
def _expect_live(f: Frame, errno: str) -> Step:
    """The target is there and has not started to die, else the errno."""
    check = Check(errno, lambda k, e: f.there(k, f.target(k, e)))
    words = "checks that the target still lives"
    return Step("expect target live", words, nothing, checks=(check,))


@step("expect type of {reg}")
def _expect_type(f: Frame, reg: str, errno: str) -> Step:
    """The local's program is of the type that the hook takes, else the errno."""

    def holds(k: View, e: Env) -> Value:
        return eq(k.get(f.ptype, k.get(f.reg(reg), e["me"])), f.program_type)

    words = "looks at the type of the program"
    return Step(f"expect type of {reg}", words, nothing, checks=(Check(errno, holds),))


@step("swap entry <-> {reg}")
def _swap(f: Frame, reg: str) -> Step:
    """The hook's pointer and the local change places in one store: a reader sees the old
    program or the new one. No count changes. (xchg, rcu_replace_pointer, WRITE_ONCE)"""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        old, new = k.get(f.entry, t), k.get(f.reg(reg), e["me"])
        k.set(f.entry, (t,), new)
        k.set(f.reg(reg), (e["me"],), old)

    words = f"swaps the hook's pointer for {{{reg}}} in one store; the local holds the old one now"
    return Step(f"swap entry <-> {reg}", words, effect, regs={reg: "maybe"}, kinds=("prog",))


@step("share {other} as {reg}")
def _share(f: Frame, other: str, reg: str) -> Step:
    """A further reference to the program of another local, for a hook that holds two.
    (bpf_prog_inc: kernel/bpf/syscall.c)"""

    def effect(k: View, e: Env) -> None:
        o = k.get(f.reg(other), e["me"])
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"share finds the local {reg} empty")
        k.inc(o)
        k.set(f.reg(reg), (e["me"],), o)

    words = f"takes a second reference on {{{reg}}}: refcnt +1"
    return Step(f"share {other} as {reg}", words, effect, regs={reg: "full"}, kinds=("prog",))


@step("publish entry <- {reg}")
def _publish(f: Frame, reg: str) -> Step:
    """The hook's empty entry takes over what the local holds: events run it from now on."""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        new = k.get(f.reg(reg), e["me"])
        k.need(eq(k.get(f.entry, t), NONE), "publish finds the entry empty")
        k.need(ne(new, NONE), "publish finds a program to publish")
        k.set(f.entry, (t,), new)
        k.set(f.reg(reg), (e["me"],), NONE)

    words = "publishes the program in the hook: events run it from now on"
    return Step(f"publish entry <- {reg}", words, effect, regs={reg: "empty"})


@step("clear entry -> {reg}")
def _unpublish(f: Frame, reg: str) -> Step:
    """Unpublishes: the entry is empty, the local holds its reference; no count changes."""

    def effect(k: View, e: Env) -> None:
        t = f.target(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"clear finds the local {reg} empty")
        old = k.get(f.entry, t)
        k.set(f.entry, (t,), NONE)
        k.set(f.reg(reg), (e["me"],), old)

    words = f"empties the hook; {{{reg}}} is held by the call"
    return Step(f"clear entry -> {reg}", words, effect, regs={reg: "maybe"}, kinds=("prog",))


@step("clear entry")
def _clear(f: Frame) -> Step:
    """The pointer goes; no count changes."""

    def effect(k: View, e: Env) -> None:
        k.set(f.entry, (f.target(k, e),), NONE)

    return Step("clear entry", "clears the hook's pointer", effect)


@step("drop entry")
def _drop(f: Frame) -> Step:
    """Decrements the program in the hook; the pointer stays."""

    def effect(k: View, e: Env) -> None:
        f.drop(k, k.get(f.entry, f.target(k, e)))

    return Step("drop entry", "drops the hook's reference: refcnt -1, the pointer stays", effect)
