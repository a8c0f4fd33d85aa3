"""Weights of classes by how often they occur: factors of a loss, and chances of being drawn for an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.ava_persons import class_weights as weights_of_actions
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.datasets.records import class_counts
from paddlevideo.safe_io import reading, write_atomic

DEFAULT_POWER = 0.5
_KEY = "class_weights"


def counts_of(dataset: Dataset, num_classes: int) -> np.ndarray:
    """Samples per class, int64 [K]; of several labels per clip each counts; of key frames, persons per action.

    Raises:
        UserError: a label beyond ``num_classes``.
    """
    counts = dataset.class_counts()
    if counts is not None:
        return counts
    found = class_counts(dataset.records)
    if found and max(found) >= num_classes:
        raise UserError(f"{dataset.file_path}: label {max(found)} is out of range; there are {num_classes} classes")
    return np.array([found.get(k, 0) for k in range(num_classes)], np.int64)


def class_weights(counts: np.ndarray, power: float = DEFAULT_POWER, of_boxes: bool = False) -> list[float]:
    """Factors of the classes in a loss, ``(N / (K n_k)) ** power`` for ``n_k`` of N labels; K are the classes there
    are.  A class without a label has 1.

    Args:
        counts: int [K], of ``counts_of``.
        power: 0: all alike; 1: every class has the same part in the sum over the samples.
        of_boxes: of actions: ``ava_persons.class_weights``, mean 1 over the actions there are, and 0 for those without.
    """
    counts = np.asarray(counts, np.float64)
    if of_boxes:
        weights = weights_of_actions(counts, power)
    else:
        share = counts.sum() / max(int((counts > 0).sum()), 1)
        weights = np.where(counts > 0, (share / np.maximum(counts, 1.0)) ** power, 1.0)
    return [float(f"{weight:.4g}") for weight in weights]


def write_class_weights(path: str | Path, weights: Sequence[float], counts: Sequence[int], power: float) -> None:
    """The file that ``class_weights`` of a loss may name."""
    content = {_KEY: list(weights), "counts": [int(n) for n in counts], "power": power}
    write_atomic(Path(path), yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120))


def read_class_weights(path: str | Path) -> list[float]:
    """The weights of a file of ``write_class_weights``; its counts are for people.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    path, way = Path(path).expanduser(), "paddlevideo prepare class-weights -c CFG --out FILE writes one"
    if not path.is_file():
        raise UserError(f"{path}: no such file of class weights; {way}; or take auto, or one number for each class")
    with reading(path, "a file of class weights", way):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        weights = content.get(_KEY) if isinstance(content, dict) else None
        numbers = isinstance(weights, list) and all(type(weight) in (int, float) for weight in weights)
        if not numbers or not weights or not all(0 <= weight < float("inf") for weight in weights):
            raise ValueError(f"expected {_KEY}: a list of numbers of at least 0")
    return [float(weight) for weight in weights]


def balanced_chances(dataset: Dataset, power: float) -> np.ndarray:
    """Probability of each sample where a class is drawn first, then one of its samples: float64 [N], sum 1.

    Samples without a label count as one class more.

    Args:
        power: a class is drawn with probability ~ (number of its samples) ** power; 0: all alike, 1: as they come.
    """
    which, classes = dataset.label_pairs()
    classes = classes - min(int(classes.min()), 0)
    found, first, number = np.unique(classes, return_index=True, return_counts=True)
    counts = {int(found[i]): int(number[i]) for i in np.argsort(first)}
    total = sum(count**power for count in counts.values())
    # a class is drawn with probability count ** power / total, then one of its samples
    weights = np.zeros(int(found.max()) + 1)
    for label, count in counts.items():
        weights[label] = count ** (power - 1)
    return np.bincount(which, weights[classes], minlength=len(dataset)) / total


def describe_chances(chances: np.ndarray, power: float) -> str:
    """A line for the log about an epoch that is drawn so."""
    count = len(chances)
    different = -np.expm1(count * np.log1p(-np.minimum(chances, 1 - 1e-12))).sum()
    return (
        f"sample_by_class, power {power:g}: an epoch draws {count} samples with replacement, about {different:.0f} "
        "different ones"
    )
