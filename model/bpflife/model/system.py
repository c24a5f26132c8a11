"""A system: Linux plus some cards, compiled to families and rules. What every engine works on.

    system = System([card])
    system.rules()                             # micro-steps: what proofs are about
    system.search_rules({"cgroup_legacy"})     # whole calls, and the card's also in micro-steps

The order of assembly: kinds and families from the cards' targets, release graphs (what a dying
object does), then one step graph for every operation of linux/ and of the cards.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

from . import state as s
from .cards import AttachCard, Linux, Operation
from .documents import InputError, parse_document
from .graphs import Graph, compile_graph, parse_step
from .readers import TRACE
from .rules import Rule, call_rules, micro_rules, world_rules
from .state import Family
from .steps import Frame, StepError
from .values import NAT, OBJ, TASK, Sort
from .vocabulary import part_of, registers_of

CORE = ("core",)
PARTS = (
    "core",
    "processes",
    "passing",
    "maps",
    "btf",
    "bpffs",
    "access",
    "perf",
    "flavours",
    "sockmap",
    "net",
    "membership",
    "tc",
    "order",
)  # of Linux: one file each in linux/
KINDS = {
    "core": ("file", "map", "prog", "inode"),
    "passing": ("socket", "message"),
    "btf": ("btf",),
    "bpffs": ("bpffs", "mnt", "mntns"),
    "perf": ("perf_event",),
    "sockmap": ("psock",),
    "net": ("netns", "netdev", "tap"),
    "tc": ("clsact",),
}
ABOUT = {"membership": "cgroup", "tc": "clsact"}  # parts about a kind that a card brings
BY_FILE = (  # kinds that an open file can be of
    *("map", "prog", "socket", "btf", "mnt", "perf_event", "netns", "tap"),
)
BY_NAME = ("netdev",)  # kinds of Linux that are there as long as they have a name
ARG_KINDS = (
    *("fd", "path", "maps", "fds", "files", "map", "prog", "btf", "socket", "mnt", "netns", "tap"),
)
WORLD_ARGS = (
    *("number", "process", "theirs", "child", "mapping", "key", "object", "flag", "listener"),
    "point",
)
TYPES = (  # of programs, where no card says; with what they are to be attached to
    *("socket_filter", "cgroup_skb", "xdp", "kprobe", "syscall", "xdp_devmap", "xdp_cpumap"),
    *("sk_skb", "sk_msg"),
)
UNCOUNTED = {"reg": "ptr", "dying": "dyingptr"}  # locals of calls, of dying objects
MAX_MAPS = 2  # maps per program in whole-call rules that a search explores


@functools.cache
def linux(parts: tuple[str, ...] = PARTS) -> Linux:
    """The files of linux/ as one document, read once."""
    found: dict[str, dict[str, Any]] = {"operations": {}, "targets": {}, "release": {}}
    for part in parts:
        file = resources.files(__package__).joinpath(f"linux/{part}.yaml")
        if not file.is_file():  # about the operations of others only
            continue
        one = parse_document(Linux, file.read_text("utf-8"), f"linux/{part}.yaml")
        for field in found:
            found[field] |= getattr(one, field)
    return Linux.model_validate(found)


class System:
    """Linux with the given cards.

    `parts`: of Linux; the core is what a check of a card is about (with the parts that the card
    says), scenarios have all of it.

    Attributes: `kinds` (names of object kinds), `events` (those that are perf events),
    `families`, `graphs` (by operation), `releases` (by kind), `operations` (documents by name),
    `sizes` (of the two place sorts).
    Raises InputError when a card's steps can't be understood.
    """

    def __init__(self, cards: Sequence[AttachCard], parts: tuple[str, ...] = CORE) -> None:
        parts = tuple(dict.fromkeys((*parts, *(part for card in cards for part in card.parts))))
        self.traced = tuple(c.target.kind for c in cards if c.target.readers == TRACE)
        if self.traced and "flavours" not in parts:
            parts = (*parts, "flavours")
        kinds = {card.target.kind for card in cards}
        parts = tuple(p for p in parts if p not in ABOUT or ABOUT[p] in kinds)
        self.parts = parts
        self.linux = linux(parts)
        self.cards = {card.api: card for card in cards}
        _check_apart(cards)
        self.targets = {card.target.kind: card for card in reversed(cards)}  # the first of a kind
        self.links = {card.link: card for card in cards if card.link}
        self.records = {card.record: card for card in cards if card.record}
        self.attachments = {**self.links, **self.records}
        mixed = len(self.targets) < len(cards)
        self.traced_links = tuple(
            k for k, c in self.attachments.items() if c.target.kind in self.traced
        )
        self.keepers = tuple(
            k for k, c in self.links.items() if any("put held" in x for x in c.on_last_put)
        )
        self.in_entries = tuple(k for k, c in self.links.items() if c.keeps_entry)
        self.prioritized = tuple(k for k, c in self.attachments.items() if c.prioritized)
        own: dict[str, Collection[str] | bool] = {
            "links": self.links, "records": self.records, "attachments": self.attachments,
            "holds": self.keepers, "traced links": self.traced_links,
            "entry_by": self.in_entries, "priorities": self.prioritized,
            "births": self.keepers or self.in_entries or "processes" in parts,
        }  # fmt: skip
        self.parts = (*parts, *(p for p, has in own.items() if has), *(["mixed"] if mixed else []))
        moded = [c.hook for c in cards if c.keeps_entry and not c.link]
        self.parts += ("modes",) if len(set(moded)) < len(moded) else ()
        base = [kind for part in parts for kind in KINDS.get(part, ())]
        self.kinds = tuple(dict.fromkeys((*base, *self.attachments, *self.targets)))
        opened = (
            k for k, c in self.targets.items() if c.target.held_by == "file" and k not in base
        )
        self.events = tuple(dict.fromkeys((*(k for k in base if k == "perf_event"), *opened)))
        types = tuple(dict.fromkeys(c.program for c in cards)) or ("any",)
        if "maps" in self.parts:
            types = tuple(dict.fromkeys((*types, *TYPES))) if cards else TYPES
        self.types = Sort("program type", types)
        self.modes = Sort("attach mode", tuple(dict.fromkeys(c.mode or "none" for c in cards)))
        self._families()
        self.first: list[tuple[str, int]] = []
        self.graphs: dict[str, Graph] = {}
        self.releases: dict[str, Graph] = {}
        self.operations: dict[str, Operation] = {}
        self.reviewed: dict[str, set[str]] = {api: set() for api in self.cards}
        self._releases()
        self._base_operations()
        for card in cards:
            self._card_operations(card)
        _check_names(self)
        self.sizes = {
            s.PLACE: 1 + sum(g.size for g in self.graphs.values()),
            s.RELEASE_PLACE: 1 + sum(g.size for g in self.releases.values()),
        }

    # -- families ------------------------------------------------------------------------------

    def _families(self) -> None:
        hooks = tuple(self.targets)
        by_dir = tuple(k for k, c in self.targets.items() if c.target.held_by != "file")
        by_dir = tuple(dict.fromkeys((*(k for k in BY_NAME if k in self.kinds), *by_dir)))
        by_file = tuple(k for k, c in self.targets.items() if c.target.held_by == "file")
        known = (*(k for k in BY_FILE if k in self.kinds), *self.links, *by_file)
        held = tuple(dict.fromkeys(known))
        self.held_by_files = held
        entries = tuple(c.target.kind for c in self.cards.values() if c.keeps_entry)
        self.entry = Family("entry", (OBJ,), OBJ, counted=True, owners=entries, targets=("prog",))
        self.dir = Family("dir", (OBJ,), OBJ, counted=True, owners=by_dir, targets=by_dir)
        typed = ("prog", "map") if "maps" in self.parts else ("prog",)
        self.ptype = Family("ptype", (OBJ,), self.types, owners=typed)
        fixed = [s.LIFE_OF, s.REFCNT, s.USERCNT, s.AT, s.RUN_OF, s.PC, s.PROC_OF, s.FD_SLOT]
        fixed += [s.FILE_OBJ, s.USED, s.PIN, s.INODE_OBJ, self.ptype, s.TARGET]
        hooked = [self.entry, s.RUNNING, s.GP_CALL, s.LOCK, s.LOCK_SELF]
        self.families: list[Family] = [*fixed, s.GP_OBJ, *(hooked if hooks else [s.RUNNING])]
        self.families += [self.dir] if by_dir else []
        self.families += [f for f in s.MORE if f.part in self.parts]
        self.mode_at = replace(s.MODE_AT, range=self.modes, owners=entries)
        self.families += [self.mode_at] if "modes" in self.parts else []
        if self.attachments:
            self.families += self._lists()

    def _lists(self) -> list[Family]:
        """The families of hooks with lists."""
        kinds, records = tuple(self.attachments), tuple(self.records)
        hooks = tuple(dict.fromkeys(c.target.kind for c in self.attachments.values()))
        found = [replace(s.LINK_PROG, owners=kinds), replace(s.LISTED, owners=kinds, targets=hooks)]
        if records:
            found.append(replace(s.RECORDED, owners=records, targets=records))
        lengths = [self._length(card) for card in self.cards.values()]
        found += [f for f in dict.fromkeys(lengths) if f]
        if self.keepers:
            kept = tuple(self.links[k].target.kind for k in self.keepers if self.keeps_target(k))
            files = ("file",) if len(kept) < len(self.keepers) else ()
            found.append(replace(s.HOLDS, owners=self.keepers, targets=(*files, *kept)))
        if self.prioritized:
            found.append(replace(s.PRIORITY, owners=self.prioritized))
        if self.in_entries:
            owners = tuple(self.links[kind].target.kind for kind in self.in_entries)
            found.append(replace(s.ENTRY_BY, owners=owners, targets=self.in_entries))
        return found + ([replace(s.RUNS_BEFORE, owners=kinds)] if "order" in self.parts else [])

    def _length(self, card: AttachCard) -> Family | None:
        """How many attachments a card's hook has: counted where scenarios are played, of hooks of
        which a card says how many there can be."""
        same = [c for c in self.cards.values() if c.hook == card.hook]
        if "order" not in self.parts or not any(c.limited for c in same):
            return None
        kind, program = card.hook
        return Family(f"{kind}_{program}_listed", (OBJ,), NAT, owners=(kind,))

    def keeps_target(self, kind: str) -> bool:
        """A link that keeps what it is attached to keeps just that, or an open file of it."""
        return self.links[kind].target.kind in s.HOLDS.targets

    def targets_of(self, family: Family) -> tuple[str, ...]:
        """The kinds that a slot family can point at."""
        if family == s.FILE_OBJ:
            return self.held_by_files
        links = self.links if family == s.INODE_OBJ else ()
        return (*(kind for kind in family.targets if kind in self.kinds), *links)

    def kind_word(self, kind: str) -> str:
        """A kind as scenarios and the kernel name it: a link is a link, of whatever card."""
        return "link" if kind in self.links else "record" if kind in self.records else kind

    def beside(self, card: AttachCard) -> tuple[str, ...]:
        """The kinds of attachment to a card's hook: of the cards with its target and program."""
        return tuple(k for k, c in self.attachments.items() if c.hook == card.hook)

    def hooks_of(self, kind: str) -> dict[str, AttachCard]:
        """The hooks of a kind of target, each by a card about it. Their names are what a scenario
        says behind the target's: nothing where it is the only one, else the type of program."""
        found = {c.hook: c for c in reversed(self.cards.values()) if c.target.kind == kind}
        names = {hook: card.program if len(found) > 1 else "" for hook, card in found.items()}
        return {names[hook]: card for hook, card in found.items()}

    @property
    def entry_of(self) -> dict[str, AttachCard]:
        """The kinds of target that have an entry of their own, with a card that says so."""
        return {c.target.kind: c for c in reversed(self.cards.values()) if c.keeps_entry}

    def type_of(self, card: AttachCard) -> int:
        """The type of program that a card's hook takes."""
        return self.types.names.index(card.program)

    @property
    def counted(self) -> list[Family]:
        """The families of slots that hold references."""
        return [f for f in self.families if f.counted]

    def holder_families(self, kind: str) -> list[Family]:
        """The counted families whose slots can point at a kind (registers: at any)."""
        return [f for f in self.counted if not self.targets_of(f) or kind in self.targets_of(f)]

    @property
    def tallied(self) -> list[Family]:
        """The families of slots that are counted: as references, or into another number."""
        return [f for f in self.families if f.tallied]

    @property
    def user(self) -> list[Family]:
        """The families of slots that count as users of a map."""
        return [f for f in self.families if f.user]

    # -- graphs --------------------------------------------------------------------------------

    def _registers(self, steps: Iterable[object], prefix: str, sort: Sort) -> dict[str, Family]:
        found: dict[str, bool] = {}
        for item in steps:
            text, _, undo = parse_step(item)  # type: ignore[arg-type]
            for line in (text, *undo):
                for name, counted in registers_of(line):
                    found[name] = found.get(name, True) and counted
        result = {}
        for name, counted in found.items():
            kind = prefix if counted else UNCOUNTED[prefix]
            family = Family(f"{kind}.{name}", (sort,), OBJ, counted=counted)
            if family not in self.families:
                self.families.append(family)
            result[name] = family
        return result

    def _frame(
        self, steps: Sequence[object], args: Mapping[str, str], own: str, card: AttachCard | None
    ) -> Frame:
        task = not own
        sort = TASK if task else OBJ
        frame = Frame(
            owner=sort,
            at=s.PC if task else s.AT,
            gp=s.GP_CALL if task else s.GP_OBJ,
            args=args,
            first=self.first,  # filled below, read when rules run
            kinds=self.kinds,
            targets=tuple(self.targets),
            parts=frozenset(self.parts),
            registers=self._registers(steps, "reg" if task else "dying", sort),
            own=own,
            mode_at=self.mode_at,
            links=tuple(self.links),
            records=tuple(self.records),
            events=self.events,
            entry=self.entry,
            dir=self.dir,
            ptype=self.ptype,
        )
        return self._about(frame, card) if card else frame

    def _about(self, frame: Frame, card: AttachCard) -> Frame:
        """The frame, for steps that are about the hook of a card."""
        dies = card.target.kind == frame.own
        return replace(
            frame,
            program_type=self.type_of(card),
            mode=self.modes.names.index(card.mode or "none"),
            beside=self.beside(card),
            on_own=self.beside(card) if dies else (),
            hook=card.target.kind,
            has_entry=any(c.keeps_entry and c.hook == card.hook for c in self.cards.values()),
            listed=self._length(card),
        )

    def _releases(self) -> None:
        plans: dict[str, list[tuple[AttachCard | None, Sequence[Any]]]] = {
            kind: [(None, r.steps)] for kind, r in self.linux.release.items()
        }
        for kind, card in self.attachments.items():
            plans[kind] = [(card, card.on_last_put)]
        for card in reversed(self.cards.values()):  # what a card says of a kind comes first
            kind = card.target.kind
            plans[kind] = [(card, card.on_target_death), *plans.get(kind, [])]
        base = 1
        for kind, parts in plans.items():
            graph = self._compile_release(kind, parts, base)
            self.releases[kind] = graph
            self.first.append((kind, base))
            base += graph.size

    def _compile_release(
        self, kind: str, parts: Sequence[tuple[AttachCard | None, Sequence[Any]]], base: int
    ) -> Graph:
        """What a dying object does: for each card about it, and for Linux."""
        rows = [(card, self._present(steps, card)) for card, steps in parts]
        steps = [step for _, own in rows for step in own]
        first = parts[0][0]
        field = "on_last_put" if kind in self.attachments else "on_target_death"
        try:
            frame = self._frame(steps, {}, kind, first)
            frames = [
                self._about(frame, card) if card else frame for card, own in rows for _ in own
            ]
            return compile_graph(kind, frame, steps, base, frames)
        except StepError as e:
            origin = f"{first.api}: {field}" if first else "linux"
            raise InputError(f"{origin}: {e}") from None

    def _present(self, items: Iterable[Any], card: AttachCard | None) -> list[Any]:
        """The steps that are about parts of Linux which this system has, or about attachments that
        the card's hook can have; what no such step can have put into a local is not put."""
        beside = self.beside(card) if card else ()
        here = [
            *(["listed_here"] if beside else []),
            *(["links_here"] if {*beside} & {*self.links} else []),
        ]
        texts = [(x, parse_step(x)[0]) for x in items]
        there = [(x, t) for x, t in texts if set(part_of(t).split("+")) <= {*self.parts, *here}]
        gone = {r for x, t in texts if (x, t) not in there for r, _ in registers_of(t)}
        gone -= {r for _, t in there if not t.startswith("put ") for r, _ in registers_of(t)}
        return [x for x, t in there if t not in {f"put {r} if set" for r in gone}]

    def _compile(self, name: str, steps: Sequence[object], args: Mapping[str, str], base: int,
                 origin: str, card: AttachCard | None) -> Graph:  # fmt: skip
        named = dict.fromkeys((*self.dir.owners, *self.targets, *self.records))
        kinds = (*ARG_KINDS, *(["link"] if self.links else []), *named)
        try:
            for arg, kind in args.items():
                if kind not in (*kinds, *WORLD_ARGS) and "|" not in kind:
                    known = ", ".join(kinds)
                    raise StepError(f"args.{arg}: no kind `{kind}`; there are {known}")
            steps = self._present(steps, card)
            frame = self._frame(steps, args, "", card)
            return compile_graph(name, frame, steps, base)
        except StepError as e:
            raise InputError(f"{origin}: {e}") from None

    def _add(self, name: str, op: Operation, origin: str, card: AttachCard | None = None) -> None:
        base = 1 + sum(g.size for g in self.graphs.values())
        self.graphs[name] = self._compile(name, op.steps, op.args, base, origin, card)
        self.operations[name] = op

    def _base_operations(self) -> None:
        for name, op in self.linux.operations.items():
            self._add(name, op, f"linux: {name}")

    def _card_operations(self, card: AttachCard) -> None:
        for name, op in self._comes_and_goes(card).items():
            if name in self.graphs or name in self.kinds:
                what = "a system call" if name in self.graphs else "a kind of object"
                raise InputError(f"{card.api}: target: `{name}` is {what} already")
            self._add(name, _for_kind(op, card.target.kind), f"linux: {name}")
        for name, op in card.own_operations().items():
            full = f"{card.api}.{name}"
            self._add(full, op, f"{card.api}: operations.{name}", card)
            self.reviewed[card.api].add(full)

    def _comes_and_goes(self, card: AttachCard) -> dict[str, Operation]:
        """The system calls that make and remove a card's target: none that are there already, by
        Linux or by another card of the same kind of hook."""
        target = card.target
        if self.targets[target.kind] is not card:
            return {}
        if target.kind in (k for part in self.parts for k in KINDS.get(part, ())):
            maker = self.linux.operations.get(target.made_by)
            steps = [parse_step(x)[0] for x in maker.steps] if maker else []
            if not any(target.kind in step.split() for step in steps):
                what = f"no system call `{target.made_by}` makes a {target.kind}"
                raise InputError(f"{card.api}: target: made_by: {what}")
            return {}
        how = self.linux.targets[target.held_by]
        gone = {target.removed_by: how.remove} if how.remove and target.removed_by else {}
        own = {"kernel": {"command": target.made_by}, "call": target.call or how.make.call}
        return {target.made_by: how.make.model_copy(update=own), **gone}

    # -- rules ---------------------------------------------------------------------------------

    def rules(self) -> list[Rule]:
        """Every operation in micro-steps, release paths, the world: what proofs are about."""
        found = [r for graph in self.graphs.values() for r in micro_rules(graph, "task")]
        return found + self._own_rules()

    def search_rules(self, review: Iterable[str]) -> list[Rule]:
        """Every operation as a whole call; those of the reviewed cards in micro-steps too, so a
        search interleaves them where that shows something and takes one step where it doesn't."""
        found: list[Rule] = []
        for name, graph in self.graphs.items():
            found += call_rules(graph, "task", self.operations[name].sentence, MAX_MAPS)
        for name in [op for api in review for op in self.reviewed[api]]:
            found += micro_rules(self.graphs[name], "task")
        return found + self._own_rules()

    @functools.cached_property
    def all_rules(self) -> dict[str, Rule]:
        """Every rule by name, whole calls and micro-steps: what a trace can name."""
        return {r.name: r for r in [*self.rules(), *self.search_rules(())]}

    def _own_rules(self) -> list[Rule]:
        releases = [r for g in self.releases.values() for r in micro_rules(g, "kernel")]
        targets = tuple(self.targets)
        links = tuple(k for k, c in self.attachments.items() if not c.keeps_entry)
        return releases + world_rules(
            self.entry, self.first, targets, self.parts, links, self.traced, self.traced_links
        )

    def steps_of(self, api: str, operation: str) -> set[str]:
        """The graph names that make up an operation of a card (`replace: attach` is attach), with
        its variants."""
        operations = self.cards[api].operations
        spec = getattr(operations, operation)
        if isinstance(spec, str):
            return {f"{api}.{spec}"}
        variants = {f"{api}.{n}" for n, v in operations.variants.items() if v.of == operation}
        return {f"{api}.{operation}", *variants} if spec else set()

    def fingerprint(self) -> str:
        """A hash of everything that the rules are made of (not of the Python of the steps)."""
        parts = [self.linux.model_dump_json(by_alias=True)]
        parts += [c.model_dump_json(by_alias=True) for c in self.cards.values()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _check_apart(cards: Sequence[AttachCard]) -> None:
    """Cards about the same kind of target are about different hooks of it (they take different
    programs), or about the same hook in different ways: its own entry, a link, a record."""
    seen: dict[str, list[AttachCard]] = {}
    for card in cards:
        for other in seen.setdefault(card.target.kind, []):
            one_entry = card.keeps_entry and other.keeps_entry and card.program != other.program
            if card.target != other.target or card.way == other.way or one_entry:
                both = f"{other.api} and {card.api}"
                what = f"are both about a {card.target.kind}; take one of them"
                raise InputError(f"cards: {both} {what}")
        seen[card.target.kind].append(card)


def _check_names(system: System) -> None:
    """Families and rules are told apart by name, in every engine."""
    for what, names in (
        ("cells", [f.name for f in system.families]),
        ("rule", [r.name for r in system.rules()]),
    ):
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise InputError(f"cards: two {what}s are called `{twice[0]}`; rename one")


def _for_kind(op: Operation, kind: str) -> Operation:
    """The operation of linux/ with the target's kind written in."""

    def fill(x: object) -> object:
        if isinstance(x, str):
            return x.replace("KIND", kind).replace("{kind}", kind.replace("_", " "))
        if isinstance(x, dict):
            return {fill(a): fill(b) for a, b in x.items()}
        return [fill(a) for a in x] if isinstance(x, list) else x

    return Operation.model_validate(fill(op.model_dump()))
