"""A mapping over a list of steps changes the steps that it names: in a file over its base, in a protocol."""

import json

import pytest
import yaml

from paddlevideo.config import load_config
from paddlevideo.errors import ConfigError
from tests.tiny import save, tsm_config


@pytest.fixture
def child(tmp_path):
    """Writes a file over a sound base, and returns its path."""
    config = tsm_config(tmp_path / "clips.list", tmp_path)
    del config["output_dir"]
    colours = {"Normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}
    scale = {"Scale": {"short_size": 40, "fixed_ratio": False}}
    crop = {"RandomCrop": {"target_size": 32}}
    train = [scale, crop, {"RandomFlip": None}, {"Image2Array": None}, colours]
    config["PIPELINE"]["train"]["transform"] = train
    config["PIPELINE"]["test"]["transform"] = [scale, {"CenterCrop": {"target_size": 32}}, *train[3:]]
    save(json.loads(json.dumps(config)), tmp_path / "base.yaml")  # without YAML aliases

    def write(text):
        (tmp_path / "child.yaml").write_text(f"_base_: base.yaml\n{text}")
        return tmp_path / "child.yaml"

    return write


def transforms(file, split="train", overrides=()):
    return load_config(file, overrides)["PIPELINE"][split].to_dict()["transform"]


def problems(file, overrides=()):
    with pytest.raises(ConfigError) as error:
        load_config(file, overrides)
    return str(error.value)


def steps(text, split="train"):
    return f"PIPELINE: {{{split}: {{transform: {text}}}}}\n"


def test_arguments_another_class_and_no_such_step(child):
    before = transforms(child(""))
    assert [next(iter(item)) for item in before] == [
        "Scale",
        "RandomCrop",
        "RandomFlip",
        "Image2Array",
        "Normalization",
    ]
    changed = transforms(
        child(steps("{Scale: {short_size: 50}, RandomCrop: {name: CenterCrop, target_size: 32}, RandomFlip: null}"))
    )
    assert changed[0] == {"Scale": {**before[0]["Scale"], "short_size": 50}}
    assert changed[1:] == [{"CenterCrop": {"target_size": 32}}, *before[3:]]
    assert transforms(child(steps("[Image2Array]")))[0] == "Image2Array"  # a list still replaces


def test_a_step_without_arguments_stays_one_and_may_get_some(child):
    changed = transforms(child(steps("{RandomFlip: {p: 0.25}, Image2Array: {name: Image2Array}}")))
    assert changed[2:4] == [{"RandomFlip": {"p": 0.25}}, {"Image2Array": None}]


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "{RandomFlipp: null}",
            "PIPELINE.train.transform.RandomFlipp: expected a step that the list has once, it has 0",
        ),
        ("{Image2Array: {name: 3}}", "PIPELINE.train.transform[3]"),
        ("{Scale: 5}", "PIPELINE.train.transform.Scale: expected a mapping of arguments, or null"),
        ("{Scale: {short_sizes: 5}}", "PIPELINE.train.transform[0].short_sizes: Scale takes no 'short_sizes'"),
    ],
)
def test_what_cannot_be_changed_is_one_line(child, text, words):
    assert words in problems(child(steps(text)))


def test_a_name_that_the_list_has_twice_is_refused(child, tmp_path):
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["PIPELINE"]["train"]["transform"].insert(0, {"Scale": {"short_size": 60}})
    save(base, tmp_path / "base.yaml")
    assert "transform.Scale: expected a step that the list has once, it has 2" in problems(
        child(steps("{Scale: {short_size: 50}}"))
    )


def test_the_line_of_a_changed_step_is_the_child_s_and_the_others_move_along(child, tmp_path):
    found = problems(child("epochs: 2\n" + steps("{Scale: null, RandomCrop: {sizes: 2}}")))
    assert "PIPELINE.train.transform[0].sizes: RandomCrop takes no 'sizes'" in found and "(line 3)" in found
    base = (tmp_path / "base.yaml").read_text().replace("mean:", "means:", 1)
    (tmp_path / "base.yaml").write_text(base)
    found = problems(child(steps("{RandomFlip: null}")))
    line = next(i for i, text in enumerate(base.splitlines(), 1) if "Normalization" in text)
    assert (
        f"PIPELINE.train.transform[3].means: Normalization takes no 'means'; did you mean 'mean'?  ({tmp_path}" in found
    )
    assert f"/base.yaml:{line})" in found.split("transform[3].means")[1].splitlines()[0]


def test_a_protocol_names_its_crop_and_takes_over_the_rest(child):
    text = (
        "protocol: three\nPROTOCOLS:\n    centre: {}\n    wide: {transform: {CenterCrop: {target_size: 40}}}\n"
        "    three: {sample: {dense_sample: True, select_left: False},"
        " transform: {CenterCrop: {name: ThreeCrop, crop_size: 32}}}\n"
    )
    file = child(text)
    plain = transforms(file, "test", ["protocol=centre"])
    crop = [next(iter(item)) for item in plain].index("CenterCrop")
    three = transforms(file, "test")
    assert three[crop] == {"ThreeCrop": {"crop_size": 32}}
    assert three[:crop] + three[crop + 1 :] == plain[:crop] + plain[crop + 1 :]
    assert transforms(file, "test", ["protocol=wide"])[crop]["CenterCrop"]["target_size"] == 40
    changed = ["PROTOCOLS.three.transform.CenterCrop.crop_size=24", "PIPELINE.test.transform.0.Scale.short_size=50"]
    changed = transforms(file, "test", changed)
    assert (changed[crop]["ThreeCrop"]["crop_size"], changed[0]["Scale"]["short_size"]) == (24, 50)
    found = problems(child(text.replace("crop_size", "size").replace("{CenterCrop: {target", "{MultiCrop: {target")))
    assert "PROTOCOLS.wide.transform.MultiCrop: expected a step that the list has once, it has 0" in found
    assert "PIPELINE.test.transform[1].size: ThreeCrop takes no 'size'" in found and "(line 6)" in found


def test_a_model_name_of_auto_is_the_file_s_name(child, tmp_path):
    config = load_config(child("model_name: auto\n"))
    assert (config["model_name"], str(config.output_dir)) == ("child", "output/child")
    assert load_config(child("model_name: auto\n"), ["model_name=x"])["model_name"] == "x"
    assert load_config(child(""), ["model_name=auto"])["model_name"] == "child"
