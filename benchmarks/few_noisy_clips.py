"""Averaged weights and a teacher where they can act: few clips, some of them labelled wrongly; a CNN taught by a CNN.

    python -m benchmarks.few_noisy_clips --seeds 0 1 2

The motions of ``make demo`` (8 classes in pairs that no single frame shows).  The teacher, TSM ResNet-18 of width 16,
has 640 clips with right labels.  The student, of width 8, has 160 of them, and three in ten of its labels are drawn
from the other classes.  All weights are those of the last epoch; nothing is chosen by validation.  Every seed renders
its own clips, and draws its own wrong labels.  Prints Markdown rows: top-1 in per cent on 256 clips with right labels.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarks.timesformer_motion import ROOT, merged, print_table, run

CONFIG = ROOT / "configs/recognition/tsm/tsm_motion_demo.yaml"
CLASSES, NUM_CLIPS, NUM_FEW, NUM_TEST, WRONG = 8, 640, 160, 256, 0.3
EPOCHS, AVERAGED = 24, 12  # of the student; 480 steps, as many as the teacher's
SMALL = {"backbone": {"width": 8}, "head": {"in_channels": 64}}
STUDENT = {"MODEL": SMALL, "epochs": EPOCHS, "save_interval": EPOCHS}
CONSTANT = {"SWA": {"last_epochs": AVERAGED, "lr": 0.005}}  # half of the highest rate, for half of the run
# row -> (change of the configuration, ending of the weights' name); two rows of one change are one run
LAST = f"_epoch_{EPOCHS:05d}"
ROWS: dict[str, tuple[dict, str]] = {
    "teacher: 640 clips, right labels": ({}, "_epoch_00006"),
    "student alone, cosine to 0": (STUDENT, LAST),
    "student alone, constant rate of the last 12 epochs: last weights": (STUDENT | CONSTANT, LAST),
    "the same run: SWA, the average of the last 12 epochs": (STUDENT | CONSTANT, "_swa"),
    "student taught, cosine to 0": (STUDENT | {"taught": True}, LAST),
    "student taught, constant rate: last weights": (STUDENT | CONSTANT | {"taught": True}, LAST),
    "the same run: SWA": (STUDENT | CONSTANT | {"taught": True}, "_swa"),
}


def write_few(data: Path, seed: int) -> None:
    """The list of the student's clips: the same number of each class, wrong labels for three in ten of each."""
    rng = random.Random(seed)
    rows = [line.rsplit(" ", 1) for line in (data / "train.list").read_text().splitlines()]
    lines = []
    for own in range(CLASSES):
        files = [file for file, label in rows if int(label) == own][: NUM_FEW // CLASSES]
        for index, file in enumerate(files):
            wrong = index < WRONG * len(files)
            label = rng.choice([other for other in range(CLASSES) if other != own]) if wrong else own
            lines.append(f"{file} {label}\n")
    (data / "few.list").write_text("".join(lines))


def config_of(folder: Path, change: dict, data: Path) -> dict:
    change, content = dict(change), yaml.safe_load(CONFIG.read_text())
    lists = {"train": "few" if "epochs" in change else "train", "valid": "test", "test": "test"}
    splits = {
        split: {"file_path": str(data / f"{file}.list"), "data_prefix": str(data)} for split, file in lists.items()
    }
    if change.pop("taught", False):
        own = content.pop("MODEL")
        losses = [
            {"name": "DistillationCELoss", "model_name_pairs": ["Student", "GroundTruth"]},
            {"name": "DistillationKLLoss", "model_name_pairs": ["Student", "Teacher"], "temperature": 2.0},
        ]
        teacher = own | {"weights": str(folder.parent / "teacher" / "TSM_epoch_00006.pdparams")}
        student = merged(own, change.pop("MODEL"))
        content["MODEL"] = {
            "framework": "RecognizerDistillation",
            "models": [{"Teacher": teacher}, {"Student": student}],
            "freeze_params_list": ["Teacher"],
            "loss": {"Train": losses},
        }
    names = {"DATASET": {"label_names": str(data / "labels.txt"), "num_workers": 0, **splits}}
    return merged(content, {**change, **names, "output_dir": str(folder)})


def accuracy(config: Path, weights: str, seed: int) -> float:
    """Trains and tests; what is there already is not repeated."""
    folder, results = config.parent, config.parent / f"results{weights}.json"
    if not (folder / f"TSM{weights}.pdparams").is_file():
        run(["main.py", "-c", str(config), "--overwrite", "--seed", str(seed)])
    if not results.is_file():
        file = str(folder / f"TSM{weights}.pdparams")
        run(["main.py", "-c", str(config), "--test", "-w", file, "--out", str(results)])
    rows = json.loads(results.read_text())
    return 100 * sum(max(range(CLASSES), key=r["scores"].__getitem__) == r["label"] for r in rows) / len(rows)


def seed_rows(seed: int, folder: Path) -> list[float]:
    """One seed's rows one after the other: a taught student needs its teacher."""
    data, found = folder / f"motion_{seed}", []
    if not (data / "test.list").is_file():
        counts = ["--train", str(NUM_CLIPS), "--val", "8", "--test", str(NUM_TEST)]
        run(["-m", "demo.motion", "--out", str(data), "--seed", str(seed), "--jobs", "1", *counts])
    write_few(data, seed)
    for name, (change, weights) in ROWS.items():
        kind = "".join(sorted(key[0] for key in change)) or "teacher"
        output = folder / f"seed_{seed}" / kind
        config, text = output / "variant.yaml", yaml.safe_dump(config_of(output, change, data), sort_keys=False)
        if config.is_file() and config.read_text() != text:
            shutil.rmtree(output)  # of another recipe
        output.mkdir(parents=True, exist_ok=True)
        config.write_text(text)
        found.append(accuracy(config, weights, seed))
        print(f"seed {seed}: {name}: {found[-1]:.1f}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, one core each")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "few_noisy_clips")
    args = parser.parse_args()
    folder = args.folder.resolve()
    with ThreadPoolExecutor(args.jobs) as pool:
        found = [*pool.map(lambda seed: seed_rows(seed, folder), args.seeds)]
    print_table("few_noisy_clips", args.seeds, {name: [*values] for name, values in zip(ROWS, zip(*found))})


if __name__ == "__main__":
    main()
