"""From steps in words to step graphs, and what the text alone says about each place.

An operation is compiled to a graph. A node is a place in it (0 is idle), an edge a step that
succeeds or fails with an errno; undo steps after a failure are a path of their own. `rules.py`
makes the rules of it. Release paths are the same thing for a dying object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .state import View
from .steps import Env, Frame, Step, StepError
from .values import OBJ, TASK, Not
from .vocabulary import WAITS, make_step

Undo = tuple[str, ...]
StepText = str | Mapping[str, Sequence[str]]
IDLE = 0


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
        for holds, what in self.step.first:
            k.need(holds(k, e), what)
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
        text, undo = item, tuple[str, ...]()
    else:
        if len(item) != 1:
            raise StepError("a step with an undo list is one line, `STEP else ERRNO: [steps]`")
        text, undo = next((k, tuple(v)) for k, v in item.items())
    head, found, errno = text.partition(" else")
    if text.startswith("expect ") and not errno.strip():
        raise StepError(f"`{text}` needs `else ERRNO`")
    if errno.strip() and not re.fullmatch(r"[A-Z][A-Z0-9]{1,19}", errno.strip()):
        raise StepError(f"`{errno.strip()[:40]}` is no errno")
    if undo and not found:
        raise StepError(f"`{text}` has an undo list but no `else`")
    return head.strip(), errno.strip(), undo


def compile_graph(
    name: str,
    frame: Frame,
    items: Sequence[StepText],
    base: int,
    frames: Sequence[Frame] | None = None,
) -> Graph:
    """The graph of a list of steps: idle -> step -> ... -> idle, with the failure paths.

    `frames`: of each step, where they are about different hooks: what a target's end does.
    Raises StepError for a step that can't be understood.
    """
    graph = Graph(name, frame, base)
    starts_at = IDLE if frame.owner == TASK else base
    plan: list[tuple[Step, str, Undo]] = []
    for item, its in zip(items, frames or [frame] * len(items), strict=True):
        text, errno, undo = parse_step(item)
        for half in WAITS.get(text, (text,)):
            plan.append((make_step(its, half, errno), errno, undo))
        _check_else(plan[-1][0], text, errno, undo)
    _check_arguments([step for step, _, _ in plan])
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
    _check_filled(graph)
    return graph


def _check_else(step: Step, text: str, errno: str, undo: Undo) -> None:
    """An `else` says what a failure is answered with, so the step must be able to fail."""
    if (errno or undo) and not step.checks:
        raise StepError(f"`{text}` can't fail: it has no `else`")
    if errno and not text.startswith(("expect ", "find ")):
        known = ", ".join(dict.fromkeys(check.errno for check in step.checks))
        raise StepError(f"`{text}` has errnos of its own ({known}): leave `{errno}` out")


def _check_arguments(steps: Sequence[Step]) -> None:
    """A call reads an argument once, and works on one hook. Micro-steps share no arguments: what
    the first reading found is in a local, and a second one could find something else."""
    seen: set[str] = set()
    for step in steps:
        for p in step.params if step.turns or not step.loop else ():
            if p.name in seen and not p.sort.names:  # a plain value leads nowhere
                raise StepError(f"`{p.name}` is read twice: keep what it leads to in a local")
            seen.add(p.name)
    if sum(bool(step.target) for step in steps) > 1:
        raise StepError("a call works on one hook: find or hold it once")


def _check_filled(graph: Graph) -> None:
    """Every local that a step reads is filled by another: else it is a typing error."""
    filled = {r for e in graph.edges for r, v in e.step.regs.items() if v != "empty"}
    for name in graph.frame.registers:
        if name not in filled:
            raise StepError(f"nothing ever puts anything into `{name}`")


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
    halves = [half for text in undo for half in WAITS.get(text, (text,))]
    steps = [make_step(graph.frame, text) for text in halves]
    for failing in steps:
        if failing.checks:
            raise StepError(f"an undo list can't fail: `{failing.text}`")
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
    """What the text says about a place: registers empty, full or maybe; the lock held or not;
    registers with an object that this call has made; the kind of object behind a file; the steps
    under the lock of which each has been passed, and what it said of the hook's entry still holds.
    Only a template for lemmas (proved or dropped later) and for hints: nothing rests on it."""

    regs: Mapping[str, str]
    locked: bool
    kinds: Mapping[str, tuple[str, ...]]
    target: str = ""
    made: frozenset[str] = frozenset()
    behind: Mapping[str, str] = field(default_factory=dict)
    passed: frozenset[str] = frozenset()


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
            new = after(found[here], edge)
            old = found.get(edge.target)
            joined = new if old is None else _join(old, new)
            if joined != old:
                found[edge.target] = joined
                work.append(edge.target)
    return found


def after(before: Facts, edge: Edge) -> Facts:
    """What an edge makes of the facts at its source."""
    if edge.failed is not None or edge.leaves_loop:
        return before
    step = edge.step
    locked = before.locked if step.lock == 0 else step.lock > 0
    filled = {r: step.kinds for r, v in step.regs.items() if v != "empty"}
    made = {r for r in before.made if r not in step.regs} | ({step.makes} - {""})
    behind = {r: kind for r, kind in before.behind.items() if r not in step.regs}
    return Facts(
        {**before.regs, **step.regs},
        locked,
        {**before.kinds, **filled},
        step.target or before.target,
        frozenset(made),
        {**behind, **step.behind},
        _passed(before, step),
    )


def _passed(before: Facts, step: Step) -> frozenset[str]:
    if step.lock:
        return frozenset({step.text})
    looks = step.text.startswith(("expect ", "get ", "copy "))
    changes = "entry" in step.text and not looks
    return frozenset(x for x in before.passed if not (changes and "entry" in x)) | {step.text}


def _join(a: Facts, b: Facts) -> Facts:
    regs = {r: v if v == b.regs[r] else "maybe" for r, v in a.regs.items()}
    both = {*a.kinds, *b.kinds}
    kinds = {r: tuple(sorted({*a.kinds.get(r, ()), *b.kinds.get(r, ())})) for r in both}
    return Facts(
        regs, a.locked and b.locked, kinds, a.target if a.target == b.target else "",
        a.made & b.made, {r: kind for r, kind in a.behind.items() if b.behind.get(r) == kind},
        a.passed & b.passed,
    )  # fmt: skip
