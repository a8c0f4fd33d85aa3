"""Pictures of what moved: differences of frames in place of the frames."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.loader.pipelines.resizing import images
from paddlevideo.ranges import Positive, Range
from paddlevideo.registry import TRANSFORMS


@TRANSFORMS.register
class FrameDifference(Transform):
    """One picture per run of consecutive frames: ``gain`` times the absolute difference of the run's first and last.

    With ``Sampler: {num_seg: T, seg_len: run}`` before it a clip has T pictures.  They show edges of what moves; what
    stands still is black, so a network neither learns nor needs the place.  A moving camera, or actions told apart by
    objects that do not move, lose with it.  It stands after the steps that scale: differences of large pictures are
    noise first.

    Args:
        run: frames of a run, the sampling step's ``seg_len``; the two frames are ``run - 1`` apart.
        gain: factor of the differences, which are cut at 255.

    *Source*: the RGB difference of TSN (Wang et al., ECCV 2016, section 3.2), which stacks signed ones of five frames;
    here absolute ones of one pair, so that weights of ordinary pictures can be started from.
    """

    joins_frames = "run"
    decides_input = True

    def __init__(self, run: Annotated[int, Range(2)], gain: Positive = 2.0):
        self.run, self.gain = run, gain

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        imgs = images(sample)
        if imgs.shape[1] % self.run:
            raise UserError(
                f"got clips of {imgs.shape[1]} frames, expected runs of {self.run}; set the sampling step's seg_len to "
                f"{self.run}"
            )
        first, last = imgs[:, :: self.run].astype(np.int16), imgs[:, self.run - 1 :: self.run]
        sample["imgs"] = np.clip(np.rint(np.abs(last - first) * self.gain), 0, 255).astype(np.uint8)
        return sample
