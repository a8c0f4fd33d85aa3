"""Features of a video's windows, the input of a model's last linear layer, kept in a folder from run to run.

A file of the folder is found again by what it depends on: the video's content, the model without its classifier, its
pipeline and the windows.  So a model with another head uses the same files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paddlevideo.errors import DamagedFileError, UserError, printable
from paddlevideo.inference.exported import CONFIG_SUFFIX, Export
from paddlevideo.inference.runtimes.base import Say
from paddlevideo.loader.labels import read_labels, refuse_doubled
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.safe_io import instead_of_a_file, read_json, read_npz, sha256, write_atomic
from paddlevideo.weight_names import WeightNames, read_names

DIGESTS = "videos.json"  # path -> size, time of change, SHA-256: so that large videos are not read for it each time
_PREFIX = 16  # hex digits of a video's digest, with which the names of its files begin
VERSION = 1  # of the files: part of their names
_ARRAYS = {"windows_s": 2, "features": 2, "end_s": 0}  # name -> axes
FULL_TRAINING = "train it whole instead: paddlevideo train (docs/long_videos.md)"


@dataclass(frozen=True)
class WindowFeatures:
    """Of one video.

    Args:
        windows_s: float64 [W, 2], start and end of every window in seconds, in order.
        features: float32 [W, C].
        end_s: of the video.
    """

    windows_s: np.ndarray
    features: np.ndarray
    end_s: float

    @property
    def centres_s(self) -> np.ndarray:
        """float64 [W]."""
        return self.windows_s.mean(1)


class Extractor(Protocol):
    """What computes features: ``feature_network.FeatureNetwork``."""

    def features(
        self, video: Path, window_s: float, hop_s: float, on_window: Callable[[float], None]
    ) -> WindowFeatures: ...


@dataclass(frozen=True)
class TaughtFrom:
    """An export that features are computed with.

    Args:
        export: its files.
        names: its parameters.
        pipeline: what makes clips of windows.
    """

    export: Export
    names: WeightNames
    pipeline: Pipeline

    @classmethod
    def find(cls, path: str | Path, say: Say, teaches: bool = True) -> TaughtFrom:
        """The export that a path names; imports no Paddle.

        Args:
            teaches: whether a new classifier is made of it; else its features are all that is used, so that another
                form in 8 bits beside the weights, and classes without names, do not matter.

        Raises:
            UserError: none of this version, one of persons' actions, one with 8 bits.
        """
        export = Export.find(path, None, say)
        description = export.description
        if description is None:
            raise UserError(f"{export.file}: not there; export the model again with this version")
        if description.detection:
            raise UserError(f"{export.program}: a detection model, which takes persons' boxes; {FULL_TRAINING}")
        if description.int8 and (teaches or not export.params.is_file()):
            raise UserError(
                f"{export.program}: a quantised export, whose 8 bits are of its own weights; name the folder of an "
                f"export without them, or {FULL_TRAINING}"
            )
        if teaches and not description.labels:
            raise UserError(f"{export.file}: the model has no class names; export it with DATASET.label_names")
        names = read_names(export.params, check=False)
        if not export.program.with_name(export.program.stem + CONFIG_SUFFIX).is_file():
            raise UserError(
                f"{export.program}: has no {export.program.stem}{CONFIG_SUFFIX} beside it, which export writes; export "
                "it again with this version"
            )
        return cls(export, names, export.pipeline())

    def with_names(self, file: Path) -> TaughtFrom:
        """The same with other names of its classes.

        Args:
            file: one per line in class-id order.

        Raises:
            UserError: another number of names, or one that comes twice.
        """
        description = self.export.description
        names = read_labels(file, description.num_classes)
        refuse_doubled(file, names)
        background = description.background
        if background is not None:
            background = names[description.labels.index(background)]
        described = replace(description, labels=names, background=background)
        return replace(self, export=replace(self.export, description=described))

    @property
    def config_file(self) -> Path:
        """Its configuration."""
        return self.export.program.with_name(self.export.program.stem + CONFIG_SUFFIX)


@dataclass
class FeatureFolder:
    """The files of features of one model and one kind of windows.

    Args:
        folder: made where there is none.
        model: the export.
        window_s, hop_s: of the windows.
        say: receives a line where a file is damaged.

    Attributes:
        num_read, num_computed: how many videos had a file, and had none.
    """

    folder: Path
    model: TaughtFrom
    window_s: float
    hop_s: float
    say: Say
    num_read: int = 0
    num_computed: int = 0
    _digests: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with contextlib.suppress(UserError):  # not there, or damaged: the videos are read again
            found = read_json(self.folder / DIGESTS)
            self._digests = found if isinstance(found, dict) else {}

    def all_of(
        self,
        videos: Sequence[Path],
        extractor: Callable[[], Extractor],
        on_time: Callable[[float], None] = lambda time_s: None,
    ) -> Iterator[WindowFeatures]:
        """The features of videos, in their order; those without a file are computed.

        Args:
            extractor: makes the network, when the first video needs it.
            on_time: receives how many seconds of all videos are done.

        Raises:
            UserError: a video cannot be read, the folder cannot be written to.
        """
        network: Extractor | None = None
        before_s = 0.0
        for video in videos:
            if not video.is_file():
                raise UserError(f"{printable(str(video))}: {instead_of_a_file(video)}")
            file = self.file_of(video)
            found = self._read(file)
            if found is None:
                network = network or extractor()
                at = partial(_later, on_time, before_s)
                found = network.features(video, self.window_s, self.hop_s, at)
                self._write(file, found)
                self.num_computed += 1
            else:
                self.num_read += 1
            before_s += found.end_s
            on_time(before_s)
            yield found
        write_atomic(self.folder / DIGESTS, json.dumps(self._digests, indent=1, ensure_ascii=False) + "\n")

    def file_of(self, video: Path) -> Path:
        """The file of a video's features, there or not."""
        digest = self._digest(video)
        about = {
            "version": VERSION, "video": digest, "model": self.model.names.features,
            "pipeline": self.model.pipeline.describe(), "window_s": self.window_s, "hop_s": self.hop_s,
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
        return self.folder / f"{digest[:_PREFIX]}_{key[:32]}.npz"

    def _digest(self, video: Path) -> str:
        """SHA-256 of a video; of one that has not changed since, as noted in the folder."""
        status, name = video.stat(), str(video.resolve())
        state = [status.st_size, status.st_mtime_ns]
        noted = self._digests.get(name)
        if not isinstance(noted, list) or noted[:2] != state or not isinstance(noted[-1], str):
            noted = self._digests[name] = [*state, sha256(video)]
        return noted[-1]

    def _read(self, file: Path) -> WindowFeatures | None:
        if not file.is_file():
            return None
        try:
            return _checked(file, read_npz(file))
        except UserError as error:
            self.say(f"{error}; it is computed again")
            return None

    def _write(self, file: Path, found: WindowFeatures) -> None:
        arrays = {"windows_s": found.windows_s, "features": found.features, "end_s": np.float64(found.end_s)}
        write_atomic(file, lambda stream: np.savez(stream, **arrays))


def drop_features(folder: Path, kept: Callable[[Path], bool]) -> int:
    """Removes the features of videos that are not needed any more, and returns how many files these were.

    Args:
        folder: of a ``FeatureFolder`` that no command uses now.
        kept: whether a video, by its whole path, is still needed; a copy of it keeps the features, too.
    """
    try:
        noted = read_json(folder / DIGESTS)
    except UserError:  # none was computed, or it is damaged
        return 0
    if not isinstance(noted, dict):
        return 0
    digests = {name: str(value[-1]) for name, value in noted.items() if isinstance(value, list) and value}
    gone = {name for name in digests if not kept(Path(name))}
    shared = {digests[name] for name in digests.keys() - gone}
    files = [file for name in gone if digests[name] not in shared
             for file in folder.glob(f"{digests[name][:_PREFIX]}_*.npz")]  # fmt: skip
    for file in files:
        file.unlink(missing_ok=True)
    if gone:
        rest = {name: value for name, value in noted.items() if name not in gone}
        write_atomic(folder / DIGESTS, json.dumps(rest, indent=1, ensure_ascii=False) + "\n")
    return len(files)


def _later(on_time: Callable[[float], None], before_s: float, end_s: float) -> None:
    on_time(before_s + end_s)


def _checked(file: Path, arrays: dict[str, Any]) -> WindowFeatures:
    """
    Raises:
        DamagedFileError: the arrays are not as ``_write`` writes them.
    """
    shapes = {name: arrays[name].ndim for name in _ARRAYS if name in arrays}
    good = shapes == _ARRAYS and len(arrays["windows_s"]) == len(arrays["features"]) > 0
    if not good or not all(np.isfinite(arrays[name]).all() for name in _ARRAYS):
        raise DamagedFileError(f"{file}: damaged: expected {', '.join(_ARRAYS)} of the same windows")
    return WindowFeatures(arrays["windows_s"], arrays["features"], float(arrays["end_s"]))
