"""The model against the running kernel: the same scenario on both, compared after every step."""

from __future__ import annotations

import subprocess
import sys

import pytest

import summary
from bpflife.model.catalogue import load_scenario, story_names
from bpflife.model.documents import InputError, Scenario, Step
from bpflife.model.simulator import play
from bpflife.proofs.kernel import available
from bpflife.proofs.kernel.available import why_not
from bpflife.proofs.kernel.compare import compare, compare_trace
from bpflife.proofs.kernel.conform import conform, run_batch, skipped
from bpflife.proofs.kernel.generate import random_scenario


@pytest.fixture(scope="session", autouse=True)
def _allowed(request: pytest.FixtureRequest) -> None:
    refused = why_not()
    if refused:
        pytest.skip(refused)


@pytest.mark.parametrize("name", story_names())
def test_the_stories_agree_step_by_step(name: str) -> None:
    story = load_scenario(name)
    compared = compare(story)
    assert len(compared.rows) == len(story.steps)
    assert compared.differences == []


def test_the_posts_summary_on_the_kernel() -> None:
    """Not that it agrees with the model: that the kernel's own numbers are the post's."""
    compared = compare(summary.SCENARIO)
    summary.check([row.kernel for row in compared.rows if row.kernel])


@pytest.mark.parametrize("seed", range(40))
def test_random_scenarios_agree(seed: int) -> None:
    """Calls that fail included: the errno is compared, and that nothing changed."""
    cards = ["cgroup_legacy"] if seed % 4 else []
    assert compare(random_scenario(seed, cards, 30)).differences == []


def test_random_scenarios_are_worth_it() -> None:
    """They succeed and fail in many ways, and use every step of the language."""
    rows = [
        (step.do, row.kernel_errno)
        for seed in range(12)
        for scenario in [random_scenario(1000 + seed, ["cgroup_legacy"], 40)]
        for step, row in zip(scenario.steps, compare(scenario).rows, strict=True)
    ]
    assert {"attach", "replace", "detach", "pin", "obj_get", "unlink", "dup", "kill"} <= {
        do for do, _ in rows
    }
    assert {"EBADF", "EINVAL", "ENOENT", None} <= {errno for _, errno in rows}


def test_a_wrong_model_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: a model that forgets the pin's reference differs in that step."""

    def forgetful(scenario: Scenario):  # type: ignore[no-untyped-def]
        trace = play(scenario)
        steps = []
        for step in trace.steps:
            if step.settled and step.rule == "pin":
                maps = {name: (r - 1, u) for name, (r, u) in step.settled.maps.items()}
                step = step.model_copy(
                    update={"settled": step.settled.model_copy(update={"maps": maps})}
                )
            steps.append(step)
        return trace.model_copy(update={"steps": steps})

    monkeypatch.setattr("bpflife.proofs.kernel.compare.play", forgetful)
    differences = compare(load_scenario("pin"), settle=0.3).differences
    assert differences == ["step 2: maps counts: model (1, 2), kernel (2, 2)"]


def test_a_proposal_is_for_the_model_only() -> None:
    scenario = Scenario(
        scenario="proposal",
        cards=["bad_replace_gap"],
        steps=[
            Step(do="cgroup_make", by="loader", target="web"),
            Step(do="detach", by="loader", target="web"),
        ],
    )
    compared = compare(scenario)
    assert compared.rows == []
    assert "is a proposal: no kernel has it" in compared.why_not


@pytest.mark.parametrize("card", ["bad_double_put", "uprobe_mixed_flavours"])
def test_a_card_that_no_kernel_plays_is_refused_whatever_is_done(card: str) -> None:
    """Also where only the target is made; and random scenarios are not made of it."""
    step = Step(do="spawn", by="a")
    assert compare(Scenario(scenario="start", cards=[card], steps=[step])).why_not
    assert conform(2, 1, [card], length=5).why_not


def test_what_a_machine_lacks_is_said_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = {**available.NEEDS, "open_tap": available.no_file("/no/tun", "CONFIG_TUN")}
    monkeypatch.setattr(available, "NEEDS", lacks)
    taps = Scenario(scenario="taps", steps=[Step(do="open_tap", by="a")])
    assert compare(taps).why_not == (
        "`open_tap` can't be played here: /no/tun is not there (CONFIG_TUN)"
    )
    report = run_batch(range(3), [], 20)
    assert skipped([]) == {"open_tap": "/no/tun is not there (CONFIG_TUN)"}
    assert report.scenarios == 3
    assert not any("open_tap" in pair for pair in report.pairs)


def test_what_a_machine_lacks_is_tried() -> None:
    devices = ("make_veth", {"target": "left", "peer": "right"})
    assert available.tried("devices", "CONFIG_X", devices)() == ""
    assert available.tried("devices", "CONFIG_X", devices, devices)() == (
        "devices are refused: EEXIST (CONFIG_X)"
    )


def test_a_card_whose_target_a_machine_lacks_is_not_played(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = {**available.NEEDS, "uprobe_open": available.no_file("/no/uprobes", "CONFIG_UPROBES")}
    monkeypatch.setattr(available, "NEEDS", lacks)
    scenario = Scenario(scenario="s", cards=["uprobe"], steps=[Step(do="spawn", by="a")])
    assert "`uprobe` can't be played here: /no/uprobes" in compare(scenario).why_not


def test_a_kernel_settles_after_each_call() -> None:
    scenario = Scenario(scenario="rush", settle=False, steps=[Step(do="spawn", by="a")])
    with pytest.raises(InputError, match="settle: a kernel's calls settle one by one"):
        compare(scenario)


def test_what_the_kernel_has_not_made_ends_the_comparison() -> None:
    """A model that attaches a map: it has a link, and its id; the kernel has neither."""

    def attaching(prog: str) -> Scenario:
        steps = [
            Step(do="cgroup_make", by="a", target="web"),
            Step(do="prog_load", by="a", prog="p", type="cgroup_skb"),
            Step(do="map_create", by="a", map="m"),
            Step(do="link_create", by="a", link="l", target="web", prog=prog),
            Step(do="get_fd_by_id", by="a", object="l"),
            Step(do="close", by="a", fd="p"),
        ]
        return Scenario(scenario="wrong", cards=["cgroup_link"], steps=steps)

    compared = compare_trace(attaching("m"), play(attaching("p")), settle=0.3)
    assert len(compared.rows) == 5
    assert "errno: model none, kernel EINVAL" in compared.rows[-2].differences
    assert "the kernel has no l" in compared.rows[-1].differences[-1]


def test_a_single_rule_is_not_for_a_kernel() -> None:
    scenario = Scenario(
        scenario="single", steps=[Step(do="fire", rule="map_create.1", me="loader")]
    )
    with pytest.raises(InputError, match="a kernel runs whole system calls"):
        compare(scenario)


def test_where_it_is_refused_it_is_one_line_and_no_error() -> None:
    """Without rights (an own user namespace has none outside it) the run says so and ends well."""
    unshare = ["unshare", "--user", "--map-root-user"]
    command = [*unshare, sys.executable, "-m", "bpflife.app.cli", "run", "create", "--kernel"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare --user is refused here")
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "is refused here" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
