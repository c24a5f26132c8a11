"""A trace on a page: the animated picture with the chart of its counts, moved together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import panel as pn
from bokeh.plotting import figure
from panel.viewable import Viewable

from bpflife.app.picture.charts import HEIGHT, counts_chart, move_chart
from bpflife.app.picture.component import LifetimePicture
from bpflife.app.sheet import Sheet, el
from bpflife.model.documents import Trace

MIN_STATES: Final = 2
NOTHING: Final = "Nothing has happened yet. Choose what happens first."


class TracePlayer:
    """Picture and chart of one trace; `on_step` is called with every step that is shown."""

    def __init__(
        self, dark: bool, narrow: bool, on_step: Callable[[int], None] = lambda _: None
    ) -> None:
        self.trace: Trace | None = None
        self.picture = LifetimePicture(theme="dark" if dark else "light")
        self.heading = Sheet(theme=self.picture.theme)
        self.chart = pn.pane.Bokeh(None, sizing_mode="stretch_width", margin=0)  # type: ignore[no-untyped-call]
        self._dark, self._narrow = dark, narrow
        self._on_step = on_step
        self.picture.param.watch(self._moved, "step")

    def views(self) -> list[Viewable]:
        """What to put on the page, from top to bottom."""
        return [self.picture, self.heading, self.chart]

    def load(self, trace: Trace, step: int = 0, *, play: bool = False) -> None:
        """Show a trace from a step on. One batch: no state in between is ever painted."""
        with pn.io.hold():
            self.trace = trace
            self.picture.load(trace, step)
            self.picture.playing = play
            self._draw_chart()

    def go(self, step: int) -> None:
        """Show a step and stay there."""
        if self.trace is not None:
            self.picture.playing = False
            self.picture.step = min(max(step, 0), len(self.trace.states) - 1)

    def restyle(self, dark: bool, narrow: bool) -> None:
        """Follow theme and width; the chart can't by itself, so it is made again."""
        self._dark, self._narrow = dark, narrow
        self.picture.theme = self.heading.theme = "dark" if dark else "light"
        self._draw_chart()

    def _draw_chart(self) -> None:
        if self.trace is None:
            return
        counted = len(self.trace.states) >= MIN_STATES and any(
            thing.kind in ("map", "prog", "program") and thing.life != "unborn"
            for state in self.trace.states
            for thing in state.objects.values()
        )
        self.chart.visible = counted
        self.picture.visible = len(self.trace.states) >= MIN_STATES
        if not self.picture.visible:
            self.heading.draw(el("p", {"class": "panel soft"}, NOTHING))
        else:
            self.heading.draw(el("h2", {}, "Reference counts, step by step") if counted else None)
        if counted:
            chart = counts_chart(self.trace, self.picture.step, dark=self._dark)
            if self._narrow:
                _legend_below(chart)
            self.chart.object = chart

    def _moved(self, event: Any) -> None:
        if self.chart.object is not None:
            move_chart(self.chart.object, event.new)
        self._on_step(event.new)


def _legend_below(chart: figure) -> None:
    """On a phone a legend at the side would leave no room for the lines."""
    for legend in list(chart.legend):
        chart.right.remove(legend)
        legend.update(ncols=2)
        chart.add_layout(legend, "below")
        chart.height = HEIGHT + 26 * ((len(legend.items) + 1) // 2)
