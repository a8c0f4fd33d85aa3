"""Mirrored clips, and the labels that change with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import cv2
import numpy as np

from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.loader.pipelines.resizing import images
from paddlevideo.loader.pipelines.sample_boxes import mirror_boxes
from paddlevideo.ranges import Probability
from paddlevideo.registry import TRANSFORMS


def mirror(imgs: np.ndarray, direction: str = "horizontal") -> np.ndarray:
    """All pictures of [V, T, H, W, 3] mirrored left-right or upside down, as a new C-contiguous array."""
    out = np.empty(imgs.shape, imgs.dtype)
    for v in range(imgs.shape[0]):
        for t in range(imgs.shape[1]):
            cv2.flip(imgs[v, t], 1 if direction == "horizontal" else 0, dst=out[v, t])
    return out


def relabel(label: Any, label_map: Mapping[int, int]) -> Any:
    """The label of the mirrored clip: a class number through the map, or float32 [..., K] with its columns moved."""
    if not isinstance(label, np.ndarray) or label.ndim == 0:
        return label_map.get(int(label), label)
    moved = label.copy()
    moved[..., list(label_map)] = 0
    for old, new in label_map.items():
        moved[..., new] += label[..., old]
    return moved


@TRANSFORMS.register
class RandomFlip(Transform):
    """Mirrors the whole clip with probability ``p``.

    Args:
        p: 0 .. 1.
        direction: horizontal or vertical.
        flip_label_map: class (of persons: column) -> class of the mirrored clip, for data sets where left and right
            matter (Something-Something).  A swap needs both directions: {93: 94, 94: 93}.

    *Source*: PaddleVideo's RandomFlip (without the map); the map is MMAction2's.
    """

    augments = "mirror"
    takes_boxes = True

    def __init__(
        self,
        p: Probability = 0.5,
        direction: Literal["horizontal", "vertical"] = "horizontal",
        flip_label_map: dict[int, int] | None = None,
    ):
        self.p, self.direction = p, direction
        # describe() and YAML may spell the keys as strings
        self.label_map = {int(old): int(new) for old, new in (flip_label_map or {}).items()}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        imgs = images(sample)
        if rng.random() < self.p:
            sample["imgs"] = mirror(imgs, self.direction)
            mirror_boxes(sample, *imgs.shape[2:4], self.direction)
            for key in ("label", "gt_labels") if self.label_map else ():
                if key in sample:
                    sample[key] = relabel(sample[key], self.label_map)
        return sample


@TRANSFORMS.register
class Flip(RandomFlip):
    """``RandomFlip`` under MMAction2's names.

    *Source*: MMAction2's Flip.  PaddleVideo's (its AVA file) puts mirrored boxes one pixel further left.
    """

    differs = "mirrored boxes begin at width - x2, as in MMAction2; in PaddleVideo one pixel further left"

    def __init__(
        self,
        flip_ratio: Probability = 0.5,
        direction: Literal["horizontal", "vertical"] = "horizontal",
        flip_label_map: dict[int, int] | None = None,
    ):
        super().__init__(flip_ratio, direction, flip_label_map)
