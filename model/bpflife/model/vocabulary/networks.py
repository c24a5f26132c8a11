"""Network namespaces and their devices.

A namespace is held by the processes in it, by open files of it and by the sockets that were made in
it. A device is held by its name (it is registered): until somebody deletes it, or its namespace
ends. The devices of a pair (veth) go together; a tap device goes with its open file, which can
make another one when the device was deleted. Nobody holds the world's first namespace, which is no
object here.
"""

from __future__ import annotations

from .. import state as s
from ..state import View
from ..steps import Check, Env, Frame, Param, Step
from ..values import IDX, LIFE, NONE, OBJ, PROC, RUN, And, Not, Value, eq, ne
from .registry import step


def join_net(k: View, o: Value, net: Value) -> None:
    """A new socket holds its network namespace, unless that is the world's first."""
    k.inc(net, unless=eq(net, NONE))
    k.set(s.SK_NET, (o,), net)


def net_of(k: View, e: Env) -> Value:
    """The caller's network namespace."""
    return k.get(s.NET, k.get(s.PROC_OF, e["me"]))


@step("swap network <-> {reg}")
def _swap(f: Frame, reg: str) -> Step:
    """The process is in the other network namespace; the local holds the one that it was in, unless
    that was the world's. (switch_task_namespaces: kernel/nsproxy.c)"""

    def effect(k: View, e: Env) -> None:
        p, new = k.get(s.PROC_OF, e["me"]), k.get(f.reg(reg), e["me"])
        k.set(f.reg(reg), (e["me"],), k.get(s.NET, p))
        k.set(s.NET, (p,), new)

    text, regs = f"swap network <-> {reg}", {reg: "maybe"}
    return Step(text, "is in another network namespace", effect, regs=regs, kinds=("netns",))


@step("get {reg} from own network")
def _get_own(f: Frame, reg: str) -> Step:
    """The call works on the network namespace that the caller is in; it waits where that is the
    world's first, which is no object here. In the kernel a namespace belongs to the thread, which
    does nothing else meanwhile; here to the process, so the call takes a reference of its own.
    (netns_bpf_prog_attach: kernel/bpf/net_namespace.c)"""

    def effect(k: View, e: Env) -> None:
        net = net_of(k, e)
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(net)
        k.set(f.reg(reg), (e["me"],), net)
        k.set(s.TARGET, (e["me"],), net)

    text, words = f"get {reg} from own network", "works on the network namespace that it is in"
    return Step(
        text, words, effect, waits=lambda k, e: ne(net_of(k, e), NONE), regs={reg: "full"},
        kinds=("netns",), target="netns",
    )  # fmt: skip


@step("get {reg} from network of {process}")
def _get_theirs(f: Frame, reg: str, process: str) -> Step:
    """A counted reference to the network namespace of a process; it waits where that is the world's
    first. ENOENT: the process has exited. (ns_get_path, netns_get: fs/nsfs.c)"""
    alive = Check("ENOENT", lambda k, e: eq(k.get(s.RUN_OF, e[process]), RUN.running))

    def effect(k: View, e: Env) -> None:
        net = k.get(s.NET, e[process])
        k.when(ne(net, NONE))
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"get {reg} finds the local empty")
        k.inc(net)
        k.set(f.reg(reg), (e["me"],), net)

    words, params = f"takes a reference on {{{reg}}}: refcnt +1", (Param(process, PROC),)
    text, regs = f"get {reg} from network of {process}", {reg: "full"}
    return Step(text, words, effect, params, None, (alive,), regs, ("netns",))


# ---------------------------------------------------------------------------------------------
# devices


@step("register two {kind}")
def _pair(f: Frame, kind: str) -> Step:
    """Two new devices, which are the ends of one cable, in the caller's network namespace. Their
    names keep them. One step, under the lock of all devices. (veth_newlink: drivers/net/veth.c)"""

    def effect(k: View, e: Env) -> None:
        one = _registered(f, k, net_of(k, e), kind)
        two = _registered(f, k, net_of(k, e), kind)
        _join(k, one, two)

    return Step(f"register two {kind}", "makes two devices; their names keep them", effect)


@step("register {kind} of {file}")
def _of_tap(f: Frame, kind: str, file: str) -> Step:
    """A new device, in the network namespace where the file was opened. EEXIST: it has one.
    (__tun_chr_ioctl, tun_set_iff: drivers/net/tun.c)"""

    def tap(k: View, e: Env) -> Value:
        return k.get(s.FILE_OBJ, k.get(f.reg(file), e["me"]))

    def effect(k: View, e: Env) -> None:
        _join(k, _registered(f, k, k.get(s.SK_NET, tap(k, e)), kind), tap(k, e))

    free = Check("EEXIST", lambda k, e: eq(k.get(s.CABLE, tap(k, e)), NONE))
    words = "makes a device; its name keeps it"
    return Step(f"register {kind} of {file}", words, effect, checks=(free,))


def _join(k: View, one: Value, two: Value) -> None:
    k.set(s.CABLE, (one,), two)
    k.set(s.CABLE, (two,), one)


def _registered(f: Frame, k: View, net: Value, kind: str) -> Value:
    """(register_netdevice: net/core/dev.c)"""
    o = k.lowest(OBJ, lambda x: eq(k.get(s.LIFE_OF, x), LIFE.unborn), kind)
    k.set(s.LIFE_OF, (o,), LIFE.live)
    k.set(s.REFCNT, (o,), 1)
    k.set(f.dir, (o,), o)
    k.set(s.ND_NET, (o,), net)
    return o


@step("unregister {device} -> {reg}")
def _unregister(f: Frame, device: str, reg: str) -> Step:
    """The device has no name any more; the local holds its reference. ENODEV: there is none of that
    name in the caller's network namespace. (rtnl_dellink: net/core/rtnetlink.c)"""
    there = Check("ENODEV", lambda k, e: And(f.there(k, e[device]), near(k, e, e[device])))

    def effect(k: View, e: Env) -> None:
        k.need(eq(k.get(f.reg(reg), e["me"]), NONE), f"unregister finds the local {reg} empty")
        k.set(f.reg(reg), (e["me"],), k.get(f.dir, e[device]))
        k.set(f.dir, (e[device],), NONE)

    words, params = "unregisters the device", (Param(device, OBJ, f.args[device]),)
    text, regs = f"unregister {device} -> {reg}", {reg: "full"}
    return Step(text, words, effect, params, None, (there,), regs, (f.args[device],))


def near(k: View, e: Env, device: Value) -> Value:
    """The caller sees the device by its name. (__dev_get_by_name: net/core/dev.c)"""
    return eq(k.get(s.ND_NET, device), net_of(k, e))


@step("unregister peer")
def _unregister_peer(f: Frame) -> Step:
    """A device goes with its other end, unless it went first; a tap's open file only has none any
    more. (veth_dellink: drivers/net/veth.c; tun_chr_close, tun_net_uninit: drivers/net/tun.c)"""

    def effect(k: View, e: Env) -> None:
        me = e["me"]
        peer = k.get(s.CABLE, me)
        f.drop(k, k.get(f.dir, peer), maybe=True)
        k.set(f.dir, (peer,), NONE)
        k.set(s.CABLE, (peer,), NONE)
        k.set(s.CABLE, (me,), NONE)

    words = "the device at the other end goes with it, if it is still there"
    return Step("unregister peer", words, effect)


@step("leave network")
def _leave_network(f: Frame) -> Step:
    """The device is in no namespace any more. (unlist_netdevice: net/core/dev.c)"""

    def effect(k: View, e: Env) -> None:
        k.set(s.ND_NET, (e["me"],), NONE)

    return Step("leave network", "is in no network namespace any more", effect)


# ---------------------------------------------------------------------------------------------
# the end of a namespace


@step("unregister all {kind}")
def _unregister_all(f: Frame, kind: str) -> Step:
    """A device of the namespace that nobody holds any more goes with it.
    (cleanup_net -> default_device_exit_batch: net/core/dev.c)"""

    def mine(k: View, e: Env, o: Value) -> Value:
        return And(eq(k.get(s.ND_NET, o), e["me"]), ne(k.get(f.dir, o), NONE))

    def effect(k: View, e: Env) -> None:
        k.when(mine(k, e, e["device"]))
        f.put(k, f.dir, (e["device"],), "device")

    def done(k: View, e: Env) -> Value:
        return k.all(OBJ, lambda o: Not(mine(k, e, o)), kind)

    words, params = "a device in it is unregistered", (Param("device", OBJ, kind),)
    return Step(f"unregister all {kind}", words, effect, params, loop=True, done=done)


@step("forget elements of all maps", part="maps")
def _forget(f: Frame) -> Step:
    """An element of a devmap goes with the device that it redirects to: the loopback device, of the
    namespace that ends. (dev_map_notification: kernel/bpf/devmap.c)"""

    def mine(k: View, e: Env, m: Value, i: Value) -> Value:
        return eq(k.get(s.VIA, m, i), e["me"])

    def effect(k: View, e: Env) -> None:
        place = (e["m"], e["i"])
        k.when(mine(k, e, *place))
        f.drop(k, k.get(s.ELEM, *place), maybe=True)
        k.set(s.ELEM, place, NONE)
        k.set(s.VIA, place, NONE)

    def done(k: View, e: Env) -> Value:
        return k.all(OBJ, lambda m: k.all(IDX, lambda i: Not(mine(k, e, m, i))), "map")

    words, params = (
        "an element that redirects to it goes",
        (Param("m", OBJ, "map"), Param("i", IDX)),
    )
    text = "forget elements of all maps"
    return Step(text, words, effect, params, loop=True, done=done)
