"""Batch-norm statistics measured anew over training batches."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddlevideo.engine import distributed
from paddlevideo.engine.evaluate import tensors
from paddlevideo.engine.precision import Precision

log = logging.getLogger("paddlevideo")


def batch_norms(framework: Any) -> list[Any]:
    """The batch norms whose running statistics training changes: neither frozen nor in a part that only evaluates.

    Leaves the network in training mode.
    """
    framework.train()
    return [m for m in _all(framework) if m.training and not m._use_global_stats]


@contextlib.contextmanager
def statistics_kept(framework: Any) -> Iterator[None]:
    """The running statistics of all batch norms are, on leaving, what they were."""
    kept = [(tensor, tensor.detach().clone()) for m in _all(framework) for tensor in (m._mean, m._variance)]
    try:
        yield
    finally:
        for tensor, value in kept:
            tensor.set_value(value)


def renew_batch_norms(
    framework: Any, loader: Any, precision: Precision, num_batches: int, epoch: int = 0, what: str = "precise BN"
) -> int:
    """Running means and variances become the plain mean over the statistics of single batches; weights stay.

    Args:
        framework: the bare network; it is in training mode afterwards.
        loader: of training clips.
        num_batches: batches per rank; fewer if the loader has fewer.
        epoch: whose batches, counted from 0.
        what: the word for it in the log.

    Returns:
        The number of batch norms; 0 where there are none, and then no batch is read.

    *Source*: PaddleVideo ``do_preciseBN``.
    """
    layers = batch_norms(framework)
    count = min(num_batches, len(loader))
    if not layers or not count:
        return 0
    momenta = [m._momentum for m in layers]
    sums = [[0.0, 0.0] for _ in layers]
    try:
        for m in layers:
            m._momentum = 0.0  # running statistics become this batch's
        with contextlib.closing(loader.epoch(epoch)) as batches, paddle.no_grad(), precision.autocast():
            for i, batch in enumerate(batches, 1):
                if i % 50 == 1:
                    log.info("Computing %s %d / %d...", what, i, count)
                framework(tensors(batch), mode="loss")
                for total, m in zip(sums, layers):
                    total[0] = total[0] + m._mean.numpy()
                    total[1] = total[1] + m._variance.numpy()
                if i == count:
                    break
    finally:
        for m, momentum in zip(layers, momenta):
            m._momentum = momentum
    parts = distributed.gather([[s / count for s in total] for total in sums])
    for i, m in enumerate(layers):
        m._mean.set_value(np.mean([part[i][0] for part in parts], axis=0).astype("float32"))
        m._variance.set_value(np.mean([part[i][1] for part in parts], axis=0).astype("float32"))
    return len(layers)


def _all(framework: Any) -> list[Any]:
    return [m for m in framework.sublayers() if isinstance(m, nn.layer.norm._BatchNormBase)]
