"""What a run is trained, validated or tested on, as log lines."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.classes import FITTED_TO, Classes, facts_of_weights
from paddlevideo.errors import printable
from paddlevideo.loader.datasets.lists import clip_name
from paddlevideo.loader.datasets.records import class_counts, num_unlabelled, paths_of, values_of
from paddlevideo.video_files import video_key

log = logging.getLogger("paddlevideo")

_CLASSES = 20  # shown one by one
_WORST = 10  # of more classes
_NAMES = 3  # files shown of those that are left out
_PART = 8192  # lines


def data_summary(loader: Any, split: str, classes: Classes) -> list[str]:
    """Samples and classes with their counts, what is left out and why, and the split's fingerprint.

    Args:
        loader: a ``ClipLoader``.
    """
    dataset = loader.dataset
    records, counts = dataset.records, _counts(dataset)
    lines = [split_line(dataset, split), *list_lines(dataset, split)]
    if counts:
        lines.append(f"DATASET.{split}: samples per class: {_per_class(counts, classes)}")
    empty = [k for k in range(1 if classes.ids else 0, classes.count or 0) if not counts.get(k)] if counts else []
    if empty:
        lines.append(
            f"DATASET.{split}: {len(empty)} classes without a sample: {_cut([_name(k, classes) for k in empty])}"
        )
    lines += left_out_lines(dataset, split)
    if loader.num_dropped:
        lines.append(
            f"DATASET.{split}: drop_last: {loader.num_dropped} of {len(records)} samples, others every time, are left "
            "out of an epoch, since they fill no batch (DATASET.drop_last: False takes them)"
        )
    return lines


def log_data(loader: Any, split: str, classes: Classes) -> None:
    """Logs ``data_summary``."""
    for line in data_summary(loader, split, classes):
        log.info("%s", line)


def left_out_lines(dataset: Any, split: str) -> list[str]:
    """How many files or key frames are no samples and why, with the first names."""
    left_out = dataset.left_out()
    return [
        f"DATASET.{split}: left out, {reason}: {len(names)}: {_cut([printable(name) for name in names])}"
        for reason, names in left_out.items()
        if names
    ]


def list_lines(dataset: Any, split: str) -> list[str]:
    """How the split's list was read, and what is odd about it."""
    unlabelled = num_unlabelled(dataset.records)
    remarks = list(dataset.remarks)
    if unlabelled:
        remarks.append(f"{unlabelled} sample{'s' * (unlabelled != 1)} without a label")
    return [f"DATASET.{split}: {remark}" for remark in remarks]


def split_line(dataset: Any, split: str) -> str:
    """How many samples a split has, and its fingerprint."""
    records = dataset.records
    kind = "videos" if records and "filename" in records[0] else "folders of frames"
    if records and "img_key" in records[0]:
        kind = f"key frames of {len({key.rpartition(',')[0] for key in values_of(records, 'img_key')})} videos"
    elif records and "start_s" in records[0]:
        kind = f"spans of {len(_files(dataset))} {kind}"
    counts = _counts(dataset)
    seen = f", {len([count for count in counts.values() if count])} classes" if counts else ""
    return f"DATASET.{split}: {len(records)} {kind}{seen}; fingerprint of the split {fingerprint(dataset)[:16]}"


def _files(dataset: Any) -> set[str]:
    """Real paths of a split's files."""
    return {os.path.realpath(path) for path in {*paths_of(dataset.records)}}


def shared_videos_line(train: Any, valid: Any) -> str | None:
    """Which videos both splits have spans of; None: none, or they are no spans."""
    if not all("start_s" in dataset.records[0] for dataset in (train, valid)):
        return None
    shared = sorted(_files(train) & _files(valid))
    if not shared:
        return None
    names = _cut([printable(name) for name in shared])
    return (
        f"DATASET.valid: {len(shared)} of {len(_files(valid))} videos are in DATASET.train, too ({names}): its figures "
        "are higher than of other videos; split by video (paddlevideo prepare spans)"
    )


def fitted_videos(weights: str | Path) -> frozenset[str]:
    """Keys of the videos that the classifier of the weights was fitted to, by their note; empty: none, or unknown."""
    return frozenset(facts_of_weights(weights).get(FITTED_TO, ()))


def fitted_videos_line(weights: str | Path, dataset: Any, split: str) -> str | None:
    """Which videos of a split the classifier of the weights was fitted to; None: none, or unknown.

    Args:
        weights: their note has the videos where ``paddlevideo probe --save`` wrote them.
    """
    fitted = fitted_videos(weights)
    if not fitted:
        return None
    files = _files(dataset)
    shared = sorted(file for file in files if video_key(file) in fitted)
    if not shared:
        return None
    names = _cut([printable(os.path.basename(name)) for name in shared])
    return (
        f"DATASET.{split}: the classifier of {weights} was fitted to {len(shared)} of its {len(files)} videos "
        f"({names}): its figures are higher than of other videos; give probe --save the features of DATASET.train alone"
    )


def fingerprint(dataset: Any) -> str:
    """SHA-256 of a split's samples, their names below the data folder and their labels; their order does not count."""
    root, records = dataset.file_path if os.path.isdir(dataset.file_path) else dataset.data_prefix, dataset.records
    if records and "img_key" in records[0]:
        lines = [f"{key}\t{own}" for key, own in zip(values_of(records, "img_key"), values_of(records, "digest"))]
    else:
        labels = (k.tolist() if isinstance(k, np.ndarray) else k for k in values_of(records, "label"))
        paths = map(clip_name, records) if records and "start_s" in records[0] else paths_of(records)
        lines = [f"{path}\t{label}" for path, label in zip(_below(root, paths), labels)]
    lines.sort()
    digest = hashlib.sha256()
    for begin in range(0, len(lines), _PART):
        digest.update("".join(f"{line}\n" for line in lines[begin : begin + _PART]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _below(root: str | None, paths: Iterable[str]) -> Iterator[str]:
    """``os.path.relpath(path, root)``, which takes 3 us, for paths that mostly begin with the root; None: the paths."""
    if not root:
        yield from map(str, paths)
        return
    start = os.path.join(root, "")
    for path in map(str, paths):
        rest = path[len(start) :] if path.startswith(start) else ""
        normal = rest and rest[0] not in "./" and rest[-1] != "/" and "/." not in rest and "//" not in rest
        yield rest if normal else os.path.relpath(path, root)


def _counts(dataset: Any) -> dict[int, int]:
    """Class index -> samples, of several labels per clip for each; of key frames, annotated persons."""
    counts = dataset.class_counts()
    return class_counts(dataset.records) if counts is None else dict(enumerate(counts.tolist()[1:], 1))


def _per_class(counts: dict[int, int], classes: Classes) -> str:
    shown = [f"{_name(k, classes)} {n}" for k, n in list(counts.items())[:_CLASSES]]
    rest = list(counts.values())[_CLASSES:]
    return ", ".join(shown) + (f", ... and {len(rest)} more with {min(rest)} to {max(rest)} each" if rest else "")


def class_line(rows: Sequence[Mapping[str, Any]], mode: str, classes: Classes) -> str:
    """Figures of every class beside its number of samples, of many classes those of the worst.

    Args:
        rows: of ``Metric.per_class``.
        mode: what was measured, as the log names it.
    """
    known = [row for row in rows if row["num_truth"]]
    key = "average_precision" if rows and "average_precision" in rows[0] else "recall"
    worst = sorted(known, key=lambda row: row[key])[:_WORST] if len(known) > _CLASSES else known
    shown = ", ".join(f"{row.get('name') or _name(row['class'], classes)} {_figures_of(row)}" for row in worst)
    rest = f"; the {len(worst)} worst of {len(known)}" if len(worst) < len(known) else ""
    empty = f"; {len(rows) - len(known)} without a sample" if len(known) < len(rows) else ""
    return f"{mode} classes: {shown}{rest}{empty}"


def _figures_of(row: Mapping[str, Any]) -> str:
    if "average_precision" in row:
        return f"AP {row['average_precision']:.3f} of {row['num_truth']}"
    precision = "-" if row["precision"] is None else f"{row['precision']:.3f}"
    return f"{row['num_right']}/{row['num_truth']} (recall {row['recall']:.3f}, precision {precision})"


def _name(k: int, classes: Classes) -> str:
    return f"{k} ({printable(classes.names[k])})" if classes.names and k < len(classes.names) else f"{k}"


def _cut(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
