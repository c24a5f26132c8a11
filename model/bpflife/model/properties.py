"""Properties: what must hold, in the words of a reviewer and as functions over a view.

The same function is evaluated on numbers (every state of a search, every test), on the bounded
and on the unbounded view. An `Invariant` speaks of one state for all entities of its sorts; a
step property compares the states before and after a step of a named operation; an end-state
property speaks of states in which the kernel has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import state as s
from .graphs import IDLE
from .rules import Rule
from .state import Family, View
from .system import System
from .values import (
    CPU,
    LIFE,
    NONE,
    OBJ,
    PATH,
    PROC,
    RUN,
    TASK,
    And,
    Implies,
    Or,
    Sort,
    Value,
    at_least,
    eq,
    ne,
    one_of,
)


@dataclass(frozen=True)
class Invariant:
    """`body(view, *xs)` holds for all entities xs of the sorts (none excluded).

    `places`: it only speaks of tasks at these places of a call (an engine may skip steps that lead
    elsewhere). `kinds`: of its object, when it speaks of no other. `wrong`: what to say where it
    is false; `{x}` is the entity, `{refcnt}`, `{usercnt}`, `{holders}`, `{users}`, `{life}` and
    `{prog}` (what it runs) are of it.
    """

    name: str
    sorts: tuple[Sort, ...]
    body: Callable[..., Value]
    places: frozenset[int] | None = None
    kinds: tuple[str, ...] = ()
    wrong: str = ""


@dataclass(frozen=True)
class Property:
    """One question of a reviewer.

    `form`: "state", "step" (of `operation`), "end" or "needs" (every step finds what it needs).
    `sources`: who asked it, and why.
    """

    name: str
    title: str
    sentence: str
    form: str
    invariants: Callable[[System], list[Invariant]]
    operation: str = ""
    sources: tuple[str, ...] = ()

    def applies(self, system: System, api: str) -> str:
        """ "" when the property applies to the card, else the field that makes it not apply."""
        if self.operation and getattr(system.cards[api].operations, self.operation) is None:
            return f"operations.{self.operation}: the card has none"
        return ""


# ---------------------------------------------------------------------------------------------
# counts


def exact(system: System, kind: str) -> Invariant:
    """refcnt is the number of counted slots that point at an object of this kind."""
    return Invariant(
        f"refcnt of a {kind} = holders",
        (OBJ,),
        lambda k, o: Implies(
            k.kind(o, kind),
            k.same(k.get(s.REFCNT, o), k.holders(system.holder_families(kind), o)),
        ),
        kinds=(kind,),
        wrong="{x}: refcnt is {refcnt}, but the number of places that hold it is {holders}",
    )


def user_exact(system: System) -> Invariant:
    """usercnt is the number of open files and pins of a map."""
    return Invariant(
        "usercnt of a map = user holders",
        (OBJ,),
        lambda k, o: Implies(
            k.kind(o, "map"), k.same(k.get(s.USERCNT, o), k.holders(system.user, o))
        ),
        kinds=("map",),
        wrong="{x}: usercnt is {usercnt}, but the number of its users is {users}",
    )


def tally_exact(family: Family, number: Family) -> Invariant:
    """A number that is no reference count is the number of slots that count into it."""
    return Invariant(
        f"{number.name} = {family.name}",
        (OBJ,),
        lambda k, o: k.same(k.get(number, o), k.holders([family], o)),
        kinds=family.targets,
        wrong=f"{{x}}: {number.name} is not how many slots `{family.name}` point at it",
    )


def live_is_counted(kind: str) -> Invariant:
    """Live exactly when the count is above zero: nothing with a count is dying or freed."""

    def body(k: View, o: Value) -> Value:
        counted = at_least(k.get(s.REFCNT, o), 1)
        same = And(Implies(k.live(o), counted), Implies(counted, k.live(o)))
        return Implies(k.kind(o, kind), same)

    name = f"a {kind} lives = its count is above zero"
    return Invariant(name, (OBJ,), body, kinds=(kind,), wrong="{x} is {life} with refcnt {refcnt}")


def points_at(system: System, family: Family) -> Invariant:
    """The slots of a family point at objects of its kinds: nobody else is a holder."""
    kinds = system.targets_of(family)

    def body(k: View, *args: Value) -> Value:
        o = k.get(family, *args)
        return Or(eq(o, NONE), k.kind(o, *kinds))

    name = f"{family.name} points at {' or '.join(kinds)}"
    return Invariant(name, family.args, body, wrong=f"{{x}}: not so: {name}")


def freed_is_empty(family: Family) -> Invariant:
    """A freed object's slots hold nothing: what it still held would never be given back."""

    def body(k: View, o: Value, *rest: Value) -> Value:
        return Implies(eq(k.get(s.LIFE_OF, o), LIFE.freed), eq(k.get(family, o, *rest), NONE))

    name = f"a freed object has no {family.name}"
    return Invariant(name, family.args, body, wrong="{x} is freed, and what it held is leaked")


def freed_has_no_names() -> Invariant:
    """A name in a freed instance of bpffs holds nothing: nobody could ever remove it."""

    def body(k: View, path: Value) -> Value:
        gone = eq(k.get(s.LIFE_OF, k.get(s.INST, path)), LIFE.freed)
        return Implies(gone, eq(k.get(s.PIN, path), NONE))

    name = "a freed instance has no pin"
    return Invariant(name, (PATH,), body, wrong="the instance of {x} is freed, and it still pins")


def counts(system: System) -> list[Invariant]:
    """The invariants of reference counting, kind by kind."""
    found = [user_exact(system)]
    for kind in system.kinds:
        found += [exact(system, kind), live_is_counted(kind)]
    found += [tally_exact(f, f.into) for f in system.families if f.into]
    found += [points_at(system, f) for f in system.tallied if system.targets_of(f)]
    found += [freed_is_empty(f) for f in system.counted if f.args[0] == OBJ]
    return found + ([freed_has_no_names()] if s.INST in system.families else [])


# ---------------------------------------------------------------------------------------------
# reachability


def _not_freed(k: View, prog: Value) -> Value:
    return Or(eq(prog, NONE), ne(k.get(s.LIFE_OF, prog), LIFE.freed))


def reachable(system: System) -> list[Invariant]:
    """What a hook points at, or a CPU runs, is not freed memory."""
    by_hook = Invariant(
        "a hook's program is not freed",
        (OBJ,),
        lambda k, t: Implies(k.live(t), _not_freed(k, k.get(system.entry, t))),
        wrong="{x} still points at {prog}, which is freed: the next event runs freed memory",
    )
    by_link = Invariant(
        "an attachment is not freed, nor its program",
        (OBJ,),
        lambda k, link: Or(
            eq(k.get(s.LISTED, link), NONE),
            And(
                _not_freed(k, link),
                ne(k.get(s.LINK_PROG, link), NONE),
                _not_freed(k, k.get(s.LINK_PROG, link)),
            ),
        ),
        kinds=tuple(system.attachments),
        wrong="{x} is attached, and it or its program is freed: the next event runs freed memory",
    )
    of_link = Invariant(
        "an attachment's target is not freed",
        (OBJ,),
        lambda k, link: ne(k.get(s.LIFE_OF, k.get(s.LISTED, link)), LIFE.freed),
        kinds=tuple(system.attachments),
        wrong="{x} still points at a hook that is freed: its end, or an update, uses freed memory",
    )
    by_cpu = Invariant(
        "a running program is not freed",
        (CPU,),
        lambda k, c: _not_freed(k, k.get(s.RUNNING, c)),
        wrong="{x} is inside {prog}, which is freed",
    )
    seen = Invariant(
        "an inner map that is seen is not freed",
        (CPU,),
        lambda k, c: _not_freed(k, k.get(s.SEES, c)),
        wrong="{x} has found an inner map that is freed",
    )
    linked = [by_link, of_link] if system.attachments else []
    found = [by_hook, *linked, by_cpu] if system.targets else [by_cpu]
    return [*found, seen] if s.SEES in system.families else found


# ---------------------------------------------------------------------------------------------
# steps and ends


def emptied(system: System, before: View, after: View, place: Value) -> Value:
    """The step empties a populated place of a hook whose target lives on. A place is the hook's
    entry (of the target), or an attached link."""
    entry = And(
        before.live(place),
        ne(before.get(system.entry, place), NONE),
        eq(after.get(system.entry, place), NONE),
    )
    if not system.attachments:
        return entry
    target = before.get(s.LISTED, place)
    gone = Or(ne(after.get(s.LISTED, place), target), eq(after.get(s.LINK_PROG, place), NONE))
    return Or(entry, And(before.live(target), gone))


def places(system: System) -> tuple[str, ...]:
    """The kinds of object that can be a place for a program: what `emptied` is asked about."""
    return (*system.targets, *system.attachments)


def quiet_owner(k: View) -> list[tuple[str, Sort, Callable[[Value], Value]]]:
    """The premises of the crash property, each for all entities of its sort: no process runs, no
    call is in flight, nothing is pinned. (Name, sort, premise.)"""
    return [
        ("no process runs", PROC,
         lambda p: one_of(k.get(s.RUN_OF, p), (RUN.unborn, RUN.exited))),
        ("no call is in flight", TASK, lambda t: eq(k.get(s.PC, t), IDLE)),
        ("nothing is pinned", PATH, lambda p: eq(k.get(s.PIN, p), NONE)),
        ("no CPU runs a program", CPU, lambda c: eq(k.get(s.RUNNING, c), NONE)),
    ]  # fmt: skip


def internal(rules: list[Rule]) -> list[Rule]:
    """The rules that the kernel carries out by itself: in an end state none can fire."""
    return [r for r in rules if r.internal]


OF_ENTRY = "nothing is attached"


def attached(system: System) -> list[Invariant]:
    """Nothing is attached: to the hook's own entry, or by a link."""
    found = []
    if system.entry.owners:
        found.append(
            Invariant(
                OF_ENTRY,
                (OBJ,),
                lambda k, t: eq(k.get(system.entry, t), NONE),
                kinds=system.entry.owners,
                wrong="every process is gone, nothing is pinned, and {prog} is still attached "
                "to {x}",
            )
        )
    if system.attachments:
        found.append(
            Invariant(
                "nothing stands in a list",
                (OBJ,),
                lambda k, link: eq(k.get(s.LISTED, link), NONE),
                kinds=tuple(system.attachments),
                wrong="every process is gone, nothing is pinned, and {x} is still attached",
            )
        )
    return found


def gone(system: System) -> list[Invariant]:
    """Nothing is still dying: what an end leaves half done would be left so for ever."""

    def body(kind: str) -> Callable[[View, Value], Value]:
        return lambda k, o: Implies(k.kind(o, kind), ne(k.get(s.LIFE_OF, o), LIFE.dying))

    wrong = "the kernel has nothing left to do, and {x} is still dying: it is never freed"
    return [
        Invariant(f"no {kind} is dying", (OBJ,), body(kind), kinds=(kind,), wrong=wrong)
        for kind in system.kinds
    ]


def _none(_: System) -> list[Invariant]:
    return []


CATALOGUE: dict[str, Property] = {
    p.name: p
    for p in (
        Property(
            "count-equals-holders",
            "the count is the number of holders",
            "The count of every object equals the number of places that hold it; so a freed "
            "object has no holders, and nothing that has a count is freed. What is freed holds "
            "nothing any more.",
            "state",
            counts,
            sources=("kernel/bpf/syscall.c: bpf_map_inc, bpf_map_put, bpf_prog_inc (6.12)",),
        ),
        Property(
            "reachable-not-freed",
            "what can run is not freed",
            "A program that a hook, a link or a CPU can reach is not freed, nor is the hook that "
            "an attached link points at.",
            "state",
            reachable,
            sources=("kernel/bpf/syscall.c:__bpf_prog_put_noref waits a grace period (6.12)",),
        ),
        Property(
            "replace-never-empty",
            "replace leaves no gap",
            "No step of a replace empties a populated hook, or takes an attached link out of it: "
            "every event finds the old program or the new one.",
            "step",
            _none,
            operation="replace",
            sources=("kernel/bpf/cgroup.c:replace_effective_prog, WRITE_ONCE (6.12)",),
        ),
        Property(
            "crash-cleans-up",
            "a crash leaves nothing attached",
            "When every process is gone, nothing is pinned and the kernel has finished its work, "
            "nothing stays attached.",
            "end",
            attached,
            sources=("Starovoitov 2018, 'Lifetime of BPF objects': global and local hooks",),
        ),
        Property(
            "dying-gets-freed",
            "what dies is freed",
            "When every process is gone, nothing is pinned and the kernel has finished its work, "
            "nothing is in the middle of its end: no release path hangs.",
            "end",
            gone,
            sources=("kernel/cgroup/cgroup.c: a cgroup that never offlines keeps its programs",),
        ),
        Property(
            "no-broken-step",
            "every step finds what it needs",
            "No step of a call finds less than it needs: a put has a reference to put, a publish "
            "an empty entry, a decrement a count above zero; no call takes a lock that it holds "
            "already, or returns with one held.",
            "needs",
            _none,
            sources=("include/linux/refcount.h: underflow is a use after free",),
        ),
    )
}
