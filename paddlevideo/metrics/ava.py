"""AVA's metric: mean average precision of boxes on key frames; and how far proposals cover the people."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.ava_files import AVARows, split_key, write_ava_csv
from paddlevideo.errors import UserError
from paddlevideo.metrics.ava_evaluation import (
    Evaluation,
    GroundTruth,
    diagnose,
    evaluate_detections,
    read_ground_truth,
)
from paddlevideo.metrics.base import Metric
from paddlevideo.metrics.frame_ap import GROUPS, FrameBoxes, best_overlap, join_keys, three_decimals
from paddlevideo.ranges import PositiveInt, Probability
from paddlevideo.registry import METRICS
from paddlevideo.safe_io import write_atomic

log = logging.getLogger("paddlevideo")

_THRESHOLD = 0.002
_PREDICTION_COLUMNS = (
    *("video_id", "second", "x1", "y1", "x2", "y2"),
    *("label", "label_name", "predicted", "predicted_name", "score"),
)


@METRICS.register
class AVAMetric(Metric):
    """Frame-mAP at an IoU of 0.5 over the classes of the label file.

    What is left out comes from the data set (``use_dataset``).  Results are kept by data set index: a key frame that
    comes twice counts once.  Coordinates and scores count with three decimals, as in a results csv, so that such a file
    gives the same figure again.  An unreadable key frame (``batch["valid"] == 0``) has no detections.  If only a part
    of the data set was evaluated, the ground truth of the rest does not count.

    Args:
        file_path: csv of the ground truth.
        label_file: names the classes that count.
        exclude_file: csv of key frames that do not count.
        custom_classes: class ids of the scores' columns 1, 2, ...; an int is the number of columns, as PaddleVideo's
            files have it, and column i is class i.
        iou_threshold: overlap from which a detection matches a true box, above 0, at most 1.
        score_threshold: a class is detected where its score is above; a list: one per column, with the reserved 0;
            negative: only the highest class of each box is.  None: the network's ``action_thr``, else 0.002.

    Source: PaddleVideo ``AVAMetric``, MMAction2 ``AVADataset.evaluate``.
    """

    result_suffixes = (".csv",)
    eval_names = ("mAP",)

    def __init__(
        self,
        file_path: str | None = None,
        label_file: str | None = None,
        exclude_file: str | None = None,
        custom_classes: PositiveInt | list[int] | None = None,
        iou_threshold: Probability = 0.5,
        score_threshold: float | list[float] | None = None,
    ):
        if not 0 < iou_threshold <= 1:
            raise ValueError(f"iou_threshold: expected above 0, at most 1, got {iou_threshold!r}")
        given = [] if custom_classes is None or isinstance(custom_classes, int) else list(custom_classes)
        if any(not isinstance(k, int) or k < 1 for k in given) or len(set(given)) < len(given):
            raise ValueError(f"custom_classes: different ids from 1 on are expected (0 is reserved), got {given}")
        self.file_path, self.label_file, self.exclude_file = file_path, label_file, exclude_file
        self.custom_classes: list[int] | None = given or None
        self.num_columns = custom_classes if isinstance(custom_classes, int) else None
        self.iou_threshold, self._own_threshold = iou_threshold, score_threshold
        self.score_threshold = _THRESHOLD if score_threshold is None else score_threshold
        self.primary = f"mAP@{iou_threshold:g}IOU"
        self.truth: GroundTruth | None = None
        self.evaluation: Evaluation | None = None
        self._keys: list[str] = []
        self._boxes: dict[int, np.ndarray] = {}
        self._scores: dict[int, np.ndarray] = {}
        self._unreadable: set[int] = set()

    def figure_names(self, several_labels: bool | None) -> Sequence[str]:
        """AVA's kinds of action among them, which only its own classes have."""
        return (self.primary, *GROUPS)

    def use_dataset(self, dataset: Any) -> None:
        """Takes the key frames' names from ``dataset.records``, and its files where this metric has none of its own.

        Raises:
            UserError: there is no ground truth, a file of it is missing or damaged, or the class lists differ.
        """
        if not dataset.has_boxes:
            raise UserError("METRIC: AVAMetric needs a data set with key frames; DATASET.format: AVADataset is one")
        found = dataset.annotation()
        classes = found.get("custom_classes")
        if self.custom_classes and classes and self.custom_classes != list(classes):
            raise UserError(
                f"METRIC.custom_classes: {self.custom_classes} differ from the data set's {list(classes)}; "
                "leave METRIC's out"
            )
        self.custom_classes = self.custom_classes or classes
        self.file_path = self.file_path or found.get("file_path")
        self.label_file = self.label_file or found.get("label_file")
        self.exclude_file = self.exclude_file or found.get("exclude_file")
        if not self.file_path:
            raise UserError("METRIC.file_path: the csv with the ground truth is missing, and the data set names none")
        self._keys = [str(record["img_key"]) for record in dataset.records]
        columns = self.num_columns or dataset.num_classes
        truth = read_ground_truth(self.file_path, self.label_file, self.exclude_file, self.custom_classes, columns)
        self.truth = truth.without(missing) if (missing := found.get("missing")) else truth
        if lost := self.truth.not_among(self._keys):
            log.warning(
                "%s: %d key frames with boxes are not in the data set (%s), and all they hold counts as missed; the "
                "first: %s", self.file_path, len(lost), found.get("file_path"), lost[0],
            )  # fmt: skip

    def use_framework(self, framework: Any) -> None:
        """Takes the network's ``action_thr`` where this metric has no threshold of its own."""
        if self._own_threshold is None:
            self.score_threshold = _THRESHOLD if framework.action_thr is None else framework.action_thr

    def update(self, index: np.ndarray, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        """Takes one batch.

        Args:
            index: int64 [N], place in the data set.
            outputs: ``scores`` float32 [R, K], 0 to 1; column 0 is reserved.
            batch: ``boxes_norm`` float32 [R, 4], ``boxes_num`` int [N]; ``valid`` [N], 1 where it is missing.

        Raises:
            UserError: the batch has no boxes, or the scores' columns are not the classes.
        """
        if "boxes_norm" not in batch or "boxes_num" not in batch:
            raise UserError("METRIC: AVAMetric measures boxes, and this data set gives none; use AVADataset")
        scores = np.asarray(outputs["scores"], dtype="float32")
        boxes = np.asarray(batch["boxes_norm"], dtype="float32").reshape(-1, 4)
        counts = np.asarray(batch["boxes_num"]).astype("int64").reshape(-1)
        if not len(scores) == len(boxes) == counts.sum():
            raise ValueError(f"{len(scores)} rows of scores, {len(boxes)} boxes, {counts.sum()} announced")
        self._check_columns(scores.shape[1])
        valid = np.asarray(batch.get("valid", np.ones(len(counts))))
        stops = np.cumsum(counts)
        for i, start, stop, readable in zip(np.asarray(index).tolist(), stops - counts, stops, valid):
            if i in self._scores:
                continue
            self._boxes[i] = boxes[start:stop].copy()
            self._scores[i] = scores[start:stop].copy() if readable else np.full_like(scores[start:stop], np.nan)
            if not readable:
                self._unreadable.add(i)

    def _check_columns(self, width: int) -> None:
        if self.custom_classes:
            expected = len(self.custom_classes) + 1
            if width != expected:
                raise UserError(
                    f"METRIC.custom_classes: {expected - 1} classes, so {expected} columns of scores are expected with "
                    f"the reserved 0, the network gives {width}; set MODEL's num_classes to {expected}"
                )
        elif self.num_columns and width != self.num_columns:
            raise UserError(f"METRIC.custom_classes: {self.num_columns} columns of scores are expected, not {width}")
        elif self.truth is not None and max(self.truth.names) >= width:
            raise UserError(
                f"{self.label_file or self.file_path}: class {max(self.truth.names)} counts, the network scores "
                f"1 to {width - 1}; set MODEL's num_classes, or name the columns by custom_classes"
            )
        if isinstance(self.score_threshold, Sequence) and len(self.score_threshold) != width:
            raise UserError(
                f"METRIC.score_threshold: {len(self.score_threshold)} values, the network gives {width} columns"
            )

    def state(self) -> dict[str, np.ndarray]:
        """The content, by data set index: ``index`` [N], ``boxes_num`` [N], ``boxes_norm`` [R, 4], ``scores``
        [R, K], ``valid`` [N]."""
        index = sorted(self._scores)
        empty_boxes, empty_scores = np.zeros((0, 4), "float32"), np.zeros((0, 1), "float32")
        return {
            "index": np.array(index, dtype="int64"),
            "boxes_num": np.array([len(self._boxes[i]) for i in index], dtype="int32"),
            "boxes_norm": np.concatenate([self._boxes[i] for i in index]) if index else empty_boxes,
            "scores": np.concatenate([self._scores[i] for i in index]) if index else empty_scores,
            "valid": np.array([i not in self._unreadable for i in index], dtype="uint8"),
        }

    def merge(self, states: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Replaces the content by all ranks' states together, this one's own among them."""
        self._boxes, self._scores, self._unreadable = {}, {}, set()
        for state in states:
            if len(state["index"]):
                self.update(state["index"], state, state)

    @property
    def num_taken(self) -> int:
        """How many key frames were evaluated."""
        return len(self._scores)

    def compute(self) -> dict[str, float]:
        """``mAP@0.5IOU``, the means of AVA's kinds of action if the classes are AVA's, 0 to 1; ``num_samples`` (key
        frames), ``num_boxes``, ``num_unreadable``.  A figure of 0 or NaN comes with a warning on what may be wrong.

        Raises:
            UserError: there is no key frame.
        """
        if self.truth is None:
            raise UserError("METRIC: AVAMetric needs a data set with key frames; DATASET.format: AVADataset is one")
        if not self._scores:
            raise UserError("METRIC: no key frame was evaluated; check the annotation file of this split")
        truth = self._truth_of_evaluated()
        table = _Table(self.state(), self._keys, self.score_threshold, self.custom_classes)
        table.leave_out(truth.excluded)
        self.evaluation = evaluate_detections(table.keys, table.of_class, truth, self.iou_threshold)
        if not self.evaluation.figures[self.primary] > 0:
            found = [k for k in truth.names if len(table.of_class(k))]
            for problem in diagnose(table.keys, table.boxes(), found, truth, self.iou_threshold):
                log.warning("%s is %g: %s", self.primary, self.evaluation.figures[self.primary], problem)
        counts = {
            "num_samples": len(self._scores),
            "num_boxes": sum(map(len, self._boxes.values())),
            "num_unreadable": len(self._unreadable),
        }
        return {**self.evaluation.figures, **counts}

    def _truth_of_evaluated(self) -> GroundTruth:
        rest = {key for i, key in enumerate(self._keys) if i not in self._scores}
        if not rest:
            return self.truth
        log.warning("%d of %d key frames were evaluated; the others do not count", len(self._scores), len(self._keys))
        return self.truth.without(rest)

    def per_class(self) -> list[dict[str, Any]]:
        """A row per class, after ``compute``: ``class``, ``name``, ``num_truth``, ``num_detections``,
        ``average_precision``."""
        return self.evaluation.classes if self.evaluation else []

    def details(self) -> dict[str, float]:
        """``PerformanceByCategory/AP@0.5IOU/<name>``, 0 to 1, after ``compute``; NaN without ground truth."""
        prefix = f"PerformanceByCategory/AP@{self.iou_threshold:g}IOU/"
        return {prefix + row["name"]: row["average_precision"] for row in self.per_class()}

    def write_results(self, path: str | Path) -> None:
        """The detections as AVA's csv: video_id, second, x1, y1, x2, y2, action_id, score."""
        table = _Table(self.state(), self._keys, self.score_threshold, self.custom_classes)
        write_ava_csv(path, table.detections())

    def write_predictions(self, path: str | Path, names: Sequence[str] | None = None) -> None:
        """A readable csv, one line per box: its highest class, and the classes of the true box that it matches."""
        table = _Table(self.state(), self._keys, self.score_threshold, self.custom_classes)
        stream = io.StringIO()
        out = csv.writer(stream)
        out.writerow(_PREDICTION_COLUMNS)
        titles, labels = self.truth.names, table.labels(self.truth, self.iou_threshold)
        best = table.scores[:, 1:].argmax(axis=1) + 1
        for row, (box, label) in enumerate(zip(table.boxes_norm, labels)):
            video, second = split_key(table.keys[table.key[row]])
            named = "; ".join(titles[k] for k in label)
            score, k = table.scores[row, best[row]], table.class_of(best[row])
            predicted = ["unreadable", "", ""] if np.isnan(score) else [k, titles.get(k, ""), f"{score:.6g}"]
            out.writerow([video, second, *(f"{v:.3f}" for v in box), ";".join(map(str, label)), named, *predicted])
        write_atomic(path, stream.getvalue())


class _Table:
    """A metric's state as columns.

    ``keys`` are names of key frames; ``key`` int64 [R] counts in them, ``boxes_norm`` float64 [R, 4] is 0 to 1 with
    three decimals, ``scores`` float32 [R, K].
    """

    def __init__(
        self,
        state: Mapping[str, np.ndarray],
        keys: Sequence[str],
        threshold: float | Sequence[float],
        custom_classes: Sequence[int] | None,
    ):
        self.keys = [keys[i] for i in state["index"].tolist()]
        self.key = np.repeat(np.arange(len(self.keys)), state["boxes_num"])
        self.boxes_norm, self.scores = three_decimals(state["boxes_norm"]), state["scores"]
        self.threshold, self.custom_classes = threshold, custom_classes

    def class_of(self, column: int) -> int:
        """The class id of a column of the scores."""
        return int(self.custom_classes[column - 1] if self.custom_classes else column)

    def leave_out(self, excluded: set[str]) -> None:
        """Drops the boxes of key frames that do not count."""
        keep = ~np.array([name in excluded for name in self.keys], dtype=bool)[self.key]
        self.key, self.boxes_norm, self.scores = self.key[keep], self.boxes_norm[keep], self.scores[keep]

    def boxes(self) -> FrameBoxes:
        """Every box once, of no class."""
        return FrameBoxes(self.key, self.boxes_norm, np.zeros(len(self.key), "int64"))

    def _detected(self, column: int) -> np.ndarray:
        """Rows, int64, in which the class of a column is detected."""
        threshold = self.threshold[column] if isinstance(self.threshold, Sequence) else self.threshold
        own = self.scores[:, column]
        if threshold < 0:
            return np.flatnonzero((self.scores[:, 1:].argmax(axis=1) + 1 == column) & ~np.isnan(own))
        return np.flatnonzero(own > threshold)

    def of_class(self, class_id: int) -> FrameBoxes:
        """The detections of a class."""
        columns = (0, *self.custom_classes) if self.custom_classes else range(self.scores.shape[1])
        column = columns.index(class_id) if class_id in columns else self.scores.shape[1]
        rows = self._detected(column) if column < self.scores.shape[1] else np.zeros(0, "int64")
        score = three_decimals(self.scores[rows, column] if len(rows) else [])
        return FrameBoxes(self.key[rows], self.boxes_norm[rows], np.full(len(rows), class_id), score)

    def detections(self) -> AVARows:
        """All detections, by key frame, class and box, as the references write them."""
        columns = range(1, self.scores.shape[1])
        found = [self._detected(column) for column in columns]
        rows = np.concatenate([*found, np.zeros(0, "int64")]).astype("int64")
        column = np.repeat(np.array(columns, dtype="int64"), [len(each) for each in found])
        order = np.lexsort((rows, column, self.key[rows]))
        rows, column = rows[order], column[order]
        pairs = [split_key(name) for name in self.keys]
        videos = list(dict.fromkeys(video for video, _ in pairs))
        place = {video: i for i, video in enumerate(videos)}
        key = self.key[rows]
        return AVARows(
            "",
            videos,
            np.array([place[video] for video, _ in pairs], dtype="int32")[key],
            np.array([second for _, second in pairs], dtype="float64")[key],
            self.boxes_norm[rows],
            np.array([self.class_of(k) if k else 0 for k in range(self.scores.shape[1])], dtype="int32")[column],
            score=three_decimals(self.scores[rows, column]),
        )

    def labels(self, truth: GroundTruth, iou_threshold: float) -> list[list[int]]:
        """For each box the class ids of the true person that it overlaps most, if enough."""
        of_truth, here = join_keys(truth.keys, self.keys)
        there, boxes = of_truth[truth.rows.key], truth.rows.boxes
        iou, row = best_overlap(here[self.key], self.boxes_norm, there, boxes)
        persons, person = np.unique(np.column_stack([there, boxes]), axis=0, return_inverse=True)
        person, actions = person.reshape(-1), [[] for _ in persons]
        for who, class_id in zip(person.tolist(), truth.rows.class_id.tolist()):
            actions[who].append(class_id)
        return [actions[person[r]] if r >= 0 and v >= iou_threshold else [] for v, r in zip(iou, row)]


@dataclass
class Recall:
    """How far proposals cover the people.

    Args:
        recall: share of the true boxes that have a proposal with enough overlap, 0 to 1; NaN without a true box.
        missed: rows of the ground truth that have none.
        iou: float64 [G], best overlap of every true box, 0 to 1.
    """

    recall: float
    missed: np.ndarray
    iou: np.ndarray


def proposal_recall(
    proposals: Mapping[str, np.ndarray], keys: Sequence[str], boxes: np.ndarray, iou_threshold: float = 0.5
) -> Recall:
    """Which true boxes the proposals cover.  A person with several actions should be in ``boxes`` once.

    Args:
        proposals: float [n, 4 or more] by key frame (``"video,0902"``).
        keys: key frame of every true box, G names.
        boxes: [G, 4], in the proposals' unit.
    """
    names = list(proposals)
    counts = [len(proposals[name]) for name in names]
    of_proposal, of_truth = join_keys(names, keys)
    tables = [np.asarray(proposals[name], dtype="float64")[:, :4] for name, count in zip(names, counts) if count]
    table = np.concatenate(tables) if tables else np.zeros((0, 4))
    iou, _ = best_overlap(of_truth, np.asarray(boxes, dtype="float64"), np.repeat(of_proposal, counts), table)
    matched = iou >= iou_threshold
    return Recall(float(matched.mean()) if len(matched) else float("nan"), np.flatnonzero(~matched), iou)
