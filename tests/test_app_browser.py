"""The app in a real browser: one server for all tests, a fresh context for each.

Every page that a test opens is watched: a request to any other host, an error on the console or
an exception in the page fails the test, whatever it is about.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, Locator, Page, WebSocketRoute, expect, sync_playwright

from bpflife.app.jobs import Checks
from bpflife.app.picture.standalone import standalone_html
from bpflife.model.catalogue import load_card, load_scenario
from bpflife.model.documents import Scenario, parse_document
from bpflife.model.simulator import play
from test_app_picture import state, trace

SWITCHES = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SOON = 20_000  # ms; generous, these are no measurements
SOLVED = 240_000
NOTICE = "[role=status]:not(.working)"  # what a page says of an address, beside its sign of work
HOSTILE = "<img src=x onerror=document.title='owned'>"
BUILT = (
    "?page=build&cards=cgroup_legacy&steps=loader:cgroup_make,target=web;"
    "loader:map_create,map=counts;loader:prog_load,prog=filter,maps=(counts);"
    "loader:attach,target=web,prog=filter;loader:exit"
)

browser_test = pytest.mark.browser
Open = Callable[..., Page]
expect.set_options(timeout=SOON)


def free_port() -> int:
    """A port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(port: int) -> subprocess.Popen[str]:
    """The app in a process of its own."""
    code = f"from bpflife.app.cli import main; main(['app', '--port', '{port}'])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The address of a running server."""
    port = free_port()
    server = serve(port)
    assert server.stdout is not None
    line = server.stdout.readline()
    assert f"http://127.0.0.1:{port}/" in line
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.communicate(timeout=20)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=SWITCHES.split())
        yield found
        found.close()


@pytest.fixture
def visit(browser: Browser, origin: str) -> Iterator[Open]:
    """Opens a page of the app; afterwards nothing may have gone wrong in any of them."""
    contexts, wrong = [], []

    def watch(page: Page) -> None:
        def asked(url: str) -> None:
            own = (origin, f"blob:{origin}", "data:", origin.replace("http", "ws"))
            if not url.startswith(own):
                wrong.append(f"foreign request: {url}")

        page.on("request", lambda request: asked(request.url))
        page.on("websocket", lambda socket: asked(socket.url))
        page.on("pageerror", lambda error: wrong.append(f"exception: {error}"))
        page.on(
            "console",
            lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None,
        )

    def open_page(
        search: str = "", width: int = 1440, height: int = 900, scheme: str = "light"
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            accept_downloads=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SOON)
        watch(page)
        page.goto(f"{origin}/{search}")
        expect(page.locator(".paper h1").first).to_be_visible(timeout=SOON)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def place(page: Page) -> Locator:
    """Where the picture stands: `3 / 10`."""
    return page.locator(".bpflife .place")


def stands_at(page: Page, text: str) -> None:
    """Wait until the picture shows this step."""
    expect(place(page)).to_have_text(text)


def now_lines(page: Page) -> list[float]:
    """Where the charts on the page have their line of the current step."""
    found: list[float] = page.evaluate(
        "() => Bokeh.documents.flatMap((d) => [...d._all_models.values()])"
        ".filter((m) => m.type === 'Span').map((m) => m.location)"
    )
    return found


# ---------------------------------------------------------------------------------------------
# stories


@browser_test
def test_the_first_story_plays_at_once(visit: Open) -> None:
    page = visit()
    expect(page.get_by_role("button", name="Pause")).to_be_visible(timeout=SOON)
    expect(place(page)).not_to_have_text(re.compile("^0 /"))
    last = len(play(load_scenario("create")).steps)
    stands_at(page, f"{last} / {last}")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    page.wait_for_url(re.compile(r"\?story=1_create$"))


@browser_test
def test_stepping_by_keys_mouse_and_slider(visit: Open) -> None:
    page = visit("?story=3_pin&step=0")
    last = len(play(load_scenario("pin")).steps)
    stands_at(page, f"0 / {last}")
    page.locator(".bpflife").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    stands_at(page, f"2 / {last}")
    page.keyboard.press("ArrowLeft")
    stands_at(page, f"1 / {last}")
    page.get_by_role("button", name="Next step").click()
    stands_at(page, f"2 / {last}")
    page.get_by_label("Step", exact=True).fill("5")
    stands_at(page, f"5 / {last}")
    page.wait_for_function(
        "() => Bokeh.documents.some((d) => [...d._all_models.values()]"
        ".some((m) => m.type === 'Span' && m.location === 5))"
    )
    assert now_lines(page) == [5]
    page.locator(".bpflife").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(place(page)).not_to_have_text(f"5 / {last}")


@browser_test
@pytest.mark.parametrize("key", ["ArrowRight", "ArrowLeft", "End", "Home"])
def test_who_goes_somewhere_stays_there(visit: Open, key: str) -> None:
    page = visit("?story=3_pin")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(place(page)).not_to_have_text(re.compile("^0 /"))
    page.locator(".bpflife").focus()
    page.keyboard.press(key)
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()


@browser_test
def test_only_what_is_there_is_a_tab_stop_and_can_be_chosen(visit: Open) -> None:
    page = visit("?story=3_pin&step=1")
    stops = page.locator(".drawing .node").evaluate_all(
        "(nodes) => nodes.map((n) => { n.focus(); "
        "return [n.matches('.ghost, .absent'), n.getRootNode().activeElement === n]; })"
    )
    assert {tuple(stop) for stop in stops} == {(True, False), (False, True)}
    node = page.locator(".drawing .node.live").first
    node.click()
    expect(node).to_have_attribute("aria-pressed", "true")
    node.click()
    expect(node).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Tab")
    ring = page.locator(".node:focus-visible")
    assert ring.evaluate("(e) => getComputedStyle(e).outlineStyle") == "none", "the halo is enough"


@browser_test
def test_another_story_and_back(visit: Open) -> None:
    page = visit("?story=1_create")
    page.get_by_role("link", name="Pinned, opened by an admin").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Pinned, opened by an admin, unlinked"
    )
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_url(re.compile(r"\?story=3_pin$"))
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "A map is created, then the loader exits"
    )


@browser_test
def test_building_on_from_a_story(visit: Open) -> None:
    page = visit("?story=2_two_phase_load&step=0")
    page.get_by_role("button", name="Open in Build").click()
    steps = page.get_by_role("region", name="steps of the scenario")
    expect(steps.get_by_role("button")).to_have_count(7)
    page.get_by_role("button", name="admin: create a map: counts1", exact=True).click()
    expect(steps.get_by_role("button")).to_have_count(8)
    page.wait_for_url(re.compile("admin:map_create,map=counts1"))
    page.go_back()
    expect(steps.get_by_role("button")).to_have_count(7)


@browser_test
def test_a_pointer_to_what_is_freed_is_drawn_and_called_dangling(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(standalone_html(trace(state(), state("freed"), violated=True)))
    hook = page.locator(".edge", has=page.locator("title", has_text="cgroup1 runs prog1"))
    expect(hook).to_have_class(re.compile("counted"))
    page.get_by_role("button", name="Next step").click()
    expect(hook).to_have_class(re.compile("dangling"))
    expect(hook.locator("title")).to_have_text(re.compile("DANGLING: it keeps nothing alive"))
    expect(page.locator(".drawing .node.violated")).to_have_count(2)
    expect(page.locator(".legend")).to_contain_text("dangling")
    page.close()


# ---------------------------------------------------------------------------------------------
# building


@browser_test
def test_three_clicks_undo_and_reload(visit: Open) -> None:
    page = visit("?page=build")
    page.get_by_role("button", name="loader: create a map: counts1", exact=True).click()
    page.get_by_role("button", name="loader: pin an object in bpffs: counts1, pin1").click()
    page.get_by_role("button", name="loader: the process exits").click()
    steps = page.get_by_role("region", name="steps of the scenario").get_by_role("button")
    expect(steps).to_have_count(4)
    page.wait_for_url(re.compile("loader:exit$"))
    page.get_by_role("button", name="Undo").click()
    expect(steps).to_have_count(3)
    page.wait_for_url(re.compile(r"pin,fd=counts1,path=pin1$"))
    page.reload()
    expect(steps).to_have_count(3)
    stands_at(page, "2 / 2")
    steps.nth(1).click()
    stands_at(page, "1 / 2")
    page.get_by_role("button", name="Start over").click()
    expect(steps).to_have_count(1)
    page.get_by_role("button", name="Undo start over").click()
    expect(steps).to_have_count(3)


@browser_test
def test_a_deep_link_restores_a_scenario_and_its_file_plays(visit: Open) -> None:
    page = visit(BUILT)
    steps = page.get_by_role("region", name="steps of the scenario").get_by_role("button")
    expect(steps).to_have_count(6)
    expect(steps.nth(4)).to_contain_text("attach to a cgroup: web, filter")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == "my_scenario.yaml"
    text = Path(saved.value.path()).read_text(encoding="utf-8")
    trace = play(parse_document(Scenario, text, "x"))
    stands_at(page, f"{len(trace.steps)} / {len(trace.steps)}")
    last = [step.settled for step in trace.steps if step.settled][-1]
    assert last.progs == {"filter": 1}
    assert last.hooks == {"web": ["filter"]}
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as page").click()
    assert "<!DOCTYPE html>" in Path(saved.value.path()).read_text(encoding="utf-8")


@browser_test
def test_filtering_what_can_happen(visit: Open) -> None:
    page = visit(BUILT.removesuffix(";loader:exit"))
    chips = page.locator(".chips button:visible")
    before = chips.count()
    assert before > 12
    page.get_by_label("Filter the choices").fill("Loader PIN an")
    expect(chips).to_have_count(2)
    page.get_by_label("Filter the choices").fill("no such thing")
    expect(page.get_by_text("No choice contains these words.")).to_be_visible()
    page.get_by_label("Filter the choices").fill("")
    expect(chips).to_have_count(before)


@browser_test
def test_choosing_cards_to_build_with(visit: Open) -> None:
    page = visit("?page=build")
    page.get_by_text("Attach APIs and settings").click()
    page.locator("input[data-do=card][data-value=perf_event]").check()
    page.wait_for_url(re.compile("cards=cgroup_legacy,perf_event"))
    page.get_by_role("button", name="loader: make a cgroup: hook1").click()
    page.wait_for_url(re.compile("cgroup_make"))
    page.get_by_role("checkbox", name="cgroup_legacy").uncheck()
    expect(page.locator(NOTICE)).to_contain_text("cgroup_make")
    expect(page.get_by_role("checkbox", name="cgroup_legacy")).to_be_checked()


@browser_test
def test_with_nothing_done_there_is_no_player(visit: Open) -> None:
    page = visit("?page=build")
    expect(page.get_by_text("Nothing has happened yet.")).to_be_visible()
    expect(page.get_by_role("button", name="Play", exact=True)).to_have_count(0)
    page.get_by_role("button", name="loader: create a map: counts1", exact=True).click()
    expect(page.get_by_role("button", name="Next step")).to_be_visible()


@browser_test
def test_a_notice_is_in_view_wherever_the_page_stands(visit: Open) -> None:
    page = visit(BUILT, height=500)
    expect(page.locator(NOTICE)).to_have_text("")  # announced: it is there before
    page.get_by_text("Attach APIs and settings").click()
    opened = page.locator("input[type=file]")
    opened.scroll_into_view_if_needed()
    opened.set_input_files({"name": "x.yaml", "mimeType": "text/plain", "buffer": b"steps: ["})
    expect(page.locator(NOTICE)).to_contain_text("x.yaml")
    expect(page.locator(".notice")).to_be_in_viewport(ratio=1)


@browser_test
def test_a_failed_call_says_so_in_the_list(visit: Open) -> None:
    page = visit(
        "?page=build&steps=loader:map_create,map=m;loader:pin,fd=m,path=a;loader:pin,fd=m,path=a"
    )
    steps = page.get_by_role("region", name="steps of the scenario").get_by_role("button")
    expect(steps.nth(3)).to_contain_text("fails: EEXIST")
    expect(steps.nth(2)).not_to_contain_text("fails")


# ---------------------------------------------------------------------------------------------
# addresses


@browser_test
def test_parameters_of_others_open_the_page_with_a_notice(visit: Open) -> None:
    page = visit("?story=3_pin&step=2&utm_source=mail")
    expect(page.locator(NOTICE)).to_contain_text("`utm_source`")
    assert place(page).inner_text().startswith("2 /")


@browser_test
def test_the_step_is_in_the_address_and_in_no_ones_way(visit: Open) -> None:
    page = visit("?story=1_create&step=1")
    assert page.title() == "A map is created, then the loader exits · bpflife"
    page.get_by_role("button", name="Next step").click()
    page.wait_for_url(re.compile(r"\?story=1_create&step=2$"))
    page.get_by_role("link", name="Pinned, opened by an admin").click()
    page.wait_for_url(re.compile(r"\?story=3_pin$"))
    page.go_back()  # over all steps at once
    stands_at(page, "2 / 7")


@browser_test
def test_a_card_in_the_address_brings_its_row_into_view(visit: Open) -> None:
    page = visit("?page=check&card=bad_replace_gap", height=420)
    row = page.get_by_role("rowheader", name="bad_replace_gap")
    expect(row).to_be_in_viewport()
    expect(page.get_by_role("columnheader", name="no-broken-step")).to_be_in_viewport()


@browser_test
def test_an_endless_address_is_refused_in_words(visit: Open) -> None:
    page = visit("?story=" + "x" * 100_000)
    expect(page.locator(NOTICE)).to_contain_text("at most 8,000 are read")


@browser_test
@pytest.mark.parametrize(
    "search",
    [
        "?story=none",
        "?page=%00",
        "?steps=;;;,,,===",
        "?steps=loader:close,fd=nothing",
        "?page=build&cards=no_such_card",
        "?page=check&card=perf_event&property=none",
        "?story=<script>alert(1)</script>",
    ],
)
def test_nonsense_gets_a_notice_and_the_first_page(visit: Open, search: str) -> None:
    page = visit(search)
    expect(page.locator(NOTICE)).to_contain_text("This address can't be opened")
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "A map is created, then the loader exits"
    )
    assert unquote(page.url).endswith(unquote(search)), "it can be mended there"
    page.get_by_role("button", name="Close the notice").click()
    expect(page.locator(NOTICE)).to_have_text("")


@browser_test
def test_words_from_an_address_are_text(visit: Open) -> None:
    quoted = HOSTILE.replace(" ", "%20").replace("<", "%3C").replace(">", "%3E")
    page = visit(f"?page=build&title={quoted}&steps=loader:map_create,map=m,say={quoted}")
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.locator(".bpflife .say")).to_have_text(HOSTILE)
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == f"{HOSTILE} · bpflife"


# ---------------------------------------------------------------------------------------------
# checks


@browser_test
@pytest.mark.slow
def test_a_check_opens_its_counterexample(visit: Open) -> None:
    page = visit("?page=check")
    cell = "bad_forgotten_reference, count-equals-holders"
    page.get_by_role("button", name=f"Check {cell}").click()
    expect(page.get_by_role("button", name=f"{cell}: VIOLATED")).to_be_visible(timeout=SOLVED)
    expect(place(page)).to_be_visible(timeout=SOON)
    expect(page.locator(".bpflife .violation")).to_contain_text("count-equals-holders")
    evidence = page.get_by_role("region", name="evidence")
    verdict = page.get_by_role("region", name="verdict")
    expect(verdict).to_contain_text("prog1: refcnt is 1")
    evidence.get_by_role("listitem").first.get_by_role("button").click()
    expect(place(page)).to_have_text(re.compile("^1 /"))
    with page.expect_download() as saved:
        verdict.get_by_role("button", name="Save as page").click()
    assert saved.value.suggested_filename == "bad_forgotten_reference_count-equals-holders.html"
    again = visit(page.url.partition("/?")[2].join(["?", ""]))  # for everybody, at once
    expect(place(again)).to_be_visible(timeout=SOON)
    verdict.get_by_role("button", name="Open in Build").click()
    steps = page.get_by_role("region", name="steps of the scenario")
    expect(steps).to_contain_text("loads program prog1")
    expect(steps).not_to_contain_text("one single rule")
    expect(steps).to_contain_text("counterexample to `count-equals-holders`")


@browser_test
@pytest.mark.slow
def test_a_page_that_opens_while_its_cell_is_under_way_follows_it(visit: Open) -> None:
    """The verdict comes after the browser has the document, and before it says that it is ready."""
    first = visit("?page=check")
    late: list[Callable[[], None]] = []

    def connect(line: WebSocketRoute) -> None:
        server = line.connect_to_server()
        message: list[str | bytes] = []  # header, metadata, content

        def send(parts: list[str | bytes]) -> None:
            for part in parts:
                server.send(part)

        def said(part: str | bytes) -> None:
            message.append(part)
            if len(message) == 3:
                whole = list(message)
                message.clear()
                if late or "document_ready" in str(whole[2]):
                    late.append(lambda: send(whole))
                else:
                    send(whole)

        line.on_message(said)
        server.on_message(line.send)

    cell = "bad_replace_gap, replace-never-empty"
    page = first.context.new_page()
    page.route_web_socket("**/ws*", connect)
    page.goto(f"{first.url.partition('?')[0]}?page=check&card={cell.replace(', ', '&property=')}")
    expect(page.get_by_role("button", name=f"Cancel {cell}")).to_be_visible()
    expect(first.get_by_role("button", name=f"{cell}: VIOLATED")).to_be_visible(timeout=SOLVED)
    assert late
    while late:
        late.pop(0)()
    expect(page.get_by_role("button", name=f"{cell}: VIOLATED")).to_be_visible()
    expect(place(page)).to_be_visible()
    page.get_by_role("link", name="Build").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Build a scenario")


@browser_test
def test_a_check_can_be_cancelled(visit: Open) -> None:
    page = visit("?page=check")
    cell = "cgroup_legacy, crash-cleans-up"
    page.get_by_role("button", name=f"Check {cell}").click()
    page.get_by_role("button", name=f"Cancel {cell}").click()
    expect(page.get_by_role("button", name=f"Check {cell}")).to_be_visible()


@browser_test
def test_a_card_of_ones_own_is_text_and_mistakes_are_one_line(visit: Open) -> None:
    page = visit("?page=check")
    shipped = load_card("perf_event").model_dump_json(by_alias=True)
    own = shipped.replace('"api":"perf_event"', '"api":"mine"')
    own = re.sub(r'"title":"perf event, [^"]*"', f'"title":"{HOSTILE}"', own, count=1)

    def upload(name: str, text: str) -> None:
        page.get_by_label("Check your own card").set_input_files(
            {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
        )

    upload("mine.yaml", own)
    expect(page.get_by_role("rowheader", name=HOSTILE)).to_be_visible()
    expect(page.get_by_role("button", name="Check mine, no-broken-step")).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    for text in (
        "api: [",
        "api: mine\ncolour: red",
        own.replace("lock target", "dance"),
        "x" * 300_000,
    ):
        upload("bad.yaml", text)
        expect(page.locator(NOTICE)).to_contain_text("bad.yaml")
        page.get_by_role("button", name="Close the notice").click()


def test_a_cancelled_check_ends_its_process() -> None:
    checks = Checks(workers=1)
    card, other = load_card("cgroup_legacy"), load_card("perf_event")
    checks.start(card, ["crash-cleans-up", "no-broken-step"], "me")
    checks.start(other, ["no-broken-step"], "me")
    process = checks._running[0].process
    assert process is not None and process.is_alive()
    assert "waiting" in checks.progress(other, "no-broken-step")
    checks.cancel(card, ["crash-cleans-up"], "me")
    process.join(20)
    assert not process.is_alive()
    assert checks.progress(card, "crash-cleans-up") == ""
    assert checks.progress(card, "no-broken-step") != ""
    checks.leave("me")
    assert not checks.busy


def test_a_check_runs_on_while_somebody_waits_for_it() -> None:
    checks = Checks(workers=1)
    card = load_card("cgroup_legacy")
    checks.start(card, ["no-broken-step"], "one")
    checks.start(card, ["no-broken-step"], "two")
    checks.cancel(card, ["no-broken-step"], "one")
    assert checks.progress(card, "no-broken-step") != ""
    assert not checks.wanted(card, "no-broken-step", "one")
    assert checks.wanted(card, "no-broken-step", "two")
    checks.cancel(card, ["no-broken-step"], "two")
    assert checks.progress(card, "no-broken-step") == ""
    assert not checks.busy


def test_cancelling_what_waits_lets_go_on_what_runs() -> None:
    checks = Checks(workers=1)
    card = load_card("cgroup_legacy")
    checks.start(card, ["no-broken-step", "crash-cleans-up", "reachable-not-freed"], "me")
    process = checks._running[0].process
    before = checks.version
    checks.cancel(card, ["crash-cleans-up"], "me")
    assert checks.version > before, "every page looks again"
    assert checks._running[0].process is process
    assert process is not None and process.is_alive()
    assert checks.progress(card, "crash-cleans-up") == ""
    assert checks.progress(card, "reachable-not-freed") == "after the one before"
    checks.leave("me")


@pytest.mark.slow
def test_verdicts_are_kept_and_shared() -> None:
    checks = Checks(workers=1)
    card = load_card("perf_event")
    checks.start(card, ["replace-never-empty"], "one")
    deadline = time.monotonic() + SOLVED / 1000
    while checks.busy and time.monotonic() < deadline:
        time.sleep(0.05)
    verdict = checks.verdict(card, "replace-never-empty")
    assert verdict is not None, checks.failure(card, "replace-never-empty")
    assert verdict.headline() == "DOES NOT APPLY"
    checks.start(card, ["replace-never-empty"], "two")
    assert not checks.busy


# ---------------------------------------------------------------------------------------------
# looks


@browser_test
def test_the_dark_switch_reaches_everything_and_is_remembered(visit: Open) -> None:
    page = visit("?story=3_pin&step=3")
    expect(page.locator(".bpflife")).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name="Toggle theme").click()
    expect(page.locator(".bpflife")).to_have_attribute("data-theme", "dark")
    expect(page.locator(".paper").first).to_have_attribute("data-theme", "dark")
    page.wait_for_function(
        "() => Bokeh.documents.some((d) => [...d._all_models.values()].some("
        "(m) => m.type === 'Figure' && m.background_fill_color === '#14181f'))"
    )
    page.reload()
    expect(page.locator(".bpflife")).to_have_attribute("data-theme", "dark")


@browser_test
def test_the_system_theme_is_followed_at_first(visit: Open) -> None:
    page = visit("?story=3_pin&step=3", scheme="dark")
    expect(page.locator(".bpflife")).to_have_attribute("data-theme", "dark")


@browser_test
@pytest.mark.parametrize("search", ["?story=2_two_phase_load&step=6", BUILT, "?page=check"])
def test_a_phone_needs_no_sideways_scrolling(visit: Open, search: str) -> None:
    page = visit(search, width=390, height=844)
    wide = page.locator(".main-content").evaluate(
        "(e) => [document.documentElement.scrollWidth, e.scrollWidth]"
    )
    assert max(wide) <= 390
    assert page.locator("button:visible, a:visible").count() > 3


@browser_test
@pytest.mark.parametrize("search", ["?story=3_pin&step=0", BUILT, "?page=check"])
def test_every_control_has_a_name_and_the_keyboard_reaches_it(visit: Open, search: str) -> None:
    page = visit(search)
    controls = page.locator("button:visible, a:visible, input:visible").all()
    for control in controls:
        named = control.evaluate(
            "(e) => (e.getAttribute('aria-label') || e.textContent || e.title || "
            "[...(e.labels || [])].map((l) => l.textContent).join('')).trim()"
        )
        assert named, control.evaluate("(e) => e.outerHTML")
    reached = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "() => { let e = document.activeElement, inner;"
                " while ((inner = e && e.shadowRoot && e.shadowRoot.activeElement)) e = inner;"
                " return e ? e.outerHTML.slice(0, 120) : ''; }"
            )
        )
    assert len(reached) >= 7


# ---------------------------------------------------------------------------------------------
# serving


def test_a_taken_port_is_one_line_and_exit_code_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = serve(taken.getsockname()[1])
        out, err = server.communicate(timeout=60)
    assert server.returncode == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "port" in err


@browser_test
def test_a_websocket_from_another_page_is_refused(origin: str) -> None:
    port = int(origin.rpartition(":")[2])
    for host, wanted in ((f"127.0.0.1:{port}", "101"), ("evil.example", "403")):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
            line.sendall(
                f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://{host}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            status = line.recv(200).decode("latin-1").split("\r\n")[0]
        if wanted == "403":
            assert "403" in status
        else:
            assert "403" not in status  # a token is missing, but the origin is fine
