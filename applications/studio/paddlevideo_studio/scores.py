"""The score curves of analyses: read once, cut to a part of the video, and reduced to what a page can draw."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError

_KEPT = 8  # curves in memory
_DIGITS = 3


@dataclass(frozen=True)
class Curve:
    """One file.

    Attributes:
        classes: names.
        windows_s: float64 [n, 2], start and end, ascending.
        scores: float64 [n, K].
    """

    classes: list[str]
    windows_s: np.ndarray
    scores: np.ndarray

    def shown(self, from_s: float, to_s: float, most: int | None) -> dict[str, Any]:
        """The windows that reach into a part; at most ``most``, each of which is several with the maximum of each
        class."""
        first = int(np.searchsorted(np.maximum.accumulate(self.windows_s[:, 1]), from_s, side="right"))
        behind = int(np.searchsorted(self.windows_s[:, 0], to_s, side="left"))
        windows_s, scores = self.windows_s[first:behind], self.scores[first:behind]
        count, reduced = len(windows_s), most is not None and len(windows_s) > most
        if reduced:
            step = -(-count // most)
            starts = np.arange(0, count, step)
            scores = np.maximum.reduceat(scores, starts, axis=0)  # [bins, K]
            ends = np.maximum.reduceat(windows_s[:, 1], starts)
            windows_s = np.stack([windows_s[starts, 0], ends], axis=1)
        return {
            "classes": self.classes, "num_windows": count, "reduced": reduced,
            "windows_s": np.round(windows_s, _DIGITS).tolist(), "scores": np.round(scores, _DIGITS).tolist(),
        }  # fmt: skip


NO_CURVE = Curve([], np.zeros((0, 2)), np.zeros((0, 0)))


class Curves:
    """The last curves that were asked for, by their files' time of change.  For several threads."""

    def __init__(self) -> None:
        self._curves: OrderedDict[tuple[str, int, int], Curve] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, file: Path) -> Curve:
        """The curve of a file; ``NO_CURVE`` where there is none.

        Raises:
            UserError: it is no table of scores.
        """
        try:
            state = file.stat()
        except FileNotFoundError:
            return NO_CURVE
        key = (str(file), state.st_mtime_ns, state.st_size)
        with self._lock:
            if key not in self._curves:
                self._curves[key] = read_curve(file)
                while len(self._curves) > _KEPT:
                    self._curves.popitem(last=False)
            self._curves.move_to_end(key)
            return self._curves[key]


def read_curve(file: Path) -> Curve:
    """A table of ``paddlevideo timeline --scores``: ``start_s,end_s`` and a column per class.

    Raises:
        UserError: it is none.
    """
    import csv

    try:
        with open(file, encoding="utf-8", newline="") as stream:
            header = next(csv.reader(stream), [])
            rows = np.loadtxt(stream, delimiter=",", ndmin=2) if len(header) > 2 else np.zeros((0, 2))
    except (OSError, ValueError) as error:
        raise UserError(f"{file.name}: not a table of scores ({error})") from None
    if not len(rows):
        return Curve(header[2:], np.zeros((0, 2)), np.zeros((0, len(header[2:]))))
    return Curve(header[2:], rows[:, :2], rows[:, 2:])
