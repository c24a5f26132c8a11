"""A loader that is started again and again: what piles up at the hook, by the way of attaching."""

from __future__ import annotations

import json

import pytest

from bpflife.app.commands import main
from bpflife.model.documents import InputError
from bpflife.model.restarts import Left, left, restarted, runs_per_event
from bpflife.model.simulator import play, player
from bpflife.proofs.kernel.compare import compare_trace

PILES_UP = ["cgroup_multi", "tc_filter", "lwt_route", "tcx"]
STAYS_ONE = ["cgroup_legacy", "cgroup_link", "xdp_netlink", "xdp_link", "tcx_link", "perf_event"]


def after(api: str, times: int) -> tuple[Left, int]:
    """What is left, and how many programs an event runs."""
    played = player(restarted(api, times))
    trace = played.trace()
    assert not [step.errno for step in trace.steps if step.errno]
    last = next(step.settled for step in reversed(trace.steps) if step.settled)
    return left(last), runs_per_event(played.world)


@pytest.mark.parametrize("api", PILES_UP)
def test_programs_pile_up_where_a_record_holds_them(api: str) -> None:
    """All of them run on each event, and one has a process."""
    for times in (1, 2, 5):
        assert after(api, times) == (Left(times, 1), times)


@pytest.mark.parametrize("api", STAYS_ONE)
def test_one_is_left_where_the_next_replaces_it_or_the_last_took_it_along(api: str) -> None:
    assert after(api, 4) == (Left(1, 1), 1)


def test_a_card_without_an_example_has_no_loader() -> None:
    with pytest.raises(InputError, match="bad_replace_gap: example"):
        restarted("bad_replace_gap", 2)


@pytest.mark.kernel
@pytest.mark.parametrize("api", [*PILES_UP, *STAYS_ONE])
def test_the_kernel_has_the_same_left(api: str) -> None:
    scenario = restarted(api, 3)
    compared = compare_trace(scenario, play(scenario))
    assert (compared.why_not, compared.differences) == ("", [])
    last = compared.rows[-1]
    assert last.kernel is not None
    assert left(last.kernel) == left(last.model)


def test_the_command_prints_a_table_and_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["restarts", "cgroup_multi", "--times", "3", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["card"], row["runs"], row["left"]["behind"]) == ("cgroup_multi", 3, 1)
    assert main(["restarts", "cgroup_multi", "--times", "2", "--yaml"]) == 0
    assert "loader2" in capsys.readouterr().out
    assert main(["restarts", "--times", "31"]) == 2
    assert main(["restarts", "banana"]) == 2
