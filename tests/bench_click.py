"""How long from a key or a click to the next painted frame of the picture, in a real Chromium.

    python tests/bench_click.py             # prints one line: the medians, in milliseconds

The clock is the browser's own. It starts with the event and stops after the second
requestAnimationFrame: by then the frame with the change has been painted. A display at 60 Hz
alone makes that 17 to 33 ms; the share of the app is the rest.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys

from playwright.sync_api import Page, sync_playwright

STEPS = 40
SWITCHES = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-component-update"
SCENARIO = "?page=build&steps=" + ";".join(
    f"loader:map_create,map=m{n};loader:close,fd=m{n}" for n in range(STEPS // 4 + 1)
)

MEASURE = """
({ picture, how, steps }) => new Promise((done) => {
  const times = [];
  const next = picture.querySelector("[data-do=next]");
  const place = picture.querySelector(".place");
  const one = () => {
    if (times.length === steps) { done(times); return; }
    const before = place.textContent;
    const start = performance.now();
    if (how === "click") next.click();
    else picture.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (place.textContent === before) { done({ stuck: before }); return; }
      times.push(performance.now() - start);
      setTimeout(one, 60);
    }));
  };
  one();
})
"""


def measure(page: Page, how: str) -> list[float]:
    """The times of `STEPS` steps from the first state on."""
    page.get_by_role("button", name="First step").click()
    page.wait_for_timeout(500)
    picture = page.locator(".bpflife").element_handle()
    times = page.evaluate(MEASURE, {"picture": picture, "how": how, "steps": STEPS})
    if not isinstance(times, list):
        raise SystemExit(f"the picture did not move on: {json.dumps(times)}")
    return times


def chromium() -> str:
    """A Chromium, as the tests find it."""
    import find_chromium

    path: str | None = find_chromium.find()
    if path is None:
        raise SystemExit(find_chromium.MISSING)
    return path


def main() -> None:
    """Serve, measure, print."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = f"from bpflife.app.serve import main; main({port}, '127.0.0.1')"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    server = subprocess.Popen(
        [sys.executable, "-c", code], env=env, text=True, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=SWITCHES.split())
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"http://127.0.0.1:{port}/{SCENARIO}")
            page.get_by_role("button", name="First step").wait_for()
            page.wait_for_timeout(1500)
            found = {how: measure(page, how) for how in ("key", "click")}
            browser.close()
    finally:
        server.terminate()
        server.wait(20)
    middle = {how: statistics.median(times) for how, times in found.items()}
    worst = max(max(times) for times in found.values())
    print(
        f"event to painted frame, median of {STEPS} steps: key {middle['key']:.1f} ms, "
        f"click {middle['click']:.1f} ms (slowest {worst:.1f} ms)"
    )


if __name__ == "__main__":
    main()
