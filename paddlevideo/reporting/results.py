"""Per-clip results of a test: written, read back, joined by path, fused, and scored again."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.classes import Classes, order_in
from paddlevideo.errors import UserError
from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.lists import clip_name, parse_label, read_rows
from paddlevideo.metrics import topk
from paddlevideo.safe_io import instead_of_a_file, read_pickle, reading, write_atomic, write_pickle

log = logging.getLogger("paddlevideo")

SUFFIXES = (".json", ".csv", ".pkl")
_SHOWN = 10  # paths named in a message
_SUM_OF_PROBABILITIES = 1e-3  # by which it may differ from 1


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


def read_results(path: str | Path) -> Results:
    """A file of ``write_results``, or a ``.json`` / ``.pkl`` list of score vectors (MMAction2's; no paths, no labels).

    Raises:
        UserError: the file is missing, damaged, unsafe, or holds something else.
    """
    path = check_name(path, "")
    if not path.is_file():
        raise UserError(f"{path}: {instead_of_a_file(path)}")
    with reading(path, "a results file of --out", "expected path, label and scores of every clip"):
        if path.suffix.lower() == ".csv":
            return _from_csv(path)
        is_json = path.suffix.lower() == ".json"
        return _from_rows(json.loads(path.read_text(encoding="utf-8")) if is_json else read_pickle(path), str(path))


def _from_rows(rows: Any, source: str) -> Results:
    if not isinstance(rows, list) or not rows:
        raise ValueError("an empty list" if rows == [] else f"a {type(rows).__name__}")
    if not isinstance(rows[0], dict):
        return Results([], None, _table([_numbers(row, i) for i, row in enumerate(rows)]), source)
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"clip {i}: expected path, label and scores, got {row!r:.40}")
    paths = [str(row["path"]) for row in rows]
    scores = _table([None if row["scores"] is None else _numbers(row["scores"], i) for i, row in enumerate(rows)])
    return Results(paths, _labels_of(rows), scores, source, _names(rows[0].get("class_names"), scores))


def _labels_of(rows: Sequence[dict[str, Any]]) -> np.ndarray | None:
    """Of rows of ``{label}``: int64 [N], float32 [N, K] of lists, or None where no row has one."""
    labels = [row.get("label") for row in rows]
    if all(label is None for label in labels):
        return None
    if isinstance(labels[0], (list, tuple, np.ndarray)):
        return _table([_numbers(label, i, "label") for i, label in enumerate(labels)], "labels").astype("float32")
    for i, label in enumerate(labels):
        if isinstance(label, bool) or not isinstance(label, (int, float, np.number)) or label != int(label):
            raise ValueError(f"clip {i}: label: expected a whole number, got {label!r:.40}")
    return np.array(labels, dtype="int64")


def _numbers(values: Any, clip: int, what: str = "scores") -> list[float]:
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(values, str):  # of digits each would be a number
            return [float(value) for value in values]
    raise ValueError(f"clip {clip}: {what}: expected a list of numbers, got {values!r:.40}")


def _from_csv(path: Path) -> Results:
    with path.open(encoding="utf-8", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    if header[:3] != ["path", "label", "predicted"]:
        raise ValueError("the header must begin with path,label,predicted")
    scores = _table([None if row[2] == "unreadable" else _numbers(row[3:], i) for i, row in enumerate(rows)])
    texts = [row[1] for row in rows]
    if any(";" in text or not text for text in texts):
        labels = np.zeros(scores.shape, "float32")
        for i, text in enumerate(texts):
            own = [_number_of(part, i) for part in text.split(";") if part]
            if not all(0 <= label < scores.shape[1] for label in own):
                raise ValueError(f"clip {i}: label {text}: the scores are of {scores.shape[1]} classes")
            labels[i, own] = 1.0
    else:
        labels = np.array([_number_of(text, i) for i, text in enumerate(texts)], dtype="int64")
    titles = [text.partition(" ")[2] for text in header[3:]]
    names = _names(titles, scores) if titles and all(titles) else None
    return Results([row[0] for row in rows], labels, scores, str(path), names)


def _number_of(text: str, clip: int) -> int:
    if not text.strip().removeprefix("-").isdecimal():
        raise ValueError(f"clip {clip}: label: expected a whole number, got {text!r:.40}")
    return int(text)


def _names(names: Any, scores: np.ndarray) -> list[str] | None:
    if names is None:
        return None
    if not (isinstance(names, list) and all(isinstance(n, str) for n in names) and len(names) == scores.shape[1]):
        raise ValueError(f"class_names: expected {scores.shape[1]} names, one per score")
    return names


def by_name(results: Results, names: Sequence[str], of_names: str) -> Results:
    """The same results with the classes in the order of ``names``; results without names as they are.

    Raises:
        UserError: they are of other classes.
    """
    if results.names is None:
        return results
    order = order_in(Classes(tuple(names)), Classes(tuple(results.names)), of_names, results.source)
    if order is None:
        return results
    log.warning("%s: the classes are in another order than in %s; mapped by name", results.source, of_names)
    scores, labels = np.empty_like(results.scores), results.labels
    scores[:, order] = results.scores
    if results.multi_hot:
        labels = np.empty_like(results.labels)
        labels[:, order] = results.labels
    elif labels is not None:
        labels = np.array(order)[labels]
    return replace(results, scores=scores, labels=labels, names=list(names))


def annotate(results: Results, list_file: str) -> Results:
    """The results with the labels of a list (``path label``, or ``path num_frames label``), and its paths if they lack.

    Results with paths are joined by path, others by order.

    Raises:
        UserError: the results have labels, or the list does not hold these clips.
    """
    if results.labels is not None:
        raise UserError(f"--annotations {list_file}: {results.source} has labels of its own")
    rows = read_rows(list_file, ("path", "label"))
    problems = Findings(list_file)
    labels = np.array([parse_label(row, results.scores.shape[1], problems) for row in rows], dtype="int64")
    problems.raise_if_any()
    paths = [row.fields["path"] for row in rows]
    if not results.paths:
        if len(paths) != len(results.scores):
            raise UserError(f"{list_file}: {len(paths)} clips, {results.source} has {len(results.scores)}")
        return replace(results, paths=paths, labels=labels)
    listed = Results(paths, None, np.zeros((len(paths), results.scores.shape[1])), list_file)
    here, there = _places(results), _places(listed)
    _same_clips(results, listed, here, there)
    return replace(results, labels=labels[[there[key] for key in here]])


def _table(rows: list[list[float] | None], what: str = "scores") -> np.ndarray:
    widths = {len(row) for row in rows if row is not None}
    if len(widths) > 1:
        raise ValueError(f"clips with {sorted(widths)} {what}")
    empty = [np.nan] * (widths.pop() if widths else 1)
    return np.array([empty if row is None else row for row in rows], dtype="float64")


def fuse(files: Sequence[Results], weights: Sequence[float], softmax: bool = False) -> Results:
    """Late fusion: the weighted mean of the files' scores, clip by clip, in the first file's order.

    Clips are joined by path (a path that is listed n times, by path and place).  A clip that one network could not
    read counts as unreadable.

    Args:
        weights: one per file, from 0; those of a sum of 0 are refused.
        softmax: turn each file's scores into probabilities first, for files of logits.

    Raises:
        UserError: the files hold other clips, labels or numbers of classes; a softmax of probabilities.
    """
    if len(weights) != len(files):
        raise UserError(f"--weights: expected {len(files)}, one per results file, got {len(weights)}")
    if not (all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0):
        raise UserError(f"--weights: expected numbers from 0, one of them above it, got {' '.join(map(str, weights))}")
    first = files[0]
    if first.names:
        files = [first, *(by_name(results, first.names, first.source) for results in files[1:])]
    order = _places(first)
    total = np.zeros_like(first.scores)
    for results, weight in zip(files, weights):
        places = _places(results)
        _same_clips(first, results, order, places)
        rows = [places[key] for key in order]
        if results.labels is not None and first.labels is not None:
            _same_labels(first, results, rows)
        scores = results.scores[rows]
        if softmax and _are_probabilities(scores):
            raise UserError(f"{results.source}: its scores are probabilities already; leave out --softmax")
        total = total + weight * (topk.softmax(scores) if softmax else scores)
    if first.labels is None and any(f.labels is not None for f in files):
        raise UserError(f"{first.source}: has no labels, other files do; name a file with labels first")
    return Results(first.paths, first.labels, total / sum(weights), " + ".join(f.source for f in files), first.names)


def _are_probabilities(scores: np.ndarray) -> bool:
    """Whether each row [N, K] is of one sum of 1; a row of NaN is of a clip that could not be read."""
    rows = scores[~np.isnan(scores).any(1)]
    return len(rows) > 0 and (rows >= 0).all() and np.abs(rows.sum(1) - 1).max() < _SUM_OF_PROBABILITIES


def _places(results: Results) -> dict[Any, int]:
    """(path, how often it came before) -> row; without paths the rows themselves."""
    if not results.paths:
        return {i: i for i in range(len(results.scores))}
    seen: Counter[str] = Counter()
    places = {}
    for i, path in enumerate(results.paths):
        places[path, seen[path]] = i
        seen[path] += 1
    return places


def _same_clips(first: Results, other: Results, order: dict[Any, int], places: dict[Any, int]) -> None:
    if bool(first.paths) != bool(other.paths):
        raise UserError(f"{other.source}: one of the files has no paths, so they cannot be joined")
    if first.scores.shape[1] != other.scores.shape[1]:
        raise UserError(f"{other.source}: {other.scores.shape[1]} classes, {first.source} has {first.scores.shape[1]}")
    for here, there, only in ((first, other, order.keys() - places.keys()), (other, first, places.keys() - order)):
        if only:
            named = [str(key[0]) if isinstance(key, tuple) else f"row {key}" for key in sorted(only)]
            raise UserError(
                f"{len(only)} clips of {here.source} are not in {there.source}: {', '.join(named[:_SHOWN])}"
                + (", ..." if len(named) > _SHOWN else "")
            )


def _same_labels(first: Results, other: Results, rows: list[int]) -> None:
    theirs = other.labels[rows]
    if theirs.shape != first.labels.shape:
        raise UserError(f"{other.source}: labels of another kind than {first.source}'s")
    differ = np.flatnonzero((theirs != first.labels).reshape(len(rows), -1).any(axis=1))
    if len(differ):
        i = int(differ[0])
        name = first.paths[i] if first.paths else f"row {i}"
        raise UserError(
            f"{other.source}: {len(differ)} labels differ from {first.source}'s, first {name}: "
            f"{theirs[i].tolist()} and {first.labels[i].tolist()}"
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
    classes = results.scores.shape[1]
    if results.multi_hot:
        if results.labels.shape != results.scores.shape:
            raise UserError(f"{results.source}: {results.labels.shape[1]} classes in labels, {classes} in scores")
    elif results.labels.min() < 0 or results.labels.max() >= classes:
        wrong = int(np.flatnonzero((results.labels < 0) | (results.labels >= classes))[0])
        raise UserError(f"{results.source}: clip {wrong} has label {results.labels[wrong]}, scores are of {classes}")
    if metrics is None:
        names = list(FIGURES)
        metrics = names[2:] if results.multi_hot else names[:2]
    figures: dict[str, float] = {}
    for name in metrics:
        figures.update(FIGURES[name](results, ks))
    return figures
