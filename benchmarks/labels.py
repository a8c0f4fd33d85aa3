"""Losses of several labels per clip, and remedies for rare classes:  python -m benchmarks.labels --seeds 0 1 2

Rendered clips (``demo.motion``), a TSM ResNet-18 of width 12 on 8 frames of 48 pixels, trained from scratch by AdamW,
whose steps hardly depend on the scale of a loss.  Every row trains alike but for what it names; tested are the last
weights.

several labels: 0 to 3 motions at once; each pair of motions has a colour, so that it is easy to see which pairs are
    there and harder to see which way they move.  The pairs are drawn in proportions 8 : 4 : 2 : 1.
rare classes: the eight motions, one per clip, from 40 training clips down to 4.  The held-out clips are balanced: the
    mean of the recalls is the mean class accuracy, and the mean weighted by the training's counts the top-1 where
    classes occur as in training.

Prints Markdown tables: the mean over the seeds, and the seeds.  Finished runs are kept in ``results.json`` of the
folder, and are not run again.  Not part of the tests.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demo.motion import FOREGROUNDS, LABELS, SPLITS, Style, choose_motion, draw_sprite, make_dataset, place
from paddlevideo.build import load_run_config
from paddlevideo.config import Config
from paddlevideo.environment import set_cpu_environment
from paddlevideo.settings import Options
from paddlevideo.video_files import each_frame_alone, write_video

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs/recognition/tsm/tsm_motion_demo.yaml"
SIDE, FRAMES, FPS = 64, 16, 12
SHARES = np.repeat([8.0, 4.0, 2.0, 1.0], 2)  # of the pairs of motions
COUNTS = np.geomspace(40, 4, len(LABELS)).round().astype(int)  # clips of each class
SEVERAL = {"train": 240, "val": 160, "test": 240}
ONE = {"train": 40 * len(LABELS), "val": 8, "test": 240}
LOSSES: dict[str, dict[str, Any]] = {
    "BCELoss": {"name": "BCELoss"},
    "FocalLoss, gamma 2, alpha 0.25": {"name": "FocalLoss"},
    "FocalLoss, gamma 2, no alpha": {"name": "FocalLoss", "alpha": None},
    "AsymmetricLoss 4, 0, 0.05": {"name": "AsymmetricLoss"},
}
REMEDIES: dict[str, dict[str, Any]] = {
    "none": {},
    "class_weights, power 0.5": {"loss": {"power": 0.5}},
    "class_weights, power 1": {"loss": {"power": 1.0}},
    "sample_by_class, power 0.5": {"train": {"sample_by_class": True, "power": 0.5}},
    "sample_by_class, power 0": {"train": {"sample_by_class": True, "power": 0.0}},
}


class Kept:
    """Keeps the metric of a test; ``engine.testing.Files``."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def check(self, metric: Any) -> None: ...

    def collectors(self, framework: Any) -> list[Any]:
        return []

    def write_clips(self, config: Config, metric: Any, records: Any, names: Any) -> None: ...

    def write_report(self, config: Config, metric: Any, records: Any, names: Any, figures: Any) -> None:
        self.rows = metric.per_class()


def render_several(out: Path, seed: int) -> None:
    """Clips with 0 to 3 motions, and their lists ``path 0 3``."""
    out.mkdir(parents=True, exist_ok=True)
    for part, count in SEVERAL.items():
        lines = []
        for number in range(count):
            rng = np.random.default_rng([seed, SPLITS.index(part), number])
            chosen = rng.choice(len(LABELS), rng.integers(4), replace=False, p=SHARES / SHARES.sum())
            frames = np.broadcast_to(rng.normal(60, 3, (1, SIDE, SIDE, 1)), (FRAMES, SIDE, SIDE, 3)).copy()
            for label in chosen:
                poses = choose_motion(int(label) // 2, FRAMES, rng)
                poses[:, :2] += rng.uniform(-0.2, 0.2, 2)
                poses[:, 2] *= 0.6
                sprite = draw_sprite(rng, np.zeros((0, 8, 8), np.float32))
                for frame, pose in zip(frames, poses[::-1] if label % 2 else poses):
                    frame += place(sprite, pose, SIDE, SIDE) * (np.array(FOREGROUNDS[label // 2]) - frame)
            path = out / part / f"{number:05d}.mp4"
            write_video(path, np.clip(frames, 0, 255).astype(np.uint8), FPS, each_frame_alone(18))
            lines.append(f"{part}/{path.name} {' '.join(map(str, sorted(chosen))) or ';'}")
        (out / f"{part}.list").write_text("\n".join(lines) + "\n")
    (out / "labels.txt").write_text("".join(f"{name}\n" for name in LABELS))


def render_rare(out: Path, seed: int) -> None:
    """The motion data set, its training list cut down to ``COUNTS``; which class is rare depends on the seed."""
    make_dataset(out, ONE, Style(seed, (64, 80)), jobs=1)
    counts = np.random.default_rng([seed, 9]).permutation(COUNTS)
    left, kept = counts.copy(), []
    for line in (out / "train.list").read_text().splitlines():
        label = int(line.split()[-1])
        if left[label]:
            left[label] -= 1
            kept.append(line)
    (out / "train.list").write_text("\n".join(kept) + "\n")


def config_of(data: Path, output: Path, epochs: int) -> dict[str, Any]:
    """The demo's configuration, smaller."""
    config = load_run_config(CONFIG).to_dict()
    config["MODEL"]["backbone"]["width"], config["MODEL"]["head"]["in_channels"] = 12, 96
    for split, part in (("train", "train"), ("valid", "val"), ("test", "test")):
        config["DATASET"][split] |= {"file_path": str(data / f"{part}.list"), "data_prefix": str(data)}
        config["PIPELINE"][split]["transform"] = [
            {"Scale": {"short_size": 54, "fixed_ratio": False, "interpolation": "linear"}},
            {"RandomCrop" if split == "train" else "CenterCrop": {"target_size": 48}},
            *config["PIPELINE"][split]["transform"][2:],
        ]
    config["DATASET"] |= {"label_names": str(data / "labels.txt"), "num_workers": 0}
    rate = config["OPTIMIZER"]["learning_rate"] | {"cosine_base_lr": 0.002, "warmup_epochs": 1}
    config["OPTIMIZER"] = {"name": "AdamW", "weight_decay": 0.02, "learning_rate": rate, "base_batch_size": 8}
    return config | {"epochs": epochs, "val_interval": epochs, "save_interval": epochs, "output_dir": str(output)}


def trained(config: dict[str, Any], seed: int) -> str:
    """The path of the last weights, which are also those of the only validation."""
    from paddlevideo.engine.training import train

    train(Config(config), Options(seed=seed, validate=True, overwrite=True, device="cpu"))
    return str(Path(config["output_dir"]) / "TSM_best.pdparams")


def several_labels(name: str, data: Path, output: Path, seed: int) -> list[float]:
    """mAP, and the macro F1 at 0.5 and at the thresholds of the validation, in per cent."""
    from paddlevideo.engine.testing import test

    config = config_of(data, output, epochs=10)
    config["MODEL"]["head"]["loss_cfg"] = LOSSES[name]
    for split in ("train", "valid", "test"):
        config["DATASET"][split]["multi_label"] = True
    config["METRIC"] = {"name": "CenterCropMetric", "threshold": "best_f1"}
    options = Options(weights=trained(config, seed), device="cpu")
    best = test(Config(config), options)
    half = test(Config(config | {"METRIC": {"name": "CenterCropMetric"}}), options)
    return [100 * value for value in (best["mAP"], half["f1_macro"], best["f1_macro"])]


def rare_classes(name: str, data: Path, output: Path, seed: int) -> list[float]:
    """Top-1 where classes occur as in training, the mean class accuracy, and the recall of the three rarest classes, in
    per cent."""
    from paddlevideo.engine.testing import test

    config, remedy = config_of(data, output, epochs=14), REMEDIES[name]
    config["DATASET"]["train"] |= remedy.get("train", {})
    if "loss" in remedy:
        config["MODEL"]["head"]["loss_cfg"] = {"name": "CrossEntropyLoss", "class_weights": remedy["loss"]}
    kept = Kept()
    test(Config(config), Options(weights=trained(config, seed), device="cpu"), kept)
    recalls = np.array([row["recall"] for row in kept.rows])
    lines = (data / "train.list").read_text().splitlines()
    counts = np.bincount([int(line.split()[-1]) for line in lines], minlength=len(LABELS))
    rare = np.argsort(counts)[:3]
    return [100 * float(v) for v in (np.average(recalls, weights=counts), recalls.mean(), recalls[rare].mean())]


def table(title: str, columns: list[str], rows: Mapping[str, list[list[float]]]) -> None:
    """Prints a Markdown table; ``rows`` has a list of figures for each seed."""
    print(f"\n| {title} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|", sep="\n")
    for name, found in rows.items():
        cells = (f"{np.mean(own):.1f} ({', '.join(f'{value:.1f}' for value in own)})" for own in zip(*found))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "labels")
    parser.add_argument("--only", choices=("several", "rare"))
    args = parser.parse_args()
    set_cpu_environment()
    folder, started = args.folder.resolve(), time.monotonic()
    kept = folder / "results.json"
    done: dict[str, list[float]] = json.loads(kept.read_text()) if kept.is_file() else {}
    kinds: dict[str, tuple[Callable, Callable, Mapping, str, list[str]]] = {
        "several": (render_several, several_labels, LOSSES, "loss",
                    ["mAP", "F1 at 0.5", "F1 at the validation's thresholds"]),
        "rare": (render_rare, rare_classes, REMEDIES, "remedy",
                 ["top-1, classes as in training", "mean class accuracy", "recall of the three rarest"]),
    }  # fmt: skip
    for kind, (render, measure, names, title, columns) in kinds.items():
        if args.only not in (None, kind):
            continue
        found: dict[str, list[list[float]]] = {name: [] for name in names}
        for seed in args.seeds:
            data = folder / f"{kind}_{seed}"
            if not (data / "labels.txt").is_file():
                render(data, seed)
            for number, name in enumerate(names):
                key = f"{kind}, {name}, seed {seed}"
                if key not in done:
                    done[key] = measure(name, data, folder / f"{kind}_run_{seed}_{number}", seed)
                    kept.write_text(json.dumps(done, indent=1))
                    print(f"# {key}: {done[key]}, {time.monotonic() - started:.0f} s", flush=True)
                found[name].append(done[key])
        table(title, columns, found)


if __name__ == "__main__":
    main()
