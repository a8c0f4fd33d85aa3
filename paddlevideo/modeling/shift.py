"""The temporal shift, over whole clips and frame by frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn
from paddle.autograd import PyLayer

log = logging.getLogger("paddlevideo")

ShiftDirection = Literal["paddlevideo", "mmaction2"]
ShiftMode = Literal["offline", "online"]


def shift_borders(channels: int, shift_div: int, direction: ShiftDirection) -> tuple[int, int]:
    """The two channel numbers between which the shifted groups lie: [0, first) and [first, second).

    The origins differ only where ``shift_div`` does not divide ``channels``: PaddleVideo cuts at the rounded down
    ``C / div`` and ``2 C / div`` (in float32, as Paddle's operator does), MMAction2 at ``C // div`` and twice that.
    """
    if direction == "paddlevideo":
        ratio = np.float32(1.0 / shift_div)
        return int(np.float32(channels) * ratio), int(np.float32(2 * channels) * ratio)
    return channels // shift_div, 2 * (channels // shift_div)


def past_channels(channels: int, shift_div: int, direction: ShiftDirection) -> tuple[int, int]:
    """The group [low, high) that takes the frame before."""
    first, second = shift_borders(channels, shift_div, direction)
    return (0, first) if direction == "paddlevideo" else (first, second)


def temporal_shift(
    x: paddle.Tensor,
    num_seg: int,
    shift_div: int = 8,
    direction: ShiftDirection = "paddlevideo",
    shift: bool = True,
    mode: ShiftMode = "offline",
) -> paddle.Tensor:
    """Moves one group of channels a frame forward in time, one a frame back; zeros come in at the ends.

    Slices and one concatenation rather than ``F.temporal_shift``: as fast or faster on CPUs, and exportable.  In
    dygraph it is one node of the gradient.

    Args:
        x: [N * num_seg, C, H, W], the frames of a clip beside one another.
        num_seg: frames of a clip; nothing moves from one clip into another.
        shift_div: 1 / shift_div of the channels moves each way.
        direction: "paddlevideo": the first group takes the frame before (out[t] = x[t - 1]), the second the frame
            after; "mmaction2" (and the original TSM): the other way round.
        shift: False gives ``x`` back: the network without temporal modelling.
        mode: "online" leaves the group that would take the frame after where it is: no frame sees a later one.

    Returns:
        [N * num_seg, C, H, W].

    *Source*: TSM (Lin et al., 2019), section 4, the bidirectional and the unidirectional shift.
    """
    if not shift:
        return x
    channels, height, width = x.shape[1:]
    first, second = shift_borders(channels, shift_div, direction)
    if second == 0:
        return x
    earlier = past_channels(channels, shift_div, direction)
    groups = [earlier] if mode == "online" else [(0, first), (first, second)]
    moves = [(low, high, 1 if (low, high) == earlier else -1) for low, high in groups]
    if paddle.in_dynamic_mode():
        return _Shift.apply(x, num_seg, moves) if paddle.is_grad_enabled() else _moved(x, num_seg, moves)
    clip = x.reshape([-1, num_seg, channels, height, width])  # [N, T, C, H, W]
    zeros = paddle.zeros_like(clip[:, :1, :second])
    parts = [clip[:, :, : groups[0][0]]] if groups[0][0] else []
    for low, high, step in moves:
        group, zero = clip[:, :, low:high], zeros[:, :, : high - low]
        if num_seg == 1:
            parts.append(zero)
        elif step > 0:
            parts.append(paddle.concat([zero, group[:, :-1]], axis=1))
        else:
            parts.append(paddle.concat([group[:, 1:], zero], axis=1))
    return paddle.concat([*parts, clip[:, :, groups[-1][1] :]], axis=2).reshape([-1, channels, height, width])


Move = tuple[int, int, int]  # channels [low, high), and how many frames forward in time they go: 1 or -1


def _moved(x: paddle.Tensor, num_seg: int, moves: Sequence[Move]) -> paddle.Tensor:
    """The shift of tensors in memory: each value is copied twice, where reshaping to clips would copy it four times."""
    parts, done = [], 0
    for low, high, step in moves:
        zero, pieces = paddle.zeros_like(x[:1, low:high]), []
        for start in range(0, x.shape[0], num_seg):
            end = start + num_seg
            kept = x[start : end - 1, low:high] if step > 0 else x[start + 1 : end, low:high]
            pieces += [piece for piece in ([zero, kept] if step > 0 else [kept, zero]) if piece.shape[0]]
        parts += [x[:, done:low], paddle.concat(pieces, axis=0)]
        done = high
    return paddle.concat([part for part in [*parts, x[:, done:]] if part.shape[1]], axis=1)


class _Shift(PyLayer):
    """``_moved``, whose gradient is the shift the other way: one node, and nothing is kept for it."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, num_seg: int, moves: Sequence[Move]) -> paddle.Tensor:
        ctx.num_seg, ctx.moves = num_seg, moves
        return _moved(x, num_seg, moves)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> paddle.Tensor:
        return _moved(gradient, ctx.num_seg, [(low, high, -step) for low, high, step in ctx.moves])


class ShiftState:
    """The channels of the frame before that a network's shifts keep, in the order in which they run.

    Args:
        past: the tensors [N, c, H, W] that the step before left in ``present``; none before the first frame, which
            then sees zeros, as at the start of a clip.
    """

    def __init__(self, past: Sequence[paddle.Tensor] = ()):
        self._past = list(past)
        self.present: list[paddle.Tensor] = []

    def exchange(self, group: paddle.Tensor) -> paddle.Tensor:
        """Keeps this frame's ``group`` and gives the frame before's."""
        place = len(self.present)
        self.present.append(group)
        return self._past[place] if self._past else paddle.zeros_like(group)


class TemporalShift(nn.Layer):
    """``temporal_shift`` with its arguments; with a state, one frame of the online shift.  It has no parameters."""

    def __init__(
        self,
        num_seg: int,
        shift_div: int = 8,
        direction: ShiftDirection = "paddlevideo",
        shift: bool = True,
        mode: ShiftMode = "offline",
    ):
        super().__init__()
        self.num_seg, self.shift_div, self.direction, self.shift, self.mode = num_seg, shift_div, direction, shift, mode

    def forward(self, x: paddle.Tensor, state: ShiftState | None = None) -> paddle.Tensor:
        """[N * T, C, H, W] -> the same shape; with ``state``: [N, C, H, W], the next frame of N streams."""
        if state is None:
            return temporal_shift(x, self.num_seg, self.shift_div, self.direction, self.shift, self.mode)
        low, high = past_channels(x.shape[1], self.shift_div, self.direction)
        if not self.shift or low == high:
            return x
        parts = [state.exchange(x[:, low:high]), x[:, high:]]
        return paddle.concat([x[:, :low], *parts] if low else parts, axis=1)


def pool_frames(x: paddle.Tensor, num_seg: int) -> paddle.Tensor:
    """[N * T, C, H, W] -> [N * T / 2, C, H, W]: the maximum over every second frame and its two neighbours.

    Args:
        num_seg: T, an even number.

    *Source*: MMAction2 ``ResNetTSM`` with ``temporal_pool``: a max pool over time, kernel 3, stride 2, padding 1.
    """
    pairs = x.reshape([-1, num_seg // 2, 2, *x.shape[1:]])  # [N, T / 2, 2, C, H, W]
    even, odd = pairs[:, :, 0], pairs[:, :, 1]
    pooled = paddle.maximum(even, odd)
    if num_seg > 2:  # the frame before an even one is the odd one of the pair before
        pooled = paddle.concat([pooled[:, :1], paddle.maximum(pooled[:, 1:], odd[:, :-1])], axis=1)
    return pooled.reshape([-1, *x.shape[1:]])


def resolved_shift_div(num_seg: int, shift_div: int | None, direction: str, shift: bool) -> int:
    """The ``shift_div`` of a backbone: the one given, else that of the reference that ``direction`` names.

    PaddleVideo's networks move 1 / num_seg of the channels each way, and its files do not state it; MMAction2's move
    1 / 8 by default.  A share that is not named and is not 1 / 8 is logged.
    """
    if shift_div is not None or direction == "mmaction2":
        return shift_div or 8
    if num_seg != 8 and shift:
        log.info(
            "backbone.shift_div: not named: 1/%d of the channels move each way (1/num_seg, as in PaddleVideo); "
            "weights that moved 1/8 (MMAction2's, earlier versions of this suite) need shift_div: 8",
            num_seg,
        )
    return max(num_seg, 2)
