"""Reading, inheriting, overriding and checking a configuration."""

import subprocess
import sys
from pathlib import Path

import pytest

from paddlevideo.build import load_run_config
from paddlevideo.config import load_config
from paddlevideo.config.merging import read_with_bases
from paddlevideo.errors import ConfigError, UserError

ROOT = Path(__file__).resolve().parents[3]

SOUND = """
MODEL:
    framework: Recognizer2D
    backbone: {name: ResNetTSM, depth: 50, num_seg: 8}
    head: {name: TSMHead, num_classes: 10, in_channels: 2048}
DATASET:
    batch_size: 4
    train: {format: VideoDataset, file_path: a.list}
PIPELINE:
    train:
        decode: {name: VideoDecoder}
        sample: {name: Sampler, num_seg: 8, seg_len: 1, valid_mode: False, select_left: True}
        transform:
            - RandomCrop: {target_size: 224}
            - RandomFlip:
            - Normalization: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
OPTIMIZER:
    name: Momentum
    momentum: 0.9
    learning_rate: {name: PiecewiseDecay, boundaries: [20, 40], values: [0.02, 0.002, 0.0002]}
    weight_decay: {name: L2, value: 1e-4}
model_name: TSM
epochs: 50
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="config.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def problems(file, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides)
    return caught.value.problems


def test_a_sound_file_loads_and_is_frozen(write):
    config = load_config(write(SOUND))
    assert config["OPTIMIZER"]["weight_decay"]["value"] == 1e-4  # a number although YAML 1.1 says text
    with pytest.raises(TypeError):
        config["epochs"] = 3
    config["OPTIMIZER"]["learning_rate"]["values"].append(7)
    assert len(config["OPTIMIZER"]["learning_rate"]["values"]) == 3


def test_the_resolved_yaml_loads_back_to_the_same(write):
    config = load_config(write(SOUND), ["epochs=3"])
    assert load_config(write(config.to_yaml(), "again.yaml")).to_dict() == config.to_dict()


def test_all_mistakes_are_reported_at_once_with_path_suggestion_and_line(write):
    text = SOUND.replace("target_size: 224", "target_sizes: 224").replace("name: TSMHead", "name: TSMhead")
    text = text.replace("epochs: 50", "epocs: 50").replace("batch_size: 4", "batch_size: four")
    found = problems(write(text))
    assert len(found) == 5  # the fifth: target_size is missing
    joined = "\n".join(found)
    assert (
        "PIPELINE.train.transform[0].target_sizes: RandomCrop takes no 'target_sizes'; did you mean 'target_size'?"
        in joined
    )
    assert "MODEL.head.name: there is no head 'TSMhead'; did you mean 'TSMHead'?" in joined
    assert "epocs: unknown key; did you mean 'epochs'?" in joined
    assert "DATASET.batch_size: expected int, got 'four'  (line 7)" in joined


TYPOS = {
    "model_name": "model_nam",
    "epochs": "epoch",
    "framework": "framewrok",
    "backbone": "backbon",
    "depth": "dept",
    "num_seg: 8}\n    head": "num_segs: 8}\n    head",
    "ResNetTSM": "ResnetTSM",
    "in_channels": "in_channel",
    "num_classes": "num_class",
    "DATASET": "DATASETS",
    "PIPELINE": "PIPELINES",
    "VideoDataset": "VideoDatset",
    "VideoDecoder": "VideoDecode",
    "name: Sampler": "name: Smpler",
    "valid_mode": "valid_mod",
    "select_left": "selectleft",
    "RandomCrop": "RandomCorp",
    "RandomFlip": "RandomFlipp",
    "mean": "means",
    "file_path": "filepath",
    "format": "fromat",
    "batch_size": "batchsize",
}


@pytest.mark.parametrize("right", TYPOS)
def test_a_typo_is_an_error_that_names_the_right_word(write, right):
    found = "\n".join(problems(write(SOUND.replace(right, TYPOS[right], 1))))
    word = right.split(":")[0] if right.startswith("num_seg") else right.rsplit(" ", 1)[-1]
    assert repr(word) in found or f"{word}: is missing" in found, found


def test_a_key_given_twice_is_an_error_with_both_lines(write):
    found = problems(write(SOUND + "epochs: 60\n"))
    assert len(found) == 1 and found[0].startswith("epochs: given twice")


def test_yaml_merge_keys_work(write):
    text = SOUND.replace("model_name: TSM", "model_name: TSM\nEMA: {<<: {decay: 0.5, interval: 2}, decay: 0.9}")
    assert load_config(write(text))["EMA"].to_dict() == {"decay": 0.9, "interval": 2}


def test_numbers_of_base_8_and_60_are_errors_in_a_file_and_text_in_an_override(write):
    found = problems(write(SOUND.replace("epochs: 50", "epochs: 050").replace("batch_size: 4", "batch_size: 1:30")))
    assert len(found) == 2 and "batch_size (line 7): YAML reads 1:30 as the number 90" in found[0]
    assert "epochs (line" in found[1] and "YAML reads 050 as the number 40; write that, or quote it" in found[1]
    assert "epochs: expected int, got '010'" in problems(write(SOUND), "epochs=010")[0]
    assert load_config(write(SOUND), ["output_dir=0012"])["output_dir"] == "0012"


def test_a_section_that_is_null_is_left_out(write):
    file = write(SOUND.replace("model_name: TSM", "model_name: TSM\nEMA: {decay: 0.9}\nMIX: {name: Mixup}"))
    assert "EMA" not in load_config(file, ["EMA=null"]) and "MIX" not in load_config(file, ["MIX=null"])


def test_inference_may_stand_twice_as_in_a_released_file(write):
    assert load_config(write(SOUND + "INFERENCE: {name: a}\nINFERENCE: {name: b}\n"))["epochs"] == 50


def test_frame_counts_must_agree(write):
    found = problems(write(SOUND), "MODEL.backbone.num_seg=16")
    assert found[0].startswith("PIPELINE.train.sample.num_seg: gives 8 frames, MODEL.backbone.num_seg takes 16")


@pytest.mark.parametrize(
    "assignment, path, value",
    [
        ("OPTIMIZER.learning_rate.values.0=0.5", ("OPTIMIZER", "learning_rate", "values", 0), 0.5),
        (
            "PIPELINE.train.transform.1.RandomFlip.p=0.25",
            ("PIPELINE", "train", "transform", 1, "RandomFlip", "p"),
            0.25,
        ),
        ("output_dir=out=dir", ("output_dir",), "out=dir"),
        ("DATASET.valid_batch_size=3", ("DATASET", "valid_batch_size"), 3),
        ("PRECISEBN.num_iters_preciseBN=5", ("PRECISEBN", "num_iters_preciseBN"), 5),
        ("MODEL.head.std=1e-3", ("MODEL", "head", "std"), 1e-3),
    ],
)
def test_overrides(write, assignment, path, value):
    node = load_config(write(SOUND), [assignment]).to_dict()
    for key in path:
        node = node[key]
    assert node == value and type(node) is type(value)


@pytest.mark.parametrize(
    "assignment, value",
    [("OPTIMIZER.no_weight_decay_name=", ""), ("output_dir=", ""), ("MODEL.backbone.pretrained=null", None)],
)
def test_nothing_is_the_empty_text_and_null_is_none(write, assignment, value):
    node = load_run_config(write(SOUND), [assignment]).to_dict()
    for key in assignment.partition("=")[0].split("."):
        node = node[key]
    assert node == value and type(node) is type(value)


@pytest.mark.scorecard(6)
@pytest.mark.parametrize("text", ["os", "__import__('os').system('true')", "'open(1)'", "!!python/name:os.system"])
def test_override_values_are_data_and_never_code(write, text):
    value = load_config(write(SOUND), [f"output_dir={text}"])["output_dir"]
    assert isinstance(value, str)


@pytest.mark.parametrize(
    "assignment, word",
    [
        ("MODEL.bakbone.depth=18", "there is no MODEL.bakbone; did you mean 'backbone'?"),
        ("OPTIMIZER.learning_rate.values.9=1", "is a list of 3"),
        ("epochs.x=1", "which has no parts"),
        ("epochs", "expected key.path=value"),
        ("MODEL.head.nom_classes=4", "did you mean 'num_classes'?"),
        ("epochs=true", "expected int, got True"),
        ("epochs=", "expected int, got ''"),
    ],
)
def test_bad_overrides_are_reported(write, assignment, word):
    assert word in "\n".join(problems(write(SOUND), assignment))


def test_bases_merge_and_another_class_replaces_whole(write):
    write(SOUND, "base.yaml")
    child = write(
        "_base_: base.yaml\nOPTIMIZER: {momentum: 0.8}\nepochs: 2\n"
        "DATASET: {train: {format: FrameDataset, file_path: b}}\n"
    )
    config = load_config(child)
    assert config["OPTIMIZER"]["momentum"] == 0.8 and config["OPTIMIZER"]["name"] == "Momentum"
    assert config["DATASET"]["train"].to_dict() == {"format": "FrameDataset", "file_path": "b"}
    assert config["DATASET"]["batch_size"] == 4


def test_a_section_of_another_class_has_the_lines_of_its_own_file(write):
    base = write(SOUND, "base.yaml")
    rate = "{boundaries: [1], values: [0.1, 0.01]}"
    file = write(f"_base_: base.yaml\nOPTIMIZER:\n  name: Adam\n  learning_rate: {rate}\n", "own.yaml")
    _, lines = read_with_bases(Path(file))
    assert "OPTIMIZER.learning_rate.name" not in lines and lines["MODEL.framework"].startswith(str(base))
    assert lines["OPTIMIZER.learning_rate.values[1]"].endswith("own.yaml:4")


def test_two_levels_of_bases_and_no_third(write):
    write(SOUND, "a.yaml")
    write("_base_: a.yaml\nepochs: 1\n", "b.yaml")
    write("_base_: [b.yaml]\nepochs: 2\n", "c.yaml")
    assert load_config(write("_base_: b.yaml\n", "ok.yaml"))["epochs"] == 1
    deep = problems(write("_base_: c.yaml\n", "deep.yaml"))[0]
    assert "levels of inheritance (deep.yaml > c.yaml > b.yaml > a.yaml); name the bases of deep.yaml" in deep
    assert "gone.yaml: no such configuration file" in problems(write("_base_: gone.yaml\n", "gone_base.yaml"))[0]


def test_a_mistake_in_a_base_names_the_base(write):
    write(SOUND.replace("depth: 50", "dept: 50"), "base.yaml")
    assert "base.yaml:4" in problems(write("_base_: base.yaml\n"))[0]


@pytest.mark.scorecard(5, times=2)
def test_yaml_tags_and_alias_bombs_are_refused(write):
    assert (
        "model_name"
        in problems(write(SOUND.replace("model_name: TSM", "model_name: !!python/object/apply:os.system [x]")))[0]
    )
    bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefg", "bcdefgh")
    )
    with pytest.raises(UserError, match="not a configuration"):
        load_config(write(bomb))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml: no such configuration file"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", ["", ".", "/", ".."])
def test_a_path_without_a_file_name_is_no_file(name):
    with pytest.raises(UserError, match="no such configuration file"):
        load_config(name)


def test_a_file_is_never_its_own_base(tmp_path, monkeypatch, write):
    """An own file named like the shipped one that it changes finds the shipped one, from its folder, too."""
    monkeypatch.chdir(tmp_path)
    own = write("_base_: tsm_own_videos.yaml\nmodel_name: Mine\n", "tsm_own_videos.yaml")
    for path in (own, own.name, "tsm_own_videos"):
        assert load_config(path)["model_name"] == "Mine" and "DATASET" in load_config(path)
    assert "alone.yaml: it is its own _base_; name another" in problems(write("_base_: alone.yaml\n", "alone.yaml"))[0]


def test_checking_needs_no_paddle(write):
    """A configuration is judged in a blink, before anything heavy is imported."""
    code = (
        "import sys; from paddlevideo.config import load_config; from paddlevideo.solver.check import check_lr; "
        f"load_config({str(write(SOUND))!r}); print(sorted({{'paddle', 'cv2', 'av', 'numpy'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
