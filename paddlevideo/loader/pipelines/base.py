"""The base classes of a pipeline's operators, and of operators on batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Sample = dict[str, Any]
Batch = dict[str, Any]


class Transform(ABC):
    """A step of ``PIPELINE``: a sample in, the sample out.  A subclass has ``__call__``; the rest has defaults.

    It keeps no state, and draws from ``rng`` alone: a sample is a function of its generator.

    Attributes:
        takes_boxes: it moves ``boxes`` with the pixels (``pipelines.sample_boxes``), or moves no pixel.
        normalizes: its pictures are normalised float32; all others are levels 0..255, uint8.
        on_device: it leaves normalisation to the network, with its ``mean`` and ``std``.
        mean, std: float32 [3] on the 0..1 scale, of an operator that normalises or leaves it to the network; None: it
            does neither, or normalises in another way.
        gives_tensors: a decoder after which PaddleVideo's operators interpolate normalised floats.
        interpolation: "linear" or "antialias" of an operator that resizes; None: it does not.
        differs: how it differs, on purpose, from PaddleVideo's of the same name and arguments; None: it does not.
        augments: what it varies or sets: "time", "place" (crop, size), "mirror" or "levels"; a level of ``augment``
            replaces such steps of PIPELINE.train (``config.augments``).  None: none of them, it stays.
        cuts_time: it opens a video and takes a clip's frames of it in one: no step in between can take a part of it.
        side: arguments with the side of its pictures, or [width, height]; of several, one is given.
        clip_s: seconds of video that a clip of a sampling step spans, at 30 frames per second; None: all of it.
        counts_frames: the frames of its clips lie a number of frames apart, so that the time between them depends on
            the frame rate of the video.
        clip_frames, clip_side: frames, and side in pixels, of the clips that it gives, where it can give others
            (``shape_of`` in multigrid training); None: it cannot.
        decides_input: its pictures are others than those of a video; weights trained with it go with no others
            (``network_input``).
        joins_frames: the argument that states how many frames it makes one picture of; None: it keeps their number.
        must_equal: argument -> key path of the value that it repeats (``config.checking``).
        follows: argument -> key path of a value that it takes where it is left out (``config.data_arguments``).
    """

    takes_boxes: bool = False
    normalizes: bool = False
    on_device: bool = False
    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    gives_tensors: bool = False
    interpolation: str | None = None
    differs: str | None = None
    augments: str | None = None
    cuts_time: bool = False
    side: Sequence[str] = ()
    clip_s: float | None = None
    counts_frames: bool = False
    clip_frames: int | None = None
    clip_side: int | None = None
    decides_input: bool = False
    joins_frames: str | None = None
    must_equal: Mapping[str, str] = {}
    follows: Mapping[str, str] = {}

    @abstractmethod
    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The changed sample; it may be the same dict.

        Args:
            sample: "filename", "frame_dir" or an open "reader"; from the sampling step on "imgs" uint8 [V, T, H, W, 3]
                RGB (V: clips x crops); "label" int or float32 [K]; of key frames "boxes" float32 [P, 4] xyxy.
            rng: the sample's own generator.

        Raises:
            UserError: it cannot take this sample; the pipeline adds the key path and the file.
        """

    def settle(self, before: Sequence[Transform]) -> None:
        """Called once, when the pipeline is built, with the operators before this one."""
        return

    def prepare(self) -> None:
        """Called once, before worker processes begin: opens what it reads from besides the clips."""
        return

    def remark_on(self, records: Sequence[Mapping[str, Any]]) -> str | None:
        """Called once, after ``prepare``, with the records of a data set of persons.

        Returns:
            A line on the records for which the operator has nothing; None: it has something for each.

        Raises:
            UserError: it has nothing for any of them.
        """
        return None

    def each_frame(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """uint8 [H, W, 3] -> uint8 [H', W', 3], what it does to every picture alone, so that a reader may do it; None
        where that is not all."""
        return None


class BatchTransform(ABC):
    """``MIX``: an operator on training batches that blends clips with one another.  A subclass has ``__call__``."""

    @abstractmethod
    def __call__(self, batch: Batch, rng: np.random.Generator, num_classes: int) -> Batch:
        """The changed batch.

        Args:
            batch: "imgs" uint8 or float32 [N, V, T, H, W, 3]; "label" int64 [N] or float32 [N, K].
            rng: the batch's own generator.
            num_classes: K; the new "label" is float32 [N, K].
        """
