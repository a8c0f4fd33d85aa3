"""Evaluation: prediction over a loader, and the metric over all ranks."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import numpy as np
import paddle

from paddlevideo.engine import distributed
from paddlevideo.engine.precision import Precision

log = logging.getLogger("paddlevideo")


def tensors(batch: dict[str, Any]) -> dict[str, paddle.Tensor]:
    """A loader's batch as tensors on the current device."""
    return {key: v if isinstance(v, paddle.Tensor) else paddle.to_tensor(v) for key, v in batch.items()}


def evaluate(
    framework: Any,
    loader: Any,
    metric: Any,
    precision: Precision,
    max_batches: int | None = None,
    announce: str | None = None,
) -> dict[str, float]:
    """Every sample of the loader once, on whichever rank has it; the figures over all of them, on every rank.

    Args:
        max_batches: stop after so many batches.
        announce: words for a line per batch, as ``[TEST] Processing batch``; None for silence.

    Returns:
        What ``metric.compute`` gives.
    """
    if hasattr(metric, "use_dataset"):
        metric.use_dataset(loader.dataset)
    if hasattr(metric, "use_framework"):
        metric.use_framework(framework)
    framework.eval()
    total = min(len(loader), max_batches or len(loader))
    spoken = 0.0
    with contextlib.closing(loader.epoch(0)) as batches, paddle.no_grad(), precision.autocast():
        for i, batch in enumerate(batches):
            if i == total:
                break
            if announce and (time.monotonic() - spoken > 2 or i == total - 1):
                log.info("%s %d/%d ...", announce, i, total)
                spoken = time.monotonic()
            outputs = framework(tensors(batch), mode="predict")
            arrays = {key: value.astype("float32").numpy() for key, value in outputs.items()}
            metric.update(
                np.asarray(batch["index"]), arrays, {k: np.asarray(v) for k, v in batch.items() if k != "imgs"}
            )
    metric.merge(distributed.gather(metric.state()))
    return metric.compute()
