"""All of Linux that the model has: the invariants of counting are proved for any number of objects,
and every step finds what it needs. What is proved is also sharp. (What members of a
cgroup make is proved where there are cgroups: test_proofs_membership.py.)"""

from __future__ import annotations

import functools

import pytest

from bpflife.model.properties import counts, reachable
from bpflife.model.system import PARTS, System
from bpflife.model.values import NAT
from bpflife.proofs.induction import Induction, Proof
from mutants import forgetful

together = pytest.mark.xdist_group("linux-proof")


@functools.cache
def proved() -> tuple[Induction, Proof]:
    induction = Induction(System([], PARTS))
    return induction, induction.run()


@functools.cache
def asked_again() -> Induction:
    """The same lemmas, for other rules."""
    return Induction(proved()[0].system)


@together
def test_the_invariants_of_counting_hold_of_all_of_linux() -> None:
    """Count equals holders, user count equals user holders, live means counted, what is freed
    holds nothing, what can run is not freed: rule by rule, of every part."""
    induction, proof = proved()
    wanted = {i.name for i in (*counts(induction.system), *reachable(induction.system))}
    assert wanted <= set(proof.kept), {n: proof.dropped.get(n) for n in wanted - set(proof.kept)}


@together
def test_every_step_of_linux_finds_what_it_needs() -> None:
    induction, _ = proved()
    assert induction.needs_unproved() == []


@together
def test_every_rule_that_moves_a_reference_has_obligations() -> None:
    """A rule that no invariant is asked about would be covered by nothing."""
    induction, _ = proved()
    counting = {f.name for f in induction.system.families if f.slot or f.range == NAT}
    moving = {a.rule.name for a in induction.attempts if counting & set(a.view.updates)}
    assert moving <= {a.rule.name for a in induction.attempts if a.goals}
    assert len(moving) > 150


@together
@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("fork.2", "refcnt of a file = holders"),  # a descriptor that the child shares
        ("fork.3", "refcnt of a file = holders"),  # a mapping
        ("send.3", "refcnt of a file = holders"),  # a descriptor of the list
        ("pidfd_getfd.1", "refcnt of a file = holders"),
        ("get_fd_by_id.1", "refcnt of a btf = holders"),
        ("map_update.3", "refcnt of a prog = holders"),
        ("map_update.3", "refcnt of a file = holders"),  # of a perf event
        ("map_update_socket.5", "refcnt of a prog = holders"),  # of a program that it will have
        ("map_attach.1", "refcnt of a prog = holders"),
        ("bind_map.2", "refcnt of a map = holders"),
        ("mmap.2", "writecnt = writes"),
        ("fork.3", "writecnt = writes"),  # the child's copy of a writable mapping
        ("exit_unmap", "writecnt = writes"),
        ("hard_link.1", "refcnt of a inode = holders"),
        ("unshare_mounts.2", "refcnt of a bpffs = holders"),
        ("open_dir.1", "refcnt of a mnt = holders"),
        ("fork.1", "refcnt of a mntns = holders"),
        ("fork.1", "refcnt of a netns = holders"),
        ("open_net.1", "refcnt of a netns = holders"),
        ("open_tap.1", "refcnt of a netns = holders"),
        ("connect.2", "refcnt of a netns = holders"),  # of the other end
        ("prog_load_fd_array.2", "refcnt of a btf = holders"),
        ("bind_map.3", "sleepable_refcnt = used_asleep"),
    ],
)
def test_a_forgotten_increment_is_found_where_it_is(rule: str, broken: str) -> None:
    induction, proof = proved()

    changed = [forgetful(r) for r in induction.rules if r.name == rule]
    again = asked_again()
    again.rules = changed
    found = again.failures(proof.kept)
    assert (rule, broken) in found
    assert {name for name, _ in found} == {rule}
