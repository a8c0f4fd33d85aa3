"""Batch normalisation of 3-D networks that can treat parts of a batch apart."""

from __future__ import annotations

import math

import paddle
from paddle import nn
from paddle.nn import functional as F


class SplitBatchNorm3D(nn.BatchNorm3D):
    """``nn.BatchNorm3D``; with ``num_splits`` S above 1, sample i of a training batch is normalised with those of the
    same i mod S, so that statistics are of as few clips as with smaller batches.

    Scale and offset are one for all parts.  Running statistics move at every step to those of the whole batch: the mean
    of the parts' means, the mean of their variances plus the variance of their means.  So a network is the same in
    evaluation, in a checkpoint and in an export, whatever S is.

    *Source*: PaddleVideo's ``SubBatchNorm3D`` (multigrid training), whose normalisation this is to rounding.  There
    each part has running statistics of its own, which are joined once per epoch by the same formula, and every layer
    is renamed (``x_bn.bn._mean``); its checkpoints have the plain names, as here.

    Attributes:
        num_splits: S; a batch that is no multiple of it is split into as many parts as divide both.
    """

    num_splits = 1

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> the same shape."""
        splits = math.gcd(self.num_splits, x.shape[0]) if self.training and self.num_splits > 1 else 1
        if splits == 1:
            return super().forward(x)
        channels = x.shape[1]
        parts = x.reshape([-1, splits * channels, *x.shape[2:]])  # [N / S, S * C, T, H, W]
        mean, variance = paddle.zeros([splits * channels]), paddle.ones([splits * channels])
        scale, offset = self.weight.tile([splits]), self.bias.tile([splits])
        # a momentum of 0 leaves the batch's own statistics in mean and variance
        parts = F.batch_norm(parts, mean, variance, scale, offset, True, momentum=0.0, epsilon=self._epsilon)
        self._move(mean.reshape([splits, channels]), variance.reshape([splits, channels]))
        return parts.reshape(x.shape)

    @paddle.no_grad()
    def _move(self, means: paddle.Tensor, variances: paddle.Tensor) -> None:
        """Moves the running statistics to those of parts [S, C]."""
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        for running, new in ((self._mean, mean), (self._variance, variance)):
            running.set_value(running * self._momentum + new * (1 - self._momentum))


def set_num_splits(network: nn.Layer, num_splits: int) -> int:
    """Sets ``num_splits`` of every layer that has it; the number of these layers."""
    layers = [layer for layer in network.sublayers() if isinstance(layer, SplitBatchNorm3D)]
    for layer in layers:
        layer.num_splits = num_splits
    return len(layers)
