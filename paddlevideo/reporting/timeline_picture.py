"""Spans and scores over time as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from paddlevideo.drawing import Bar, colour_of, draw_bars, drawable
from paddlevideo.errors import printable
from paddlevideo.spans import SpanTable

_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
_WIDTH, _LEFT, _RIGHT, _GAP = 1200, 70, 20, 12
_BAR_PX, _CURVES_PX, _LINE_PX = 34, 200, 24
_INK, _FAINT, _EMPTY, _PAPER = (0, 0, 0), (150, 150, 150), (225, 225, 225), 255
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 86400)
_MOST_TICKS = 13


def timeline_picture(
    rows: Mapping[str, SpanTable],
    windows_s: Sequence[tuple[float, float]] = (),
    scores: Sequence[np.ndarray] = (),
    levels: Sequence[float] = (),
) -> np.ndarray:
    """A bar per row and video, the curves of the scores, the time axis and a legend: uint8 [H, 1200, 3] RGB.

    Args:
        rows: name -> spans.  Classes without a span in any row are drawn in grey.
        windows_s: start and end of each window; none: no curves.
        scores: of each window, float [K] in the order of the classes of the last row.
        levels: scores at which lines are drawn.
    """
    tables = [*rows.values()]
    videos = sorted({name for table in tables for name in table.video_names()}) or [""]
    every = SpanTable([span for table in tables for span in table.spans], classes=tables[-1].classes)
    colours = every.colours()
    ends = [facts.get("duration_s", 0.0) for table in tables for facts in table.videos.values()]
    end_s = max([*ends, *(span.end_s for span in every.spans), *(end for _, end in windows_s), 1e-3])
    lines = []  # name, and its bars
    for video in videos:
        for name, table in rows.items():
            spans = [span for span in table.spans if span.video in (video, None)]
            lines.append((name if len(videos) == 1 else f"{name} {printable(video)}", spans))
    legend = _legend(colours)
    curves_px = _CURVES_PX + _GAP if len(windows_s) else 0
    height = _GAP + len(lines) * (_BAR_PX + _GAP) + curves_px + _LINE_PX + _GAP + len(legend)
    picture = np.full((height, _WIDTH, 3), _PAPER, np.uint8)
    top = _GAP
    for name, spans in lines:
        part = picture[top : top + _BAR_PX, _LEFT : _WIDTH - _RIGHT]
        part[:] = _EMPTY
        draw_bars(part, [Bar(span.start_s / end_s, span.end_s / end_s, colours[span.label]) for span in spans])
        _write(picture, name[-_LEFT // 9 :], (6, top + _BAR_PX // 2 + 5))
        top += _BAR_PX + _GAP
    if curves_px:
        part = picture[top : top + _CURVES_PX, _LEFT : _WIDTH - _RIGHT]
        _draw_curves(part, windows_s, np.stack(scores), end_s, tables[-1].classes, colours, levels)
        for level in (0, 1, *levels):
            _write(picture, f"{level:g}", (_LEFT - 38, top + round((1 - level) * (_CURVES_PX - 1)) + 5))
        top += _CURVES_PX + _GAP
    _draw_axis(picture, top, end_s)
    picture[height - len(legend) :] = legend
    return picture


def _draw_curves(
    part: np.ndarray,
    windows_s: Sequence[tuple[float, float]],
    scores: np.ndarray,
    end_s: float,
    classes: Sequence[str],
    colours: Mapping[str, int],
    levels: Sequence[float],
) -> None:
    """One line per class over the centres of the windows; those with a colour last, so that they are on top."""
    height, width = part.shape[:2]
    picture = np.full((height, width, 3), _PAPER, np.uint8)
    for level in (0, 1, *levels):
        y = round((1 - level) * (height - 1))
        cv2.line(picture, (0, y), (width - 1, y), _EMPTY, 1)
    x = np.mean(windows_s, axis=1) / end_s * (width - 1)
    for k in sorted(range(len(classes)), key=lambda k: classes[k] in colours):
        points = np.stack([x, (1 - scores[:, k]) * (height - 1)], axis=1)
        colour = colour_of(colours[classes[k]]) if classes[k] in colours else _FAINT
        cv2.polylines(picture, [np.round(points * 16).astype(np.int32)], False, colour, 1, cv2.LINE_AA, shift=4)
    part[:] = picture


def _draw_axis(picture: np.ndarray, top: int, end_s: float) -> None:
    step_s = next((step for step in _STEPS_S if end_s / step <= _MOST_TICKS), _STEPS_S[-1])
    width = _WIDTH - _LEFT - _RIGHT - 1
    cv2.line(picture, (_LEFT, top), (_LEFT + width, top), _INK, 1)
    for k in range(int(end_s / step_s + 1e-9) + 1):
        x = _LEFT + round(k * step_s / end_s * width)
        cv2.line(picture, (x, top), (x, top + 5), _INK, 1)
        text = _clock(k * step_s, step_s)
        (wide, _), _ = cv2.getTextSize(text, _FONT, _SCALE, 1)
        _write(picture, text, (min(x - wide // 2, _WIDTH - wide - 2), top + _LINE_PX - 4))


def _clock(second: float, step_s: float) -> str:
    """``1:05``, ``1:00:05``; of small steps seconds."""
    if step_s < 5:
        return f"{second:g} s"
    minutes, seconds = divmod(round(second), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


def _legend(colours: Mapping[str, int]) -> np.ndarray:
    """uint8 [h, 1200, 3]: a square and the name of each class, as many beside one another as there is room for."""
    placed, x, y = [], _LEFT, 0
    for name in colours:
        (wide, _), _ = cv2.getTextSize(drawable(name), _FONT, _SCALE, 1)
        if x > _LEFT and x + wide + 40 > _WIDTH - _RIGHT:
            x, y = _LEFT, y + _LINE_PX
        placed.append((name, x, y))
        x += wide + 40
    picture = np.full((y + _LINE_PX + _GAP, _WIDTH, 3), _PAPER, np.uint8)
    for name, x, y in placed:
        picture[y + 5 : y + 17, x : x + 12] = colour_of(colours[name])
        _write(picture, name, (x + 18, y + 16))
    return picture


def _write(picture: np.ndarray, text: str, foot: tuple[int, int]) -> None:
    cv2.putText(picture, drawable(text), foot, _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
