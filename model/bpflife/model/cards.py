"""Attach cards: what an attach API is, as data.

A card names the hook's target (what keeps it, how it comes and goes), the program type, and the
operations attach, detach and replace plus the target's death, each as a list of kernel steps in
the vocabulary of `vocabulary/`. The files of `linux/` hold the system calls without a hook in the
same form.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from .documents import Document, Line, Name, Step, Text

Steps = Annotated[list[Any], Field(min_length=1, max_length=40)]
ArgKind = Annotated[str, Field(pattern=r"^[a-z][a-z_|]{0,29}$|^KIND$")]


class Operation(Document):
    """One operation: the system call for people and for the kernel, and its steps.

    `args`: argument -> a kind of object (the argument is a descriptor of one; for a target that
    a directory holds, its name), `fd`, `path` or `maps`. `makes`: the argument that names the new
    object, or several. `sentence` and `call` may use `{actor}`, every argument, and every register.
    `does`: the step of scenarios that this is one variant of (with its own arguments). `types`:
    what its `type` may be, the usual one first. `never`: argument -> a kind of object that
    scenarios don't pass there, `only`: argument -> the types of map that they do (README: what the
    model leaves out). `given`: arguments that must have got a number once: what the kernel makes
    of -1 there is another matter. `elsewhere`: what to say where the call can't be taken.
    """

    title: Line
    sentence: Line
    args: dict[Name, ArgKind] = {}
    makes: Name | list[Name] = []
    does: Name | None = None
    types: list[Name] = []
    never: dict[Name, Name] = {}
    elsewhere: Line = ""
    only: dict[Name, list[Name]] = {}
    given: list[Name] = []
    call: Line = ""
    kernel: dict[str, Any] = Field(default={}, description="what the kernel runner calls")
    cite: list[Line] = []
    steps: Steps

    @field_validator("steps")
    @classmethod
    def _shape(cls, steps: list[Any]) -> list[Any]:
        for number, step in enumerate(steps, 1):
            check_step(step, number)
        return steps

    @property
    def made(self) -> list[str]:
        """The arguments that name new objects, in the order in which they are born."""
        return [self.makes] if isinstance(self.makes, str) else list(self.makes)

    @field_validator("args")
    @classmethod
    def _own_names(cls, args: dict[str, str]) -> dict[str, str]:
        for name in RESERVED & set(args):
            raise ValueError(f"`{name}` has a meaning of its own; call the argument otherwise")
        return args


RESERVED = {"me", "by", "do", "say", "errno", "type", "rule", "api", "as", "name", "entry", "dir"}


def check_step(step: Any, number: int) -> None:
    """A step is a line, or one line with an undo list; ValueError says what it is instead."""
    if isinstance(step, str):
        return
    if not isinstance(step, dict) or len(step) != 1:
        raise ValueError(f"step {number} is not a line, nor `STEP else ERRNO: [undo steps]`")
    text, undo = next(iter(step.items()))
    fine = isinstance(undo, list) and all(isinstance(u, str) for u in undo)
    if not isinstance(text, str) or not fine or len(undo) > 20:
        raise ValueError(f"step {number}: the undo list of `{text}` is not a list of lines")


def _own_kind(kind: str) -> str:
    if kind in ("file", "map", "prog", "fd", "path", "maps", "any", "link"):
        raise ValueError(f"`{kind}` can't be used here: the word has a meaning of its own")
    return kind


Kind = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,29}$"), AfterValidator(_own_kind)]


class Target(Document):
    """What the hook belongs to. `held_by`: what keeps the target alive: an open file (it dies
    with the last descriptor), a directory or a registration (it dies when somebody removes it), or
    the kernel, of which it is a part (it never dies; a scenario gives it a name).
    `readers`: the flavour of RCU under which an event runs what is attached. `call`: how strace
    prints the system call that makes one, where the card brings it."""

    kind: Kind
    readers: Literal["rcu", "rcu tasks trace"] = "rcu"
    held_by: Literal["file", "directory", "registration", "kernel"]
    made_by: Name
    removed_by: Name | None = None
    call: Text = ""


class Expectation(Document):
    """A verdict that the card's author expects, and why."""

    is_: Literal["VIOLATED", "DOES NOT APPLY"] = Field(alias="is")
    because: Line


class Variant(Operation):
    """Another form of an operation, with arguments of its own: `of: replace`."""

    of: Literal["attach", "replace", "detach"]


class Operations(Document):
    """The operations of the hook. `detach: on_target_death`: only the target's end detaches.
    `replace: attach`: attaching to a populated hook replaces what is there."""

    attach: Operation
    detach: Operation | Literal["on_target_death"]
    replace: Operation | Literal["attach"] | None = None
    variants: dict[Name, Variant] = {}


class AttachCard(Document):
    """One attach API."""

    api: Name
    version: Literal[1] = 1
    title: Line
    since: Line
    about: Text = ""
    cite: list[Line] = []
    target: Target
    program: Name = Field(description="the type of program that the hook takes")
    parts: list[Name] = Field(
        default=[], description="parts of Linux that its steps are about, besides the core"
    )
    link: Kind | None = Field(
        default=None, description="the kind of link that attach makes, where it makes one"
    )
    record: Kind | None = Field(
        default=None,
        description="the kind of record that attach puts into the hook's list, which holds it",
    )
    mode: Name | None = Field(
        default=None, description="what sets it apart from another card about the same entry"
    )
    asks: dict[str, Any] = Field(
        default={}, description="how the kernel runner asks what is attached to the hook"
    )
    operations: Operations
    on_target_death: Steps
    on_last_put: Annotated[list[Any], Field(max_length=40)] = Field(
        default=[], description="what a link or a record does when its last reference goes"
    )
    expect: dict[Name, Expectation] = {}
    example: Annotated[list[Step], Field(max_length=40)] = Field(
        default=[], description="a scenario of its operations, by which a kernel confirms the card"
    )

    @field_validator("on_target_death", "on_last_put")
    @classmethod
    def _shape(cls, steps: list[Any]) -> list[Any]:
        for number, step in enumerate(steps, 1):
            check_step(step, number)
        return steps

    @model_validator(mode="after")
    def _link_and_end(self) -> Self:
        if self.link and self.record:
            raise ValueError("record: attach makes a link or a record, not both")
        made = self.link or self.record
        if made and not self.on_last_put:
            what = "link" if self.link else "record"
            raise ValueError(
                f"on_last_put: this field is missing: what does the {what} do at its end?"
            )
        if self.on_last_put and not made:
            raise ValueError("link: this field is missing: which kind of link has `on_last_put`?")
        return self

    @property
    def hook(self) -> tuple[str, str]:
        """The hook that it is about: a kind of target, and the type of program that it takes."""
        return self.target.kind, self.program

    @property
    def way(self) -> tuple[str, str]:
        """Which hook, and how a program gets there: by what object, if by any."""
        return self.program, self.link or self.record or self.mode or ""

    @property
    def keeps_entry(self) -> bool:
        """The hook has one place for a program, its entry."""
        return any(" entry" in text for text in self._texts())

    @property
    def limited(self) -> bool:
        """The hook's list has room for so many attachments and no more."""
        return any(text.startswith("expect room for") for text in self._texts())

    @property
    def prioritized(self) -> bool:
        """What it attaches says when it runs."""
        return any(" at priority" in text for text in self._texts())

    def _texts(self) -> list[str]:
        """The steps in words, but for those of the end of a link or record."""
        steps = [
            *self.on_target_death,
            *(x for o in self.own_operations().values() for x in o.steps),
        ]
        return [x if isinstance(x, str) else next(iter(x)) for x in steps]

    def own_operations(self) -> dict[str, Operation]:
        """The operations with steps of their own, by name."""
        ops = {n: getattr(self.operations, n) for n in ("attach", "replace", "detach")}
        ops |= self.operations.variants
        return {n: o for n, o in ops.items() if isinstance(o, Operation)}


class HowMade(Document):
    """How a target of one sort of holder comes and (if not by its file's end) goes."""

    make: Operation
    remove: Operation | None = None


class Release(Document):
    """What a dying object of a base kind does."""

    cite: list[Line] = []
    steps: Steps


class Linux(Document):
    """A file of linux/: system calls, the targets' life, release paths."""

    operations: dict[Name, Operation] = {}
    targets: dict[Literal["directory", "registration", "file", "kernel"], HowMade] = {}
    release: dict[Name, Release] = {}
