"""PP-TSM v2: PP-LCNetV2 with one temporal shift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from paddlevideo.modeling.backbones.classifying import ClassifyingTSM
from paddlevideo.modeling.backbones.mobilenet_v2_tsm import rounded_channels
from paddlevideo.modeling.layers import ConvBN2D, Fusable, SqueezeExcitation, hint, relu
from paddlevideo.modeling.shift import ShiftState, TemporalShift
from paddlevideo.ranges import NumClasses, Positive, PositiveInt, ProbabilityBelowOne, ShiftDivisor, ShiftedFrames
from paddlevideo.registry import BACKBONES

_STEM = (32, 64)
# channels, blocks; the first block of each halves the picture
_PLAIN_STAGES = ((128, 2), (256, 2))
_BRANCHED_STAGES = ((512, 6), (1024, 2))
_KERNEL = 5  # of the branched depthwise convolutions


class PlainBlock(nn.Layer):
    """A depthwise convolution 3x3 and a pointwise one, each with its normalisation and a ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.dw_conv = ConvBN2D(in_channels, in_channels, 3, stride, groups=in_channels)
        self.pw_conv = ConvBN2D(in_channels, out_channels, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N * T, C, H, W] -> [N * T, C', H', W']."""
        return self.pw_conv(self.dw_conv(x))


class BranchedBlock(Fusable):
    """A sum of depthwise convolutions 5x5, 3x3 and, at stride 1, 1x1, and pointwise convolutions after it.

    ``dw_conv`` is the one convolution that equals the branches: it has no gradient, and ``fuse`` fills it.

    Args:
        stride: 1 or 2.
        squeezes: squeeze and excitation before the pointwise convolution, which then is two, with half of
            ``out_channels`` between them.
        adds: an identity path where shapes allow.
    """

    branches = "dw_conv_list."

    def __init__(self, in_channels: int, out_channels: int, stride: int, squeezes: bool, adds: bool):
        super().__init__()
        kernels = [size for size in range(_KERNEL, 0, -2) if size > 1 or stride == 1]
        self.dw_conv_list = nn.LayerList(
            [ConvBN2D(in_channels, in_channels, size, stride, act=None, groups=in_channels) for size in kernels]
        )
        self.dw_conv = nn.Conv2D(
            in_channels, in_channels, _KERNEL, stride, _KERNEL // 2,
            groups=in_channels, weight_attr=init.KaimingNormal(),
        )  # fmt: skip
        self.dw_conv.weight.stop_gradient = self.dw_conv.bias.stop_gradient = True
        self.se = SqueezeExcitation(in_channels) if squeezes else None
        if squeezes:
            self.pw_conv_1 = ConvBN2D(in_channels, out_channels // 2, 1)
            self.pw_conv_2 = ConvBN2D(out_channels // 2, out_channels, 1)
        else:
            self.pw_conv = ConvBN2D(in_channels, out_channels, 1)
        self._adds = adds and stride == 1 and in_channels == out_channels

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N * T, C, H, W] -> [N * T, C', H', W']."""
        y = relu(self.dw_conv(x) if self.fused else paddle.add_n([branch(x) for branch in self.dw_conv_list]))
        y = self.pw_conv(y) if self.se is None else self.pw_conv_2(self.pw_conv_1(self.se(y)))
        return x + y if self._adds else y

    @paddle.no_grad()
    def fuse(self) -> None:
        """Sums the branches' kernels, each scaled by its normalisation and padded to 5x5, and their offsets."""
        kernels, biases = [], []
        for branch in self.dw_conv_list:
            norm, kernel = branch.bn, branch.conv.weight  # [C, 1, k, k]
            scale = norm.weight / paddle.sqrt(norm._variance + norm._epsilon)  # [C]
            margin = (_KERNEL - kernel.shape[2]) // 2
            kernels.append(F.pad(kernel * scale.reshape([-1, 1, 1, 1]), [margin] * 4))
            biases.append(norm.bias - norm._mean * scale)
        self.dw_conv.weight.set_value(paddle.add_n(kernels))
        self.dw_conv.bias.set_value(paddle.add_n(biases))

    def unfused(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The first branch is the convolution itself, its normalisation the offset; the others give zeros."""
        if not {"dw_conv.weight", "dw_conv.bias"} <= arrays.keys():
            return {}
        kernel, bias = arrays["dw_conv.weight"], arrays["dw_conv.bias"]
        found: dict[str, np.ndarray] = {}
        for number, branch in enumerate(self.dw_conv_list):
            alone = number == 0
            parts = {
                "conv.weight": kernel if alone else np.zeros(branch.conv.weight.shape, np.float32),
                "bn.weight": np.ones_like(bias),
                "bn.bias": bias if alone else np.zeros_like(bias),
                "bn._mean": np.zeros_like(bias),
                "bn._variance": np.full_like(bias, 1.0 - branch.bn._epsilon),
            }
            found |= {f"{self.branches}{number}.{part}": value for part, value in parts.items()}
        return found


class TemporalAttention(nn.Layer):
    """Every frame times a gate between 0 and 1, by the means of all frames of the clip.

    ``fc`` learns 5 times as fast as the rest, its bias 10 times and without weight decay.

    Args:
        num_seg: T.
    """

    def __init__(self, num_seg: int):
        super().__init__()
        self._num_seg = num_seg
        self.fc = nn.Linear(num_seg, num_seg)
        hint(self.fc.weight, lr=5.0)
        hint(self.fc.bias, lr=10.0, decay=0.0)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N * T, C, H, W] -> the same shape."""
        means = x.mean([1, 2, 3]).reshape([-1, self._num_seg])  # [N, T]
        return x * F.sigmoid(self.fc(means)).reshape([-1, 1, 1, 1])


@BACKBONES.register
class PPTSM_v2(ClassifyingTSM):
    """PP-TSM v2: PP-LCNetV2, whose map at stride 8 is shifted once, without a residual branch; classifies by itself.

    While it trains and in tests the last two stages sum convolutions of three sizes; an export has one in their place
    (``Fusable``).  Its weights ``dw_conv`` are part of every checkpoint, PaddleVideo's too, and have no gradient.

    Args:
        pretrained: weights to start from, see ``load_pretrained``; PaddleClas' PPLCNetV2_base has the same names.
        class_num: K.
        num_seg: frames of a clip.
        use_temporal_att: gates for the frames, before the shift.
        use_last_conv: only True; there is no network without it.
        class_expand: D, channels before the classifier.
        dropout_prob: probability, 0 to 1; see ``ClassifyingTSM``.
        shift_div: see ``ResNetTSM``; PaddleVideo's checkpoints of 16 frames move 1 / 16.
        shift_direction: which group comes from the frame before, see ``temporal_shift``.
        shift_mode: see ``ResNetTSM``.
        shift: False: the same network without any shift.
        scale: factor of the channels, which are rounded to multiples of 8; 1 is the published network.
        use_ssld: PaddleVideo's word for the origin of ``pretrained``; accepted and without effect, as there.

    *Source*: PaddleVideo ``PPTSM_v2``; PaddleClas' PP-LCNetV2.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        class_num: NumClasses = 400,
        num_seg: ShiftedFrames = 8,
        use_temporal_att: bool = False,
        use_last_conv: Literal[True] = True,
        class_expand: PositiveInt = 1280,
        dropout_prob: ProbabilityBelowOne = 0.2,
        shift_div: ShiftDivisor | None = None,
        shift_direction: Literal["paddlevideo", "mmaction2"] = "paddlevideo",
        shift_mode: Literal["offline", "online"] = "offline",
        shift: bool = True,
        scale: Positive = 1.0,
        use_ssld: bool = False,
    ):
        if use_temporal_att and shift_mode == "online":
            raise ValueError("shift_mode: 'online' sees no later frame, and use_temporal_att needs all of a clip")
        arguments = {"num_seg": num_seg, "shift_div": shift_div, "direction": shift_direction}
        super().__init__({**arguments, "shift": shift, "mode": shift_mode}, pretrained)
        self.structure = {"use_temporal_att": use_temporal_att}
        first, channels = (rounded_channels(count, scale) for count in _STEM)
        self.stem = nn.Sequential(ConvBN2D(3, first, 3, 2), PlainBlock(first, channels, 1))
        self.stages = nn.LayerList()
        for i, (width, count) in enumerate((*_PLAIN_STAGES, *_BRANCHED_STAGES)):
            blocks, width, last = [], rounded_channels(width, scale), i == 3
            for stride in (2, *[1] * (count - 1)):
                plain = i < len(_PLAIN_STAGES)
                blocks.append(
                    PlainBlock(channels, width, stride)
                    if plain
                    else BranchedBlock(channels, width, stride, squeezes=not last, adds=last)
                )
                channels = width
            self.stages.append(nn.Sequential(*blocks))
        self.global_attention = TemporalAttention(num_seg) if use_temporal_att else None
        self.shift = TemporalShift(**self.shift_arguments)
        self.add_classifier(channels, class_expand, class_num, dropout_prob, relu)

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, 3, H, W] -> logits [N, K]; with ``state``, logits of one frame from x [N, 3, H, W]."""
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            if i == len(_PLAIN_STAGES):
                x = self.shift(x if self.global_attention is None else self.global_attention(x), state)
            x = stage(x)
        return self.classify(x, state)

    @classmethod
    def structures(cls, origin: str) -> list[dict[str, Any]]:
        """Of Paddle's own files with and without the attention."""
        return [{"use_temporal_att": use} for use in (False, True)] if origin == "paddle" else []
