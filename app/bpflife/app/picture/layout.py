"""Where nodes stand and how edges run: computed once for a whole trace, so that nothing jumps.

Both orientations come from the same code. `main` is the axis along which the lanes follow each
other, `cross` the axis inside a lane: wide pictures have main = x, tall ones (phones) main = y.
Edges are curves between facing sides; one that has to cross a lane runs through a free gap of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SWEEPS = 6  # passes of ordering and aligning; more changes nothing on traces of 40 nodes
TRACK = 9.0  # distance between two edges that share a gap


@dataclass(frozen=True)
class Item:
    """A node to place: its lane (number), its size, and the node that it stands right after."""

    id: str
    lane: int
    width: float
    height: float
    after: str | None = None
    keep: bool = False  # lanes of such nodes keep the order in which they were given


@dataclass(frozen=True)
class Metrics:
    """Distances of one orientation."""

    tall: bool
    gap: float  # between two nodes of a lane
    lane_gap: float  # between two lanes, before edges ask for more
    lane_gap_max: float
    head: float  # room for a lane's heading (before the lanes along `cross`)
    margin: float


WIDE = Metrics(tall=False, gap=24, lane_gap=36, lane_gap_max=66, head=34, margin=14)
TALL = Metrics(tall=True, gap=12, lane_gap=34, lane_gap_max=54, head=24, margin=10)


@dataclass
class Box:
    """A placed node; `m0..m1` along main, `c0..c1` along cross."""

    item: Item
    m0: float = 0
    m1: float = 0
    c0: float = 0
    c1: float = 0

    @property
    def centre(self) -> float:
        """Middle of the node along cross."""
        return (self.c0 + self.c1) / 2


@dataclass
class Route:
    """One edge on its way: waypoints through lanes, then ports at both ends."""

    index: int
    source: Box
    target: Box
    high_out: bool  # leaves at the high side along main
    high_in: bool
    crossings: list[tuple[int, float]] = field(default_factory=list)  # lane, cross position
    out: float = 0
    into: float = 0


@dataclass(frozen=True)
class Path:
    """An SVG path and the point of it that carries a label or the strike mark."""

    d: str
    mid: tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """All positions of one orientation, in SVG units."""

    width: float
    height: float
    boxes: dict[str, tuple[float, float, float, float]]
    bands: list[tuple[float, float, float, float]]
    paths: list[Path]


def arrange(
    items: Sequence[Item], edges: Sequence[tuple[str, str]], lanes: int, metrics: Metrics
) -> Layout:
    """Place `items` in `lanes` lanes (numbered without holes) and route every edge."""
    boxes = {item.id: Box(item) for item in items}
    columns: list[list[Box]] = [[] for _ in range(lanes)]
    for box in boxes.values():
        columns[box.item.lane].append(box)
    around: dict[str, list[Box]] = defaultdict(list)
    for source, target in edges:
        if source != target:
            around[source].append(boxes[target])
            around[target].append(boxes[source])
    _place_cross(columns, around, metrics)
    bands = _place_main(columns, boxes, edges, metrics)
    routes = _route(boxes, columns, edges)
    _ports(routes)
    paths = [_path(route, bands) for route in routes]
    return _finish(boxes, bands, paths, routes, metrics)


def _extent(box: Box, metrics: Metrics) -> float:
    return box.item.width if metrics.tall else box.item.height


def _place_cross(columns: list[list[Box]], around: dict[str, list[Box]], metrics: Metrics) -> None:
    """Order each lane by where its neighbours are, then move nodes next to them."""
    span = max((_packed(column, metrics) for column in columns), default=0)
    for column in columns:
        _stack(column, (span - _packed(column, metrics)) / 2, metrics)
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            wish = {box.item.id: _wish(box, around) for box in column}
            for box in column:  # what belongs to another node follows it
                if box.item.after in wish:
                    wish[box.item.id] = wish[box.item.after]
            if sweep < SWEEPS - 2 and not any(box.item.keep for box in column):
                column.sort(key=lambda box: (wish[box.item.id], box.item.after is not None))
                _keep_together(column)
            _settle(column, wish, span, metrics)


def _packed(column: list[Box], metrics: Metrics) -> float:
    sizes = sum(_extent(box, metrics) for box in column)
    return sizes + sum(_gap(a, b, metrics) for a, b in pairwise(column))


def _gap(first: Box, second: Box, metrics: Metrics) -> float:
    return 6 if second.item.after == first.item.id else metrics.gap


def _stack(column: list[Box], start: float, metrics: Metrics) -> None:
    for i, box in enumerate(column):
        box.c0, box.c1 = start, start + _extent(box, metrics)
        start = box.c1 + (_gap(box, column[i + 1], metrics) if i + 1 < len(column) else 0)


def _wish(box: Box, around: dict[str, list[Box]]) -> float:
    near = around.get(box.item.id, [])
    return sum(other.centre for other in near) / len(near) if near else box.centre


def _keep_together(column: list[Box]) -> None:
    followers = [box for box in column if box.item.after is not None]
    for box in followers:
        column.remove(box)
        place = [i for i, other in enumerate(column) if other.item.id == box.item.after]
        column.insert(place[0] + 1 if place else len(column), box)


def _settle(column: list[Box], wish: dict[str, float], span: float, metrics: Metrics) -> None:
    """Put nodes as near to their wishes as order, distances and the picture's size allow."""
    offsets, at = [], 0.0
    for i, box in enumerate(column):
        offsets.append(at)
        at += _extent(box, metrics)
        at += _gap(box, column[i + 1], metrics) if i + 1 < len(column) else 0
    blocks: list[tuple[float, int]] = []  # mean start, members: pool adjacent violators
    for box, offset in zip(column, offsets, strict=True):
        start = wish[box.item.id] - _extent(box, metrics) / 2 - offset
        blocks.append((start, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [((a * n + b * m) / (n + m), n + m)]
    starts = [start for start, members in blocks for _ in range(members)]
    room = max(span - at, 0)
    for box, offset, start in zip(column, offsets, starts, strict=True):
        box.c0 = min(max(start, 0), room) + offset
        box.c1 = box.c0 + _extent(box, metrics)


def _place_main(
    columns: list[list[Box]],
    boxes: dict[str, Box],
    edges: Sequence[tuple[str, str]],
    metrics: Metrics,
) -> list[tuple[float, float]]:
    """Give each lane its stretch of the main axis; busy gaps between lanes are wider."""
    busy = [0] * len(columns)
    for source, target in edges:
        low, high = sorted((boxes[source].item.lane, boxes[target].item.lane))
        for lane in range(low, max(high, low + 1)):
            busy[lane] += 1
    bands, at = [], 0.0
    for lane, column in enumerate(columns):
        sizes = [box.item.height if metrics.tall else box.item.width for box in column]
        thick = max(sizes, default=0)
        for box in column:
            box.m0, box.m1 = at, at + thick
        bands.append((at, at + thick))
        at += thick + min(metrics.lane_gap + 5 * busy[lane], metrics.lane_gap_max)
    return bands


def _route(
    boxes: dict[str, Box], columns: list[list[Box]], edges: Sequence[tuple[str, str]]
) -> list[Route]:
    routes = []
    free = [_free(column) for column in columns]
    shared: dict[tuple[int, int], list[tuple[float, Route]]] = defaultdict(list)
    for index, (source, target) in enumerate(edges):
        a, b = boxes[source], boxes[target]
        up = a.item.lane < b.item.lane
        same = a.item.lane == b.item.lane
        route = Route(index, a, b, high_out=up or same, high_in=not up)
        routes.append(route)
        step = 1 if up else -1
        between = range(a.item.lane + step, b.item.lane, step) if not same else ()
        at = a.centre
        for count, lane in enumerate(between):
            ideal = at + (b.centre - at) / (len(between) + 1 - count)
            gap = min(range(len(free[lane])), key=lambda k: _far(ideal, free[lane][k]))
            at = _inside(ideal, free[lane][gap])
            shared[lane, gap].append((at, route))
    for (lane, gap), crossing in shared.items():
        for position, route in _spread(crossing, free[lane][gap]):
            route.crossings.append((lane, position))
    for route in routes:
        route.crossings.sort(reverse=route.source.item.lane > route.target.item.lane)
    return routes


def _free(column: list[Box]) -> list[tuple[float, float]]:
    """The gaps of a lane through which an edge may run, the two outer ones included."""
    ordered = sorted(column, key=lambda box: box.c0)
    if not ordered:
        return [(-1e6, 1e6)]
    gaps = [(-1e6, ordered[0].c0)]
    gaps += [(a.c1, b.c0) for a, b in pairwise(ordered) if b.c0 - a.c1 > 12]
    return [*gaps, (ordered[-1].c1, 1e6)]


def _inside(ideal: float, gap: tuple[float, float]) -> float:
    low, high = gap
    pad = min(12.0, (high - low) / 2)
    return min(max(ideal, low + pad), high - pad)


def _far(ideal: float, gap: tuple[float, float]) -> float:
    return abs(_inside(ideal, gap) - ideal)


def _spread(
    crossing: list[tuple[float, Route]], gap: tuple[float, float]
) -> list[tuple[float, Route]]:
    """Tracks of their own for the edges that share a gap."""
    low, high = gap
    ordered = sorted(crossing, key=lambda pair: (pair[0], pair[1].source.centre, pair[1].index))
    count = len(ordered)
    track = min(TRACK, (high - low - 8) / max(count - 1, 1)) if count > 1 else 0
    middle = sum(at for at, _ in ordered) / count
    half = track * (count - 1) / 2
    middle = min(max(middle, low + half + 4), high - half - 4)
    if low < -1e5:  # outer gaps: away from the lane
        middle = min(middle, high - 12 - half)
    if high > 1e5:
        middle = max(middle, low + 12 + half)
    return [(middle - half + track * i, route) for i, (_, route) in enumerate(ordered)]


def _ports(routes: list[Route]) -> None:
    """Spread the ends of the edges over each side of each node, in the order of where they go."""
    ends: dict[tuple[str, bool], list[tuple[float, int, Route, bool]]] = defaultdict(list)
    for route in routes:
        first = route.crossings[0][1] if route.crossings else route.target.centre
        last = route.crossings[-1][1] if route.crossings else route.source.centre
        key = (route.source.item.id, route.high_out)
        ends[key].append((first, route.index, route, True))
        ends[route.target.item.id, route.high_in].append((last, route.index, route, False))
    for group in ends.values():
        group.sort(key=lambda end: end[:2])
        for i, (_, _, route, outgoing) in enumerate(group):
            box = route.source if outgoing else route.target
            pad = min(8.0, (box.c1 - box.c0) / 4)
            low, high = box.c0 + pad, box.c1 - pad
            at = low + (high - low) * (i + 1) / (len(group) + 1)
            if outgoing:
                route.out = at
            else:
                route.into = at


Point = tuple[float, float]
Curve = tuple[Point, Point, Point, Point]
MARKS = (0.5, 0.36, 0.64)  # where labels stand on their edge; neighbours differ


def _path(route: Route, bands: list[tuple[float, float]]) -> Path:
    """The curve in (main, cross) coordinates; `_finish` turns it into SVG."""
    mark = MARKS[route.index % len(MARKS)]
    start = (route.source.m1 if route.high_out else route.source.m0, route.out)
    end = (route.target.m1 if route.high_in else route.target.m0, route.into)
    if route.source.item.lane == route.target.item.lane:
        bow = 22 + min(abs(end[1] - start[1]) * 0.12, 16)
        curve = (start, (start[0] + bow, start[1]), (end[0] + bow, end[1]), end)
        return _draw([curve], [], mark)
    forward = start[0] < end[0]
    curves, lines, at = [], [], start
    for lane, cross in route.crossings:
        enter, leave = bands[lane] if forward else bands[lane][::-1]
        curves.append(_bend(at, (enter, cross)))
        lines.append((leave, cross))
        at = (leave, cross)
    curves.append(_bend(at, end))
    return _draw(curves, lines, mark)


def _bend(a: Point, b: Point) -> Curve:
    half = (b[0] - a[0]) / 2
    return (a, (a[0] + half, a[1]), (b[0] - half, b[1]), b)


def _draw(curves: list[Curve], lines: list[Point], at: float) -> Path:
    """Curves joined by straight lines; the label stands at `at` (0..1) of the first curve."""
    parts = ["M", _pair(curves[0][0])]
    for i, (_, c1, c2, b) in enumerate(curves):
        parts += ["C", _pair(c1), _pair(c2), _pair(b)]
        if i < len(lines):
            parts += ["L", _pair(lines[i])]
    return Path(" ".join(parts), (_along(curves[0], 0, at), _along(curves[0], 1, at)))


def _along(curve: Curve, axis: int, t: float) -> float:
    a, b, c, d = (point[axis] for point in curve)
    s = 1 - t
    return s**3 * a + 3 * s * s * t * b + 3 * s * t * t * c + t**3 * d


def _pair(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _finish(
    boxes: dict[str, Box],
    bands: list[tuple[float, float]],
    paths: list[Path],
    routes: list[Route],
    metrics: Metrics,
) -> Layout:
    """Move everything into the picture, with room for headings, and turn the axes."""
    crossings = [cross for route in routes for _, cross in route.crossings]
    low = min([box.c0 for box in boxes.values()] + crossings, default=0)
    high = max([box.c1 for box in boxes.values()] + crossings, default=0)
    shift_main, shift_cross = metrics.margin, metrics.head + metrics.margin - low
    length = max((end for _, end in bands), default=0) + 2 * metrics.margin
    if any(r.source.item.lane == r.target.item.lane == len(bands) - 1 for r in routes):
        length += 30  # the bow of an edge inside the last lane
    across = high + shift_cross + metrics.margin + 8

    def point(main: float, cross: float) -> Point:
        main, cross = main + shift_main, cross + shift_cross
        return (
            (round(cross, 1), round(main, 1)) if metrics.tall else (round(main, 1), round(cross, 1))
        )

    def rectangle(m0: float, m1: float, c0: float, c1: float) -> tuple[float, ...]:
        (x0, y0), (x1, y1) = point(m0, c0), point(m1, c1)
        return (x0, y0, round(x1 - x0, 1), round(y1 - y0, 1))

    def turned_token(token: str) -> str:
        main, comma, cross = token.partition(",")
        return _pair(point(float(main), float(cross))) if comma else token

    def turned(path: Path) -> Path:
        d = " ".join(turned_token(token) for token in path.d.split(" "))
        return Path(d, point(*path.mid))

    def four(values: tuple[float, ...]) -> tuple[float, float, float, float]:
        a, b, c, d = values
        return (a, b, c, d)

    return Layout(
        width=across if metrics.tall else length,
        height=length if metrics.tall else across,
        boxes={
            name: four(rectangle(box.m0, box.m1, box.c0, box.c1)) for name, box in boxes.items()
        },
        bands=[
            four(rectangle(start, end, -shift_cross, across - shift_cross)) for start, end in bands
        ],
        paths=[turned(path) for path in paths],
    )
