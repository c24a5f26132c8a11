"""Routes that lead through programs: of a device, which must be switched on, known by an address.

A route belongs to the device that it leads to: it goes when somebody deletes it, when the device is
switched off, or with the device. (net/ipv4/fib_frontend.c, fib_semantics.c, net/core/lwt_bpf.c)
"""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Guard, Param, Step, StepError
from ..values import NONE, OBJ, And, Or, Value, eq, ne
from .attachments import unrecord
from .links import not_freed
from .networks import near
from .registry import nothing, step


def _in_sight(f: Frame, k: View, e: Env, device: Value) -> Value:
    """The device, or none, is in the caller's network namespace."""
    return near(k, e, device) if "net" in f.parts else True


@step("switch target {way}", part="routes")
def _switch(f: Frame, way: str) -> Step:
    """The device is `on` or `off` from now on; routes only lead to one that is on.
    (dev_change_flags: net/core/dev.c)"""
    if way not in ("on", "off"):
        raise StepError(f"switch target: on or off, not `{way}`")

    def effect(k: View, e: Env) -> None:
        k.set(s.UP, (f.target(k, e),), way == "on")

    return Step(f"switch target {way}", f"switches the device {way}", effect)


@step("expect target on", part="routes")
def _expect_on(f: Frame, errno: str) -> Step:
    """The device is switched on, else the errno. (fib_check_nh_v4_gw: net/ipv4/fib_semantics.c)"""
    check = Check(errno, lambda k, e: eq(k.get(s.UP, f.target(k, e)), True))
    return Step("expect target on", "looks whether the device is on", nothing, checks=(check,))


@step("copy {reg} named {arg} from target or none")
def _copy(f: Frame, reg: str, arg: str) -> Step:
    """An uncounted pointer to an attachment in the hook's list, by its number: it is there as long
    as the lock is held. ENOENT: there is none of that number. Where another target that the caller
    sees has it, the call waits for ever: the kernel would move it. (fib_table_insert)"""

    def elsewhere(k: View, e: Env) -> Value:
        at = k.get(s.LISTED, e[arg])
        return And(ne(at, NONE), ne(at, f.target(k, e)), _in_sight(f, k, e, at))

    def effect(k: View, e: Env) -> None:
        k.set(f.reg(reg), (e["me"],), e[arg])

    here = Check("ENOENT", lambda k, e: eq(k.get(s.LISTED, e[arg]), f.target(k, e)))
    text, kind = f"copy {reg} named {arg} from target or none", f.args[arg]
    return Step(
        text, f"finds {{{arg}}} in the hook's list", effect, (Param(arg, OBJ, kind),),
        lambda k, e: eq(elsewhere(k, e), False), (here,), {reg: "full"}, (kind,),
    )  # fmt: skip


@step("take {reg} named {arg} from its target")
def _take(f: Frame, reg: str, arg: str) -> Step:
    """The attachment of that number leaves its list, wherever that is; the local holds it. One
    step, under the lock of where it is. ESRCH: the caller sees none of that number.
    (fib_table_delete: net/ipv4/fib_trie.c)"""
    at: Guard = lambda k, e: k.get(s.LISTED, e[arg])  # noqa: E731

    def seen(k: View, e: Env) -> Value:
        return And(ne(at(k, e), NONE), _in_sight(f, k, e, at(k, e)))

    def effect(k: View, e: Env) -> None:
        unrecord(f, k, e, e[arg], reg)

    text, kind = f"take {reg} named {arg} from its target", f.args[arg]
    words = f"takes {{{arg}}} out of the list that it is in; no new event runs it"
    return Step(
        text, words, effect, (Param(arg, OBJ, kind),),
        lambda k, e: Or(eq(at(k, e), NONE), k.unlocked(at(k, e))),
        (Check("ESRCH", seen),), {reg: "full"}, (kind,), first=not_freed(at),
    )  # fmt: skip
