"""The long-term feature bank of one video that has none: made in a first pass over it, and kept for the next time.

A key frame a second, the rhythm of the banks of training, and of each person what the bank's detector saw.  The file is
a bank as ``tools/build_feature_bank.py`` writes it; its metadata say of which video, weights and boxes it is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.config import Config
from paddlevideo.errors import UserError
from paddlevideo.inference.ava_clips import ClipMaker, ForwardReader, KeyMoment, moments_at, person_rows, shot_until
from paddlevideo.inference.ava_predictor import rows_of_network
from paddlevideo.inference.ava_settings import DetectionSettings, settings_of_config
from paddlevideo.inference.bank_windows import Window, without_windows
from paddlevideo.inference.export import pipeline_of
from paddlevideo.inference.runtime import Say
from paddlevideo.loader import feature_bank
from paddlevideo.loader.decode import FrameReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.safe_io import DamagedFileError, sha256

# what a bank must be of to be used again, and what to call it
_OF_VIDEO = {"video_id": "video id", "video_sha256": "video", "boxes_sha256": "boxes"}
_OF_DETECTOR = {"weights_sha256": "weights", "settings_sha256": "network or preprocessing"}


@dataclass(frozen=True)
class BankDetector:
    """A network that sees people, and what it wants.

    Args:
        features: a batch as the loader's -> float32 [R, C].
        pipeline: PIPELINE.test, without windows.
        settings: what else it was trained with.
        channels: C.
        origin: for the bank's metadata: ``weights_sha256``, ``model``, ``config``, and the digest of its settings.
    """

    features: Callable[[dict[str, np.ndarray]], np.ndarray]
    pipeline: Pipeline
    settings: DetectionSettings
    channels: int
    origin: Mapping[str, str]


def bank_detector_of(config: Config, framework: Any, weights: str | Path) -> BankDetector:
    """A detector; also one that looks into a feature bank, whose backbone sees people like any other.

    Args:
        framework: the network of the configuration, with these weights loaded.
    """
    pipeline, settings = without_windows(pipeline_of(config)), settings_of_config(config, framework)
    pipeline.refuse_boxes()
    described = [config.section("MODEL"), pipeline.describe(), settings.clip_fps, settings.timestamp_end]
    origin = {
        "weights_sha256": sha256(Path(weights).expanduser()),
        "settings_sha256": _digest(json.dumps(described, default=str, sort_keys=True).encode()),
        "model": str(config["model_name"]),
        "config": str(config.source),
    }
    features, channels = rows_of_network(framework, "features"), framework.backbone.out_channels
    return BankDetector(features, pipeline, settings, channels, origin)


def moments_of_seconds(reader: FrameReader, timestamp_start: float) -> list[KeyMoment]:
    """The key frames of a bank: the frames nearest to the whole seconds of the video; at least one."""
    first, last = math.ceil(timestamp_start - 0.5), math.floor(timestamp_start + float(reader.times()[-1]))
    return moments_at(reader, range(first, max(first, last) + 1), timestamp_start)[0]


@dataclass(frozen=True, eq=False)
class FirstPass:
    """What there is to see in the first pass.

    Args:
        moments: the bank's key frames.
        people: per key frame float32 [n, 5]: boxes as fractions of the picture, and scores.
        timestamp_start: second of the first frame.
        bounded: whether clips end at the data set's last second, as those of a data set do.
    """

    reader: ForwardReader
    video_id: str
    moments: Sequence[KeyMoment]
    people: Sequence[np.ndarray]
    timestamp_start: float
    bounded: bool

    def identity(self) -> dict[str, str]:
        """Digests of the video and of the boxes."""
        boxes = hashlib.sha256(json.dumps([self.timestamp_start, self.bounded]).encode())
        for moment, found in zip(self.moments, self.people, strict=True):
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
) -> Path:
    """The bank of a video: the one at ``path`` if it is of this video, these boxes and this detector; else a new one.

    Args:
        detector: None: a bank must be there already, and whose it is stays untold.
        window: of the network that will look into it.

    Raises:
        UserError: the file at ``path`` is no bank of one video; there is none, and no detector; features of a length
            that the network does not take.
    """
    wanted = first.identity() | dict(detector.origin if detector else {})
    if detector is not None:
        _check_channels(detector.channels, window, str(detector.origin["config"]))
    if path.exists() and _is_of(path, wanted, detector, say):
        _check_channels(feature_bank.FeatureBank(path, verify=False).channels, window, str(path))
        return path
    if detector is None:
        raise no_detector(path)
    features = _features(first, detector, batch_size, progress)
    frames = [
        feature_bank.BankFrame(first.video_id, math.floor(moment.timestamp_s), rows, boxes[:, 4])
        for moment, rows, boxes in zip(first.moments, features, first.people)
    ]
    feature_bank.write_bank(path, frames, about=wanted)
    say(f"feature bank: {path}, {len(frames)} key frames, {sum(map(len, features))} people")
    return path


def no_detector(path: Path) -> UserError:
    """The refusal of a model that has no bank at ``path`` and nothing to make it with."""
    return UserError(
        f"{path}: an exported model reads a feature bank and cannot make it; name the detector that made the banks of "
        "its training: --bank-config CFG --bank-weights FILE"
    )


def _is_of(path: Path, wanted: Mapping[str, str], detector: BankDetector | None, say: Say) -> bool:
    """Whether a bank is what is wanted.  Only a bank of one video is ever replaced."""
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
        say(f"{path}: a feature bank of other {', '.join(others)}" + ("; making it anew" if detector else ""))
    elif detector is None:
        say(
            f"feature bank: {path}, kept from before, made by {about['config']}; no --bank-weights to compare that with"
        )
    else:
        say(f"feature bank: {path}, kept from before")
    return not others


def _check_channels(channels: int, window: Window, source: str) -> None:
    if channels != window.channels:
        raise UserError(
            f"{source}: features of {channels} channels, but the model wants a feature bank of {window.channels}; name "
            "the detector that made the banks of its training: --bank-config CFG --bank-weights FILE"
        )


def _features(
    first: FirstPass, detector: BankDetector, batch_size: int, progress: Callable[[int, int], None]
) -> list[np.ndarray]:
    s, start = detector.settings, first.timestamp_start
    shot = shot_until(s.timestamp_end if first.bounded else None, start, s.clip_fps)
    maker = ClipMaker(detector.pipeline, first.reader, s.clip_fps, start, shot)
    return person_rows(maker, first.moments, first.people, detector.features, detector.channels, batch_size, progress)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
