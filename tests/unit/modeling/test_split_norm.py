"""Batch norms that normalise parts of a batch apart."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddlevideo.modeling.split_norm import SplitBatchNorm3D, set_num_splits

X = np.random.default_rng(0).standard_normal((8, 3, 2, 4, 4)).astype("float32") * 2
X += np.arange(8, dtype="float32")[:, None, None, None, None]


def norms():
    """One of each kind with the same scale, offset and running statistics."""
    ours, plain = SplitBatchNorm3D(3), nn.BatchNorm3D(3)
    rng = np.random.default_rng(1)
    values = {key: rng.uniform(0.5, 1.5, value.shape).astype("float32") for key, value in ours.state_dict().items()}
    for layer in (ours, plain):
        layer.set_state_dict({key: paddle.to_tensor(value) for key, value in values.items()})
    return ours, plain


def test_each_part_is_normalised_by_itself_with_the_same_gradient():
    ours, plain = norms()
    assert set_num_splits(nn.Sequential(ours), 4) == 1
    x, y = paddle.to_tensor(X, stop_gradient=False), paddle.to_tensor(X, stop_gradient=False)
    got = ours(x)
    parts = [plain(y[part::4]) for part in range(4)]
    for part in range(4):
        np.testing.assert_allclose(got[part::4].numpy(), parts[part].numpy(), atol=2e-6)
    (got**3).sum().backward()
    sum((part**3).sum() for part in parts).backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), atol=1e-4)
    np.testing.assert_allclose(ours.weight.grad.numpy(), plain.weight.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("splits", [2, 4, 6])  # 8 clips are split into 2 by 6
def test_running_statistics_are_those_of_the_whole_batch(splits):
    ours, plain = norms()
    ours.num_splits = splits
    ours(paddle.to_tensor(X)), plain(paddle.to_tensor(X))
    for name in ("_mean", "_variance"):
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), plain.state_dict()[name].numpy(), rtol=1e-5)
    ours.eval(), plain.eval()
    np.testing.assert_allclose(ours(paddle.to_tensor(X)).numpy(), plain(paddle.to_tensor(X)).numpy(), atol=1e-5)
