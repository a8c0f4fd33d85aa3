"""Batch operators that blend clips with one another and make soft labels.

All are callables ``(batch, rng, num_classes) -> batch`` on a training batch: ``imgs`` uint8 (or float32)
[N, V, T, H, W, 3], ``label`` int64 [N] or float32 [N, K].  Clip n is blended with clip ``order[n]`` of a drawn
permutation, with one share ``lam`` for the whole batch; ``label`` becomes float32 [N, K], rows summing to what they
summed to.
"""

from __future__ import annotations

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines.base import Batch, BatchTransform
from paddlevideo.ranges import Positive, Probability
from paddlevideo.registry import TRANSFORMS

Rng = np.random.Generator


def soft_labels(label: np.ndarray, num_classes: int) -> np.ndarray:
    """float32 [N, K] of int64 [N] or float32 [N, K].

    Raises:
        UserError: a class outside 0 .. K - 1, or soft labels of another K.
    """
    label = np.asarray(label)
    if label.ndim == 2:
        if label.shape[1] != num_classes:
            raise UserError(f"soft labels of {label.shape[1]} classes, but the model has {num_classes}")
        return label.astype(np.float32)
    if label.size and not 0 <= label.min() <= label.max() < num_classes:
        raise UserError(f"labels {label.min()} .. {label.max()} do not fit {num_classes} classes")
    return np.eye(num_classes, dtype=np.float32)[label]


def _blend_labels(batch: Batch, order: np.ndarray, lam: float, num_classes: int) -> np.ndarray:
    label = soft_labels(batch["label"], num_classes)
    return (np.float32(lam) * label + np.float32(1 - lam) * label[order]).astype(np.float32)


@TRANSFORMS.register
class Mixup(BatchTransform):
    """``lam * x + (1 - lam) * x[order]`` with lam ~ Beta(alpha, alpha).

    *Source*: Zhang et al., mixup (2018), section 2; PaddleVideo's Mixup.  uint8 clips stay uint8, rounded.
    """

    def __init__(self, alpha: Positive = 0.2):
        self.alpha = alpha

    def __call__(self, batch: Batch, rng: Rng, num_classes: int) -> Batch:
        imgs = np.asarray(batch["imgs"])
        lam = float(rng.beta(self.alpha, self.alpha))
        order = rng.permutation(len(imgs))
        mixed = np.empty_like(imgs)
        for n, other in enumerate(order):  # one clip at a time: the float copy stays small
            clip = np.float32(lam) * imgs[n] + np.float32(1 - lam) * imgs[other]
            mixed[n] = np.rint(clip) if imgs.dtype == np.uint8 else clip
        return {**batch, "imgs": mixed, "label": _blend_labels(batch, order, lam, num_classes)}


def cut_box(height: int, width: int, lam: float, rng: Rng) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a box of share ``1 - lam`` around a drawn centre, clipped to the picture."""
    side = np.sqrt(1.0 - lam)
    half_h, half_w = int(height * side) // 2, int(width * side) // 2
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = np.clip([y - half_h, y + half_h], 0, height)
    left, right = np.clip([x - half_w, x + half_w], 0, width)
    return int(top), int(bottom), int(left), int(right)


@TRANSFORMS.register
class Cutmix(BatchTransform):
    """Pastes one box of clip ``order[n]`` into all frames of clip n; lam ~ Beta(alpha, alpha), then the area left.

    *Source*: Yun et al., CutMix (2019), appendix A; PaddleVideo's Cutmix.  That one cuts along time and height of a
    clip and states a share that is not what it left; here the box lies in H x W, the same in all frames, and ``lam`` is
    the share of the pixels that are the clip's own.
    """

    def __init__(self, alpha: Positive = 0.2):
        self.alpha = alpha

    def __call__(self, batch: Batch, rng: Rng, num_classes: int) -> Batch:
        imgs = np.asarray(batch["imgs"])
        height, width = imgs.shape[3:5]
        top, bottom, left, right = cut_box(height, width, float(rng.beta(self.alpha, self.alpha)), rng)
        order = rng.permutation(len(imgs))
        mixed = imgs.copy()
        mixed[..., top:bottom, left:right, :] = imgs[order, ..., top:bottom, left:right, :]
        lam = 1.0 - (bottom - top) * (right - left) / (height * width)
        return {**batch, "imgs": mixed, "label": _blend_labels(batch, order, lam, num_classes)}


@TRANSFORMS.register
class VideoMix(BatchTransform):
    """``Cutmix`` with probability ``cutmix_prob``, else ``Mixup``.

    *Source*: PaddleVideo's VideoMix (PP-TimeSformer).
    """

    def __init__(self, cutmix_prob: Probability = 0.5, mixup_alpha: Positive = 0.2, cutmix_alpha: Positive = 1.0):
        self.cutmix_prob = cutmix_prob
        self.mixup, self.cutmix = Mixup(mixup_alpha), Cutmix(cutmix_alpha)

    def __call__(self, batch: Batch, rng: Rng, num_classes: int) -> Batch:
        return (self.cutmix if rng.random() < self.cutmix_prob else self.mixup)(batch, rng, num_classes)
