"""Commands that attach programs to network devices, and to the routes that lead to them."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from bpflife.proofs.kernel import bpf, filters, netlink, routes
from bpflife.proofs.kernel.order import order
from bpflife.proofs.kernel.results import Result, opened

# ---------------------------------------------------------------------------------------------
# tcx: programs in an order, and links


def tcx_attach(target: str, fd: int, direction: str = "ingress", **options: Any) -> Result:
    """Attach a program to a direction of a device; `options` as in order.py.

    (kernel/bpf/tcx.c:tcx_prog_attach)
    """
    place = order(**options)._asdict()
    bpf.prog_attach(netlink.index(target), fd, f"tcx_{direction}", **place)
    return Result()


def tcx_detach(
    target: str, direction: str = "ingress", fd: int | None = None, **options: Any
) -> Result:
    """Detach a program from a direction of a device, or the one that `options` lead to.

    (kernel/bpf/tcx.c:tcx_prog_detach)
    """
    place = order(**options)
    bpf.prog_detach(
        netlink.index(target), fd or 0, f"tcx_{direction}", place.flags,
        relative=place.relative, revision=place.revision,
    )  # fmt: skip
    return Result()


def tcx_link(target: str, fd: int, direction: str = "ingress", **options: Any) -> Result:
    """Attach a program to a direction of a device by a link: its descriptor and id.

    (kernel/bpf/tcx.c:tcx_link_attach)
    """
    place = order(**options)
    index, kind = netlink.index(target), f"tcx_{direction}"
    return opened(bpf.link_create(fd, index, kind, place.flags, place.of_link()))


def tcx_attached(target: str, direction: str = "ingress") -> Result:
    """What is attached to a direction of a device; the hook's "revision" among `named`.

    (kernel/bpf/tcx.c:tcx_prog_query)
    """
    found = bpf.prog_query(netlink.index(target), f"tcx_{direction}")
    attached = tuple(zip(found.prog_ids, found.link_ids, strict=True))
    return Result(attached=attached, named=(("revision", found.revision),))


# ---------------------------------------------------------------------------------------------
# xdp: a link (by netlink: commands_networks.py)


def xdp_link(target: str, fd: int, mode: str = "skb") -> Result:
    """Attach an XDP program to a device by a link: its descriptor and id. `mode` as in xdp_set.

    (net/core/dev.c:bpf_xdp_link_attach)
    """
    return opened(bpf.link_create(fd, netlink.index(target), "xdp", netlink.XDP_MODES[mode]))


# ---------------------------------------------------------------------------------------------
# tc: filters of a queueing discipline


def make_clsact(target: str) -> Result:
    """Give a device the queueing discipline that filters need.

    (net/sched/sch_api.c:tc_modify_qdisc)
    """
    filters.make_clsact(target)
    return Result()


def delete_clsact(target: str) -> Result:
    """Take a device's queueing discipline away, with all filters.

    (net/sched/sch_api.c:tc_get_qdisc)
    """
    filters.delete_clsact(target)
    return Result()


def clsacts() -> Result:
    """The devices that have one, each with 1."""
    return Result(named=tuple((device, 1) for device in filters.with_clsact()))


def filter_add(
    target: str,
    fd: int,
    direction: str = "ingress",
    prio: int = 1,
    handle: int = 0,
    how: str = "add",
) -> Result:
    """Make a program a filter of a device: "add" one, "replace" the one of this handle if it is
    there, or "change" it. Without a handle the kernel gives a new one.

    (net/sched/cls_api.c:tc_new_tfilter, cls_bpf.c:cls_bpf_change)
    """
    filters.add(target, direction, prio, handle, fd, how)
    return Result()


def filter_delete(
    target: str, direction: str = "ingress", prio: int = 0, handle: int = 0
) -> Result:
    """Delete a filter; without a handle all of a priority, and without one all of a direction.

    (net/sched/cls_api.c:tc_del_tfilter)
    """
    filters.delete(target, direction, prio, handle)
    return Result()


def filters_attached(target: str, direction: str = "ingress") -> Result:
    """The programs that are filters of a direction: id, 0, priority and handle."""
    found = filters.filters(target, direction)
    return Result(attached=tuple((one.prog_id, 0, one.prio, one.handle) for one in found))


# ---------------------------------------------------------------------------------------------
# lwt: routes through programs


def switch_device(target: str, on: bool) -> Result:
    """Switch a device on, so that routes may lead to it, or off, which deletes those.

    (net/ipv4/fib_frontend.c:fib_netdev_event)
    """
    netlink.switch(target, on)
    return Result()


def route_add(
    to: routes.Address,
    target: str,
    lwt_in: int | None = None,
    lwt_out: int | None = None,
    lwt_xmit: int | None = None,
    how: str = "add",
    name: str = "",
    apart: bool = False,
) -> Result:
    """Make a route to an address by a device and through programs: "add" one, "replace" the one
    to this address if it is there, or "change" it.

    The kernel knows the programs of routes by names only: their ids, unless `name` is given. Routes
    whose programs have the same names share them, unless they are to be kept `apart`.
    (net/ipv4/fib_trie.c:fib_table_insert, net/core/lwt_bpf.c:bpf_build_state)
    """
    given = {"lwt_in": lwt_in, "lwt_out": lwt_out, "lwt_xmit": lwt_xmit}
    more = f" {to}" if apart else ""
    programs = {
        place: (fd, name or _id_as_name(fd) + more) for place, fd in given.items() if fd is not None
    }
    routes.add(to, target, programs, how)
    return Result()


def route_delete(to: routes.Address) -> Result:
    """Delete the route to an address.

    (net/ipv4/fib_trie.c:fib_table_delete)
    """
    routes.delete(to)
    return Result()


def routes_attached(target: str = "") -> Result:
    """The programs that routes lead through (by one device): ids, each a row, and by "ADDRESS
    PLACE", such as "10.0.0.1 lwt_xmit".

    Only of routes that were made without a name.
    """
    named = tuple(
        (f"{to} {place}", int(name.split()[0]))
        for to, places in routes.routes(target).items()
        for place, name in places.items()
    )
    return Result(named=named, attached=tuple((prog,) for _, prog in named))


def _id_as_name(fd: int) -> str:
    with contextlib.suppress(OSError):
        return str(bpf.object_id(fd))
    return "0"  # it is refused anyway


COMMANDS: Final = (
    *(tcx_attach, tcx_detach, tcx_link, tcx_attached, xdp_link),
    *(make_clsact, delete_clsact, clsacts, filter_add, filter_delete, filters_attached),
    *(switch_device, route_add, route_delete, routes_attached),
)
