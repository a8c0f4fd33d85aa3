"""Prediction with one clip and with eight, on one thread and on two, against what others would run it with.

``python -m benchmarks.inference [--networks NAME...] [--batches 1 8] [--threads 1 2] [--folder DIR]``

Each network is exported once, with random weights and 8 to 32 frames of 224 x 224 pixels; the export times its runtimes
and chooses one ("chosen at export"). Dygraph, Paddle Inference with and without oneDNN, ONNX Runtime, OpenVINO and
PyTorch eager take turns with it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import peers
from benchmarks.contestants.exported import NETWORKS
from benchmarks.side_by_side import Contestant, Result, compare, head, header, row

_OURS, _OTHERS = "benchmarks/contestants/exported.py", "benchmarks/contestants/other_runtimes.py"
CHOSEN, EAGER, TORCH = "chosen at export", "dygraph", "PyTorch eager"
_LOWER = ("Paddle oneDNN bf16", "OpenVINO bf16")  # not in float32


def exported(name: str, folder: Path) -> Path:
    """The folder of a network's export, made where it is not there."""
    target = folder / name.replace(" ", "_")
    if not (target / "inference.yml").is_file():
        ours = peers.ours_with_runtimes()
        command = [str(ours.path), str(peers.ROOT / _OURS), name, str(target)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ours.root)})
    return target


def contestants(name: str, folder: Path, batch: int, threads: int, bf16: bool) -> list[Contestant]:
    """Who takes turns."""
    ours, shared = peers.ours_with_runtimes(), {"folder": str(folder), "name": name, "batch": batch}
    others = {"frames": NETWORKS[name][1], "batch": batch, "threads": threads}

    def program(title: str, **runtime: object) -> Contestant:
        arguments = {**shared, "runtime": {"cpu_threads": threads, **runtime}}
        return Contestant(title, ours, f"{_OURS}:program", arguments)

    found = [
        program(CHOSEN),
        Contestant(EAGER, ours, f"{_OURS}:eager", shared),
        program("Paddle Inference", backend="paddle", enable_mkldnn=False),
        program("Paddle oneDNN", backend="paddle", enable_mkldnn=True),
        Contestant(TORCH, peers.python_of("torch"), f"{_OTHERS}:torch_eager", {"network": name, **others}),
    ]
    file = folder / "model.onnx"
    if file.is_file():
        runtimes, onnx = peers.python_of("runtimes"), {"file": str(file), **others}
        found += [
            Contestant("ONNX Runtime", runtimes, f"{_OTHERS}:onnxruntime", onnx),
            Contestant("OpenVINO", runtimes, f"{_OTHERS}:openvino", {**onnx, "precision": "f32"}),
        ]
        if bf16:
            low = {**onnx, "precision": "bf16"}
            found.append(Contestant("OpenVINO bf16", runtimes, f"{_OTHERS}:openvino", low))
    return [*found, *([program("Paddle oneDNN bf16", backend="paddle", precision="bf16")] if bf16 else [])]


def report(name: str, batch: int, threads: int, results: dict[str, Result]) -> None:
    """A row per contestant; the ratio is of CPU seconds on one thread, of wall seconds on more."""
    reference = results[EAGER].value

    def cost(result: Result) -> float:
        return result.cpu_s if threads == 1 else result.wall_s

    rivals = {key: cost(each) for key, each in results.items() if key not in (CHOSEN, *_LOWER) and not each.error}
    best = min(rivals.values())
    for who, result in results.items():
        if result.error:
            row(name, batch, threads, who, result.error, "", "", "")
            continue
        difference = ""
        if who != TORCH and reference is not None:
            difference = f"{max(abs(a - b) for a, b in zip(result.value, reference, strict=True)):.0e}"
        figures = (f"{result.cpu_s:.3f}", f"{result.wall_s:.3f}", f"{cost(result) / best:.2f}")
        row(name, batch, threads, who, *figures, difference)


@contextlib.contextmanager
def _folder(path: Path | None) -> Iterator[Path]:
    if path is not None:
        yield path.resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="lower precision too")
    parser.add_argument("--folder", type=Path, help="keep the exports here, and use those that are there")
    args = parser.parse_args()
    with _folder(args.folder) as folder:
        for name in args.networks:
            print(exported(name, folder), file=sys.stderr, flush=True)
        print(header("python -m benchmarks.inference " + " ".join(sys.argv[1:])) + "\n")
        head(
            "network", "clips", "threads", "runtime", "CPU s", "wall s", "to the fastest other", "difference of a score"
        )
        for threads in args.threads:
            for name in args.networks:
                for batch in args.batches:
                    if batch > 1 and name in ("SlowFast-R50 4x16", "TimeSformer-B"):
                        continue  # memory, and minutes per run
                    turns = contestants(name, exported(name, folder), batch, threads, args.bf16)
                    report(name, batch, threads, compare(turns, args.rounds, threads))


if __name__ == "__main__":
    main()
