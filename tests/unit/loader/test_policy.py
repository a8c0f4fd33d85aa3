"""Augmentation policies: each operation against its formula and Pillow, each policy against its definition."""

import pickle
from collections import Counter

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.policy import AugMix, Imgaug, PytorchVideoTrans, RandAugment
from paddlevideo.loader.pipelines.policy_operations import LEVEL_OPERATIONS, PLACE_OPERATIONS, apply
from paddlevideo.registry import TRANSFORMS

POLICIES = [Imgaug(), RandAugment(), RandAugment(prob=1.0, num_layers=14), AugMix(), PytorchVideoTrans("AugMix")]
ALL = [*LEVEL_OPERATIONS, *PLACE_OPERATIONS]
# per operation a strong value
STRONG = {
    "Brightness": 1.72, "Contrast": 1.72, "Saturation": 1.72, "Sharpness": 1.72, "AutoContrast": 0,
    "Equalize": 0, "Invert": 0, "Posterize": 3, "Solarize": 100, "ShearX": 0.3, "ShearY": 0.3, "ShearXCentred": 0.3,
    "ShearYCentred": -0.3, "TranslateX": 0.4, "TranslateY": -0.4, "Rotate": 27, "Cutout": (0.18, 0.1, 0.9),
}  # fmt: skip
# the value at which the operation does nothing; those that are missing have none
NEUTRAL = {
    "Brightness": 1, "Contrast": 1, "Saturation": 1, "Sharpness": 1, "Posterize": 8, "Solarize": 256,
    "ShearX": 0, "ShearY": 0, "ShearXCentred": 0, "ShearYCentred": 0, "TranslateX": 0, "TranslateY": 0, "Rotate": 0,
    "Cutout": (0, 0.5, 0.5),
}  # fmt: skip


def picture(seed=0, height=40, width=52, low=20, high=220):
    """uint8 [1, H, W, 3]: smooth patches with noise, like a photograph, levels ``low`` to ``high``."""
    import cv2

    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(low, high, (5, 6, 3)).astype(np.float32), (width, height))
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), low, high).astype(np.uint8)[None]


def frames(count=4, **kwargs):
    """Different pictures: uint8 [count, H, W, 3]."""
    return np.concatenate([picture(seed, **kwargs) for seed in range(count)])


def plain(*levels):
    """One row of grey pixels: uint8 [1, 1, W, 3]."""
    return np.array(levels, np.uint8)[None, None, :, None].repeat(3, axis=3)


def run(op, imgs, seed=0):
    return op({"imgs": imgs}, np.random.default_rng(seed))["imgs"]


# ---- operations, by hand ----


@pytest.mark.parametrize(
    ("name", "value", "levels", "expected"),
    [
        ("Brightness", 1.72, (0, 50, 100, 200), (0, 86, 172, 255)),
        ("Brightness", 0, (0, 50, 200), (0, 0, 0)),
        ("Contrast", 1.5, (50, 100, 150), (25, 100, 175)),  # mean 100
        ("Contrast", 0, (50, 100, 150), (100, 100, 100)),
        ("Saturation", 1.9, (0, 120, 255), (0, 120, 255)),  # grey stays grey
        ("AutoContrast", 0, (50, 100, 150), (0, 128, 255)),
        ("AutoContrast", 0, (70, 70, 70), (70, 70, 70)),
        ("Invert", 0, (0, 100, 255), (255, 155, 0)),
        ("Posterize", 3, (31, 32, 130, 255), (0, 32, 128, 224)),
        ("Posterize", 1, (127, 128, 255), (0, 128, 128)),
        ("Posterize", 0, (127, 128, 255), (0, 0, 0)),
        ("Solarize", 230.4, (0, 230, 231, 255), (0, 230, 24, 0)),
        ("Solarize", 0, (0, 100, 255), (255, 155, 0)),
    ],
)
def test_levels_by_hand(name, value, levels, expected):
    np.testing.assert_array_equal(apply(plain(*levels), name, value), plain(*expected))


def test_saturation_by_hand():
    red = np.array([[[[200, 100, 50]]]], np.uint8)
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    np.testing.assert_array_equal(apply(red, "Saturation", 0)[0, 0, 0], [round(grey)] * 3)
    expected = np.rint(grey + 1.5 * (red - grey))
    np.testing.assert_array_equal(apply(red, "Saturation", 1.5), expected)


def test_sharpness_by_hand():
    clip = np.zeros((1, 5, 5, 3), np.uint8)
    clip[0, 2, 2] = 130
    blurred = apply(clip, "Sharpness", 0)[0, :, :, 0]
    np.testing.assert_array_equal(blurred[1:4, 1:4], [[10, 10, 10], [10, 50, 10], [10, 10, 10]])
    assert apply(clip, "Sharpness", 1.5)[0, 2, 2, 0] == 170  # 50 + 1.5 * 80
    stacked = frames(3)
    each = np.concatenate([apply(stacked[t : t + 1], "Sharpness", 1.72) for t in range(3)])
    np.testing.assert_array_equal(apply(stacked, "Sharpness", 1.72), each)  # frames do not bleed into one another


def test_equalize_makes_the_histogram_flat():
    clip = np.random.default_rng(0).normal(110, 8, (1, 40, 52, 3)).astype(np.uint8)
    out = apply(clip, "Equalize", 0)
    for c in range(3):
        np.testing.assert_allclose(np.quantile(out[..., c], (0.25, 0.5, 0.75)), (64, 128, 191), atol=16)
    np.testing.assert_array_equal(apply(plain(7, 7, 9), "Equalize", 0), plain(7, 7, 9))  # too few pixels to spread


def test_moves_by_hand():
    clip = np.zeros((1, 10, 20, 3), np.uint8)
    clip[0, 4, 10] = 200
    moved = apply(clip, "TranslateX", 0.25, fill=7)
    assert moved[0, 4, 5, 0] == 200 and (moved[0, :, 15:] == 7).all() and (moved[0, :, :15] != 7).all()
    assert apply(clip, "TranslateY", -0.2)[0, 6, 10, 0] == 200
    column = np.zeros((1, 9, 21, 3), np.uint8)
    column[0, :, 10] = 200
    bent = apply(column, "ShearXCentred", 1.0)[0, :, :, 0]
    assert bent[4, 10] == 200 and bent[0, 14] == 200 and bent[8, 6] == 200  # the middle row stays
    hung = apply(column, "ShearX", 1.0)[0, :, :, 0]
    assert hung[0, 9] == 100 and hung[0, 10] == 100  # half a pixel at the first row: the top edge stays
    assert hung[4, 5] == 100 and hung[4, 6] == 100
    np.testing.assert_array_equal(
        apply(column, "ShearX", 0.3), apply(column.transpose(0, 2, 1, 3).copy(), "ShearY", 0.3).transpose(0, 2, 1, 3)
    )


def test_rotation_is_counter_clockwise_around_the_middle():
    clip = picture(height=41, width=41)
    turned = apply(clip, "Rotate", 90)
    np.testing.assert_allclose(turned[0].astype(int), np.rot90(clip[0]).astype(int), atol=1)


def test_cutout_is_one_square_clipped_to_the_picture():
    clip = np.zeros((3, 100, 150, 3), np.uint8)
    out = apply(clip, "Cutout", (0.18, 0.5, 0.4), fill=128)
    assert (out[:, 41:59, 51:69] == 128).all() and (out == 128).sum() == 3 * 18 * 18 * 3
    corner = apply(clip, "Cutout", (0.18, 0, 0), fill=128)
    assert (corner[:, :9, :9] == 128).all() and (corner == 128).sum() == 3 * 9 * 9 * 3
    assert (apply(clip, "Cutout", (0.18, 1, 1))[:, 91:, 141:] == 128).all()


# ---- operations, with Pillow as judge ----


def pillow(name, value):
    """The same operation on a Pillow picture."""
    from PIL import Image, ImageEnhance, ImageOps

    def affine(*matrix):
        return lambda p: p.transform(
            p.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)
        )

    width, height = 52, 40
    return {
        "Brightness": lambda p: ImageEnhance.Brightness(p).enhance(value),
        "Contrast": lambda p: ImageEnhance.Contrast(p).enhance(value),
        "Saturation": lambda p: ImageEnhance.Color(p).enhance(value),
        "Sharpness": lambda p: ImageEnhance.Sharpness(p).enhance(value),
        "AutoContrast": ImageOps.autocontrast,
        "Equalize": ImageOps.equalize,
        "Invert": ImageOps.invert,
        "Posterize": lambda p: ImageOps.posterize(p, value),
        "Solarize": lambda p: ImageOps.solarize(p, value),
        "ShearX": affine(1, value, 0, 0, 1, 0),
        "ShearY": affine(1, 0, 0, value, 1, 0),
        "TranslateX": affine(1, 0, (value if name == "TranslateX" else 0) * width, 0, 1, 0),
        "TranslateY": affine(1, 0, 0, 0, 1, (value if name == "TranslateY" else 0) * height),
        "Rotate": lambda p: p.rotate(value, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)),
    }[name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, f) for name in ("Brightness", "Contrast", "Saturation", "Sharpness") for f in (0.1, 0.37, 1.72, 1.9)),
        *((name, 0) for name in ("AutoContrast", "Equalize", "Invert")),
        *(("Posterize", bits) for bits in (1, 2, 3, 4)),
        *(("Solarize", threshold) for threshold in (25.5, 128, 230.4)),
        *((name, f) for name in ("ShearX", "ShearY", "TranslateX", "TranslateY") for f in (0.27, -0.13)),
        *(("Rotate", degrees) for degrees in (27, -12.5)),
    ],
)
def test_operations_equal_pillow(name, value):
    """Within 1 level (Pillow cuts off where this rounds); 2 for sharpness, which Pillow rounds twice."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is the judge here, and it is not installed")
    clip = frames()
    ours = apply(clip, name, value).astype(int)
    theirs = np.stack([np.asarray(pillow(name, value)(image.fromarray(f))) for f in clip]).astype(int)
    if name in PLACE_OPERATIONS:
        inside = apply(np.zeros_like(clip), name, value, fill=255) == 0  # at the border Pillow does not blend
        assert 0.4 < inside.mean() < 0.95
        ours, theirs = ours[inside], theirs[inside]
    assert abs(ours - theirs).max() <= (2 if name == "Sharpness" else 0 if name in ("Equalize", "Invert") else 1)


# ---- operations, what must hold for all ----


@pytest.mark.parametrize("name", ALL)
def test_operations_give_a_new_clip_of_the_same_kind(name):
    clip = frames(3, low=0, high=255)
    kept = clip.copy()
    out = apply(clip, name, STRONG[name])
    assert out.dtype == np.uint8 and out.shape == clip.shape and not np.shares_memory(out, clip)
    np.testing.assert_array_equal(clip, kept)
    assert (out != clip).any()


@pytest.mark.parametrize("name", ALL)
def test_equal_frames_stay_equal(name):
    out = apply(picture().repeat(3, axis=0), name, STRONG[name])
    assert (out == out[:1]).all()


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_value_changes_nothing(name):
    clip = frames(2, low=0, high=255)
    np.testing.assert_array_equal(apply(clip, name, NEUTRAL[name]), clip)


# ---- policies ----


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
def test_one_draw_per_clip(policy):
    """Views and frames that are equal stay equal, whatever is drawn; the given clip is left alone."""
    imgs = picture(low=0, high=255)[None].repeat(2, axis=0).repeat(3, axis=1)  # [2, 3, H, W, 3]
    kept, changed = imgs.copy(), 0
    for seed in range(60):
        out = run(policy, imgs, seed)
        assert out.shape == imgs.shape and out.dtype == np.uint8
        assert (out == out[:1, :1]).all(), seed
        changed += int((out != imgs).any())
    assert changed > 25
    np.testing.assert_array_equal(imgs, kept)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: type(p).__name__)
def test_the_generator_decides_alone(policy):
    imgs = frames(3)[None]
    again = pickle.loads(pickle.dumps(policy))  # as it travels to a worker
    results = []
    for seed in range(5):
        first = run(policy, imgs, seed)
        run(policy, imgs, seed + 100)  # no state in between
        np.testing.assert_array_equal(run(again, imgs, seed), first)
        results.append(first.tobytes())
    assert len(set(results)) > 2


def test_imgaug_applies_two_of_fifteen_at_level_nine():
    draws = [Imgaug().draw(np.random.default_rng(seed)) for seed in range(3000)]
    assert {len(steps) for steps in draws} == {2}
    assert all(first[0] != second[0] for first, second in draws)
    values = {}
    for name, value in (step for steps in draws for step in steps):
        values.setdefault(name, set()).add(value if name != "Cutout" else value[0])
    shear = np.tan(np.deg2rad(15.471))
    expected = {
        "ShearXCentred": {shear, -shear}, "ShearYCentred": {shear, -shear}, "TranslateX": {0.18, -0.18},
        "TranslateY": {0.18, -0.18}, "Rotate": {27, -27}, "Posterize": {3}, "Solarize": {230.4}, "Saturation":
        {1.72}, "Contrast": {1.72}, "Brightness": {1.72}, "Sharpness": {1.72}, "AutoContrast": {0}, "Equalize":
        {0}, "Invert": {0}, "Cutout": {0.18},
    }  # fmt: skip
    assert values.keys() == expected.keys() and len(expected) == 15
    for name, wanted in expected.items():
        np.testing.assert_allclose(sorted(values[name]), sorted(wanted))
    counts = Counter(name for steps in draws for name, _ in steps)
    assert all(300 < count < 500 for count in counts.values())  # 400 each
    places = [value for steps in draws for name, value in steps if name == "Cutout"]
    assert np.ptp([place[1] for place in places]) > 0.9 and np.ptp([place[2] for place in places]) > 0.9


def test_imgaug_fills_black_and_cuts_grey():
    imgs = np.full((1, 1, 60, 60, 3), 200, np.uint8)
    moves = {"Rotate", "TranslateX", "TranslateY", "ShearXCentred", "ShearYCentred"}
    seen = Counter()
    for seed in range(300):
        names = {name for name, _ in Imgaug().draw(np.random.default_rng(seed))}
        out = run(Imgaug(), imgs, seed)
        if names <= moves:
            seen["moved"] += 1
            assert set(np.unique(out)) >= {0, 200}
        if "Cutout" in names:  # the last of the list, so nothing changes its grey
            seen["cut"] += 1
            assert 128 in out
    assert min(seen["moved"], seen["cut"]) > 5


def test_rand_augment_levels_by_hand():
    """Magnitude 9 without spread: the values of the paper's table at 0.9."""
    op = RandAugment(prob=1.0, num_layers=14, sampling_std=0.0)
    values = {}
    for seed in range(60):
        steps = op.draw(np.random.default_rng(seed))
        assert len({name for name, _ in steps}) == 14  # without replacement
        for name, value in steps:
            values.setdefault(name, set()).add(round(value, 9))
    signed = {"Rotate": 27, "ShearX": 0.27, "ShearY": 0.27, "TranslateX": 0.405, "TranslateY": 0.405}
    for name, value in signed.items():
        assert values[name] == {value, -value}
    for name in ("Brightness", "Contrast", "Saturation", "Sharpness"):
        assert values[name] == {1.81, 0.19}
    assert values["Posterize"] == {1} and values["Solarize"] == {25.5}
    assert values["AutoContrast"] == values["Equalize"] == values["Invert"] == {0}


def test_rand_augment_draws_how_many_and_how_strong():
    draws = [RandAugment().draw(np.random.default_rng(seed)) for seed in range(2000)]
    counts = Counter(len(steps) for steps in draws)
    assert abs(counts[0] - 500) < 80 and abs(counts[1] - 1000) < 120 and abs(counts[2] - 500) < 80
    assert Counter(name for steps in draws for name, _ in steps).keys() == {
        *LEVEL_OPERATIONS, "Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY",
    }  # fmt: skip
    turns = np.abs([value for steps in draws for name, value in steps if name == "Rotate"])
    assert turns.max() <= 30 and abs(np.mean(turns) - 27) < 0.6 and 0.8 < np.std(turns) < 2.2  # 3 x N(9, 0.5)


def test_rand_augment_without_strength():
    """At magnitude 0 what has a strength does nothing, except posterize, which starts at 4 bits."""
    op = RandAugment(magnitude=0, prob=1.0, num_layers=14, sampling_std=0.0)
    clip = frames(2)
    for name, value in op.draw(np.random.default_rng(0)):
        if name in ("Posterize", "AutoContrast", "Equalize", "Invert"):
            assert value == (4 if name == "Posterize" else 0)
        else:
            np.testing.assert_array_equal(apply(clip, name, value), clip)
    imgs = clip[None]
    assert run(RandAugment(prob=0.0), imgs).tobytes() == imgs.tobytes()


def test_unit_levels_repeat_what_uint8_does_to_the_reference():
    """There the threshold 1 - m / 10 and the fill value 0.5 meet clips of 0..255."""
    op = RandAugment(prob=1.0, num_layers=14, sampling_std=0.0, unit_levels=True)
    steps = dict(op.draw(np.random.default_rng(0)))
    assert steps["Solarize"] == pytest.approx(0.1)
    assert apply(plain(0, 1, 200), "Solarize", steps["Solarize"])[0, 0, :, 0].tolist() == [0, 254, 55]
    white = np.full((1, 1, 40, 40, 3), 255, np.uint8)
    lowest = {}
    for unit_levels in (False, True):
        op = RandAugment(prob=1.0, num_layers=1, unit_levels=unit_levels)
        seeds = [s for s in range(300) if op.draw(np.random.default_rng(s))[0][0] == "TranslateX"]
        lowest[unit_levels] = {int(run(op, white, s).min()) for s in seeds}
    assert lowest == {False: {128}, True: {0}}


def test_aug_mix_draws_by_its_definition():
    op = AugMix()
    kept, depths, names, values = [], Counter(), Counter(), {}
    for seed in range(1500):
        share, chains = op.draw(np.random.default_rng(seed))
        kept.append(share)
        assert len(chains) == 3 and share + sum(weight for weight, _ in chains) == pytest.approx(1)
        for _, steps in chains:
            depths[len(steps)] += 1
            names.update(name for name, _ in steps)
            for name, value in steps:
                values.setdefault(name, []).append(value)
    assert abs(np.mean(kept) - 0.5) < 0.03 and min(kept) < 0.02 and max(kept) > 0.98  # Beta(1, 1)
    assert depths.keys() == {1, 2, 3} and min(depths.values()) > 1350
    assert len(names) == 13 and "Invert" not in names and min(names.values()) > 550
    limits = {"Rotate": 9, "ShearX": 0.09, "TranslateX": 0.1}
    for name, limit in limits.items():
        assert 0.97 * limit < max(np.abs(values[name])) <= limit and min(values[name]) < 0
    assert min(values["Contrast"]) >= 0.118 and max(values["Contrast"]) <= 0.64  # 0.1 + 0.18 m, m in [0.1, 3)
    assert set(values["Posterize"]) == {3, 4}  # 4 - int(0.4 m)
    assert min(values["Solarize"]) >= 0.7 * 255 and max(values["Solarize"]) <= 0.99 * 255


def test_aug_mix_is_the_weighted_sum_of_its_chains():
    imgs, op = frames(2)[None], AugMix()
    for seed in range(10):
        kept, chains = op.draw(np.random.default_rng(seed))
        expected = kept * imgs[0].astype(float)
        for weight, steps in chains:
            part = imgs[0]
            for name, value in steps:
                part = apply(part, name, value)
            expected += weight * part
        np.testing.assert_allclose(run(op, imgs, seed)[0], expected, atol=0.51)
    assert {len(steps) for _, steps in AugMix(depth=5, width=7).draw(np.random.default_rng(0))[1]} == {5}


def test_crops_that_are_windows_into_larger_clips_are_taken():
    whole = frames(2, height=60, width=70)[None]
    window = whole[:, :, 5:45, 9:61]
    for policy in POLICIES:
        np.testing.assert_array_equal(run(policy, window, 3), run(policy, window.copy(), 3))


def test_mmaction_names_lead_here():
    imgs = frames(2)[None]
    for name, direct in (("RandAugment", RandAugment()), ("AugMix", AugMix())):
        built = TRANSFORMS.build({"name": "PytorchVideoTrans", "trans_type": name}, "PIPELINE")
        np.testing.assert_array_equal(run(built, imgs, 4), run(direct, imgs, 4))
        assert type(TRANSFORMS.build({"name": f"PytorchVideo{name}"}, "PIPELINE")) is type(direct)
    assert TRANSFORMS.build({"name": "Imgaug", "transforms": "default"}, "PIPELINE")


def test_a_normalised_clip_is_refused_with_the_way_out():
    step = {"Normalization": {"mean": [0.5] * 3, "std": [0.5] * 3, "device": False}}
    pipeline = Pipeline({"transform": [step, "RandAugment"]}, "PIPELINE.train")
    with pytest.raises(UserError, match=r"transform\[1\] \(RandAugment\).*float32; put it before Normalization"):
        pipeline({"imgs": frames(2)[None]}, np.random.default_rng(0))
    step["Normalization"]["device"] = True  # the default: uint8 flows through, in any order
    pipeline = Pipeline({"transform": [step, "RandAugment"]}, "PIPELINE.train")
    assert pipeline({"imgs": frames(2)[None]}, np.random.default_rng(0))["imgs"].dtype == np.uint8


@pytest.mark.parametrize(
    "build",
    [
        lambda: Imgaug("all"),
        lambda: RandAugment(magnitude=11),
        lambda: RandAugment(num_layers=15),
        lambda: RandAugment(prob=2),
        lambda: AugMix(magnitude=0),
        lambda: AugMix(depth=0),
        lambda: AugMix(alpha=0),
        lambda: PytorchVideoTrans("MixUp"),
    ],
)
def test_senseless_arguments_are_refused(build):
    with pytest.raises(ValueError):
        build()
