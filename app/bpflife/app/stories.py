"""The first page: a story plays, the others are one click away."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import panel as pn
from panel.viewable import Viewable

from bpflife.app.address import Address, page_address
from bpflife.app.layout import beside
from bpflife.app.player import TracePlayer
from bpflife.app.session import batch
from bpflife.app.sheet import Message, Sheet, Tree, button, el
from bpflife.model.catalogue import load_scenario, story_names
from bpflife.model.documents import InputError, Scenario, Trace
from bpflife.model.simulator import play

if TYPE_CHECKING:
    from bpflife.app.shell import Shell


@functools.cache
def _told(name: str) -> tuple[Scenario, Trace]:
    """A story and its trace; they don't change while the server runs."""
    story = load_scenario(name)
    return story, play(story)


def _known(name: str) -> str:
    """The full name of a story (`pin` is `3_pin`). InputError names those there are."""
    for known in story_names():
        if name in (known, known.partition("_")[2]):
            return known
    raise InputError(f"there is no story `{name[:40]}`; there are {', '.join(story_names())}")


class StoriesPage:
    """The list of stories, and the one that plays."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.name = ""
        self.player = TracePlayer(shell.dark, shell.narrow, moved=shell.stepped)
        self.list = Sheet({"story": self._chosen}, theme=shell.theme)
        self.head = Sheet({"build": self._build}, theme=shell.theme, margin=(0, 0, 6, 0))

    def view(self) -> list[Viewable]:
        """The page, from left to right."""
        main = pn.Column(self.head, *self.player.views(), sizing_mode="stretch_width", margin=0)
        return [beside(self.list, main)]

    def open(self, address: Address) -> None:
        """Play the story that the address names, or the first one."""
        self._play(_known(address.story or story_names()[0]), address.step)

    def address(self) -> str:
        """What the address bar shows: with the step where the user stopped, if they did."""
        return page_address("stories", story=self.name, step=self.player.stopped)

    def title(self) -> str:
        """The story's title."""
        story, _trace = _told(self.name)
        return story.title or story.scenario

    def restyle(self) -> None:
        """Follow theme and width."""
        self.list.theme = self.head.theme = self.shell.theme
        self.player.restyle(self.shell.dark, self.shell.narrow)

    def enter(self) -> None:
        """The page is shown again, as it was left."""

    def leave(self) -> None:
        """Another page opens: stop the animation."""
        self.player.picture.playing = False

    def _chosen(self, message: Message) -> None:
        if message.value in story_names():
            self._play(message.value, None)
            self.shell.moved()

    def _build(self, _: Message) -> None:
        story, _trace = _told(self.name)
        self.shell.build(story)

    def _play(self, name: str, step: int | None) -> None:
        story, trace = _told(name)
        self.name = name
        with batch():
            self.list.draw(*self._entries())
            self.head.draw(
                el(
                    "div",
                    {"class": "row spread under"},
                    el("h1", {}, story.title or story.scenario),
                    el(
                        "div",
                        {"class": "row"},
                        button("copy", "Copy link", image="link"),
                        button("build", "Open in Build", image="build"),
                    ),
                ),
                el("p", {"class": "soft lead"}, story.about) if story.about else None,
            )
            self.player.load(trace, step or 0, play=step is None)

    def _entries(self) -> list[Tree]:
        entries = []
        for name in story_names():
            story, _ = _told(name)
            attributes = {
                "class": "story",
                "data-do": "story",
                "data-value": name,
                "href": page_address("stories", story=name),
            }
            if name == self.name:
                attributes["aria-current"] = "true"
            link = el("a", attributes, el("b", {}, story.title), el("span", {}, story.about))
            entries.append(el("li", {}, link))
        return [
            el(
                "nav",
                {"class": "stack", "aria-label": "stories"},
                el("h2", {}, "Stories"),
                el("ul", {"class": "plain"}, *entries),
                el(
                    "p",
                    {"class": "soft small keys"},
                    "Keys, when the picture has the focus: right and left step, space plays, "
                    "Home and End jump.",
                ),
            )
        ]
