"""MobileNetV2 with the temporal shift in its residual branches: TSM's, and PaddleVideo's with the classifier inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import paddle
from paddle import nn

from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.backbones.classifying import without_other_classifier
from paddlevideo.modeling.layers import ConvBN, children
from paddlevideo.modeling.naming import batch_norm
from paddlevideo.modeling.shift import ShiftState, TemporalShift, resolved_shift_div
from paddlevideo.ranges import NumClasses, Positive, ShiftDivisor, ShiftedFrames
from paddlevideo.registry import BACKBONES

# expansion, channels, blocks, stride of the first block
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_LAST = 1280


def rounded_channels(count: int, scale: float) -> int:
    """``count * scale`` to the nearest multiple of 8, but no less than nine tenths of it.

    *Source*: torchvision's and MMCV's rounding for MobileNetV2.
    """
    wanted = count * scale
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


class InvertedResidual(nn.Layer):
    """1x1 to more channels, 3x3 on each alone, 1x1 to few, and an identity path where shapes allow.

    Args:
        expands: False leaves the first 1x1 out (torchvision's first block); it has as many channels then.
        stride: 1 or 2.
        shift: what is done before the branch, if there is an identity path and ``expansion`` is more than 1.
        bn_wd: see ``ConvBN``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        expands: bool,
        stride: int,
        shift: TemporalShift,
        bn_wd: bool,
    ):
        super().__init__()
        inner = in_channels * expansion
        self._expand_conv = ConvBN(in_channels, inner, 1, act="relu6", bn_wd=bn_wd) if expands else None
        self._bottleneck_conv = ConvBN(inner, inner, 3, stride, "relu6", bn_wd, groups=inner)
        self._linear_conv = ConvBN(inner, out_channels, 1, act=None, bn_wd=bn_wd)
        self._adds = stride == 1 and in_channels == out_channels
        self.shift = shift if self._adds and expansion > 1 else None

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, C, H, W] -> [N * T, C', H', W']."""
        y = x if self.shift is None else self.shift(x, state)
        if self._expand_conv is not None:
            y = self._expand_conv(y)
        y = self._linear_conv(self._bottleneck_conv(y))
        return x + y if self._adds else y


class MobileNetStage(nn.Layer):
    """Blocks of one width: ``_first_block``, and then ``{name}_2`` and on, as PaddleVideo and PaddleClas call them."""

    def __init__(self, name: str, blocks: list[InvertedResidual]):
        super().__init__()
        self.blocks = ["_first_block", *(f"{name}_{i}" for i in range(2, len(blocks) + 1))]
        for key, block in zip(self.blocks, blocks):
            self.add_sublayer(key, block)

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, C, H, W] -> [N * T, C', H', W']."""
        for block in children(self, self.blocks):
            x = block(x, state)
        return x


class MobileNetV2Trunk(Backbone):
    """The convolutions, ``conv1`` to ``conv9``.

    Args:
        expands_first: the block of expansion 1 has its 1x1 nevertheless, as in PaddleClas.
        scale: factor of the channels.
        bn_wd: see ``ConvBN``.
        shift: arguments of ``TemporalShift``.
    """

    def __init__(self, expands_first: bool, scale: float, bn_wd: bool, shift: Mapping[str, Any]):
        super().__init__()
        self.shift_div = resolved_shift_div(shift["num_seg"], shift["shift_div"], shift["direction"], shift["shift"])
        shift = {**shift, "shift_div": self.shift_div}
        self.num_seg = self.out_seg = shift["num_seg"]
        self.shift_mode = shift["mode"]
        channels = rounded_channels(32, scale)
        self.conv1 = ConvBN(3, channels, 3, 2, "relu6", bn_wd)
        for number, (expansion, width, count, stride) in enumerate(_STAGES, 2):
            blocks = []
            for i in range(count):
                blocks.append(
                    InvertedResidual(
                        channels,
                        rounded_channels(width, scale),
                        expansion,
                        expands_first or expansion != 1,
                        stride if i == 0 else 1,
                        TemporalShift(**shift),
                        bn_wd,
                    )
                )
                channels = rounded_channels(width, scale)
            self.add_sublayer(f"conv{number}", MobileNetStage(f"conv{number}", blocks))
        self.conv9 = ConvBN(channels, max(_LAST, rounded_channels(_LAST, scale)), 1, act="relu6", bn_wd=bn_wd)
        self.out_channels = max(_LAST, rounded_channels(_LAST, scale))

    def features(self, x: paddle.Tensor, state: ShiftState | None) -> paddle.Tensor:
        """[N * T, 3, H, W] -> [N * T, C, H / 32, W / 32]."""
        x = self.conv1(x)
        for stage in children(self, [f"conv{number}" for number in range(2, 2 + len(_STAGES))]):
            x = stage(x, state)
        return self.conv9(x)


@BACKBONES.register
class MobileNetV2TSM(MobileNetV2Trunk):
    """TSM's small backbone: the ten residual blocks of MobileNetV2 that have an identity path are shifted.

    The names of its parts are those of PaddleVideo's ``PPTSM_MobileNetV2``; its first block has no 1x1 before it.

    Args:
        num_seg: frames of a clip.
        pretrained: weights to start from, see ``load_pretrained``.
        shift_div: see ``ResNetTSM``.
        shift_direction: which group comes from the frame before, see ``temporal_shift``.
        shift_mode: see ``ResNetTSM``.
        shift: False: the same network without any shift.
        scale: factor of the channels, which are rounded to multiples of 8; 1 is the published network.
        bn_wd: see ``ConvBN``.

    *Source*: MMAction2 ``MobileNetV2TSM``; MobileNetV2 (Sandler et al., 2018).
    """

    def __init__(
        self,
        num_seg: ShiftedFrames = 8,
        pretrained: str | None = None,
        shift_div: ShiftDivisor | None = None,
        shift_direction: Literal["paddlevideo", "mmaction2"] = "paddlevideo",
        shift_mode: Literal["offline", "online"] = "offline",
        shift: bool = True,
        scale: Positive = 1.0,
        bn_wd: bool = False,
    ):
        arguments = {"num_seg": num_seg, "shift_div": shift_div, "direction": shift_direction}
        super().__init__(False, scale, bn_wd, {**arguments, "shift": shift, "mode": shift_mode})
        self.structure = {"shift": shift}
        self.pretrained = pretrained

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, 3, H, W] -> [N * T, out_channels, H / 32, W / 32]; ``state`` as for ``ResNetTSM``."""
        return self.features(x, state)

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """ImageNet's classifier is left out."""
        return {key: value for key, value in arrays.items() if not key.startswith(("out.", "classifier."))}, {}

    @staticmethod
    def names_in(origin: str, **structure: Any) -> dict[str, str]:
        """Of "mmaction2", "torchvision" and "tonylins"."""
        return mobilenet_names(origin, **structure)

    @classmethod
    def structures(cls, origin: str) -> list[dict[str, Any]]:
        """With and without the shift."""
        return [{"shift": shift} for shift in ((True, False) if origin == "mmaction2" else (True,))]


@BACKBONES.register
class PPTSM_MobileNetV2(MobileNetV2Trunk):
    """PP-TSM on MobileNetV2: average over space and frames, and the classifier ``out``, in the backbone itself.

    Its head is ``MoViNetHead``, which only adds the loss; the number of classes is ``MODEL.backbone.class_num``.

    Args:
        pretrained: weights to start from, see ``load_pretrained``; PaddleClas' MobileNetV2 has the same names.
        class_num: K.
        num_seg: frames of a clip.
        shift_div: see ``ResNetTSM``.
        shift_direction: which group comes from the frame before, see ``temporal_shift``.
        shift_mode: see ``ResNetTSM``.
        shift: False: the same network without any shift.
        scale: see ``MobileNetV2TSM``.
        bn_wd: see ``ConvBN``; unlike its ResNets, PaddleVideo's MobileNetV2 decays the normalisation too.
        use_ssld: PaddleVideo's word for the origin of ``pretrained``; accepted and without effect, as there.

    *Source*: PaddleVideo ``PPTSM_MobileNetV2``.
    """

    classifier_prefixes = ("out.",)

    def __init__(
        self,
        pretrained: str | None = None,
        class_num: NumClasses = 400,
        num_seg: ShiftedFrames = 8,
        shift_div: ShiftDivisor | None = None,
        shift_direction: Literal["paddlevideo", "mmaction2"] = "paddlevideo",
        shift_mode: Literal["offline", "online"] = "offline",
        shift: bool = True,
        scale: Positive = 1.0,
        bn_wd: bool = True,
        use_ssld: bool = False,
    ):
        arguments = {"num_seg": num_seg, "shift_div": shift_div, "direction": shift_direction}
        super().__init__(True, scale, bn_wd, {**arguments, "shift": shift, "mode": shift_mode})
        self.pretrained = pretrained
        self.out = nn.Linear(self.out_channels, class_num)
        self.out_channels = class_num

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, 3, H, W] -> logits [N, K]; with ``state``, logits of one frame from x [N, 3, H, W]."""
        pooled = self.features(x, state).mean([2, 3])  # [N * T, C]
        if state is None:
            pooled = pooled.reshape([-1, self.num_seg, pooled.shape[1]]).mean(1)  # [N, C]
        return self.out(pooled)

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """A classifier of another number of classes is left out, and ``out`` starts anew."""
        return without_other_classifier(arrays, "out", self.out)


def mobilenet_names(origin: str, shift: bool) -> dict[str, str]:
    """Name in ``origin`` -> name here, of every array of a ``MobileNetV2TSM``.

    MMAction2 wraps a shifted convolution, with its normalisation, in ``net``.  torchvision pairs a convolution with its
    normalisation, but for the last of a block; tonylins' implementation numbers convolutions, normalisations and
    activations through.
    """
    if origin not in ("mmaction2", "torchvision", "tonylins"):
        return {}

    def layer(convolution: str, norm: str, our: str) -> None:
        names[f"{convolution}.weight"] = f"{our}._conv.weight"
        names.update(batch_norm(norm, f"{our}._batch_norm"))

    names: dict[str, str] = {}
    theirs, number = origin == "mmaction2", 0
    for place, last, our in (("0", "conv1", "conv1"), ("18", "conv2", "conv9")):
        layer(*((f"{last}.conv", f"{last}.bn") if theirs else (f"features.{place}.0", f"features.{place}.1")), our)
    for stage, (expansion, _, count, _) in enumerate(_STAGES, 1):
        for index in range(count):
            number += 1
            block = f"conv{stage + 1}." + ("_first_block" if index == 0 else f"conv{stage + 1}_{index + 1}")
            parts = ("_expand_conv", "_bottleneck_conv", "_linear_conv")[0 if expansion > 1 else 1 :]
            for i, part in enumerate(parts):
                if theirs:  # blocks after a stage's first have an identity path
                    wrapper = ".net" if shift and i == 0 and index > 0 and expansion > 1 else ""
                    at = f"layer{stage}.{index}.conv.{i}{wrapper}"
                    layer(f"{at}.conv", f"{at}.bn", f"{block}.{part}")
                    continue
                at, ends = f"features.{number}.conv", part == "_linear_conv"
                if origin == "tonylins":
                    layer(f"{at}.{3 * i}", f"{at}.{3 * i + 1}", f"{block}.{part}")
                elif ends:
                    layer(f"{at}.{i}", f"{at}.{i + 1}", f"{block}.{part}")
                else:
                    layer(f"{at}.{i}.0", f"{at}.{i}.1", f"{block}.{part}")
    return names
