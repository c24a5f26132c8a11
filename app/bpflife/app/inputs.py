"""Cards and scenarios that a user names, and errors about them that say file, line and field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpflife.model.cards import AttachCard
from bpflife.model.catalogue import load_card, load_scenario
from bpflife.model.documents import InputError, Scenario, line_of, read_text

STEP = re.compile(r"[^ ]+: step (\d+): ((\w+): )?")


def is_file(name: str) -> bool:
    """Whether the catalogue takes a name for a file."""
    return "/" in name or name.endswith((".yaml", ".yml", ".json"))


def scenario(name: str) -> Scenario:
    """A story by name, or a scenario from a file."""
    try:
        return load_scenario(name)
    except InputError as e:
        raise _with_hint(name, e) from None


def card(name: str) -> AttachCard:
    """A card by name, or from a file. InputError says where a card's steps went wrong."""
    try:
        return load_card(name)
    except InputError as e:
        if is_file(name):
            raise InputError(_card_error(name, str(e))) from None
        raise _with_hint(name, e) from None


def _with_hint(name: str, error: InputError) -> InputError:
    """The error; where a plain name is that of a file here, how to say that it is meant."""
    if not is_file(name) and Path(name).is_file():
        return InputError(f"{error}; the file here is ./{name}")
    return error


def _card_error(name: str, message: str) -> str:
    """The message with the line of the field that it names, where that can be told."""
    field, _, rest = message.removeprefix(f"{name}: ").partition(": ")
    if not rest or not message.startswith(f"{name}: "):
        return message  # it has a line, or there is nothing in the file to point at
    text = read_text(Path(name))
    line = _line_of_step(text, rest, line_of(text, tuple(field.split("."))))
    return f"{name}:{line}: {field}: {rest}" if line else message


def _line_of_step(text: str, message: str, start: int | None) -> int | None:
    """The line of the step that a message quotes, from the line where its operation starts."""
    quoted = re.search(r"`([^`]+)`", message)
    if start and quoted:
        for number, line in enumerate(text.splitlines()[start - 1 :], start):
            if quoted.group(1) in line:
                return number
    return start


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
    path: tuple[int | str, ...] = (message.partition(":")[0],)
    if found:
        path = ("steps", int(found.group(1)) - 1, found.group(3) or "do")
    line = line_of(read_text(Path(name)), path)
    where = f"{name}:{line}" if line else name
    return f"{where}: {message.removeprefix(f'{played.scenario}: ')}"
