"""Where programs go in the order of a hook: cgroups with the flag allow_multi, and tcx.

Programs are called by letters in the order in which they were loaded: "ab" is an a, then b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.world import World
from kernel_actors import (
    Arguments,
    answers,
    errnos,
    fresh_world,
    linked,
    loaded,
    needs,
    ok,
    settles,
    shared_world,
)

__all__ = ["fresh_world", "shared_world"]  # fixtures

EGRESS = {"attach_type": "cgroup_inet_egress"}
MULTI = {"flags": ["allow_multi"]}
CLOSED = 99


@dataclass
class Hook:
    """An ordered hook, its commands and their usual arguments, and some programs."""

    actor: Actor
    attach: tuple[str, dict[str, Any]]
    detach: tuple[str, dict[str, Any]]
    link: tuple[str, dict[str, Any]]
    look: tuple[str, dict[str, Any]]
    fds: Sequence[int]
    ids: Sequence[int]

    def refused(self, what: str, *asked: dict[str, Any]) -> list[str | None]:
        """The errnos of one command after the other."""
        command, usual = getattr(self, what)
        return errnos(self.actor, command, *({**usual, **each} for each in asked))

    def answers(self, what: str, *expected: tuple[Arguments, str | None]) -> None:
        """Run a command often: each has the errno beside its arguments."""
        command, usual = getattr(self, what)
        answers(self.actor, command, usual, *expected)

    def put(self, *letters: str, **options: Any) -> None:
        """Attach programs."""
        for letter in letters:
            ok(self.actor, self.attach[0], **self.attach[1], fd=self.fd(letter), **options)

    def fd(self, letter: str) -> int:
        """The descriptor of a program."""
        return self.fds["abcdef".index(letter)]

    def order(self) -> str:
        """The programs that are attached."""
        found = ok(self.actor, self.look[0], **self.look[1]).attached
        return "".join("abcdef"[self.ids.index(prog)] for prog, *_ in found)

    def revision(self) -> int:
        """How often the hook has changed, from 1 on."""
        return ok(self.actor, self.look[0], **self.look[1]).named["revision"]


@pytest.fixture(name="actor")
def _actor(world: World) -> Actor:
    return world.actor("a")


def cgroup_hook(world: World, actor: Actor) -> Hook:
    """The egress hook of a cgroup, which takes several programs."""
    needs("cgroup_order")
    usual = {"target": world.cgroup_make("g"), **EGRESS}
    progs = [loaded(actor, "cgroup_skb") for _ in range(6)]
    return Hook(
        actor, ("prog_attach", {**usual, **MULTI}), ("prog_detach", usual), ("link_create", usual),
        ("cgroup_attached", usual), *zip(*progs, strict=True),
    )  # fmt: skip


def tcx_hook(actor: Actor) -> Hook:
    """The ingress hook of a device."""
    needs("tcx_attach", "make_veth")
    ok(actor, "make_veth", target="left", peer="right")
    usual = {"target": "left"}
    progs = [loaded(actor, "sched_cls") for _ in range(6)]
    return Hook(
        actor, ("tcx_attach", usual), ("tcx_detach", usual), ("tcx_link", usual),
        ("tcx_attached", usual), *zip(*progs, strict=True),
    )  # fmt: skip


@pytest.fixture(name="hook", params=["cgroup", "tcx"])
def _hook(request: pytest.FixtureRequest, world: World, actor: Actor) -> Hook:
    return cgroup_hook(world, actor) if request.param == "cgroup" else tcx_hook(actor)


@pytest.fixture(name="cgroup")
def _cgroup(world: World, actor: Actor) -> Hook:
    return cgroup_hook(world, actor)


@pytest.fixture(name="tcx")
def _tcx(actor: Actor) -> Hook:
    return tcx_hook(actor)


# ---------------------------------------------------------------------------------------------
# what both have


def test_before_and_after(hook: Hook) -> None:
    """0 is before or after all."""
    hook.put("a", "b")
    hook.put("c", before=0)
    hook.put("d", after=hook.fd("a"))
    hook.put("e", before=hook.fd("a"), of="prog")
    hook.put("f", after=0)
    assert (hook.order(), hook.revision()) == ("ceadbf", 7)


def test_programs_by_their_ids(hook: Hook) -> None:
    hook.put("a", "b")
    hook.put("c", before=hook.ids[1], of="prog_id")
    assert hook.order() == "acb"
    beyond = {"fd": hook.fd("d"), "before": 1 << 30, "of": "prog_id"}
    assert hook.refused("attach", beyond) == ["ENOENT"]


def test_a_replaced_program_leaves_its_place(world: World, hook: Hook) -> None:
    hook.put("a", "b", "c")
    hook.put("d", replace=hook.fd("b"))
    assert (hook.order(), hook.revision()) == ("adc", 5)
    a, b, c, d, e, f = hook.ids
    settles(world, progs={a: 2, b: 1, c: 2, d: 2, e: 1, f: 1})
    new = {"fd": hook.fd("e")}
    hook.answers(
        "attach",
        ({**new, "replace": hook.fd("b")}, "ENOENT"),
        ({**new, "replace": CLOSED}, "EBADF"),
        ({**new, "replace": hook.fd("b"), "revision": 9}, "ESTALE"),
    )


def test_a_revision_is_expected(hook: Hook) -> None:
    """It is looked at before what is there."""
    hook.put("a", revision=1)
    late = {"fd": hook.fd("b"), "revision": 1}
    assert hook.refused("attach", late, {"fd": hook.fd("a"), "revision": 1}) == ["ESTALE"] * 2
    assert hook.refused("attach", {**late, "before": CLOSED}) == ["ESTALE"]
    assert hook.refused("link", late) == ["ESTALE"]
    assert hook.refused("detach", late, {"revision": 1}) == ["ESTALE"] * 2
    hook.put("b", revision=2)
    assert hook.refused("detach", {"fd": hook.fd("a"), "revision": 3}) == [None]
    assert (hook.order(), hook.revision()) == ("b", 4)


def test_links_count_as_changes(hook: Hook) -> None:
    """Each step of their life; only a cgroup counts an update to the same program."""
    link, _ = linked(hook.actor, hook.link[0], **hook.link[1], fd=hook.fd("a"), revision=1)
    same = 0 if hook.link[0] == "tcx_link" else 1
    hook.put("b", revision=2)
    for letter, revision in (("a", 3 + same), ("c", 4 + same)):
        ok(hook.actor, "link_update", link=link, fd=hook.fd(letter))
        assert hook.revision() == revision
    ok(hook.actor, "link_detach", link=link)
    assert hook.revision() == 5 + same


# ---------------------------------------------------------------------------------------------
# cgroups


def test_places_that_a_cgroup_refuses(cgroup: Hook) -> None:
    """That the program is there already is said first; then whom to stand beside is looked for."""
    cgroup.put("a", "b")
    a, b, c, d = map(cgroup.fd, "abcd")
    xdp, map_ = loaded(cgroup.actor, "xdp")[0], ok(cgroup.actor, "map_create").value
    cgroup.answers(
        "attach",
        ({"fd": a}, "EINVAL"),
        ({"fd": a, "before": b}, "EINVAL"),
        ({"fd": a, "before": CLOSED}, "EINVAL"),
        ({"fd": a, "before": a}, "EINVAL"),
        ({"fd": c, "before": c}, "ENOENT"),
        ({"fd": c, "before": d}, "ENOENT"),
        ({"fd": c, "before": xdp}, "ENOENT"),
        ({"fd": c, "before": map_}, "EINVAL"),
        ({"fd": c, "before": CLOSED}, "EBADF"),
        ({"fd": c, "before": b, "after": a}, "EINVAL"),
    )
    cgroup.answers(
        "attach",
        ({"fd": b, "replace": a}, "EINVAL"),
        ({"fd": c, "replace": xdp}, "EINVAL"),
        ({"fd": c, "replace": map_}, "EINVAL"),
        ({"fd": c, "replace": a, "before": b}, "EINVAL"),
        ({"fd": a, "replace": a}, None),
    )
    assert cgroup.order() == "ab"


def test_what_a_cgroup_detaches(cgroup: Hook) -> None:
    """What is no program of its kind counts as none, and that is refused."""
    cgroup.put("a", "b")
    xdp, map = loaded(cgroup.actor, "xdp")[0], ok(cgroup.actor, "map_create").value
    cgroup.answers(
        "detach",
        ({}, "EINVAL"),
        ({"fd": CLOSED}, "EINVAL"),
        ({"fd": map}, "EINVAL"),
        ({"fd": xdp}, "EINVAL"),
        ({"fd": cgroup.fd("c")}, "ENOENT"),
    )
    assert cgroup.order() == "ab"


def test_links_stand_beside_links_only(cgroup: Hook) -> None:
    """And programs beside programs. A program may be there by itself and by links."""
    cgroup.put("a", "b")
    _, usual = cgroup.link
    link, id = linked(cgroup.actor, "link_create", **usual, fd=cgroup.fd("a"))
    ok(cgroup.actor, "link_create", **usual, fd=cgroup.fd("c"), before=link, of="link")
    ok(cgroup.actor, "link_create", **usual, fd=cgroup.fd("a"), before=id, of="link_id")
    assert cgroup.order() == "abcaa"
    new, by_link = {"fd": cgroup.fd("d")}, {"before": link, "of": "link"}
    cgroup.answers(
        "link",
        ({**new, "before": cgroup.fd("b")}, "EINVAL"),
        ({**new, "before": CLOSED}, "EINVAL"),
        ({**new, **by_link, "flags": ["allow_multi"]}, "EINVAL"),
        ({**new, "replace": cgroup.fd("b")}, "EINVAL"),
        ({**new, "before": CLOSED, "of": "link"}, "EBADF"),
    )
    assert cgroup.refused("attach", {**new, **by_link}) == ["EINVAL"]
    assert cgroup.refused("attach", {**new, "before": cgroup.fd("c")}) == ["ENOENT"]
    assert cgroup.refused("attach", {**new, "replace": cgroup.fd("c")}) == ["ENOENT"]
    assert cgroup.refused("detach", {"fd": cgroup.fd("c")}) == ["ENOENT"]


def test_a_full_cgroup(cgroup: Hook) -> None:
    """It has room for 64. Then nothing is replaced any more, either."""
    fds = [loaded(cgroup.actor, "cgroup_skb")[0] for _ in range(65)]
    for fd in fds[:-1]:
        assert cgroup.refused("attach", {"fd": fd}) == [None]
    new = {"fd": fds[-1]}
    cgroup.answers(
        "attach",
        (new, "E2BIG"),
        ({"fd": fds[0]}, "E2BIG"),
        ({**new, "replace": fds[0]}, "E2BIG"),
        ({**new, "before": CLOSED}, "E2BIG"),
        ({**new, "revision": 9}, "ESTALE"),
    )
    assert cgroup.refused("link", new) == ["E2BIG"]


def test_one_program_of_its_own(world: World, actor: Actor) -> None:
    """Without the flag a cgroup has revisions too, but no order."""
    needs("cgroup_order")
    usual = {"target": world.cgroup_make("g"), **EGRESS}
    (one, first), (two, second) = loaded(actor, "cgroup_skb"), loaded(actor, "cgroup_skb")
    ok(actor, "prog_attach", **usual, fd=one, revision=1)
    answers(
        actor,
        "prog_attach",
        usual,
        ({"fd": two, "revision": 1}, "ESTALE"),
        ({"fd": two, "replace": one}, "EINVAL"),
        ({"fd": two, **MULTI}, "EPERM"),
        ({"fd": two, **MULTI, "revision": 1}, "ESTALE"),
    )
    ok(actor, "prog_attach", **usual, fd=two, revision=2)
    settles(world, progs={first: 1, second: 2})
    assert ok(actor, "cgroup_attached", **usual).attached == ((second, 0),)


# ---------------------------------------------------------------------------------------------
# tcx


def test_places_that_tcx_refuses(tcx: Hook) -> None:
    """That the program is there already is said first; then whom to stand beside is looked for."""
    tcx.put("a", "b")
    a, b, c, d = map(tcx.fd, "abcd")
    xdp, map_ = loaded(tcx.actor, "xdp")[0], ok(tcx.actor, "map_create").value
    tcx.answers(
        "attach",
        ({"fd": a}, "EEXIST"),
        ({"fd": a, "before": b}, "EEXIST"),
        ({"fd": a, "before": CLOSED}, "EEXIST"),
        ({"fd": a, "before": a}, "EEXIST"),
        ({"fd": c, "before": c}, "ENOENT"),
        ({"fd": c, "before": d}, "ENOENT"),
        ({"fd": c, "before": xdp}, "EINVAL"),
        ({"fd": c, "before": map_}, "EINVAL"),
        ({"fd": c, "before": CLOSED}, "EBADF"),
        ({"fd": c, "before": a, "of": "link"}, "EINVAL"),
    )
    tcx.answers(
        "attach",
        ({"fd": b, "replace": a}, "EEXIST"),
        ({"fd": c, "replace": xdp}, "EINVAL"),
        ({"fd": c, "replace": map_}, "EINVAL"),
        ({"fd": a, "replace": a}, "EEXIST"),
        ({"fd": c, "replace": b, "before": b}, "ERANGE"),
        ({"fd": c, "replace": b, "before": a}, "ERANGE"),
    )
    tcx.put("c", replace=b, after=a)
    assert tcx.order() == "ac"


def test_an_empty_hook_of_tcx_is_forgotten(tcx: Hook) -> None:
    """With its revision: who expects one may meet another hook's. Beside clsact it stays."""
    needs("make_clsact")
    tcx.put("a")
    ok(tcx.actor, "tcx_detach", **tcx.detach[1], fd=tcx.fd("a"))
    tcx.put("b")
    tcx.put("c", replace=tcx.fd("b"), revision=2)  # 2 was the revision with a
    assert tcx.order() == "c"
    ok(tcx.actor, "make_clsact", target="left")
    ok(tcx.actor, "tcx_detach", **tcx.detach[1], fd=tcx.fd("c"))
    assert tcx.revision() == 4
    tcx.answers("detach", ({"revision": 9}, "ESTALE"), ({}, "ENOENT"))
    ok(tcx.actor, "delete_clsact", target="left")
    assert tcx.revision() == 1
    tcx.answers("detach", ({"revision": 9}, "ENOENT"))


def test_links_stand_beside_programs_at_tcx(tcx: Hook) -> None:
    """Their programs are known by links and by themselves, and are there once."""
    tcx.put("a")
    link, id = linked(tcx.actor, "tcx_link", **tcx.link[1], fd=tcx.fd("b"), before=tcx.fd("a"))
    tcx.put("c", before=link, of="link")
    tcx.put("d", after=tcx.fd("b"))
    tcx.put("e", after=id, of="link_id")
    assert tcx.order() == "cbeda"
    assert tcx.refused("link", {"fd": tcx.fd("f"), "before": tcx.fd("f")}) == ["ENOENT"]
