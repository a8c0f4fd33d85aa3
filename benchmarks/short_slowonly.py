"""A SlowOnly that sees less of the picture: its first stages alone (``imports: [benchmarks.short_slowonly]``)."""

from __future__ import annotations

from typing import Annotated

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
