"""Building blocks that several networks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

ShiftDirection = Literal["paddlevideo", "mmaction2"]


def shift_borders(channels: int, shift_div: int, direction: ShiftDirection) -> tuple[int, int]:
    """The two channel numbers between which the shifted groups lie: [0, first) and [first, second).

    The origins differ only where ``shift_div`` does not divide ``channels``: PaddleVideo cuts at the rounded down
    ``C / div`` and ``2 C / div`` (in float32, as Paddle's operator does), MMAction2 at ``C // div`` and twice that.
    """
    if direction == "paddlevideo":
        ratio = np.float32(1.0 / shift_div)
        return int(np.float32(channels) * ratio), int(np.float32(2 * channels) * ratio)
    return channels // shift_div, 2 * (channels // shift_div)


def temporal_shift(
    x: paddle.Tensor,
    num_seg: int,
    shift_div: int = 8,
    direction: ShiftDirection = "paddlevideo",
    shift: bool = True,
) -> paddle.Tensor:
    """Moves one group of channels a frame forward in time, one a frame back; zeros come in at the ends.

    Slices and one concatenation rather than ``F.temporal_shift``: as fast or faster on CPUs, and exporters know them.

    Args:
        x: [N * num_seg, C, H, W], the frames of a clip beside one another.
        num_seg: frames of a clip; nothing moves from one clip into another.
        shift_div: 1 / shift_div of the channels moves each way.
        direction: "paddlevideo": the first group takes the frame before (out[t] = x[t - 1]), the second the frame
            after; "mmaction2" (and the original TSM): the other way round.
        shift: False gives ``x`` back: the network without temporal modelling.

    Returns:
        [N * num_seg, C, H, W].

    *Source*: TSM (Lin et al., 2019), section 4, the bidirectional shift.
    """
    if not shift:
        return x
    channels, height, width = x.shape[1:]
    first, second = shift_borders(channels, shift_div, direction)
    if second == 0:
        return x
    clip = x.reshape([-1, num_seg, channels, height, width])  # [N, T, C, H, W]
    earlier = (0, first) if direction == "paddlevideo" else (first, second)  # group that takes the frame before
    zeros = paddle.zeros_like(clip[:, :1, :second])
    parts = []
    for low, high in ((0, first), (first, second)):
        group, zero = clip[:, :, low:high], zeros[:, :, : high - low]
        if num_seg == 1:
            parts.append(zero)
        elif (low, high) == earlier:
            parts.append(paddle.concat([zero, group[:, :-1]], axis=1))
        else:
            parts.append(paddle.concat([group[:, 1:], zero], axis=1))
    return paddle.concat([*parts, clip[:, :, second:]], axis=2).reshape([-1, channels, height, width])


class ConvBN(nn.Layer):
    """Convolution without bias, batch normalisation, and a ReLU if asked for.

    The odd names of the two parts are those of PaddleVideo's released weights.

    Args:
        bn_wd: whether weight decay applies to the normalisation's scale and offset.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, relu: bool = True, bn_wd: bool = False
    ):
        super().__init__()
        self._conv = nn.Conv2D(
            in_channels,
            out_channels,
            kernel,
            stride,
            (kernel - 1) // 2,
            weight_attr=init.KaimingNormal(),
            bias_attr=False,
        )
        self._batch_norm = nn.BatchNorm2D(out_channels)
        if not bn_wd:
            hint(self._batch_norm.weight, decay=0.0)
            hint(self._batch_norm.bias, decay=0.0)
        self._relu = relu

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        x = self._batch_norm(self._conv(x))
        return F.relu(x) if self._relu else x


class DropPath(nn.Layer):
    """Drops a residual branch for whole rows while training; what stays is scaled so that its expectation is kept.

    A row is an element of the tensor's first axis.  *Source*: stochastic depth (Huang et al., 2016).

    Args:
        rate: probability, 0 to 1, of dropping a row.
    """

    def __init__(self, rate: float = 0.0):
        super().__init__()
        self.rate = rate

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Same shape as ``x``."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = paddle.bernoulli(paddle.full([x.shape[0]] + [1] * (x.ndim - 1), keep, "float32"))
        return x * (mask / keep).astype(x.dtype)


class ClipNormalize(nn.Layer):
    """(x / 255 - mean) / std on the device, so that uint8 is what travels from the loader.

    Its two buffers never enter a checkpoint: they come from the configuration.

    Args:
        mean, std: one value per colour on the 0..1 scale, or None to take uint8 values as they are (0..255).
    """

    def __init__(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None):
        super().__init__()
        self.active = mean is not None
        if self.active:
            mean32, std32 = np.asarray(mean, "float32").reshape(-1), np.asarray(std, "float32").reshape(-1)
            self.register_buffer("scale", paddle.to_tensor(1.0 / (255.0 * std32)), persistable=False)
            self.register_buffer("offset", paddle.to_tensor(-mean32 / std32), persistable=False)

    def forward(self, x: paddle.Tensor, channel_axis: int) -> paddle.Tensor:
        """float32 clip from uint8 ``x``; a float ``x`` is normalised already and passes unchanged."""
        if x.dtype != paddle.uint8:
            return x
        x = x.astype("float32")
        if not self.active:
            return x
        shape = [1] * x.ndim
        shape[channel_axis] = -1
        return x * self.scale.astype("float32").reshape(shape) + self.offset.astype("float32").reshape(shape)


def hint(parameter: paddle.Tensor, lr: float | None = None, decay: float | None = None) -> None:
    """Leaves multipliers of the rate and of weight decay on a parameter, where the optimizer's builder reads them."""
    if lr is not None:
        parameter.optimize_attr["learning_rate"] = float(lr)
    if decay is not None:
        parameter.decay_mult = float(decay)


def init_linears(layer: nn.Layer, std: float = 0.02) -> None:
    """Truncated-normal weights (cut at -2 and 2, as in timm) and zero biases in every ``nn.Linear`` below ``layer``.

    PaddleVideo calls its function without a deviation and so starts at 1.0, fifty times the intended 0.02.
    """
    for part in layer.sublayers(include_self=True):
        if isinstance(part, nn.Linear):
            init.TruncatedNormal(std=std)(part.weight)
            if part.bias is not None:
                init.Constant(0.0)(part.bias)
