"""Waiting and ending: grace periods, work items, the end of a process."""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Env, Frame, Step
from ..values import RUN
from .registry import nothing, step


@step("wait rcu: begin")
def _wait_begin(f: Frame) -> Step:
    """A grace period starts: it waits for the CPUs that are inside a program now."""

    def effect(k: View, e: Env) -> None:
        k.start_grace_period(f.gp, e["me"])

    words = "a grace period starts: CPUs that are inside now must leave"
    return Step("wait rcu: begin", words, effect)


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
    "wait rcu": ("wait rcu: begin", "wait rcu: end"),
    "dispatch": ("dispatch: begin", "wait rcu: end"),
}
