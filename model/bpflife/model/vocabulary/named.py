"""Attachments that a system call names: a filter by its handle, a route by its address.

A scenario gives them names of their own, each for another handle or address. Such an attachment
stays what it is when it gets another program, as its number stays in the kernel, which makes a
new structure for the new program and frees the old one, with the old program, after a grace
period: here the call makes an attachment with the new program, exchanges the programs of both, and
lets it go. (net/sched/cls_bpf.c:cls_bpf_change, net/ipv4/fib_trie.c:fib_table_insert)
"""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Param, Step
from ..values import NONE, OBJ, Value, eq, ne
from .attachments import each_goes, enlist, unrecord
from .registry import step


@step("add {reg} to target first")
def _add_first(f: Frame, reg: str) -> Step:
    """The attachment is the first in the hook's list, which takes over the local's reference: what
    is attached last runs first. (list_add_rcu: net/sched/cls_bpf.c:cls_bpf_change)"""

    def effect(k: View, e: Env) -> None:
        rec = k.get(f.reg(reg), e["me"])
        k.need(ne(rec, NONE), f"add finds a record in {reg}")
        enlist(f, k, rec, f.target(k, e), "first")
        k.set(s.RECORDED, (rec,), rec)
        k.set(f.reg(reg), (e["me"],), NONE)

    words = "puts it in front of the hook's list, which holds it: events run its program now"
    return Step(f"add {reg} to target first", words, effect, regs={reg: "empty"})


def _listed(f: Frame, arg: str, errno: str) -> Check:
    def holds(k: View, e: Env) -> Value:
        return eq(k.get(s.LISTED, e[arg]), f.target(k, e))

    return Check(errno, holds)


@step("copy {reg} named {arg} from target")
def _copy(f: Frame, reg: str, arg: str) -> Step:
    """An uncounted pointer to an attachment in the hook's list, by its number: it is there as long
    as the lock is held. ENOENT: there is none. (cls_bpf_get: net/sched/cls_bpf.c)"""

    def effect(k: View, e: Env) -> None:
        k.set(f.reg(reg), (e["me"],), e[arg])

    text, kind = f"copy {reg} named {arg} from target", f.args[arg]
    return Step(
        text, f"finds {{{arg}}} in the hook's list", effect, (Param(arg, OBJ, kind),),
        checks=(_listed(f, arg, "ENOENT"),), regs={reg: "full"}, kinds=(kind,),
    )  # fmt: skip


@step("take {reg} named {arg} from target")
def _take(f: Frame, reg: str, arg: str) -> Step:
    """The attachment of that number leaves the hook's list; the local holds it. ENOENT: there is
    none. (cls_bpf_delete: net/sched/cls_bpf.c)"""

    def effect(k: View, e: Env) -> None:
        unrecord(f, k, e, e[arg], reg)

    text, kind = f"take {reg} named {arg} from target", f.args[arg]
    words = f"takes {{{arg}}} out of the hook's list; no new event runs it"
    return Step(
        text, words, effect, (Param(arg, OBJ, kind),), checks=(_listed(f, arg, "ENOENT"),),
        regs={reg: "full"}, kinds=(kind,),
    )  # fmt: skip


@step("exchange programs of {link} and {other}")
def _exchange(f: Frame, link: str, other: str) -> Step:
    """Two attachments change programs in one store: an event runs the old one or the new one. No
    count changes. (list_replace_rcu: net/sched/cls_bpf.c)"""

    def effect(k: View, e: Env) -> None:
        a, b = (k.get(f.reg(name), e["me"]) for name in (link, other))
        old, new = k.get(s.LINK_PROG, a), k.get(s.LINK_PROG, b)
        k.need(ne(new, NONE), f"exchange finds a program in {other}")
        k.set(s.LINK_PROG, (a,), new)
        k.set(s.LINK_PROG, (b,), old)

    words = f"swaps its program for that of {{{other}}}, which holds the old one now"
    return Step(f"exchange programs of {link} and {other}", words, effect)


@step("empty target of {kind}")
def _empty(f: Frame, kind: str) -> Step:
    """One attachment of a kind after the other leaves the hook's list, which held it.
    (fib_table_flush: net/ipv4/fib_trie.c; tcf_chain_flush: net/sched/cls_api.c)"""
    return each_goes(f, f"empty target of {kind}", "an attachment in its list goes", kind)
