"""Augmentation policies: a few operations drawn per clip, out of ``policy_operations``.

All take and give ``imgs`` uint8 [V, T, H, W, 3].  What is drawn holds for all views and frames of the sample; ``draw``
gives it as plain data, ``(operation, value)`` pairs in the order in which they are applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import cv2
import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.loader.pipelines.policy_operations import Value, apply, tall
from paddlevideo.loader.pipelines.resizing import images
from paddlevideo.ranges import NonNegative, Positive, PositiveInt, Probability
from paddlevideo.registry import TRANSFORMS

Rng = np.random.Generator
Steps = list[tuple[str, Value]]


def uint8_frames(sample: Sample) -> np.ndarray:
    """``imgs`` as C-contiguous uint8 [V * T, H, W, 3].

    Raises:
        UserError: the clip was normalised before.
    """
    imgs = images(sample)
    if imgs.dtype != np.uint8:
        raise UserError(
            f"works on levels 0..255 (uint8), the clip is {imgs.dtype}; put it before Normalization, or leave that to "
            "the device (without 'device: False')"
        )
    return np.ascontiguousarray(imgs).reshape(-1, *imgs.shape[2:])


def _apply_all(clip: np.ndarray, steps: Iterable[tuple[str, Value]], fill: int) -> np.ndarray:
    for name, value in steps:
        clip = apply(clip, name, value, fill)
    return clip


_IMGAUG_LEVEL = 0.9  # magnitude 9 of 10
# operation, value at that level, whether its sign is drawn
_IMGAUG: list[tuple[str, float, bool]] = [
    ("ShearXCentred", float(np.tan(np.deg2rad(17.19 * _IMGAUG_LEVEL))), True),
    ("ShearYCentred", float(np.tan(np.deg2rad(17.19 * _IMGAUG_LEVEL))), True),
    ("TranslateX", 0.2 * _IMGAUG_LEVEL, True),
    ("TranslateY", 0.2 * _IMGAUG_LEVEL, True),
    ("Rotate", 30 * _IMGAUG_LEVEL, True),
    ("Posterize", max(1, int(4 * _IMGAUG_LEVEL)), False),
    ("Solarize", 256 * _IMGAUG_LEVEL, False),
    ("Saturation", 1.8 * _IMGAUG_LEVEL + 0.1, False),
    ("Contrast", 1.8 * _IMGAUG_LEVEL + 0.1, False),
    ("Brightness", 1.8 * _IMGAUG_LEVEL + 0.1, False),
    ("Sharpness", 1.8 * _IMGAUG_LEVEL + 0.1, False),
    ("AutoContrast", 0, False),
    ("Equalize", 0, False),
    ("Invert", 0, False),
    ("Cutout", 0.2 * _IMGAUG_LEVEL, False),
]


@TRANSFORMS.register
class Imgaug(Transform):
    """Exactly 2 of 15 operations at 9 tenths of their strength, in this order.

    Shears of 15.5 degrees, moves by 18 %, turns of 27 degrees, black behind them; 3 bits; solarized above 230; colour,
    contrast, brightness, sharpness times 1.72; auto-contrast, equalized, inverted; a grey square of 18 % of the short
    side at a drawn place.

    Args:
        transforms: ``default`` is the only list there is: imgaug itself is not used (it does not run with numpy 2).

    *Source*: MMAction2's Imgaug with ``transforms='default'``, the "RandAugment" rows of its TSM page.  There the signs
    of shears, moves and turns are drawn once per worker process, so that the number of workers changes the data; here
    they are drawn per clip, from the sample's generator, like everything else.  Moves are not rounded to whole pixels.
    """

    augments = "levels"

    def __init__(self, transforms: Literal["default"] = "default"):
        if transforms != "default":
            raise ValueError(f"transforms must be 'default', got {transforms!r}; other lists: RandAugment, AugMix")

    def draw(self, rng: Rng) -> Steps:
        """What happens to one clip."""
        chosen = np.sort(rng.choice(len(_IMGAUG), size=2, replace=False))
        signs, (row, column) = rng.choice((-1, 1), size=2), rng.random(2)
        steps: Steps = []
        for (name, value, signed), sign in zip((_IMGAUG[i] for i in chosen), signs.tolist()):
            if name == "Cutout":
                steps.append((name, (value, float(row), float(column))))
            else:
                steps.append((name, sign * value if signed else value))
        return steps

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        clip, shape = uint8_frames(sample), sample["imgs"].shape
        for name, value in self.draw(rng):
            clip = apply(clip, name, value, fill=128 if name == "Cutout" else 0)
        sample["imgs"] = clip.reshape(shape)
        return sample


# operation -> its value at strength m (0..1) and sign s (-1 or 1); thresholds on the 0..1 scale
Level = Callable[[float, int], float]
_GEOMETRY: dict[str, Level] = {
    "Rotate": lambda m, s: 30 * m * s,
    "ShearX": lambda m, s: 0.3 * m * s,
    "ShearY": lambda m, s: 0.3 * m * s,
}
_LEVELS: dict[str, Level] = {
    "AutoContrast": lambda m, s: 0,
    "Equalize": lambda m, s: 0,
    "Posterize": lambda m, s: 4 - int(4 * m),
    "Solarize": lambda m, s: 1 - m,
}
_COLOURS = ("Brightness", "Contrast", "Saturation", "Sharpness")
_RAND_AUGMENT: dict[str, Level] = {
    **{name: lambda m, s: 1 + 0.9 * m * s for name in _COLOURS},
    **_LEVELS,
    **_GEOMETRY,
    "Invert": lambda m, s: 0,
    "TranslateX": lambda m, s: 0.45 * m * s,
    "TranslateY": lambda m, s: 0.45 * m * s,
}
_AUG_MIX: dict[str, Level] = {
    **{name: lambda m, s: 0.1 + 1.8 * m for name in _COLOURS},
    **_LEVELS,
    **_GEOMETRY,
    "TranslateX": lambda m, s: m / 3 * s,
    "TranslateY": lambda m, s: m / 3 * s,
}
_MAX_MAGNITUDE = 10


def _value(table: dict[str, Level], name: str, magnitude: float, sign: int, unit_levels: bool) -> float:
    value = table[name](magnitude / _MAX_MAGNITUDE, sign)
    return value * 255 if name == "Solarize" and not unit_levels else value


def _check_magnitude(magnitude: float) -> float:
    if not 0 <= magnitude <= _MAX_MAGNITUDE:
        raise ValueError(f"magnitude lies in 0 .. {_MAX_MAGNITUDE}, got {magnitude}")
    return magnitude


@TRANSFORMS.register("PytorchVideoRandAugment")
class RandAugment(Transform):
    """``num_layers`` different ones of 14 operations, each applied with probability ``prob``.

    At magnitude m, of 10: colour factors 1 +- 0.09 m; turns by 3 m degrees; slopes of 0.03 m; moves by 4.5 m %;
    4 - int(0.4 m) bits; solarized above 255 (1 - m / 10); auto-contrast, equalized, inverted.

    Args:
        magnitude: 0 .. 10; each operation draws its own from a normal distribution around it, clipped to 0 .. 10.
        num_layers: operations per clip.
        prob: 0 .. 1.
        sampling_std: of that distribution.
        unit_levels: True leaves threshold and fill on the scale 0..1 while clips are 0..255, as it comes about where
            MMAction2 hands uint8 to PyTorchVideo: solarize inverts all but black, and what comes in from outside is
            black instead of grey.  To repeat that page's recipe exactly.

    *Source*: Cubuk et al., RandAugment (2020); the numbers are those of PyTorchVideo's RandAugment, which MMAction2
    reaches through PytorchVideoTrans.
    """

    augments = "levels"

    def __init__(
        self,
        magnitude: NonNegative = 9,
        num_layers: PositiveInt = 2,
        prob: Probability = 0.5,
        sampling_std: NonNegative = 0.5,
        unit_levels: bool = False,
    ):
        if not 1 <= num_layers <= len(_RAND_AUGMENT):
            raise ValueError(f"num_layers lies in 1 .. {len(_RAND_AUGMENT)}, got {num_layers}")
        if not 0 <= prob <= 1 or sampling_std < 0:
            raise ValueError(f"prob lies in 0 .. 1, sampling_std is not negative; got {prob} and {sampling_std}")
        self.magnitude, self.num_layers, self.prob = _check_magnitude(magnitude), num_layers, prob
        self.sampling_std, self.unit_levels = sampling_std, unit_levels

    def draw(self, rng: Rng) -> Steps:
        """What happens to one clip."""
        chosen = rng.choice(sorted(_RAND_AUGMENT), size=self.num_layers, replace=False).tolist()
        applied = rng.random(self.num_layers) < self.prob
        magnitudes = np.clip(rng.normal(self.magnitude, self.sampling_std, self.num_layers), 0, _MAX_MAGNITUDE)
        signs = rng.choice((-1, 1), size=self.num_layers).tolist()
        return [
            (name, _value(_RAND_AUGMENT, name, magnitude, sign, self.unit_levels))
            for name, use, magnitude, sign in zip(chosen, applied, magnitudes.tolist(), signs)
            if use
        ]

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        clip, shape = uint8_frames(sample), sample["imgs"].shape
        sample["imgs"] = _apply_all(clip, self.draw(rng), fill=0 if self.unit_levels else 128).reshape(shape)
        return sample


@TRANSFORMS.register("PytorchVideoAugMix")
class AugMix(Transform):
    """``m x + (1 - m) sum_i w_i chain_i(x)``, chains of operations blended with the clip itself.

    w ~ Dirichlet(alpha, ..., alpha) over ``width`` chains, m ~ Beta(alpha, alpha).  A chain is ``depth`` of 13
    operations, drawn with replacement, each at a magnitude from [0.1, ``magnitude``): RandAugment's without invert,
    with colour factors 0.1 + 0.18 m (one-sided) and moves of at most a third.

    Args:
        magnitude: 1 .. 10.
        alpha: positive.
        width: number of chains.
        depth: operations per chain; -1 draws 1, 2 or 3 for each.
        unit_levels: as in ``RandAugment``.

    *Source*: Hendrycks et al., AugMix (2020), algorithm 1, without its consistency loss; the numbers are those of
    PyTorchVideo's AugMix.  That one cuts the blend off to whole levels, here it is rounded.
    """

    augments = "levels"

    def __init__(
        self,
        magnitude: NonNegative = 3,
        alpha: Positive = 1.0,
        width: PositiveInt = 3,
        depth: int = -1,
        unit_levels: bool = False,
    ):
        if magnitude < 1 or alpha <= 0 or width < 1 or (depth < 1 and depth != -1):
            raise ValueError(
                "expected magnitude 1 .. 10, alpha > 0, width >= 1 and depth >= 1 or -1 (drawn), got "
                f"{magnitude}, {alpha}, {width} and {depth}"
            )
        self.magnitude, self.alpha, self.width, self.depth = _check_magnitude(magnitude), alpha, width, depth
        self.unit_levels = unit_levels

    def draw(self, rng: Rng) -> tuple[float, list[tuple[float, Steps]]]:
        """Share of the clip itself, and (share, steps) per chain; all shares sum to 1."""
        kept = float(rng.beta(self.alpha, self.alpha))
        weights = (1 - kept) * rng.dirichlet([self.alpha] * self.width)
        return kept, [(float(weight), self._chain(rng)) for weight in weights]

    def _chain(self, rng: Rng) -> Steps:
        depth = int(rng.integers(1, 4)) if self.depth == -1 else self.depth
        names = rng.choice(sorted(_AUG_MIX), size=depth).tolist()
        magnitudes = rng.uniform(0.1, self.magnitude, size=depth).tolist()
        signs = rng.choice((-1, 1), size=depth).tolist()
        return [
            (name, _value(_AUG_MIX, name, magnitude, sign, self.unit_levels))
            for name, magnitude, sign in zip(names, magnitudes, signs)
        ]

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        clip, shape = uint8_frames(sample), sample["imgs"].shape
        kept, chains = self.draw(rng)
        blend, total = tall(clip).astype(np.float32), kept  # the mean so far, and the share it stands for
        for weight, steps in chains:
            total += weight
            chain = _apply_all(clip, steps, fill=0 if self.unit_levels else 128)
            cv2.accumulateWeighted(tall(chain), blend, weight / total if total else 0.0)
        sample["imgs"] = cv2.convertScaleAbs(blend).reshape(shape)  # rounded
        return sample


@TRANSFORMS.register
class PytorchVideoTrans(Transform):
    """``RandAugment`` or ``AugMix`` as MMAction2's files call them; with its defaults (others: name the class itself).

    Args:
        trans_type: which.

    *Source*: MMAction2's PytorchVideoTrans.
    """

    augments = "levels"

    def __init__(self, trans_type: Literal["RandAugment", "AugMix"]):
        self.policy: RandAugment | AugMix = RandAugment() if trans_type == "RandAugment" else AugMix()

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        return self.policy(sample, rng)
