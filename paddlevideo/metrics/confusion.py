"""Confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.metrics.topk import predictions


def confusion_matrix(scores: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts, int64 [K, K]: row = label, column = prediction.

    A sample without a prediction (NaN scores, or -1) is in no column, so a row may sum up to less than its class's
    samples.

    Args:
        scores: [N, K], any scale; or predictions, int [N].
        labels: int [N], 0 to K - 1.
    """
    scores, labels = np.asarray(scores), np.asarray(labels, dtype="int64")
    predicted = predictions(scores) if scores.ndim == 2 else scores.astype("int64")
    if predicted.shape != labels.shape:
        raise ValueError(f"as many predictions as labels are expected, got {len(predicted)} and {len(labels)}")
    if len(labels) and not (labels.min() >= 0 and max(labels.max(), predicted.max()) < num_classes):
        raise ValueError(f"classes from 0 to {num_classes - 1} are expected")
    known = predicted >= 0
    flat = np.bincount(labels[known] * num_classes + predicted[known], minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def per_class_table(
    matrix: np.ndarray, names: Sequence[str] | None = None, num_samples: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """One row per class: ``class``, ``name``, ``num_samples``, ``num_predicted``, ``num_right``, ``accuracy``,
    ``precision``, ``most_taken_for``.

    ``accuracy`` (the recall) is 0 to 1, or None for a class without samples, ``precision`` for one that is predicted
    nowhere; ``most_taken_for`` is the class (number) that most of its errors went to, or None if there were none.

    Args:
        matrix: of ``confusion_matrix``.
        names: K class names; the numbers if not given.
        num_samples: of K classes, with those that are in no column; None: the rows' sums.
    """
    rows, predicted = [], np.asarray(matrix).sum(axis=0).tolist()
    for k, row in enumerate(np.asarray(matrix)):
        total, right = int(row.sum() if num_samples is None else num_samples[k]), int(row[k])
        errors = row.copy()
        errors[k] = 0
        rows.append(
            {
                "class": k,
                "name": str(k) if names is None else names[k],
                "num_samples": total,
                "num_predicted": predicted[k],
                "num_right": right,
                "accuracy": right / total if total else None,
                "precision": right / predicted[k] if predicted[k] else None,
                "most_taken_for": int(errors.argmax()) if errors.any() else None,
            }
        )
    return rows


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """``per_class_table`` as aligned text, worst class first, classes without samples last."""
    names = {row["class"]: row["name"] for row in rows}
    width = max((len(name) for name in names.values()), default=4)
    head = f"{'class':>5} {'name':<{width}} {'samples':>7} {'right':>7} {'accuracy':>8} {'precision':>9}"
    lines = [f"{head}  most taken for"]
    for row in sorted(rows, key=lambda r: (r["accuracy"] is None, r["accuracy"] or 0.0)):
        accuracy, precision = ("-" if row[k] is None else f"{row[k]:.4f}" for k in ("accuracy", "precision"))
        taken = names.get(row["most_taken_for"], "")
        counts = f"{row['num_samples']:>7} {row['num_right']:>7} {accuracy:>8} {precision:>9}"
        lines.append(f"{row['class']:>5} {row['name']:<{width}} {counts}  {taken}".rstrip())
    return "\n".join(lines)
