"""Measures what benchmarks/README.md lists:  python -m benchmarks.run [decode loader resize model start]

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


def synthetic_video(folder: Path, gop: int, frames: int = 300, height: int = 256, width: int = 340) -> Path:
    """A clip with moving texture, so that its frames cost what those of a real one cost."""
    import numpy as np

    from tests.clips import write_clip

    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 255, (height // 8 + 40, width // 8 + 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    clip = np.stack([canvas[t % 300 : t % 300 + height, t % 300 : t % 300 + width] for t in range(frames)])
    path = folder / f"gop{gop}.mp4"
    write_clip(path, clip, fps=30, gop=gop)
    return path


def decode(rounds: int) -> None:
    """8 frames, one from each eighth of 300, by every backend."""
    import numpy as np

    from paddlevideo.loader.decode import open_video

    row("decode, 8 of 300 frames at 340 x 256", "CPU ms per clip", "times pyav")
    with tempfile.TemporaryDirectory() as folder:
        for gop in (12, 250):
            path = synthetic_video(Path(folder), gop)
            index = np.arange(18, 300, 37)

            def read(backend: str, path: Path = path, index: object = index) -> None:
                reader = open_video(str(path), backend)
                reader.get(index)
                reader.close()

            names = ("pyav", "pyav_sequential", "decord", "cv2")
            times = take_turns(rounds, {name: (lambda name=name: read(name)) for name in names})
            for name in names:
                row(f"{name}, group of {gop}", f"{1e3 * times[name]:.1f}", f"{times[name] / times['pyav']:.2f}")


def loader(rounds: int) -> None:
    """File to array through the training pipeline of TSM, uint8 out against float32 normalised in the worker."""
    import numpy as np

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
        path = synthetic_video(Path(folder), 12)
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


def model_seconds(config: str, rounds: int) -> dict[str, float]:
    """CPU seconds of one training step and one prediction at batch 1, full size."""
    import numpy as np
    import paddle

    from paddlevideo.build import network
    from paddlevideo.config import load_config

    framework = network(load_config(ROOT / config, ["MODEL.backbone.pretrained=null"]))
    optimizer = paddle.optimizer.Momentum(0.01, parameters=framework.parameters())
    imgs = np.random.default_rng(0).integers(0, 255, (1, 1, 8, 224, 224, 3), dtype=np.uint8)
    batch = {"imgs": paddle.to_tensor(imgs), "label": paddle.to_tensor([3])}

    def train() -> None:
        framework.train()
        framework(batch, mode="loss")["loss"].backward()
        optimizer.step()
        optimizer.clear_grad()

    def predict() -> None:
        framework.eval()
        with paddle.no_grad():
            framework(batch, mode="predict")["scores"].numpy()

    return take_turns(rounds, {"training step": train, "prediction": predict})


def model(rounds: int) -> None:
    """Each model in a process with the environment that the commands set, and in one without it, taking turns."""
    row("8 x 224, batch 1", "CPU s", "CPU s without the environment", "ratio")
    for config in (TSM, TIMESFORMER):
        command = [sys.executable, "-m", "benchmarks.run", "--model_seconds", config, "--rounds", str(rounds)]
        found: dict[str, dict[str, list[float]]] = {"set": {}, "bare": {}}
        for _ in range(2):
            for kind in found:
                environment = {k: v for k, v in os.environ.items() if k not in ("MKL_DEBUG_CPU_TYPE",)}
                environment.pop("FLAGS_use_stride_kernel", None)
                environment["OMP_NUM_THREADS"] = "1"
                done = subprocess.run(
                    [*command, *(["--bare"] if kind == "bare" else [])],
                    env=environment, capture_output=True, text=True, check=True,
                )  # fmt: skip
                for line in done.stdout.splitlines():
                    what, tab, value = line.partition("\t")
                    if tab:
                        found[kind].setdefault(what, []).append(float(value))
        for what in found["set"]:
            ours, bare = min(found["set"][what]), min(found["bare"][what])
            row(f"{Path(config).stem}, {what}", f"{ours:.2f}", f"{bare:.2f}", f"{bare / ours:.2f}")


def start(rounds: int) -> None:
    """Wall seconds until a configuration is checked."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        command = [sys.executable, "main.py", "-c", TSM, "--check"]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)
    row("main.py --check", f"{statistics.median(seconds[1:]):.2f} s wall")


SECTIONS = {"decode": decode, "loader": loader, "resize": resize, "model": model, "start": start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model_seconds", help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = [name for name in args.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]!r}; there are: {', '.join(SECTIONS)}")
    if not args.bare:
        from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment

        set_cpu_environment()
        hide_paddle_remarks()
    if args.model_seconds:
        for what, seconds in model_seconds(args.model_seconds, args.rounds).items():
            print(f"{what}\t{seconds}")
        return
    day, load = datetime.date.today().isoformat(), os.getloadavg()[0]
    print(f"`python -m benchmarks.run {' '.join(args.sections)}`, {day}, {platform.machine()}, "
          f"{os.cpu_count()} cores, load {load:.1f}\n")  # fmt: skip
    for name in args.sections or SECTIONS:
        SECTIONS[name](args.rounds)
        print()


if __name__ == "__main__":
    main()
