"""The persons of AVA-style data: annotated, detected, and the number of persons per action."""

from __future__ import annotations

import functools
import json
import logging
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from paddlevideo.ava_files import AVARows, frame_code, img_key, milliseconds, split_key, whole_second
from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.records import Column

log = logging.getLogger("paddlevideo")

FAR = 0.5  # a coordinate this far outside 0 .. 1 is not a fraction of the picture


class Frames(Column):
    """Key frames, whose values are their keys (``ava_files.img_key``).

    Args:
        names: the videos.
        video: int32 [F], index into ``names``.
        thousandths: int64 [F], milliseconds.
    """

    def __init__(self, names: Sequence[str], video: np.ndarray, thousandths: np.ndarray):
        self.names, self.video, self.thousandths = names, video, thousandths

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, i: Any) -> Any:
        if not isinstance(i, slice):
            return img_key(self.names[self.video[i]], self.thousandths[i] / 1000)
        pairs = zip(self.video[i].tolist(), self.thousandths[i].tolist())
        return [
            f"{self.names[v]},{ms // 1000:04d}" if ms % 1000 == 0 else img_key(self.names[v], ms / 1000)
            for v, ms in pairs
        ]

    def take(self, rows: np.ndarray) -> Frames:
        return Frames(self.names, self.video[rows], self.thousandths[rows])

    def json_texts(self, part: slice) -> Iterable[str]:
        return map(json.encoder.encode_basestring_ascii, self[part])

    def place(self, key: str) -> int:
        """The place of a key; -1: it is none of them."""
        video, second = split_key(key)
        number = self._numbers.get(video)
        if number is None:
            return -1
        return int(self._places(np.array([number * (1 << 40) + round(float(second) * 1000)]))[0])

    def places(self, others: Frames) -> np.ndarray:
        """int64: the places of other key frames of the same videos; -1: it is none of these."""
        return self._places(frame_code(others.video, others.thousandths))

    def _places(self, codes: np.ndarray) -> np.ndarray:
        if not len(self):
            return np.full(len(codes), -1)
        place = np.minimum(np.searchsorted(self._codes, codes), len(self) - 1)
        return np.where(self._codes[place] == codes, self._order[place], -1)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @functools.cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(frame_code(self.video, self.thousandths), kind="stable")

    @functools.cached_property
    def _codes(self) -> np.ndarray:
        return frame_code(self.video, self.thousandths)[self._order]


class Seconds(Column):
    """Moments in seconds: ints where they are whole.

    Args:
        thousandths: int64 [N], milliseconds.
    """

    def __init__(self, thousandths: np.ndarray):
        self.thousandths = thousandths

    def __len__(self) -> int:
        return len(self.thousandths)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [ms // 1000 if ms % 1000 == 0 else ms / 1000 for ms in self.thousandths[i].tolist()]
        return whole_second(int(self.thousandths[i]) / 1000)

    def take(self, rows: np.ndarray) -> Seconds:
        return Seconds(self.thousandths[rows])

    def json_texts(self, part: slice) -> Iterable[str]:
        return map(repr, self[part])


class PersonTable:
    """Annotated persons by key frame, in flat arrays: AVA's training list has 200,000 key frames.

    Args:
        rows: the csv.
        classes: int [M], the class of every line: -1 leaves the line out, 0 is a person without an action.
        num_classes: K.

    Attributes:
        frames: the key frames with a person, in the order of ``line``.
        line: int32 [F], number of the first line of each.
    """

    def __init__(self, rows: AVARows, classes: np.ndarray, num_classes: int):
        self.num_classes = num_classes
        kept = np.flatnonzero(classes >= 0)
        frame_row, group = rows.frames()
        boxes, group, classes = rows.boxes[kept].astype(np.float32), group[kept], classes[kept]
        # lines of one key frame with equal boxes are one person; persons are in the order of their first lines
        pixels = (boxes + np.float32(0)).view(np.int64)  # -0.0 equals 0.0
        order = np.lexsort((pixels[:, 1], pixels[:, 0], group))
        new = np.ones(len(order), bool)
        sorted_pixels, sorted_group = pixels[order], group[order]
        new[1:] = (sorted_group[1:] != sorted_group[:-1]) | (sorted_pixels[1:] != sorted_pixels[:-1]).any(axis=1)
        person_of_line = np.empty(len(order), np.int64)
        person_of_line[order] = np.cumsum(new) - 1
        first = order[new]
        by_line = np.lexsort((first, group[first]))
        place = np.empty(len(first), np.int64)
        place[by_line] = np.arange(len(first))
        first = first[by_line]
        self._boxes = boxes[first]  # [persons, 4]
        pairs = _distinct(place[person_of_line] * num_classes + classes)
        self._person, self._class = (pairs // num_classes).astype(np.int32), (pairs % num_classes).astype(np.int32)
        self._first_pair = np.searchsorted(self._person, np.arange(len(first) + 1))  # of each person
        present, starts = np.unique(group[first], return_index=True)
        lines = rows.line[kept[first[starts]]]
        by_first_line = np.argsort(lines, kind="stable")
        self.line = lines[by_first_line]
        self.frames = Frames(rows.videos, rows.video[frame_row], milliseconds(rows.timestamp[frame_row]))
        self.frames = self.frames.take(present[by_first_line])
        self._begin, self._end = starts[by_first_line], np.append(starts[1:], len(first))[by_first_line]

    def of(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float32 [G, 4] and labels 0/1 float32 [G, K]."""
        begin, end, low, high = self._span(self.frames.place(key))
        labels = np.zeros((end - begin, self.num_classes), np.float32)
        labels[self._person[low:high] - begin, self._class[low:high]] = 1
        labels[:, 0] = 0
        return self._boxes[begin:end].copy(), labels

    def digest(self, place: int) -> int:
        """A number that changes when the boxes or the actions of a key frame, by its place in ``frames``, do."""
        begin, end, low, high = self._span(place)
        pairs = zlib.crc32(self._person[low:high] - np.int32(begin), zlib.crc32(self._boxes[begin:end]))
        return zlib.crc32(self._class[low:high], pairs)

    def classes_of(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The different classes of key frames, by their places in ``frames``: two int64 [M], which of ``places`` (in
        ascending order) and the class; 0 where a person does nothing."""
        which, classes = self._pairs_of(places)
        code = _distinct(which * self.num_classes + classes)
        return code // self.num_classes, code % self.num_classes

    def class_counts(self, places: np.ndarray) -> np.ndarray:
        """Persons per class in key frames, by their places in ``frames``: int64 [K]."""
        return np.bincount(self._pairs_of(places)[1], minlength=self.num_classes)

    def _pairs_of(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each action of each person: which of ``places``, and the class; int64 [M] both."""
        low, high = self._first_pair[self._begin[places]], self._first_pair[self._end[places]]
        count = high - low
        which = np.repeat(np.arange(len(places)), count)
        pair = np.arange(count.sum()) + np.repeat(low - (np.cumsum(count) - count), count)
        return which, self._class[pair].astype(np.int64)

    def _span(self, place: int) -> tuple[int, int, int, int]:
        """Persons and pairs of a key frame; none for place -1."""
        if place < 0:
            return 0, 0, 0, 0
        begin, end = int(self._begin[place]), int(self._end[place])
        return begin, end, int(self._first_pair[begin]), int(self._first_pair[end])


def _distinct(values: np.ndarray) -> np.ndarray:
    """``np.unique``, which hashes integers and is ten times slower."""
    values = np.sort(values)
    return values[np.flatnonzero(np.diff(values, prepend=values[:1] - 1))]


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
    if not len(boxes) or (boxes.min() >= 0 and boxes.max() <= 1):
        return boxes
    outside = ((boxes < 0) | (boxes > 1)).any(axis=1)
    if outside.any():
        text = "%s: %d boxes reach outside the picture and are clipped to it; the first: %s"
        log.warning(text, source, outside.sum(), name(int(np.argmax(outside))))
    return np.clip(boxes, 0, 1)
