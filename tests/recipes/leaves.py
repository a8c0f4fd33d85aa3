"""The shipped configurations, and the same at a size that takes a step within a second."""

import json
from pathlib import Path

import numpy as np

from paddlevideo.config import load_config
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.pipelines import Pipeline

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
LEAVES = [file for file in sorted(CONFIGS.rglob("*.yaml")) if "_base_" not in file.parts]
RECOGNITION = [file for file in LEAVES if "detection" not in file.parts]
# persons and their actions; feature banks have tests of their own
DETECTION = [file for file in LEAVES if {"ava", "acrn"} & set(file.parts)]


def name_of(file: Path) -> str:
    """Path of a leaf from configs/ on, without the ending."""
    return str(file.relative_to(CONFIGS).with_suffix(""))


def clip_of(section):
    """imgs [V, T, H, W, 3] that a pipeline makes of 100 grey pictures of 96 x 128, which it has to enlarge."""
    reader = ArrayReader(np.full((100, 96, 128, 3), 90, "uint8"), fps=25.0)
    return Pipeline(section, "PIPELINE")({"reader": reader, "label": 0, "index": 0}, np.random.default_rng(0))["imgs"]


def step_names(steps):
    """Class names of a list of transforms, in order."""
    return [name for item in steps for name in ([item] if isinstance(item, str) else item)]


# per backbone: smaller arguments, and what the head then receives
REDUCED = {
    "ResNetTSM": ({"depth": 50, "width": 2}, 64),  # non-local blocks need bottlenecks
    "MobileNetV2TSM": ({"scale": 0.1}, 1280),
    "ResNetTweaksTSM": ({"depth": 18, "width": 4}, 32),
    "PPTSM_MobileNetV2": ({"scale": 0.1}, None),  # classifies by itself
    "PPTSM_MobileNetV3": ({"scale": 0.25}, None),
    "PPTSM_v2": ({"scale": 0.125}, None),
    "ResNet3dSlowOnly": ({"depth": 50, "width": 2}, 64),
    "ResNet3dSlowFast": ({"depth": 18, "width": 8}, 72),
    "ResNetSlowFast": ({"width_per_group": 8}, None),  # its head computes the channels
    "VisionTransformer": ({"patch_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}, 24),
    "VisionTransformer_tweaks": ({"patch_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2}, 24),
}

# overrides that make TimeSformer and PP-TimeSformer small
SMALL_TIMESFORMER = (
    "MODEL.backbone.patch_size=32", "MODEL.backbone.embed_dim=24", "MODEL.backbone.depth=2",
    "MODEL.backbone.num_heads=2", "MODEL.head.in_channels=24",
)  # fmt: skip


def networks(config: dict) -> list[dict]:
    """MODEL, or each of its models."""
    return [own for item in config["MODEL"].get("models", [{"": config["MODEL"]}]) for own in item.values()]


def reduce(config: dict, lists: dict, output: object) -> dict:
    """A recognition leaf with a small network, small data and no accumulation."""
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
        own["file_path"] = str(lists[own["format"]])
        if own["format"] == "ShardDataset":
            own["per_window"] = 1
            continue
        own |= {"data_prefix": "", "suffix": "img_{:05}.jpg" if own["format"] == "FrameDataset" else ""}
    config.pop("GRADIENT_ACCUMULATION", None)
    if model["backbone"]["name"] == "ResNetSlowFast":
        reduce_slowfast(config)
    sample = config["PIPELINE"]["test"].get("sample", {})
    if sample.get("num_clips", 1) > 1 and "frame_interval" in sample:  # 3-D networks: several clips of three times 256
        shrink(config["PIPELINE"], {256: 40, 224: 32}, {"scale", "target_size", "crop_size"})
        for steps in config["PIPELINE"].values():
            steps["sample"]["num_clips"] = min(steps["sample"]["num_clips"], 2)
    if "SWA" in config:
        config["SWA"]["last_epochs"] = 1
    return config | {"epochs": 1, "output_dir": str(output)}


def reduce_slowfast(config: dict) -> None:
    """PaddleVideo's SlowFast on 32 pixels, tested on 2 clips x 3 crops of 64 (where its file takes 256), in place."""
    config["MODEL"]["head"] |= {"width_per_group": 8, "crop_size": 32}
    shrink(config["PIPELINE"], {256: 64, 320: 80, 224: 32}, {"min_size", "max_size", "target_size"})
    config["PIPELINE"]["test"]["decode_sampler"]["num_clips"] = 2
    config["DATASET"]["test"]["num_ensemble_views"] = 2
    if "num_ensemble_views" in config["METRIC"]:
        config["METRIC"]["num_ensemble_views"] = 2


REDUCED_DETECTORS = {
    "ResNet3dSlowOnly": {"width": 2},
    "ResNet3dSlowFast": {"width": 8},
    "ResNetSlowFast": {"width_per_group": 8},
}
AVA_FILES = {
    "file_path": "truth.csv", "exclude_file": "excluded.csv", "label_file": "labels.pbtxt",
    "proposal_file": "proposals.pkl", "data_prefix": "frames",
}  # fmt: skip


def reduce_detector(config: dict, ava: Path, output: object) -> dict:
    """A detection leaf at 1/32 of its width, on 32 pixels."""
    backbone, head = config["MODEL"]["backbone"], config["MODEL"]["head"]
    smaller = REDUCED_DETECTORS[backbone["name"]]
    factor = 64 // next(iter(smaller.values()))
    backbone |= smaller
    backbone.pop("pretrained", None)
    head["bbox_head"]["in_channels"] //= factor
    if "shared_head" in head:
        head["shared_head"] = {key: v if key == "name" else v // factor for key, v in head["shared_head"].items()}
    config["DATASET"] |= {"batch_size": 2, "num_workers": 0}
    for split in ("train", "valid", "test"):
        config["DATASET"][split] |= {key: str(ava / name) for key, name in AVA_FILES.items()}
    shrink(config["PIPELINE"], {256: 32, 320: 36}, {"scale", "scale_range", "target_size", "size"})
    for key in {"file_path", "exclude_file", "label_file"} & set(config["METRIC"]):
        config["METRIC"][key] = str(ava / AVA_FILES[key])
    return config | {"epochs": 1, "output_dir": str(output)}


def shrink(pipelines: dict, small: dict[int, int], keys: set[str]) -> None:
    """Replaces pixel sizes of the transforms, in place."""
    for steps in pipelines.values():
        for arguments in [own for item in steps["transform"] for own in item.values()]:
            for key in keys & set(arguments or ()):
                sizes = arguments[key]
                arguments[key] = [small.get(n, n) for n in sizes] if isinstance(sizes, list) else small[sizes]


def distinct(files: list[Path], reduced: object) -> list[Path]:
    """The first leaf of each kind: those whose reduced networks, pipelines and ways of training are equal but for the
    number of classes."""
    found: dict[str, Path] = {}
    for file in files:
        config = reduced(load_config(file).to_dict())
        for model in networks(config):
            model["head"].pop("num_classes", None)
            model["head"].get("bbox_head", {}).pop("num_classes", None)
        kind = [config.get(key) for key in ("MODEL", "PIPELINE", "MIX", "PRECISEBN", "SWA")]
        found.setdefault(json.dumps(kind, sort_keys=True), file)
    return list(found.values())
