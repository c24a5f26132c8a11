"""The Check page: every card beside every property; a violated cell opens its counterexample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import panel as pn
from panel.viewable import Viewable

from bpflife.app.address import Address, page_address
from bpflife.app.layout import beside
from bpflife.app.picture.standalone import standalone_html
from bpflife.app.player import TracePlayer
from bpflife.app.session import batch
from bpflife.app.sheet import Message, Sheet, Tree, button, el, icon
from bpflife.model.cards import AttachCard
from bpflife.model.catalogue import card_names, load_card
from bpflife.model.documents import MAX_BYTES, InputError, Verdict, parse_document, scope_words
from bpflife.model.properties import CATALOGUE
from bpflife.model.system import System

if TYPE_CHECKING:
    from bpflife.app.shell import Shell

POLL_MS: Final = 300
IDLE_MS: Final = 2000  # while nothing is under way: others' verdicts appear too
MAX_OWN: Final = 8  # cards of the user's own, per visitor
TITLE: Final = "Which attach API keeps which promise?"
ABOUT: Final = (
    "A cell is one question about one attach API. A proof holds for any number of objects; a "
    "violation comes with the steps that lead there."
)
PROPOSALS: Final = (
    "The proposals are attach APIs with a mistake put in, to show what the checks find: VIOLATED, "
    "as expected, means that the mistake was found."
)
CALLS: Final = {  # how calls run in a check, in the words of a verdict: for people
    "every call in micro-steps": "others may act between any two steps of any call",
    "calls of the card in micro-steps or whole, all others whole": (
        "others may act between any two steps of this attach API's calls; other calls are one step"
    ),
}
LOOKS: Final = {  # word of the verdict: class, icon
    "PROVED": ("good", "proved"),
    "PROVED for scope S": ("good", "bounded"),
    "CANNOT HAPPEN": ("good", "proved"),
    "NO VIOLATION up to depth k in scope S": ("maybe", "bounded"),
    "VIOLATED": ("bad", "violated"),
    "CAN HAPPEN": ("bad", "violated"),
    "DOES NOT APPLY": ("off", "none"),
    "UNDECIDED": ("maybe", "undecided"),
}


class CheckPage:
    """Matrix above, evidence of the chosen cell below."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.cards = [load_card(name) for name in card_names()]
        self.own: list[AttachCard] = []
        self.chosen: tuple[AttachCard, str] | None = None
        self.shown: Verdict | None = None
        self.timer: Any = None
        self.seen = -1  # version of the checks that is shown
        self.row = ""  # the card that the address asked for
        self.player = TracePlayer(shell.dark, shell.narrow, self._stepped)
        theme = shell.theme
        self.matrix = Sheet(
            {
                "check": self._check,
                "row": self._check_row,
                "cancel": self._cancel,
                "stop": self._stop_row,
                "choose": self._choose,
                "card": self._upload,
            },
            theme=theme,
        )
        self.verdict = Sheet(
            {"save": self._save, "build": self._build}, theme=theme, margin=(18, 0, 10, 0)
        )
        self.evidence = Sheet({"jump": self._jump}, theme=theme)
        self.main = pn.Column(
            *self.player.views(), sizing_mode="stretch_width", margin=0, visible=False
        )

    def view(self) -> list[Viewable]:
        """The page, from top to bottom."""
        lower = beside(self.evidence, self.main, width="400px")
        return [self.matrix, self.verdict, lower]

    def open(self, address: Address) -> None:
        """Show the matrix; with a card in the address its row, with a property check that cell."""
        if address.property and not address.card:
            raise InputError("`property` needs a `card` beside it")
        if address.card and address.card not in card_names():
            raise InputError(
                f"there is no card `{address.card}`; there are {', '.join(card_names())}"
            )
        if address.property and address.property not in CATALOGUE:
            raise InputError(
                f"there is no property `{address.property}`; there are {', '.join(CATALOGUE)}"
            )
        self.row = "" if address.property else address.card
        if address.property:
            self._select(load_card(address.card), address.property, start=True)
        else:
            self._show()

    def address(self) -> str:
        """What the address bar shows; a card of the user's own is not in it."""
        if self.chosen is None or self.chosen[0] not in self.cards:
            return page_address("check", card=self.row)
        return page_address("check", card=self.chosen[0].api, property=self.chosen[1])

    def title(self) -> str:
        """The question that is open."""
        if self.chosen is None:
            return "Check"
        return f"{CATALOGUE[self.chosen[1]].title} ({self.chosen[0].api})"

    def enter(self) -> None:
        """The page is shown: follow what the checks do, as soon as the browser is ready for it."""
        self._show()
        pn.state.onload(self._follow)

    def restyle(self) -> None:
        """Follow theme and width."""
        self.matrix.theme = self.verdict.theme = self.evidence.theme = self.shell.theme
        self.player.restyle(self.shell.dark, self.shell.narrow)

    def leave(self) -> None:
        """Another page opens: stop the animation; checks go on."""
        self.player.picture.playing = False
        if self.timer is not None:
            self.timer.stop()
            self.timer = None

    # -- what the user does ----------------------------------------------------------------------

    def _cell(self, message: Message) -> tuple[AttachCard, str] | None:
        """`ROW PROPERTY` as the browser sends it."""
        row, _, name = message.value.partition(" ")
        cards = [*self.cards, *self.own]
        if not row.isdigit() or int(row[:4]) >= len(cards) or (name and name not in CATALOGUE):
            return None
        return cards[int(row[:4])], name

    def _check(self, message: Message) -> None:
        cell = self._cell(message)
        if cell is not None and cell[1]:
            self._select(*cell, start=True)
            self.shell.moved()

    def _choose(self, message: Message) -> None:
        cell = self._cell(message)
        if cell is not None and cell[1]:
            self._select(*cell)
            self.shell.moved()

    def _check_row(self, message: Message) -> None:
        cell = self._cell(message)
        if cell is not None:
            self._start(cell[0], list(CATALOGUE))
            self._poll()

    def _cancel(self, message: Message) -> None:
        cell = self._cell(message)
        if cell is not None and cell[1]:
            self.shell.checks.cancel(cell[0], [cell[1]], self.shell.owner)
            self._poll()

    def _stop_row(self, message: Message) -> None:
        cell = self._cell(message)
        if cell is not None:
            self.shell.checks.cancel(cell[0], list(CATALOGUE), self.shell.owner)
            self._poll()

    def _upload(self, message: Message) -> None:
        """A card of the user's own: read and compiled before it gets a row."""
        name = message.value or "the file"
        try:
            if message.size > MAX_BYTES:
                raise InputError(
                    f"{name}: {message.size:,} bytes; a card has at most {MAX_BYTES:,}"
                )
            card = parse_document(AttachCard, message.text, name)
            try:
                System([card])
            except InputError as e:
                raise InputError(f"{name}: {str(e).removeprefix(card.api + ': ')}") from None
        except InputError as e:
            self.shell.notice(f"{e}.")
            return
        others = [c for c in self.own if c.api != card.api]
        self.own = [*others[1 - MAX_OWN :], card]
        self.shell.notice("")
        self._show()

    def _jump(self, message: Message) -> None:
        if self.player.trace is not None:
            number = message.number(len(self.player.trace.states))
            if number is not None:
                self.player.go(number)

    def _save(self, _: Message) -> None:
        if self.shown is not None and self.shown.trace is not None:
            name = f"{self.shown.card}_{self.shown.property}.html"
            self.verdict.download(name, standalone_html(self.shown.trace), "text/html")

    def _build(self, _: Message) -> None:
        if self.shown is not None and self.shown.trace and self.shown.trace.scenario:
            self.shell.build(self.shown.trace.scenario)

    # -- checks ----------------------------------------------------------------------------------

    def _select(self, card: AttachCard, name: str, *, start: bool = False) -> None:
        self.chosen = (card, name)
        self.row = ""
        if start:
            self._start(card, [name])
        self._show()

    def _start(self, card: AttachCard, names: list[str]) -> None:
        try:
            self.shell.checks.start(card, names, self.shell.owner)
        except InputError as e:
            self.shell.notice(f"{e}.")
        if self.timer is not None:
            self.timer.period = POLL_MS

    def _follow(self) -> None:
        """Not before the page is ready: see session.py."""
        if self.timer is None and self.shell.current == "check":
            self.timer = pn.state.add_periodic_callback(self._poll, period=POLL_MS)

    def _poll(self) -> None:
        checks = self.shell.checks
        if checks.version != self.seen:
            self._show()
        period = POLL_MS if checks.busy else IDLE_MS
        if self.timer is not None and self.timer.period != period:
            self.timer.period = period

    def _stepped(self, step: int) -> None:
        if self.shown is not None:
            self._show_evidence(step)

    # -- what is shown ---------------------------------------------------------------------------

    def _show(self) -> None:
        with batch():
            self.seen = self.shell.checks.version
            self.matrix.draw(*self._matrix())
            verdict = self.shell.checks.verdict(*self.chosen) if self.chosen else None
            if verdict is not self.shown:
                self.shown = verdict
                trace = verdict.trace if verdict else None
                if trace is not None:
                    self.player.load(trace, 0, play=True)
                else:
                    self.player.picture.playing = False
                self.main.visible = trace is not None
                self.evidence.styles = {} if trace else {"grid-column": "1 / -1"}
                if verdict is not None:
                    self.verdict.reveal()
            self._show_evidence(self.player.picture.step)

    def _matrix(self) -> list[Tree]:
        heads = [
            el("th", {"scope": "col"}, prop.title, el("small", {}, name))
            for name, prop in CATALOGUE.items()
        ]
        cards = [*self.cards, *self.own]
        rows = [self._row(number, card) for number, card in enumerate(cards)]
        file = {"type": "file", "data-do": "card", "accept": ".yaml,.yml,.json"}
        upload = el(
            "label",
            {"class": "button filebox"},
            icon("upload"),
            "Check your own card",
            el("input", {**file, "aria-label": "Check your own card (a YAML file)"}),
        )
        head = el("thead", {}, el("tr", {}, el("th", {"scope": "col"}, "attach API"), *heads))
        return [
            el(
                "div",
                {"class": "stack"},
                el("div", {"class": "row spread"}, el("h1", {}, TITLE), upload),
                el("p", {"class": "soft lead"}, ABOUT),
                el("p", {"class": "soft lead"}, PROPOSALS),
                el("table", {}, head, el("tbody", {}, *rows)),
            )
        ]

    def _row(self, number: int, card: AttachCard) -> Tree:
        checks, owner = self.shell.checks, self.shell.owner
        busy = any(checks.wanted(card, name, owner) for name in CATALOGUE)
        done = all(checks.verdict(card, name) for name in CATALOGUE)
        act = None
        if busy:
            act = button(
                "stop",
                "Cancel",
                str(number),
                image="stop",
                **{"aria-label": f"Cancel all checks of {card.api}"},
            )
        elif not done:
            act = button(
                "row",
                "Check all",
                str(number),
                image="run",
                **{"aria-label": f"Check all properties of {card.api}"},
            )
        since = f"since {card.since}" if card.since[:1].isdigit() else card.since
        origin = "your card" if card in self.own else since
        small = ", ".join(part for part in (card.api, origin) if part)
        title = el("span", {}, card.title or card.api, el("small", {}, small))
        head = el("th", {"scope": "row"}, el("div", {"class": "who"}, title, act))
        look: dict[str, Any] = {"key": f"{number} {card.api}"}
        if card.api == self.row:
            look |= {"class": "asked", "data-show": card.api}
        return el(
            "tr",
            look,
            head,
            *[el("td", {}, self._box(number, card, name)) for name in CATALOGUE],
        )

    def _box(self, number: int, card: AttachCard, name: str) -> Tree:
        verdict = self.shell.checks.verdict(card, name)
        label = el("span", {"class": "label"}, CATALOGUE[name].title)
        value = f"{number} {name}"
        who = f"{card.api}, {name}"
        if verdict is not None:
            look, image = LOOKS.get(verdict.word, ("maybe", "undecided"))
            pressed = self.chosen is not None and self.chosen == (card, name)
            attributes = {
                "type": "button",
                "class": f"cell {look}",
                "data-do": "choose",
                "data-value": value,
                "aria-pressed": "true" if pressed else "false",
                "aria-label": f"{who}: {verdict.headline()}, {_expected(verdict)}",
                "title": self._why(card, verdict),
            }
            word, _, scope = verdict.headline().partition(" (")
            words = el(
                "span",
                {},
                label,
                el("span", {"class": "word"}, word),
                el("span", {"class": "more"}, f"({scope}") if scope else None,
                el("span", {"class": "more"}, _expected(verdict)),
            )
            return el("button", attributes, icon(image), words)
        progress = self.shell.checks.progress(card, name)
        if progress and self.shell.checks.wanted(card, name, self.shell.owner):
            return el(
                "div",
                {"class": "cell busy", "key": "busy"},
                el("span", {"class": "progress"}, label, progress),
                el(
                    "button",
                    {
                        "type": "button",
                        "data-do": "cancel",
                        "data-value": value,
                        "aria-label": f"Cancel {who}",
                        "title": "Cancel",
                    },
                    icon("stop"),
                ),
            )
        failed = self.shell.checks.failure(card, name)
        more = f"last time: {failed}" if failed else ""
        if progress:
            more = f"under way for somebody else: {progress}"
        attributes = {
            "type": "button",
            "class": "cell todo",
            "data-do": "check",
            "data-value": value,
            "aria-label": f"Check {who}" + (f"; {more}" if more else ""),
            "title": CATALOGUE[name].sentence,
        }
        words = el(
            "span",
            {},
            label,
            el("span", {}, "Check"),
            el("span", {"class": "more"}, more) if more else None,
        )
        return el("button", attributes, icon("warning" if failed else "run"), words)

    @staticmethod
    def _why(card: AttachCard, verdict: Verdict) -> str:
        """What a cell's colour means here."""
        if verdict.because and verdict.expected:
            return f"Expected: {verdict.because}. Click to see the evidence."
        if card.since == "proposed" and verdict.trace and verdict.expected:
            return "This proposal is meant to fail here. Click to see how it does."
        return "Click to see the evidence."

    def _show_evidence(self, step: int) -> None:
        if self.chosen is None:
            self.verdict.draw()
            self.evidence.draw()
            return
        card, name = self.chosen
        verdict = self.shown
        title = el(
            "div",
            {},
            el("h2", {}, CATALOGUE[name].title),
            el("p", {"class": "soft"}, card.title or card.api),
        )
        if verdict is None:
            progress = self.shell.checks.progress(card, name)
            failed = self.shell.checks.failure(card, name)
            words = f"Checking: {progress}." if progress else failed or "Not checked yet."
            said = el("p", {"class": "soft"}, words)
            self.verdict.draw(_section("verdict", title, said, _asked(CATALOGUE[name].sentence)))
            self.evidence.draw()
            return
        look, image = LOOKS.get(verdict.word, ("maybe", "undecided"))
        bad = verdict.trace.violation if verdict.trace else None
        self.verdict.draw(
            _section(
                "verdict",
                el("div", {"class": "row spread"}, title, self._take_home(verdict)),
                _marked(look, image, f"{verdict.headline()}, {_expected(verdict)}"),
                _asked(verdict.sentence),
                _marked("bad", "warning", bad.sentence) if bad else None,
            )
        )
        self.evidence.draw(_section("evidence", *self._steps(verdict, step), *self._facts(verdict)))

    def _facts(self, verdict: Verdict) -> list[Tree]:
        facts = [("Holds for", "any number of objects")] if verdict.word == "PROVED" else []
        if verdict.scope and verdict.word != "PROVED":
            facts.append(("Scope", scope_words(verdict.scope)))
        if verdict.depth is not None and verdict.word != "PROVED":
            facts.append(("Depth", f"{verdict.depth} {verdict.unit}".strip()))
        if verdict.granularity:
            facts.append(("Interleaving", CALLS.get(verdict.granularity, verdict.granularity)))
        if verdict.holds_with:
            facts.append(("Attach APIs", ", ".join(verdict.holds_with)))
        if verdict.obligations:
            facts.append(("Obligations", f"{verdict.obligations:,}"))
        if verdict.lemmas:
            facts.append(("Lemmas", f"{len(verdict.lemmas):,}"))
        if verdict.reason:
            facts.append(("Reason", verdict.reason))
        facts.append(("Seconds", f"{verdict.seconds:.1f}"))
        because = f", {verdict.because}" if verdict.because else ""
        facts.append(("Expected", f"{'yes' if verdict.expected else 'no'}{because}"))
        pairs: list[Tree] = []
        for name, value in facts:
            pairs += [el("dt", {}, name), el("dd", {}, value)]
        return [
            el("dl", {}, *pairs),
            *_listed("Lemmas that were proved on the way", verdict.lemmas),
            *_listed("Obligations that could not be proved", verdict.unproved),
        ]

    def _steps(self, verdict: Verdict, shown: int) -> list[Tree]:
        trace = verdict.trace
        if trace is None:
            return []
        bad = trace.violation
        entries: list[Tree] = []
        for number, step in enumerate(trace.steps, 1):
            wrong = bad is not None and bad.at == number
            attributes = {
                "type": "button",
                "class": "step wrong" if wrong else "step",
                "data-do": "jump",
                "data-value": str(number),
            }
            if number == shown:
                attributes["aria-current"] = "step"
            errno = el("em", {"class": "errno"}, f"fails: {step.errno}") if step.errno else None
            words = el("span", {}, step.sentence, errno)
            number_ = el("span", {"class": "number"}, str(number))
            entries.append(el("li", {}, el("button", attributes, number_, words)))
        return [
            el("h3", {}, "The steps that lead there"),
            el("ol", {"class": "plain scrolling", "data-follow": "yes"}, *entries),
        ]

    def _take_home(self, verdict: Verdict) -> Tree:
        trace = verdict.trace
        own = self.chosen is not None and self.chosen[0] in self.own
        scenario = trace.scenario if trace else None
        known = scenario is not None and set(scenario.cards) <= set(card_names()) and not own
        return el(
            "div",
            {"class": "row"},
            button("copy", "Copy link", image="link") if not own else None,
            button(
                "save",
                "Save as page",
                image="download",
                title="one HTML file that plays without this app",
            )
            if trace
            else None,
            button("build", "Open in Build", image="build") if known else None,
        )


def _section(name: str, *parts: Tree | None) -> Tree:
    return el("section", {"class": "stack", "aria-label": name}, *parts)


def _asked(sentence: str) -> Tree:
    return el("p", {"class": "lead"}, el("b", {}, "Asked: "), sentence)


def _marked(look: str, image: str, words: str) -> Tree:
    return el("div", {"class": f"verdict {look}"}, icon(image), el("span", {}, words))


def _expected(verdict: Verdict) -> str:
    return "as expected" if verdict.expected else "not expected"


def _listed(title: str, lines: list[str]) -> list[Tree]:
    if not lines:
        return []
    items = [el("li", {}, line) for line in lines]
    return [
        el(
            "details",
            {},
            el("summary", {"class": "small"}, f"{title} ({len(lines)})"),
            el("ul", {"class": "lemmas"}, *items),
        )
    ]
