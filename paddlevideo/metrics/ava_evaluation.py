"""AVA's files and detections against one another: ground truth, the evaluation, and why a figure may be 0 or NaN."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paddlevideo.ava_files import img_key, read_ava_csv, read_ava_labels, read_excluded, split_key
from paddlevideo.errors import UserError
from paddlevideo.metrics.frame_ap import (
    FrameBoxes,
    best_overlap,
    frame_average_precisions,
    group_means,
    join_keys,
    mean_precision,
    valid_boxes,
)

log = logging.getLogger("paddlevideo")
_FARTHEST = 1.0  # from the middle of the picture, in fractions of it
_MAX_DIAGNOSED = 200_000  # boxes that a diagnosis reads


@dataclass
class GroundTruth:
    """The true boxes, without excluded key frames and classes that do not count.

    Args:
        keys: names of the key frames (``"video,0902"``).
        rows: one per box and action; ``rows.key`` counts in ``keys``, boxes are 0 to 1.
        names: class id -> name, the classes that count.
        excluded: names of key frames that do not count.
        source: the file, for messages.
    """

    keys: list[str]
    rows: FrameBoxes
    names: dict[int, str]
    excluded: set[str] = field(default_factory=set)
    source: str = "ground truth"

    def without(self, keys: set[str]) -> GroundTruth:
        """The same without some key frames, which are excluded from now on."""
        keep = ~np.array([key in keys for key in self.keys], dtype=bool)[self.rows.key]
        return GroundTruth(self.keys, self.rows.take(keep), self.names, self.excluded | keys, self.source)

    def not_among(self, keys: Sequence[str]) -> list[str]:
        """Names of the key frames with boxes that are none of these."""
        known = set(keys)
        return [name for i in np.unique(self.rows.key).tolist() if (name := self.keys[i]) not in known]


def read_ground_truth(
    file_path: str | os.PathLike,
    label_file: str | os.PathLike | None = None,
    exclude_file: str | os.PathLike | None = None,
    custom_classes: Sequence[int] | None = None,
    num_classes: int | None = None,
) -> GroundTruth:
    """Reads AVA's files: boxes clipped to the picture, without those that have no area, and each line once.

    Args:
        file_path: csv of boxes and actions.
        label_file: names the classes that count; without it all do, under their numbers.
        exclude_file: csv of key frames that do not count.
        custom_classes: of the classes only these count.
        num_classes: with the reserved 0; the number of classes without a ``label_file``.

    Raises:
        UserError: a file is missing or damaged, or no class is left.
    """
    table = read_ava_csv(file_path)
    if label_file:
        names = read_ava_labels(label_file)
    elif custom_classes or num_classes:
        names = {k: str(k) for k in custom_classes or range(1, num_classes)}
    else:
        names = {k: str(k) for k in np.unique(table.label).tolist() if k > 0}
    if custom_classes:
        unknown = sorted(set(custom_classes) - names.keys() - {0})  # 0 is reserved, and no class
        names = {k: name for k, name in names.items() if k in set(custom_classes)}
        if unknown and names:
            raise UserError(f"{label_file or file_path}: custom classes {unknown} are not among its class ids")
    if not names:
        listed = f"custom classes {list(custom_classes)} are not among" if custom_classes else "no class in"
        raise UserError(f"{label_file or file_path}: {listed} its class ids, so there is nothing to evaluate")
    keys, key = table.keys()
    boxes = np.where(_far(table.boxes)[:, None], table.boxes, np.clip(table.boxes, 0, 1))  # far ones are in pixels
    counts = np.isin(table.label, list(names)) & (boxes[:, :2] != boxes[:, 2:]).all(axis=1)
    rows = _distinct(FrameBoxes(key.astype("int64"), boxes, table.label.astype("int64")).take(counts))
    if doubled := int(counts.sum()) - len(rows):
        log.warning("%s: %d lines repeat a box and its action; they count once", file_path, doubled)
    truth = GroundTruth(keys, rows, names, source=os.fspath(file_path))
    return truth.without({img_key(*pair) for pair in read_excluded(exclude_file)}) if exclude_file else truth


def _far(boxes: np.ndarray) -> np.ndarray:
    """bool [R]: no fractions of the picture."""
    return (np.abs(boxes - 0.5) > _FARTHEST).any(axis=1)


def _distinct(rows: FrameBoxes) -> FrameBoxes:
    """Each box of a key frame once per class, in the order of the file, as a data set has them."""
    columns = np.column_stack([rows.key, rows.class_id, rows.boxes])
    return rows.take(np.sort(np.unique(columns, axis=0, return_index=True)[1]))


def read_detections(path: str | os.PathLike, truth: GroundTruth) -> tuple[list[str], FrameBoxes]:
    """Names of key frames and the detections of a results csv (``--out``), ``key`` counting in those names.

    Raises:
        UserError: the file is missing or damaged.
    """
    table = read_ava_csv(path, scored=True)
    keys, key = table.keys()
    rows = FrameBoxes(key.astype("int64"), table.boxes, table.label.astype("int64"), table.score)
    keep = ~np.array([name in truth.excluded for name in keys], dtype=bool)
    return keys, rows.take(keep[rows.key]) if len(rows) else rows


@dataclass
class Evaluation:
    """The outcome.

    Args:
        figures: ``mAP@0.5IOU`` first, then, if the classes are AVA's, the means of its kinds of action; 0 to 1.
        classes: one mapping per class that counts: ``class``, ``name``, ``num_truth``, ``num_detections``,
            ``average_precision`` (0 to 1; NaN without ground truth).
    """

    figures: dict[str, float]
    classes: list[dict[str, Any]]


def evaluate_detections(
    keys: Sequence[str],
    detections_of: Callable[[int], FrameBoxes],
    truth: GroundTruth,
    iou_threshold: float = 0.5,
) -> Evaluation:
    """Frame-mAP of detections.

    Args:
        keys: names of the detections' key frames.
        detections_of: gives the detections of a class id, ``key`` counting in ``keys``; excluded frames left out.
    """
    of_truth, of_detections = join_keys(truth.keys, keys)
    rows = FrameBoxes(of_truth[truth.rows.key], truth.rows.boxes, truth.rows.class_id)
    counts: dict[int, int] = {}

    def joined(class_id: int) -> FrameBoxes:
        found = detections_of(class_id)
        counts[class_id] = len(found)
        return FrameBoxes(of_detections[found.key], found.boxes, found.class_id, found.score)

    precisions = frame_average_precisions(joined, rows, truth.names, iou_threshold)
    figures = {f"mAP@{iou_threshold:g}IOU": mean_precision(precisions.values())}
    figures.update(group_means(precisions, truth.names))
    totals = Counter(truth.rows.class_id.tolist())
    classes = [
        {
            "class": k,
            "name": name,
            "num_truth": totals[k],
            "num_detections": counts[k] if k in counts else len(detections_of(k)),  # without truth it has no AP
            "average_precision": precisions[k],
        }
        for k, name in truth.names.items()
    ]
    return Evaluation(figures, classes)


def score_csv(path: str | os.PathLike, truth: GroundTruth, iou_threshold: float = 0.5) -> tuple[Evaluation, list[str]]:
    """Evaluates a results csv; with what may be wrong: ``diagnose`` if the figure is 0 or NaN, else other videos.

    Raises:
        UserError: the file is missing or damaged.
    """
    keys, rows = read_detections(path, truth)
    evaluation = evaluate_detections(keys, rows.of_class, truth, iou_threshold)
    if next(iter(evaluation.figures.values())) > 0:
        return evaluation, [*_other_videos(keys, rows, truth), *_other_moments(keys, rows, truth)]
    return evaluation, diagnose(keys, rows, np.unique(rows.class_id), truth, iou_threshold)


def _other_videos(keys: Sequence[str], rows: FrameBoxes, truth: GroundTruth) -> list[str]:
    known = {split_key(name)[0] for name in (*truth.keys, *truth.excluded)}
    other = np.array([split_key(name)[0] not in known for name in keys], dtype=bool)
    count = int(other[rows.key].sum())
    if not count:
        return []
    names = sorted({split_key(name)[0] for name, is_other in zip(keys, other) if is_other})
    shown = f"{names[0]!r}; the ground truth has e.g. {sorted(known)[0]!r}"
    return [f"{count} of {len(rows)} detections are of {len(names)} videos that are not in it, e.g. {shown}"]


def _other_moments(keys: Sequence[str], rows: FrameBoxes, truth: GroundTruth) -> list[str]:
    """What counts as wrong since only one side has the key frame: of videos that both have, and videos without any."""
    moments, detected = set(truth.keys), {split_key(keys[i])[0] for i in np.unique(rows.key).tolist()}
    annotated = {split_key(truth.keys[i])[0] for i in np.unique(truth.rows.key).tolist()}
    other = np.array([key not in moments and split_key(key)[0] in annotated for key in keys], dtype=bool)
    found = rows.key[other[rows.key]]
    lines = []
    if len(found):
        first = keys[found[0]]
        lines.append(
            f"{len(found)} of {len(rows)} detections are at moments that are not annotated, e.g. {first!r}, and count "
            "as false ones; detect --proposals takes the moments of an annotation"
        )
    if without := sorted(annotated - detected):
        lines.append(f"{len(without)} of {len(annotated)} annotated videos have no detection, e.g. {without[0]!r}")
    return lines


def format_classes(classes: Sequence[dict[str, Any]]) -> str:
    """``Evaluation.classes`` as aligned text, the highest precision first, classes without ground truth last."""
    width = max((len(row["name"]) for row in classes), default=4)
    lines = [f"{'class':>5} {'name':<{width}} {'truth':>7} {'found':>8} {'AP':>7}"]
    for row in by_precision(classes):
        value = row["average_precision"]
        shown = "-" if np.isnan(value) else f"{value:.4f}"
        counts = f"{row['num_truth']:>7} {row['num_detections']:>8} {shown:>7}"
        lines.append(f"{row['class']:>5} {row['name']:<{width}} {counts}")
    return "\n".join(lines)


def by_precision(classes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The highest average precision first, classes without ground truth last."""
    return sorted(classes, key=lambda row: (np.isnan(row["average_precision"]), -row["average_precision"]))


def diagnose(
    keys: Sequence[str],
    boxes: FrameBoxes,
    classes: Sequence[int] | np.ndarray,
    truth: GroundTruth,
    iou_threshold: float = 0.5,
) -> list[str]:
    """Why the figure may be 0 or NaN: a sentence per cause, the most basic first; empty if none is found.

    Args:
        keys: names of the key frames of ``boxes``.
        boxes: where something was detected or proposed, of any class; the first 200 000 are read.
        classes: class ids that were detected.
    """
    if not len(truth.rows):
        why = f"; {len(truth.excluded)} key frames are excluded" if truth.excluded else ""
        return [f"{truth.source}: no box of a class that counts (ids {_ids(truth.names)}) is in it{why}"]
    if not len(boxes):
        return ["nothing was detected: the results are empty, or every score is below the threshold"]
    boxes = boxes.take(slice(0, _MAX_DIAGNOSED))
    problems = _about_boxes("detected", boxes.boxes) + _about_boxes("true", truth.rows.boxes)
    present = np.unique(truth.rows.class_id)
    if not np.isin(classes, present).any():
        problems.append(
            f"no detected class (ids {_ids(classes)}) is one of the ground truth's (ids {_ids(present)}); class ids "
            "count from 1, column 0 of the scores is reserved"
        )
    of_truth, of_boxes = join_keys(truth.keys, keys)
    there, here = of_truth[truth.rows.key], of_boxes[boxes.key]
    if not np.isin(here, there).any():
        return [*problems, _about_keys([keys[i] for i in np.unique(boxes.key)],
                                       [truth.keys[i] for i in np.unique(truth.rows.key)])]  # fmt: skip
    iou, _ = best_overlap(here, boxes.boxes, there, truth.rows.boxes)
    if iou.max() < iou_threshold:
        turned, _ = best_overlap(here, boxes.boxes[:, [1, 0, 3, 2]], there, truth.rows.boxes)
        hint = "; with x and y exchanged they would" if turned.max() >= iou_threshold else ""
        problems.append(
            f"no detected box matches a true one of its key frame: the best IoU is {iou.max():.2f}, "
            f"{iou_threshold:g} is needed{hint}"
        )
    elif not problems:
        share = (iou >= iou_threshold).mean()
        problems.append(
            f"{100 * share:.1f} % of the boxes match a true one, none with the right class: is the network trained, "
            "and do its class ids mean the same as the label file's?"
        )
    return problems


def _ids(classes: Any) -> str:
    ids = sorted({int(k) for k in classes})
    if len(ids) > 8:
        return f"{', '.join(map(str, ids[:4]))}, ... {ids[-1]}"
    return ", ".join(map(str, ids)) or "none"


def _about_boxes(which: str, boxes: np.ndarray) -> list[str]:
    problems = []
    if boxes.max() > 1.5:
        problems.append(
            f"{which} boxes reach up to {boxes.max():g}: they look like pixels, expected are fractions of the picture "
            "(x / width, y / height)"
        )
    bad = int((~valid_boxes(boxes)).sum())
    if bad:
        example = ", ".join(f"{v:.3f}" for v in boxes[~valid_boxes(boxes)][0])
        problems.append(
            f"{bad} of {len(boxes)} {which} boxes are turned round or empty, as ({example}): expected x1 < x2, y1 < y2;"
            " are they x, y, width, height?"
        )
    return problems


def _about_keys(here: Sequence[str], there: Sequence[str]) -> str:
    """How the names of two sets of key frames differ."""
    ours, theirs = _seconds(here), _seconds(there)
    both = sorted(ours.keys() & theirs.keys())
    shown = f"{here[0]!r} here, {there[0]!r} there"
    if not both:
        bare = {_stem(video) for video in theirs} & {_stem(video) for video in ours}
        hint = "; without folder and ending they would be the same" if bare else ""
        return f"no video of the detections is in the ground truth: {shown}{hint}"
    shifts = Counter(
        round(float(theirs[v][0] - ours[v][0]), 3) for v in both
    )  # first key frame against first key frame
    ((shift, count),) = shifts.most_common(1)
    hint = ""
    if count * 2 > len(both):
        hint = f"; the ground truth's first second is {shift:+g} s from the detections': see timestamp_start, fps"
    return f"no second of the detections is one of the ground truth's, though videos are the same: {shown}{hint}"


def _seconds(keys: Sequence[str]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {}
    for key in keys:
        video, second = split_key(key)
        seconds.setdefault(video, []).append(second)
    return {video: sorted(values) for video, values in seconds.items()}


def _stem(video: str) -> str:
    return os.path.splitext(os.path.basename(video))[0]
