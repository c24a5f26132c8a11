"""A scenario's names on a kernel: its processes, descriptors, objects and hooks.

`KernelSide` does one step of a scenario after the other in a world, and reads the kernel's state
in the scenario's names. What a step calls is data (`kernel:` beside its steps): the command, fixed
arguments, and in `with` what the command calls the step's own arguments, where that is not the
usual: one descriptor is `fd`, everything else keeps its name.
"""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bpflife.model.documents import InputError, Settled, Step
from bpflife.model.language import (
    MAX_KEY,
    Arg,
    Language,
    StepSpec,
    bind,
    is_relative,
    short_path,
)
from bpflife.model.state import MAP_TYPE
from bpflife.model.system import BY_NAME, System
from bpflife.model.world import ALIKE

from . import libc
from .actors import Actor, Reply
from .commands import COMMANDS
from .events import QUIET_TRACEPOINT, TRACEPOINTS
from .hooks import attached, networks
from .refs import FileRefs, LinkRefs, device
from .world import World

T = TypeVar("T")
NAME_LENGTH = 15  # BPF_OBJ_NAME_LEN - 1
CLOSED = -1  # what a descriptor variable holds when the call that should have set it failed
ROOT_DIRECTORY = ("other", 1)  # of a bpffs: simple_fill_super numbers it 1
NAMESPACES = 0xF0000000  # files of namespaces are numbered from here on (PROC_DYNAMIC_FIRST)
ELEMENTS = MAX_KEY + 1  # of every map, so that inner maps fit

LOADED_AS = {  # a type of program -> how it must be loaded, where that is not all
    "xdp_devmap": {"type": "xdp", "attach_type": "xdp_devmap"},
    "xdp_cpumap": {"type": "xdp", "attach_type": "xdp_cpumap"},
    "sk_lookup": {"attach_type": "sk_lookup"},
    "netfilter": {"attach_type": "netfilter"},
    "uprobe_multi": {"type": "kprobe", "attach_type": "trace_uprobe_multi"},
    "tracing": {"attach_type": "trace_raw_tp", "target": QUIET_TRACEPOINT},
}
TARGETS_OF_LINKS = {"perf_event": "perf_event"}  # type of link -> how its target is numbered


class NotThereError(Exception):
    """What a step works on was made by the model only: the kernel has refused to."""


def _found(known: Iterator[T], name: object) -> T:
    """The kernel's word for a name of the scenario."""
    for one in known:
        return one
    raise NotThereError(f"the kernel has no {name}: no step from here on can be compared")


@dataclass
class KernelSide:
    """One world, driven by the steps of a scenario. `fds` as in language.bind."""

    system: System
    world: World
    actors: dict[str, Actor] = field(default_factory=dict)
    fds: dict[tuple[str, str], int] = field(default_factory=dict)
    names: dict[tuple[str, int], str] = field(default_factory=dict)
    hooks: dict[str, str] = field(default_factory=dict)  # name -> kind
    waiting: dict[int, list[str]] = field(default_factory=dict)  # a listener's inode -> connections
    devices: dict[str, str] = field(default_factory=dict)  # the kernel's name of a device -> ours
    tracepoints: dict[str, str] = field(default_factory=dict)  # the kernel's name -> ours
    disciplines: dict[str, str] = field(default_factory=dict)  # ours -> the device, for the kernel
    numbers: dict[str, int] = field(default_factory=dict)  # of attachments that have names of ours
    unseen: set[str] = field(default_factory=set)  # devices whose number is not known yet
    probes: dict[int, str] = field(default_factory=dict)  # a perf event's id -> kind of hook target
    places: dict[str, list[int]] = field(default_factory=dict)  # in user space -> links to them
    types: dict[int, str] = field(default_factory=dict)  # a program's id -> its type

    def __post_init__(self) -> None:
        self.language = Language(self.system)

    # -- doing ---------------------------------------------------------------------------------

    def running(self) -> list[Actor]:
        """The processes that have not ended."""
        return [actor for actor in self.actors.values() if actor.running]

    def do(self, spec: StepSpec, step: Step) -> str | None:
        """One step of the scenario: the errno's name, or None."""
        if spec.actor == "process":
            return self._call(spec, step)
        if spec.do == "kill":
            self.actors[str(step.args["process"])].kill()
        return None  # an event: what it runs has left again in a settled state

    def actor(self, name: str) -> Actor:
        """The process of that name."""
        if name not in self.actors:
            self.actors[name] = self.world.actor(name)
        return self.actors[name]

    def _call(self, spec: StepSpec, step: Step) -> str | None:
        actor = self.actor(step.by or "")
        fixed = dict(self.system.operations[spec.rule].kernel)
        command = fixed.pop("command")
        fixed.pop("needs", None)
        if command in OF_WORLD:
            return self._of_world(command, spec, step)
        if command in WITH_NAMES:
            return WITH_NAMES[command](self, actor, spec, step)
        renamed = fixed.pop("with", {})
        arguments = fixed
        for arg in spec.args:
            arguments |= self._argument(arg, step, renamed, spec)
        takes = inspect.signature(COMMANDS[command]).parameters
        if "name" not in takes:  # only maps and programs have a name in the kernel
            arguments.pop("name", None)
        reply = actor.call(command, **arguments)
        self._remember(spec, step, reply)
        return reply.errno

    def _path(self, text: str, spec: StepSpec) -> str:
        """A path of a scenario in the world."""
        if is_relative(spec):
            return text
        return self.world.mount_path(text) if "/" in text else self.world.pin_path(text)

    def _argument(
        self, arg: Arg, step: Step, renamed: dict[str, str], spec: StepSpec
    ) -> dict[str, Any]:
        """One argument of a step as the runner's command takes it."""
        value = step.args.get(arg.name)
        by = step.by or ""
        if arg.kind == "type":
            return self._type(arg, str(value or arg.words[0]))
        if arg.kind == "word":
            return {arg.name: value or arg.words[0]}
        if value is None or arg.kind in ("newfd", "newmapping"):
            return {}
        if arg.kind == "name" and arg.name in renamed:
            return {renamed[arg.name]: self._number(str(value))}
        if arg.kind == "name":
            return {"name": str(value).replace("-", "_")[:NAME_LENGTH]}
        if arg.kind == "maps":
            fds = [self.fds.get((by, m), CLOSED) for m in value]
            return {renamed.get(arg.name, arg.name): fds}
        if arg.kind == "files":
            several = value if isinstance(value, list) else [value]
            return {arg.name: [self.fds.get((by, n), CLOSED) for n in several]}
        if arg.kind == "path":
            return {renamed.get(arg.name, arg.name): self._path(short_path(str(value)), spec)}
        if arg.kind == "point":
            return {renamed.get(arg.name, arg.name): self.world.mount_path(str(value))}
        if arg.kind == "target":
            return {renamed.get(arg.name, arg.name): self._target(arg, str(value))}
        if arg.kind == "process":
            return {"pid": self.actor(str(value)).pid}
        if arg.kind == "theirs":
            owner = str(step.args.get("process"))
            return {"fd": self.fds.get((owner, str(value)), CLOSED)}
        if arg.kind == "mapping":
            return {"handle": self.fds.get((by, f"@{value}"), CLOSED)}
        name = renamed.get(arg.name, "fd" if arg.kind == "fd" else arg.name)
        if arg.kind in ("fd", "number"):
            return {name: self.fds.get((by, str(value)), CLOSED)}
        return {name: value}

    def _number(self, name: str) -> int:
        """An attachment of our making is known to the kernel by a number of its own."""
        return self.numbers.setdefault(name, len(self.numbers) + 1)

    def _target(self, arg: Arg, name: str) -> str | int:
        """How the kernel calls what has a name."""
        if arg.of in self.system.records:
            return self._number(name)
        if arg.of == "clsact":
            return _found((at for ours, at in self.disciplines.items() if ours == name), name)
        if arg.of == "cgroup":
            return self.world.cgroup_path(name)
        others = self.devices if arg.of in BY_NAME else self.tracepoints
        return _found((known for known, ours in others.items() if ours == name), name)

    def _type(self, arg: Arg, value: str) -> dict[str, Any]:
        if value in MAP_TYPE.names and value in arg.words:
            entries = {} if value == "ringbuf" else {"entries": ELEMENTS}
            return {"type": value, **entries}
        return {"type": value, **LOADED_AS.get(value, {})}

    def _of_world(self, command: str, spec: StepSpec, step: Step) -> str | None:
        """mkdir and rmdir of a hook target, by the world."""
        name = str(next(v for k, v in step.args.items() if k == "target"))
        try:
            OF_WORLD[command](self.world, name)
        except OSError as e:
            return errno.errorcode.get(e.errno or 0, str(e.errno))
        if command == "cgroup_make":
            self.hooks[name] = self._kind_made_by(spec.do)
            self.names[("hook", os.stat(self.world.cgroup_path(name)).st_ino)] = name
        else:
            self.hooks.pop(name, None)
        return None

    def _spawn(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        """The actor is there by now."""
        return None

    def _fork(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        child = str(step.args["child"])
        self.actors[child] = actor.fork(child)
        bind(spec, step, self.fds, [], CLOSED)
        return None

    def _leave_cgroup(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        """Back to the world's own cgroup, to which nothing is ever attached."""
        return actor.call("cgroup_join", target=self.world.cgroups).errno

    def _by_id(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        name = step.args["object"]
        kind, number = _found((key for key, known in self.names.items() if known == name), name)
        options: dict[str, Any] = {}
        for arg in spec.args:
            options |= self._argument(arg, step, {}, spec) if arg.kind == "word" else {}
        reply = actor.call("get_fd_by_id", kind=kind, id=number, **options)
        self._remember(spec, step, reply)
        return reply.errno

    def _remember(self, spec: StepSpec, step: Step, reply: Reply) -> None:
        """The scenario's names for what the call returned (as the model binds them)."""
        numbers = [] if reply.value is None else [reply.value, *reply.more]
        bind(spec, step, self.fds, [] if reply.errno else numbers, CLOSED)
        made = self.system.operations[spec.rule].made
        if reply.id is not None and len(made) == 1 and made[0] in self.world.made:
            self.names[(made[0], reply.id)] = str(step.args[made[0]])
            self._remember_type(spec, step, reply.id)
        elif made and reply.errno is None:
            names = [str(step.args[argument]) for argument in made]
            self._name_sockets(step, dict(zip(numbers, names, strict=False)))

    def _remember_type(self, spec: StepSpec, step: Step, number: int) -> None:
        """Of a program: the one that the step says, or the usual one."""
        usual = next((arg.words[0] for arg in spec.args if arg.kind == "type"), "")
        if "prog" in self.system.operations[spec.rule].made:
            self.types[number] = str(step.args.get("type", usual))

    def _name_sockets(self, step: Step, names: dict[int, str]) -> None:
        """The names of sockets that the acting process has descriptors of."""
        others = self.world.snapshot(fds=True).others[self.actor(step.by or "").pid]
        for number, name in names.items():
            file = others[number]
            self.names[(file.kind, file.object_id)] = name
            if file.kind == "perf_event":
                self.probes[file.object_id] = self._kind_made_by(step.do)

    def _kind_made_by(self, do: str) -> str:
        """The kind of hook target that a step makes; without a card it is only a perf event."""
        found = (k for k, c in self.system.targets.items() if c.target.made_by == do)
        return next(found, "perf_event")

    def _name_tracepoint(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        """A tracepoint of the kernel that is quiet: of those there are few."""
        known = next((name for name in TRACEPOINTS if name not in self.tracepoints), None)
        if known is None:
            raise InputError(f"a kernel can play {len(TRACEPOINTS)} tracepoints at most")
        self.tracepoints[known] = str(step.args["target"])
        return None

    def _name_place(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        """A place in a file that nobody runs: each link has a file of its own."""
        self.places[str(step.args["target"])] = []
        return None

    def _link_to_place(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        """No kernel says what is at a place; its links do, which only their end detaches."""
        fd = self.fds.get((actor.name, str(step.args["prog"])), CLOSED)
        reply = actor.call("uprobe_multi_link", fd=fd)
        self._remember(spec, step, reply)
        if reply.id is not None:
            self.places[str(step.args["target"])].append(reply.id)
        return reply.errno

    def _make_devices(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        """Devices have names of their own: the kernel takes few characters, and some names are
        taken."""
        new = [arg.name for arg in spec.args if arg.kind == "name"]
        names = [f"device{len(self.devices) + n}" for n in range(len(new))]
        given = {
            arg.name: self.fds.get((actor.name, str(step.args[arg.name])), CLOSED)
            for arg in spec.args
            if arg.kind == "fd"
        }
        reply = actor.call(step.do, **dict(zip(new, names, strict=True)), **given)
        if reply.errno is None:
            ours = [str(step.args[name]) for name in new]
            self.devices |= dict(zip(names, ours, strict=True))
            self.unseen |= {*names}
        return reply.errno

    def _make_discipline(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        """A device's queueing discipline has no name but that of its device."""
        of = next(arg for arg in spec.args if arg.name == "device")
        device = str(self._target(of, str(step.args["device"])))
        reply = actor.call(step.do, target=device)
        if reply.errno is None:
            self.disciplines[str(step.args["target"])] = device
        return reply.errno

    def _see_devices(self) -> None:
        """What number a device has is known once somebody is in its network namespace: a tap's need
        not be that of who makes it. Before, nothing can be attached to it."""
        for here, actor in networks(self).items() if self.unseen else ():
            for known, index in actor.call("device_indexes").named.items():
                if known in self.unseen:
                    self.names[("hook", device(here, index))] = self.devices[known]
                    self.unseen.remove(known)

    def _connect(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        """The listener is found by the number of its inode; it knows who waits for accept."""
        fd = self.fds.get((actor.name, str(step.args["socket"])), CLOSED)
        to = self._inode(str(step.args["to"]))
        reply = actor.call("connect", socket=fd, to=to)
        if reply.errno is None:
            self.waiting.setdefault(to, []).append(str(step.args["end"]))
        return reply.errno

    def _inode(self, name: str) -> int:
        """Of a named socket; 0 where nobody has had a descriptor of it yet."""
        return next((i for (kind, i), known in self.names.items() if known == name), 0)

    def _accept(self, actor: Actor, spec: StepSpec, step: Step) -> str | None:
        """Connections are accepted in the order in which they were made."""
        fd = self.fds.get((actor.name, str(step.args["socket"])), CLOSED)
        reply = actor.call("accept", socket=fd)
        self._remember(spec, step, reply)
        if reply.value is not None and reply.id is not None:
            self._name_sockets(step, {reply.value: self.waiting[reply.id].pop(0)})
        return reply.errno

    # -- reading -------------------------------------------------------------------------------

    def settled(self) -> Settled:
        """The kernel's state now, in the names of the scenario."""
        self._see_devices()
        snapshot = self.world.snapshot(fds=True)
        pids = {actor.pid: name for name, actor in self.actors.items() if actor.running}
        fds = {}
        for pid, name in pids.items():
            files = {**snapshot.files.get(pid, {}), **snapshot.others.get(pid, {})}
            if files:
                fds[name] = {str(n): (*self._behind(f), f.refcnt) for n, f in sorted(files.items())}
        return Settled(
            maps={self.name_of("map", i): tuple(refs) for i, refs in snapshot.maps.items()},
            progs={self.name_of("prog", i): refs for i, refs in snapshot.progs.items()},
            btfs={self.name_of("btf", i): refs for i, refs in snapshot.btfs.items()},
            links={
                self.name_of("link", i): self._link(i, link, snapshot.link_types[i])
                for i, link in snapshot.links.items()
            },
            fds=fds,
            hooks=attached(self, snapshot),
        )

    def _behind(self, file: FileRefs) -> tuple[str, str]:
        """Kind and name of what a file leads to."""
        if (file.kind, file.object_id) == ROOT_DIRECTORY:
            return ALIKE["mnt"]
        if file.kind == "other" and file.object_id >= NAMESPACES:
            return ALIKE["netns"]
        if (file.kind, file.object_id) == ("other", libc.tap_driver()):
            return ALIKE["tap"]
        name = self.name_of(file.kind, file.object_id)
        if file.kind == "perf_event":
            return self.probes.get(file.object_id, file.kind), name
        return file.kind, name

    def name_of(self, kind: str, number: int) -> str:
        """The scenario's name for an object of the kernel."""
        return self.names.get((kind, number), f"{kind} {number}")

    def _link(self, number: int, link: LinkRefs, type: str) -> tuple[int, str, str]:
        """Its count, its program, and the hook that it is attached to, which may be removed: it
        lets its links go some time later."""
        kind = TARGETS_OF_LINKS.get(type, "hook")
        hook = self.name_of(kind, link.target_id) if link.target_id else ""
        hook = next((place for place, links in self.places.items() if number in links), hook)
        if self.tracepoints and type == "raw_tracepoint":
            hook = self.tracepoints.get(self.world.tracepoint(number), hook)
        if NAMESPACES <= link.target_id < 1 << 32:
            hook = ALIKE["netns"][1]
        return link.refcnt, self.name_of("prog", link.prog_id), hook


OF_WORLD: dict[str, Callable[[World, str], object]] = {
    "cgroup_make": World.cgroup_make,
    "cgroup_remove": World.cgroup_remove,
}
WITH_NAMES: dict[str, Callable[[KernelSide, Actor, StepSpec, Step], str | None]] = {
    "spawn": KernelSide._spawn,
    "fork": KernelSide._fork,
    "get_fd_by_id": KernelSide._by_id,
    "connect": KernelSide._connect,
    "accept": KernelSide._accept,
    "name_tracepoint": KernelSide._name_tracepoint,
    "name_place": KernelSide._name_place,
    "uprobe_multi_link": KernelSide._link_to_place,
    "make_veth": KernelSide._make_devices,
    "make_tap": KernelSide._make_devices,
    "make_clsact": KernelSide._make_discipline,
    "cgroup_leave": KernelSide._leave_cgroup,
}
KNOWN = {*COMMANDS, *OF_WORLD, *WITH_NAMES}
