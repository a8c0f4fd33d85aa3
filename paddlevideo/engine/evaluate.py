"""Evaluation: prediction over a loader, and the metric over all ranks."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import paddle

from paddlevideo.collectors import Collector
from paddlevideo.engine import distributed
from paddlevideo.engine.precision import Precision
from paddlevideo.errors import UserError
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.memory import within_memory
from paddlevideo.modeling.operators import tensor_of

log = logging.getLogger("paddlevideo")

_LOWER = "lower DATASET.valid_batch_size or test_batch_size, or the frames, views or size that PIPELINE gives"


def tensors(batch: dict[str, Any], host_keys: Sequence[str] = ()) -> dict[str, Any]:
    """A loader's batch as tensors on the current device; the entries of ``host_keys`` stay what they are."""
    on_host = frozenset(host_keys).__contains__
    return {key: v if isinstance(v, paddle.Tensor) or on_host(key) else _tensor(v) for key, v in batch.items()}


def _tensor(value: Any) -> paddle.Tensor:
    return tensor_of(value) if isinstance(value, np.ndarray) else paddle.to_tensor(value)


def outputs_of(framework: Any, batch: dict[str, Any], mode: str = "predict") -> dict[str, np.ndarray]:
    """What the network gives for a loader's batch, float32."""
    with within_memory("the evaluation", batch.get("imgs"), _LOWER):
        outputs = framework(tensors(batch), mode=mode)
        return {key: value.astype("float32").numpy() for key, value in outputs.items()}


def evaluate(
    framework: Any,
    loader: Any,
    metric: Any,
    precision: Precision,
    max_batches: int | None = None,
    announce: str | None = None,
    collectors: Sequence[Collector] = (),
    merged: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Every sample of the loader once, on whichever rank has it; the figures over all of them, on every rank.

    Args:
        max_batches: stop after so many batches.
        announce: words for a line per batch, as ``[TEST] Processing batch``; None: no lines.
        collectors: what else keeps the outputs; their files are written before the metric computes anything, which
            may fail.
        merged: called then, on the main rank, when the metric holds the samples of all ranks.

    Returns:
        What ``metric.compute`` gives; with ``num_non_finite``, if there are any, the number of samples (persons) whose
        scores are NaN or infinite.  The metric is given NaN for them, and they count as wrong.
    """
    metric.use_dataset(loader.dataset)
    metric.use_framework(framework)
    if collectors:
        if distributed.is_main():
            for collector in collectors:
                collector.prepare()
        distributed.barrier()
    framework.eval()
    total = min(len(loader), max_batches or len(loader))
    announced_s = 0.0
    num_wrong = num_scores = 0  # rows of scores
    with contextlib.closing(_readable(loader)) as batches, paddle.no_grad(), precision.autocast():
        for i, batch in enumerate(batches):
            if i == total:
                break
            if announce and (time.monotonic() - announced_s > 2 or i == total - 1):
                log.info("%s %d/%d ...", announce, i, total)
                announced_s = time.monotonic()
            arrays = outputs_of(framework, batch)
            wrong = ~np.isfinite(arrays["scores"]).all(axis=-1)
            if wrong.any():
                arrays["scores"] = np.where(wrong[..., None], np.float32(np.nan), arrays["scores"])
            index, rest = np.asarray(batch["index"]), {k: np.asarray(v) for k, v in batch.items() if k != "imgs"}
            for part in (metric, *collectors):
                part.update(index, arrays, rest)
            num_wrong, num_scores = num_wrong + int(wrong.sum()), num_scores + wrong.size
    for part in (metric, *collectors):
        part.merge(distributed.gather(part.state()))
    if distributed.is_main():
        if merged is not None:
            merged()
        for collector in collectors:
            collector.write(loader.dataset.records)
    num_wrong, num_scores = (sum(counts) for counts in zip(*distributed.gather((num_wrong, num_scores))))
    figures = _figures(metric)
    if not num_wrong:
        return figures
    log.warning("%d of %d clips (persons) have scores of NaN or infinity, and count as wrong", num_wrong, num_scores)
    return {**figures, "num_non_finite": num_wrong}


def _figures(metric: Any) -> dict[str, float]:
    """What the metric computes.

    Raises:
        UserError: its primary figure is not among them, or a figure is no number.
    """
    figures, name = metric.compute(), type(metric).__name__
    if not isinstance(figures, Mapping) or metric.primary not in figures:
        got = f"the figures {', '.join(figures)}" if isinstance(figures, Mapping) else type(figures).__name__
        raise UserError(f"METRIC: {name}.compute gives {got}, without the primary figure {metric.primary!r}")
    for key, value in figures.items():
        if not isinstance(value, Real):
            kind = type(value).__name__
            raise UserError(f"METRIC: {name}.compute gives the figure {key!r} as {kind}, expected a number: float(...)")
    return dict(figures)


def _readable(loader: Any) -> Generator[dict[str, Any], None, None]:
    """The batches; the error of an unreadable file names the options."""
    try:
        with contextlib.closing(loader.epoch(0)) as batches:
            yield from batches
    except VideoReadError as error:
        raise UserError(
            f"{error}; on_error: count in this split of DATASET counts unreadable files as wrong, and "
            "paddlevideo check-data lists them all"
        ) from error
