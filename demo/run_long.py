"""What happens when in a video of 12 minutes: render, train on spans, export, find spans, compare.  ``make demo-long``.

Every step is a command that a user would type; it is printed before it runs.  The network is the demo's TSM, trained on
windows of 2 s of labelled spans of other videos; the digits of the 12 minutes are not among those of its training.
Everything lands in ``demo/long/``, the summary in ``demo/long/report.md``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence

from demo.run import ROOT, Demo
from paddlevideo.spans import Span, read_spans

CONFIG = "demo/scenes.yaml"
# Windows are as long as clip_s of the training.  The other values were chosen on the videos of seeds 0 and 1, for
# scenes that last for minutes and follow one another without a pause.
WINDOWS = {"window_s": 2, "hop_s": 1, "smooth_s": 6, "on": 0.5, "off": 0.2}
FILES = {
    "out": "spans.json",
    "srt": "spans.srt",
    "video": "labelled.mp4",
    "plot": "timeline.png",
    "truth": "truth.json",
}


def best_match(span: Span, found: Sequence[Span]) -> Span | None:
    """The found span of its label that overlaps it most, or None."""
    overlaps = [
        (min(span.end_s, other.end_s) - max(span.start_s, other.start_s), other)
        for other in found
        if other.label == span.label
    ]
    shared_s, other = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
    return other if shared_s > 0 else None


def boundary_table(truth: Sequence[Span], found: Sequence[Span]) -> tuple[str, float]:
    """A row per scene with the errors of its start and end, and the largest of them in seconds."""
    rows, largest = ["| scene | truth (s) | found (s) | error of start, end (s) |", "|---|---|---|---|"], 0.0
    for span in truth:
        other = best_match(span, found)
        if other is None:
            rows.append(f"| {span.label} | {span.start_s:.3f} - {span.end_s:.3f} | not found | |")
            largest = float("inf")
            continue
        errors = (other.start_s - span.start_s, other.end_s - span.end_s)
        largest = max(largest, *map(abs, errors))
        times = f"{span.start_s:.3f} - {span.end_s:.3f} | {other.start_s:.3f} - {other.end_s:.3f}"
        rows.append(f"| {span.label} | {times} | {errors[0]:+.3f}, {errors[1]:+.3f} |")
    return "\n".join(rows), largest


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="demo/long", help="below the repository root (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="for the training")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    started = time.perf_counter()
    folder = args.folder
    shutil.rmtree(ROOT / folder, ignore_errors=True)
    paths = [f"DATASET.label_names={folder}/labels.txt", f"output_dir={folder}/output"]
    for split, name in (("train", "train"), ("valid", "val"), ("test", "val")):
        paths += [f"DATASET.{split}.file_path={folder}/{name}.json", f"DATASET.{split}.data_prefix={folder}"]
    overrides = [*(paths if folder != "demo/long" else []), *args.override]
    demo = Demo(folder, args.seed, overrides)
    short = ["--train", "60", "--val", "8"]
    demo.run("render the videos", ["-m", "demo.scenes", "--out", folder, "--seed", str(args.seed), *short])
    given = [word for override in overrides for word in ("-o", override)]
    demo.run("train on spans", ["main.py", "-c", CONFIG, "--validate", "--seed", str(args.seed), *given])
    best = f"{folder}/output/TSM_best.pdparams"
    export = ["tools/export_model.py", "-c", CONFIG, "-p", best, "-o", f"{folder}/inference", "--timing", "none"]
    demo.run("export", [*export, *(word for override in overrides for word in ("--override", override))])
    model = ["--model_file", f"{folder}/inference/TSM", "-b", "8"]
    model += [word for name, value in WINDOWS.items() for word in (f"--{name}", f"{value:g}")]
    files = [word for name, file in FILES.items() for word in (f"--{name}", f"{folder}/{file}")]
    timeline = ["-m", "paddlevideo", "timeline", *model, "-i", f"{folder}/long.mp4", *files]
    demo.run("find spans", timeline)
    evaluate = ["-m", "paddlevideo", "eval", f"{folder}/spans.json", f"{folder}/truth.json"]
    figures = demo.run("compare", evaluate)[0]
    text = report(demo, timeline, figures, time.perf_counter() - started)
    (ROOT / folder / "report.md").write_text(text)
    print(text)
    return 0


def report(demo: Demo, timeline: Sequence[str], figures: str, total_s: float) -> str:
    """The summary, as Markdown."""
    truth, found = (read_spans(ROOT / demo.folder / name).spans for name in ("truth.json", "spans.json"))
    table, largest_s = boundary_table(truth, found)
    steps = "\n".join(f"| {what} | {seconds:.1f} |" for what, seconds in demo.seconds.items())
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"""
# {len(truth)} scenes in {truth[-1].end_s / 60:g} minutes, seed {demo.seed}

`{" ".join(["python -m demo.run_long", *sys.argv[1:]])}`, {datetime.date.today().isoformat()}, {machine}.

`python {" ".join(timeline)}`

{len(found)} spans were found.  The largest error of a boundary is {largest_s:.3f} s; the hop is {WINDOWS["hop_s"]:g} s.

{table}

```
{figures.strip()}
```

| step | seconds |
|---|---|
{steps}
| in all | {total_s:.1f} |
"""


if __name__ == "__main__":
    sys.exit(main())
