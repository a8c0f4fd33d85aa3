"""A timeline frame by frame: each frame is computed once, where overlapping windows compute it in each of them.

For networks with ``shift_mode: online``, which see no later frame (``OnlineTSM``).  A frame is taken every ``hop_s`` =
``window_s / num_seg`` seconds, as far apart as those of a window.  Its scores are the mean over the last ``num_seg``
frames and stand for the ``window_s`` seconds that end with it; at the start for as much as there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.network import TrainedNetwork
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.runtimes.base import finite_scores
from paddlevideo.inference.stream import FileStream, LiveStream
from paddlevideo.inference.stream_clips import ClipOfWindow, Say, StreamClips
from paddlevideo.inference.video_timeline import VideoTimeline
from paddlevideo.inference.windows import Steps
from paddlevideo.loader.decode.rgb import to_rgb
from paddlevideo.memory import within_memory
from paddlevideo.spans import Span

By = Literal["windows", "frames"]

_SAME = 1e-3  # share by which two lengths of a window may differ


def steps_by_frame(predictor: Predictor, by: By | None) -> bool:
    """Whether the model runs frame by frame: where it can, unless ``by`` is "windows".

    Raises:
        UserError: ``by`` is "frames", and it cannot.
    """
    model = predictor.model
    online = isinstance(model, TrainedNetwork) and model.framework.frame_by_frame
    if by == "frames" and not online:
        raise UserError(
            f"{predictor.name}: cannot run frame by frame, which needs trained weights (-c and -w) of a network with "
            "MODEL.backbone.shift_mode: online; leave out --by frames"
        )
    return online and by != "windows"


def frame_hop_s(predictor: Predictor, window_s: float | None, hop_s: float | None) -> tuple[float, float]:
    """``window_s`` and ``hop_s`` = window_s / num_seg, from one of them, or from both if they agree.

    Raises:
        UserError: they do not: the frames would be closer together or further apart than in training.
    """
    num_seg = predictor.model.framework.num_frames
    if window_s is None:
        window_s = hop_s * num_seg
    if hop_s is not None and abs(hop_s * num_seg - window_s) > _SAME * window_s:
        raise UserError(
            f"hop_s: {num_seg} frames in {window_s:g} s are {window_s / num_seg:g} s apart, got {hop_s:g}; give one of "
            "window_s and hop_s, or --by windows"
        )
    return window_s, window_s / num_seg


@dataclass(frozen=True)
class FrameOfStream(ClipOfWindow):
    """What the model is given of a frame: ``imgs`` [V, 1, H, W, 3].

    Args:
        frame_s: time at which it is shown.
        begins: nothing before belongs to it.
    """

    frame_s: float = 0.0
    begins: bool = False

    @property
    def time_s(self) -> float:
        """The time at which it is shown."""
        return self.frame_s


class StreamFrames(StreamClips):
    """Iterates over single frames, ``hop_s`` apart."""

    def _cut(self, stream: FileStream | LiveStream, say: Say) -> Iterator[tuple[str, Any]]:
        size: tuple[int, int] | None = None
        begun_s, steps = 0.0, Steps(stream, self.hop_s)
        for step in steps:
            frame = step.frame.frame
            size = size or (frame.width, frame.height)
            sample = {"filename": stream.address.shown, "imgs": to_rgb(frame, size)[None, None]}
            # a crop that is drawn is the same for all frames, as for those of a clip
            sample = self.pipeline.on_pictures(sample, np.random.default_rng([self.seed, 0, 0]))
            begun_s = step.time_s if step.begins else begun_s
            end_s = step.time_s + self.hop_s
            start_s = max(begun_s, end_s - self.window_s)
            yield "clip", FrameOfStream(start_s, end_s, sample["imgs"], step.time_s, step.begins)
        yield "end", steps.end_s


@dataclass
class FrameTimeline(VideoTimeline):
    """The spans of one source, frame by frame; ``settings`` with ``hop_s`` = ``window_s / num_seg``.

    Raises:
        UserError: several frames shall run together, or ``max_fps`` is given: there is one frame at a time.
    """

    unit = "frames"
    _cutter = StreamFrames

    @property
    def steps(self) -> str:
        """What is scored, in words."""
        return f"frame by frame, one every {self.settings.hop_s:g} s, scored over {self.settings.window_s:g} s"

    def __post_init__(self) -> None:
        if self.predictor.batch_size > 1 or self.max_fps is not None:
            option = "batch_size" if self.predictor.batch_size > 1 else "max_fps"
            raise UserError(
                f"{option}: frame by frame there is one frame at a time; leave it out, or give --by windows"
            )
        super().__post_init__()
        self._network = self.predictor.model
        self._stream = self._network.framework.stream()

    def _push(self, batch: Sequence[FrameOfStream]) -> Iterator[Span]:
        for frame in batch:
            if frame.begins:
                self._stream.reset()
                yield from self._complete(self._timeline.stall())
            yield from self._take(frame, self._scores(frame.imgs[:, 0]))

    def _scores(self, frames: np.ndarray) -> np.ndarray:
        """float32 [K] after the next frame [V, H, W, 3]; every view is a stream of its own."""
        with within_memory("the model's run", frames, "give smaller pictures"):
            logits = self._stream.step_logits(frames)  # [V, K]
            scores = self._network.framework.average(logits.unsqueeze(0)).numpy()  # [1, K]
        return finite_scores(scores, self._network.name)[0]
