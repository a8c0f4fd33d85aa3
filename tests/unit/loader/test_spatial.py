"""Geometry of the spatial operators, on clips whose pixels say where they were."""

import cv2
import numpy as np
import pytest
from PIL import Image

from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines.cropping import (
    CenterCrop,
    MultiCrop,
    MultiScaleCrop,
    RandomCrop,
    RandomResizedCrop,
    TenCrop,
    ThreeCrop,
    UniformCrop,
    rounded_box,
)
from paddlevideo.loader.pipelines.decode import VideoDecoder
from paddlevideo.loader.pipelines.flipping import Flip, RandomFlip
from paddlevideo.loader.pipelines.normalize import Image2Array, Normalization
from paddlevideo.loader.pipelines.resizing import JitterScale, RandomRescale, Rescale, Resize, Scale, ScalePV, resize
from paddlevideo.multigrid import SHAPE, ClipShape


def grid(height, width, views=1, frames=2):
    """uint8 [V, T, H, W, 3]: channel 0 the row, 1 the column, 2 view and frame."""
    clip = np.zeros((views, frames, height, width, 3), np.uint8)
    clip[..., 0] = np.arange(height)[:, None]
    clip[..., 1] = np.arange(width)
    clip[..., 2] = (10 * np.arange(views)[:, None] + np.arange(frames))[:, :, None, None]
    return clip


def run(op, clip, seed=0, **more):
    return op({"imgs": clip, **more}, np.random.default_rng(seed))


def corner(imgs):
    """Row and column of the first pixel, which must be those of all frames."""
    assert (imgs[:, :, 0, 0, :2] == imgs[0, 0, 0, 0, :2]).all()
    return tuple(imgs[0, 0, 0, 0, :2].tolist())


# ---- sizes ----


@pytest.mark.parametrize(
    ("op", "size", "expected"),
    [
        (Scale(60), (90, 160), (60, 80)),  # 4:3 whatever it was
        (Scale(60), (160, 90), (80, 60)),
        (Scale(60), (60, 200), (60, 200)),  # the short side fits already: untouched
        (Scale(60, fixed_ratio=False), (90, 161), (60, 107)),
        (Scale(60, fixed_ratio=False, keep_ratio=True, do_round=True), (90, 160), (60, 107)),
        (Scale(60, fixed_ratio=False, keep_ratio=False), (90, 160), (60, 60)),
        (ScalePV(60), (161, 90), (107, 60)),
        (Resize([-1, 60]), (90, 160), (60, 107)),
        (Resize([80, 60]), (90, 160), (45, 80)),
        (Resize([80, 60], keep_ratio=False), (90, 160), (60, 80)),
        (Resize(0.5), (91, 160), (46, 80)),
        (JitterScale(60, 60), (90, 161), (60, 107)),
        (JitterScale(60, 60), (161, 90), (107, 60)),
        (RandomRescale([60, 60]), (90, 160), (60, 107)),
    ],
)
def test_new_sizes(op, size, expected):
    out = run(op, grid(*size))["imgs"]
    assert out.shape == (1, 2, *expected, 3) and out.dtype == np.uint8


def test_random_sizes_cover_their_range_with_both_ends():
    clip = grid(20, 20, frames=1)
    for op in (RandomRescale([10, 13]), JitterScale(10, 13)):
        assert {run(op, clip, seed)["imgs"].shape[2] for seed in range(80)} == {10, 11, 12, 13}


def test_multigrid_short_cycle_changes_the_least_size():
    op = JitterScale(64, 64, default_min_size=64)
    shape = {SHAPE: ClipShape(4, 20, short_factor=0.5)}
    sizes = {run(op, grid(40, 40), seed, **shape)["imgs"].shape[2] for seed in range(60)}
    assert min(sizes) < 36 and max(sizes) > 60


NOISE = np.random.default_rng(0).integers(0, 256, (1, 2, 90, 121, 3), dtype=np.uint8)


def pillow(imgs, height, width):
    frames = [Image.fromarray(frame).resize((width, height), Image.BILINEAR) for frame in imgs[0]]
    return np.stack([np.asarray(frame) for frame in frames])[None]


def opencv(imgs, height, width):
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in imgs[0]])[None]


@pytest.mark.parametrize(("height", "width"), [(40, 50), (33, 200), (120, 131)])
def test_antialias_is_pillow_and_linear_is_opencv(height, width):
    np.testing.assert_array_equal(resize(NOISE, height, width, "antialias"), pillow(NOISE, height, width))
    np.testing.assert_array_equal(resize(NOISE, height, width), opencv(NOISE, height, width))
    floats = resize(NOISE.astype(np.float32), height, width, "antialias")  # not rounded, otherwise the same
    assert np.abs(floats - pillow(NOISE, height, width)).max() <= 1.0


@pytest.mark.parametrize(
    ("op", "pixels"),
    [
        (Scale(40, False), pillow),  # what is not written is PaddleVideo's default
        (Scale(40, False, backend="pillow"), pillow),
        (Scale(40, False, backend="cv2"), opencv),
        (Scale(40, False, backend="cv2", interpolation="antialias"), pillow),
        (Scale(40, False, backend="pillow", interpolation="linear"), opencv),
        (ScalePV(40), pillow),
        (JitterScale(40, 40), pillow),
        (MultiScaleCrop([53, 40], scales=[1], fix_crop=False, max_distort=0), None),
        (Resize([53, 40], keep_ratio=False), opencv),  # MMAction2's, and PaddleVideo's for AVA
        (Rescale([-1, 40]), opencv),
        (RandomRescale([40, 40]), opencv),
    ],
)
def test_the_pixels_that_an_operator_gives(op, pixels):
    if pixels is None:  # a crop of 90 x 90 of which only the place is drawn
        left = op.box(90, 121, np.random.default_rng(0))[1]
        np.testing.assert_array_equal(run(op, NOISE)["imgs"], pillow(NOISE[:, :, :, left : left + 90], 40, 53))
        return
    out = run(op, NOISE)["imgs"]
    np.testing.assert_array_equal(out, pixels(NOISE, *out.shape[2:4]))


@pytest.mark.parametrize(
    "op", [Scale(30, interpolation="antialias"), Scale(30), MultiScaleCrop(32), JitterScale(30, 40), Resize([-1, 30])]
)
def test_float_clips_stay_float(op):
    clip = grid(48, 64).astype(np.float32) / 255 - 0.4
    out = run(op, clip)["imgs"]
    assert out.dtype == np.float32 and abs(out[..., 1].mean() - clip[..., 1].mean()) < 0.05


# ---- crops ----


@pytest.mark.parametrize(
    ("op", "size", "expected"),
    [
        (CenterCrop(20), (30, 41), (5, 10)),  # 10.5 rounds to 10
        (CenterCrop(20), (31, 43), (6, 12)),  # 5.5 -> 6, 11.5 -> 12
        (CenterCrop(20, do_round=False), (31, 43), (5, 11)),
        (CenterCrop([24, 20]), (20, 24), (0, 0)),
    ],
)
def test_centre_crop(op, size, expected):
    out = run(op, grid(*size))["imgs"]
    assert corner(out) == expected and out.shape[2:4] == op.size


def test_random_crop_reaches_every_place_and_copies_nothing():
    clip = grid(22, 23)
    places = set()
    for seed in range(120):
        out = run(RandomCrop(20), clip, seed)["imgs"]
        assert out.shape == (1, 2, 20, 20, 3) and out.base is clip
        places.add(corner(out))
    assert places == {(y, x) for y in range(3) for x in range(4)}


def test_random_crop_of_the_whole_picture():
    assert corner(run(RandomCrop(20), grid(20, 20))["imgs"]) == (0, 0)


@pytest.mark.parametrize("op", [RandomCrop(20), CenterCrop(20), UniformCrop(20), TenCrop(20), ThreeCrop(crop_size=20)])
def test_too_small_pictures_are_an_error(op):
    with pytest.raises(UserError, match=r"20 x 20 .* out of a picture of 19 x 40"):
        run(op, grid(19, 40))


def test_three_crops_left_right_centre():
    clip = grid(20, 31, views=2)
    out = run(UniformCrop(20), clip)["imgs"]
    assert out.shape == (6, 2, 20, 20, 3)
    assert out[:, 0, 0, 0, 1].tolist() == [0, 0, 10, 10, 5, 5]  # crop by crop, 2 * step = 10
    assert out[:, 0, 0, 0, 2].tolist() == [0, 10, 0, 10, 0, 10]
    np.testing.assert_array_equal(run(ThreeCrop(20), clip)["imgs"], out)
    tall = run(UniformCrop(20), grid(30, 20))["imgs"]
    assert tall[:, 0, 0, 0, 0].tolist() == [0, 10, 5]
    with pytest.raises(UserError, match="the other must fit exactly"):
        run(UniformCrop(20), grid(30, 31))


def test_ten_crops_and_their_mirrors():
    out = run(TenCrop(crop_size=20), grid(28, 32))["imgs"]
    assert out.shape == (10, 2, 20, 20, 3)
    assert [tuple(view[0, 0, 0, :2]) for view in out[::2]] == [(0, 0), (0, 12), (8, 0), (8, 12), (4, 6)]
    np.testing.assert_array_equal(out[1::2], out[::2][:, :, :, ::-1])
    with pytest.raises(ValueError, match="target_size or crop_size"):
        TenCrop()


def test_multi_scale_crop_geometry():
    """Sides from the scales, at most one step apart, target snapped to, 13 places on the grid."""
    op = MultiScaleCrop(224)
    boxes = [op.box(256, 340, np.random.default_rng(seed)) for seed in range(3000)]
    sides = [256, 224, 192, 168]
    pairs = {(h, w) for h in sides for w in sides if abs(sides.index(h) - sides.index(w)) <= 1}
    assert {(h, w) for _, _, h, w in boxes} == pairs and len(pairs) == 10
    whole = MultiScaleCrop(input_size=224)
    for draw, step_y, step_x in ((op, 21.0, 36.5), (whole, 21, 36)):
        corners = {(y, x) for y in (0, 4) for x in (0, 4)}
        edges = {(2, 0), (2, 4), (4, 2), (0, 2)}
        grid_points = corners | {(2, 2)} | edges | {(1, 1), (1, 3), (3, 1), (3, 3)}
        assert set(draw.places(84, 146)) == {(y * step_y, x * step_x) for y, x in grid_points}
    assert MultiScaleCrop(224).box(225, 225, np.random.default_rng(0))[2] != 225  # within 2 of the target: the target
    free = {MultiScaleCrop(224, fix_crop=False).box(256, 340, np.random.default_rng(s))[1] for s in range(200)}
    assert len(free) > 60
    assert len(MultiScaleCrop(224, more_fix_crop=False).places(12, 12)) == 5
    assert len(MultiScaleCrop(224, more_fix_crop=False).places(0, 0)) == 1
    assert len(MultiScaleCrop(224, more_fix_crop=False, allow_duplication=True).places(0, 0)) == 5
    assert len(MultiScaleCrop(input_size=224, more_fix_crop=False).places(0, 0)) == 5


def test_fractional_places_round_both_ends_to_the_even_pixel():
    """PaddleVideo hands Pillow fractions; a crop can become one pixel larger than it was drawn."""
    assert rounded_box(3.0, 52.5, 78, 90) == (3, 52, 78, 90)
    assert rounded_box(0.0, 50.5, 67, 59) == (0, 50, 67, 60)
    for seed in range(300):
        top, left, h, w = MultiScaleCrop(48).box(91, 160, np.random.default_rng(seed))
        assert 0 <= top <= 91 - h and 0 <= left <= 160 - w


def test_multi_scale_crop_by_input_size_is_mmaction2s_and_leaves_resizing_to_resize():
    op = MultiScaleCrop(input_size=32)
    top, left, h, w = op.box(60, 80, np.random.default_rng(5))
    assert (h, w) in op.sizes(60, 80)
    cut = NOISE[:, :, :60, :80]
    np.testing.assert_array_equal(run(op, cut, 5)["imgs"], cut[:, :, top : top + h, left : left + w])


def test_multi_crop_draws_or_lays_three_along_the_long_side():
    clip = grid(22, 31)
    assert len({corner(run(MultiCrop(20), clip, seed)["imgs"]) for seed in range(400)}) == 3 * 12
    views = run(MultiCrop(20, test_mode=True), clip)["imgs"]
    assert [tuple(view[0, 0, 0, :2]) for view in views] == [(1, 0), (1, 6), (1, 11)]  # half margins are rounded up
    assert run(MultiCrop(20, test_mode=True, num_crops=1), clip)["imgs"].shape[0] == 1
    shape = {SHAPE: ClipShape(4, 12)}
    assert run(MultiCrop(20), clip, **shape)["imgs"].shape[2:4] == (12, 12)


def test_random_resized_crop():
    op = RandomResizedCrop([0.2, 0.5], [0.75, 1.33])
    for seed in range(100):
        top, left, h, w = op.box(60, 80, np.random.default_rng(seed))
        assert 0 <= top <= 60 - h and 0 <= left <= 80 - w
        assert 0.18 < h * w / 4800 < 0.53 and 0.7 < w / h < 1.4
    assert RandomResizedCrop([1, 1], [9, 9]).box(60, 80, np.random.default_rng(0)) == (0, 10, 60, 60)


# ---- mirrors ----


def test_flip_is_one_coin_for_the_whole_clip():
    clip = grid(10, 12, frames=4)
    flipped = 0
    for seed in range(200):
        out = run(RandomFlip(), clip, seed)["imgs"]
        same, mirrored = (out == clip).all(), (out == clip[:, :, :, ::-1]).all()
        assert same != mirrored
        flipped += int(mirrored)
    assert 70 < flipped < 130
    np.testing.assert_array_equal(run(RandomFlip(1.0, "vertical"), clip)["imgs"], clip[:, :, ::-1])


def test_flip_changes_the_label_with_the_picture():
    clip, swap = grid(4, 4), {93: 94, 94: 93}
    assert run(Flip(1.0, flip_label_map=swap), clip, label=93)["label"] == 94
    assert run(Flip(1.0, flip_label_map={"93": 94}), clip, label=93)["label"] == 94  # keys as YAML may write them
    assert run(Flip(0.0, flip_label_map=swap), clip, label=93)["label"] == 93
    assert run(Flip(1.0, flip_label_map=swap), clip, label=5)["label"] == 5
    soft = np.array([0.7, 0.1, 0.2], np.float32)
    np.testing.assert_array_equal(
        run(Flip(1.0, flip_label_map={0: 2, 2: 0}), clip, label=soft)["label"], soft[[2, 1, 0]]
    )
    assert "label" not in run(Flip(1.0, flip_label_map=swap), clip)


def test_flip_changes_the_labels_of_persons():
    labels = np.array([[0, 1, 0, 1], [0, 0, 1, 0]], np.float32)
    flipped = run(Flip(1.0, flip_label_map={1: 2, 2: 1}), grid(4, 4), gt_labels=labels)["gt_labels"]
    np.testing.assert_array_equal(flipped, labels[:, [0, 2, 1, 3]])


# ---- layout, normalisation ----


def test_normalization_waits_for_the_device_or_is_done_here():
    clip = grid(4, 5)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    waiting = Normalization(mean, std, tensor_shape=[1, 1, 1, 3])
    assert run(waiting, clip)["imgs"] is clip and waiting.on_device
    np.testing.assert_allclose(waiting.mean, mean, rtol=1e-6)
    out = run(Normalization(mean, std, device=False), clip)["imgs"]
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, (clip / 255 - np.array(mean)) / np.array(std), atol=1e-5)


def test_inplace_normalization_counts_in_grey_levels():
    op = Normalization([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], inplace=True)
    np.testing.assert_allclose(op.mean, [0.485, 0.456, 0.406], rtol=1e-6)
    np.testing.assert_allclose(op.std, [0.229, 0.224, 0.225], rtol=1e-6)


def test_image2array_leaves_the_clip():
    clip = grid(4, 5)
    assert run(Image2Array(data_format="cthw"), clip)["imgs"] is clip


@pytest.mark.parametrize(
    "build",
    [
        lambda: Scale(60, keep_ratio=True),
        lambda: Scale(60, interpolation="cubic"),
        lambda: Resize([-1, 60], keep_ratio=False),
        lambda: RandomCrop([1, 2, 3]),
        lambda: RandomFlip(1.5),
        lambda: Normalization([0.5], [0.5]),
        lambda: Normalization([0.5] * 3, [0.5, 0, 0.5]),
        lambda: Image2Array(data_format="thwc"),
        lambda: MultiScaleCrop(224, scales=[1.5]),
        lambda: MultiScaleCrop(),
        lambda: MultiScaleCrop(input_size=224, backend="cv2"),
        lambda: Scale(60, backend="pyav"),
        lambda: VideoDecoder(num_clips=2),
        lambda: VideoDecoder(sampling_rate=16),
        lambda: JitterScale(320, 256),
    ],
)
def test_senseless_arguments_are_refused(build):
    with pytest.raises(ValueError):
        build()
