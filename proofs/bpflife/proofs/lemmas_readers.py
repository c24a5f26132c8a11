"""Candidate lemmas about readers: who runs, and who has found an inner map, is waited for.

They are derived from the release graphs (where the grace period begins, and where it runs) and the
cards (under which flavour a hook is entered).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bpflife.model import state as s
from bpflife.model.cards import AttachCard
from bpflife.model.graphs import Graph
from bpflife.model.properties import Invariant
from bpflife.model.readers import asleep
from bpflife.model.state import Family, View
from bpflife.model.system import System
from bpflife.model.values import (
    CPU,
    IDX,
    LIFE,
    NONE,
    OBJ,
    And,
    Implies,
    Not,
    Or,
    Value,
    eq,
    ne,
    one_of,
)
from bpflife.model.vocabulary.programs import may_sleep


def of_readers(system: System) -> list[Invariant]:
    """All of them, for this system. Without a hook nothing is ever run."""
    if not system.targets:
        slots = [f for f in (s.RUNNING, s.SEES) if f in system.families]
        return [Invariant(f"no CPU has {f.name}", (CPU,), _never(f)) for f in slots]
    found = [_waited_for(system), *_entries(system)]
    if s.IN_RCU in system.families:
        found += _flavours(system)
    if s.SEES in system.families:
        found += [_sees(system), *_elements()]
    return found


def _never(family: Family) -> Callable[[View, Value], Value]:
    return lambda k, c: eq(k.get(family, c), NONE)


def _around_wait(graph: Graph) -> tuple[list[int], list[int]]:
    """The places of a release path before its grace period begins, and while it waits."""
    begins = [
        e for e in graph.edges if e.step.text.startswith("wait ") and ": begin" in e.step.text
    ]
    if not begins:
        return [], []
    return list(range(graph.base, begins[0].source + 1)), [begins[0].target]


def _yet(k: View, graph: Graph, o: Value, c: Value) -> Value:
    """The object dies, and its grace period has not begun or waits for this CPU."""
    before, during = _around_wait(graph)
    at = k.get(s.AT, o)
    waits = And(one_of(at, during), k.get(s.GP_OBJ, o, c))
    return And(eq(k.get(s.LIFE_OF, o), LIFE.dying), Or(one_of(at, before), waits))


def _matches(k: View, p: Value, c: Value) -> Value:
    """The CPU holds the flavour of RCU that the program's own grace period waits for."""
    trace = asleep(k, p)
    return Or(And(trace, k.get(s.IN_TRACE, c)), And(Not(trace), k.get(s.IN_RCU, c)))


def _waited_for(system: System) -> Invariant:
    """Who runs is live, or dying and not yet past the grace period that waits for this CPU; where
    the flavours differ, the hook that was entered has it, or waits itself before it lets go."""
    graph = system.releases["prog"]
    flavours = s.IN_RCU in system.families
    dying = [f for f in system.families if f.name.startswith("dying.")]
    links = system.traced_links

    def held(k: View, p: Value, c: Value) -> Value:
        hook = k.get(s.INSIDE, c)
        waits = Or(
            *[And(k.kind(hook, x), _yet(k, system.releases[x], hook, c)) for x in system.targets]
        )
        in_hand = Or(*[eq(k.get(f, hook), p) for f in dying])
        own = Or(eq(k.get(system.entry, hook), p), And(in_hand, waits))
        return own if not links else Or(And(eq(k.get(s.CALLED_BY, c), NONE), own), by_link(k, p, c))

    def by_link(k: View, p: Value, c: Value) -> Value:
        link = k.get(s.CALLED_BY, c)
        waits = [And(k.kind(link, x), _yet(k, system.releases[x], link, c)) for x in links]
        attached = And(k.kind(link, *links), ne(k.get(s.LISTED, link), NONE))
        return And(eq(k.get(s.LINK_PROG, link), p), Or(attached, *waits))

    def body(k: View, c: Value) -> Value:
        p = k.get(s.RUNNING, c)
        safe = Or(k.live(p), _yet(k, graph, p, c))
        if flavours:
            safe = Or(And(_matches(k, p, c), safe), held(k, p, c))
        return Or(eq(p, NONE), And(k.kind(p, "prog"), safe))

    return Invariant("a running program is live or its grace period waits", (CPU,), body)


def _entries(system: System) -> list[Invariant]:
    """The entry of a hook and the link that has put its program there know each other; a program
    that a CPU has found there otherwise, and may yet run, is of no link."""
    kinds = [kind for kind in system.in_entries if kind in system.keepers]

    def of_link(k: View, link: Value) -> Value:
        t = k.get(s.LISTED, link)
        same = eq(k.get(system.entry, t), k.get(s.LINK_PROG, link))
        both = And(eq(k.get(s.ENTRY_BY, t), link), same)
        return Implies(And(k.kind(link, *kinds), ne(t, NONE)), both)

    def of_hook(k: View, t: Value) -> Value:
        link = k.get(s.ENTRY_BY, t)
        return Or(eq(link, NONE), And(k.kind(link, *kinds), eq(k.get(s.LISTED, link), t)))

    def alone(k: View, c: Value) -> Value:
        hook, p = k.get(s.INSIDE, c), k.get(s.RUNNING, c)
        found = And(ne(p, NONE), eq(k.get(system.entry, hook), p), eq(k.get(s.CALLED_BY, c), NONE))
        found = And(found, Not(_matches(k, p, c)))
        return Implies(found, eq(k.get(s.ENTRY_BY, hook), NONE))

    if not kinds:
        return []
    found = [
        Invariant("the entry has the program of the link that is attached", (OBJ,), of_link),
        Invariant("whose program the entry has is attached", (OBJ,), of_hook),
    ]
    words = "who found a program of no link is in a hook without one"
    traced = s.CALLED_BY in system.families
    return [*found, Invariant(words, (CPU,), alone)] if traced else found


def _flavours(system: System) -> list[Invariant]:
    """Which flavour a CPU holds follows from the hook; what is attached is of the hook's type."""

    def entered(k: View, c: Value) -> Value:
        idle, hook = eq(k.get(s.RUNNING, c), NONE), k.get(s.INSIDE, c)
        rcu, trace = k.get(s.IN_RCU, c), k.get(s.IN_TRACE, c)
        by = k.kind(hook, *system.traced) if system.traced else False
        rules = And(Implies(trace, by), Implies(by, trace), Or(rcu, trace))
        return And(Implies(idle, Not(Or(rcu, trace))), Or(idle, And(ne(hook, NONE), rules)))

    def awake(k: View, c: Value) -> Value:
        return Implies(k.get(s.IN_RCU, c), Not(asleep(k, k.get(s.RUNNING, c))))

    def fits(k: View, o: Value) -> Value:
        frame = system.releases["prog"].frame
        return Implies(
            asleep(k, o), And(k.kind(o, "prog"), may_sleep(frame, k.get(system.ptype, o)))
        )

    places = [(system.entry, system.entry_of)]
    if system.attachments:
        places.append((s.LINK_PROG, system.attachments))
    return [
        Invariant("a CPU holds the flavour of the hook that it has entered", (CPU,), entered),
        Invariant("who holds RCU runs no program that may sleep", (CPU,), awake),
        Invariant("a program may sleep if its type may", (OBJ,), fits),
        *(_typed(system, family, kinds) for family, kinds in places),
    ]


def _typed(system: System, family: Family, kinds: Mapping[str, AttachCard]) -> Invariant:
    def body(k: View, o: Value) -> Value:
        prog = k.get(family, o)
        right = [
            Implies(k.kind(o, kind), eq(k.get(system.ptype, prog), system.type_of(card)))
            for kind, card in kinds.items()
        ]
        return Or(eq(prog, NONE), And(*right))

    return Invariant(f"{family.name} is of the type of the hook", (OBJ,), body)


def of_type(system: System, wanted: int, register: Family) -> object:
    """At a place of a card's call: the local's program is of the hook's type."""
    return lambda k, t: Or(
        eq(k.get(register, t), NONE), eq(k.get(system.ptype, k.get(register, t)), wanted)
    )


def _sees(system: System) -> Invariant:
    """An inner map that a program has found is still there, or waits for this CPU when it dies."""
    graph = system.releases["map"]

    def body(k: View, c: Value) -> Value:
        m, p = k.get(s.SEES, c), k.get(s.RUNNING, c)
        outer = k.get(s.USED, p, k.get(s.SEEN_BY, c))
        rcu, trace = k.get(s.IN_RCU, c), k.get(s.IN_TRACE, c)
        mult, once = k.get(s.AFTER_MULT, m), k.get(s.AFTER_RCU, m)
        marked = Or(And(mult, Or(rcu, trace)), And(once, rcu))
        there = eq(k.get(s.ELEM, outer, k.get(s.SEEN_AT, c)), m)
        counted = And(asleep(k, p), eq(k.get(s.USED_ASLEEP, p, k.get(s.SEEN_BY, c)), outer))
        found = And(
            k.kind(m, "map"), ne(p, NONE), Or(rcu, counted),
            one_of(k.get(s.MTYPE, outer), s.HOLDS_MAPS),
        )  # fmt: skip
        safe = Or(And(k.live(m), Or(there, marked)), And(marked, _yet(k, graph, m, c)))
        return Or(eq(m, NONE), And(found, safe))

    return Invariant("an inner map that is seen is there or its grace period waits", (CPU,), body)


def _elements() -> list[Invariant]:
    """Only a prog array is emptied by work, only a perf event array by a file that is closed, only
    a devmap by a device that goes."""
    taken = (s.MAP_TYPE.perf_event_array, s.MAP_TYPE.devmap)
    return [
        Invariant(
            "only what is cleared has work to do",
            (OBJ,),
            lambda k, o: Or(eq(k.get(s.FLUSH, o), NONE), one_of(k.get(s.MTYPE, o), s.CLEARED)),
        ),
        Invariant(
            "only some maps have elements that others take with them",
            (OBJ, IDX),
            lambda k, o, i: Or(eq(k.get(s.VIA, o, i), NONE), one_of(k.get(s.MTYPE, o), taken)),
        ),
    ]
