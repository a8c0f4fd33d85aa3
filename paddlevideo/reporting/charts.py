"""Line charts as inline SVG, of as many points as a long run has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.reporting.markup import text

NUM_COLOURS = 8
_WIDTH, _HEIGHT = 640, 230  # of the plot, in pixels
_LEFT, _RIGHT, _TOP, _BELOW = 58, 14, 14, 34
_MOST_POINTS = 2 * _WIDTH  # beyond that, each column of pixels has its least and its greatest value
_DOTS = 60  # up to so many points have a dot, with their value as its tip
_LOG_RATIO = 50.0  # greatest by least value from which the axis is logarithmic

_LIGHT = ("#2a5fc4", "#bf4a1c", "#1b7f4d", "#8443b0", "#8a6d00", "#0b7c8a", "#b8306f", "#5a5a5a")
_DARK = ("#7ea6ff", "#ff9566", "#5fd39a", "#cf9bf2", "#e0c04a", "#55cfdd", "#ff8abb", "#b5b5b5")
_NAMES = [f"--c{i}" for i in range(NUM_COLOURS)]
STYLE = (
    f":root {{ {' '.join(f'{name}: {value};' for name, value in zip(_NAMES, _LIGHT))} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ --good: #7ea6ff; --bad: #ff9566; "
    f"{' '.join(f'{name}: {value};' for name, value in zip(_NAMES, _DARK))} }} svg .on {{ fill: #000; }} }}\n"
    + "".join(f".k{i} {{ stroke: var({name}); color: var({name}); }}\n" for i, name in enumerate(_NAMES))
    + """
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); gap: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; } figure > svg { width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; padding: 0; margin: .1rem 0; list-style: none; }
.legend li { font-size: .85rem; }
svg.sample { width: 1.6rem; height: .7rem; vertical-align: middle; margin-right: .3rem; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.faint { stroke-width: 1; stroke-opacity: .55; } .dashed { stroke-dasharray: 5 4; }
.dot { fill: Canvas; stroke-width: 1.6; } .best { fill: none; stroke-width: 1.6; }
.axis { fill: none; stroke: var(--line); } .lost { fill: var(--bad); }
"""
)


@dataclass(frozen=True)
class Series:
    """A line.

    Args:
        name: in the legend and the tips.
        x: [P], ascending.
        y: [P]; NaN: there is no value, and the point is left out; infinity: the value was not finite, a gap that is
            marked.
        colour: 0 to ``NUM_COLOURS`` - 1.
        faint: drawn thin, without dots.
        dashed: drawn with gaps that mean nothing.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: int = 0
    faint: bool = False
    dashed: bool = False

    @property
    def css(self) -> str:
        """Its classes."""
        return f"k{self.colour}{' faint' if self.faint else ''}{' dashed' if self.dashed else ''}"

    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """Its points that have a value, finite or not."""
        there = ~np.isnan(self.y)
        return np.asarray(self.x, "float64")[there], np.asarray(self.y, "float64")[there]


@dataclass(frozen=True)
class Axis:
    """Values to pixels.

    Args:
        low, high: the values at both ends.
        start, length: the pixel of ``low``, and the pixels to that of ``high`` (below 0: upwards).
        log: whether equal ratios are equal lengths.
    """

    low: float
    high: float
    start: float
    length: float
    log: bool = False

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """Their places."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        values = np.log10(values) if self.log else np.asarray(values, "float64")
        return self.start + self.length * (values - low) / (high - low)

    def ticks(self, whole: bool = False) -> list[float]:
        """Round values between the ends."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1,) if len(decades) > 4 else (1, 3)
            every = max(1, len(decades) // 6)
            values = [f * 10.0**d for d in decades if d % every == 0 for f in factors]
        else:
            step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
            step *= next(f for f in (1, 2, 5, 10) if (self.high - self.low) / (step * f) <= 6)
            step = max(step, 1.0) if whole else step
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            values = [step * i for i in range(first, last + 1)]
        slack = 1e-9 * (self.high - self.low)
        return [value for value in values if self.low - slack <= value <= self.high + slack]


def chart(
    title: str, x_name: str, lines: Sequence[Series], best: Sequence[tuple[float, float, int]] = (), positive=False
) -> str:
    """A figure with its legend; "" where no line has a point.

    Args:
        x_name: what x counts: step, or epoch.
        best: points with a ring: x, y, colour.
        positive: whether values that span several orders of magnitude get a logarithmic axis.
    """
    points = [line.known() for line in lines]
    finite = np.concatenate([y[np.isfinite(y)] for _, y in points]) if points else np.zeros(0)
    all_x = np.concatenate([x for x, _ in points]) if points else np.zeros(0)
    if not len(all_x):
        return ""
    first, last = float(all_x.min()), float(all_x.max())
    x_axis = Axis(*_ends(1.0 if x_name == "epoch" else first, last, 0.0), _LEFT, _WIDTH)
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    log = positive and low > 0 and high / low > _LOG_RATIO
    ends = (low / 1.1, high * 1.1) if log else _ends(low, high, 0.05)
    y_axis = Axis(*ends, _TOP + _HEIGHT, -_HEIGHT, log)
    drawn = [_line(line, *known, x_axis, y_axis, x_name) for line, known in zip(lines, points)]
    rings = "".join(
        f'<circle class="best k{colour}" cx="{x_axis.pixels(x):.1f}" cy="{y_axis.pixels(y):.1f}" r="6">'
        f"<title>best: {x_name} {x:g}, {y:.5g}</title></circle>"
        for x, y, colour in best
    )
    height = _TOP + _HEIGHT + _BELOW
    label = f"{title} by {x_name}"
    return (
        f"<figure><figcaption>{text(title)}{' (logarithmic)' if log else ''}</figcaption>{_legend(lines, points)}"
        f'<svg role="img" aria-label="{text(label)}" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}">'
        f"{_grid(x_axis, y_axis, x_name)}{''.join(drawn)}{rings}</svg></figure>"
    )


def line_sample(css: str) -> str:
    """A short line with these classes."""
    return f'<svg class="sample" viewBox="0 0 26 11"><path class="line {css}" d="M1 6H25"/></svg>'


def _ends(low: float, high: float, margin: float) -> tuple[float, float]:
    """Ends of an axis, which are never equal."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        width = max(abs(low) * 0.1, 1e-6) if margin else 1.0
        return low - width, high + width
    return low - margin * (high - low), high + margin * (high - low)


def _legend(lines: Sequence[Series], points: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
    items = []
    for line, (x, y) in zip(lines, points):
        if len(x):
            lost = int(np.isinf(y).sum())
            note = f", not finite {lost} times" if lost else ""
            note += "; of each pixel, the least and the greatest value" if len(x) > _MOST_POINTS else ""
            items.append(f"<li>{line_sample(line.css)}{text(line.name)}{note}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _grid(x_axis: Axis, y_axis: Axis, x_name: str) -> str:
    below, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    parts, lines = [], f"M{_LEFT} {_TOP}V{below}H{right}"
    for value in y_axis.ticks():
        y = float(y_axis.pixels(value))
        lines += f"M{_LEFT} {y:.1f}H{right}"
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    for value in _epochs(x_axis) if x_name == "epoch" else x_axis.ticks(whole=True):
        x = float(x_axis.pixels(value))
        lines += f"M{x:.1f} {below}v4"
        parts.append(f'<text x="{x:.1f}" y="{below + 16}" text-anchor="middle">{_number(value)}</text>')
    parts.append(f'<text x="{right}" y="{below + 30}" text-anchor="end">{text(x_name)}</text>')
    return f'<path class="axis" d="{lines}"/>{"".join(parts)}'


def _epochs(axis: Axis) -> list[float]:
    """Round numbers of epochs, and the first, which is 1; the axis of a single one has it in the middle."""
    last = axis.high if axis.low == 1 else 1.0
    return [1.0, *(value for value in axis.ticks(whole=True) if 1 < value <= last)]


def _number(value: float) -> str:
    if abs(value) >= 10000 and value == int(value):
        return f"{value / 1e6:g}M" if abs(value) >= 1e6 else f"{value / 1e3:g}k"
    return f"{value:.4g}"


def _line(line: Series, x: np.ndarray, y: np.ndarray, x_axis: Axis, y_axis: Axis, x_name: str) -> str:
    """The path of a line, marks where it is not finite, and dots where it has few points."""
    at = x_axis.pixels(x)
    lost = np.unique(np.round(at[np.isinf(y)]))
    marks = "".join(f"M{px:.0f} {_TOP}l-4 -9h8z" for px in lost)
    tip = f"<title>{text(line.name)}: not finite</title>"
    drawn = f'<path class="lost" d="{marks}">{tip}</path>' if marks else ""
    if len(x) > _MOST_POINTS:
        at, y = _reduced(at, y)
    rows = np.where(np.isfinite(y), y_axis.pixels(np.where(np.isfinite(y), y, y_axis.high)), np.nan)
    path = f'<path class="line {line.css}" d="{_path(at, rows)}"/>'
    dots = "" if line.faint or len(x) > _DOTS else _dots(line, x, y, at, rows, lambda v: f"{x_name} {v:g}")
    return path + dots + drawn


def _reduced(at: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each column of pixels as its least and its greatest value; infinity where it has no finite one."""
    columns = np.floor(at - _LEFT).astype("int64")
    starts = np.flatnonzero(np.diff(columns, prepend=columns[0] - 1))
    finite = np.isfinite(y)
    low = np.minimum.reduceat(np.where(finite, y, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, y, -np.inf), starts)
    high = np.where(np.isfinite(high), high, np.inf)
    return np.repeat(at[starts], 2), np.stack([low, high], 1).ravel()


def _path(at: np.ndarray, rows: np.ndarray) -> str:
    """SVG's words for a line with gaps where ``rows`` is NaN."""
    words, pen_down = [], False
    for px, py in zip(at.tolist(), rows.tolist()):
        if math.isnan(py):
            pen_down = False
            continue
        # of a lone point, a line of no length is drawn as a dot
        words.append(f"L{px:.1f} {py:.1f}" if pen_down else f"M{px:.1f} {py:.1f}h0")
        pen_down = True
    return "".join(words)


def _dots(
    line: Series, x: np.ndarray, y: np.ndarray, at: np.ndarray, rows: np.ndarray, place: Callable[[float], str]
) -> str:
    return "".join(
        f'<circle class="dot k{line.colour}" cx="{px:.1f}" cy="{py:.1f}" r="2.6">'
        f"<title>{text(line.name)}, {place(value)}: {figure:.5g}</title></circle>"
        for value, figure, px, py in zip(x.tolist(), y.tolist(), at.tolist(), rows.tolist())
        if not math.isnan(py)
    )
