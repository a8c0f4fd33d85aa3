"""Average precision of boxes on key frames (frame-mAP), as pure functions.

Boxes are x1, y1, x2, y2; all in one unit.  Everything is columns: a million boxes are a few arrays, and the work on
pairs of boxes is done piece by piece, so that memory does not grow with a crowd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paddlevideo.boxes import paired_iou

# AVA's kinds of action: name -> class ids, both ends included; and how some of its classes' names begin
GROUPS = {"person_movement": (1, 14), "object_manipulation": (15, 63), "person_interaction": (64, 80)}
_AVA_WORDS = {1: "bend", 11: "sit", 12: "stand", 14: "walk", 17: "carry", 59: "touch", 79: "talk", 80: "watch"}
_PAIRS = 1 << 20  # pairs of boxes that are compared at a time


@dataclass
class FrameBoxes:
    """Boxes on key frames, one row each.

    Args:
        key: int64 [R], number of the key frame.
        boxes: float64 [R, 4].
        class_id: int64 [R].
        score: float64 [R]; None for ground truth.
    """

    key: np.ndarray
    boxes: np.ndarray
    class_id: np.ndarray
    score: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.key)

    def take(self, rows: np.ndarray) -> FrameBoxes:
        """Some rows, by number or by a mask."""
        score = None if self.score is None else self.score[rows]
        return FrameBoxes(self.key[rows], self.boxes[rows], self.class_id[rows], score)

    def of_class(self, class_id: int) -> FrameBoxes:
        """The rows of one class, in order."""
        order, ids = self._by_class
        return self.take(order[np.searchsorted(ids, class_id, "left") : np.searchsorted(ids, class_id, "right")])

    @cached_property
    def _by_class(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.class_id, kind="stable")
        return order, self.class_id[order]


def three_decimals(values: np.ndarray) -> np.ndarray:
    """float32 values as they would come back from a csv with three decimals: float64, the very same numbers."""
    # a float32 times 1000 is exact in float64, so this rounds where "%.3f" does
    return np.rint(np.asarray(values, dtype="float32").astype("float64") * 1000.0) / 1000.0


def valid_boxes(boxes: np.ndarray) -> np.ndarray:
    """bool [R]: x1 < x2 and y1 < y2."""
    return (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])


def best_overlap(
    key: np.ndarray, boxes: np.ndarray, other_key: np.ndarray, other_boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For every box the box of the same key frame that it overlaps most, the first of equals.

    Args:
        key: int [R], of ``boxes`` [R, 4].
        other_key: int [G], of ``other_boxes`` [G, 4].

    Returns:
        IoU float64 [R], 0 to 1, and row of ``other_boxes`` int64 [R]; 0 and -1 where the key frame has none.
    """
    iou, row = np.zeros(len(key)), np.full(len(key), -1, dtype="int64")
    order = np.argsort(other_key, kind="stable")
    sorted_key = other_key[order]
    begin = np.searchsorted(sorted_key, key, "left")
    count = np.searchsorted(sorted_key, key, "right") - begin
    matched = np.flatnonzero(count)
    ends = np.cumsum(count[matched])
    start = 0
    while start < len(matched):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS, "right")))
        part = matched[start:stop]
        # pairs: box i of the part with each of its count[i] partners, one after the other
        first = ends[start:stop] - count[part] - done
        query = np.repeat(np.arange(len(part)), count[part])
        partner = order[begin[part][query] + np.arange(len(query)) - first[query]]
        pair_iou = paired_iou(boxes[part[query]], other_boxes[partner])
        best = np.maximum.reduceat(pair_iou, first)
        hits = np.flatnonzero(pair_iou == best[query])
        hits = hits[np.diff(query[hits], prepend=-1) > 0]
        iou[part], row[part] = best, partner[hits]
        start = stop
    return iou, row


def hits_by_score(detections: FrameBoxes, truth: FrameBoxes, iou_threshold: float = 0.5) -> np.ndarray:
    """bool [R]: is the detection right, the highest score first?  Both sides are of one class.

    A detection claims the one true box that it overlaps most and is right if that overlap is large enough and no
    higher detection of its frame has claimed the box before; there is no second best.  Invalid boxes
    (x1 >= x2 or y1 >= y2) are dropped, so there may be fewer values than detections.
    """
    found = detections.take(valid_boxes(detections.boxes))
    # within a frame the first of equal scores comes first
    found = found.take(np.argsort(-found.score, kind="stable"))
    iou, row = best_overlap(found.key, found.boxes, truth.key, truth.boxes)
    claims = np.flatnonzero((iou >= iou_threshold) & (row >= 0))
    _, first = np.unique(row[claims], return_index=True)
    right = np.zeros(len(found), dtype=bool)
    right[claims[first]] = True
    return right


def envelope_precision(right: np.ndarray, num_truth: int) -> float:
    """Area below the monotone envelope of precision over recall, 0 to 1; NaN without ground truth.

    Args:
        right: bool [R], the highest score first.
        num_truth: how many true boxes there are.

    Source: PASCAL VOC 2010, all points.
    """
    if not num_truth:
        return float("nan")
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(right) + 1))[::-1])[::-1]
    return float((np.diff(hits / num_truth, prepend=0.0) * precision).sum())


def frame_average_precisions(
    detections_of: Callable[[int], FrameBoxes], truth: FrameBoxes, classes: Iterable[int], iou_threshold: float = 0.5
) -> dict[int, float]:
    """Average precision of each class, 0 to 1: 0 for a class that is never detected, NaN for one without ground truth.

    Args:
        detections_of: gives the detections of a class, in the order in which frames and boxes were seen.
        truth: of all classes; no frame and no class of it is left out, so drop first what shall not count.
        classes: ids of the classes that count.

    Source: MMAction2 ``ava_eval`` (TensorFlow's object detection evaluator).  Where scores of different frames tie, its
    order is an accident of its sort; here the frame that was seen first comes first.
    """
    values = {}
    for class_id in classes:
        own = truth.of_class(class_id)
        right = hits_by_score(detections_of(class_id), own, iou_threshold) if len(own) else np.zeros(0, bool)
        values[class_id] = envelope_precision(right, len(own))
    return values


def mean_precision(precisions: Iterable[float]) -> float:
    """Mean of those that are numbers; NaN if none is."""
    values = np.array(list(precisions), dtype="float64")
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def group_means(precisions: Mapping[int, float], names: Mapping[int, str]) -> dict[str, float]:
    """The mean over each of ``GROUPS`` that has a class with ground truth; nothing if the names are not AVA's."""
    if not any(names.get(class_id, "").startswith(word) for class_id, word in _AVA_WORDS.items()):
        return {}
    means = {
        name: mean_precision(value for class_id, value in precisions.items() if low <= class_id <= high)
        for name, (low, high) in GROUPS.items()
    }
    return {name: value for name, value in means.items() if not np.isnan(value)}


def join_keys(*names: Sequence[str]) -> list[np.ndarray]:
    """Equal key frames get equal numbers over several lists of names: int64 [n] for each list."""
    numbers: dict[str, int] = {}
    return [np.array([numbers.setdefault(name, len(numbers)) for name in each], dtype="int64") for each in names]
