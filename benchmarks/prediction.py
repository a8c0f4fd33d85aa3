"""Prediction from end to end, in turns with another checkout:  python -m benchmarks.prediction --root ../other

Whole commands, so CPU seconds and memory are those of all their processes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.side_by_side import ROOT, head, header, row

_TSM = "configs/recognition/tsm/tsm_k400_videos.yaml"
_AVA = "configs/detection/ava/slowfast_kinetics_pretrained_r50_4x16x1_20e_ava_rgb.yaml"
_TIMES = re.compile(r"time: prepare ([\d.]+) ms.* model ([\d.]+) ms")
_POLL_S = 0.25
_SEED = 0


def frames_of(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """A figure that walks before a panning background: uint8 [H, W, 3] RGB."""
    import cv2

    rng = np.random.default_rng(_SEED)
    small = rng.integers(0, 256, (height // 16 + 8, width // 16 + 8, 3)).astype(np.uint8)
    room = cv2.resize(small, (width + 256, height + 128), interpolation=cv2.INTER_CUBIC)
    for number in range(count):
        x, y = int(100 + 100 * np.sin(number / 20)), int(40 + 40 * np.cos(number / 15))
        frame, left = room[y : y + height, x : x + width].copy(), number * 4 % (width - 120)
        cv2.rectangle(frame, (left, height // 4), (left + 80, height // 4 * 3), (20, 30, 40), -1)
        cv2.circle(frame, (left + 40, height // 4 - 20), 24, (200, 160, 140), -1)
        yield frame


def video(path: Path, seconds: int, height: int, width: int) -> Path:
    """An H.264 file with a key frame every 250 frames, made where it is missing."""
    from paddlevideo.video_files import write_video

    if not path.exists():
        options = {"crf": "23", "preset": "veryfast", "g": "250"}
        write_video(path, frames_of(30 * seconds, height, width), 30, options)
    return path


def exported(folder: Path, config: str, overrides: Sequence[str] = ()) -> Path:
    """An export of the configuration with random weights, made where it is missing."""
    import paddle

    from paddlevideo.build import deployed_network
    from paddlevideo.config import load_config
    from paddlevideo.inference.export import export
    from paddlevideo.safe_io import write_pickle

    if not (folder / "inference.yml").exists():
        loaded, weights = load_config(ROOT / config, list(overrides), uses=("test",)), folder.with_suffix(".pdparams")
        paddle.seed(_SEED)
        network = deployed_network(loaded)
        write_pickle(weights, {name: value.numpy() for name, value in network.state_dict().items()})
        export(loaded, weights, folder, say=lambda line: None)
    return folder


@dataclass(frozen=True)
class Run:
    """One run of a command: seconds of the clock and of the CPU, MB, frames; the clock from the model's loading on; the
    sums of the printed times."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    decoded: int
    loaded_wall_s: float
    prepare_s: float
    model_s: float


def run(root: Path, script: str, arguments: Sequence[object], out: Path, loaded: str) -> Run:
    """Runs a command of a checkout.

    Args:
        out: its folder for results.
        loaded: a line of its output begins so when the model is loaded.
    """
    out.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        **{"OMP_NUM_THREADS": "1", "MKL_DEBUG_CPU_TYPE": "5", "FLAGS_use_stride_kernel": "0"},
        **{"PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"},
    }
    program = ROOT / "benchmarks" / "contestants" / "commands.py"
    words = [sys.executable, program, out / "counts.json", script, *arguments]
    start, begun_s, sums = time.perf_counter(), 0.0, np.zeros(2)
    with open(out / "stderr", "w") as errors:
        process = subprocess.Popen(
            list(map(str, words)), stdout=subprocess.PIPE, stderr=errors, text=True, cwd=root, env=environment
        )
        peaks = Peak(process.pid)
        for line in process.stdout:
            if line.startswith(loaded):
                begun_s = time.perf_counter() - start
            if match := _TIMES.search(line):
                sums += [float(match[1]) / 1e3, float(match[2]) / 1e3]
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    if status:
        raise SystemExit(f"{script} of {root} failed: {(out / 'stderr').read_text().splitlines()[-1]}")
    decoded = json.loads((out / "counts.json").read_text())["decoded"]
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(wall_s, cpu_s, peaks.end(), decoded, wall_s - begun_s, *map(float, sums))


class Peak:
    """The most memory that a process and those it starts hold together, in MB: shared pages count once."""

    def __init__(self, pid: int):
        import threading

        self._pid, self._peak_kb, self._over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> float:
        """Ends the watch."""
        self._over.set()
        self._thread.join()
        return self._peak_kb / 1024

    def _watch(self) -> None:
        while not self._over.wait(_POLL_S):
            self._peak_kb = max(self._peak_kb, sum(map(_pss_kb, _family(self._pid))))


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [process for child in task.read_text().split() for process in _family(int(child))]
        except OSError:  # it has just ended
            continue
    return found


def _pss_kb(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def contest(roots: dict[str, Path], rounds: int, folder: Path, name: str, *command: object) -> dict[str, Run]:
    """The medians of each checkout's runs, in turns."""
    runs: dict[str, list[Run]] = {root: [] for root in roots}
    for _ in range(rounds):
        for root, path in roots.items():
            runs[root].append(run(path, *_with_out(folder / f"{name}_{root}", *command)))
    fields = Run.__dataclass_fields__
    return {
        root: Run(*(statistics.median(getattr(one, key) for one in own) for key in fields))
        for root, own in runs.items()
    }


def _with_out(out: Path, script: str, arguments: Sequence[object], loaded: str) -> tuple[object, ...]:
    """The command with the results' folder in place of ``OUT``."""
    return script, [str(word).replace("OUT", str(out)) for word in arguments], out, loaded


def predict(roots: dict[str, Path], rounds: int, folder: Path, num_videos: int) -> None:
    """Videos of ten seconds through TSM-R50."""
    model, clip = exported(folder / "TSM", _TSM), video(folder / "clip.mp4", 10, 256, 340)
    listing = folder / "list.txt"
    listing.write_text(f"{clip}\n" * num_videos)
    words = [
        "-i",
        listing,
        "--model_file",
        model,
        "--cpu_threads",
        1,
        "--time_test_file",
        "True",
        "--out",
        "OUT/o.json",
    ]
    found = contest(roots, rounds, folder, "predict", "tools/predict.py", words, "Inference model(")
    same = len({(folder / f"predict_{name}" / "o.json").read_bytes() for name in roots}) == 1
    print(
        f"\n{num_videos} videos of 10 s, 340 x 256, TSM-R50 8 x 224, one thread; "
        f"results {'equal' if same else 'DIFFER'}\n"
    )
    head("predict", "wall s", "of that after loading", "CPU s", "frames decoded", "prepare s", "model s",
         "larger of the two / wall after loading", "peak MB")  # fmt: skip
    for name, one in found.items():
        share = max(one.prepare_s, one.model_s) / one.loaded_wall_s
        row(name, f"{one.wall_s:.1f}", f"{one.loaded_wall_s:.1f}", f"{one.cpu_s:.1f}", one.decoded,
            f"{one.prepare_s:.1f}", f"{one.model_s:.1f}", f"{share:.2f}", f"{one.peak_mb:.0f}")  # fmt: skip


def detect(roots: dict[str, Path], rounds: int, folder: Path, seconds: int) -> None:
    """A video of 720p through SlowFast, HOG and the output video."""
    model = exported(folder / "AVA", _AVA, ["DATASET.test.label_file=null"])
    source = video(folder / f"{seconds}s.mp4", seconds, 720, 1280)
    words = ["--model_file", model, "--video_path", source, "--detector", "hog", "--action_every", 4,
             "--device", "cpu", "--out-filename", "OUT/o.mp4", "--json", "OUT/o.json"]  # fmt: skip
    found = contest(roots, rounds, folder, "detect", "tools/ava_predict.py", words, "Frame Number")
    files = [[(folder / f"detect_{name}" / file).read_bytes() for file in ("o.mp4", "o.json")] for name in roots]
    same = all(one == files[0] for one in files)
    print(
        f"\n{seconds} s of 1280 x 720, key frame every 4 s, HOG, output video; files {'equal' if same else 'DIFFER'}\n"
    )
    head("detect", "wall s", "of that after loading", "CPU s", "frames decoded", "of", "peak MB")
    for name, one in found.items():
        row(name, f"{one.wall_s:.1f}", f"{one.loaded_wall_s:.1f}", f"{one.cpu_s:.1f}", one.decoded, 30 * seconds,
            f"{one.peak_mb:.0f}")  # fmt: skip


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["predict", "detect"], metavar="predict|detect")
    parser.add_argument("--root", type=Path, metavar="DIR", help="another checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--videos", type=int, default=50, metavar="N", help="of predict (%(default)s)")
    parser.add_argument("--seconds", type=int, default=60, metavar="S", help="of detect's video (%(default)s)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keeps models and videos there for the next time")
    args = parser.parse_args()
    roots = {"this": ROOT} | ({"other": args.root.resolve()} if args.root else {})
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder.resolve() if args.folder else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(header(f"python -m benchmarks.prediction {' '.join(args.what)} --rounds {args.rounds}", _SEED))
        if "predict" in args.what:
            predict(roots, args.rounds, folder, args.videos)
        if "detect" in args.what:
            detect(roots, args.rounds, folder, args.seconds)


if __name__ == "__main__":
    main()
