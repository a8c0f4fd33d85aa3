"""The long-term feature bank of one video, made in a first pass over it and kept; and the window that a network takes.

A key frame a second, as in the banks of training, and of each person the features that the bank's detector gives.  The
file is a bank as ``paddlevideo bank`` writes it; its metadata name its video, weights and boxes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.key_frames import ClipMaker, ForwardReader, KeyMoment, PersonRows, moments_at, shot_until
from paddlevideo.inference.runtimes.base import Say
from paddlevideo.loader import feature_bank
from paddlevideo.loader.decode import FrameReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.long_term import LongTermFeatures
from paddlevideo.safe_io import DamagedFileError, sha256

if TYPE_CHECKING:
    from paddlevideo.inference.person_actions import DetectionSettings

Arguments = dict[str, Any]

WINDOW = "long_term"  # its key in the section ``detection`` of inference.yml
_NAME = LongTermFeatures.__name__
# what a bank must be of to be used again, and what to call it
_OF_VIDEO = {"video_id": "video id", "video_sha256": "video", "boxes_sha256": "boxes"}
_OF_DETECTOR = {"weights_sha256": "weights", "settings_sha256": "network or preprocessing"}


@dataclass(frozen=True)
class Window:
    """The stretch of a feature bank that a network takes.

    Args:
        window_s: seconds around the key frame.
        max_features: persons per second.
        channels: C, of the bank's features.
    """

    window_s: int
    max_features: int
    channels: int

    def describe(self) -> dict[str, int]:
        """Plain data for ``inference.yml``."""
        return asdict(self)

    def empty(self, num_clips: int) -> dict[str, np.ndarray]:
        """Empty windows: ``long_term`` float32 [N, S, C] and ``long_term_filled`` bool [N, S]."""
        slots = self.window_s * self.max_features
        return {
            "long_term": np.zeros((num_clips, slots, self.channels), np.float32),
            "long_term_filled": np.zeros((num_clips, slots), bool),
        }


def window_of(pipeline: Pipeline, framework: Any) -> Window | None:
    """The window of a network and its PIPELINE.test; None if the network takes no bank.

    Raises:
        UserError: the network takes one, and the pipeline has no ``LongTermFeatures``.
    """
    if not (framework.takes_boxes and framework.needs_long_term):
        return None
    found: list[LongTermFeatures] = []
    _changed(pipeline, lambda arguments: found.append(LongTermFeatures(**arguments)))
    if not found:
        raise UserError(
            f"{pipeline.where}: MODEL.head.shared_head reads a feature bank, and no {_NAME} sets its window; add "
            f"long_term: {{name: {_NAME}, banks: [...]}}"
        )
    return Window(found[0].window_s, found[0].max_features, framework.long_term_channels)


def without_windows(pipeline: Pipeline) -> Pipeline:
    """The same without ``LongTermFeatures``: no bank is opened."""
    return _changed(pipeline, lambda arguments: None)


def with_windows_from(pipeline: Pipeline, bank: Path) -> Pipeline:
    """The same with windows from this bank alone, the best persons of each second: nothing is random."""
    return _changed(pipeline, lambda arguments: {**arguments, "banks": [str(bank)], "sampling": "first"})


def _changed(pipeline: Pipeline, change: Callable[[Arguments], Arguments | None]) -> Pipeline:
    """The pipeline with other arguments for every ``LongTermFeatures``; None leaves the operator out."""
    steps: dict[str, Any] = {}
    for key, value in pipeline.describe().items():
        if isinstance(value, Mapping) and value.get("name") == _NAME:
            arguments = change({k: v for k, v in value.items() if k != "name"})
            if arguments is not None:
                steps[key] = {"name": _NAME, **arguments}
        elif isinstance(value, list):
            steps[key] = [new for item in value if (new := _changed_item(item, change)) is not None]
        else:
            steps[key] = value
    return Pipeline(steps, pipeline.where)


def _changed_item(item: Any, change: Callable[[Arguments], Arguments | None]) -> Any:
    if not isinstance(item, Mapping) or _NAME not in item:
        return item
    arguments = change(dict(item[_NAME]))
    return None if arguments is None else {_NAME: arguments}


@dataclass(frozen=True)
class BankDetector:
    """The detector of a bank's features.

    Args:
        features: a batch as the loader's -> float32 [R, C].
        pipeline: PIPELINE.test, without windows.
        settings: of its training.
        channels: C.
        origin: for the bank's metadata: ``weights_sha256``, ``settings_sha256``, ``model`` and ``config``.
    """

    features: Callable[[dict[str, np.ndarray]], np.ndarray]
    pipeline: Pipeline
    settings: DetectionSettings
    channels: int
    origin: Mapping[str, str]


def moments_of_seconds(reader: FrameReader, timestamp_start: float) -> list[KeyMoment]:
    """The key frames of a bank: the frames nearest to the whole seconds of the video; at least one."""
    first, last = math.ceil(timestamp_start - 0.5), math.floor(timestamp_start + float(reader.times()[-1]))
    return moments_at(reader, range(first, max(first, last) + 1), timestamp_start)[0]


@dataclass(frozen=True, eq=False)
class FirstPass:
    """A video with its persons, of which a bank is made.

    Args:
        moments: the bank's key frames.
        persons: per key frame float32 [n, 5]: boxes as fractions of the picture, and scores.
        timestamp_start: second of the first frame.
        bounded: whether clips end at the data set's last second, as those of a data set do.
    """

    reader: ForwardReader
    video_id: str
    moments: Sequence[KeyMoment]
    persons: Sequence[np.ndarray]
    timestamp_start: float
    bounded: bool

    def identity(self) -> dict[str, str]:
        """Digests of the video and of the boxes."""
        boxes = hashlib.sha256(json.dumps([self.timestamp_start, self.bounded]).encode())
        for moment, found in zip(self.moments, self.persons, strict=True):
            boxes.update(f"{moment.timestamp_s} {moment.frame_index} {len(found)};".encode())
            boxes.update(np.ascontiguousarray(found, "<f4").tobytes())
        return {
            "video_id": self.video_id,
            "video_sha256": sha256(self.reader.path),
            "boxes_sha256": boxes.hexdigest(),
        }


def bank_of_video(
    path: Path,
    first: FirstPass,
    detector: BankDetector | None,
    window: Window,
    batch_size: int,
    progress: Callable[[int, int], None],
    say: Say,
    rows: PersonRows | None = None,
) -> Path:
    """The bank of a video: the one at ``path`` if it is of this video, these boxes and this detector; else a new one.

    Args:
        detector: None: a bank must be there already; its detector is not compared.
        window: of the network that takes it.
        progress: called with (key frames done, all of them) where the features are made here.
        rows: the features, where they are there already.

    Raises:
        UserError: the file at ``path`` is no bank of one video; there is no file and no detector; features of another
            length than the network takes.
    """
    wanted = first.identity() | dict(detector.origin if detector else {})
    if detector is not None:
        check_channels(detector.channels, window, str(detector.origin["config"]))
    if path.exists() and _is_of(path, wanted, detector, say):
        check_channels(feature_bank.FeatureBank(path, verify=False).channels, window, str(path))
        return path
    if detector is None:
        raise no_detector(path)
    if rows is None:
        rows = bank_rows(detector, first.reader, first.moments, first.timestamp_start, first.bounded, batch_size)
        rows.report(progress, sum(len(boxes) > 0 for boxes in first.persons))
        for number, boxes in enumerate(first.persons):
            rows.add(number, boxes)
        rows.finish()
    features = rows.rows
    frames = [
        feature_bank.BankFrame(first.video_id, math.floor(moment.timestamp_s), rows, boxes[:, 4])
        for moment, rows, boxes in zip(first.moments, features, first.persons)
    ]
    feature_bank.write_bank(path, frames, about=wanted)
    say(f"feature bank: {path}, {len(frames)} key frames, {sum(map(len, features))} people")
    return path


def no_detector(path: Path) -> UserError:
    """The error where there is no bank at ``path`` and nothing to make it with."""
    return UserError(
        f"{path}: an exported model reads a feature bank and cannot make it; name the detector that made the banks of "
        "its training: --bank-config CFG --bank-weights FILE"
    )


def _is_of(path: Path, wanted: Mapping[str, str], detector: BankDetector | None, say: Say) -> bool:
    """Whether a bank is of this video, these boxes and this detector.  Only a bank of one video is ever replaced."""
    try:
        about = feature_bank.FeatureBank(path).about
    except DamagedFileError as error:
        raise UserError(f"{error}: remove it or name another file with --bank") from None
    if "video_sha256" not in about:
        raise UserError(
            f"{path}: a feature bank of a data set, which is not overwritten with that of one video; name another file "
            "with --bank"
        )
    compared = _OF_VIDEO | (_OF_DETECTOR if detector else {})
    others = [word for key, word in compared.items() if about.get(key) != wanted[key]]
    if others:
        say(f"{path}: a feature bank that differs in {', '.join(others)}" + ("; making it anew" if detector else ""))
    elif detector is None:
        say(
            f"feature bank: {path}, kept from before, made by {about['config']}; no --bank-weights to compare that with"
        )
    else:
        say(f"feature bank: {path}, kept from before")
    return not others


def check_channels(channels: int, window: Window, source: str) -> None:
    """Raises UserError if a bank's features are of another length than a network takes."""
    if channels != window.channels:
        raise UserError(
            f"{source}: features of {channels} channels, but the model takes a feature bank of {window.channels}; name "
            "the detector that made the banks of its training: --bank-config CFG --bank-weights FILE"
        )


def bank_rows(
    detector: BankDetector,
    reader: FrameReader,
    moments: Sequence[KeyMoment],
    timestamp_start: float,
    bounded: bool,
    batch_size: int,
) -> PersonRows:
    """The features of a bank, to be made one key frame after the other; the arguments are those of ``FirstPass``."""
    settings = detector.settings
    shot = shot_until(settings.timestamp_end if bounded else None, timestamp_start, settings.clip_fps)
    maker = ClipMaker(detector.pipeline, reader, settings.clip_fps, timestamp_start, shot)
    return PersonRows(maker, moments, detector.features, detector.channels, batch_size)
