"""Rules: the transitions that every engine works on.

From the one graph of an operation (`graphs.py`) come both modes:

* **micro-step rules**, one per edge: steps of different callers interleave;
* **whole-call rules**, one per path from idle to idle: the same step functions run one after
  another on the same view, so each sees what the earlier ones did.

Release paths only exist in micro-steps. A few rules of the world are no operation of anybody: a
process is killed and closes its descriptors, an event enters a program and leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import state as s
from .graphs import IDLE, Edge, Facts, Graph, after, facts
from .readers import reader_rules
from .state import View
from .steps import Also, Env, Param
from .values import (
    FD,
    IDX,
    LIFE,
    NONE,
    OBJ,
    PROC,
    RUN,
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


@dataclass(frozen=True)
class Rule:
    """One transition: `body(view, env)` guards and updates. The unit of every engine.

    `mode`: "micro" (a step of a call or of a release path), "call" (a whole system call) or
    "world" (a process is killed, an event arrives). `internal`: the kernel does it by itself.
    `noop`: it changes nothing (a call refused at its first step).
    """

    name: str
    params: tuple[Param, ...]
    body: Callable[[View, Env], None]
    mode: str
    actor: str
    words: str
    op: str = ""
    internal: bool = False
    errno: str | None = None
    noop: bool = False
    edges: tuple[Edge, ...] = ()


def begin(k: View, me: Value) -> None:
    """A task of a living process enters a system call."""
    k.when(eq(k.get(s.PC, me), IDLE))
    p = k.get(s.PROC_OF, me)
    k.when(one_of(k.get(s.RUN_OF, p), (RUN.unborn, RUN.running)))
    k.set(s.RUN_OF, (p,), RUN.running)


def finish(graph: Graph, k: View, me: Value, maybe_full: Sequence[str]) -> None:
    """The call returns: its locals vanish, whatever they hold; it must hold no lock."""
    if any(edge.step.lock for edge in graph.edges):
        held = eq(k.get(s.LOCK, k.get(s.TARGET, me)), me)
        k.need(Not(And(held, ne(k.get(s.TARGET, me), NONE))), "a call returns with no lock held")
    for name in maybe_full:
        k.set(graph.frame.registers[name], (me,), NONE)
    k.set(s.TARGET, (me,), NONE)


def left_full(known: Mapping[int, Facts], edge: Edge) -> list[str]:
    """The locals that may be full when an edge ends its operation."""
    there = after(known[edge.source], edge)
    return [r for r, v in there.regs.items() if v != "empty"]


def micro_rules(graph: Graph, actor: str) -> list[Rule]:
    """One rule per edge."""
    known = facts(graph)
    make = _task_micro if graph.frame.owner == TASK else _release_micro
    return [make(graph, edge, known, actor) for edge in graph.edges if edge.source in known]


def edge_name(graph: Graph, edge: Edge) -> str:
    """The name of the micro-step rule of an edge."""
    place = edge.source - graph.base
    label = graph.place_names[place] if edge.source != IDLE else f"{graph.name}.1"
    suffix = f"!{edge.failed}" if edge.failed is not None else ".done" if edge.leaves_loop else ""
    return f"{label}{suffix}"


def _task_micro(graph: Graph, edge: Edge, known: Mapping[int, Facts], actor: str) -> Rule:
    left = left_full(known, edge)

    def body(k: View, e: Env) -> None:
        me = e["me"]
        if edge.source == IDLE:
            begin(k, me)
        else:
            k.when(eq(k.get(graph.frame.at, me), edge.source))
        edge.fire(k, e)
        if edge.target == IDLE:
            finish(graph, k, me, left)
        if edge.target != edge.source:
            k.set(graph.frame.at, (me,), edge.target)

    params = () if edge.leaves_loop else edge.step.params
    noop = edge.source == IDLE == edge.target and edge.failed is not None
    return Rule(
        edge_name(graph, edge), (Param("me", TASK), *params), body, "micro", actor,
        _edge_words(edge), graph.name, False, edge.errno, noop, (edge,),
    )  # fmt: skip


def _edge_words(edge: Edge) -> str:
    if edge.failed is not None:
        return f"{{actor}} is refused: {edge.errno}"
    return "{actor} goes on" if edge.leaves_loop else f"{{actor}} {edge.step.words}"


def _release_micro(graph: Graph, edge: Edge, known: Mapping[int, Facts], actor: str) -> Rule:
    left = left_full(known, edge)

    def body(k: View, e: Env) -> None:
        me = e["me"]
        k.when(eq(k.get(graph.frame.at, me), edge.source))
        k.when(k.kind(me, graph.frame.own))
        if edge.target == IDLE and graph.frame.own in graph.frame.dir.owners:
            k.when(k.all(TASK, lambda t: ne(k.get(s.TARGET, t), me)))  # the last cgroup_put
        edge.fire(k, e)
        if edge.target == IDLE:
            if any(e.step.lock for e in graph.edges):
                held = k.get(s.LOCK_SELF, me)
                k.need(eq(held, False), "a target dies with its lock given back")
            for name in left:
                k.set(graph.frame.registers[name], (me,), NONE)
            k.set(s.LIFE_OF, (me,), LIFE.freed)
        if edge.target != edge.source:
            k.set(graph.frame.at, (me,), edge.target)

    params = () if edge.leaves_loop else edge.step.params
    words = edge.step.words if not edge.leaves_loop else "it holds nothing any more"
    freed = "; {me} is freed" if edge.target == IDLE else ""
    return Rule(
        edge_name(graph, edge), (Param("me", OBJ, graph.frame.own), *params), body, "micro",
        "kernel", f"{{me}}: {words}{freed}", graph.name, True, None, False, (edge,),
    )  # fmt: skip


def paths(graph: Graph, max_loop: int) -> list[list[Edge]]:
    """All paths from idle to idle, loops taken 0 to `max_loop` times."""
    found: list[list[Edge]] = []

    def walk(place: int, so_far: list[Edge]) -> None:
        for edge in graph.out(place):
            if edge.source == edge.target != IDLE and so_far.count(edge) >= max_loop:
                continue
            if edge.target == IDLE:
                found.append([*so_far, edge])
            else:
                walk(edge.target, [*so_far, edge])

    walk(IDLE, [])
    return found


def call_rules(graph: Graph, actor: str, words: str, max_loop: int) -> list[Rule]:
    """One rule per path: the whole system call at once."""
    known = facts(graph)
    return [
        _path_rule(graph, path, number, known, actor, words)
        for number, path in enumerate(paths(graph, max_loop))
    ]


def path_env(path: Sequence[Edge]) -> list[tuple[Edge, dict[str, str]]]:
    """Each edge of a path with the names of its parameters in the rule: the n-th turn of a loop
    has parameters of its own (`map.1`, `map.2`), all others share them by name."""
    result = []
    turns = 0
    for edge in path:
        if edge.step.loop and not edge.leaves_loop:
            turns += 1
            result.append((edge, {p.name: f"{p.name}.{turns}" for p in edge.step.params}))
        else:
            result.append((edge, {p.name: p.name for p in edge.step.params}))
    return result


def _path_rule(
    graph: Graph,
    path: list[Edge],
    number: int,
    known: Mapping[int, Facts],
    actor: str,
    words: str,
) -> Rule:
    plan = path_env(path)
    params: dict[str, Param] = {"me": Param("me", TASK)}
    for edge, names in plan:
        if edge.leaves_loop:
            continue
        for p in edge.step.params:
            params[names[p.name]] = Param(names[p.name], p.sort, p.kind)
    left = left_full(known, path[-1])
    errno = next((e.errno for e in path if e.errno), None)

    def body(k: View, e: Env) -> None:
        begin(k, e["me"])
        for edge, names in plan:
            edge.fire(k, {"me": e["me"], **{n: e[m] for n, m in names.items() if m in e}})
        finish(graph, k, e["me"], left)

    noop = len(path) == 1 and path[0].failed is not None
    text = f"{{actor}}: {graph.name} is refused: {errno}" if errno else words
    return Rule(
        f"{graph.name}#{number}", tuple(params.values()), body, "call", actor, text,
        graph.name, False, errno, noop, tuple(path),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------
# rules of the world: not made of steps


def world_rules(
    entry: s.Family,
    first: Sequence[tuple[str, int]],
    targets: Sequence[str],
    parts: Sequence[str] = ("core",),
    links: Sequence[str] = (),
    traced: Sequence[str] = (),
    traced_links: Sequence[str] = (),
) -> list[Rule]:
    """A process is killed, closes its descriptors, is gone; an event enters and leaves."""

    def kill(k: View, e: Env) -> None:
        k.when(eq(k.get(s.RUN_OF, e["p"]), RUN.running))
        k.set(s.RUN_OF, (e["p"],), RUN.exiting)

    def calls_done(k: View, p: Value) -> Value:
        return k.all(
            TASK,
            lambda t: Implies(eq(k.get(s.PROC_OF, t), p), eq(k.get(s.PC, t), IDLE)),
        )

    def exit_drop(
        family: s.Family, also: Also = lambda k, *place: None
    ) -> Callable[[View, Env], None]:
        def body(k: View, e: Env) -> None:
            p, place = e["p"], tuple(e[x] for x in ("p", "n") if x in e)
            k.when(eq(k.get(s.RUN_OF, p), RUN.exiting))
            k.when(calls_done(k, p))
            k.when(ne(k.get(family, *place), NONE))
            also(k, *place)
            k.drop(k.get(family, *place), first)
            k.set(family, place, NONE)

        return body

    def exit_cgroup(k: View, e: Env) -> None:
        """(cgroup_exit: kernel/cgroup/cgroup.c)"""
        p = e["p"]
        k.when(eq(k.get(s.RUN_OF, p), RUN.exiting))
        k.when(calls_done(k, p))
        k.when(ne(k.get(s.MEMBER, p), NONE))
        k.set(s.MEMBER, (p,), NONE)

    def gone(k: View, e: Env) -> None:
        p = e["p"]
        k.when(eq(k.get(s.RUN_OF, p), RUN.exiting))
        k.when(calls_done(k, p))
        k.when(k.all(FD, lambda n: eq(k.get(s.FD_SLOT, p, n), NONE)))
        if "processes" in parts:
            k.when(k.all(IDX, lambda i: eq(k.get(s.VMA, p, i), NONE)))
        for family in (x for x in (s.NS, s.NET, s.MEMBER) if x.part in parts):
            k.when(eq(k.get(family, p), NONE))
        k.set(s.RUN_OF, (p,), RUN.exited)

    def flush(k: View, e: Env) -> None:
        array, i = e["array"], e["i"]
        k.when(ne(k.get(s.FLUSH, array), NONE))
        k.when(eq(k.get(s.MTYPE, array), s.MAP_TYPE.prog_array))
        k.when(ne(k.get(s.ELEM, array, i), NONE))
        k.drop(k.get(s.ELEM, array, i), first)
        k.set(s.ELEM, (array, i), NONE)

    def detach(family: s.Family) -> Callable[[View, Env], None]:
        """(sock_map_release_progs: net/core/sock_map.c)"""

        def body(k: View, e: Env) -> None:
            m = e["array"]
            k.when(And(ne(k.get(s.FLUSH, m), NONE), ne(k.get(family, m), NONE)))
            k.drop(k.get(family, m), first)
            k.set(family, (m,), NONE)

        return body

    def flushed(k: View, e: Env) -> None:
        array = e["array"]
        k.when(ne(k.get(s.FLUSH, array), NONE))
        empty = k.all(IDX, lambda i: eq(k.get(s.ELEM, array, i), NONE))
        k.when(Or(ne(k.get(s.MTYPE, array), s.MAP_TYPE.prog_array), empty))
        for family in s.VERDICTS if "sockmap" in parts else ():
            k.when(eq(k.get(family, array), NONE))
        k.drop(array, first)
        k.set(s.FLUSH, (array,), NONE)

    def purge(k: View, e: Env) -> None:
        m = e["m"]
        k.when(ne(k.get(s.SENT, m), NONE))
        k.when(eq(k.get(s.SSTATE, k.get(s.QUEUE, m)), s.SOCKET_STATE.parted))
        k.set(s.QUEUE, (m,), NONE)
        k.drop(m, first)
        k.set(s.SENT, (m,), NONE)

    p, fd = Param("p", PROC), Param("n", FD)
    rows: list[tuple[str, tuple[Param, ...], Any, bool, str, str]] = [
        ("kill", (p,), kill, False, "world",
         "{p} is killed; the kernel closes its descriptors one by one"),
        ("exit_close", (p, fd), exit_drop(s.FD_SLOT), True, "kernel",
         "the kernel closes {n} of {p}: the open file loses one reference"),
        ("gone", (p,), gone, True, "kernel", "{p} is gone, with all its descriptors"),
    ]  # fmt: skip
    i, array = Param("i", IDX), Param("array", OBJ, "map")
    no_writer: Also = lambda k, p, n: k.tally(s.WRITES, (p, n), NONE)  # noqa: E731
    more: dict[str, list[tuple[str, tuple[Param, ...], Any, bool, str, str]]] = {
        "processes": [
            ("exit_unmap", (p, Param("n", IDX)), exit_drop(s.VMA, no_writer), True, "kernel",
             "the kernel takes a mapping of {p} away: the open file loses one reference"),
        ],
        "bpffs": [
            ("exit_mounts", (p,), exit_drop(s.NS), True, "kernel",
             "{p} leaves its mount namespace"),
        ],
        "net": [
            ("exit_net", (p,), exit_drop(s.NET), True, "kernel",
             "{p} leaves its network namespace"),
        ],
        "membership": [
            ("exit_cgroup", (p,), exit_cgroup, True, "kernel", "{p} leaves its cgroup"),
        ],
        "passing": [
            ("purge", (Param("m", OBJ, "message"),), purge, True, "kernel",
             "the socket has lost its peer: {m}, which the peer had sent, is dropped"),
        ],
        "maps": [
            ("flush", (array, i), flush, True, "kernel",
             "{array} has no user any more: a work item drops the program in one of its elements"),
            ("flushed", (array,), flushed, True, "kernel",
             "the work item has emptied {array} and lets go of it"),
        ],
        "sockmap": [
            (f"detach_{family.name}", (array,), detach(family), True, "kernel",
             "{array} has no user any more: it lets go of a program that was attached to it")
            for family in s.VERDICTS
        ],
    }  # fmt: skip
    kept = rows + [r for part in parts for r in more.get(part, [])]
    for name, entities, body, internal, words in (
        reader_rules(entry, targets, links, traced, parts, traced_links) if targets else ()
    ):
        kept.append((name, tuple(Param(*x) for x in entities), body, internal, "cpu", words))
    return [Rule(n, ps, b, "world", a, w, n, i) for n, ps, b, i, a, w in kept]
