"""Operators that cut pictures out: views of the array they were given, copied only where needed.

All take and give ``imgs`` [V, T, H, W, 3] and draw once per clip.  Those that make several crops multiply V, crop by
crop: all V of the first crop, then all V of the second.  A picture smaller than the crop is an error: nothing is padded
or enlarged in silence.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.loader.pipelines.flipping import mirror
from paddlevideo.loader.pipelines.resizing import images, interpolation_of, resize_sample, side_of, size_in
from paddlevideo.loader.pipelines.sample_boxes import crop_boxes
from paddlevideo.ranges import NonNegativeInt, Positive, PositiveInt
from paddlevideo.registry import TRANSFORMS

Rng = np.random.Generator


def size_hw(size: int | list[int]) -> tuple[int, int]:
    """Height and width of ``size``: a square's side, or [width, height] as both references write it.

    Raises:
        ValueError: neither, or not positive.
    """
    pair = [size, size] if isinstance(size, int) else list(size)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"a size is a number of pixels or [width, height], got {size!r}")
    return pair[1], pair[0]


def _room(imgs: np.ndarray, height: int, width: int) -> tuple[int, int]:
    """How far a crop can move down and to the right.

    Raises:
        UserError: it does not fit.
    """
    down, right = imgs.shape[2] - height, imgs.shape[3] - width
    if down < 0 or right < 0:
        raise UserError(
            f"cannot cut {height} x {width} (height x width) out of a picture of {imgs.shape[2]} x {imgs.shape[3]}; "
            "scale it up first (Scale, Resize, JitterScale)"
        )
    return down, right


def _cut(imgs: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    return imgs[:, :, top : top + height, left : left + width]


def crop_sample(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Cuts this rectangle out of every picture, and moves the boxes with it."""
    sample["imgs"] = _cut(images(sample), top, left, height, width)
    crop_boxes(sample, top, left, height, width)
    return sample


@TRANSFORMS.register
class RandomCrop(Transform):
    """A crop of ``target_size`` at a drawn place; every place is as likely, the last row and column included.

    *Source*: PaddleVideo's RandomCrop.  Behind PyAV it never reaches the last place and fails where the picture has
    the crop's size; MMAction2's does not reach it either.
    """

    augments = "place"
    side = ("target_size",)
    takes_boxes = True
    differs = "the last place can be drawn, which PaddleVideo after pyav, and MMAction2, leave out"

    def __init__(self, target_size: PositiveInt | list[PositiveInt]):
        self.size = size_hw(target_size)
        self.clip_side = side_of(self.size)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs = images(sample)
        size = size_in(sample, self.size)
        down, right = _room(imgs, *size)
        left, top = int(rng.integers(0, right + 1)), int(rng.integers(0, down + 1))
        return crop_sample(sample, top, left, *size)


@TRANSFORMS.register("RandomCrop_v2")
class RandomCropV2(RandomCrop):
    """``RandomCrop`` under the name in PaddleVideo's file for AVA.

    *Source*: PaddleVideo's RandomCrop_v2, which never reaches the last place.
    """

    side = ("size",)
    differs = "the last place can be drawn, which PaddleVideo leaves out"

    def __init__(self, size: PositiveInt | list[PositiveInt]):
        super().__init__(size)


@TRANSFORMS.register
class CenterCrop(Transform):
    """The crop of ``target_size`` in the middle.

    Args:
        do_round: an odd margin is halved and rounded to the even neighbour (PaddleVideo's default); False rounds down
            (MMAction2's rule).
        backend: what cuts; the pixels are the same.

    *Source*: PaddleVideo's CenterCrop.
    """

    augments = "place"
    side = ("target_size",)
    takes_boxes = True

    def __init__(
        self,
        target_size: PositiveInt | list[PositiveInt],
        do_round: bool = True,
        backend: Literal["pillow", "cv2", "pyav"] = "cv2",
    ):
        self.size, self.do_round = size_hw(target_size), do_round

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs = images(sample)
        top, left = (round(room / 2.0) if self.do_round else room // 2 for room in _room(imgs, *self.size))
        return crop_sample(sample, top, left, *self.size)


@TRANSFORMS.register("MultiScaleCrop_TSM")
class MultiScaleCrop(Transform):
    """A crop of drawn size and place; both references have an operator of this name, chosen here by the size argument.

    ``target_size``: PaddleVideo's.  Places lie on fractions of a pixel, both ends of the box are rounded (to the even
    neighbour, so that a crop can be one pixel larger than drawn), and the crop is stretched to ``target_size``.
    ``input_size``: MMAction2's.  Places lie on whole pixels, and the crop keeps its size: ``Resize`` stretches it.

    The candidate sides are ``int(s * short side)`` for s in ``scales``; one within 2 pixels of the size becomes it.
    Height and width are drawn as a pair whose positions in ``scales`` differ by at most ``max_distort``.  The place is
    one of 13 (``fix_crop``): corners, middle, middles of the edges, quarter points, on a grid of steps
    ``(side - crop) / 4``.

    Args:
        target_size: side of the result, or [width, height].
        scales: fractions of the short side; None: 1, 0.875, 0.75, 0.66.
        max_distort: MMAction2 calls it max_wh_scale_gap.
        fix_crop: False draws the place freely (MMAction2: random_crop).
        allow_duplication: keep, among the first five places, those that coincide because there is no room; always so
            with ``input_size``.
        more_fix_crop: False: only corners and middle (MMAction2: num_fixed_crops 5 instead of 13).
        backend: pillow (what is left out means it) or cv2: how the crop is stretched.
        interpolation: antialias or linear; overrides ``backend``.
        input_size: see above; one of the two sizes must be given.

    *Source*: TSN's multi-scale cropping, PaddleVideo's and MMAction2's MultiScaleCrop.
    """

    augments = "place"
    side = ("target_size", "input_size")
    takes_boxes = True

    def __init__(
        self,
        target_size: PositiveInt | list[PositiveInt] | None = None,
        scales: list[Positive] | None = None,
        max_distort: NonNegativeInt = 1,
        fix_crop: bool = True,
        allow_duplication: bool = False,
        more_fix_crop: bool = True,
        backend: Literal["pillow", "cv2"] | None = None,
        interpolation: Literal["linear", "antialias"] | None = None,
        input_size: PositiveInt | list[PositiveInt] | None = None,
    ):
        if (target_size is None) == (input_size is None):
            raise ValueError("give target_size (PaddleVideo: stretched to it) or input_size (MMAction2: not stretched)")
        self.whole_pixels = target_size is None
        if self.whole_pixels and (backend, interpolation) != (None, None):
            raise ValueError("with input_size nothing is resized: give interpolation to the Resize after it")
        self.size = size_hw(input_size if target_size is None else target_size)
        self.scales = list(scales) if scales else [1, 0.875, 0.75, 0.66]
        if not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales must lie in (0, 1], got {self.scales}")
        self.max_distort, self.fix_crop = max_distort, fix_crop
        self.allow_duplication, self.more_fix_crop = allow_duplication or self.whole_pixels, more_fix_crop
        self.interpolation = None if self.whole_pixels else interpolation_of(backend, interpolation)

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Heights and widths that are drawn from."""
        sides = [max(1, int(min(height, width) * scale)) for scale in self.scales]
        heights, widths = (
            [target if abs(side - target) < 3 and target <= limit else side for side in sides]
            for target, limit in zip(self.size, (height, width))
        )
        return [(h, w) for i, h in enumerate(heights) for j, w in enumerate(widths) if abs(i - j) <= self.max_distort]

    def places(self, down: int, right: int) -> list[tuple[float, float]]:
        """Top and left that are drawn from, where a crop can move this far down and to the right."""
        step_y, step_x = (down // 4, right // 4) if self.whole_pixels else (down / 4, right / 4)
        distinct = [
            ((0, 0), True),
            ((0, 4), step_x != 0),
            ((4, 0), step_y != 0),
            ((4, 4), step_y != 0 and step_x != 0),
            ((2, 2), step_y != 0 or step_x != 0),
        ]
        places = [place for place, differs in distinct if differs or self.allow_duplication]
        if self.more_fix_crop:
            places += [(2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)]
        return [(y * step_y, x * step_x) for y, x in places]

    def box(self, height: int, width: int, rng: Rng) -> tuple[int, int, int, int]:
        """A drawn crop of a picture of this size: top, left, height, width."""
        sizes = self.sizes(height, width)
        h, w = sizes[rng.integers(len(sizes))]
        if not self.fix_crop:
            return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w
        places = self.places(height - h, width - w)
        return rounded_box(*places[rng.integers(len(places))], h, w)

    def cut(self, sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
        """This crop of the sample, at the size that the operator gives."""
        sample = crop_sample(sample, top, left, height, width)
        return sample if self.whole_pixels else resize_sample(sample, *self.size, self.interpolation)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        return self.cut(sample, *self.box(*images(sample).shape[2:4], rng))


def rounded_box(top: float, left: float, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height, width with both ends rounded to whole pixels, halves to the even one, as Pillow crops."""
    y, x = round(top), round(left)
    return y, x, round(top + height) - y, round(left + width) - x


@TRANSFORMS.register
class RandomResizedCrop(Transform):
    """A crop of drawn area and aspect, at its own size: a resizing operator goes after it.

    Ten tries; if none fits, the largest square in the middle.

    Args:
        area_range: fraction of the picture.
        aspect_ratio_range: width / height, drawn on a logarithmic scale.
        target_size, backend: without effect on the pixels, as in PaddleVideo.

    *Source*: MMAction2's and PaddleVideo's RandomResizedCrop (which do not resize either).
    """

    augments = "place"
    takes_boxes = True

    def __init__(
        self,
        area_range: list[Positive] = (0.08, 1.0),
        aspect_ratio_range: list[Positive] = (3 / 4, 4 / 3),
        target_size: PositiveInt = 224,
        backend: Literal["pillow", "cv2", "pyav"] = "cv2",
    ):
        if not 0 < area_range[0] <= area_range[1] <= 1:
            raise ValueError(f"area_range must lie in (0, 1], got {list(area_range)}")
        if not 0 < aspect_ratio_range[0] <= aspect_ratio_range[1]:
            raise ValueError(f"aspect_ratio_range must be [least, greatest], got {list(aspect_ratio_range)}")
        self.area_range, self.aspect_ratio_range = list(area_range), list(aspect_ratio_range)

    def box(self, height: int, width: int, rng: Rng) -> tuple[int, int, int, int]:
        """A drawn crop of a picture of this size: top, left, height, width."""
        ratios = np.exp(rng.uniform(*np.log(self.aspect_ratio_range), size=10))
        areas = rng.uniform(*self.area_range, size=10) * height * width
        widths = np.round(np.sqrt(areas * ratios)).astype(int)
        heights = np.round(np.sqrt(areas / ratios)).astype(int)
        for h, w in zip(heights.tolist(), widths.tolist()):
            if 1 <= h <= height and 1 <= w <= width:
                left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
                return top, left, h, w
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs = images(sample)
        return crop_sample(sample, *self.box(*imgs.shape[2:4], rng))


def _three(imgs: np.ndarray, height: int, width: int) -> np.ndarray:
    down, right = _room(imgs, height, width)
    if down and right:
        raise UserError(
            f"three crops of {height} x {width} lie along one side, so the other must fit exactly; the picture has "
            f"{imgs.shape[2]} x {imgs.shape[3]} (height x width): make its short side {min(height, width)} first"
        )
    step_y, step_x = down // 2, right // 2
    return np.concatenate([_cut(imgs, k * step_y, k * step_x, height, width) for k in (0, 2, 1)])


@TRANSFORMS.register
class UniformCrop(Transform):
    """Three crops along the long side, in this order: left (top), right (bottom), middle.  V becomes 3 V.

    Args:
        target_size: side of the crop, or [width, height]; one side of the picture must have it.
        backend: what cuts; the pixels are the same.

    *Source*: PaddleVideo's UniformCrop.
    """

    augments = "place"
    side = ("target_size",)

    def __init__(self, target_size: PositiveInt | list[PositiveInt], backend: Literal["pillow", "cv2", "pyav"] = "cv2"):
        self.size = size_hw(target_size)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        sample["imgs"] = _three(images(sample), *self.size)
        return sample


@TRANSFORMS.register
class ThreeCrop(Transform):
    """``UniformCrop`` under MMAction2's name.

    *Source*: MMAction2's ThreeCrop.
    """

    augments = "place"
    side = ("crop_size",)

    def __init__(self, crop_size: PositiveInt | list[PositiveInt]):
        self.size = size_hw(crop_size)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        sample["imgs"] = _three(images(sample), *self.size)
        return sample


@TRANSFORMS.register
class TenCrop(Transform):
    """Corners and middle, each followed by its mirror image.  V becomes 10 V.

    The order is upper left, upper right, lower left, lower right, middle, on a grid of steps ``(side - crop) // 4``.

    Args:
        target_size: side of the crop, or [width, height] (PaddleVideo's name for it).
        crop_size: the same (MMAction2's); one of the two must be given.

    *Source*: PaddleVideo's and MMAction2's TenCrop.
    """

    augments = "place"
    side = ("crop_size",)

    def __init__(
        self,
        target_size: PositiveInt | list[PositiveInt] | None = None,
        crop_size: PositiveInt | list[PositiveInt] | None = None,
    ):
        if (target_size is None) == (crop_size is None):
            raise ValueError("give target_size or crop_size (they mean the same)")
        self.size = size_hw(crop_size if target_size is None else target_size)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs = images(sample)
        step_y, step_x = (room // 4 for room in _room(imgs, *self.size))
        views = []
        for y, x in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)):
            crop = _cut(imgs, y * step_y, x * step_x, *self.size)
            views += [crop, mirror(crop)]
        sample["imgs"] = np.concatenate(views)
        return sample


@TRANSFORMS.register
class MultiCrop(Transform):
    """A square at a drawn place; with ``test_mode`` three along the long side: left (top), middle, right (bottom).

    In test mode V becomes 3 V (``num_crops``), and half margins are rounded up.  Pictures of the crop's size stay as
    they are.

    Args:
        target_size: side of the crop.
        default_crop_size, short_cycle_factors: accepted for PaddleVideo's files; ``MULTIGRID`` decides in multigrid
            training.
        test_mode: see above.
        num_crops: of test mode, evenly along the long side; 1 is the middle.  Where it is left out,
            ``num_spatial_crops`` of the data set (``SFVideoDataset``), else 3.

    *Source*: PaddleVideo's MultiCrop (SlowFast on whole clips).  There a test sample is one of the three crops, the
    data set names which; here they are views of one sample.
    """

    follows = {"num_crops": "DATASET.{split}.num_spatial_crops"}
    augments = "place"
    side = ("target_size",)

    def __init__(
        self,
        target_size: PositiveInt,
        default_crop_size: PositiveInt = 224,
        short_cycle_factors: list[Positive] = (0.5, 0.7071),
        test_mode: bool = False,
        num_crops: PositiveInt = 3,
    ):
        self.target_size, self.test_mode, self.num_crops = target_size, test_mode, num_crops
        self.clip_side = None if test_mode else target_size

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs, (side, _) = images(sample), size_in(sample, (self.target_size, self.target_size))
        down, right = _room(imgs, side, side)
        if not self.test_mode:
            left, top = int(rng.integers(0, right + 1)), int(rng.integers(0, down + 1))
            return crop_sample(sample, top, left, side, side)
        tops, lefts = self._places(down), self._places(right)
        if imgs.shape[2] > imgs.shape[3]:
            lefts = [-(-right // 2)] * self.num_crops
        else:
            tops = [-(-down // 2)] * self.num_crops
        sample["imgs"] = np.concatenate([_cut(imgs, top, left, side, side) for top, left in zip(tops, lefts)])
        return sample

    def _places(self, room: int) -> list[int]:
        if self.num_crops == 1:
            return [-(-room // 2)]
        return [min(room, -(-room // (self.num_crops - 1)) * i) for i in range(self.num_crops - 1)] + [room]


@TRANSFORMS.register
class GroupFullResSample(Transform):
    """Left, right and middle crops at middle height, on a grid of steps ``(side - crop) // 4``.  V becomes 3 V.

    Unlike ``UniformCrop`` it leaves rows out above and below where the picture is higher than the crop.

    Args:
        crop_size: side of the crop, or [width, height].
        flip: each crop is followed by its mirror image; V becomes 6 V.

    *Source*: PaddleVideo's GroupFullResSample (dense tests of PP-TSM), which has it from the original TSM.
    """

    augments = "place"
    side = ("crop_size",)

    def __init__(self, crop_size: PositiveInt | list[PositiveInt], flip: bool = False):
        self.size, self.flip = size_hw(crop_size), flip

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        imgs = images(sample)
        step_y, step_x = (room // 4 for room in _room(imgs, *self.size))
        views = []
        for x in (0, 4, 2):
            crop = _cut(imgs, 2 * step_y, x * step_x, *self.size)
            views += [crop, mirror(crop)] if self.flip else [crop]
        sample["imgs"] = np.concatenate(views)
        return sample
