"""Candidate lemmas that come from the step graphs: what the registers hold at each place of a call
or of a release path, which lock is held there, the conditions that its own `expect`s established.
A candidate is only a guess: `induction.py` keeps those that are inductive *for this very system*.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bpflife.model import state as s
from bpflife.model.graphs import IDLE, Facts, Graph, facts
from bpflife.model.properties import Invariant
from bpflife.model.state import Family, View
from bpflife.model.system import System
from bpflife.model.values import (
    LIFE,
    NONE,
    OBJ,
    PROC,
    TASK,
    And,
    Implies,
    Not,
    Or,
    Value,
    eq,
    ne,
    one_of,
)

from .lemmas_readers import of_type
from .writes import times_written, turning, written

FILLS = ("publish entry", "swap entry")
BESIDE = {s.PEER_BORN: s.PEER}  # whoever fills the other rests on this one's being empty


def of_graphs(system: System) -> list[Invariant]:
    """What the places of calls and of release paths say."""
    found: list[Invariant] = []
    for graph in system.graphs.values():
        found += _of_call(system, graph)
    for kind, graph in system.releases.items():
        found += _of_release(system, kind, graph)
    found += [x for f in registers(system, OBJ) for x in _dying_local(system, f)]
    return found + _locks(system)


def registers(system: System, owner: object) -> list[Family]:
    """The families of registers of tasks (or of dying objects)."""
    own = (f for f in system.families if "." in f.name and f.args == (owner,))
    return [f for f in own if f.slot and f != s.TARGET]


def owned(system: System, kind: str = "") -> list[Family]:
    """The families of slots that objects (of a kind) own, but for their locals."""
    found = [f for f in system.families if f.slot and f.args[0] == OBJ and "." not in f.name]
    return [f for f in found if f.owners and (not kind or kind in f.owners)]


def _of_call(system: System, graph: Graph) -> list[Invariant]:
    """What is said of the places of a call. What the text leaves no doubt about is one lemma for
    all the places of which it can be said (a third as many lemmas, and none is lost for another's
    sake); a guess stands for itself, as it may be wrong at one place only."""
    found, wrote = [], written(system, graph)
    certain: dict[str, tuple[object, list[int]]] = {}
    for place, fact in facts(graph).items():
        if place == IDLE:
            continue
        name = graph.place_names[place - graph.base]
        for said in _at_place(system, graph, fact, Writes(wrote[place], wrote[IDLE])):
            if said.certain:
                certain.setdefault(said.what, (said.holds, []))[1].append(place)
            else:
                found.append(_at(f"at {name}: {said.what}", said.holds, [place]))
        if fact.locked and any(e.step.text == "expect no member" for e in graph.edges):
            found.append(_deserted(name, place))
    return found + [_at(f"in {graph.name}: {w}", holds, at) for w, (holds, at) in certain.items()]


def _at(name: str, holds: object, places: Sequence[int]) -> Invariant:
    def body(k: View, t: Value) -> Value:
        return Implies(one_of(k.get(s.PC, t), places), holds(k, t))  # type: ignore[operator]

    return Invariant(name, (TASK,), body, frozenset(places))


@dataclass(frozen=True)
class Said:
    """Of a task at a place of a call. `certain`: by the text alone; else it is a guess."""

    what: str
    holds: object
    certain: bool = False


@dataclass(frozen=True)
class Writes:
    """The families that a call may have written at a place, and those that it writes anywhere."""

    before: frozenset[str]
    ever: frozenset[str]

    def later(self, family: Family) -> bool:
        """Only now does the call fill it: it may rest on its being empty."""
        return family.name in self.ever - self.before


def _at_place(system: System, graph: Graph, fact: Facts, wrote: Writes) -> Iterator[Said]:
    registered = {f.name: r for r, f in graph.frame.registers.items()}
    others = [f for f in registers(system, TASK) if f.name not in registered]
    if others:
        yield Said("the locals of other calls are empty", _all_empty(others), True)
    for family in [f for f in registers(system, TASK) if f.name in registered]:
        yield from _of_local(system, graph, family, registered[family.name], fact)
    for what, holds in _made(system, graph, fact, wrote):
        yield Said(what, holds)
    for r, kind in fact.behind.items():
        if kind in system.kinds:
            register = graph.frame.registers[r]
            yield Said(f"{register.name} is of a {kind}", _of_kind(register, kind), True)
    if s.CHILD in system.families:
        yield Said("no child", _is(s.CHILD, True))
        if s.CHILD.name in wrote.before:
            yield Said("a child", _is(s.CHILD, False))
    if not fact.target:
        yield Said("no target", _is(s.TARGET, True), True)
        return
    yield from _of_target(system, graph, fact)


def _of_local(
    system: System, graph: Graph, family: Family, register: str, fact: Facts
) -> Iterator[Said]:
    state, kinds = fact.regs[register], fact.kinds.get(register, ())
    if state == "empty":
        yield Said(f"{family.name} empty", _is(family, True), True)
        return
    if state == "full":
        yield Said(f"{family.name} full", _is(family, False), True)
    else:  # "maybe" may be full too
        yield Said(f"{family.name} full all the same", _is(family, False))
    if kinds:
        yield Said(f"{family.name} is {' or '.join(kinds)}", _is_kind(family, kinds), True)
    wanted = graph.frame.program_type
    if kinds == ("prog",) and wanted >= 0 and s.IN_RCU in system.families:
        yield Said(f"{family.name} fits the hook", of_type(system, wanted, family))


def _of_target(system: System, graph: Graph, fact: Facts) -> Iterator[Said]:
    kind = fact.target
    yield Said(f"target is {kind}", lambda k, t: k.kind(k.get(s.TARGET, t), kind), True)
    for r, state in fact.regs.items():
        family = graph.frame.registers[r]
        if state == "full" and fact.kinds.get(r) == ("file",):
            yield Said(f"target is behind {r}", _behind(family))
        if state == "full" and fact.kinds.get(r) == (kind,):
            yield Said(f"target is {r}", _target(family))
    for what, holds in _kept(system, graph, fact):
        yield Said(what, holds)
    if not fact.locked:
        yield Said("lock not held", _unlocked, True)
        if _keeping(graph, fact):
            yield Said("target there", _there(graph, fact))
        return
    yield Said("lock held", lambda k, t: eq(k.get(s.LOCK, k.get(s.TARGET, t)), t), True)
    for what, holds in _conditions(system, graph, fact):
        yield Said(what, holds)


def _unlocked(k: View, t: Value) -> Value:
    return ne(k.get(s.LOCK, k.get(s.TARGET, t)), t)


def _kept(system: System, graph: Graph, fact: Facts) -> list[tuple[str, object]]:
    """A link in a local keeps the target: it holds it, or an open file of it."""
    found: list[tuple[str, object]] = []
    for r, state in fact.regs.items():
        kinds = fact.kinds.get(r, ())
        if state == "full" and len(kinds) == 1 and kinds[0] in system.keepers:
            register, direct = graph.frame.registers[r], system.keeps_target(kinds[0])
            found.append((f"{register.name} keeps the target", _keeps(register, direct)))
    return found


def _keeps(register: Family, direct: bool) -> object:
    def body(k: View, t: Value) -> Value:
        held = k.get(s.HOLDS, k.get(register, t))
        return eq(k.get(s.TARGET, t), held if direct else k.get(s.FILE_OBJ, held))

    return body


def _deserted(name: str, place: int) -> Invariant:
    """Asked for under the lock: nobody is a member of the target."""

    def body(k: View, t: Value, p: Value) -> Value:
        inside = eq(k.get(s.MEMBER, p), k.get(s.TARGET, t))
        return Not(And(eq(k.get(s.PC, t), place), ne(k.get(s.TARGET, t), NONE), inside))

    return Invariant(f"at {name}: nobody is in the target", (TASK, PROC), body, frozenset([place]))


def _made(system: System, graph: Graph, fact: Facts, wrote: Writes) -> list[tuple[str, object]]:
    """About objects that this call has made: they are its own, differ, and hold nothing yet."""
    found: list[tuple[str, object]] = []
    mine = sorted(fact.made)
    for r in mine if s.BY in system.families else ():
        register, kind = graph.frame.registers[r], fact.kinds[r][0]
        found.append((f"{register.name} is its own", _by(register)))
        single = [f for f in owned(system, kind) if len(f.args) == 1]
        empty = [f for f in single if wrote.later(f) or wrote.later(BESIDE.get(f, f))]
        if not all(f.counted for f in empty):  # others may write what points at it
            found.append((f"nobody else holds {register.name}", _alone(register)))
        for family in empty:
            found.append((f"{family.name} of {register.name} empty", _empty(family, register)))
        if kind == "map" and wrote.later(s.MTYPE):
            found.append((f"{register.name} has no type yet", _typeless(register)))
        for other in mine[mine.index(r) + 1 :]:
            found.append((f"{r} is not {other}", _differ(register, graph.frame.registers[other])))
    return found


def _alone(register: Family) -> object:
    return lambda k, t: k.same(k.get(s.REFCNT, k.get(register, t)), 1)


def _typeless(register: Family) -> object:
    return lambda k, t: eq(k.get(s.MTYPE, k.get(register, t)), s.MAP_TYPE.array)


def _by(register: Family) -> object:
    return lambda k, t: eq(k.get(s.BY, k.get(register, t)), t)


def _empty(family: Family, register: Family) -> object:
    return lambda k, t: eq(k.get(family, k.get(register, t)), NONE)


def _differ(a: Family, b: Family) -> object:
    return lambda k, t: Or(eq(k.get(a, t), NONE), ne(k.get(a, t), k.get(b, t)))


def _of_kind(register: Family, kind: str) -> object:
    return lambda k, t: k.kind(k.get(s.FILE_OBJ, k.get(register, t)), kind)


def _is(family: Family, empty: bool) -> object:
    return lambda k, t: eq(k.get(family, t), NONE) if empty else ne(k.get(family, t), NONE)


def _all_empty(families: list[Family]) -> object:
    """One lemma for all of them: no step of this call fills any, and there are many."""
    return lambda k, t: And(*[eq(k.get(f, t), NONE) for f in families])


def _is_kind(family: Family, kinds: tuple[str, ...]) -> object:
    return lambda k, t: Or(eq(k.get(family, t), NONE), k.kind(k.get(family, t), *kinds))


def _behind(family: Family) -> object:
    return lambda k, t: eq(k.get(s.FILE_OBJ, k.get(family, t)), k.get(s.TARGET, t))


def _conditions(system: System, graph: Graph, fact: Facts) -> list[tuple[str, object]]:
    """What an `expect` under the lock has established, where some step does so; what none asks for
    may be so by itself."""
    entry, texts = system.entry, {edge.step.text for edge in graph.edges}
    found: list[tuple[str, object]] = []

    def can_be(*establish: str) -> bool:
        asked = texts & set(establish)
        return not asked or bool(asked & fact.passed)

    if can_be("expect target live"):
        found.append(("target there", _there(graph, fact)))
    if "expect target live" in fact.passed:  # it may have started to die since, and waits
        found.append(("target alive or waiting", _waiting(_before_lock(system))))
    publishes = any(x.startswith("publish entry") for x in texts)
    if ("expect entry == none" in texts or publishes) and can_be("expect entry == none"):
        found.append(("entry empty", lambda k, t: eq(k.get(entry, k.get(s.TARGET, t)), NONE)))
    like = {r: {f"expect entry == {r}", f"get {r} from entry"} & texts for r in fact.regs}
    other = {r: {f"expect entry != {r}", f"copy {r} from entry"} & texts for r in fact.regs}
    full = {"expect entry != none", *itertools.chain(*like.values(), *other.values())}
    if full & texts and can_be(*full, *(x for x in texts if x.startswith(FILLS))):
        found.append(("entry full", lambda k, t: ne(k.get(entry, k.get(s.TARGET, t)), NONE)))
    for r in fact.regs:
        if fact.regs[r] != "empty" and (like[r] or other[r]) and can_be(*like[r], *other[r]):
            found.append((f"entry is {r}", _entry_is(entry, graph.frame.registers[r])))
    for r, state in fact.regs.items():
        told = (f"copy {r} of ", f"copy {r} named ", f"list {r} on ", f"lock target of {r}")
        if state == "full" and any(x.startswith(told) for x in fact.passed):
            found.append((f"{r} is in the list", _listed(graph.frame.registers[r])))
            if set(fact.kinds.get(r, ())) & set(system.in_entries):
                found.append((f"the entry is of {r}", _in_entry(graph.frame.registers[r])))
    return found


def _there(graph: Graph, fact: Facts) -> object:
    """The target can be found. Where an open file keeps it, that is said along: whoever puts the
    target has to find that there is one more reference."""

    def holds(k: View, t: Value) -> Value:
        kept = [x(k, t) for x in _keeping(graph, fact)]  # type: ignore[operator]
        return And(graph.frame.there(k, k.get(s.TARGET, t)), *kept)

    return holds


def _waiting(before: dict[str, range]) -> object:
    return lambda k, t: _alive_or_waiting(k, k.get(s.TARGET, t), before)


def _keeping(graph: Graph, fact: Facts) -> list[object]:
    """How the call keeps its target: a local is it, or an open file of it."""
    regs, full = graph.frame.registers, [r for r, state in fact.regs.items() if state == "full"]
    found = [_behind(regs[r]) for r in full if fact.behind.get(r) == fact.target]
    return found + [_target(regs[r]) for r in full if fact.kinds.get(r) == (fact.target,)]


def _in_entry(family: Family) -> object:
    return lambda k, t: eq(k.get(s.ENTRY_BY, k.get(s.TARGET, t)), k.get(family, t))


def _target(family: Family) -> object:
    return lambda k, t: eq(k.get(family, t), k.get(s.TARGET, t))


def _listed(family: Family) -> object:
    return lambda k, t: eq(k.get(s.LISTED, k.get(family, t)), k.get(s.TARGET, t))


def _entry_is(entry: Family, family: Family) -> object:
    return lambda k, t: eq(k.get(entry, k.get(s.TARGET, t)), k.get(family, t))


def _of_release(system: System, kind: str, graph: Graph) -> list[Invariant]:
    """What is empty, full, locked where: one lemma for all the places of which the same can be
    said, as each step that puts something may start a release path, and is asked about all."""
    known, wrote = facts(graph), written(system, graph)
    turns, times = turning(system, graph), times_written(system, graph)
    found = [_own_places(kind, list(range(graph.base, graph.base + graph.size)))]
    for family in owned(system, kind):
        if family.name not in wrote[IDLE]:  # nothing of it was there when the path began
            found.append(_dying_at(_names(graph, list(known)), list(known), family, True))
            continue
        done = [p for p in known if family.name in wrote[p] - turns.get(p, frozenset())]
        # written once, it is empty from then on; else where it is can't be told from here
        rows = [done] if times[family.name] == 1 else [[p] for p in done]
        found += [_dying_at(_names(graph, row), row, family, True) for row in rows if row]
    locked = [place for place, fact in known.items() if fact.locked]
    if locked and s.LOCK_SELF in system.families:
        found.append(_self_locked(graph, locked))
    return found


def _names(graph: Graph, places: Sequence[int]) -> str:
    return ", ".join(graph.place_names[place - graph.base] for place in places)


def _own_places(kind: str, places: list[int]) -> Invariant:
    def body(k: View, o: Value) -> Value:
        dying = And(k.kind(o, kind), eq(k.get(s.LIFE_OF, o), LIFE.dying))
        return Implies(dying, one_of(k.get(s.AT, o), places))

    return Invariant(f"a dying {kind} is in its own release path", (OBJ,), body)


def _dying_local(system: System, family: Family) -> list[Invariant]:
    """Where the local of a dying object is empty, and where it is full, in all release paths."""
    at: dict[str, dict[int, str]] = {"empty": {}, "full": {}, "maybe": {}}
    for graph in system.releases.values():
        reg = next((r for r, f in graph.frame.registers.items() if f == family), "")
        for place, fact in facts(graph).items():
            name = graph.place_names[place - graph.base]
            at[fact.regs.get(reg, "empty")][place] = name
    states = [(state == "empty", at[state]) for state in ("empty", "full") if at[state]]
    return [_dying_at(", ".join(x.values()), list(x), family, empty) for empty, x in states]


def _dying_at(name: str, places: Sequence[int], family: Family, empty: bool) -> Invariant:
    def body(k: View, o: Value, *rest: Value) -> Value:
        x = k.get(family, o, *rest)
        return Implies(one_of(k.get(s.AT, o), places), eq(x, NONE) if empty else ne(x, NONE))

    what = f"at {name}: {family.name} {'empty' if empty else 'full'}"
    return Invariant(what, family.args, body)


def _self_locked(graph: Graph, places: Sequence[int]) -> Invariant:
    def body(k: View, o: Value) -> Value:
        return Implies(one_of(k.get(s.AT, o), places), eq(k.get(s.LOCK_SELF, o), True))

    return Invariant(f"at {_names(graph, places)}: locks itself", (OBJ,), body)


def _locks(system: System) -> list[Invariant]:
    """Who holds a lock is in a locked section; idle tasks have empty registers."""
    if s.LOCK not in system.families:
        return [_idle(system)]
    inside = [
        place
        for graph in system.graphs.values()
        for place, fact in facts(graph).items()
        if fact.locked
    ]
    dying = [
        place
        for graph in system.releases.values()
        for place, fact in facts(graph).items()
        if fact.locked
    ]

    def holder(k: View, o: Value) -> Value:
        t = k.get(s.LOCK, o)
        at_work = And(one_of(k.get(s.PC, t), inside), eq(k.get(s.TARGET, t), o))
        return Or(eq(t, NONE), at_work)

    def self_holder(k: View, o: Value) -> Value:
        return Or(eq(k.get(s.LOCK_SELF, o), False), one_of(k.get(s.AT, o), dying))

    def one_holder(k: View, o: Value) -> Value:
        return Not(And(ne(k.get(s.LOCK, o), NONE), eq(k.get(s.LOCK_SELF, o), True)))

    return [
        _idle(system),
        _locked_target(system),
        Invariant("who holds the lock is in its locked section", (OBJ,), holder),
        Invariant("who locks itself is in its locked section", (OBJ,), self_holder),
        Invariant("one holder of a lock", (OBJ,), one_holder),
    ]


def _locked_target(system: System) -> Invariant:
    """A target that somebody has locked lives, or waits for the lock that its death takes."""
    before = _before_lock(system)

    def body(k: View, o: Value) -> Value:
        there = _alive_or_waiting(k, o, before)
        return Or(eq(k.get(s.LOCK, o), NONE), Not(k.kind(o, *before)), there)

    return Invariant("a locked target has not died", (OBJ,), body)


def _before_lock(system: System) -> dict[str, range]:
    """By kind of target the places of its death up to that where it takes the lock."""
    return {
        kind: range(graph.base, 1 + max(e.source for e in graph.edges if e.step.lock == 1))
        for kind, graph in system.releases.items()
        if kind in system.targets and any(e.step.lock == 1 for e in graph.edges)
    }


def _alive_or_waiting(k: View, o: Value, before: dict[str, range]) -> Value:
    waits = [And(k.kind(o, kind), one_of(k.get(s.AT, o), at)) for kind, at in before.items()]
    return Or(k.live(o), And(eq(k.get(s.LIFE_OF, o), LIFE.dying), Or(*waits)))


def _idle(system: System) -> Invariant:
    families = [f for f in (*registers(system, TASK), s.TARGET, s.CHILD) if f in system.families]

    def body(k: View, t: Value) -> Value:
        empty = And(*[eq(k.get(f, t), NONE) for f in families])
        return Or(ne(k.get(s.PC, t), IDLE), empty)

    return Invariant("idle: all locals empty", (TASK,), body)
