"""Building blocks that several networks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from paddlevideo.errors import UserError
from paddlevideo.modeling.operators import Conv3D, DepthwiseConv2D, ScaleRows
from paddlevideo.modeling.split_norm import SplitBatchNorm3D


def relu(x: paddle.Tensor) -> paddle.Tensor:
    """ReLU, in place in dygraph: for the output of a normalisation or of a sum, which neither keeps.

    A static program has no such operator, and Paddle warns of it.
    """
    return F.relu_(x) if paddle.in_dynamic_mode() else F.relu(x)


def leaky_relu(x: paddle.Tensor) -> paddle.Tensor:
    """Leaky ReLU of slope 0.01, in place like ``relu``.

    In a static program it is a product and a maximum: paddle2onnx 2.1 converts the operator with another slope.
    """
    return F.leaky_relu_(x) if paddle.in_dynamic_mode() else paddle.maximum(x, 0.01 * x)


ACTIVATIONS = {"relu": relu, "relu6": F.relu6, "leaky_relu": leaky_relu, "hardswish": F.hardswish}


def children(layer: nn.Layer, names: Iterable[str]) -> list[nn.Layer]:
    """The direct sublayers of these names, in their order."""
    own = dict(layer.named_children())
    return [own[name] for name in names]


def max_over_positions(x: paddle.Tensor) -> paddle.Tensor:
    """[N, C, ...] -> [N, C], the maximum over all axes after the channels, with a correct gradient.

    Paddle 3.3 on CPUs gives unwritten memory as the gradient of ``max``, ``amax``, ``min`` and ``amin`` over several
    axes of a tensor with five or more (``x.amax([2, 3, 4])``); over a single axis, or all of them, it is right.
    """
    if paddle.in_dynamic_mode():
        return x.flatten(2).amax(-1)
    while x.ndim > 2:  # ONNX Runtime cannot flatten a tensor without rows
        x = x.max(-1)
    return x


def max_over(x: paddle.Tensor, axis: int, keepdim: bool = False) -> paddle.Tensor:
    """The maximum over an axis; equal largest values share its gradient.

    A static program has ``max``, which gives each of them the whole gradient: ``amax`` has no form in ONNX.
    """
    return x.amax(axis, keepdim) if paddle.in_dynamic_mode() else x.max(axis, keepdim)


def conv2d(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2D:
    """A convolution of pictures without bias; an odd kernel is padded so that stride 1 keeps sizes.

    Args:
        groups: of channels; as many as there are channels make it depthwise.
    """
    start = init.KaimingNormal()
    if 1 < groups == in_channels == out_channels:
        return DepthwiseConv2D(in_channels, kernel, stride, weight_attr=start)
    padding = (kernel - 1) // 2
    return nn.Conv2D(
        in_channels, out_channels, kernel, stride, padding, groups=groups, weight_attr=start, bias_attr=False
    )


def batch_norm2d(channels: int, bn_wd: bool = False) -> nn.BatchNorm2D:
    """Batch normalisation of [N, C, H, W]; ``bn_wd``: whether weight decay applies to scale and offset."""
    norm = nn.BatchNorm2D(channels)
    if not bn_wd:
        hint(norm.weight, decay=0.0)
        hint(norm.bias, decay=0.0)
    return norm


class ConvBN(nn.Layer):
    """Convolution without bias, batch normalisation, and an optional activation.

    The odd names of the two parts are those of PaddleVideo's released weights.

    Attributes:
        parts: these names.

    Args:
        act: one of ``ACTIVATIONS``, or None.
        groups: see ``conv2d``.
        bn_wd: see ``batch_norm2d``.
    """

    parts = ("_conv", "_batch_norm")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        act: str | None = "relu",
        bn_wd: bool = False,
        groups: int = 1,
    ):
        super().__init__()
        convolution, norm = self.parts
        self.add_sublayer(convolution, conv2d(in_channels, out_channels, kernel, stride, groups))
        self.add_sublayer(norm, batch_norm2d(out_channels, bn_wd))
        self._act = ACTIVATIONS[act] if act else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        convolution, norm = children(self, self.parts)
        x = norm(convolution(x))
        return x if self._act is None else self._act(x)


class ConvBN2D(ConvBN):
    """``ConvBN`` under the names of PaddleClas' later networks."""

    parts = ("conv", "bn")


class SqueezeExcitation(nn.Layer):
    """Every channel times a gate between 0 and 1, which two 1x1 convolutions make of the means of all channels.

    Args:
        channels: C; a quarter of them lies between the convolutions.
        slope: of the gate ``clip(slope * x + 0.5, 0, 1)``; None: a sigmoid.

    *Source*: PaddleClas' ``SEModule`` of MobileNetV3 (slope 0.2) and of PP-LCNetV2 (sigmoid).
    """

    def __init__(self, channels: int, slope: float | None = None):
        super().__init__()
        start = init.KaimingNormal()
        self.conv1 = nn.Conv2D(channels, channels // 4, 1, weight_attr=start)
        self.conv2 = nn.Conv2D(channels // 4, channels, 1, weight_attr=start)
        self._slope = slope

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, H, W] -> the same shape."""
        gate = self.conv2(relu(self.conv1(x.mean([2, 3], keepdim=True))))  # [N, C, 1, 1]
        return x * (F.sigmoid(gate) if self._slope is None else F.hardsigmoid(gate, self._slope, 0.5))


class Fusable(nn.Layer, ABC):
    """A layer whose trained branches have one convolution of the same output, which exported programs run.

    Attributes:
        fused: ``forward`` runs that convolution.
        branches: where the names of the branches' weights begin.
    """

    fused: bool = False
    branches: str

    @abstractmethod
    def fuse(self) -> None:
        """Computes the weights of the convolution from those of the branches and their running statistics."""

    @abstractmethod
    def unfused(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays of branches that give in evaluation what the convolution of ``arrays`` gives, by the layer's names.

        Empty where ``arrays`` lacks the convolution.
        """


@contextmanager
def fused(network: nn.Layer) -> Iterator[None]:
    """Within it every ``Fusable`` layer of the network runs its one convolution, of its present weights."""
    layers = [layer for layer in network.sublayers() if isinstance(layer, Fusable)]
    try:
        for layer in layers:
            layer.fuse()
            layer.fused = True
        yield
    finally:
        for layer in layers:
            layer.fused = False


def branches_of(network: nn.Layer) -> dict[str, Fusable]:
    """Where the names of the weights of branches begin, which no exported program has -> their layer."""
    named = network.named_sublayers()
    return {f"{name}.{layer.branches}": layer for name, layer in named if isinstance(layer, Fusable)}


def conv3d(in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int] = (1, 1, 1)) -> Conv3D:
    """A convolution over (time, height, width) without bias; odd kernels are padded so that stride 1 keeps sizes."""
    return Conv3D(in_channels, out_channels, kernel, stride, weight_attr=init.KaimingNormal())


def batch_norm3d(channels: int, start: float = 1.0, bn_wd: bool = True) -> SplitBatchNorm3D:
    """Batch normalisation of [N, C, T, H, W].

    Args:
        start: of the scale; 0 silences a residual branch at the start (zero_init_residual).
        bn_wd: whether weight decay applies to scale and offset.
    """
    norm = SplitBatchNorm3D(channels, weight_attr=init.Constant(start))
    if not bn_wd:
        hint(norm.weight, decay=0.0)
        hint(norm.bias, decay=0.0)
    return norm


class ConvBN3D(nn.Layer):
    """``conv3d``, ``batch_norm3d``, and an optional ReLU; its parts have MMAction2's names.

    Args:
        kernel, stride: over (time, height, width).
        relu: whether the ReLU is there.
        start, bn_wd: see ``batch_norm3d``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        stride: Sequence[int] = (1, 1, 1),
        relu: bool = True,
        start: float = 1.0,
        bn_wd: bool = True,
    ):
        super().__init__()
        self.conv = conv3d(in_channels, out_channels, kernel, stride)
        self.bn = batch_norm3d(out_channels, start, bn_wd)
        self._relu = relu

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> [N, C', T', H', W']."""
        x = self.bn(self.conv(x))
        return relu(x) if self._relu else x


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
        return ScaleRows.apply(x, (mask / keep).astype(x.dtype))


class ClipNormalize(nn.Layer):
    """(x / 255 - mean) / std on the device, so that uint8 is what travels from the loader.

    Whether it normalises is decided when it is built, by the pipelines, never by the clips.  Its two
    buffers never enter a checkpoint: they come from the configuration.

    Args:
        mean, std: one value per colour on the 0..1 scale; None takes clips as they are: normalised by the pipeline, or
            levels 0..255.
    """

    def __init__(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None):
        super().__init__()
        self.active = mean is not None
        if self.active:
            mean32, std32 = np.asarray(mean, "float32").reshape(-1), np.asarray(std, "float32").reshape(-1)
            self.register_buffer("scale", paddle.to_tensor(1.0 / (255.0 * std32)), persistable=False)
            self.register_buffer("offset", paddle.to_tensor(-mean32 / std32), persistable=False)

    def forward(self, x: paddle.Tensor, channel_axis: int) -> paddle.Tensor:
        """float32 clip.

        Raises:
            UserError: the network normalises, and the clips are no levels (uint8).
        """
        if not self.active:
            return x.astype("float32") if x.dtype == paddle.uint8 else x
        if x.dtype != paddle.uint8:
            raise UserError(
                f"imgs are {str(x.dtype).rpartition('.')[2]}, but this network normalises clips itself and takes uint8 "
                "levels; if PIPELINE normalises them, write that the same way in all its parts"
            )
        x = x.astype("float32")
        # without axes of 1 before the colours: with them Paddle's CPU kernels take 20 times as long
        shape = [-1] + [1] * (x.ndim - 1 - channel_axis)
        return x * self.scale.astype("float32").reshape(shape) + self.offset.astype("float32").reshape(shape)


def hint(parameter: paddle.Tensor, lr: float | None = None, decay: float | None = None) -> None:
    """Sets multipliers of the rate and of weight decay on a parameter, for the optimizer's builder."""
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


def init_linears_by_inputs(layer: nn.Layer) -> None:
    """Normal weights of deviation 1 / sqrt(inputs) and zero biases in every ``nn.Linear`` below ``layer``."""
    for part in layer.sublayers(include_self=True):
        if isinstance(part, nn.Linear):
            init.Normal(std=part.weight.shape[0] ** -0.5)(part.weight)
            if part.bias is not None:
                init.Constant(0.0)(part.bias)
