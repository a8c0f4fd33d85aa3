"""What observes the steps of a timeline: the best class of each, written as it comes, and the scores of all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.stream_clips import ClipOfWindow
from paddlevideo.safe_io import write_atomic

_SUFFIXES = (".csv", ".jsonl")
_COLUMNS = ("time_s", "label", "score")


class StepLabels:
    """A file with a line per window or frame: the time from which on its scores are known, the best class, its score.

    Each line is there as soon as its step is done, so that another program can follow the file.

    Args:
        path: ``.csv``, or ``.jsonl``: an object per line.

    Raises:
        UserError: another ending.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._is_csv = self.path.suffix.lower() == ".csv"
        if self.path.suffix.lower() not in _SUFFIXES:
            raise UserError(f"--labels_out {path}: expected a name that ends in {' or '.join(_SUFFIXES)}")

    def begin(self) -> None:
        """Empties the file.

        Raises:
            UserError: it cannot be written.
        """
        self._write(_row(_COLUMNS) if self._is_csv else "", "w")

    def add(self, clip: ClipOfWindow, scores: np.ndarray, names: Sequence[str]) -> None:
        """Writes the line of a step.

        Args:
            scores: float [K].
            names: of the K classes.

        Raises:
            UserError: it cannot be written.
        """
        best = int(np.argmax(scores))
        values = (round(float(clip.time_s), 3), names[best], round(float(scores[best]), 6))
        line = json.dumps(dict(zip(_COLUMNS, values)), ensure_ascii=False) + "\n"
        self._write(_row(values) if self._is_csv else line, "a")

    def _write(self, text: str, mode: str) -> None:
        try:
            with open(self.path, mode, encoding="utf-8", newline="") as file:
                file.write(text)
        except OSError as error:
            raise UserError(f"{self.path}: cannot write ({error.strerror})") from None


@dataclass
class StepScores:
    """The scores of every window or frame; they grow with the length of the video.

    Attributes:
        windows_s: [start, end] of each.
        scores: float32 [K] of each.
    """

    windows_s: list[tuple[float, float]] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)

    def add(self, clip: ClipOfWindow, scores: np.ndarray) -> None:
        """Holds those of a step."""
        self.windows_s.append((clip.start_s, clip.end_s))
        self.scores.append(scores)

    def write(self, path: str | Path, names: Sequence[str]) -> None:
        """Writes a csv with a row per step: ``start_s``, ``end_s``, and the score of each class.

        Raises:
            UserError: it cannot be written.
        """
        rows = [("start_s", "end_s", *names)]
        for (start_s, end_s), scores in zip(self.windows_s, self.scores):
            rows.append((f"{start_s:.3f}", f"{end_s:.3f}", *(f"{score:.4f}" for score in scores.tolist())))
        write_atomic(path, "".join(map(_row, rows)))


def _row(values: Sequence[object]) -> str:
    """A line of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
