"""Geometry of boxes x1, y1, x2, y2, in numpy: overlap, fractions and pixels, corners from a corner and sides."""

from __future__ import annotations

import numpy as np


def paired_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of the boxes at the same index of two arrays, which broadcast.

    Args:
        a, b: [..., 4 or more], x1, y1, x2, y2 first, in one unit.

    Returns:
        float64 [...], 0 to 1; 0 for boxes without area.
    """
    shared = _area(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:4], b[..., 2:4]))
    union = _area(a[..., :2], a[..., 2:4]) + _area(b[..., :2], b[..., 2:4]) - shared
    return np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box with every other: [n, 4] with [m, 4] -> float64 [n, m], 0 to 1."""
    return paired_iou(a[:, None], b[None])


def _area(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[..., 2] corners -> [...]; 0 where a side is negative."""
    sides = np.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]


def to_pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Boxes in fractions of a picture in its pixels, float64 [..., 4 or more]; columns after the corners stay."""
    return boxes * _sides(boxes, width, height)


def to_fractions(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Boxes in pixels of a picture in fractions of it, float64 [..., 4 or more]; columns after the corners stay."""
    return boxes / _sides(boxes, width, height)


def _sides(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.array([width, height, width, height, *[1] * (boxes.shape[-1] - 4)], np.float64)


def from_corner(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of a box given by its upper left corner, width and height."""
    return x, y, x + width, y + height
