"""The shift against Paddle's own operator, its borders and gradient; drop path; normalisation on the device."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.modeling.layers import ClipNormalize, ConvBN, DropPath, init_linears, shift_borders, temporal_shift


def frames_by_time(clips, num_seg, channels, size=2):
    """[N * T, C, s, s] whose every value is 1 + its own frame number."""
    time = np.tile(np.arange(1, num_seg + 1, dtype="float32"), clips)
    return paddle.to_tensor(np.broadcast_to(time[:, None, None, None], (clips * num_seg, channels, size, size)).copy())


def by_channel(x, num_seg):
    """[N, C, T] of the first pixel."""
    return x.numpy()[:, :, 0, 0].reshape(-1, num_seg, x.shape[1]).transpose(0, 2, 1)


@pytest.mark.parametrize(
    ("num_seg", "channels", "shift_div"), [(8, 64, 8), (16, 64, 16), (5, 64, 5), (3, 10, 3), (4, 16, 8)]
)
def test_paddlevideo_shift_equals_paddles_operator(num_seg, channels, shift_div):
    x = paddle.randn([2 * num_seg, channels, 3, 5])
    expected = F.temporal_shift(x, num_seg, 1.0 / shift_div)
    assert np.array_equal(temporal_shift(x, num_seg, shift_div).numpy(), expected.numpy())


def test_the_two_directions_are_each_others_mirror():
    x = frames_by_time(2, 4, 16)
    ours, theirs = (by_channel(temporal_shift(x, 4, 8, direction), 4) for direction in ("paddlevideo", "mmaction2"))
    past, future, still = [0, 1, 2, 3], [2, 3, 4, 0], [1, 2, 3, 4]
    for clip in (0, 1):  # nothing comes from the neighbouring clip
        assert (ours[clip, :2] == past).all() and (ours[clip, 2:4] == future).all() and (ours[clip, 4:] == still).all()
        assert (
            (theirs[clip, :2] == future).all()
            and (theirs[clip, 2:4] == past).all()
            and (theirs[clip, 4:] == still).all()
        )


def test_the_gradient_is_the_shift_the_other_way():
    x = paddle.randn([8, 16, 2, 2])
    x.stop_gradient = False
    weights = paddle.randn([8, 16, 2, 2])
    (temporal_shift(x, 4, 8) * weights).sum().backward()
    assert np.array_equal(x.grad.numpy(), temporal_shift(weights, 4, 8, "mmaction2").numpy())


def test_shift_off_and_single_frames():
    x = paddle.randn([4, 16, 2, 2])
    assert temporal_shift(x, 4, 8, shift=False) is x
    alone = temporal_shift(x, 1, 8).numpy()
    assert (alone[:, :4] == 0).all() and np.array_equal(alone[:, 4:], x.numpy()[:, 4:])


def test_borders_follow_each_origin_where_the_division_leaves_a_rest():
    assert shift_borders(64, 5, "paddlevideo") == (12, 25)
    assert shift_borders(64, 5, "mmaction2") == (12, 24)
    assert shift_borders(64, 8, "paddlevideo") == shift_borders(64, 8, "mmaction2") == (8, 16)


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
    assert layer(floats, 3) is floats
    assert np.array_equal(ClipNormalize()(paddle.to_tensor(pixels), 3).numpy(), pixels.astype("float32"))


def test_batch_norm_is_exempt_from_decay_unless_asked():
    exempt, decayed = ConvBN(3, 4, 1), ConvBN(3, 4, 1, bn_wd=True)
    assert exempt._batch_norm.weight.decay_mult == exempt._batch_norm.bias.decay_mult == 0.0
    assert not hasattr(decayed._batch_norm.weight, "decay_mult")


def test_linear_layers_start_at_two_hundredths():
    layer = nn.Linear(400, 300)
    init_linears(layer)
    weight = layer.weight.numpy()
    assert abs(weight.std() - 0.02) < 0.001 and abs(weight.mean()) < 0.001 and (layer.bias.numpy() == 0).all()
