"""Whether this machine lets us run experiments on its kernel, and if not, why."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable

from bpflife.proofs.kernel import bpf, btf, cgroups, libc
from bpflife.proofs.kernel.refs import Refs
from bpflife.proofs.kernel.world import RefusedError, World

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


@functools.cache
def _no_veth() -> str:
    """Tried for real, in an own network namespace."""
    with World() as world:
        reply = world.actor("try").call("make_veth", target="left", peer="right")
    return f"veth devices are refused: {reply.errno} (CONFIG_VETH)" if reply.errno else ""


NEEDS: dict[str, Callable[[], str]] = {
    "open_tap": no_file(libc.TAP_DRIVER, "CONFIG_TUN"),
    "make_veth": _no_veth,
    "uprobe_open": no_file(libc.UPROBES, "CONFIG_UPROBES"),
}


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
