"""Non-local blocks against a loop over positions; identity at the start; what is learnt and decayed."""

import numpy as np
import paddle
import pytest

from paddlevideo.modeling.non_local import MODES, NonLocal3D


def dense(conv, x):
    """A 1x1x1 convolution of columns [C, P]."""
    weight = conv.weight.numpy().reshape(conv.weight.shape[0], -1)
    return weight @ x + (0.0 if conv.bias is None else conv.bias.numpy()[:, None])


def softmax(x):
    x = np.exp(x - x.max())
    return x / x.sum()


def by_loop(block, x):
    """[C, T, H, W] without pooling, in eval mode; one position at a time."""
    shape, x = x.shape, x.reshape(x.shape[0], -1)
    values = dense(block.g, x)
    queries, keys = (x, x) if block.mode == "gaussian" else (dense(block.theta, x), dense(block.phi, x))
    mixed = np.zeros_like(values)
    for q in range(x.shape[1]):
        likeness = keys.T @ queries[:, q]
        weights = likeness / len(likeness) if block.mode == "dot_product" else softmax(likeness * block.scale)
        mixed[:, q] = values @ weights
    y = dense(block.conv_out, mixed) / np.sqrt(1 + 1e-5)  # the running statistics at the start are 0 and 1
    return (x + block.bn.weight.numpy()[:, None] * y).reshape(shape)


def awake(**arguments):
    """A block whose normalisation is not zero any more, and whose products are not tiny."""
    paddle.seed(4)
    block = NonLocal3D(6, **arguments)
    block.eval()
    block.bn.weight.set_value(paddle.linspace(0.5, 2.0, 6))
    for name in ("g", "theta", "phi"):
        if hasattr(block, name):
            conv = getattr(block, name)
            conv.weight.set_value(paddle.randn(conv.weight.shape))
            conv.bias.set_value(paddle.randn(conv.bias.shape))
    return block


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("use_scale", [False, True])
def test_every_position_is_the_weighted_sum_over_all(mode, use_scale):
    block = awake(mode=mode, sub_sample=False, use_scale=use_scale and mode == "embedded_gaussian")
    x = np.random.default_rng(0).standard_normal((2, 6, 3, 2, 4)).astype("float32")
    expected = np.stack([by_loop(block, clip) for clip in x])
    assert np.allclose(block(paddle.to_tensor(x)).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_sub_sampling_takes_the_greatest_of_four(mode):
    """A clip of equal 2x2 squares looks the same pooled and not: only the number of equal positions differs."""
    squares = paddle.randn([1, 6, 2, 2, 3])
    x = squares.repeat_interleave(2, axis=3).repeat_interleave(2, axis=4)
    pooled, whole = awake(mode=mode, sub_sample=True), awake(mode=mode, sub_sample=False)
    assert np.allclose(pooled(x).numpy(), whole(x).numpy(), atol=1e-5)
    paddle.seed(4)
    other = paddle.randn([1, 6, 2, 4, 6])
    assert np.abs(pooled(other).numpy() - whole(other).numpy()).max() > 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_it_starts_as_identity_and_can_leave_it(mode):
    block, x = NonLocal3D(8, mode), paddle.randn([2, 8, 2, 4, 4])
    assert np.array_equal(block(x).numpy(), x.numpy())
    block(x).square().sum().backward()
    assert np.abs(block.bn.weight.grad.numpy()).max() > 0
    assert block.bn.weight.decay_mult == block.bn.bias.decay_mult == 0.0
    assert (mode == "gaussian") == (not hasattr(block, "theta"))
