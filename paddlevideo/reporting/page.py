"""``report.html`` of a test: one file without scripts or outside parts, with the figures, the right and wrong clips,
the confusions between classes, and the facts of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.metrics.confusion import confusion_matrix, per_class_table
from paddlevideo.metrics.several_labels import DEFAULT_THRESHOLD, class_rows
from paddlevideo.metrics.topk import average_precision, is_trivial, predictions
from paddlevideo.reporting.confusion_drawing import matrix_section
from paddlevideo.reporting.markup import bar, document, percent, run_facts, table, text
from paddlevideo.reporting.report_clips import ClipViews, Ranking
from paddlevideo.reporting.results import Results, multi_hot_of
from paddlevideo.safe_io import write_atomic

_PAIRS = 15

_STYLE = """
.strip { height: 72px; max-width: none; vertical-align: bottom; } .problem { color: var(--bad); }
"""


@dataclass
class ReportPage:
    """The content of a report.

    Args:
        title: its heading.
        figures: the metric's, 0 to 1; keys that begin with ``num_`` are counts.
        results: of every clip; None if the metric keeps none.
        names: K class names; None: the numbers.
        facts: (what, value) lines, e.g. the command and the versions.
        config: the resolved configuration, as text.
        classes: for detection, a mapping per class: ``class``, ``name``, ``num_truth``, ``num_detections``,
            ``average_precision`` (0 to 1, or NaN).
        clips: links and pictures of the clips; None: their names alone.
        thresholds: of several labels per clip, the least score per class that counts as found; None: 0.5.
    """

    title: str
    figures: Mapping[str, float]
    results: Results | None = None
    names: Sequence[str] | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    config: str = ""
    classes: Sequence[Mapping[str, Any]] | None = None
    clips: ClipViews | None = None
    thresholds: Sequence[float] | None = None

    def name(self, k: int) -> str:
        """The label of class ``k``: its number, and its name if there is one."""
        return f"{k} {self.names[k]}" if self.names else str(k)

    def clip(self, row: int) -> str:
        """HTML of the clip in a row of the results."""
        path = self.results.paths[row]
        return text(path) if self.clips is None else self.clips.cell(row, path)


def write_report(path: str | Path, report: ReportPage) -> None:
    """Writes the page."""
    write_atomic(path, render(report))


def render(report: ReportPage) -> str:
    """The page as text."""
    parts = [f"<h1>{text(report.title)}</h1>", _figures(report)]
    results = report.results
    if results is not None and results.labels is not None and len(results.scores):
        parts.append(_unreadable(results))
        parts += _several_labels(report, results) if results.multi_hot else _one_label(report, results)
    if report.classes is not None:
        parts.append(_detected_classes(report.classes))
    parts.append(run_facts(report.facts, report.config))
    return document(report.title, parts, _STYLE)


def _figures(report: ReportPage) -> str:
    tiles = []
    for key, value in report.figures.items():
        if report.results is not None and is_trivial(key, report.results.scores.shape[1]):
            continue
        shown = str(int(value)) if key.startswith("num_") else f"{100 * value:.2f} %"
        tiles.append(f"<li><b>{shown}</b>{text(key.removeprefix('num_').replace('_', ' '))}</li>")
    return f'<ul class="tiles">{"".join(tiles)}</ul>'


def _unreadable(results: Results) -> str:
    paths = [results.paths[i] for i in np.flatnonzero(results.unreadable)]
    if not paths:
        return ""
    rows = "".join(f"<li>{text(path)}</li>" for path in paths)
    count = "1 clip" if len(paths) == 1 else f"{len(paths)} clips"
    heading = f"<h2>{count} without scores</h2><p>What could not be read counts as wrong.</p>"
    return f'<div class="alert">{heading}<ul class="scroll">{rows}</ul></div>'


def _one_label(report: ReportPage, results: Results) -> list[str]:
    """The sections of single-label recognition."""
    matrix = confusion_matrix(results.scores, results.labels, results.scores.shape[1])
    totals = np.bincount(results.labels, minlength=len(matrix))
    ranking = Ranking.of(results)
    return [
        _class_table(report, matrix, totals),
        matrix_section(matrix, totals, report.name),
        _pairs(report, matrix, totals),
        _clips(report, results, ranking),
        _class_clips(report, results, ranking),
    ]


def _class_table(report: ReportPage, matrix: np.ndarray, totals: np.ndarray) -> str:
    """Every class, the worst first; unreadable clips are in ``totals`` and in no column of the matrix."""
    rows = []
    for row in per_class_table(matrix, num_samples=totals.tolist()):
        k, accuracy, other = row["class"], row["accuracy"], row["most_taken_for"]
        taken = "" if other is None else f"{text(report.name(other))} ({matrix[k, other]})"
        counts = [str(row["num_samples"]), str(row["num_predicted"]), str(row["num_right"])]
        cells = [text(report.name(k)), *counts, bar(accuracy), percent(row["precision"]), taken]
        rows.append((accuracy, cells))
    rows.sort(key=lambda pair: (pair[0] is None, pair[0] or 0.0))
    header = ("class", "clips", "predicted", "right", "accuracy (recall)", "precision", "most often taken for (clips)")
    empty = int((totals == 0).sum())
    note = f'<p class="note">{empty} classes have no clip; they stand last.</p>' if empty else ""
    content = table(header, (cells for _, cells in rows), "tnnntnt", scroll=True)
    return f"<h2>Classes, the worst first</h2>{note}{content}"


def _pairs(report: ReportPage, matrix: np.ndarray, totals: np.ndarray) -> str:
    """The most frequent confusions."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    rows = []
    for k, other in zip(*np.unravel_index(order, wrong.shape)):
        if wrong[k, other]:
            share = percent(wrong[k, other] / totals[k])
            rows.append([text(report.name(k)), text(report.name(other)), str(wrong[k, other]), share])
    if not rows:
        return ""
    header = ("label", "taken for", "clips", "share of the label's")
    return "<h2>The most frequent confusions</h2>" + table(header, rows, "ttnn")


def _clips(report: ReportPage, results: Results, ranking: Ranking) -> str:
    """The right and the wrong clips with the highest scores."""
    predicted, rows = predictions(results.scores), np.arange(len(results.scores))
    best, own = results.scores[rows, predicted], results.scores[rows, results.labels]
    worst, good = "<p>None is wrong.</p>", "<p>None is right.</p>"
    if ranking.worst:
        cells = (
            [report.clip(i), text(report.name(results.labels[i])), f"{own[i]:.4f}",
             text(report.name(predicted[i])), f"{best[i]:.4f}"] for i in ranking.worst
        )  # fmt: skip
        worst = table(("path", "label", "its score", "predicted", "its score"), cells, "ptntn")
    if ranking.best:
        cells = ([report.clip(i), text(report.name(predicted[i])), f"{best[i]:.4f}"] for i in ranking.best)
        good = table(("path", "label, predicted", "score"), cells, "ptn")
    return (
        f"<h2>Worst clips: wrong and sure of it</h2>{_pictures_note(report)}{worst}"
        f"<h2>Best clips: right and sure of it</h2>{good}"
    )


def _pictures_note(report: ReportPage) -> str:
    """How the pictures are to be read."""
    if report.clips is None or not report.clips.pictures:
        return ""
    note = "The pictures are frames as the network gets them, cropped and scaled; of several views, the middle one."
    return f'<p class="note">{note} {text(report.clips.remark)}</p>'


def _class_clips(report: ReportPage, results: Results, ranking: Ranking) -> str:
    """Of each class with pictures, the clips with its lowest and its highest score."""
    if report.clips is None:
        return ""
    seen = report.clips.pictures.keys() | report.clips.problems.keys()
    shown = [row for row in ranking.of_classes if seen.intersection(row[1:])]
    cells = (
        [text(report.name(k)), report.clip(low), f"{results.scores[low, k]:.4f}",
         report.clip(high), f"{results.scores[high, k]:.4f}"] for k, low, high in shown
    )  # fmt: skip
    if not shown:
        return ""
    content = table(("class", "lowest score", "", "highest score", ""), cells, "tpnpn")
    worst = "" if len(shown) == results.scores.shape[1] else f", of the {len(shown)} classes with the lowest accuracy"
    return f"<h2>Clips with the lowest and the highest score of their label{worst}</h2>{content}"


def _several_labels(report: ReportPage, results: Results) -> list[str]:
    """The sections of multi-label recognition: average precision per class and per clip."""
    hot = multi_hot_of(results) >= 0.5
    classes = _several_classes(report, results.scores, hot)
    ranking = Ranking.of(results)

    def clips(which: list[int]) -> str:
        cells = (
            [report.clip(i), text(", ".join(map(report.name, np.flatnonzero(hot[i])))),
             text(", ".join(map(report.name, np.argsort(-results.scores[i], kind="stable")[: max(1, hot[i].sum())]))),
             f"{average_precision(results.scores[i], hot[i]):.4f}"] for i in which
        )  # fmt: skip
        return table(("path", "labels", "as many highest classes", "average precision"), cells, "pttn")

    return [
        classes,
        f"<h2>Worst clips</h2>{_pictures_note(report)}{clips(ranking.worst)}<h2>Best clips</h2>{clips(ranking.best)}",
    ]


def _several_classes(report: ReportPage, scores: np.ndarray, hot: np.ndarray) -> str:
    """Every class with its average precision, the lowest first, and what is found at its threshold."""
    rows = []
    for row, own, positive in zip(class_rows(scores, hot, report.thresholds or DEFAULT_THRESHOLD), scores.T, hot.T):
        value = average_precision(own, positive)
        counts = [str(row["num_truth"]), bar(value), f"{row['threshold']:.3g}", str(row["num_predicted"])]
        shares = [percent(row[key]) for key in ("precision", "recall", "f1")]
        rows.append((value, [text(report.name(row["class"])), *counts, *shares]))
    rows.sort(key=lambda pair: (np.isnan(pair[0]), pair[0]))
    empty = int((~hot.any(axis=0)).sum())
    note = '<p class="note">Found: clips with a score of at least the class\'s threshold.'
    note += f" {empty} classes have no clip; they stand last.</p>" if empty else "</p>"
    header = ("class", "clips with it", "average precision", "threshold", "found", "precision", "recall", "F1")
    content = table(header, (cells for _, cells in rows), "tntnnnnn", scroll=True)
    return f"<h2>Classes, the worst first</h2>{note}{content}"


def _detected_classes(classes: Sequence[Mapping[str, Any]]) -> str:
    """Every class with its average precision, the lowest first; classes without a true box last."""
    ordered = sorted(classes, key=lambda row: (np.isnan(row["average_precision"]), row["average_precision"]))
    cells = (
        [text(f"{row['class']} {row['name']}"), str(row["num_truth"]), str(row["num_detections"]),
         bar(row["average_precision"])] for row in ordered
    )  # fmt: skip
    empty = sum(not row["num_truth"] for row in classes)
    note = f'<p class="note">{empty} classes have no true box; they stand last and do not count.</p>' if empty else ""
    content = table(("class", "true boxes", "detections", "average precision"), cells, "tnnt", scroll=True)
    return f"<h2>Classes, the lowest average precision first</h2>{note}{content}"
