"""Non-local blocks: every position of a clip attends to every other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from paddlevideo.modeling.layers import hint
from paddlevideo.modeling.naming import batch_norm

NonLocalMode = Literal["embedded_gaussian", "gaussian", "dot_product"]
MODES = ("embedded_gaussian", "gaussian", "dot_product")
WITH_QUERIES = "embedded_gaussian"  # dot_product has the same arrays
# the published places: the first, third (and fifth) block of the two middle stages of ResNet-50
_PUBLISHED = ((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0))


class NonLocal3D(nn.Layer):
    """``x + BN(conv_out(A g(x)))``, where row q of ``A`` weighs all positions for position q; starts as identity.

    All convolutions are 1x1x1, from C to C' = C / 2 and back.

    Args:
        channels: C.
        mode: what ``A`` is: "embedded_gaussian": softmax of ``theta(x) . phi(x)``; "gaussian": softmax of ``x . x``,
            without theta and phi; "dot_product": ``theta(x) . phi(x)`` over the number of positions.
        sub_sample: the positions attended to are pooled 2x2 in space, which quarters the cost.
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


def non_local_places(
    depth: int, counts: Sequence[int], spec: Mapping[str, Any] | None
) -> tuple[Sequence[Sequence[int]], dict[str, Any]]:
    """For every block of a ResNet whether a non-local one follows it, and the arguments of those.

    Args:
        counts: blocks of each stage.
        spec: a backbone's ``non_local: {mode, sub_sample, use_scale, blocks}``.

    Raises:
        ValueError: ``blocks`` that are not one number per block.
    """
    none = [[0] * count for count in counts]
    if spec is None:
        return none, {}
    arguments = {key: value for key, value in spec.items() if key != "blocks"}
    blocks = spec.get("blocks") or _PUBLISHED
    if [len(stage) for stage in blocks] != list(counts):
        raise ValueError(
            f"non_local.blocks: expected lists of {', '.join(map(str, counts))} numbers for depth {depth}, "
            f"got {[list(stage) for stage in blocks]}"
        )
    return blocks, arguments


def named_by(spec: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What of a backbone's ``non_local`` decides the names that MMAction2 gives to its arrays."""
    if spec is None:
        return None
    mode = "gaussian" if spec.get("mode") == "gaussian" else WITH_QUERIES
    blocks = {"blocks": spec["blocks"]} if spec.get("blocks") else {}
    return {"mode": mode, "sub_sample": spec.get("sub_sample", True), **blocks}


def non_local_names(theirs: str, ours: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name in MMAction2, name here) of a block's arrays; with ``sub_sample`` g and phi come before a pool, as 0."""
    pooled = ".0" if spec.get("sub_sample", True) else ""
    parts = {"g": f"g{pooled}"}
    if spec.get("mode") != "gaussian":
        parts |= {"theta": "theta", "phi": f"phi{pooled}"}
    for part, name in parts.items():
        for tensor in ("weight", "bias"):
            yield f"{theirs}.{name}.conv.{tensor}", f"{ours}.{part}.{tensor}"
    yield f"{theirs}.conv_out.conv.weight", f"{ours}.conv_out.weight"
    yield from batch_norm(f"{theirs}.conv_out.bn", f"{ours}.bn")


def start_as_identity(keys: Iterable[str]) -> dict[str, str]:
    """Of a network's keys those of its non-local blocks, with the reason why a file without them will do."""
    return {key: "of non-local blocks, which start as identity" for key in keys if ".non_local." in key}
