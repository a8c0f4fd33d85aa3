"""One way to run an exported model, tried in a process of its own: python -m paddlevideo.inference.trial FOLDER

A runtime that ends its process, as oneDNN and converters may, ends this one. ``FOLDER`` is written by
``paddlevideo.inference.timing``, and the result is left in it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np

from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment
from paddlevideo.errors import UserError
from paddlevideo.inference.runtimes.base import ExportedModel, Runtime
from paddlevideo.inference.runtimes.choice import open_model
from paddlevideo.safe_io import read_json, read_npz, write_atomic

REQUEST, RESULT = "request.json", "result.json"
_LEAST_RUNS, _MOST_RUNS = 2, 20


def batch_file(folder: Path, number: int) -> Path:
    """The arrays of a batch."""
    return folder / f"batch{number}.npz"


def scores_file(folder: Path) -> Path:
    """The scores of all batches."""
    return folder / "scores.npz"


def run(folder: Path) -> None:
    """Runs the batches, then the first clip of the first one over and over."""
    request = read_json(folder / REQUEST)
    known = {field.name for field in fields(Runtime)}
    runtime = Runtime(**{key: value for key, value in request["runtime"].items() if key in known})
    replaced: list[str] = []
    model = open_model(Path(request["program"]), Path(request["params"]), runtime, replaced.append)
    if replaced:  # another way than the one to try
        raise UserError(replaced[0])
    batches = [read_npz(batch_file(folder, number)) for number in range(request["batches"])]
    scores = [model.run(batch) for batch in batches]
    np.savez(scores_file(folder), **{str(number): rows for number, rows in enumerate(scores)})
    write_atomic(folder / RESULT, json.dumps({"ms": 1e3 * _fastest_s(model, batches[0], request["seconds"])}))


def _fastest_s(model: ExportedModel, batch: dict[str, np.ndarray], seconds: float) -> float:
    batch = one_clip(batch)
    model.run(batch)  # a new shape costs more once
    found: list[float] = []
    while len(found) < _LEAST_RUNS or (sum(found) < seconds and len(found) < _MOST_RUNS):
        started = time.perf_counter()
        model.run(batch)
        found.append(time.perf_counter() - started)
    return min(found)


def one_clip(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first clip of a batch; one with persons has one clip already."""
    return batch if "boxes" in batch else {"imgs": batch["imgs"][:1]}


if __name__ == "__main__":
    set_cpu_environment()
    hide_paddle_remarks()
    try:
        run(Path(sys.argv[1]))
    except UserError as refusal:
        sys.exit(f"{refusal}")
