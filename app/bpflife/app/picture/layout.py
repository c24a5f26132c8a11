"""Where nodes stand and how edges run: computed once for a whole trace, so that nothing jumps.

Both orientations come from the same code. `main` is the axis along which the lanes follow each
other, `cross` the axis inside a lane: wide pictures have main = x, tall ones (phones) main = y.
Edges are curves between facing sides; one that has to cross a lane runs through a free gap of it.
At last labels and strike marks get places on their own edges where nothing else is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

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
    across: float = 0  # half of what its label takes along cross
    along: float = 0  # and along main
    crossings: list[tuple[int, float]] = field(default_factory=list)  # lane, cross position
    out: float = 0
    into: float = 0


@dataclass(frozen=True)
class Line:
    """An edge to draw: its ends, how wide its label is (0: none), and in which states it is seen
    (one bit each): what is never seen together can't be in each other's way."""

    source: str
    target: str
    label: float = 0
    seen: int = -1


@dataclass(frozen=True)
class Path:
    """An SVG path, points on it that are close to each other, and those of them that carry the
    strike mark and the label."""

    d: str
    points: list[tuple[float, float]]
    mid: tuple[float, float] = (0, 0)
    label: tuple[float, float] = (0, 0)


@dataclass(frozen=True)
class Layout:
    """All positions of one orientation, in SVG units."""

    width: float
    height: float
    boxes: dict[str, tuple[float, float, float, float]]
    bands: list[tuple[float, float, float, float]]
    paths: list[Path]


def arrange(items: Sequence[Item], lines: Sequence[Line], lanes: int, metrics: Metrics) -> Layout:
    """Place `items` in `lanes` lanes (numbered without holes) and route every edge."""
    boxes = {item.id: Box(item) for item in items}
    columns: list[list[Box]] = [[] for _ in range(lanes)]
    for box in boxes.values():
        columns[box.item.lane].append(box)
    around: dict[str, list[Box]] = defaultdict(list)
    edges = [(line.source, line.target) for line in lines]
    for source, target in edges:
        if source != target:
            around[source].append(boxes[target])
            around[target].append(boxes[source])
    _place_cross(columns, around, metrics)
    bands = _place_main(columns, boxes, lines, metrics)
    routes = _route(boxes, columns, lines, metrics)
    _ports(routes)
    paths = [_path(route, bands) for route in routes]
    return _finish(boxes, bands, paths, routes, lines, metrics)


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
    lines: Sequence[Line],
    metrics: Metrics,
) -> list[tuple[float, float]]:
    """Give each lane its stretch of the main axis; busy gaps between lanes are wider, and so are
    those where labels start out."""
    busy = [0] * len(columns)
    words = [0.0] * len(columns)
    for line in lines:
        start = boxes[line.source].item.lane
        low, high = sorted((start, boxes[line.target].item.lane))
        for lane in range(low, max(high, low + 1)):
            busy[lane] += 1
        if line.label and high - low <= 1:  # a longer one has its label further on
            gap = start if high > low and start == low else max(start - 1, 0)
            words[gap] = max(words[gap], LABEL_HEIGHT + 6 if metrics.tall else line.label + 16)
    bands, at = [], 0.0
    for lane, column in enumerate(columns):
        sizes = [box.item.height if metrics.tall else box.item.width for box in column]
        thick = max(sizes, default=0)
        for box in column:
            box.m0, box.m1 = at, at + thick
        bands.append((at, at + thick))
        at += thick + min(metrics.lane_gap + 5 * busy[lane], metrics.lane_gap_max) + words[lane]
    return bands


def _route(
    boxes: dict[str, Box], columns: list[list[Box]], lines: Sequence[Line], metrics: Metrics
) -> list[Route]:
    routes = []
    free = [_free(column) for column in columns]
    shared: dict[tuple[int, int], list[tuple[float, Route]]] = defaultdict(list)
    for index, line in enumerate(lines):
        a, b = boxes[line.source], boxes[line.target]
        up = a.item.lane < b.item.lane
        same = a.item.lane == b.item.lane
        route = Route(index, a, b, high_out=up or same, high_in=not up)
        if line.label:
            sizes = (LABEL_HEIGHT / 2 + 3, line.label / 2 + 4)
            route.across, route.along = sizes[::-1] if metrics.tall else sizes
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
    steps = [max(TRACK, a.across, b.across) for (_, a), (_, b) in pairwise(ordered)]
    room = high - low - 8
    if sum(steps) > room:
        steps = [step * max(room, 0) / sum(steps) for step in steps]
    middle = sum(at for at, _ in ordered) / len(ordered)
    half = sum(steps) / 2
    middle = min(max(middle, low + half + 4), high - half - 4)
    if low < -1e5:  # outer gaps: away from the lane
        middle = min(middle, high - 12 - half)
    if high > 1e5:
        middle = max(middle, low + 12 + half)
    starts = accumulate(steps, initial=middle - half)
    return [(start, route) for start, (_, route) in zip(starts, ordered, strict=True)]


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
CLOSE = 5.0  # distance of the points that stand for a path
LABEL_HEIGHT = 17.0
STRIKE = 9.0  # half the room that a strike mark needs
HEAD = 12.0  # length of an arrow head


def _path(route: Route, bands: list[tuple[float, float]]) -> Path:
    """The curve in (main, cross) coordinates; `_finish` turns it into SVG."""
    start = (route.source.m1 if route.high_out else route.source.m0, route.out)
    end = (route.target.m1 if route.high_in else route.target.m0, route.into)
    if route.source.item.lane == route.target.item.lane:
        bow = 22 + min(abs(end[1] - start[1]) * 0.12, 16)
        bow = max(bow, (route.along + 6) / 0.75) if route.along else bow  # its label is beside it
        curve = (start, (start[0] + bow, start[1]), (end[0] + bow, end[1]), end)
        return _draw([curve], [])
    forward = start[0] < end[0]
    curves, lines, at = [], [], start
    for lane, cross in route.crossings:
        enter, leave = bands[lane] if forward else bands[lane][::-1]
        curves.append(_bend(at, (enter, cross)))
        lines.append((leave, cross))
        at = (leave, cross)
    curves.append(_bend(at, end))
    return _draw(curves, lines)


def _bend(a: Point, b: Point) -> Curve:
    half = (b[0] - a[0]) / 2
    return (a, (a[0] + half, a[1]), (b[0] - half, b[1]), b)


def _draw(curves: list[Curve], lines: list[Point]) -> Path:
    """Curves joined by straight lines."""
    parts = ["M", _pair(curves[0][0])]
    points = []
    for i, curve in enumerate(curves):
        a, c1, c2, b = curve
        parts += ["C", _pair(c1), _pair(c2), _pair(b)]
        count = max(int((abs(b[0] - a[0]) + abs(b[1] - a[1])) / CLOSE), 4)
        points += [_at(curve, k / count) for k in range(count + 1)]
        if i < len(lines):
            parts += ["L", _pair(lines[i])]
            count = max(int(abs(lines[i][0] - b[0]) / CLOSE), 1)
            points += [(b[0] + (lines[i][0] - b[0]) * k / count, b[1]) for k in range(1, count)]
    return Path(" ".join(parts), points)


def _at(curve: Curve, t: float) -> Point:
    a, b, c, d = curve
    s = 1 - t
    w, x, y, z = s**3, 3 * s * s * t, 3 * s * t * t, t**3
    return (w * a[0] + x * b[0] + y * c[0] + z * d[0], w * a[1] + x * b[1] + y * c[1] + z * d[1])


# ---------------------------------------------------------------------------------------------
# labels and strike marks

CELL = 24.0


class _Crowd:
    """What stands where: points of edges and arrow heads in cells, boxes, labels."""

    def __init__(self, paths: Sequence[Path], lines: Sequence[Line], boxes: list[Rect]) -> None:
        self.lines = lines
        self.cells: dict[tuple[int, int], list[tuple[float, float, int, float]]] = defaultdict(list)
        self.boxes = boxes
        self.words: list[tuple[Rect, int]] = []
        for index, path in enumerate(paths):
            x1, y1 = path.points[-1]
            for x, y in path.points:
                head = abs(x - x1) + abs(y - y1) < HEAD
                self.cells[int(x // CELL), int(y // CELL)].append((x, y, index, 4.0 if head else 1))

    def cost(self, index: int, rect: Rect) -> float:
        """How much of the rest is under a mark of edge `index` there."""
        x0, y0, x1, y1 = rect
        seen = self.lines[index].seen
        found = sum(60.0 for box in self.boxes if _overlap(rect, box))
        found += sum(60.0 for words, i in self.words if _overlap(rect, words)
                     and (i == index or self.lines[i].seen & seen))  # fmt: skip
        for column in range(int(x0 // CELL), int(x1 // CELL) + 1):
            for row in range(int(y0 // CELL), int(y1 // CELL) + 1):
                for x, y, i, weight in self.cells.get((column, row), ()):
                    if i != index and x0 <= x <= x1 and y0 <= y <= y1 and self.lines[i].seen & seen:
                        found += weight
        return found


Rect = tuple[float, float, float, float]  # left, top, right, bottom


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _mark(paths: list[Path], lines: Sequence[Line], boxes: list[Rect]) -> Iterator[Path]:
    """The paths with places for their labels (short edges choose first) and strike marks."""
    crowd = _Crowd(paths, lines, boxes)
    labels: dict[int, Point] = {}
    for index in sorted(range(len(paths)), key=lambda i: len(paths[i].points)):
        if lines[index].label:
            size = (lines[index].label / 2 + 3, LABEL_HEIGHT / 2 + 2)
            labels[index] = _place(crowd, index, paths[index], size)
            crowd.words.append((_around(labels[index], size), index))
    for index, path in enumerate(paths):
        mid = _place(crowd, index, path, (STRIKE, STRIKE), few=True)
        yield Path(path.d, path.points, mid, labels.get(index, mid))


def _place(
    crowd: _Crowd, index: int, path: Path, size: tuple[float, float], *, few: bool = False
) -> Point:
    """The point of a path where a mark of this half size hides least, near the middle if it can."""
    count = len(path.points)
    inner = range(count // 8, count - count // 8) if count > 8 else range(count)
    if few:
        inner = range(count // 8, max(count - count // 8, 1), max(count // 14, 1))
    (x1, y1), (x0, y0) = path.points[-1], path.points[0]

    def cost(at: int) -> float:
        x, y = path.points[at]
        ends = (abs(x - x1) < size[0] + HEAD and abs(y - y1) < size[1] + HEAD) + (
            abs(x - x0) < size[0] and abs(y - y0) < size[1]
        )
        aside = abs(at - count / 2) / count
        return crowd.cost(index, _around((x, y), size)) + 20.0 * ends + aside

    return path.points[min(inner, key=cost)]


def _around(point: Point, size: tuple[float, float]) -> Rect:
    (x, y), (w, h) = point, size
    return (x - w, y - h, x + w, y + h)


def _pair(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _finish(
    boxes: dict[str, Box],
    bands: list[tuple[float, float]],
    paths: list[Path],
    routes: list[Route],
    lines: Sequence[Line],
    metrics: Metrics,
) -> Layout:
    """Move everything into the picture, with room for headings, and turn the axes."""
    crossings = [(cross, route.across) for route in routes for _, cross in route.crossings]
    low = min([box.c0 for box in boxes.values()] + [at - pad for at, pad in crossings], default=0)
    high = max([box.c1 for box in boxes.values()] + [at + pad for at, pad in crossings], default=0)
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
        return Path(d, [point(*p) for p in path.points])

    def four(values: tuple[float, ...]) -> tuple[float, float, float, float]:
        a, b, c, d = values
        return (a, b, c, d)

    placed = {name: four(rectangle(box.m0, box.m1, box.c0, box.c1)) for name, box in boxes.items()}
    taken = [(x, y, x + w, y + h) for x, y, w, h in placed.values()]
    return Layout(
        width=across if metrics.tall else length,
        height=length if metrics.tall else across,
        boxes=placed,
        bands=[
            four(rectangle(start, end, -shift_cross, across - shift_cross)) for start, end in bands
        ],
        paths=list(_mark([turned(path) for path in paths], lines, taken)),
    )
