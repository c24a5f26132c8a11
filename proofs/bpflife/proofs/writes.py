"""What a call may have written when it comes to a place: where nothing was, a guess that a new
object still holds nothing is worth making. A wrong guess costs a proof time, nothing else.
"""

from __future__ import annotations

from collections import Counter

from bpflife.model.graphs import IDLE, Edge, Graph
from bpflife.model.system import System
from bpflife.model.values import TASK, Sort, Value

from .unbounded import Theory, UnboundedView


def written(system: System, graph: Graph) -> dict[int, frozenset[str]]:
    """Place -> the families that a step on some way to it writes (forward dataflow: union); at
    the idle place, what the whole call may write."""
    theory = Theory(system)
    by_edge = {id(e): _by_step(theory, graph, e) for e in graph.edges}
    start = IDLE if graph.frame.owner == TASK else graph.base
    found = {start: frozenset[str]()}
    work = [start]
    while work:
        here = work.pop()
        for edge in graph.out(here):
            before = found.get(edge.target)
            new = found[here] | by_edge[id(edge)] | (before or frozenset())
            if new != before:
                found[edge.target] = new
                work += [edge.target] if edge.target != IDLE else []
    return found


def turning(system: System, graph: Graph) -> dict[int, frozenset[str]]:
    """Place of a loop -> the families that a turn of it writes: it may be at it."""
    theory = Theory(system)
    loops = [e for e in graph.edges if e.source == e.target]
    return {e.source: _by_step(theory, graph, e) for e in loops}


def times_written(system: System, graph: Graph) -> Counter[str]:
    """How many steps of the graph write a family."""
    theory = Theory(system)
    edges = {e.source: e for e in graph.edges if e.failed is None and not e.leaves_loop}
    return Counter(name for e in edges.values() for name in _by_step(theory, graph, e))


def _by_step(theory: Theory, graph: Graph, edge: Edge) -> frozenset[str]:
    """What the step of one edge writes, whatever the state before."""
    if edge.failed is not None or edge.leaves_loop:
        return frozenset()
    view = UnboundedView(theory)

    def some(name: str, sort: Sort) -> Value:
        return view.entity(sort, theory.constant(sort, name))

    env = {p.name: some(p.name, p.sort) for p in edge.step.params}
    edge.step.effect(view, {**env, "me": some("me", graph.frame.owner)})
    return frozenset({*view.updates, *view.deltas})
