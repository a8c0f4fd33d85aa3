"""Long-term feature banks: a detector's features of every person at every key frame of whole videos, in one file.

Start here.  A bank is built once by a trained detector and read by models that use what happens minutes around a key
frame:

    here                               the file: ``write_bank``, ``FeatureBank``; and ``LongTermWindow``, what is read
    collectors.BankCollector           features of a split that is evaluated, written in groups, to a bank
    engine/bank.py                     ``build_bank``: the bank of a split, resumed where it was stopped
    loader/pipelines/long_term.py      the pipeline step that adds the window of a key frame to its sample
    modeling/heads/fbo_head.py         the operators that join region features and window
    inference/                         the bank of a single video, for prediction

A bank is a ``.safetensors`` file, so any framework reads it, nothing in it can run, and it is mapped into memory rather
than read: banks larger than memory work.  Its tensors, rows sorted by video, second, and falling score:

    features  float16 | float32 [M, C]   one row per person and key frame
    scores    float32 [M]                of the person detector
    videos    int32 [K]                  per key frame: place of its video in the names
    seconds   int32 [K]                  its time
    starts    int64 [K + 1]              its rows: starts[k] up to starts[k + 1]

Its metadata: ``format`` ("paddlevideo feature bank 1"), ``names`` (JSON list of video ids), ``sha256`` (of the bytes
after the header), and the writer's notes about their origin.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.safe_io import DamagedFileError, read_pickle, reading, sha256, write_atomic
from paddlevideo.torch_files import is_torch_file, read_torch

FORMAT = "paddlevideo feature bank 1"
_TYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8")}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_TENSORS = ("features", "scores", "videos", "seconds", "starts")
_MAX_HEADER = 1 << 25


@dataclass(frozen=True)
class BankFrame:
    """The persons of one key frame, as ``write_bank`` takes them.

    Args:
        video: its id.
        second: its time stamp; a fraction is cut off.
        features: [k, C].
        scores: [k], the person detector's; None: they are ordered already.
    """

    video: str
    second: int
    features: np.ndarray
    scores: np.ndarray | None = None


def write_bank(
    path: str | Path, frames: Iterable[BankFrame], half: bool = False, about: Mapping[str, str] | None = None
) -> str:
    """Writes a bank, whole or not at all.

    Args:
        frames: in any order; of key frames that come twice the first counts.
        half: float16 features.
        about: strings for the metadata.

    Returns:
        The sha256 of the file.

    Raises:
        UserError: no key frame, features of different lengths, a disk that is full.
    """
    chosen: dict[tuple[str, int], BankFrame] = {}
    for frame in frames:
        chosen.setdefault((frame.video, int(frame.second)), frame)
    if not chosen:
        raise UserError(f"{path}: there is no key frame to write")
    ordered = [chosen[key] for key in sorted(chosen)]
    names = sorted({frame.video for frame in ordered})
    place = {name: i for i, name in enumerate(names)}
    widths = {frame.features.shape[-1] for frame in [f for f in ordered if len(f.features)] or ordered}
    if len(widths) != 1:
        raise UserError(f"{path}: expected features of one length, got {sorted(widths)}")
    counts = [len(frame.features) for frame in ordered]
    total, width = sum(counts), widths.pop()
    orders = [_by_score(frame) for frame in ordered]
    small = {
        "scores": np.concatenate([_scores(f)[o] for f, o in zip(ordered, orders)]).astype("<f4"),
        "videos": np.array([place[frame.video] for frame in ordered], "<i4"),
        "seconds": np.array([int(frame.second) for frame in ordered], "<i4"),
        "starts": np.concatenate([[0], np.cumsum(counts)]).astype("<i8"),
    }
    dtype = np.dtype("<f2" if half else "<f4")

    def content(stream: BinaryIO) -> None:
        metadata = {**(about or {}), "format": FORMAT, "names": json.dumps(names), "sha256": "0" * 64}
        described = {"features": (dtype, (total, width)), **{k: (v.dtype, v.shape) for k, v in small.items()}}
        stream.write(_header(described, metadata))
        digest = hashlib.sha256()
        for block in _blocks(ordered, orders, dtype, small):
            digest.update(block)
            stream.write(block)
        stream.seek(0)  # the digest is as long as the zeros in its place
        stream.write(_header(described, {**metadata, "sha256": digest.hexdigest()}))

    return write_atomic(path, content)


def _scores(frame: BankFrame) -> np.ndarray:
    if frame.scores is None:
        return np.zeros(len(frame.features), "float32")
    return np.asarray(frame.scores, "float32").reshape(-1)


def _by_score(frame: BankFrame) -> np.ndarray:
    return np.argsort(-_scores(frame), kind="stable")


def _blocks(
    frames: Sequence[BankFrame], orders: Sequence[np.ndarray], dtype: np.dtype, small: Mapping[str, np.ndarray]
) -> Iterable[bytes]:
    for frame, order in zip(frames, orders):
        if len(order):
            yield np.ascontiguousarray(frame.features[order], dtype).tobytes()
    yield from (value.tobytes() for value in small.values())


def _header(tensors: Mapping[str, tuple[np.dtype, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    begin = 0
    for name, (dtype, shape) in tensors.items():
        end = begin + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64 + 56)  # 8 + 56: tensors begin at a multiple of 64 bytes
    return struct.pack("<Q", len(text)) + text


class FeatureBank:
    """A bank, mapped into memory, and the windows of key frames.

    Args:
        path: the file.
        verify: reads it whole once and compares its digest.

    Raises:
        UserError: there is no such file.
        DamagedFileError: it is no bank, or not as it was written.
    """

    def __init__(self, path: str | Path, verify: bool = True):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{path}: no such feature bank; paddlevideo bank makes it")
        with reading(self.path, "a feature bank", "build it again"):
            self.about, tensors = _open(self.path, verify)
            self.features, self.scores = tensors["features"], tensors["scores"]
            self.names: list[str] = [str(name) for name in json.loads(self.about["names"])]
            self._starts, self._seconds = np.asarray(tensors["starts"]), np.asarray(tensors["seconds"])
            videos = np.asarray(tensors["videos"])
            self._check(videos)
        bounds = np.searchsorted(videos, np.arange(len(self.names) + 1))
        self._of_video = {name: (int(bounds[i]), int(bounds[i + 1])) for i, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.features)

    @property
    def channels(self) -> int:
        """C."""
        return self.features.shape[1]

    def __contains__(self, key: tuple[str, int]) -> bool:
        video, second = key
        begin, end = self._of_video.get(video, (0, 0))
        at = begin + int(np.searchsorted(self._seconds[begin:end], int(second)))
        return at < end and self._seconds[at] == int(second)

    def holds(self, video: str) -> bool:
        """Whether it has key frames of a video."""
        return video in self._of_video

    def rows(self, video: str, first_s: int, end_s: int) -> tuple[slice, np.ndarray]:
        """The rows of a video's key frames from ``first_s`` up to, not including, ``end_s``; and each row's second."""
        begin, end = self._of_video.get(video, (0, 0))
        first, last = begin + np.searchsorted(self._seconds[begin:end], [first_s, end_s])
        edges = self._starts[first : last + 1]
        seconds = np.repeat(self._seconds[first:last], np.diff(edges))
        return slice(int(self._starts[first]), int(self._starts[last])), seconds

    def _check(self, videos: np.ndarray) -> None:
        keys = videos.astype("int64") * (1 << 32) + self._seconds
        sound = (
            self.features.ndim == 2
            and len(self._starts) == len(videos) + 1 == len(self._seconds) + 1
            and self._starts[0] == 0
            and self._starts[-1] == len(self.features) == len(self.scores)
            and (np.diff(self._starts) >= 0).all()
            and (np.diff(keys) > 0).all()
            and (not len(videos) or 0 <= videos.min() <= videos.max() < len(self.names))
        )
        if not sound:
            raise DamagedFileError("its table of key frames contradicts itself")


def _open(path: Path, verify: bool) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > min(size - 8, _MAX_HEADER):
            raise ValueError("its header is longer than the file")
        header = json.loads(stream.read(length))
        about = header.pop("__metadata__", {})
        if about.get("format") != FORMAT:
            raise ValueError(f"its format is {about.get('format')!r}, expected {FORMAT!r}")
        begin = 8 + length
        expected = begin + max(entry["data_offsets"][1] for entry in header.values())
        if size != expected:
            raise ValueError(f"it has {size} bytes, expected {expected}")
        if verify and sha256(stream) != about["sha256"]:
            raise ValueError("SHA-256 mismatch")
    tensors = {}
    for name in _TENSORS:
        entry = header[name]
        dtype, shape, (first, last) = _TYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
        if last - first != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has not the size of its shape")
        # numpy cannot map nothing
        tensors[name] = np.memmap(path, dtype, "r", begin + first, shape) if last > first else np.zeros(shape, dtype)
    return about, tensors


class LongTermWindow:
    """The features around a key frame, in slots: second by second, so many slots each.

    Slot ``i * max_features + j`` holds the j-th chosen person of second ``t - window_s // 2 + i``; the window ends
    before second ``t - window_s // 2 + window_s``.  What is missing is zero.

    Args:
        banks: bank files; a video may be in any of them.
        window_s: seconds.
        max_features: slots per second.

    *Source*: Long-Term Feature Banks (Wu et al., 2019); MMAction2's ``LFB``, which draws at random in test too.
    """

    def __init__(self, banks: Sequence[str | Path], window_s: int = 60, max_features: int = 5):
        if window_s < 1 or max_features < 1:
            raise UserError(f"window_s {window_s} and max_features {max_features}: expected at least 1")
        self.window_s, self.max_features = window_s, max_features
        self.banks = [FeatureBank(path) for path in banks]
        if not self.banks:
            raise UserError("a feature bank needs at least one file")
        widths = {bank.channels for bank in self.banks}
        if len(widths) != 1:
            listing = ", ".join(f"{bank.path}: {bank.channels}" for bank in self.banks)
            raise UserError(f"feature banks of different lengths do not go together ({listing})")

    @property
    def channels(self) -> int:
        """C."""
        return self.banks[0].channels

    @property
    def slots(self) -> int:
        """S."""
        return self.window_s * self.max_features

    def holds(self, video: str) -> bool:
        """Whether a video is in one of the banks."""
        return any(bank.holds(video) for bank in self.banks)

    def __call__(
        self, video: str, timestamp_s: float, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features float32 [S, C], and which slots hold one, bool [S].

        Args:
            rng: draws which of more persons than slots; None: those with the highest scores.
        """
        features, filled = np.zeros((self.slots, self.channels), "float32"), np.zeros(self.slots, bool)
        first_s = math.floor(timestamp_s) - self.window_s // 2
        for bank in self.banks:
            rows, seconds = bank.rows(video, first_s, first_s + self.window_s)
            if len(seconds):
                order = self._order(seconds, rng)
                place = _rank_in_group(seconds[order])
                kept = place < self.max_features
                slots = (seconds[order][kept] - first_s) * self.max_features + place[kept]
                features[slots] = bank.features[rows][order[kept]]
                filled[slots] = True
                break  # a video is in one bank
        return features, filled

    def _order(self, seconds: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Rows in the order in which they get slots; seconds stay in order."""
        if rng is None:
            return np.arange(len(seconds))  # a bank's rows are ordered by score
        return np.lexsort((rng.random(len(seconds)), seconds))


def _rank_in_group(groups: np.ndarray) -> np.ndarray:
    """0, 1, 2... within every run of equal values."""
    begins = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    return np.arange(len(groups)) - np.repeat(begins, np.diff(np.r_[begins, len(groups)]))


def convert_mmaction2(source: Path, out: Path, half: bool) -> tuple[int, int]:
    """A bank from MMAction2's ``lfb_*.pkl``: {video id: {second: [features [C], one per person]}}.

    The file may be one of ``torch.save`` in either of its forms, or a plain pickle of numpy arrays; its first bytes
    decide.

    Returns:
        Key frames and persons.

    Raises:
        UserError: the file is something else, damaged, or names code.
    """
    content = read_torch(source) if is_torch_file(source) else read_pickle(source)
    frames = list(_of_mmaction2(content, source))
    write_bank(out, frames, half, {"source": source.name})
    return len(frames), sum(len(frame.features) for frame in frames)


def _of_mmaction2(content: Any, source: Path) -> Iterator[BankFrame]:
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{source}: expected {{video id: {{second: [features]}}}}, got {type(content).__name__}")
    for video, seconds in content.items():
        if not isinstance(seconds, Mapping):
            raise UserError(f"{source}: {video}: expected {{second: [features]}}, got {type(seconds).__name__}")
        for second, persons in seconds.items():
            rows = [_vector(person, f"{source}: {video}, {second}") for person in persons]
            if rows:
                yield BankFrame(str(video), int(second), np.stack(rows))


def _vector(value: Any, where: str) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise UserError(f"{where}: expected a vector per person, got {type(value).__name__}")
    return value
