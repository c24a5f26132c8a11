"""The documents that pass between layers, and the one way to read them from a file.

`Scenario` says what to do, `Trace` what happened step by step, `AttachCard` what an attach API is,
`Verdict` what was shown about it. They are pydantic models with a version and `extra="forbid"`;
nothing else crosses a layer. A document that can't be read raises `InputError`, whose text is one
line that names file, line or field, and what to do.
"""

from __future__ import annotations

import errno as errnos
import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from . import explain

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


def _wrong(message: str) -> PydanticCustomError:
    """A validator's error whose text is for people; pydantic adds nothing to it."""
    return PydanticCustomError("wrong", "{message}", {"message": message})


# ---------------------------------------------------------------------------------------------
# Scenario: what to do

# The kernel answers with one that user space has no name for: ENOTSUPP, 524.
ERRNOS = {name for name in vars(errnos) if re.fullmatch(r"E[A-Z0-9]+", name)} | {"ENOTSUPP"}


def _errno(value: object) -> object:
    """An errno by its name. `errno: 0` without quotes is a number to YAML, and means success."""
    if type(value) is int and value == 0:
        return "0"
    if value is None or (isinstance(value, str) and value in ("0", *ERRNOS)):
        return value
    near = explain.did_you_mean(value, ERRNOS) if isinstance(value, str) else ""
    raise _wrong(f"no such errno{near or '; expected a name (EBUSY), or 0 for success'}")


class Step(Document):
    """One action of a scenario: `do` names a step of `bpflife list steps`, the rest its arguments.

    `by` is the acting process. Descriptors are named by the scenario (`fd: m` names the number
    that the call returned); the name keeps its number after close, as a C variable would.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    do: Name
    by: Name | None = None
    say: Line | None = Field(default=None, description="the narrator's sentence for this step")
    errno: Annotated[str | None, BeforeValidator(_errno)] = Field(
        default=None, description="expected errno; 0: success"
    )

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
    linux: Literal["all", "core"] = Field(
        default="all", description="core: the part that checks of cards are about (their rules)"
    )
    settle: bool = Field(
        default=True,
        description="after each step the kernel finishes its own work; false: step by step",
    )
    steps: Annotated[list[Step], Field(max_length=200)]

    @field_validator("cards")
    @classmethod
    def _each_once(cls, cards: list[str]) -> list[str]:
        for card in cards:
            if cards.count(card) > 1:
                raise _wrong(f"`{card}` is there twice")
        return cards


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
    btfs: dict[str, int] = Field(default={}, description="name -> refcnt")
    links: dict[str, tuple[int, str, str]] = Field(
        default={}, description="name -> refcnt, program, the hook that it is attached to if any"
    )
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
# Comparison: model and kernel side by side


class Compared(Document):
    """One step on both sides. `kernel` is None where the step is the model's alone (an event
    enters a program: nobody can hold a CPU there); then it does not count as a disagreement."""

    step: str = Field(description="the step in words, as the scenario has it")
    model: Settled
    kernel: Settled | None = None
    model_errno: str | None = None
    kernel_errno: str | None = None
    differences: list[str] = Field(default=[], description="what differs, in words")


class Comparison(Document):
    """A scenario played by the model and by the running kernel. `why_not`: bpf(2) is refused
    here, and by what; then there are no rows."""

    version: Literal[1] = 1
    scenario: str
    kernel: str = Field(default="", description="release of the running kernel")
    why_not: str = ""
    rows: list[Compared] = []

    @property
    def differences(self) -> list[str]:
        """Every difference, with the number of its step."""
        return [f"step {n}: {d}" for n, row in enumerate(self.rows, 1) for d in row.differences]


class Disagreement(Document):
    """A scenario, made as small as it gets, on which model and kernel do not agree."""

    scenario: Scenario
    differences: list[str]


class Conformance(Document):
    """How many random scenarios agreed, and what of the model they exercised. `rules`: fired, of
    how many; `pairs`: steps right after one another, of how many."""

    version: Literal[1] = 1
    kernel: str = ""
    why_not: str = ""
    seed: int = 0
    scenarios: int = 0
    steps: int = 0
    seconds: float = 0.0
    rules: tuple[int, int] = (0, 0)
    pairs: tuple[int, int] = (0, 0)
    not_fired: list[str] = Field(default=[], description="rules that no scenario reached")
    skipped: list[str] = Field(default=[], description="steps that can't be played here, and why")
    disagreements: list[Disagreement] = []


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


def scope_words(scope: dict[str, int]) -> str:
    """A scope in words: `2 processes, 1 hook`."""
    one = {"processes": "process"}
    return ", ".join(
        f"{n} {what if n != 1 else one.get(what, what.removesuffix('s'))}"
        for what, n in scope.items()
    )


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
        scope = scope_words(self.scope)
        if self.word == "NO VIOLATION up to depth k in scope S":
            return f"NO VIOLATION up to depth {self.depth} in scope ({scope})"
        return self.word.replace("scope S", f"scope ({scope})")


# ---------------------------------------------------------------------------------------------
# Reading

D = TypeVar("D", bound=BaseModel)

MAX_DEPTH = 16  # a card's undo lists are at depth 7
MAX_SCALAR = 3000  # more than the longest field; a number of so many digits still prints
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
RESOLVER: Any = yaml.resolver.Resolver()


def _parse(text: str, origin: str) -> dict[str, Any]:
    """The fields of a YAML text, refused where YAML does more than write fields down.

    Aliases can make a small file huge or endless, a second value for a key silently wins, and
    deep nesting overflows the stack of whoever walks it: all three are seen on the event stream,
    before anything is built.
    """
    try:
        problem = _refused(text)
        data = None if problem else yaml.load(text, Loader=LOADER)
    except yaml.reader.ReaderError as e:
        raise InputError(f"{origin}: not YAML: {e.reason}") from None
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = e.problem or e.context or ""
        hint = "; put a text with a colon in quotes" if problem.startswith("mapping values") else ""
        raise InputError(f"{origin}{line}: not YAML: {problem}{hint}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise InputError(f"{origin}: not YAML: {str(e).splitlines()[0][:120]}") from None
    except (LookupError, AttributeError):  # what PyYAML makes of `!!bool maybe`
        raise InputError(f"{origin}: not YAML: a value does not fit its tag (`!!`)") from None
    if problem:
        raise InputError(f"{origin}:{problem}")
    if not isinstance(data, dict):
        found = explain.kind_of(data)
        raise InputError(f"{origin}: expected fields (`name: value`), found {found}")
    return data


def _refused(text: str) -> str:
    """`LINE: why` for the first thing in a YAML text that a document can't have; or nothing."""
    around: list[set[str] | None] = []  # mappings (their keys so far) and lists (None) around here
    is_key = [False]  # per level: is the next node there a key?
    for event in yaml.parse(text, Loader=LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionEndEvent):
            around.pop()
            is_key.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            return f"{line}: anchors and aliases (`&{event.anchor}`) are not for documents"
        keys = around[-1] if around else None
        key = is_key[-1] and keys is not None
        is_key[-1] = keys is not None and not key
        if key and keys is not None and (problem := _refused_key(event, keys)):
            return f"{line}: {problem}"
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR:
            return f"{line}: a value of {len(event.value):,} characters; {MAX_SCALAR:,} at most"
        if isinstance(event, yaml.CollectionStartEvent):
            mapping = isinstance(event, yaml.MappingStartEvent)
            around.append(set() if mapping else None)
            is_key.append(mapping)
            if len(around) > MAX_DEPTH:
                return f"{line}: nested more than {MAX_DEPTH} deep"
    return ""


def _refused_key(event: yaml.NodeEvent, keys: set[str]) -> str:
    """Why this can't be the name of a field beside `keys`, to which it is added; or nothing."""
    if not isinstance(event, yaml.ScalarEvent):
        return "a list or fields where the name of a field should be"
    name = event.value
    tag = RESOLVER.resolve(yaml.ScalarNode, name, event.implicit)
    if event.tag is not None or tag != RESOLVER.DEFAULT_SCALAR_TAG:
        return f"{name[:60]}: YAML reads this as something else than the name of a field"
    if name in keys:
        return f"{name[:60]}: this field is there twice"
    keys.add(name)
    return ""


def line_of(text: str, path: tuple[int | str, ...]) -> int | None:
    """Line (from 1) of the field at `path` in a YAML text, or of its nearest parent.

    Parts that the text does not have (a missing field, the name of a union's member in an error
    of pydantic) are passed over.
    """
    try:
        node = yaml.compose(text, Loader=LOADER)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    line = None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if not 0 <= part < len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _explain(error: ValidationError, kind: type[BaseModel], data: object, text: str) -> str:
    """`:LINE: FIELD: what is wrong`, of what is most worth telling."""
    first, *others = explain.problems(error, kind, data)
    line = line_of(text, first.path)
    value = None if first.rank == explain.UNKNOWN else explain.value_at(data, first.path)
    quoted = isinstance(value, (str, int, float)) and f"`{value}`" not in first.message
    shown = f" (got {str(value)[:60]!r})" if quoted else ""
    more = f"; {len(others)} more" if others else ""
    where = f":{line}: " if line else ": "
    message = f"{explain.field(first.path)}: {first.message}{shown}{more}"
    return re.sub(r"\s+", " ", f"{where}{message}")


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
        raise InputError(f"{origin}{_explain(e, kind, data, text)}") from None


def read_text(path: Path) -> str:
    """The text of a small file; InputError if it is missing, too large, not text, or no file: a
    pipe may never answer, a device never end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            folder = "a directory, " if path.is_dir() else ""
            raise InputError(f"{path}: {folder}not a regular file")
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            data = file.read(MAX_BYTES + 1)
            after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise InputError(f"{path}: somebody wrote to it while it was read; try again")
        if len(data) > MAX_BYTES:
            size = max(after.st_size, len(data))
            raise InputError(f"{path}: {size:,} bytes; a document has at most {MAX_BYTES:,}")
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file (UTF-8)") from None
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: {getattr(e, 'strerror', None) or e}") from None
