"""The pipeline: order, errors that say where, normalisation, and being rebuilt from its description."""

import pickle

import cv2
import numpy as np
import pytest
import yaml

from paddlevideo.errors import ConfigError
from paddlevideo.loader.decode import FrameReader, VideoReadError
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.pipelines import Pipeline, TransformError
from paddlevideo.loader.pipelines.sampling import Sampler
from tests.clips import numbered_frames, write_clip

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class FakeReader(FrameReader):
    """Grey clip with a gradient; frame i is brighter by i."""

    def __init__(self, count=40, height=48, width=64, error=None):
        self.count, self.fps, self.error, self.closed = count, 30.0, error, False
        self.frame = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)[..., None].repeat(3, -1)

    def __len__(self):
        return self.count

    def get(self, indices, each=None):
        if self.error is not None:
            raise self.error
        frames = [self.frame + np.uint8(i) for i in indices]
        return np.stack(frames if each is None else [each(frame) for frame in frames])

    def close(self):
        self.closed = True


def tsm(train=True, **normalization):
    spatial = [{"MultiScaleCrop": {"target_size": 32}}, {"RandomFlip": None}] if train else [
        {"Scale": {"short_size": 36, "fixed_ratio": False}}, {"CenterCrop": {"target_size": 32}}
    ]  # fmt: skip
    return {
        "decode": {"name": "VideoDecoder", "backend": "decord"},
        "sample": {"name": "Sampler", "num_seg": 8, "seg_len": 1, "valid_mode": not train, "select_left": True},
        "transform": [*spatial, "Image2Array", {"Normalization": {"mean": MEAN, "std": STD, **normalization}}],
    }


def sample(**more):
    return {"filename": "a clip.mp4", "label": 3, "index": 7, "reader": FakeReader(**more)}


def test_clip_comes_out_by_the_contract():
    given = sample()
    out = Pipeline(tsm(), "PIPELINE.train")(given, np.random.default_rng(0))
    assert out["imgs"].shape == (1, 8, 32, 32, 3) and out["imgs"].dtype == np.uint8
    assert out["imgs"].flags.c_contiguous and out["imgs"].flags.owndata
    assert (out["label"], out["index"]) == (3, 7)
    assert given["reader"].closed and "imgs" not in given and "reader" not in out


def test_a_crop_at_the_end_is_made_contiguous():
    section = {
        "decode": {"name": "VideoDecoder"},
        "s": {"name": "Sampler", "num_seg": 2},
        "t": [{"RandomCrop": {"target_size": 9}}],
    }
    assert Pipeline(section, "PIPELINE.test")(sample(), np.random.default_rng(0))["imgs"].flags.c_contiguous


def test_the_generator_decides_and_nothing_else():
    pipeline = Pipeline(tsm(), "PIPELINE.train")
    clips = [pipeline(sample(), np.random.default_rng([1, 0, seed]))["imgs"] for seed in (0, 1, 0)]
    assert (clips[0] == clips[2]).all() and not (clips[0] == clips[1]).all()


def test_steps_run_in_written_order_whatever_their_keys():
    first = {
        "decoder": {"name": "VideoDecoder"},
        "sampler": {"name": "Sampler", "num_seg": 2},
        "t": [{"Scale": {"short_size": 24}}, {"CenterCrop": {"target_size": 20}}],
    }
    other = {**first, "t": first["t"][::-1]}
    out = [Pipeline(s, "p")(sample(), np.random.default_rng(0))["imgs"].shape[2:4] for s in (first, other)]
    assert out == [(20, 20), (32, 24)]  # a square is taken for upright


def test_normalization_is_left_to_the_device_by_default():
    waiting = Pipeline(tsm(False), "p")
    np.testing.assert_allclose(waiting.normalization.mean, MEAN, rtol=1e-6)
    np.testing.assert_allclose(waiting.normalization.std, STD, rtol=1e-6)
    here = Pipeline(tsm(False, device=False), "p")
    assert here.normalization is None
    raw = waiting(sample(), np.random.default_rng(0))["imgs"]
    done = here(sample(), np.random.default_rng(0))["imgs"]
    assert done.dtype == np.float32
    np.testing.assert_allclose(done, (raw / 255 - np.array(MEAN)) / np.array(STD), atol=1e-5)


def test_two_normalizations_are_refused():
    section = tsm()
    section["transform"].append({"Normalization": {"mean": MEAN, "std": STD}})
    with pytest.raises(ConfigError, match=r"PIPELINE.train.transform\[4\].*PIPELINE.train.transform\[3\]"):
        Pipeline(section, "PIPELINE.train")


def test_description_rebuilds_the_pipeline_through_yaml():
    """Interpolations are written out: an export means the same pixels whatever the default becomes."""
    pipeline = Pipeline(tsm(), "PIPELINE.train")
    text = yaml.safe_dump(pipeline.describe(), sort_keys=False)
    again = Pipeline(yaml.safe_load(text), "inference.yml")
    stated = tsm()
    stated["transform"][0]["MultiScaleCrop"]["interpolation"] = "antialias"
    assert again.describe() == pipeline.describe() == stated
    one, other = (p(sample(), np.random.default_rng(3))["imgs"] for p in (pipeline, again))
    np.testing.assert_array_equal(one, other)
    pipeline.describe()["sample"]["num_seg"] = 99  # a copy: the pipeline does not change
    assert pipeline.describe()["sample"]["num_seg"] == 8


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [
        ({"Scale": {"short_size": 24, "backend": "pillow"}}, "linear", "antialias"),
        ({"Scale": {"short_size": 24, "interpolation": "antialias"}}, "antialias", "antialias"),
        ({"Resize": {"scale": [-1, 24]}}, "linear", "linear"),
    ],
)
def test_an_export_without_interpolations_is_read_as_it_was_written(section, old, new):
    section = {"d": {"name": "VideoDecoder"}, "s": {"name": "Sampler", "num_seg": 2}, "t": [section]}
    for build, expected in ((Pipeline.of_export, old), (Pipeline, new)):
        ((arguments,),) = (list(item.values()) for item in build(section, "p").describe()["t"])
        assert arguments["interpolation"] == expected


@pytest.mark.parametrize(
    ("decoder", "expected"),
    [
        ({"name": "VideoDecoder", "backend": "pyav", "mode": "test"}, "linear"),
        ({"name": "VideoDecoder", "backend": "decord"}, "antialias"),
        ({"name": "VideoDecoder"}, "antialias"),  # PaddleVideo's default is cv2
        ({"name": "FrameDecoder"}, "antialias"),
    ],
)
def test_jitter_scale_follows_the_decoder_as_paddlevideos_does(decoder, expected):
    transform = [{"JitterScale": {"min_size": 32, "max_size": 32}}]
    section = {"d": decoder, "s": {"name": "Sampler", "num_seg": 2, "linspace_sample": True}, "t": transform}
    assert Pipeline(section, "p").describe()["t"][0]["JitterScale"]["interpolation"] == expected


def test_what_differs_from_paddlevideo_on_purpose_is_reported():
    section = {"d": {"name": "VideoDecoder", "backend": "pyav"}, "s": {"name": "SampleAVAFrames", "clip_len": 4}}
    noted = Pipeline({**section, "t": [{"RandomCrop_v2": {"size": 32}}, "Flip", {"Scale": {"short_size": 8}}]}, "p")
    assert set(noted.deviations()) == {"VideoDecoder", "SampleAVAFrames", "RandomCrop_v2", "Flip"}
    assert "time window" not in str(Pipeline(tsm(), "p").deviations())


def test_errors_name_key_path_operator_and_file():
    section = tsm(False)
    section["transform"][1]["CenterCrop"]["target_size"] = 64
    reader = sample()
    with pytest.raises(TransformError) as caught:
        Pipeline(section, "PIPELINE.valid")(reader, np.random.default_rng(0))
    text = str(caught.value)
    assert text.startswith("PIPELINE.valid.transform[1] (CenterCrop): ") and text.endswith("[a clip.mp4]")
    assert "\n" not in text and reader["reader"].closed
    again = pickle.loads(pickle.dumps(caught.value))  # as it comes out of a worker process
    assert (str(again), again.where, again.source) == (text, "PIPELINE.valid.transform[1]", "a clip.mp4")


def test_read_errors_pass_unchanged_and_the_reader_is_closed():
    given = sample(error=VideoReadError("a clip.mp4", "truncated", "a test"))
    with pytest.raises(VideoReadError, match="^a clip.mp4: truncated .a test.$"):
        Pipeline(tsm(), "PIPELINE.train")(given, np.random.default_rng(0))
    assert given["reader"].closed


def test_an_operator_that_returns_nothing_is_named_and_the_reader_is_closed(monkeypatch):
    monkeypatch.setattr(Sampler, "__call__", lambda self, sample, rng: None)
    given = sample()
    with pytest.raises(TransformError) as caught:
        Pipeline(tsm(), "PIPELINE.train")(given, np.random.default_rng(0))
    words = "its __call__ returns NoneType, expected the sample, a dict [a clip.mp4]"
    assert str(caught.value) == f"PIPELINE.train.sample (Sampler): {words}"
    assert given["reader"].closed


def test_an_unused_reader_is_closed():
    given = sample()
    out = Pipeline({"decode": {"name": "VideoDecoder"}}, "p")(given, np.random.default_rng(0))
    assert given["reader"].closed and "reader" not in out


def test_files_and_folders_of_frames(tmp_path):
    """The same frames from a video file and from numbered pictures (1-based files, 0-based indices)."""
    frames = np.repeat(20 * np.arange(12, dtype=np.uint8), 64 * 64 * 3).reshape(12, 64, 64, 3)
    write_clip(tmp_path / "a clip.mp4", frames, fps=12)
    for i, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"img_{i + 1:05}.jpg"), frame)
    sampler = {"name": "Sampler", "num_seg": 4, "seg_len": 1, "valid_mode": True, "select_left": True}
    sources = {
        "VideoDecoder": {"filename": str(tmp_path / "a clip.mp4")},
        "FrameDecoder": {"frame_dir": str(tmp_path), "total_frames": 12, "suffix": "img_{:05}.jpg"},
    }
    for decoder, source in sources.items():
        out = Pipeline({"decode": {"name": decoder}, "sample": sampler}, "p")(source, np.random.default_rng(0))
        assert out["imgs"].shape == (1, 4, 64, 64, 3)
        assert np.abs(out["imgs"].mean(axis=(0, 2, 3, 4)) - 20 * np.array([1, 4, 7, 10])).max() < 6


def test_bugs_stay_bugs_with_a_note():
    with pytest.raises(ZeroDivisionError) as caught:
        Pipeline(tsm(), "PIPELINE.train")(sample(error=ZeroDivisionError()), np.random.default_rng(0))
    assert caught.value.__notes__ == ["in PIPELINE.train.sample (Sampler), on a clip.mp4"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "expected a mapping of steps"),
        ({"t": [{"Scael": {"short_size": 3}}]}, r"p\.t\[0\]\.name: .*did you mean 'Scale'"),
        ({"t": [{"Scale": {"short_size": 3}, "Flip": None}]}, r"p\.t\[0\]: expected '- Name:'"),
        ({"t": {"short_size": 3}}, r"p\.t: expected a mapping with 'name'"),
        ({"t": ["MultiCenterCrop"]}, "MultiCenterCrop.*TokenShift"),
        ({"t": [{"Scale": {"short_size": 0}}]}, r"p\.t\[0\].*short_size: expected at least 1"),
    ],
)
def test_malformed_sections(section, message):
    with pytest.raises(ConfigError, match=message):
        Pipeline(section, "p")


def test_paddlevideo_aliases_of_the_tsm_frames_file():
    section = {
        "decode": {"name": "FrameDecoder"},
        "sample": {"name": "Sampler_TSM", "num_seg": 8, "seg_len": 1, "valid_mode": True},
        "transform": [{"Scale_PV": {"short_size": 36}}, {"MultiScaleCrop_TSM": {"target_size": 32}}],
    }
    assert Pipeline(section, "p")(sample(), np.random.default_rng(0))["imgs"].shape == (1, 8, 32, 32, 3)


def test_timesformer_file_with_normalization_first():
    """PaddleVideo's TimeSformer test: window, linspace, normalisation before the spatial steps, three crops."""
    section = {
        "decode": {"name": "VideoDecoder", "backend": "pyav", "mode": "test", "num_seg": 4},
        "sample": {"name": "Sampler", "num_seg": 4, "seg_len": 1, "valid_mode": True, "linspace_sample": True},
        "transform": [
            {"Normalization": {"mean": [0.45] * 3, "std": [0.225] * 3, "tensor_shape": [1, 1, 1, 3]}},
            {"Image2Array": {"data_format": "cthw"}},
            {"JitterScale": {"min_size": 32, "max_size": 32}},
            {"UniformCrop": {"target_size": 32}},
        ],
    }
    out = Pipeline(section, "PIPELINE.test")(sample(), np.random.default_rng(0))["imgs"]
    assert out.shape == (3, 4, 32, 32, 3) and out.dtype == np.uint8
    here = {
        **section,
        "transform": [
            {"Normalization": {**section["transform"][0]["Normalization"], "device": False}},
            *section["transform"][1:],
        ],
    }
    done = Pipeline(here, "PIPELINE.test")(sample(), np.random.default_rng(0))["imgs"]
    assert (
        np.abs(done - (out / 255 - 0.45) / 0.225).max() < 1 / 255 / 0.225
    )  # fixed-point weights and rounding: below one grey level


@pytest.mark.parametrize(("step", "key"), [("sample", "num_seg"), ("sample", "seg_len"), ("scale", "short_size")])
def test_an_exported_argument_without_a_value_is_named(step, key):
    section = {
        "sample": {"name": "Sampler", "num_seg": 4, "seg_len": 1, "valid_mode": True, "select_left": True},
        "scale": {"name": "Scale", "short_size": 72, "fixed_ratio": False, "interpolation": "linear"},
    }
    assert Pipeline.of_export(section, "x").describe() == section
    section[step][key] = None
    with pytest.raises(ConfigError, match=rf"x\.{step}\.{key}: expected .* got None"):
        Pipeline.of_export(section, "x")


@pytest.mark.parametrize("crop", ["CenterCrop", "TenCrop", "RandomCrop"])
def test_pictures_that_are_there_skip_only_what_reads_them(crop):
    section = {
        "decode": {"name": "VideoDecoder"},
        "sample": {"name": "Sampler", "num_seg": 3, "seg_len": 1, "valid_mode": True},
        "transform": [{"Scale": {"short_size": 40}}, {crop: {"target_size": 32}}],
    }
    pipeline, pictures = Pipeline(section, "PIPELINE.test"), numbered_frames(3)
    whole = pipeline({"filename": "", "reader": ArrayReader(pictures)}, np.random.default_rng(1))["imgs"]
    for number, picture in enumerate(pictures):
        given = pipeline.on_pictures({"filename": "", "imgs": picture[None, None]}, np.random.default_rng(1))["imgs"]
        assert np.array_equal(given, whole[:, number : number + 1])
