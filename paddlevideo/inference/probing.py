"""How well clips can be classified on frozen features: small classifiers, cross-validated by source.

- ``linear``: logistic regression (``linear_head.fit``); of several labels one per class.  How strongly its weights are
  pulled towards zero is decided on the training clips alone, by a cross-validation by source of their own.
- ``knn``: the mean label of the nearest clips.
- ``prototype``: the nearest mean of a class.

Features are centred and scaled by the training clips of a fold; neighbours and prototypes compare directions (cosine).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.feature_table import FeatureTable
from paddlevideo.inference.linear_head import LinearHead, Samples, fit
from paddlevideo.metrics.topk import mean_average_precision
from paddlevideo.sources import Clip, Sources, folds_of, sources_of

HEADS = ("linear", "knn", "prototype")
_STRENGTHS = (0.3, 3.0, 30.0, 300.0)  # of the linear head's pull towards zero
_STRENGTH = 30.0  # where there are too few clips to decide by
_INNER_FOLDS = 4
_NEIGHBOURS = 5
_LEAST = 1e-12
_MAX_CLASSES = 10_000  # by the highest label of fewer clips


@dataclass(frozen=True)
class Figure:
    """Of one classifier on one fold.

    Args:
        head: one of ``HEADS``.
        shots: training clips per class; None: all.
        fold: that is measured.
        seed: of the draw of the training clips.
        value: accuracy, or of several labels mAP, 0 to 1; NaN: no class of the fold has a positive.
        num_train, num_test: clips.
    """

    head: str
    shots: int | None
    fold: int
    seed: int
    value: float
    num_train: int
    num_test: int


def cross_validate(
    table: FeatureTable,
    sources: Sequence[str],
    num_folds: int,
    heads: Sequence[str] = HEADS,
    shots: Sequence[int | None] = (None,),
    num_seeds: int = 3,
    say: Callable[[str], None] = lambda line: None,
) -> list[Figure]:
    """Every classifier trained on all folds but one, and measured on that.

    Args:
        sources: of every clip; see ``folds_of``.
        shots: clips per class that are drawn from the training folds; None: all of them, where nothing is drawn and
            one seed is enough.
        num_seeds: draws per fold, seeds 0, 1, ...
        say: receives a line where a class has fewer clips than are to be drawn.

    Raises:
        UserError: clips without a label, fewer than two classes, fewer sources than folds.
    """
    targets, groups = targets_of(table), np.asarray(sources)
    fold = folds_of(sources, table.labels, num_folds)
    found = []
    for count in shots:
        short = set()
        for number in range(num_folds):
            train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            for seed in range(1 if count is None else num_seeds):
                own = train if count is None else _drawn(train, targets, count, seed, number, short)
                known = Clips(table.features[own], targets[own], groups[own], table.multi_label)
                for head in heads:
                    scores = scores_of(head, known, table.features[test])
                    value = _figure(scores, targets[test], table.multi_label)
                    found.append(Figure(head, count, number, seed, value, len(own), len(test)))
        if short:
            classes = ", ".join(sorted(name_of(table, k) for k in short))
            say(f"{count} clips per class: all that there are of {classes}, which have fewer in some folds")
    return found


def sources_of_table(table: FeatureTable, pattern: str | None) -> Sources:
    """The source of every clip.

    Args:
        pattern: see ``sources_of``; None: of parts of videos the video, else what names show.

    Raises:
        UserError: no regular expression, one that matches nothing, a file without a line for a clip.
    """
    if pattern is None and len(set(table.videos)) < len(table.videos) and not np.isnan(table.spans_s).all():
        return Sources(tuple(table.videos), "by video")
    labels = [0] * len(table.videos) if table.multi_label else table.labels.tolist()
    folders: dict[int, str] = {}
    for video, label in zip(table.videos, labels):
        folder = os.path.dirname(os.path.abspath(video))
        folders[label] = os.path.commonpath([folders.get(label, folder), folder])
    if pattern is not None and os.path.isfile(pattern):  # its lines may have more of a path than class folders do
        folders = dict.fromkeys(folders, os.sep)
    clips = [Clip(os.path.relpath(v, folders[k]).replace(os.sep, "/"), k) for v, k in zip(table.videos, labels)]
    return sources_of(clips, pattern)


def targets_of(table: FeatureTable) -> np.ndarray:
    """float32 [N, K], 0 and 1.

    Raises:
        UserError: clips without a label, labels that are no class numbers, fewer than two classes.
    """
    if not table.labelled:
        count = int((table.labels < 0).sum())
        raise UserError(f"{count} of {len(table.labels)} clips have no label; a probe needs one for each")
    if table.multi_label:
        return np.asarray(table.labels, np.float32)
    if table.num_classes > max(len(table.labels), _MAX_CLASSES):
        highest = table.num_classes - 1
        raise UserError(f"labels go up to {highest} in {len(table.labels)} clips; expected class numbers from 0 on")
    targets = np.eye(table.num_classes, dtype=np.float32)[table.labels]
    if (targets.sum(0) > 0).sum() < 2:
        raise UserError("all clips are of one class; a probe needs two classes at least")
    return targets


def name_of(table: FeatureTable, k: int) -> str:
    """Of a class."""
    return table.names[k] if k < len(table.names) else str(k)


@dataclass(frozen=True)
class Clips:
    """What a classifier is trained on.

    Args:
        features: float32 [N, D].
        targets: float32 [N, K], 0 and 1.
        sources: [N].
        multi_label: whether a clip may have several classes.
    """

    features: np.ndarray
    targets: np.ndarray
    sources: np.ndarray
    multi_label: bool

    def part(self, rows: np.ndarray) -> Clips:
        """Some of them."""
        return Clips(self.features[rows], self.targets[rows], self.sources[rows], self.multi_label)


def linear_head(clips: Clips) -> LinearHead:
    """The linear classifier of clips."""
    return _fitted(clips, _strength(clips))


def _fitted(clips: Clips, strength: float) -> LinearHead:
    shape = (clips.features.shape[1], clips.targets.shape[1])
    start = LinearHead(np.zeros(shape, np.float32), np.zeros(shape[1], np.float32))
    samples = Samples(clips.features, clips.targets, np.ones_like(clips.targets))
    return fit(samples, start, strength, clips.multi_label)


def _strength(clips: Clips) -> float:
    """The one of ``_STRENGTHS`` with the best mean figure over folds by source; of equal ones the strongest."""
    num_folds = min(_INNER_FOLDS, len(set(clips.sources)))
    if num_folds < 2:
        return _STRENGTH
    labels = clips.targets if clips.multi_label else clips.targets.argmax(1)
    fold = folds_of(list(clips.sources), labels, num_folds)
    figures = np.zeros((len(_STRENGTHS), num_folds))
    for number in range(num_folds):
        train, test = clips.part(fold != number), clips.part(fold == number)
        for row, strength in zip(figures, _STRENGTHS):
            scores = np.where(train.targets.any(0), _fitted(train, strength).logits(test.features), -np.inf)
            row[number] = _figure(scores, test.targets, clips.multi_label)
    known = ~np.isnan(figures).any(0)
    if not known.any():
        return _STRENGTH
    means = figures[:, known].mean(1)
    return _STRENGTHS[int(np.flatnonzero(means == means.max())[-1])]


def scores_of(head: str, known: Clips, test: np.ndarray) -> np.ndarray:
    """Scores [M, K] of features [M, D] by a classifier of ``HEADS``; a class without a clip has the lowest ones."""
    if head == "linear":
        scores = linear_head(known).logits(test)
    else:
        train, test = _directions(known.features, test)
        if head == "prototype":
            scores = test @ _prototypes(train, known).T
        else:
            scores = _neighbours(test @ train.T, known.targets)
    return np.where(known.targets.any(0), scores, -np.inf)


def _prototypes(train: np.ndarray, known: Clips) -> np.ndarray:
    """Directions [K, D]: the mean of a class; of several labels minus the mean of all other clips."""
    means = known.targets.T @ train / np.maximum(known.targets.sum(0), 1)[:, None]
    if known.multi_label:
        others = 1 - known.targets
        means = means - others.T @ train / np.maximum(others.sum(0), 1)[:, None]
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _LEAST)


def _directions(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both of length 1, after the training rows' mean and deviation are taken out."""
    mean, deviation = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    deviation = np.where(deviation > 1e-6 * max(float(deviation.max()), _LEAST), deviation, np.inf)
    if len(train) == 1:
        mean, deviation = np.zeros_like(mean), np.ones_like(deviation)
    scaled = [(rows - mean) / deviation for rows in (train, test)]
    return tuple(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _LEAST) for rows in scaled)


def _neighbours(similarities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The mean target of each row's nearest training clips, [M, K]; a small share of the similarity decides ties."""
    count = min(_NEIGHBOURS, similarities.shape[1])
    nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :count]  # [M, k]
    weights = 1 + 1e-3 * np.take_along_axis(similarities, nearest, 1)
    return (weights[:, :, None] * targets[nearest]).sum(1) / count


def _drawn(train: np.ndarray, targets: np.ndarray, count: int, seed: int, fold: int, short: set[int]) -> np.ndarray:
    """``count`` clips of every class, without repetition; classes that have fewer are noted in ``short``."""
    rng = np.random.default_rng([seed, fold, count])
    chosen: list[int] = []
    for k in range(targets.shape[1]):
        own = train[targets[train, k] > 0]
        if not len(own):
            continue
        if len(own) < count:
            short.add(k)
        chosen += rng.permutation(own)[:count].tolist()
    return np.array(sorted(set(chosen)))


def _figure(scores: np.ndarray, targets: np.ndarray, multi_label: bool) -> float:
    if multi_label:
        return mean_average_precision(scores, targets)
    return float((scores.argmax(1) == targets.argmax(1)).mean())
