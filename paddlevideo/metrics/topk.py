"""Accuracies and average precisions of recognition.

Wherever classes tie, the lower class number ranks first, as in ``argmax``: a network that gives every class the same
score is right by chance only.  A sample whose scores are not all numbers is wrong.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.metrics.base import Metric
from paddlevideo.metrics.several_labels import DEFAULT_THRESHOLD, best_thresholds, class_rows, f1_scores
from paddlevideo.ranges import Filled, NumClasses, PositiveInt, Probability
from paddlevideo.registry import METRICS

log = logging.getLogger("paddlevideo")

_BEST = "best_f1"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes rank before the label: int64 [N], 0 is best; K if the scores hold a NaN.

    Args:
        scores: [N, K], any scale.
        labels: int [N], 0 to K - 1.
    """
    scores, labels = _checked(scores, labels)
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    before = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    return np.where(np.isnan(scores).any(axis=1), scores.shape[1], before)


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, ks: Sequence[int] = (1, 5)) -> list[float]:
    """For each k the share of samples whose label is among the min(k, K) highest scores, 0 to 1.

    Args:
        scores: [N, K], any scale.
        labels: int [N], 0 to K - 1.

    Source: MMAction2 ``top_k_accuracy``; differs in ties and NaN (see the module).
    """
    place = ranks(scores, labels)
    width = np.asarray(scores).shape[1]
    return [float((place < min(k, width)).mean()) if len(place) else 0.0 for k in ks]


def is_trivial(name: str, num_classes: int) -> bool:
    """Whether a figure is the accuracy ``top<k>`` of at most k classes: 1, whatever the scores are."""
    found = re.fullmatch(r"top(\d{1,9})(_acc)?", name, re.ASCII)
    return found is not None and int(found[1]) >= num_classes


def predictions(scores: np.ndarray) -> np.ndarray:
    """The highest class, int64 [N]; -1 where the scores hold a NaN."""
    scores = np.asarray(scores)
    unknown = np.isnan(scores).any(axis=1)
    return np.where(unknown, -1, np.where(np.isnan(scores), 0, scores).argmax(axis=1))


def mean_class_accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes of the share of a class's samples that are right, 0 to 1.

    The classes are those that occur as a label or as a prediction; one that is only predicted counts as 0.

    Args:
        scores: [N, K], any scale.
        labels: int [N], 0 to K - 1.

    Source: MMAction2 ``mean_class_accuracy``.
    """
    scores, labels = _checked(scores, labels)
    predicted = predictions(scores)
    hits = np.bincount(labels[predicted == labels], minlength=scores.shape[1])
    counts = np.bincount(labels, minlength=scores.shape[1])
    seen = np.union1d(labels, predicted[predicted >= 0])
    return float((hits[seen] / np.maximum(counts[seen], 1)).mean()) if len(seen) else 0.0


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area below the precision-recall curve, as a sum of steps at the distinct scores; NaN without a positive.

    Args:
        scores: [N].  NaN ranks last.
        positive: bool or 0 / 1, [N].
    """
    scores = np.where(np.isnan(scores), -np.inf, np.asarray(scores, dtype="float64"))
    positive = np.asarray(positive, dtype=bool)
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    # a threshold is after the last of equal scores
    ends = np.append(np.flatnonzero(scores[order][1:] != scores[order][:-1]), len(scores) - 1)
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def mean_average_precision(scores: np.ndarray, multi_hot: np.ndarray) -> float:
    """Mean over the classes that have a positive sample of the average precision over samples, 0 to 1; NaN if none has.

    Args:
        scores: [N, K], any scale.
        multi_hot: 0 / 1, [N, K].

    Source: MMAction2 ``mean_average_precision``.
    """
    return _mean_ap(np.asarray(scores).T, np.asarray(multi_hot).T)


def mmit_mean_average_precision(scores: np.ndarray, multi_hot: np.ndarray) -> float:
    """Mean over the samples that have a positive class of the average precision over classes, 0 to 1; NaN if none has.

    Args:
        scores: [N, K], any scale.
        multi_hot: 0 / 1, [N, K].

    Source: MMAction2 ``mmit_mean_average_precision`` (Multi-Moments in Time).
    """
    return _mean_ap(np.asarray(scores), np.asarray(multi_hot))


def one_label_rows(scores: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """A row per class: ``class``, the numbers of samples ``num_truth`` of it, ``num_predicted`` and ``num_right``, and
    ``recall`` and ``precision``, 0 to 1; None where there is nothing to divide by.

    Args:
        scores: [N, K], any scale.
        labels: int [N], 0 to K - 1.
    """
    scores, labels = _checked(scores, labels)
    predicted, width = predictions(scores), scores.shape[1]
    parts = (labels, predicted[predicted >= 0], labels[predicted == labels])
    return [
        {
            "class": k,
            "num_truth": num_truth,
            "num_predicted": num_predicted,
            "num_right": num_right,
            "recall": num_right / num_truth if num_truth else None,
            "precision": num_right / num_predicted if num_predicted else None,
        }
        for k, (num_truth, num_predicted, num_right) in enumerate(
            zip(*(np.bincount(part, minlength=width).tolist() for part in parts))
        )
    ]


@METRICS.register("CenterCropMetric", "MultiCropMetric")
class TopKMetric(Metric):
    """Accuracies of single-label recognition, or average precisions if the labels are multi-hot.

    Views (clips and crops) were averaged by the framework, so centre crop and many crops are one metric.  Results are
    kept by data set index: a sample that comes twice counts once, the first time.  An unreadable sample
    (``batch["valid"] == 0``) counts as wrong.

    Args:
        topk: the k of each accuracy; k beyond the number of classes is all classes.
        log_interval: a key of PaddleVideo's files; changes nothing, the engine has its own.
        threshold: of several labels per clip, the least score of a class that counts as found: a number; or
            ``best_f1``: for each class the one with the highest F1 on the validation split, which is kept with the best
            weights.  A test takes those of its weights.
        num_ensemble_views, num_spatial_crops, num_classes, num_cls: likewise, of its SlowFast files; ``--check``
            refuses values that differ from DATASET.test and MODEL.head.

    Source: PaddleVideo ``CenterCropMetric`` and ``MultiCropMetric``, MMAction2's evaluation.
    """

    must_equal = {
        "num_ensemble_views": "DATASET.test.num_ensemble_views",
        "num_spatial_crops": "DATASET.test.num_spatial_crops",
        "num_classes": "MODEL.head.num_classes",
        "num_cls": "MODEL.head.num_classes",
    }

    def __init__(
        self,
        topk: Annotated[list[PositiveInt], Filled()] | PositiveInt = (1, 5),
        log_interval: PositiveInt = 1,
        threshold: Probability | Literal["best_f1"] = DEFAULT_THRESHOLD,
        num_ensemble_views: PositiveInt | None = None,
        num_spatial_crops: PositiveInt | None = None,
        num_classes: NumClasses | None = None,
        num_cls: NumClasses | None = None,
    ):
        self.topk = tuple(topk) if isinstance(topk, Iterable) else (topk,)
        if any(not isinstance(k, int) or k < 1 for k in self.topk):
            raise ValueError(f"topk: whole numbers of at least 1 are expected, got {topk!r}")
        self.log_interval, self.threshold = log_interval, threshold
        self._fixed: list[float] | None = None  # of the weights that are tested
        self._rows: list[dict[str, Any]] | None = None
        self._labels: dict[int, Any] = {}
        self._scores: dict[int, np.ndarray] = {}
        self._unreadable: set[int] = set()

    def figure_names(self, several_labels: bool | None) -> Sequence[str]:
        """Those of one label per clip, of several, or of both where that is unknown."""
        of_one = (*(f"top{k}" for k in self.topk), "mean_class_accuracy")
        of_several = ("mAP", "mmit_mAP", "f1_micro", "f1_macro")
        return {False: of_one, True: of_several, None: of_one + of_several}[several_labels]

    @property
    def primary(self) -> str:
        """The figure that picks the best model."""
        return "mAP" if self._is_multi_hot() else f"top{min(self.topk)}"

    @property
    def primary_label(self) -> str:
        """The primary figure, as the log names it."""
        return "mAP" if self._is_multi_hot() else f"{self.primary} acc"

    def update(self, index: np.ndarray, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        """Takes one batch.

        Args:
            index: int64 [N], place in the data set.
            outputs: ``scores`` float32 [N, K].
            batch: ``label`` int64 [N] or 0 / 1 float32 [N, K]; ``valid`` [N], 1 where it is missing.

        Raises:
            UserError: no label, or one that is no class.
        """
        if "label" not in batch:
            raise UserError("METRIC: the samples have no labels, so nothing can be measured; use predict instead")
        scores, labels = np.asarray(outputs["scores"], dtype="float32"), np.asarray(batch["label"])
        valid = np.asarray(batch.get("valid", np.ones(len(scores))))
        self._check_labels(np.asarray(index), labels, scores.shape[1])
        for i, row, label, readable in zip(np.asarray(index).tolist(), scores, labels, valid):
            if i in self._scores:
                continue
            self._labels[i] = label.copy() if labels.ndim == 2 else int(label)
            self._scores[i] = row.copy() if readable else np.full_like(row, np.nan)
            if not readable:
                self._unreadable.add(i)

    def state(self) -> dict[str, np.ndarray]:
        """The content, sorted by data set index: ``index`` [N], ``label``, ``scores`` [N, K], ``valid`` [N]."""
        index = sorted(self._scores)
        return {
            "index": np.array(index, dtype="int64"),
            "label": np.array([self._labels[i] for i in index]),
            "scores": np.array([self._scores[i] for i in index], dtype="float32"),
            "valid": np.array([i not in self._unreadable for i in index], dtype="uint8"),
        }

    def merge(self, states: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Replaces the content by all ranks' states together, this one's own among them."""
        self._labels, self._scores, self._unreadable = {}, {}, set()
        for state in states:
            if len(state["index"]):
                self.update(state["index"], state, state)

    def compute(self) -> dict[str, float]:
        """``top<k>``, ``mean_class_accuracy`` (or ``mAP``, ``mmit_mAP``, ``f1_micro``, ``f1_macro``), 0 to 1;
        ``num_samples``, ``num_unreadable``.

        Raises:
            UserError: there is no sample; ``best_f1`` of samples with one label.
        """
        if not self._scores:
            raise UserError("METRIC: no sample was evaluated; check the list file of this split")
        state = self.state()
        scores, labels = state["scores"], state["label"]
        if self._is_multi_hot():
            multi_hot = labels >= 0.5
            thresholds = self._fixed or self.threshold
            if thresholds == _BEST:
                thresholds = best_thresholds(scores, multi_hot)
            self._rows = class_rows(scores, multi_hot, thresholds)
            for row, own, hot in zip(self._rows, scores.T, multi_hot.T):
                row["average_precision"] = average_precision(own, hot)
            figures = {
                "mAP": mean_average_precision(scores, multi_hot),
                "mmit_mAP": mmit_mean_average_precision(scores, multi_hot),
                **f1_scores(self._rows),
            }
        else:
            if self.threshold == _BEST:
                raise UserError(f"METRIC.threshold: {_BEST} is for several labels per clip, not for one; take it out")
            accuracies = top_k_accuracy(scores, labels, self.topk)
            figures = {f"top{k}": accuracy for k, accuracy in zip(self.topk, accuracies)}
            figures["mean_class_accuracy"] = mean_class_accuracy(scores, labels)
            self._rows = one_label_rows(scores, labels)
        return {**figures, "num_samples": len(scores), "num_unreadable": len(self._unreadable)}

    def per_class(self) -> list[dict[str, Any]] | None:
        """After ``compute``: of one label per clip ``one_label_rows``; of several ``several_labels.class_rows`` and
        ``average_precision``, NaN for a class without a sample."""
        return self._rows

    @property
    def thresholds(self) -> list[float] | None:
        """After ``compute``: the least score per class that counts as found; None of one label per clip."""
        return [row["threshold"] for row in self._rows] if self._rows and "threshold" in self._rows[0] else None

    @property
    def finds_thresholds(self) -> bool:
        """Whether ``thresholds`` come from the samples."""
        return self.threshold == _BEST and self._fixed is None

    def use_thresholds(self, thresholds: Sequence[float] | None) -> None:
        """Those of the weights that are tested, which take the place of ``best_f1``."""
        if self.threshold != _BEST:
            return
        if thresholds is None:
            log.warning(
                "METRIC.threshold: best_f1: these weights carry no thresholds (training with --validate finds them); "
                "the figures are at %g",
                DEFAULT_THRESHOLD,
            )
            self.threshold = DEFAULT_THRESHOLD
        else:
            self._fixed = list(thresholds)

    def results(self) -> list[tuple[int, Any, np.ndarray]]:
        """(data set index, label, scores float32 [K]) of every sample, by index; NaN scores: it could not be read."""
        return [(i, self._labels[i], self._scores[i]) for i in sorted(self._scores)]

    def _is_multi_hot(self) -> bool:
        return isinstance(next(iter(self._labels.values()), None), np.ndarray)

    @staticmethod
    def _check_labels(index: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
        if labels.ndim == 2:
            if labels.shape[1] != num_classes:
                raise UserError(f"METRIC: labels have {labels.shape[1]} classes, the scores {num_classes}")
            return
        wrong = (labels < 0) | (labels >= num_classes)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise UserError(
                f"METRIC: sample {int(index[first])} has label {int(labels[first])}, "
                f"the network has classes 0 to {num_classes - 1}"
            )


def _checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"scores [N, K] and labels [N] are expected, got {scores.shape} and {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < scores.shape[1]):
        raise ValueError(f"labels from 0 to {scores.shape[1] - 1} are expected, got {labels.min()} to {labels.max()}")
    return scores, labels.astype("int64")


def _mean_ap(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mean of the rows' average precisions, without those that have no positive."""
    values = np.array([average_precision(row, hot) for row, hot in zip(scores, positive)])
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
