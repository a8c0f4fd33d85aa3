"""A data set of eight real clips, and networks small enough to train on it within a second."""

from pathlib import Path

import numpy as np
import yaml

from paddlevideo.settings import Options
from tests.clips import write_clip

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 2


def moving_square(rng, to_the_right, frames=12, size=40):
    """uint8 [T, H, W, 3]: a bright square that crosses a grey picture, one way or the other."""
    clip = np.full((frames, size, size, 3), 60, "uint8")
    top = int(rng.integers(4, size - 14))
    for t in range(frames):
        left = 2 * t if to_the_right else 2 * (frames - 1 - t)
        clip[t, top : top + 10, left : left + 10] = 220
    return clip


def make_clips(folder: Path, count=8, seed=0) -> Path:
    """Writes ``count`` mp4 files of alternating class and their list; returns the list's path."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(count):
        path = folder / f"clip {i}.mp4"
        write_clip(path, moving_square(rng, bool(i % CLASSES)), fps=12)
        lines.append(f"{path} {i % CLASSES}")
    (folder / "clips.list").write_text("\n".join(lines) + "\n")
    return folder / "clips.list"


def _pipeline(num_seg, size, train):
    crop = [{"RandomCrop": {"target_size": size}}] if train else [{"CenterCrop": {"target_size": size}}]
    return {
        "decode": {"name": "VideoDecoder"},
        "sample": {"name": "Sampler", "num_seg": num_seg, "seg_len": 1, "valid_mode": not train, "select_left": True},
        "transform": [*crop, {"Normalization": {"mean": [0.45, 0.45, 0.45], "std": [0.225, 0.225, 0.225]}}],
    }


def _common(clips: Path, output: Path, num_seg: int, size: int) -> dict:
    split = {"format": "VideoDataset", "file_path": str(clips)}
    return {
        "DATASET": {
            "batch_size": 2,
            "test_batch_size": 3,
            "num_workers": 0,
            "train": split,
            "valid": split,
            "test": split,
        },
        "PIPELINE": {
            "train": _pipeline(num_seg, size, True),
            "valid": _pipeline(num_seg, size, False),
            "test": _pipeline(num_seg, size, False),
        },
        "OPTIMIZER": {
            "name": "Momentum",
            "momentum": 0.9,
            "learning_rate": {
                "name": "CustomWarmupCosineDecay",
                "iter_step": True,
                "warmup_start_lr": 0.001,
                "warmup_epochs": 1,
                "cosine_base_lr": 0.05,
                "max_epoch": 3,
            },
            "weight_decay": {"name": "L2", "value": 1e-4},
            "grad_clip": {"name": "ClipGradByGlobalNorm", "value": 20.0},
        },
        "METRIC": {"name": "CenterCropMetric"},
        "log_interval": 1,
        "epochs": 3,
        "output_dir": str(output),
    }


def tsm_config(clips: Path, output: Path) -> dict:
    """TSM R18 with 4 channels on 4 frames of 32 pixels."""
    config = _common(clips, output, 4, 32)
    config["MODEL"] = {
        "framework": "Recognizer2D",
        "backbone": {"name": "ResNetTSM", "depth": 18, "width": 4, "num_seg": 4},
        "head": {"name": "TSMHead", "num_classes": CLASSES, "in_channels": 32, "drop_ratio": 0.5},
    }
    return {"model_name": "TSM", **config}


def timesformer_config(clips: Path, output: Path) -> dict:
    """TimeSformer with two blocks of 16 dimensions; it has no batch statistics and here no randomness."""
    config = _common(clips, output, 4, 32)
    config["MODEL"] = {
        "framework": "RecognizerTransformer",
        "backbone": {
            "name": "VisionTransformer", "img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2,
            "num_seg": 4, "drop_path_rate": 0.0, "attention_type": "divided_space_time", "qkv_bias": True,
        },
        "head": {"name": "TimeSformerHead", "num_classes": CLASSES, "in_channels": 16},
        "runtime_cfg": {"test": {"num_seg": 4, "avg_type": "prob"}},
    }  # fmt: skip
    return {"model_name": "TimeSformer", **config}


def distilled(config: dict, weights: str = "no teacher here.pdparams") -> dict:
    """The configuration's network as the student of a frozen one like it, which ``weights`` are for."""
    model = config["MODEL"]
    return config | {
        "MODEL": {
            "framework": "RecognizerDistillation",
            "models": [{"Teacher": model | {"weights": weights}}, {"Student": model}],
            "freeze_params_list": ["Teacher"],
            "loss": {"Train": [{"name": "DistillationKLLoss", "model_name_pairs": ["Student", "Teacher"]}]},
        }
    }


def run_test(config, options: Options, out: str | None = None) -> dict[str, float]:
    """What ``main.py --test`` does."""
    from paddlevideo.engine.testing import test
    from paddlevideo.reporting.report import ReportFiles

    return test(config, options, ReportFiles(options.weights, out))


def save(config: dict, path: Path) -> Path:
    """Writes a configuration as YAML."""
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
