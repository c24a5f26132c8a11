"""What the simulator plays: documents in, documents out."""

from __future__ import annotations

import re
from typing import Literal

import pytest
import yaml

import summary
from bpflife.model import state as s
from bpflife.model.catalogue import load_card, load_scenario, story_names, system_for
from bpflife.model.choices import choices
from bpflife.model.concrete import ConcreteView
from bpflife.model.documents import InputError, Scenario, Settled, Step, Trace, parse_document
from bpflife.model.graphs import IDLE
from bpflife.model.properties import CATALOGUE
from bpflife.model.simulator import play
from bpflife.model.system import CORE, PARTS, System
from bpflife.proofs.judge import rows
from bpflife.proofs.kernel.generate import random_scenario
from bpflife.proofs.scopes import SMALL
from walks import Walk


def scenario(text: str, *cards: str) -> Scenario:
    """A scenario from lines `do by name=value ...`."""
    steps = []
    for line in text.strip().splitlines():
        do, *rest = line.split()
        by = [rest.pop(0)] if rest and "=" not in rest[0] else []
        args = {k: yaml.safe_load(v) for k, v in (word.split("=", 1) for word in rest)}
        steps.append({"do": do, **({"by": by[0]} if by else {}), **args})
    return Scenario.model_validate({"scenario": "test", "cards": list(cards), "steps": steps})


def settled(trace: Trace) -> list[Settled]:
    """The settled state after every step of the scenario."""
    return [step.settled for step in trace.steps if step.settled]


def calls(trace: Trace) -> list[str | None]:
    """The errno of every step of the scenario."""
    return [step.errno for step in trace.steps if step.settled]


@pytest.mark.parametrize("name", story_names())
def test_stories_play_to_their_end(name: str) -> None:
    trace = play(load_scenario(name))
    assert trace.violation is None
    assert len(trace.states) == len(trace.steps) + 1
    assert all(step.sentence for step in trace.steps)
    assert not any("{" in step.sentence for step in trace.steps)
    assert calls(trace) == [None] * len(load_scenario(name).steps)


def test_the_posts_summary_on_the_model() -> None:
    summary.check(settled(play(summary.SCENARIO)))


def test_a_closed_descriptor_fails_the_load_and_changes_nothing() -> None:
    trace = play(
        scenario("""
            map_create loader map=a
            map_create loader map=b
            close loader fd=b
            prog_load loader prog=p maps=[a,b]
        """)
    )
    assert calls(trace)[-1] == "EBADF"
    assert settled(trace)[-1] == settled(trace)[-2]
    assert settled(trace)[-1].maps == {"a": (1, 1)}


def test_map_descriptors_become_references() -> None:
    trace = play(
        scenario("""
            map_create loader map=a
            map_create loader map=b
            prog_load loader prog=p maps=[a,b,a]
            close loader fd=a
            close loader fd=b
            exit loader
        """)
    )
    assert [x.maps for x in settled(trace)[2:]] == [
        {"a": (2, 1), "b": (2, 1)},
        {"a": (1, 0), "b": (2, 1)},
        {"a": (1, 0), "b": (1, 0)},
        {},
    ]


def test_a_killed_process_closes_its_descriptors_one_by_one() -> None:
    trace = play(
        scenario("""
            map_create loader map=a
            map_create loader map=b
            kill process=loader
        """)
    )
    closing = [step for step in trace.steps if step.rule == "exit_close"]
    assert len(closing) == 2
    assert trace.states[-1].processes == {"loader": "exited"}
    assert {o.life for o in trace.states[-1].objects.values()} == {"freed"}


def test_a_grace_period_waits_for_the_readers_of_before() -> None:
    """The program that cpu0 runs is freed only when cpu0 has left; cpu1 came later."""
    trace = play(
        scenario(
            """
            cgroup_make loader target=web
            prog_load loader prog=p
            attach loader target=web prog=p
            enter cpu=cpu0 hook=web
            detach loader target=web
            close loader fd=p
            leave cpu=cpu0
            """,
            "cgroup_legacy",
        )
    )
    leaving = next(n for n, step in enumerate(trace.steps) if step.rule == "leave")
    waiting = trace.states[leaving].objects["p"]
    assert (waiting.life, waiting.refcnt, waiting.waits_for) == ("dying", 0, ["cpu0"])
    assert trace.states[-1].objects["p"].life == "freed"


def test_what_a_local_hook_and_a_global_hook_do_when_the_owner_dies() -> None:
    local = play(
        scenario(
            """
            perf_event_open loader target=ev
            prog_load loader prog=p
            attach loader event=ev prog=p
            kill process=loader
            """,
            "perf_event",
        )
    )
    assert {o.life for o in local.states[-1].objects.values()} == {"freed"}
    remote = play(
        scenario(
            """
            cgroup_make loader target=web
            prog_load loader prog=p
            attach loader target=web prog=p
            kill process=loader
            """,
            "cgroup_legacy",
        )
    )
    assert remote.states[-1].objects["p"].life == "live"
    assert settled(remote)[-1].hooks == {"web": ["p"]}


@pytest.mark.parametrize("seed", range(12))
def test_counts_equal_holders_in_every_state_of_random_scenarios(seed: int) -> None:
    """The picture's states themselves: the count is the number of counted slots that point."""
    trace = play(random_scenario(seed, ["cgroup_legacy", "perf_event"], 30))
    for state in trace.states:
        for name, thing in state.objects.items():
            holders = [x for x in state.slots if x.points == name and x.held == "counted"]
            assert thing.refcnt == len(holders), name
            assert (thing.life == "live") == (thing.refcnt > 0), name


def test_a_refused_call_changes_nothing() -> None:
    """But for one: a sender whose peer is gone gives up, and loses what the peer had sent."""
    refused = 0
    for seed in range(100, 112):
        before = None
        for step in play(random_scenario(seed, ["cgroup_legacy"], 40)).steps:
            if step.settled and step.errno:
                refused += 1
                gives_up = (step.rule, step.errno) == ("send", "ECONNREFUSED")
                assert gives_up or step.settled == before or before is None, step.sentence
            before = step.settled or before
    assert refused >= 12


@pytest.mark.parametrize(
    ("card", "parts"),
    [
        ("cgroup_legacy", PARTS),
        *[(c, CORE) for c in ("perf_event", "bad_replace_gap", "xdp_netlink", "cgroup_link")],
    ],
)
def test_a_whole_call_is_its_micro_steps(card: str, parts: tuple[str, ...]) -> None:
    """Wherever a walk takes a whole call, the micro-steps of its path lead to the same state."""
    system = System([load_card(card)], parts)
    micro = {id(r.edges[0]): r for r in system.rules() if r.mode == "micro"}
    rules = [r for r in system.search_rules(()) if len(r.params) < 7]  # else too many instances
    walk = Walk(system, rules, {**SMALL, "maps": 1}, seed=3)
    compared = 0
    for rule, env, cells in walk.states(20, 40):
        if rule.mode != "call" or rule.noop:
            continue
        whole = ConcreteView(walk.space.scope, cells)
        try:
            rule.body(whole, env)
        except s.Broken:
            continue
        turns = 0
        now = cells
        for edge in rule.edges:
            own = dict(env)
            if edge.step.loop and not edge.leaves_loop:
                turns += 1
                own |= {p.name: env[f"{p.name}.{turns}"] for p in edge.step.params}
            view = ConcreteView(walk.space.scope, now)
            micro[id(edge)].body(view, own)
            now = view.commit()
        assert now == whole.commit(), rule.name
        assert now.get((s.PC.name, env["me"]), IDLE) == IDLE
        compared += 1
    assert compared > 50


@pytest.mark.parametrize("linux", ["all", "core"])
def test_a_call_says_what_it_was_given(linux: Literal["all", "core"]) -> None:
    """As strace prints it: nothing of the template is left over, in no part of Linux."""
    steps = [
        Step(do="map_create", by="a", map="m"),
        Step(do="pin", by="a", fd="m", path="p"),
        Step(do="obj_get", by="a", path="p"),
        Step(do="prog_load", by="a", prog="f", maps=["m"]),
    ]
    trace = play(Scenario(scenario="said", linux=linux, steps=steps))
    calls = [x.call for x in trace.steps if x.call]
    assert len(calls) == len(steps)
    assert not [call for call in calls if re.search(r"\{\w+\}", call)]


def test_a_call_says_its_flags() -> None:
    made = Step(do="map_create", by="a", map="m", mmapable=True, mode="write_only")
    opened = Step(do="get_fd_by_id", by="a", object="m", mode="read_only")
    calls = [x.call for x in play(Scenario(scenario="said", steps=[made, opened])).steps]
    assert "map_flags=BPF_F_WRONLY|BPF_F_MMAPABLE" in calls[0]
    assert "open_flags=BPF_F_RDONLY" in calls[1]


def test_choices_can_all_be_played() -> None:
    """Whatever the builder offers can happen, and the offer is as the simulator says."""
    start = load_scenario("two_phase_load")
    for length in range(len(start.steps)):
        now = start.model_copy(update={"steps": start.steps[:length]})
        offered = choices(now)
        assert offered
        for choice in offered:
            trace = play(now.model_copy(update={"steps": [*now.steps, choice.step]}))
            assert trace.violation is None
            assert [x.errno for x in trace.steps if x.settled][-1] is None, choice.label


def test_a_scenario_survives_its_own_yaml() -> None:
    one = random_scenario(5, ["cgroup_legacy"], 20)
    text = yaml.safe_dump(one.model_dump(exclude_none=True), sort_keys=False)
    again = parse_document(Scenario, text, "again.yaml")
    assert play(again) == play(one)


def test_a_call_that_waits_for_a_reader_says_who_must_leave() -> None:
    waiting = scenario(
        "make_veth a target=left peer=right\nprog_load a prog=p type=xdp\n"
        "attach a target=left prog=p\nenter cpu=cpu0 hook=left\ndetach a target=left",
        "xdp_netlink",
    )
    words = "detach has to wait until cpu0 has left its program \\(do: leave, cpu: cpu0\\)"
    with pytest.raises(InputError, match=words):
        play(waiting)


def test_what_a_scenario_has_too_much_of_is_said() -> None:
    dups = "map_create a map=m\n" + "\n".join(["dup a fd=m"] * 70)
    with pytest.raises(InputError, match="step 65: the model has at most 64 descriptors of one"):
        play(scenario(dups))


def test_work_that_takes_long_comes_to_its_end() -> None:
    sends = "\n".join(["send a over=left fd=m"] * 120)
    trace = play(
        scenario(f"map_create a map=m\nsocketpair a left=left right=right\n{sends}\nexit a")
    )
    assert settled(trace)[-1].maps == {}


def test_a_hook_of_another_kind_is_not_found() -> None:
    wrong = scenario(
        "perf_event_open loader target=ev\ncgroup_remove loader target=ev",
        "cgroup_legacy",
        "perf_event",
    )
    with pytest.raises(InputError, match="no cgroup `ev` was made before"):
        play(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("close loader fd=nothing", "loader has no descriptor `nothing`"),
        ("exit loader\nmap_create loader map=a", "process loader has exited"),
        ("map_create loader map=a\nmap_create loader map=a", "the name `a` is taken"),
        ("kill process=nobody", "no process `nobody` has acted before"),
        ("attach loader target=web prog=p", "without a card"),
        ("map_create loader map=a colour=red", "colour: no such field"),
        ("map_create loader", "map: this field is missing"),
        ("map_create map=a", "by: who does it?"),
        ("explode loader", "no step `explode`"),
        ("fire rule=nonsense", "no rule `nonsense`"),
    ],
)
def test_a_step_that_cannot_be_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        play(scenario(text))
    assert "\n" not in str(caught.value)
    assert "step" in str(caught.value)


def test_properties_judge_a_state_by_numbers() -> None:
    """The properties are the same functions on numbers: an empty world violates none."""
    system = system_for(["cgroup_legacy"])
    walk = Walk(system, system.rules(), SMALL, seed=1)
    view = ConcreteView(walk.space.scope, {})
    for prop in CATALOGUE.values():
        for invariant in prop.invariants(system):
            for row in rows(invariant, walk.space.scope):
                assert invariant.body(view, *row)
