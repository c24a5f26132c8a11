"""From steps in words to rules: operations, their step graphs, micro-step and whole-call rules.

An operation is compiled to a graph. A node is a place in it (0 is idle), an edge a step that
succeeds or fails with an errno; undo steps after a failure are a path of their own. From the one
graph come both modes:

* **micro-step rules**, one per edge: steps of different callers interleave;
* **whole-call rules**, one per path from idle to idle: the same step functions run one after
  another on the same view, so each sees what the earlier ones did.

Release paths are the same thing for a dying object; they only exist in micro-steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import state as s
from .state import View
from .steps import WAITS, Env, Frame, Param, Step, StepError, make_step
from .values import (
    CPU,
    FD,
    LIFE,
    NONE,
    OBJ,
    PROC,
    RUN,
    TASK,
    And,
    Implies,
    Not,
    Value,
    eq,
    ne,
    one_of,
)

Undo = tuple[str, ...]
StepText = str | Mapping[str, Sequence[str]]
IDLE = 0


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


@dataclass(frozen=True)
class Edge:
    """A step between two places of an operation; `failed` is the index of the check that failed."""

    source: int
    target: int
    step: Step
    failed: int | None = None
    leaves_loop: bool = False

    @property
    def errno(self) -> str | None:
        """The errno that this edge answers with, if it is a failure."""
        return None if self.failed is None else self.step.checks[self.failed].errno

    def fire(self, k: View, e: Env) -> None:
        """Guards and effect of this edge."""
        if self.leaves_loop:
            if self.step.done:
                k.when(self.step.done(k, e))
            return
        if self.step.waits:
            k.when(self.step.waits(k, e))
        passed = self.step.checks[: self.failed] if self.failed is not None else self.step.checks
        for check in passed:
            k.when(check.holds(k, e))
        if self.failed is None:
            self.step.effect(k, e)
        else:
            k.when(Not(self.step.checks[self.failed].holds(k, e)))


@dataclass
class Graph:
    """The step graph of one operation. Places are numbered from `base` in the frame's sort."""

    name: str
    frame: Frame
    base: int
    edges: list[Edge] = field(default_factory=list)
    size: int = 0
    place_names: list[str] = field(default_factory=list)

    def out(self, place: int) -> list[Edge]:
        """The edges that leave a place."""
        return [e for e in self.edges if e.source == place]


# ---------------------------------------------------------------------------------------------
# compiling


def parse_step(item: StepText) -> tuple[str, str, Undo]:
    """`expect C else ERRNO: [undo]` -> ("expect C", "ERRNO", undo); plain steps have neither."""
    if isinstance(item, str):
        text, undo = item, ()
    else:
        if len(item) != 1:
            raise StepError("a step with an undo list is one line, `STEP else ERRNO: [steps]`")
        text, undo = next((k, tuple(v)) for k, v in item.items())
    head, found, errno = text.partition(" else")
    if text.startswith("expect ") and not errno.strip():
        raise StepError(f"`{text}` needs `else ERRNO`")
    if undo and not found:
        raise StepError(f"`{text}` has an undo list but no `else`")
    return head.strip(), errno.strip(), undo


def compile_graph(name: str, frame: Frame, items: Sequence[StepText], base: int) -> Graph:
    """The graph of a list of steps: idle -> step -> ... -> idle, with the failure paths.

    Raises StepError for a step that can't be understood.
    """
    graph = Graph(name, frame, base)
    starts_at = IDLE if frame.owner == TASK else base
    plan: list[tuple[Step, str, Undo]] = []
    for item in items:
        text, errno, undo = parse_step(item)
        for half in WAITS.get(text, (text,)):
            plan.append((make_step(frame, half, errno), errno, undo))
    place = starts_at
    used = 1 if frame.owner == OBJ else 0
    graph.place_names = [f"{name}.1"] if frame.owner == OBJ else []

    def new_place(label: str) -> int:
        nonlocal used
        used += 1
        graph.place_names.append(label)
        return base + used - 1

    for number, (step, _, undo) in enumerate(plan):
        last = number == len(plan) - 1
        if step.loop:
            if place == IDLE:
                raise StepError("a loop can't be the first step")
            following = IDLE if last else new_place(f"{name}.{number + 2}")
            graph.edges.append(Edge(place, place, step))
            graph.edges.append(Edge(place, following, step, leaves_loop=True))
        else:
            following = IDLE if last else new_place(f"{name}.{number + 2}")
            graph.edges.append(Edge(place, following, step))
        for index, check in enumerate(step.checks):
            _add_undo(graph, place, step, index, undo, new_place, f"{name}.{number + 1}")
            assert check.errno
        place = following
    graph.size = used
    return graph


def _add_undo(
    graph: Graph,
    place: int,
    step: Step,
    index: int,
    undo: Undo,
    new_place: Callable[[str], int],
    label: str,
) -> None:
    """A failure edge and the path of its undo steps back to idle."""
    steps = [make_step(graph.frame, text) for text in undo]
    following = new_place(f"{label}!{index}.1") if steps else IDLE
    graph.edges.append(Edge(place, following, step, failed=index))
    for n, undo_step in enumerate(steps):
        here = following
        following = IDLE if n == len(steps) - 1 else new_place(f"{label}!{index}.{n + 2}")
        graph.edges.append(Edge(here, following, undo_step))


# ---------------------------------------------------------------------------------------------
# dataflow: what is in the registers, and is the lock held, at each place


@dataclass(frozen=True)
class Facts:
    """What the text says about a place: registers empty, full or maybe; the lock held or not.
    Only a template for lemmas (proved or dropped later) and for hints: nothing rests on it."""

    regs: Mapping[str, str]
    locked: bool
    kinds: Mapping[str, tuple[str, ...]]
    target: str = ""


def facts(graph: Graph) -> dict[int, Facts]:
    """Forward dataflow over the graph, to a fixpoint."""
    empty = dict.fromkeys(graph.frame.registers, "empty")
    start = IDLE if graph.frame.owner == TASK else graph.base
    found: dict[int, Facts] = {start: Facts(empty, False, {})}
    work = [start]
    while work:
        here = work.pop()
        for edge in graph.out(here):
            if edge.target == IDLE:
                continue
            new = _after(found[here], edge)
            old = found.get(edge.target)
            joined = new if old is None else _join(old, new)
            if joined != old:
                found[edge.target] = joined
                work.append(edge.target)
    return found


def _after(before: Facts, edge: Edge) -> Facts:
    if edge.failed is not None or edge.leaves_loop:
        return before
    step = edge.step
    locked = before.locked if step.lock == 0 else step.lock > 0
    filled = {r: step.kinds for r, v in step.regs.items() if v != "empty"}
    return Facts(
        {**before.regs, **step.regs},
        locked,
        {**before.kinds, **filled},
        step.target or before.target,
    )


def _join(a: Facts, b: Facts) -> Facts:
    regs = {r: v if v == b.regs[r] else "maybe" for r, v in a.regs.items()}
    both = {*a.kinds, *b.kinds}
    kinds = {r: tuple(sorted({*a.kinds.get(r, ()), *b.kinds.get(r, ())})) for r in both}
    return Facts(regs, a.locked and b.locked, kinds, a.target if a.target == b.target else "")


# ---------------------------------------------------------------------------------------------
# rules


def _begin(k: View, me: Value) -> None:
    """A task of a living process enters a system call."""
    k.when(eq(k.get(s.PC, me), IDLE))
    p = k.get(s.PROC_OF, me)
    k.when(one_of(k.get(s.RUN_OF, p), (RUN.unborn, RUN.running)))
    k.set(s.RUN_OF, (p,), RUN.running)


def _finish(graph: Graph, k: View, me: Value, maybe_full: Sequence[str]) -> None:
    """The call returns: its locals vanish, whatever they hold; it must hold no lock."""
    if any(edge.step.lock for edge in graph.edges):
        held = eq(k.get(s.LOCK, k.get(s.TARGET, me)), me)
        k.need(Not(And(held, ne(k.get(s.TARGET, me), NONE))), "a call returns with no lock held")
    for name in maybe_full:
        k.set(graph.frame.registers[name], (me,), NONE)
    k.set(s.TARGET, (me,), NONE)


def _left_full(known: Mapping[int, Facts], edge: Edge) -> list[str]:
    after = _after(known[edge.source], edge)
    return [r for r, v in after.regs.items() if v != "empty"]


def micro_rules(graph: Graph, actor: str) -> list[Rule]:
    """One rule per edge."""
    known = facts(graph)
    make = _task_micro if graph.frame.owner == TASK else _release_micro
    return [make(graph, edge, known, actor) for edge in graph.edges if edge.source in known]


def _edge_name(graph: Graph, edge: Edge) -> str:
    place = edge.source - graph.base
    label = graph.place_names[place] if edge.source != IDLE else f"{graph.name}.1"
    suffix = f"!{edge.failed}" if edge.failed is not None else ".done" if edge.leaves_loop else ""
    return f"{label}{suffix}"


def _task_micro(graph: Graph, edge: Edge, known: Mapping[int, Facts], actor: str) -> Rule:
    left = _left_full(known, edge)

    def body(k: View, e: Env) -> None:
        me = e["me"]
        if edge.source == IDLE:
            _begin(k, me)
        else:
            k.when(eq(k.get(graph.frame.at, me), edge.source))
        edge.fire(k, e)
        if edge.target == IDLE:
            _finish(graph, k, me, left)
        if edge.target != edge.source:
            k.set(graph.frame.at, (me,), edge.target)

    params = () if edge.leaves_loop else edge.step.params
    noop = edge.source == IDLE == edge.target and edge.failed is not None
    return Rule(
        _edge_name(graph, edge), (Param("me", TASK), *params), body, "micro", actor,
        _edge_words(edge), graph.name, False, edge.errno, noop, (edge,),
    )  # fmt: skip


def _edge_words(edge: Edge) -> str:
    if edge.failed is not None:
        return f"{{actor}} is refused: {edge.errno}"
    return "{actor} goes on" if edge.leaves_loop else f"{{actor}} {edge.step.words}"


def _release_micro(graph: Graph, edge: Edge, known: Mapping[int, Facts], actor: str) -> Rule:
    left = _left_full(known, edge)

    def body(k: View, e: Env) -> None:
        me = e["me"]
        k.when(eq(k.get(graph.frame.at, me), edge.source))
        k.when(k.kind(me, graph.frame.own))
        edge.fire(k, e)
        if edge.target == IDLE:
            for name in left:
                k.set(graph.frame.registers[name], (me,), NONE)
            k.set(s.LIFE_OF, (me,), LIFE.freed)
        if edge.target != edge.source:
            k.set(graph.frame.at, (me,), edge.target)

    params = () if edge.leaves_loop else edge.step.params
    words = edge.step.words if not edge.leaves_loop else "it holds nothing any more"
    freed = "; {me} is freed" if edge.target == IDLE else ""
    return Rule(
        _edge_name(graph, edge), (Param("me", OBJ, graph.frame.own), *params), body, "micro",
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
    left = _left_full(known, path[-1])
    errno = next((e.errno for e in path if e.errno), None)

    def body(k: View, e: Env) -> None:
        _begin(k, e["me"])
        for edge, names in plan:
            edge.fire(k, {"me": e["me"], **{n: e[m] for n, m in names.items() if m in e}})
        _finish(graph, k, e["me"], left)

    noop = len(path) == 1 and path[0].failed is not None
    text = f"{{actor}}: {graph.name} is refused: {errno}" if errno else words
    return Rule(
        f"{graph.name}#{number}", tuple(params.values()), body, "call", actor, text,
        graph.name, False, errno, noop, tuple(path),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------
# rules of the world: not made of steps


def world_rules(
    entry: s.Family, first: Sequence[tuple[str, int]], targets: Sequence[str]
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

    def exit_close(k: View, e: Env) -> None:
        p, n = e["p"], e["n"]
        k.when(eq(k.get(s.RUN_OF, p), RUN.exiting))
        k.when(calls_done(k, p))
        k.when(ne(k.get(s.FD_SLOT, p, n), NONE))
        k.drop(k.get(s.FD_SLOT, p, n), first)
        k.set(s.FD_SLOT, (p, n), NONE)

    def gone(k: View, e: Env) -> None:
        p = e["p"]
        k.when(eq(k.get(s.RUN_OF, p), RUN.exiting))
        k.when(calls_done(k, p))
        k.when(k.all(FD, lambda n: eq(k.get(s.FD_SLOT, p, n), NONE)))
        k.set(s.RUN_OF, (p,), RUN.exited)

    def enter(k: View, e: Env) -> None:
        c, t = e["c"], e["hook"]
        k.when(eq(k.get(s.RUNNING, c), NONE))
        k.when(k.live(t))
        prog = k.get(entry, t)
        k.when(ne(prog, NONE))
        k.set(s.RUNNING, (c,), prog)

    def leave(k: View, e: Env) -> None:
        c = e["c"]
        k.when(ne(k.get(s.RUNNING, c), NONE))
        k.set(s.RUNNING, (c,), NONE)
        for waits in (s.GP_OBJ, s.GP_CALL):
            k.each(waits, lambda old, _, cpu: And(old, ne(cpu, c)))

    p, cpu, fd = Param("p", PROC), Param("c", CPU), Param("n", FD)
    hook = Param("hook", OBJ, "|".join(targets))
    rows: list[tuple[str, tuple[Param, ...], Any, bool, str, str]] = [
        ("kill", (p,), kill, False, "world",
         "{p} is killed; the kernel closes its descriptors one by one"),
        ("exit_close", (p, fd), exit_close, True, "kernel",
         "the kernel closes {n} of {p}: the open file loses one reference"),
        ("gone", (p,), gone, True, "kernel", "{p} is gone, with all its descriptors"),
        ("enter", (cpu, hook), enter, False, "cpu",
         "an event: {c} runs what is attached to {hook}; a running program has no count for it"),
        ("leave", (cpu,), leave, True, "cpu", "{c} leaves the program"),
    ]  # fmt: skip
    kept = rows if targets else rows[:3]
    return [Rule(n, ps, b, "world", a, w, n, i) for n, ps, b, i, a, w in kept]
