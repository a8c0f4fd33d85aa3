"""Running statistics of batch norms: copied, restored, and measured anew over training batches (precise BN)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import paddle
from paddle import nn

from paddlevideo.engine import distributed
from paddlevideo.engine.evaluate import tensors
from paddlevideo.engine.hooks import Hook
from paddlevideo.engine.precision import Precision

if TYPE_CHECKING:
    from paddlevideo.engine.trainer import Trainer

log = logging.getLogger("paddlevideo")


def batch_norms(framework: Any) -> list[Any]:
    """The batch norms with running statistics that training changes: not frozen, nor in a part that only evaluates.

    Leaves the network in training mode.
    """
    framework.train()
    return [m for m in _all(framework) if m.training and not m._use_global_stats]


class RunningStatistics:
    """The running means and variances of a network's batch norms, as one vector.

    A forward pass moves them before the step is checked; a rejected step restores them.
    """

    def __init__(self, framework: Any):
        self._tensors = [tensor for m in _all(framework) for tensor in (m._mean, m._variance)]

    @paddle.no_grad()
    def copy(self) -> paddle.Tensor:
        """All values one after the other, float32 [D]; [1] of zero for a network without batch norms."""
        if not self._tensors:
            return paddle.zeros([1])
        return paddle.concat([tensor.flatten() for tensor in self._tensors]).astype("float32")

    @paddle.no_grad()
    def restore(self, values: paddle.Tensor) -> None:
        """Puts back what ``copy`` gave."""
        start = 0
        for tensor in self._tensors:
            stop = start + int(tensor.size)
            tensor.set_value(values[start:stop].reshape(tensor.shape).astype(tensor.dtype))
            start = stop


@contextlib.contextmanager
def statistics_kept(framework: Any) -> Iterator[None]:
    """The running statistics of all batch norms are, on leaving, what they were."""
    statistics = RunningStatistics(framework)
    kept = statistics.copy()
    try:
        yield
    finally:
        statistics.restore(kept)


def renew_batch_norms(
    framework: Any, loader: Any, precision: Precision, num_batches: int, epoch: int = 0, what: str = "precise BN"
) -> int:
    """Running means and variances become the plain mean over the statistics of single batches; weights stay.

    Args:
        framework: the bare network; it is in training mode afterwards.
        loader: of training clips.
        num_batches: batches per rank; fewer if the loader has fewer.
        epoch: of the batches, counted from 0.
        what: the word for it in the log.

    Returns:
        The number of batch norms; 0 where there are none, and then no batch is read.

    *Source*: PaddleVideo ``do_preciseBN``.
    """
    layers = batch_norms(framework)
    count = min(num_batches, loader.num_batches(epoch))
    if not layers or not count:
        return 0
    momenta = [m._momentum for m in layers]
    sums, used = np.zeros(0), 0
    statistics = RunningStatistics(framework)
    kept = statistics.copy()
    try:
        for m in layers:
            m._momentum = 0.0  # running statistics become this batch's
        with contextlib.closing(loader.epoch(epoch)) as batches, paddle.no_grad(), precision.autocast():
            for i, batch in enumerate(batches, 1):
                if i % 50 == 1:
                    log.info("Computing %s %d / %d...", what, i, count)
                framework(tensors(batch), mode="loss")
                own = statistics.copy().numpy().astype("float64")
                if np.isfinite(own).all():
                    sums, used = (sums + own if used else own), used + 1
                else:
                    log.warning("%s: batch %d is left out, since its statistics are not finite", what, i)
                    statistics.restore(kept)  # NaN times a momentum of 0 would stay
                if i == count:
                    break
    finally:
        for m, momentum in zip(layers, momenta):
            m._momentum = momentum
    parts = [(total, number) for total, number in distributed.gather((sums, used)) if number]
    if not parts:
        log.warning("%s: no batch has finite statistics; the running ones stay as they are", what)
        statistics.restore(kept)
        return 0
    mean = np.mean([total / number for total, number in parts], axis=0)
    statistics.restore(paddle.to_tensor(mean.astype("float32")))
    return len(layers)


def _all(framework: Any) -> list[Any]:
    return [m for m in framework.sublayers() if isinstance(m, nn.layer.norm._BatchNormBase)]


class PreciseBNHook(Hook):
    """Batch-norm statistics as the plain mean over training batches instead of a running average.

    Args:
        interval: epochs between renewals.
        num_iters: batches per rank; fewer if the loader has fewer.
    """

    name = "precise_bn"

    def __init__(self, interval: int, num_iters: int):
        self.interval, self.num_iters = interval, num_iters

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        """From PRECISEBN."""
        section = run.config.settings.precise_bn
        return section and cls(section.preciseBN_interval, section.num_iters_preciseBN)

    def epoch_end(self, run: Trainer) -> None:
        epoch = run.progress.epoch
        if epoch % self.interval == 0:
            renew_batch_norms(run.framework, run.loader, run.precision, self.num_iters, epoch - 1)
