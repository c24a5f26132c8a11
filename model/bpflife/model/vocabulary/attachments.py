"""Attachments that are objects: a hook's list of them, its order, and their programs.

A hook with room for several programs has a list. What stands in it is an object of its own, which
holds its program from its birth until it is freed (`link_prog`, counted): a *link*, which open
files and pins hold (links.py), or a *record*, which is held by standing in the list (`recorded`, a
slot that only ever holds its own owner) and which nobody else knows: the `bpf_prog_list` of a
cgroup, an entry of a `bpf_mprog`, a filter of a qdisc. In both cases `listed` is where it is
attached: a pointer that nobody counts.

The list is ordered. `runs_before` says of two attachments which one an event runs first; it says
something of all that were ever listed, so that none of it has to be moved when one leaves.
(kernel/bpf/mprog.c, kernel/bpf/cgroup.c: struct bpf_prog_list)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Guard, Param, Step, StepError
from ..values import BOOL, LIFE, NONE, OBJ, And, If, Not, Or, Value, at_least, eq, ne, one_of, plus
from .objects import born
from .registry import nothing, step

TWICE = "looks whether the program is attached already"  # in the words of a step


def enlist(
    f: Frame, k: View, new: Value, target: Value, place: str = "last", other: Value = NONE
) -> None:
    """The attachment stands in the target's list from now on, last, beside another one, or where
    its priority says."""
    k.set(s.LISTED, (new,), target)
    _count(f, k, target, 1)
    if "order" not in f.parts:
        return

    def behind(x: Value) -> Value:  # what runs before it
        if place == "last":
            return True
        if place == "by priority":
            return _earlier(k.get(s.PRIORITY, x), k.get(s.PRIORITY, new))
        up_to = k.get(s.RUNS_BEFORE, x, other)
        return Or(up_to, eq(x, other)) if place == "after" else And(up_to, ne(x, other))

    def order(old: Value, a: Value, b: Value) -> Value:
        first = And(ne(a, new), behind(a))
        second = And(ne(b, new), Not(behind(b)))
        return If(eq(b, new), first, If(eq(a, new), second, old))

    k.each(s.RUNS_BEFORE, order)


def _earlier(a: Value, b: Value) -> Value:
    names = s.PRIORITY.range.names
    return Or(*[And(eq(b, n), one_of(a, range(n))) for n in range(1, len(names))])


def leave_list(f: Frame, k: View, attachment: Value) -> None:
    """No event runs it any more. Who held it is not asked: a link has its own holders."""
    _count(f, k, k.get(s.LISTED, attachment), -1)
    k.set(s.LISTED, (attachment,), NONE)


def unrecord(f: Frame, k: View, e: Env, rec: Value, reg: str) -> None:
    """A record leaves the list that held it; the local holds it from now on."""
    k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"take {reg} finds the local empty")
    leave_list(f, k, rec)
    k.set(s.RECORDED, (rec,), NONE)
    k.set(f.reg(reg), (e["me"],), rec)


def each_goes(f: Frame, text: str, words: str, kinds: str) -> Step:
    """One record of these kinds after the other leaves the target's list, which held it."""

    def effect(k: View, e: Env) -> None:
        rec = e["record"]
        k.when(eq(k.get(s.LISTED, rec), f.target(k, e)))
        leave_list(f, k, rec)
        f.put(k, s.RECORDED, (rec,), "record")

    def done(k: View, e: Env) -> Value:
        return k.all(OBJ, lambda x: ne(k.get(s.LISTED, x), f.target(k, e)), kinds)

    params = (Param("record", OBJ, kinds),)
    return Step(text, words, effect, params, loop=True, done=done)


def _count(f: Frame, k: View, target: Value, n: int) -> None:
    if f.listed is not None:
        k.set(f.listed, (target,), plus(k.get(f.listed, target), n))


@step("expect room for {n}")
def _expect_room(f: Frame, n: str, errno: str) -> Step:
    """The hook's list has fewer than so many attachments, else the errno. A system that does not
    count them takes both ways: what is proved then holds of lists of any length.
    (BPF_CGROUP_MAX_PROGS, bpf_mprog_max, netns_bpf_max_progs)"""
    text, words, listed = f"expect room for {n}", "looks how long the hook's list is", f.listed
    if listed is None:
        room = Check(errno, lambda k, e: Not(e["full"]))
        return Step(text, words, nothing, (Param("full", BOOL),), checks=(room,))
    counted = Check(errno, lambda k, e: Not(at_least(k.get(listed, f.target(k, e)), int(n))))
    return Step(text, words, nothing, checks=(counted,))


# ---------------------------------------------------------------------------------------------
# making one, and its program


@step("create {reg} {kind} of {prog}")
def _create(f: Frame, reg: str, kind: str, prog: str) -> Step:
    """A new link or record with refcnt 1, which the local holds; it takes over the program's
    reference. (bpf_link_init: kernel/bpf/syscall.c; kmalloc of a record)"""
    if kind not in (*f.links, *f.records):
        raise StepError(f"`{kind}` is no kind of link or record; the card's field names one")

    def effect(k: View, e: Env) -> None:
        o = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), kind)
        p = k.get(f.reg(prog), e["me"])
        k.need(ne(p, NONE), f"create {reg} finds a program in {prog}")
        born(f, k, e, o, reg)
        k.set(s.LINK_PROG, (o,), p)
        k.set(f.reg(prog), (e["me"],), NONE)

    words = f"creates {{{reg}}} with refcnt 1; it holds the program from now on"
    text, regs = f"create {reg} {kind} of {prog}", {reg: "full", prog: "empty"}
    return Step(text, words, effect, regs=regs, kinds=(kind,), makes=reg)


@step("create {reg} {kind} of {prog} holding {what}")
def _create_holding(f: Frame, reg: str, kind: str, prog: str, what: str) -> Step:
    """The same, and it takes over the reference to what it will be attached to: that can't go as
    long as the link is there. (bpf_perf_link_attach: kernel/bpf/syscall.c; bpf_nf_link_attach)"""
    made = _create(f, reg, kind, prog)

    def effect(k: View, e: Env) -> None:
        held = k.get(f.reg(what), e["me"])
        k.need(ne(held, NONE), f"create {reg} finds what to hold in {what}")
        made.effect(k, e)
        k.set(s.HOLDS, (k.get(f.reg(reg), e["me"]),), held)
        k.set(f.reg(what), (e["me"],), NONE)
        f.count_user(k, held, 1)

    text = f"{made.text} holding {what}"
    return replace(made, text=text, effect=effect, regs={**made.regs, what: "empty"})


@step("create {reg} {kind} of {prog} beside {what}")
def _create_beside(f: Frame, reg: str, kind: str, prog: str, what: str) -> Step:
    """The same, with a reference of its own: the local keeps what it holds.
    (bpf_nf_link_attach -> get_net: net/netfilter/nf_bpf_link.c)"""
    made = _create(f, reg, kind, prog)

    def effect(k: View, e: Env) -> None:
        held = k.get(f.reg(what), e["me"])
        made.effect(k, e)
        k.inc(held)
        k.set(s.HOLDS, (k.get(f.reg(reg), e["me"]),), held)
        f.count_user(k, held, 1)

    return replace(made, text=f"{made.text} beside {what}", effect=effect)


@step("share program of {link} as {reg}")
def _share(f: Frame, link: str, reg: str) -> Step:
    """A further reference to a link's program, for a hook that holds it too. (bpf_prog_inc)"""

    def effect(k: View, e: Env) -> None:
        prog = k.get(s.LINK_PROG, k.get(f.reg(link), e["me"]))
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"share finds the local {reg} empty")
        k.inc(prog)
        k.set(f.reg(reg), (e["me"],), prog)

    words, text = (
        "takes a second reference on its program: refcnt +1",
        f"share program of {link} as {reg}",
    )
    return Step(text, words, effect, regs={reg: "full"}, kinds=("prog",))


@step("swap program of {link} <-> {reg}")
def _swap(f: Frame, link: str, reg: str) -> Step:
    """The attachment's program and the local change places in one store: an event runs the old one
    or the new one. No count changes. (xchg of link->prog, replace_effective_prog)"""

    def effect(k: View, e: Env) -> None:
        o, new = k.get(f.reg(link), e["me"]), k.get(f.reg(reg), e["me"])
        k.need(ne(new, NONE), f"swap finds a program in {reg}")
        k.set(f.reg(reg), (e["me"],), k.get(s.LINK_PROG, o))
        k.set(s.LINK_PROG, (o,), new)

    words = f"swaps its program for {{{reg}}} in one store; the local holds the old one now"
    text = f"swap program of {link} <-> {reg}"
    return Step(text, words, effect, regs={reg: "full"}, kinds=("prog",))


@step("expect program of {link} == {what}")
def _expect_program(f: Frame, link: str, what: str, errno: str) -> Step:
    """The link has this local's program, else the errno."""

    def holds(k: View, e: Env) -> Value:
        program = k.get(s.LINK_PROG, k.get(f.reg(link), e["me"]))
        return eq(program, k.get(f.reg(what), e["me"]))

    text = f"expect program of {link} == {what}"
    return Step(text, "looks at the link's program", nothing, checks=(Check(errno, holds),))


# ---------------------------------------------------------------------------------------------
# the list


Fits = Callable[[View, Env, Value], Value]  # of an attachment


def program_is(f: Frame, reg: str) -> Fits:
    """It has the program of a local."""
    return lambda k, e, x: eq(k.get(s.LINK_PROG, x), k.get(f.reg(reg), e["me"]))


def _but(fits: Fits, other: Fits) -> Fits:
    return lambda k, e, x: And(fits(k, e, x), Not(other(k, e, x)))


def some(f: Frame, kinds: tuple[str, ...], fits: Fits = lambda k, e, x: True) -> Guard:
    """The first attachment of these kinds to the call's target that fits; none if there is none."""

    def found(k: View, e: Env) -> Value:
        t = f.target(k, e)
        return k.find(OBJ, lambda x: And(eq(k.get(s.LISTED, x), t), fits(k, e, x)), "|".join(kinds))

    return found


def _none_of(text: str, errno: str, kinds: tuple[str, ...], words: str, found: Guard) -> Step:
    check = Check(errno, lambda k, e: eq(found(k, e), NONE) if kinds else True)
    return Step(text, words, nothing, checks=(check,))


def _of(f: Frame, kinds: Sequence[str]) -> tuple[str, ...]:
    """Those kinds of attachment that the card's hook can have."""
    return tuple(kind for kind in f.beside if kind in kinds)


@step("expect no links", part="links_here")
def _expect_no_links(f: Frame, errno: str) -> Step:
    """No link is attached to the hook, else the errno.
    (__cgroup_bpf_attach: cgrp->bpf.flags: kernel/bpf/cgroup.c; dev_xdp_attach: net/core/dev.c)"""
    kinds, words = _of(f, f.links), "looks whether links are attached"
    return _none_of("expect no links", errno, kinds, words, some(f, kinds))


@step("expect nothing listed", part="listed_here")
def _expect_nothing_listed(f: Frame, errno: str) -> Step:
    """Nothing stands in the hook's list, else the errno: it is for several, and then a program in
    a place of its own has no place. (__cgroup_bpf_attach: cgrp->bpf.flags: kernel/bpf/cgroup.c)"""
    words = "looks whether the hook has a list of programs"
    kinds = tuple(f.beside)
    return _none_of("expect nothing listed", errno, kinds, words, some(f, kinds))


@step("expect no program", part="mixed")
def _expect_no_program(f: Frame, errno: str) -> Step:
    """The target has no program of its own, else the errno. (__cgroup_bpf_attach: cgroup.c)"""

    def holds(k: View, e: Env) -> Value:
        return eq(k.get(f.entry, f.target(k, e)), NONE) if f.has_entry else True

    words = "looks whether the hook has a program of its own"
    return Step("expect no program", words, nothing, checks=(Check(errno, holds),))


@step("expect no record of {reg}")
def _expect_no_record(f: Frame, reg: str, errno: str) -> Step:
    """The hook's list has no record of this local's program, else the errno.
    (find_attach_entry: kernel/bpf/cgroup.c)"""
    kinds, text = _of(f, f.records), f"expect no record of {reg}"
    return _none_of(text, errno, kinds, TWICE, some(f, kinds, program_is(f, reg)))


@step("expect no other record of {reg} than {exp}")
def _expect_no_other_record(f: Frame, reg: str, exp: str, errno: str) -> Step:
    """The same, but for the record that is to be replaced.
    (find_attach_entry: kernel/bpf/cgroup.c)"""
    kinds, text = _of(f, f.records), f"expect no other record of {reg} than {exp}"
    other = _but(program_is(f, reg), program_is(f, exp))
    return _none_of(text, errno, kinds, TWICE, some(f, kinds, other))


@step("expect no attachment of {reg}")
def _expect_no_attachment(f: Frame, reg: str, errno: str) -> Step:
    """Nothing in the hook's list, record or link, is of this local's program, else the errno.
    (bpf_mprog_exists: include/linux/bpf_mprog.h)"""
    kinds, text = tuple(f.beside), f"expect no attachment of {reg}"
    return _none_of(text, errno, kinds, TWICE, some(f, kinds, program_is(f, reg)))


@step("expect no attachment like {link}")
def _expect_no_attachment_like(f: Frame, link: str, errno: str) -> Step:
    """The same, of the program of a link, which stands in no list yet."""

    def twin(k: View, e: Env, x: Value) -> Value:
        return eq(k.get(s.LINK_PROG, x), k.get(s.LINK_PROG, k.get(f.reg(link), e["me"])))

    kinds, text = tuple(f.beside), f"expect no attachment like {link}"
    return _none_of(text, errno, kinds, TWICE, some(f, kinds, twin))


@step("expect no attachment of {reg} but {link}")
def _expect_no_attachment_but(f: Frame, reg: str, link: str, errno: str) -> Step:
    """The same, where this link may have the program already.
    (tcx_link_update: kernel/bpf/tcx.c)"""

    def own(k: View, e: Env, x: Value) -> Value:
        return eq(x, k.get(f.reg(link), e["me"]))

    kinds, text = tuple(f.beside), f"expect no attachment of {reg} but {link}"
    other = _but(program_is(f, reg), own)
    return _none_of(text, errno, kinds, TWICE, some(f, kinds, other))


@step("expect no link of {reg}", part="mixed")
def _expect_no_link_of(f: Frame, reg: str, errno: str) -> Step:
    """No link in the hook's list has this local's program, else the errno: it is the link's alone.
    (bpf_mprog_pos_exact: kernel/bpf/mprog.c)"""
    kinds, text = _of(f, f.links), f"expect no link of {reg}"
    words = "looks whether the program is that of a link"
    return _none_of(text, errno, kinds, words, some(f, kinds, program_is(f, reg)))


def _only(f: Frame, errno: str, found: Guard) -> Check:
    return Check(errno, lambda k, e: ne(found(k, e), NONE))


@step("expect {reg} if listed")
def _expect_if_listed(f: Frame, reg: str, errno: str) -> Step:
    """If anything stands in the hook's list, the caller has to say what it is about: the local is
    not empty, else the errno. (find_detach_entry: kernel/bpf/cgroup.c)"""
    found = some(f, tuple(f.beside))

    def holds(k: View, e: Env) -> Value:
        return Or(ne(k.get(f.reg(reg), e["me"]), NONE), eq(found(k, e), NONE))

    words = "looks whether it is said which one is meant"
    return Step(f"expect {reg} if listed", words, nothing, checks=(Check(errno, holds),))


@step("copy {reg} of {exp} from target")
def _copy(f: Frame, reg: str, exp: str) -> Step:
    """An uncounted pointer to the record of this local's program in the hook's list: it is there as
    long as the lock is held. ENOENT: there is none. (find_attach_entry: kernel/bpf/cgroup.c)"""
    return _copied(f, f"copy {reg} of {exp} from target", reg, exp, _of(f, f.records))


@step("copy {reg} of any {exp} from target")
def _copy_any(f: Frame, reg: str, exp: str) -> Step:
    """The same, where a link of that program will do too. ENOENT: there is neither.
    (bpf_mprog_pos_before, bpf_mprog_pos_after: kernel/bpf/mprog.c)"""
    return _copied(f, f"copy {reg} of any {exp} from target", reg, exp, tuple(f.beside))


def _copied(f: Frame, text: str, reg: str, exp: str, kinds: tuple[str, ...]) -> Step:
    found = some(f, kinds, program_is(f, exp))

    def effect(k: View, e: Env) -> None:
        k.set(f.reg(reg), (e["me"],), found(k, e))

    words, regs = f"finds {{{exp}}} in the hook's list", {reg: "full"}
    return Step(text, words, effect, (), None, (_only(f, "ENOENT", found),), regs, kinds)


# ---------------------------------------------------------------------------------------------
# records come and go


def _add(f: Frame, text: str, reg: str, place: str, other: Guard) -> Step:
    def effect(k: View, e: Env) -> None:
        rec = k.get(f.reg(reg), e["me"])
        k.need(ne(rec, NONE), f"add finds a record in {reg}")
        enlist(f, k, rec, f.target(k, e), place, other(k, e))
        k.set(s.RECORDED, (rec,), rec)
        k.set(f.reg(reg), (e["me"],), NONE)

    words = "puts the record into the hook's list, which holds it: events run its program now"
    return Step(text, words, effect, regs={reg: "empty"})


@step("add {reg} to target")
def _add_last(f: Frame, reg: str) -> Step:
    """The record is the last in the hook's list, which takes over the local's reference: events run
    its program from now on. (hlist_add_behind: kernel/bpf/cgroup.c; bpf_mprog_insert)"""
    return _add(f, f"add {reg} to target", reg, "last", lambda k, e: NONE)


@step("add {reg} to target before {other}")
def _add_before(f: Frame, reg: str, other: str) -> Step:
    """The same, just before the other local's attachment.
    (BPF_F_BEFORE: kernel/bpf/mprog.c, kernel/bpf/cgroup.c:insert_pl_to_hlist)"""
    text = f"add {reg} to target before {other}"
    return _add(f, text, reg, "before", lambda k, e: k.get(f.reg(other), e["me"]))


@step("add {reg} to target after {other}")
def _add_after(f: Frame, reg: str, other: str) -> Step:
    """The same, just after the other local's attachment. (BPF_F_AFTER)"""
    text = f"add {reg} to target after {other}"
    return _add(f, text, reg, "after", lambda k, e: k.get(f.reg(other), e["me"]))


@step("take {reg} of {exp} from target")
def _take(f: Frame, reg: str, exp: str) -> Step:
    """The record of this local's program leaves the hook's list; the local holds it.
    ENOENT: there is none. A hook that has a program in its own entry gives that one in any case.
    (find_detach_entry, __cgroup_bpf_detach: kernel/bpf/cgroup.c; bpf_mprog_delete)"""
    of_list, shared = some(f, _of(f, f.records), program_is(f, exp)), f.has_entry

    def entry(k: View, e: Env) -> Value:
        return k.get(f.entry, f.target(k, e)) if shared else NONE

    def found(k: View, e: Env) -> Value:
        return If(ne(entry(k, e), NONE), entry(k, e), of_list(k, e), OBJ)

    def effect(k: View, e: Env) -> None:
        rec, own = of_list(k, e), entry(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"take {reg} finds the local empty")
        listed = If(ne(own, NONE), NONE, rec, OBJ)
        leave_list(f, k, listed)
        k.set(s.RECORDED, (listed,), NONE)
        k.set(f.reg(reg), (e["me"],), If(ne(own, NONE), own, rec, OBJ))
        if shared:
            k.set(f.entry, (f.target(k, e),), NONE)

    words = f"takes the record of {{{exp}}} out of the hook's list; no new event runs it"
    text, regs = f"take {reg} of {exp} from target", {reg: "full"}
    checks, kinds = (_only(f, "ENOENT", found),), _of(f, f.records)
    return Step(text, words, effect, (), None, checks, regs, (*kinds, "prog") if shared else kinds)


@step("take last {reg} from target")
def _take_last(f: Frame, reg: str) -> Step:
    """The last of the hook's list leaves it; the local holds it. ENOENT: there is none. EBUSY: it
    is a link. (Which one is the last is not asked where the system has no order of attachments.)
    (bpf_mprog_fetch: kernel/bpf/mprog.c)"""
    kinds = _of(f, f.records)
    at_end, record = some(f, tuple(f.beside), _last(f)), some(f, kinds, _last(f))
    is_record = Check("EBUSY", lambda k, e: k.kind(at_end(k, e), *kinds))

    def effect(k: View, e: Env) -> None:
        rec = record(k, e)
        k.need(ne(rec, NONE), "what is last and no link is a record")
        unrecord(f, k, e, rec, reg)

    words, text = "takes the last record out of the hook's list", f"take last {reg} from target"
    checks = (_only(f, "ENOENT", at_end), is_record)
    return Step(text, words, effect, (), None, checks, {reg: "full"}, kinds)


def _last(f: Frame) -> Fits:
    """Nothing of its list runs after it."""

    def fits(k: View, e: Env, x: Value) -> Value:
        t, kinds = f.target(k, e), "|".join(f.beside)
        if "order" not in f.parts:
            return True
        return k.all(
            OBJ, lambda y: Or(ne(k.get(s.LISTED, y), t), Not(k.get(s.RUNS_BEFORE, x, y))), kinds
        )

    return fits


@step("drop records")
def _drop_records(f: Frame) -> Step:
    """The dying target lets one record after the other go, which are theirs alone.
    (cgroup_bpf_release: kernel/bpf/cgroup.c; tcx_uninstall: kernel/bpf/tcx.c)"""
    kinds = tuple(kind for kind in f.on_own if kind in f.records)
    if f.own not in f.targets or not kinds:
        raise StepError("`drop records` is a step of on_target_death, of a card with records")

    return each_goes(f, "drop records", "a record that stood in its list goes", "|".join(kinds))
