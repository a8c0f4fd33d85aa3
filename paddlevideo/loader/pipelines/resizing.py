"""Operators that change the size of the pictures.

All take and give ``imgs`` [V, T, H, W, 3], uint8 or float32, and draw once per clip.  ``interpolation`` decides on the
pixels in all of them:

* ``antialias``: Pillow's BILINEAR, bit for bit: a triangle as wide as the shrinking factor, the width first, rounded in
  between.  Float clips go through Pillow's float pictures, colour by colour.
* ``linear``: OpenCV's INTER_LINEAR: the four nearest pixels.  Faster; aliases when it shrinks.

An operator that names none follows its reference.  PaddleVideo's ``Scale``, ``Scale_PV`` and ``MultiScaleCrop`` use
Pillow unless ``backend: cv2`` is written; its ``JitterScale`` depends on the decoder (see there).  ``Resize``,
``Rescale`` and ``RandomRescale`` are OpenCV's in both references.  ``interpolation``, where it is written, wins.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.loader.pipelines.sample_boxes import scale_boxes
from paddlevideo.multigrid import SHAPE
from paddlevideo.ranges import Positive, PositiveInt
from paddlevideo.registry import TRANSFORMS

Rng = np.random.Generator


def images(sample: Sample) -> np.ndarray:
    """``sample["imgs"]`` [V, T, H, W, 3].

    Raises:
        UserError: no sampling operator comes before this one.
    """
    if "imgs" not in sample:
        raise UserError("there are no frames yet: write a sampling operator (Sampler, SampleFrames) before it")
    return sample["imgs"]


def size_in(sample: Sample, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width that an operator gives: its own, or of multigrid training those of the sample's shape."""
    shape = sample.get(SHAPE)
    return size if shape is None else (shape.crop_size, shape.crop_size)


def side_of(size: tuple[int, int]) -> int | None:
    """The side of a square of this height and width; None where it is none."""
    return size[0] if size[0] == size[1] else None


def interpolation_of(backend: str | None, interpolation: str | None) -> str:
    """The interpolation of a PaddleVideo operator: the one that is written, or that of its ``backend`` (Pillow's)."""
    return interpolation or ("linear" if backend == "cv2" else "antialias")


def resize(imgs: np.ndarray, height: int, width: int, interpolation: str = "linear") -> np.ndarray:
    """Stretches every picture: [V, T, H, W, 3] -> [V, T, height, width, 3], same dtype.

    ``imgs`` may be a crop of a larger array; it is not copied first.

    Raises:
        UserError: the new size is empty.
    """
    if height < 1 or width < 1:
        raise UserError(f"cannot make a picture of {height} x {width} (height x width)")
    if imgs.shape[2:4] == (height, width):
        return imgs
    out = np.empty((*imgs.shape[:2], height, width, 3), imgs.dtype)
    for v in range(imgs.shape[0]):
        for t in range(imgs.shape[1]):
            if interpolation == "linear":
                cv2.resize(imgs[v, t], (width, height), dst=out[v, t], interpolation=cv2.INTER_LINEAR)
            elif imgs.dtype == np.uint8:
                out[v, t] = _pillow(imgs[v, t], height, width)
            else:  # Pillow has no picture of three float channels
                for c in range(3):
                    out[v, t, :, :, c] = _pillow(imgs[v, t, :, :, c], height, width)
    return out


def _pillow(picture: np.ndarray, height: int, width: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))  # uint8 [H, W, 3], or float32 [H, W]
    return image.resize((width, height), Image.Resampling.BILINEAR)


def resize_sample(sample: Sample, height: int, width: int, interpolation: str = "linear") -> Sample:
    """``resize`` of the clip, and its boxes with it."""
    imgs = images(sample)
    sample["imgs"] = resize(imgs, height, width, interpolation)
    scale_boxes(sample, height / imgs.shape[2], width / imgs.shape[3])
    return sample


def short_side_size(height: int, width: int, short: int) -> tuple[int, int]:
    """Height and width with the short side ``short`` and the aspect kept, rounded half up (MMCV's rule)."""
    factor = short / min(height, width)
    return int(height * factor + 0.5), int(width * factor + 0.5)


def _resize_one(op: Scale | Resize, image: np.ndarray) -> np.ndarray:
    """[H, W, 3] -> [H', W', 3], as the operator does it to clips."""
    return resize(image[None, None], *op.new_size(*image.shape[:2]), op.interpolation)[0, 0]


@TRANSFORMS.register
class Scale(Transform):
    """Makes the short side ``short_size``; pictures whose short side has it already stay as they are.

    Args:
        short_size: pixels.
        fixed_ratio: the long side becomes ``int(short_size * 4 / 3)`` whatever the aspect was (the default, as in
            PaddleVideo: it squeezes 16:9 pictures).  False keeps the aspect, unless ``keep_ratio`` is False.
        keep_ratio: only with ``fixed_ratio: False``; False makes squares.
        do_round: round the sides to the nearest pixel instead of down.
        backend: pillow (what is left out means it) or cv2: which pixels, see the module's docstring.
        interpolation: antialias or linear; overrides ``backend``.

    *Source*: PaddleVideo's Scale.
    """

    augments = "place"
    takes_boxes = True

    def __init__(
        self,
        short_size: PositiveInt,
        fixed_ratio: bool = True,
        keep_ratio: bool | None = None,
        do_round: bool = False,
        backend: Literal["pillow", "cv2"] | None = None,
        interpolation: Literal["linear", "antialias"] | None = None,
    ):
        if fixed_ratio and keep_ratio:
            raise ValueError("fixed_ratio (4:3) and keep_ratio exclude each other; fixed_ratio is True by default")
        self.short_size, self.fixed_ratio, self.keep_ratio = short_size, fixed_ratio, keep_ratio
        self.do_round, self.interpolation = do_round, interpolation_of(backend, interpolation)

    def new_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that pictures of this size get."""
        short = self.short_size
        if min(height, width) == short:
            return height, width
        if self.fixed_ratio:
            long = int(short * 4.0 / 3.0)
            return (long, short) if width <= height else (short, long)
        if self.keep_ratio is False:
            return short, short
        if self.do_round:
            return short_side_size(height, width, short)
        return (int(height * short / width), short) if width <= height else (short, int(width * short / height))

    def each_frame(self) -> Callable[[np.ndarray], np.ndarray]:
        """The same for one picture; pictures that went through it stay as they are in ``__call__``."""
        return functools.partial(_resize_one, self)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs = images(sample)
        return resize_sample(sample, *self.new_size(*imgs.shape[2:4]), self.interpolation)


@TRANSFORMS.register("Scale_PV")
class ScalePV(Scale):
    """``Scale`` that keeps the aspect: the name in PaddleVideo's file for TSM on folders of frames."""

    def __init__(self, short_size: PositiveInt, interpolation: Literal["linear", "antialias"] | None = None):
        super().__init__(short_size, fixed_ratio=False, interpolation=interpolation)


@TRANSFORMS.register
class JitterScale(Transform):
    """Makes the short side a drawn ``round(uniform(min_size, max_size))``; the long side follows, rounded down.

    Args:
        default_min_size: multigrid training: a batch of the short cycle's smaller pictures has this, times their
            factor, for min_size.
        short_cycle_factors: accepted for PaddleVideo's files; ``MULTIGRID`` decides.
        interpolation: linear or antialias.  None: as PaddleVideo, linear after ``VideoDecoder`` with ``backend: pyav``
            (which gives tensors there), antialias after any other decoder (which gives Pillow's pictures).

    *Source*: PaddleVideo's JitterScale.  Behind PyAV it interpolates normalised floats without rounding; here uint8 is
    interpolated and rounded to whole levels (0.013 of normalised pixels at most), unless ``Normalization`` comes
    before it with ``device: False``.
    """

    augments = "place"
    takes_boxes = True

    def __init__(
        self,
        min_size: PositiveInt,
        max_size: PositiveInt,
        short_cycle_factors: list[Positive] = (0.5, 0.7071),
        default_min_size: PositiveInt = 256,
        interpolation: Literal["linear", "antialias"] | None = None,
    ):
        if not 1 <= min_size <= max_size:
            raise ValueError(f"expected 1 <= min_size <= max_size, got {min_size} and {max_size}")
        self.min_size, self.max_size = min_size, max_size
        self.default_min_size = default_min_size
        self.interpolation = interpolation_of(None, interpolation)
        self._follows_decoder = interpolation is None

    def settle(self, before: Sequence[Transform]) -> None:
        """Chooses the interpolation by the decoder among the operators before this one."""
        if self._follows_decoder and any(op.gives_tensors for op in before):
            self.interpolation = "linear"
            self.differs = "after pyav levels are interpolated and rounded; PaddleVideo interpolates normalised floats"

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs = images(sample)
        low, shape = self.min_size, sample.get(SHAPE)
        if shape is not None and shape.short_factor is not None:
            low = round(shape.short_factor * self.default_min_size)
        size = round(rng.uniform(low, self.max_size))
        height, width = imgs.shape[2:4]
        if min(height, width) == size:
            return sample
        if width < height:
            new = (math.floor(height / width * size), size)
        else:
            new = (size, math.floor(width / height * size))
        return resize_sample(sample, *new, self.interpolation)


@TRANSFORMS.register
class Resize(Transform):
    """MMAction2's Resize.

    Args:
        scale: [width, height] in pixels, or a factor.  With ``keep_ratio`` the pictures become as large as fits into
            it (whichever way round), and -1 stands for no limit: [-1, 256] makes the short side 256.
        keep_ratio: False stretches to exactly [width, height].
        interpolation: linear or antialias.

    *Source*: MMAction2's Resize; new sides are ``int(side * factor + 0.5)``.
    """

    augments = "place"
    side = ("scale",)
    takes_boxes = True

    def __init__(
        self,
        scale: list[int] | Positive,
        keep_ratio: bool = True,
        interpolation: Literal["linear", "antialias"] = "linear",
    ):
        if not isinstance(scale, int | float) and (
            len(scale) != 2 or max(scale) < 1 or (min(scale) < 1 and not (keep_ratio and min(scale) == -1))
        ):
            raise ValueError(f"scale must be [width, height], or [-1, short side] with keep_ratio, got {list(scale)}")
        self.scale, self.keep_ratio = scale, keep_ratio
        self.interpolation = interpolation
        self.clip_side = None if isinstance(scale, int | float) or keep_ratio else side_of((scale[1], scale[0]))

    def new_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that pictures of this size get."""
        if isinstance(self.scale, int | float):
            factor = self.scale
        elif not self.keep_ratio:
            return self.scale[1], self.scale[0]
        elif min(self.scale) == -1:
            return short_side_size(height, width, max(self.scale))
        else:
            factor = min(max(self.scale) / max(height, width), min(self.scale) / min(height, width))
        return int(height * factor + 0.5), int(width * factor + 0.5)

    def each_frame(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The same for one picture, where pictures that went through it stay as they are in ``__call__``."""
        by_short_side = not isinstance(self.scale, int | float) and self.keep_ratio and min(self.scale) == -1
        return functools.partial(_resize_one, self) if by_short_side else None

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs = images(sample)
        size = self.new_size(*imgs.shape[2:4])
        return resize_sample(sample, *(size if self.clip_side is None else size_in(sample, size)), self.interpolation)


def int_pair(value: list[int] | str) -> list[int]:
    """``[256, 320]``, or the text ``(256, 320)`` that YAML makes of Python's way of writing it.

    Raises:
        ValueError: neither.
    """
    if isinstance(value, str):
        found = re.fullmatch(r"\s*[(\[]\s*(-?\d+)\s*,\s*(-?\d+)\s*[)\]]\s*", value)
        if not found:
            raise ValueError(f"expected [a, b] or '(a, b)', got {value!r}")
        return [int(found[1]), int(found[2])]
    return list(value)


@TRANSFORMS.register
class Rescale(Resize):
    """``Resize`` under PaddleVideo's names: ``scale_range: (-1, 256)`` makes the short side 256.

    *Source*: PaddleVideo's Rescale.
    """

    def __init__(
        self,
        scale_range: list[int] | str,
        keep_ratio: bool = True,
        interpolation: Literal["linear", "antialias"] = "linear",
    ):
        super().__init__(int_pair(scale_range), keep_ratio, interpolation)


@TRANSFORMS.register
class RandomRescale(Transform):
    """Makes the short side a whole number drawn from ``scale_range``, both ends included; keeps the aspect.

    Args:
        scale_range: [least, greatest]; PaddleVideo's files write it as the text ``(256,320)``.

    *Source*: MMAction2's and PaddleVideo's RandomRescale.
    """

    augments = "place"
    takes_boxes = True

    def __init__(self, scale_range: list[int] | str, interpolation: Literal["linear", "antialias"] = "linear"):
        scale_range = int_pair(scale_range)
        if len(scale_range) != 2 or not 1 <= scale_range[0] <= scale_range[1]:
            raise ValueError(f"scale_range must be [least, greatest], got {list(scale_range)}")
        self.scale_range = scale_range
        self.interpolation = interpolation

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs = images(sample)
        short = int(rng.integers(self.scale_range[0], self.scale_range[1] + 1))
        return resize_sample(sample, *short_side_size(*imgs.shape[2:4], short), self.interpolation)
