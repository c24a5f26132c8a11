"""Random walks through a scope, and broken copies of the states on the way.

A walk prefers rules that have fired least, so that every rule gets its turn. The broken copies
(one cell changed) are states that no walk reaches: a rule must do the same in all views there too.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field

from bpflife.model.concrete import Blocked, Cells, ConcreteView, Scope
from bpflife.model.graphs import facts
from bpflife.model.rules import Rule
from bpflife.model.state import FILE_OBJ, LIFE_OF, LISTED, LOCK, TARGET, Broken, Family
from bpflife.model.system import System
from bpflife.model.values import BOOL, LIFE, NAT, OBJ, Value
from bpflife.proofs.explicit import Explicit


class Reading(ConcreteView):
    """Notes every cell that a rule reads."""

    def __init__(self, scope: Scope, cells: Cells) -> None:
        super().__init__(scope, cells)
        self.read: list[tuple[Family, tuple[int, ...]]] = []

    def get(self, family: Family, *args: Value) -> Value:
        if not family.rigid:
            self.read.append((family, args))
        return super().get(family, *args)


Fired = tuple[Rule, dict[str, int], Cells]


@dataclass
class Walk:
    """Random walks over one scope; `fired` counts how often each rule did."""

    system: System
    rules: list[Rule]
    sizes: dict[str, int]
    seed: int
    fired: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.space = Explicit(self.system, self.rules, self.sizes)

    def enabled(self, cells: Cells) -> list[tuple[Rule, dict[str, int], Cells | None]]:
        """What can fire, with the state after it (None: a step of it breaks)."""
        found: list[tuple[Rule, dict[str, int], Cells | None]] = []
        for number in self.space.candidates(cells):
            rule, env = self.space.instances[number]
            view = ConcreteView(self.space.scope, cells)
            try:
                rule.body(view, env)
                found.append((rule, env, view.commit()))
            except Blocked:
                continue
            except Broken:
                found.append((rule, env, None))
        return found

    def states(self, walks: int, length: int) -> list[Fired]:
        """(rule, parameters, state before) along the walks."""
        found: list[Fired] = []
        for _ in range(walks):
            cells: Cells = {}
            for _ in range(length):
                ready = self.enabled(cells)
                if not ready:
                    break
                least = min(self.fired[r.name] for r, _, _ in ready)
                rare = [x for x in ready if self.fired[x[0].name] == least]
                rule, env, after = self.rng.choice(rare if self.rng.random() < 0.7 else ready)
                self.fired[rule.name] += 1
                found.append((rule, env, cells))
                if after is None:
                    break
                cells = after
        return found

    def staged(self, rule: Rule, cells: Cells) -> tuple[dict[str, int], Cells] | None:
        """Parameters, and for a micro-step a state in which it stands in its place, its locals are
        what the text of its call says, and the lock is held where it should be; else `cells`."""
        env = {
            p.name: self.rng.choice(list(self.space.scope.domain(p.sort, p.kind)) or [0])
            for p in rule.params
        }
        if rule.mode != "micro":
            return env, cells
        edge = rule.edges[0]
        graph = self.system.releases.get(rule.op) or self.system.graphs[rule.op]
        fact = facts(graph).get(edge.source)
        if fact is None or not env["me"]:
            return None
        me, new = env["me"], dict(cells)
        new[(graph.frame.at.name, me)] = edge.source
        for name, family in graph.frame.registers.items():
            kinds = "|".join(fact.kinds.get(name, ()))
            new[(family.name, me)] = 0
            full = fact.regs[name] == "full" or self.rng.random() < 0.5
            if fact.regs[name] != "empty" and full and kinds:
                new[(family.name, me)] = self._living(kinds, new)
        files = list(self.space.scope.domain(OBJ, "file"))
        for name, kind in fact.behind.items():  # one file leads to one kind of object
            file = self.rng.choice(files)
            files.remove(file)
            new[(graph.frame.registers[name].name, me)] = file
            new[(FILE_OBJ.name, file)] = self._living(kind, new)
        if fact.target:
            hook = self._living(fact.target, new)
            new[(TARGET.name, me)] = hook
            new[(LOCK.name, hook)] = me if fact.locked else 0
        return env, {k: v for k, v in new.items() if v}

    def nudged(self, rule: Rule, env: dict[str, int], cells: Cells) -> Cells:
        """The state with some of the cells changed that the rule reads before it gives up."""
        view = Reading(self.space.scope, cells)
        with contextlib.suppress(Blocked, Broken):
            rule.body(view, env)
        new = dict(cells)
        late = view.read[-2:] if self.rng.random() < 0.7 else view.read  # what it stopped at
        families = {f.name: f for f in self.system.families}  # a card's say who owns a cell
        for read, row in self.rng.sample(late, min(len(late), 2)):
            family = families.get(read.name, read)
            if family.name in ("pc", "at", TARGET.name) or not all(row):
                continue
            if family.owners and self.space.scope.kinds[row[0] - 1] not in family.owners:
                continue
            kinds = "|".join(self.system.targets_of(family)) if family.slot else ""
            values = [int(v) for v in self.space.scope.domain(family.range, kinds)] or [0, 1, 2]
            new[(family.name, *row)] = self.rng.choice(values)
        return {k: v for k, v in new.items() if v}

    def _living(self, kinds: str, cells: Cells) -> int:
        found = list(self.space.scope.domain(OBJ, kinds))
        live = [o for o in found if cells.get((LIFE_OF.name, o)) == LIFE.live]
        return self.rng.choice(live or found)

    def breakage(self, cells: Cells) -> Cells:
        """The state with one cell changed to another value of its sort. (Not what a call is inside
        of, or a link attached to: a hook's cells exist for hooks only, in the bounded view.)"""
        hooks = (TARGET.name, LISTED.name)
        changeable = [f for f in self.system.families if not f.rigid and f.name not in hooks]
        family = self.rng.choice(changeable)
        owners = "|".join(family.owners)
        domains = [self.space.scope.domain(x, owners if x == OBJ else "") for x in family.args]
        row = [self.rng.choice(list(d) or [0]) for d in domains]
        sort = family.range
        if sort in (NAT, BOOL):
            top = 5 if sort == NAT else 1
        else:
            sizes = self.system.sizes
            top = sizes[sort] - 1 if sort in sizes else max(self.space.scope.domain(sort) or [0])
        new = {**cells, (family.name, *row): self.rng.randint(0, top)}
        return {k: v for k, v in new.items() if v and all(k[1:])}
