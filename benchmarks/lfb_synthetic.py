"""What a long-term feature bank is worth where only the minute around decides:

    python -m benchmarks.lfb_synthetic --seeds 0 1 2

Every seed renders its own long videos and trains a SlowOnly on them.  Its banks are built, and on its backbone, which
stays as it is, four heads are trained alike: one without a bank, and the mean, the maximum and the non-local operator.
Then the non-local one is tested again with banks of float16, and with windows drawn at random.
A finished test is a line of ``benchmarks/lfb_synthetic.jsonl``; a seed with all of them is not made again.  --heads
makes some of the heads alone, e.g. with more --epochs.
Prints Markdown: mean AP in per cent of the actions that the minute decides, and of the others.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarks.ava_synthetic import SPLITS, files_of, precisions, run
from benchmarks.rows import append, cpu, read

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_suffix(".jsonl")
CONFIG = ROOT / "configs/detection/lfb/slowonly_synthetic_long_demo.yaml"
DECIDED = ("carries_taken_ball", "carries_own_ball", "returns_to_start", "goes_elsewhere")
WIDTH, LATENT = 128, 64
HEADS: dict[str, tuple[str | None, int]] = {
    "no bank": (None, WIDTH),
    "mean": ("avg", 2 * WIDTH),
    "maximum": ("max", 2 * WIDTH),
    "non-local": ("non_local", WIDTH + LATENT),
}
DETECTOR = "the detector of the banks"
HALF, RANDOM = "non-local, tested with float16 banks", "non-local, tested with random windows"
OF_NON_LOCAL = (HALF, RANDOM)  # tests of that head


def write(folder: Path, name: str, data: Path, more: dict) -> Path:
    """A configuration on this seed's data."""
    output = folder / "".join(c if c.isalnum() else "_" for c in name)
    content = {
        "_base_": [str(CONFIG)],
        "DATASET": files_of(data),
        "output_dir": str(output),
        "model_name": "LFB",
        **more,
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "variant.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return output / "variant.yaml"


def with_head(folder: Path, name: str, data: Path, start: Path, args: argparse.Namespace, half: bool = False) -> Path:
    """A head behind the trained backbone, with banks in its pipelines if it looks into them."""
    fbo, channels = HEADS[name]
    head: dict = {"bbox_head": {"in_channels": channels}}
    more: dict = {"epochs": args.epochs}
    rate = {"name": "CustomWarmupCosineDecay", "iter_step": True, "warmup_start_lr": 0.01, "warmup_epochs": 0.1,
            "cosine_base_lr": args.rate, "max_epoch": args.epochs}  # fmt: skip
    more["OPTIMIZER"] = {"learning_rate": rate}
    if fbo:
        sizes = {"st_feat_channels": WIDTH, "lt_feat_channels": WIDTH, "latent_channels": LATENT}
        # of 300 slots 180 are empty in videos of 40 s with three people: as keys they drown what is there
        quiet = {"mask_empty": True, "st_feat_dropout_ratio": 0.0, "lt_feat_dropout_ratio": 0.0}
        head["shared_head"] = {"name": "FBOHead", "fbo": fbo, **sizes, **quiet}
        banks = {split: folder / f"{file}.bank" for split, file in SPLITS}
        if half:
            banks["test"] = folder / "test_half.bank"
        more["PIPELINE"] = {
            split: {"long_term": {"name": "LongTermFeatures", "banks": [str(bank)]}} for split, bank in banks.items()
        }
    more["MODEL"] = {"backbone": {"pretrained": str(start)}, "freeze": ["backbone"], "head": head}
    return write(folder, f"{name} {args.epochs}{' half' if half else ''}", data, more)


def test(config: Path, weights: Path, note: str = "test", *overrides: str) -> dict[str, float]:
    """AP by class and mAP, in per cent.  What was tested already is not repeated."""
    printed = config.parent / f"{note}.txt"
    if not printed.is_file():
        flags = [part for override in overrides for part in ("-o", override)]
        printed.write_text(run(["main.py", "-c", str(config), "--test", "-w", str(weights), *flags]))
    return precisions(printed.read_text())


def trained(config: Path, seed: int) -> Path:
    """The best weights of a run, which is not repeated."""
    best = config.parent / "LFB_best.pdparams"
    if not (config.parent / "done").is_file():
        run(["main.py", "-c", str(config), "--validate", "--overwrite", "--seed", str(seed)])
        (config.parent / "done").touch()
    return best


def seed_figures(seed: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """What a seed's tests gave: of the results where they are whole, else made."""
    found = {row["head"]: row["ap"] for row in read(RESULTS) if (row["seed"], row["epochs"]) == (seed, args.epochs)}
    wanted = {DETECTOR, *args.heads, *(OF_NON_LOCAL if "non-local" in args.heads else ())}
    if wanted - found.keys():
        for name, ap in made(seed, args).items():
            if name not in found:
                day = datetime.date.today().isoformat()
                row = {"head": name, "seed": seed, "epochs": args.epochs, "cpu": cpu(), "date": day, "ap": ap}
                append(RESULTS, row)
                found[name] = ap
    return found


def made(seed: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    root = args.folder.resolve()
    data, folder = root / f"ava_long_{seed}", root / f"seed_{seed}"
    if not (data / "README.md").is_file():
        make = ["-m", "demo.ava_synthetic", "--long", "--out", str(data), "--seed", str(seed), "--jobs", "1"]
        run([*make, "--train", "128", "--val", "8", "--test", "32"])
    base = write(folder, "detector", data, {})
    start = trained(base, seed)
    found = {DETECTOR: test(base, start)}
    print(f"seed {seed}: detector {found[DETECTOR]['mAP']:.1f}", file=sys.stderr, flush=True)
    for bank, split, flags in (*((file, file, []) for _, file in SPLITS), ("test_half", "test", ["--half"])):
        if not (folder / f"{bank}.bank").is_file():
            command = ["tools/build_feature_bank.py", "-c", str(base), "-w", str(start), "--split", split]
            run([*command, "--out", str(folder / f"{bank}.bank"), *flags])
    for name in args.heads:
        config = with_head(folder, name, data, start, args)
        weights = trained(config, seed)
        found[name] = test(config, weights)
        print(f"seed {seed}: {name} {found[name]['mAP']:.1f}", file=sys.stderr, flush=True)
        if name == "non-local":
            halved = with_head(folder, name, data, start, args, half=True)
            found[HALF] = test(halved, weights)
            found[RANDOM] = test(config, weights, "random", "PIPELINE.test.long_term.sampling=random")
    return found


def mean(found: dict[str, float], decided: bool) -> float:
    # a class without a person in this set has no figure
    values = [v for k, v in found.items() if k != "mAP" and (k in DECIDED) == decided and v == v]
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, one core each")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=[*HEADS])
    parser.add_argument("--epochs", type=int, default=1, help="of every head")
    parser.add_argument("--rate", type=float, default=0.1, help="greatest learning rate of the heads")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "lfb_variants")
    args = parser.parse_args()
    with ThreadPoolExecutor(args.jobs) as pool:
        found = dict(zip(args.seeds, pool.map(lambda seed: seed_figures(seed, args), args.seeds)))
    print(f"`python -m benchmarks.lfb_synthetic --seeds {' '.join(map(str, args.seeds))}`, "
          f"{datetime.date.today().isoformat()}, {platform.machine()}, {os.cpu_count()} cores\n")  # fmt: skip
    print(
        "| head | mAP, per seed | decided by the minute, per seed | mean | others, per seed | mean |\n"
        + "|---" * 6
        + "|"
    )
    for name in next(iter(found.values())):
        rows = [found[seed][name] for seed in args.seeds]
        columns = [[row["mAP"] for row in rows], [mean(row, True) for row in rows], [mean(row, False) for row in rows]]
        texts = [", ".join(f"{value:.1f}" for value in column) for column in columns]
        means = [sum(column) / len(column) for column in columns]
        print(f"| {name} | {texts[0]} | {texts[1]} | {means[1]:.1f} | {texts[2]} | {means[2]:.1f} |")


if __name__ == "__main__":
    main()
