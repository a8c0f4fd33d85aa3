"""Boxes of a sample, moved with its pixels.

``boxes`` (of the persons to classify) and ``gt_boxes`` are xyxy: fractions of the picture until the frames are there,
pixels of ``imgs`` from then on.  ``boxes_norm`` is as in the file and never moves.  An operator that calls these
functions, or that moves no pixel, has ``takes_boxes = True``; ``Pipeline`` rejects all others on samples with boxes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Sample = dict[str, Any]

_MOVING = ("boxes", "gt_boxes")
PER_PERSON = ("boxes", "boxes_norm", "box_scores", "gt_boxes", "gt_labels")


def boxes_to_pixels(sample: Sample) -> None:
    """From fractions to pixels of ``imgs``, once the frames have been read."""
    scale_boxes(sample, *sample["imgs"].shape[2:4])


def scale_boxes(sample: Sample, vertical: float, horizontal: float) -> None:
    """The picture was stretched by these factors."""
    factors = np.array([horizontal, vertical, horizontal, vertical], np.float32)
    for key in _MOVING:
        if key in sample:
            sample[key] = sample[key] * factors


def crop_boxes(sample: Sample, top: int, left: int, height: int, width: int) -> None:
    """The picture was cut to this rectangle: boxes are shifted and clipped to 0 .. side - 1.

    Ground truth without area is dropped, with its labels: it is not in this crop.  ``boxes`` keep their number and
    order, which scores refer to.

    *Source*: MMAction2's crops, which clip in the same way and keep the empty ground truth.
    """
    shift = np.array([left, top, left, top], np.float32)
    limit = np.array([width - 1, height - 1, width - 1, height - 1], np.float32)
    for key in _MOVING:
        if key in sample:
            sample[key] = np.clip(sample[key] - shift, 0, limit)
    if "gt_boxes" in sample:
        x1, y1, x2, y2 = sample["gt_boxes"].T
        left_over = (x2 > x1) & (y2 > y1)
        for key in ("gt_boxes", "gt_labels"):
            sample[key] = sample[key][left_over]


def mirror_boxes(sample: Sample, height: int, width: int, direction: str = "horizontal") -> None:
    """The picture of this size was mirrored: ``x1' = width - x2``, ``x2' = width - x1`` (or y and the height)."""
    low, high, side = (0, 2, width) if direction == "horizontal" else (1, 3, height)
    for key in _MOVING:
        if key in sample:
            moved = sample[key].copy()
            moved[:, low], moved[:, high] = side - sample[key][:, high], side - sample[key][:, low]
            sample[key] = moved
