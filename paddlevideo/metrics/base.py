"""The base class of metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Metric(ABC):
    """Figures of a split.  A subclass has ``update``, ``state``, ``merge``, ``compute``, and names its ``primary``.

    Every rank updates its own with its share of the samples; then every rank merges all states, and computes the same.

    Attributes:
        primary: the figure of ``compute`` by which the best weights are chosen; higher is better.
        result_suffixes: endings of the file that ``write_results`` writes; None: the suite writes ``results``.
        eval_names: what of MMAction2's ``--eval`` it measures; None: what recognition measures.
    """

    primary: str
    result_suffixes: tuple[str, ...] | None = None
    eval_names: tuple[str, ...] | None = None

    @abstractmethod
    def update(self, index: np.ndarray, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        """Takes a batch.  A sample may come twice (ranks are padded): count it once, by its index.

        Args:
            index: int64 [N], places in the data set.
            outputs: what the network predicts: "scores" float32 [N, K], 0..1, NaN where they are not finite.
            batch: "label" int64 [N] or float32 [N, K]; "valid" [N], 0 where the file could not be read.
        """

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """The content, as arrays."""

    @abstractmethod
    def merge(self, states: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Replaces the content by all ranks' states together, this one's own among them."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The figures by name, ``primary`` among them."""

    def figure_names(self, several_labels: bool | None) -> Sequence[str] | None:
        """The figures that ``compute`` may give, without the counts ``num_*``: those that ``monitor`` may name.

        Args:
            several_labels: whether a sample has any number of labels; None: unknown.

        Returns:
            None: they are not known before samples were measured.
        """
        return None

    @property
    def primary_label(self) -> str:
        """The primary figure, as the log names it."""
        return self.primary

    def use_dataset(self, dataset: Any) -> None:
        """Called before the first batch with the split's ``Dataset``."""
        return

    def use_framework(self, framework: Any) -> None:
        """Called before the first batch with the ``Framework``."""
        return

    def details(self) -> dict[str, float]:
        """More figures for the log, after ``compute``."""
        return {}

    def per_class(self) -> list[dict[str, Any]] | None:
        """A row per class, after ``compute``, for the log and for the report of detections: ``class``, ``num_truth``,
        and ``recall`` and ``precision`` or ``average_precision``; None: there are none."""
        return None

    @property
    def thresholds(self) -> list[float] | None:
        """After ``compute``: the least score per class that counts as found; None: classes exclude each other."""
        return None

    @property
    def finds_thresholds(self) -> bool:
        """Whether ``thresholds`` were chosen on these samples, so that they are kept with the weights."""
        return False

    def use_thresholds(self, thresholds: Sequence[float] | None) -> None:
        """Called before a test with the thresholds that its weights carry, K numbers; None: they carry none."""
        return

    def results(self) -> list[tuple[int, Any, np.ndarray]] | None:
        """(place in the data set, label, scores [K]) of every sample; None: they are not kept."""
        return None

    @property
    def num_taken(self) -> int:
        """The number of samples taken."""
        return len(self.results() or ())

    def write_results(self, path: str | Path) -> None:
        """The file of ``--out``, of a metric with ``result_suffixes``."""
        raise NotImplementedError

    def write_predictions(self, path: str | Path, names: Sequence[str] | None = None) -> None:
        """``predictions.csv``, of a metric with ``result_suffixes``; ``names`` are those of the classes."""
        raise NotImplementedError
