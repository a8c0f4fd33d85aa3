"""What is written while a timeline runs: the best class of each step and the spans; and the scores of all steps."""

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
from paddlevideo.spans import Span

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
        self._begun = False
        self._is_csv = self.path.suffix.lower() == ".csv"
        if self.path.suffix.lower() not in _SUFFIXES:
            raise UserError(f"--labels_out {path}: expected a name that ends in {' or '.join(_SUFFIXES)}")

    def add(self, clip: ClipOfWindow, scores: np.ndarray, names: Sequence[str]) -> None:
        """Writes the line of a step; the first one empties the file.

        Args:
            scores: float [K].
            names: of the K classes.

        Raises:
            UserError: it cannot be written.
        """
        best = int(np.argmax(scores))
        values = (round(float(clip.time_s), 3), names[best], round(float(scores[best]), 6))
        line = json.dumps(dict(zip(_COLUMNS, values)), ensure_ascii=False) + "\n"
        if not self._begun:
            _write(self.path, _row(_COLUMNS) if self._is_csv else "", "w")
            self._begun = True
        _write(self.path, _row(values) if self._is_csv else line, "a")


def _write(path: Path, text: str, mode: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, mode, encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


class SpanLines:
    """A ``.jsonl`` with a line per span, there as soon as the span is complete; the first one empties the file.

    Args:
        path: of the file.
    """

    def __init__(self, path: str | Path):
        self.path, self._begun = Path(path), False

    def add(self, span: Span) -> None:
        """Writes its line.

        Raises:
            UserError: it cannot be written.
        """
        _write(self.path, json.dumps(span.to_dict(), ensure_ascii=False) + "\n", "a" if self._begun else "w")
        self._begun = True


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
