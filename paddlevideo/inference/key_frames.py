"""Key frames of a video, and the clips around them through ``PIPELINE.test``, as testing makes them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.ava_files import BEYOND_S
from paddlevideo.errors import UserError
from paddlevideo.inference.runtimes.base import Say
from paddlevideo.loader.collate import collate
from paddlevideo.loader.decode import FrameReader, VideoReadError, open_video
from paddlevideo.loader.decode.pyav_sequential import decode_all
from paddlevideo.loader.decode.reader import Damaged, EachFrame, FrameBuffer
from paddlevideo.loader.decode.rgb import to_rgb
from paddlevideo.loader.decode.sequential import size_remark
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.ava_sampling import frames_at
from paddlevideo.settings import DEFAULT_SEED

BYTES_PER_PIXEL = 1.5  # of a frame as most decoders give it (yuv420p)


class ForwardReader(FrameReader):
    """A video read in ascending stretches that overlap, each frame of which is decoded once.

    A selective reader begins every clip at the key frame of the codec before it, which costs more than the clip; this
    one goes forward and keeps frames as the decoder gave them (1.5 bytes per pixel): those between the first frame of
    the last clip and the newest one, or from a given one on (``keep``).  ``close`` does nothing, since pipelines close
    what they are given; ``end`` closes.

    Args:
        path: a video file.
        damaged: ``read``: take what can be decoded of a damaged video, as it comes.

    Attributes:
        num_decoded: frames so far.
        on_frame: called whenever a frame was decoded or is converted.

    Raises:
        VideoReadError: it cannot be read.
    """

    def __init__(self, path: str | Path, damaged: Damaged = "refuse"):
        if Path(path).is_dir():
            raise VideoReadError(path, "missing", "it is a folder; expected a video file")
        self.path, self._damaged = str(path), damaged
        with open_video(self.path, damaged=damaged) as reader:
            self.fps, self._count, self._times = reader.fps, len(reader), reader.times()
            self.remarks, self.pixel_aspect = list(reader.remarks), reader.pixel_aspect
        self.num_decoded = 0
        self.on_frame: Callable[[], None] = lambda: None
        self._frames: Iterator[tuple[Any, int, str | None]] | None = None
        self._held: dict[int, tuple[Any, str | None]] = {}  # frame, damage
        self._size: tuple[int, int] | None = None  # width and height as stored, of the first frame
        self._shape: tuple[int, int] | None = None  # height and width as shown
        self._next = 0
        self._kept_from: int | None = None  # None: from the first one of the last clip
        self._failure: VideoReadError | None = None  # of a frame that was decoded ahead

    def __len__(self) -> int:
        return self._count

    def times(self) -> np.ndarray | None:
        return self._times

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        wanted = self.checked(indices)
        first, last = min(wanted), max(wanted)
        if self._frames is None or first < min(self._held, default=self._next):  # backwards: from the start again
            self.end()
        if self._kept_from is None:
            self._free(first)
        else:
            self._kept_from = min(self._kept_from, first)
        while self._next <= last and self.advance(first):
            pass
        clip = FrameBuffer(self.path, wanted, each)
        for index in sorted(set(wanted) & self._held.keys()):
            frame, damage = self._held[index]
            if damage is not None and self._damaged == "refuse":
                clip.damage[index] = damage
            else:
                clip.put(index, self.picture(frame))
        return clip.finish()

    def advance(self, first: int) -> bool:
        """Decodes the next frame, and holds it if it is one from ``first`` on, or of those to keep; False: the end."""
        if self._failure is not None:
            raise self._failure
        if self._frames is None:
            self._frames = decode_all(self.path, self._damaged)
        try:
            decoded = next(self._frames, None)
        except VideoReadError as error:
            self._failure = error
            raise
        if decoded is None:
            return False
        frame, _, damage = decoded
        self.num_decoded += 1
        self.on_frame()
        if self._size is None:
            self._size = frame.width, frame.height
        if self._next >= (first if self._kept_from is None else self._kept_from):
            self._held[self._next] = frame, damage
        self._next += 1
        return True

    def keep(self, first: int | None) -> None:
        """Holds the frames from ``first`` on, whatever is read, and frees those before; None: no longer."""
        self._kept_from = first
        if first is not None:
            self._free(first)

    def _free(self, first: int) -> None:
        for index in [index for index in self._held if index < first]:
            del self._held[index]

    def held(self, index: int) -> tuple[Any, str | None]:
        """A frame that is held, as the decoder gave it, and the error that damages it (None: intact, or to be read)."""
        while self._next <= index and self.advance(index):
            pass
        if index not in self._held:
            raise VideoReadError(self.path, "corrupt", f"frame {index} cannot be decoded")
        frame, damage = self._held[index]
        return frame, damage if self._damaged == "refuse" else None

    def ahead(self, last: int, most_bytes: int) -> bool:
        """Decodes the next frame if what lies after ``last`` takes less than ``most_bytes``; False: it does not, or
        there is none.  An error is raised when the frame is read."""
        if self._frames is None or self._failure is not None or self._size is None or self._next >= self._count:
            return False
        if (self._next - last) * self._size[0] * self._size[1] * BYTES_PER_PIXEL > most_bytes:
            return False
        with contextlib.suppress(VideoReadError):
            return self.advance(self._next)
        return False

    def size(self) -> tuple[int, int]:
        """Height and width of the first frame."""
        if self._shape is None:
            self._shape = self.get([0]).shape[1:3]
        return self._shape

    def picture(self, frame: Any) -> np.ndarray:
        """uint8 [H, W, 3] in the size of the first frame."""
        self.on_frame()
        if (frame.width, frame.height) != self._size:
            remark = size_remark([self._size, (frame.width, frame.height)])
            self.remarks += [remark] if remark not in self.remarks else []
        return to_rgb(frame, self._size)

    def end(self) -> None:
        """Closes the file and frees the frames."""
        if self._frames is not None:
            self._frames.close()
        self._frames, self._held, self._next, self._failure = None, {}, 0, None


@dataclass(frozen=True)
class KeyMoment:
    """A key frame: a frame at which the actions of persons are scored.

    Args:
        frame_index: 0-based.
        time_s: since the first frame.
        timestamp_s: the same as annotation counts it; AVA's first frame is second 900.
    """

    frame_index: int
    time_s: float
    timestamp_s: float


def moments_by_step(reader: FrameReader, step: int, timestamp_start: float = 0.0) -> list[KeyMoment]:
    """A key frame in the middle of every ``step`` frames; at least one, however short the video.

    *Source*: PaddleVideo's predict-stepsize.  There the first and the last clip must fit into the video, so that one of
    less than two clips has no key frame and crashes.
    """
    count = len(reader)
    indices = np.arange(step // 2, count, step) if count > step // 2 else np.array([count // 2])
    return _moments(reader, indices, timestamp_start)


def moments_by_time(reader: FrameReader, every_s: float, timestamp_start: float = 0.0) -> list[KeyMoment]:
    """The frames nearest to seconds 0, ``every_s``, 2 ``every_s``, ..., whatever the frame rate."""
    times = _times(reader)
    wanted = np.arange(0.0, times[-1] + 1e-9, every_s)
    return _moments(reader, np.unique(frames_at(reader, wanted)), timestamp_start)


def moments_between(
    reader: FrameReader, moments: Sequence[KeyMoment], every_s: float, timestamp_start: float = 0.0
) -> list[KeyMoment]:
    """``moments`` and as many frames between, before and after them that no two neighbours are more than about
    ``every_s`` apart; in order of time.

    Args:
        moments: in order of time.
    """
    times = _times(reader)
    stops = np.unique(np.array([times[0], *(moment.time_s for moment in moments), times[-1]], float))
    wanted = [stops[:1]]
    for first, last in zip(stops, stops[1:]):
        count = max(1, math.ceil((last - first) / every_s - 1e-3))
        wanted.append(np.linspace(first, last, count + 1)[1:])
    kept = {moment.frame_index: moment for moment in moments}
    added = _moments(reader, np.unique(frames_at(reader, np.concatenate(wanted))), timestamp_start)
    return sorted([*moments, *(m for m in added if m.frame_index not in kept)], key=lambda m: m.frame_index)


def moments_at(
    reader: FrameReader, timestamps_s: Sequence[float], timestamp_start: float
) -> tuple[list[KeyMoment], list[float]]:
    """The frames nearest to given seconds of annotation, and those seconds that the video does not show."""
    times, wanted = _times(reader), np.asarray(timestamps_s, float)
    since = wanted - timestamp_start
    shown = (since >= -BEYOND_S) & (since <= times[-1] + BEYOND_S)
    indices = frames_at(reader, since[shown])
    moments = [KeyMoment(int(i), float(times[i]), float(t)) for i, t in zip(indices, wanted[shown])]
    return moments, wanted[~shown].tolist()


def _moments(reader: FrameReader, indices: np.ndarray, timestamp_start: float) -> list[KeyMoment]:
    times = _times(reader)
    return [KeyMoment(int(i), float(times[i]), float(times[i]) + timestamp_start) for i in indices]


def _times(reader: FrameReader) -> np.ndarray:
    times = reader.times()
    if times is None:
        raise UserError("the video has no frame rate, so the times of its frames are unknown")
    return times


@dataclass(frozen=True)
class ClipMaker:
    """The samples of key frames, as AVADataset gives them, through ``PIPELINE.test``.

    Args:
        pipeline: with ``SampleAVAFrames``, which centres the clip on the key frame by its number; what of the clip lies
            outside the video repeats its first or last frame.
        reader: the video.
        clip_fps: frames per second of the videos that the network was trained on; clips of a video of another rate are
            cut by time.
        timestamp_start: second of the first frame.
        shot_frames: first frame and the one after the last (None: no end) that a clip may show, counted in clip_fps.
        video_id: name of the video in feature banks.
        filename: for messages.
        seed: of the pipeline's generator, ``[seed, 0, number]`` as in ``--test``.
    """

    pipeline: Pipeline
    reader: FrameReader
    clip_fps: float | None
    timestamp_start: float
    shot_frames: tuple[int, int | None] = (0, None)
    video_id: str = ""
    filename: str = "video"
    seed: int = DEFAULT_SEED

    def sample(self, number: int, moment: KeyMoment, boxes_norm: np.ndarray, box_scores: np.ndarray) -> dict[str, Any]:
        """What the pipeline makes of one key frame: ``imgs`` [1, T, H, W, 3], ``boxes`` [P, 4] in pixels of it, ...

        Args:
            number: of the key frame.
            boxes_norm: float32 [P, 4], x1, y1, x2, y2 as fractions of the picture.
            box_scores: float32 [P].
        """
        boxes_norm = np.asarray(boxes_norm, np.float32).reshape(-1, 4)
        sample = {
            "filename": self.filename,
            "video_id": self.video_id,
            "index": number,
            "reader": self.reader,
            "timestamp_s": moment.timestamp_s,
            "timestamp_start": self.timestamp_start,
            "clip_fps": self.clip_fps,
            "shot_frames": self.shot_frames,
            "boxes": boxes_norm.copy(),
            "boxes_norm": boxes_norm,
            "box_scores": np.asarray(box_scores, np.float32).reshape(-1),
        }
        return self.pipeline(sample, np.random.default_rng([self.seed, 0, number]))

    def frames(self, number: int, moment: KeyMoment) -> np.ndarray:
        """The frames that ``sample`` reads; the key frame alone where it will fail.  Nothing is decoded."""
        probe = _Probe(self.reader)
        with contextlib.suppress(_Probed, UserError):
            replace(self, reader=probe).sample(number, moment, np.zeros((0, 4)), np.zeros(0))
        return probe.indices if probe.indices is not None else np.array([moment.frame_index])


class _Probed(BaseException):
    """Ends a pipeline at its first reading; not an Exception, so that no error handling catches it."""


class _Probe(FrameReader):
    """Notes which frames are read of another source, and reads none."""

    def __init__(self, reader: FrameReader):
        self._reader, self.indices = reader, None
        self.fps, self.pixel_aspect = reader.fps, reader.pixel_aspect

    def __len__(self) -> int:
        return len(self._reader)

    def times(self) -> np.ndarray | None:
        return self._reader.times()

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        self.indices = np.asarray(indices)
        raise _Probed


def shot_until(timestamp_end: float | None, timestamp_start: float, clip_fps: float) -> tuple[int, int | None]:
    """``shot_frames`` of a data set's video, as AVADataset has them; ``timestamp_end`` None: to the video's end."""
    return 0, None if timestamp_end is None else round((timestamp_end - timestamp_start) * clip_fps) - 1


class PersonRows:
    """Per key frame a row for each of its persons, one key frame after the other: a run as soon as a batch is full.

    Clips are made where there are persons only.

    Args:
        compute: a batch as the loader's, without ground truth -> float32 [R, width].
        batch_size: key frames per run.

    Attributes:
        maker: of the clips.
        rows: per key frame float32 [n, width], of those that are done.
        num_settled: so many key frames from the first on are done.
    """

    def __init__(
        self,
        maker: ClipMaker,
        moments: Sequence[KeyMoment],
        compute: Callable[[dict[str, np.ndarray]], np.ndarray],
        width: int,
        batch_size: int,
    ):
        self.rows = [np.zeros((0, width), np.float32) for _ in moments]
        self.num_settled = 0
        self._runs: list[int] = []  # key frames with persons that were done after each run
        self._on_run: Callable[[int], None] = lambda done: None
        self.maker, self._moments, self._compute, self._batch_size = maker, moments, compute, batch_size
        self._waiting: list[tuple[int, int, dict[str, Any]]] = []  # number, persons, sample

    def report(self, progress: Callable[[int, int], None], total: int) -> None:
        """Calls ``progress`` with (key frames with persons done, ``total``) for each run, those so far among them."""
        self._on_run = lambda done: progress(done, total)
        for done in self._runs:
            progress(done, total)

    def add(self, number: int, boxes: np.ndarray) -> None:
        """The next key frame: float32 [n, 5], boxes as fractions of the picture, and scores."""
        if len(boxes):
            sample = self.maker.sample(number, self._moments[number], boxes[:, :4], boxes[:, 4])
            self._waiting.append((number, len(boxes), sample))
        if len(self._waiting) == self._batch_size:
            self._run()
        if not self._waiting:
            self.num_settled = number + 1

    def finish(self) -> None:
        """Runs the last batch, which may be smaller."""
        if self._waiting:
            self._run()
        self.num_settled = len(self.rows)

    def _run(self) -> None:
        numbers, counts, samples = zip(*self._waiting)
        parts = np.split(self._compute(collate(samples)), np.cumsum(counts)[:-1])
        for number, part in zip(numbers, parts, strict=True):
            self.rows[number] = part
        self._waiting = []
        self._runs.append(len(numbers) + (self._runs[-1] if self._runs else 0))
        self._on_run(self._runs[-1])


def open_forward(path: str | Path, say: Say, damaged: Damaged = "refuse") -> ForwardReader:
    """A video for reading forward.

    Args:
        say: receives what is read in another way than one might expect.
        damaged: ``read``: take what can be decoded of a damaged video, as it comes.

    Raises:
        VideoReadError: missing, damaged, a folder.
    """
    reader = ForwardReader(path, damaged)
    for remark in reader.remarks:
        say(f"{path}: {remark}")
    return reader
