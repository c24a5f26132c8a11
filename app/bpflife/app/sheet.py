"""A sheet: lists, buttons and words as a tree of elements, in which every string is text.

Markdown and Str panes render HTML, so nothing that a user, a card or an address brings may go
through them. A sheet's strings become text nodes in the browser, whatever they contain.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import param
from panel.custom import JSComponent

HERE: Final = Path(__file__).parent

Tree = str | list[Any]
Does = Callable[["Message"], None]


def el(tag: str, attributes: dict[str, Any] | None = None, *children: Tree | None) -> Tree:
    """An element; children that are None or empty are left out."""
    return [tag, attributes or {}, *[child for child in children if child]]


def icon(name: str) -> Tree:
    """One of the icons of sheet.js."""
    return ["icon", {"name": name}]


def button(do: str, words: str, value: str = "", *, image: str = "", **attributes: Any) -> Tree:
    """A button that sends `do` with `value`."""
    given: dict[str, Any] = {"type": "button", "data-do": do, "data-value": value, **attributes}
    return el("button", given, icon(image) if image else None, el("span", {"class": "said"}, words))


class Message:
    """What a click, a checkbox or a file said. The browser is not trusted: types are checked."""

    def __init__(self, data: Any) -> None:
        given = data if isinstance(data, dict) else {}
        self.do = self._text(given, "do")
        self.value = self._text(given, "value")
        self.text = self._text(given, "text")
        self.checked = given.get("checked") is True
        size = given.get("size")
        self.size = size if isinstance(size, int) else 0

    @staticmethod
    def _text(given: dict[Any, Any], name: str) -> str:
        value = given.get(name)
        return value if isinstance(value, str) else ""

    def number(self, below: int) -> int | None:
        """The value as an index, if it is one."""
        if not self.value.isascii() or not self.value.isdigit() or len(self.value) > 6:
            return None
        return int(self.value) if int(self.value) < below else None


class Sheet(JSComponent):
    """Shows a tree; `does[NAME]` is called when an element with `data-do` NAME is used."""

    tree = param.List(default=[], doc="elements, as el() makes them")
    theme: param.Selector[str] = param.Selector(default="light", objects=["light", "dark"])

    revealed = param.Integer(default=0, doc="how often reveal() was asked for")
    answered = param.Integer(default=0, doc="how many messages were dealt with")

    _esm = (HERE / "sheet.js").read_text(encoding="utf-8")
    _stylesheets: ClassVar[list[str]] = [(HERE / "sheet.css").read_text(encoding="utf-8")]

    def __init__(self, does: dict[str, Does] | None = None, **params: Any) -> None:
        params.setdefault("sizing_mode", "stretch_width")
        self._does = does or {}
        super().__init__(**params)  # type: ignore[no-untyped-call]

    def draw(self, *tree: Tree | None) -> None:
        """Show these elements; nothing is sent when nothing changed."""
        new = [part for part in tree if part]
        if new != self.tree:
            self.tree = new

    def download(self, name: str, text: str, mime: str) -> None:
        """Let the browser save a text as a file."""
        self._send_msg({"download": {"name": name, "text": text, "mime": mime}})

    def reveal(self) -> None:
        """Scroll the sheet into view, if most of it is below the window's lower edge."""
        self.revealed += 1

    def _handle_msg(self, data: Any) -> None:
        message = Message(data)
        act = self._does.get(message.do)
        try:
            if act is not None:
                act(message)
        finally:
            self.answered += 1
