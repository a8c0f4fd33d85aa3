"""Layout and normalisation: mostly done by the framework."""

from __future__ import annotations

from typing import Literal

import numpy as np

from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.loader.pipelines.resizing import images
from paddlevideo.ranges import Positive, PositiveInt
from paddlevideo.registry import TRANSFORMS


@TRANSFORMS.register
class Image2Array(Transform):
    """Does nothing: clips stay [V, T, H, W, 3] until the framework makes of them what its network takes.

    Args:
        transpose, data_format: checked, otherwise without effect.

    *Source*: PaddleVideo's Image2Array, which lays the clip out as tchw or cthw.
    """

    takes_boxes = True

    def __init__(self, transpose: bool = True, data_format: Literal["tchw", "cthw"] = "tchw"):
        pass

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample


@TRANSFORMS.register
class Normalization(Transform):
    """``(x / 255 - mean) / std`` per channel.

    By default it only declares it (``Pipeline.normalization``) and the network does it: uint8 is a quarter of
    what has to travel, and resizing or cropping afterwards gives the same up to rounding.

    Args:
        mean: of the three channels R, G, B, on the 0..1 scale (0..255 with ``inplace``).
        std: likewise.
        tensor_shape: accepted, changes nothing; channels are last here.
        inplace: PaddleVideo's second variant, which does not divide by 255: mean and std are on the 0..255 scale.
        device: False normalises here, into float32.

    Attributes:
        mean, std: float32 [3] on the 0..1 scale, with ``inplace`` too.

    *Source*: PaddleVideo's Normalization.
    """

    takes_boxes = True

    def __init__(
        self,
        mean: list[float],
        std: list[Positive],
        tensor_shape: list[int] = (3, 1, 1),
        inplace: bool = False,
        device: bool = True,
    ):
        if len(mean) != 3 or len(std) != 3:
            raise ValueError(f"mean and std are those of three channels, got {list(mean)} and {list(std)}")
        unit = 255.0 if inplace else 1.0
        self.mean = np.asarray(mean, np.float32) / np.float32(unit)
        self.std = np.asarray(std, np.float32) / np.float32(unit)
        self.on_device = device

    @property
    def normalizes(self) -> bool:
        """Whether it gives normalised floats, instead of leaving that to the device."""
        return not self.on_device

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        imgs = images(sample)
        if not self.on_device:
            width = imgs.shape[3]
            flat = imgs.reshape(*imgs.shape[:3], width * 3).astype(np.float32)  # long rows: thrice as fast as by pixel
            flat *= np.tile(1 / (255 * self.std), width)
            flat -= np.tile(self.mean / self.std, width)
            sample["imgs"] = flat.reshape(imgs.shape)
        return sample


@TRANSFORMS.register
class Normalize(Normalization):
    """``Normalization`` as MMAction2 and PaddleVideo's AVA file write it: mean and std on the 0..255 scale.

    Args:
        mean, std: of the three channels R, G, B, on the 0..255 scale.
        to_bgr: must be False; frames are RGB everywhere here, as they are in the published models.
        device: False normalises here, into float32.

    *Source*: MMAction2's Normalize.
    """

    def __init__(self, mean: list[float], std: list[Positive], to_bgr: bool = False, device: bool = True):
        if to_bgr:
            raise ValueError("to_bgr: frames are RGB here; set it to False, or mirror the first layer's channels")
        super().__init__(mean, std, inplace=True, device=device)


@TRANSFORMS.register
class PackOutput(Transform):
    """Does nothing: SlowFast takes its slow frames out of the one clip itself.

    Args:
        alpha: as in MODEL.backbone; ``--check`` refuses another value.

    *Source*: PaddleVideo's PackOutput, which makes the two pathways' clips here.
    """

    takes_boxes = True
    must_equal = {"alpha": "MODEL.backbone.alpha"}

    def __init__(self, alpha: PositiveInt = 4):
        pass

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample
