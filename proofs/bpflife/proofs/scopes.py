"""Scopes, and what a search in one answers with: shared by the engines that search.

`SMALL` is enough for most violations and finite enough to be visited as a whole. Two callers of one
hook are two threads of a process, which share its descriptors, or two processes, which share what
has a name; `LARGER` has room for two processes, two programs, a map and a pin.
"""

from __future__ import annotations

from dataclasses import dataclass

from bpflife.model.concrete import Scope
from bpflife.model.rules import Rule
from bpflife.model.system import System
from bpflife.model.values import CPU, FD, IDX, PATH, PROC

SMALL = {
    "processes": 1, "descriptors": 2, "files": 2, "maps": 0, "programs": 1, "hooks": 1,
    "pins": 0, "CPUs": 1, "links": 1, "records": 1,
}  # fmt: skip
ROOMY = {**SMALL, "programs": 2}
TWO_THREADS = {"processes": 1, "threads": 2, **SMALL}
TWO_PROCESSES = {**SMALL, "processes": 2}
LARGER = {
    "processes": 2, "descriptors": 2, "files": 3, "maps": 1, "programs": 2, "hooks": 1,
    "pins": 1, "inodes": 1, "CPUs": 1, "links": 1, "records": 1,
}  # fmt: skip
PLURALS = {  # kind -> how a scope calls several of them; what a scope does not name, it has none of
    "file": "files", "map": "maps", "prog": "programs", "socket": "sockets",
    "message": "messages", "btf": "BTFs", "inode": "inodes", "perf_event": "perf events",
    "psock": "psocks",
    "bpffs": "instances", "mnt": "mounts", "mntns": "mount namespaces",
    "netns": "network namespaces", "netdev": "network devices", "tap": "taps",
}  # fmt: skip
Fired = tuple[Rule, dict[str, int]]


def make_scope(system: System, sizes: dict[str, int]) -> Scope:
    """The scope with these sizes; every process has so many `threads` (tasks), or one."""
    kinds: list[str] = []
    for kind, plural in PLURALS.items():
        kinds += [kind] * (sizes.get(plural, 0) if kind in system.kinds else 0)
    for kind in system.links:
        kinds += [kind] * sizes.get("links", 0)
    for kind in system.records:
        kinds += [kind] * sizes.get("records", 0)
    for kind in system.targets:
        kinds += [kind] * sizes["hooks"]
    domains = {
        PROC: sizes["processes"], FD: sizes["descriptors"], PATH: sizes["pins"],
        CPU: sizes["CPUs"], IDX: max(1, sizes["maps"]),
    }  # fmt: skip
    tasks = [p for p in range(1, sizes["processes"] + 1) for _ in range(sizes.get("threads", 1))]
    instances = [0, *(i for i, kind in enumerate(kinds, 1) if kind == "bpffs")]
    inside = {path: instances[(path - 1) % len(instances)] for path in range(1, domains[PATH] + 1)}
    return Scope(domains, kinds, tasks, inside)


def fitted(system: System, sizes: dict[str, int]) -> dict[str, int]:
    """The sizes for a system: a link needs an open file and a descriptor more, a replace that makes
    a record one record more; where there are no links, no records, it is not spoken of them."""
    links = sizes.get("links", 0) if system.links else 0
    more = {"links": links, "descriptors": sizes["descriptors"] + links}
    more["files"] = sizes["files"] + links
    more["records"] = sizes.get("records", 0)
    if sizes["programs"] > 1:  # there is one to put in the place of another
        more["records"] += _made_by_replace(system)
    none = {"links": not links, "records": not system.records}
    return {what: more.get(what, n) for what, n in sizes.items() if not none.get(what)}


def _made_by_replace(system: System) -> bool:
    replaces = {name for api in system.cards for name in system.steps_of(api, "replace")}
    edges = [edge for name in replaces for edge in system.graphs[name].edges]
    return any(edge.step.kinds[0] in system.records for edge in edges if edge.step.makes)


@dataclass
class Found:
    """A path into a violation: the rules that fire, with their parameters. `broken`: the last
    one does not get through, a need of it is not met."""

    path: list[Fired]
    broken: bool = False


class Cancelled(Exception):
    """Somebody asked to stop."""
