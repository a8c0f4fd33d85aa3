"""SlowFast: two ResNets at two paces, the quick and thin one telling the slow and wide one what moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import paddle

from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.backbones.resnet3d import (
    SLOW_INFLATE,
    ResNet3D,
    check_frames,
    check_num_seg,
    picture_weights,
    resnet3d_names,
)
from paddlevideo.modeling.backbones.resnet_tsm import BLOCKS, EXPANSION
from paddlevideo.modeling.inflation import inflated, is_of_pictures
from paddlevideo.modeling.layers import children, conv3d
from paddlevideo.ranges import PositiveInt
from paddlevideo.registry import BACKBONES

# lateral connections by the stage of the slow pathway that they lead to
_LATERALS = ("conv1_lateral", "layer1_lateral", "layer2_lateral", "layer3_lateral")


def pathway_channels(depth: int, width: int, channel_ratio: int) -> tuple[int, list[int]]:
    """Channels of the fast pathway's stem, and of its output at the stem and the first three stages.

    Raises:
        ValueError: the width cannot be divided so.
    """
    if not isinstance(channel_ratio, int) or channel_ratio < 1 or width % channel_ratio:
        raise ValueError(f"channel_ratio: expected a divisor of width ({width}), got {channel_ratio!r}")
    thin = width // channel_ratio
    return thin, [thin, *((thin << stage) * EXPANSION.get(depth, 1) for stage in range(3))]


@BACKBONES.register
class ResNet3dSlowFast(Backbone):
    """Two pathways through one clip; before each stage, the fast one's features join the slow one's channels.

    The slow pathway gets every ``resample_rate``-th frame, the fast one ``speed_ratio`` times as many with
    ``1 / channel_ratio`` of the channels.  "4x16" is resample_rate 8, speed_ratio 8, lateral_kernel 5 on 32 frames 2
    apart, "8x8" is 4, 4, 7.

    Args:
        depth: of both pathways: 18, 34, 50 or 101.
        num_seg: frames of a clip, a multiple of ``resample_rate``; None takes clips of any such length.
        resample_rate: frames of the clip to one of the slow pathway.
        speed_ratio: frames of the fast pathway to one of the slow pathway.
        channel_ratio: channels of the slow pathway to one of the fast pathway.
        lateral_kernel: frames that a lateral connection sees, odd.
        pretrained: weights to start from, see ``load_pretrained``; those of a 2-D ResNet are inflated into the slow
            pathway, what the fast one adds to its channels starting at 0.
        spatial_strides: see ``ResNet3dSlowOnly``.
        width: channels of the slow pathway's stem; 64 is the published network.
        bn_wd: see ``ResNet3dSlowOnly``.

    *Source*: SlowFast (Feichtenhofer et al., 2019); MMAction2 ``ResNet3dSlowFast``, whose names the parts have.
    Lateral connections have neither normalisation nor activation, as there.
    """

    layout = "volumes"

    def __init__(
        self,
        depth: Literal[18, 34, 50, 101] = 50,
        num_seg: PositiveInt | None = None,
        resample_rate: PositiveInt = 8,
        speed_ratio: PositiveInt = 8,
        channel_ratio: PositiveInt = 8,
        lateral_kernel: PositiveInt = 5,
        pretrained: str | None = None,
        spatial_strides: Sequence[int] = (1, 2, 2, 2),
        width: PositiveInt = 64,
        bn_wd: bool = True,
    ):
        super().__init__()
        check_rates(resample_rate, speed_ratio, lateral_kernel)
        check_num_seg(num_seg, resample_rate, "resample_rate")
        thin, fused = pathway_channels(depth, width, channel_ratio)
        self.depth, self.num_seg, self.pretrained = depth, num_seg, pretrained
        self.structure = {"depth": depth}
        self.resample_rate, self.skip = resample_rate, resample_rate // speed_ratio
        self.slow_path = ResNet3D(
            depth, width, 1, SLOW_INFLATE, spatial_strides, [2 * channels for channels in fused], bn_wd=bn_wd
        )
        self.fast_path = ResNet3D(depth, thin, 5, (True, True, True, True), spatial_strides, bn_wd=bn_wd)
        for name, channels in zip(_LATERALS, fused, strict=True):
            lateral = conv3d(channels, 2 * channels, (lateral_kernel, 1, 1), (speed_ratio, 1, 1))
            self.slow_path.add_sublayer(name, lateral)
        self.out_channels = self.slow_path.out_channels + self.fast_path.out_channels

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """[N, 3, T, H, W] -> slow [N, C, T / r, h, w] and fast [N, C / channel_ratio, T * speed_ratio / r, h, w].

        r is ``resample_rate``, and h = H / 32 with the default ``spatial_strides``.

        Raises:
            UserError: the number of frames is no multiple of ``resample_rate``.
        """
        check_frames(x.shape[2], self.resample_rate, "resample_rate")
        slow = self.slow_path.stem(x[:, :, :: self.resample_rate])
        fast = self.fast_path.stem(x[:, :, :: self.skip] if self.skip > 1 else x)
        for stage, lateral in enumerate(children(self.slow_path, _LATERALS)):
            slow = paddle.concat([slow, lateral(fast)], axis=1)
            slow, fast = self.slow_path.stages[stage](slow), self.fast_path.stages[stage](fast)
        return slow, fast

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """2-D weights go, inflated, into the slow pathway; a SlowFast checkpoint needs no change."""
        if not is_of_pictures(arrays):
            return arrays, {}
        shapes = {key: value.shape for key, value in self.state_dict().items()}
        pictures = {f"slow_path.{key}": value for key, value in picture_weights(arrays, self.depth).items()}
        own = [key for key in shapes if key.startswith("fast_path.") or "_lateral." in key]
        return inflated(pictures, shapes), dict.fromkeys(own, "of the fast pathway and its connections start anew")

    @staticmethod
    def names_in(origin: str, **structure: Any) -> dict[str, str]:
        """Of "mmaction2"; "torchvision" has the slow pathway alone."""
        return slowfast_names(origin, **structure)

    @classmethod
    def structures(cls, origin: str) -> list[dict[str, Any]]:
        """All depths."""
        return [{"depth": depth} for depth in BLOCKS] if origin == "mmaction2" else []


def slowfast_names(origin: str, depth: int) -> dict[str, str]:
    """Name in ``origin`` -> name here; torchvision's go into the slow pathway when they are loaded."""
    if origin != "mmaction2":
        return resnet3d_names(origin, depth)
    paths = (("slow_path", resnet3d_names(origin, depth, joined=True)), ("fast_path", resnet3d_names(origin, depth)))
    names = {f"{path}.{key}": f"{path}.{own}" for path, table in paths for key, own in table.items()}
    return names | {f"slow_path.{name}.conv.weight": f"slow_path.{name}.weight" for name in _LATERALS}


def check_rates(resample_rate: int, speed_ratio: int, lateral_kernel: int) -> None:
    """Whether the two paces fit each other.

    Raises:
        ValueError: they do not; the argument is named.
    """
    for name, value in (("resample_rate", resample_rate), ("speed_ratio", speed_ratio)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")
    if resample_rate % speed_ratio:
        raise ValueError(f"speed_ratio: expected a divisor of resample_rate ({resample_rate}), got {speed_ratio}")
    if lateral_kernel < 1 or lateral_kernel % 2 == 0:
        raise ValueError(f"lateral_kernel: expected an odd number of frames, got {lateral_kernel}")
