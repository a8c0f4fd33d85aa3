"""Operators by other ones: Paddle's own is the reference."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from paddlevideo.modeling import operators
from paddlevideo.modeling.layers import conv3d
from paddlevideo.modeling.operators import DepthwiseConv2D, Linear, ScaleRows, conv3d_by_frames, is_faster_by_frames


def _close(ours: paddle.Tensor, reference: paddle.Tensor, limit: float = 1e-6) -> None:
    """Within ``limit`` of the largest value."""
    assert ours.shape == reference.shape
    assert float((ours - reference).abs().max()) <= limit * float(reference.abs().max())


def _input(*shape: int) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(0).standard_normal(shape).astype("float32"), stop_gradient=False)


@pytest.mark.parametrize(
    ("channels", "out", "frames", "kernel", "stride"),
    [
        (3, 8, 6, (5, 7, 7), (1, 2, 2)),
        (3, 16, 4, (1, 7, 7), (1, 2, 2)),
        (8, 8, 5, (1, 3, 3), (1, 1, 1)),
        (16, 4, 5, (3, 1, 1), (1, 1, 1)),
        (4, 4, 3, (3, 3, 3), (1, 2, 2)),
        (4, 2, 1, (5, 3, 3), (1, 1, 1)),
        (4, 2, 2, (5, 1, 1), (1, 1, 1)),
        (64, 8, 8, (3, 3, 3), (1, 1, 1)),
        (256, 32, 4, (3, 1, 1), (1, 1, 1)),
    ],
)
def test_by_frames_agrees_with_paddle_forward_and_backward(channels, out, frames, kernel, stride):
    layer = conv3d(channels, out, kernel, stride)
    x, twin = _input(2, channels, frames, 12, 10), _input(2, channels, frames, 12, 10)
    ours = layer(x)
    padding = [(size - 1) // 2 for size in kernel]
    weight = layer.weight.detach()
    weight.stop_gradient = False
    reference = F.conv3d(twin, weight, stride=list(stride), padding=padding)
    _close(ours, reference, 2e-6)
    factor = _input(*reference.shape).detach()
    (ours * factor).sum().backward()
    (reference * factor).sum().backward()
    _close(x.grad, twin.grad, 2e-6)
    _close(layer.weight.grad, weight.grad, 2e-6)


def test_rule_leaves_wide_pointwise_and_strided_ones_to_paddle():
    assert is_faster_by_frames(3, 8, (5, 7, 7), (1, 2, 2))
    assert is_faster_by_frames(3, 64, (1, 7, 7), (1, 2, 2))
    assert not is_faster_by_frames(64, 64, (1, 3, 3), (1, 1, 1))
    assert not is_faster_by_frames(8, 32, (1, 1, 1), (1, 1, 1))
    assert not is_faster_by_frames(8, 16, (5, 1, 1), (8, 1, 1))
    assert not is_faster_by_frames(8, 8, (2, 3, 3), (1, 1, 1))


def test_off_a_cpu_it_is_paddles_own(monkeypatch):
    layer, x = conv3d(3, 8, (5, 7, 7), (1, 2, 2)), _input(1, 3, 4, 8, 8)
    monkeypatch.setattr(operators, "on_cpu", lambda x: False)
    monkeypatch.setattr(operators, "conv3d_by_frames", lambda *given: pytest.fail("by frames"))
    assert layer(x).shape == [1, 8, 4, 4, 4]


def test_exported_program_has_no_conv3d_and_computes_the_same(tmp_path):
    layer, x = conv3d(3, 8, (5, 7, 7), (1, 2, 2)), _input(1, 3, 4, 8, 8)
    layer.eval()
    static = paddle.jit.to_static(layer, [paddle.static.InputSpec([None, 3, 4, 8, 8])], full_graph=True)
    paddle.jit.save(static, str(tmp_path / "m"))
    loaded = paddle.jit.load(str(tmp_path / "m"))
    assert '"pd_op.conv3d"' not in str(loaded.program())
    np.testing.assert_array_equal(loaded(x).numpy(), conv3d_by_frames(x, layer.weight, [2, 2], [3, 3]).numpy())


def test_linear_gives_paddles_output_and_gradients():
    layer, x, twin = Linear(24, 40), _input(5, 7, 24), _input(5, 7, 24)
    own = paddle.nn.Linear(24, 40)
    own.set_state_dict(layer.state_dict())
    factor = _input(5, 7, 40).detach()
    ours, reference = layer(x), own(twin)
    np.testing.assert_array_equal(ours.numpy(), reference.numpy())
    (ours * factor).sum().backward()
    (reference * factor).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), twin.grad.numpy())
    np.testing.assert_array_equal(layer.weight.grad.numpy(), own.weight.grad.numpy())
    _close(layer.bias.grad, own.bias.grad)


def test_linear_leaves_frozen_parameters_alone():
    layer, x = Linear(4, 3), _input(2, 4)
    layer.weight.stop_gradient = True
    layer(x.detach()).sum().backward()
    assert layer.weight.grad is None
    np.testing.assert_array_equal(layer.bias.grad.numpy(), [2, 2, 2])


def test_scaled_rows_have_the_gradient_of_the_product():
    x, factors = _input(3, 2), paddle.to_tensor([[0.0], [1.5], [2.0]])
    ScaleRows.apply(x, factors).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0], [1.5, 1.5], [2, 2]])


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [((14, 11), 3, 1), ((7, 7), 3, 1), ((13, 14), 3, 2), ((15, 16), 3, 2), ((6, 4), 5, 1)]
)
def test_depthwise_agrees_with_paddle_forward_and_backward(size, kernel, stride):
    layer, x, twin = DepthwiseConv2D(6, kernel, stride), _input(4, 6, *size), _input(4, 6, *size)
    weight = layer.weight.detach()
    weight.stop_gradient = False
    ours, reference = layer(x), F.conv2d(twin, weight, stride=stride, padding=(kernel - 1) // 2, groups=6)
    _close(ours, reference)
    factor = _input(*reference.shape).detach()
    (ours * factor).sum().backward()
    (reference * factor).sum().backward()
    _close(x.grad, twin.grad)
    _close(layer.weight.grad, weight.grad)


@pytest.mark.parametrize("size", [14, 7])
def test_frozen_depthwise_passes_the_gradient_on(size):
    layer, x, twin = DepthwiseConv2D(4, 3, 1), _input(2, 4, size, size), _input(2, 4, size, size)
    layer.weight.stop_gradient = True
    layer(x).square().sum().backward()
    F.conv2d(twin, layer.weight, padding=1, groups=4).square().sum().backward()
    _close(x.grad, twin.grad)
    assert layer.weight.grad is None


def test_depthwise_in_float64_agrees_with_paddle():
    layer, x = DepthwiseConv2D(4, 3, 1), _input(2, 4, 7, 7).detach()
    layer(x)  # what is kept for float32 is no hindrance
    layer.to(dtype="float64")
    x = x.astype("float64")
    _close(layer(x), F.conv2d(x, layer.weight, padding=1, groups=4), 1e-12)


ARRAYS = {
    "float64": np.arange(6, dtype="float64"),
    "empty": np.zeros((0, 4), "float32"),
    "not in one piece": np.eye(3)[::2].T,
    "number": np.array(True),
}


@pytest.mark.parametrize("value", ARRAYS.values(), ids=ARRAYS)
def test_a_tensor_of_an_array_is_that_of_to_tensor(value):
    ours, theirs = operators.tensor_of(value), paddle.to_tensor(value)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.stop_gradient
    assert np.array_equal(ours.numpy(), theirs.numpy())


def test_a_tensor_of_an_array_leaks_nothing():
    def resident_bytes():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    array, num = np.zeros((2, 4), "uint8"), 20_000
    for _ in range(2000):
        operators.tensor_of(array)
    before = resident_bytes()
    for _ in range(num):
        operators.tensor_of(array)
    assert resident_bytes() - before < 50 * num  # to_tensor: 112 each
