"""A trace as data for drawing: pure Python, no Panel, nothing that a browser would have to decide.

How a kind of object or a family of slots looks is in `looks.py`. Every string of a trace is text
for the picture, whatever it contains: the drawing code sets text nodes and never markup.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bpflife.app.picture.fold import folded
from bpflife.app.picture.layout import TALL, WIDE, Item, Line, Metrics, arrange
from bpflife.app.picture.looks import HELD, LANES, LOOKS, SAME_LOOK, Look, family_of, look_of
from bpflife.model.catalogue import system_for
from bpflife.model.documents import (
    InputError,
    ObjectState,
    Slot,
    State,
    Trace,
    TraceStep,
    Violation,
)
from bpflife.model.language import Language

RUNS: Final = {"idle": "idle", "running": "in a call", "exited": "exited"}

LABEL_LENGTH: Final = 22
WORD_LENGTH: Final = 24
HEADING_LENGTH, HEADING_ROW = 66, 13  # of a heading along its lane, in SVG units


def visible(text: str) -> str:
    """The text with control and direction characters spelled out, so that it can't pretend."""
    return "".join(
        f"\\u{ord(c):04x}" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text
    )


def shorten(text: str, length: int) -> str:
    """The text cut in the middle: both ends of a path or name say which one it is."""
    text = visible(text)
    if len(text) <= length:
        return text
    head = (length - 1) // 3
    return f"{text[:head]}…{text[head - length + 1 :]}"


WIDE_LETTERS: Final = frozenset("mwMW@%&")
THIN_LETTERS: Final = frozenset("iljtfrI.,:;'|!()[]/ ")


def text_width(text: str, size: float) -> float:
    """About how wide a text is in the font that is drawn with, rather too much than too little."""
    total = 0.0
    for c in text:
        if c in THIN_LETTERS:
            total += 0.42
        elif c in WIDE_LETTERS or unicodedata.east_asian_width(c) in "WF":
            total += 1.03
        elif unicodedata.combining(c):
            continue
        else:
            total += 0.69 if c.isupper() or not c.isascii() else 0.635
    return total * size


@dataclass
class _Node:
    id: str
    kind: str
    label: str
    after: str | None = None
    counts: bool = False
    users: bool = False
    conditions: list[dict[str, Any]] = field(default_factory=list)  # one per state

    role: str = ""  # what its slots make of a node whose kind is not known

    @property
    def look(self) -> Look:
        known = self.kind in LOOKS or self.kind in SAME_LOOK
        return look_of(self.kind if known else self.role)


@dataclass(frozen=True)
class _Edge:
    source: str
    target: str
    style: str
    slot: str
    key: str


def descriptor_id(process: str, number: str) -> str:
    """Id of the node that stands for one descriptor of a process."""
    return f"{process} fd {number}"


class _Union:
    """All nodes and edges of all states, in order of first appearance."""

    def __init__(self, trace: Trace) -> None:
        self.nodes: dict[str, _Node] = {}
        self.edges: dict[_Edge, int] = {}
        self.present: list[list[int]] = []
        shown = _ever_there(trace)
        self.cpus_matter = any(_cpu_matters(state) for state in trace.states)
        for state in trace.states:
            self._named(state, shown)
            self.present.append(sorted({self._edge(e) for e in self._slots(state)}))
        self.dangling = [self._dangling(state) for state in trace.states]
        self.seen: dict[int, int] = defaultdict(int)  # edge -> states, one bit each
        for i, present in enumerate(self.present):
            for number in {*present, *(self.present[i - 1] if i else ())}:
                self.seen[number] |= 1 << i
        for i, state in enumerate(trace.states):
            for node in self.nodes.values():
                node.conditions.append(_condition(node, state, self._before(node, i)))

    def _named(self, state: State, shown: set[str]) -> None:
        for name, thing in state.objects.items():
            if name in shown:
                node = self._node(name, thing.kind)
                node.counts |= node.look.counted or thing.refcnt != 0
                node.users |= thing.usercnt is not None
        for name in state.processes:
            self._node(name, "process")
        for name in state.cpus if self.cpus_matter else ():
            self._node(name, "cpu")

    def _slots(self, state: State) -> Iterable[_Edge]:
        for slot in state.slots:
            family = family_of(slot.slot)
            self._node(slot.points, "other")
            if slot.owner in self.nodes and not self.nodes[slot.owner].role:
                self.nodes[slot.owner].role = family.owner
            if slot.owner == slot.points or family.mark:
                continue
            if slot.slot == "fd":
                self._node(slot.owner, "process")
                number = descriptor_id(slot.owner, slot.key)
                self._node(number, "descriptor", f"fd {slot.key}")
                yield _Edge(slot.owner, number, "table", slot.slot, slot.key)
                yield _Edge(number, slot.points, slot.held, slot.slot, slot.key)
                continue
            node = self._node(slot.owner, family.owner)
            if node.kind == "call":
                node.after = slot.owner.removeprefix("call by ")
                node.label = "call"
            yield _Edge(slot.owner, slot.points, slot.held, slot.slot, slot.key)

    def _node(self, name: str, kind: str, label: str | None = None) -> _Node:
        if name not in self.nodes:
            self.nodes[name] = _Node(name, kind, name if label is None else label)
        return self.nodes[name]

    def _edge(self, edge: _Edge) -> int:
        return self.edges.setdefault(edge, len(self.edges))

    def _dangling(self, state: State) -> list[int]:
        """Pointers that keep nothing alive: what is counted, and leads to what is dying all the
        same; and whatever leads to freed memory."""
        found = set()
        for edge in self._slots(state):
            thing = state.objects.get(edge.target)
            if thing is None or edge.style == "table":
                continue
            if thing.life == "freed" or (thing.life == "dying" and edge.style == "counted"):
                found.add(self._edge(edge))
        return sorted(found)

    @staticmethod
    def _before(node: _Node, at: int) -> bool:
        """Whether the node was there before state `at`."""
        return any(c["life"] in ("live", "dying") for c in node.conditions[:at])


def _cpu_matters(state: State) -> bool:
    """Whether a CPU runs a program or is waited for: otherwise the lane would only be noise."""
    waits = any(thing.waits_for for thing in state.objects.values())
    return waits or any(program is not None for program in state.cpus.values())


def _ever_there(trace: Trace) -> set[str]:
    named = set(trace.violation.nodes) if trace.violation else set()
    for state in trace.states:
        named |= {name for name, thing in state.objects.items() if thing.life != "unborn"}
    return named


def _condition(node: _Node, state: State, was: bool) -> dict[str, Any]:
    """What the node looks like in one state: its life, its second line, its counts."""
    thing = state.objects.get(node.id)
    if thing is not None:
        return _object_condition(node, thing, state)
    life, word = _simple_condition(node, state, was)
    return {"life": life, "word": word}


def _simple_condition(node: _Node, state: State, was: bool) -> tuple[str, str]:
    """Life and second line of what has no counts."""
    doing = state.processes.get(node.id)
    if doing is not None:
        return "freed" if doing == "exited" else "live", RUNS[doing]
    if node.id in state.cpus:
        program = state.cpus[node.id]
        return "live", f"inside {shorten(program, 14)}" if program is not None else "idle"
    if any(_touches(slot, node) for slot in state.slots):
        found = ("live", node.look.here)
    elif node.kind == "call":  # stays for the one step that shows what it gave up
        returned = bool(node.conditions) and node.conditions[-1]["life"] == "live"
        found = ("freed", "done") if returned else ("absent", "")
    else:
        found = ("freed", node.look.gone) if was else ("ghost", "not yet")
    return found


def _touches(slot: Slot, node: _Node) -> bool:
    if node.kind == "descriptor":
        return slot.slot == "fd" and descriptor_id(slot.owner, slot.key) == node.id
    return node.id in (slot.owner, slot.points)


def _object_condition(node: _Node, thing: ObjectState, state: State) -> dict[str, Any]:
    life = "ghost" if thing.life == "unborn" else thing.life
    found: dict[str, Any] = {"life": life}
    marks = [
        family_of(slot.slot).mark or slot.slot
        for slot in state.slots
        if slot.points == node.id and (slot.owner == node.id or family_of(slot.slot).mark)
    ]
    if life == "ghost":
        found["word"] = "not yet"
    elif life == "freed":
        found["word"] = node.look.gone
    elif life == "dying":
        waits = thing.waits_for
        who = shorten(waits[0], 10) if len(waits) == 1 else f"{len(waits)} CPUs"
        found["word"] = f"waits for {who}" if waits else "waiting"
    else:
        runs = _runs(node, state)
        found["word"] = "" if node.counts else runs or node.look.here
        marks = [runs, *marks] if node.counts and runs else marks
    if life in ("live", "dying"):
        if node.counts:
            found["ref"] = thing.refcnt
        if thing.usercnt is not None:
            found["user"] = thing.usercnt
        if thing.note:
            found["note"] = visible(thing.note)
        if marks:
            found["mark"] = shorten(marks[0], WORD_LENGTH)
    return found


def _runs(node: _Node, state: State) -> str:
    """How many programs an event at a hook runs: that of its entry, and those of its list."""
    listed = {x.owner for x in state.slots if x.slot == "listed" and x.points == node.id}
    programs = [x.points for x in state.slots if x.slot == "link_prog" and x.owner in listed]
    own = [x.points for x in state.slots if x.slot == "entry" and x.owner == node.id]
    number = len(programs) + len([prog for prog in own if prog not in programs])
    return f"runs {number} program{'s' if number > 1 else ''}" if number else ""


def _changes(before: State, after: State) -> list[dict[str, Any]]:
    """The counts that a step moved: `{node, ref: +1, user: -1}`, zeros left out."""
    found = []
    for name, thing in after.objects.items():
        old = before.objects.get(name)
        change = {
            "ref": thing.refcnt - (old.refcnt if old else 0),
            "user": (thing.usercnt or 0) - ((old.usercnt or 0) if old else 0),
        }
        if any(change.values()):
            found.append({"node": name} | {k: v for k, v in change.items() if v})
    return found


ENDS: Final = {  # rules of the kernel's own work, by the kind that they are about
    "file": "an open file is closed for good",
    "inode": "a file in bpffs goes away",
    "bpffs": "an instance of bpffs goes away",
    "mnt": "a mount goes away",
    "mntns": "a mount namespace goes away",
    "exit_mounts": "an exit leaves its mount namespace",
    "netdev": "a network device goes away",
    "clsact": "a queueing discipline goes away",
    "netns": "a network namespace goes away",
    "tap": "a tap is closed",
    "exit_net": "an exit leaves its network namespace",
    "exit_cgroup": "an exit leaves its cgroup",
    "prog": "a program goes away",
    "map": "a map goes away",
    "link": "a link goes away",
    "exit_close": "an exit closes descriptors",
    "exit_unmap": "an exit takes mappings away",
    "gone": "a process is gone",
    "perf_event": "a perf event goes away",
    "tracepoint_event": "a tracepoint's event goes away",
    "uprobe": "a uprobe goes away",
    "psock": "a socket is in no map any more",
    "socket": "a socket goes away",
    "message": "a message goes away",
    "btf": "type information goes away",
    "purge": "a queue without a peer is emptied",
    "flush": "a prog array is emptied",
    "flushed": "a map has been emptied",
    "detach_skb_verdict": "a sockmap loses its program",
    "detach_msg_parser": "a sockmap loses its program",
}


def titles_of(trace: Trace) -> dict[str, str]:
    """What operations are called in words, as far as the trace's cards are known."""
    cards = trace.scenario.cards if trace.scenario else []
    try:
        system = system_for(cards)
    except InputError:  # a card of the user's own
        system = system_for([])
    links = dict.fromkeys(system.links, ENDS["link"])
    targets = {kind: f"a {kind.replace('_', ' ')} goes away" for kind in system.targets}
    specs = Language(system).specs
    return {**targets, **ENDS, **links, **{spec.rule or spec.do: spec.title for spec in specs}}


def rule_words(rule: str, titles: dict[str, str]) -> str:
    """A rule's name for people: `prog_load#6` is `load a program`."""
    known = [name for name in titles if re.match(rf"{re.escape(name)}(?![a-z_])", rule)]
    name = max(known, key=len, default="")
    rest = rule.removeprefix(name)
    if not name:
        plain = re.match(r"(?:[a-z0-9_-]+\.)?([a-z_-]+)", rule)
        words = plain[1].replace("_", " ") if plain else rule
        rest = rule[plain.end() :] if plain else ""
    else:
        words = titles[name]
    part = re.match(r"\.(\d+)", rest)
    return f"{words}, part {part[1]}" if part else words


def _step(step: TraceStep, changes: list[dict[str, Any]], titles: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "rule": visible(step.rule),
        "title": visible(rule_words(step.rule, titles)),
        "actor": visible(step.actor),
        "sentence": visible(step.sentence),
        "changes": changes,
    }
    for name, value in (("say", step.say), ("call", step.call), ("errno", step.errno or "")):
        if value:
            found[name] = visible(value)
    if step.internal:
        found["internal"] = True
    return found


COUNTS: Final = {"ref": "refcnt", "user": "usercnt"}


def count_width(name: str, value: int) -> float:
    """The width of a counter's pill, with the gap behind it."""
    return text_width(f"{COUNTS[name]} {value}", 11.5) + 16


def _size(node: _Node) -> tuple[float, float]:
    """A node's size: wide enough for its name and for every second line that it ever has."""
    first = 38 + text_width(shorten(node.label, LABEL_LENGTH), 14) + 12
    second = 0.0
    for condition in node.conditions:
        words = ", ".join(w for w in (condition["word"], condition.get("mark", "")) if w)
        width = 22 + text_width(words, 12)
        width += sum(count_width(n, condition[n]) for n in COUNTS if n in condition)
        second = max(second, width)
    slant = 12 if node.look.shape in ("hexagon", "pill") else 0
    return max(first, second) + slant, 50


def _lanes(nodes: Iterable[_Node], tall: bool) -> dict[str, str]:
    """The lanes that are used, with their headings; calls stand below their process if wide."""
    headings: dict[str, list[str]] = {lane: [] for lane in LANES}
    for node in nodes:
        if node.look.plural not in headings[_lane(node, tall)]:
            headings[_lane(node, tall)].append(node.look.plural)
    headings["process"] = headings["process"][:1]
    return {lane: ", ".join(words) for lane, words in headings.items() if words}


def _rows(heading: str) -> list[str]:
    """A heading that stands along its lane is as long as a node is high; the rest is a row more."""
    rows: list[str] = []
    for word in heading.split():
        longer = f"{rows[-1]} {word}" if rows else word
        fits = bool(rows) and text_width(longer, 11) <= HEADING_LENGTH
        rows[-1:] = [longer] if fits else [*rows[-1:], word]
    return rows


def _lane(node: _Node, tall: bool) -> str:
    return "process" if node.kind == "call" and not tall else node.look.lane


def _layout(union: _Union, metrics: Metrics) -> dict[str, Any]:
    headings = _lanes(union.nodes.values(), metrics.tall)
    lanes = list(headings)
    items = []
    for node in union.nodes.values():
        width, height = _size(node)
        after = node.after if node.after in union.nodes else None
        lane = lanes.index(_lane(node, metrics.tall))
        items.append(Item(node.id, lane, width, height, after, keep=node.kind == "cpu"))
    lines = [
        Line(edge.source, edge.target, _label_width(edge), union.seen[number])
        for edge, number in union.edges.items()
    ]
    rows = [_rows(words) if metrics.tall else [words] for words in headings.values()]
    more = max((len(x) for x in rows), default=1) - 1
    room = replace(metrics, head=metrics.head + more * HEADING_ROW)
    layout = arrange(items, lines, len(lanes), room)
    return {
        "lanes": rows,
        "width": round(layout.width, 1),
        "height": round(layout.height, 1),
        "nodes": layout.boxes,
        "bands": layout.bands,
        "paths": [path.d for path in layout.paths],
        "mids": [path.mid for path in layout.paths],
        "labels": [path.label for path in layout.paths],
    }


def _label(edge: _Edge) -> str:
    """What is written on an edge, if anything."""
    name = visible(edge.slot.partition(".")[2] or edge.slot)
    return shorten(name, 14) if family_of(edge.slot).label else ""


def _label_width(edge: _Edge) -> float:
    label = _label(edge)
    return text_width(label, 11.5) + 4 if label else 0.0


def _edge_data(edge: _Edge, union: _Union) -> dict[str, Any]:
    family = family_of(edge.slot)
    source, target = (visible(union.nodes[end].id) for end in (edge.source, edge.target))
    words = "points at" if edge.slot == "fd" and edge.style != "table" else family.words
    key = f" [{visible(edge.key)}]" if edge.key else ""
    data = {
        "from": edge.source,
        "to": edge.target,
        "style": edge.style,
        "slot": visible(edge.slot) + key,
        "title": f"{source} {words} {target}: {visible(edge.slot)}{key}, {HELD[edge.style]}",
    }
    if _label(edge):
        data["label"] = _label(edge)
    return data


def picture_data(trace: Trace) -> dict[str, Any]:
    """The whole trace as JSON data for the drawing module.

    `nodes` and `edges` are the union over all states, placed once for `wide` and `tall` pictures;
    `states[i]` says which of them exist and with which counts, `steps[i]` leads from state i to
    state i + 1.
    """
    trace = folded(trace)
    union = _Union(trace)
    order = sorted(union.nodes.values(), key=lambda node: LANES.index(node.look.lane))
    states = []
    for i, present in enumerate(union.present):
        previous = union.present[i - 1] if i else present
        states.append(
            {
                "nodes": {node.id: node.conditions[i] for node in order},
                "edges": present,
                "dangling": union.dangling[i],
                "added": [e for e in present if e not in previous],
                "removed": [e for e in previous if e not in present],
            }
        )
    pairs = zip(trace.states, trace.states[1:], strict=False)
    titles = titles_of(trace)
    steps = [
        _step(step, _changes(before, after), titles)
        for step, (before, after) in zip(trace.steps, pairs, strict=False)
    ]
    data: dict[str, Any] = {
        "title": visible(trace.title),
        "nodes": [_node_data(node) for node in order],
        "edges": [_edge_data(edge, union) for edge in union.edges],
        "wide": _layout(union, WIDE),
        "tall": _layout(union, TALL),
        "states": states,
        "steps": steps,
    }
    if trace.scenario and trace.scenario.about:
        data["about"] = visible(trace.scenario.about)
    if trace.violation:
        data["violation"] = {
            "at": trace.violation.at,
            "property": visible(trace.violation.property),
            "sentence": visible(trace.violation.sentence),
            "nodes": _violated(trace.violation, union),
        }
    return data


def _violated(violation: Violation, union: _Union) -> list[str]:
    """The nodes to mark: those of the violation, and what their dangling pointers lead to."""
    edges = list(union.edges)
    dangling = union.dangling[violation.at] if violation.at < len(union.dangling) else []
    ends = [edges[n].target for n in dangling if edges[n].source in violation.nodes]
    return list(dict.fromkeys([*violation.nodes, *ends]))


def _node_data(node: _Node) -> dict[str, Any]:
    look = node.look
    known = node.kind in LOOKS or node.kind in SAME_LOOK
    return {
        "id": node.id,
        "kind": look.words if known else visible(node.kind),
        "lane": look.lane,
        "label": shorten(node.label, LABEL_LENGTH),
        "full": visible(node.id),
        "icon": look.icon,
        "shape": look.shape,
        "hue": look.hue,
    }
