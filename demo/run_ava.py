"""Action detection end to end on rendered actors: render, train, test, detect.  ``make demo-ava`` runs it.

Every step is a command that a user would type; it is printed before it runs.  SlowOnly and SlowFast are trained side
by side on two cores.  Everything lands in ``demo/ava/``, the summary in ``demo/ava/report.md``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from demo.run import ROOT, Demo
from paddlevideo.ava_files import read_ava_csv, read_ava_labels, read_excluded, write_ava_csv

CONFIGS = {name: f"configs/detection/ava/{name.lower()}_synthetic_demo.yaml" for name in ("SlowOnly", "SlowFast")}
FILES = {"train": "train", "valid": "val", "test": "test"}


class DetectionDemo(Demo):
    """The demo's steps for detectors."""

    def command(self, name: str, *flags: str) -> list[str]:
        """The command line of a run of one network."""
        command = ["main.py", "-c", CONFIGS[name], *flags]
        for override in (*self.overrides, f"output_dir={self.folder}/output/{name}"):
            command += ["-o", override]
        return command

    def best(self, name: str) -> str:
        """The best weights by validation."""
        return f"{self.folder}/output/{name}/{name}_best.pdparams"

    def scoring(self, results: str) -> list[str]:
        """The command line that scores a results file."""
        files = ["--annotations", f"{self.folder}/test.csv", "--labels", f"{self.folder}/labels.pbtxt"]
        files += ["--exclude", f"{self.folder}/test_excluded.csv"]
        return ["tools/eval_metric.py", f"{self.folder}/{results}", "--metrics", "mAP", *files]


def shuffle_results(path: Path, target: Path, seed: int) -> None:
    """The same boxes and the same scores, but each box has another's: what the file would be worth by chance."""
    rows = read_ava_csv(path, scored=True)
    places = np.column_stack([rows.video, rows.timestamp, rows.boxes])
    boxes, group = np.unique(places, axis=0, return_inverse=True)
    moved = boxes[np.random.default_rng(seed).permutation(len(boxes))][group.reshape(-1)]
    rows.video, rows.timestamp, rows.boxes = moved[:, 0].astype(np.int32), moved[:, 1], moved[:, 2:]
    write_ava_csv(target, rows)


def chance(folder: Path) -> dict[str, float]:
    """By class, the share of annotated people of the test set that do it; excluded key frames left out."""
    rows, excluded = read_ava_csv(folder / "test.csv"), read_excluded(folder / "test_excluded.csv")
    names, people, counts = read_ava_labels(folder / "labels.pbtxt"), set(), dict.fromkeys(rows.label.tolist(), 0)
    for video, second, person, label in zip(
        rows.video.tolist(), rows.timestamp.tolist(), rows.entity.tolist(), rows.label.tolist()
    ):
        if (rows.videos[video], second) not in excluded:
            people.add((video, second, person))
            counts[label] += 1
    return {names[label]: count / len(people) for label, count in sorted(counts.items())}


def precisions(printed: str) -> tuple[dict[str, float], float]:
    """AP by class, and mAP, of what ``tools/eval_metric.py`` printed."""
    cells = [line.split() for line in printed.splitlines()]
    table = {row[1]: float(row[-1]) for row in cells if len(row) == 5 and row[0].isdecimal()}
    return table, next(float(row[1]) for row in cells if len(row) == 2 and row[0].startswith("mAP"))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="demo/ava", help="below the repository root (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=128, help="training videos (%(default)s)")
    parser.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="for both trainings")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    started = time.perf_counter()
    shutil.rmtree(ROOT / args.folder, ignore_errors=True)
    moved = []
    for section, split in FILES.items() if args.folder != "demo/ava" else ():
        moved += [f"DATASET.{section}.data_prefix={args.folder}/videos"]
        moved += [f"DATASET.{section}.label_file={args.folder}/labels.pbtxt"]
        for key, ending in (("file_path", ""), ("exclude_file", "_excluded")):
            moved.append(f"DATASET.{section}.{key}={args.folder}/{split}{ending}.csv")
        moved.append(f"DATASET.{section}.proposal_file={args.folder}/{split}_proposals.pkl")
    demo = DetectionDemo(args.folder, args.seed, [*moved, *args.override])
    count = ["--train", str(args.train)]
    make = ["-m", "demo.ava_synthetic", "--out", args.folder, "--seed", str(args.seed), *count]
    demo.run("render the videos", make)
    demo.run(
        "train SlowOnly and SlowFast, side by side",
        *(demo.command(name, "--validate", "--seed", str(args.seed)) for name in CONFIGS),
        logs=[f"train_{name}.log" for name in CONFIGS],
    )
    tests = (
        demo.command(name, "--test", "-w", demo.best(name), "--out", f"{args.folder}/results_{name}.csv")
        for name in CONFIGS
    )
    demo.run("test both", *tests)
    folder = ROOT / args.folder
    shuffle_results(folder / "results_SlowOnly.csv", folder / "results_shuffled.csv", args.seed)
    names = [*CONFIGS, "shuffled"]
    scored = demo.run("score them, and SlowOnly's shuffled", *(demo.scoring(f"results_{name}.csv") for name in names))
    found = {name: precisions(text) for name, text in zip(names, scored)}
    demo.run("draw what people do into a test video", detection(demo))
    text = report(demo, found, time.perf_counter() - started)
    (folder / "report.md").write_text(text)
    print(text)
    return 0


def detection(demo: DetectionDemo) -> list[str]:
    """The command line that draws detections into the first test video."""
    video = sorted(path.name for path in (ROOT / demo.folder / "videos").glob("test_*.mp4"))[0]
    command = ["tools/ava_predict.py", "-c", CONFIGS["SlowOnly"], "-w", demo.best("SlowOnly")]
    command += ["--video_path", f"{demo.folder}/videos/{video}", "--proposals", f"{demo.folder}/test_proposals.pkl"]
    command += ["--output-stepsize", "2", "--output-fps", "15", "--action-score-thr", "0.3", "--batch_size", "8"]
    command += ["--out-filename", f"{demo.folder}/prediction.mp4", "--json", f"{demo.folder}/prediction.json"]
    return command + [word for override in demo.overrides for word in ("-o", override)]


def report(demo: DetectionDemo, found: dict[str, tuple[dict[str, float], float]], total_s: float) -> str:
    """The summary, as Markdown."""
    shares = chance(ROOT / demo.folder)
    titles = {"SlowOnly": "SlowOnly", "SlowFast": "SlowFast", "shuffled": "SlowOnly's scores, shuffled among the boxes"}
    rows = [f"| {title} | {100 * found[name][1]:.1f} |" for name, title in titles.items()]
    rows.append(
        f"| chance: the mean share of people that have a label | {100 * sum(shares.values()) / len(shares):.1f} |"
    )
    classes = "\n".join(
        f"| {name} | {100 * share:.1f} | "
        + " | ".join(f"{100 * found[n][0].get(name, 0.0):.1f}" for n in titles)
        + " |"
        for name, share in shares.items()
    )
    speeds = ", ".join(f"{name} {demo.clips_per_second(name):.1f}" for name in CONFIGS)
    steps = "\n".join(f"| {what} | {seconds:.1f} |" for what, seconds in demo.seconds.items())
    command = " ".join(["python -m demo.run_ava", *sys.argv[1:]]) if sys.argv[1:] else "make demo-ava"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    table = "\n".join(rows)
    return f"""
# Demo of action detection: rendered actors, seed {demo.seed}

`{command}`, {datetime.date.today().isoformat()}, {machine}.

| scores | mAP@0.5IOU, % |
|---|---|
{table}

| class | chance | {" | ".join(titles)} |
|---|---|{"---|" * len(titles)}
{classes}

Training, clips/s of one process each: {speeds}.

| step | seconds |
|---|---|
{steps}
| in all | {total_s:.1f} |

Where the results lie, in `{demo.folder}/`: `videos/`, `*.csv`, `*_proposals.pkl`, `labels.pbtxt` the data set with its
`README.md` and `contact_sheet.png`, `output/` weights, logs and `metrics.jsonl` of both trainings, `results_*.csv` the
scores of every person and action, `prediction.mp4` a test video with SlowOnly's detections.
"""


if __name__ == "__main__":
    sys.exit(main())
