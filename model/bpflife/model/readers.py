"""CPUs inside programs: an event enters, a program looks something up, and who waits for whom.

A CPU that runs a program has no count for it, nor for an inner map that it finds in a map of maps:
what it sees is only freed after a grace period of its *flavour*. A hook is entered under RCU or
under RCU tasks trace (where programs may sleep); a program that may not sleep takes RCU as well
while it runs. A system without sleepable programs has one flavour.
(bpf_prog_run_array_uprobe, bpf_prog_run_array: include/linux/bpf.h)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from . import state as s
from .state import Family, View
from .steps import Env
from .values import CPU, IDX, NONE, OBJ, And, Not, Or, Sort, Value, eq, ne, one_of

TRACE = "rcu tasks trace"
Params = tuple[tuple[str, Sort, str], ...]
Row = tuple[str, Params, Callable[[View, Env], None], bool, str]  # name, ..., internal, words


def asleep(k: View, prog: Value) -> Value:
    """The program may sleep: it runs, and is freed, under RCU tasks trace."""
    return eq(k.get(s.SLEEPABLE, prog), s.SLEEP.yes)


def has_inner_maps(parts: Collection[str]) -> bool:
    """A program can find a map in a map."""
    return {"flavours", "maps"} <= set(parts)


def inside(k: View, cpu: Value, parts: Collection[str], rcu: Value, trace: Value) -> Value:
    """The CPU is a reader of RCU, if that is asked, or of RCU tasks trace, if that is."""
    if "flavours" not in parts:
        return And(rcu, ne(k.get(s.RUNNING, cpu), NONE))
    return Or(And(rcu, k.get(s.IN_RCU, cpu)), And(trace, k.get(s.IN_TRACE, cpu)))


def reader_rules(
    entry: Family,
    targets: Sequence[str],
    links: Sequence[str],
    traced: Sequence[str],
    parts: Sequence[str],
    traced_links: Sequence[str] = (),
) -> list[Row]:
    """What CPUs do. `links`: the kinds of attachments that an event runs; not those that have put
    their program into the hook's entry. `traced`: the kinds of hooks that are entered under RCU
    tasks trace; `traced_links`: those of attachments to such hooks."""
    flavours, nested = "flavours" in parts, has_inner_maps(parts)

    def start(k: View, c: Value, hook: Value, prog: Value, link: Value) -> None:
        k.when(eq(k.get(s.RUNNING, c), NONE))
        k.when(k.live(hook))
        k.when(ne(prog, NONE))
        k.set(s.RUNNING, (c,), prog)
        if flavours:
            trace = k.kind(hook, *traced) if traced else False
            k.set(s.INSIDE, (c,), hook)
        if traced_links:
            k.set(s.CALLED_BY, (c,), link)
        if flavours:
            k.set(s.IN_TRACE, (c,), trace)
            k.set(s.IN_RCU, (c,), Not(trace))

    def enter(k: View, e: Env) -> None:
        hook, prog = e["hook"], k.get(entry, e["hook"])
        link = k.get(s.ENTRY_BY, hook) if "entry_by" in parts else NONE
        start(k, e["c"], hook, prog, link)

    def enter_link(k: View, e: Env) -> None:
        link = e["link"]
        start(k, e["c"], k.get(s.LISTED, link), k.get(s.LINK_PROG, link), link)

    def nest(k: View, e: Env) -> None:
        c = e["c"]
        k.when(ne(k.get(s.RUNNING, c), NONE))
        k.when(Not(Or(k.get(s.IN_RCU, c), asleep(k, k.get(s.RUNNING, c)))))
        k.set(s.IN_RCU, (c,), True)

    def look_up(k: View, e: Env) -> None:
        c = e["c"]
        prog = k.get(s.RUNNING, c)
        k.when(And(ne(prog, NONE), Or(k.get(s.IN_RCU, c), asleep(k, prog))))
        outer = k.get(s.USED, prog, e["i"])
        k.when(And(k.kind(outer, "map"), one_of(k.get(s.MTYPE, outer), s.HOLDS_MAPS)))
        inner = k.get(s.ELEM, outer, e["n"])
        k.when(k.kind(inner, "map"))
        k.set(s.SEES, (c,), inner)
        k.set(s.SEEN_BY, (c,), e["i"])
        k.set(s.SEEN_AT, (c,), e["n"])

    def leave(k: View, e: Env) -> None:
        c = e["c"]
        k.when(ne(k.get(s.RUNNING, c), NONE))
        k.set(s.RUNNING, (c,), NONE)
        if flavours:
            k.set(s.INSIDE, (c,), NONE)
            k.set(s.IN_TRACE, (c,), False)
            k.set(s.IN_RCU, (c,), False)
        if traced_links:
            k.set(s.CALLED_BY, (c,), NONE)
        if nested:
            for family in (s.SEES, s.SEEN_BY, s.SEEN_AT):
                k.set(family, (c,), NONE)
        for waits in (s.GP_OBJ, s.GP_CALL):
            k.each(waits, lambda old, _, cpu: And(old, ne(cpu, c)))

    cpu, hook = ("c", CPU, ""), ("hook", OBJ, "|".join(targets))
    found: list[Row] = [
        ("enter", (cpu, hook), enter, False,
         "an event: {c} runs what is attached to {hook}; a running program has no count for it"),
        ("leave", (cpu,), leave, True, "{c} leaves the program"),
    ]  # fmt: skip
    if links:
        link = ("link", OBJ, "|".join(links))
        words = "an event: {c} runs the program of {link}; a running program has no count for it"
        found.append(("enter_link", (cpu, link), enter_link, False, words))
    if traced:
        words = "{c} holds RCU too, while the program runs: it may not sleep"
        found.append(("nest", (cpu,), nest, True, words))
    if nested:
        words = "the program on {c} finds an inner map, and has no count for it"
        found.append(("look_up", (cpu, ("i", IDX, ""), ("n", IDX, "")), look_up, False, words))
    return found
