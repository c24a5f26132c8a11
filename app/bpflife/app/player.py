"""A trace on a page: the animated picture with the chart of its counts, moved together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import panel as pn
from bokeh.plotting import figure
from panel.viewable import Viewable

from bpflife.app.picture.charts import HEIGHT, counts_chart, move_chart, update_chart
from bpflife.app.picture.component import LifetimePicture
from bpflife.app.session import batch
from bpflife.app.sheet import Sheet, el
from bpflife.model.documents import Trace

MIN_STATES: Final = 2
CHART_MS: Final = 250  # the chart follows the picture by this much
NOTHING: Final = "Nothing has happened yet. Choose what happens first."


class TracePlayer:
    """Picture and chart of one trace; `on_step` is called with every step that is shown, `moved`
    when the user stopped at one: then `stopped` says where."""

    def __init__(
        self,
        dark: bool,
        narrow: bool,
        on_step: Callable[[int], None] = lambda _: None,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self.trace: Trace | None = None
        self.stopped: int | None = None
        self.picture = LifetimePicture(theme="dark" if dark else "light")
        self.heading = Sheet(theme=self.picture.theme)
        self.chart = pn.pane.Bokeh(None, sizing_mode="stretch_width", margin=0)  # type: ignore[no-untyped-call]
        self._dark, self._narrow = dark, narrow
        self._on_step, self._on_moved = on_step, moved
        self._loading = False
        self._charts = 0  # how many were asked for
        self.picture.param.watch(self._changed, ["step", "playing"])

    def views(self) -> list[Viewable]:
        """What to put on the page, from top to bottom."""
        return [self.picture, self.heading, self.chart]

    @property
    def last(self) -> int:
        """The index of the last state."""
        return len(self.trace.states) - 1 if self.trace else 0

    def load(self, trace: Trace, step: int = 0, *, play: bool = False) -> None:
        """Show a trace from a step on. One batch: no state in between is ever painted."""
        with batch():
            self.trace = trace
            self._loading = True
            self.picture.load(trace, step)
            self.picture.playing = play
            self._loading = False
            self.stopped = None if play else self.picture.step
            self._frame()
            self._chart_soon()

    def go(self, step: int) -> None:
        """Show a step and stay there."""
        if self.trace is not None:
            self.picture.playing = False
            self.picture.step = min(max(step, 0), self.last)

    def restyle(self, dark: bool, narrow: bool) -> None:
        """Follow theme and width; the chart can't by itself, so it is made again."""
        self._dark, self._narrow = dark, narrow
        self.picture.theme = self.heading.theme = "dark" if dark else "light"
        self._draw_chart(anew=True)

    def _counted(self) -> bool:
        return (
            self.trace is not None
            and len(self.trace.states) >= MIN_STATES
            and any(
                thing.kind in ("map", "prog", "program") and thing.life != "unborn"
                for state in self.trace.states
                for thing in state.objects.values()
            )
        )

    def _frame(self) -> None:
        """What there is to see, and its heading."""
        counted = self._counted()
        self.picture.visible = self.last + 1 >= MIN_STATES
        self.chart.visible = counted
        if not self.picture.visible:
            self.heading.draw(el("p", {"class": "panel soft"}, NOTHING))
        else:
            self.heading.draw(el("h2", {}, "Reference counts, step by step") if counted else None)

    def _chart_soon(self) -> None:
        """Make the chart when the picture is there: it takes longer than all the rest, and of
        several clicks in a row only the last one needs it."""
        self._charts += 1
        wanted = self._charts

        def draw() -> None:
            if wanted == self._charts:
                self._draw_chart()

        document = pn.state.curdoc
        if document is None or not pn.state.loaded:
            draw()
        else:
            document.add_timeout_callback(draw, CHART_MS)

    def _draw_chart(self, *, anew: bool = False) -> None:
        if self.trace is None or not self._counted():
            return
        old, step = self.chart.object, self.picture.step
        if old is not None and not anew and not self._narrow:
            with batch():
                if update_chart(old, self.trace, step, dark=self._dark):
                    return
        chart = counts_chart(self.trace, step, dark=self._dark)
        if self._narrow:
            _legend_below(chart)
        self.chart.object = chart

    def _changed(self, *events: Any) -> None:
        """The picture went on, or back, or stopped; several of these may come together."""
        changed = {event.name for event in events}
        step, playing = self.picture.step, self.picture.playing
        if "step" in changed:
            if self.chart.object is not None:
                move_chart(self.chart.object, step)
            self._on_step(step)
        if self._loading or (playing and "playing" not in changed):
            return
        if not playing and "playing" in changed and step == self.last:
            return  # it came to its end by itself
        self.stopped = None if playing else step
        self._on_moved()


def _legend_below(chart: figure) -> None:
    """On a phone a legend at the side would leave no room for the lines."""
    for legend in list(chart.legend):
        chart.right.remove(legend)
        legend.update(ncols=2)
        chart.add_layout(legend, "below")
        chart.height = HEIGHT + 26 * ((len(legend.items) + 1) // 2)
