"""The address bar: which page is open, and the whole scenario that is being built.

    ?story=3_pin
    ?page=build&cards=cgroup_legacy&steps=loader:map_create,map=counts;loader:exit
    ?page=check&card=bad_replace_gap&property=replace-never-empty

A step is `ACTOR:DO,NAME=VALUE,...` (no actor: an event), steps are joined by `;`, a list is
`(A~B)`. Every value is percent-encoded on its own, so that nothing in it can end anything; what
is not exactly in this form is refused in one line, but for parameters that are none of ours
(`utm_source=...`): they are left out, and named. Reading an address runs nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from pydantic import ValidationError

from bpflife.model.documents import InputError, Scenario, Step

MAX_ADDRESS: Final = 8000
MAX_PARTS: Final = 18
PAGES: Final = ("stories", "build", "check")
KEYS: Final = (
    "page",
    "story",
    "step",
    "name",
    "title",
    "cards",
    "settle",
    "linux",
    "steps",
    "card",
    "property",
)
UNTITLED: Final = "my_scenario"

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")
_VALUE: Final = re.compile(r"(?! )(?!.* $)[A-Za-z0-9_./#! -]{1,100}")  # `file 1` is a name too
_FIELD: Final = re.compile(r"[a-z_]{1,30}")
_STRAY: Final = re.compile(r"[^\x21-\x7e]|%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Address:
    """What an address asks for; empty parts were not given."""

    page: str = "stories"
    story: str = ""
    step: int | None = None
    scenario: Scenario | None = None
    card: str = ""
    property: str = ""
    ignored: tuple[str, ...] = ()  # parameters that mean nothing here


# ---------------------------------------------------------------------------------------------
# writing


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"({'~'.join(quote(str(v), safe='/') for v in value)})"
    if isinstance(value, (bool, int)):
        return quote(f"#{json.dumps(value)}")  # not the name `true`, not the name `1`
    return quote(str(value), safe="/")


def step_text(step: Step) -> str:
    """One step as the address has it."""
    fields = dict(step.args)
    for name in ("errno", "say"):
        if getattr(step, name):
            fields[name] = getattr(step, name)
    head = f"{step.by}:{step.do}" if step.by else step.do
    return ",".join([head, *(f"{name}={_value(v)}" for name, v in fields.items())])


def scenario_address(scenario: Scenario, step: int | None = None) -> str:
    """The address that opens the builder with this scenario. InputError if it would be too long.

    The narrator's sentences are left out when the address is too long with them.
    """
    for said in (True, False):
        steps = scenario.steps
        if not said:
            steps = [s.model_copy(update={"say": None}) for s in steps]
        parts = ["page=build"]
        if scenario.scenario != UNTITLED:
            parts.append(f"name={scenario.scenario}")
        if scenario.title:
            parts.append(f"title={_value(scenario.title)}")
        if scenario.cards:
            parts.append(f"cards={','.join(scenario.cards)}")
        if not scenario.settle:
            parts.append("settle=no")
        if scenario.linux != "all":
            parts.append(f"linux={scenario.linux}")
        if steps:
            parts.append(f"steps={';'.join(step_text(s) for s in steps)}")
        if step is not None:
            parts.append(f"step={step}")
        text = f"?{'&'.join(parts)}"
        if len(text) <= MAX_ADDRESS:
            return text
    raise InputError("the scenario is too long for the address: download it to keep it")


def page_address(page: str, **parts: str | int | None) -> str:
    """The address of a page, with what is open in it; empty parts are left out."""
    given = {name: value for name, value in parts.items() if value not in ("", None)}
    shown = [f"{name}={_value(str(value))}" for name, value in given.items()]
    if page == "stories":
        return f"?{'&'.join(shown)}" if shown else "?page=stories"
    return f"?{'&'.join([f'page={page}', *shown])}"


# ---------------------------------------------------------------------------------------------
# reading


def parse_address(search: str) -> Address:
    """What the part of an address from `?` on asks for. InputError says what is wrong with it."""
    text = search.removeprefix("?")
    if not text:
        return Address()
    if len(text) > MAX_ADDRESS:
        raise InputError(f"it is {len(text):,} characters long; at most {MAX_ADDRESS:,} are read")
    if _STRAY.search(text):
        raise InputError("it holds a character that no address has")
    given, ignored = _pairs(text)
    page = given.get("page") or ("build" if "steps" in given else "stories")
    if page not in PAGES:
        raise InputError(f"there is no page `{page[:40]}`; there are {', '.join(PAGES)}")
    return Address(
        page=page,
        story=_one(given, "story", _WORD),
        step=_number(given),
        scenario=_scenario(given) if page == "build" else None,
        card=_one(given, "card", _NAME),
        property=_one(given, "property", _NAME),
        ignored=ignored,
    )


def _pairs(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The parts that are ours, and the names of all others."""
    found: dict[str, str] = {}
    ignored = []
    parts = text.split("&")
    if len(parts) > MAX_PARTS:
        raise InputError("it has too many parts")
    for part in parts:
        key, equals, value = part.partition("=")
        if key not in KEYS:
            ignored.append(key[:40])
            continue
        if not equals:
            raise InputError(f"`{key}` has no value")
        if key in found:
            raise InputError(f"`{key}` is there twice")
        found[key] = value
    return found, tuple(name for name in ignored if name)


def _decoded(text: str, what: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InputError(f"{what} is not text (UTF-8)") from None


def _one(given: dict[str, str], key: str, form: re.Pattern[str]) -> str:
    text = _decoded(given.get(key, ""), key)
    if text and not form.fullmatch(text):
        raise InputError(f"`{key}` is not a name")
    return text


def _number(given: dict[str, str]) -> int | None:
    text = given.get("step", "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise InputError("`step` is not a number")
    return int(text)


def _scenario(given: dict[str, str]) -> Scenario | None:
    if not any(key in given for key in ("name", "title", "cards", "settle", "linux", "steps")):
        return None
    if given.get("settle", "yes") not in ("yes", "no"):
        raise InputError("`settle` is yes or no")
    if given.get("linux", "all") not in ("all", "core"):
        raise InputError("`linux` is all or core")
    cards = [part for part in given.get("cards", "").split(",") if part]
    for card in cards:
        if not _NAME.fullmatch(card):
            raise InputError("`cards` is not a list of names")
    texts = [part for part in given.get("steps", "").split(";") if part]
    steps = [_read_step(part, number) for number, part in enumerate(texts, 1)]
    fields = {
        "scenario": _one(given, "name", _NAME) or UNTITLED,
        "title": _decoded(given.get("title", ""), "title"),
        "cards": cards,
        "settle": given.get("settle") != "no",
        "linux": given.get("linux", "all"),
        "steps": steps,
    }
    return _valid(lambda: Scenario.model_validate(fields))


def _read_step(text: str, number: int) -> dict[str, Any]:
    head, *fields = text.split(",")
    by, colon, do = head.rpartition(":")
    if not _NAME.fullmatch(do) or (colon and not _NAME.fullmatch(by)):
        raise InputError(f"step {number} does not start with ACTOR:STEP")
    found: dict[str, Any] = {"do": do}
    if colon:
        found["by"] = by
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not _FIELD.fullmatch(name) or name in found:
            raise InputError(f"step {number}: `{name[:30]}` is not NAME=VALUE, or is there twice")
        found[name] = _read_value(value, name, number)
    return found


def _read_value(text: str, name: str, number: int) -> str | list[str] | int:
    if name == "say":
        return _decoded(text, f"step {number}")
    if text.startswith("(") and text.endswith(")"):
        return [_token(part, name, number) for part in text[1:-1].split("~") if part]
    value = _token(text, name, number)
    literal = re.fullmatch(r"#(true|false|0|[1-9][0-9]{0,3})", value)
    return json.loads(literal[1]) if literal else value


def _token(text: str, name: str, number: int) -> str:
    value = _decoded(text, f"step {number}")
    if not _VALUE.fullmatch(value):
        raise InputError(f"step {number}: `{name}` has no value that a step can have")
    return value


def _valid(make: Callable[[], Scenario]) -> Scenario:
    try:
        return make()
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(p + 1) if isinstance(p, int) else str(p) for p in first["loc"])
        raise InputError(f"{field}: {first['msg'].splitlines()[0][:160]}") from None
