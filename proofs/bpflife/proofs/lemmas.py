"""Candidate lemmas, generated from a system: nobody writes them by hand.

The general ones say what is true of every reference-counted world (where slots may be occupied,
who holds a lock, for whom a grace period waits). The others come from the step graphs: what the
registers hold at each place of a call, and the conditions that its own `expect`s established.
A candidate is only a guess: `induction.py` keeps those that are inductive *for this very system*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bpflife.model import state as s
from bpflife.model.graphs import IDLE, Facts, Graph, facts
from bpflife.model.properties import Invariant, counts, points_at, reachable
from bpflife.model.readers import asleep
from bpflife.model.state import SOCKET_STATE as STATE
from bpflife.model.state import Family, View
from bpflife.model.system import System
from bpflife.model.values import (
    CPU,
    IDX,
    LIFE,
    NONE,
    OBJ,
    PATH,
    PROC,
    RUN,
    TASK,
    And,
    If,
    Implies,
    Not,
    Or,
    Value,
    at_least,
    eq,
    ne,
    one_of,
)

from .lemmas_readers import of_readers, of_type
from .writes import turning, written


def candidates(system: System) -> list[Invariant]:
    """All candidate lemmas of a system."""
    found = counts(system) + reachable(system) + _general(system)
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


def _owned(system: System, kind: str = "") -> list[Family]:
    """The families of slots that objects (of a kind) own, but for their locals."""
    found = [f for f in system.families if f.slot and f.args[0] == OBJ and "." not in f.name]
    return [f for f in found if f.owners and (not kind or kind in f.owners)]


def _general(system: System) -> list[Invariant]:
    found = [
        _only_alive("descriptor", s.FD_SLOT),
        Invariant("a task in a call has a living process", (TASK,), _call_alive),
        Invariant("a dying object is somewhere in its release path", (OBJ,), _at),
        Invariant("a grace period waits for running CPUs only", (OBJ, CPU), _gp),
    ]
    full = (s.FILE_OBJ, s.INODE_OBJ, s.ROOT)
    selves = (system.dir, s.SENT, s.FLUSH, s.MOUNTED, s.DISPATCHED)
    found += [_always_full(f) for f in full if f in system.families]
    found += [_owner_phase(f) for f in _owned(system)]
    found += [_own_slot(f) for f in selves if f in system.families]
    if system.targets and not system.entry.owners:
        found.append(_owner_phase(system.entry))  # nobody: programs are in links only
    if s.VMA in system.families:
        found += [_only_alive("mapping", s.VMA), _child()]
    if s.WRITES in system.families:
        found.append(_writer())
    if s.USED_ASLEEP in system.families:
        found.append(_asleep())
    if s.INST in system.families:
        found += [_only_alive("mount namespace", s.NS), _named()]
    if s.NET in system.families:
        found.append(_only_alive("network namespace", s.NET))
    if s.PEER in system.families:
        found += _sockets()
    found += [points_at(system, f) for f in (s.PSOCK, s.SOCK) if f in system.families]
    if s.MTYPE in system.families:
        found.append(Invariant("an unborn map has no type", (OBJ,), _untyped))
    found += [_while_used(f) for f in s.VERDICTS if f in system.families]
    if system.links:
        found += [_link_full(system), _listed(system)]
    for f in registers(system, OBJ):
        having = [kind for kind, g in system.releases.items() if f in g.frame.registers.values()]
        found.append(_dying_register(f, tuple(having)))
    if s.RUNNING in system.families:
        found += of_readers(system)
    if system.dir in system.families:
        own = system.dir
        found.append(
            Invariant("a call is inside a target that is there", (TASK,), _inside(own.owners))
        )
    return found


def _own_slot(family: Family) -> Invariant:
    """A slot that only ever holds its own owner: a directory, a queue, pending work."""
    return Invariant(
        f"{family.name} holds its own owner", (OBJ,), lambda k, o: one_of_terms(k.get(family, o), o)
    )


def _only_alive(what: str, family: Family) -> Invariant:
    """A process that does not live (or is not about to) has no descriptor, no mapping."""
    there = (RUN.running, RUN.exiting, RUN.starting)

    def body(k: View, p: Value, *n: Value) -> Value:
        return Or(one_of(k.get(s.RUN_OF, p), there), eq(k.get(family, p, *n), NONE))

    return Invariant(f"a process that is not alive has no {what}", family.args, body)


def _child() -> Invariant:
    """The process that a fork makes has not started, and nobody else makes it."""

    def body(k: View, t: Value) -> Value:
        child = k.get(s.CHILD, t)
        mine = And(eq(k.get(s.RUN_OF, child), RUN.starting), eq(k.get(s.MAKER, child), t))
        return Or(eq(child, NONE), mine)

    return Invariant("a child in the making is of one task", (TASK,), body)


def _named() -> Invariant:
    """A name that leads somewhere is one of an instance that is there, or of the first."""

    def body(k: View, path: Value) -> Value:
        i = k.get(s.INST, path)
        there = one_of(k.get(s.LIFE_OF, i), (LIFE.live, LIFE.dying))
        right = Or(eq(i, NONE), And(k.kind(i, "bpffs"), there))
        return Or(eq(k.get(s.PIN, path), NONE), right)

    return Invariant("a pin is in an instance that is there", (PATH,), body)


def _writer() -> Invariant:
    """A writable mapping is a mapping, of an open file of that map."""

    def body(k: View, p: Value, i: Value) -> Value:
        m = k.get(s.WRITES, p, i)
        return Or(eq(m, NONE), eq(m, k.get(s.FILE_OBJ, k.get(s.VMA, p, i))))

    return Invariant("a writable mapping is of the map behind its file", (PROC, IDX), body)


def _asleep() -> Invariant:
    """The maps that a sleepable program uses are those that count it as sleepable."""

    def body(k: View, p: Value, i: Value) -> Value:
        used = k.get(s.USED, p, i)
        counts = And(asleep(k, p), k.kind(used, "map"))
        return eq(k.get(s.USED_ASLEEP, p, i), If(counts, used, NONE))

    return Invariant("a sleepable program is counted by the maps that it uses", (OBJ, IDX), body)


def _untyped(k: View, m: Value) -> Value:
    unborn = And(eq(k.get(s.LIFE_OF, m), LIFE.unborn), k.kind(m, "map"))
    return Implies(unborn, eq(k.get(s.MTYPE, m), s.MAP_TYPE.array))  # the default


def _while_used(family: Family) -> Invariant:
    """What the last user of a sockmap takes along is there while it has one, or is being taken."""

    def body(k: View, m: Value) -> Value:
        used = Or(at_least(k.get(s.USERCNT, m), 1), ne(k.get(s.FLUSH, m), NONE))
        fine = And(used, eq(k.get(s.MTYPE, m), s.MAP_TYPE.sockmap))
        return Implies(And(k.kind(m, "map"), ne(k.get(family, m), NONE)), fine)

    return Invariant(f"only a sockmap in use has {family.name}", (OBJ,), body)


def _sockets() -> list[Invariant]:
    """Two sockets know each other or neither does; what is in a queue is in that of a socket."""

    def mutual(k: View, o: Value) -> Value:
        peer = k.get(s.PEER, o)
        return Or(eq(peer, NONE), And(k.kind(peer, "socket"), eq(k.get(s.PEER, peer), o)))

    def queued(k: View, m: Value) -> Value:
        socket = k.get(s.QUEUE, m)
        there = one_of(k.get(s.LIFE_OF, socket), (LIFE.live, LIFE.dying))
        return Or(eq(socket, NONE), And(k.kind(socket, "socket"), there))

    def whole(k: View, m: Value) -> Value:
        sent, queue = ne(k.get(s.SENT, m), NONE), ne(k.get(s.QUEUE, m), NONE)
        return And(Implies(sent, queue), Implies(queue, sent))

    def alone(k: View, o: Value) -> Value:
        met = Not(one_of(k.get(s.SSTATE, o), (STATE.unconnected, STATE.listening)))
        return Or(met, eq(k.get(s.PEER, o), NONE))

    return [
        Invariant("peers know each other", (OBJ,), mutual),
        Invariant("a message stands in the queue of a socket", (OBJ,), queued),
        Invariant("what a queue holds stands in a queue", (OBJ,), whole),
        Invariant("who was never connected has no peer", (OBJ,), alone),
    ]


def _inside(kinds: tuple[str, ...]) -> Callable[[View, Value], Value]:
    def body(k: View, t: Value) -> Value:
        target = k.get(s.TARGET, t)
        there = one_of(k.get(s.LIFE_OF, target), (LIFE.live, LIFE.dying))
        return Implies(k.kind(target, *kinds), there)

    return body


def one_of_terms(x: Value, o: Value) -> Value:
    """x is none or o."""
    return Or(eq(x, NONE), eq(x, o))


def _call_alive(k: View, t: Value) -> Value:
    alive = one_of(k.get(s.RUN_OF, k.get(s.PROC_OF, t)), (RUN.running, RUN.exiting))
    return Or(eq(k.get(s.PC, t), IDLE), alive)


def _at(k: View, o: Value) -> Value:
    dying, somewhere = eq(k.get(s.LIFE_OF, o), LIFE.dying), ne(k.get(s.AT, o), 0)
    return And(Implies(dying, somewhere), Implies(somewhere, dying))


def _gp(k: View, o: Value, c: Value) -> Value:
    return Implies(eq(k.get(s.GP_OBJ, o, c), True), ne(k.get(s.RUNNING, c), NONE))


def _always_full(family: Family) -> Invariant:
    """A slot that is full as long as its owner is there (references.py: ALWAYS_FULL)."""

    def body(k: View, o: Value) -> Value:
        there = one_of(k.get(s.LIFE_OF, o), (LIFE.live, LIFE.dying))
        return Implies(And(k.kind(o, *family.owners), there), ne(k.get(family, o), NONE))

    return Invariant(f"{family.name} is full while its owner is there", (OBJ,), body)


def _link_full(system: System) -> Invariant:
    """A link has a program as long as it exists."""

    def body(k: View, o: Value) -> Value:
        there = one_of(k.get(s.LIFE_OF, o), (LIFE.live, LIFE.dying))
        return Implies(And(k.kind(o, *system.links), there), ne(k.get(s.LINK_PROG, o), NONE))

    return Invariant("every link has a program", (OBJ,), body)


def _listed(system: System) -> Invariant:
    """The target of an attached link lives, or has not let its links go yet."""
    before = [
        (card.target.kind, _until(system.releases[card.target.kind], "detach links"))
        for card in system.links.values()
    ]

    def body(k: View, link: Value) -> Value:
        t = k.get(s.LISTED, link)
        there = [
            And(
                k.kind(t, kind),
                Or(
                    k.live(t),
                    And(eq(k.get(s.LIFE_OF, t), LIFE.dying), one_of(k.get(s.AT, t), early)),
                ),
            )
            for kind, early in before
        ]
        return Or(eq(t, NONE), *there)

    return Invariant("an attached link's target has not let it go", (OBJ,), body)


def _until(graph: Graph, text: str) -> list[int]:
    """The places of a release path up to the end of a step (a loop: while it can turn)."""
    ends = [e.source for e in graph.edges if e.step.text == text]
    return list(range(graph.base, max(ends, default=graph.base + graph.size - 1) + 1))


def _owner_phase(family: Family) -> Invariant:
    def body(k: View, o: Value, *rest: Value) -> Value:
        there = one_of(k.get(s.LIFE_OF, o), (LIFE.live, LIFE.dying))
        owner = And(there, k.kind(o, *family.owners))
        return Or(eq(k.get(family, o, *rest), NONE), owner)

    return Invariant(f"only a living or dying owner has {family.name}", family.args, body)


def _dying_register(family: Family, kinds: tuple[str, ...]) -> Invariant:
    """A local of a release path is empty but for dying objects of the kinds that have it."""

    def body(k: View, o: Value) -> Value:
        x = k.get(family, o)
        owner = And(eq(k.get(s.LIFE_OF, o), LIFE.dying), k.kind(o, *kinds))
        return Or(eq(x, NONE), And(owner, k.kind(x, "prog")))

    return Invariant(f"only a dying owner has {family.name}", (OBJ,), body)


# ---------------------------------------------------------------------------------------------
# from the step graphs


def _of_call(system: System, graph: Graph) -> list[Invariant]:
    found, wrote = [], written(system, graph)
    for place, fact in facts(graph).items():
        if place != IDLE:
            found += _at_place(system, graph, place, fact, Writes(wrote[place], wrote[IDLE]))
    return found


@dataclass(frozen=True)
class Writes:
    """The families that a call may have written at a place, and those that it writes anywhere."""

    before: frozenset[str]
    ever: frozenset[str]

    def later(self, family: Family) -> bool:
        """Only now does the call fill it: it may rest on its being empty."""
        return family.name in self.ever - self.before


def _at_place(
    system: System, graph: Graph, place: int, fact: Facts, wrote: Writes
) -> list[Invariant]:
    name = graph.place_names[place - graph.base]
    mine = {f.name: r for r, f in graph.frame.registers.items()}

    def here(what: str, holds: object) -> Invariant:
        def body(k: View, t: Value) -> Value:
            return Implies(eq(k.get(s.PC, t), place), holds(k, t))  # type: ignore[operator]

        return Invariant(f"at {name}: {what}", (TASK,), body, place)

    others = [f for f in registers(system, TASK) if f.name not in mine]
    found = [here("the locals of other calls are empty", _all_empty(others))] if others else []
    for family in [f for f in registers(system, TASK) if f.name in mine]:
        state = fact.regs[mine[family.name]]
        if state == "empty":
            found.append(here(f"{family.name} empty", _is(family, True)))
            continue
        found.append(here(f"{family.name} full", _is(family, False)))  # "maybe" may be full too
        kinds = fact.kinds.get(mine[family.name], ())
        if kinds:
            found.append(here(f"{family.name} is {' or '.join(kinds)}", _is_kind(family, kinds)))
        wanted = graph.frame.program_type
        if kinds == ("prog",) and wanted >= 0 and s.IN_RCU in system.families:
            found.append(here(f"{family.name} fits the hook", of_type(system, wanted, family)))
    found += [here(what, holds) for what, holds in _made(system, graph, fact, wrote)]
    for r, kind in fact.behind.items():
        if kind in system.kinds:
            what = f"{graph.frame.registers[r].name} is of a {kind}"
            found.append(here(what, _of_kind(graph.frame.registers[r], kind)))
    if s.CHILD in system.families:
        found.append(here("no child", _is(s.CHILD, True)))
        if s.CHILD.name in wrote.before:
            found.append(here("a child", _is(s.CHILD, False)))
    if not fact.target:
        found.append(here("no target", _is(s.TARGET, True)))
        return found
    kind = fact.target
    found.append(here(f"target is {kind}", lambda k, t: k.kind(k.get(s.TARGET, t), kind)))
    for r, state in fact.regs.items():
        if state == "full" and fact.kinds.get(r) == ("file",):
            family = graph.frame.registers[r]
            found.append(here(f"target is behind {r}", _behind(family)))
    if not fact.locked:
        found.append(here("lock not held", lambda k, t: ne(k.get(s.LOCK, k.get(s.TARGET, t)), t)))
    if fact.locked:
        found.append(here("lock held", lambda k, t: eq(k.get(s.LOCK, k.get(s.TARGET, t)), t)))
        found += [here(what, holds) for what, holds in _conditions(system, graph, fact)]
    return found


def _made(system: System, graph: Graph, fact: Facts, wrote: Writes) -> list[tuple[str, object]]:
    """About objects that this call has made: they are its own, differ, and hold nothing yet."""
    found: list[tuple[str, object]] = []
    mine = sorted(fact.made)
    for r in mine if s.BY in system.families else ():
        register, kind = graph.frame.registers[r], fact.kinds[r][0]
        found.append((f"{register.name} is its own", _by(register)))
        empty = [f for f in _owned(system, kind) if len(f.args) == 1 and wrote.later(f)]
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
    """What an `expect` under the lock may have established, where some step could do so."""
    entry, texts = system.entry, {edge.step.text for edge in graph.edges}
    like = [r for r in fact.regs if {f"expect entry == {r}", f"get {r} from entry"} & texts]
    like += [r for r in fact.regs if {f"expect entry != {r}", f"copy {r} from entry"} & texts]
    found: list[tuple[str, object]] = [
        ("target there", lambda k, t: graph.frame.there(k, k.get(s.TARGET, t))),
    ]
    if "expect entry == none" in texts or any(x.startswith("publish entry") for x in texts):
        found.append(("entry empty", lambda k, t: eq(k.get(entry, k.get(s.TARGET, t)), NONE)))
    if like or "expect entry != none" in texts:
        found.append(("entry full", lambda k, t: ne(k.get(entry, k.get(s.TARGET, t)), NONE)))
    for r in like:
        if fact.regs[r] != "empty":
            family = graph.frame.registers[r]
            found.append((f"entry is {r}", _entry_is(entry, family)))
    return found


def _entry_is(entry: Family, family: Family) -> object:
    return lambda k, t: eq(k.get(entry, k.get(s.TARGET, t)), k.get(family, t))


def _of_release(system: System, kind: str, graph: Graph) -> list[Invariant]:
    """What is empty, full, locked where: one lemma for all the places of which the same can be
    said, as each step that puts something may start a release path, and is asked about all."""
    known, wrote = facts(graph), written(system, graph)
    turns = turning(system, graph)
    found = [_own_places(kind, list(range(graph.base, graph.base + graph.size)))]
    for family in _owned(system, kind):
        places = list(known)
        if family.name in wrote[IDLE]:  # else nothing of it was there when the path began
            done = (p for p in known if family.name in wrote[p])
            places = [p for p in done if family.name not in turns.get(p, ())]
        if places:
            found.append(_dying_at(_names(graph, places), places, family, True))
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
        Invariant("who holds the lock is in its locked section", (OBJ,), holder),
        Invariant("who locks itself is in its locked section", (OBJ,), self_holder),
        Invariant("one holder of a lock", (OBJ,), one_holder),
    ]


def _idle(system: System) -> Invariant:
    families = [f for f in (*registers(system, TASK), s.TARGET, s.CHILD) if f in system.families]

    def body(k: View, t: Value) -> Value:
        empty = And(*[eq(k.get(f, t), NONE) for f in families])
        return Or(ne(k.get(s.PC, t), IDLE), empty)

    return Invariant("idle: all locals empty", (TASK,), body)
