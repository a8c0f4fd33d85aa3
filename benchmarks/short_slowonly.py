"""A SlowOnly that sees less of the picture: its first stages alone (``imports: [benchmarks.short_slowonly]``)."""

from __future__ import annotations

from typing import Annotated, Any

import paddle
from paddle import nn

from paddlevideo.modeling.backbones.resnet3d import ResNet3dSlowOnly
from paddlevideo.ranges import Range
from paddlevideo.registry import BACKBONES


@BACKBONES.register
class ShortSlowOnly(ResNet3dSlowOnly):
    """The stem and the first stages of SlowOnly.

    A place of the map sees 43 pixels of the picture's side after one stage of a ResNet-18, 99 after two, 211 after
    three and 339 after all four, with the strides below.

    Args:
        num_stages: of four.
        others: as of ``ResNet3dSlowOnly``.
    """

    def __init__(
        self,
        num_stages: Annotated[int, Range(1, 4)],
        depth: int = 18,
        num_seg: int = 4,
        spatial_strides: list[int] = (1, 2, 2, 1),
        inflate: list[int] = (1, 1, 1, 0),
        width: int = 32,
    ):
        super().__init__(depth, num_seg, None, spatial_strides, inflate, width=width)
        for name in ("layer1", "layer2", "layer3", "layer4")[num_stages:]:
            delattr(self, name)
        self.num_stages, self.out_channels = num_stages, width << (num_stages - 1)

    @property
    def stages(self) -> tuple[nn.Layer, ...]:
        """The first ``num_stages`` stages."""
        return tuple(getattr(self, f"layer{stage + 1}") for stage in range(self.num_stages))


def field_px(network: Any, side: int = 512) -> int:
    """Side of the part of a picture that the middle of the map depends on, by the gradient of its sum."""
    network.eval()
    for parameter in network.parameters():
        parameter.set_value(paddle.ones_like(parameter) * 0.01)
    clip = paddle.ones([1, 3, 4, side, side])
    clip.stop_gradient = False
    out = network(clip)
    middle = out[:, :, :, out.shape[3] // 2, out.shape[4] // 2].sum()
    (gradient,) = paddle.grad(middle, [clip])
    touched = gradient.abs().sum([0, 1, 2, 3]).numpy() > 0
    return int(touched.nonzero()[0].max() - touched.nonzero()[0].min() + 1)
