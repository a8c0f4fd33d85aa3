"""Boxes and pixels stay together: a drawn rectangle is still where its box says after every transform."""

import numpy as np
import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.decode.reader import FrameReader
from paddlevideo.loader.pipelines import Pipeline, TransformError
from paddlevideo.loader.pipelines.ava_sampling import clip_around
from paddlevideo.registry import TRANSFORMS

HEIGHT, WIDTH = 96, 160
BOX = np.array([[0.25, 0.25, 0.625, 0.75]], np.float32)  # 40, 24, 100, 72


class Rectangle(FrameReader):
    """Frames in memory with the rectangle of ``BOX`` in white on black."""

    fps = 30.0

    def __len__(self):
        return 90

    def get(self, indices):
        frames = np.zeros((len(indices), HEIGHT, WIDTH, 3), np.uint8)
        x1, y1, x2, y2 = np.round(BOX[0] * [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(int)
        frames[:, y1:y2, x1:x2] = 255
        return frames


def key_frame(**more):
    return {
        "reader": Rectangle(),
        "timestamp_s": 1.5,
        "clip_fps": 30,
        "boxes": np.concatenate([BOX, [[0, 0, 0.1, 0.1]]]).astype(np.float32),
        "boxes_norm": np.concatenate([BOX, [[0, 0, 0.1, 0.1]]]).astype(np.float32),
        "box_scores": np.ones(2, np.float32),
        "gt_boxes": np.concatenate([BOX, [[0, 0, 0.1, 0.1]]]).astype(np.float32),
        "gt_labels": np.array([[0, 1, 0], [0, 0, 1]], np.float32),
        **more,
    }


def run(transform, seed=0, **more):
    section = {"sample": {"name": "SampleAVAFrames", "clip_len": 2, "frame_interval": 2}, "transform": transform}
    return Pipeline(section, "PIPELINE.train")(key_frame(**more), np.random.default_rng(seed))


def drawn(imgs):
    """The white rectangle: x1, y1, x2, y2 in pixels, or None."""
    white = imgs[0, 0, :, :, 0] > 127
    if not white.any():
        return None
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


STEPS = {
    "Resize": {"scale": [-1, 50]},
    "Resize stretched": {"scale": [100, 40], "keep_ratio": False},
    "Resize by a factor": {"scale": 1.5},
    "Rescale": {"scale_range": "(-1, 60)"},
    "RandomRescale": {"scale_range": "(60,120)"},
    "JitterScale": {"min_size": 50, "max_size": 120},
    "Scale": {"short_size": 64},
    "Scale_PV": {"short_size": 64},
    "RandomCrop": {"target_size": 70},
    "RandomCrop_v2": {"size": 70},
    "CenterCrop": {"target_size": [100, 60]},
    "RandomResizedCrop": {},
    "MultiScaleCrop": {"target_size": 56},
    "Flip": {"flip_ratio": 0.5},
    "RandomFlip": {"p": 0.5, "direction": "vertical"},
    "Normalize": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_bgr": False},
    "Normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    "Image2Array": {},
    "PackOutput": {"alpha": 4},
}


def step(label):
    return {label.split()[0]: STEPS[label]}


def chains():
    """Every step alone, and thirty random rows of them."""
    rng = np.random.default_rng(0)
    yield from ([label] for label in STEPS)
    for _ in range(30):
        yield list(rng.permutation([name for name in STEPS if "Crop" not in name and "Normal" not in name])[:3]) + [
            "Flip",
            "RandomResizedCrop",
        ]


@pytest.mark.parametrize("chain", chains(), ids=" ".join)
def test_the_box_is_where_the_rectangle_is(chain):
    for seed in range(8):
        sample = run([step(label) for label in chain], seed)
        height, width = sample["imgs"].shape[2:4]
        box, seen = sample["boxes"][0], drawn(sample["imgs"])
        assert sample["boxes"].shape == (2, 4) and (box >= 0).all() and (box <= [width, height, width, height]).all()
        if seen is None:  # cropped away, but for a sliver that interpolation dims
            assert (box[2:] - box[:2]).min() <= 2
        else:
            np.testing.assert_allclose(box, seen, atol=1.6)
        np.testing.assert_array_equal(sample["boxes_norm"], key_frame()["boxes_norm"])


def test_every_step_that_takes_boxes_is_tried_above():
    tried = {label.split()[0] for label in STEPS} | {
        "SampleAVAFrames",
        "RawFrameDecode",
        "VideoDecoder",
        "FrameDecoder",
        "LongTermFeatures",
    }
    takers = {name for name in TRANSFORMS.names() if getattr(TRANSFORMS.get(name), "takes_boxes", False)}
    classes = {TRANSFORMS.get(name) for name in tried}
    assert {name for name in takers if TRANSFORMS.get(name) not in classes} == set()


def test_a_crop_shifts_clips_and_drops_ground_truth_that_is_gone():
    sample = run([{"CenterCrop": {"target_size": 64}}])  # columns 48..111, rows 16..79
    assert sample["boxes"].tolist() == [[0, 8, 52, 56], [0, 0, 0, 0]]
    assert sample["gt_boxes"].tolist() == [[0, 8, 52, 56]] and sample["gt_labels"].tolist() == [[0, 1, 0]]
    assert len(sample["box_scores"]) == 2
    wide = run([{"CenterCrop": {"target_size": 40}}])  # the rectangle is larger: clipped to side - 1, as upstream
    assert wide["boxes"][0].tolist() == [0, 0, 39, 39]


def test_a_mirrored_box():
    sample = run([{"Flip": {"flip_ratio": 1.0}}])
    np.testing.assert_allclose(sample["boxes"][0], [160 - 100, 24, 160 - 40, 72])


def test_the_samples_own_arrays_are_left_alone():
    sample = key_frame()
    before = {key: value.copy() for key, value in sample.items() if isinstance(value, np.ndarray)}
    steps = {"sample": {"name": "SampleAVAFrames", "clip_len": 2}, "transform": [{"Flip": {"flip_ratio": 1.0}}]}
    Pipeline(steps, "PIPELINE.train")(sample, np.random.default_rng(0))
    for key, value in before.items():
        np.testing.assert_array_equal(sample[key], value)


@pytest.mark.parametrize(
    "op",
    [
        {"ThreeCrop": {"crop_size": 96}},
        {"UniformCrop": {"target_size": 96}},
        {"TenCrop": {"crop_size": 50}},
        {"GroupFullResSample": {"crop_size": 50}},
        {"RandAugment": {}},
        {"AugMix": {}},
        {"Imgaug": {"transforms": "default"}},
    ],
    ids=lambda op: next(iter(op)),
)
def test_steps_that_cannot_move_boxes_refuse(op):
    (name,) = op
    with pytest.raises(TransformError, match=rf"PIPELINE\.train\.transform\[0\] \({name}\): .* leave the boxes"):
        run([op])
    section = {"sample": {"name": "SampleAVAFrames", "clip_len": 2}, "transform": [op]}
    with pytest.raises(ConfigError, match=f"{name}: .* leave the boxes"):
        Pipeline(section, "PIPELINE.train").refuse_boxes()


def test_no_person_in_the_picture():
    empty = {"boxes": np.zeros((0, 4), np.float32), "gt_boxes": np.zeros((0, 4), np.float32)}
    empty["gt_labels"] = np.zeros((0, 3), np.float32)
    sample = run([{"RandomRescale": {"scale_range": [60, 80]}}, {"RandomCrop": {"target_size": 50}}, "Flip"], **empty)
    assert sample["boxes"].shape == sample["gt_boxes"].shape == (0, 4) and sample["gt_labels"].shape == (0, 3)


def test_clips_of_the_specification():
    shot = (0, 27000)
    assert clip_around(61, 4, 16, shot).tolist() == [29, 45, 61, 77]
    assert clip_around(61, 32, 2, shot).tolist() == list(range(29, 92, 2))
    assert clip_around(61, 8, 8, shot).tolist() == [29, 37, 45, 53, 61, 69, 77, 85]
    for interval, low, high in [(1, -1, 0), (2, -1, 0), (3, -2, 1), (16, -8, 7)]:
        moved = clip_around(5000, 2000, interval, (-(10**9), None), np.random.default_rng(0))
        moved -= clip_around(5000, 2000, interval, (-(10**9), None))
        assert (moved.min(), moved.max()) == (low, high)


def test_the_split_or_the_step_decides_whether_frames_move():
    class Numbers(Rectangle):
        def get(self, indices):
            return np.broadcast_to(np.asarray(indices, np.uint8)[:, None, None, None], (len(indices), 8, 8, 3)).copy()

    def numbers(step, **more):
        section = {"sample": {"name": "SampleAVAFrames", "clip_len": 4, "frame_interval": 8, **step}}
        imgs = Pipeline(section, "PIPELINE.test")(key_frame(reader=Numbers(), **more), np.random.default_rng(1))["imgs"]
        return imgs[0, :, 0, 0, 0].tolist()

    still = [29, 37, 45, 53]
    assert numbers({}) == numbers({}, training=False) == numbers({"test_mode": True}, training=True) == still
    assert numbers({}, training=True) != still


def test_remarks_of_the_source_reach_the_sample():
    class Remarked(Rectangle):
        remarks = ("a part of it is missing",)

    assert run([], reader=Remarked(), remarks=["first"])["remarks"] == ["first", "a part of it is missing"]


def test_steps_in_the_wrong_place():
    with pytest.raises(TransformError, match="write that before it"):
        Pipeline({"decode": {"name": "RawFrameDecode"}}, "PIPELINE.test")(key_frame(), np.random.default_rng(0))
    with pytest.raises(TransformError, match="needs samples of key frames"):
        Pipeline({"sample": {"name": "SampleAVAFrames", "clip_len": 4}}, "P")({"filename": "a.mp4"}, None)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("RandomRescale", {"scale_range": "256"}, r"expected \[a, b\] or '\(a, b\)'"),
        ("RandomRescale", {"scale_range": "__import__('os')"}, "expected"),
        ("RandomRescale", {"scale_range": "(320, 256)"}, "least, greatest"),
        ("Rescale", {"scale_range": "(0, 256)"}, "scale must be"),
        ("Normalize", {"mean": [1, 2, 3], "std": [1, 1, 1], "to_bgr": True}, "RGB"),
        ("PackOutput", {"alpha": 0}, "alpha: expected at least 1"),
        ("SampleAVAFrames", {"clip_len": 0}, "at least 1"),
    ],
)
def test_bad_arguments(name, arguments, message):
    with pytest.raises(UserError, match=message):
        TRANSFORMS.build({"name": name, **arguments}, "PIPELINE.train")


def test_normalize_is_on_levels():
    op = TRANSFORMS.build({"name": "Normalize", "mean": [255, 0, 51], "std": [255, 51, 51]}, "P")
    np.testing.assert_allclose(op.mean, [1, 0, 0.2]) and np.testing.assert_allclose(op.std, [1, 0.2, 0.2])
