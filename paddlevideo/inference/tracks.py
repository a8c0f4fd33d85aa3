"""Boxes of one person joined over time, so that a person keeps an id: IoU, and an optimal assignment per key frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def link(
    boxes: Sequence[np.ndarray], times_s: Sequence[float] | None = None, min_iou: float = 0.3, max_gap: int = 3
) -> list[np.ndarray]:
    """The person id of every box.

    From key frame to key frame, boxes are assigned to the persons seen so far so that the sum of the overlaps is as
    large as possible.  A person is looked for where they were and where their last movement takes them: half of the
    overlap counts for each, so that two who cross keep their ids, and one who stops is not lost.

    Args:
        boxes: per key frame, in order of time: float [n, 4 or more], x1, y1, x2, y2 in any unit.
        times_s: seconds of the key frames; None: evenly spaced.
        min_iou: a box belongs to a person only if it overlaps one of the two places at least as much.
        max_gap: key frames that a person may be missed for and keep their id.

    Returns:
        Per key frame int64 [n]; ids count from 0 in the order of appearance, within a key frame in that of the boxes.
    """
    times = np.arange(len(boxes), dtype=float) if times_s is None else np.asarray(times_s, float)
    tracks: list[_Track] = []
    ids, count = [], 0
    for number, (found, time_s) in enumerate(zip(boxes, times, strict=True)):
        found = np.asarray(found, float).reshape(-1, np.shape(found)[-1] if np.ndim(found) == 2 else 4)[:, :4]
        tracks = [track for track in tracks if number - track.seen <= max_gap + 1]
        own = np.full(len(found), -1, np.int64)
        for t, b in _matches(tracks, found, time_s, min_iou):
            tracks[t].move(found[b], time_s, number)
            own[b] = tracks[t].person
        for b in np.flatnonzero(own < 0):
            tracks.append(_Track(count, found[b], time_s, number))
            own[b] = count
            count += 1
        ids.append(own)
    return ids


@dataclass
class _Track:
    """A person: where last seen (``box`` [4], at ``time_s``, in key frame ``seen``) and how fast."""

    person: int
    box: np.ndarray
    time_s: float
    seen: int
    velocity: np.ndarray | float = 0.0  # [4]: the centre's, twice; sizes are not predicted

    def move(self, box: np.ndarray, time_s: float, seen: int) -> None:
        passed = time_s - self.time_s
        if passed > 0:
            shift = box - self.box
            self.velocity = np.tile((shift[:2] + shift[2:]) / 2, 2) / passed
        self.box, self.time_s, self.seen = box, time_s, seen

    def ahead(self, time_s: float) -> np.ndarray:
        return self.box + self.velocity * (time_s - self.time_s)


def _matches(tracks: Sequence[_Track], found: np.ndarray, time_s: float, min_iou: float) -> list[tuple[int, int]]:
    if not tracks or not len(found):
        return []
    stayed = iou(np.stack([track.box for track in tracks]), found)  # [number of tracks, n]
    moved = iou(np.stack([track.ahead(time_s) for track in tracks]), found)
    possible = np.maximum(stayed, moved) >= min_iou
    gain = np.where(possible, (stayed + moved) / 2, 0.0)
    return [(t, b) for t, b in assign(-gain) if possible[t, b]]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes x1, y1, x2, y2: [n, 4] with [m, 4] -> float64 [n, m]; 0 for boxes of no area."""
    corners_low = np.maximum(a[:, None, :2], b[None, :, :2])  # [n, m, 2]
    corners_high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    shared = np.clip(corners_high - corners_low, 0, None).prod(-1)
    area_a, area_b = (np.clip(x[:, 2:4] - x[:, :2], 0, None).prod(-1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared, dtype=float), where=union > 0)


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
