"""Boxes, ids and actions drawn into frames, and bars of spans below them."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_FONT, _WHITE = cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255)
_READABLE_PX = 360  # a picture with a smaller short side is enlarged before text is drawn
_TEXT_SHARE = 1 / 31  # of the short side: the height of a line of text
_COVER = 0.8  # opacity of a label
_GROUND = 40  # grey of time without a bar
# dark enough for white text, and far from one another for most kinds of sight; RGB
_COLOURS = (
    (0, 97, 168),
    (193, 72, 0),
    (0, 128, 92),
    (160, 50, 120),
    (122, 92, 0),
    (84, 66, 190),
    (176, 24, 48),
    (60, 96, 16),
)
NUM_COLOURS = len(_COLOURS)


@dataclass(frozen=True)
class Marked:
    """A person to draw: number of the colour, float [4] x1, y1, x2, y2 in pixels of the frame, and lines of text for
    the label.
    """

    colour: int
    box_px: np.ndarray
    lines: Sequence[str]


def enlargement(height: int, width: int) -> int:
    """The whole factor by which a picture is enlarged so that text fits on it; 1 from 360 pixels on."""
    return max(1, math.ceil(_READABLE_PX / min(height, width)))


def colour_of(number: int) -> tuple[int, int, int]:
    """RGB; the first ``NUM_COLOURS`` differ for most kinds of sight, those after them in hue and brightness."""
    if number < NUM_COLOURS:
        return _COLOURS[number]
    hue = (number * 0.37 + 0.35) % 1.0  # of the steps tried, this one keeps the first twenty colours furthest apart
    r, g, b = colorsys.hsv_to_rgb(hue, 0.95, (0.9, 0.55, 0.3)[number % 3])
    return round(255 * r), round(255 * g), round(255 * b)


def mark(frame: np.ndarray, people: Sequence[Marked]) -> np.ndarray:
    """A copy of a frame with boxes and labels.

    Lines and letters are sized by the picture.  A label is above its box where there is room, else below, beside or
    inside, never outside the picture, and out of the way of other labels and people where that is possible.

    Args:
        frame: uint8 [H, W, 3] RGB.

    Returns:
        uint8 [H * f, W * f, 3], with f = ``enlargement(H, W)``.
    """
    factor = enlargement(*frame.shape[:2])
    picture = cv2.resize(np.ascontiguousarray(frame), None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    picture = frame.copy() if factor == 1 else picture
    height, width = picture.shape[:2]
    line_px = _line_px(height, width)
    thickness = max(1, round(line_px / 8))
    corners = [_corners(one.box_px, factor, height, width) for one in people]
    for one, (left, top, right, bottom) in zip(people, corners):
        cv2.rectangle(picture, (left, top), (right, bottom), colour_of(one.colour), thickness)
    placed: list[tuple[int, int, int, int]] = []
    for one, corner in zip(people, corners):
        label = _label([drawable(line) for line in one.lines], line_px, width)
        if label.lines:
            others = [box for box in corners if box is not corner]
            placed.append(_free_place(label.width, label.height, corner, placed, others, (height, width), thickness))
            _write(picture, label, placed[-1][:2], colour_of(one.colour))
    return picture


@dataclass(frozen=True)
class Bar:
    """A stretch of time to draw: its start and end as shares of the whole, and the number of its colour."""

    start: float
    end: float
    colour: int


def lanes(bars: Sequence[Bar]) -> list[list[Bar]]:
    """Bars in as few rows as they fit in without overlapping, the earliest first; at least one row."""
    rows: list[list[Bar]] = [[]]
    for bar in sorted(bars, key=lambda bar: (bar.start, bar.end)):
        row = next((row for row in rows if not row or row[-1].end <= bar.start + 1e-9), None)
        if row is None:
            rows.append(row := [])
        row.append(bar)
    return rows


def draw_bars(picture: np.ndarray, bars: Sequence[Bar]) -> None:
    """Fills uint8 [H, W, 3] with the lanes of some bars, which share its height; what no bar covers stays."""
    rows = lanes(bars)
    height, width = picture.shape[:2]
    for number, row in enumerate(rows):
        top, bottom = (height * k // len(rows) for k in (number, number + 1))
        for bar in row:
            left, right = round(bar.start * width), round(bar.end * width)
            picture[top:bottom, left : max(right, left + 1)] = colour_of(bar.colour)


def bars_picture(bars: Sequence[Bar], height: int, width: int) -> np.ndarray:
    """What ``with_bars`` draws below frames of this size: uint8 [h, W * f, 3], with f = ``enlargement(H, W)``."""
    factor = enlargement(height, width)
    line_px = _line_px(height * factor, width * factor)
    picture = np.full((line_px * max(1, min(len(lanes(bars)), 4)) + 4, width * factor, 3), _GROUND, np.uint8)
    draw_bars(picture[2:-2], bars)
    return picture


def with_bars(frame: np.ndarray, lines: Sequence[tuple[int, str]], below: np.ndarray, share: float) -> np.ndarray:
    """A copy of a frame with labels in its corner and bars below.

    Args:
        frame: uint8 [H, W, 3] RGB.
        lines: number of the colour, and text, of each label.
        below: of ``bars_picture``.
        share: where the frame is, as a share of the whole: a line across the bars.

    Returns:
        uint8 [H * f + h, W * f, 3].
    """
    factor = enlargement(*frame.shape[:2])
    picture = cv2.resize(np.ascontiguousarray(frame), None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    height, width = picture.shape[:2]
    picture = np.concatenate([picture, below])
    line_px = _line_px(height, width)
    top = line_px // 3
    for colour, text in lines:
        label = _label([drawable(text)], line_px, width - line_px)
        if top + label.height > height:
            break
        _write(picture, label, (line_px // 3, top), colour_of(colour))
        top += label.height
    at, half = round(share * (width - 1)), max(1, line_px // 12)
    picture[height:, max(0, at - half) : at + half + 1] = _WHITE
    return picture


def drawable(text: str) -> str:
    """The text as the fonts of this OpenCV can draw it: before version 5 ASCII only."""
    if int(cv2.__version__.partition(".")[0]) >= 5:
        return text
    return text.encode("ascii", "replace").decode()


@dataclass(frozen=True)
class _Label:
    lines: tuple[str, ...]
    line_px: int
    scale: float
    width: int

    @property
    def height(self) -> int:
        return len(self.lines) * self.line_px + self.line_px // 4


def _label(lines: Sequence[str], line_px: int, room: int) -> _Label:
    """Lines measured; those wider than the picture end in dots."""
    scale = 0.72 * line_px / cv2.getTextSize("Ag", _FONT, 1.0, 1)[0][1]
    margin = line_px // 3

    def width_of(line: str) -> int:
        return cv2.getTextSize(line, _FONT, scale, _pen(line_px))[0][0]

    shortened = []
    for line in lines:
        while len(line) > 4 and width_of(line) + 2 * margin > room:
            line = line[:-4].rstrip() + "..."
        shortened.append(line)
    width = min(room, max((width_of(line) for line in shortened), default=0) + 2 * margin)
    return _Label(tuple(shortened), line_px, scale, width)


def _line_px(height: int, width: int) -> int:
    return max(13, round(min(height, width) * _TEXT_SHARE))


def _pen(line_px: int) -> int:
    return max(1, line_px // 18)


def _corners(box: np.ndarray, factor: int, height: int, width: int) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = np.asarray(box, float) * factor
    x1, x2 = np.clip([x1, x2], 0, width - 1)
    y1, y2 = np.clip([y1, y2], 0, height - 1)
    return int(round(x1)), int(round(y1)), int(round(x2)), int(round(y2))


def _free_place(
    label_width: int,
    label_height: int,
    box: tuple[int, int, int, int],
    taken: Sequence[tuple[int, int, int, int]],
    others: Sequence[tuple[int, int, int, int]],
    size: tuple[int, int],
    thickness: int,
) -> tuple[int, int, int, int]:
    """left, top, right, bottom of a label: of the places around its box the first that hides nothing, or hides least.

    What hides most is a label on another (``taken``); then on another person (``others``), then on its own.
    """
    left, top, right, bottom = box
    height, width = size
    out = thickness // 2
    places = [
        (left - out, top - out - label_height),  # above
        (right + out - label_width, top - out - label_height),
        (left - out, bottom + out + 1),  # below
        (right + out - label_width, bottom + out + 1),
        (right + out + 1, top - out),  # beside
        (left - out - label_width, top - out),
        (left + thickness, bottom - thickness - label_height),  # inside
        (left + thickness, top + thickness),
    ]
    fitting = [(x, y) for x, y in places if y >= 0 and y + label_height <= height]
    candidates = []
    for x, y in fitting or [(left, top)]:
        x, y = max(0, min(x, width - label_width)), max(0, min(y, height - label_height))
        candidates.append((x, y, x + label_width, y + label_height))

    def hidden(place: tuple[int, int, int, int]) -> int:
        labels = sum(_shared(place, other) for other in taken)
        people = sum(_shared(place, other) for other in others)
        return 8 * labels + 2 * people + _shared(place, box)

    return min(candidates, key=hidden)


def _shared(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _write(picture: np.ndarray, label: _Label, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    x, y = corner
    part = picture[y : y + label.height, x : x + label.width]  # a view
    part[:] = np.round(part * (1 - _COVER) + np.array(colour) * _COVER).astype(np.uint8)
    for number, line in enumerate(label.lines, 1):
        foot = (x + label.line_px // 3, y + number * label.line_px - label.line_px // 8)
        cv2.putText(picture, line, foot, _FONT, label.scale, _WHITE, _pen(label.line_px), cv2.LINE_AA)
