"""Candidate lemmas, generated from a system: nobody writes them by hand.

The general ones say what is true of every reference-counted world (where slots may be occupied,
for whom a grace period waits). The others come from the step graphs (lemmas_graphs.py).
A candidate is only a guess: `induction.py` keeps those that are inductive *for this very system*.
"""

from __future__ import annotations

from collections.abc import Callable

from bpflife.model import state as s
from bpflife.model.graphs import IDLE, Graph
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

from .lemmas_graphs import of_graphs, owned, registers
from .lemmas_readers import of_readers


def candidates(system: System) -> list[Invariant]:
    """All candidate lemmas of a system."""
    return counts(system) + reachable(system) + _general(system) + of_graphs(system)


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
    found += [x for kind in system.keepers for x in _keeping(system, kind)]
    found += [_owner_phase(f) for f in owned(system)]
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
        found += _sockets(system)
    if s.MEMBER in system.families:
        found += [_only_alive("cgroup", s.MEMBER), _member(system), _one_peer()]
    found += [points_at(system, f) for f in (s.PSOCK, s.SOCK, s.CABLE) if f in system.families]
    if s.MTYPE in system.families:
        found.append(Invariant("an unborn map has no type", (OBJ,), _untyped))
    found += [_while_used(f) for f in s.VERDICTS if f in system.families]
    if system.attachments:
        found += [_link_full(system), _listed(system)]
        entered = [kind for kind, c in system.links.items() if c.keeps_entry]
        found += [make(system, kind) for kind in entered for make in (_of_link, _runs)]
    if system.records:
        found += [_own_slot(s.RECORDED), _recorded(system), _one_holder(system)]
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
        found += _for_ever(system)
    return found


def _for_ever(system: System) -> list[Invariant]:
    """A part of the kernel never goes: nobody takes its name away."""
    kinds = [kind for kind, c in system.targets.items() if c.target.held_by == "kernel"]

    def body(k: View, o: Value) -> Value:
        there = And(k.live(o), eq(k.get(system.dir, o), o))
        return Or(Not(k.kind(o, *kinds)), eq(k.get(s.LIFE_OF, o), LIFE.unborn), there)

    return [Invariant("a part of the kernel is there for ever", (OBJ,), body)] if kinds else []


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


def _member(system: System) -> Invariant:
    """The cgroup of a process has its directory, which holds it: it can't be removed."""

    def body(k: View, p: Value) -> Value:
        cgroup = k.get(s.MEMBER, p)
        there = And(k.kind(cgroup, "cgroup"), eq(k.get(system.dir, cgroup), cgroup))
        return Or(eq(cgroup, NONE), there)

    return Invariant("a process is in a cgroup that was not removed", (PROC,), body)


def _one_peer() -> Invariant:
    """A socket has one peer in its life: who has one has not kept the cgroup of another."""

    def body(k: View, o: Value) -> Value:
        return Or(eq(k.get(s.PEER, o), NONE), eq(k.get(s.PEER_BORN, o), NONE))

    return Invariant("who has a peer had none before", (OBJ,), body)


def _sockets(system: System) -> list[Invariant]:
    """Two sockets know each other or neither does; what is in a queue is in that of a socket."""

    peers = [f for f in (s.PEER, s.PEER_BORN) if f in system.families]

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
        return Or(met, And(*[eq(k.get(f, o), NONE) for f in peers]))

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


def _keeping(system: System, kind: str) -> list[Invariant]:
    """A link that keeps what it is attached to has it from its birth until it lets go of it, and
    stands in no other list than that of what it keeps, or of what is behind the file that it keeps.
    (Some let go when they are detached, long before their end: then the first is dropped.)
    """
    before = _until(system.releases[kind], "put held")

    def full(k: View, link: Value) -> Value:
        dying = And(eq(k.get(s.LIFE_OF, link), LIFE.dying), one_of(k.get(s.AT, link), before))
        there = And(k.kind(link, kind), Or(k.live(link), dying))
        return Implies(there, ne(k.get(s.HOLDS, link), NONE))

    def own(k: View, link: Value) -> Value:
        target, held = k.get(s.LISTED, link), k.get(s.HOLDS, link)
        kept = held if system.keeps_target(kind) else k.get(s.FILE_OBJ, held)
        return Implies(And(k.kind(link, kind), ne(target, NONE)), eq(target, kept))

    def of_target(k: View, link: Value) -> Value:
        held, target = k.get(s.HOLDS, link), system.links[kind].target.kind
        kept = held if system.keeps_target(kind) else k.get(s.FILE_OBJ, held)
        return Or(eq(held, NONE), Not(k.kind(link, kind)), k.kind(kept, target))

    return [
        Invariant(f"what a {kind} keeps is its target, or a file of it", (OBJ,), of_target),
        Invariant(f"a {kind} has what it keeps until it lets go", (OBJ,), full),
        Invariant(f"a {kind} that is attached keeps what it is in", (OBJ,), own),
    ]


def _link_full(system: System) -> Invariant:
    """A link, a record has a program as long as it exists."""

    def body(k: View, o: Value) -> Value:
        there = one_of(k.get(s.LIFE_OF, o), (LIFE.live, LIFE.dying))
        return Implies(And(k.kind(o, *system.attachments), there), ne(k.get(s.LINK_PROG, o), NONE))

    return Invariant("every attachment has a program", (OBJ,), body)


def _of_link(system: System, kind: str) -> Invariant:
    """What is in the entry of a hook is there by a link that is attached to it."""
    target = system.links[kind].target.kind

    def body(k: View, t: Value) -> Value:
        link = k.get(s.ENTRY_BY, t)
        there = And(k.kind(link, kind), eq(k.get(s.LISTED, link), t))
        return Or(Not(k.kind(t, target)), eq(k.get(system.entry, t), NONE), there)

    return Invariant(of_link(kind, target), (OBJ,), body)


def _runs(system: System, kind: str) -> Invariant:
    """An attached link is what is in the entry of its hook, until that dies and clears it."""
    graph = system.releases[system.links[kind].target.kind]
    clears = [e.source for e in graph.edges if e.step.text.startswith("clear entry")]
    early = list(range(graph.base, 1 + min(clears, default=graph.base - 1)))

    def body(k: View, link: Value) -> Value:
        t = k.get(s.LISTED, link)
        before = And(eq(k.get(s.LIFE_OF, t), LIFE.dying), one_of(k.get(s.AT, t), early))
        there = And(eq(k.get(s.ENTRY_BY, t), link), ne(k.get(system.entry, t), NONE))
        return Or(Not(k.kind(link, kind)), Not(Or(k.live(t), before)), there)

    return Invariant(f"an attached {kind} is in the entry", (OBJ,), body)


def of_link(kind: str, target: str) -> str:
    """The name of the lemma that the entry of such a target is of such a link."""
    return f"the entry of a {target} is of a {kind}"


def _recorded(system: System) -> Invariant:
    """A record is held by the list that it stands in, and only then."""

    def body(k: View, o: Value) -> Value:
        listed, held = (ne(k.get(f, o), NONE) for f in (s.LISTED, s.RECORDED))
        both = And(Implies(listed, held), Implies(held, listed))
        return Implies(k.kind(o, *system.records), both)

    return Invariant("a record is held while it stands in a list", (OBJ,), body)


def _one_holder(system: System) -> Invariant:
    """A record has one holder: the call that makes or removes it, or its list."""

    def body(k: View, o: Value) -> Value:
        return Implies(k.kind(o, *system.records), Not(at_least(k.get(s.REFCNT, o), 2)))

    return Invariant("a record has one holder", (OBJ,), body)


def _listed(system: System) -> Invariant:
    """The target of an attachment lives, or has not let its attachments go yet; what an attachment
    keeps lives."""
    before = [
        (own, card.target.kind, _letting_go(system, own))
        for own, card in system.attachments.items()
    ]

    def body(k: View, link: Value) -> Value:
        t = k.get(s.LISTED, link)
        there = [
            And(
                k.kind(link, own),
                k.kind(t, kind),
                Or(
                    k.live(t),
                    And(eq(k.get(s.LIFE_OF, t), LIFE.dying), one_of(k.get(s.AT, t), early)),
                ),
            )
            for own, kind, early in before
        ]
        return Or(eq(t, NONE), *there)

    return Invariant("an attachment's target has not let it go", (OBJ,), body)


def _letting_go(system: System, own: str) -> list[int]:
    """The places of a target's death at which a kind of attachment may still stand in its list."""
    graph = system.releases[system.attachments[own].target.kind]
    return [] if own in system.keepers else _until(graph, _LAST[own in system.links])


_LAST = {True: "detach links", False: "drop records"}  # by whether the attachment is a link


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
