"""The operators of the levels of ``augment``: what is drawn holds for all views and frames of a clip, so that motion
stays what it is.

The levels are in ``configs/_base_/augment.yaml``; ``config.augments`` puts them into PIPELINE.train.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from paddlevideo.loader.decode.part import FrameRange
from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.loader.pipelines.cropping import crop_sample, size_hw
from paddlevideo.loader.pipelines.policy import uint8_frames
from paddlevideo.loader.pipelines.policy_operations import brightness, contrast, saturation
from paddlevideo.loader.pipelines.resizing import images, resize_sample
from paddlevideo.ranges import NonNegative, Positive, PositiveInt, Probability, ProbabilityBelowOne
from paddlevideo.registry import TRANSFORMS

Rng = np.random.Generator


@TRANSFORMS.register
class TemporalCrop(Transform):
    """Takes a drawn part of the video for all of it: before the sampling step, after the decoder.

    A video whose decoder has chosen a time window stays as it is: the window is drawn there.

    Args:
        share: [least, greatest] length of the part, of the video's frames, drawn evenly; its place is drawn evenly.
    """

    augments = "time"

    def __init__(self, share: list[Positive] = (0.8, 1.0)):
        self.share = _ascending("share", share, 1.0)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        count = sample.get("total_frames", len(sample["reader"]))
        drawn, place = rng.uniform(*self.share), rng.random()
        length = max(1, round(count * drawn))
        if "window" not in sample and length < count:
            first = min(int(place * (count - length + 1)), count - length)
            sample["reader"] = FrameRange(sample["reader"], first, first + length)
            sample["total_frames"] = length
        return sample


@TRANSFORMS.register
class ScaledCrop(Transform):
    """A crop of drawn size, shape and place, stretched to ``target_size``.

    Args:
        target_size: side of the result, or [width, height].
        scale: [least, greatest] height and width of the crop, as a share of the largest box of the result's shape in
            the picture; drawn evenly.
        stretch: by how much the shape varies: width / height is multiplied by a factor of 1 / stretch .. stretch, drawn
            on a logarithmic scale; what exceeds the picture is cut.
        place: random, or centre.
        interpolation: antialias or linear.

    *Source*: the scale jitter of TSN's and torchvision's crops; here the scale is of the side, not of the area, so that
    wide pictures are not searched for a box that fits.
    """

    augments = "place"
    side = ("target_size",)

    def __init__(
        self,
        target_size: PositiveInt | list[PositiveInt],
        scale: list[Positive] = (0.7, 1.0),
        stretch: Positive = 1.0,
        place: Literal["random", "centre"] = "random",
        interpolation: Literal["linear", "antialias"] = "antialias",
    ):
        if stretch < 1:
            raise ValueError(f"stretch is at least 1, got {stretch}")
        self.size, self.scale = size_hw(target_size), _ascending("scale", scale, 1.0)
        self.stretch, self.place, self.interpolation = stretch, place, interpolation

    def box(self, height: int, width: int, rng: Rng) -> tuple[int, int, int, int]:
        """A drawn crop of a picture of this size: top, left, height, width."""
        scale, shape, down, right = rng.random(4)
        side = self.scale[0] + scale * (self.scale[1] - self.scale[0])
        factor = side * min(height / self.size[0], width / self.size[1])
        root = math.sqrt(self.stretch ** (2 * shape - 1))
        h = min(height, max(1, round(factor * self.size[0] / root)))
        w = min(width, max(1, round(factor * self.size[1] * root)))
        if self.place == "centre":
            return (height - h) // 2, (width - w) // 2, h, w
        return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        sample = crop_sample(sample, *self.box(*images(sample).shape[2:4], rng))
        return resize_sample(sample, *self.size, self.interpolation)


@TRANSFORMS.register
class ColorJitter(Transform):
    """Brightness, contrast and saturation, in this order, each times a factor of ``1 - x .. 1 + x``.

    Args:
        brightness, contrast, saturation: x, drawn evenly; 0: unchanged.
        p: probability that the clip is changed.

    *Source*: torchvision's ColorJitter; no hue, as colours often tell classes of own data apart, and no drawn order.
    """

    augments = "levels"

    def __init__(
        self,
        brightness: ProbabilityBelowOne = 0.2,
        contrast: ProbabilityBelowOne = 0.2,
        saturation: ProbabilityBelowOne = 0.2,
        p: Probability = 0.8,
    ):
        self.amounts, self.p = (brightness, contrast, saturation), p

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        clip, shape = uint8_frames(sample), sample["imgs"].shape
        applied, factors = rng.random() < self.p, rng.uniform(-1, 1, 3)
        for change, amount, factor in zip((brightness, contrast, saturation), self.amounts, factors.tolist()):
            if applied and amount:
                clip = change(clip, 1 + amount * factor)
        sample["imgs"] = clip.reshape(shape)
        return sample


@TRANSFORMS.register
class RandomErasing(Transform):
    """Paints a drawn rectangle grey, the same one in all frames.

    Args:
        p: probability that the clip is changed.
        area: [least, greatest] share of the picture, drawn evenly.
        stretch: width / height is 1 / stretch .. stretch, drawn on a logarithmic scale.
        fill: grey level.

    *Source*: Zhong et al., Random Erasing (2017), with one box for the clip.
    """

    augments = "levels"

    def __init__(
        self,
        p: Probability = 0.25,
        area: list[NonNegative] = (0.02, 0.2),
        stretch: Positive = 3.0,
        fill: NonNegative = 128,
    ):
        if stretch < 1 or fill > 255:
            raise ValueError(f"stretch is at least 1 and fill at most 255, got {stretch} and {fill}")
        self.p, self.area, self.stretch, self.fill = p, _ascending("area", area, 1.0), stretch, round(fill)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        clip, shape = uint8_frames(sample), sample["imgs"].shape
        drawn, area, ratio, down, right = rng.random(5)
        if drawn >= self.p:
            return sample
        height, width = clip.shape[1:3]
        pixels = (self.area[0] + area * (self.area[1] - self.area[0])) * height * width
        aspect = self.stretch ** (2 * ratio - 1)
        h, w = min(height, round(math.sqrt(pixels / aspect))), min(width, round(math.sqrt(pixels * aspect)))
        top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
        clip = clip.copy()
        clip[:, top : top + h, left : left + w] = self.fill
        sample["imgs"] = clip.reshape(shape)
        return sample


def _ascending(name: str, pair: list[float] | tuple[float, ...], most: float) -> tuple[float, float]:
    if len(pair) != 2 or not 0 <= pair[0] <= pair[1] <= most:
        raise ValueError(f"{name} must be [least, greatest] in 0 .. {most:g}, got {list(pair)}")
    return float(pair[0]), float(pair[1])
