"""ResNet with the temporal shift inside its residual branches."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import paddle
from paddle import nn

from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.layers import ACTIVATIONS, ConvBN, children
from paddlevideo.modeling.naming import batch_norm
from paddlevideo.modeling.non_local import (
    WITH_QUERIES,
    NonLocal3D,
    named_by,
    non_local_names,
    non_local_places,
    start_as_identity,
)
from paddlevideo.modeling.shift import ShiftState, TemporalShift, pool_frames, resolved_shift_div
from paddlevideo.ranges import NonLocalBlocks, PositiveInt, ShiftDivisor, ShiftedFrames
from paddlevideo.registry import BACKBONES

log = logging.getLogger("paddlevideo")

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
EXPANSION = {18: 1, 34: 1, 50: 4, 101: 4}

_PADDLECLAS = re.compile(r"((?:stem|blocks)\.\d+)((?:\.conv\d|\.short)?)\.(conv|bn)\.(\w+)")


def block_name(depth: int, stage: int, index: int) -> str:
    """PaddleVideo's name of a block: ``res2a``; from depth 101 on ``res4a, res4b1, res4b2...`` in the long stage.

    Args:
        stage: 0 to 3.
        index: 0-based place in the stage.
    """
    if depth >= 101 and stage == 2:
        return f"res{stage + 2}" + ("a" if index == 0 else f"b{index}")
    return f"res{stage + 2}{chr(ord('a') + index)}"


def paddleclas_names(arrays: Mapping[str, Any], stem: Sequence[str], blocks: Sequence[str]) -> dict[str, Any]:
    """Keys of PaddleClas' ResNets since 2.2 (``stem.0.conv``, ``blocks.7.conv0.bn``) as ours; others stay.

    Args:
        stem: our names of the stem's convolutions.
        blocks: our names of the blocks, through all stages.
    """
    named = {f"stem.{i}": name for i, name in enumerate(stem)} | {f"blocks.{i}": name for i, name in enumerate(blocks)}
    renamed = {}
    for key, value in arrays.items():
        match = _PADDLECLAS.fullmatch(key)
        if match and match.group(1) in named:
            place, inside, kind, tensor = match.groups()
            key = f"{named[place]}{inside}.{'_conv' if kind == 'conv' else '_batch_norm'}.{tensor}"
        renamed[key] = value
    return renamed


class Block(nn.Layer):
    """A residual block with the shift before its branch, or before the whole of it.

    Args:
        in_channels: channels that come in.
        width: channels of the branch's inner convolutions.
        expansion: 4: 1x1, 3x3, 1x1 (the stride is on the 3x3); 1: two 3x3.
        stride: 1 or 2.
        shift: what is done before the branch.
        projects: the identity path has a convolution; None: where shapes need one.
        pools: that convolution has stride 1 and an average pool before it, which sees every pixel (ResNet-D).
        shifts_all: the identity path is shifted too.
        act: the activation's name, see ``ConvBN``.
        bn_wd: see ``ConvBN``.
        non_local: a layer [N, C, T, H, W] -> the same shape, after the block.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        expansion: int,
        stride: int,
        shift: TemporalShift,
        projects: bool | None = None,
        pools: bool = False,
        shifts_all: bool = False,
        act: str = "relu",
        bn_wd: bool = False,
        non_local: nn.Layer | None = None,
    ):
        super().__init__()
        out_channels = width * expansion
        if expansion == 1:
            self.conv0 = ConvBN(in_channels, width, 3, stride, act, bn_wd)
            self.conv1 = ConvBN(width, out_channels, 3, act=None, bn_wd=bn_wd)
        else:
            self.conv0 = ConvBN(in_channels, width, 1, 1, act, bn_wd)
            self.conv1 = ConvBN(width, width, 3, stride, act, bn_wd)
            self.conv2 = ConvBN(width, out_channels, 1, act=None, bn_wd=bn_wd)
        if projects is None:
            projects = stride != 1 or in_channels != out_channels
        pools = pools and stride != 1
        self.short = (
            ConvBN(in_channels, out_channels, 1, 1 if pools else stride, act=None, bn_wd=bn_wd) if projects else None
        )
        self.pool = nn.AvgPool2D(2, 2, ceil_mode=True) if pools and projects else None
        self.shift, self.non_local = shift, non_local
        self._has_three, self._shifts_all, self._act = expansion != 1, shifts_all, ACTIVATIONS[act]

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, C, H, W] -> [N * T, C', H', W']; ``state`` as for ``TemporalShift``."""
        shifted = self.shift(x, state)
        if self._shifts_all:
            x = shifted
        y = self.conv1(self.conv0(shifted))
        if self._has_three:
            y = self.conv2(y)
        if self.short is not None:
            x = self.short(x if self.pool is None else self.pool(x))
        y = self._act(y + x)
        return y if self.non_local is None else self._attend_over_clip(y)

    def _attend_over_clip(self, x: paddle.Tensor) -> paddle.Tensor:
        clip = x.reshape([-1, self.shift.num_seg, *x.shape[1:]]).transpose([0, 2, 1, 3, 4])  # [N, C, T, H, W]
        return self.non_local(clip).transpose([0, 2, 1, 3, 4]).reshape([-1, *x.shape[1:]])  # [N * T, C, H, W]


@BACKBONES.register
class ResNetTSM(Backbone):
    """TSM's backbone: a 2-D ResNet where some channels of every block come from the frame before, some from the next.

    Args:
        depth: 18, 34, 50 or 101.  18 and 34 have the shift at the input of their first 3x3 convolution; their names
            go by the same scheme (PaddleVideo's own 18 and 34 cannot be built, so there are no weights to agree with).
        num_seg: frames of a clip.
        pretrained: weights to start from, see ``load_pretrained``.
        shift_div: 1 / shift_div of the channels moves each way.  None is the reference's share: ``num_seg`` in
            PaddleVideo's direction, 8 in MMAction2's.
        shift_direction: which group comes from the frame before, see ``temporal_shift``.
        shift_every: shift only every n-th block of a stage; MMAction2's ResNet-101 has 2.
        shift_place: "blockres" shifts what goes into a block's branch and leaves the identity path alone; "block"
            shifts both.
        shift_mode: "online": channels come from the frame before only, so that a stream can be classified frame by
            frame (``framework.stream()``); the share that comes from the next frame offline is not shifted.
        shift: False: the same network without any shift.
        temporal_pool: halves the frames by a max pool over time before the second stage; ``num_seg`` must be even.
        non_local: ``{mode, sub_sample, use_scale, blocks}`` adds non-local blocks, see ``NonLocal3D``; ``blocks`` has
            a list of 0 and 1 for each stage, by default the published places of ResNet-50.
        width: channels of the stem; 64 is the published network.
        bn_wd: True applies weight decay to batch normalisation too; the default, as in PaddleVideo, exempts it.
        data_format: PaddleVideo's hint about memory layout.  "NHWC" is accepted, logged, and computed as NCHW: the
            results are the same, and on CPUs NCHW is the faster one (1.2 s against 1.8 s for a clip of ResNet-50).

    *Source*: TSM (Lin et al., 2019); PaddleVideo and MMAction2 ``ResNetTSM``.
    """

    def __init__(
        self,
        depth: Literal[18, 34, 50, 101] = 50,
        num_seg: ShiftedFrames = 8,
        pretrained: str | None = None,
        shift_div: ShiftDivisor | None = None,
        shift_direction: Literal["paddlevideo", "mmaction2"] = "paddlevideo",
        shift_every: PositiveInt = 1,
        shift_place: Literal["blockres", "block"] = "blockres",
        shift_mode: Literal["offline", "online"] = "offline",
        shift: bool = True,
        temporal_pool: bool = False,
        non_local: NonLocalBlocks | None = None,
        width: PositiveInt = 64,
        bn_wd: bool = False,
        data_format: Literal["NCHW", "NHWC"] = "NCHW",
    ):
        super().__init__()
        self.shift_div = shift_div = resolved_shift_div(num_seg, shift_div, shift_direction, shift)
        _check(num_seg, shift_mode, temporal_pool, non_local)
        if data_format != "NCHW":
            log.info("MODEL.backbone.data_format: %s is computed as NCHW; results are the same", data_format)
        self.depth, self.num_seg, self.pretrained, self.shift_mode = depth, num_seg, pretrained, shift_mode
        self.temporal_pool, self.out_seg = temporal_pool, num_seg // 2 if temporal_pool else num_seg
        self.structure = {"depth": depth, "shift": shift, "shift_every": shift_every, "shift_place": shift_place,
                          "temporal_pool": temporal_pool, "non_local": named_by(non_local)}  # fmt: skip
        self.conv = ConvBN(3, width, 7, 2, bn_wd=bn_wd)
        self.pool = nn.MaxPool2D(3, 2, 1)
        has_non_local, attention = non_local_places(depth, BLOCKS[depth], non_local)
        expansion, channels = EXPANSION[depth], width
        self.blocks: list[str] = []
        for stage, index, stride in places(depth):
            out_channels = (width << stage) * expansion
            block = Block(
                channels,
                width << stage,
                expansion,
                stride,
                TemporalShift(
                    num_seg if stage == 0 else self.out_seg,
                    shift_div,
                    shift_direction,
                    shift and index % shift_every == 0,
                    shift_mode,
                ),
                shifts_all=shift_place == "block",
                bn_wd=bn_wd,
                non_local=NonLocal3D(out_channels, **attention, bn_wd=bn_wd) if has_non_local[stage][index] else None,
            )
            self.blocks.append(block_name(depth, stage, index))
            self.add_sublayer(self.blocks[-1], block)
            channels = out_channels
        self.out_channels = channels

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, 3, H, W] -> [N * T', out_channels, H / 32, W / 32], T' = ``out_seg``.

        Args:
            state: of N streams, whose next frames ``x`` [N, 3, H, W] are then.
        """
        x = self.pool(self.conv(x))
        for name, block in zip(self.blocks, children(self, self.blocks)):
            if self.temporal_pool and name == "res3a":
                x = pool_frames(x, self.num_seg)
            x = block(x, state)
        return x

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """ImageNet's classifier is left out, non-local blocks may be missing; a recognition checkpoint is as it is."""
        if self.depth >= 50:  # PaddleClas' 18 and 34 have one more convolution in the first shortcut
            arrays = paddleclas_names(arrays, ["conv"], self.blocks)
        arrays = {key: value for key, value in arrays.items() if not key.startswith(("fc.", "out."))}
        return arrays, start_as_identity(self.state_dict())

    @staticmethod
    def names_in(origin: str, **structure: Any) -> dict[str, str]:
        """Of "mmaction2" (0.x and 1.x) and "torchvision"."""
        return resnet_names(origin, **structure)

    @classmethod
    def structures(cls, origin: str) -> Iterator[dict[str, Any]]:
        """The networks of MMAction2's pages, shifted or not, and others that their names identify."""
        if origin != "mmaction2":
            return
        shifts = [(False, 1, "blockres"), (True, 1, "blockres"), (True, 2, "blockres"), (True, 1, "block")]
        attention = [{"mode": mode, "sub_sample": sub} for mode in (WITH_QUERIES, "gaussian") for sub in (True, False)]
        for depth, (shift, every, place), pool in itertools.product(BLOCKS, shifts, (False, True)):
            for non_local in (None, *(attention if depth == 50 else ())):
                yield {"depth": depth, "shift": shift, "shift_every": every, "shift_place": place,
                       "temporal_pool": pool, "non_local": non_local}  # fmt: skip


def resnet_names(
    origin: str,
    depth: int,
    shift: bool,
    shift_every: int,
    shift_place: str,
    temporal_pool: bool,
    non_local: Mapping[str, Any] | None,
) -> dict[str, str]:
    """Name in ``origin`` -> name here, of every array of a ``ResNetTSM`` with these arguments.

    MMAction2 wraps what it changes: ``net`` stands for a shift (around a block's first convolution, or around the
    block) and for the pool (around the second stage), ``block`` for a block that a non-local one follows.  torchvision
    has the image network, whatever the shift, and no non-local blocks.
    """
    if origin not in ("mmaction2", "torchvision"):
        return {}
    theirs = origin == "mmaction2"

    def layer(their: str, number: str, our: str, wrapper: str = "") -> Iterator[tuple[str, str]]:
        """A convolution and its normalisation."""
        if theirs:
            convolution, norm = f"{their}conv{number}.conv{wrapper}", f"{their}conv{number}.bn"
        else:
            convolution, norm = f"{their}conv{number}", f"{their}bn{number}"
        yield f"{convolution}.weight", f"{our}._conv.weight"
        yield from batch_norm(norm, f"{our}._batch_norm")

    has_non_local, _ = non_local_places(depth, BLOCKS[depth], non_local)
    names = dict(layer("", "1", "conv"))
    for stage, index, stride in places(depth):
        our, shifted = block_name(depth, stage, index), theirs and shift and index % shift_every == 0
        place = f"layer{stage + 1}{'.net' if theirs and temporal_pool and stage == 1 else ''}.{index}."
        inside = place + ("block." if theirs and has_non_local[stage][index] else "")
        if shifted and shift_place == "block":
            inside += "net."
        for i in range(3 if EXPANSION[depth] > 1 else 2):
            wrapper = ".net" if i == 0 and shifted and shift_place == "blockres" else ""
            names.update(layer(inside, str(i + 1), f"{our}.conv{i}", wrapper))
        if stride > 1 or (index == 0 and EXPANSION[depth] > 1):
            names[f"{inside}downsample.{'conv' if theirs else '0'}.weight"] = f"{our}.short._conv.weight"
            names.update(batch_norm(f"{inside}downsample.{'bn' if theirs else '1'}", f"{our}.short._batch_norm"))
        if theirs and has_non_local[stage][index]:
            names.update(non_local_names(f"{place}non_local_block", f"{our}.non_local", non_local))
    return names


def places(depth: int) -> Iterator[tuple[int, int, int]]:
    """(stage, 0-based place in it, stride) of every block."""
    for stage, count in enumerate(BLOCKS[depth]):
        for index in range(count):
            yield stage, index, 2 if stage > 0 and index == 0 else 1


def _check(num_seg: int, mode: str, temporal_pool: bool, non_local: Mapping[str, Any] | None) -> None:
    if temporal_pool and num_seg % 2:
        raise ValueError(f"temporal_pool: needs an even num_seg, got {num_seg}")
    if mode == "online" and (temporal_pool or non_local):
        what = "temporal_pool" if temporal_pool else "non_local"
        raise ValueError(f"shift_mode: 'online' sees no later frame, but {what} does; leave one of them out")
