"""Plain breadth-first search with the simulator's view: the engine that shares nothing with Z3.

It visits every state of a small scope, one rule at a time, on Python numbers. Two uses: a second
opinion (the same verdict at the same depth as the bounded search, asked in the tests), and
completeness: nothing is ever unborn again, so a scope has finitely many states, and when all were
visited a property without a violation is proved for that scope.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bpflife.model import state as s
from bpflife.model.concrete import Blocked, Cells, ConcreteView, Scope
from bpflife.model.graphs import IDLE
from bpflife.model.properties import Property
from bpflife.model.rules import Rule
from bpflife.model.state import Broken
from bpflife.model.system import System
from bpflife.model.world import World

from .judge import violated
from .scopes import Cancelled, Fired, Found, make_scope

Key = frozenset[tuple[tuple[object, ...], int]]


@dataclass
class Node:
    """How a state was first reached."""

    parent: Key | None
    fired: Fired | None
    depth: int


@dataclass
class Explored:
    """What a breadth-first search saw. `complete`: every state of the scope was visited; `depth`
    the last level that was expanded as a whole."""

    found: dict[str, Found]
    states: int
    depth: int
    complete: bool


@dataclass
class Explicit:
    """Breadth-first search over one scope for several properties of one card."""

    system: System
    rules: Sequence[Rule]
    sizes: dict[str, int]
    api: str = ""
    scope: Scope = field(init=False)

    def __post_init__(self) -> None:
        self.rules = [r for r in self.rules if not r.noop]
        self.scope = make_scope(self.system, self.sizes)
        self.instances = [(r, env) for r in self.rules for env in self._envs(r)]
        self.starts: dict[tuple[str, int, int], list[int]] = {}
        self.anywhere: list[int] = []
        for number, (rule, env) in enumerate(self.instances):
            place = self._place(rule, env)
            target = self.starts.setdefault(place, []) if place else self.anywhere
            target.append(number)

    def _envs(self, rule: Rule) -> Iterator[dict[str, int]]:
        domains = [self.scope.domain(p.sort, p.kind) for p in rule.params]
        for row in itertools.product(*domains):
            yield {p.name: x for p, x in zip(rule.params, row, strict=True)}

    def _place(self, rule: Rule, env: dict[str, int]) -> tuple[str, int, int] | None:
        """Where its actor must be for this rule to fire: only a filter, the rule asks again."""
        if not rule.edges:
            return None
        family = s.AT if rule.internal else s.PC
        source = rule.edges[0].source if rule.mode == "micro" else IDLE
        return (family.name, env["me"], source)

    def candidates(self, cells: Cells) -> list[int]:
        """Numbers of the instances that may be able to fire: their actor is in the right place."""
        found = list(self.anywhere)
        for (family, me, place), numbers in self.starts.items():
            if cells.get((family, me), 0) == place:
                found += numbers
        return found

    # -- searching -----------------------------------------------------------------------------

    def run(
        self,
        properties: Sequence[Property],
        depth: int,
        say: Callable[[str], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
        seconds: float = 600,
        watch: Callable[[Rule, Cells, Cells], bool] | None = None,
    ) -> Explored:
        """Shortest violations by property; stops when all are found, the time is over, or every
        state was visited. `watch` is shown every transition (rule, state before, state after), and
        stops it by True (no property is needed then)."""
        stop = time.monotonic() + seconds
        self.watch = watch
        self.enough = False
        self.nodes: dict[Key, Node] = {frozenset(): Node(None, None, 0)}
        found: dict[str, Found] = {}
        layer: list[Key] = [frozenset()]
        for level in range(depth):
            following: list[Key] = []
            say(f"explicit: depth {level + 1}, {len(self.nodes):,} states")
            for key in layer:
                if cancelled():
                    raise Cancelled
                self._expand(key, level, properties, found, following)
                if self.enough:
                    break
                if time.monotonic() > stop:
                    return Explored(found, len(self.nodes), level, False)
            if self.enough or not following or (properties and len(found) == len(properties)):
                return Explored(found, len(self.nodes), level + 1, not following)
            layer = following
        return Explored(found, len(self.nodes), depth, False)

    def _expand(
        self, key: Key, level: int, properties: Sequence[Property], found: dict[str, Found],
        following: list[Key],
    ) -> None:  # fmt: skip
        cells: Cells = dict(key)
        for number in self.candidates(cells):
            rule, env = self.instances[number]
            view = ConcreteView(self.scope, cells)
            try:
                rule.body(view, env)
            except Blocked:
                continue
            except Broken:
                if any(p.form == "needs" for p in properties):
                    found.setdefault("no-broken-step", self._path(key, (rule, env), True))
                continue
            after = view.commit()
            new = frozenset(after.items())
            self.enough |= self.watch is not None and self.watch(rule, cells, after)
            is_new = new not in self.nodes
            if is_new:
                self.nodes[new] = Node(key, (rule, env), level + 1)
                following.append(new)
            for prop in properties:
                if prop.name in found or (prop.form != "step" and not is_new):
                    continue
                if self._bad(prop, cells, after, rule):
                    found[prop.name] = self._path(key, (rule, env), False)

    def _bad(self, prop: Property, before: Cells, after: Cells, rule: Rule) -> bool:
        if prop.form == "needs":
            return False
        world = World(self.system, after, scope=self.scope)
        return violated(self.system, prop, self.api, world, before, rule.op, 0) is not None

    def _path(self, key: Key, last: Fired, is_broken: bool) -> Found:
        path = [last]
        at: Key | None = key
        while at is not None:
            node = self.nodes[at]
            if node.fired:
                path.append(node.fired)
            at = node.parent
        return Found(path[::-1], is_broken)
