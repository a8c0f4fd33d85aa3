"""From a path to an open frame reader.  Nothing is decoded here: the sampling operator fetches what it chose."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode.reader import backend_of_config
from paddlevideo.loader.pipelines.base import Sample, Transform
from paddlevideo.ranges import Positive, PositiveInt
from paddlevideo.registry import TRANSFORMS

_WINDOW_FRAMES = 8  # PaddleVideo's default for num_seg
_SAME_S = 0.002  # containers round time stamps, most to a millisecond
_MAX_RATE = 240.0


def time_window(
    num_frames: int,
    fps: float,
    num_seg: int,
    sampling_rate: int,
    target_fps: float,
    start: Literal["random", "first", "centre"],
    rng: np.random.Generator | None,
) -> tuple[int, float]:
    """The stretch of a video that ``num_seg`` frames, ``sampling_rate`` apart at ``target_fps``, span.

    Its length is ``sampling_rate * num_seg / target_fps`` seconds: 8.53 s for 8 frames at 32 and 30.  A video that is
    shorter is not stretched: the window ends after it, and the frames that fall there repeat the last one.

    Args:
        start: ``random`` draws one uniform number; ``first`` begins with the video (the reference's test mode);
            ``centre`` leaves as much before as after.

    Returns:
        first and last frame, 0-based; the last one may be fractional and after the end.

    *Source*: PaddleVideo's VideoDecoder (PyAV), which took it from TimeSformer.  There the window is cut in time
    stamps, so that a fractional start means the next whole frame: hence the ceil.  For a stream of unknown duration
    it decodes everything and draws the window among the decoded frames; a reader here has its exact number of
    frames, so there is one rule for all files.
    """
    if not fps > 0:
        raise UserError(f"a time window needs the frame rate, which this source does not have (got {fps})")
    length = sampling_rate * num_seg / target_fps * fps
    slack = max(num_frames - length, 0.0)
    if start == "random":
        first = math.ceil(rng.uniform(0.0, slack)) if slack > 0 else 0
    else:
        first = 0 if start == "first" else int(slack / 2)
    return min(first, num_frames - 1), first + length - 1


def open_sample(sample: Sample, backend: str, max_pixels: int | None = None) -> Any:
    """The reader of ``sample["filename"]``, by the sample's ``damaged`` (refuse, the default, or read) and
    ``video_index`` (None: without).


    Where the sample has the file's bytes as ``content``, they are taken out of it and read.
    """
    from paddlevideo.loader.decode import MemoryVideo, open_video

    content = sample.pop("content", None)
    source = sample["filename"] if content is None else MemoryVideo(sample["filename"], content)
    limit = {} if max_pixels is None else {"max_pixels": max_pixels}
    given = sample.get("damaged", "refuse"), sample.get("video_index")
    return open_video(source, backend, given[0], index=given[1], **limit)


def part_of(sample: Sample, rng: np.random.Generator) -> Any:
    """The sample's ``reader``; of a sample with ``start_s`` and ``end_s`` that part of it (``SpanDataset``).

    With ``clip_s``, of a longer part a window of so many seconds: at a place that ``rng`` draws where the sample has
    ``draw``, else in the middle.

    Raises:
        UserError: the video ends before the part, or its frames have no times.
    """
    from paddlevideo.loader.decode.part import PartReader

    if "start_s" not in sample:
        return sample["reader"]
    start_s, end_s, clip_s = sample["start_s"], sample["end_s"], sample.get("clip_s")
    slack_s = end_s - start_s - clip_s if clip_s else 0.0
    if slack_s > 0:
        start_s += float(rng.uniform(0.0, slack_s)) if sample.get("draw") else slack_s / 2
        end_s = start_s + clip_s
    return PartReader(sample["reader"], start_s, end_s)


def even_frames(reader: Any) -> tuple[int, float, np.ndarray | None]:
    """A video as it is shown at one rate, for windows that are meant in seconds.

    Returns:
        number of frames and rate; and, where the video's own frames are not evenly spaced, the frame that is shown at
        each of them, int64 [number].  The rate is then that of most of its frames (the median distance), or 240.
    """
    count, fps, times = len(reader), float(reader.fps), reader.times()
    if times is None or not fps > 0 or np.abs(times - np.arange(count) / fps).max() <= 0.5 / fps:
        return count, fps, None
    rate = min(1 / float(np.median(np.diff(times))), _MAX_RATE)
    shown_at = np.arange(round(times[-1] * rate) + 1) / rate
    return len(shown_at), rate, np.searchsorted(times, shown_at + _SAME_S, side="right") - 1


@TRANSFORMS.register
class VideoDecoder(Transform):
    """Opens ``sample["filename"]``: sets ``reader``, ``total_frames``, ``fps`` and, with ``mode``, ``window``.

    A sample that already carries an open ``reader`` (a clip in memory) is taken as it is.

    Args:
        backend: pyav (exact, decodes only what is needed), pyav_sequential, decord or cv2.  None: pyav.  PaddleVideo's
            default is cv2, whose frames are the same; only ``JitterScale`` depends on which one is written.  decord is
            pyav where it is not installed (``backend_of_config``).
        mode: the PP-TimeSformer time window; train and valid draw its start, test begins with the video.  None: no
            window.
        num_seg: number of frames the window is made for.
        sampling_rate: frames between two of them, at ``target_fps``; None: 32.  Only with ``mode``.
        target_fps: frame rate that ``sampling_rate`` counts in; None: 30.  Only with ``mode``.
        num_clips: must be 1; PaddleVideo accepts any number and ignores it.
        max_pixels: of one picture; a video with larger ones is refused before memory is taken for them (None: 8192 x
            8192).

    ``DATASET.<split>.damaged`` decides on damaged videos (``open_video``).

    *Source*: PaddleVideo's VideoDecoder.  There only PyAV has the window, and always has one (its ``mode`` is train
    where none is written), while decord and cv2 sample the whole video under the same keys; here the window does not
    depend on the backend, and is there if ``mode`` is.  See ``time_window`` for its rule, and
    ``Sampler(sampling_rate=...)`` for the same window without a decoder's help.
    """

    takes_boxes = True

    def __init__(
        self,
        backend: Literal["pyav", "pyav_sequential", "decord", "cv2"] | None = None,
        mode: Literal["train", "valid", "test"] | None = None,
        num_seg: PositiveInt | None = None,
        sampling_rate: PositiveInt | None = None,
        target_fps: Positive | None = None,
        num_clips: PositiveInt = 1,
        max_pixels: PositiveInt | None = None,
    ):
        if mode is None and (sampling_rate, target_fps) != (None, None):
            raise ValueError("sampling_rate and target_fps make a time window, which needs mode: train, valid or test")
        if num_clips != 1:
            raise ValueError(f"num_clips must be 1, got {num_clips}; a sampler takes several clips (SampleFrames)")
        self.max_pixels = max_pixels
        self.backend, self.mode = backend_of_config(backend or "pyav"), mode
        self.num_seg = num_seg or _WINDOW_FRAMES
        self.sampling_rate, self.target_fps = sampling_rate or 32, target_fps or 30.0
        self.clip_s = self.num_seg * self.sampling_rate / self.target_fps if mode else None
        # in PaddleVideo, to the operators after it
        self.gives_tensors = backend in ("pyav", "pyav_sequential")

    @property
    def differs(self) -> str | None:
        """From PaddleVideo, as it is written."""
        if self.gives_tensors and self.mode is None:
            return "without mode the whole video is sampled; PaddleVideo's pyav takes a window even then (train)"
        if self.mode is not None and not self.gives_tensors:
            return "mode makes a time window with every backend; in PaddleVideo with pyav only"
        return None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if "reader" not in sample:
            if "filename" not in sample:
                raise UserError("VideoDecoder reads video files; for folders of frames write FrameDecoder")
            sample["reader"] = open_sample(sample, self.backend, self.max_pixels)
        reader = sample["reader"] = part_of(sample, rng)
        sample["total_frames"], sample["fps"] = len(reader), float(reader.fps)
        if self.mode is not None:
            start = "first" if self.mode == "test" else "random"
            count, fps, sample["shown"] = even_frames(reader)
            sample["window"] = time_window(count, fps, self.num_seg, self.sampling_rate, self.target_fps, start, rng)
        return sample


@TRANSFORMS.register
class FrameDecoder(Transform):
    """Opens the folder ``sample["frame_dir"]`` of ``total_frames`` pictures named ``suffix``: sets ``reader``, ``fps``.

    The first file has number 1; indices here are 0-based all the same, the reader adds the one.  Without
    ``total_frames`` (key frames of AVA) the files that are there count.

    Args:
        backend: what decodes JPEG files: cv2, or simplejpeg (``pip install simplejpeg``), which is faster and gives the
            same pixels.  None: simplejpeg where it is installed and a check of small pictures finds it equal, else cv2.
            Other files, and JPEG files in CMYK, with EXIF data or damage, are read by cv2 in any case.
        min_side: decode JPEG files at the smallest multiple of an eighth of their size at which no side is below this,
            e.g. 256 before a Scale to 256 (needs simplejpeg): twice as fast at 1280 x 720, and not the same pixels.

    *Source*: PaddleVideo's FrameDecoder, MMAction2's RawFrameDecode (which comes after the sampler there).
    """

    takes_boxes = True

    def __init__(self, backend: Literal["cv2", "simplejpeg"] | None = None, min_side: PositiveInt | None = None):
        if min_side is not None and backend == "cv2":
            raise ValueError("min_side needs backend: simplejpeg, or none")
        self.backend, self.min_side = backend, min_side

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if "reader" not in sample:
            if "frame_dir" not in sample:
                raise UserError("FrameDecoder reads folders of frames; for video files write VideoDecoder")
            from paddlevideo.loader.decode import FrameFolder
            from paddlevideo.loader.decode.pictures import PictureDecoder

            suffix, decoder = sample.get("suffix", "img_{:05}.jpg"), PictureDecoder(self.backend, self.min_side)
            fps = sample.get("fps", 0.0) if "start_s" in sample else 0.0  # only spans are timed
            sample["reader"] = FrameFolder(sample["frame_dir"], sample.get("total_frames"), suffix, fps, decoder)
        reader = sample["reader"] = part_of(sample, rng)
        sample["total_frames"], sample["fps"] = len(reader), float(reader.fps)
        return sample
