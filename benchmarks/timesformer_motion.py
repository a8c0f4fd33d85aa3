"""Attention over time, weight averaging and distillation, on motions that no single frame shows:

    python -m benchmarks.timesformer_motion --seeds 0 1 2

Divided, joint and space-only attention are the demo's configuration with one word changed.  The student is a narrower,
shallower divided network; trained alone, with SWA over its last epochs, and taught by the divided network of the
same seed.  Every seed renders its own clips.  Prints Markdown rows: top-1 in per cent on clips no run has seen.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs/recognition/timesformer/timesformer_motion_demo.yaml"
SMALL = {"backbone": {"depth": 2, "embed_dim": 48}, "head": {"in_channels": 48}}
VARIANTS: dict[str, dict] = {
    "divided": {},
    "joint": {"MODEL": {"backbone": {"attention_type": "joint_space_time"}}},
    "space-only": {"MODEL": {"backbone": {"attention_type": "space_only"}}},
    "student alone": {"MODEL": SMALL},
    "student, SWA of the last 3 epochs": {"MODEL": SMALL, "SWA": {"last_epochs": 3, "lr": 0.0003}},
    "student taught by divided": {"taught": True},
}
WEIGHTS = {"student, SWA of the last 3 epochs": "_swa"}  # of the others the best, by validation


def run(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")


def merged(base: dict, change: dict) -> dict:
    joined = dict(base)
    for key, value in change.items():
        joined[key] = merged(base.get(key, {}), value) if isinstance(value, dict) else value
    return joined


def write_config(folder: Path, name: str, change: dict, data: Path) -> Path:
    """The demo's configuration with one change, on this seed's data."""
    change, content = dict(change), yaml.safe_load(CONFIG.read_text())
    if change.pop("taught", False):
        model = content.pop("MODEL")
        student = merged(model, SMALL)
        losses = [
            {"name": "DistillationCELoss", "model_name_pairs": ["Student", "GroundTruth"]},
            {"name": "DistillationKLLoss", "model_name_pairs": ["Student", "Teacher"], "temperature": 2.0},
        ]
        teacher = {**model, "weights": str(folder / "divided" / "TimeSformer_best.pdparams")}
        content["MODEL"] = {
            "framework": "RecognizerDistillation",
            "models": [{"Teacher": teacher}, {"Student": student}],
            "freeze_params_list": ["Teacher"],
            "loss": {"Train": losses},
        }
    splits = {
        split: {"file_path": str(data / f"{file}.list"), "data_prefix": str(data)}
        for split, file in (("train", "train"), ("valid", "val"), ("test", "test"))
    }
    content = merged(content, {**change, "DATASET": {"label_names": str(data / "labels.txt"), **splits}})
    output = folder / "".join(c if c.isalnum() else "_" for c in name)
    content["output_dir"] = str(output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "variant.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return output / "variant.yaml"


def accuracy(config: Path, name: str, seed: int) -> float:
    """Trains and tests; a run whose results are there already is not repeated."""
    folder, results = config.parent, config.parent / "results.json"
    if not results.is_file():
        run(["main.py", "-c", str(config), "--validate", "--overwrite", "--seed", str(seed)])
        weights = folder / f"TimeSformer{WEIGHTS.get(name, '_best')}.pdparams"
        run(["main.py", "-c", str(config), "--test", "-w", str(weights), "--out", str(results)])
    rows = json.loads(results.read_text())
    return 100 * sum(max(range(8), key=r["scores"].__getitem__) == r["label"] for r in rows) / len(rows)


def seed_rows(seed: int, folder: Path, variants: list[str]) -> dict[str, float]:
    """One seed's variants one after the other: the taught student needs its teacher."""
    data = folder / f"motion_{seed}"
    if not (data / "test.list").is_file():
        run(["-m", "demo.motion", "--out", str(data), "--seed", str(seed), "--jobs", "1",
             "--train", "960", "--val", "256", "--test", "256"])  # fmt: skip
    found = {}
    for name in variants:
        config = write_config(folder / f"seed_{seed}", name, VARIANTS[name], data)
        found[name] = accuracy(config, name, seed)
        print(f"seed {seed}: {name} {found[name]:.1f}", file=sys.stderr, flush=True)
    return found


def print_table(benchmark: str, seeds: list[int], rows: dict[str, list[float]]) -> None:
    """The command, the day and the machine, and a Markdown row per network: each seed, the mean."""
    command = f"python -m benchmarks.{benchmark} --seeds {' '.join(map(str, seeds))}"
    print(f"`{command}`, {datetime.date.today().isoformat()}, {platform.machine()}, {os.cpu_count()} cores\n")
    print("| network | " + " | ".join(f"top-1, seed {seed}" for seed in seeds) + " | mean |")
    print("|---" * (len(seeds) + 2) + "|")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(f'{v:.1f}' for v in values)} | {sum(values) / len(values):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, one core each")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "timesformer_motion")
    args = parser.parse_args()
    folder = args.folder.resolve()
    with ThreadPoolExecutor(args.jobs) as pool:
        found = dict(zip(args.seeds, pool.map(lambda seed: seed_rows(seed, folder, args.variants), args.seeds)))
    print_table("timesformer_motion", args.seeds, {n: [found[seed][n] for seed in args.seeds] for n in args.variants})


if __name__ == "__main__":
    main()
