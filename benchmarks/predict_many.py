"""Many tiny videos through ``paddlevideo predict --out results.jsonl``, killed twice, and as two ranks:

    python -m benchmarks.predict_many --videos 1000 10000
    python -m benchmarks.predict_many --lines 2000 1000000         # memory of a list, without a model

Every video must be in the results once; memory must not grow with the number of videos.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.prediction import exported
from benchmarks.side_by_side import ROOT, head, header, row

_CONFIG = "configs/recognition/tsm/tsm_k400_videos.yaml"
_SMALL = [
    *("MODEL.backbone.pretrained=null", "MODEL.backbone.depth=18", "MODEL.backbone.width=8"),
    *("MODEL.head.in_channels=64", "MODEL.head.num_classes=10", "num_seg=4", "DATASET.label_names=null"),
    *("PIPELINE.test.transform.0.Scale.short_size=32", "PIPELINE.test.transform.1.CenterCrop.target_size=32"),
]
_NUM_CONTENTS, _NUM_FRAMES, _SIDE = 20, 8, 32
_POLL_S = 0.05


def tiny_videos(folder: Path, count: int) -> Path:
    """The list of so many files of 8 frames of 32 x 32, hard links to 20 videos."""
    from paddlevideo.video_files import write_video

    contents, rng = [], np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(_NUM_CONTENTS):
        contents.append(folder / f"content{number}.mp4")
        noise = rng.integers(0, 256, (_NUM_FRAMES, _SIDE // 8, _SIDE // 8, 3)).astype(np.uint8)
        write_video(contents[-1], np.kron(noise, np.ones((1, 8, 8, 1), np.uint8)), 25)
    for number in range(count):
        os.link(contents[number % _NUM_CONTENTS], folder / f"{number:07d}.mp4")
    listing = folder / "list.txt"
    listing.write_text("".join(f"{number:07d}.mp4 {number % 10}\n" for number in range(count)))
    return listing


class Runs:
    """The command on a list, each time until it is killed or ends; the peak memory of its first process, in MB."""

    def __init__(self, listing: Path, model: Path, out: Path, batch_size: int):
        self._words = ["-m", "paddlevideo", "predict", "-i", listing, "--model_file", model, "--use_gpu", "False",
                       "--cpu_threads", 1, "-b", batch_size, "--top_k", 5, "--out", out]  # fmt: skip
        self._out, self.wall_s, self.peak_mb, self.started = out, 0.0, 0.0, []

    def start(self, *more: object) -> subprocess.Popen:
        """One process."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        words = list(map(str, [sys.executable, *self._words, *more]))
        return subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

    def run(self, kill_at: int | None = None) -> str:
        """Runs it to its end, or kills it at so many lines; its last messages."""
        start = time.perf_counter()
        process = self.start()
        while process.poll() is None:
            self.peak_mb = max(self.peak_mb, _peak_mb(process.pid))
            if kill_at is not None and self._out.exists() and _num_lines(self._out) >= kill_at:
                process.send_signal(signal.SIGKILL)
            time.sleep(_POLL_S)
        self.wall_s += time.perf_counter() - start
        return process.stderr.read()


def _peak_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM:")), 0.0)


def _num_lines(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


def results(files: Sequence[Path]) -> tuple[Counter, dict[str, tuple]]:
    """How often each input is in files, and its classes and scores."""
    counts, found = Counter(), {}
    for file in files:
        for text in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(text)
            if "run" not in record:
                counts[record["input"]] += 1
                found[record["input"]] = (record["label"], tuple(record["scores"]))
    return counts, found


def table(counts: Sequence[int], folder: Path, batch_size: int) -> None:
    """Prints a row per number of videos."""
    model = exported(folder / "model", _CONFIG, _SMALL)
    head("videos", "killed at", "seconds, all starts", "videos/s of the last start", "peak MB of the parent",
         "lines cut off", "twice", "missing", "two ranks: equal lines")  # fmt: skip
    for count in counts:
        listing = tiny_videos(folder / f"videos{count}", count)
        inputs = set(listing.read_text().splitlines())
        runs = Runs(listing, model, folder / f"{count}.jsonl", batch_size)
        kills, cut = [count // 3, 2 * count // 3], 0
        out = folder / f"{count}.jsonl"
        for lines in kills:
            runs.run(lines)
            cut += not out.read_bytes().endswith(b"\n")
        last = [line for line in runs.run().splitlines() if "videos/s" in line][-1]
        found, by_input = results([out])
        ranked = Runs(listing, model, folder / f"ranks{count}.jsonl", batch_size)
        processes = [ranked.start("--rank", rank, "--num_ranks", 2) for rank in range(2)]
        for process in processes:
            process.communicate()
        both, of_ranks = results(sorted(folder.glob(f"ranks{count}.rank-*-of-2.jsonl")))
        equal = set(both) == inputs and max(both.values()) == 1 and _difference(by_input, of_ranks)
        row(count, kills, f"{runs.wall_s:.0f}", last.split("; ")[1].split()[0], f"{runs.peak_mb:.0f}", cut,
            sum(n > 1 for n in found.values()), len(inputs - set(found)), equal)  # fmt: skip


def _difference(one: dict[str, tuple], two: dict[str, tuple]) -> str:
    largest = max(np.abs(np.subtract(one[key][1], two[key][1])).max() for key in one)
    labels = all(one[key][0] == two[key][0] for key in one)
    return f"{labels}, largest difference of a score {largest:.1e}"


class _NoModel:
    """The members of a predictor that a run uses; its scores are constant."""

    name, names, seed, damaged = "none", None, 0, "refuse"
    origin = SimpleNamespace(digest=lambda: "0" * 64)
    pipeline = SimpleNamespace(describe=dict)

    def numbered(
        self, sources: Sequence[str], on_error: str, indices: Sequence[int], ordered: bool
    ) -> Iterator[tuple[int, object]]:
        """Each index and its result."""
        from paddlevideo.inference.predictions import Prediction

        scores = np.linspace(0, 1, 400, dtype=np.float32)
        for index in indices:
            yield int(index), Prediction(sources[index], scores)


def of_list(count: int, folder: Path) -> None:
    """Prints a row: a list of which all but 1000 lines are in the results."""
    from paddlevideo.inference.many import Output, predict_many, run_of

    listing, out, output = folder / "list.txt", folder / "results.jsonl", Output(top_k=1)
    with listing.open("w") as lines, out.open("w") as results:
        results.write(json.dumps({"run": run_of(_NoModel(), output)}) + "\n")
        for number in range(count):
            text = f"some/folder/of/videos/video_{number:08d}.mp4 {number % 400}"
            lines.write(text + "\n")
            if number < count - 1000:
                record = {"path": text.split()[0], "input": text, "label": number % 400, "top": [], "scores": [0.5] * 8}
                results.write(json.dumps(record) + "\n")
    before_mb, cpu_s = _peak_mb(os.getpid()), time.process_time()
    counts = predict_many(_NoModel(), [listing], out, output, say=lambda line: None)
    row(count, counts.before, counts.predicted, f"{time.process_time() - cpu_s:.1f}", f"{before_mb:.0f}",
        f"{_peak_mb(os.getpid()):.0f}")  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, nargs="+", default=[1000, 10000], metavar="N")
    parser.add_argument("--lines", type=int, nargs="+", metavar="N")
    parser.add_argument("--batch_size", type=int, default=8, metavar="N")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.lines:
            print(header(f"python -m benchmarks.predict_many --lines {' '.join(map(str, args.lines))}", 0))
            head("lines", "in the results before", "predicted", "CPU s", "peak MB before", "peak MB")
            for count in args.lines:
                of_list(count, Path(folder))
            return
        words = f"--videos {' '.join(map(str, args.videos))} --batch_size {args.batch_size}"
        print(header(f"python -m benchmarks.predict_many {words}", 0))
        table(args.videos, Path(folder), args.batch_size)


if __name__ == "__main__":
    main()
