"""``augment``: which steps of PIPELINE.train a level replaces, and where its mistakes are reported."""

import pytest

from paddlevideo.config import load_config
from paddlevideo.errors import ConfigError, UserError

LEAF = "tsm_ucf101_videos"


def steps(config):
    """Names of the steps of PIPELINE.train.transform."""
    section = config.section("PIPELINE")["train"]["transform"]
    return [name for item in section for name in ([item] if isinstance(item, str) else item)]


def with_file(tmp_path, text):
    file = tmp_path / "own.yaml"
    file.write_text(f"_base_: {LEAF}.yaml\n{text}\n")
    return file


def test_a_level_replaces_what_places_pixels_and_keeps_the_rest():
    before, after = load_config(LEAF), load_config(LEAF, ["augment=light"])
    assert steps(before) == ["MultiScaleCrop", "RandomFlip", "Image2Array", "Normalization"]
    assert steps(after) == ["ScaledCrop", "RandomFlip", "ColorJitter", "Image2Array", "Normalization"]
    for part in ("decode", "sample"):
        assert before["PIPELINE"]["train"][part].to_dict() == after["PIPELINE"]["train"][part].to_dict()
    for split in ("valid", "test"):
        assert before["PIPELINE"][split].to_dict() == after["PIPELINE"][split].to_dict()
    assert after["flip"] == "auto" and "augment" not in after and "AUGMENTS" not in after


def test_without_the_key_nothing_changes():
    assert (
        "flip" not in load_config(LEAF) and load_config(LEAF, ["augment=null"]).to_dict() == load_config(LEAF).to_dict()
    )


def test_a_resolved_configuration_loads_to_the_same(tmp_path):
    config = load_config(LEAF, ["augment=strong", "flip=map"])
    file = tmp_path / "config.yaml"
    file.write_text(config.to_yaml())
    assert load_config(file).to_dict() == config.to_dict()


def test_the_size_is_the_file_s_own():
    small = load_config(LEAF, ["augment=light"])["PIPELINE"]["train"]["transform"][0]
    assert small["ScaledCrop"]["target_size"] == 224
    demo = load_config("tsm_motion_demo", ["augment=light"])
    assert demo["PIPELINE"]["train"]["transform"][0]["ScaledCrop"]["target_size"] == 64


@pytest.mark.parametrize("level", ["light", "strong"])
def test_a_file_that_mirrors_nothing_is_not_mirrored(tmp_path, level):
    assert "RandomFlip" not in steps(load_config("tsm_motion_demo", [f"augment={level}"]))
    file = with_file(tmp_path, f"augment: {level}\nPIPELINE: {{train: {{transform: {{RandomFlip: null}}}}}}")
    assert "RandomFlip" not in steps(load_config(file))


def test_mix_is_replaced_removed_or_left():
    file = "pptsm_k400_videos_uniform"
    names = {level: load_config(file, [f"augment={level}"]).get("MIX") for level in ("none", "light", "strong")}
    assert names["none"] is None and names["light"]["name"] == "Mixup" and names["strong"]["name"] == "VideoMix"


def test_a_level_comes_before_other_overrides():
    config = load_config(LEAF, ["PIPELINE.train.transform.0.ScaledCrop.stretch=1.5", "flip=keep", "augment=light"])
    assert config["PIPELINE"]["train"]["transform"][0]["ScaledCrop"]["stretch"] == 1.5 and config["flip"] == "keep"


def test_a_file_s_own_level(tmp_path):
    own = "augment: crops\nAUGMENTS: {crops: {transform: [ScaledCrop, {ColorJitter: {p: 1.0}}]}}"
    config = load_config(with_file(tmp_path, own))
    assert steps(config) == ["ScaledCrop", "ColorJitter", "Image2Array", "Normalization"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("augment: stong", "there is no level 'stong'; did you mean 'strong'"),
        ("augment: 3", "there is no level 3; there are: light, none, strong"),
        ("AUGMENTS: {a: {transform: [ScaledCrop]}}", "augment: is missing"),
        ("AUGMENTS: 3\naugment: light", "AUGMENTS: expected a mapping"),
        (
            "AUGMENTS: {a: {transfrom: []}}\naugment: light",
            "AUGMENTS.a.transfrom: unknown key; did you mean 'transform'",
        ),
        ("AUGMENTS: {a: {transform: ScaledCrop}}\naugment: a", "AUGMENTS.a.transform: expected a list of steps"),
        ("AUGMENTS: {a: {transform: [ScaldCrop]}}\naugment: a", r"there is no transform 'ScaldCrop'.*own.yaml|line 2"),
        ("AUGMENTS: {a: {transform: [{ScaledCrop: {scal: 1}}]}}\naugment: a", "takes no 'scal'"),
        ("augment: light\nPIPELINE: {train: {transform: [RandomFlip]}}", "states the size of a clip's pictures"),
        ("augment: light\nflip: of", "flip: expected one of auto, map, keep, none, got 'of'"),
    ],
)
def test_mistakes_are_reported_with_their_place(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load_config(with_file(tmp_path, text))


def test_a_detector_has_no_levels():
    with pytest.raises(UserError, match="AVADataset has boxes"):
        load_config("ava", ["augment=light"])


def test_a_decoder_that_draws_the_clip_gets_no_step_that_varies_the_time(caplog):
    caplog.set_level("INFO", "paddlevideo")
    steps_of = load_config("slowfast", ["augment=strong"])["PIPELINE"]["train"]
    assert "clip" not in steps_of and "RandAugment" in str(steps_of.to_dict())
    assert "AUGMENTS.strong.clip: left out: DecodeSampler draws the time of a clip itself" in caplog.messages
    assert "TemporalCrop" in str(load_config(LEAF, ["augment=strong"])["PIPELINE"]["train"].to_dict())
