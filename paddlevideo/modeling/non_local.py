"""Non-local blocks: every position of a clip looks at every other."""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from paddlevideo.modeling.layers import hint

NonLocalMode = Literal["embedded_gaussian", "gaussian", "dot_product"]
MODES = ("embedded_gaussian", "gaussian", "dot_product")


class NonLocal3D(nn.Layer):
    """``x + BN(conv_out(A g(x)))``, where row q of ``A`` weighs all positions for position q; starts as identity.

    All convolutions are 1x1x1, from C to C' = C / 2 and back.

    Args:
        channels: C.
        mode: what ``A`` is: "embedded_gaussian": softmax of ``theta(x) . phi(x)``; "gaussian": softmax of ``x . x``,
            without theta and phi; "dot_product": ``theta(x) . phi(x)`` over the number of positions.
        sub_sample: the positions looked at are pooled 2x2 in space, which quarters the cost.
        use_scale: embedded_gaussian only: divides by the root of C' before the softmax.
        bn_wd: see ``ConvBN``.

    *Source*: Non-local Neural Networks (Wang et al., 2018); MMCV ``NonLocal3d`` with BN3d, of which this has the
    initialisation, and the names of the convolutions and of ``bn``.
    """

    def __init__(
        self,
        channels: int,
        mode: NonLocalMode = "embedded_gaussian",
        sub_sample: bool = True,
        use_scale: bool = False,
        bn_wd: bool = False,
    ):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"non_local.mode: expected one of {', '.join(MODES)}, got {mode!r}")
        inner = channels // 2
        self.mode, self.sub_sample, self.inner = mode, sub_sample, inner
        self.scale = inner**-0.5 if use_scale else 1.0
        self.g = self._projection(channels, inner)
        if mode != "gaussian":
            self.theta, self.phi = self._projection(channels, inner), self._projection(channels, inner)
        self.conv_out = nn.Conv3D(inner, channels, 1, weight_attr=init.KaimingNormal(), bias_attr=False)
        self.bn = nn.BatchNorm3D(channels, weight_attr=init.Constant(0.0), bias_attr=init.Constant(0.0))
        if not bn_wd:
            hint(self.bn.weight, decay=0.0)
            hint(self.bn.bias, decay=0.0)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> the same shape."""
        values = self._pool(self.g(x)).flatten(2).transpose([0, 2, 1])  # [N, M, C']
        if self.mode == "gaussian":
            queries, keys = x, self._pool(x)
        else:
            queries, keys = self.theta(x), self._pool(self.phi(x))
        keys = keys.flatten(2)  # [N, C' or C, M]
        weights = paddle.matmul(queries.flatten(2), keys, transpose_x=True)  # [N, Q, M]
        if self.mode == "dot_product":
            weights = weights / keys.shape[2]
        elif self.mode == "embedded_gaussian":
            weights = F.softmax(weights * self.scale)
        else:
            weights = F.softmax(weights)
        mixed = paddle.matmul(weights, values).transpose([0, 2, 1])  # [N, C', Q]
        mixed = mixed.reshape([-1, self.inner, *x.shape[2:]])  # [N, C', T, H, W]
        return x + self.bn(self.conv_out(mixed))

    def _pool(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.max_pool3d(x, [1, 2, 2]) if self.sub_sample else x

    @staticmethod
    def _projection(channels: int, inner: int) -> nn.Conv3D:
        return nn.Conv3D(channels, inner, 1, weight_attr=init.Normal(std=0.01), bias_attr=init.Constant(0.0))
