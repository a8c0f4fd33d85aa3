"""SlowFast as PaddleVideo's released weights name it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.backbones.resnet3d import (
    SLOW_INFLATE,
    Conv,
    Residual3D,
    branch_convs,
    check_frames,
    check_num_seg,
    check_strides,
    picture_weights,
    pool_stem,
    shortcut_conv,
)
from paddlevideo.modeling.backbones.resnet3d_slowfast import pathway_channels
from paddlevideo.modeling.backbones.resnet_tsm import BLOCKS, EXPANSION
from paddlevideo.modeling.inflation import inflated, is_of_pictures
from paddlevideo.modeling.layers import batch_norm3d, children, conv3d
from paddlevideo.ranges import PositiveInt
from paddlevideo.registry import BACKBONES

Pathways = tuple[paddle.Tensor, paddle.Tensor]  # slow and fast, each [N, C, T, H, W]

_BLOCK = re.compile(r"layer(\d)\.(\d+)\.(conv(\d)|downsample)\.(conv|bn)\.(\w+)")


class _Block(Residual3D):
    """A bottleneck whose shortcut is ``branch1``, and whose branch ``branch2.a``, ``b``, ``c``, each with a ``_bn``."""

    def __init__(self, convs: Sequence[Conv]):
        super().__init__()
        parts: list[tuple[str, nn.Layer]] = []
        for letter, conv in zip("abc", convs, strict=True):
            last = letter == "c"
            parts.append((letter, conv3d(conv.in_channels, conv.out_channels, conv.kernel, conv.stride)))
            parts.append((f"{letter}_bn", batch_norm3d(conv.out_channels, 0.0 if last else 1.0, bn_wd=False)))
            if not last:
                parts.append((f"{letter}_relu", nn.ReLU()))
        self.branch2 = nn.Sequential(*parts)
        short = shortcut_conv(convs)
        self.branch1 = short and conv3d(short.in_channels, short.out_channels, short.kernel, short.stride)
        self.branch1_bn = short and batch_norm3d(short.out_channels, bn_wd=False)

    def branch(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.branch2(x)

    def shortcut(self, x: paddle.Tensor) -> paddle.Tensor:
        return x if self.branch1 is None else self.branch1_bn(self.branch1(x))


class _PathwayStem(nn.Layer):
    """Convolution, normalisation, ReLU, pool."""

    def __init__(self, channels: int, frames: int):
        super().__init__()
        self._conv = conv3d(3, channels, (frames, 7, 7), (1, 2, 2))
        self._bn = batch_norm3d(channels, bn_wd=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return pool_stem(F.relu(self._bn(self._conv(x))))


class _Stem(nn.Layer):
    """The stems of both pathways."""

    def __init__(self, slow: int, fast: int):
        super().__init__()
        self.pathway0_stem, self.pathway1_stem = _PathwayStem(slow, 1), _PathwayStem(fast, 5)

    def forward(self, pathways: Pathways) -> Pathways:
        return self.pathway0_stem(pathways[0]), self.pathway1_stem(pathways[1])


class _Fuse(nn.Layer):
    """The fast pathway's features, at the slow one's rate, after the slow one's channels.

    ``_bn`` is part of the released weights even where ``normalize`` is off and it does nothing.
    """

    def __init__(self, channels: int, kernel: int, alpha: int, normalize: bool):
        super().__init__()
        self._conv_f2s = conv3d(channels, 2 * channels, (kernel, 1, 1), (alpha, 1, 1))
        self._bn = batch_norm3d(2 * channels, bn_wd=False)
        self._normalize = normalize
        if not normalize:  # several ranks wait for the gradient of whatever may have one
            self._bn.weight.stop_gradient = self._bn.bias.stop_gradient = True

    def forward(self, pathways: Pathways) -> Pathways:
        slow, fast = pathways
        joined = self._conv_f2s(fast)
        if self._normalize:
            joined = F.relu(self._bn(joined))
        return paddle.concat([slow, joined], axis=1), fast


class _Stage(nn.Layer):
    """One stage of both pathways: ``pathway0_res0``, ``pathway0_res1``... are the slow one, ``pathway1_*`` the fast."""

    def __init__(self, pathways: Sequence[Sequence[Sequence[Conv]]]):
        super().__init__()
        self.names = [[f"pathway{p}_res{i}" for i in range(len(blocks))] for p, blocks in enumerate(pathways)]
        for names, blocks in zip(self.names, pathways, strict=True):
            for name, convs in zip(names, blocks, strict=True):
                self.add_sublayer(name, _Block(convs))

    def forward(self, pathways: Pathways) -> Pathways:
        slow, fast = pathways
        for block in children(self, self.names[0]):
            slow = block(slow)
        for block in children(self, self.names[1]):
            fast = block(fast)
        return slow, fast


@BACKBONES.register
class ResNetSlowFast(Backbone):
    """SlowFast with PaddleVideo's arguments and names (``s2.pathway0_res0.branch2.a_bn``), for its checkpoints.

    The blocks are those of ``ResNet3dSlowFast``; what differs is that the slow pathway's frames are spread evenly from
    the first to the last (0, 4, 8, 13, ..., 31 of 32), and that connections may have normalisation and ReLU.

    Args:
        alpha: frames of the clip, and of the fast pathway, to one of the slow pathway.
        beta: channels of the slow pathway to one of the fast pathway.
        width_per_group: channels of the slow pathway's stem.
        fusion_kernel_sz: frames that a connection sees, odd.
        fuse_bn_relu: whether connections normalise and activate; 0 or 1.
        spatial_strides: [slow, fast] of each of the four stages.
        use_pool_af_s2: PaddleVideo's pool after the first stage, which has size 1 and changes nothing; 0 or 1.
        depth: 50 or 101.
        num_seg: frames of a clip, a multiple of ``alpha``; None takes clips of any such length.
        pretrained: see ``ResNet3dSlowFast``.
        bn_norm_type: accepted for PaddleVideo's files; ``--multigrid`` decides into how many parts batch norms split a
            batch (``modeling.split_norm``).

    *Source*: PaddleVideo ``ResNetSlowFast``, of which this has the exemption of normalisations from weight decay.
    """

    layout = "volumes"

    def __init__(
        self,
        alpha: PositiveInt = 8,
        beta: PositiveInt = 8,
        width_per_group: PositiveInt = 64,
        fusion_kernel_sz: PositiveInt = 5,
        fuse_bn_relu: int | bool = 1,
        spatial_strides: Sequence[Sequence[int]] = ((1, 1), (2, 2), (2, 2), (2, 2)),
        use_pool_af_s2: int | bool = 1,
        depth: Literal[50, 101] = 50,
        num_seg: PositiveInt | None = None,
        pretrained: str | None = None,
        bn_norm_type: Literal["batchnorm"] = "batchnorm",
    ):
        super().__init__()
        _check(fusion_kernel_sz, spatial_strides)
        check_num_seg(num_seg, alpha, "alpha")
        slow_strides, fast_strides = zip(*spatial_strides, strict=True)
        check_strides(slow_strides)
        thin, fused = pathway_channels(depth, width_per_group, beta)
        self.depth, self.alpha, self.num_seg, self.pretrained = depth, alpha, num_seg, pretrained
        self.s1 = _Stem(width_per_group, thin)
        slow_channels, fast_channels = width_per_group, thin
        for stage, channels in enumerate(fused):
            self.add_sublayer(f"s{stage + 1}_fuse", _Fuse(channels, fusion_kernel_sz, alpha, bool(fuse_bn_relu)))
            slow, slow_channels = _blocks(
                depth, stage, slow_channels + 2 * channels, width_per_group, slow_strides[stage], SLOW_INFLATE[stage]
            )
            fast, fast_channels = _blocks(depth, stage, fast_channels, thin, fast_strides[stage], True)
            self.add_sublayer(f"s{stage + 2}", _Stage([slow, fast]))
        self.out_channels = slow_channels + fast_channels

    def forward(self, x: paddle.Tensor) -> Pathways:
        """[N, 3, T, H, W] -> slow [N, C, T / alpha, h, w], fast [N, C / beta, T, h, w].

        Raises:
            UserError: the number of frames is no multiple of ``alpha``.
        """
        frames = x.shape[2]
        check_frames(frames, self.alpha, "alpha")
        chosen = np.linspace(0, frames - 1, frames // self.alpha).astype("int64")
        pathways = paddle.index_select(x, paddle.to_tensor(chosen), axis=2), x
        pathways = self.s1(pathways)
        for layer in children(self, [name for n in range(1, 5) for name in (f"s{n}_fuse", f"s{n + 1}")]):
            pathways = layer(pathways)
        return pathways

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """2-D weights go, inflated, into the slow pathway; a SlowFast checkpoint needs no change."""
        if not is_of_pictures(arrays):
            return arrays, {}
        shapes = {key: value.shape for key, value in self.state_dict().items()}
        pictures = {_slow_name(key): value for key, value in picture_weights(arrays, self.depth).items()}
        own = [key for key in shapes if "pathway1_" in key or "_fuse." in key]
        return inflated(pictures, shapes), dict.fromkeys(own, "of the fast pathway and its connections start anew")


def _blocks(
    depth: int, stage: int, in_channels: int, width: int, stride: int, inflate: bool
) -> tuple[list[list[Conv]], int]:
    """The branches of one stage of one pathway, and the channels that come out."""
    inner, expansion = width << stage, EXPANSION[depth]
    first = branch_convs(in_channels, inner, expansion, stride, inflate)
    rest = branch_convs(inner * expansion, inner, expansion, 1, inflate)
    return [first] + [rest] * (BLOCKS[depth][stage] - 1), inner * expansion


def _slow_name(key: str) -> str:
    """The slow pathway's name of a parameter of ``ResNet3D``; an unknown name stays and turns up as unexpected."""
    if match := _BLOCK.fullmatch(key):
        stage, index, place, number, kind, tensor = match.groups()
        part = "branch1" if place == "downsample" else f"branch2.{'abc'[int(number) - 1]}"
        return f"s{int(stage) + 1}.pathway0_res{index}.{part}{'_bn' if kind == 'bn' else ''}.{tensor}"
    if key.startswith("conv1."):
        return f"s1.pathway0_stem._{key[len('conv1.') :]}"
    return key


def _check(kernel: int, strides: Sequence[Sequence[int]]) -> None:
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"fusion_kernel_sz: expected an odd number of frames, got {kernel}")
    pairs = [tuple(stage) for stage in strides if isinstance(stage, Sequence)]
    if len(pairs) != 4 or len(strides) != 4 or not all(len(pair) == 2 and {*pair} <= {1, 2} for pair in pairs):
        raise ValueError(f"spatial_strides: expected [slow, fast] strides of 1 or 2 for four stages, got {strides}")
