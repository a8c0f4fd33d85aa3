"""MobileNetV3 with the temporal shift in its residual branches, and the classifier inside."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.modeling.backbones.classifying import ClassifyingTSM
from paddlevideo.modeling.backbones.mobilenet_v2_tsm import rounded_channels
from paddlevideo.modeling.layers import ConvBN2D, SqueezeExcitation
from paddlevideo.modeling.shift import ShiftState, TemporalShift
from paddlevideo.ranges import NumClasses, Positive, PositiveInt, ProbabilityBelowOne, ShiftDivisor, ShiftedFrames
from paddlevideo.registry import BACKBONES

_FIRST, _LAST = 16, 960
_GATE_SLOPE = 0.2  # of squeeze and excitation; Paddle's own hardsigmoid has 1 / 6


class BlockSpec(NamedTuple):
    """One inverted residual block: kernel, channels inside, channels that come out, SE or not, activation, stride."""

    kernel: int
    inner: int
    channels: int
    squeezes: bool
    act: str
    stride: int


_BLOCKS = tuple(
    BlockSpec(*row)
    for row in (
        (3, 16, 16, False, "relu", 1),
        (3, 64, 24, False, "relu", 2),
        (3, 72, 24, False, "relu", 1),
        (5, 72, 40, True, "relu", 2),
        (5, 120, 40, True, "relu", 1),
        (5, 120, 40, True, "relu", 1),
        (3, 240, 80, False, "hardswish", 2),
        (3, 200, 80, False, "hardswish", 1),
        (3, 184, 80, False, "hardswish", 1),
        (3, 184, 80, False, "hardswish", 1),
        (3, 480, 112, True, "hardswish", 1),
        (3, 672, 112, True, "hardswish", 1),
        (5, 672, 160, True, "hardswish", 2),
        (5, 960, 160, True, "hardswish", 1),
        (5, 960, 160, True, "hardswish", 1),
    )
)


class SqueezedResidual(nn.Layer):
    """1x1 to more channels, depthwise, squeeze and excitation, 1x1 to few, and an identity path where shapes allow.

    Args:
        spec: with ``inner`` and ``channels`` at the network's scale.
        shift: what is done before the branch, if there is an identity path; also in a block that does not expand.
    """

    def __init__(self, in_channels: int, spec: BlockSpec, shift: TemporalShift):
        super().__init__()
        inner = spec.inner
        self.expand_conv = ConvBN2D(in_channels, inner, 1, act=spec.act)
        self.bottleneck_conv = ConvBN2D(inner, inner, spec.kernel, spec.stride, spec.act, groups=inner)
        self.mid_se = SqueezeExcitation(inner, _GATE_SLOPE) if spec.squeezes else None
        self.linear_conv = ConvBN2D(inner, spec.channels, 1, act=None)
        self.shift = shift if spec.stride == 1 and in_channels == spec.channels else None

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, C, H, W] -> [N * T, C', H', W']."""
        y = x if self.shift is None else self.shift(x, state)
        y = self.bottleneck_conv(self.expand_conv(y))
        if self.mid_se is not None:
            y = self.mid_se(y)
        y = self.linear_conv(y)
        return y if self.shift is None else x + y


@BACKBONES.register
class PPTSM_MobileNetV3(ClassifyingTSM):
    """PP-TSM on MobileNetV3 large: the ten blocks with an identity path are shifted; classifies by itself.

    Args:
        pretrained: weights to start from, see ``load_pretrained``; PaddleClas' MobileNetV3_large_x1_0 has the same
            names.
        class_num: K.
        num_seg: frames of a clip.
        class_expand: D, channels before the classifier.
        dropout_prob: probability, 0 to 1; see ``ClassifyingTSM``.
        shift_div: see ``ResNetTSM``.
        shift_direction: which group comes from the frame before, see ``temporal_shift``.
        shift_mode: see ``ResNetTSM``.
        shift: False: the same network without any shift.
        scale: factor of the channels, which are rounded to multiples of 8; 1 is the published network.

    *Source*: PaddleVideo ``PPTSM_MobileNetV3``; Searching for MobileNetV3 (Howard et al., 2019).  PaddleVideo's precise
    batch statistics do not find the normalisations of this network and change nothing; here they do.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        class_num: NumClasses = 400,
        num_seg: ShiftedFrames = 8,
        class_expand: PositiveInt = 1280,
        dropout_prob: ProbabilityBelowOne = 0.2,
        shift_div: ShiftDivisor | None = None,
        shift_direction: Literal["paddlevideo", "mmaction2"] = "paddlevideo",
        shift_mode: Literal["offline", "online"] = "offline",
        shift: bool = True,
        scale: Positive = 1.0,
    ):
        arguments = {"num_seg": num_seg, "shift_div": shift_div, "direction": shift_direction}
        super().__init__({**arguments, "shift": shift, "mode": shift_mode}, pretrained)
        channels = rounded_channels(_FIRST, scale)
        self.conv = ConvBN2D(3, channels, 3, 2, "hardswish")
        self.blocks = nn.LayerList()
        for row in _BLOCKS:
            inner, width = (rounded_channels(count, scale) for count in (row.inner, row.channels))
            spec = row._replace(inner=inner, channels=width)
            self.blocks.append(SqueezedResidual(channels, spec, TemporalShift(**self.shift_arguments)))
            channels = width
        last = rounded_channels(_LAST, scale)
        self.last_second_conv = ConvBN2D(channels, last, 1, act="hardswish")
        self.add_classifier(last, class_expand, class_num, dropout_prob, F.hardswish)

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, 3, H, W] -> logits [N, K]; with ``state``, logits of one frame from x [N, 3, H, W]."""
        x = self.conv(x)
        for block in self.blocks:
            x = block(x, state)
        return self.classify(self.last_second_conv(x), state)

    @classmethod
    def structures(cls, origin: str) -> list[dict[str, Any]]:
        """Of Paddle's own files the one."""
        return [{}] if origin == "paddle" else []
