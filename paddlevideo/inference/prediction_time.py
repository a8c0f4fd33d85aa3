"""How long a predictor takes for one video, and how much memory the process has taken by then."""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.build import deployed_network
from paddlevideo.config import Config
from paddlevideo.environment import available_cores, cpu_name
from paddlevideo.inference.network import TrainedNetwork
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.runtimes.choice import Timed
from paddlevideo.safe_io import write_pickle
from paddlevideo.settings import DEFAULT_SEED
from paddlevideo.video_files import write_video

NUM_WARMUP, NUM_TIMED = 3, 15  # runs of a benchmark
_FRAMES, _FPS, _SIZE = 300, 30, (256, 340)  # of the synthetic video: ten seconds, as those of Kinetics
_MB = 2**20


@dataclass(frozen=True)
class Spread:
    """Milliseconds per video over the runs: the median, and the quartiles around it."""

    median_ms: float
    low_ms: float
    high_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Of seconds per video, one value per run."""
        low, middle, high = np.percentile(np.float64(seconds) * 1e3, (25, 50, 75))
        return cls(float(middle), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.median_ms:.1f} ms ({self.low_ms:.1f} to {self.high_ms:.1f})"


@dataclass(frozen=True)
class Timing:
    """Wall-clock times of a predictor whose videos come one batch after the other, all in this process.

    Args:
        prepare: decoding and transforms.
        infer: the model, with the copies of its input and output.
        whole: both, and what lies between.
    """

    prepare: Spread
    infer: Spread
    whole: Spread
    batch_size: int
    num_runs: int
    num_warmup: int

    @property
    def videos_per_s(self) -> float:
        """With decoding."""
        return 1e3 / self.whole.median_ms

    @property
    def model_videos_per_s(self) -> float:
        """Of the model alone: MMAction2's inference time in videos/s, at batch size 1."""
        return 1e3 / self.infer.median_ms

    def __str__(self) -> str:
        return (
            f"benchmark, batch size {self.batch_size}, median of {self.num_runs} runs after {self.num_warmup}: "
            f"decode and transforms {self.prepare.median_ms:.1f} ms/video, model {self.infer.median_ms:.1f} ms/video, "
            f"{self.videos_per_s:.2f} videos/s"
        )


def benchmark(
    predictor: Predictor, paths: Sequence[str | Path], num_runs: int = NUM_TIMED, num_warmup: int = NUM_WARMUP
) -> Timing:
    """Times batch after batch of the videos, over and over.

    Args:
        paths: of the videos, in turn; a batch may hold one several times.
    """
    predictor, size = copy.copy(predictor), predictor.batch_size
    predictor.num_workers = 0
    prepare, infer, whole = [], [], []
    for run in range(-num_warmup, num_runs):
        batch = [paths[(run * size + place) % len(paths)] for place in range(size)]
        start = time.perf_counter()
        predictions = predictor.predict(batch)
        taken = (time.perf_counter() - start) / size
        if run >= 0:
            whole.append(taken)
            prepare.append(sum(p.prepare_s for p in predictions) / size)
            infer.append(sum(p.infer_s for p in predictions) / size)
    return Timing(*map(Spread.of, (prepare, infer, whole)), size, num_runs, num_warmup)


@dataclass(frozen=True)
class Benchmark:
    """A timing, and what was timed where.

    Args:
        videos: what they are.
        clip: V, T, H, W of what the model takes of one video.
        runtime: what runs the model: a runtime of an export, or the network itself.
        threads: of the model on the CPU.
        host_mb: peak of this process's memory (resident set), with libraries and the loading of the model.
        gpu_mb: peak that Paddle has reserved on the GPU; None: the model runs on the CPU.
    """

    model_name: str
    videos: str
    clip: tuple[int, ...]
    runtime: str
    device: str
    processor: str
    threads: int
    timing: Timing
    host_mb: float
    gpu_mb: float | None

    def describe(self) -> dict[str, Any]:
        """Plain data."""
        timing = self.timing
        rates = {"videos_per_s": timing.videos_per_s, "model_videos_per_s": timing.model_videos_per_s}
        clip = dict(zip(("views", "frames", "height", "width"), self.clip))
        return {**asdict(self), "clip": clip, "timing": {**asdict(timing), **rates}}

    def lines(self) -> Iterator[str]:
        """A table for the terminal."""
        timing, (views, frames, height, width) = self.timing, self.clip
        threads = f", {self.threads} thread{'s' * (self.threads != 1)}" if self.device == "cpu" else ""
        yield f"{self.model_name}: {self.runtime} on {self.processor}{threads}"
        yield (
            f"{self.videos}; batch size {timing.batch_size}, {views} view{'s' * (views != 1)} of {frames} frames, "
            f"{height} x {width} pixels; median (quartiles) of {timing.num_runs} runs after {timing.num_warmup}"
        )
        yield f"  decode and transforms {timing.prepare} per video"
        yield f"  model                 {timing.infer} per video, {timing.model_videos_per_s:.2f} videos/s"
        yield f"  whole                 {timing.whole} per video, {timing.videos_per_s:.2f} videos/s"
        gpu = "" if self.gpu_mb is None else f"; {self.gpu_mb:.0f} MB reserved on the GPU"
        yield f"  peak memory of the process {self.host_mb:.0f} MB{gpu}"


def measure(
    predictor: Predictor, paths: Sequence[str | Path], videos: str, num_runs: int, num_warmup: int
) -> Benchmark:
    """Times the predictor on the videos, see ``benchmark``; the memory is what the whole process has taken.

    Args:
        videos: what they are, for the table.

    Raises:
        UserError: a video cannot be read.
    """
    clip = predictor.clip(paths[0])["imgs"]  # [V, T, H, W, 3]
    timing = benchmark(predictor, paths, num_runs, num_warmup)
    model = predictor.model
    if isinstance(model, TrainedNetwork):
        runtime, threads = "the network", int(os.environ.get("OMP_NUM_THREADS") or available_cores())
    else:
        row = Timed(model.runtime.backend or "paddle", bool(model.runtime.enable_mkldnn), model.runtime.precision)
        runtime = str(row) + (", int8" if row.precision == "int8" else "")
        threads = model.runtime.cpu_threads or available_cores()
    on_gpu = model.device.startswith("gpu")
    processor, gpu_mb = _gpu() if on_gpu else (cpu_name(), None)
    return Benchmark(
        predictor.name, videos, clip.shape[:4], runtime, model.device, processor, threads, timing, peak_host_mb(),
        gpu_mb,
    )  # fmt: skip


def _gpu() -> tuple[str, float]:
    import paddle

    return paddle.device.cuda.get_device_name(), paddle.device.cuda.max_memory_reserved() / _MB


def peak_host_mb() -> float:
    """The most memory that this process has had at once (resident set), in MB of 2^20 bytes."""
    import resource  # of POSIX

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MB if sys.platform == "darwin" else 1024)  # bytes there, KB elsewhere


@contextmanager
def start_weights(config: Config) -> Iterator[Path]:
    """A ``.pdparams`` file with the weights that a network of MODEL has before it is trained, by the default seed."""
    import paddle

    paddle.seed(DEFAULT_SEED)
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as folder:
        file = Path(folder, "untrained.pdparams")
        network = deployed_network(config)
        write_pickle(file, {name: value.numpy() for name, value in network.state_dict().items()})
        del network
        yield file


@contextmanager
def synthetic_video() -> Iterator[Path]:
    """An H.264 file of 10 s, 340 x 256 pixels and 30 frames a second: coloured blocks that move."""
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as folder:
        file = Path(folder, "synthetic.mp4")
        write_video(file, _moving_blocks(), _FPS)
        yield file


def _moving_blocks() -> Iterable[np.ndarray]:
    height, width = _SIZE
    colours = np.random.default_rng(DEFAULT_SEED).integers(0, 256, (height // 16, width // 17, 3), np.uint8)
    picture = np.repeat(np.repeat(colours, 16, axis=0), 17, axis=1)
    return (np.roll(picture, (number, 2 * number), axis=(0, 1)) for number in range(_FRAMES))
