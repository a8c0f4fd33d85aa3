"""A decoded frame as an upright RGB picture."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np


def to_rgb(frame: Any, size: tuple[int, int] | None = None) -> np.ndarray:
    """uint8 [H, W, 3], upright by the file's display matrix; a view of FFmpeg's picture.

    Args:
        size: stored width and height that the picture gets; None: its own.
    """
    width, height = size or (frame.width, frame.height)
    image = _converter().reformat(frame, width, height, format="rgb24", threads=1, interpolation="BILINEAR")
    plane = image.planes[0]  # its lines may be longer than the picture's; to_ndarray would copy it
    pixels = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)[:, : 3 * width]
    return upright(pixels.reshape(height, width, 3), orientation(frame))


def orientation(frame: Any) -> tuple[bool, bool, bool]:
    """How the stored picture is shown: rows and columns swapped, then flipped left-right, then upside down.

    A display matrix [a b u; c d v; x y w] shows the pixel (x, y) at (a x + c y, b x + d y).  A turn that is no multiple
    of 90 degrees becomes the nearest one.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def upright_aspect(pixel_aspect: float, turned: tuple[bool, bool, bool]) -> float:
    """Width of a pixel divided by its height, of the upright picture: where rows become columns, wide ones are high."""
    return 1 / pixel_aspect if turned[0] else pixel_aspect


def upright(image: np.ndarray, turned: tuple[bool, bool, bool]) -> np.ndarray:
    """[H, W, 3] -> [H, W, 3] or [W, H, 3], turned and mirrored by ``orientation``; a view."""
    swapped, left_right, upside_down = turned
    if swapped:
        image = image.swapaxes(0, 1)
    return image[:: -1 if upside_down else 1, :: -1 if left_right else 1]


class _OfThread(threading.local):
    converter: Any = None  # a converter per frame costs 25 times as much


_of_thread = _OfThread()


def _converter() -> Any:
    if _of_thread.converter is None:
        from av.video.reformatter import VideoReformatter

        _of_thread.converter = VideoReformatter()
    return _of_thread.converter
