"""Random scenarios on the model and on the running kernel, and what becomes of a disagreement."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpflife.app.commands import answer
from bpflife.model.documents import Scenario, Settled, Step, Trace
from bpflife.model.simulator import play
from bpflife.proofs.kernel import conform as conforming
from bpflife.proofs.kernel.available import why_not
from bpflife.proofs.kernel.compare import compare_trace
from bpflife.proofs.kernel.conform import conform, smaller
from bpflife.proofs.kernel.world import World


@pytest.fixture(scope="module", autouse=True)
def _allowed() -> None:
    refused = why_not()
    if refused:
        pytest.skip(refused)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as found:
        yield found


def test_random_scenarios_agree_and_reach_most_of_linux() -> None:
    seen: list[str] = []
    report = conform(
        200, 300, ["cgroup_legacy", "xdp_netlink"], length=40, jobs=2, progress=seen.append
    )
    assert report.disagreements == []
    assert (report.scenarios, report.steps) == (200, 8000)
    fired, rules = report.rules
    assert fired > 0.8 * rules, report.not_fired
    assert seen


def test_the_same_seed_is_the_same_work_however_many_work() -> None:
    one, two = (conform(6, 7, [], length=15, jobs=jobs) for jobs in (1, 3))
    assert (one.rules, one.pairs, one.not_fired) == (two.rules, two.pairs, two.not_fired)


def test_a_disagreement_is_made_small(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that forgets the reference of an element: of eleven steps three are left."""

    def forgetful(scenario: Scenario) -> Trace:
        trace = play(scenario)
        held = False
        steps = []
        for step in trace.steps:
            held |= step.rule == "map_update" and not step.errno
            if step.settled and held:
                progs = {name: count - 1 for name, count in step.settled.progs.items()}
                settled = Settled(**{**step.settled.model_dump(), "progs": progs})
                step = step.model_copy(update={"settled": settled})
            steps.append(step)
        return trace.model_copy(update={"steps": steps})

    names = [Step(do="map_create", by="a", map=f"m{n}") for n in range(4)]
    scenario = Scenario(
        scenario="wrong",
        steps=[
            *names,
            Step(do="map_create", by="a", map="jumps", type="prog_array"),
            Step(do="dup", by="a", fd="m1"),
            Step(do="prog_load", by="a", prog="p"),
            Step(do="fork", by="a", child="b"),
            Step(do="map_update", by="a", map="jumps", key=3, value="p"),
            Step(do="close", by="a", fd="m2"),
            Step(do="exit", by="b"),
        ],
    )
    monkeypatch.setattr(conforming, "play", forgetful)
    monkeypatch.setattr(conforming, "PATIENCE", 0.1)
    differences = compare_trace(scenario, forgetful(scenario), settle=0.1, world=world).differences
    assert differences
    found = smaller(scenario, differences, world)
    assert [step.do for step in found.scenario.steps] == ["map_create", "prog_load", "map_update"]
    assert found.differences == ["step 3: progs p: model 1, kernel 2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cards", "nonsense"], "no card `nonsense`"),
        (["--length", "0"], "a scenario has 1 to 200 steps"),
        (["--random", "many"], "'many' is not a number"),
        (["--out", "/nowhere"], "/nowhere: the folder does not exist"),
    ],
)
def test_what_cannot_be_asked(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(["conform", *arguments]) == 2
    assert message in capsys.readouterr().err
