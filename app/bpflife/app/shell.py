"""One visitor's session: the frame with navigation, notices, theme and the address bar."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Any, Final, Protocol

import panel as pn
import param
from panel.custom import JSComponent
from panel.viewable import Viewable

from bpflife.app.address import Address, page_address, parse_address
from bpflife.app.build import BuildPage
from bpflife.app.check_page import CheckPage
from bpflife.app.jobs import Checks
from bpflife.app.picture.picture import visible
from bpflife.app.sheet import Message, Sheet, Tree, button, el, icon
from bpflife.app.stories import StoriesPage
from bpflife.model.documents import InputError, Scenario

try:  # Panel 1.10 has the page as its own
    from panel.ui import Page
except ImportError:
    from panel_material_ui import Page  # type: ignore[attr-defined]

HERE: Final = Path(__file__).parent
TITLES: Final = {"stories": "Stories", "build": "Build", "check": "Check"}
FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'
THEME: Final = {
    mode: {
        "palette": {
            "primary": {"main": main},
            "background": {"default": page, "paper": page},
            "text": {"primary": ink},
        },
        "typography": {"fontFamily": FONT},
    }
    for mode, main, page, ink in (
        ("light", "#0066a6", "#ffffff", "#1b2230"),
        ("dark", "#5bb4ec", "#14181f", "#e8ecf2"),
    )
}
LOOK: Final = {
    "& .MuiAppBar-root": {
        "backgroundColor": "var(--mui-palette-background-paper)",
        "backgroundImage": "none",
        "color": "var(--mui-palette-text-primary)",
        "boxShadow": "none",
        "borderBottom": "1px solid var(--mui-palette-divider)",
    },
    "& .MuiAppBar-root .MuiToolbar-root": {
        "minHeight": "52px",
        "paddingX": {"xs": "10px", "sm": "20px"},
    },
    "& .main .MuiToolbar-root": {"minHeight": "52px"},
    "& .MuiAppBar-root a": {"color": "inherit"},
    "& .MuiAppBar-root .title": {
        "color": "inherit",
        "fontSize": "20px",
        "fontWeight": 700,
        "marginRight": {"xs": "4px", "sm": "18px"},
    },
}
UNSHRUNK: Final = {"min-height": "max-content"}  # the frame scrolls, its parts don't give way
ON_TOP: Final = {"position": "sticky", "top": "6px", "z-index": "30"}  # wherever the page stands
FAVICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect "
    "width='16' height='16' rx='3' fill='%230066a6'/%3E%3Cpath d='M4 8h5M9 5l3 3-3 3' fill='none' "
    "stroke='white' stroke-width='2'/%3E%3C/svg%3E"
)


class AddressBar(JSComponent):
    """The browser's address bar and its tab; nothing of it is visible on the page."""

    address = param.String(default="", doc="empty: what the user typed stays")
    heading = param.String(default="", doc="what the tab is called")
    theme = param.String(default="")

    _esm = (HERE / "addressbar.js").read_text(encoding="utf-8")

    def __init__(self, does: dict[str, Any], **params: Any) -> None:
        self._does = does
        params.update(width=0, height=0, margin=0, styles={"position": "absolute"})
        super().__init__(**params)  # type: ignore[no-untyped-call]

    def _handle_msg(self, data: Any) -> None:
        message = Message(data)
        if message.do in self._does:
            self._does[message.do](message)


class PageOf(Protocol):
    """What a page of the app can do."""

    def view(self) -> list[Viewable]: ...
    def open(self, address: Address) -> None: ...
    def address(self) -> str: ...
    def title(self) -> str: ...
    def restyle(self) -> None: ...
    def enter(self) -> None: ...
    def leave(self) -> None: ...


class Shell:
    """The frame around the pages, one per session."""

    def __init__(self, checks: Checks) -> None:
        self.checks = checks
        self.owner = secrets.token_hex(8)
        cookie = str(pn.state.cookies.get("bpflife_theme", "")) if pn.state.cookies else ""
        self.dark = cookie == "dark"
        self.narrow = False
        self.pages: dict[str, PageOf] = {}
        self.views: dict[str, list[Viewable]] = {}
        self.current = ""
        self.bar = AddressBar(
            {"back": self._back, "prefers": self._prefers, "narrow": self._narrow}
        )
        self.nav = Sheet({"page": self._navigate}, theme=self.theme)
        self.notices = Sheet({"close": lambda _: self.notice("")}, theme=self.theme, styles=ON_TOP)
        self.notice("")
        self.body = pn.Column(sizing_mode="stretch_width", margin=0)
        self.page = Page(
            title="bpflife",
            favicon=FAVICON,
            meta_description="How long Linux BPF objects live: a checked model, animated",
            header=[self.nav],
            main=[
                pn.Column(
                    self.bar,
                    self.notices,
                    self.body,
                    sizing_mode="stretch_width",
                    styles={**UNSHRUNK, "padding": "14px clamp(8px, 1.6vw, 24px) 40px"},
                    margin=0,
                )
            ],
            dark_theme=self.dark,
            busy_indicator=None,  # every step would make it flash
            theme_config=THEME,
            sx=LOOK,
            site_url="?page=stories",
        )
        self.page.param.watch(self._themed, "dark_theme")

    @property
    def theme(self) -> str:
        """The theme's name, as the components call it."""
        return "dark" if self.dark else "light"

    # -- where we are ----------------------------------------------------------------------------

    def start(self, search: str) -> None:
        """Open what the address asks for; if that can't be, say so and open the first page."""
        try:
            self.show(parse_address(search))
        except InputError as e:
            self.show(Address())
            self.bar.address = ""  # it can be looked at and mended until the user moves on
            self.notice(f"This address can't be opened: {e}.")

    def show(self, address: Address) -> None:
        """Open a page. InputError leaves everything as it was."""
        page = self._page(address.page)
        page.open(address)
        self._turn_to(address.page)
        self.moved()
        if address.ignored:
            unknown = ", ".join(f"`{name}`" for name in address.ignored)
            self.notice(f"The address has parts that mean nothing here: {unknown}.")

    def moved(self) -> None:
        """The page shows something else: write its address."""
        self.notice("")
        try:
            self._name()
        except InputError as e:
            self.notice(f"{e}.")

    def stepped(self) -> None:
        """The user went to another step: it is in the address, where there is room for it."""
        with contextlib.suppress(InputError):
            self._name()

    def build(self, scenario: Scenario) -> None:
        """Open the builder with a scenario."""
        self._try(Address(page="build", scenario=scenario))

    def notice(self, text: str) -> None:
        """Say one line to the user, above the page; empty: nothing to say.

        The region is always there: a screen reader announces only what changes inside of one.
        """
        said: Tree | None = None
        if text:
            line = " ".join(text.split())[:400].replace("..", ".")
            said = el(
                "div",
                {"class": "notice"},
                icon("warning"),
                el("p", {}, line),
                el(
                    "button",
                    {"type": "button", "data-do": "close", "aria-label": "Close the notice"},
                    icon("close"),
                ),
            )
        self.notices.draw(el("div", {"role": "status"}, said))

    def left(self) -> None:
        """The visitor is gone."""
        self.checks.leave(self.owner)

    # -- inside ----------------------------------------------------------------------------------

    def _page(self, name: str) -> PageOf:
        if name not in self.pages:
            kinds: dict[str, Any] = {"stories": StoriesPage, "build": BuildPage, "check": CheckPage}
            page = kinds[name](self)
            self.views[name] = page.view()
            self.pages[name] = page
        return self.pages[name]

    def _try(self, address: Address) -> None:
        try:
            self.show(address)
        except InputError as e:
            self.notice(f"{e}.")

    def _navigate(self, message: Message) -> None:
        if message.value == self.current or message.value not in TITLES:
            return
        if message.value in self.pages:  # it is as it was left
            self._turn_to(message.value)
            self.moved()
        else:
            self._try(Address(page=message.value))

    def _turn_to(self, name: str) -> None:
        """Put a page where the other one was; it is open already."""
        if self.current != name:
            if self.current:
                self.pages[self.current].leave()
            self.current = name
            self.body[:] = self.views[name]
            self.pages[name].enter()
        self._navigation()

    def _name(self) -> None:
        """Address and title of what is shown."""
        page = self.pages[self.current]
        self.bar.heading = f"{visible(page.title())} · bpflife"
        self.bar.address = page.address()

    def _back(self, message: Message) -> None:
        try:
            address = parse_address(message.value)
        except InputError as e:
            self.notice(f"This address can't be opened: {e}.")
            return
        self._try(address)

    def _prefers(self, message: Message) -> None:
        self.page.dark_theme = message.value == "dark"

    def _narrow(self, message: Message) -> None:
        """A phone's width, or no longer."""
        self.narrow = message.checked
        for page in self.pages.values():
            page.restyle()

    def _themed(self, event: Any) -> None:
        self.dark = bool(event.new)
        self.nav.theme = self.notices.theme = self.bar.theme = self.theme
        for page in self.pages.values():
            page.restyle()

    def _navigation(self) -> None:
        links: list[Tree] = []
        for name, title in TITLES.items():
            attributes = {"data-do": "page", "data-value": name, "href": page_address(name)}
            if name == self.current:
                attributes["aria-current"] = "page"
            links.append(el("a", attributes, title))
        self.nav.draw(el("nav", {"class": "nav", "aria-label": "pages"}, *links))


__all__ = ["Shell", "button"]
