"""The boxes of a training clip that enter the loss: matching with the ground truth, and the draw.

All of it is numpy on small arrays, before the network runs, so that a GPU never waits for it.  Boxes are xyxy.
"""

from __future__ import annotations

import numpy as np

from paddlevideo.boxes import iou
from paddlevideo.modeling.heads.base import DetectionPart
from paddlevideo.ranges import PositiveInt, Probability
from paddlevideo.registry import HEADS


@HEADS.register
class MaxIoUAssignerAVA(DetectionPart):
    """Assigns boxes to ground truth, by intersection over union.

    Args:
        pos_iou_thr: from here on a box is assigned to the ground truth that it overlaps most.
        neg_iou_thr: below, it is background; in between it is neither.
        min_pos_iou: a ground truth whose best boxes reach this takes them all, whatever else they overlap.
        match_low_quality: whether it does.

    *Source*: MMAction2 and PaddleVideo ``MaxIoUAssignerAVA``, whose labels are looked up by ``RandomSampler`` here.
    """

    def __init__(
        self,
        pos_iou_thr: Probability = 0.9,
        neg_iou_thr: Probability = 0.9,
        min_pos_iou: Probability = 0.9,
        match_low_quality: bool = True,
    ):
        if neg_iou_thr > pos_iou_thr:
            raise ValueError(f"neg_iou_thr: expected at most pos_iou_thr ({pos_iou_thr}), got {neg_iou_thr}")
        self.pos_iou_thr, self.neg_iou_thr, self.min_pos_iou = pos_iou_thr, neg_iou_thr, min_pos_iou
        self.match_low_quality = match_low_quality

    def assign(self, boxes: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
        """int64 [P] for boxes [P, 4] and ground truth [G, 4]: g + 1, 0 for background, -1 for neither.

        Without ground truth everything is background.
        """
        assigned = np.full(len(boxes), -1, "int64")
        if not len(boxes) or not len(gt_boxes):
            return np.zeros(len(boxes), "int64")
        overlaps = iou(boxes.astype("float32"), gt_boxes.astype("float32")).astype("float32")  # [P, G]
        best = overlaps.max(axis=1)
        assigned[best < self.neg_iou_thr] = 0
        positive = best >= self.pos_iou_thr
        assigned[positive] = overlaps.argmax(axis=1)[positive] + 1
        if self.match_low_quality:
            reached = overlaps.max(axis=0)
            for g in np.flatnonzero(reached >= self.min_pos_iou):
                assigned[overlaps[:, g] == reached[g]] = g + 1
        return assigned


@HEADS.register
class RandomSampler(DetectionPart):
    """Draws the boxes of one clip for training.

    Args:
        num: at most so many.
        pos_fraction: at most this share of ``num`` are boxes with a ground truth, 0 to 1.
        neg_pos_ub: at most so many of background per box with one; below 0 without a limit.
        add_gt_as_proposals: whether the ground truth's own boxes are among those drawn from.

    *Source*: MMDetection and PaddleVideo ``RandomSampler``.
    """

    def __init__(
        self,
        num: PositiveInt = 32,
        pos_fraction: Probability = 1.0,
        neg_pos_ub: float = -1.0,
        add_gt_as_proposals: bool = True,
    ):
        self.num, self.pos_fraction, self.neg_pos_ub = num, pos_fraction, neg_pos_ub
        self.add_gt_as_proposals = add_gt_as_proposals

    def sample(
        self,
        boxes: np.ndarray,
        assigned: np.ndarray,
        gt_boxes: np.ndarray,
        gt_labels: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The drawn boxes float32 [S, 4] and their labels float32 [S, K]; those of background, zeros, come last.

        Args:
            boxes: [P, 4].
            assigned: int [P], of ``MaxIoUAssignerAVA``.
            gt_boxes, gt_labels: [G, 4] and [G, K].
            rng: used only where there are more boxes than may be taken.
        """
        if self.add_gt_as_proposals:
            boxes = np.concatenate([gt_boxes, boxes])
            assigned = np.concatenate([np.arange(1, len(gt_boxes) + 1), assigned])
        positive = _some(np.flatnonzero(assigned > 0), int(self.num * self.pos_fraction), rng)
        limit = self.num - len(positive)
        if self.neg_pos_ub >= 0:
            limit = min(limit, int(self.neg_pos_ub * max(1, len(positive))))
        negative = _some(np.flatnonzero(assigned == 0), limit, rng)
        labels = np.zeros((len(positive) + len(negative), gt_labels.shape[1]), "float32")
        labels[: len(positive)] = gt_labels[assigned[positive] - 1]
        return boxes[np.concatenate([positive, negative])].astype("float32"), labels


def _some(indices: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most so many of them, in their order."""
    return indices if len(indices) <= most else np.sort(rng.choice(indices, most, replace=False))
