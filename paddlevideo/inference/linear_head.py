"""A linear classifier on features, fitted by logistic regression that is pulled towards an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# Of the pull.  Held-out figures are about the same from 0.001 to 0.3 (benchmarks/README.md), and better than with one
# that is chosen by leaving out one of a few videos; a stronger one keeps classes that have no sample.
PULL = 0.3
_ITERATIONS, _TOLERANCE, _MEMORY = 200, 1e-4, 10
_REHEARSED = 0.25  # weight of a class's windows by an earlier head, where it has annotated ones
_LEAST = 1e-12  # of a probability
_SURE = 0.9  # a probability by an earlier head that is rehearsed


@dataclass(frozen=True)
class LinearHead:
    """
    Args:
        weight: float32 [C, K].
        bias: float32 [K].
    """

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float32 [W, K] of features [W, C]."""
        return features @ self.weight + self.bias

    def scores(self, features: np.ndarray, multi_label: bool) -> np.ndarray:
        """Probabilities, float32 [W, K]: of one class out of all, or of every class by itself."""
        logits = self.logits(features)
        return _sigmoid(logits) if multi_label else np.exp(logits - _log_sum(logits)[:, None])

    def with_classes(self, count: int, multi_label: bool) -> LinearHead:
        """The same with zeros for further classes.

        Of classes that exclude one another the mean of all rows is subtracted first, which leaves the scores as they
        are: a row of zeros then is that of an average class.
        """
        weight, bias = self.weight, self.bias
        if not multi_label:
            weight, bias = weight - weight.mean(1, keepdims=True), bias - bias.mean()
        more = count - len(bias)
        return LinearHead(np.pad(weight, ((0, 0), (0, more))), np.pad(bias, (0, more)))


@dataclass(frozen=True)
class Samples:
    """What a head is fitted to.

    Args:
        features: float32 [S, C].
        targets: float32 [S, K]: 1 and 0; rows of classes that exclude one another have a single 1.
        counts: float32 [S, K]: 0 where the target is unknown, else 1.
        rehearsed: bool [S]: the target is what an earlier head says, and not a person; of classes that exclude one
            another alone.
    """

    features: np.ndarray
    targets: np.ndarray
    counts: np.ndarray
    rehearsed: np.ndarray | None = None

    def weights(self, multi_label: bool) -> np.ndarray:
        """float64 [S, K]: every class weighs the same; of several labels its positives as much as its negatives.

        They sum to 1, of several labels for each class; 0 for classes that have no sample (none of one kind).
        """
        positives = self.targets * self.counts
        sums = positives.sum(0)
        if not multi_label:
            own = self.targets * (0 if self.rehearsed is None else self.rehearsed[:, None])
            repeated = own.sum(0)
            sums = sums - repeated
            factor = np.where(sums > 0, _REHEARSED, 1) / np.maximum(repeated, 1)
            share = np.where(own > 0, factor, 1 / np.maximum(sums, 1))
            weights = np.repeat((self.targets * share).sum(1, keepdims=True), self.targets.shape[1], 1)
            return weights / max(weights[:, 0].sum(), _LEAST)
        negatives = (1 - self.targets) * self.counts
        lost = negatives.sum(0)
        known = (sums > 0) & (lost > 0)
        weights = positives / np.maximum(sums, 1) + negatives / np.maximum(lost, 1)
        return np.where(known, weights / 2, 0.0)

    def taught(self, multi_label: bool) -> np.ndarray:
        """bool [K]: the classes that can be learned from these samples."""
        positive = (self.targets * self.counts).sum(0) > 0
        return positive & (((1 - self.targets) * self.counts).sum(0) > 0) if multi_label else positive


class Fitting:
    """The weighted cross entropy of samples, as a function of the change of an earlier head.

    Features are scaled to mean 0 and deviation 1 first.  Classes without a sample keep their rows.

    Args:
        prior: the earlier head.
    """

    def __init__(self, samples: Samples, prior: LinearHead, multi_label: bool):
        mean, deviation = samples.features.mean(0, np.float64), samples.features.std(0, dtype=np.float64)
        useless = deviation <= 1e-6 * max(float(deviation.max()), _LEAST)  # constant
        self._mean, self._deviation = mean, np.where(useless, np.inf, deviation)
        scaled = ((samples.features - mean) / self._deviation).astype(np.float32)
        self._inputs = np.concatenate([scaled, np.ones((len(scaled), 1), np.float32)], 1)  # [S, C + 1]
        self._prior, self.taught = prior, samples.taught(multi_label)
        start = prior.logits(samples.features).astype(np.float64)
        targets, weights = samples.targets[:, self.taught], samples.weights(multi_label)[:, self.taught]
        if multi_label:
            self._loss = _logistic(start[:, self.taught], targets, weights)
        else:
            others = start[:, ~self.taught]
            rest = _log_sum(others) if others.shape[1] else np.full(len(start), -np.inf)
            self._loss = _softmax(start[:, self.taught], targets, weights[:, 0], rest)

    def change(self, strength: float, start: np.ndarray | None = None, iterations: int = _ITERATIONS) -> np.ndarray:
        """The change [C + 1, number of taught classes] that minimises the cross entropy plus ``strength / 2`` times
        its own square; the last row is that of the bias.

        Args:
            start: where the search begins; None: no change.
        """

        def objective(change: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = self._loss((self._inputs @ change.astype(np.float32)).astype(np.float64))
            slopes = (self._inputs.T @ slope.astype(np.float32)).astype(np.float64)
            return value + strength / 2 * float((change**2).sum()), slopes + strength * change

        start = np.zeros((self._inputs.shape[1], int(self.taught.sum()))) if start is None else start
        return _minimum(objective, start, iterations)

    def head(self, change: np.ndarray) -> LinearHead:
        """The changed head, for features that are not scaled."""
        weight, bias = self._prior.weight.astype(np.float64), self._prior.bias.astype(np.float64)
        slopes = change[:-1] / self._deviation[:, None]
        weight[:, self.taught] += slopes
        bias[self.taught] += change[-1] - self._mean @ slopes
        return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


def fit(samples: Samples, prior: LinearHead, strength: float, multi_label: bool) -> LinearHead:
    """The head that fits the samples, pulled towards ``prior`` (``Fitting``)."""
    fitting = Fitting(samples, prior, multi_label)
    return fitting.head(fitting.change(strength))


def rehearsal(samples: Samples, prior: LinearHead, num_old: int, features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Classes of windows that an earlier head is sure of: they keep a class that has no new sample.

    Windows that a first fit takes for a new class are none: the earlier head has no row for it.

    Args:
        num_old: classes of the earlier head; ``prior`` may have more.
        features: of each video [W, C].

    Returns:
        Of each video int [W]: the class whose probability is at least 0.9 by the earlier head; -1: none.
    """
    first = fit(samples, prior, PULL, False)
    found = []
    for each in features:
        scores = LinearHead(prior.weight[:, :num_old], prior.bias[:num_old]).scores(each, False)
        sure = (scores.max(1) >= _SURE) & (first.logits(each).argmax(1) < num_old)
        found.append(np.where(sure, scores.argmax(1), -1))
    return found


Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]


def _softmax(start: np.ndarray, targets: np.ndarray, weights: np.ndarray, rest: np.ndarray) -> Loss:
    """Of changes of the logits [S, k]: the loss and its slope.

    Args:
        weights: [S].
        rest: [S], log of the summed exponentials of all other classes, which do not change.
    """

    def loss(change: np.ndarray) -> tuple[float, np.ndarray]:
        logits = start + change
        total = np.logaddexp(_log_sum(logits), rest)
        probabilities = np.exp(logits - total[:, None])
        value = float((weights * (total - (logits * targets).sum(1))).sum())
        return value, weights[:, None] * (probabilities - targets)

    return loss


def _logistic(start: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Loss:
    """The same of classes each by itself.

    Args:
        weights: [S, k].
    """

    def loss(change: np.ndarray) -> tuple[float, np.ndarray]:
        logits = start + change
        value = float((weights * (np.logaddexp(0, logits) - targets * logits)).sum())
        return value, weights * (_sigmoid(logits) - targets)

    return loss


def _minimum(objective: Loss, start: np.ndarray, iterations: int) -> np.ndarray:
    """Of a convex function that gives its value and slope: L-BFGS with a backtracking search."""
    place, (value, slope) = start, objective(start)
    steps: list[tuple[np.ndarray, np.ndarray, float]] = []
    scale = max(float(np.abs(slope).max()), _LEAST)
    for _ in range(iterations):
        if np.abs(slope).max() <= _TOLERANCE * scale:
            break
        direction = -_times_inverse(steps, slope)
        descent = float((direction * slope).sum())
        length = 1.0
        while length > 1e-10:
            there = place + length * direction
            new_value, new_slope = objective(there)
            if new_value <= value + 1e-4 * length * descent:
                break
            length /= 2
        else:
            break
        moved, turned = there - place, new_slope - slope
        product = float((moved * turned).sum())
        if product > _LEAST * float((turned**2).sum()):
            steps = [*steps, (moved, turned, product)][-_MEMORY:]
        place, value, slope = there, new_value, new_slope
    return place


def _times_inverse(steps: Sequence[tuple[np.ndarray, np.ndarray, float]], slope: np.ndarray) -> np.ndarray:
    """The slope times the approximate inverse of the second derivative."""
    found, factors = slope.copy(), []
    for moved, turned, product in reversed(steps):
        factor = float((moved * found).sum()) / product
        factors.append(factor)
        found -= factor * turned
    if steps:
        moved, turned, product = steps[-1]
        found *= product / float((turned**2).sum())
    for (moved, turned, product), factor in zip(steps, reversed(factors)):
        found += (factor - float((turned * found).sum()) / product) * moved
    return found


def _log_sum(logits: np.ndarray) -> np.ndarray:
    """log of the summed exponentials of rows [S, K] -> [S]."""
    highest = logits.max(1)
    return highest + np.log(np.exp(logits - highest[:, None]).sum(1))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))
