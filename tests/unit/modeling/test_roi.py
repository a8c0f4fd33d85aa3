"""Region features against a plain RoIAlign, and the extractor's pools, pathways and edges."""

from contextlib import contextmanager

import numpy as np
import paddle
import pytest

from paddlevideo.modeling.roi import SingleRoIExtractor3D, owners, pooled_to, roi_align

STRIDE = 16


def plain_roi_align(picture, box, size, ratio=0, aligned=True):
    """One box in one map [C, h, w], point by point, as Mask R-CNN describes it."""
    x1, y1, x2, y2 = np.asarray(box, "float64") / STRIDE - (0.5 if aligned else 0.0)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    if width <= 0 or height <= 0:
        return np.zeros((len(picture), size, size))
    down, across = (ratio or int(np.ceil(side / size)) for side in (height, width))
    out = np.zeros((len(picture), size, size))
    for i in range(size):
        for j in range(size):
            for p in range(down):
                for q in range(across):
                    y = y1 + (i + (p + 0.5) / down) * height / size
                    x = x1 + (j + (q + 0.5) / across) * width / size
                    out[:, i, j] += between(picture, y, x) / (down * across)
    return out


def between(picture, y, x):
    h, w = picture.shape[1:]
    if y < -1 or y > h or x < -1 or x > w:
        return np.zeros(len(picture))
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = min(int(y), h - 1), min(int(x), w - 1)
    below, right = min(top + 1, h - 1), min(left + 1, w - 1)
    y, x = (0.0 if top == below else y - top), (0.0 if left == right else x - left)
    upper = picture[:, top, left] * (1 - x) + picture[:, top, right] * x
    lower = picture[:, below, left] * (1 - x) + picture[:, below, right] * x
    return upper * (1 - y) + lower * y


BOXES = np.array(
    [
        [10, 12, 90, 80],  # inside
        [-40, -30, 60, 50],  # beyond a corner
        [90, 60, 300, 260],  # beyond the other, more than one point per part
        [300, 300, 400, 400],  # outside
        [20, 20, 20, 60],  # no width
        [20, 20, 60, 20],  # no height
        [60, 60, 20, 20],  # corners the wrong way
        [33, 33, 33.5, 33.25],  # tiny
    ],
    "float32",
)


@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, True), (0, False), (2, False)])
def test_regions_are_those_of_a_plain_roi_align(ratio, aligned):
    maps = np.random.default_rng(0).standard_normal((2, 3, 6, 8)).astype("float32")
    counts = paddle.to_tensor(np.array([3, 5], "int32"))
    got = roi_align(paddle.to_tensor(maps), paddle.to_tensor(BOXES), counts, 4, STRIDE, ratio, aligned).numpy()
    expected = [plain_roi_align(maps[int(i >= 3)], box, 4, ratio, aligned) for i, box in enumerate(BOXES)]
    expected[4:7] = [np.zeros_like(expected[0])] * 3  # without area, in the reference only if aligned
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert not got[3:7].any() and got[7].any()


def extract(features, boxes, counts, **options):
    extractor = SingleRoIExtractor3D(**{"output_size": 2, **options})
    tensors = [paddle.to_tensor(f) for f in features]
    return extractor(tensors if len(tensors) > 1 else tensors[0], paddle.to_tensor(boxes), paddle.to_tensor(counts))


def features(*frames, channels=3):
    rng = np.random.default_rng(1)
    return [rng.standard_normal((2, channels + i, t, 6, 8)).astype("float32") for i, t in enumerate(frames)]


COUNTS = np.array([1, 2], "int32")


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("frames", [(2, 8), (3, 8)])
def test_pooling_over_time_is_that_of_maps_brought_to_one_length(frames, mode):
    maps = features(*frames)
    regions, context = extract(maps, BOXES[:3], COUNTS, temporal_pool_mode=mode)
    long = [m[:, :, np.arange(8) * m.shape[2] // 8] for m in maps]
    pooled = np.concatenate([getattr(m, {"avg": "mean", "max": "max"}[mode])(axis=2) for m in long], axis=1)
    np.testing.assert_allclose(context.numpy()[:, :, 0], pooled, atol=1e-6)
    expected = [plain_roi_align(pooled[int(i > 0)], BOXES[i], 2) for i in range(3)]
    assert regions.shape == [3, 7, 1, 2, 2]
    np.testing.assert_allclose(regions.numpy()[:, :, 0], expected, atol=2e-5)


def test_without_temporal_pooling_every_frame_is_read():
    maps = features(2, 4)
    regions, context = extract(maps, BOXES[:3], COUNTS, with_temporal_pool=False)
    assert regions.shape == [3, 7, 4, 2, 2] and context.shape == [2, 7, 4, 6, 8]
    slow = plain_roi_align(maps[0][1, :, 1], BOXES[1], 2)  # frames 2 and 3 are the second one of the slow map
    for t in (2, 3):
        np.testing.assert_allclose(regions.numpy()[1, :3, t], slow, atol=2e-5)


def test_the_whole_picture_stands_behind_the_region():
    maps = features(2)
    regions, _ = extract(maps, BOXES[:3], COUNTS, with_global=True)
    pooled = maps[0].mean(2).reshape(2, 3, 2, 3, 2, 4).mean((3, 5))
    np.testing.assert_allclose(regions.numpy()[:, 3:, 0], pooled[[0, 1, 1]], atol=1e-6)


def test_owners_skip_samples_without_boxes():
    counts = paddle.to_tensor(np.array([0, 2, 0, 1, 0], "int32"))
    assert owners(paddle.zeros([3, 4]), counts).tolist() == [1, 1, 3]


@pytest.mark.parametrize("options", [{}, {"with_global": True}, {"with_temporal_pool": False}])
def test_no_boxes_give_no_regions(options):
    regions, _ = extract(features(2), BOXES[:0], np.zeros(2, "int32"), **options)
    assert regions.shape[0] == 0 and regions.shape[1] == (6 if options.get("with_global") else 3)


def test_gradients_reach_the_map_and_boxes_without_area_give_none():
    x = paddle.to_tensor(features(2)[0], stop_gradient=False)
    regions, _ = SingleRoIExtractor3D(output_size=2)(x, paddle.to_tensor(BOXES[4:7]), paddle.to_tensor(COUNTS))
    regions.sum().backward()
    assert not x.grad.numpy().any()
    regions, _ = SingleRoIExtractor3D(output_size=2)(x, paddle.to_tensor(BOXES[:1]), paddle.to_tensor([1, 0], "int32"))
    regions.sum().backward()
    assert np.isfinite(x.grad.numpy()).all() and x.grad.numpy()[0].any() and not x.grad.numpy()[1].any()


def test_the_context_is_pooled_in_float32_under_amp(monkeypatch):
    """A product is in half precision under AMP, where a pool is not."""
    states, inside, product = [], [], paddle.matmul

    @contextmanager
    def auto_cast(enable=True):
        states.append(enable)
        yield
        states.pop()

    monkeypatch.setattr(paddle.amp, "auto_cast", auto_cast)
    monkeypatch.setattr(paddle, "matmul", lambda *given, **named: inside.append([*states]) or product(*given, **named))
    pooled_to(paddle.ones([1, 2, 1, 4, 6]), 2)
    assert inside == [[False], [False]]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_the_gradient_of_small_boxes_reaches_the_pixels_that_were_read_alone(ratio, aligned):
    h, w, size = 6, 8, 3
    narrow = np.array([[40, 20, 47, 90], [30, 50, 110, 58], [-20, -20, -10, 40]], "float32")  # below a pixel of the map
    wide = np.array([[-900, -700, 60, 1500]], "float32")  # many points per part, most of them beside the map
    boxes = np.concatenate([BOXES, narrow, wide])
    counts = [5, len(boxes) - 5]
    rng = np.random.default_rng(0)
    features = paddle.to_tensor(rng.standard_normal((2, 1, h, w)).astype("float32"), stop_gradient=False)
    weights = rng.standard_normal((len(boxes), 1, size, size)).astype("float32")
    out = roi_align(features, paddle.to_tensor(boxes), paddle.to_tensor(counts, "int32"), size, STRIDE, ratio, aligned)
    (out * paddle.to_tensor(weights)).sum().backward()

    pixels = np.eye(h * w).reshape(h * w, h, w)  # out is linear: what each pixel alone gives is its derivative
    expected = np.zeros((2, h * w))
    for number, (box, weight) in enumerate(zip(boxes, weights)):
        if (box[2:] > box[:2]).all():  # others give zeros
            expected[int(number >= 5)] += (plain_roi_align(pixels, box, size, ratio, aligned) * weight[0]).sum((1, 2))
    assert np.abs(features.grad.numpy().reshape(2, -1) - expected).max() < 2e-6


def test_no_boxes_have_no_gradient():
    features = paddle.ones([1, 2, 4, 4])
    features.stop_gradient = False
    out = roi_align(features, paddle.zeros([0, 4]), paddle.to_tensor([0], "int32"), 2, STRIDE)
    out.sum().backward()
    assert out.shape == [0, 2, 2, 2] and not features.grad.numpy().any()
