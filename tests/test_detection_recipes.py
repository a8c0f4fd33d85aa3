"""The published AVA recipes as numbers, and each at reduced size: a step, a validation, a test, an export.

The table is typed from the page, not read from the YAML files, so that a slip in one of them is noticed.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from paddlevideo.build import load_run_config, network
from paddlevideo.config import Config, load_config
from paddlevideo.config.checking import check
from paddlevideo.engine.training import train
from paddlevideo.inference.export import export
from paddlevideo.safe_io import write_pickle
from paddlevideo.settings import Options
from paddlevideo.solver.lr import build_lr
from tests.tiny import run_test

ROOT = Path(__file__).resolve().parents[1]
DETECTION = ROOT / "configs" / "detection"
FILES = sorted(file for part in ("ava", "acrn") for file in (DETECTION / part).glob("*.yaml"))
DEMOS = {"slowonly_synthetic_demo", "slowfast_synthetic_demo"}
PADDLEVIDEO = DETECTION / "ava" / "ava.yaml"
GPUS = 8
CUSTOM = [3, 6, 10, 27, 29, 38, 41, 48, 51, 53, 54, 59, 61, 64, 70, 72]
STEP20, STEP10, COSINE = (20, (10, 15)), (10, (4, 6, 8)), (10, None)


@dataclass
class Row:
    """A row of the page: clip, clips per GPU, rate, epochs and milestones, parameters, what else differs."""

    name: str
    clip: tuple[int, int]
    batch: int
    lr: float
    epochs: tuple
    parameters: int
    version: str = "2.1"
    warmup: tuple[str, float, float] = ("warmup_epochs", 5, 0.1)
    decay: float = 1e-5
    nesterov: bool = False
    gpus: int = GPUS
    temporal: str = "avg"
    focal: tuple[float, float] = (1.0, 0.0)
    classes: int = 81


def _rows():
    so, sf4, sf8 = 31_800_465, 33_743_993, 33_830_265
    k = "kinetics_pretrained"
    yield Row(f"slowonly_{k}_r50_4x16x1_20e_ava_rgb", (4, 16), 16, 0.2, STEP20, so)
    yield Row("slowonly_omnisource_pretrained_r50_4x16x1_20e_ava_rgb", (4, 16), 16, 0.2, STEP20, so)
    nl = {"decay": 1e-6, "nesterov": True}
    yield Row(f"slowonly_nl_{k}_r50_4x16x1_10e_ava_rgb", (4, 16), 12, 0.3, STEP10, so + 7_354_368,
        warmup=("warmup_iters", 800, 0.01), **nl)  # fmt: skip
    yield Row(f"slowonly_nl_{k}_r50_8x8x1_10e_ava_rgb", (8, 8), 6, 0.15, STEP10, so + 7_354_368, gpus=16,
        warmup=("warmup_iters", 1600, 0.01), **nl)  # fmt: skip
    yield Row(f"slowonly_{k}_r101_8x8x1_20e_ava_rgb", (8, 8), 6, 0.075, STEP20, 59_705_489)
    yield Row("slowonly_omnisource_pretrained_r101_8x8x1_20e_ava_rgb", (8, 8), 6, 0.075, STEP20, 59_705_489)
    yield Row(f"slowonly_{k}_r50_8x8x1_20e_ava_rgb", (8, 8), 8, 0.1, STEP20, so)
    yield Row(f"slowfast_{k}_r50_4x16x1_20e_ava_rgb", (32, 2), 9, 0.1125, STEP20, sf4)
    yield Row(f"slowfast_context_{k}_r50_4x16x1_20e_ava_rgb", (32, 2), 9, 0.1125, STEP20, sf4 + 2304 * 81)
    yield Row(f"slowfast_{k}_r50_8x8x1_20e_ava_rgb", (32, 2), 5, 0.075, STEP20, sf8)
    cosine = {"warmup": ("warmup_epochs", 2, 0.1)}
    b, tail = ((32, 2), 6, 0.075, COSINE), f"{k}_r50_8x8x1_cosine_10e"
    yield Row(f"slowfast_{tail}_ava22_rgb", *b, sf8, "2.2", **cosine)
    yield Row(f"slowfast_temporal_max_{tail}_ava22_rgb", *b, sf8, "2.2", temporal="max", **cosine)
    yield Row(f"slowfast_temporal_max_focal_alpha3_gamma1_{tail}_ava22_rgb", *b, sf8, "2.2", temporal="max",
        focal=(3.0, 1.0), **cosine)  # fmt: skip
    for suffix, version in (("ava", "2.1"), ("ava22", "2.2")):
        yield Row(f"slowfast_acrn_{tail}_{suffix}_rgb", *b, sf8 + 58_401_792, version, temporal="max", **cosine)
    yield Row(f"slowonly_{k}_r50_4x16x1_20e_ava_rgb_custom_classes", (4, 16), 16, 0.2, STEP20,
        so - 2049 * 64, classes=17)  # fmt: skip
    yield Row(f"slowfast_{k}_r50_4x16x1_20e_ava_rgb_custom_classes", (32, 2), 9, 0.1125, STEP20,
        sf4 - 2305 * 64, classes=17, warmup=("warmup_epochs", 5, 0.05))  # fmt: skip


ROWS = list(_rows())
by_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
by_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@pytest.fixture(scope="module")
def configs():
    """Every leaf, loaded once with all checks: stem -> configuration."""
    return {file.stem: load_run_config(file) for file in FILES}


def test_every_row_has_its_file_and_every_file_its_row(configs):
    assert configs.keys() - DEMOS - {"ava"} == {row.name for row in ROWS} and len(ROWS) == 17


@by_row
def test_network_of_each_row(configs, row):
    config = configs[row.name]
    framework = network(config, pretrained=False)
    # Paddle counts running statistics as parameters
    own = [p for key, p in framework.named_parameters() if not key.endswith(("._mean", "._variance"))]
    assert sum(int(p.size) for p in own) == row.parameters
    assert (framework.num_classes, framework.num_frames) == (row.classes, row.clip[0])
    head = framework.roi_head
    assert head.bbox_roi_extractor.temporal_pool_mode == row.temporal
    assert (head.bbox_head.focal_alpha, head.bbox_head.focal_gamma) == row.focal
    assert (head.bbox_head.temporal_pool_type, head.bbox_head.spatial_pool_type) == ("avg", "max")
    assert head.action_thr == 0.002 and config.section("MODEL")["backbone"]["spatial_strides"] == [1, 2, 2, 1]


@by_row
def test_schedule_of_each_row(configs, row):
    config = configs[row.name]
    optimizer, data = config.section("OPTIMIZER"), config.section("DATASET")
    assert (data["batch_size"], optimizer["base_batch_size"]) == (row.batch, row.batch * row.gpus)
    assert (optimizer["momentum"], optimizer.get("use_nesterov", False)) == (0.9, row.nesterov)
    assert (optimizer["weight_decay"]["value"], optimizer["grad_clip"]["value"]) == (row.decay, 40.0)
    assert (config["epochs"], config["val_interval"], data["test_batch_size"]) == (row.epochs[0], 1, 1)
    per_epoch = 400
    schedule = build_lr(optimizer["learning_rate"], per_epoch, config["epochs"])
    key, length, ratio = row.warmup
    warmup = length * (per_epoch if key == "warmup_epochs" else 1)
    for i in range(config["epochs"] * per_epoch):
        if i % 97 == 0 or abs(i - warmup) < 2:
            if row.epochs[1] is None:
                regular = row.lr * 0.5 * (1 + np.cos(np.pi * i / (10 * per_epoch)))
            else:
                regular = row.lr * 0.1 ** sum(i // per_epoch >= step for step in row.epochs[1])
            factor = 1 - (1 - i / warmup) * (1 - ratio) if i < warmup else 1.0
            assert schedule.rate(*divmod(i, per_epoch)) == pytest.approx(regular * factor, rel=1e-9), i


@by_row
def test_data_of_each_row(configs, row):
    config = configs[row.name]
    for split, part in (("train", "train"), ("valid", "val"), ("test", "val")):
        own = config.section("DATASET")[split]
        assert own["file_path"] == f"data/ava/annotations/ava_{part}_v{row.version}.csv"
        assert own["exclude_file"].endswith(f"ava_{part}_excluded_timestamps_v{row.version}.csv")
        assert own["proposal_file"].endswith(f"ava_dense_proposals_{part}.FAIR.recall_93.9.pkl")
        names = "" if row.classes == 17 else f"_for_activitynet_{2018 if row.version == '2.1' else 2019}"
        assert own["label_file"].endswith(f"ava_action_list_v{row.version}{names}.pbtxt")
        assert (own.get("custom_classes"), own["suffix"]) == (CUSTOM if row.classes == 17 else None, "img_{:05}.jpg")
        sample = config.section("PIPELINE")[split]["sample"]
        assert (sample["clip_len"], sample["frame_interval"]) == row.clip
    steps = {split: [list(item)[0] for item in own["transform"]] for split, own in config.section("PIPELINE").items()}
    assert steps["train"] == ["RandomRescale", "RandomCrop", "Flip", "Normalization"]
    assert steps["valid"] == steps["test"] == ["Resize", "Normalization"]


@by_file
def test_a_leaf_opens_with_what_it_is(file):
    """Paper, launch command, hardware and published result stand in comment lines at the top."""
    lines = file.read_text().splitlines()
    opening = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    told = "\n".join(opening)
    assert "Paper: " in told and "main.py" in told and "Written for: " in told
    assert file.stem in told and (file.stem in DEMOS or "Published" in told)


# --- every file at reduced size --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ava(tmp_path_factory):
    """Two folders of 62 small frames, an annotated second each, one known proposal, and the official file kinds."""
    folder = tmp_path_factory.mktemp("ava")
    rng = np.random.default_rng(0)
    for video in ("one", "two"):
        (folder / "frames" / video).mkdir(parents=True)
        for i in range(1, 63):
            picture = rng.integers(0, 255, (36, 48, 3), dtype="uint8")
            for name in (f"img_{i:05}.jpg", f"{i:05}.jpg"):
                cv2.imwrite(str(folder / "frames" / video / name), picture)
    rows = [f"{video},0901,0.1,0.1,0.5,0.9,{label},0" for video in ("one", "two") for label in (3, 6, 12)]
    (folder / "truth.csv").write_text("\n".join(rows) + "\n")
    (folder / "excluded.csv").write_text("one,0902\n")
    # as the official 60-class list: the highest id is 80
    names = "".join(f'item {{\n  name: "class {i}"\n  id: {i}\n}}\n' for i in range(1, 81))
    (folder / "labels.pbtxt").write_text(names)
    box = np.array([[0.1, 0.1, 0.5, 0.9, 0.99], [0.5, 0.2, 0.9, 0.9, 0.95]], "float32")
    write_pickle(folder / "proposals.pkl", {"one,0901": box, "two,0901": box[:1]})
    return folder


REDUCED = {
    "ResNet3dSlowOnly": {"width": 2},
    "ResNet3dSlowFast": {"width": 8},
    "ResNetSlowFast": {"width_per_group": 8},
}
SMALL = {256: 32, 320: 36}


def reduce(config, ava, output):
    """The same at 1/32 of its width, on 32 pixels."""
    backbone, head = config["MODEL"]["backbone"], config["MODEL"]["head"]
    smaller = REDUCED[backbone["name"]]
    factor = 64 // next(iter(smaller.values()))
    backbone |= smaller
    backbone.pop("pretrained", None)
    head["bbox_head"]["in_channels"] //= factor
    if "shared_head" in head:
        head["shared_head"] = {key: v if key == "name" else v // factor for key, v in head["shared_head"].items()}
    config["DATASET"] |= {"batch_size": 2, "num_workers": 0}
    files = {"file_path": "truth.csv", "exclude_file": "excluded.csv", "label_file": "labels.pbtxt",
        "proposal_file": "proposals.pkl", "data_prefix": "frames"}  # fmt: skip
    for split in ("train", "valid", "test"):
        config["DATASET"][split] |= {key: str(ava / name) for key, name in files.items()}
        for arguments in [own for item in config["PIPELINE"][split]["transform"] for own in item.values()]:
            for key in {"scale", "scale_range", "target_size", "size"} & set(arguments):
                value = arguments[key]
                arguments[key] = [SMALL.get(n, n) for n in value] if isinstance(value, list) else SMALL[value]
    for key in {"file_path", "exclude_file", "label_file"} & set(config["METRIC"]):
        config["METRIC"][key] = str(ava / files[key])
    return config | {"epochs": 1, "output_dir": str(output)}


RECIPES = [file for file in FILES if file.stem not in DEMOS]
by_recipe = pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)


@by_recipe
def test_recipe_trains_and_validates(file, ava, tmp_path):
    config = Config(reduce(load_config(file).to_dict(), ava, tmp_path))
    run = train(config, Options(validate=True, max_iters=1))
    assert run.progress.step == 1
    assert (tmp_path / f"{config['model_name']}_best.pdparams").is_file()


@pytest.mark.slow
@by_recipe
def test_recipe_tests_and_exports(file, ava, tmp_path):
    """The export compares itself with the network and fails above its tolerance."""
    config = Config(reduce(load_config(file).to_dict(), ava, tmp_path))
    run = train(config, Options(max_iters=1))
    weights = tmp_path / f"{config['model_name']}_epoch_00001.pdparams"
    figures = run_test(config, Options(weights=str(weights)))
    assert 0.0 <= figures["mAP@0.5IOU"] <= 1.0
    report = export(config, weights, tmp_path / "inference", say=lambda line: None)
    assert report.program.is_file() and report.num_classes == run.framework.num_classes


# --- PaddleVideo's own file, its keys and values written anew --------------------------------------------------------


def original():
    """What PaddleVideo's ``configs/detection/ava/ava.yaml`` says, spelled as there."""
    config = load_config(PADDLEVIDEO).to_dict()
    for split, low in (("train", "(256,320)"), ("valid", "(-1, 256)"), ("test", "(-1, 256)")):
        first = config["PIPELINE"][split]["transform"][0]
        next(iter(first.values()))["scale_range"] = low
    for split in ("train", "valid"):
        del config["DATASET"][split]["suffix"]
    config["DATASET"]["valid"]["test_mode"] = config["DATASET"]["test"]["test_mode"] = True
    config["DATASET"]["test"]["exclude_file"] = "./data/ava_test_excluded_timestamps_v2.1.csv"  # there is no such file
    config["PIPELINE"]["test"]["sample"] = config["PIPELINE"]["test"].pop("sampler")
    order = ("sample", "decoder", "transform")
    config["PIPELINE"]["test"] = {key: config["PIPELINE"]["test"][key] for key in order}
    rate = config["OPTIMIZER"]["learning_rate"]
    config["OPTIMIZER"]["learning_rate"] = rate | {"lrs": [1, 0.1, 0.01, 0.001, 0.0001, 0.00001], "gamma": 0.1}
    config["OPTIMIZER"]["weight_decay"]["value"] = "1e-5"
    del config["OPTIMIZER"]["base_batch_size"]
    config["INFERENCE"] = {
        "name": "AVA_SlowFast_FastRCNN_Inference_helper", "config_file_path": "configs/detection/ava/ava.yaml",
        "detection_model_name": "faster_rcnn/faster_rcnn_r50_fpn_1x_coco",
        "detection_model_weights": "faster_rcnn_r50_fpn_1x_coco.pdparams",
        "predict_stepsize": 4, "num_frames": 32, "alpha": 4, "target_size": 256,
    }  # fmt: skip
    return config


def test_paddlevideos_original_file_is_accepted(tmp_path):
    file = tmp_path / "ava.yaml"
    file.write_text(yaml.safe_dump(original(), sort_keys=False))
    config = load_run_config(file)
    assert config.section("OPTIMIZER")["weight_decay"]["value"] == 1e-5
    assert [*config.section("PIPELINE")["test"]] == ["sample", "decoder", "transform"]
    broken = original()
    broken["MODEL"]["head"]["bbox_head"]["droput_ratio"] = 0.1
    assert any("droput_ratio" in problem for problem in check(broken))


def test_paddlevideos_schedule_never_falls():
    optimizer = load_config(PADDLEVIDEO).section("OPTIMIZER")
    schedule = build_lr(optimizer["learning_rate"], 10, 10)
    rates = [schedule.rate(*divmod(step, 10)) for step in range(100)]
    assert rates[0] == 0.0075 and rates[-1] == pytest.approx(0.075) and rates == sorted(rates)
