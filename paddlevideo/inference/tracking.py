"""Boxes of one person joined over time, so that a person keeps an id: a motion model, and an optimal assignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.boxes import iou

MAX_GAP_S = 1.0
_MAX_SPACING_S = 10.0  # frames further apart are not linked by place
_MIN_IOU = 0.3
# in heights of the box, chosen on the first half of walkers.csv (benchmarks/tracking.py)
_BOX_NOISE = 0.08  # standard deviation of a detected box's centre
_ACCELERATION = 0.8  # white-noise acceleration, per s^1.5
_SPEED = 0.8  # standard deviation of the speed of a new track, per s
_MAX_OVERLAP_SIGMA = 0.5  # overlap counts only where the predicted centre is at least so certain
_MAX_SIGMAS = 4.0
_MAX_DISTANCES = (0.6, 1.3)  # the limit is within these, however certain or uncertain the prediction
_SIZE_NOISE = 0.2  # standard deviation of the logarithm of the height
_MAX_SIZE_CHANGE = 0.5
_SIZE_KEPT = 0.5  # share of the old size in the new one


def link(
    boxes: Sequence[np.ndarray], times_s: Sequence[float], min_iou: float = _MIN_IOU, max_gap_s: float = MAX_GAP_S
) -> list[np.ndarray]:
    """The person id of every box.

    Each person has a Kalman filter of constant velocity for the box's centre.  Boxes are assigned in two stages, each
    with the least total cost: first those that overlap a box predicted with some certainty, then the rest by the
    distance of the centres, by the prediction's uncertainty.  Distances are in heights of the box, times in
    seconds.

    Args:
        boxes: per frame, in order of time: float [n, 4 or more], x1, y1, x2, y2 in pixels or another unit that is the
            same along both axes.
        times_s: of the frames, ascending; any spacing.
        min_iou: least overlap with the predicted box in the first stage.
        max_gap_s: longest gap of a track in seconds; one missed frame is allowed up to 10 s.

    Returns:
        Per frame int64 [n]; ids count from 0 in the order of appearance, within a frame in that of the boxes.

    *Source*: the ideas are those of ByteTrack (Zhang et al. 2022: a second association for what the first left over)
    and SORT (Bewley et al. 2016: Kalman filter, IoU, optimal assignment); the second stage is our own.
    """
    linker = Linker(min_iou, max_gap_s)
    return [linker.add(found, time_s) for found, time_s in zip(boxes, times_s, strict=True)]


class Linker:
    """``link`` one frame after the other: an id never depends on later frames.

    Args:
        min_iou, max_gap_s: see ``link``.
    """

    def __init__(self, min_iou: float = _MIN_IOU, max_gap_s: float = MAX_GAP_S):
        self._min_iou, self._max_gap_s = min_iou, max_gap_s
        self._tracks: list[_Filter] = []
        self._num_frames = self._num_persons = 0

    def add(self, found: np.ndarray, time_s: float) -> np.ndarray:
        """The person ids, int64 [n], of the next frame's boxes [n, 4 or more]."""
        number = self._num_frames
        self._num_frames += 1
        found = np.asarray(found, float).reshape(-1, np.shape(found)[-1] if np.ndim(found) == 2 else 4)[:, :4]
        self._tracks = [t for t in self._tracks if _kept(t, time_s, number, self._max_gap_s)]
        for track in self._tracks:
            track.predict(time_s)
        own = np.full(len(found), -1, np.int64)
        for t, b in _matches(self._tracks, found, self._min_iou):
            self._tracks[t].update(found[b], number)
            own[b] = self._tracks[t].person
        for b in np.flatnonzero(own < 0):
            self._tracks.append(_Filter(self._num_persons, found[b], float(time_s), number))
            own[b] = self._num_persons
            self._num_persons += 1
        return own


def _kept(track: _Filter, time_s: float, number: int, max_gap_s: float) -> bool:
    gap_s = time_s - track.seen_s
    return gap_s <= max_gap_s + 1e-6 or (number - track.seen <= 2 and gap_s <= _MAX_SPACING_S)


class _Filter:
    """A person: centre and velocity (``state`` [2, 2]: row 0 the centre, row 1 its velocity) and their covariance.

    Both axes have the same covariance [2, 2].  The size is smoothed, not predicted.
    """

    def __init__(self, person: int, box: np.ndarray, time_s: float, number: int):
        self.person, self.time_s, self.seen_s, self.seen = person, time_s, time_s, number
        self.size = np.maximum(box[2:] - box[:2], 1e-9)  # width, height
        self.state = np.stack([(box[:2] + box[2:]) / 2, np.zeros(2)])
        self.covariance = np.diag([_BOX_NOISE**2, _SPEED**2]) * self.size[1] ** 2

    def predict(self, time_s: float) -> None:
        dt = time_s - self.time_s
        step = np.array([[1.0, dt], [0.0, 1.0]])
        noise = np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]) * (_ACCELERATION * self.size[1]) ** 2
        self.state = step @ self.state
        self.covariance = step @ self.covariance @ step.T + noise
        self.time_s = time_s

    def update(self, box: np.ndarray, number: int) -> None:
        size = np.maximum(box[2:] - box[:2], 1e-9)
        gain = self.covariance[:, 0] / (self.covariance[0, 0] + (_BOX_NOISE * size[1]) ** 2)  # [2]
        self.state = self.state + gain[:, None] * ((box[:2] + box[2:]) / 2 - self.state[0])
        self.covariance = self.covariance - np.outer(gain, self.covariance[0])
        self.size = _SIZE_KEPT * self.size + (1 - _SIZE_KEPT) * size
        self.seen_s, self.seen = self.time_s, number

    @property
    def box(self) -> np.ndarray:
        return np.concatenate([self.state[0] - self.size / 2, self.state[0] + self.size / 2])


def _matches(tracks: Sequence[_Filter], found: np.ndarray, min_iou: float) -> list[tuple[int, int]]:
    """Pairs (track, box); neither occurs twice."""
    if not tracks or not len(found):
        return []
    predicted = np.stack([track.box for track in tracks])  # [number of tracks, 4]
    overlap = iou(predicted, found)
    change = np.log(_heights(found)[None] / _heights(predicted)[:, None])
    variance = np.array([track.covariance[0, 0] for track in tracks])
    certain = variance <= (_MAX_OVERLAP_SIGMA * _heights(predicted)) ** 2
    close = certain[:, None] & (overlap >= min_iou) & (np.abs(change) <= 1.5 * _MAX_SIZE_CHANGE)
    pairs = _assign_possible(-overlap, close)
    rest_t = np.setdiff1d(np.arange(len(tracks)), [t for t, _ in pairs])
    rest_b = np.setdiff1d(np.arange(len(found)), [b for _, b in pairs])
    if not len(rest_t) or not len(rest_b):
        return pairs

    change = change[np.ix_(rest_t, rest_b)]
    predicted, boxes = predicted[rest_t], found[rest_b]
    height = np.sqrt(_heights(predicted)[:, None] * _heights(boxes)[None])
    shift = (predicted[:, None, :2] + predicted[:, None, 2:] - boxes[None, :, :2] - boxes[None, :, 2:]) / 2
    distance = np.linalg.norm(shift, axis=2) / height
    variance = variance[rest_t, None] / height**2 + _BOX_NOISE**2
    possible = distance <= np.clip(_MAX_SIGMAS * np.sqrt(variance), *_MAX_DISTANCES)
    possible &= np.abs(change) <= _MAX_SIZE_CHANGE
    # minus twice the logarithm of the likelihood, less what is constant
    cost = distance**2 / variance + 2 * np.log(variance) + (change / _SIZE_NOISE) ** 2
    return pairs + [(int(rest_t[t]), int(rest_b[b])) for t, b in _assign_possible(cost, possible)]


def _assign_possible(cost: np.ndarray, possible: np.ndarray) -> list[tuple[int, int]]:
    """As many pairs as are possible, and of these the cheapest."""
    finite = np.where(possible, cost, 0.0)
    bonus = 1.0 + 2 * np.abs(finite).sum()
    return [(t, b) for t, b in assign(np.where(possible, finite - bonus, 0.0)) if possible[t, b]]


def _heights(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[:, 3] - boxes[:, 1], 1e-9)


@dataclass(frozen=True, eq=False)
class Track:
    """The detections of one person: ascending ``times_s`` [n] and ``boxes`` [n, 4]."""

    times_s: np.ndarray
    boxes: np.ndarray

    def at(self, time_s: float, usual_s: float) -> np.ndarray | None:
        """The box at any time, float [4]; None where the person was not detected.

        Between two detections it moves straight from one to the other, unless they are further apart than the longest
        gap of a track.  Before the first and after the last it stays for half of ``usual_s``.

        Args:
            usual_s: seconds between two frames in which persons were detected.
        """
        after = int(np.searchsorted(self.times_s, time_s, side="right"))
        before = after - 1
        if before >= 0 and after < len(self.times_s):
            passed, length = time_s - self.times_s[before], self.times_s[after] - self.times_s[before]
            if length <= longest_gap_s(usual_s):
                return self.boxes[before] + (self.boxes[after] - self.boxes[before]) * (passed / length)
        near = [i for i in (before, after) if 0 <= i < len(self.times_s)]
        nearest = min(near, key=lambda i: abs(self.times_s[i] - time_s))
        return self.boxes[nearest] if abs(self.times_s[nearest] - time_s) <= usual_s / 2 + 1e-3 else None


def longest_gap_s(usual_s: float) -> float:
    """The longest time between two detections of a person in which the box moves from one to the other."""
    return max(1.5 * usual_s, MAX_GAP_S) + 1e-6


def tracks_of(boxes: Sequence[np.ndarray], times_s: Sequence[float], ids: Sequence[np.ndarray]) -> dict[int, Track]:
    """Each person's track.

    Args:
        boxes: per frame float [n, 4].
        ids: per frame int [n], as ``link`` gives them.
    """
    seen: dict[int, list[tuple[float, np.ndarray]]] = {}
    for found, time_s, own in zip(boxes, times_s, ids, strict=True):
        for box, person in zip(found, own, strict=True):
            seen.setdefault(int(person), []).append((time_s, box))
    return {person: Track(*(np.array(part, float) for part in zip(*places))) for person, places in seen.items()}


def colours_of(tracks: dict[int, Track], preferred: int, apart_s: float = MAX_GAP_S) -> dict[int, int]:
    """A colour number for each person; no two persons at one time share one.

    A person gets ``id % preferred`` if that is free, else the lowest free number; numbers from ``preferred`` on occur
    only where there are more persons at once.

    Args:
        apart_s: seconds after the last detection of a person until the number is free again.
    """
    colours: dict[int, int] = {}
    last_s = {person: track.times_s[-1] for person, track in tracks.items()}
    for person, track in sorted(tracks.items(), key=lambda item: (item[1].times_s[0], item[0])):
        colours[person] = free_colour(person, track.times_s[0], colours, last_s, preferred, apart_s)
    return colours


def free_colour(
    person: int, first_s: float, colours: Mapping[int, int], last_s: Mapping[int, float], preferred: int,
    apart_s: float = MAX_GAP_S,
) -> int:  # fmt: skip
    """The colour number of the next person of ``colours_of``.

    Args:
        first_s: of the person's first detection.
        colours: of the persons before.
        last_s: of the last detection of each.
    """
    taken = {colours[other] for other in colours if last_s[other] + apart_s >= first_s}
    return next(number for number in (person % preferred, *range(len(taken) + 1)) if number not in taken)


def assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """min(n, m) pairs (row, column) of a cost matrix [n, m] with the least sum; exact, O(n^2 m).

    *Source*: the Hungarian method as shortest augmenting paths (Kuhn 1955, Jonker and Volgenant 1987): rows enter one
    at a time, each along the cheapest path of reassignments, and ``low``, ``high`` are the prices that prove it.
    """
    cost = np.asarray(cost, float)
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in assign(cost.T))
    n, m = cost.shape
    low, high = np.zeros(n), np.zeros(m)
    row_of = np.full(m, -1)  # column -> row
    for start in range(n):
        shortest, before = np.full(m, np.inf), np.full(m, -1)  # per column: path length so far, column before it
        done = np.zeros(m, bool)
        row, column, length = start, -1, 0.0
        while True:
            through = length + cost[row] - low[row] - high
            better = ~done & (through < shortest)
            shortest[better], before[better] = through[better], column
            column = int(np.argmin(np.where(done, np.inf, shortest)))
            length = shortest[column]
            if row_of[column] < 0:
                break
            done[column] = True
            row = row_of[column]
        low[start] += length
        passed = np.flatnonzero(done)
        low[row_of[passed]] += length - shortest[passed]
        high[passed] -= length - shortest[passed]
        while column >= 0:  # every column of the path takes the row of the one before it
            previous = before[column]
            row_of[column] = row_of[previous] if previous >= 0 else start
            column = previous
    return sorted((int(row), int(column)) for column, row in enumerate(row_of) if row >= 0)
