"""Frame-mAP of 1.5 million detections against ground truth of AVA-val's size:  python -m benchmarks.ava_metric

Synthetic csv files: 64 videos with 897 key frames each, 60 classes.  Ours (``tools/eval_metric.py``'s way: csv in,
figure out) against the way evaluators in plain Python go: rows into lists by key frame, then every key frame and class
by itself, with small arrays.  That way is written anew here; both must give the same figure.  Each runs in a process
of its own, which gives its peak memory.  Prints Markdown rows; seconds are CPU seconds.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

VIDEOS, SECONDS, CLASSES, DETECTIONS = 64, 897, 60, 1_500_000


def write_files(folder: Path, videos: int, seed: int) -> None:
    """``gt.csv`` (about 3 persons per key frame, 1.4 actions each) and ``pred.csv``."""
    from paddlevideo.ava_files import AVARows, write_ava_csv

    rng = np.random.default_rng(seed)
    names = [f"video{i:03d}" for i in range(videos)]
    video = np.repeat(np.arange(videos), SECONDS)
    second = np.tile(np.arange(902, 902 + SECONDS), videos).astype("float64")
    frame = np.repeat(np.arange(len(video)), rng.poisson(3.0, len(video)))
    corner = rng.uniform(0.0, 0.5, (len(frame), 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.5, (len(frame), 2))], axis=1)

    person = np.repeat(np.arange(len(frame)), 1 + rng.binomial(2, 0.2, len(frame)))
    label = rng.integers(1, CLASSES + 1, len(person)).astype("int32")
    truth = AVARows("", names, video[frame[person]].astype("int32"), second[frame[person]], boxes[person], label,
                    entity=np.zeros(len(person), "int32"))  # fmt: skip
    write_ava_csv(folder / "gt.csv", truth)

    count = DETECTIONS * videos // VIDEOS
    seen = np.sort(rng.integers(0, len(frame), count))
    found = np.clip(boxes[seen] + rng.normal(0, 0.03, (count, 4)), 0, 1)
    right = rng.random(count) < 0.1
    first = np.searchsorted(person, seen)
    classes = np.where(right, label[first], rng.integers(1, CLASSES + 1, count)).astype("int32")
    score = np.clip(rng.beta(1, 6, count) + 0.2 * right, 0.003, 1)
    rows = AVARows("", names, video[frame[seen]].astype("int32"), second[frame[seen]], found, classes, score=score)
    write_ava_csv(folder / "pred.csv", rows)


def ours(folder: Path) -> tuple[float, float]:
    """The figure, and when the files had been read (CPU seconds)."""
    from paddlevideo.metrics.ava_evaluation import evaluate_detections, read_detections, read_ground_truth

    truth = read_ground_truth(folder / "gt.csv")
    keys, rows = read_detections(folder / "pred.csv", truth)
    read = time.process_time()
    return evaluate_detections(keys, rows.of_class, truth).figures["mAP@0.5IOU"], read


def plain(folder: Path) -> tuple[float, float]:
    """The same by lists of rows per key frame, small arrays per key frame and class, a loop over detections."""
    truth, found = _lists(folder / "gt.csv"), _lists(folder / "pred.csv")
    read = time.process_time()
    scores, hits, totals = defaultdict(list), defaultdict(list), defaultdict(int)
    for rows in truth.values():
        for _, label, _ in rows:
            totals[label] += 1
    for key, rows in found.items():
        rows.sort(key=lambda row: -row[2])
        for label in {label for _, label, _ in rows}:
            mine = [row for row in rows if row[1] == label and row[0][0] < row[0][2] and row[0][1] < row[0][3]]
            theirs = np.array([box for box, other, _ in truth.get(key, ()) if other == label])
            taken = set()
            for box, _, score in mine:
                right = False
                if len(theirs):
                    overlaps = _overlaps(np.array(box), theirs)
                    best = int(overlaps.argmax())
                    right = overlaps[best] >= 0.5 and best not in taken
                    if right:
                        taken.add(best)
                scores[label].append(score)
                hits[label].append(right)
    values = []
    for label, total in totals.items():
        order = np.argsort(-np.array(scores[label]), kind="stable")
        cumulated = np.cumsum(np.array(hits[label])[order])
        precision, recall = cumulated / np.arange(1, len(order) + 1), cumulated / total
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        values.append(float((np.diff(recall, prepend=0.0) * envelope).sum()))
    return float(np.mean(values)), read


def _lists(path: Path) -> dict[str, list]:
    rows = defaultdict(list)
    with path.open(newline="") as stream:
        for video, second, x1, y1, x2, y2, label, last in csv.reader(stream):
            box = [float(x1), float(y1), float(x2), float(y2)]
            rows[f"{video},{int(second):04d}"].append((box, int(label), float(last)))
    return rows


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    width = np.maximum(np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0]), 0)
    height = np.maximum(np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1]), 0)
    area = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]) + area - width * height)


def measure(way: str, folder: Path) -> dict[str, float]:
    """CPU seconds, peak memory and figure of one way, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ava_metric", "--way", way, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=int, default=VIDEOS, help=f"fewer make a smaller benchmark ({VIDEOS})")
    parser.add_argument("--way", choices=("ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        started = time.process_time()
        figure, read = {"ours": ours, "plain": plain}[args.way](args.folder)
        ended, peak = time.process_time(), re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        times = {"read": read - started, "evaluate": ended - read}
        print(json.dumps({"figure": figure, **times, "peak": int(peak[1]) / 1024}))
        return
    print(
        f"`python -m benchmarks.ava_metric --seed {args.seed}`, {datetime.date.today()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
    )
    print("| way | detections | mAP@0.5IOU | csv files read, CPU s | evaluated, CPU s | peak MB |\n" + "|---" * 6 + "|")
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), args.videos, args.seed)
        for way in ("ours", "plain"):
            found = measure(way, Path(name))
            figures = f"{found['figure']:.6f} | {found['read']:.1f} | {found['evaluate']:.1f} | {found['peak']:.0f}"
            print(f"| {way} | {DETECTIONS * args.videos // VIDEOS} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
