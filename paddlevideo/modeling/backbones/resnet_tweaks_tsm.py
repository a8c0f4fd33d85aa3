"""PP-TSM's backbone."""

from __future__ import annotations

from typing import Any, Literal

import paddle
from paddle import nn

from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.backbones.resnet_tsm import EXPANSION, Block, block_name, paddleclas_names, places
from paddlevideo.modeling.layers import ConvBN, children
from paddlevideo.modeling.shift import ShiftState, TemporalShift, resolved_shift_div
from paddlevideo.ranges import PositiveInt, ShiftDivisor, ShiftedFrames
from paddlevideo.registry import BACKBONES


@BACKBONES.register
class ResNetTweaksTSM(Backbone):
    """The shifted ResNet-vd of PP-TSM: three 3x3 convolutions for a stem, leaky ReLU, and from 50 on pooling shortcuts.

    Blocks are called ``bb_{stage}_{i}`` from depth 50 on, as in PaddleClas, whose ``ResNet*_vd`` weights therefore load
    as ``pretrained``; ``res2a`` and so on below.

    Args:
        depth: 18, 34, 50 or 101.
        num_seg: frames of a clip.
        pretrained: weights to start from, see ``load_pretrained``.
        shift_div: see ``ResNetTSM``.
        shift_direction: which group comes from the frame before, see ``temporal_shift``.
        shift_mode: see ``ResNetTSM``.
        shift: False: the same network without any shift.
        width: channels that come out of the stem; 64 is the published network.

    *Source*: PaddleVideo ``ResNetTweaksTSM``; Bag of Tricks (He et al., 2019) for ResNet-vd.
    """

    def __init__(
        self,
        depth: Literal[18, 34, 50, 101] = 50,
        num_seg: ShiftedFrames = 8,
        pretrained: str | None = None,
        shift_div: ShiftDivisor | None = None,
        shift_direction: Literal["paddlevideo", "mmaction2"] = "paddlevideo",
        shift_mode: Literal["offline", "online"] = "offline",
        shift: bool = True,
        width: PositiveInt = 64,
    ):
        super().__init__()
        self.shift_div = shift_div = resolved_shift_div(num_seg, shift_div, shift_direction, shift)
        self.num_seg, self.out_seg, self.pretrained, self.shift_mode = num_seg, num_seg, pretrained, shift_mode
        self.pools = depth >= 50  # PaddleVideo's 18 and 34 stride instead; PaddleClas' pool too
        self.conv1_1 = ConvBN(3, width // 2, 3, 2, act="leaky_relu")
        self.conv1_2 = ConvBN(width // 2, width // 2, 3, act="leaky_relu")
        self.conv1_3 = ConvBN(width // 2, width, 3, act="leaky_relu")
        self.pool = nn.MaxPool2D(3, 2, 1)
        expansion, channels = EXPANSION[depth], width
        self.blocks: list[str] = []
        for stage, index, stride in places(depth):
            name = f"bb_{stage}_{index}" if depth >= 50 else block_name(depth, stage, index)
            block = Block(
                channels,
                width << stage,
                expansion,
                stride,
                TemporalShift(num_seg, shift_div, shift_direction, shift, shift_mode),
                projects=index == 0,
                pools=self.pools,
                act="leaky_relu",
            )
            self.add_sublayer(name, block)
            self.blocks.append(name)
            channels = (width << stage) * expansion
        self.out_channels = channels

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, 3, H, W] -> [N * T, out_channels, H / 32, W / 32]; ``state`` as for ``ResNetTSM``."""
        x = self.pool(self.conv1_3(self.conv1_2(self.conv1_1(x))))
        for block in children(self, self.blocks):
            x = block(x, state)
        return x

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """PaddleClas' classifier is left out; a recognition checkpoint needs no change."""
        if self.pools:  # weights for pooling shortcuts
            arrays = paddleclas_names(arrays, ["conv1_1", "conv1_2", "conv1_3"], self.blocks)
        return {key: value for key, value in arrays.items() if not key.startswith(("fc.", "out."))}, {}
