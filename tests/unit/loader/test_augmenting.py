"""The levels of ``augment``: one draw for a clip, no frame moved by itself, time and top stay where they are."""

import json

import numpy as np
import pytest

from paddlevideo.config import load_config
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.augmenting import ColorJitter, RandomErasing, ScaledCrop, TemporalCrop

FILES = (
    "tsm_own_videos", "pptsm_k400_videos_uniform", "timesformer_ucf101_videos",
    "tsm_r50_video_1x1x8_50e_kinetics400_rgb", "slowonly_r50_8x8x1_256e_kinetics400_rgb",
)  # fmt: skip
LEVELS = ("none", "light", "strong")


def pipeline(file, level):
    return Pipeline(load_config(file, [f"augment={level}"]).section("PIPELINE")["train"], "PIPELINE.train")


def clip_of(steps, frames, seed):
    reader = ArrayReader(frames, fps=25.0)
    return steps({"reader": reader, "label": 0, "index": 0}, np.random.default_rng(seed))["imgs"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("file", FILES)
def test_frames_that_are_alike_stay_alike(file, level):
    """What is drawn is drawn for the clip: nothing moves that did not move."""
    picture = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype="uint8")
    still = np.broadcast_to(picture, (60, *picture.shape))
    steps = pipeline(file, level)
    for seed in range(6):
        clip = clip_of(steps, still, seed)
        assert clip.dtype == np.uint8 and clip.shape[2:4] == (224, 224)
        assert (clip == clip[:, :1]).all()


class Order(ArrayReader):
    """Black frames; ``read`` has the indices of each clip."""

    def __init__(self):
        super().__init__(np.zeros((64, 32, 32, 3), np.uint8), fps=25.0)
        self.read = []

    def get(self, indices, each=None):
        self.read += list(indices)
        return super().get(indices, each)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("file", FILES[:4])
def test_time_never_runs_backwards(file, level):
    steps, drawn = pipeline(file, level), set()
    for seed in range(8):
        reader = Order()
        steps({"reader": reader, "label": 0, "index": 0}, np.random.default_rng(seed))
        assert (np.diff(reader.read) >= 0).all()
        drawn.add(tuple(reader.read))
    assert len(drawn) > 1 or "timesformer" in file  # its window is longer than this video


def test_top_stays_top():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32] = 200
    for level in ("none", "light"):
        for seed in range(6):
            clip = clip_of(pipeline("tsm_own_videos", level), np.broadcast_to(picture, (16, 64, 64, 3)), seed)
            assert clip[..., :20, :, :].mean() > clip[..., -20:, :, :].mean() + 50


def test_a_draw_is_a_function_of_the_generator():
    frames = np.random.default_rng(1).integers(0, 255, (40, 48, 64, 3), dtype="uint8")
    steps = pipeline("tsm_own_videos", "strong")
    first, again, other = (clip_of(steps, frames, seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_none_is_the_crop_of_the_validation():
    """Up to how the same crop is resized."""
    y, x = np.mgrid[:96, :128]
    picture = np.stack([y * 2, x, 255 - y], 2).astype(np.uint8)
    still = np.broadcast_to(picture, (20, *picture.shape))
    valid = Pipeline(load_config("tsm_own_videos").section("PIPELINE")["valid"], "PIPELINE.valid")
    difference = clip_of(pipeline("tsm_own_videos", "none"), still, 0).astype(int) - clip_of(valid, still, 0)
    assert np.abs(difference).max() <= 3


@pytest.mark.parametrize("size", [(96, 128), (128, 96), (30, 200)])
def test_a_crop_lies_in_the_picture_and_has_the_drawn_scale(size):
    crop, rng = ScaledCrop(32, scale=[0.5, 1.0], stretch=1.3), np.random.default_rng(0)
    boxes = np.array([crop.box(*size, rng) for _ in range(300)])
    top, left, height, width = boxes.T
    assert (boxes >= 0).all() and (top + height <= size[0]).all() and (left + width <= size[1]).all()
    share = np.sqrt(height * width) / min(size)
    assert 0.45 < share.min() < 0.6 and share.max() <= 1.15
    assert (width / height).min() < 0.85 and (width / height).max() > 1.15
    assert left.min() == 0 and (left + width).max() == size[1]  # edges are reached


def test_a_target_that_is_no_square_gets_crops_of_its_shape():
    top, left, height, width = ScaledCrop([64, 32], scale=[1.0, 1.0]).box(100, 100, np.random.default_rng(0))
    assert (height, width, left) == (50, 100, 0)


def test_a_part_of_a_video_is_read_as_if_it_were_the_video():
    reader, read = Order(), set()
    for seed in range(20):
        sample = {"reader": reader, "total_frames": 64}
        part = TemporalCrop([0.5, 0.75])(sample, np.random.default_rng(seed))
        assert 32 <= part["total_frames"] == len(part["reader"]) <= 48
        assert part["reader"].times()[0] == 0.0 and part["reader"].fps == 25.0
        part["reader"].get([0, len(part["reader"]) - 1])
        read |= set(map(int, reader.read))
    assert min(read) >= 0 and max(read) <= 63 and len(read) > 20


def test_a_window_of_the_decoder_is_not_cut():
    sample = {"reader": Order(), "window": (3, 20.0)}
    assert len(TemporalCrop([0.5, 0.5])(sample, np.random.default_rng(0))["reader"]) == 64


def test_erasing_paints_one_box_in_all_frames_of_at_most_its_area():
    clip = np.zeros((1, 4, 50, 60, 3), np.uint8)
    shares = []
    for seed in range(40):
        out = RandomErasing(p=1.0, area=[0.1, 0.2])({"imgs": clip.copy()}, np.random.default_rng(seed))["imgs"]
        assert (out == out[:, :1]).all() and set(np.unique(out)) == {0, 128}
        shares.append((out[0, 0, ..., 0] == 128).mean())
    assert min(shares) > 0.08 and max(shares) < 0.22
    untouched = RandomErasing(p=0.0)({"imgs": clip.copy()}, np.random.default_rng(0))["imgs"]
    assert not untouched.any()


def test_colours_change_within_their_amounts():
    clip = np.full((1, 2, 8, 8, 3), 100, np.uint8)
    jitter = ColorJitter(brightness=0.5, contrast=0.0, saturation=0.0, p=1.0)
    means = [jitter({"imgs": clip}, np.random.default_rng(seed))["imgs"].mean() for seed in range(50)]
    assert 50 <= min(means) < 65 and 135 < max(means) <= 150 and (clip == 100).all()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: ScaledCrop(8, scale=[1.0, 0.5]), "least, greatest"), (lambda: ScaledCrop(8, stretch=0.5), "stretch"),
        (lambda: TemporalCrop([0.5, 1.5]), "least, greatest"), (lambda: RandomErasing(fill=300), "255"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_strong_blends_clips_and_stays_json():
    config = load_config("tsm_own_videos", ["augment=strong"])
    assert config["MIX"]["name"] == "VideoMix"
    json.dumps(Pipeline(config.section("PIPELINE")["train"], "PIPELINE.train").describe())
