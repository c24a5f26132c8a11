"""Waiting and ending: grace periods, work items, the end of a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .. import state as s
from ..readers import asleep, inside
from ..state import View
from ..steps import Env, Frame, Step
from ..values import RUN, Not, Or, Value
from .registry import nothing, step


@step("wait rcu: begin")
def _wait_begin(f: Frame) -> Step:
    """A grace period starts: it waits for the CPUs that are inside a program now; if there are
    sleepable ones, for those that hold RCU. (synchronize_rcu, call_rcu)"""
    return _begin(f, "wait rcu: begin", lambda k, e: (True, False))


@step("wait rcu tasks trace: begin")
def _wait_trace(f: Frame) -> Step:
    """A grace period for those that may sleep: it waits for the CPUs that are inside a hook which
    is entered under RCU tasks trace. (synchronize_rcu_tasks_trace)"""
    return _begin(f, "wait rcu tasks trace: begin", lambda k, e: (False, True))


@step("wait rcu by flavour: begin")
def _wait_flavour(f: Frame) -> Step:
    """A dead program's grace period: of RCU tasks trace if it may sleep, else of RCU.
    (__bpf_prog_put_noref: kernel/bpf/syscall.c)"""

    def flavour(k: View, e: Env) -> tuple[Value, Value]:
        trace = asleep(k, e["me"]) if "flavours" in f.parts else False
        return Not(trace), trace

    return _begin(f, "wait rcu by flavour: begin", flavour)


@step("wait rcu if deferred: begin", part="maps")
def _wait_deferred(f: Frame) -> Step:
    """A dead map that was taken out of a map of maps waits for who may have found it there: for
    RCU, and for RCU tasks trace if sleepable programs used the outer map. Any other is freed at
    once. (bpf_map_put, bpf_map_free_mult_rcu_gp: kernel/bpf/syscall.c)"""

    def flavour(k: View, e: Env) -> tuple[Value, Value]:
        mult = k.get(s.AFTER_MULT, e["me"])
        return Or(mult, k.get(s.AFTER_RCU, e["me"])), mult

    return replace(_begin(f, "wait rcu if deferred: begin", flavour), idle=_not_deferred)


@step("wait rcu if deferred: end", part="maps")
def _deferred_end(f: Frame) -> Step:
    """The same grace period ends."""
    return replace(_wait_end(f), text="wait rcu if deferred: end", idle=_not_deferred)


def _not_deferred(k: View, e: Env) -> Value:
    marked = Or(k.get(s.AFTER_MULT, e["me"]), k.get(s.AFTER_RCU, e["me"]))
    return Not(marked)


def _begin(
    f: Frame, text: str, flavour: Callable[[View, Env], tuple[Value, Value]]
) -> Step:  # fmt: skip
    def effect(k: View, e: Env) -> None:
        rcu, trace = flavour(k, e)
        k.start_grace_period(f.gp, e["me"], lambda cpu: inside(k, cpu, f.parts, rcu, trace))

    words = "a grace period starts: CPUs that are inside now must leave"
    return Step(text, words, effect)


@step("wait rcu: end")
def _wait_end(f: Frame) -> Step:
    """The grace period ends when all the CPUs that it waits for have left."""
    words = "the grace period is over: every CPU that was inside has left"
    return Step(
        "wait rcu: end", words, nothing, waits=lambda k, e: k.grace_period_over(f.gp, e["me"])
    )


@step("work")
def _work(f: Frame) -> Step:
    """A work item runs later, on some kernel thread. (queue_work)"""
    return Step("work", "a work item of the kernel runs", nothing)


@step("exit")
def _exit(f: Frame) -> Step:
    """The process ends: its descriptors will be closed one by one. (exit_group, exit_files)"""

    def effect(k: View, e: Env) -> None:
        k.set(s.RUN_OF, (k.get(s.PROC_OF, e["me"]),), RUN.exiting)

    return Step("exit", "ends; its descriptors are closed one by one", effect)


WAITS = {  # a step in words -> its two halves
    text: (f"{text}: begin", "wait rcu: end")
    for text in (
        *("wait rcu", "wait rcu tasks trace", "wait rcu by flavour"),
        *("dispatch", "dispatch of link"),
    )
} | {"wait rcu if deferred": ("wait rcu if deferred: begin", "wait rcu if deferred: end")}
