"""Members of cgroups, and what they make: proved for any number of processes, sockets, messages and
cgroups."""

from __future__ import annotations

import functools

import pytest

from bpflife.model.catalogue import load_card
from bpflife.model.properties import counts, reachable
from bpflife.model.system import System
from bpflife.proofs.induction import Induction, Proof
from mutants import forgetful

PARTS = ("core", "processes", "passing", "maps", "access", "perf", "flavours", "membership")
together = pytest.mark.xdist_group("membership-proof")


@functools.cache
def proved() -> tuple[Induction, Proof]:
    """With the parts that the others need."""
    induction = Induction(System([load_card("cgroup_legacy")], PARTS))
    return induction, induction.run()


@together
def test_what_is_born_in_a_cgroup_keeps_it_and_a_member_keeps_its_name() -> None:
    induction, proof = proved()
    wanted = {i.name for i in (*counts(induction.system), *reachable(induction.system))}
    wanted |= {"a process is in a cgroup that was not removed"}
    assert wanted <= set(proof.kept), {n: proof.dropped.get(n) for n in wanted - set(proof.kept)}
    assert induction.needs_unproved() == []


@together
@pytest.mark.parametrize("rule", ["socket_create.1", "socketpair.1", "connect.2", "send.4"])
def test_a_forgotten_increment_is_found_where_it_is(rule: str) -> None:
    induction, proof = proved()
    changed = [forgetful(r) for r in induction.rules if r.name == rule]
    found = Induction(induction.system, rules=changed).failures(proof.kept)
    assert (rule, "refcnt of a cgroup = holders") in found
    assert {name for name, _ in found} == {rule}
