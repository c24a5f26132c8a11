"""The documents that pass between layers, and the one way to read them from a file.

`Scenario` says what to do, `Trace` what happened step by step, `AttachCard` what an attach API is,
`Verdict` what was shown about it. They are pydantic models with a version and `extra="forbid"`;
nothing else crosses a layer. A document that can't be read raises `InputError`, whose text is one
line that names file, line or field, and what to do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

MAX_BYTES = 256 * 1024  # a scenario or card is a page of text; more is a mistake or an attack
NAME = r"^[a-z][a-z0-9_-]{0,39}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Line = Annotated[str, StringConstraints(max_length=300)]


class InputError(Exception):
    """What a user gave can't be used; str() is one line for them (exit code 2)."""


class Document(BaseModel):
    """Base of all documents: unknown fields are errors, values don't change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------------------------------
# Scenario: what to do


class Step(Document):
    """One action of a scenario: `do` names a step of `bpflife list steps`, the rest its arguments.

    `by` is the acting process. Descriptors are named by the scenario (`fd: m` names the number
    that the call returned); the name keeps its number after close, as a C variable would.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    do: Name
    by: Name | None = None
    say: Line | None = Field(default=None, description="the narrator's sentence for this step")
    errno: str | None = Field(default=None, pattern=r"^[A-Z0-9]+$", description="expected errno")

    @property
    def args(self) -> dict[str, Any]:
        """The step's own arguments, by name."""
        return dict(self.model_extra or {})


class Scenario(Document):
    """A sequence of system calls and events, with the cards (attach APIs) that it uses."""

    scenario: Name
    version: Literal[1] = 1
    title: Line = ""
    about: Text = ""
    cards: Annotated[list[Name], Field(max_length=8)] = []
    settle: bool = Field(
        default=True,
        description="after each step the kernel finishes its own work; false: step by step",
    )
    steps: Annotated[list[Step], Field(max_length=200)]


# ---------------------------------------------------------------------------------------------
# Trace: what happened


class ObjectState(Document):
    """One object (map, program, open file, hook target) in one state."""

    kind: str
    life: Literal["unborn", "live", "dying", "freed"]
    refcnt: int = 0
    usercnt: int | None = None
    waits_for: list[str] = Field(default=[], description="CPUs that its grace period waits for")
    note: str = Field(default="", description="what a dying object does next, in words")


class Slot(Document):
    """A place that holds a pointer: `owner` is a node (process, open file, program, hook, path,
    CPU, call in flight), `slot` the family, `key` the place inside it (descriptor number...)."""

    slot: str
    owner: str
    key: str = ""
    points: str = Field(description="name of the object it points at")
    held: Literal["counted", "uncounted", "reader"]


class State(Document):
    """Everything that the picture shows at one moment. Empty slots are left out."""

    objects: dict[str, ObjectState]
    processes: dict[str, Literal["idle", "running", "exited"]]
    cpus: dict[str, str | None] = Field(description="CPU -> program that it runs, or none")
    slots: list[Slot]


class Settled(Document):
    """The state after all internal work is done, in the shape shared by model and kernel."""

    maps: dict[str, tuple[int, int]] = Field(default={}, description="name -> refcnt, usercnt")
    progs: dict[str, int] = Field(default={}, description="name -> refcnt")
    fds: dict[str, dict[str, tuple[str, str, int]]] = Field(
        default={}, description="process -> descriptor number -> kind, object, file refcnt"
    )
    hooks: dict[str, list[str]] = Field(default={}, description="hook -> its programs, in order")


class TraceStep(Document):
    """One transition. `internal` steps are the kernel's own (a grace period ends...)."""

    rule: str = Field(description="the rule that fired, `operation` or `operation.step`")
    actor: str
    args: dict[str, str] = {}
    call: str = Field(default="", description="the system call, as strace would print it")
    sentence: str
    say: str = ""
    errno: str | None = None
    internal: bool = False
    settled: Settled | None = None


class Violation(Document):
    """What a counterexample shows: the property, in words, and the step that breaks it."""

    property: str
    at: int = Field(description="index into Trace.states of the first bad state")
    sentence: str
    nodes: list[str] = Field(default=[], description="the objects that it is about")


class Trace(Document):
    """States and the steps between them: `states[i]` is before `steps[i]`."""

    version: Literal[1] = 1
    title: str
    steps: list[TraceStep]
    states: list[State]
    violation: Violation | None = None
    scenario: Scenario | None = Field(default=None, description="what replays this trace")


# ---------------------------------------------------------------------------------------------
# Verdict: what was shown

Word = Literal[
    "PROVED",
    "PROVED for scope S",
    "NO VIOLATION up to depth k in scope S",
    "VIOLATED",
    "CAN HAPPEN",
    "CANNOT HAPPEN",
    "DOES NOT APPLY",
    "UNDECIDED",
]


class Verdict(Document):
    """What was shown about one property of one card. Never more than the evidence.

    `holds_with`: the cards whose rules were in the system. `granularity`: which calls ran in
    micro-steps. `unit`: what "shortest" counts. `reason`: for DOES NOT APPLY the card's field,
    for UNDECIDED what stopped us.
    """

    version: Literal[1] = 1
    card: Name
    property: Name
    word: Word
    sentence: str = Field(description="the property, for people")
    reason: str = ""
    holds_with: list[Name] = []
    granularity: str = ""
    scope: dict[str, int] = Field(default={}, description="how many of each, where bounded")
    depth: int | None = Field(default=None, description="length of the trace, or depth searched")
    unit: str = ""
    obligations: int = 0
    lemmas: list[str] = []
    unproved: list[str] = Field(default=[], description="obligations that could not be proved")
    seconds: float = 0.0
    trace: Trace | None = None
    expected: bool = True
    because: str = Field(default="", description="the card's reason, where it expects a violation")

    def headline(self) -> str:
        """The verdict in its exact words, with scope and depth filled in."""
        scope = ", ".join(f"{n} {what}" for what, n in self.scope.items())
        if self.word == "NO VIOLATION up to depth k in scope S":
            return f"NO VIOLATION up to depth {self.depth} in scope ({scope})"
        return self.word.replace("scope S", f"scope ({scope})")


# ---------------------------------------------------------------------------------------------
# Reading

D = TypeVar("D", bound=BaseModel)


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{origin}{line}: not YAML: {e.problem or e.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise InputError(f"{origin}: not YAML: {str(e).splitlines()[0][:120]}") from None
    if not isinstance(data, dict):
        raise InputError(f"{origin}: expected fields (`name: value`), found {_kind(data)}")
    return data


def _kind(data: object) -> str:
    kinds = {list: "a list", str: "text", type(None): "nothing"}
    return kinds.get(type(data), type(data).__name__)


def line_of(text: str, path: tuple[int | str, ...]) -> int | None:
    """Line (from 1) of the field at `path` in a YAML text, or of its nearest parent."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    line = None
    for part in path:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part < len(node.value):
                found = node.value[part]
                line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line


def _explain(error: ValidationError, text: str, origin: str) -> str:
    first = error.errors(include_url=False)[0]
    loc = tuple(first["loc"])
    line = line_of(text, loc)
    where = f"{origin}:{line}" if line else origin
    field = ".".join(str(p + 1) if isinstance(p, int) else p for p in loc) or "document"
    message = first["msg"].removeprefix("Value error, ")
    known = {"extra_forbidden": "no such field", "missing": "this field is missing"}
    message = known.get(first["type"], message)
    value = first.get("input")
    shown = f" (got {str(value)[:60]!r})" if isinstance(value, (str, int, float)) else ""
    more = f"; {error.error_count() - 1} more" if error.error_count() > 1 else ""
    return re.sub(r"\s+", " ", f"{where}: {field}: {message}{shown}{more}")


def parse_document(kind: type[D], text: str, origin: str) -> D:
    """Read one document from YAML (or JSON) text.

    Raises InputError with one line: `FILE:LINE: FIELD: what is wrong`.
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"{origin}: {len(text):,} bytes; a document has at most {MAX_BYTES:,}")
    data = _parse(text, origin)
    try:
        return kind.model_validate(data)
    except ValidationError as e:
        raise InputError(_explain(e, text, origin)) from None


def read_text(path: Path) -> str:
    """The text of a small file; InputError if it is missing, too large or not text."""
    try:
        if path.stat().st_size > MAX_BYTES:
            size = path.stat().st_size
            raise InputError(f"{path}: {size:,} bytes; a document has at most {MAX_BYTES:,}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file (UTF-8)") from None
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or e}") from None
