"""Events that flow through a hook of the running kernel while its program is changed."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bpflife.app.commands import answer
from bpflife.proofs.kernel import available, bpf, marks, traffic
from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.poll import wait_until
from bpflife.proofs.kernel.traffic import WAYS, Measured, Meetings, Traffic, Way, measure_way
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, made, ok, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures

EVENTS = 2000
EGRESS = {"attach_type": "cgroup_inet_egress"}


@pytest.fixture(autouse=True)
def _few_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "CHANGES", 20)


def way_of(name: str) -> Way:
    return next(way for way in WAYS if way.name == name)


# ---------------------------------------------------------------------------------------------
# ways of changing


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.hook}: {way.name}")
def test_a_way_of_changing_does_what_is_expected(world: World, way: Way) -> None:
    found = measure_way(way, EVENTS, world)
    if found.refused:
        pytest.skip(f"{way.name} is refused here: {found.refused}")
    assert found.wrong == ""
    assert found.sent >= EVENTS
    assert found.changes >= 20
    assert min(found.seen) >= 10  # of each change an event at least
    assert (found.missed > 0) == (way.expected == "some missed")
    assert (found.twice > 0) == (way.expected == "some twice")
    if found.twice == 0:  # each event is one program's, or nobody's
        assert sum(found.seen) + found.missed == found.sent


@pytest.mark.parametrize(
    ("name", "what"), [("detach, then attach", "missed"), ("attach, then detach", "twice")]
)
def test_a_broken_promise_is_found(world: World, name: str, what: str) -> None:
    """Not in every round where the sender was not running meanwhile."""
    liar = replace(way_of(name), expected="each event once")
    tries = (measure_way(liar, EVENTS, world) for _ in range(20))
    found = next(found for found in tries if found.wrong)
    assert found.wrong == f"{getattr(found, what)} {what}"


def test_a_way_that_changes_nothing_measures_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "ROUNDS", 2)
    idle = replace(way_of("BPF_LINK_UPDATE"), change=())
    found = measure_way(idle, EVENTS, world)
    assert found.wrong == "nothing was measured: one of the programs saw no event"
    assert found.seen == (found.sent, 0)
    assert found.sent >= 2 * EVENTS


def test_a_way_that_a_machine_refuses_is_said(world: World) -> None:
    wrong = ("prog_attach", {"target": "cgroup", "fd": "new", "attach_type": "xdp"})
    found = measure_way(replace(WAYS[0], begin=(wrong,)), EVENTS, world)
    assert (found.refused, found.sent, found.wrong) == ("EINVAL", 0, "")


def test_the_old_and_the_new_program_run_at_once(world: World) -> None:
    found = traffic.meet(world)
    if found.refused:
        pytest.skip(found.refused)
    assert found.met > 0
    assert found.changes >= 20


def test_nothing_is_left(world: World) -> None:
    for way in WAYS:
        measure_way(way, 1, world)
    traffic.meet(world)
    ids = set(world.made["prog"])
    assert ids
    world.reset()
    assert wait_until(lambda: [id for id in ids if exists("prog", id)], lambda left: not left)[1]


def exists(kind: str, id: int) -> bool:
    try:
        fd = bpf.get_fd_by_id(kind, id)
    except OSError:
        return False
    os.close(fd)
    return True


# ---------------------------------------------------------------------------------------------
# events, and the programs that count them


@pytest.fixture(name="sender")
def _sender(world: World) -> Actor:
    """A member of a cgroup with an own loopback device, an array for 9 events as its 3, and one to
    talk by as its 4."""
    actor = world.actor("sender")
    ok(actor, "unshare_net")
    ok(actor, "switch_device", target="lo", on=True)
    ok(actor, "cgroup_join", target=world.cgroup_make("g"))
    for entries in (9, 3):
        ok(actor, "map_create", value=marks.WORD, entries=entries, mmapable=True)
    return actor


def elements(world: World) -> list[tuple[int, int]]:
    """What the programs counted of each event."""
    return [marks.seen(word) for word in array(min(world.made["map"]), 9)]


def array(id: int, size: int) -> tuple[int, ...]:
    """The words of an array."""
    fd = bpf.get_fd_by_id("map", id)
    with mmap.mmap(fd, size * marks.WORD) as memory:
        os.close(fd)
        return struct.unpack(f"={size}Q", memory[:])


def load(actor: Actor, type: str = "cgroup_skb", second: bool = False) -> int:
    value = ok(actor, "load_counting", type=type, map=3, second=second).value
    assert value is not None
    return value


def test_each_event_is_counted_in_its_own_element(world: World, sender: Actor) -> None:
    target, multi = world.cgroup_path("g"), ["allow_multi"]
    one, other = load(sender), load(sender, second=True)
    ok(sender, "prog_attach", target=target, fd=one, **EGRESS, flags=multi)
    assert ok(sender, "send_events", map=4, least=5, most=5).named == {"sent": 5}
    assert elements(world) == [(1, 0)] * 5 + [(0, 0)] * 4
    ok(sender, "prog_attach", target=target, fd=other, **EGRESS, flags=multi)
    ok(sender, "send_events", map=4, least=2, most=2)
    assert elements(world) == [(2, 1)] * 2 + [(1, 0)] * 3 + [(0, 0)] * 4
    ok(sender, "prog_detach", target=target, fd=one, attach_type="cgroup_inet_egress")
    ok(sender, "prog_detach", target=target, fd=other, attach_type="cgroup_inet_egress")
    ok(sender, "send_events", map=4, least=9, most=9)
    assert elements(world) == [(2, 1)] * 2 + [(1, 0)] * 3 + [(0, 0)] * 4


def test_a_program_of_a_device_counts_and_lets_pass(world: World, sender: Actor) -> None:
    ok(sender, "xdp_set", target="lo", fd=load(sender, "xdp", second=True), mode="skb")
    ok(sender, "send_events", map=4, least=9, most=9)
    assert elements(world) == [(0, 1)] * 9


def test_an_event_without_an_element_is_not_counted(world: World, sender: Actor) -> None:
    ok(sender, "prog_attach", target=world.cgroup_path("g"), fd=load(sender), **EGRESS)
    ok(sender, "send_events", map=4, least=11, most=11)
    assert elements(world) == [(1, 0)] * 9


def test_sending_ends_when_the_first_word_says_so(world: World, sender: Actor) -> None:
    ok(sender, "map_update_value", fd=4, key=0, number=1)
    assert ok(sender, "send_events", map=4, least=4, most=9).named == {"sent": 4}
    assert array(max(world.made["map"]), 3) == (1, 4, 0)
    ok(sender, "map_update_value", fd=4, key=0, number=0)
    assert ok(sender, "send_events", map=4, least=4, most=9, number=2).named == {"sent": 9}
    assert array(max(world.made["map"]), 3) == (0, 4, 9)


def test_errnos_of_sending_and_loading(world: World, sender: Actor) -> None:
    made(sender, "map_create", value=marks.WORD)  # can't be mapped
    assert errnos(sender, "send_events", {"map": 9}, {"map": 5}) == ["EBADF", "EINVAL"]
    assert errnos(sender, "load_counting", {"type": "cgroup_skb", "map": 9}) == ["EBADF"]
    ok(sender, "unshare_net")  # its loopback device is down
    assert errnos(sender, "send_events", {"map": 4}) == ["ENETUNREACH"]


@pytest.mark.parametrize(
    ("marked", "counts"),
    [
        ([0, 1, 1 << 32], (1, 0, 1, 1)),
        ([2, 1, 1], (0, 1, 3, 0)),
        ([1 | 1 << 32, 1], (0, 1, 2, 1)),
    ],
)
def test_what_is_counted(marked: Sequence[int], counts: tuple[int, ...]) -> None:
    found = traffic.counted(marked)
    names = ("missed", "twice", "first", "second")
    assert tuple(found[name] for name in names) == counts


# ---------------------------------------------------------------------------------------------
# the command line


def report(missed: int = 0, met: int = 1, refused: str = "") -> Traffic:
    way = Measured(
        way="replace", hook="xdp", expected="each event once", refused=refused, sent=10,
        missed=missed, changes=2, seen=(5, 5),
    )  # fmt: skip
    return Traffic(kernel="6.18", ways=[way], at_once=Meetings(met=met, changes=2))


@pytest.mark.parametrize(
    ("found", "code", "out", "err"),
    [
        (report(), 0, "each event once", ""),
        (report(missed=3), 1, "3", "replace (xdp): 3 missed, expected: each event once"),
        (report(met=0), 1, "0 events met", "no old program ran beside the new one"),
        (report(refused="EINVAL"), 0, "not measured: EINVAL", ""),
    ],
)
def test_findings_are_said(
    found: Traffic, code: int, out: str, err: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(available, "why_not", lambda: None)
    monkeypatch.setattr(traffic, "measure", lambda events, progress: found)
    assert answer(["traffic"]) == code
    said = capsys.readouterr()
    assert out in " ".join(said.out.split())  # a narrow terminal folds it
    assert said.err == (f"bpflife: {err}\n" if err else "")


def test_a_machine_that_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(available, "why_not", lambda: "bpf(2) is refused here: EPERM")
    assert answer(["traffic"]) == 2
    said = capsys.readouterr()
    assert said.err == "bpflife: no traffic on this machine: bpf(2) is refused here: EPERM\n"
    assert said.out == ""


def test_a_step_that_fails_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> Traffic:
        raise RuntimeError("send_events: EAGAIN")

    monkeypatch.setattr(available, "why_not", lambda: None)
    monkeypatch.setattr(traffic, "measure", fails)
    assert answer(["traffic"]) == 2
    assert capsys.readouterr().err == "bpflife: traffic: send_events: EAGAIN\n"


@pytest.mark.parametrize("events", ["0", "1000001", "many"])
def test_so_many_events_cannot_be_asked_for(
    events: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(["traffic", "--events", events]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_all_of_it_as_a_document(shared: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(["traffic", "--events", "1000", "--json"]) == 0
    found = Traffic.model_validate(json.loads(capsys.readouterr().out))
    assert len(found.ways) == len(WAYS)
