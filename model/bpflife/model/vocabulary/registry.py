"""How a form of step is registered and found: `@step("get {reg} from {arg}")`.

`make_step` turns a text into a `Step`; a text that means nothing here is a StepError that says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .. import state as s
from ..state import Family, View
from ..steps import Env, Frame, Guard, Step, StepError
from ..values import LIFE, OBJ, Value, ne

Maker = Callable[..., Step]
OWN_SLOTS: dict[str, Family] = {  # `put object`: a slot of the dying object, not a register
    "object": s.FILE_OBJ,
    "pinned": s.INODE_OBJ,
    "root": s.ROOT,
    "used": s.USED,
    "elems": s.ELEM,
    "cargo": s.CARGO,
    "btf": s.BTF_OF,
    "net": s.SK_NET,
    "born": s.BORN,
    "peer_born": s.PEER_BORN,
    **{family.name: family for family in s.VERDICTS},
    "program": s.LINK_PROG,
    "held": s.HOLDS,
}
VOCABULARY: dict[str, tuple[re.Pattern[str], Maker, str]] = {}
PART: dict[str, str] = {}  # form -> the part of Linux that it is about, if it is not the core


def step(pattern: str, part: str = "core") -> Callable[[Maker], Maker]:
    """Register one form of step; `{x}` in the pattern is a word, `{n}` a number. Where a system
    lacks `part` of Linux (or one of several, joined by +), the step is left out of every
    operation."""
    numbers = re.escape(pattern).replace(r"\{n\}", "(?P<n>[0-9]{1,4})")
    regex = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[a-z][a-z0-9_]*)", numbers)

    def add(make: Maker) -> Maker:
        doc = " ".join((make.__doc__ or "").split())
        VOCABULARY[pattern] = (re.compile(regex), make, doc)
        PART[pattern] = part
        return make

    return add


def part_of(text: str) -> str:
    """The part of Linux that a step is about."""
    text = f"{text}: begin" if text.startswith("wait ") else text
    for form, (regex, _, _) in VOCABULARY.items():
        found = regex.fullmatch(text)
        if found:
            slot = OWN_SLOTS.get(found.groupdict().get("reg", "")) if form[:4] == "put " else None
            return slot.part if slot else PART[form]
    return "core"


def make_step(frame: Frame, text: str, errno: str = "") -> Step:
    """The step that a text stands for; StepError if there is none."""
    for form, (regex, make, _) in VOCABULARY.items():
        found = regex.fullmatch(text)
        if found:
            words = found.groupdict()
            _check_words(frame, form, words)
            extra: dict[str, Any] = {"errno": errno} if "errno" in make.__annotations__ else {}
            made = make(frame, **words, **extra)
            first = _not_freed(frame) if _on_target(form, words) else ()
            return replace(made, first=(*first, *made.first))
    raise StepError(f"no such step: `{text}` (bpflife list vocabulary shows them)")


def _on_target(form: str, words: Mapping[str, str]) -> bool:
    """The step reads or writes the memory of the hook target."""
    return any(x in form for x in (" entry", " target")) or words.get("arg") in ("entry", "dir")


def _not_freed(f: Frame) -> tuple[tuple[Guard, str], ...]:
    """What a task's step needs of its hook target. (A dying object's memory is its own.)"""
    if f.owner == OBJ:
        return ()

    def holds(k: View, e: Env) -> Value:
        return ne(k.get(s.LIFE_OF, f.target(k, e)), LIFE.freed)

    return ((holds, "the hook that the call works on is not freed memory"),)


def _check_words(f: Frame, form: str, words: Mapping[str, str]) -> None:
    """The words of a step mean something here; StepError says which does not."""
    for name in (words.get("reg"), words.get("file")):
        if name in OWN_SLOTS and not (form.startswith("put") and f.owner == OBJ):
            raise StepError(f"`{name}` is a slot of a dying object, not a local")
    arg = words.get("arg")
    if arg == "dir" and not f.dir.owners:
        raise StepError("`dir`: this target is held by an open file, it has no directory")
    by_name = f.args.get(arg or "") in f.dir.owners
    if by_name:
        raise StepError(f"`{arg}` is a name, not a descriptor: find {arg}")
    kind = words.get("kind")
    if kind and kind not in f.kinds:
        raise StepError(f"no kind of object `{kind}`; there are {', '.join(f.kinds)}")
    if form.startswith("create ") and f.owner == OBJ:
        raise StepError("create: a dying object makes nothing new")
    if form.startswith("make ") and kind not in f.dir.owners:
        raise StepError(f"make {kind}: only what a directory holds is made so; create X {kind}")


def registers_of(text: str) -> list[tuple[str, bool]]:
    """The registers that a step names, each with whether the step makes it a counted local
    (every form but `copy` does)."""
    for form, (regex, _, _) in VOCABULARY.items():
        found = regex.fullmatch(text)
        if found:
            words = found.groupdict()
            names = [words[g] for g in ("reg", "file") if g in words]
            return [(n, not form.startswith("copy")) for n in names if n not in OWN_SLOTS]
    return []


def nothing(k: View, e: Env) -> None:
    """The effect of a step that only checks or waits."""
