"""Fine-tuning with few clips of a real data set, compared with classifiers on frozen features; folds by source.

    python -m benchmarks.real_fight run --data fight --weights mobilenet_v2.pdparams --folder /tmp/fight --seeds 0 1 2
    python -m benchmarks.real_fight table --data fight --folder /tmp/fight

``--data`` is a folder with ``clips/``, ``list.txt`` (file label) and ``groups.txt`` (file source): 240 clips of the
Surveillance Camera Fight data set (Akti, Tataroglu, Ekenel, 2019), which is no part of this repository.  ``--weights``
is an ImageNet MobileNetV2 (``paddlevideo weights get mobilenet_v2_imagenet``).  Five folds keep every source on one
side; each run trains on four and measures the fifth with the weights of its last epoch, so that nothing is chosen by
the clips that are measured.  A finished run is a line of ``FOLDER/results.jsonl`` and is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from paddlevideo.sources import folds_of

FOLDS = 5
_ONE_CLIP = ["DATASET.num_workers=0", "DATASET.batch_size=16", "DATASET.test_batch_size=16", "keep_checkpoints=1"]
_FROZEN = f"MODEL.freeze=[{', '.join(f'backbone.conv{k}' for k in range(1, 7))}]"
# name -> what the recipe changes of --config, and whether it starts from the linear probe of its fold
RECIPES: dict[str, tuple[list[str], bool]] = {
    "base": ([], False),
    "no shift": (["MODEL.backbone.shift=False"], False),
    "from the probe": ([], True),
    "all layers": (["MODEL.freeze=[]"], False),  # tsm_mv2_motion itself has conv1 to conv6 frozen
    "conv1 to conv6 frozen": ([_FROZEN], False),
    "from the probe, conv1 to conv6 frozen": ([_FROZEN], True),
    "strong augmentation": (["augment=strong"], False),
    "rate x 3": (["OPTIMIZER.learning_rate.values=[0.0003, 0.00006, 0.000015]"], False),
    "rate / 3": (["OPTIMIZER.learning_rate.values=[0.00003, 0.000006, 0.0000015]"], False),
}


def labels_of(data: Path) -> dict[str, int]:
    """File -> class."""
    return {file: int(label) for file, label in (line.split() for line in (data / "list.txt").read_text().splitlines())}


def read_data(data: Path) -> tuple[list[str], np.ndarray, list[str]]:
    """Files, labels and sources of the clips."""
    labels = labels_of(data)
    sources = dict(line.split() for line in (data / "groups.txt").read_text().splitlines())
    files = sorted(labels)
    return files, np.array([labels[file] for file in files]), [sources[file] for file in files]


def write_lists(data: Path, folder: Path) -> np.ndarray:
    """A list of training and one of validation per fold; returns the fold of every clip."""
    files, labels, sources = read_data(data)
    fold = folds_of(sources, labels, FOLDS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("no fight\nfight\n")
    for number in range(FOLDS):
        for name, part in (("train", fold != number), ("val", fold == number)):
            lines = [f"{file} {label}\n" for file, label, own in zip(files, labels, part) if own]
            (folder / f"{name}{number}.list").write_text("".join(lines))
    return fold


def overrides(args: argparse.Namespace, fold: int) -> list[str]:
    """What every recipe changes of the shipped file: the data, and the weights to start from."""
    lists = {"train": f"train{fold}.list", "valid": f"val{fold}.list", "test": f"val{fold}.list"}
    found = [f"DATASET.{split}.file_path={(args.folder / name).resolve()}" for split, name in lists.items()]
    found += [f"DATASET.{split}.data_prefix={(args.data / 'clips').resolve()}" for split in lists]
    found += [f"DATASET.label_names={(args.folder / 'classes.txt').resolve()}", "MODEL.head.num_classes=2"]
    return [*found, f"MODEL.backbone.pretrained={args.weights.resolve()}", *_ONE_CLIP]


def command(*words: object) -> None:
    """Runs ``paddlevideo WORDS`` with one thread; an error ends the benchmark with the command's output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "paddlevideo", *map(str, words)], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def train(args: argparse.Namespace, recipe: str, fold: int, seed: int) -> dict:
    """One run, and the scores of the clips of the fold after its last epoch."""
    out = args.folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    changes, from_probe = RECIPES[recipe]
    given = [word for change in [*overrides(args, fold), *changes, f"output_dir={out}"] for word in ("-o", change)]
    start: list[object] = []
    if from_probe:
        features, probe = args.folder / "features.npz", args.folder / "probe.pdparams"
        train_list = args.folder / f"train{fold}.list"
        data = ["-i", train_list, "--data_prefix", args.data / "clips", "--label_file", args.folder / "classes.txt"]
        command("features", "-c", args.config, *given, *data, "--out", features)
        command("probe", features, "--source", args.data / "groups.txt", "-c", args.config, *given, "--save", probe)
        start = ["-w", probe]
    begun = time.monotonic()
    command("train", "-c", args.config, "--seed", seed, *start, *given)
    seconds = time.monotonic() - begun
    last = max(out.glob("*_epoch_*.pdparams"))
    command("test", "-c", args.config, "-w", last, "--out", out / "results.json", *given)
    scores = {Path(row["path"]).name: row["scores"] for row in json.loads((out / "results.json").read_text())}
    return {"recipe": recipe, "fold": fold, "seed": seed, "seconds": seconds, "scores": scores}


def accuracy(row: dict, labels: dict[str, int]) -> float:
    """Share of a fold's clips whose highest score is their class's."""
    return float(np.mean([np.argmax(scores) == labels[file] for file, scores in row["scores"].items()]))


def run(args: argparse.Namespace) -> None:
    """All runs that are not in the results yet."""
    write_lists(args.data, args.folder)
    labels = labels_of(args.data)
    results = args.folder / "results.jsonl"
    done = {(row["recipe"], row["fold"], row["seed"]) for row in rows_of(results)}
    for seed in args.seeds:
        for recipe in args.recipe:
            for fold in args.folds:
                if (recipe, fold, seed) in done:
                    continue
                row = train(args, recipe, fold, seed)
                with results.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")
                print(recipe, fold, seed, round(accuracy(row, labels), 3), flush=True)


def rows_of(results: Path) -> list[dict]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []


def table(args: argparse.Namespace) -> None:
    """Mean of each fold over the seeds, mean over the folds, spread over the seeds."""
    labels = labels_of(args.data)
    by_recipe: dict[str, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    seconds: dict[str, list[float]] = defaultdict(list)
    for row in rows_of(args.folder / "results.jsonl"):
        by_recipe[row["recipe"]][row["seed"]][row["fold"]] = accuracy(row, labels)
        seconds[row["recipe"]].append(row["seconds"])
    print("| recipe | seeds | " + " | ".join(f"fold {k}" for k in range(FOLDS)) + " | mean | per seed | minutes |")
    print("|---" * (FOLDS + 5) + "|")
    for recipe, seeds in by_recipe.items():
        whole = {seed: folds for seed, folds in seeds.items() if len(folds) == FOLDS}
        if not whole:
            continue
        values = np.array([[folds[k] for k in range(FOLDS)] for folds in whole.values()])
        cells = " | ".join(f"{100 * value:.1f}" for value in values.mean(0))
        each = ", ".join(f"{100 * value:.1f}" for value in values.mean(1))
        minutes = np.mean(seconds[recipe]) / 60
        print(f"| {recipe} | {len(whole)} | {cells} | {100 * values.mean():.1f} | {each} | {minutes:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--config", default="few_clips")
    parser.add_argument("--recipe", nargs="+", choices=[*RECIPES], default=["base"])
    parser.add_argument("--folds", type=int, nargs="+", default=[*range(FOLDS)])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    run(args) if args.what == "run" else table(args)


if __name__ == "__main__":
    main()
