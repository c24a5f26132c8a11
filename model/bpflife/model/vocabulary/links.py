"""Links: attachments (attachments.py) with an id, which open files and pins hold.

While a link is attached it stands in the list of its target (`listed`): a pointer that nobody
counts, the target's as well as the link's. It leaves the list when it is detached, when its last
reference goes, and when the target dies; from then on it is *defunct*: it can still be found,
opened and pinned, and holds its program, but no event runs it.

Linux takes one mutex and then looks where the link is attached (cgroup_mutex, rtnl). Here every
target has a lock of its own, so that looking and locking are one step.
"""

from __future__ import annotations

from dataclasses import replace

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Guard, Param, Step, StepError
from ..values import LIFE, NONE, OBJ, If, Not, Or, Value, eq, ne
from .attachments import enlist, leave_list, some
from .registry import nothing, step


@step("list {reg} on target")
def _list(f: Frame, reg: str) -> Step:
    """The link is the last in the target's list: events run its program from now on.
    (__cgroup_bpf_attach, update_effective_progs: kernel/bpf/cgroup.c)"""

    return _enlists(f, f"list {reg} on target", reg, "last", lambda k, e: NONE)


@step("list {reg} on target before {other}")
def _list_before(f: Frame, reg: str, other: str) -> Step:
    """The same, just before the other local's attachment.
    (BPF_F_BEFORE: kernel/bpf/mprog.c, kernel/bpf/cgroup.c:insert_pl_to_hlist)"""
    text = f"list {reg} on target before {other}"
    return _enlists(f, text, reg, "before", lambda k, e: k.get(f.reg(other), e["me"]))


@step("list {reg} on target after {other}")
def _list_after(f: Frame, reg: str, other: str) -> Step:
    """The same, just after the other local's attachment. (BPF_F_AFTER)"""
    text = f"list {reg} on target after {other}"
    return _enlists(f, text, reg, "after", lambda k, e: k.get(f.reg(other), e["me"]))


def _enlists(f: Frame, text: str, reg: str, place: str, other: Guard) -> Step:
    def effect(k: View, e: Env) -> None:
        link = k.get(f.reg(reg), e["me"])
        k.need(ne(link, NONE), f"list finds a link in {reg}")
        enlist(f, k, link, f.target(k, e), place, other(k, e))

    words = "puts the link into the list of the hook: events run its program from now on"
    return Step(text, words, effect)


@step("list {reg} on target at priority")
def _list_at(f: Frame, reg: str) -> Step:
    """The link stands in the target's list where its priority says. EBUSY: another link has this
    one. (nf_hook_entries_grow: net/netfilter/core.c)"""
    kinds, made = (
        tuple(f.beside),
        _enlists(f, f"list {reg} on target at priority", reg, "by priority", lambda k, e: NONE),
    )
    taken = some(f, kinds, lambda k, e, x: eq(k.get(s.PRIORITY, x), e["priority"]))

    def effect(k: View, e: Env) -> None:
        k.set(s.PRIORITY, (k.get(f.reg(reg), e["me"]),), e["priority"])
        made.effect(k, e)

    params = (Param("priority", s.PRIORITY.range),)
    checks = (Check("EBUSY", lambda k, e: eq(taken(k, e), NONE)),)
    return replace(made, effect=effect, params=params, checks=checks)


def _hook_of(f: Frame, reg: str) -> Guard:
    """Where the link of a local is attached; none when it is defunct."""
    return lambda k, e: k.get(s.LISTED, k.get(f.reg(reg), e["me"]))


def not_freed(target: Guard) -> tuple[tuple[Guard, str], ...]:
    """What a step needs of the hook that an attachment is attached to, before anything else."""

    def holds(k: View, e: Env) -> Value:
        return ne(k.get(s.LIFE_OF, target(k, e)), LIFE.freed)

    return ((holds, "the hook that it is attached to is not freed memory"),)


@step("lock target of {reg}")
def _lock(f: Frame, reg: str) -> Step:
    """Takes the lock of the target that the link is attached to; waits while somebody has it. The
    call works on that target from here. ENOLINK: the link is defunct.
    (cgroup_bpf_replace: kernel/bpf/cgroup.c)"""
    if not f.hook:
        raise StepError("`lock target of` is a step of cards: they have a target")
    target = _hook_of(f, reg)

    def effect(k: View, e: Env) -> None:
        t = target(k, e)
        k.set(s.TARGET, (e["me"],), t)
        k.set(s.LOCK, (t,), e["me"])

    attached = Check("ENOLINK", lambda k, e: ne(target(k, e), NONE))
    return Step(
        f"lock target of {reg}", "takes the lock of the hook that the link is attached to", effect,
        waits=lambda k, e: k.unlocked(target(k, e)), checks=(attached,), lock=1, target=f.hook,
        first=not_freed(target),
    )  # fmt: skip


@step("expect {link} on target")
def _expect_on_target(f: Frame, link: str, errno: str) -> Step:
    """The link of a local is attached to the target of the call, else the errno.
    (get_prog_list: kernel/bpf/cgroup.c, 6.17)"""

    def holds(k: View, e: Env) -> Value:
        return eq(k.get(s.LISTED, k.get(f.reg(link), e["me"])), f.target(k, e))

    text, words = f"expect {link} on target", "looks for the link in the hook's list"
    return Step(text, words, nothing, checks=(Check(errno, holds),))


@step("expect type of program of {link}")
def _expect_type_of_link(f: Frame, link: str, errno: str) -> Step:
    """The program of a local's link is of the type that the hook takes, else the errno.
    (bpf_get_anchor_link: kernel/bpf/cgroup.c, 6.17)"""

    def holds(k: View, e: Env) -> Value:
        program = k.get(s.LINK_PROG, k.get(f.reg(link), e["me"]))
        return eq(k.get(f.ptype, program), f.program_type)

    text, words = f"expect type of program of {link}", "looks at the type of its program"
    return Step(text, words, nothing, checks=(Check(errno, holds),))


@step("may open {reg} as asked", part="links+access")
def _may_open(f: Frame, reg: str) -> Step:
    """EINVAL: it is a link, and not for both is asked. (bpf_obj_get_user: kernel/bpf/inode.c)"""

    def holds(k: View, e: Env) -> Value:
        is_link = k.kind(k.get(f.reg(reg), e["me"]), *f.links)
        return Or(Not(is_link), eq(e["mode"], s.MODE.read_write))

    text, params = f"may open {reg} as asked", (Param("mode", s.MODE),)
    return Step(text, "looks at the mode", nothing, params, checks=(Check("EINVAL", holds),))


@step("unlist {reg}")
def _unlist(f: Frame, reg: str) -> Step:
    """The link leaves the list of its target, if it stands in one: it is defunct. The program is
    not put: that is for the link's end. One step, under the target's lock.
    (bpf_cgroup_link_detach: kernel/bpf/cgroup.c)"""
    target = _hook_of(f, reg)

    def effect(k: View, e: Env) -> None:
        leave_list(f, k, k.get(f.reg(reg), e["me"]))

    return Step(
        f"unlist {reg}", "takes the link out of the hook's list, if it is in one", effect,
        waits=lambda k, e: k.unlocked(target(k, e)), first=not_freed(target),
    )  # fmt: skip


@step("unlist {reg} -> {old}")
def _unlist_entry(f: Frame, reg: str, old: str) -> Step:
    """The same; what the hook's entry has of the link goes into the local `old`, if anything.
    (bpf_xdp_link_detach, dev_xdp_detach_link: net/core/dev.c)"""
    made, target = _unlist(f, reg), _hook_of(f, reg)

    def effect(k: View, e: Env) -> None:
        take_entry(f, k, e, target(k, e), old)
        made.effect(k, e)

    text, regs = f"unlist {reg} -> {old}", {old: "maybe"}
    return replace(made, text=text, effect=effect, regs=regs, kinds=("prog",))


@step("unlist {reg} with held -> {old}")
def _unlist_held(f: Frame, reg: str, old: str) -> Step:
    """The same, and what it keeps goes into the local `old`, if it stood in a list.
    (bpf_nf_link_release -> put_net: net/netfilter/nf_bpf_link.c)"""
    made, target = _unlist(f, reg), _hook_of(f, reg)

    def effect(k: View, e: Env) -> None:
        k.need(eq(k.get(f.reg(old), e["me"]), NONE), f"unlist finds the local {old} empty")
        link = If(eq(target(k, e), NONE), NONE, k.get(f.reg(reg), e["me"]), OBJ)
        held = k.get(s.HOLDS, link)
        f.count_user(k, held, -1)
        k.set(f.reg(old), (e["me"],), held)
        k.set(s.HOLDS, (link,), NONE)
        made.effect(k, e)

    kinds = tuple(kind for kind in s.HOLDS.targets if kind == f.hook)
    text, regs = f"unlist {reg} with held -> {old}", {old: "maybe"}
    return replace(made, text=text, effect=effect, regs=regs, kinds=kinds)


def take_entry(f: Frame, k: View, e: Env, target: Value, old: str) -> None:
    """The program in a hook's entry goes into a local."""
    k.need(
        eq(k.get(f.reg(old), e["me"]), NONE), f"what takes the entry finds the local {old} empty"
    )
    k.set(f.reg(old), (e["me"],), k.get(f.entry, target))
    k.set(f.entry, (target,), NONE)
    if "entry_by" in f.parts:
        k.set(s.ENTRY_BY, (target,), NONE)


@step("publish program of {link} in entry")
def _publish(f: Frame, link: str) -> Step:
    """The hook's empty entry takes a further reference on the program of a link, which is attached
    from now on. (perf_event_set_bpf_prog, bpf_prog_inc: kernel/bpf/syscall.c:bpf_perf_link_attach)
    """

    def effect(k: View, e: Env) -> None:
        t, one = f.target(k, e), k.get(f.reg(link), e["me"])
        prog = k.get(s.LINK_PROG, one)
        k.need(eq(k.get(f.entry, t), NONE), "publish finds the entry empty")
        k.need(ne(prog, NONE), "publish finds a program to publish")
        k.inc(prog)
        k.set(f.entry, (t,), prog)
        k.set(s.ENTRY_BY, (t,), one)
        enlist(f, k, one, t)

    words = "publishes the program of the link in the hook, which holds it too: refcnt +1"
    return Step(f"publish program of {link} in entry", words, effect)


@step("leave hook -> {old}")
def _leave_entry(f: Frame, old: str) -> Step:
    """The dying link leaves its hook; what the hook's entry has of it goes into a local, if
    anything. (bpf_xdp_link_release, bpf_perf_link_release)"""
    made = _leave(f)

    def effect(k: View, e: Env) -> None:
        take_entry(f, k, e, k.get(s.LISTED, e["me"]), old)
        made.effect(k, e)

    text, regs = f"leave hook -> {old}", {old: "maybe"}
    return replace(made, text=text, effect=effect, regs=regs, kinds=("prog",))


@step("leave hook")
def _leave(f: Frame) -> Step:
    """The dying link leaves the list of its target, if it stands in one: no new event runs its
    program. One step, under the target's lock. (bpf_cgroup_link_release: kernel/bpf/cgroup.c)"""
    if f.own not in f.links:
        raise StepError("`leave hook` is a step of on_last_put: only a dying link does it")

    def target(k: View, e: Env) -> Value:
        return k.get(s.LISTED, e["me"])

    def effect(k: View, e: Env) -> None:
        leave_list(f, k, e["me"])

    return Step(
        "leave hook", "the link leaves the hook's list: no new event runs its program", effect,
        waits=lambda k, e: k.unlocked(target(k, e)), first=not_freed(target),
    )  # fmt: skip


@step("detach links")
def _detach(f: Frame) -> Step:
    """The dying target lets one link after the other go: they are defunct, and hold their programs
    on. (cgroup_bpf_release -> bpf_cgroup_link_auto_detach: kernel/bpf/cgroup.c)"""
    if f.own not in f.targets:
        raise StepError("`detach links` is a step of on_target_death")

    def effect(k: View, e: Env) -> None:
        k.when(eq(k.get(s.LISTED, e["link"]), e["me"]))
        leave_list(f, k, e["link"])

    kinds = "|".join(kind for kind in f.on_own if kind in f.links)

    def done(k: View, e: Env) -> Value:
        return k.all(OBJ, lambda link: ne(k.get(s.LISTED, link), e["me"]), kinds)

    words = "a link that was attached to it is detached: it stays, without effect"
    return Step("detach links", words, effect, (Param("link", OBJ, kinds),), loop=True, done=done)
