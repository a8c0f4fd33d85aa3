"""Figures of several labels per clip at a threshold for each class, and the thresholds that are best on a split.

A class counts as found where its score is at least its threshold.  A sample whose scores are not all numbers has no
class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DEFAULT_THRESHOLD = 0.5


def found_classes(scores: np.ndarray, thresholds: Sequence[float] | float) -> np.ndarray:
    """bool [N, K]: the classes of scores [N, K] that reach their thresholds, K of them or one for all."""
    scores = np.asarray(scores, "float64")
    readable = ~np.isnan(scores).any(axis=1, keepdims=True)
    return readable & (np.where(np.isnan(scores), -np.inf, scores) >= np.asarray(thresholds, "float64"))


def class_rows(
    scores: np.ndarray, multi_hot: np.ndarray, thresholds: Sequence[float] | float = DEFAULT_THRESHOLD
) -> list[dict[str, Any]]:
    """A row per class: ``class``, ``threshold``, the numbers of samples ``num_truth`` with it, ``num_predicted`` and
    ``num_right``, and ``precision``, ``recall``, ``f1``, 0 to 1; None where there is nothing to divide by.

    Args:
        scores: [N, K].
        multi_hot: bool or 0 / 1, [N, K].
        thresholds: K numbers, or one for all classes.
    """
    found, truth = found_classes(scores, thresholds), np.asarray(multi_hot, dtype=bool)
    counts = zip(truth.sum(0).tolist(), found.sum(0).tolist(), (found & truth).sum(0).tolist())
    each = np.broadcast_to(np.asarray(thresholds, "float64"), truth.shape[1]).tolist()
    return [
        {
            "class": k,
            "threshold": threshold,
            "num_truth": num_truth,
            "num_predicted": num_predicted,
            "num_right": num_right,
            "precision": num_right / num_predicted if num_predicted else None,
            "recall": num_right / num_truth if num_truth else None,
            "f1": _f1(num_right, num_truth, num_predicted),
        }
        for k, (threshold, (num_truth, num_predicted, num_right)) in enumerate(zip(each, counts))
    ]


def f1_scores(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """``f1_micro`` of all samples and classes together, and ``f1_macro``, the mean over the classes that have a sample;
    0 to 1, NaN without any.

    Args:
        rows: of ``class_rows``.
    """
    sums = [sum(row[key] for row in rows) for key in ("num_right", "num_truth", "num_predicted")]
    micro, macro = _f1(*sums), [row["f1"] for row in rows if row["num_truth"]]
    return {
        "f1_micro": float("nan") if micro is None else micro,
        "f1_macro": float(np.mean(macro)) if macro else float("nan"),
    }


def best_thresholds(scores: np.ndarray, multi_hot: np.ndarray) -> list[float]:
    """For each class the threshold with the highest F1 on these samples, the higher one of equals, half-way between the
    scores that it parts; ``DEFAULT_THRESHOLD`` for a class without a sample.

    They fit these samples: figures of the same samples at these thresholds are higher than of others.

    Args:
        scores: [N, K], 0 to 1.
        multi_hot: bool or 0 / 1, [N, K].
    """
    truth, readable = np.asarray(multi_hot, dtype=bool), ~np.isnan(scores).any(axis=1)
    columns = zip(np.asarray(scores, "float64")[readable].T, truth[readable].T, truth.sum(0))
    return [_best_threshold(own, positive, int(total)) for own, positive, total in columns]


def _best_threshold(scores: np.ndarray, positive: np.ndarray, total: int) -> float:
    if not positive.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # the last of equal scores
    f1 = 2.0 * np.cumsum(positive[order])[ends] / (ends + 1 + total)
    last = ends[int(f1.argmax())]
    below = ordered[last + 1] if last + 1 < len(ordered) else 0.0
    return float((ordered[last] + below) / 2)


def _f1(num_right: int, num_truth: int, num_predicted: int) -> float | None:
    both = num_truth + num_predicted
    return 2.0 * num_right / both if both else None
