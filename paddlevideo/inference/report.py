"""Predictions for people and for programs: lines on the screen, a JSON or a CSV file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.errors import UserError, printable
from paddlevideo.safe_io import write_atomic

if TYPE_CHECKING:
    from paddlevideo.inference.predictor import Prediction

OUT_SUFFIXES = (".json", ".csv")


def lines_of(prediction: Prediction, top_k: int | None, threshold: float | None = None) -> list[str]:
    """What predict prints for one video.

    With ``top_k`` 1 plain values, ``top-1 class: 5``; else lists in falling order of score, ``top-3 class: [5, 2, 7]``.
    With a threshold lists of all classes of at least that score, ``above 0.5 class: [0, 3]``, perhaps empty.  Scores
    are printed with all the digits that a float32 has as a Python float.
    """
    top = prediction.best(top_k, threshold)
    k = len(top)
    columns = {"class": [t[0] for t in top], "score": [t[1] for t in top]}
    if prediction.labels is not None:
        columns["name"] = [t[2] for t in top]
    lines = [f"Current video file: {printable(prediction.path)}"]
    for title, values in columns.items():
        if threshold is not None:
            lines.append(f"\tabove {threshold:g} {title}: {values}")
        else:
            lines.append(f"\ttop-{k} {title}: {values[0] if k == 1 else values}")
    return lines


def check_out(path: str | Path) -> Path:
    """The path for ``write_predictions``, checked before any work is done.

    Raises:
        UserError: neither .json nor .csv.
    """
    path = Path(path)
    if path.suffix.lower() not in OUT_SUFFIXES:
        raise UserError(f"--out {path}: expected a name that ends in .json or .csv")
    return path


def write_predictions(
    path: Path, predictions: Sequence[Prediction], top_k: int | None, threshold: float | None = None
) -> None:
    """Writes predictions, atomically.

    JSON: a list of ``{"path", "top": [{"class", "score", "name"}], "scores": [K]}``, or ``{"path", "error"}``; with a
    threshold ``top`` holds the classes of at least that score.  CSV: one row per video, ``path, class_1, score_1,
    name_1, ..., error``, as many as the video with the most classes needs.
    """
    as_text = _as_json if path.suffix.lower() == ".json" else _as_csv
    write_atomic(path, as_text(predictions, top_k, threshold))


def _as_json(predictions: Sequence[Prediction], top_k: int | None, threshold: float | None) -> str:
    records = []
    for prediction in predictions:
        if prediction.error is not None:
            records.append({"path": prediction.path, "error": prediction.error})
            continue
        top = [{"class": i, "score": score, "name": name} for i, score, name in prediction.best(top_k, threshold)]
        records.append({"path": prediction.path, "top": top, "scores": [float(s) for s in prediction.scores]})
    return json.dumps(records, indent=1, ensure_ascii=False) + "\n"


def _as_csv(predictions: Sequence[Prediction], top_k: int | None, threshold: float | None) -> str:
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
    return stream.getvalue()
