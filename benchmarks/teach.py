"""What a head learns from a few corrected spans, and how long that takes.

    python -m benchmarks.teach --seeds 0 1 2 3 4 --folder /tmp/teach

For every seed the videos and the model of ``make studio`` are made anew (``demo.run_studio``).  Four videos have scenes
of ``blink``, which the model was never shown.  Each of them is held out in turn: of the three others one span of blink
and one of another class are corrected (six spans, the rest of these videos is ignored), ``paddlevideo teach`` runs, and
the table has its figures on the held-out video.  The second run of a fold has all features in files.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from demo.run_studio import CLASSES, NEW_CLASS, SETTINGS, DemoFiles, make_demo, run_command
from paddlevideo.spans import Span, SpanTable, write_spans


def chosen(truth: list[Span]) -> list[Span]:
    """The first span of the new class, and the first of another."""
    return [
        next(span for span in truth if span.label == NEW_CLASS),
        next(span for span in truth if span.label != NEW_CLASS),
    ]


def teach(files: DemoFiles, held_out: int) -> tuple[dict, float, float]:
    """Figures of one fold, and the seconds of the first and of the second run."""
    folder = files.folder / f"fold{held_out}"
    folder.mkdir(exist_ok=True)
    classes = (*CLASSES, NEW_CLASS)
    videos = files.videos("new")
    train = [span for k, (_, truth) in enumerate(videos) if k != held_out for span in chosen(truth)]
    ignored = [
        Span(0.0, truth[-1].end_s, truth[0].label, video=truth[0].video)
        for k, (_, truth) in enumerate(videos)
        if k != held_out
    ]
    for name, spans in (("train", train), ("val", videos[held_out][1]), ("ignore", ignored)):
        write_spans(folder / f"{name}.json", SpanTable(spans, {}, classes))
    words = ["teach", "--model_file", files.export, "--videos", files.folder, "--features", folder / "features"]
    words += [word for name in ("train", "val", "ignore") for word in (f"--{name}", folder / f"{name}.json")]
    words += [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    seconds = []
    for run in range(2):
        start = time.monotonic()
        run_command(*words, "--out", folder / f"export{run}", "--figures", folder / "figures.json")
        seconds.append(time.monotonic() - start)
    return json.loads((folder / "figures.json").read_text()), *seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    print("| seed | held out | F1@50 before | after | new class: annotated, found | s | s, features in files |")
    print("|---|---|---|---|---|---|---|")
    for seed in args.seeds:
        files = make_demo(args.folder / str(seed), seed)
        for held_out in range(len(files.videos("new"))):
            figures, first_s, second_s = teach(files, held_out)
            row = figures["per_class"]["held_out"].get(NEW_CLASS, {"annotated": 0, "predicted": 0})
            before, after = figures["previous"]["value"], figures["held_out"]["value"]
            counts = f"{row['annotated']}, {row['predicted']}"
            print(
                f"| {seed} | {held_out} | {before:.2f} | {after:.2f} | {counts} | {first_s:.1f} | {second_s:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
