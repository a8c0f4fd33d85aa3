"""Detection on rendered actors, where it is known what decides an action:

    python -m benchmarks.ava_synthetic --seeds 0 1 2

Every variant is a demo configuration with one thing changed; every seed renders its own videos.  The last rows keep the
two rare actions as custom classes.  Prints two Markdown tables: frame-mAP at an IoU of 0.5 in per cent, on videos no
run has seen, and the mean AP of groups of actions: of one actor, those that depend on another actor, and rare ones.
A finished run is a line of ``benchmarks/ava_synthetic.jsonl`` and is not made again.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarks.rows import append, cpu, read

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_suffix(".jsonl")
CONFIGS = ROOT / "configs/detection/ava"
SPLITS = (("train", "train"), ("valid", "val"), ("test", "test"))  # a split, and its files
RARE = {"crouch": 6, "wave": 7}
GROUPS = {
    "of one actor": ("walk_left", "walk_right", "jump", "spin", "stand"),
    "with another": ("approach", "flee", "follow", "hold_together"),
    "rare": tuple(RARE),
}
ACRN = {"name": "ACRNHead", "in_channels": 256, "out_channels": 128}


def short(num_stages: int, acrn: bool) -> tuple[str, dict]:
    """SlowOnly of ``num_stages`` stages, width 32: it sees 43 pixels of the picture's side with one, 99 with two."""
    channels = 32 << (num_stages - 1)
    head = {
        "bbox_roi_extractor": {"featmap_stride": 4 << (num_stages - 1)}, "bbox_head": {"in_channels": channels}
    }  # fmt: skip
    if acrn:
        head["shared_head"] = {"name": "ACRNHead", "in_channels": 2 * channels, "out_channels": channels}
    backbone = {"name": "ShortSlowOnly", "num_stages": num_stages}
    return "slowonly", {"imports": ["benchmarks.short_slowonly"], "MODEL": {"backbone": backbone, "head": head}}


_CUSTOM = {"custom_classes": list(RARE.values())}
VARIANTS: dict[str, tuple[str, dict]] = {
    "SlowOnly": ("slowonly", {}),
    "SlowFast": ("slowfast", {}),
    "SlowOnly + ACRN": ("slowonly", {"MODEL": {"head": {"shared_head": ACRN}}}),
    "SlowOnly, focal 3, 1": ("slowonly", {"MODEL": {"head": {"bbox_head": {"focal_alpha": 3.0, "focal_gamma": 1.0}}}}),
    "SlowOnly, rare classes alone": (
        "slowonly",
        {
            "MODEL": {"head": {"bbox_head": {"num_classes": 3, "topk": [1]}}},
            "DATASET": dict.fromkeys(("train", "valid", "test"), _CUSTOM),
        },
    ),
}
VARIANTS |= {
    f"SlowOnly of {n} stage{'s' * (n > 1)}{' + ACRN' * acrn}": short(n, acrn) for n in (1, 2) for acrn in (False, True)
}
_AP = re.compile(r"AP@0\.5IOU/(\S+): (\S+)")
_MAP = re.compile(r"mAP@0\.5IOU=(\S+?)[,\s]")


def run(command: list[str]) -> str:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    return done.stdout + done.stderr


def files_of(data: Path) -> dict[str, dict[str, str]]:
    """What DATASET's splits read of a rendered data set."""
    return {
        split: {
            "data_prefix": str(data / "videos"),
            "label_file": str(data / "labels.pbtxt"),
            "file_path": str(data / f"{file}.csv"),
            "exclude_file": str(data / f"{file}_excluded.csv"),
            "proposal_file": str(data / f"{file}_proposals.pkl"),
        }
        for split, file in SPLITS
    }


def precisions(printed: str) -> dict[str, float]:
    """AP by class and mAP, in per cent, of what a test printed."""
    found = {name: 100 * float(value) for name, value in _AP.findall(printed)}
    return {**found, "mAP": 100 * float(_MAP.search(printed).group(1))}


def write_config(folder: Path, name: str, data: Path) -> Path:
    """The demo's configuration with one change, on this seed's data."""
    base, change = VARIANTS[name]
    content = {"_base_": [str(CONFIGS / f"{base}_synthetic_demo.yaml")], **change}
    custom = content.get("DATASET", {})
    splits = {split: {**custom.get(split, {}), **files} for split, files in files_of(data).items()}
    output = folder / "".join(c if c.isalnum() else "_" for c in name)
    content |= {"DATASET": splits, "output_dir": str(output), "model_name": "AVA"}
    output.mkdir(parents=True, exist_ok=True)
    (output / "variant.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return output / "variant.yaml"


def figures(folder: Path, name: str, seed: int) -> dict[str, float]:
    """Trains and tests; mAP, and AP by class, in per cent."""
    data = folder / f"ava_{seed}"
    if not (data / "README.md").is_file():
        run(["-m", "demo.ava_synthetic", "--out", str(data), "--seed", str(seed), "--jobs", "1"])
    if name == "chance":
        return chance(data)
    config = write_config(folder / f"seed_{seed}", name, data)
    run(["main.py", "-c", str(config), "--validate", "--overwrite", "--seed", str(seed)])
    return precisions(run(["main.py", "-c", str(config), "--test", "-w", str(config.parent / "AVA_best.pdparams")]))


def seed_figures(seed: int, folder: Path, variants: list[str]) -> dict[str, dict[str, float]]:
    found = {}
    for name in ["chance", *variants]:
        row = next((row for row in read(RESULTS) if (row["variant"], row["seed"]) == (name, seed)), None)
        if row is None:
            day = datetime.date.today().isoformat()
            row = {"variant": name, "seed": seed, "cpu": cpu(), "date": day, "ap": figures(folder, name, seed)}
            append(RESULTS, row)
            print(f"seed {seed}: {name} {row['ap']['mAP']:.1f}", file=sys.stderr, flush=True)
        found[name] = row["ap"]
    return found


def chance(data: Path) -> dict[str, float]:
    """The share of persons with each action: the AP of constant scores."""
    table = re.findall(r"^\| \d+ \| (\w+) \|.*\| ([\d.]+) % \|$", (data / "README.md").read_text(), re.MULTILINE)
    shares = {name: float(value) for name, value in table}
    return {**shares, "mAP": sum(shares.values()) / len(shares)}


def group_mean(found: dict[str, float], names: tuple[str, ...]) -> str:
    values = [found[name] for name in names if name in found]
    return f"{sum(values) / len(values):.1f}" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, one core each")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "ava_variants")
    args = parser.parse_args()
    folder = args.folder.resolve()
    with ThreadPoolExecutor(args.jobs) as pool:
        found = dict(zip(args.seeds, pool.map(lambda seed: seed_figures(seed, folder, args.variants), args.seeds)))
    print(f"`python -m benchmarks.ava_synthetic --seeds {' '.join(map(str, args.seeds))}`, "
          f"{datetime.date.today().isoformat()}, {platform.machine()}, {os.cpu_count()} cores\n")  # fmt: skip
    print("| network | " + " | ".join(f"mAP, seed {seed}" for seed in args.seeds) + " | mean |")
    print("|---" * (len(args.seeds) + 2) + "|")
    names = ["chance", *args.variants]
    for name in names:
        values = [found[seed][name]["mAP"] for seed in args.seeds]
        print(f"| {name} | {' | '.join(f'{v:.1f}' for v in values)} | {sum(values) / len(values):.1f} |")
    print("\n| network | " + " | ".join(f"{group}, per seed" for group in GROUPS) + " |\n" + "|---" * 4 + "|")
    for name in names:
        cells = [", ".join(group_mean(found[seed][name], group) for seed in args.seeds) for group in GROUPS.values()]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
