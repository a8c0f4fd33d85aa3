"""Drop path, normalisation on the device, start weights, and what is exempt from decay."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddlevideo.errors import UserError
from paddlevideo.modeling.layers import ClipNormalize, ConvBN, DropPath, init_linears


def test_drop_path_drops_whole_rows_and_keeps_the_mean():
    paddle.seed(1)
    layer = DropPath(0.25)
    rows = layer(paddle.ones([4000, 3])).numpy()
    assert set(np.unique(rows)) <= {np.float32(0.0), np.float32(1 / 0.75)}
    assert (rows == rows[:, :1]).all() and abs(rows.mean() - 1.0) < 0.05
    layer.eval()
    assert (layer(paddle.ones([5, 3])).numpy() == 1.0).all()


def test_normalisation_leaves_nothing_in_the_weights():
    layer = ClipNormalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert not layer.state_dict()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype="uint8")
    expected = (pixels / 255.0 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert np.allclose(layer(paddle.to_tensor(pixels), 3).numpy(), expected, atol=1e-5)
    floats = paddle.randn([2, 4, 5, 3])
    with pytest.raises(UserError, match="imgs are float32, but this network normalises"):
        layer(floats, 3)
    assert ClipNormalize()(floats, 3) is floats
    assert np.array_equal(ClipNormalize()(paddle.to_tensor(pixels), 3).numpy(), pixels.astype("float32"))


def test_batch_norm_is_exempt_from_decay_by_default():
    exempt, decayed = ConvBN(3, 4, 1), ConvBN(3, 4, 1, bn_wd=True)
    assert exempt._batch_norm.weight.decay_mult == exempt._batch_norm.bias.decay_mult == 0.0
    assert not hasattr(decayed._batch_norm.weight, "decay_mult")


def test_linear_layers_start_at_two_hundredths():
    layer = nn.Linear(400, 300)
    init_linears(layer)
    weight = layer.weight.numpy()
    assert abs(weight.std() - 0.02) < 0.001 and abs(weight.mean()) < 0.001 and (layer.bias.numpy() == 0).all()
