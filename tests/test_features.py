"""The columns of `bpflife list cards`: what a card says of itself, what the kernel says of it."""

from __future__ import annotations

import pytest

from bpflife.model.catalogue import card_names, example_of, load_card
from bpflife.model.features import ELEMENTS, Features, features
from bpflife.model.simulator import play
from bpflife.model.system import System
from bpflife.proofs.kernel.confirm import YES, confirmed, elements

OTHER_KERNELS = {"cgroup_attach_race", "uprobe_mixed_flavours"}  # no example: not this kernel's way
LINUX = [n for n in card_names() if load_card(n).since != "proposed" and n not in OTHER_KERNELS]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cgroup_legacy", Features("target", "one", "none", "no")),
        ("cgroup_multi", Features("target", "many, each program once", "old program", "no")),
        ("cgroup_link", Features("link", "many", "link; old program if told", "yes")),
        ("xdp_netlink", Features("target", "one", "none; old program if told", "no")),
        ("xdp_link", Features("link", "one", "link; old program if told", "yes")),
        ("netfilter_link", Features("link", "many", "-", "yes")),
        ("tcx", Features("target", "many, each program once", "old program", "no")),
        (
            "tcx_link",
            Features("link", "many, each program once", "link; old program if told", "yes"),
        ),
        ("perf_event", Features("file", "one", "-", "no")),
        ("flow_dissector", Features("target", "one", "none", "no")),
        ("tc_filter", Features("target", "many", "its number", "no")),
        ("lwt_route", Features("target", "many", "its number", "no")),
    ],
)
def test_features_are_read_off_the_steps(name: str, said: Features) -> None:
    assert features(load_card(name)) == said


@pytest.mark.parametrize("name", LINUX)
def test_an_example_takes_every_operation_of_its_card(name: str) -> None:
    """Attach, replace, detach where there are any: what is not played is only text."""
    card, scenario = load_card(name), example_of(name)
    assert scenario is not None
    trace = play(scenario)
    assert trace.violation is None
    system = System([card])
    taken = {step.rule.partition("#")[0] for step in trace.steps if not step.errno}
    for operation in ("attach", "replace", "detach"):
        spec = getattr(card.operations, operation)
        if spec is not None and spec != "on_target_death":
            assert system.steps_of(name, operation) & taken, operation


@pytest.mark.kernel
def test_the_kernel_confirms_elements_of_maps() -> None:
    assert elements() == {"prog_array": YES, "devmap": YES, "cpumap": YES}
    assert {one.features.persistence for one in ELEMENTS} == {"map", "map's last user"}


@pytest.mark.kernel
def test_the_kernel_confirms_the_cards() -> None:
    found = confirmed(card_names())
    assert {name for name, answer in found.items() if answer == YES} == set(LINUX)
    assert found["bad_replace_gap"] == "a proposal"
    assert "no example" in found["cgroup_attach_race"]
