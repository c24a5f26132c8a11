"""Cards and scenarios that a user names, and errors about them that say file, line and field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpflife.model.cards import AttachCard
from bpflife.model.catalogue import card_names, load_card, load_scenario, story_names
from bpflife.model.documents import InputError, Scenario, line_of, parse_document, read_text
from bpflife.model.explain import field as field_words
from bpflife.model.system import System

STEP = re.compile(r"[^ ]+: step (\d+): ((\w+): )?")
FieldPath = tuple[int | str, ...]


def is_file(name: str) -> bool:
    """Whether the catalogue takes a name for a file."""
    return "/" in name or name.endswith((".yaml", ".yml", ".json"))


def scenario(name: str) -> Scenario:
    """A story by name, or a scenario from a file."""
    try:
        return load_scenario(name)
    except InputError as e:
        if name in card_names() or _is_document(name, "api", "scenario"):
            raise InputError(f"{name}: this is a card: bpflife check {name}") from None
        raise _with_hint(name, e) from None


def card(name: str) -> AttachCard:
    """A card by name, or from a file. InputError says where a card's steps went wrong."""
    try:
        return load_card(name)
    except InputError as e:
        stories = [part for story in story_names() for part in (story, story.partition("_")[2])]
        if name in stories or _is_document(name, "scenario", "api"):
            raise InputError(f"{name}: this is a scenario: bpflife run {name}") from None
        if is_file(name):
            raise InputError(_card_error(name, str(e))) from None
        raise _with_hint(name, e) from None


def _with_hint(name: str, error: InputError) -> InputError:
    """The error; where a plain name is that of a file here, how to say that it is meant."""
    if not is_file(name) and Path(name).is_file():
        return InputError(f"{error}; the file here is ./{name}")
    return error


def _text_again(name: str) -> str:
    """The text of a file that could not be used; nothing where it can't be read (any more)."""
    try:
        return read_text(Path(name)) if is_file(name) else ""
    except InputError:
        return ""


def _is_document(name: str, has: str, lacks: str) -> bool:
    """Whether a file is of the kind that has a certain field at the top. By its text: it need
    not be a document that can be read."""
    text = _text_again(name)
    top = r'^(\{ ?)?"?%s"? ?:'
    return bool(re.search(top % has, text, re.M)) and not re.search(top % lacks, text, re.M)


# ---------------------------------------------------------------------------------------------
# where a card's step is


def _card_error(name: str, message: str) -> str:
    """The message with line and field of the step that it is about, where that can be told."""
    field, _, rest = message.removeprefix(f"{name}: ").partition(": ")
    if not rest or not message.startswith(f"{name}: "):
        return message  # it has a line, or there is nothing in the file to point at
    text = _text_again(name)
    try:
        path = _path_of(parse_document(AttachCard, text, name), field, rest)
    except InputError:
        return message  # the file is another one by now
    line = line_of(text, path)
    said = rest.removeprefix(f"args.{path[-1]}: ")  # the path says it
    return f"{name}:{line}: {field_words(path)}: {said}" if line else message


def _path_of(card: AttachCard, field: str, rest: str) -> FieldPath:
    """The path of what a message about `field` says `rest` about.

    A message has no number of its step, and a text can stand in several places. So the card is
    compiled again, a step more each time: the step that brings the message is the one.
    """
    path = tuple(field.split("."))
    if rest.startswith("args."):
        return (*path, "args", rest.removeprefix("args.").partition(":")[0])
    if path[0] == "on_target_death":
        steps = card.on_target_death
    elif path[0] == "operations" and path[-1] in card.own_operations():
        steps = card.own_operations()[path[-1]].steps
        path = (*path, "steps")
    else:
        return path
    message = f"{card.api}: {field}: {rest}"
    for index, step in enumerate(steps):
        for place, shorter in _beginnings(step):
            if _says(_with_steps(card, field, [*steps[:index], shorter]), message):
                return (*path, index, *place)
    return path


def _beginnings(step: Any) -> Iterator[tuple[FieldPath, Any]]:
    """A step without its undo list, then with one line more of it each time."""
    if isinstance(step, str):
        yield (), step
        return
    text, undo = next(iter(step.items()))
    yield (), {text: []}
    for number in range(len(undo)):
        yield (text, number), {text: undo[: number + 1]}


def _with_steps(card: AttachCard, field: str, steps: Sequence[Any]) -> AttachCard:
    if field == "on_target_death":
        return card.model_copy(update={field: steps})
    name = field.rpartition(".")[2]
    operation = card.own_operations()[name].model_copy(update={"steps": steps})
    operations = card.operations.model_copy(update={name: operation})
    return card.model_copy(update={"operations": operations})


def _says(card: AttachCard, message: str) -> bool:
    try:
        System([card])
    except InputError as e:
        return str(e) == message
    return False


# ---------------------------------------------------------------------------------------------
# where a scenario's step is


@contextmanager
def playing(name: str, played: Scenario) -> Iterator[None]:
    """Errors of a step that can't be done, with the file and line of that step."""
    try:
        yield
    except InputError as e:
        raise InputError(_step_error(name, played, str(e))) from None


def _step_error(name: str, played: Scenario, message: str) -> str:
    if not is_file(name):
        return message
    found = STEP.match(message)
    path: FieldPath = (message.partition(":")[0],)
    if found:
        path = ("steps", int(found.group(1)) - 1, found.group(3) or "do")
    line = _line_in(name, played, path)
    where = f"{name}:{line}" if line else name
    return f"{where}: {message.removeprefix(f'{played.scenario}: ')}"


def _line_in(name: str, played: Scenario, path: FieldPath) -> int | None:
    """The line of a field, if the file still is what was played."""
    text = _text_again(name)
    try:
        same = parse_document(Scenario, text, name) == played
    except InputError:
        return None
    return line_of(text, path) if same else None
