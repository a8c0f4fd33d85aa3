"""Results files of ``--out``, and lists of score vectors, read back and checked."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.list_lines import is_whole
from paddlevideo.reporting.results import Results, check_name
from paddlevideo.safe_io import instead_of_a_file, read_pickle, reading

_SCORE = re.compile(r"score_(0|[1-9][0-9]*)(?: (.*))?", re.DOTALL)


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
        rows = json.loads(path.read_text(encoding="utf-8-sig")) if is_json else read_pickle(path)
        return _from_rows(rows, str(path))


def _from_rows(rows: Any, source: str) -> Results:
    if not isinstance(rows, list) or not rows:
        raise ValueError("an empty list" if rows == [] else f"a {type(rows).__name__}")
    if not isinstance(rows[0], dict):
        return Results([], None, _table([_numbers(row, i) for i, row in enumerate(rows)]), source)
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or not {"path", "scores"} <= row.keys():
            raise ValueError(f"clip {i}: expected path, label and scores, got {row!r:.40}")
    paths = [str(row["path"]) for row in rows]
    scores = _table([None if row["scores"] is None else _numbers(row["scores"], i) for i, row in enumerate(rows)])
    labels, names = _labels_of(rows), rows[0].get("class_names")
    if all(row["scores"] is None for row in rows):  # the number of classes is that of what else the file states
        scores = _wide(scores, len(names) if isinstance(names, list) else _least_classes(labels))
    return Results(paths, labels, scores, source, _names(names, scores))


def _least_classes(labels: np.ndarray | None) -> int:
    """How many classes these labels need at least."""
    if labels is None:
        return 1
    return labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=0)) + 1


def _labels_of(rows: Sequence[dict[str, Any]]) -> np.ndarray | None:
    """Of rows of ``{label}``: int64 [N], float32 [N, K] of lists, or None where a row has none."""
    labels = [row.get("label") for row in rows]
    if any(label is None for label in labels):
        return None
    if isinstance(labels[0], (list, tuple, np.ndarray)):
        found = _table([_numbers(label, i, "label") for i, label in enumerate(labels)], "labels").astype("float32")
        wrong = np.flatnonzero(~((found >= 0) & (found <= 1)).all(axis=1))
        if len(wrong):
            raise ValueError(f"clip {wrong[0]} has labels that are not 0 or 1")
        return found
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
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header, *rows = [row for row in csv.reader(stream) if row] or [[]]
    if header[:3] != ["path", "label", "predicted"]:
        raise ValueError("the header must begin with path,label,predicted")
    if not rows:
        raise ValueError("a header without clips")
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(f"clip {i}: {len(row)} fields, the header has {len(header)}")
    order, names = _score_columns(header[3:])
    columns = [3 + place for place in order]
    scores = _table(
        [None if row[2] == "unreadable" else _numbers([row[k] for k in columns], i) for i, row in enumerate(rows)]
    )
    texts = [row[1] for row in rows]
    if any(";" in text for text in texts) or not any(texts):
        labels = np.zeros((len(rows), len(order)), "float32")
        for i, text in enumerate(texts):
            own = [_number_of(part, i) for part in text.split(";") if part]
            if not all(0 <= label < len(order) for label in own):
                raise ValueError(f"clip {i}: label {text}: the scores are of {len(order)} classes")
            labels[i, own] = 1.0
    else:
        labels = np.array([_number_of(text, i) for i, text in enumerate(texts)], dtype="int64")
    return Results([row[0] for row in rows], labels, _wide(scores, len(order)), str(path), names)


def _score_columns(titles: Sequence[str]) -> tuple[list[int], list[str] | None]:
    """Of ``score_K`` or ``score_K NAME`` in any order: the column of every class, and the names if all have one."""
    found: dict[int, tuple[int, str]] = {}
    for place, title in enumerate(titles):
        match = _SCORE.fullmatch(title)
        if match is None or int(match[1]) in found:
            what = "is there twice" if match else "is no score"
            raise ValueError(f"the column {title!r:.40} {what}; after path,label,predicted come score_0, score_1, ...")
        found[int(match[1])] = place, match[2] or ""
    if sorted(found) != [*range(len(titles))] or not titles:
        raise ValueError(f"{len(titles)} scores; expected score_0 to score_{max(len(titles) - 1, 0)}")
    names = [found[k][1] for k in range(len(titles))]
    return [found[k][0] for k in range(len(titles))], names if all(names) else None


def _wide(scores: np.ndarray, classes: int) -> np.ndarray:
    """[N, K], also where no clip could be read."""
    return scores if scores.shape[1] == classes else np.full((len(scores), classes), np.nan)


def _number_of(text: str, clip: int) -> int:
    if not is_whole(text.strip()):
        raise ValueError(f"clip {clip}: label: expected a whole number, got {text!r:.40}")
    return int(text)


def _names(names: Any, scores: np.ndarray) -> list[str] | None:
    if names is None:
        return None
    if not (isinstance(names, list) and all(isinstance(n, str) for n in names) and len(names) == scores.shape[1]):
        raise ValueError(f"class_names: expected {scores.shape[1]} names, one per score")
    return names


def _table(rows: list[list[float] | None], what: str = "scores") -> np.ndarray:
    widths = {len(row) for row in rows if row is not None}
    if len(widths) > 1:
        raise ValueError(f"clips with {sorted(widths)} {what}")
    empty = [np.nan] * (widths.pop() if widths else 1)
    return np.array([empty if row is None else row for row in rows], dtype="float64")
