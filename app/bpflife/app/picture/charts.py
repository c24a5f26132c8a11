"""Reference counts over the steps of a trace, as a Bokeh figure."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Any, Final

from bokeh.core.properties import value
from bokeh.models.annotations import Legend, LegendItem, Span
from bokeh.models.ranges import DataRange1d, Range1d
from bokeh.models.sources import ColumnDataSource
from bokeh.models.tickers import BasicTicker
from bokeh.models.tools import HoverTool
from bokeh.plotting import figure

from bpflife.app.picture.looks import look_of
from bpflife.app.picture.picture import shorten, visible
from bpflife.model.documents import Trace

HEIGHT: Final = 220
SHOWN: Final = ("map", "program")
DASHES: Final = ("solid", [9, 3], [2, 3], [9, 3, 2, 3], [14, 4], [5, 2, 2, 2, 2, 2])
MARKERS: Final = ("circle", "square", "triangle", "diamond", "inverted_triangle", "star", "hex")
OFFSET: Final = 0.05  # lines of equal counts stay apart by this much
NOW: Final = "now"


@dataclass(frozen=True)
class _Theme:
    page: str
    ink: str
    grid: str
    now: str
    maps: tuple[str, ...]  # hues, the first ones as in the picture
    programs: tuple[str, ...]


LIGHT: Final = _Theme(
    "#ffffff", "#1b2230", "#dde2ea", "#1b2230",
    ("#007d5a", "#0072b2", "#4a5568"), ("#b84a00", "#98497a", "#7d6200"),
)  # fmt: skip
DARK: Final = _Theme(
    "#14181f", "#e8ecf2", "#303948", "#e8ecf2",
    ("#2fc79a", "#56b4e9", "#aab5c6"), ("#f29054", "#dd97c1", "#e3b63c"),
)  # fmt: skip


def counts_chart(trace: Trace, step: int, *, dark: bool = False) -> figure:
    """Step lines of refcnt (filled markers) and usercnt (hollow) of each program and map.

    Every object has its own hue, dash and marker. `move_chart` moves the line of the current step.
    """
    theme = DARK if dark else LIGHT
    last = max(len(trace.states) - 1, 0)
    chart = figure(
        height=HEIGHT,
        sizing_mode="stretch_width",
        toolbar_location=None,
        x_range=Range1d(start=-0.3, end=last + 0.3),
        y_range=DataRange1d(start=-0.4),
        x_axis_label="step",
        y_axis_label="count",
        tools="",
        background_fill_color=theme.page,
        border_fill_color=theme.page,
        outline_line_color=None,
        min_border_top=12,
    )
    chart.add_layout(Legend(items=[], **_legend_look(theme)), "right")
    _add_lines(chart, trace, theme)
    now = Span(
        location=step, dimension="height", name=NOW, line_color=theme.now, line_width=9,
        line_alpha=0.18,
    )  # fmt: skip
    chart.add_layout(now)
    hover = HoverTool(tooltips=[("", "@what @count at step @x")], line_policy="prev")
    chart.add_tools(hover)
    _axes(chart, theme)
    return chart


def update_chart(chart: figure, trace: Trace, step: int, *, dark: bool = False) -> bool:
    """Show another trace in the same figure: new numbers for the lines that are there, and lines
    for new objects. False, and nothing is done, where it has not all the objects of the figure."""
    objects = [f"{kind} {name}" for name, kind in _objects(trace).items()]
    if objects[: len(chart.tags)] != chart.tags:
        return False
    series = {key: data for name in _objects(trace) for key, data in _series(trace, name)}
    drawn: list[Any] = [line for line in chart.renderers if line.name]
    if not all(line.name in series for line in drawn):
        return False
    for line in drawn:
        line.data_source.data = _columns(line.name, series[line.name], _number(chart, line.name))
    chart.x_range.update(end=len(trace.states) - 0.7)
    _add_lines(chart, trace, DARK if dark else LIGHT)
    move_chart(chart, step)
    return True


def move_chart(chart: figure, step: int) -> None:
    """Move the line of the current step: one number goes to the browser."""
    for span in chart.select({"name": NOW}):
        span.update(location=step)


def _objects(trace: Trace) -> dict[str, str]:
    """Maps and programs that exist at some time, in order of first appearance: name -> kind."""
    found: dict[str, str] = {}
    for state in trace.states:
        for name, thing in state.objects.items():
            kind = look_of(thing.kind).icon
            if kind in SHOWN and thing.life != "unborn":
                found[name] = kind
    return found


def _series(trace: Trace, name: str) -> list[tuple[str, list[int | float]]]:
    """The counts of one object over the states: its refcnt and, for a map, its usercnt."""
    counts: dict[str, list[int | float]] = {"refcnt": [], "usercnt": []}
    for state in trace.states:
        thing = state.objects.get(name)
        there = thing is not None and thing.life in ("live", "dying")
        ref = thing.refcnt if thing and there else float("nan")
        user = thing.usercnt if thing and there else None
        counts["refcnt"].append(ref)
        counts["usercnt"].append(float("nan") if user is None else user)
    return [
        (f"{which} of {name}", values)
        for which, values in counts.items()
        if not all(isnan(value) for value in values)
    ]


def _number(chart: figure, key: str) -> int:
    """Which object of the chart a series is about, from 0."""
    names = [str(tag).partition(" ")[2] for tag in chart.tags]
    return names.index(key.partition(" of ")[2])


def _columns(key: str, values: list[int | float], number: int) -> dict[str, list[Any]]:
    hollow = key.startswith("usercnt")
    return {
        "x": list(range(len(values))),
        "y": [value + OFFSET * (number - 0.5 * hollow) for value in values],
        "count": values,
        "what": [visible(key)] * len(values),
    }


def _add_lines(chart: figure, trace: Trace, theme: _Theme) -> None:
    """Lines for the objects that the chart does not have yet; its tags say which it has."""
    used = {kind: sum(str(tag).startswith(kind) for tag in chart.tags) for kind in SHOWN}
    items = []
    for name, kind in list(_objects(trace).items())[len(chart.tags) :]:
        hues = theme.maps if kind == "map" else theme.programs
        hue = hues[used[kind] % len(hues)]
        for key, values in _series(trace, name):
            items.append(_line(chart, key, values, len(chart.tags), hue, theme.page))
        used[kind] += 1
        chart.tags = [*chart.tags, f"{kind} {name}"]
    if items:
        legend = chart.legend[0]
        legend.items = [*legend.items, *items]


def _line(
    chart: figure, key: str, values: list[int | float], number: int, hue: str, page: str
) -> LegendItem:
    """One series as a line with markers."""
    which, _, name = key.partition(" of ")
    hollow = which == "usercnt"
    source = ColumnDataSource(_columns(key, values, number))
    line: Any = chart.step(
        "x", "y", source=source, mode="after", line_color=hue, name=key,
        line_width=1.6 if hollow else 2.4,
        line_dash=[4, 4] if hollow else DASHES[number % len(DASHES)],
    )  # fmt: skip
    dots: Any = chart.scatter(
        "x", "y", source=source, marker=MARKERS[number % len(MARKERS)], size=7,
        line_color=hue, fill_color=page if hollow else hue,
    )  # fmt: skip
    return LegendItem(label=value(f"{shorten(name, 18)} {which}"), renderers=[line, dots])


def _legend_look(theme: _Theme) -> dict[str, Any]:
    return {
        "click_policy": "hide",
        "background_fill_color": theme.page,
        "border_line_color": None,
        "label_text_color": theme.ink,
        "label_text_font_size": "12px",
        "glyph_width": 34,
        "spacing": 0,
        "padding": 4,
    }


def _axes(chart: figure, theme: _Theme) -> None:
    for axis in chart.axis:
        axis.axis_label_text_color = theme.ink
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_color = theme.ink
        axis.axis_line_color = theme.grid
        axis.major_tick_line_color = theme.grid
        axis.minor_tick_line_color = None
        axis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    chart.grid.grid_line_color = theme.grid
    chart.xgrid.grid_line_color = None
