"""ResNet with the temporal shift inside its residual branches."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.modeling.layers import ConvBN, temporal_shift
from paddlevideo.registry import BACKBONES

log = logging.getLogger("paddlevideo")

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_EXPANSION = {18: 1, 34: 1, 50: 4, 101: 4}

_BATCH_NORM = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}
# MMAction2 0.x and torchvision, one pattern each for convolutions and normalisations
_STEM = re.compile(r"(?:conv1\.conv|conv1|conv1\.bn|bn1)\.(\w+)")
_CONV = re.compile(r"layer(\d)\.(\d+)\.(?:conv(\d)(?:\.conv(?:\.net)?)?|downsample\.(?:conv|0))\.weight")
_NORM = re.compile(r"layer(\d)\.(\d+)\.(?:conv(\d)\.bn|bn(\d)|downsample\.(?:bn|1))\.(\w+)")


def block_name(depth: int, stage: int, index: int) -> str:
    """PaddleVideo's name of a block: ``res2a``; from depth 101 on ``res4a, res4b1, res4b2...`` in the long stage.

    Args:
        stage: 0 to 3.
        index: 0-based place in the stage.
    """
    if depth >= 101 and stage == 2:
        return f"res{stage + 2}" + ("a" if index == 0 else f"b{index}")
    return f"res{stage + 2}{chr(ord('a') + index)}"


class Block(nn.Layer):
    """A residual block whose branch begins with the shift, so that the identity path stays unshifted.

    Args:
        in_channels: channels that come in.
        width: channels of the branch's inner convolutions.
        expansion: 4: 1x1, 3x3, 1x1 (the stride is on the 3x3); 1: two 3x3.
        stride: 1 or 2.
        shift: arguments of ``temporal_shift``.
        bn_wd: see ``ConvBN``.
    """

    def __init__(
        self, in_channels: int, width: int, expansion: int, stride: int, shift: Mapping[str, Any], bn_wd: bool = False
    ):
        super().__init__()
        out_channels = width * expansion
        if expansion == 1:
            self.conv0 = ConvBN(in_channels, width, 3, stride, bn_wd=bn_wd)
            self.conv1 = ConvBN(width, out_channels, 3, relu=False, bn_wd=bn_wd)
        else:
            self.conv0 = ConvBN(in_channels, width, 1, bn_wd=bn_wd)
            self.conv1 = ConvBN(width, width, 3, stride, bn_wd=bn_wd)
            self.conv2 = ConvBN(width, out_channels, 1, relu=False, bn_wd=bn_wd)
        projects = stride != 1 or in_channels != out_channels
        self.short = ConvBN(in_channels, out_channels, 1, stride, relu=False, bn_wd=bn_wd) if projects else None
        self._has_three = expansion != 1
        self._shift = dict(shift)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N * T, C, H, W] -> [N * T, C', H', W']."""
        y = self.conv1(self.conv0(temporal_shift(x, **self._shift)))
        if self._has_three:
            y = self.conv2(y)
        return F.relu(y + (x if self.short is None else self.short(x)))


@BACKBONES.register
class ResNetTSM(nn.Layer):
    """TSM's backbone: a 2-D ResNet in which some channels of every block look one frame back and some one ahead.

    Args:
        depth: 18, 34, 50 or 101.  18 and 34 have the shift at the input of their first 3x3 convolution; their names
            go by the same scheme (PaddleVideo's own 18 and 34 cannot be built, so there are no weights to agree with).
        num_seg: frames of a clip.
        pretrained: weights to start from, see ``load_pretrained``.
        shift_div: 1 / shift_div of the channels moves each way, whatever the number of frames.  PaddleVideo moves
            1 / num_seg: give ``shift_div: 16`` for weights it trained on 16 frames.  None stands for 8.
        shift_direction: which group looks back, see ``temporal_shift``.
        shift_every: shift only every n-th block of a stage; MMAction2's ResNet-101 has 2.
        shift: False: the same network without any shift.
        width: channels of the stem; 64 is the published network.
        bn_wd: True applies weight decay to batch normalisation too; the default, as in PaddleVideo, exempts it.
        data_format: PaddleVideo's hint about memory layout.  "NHWC" is accepted, logged, and computed as NCHW: the
            results are the same, and on CPUs NCHW is the faster one (1.2 s against 1.8 s for a clip of ResNet-50).

    *Source*: TSM (Lin et al., 2019); PaddleVideo and MMAction2 ``ResNetTSM``.
    """

    def __init__(
        self,
        depth: int = 50,
        num_seg: int = 8,
        pretrained: str | None = None,
        shift_div: int | None = 8,
        shift_direction: Literal["paddlevideo", "mmaction2"] = "paddlevideo",
        shift_every: int = 1,
        shift: bool = True,
        width: int = 64,
        bn_wd: bool = False,
        data_format: Literal["NCHW", "NHWC"] = "NCHW",
    ):
        super().__init__()
        shift_div = 8 if shift_div is None else shift_div
        _check(depth, num_seg, shift_div, shift_direction, shift_every, width)
        if data_format != "NCHW":
            log.info("MODEL.backbone.data_format: %s is computed as NCHW; results are the same", data_format)
        self.depth, self.num_seg, self.pretrained = depth, num_seg, pretrained
        self.conv = ConvBN(3, width, 7, 2, bn_wd=bn_wd)
        self.pool = nn.MaxPool2D(3, 2, 1)
        expansion, channels = _EXPANSION[depth], width
        self.blocks: list[str] = []
        for stage, count in enumerate(_BLOCKS[depth]):
            for index in range(count):
                arguments: dict[str, Any] = {
                    "num_seg": num_seg,
                    "shift_div": shift_div,
                    "direction": shift_direction,
                    "shift": shift and index % shift_every == 0,
                }
                stride = 2 if stage > 0 and index == 0 else 1
                block = Block(channels, width << stage, expansion, stride, arguments, bn_wd)
                name = block_name(depth, stage, index)
                self.add_sublayer(name, block)
                self.blocks.append(name)
                channels = (width << stage) * expansion
        self.out_channels = channels

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N * T, 3, H, W] -> [N * T, out_channels, H / 32, W / 32]."""
        x = self.pool(self.conv(x))
        for name in self.blocks:
            x = getattr(self, name)(x)
        return x

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """ImageNet's classifier is left out; a recognition checkpoint needs no change."""
        return {key: value for key, value in arrays.items() if not key.startswith(("fc.", "out."))}, {}

    def convert(self, arrays: Mapping[str, np.ndarray], origin: str) -> dict[str, np.ndarray]:
        """MMAction2 0.x or torchvision names to ours; convolutions have the same layout.

        Args:
            arrays: keys without the ``backbone.`` prefix.
            origin: "mmaction2" or "torchvision".
        """
        return {
            self.convert_name(key): value for key, value in arrays.items() if not key.endswith("num_batches_tracked")
        }

    def convert_name(self, key: str) -> str:
        """Our name of a parameter or layer; an unknown name stays as it is and turns up as unexpected."""
        if match := _NORM.fullmatch(key):
            stage, index, of_module, of_plain, part = match.groups()
            number = of_module or of_plain
            return f"{self._block(stage, index)}.{_part(number)}._batch_norm.{_BATCH_NORM.get(part, part)}"
        if match := _CONV.fullmatch(key):
            stage, index, number = match.groups()
            return f"{self._block(stage, index)}.{_part(number)}._conv.weight"
        if match := _STEM.fullmatch(key):
            part = match.group(1)
            return f"conv._batch_norm.{_BATCH_NORM[part]}" if "bn" in key else f"conv._conv.{part}"
        return key

    def layer_name(self, name: str, origin: str) -> str:
        """Our layer that gives what the layer ``name`` of another origin gives."""
        if name == "conv1":
            return "conv"
        if match := re.fullmatch(r"layer(\d)", name):  # a stage ends with its last block
            return self._block(match.group(1), _BLOCKS[self.depth][int(match.group(1)) - 1] - 1)
        if match := re.fullmatch(r"layer(\d)\.(\d+)", name):
            return self._block(*match.groups())
        return name

    def _block(self, stage: str, index: str | int) -> str:
        return block_name(self.depth, int(stage) - 1, int(index))


def _part(number: str | None) -> str:
    return "short" if number is None else f"conv{int(number) - 1}"


def _check(depth: int, num_seg: int, shift_div: int, direction: str, every: int, width: int) -> None:
    if depth not in _BLOCKS:
        raise ValueError(f"depth: expected one of {sorted(_BLOCKS)}, got {depth}")
    for name, value, least in (
        ("num_seg", num_seg, 1),
        ("shift_div", shift_div, 2),
        ("shift_every", every, 1),
        ("width", width, 1),
    ):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    if direction not in ("paddlevideo", "mmaction2"):
        raise ValueError(f"shift_direction: expected 'paddlevideo' or 'mmaction2', got {direction!r}")
