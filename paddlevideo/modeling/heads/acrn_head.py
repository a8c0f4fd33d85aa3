"""Actors in their context: a person's features with those of the whole picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.modeling.heads.base import DetectionPart
from paddlevideo.modeling.inflation import spelled_here
from paddlevideo.modeling.layers import ConvBN3D, max_over_positions
from paddlevideo.ranges import PositiveInt
from paddlevideo.registry import HEADS


@HEADS.register
class ACRNHead(DetectionPart, nn.Layer):
    """Concatenates a region's feature with every position of its picture, and convolves.

    Args:
        in_channels: channels of a region and of the map together.
        out_channels: of what comes out.
        stride: of the first 3 x 3 convolution over places.
        num_convs: 3 x 3 convolutions.

    *Source*: Actor-Centric Relation Network (Sun et al., 2018); MMAction2 ``ACRNHead``, whose names it keeps.  The
    first convolution is taken apart: its share of the map is computed once per clip instead of once per region.
    """

    needs_context = True

    def __init__(
        self, in_channels: PositiveInt, out_channels: PositiveInt, stride: PositiveInt = 1, num_convs: PositiveInt = 1
    ):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.conv1 = ConvBN3D(in_channels, out_channels, (1, 1, 1))
        self.conv2 = ConvBN3D(out_channels, out_channels, (1, 3, 3), (1, stride, stride))
        self.convs = nn.LayerList([ConvBN3D(out_channels, out_channels, (1, 3, 3)) for _ in range(num_convs - 1)])

    def forward(self, regions: paddle.Tensor, owner: paddle.Tensor, context: paddle.Tensor) -> paddle.Tensor:
        """[R, out_channels, T, h, w] for regions [R, C, T, s, s] and maps [N, C', T, h, w]; C + C' is ``in_channels``.

        Args:
            owner: int64 [R], the clip of each region.
        """
        actors = max_over_positions(regions).unsqueeze([2, 3, 4])  # [R, C, 1, 1, 1]
        weight, channels = self.conv1.conv.weight, actors.shape[1]
        around = F.conv3d(context, weight[:, channels:])  # [N, out, T, h, w]
        x = F.conv3d(actors, weight[:, :channels]) + paddle.gather(around, owner)  # [R, out, T, h, w]
        x = self.conv2(F.relu(self.conv1.bn(x)))
        for conv in self.convs:
            x = conv(x)
        return x

    def convert(self, arrays: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """MMAction2's weights; keys without ``roi_head.shared_head.``."""
        return {spelled_here(key): value for key, value in arrays.items() if not key.endswith("num_batches_tracked")}
