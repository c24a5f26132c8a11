"""What kinds of objects and families of slots look like, and what they are called: the one table.

What is not listed here gets a plain default; a test asks that every kind and family of the model
is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Look:
    """How a kind of node is drawn and what its conditions are called."""

    lane: str
    icon: str
    shape: str
    hue: str
    words: str
    plural: str  # for the heading of its lane
    here: str = ""  # second line while it exists
    gone: str = "freed"
    counted: bool = False  # show its reference count even when it never differs from zero


@dataclass(frozen=True)
class Family:
    """What a family of slots means, for edges and their owners."""

    words: str  # "OWNER {words} TARGET"
    owner: str = "other"  # kind of the owner, when it is neither object nor process nor CPU
    label: bool = False  # write the slot's name on the edge
    mark: str = ""  # not an edge but a mark on the target, with this word


LANES: Final = (
    *("process", "call", "descriptor", "file", "socket", "map", "object", "link", "btf"),
    *("inode", "anchor", "bpffs", "mount", "network", "cpu"),
)

LOOKS: Final = {
    "process": Look("process", "process", "round", "blue", "process", "processes", gone="exited"),
    "call": Look("call", "call", "round", "blue", "call", "calls", "in flight", "done"),
    "descriptor": Look(
        "descriptor", "descriptor", "pill", "sky", "descriptor", "descriptors", "open", "closed"
    ),
    "file": Look("file", "file", "page", "sky", "open file", "open files", counted=True),
    "map": Look("map", "map", "drum", "green", "map", "maps", counted=True),
    "program": Look("object", "program", "round", "vermilion", "program", "programs", counted=True),
    "socket": Look("socket", "socket", "pill", "blue", "socket", "sockets", counted=True),
    "message": Look("socket", "message", "page", "amber", "message", "messages", "in flight"),
    "psock": Look("socket", "psock", "pill", "purple", "psock", "psocks", counted=True),
    "btf": Look("btf", "btf", "page", "green", "type information", "BTF", counted=True),
    "link": Look("link", "link", "pill", "purple", "link", "links", counted=True),
    "record": Look(
        "link", "record", "square", "purple", "record of a hook", "records", counted=True
    ),
    "hook": Look("anchor", "hook", "hexagon", "slate", "hook target", "hooks", "there"),
    "cgroup": Look("anchor", "hook", "hexagon", "slate", "cgroup", "hooks", "there"),
    "pin": Look("anchor", "pin", "round", "amber", "pin", "pins", "pinned", "removed"),
    "inode": Look(
        "inode", "inode", "page", "amber", "file in bpffs", "files in bpffs", counted=True
    ),
    "bpffs": Look("bpffs", "bpffs", "drum", "amber", "bpffs", "instances of bpffs", counted=True),
    "mnt": Look("mount", "mount", "pill", "slate", "mount", "mounts", counted=True),
    "mntns": Look(
        "mount", "mntns", "hexagon", "slate", "mount namespace", "mount namespaces", counted=True
    ),
    "netdev": Look(
        "anchor", "netdev", "hexagon", "slate", "network device", "hooks", "there", counted=True
    ),
    "clsact": Look(
        "anchor", "hook", "hexagon", "slate", "queueing discipline", "hooks", "there", counted=True
    ),
    "netns": Look(
        *("network", "netns", "hexagon", "slate", "network namespace", "network namespaces"),
        counted=True,
    ),
    "tap": Look("socket", "tap", "pill", "slate", "tap", "taps", counted=True),
    "cpu": Look("cpu", "cpu", "square", "ink", "CPU", "CPUs", "idle"),
    "other": Look("object", "other", "round", "slate", "object", "objects", "there"),
}
SAME_LOOK: Final = {
    "prog": "program",
    "open file": "file",
    "target": "hook",
    "perf_event": "hook",
    "hook_target": "hook",
    "tracepoint": "hook",
    "tracepoint_event": "hook",
    "uprobe": "hook",
    "place": "hook",
    "cgroup_target": "cgroup",
    "path": "pin",
}

FAMILIES: Final = {
    "fd": Family("has descriptor for", owner="process"),
    "file_obj": Family("is open on", owner="file"),
    "used": Family("uses", owner="program"),
    "pin": Family("pins", owner="pin"),
    "inode_obj": Family("pins", owner="inode"),
    "root": Family("is a mount of", owner="mnt"),
    "mounted": Family("is mounted", mark="mounted"),
    "ns_of": Family("is seen in", owner="mnt"),
    "cover": Family("is covered by", owner="mnt"),
    "below": Family("covers", owner="mnt"),
    "copy": Family("was copied as", owner="mnt"),
    "ns": Family("is in", owner="process"),
    "net": Family("is in", owner="process"),
    "sk_net": Family("is of"),
    "member": Family("is a member of", owner="process"),
    "born": Family("was made in"),
    "peer_born": Family("had a peer of", owner="socket"),
    "nd_net": Family("is in", owner="netdev"),
    "xdp_state": Family("is told to run", owner="netdev"),
    "dispatched": Family("is in the dispatcher", mark="dispatched"),
    "qdisc": Family("has as queueing discipline", owner="netdev"),
    "qdisc_of": Family("is of", owner="clsact"),
    "cable": Family("is connected to"),
    "inst": Family("has the name", owner="bpffs"),
    "entry": Family("runs", owner="hook"),
    "effective": Family("runs", owner="hook"),
    "dir": Family("is kept by its name", owner="hook", mark="has a name"),
    "running": Family("is inside", owner="cpu"),
    "inside": Family("was called by", owner="cpu"),
    "called_by": Family("runs the program of", owner="cpu"),
    "sees": Family("has found", owner="cpu"),
    "link_prog": Family("holds"),
    "listed": Family("is attached to"),
    "entry_by": Family("runs what is of", owner="hook"),
    "holds": Family("keeps", owner="link"),
    "recorded": Family("is held by its list", mark="in a list"),
    "elem": Family("has as element", owner="map"),
    "psock": Family("is intercepted by", owner="socket"),
    "sock": Family("is of", mark="of a socket"),
    "skb_verdict": Family("runs on what arrives", label=True),
    "msg_parser": Family("runs on what is sent", label=True),
    "via": Family("has an element by", owner="map"),
    "btf": Family("has as type information"),
    "flush": Family("is held by pending work", mark="to be emptied"),
    "vma": Family("has mapped", owner="process"),
    "used_asleep": Family("uses, and may sleep", owner="program"),
    "writes": Family("may write to", owner="process"),
    "peer": Family("is connected to", owner="socket"),
    "queue": Family("stands in the queue of", owner="message"),
    "sent": Family("is held by its queue", owner="message", mark="in a queue"),
    "cargo": Family("carries", owner="message"),
}
REGISTERS: Final = ("reg.", "ptr.", "on.")  # counted, not counted, what a call works on
REGISTER: Final = Family("holds in a register", owner="call", label=True)
RELEASE: Final = Family("holds until its release is done", label=True)
UNKNOWN: Final = Family("points at", label=True)

HELD: Final = {
    "counted": "counted",
    "uncounted": "not counted",
    "reader": "a reader, not counted",
    "table": "entry of the descriptor table",
}


def look_of(kind: str) -> Look:
    """The look of a kind; unknown kinds are drawn as plain objects."""
    return LOOKS.get(SAME_LOOK.get(kind, kind), LOOKS["other"])


def family_of(slot: str) -> Family:
    """What a slot family means; `reg.NAME` and the like are locals of a call in flight."""
    if slot.startswith(REGISTERS):
        return REGISTER
    if slot.startswith(("dying.", "dyingptr.")):
        return RELEASE
    return FAMILIES.get(slot, UNKNOWN)
