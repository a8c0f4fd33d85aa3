"""Twelve training steps beside plain PyTorch: the same start weights, batches and recipe, compared after every step.

``python -m benchmarks.training_parity [--cases NAME...] [--store]``

The suite's side is ``Trainer._step`` with network, optimizer, parameter groups, clipping and schedule from the YAML
file of the published recipe, made small (``tests/parity/training_inputs.py``).  PyTorch's side is
``benchmarks/contestants/torch_training.py``.  Exits with 1 where a difference is above the tolerance.  ``--store``
writes PyTorch's losses and gradient norms to ``tests/parity/training.json``, which the tests compare the suite with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.side_by_side import head, header, row
from tests.parity.training_inputs import SEED

STORED = peers.ROOT / "tests" / "parity" / "training.json"
RUNS = {
    "TSM R50, float64": ("TSM R50", "float64"),
    "TimeSformer, float64": ("TimeSformer", "float64"),
    "TimeSformer, float32": ("TimeSformer", "float32"),
    "SlowOnly AVA, float64": ("SlowOnly AVA", "float64"),
}
# relative: of loss, gradient norm and weights, and of gradients
TOLERANCES = {"float64": (1e-11, 1e-9), "float32": (1e-5, 1e-4)}
_TORCH = "benchmarks/contestants/torch_training.py"


def difference(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """Over the arrays of one step the largest ``|ours - theirs| / |theirs|`` in the Euclidean norm."""
    if ours.keys() != theirs.keys():
        raise ValueError(f"other parameters: {sorted(ours.keys() ^ theirs.keys())}")
    return max(float(np.linalg.norm(ours[key] - theirs[key]) / np.linalg.norm(theirs[key])) for key in theirs)


def apart(ours: float, theirs: float) -> float:
    """Relative difference of two figures."""
    return abs(ours - theirs) / abs(theirs)


def torch_steps(name: str, dtype: str, folder: Path) -> dict[str, Any]:
    """Trains with PyTorch; the arrays of every step are in ``folder`` then."""
    python = peers.python_of("torch").path
    environment = {**os.environ, "PYTHONPATH": str(peers.ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([python, _TORCH, name, dtype, folder], check=True, cwd=peers.ROOT, env=environment)
    return json.loads((folder / "steps.json").read_text())


def compare(title: str, folder: Path) -> tuple[bool, dict[str, Any]]:
    """Prints a row per step; whether all differences are within the tolerances, and PyTorch's figures."""
    from tests.parity import training

    name, dtype = RUNS[title]
    stored, within = torch_steps(name, dtype, folder), True
    for number, (ours, theirs) in enumerate(zip(training.run(name, dtype, arrays=True), stored["steps"], strict=True)):
        with np.load(folder / f"{number}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        gradients, weights = (
            difference(own, {key.split(" ", 1)[1]: value for key, value in arrays.items() if key.startswith(kind)})
            for kind, own in (("gradient ", ours.gradients), ("weight ", ours.weights))
        )
        figures = [(ours.loss, theirs["loss"]), (ours.gradient_norm, theirs["gradient_norm"])]
        most, most_of_gradients = TOLERANCES[dtype]
        rates = ours.rate, theirs["rate"]
        good = max(*(apart(*pair) for pair in figures), apart(*rates), weights) <= most
        within &= good and gradients <= most_of_gradients
        texts = [f"{value:.10f}" for pair in figures for value in pair]
        row(title, number + 1, f"{ours.rate:.4g}", *texts, f"{gradients:.1e}", f"{weights:.1e}")
    return within, stored


def store(found: Mapping[str, dict[str, Any]]) -> None:
    """Writes PyTorch's figures."""
    keys = ("loss", "gradient_norm", "rate")
    cases = {title: {key: [step[key] for step in stored["steps"]] for key in keys} for title, stored in found.items()}
    versions = sorted({stored["torch"] for stored in found.values()})
    described = {"made_by": "python -m benchmarks.training_parity --store", "torch": versions, "seed": SEED}
    STORED.write_text(json.dumps({**described, "cases": cases}, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--store", action="store_true", help="write tests/parity/training.json; takes all cases")
    args = parser.parse_args(arguments)
    if args.store and args.cases != list(RUNS):
        parser.error("--store takes all cases: leave --cases out")
    from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment

    hide_paddle_remarks()
    set_cpu_environment()
    print(header("python -m benchmarks.training_parity", SEED) + "\n")
    head(
        "network", "step", "rate", "loss", "of PyTorch", "gradient norm", "of PyTorch", "gradients apart",
        "weights apart",
    )  # fmt: skip
    found, failed = {}, []
    for title in args.cases:
        with tempfile.TemporaryDirectory() as folder:
            within, found[title] = compare(title, Path(folder))
        failed += [] if within else [title]
    if failed:
        print(f"above the tolerance: {', '.join(failed)}", file=sys.stderr)
        return 1
    if args.store:
        store(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
