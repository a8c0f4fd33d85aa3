"""Measures what benchmarks/README.md lists:  python -m benchmarks.run [loader resize start]

Times are CPU seconds of one thread unless a row has "wall"; each is the median of ``--rounds`` after one round that is
thrown away.  Compared things take turns within one run, so that a change of the machine's speed affects both.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parents[1]

TSM = "configs/recognition/tsm/tsm_k400_videos.yaml"
TIMESFORMER = "configs/recognition/timesformer/timesformer_k400_videos.yaml"
UNNAMED = ("MODEL.backbone.pretrained=null", "DATASET.label_names=null")


def take_turns(rounds: int, contestants: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median CPU seconds of each, measured one after the other in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            started = time.process_time()
            run()
            if number:
                seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def loader(rounds: int) -> None:
    """File to array through the training pipeline of TSM, uint8 out against float32 normalised in the worker."""
    import numpy as np

    from benchmarks.file_to_clip import write
    from paddlevideo.config import load_config
    from paddlevideo.loader.pipelines import Pipeline

    section = load_config(ROOT / TSM).to_dict()["PIPELINE"]["train"]
    on_worker = dict(section)
    on_worker["transform"] = [
        {name: {**(arguments or {}), **({"device": False} if name == "Normalization" else {})}}
        for item in section["transform"]
        for name, arguments in item.items()
    ]
    row("TSM training pipeline, file to array", "CPU ms per clip", "MB per clip")
    with tempfile.TemporaryDirectory() as folder:
        path = write("gop12", Path(folder))
        pipelines = {"uint8 (default)": Pipeline(section, "a"), "float32 (device: False)": Pipeline(on_worker, "b")}

        def read(pipeline: Pipeline) -> np.ndarray:
            return pipeline({"filename": str(path), "label": 0}, np.random.default_rng(0))["imgs"]

        times = take_turns(rounds, {name: (lambda p=p: read(p)) for name, p in pipelines.items()})
        for name, pipeline in pipelines.items():
            row(name, f"{1e3 * times[name]:.1f}", f"{read(pipeline).nbytes / 1e6:.1f}")


def _banded(frame: np.ndarray, height: int, width: int, block: int = 8) -> np.ndarray:
    """Pillow's antialiasing as products with the bands of its two triangular filters, in blocks of rows."""
    import cv2
    import numpy as np

    def along_rows(x: np.ndarray, size: int) -> np.ndarray:  # [H, W, 3] -> [size, W, 3]
        scale, flat = len(x) / size, x.reshape(len(x), -1).astype(np.float32)
        out = np.empty((size, flat.shape[1]), np.float32)
        for begin in range(0, size, block):
            centre = (np.arange(begin, min(begin + block, size))[:, None] + 0.5) * scale
            low, high = max(0, int(centre[0, 0] - scale)), min(len(x), int(centre[-1, 0] + scale) + 1)
            weights = np.maximum(0, 1 - np.abs(np.arange(low, high) + 0.5 - centre) / scale)
            weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
            np.matmul(weights, flat[low:high], out=out[begin : begin + len(centre)])
        return cv2.convertScaleAbs(out, alpha=1, beta=0.002).reshape(size, -1, 3)  # halves up

    return along_rows(cv2.transpose(along_rows(cv2.transpose(frame), width)), height)


def resize(rounds: int) -> None:
    """8 frames to a short side of 256: the two interpolations, and what an antialiasing of one's own would take."""
    import numpy as np

    from paddlevideo.loader.pipelines.resizing import Scale
    from paddlevideo.loader.pipelines.resizing import resize as resized

    row("8 frames to a short side of 256", "from", "CPU ms per clip", "times antialias", "largest difference to it")
    for height, width in ((512, 680), (720, 1280)):
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (1, 8, height // 4, width // 4, 3), dtype=np.uint8)
        clip = resized(coarse, height, width, "linear")
        size = Scale(256, fixed_ratio=False).new_size(height, width)
        ways = {
            "antialias (Pillow, default)": lambda: resized(clip, *size, "antialias"),  # noqa: B023
            "linear (OpenCV)": lambda: resized(clip, *size, "linear"),  # noqa: B023
            "antialias, banded products (not used)": lambda: np.stack([_banded(f, *size) for f in clip[0]])[None],  # noqa: B023
        }
        times = take_turns(rounds, ways)
        first = next(iter(ways))
        for name, way in ways.items():
            difference = int(np.abs(way().astype(int) - ways[first]()).max())
            row(
                name, f"{width} x {height}", f"{1e3 * times[name]:.1f}", f"{times[name] / times[first]:.2f}", difference
            )


def start(rounds: int) -> None:
    """Wall seconds until a configuration is checked."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        command = [sys.executable, "main.py", "-c", TSM, "--check"]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)
    row("main.py --check", f"{statistics.median(seconds[1:]):.2f} s wall")


SECTIONS = {"loader": loader, "resize": resize, "start": start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    unknown = [name for name in args.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]!r}; there are: {', '.join(SECTIONS)}")
    from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment

    set_cpu_environment()
    hide_paddle_remarks()
    day, load = datetime.date.today().isoformat(), os.getloadavg()[0]
    print(f"`python -m benchmarks.run {' '.join(args.sections)}`, {day}, {platform.machine()}, "
          f"{os.cpu_count()} cores, load {load:.1f}\n")  # fmt: skip
    for name in args.sections or SECTIONS:
        SECTIONS[name](args.rounds)
        print()


if __name__ == "__main__":
    main()
