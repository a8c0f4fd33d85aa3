"""Predictions of videos: on the screen, and in .json and .csv files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.safe_io import write_atomic

Threshold = float | Sequence[float]  # the least score of a class that is shown: one, or one per class

OUT_SUFFIXES = (".json", ".csv")  # .jsonl is written by ``result_lines``


@dataclass(frozen=True, eq=False)
class Prediction:
    """The class scores of one video.

    Args:
        path: as it was given; ``array[i]`` for a clip in memory.
        scores: float32 [K] probabilities, of every class by itself if the model is for several labels per clip; None
            for a video that could not be read.
        names: K class names, or None.
        error: why the video could not be read.
        span_s: seconds of the first and last frame that the model was given; None: the source has no frame rate.
        prepare_s: seconds for decoding and transforms, in the process that does it.
        wait_s: seconds for which the model waited for the clip; less than ``prepare_s`` where workers decode ahead.
        infer_s: this video's share of the model's time on its batch, in seconds.
    """

    path: str
    scores: np.ndarray | None
    names: Sequence[str] | None = None
    error: str | None = None
    span_s: tuple[float, float] | None = None
    prepare_s: float = 0.0
    infer_s: float = 0.0
    wait_s: float = 0.0

    def best(self, k: int | None = None, threshold: Threshold | None = None) -> list[tuple[int, float, str | None]]:
        """Like ``top``, of the classes with a score of at least ``threshold``, one number or one per class.

        Args:
            k: how many at most; None: 1, with a threshold all.
        """
        found = self.top(1 if k is None and threshold is None else k)
        if threshold is None:
            return found
        each = threshold if isinstance(threshold, Sequence) else None
        return [item for item in found if item[1] >= (threshold if each is None else each[item[0]])]

    def top(self, k: int | None = 1) -> list[tuple[int, float, str | None]]:
        """The min(k, K) best classes, best first: (class id, score, name or None).  Equal scores: lower id first.

        None of a video that could not be read.

        Args:
            k: how many at most, from 1 on; None: all.

        Raises:
            ValueError: another k.
        """
        if k is not None and not (isinstance(k, Integral) and k >= 1):
            raise ValueError(f"k: expected a whole number from 1 on, or None for all, got {k!r:.80}")
        if self.scores is None:
            return []
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [(int(i), float(self.scores[i]), self.names[i] if self.names else None) for i in order]


def lines_of(prediction: Prediction, top_k: int | None, threshold: Threshold | None = None) -> list[str]:
    """The printed lines of one video.

    With ``top_k`` 1 plain values, ``top-1 class: 5``; else lists in falling order of score, ``top-3 class: [5, 2, 7]``.
    With a threshold lists of all classes of at least that score, ``above 0.5 class: [0, 3]``, perhaps empty; with one
    per class ``above its threshold class: [0, 3]``.  Scores are printed with all the digits that a float32 has as a
    Python float.
    """
    top = prediction.best(top_k, threshold)
    k = len(top)
    columns = {"class": [t[0] for t in top], "score": [t[1] for t in top]}
    if prediction.names is not None:
        columns["name"] = [t[2] for t in top]
    lines = [f"Current video file: {printable(prediction.path)}"]
    for title, values in columns.items():
        if threshold is not None:
            limit = "its threshold" if isinstance(threshold, Sequence) else f"{threshold:g}"
            lines.append(f"\tabove {limit} {title}: {values}")
        else:
            lines.append(f"\ttop-{k} {title}: {values[0] if k == 1 else values}")
    return lines


def check_out(path: str | Path) -> Path:
    """The path for ``write_predictions``, checked before any work is done.

    Raises:
        UserError: another ending than .json, .csv and .jsonl.
    """
    path = Path(path)
    if path.suffix.lower() not in OUT_SUFFIXES:
        raise UserError(f"--out {path}: expected a name that ends in .json, .csv or .jsonl")
    return path


def write_predictions(
    path: Path, predictions: Sequence[Prediction], top_k: int | None, threshold: Threshold | None = None
) -> None:
    """Writes predictions, atomically.

    JSON: a list of ``{"path", "top": [{"class", "score", "name"}], "scores": [K]}``, or ``{"path", "error"}``; with a
    threshold ``top`` holds the classes of at least that score.  CSV: one row per video, ``path, class_1, score_1,
    name_1, ..., error``, as many as the video with the most classes needs.  Of a file name that is not UTF-8, JSON
    holds escapes (``\\udcff``), and CSV the bytes.
    """
    as_text = _as_json if path.suffix.lower() == ".json" else _as_csv
    write_atomic(path, as_text(predictions, top_k, threshold))


def _as_json(predictions: Sequence[Prediction], top_k: int | None, threshold: Threshold | None) -> bytes:
    records = [{"path": each.path, **record_of(each, top_k, threshold)} for each in predictions]
    return json.dumps(records, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def record_of(prediction: Prediction, top_k: int | None, threshold: Threshold | None) -> dict[str, Any]:
    """``{"top": [{"class", "score", "name"}], "scores": [K]}``, or ``{"error"}``."""
    if prediction.error is not None:
        return {"error": prediction.error}
    top = [{"class": i, "score": score, "name": name} for i, score, name in prediction.best(top_k, threshold)]
    return {"top": top, "scores": [float(s) for s in prediction.scores]}


def _as_csv(predictions: Sequence[Prediction], top_k: int | None, threshold: Threshold | None) -> bytes:
    k = max([len(p.best(top_k, threshold)) for p in predictions if p.error is None], default=1)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    titles = [f"{title}_{i}" for i in range(1, k + 1) for title in ("class", "score", "name")]
    writer.writerow(["path", *titles, "error"])
    for prediction in predictions:
        if prediction.error is not None:
            writer.writerow([prediction.path, *[""] * len(titles), prediction.error])
            continue
        best = prediction.best(top_k, threshold)
        cells = [cell for i, score, name in best for cell in (i, repr(score), name or "")]
        writer.writerow([prediction.path, *cells, *[""] * (len(titles) - len(cells)), ""])
    return stream.getvalue().encode("utf-8", "surrogateescape")
