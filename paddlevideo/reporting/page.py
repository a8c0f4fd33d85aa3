"""``report.html`` of a test: one file without scripts or outside parts, with the figures, the right and wrong clips,
the confusions between classes, and the facts of the run.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.metrics.confusion import confusion_matrix, per_class_table
from paddlevideo.metrics.several_labels import DEFAULT_THRESHOLD, class_rows
from paddlevideo.metrics.topk import average_precision, predictions
from paddlevideo.reporting.results import Results, multi_hot_of
from paddlevideo.safe_io import write_atomic

MATRIX_CLASSES = 40  # up to so many classes the matrix shows all of them
_WORST_CLASSES = 30  # beyond that, these
_CLIPS = 15
_PAIRS = 15
_CELL = 22  # pixels
_NAME = 28  # characters of a class name beside the matrix

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #2a5fc4; --bad: #bf4a1c; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; } td.path { overflow-wrap: anywhere; font-family: ui-monospace, monospace; }
th { font-weight: 600; } thead th { position: sticky; top: 0; background: Canvas; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; padding: 0; list-style: none; }
.tiles li { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem 1rem; }
.tiles b { display: block; font-size: 1.4rem; }
.scroll { max-height: 32rem; overflow: auto; } .wide { overflow-x: auto; }
.share { display: inline-block; min-width: 4.2rem; text-align: right; padding-right: .5rem; }
.bar { display: inline-block; height: .6rem; background: var(--good); }
.alert { border-left: .3rem solid var(--bad); padding-left: .8rem; }
.note { opacity: .75; } pre { background: var(--soft); padding: .8rem; overflow-x: auto; }
svg text { fill: currentColor; font: 11px system-ui, sans-serif; } svg .on { fill: #fff; }
svg .right { fill: var(--good); } svg .wrong { fill: var(--bad); } svg .grid { fill: none; stroke: var(--line); }
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
        thresholds: of several labels per clip, the least score per class that counts as found; None: 0.5.
    """

    title: str
    figures: Mapping[str, float]
    results: Results | None = None
    names: Sequence[str] | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    config: str = ""
    classes: Sequence[Mapping[str, Any]] | None = None
    thresholds: Sequence[float] | None = None

    def name(self, k: int) -> str:
        """The label of class ``k``: its number, and its name if there is one."""
        return f"{k} {self.names[k]}" if self.names else str(k)


def write_report(path: str | Path, report: ReportPage) -> None:
    """Writes the page."""
    write_atomic(path, render(report))


def render(report: ReportPage) -> str:
    """The page as text."""
    parts = [f"<h1>{_text(report.title)}</h1>", _figures(report.figures)]
    results = report.results
    if results is not None and results.labels is not None and len(results.scores):
        parts.append(_unreadable(results))
        parts += _several_labels(report, results) if results.multi_hot else _one_label(report, results)
    if report.classes is not None:
        parts.append(_detected_classes(report.classes))
    parts.append(_facts(report))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(report.title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _text(value: object) -> str:
    """Escaped for HTML; characters that a terminal or a browser would hide or execute are spelled out."""
    spelled = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(value))
    return html.escape(spelled, quote=True)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], kinds: str, scroll: bool = False) -> str:
    """A table of ready cells.

    Args:
        kinds: a letter per column: "n" number, "p" path, "t" text.
    """
    classes = {"n": ' class="n"', "p": ' class="path"', "t": ""}
    marks = [classes[kind] for kind in kinds]
    head = "".join(f'<th scope="col"{mark if "path" not in mark else ""}>{h}</th>' for h, mark in zip(header, marks))
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(row, marks)) + "</tr>\n" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    return f'<div class="{"scroll" if scroll else "wide"}">{table}</div>'


def _percent(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f} %"


def _figures(figures: Mapping[str, float]) -> str:
    tiles = []
    for key, value in figures.items():
        shown = str(int(value)) if key.startswith("num_") else f"{100 * value:.2f} %"
        tiles.append(f"<li><b>{shown}</b>{_text(key.removeprefix('num_').replace('_', ' '))}</li>")
    return f'<ul class="tiles">{"".join(tiles)}</ul>'


def _unreadable(results: Results) -> str:
    paths = [results.paths[i] for i in np.flatnonzero(results.unreadable)]
    if not paths:
        return ""
    rows = "".join(f"<li>{_text(path)}</li>" for path in paths)
    count = "1 clip" if len(paths) == 1 else f"{len(paths)} clips"
    heading = f"<h2>{count} without scores</h2><p>What could not be read counts as wrong.</p>"
    return f'<div class="alert">{heading}<ul class="scroll">{rows}</ul></div>'


def _one_label(report: ReportPage, results: Results) -> list[str]:
    """The sections of single-label recognition."""
    matrix = confusion_matrix(results.scores, results.labels, results.scores.shape[1])
    totals = np.bincount(results.labels, minlength=len(matrix))
    return [_class_table(report, matrix, totals), _matrix(report, matrix, totals), _pairs(report, matrix, totals),
            _clips(report, results)]  # fmt: skip


def _class_table(report: ReportPage, matrix: np.ndarray, totals: np.ndarray) -> str:
    """Every class, the worst first; unreadable clips are in ``totals`` and in no column of the matrix."""
    rows = []
    for row in per_class_table(matrix):
        k, total = row["class"], int(totals[row["class"]])
        accuracy = row["num_right"] / total if total else None
        other = row["most_taken_for"]
        taken = "" if other is None else f"{_text(report.name(other))} ({matrix[k, other]})"
        counts = [str(total), str(row["num_predicted"]), str(row["num_right"])]
        cells = [_text(report.name(k)), *counts, _bar(accuracy), _percent(row["precision"]), taken]
        rows.append((accuracy, cells))
    rows.sort(key=lambda pair: (pair[0] is None, pair[0] or 0.0))
    header = ("class", "clips", "predicted", "right", "accuracy (recall)", "precision", "most often taken for (clips)")
    empty = int((totals == 0).sum())
    note = f'<p class="note">{empty} classes have no clip; they stand last.</p>' if empty else ""
    table = _table(header, (cells for _, cells in rows), "tnnntnt", scroll=True)
    return f"<h2>Classes, the worst first</h2>{note}{table}"


def _bar(share: float | None) -> str:
    if share is None or np.isnan(share):
        return "-"
    return f'<span class="share">{_percent(share)}</span><span class="bar" style="width:{4 * share:.2f}rem"></span>'


def _matrix(report: ReportPage, matrix: np.ndarray, totals: np.ndarray) -> str:
    """All classes, or those with the most wrong clips and a column for all the others."""
    errors = totals - np.diag(matrix)
    if len(matrix) <= MATRIX_CLASSES:
        shown, heading = np.arange(len(matrix)), "Confusion matrix"
    else:
        order = np.argsort(-errors, kind="stable")[:_WORST_CLASSES]
        shown = np.sort(order[errors[order] > 0])
        heading = f"Confusion matrix of the {len(shown)} classes with the most wrong clips"
    if not len(shown):
        return "<h2>Confusion matrix</h2><p>Every clip is right.</p>"
    counts = matrix[np.ix_(shown, shown)]
    columns = [report.name(k) for k in shown]
    for name, rest in (("other classes", matrix[shown].sum(1) - counts.sum(1)),
                       ("unreadable", totals[shown] - matrix[shown].sum(1))):  # fmt: skip
        if rest.any():
            counts, columns = np.column_stack([counts, rest]), [*columns, name]
    note = (
        '<p class="note">Row: the label; column: the prediction; cells: clips, shaded by their share of the row. '
        "Blue is right, orange is wrong. Rest the pointer on a cell for its names.</p>"
    )
    drawing = _svg(counts, [report.name(k) for k in shown], columns, totals[shown])
    return f'<h2>{heading}</h2>{note}<div class="wide">{drawing}</div>'


def _svg(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], totals: np.ndarray) -> str:
    """The heat map of counts [R, C]; the first R columns are the rows' classes."""
    left = 12 + 6.2 * min(_NAME, max(map(len, rows)))
    top = 12 + 5.0 * min(_NAME, max(map(len, columns)))
    right, below = left + _CELL * len(columns), top + _CELL * len(rows)
    width, height = right + top, below + 2  # slanted names lean out to the right
    cells = []
    for i, j in zip(*np.nonzero(counts)):
        share, x, y = counts[i, j] / max(1, totals[i]), left + _CELL * j, top + _CELL * i
        kind = "right" if i == j else "wrong"
        tip = f"{rows[i]} -> {columns[j]}: {counts[i, j]} of {totals[i]} ({_percent(share)})"
        number = f"{counts[i, j]}" if counts[i, j] < 1000 else f"{counts[i, j] / 1000:.0f}k"
        on = ' class="on"' if share > 0.7 else ""
        cells.append(
            f'<g><title>{_text(tip)}</title><rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{_CELL}" '
            f'height="{_CELL}" fill-opacity="{0.12 + 0.88 * share:.2f}"/>'
            f'<text{on} x="{x + _CELL / 2:.0f}" y="{y + 15:.0f}" text-anchor="middle">{number}</text></g>'
        )
    names = [
        f'<text x="{left - 6:.0f}" y="{top + _CELL * i + 15:.0f}" text-anchor="end">{_short(name)}</text>'
        for i, name in enumerate(rows)
    ]
    names += [
        f'<text transform="translate({left + _CELL * j + 14:.0f} {top - 6:.0f}) rotate(-45)">{_short(name)}</text>'
        for j, name in enumerate(columns)
    ]
    lines = "".join(f"M{left:.0f} {top + _CELL * i:.0f}H{right:.0f}" for i in range(len(rows) + 1))
    lines += "".join(f"M{left + _CELL * j:.0f} {top:.0f}V{below:.0f}" for j in range(len(columns) + 1))
    return (
        f'<svg role="img" aria-label="confusion matrix" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{"".join(cells)}<path class="grid" d="{lines}"/>{"".join(names)}</svg>'
    )


def _short(name: str) -> str:
    shown = name if len(name) <= _NAME else name[: _NAME - 3] + "..."
    return f"<title>{_text(name)}</title>{_text(shown)}"


def _pairs(report: ReportPage, matrix: np.ndarray, totals: np.ndarray) -> str:
    """The most frequent confusions."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    rows = []
    for k, other in zip(*np.unravel_index(order, wrong.shape)):
        if wrong[k, other]:
            share = _percent(wrong[k, other] / totals[k])
            rows.append([_text(report.name(k)), _text(report.name(other)), str(wrong[k, other]), share])
    if not rows:
        return ""
    header = ("label", "taken for", "clips", "share of the label's")
    return "<h2>The most frequent confusions</h2>" + _table(header, rows, "ttnn")


def _clips(report: ReportPage, results: Results) -> str:
    """The right and the wrong clips with the highest scores."""
    predicted, rows = predictions(results.scores), np.arange(len(results.scores))
    best = np.where(predicted < 0, np.nan, results.scores[rows, predicted])
    own = results.scores[rows, results.labels]
    lead = np.where(predicted < 0, np.nan, best - own)
    right = [i for i in np.argsort(-best, kind="stable") if predicted[i] == results.labels[i]][:_CLIPS]
    wrong = [i for i in np.argsort(-lead, kind="stable") if predicted[i] not in (-1, results.labels[i])][:_CLIPS]

    worst, good = "<p>None is wrong.</p>", "<p>None is right.</p>"
    if wrong:
        cells = (
            [_text(results.paths[i]), _text(report.name(results.labels[i])), f"{own[i]:.4f}",
             _text(report.name(predicted[i])), f"{best[i]:.4f}"] for i in wrong
        )  # fmt: skip
        worst = _table(("path", "label", "its score", "predicted", "its score"), cells, "ptntn")
    if right:
        cells = ([_text(results.paths[i]), _text(report.name(predicted[i])), f"{best[i]:.4f}"] for i in right)
        good = _table(("path", "label, predicted", "score"), cells, "ptn")
    return f"<h2>Worst clips: wrong and sure of it</h2>{worst}<h2>Best clips: right and sure of it</h2>{good}"


def _several_labels(report: ReportPage, results: Results) -> list[str]:
    """The sections of multi-label recognition: average precision per class and per clip."""
    hot = multi_hot_of(results) >= 0.5
    classes = _several_classes(report, results.scores, hot)
    value = np.array([average_precision(scores, row) for scores, row in zip(results.scores, hot)])
    known = [int(i) for i in np.argsort(value, kind="stable") if not np.isnan(value[i]) and not results.unreadable[i]]

    def table(which: list[int]) -> str:
        cells = (
            [_text(results.paths[i]), _text(", ".join(map(report.name, np.flatnonzero(hot[i])))),
             _text(", ".join(map(report.name, np.argsort(-results.scores[i], kind="stable")[: max(1, hot[i].sum())]))),
             f"{value[i]:.4f}"] for i in which
        )  # fmt: skip
        return _table(("path", "labels", "as many highest classes", "average precision"), cells, "pttn")

    return [
        classes,
        f"<h2>Worst clips</h2>{table(known[:_CLIPS])}<h2>Best clips</h2>{table(known[::-1][:_CLIPS])}",
    ]


def _several_classes(report: ReportPage, scores: np.ndarray, hot: np.ndarray) -> str:
    """Every class with its average precision, the lowest first, and what is found at its threshold."""
    rows = []
    for row, own, positive in zip(class_rows(scores, hot, report.thresholds or DEFAULT_THRESHOLD), scores.T, hot.T):
        value = average_precision(own, positive)
        counts = [str(row["num_truth"]), _bar(value), f"{row['threshold']:.3g}", str(row["num_predicted"])]
        shares = [_percent(row[key]) for key in ("precision", "recall", "f1")]
        rows.append((value, [_text(report.name(row["class"])), *counts, *shares]))
    rows.sort(key=lambda pair: (np.isnan(pair[0]), pair[0]))
    empty = int((~hot.any(axis=0)).sum())
    note = '<p class="note">Found: clips with a score of at least the class\'s threshold.'
    note += f" {empty} classes have no clip; they stand last.</p>" if empty else "</p>"
    header = ("class", "clips with it", "average precision", "threshold", "found", "precision", "recall", "F1")
    table = _table(header, (cells for _, cells in rows), "tntnnnnn", scroll=True)
    return f"<h2>Classes, the worst first</h2>{note}{table}"


def _detected_classes(classes: Sequence[Mapping[str, Any]]) -> str:
    """Every class with its average precision, the lowest first; classes without a true box last."""
    ordered = sorted(classes, key=lambda row: (np.isnan(row["average_precision"]), row["average_precision"]))
    cells = (
        [_text(f"{row['class']} {row['name']}"), str(row["num_truth"]), str(row["num_detections"]),
         _bar(row["average_precision"])] for row in ordered
    )  # fmt: skip
    empty = sum(not row["num_truth"] for row in classes)
    note = f'<p class="note">{empty} classes have no true box; they stand last and do not count.</p>' if empty else ""
    table = _table(("class", "true boxes", "detections", "average precision"), cells, "tnnt", scroll=True)
    return f"<h2>Classes, the lowest average precision first</h2>{note}{table}"


def _facts(report: ReportPage) -> str:
    rows = [[_text(what), _text(value)] for what, value in report.facts]
    facts = "<h2>The run</h2>" + _table(("what", "value"), rows, "tp") if rows else ""
    if report.config:
        facts += (
            f"<h2>Configuration</h2><details><summary>resolved</summary><pre>{_text(report.config)}</pre></details>"
        )
    return facts
