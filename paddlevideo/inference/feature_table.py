"""Features of clips in a file: what ``paddlevideo features`` writes, and ``probe`` and ``similar`` read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import DamagedFileError, UserError
from paddlevideo.inference.window_features import WindowFeatures
from paddlevideo.safe_io import read_npz, write_atomic

ENDINGS = (".npz", ".parquet")
_VERSION = 1
_UNKNOWN = -1  # label of a clip that has none


@dataclass(frozen=True)
class FeatureTable:
    """One row per clip.

    Args:
        videos: N paths, whole ones of files, so that they hold in any folder.
        features: float32 [N, D].
        labels: int64 [N], -1: unknown; or of several labels per clip 0 / 1, float32 [N, K].
        spans_s: float64 [N, 2]: start and end of each clip in seconds; NaN: the whole video.
        names: K class names; empty: unknown.
        about: what the features were made with: ``model`` (digests of the weights), ``config``, ``weights``, ...
    """

    videos: Sequence[str]
    features: np.ndarray
    labels: np.ndarray
    spans_s: np.ndarray
    names: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def multi_label(self) -> bool:
        """Whether a clip may have several labels."""
        return self.labels.ndim == 2

    @property
    def labelled(self) -> bool:
        """Whether every clip has a label."""
        return self.multi_label or bool((self.labels != _UNKNOWN).all())

    @property
    def num_classes(self) -> int:
        """K, by the names, else by the labels."""
        if self.multi_label:
            return self.labels.shape[1]
        return max(len(self.names), int(self.labels.max(initial=-1)) + 1)

    def title(self, index: int) -> str:
        """A clip as people read it: its path, and its seconds if it is a part: ``a.mp4#t=1.5,3.25``."""
        start_s, end_s = self.spans_s[index]
        return self.videos[index] if np.isnan(start_s) else f"{self.videos[index]}#t={start_s:g},{end_s:g}"

    def write(self, path: Path) -> None:
        """Writes ``.npz`` or ``.parquet``; the file is whole or not there.

        Raises:
            UserError: another ending, no pyarrow, a folder that cannot be written to.
        """
        about = json.dumps({"version": _VERSION, "names": list(self.names), **self.about}, ensure_ascii=False)
        if path.suffix.lower() == ".parquet":
            _write_parquet(path, self, about)
            return
        arrays = {
            "videos": np.array(list(self.videos), dtype=np.str_), "features": self.features.astype(np.float32),
            "labels": self.labels, "spans_s": self.spans_s, "about": np.array(about),
        }  # fmt: skip
        write_atomic(path, lambda stream: np.savez(stream, **arrays))


def of_windows(videos: Mapping[str, WindowFeatures], about: Mapping[str, Any]) -> FeatureTable:
    """A row per window of videos, without labels.

    Args:
        videos: path -> features of its windows.
    """
    names = [name for name, each in videos.items() for _ in each.features]
    features = np.concatenate([each.features for each in videos.values()])
    spans_s = np.concatenate([each.windows_s for each in videos.values()])
    return FeatureTable(names, features, np.full(len(names), _UNKNOWN), spans_s, (), about)


def check_ending(path: Path) -> Path:
    """
    Raises:
        UserError: the name ends in something else than ``ENDINGS``; parquet without pyarrow.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--out {path}: expected a name that ends in {' or '.join(ENDINGS)}")
    if path.suffix.lower() == ".parquet":
        _pyarrow()
    return path


def read_features(path: Path) -> FeatureTable:
    """What ``FeatureTable.write`` wrote.

    Raises:
        UserError: no such file, another ending.
        DamagedFileError: its content is something else.
    """
    if path.suffix.lower() == ".parquet":
        content = _read_parquet(path)
    elif path.suffix.lower() == ".npz":
        content = read_npz(path)
    else:
        raise UserError(
            f"{path}: expected features in a file that ends in {' or '.join(ENDINGS)}; paddlevideo features"
        )
    return _checked(path, content)


def _checked(path: Path, content: Mapping[str, Any]) -> FeatureTable:
    kinds = {"videos": ("U", 1), "features": ("f", 2), "labels": ("if", None), "spans_s": ("f", 2), "about": ("U", 0)}
    for name, (kind, axes) in kinds.items():
        array = content.get(name)
        if array is None or array.dtype.kind not in kind or axes not in (None, array.ndim):
            raise DamagedFileError(f"{path}: {name!r} is missing or of another kind: no file of paddlevideo features")
    try:
        about = json.loads(str(content["about"]))
        names = [str(name) for name in about.pop("names")]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DamagedFileError(f"{path}: 'about' is no JSON with the class names") from None
    videos, features, labels, spans_s = (content[name] for name in ("videos", "features", "labels", "spans_s"))
    count = len(videos)
    if not count or {len(features), len(labels), len(spans_s)} != {count} or labels.ndim not in (1, 2):
        raise DamagedFileError(f"{path}: expected the same number of clips, at least one, in every array")
    if not np.isfinite(features).all():
        raise DamagedFileError(f"{path}: features hold NaN or infinity; compute them with a sound network")
    table = FeatureTable([str(video) for video in videos], features, labels, spans_s, names, about)
    _check_labels(path, table)
    return table


def _check_labels(path: Path, table: FeatureTable) -> None:
    """
    Raises:
        DamagedFileError: labels that are neither class numbers nor 0 and 1 of every class.
    """
    labels = table.labels
    if table.multi_label:
        wrong = np.flatnonzero(~np.isin(labels, (0, 1)).all(axis=1))
        what = "labels of 0 or 1"
    else:
        wrong = np.flatnonzero(np.ones(len(labels), bool) if labels.dtype.kind != "i" else labels < _UNKNOWN)
        what = f"a class number from 0 on, or {_UNKNOWN} for none"
    if len(wrong):
        shown = np.array2string(labels[wrong[0]], threshold=8, separator=", ")
        raise DamagedFileError(f"{path}: clip {wrong[0]}: expected {what}, got {shown}")
    if table.multi_label and table.names and len(table.names) != labels.shape[1]:
        raise DamagedFileError(f"{path}: {len(table.names)} class names, labels of {labels.shape[1]} classes")


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError("features as .parquet need 'pip install pyarrow'; .npz needs nothing") from None
    return pyarrow


def _write_parquet(path: Path, table: FeatureTable, about: str) -> None:
    """Columns video, start_s, end_s (null: the whole video), label (int, or a list of them), class, feature."""
    arrow = _pyarrow()
    several = table.multi_label
    rows = [np.flatnonzero(row).tolist() for row in table.labels] if several else table.labels.tolist()
    spans = [[None if np.isnan(value) else float(value) for value in row] for row in table.spans_s]
    columns = {
        "video": arrow.array(list(table.videos), arrow.string()),
        "start_s": arrow.array([row[0] for row in spans], arrow.float64()),
        "end_s": arrow.array([row[1] for row in spans], arrow.float64()),
        "label": arrow.array(rows, arrow.list_(arrow.int64()) if several else arrow.int64()),
        "feature": arrow.array(table.features.astype(np.float32).tolist(), arrow.list_(arrow.float32())),
    }
    found = arrow.table(columns).replace_schema_metadata({"paddlevideo": about, "num_classes": str(table.num_classes)})
    write_atomic(path, lambda stream: arrow.parquet.write_table(found, stream))


def _read_parquet(path: Path) -> dict[str, Any]:
    arrow = _pyarrow()
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        found = arrow.parquet.read_table(path)
        columns = {name: found.column(name).to_pylist() for name in ("video", "start_s", "end_s", "label", "feature")}
        metadata = found.schema.metadata or {}
        about, classes = metadata[b"paddlevideo"].decode(), int(metadata[b"num_classes"])
        features = np.array(columns["feature"], np.float32)
    except (arrow.ArrowException, KeyError, ValueError, OSError) as error:
        raise DamagedFileError(f"{path}: no file of paddlevideo features ({error})") from None
    labels = columns["label"]
    if labels and isinstance(labels[0], list):
        hot = np.zeros((len(labels), classes), np.float32)
        for row, places in zip(hot, labels):
            row[places] = 1
        labels = hot
    spans = np.array([columns["start_s"], columns["end_s"]], np.float64).T.reshape(-1, 2)
    return {
        "videos": np.array(columns["video"], np.str_), "features": features, "labels": np.asarray(labels),
        "spans_s": spans, "about": np.array(about),
    }  # fmt: skip
