"""Clips as a picture for people: one row per clip, one column per frame; or the rows side by side, moving."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from paddlevideo.drawing import Marked, colour_of, drawable
from paddlevideo.errors import UserError
from paddlevideo.safe_io import write_atomic

_FONT, _FONT_SCALE, _LINE_PX, _GAP_PX = cv2.FONT_HERSHEY_SIMPLEX, 0.45, 18, 4
_PAPER, _INK, _FAINT = 255, (0, 0, 0), (120, 120, 120)


@dataclass
class PictureRow:
    """A line of text and, below it, frames uint8 [T, H, W, 3] RGB, or nothing (None); people are outlined in all."""

    title: str
    frames: np.ndarray | None
    people: Sequence[Marked] = field(default_factory=tuple)


def displayable(imgs: np.ndarray) -> np.ndarray:
    """uint8 as it is; normalised float32 stretched so that its least value is black and its greatest white."""
    if imgs.dtype == np.uint8:
        return imgs
    low, high = float(imgs.min()), float(imgs.max())
    return np.clip((imgs - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers 0 .. count - 1, evenly, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def contact_sheet(heading: Sequence[str], rows: Sequence[PictureRow], height_px: int, columns: int) -> np.ndarray:
    """The rows below one another.

    Args:
        heading: lines above everything.
        rows: at least one.
        height_px: of a frame; its width follows.
        columns: frames per row at most; of more, evenly spread ones are shown and the row's title has a remark.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    parts = [_text(line) for line in heading]
    for row in rows:
        if row.frames is None:
            parts.append(_text(row.title, _FAINT))
            continue
        shown = spread(len(row.frames), columns)
        left_out = f"  ({len(shown)} of {len(row.frames)} frames)" if len(shown) < len(row.frames) else ""
        parts.append(_text(row.title + left_out))
        parts.append(_side_by_side([_shown(row, t, height_px) for t in shown]))
    return _below_one_another(parts)


def moving_sheet(heading: Sequence[str], rows: Sequence[PictureRow], height_px: int) -> list[np.ndarray]:
    """The rows side by side, each playing; a shorter one starts again.

    Returns:
        uint8 RGB pictures of one size, one per frame of the longest row.
    """
    moving = [row for row in rows if row.frames is not None]
    pictures = []
    for t in range(max(len(row.frames) for row in moving)):
        cells = []
        for row in moving:
            frame = _shown(row, t % len(row.frames), height_px)
            cells.append(_below_one_another([_text(row.title), frame]))
        pictures.append(_below_one_another([*(_text(line) for line in heading), _side_by_side(cells)]))
    return pictures


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] RGB.

    Raises:
        UserError: the folder cannot be written to.
    """
    done, data = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise UserError(f"{path}: a picture of {picture.shape[1]} x {picture.shape[0]} pixels is too large for PNG")
    write_atomic(path, data.tobytes())


def write_gif(path: str | Path, pictures: Sequence[np.ndarray], fps: float) -> None:
    """Writes uint8 [H, W, 3] RGB pictures of one size as a looping GIF.

    By Pillow, which chooses 256 colours per picture; OpenCV's own GIFs have a fixed palette, far from these colours.

    Raises:
        UserError: Pillow is not installed; the folder cannot be written to.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UserError("GIFs are written by Pillow: pip install pillow; or use --format png") from None
    first, *others = [Image.fromarray(picture) for picture in pictures]
    stream = io.BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
    write_atomic(path, stream.getvalue())


def _text(line: str, colour: tuple[int, int, int] = _INK) -> np.ndarray:
    """A line as a picture as wide as its text."""
    line = drawable(line)
    (width, _), _ = cv2.getTextSize(line, _FONT, _FONT_SCALE, 1)
    picture = np.full((_LINE_PX, width + 2 * _GAP_PX, 3), _PAPER, np.uint8)
    return cv2.putText(picture, line, (_GAP_PX, _LINE_PX - 6), _FONT, _FONT_SCALE, colour, 1, cv2.LINE_AA)


def _shown(row: PictureRow, t: int, height_px: int) -> np.ndarray:
    """Frame t of a row at that height, with its people outlined: outlines and letters stay thin whatever the scale."""
    picture = _scaled(row.frames[t], height_px)
    factor = height_px / row.frames.shape[1]
    for one in row.people:
        left, top, right, bottom = (round(float(side) * factor) for side in one.box_px)
        cv2.rectangle(picture, (left, top), (right, bottom), colour_of(one.colour), 1)
        for line in one.lines:
            cv2.putText(
                picture, drawable(line), (left + 2, top + 11), _FONT, 0.4, colour_of(one.colour), 1, cv2.LINE_AA
            )
    return picture


def _scaled(frame: np.ndarray, height_px: int) -> np.ndarray:
    """The frame at that height; enlarged pixels stay squares, so that what is seen is what there is."""
    width_px = max(1, round(frame.shape[1] * height_px / frame.shape[0]))
    how = cv2.INTER_AREA if frame.shape[0] > height_px else cv2.INTER_NEAREST
    return cv2.resize(np.ascontiguousarray(frame), (width_px, height_px), interpolation=how)


def _side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    height = max(len(picture) for picture in pictures)
    padded = [np.pad(p, ((0, height - len(p)), (0, _GAP_PX), (0, 0)), constant_values=_PAPER) for p in pictures]
    return np.concatenate(padded, axis=1)


def _below_one_another(pictures: Sequence[np.ndarray]) -> np.ndarray:
    width = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(p, ((0, _GAP_PX), (0, width - p.shape[1]), (0, 0)), constant_values=_PAPER) for p in pictures]
    return np.concatenate(padded)
