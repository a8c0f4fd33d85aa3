"""Every shipped recognition configuration is sound, builds, takes a step, and evaluates, at reduced size."""

from pathlib import Path

import cv2
import pytest

from paddlevideo.config import Config, load_config
from paddlevideo.engine.training import train
from paddlevideo.inference.export import export
from paddlevideo.registry import BACKBONES
from paddlevideo.settings import Options
from tests.tiny import make_clips, moving_square, run_test

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = [p for p in sorted((ROOT / "configs").rglob("*.yaml")) if not {"_base_", "detection"} & set(p.parts)]

# per backbone: smaller arguments, and what the head then receives
REDUCED = {
    "ResNetTSM": ({"depth": 50, "width": 2}, 64),  # non-local blocks need bottlenecks
    "MobileNetV2TSM": ({"scale": 0.1}, 1280),
    "ResNetTweaksTSM": ({"depth": 18, "width": 4}, 32),
    "PPTSM_MobileNetV2": ({"scale": 0.1}, None),  # classifies by itself
    "ResNet3dSlowOnly": ({"depth": 50, "width": 2}, 64),
    "ResNet3dSlowFast": ({"depth": 18, "width": 8}, 72),
    "VisionTransformer": ({"patch_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}, 24),
    "VisionTransformer_tweaks": ({"patch_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}, 24),
}


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """A list for each kind of data set; labels 0 and 1, which every class count has."""
    import numpy as np

    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(4):
        frames = folder / f"frames {i}"
        frames.mkdir()
        for t, frame in enumerate(moving_square(rng, bool(i % 2)), 1):
            cv2.imwrite(str(frames / f"img_{t:05}.jpg"), frame)
        lines.append(f"{frames} 12 {i % 2}")
    (folder / "frames.list").write_text("\n".join(lines))
    return {"VideoDataset": make_clips(folder / "clips", 4), "FrameDataset": folder / "frames.list"}


def networks(config) -> list[dict]:
    """MODEL, or each of its models."""
    return [own for item in config["MODEL"].get("models", [{"": config["MODEL"]}]) for own in item.values()]


def reduce(config: dict, lists, output) -> dict:
    for model in networks(config):
        model.pop("weights", None)
        smaller, channels = REDUCED[model["backbone"]["name"]]
        model["backbone"] |= smaller
        model["backbone"].pop("pretrained", None)
        if model["head"].get("num_classes") == "auto":  # the lists here name no classes
            model["head"]["num_classes"] = 2
        if channels:
            model["head"]["in_channels"] = channels
    config["DATASET"] |= {"batch_size": 2, "valid_batch_size": 2, "test_batch_size": 2, "num_workers": 0}
    config["DATASET"].pop("label_names", None)
    for split in ("train", "valid", "test"):
        own = config["DATASET"][split]
        own |= {"file_path": str(lists[own["format"]]), "data_prefix": ""}
        own["suffix"] = "img_{:05}.jpg" if own["format"] == "FrameDataset" else ""
    config.pop("GRADIENT_ACCUMULATION", None)
    _shrink_clips(config["PIPELINE"])
    if "SWA" in config:
        config["SWA"]["last_epochs"] = 1
    return config | {"epochs": 1, "output_dir": str(output)}


def _shrink_clips(pipelines: dict) -> None:
    """Two views of 3 x 32 pixels where 3-D networks are tested with ten of three times 256."""
    if pipelines["test"]["sample"].get("num_clips") != 10 or "frame_interval" not in pipelines["test"]["sample"]:
        return
    small = {256: 40, 224: 32}
    for steps in pipelines.values():
        steps["sample"]["num_clips"] = min(steps["sample"]["num_clips"], 2)
        for arguments in [own for item in steps["transform"] for own in item.values()]:
            for key in {"scale", "target_size", "crop_size"} & set(arguments):
                sizes = arguments[key]
                arguments[key] = [small.get(n, n) for n in sizes] if isinstance(sizes, list) else small[sizes]


@pytest.mark.parametrize("file", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_config_trains_and_validates(file, lists, tmp_path):
    config = Config(reduce(load_config(file).to_dict(), lists, tmp_path))
    run = train(config, Options(validate=True, max_iters=1))
    assert run.progress.step == 1
    assert (tmp_path / f"{config['model_name']}_best.pdparams").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("file", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_config_tests_and_exports(file, lists, tmp_path):
    """The export compares itself with the network and fails above its tolerance (test_recipes: a leaf per network)."""
    config = Config(reduce(load_config(file).to_dict(), lists, tmp_path))
    run = train(config, Options(max_iters=1))
    best = tmp_path / f"{config['model_name']}_epoch_00001.pdparams"
    figures = run_test(config, Options(weights=str(best), max_iters=1))
    assert figures["num_samples"] == 2
    report = export(config, best, tmp_path / "inference", say=lambda line: None)
    assert report.program.is_file() and report.num_classes == run.framework.num_classes


@pytest.mark.parametrize("file", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_a_leaf_opens_with_what_it_is(file):
    """Paper, launch command, hardware and published result stand in comment lines at the top."""
    opening = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        opening.append(line)
    assert len(opening) >= 2 and any("main.py" in line for line in opening)


def test_the_table_above_knows_every_backbone():
    used = {model["backbone"]["name"] for file in CONFIGS for model in networks(load_config(file).to_dict())}
    assert used <= REDUCED.keys() and all(name in BACKBONES for name in used)
