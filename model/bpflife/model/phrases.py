"""A system call in words: for the sentence of a step, and as strace prints it.

The arguments are said before the call, when names still stand for what they stood for; the results
after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from . import state as s
from .documents import Step
from .language import MOUNTS, Arg, StepSpec, full_path, is_relative, new_labels, new_mapping
from .values import OBJ
from .world import FIRST_FD, Outcome, World

WORDS = {  # how a system call says them
    "if_noexist": {"true": "XDP_FLAGS_UPDATE_IF_NOEXIST|", "false": ""},
    "lazy": {"true": "MNT_DETACH", "false": "0"},
    "attach_type": {x: f"BPF_{x.upper()}" for x in s.SOCKMAP_HOOK.names},
    "prot": {
        "read_write": "PROT_READ|PROT_WRITE", "read_only": "PROT_READ", "write_only": "PROT_WRITE",
    },
}  # fmt: skip
FLAGS = {  # (argument, value) -> how bpf(2) says it
    ("mode", "read_only"): "BPF_F_RDONLY",
    ("mode", "write_only"): "BPF_F_WRONLY",
    ("mmapable", True): "BPF_F_MMAPABLE",
}
LOCALS = ("reg", "ptr", "dying", "dyingptr")  # families of locals, before the dot


def fill(template: str, words: Mapping[str, str]) -> str:
    """`{name}` replaced by words; anything else is left as it stands (never `str.format`: a
    card may be hostile)."""
    return re.sub(r"\{(\w+)\}", lambda m: words.get(m.group(1), m.group(0)), template)


def fd_number(n: int) -> str:
    """A descriptor of the model as the process sees it; -1 for none."""
    return str(n + FIRST_FD - 1) if n else "-1"


@dataclass
class Said:
    """Arguments and results by name: `words` for sentences, `numbers` as strace has them."""

    words: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, words: str, number: str = "") -> None:
        """One of them; the number is the words where it is not said."""
        self.words[name], self.numbers[name] = words, number or words


def arguments(world: World, spec: StepSpec, step: Step) -> Said:
    """What the call is given. Say it before the call is played."""
    said = Said()
    said.add("actor", step.by or "")
    flags = [word for (name, value), word in FLAGS.items() if step.args.get(name) == value]
    said.add("flags", "|".join(flags) or "0")
    said.add("type", "BPF_MAP_TYPE_ARRAY")  # the usual one, where maps are not told apart
    for arg in spec.args:
        value = step.args.get(arg.name)
        if arg.kind == "maps":
            numbers = [fd_number(world.fds.get((step.by or "", m), 0)) for m in value or []]
            said.add(arg.name, ", ".join(value or []) or "no map", f"[{', '.join(numbers)}]")
        elif arg.kind == "files":
            several = [*value] if isinstance(value, list) else [str(value)]
            numbers = [fd_number(world.fds.get((step.by or "", n), 0)) for n in several]
            words = [f"{n} ({name})" for n, name in zip(numbers, several, strict=True)]
            said.add(arg.name, _several(words), f"[{', '.join(numbers)}]")
        elif arg.kind == "type":
            said.add("type", _type_words(arg, str(value or arg.words[0])))
        elif arg.name in WORDS:
            usual = arg.words[0] if arg.words else "false"
            said.add(arg.name, WORDS[arg.name][str(value or usual).lower()])
        elif value is not None and arg.kind not in ("newfd", "newmapping"):
            relative = arg.kind == "path" and is_relative(spec)
            said.add(
                arg.name, *_argument(world, arg, step, f"./{value}" if relative else str(value))
            )
    return said


def _argument(world: World, arg: Arg, step: Step, value: str) -> tuple[str, str]:
    if arg.kind in ("fd", "number"):
        number = fd_number(world.fds.get((step.by or "", value), 0))
        return f"descriptor {number} ({value})", number
    if arg.kind == "theirs":
        number = fd_number(world.fds.get((str(step.args.get("process")), value), 0))
        return f"descriptor {number} ({value})", number
    if arg.kind == "path":
        return value if value[:2] == "./" else full_path(value), ""
    if arg.kind == "point":
        return MOUNTS + value, ""
    return value, f"address of {value}" if arg.kind == "mapping" else ""


def _several(descriptors: Sequence[str]) -> str:
    """Descriptors in words."""
    s = "s" if len(descriptors) > 1 else ""
    return f"descriptor{s} {', '.join(descriptors)}"


def _type_words(arg: Arg, value: str) -> str:
    """A type as the system call names it."""
    if value in s.SOCKET_TYPE.names:
        return f"SOCK_{value.upper()}"
    maps = value in s.MAP_TYPE.names and value in arg.words
    return f"BPF_{'MAP' if maps else 'PROG'}_TYPE_{value.upper()}"


def results(
    said: Said, world: World, spec: StepSpec, step: Step, outcome: Outcome, given: Sequence[int]
) -> None:
    """What the call found and made: its locals, its descriptors. Adds to `said`."""
    for key, n in outcome.seen.items():
        prefix, _, name = key.partition(".")
        if prefix in LOCALS and name not in said.words:
            said.add(name, world.name(OBJ, n))
    made = [str(step.args[a.name]) for a in spec.args if a.kind == "name"]
    if len(made) == 1:
        said.add("new", made[0])
    fds = [fd_number(n) for n in given]
    if "fd" not in said.words:
        said.add("fd", _several(fds) if fds else "nothing", fds[-1] if fds else "")
    several = [a.name for a in spec.args if a.kind == "name"] if len(made) > 1 else []
    for name, number in zip(several, fds, strict=False):
        said.numbers[name] = number


def strace(
    call: str, said: Said, spec: StepSpec, step: Step, errno: str | None, given: Sequence[int]
) -> str:
    """The call with its result, as strace prints it; "" for a call that has no such text."""
    if not call:
        return ""
    child = next((str(step.args[a.name]) for a in spec.args if a.kind == "child"), "")
    result = "0"
    if errno:
        result = f"-1 {errno}"
    elif child:
        result = f"pid of {child}"
    elif mapping := new_mapping(spec, step):
        result = f"address of {mapping}"
    elif given and (len(new_labels(spec, step)) == 1 or spec.do == "dup2"):
        result = fd_number(given[-1])
    return f"{fill(call, said.numbers)} = {result}"
