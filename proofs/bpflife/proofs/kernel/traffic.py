"""What happens to events while a hook's program is changed, on the running kernel.

Events flow through a hook of an own world, one after the other, while two programs take turns
there. Each event has a number, and each program counts it in the element of that number: so it is
known of every single event whether no program saw it, one did, or two. A way of changing is data:
the commands that attach the first program, and those that put one in the place of the other.
"""

from __future__ import annotations

import contextlib
import mmap
import operator
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from bpflife.model.documents import Document

from . import bpf, marks
from .actors import Actor, Reply
from .poll import wait_until
from .world import World

CHANGES: Final = 100  # at least in a round, and all events
MOST: Final = 1_000_000  # events of a round
ROUNDS: Final = 10  # until what is expected to be seen is seen
_TALK: Final = 3 * marks.WORD  # of at most two senders
COUNTS: Final = ("sent", "missed", "twice", "changes")

Promise: TypeAlias = Literal["each event once", "some missed", "some twice"]


class Measured(Document):
    """What became of the events at a hook while its program was changed in one way.

    `seen` is how many each of the two programs saw; `refused` is the errno of a machine that can't
    attach like this, and then nothing was measured.
    """

    way: str
    hook: str
    expected: Promise
    refused: str = ""
    sent: int = 0
    missed: int = 0
    twice: int = 0
    changes: int = 0
    seen: tuple[int, int] = (0, 0)

    @property
    def wrong(self) -> str:
        """What is not as expected, in words; "" where all is."""
        if self.refused:
            return ""
        if not all(self.seen):
            return "nothing was measured: one of the programs saw no event"
        found = {"some missed": self.missed, "some twice": self.twice}
        return ", ".join(
            f"{count} {what.removeprefix('some ')}"
            for what, count in found.items()
            if bool(count) != (what == self.expected)
        )


class Meetings(Document):
    """How many events found the other program inside on another CPU, and how many changes were
    made; `refused` says why nothing was measured."""

    refused: str = ""
    met: int = 0
    changes: int = 0

    @property
    def wrong(self) -> str:
        """What is not as expected, in words; "" where all is."""
        return "" if self.refused or self.met else "no old program ran beside the new one"


class Traffic(Document):
    """All that was measured."""

    version: Literal[1] = 1
    kernel: str
    ways: list[Measured]
    at_once: Meetings


# ---------------------------------------------------------------------------------------------
# ways of changing


Step: TypeAlias = tuple[str, dict[str, Any]]  # a command and its arguments; some stand for numbers


@dataclass(frozen=True)
class Way:
    """How programs take turns at a hook. In arguments "old" and "new" stand for the two of a turn,
    "link" for a link that `begin` made last, "cgroup" for the senders' cgroup."""

    name: str
    hook: str
    type: str
    expected: Promise
    begin: tuple[Step, ...]
    change: tuple[Step, ...]


def _cgroup(do: str, **arguments: Any) -> Step:
    return do, {"target": "cgroup", "attach_type": "cgroup_inet_egress", **arguments}


def _device(do: str, **arguments: Any) -> Step:
    return do, {"target": "lo", **arguments}


_MULTI: Final = ("allow_multi",)
_ONCE: Final = "each event once"
_CGROUP, _XDP = ("cgroup egress", "cgroup_skb"), ("xdp", "xdp")
_TCX, _FILTER = ("tcx ingress", "sched_cls"), ("clsact ingress", "sched_cls")

_OWN = _cgroup("prog_attach", fd="new")
_ADDED = _cgroup("prog_attach", fd="new", flags=_MULTI)
_REPLACED = _cgroup("prog_attach", fd="new", flags=_MULTI, replace="old")
_LINKED = _cgroup("link_create", fd="new")
_REMOVED = _cgroup("prog_detach", fd="old")
_UPDATED: Step = ("link_update", {"link": "link", "fd": "new"})
_SET = _device("xdp_set", fd="new", mode="skb")
_SWAPPED = _device("xdp_set", fd="new", mode="skb", expected="old")
_CLEARED = _device("xdp_set", mode="skb")
_XDP_LINKED = _device("xdp_link", fd="new")
_TCX_ADDED, _TCX_REMOVED = _device("tcx_attach", fd="new"), _device("tcx_detach", fd="old")
_TCX_REPLACED = _device("tcx_attach", fd="new", replace="old")
_TCX_LINKED = _device("tcx_link", fd="new")
_CLSACT = _device("make_clsact")
_FILTERED = _device("filter_add", fd="new", handle=1, how="replace")

UPDATE: Final = Way("BPF_LINK_UPDATE", *_CGROUP, _ONCE, (_LINKED,), (_UPDATED,))
WAYS: Final = (
    Way("PROG_ATTACH over it", *_CGROUP, _ONCE, (_OWN,), (_OWN,)),
    Way("BPF_F_REPLACE", *_CGROUP, _ONCE, (_ADDED,), (_REPLACED,)),
    UPDATE,
    Way("BPF_F_REPLACE", *_TCX, _ONCE, (_TCX_ADDED,), (_TCX_REPLACED,)),
    Way("BPF_LINK_UPDATE", *_TCX, _ONCE, (_TCX_LINKED,), (_UPDATED,)),
    Way("NLM_F_REPLACE", *_FILTER, _ONCE, (_CLSACT, _FILTERED), (_FILTERED,)),
    Way("XDP_FLAGS_REPLACE", *_XDP, _ONCE, (_SET,), (_SWAPPED,)),
    Way("BPF_LINK_UPDATE", *_XDP, _ONCE, (_XDP_LINKED,), (_UPDATED,)),
    Way("detach, then attach", *_CGROUP, "some missed", (_OWN,), (_REMOVED, _OWN)),
    Way("detach, then attach", *_TCX, "some missed", (_TCX_ADDED,), (_TCX_REMOVED, _TCX_ADDED)),
    Way("detach, then attach", *_XDP, "some missed", (_SET,), (_CLEARED, _SET)),
    Way("attach, then detach", *_CGROUP, "some twice", (_ADDED,), (_ADDED, _REMOVED)),
    Way("attach, then detach", *_TCX, "some twice", (_TCX_ADDED,), (_TCX_ADDED, _TCX_REMOVED)),
)


# ---------------------------------------------------------------------------------------------
# measuring


def measure(events: int, progress: Callable[[str], None] = lambda _: None) -> Traffic:
    """Every way of changing, each under at least `events` events, of `MOST`.

    RefusedError where a machine lets us have no world, RuntimeError if a step fails.
    """
    with World() as world:
        ways = []
        for way in WAYS:
            progress(f"{way.name} ({way.hook})")
            ways.append(measure_way(way, events, world))
        progress("two programs at once")
        return Traffic(kernel=os.uname().release, ways=ways, at_once=meet(world))


def measure_way(way: Way, events: int, world: World) -> Measured:
    """One way, under at least `events` events, and until what it is expected to do was seen."""
    measured = Measured(way=way.name, hook=way.hook, expected=way.expected)
    total: Counter[str] = Counter()
    for _ in range(ROUNDS):
        stage = Stage(world, way, "load_counting", entries=MOST)
        if stage.refused:
            return measured.model_copy(update={"refused": stage.refused})
        sent, changes = _run(stage, events)
        with stage.counts() as elements:
            total += Counter(sent=sent, changes=changes) + counted(elements[:sent])
        counts = {name: total[name] for name in COUNTS}
        seen = total["first"], total["second"]
        measured = measured.model_copy(update={**counts, "seen": seen})
        if _conclusive(measured):
            break
    return measured


def _conclusive(found: Measured) -> bool:
    """Whether both programs saw events, and what is expected to be seen was."""
    wanted = {"some missed": found.missed, "some twice": found.twice}.get(found.expected, 1)
    return wanted > 0 and all(found.seen)


def counted(elements: Sequence[int]) -> Counter[str]:
    """How many events were missed, seen twice or more, and seen by each program."""
    found: Counter[str] = Counter()
    for mark, events in Counter(elements).items():
        first, second = marks.seen(mark)
        found["missed"] += events * (first + second == 0)
        found["twice"] += events * (first + second > 1)
        found["first"] += events * (first > 0)
        found["second"] += events * (second > 0)
    return found


def meet(world: World) -> Meetings:
    """Two senders, and a link whose program is changed: do the old and the new one run at once?

    A program stays until it sees that the other one is inside on another CPU, which is exact; how
    many events meet depends on how long they stay.
    """
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        return Meetings(refused="there is one CPU only")
    met = changes = 0
    for _ in range(ROUNDS):
        stage = Stage(world, UPDATE, "load_meeting", value=2 * marks.WORD)
        if stage.refused:
            return Meetings(refused=stage.refused)
        changes += _run(stage, 1, cpus)[1]
        with stage.counts() as words:
            met += words[marks.MET // marks.WORD]
        if met:
            break
    return Meetings(met=met, changes=changes)


def _run(stage: Stage, events: int, cpus: Sequence[int | None] = (None,)) -> tuple[int, int]:
    """Send at least `events` on each of these CPUs, or on any, and make changes meanwhile: how many
    events were sent, and how many changes were made."""
    changes = 0
    with stage.talk() as words:
        senders = [stage.sender(events, number, cpu) for number, cpu in enumerate(cpus, 1)]
        while _flow(senders, words):
            stage.change()
            changes += 1
            words[0] = changes >= CHANGES  # senders may stop
        words[0] = True
        sent = [_ok(sender.finish(), "send_events").named["sent"] for sender in senders]
    return sum(sent), changes


def _flow(senders: Sequence[Actor], words: memoryview[int]) -> bool:
    """Wait until each sender has sent an event that began after now, also where all share one CPU:
    whether they go on."""
    wanted = [count + 2 for count in words[1 : len(senders) + 1]]  # one is under way

    def ended() -> bool:
        return any(sender.ready() for sender in senders)

    def flowed(counts: list[int]) -> bool:
        return all(map(operator.ge, counts, wanted)) or ended()

    wait_until(lambda: [*words[1 : len(senders) + 1]], flowed)
    return not ended()


class Stage:
    """A fresh beginning in a world: a loader that is a member of a cgroup, an array for what
    programs count and one that senders talk by, two programs, and the first one attached unless
    that is `refused`."""

    def __init__(
        self, world: World, way: Way, load: str, value: int = marks.WORD, entries: int = 1
    ) -> None:
        world.reset()
        self.loader = world.actor("loader")
        self._way = way
        self._known: dict[str, Any] = {"cgroup": world.cgroup_make("traffic")}
        self._do("cgroup_join", target="cgroup")
        self._do("unshare_net")  # it ends with its processes, and so does what is attached there
        self._do("switch_device", target="lo", on=True)
        counts, self._counts = self._array(value, entries)
        self._talk_map, self._talk = self._array(_TALK)
        program = {"type": way.type, "map": counts}
        self.refused = self._begin(
            ("new", (load, {**program, "second": False})),
            ("old", (load, {**program, "second": True})),
            *(("link", step) for step in way.begin),
        )

    def _begin(self, *steps: tuple[str, Step]) -> str:
        """Carry out steps and know by a name what each has made: the errno of the first refusal."""
        for name, step in steps:
            begun = self._call(step)
            if begun.errno:
                return begun.errno
            self._known[name] = begun.value
        return ""

    def change(self) -> None:
        """Put the other program in the place of the one that is attached."""
        self._known |= {"old": self._known["new"], "new": self._known["old"]}
        for step in self._way.change:
            _ok(self._call(step), step[0])

    def sender(self, events: int, number: int, cpu: int | None) -> Actor:
        """A process that sends at least so many events from now on; its word is `number`."""
        actor = self.loader.fork(f"sender {number}")
        talk = {"map": self._talk_map, "number": number}
        actor.start("send_events", **talk, least=events, most=MOST, cpu=cpu)
        return actor

    def talk(self) -> contextlib.AbstractContextManager[memoryview[int]]:
        """Words: whether senders may stop, and how many events of each have arrived."""
        return _words(self._talk)

    def counts(self) -> contextlib.AbstractContextManager[memoryview[int]]:
        """What the programs counted."""
        return _words(self._counts)

    def _array(self, value: int, entries: int = 1) -> tuple[int, tuple[int, int]]:
        """A new array: the loader's descriptor of it, and its id and size."""
        made = self._do("map_create", value=value, entries=entries, mmapable=True)
        assert made.value is not None and made.id is not None
        return made.value, (made.id, value * entries)

    def _do(self, do: str, **arguments: Any) -> Reply:
        return _ok(self._call((do, arguments)), do)

    def _call(self, step: Step) -> Reply:
        do, arguments = step
        known = {name: self._known.get(word, word) for name, word in arguments.items()}
        return self.loader.call(do, **known)


def _ok(reply: Reply, do: str) -> Reply:
    if reply.errno:
        log = reply.log.splitlines()[-1:]
        raise RuntimeError(": ".join([do, reply.errno, *log]))
    return reply


@contextlib.contextmanager
def _words(array: tuple[int, int]) -> Iterator[memoryview[int]]:
    """The memory of the array with an id and a size, in words of 64 bits."""
    id, size = array
    fd = bpf.get_fd_by_id("map", id)
    try:
        with mmap.mmap(fd, size) as memory, memoryview(memory).cast("Q") as words:
            yield words
    finally:
        os.close(fd)
