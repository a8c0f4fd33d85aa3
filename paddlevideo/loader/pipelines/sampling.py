"""Which frames of a video are sampled: pure functions from a frame count to indices, and the operators over them.

Everything is 0-based, whatever the source.  PaddleVideo counts from 1 for folders of frames (and for ``dense_sample``);
MMAction2 adds ``start_index``.  Here the reader of a folder adds the one.  Indices never leave [0, n).
"""

from __future__ import annotations

import copy
from typing import Literal

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.loader.pipelines.decode import VideoDecoder, even_frames, time_window
from paddlevideo.multigrid import SHAPE, ClipShape
from paddlevideo.ranges import Positive, PositiveInt
from paddlevideo.registry import TRANSFORMS

Rng = np.random.Generator

FRAME_0_ONLY = "at most {} frames (num_seg): TSM's test sampling takes frame 0 only, as PaddleVideo's does"
USUAL_FPS = 30.0  # that frame intervals are meant for
_DENSE_RANGE = 64
_DENSE_POSITIONS = 10


def segment_indices(n: int, num_seg: int, seg_len: int, rng: Rng | None) -> np.ndarray:
    """``seg_len`` consecutive frames of each of ``num_seg`` equal segments.

    With ``a = n // num_seg``: the run starts at ``i * a`` plus a draw from 0 .. a - seg_len (``rng``) or plus
    ``(a - 1) // 2`` (``rng`` None); at ``i * a`` if the segment is shorter than the run; at ``i`` if a is 0.  Runs wrap
    around at the end.

    Returns:
        int64 [num_seg * seg_len].

    *Source*: PaddleVideo's Sampler (PP-TSM).  For folders of frames it does not wrap and opens files that do not
    exist (then takes another sample in silence); here both kinds of source wrap.
    """
    average = n // num_seg
    starts = np.arange(num_seg, dtype=np.int64) * max(average, 1)
    if average >= seg_len:
        if rng is None:
            starts += (average - 1) // 2
        else:
            starts += rng.integers(0, average - seg_len + 1, size=num_seg)
    return ((starts[:, None] + np.arange(seg_len)) % n).reshape(-1)


def select_left_indices(n: int, num_seg: int, rng: Rng | None) -> np.ndarray:
    """One frame of each of ``num_seg`` segments, as TSM takes them.

    Drawn (``rng``): ``i * a`` plus a draw from 0 .. a - 1, a = n // num_seg; all frame 0 if a is 0.  Middle (``rng``
    None): ``int((i + 1/2) * n / num_seg)``; all frame 0 unless n > num_seg.

    Returns:
        int64 [num_seg].

    *Source*: PaddleVideo's Sampler with ``select_left``.  Its zeros are floats, which folders of frames turn into the
    missing file ``img_001.0.jpg``; here they are frame 0, as they are for its video files.
    """
    if rng is not None:
        average = n // num_seg
        if average == 0:
            return np.zeros(num_seg, np.int64)
        return np.arange(num_seg, dtype=np.int64) * average + rng.integers(0, average, size=num_seg)
    if n <= num_seg:
        return np.zeros(num_seg, np.int64)
    average = n / num_seg
    return (average / 2.0 + average * np.arange(num_seg)).astype(np.int64)


def linspace_indices(n: int, num_seg: int, window: tuple[float, float] | None = None) -> np.ndarray:
    """``num_seg`` frames evenly from the first to the last of ``window`` (the whole video if None), rounded down.

    What of the window lies outside the video takes its first or last frame.

    Returns:
        int64 [num_seg].
    """
    first, last = (0, n - 1) if window is None else window
    return np.clip(np.linspace(first, last, num_seg), 0, n - 1).astype(np.int64)


def dense_indices(
    n: int,
    num_seg: int,
    rng: Rng | None,
    sample_range: int = _DENSE_RANGE,
    num_positions: int = _DENSE_POSITIONS,
) -> np.ndarray:
    """``num_seg`` frames ``sample_range // num_seg`` apart, from one drawn start or from ``num_positions`` even ones.

    Returns:
        int64 [1, num_seg] with ``rng``, [num_positions, num_seg] without; frames past the end wrap around.

    *Source*: PaddleVideo's Sampler with ``dense_sample``, MMAction2's DenseSampleFrames.  The former counts from 1
    whatever the source, so with decord it is one frame late; not here.
    """
    positions = max(1, 1 + n - sample_range)
    if rng is not None:
        starts = np.array([0 if positions == 1 else rng.integers(0, positions - 1)], np.int64)
    else:
        starts = np.linspace(0, positions - 1, num_positions).astype(np.int64)
    return (starts[:, None] + np.arange(num_seg, dtype=np.int64) * (sample_range // num_seg)) % n


def clip_offsets(
    n: int, clip_len: int, frame_interval: int, num_clips: int, rng: Rng | None, twice: bool = False, tail: bool = False
) -> np.ndarray:
    """First frame of each clip of MMAction2's SampleFrames: drawn with ``rng``, even without.

    Returns:
        float64 [num_clips], or [2 * num_clips] with ``twice`` (not for clips longer than the video); not yet truncated.
    """
    span = clip_len * frame_interval
    room = n - span + 1
    steps = np.arange(num_clips)
    if rng is None:
        if n < span:
            return np.zeros(num_clips)
        average = room / num_clips
        middle = np.floor(steps * average + average / 2.0)
        return np.concatenate([middle, steps * average]) if twice else middle
    if tail:
        average = room / num_clips
        return np.floor(steps * average + rng.uniform(0, average, num_clips)) if n >= span else np.zeros(num_clips)
    average = room // num_clips
    if average > 0:
        return (steps * average + rng.integers(0, average, size=num_clips)).astype(float)
    if n > max(num_clips, span):
        return np.sort(rng.integers(0, room, size=num_clips)).astype(float)
    if average == 0:
        return np.around(steps * (room / num_clips))
    return np.zeros(num_clips)


def clip_indices(
    n: int,
    offsets: np.ndarray,
    clip_len: int,
    frame_interval: int,
    out_of_bound: str = "loop",
    jitter: Rng | None = None,
) -> np.ndarray:
    """The frames of clips that start at ``offsets``.

    Args:
        out_of_bound: frames past the end: ``loop`` wraps around, ``repeat_last`` repeats the clip's last valid one.
        jitter: adds a draw from 0 .. frame_interval - 1 to every frame.

    Returns:
        int64 [len(offsets), clip_len].
    """
    frames = np.asarray(offsets)[:, None] + np.arange(clip_len) * frame_interval
    if jitter is not None:
        frames = frames + jitter.integers(0, frame_interval, size=frames.shape)
    if out_of_bound == "loop":
        return np.mod(frames, n).astype(np.int64)
    valid = frames < n
    last = np.max(np.where(valid, frames, 0), axis=1, keepdims=True)
    return np.where(valid, frames, last).astype(np.int64)


def _fetch(sample: Sample, indices: np.ndarray) -> Sample:
    """Reads the frames ``indices`` [V, T] into ``imgs`` [V, T, H, W, 3] and closes the reader.

    With ``sample["each"]`` every picture goes through it as it is decoded (``Pipeline``).
    """
    reader, each = sample.pop("reader"), sample.pop("each", None)
    try:
        frames = reader.get(indices.reshape(-1), each)
    finally:
        reader.close()
    sample["remarks"] = [*sample.get("remarks", ()), *reader.remarks]
    times = reader.times()
    sample["span_s"] = None if times is None else (float(times[indices.min()]), float(times[indices.max()]))
    sample["imgs"] = frames.reshape(*indices.shape, *frames.shape[1:])  # [V, T, H, W, 3]
    for key in ("window", "shown"):
        sample.pop(key, None)
    return sample


def _interval(base: int, shape: ClipShape, rng: Rng) -> int:
    """Frames between two of a clip of multigrid training: a draw from the base's to what makes it span as much."""
    return base if shape.longest_interval == 1 else int(rng.integers(base, base * shape.longest_interval + 1))


def _num_frames(sample: Sample) -> int:
    if "reader" not in sample:
        raise UserError("there is nothing to sample from: write VideoDecoder or FrameDecoder before it")
    return sample["total_frames"] if "total_frames" in sample else len(sample["reader"])


@TRANSFORMS.register
class Sampler(Transform):
    """PaddleVideo's sampler: segments, one frame or a run of frames from each.

    Sets ``imgs`` uint8 [1, T, H, W, 3], T = num_seg * seg_len (num_seg for the modes that take one frame each:
    ``select_left``, ``linspace_sample``, ``dense_sample``); [10, num_seg, ...] for ``dense_sample`` in ``valid_mode``.

    Args:
        num_seg: number of segments.
        seg_len: consecutive frames of each; with ``frame_interval`` frames that far apart.
        frame_interval: None, or MMAction2's clips of ``seg_len`` frames (VideoSwin); overrides the other modes.
        valid_mode: the middle of each segment instead of a draw.
        select_left: TSM's rule (``select_left_indices``).
        dense_sample: ``dense_indices``; not together with ``select_left``, which overrides it.
        linspace_sample: ``linspace_indices``; overrides ``select_left`` and ``dense_sample``.
        use_pil: accepted for existing files.  There it chooses the type of image handed on (Pillow or
            array); frames are arrays here and the pixels are the same.
        sampling_rate: with ``linspace_sample``: sample the PP-TimeSformer window of ``sampling_rate * num_seg /
            target_fps`` seconds (``time_window``) instead of the whole video, or of the window a VideoDecoder with
            ``mode`` and ``num_seg`` chose.
        target_fps: see ``sampling_rate``.
        window_start: random, first or centre; None: random, but first in ``valid_mode``.

    *Source*: PaddleVideo's Sampler.  Its order of precedence is kept.
    """

    def __init__(
        self,
        num_seg: PositiveInt,
        seg_len: PositiveInt = 1,
        frame_interval: PositiveInt | None = None,
        valid_mode: bool = False,
        select_left: bool = False,
        dense_sample: bool = False,
        linspace_sample: bool = False,
        use_pil: bool = True,
        sampling_rate: PositiveInt | None = None,
        target_fps: Positive = 30.0,
        window_start: Literal["random", "first", "centre"] | None = None,
    ):
        if sampling_rate is not None and not linspace_sample:
            raise ValueError("sampling_rate makes a time window, which only linspace_sample uses")
        self.num_seg, self.seg_len, self.frame_interval = num_seg, seg_len, frame_interval
        self.valid_mode, self.select_left = valid_mode, select_left
        self.dense_sample, self.linspace_sample = dense_sample, linspace_sample
        self.sampling_rate, self.target_fps = sampling_rate, target_fps
        self.window_start = window_start or ("first" if valid_mode else "random")
        spread = linspace_sample or select_left  # over the video, or a window of seconds
        self.counts_frames = frame_interval is not None or not spread and (dense_sample or seg_len > 1)
        if frame_interval is not None:
            self.clip_s = seg_len * frame_interval / USUAL_FPS
        elif sampling_rate is not None:
            self.clip_s = num_seg * sampling_rate / target_fps

    def indices(self, n: int, rng: Rng, window: tuple[float, float] | None = None) -> np.ndarray:
        """The frames taken from a video of ``n``: int64 [V, T]."""
        draw = None if self.valid_mode else rng
        if self.frame_interval is not None:
            offsets = clip_offsets(n, self.seg_len, self.frame_interval, self.num_seg, draw)
            return clip_indices(n, offsets, self.seg_len, self.frame_interval).reshape(1, -1)
        if self.linspace_sample:
            return linspace_indices(n, self.num_seg, window)[None]
        if self.select_left:
            return select_left_indices(n, self.num_seg, draw)[None]
        if self.dense_sample:
            return dense_indices(n, self.num_seg, draw)
        return segment_indices(n, self.num_seg, self.seg_len, draw)[None]

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        n, window, shown = _num_frames(sample), sample.get("window"), sample.pop("shown", None)
        if self.sampling_rate is not None:
            n, fps, shown = even_frames(sample["reader"])
            window = time_window(n, fps, self.num_seg, self.sampling_rate, self.target_fps, self.window_start, rng)
        elif window is not None and not self.linspace_sample:
            raise UserError(
                "the decoder chose a time window (mode and num_seg), which only linspace_sample: True uses; "
                "take mode and num_seg out of the decoder"
            )
        if self.select_left and self.valid_mode and not self.linspace_sample and n <= self.num_seg:
            sample["remarks"] = [FRAME_0_ONLY.format(self.num_seg)]
        if shown is None:
            return _fetch(sample, self.indices(n, rng, window))
        return _fetch(sample, shown[self.indices(len(shown), rng, window)])


@TRANSFORMS.register("Sampler_TSM")
class SamplerTSM(Sampler):
    """``Sampler`` with ``select_left``: the name in PaddleVideo's file for TSM on folders of frames."""

    def __init__(self, num_seg: PositiveInt, seg_len: PositiveInt = 1, valid_mode: bool = False):
        super().__init__(num_seg, seg_len, valid_mode=valid_mode, select_left=True)


@TRANSFORMS.register
class SampleFrames(Transform):
    """MMAction2's sampler: ``num_clips`` clips of ``clip_len`` frames, ``frame_interval`` apart.

    Sets ``imgs`` uint8 [V, T, H, W, 3]: for ``clip_len`` 1 the clips are the frames of one view, T = num_clips and
    V = 1 (2 with ``twice_sample``); otherwise T = clip_len and V = num_clips (times 2).

    Args:
        temporal_jitter: moves every frame by a draw below ``frame_interval``.
        twice_sample: in test mode a second set of clips, half a step earlier.
        out_of_bound_opt: frames past the end wrap around or repeat the last one.
        test_mode: even clips instead of drawn ones.
        keep_tail_frames: in training segments of fractional length, so that the last frames are reached.

    *Source*: MMAction2 0.x SampleFrames.  There ``twice_sample`` does nothing for clips longer than the video, which
    then have half the views of the others; here their views are doubled (the average stays the same).
    """

    def __init__(
        self,
        clip_len: PositiveInt,
        frame_interval: PositiveInt = 1,
        num_clips: PositiveInt = 1,
        temporal_jitter: bool = False,
        twice_sample: bool = False,
        out_of_bound_opt: Literal["loop", "repeat_last"] = "loop",
        test_mode: bool = False,
        keep_tail_frames: bool = False,
    ):
        self.clip_len, self.frame_interval, self.num_clips = clip_len, frame_interval, num_clips
        self.temporal_jitter, self.out_of_bound_opt = temporal_jitter, out_of_bound_opt
        self.twice_sample, self.test_mode, self.keep_tail_frames = twice_sample, test_mode, keep_tail_frames
        # of one clip alone: several, or clips of one frame, are spread over the whole video
        self.clip_s = clip_len * frame_interval / USUAL_FPS if clip_len > 1 else None
        self.clip_frames = clip_len if clip_len > 1 and not test_mode else None
        self.counts_frames = clip_len > 1

    def offsets(self, n: int, rng: Rng) -> np.ndarray:
        """Starts of the clips, float64 [number of sets, num_clips]."""
        twice = self.twice_sample and self.test_mode
        draw = None if self.test_mode else rng
        starts = clip_offsets(
            n, self.clip_len, self.frame_interval, self.num_clips, draw, twice, self.keep_tail_frames
        ).reshape(-1, self.num_clips)
        return np.repeat(starts, 2, axis=0) if twice and len(starts) == 1 else starts

    def indices(self, n: int, rng: Rng) -> np.ndarray:
        """The frames taken from a video of ``n``: int64 [V, T]."""
        offsets = self.offsets(n, rng)
        jitter = rng if self.temporal_jitter else None
        frames = clip_indices(n, offsets.reshape(-1), self.clip_len, self.frame_interval, self.out_of_bound_opt, jitter)
        return frames.reshape(len(offsets), self.num_clips) if self.clip_len == 1 else frames

    def _at(self, shape: ClipShape | None, rng: Rng) -> SampleFrames:
        """The same sampler of clips of another shape."""
        if shape is None:
            return self
        other = copy.copy(self)
        other.clip_len, other.frame_interval = shape.num_frames, _interval(self.frame_interval, shape, rng)
        return other

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        return _fetch(sample, self._at(sample.get(SHAPE), rng).indices(_num_frames(sample), rng))


@TRANSFORMS.register
class DenseSampleFrames(SampleFrames):
    """``num_clips`` clips within ``sample_range`` frames, from one drawn start or from ``num_sample_positions`` ones.

    Sets ``imgs`` uint8 [V, T, H, W, 3] with V = 1 in training, num_sample_positions in test mode, and T = num_clips for
    ``clip_len`` 1; longer clips are views of their own (V times num_clips, T = clip_len).

    *Source*: MMAction2's DenseSampleFrames.
    """

    def __init__(
        self,
        clip_len: PositiveInt,
        frame_interval: PositiveInt = 1,
        num_clips: PositiveInt = 1,
        sample_range: PositiveInt = 64,
        num_sample_positions: PositiveInt = 10,
        temporal_jitter: bool = False,
        out_of_bound_opt: Literal["loop", "repeat_last"] = "loop",
        test_mode: bool = False,
    ):
        super().__init__(
            clip_len, frame_interval, num_clips, temporal_jitter, False, out_of_bound_opt, test_mode, False
        )
        self.sample_range, self.num_sample_positions = sample_range, num_sample_positions
        self.counts_frames = True

    def offsets(self, n: int, rng: Rng) -> np.ndarray:
        """Starts of the clips, float64 [number of starts, num_clips]."""
        draw = None if self.test_mode else rng
        return dense_indices(n, self.num_clips, draw, self.sample_range, self.num_sample_positions).astype(float)


@TRANSFORMS.register
class DecodeSampler(VideoDecoder):
    """PaddleVideo's decoder and sampler of SlowFast in one: frames spread evenly over a span of time.

    A clip spans ``num_frames * sampling_rate / target_fps`` seconds.  It is drawn anywhere in the video; in test mode
    there are ``num_clips``, clip k of V at ``k / V`` of the room that a clip has, so that none ends with the video.
    A video that is shorter repeats its last frame.  Sets ``imgs`` uint8 [V, T, H, W, 3].

    Args:
        num_frames: T.
        sampling_rate: frames between two of them, at ``target_fps``.
        target_fps: frame rate that ``sampling_rate`` counts in.
        test_mode: even clips instead of a drawn one.
        num_clips: V in test mode; where it is left out, ``num_ensemble_views`` of the data set (``SFVideoDataset``).

    *Source*: PaddleVideo's DecodeSampler.  There the frame after the last one is asked for in a video that is shorter
    than a clip, and another video, drawn at random, takes its place, in tests too.
    """

    takes_boxes = False
    cuts_time = True
    follows = {"num_clips": "DATASET.{split}.num_ensemble_views"}

    def __init__(
        self,
        num_frames: PositiveInt,
        sampling_rate: PositiveInt,
        target_fps: Positive = USUAL_FPS,
        test_mode: bool = False,
        num_clips: PositiveInt = 1,
    ):
        super().__init__()
        self.num_frames, self.frame_interval, self.target_fps = num_frames, sampling_rate, target_fps
        self.test_mode, self.num_clips = test_mode, num_clips
        self.clip_s = num_frames * sampling_rate / target_fps
        self.clip_frames = None if test_mode else num_frames

    def indices(self, n: int, fps: float, rng: Rng, shape: ClipShape | None = None) -> np.ndarray:
        """The frames taken from a video of ``n`` at ``fps``: int64 [V, T].

        Args:
            shape: of multigrid training; its clips of fewer frames lie up to as much farther apart, by a draw.
        """
        num_frames, interval = self.num_frames, self.frame_interval
        if shape is not None:
            num_frames, interval = shape.num_frames, _interval(interval, shape, rng)
        length = num_frames * interval * fps / self.target_fps
        room = max(n - length, 0.0)
        if self.test_mode:
            starts = [room * k / self.num_clips for k in range(self.num_clips)]
        else:
            starts = [rng.uniform(0.0, room)]
        return np.stack([linspace_indices(n, num_frames, (start, start + length - 1)) for start in starts])

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        sample = super().__call__(sample, rng)
        if sample.get("only_open"):
            return sample
        n, fps, shown = even_frames(sample["reader"])
        if not fps > 0:
            raise UserError(f"a span of time needs the frame rate, which this source does not have (got {fps})")
        indices = self.indices(n, fps, rng, sample.get(SHAPE))
        return _fetch(sample, indices if shown is None else shown[indices])
