"""The builder: what can happen next, one click per step; the address bar holds the scenario."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import panel as pn
from panel.viewable import Viewable

from bpflife.app.address import UNTITLED, Address, page_address, scenario_address, step_text
from bpflife.app.files import scenario_yaml
from bpflife.app.layout import beside
from bpflife.app.picture.standalone import standalone_html
from bpflife.app.player import TracePlayer
from bpflife.app.session import batch
from bpflife.app.sheet import Message, Sheet, Tree, button, el, icon
from bpflife.model.catalogue import card_names, load_card, system_of
from bpflife.model.choices import Choice, choices
from bpflife.model.documents import MAX_BYTES, InputError, Scenario, Step, Trace, parse_document
from bpflife.model.graphs import IDLE
from bpflife.model.language import Language, where
from bpflife.model.properties import CATALOGUE
from bpflife.model.simulator import Player
from bpflife.model.state import PC
from bpflife.model.values import TASK

if TYPE_CHECKING:
    from bpflife.app.shell import Shell

MAX_STEPS: Final = 200
MAX_CHOICES: Final = 400
FILTER_FROM: Final = 12  # choices; a short list needs no filter
DEFAULT_CARD: Final = "cgroup_legacy"
COUNTEREXAMPLE: Final = re.compile(r"(?P<card>[a-z0-9_-]+): (?P<title>.+), violated")


class Played(NamedTuple):
    """A scenario's trace, the state right after each of its steps, and whether it ends inside
    of a call."""

    trace: Trace
    after: list[int]
    in_flight: bool


def played(scenario: Scenario) -> Played:
    """Play a scenario. InputError names the step that can't be done."""
    player = Player(system_of(scenario), scenario.title or scenario.scenario)
    player.scenario = scenario
    after = []
    for number, step in enumerate(scenario.steps):
        after.append(len(player.steps) + 1)
        player.play(step, where(scenario, number), scenario.settle)
        if player.violation:
            after[-1] = len(player.states) - 1
            break
    world = player.world
    calls = [world.get(PC, task) for task in world.scope.domain(TASK)]
    return Played(player.trace(), after, any(place != IDLE for place in calls))


def step_words(step: Step, language: Language) -> str:
    """A step in words: what it does, and to what. The usual type or mode goes without saying."""
    try:
        spec = language.spec(step, "")
        title, usual = spec.title, {a.name: a.words[0] for a in spec.args if a.words}
    except InputError:
        title, usual = step.do, {}
    given = {n: v for n, v in step.args.items() if n != "api" and v != usual.get(n)}
    shown = [words for name, value in given.items() if (words := _value_words(name, value))]
    return f"{title}: {', '.join(shown)}" if shown else title


def _value_words(name: str, value: object) -> str:
    """A list is of maps; a flag is its name, or nothing."""
    if isinstance(value, bool):
        return name if value else ""
    return f"uses {', '.join(value) or 'no map'}" if isinstance(value, list) else str(value)


class BuildPage:
    """Steps and choices on the left, the picture of the whole scenario on the right."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.scenario = empty()
        self.cleared: Scenario | None = None  # what "start over" took away
        self.after: list[int] = []
        self.in_flight = False
        self.choices: dict[str, Choice] = {}
        self.turn = 0
        self.player = TracePlayer(shell.dark, shell.narrow, self._stepped, shell.stepped)
        theme = shell.theme
        self.head = Sheet(
            {
                "undo": self._undo,
                "restart": self._restart,
                "download": self._download,
                "save": self._save,
            },
            theme=theme,
            margin=(0, 0, 10, 0),
        )
        self.side = Sheet({"jump": self._jump}, theme=theme)
        self.next = Sheet(
            {
                "choose": self._choose,
                "card": self._card,
                "settle": self._settle,
                "open": self._file,
            },
            theme=theme,
        )

    def view(self) -> list[Viewable]:
        """The page, from top to bottom."""
        main = pn.Column(*self.player.views(), sizing_mode="stretch_width", margin=0)
        side = pn.Column(self.side, self.next, sizing_mode="stretch_width", margin=0)
        return [self.head, beside(side, main, width="400px")]

    def open(self, address: Address) -> None:
        """Open the scenario of the address; without one, go on or begin with nothing."""
        self._use(address.scenario or empty(), address.step)

    def address(self) -> str:
        """The address that restores this scenario, and the step where the user stopped."""
        stopped = self.player.stopped
        return scenario_address(self.scenario, None if stopped == self.player.last else stopped)

    def title(self) -> str:
        """The scenario's title."""
        return self._heading()

    def enter(self) -> None:
        """The page is shown again, as it was left."""

    def restyle(self) -> None:
        """Follow theme and width."""
        self.head.theme = self.side.theme = self.next.theme = self.shell.theme
        self.player.restyle(self.shell.dark, self.shell.narrow)

    def leave(self) -> None:
        """Another page opens: stop the animation."""
        self.player.picture.playing = False

    # -- the scenario ----------------------------------------------------------------------------

    def _use(self, scenario: Scenario, step: int | None = None, *, play: bool = False) -> None:
        """Play a scenario and show it. InputError leaves what was there."""
        trace, after, in_flight = played(scenario)
        found = {step_text(c.step): c for c in choices(scenario, MAX_CHOICES)}
        self.scenario, self.after, self.choices = scenario, after, found
        self.in_flight = in_flight
        self.turn += 1
        last = len(trace.states) - 1
        shown = last if step is None else min(step, last)
        with batch():
            self.player.load(trace, shown, play=play and shown < last)
            self._show_head()
            self._show_steps(shown)
            self._show_next()

    def _change(self, scenario: Scenario, *, added: bool = False) -> None:
        """The user's change: show it, or say in one line why it can't be."""
        try:
            if len(scenario.steps) > MAX_STEPS:
                raise InputError(f"a scenario has at most {MAX_STEPS} steps")
            self._use(scenario)
        except InputError as e:
            self.turn += 1
            self._show_next()  # a checkbox goes back to what holds
            self.shell.notice(f"{str(e).removeprefix(scenario.scenario + ': ')}.")
            return
        if added and self.after:  # show the new step, then what the kernel does about it
            first = self.after[-1]
            with batch():
                self.player.picture.step = first
                self.player.picture.playing = first < self.player.last
        self.shell.moved()

    def _choose(self, message: Message) -> None:
        choice = self.choices.get(message.value)
        if choice is None:  # a click on a list that has changed meanwhile
            return
        self.cleared = None
        steps = [*self.scenario.steps, choice.step]
        self._change(self.scenario.model_copy(update={"steps": steps}), added=True)

    def _undo(self, _: Message) -> None:
        if self.scenario.steps:
            steps = self.scenario.steps[:-1]
            self._change(self.scenario.model_copy(update={"steps": steps}))
        elif self.cleared is not None:
            back, self.cleared = self.cleared, None
            self._change(back)

    def _restart(self, _: Message) -> None:
        if self.scenario.steps:
            self.cleared = self.scenario
            cards, settle = self.scenario.cards, self.scenario.settle
            self._change(empty().model_copy(update={"cards": cards, "settle": settle}))

    def _card(self, message: Message) -> None:
        cards = [c for c in self.scenario.cards if c != message.value]
        if message.checked and message.value in card_names():
            cards.append(message.value)
        self._change(self.scenario.model_copy(update={"cards": cards}))

    def _settle(self, message: Message) -> None:
        self._change(self.scenario.model_copy(update={"settle": message.checked}))

    def _file(self, message: Message) -> None:
        try:
            if message.size > MAX_BYTES:
                raise InputError(f"{message.value}: a scenario has at most {MAX_BYTES:,} bytes")
            scenario = parse_document(Scenario, message.text, message.value or "the file")
        except InputError as e:
            self.shell.notice(f"{e}.")
            return
        self.cleared = None
        self._change(scenario)

    def _download(self, _: Message) -> None:
        name = f"{self.scenario.scenario}.yaml"
        self.head.download(name, scenario_yaml(self.scenario), "application/yaml")

    def _save(self, _: Message) -> None:
        if self.player.trace is not None:
            name = f"{self.scenario.scenario}.html"
            self.head.download(name, standalone_html(self.player.trace), "text/html")

    def _jump(self, message: Message) -> None:
        number = message.number(len(self.after) + 1)
        if number is not None:
            self.player.go(0 if number == 0 else self.after[number - 1])

    def _stepped(self, step: int) -> None:
        self._show_steps(step)

    # -- what is shown ---------------------------------------------------------------------------

    def _heading(self) -> str:
        question = COUNTEREXAMPLE.fullmatch(self.scenario.title)
        if question is not None:
            return f"Counterexample to \u201c{question['title']}\u201d"
        own = self.scenario.scenario == UNTITLED and not self.scenario.title
        return "Build a scenario" if own else self.scenario.title or self.scenario.scenario

    def _show_head(self) -> None:
        steps = len(self.scenario.steps)
        can_undo = bool(steps or self.cleared)
        undo = "Undo" if steps or not self.cleared else "Undo start over"
        self.head.draw(
            el(
                "div",
                {"class": "row spread"},
                el("h1", {}, self._heading()),
                el(
                    "div",
                    {"class": "row"},
                    button("undo", undo, image="undo", **_off(not can_undo)),
                    button("restart", "Start over", image="restart", **_off(not steps)),
                    button(
                        "download",
                        "Download",
                        image="download",
                        title="a file that `bpflife run` plays",
                    ),
                    button(
                        "save",
                        "Save as page",
                        image="download",
                        title="one HTML file that plays without this app",
                        **_off(not steps),
                    ),
                    button("copy", "Copy link", image="link"),
                ),
            )
        )

    def _show_steps(self, shown: int) -> None:
        language = Language(system_of(self.scenario))
        now = sum(1 for first in self.after if first <= shown)
        violation = self.player.trace.violation if self.player.trace else None
        entries = [self._entry(0, "", "nothing has happened yet", now == 0, False)]
        for number, step in enumerate(self.scenario.steps, 1):
            wrong = violation is not None and number == len(self.after)
            words, by, errno = self._said(number, step, language)
            entries.append(self._entry(number, by, words, number == now, wrong, errno))
        self.side.draw(
            el(
                "section",
                {"class": "stack", "aria-label": "steps of the scenario"},
                el(
                    "div",
                    {"class": "row spread"},
                    el("h2", {}, "Steps"),
                    el("span", {"class": "soft small"}, "click one to see that moment"),
                ),
                self._origin(),
                el("ol", {"class": "plain scrolling", "data-follow": "yes"}, *entries),
            )
        )

    def _said(self, number: int, step: Step, language: Language) -> tuple[str, str, str]:
        """A step in words, who does it, and the errno that it failed with. A single rule has no
        words of its own: it says what it did."""
        words, by = step_words(step, language), step.by or ""
        trace = self.player.trace
        if trace is None or number > len(self.after) or self.after[number - 1] > len(trace.steps):
            return words, by, ""
        done = trace.steps[max(self.after[number - 1] - 1, 0)]
        if step.do == "fire":
            words, by = done.sentence, ""
        return words, by, done.errno or ""

    def _origin(self) -> Tree | None:
        """Where a counterexample comes from: its play does not show what is wrong with it."""
        cards, question = self.scenario.cards, COUNTEREXAMPLE.fullmatch(self.scenario.title)
        if question is None or question["card"] not in cards:
            return None
        names = [p.name for p in CATALOGUE.values() if p.title == question["title"]]
        if not names:
            return None
        verdict = page_address("check", card=question["card"], property=names[0])
        return el(
            "p",
            {"class": "panel small"},
            f"This is the counterexample to `{names[0]}` of {question['card']}. ",
            el("a", {"href": verdict}, "What is wrong at its end is on the Check page."),
        )

    @staticmethod
    def _entry(number: int, by: str, words: str, now: bool, wrong: bool, errno: str = "") -> Tree:
        attributes = {
            "type": "button",
            "class": "step wrong" if wrong else "step",
            "data-do": "jump",
            "data-value": str(number),
        }
        if now:
            attributes["aria-current"] = "step"
        text = el(
            "span",
            {},
            el("b", {}, f"{by} ") if by else None,
            words,
            el("em", {"class": "errno"}, f"fails: {errno}") if errno else None,
        )
        return el(
            "li", {}, el("button", attributes, el("span", {"class": "number"}, str(number)), text)
        )

    def _show_next(self) -> None:
        many = len(self.choices) >= FILTER_FROM
        end = len(self.scenario.steps)
        after = f" after step {end}, the end of the scenario" if end else ""
        self.next.draw(
            el(
                "section",
                {
                    "class": "stack next",
                    "aria-label": "what can happen next",
                    "data-turn": str(self.turn),
                },
                el("h2", {}, "What can happen next"),
                el(
                    "p",
                    {"class": "soft small"},
                    self._how_many(after),
                ),
                _filter() if many else None,
                el("div", {}, *self._groups(), _none_found() if many else None),
                self._settings(),
            )
        )

    def _how_many(self, after: str) -> str:
        count = len(self.choices)
        if self.in_flight:
            others = f" Apart from them, {count} steps are possible." if count else ""
            return f"A call is in flight: its next steps are single rules.{others}"
        if not count:
            return f"Nothing can happen{after}."
        return f"{count} steps are possible{after}."

    def _groups(self) -> list[Tree]:
        actors: dict[str, dict[str, list[tuple[str, Choice]]]] = defaultdict(dict)
        for value, choice in self.choices.items():
            title = choice.label.partition(": ")[0]
            actors[choice.actor].setdefault(title, []).append((value, choice))
        there = self.player.trace.states[-1].processes if self.player.trace else {}
        groups = []
        for actor, titles in actors.items():
            name, image = actor, "process"
            if actor == "world":
                name, image = "to a process", "kernel"
            elif actor == "kernel":
                name, image = "the kernel itself", "kernel"
            elif actor.startswith("cpu") and actor not in there:
                image = "cpu"
            elif actor not in there:
                name = f"{actor}, a new process"
            rows = [self._act(actor, title, found) for title, found in titles.items()]
            heading = el("h3", {}, icon(image), el("span", {}, name))
            look = {"class": "group", "data-group": "yes", "key": actor}
            groups.append(el("div", look, heading, *rows))
        return groups

    @staticmethod
    def _act(actor: str, title: str, found: list[tuple[str, Choice]]) -> Tree:
        chips = []
        for value, choice in found:
            words = re.sub(r"\[(.*?)\]", _uses, choice.label.partition(": ")[2])
            attributes = {
                "type": "button",
                "data-do": "choose",
                "data-value": value,
                "data-find": f"{actor} {choice.label}",
                "aria-label": f"{actor}: {choice.label}",
            }
            chips.append(el("button", attributes, words or title))
        alone = all(": " not in choice.label for _, choice in found)
        label = None if alone else el("span", {}, title)
        look = {"class": "act alone" if alone else "act", "data-group": "yes", "key": title}
        return el("div", look, label, el("div", {"class": "chips"}, *chips))

    def _settings(self) -> Tree:
        chosen = self.scenario.cards
        options: list[Tree] = []
        for name in card_names():
            card = load_card(name)
            box: dict[str, Any] = {"type": "checkbox", "data-do": "card", "data-value": name}
            box["checked"] = name in chosen
            words = el("span", {}, card.title, " ", el("code", {"class": "soft"}, name))
            options.append(el("label", {"class": "option"}, el("input", box), words))
        settle = {"type": "checkbox", "data-do": "settle", "checked": self.scenario.settle}
        names = ", ".join(chosen) or "none"
        return el(
            "details",
            {"class": "group", "key": "settings"},
            el(
                "summary",
                {},
                el("b", {}, "Attach APIs and settings "),
                el("span", {"class": "soft small"}, names),
            ),
            el(
                "div",
                {"class": "stack"},
                el("div", {}, *options),
                el(
                    "label",
                    {"class": "option"},
                    el("input", settle),
                    "After each step the kernel finishes its own work",
                ),
                el(
                    "label",
                    {"class": "button filebox"},
                    icon("upload"),
                    "Open a scenario file",
                    el("input", {"type": "file", "data-do": "open", "accept": ".yaml,.yml,.json"}),
                ),
            ),
        )


def _uses(found: re.Match[str]) -> str:
    return f"uses {found[1] or 'no map'}"


def _filter() -> Tree:
    field = {
        "type": "search",
        "placeholder": "Filter, for example: pin counts",
        "data-filter": "yes",
        "spellcheck": "false",
        "autocomplete": "off",
    }
    return el(
        "label", {}, el("span", {"class": "unseen"}, "Filter the choices"), el("input", field)
    )


def _none_found() -> Tree:
    look = {"class": "soft small", "data-empty": "yes", "hidden": "yes"}
    return el("p", look, "No choice contains these words.")


def _off(off: bool) -> dict[str, str]:
    return {"aria-disabled": "true" if off else "false"}


def empty() -> Scenario:
    """Where building begins: nothing has happened; one attach API is there."""
    return Scenario(scenario=UNTITLED, cards=[DEFAULT_CARD], steps=[])
