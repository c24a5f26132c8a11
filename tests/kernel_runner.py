"""A program that a test kills: it lives in worlds, does a bit of everything, and starts again.

It writes the id of each map as soon as it is made, one a line.
"""

from __future__ import annotations

from bpflife.proofs.kernel.actors import Actor
from bpflife.proofs.kernel.world import World


def live(world: World) -> None:
    """Pins, mounts, devices, attachments, forks: all that could be left behind."""
    actor = world.actor("a")
    note(actor)
    actor.call("pin", fd=3, path=world.pin_path("pin"))
    cgroup = world.cgroup_make("g")
    actor.call("prog_load", maps=[3])
    actor.call("prog_attach", target=cgroup, fd=4, attach_type="cgroup_inet_egress")
    actor.call("link_create", target=cgroup, fd=4, attach_type="cgroup_inet_ingress")
    actor.call("pin", fd=5, path=world.pin_path("link"))
    child = actor.fork("b")
    child.call("unshare_mounts")
    child.call("mount", path=world.mount_path("own"))
    note(child)
    child.call("pin", fd=6, path=f"{world.mount_path('own')}/pin")
    child.call("unshare_net")
    for owner in (actor, child):
        owner.call("make_veth", target="left", peer="right")
        prog = owner.call("prog_load", type="xdp", maps=[3])
        owner.call("xdp_set", target="left", fd=prog.value)
        owner.call("make_clsact", target="left")
        cls = owner.call("prog_load", type="sched_cls", maps=[3])
        owner.call("filter_add", target="left", fd=cls.value)
        filter = owner.call("prog_load", type="netfilter", attach_type="netfilter", maps=[3])
        link = owner.call("netfilter_link", fd=filter.value)  # holds its network namespace
        owner.call("pin", fd=link.value, path=world.pin_path(f"netfilter-{owner.name}"))
    grandchild = child.fork("c")
    grandchild.call("exec")
    note(grandchild)
    actor.call("mount", path=world.mount_path("second"))
    actor.call("open_dir", path=world.mount_path("second"))
    actor.call("umount", path=world.mount_path("second"), lazy=True)
    child.kill()


def note(actor: Actor) -> None:
    """Make a map and write its id."""
    print(actor.call("map_create").id, flush=True)


if __name__ == "__main__":
    while True:
        with World() as world:
            for _ in range(3):
                live(world)
                world.reset()
