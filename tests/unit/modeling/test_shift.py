"""The shift against Paddle's own operator, its borders and gradient, one way only, frame by frame; pooling frames."""

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from paddlevideo.errors import ConfigError
from paddlevideo.modeling.shift import ShiftState, TemporalShift, pool_frames, shift_borders, temporal_shift
from paddlevideo.registry import BACKBONES


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


@pytest.mark.parametrize(
    "name",
    ["ResNetTSM", "ResNetTweaksTSM", "MobileNetV2TSM", "PPTSM_MobileNetV2", "PPTSM_MobileNetV3", "PPTSM_v2"],
)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"num_seg": 16}, 16),  # a file of PaddleVideo's names no share: its network moves 1 / num_seg
        ({"num_seg": 8}, 8),
        ({"num_seg": 16, "shift_div": None}, 16),
        ({"num_seg": 16, "shift_div": 8}, 8),
        ({"num_seg": 16, "shift_direction": "mmaction2"}, 8),  # whose share is 1/8, however many the frames
        ({"num_seg": 1, "shift": False}, 2),
    ],
)
def test_a_share_that_is_not_named_is_that_of_the_reference_and_is_reported(name, given, expected, caplog):
    small = {"width": 8, "depth": 18} if "ResNet" in name else {"scale": 0.25}
    with caplog.at_level("INFO", logger="paddlevideo"):
        network = BACKBONES.build({"name": name, **small, **given}, "MODEL.backbone")
    found = {layer.shift_div for layer in network.sublayers() if isinstance(layer, TemporalShift)}
    assert (network.shift_div, found) == (expected, {expected})
    reported = [record.message for record in caplog.records if "shift_div" in record.message]
    if given.get("shift_div") is None and expected == 16:
        assert len(reported) == 1 and "1/16 of the channels" in reported[0] and "shift_div: 8" in reported[0]
    else:
        assert not reported


def test_one_frame_needs_a_share_that_is_named():
    with pytest.raises(ConfigError, match="num_seg: 1 is not possible with shift_div None"):
        BACKBONES.build({"name": "ResNetTSM", "num_seg": 1}, "MODEL.backbone")


def test_sixteen_frames_equal_paddles_own_operator_throughout_the_network(monkeypatch):
    """The same weights with Paddle's operator in the place of ours, as PaddleVideo calls it."""
    paddle.seed(0)
    network = BACKBONES.build({"name": "ResNetTSM", "depth": 18, "width": 16, "num_seg": 16}, "MODEL.backbone")
    network.eval()
    x = paddle.randn([16, 3, 32, 32])
    ours = network(x).numpy()
    monkeypatch.setattr(TemporalShift, "forward", lambda self, x, state: F.temporal_shift(x, 16, 1.0 / 16))
    assert np.abs(ours - network(x).numpy()).max() < 1e-6 < np.abs(ours).max()


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


@pytest.mark.parametrize(("direction", "past"), [("paddlevideo", slice(0, 2)), ("mmaction2", slice(2, 4))])
def test_online_only_the_group_that_shifts_back_moves(direction, past):
    shifted = by_channel(temporal_shift(frames_by_time(2, 4, 16), 4, 8, direction, mode="online"), 4)
    still = np.ones(16, bool)
    still[past] = False
    for clip in (0, 1):
        assert (shifted[clip, past] == [0, 1, 2, 3]).all() and (shifted[clip, still] == [1, 2, 3, 4]).all()


@pytest.mark.parametrize("direction", ["paddlevideo", "mmaction2"])
@pytest.mark.parametrize("channels", [16, 20, 4])
def test_frame_by_frame_equals_the_clip(direction, channels):
    layer = TemporalShift(5, 8, direction, mode="online")
    clip = paddle.randn([2, 5, channels, 3, 3])
    expected = layer(clip.reshape([10, channels, 3, 3])).reshape(clip.shape).numpy()
    past = []
    for t in range(5):
        state = ShiftState(past)
        assert np.array_equal(layer(clip[:, t], state).numpy(), expected[:, t])
        past = state.present


def test_pooling_frames_equals_the_three_dimensional_pool():
    for frames in (2, 4, 8):
        x = paddle.randn([3 * frames, 5, 2, 2])
        clip = x.reshape([3, frames, 5, 2, 2]).transpose([0, 2, 1, 3, 4])
        expected = F.max_pool3d(clip, [3, 1, 1], [2, 1, 1], [1, 0, 0]).transpose([0, 2, 1, 3, 4])
        assert np.array_equal(pool_frames(x, frames).numpy(), expected.reshape([-1, 5, 2, 2]).numpy())


@pytest.mark.parametrize("direction", ["paddlevideo", "mmaction2"])
@pytest.mark.parametrize("mode", ["offline", "online"])
@pytest.mark.parametrize("num_seg", [1, 4])
def test_gradient_goes_back_the_way_that_values_came(direction, mode, num_seg):
    x, weights = (np.random.default_rng(seed).standard_normal((2 * num_seg, 7, 2, 3)) for seed in (0, 1))
    given = paddle.to_tensor(x.astype("float32"), stop_gradient=False)
    moved = temporal_shift(given, num_seg, 3, direction, mode=mode)
    (moved * paddle.to_tensor(weights.astype("float32"))).sum().backward()
    first, second = shift_borders(7, 3, direction)
    expected, gradient = x.copy(), weights.copy()
    for low, high, steps in ((0, first, 1), (first, second, -1)):
        steps *= 1 if direction == "paddlevideo" else -1
        if steps < 0 and mode == "online":
            continue
        for values, source, way in ((expected, x, steps), (gradient, weights, -steps)):
            clips, out = source.reshape(2, num_seg, 7, 2, 3), values.reshape(2, num_seg, 7, 2, 3)
            out[:, :, low:high] = 0
            if num_seg > 1 and way > 0:
                out[:, 1:, low:high] = clips[:, :-1, low:high]
            elif num_seg > 1:
                out[:, :-1, low:high] = clips[:, 1:, low:high]
    assert np.array_equal(moved.numpy(), expected.astype("float32"))
    assert np.array_equal(given.grad.numpy(), gradient.astype("float32"))
    with paddle.no_grad():
        assert np.array_equal(temporal_shift(given, num_seg, 3, direction, mode=mode).numpy(), moved.numpy())
