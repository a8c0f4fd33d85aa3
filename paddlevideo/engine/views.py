"""Every view's logits of a test that does not average them (``avg_type: none``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.safe_io import write_atomic


class ViewKeeper:
    """A metric that also keeps ``view_logits`` [N, V, K] of the network's outputs; for the rest it is the metric.

    The metric's own figures come from the averaged scores, which a network always gives.
    """

    def __init__(self, metric: Any):
        self._metric = metric
        self._views: dict[int, np.ndarray] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metric, name)

    def update(self, index: np.ndarray, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        """Takes one batch, as the metric does."""
        self._metric.update(index, outputs, batch)
        for i, views in zip(np.asarray(index).tolist(), np.asarray(outputs["view_logits"], dtype="float32")):
            self._views.setdefault(i, views)

    def state(self) -> dict[str, np.ndarray]:
        """The metric's, and ``view_logits`` [N, V, K] in the same order."""
        state = self._metric.state()
        return {**state, "view_logits": np.array([self._views[i] for i in state["index"].tolist()])}

    def merge(self, states: Iterable[Mapping[str, np.ndarray]]) -> None:
        """Replaces the content by all ranks' states together."""
        states = list(states)
        self._metric.merge(states)
        self._views = {i: views for s in states for i, views in zip(s["index"].tolist(), s["view_logits"])}

    def write(self, out: str | Path) -> Path:
        """``index`` [N] (place in the list file) and ``view_logits`` float32 [N, V, K] as ``<out>.views.npz``."""
        path = Path(out).with_suffix(".views.npz")
        index = sorted(self._views)
        arrays = {"index": np.array(index), "view_logits": np.array([self._views[i] for i in index])}
        write_atomic(path, lambda stream: np.savez_compressed(stream, **arrays))
        return path
