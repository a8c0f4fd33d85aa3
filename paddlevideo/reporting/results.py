"""Per-clip results of a test: written, and scored again; ``result_files`` reads them back, ``fusion`` joins them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.lists import clip_name
from paddlevideo.metrics import topk
from paddlevideo.safe_io import write_atomic, write_pickle

SUFFIXES = (".json", ".csv", ".pkl")


@dataclass
class Results:
    """A network's scores for each clip.

    Args:
        paths: as in the list file; may be empty for a file of bare score vectors (MMAction2's).
        labels: int64 [N]; 0 / 1 float32 [N, K] if multi-hot; None if unknown.
        scores: float64 [N, K]; NaN where the clip could not be read.
        source: the file, for messages.
        names: K class names; None: unknown.
    """

    paths: list[str]
    labels: np.ndarray | None
    scores: np.ndarray
    source: str = "results"
    names: list[str] | None = None

    @property
    def multi_hot(self) -> bool:
        """Whether a clip may have several classes."""
        return self.labels is not None and self.labels.ndim == 2

    @property
    def unreadable(self) -> np.ndarray:
        """bool [N]."""
        return np.isnan(self.scores).any(axis=1)


class ClipFiles:
    """The files of a recognition metric's results; other metrics write theirs themselves, by the same methods.

    Args:
        results: of the clips that were tested.
    """

    result_suffixes = SUFFIXES

    def __init__(self, results: Results):
        self.results = results

    @property
    def num_taken(self) -> int:
        """How many clips were tested."""
        return len(self.results.paths)

    def write_results(self, path: str | Path) -> None:
        """The file of ``--out``."""
        write_results(path, self.results)

    def write_predictions(self, path: str | Path, names: Sequence[str] | None = None) -> None:
        """``predictions.csv``."""
        write_predictions(Path(path), self.results, names)


def files_of(metric: Any, records: Sequence[dict[str, Any]], names: Sequence[str] | None = None) -> Any:
    """What writes a metric's results: the metric itself, or ``ClipFiles``; None if it keeps none."""
    if metric.result_suffixes:
        return metric
    return None if metric.results() is None else ClipFiles(from_metric(metric, records, names))


def from_metric(metric: Any, records: Sequence[dict[str, Any]], names: Sequence[str] | None = None) -> Results:
    """What a recognition metric took, with the paths of the data set's records."""
    taken = metric.results()
    paths = [clip_name(records[index]) for index, _, _ in taken]
    labels = np.array([label for _, label, _ in taken])
    scores = np.array([scores for _, _, scores in taken], dtype="float64")
    return Results(paths, labels, scores, names=list(names) if names else None)


def check_name(path: str | Path, where: str = "--out ", metric: Any = None) -> Path:
    """The path, if results (of ``metric``, or else of recognition) can be written there.

    Raises:
        UserError: another suffix than ``SUFFIXES``, or than the metric's.
    """
    suffixes = SUFFIXES if metric is None else metric.result_suffixes or SUFFIXES
    if Path(path).suffix.lower() not in suffixes:
        of_kind = f" for the results of {type(metric).__name__}" if suffixes is not SUFFIXES else ""
        raise UserError(f"{where}{path}: expected a name ending in {', '.join(suffixes)}{of_kind}")
    return Path(path)


def write_results(path: str | Path, results: Results) -> None:
    """``.json``, ``.pkl``: a list of ``{path, label, scores}``, scores None if unreadable; ``.csv``: ``_write_csv``.

    Where class names are known, the first row holds them all as ``class_names``.
    """
    path = check_name(path)
    if path.suffix.lower() == ".csv":
        _write_csv(path, results)
        return
    rows = [
        {"path": name, "label": label, "scores": None if bad else scores}
        for name, label, scores, bad in zip(
            results.paths, _plain_labels(results), results.scores.tolist(), results.unreadable
        )
    ]
    if rows and results.names:
        rows[0] = {"path": rows[0]["path"], "class_names": list(results.names), **rows[0]}
    if path.suffix.lower() == ".json":
        # of a path that is no UTF-8 the odd bytes become JSON's own escapes
        write_atomic(path, json.dumps(rows, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace"))
    else:
        write_pickle(path, rows)


def _plain_labels(results: Results) -> list[Any]:
    return [None] * len(results.scores) if results.labels is None else results.labels.tolist()


def _write_csv(path: Path, results: Results) -> None:
    """One line per clip: path, label (multi-hot: ``3;17;``), predicted class, then a column per class.

    A class's column is headed ``score_3``, or where names are known ``score_3 jump``.
    """
    stream = io.StringIO()
    table = csv.writer(stream)
    predicted = topk.predictions(results.scores).tolist()
    columns = [f"score_{k}" for k in range(results.scores.shape[1])]
    if results.names:
        columns = [f"{column} {name}" for column, name in zip(columns, results.names)]
    table.writerow(["path", "label", "predicted", *columns])
    for name, label, best, scores in zip(results.paths, _plain_labels(results), predicted, results.scores.tolist()):
        label = "".join(f"{k};" for k, hot in enumerate(label) if hot) if isinstance(label, list) else label
        known = best >= 0
        table.writerow([name, label, best if known else "unreadable", *(scores if known else [""] * len(scores))])
    write_atomic(path, stream.getvalue())


def write_predictions(path: Path, results: Results, names: Sequence[str] | None) -> None:
    """``predictions.csv``: path, label, predicted class, its score, the label's score; class names if there are any."""
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(["path", "label", "label_name", "predicted", "predicted_name", "score", "label_score"])
    hot = multi_hot_of(results) > 0
    for i, best in enumerate(topk.predictions(results.scores).tolist()):
        classes = np.flatnonzero(hot[i]).tolist()
        title = ";".join(names[k] for k in classes) if names else ""
        row = [results.paths[i], ";".join(map(str, classes)), title]
        if best < 0:
            table.writerow([*row, "unreadable", "", "", ""])
            continue
        scores = results.scores[i]
        own = ";".join(f"{scores[k]:.6g}" for k in classes)
        table.writerow([*row, best, names[best] if names else "", f"{scores[best]:.6g}", own])
    write_atomic(path, stream.getvalue())


def multi_hot_of(results: Results) -> np.ndarray:
    """Labels as 0 / 1 [N, K], whatever they were."""
    if results.multi_hot:
        return results.labels
    return np.eye(results.scores.shape[1], dtype="float32")[results.labels]


def check_labels(results: Results) -> None:
    """
    Raises:
        UserError: a label is no class of the scores.
    """
    labels, classes = results.labels, results.scores.shape[1]
    if labels is None:
        return
    if results.multi_hot:
        if labels.shape != results.scores.shape:
            raise UserError(f"{results.source}: {labels.shape[1]} classes in labels, {classes} in scores")
        return
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise UserError(
            f"{results.source}: clip {wrong[0]} has label {labels[wrong[0]]}, scores are of {classes} classes"
        )


def _top_k(results: Results, ks: Sequence[int]) -> dict[str, float]:
    values = topk.top_k_accuracy(results.scores, hard_labels(results, "top_k_accuracy"), ks)
    return {f"top{k}_acc": value for k, value in zip(ks, values)}


def hard_labels(results: Results, metric: str) -> np.ndarray:
    """int64 [N].

    Raises:
        UserError: clips have several labels, which ``metric`` does not measure.
    """
    if results.multi_hot:
        raise UserError(f"--metrics {metric}: {results.source} has several labels per clip; use mean_average_precision")
    return results.labels


def _multi(function: Callable[..., float], results: Results) -> float:
    return function(results.scores, multi_hot_of(results) >= 0.5)


# name -> figures; the names are MMAction2's
FIGURES: dict[str, Callable[[Results, Sequence[int]], dict[str, float]]] = {
    "top_k_accuracy": _top_k,
    "mean_class_accuracy": lambda results, ks: {
        "mean_class_accuracy": topk.mean_class_accuracy(results.scores, hard_labels(results, "mean_class_accuracy"))
    },
    "mean_average_precision": lambda results, ks: {
        "mean_average_precision": _multi(topk.mean_average_precision, results)
    },
    "mmit_mean_average_precision": lambda results, ks: {
        "mmit_mean_average_precision": _multi(topk.mmit_mean_average_precision, results)
    },
}


def score(results: Results, metrics: Iterable[str] | None = None, ks: Sequence[int] = (1, 5)) -> dict[str, float]:
    """The figures of ``metrics`` (names of ``FIGURES``), 0 to 1; by default those of the labels' kind.

    Raises:
        UserError: there are no labels, one is no class, or a metric does not suit them.
    """
    if results.labels is None:
        raise UserError(f"{results.source}: there are no labels in it; give the list file: --annotations LIST")
    check_labels(results)
    if metrics is None:
        names = list(FIGURES)
        metrics = names[2:] if results.multi_hot else names[:2]
    figures: dict[str, float] = {}
    for name in metrics:
        figures.update(FIGURES[name](results, ks))
    return figures
