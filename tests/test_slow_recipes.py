"""SlowOnly's and SlowFast's Kinetics recipes, as numbers typed from MMAction2's files; their pages; their weights."""

import re
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.build import load_run_config, network
from paddlevideo.cli.convert import convert_file
from paddlevideo.config import load_config
from paddlevideo.modeling.weights import read_weights
from paddlevideo.safe_io import write_pickle
from paddlevideo.solver.lr import build_lr

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "recognition"
COSINE, WARM, STEP = "cosine", "cosine after a warm-up", "steps"

# name: frames, interval, rate, epochs, schedule, parameters
ROWS = {
    "slowonly/slowonly_r50_4x16x1_256e": (4, 16, 0.1, 256, COSINE, 32_454_096),
    "slowonly/slowonly_r50_8x8x1_256e": (8, 8, 0.1, 256, COSINE, 32_454_096),
    "slowonly/slowonly_r101_8x8x1_196e": (8, 8, 0.1, 196, WARM, 60_359_120),
    "slowonly/slowonly_nl_embedded_gaussian_r50_4x16x1_150e": (4, 16, 0.01, 150, STEP, 39_808_464),
    "slowonly/slowonly_nl_embedded_gaussian_r50_8x8x1_150e": (8, 8, 0.01, 150, STEP, 39_808_464),
    "slowfast/slowfast_r50_4x16x1_256e": (32, 2, 0.1, 256, WARM, 34_479_288),
    "slowfast/slowfast_r50_8x8x1_256e": (32, 2, 0.1, 256, WARM, 34_565_560),
}


def file_of(name):
    return FOLDER / f"{name}_kinetics400_rgb.yaml"


def test_every_row_has_its_file_and_every_file_its_row():
    files = {file for folder in ("slowonly", "slowfast") for file in (FOLDER / folder).glob("*.yaml")}
    assert files == {file_of(name) for name in ROWS}


def rate(schedule, base, epochs, i, per_epoch=10):
    """The rate of iteration i, from the formulas."""
    if schedule == STEP:
        regular, warmup = base * 0.1 ** sum(i // per_epoch >= step for step in (90, 130)), 10 * per_epoch
    else:
        regular = base * 0.5 * (1 + np.cos(np.pi * i / (epochs * per_epoch)))
        warmup = 34 * per_epoch if schedule == WARM else 0
    return regular * (1 - (1 - i / warmup) * 0.9) if i < warmup else regular


@pytest.mark.parametrize("name", ROWS)
def test_numbers_of_each_row(name):
    frames, interval, base, epochs, schedule, parameters = ROWS[name]
    config = load_run_config(file_of(name))
    framework = network(config, pretrained=False)
    own = [p for key, p in framework.named_parameters() if not key.endswith(("._mean", "._variance"))]
    assert sum(int(p.size) for p in own) == parameters and framework.num_frames == frames
    for split, clips in (("train", 1), ("valid", 1), ("test", 10)):
        sample = config.section("PIPELINE")[split]["sample"]
        assert (sample["clip_len"], sample["frame_interval"], sample["num_clips"]) == (frames, interval, clips)
    data, optimizer = config.section("DATASET"), config.section("OPTIMIZER")
    assert (data["batch_size"], optimizer["base_batch_size"], config["epochs"]) == (8, 64, epochs)
    assert (data["num_workers"], config["val_interval"]) == (2, 5)
    assert config["save_interval"] == (1 if schedule == STEP else 4)
    assert (optimizer["weight_decay"]["value"], optimizer["grad_clip"]["value"]) == (1e-4, 40.0)
    built = build_lr(optimizer["learning_rate"], 10, epochs)
    for i in range(epochs * 10):
        assert built.rate(*divmod(i, 10)) == pytest.approx(rate(schedule, base, epochs, i), rel=1e-9, abs=1e-12), i


@pytest.mark.parametrize("folder", ["slowonly", "slowfast"])
def test_every_configuration_and_command_of_the_pages_exists(folder):
    files = {file.name for file in (FOLDER / folder).glob("*.yaml")}
    pages = [(FOLDER / folder / page).read_text() for page in ("README.md", "README_zh-CN.md")]
    for text in pages:
        named = set(re.findall(r"configs/[\w/]+\.yaml", text))
        assert named and all((ROOT / name).is_file() for name in named)
        assert set(re.findall(r"\]\((\w+\.yaml)\)", text)) == files
    figures = [sorted(re.findall(r"\d+\.\d+|\d+,\d+,\d+", text)) for text in pages]
    assert figures[0] == figures[1]


# --- weights of other origins, through the converter -----------------------------------------------------------------

SMALL = {
    "slowonly": ["MODEL.backbone.depth=18", "MODEL.backbone.width=8", "MODEL.head.in_channels=64"],
    "slowfast": ["MODEL.backbone.depth=18", "MODEL.backbone.width=8", "MODEL.head.in_channels=72"],
}


def theirs(key):
    """MMAction2's name for one of ours."""
    key = key.replace("._mean", ".running_mean").replace("._variance", ".running_var")
    key = re.sub(r"_lateral\.", "_lateral.conv.", key)
    return key.replace("head.fc.", "cls_head.fc_cls.")


@pytest.mark.parametrize("folder", SMALL)
def test_mmaction2_s_checkpoints_convert_whole(folder, tmp_path):
    config = load_config(next(file_of(name) for name in ROWS if name.startswith(folder)), SMALL[folder])
    paddle.seed(1)
    ours = {key: value.numpy() for key, value in network(config, pretrained=False).state_dict().items()}
    write_pickle(tmp_path / "theirs.pdparams", {
        theirs(key): value.T if value.ndim == 2 else value for key, value in ours.items()
    })  # fmt: skip
    convert_file(config, tmp_path / "theirs.pdparams", tmp_path / "ours.pdparams", origin="mmaction2")
    found = read_weights(tmp_path / "ours.pdparams")
    assert found.keys() == ours.keys() and all(np.array_equal(found[key], ours[key]) for key in ours)
