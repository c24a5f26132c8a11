"""The five lines in which "Lifetime of BPF objects" (Starovoitov, 2018) sums itself up, as a table:
what each operation does to the refcnt of the object that it is about. Model and kernel are asked.

    obj create -> refcnt = 1      attach -> refcnt++     detach -> refcnt--
    obj_pin    -> refcnt++        unlink -> refcnt--     close  -> refcnt--
"""

from __future__ import annotations

from collections.abc import Sequence

from bpflife.model.documents import Scenario, Settled, Step

# step, the object that it is about, its refcnt before and after (0: it is not there)
TABLE: list[tuple[Step, str, int, int]] = [
    (Step(do="cgroup_make", by="loader", target="web"), "", 0, 0),
    (Step(do="map_create", by="loader", map="counts"), "counts", 0, 1),
    (Step(do="prog_load", by="loader", prog="filter"), "filter", 0, 1),
    (Step(do="attach", by="loader", target="web", prog="filter"), "filter", 1, 2),
    (Step(do="detach", by="loader", target="web"), "filter", 2, 1),
    (Step(do="pin", by="loader", fd="filter", path="filter"), "filter", 1, 2),
    (Step(do="pin", by="loader", fd="counts", path="counts"), "counts", 1, 2),
    (Step(do="unlink", by="loader", path="filter"), "filter", 2, 1),
    (Step(do="unlink", by="loader", path="counts"), "counts", 2, 1),
    (Step(do="close", by="loader", fd="filter"), "filter", 1, 0),
    (Step(do="close", by="loader", fd="counts"), "counts", 1, 0),
]
SCENARIO = Scenario(
    scenario="summary", cards=["cgroup_legacy"], steps=[step for step, _, _, _ in TABLE]
)


def refcnt(settled: Settled, name: str) -> int:
    """The refcnt of an object in a settled state; 0 when it is not there."""
    return settled.progs.get(name, settled.maps.get(name, (0, 0))[0])


def check(states: Sequence[Settled]) -> None:
    """The settled states after each step are what the table says."""
    before = Settled()
    for (step, name, old, new), after in zip(TABLE, states, strict=True):
        assert (refcnt(before, name), refcnt(after, name)) == (old, new), step.do
        before = after
