"""What the commands on perf events, tracepoints and uprobes, and the links to them, do on the
running kernel."""

from __future__ import annotations

from typing import Any

import pytest

from bpflife.proofs.kernel import available
from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.poll import wait_until
from bpflife.proofs.kernel.world import World
from kernel_actors import errnos, fresh_world, holds, holds_at, made, ok, settles, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures

EVENTS = {  # the command that opens one, and the type of its programs
    "software": ("perf_event_open", "perf_event"),
    "tracepoint": ("tracepoint_open", "tracepoint"),
    "uprobe": ("uprobe_open", "kprobe"),
}


@pytest.fixture(name="actor")
def _actor(world: World) -> Actor:
    return world.actor("a")


def event(actor: Actor, kind: str, programs: int = 1) -> list[int]:
    """Programs from descriptor 3 on, then an event of a kind: the ids of the programs."""
    opens, type = EVENTS[kind]
    if lack := available.lacking(opens):
        pytest.skip(lack)
    ids = [made(actor, "prog_load", type=type) for _ in range(programs)]
    ok(actor, opens)
    return ids


def has(world: World, *expected: int) -> None:
    """Wait until the events behind descriptors have just these programs, in the order of events."""

    def read() -> list[int]:
        return [prog for _, prog in sorted(world.snapshot(fds=True).events.items())]

    got, _ = wait_until(read, [*expected].__eq__)
    assert got == [*expected]


# -- perf events -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_holds_its_program(world: World, actor: Actor, kind: str) -> None:
    """One program only, once, as long as any descriptor of the event is open."""
    first, second = event(actor, kind, 2)
    ok(actor, "perf_set_bpf", event=5, prog=3)
    settles(world, progs={first: 2, second: 1})
    has(world, first)
    again = [{"event": 5, "prog": fd} for fd in (3, 4, 77)]
    assert errnos(actor, "perf_set_bpf", *again) == ["EEXIST", "EEXIST", "EBADF"]
    ok(actor, "dup", fd=5)
    ok(actor, "close", fd=5)
    settles(world, progs={first: 2, second: 1})
    ok(actor, "close", fd=6)
    assert world.snapshot().progs == {first: 1, second: 1}  # before close returns


@pytest.mark.parametrize("kind", EVENTS)
def test_what_an_event_does_not_take(world: World, actor: Actor, kind: str) -> None:
    """The program's descriptor is looked at before the event's own program.

    An event that counts looks for a program that it has before it looks at a type; the others
    look at the type first.
    """
    first, second = event(actor, kind, 2)
    other = made(actor, "prog_load", type="raw_tracepoint")
    wrong = [{"event": 5, "prog": fd} for fd in (6, 77, 5)]
    assert errnos(actor, "perf_set_bpf", *wrong) == ["EINVAL", "EBADF", "EINVAL"]
    ok(actor, "perf_set_bpf", event=5, prog=3)
    busy = "EEXIST" if kind == "software" else "EINVAL"
    assert errnos(actor, "perf_set_bpf", *wrong) == [busy, "EBADF", "EINVAL"]
    no_events = [{"event": fd, "prog": prog} for fd in (3, 77) for prog in (4, 77)]
    assert errnos(actor, "perf_set_bpf", *no_events) == ["ENOTTY", "ENOTTY", "EBADF", "EBADF"]
    settles(world, progs={first: 2, second: 1, other: 1})


def test_all_events_of_a_tracepoint_share_its_programs(world: World, actor: Actor) -> None:
    """A program is there once; another tracepoint has a list of its own."""
    first, second = event(actor, "tracepoint", 2)
    ok(actor, "tracepoint_open")
    ok(actor, "tracepoint_open", target="bpf_trace_printk")
    ok(actor, "perf_set_bpf", event=5, prog=3)
    again = {"event": 6, "prog": 3}
    assert errnos(actor, "perf_set_bpf", again) == ["EEXIST"]
    assert errnos(actor, "perf_link", {"event": 6, "fd": 3}) == ["EEXIST"]
    ok(actor, "perf_set_bpf", event=6, prog=4)
    ok(actor, "perf_set_bpf", event=7, prog=3)
    settles(world, progs={first: 3, second: 2})
    has(world, first, second, first)
    ok(actor, "close", fd=5)
    ok(actor, "close", fd=6)
    settles(world, progs={first: 2, second: 1})
    assert errnos(actor, "tracepoint_open", {"target": "no_such"}) == ["ENOENT"]


def test_the_programs_at_a_tracepoint(actor: Actor) -> None:
    """In the order in which they came, whether by a link or not, and whichever event is asked."""
    first, second = event(actor, "tracepoint", 2)
    ok(actor, "tracepoint_open")
    ok(actor, "tracepoint_open")
    ok(actor, "tracepoint_open", target="bpf_trace_printk")
    ok(actor, "perf_set_bpf", event=6, prog=4)
    ok(actor, "perf_link", event=5, fd=3)
    for fd in (5, 6, 7):
        assert ok(actor, "tracepoint_attached", event=fd).attached == ((second, 0), (first, 0))
    assert ok(actor, "tracepoint_attached", event=8).attached == ()
    ok(actor, "close", fd=6)
    assert ok(actor, "tracepoint_attached", event=5).attached == ((first, 0),)
    ok(actor, "perf_event_open")
    others = [{"event": fd} for fd in (6, 3, 77)]
    assert errnos(actor, "tracepoint_attached", *others) == ["EINVAL", "ENOTTY", "EBADF"]


def test_a_tracepoint_has_64_programs(world: World, actor: Actor) -> None:
    """That it is full is said before that a program is there, and after that a type is wrong."""
    event(actor, "tracepoint", 65)
    wrong = ok(actor, "prog_load", type="perf_event").value
    events = [68, *(ok(actor, "tracepoint_open").value for _ in range(64))]
    pairs = [{"event": events[n], "prog": 3 + n} for n in range(65)]
    assert errnos(actor, "perf_set_bpf", *pairs) == [None] * 64 + ["E2BIG"]
    more = [{"event": events[64], "prog": prog} for prog in (3, wrong, 777)]
    assert errnos(actor, "perf_set_bpf", *more) == ["E2BIG", "EINVAL", "EBADF"]
    assert errnos(actor, "perf_link", {"event": events[64], "fd": 67}) == ["E2BIG"]
    ok(actor, "close", fd=events[5])
    ok(actor, "perf_set_bpf", event=events[64], prog=67)
    actor.exit()
    settles(world, progs={})


@pytest.mark.parametrize("kind", ["software", "uprobe"])
def test_other_events_have_their_programs_for_themselves(
    world: World, actor: Actor, kind: str
) -> None:
    """Two uprobes at one place are two."""
    (prog,) = event(actor, kind)
    ok(actor, EVENTS[kind][0])
    for fd in (4, 5):
        ok(actor, "perf_set_bpf", event=fd, prog=3)
    settles(world, progs={prog: 3})


def test_exec_keeps_an_event(world: World, actor: Actor) -> None:
    """But not a program's descriptor; the end of the process ends both."""
    (prog,) = event(actor, "tracepoint")
    ok(actor, "perf_set_bpf", event=4, prog=3)
    child = actor.fork("b")
    ok(actor, "exec")
    ok(child, "close", fd=3)
    holds(world, actor, {4: ("perf_event", 2)})
    settles(world, progs={prog: 1})
    child.exit()
    actor.exit()
    settles(world, progs={})


# -- links to events ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVENTS)
def test_a_link_to_an_event_holds_its_file(world: World, actor: Actor, kind: str) -> None:
    """The program is held twice, by link and event; the event lives on without descriptors."""
    prog, other = event(actor, kind, 2)
    link = made(actor, "perf_link", event=5, fd=3)
    (where,) = world.snapshot(fds=True).events
    settles(world, links={link: (1, prog, where)}, progs={prog: 3, other: 1})
    assert world.snapshot().link_types == {link: "perf_event"}
    holds_at(world, actor, 5, ("perf_event", 2))
    has(world, prog)
    ok(actor, "pin", fd=6, path=world.pin_path("link"))
    for fd in (3, 5, 6):
        ok(actor, "close", fd=fd)
    settles(world, links={link: (1, prog, where)}, progs={prog: 2, other: 1})
    assert ok(actor, "obj_get", path=world.pin_path("link")).id == link
    ok(actor, "unlink", path=world.pin_path("link"))
    settles(world, links={link: (1, prog, where)}, progs={prog: 2, other: 1})
    ok(actor, "close", fd=3)
    settles(world, links={}, progs={other: 1})


@pytest.mark.parametrize("kind", EVENTS)
def test_the_last_close_of_a_link_clears_its_event(world: World, actor: Actor, kind: str) -> None:
    """At once: before close returns the event takes another program. An unlink comes later."""
    prog, other = event(actor, kind, 2)
    made(actor, "perf_link", event=5, fd=3)
    ok(actor, "close", fd=6)
    ok(actor, "perf_set_bpf", event=5, prog=4)
    has(world, other)
    settles(world, links={}, progs={prog: 1, other: 2})


@pytest.mark.parametrize("kind", EVENTS)
def test_a_link_to_an_event_is_not_updated_or_detached(
    world: World, actor: Actor, kind: str
) -> None:
    prog, other = event(actor, kind, 2)
    made(actor, "perf_link", event=5, fd=3)
    updates = [{"link": 6, "fd": fd} for fd in (4, 5, 77)]
    updates.append({"link": 6, "fd": 4, "old_fd": 3})
    assert errnos(actor, "link_update", *updates) == ["EINVAL", "EINVAL", "EBADF", "EINVAL"]
    assert errnos(actor, "link_detach", {"link": 6}) == ["ENOTSUP"]
    assert errnos(actor, "perf_set_bpf", {"event": 5, "prog": 4}) == ["EEXIST"]
    links = [{"event": 5, "fd": fd} for fd in (3, 4)]
    assert errnos(actor, "perf_link", *links) == ["EEXIST"] * 2
    settles(world, progs={prog: 3, other: 1})


def test_what_no_link_to_an_event_is_made_of(world: World, actor: Actor) -> None:
    """First the program and whether its type is one of tracing, then the event, then the type."""
    prog, second = event(actor, "tracepoint", 2)
    ok(actor, "perf_event_open")
    for kind in ("cgroup_skb", "kprobe"):
        ok(actor, "prog_load", type=kind)  # 7, 8
    files = [(5, 77), (77, 77), (77, 7), (77, 3), (5, 7), (3, 3), (5, 8), (5, 6)]
    wrong = [{"event": fd, "fd": prog} for fd, prog in files]
    assert errnos(actor, "perf_link", *wrong) == [
        *("EBADF", "EBADF", "EINVAL", "EBADF", "EINVAL", "EBADF", "EINVAL", "EINVAL"),
    ]
    counts = world.snapshot().progs
    assert (counts[prog], counts[second]) == (1, 1)


def test_where_links_to_events_are(actor: Actor) -> None:
    expected = {"software": "event", "tracepoint": "tracepoint bpf_test_finish", "uprobe": "uprobe"}
    for n, kind in enumerate(EVENTS):
        event(actor, kind)
        ok(actor, "perf_link", event=4 + 3 * n, fd=3 + 3 * n)
        assert [*ok(actor, "link_info", link=5 + 3 * n).named] == [expected[kind]]


# -- raw tracepoints ---------------------------------------------------------------------------


def test_raw_tracepoints_take_a_program_many_times(world: World, actor: Actor) -> None:
    prog = made(actor, "prog_load", type="raw_tracepoint")
    links = [made(actor, "raw_tracepoint_open", fd=3) for _ in range(65)]
    links.append(made(actor, "raw_tracepoint_open", fd=3, target="bpf_trace_printk"))
    settles(world, progs={prog: 67}, links=dict.fromkeys(links, (1, prog, 0)))
    places = [[*ok(actor, "link_info", link=fd).named] for fd in (4, 69)]
    assert places == [["tracepoint bpf_test_finish"], ["tracepoint bpf_trace_printk"]]
    actor.exit()
    settles(world, progs={}, links={})


def test_a_tracing_program_knows_its_tracepoint(world: World, actor: Actor) -> None:
    """It has no further name, and BPF_LINK_CREATE does the same."""
    tracing = {"type": "tracing", "attach_type": "trace_raw_tp", "target": "bpf_test_finish"}
    prog = made(actor, "prog_load", **tracing)
    links = [made(actor, "raw_tracepoint_open", fd=3, target=None)]
    links += [made(actor, "tracing_link", fd=3, target=target) for target in (0, 77)]
    settles(world, progs={prog: 4}, links=dict.fromkeys(links, (1, prog, 0)))
    assert [*ok(actor, "link_info", link=5).named] == ["tracepoint bpf_test_finish"]
    assert errnos(actor, "raw_tracepoint_open", {"fd": 3}) == ["EINVAL"]
    assert errnos(actor, "link_update", {"link": 4, "fd": 3}) == ["EINVAL"]
    assert errnos(actor, "link_detach", {"link": 4}) == ["ENOTSUP"]
    other = made(actor, "prog_load", type="raw_tracepoint")
    wrong = [{"fd": fd} for fd in (7, 4, 77)]
    assert errnos(actor, "tracing_link", *wrong) == ["EINVAL", "EINVAL", "EBADF"]
    assert errnos(actor, "prog_load", {**tracing, "target": "no_such"}) == ["ENOENT"]
    for fd in (3, 4, 5, 6):
        ok(actor, "close", fd=fd)
    settles(world, progs={other: 1}, links={})


# -- uprobe_multi ------------------------------------------------------------------------------


@pytest.fixture(name="multi")
def _multi(actor: Actor) -> Actor:
    """Programs for uprobe_multi at 3 and 4, the latter sleepable; at 5 one for perf events."""
    if lack := available.lacking("uprobe_multi_link"):
        pytest.skip(lack)
    kind: dict[str, Any] = {"type": "kprobe", "attach_type": "trace_uprobe_multi"}
    ok(actor, "prog_load", **kind)
    ok(actor, "prog_load", **kind, sleepable=True)
    ok(actor, "prog_load", type="kprobe")
    return actor


def test_a_link_to_many_places_holds_its_program_once(world: World, multi: Actor) -> None:
    plain, sleepable, other = sorted(world.made["prog"])
    links = {
        made(multi, "uprobe_multi_link", fd=3): plain,
        made(multi, "uprobe_multi_link", fd=3): plain,
        made(multi, "uprobe_multi_link", fd=4, offsets=[0, 16, 32]): sleepable,
    }
    settles(world, progs={plain: 3, sleepable: 2, other: 1})
    found = world.snapshot().links
    assert {link: refs.prog_id for link, refs in found.items()} == links
    assert len({refs.target_id for refs in found.values()} - {0}) == 3  # each in a file of its own
    assert ok(multi, "link_info", link=8).named == {"uprobe_multi": 3}
    assert errnos(multi, "link_update", {"link": 6, "fd": 3}) == ["EINVAL"]
    assert errnos(multi, "link_detach", {"link": 6}) == ["ENOTSUP"]
    for fd in (6, 7, 8):
        ok(multi, "close", fd=fd)
    settles(world, progs={plain: 1, sleepable: 1, other: 1}, links={})


def test_a_link_to_a_process_outlives_it(world: World, multi: Actor) -> None:
    victim = world.actor("b")
    link = made(multi, "uprobe_multi_link", fd=3, pid=victim.pid)
    victim.exit()
    prog = min(world.made["prog"])
    assert world.snapshot().links[link].prog_id == prog
    assert world.snapshot().progs[prog] == 2


def test_wrong_links_to_places(multi: Actor) -> None:
    """Only a program that was loaded for it; then the places, then the process."""
    nobody = 1 << 22  # more than any pid
    wrong: list[dict[str, Any]] = [
        *({"fd": 77}, {"fd": 5}, {"fd": 77, "offsets": []}, {"fd": 3, "offsets": []}),
        *({"fd": 3, "pid": nobody}, {"fd": 3, "offsets": [], "pid": nobody}),
        {"fd": 3, "offsets": [1 << 40]},
    ]
    assert errnos(multi, "uprobe_multi_link", *wrong) == [
        *("EBADF", "EINVAL", "EBADF", "EINVAL", "ESRCH", "EINVAL", "EINVAL"),
    ]
    ok(multi, "uprobe_open")
    assert errnos(multi, "perf_link", {"event": 6, "fd": 3}) == ["EINVAL"]
    ok(multi, "perf_set_bpf", event=6, prog=3)
