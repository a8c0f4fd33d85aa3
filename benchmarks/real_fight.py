"""A real data set to the end: networks trained and measured on 240 clips of surveillance cameras, folds by source.

    python -m benchmarks.real_fight run --data fight --weights mobilenet_v2.pdparams --folder /tmp/fight --seeds 0 1 2
    python -m benchmarks.real_fight page --data fight

``--data`` is a folder with ``clips/``, ``list.txt`` (file label) and ``groups.txt`` (file source): 240 clips of the
Surveillance Camera Fight data set (Akti, Tataroglu, Ekenel, 2019), which is no part of this repository.  ``--weights``
is an ImageNet MobileNetV2 (``paddlevideo weights get mobilenet_v2_imagenet``).  Five folds keep every source on one
side; each run trains on four and measures the fifth with the weights of its last epoch, so that nothing is chosen by
the clips that are measured.  A finished run is a line of ``benchmarks/real_fight.jsonl`` and is not made again, unless
``--again`` is given, e.g. for the teachers of "PP-TSM, taught" in a new ``--folder``: its line is marked and counts
in no mean.  ``page`` writes ``benchmarks/real_fight.md`` from these lines.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks import peers
from benchmarks.rows import append, cpu, read
from paddlevideo.sources import folds_of

FOLDS, TEACHER_SEED = 5, 0
_HERE = Path(__file__).resolve().parent
RESULTS, PAGE = _HERE / "real_fight.jsonl", _HERE / "real_fight.md"
CONFIG = "tsm_mv2_motion.yaml"  # of differences
FRAMES = "few_clips.yaml"  # of frames
_ONE_CLIP = ["DATASET.num_workers=0", "DATASET.batch_size=16", "DATASET.test_batch_size=16", "keep_checkpoints=1"]
_SCRATCH = {
    "epochs": 30,
    "OPTIMIZER": {
        "name": "AdamW", "weight_decay": 0.05, "grad_clip": {"name": "ClipGradByGlobalNorm", "value": 5.0},
        "learning_rate": {
            "name": "CustomWarmupCosineDecay", "iter_step": True, "warmup_epochs": 3, "warmup_start_lr": 1e-5,
            "cosine_base_lr": 1e-3, "max_epoch": 30,
        },
    },
}  # fmt: skip
_PPTSM = {
    "framework": "Recognizer2D",
    "backbone": {"name": "ResNetTweaksTSM", "depth": 18, "width": 16, "num_seg": 8},
    "head": {"name": "ppTSMHead", "num_classes": 2, "in_channels": 128, "drop_ratio": 0.5, "std": 0.01, "ls_eps": 0.1},
}
_TIMESFORMER = {
    "framework": "RecognizerTransformer",
    "backbone": {
        "name": "VisionTransformer", "img_size": 112, "patch_size": 16, "embed_dim": 96, "depth": 4, "num_heads": 4,
        "num_seg": 8, "qkv_bias": True, "epsilon": 1e-6, "drop_path_rate": 0.0, "from_scratch": True,
        "attention_type": "divided_space_time",
    },
    "head": {"name": "TimeSformerHead", "num_classes": 2, "in_channels": 96, "std": 0.1},
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """One row of the table.

    Attributes:
        what: for the page.
        changes: overrides of the file.
        sections: sections that replace the file's.
        config: the shipped file.
        kind: ``train``; ``probe``: the linear probe of the fold, not trained further; ``torch``: the same in PyTorch;
            ``test``: the network of "TSM" of the same fold, seed 0, tested otherwise.
        taught: whether the network of "TSM" of the same fold, seed 0, teaches it.
    """

    what: str
    changes: list[str] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)
    config: str = CONFIG
    kind: str = "train"
    taught: bool = False


RECIPES: dict[str, Recipe] = {
    "TSM": Recipe("`tsm_mv2_motion` as shipped: ImageNet MobileNetV2, conv7 to conv9 learn"),
    "TSM, three crops": Recipe(
        "the networks of TSM, seed 0 (made a second time), tested with three crops side by side, short side 112",
        ["PIPELINE.test.transform.0.Scale.short_size=112", "PIPELINE.test.transform.1={ThreeCrop: {crop_size: 112}}"],
        kind="test",
    ),
    "no shift": Recipe("the same without temporal shift", ["MODEL.backbone.shift=False"]),
    "PyTorch": Recipe("the same network and recipe in plain PyTorch, own decoding and augmentation", kind="torch"),
    "probe": Recipe("linear probe of the same frozen features", kind="probe"),
    "probe of frames": Recipe("linear probe of frozen features of frames", config=FRAMES, kind="probe"),
    "TimeSformer": Recipe("4 blocks of width 96, from scratch", sections={"MODEL": _TIMESFORMER, **_SCRATCH}),
    "PP-TSM": Recipe("ResNet-18-vd of width 16, from scratch", sections={"MODEL": _PPTSM, **_SCRATCH}),
    "PP-TSM, taught": Recipe(
        "the same, taught by TSM of its fold (DistillationKLLoss, temperature 2)",
        sections={"MODEL": _PPTSM, **_SCRATCH},
        taught=True,
    ),
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


def fold_of(data: Path) -> np.ndarray:
    """int [240]: the fold of every clip, in the order of ``read_data``."""
    _, labels, sources = read_data(data)
    return folds_of(sources, labels, FOLDS)


def write_lists(data: Path, folder: Path) -> None:
    """A list of training and one of validation per fold."""
    files, labels, _ = read_data(data)
    fold = fold_of(data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("no fight\nfight\n")
    for number in range(FOLDS):
        for name, part in (("train", fold != number), ("val", fold == number)):
            lines = [f"{file} {label}\n" for file, label, own in zip(files, labels, part) if own]
            (folder / f"{name}{number}.list").write_text("".join(lines))


def config_of(args: argparse.Namespace, name: str, fold: int, out: Path) -> Path:
    """Writes the configuration of a run, complete."""
    from paddlevideo.config import load_config

    recipe, data = RECIPES[name], args.data.resolve()
    lists = {"train": f"train{fold}.list", "valid": f"val{fold}.list", "test": f"val{fold}.list"}
    changes = [f"DATASET.{split}.file_path={(args.folder / file).resolve()}" for split, file in lists.items()]
    changes += [f"DATASET.{split}.data_prefix={data / 'clips'}" for split in lists]
    changes += [f"DATASET.label_names={(args.folder / 'classes.txt').resolve()}", "MODEL.head.num_classes=2"]
    changes += [f"MODEL.backbone.pretrained={args.weights.resolve()}", *_ONE_CLIP, *recipe.changes, f"output_dir={out}"]
    config = load_config(recipe.config, changes).to_dict() | recipe.sections
    if recipe.taught:
        config["MODEL"] = taught(args, config["MODEL"], fold)
    config["model_name"] = "fight"
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


def teacher_file(args: argparse.Namespace, fold: int) -> Path:
    """The network of "TSM", seed 0, which its run leaves there."""
    file = args.folder / f"teacher{fold}.pdparams"
    if not file.is_file():
        sys.exit(f"{file}: not there; run --recipe TSM --seeds {TEACHER_SEED} --again in this --folder first")
    return file


def taught(args: argparse.Namespace, student: dict, fold: int) -> dict:
    """MODEL of a student that the network of "TSM" teaches beside the labels."""
    from paddlevideo.config import load_config

    teacher = load_config(CONFIG, ["MODEL.head.num_classes=2"]).to_dict()["MODEL"]
    teacher = {key: value for key, value in teacher.items() if key != "freeze"}
    del teacher["backbone"]["pretrained"]
    pair = ["Student", "Teacher"]
    return {
        "framework": "RecognizerDistillation",
        "models": [{"Teacher": teacher | {"weights": str(teacher_file(args, fold))}}, {"Student": student}],
        "freeze_params_list": ["Teacher"],
        "loss": {
            "Train": [
                {"name": "DistillationCELoss", "model_name_pairs": ["Student", "GroundTruth"]},
                {"name": "DistillationKLLoss", "model_name_pairs": pair, "temperature": 2.0},
            ]
        },
    }


def command(*words: object) -> None:
    """Runs ``paddlevideo WORDS`` with one thread; an error ends the benchmark with the command's output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "paddlevideo", *map(str, words)], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def tested(config: Path, weights: Path, out: Path) -> dict[str, float]:
    """File -> score of a fight, of the clips of the fold."""
    command("test", "-c", config, "-w", weights, "--out", out / "results.json")
    rows = json.loads((out / "results.json").read_text())
    return {Path(row["path"]).name: row["scores"][1] for row in rows}


def probe(args: argparse.Namespace, config: Path, fold: int, out: Path) -> Path:
    """The weights of the network with the linear probe of the fold's training clips as its classifier."""
    features, weights, own = out / "features.npz", out / "probe.pdparams", args.folder / f"train{fold}.list"
    data = ["-i", own, "--data_prefix", args.data / "clips", "--label_file", args.folder / "classes.txt"]
    command("features", "-c", config, *data, "--out", features)
    command("probe", features, "--source", args.data / "groups.txt", "-c", config, "--save", weights)
    return weights


def curve_of(out: Path) -> dict[str, list[float]]:
    """Per epoch: mean loss of training, accuracy of training and of the fold."""
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for record in records:
        if record["mode"] == "train":
            steps[record["epoch"]].append((record["loss"], record.get("top1", float("nan"))))
    means = [np.mean(values, axis=0) for _, values in sorted(steps.items())]
    return {
        "loss": [round(float(mean[0]), 4) for mean in means],
        "train": [round(float(mean[1]), 4) for mean in means],
        "fold": [round(record["top1"], 4) for record in records if record["mode"] == "val"],
    }


def measure(args: argparse.Namespace, name: str, fold: int, seed: int) -> dict[str, Any]:
    """One run: the scores of the fold's clips after the last epoch, the learning curve, seconds."""
    out = args.folder / f"run{os.getpid()}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    begun, recipe, curve = time.monotonic(), RECIPES[name], {}
    if recipe.kind == "torch":
        scores, curve = in_torch(args, fold, seed, out)
    else:
        config = config_of(args, name, fold, out)
        if recipe.kind == "probe":
            scores = tested(config, probe(args, config, fold, out), out)
        elif recipe.kind == "test":
            scores = tested(config, teacher_file(args, fold), out)
        else:
            command("train", "-c", config, "--seed", seed, "--validate", "-o", "log_interval=1")
            last = max(out.glob("*_epoch_*.pdparams"))
            curve, scores = curve_of(out), tested(config, last, out)
            if name == "TSM" and seed == TEACHER_SEED:
                shutil.copy(last, args.folder / f"teacher{fold}.pdparams")
    seconds = round(time.monotonic() - begun)
    listed = [round(scores[line.split()[0]], 4) for line in (args.folder / f"val{fold}.list").read_text().splitlines()]
    row = {"recipe": name, "fold": fold, "seed": seed, "cpu": cpu(), "again": args.again, "seconds": seconds}
    return row | {"scores": listed, "curve": curve}


def in_torch(args: argparse.Namespace, fold: int, seed: int, out: Path) -> tuple[dict[str, float], dict]:
    """The run in PyTorch."""
    from paddlevideo.safe_io import read_pickle

    weights = args.folder / "imagenet.npz"
    if not weights.is_file():
        np.savez(
            weights, **{f"{n:03d} {key}": np.asarray(v) for n, (key, v) in enumerate(read_pickle(args.weights).items())}
        )
    python = peers.python_of("torch").path
    words = [args.folder / f"train{fold}.list", args.folder / f"val{fold}.list", args.data / "clips", weights, out]
    subprocess.run(
        [python, _HERE / "contestants" / "torch_fight.py", *map(str, words), "--seed", str(seed)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True,
    )  # fmt: skip
    found = json.loads((out / "torch.json").read_text())
    return found["scores"], found["curve"]


def run(args: argparse.Namespace) -> None:
    """All runs that are not in the results yet."""
    args.folder.mkdir(parents=True, exist_ok=True)
    write_lists(args.data, args.folder)
    labels = labels_of(args.data)
    for seed in args.seeds:
        for name in args.recipe:
            for fold in args.folds:
                if RECIPES[name].kind in ("probe", "test") and seed != args.seeds[0]:
                    continue  # one for all seeds
                if not args.again and any(_key(row) == (name, fold, seed) for row in read(RESULTS)):
                    continue
                row = measure(args, name, fold, seed)
                append(RESULTS, row)
                print(name, fold, seed, f"{accuracy(args, row, labels):.3f}", row["seconds"], flush=True)


def _key(row: dict[str, Any]) -> tuple[str, int, int]:
    return row["recipe"], row["fold"], row["seed"]


def clips_of(data: Path, fold: int) -> list[str]:
    """The clips of a fold, in the order of a row's scores."""
    files, _, _ = read_data(data)
    return [file for file, own in zip(files, fold_of(data)) if own == fold]


def accuracy(args: argparse.Namespace, row: dict, labels: dict[str, int]) -> float:
    """Share of a fold's clips whose higher score is their class's."""
    files = clips_of(args.data, row["fold"])
    return float(np.mean([(score > 0.5) == labels[file] for file, score in zip(files, row["scores"], strict=True)]))


def page(args: argparse.Namespace) -> None:
    """Writes the page from all runs."""
    labels, everything = labels_of(args.data), read(RESULTS)
    first = [row for row in everything if not row.get("again")]
    second = _second(args, [row for row in everything if row.get("again")], labels)
    parts = [_table(args, first, labels) + second, _curves(first), _worst(args, first, labels)]
    text = PAGE.read_text(encoding="utf-8")
    for name, part in zip(("table", "curves", "worst"), parts, strict=True):
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}{part}\n{end}{rest.split(end)[1]}"
    PAGE.write_text(text, encoding="utf-8")


def _table(args: argparse.Namespace, rows: list[dict], labels: dict[str, int]) -> str:
    """Mean of each fold over the seeds, mean over the folds, each seed, minutes of a run."""
    lines = [
        "| recipe | runs | " + " | ".join(f"fold {k}" for k in range(FOLDS)) + " | mean | each seed | minutes |",
        "|---" * (FOLDS + 5) + "|",
    ]
    for name, recipe in RECIPES.items():
        own = [row for row in rows if row["recipe"] == name]
        found = {(row["fold"], row["seed"]): 100 * accuracy(args, row, labels) for row in own}
        if not found:
            lines.append(f"| **{name}**: {recipe.what} | 0 |" + " |" * (FOLDS + 3))
            continue
        seeds = sorted({seed for _, seed in found})
        by_fold = [[v for (k, _), v in found.items() if k == fold] for fold in range(FOLDS)]
        whole = [seed for seed in seeds if all((fold, seed) in found for fold in range(FOLDS))]
        each = [np.mean([found[fold, seed] for fold in range(FOLDS)]) for seed in whole]
        cells = " | ".join(f"{np.mean(values):.1f}" if values else "" for values in by_fold)
        mean = f"{np.mean(each):.1f}" if each else ""
        minutes = np.mean([row["seconds"] for row in own]) / 60
        lines.append(
            f"| **{name}**: {recipe.what} | {len(found)} | {cells} | {mean} | {', '.join(f'{v:.1f}' for v in each)} "
            f"| {minutes:.1f} |"
        )
    return "\n".join(lines)


def _second(args: argparse.Namespace, rows: list[dict], labels: dict[str, int]) -> str:
    """A line per recipe and seed made again, with every such run."""
    found: dict[tuple[str, int], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["recipe"], row["seed"]][row["fold"]].append(f"{100 * accuracy(args, row, labels):.1f}")
    lines = [
        f"Made again: {name}, seed {seed}, "
        + "; ".join(f"fold {fold}: {', '.join(folds[fold])}" for fold in sorted(folds))
        for (name, seed), folds in found.items()
    ]
    return "".join(f"\n\n{line}" for line in lines)


def _curves(rows: list[dict]) -> str:
    """Mean over folds and seeds, of three epochs in four."""
    lines = []
    for name in RECIPES:
        curves = [row["curve"] for row in rows if row["recipe"] == name and row["curve"]]
        if not curves:
            continue
        epochs = len(curves[0]["loss"])
        shown = sorted({0, *range(epochs // 6 - 1, epochs, max(epochs // 6, 1)), epochs - 1})
        lines.append(f"| {name}: epoch | " + " | ".join(str(epoch + 1) for epoch in shown) + " |")
        lines.append("|---" * (len(shown) + 1) + "|")
        for key, text, digits in (("loss", "loss", 3), ("train", "training, %", 1), ("fold", "held-out fold, %", 1)):
            factor = 1 if key == "loss" else 100
            values = factor * np.mean([curve[key] for curve in curves], axis=0)
            lines.append(f"| {text} | " + " | ".join(f"{values[epoch]:.{digits}f}" for epoch in shown) + " |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _worst(args: argparse.Namespace, rows: list[dict], labels: dict[str, int], most: int = 12) -> str:
    """The clips that "TSM" gets wrong with the highest score, mean over the seeds."""
    scores: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["recipe"] == "TSM":
            for file, score in zip(clips_of(args.data, row["fold"]), row["scores"], strict=True):
                scores[file].append(score)
    of_class = {
        file: float(np.mean(values if labels[file] else 1 - np.array(values))) for file, values in scores.items()
    }
    lines = ["| clip | is | score of its class |", "|---|---|---|"]
    for file in sorted(of_class, key=of_class.__getitem__)[:most]:
        lines.append(f"| {file} | {'fight' if labels[file] else 'no fight'} | {of_class[file]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "page"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="of lists, teachers and runs")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--recipe", nargs="+", choices=[*RECIPES], default=[*RECIPES])
    parser.add_argument("--folds", type=int, nargs="+", default=[*range(FOLDS)])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--again", action="store_true", help="make runs that have a line already")
    args = parser.parse_args()
    run(args) if args.what == "run" else page(args)


if __name__ == "__main__":
    main()
