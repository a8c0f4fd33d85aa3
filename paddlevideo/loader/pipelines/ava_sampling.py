"""The clip around a key frame: which frames, and reading them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from paddlevideo.ava_files import BEYOND_S
from paddlevideo.errors import UserError
from paddlevideo.loader.decode.reader import FrameReader, VideoReadError, backend_of_config
from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.loader.pipelines.decode import open_sample
from paddlevideo.loader.pipelines.sample_boxes import boxes_to_pixels
from paddlevideo.loader.pipelines.sampling import USUAL_FPS
from paddlevideo.ranges import PositiveInt
from paddlevideo.registry import TRANSFORMS

Rng = np.random.Generator


def clip_around(
    centre: int, clip_len: int, frame_interval: int, shot: tuple[int, int | None], rng: Rng | None = None
) -> np.ndarray:
    """``clip_len`` frames, ``frame_interval`` apart, around ``centre``, kept within the shot.

    Args:
        centre: frame number of the key frame; it is the frame number ``clip_len // 2`` of the clip.
        shot: first frame and the one after the last (None: no end).  Frames outside repeat the first or last.
        rng: moves every frame by a draw from ``floor(-frame_interval / 2)`` .. ``(frame_interval + 1) // 2 - 1``.

    Returns:
        int64 [clip_len].

    *Source*: MMAction2's SampleAVAFrames.
    """
    frames = centre + (np.arange(clip_len, dtype=np.int64) - clip_len // 2) * frame_interval
    if rng is not None:
        frames = frames + rng.integers(-((frame_interval + 1) // 2), (frame_interval + 1) // 2, size=clip_len)
    return np.clip(frames, shot[0], None if shot[1] is None else shot[1] - 1)


def frames_at(reader: FrameReader, times_s: np.ndarray) -> np.ndarray:
    """The frames of a source nearest to these times since its first frame: int64, within the source."""
    stamps = reader.times()
    if stamps is None:
        raise UserError("this source has no frame rate; give fps")
    return np.searchsorted((stamps[1:] + stamps[:-1]) / 2, times_s)


@TRANSFORMS.register
class SampleAVAFrames(Transform):
    """Chooses the clip around the key frame of the sample.

    The clip counts in frames of ``sample["clip_fps"]``: the key frame is number ``clip_fps * (timestamp_s -
    timestamp_start)`` from 0.  A source of another rate is sampled by time, so that a clip spans the same seconds.
    In training every frame is moved by up to half of ``frame_interval``; in evaluation none is.

    Comes before ``RawFrameDecode``, which reads what was chosen, or after ``VideoDecoder`` / ``FrameDecoder``.

    Args:
        clip_len: frames, T.
        frame_interval: from one to the next.
        test_mode: never move frames; by default the sample's split decides (``sample["training"]``).

    *Source*: MMAction2's SampleAVAFrames.  PaddleVideo's moves the frames in evaluation too, so that its mAP is another
    one every time; this one does not.
    """

    takes_boxes = True
    differs = "in evaluation no frame is moved, as in MMAction2; PaddleVideo moves them there, too"

    def __init__(self, clip_len: PositiveInt, frame_interval: PositiveInt = 2, test_mode: bool = False):
        self.clip_len, self.frame_interval, self.test_mode = clip_len, frame_interval, test_mode
        self.clip_s = clip_len * frame_interval / USUAL_FPS

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        if "timestamp_s" not in sample:
            raise UserError("SampleAVAFrames needs samples of key frames (format: AVADataset); this one has no second")
        sample["clip"] = (self.clip_len, self.frame_interval, sample.get("training", False) and not self.test_mode)
        return read_clip(sample, rng) if "reader" in sample else sample


@TRANSFORMS.register
class RawFrameDecode(Transform):
    """Reads the frames that ``SampleAVAFrames`` chose, from the folder of frames or from the video of the sample.

    Sets ``imgs`` uint8 [1, T, H, W, 3]; boxes become pixels of it.

    Args:
        backend: for videos: pyav, pyav_sequential, decord (pyav where it is not installed) or cv2.

    *Source*: MMAction2's and PaddleVideo's RawFrameDecode (folders only).
    """

    takes_boxes = True

    def __init__(self, backend: Literal["pyav", "pyav_sequential", "decord", "cv2"] = "pyav"):
        self.backend = backend_of_config(backend)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        from paddlevideo.loader.decode import FrameFolder

        if "clip" not in sample and "imgs" in sample:  # the sample came with an open source: it has been read already
            return sample
        if "clip" not in sample:
            raise UserError("RawFrameDecode reads what SampleAVAFrames chose: write that before it")
        if "reader" not in sample and "frame_dir" in sample:
            suffix = sample.get("suffix", "img_{:05}.jpg")
            sample["reader"] = FrameFolder(sample["frame_dir"], sample.get("total_frames"), suffix)
        elif "reader" not in sample:
            sample["reader"] = open_sample(sample, self.backend)
        return read_clip(sample, rng)


def read_clip(sample: Sample, rng: Rng) -> Sample:
    """Reads the chosen clip from ``sample["reader"]`` and closes it; boxes become pixels.

    Raises:
        VideoReadError: the key frame is after the end of the source, or a frame cannot be read.
    """
    reader = sample.pop("reader")
    sample.pop("shown", None)  # of a decoder's time window, which key frames do not use
    clip_len, frame_interval, moved = sample.pop("clip")
    try:
        source_fps = float(reader.fps or sample.get("fps") or 0.0)
        rate = float(sample.get("clip_fps") or source_fps)
        if not rate:
            raise UserError("the frame rate of this source is not known; set fps")
        since_s = sample["timestamp_s"] - sample.get("timestamp_start", 0.0)
        _check_inside(reader, since_s, source_fps or rate, sample)
        shot = sample.get("shot_frames", (0, None))
        numbers = clip_around(round(since_s * rate), clip_len, frame_interval, shot, rng if moved else None)
        indices = frames_at(reader, numbers / rate) if reader.fps else numbers
        indices = np.clip(indices, 0, len(reader) - 1)
        frames = reader.get(indices)  # [T, H, W, 3]
    finally:
        reader.close()
    sample["remarks"] = [*sample.get("remarks", ()), *reader.remarks]
    sample["imgs"] = frames[None]  # [1, T, H, W, 3]
    boxes_to_pixels(sample)
    return sample


def _check_inside(reader: FrameReader, since_s: float, fps: float, sample: Sample) -> None:
    stamps = reader.times()
    last_s = float(stamps[-1]) if stamps is not None else (len(reader) - 1) / fps
    if -BEYOND_S <= since_s <= last_s + BEYOND_S:
        return
    begin = sample.get("timestamp_start", 0.0)
    named = f", which {sample['annotation']} names" if "annotation" in sample else ""
    detail = f"there is no second {sample['timestamp_s']:g}{named}: it shows seconds {begin:g} to {begin + last_s:.1f}"
    raise VideoReadError(sample.get("frame_dir") or sample.get("filename") or "clip", "missing", detail)
