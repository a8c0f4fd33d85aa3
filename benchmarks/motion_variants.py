"""What shift, mixing and mirroring do on the motion data set:  python -m benchmarks.motion_variants --seeds 0 1 2

Every variant is the demo's configuration with one thing changed, trained alike; two run at a time, one core each.  A
mirror image turns left into right and clockwise into anticlockwise, so mirrored clips need ``flip_label_map``.
Prints Markdown rows: top-1 on the held-out clips, and on those of left / right alone.
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
CONFIG = ROOT / "configs/recognition/tsm/tsm_motion_demo.yaml"
MIRRORED = {0: 1, 1: 0, 6: 7, 7: 6}  # left, right; clockwise, anticlockwise
VARIANTS: dict[str, dict] = {
    "shift (the demo)": {},
    "no shift": {"MODEL": {"backbone": {"shift": False}}},
    "shift, Mixup 0.2": {"MIX": {"name": "Mixup", "alpha": 0.2}},
    "shift, CutMix 0.2": {"MIX": {"name": "Cutmix", "alpha": 0.2}},
    "shift, flip with label map": {"flip": {"p": 0.5, "flip_label_map": MIRRORED}},
    "shift, flip without label map": {"flip": {"p": 0.5}},
}


def write_config(folder: Path, name: str, change: dict, data: Path) -> Path:
    """The demo's configuration with one change, on its own data and into its own folder."""
    change = dict(change)
    flip = change.pop("flip", None)
    if flip:
        steps = yaml.safe_load(CONFIG.read_text())["PIPELINE"]["train"]["transform"]
        at = next(i for i, step in enumerate(steps) if "RandomCrop" in step) + 1
        change["PIPELINE"] = {"train": {"transform": [*steps[:at], {"RandomFlip": flip}, *steps[at:]]}}
    splits = {
        split: {"file_path": str(data / f"{file}.list"), "data_prefix": str(data)}
        for split, file in (("train", "train"), ("valid", "val"), ("test", "test"))
    }
    change["DATASET"] = {"label_names": str(data / "labels.txt"), **splits}
    output = folder / name.replace(" ", "_").replace(",", "")
    content = {"_base_": [str(CONFIG)], **change, "output_dir": str(output)}
    output.mkdir(parents=True, exist_ok=True)
    (output / "variant.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return output / "variant.yaml"


def run(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")


def accuracies(config: Path, seed: int) -> tuple[float, float]:
    """Trains and tests; top-1 in per cent over all held-out clips and over left / right."""
    folder = config.parent
    run(["main.py", "-c", str(config), "--validate", "--overwrite", "--seed", str(seed)])
    weights, results = folder / "TSM_best.pdparams", folder / "results.json"
    run(["main.py", "-c", str(config), "--test", "-w", str(weights), "--out", str(results)])
    rows = [(max(range(8), key=row["scores"].__getitem__), row["label"]) for row in json.loads(results.read_text())]
    sides = [row for row in rows if row[1] in (0, 1)]
    return tuple(100 * sum(p == label for p, label in part) / len(part) for part in (rows, sides))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "variants")
    args = parser.parse_args()
    jobs = {}
    for seed in args.seeds:
        data = args.folder.resolve() / f"motion_{seed}"
        run(["-m", "demo.motion", "--out", str(data), "--seed", str(seed)])
        for name, change in VARIANTS.items():
            jobs[name, seed] = write_config(args.folder.resolve() / f"seed_{seed}", name, change, data), seed
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(jobs, pool.map(lambda job: accuracies(*job), jobs.values())))
    seeds = " ".join(map(str, args.seeds))
    print(f"`python -m benchmarks.motion_variants --seeds {seeds}`, {datetime.date.today().isoformat()}, "
          f"{platform.machine()}, {os.cpu_count()} cores\n")  # fmt: skip
    print("| variant | " + " | ".join(f"top-1, seed {seed}" for seed in args.seeds) + " | left / right alone |")
    print("|---" * (len(args.seeds) + 2) + "|")
    for name in VARIANTS:
        top = " | ".join(f"{found[name, seed][0]:.1f}" for seed in args.seeds)
        print(f"| {name} | {top} | {', '.join(f'{found[name, seed][1]:.0f}' for seed in args.seeds)} |")


if __name__ == "__main__":
    main()
