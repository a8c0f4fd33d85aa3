"""One key, ``num_seg``, says how many frames a clip has; everything that counts frames follows, or contradicts it."""

import copy
import re

import pytest

from paddlevideo.config import load_config
from paddlevideo.errors import ConfigError
from tests.tiny import ROOT, save, timesformer_config

PP = ROOT / "configs" / "recognition" / "pptimesformer" / "pptimesformer_k400_videos.yaml"
# the page's recipe for 16 frames, as printed
RECIPE = (
    "MODEL.backbone.num_seg=16", "MODEL.runtime_cfg.test.num_seg=16", "MODEL.runtime_cfg.test.avg_type='prob'",
    "PIPELINE.test.decode.num_seg=16", "PIPELINE.test.sample.num_seg=16",
)  # fmt: skip


def numbers(config):
    """Every number of frames in a resolved configuration."""
    model, pipelines = config["MODEL"], config["PIPELINE"]
    steps = [pipelines[split][step]["num_seg"] for split in pipelines for step in ("decode", "sample")]
    return [model["backbone"]["num_seg"], model["runtime_cfg"]["test"]["num_seg"], *steps]


def problems(*arguments, **keywords):
    with pytest.raises(ConfigError) as error:
        load_config(*arguments, **keywords)
    return str(error.value)


def bare(tmp_path):
    """A file in which no place says how many frames."""
    config = timesformer_config(tmp_path / "clips.list", tmp_path)
    config = copy.deepcopy(config)
    del config["MODEL"]["backbone"]["num_seg"], config["MODEL"]["runtime_cfg"]["test"]["num_seg"]
    for steps in config["PIPELINE"].values():
        del steps["sample"]["num_seg"]
    return config


@pytest.mark.parametrize("frames", [8, 16])
def test_one_key_sets_every_place_and_leaves(frames, tmp_path):
    config = load_config(PP, [f"num_seg={frames}"])
    assert numbers(config) == [frames] * 8 and "num_seg" not in config
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert load_config(again).to_dict() == config.to_dict()


def test_the_key_in_a_file_fills_what_has_none(tmp_path):
    config = load_config(save({**bare(tmp_path), "num_seg": 6}, tmp_path / "c.yaml"))
    assert numbers(config) == [6] * 8
    assert "num_seg: is missing" in problems(save(bare(tmp_path), tmp_path / "c.yaml"))


def test_the_page_s_recipe_in_five_places_is_for_a_test():
    config = load_config(PP, RECIPE, uses=("test",))
    assert config["MODEL"]["backbone"]["num_seg"] == config["MODEL"]["runtime_cfg"]["test"]["num_seg"] == 16
    test = config["PIPELINE"]["test"]
    assert test["decode"]["num_seg"] == test["sample"]["num_seg"] == 16
    assert config["MODEL"]["runtime_cfg"]["test"]["avg_type"] == "prob"
    found = problems(PP, RECIPE)  # training would push clips of 8 frames through it
    assert "PIPELINE.train.sample.num_seg: gives 8 frames, MODEL.backbone.num_seg takes 16" in found
    assert "PIPELINE.test" not in found
    assert "PIPELINE.test.sample.num_seg: gives 8" in problems(PP, [*RECIPE[:4]], uses=("test",))


def test_a_file_with_two_numbers_is_reported_with_both(tmp_path):
    config = timesformer_config(tmp_path / "clips.list", tmp_path)
    file = save({**config, "num_seg": 8}, tmp_path / "c.yaml")
    found = problems(file)
    line = int(re.search(r"but MODEL.backbone.num_seg is 4 \(.*/c.yaml:(\d+)\)", found)[1])
    assert file.read_text().splitlines()[line - 1] == "    num_seg: 4"
    assert "num_seg: is 8, but PIPELINE.valid.sample.num_seg is 4" in found and "gives" not in found
    load_config(save({**config, "num_seg": 4}, tmp_path / "c.yaml"))


def test_the_command_line_changes_a_file_s_numbers_and_contradicts_only_itself(tmp_path):
    file = save(timesformer_config(tmp_path / "clips.list", tmp_path), tmp_path / "c.yaml")
    assert numbers(load_config(file, ["num_seg=8"])) == [8] * 8
    for order in (1, -1):
        both = ["num_seg=8", "PIPELINE.test.sample.num_seg=5"][::order]
        assert "num_seg: is 8, but PIPELINE.test.sample.num_seg is 5 (-o)" in problems(file, both)
    assert numbers(load_config(file, ["num_seg=8", "PIPELINE.test.sample.num_seg=8"])) == [8] * 8
    assert numbers(load_config(file, ["num_seg=8", "num_seg=2"])) == [2] * 8


@pytest.mark.parametrize("value", ["0", "true", "many", "2.5", "null"])
def test_what_is_no_number_of_frames(value, tmp_path):
    assert "num_seg: expected a whole number of frames" in problems(PP, [f"num_seg={value}"])


def test_mmaction2_s_samplers_and_protocols_follow():
    folder = ROOT / "configs" / "recognition"
    divided = folder / "timesformer" / "timesformer_divST_8x32x1_15e_kinetics400_rgb.yaml"
    sample = load_config(divided, ["num_seg=16"])["PIPELINE"]["test"]["sample"]
    assert (sample["clip_len"], sample["num_clips"]) == (16, 1)
    tsm = load_config(folder / "tsm" / "tsm_r50_1x1x8_50e_kinetics400_rgb.yaml", ["num_seg=16", "protocol=dense"])
    sample = tsm["PIPELINE"]["test"]["sample"]
    assert (sample["clip_len"], sample["num_clips"], tsm["MODEL"]["backbone"]["num_seg"]) == (1, 16, 16)


def test_teacher_and_student_follow(tmp_path):
    from paddlevideo.config.frames import follow

    def network():
        return {"backbone": {"name": "VisionTransformer"}, "head": {"name": "TimeSformerHead"}}

    data = {"num_seg": 16, "MODEL": {"models": [{"Teacher": network()}, {"Student": network()}]}}
    assert not follow(data, {})
    assert [own["backbone"]["num_seg"] for item in data["MODEL"]["models"] for own in item.values()] == [16, 16]
    assert "counts frames" in follow({"num_seg": 16, "MODEL": {}}, {})[0]


def test_a_step_that_a_protocol_names_in_a_list_follows(tmp_path):
    config = bare(tmp_path)
    config["PIPELINE"]["test"] = {"all": [{"VideoDecoder": None}, {"Sampler": {"seg_len": 1, "valid_mode": True}}]}
    config |= {
        "protocol": "other",
        "PROTOCOLS": {"other": {"all": {"Sampler": {"name": "SampleFrames", "clip_len": 1}}}},
    }
    from paddlevideo.config.frames import follow

    assert not follow(config | {"num_seg": 6}, {})
    assert config["PROTOCOLS"]["other"]["all"]["Sampler"]["num_clips"] == 6
    assert config["PIPELINE"]["test"]["all"][1]["Sampler"]["num_seg"] == 6
