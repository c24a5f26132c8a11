"""What is wrong with a document, in plain words: pydantic's errors without pydantic's language.

Fields are named as the document has them (the members of a union are our own business), an
unknown field comes before what is missing, since it is often what was meant, and a limit is said
with its number.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

Path = tuple[int | str, ...]

EXPECTED = {
    "model_type": "fields (`name: value`)",
    "dict_type": "fields (`name: value`)",
    "list_type": "a list",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
}
KINDS = {dict: "fields", list: "a list", str: "text", type(None): "nothing"}
UNKNOWN, WRONG, MISSING = range(3)  # in the order in which they are told


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where. `union`: the field whose alternatives this is one of."""

    path: Path
    message: str
    rank: int = WRONG
    union: Path | None = None


def problems(error: ValidationError, kind: type[BaseModel], data: object) -> list[Problem]:
    """Everything that is wrong, what to tell first in front."""
    found = [_problem(dict(e), kind, data) for e in error.errors(include_url=False)]
    found = _without_alternatives(found)
    meant = {
        (*p.path[:-1], name)
        for p in found
        if p.rank == UNKNOWN and (name := _meant(str(p.path[-1]), known_fields(kind, p.path[:-1])))
    }
    found = [p for p in found if p.rank != MISSING or p.path not in meant]
    return sorted(found, key=lambda p: p.rank)


def field(path: Path) -> str:
    """A path for people: they count from 1, and the text of a step is no name of a field."""
    parts = [str(p + 1) if isinstance(p, int) else "undo" if " " in p else p for p in path]
    return ".".join(parts) or "document"


def holds(data: object, part: int | str) -> bool:
    """Whether fields have one of that name, or a list has that place."""
    if isinstance(data, list):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, dict) and part in data


def value_at(data: Any, path: Path) -> Any:
    """What is at a path; None where the document has no such field."""
    for part in path:
        if not holds(data, part):
            return None
        data = data[part]
    return data


def kind_of(data: object) -> str:
    """What a value is, in words."""
    return KINDS.get(type(data), type(data).__name__)


def _problem(error: dict[str, Any], kind: type[BaseModel], data: object) -> Problem:
    path, union = _in_document(error["loc"], data, error["type"] == "missing")
    if error["type"] == "extra_forbidden":
        return Problem(path, _unknown(str(path[-1]), known_fields(kind, path[:-1])), UNKNOWN, union)
    if error["type"] == "missing":
        return Problem(path, "this field is missing", MISSING, union)
    if error["type"] == "value_error":
        inner, message = _of_a_step(error["msg"].removeprefix("Value error, "), error["input"])
        return Problem((*path, *inner), message, WRONG, union)
    return Problem(path, _words(error), WRONG, union)


def _in_document(loc: Path, data: object, missing: bool) -> tuple[Path, Path | None]:
    """An error's path as the document has it, and where it passed through a union."""
    path: Path = ()
    union = None
    for number, part in enumerate(loc, 1):
        if holds(data, part):
            path, data = (*path, part), value_at(data, (part,))
        elif missing and number == len(loc):
            path = (*path, part)
        elif union is None:
            union = path
    return path, union


def _without_alternatives(found: Iterable[Problem]) -> list[Problem]:
    """One problem per union: that of the alternative which was meant, else all in one."""
    kept: list[Problem] = []
    unions: dict[Path, list[Problem]] = {}
    for problem in found:
        if problem.union is None:
            kept.append(problem)
        else:
            unions.setdefault(problem.union, []).append(problem)
    for union, members in unions.items():
        inside = [p for p in members if len(p.path) > len(union)]
        first, *others = dict.fromkeys(p.message for p in members)
        both = " or ".join([first, *(m.removeprefix("expected ") for m in others)])
        kept += inside or [Problem(union, both)]
    return kept


# ---------------------------------------------------------------------------------------------
# words


def _words(error: dict[str, Any]) -> str:
    context, value, sort = error.get("ctx", {}), error["input"], error["type"]
    if sort in EXPECTED:
        return f"expected {EXPECTED[sort]}"
    if sort == "literal_error":
        return f"expected {context['expected']}"
    if sort == "string_pattern_mismatch":
        return _name_words(context["pattern"], value)
    if sort == "string_too_long":
        return f"at most {context['max_length']} characters; this has {len(value):,}"
    if sort == "too_long":
        return f"at most {context['max_length']} entries; there are {len(value):,}"
    if sort == "too_short":
        return f"expected at least {context['min_length']} entry"
    return str(error["msg"])


def _name_words(pattern: str, value: str) -> str:
    """What a name looks like, read from its pattern: `[a-z][a-z0-9_-]{0,39}`."""
    limit = re.search(r"\{0,(\d+)\}", pattern)
    if limit and len(value) > int(limit[1]) + 1:
        return f"a name has at most {int(limit[1]) + 1} characters; this has {len(value):,}"
    rest = "small letters, digits, - and _" if "0-9" in pattern else "small letters and _"
    return f"a name is a small letter, then {rest}"


def _of_a_step(message: str, steps: object) -> tuple[Path, str]:
    """Where in a list of steps a `step N ...` is, and what YAML made of the line there."""
    numbered = re.match(r"step (\d+)\b", message)
    if not numbered or not isinstance(steps, list) or int(numbered[1]) > len(steps):
        return (), message
    index = int(numbered[1]) - 1
    step = steps[index]
    if not isinstance(step, dict) or len(step) != 1:
        return (index,), message
    text, undo = next(iter(step.items()))
    if not isinstance(undo, list):
        if " else" in str(text):
            return (index,), f"the undo list of `{text}` is a list in brackets: [unlock target]"
        return (index,), f"{_as_mapping(step)}, or an undo list is missing (`.. else ERRNO: [..]`)"
    wrong = next((n for n, line in enumerate(undo) if not isinstance(line, str)), None)
    if wrong is None:
        return (index,), message
    return (index, str(text), wrong), _as_mapping(undo[wrong])


def _as_mapping(line: object) -> str:
    if not isinstance(line, dict) or not line:
        return f"a step is a line of text; this is {kind_of(line)}"
    name, value = next(iter(line.items()))
    shown = f"{name}: {value}" if isinstance(value, str | int) else f"{name}:"
    return f'YAML reads this line as a mapping because of its colon: quote it ("{shown[:80]}")'


# ---------------------------------------------------------------------------------------------
# names


def known_fields(kind: type[BaseModel], path: Path) -> list[str]:
    """The fields that a document of this kind can have at a path."""
    models = [kind]
    for part in path:
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        if fields:  # else a place in a list, or a key that the document chose
            models = [m for f in fields for m in _models(f.annotation)]
    return [f.alias or name for m in models for name, f in m.model_fields.items()]


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for inner in typing.get_args(annotation) for m in _models(inner)]


def _meant(name: str, known: Iterable[str]) -> str:
    cutoff = 0.5 if len(name) < 4 else 0.6  # `iz` for `is`
    return next(iter(difflib.get_close_matches(name, list(known), 1, cutoff)), "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...` where a known name is near; else nothing."""
    near = _meant(name, known)
    return f"; did you mean `{near}`?" if near else ""


def _unknown(name: str, known: list[str]) -> str:
    return "no such field" + (did_you_mean(name, known) or f"; there are {', '.join(known)}")
