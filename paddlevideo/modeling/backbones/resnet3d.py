"""3-D ResNets, and SlowOnly, which is one: the slow pathway of SlowFast by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.errors import UserError
from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.backbones.resnet_tsm import BLOCKS, EXPANSION, block_name, paddleclas_names, places
from paddlevideo.modeling.inflation import from_pictures, inflated, is_of_pictures
from paddlevideo.modeling.layers import ConvBN3D, children, relu
from paddlevideo.modeling.naming import batch_norm
from paddlevideo.modeling.non_local import (
    WITH_QUERIES,
    NonLocal3D,
    named_by,
    non_local_names,
    non_local_places,
    start_as_identity,
)
from paddlevideo.ranges import NonLocalBlocks, PositiveInt
from paddlevideo.registry import BACKBONES

SLOW_INFLATE = (False, False, True, True)  # stages with temporal convolutions


@dataclass(frozen=True)
class Conv:
    """A convolution of a residual branch; kernel and stride over (time, height, width)."""

    in_channels: int
    out_channels: int
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]


def branch_convs(in_channels: int, width: int, expansion: int, stride: int, inflate: bool) -> list[Conv]:
    """The convolutions of a residual branch; all keep the number of frames.

    Args:
        width: channels of the inner convolutions.
        expansion: 4: 1x1, 3x3, 1x1 (the stride is on the 3x3); 1: two 3x3.
        stride: in space, 1 or 2.
        inflate: the 1x1 that comes first, or both 3x3 of the small kind, see 3 frames.

    *Source*: MMAction2 ``Bottleneck3d`` and ``BasicBlock3d``, style pytorch, inflate style 3x1x1.
    """
    frames, strides = 3 if inflate else 1, (1, stride, stride)
    if expansion == 1:
        return [
            Conv(in_channels, width, (frames, 3, 3), strides),
            Conv(width, width, (frames, 3, 3), (1, 1, 1)),
        ]
    return [
        Conv(in_channels, width, (frames, 1, 1), (1, 1, 1)),
        Conv(width, width, (1, 3, 3), strides),
        Conv(width, width * expansion, (1, 1, 1), (1, 1, 1)),
    ]


def shortcut_conv(convs: Sequence[Conv]) -> Conv | None:
    """The convolution of the identity path beside a branch, where sizes or channels need one."""
    first, last = convs[0], convs[-1]
    stride = next((conv.stride for conv in convs if conv.stride != (1, 1, 1)), (1, 1, 1))
    if stride == (1, 1, 1) and first.in_channels == last.out_channels:
        return None
    return Conv(first.in_channels, last.out_channels, (1, 1, 1), stride)


class Residual3D(nn.Layer):
    """``relu(branch(x) + shortcut(x))``; the subclass defines the two, and the names of their parts."""

    def branch(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> [N, C', T, H', W'], without the last activation."""
        raise NotImplementedError

    def shortcut(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> [N, C', T, H', W']."""
        raise NotImplementedError

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> [N, C', T, H', W']."""
        return relu(self.branch(x) + self.shortcut(x))


class Block3D(Residual3D):
    """A residual block under MMAction2's names; the last normalisation's scale starts at 0.

    Args:
        convs: of the branch, see ``branch_convs``.
        bn_wd: see ``batch_norm3d``.
        non_local: a layer [N, C, T, H, W] -> the same shape, after the block.
    """

    def __init__(self, convs: Sequence[Conv], bn_wd: bool, non_local: nn.Layer | None = None):
        super().__init__()
        self.names = [f"conv{i}" for i in range(1, len(convs) + 1)]
        for name, conv in zip(self.names, convs, strict=True):
            last = name == self.names[-1]
            layer = ConvBN3D(
                conv.in_channels, conv.out_channels, conv.kernel, conv.stride, not last, 0.0 if last else 1.0, bn_wd
            )
            self.add_sublayer(name, layer)
        short = shortcut_conv(convs)
        self.downsample = short and ConvBN3D(
            short.in_channels, short.out_channels, short.kernel, short.stride, relu=False, bn_wd=bn_wd
        )
        self.non_local = non_local

    def branch(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> [N, C', T, H', W']."""
        for layer in children(self, self.names):
            x = layer(x)
        return x

    def shortcut(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> [N, C', T, H', W']."""
        return x if self.downsample is None else self.downsample(x)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> [N, C', T, H', W']."""
        x = super().forward(x)
        return x if self.non_local is None else self.non_local(x)


def pool_stem(x: paddle.Tensor) -> paddle.Tensor:
    """[N, C, T, H, W] -> [N, C, T, H / 2, W / 2]: the pool after every stem keeps the frames."""
    return F.max_pool3d(x, [1, 3, 3], [1, 2, 2], [0, 1, 1])


class ResNet3D(Backbone):
    """A ResNet over clips: pictures shrink as in 2-D, the number of frames never changes.

    Args:
        depth: 18, 34, 50 or 101.
        width: channels of the stem; 64 is the published network.
        stem_frames: frames that the stem's 7x7 convolution sees.
        inflate: of every stage, whether its blocks see 3 frames.
        spatial_strides: of every stage's first block.
        extra_channels: channels in the input of every stage besides the output of the one before.
        non_local: see ``ResNetTSM``.
        bn_wd: whether weight decay applies to batch normalisation.
    """

    layout = "volumes"

    def __init__(
        self,
        depth: int,
        width: int,
        stem_frames: int,
        inflate: Sequence[bool],
        spatial_strides: Sequence[int],
        extra_channels: Sequence[int] = (0, 0, 0, 0),
        non_local: dict[str, Any] | None = None,
        bn_wd: bool = True,
    ):
        super().__init__()
        check_strides(spatial_strides)
        self.depth, self.structure = depth, {"depth": depth, "non_local": named_by(non_local)}
        self.conv1 = ConvBN3D(3, width, (stem_frames, 7, 7), (1, 2, 2), bn_wd=bn_wd)
        has_non_local, attention = non_local_places(depth, BLOCKS[depth], non_local)
        expansion, channels, stages = EXPANSION[depth], width, [[], [], [], []]
        for stage, index, _ in places(depth):
            first, inner = index == 0, width << stage
            convs = branch_convs(
                channels + (extra_channels[stage] if first else 0),
                inner,
                expansion,
                spatial_strides[stage] if first else 1,
                inflate[stage],
            )
            channels = inner * expansion
            attention_block = NonLocal3D(channels, **attention, bn_wd=bn_wd) if has_non_local[stage][index] else None
            stages[stage].append(Block3D(convs, bn_wd, attention_block))
        self.layer1, self.layer2, self.layer3, self.layer4 = (nn.Sequential(*blocks) for blocks in stages)
        self.out_channels = channels

    @property
    def stages(self) -> tuple[nn.Layer, ...]:
        """The four stages."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def stem(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, 3, T, H, W] -> [N, width, T, H / 4, W / 4]."""
        return pool_stem(self.conv1(x))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, 3, T, H, W] -> [N, out_channels, T, H / s, W / s]; s is 4 times the product of the strides."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x


@BACKBONES.register
class ResNet3dSlowOnly(ResNet3D):
    """SlowOnly: a ResNet on a few frames that lie far apart; only its last two stages have temporal convolutions.

    Args:
        depth: 18, 34, 50 or 101; 18 and 34 have two 3x3 convolutions in a block.
        num_seg: frames of a clip (4 for "4x16", 8 for "8x8"); None takes clips of any length.  The network is the same.
        pretrained: weights to start from, see ``load_pretrained``; those of a 2-D ResNet are inflated.
        spatial_strides: of the four stages; detectors keep the last at 1, so that a map has 1/16 of the picture's side.
        inflate: of the four stages, whether their blocks see 3 frames.
        non_local: ``{mode, sub_sample, use_scale, blocks}``, see ``ResNetTSM``; MMAction2 has ``use_scale: True`` here.
        width: channels of the stem; 64 is the published network.
        bn_wd: whether weight decay applies to batch normalisation too; in MMAction2 it does.

    *Source*: SlowFast (Feichtenhofer et al., 2019); MMAction2 ``ResNet3dSlowOnly``, whose names the parts have.
    """

    def __init__(
        self,
        depth: Literal[18, 34, 50, 101] = 50,
        num_seg: PositiveInt | None = None,
        pretrained: str | None = None,
        spatial_strides: Sequence[int] = (1, 2, 2, 2),
        inflate: Sequence[int] = (0, 0, 1, 1),
        non_local: NonLocalBlocks | None = None,
        width: PositiveInt = 64,
        bn_wd: bool = True,
    ):
        if len(inflate) != 4 or any(value not in (0, 1) for value in inflate):
            raise ValueError(f"inflate: expected four numbers of 0 or 1, got {list(inflate)}")
        super().__init__(
            depth, width, 1, [bool(value) for value in inflate], spatial_strides, non_local=non_local, bn_wd=bn_wd
        )
        self.num_seg, self.pretrained = num_seg, pretrained

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """2-D weights are renamed and inflated; non-local blocks may be missing; a 3-D checkpoint needs no change."""
        own = self.state_dict()
        if is_of_pictures(arrays):
            arrays = inflated(picture_weights(arrays, self.depth), {key: value.shape for key, value in own.items()})
        return arrays, start_as_identity(own)

    @staticmethod
    def names_in(origin: str, **structure: Any) -> dict[str, str]:
        """Of "mmaction2" (0.x and 1.x) and "torchvision", whose arrays stay 2-D (``adapt_pretrained``)."""
        return resnet3d_names(origin, **structure)

    @classmethod
    def structures(cls, origin: str) -> Iterator[dict[str, Any]]:
        """All depths, with and without the published non-local blocks."""
        if origin != "mmaction2":
            return
        for depth in BLOCKS:
            attention = [{"mode": WITH_QUERIES, "sub_sample": sub} for sub in (True, False)] if depth == 50 else []
            for non_local in (None, *attention):
                yield {"depth": depth, "non_local": non_local}


def resnet3d_names(
    origin: str, depth: int, non_local: Mapping[str, Any] | None = None, joined: bool = False
) -> dict[str, str]:
    """Name in ``origin`` -> name here, of every array of a ``ResNet3D``; torchvision has no non-local blocks.

    Args:
        joined: other channels join the input of every stage, whose first block projects then.
    """
    if origin not in ("mmaction2", "torchvision"):
        return {}
    theirs = origin == "mmaction2"
    has_non_local, _ = non_local_places(depth, BLOCKS[depth], non_local)
    names: dict[str, str] = {}
    for place in ("", *(f"layer{stage + 1}.{index}." for stage, index, _ in places(depth))):
        for number in range(1, 2 if not place else 4 if EXPANSION[depth] > 1 else 3):
            layer = f"{place}conv{number}"
            names[f"{layer}.conv.weight" if theirs else f"{layer}.weight"] = f"{layer}.conv.weight"
            names.update(batch_norm(f"{layer}.bn" if theirs else f"{place}bn{number}", f"{layer}.bn"))
    for stage, index, stride in places(depth):
        layer = f"layer{stage + 1}.{index}"
        if stride > 1 or (index == 0 and (joined or EXPANSION[depth] > 1)):
            convolution, norm = ("conv", "bn") if theirs else ("0", "1")
            names[f"{layer}.downsample.{convolution}.weight"] = f"{layer}.downsample.conv.weight"
            names.update(batch_norm(f"{layer}.downsample.{norm}", f"{layer}.downsample.bn"))
        if theirs and has_non_local[stage][index]:
            names.update(non_local_names(f"{layer}.non_local_block", f"{layer}.non_local", non_local))
    return names


def picture_weights(arrays: dict[str, Any], depth: int) -> dict[str, Any]:
    """The arrays of a 2-D ResNet, of whichever spelling, under the names of ``ResNet3D``; still 2-D."""
    here = [(block_name(depth, stage, index), f"layer{stage + 1}.{index}") for stage, index, _ in places(depth)]
    if depth >= 50:  # PaddleClas' 18 and 34 have one more convolution in the first shortcut
        arrays = paddleclas_names(arrays, ["conv"], [name for name, _ in here])
    return from_pictures(arrays, here)


def check_num_seg(num_seg: int | None, divisor: int, of: str) -> None:
    """Whether ``num_seg`` is None, or a number of frames that ``divisor`` divides.

    Raises:
        ValueError: it is neither; ``of`` names the divisor.
    """
    if num_seg is not None and num_seg % divisor:
        raise ValueError(f"num_seg: expected a multiple of {of} ({divisor}), got {num_seg}")


def check_frames(frames: int, divisor: int, of: str) -> None:
    """Whether clips can be halved into pathways.

    Raises:
        UserError: the number of frames is no multiple of ``divisor``, which ``of`` names.
    """
    if frames > 0 and frames % divisor:  # -1: a free axis of a static program
        raise UserError(f"clips have {frames} frames, expected a multiple of MODEL.backbone.{of} ({divisor})")


def check_strides(spatial_strides: Sequence[int]) -> None:
    """Whether each of four stages has a stride of 1 or 2.

    Raises:
        ValueError: they do not.
    """
    if len(spatial_strides) != 4 or any(stride not in (1, 2) for stride in spatial_strides):
        raise ValueError(f"spatial_strides: expected four numbers of 1 or 2, got {list(spatial_strides)}")
