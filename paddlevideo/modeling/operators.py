"""Operators that Paddle's CPU kernels compute slowly, by other ones: same parameters, same results to rounding.

On a GPU, and where nothing is gained, they are Paddle's own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F

_FEW_CHANNELS = 32
_SMALL_MAP = 7 * 7  # pixels


def is_faster_by_frames(in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether ``conv3d_by_frames`` is faster on a CPU than ``F.conv3d``.

    Paddle's CPU kernel copies every value once per position of the whole kernel before it multiplies; with few
    channels on either side the copies take longer than the products.  By frames there are as many copies as positions
    in the plane.  Measured (one core with AVX-512, forward and backward, ms): 3 -> 8 channels, 5x7x7: 780 against 179;
    32 -> 8, 3x1x1: 29 against 11; 8 -> 8, 1x3x3: 20 against 12; 3 -> 64, 1x7x7: 43 against 30; 128 -> 32, 3x1x1: 8.1
    against 5.9.  From 64 channels on the two are equal within 15 % (2048 -> 512, 3x1x1: 36 against 51), 1x1x1 has no
    copies in either, and a stride in time would compute frames that are thrown away.
    """
    return stride[0] == 1 and kernel[0] % 2 == 1 and max(kernel) > 1 and min(in_channels, out_channels) <= _FEW_CHANNELS


def conv3d_by_frames(
    x: paddle.Tensor, weight: paddle.Tensor, stride: Sequence[int], padding: Sequence[int]
) -> paddle.Tensor:
    """A 3-D convolution as one 2-D convolution of all frames, for every place in time, and the sum of its shifts.

    The difference to ``F.conv3d``, which sums in another order, is below 2e-6 of the largest value in float32.

    Args:
        x: [N, C, T, H, W].
        weight: [C', C, k, kh, kw], k odd.
        stride, padding: in the plane; in time the stride is 1 and T is kept.

    Returns:
        [N, C', T, H', W'].
    """
    channels, frames, height, width = x.shape[1:]
    out_channels, _, steps, *kernel = weight.shape
    planes = x.transpose([0, 2, 1, 3, 4]).reshape([-1, channels, height, width])  # [N * T, C, H, W]
    kernels = weight.transpose([2, 0, 1, 3, 4]).reshape([-1, channels, *kernel])  # [k * C', C, kh, kw]
    y = F.conv2d(planes, kernels, stride=stride, padding=padding)
    y = y.reshape([-1, frames, *y.shape[1:]])  # [N, T, k * C', H', W']
    parts = y.split(steps, axis=2) if steps > 1 else [y]
    total = parts[steps // 2]
    for step, part in enumerate(parts, -(steps // 2)):
        if step and abs(step) < frames:  # frame t takes what this place in time gives of frame t + step
            zeros = paddle.zeros_like(part[:, : abs(step)])
            shifted = [part[:, step:], zeros] if step > 0 else [zeros, part[:, :step]]
            total = total + paddle.concat(shifted, axis=1)
    return total.transpose([0, 2, 1, 3, 4])


class Conv3D(nn.Conv3D):
    """``nn.Conv3D`` without bias and dilation, T kept or divided by the stride; on a CPU by frames where faster.

    A program that is exported is traced for a CPU and computes by frames wherever it runs.

    Args:
        kernel, stride: over (time, height, width); odd kernels are padded so that stride 1 keeps sizes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        weight_attr: nn.initializer.Initializer,
    ):
        padding = [(size - 1) // 2 for size in kernel]
        super().__init__(
            in_channels, out_channels, list(kernel), list(stride), padding, weight_attr=weight_attr, bias_attr=False
        )
        self._plane = list(stride[1:]), padding[1:]
        self._gains = is_faster_by_frames(in_channels, out_channels, kernel, stride)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> [N, C', T', H', W']."""
        if self._gains and x.shape[2] > 0 and on_cpu(x):  # -1: a free axis of a static program
            return conv3d_by_frames(x, self.weight, *self._plane)
        return super().forward(x)


class DepthwiseConv2D(nn.Conv2D):
    """A convolution of every channel by itself, without bias; an odd kernel is padded so that stride 1 keeps sizes.

    Paddle's CPU kernel is one small product per frame and channel, and its gradient of the input adds value by value.
    In dygraph on a CPU maps of up to 7 x 7 are multiplied with a matrix per channel instead (960 channels of 8 frames,
    forward and backward: 20 against 4 ms), and at stride 1 the gradient of the input is the convolution with the
    flipped kernel (144 channels of 56 x 56: 35 against 18 ms).  Results are the same to rounding.
    """

    def __init__(self, channels: int, kernel: int, stride: int, weight_attr: nn.initializer.Initializer | None = None):
        super().__init__(
            channels, channels, kernel, stride, (kernel - 1) // 2,
            groups=channels, weight_attr=weight_attr, bias_attr=False,
        )  # fmt: skip
        self._step, self._pad = stride, (kernel - 1) // 2

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, H, W] -> [N, C, H', W']."""
        if not paddle.in_dynamic_mode() or not x.place.is_cpu_place():
            return super().forward(x)
        if -(-x.shape[2] // self._step) * -(-x.shape[3] // self._step) <= _SMALL_MAP:
            return _by_matrices(x, self.weight, self._step, self._pad)
        if self._step > 1 or x.stop_gradient or not paddle.is_grad_enabled():
            return super().forward(x)
        return _DepthwiseInput.apply(x, super().forward(x.detach()), self.weight)


def _by_matrices(x: paddle.Tensor, weight: paddle.Tensor, stride: int, padding: int) -> paddle.Tensor:
    """A depthwise convolution of small maps: one matrix [H * W, H' * W'] per channel, linear in the kernel."""
    channels, height, width = x.shape[1:]
    basis, (new_height, new_width) = _placements(height, width, weight.shape[2], stride, padding, weight.dtype)
    matrices = paddle.matmul(weight.reshape([channels, -1]), basis)
    matrices = matrices.reshape([channels, height * width, new_height * new_width])
    maps = x.flatten(2).transpose([1, 0, 2])  # [C, N, H * W]
    return paddle.matmul(maps, matrices).transpose([1, 0, 2]).reshape([-1, channels, new_height, new_width])


@functools.lru_cache(maxsize=32)
def _placements(
    height: int, width: int, kernel: int, stride: int, padding: int, dtype: paddle.dtype
) -> tuple[paddle.Tensor, list[int]]:
    """[k * k, H * W * H' * W'], 1 where a place of the kernel takes a pixel to another; and (H', W')."""
    pixels = paddle.eye(height * width, dtype=dtype).reshape([-1, 1, height, width])
    places = paddle.eye(kernel * kernel, dtype=dtype).reshape([-1, 1, kernel, kernel])
    with paddle.no_grad():
        reached = F.conv2d(pixels, places, stride=stride, padding=padding)  # [H * W, k * k, H', W']
        return reached.transpose([1, 0, 2, 3]).flatten(1), reached.shape[2:]


class _DepthwiseInput(PyLayer):
    """Passes a depthwise convolution of stride 1 on, and adds the gradient of its input."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, y: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        ctx.save_for_backward(weight)
        ctx.frozen = weight.stop_gradient
        return y.clone() if ctx.frozen else y  # a leaf cannot be passed on

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor | None, ...]:
        (weight,) = ctx.saved_tensor()
        padding, groups = (weight.shape[2] - 1) // 2, weight.shape[0]
        of_x = F.conv2d(gradient, weight.flip([2, 3]), padding=padding, groups=groups)
        return of_x, None if ctx.frozen else gradient, None


def tensor_of(array: np.ndarray) -> paddle.Tensor:
    """``paddle.to_tensor`` of an array; on a CPU without the 112 bytes that this leaks with every call (PaddlePaddle
    3.3.1), a gigabyte in some million steps."""
    if paddle.device.get_device() != "cpu" or not (array.ndim and array.size):
        return paddle.to_tensor(array)
    tensor = paddle.empty(array.shape, array.dtype.name)
    tensor.get_tensor().set(np.ascontiguousarray(array), paddle.CPUPlace())
    return tensor


def on_cpu(x: paddle.Tensor) -> bool:
    """Whether ``x`` is on a CPU; in a static program, whether the program is for one."""
    return x.place.is_cpu_place() if paddle.in_dynamic_mode() else paddle.device.get_device() == "cpu"


def differentiates_on_cpu(x: paddle.Tensor) -> bool:
    """Whether an operator on ``x`` is recorded for a backward pass on a CPU."""
    return paddle.in_dynamic_mode() and paddle.is_grad_enabled() and x.place.is_cpu_place()


class Linear(nn.Linear):
    """``nn.Linear`` whose bias has its gradient by a product on CPUs.

    Paddle's kernel sums the rows of the gradient one value at a time: 62 of 244 ms, forward and backward, for
    [1569, 768] -> [1569, 3072].  Outputs and gradients are the same.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[..., C] -> [..., C']."""
        if self.bias is not None and differentiates_on_cpu(x):
            return _Linear.apply(x, self.weight, self.bias)
        return super().forward(x)


class _Linear(PyLayer):
    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.wanted = [not tensor.stop_gradient for tensor in (x, weight, bias)]
        return paddle.matmul(x, weight).add_(bias)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor | None, ...]:
        x, weight = ctx.saved_tensor()
        of_x, of_weight, of_bias = ctx.wanted
        rows = gradient.reshape([-1, gradient.shape[-1]])
        return (
            paddle.matmul(gradient, weight, transpose_y=True) if of_x else None,
            paddle.matmul(x.reshape([-1, x.shape[-1]]), rows, transpose_x=True) if of_weight else None,
            paddle.matmul(paddle.ones([1, rows.shape[0]], rows.dtype), rows).reshape([-1]) if of_bias else None,
        )


class ScaleRows(PyLayer):
    """``x * factors`` with constant factors; unlike the product's own gradient it does not keep ``x``."""

    @staticmethod
    def forward(ctx: Any, x: paddle.Tensor, factors: paddle.Tensor) -> paddle.Tensor:
        ctx.save_for_backward(factors)
        return x * factors

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor, None]:
        (factors,) = ctx.saved_tensor()
        return gradient * factors, None
