"""The persons of AVA-style data: annotated, detected, and the number of persons per action."""

from __future__ import annotations

import logging
import zlib
from typing import Any

import numpy as np

from paddlevideo.ava_files import AVARows
from paddlevideo.errors import UserError

log = logging.getLogger("paddlevideo")

FAR = 0.5  # a coordinate this far outside 0 .. 1 is not a fraction of the picture


class PersonTable:
    """Annotated persons by key frame, in flat arrays: AVA's training list has 200,000 key frames.

    Args:
        rows: the csv.
        classes: int [M], the class of every line: -1 leaves the line out, 0 is a person without an action.
        num_classes: K.
    """

    def __init__(self, rows: AVARows, classes: np.ndarray, num_classes: int):
        self.num_classes = num_classes
        kept = np.flatnonzero(classes >= 0)
        names, group = rows.keys()
        boxes, group = rows.boxes[kept].astype(np.float32), group[kept]
        # lines of one key frame with equal boxes are one person; persons are in the order of their first lines
        order = np.lexsort((kept, *boxes.T[::-1], group))
        new = np.ones(len(order), bool)
        sorted_boxes, sorted_group = boxes[order], group[order]
        new[1:] = (sorted_group[1:] != sorted_group[:-1]) | (sorted_boxes[1:] != sorted_boxes[:-1]).any(axis=1)
        person_of_line = np.empty(len(order), np.int64)
        person_of_line[order] = np.cumsum(new) - 1
        first = order[new]
        by_line = np.lexsort((first, group[first]))
        place = np.empty(len(first), np.int64)
        place[by_line] = np.arange(len(first))
        first = first[by_line]
        self._boxes = boxes[first]  # [persons, 4]
        person = place[person_of_line]
        pairs = np.unique(np.stack([person, classes[kept]], axis=1), axis=0) if len(kept) else np.zeros((0, 2), int)
        self._person, self._class = pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32)
        self._first_pair = np.searchsorted(pairs[:, 0], np.arange(len(first) + 1))  # of each person
        present, starts = np.unique(group[first], return_index=True)
        ends = np.append(starts[1:], len(first))
        lines = rows.line[kept[first[starts]]] if len(kept) else []
        by_first_line = np.argsort(lines, kind="stable")
        self._lines = {names[present[i]]: int(lines[i]) for i in by_first_line}
        self._spans = {names[present[i]]: (int(starts[i]), int(ends[i])) for i in by_first_line}

    def first_lines(self) -> list[tuple[str, int]]:
        """Key frames and the number of their first line, in its order."""
        return list(self._lines.items())

    def of(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float32 [G, 4] and labels 0/1 float32 [G, K]."""
        begin, end = self._spans.get(key, (0, 0))
        labels = np.zeros((end - begin, self.num_classes), np.float32)
        low, high = self._first_pair[begin], self._first_pair[end]
        labels[self._person[low:high] - begin, self._class[low:high]] = 1
        labels[:, 0] = 0
        return self._boxes[begin:end].copy(), labels

    def digest(self, key: str) -> int:
        """A number that changes when the boxes or the actions of a key frame do."""
        begin, end = self._spans.get(key, (0, 0))
        low, high = self._first_pair[begin], self._first_pair[end]
        pairs = np.stack([self._person[low:high] - begin, self._class[low:high]])
        return zlib.crc32(pairs.tobytes(), zlib.crc32(self._boxes[begin:end].tobytes()))

    def classes_of(self, key: str) -> list[int]:
        """The classes of a key frame's persons, each once; 0 where one does nothing."""
        low, high = self._first_pair[list(self._spans.get(key, (0, 0)))]
        return np.unique(self._class[low:high]).tolist()

    def class_counts(self) -> np.ndarray:
        """Persons per class, int64 [K]."""
        return np.bincount(self._class, minlength=self.num_classes)


def class_weights(counts: np.ndarray, power: float = 0.5) -> np.ndarray:
    """Weights of the classes for a loss: ~ 1 / counts ** power, mean 1 over the classes there are; 0 for the others.

    Args:
        counts: int [K], of ``AVADataset.class_counts``; column 0 is not a class.
        power: 0: all alike, 1: as if every class were equally frequent.

    Returns:
        float32 [K].
    """
    weights = np.where(counts > 0, 1.0 / np.maximum(counts, 1) ** power, 0.0)
    weights[0] = 0
    return (weights / max(weights[weights > 0].mean(), 1e-12) if weights.any() else weights).astype(np.float32)


def select_persons(source: str, persons: dict[str, np.ndarray], threshold: float, most: int) -> dict[str, np.ndarray]:
    """Of each key frame the boxes with a score of at least ``threshold``, or of its best if that is less.

    Args:
        source: the file, for messages.
        persons: float32 [n, 4 or 5] by key; without scores all are taken, with score 1.  No boxes: none.
        most: ... and of these the first so many.

    Returns:
        float32 [P, 5] by key, within the picture.

    Raises:
        UserError: boxes in pixels.
    """
    if not persons:
        return {}
    keys, arrays = list(persons), list(persons.values())
    arrays = [a if a.shape[1] == 5 else np.concatenate([a, np.ones((len(a), 1), np.float32)], axis=1) for a in arrays]
    ends = np.cumsum([len(a) for a in arrays])
    table = np.concatenate(arrays)

    def name(i: int) -> str:
        return keys[int(np.searchsorted(ends, i, side="right"))]

    far = (np.abs(table[:, :4] - 0.5) > 0.5 + FAR).any(axis=1)
    if far.any():
        box, where = ", ".join(f"{x:g}" for x in table[np.argmax(far), :4]), name(int(np.argmax(far)))
        raise UserError(
            f"{source}: {far.sum()} boxes are not in fractions of the picture (0..1), the first is {box} of {where!r}; "
            "are they in pixels? Divide x by the width and y by the height"
        )
    table[:, :4] = clipped(table[:, :4], source, name)
    chosen = {}
    for key, end, array in zip(keys, ends, arrays):
        boxes = table[end - len(array) : end]
        if len(boxes):
            boxes = boxes[boxes[:, 4] >= min(threshold, boxes[:, 4].max())][:most]
        chosen[key] = boxes
    return chosen


def clipped(boxes: np.ndarray, source: str, name: Any) -> np.ndarray:
    """Coordinates within 0..1; one warning if some were not."""
    outside = ((boxes < 0) | (boxes > 1)).any(axis=1)
    if outside.any():
        text = "%s: %d boxes reach outside the picture and are clipped to it; the first: %s"
        log.warning(text, source, outside.sum(), name(int(np.argmax(outside))))
    return np.clip(boxes, 0, 1)
