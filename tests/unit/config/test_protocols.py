"""PROTOCOLS: several named ways to test one model in one file, one of them in force."""

import pytest
import yaml

from paddlevideo.config import load_config
from paddlevideo.errors import ConfigError
from tests.tiny import make_clips, save, tsm_config

BIG = [{"Resize": {"scale": [-1, 32]}}, {"ThreeCrop": {"crop_size": 32}}]


@pytest.fixture
def file(tmp_path):
    config = tsm_config(tmp_path / "clips.list", tmp_path)
    config["protocol"] = "centre"
    config["PROTOCOLS"] = {
        "centre": {"sample": {"select_left": False}},
        "three": {"sample": {"dense_sample": True, "select_left": False}, "transform": BIG},
        "other": {"sample": {"name": "SampleFrames", "clip_len": 1, "num_clips": 4, "test_mode": True}},
    }
    return save(config, tmp_path / "config.yaml")


def steps(file, *overrides):
    return load_config(file, overrides).section("PIPELINE")["test"]


def problems(file, *overrides):
    with pytest.raises(ConfigError) as error:
        load_config(file, overrides)
    return str(error.value)


def test_the_chosen_protocol_becomes_pipeline_test(file):
    """Mappings merge, lists replace, another class replaces its whole mapping; the other pipelines stay."""
    config = load_config(file)
    assert steps(file)["sample"]["select_left"] is False
    assert steps(file)["transform"] == config.section("PIPELINE")["valid"]["transform"]
    assert steps(file, "protocol=three")["transform"] == BIG
    assert steps(file, "protocol=three")["sample"]["valid_mode"] is True
    assert steps(file, "protocol=other")["sample"] == {
        "name": "SampleFrames", "clip_len": 1, "num_clips": 4, "test_mode": True,
    }  # fmt: skip
    valid = config.section("PIPELINE")["valid"]
    assert load_config(file, ["protocol=three"]).section("PIPELINE")["valid"] == valid


def test_a_resolved_configuration_is_itself(file, tmp_path):
    resolved = load_config(file, ["protocol=three"])
    assert not {"protocol", "PROTOCOLS"} & set(resolved)
    again = tmp_path / "again.yaml"
    again.write_text(resolved.to_yaml())
    assert load_config(again).to_dict() == resolved.to_dict()


def test_overrides_change_what_was_chosen_in_any_order(file):
    change = "PIPELINE.test.transform.1.ThreeCrop.crop_size=24"
    for overrides in ((change, "protocol=three"), ("protocol=three", change)):
        assert steps(file, *overrides)["transform"][1] == {"ThreeCrop": {"crop_size": 24}}
    changed = steps(file, "PROTOCOLS.three.transform.1.ThreeCrop.crop_size=16", "protocol=three")
    assert changed["transform"][1] == {"ThreeCrop": {"crop_size": 16}}


def test_an_unknown_protocol_names_the_known_ones(file):
    assert "protocol: there is no protocol 'best'; there are: centre, other, three" in problems(file, "protocol=best")
    assert "protocol: there is no protocol 3" in problems(file, "protocol=3")


def test_a_protocol_without_any(tmp_path):
    plain = save(tsm_config(tmp_path / "clips.list", tmp_path), tmp_path / "plain.yaml")
    assert "there is no PROTOCOLS section" in problems(plain, "protocol=three")


def test_every_protocol_is_checked_and_the_line_is_reported(file):
    data = yaml.safe_load(file.read_text())
    data["PROTOCOLS"]["three"]["transform"][1]["ThreeCrop"] = {"size": 3}
    data["PROTOCOLS"]["other"]["sample"]["num_clips"] = 5
    save(data, file)
    found = problems(file)
    assert "PROTOCOLS.three.transform[1].size: ThreeCrop takes no 'size'" in found and "(line " in found
    assert "PROTOCOLS.other.sample.num_clips: gives 5 frames, MODEL.backbone.num_seg takes 4" in found
    assert "PIPELINE.test.transform[1].size" in problems(file, "protocol=three")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"PROTOCOLS": ["centre"]}, "PROTOCOLS: expected a mapping"),
        ({"PROTOCOLS": {"centre": None}}, "PROTOCOLS: expected a mapping"),
        ({"protocol": None}, "protocol: is missing; there are: centre, other, three"),
        ({"PIPELINE": {}}, "PROTOCOLS: there is no PIPELINE.test"),
    ],
)
def test_a_malformed_section_is_one_line(file, change, words):
    save({**yaml.safe_load(file.read_text()), **change}, file)
    assert words in problems(file)


def test_mmaction2_s_samplers_must_give_as_many_frames_as_the_network_takes(tmp_path):
    config = tsm_config(tmp_path / "clips.list", tmp_path)
    for wrong, words in (
        ({"clip_len": 1, "num_clips": 8}, "PIPELINE.test.sample.num_clips: gives 8 frames"),
        ({"clip_len": 8, "num_clips": 4}, "PIPELINE.test.sample.clip_len: gives 8 frames"),
    ):
        config["PIPELINE"]["test"]["sample"] = {"name": "SampleFrames", **wrong}
        assert words in problems(save(config, tmp_path / "c.yaml"))
    config["PIPELINE"]["test"]["sample"] = {"name": "SampleFrames", "clip_len": 4, "num_clips": 3}
    load_config(save(config, tmp_path / "c.yaml"))


def test_main_tests_and_exports_the_protocol_that_was_named(file, tmp_path, capsys, monkeypatch):
    import sys

    import main as command
    from paddlevideo.build import network
    from paddlevideo.inference.export import export
    from paddlevideo.safe_io import write_pickle

    make_clips(tmp_path, 4)
    config = load_config(file, ["protocol=three"])
    weights = tmp_path / "w.pdparams"
    write_pickle(weights, {k: v.numpy() for k, v in network(config, pretrained=False).state_dict().items()})
    monkeypatch.setattr(sys, "argv", ["main.py", "-c", str(file), "--protocol", "three", "--check"])
    assert command.main() == 0
    assert yaml.safe_load(capsys.readouterr().out)["PIPELINE"]["test"]["transform"] == BIG
    monkeypatch.setattr(
        sys,
        "argv",
        ["main.py", "-c", str(file), "--protocol", "three", "--test", "-w", str(weights), "--deterministic"],
    )
    assert command.main() == 0
    export(config, weights, tmp_path / "exported", say=lambda line: None)
    written = yaml.safe_load((tmp_path / "exported" / "inference.yml").read_text())
    resized = {"Resize": {"scale": [-1, 32], "interpolation": "linear"}}
    assert written["pipeline"]["transform"] == [resized, *BIG[1:]] and written["views"] == 30
