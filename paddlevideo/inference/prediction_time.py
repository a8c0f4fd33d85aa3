"""How long a predictor takes for one video."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from paddlevideo.inference.predictor import Predictor

_NUM_WARMUP, _NUM_TIMED = 3, 15  # runs of a benchmark


@dataclass(frozen=True)
class Timing:
    """Medians over runs, in milliseconds per video, and videos per second with one after the other."""

    prepare_ms: float
    infer_ms: float
    videos_per_s: float
    batch_size: int

    def __str__(self) -> str:
        return (
            f"benchmark, batch size {self.batch_size}, median of {_NUM_TIMED} runs after {_NUM_WARMUP}: "
            f"decode and transforms {self.prepare_ms:.1f} ms/video, model {self.infer_ms:.1f} ms/video, "
            f"{self.videos_per_s:.2f} videos/s"
        )


def benchmark(predictor: Predictor, path: str | Path) -> Timing:
    """Times one video over and over; a batch holds it ``batch_size`` times.  Times are of the wall clock, all
    in this process.
    """
    predictor, batch = copy.copy(predictor), [path] * predictor.batch_size
    predictor.num_workers = 0
    for _ in range(_NUM_WARMUP):
        predictor.predict(batch)
    prepare, infer, whole = [], [], []
    for _ in range(_NUM_TIMED):
        start = time.perf_counter()
        predictions = predictor.predict(batch)
        whole.append((time.perf_counter() - start) / len(batch))
        prepare.append(sum(p.prepare_s for p in predictions) / len(batch))
        infer.append(sum(p.infer_s for p in predictions) / len(batch))
    return Timing(median(prepare) * 1e3, median(infer) * 1e3, 1.0 / median(whole), predictor.batch_size)
