"""The whole job on a small data set: render, train, validate, test, export, predict.  ``make demo`` runs it.

Every step is a command that a user would type; it is printed before it runs.  Two networks are trained alike, TSM and
the same one with its shift off, side by side on two cores.  Everything lands in ``demo/``, the summary in
``demo/report.md``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "configs/recognition/tsm/tsm_motion_demo.yaml"
CHANCE_NOTE = "the two classes of a pair share their frames, so a network without temporal modelling stays near 50 %"


class Demo:
    """Runs the steps and measures their times.

    Args:
        folder: where everything goes, relative to the repository root.
        seed: of the data set and of both trainings.
        overrides: ``-o`` assignments for both trainings.
    """

    def __init__(self, folder: str, seed: int, overrides: list[str]):
        self.folder, self.seed, self.overrides = folder, seed, overrides
        self.seconds: dict[str, float] = {}
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1"}

    def run(self, what: str, *commands: list[str], logs: list[str] | None = None) -> list[str]:
        """Runs commands at the same time; returns what each printed.  Ends the demo if one fails."""
        print(f"\n== {what}", flush=True)
        started = time.perf_counter()
        running = []
        for i, command in enumerate(commands):
            print("   $ " + " ".join(["python", *command]), flush=True)
            log = ROOT / self.folder / (logs[i] if logs else f"step{len(self.seconds)}_{i}.log")
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("w") as stream:
                process = subprocess.Popen(
                    [sys.executable, *command], cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, env=self.environment
                )
            running.append((process, log))
        outputs = []
        for process, log in running:
            code = process.wait()
            outputs.append(log.read_text(errors="replace"))
            if code:
                print(outputs[-1][-3000:])
                raise SystemExit(f"demo: the command above failed with exit code {code}; its output is in {log}")
        self.seconds[what] = time.perf_counter() - started
        print(f"   {self.seconds[what]:.1f} s", flush=True)
        return outputs

    def training(self, name: str, *more: str) -> list[str]:
        """The command line of one training."""
        command = ["main.py", "-c", CONFIG, "--validate", "--seed", str(self.seed)]
        for override in (*self.overrides, *more, f"output_dir={self.folder}/output/{name}"):
            command += ["-o", override]
        return command

    def testing(self, name: str, *more: str) -> list[str]:
        """The command line of one test."""
        best = f"{self.folder}/output/{name}/TSM_best.pdparams"
        command = ["main.py", "-c", CONFIG, "--test", "-w", best, "--out", f"{self.folder}/results_{name}.json"]
        for override in (*self.overrides, *more, f"output_dir={self.folder}/output/{name}"):
            command += ["-o", override]
        return command

    def results(self, name: str) -> list[dict]:
        """Per-video results of a test."""
        return json.loads((ROOT / self.folder / f"results_{name}.json").read_text())

    def clips_per_second(self, name: str) -> float:
        """Training speed of one process: the median step of the log."""
        lines = (ROOT / self.folder / "output" / name / "metrics.jsonl").read_text().splitlines()
        costs = sorted(r["batch_cost"] for r in map(json.loads, lines) if r["mode"] == "train")
        import yaml

        batch = yaml.safe_load((ROOT / self.folder / "output" / name / "config.yaml").read_text())["DATASET"][
            "batch_size"
        ]
        return batch / costs[len(costs) // 2]


def accuracy(rows: list[dict]) -> float:
    """Share of videos whose best score is their label."""
    hits = [max(range(len(r["scores"])), key=r["scores"].__getitem__) == r["label"] for r in rows]
    return sum(hits) / len(hits)


def held_out(folder: Path, labels: list[str], count: int = 4) -> list[str]:
    """The first test video of each of the first classes, as paths to predict on."""
    chosen = {}
    for line in (folder / "test.list").read_text().splitlines():
        path, label = line.rsplit(maxsplit=1)
        chosen.setdefault(int(label), str(Path(folder.relative_to(ROOT)) / path))
    return [chosen[k] for k in sorted(chosen)[:count]]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="demo", help="below the repository root (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, help="training clips")
    parser.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="for both trainings")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    started = time.perf_counter()
    for made in ("motion", "output", "inference"):
        shutil.rmtree(ROOT / args.folder / made, ignore_errors=True)
    data = f"{args.folder}/motion"
    moved = [] if args.folder == "demo" else [f"DATASET.label_names={data}/labels.txt"]
    for split, name in (("train", "train"), ("valid", "val"), ("test", "test")) if moved else ():
        moved += [f"DATASET.{split}.file_path={data}/{name}.list", f"DATASET.{split}.data_prefix={data}"]
    demo = Demo(args.folder, args.seed, [*moved, *args.override])
    count = ["--train", str(args.train)] if args.train else []
    demo.run("render the clips", ["-m", "demo.motion", "--out", data, "--seed", str(args.seed), *count])
    demo.run(
        "train with shift and without, side by side",
        demo.training("TSM"),
        demo.training("TSM_no_shift", "MODEL.backbone.shift=False"),
        logs=["train_TSM.log", "train_TSM_no_shift.log"],
    )
    demo.run("test both", demo.testing("TSM"), demo.testing("TSM_no_shift", "MODEL.backbone.shift=False"))
    best = f"{args.folder}/output/TSM/TSM_best.pdparams"
    export = ["tools/export_model.py", "-c", CONFIG, "-p", best, "-o", f"{args.folder}/inference", "--timing", "none"]
    export += [word for override in demo.overrides for word in ("--override", override)]
    exported = demo.run("export", export)[0]
    labels = (ROOT / data / "labels.txt").read_text().split()
    videos = held_out(ROOT / data, labels)
    model = f"{args.folder}/inference/TSM"
    flags = ["--use_gpu=False", "--use_tensorrt=False", "--out", f"{args.folder}/predictions.json"]
    command = ["tools/predict.py", "--config", CONFIG, "--model_file", f"{model}.json", "--params_file"]
    predicted = demo.run("predict", [*command, f"{model}.pdiparams", *flags, "--input_file", *videos])[0]
    print(predicted)
    text = report(demo, exported, predicted, time.perf_counter() - started)
    (ROOT / args.folder / "report.md").write_text(text)
    print(text)
    return 0


def report(demo: Demo, exported: str, predicted: str, total_s: float) -> str:
    """The summary, as Markdown."""
    rows = {name: demo.results(name) for name in ("TSM", "TSM_no_shift")}
    difference = next((line for line in exported.splitlines() if "difference" in line), "export: see the log")
    table = "\n".join(
        f"| {title} | {100 * accuracy(rows[name]):.1f} % | {demo.clips_per_second(name):.1f} |"
        for title, name in (("TSM (shift on)", "TSM"), ("the same, shift off", "TSM_no_shift"))
    )
    steps = "\n".join(f"| {what} | {seconds:.1f} |" for what, seconds in demo.seconds.items())
    day = datetime.date.today().isoformat()
    command = " ".join(["python -m demo.run", *sys.argv[1:]]) if sys.argv[1:] else "make demo"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"""
# Demo: {len(rows["TSM"])} held-out clips, seed {demo.seed}

`{command}`, {day}, {machine}. Chance is 12.5 %; {CHANCE_NOTE}.

| network | top-1 | training, clips/s of one process |
|---|---|---|
{table}

{difference}

| step | seconds |
|---|---|
{steps}
| in all | {total_s:.1f} |

Where the results lie, in `{demo.folder}/`: `motion/` the clips and their contact sheet, `output/` weights, logs and
`metrics.jsonl` of both trainings, `results_*.json` the scores of every test clip, `inference/` the exported model,
`predictions.json` the predictions.
"""


if __name__ == "__main__":
    sys.exit(main())
