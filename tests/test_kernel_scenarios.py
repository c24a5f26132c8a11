"""Claims about lifetimes, one a file in scenarios/: each is played on the model and on the kernel.

The files are for people too: `.venv/bin/bpflife run ./tests/scenarios/NAME.yaml --kernel`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bpflife.model.catalogue import load_scenario, system_for
from bpflife.model.documents import Scenario
from bpflife.model.language import Language
from bpflife.model.simulator import play
from bpflife.proofs.kernel.compare import compare_trace
from bpflife.proofs.kernel.world import World
from kernel_actors import fresh_world, shared_world

__all__ = ["fresh_world", "shared_world"]  # fixtures

FILES = sorted(Path(__file__).with_name("scenarios").iterdir())
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def wanted(scenario: Scenario) -> list[str | None]:
    """The errno of each step: what it says, success where it says nothing."""
    return [None if step.errno == "0" else step.errno for step in scenario.steps]


@every_file
def test_the_kernel_agrees(file: Path, world: World) -> None:
    scenario = load_scenario(str(file))
    compared = compare_trace(scenario, play(scenario), world=world)
    assert compared.why_not == ""
    assert compared.differences == []
    assert [row.kernel_errno for row in compared.rows] == wanted(scenario)


@every_file
def test_the_model_plays_it(file: Path) -> None:
    scenario = load_scenario(str(file))
    trace = play(scenario)
    assert trace.violation is None
    assert [step.errno for step in trace.steps if step.settled] == wanted(scenario)


@every_file
def test_it_is_for_people(file: Path) -> None:
    """A claim, why it matters, and the step that shows it; short enough to be read at once."""
    scenario = load_scenario(str(file))
    assert file.name == f"{scenario.scenario}.yaml"
    assert scenario.title and scenario.about
    assert any(step.say for step in scenario.steps)
    assert 3 <= len(scenario.steps) <= 15


def test_no_claim_is_there_twice() -> None:
    scenarios = [load_scenario(str(file)) for file in FILES]
    assert len({scenario.title for scenario in scenarios}) == len(FILES) >= 80
    steps = [scenario.model_dump_json(include={"steps"}) for scenario in scenarios]
    assert len(set(steps)) == len(FILES)


def test_all_of_linux_is_there() -> None:
    """Each step of the language, but for single rules and what a program finds in a map of maps."""
    scenarios = [load_scenario(str(file)) for file in FILES]
    taken = {step.do for scenario in scenarios for step in scenario.steps}
    cards = ["cgroup_legacy"], ["cgroup_link"]
    known = {spec.do for one in cards for spec in Language(system_for(one)).specs}
    assert known - taken == {"look_up", "fire"}
