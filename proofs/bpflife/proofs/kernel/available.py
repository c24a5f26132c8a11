"""Whether this machine lets us run experiments on its kernel, and if not, why."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from bpflife.proofs.kernel import bpf, btf, cgroups, events, libc
from bpflife.proofs.kernel.refs import Refs
from bpflife.proofs.kernel.world import RefusedError, World

_Call: TypeAlias = tuple[str, dict[str, Any]]  # a command of an actor, and its arguments

_NEEDS_ROOT = "needs root or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN"


def why_not() -> str | None:
    """None if bpf(2), iterators, BTF, mount namespaces and cgroup2 all work for us.

    Otherwise one short sentence that names what is refused. It tries them for real, in an own
    world that it removes (about 0.2 s the first time), and never raises.
    """
    checks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("bpf(2)", _map),
        (f"BTF ({btf.PATH})", btf.vmlinux),
        ("cgroup2", cgroups.top),
        ("reading reference counts by BPF iterators", _read),
        ("an own world", _attach),
    )
    for what, check in checks:
        try:
            check()
        except RefusedError as refused:
            return _sentence(refused.what, refused)
        except Exception as refused:  # whatever it is, the answer is that it doesn't work
            return _sentence(what, refused)
    return None


def lacking(command: str) -> str:
    """What this machine lacks for one of the runner's commands, in words; "" where it has all."""
    return NEEDS[command]() if command in NEEDS else ""


def no_file(path: str, option: str) -> Callable[[], str]:
    """A check whether a file is there that a kernel with this option has."""
    return lambda: "" if os.path.exists(path) else f"{path} is not there ({option})"


def tried(what: str, option: str, *calls: _Call) -> Callable[[], str]:
    """A check that tries some commands for real, in an own world, the first time it is asked.

    The first descriptor that they make is 3; the target "" is a cgroup.
    """

    @functools.cache
    def check() -> str:
        with World() as world:
            actor, cgroup = world.actor("try"), world.cgroup_make("try")
            for command, arguments in calls:
                own = {"target": cgroup} if arguments.get("target") == "" else {}
                if refused := actor.call(command, **{**arguments, **own}).errno:
                    return f"{what} are refused: {refused} ({option})"
        return ""

    return check


_VETH: Final = ("make_veth", {"target": "left", "peer": "right"})
_UP: Final = ("switch_device", {"target": "left", "on": True})
_ROUTE: Final = ("route_add", {"target": "left", "to": "10.0.0.1", "lwt_xmit": 3})
_CGROUP: Final = {"target": "", "fd": 3, "attach_type": "cgroup_inet_egress", "before": 0}


def _load(type: str, attach_type: str | int = 0) -> _Call:
    return "prog_load", {"type": type, "attach_type": attach_type}


def _on_device(command: str) -> _Call:
    return command, {"target": "left", "fd": 3}


_TCX: Final = tried(
    "programs at tcx", "Linux 6.6", _load("sched_cls"), _VETH, _on_device("tcx_link")
)
NEEDS: dict[str, Callable[[], str]] = {
    "open_tap": no_file(libc.TAP_DRIVER, "CONFIG_TUN"),
    "make_veth": tried("veth devices", "CONFIG_VETH", _VETH),
    "uprobe_open": no_file(events.UPROBES, "CONFIG_UPROBES"),
    "uprobe_multi_link": tried(
        "links to uprobes", "CONFIG_UPROBES, Linux 6.6", _load("kprobe", "trace_uprobe_multi"),
        ("uprobe_multi_link", {"fd": 3}),
    ),
    "tracepoint_open": events.lacking,
    "tracing_link": tried(
        "programs for tracepoints with BTF", "Linux 5.19",
        ("prog_load", {"type": "tracing", "attach_type": "trace_raw_tp",
                       "target": events.QUIET_TRACEPOINT}),
        ("tracing_link", {"fd": 3}),
    ),
    "perf_link": tried(
        "links to perf events", "Linux 5.15", _load("perf_event"), ("perf_event_open", {}),
        ("perf_link", {"event": 4, "fd": 3}),
    ),
    "sockmap_link": tried(
        "links to sockmaps", "Linux 6.10", _load("sk_skb"), ("map_create", {"type": "sockmap"}),
        ("sockmap_link", {"map": 4, "prog": 3, "attach_type": "sk_skb_verdict"}),
    ),
    "tcx_attach": _TCX,
    "tcx_link": _TCX,
    "xdp_link": tried(
        "XDP links", "Linux 5.9", _load("xdp"), _VETH, _on_device("xdp_link")
    ),
    "make_clsact": tried(
        "clsact disciplines", "CONFIG_NET_SCH_INGRESS", _VETH, ("make_clsact", {"target": "left"})
    ),
    "filter_add": tried(
        "programs as filters", "CONFIG_NET_CLS_BPF", _load("sched_cls"), _VETH,
        ("make_clsact", {"target": "left"}), _on_device("filter_add"),
    ),
    "route_add": tried(
        "programs of routes", "CONFIG_LWTUNNEL_BPF", _load("lwt_xmit"), _VETH, _UP, _ROUTE
    ),
    "netns_link": tried(
        "links to network namespaces", "Linux 5.9", _load("sk_lookup", "sk_lookup"),
        ("netns_link", {"fd": 3}),
    ),
    "netfilter_link": tried(
        "links to netfilter", "CONFIG_NETFILTER_BPF_LINK", _load("netfilter", "netfilter"),
        ("netfilter_link", {"fd": 3}),
    ),
    "cgroup_order": tried(  # no command: what prog_attach and link_create take for it
        "programs of cgroups in an order", "Linux 6.17", _load("cgroup_skb"),
        ("link_create", _CGROUP),
    ),
}  # fmt: skip


def _map() -> None:
    os.close(bpf.map_create("array"))


def _read() -> None:
    with Refs() as refs:
        refs.snapshot(fds=True)


def _attach() -> None:
    """Attach a program in a world and read it back."""
    with World() as world:
        cgroup = world.cgroup_make("try")
        actor = world.actor("try")
        for command, arguments in (
            ("prog_load", {}),
            ("pin", {"fd": 3, "path": world.pin_path("try")}),
            ("prog_attach", {"target": cgroup, "fd": 3, "attach_type": "cgroup_inet_egress"}),
        ):
            reply = actor.call(command, **arguments)
            if reply.errno is not None:
                raise RefusedError(command, getattr(errno, reply.errno, 0))
        if len(world.attached("try", "cgroup_inet_egress")) != 1:
            raise RefusedError("BPF_PROG_QUERY", 0)


def _sentence(what: str, refused: Exception) -> str:
    number = refused.errno if isinstance(refused, OSError) else None
    if not number:
        return f"{what} doesn't work here: {refused or type(refused).__name__}".splitlines()[0]
    hint = f" ({_NEEDS_ROOT})" if number in (errno.EPERM, errno.EACCES) else ""
    return f"{what} is refused here: {bpf.errno_name(number)}{hint}"
