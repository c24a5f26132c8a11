"""The simulator's world: a concrete state with names, and the documents that describe it.

`World` knows which process, object, path and descriptor each number stands for, runs one rule or
one system call at a time, and turns the state into `State` (for the picture) and `Settled` (for
the comparison with the kernel).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import state as s
from .cards import AttachCard
from .concrete import Blocked, Cells, ConcreteView, Scope
from .documents import InputError, ObjectState, Settled, Slot, State
from .graphs import IDLE, Edge, Graph, facts
from .language import BPFFS, MAX_KEY, MOUNTS
from .rules import Rule, begin, finish, left_full
from .state import Broken, Family
from .steps import Param
from .system import System
from .values import BOOL, CPU, FD, IDX, LIFE, OBJ, PATH, PROC, RUN, TASK, Sort

UNNAMED = (  # kinds that scenarios have no names for
    *("file", "psock", "inode", "message", "bpffs", "mnt", "mntns", "netns", "tap"),
)
ALIKE = {  # behind a file: all look so
    "mnt": ("dir", "bpffs"),
    "netns": ("namespace", "network"),
    "tap": ("device", "tap"),
}


def network_of(process: str) -> str:
    """How the network namespace of a process is called."""
    return f"network of {process}"


FIRST_FD = 3  # 0, 1 and 2 are taken in every process
CPUS = 2
MAX_THREADS = 8
START = {CPU: CPUS, FD: 4, IDX: MAX_KEY + 1}  # every element that a scenario can name is there


@dataclass
class Outcome:
    """What one rule or call did: new state, errno, and names for its sentence."""

    cells: Cells
    errno: str | None
    seen: dict[str, int]
    rule: str = ""
    path: list[Edge] = field(default_factory=list)  # of a call: the steps that it took
    given: list[tuple[str, int, int]] = field(default_factory=list)

    def numbers(self, process: int, family: Family = s.FD_SLOT) -> list[int]:
        """The descriptors (or mappings) that a process got, in order."""
        return [n for name, p, n in self.given if name == family.name and p == process]


@dataclass
class World:
    """A state with names. Processes, objects, paths: number n has name names[n - 1]. A path is an
    instance of bpffs (0: the first) and a name in it, or a mount point, whose name ends with /."""

    system: System
    cells: Cells = field(default_factory=dict)
    procs: list[str] = field(default_factory=list)
    objects: dict[int, str] = field(default_factory=dict)
    paths: list[tuple[int, str]] = field(default_factory=list)
    fds: dict[tuple[str, str], int] = field(default_factory=dict)  # language.bind
    scope: Scope = field(default_factory=lambda: Scope({**START}, grows=True))

    def copy(self) -> World:
        """An independent copy of the state; names are shared until somebody adds one."""
        twin = World(self.system, dict(self.cells), list(self.procs), dict(self.objects))
        twin.paths, twin.fds, twin.scope = list(self.paths), dict(self.fds), self.scope.copy()
        return twin

    # -- names ---------------------------------------------------------------------------------

    def process(self, name: str) -> int:
        """The number of a process; a new name is a new process (with one task)."""
        if name not in self.procs:
            self.procs.append(name)
            if len(self.procs) not in self.scope.table:
                self.scope.table.append(len(self.procs))
            self.scope.sizes[PROC] = len(self.procs)
        return self.procs.index(name) + 1

    def first_task(self, name: str) -> int:
        """The number of the task with which a process began."""
        return self._tasks_of(self.process(name))[0]

    def task(self, name: str) -> int:
        """The number of a task: a process's first has its name, others are `NAME-thread2` ..."""
        stem, _, number = name.rpartition("-thread")
        if not stem or not number.isdigit():
            return self.first_task(name)
        process, wanted = self.process(stem), int(number[:3])
        if not 2 <= wanted <= MAX_THREADS:
            raise InputError(f"a process has at most {MAX_THREADS} threads: no `{name}`")
        while len(self._tasks_of(process)) < wanted:
            self.scope.table.append(process)
        return self._tasks_of(process)[wanted - 1]

    def _tasks_of(self, process: int) -> list[int]:
        return [t for t, p in enumerate(self.scope.table, 1) if p == process]

    def _task_name(self, task: int) -> str:
        process = self.scope.table[task - 1]
        place = self._tasks_of(process).index(task) + 1
        return self.procs[process - 1] + (f"-thread{place}" if place > 1 else "")

    def path(self, name: str, instance: int = 0) -> int:
        """The number of a name in an instance of bpffs; without one, in the world's first."""
        if (instance, name) not in self.paths:
            self.paths.append((instance, name))
            self.scope.sizes[PATH] = len(self.paths)
            self.scope.inside[len(self.paths)] = instance
        return self.paths.index((instance, name)) + 1

    def point(self, name: str) -> int:
        """The number of a mount point."""
        return self.path(f"{name}/")

    def known_point(self, name: str) -> bool:
        """Something was mounted there once."""
        return (0, f"{name}/") in self.paths

    def meant(self, text: str, relative: bool) -> list[int]:
        """The paths that a text can mean: one for each instance that was ever mounted there, or,
        for a name in an open directory, for each that there ever was. The rules say which."""
        point, slash, name = text.rpartition("/")
        if not slash and not relative:
            return [self.path(name)]
        if not relative and not self.known_point(point):
            return []
        instances = [n for n, kind in enumerate(self.scope.kinds, 1) if kind == "bpffs"]
        if relative:
            return [self.path(name, i) for i in (0, *instances)]
        there = [i for i in instances if self.get(s.POINT, i) == self.point(point)]
        return [self.path(name, i) for i in there]

    def path_named(self, name: str) -> int:
        """The number of a path by how people see it, or 0."""
        found = (n for n in range(1, len(self.paths) + 1) if self.name(PATH, n) == name)
        return next(found, 0)

    def object_named(self, name: str) -> int:
        """The number of an object, or 0."""
        return next((i for i, n in self.objects.items() if n == name), 0)

    def name(self, sort: Sort, n: int) -> str:
        """How people see an entity."""
        if sort.names:
            return sort.names[n]
        if sort == BOOL:
            return "true" if n else "false"
        if not n:
            return "nothing"
        if sort == OBJ:
            return self.objects.get(n, f"object {n}")
        if sort == PROC:
            return self.procs[n - 1]
        if sort == TASK:
            return self._task_name(n)
        if sort == PATH:
            return self._path_name(n)
        if sort == FD:
            return f"descriptor {n + FIRST_FD - 1}"
        return f"cpu{n - 1}" if sort == CPU else str(n)

    def _path_name(self, n: int) -> str:
        instance, name = self.paths[n - 1]
        if not instance:
            return (MOUNTS if name[-1] == "/" else BPFFS) + name.removesuffix("/")
        point = self.get(s.POINT, instance)
        others = [i for i, _ in self.paths if i and self.get(s.POINT, i) == point]
        which = "" if min(others) == instance else f" in {self.name(OBJ, instance)}"
        return f"{self.name(PATH, point)}/{name}{which}"

    # -- running -------------------------------------------------------------------------------

    def fire(self, rule: Rule, env: Mapping[str, int]) -> Outcome:
        """One rule. Raises Blocked, or Broken when a step's need is not met."""
        view = ConcreteView(self.scope, self.cells)
        rule.body(view, env)
        return Outcome(view.commit(), rule.errno, view.seen, rule.name, given=view.given)

    def idle(self, rule: Rule, env: Mapping[str, int]) -> bool:
        """The rule can fire, and there is nothing to do for it: it only goes on."""
        view = ConcreteView(self.scope, self.cells)
        return any(bool(e.step.idle(view, env)) for e in rule.edges if e.step.idle)

    def call(self, graph: Graph, env: Mapping[str, object]) -> Outcome:
        """A whole system call: the path of the graph whose guards hold.

        `env` has `me` and one value per argument, a list for what a loop takes. Raises Blocked
        when it would have to wait (a lock, a grace period), Broken when a need is not met.
        """
        view = ConcreteView(self.scope, self.cells)
        me = env["me"]
        begin(view, me)
        turns = {name: list(x) for name, x in env.items() if isinstance(x, list)}
        place, path = IDLE, list[Edge]()
        while True:
            edge = self._take(view, graph, place, dict(env), turns)
            path.append(edge)
            place = edge.target
            if place == IDLE:
                break
        finish(graph, view, me, left_full(facts(graph), path[-1]))
        errno = next((e.errno for e in path if e.errno), None)
        return Outcome(view.commit(), errno, view.seen, graph.name, path, view.given)

    def _take(
        self, view: ConcreteView, graph: Graph, place: int, env: dict[str, object],
        turns: dict[str, list[int]],
    ) -> Edge:  # fmt: skip
        """Fires the edge that is enabled at this place (guards come before writes)."""
        edges = graph.out(place)
        listed = next((e.step for e in edges if e.step.turns), None)
        left = turns.get(listed.turns, []) if listed else []
        if listed:
            edges = [e for e in edges if e.leaves_loop != bool(left)]
        if listed and left:
            env[listed.params[0].name] = left[0]
        for turn in self._turns(edges, env):
            for edge in edges:
                if self._fires(view, edge, turn):
                    if left:
                        left.pop(0)
                    return edge
        raise Blocked

    def _turns(self, edges: list[Edge], env: dict[str, object]) -> Iterator[dict[str, object]]:
        """The parameters to try: a loop that no argument drives takes the lowest that fits."""
        own = next((e.step for e in edges if e.step.loop and not e.step.turns), None)
        params = own.params if own else self._open(edges, env)
        domains: list[Any] = [env.get(p.name) or self.scope.domain(p.sort, p.kind) for p in params]
        for row in itertools.product(*domains):
            yield env | {p.name: x for p, x in zip(params, row, strict=True)}
        yield env  # for the edge that leaves a loop with nothing to do

    @staticmethod
    def _open(edges: list[Edge], env: dict[str, object]) -> list[Param]:
        """The arguments that may mean several things."""
        found = {p.name: p for e in edges for p in e.step.params if p.sort == PATH}
        return [p for name, p in found.items() if isinstance(env.get(name), list)]

    @staticmethod
    def _fires(view: ConcreteView, edge: Edge, env: dict[str, object]) -> bool:
        before = dict(view.updates)
        own = [p.name for p in edge.step.params]
        if not edge.leaves_loop and any(name not in env for name in own):
            return False
        try:
            edge.fire(view, env)
        except Blocked:
            view.updates = before
            return False
        return True

    def adopt(self, outcome: Outcome, wanted: Sequence[str] = ()) -> None:
        """Make an outcome the state; objects born in it get names, those `wanted` first."""
        self.cells = outcome.cells
        names = list(wanted)
        for n, kind in enumerate(self.scope.kinds, 1):
            if n in self.objects or not self.get(s.LIFE_OF, n):
                continue
            word = self.kind_word(n)
            if kind in UNNAMED or (word == "record" and not names):
                number = 1 + sum(v.startswith(f"{word} ") for v in self.objects.values())
                self.objects[n] = f"{word} {number}"
                continue
            asked = names.pop(0) if names else ""
            if outcome.errno:
                self.objects[n] = self._unused(f"{asked or kind} (refused)")
            else:
                self.objects[n] = asked or self._unused(f"{kind}1")

    def forget_mappings(self) -> None:
        """A mapping's name stands for nothing once it is gone: its place may be taken again."""
        for (process, label), n in self.fds.items():
            if label[:1] == "@" and n and not self.get(s.VMA, self.process(process), n):
                self.fds[(process, label)] = 0

    def _unused(self, name: str) -> str:
        taken = set(self.objects.values())
        while name in taken:
            stem, number = re.fullmatch(r"(.*?)(\d*)", name).groups()  # type: ignore[union-attr]
            name = f"{stem}{int(number or 1) + 1}"
        return name

    def get(self, family: Family, *args: int) -> int:
        """A cell of the current state."""
        return int(ConcreteView(self.scope, self.cells).get(family, *args))

    # -- internal work -------------------------------------------------------------------------

    def enabled(self, rules: Iterable[Rule]) -> Iterator[tuple[Rule, dict[str, int]]]:
        """All instances of the rules that can fire now, one after the other."""
        for rule in rules:
            for row in itertools.product(*[self._who(rule, p) for p in rule.params]):
                env = {p.name: x for p, x in zip(rule.params, row, strict=True)}
                try:
                    self.fire(rule, env)
                except Blocked:
                    continue
                except Broken:
                    pass
                yield rule, env

    def _who(self, rule: Rule, p: Param) -> Sequence[int]:
        """The entities that a parameter may be: those that take a step of a release path stand in
        the right place of it (only a filter: the rule asks again)."""
        found = self.scope.domain(p.sort, p.kind)
        if p.name != "me" or p.sort != OBJ or not rule.edges:
            return found
        place = rule.edges[0].source
        return [n for n in found if self.cells.get((s.AT.name, n)) == place]

    # -- documents -----------------------------------------------------------------------------

    def state(self) -> State:
        """The state as the picture shows it."""
        families = {f.name: f for f in self.system.families}
        objects = {name: self._object(n) for n, name in self.objects.items()}
        slots = []
        for key, value in sorted(self.cells.items(), key=str):
            family = families.get(str(key[0]))
            if family and family.slot:
                slots.append(self._slot(family, [int(str(k)) for k in key[1:]], value))
        processes = {n: self._doing(i) for i, n in enumerate(self.procs, 1)}
        cpus = {f"cpu{c - 1}": self.objects.get(self.get(s.RUNNING, c)) for c in range(1, CPUS + 1)}
        return State(objects=objects, processes=processes, cpus=cpus, slots=slots)

    def _doing(self, process: int) -> str:
        """What a process is at: "running" inside a system call, else "idle" (from its birth)."""
        if self.get(s.RUN_OF, process) in (RUN.exiting, RUN.exited):
            return "exited"
        busy = any(self.get(s.PC, t) for t in self._tasks_of(process))
        return "running" if busy else "idle"

    def _slot(self, family: Family, args: list[int], value: int) -> Slot:
        owner = self.name(family.args[0], args[0])
        owner = f"call by {owner}" if family.args[0] == TASK else owner
        key = ""
        if len(args) > 1:
            key = str(args[1] + FIRST_FD - 1) if family == s.FD_SLOT else str(args[1])
        held = "counted" if family.counted else "reader" if family == s.RUNNING else "uncounted"
        points = self.name(OBJ, value)
        return Slot(slot=family.name, owner=owner, key=key, points=points, held=held)

    def _object(self, n: int) -> ObjectState:
        kind = self.scope.kinds[n - 1]
        waits = [f"cpu{c - 1}" for c in range(1, CPUS + 1) if self.get(s.GP_OBJ, n, c)]
        return ObjectState(
            kind=self.kind_word(n),
            life=LIFE.names[self.get(s.LIFE_OF, n)],
            refcnt=self.get(s.REFCNT, n),
            usercnt=self.get(s.USERCNT, n) if kind == "map" else None,
            waits_for=waits,
            note=self._note(n, kind),
        )

    def _note(self, n: int, kind: str) -> str:
        """What a dying object does next, in the words of its release path."""
        place = self.get(s.AT, n)
        graph = self.system.releases[kind]
        return next((e.step.words for e in graph.edges if e.source == place != 0), "")

    def settled(self) -> Settled:
        """The comparable part of the state; call it on a settled world."""
        live = [n for n in self.objects if self.get(s.LIFE_OF, n) == LIFE.live]

        def of(*wanted: str) -> list[int]:
            return [n for n in live if self.kind_word(n) in wanted]

        name, count = self.objects, {n: self.get(s.REFCNT, n) for n in live}
        fds = self._descriptors()
        return Settled(
            maps={name[n]: (count[n], self.get(s.USERCNT, n)) for n in of("map")},
            progs={name[n]: count[n] for n in of("prog")},
            btfs={name[n]: count[n] for n in of("btf")},
            links={
                name[n]: (
                    count[n],
                    name[self.get(s.LINK_PROG, n)],
                    self._hook(self.get(s.LISTED, n)),
                )
                for n in of("link")
            },
            fds=fds,
            hooks=self._hooks(live, fds),
        )

    def _hooks(
        self, live: Iterable[int], fds: Mapping[str, Mapping[str, tuple[str, str, int]]]
    ) -> dict[str, list[str]]:
        """What is attached, by the name of the hook. A network namespace has none of its own: it
        is said of the processes that are in it."""
        seen = [(self.objects[n], n) for n in live if self._in_sight(n, self.kind_word(n), fds)]
        if s.NET in self.system.families:
            alive = [p for p in self.scope.domain(PROC) if self.get(s.RUN_OF, p) == RUN.running]
            seen += [(network_of(self.procs[p - 1]), self.get(s.NET, p)) for p in alive]
        return {
            f"{label} {hook}".strip(): [self.objects[p] for p in self.programs_of(n, card)]
            for label, n in seen
            if n
            for hook, card in self.system.hooks_of(self.scope.kinds[n - 1]).items()
        }

    def _hook(self, target: int) -> str:
        """What a link is attached to; "" where that is nothing."""
        kind = self.kind_word(target) if target else ""
        return ALIKE[kind][1] if kind in ALIKE else self.objects.get(target, "")

    def kind_word(self, n: int) -> str:
        """The kind of an object as scenarios name it."""
        return self.system.kind_word(self.scope.kinds[n - 1])

    def attachments_of(self, target: int, card: AttachCard | None = None) -> list[int]:
        """What stands in a target's list (of one hook), in the order in which it runs."""
        kinds = "|".join(self.system.beside(card) if card else self.system.attachments)
        there = self.scope.domain(OBJ, kinds) if kinds else ()
        listed = [n for n in there if self.get(s.LISTED, n) == target]
        if "order" not in self.system.parts:
            return listed
        return sorted(listed, key=lambda n: sum(self.get(s.RUNS_BEFORE, m, n) for m in listed))

    def programs_of(self, target: int, card: AttachCard) -> list[int]:
        """The programs that an event at a hook of a target runs, in order. A link that has put its
        program into the target's own entry is no second one."""
        owner = self.system.entry_of.get(card.target.kind)
        own = self.get(self.system.entry, target) if owner and owner.hook == card.hook else 0
        linked = [self.get(s.LINK_PROG, n) for n in self.attachments_of(target, card)]
        return [own, *(x for x in linked if x != own)] if own else linked

    def _in_sight(
        self, n: int, kind: str, fds: Mapping[str, Mapping[str, tuple[str, str, int]]]
    ) -> bool:
        """A hook has a name to ask for (a device: in a network namespace that some process is in),
        or a descriptor leads to it: else no kernel says what is attached to it."""
        if kind == "clsact" and s.QDISC_OF in self.system.families:
            there = bool(self.get(self.system.dir, n))
            return there and self._in_sight(self.get(s.QDISC_OF, n), "netdev", fds)
        if kind == "netdev" and s.ND_NET in self.system.families:
            alive = [p for p in self.scope.domain(PROC) if self.get(s.RUN_OF, p) == RUN.running]
            return self.get(s.ND_NET, n) in [self.get(s.NET, p) for p in alive]
        if kind in self.system.dir.owners:
            return bool(self.get(self.system.dir, n))
        behind = {name for files in fds.values() for _, name, _ in files.values()}
        return kind in self.system.targets and self.objects[n] in behind

    def _descriptors(self) -> dict[str, dict[str, tuple[str, str, int]]]:
        found: dict[str, dict[str, tuple[str, str, int]]] = {}
        for key, file in sorted(self.cells.items(), key=str):
            if key[0] != s.FD_SLOT.name:
                continue
            process, number = int(str(key[1])), int(str(key[2]))
            o = self.get(s.FILE_OBJ, file)
            kind, name = self.kind_word(o), self.objects[o]
            row = (*ALIKE.get(kind, (kind, name)), self.get(s.REFCNT, file))
            found.setdefault(self.procs[process - 1], {})[str(number + FIRST_FD - 1)] = row
        return found
