"""What several ranks and resume points cost:  python -m benchmarks.ranks [--base CHECKOUT] [--rounds 3] [PART...]

Parts: ``efficiency`` (one and two ranks on the demo), ``exchange`` (processes that only exchange a step's flags),
``counts`` (reads, exchanges and store traffic of a step), ``checkpoints`` (a training that writes them), ``digest``.
With ``--base`` another checkout takes part in turns, and weights are compared with its own.
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
from pathlib import Path

from benchmarks.side_by_side import head, header, row

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks" / "contestants"
DEMO = "configs/recognition/tsm/tsm_motion_demo.yaml"
_MESSAGE = 12 + 2 * 8  # bytes of two flags and their header


def _environment(root: Path) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("PADDLE")} | {"PYTHONPATH": str(root)}


def _run(root: Path, command: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=root, env=_environment(root), capture_output=True, text=True, timeout=900
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def _launcher(ranks: int, folder: Path) -> list[str]:
    if ranks == 1:
        return []
    return ["-m", "paddle.distributed.launch", "--nproc_per_node", str(ranks), "--log_dir", str(folder / "log")]


def _demo(root: Path, data: Path, ranks: int, output: Path) -> float:
    """Seconds per step in the second epoch of the demo, 8 clips per rank."""
    over = {"DATASET.num_workers": 0, "DATASET.batch_size": 8, "epochs": 2, "output_dir": output, "save_interval": 9}
    over |= {"DATASET.label_names": data / "labels.txt"}
    over |= {"DATASET.train.data_prefix": data, "DATASET.train.file_path": data / "train.list"}
    options = [part for key, value in over.items() for part in ("-o", f"{key}={value}")]
    _run(root, [*_launcher(ranks, output), "main.py", "-c", DEMO, "--seed", "0", *options])
    (found,) = re.findall(r"END epoch:2 .*avg_batch_cost: ([\d.]+) sec", (output / "log.txt").read_text())
    return float(found)


def efficiency(rounds: int, base: Path | None, data: Path | None = None) -> None:
    """One and two ranks in turns; the last weights of equal commands are compared bit by bit."""
    import numpy as np

    from paddlevideo.safe_io import read_pickle

    roots = {"": ROOT} | ({"base, ": base} if base else {})
    seconds: dict[tuple[str, int], list[float]] = {}
    weights: dict[tuple[str, int], dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            data = Path(folder) / "data"
            _run(ROOT, ["-m", "demo.motion", "--out", str(data)])
        for number in range(rounds):
            for name, root in roots.items():
                for ranks in (1, 2):
                    output = Path(folder) / f"{name[:4]}{ranks}.{number}"
                    seconds.setdefault((name, ranks), []).append(_demo(root, data, ranks, output))
                    weights[name, ranks] = read_pickle(output / "TSM_epoch_00002.pdparams")
    head("demo, 8 clips per rank, no workers", "ms per step", "clips/s", "efficiency")
    for (name, ranks), values in seconds.items():
        step_s = statistics.median(values)
        share = statistics.median(seconds[name, 1]) / step_s
        row(f"{name}{ranks} rank(s)", f"{1e3 * step_s:.0f}", f"{8 * ranks / step_s:.1f}", f"{share:.0%}")
    for ranks in (1, 2) if base else ():
        ours, theirs = weights["", ranks], weights["base, ", ranks]
        same = ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)
        print(f"weights after 2 epochs on {ranks} rank(s), bit by bit: {'equal' if same else 'DIFFERENT'} to base's\n")


def exchange(rounds: int, base: Path | None, data: Path | None = None) -> None:
    """The flags of a step between 2, 8 and 64 processes of this machine."""
    head("exchange of a step's flags", "ms (median)", "CPU ms of rank 0", "bytes at rank 0")
    for world in (2, 8, 64):
        with tempfile.TemporaryDirectory() as folder:
            arguments = [str(world), folder, str(100 * rounds)]
            processes = [
                subprocess.Popen(
                    [sys.executable, str(HERE / "exchange.py"), str(rank), *arguments],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for rank in range(world)
            ]
            outputs = [process.communicate(timeout=300)[0] for process in processes]
        figures = json.loads(outputs[0])
        bytes_both_ways = 2 * _MESSAGE * (world - 1)
        row(f"{world} ranks", f"{figures['ms']:.2f}", f"{figures['cpu_ms']:.2f}", bytes_both_ways)


def counts(rounds: int, base: Path | None, data: Path | None = None) -> None:
    """Reads of the device, exchanges, and the store's bytes of a step, two batches added up, on two ranks."""
    from tests.tiny import make_clips, save, tsm_config

    head("a step of two ranks, two batches", "reads of the device", "exchanges", "collectives", "bytes of the store")
    for backend in ("GLOO", "NCCL"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            config = tsm_config(make_clips(folder / "clips"), folder / "run") | {"epochs": 1}
            file = save(config | {"GRADIENT_ACCUMULATION": {"num_iters": 2}}, folder / "config.yaml")
            script = ["tests/counted/two_ranks.py", str(file), *(["NCCL"] if backend == "NCCL" else [])]
            found = re.findall(r"steps: (.*)", _run(ROOT, [*_launcher(2, folder), *script]))
            most = {
                key: max(step[key] for line in found for step in json.loads(line)) for key in json.loads(found[0])[0]
            }
        label = "gloo" if backend == "GLOO" else "as over NCCL (its calls, over gloo)"
        row(label, most["reads"], most["exchanges"], most["collectives"], most["store bytes"])


def checkpoints(rounds: int, base: Path | None, data: Path | None = None) -> None:
    """A resume point of TSM-R50 (weights and momentum) after every step, each of about three seconds."""
    roots = ({"base": base} if base else {}) | {"in the background": ROOT}
    figures: dict[str, list[dict]] = {name: [] for name in roots}
    for _ in range(max(1, rounds - 1)):
        for name, root in roots.items():
            text = _run(root, [str(HERE / "checkpoints.py"), "5"])
            figures[name].append(json.loads(re.findall(r"figures: (.*)", text)[0]))
    head("TSM-R50, a resume point per step", "MB", "training waits, ms", "writing, ms", "step, ms", "peak MB")
    for name, found in figures.items():
        ms = {
            key: 1e3 * statistics.median(value for one in found for value in one[key][1:])
            for key in ("blocked_s", "write_s", "step_s")
        }
        size, peak = found[0]["bytes"] / 1e6, max(one["peak_mb"] for one in found)
        row(name, f"{size:.0f}", f"{ms['blocked_s']:.0f}", f"{ms['write_s']:.0f}", f"{ms['step_s']:.0f}", f"{peak:.0f}")


def digest(rounds: int, base: Path | None, data: Path | None = None) -> None:
    """The digest of a list's records, once per run."""
    from paddlevideo.loader.datasets.records import digest_of

    records = [{"filename": f"data/videos/{i:08d}.mp4", "label": i % 400, "index": i} for i in range(10**6)]
    seconds = []
    for _ in range(rounds):
        begun = time.process_time()
        digest_of(records)
        seconds.append(time.process_time() - begun)
    head("digest of the records, once per run", "CPU s")
    row("10^6 records", f"{statistics.median(seconds):.2f}")


PARTS = {f.__name__: f for f in (efficiency, exchange, counts, checkpoints, digest)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all where none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base", type=Path, help="another checkout, to compare with")
    parser.add_argument("--data", type=Path, help="rendered by demo.motion before; made where it is not given")
    arguments = parser.parse_args()
    base, data = (path and path.resolve() for path in (arguments.base, arguments.data))
    sys.path.insert(0, str(ROOT))
    print(header(" ".join(["python -m benchmarks.ranks", *sys.argv[1:]])), end="\n\n")
    for part in arguments.parts or PARTS:
        PARTS[part](arguments.rounds, base, data)
        print()


if __name__ == "__main__":
    main()
