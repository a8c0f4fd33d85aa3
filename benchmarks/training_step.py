"""A training step and a prediction at full size and batch 1, against PyTorch and other checkouts.

``python -m benchmarks.training_step [--networks NAME...] [--threads 1 2] [--rounds 3] [--root CHECKOUT]``

Training is ``Trainer._step`` with the recipe's optimizer, clipping and figures of the log line; PyTorch's has SGD with
the same momentum and clipping.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.side_by_side import Contestant, Result, compare, head, header, row

_CONFIGS = "configs/recognition"


@dataclass(frozen=True)
class Network:
    """A recipe, the frames of its clip, and what PyTorch's optimizer needs of it."""

    config: str
    frames: int
    clip_norm: float | None
    nesterov: bool = False


NETWORKS = {
    "TSM-R50": Network("tsm/tsm_k400_videos.yaml", 8, 20.0),
    "SlowOnly-R50 4x16": Network("slowonly/slowonly_r50_4x16x1_256e_kinetics400_rgb.yaml", 4, 40.0),
    "SlowFast-R50 4x16": Network("slowfast/slowfast_r50_4x16x1_256e_kinetics400_rgb.yaml", 32, 40.0),
    "TimeSformer-B": Network("timesformer/timesformer_k400_videos.yaml", 8, None, nesterov=True),
    "TSM-MobileNetV2": Network("tsm/tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb.yaml", 8, 20.0),
}


def contestants(name: str, train: bool, threads: int, roots: list[Path]) -> list[Contestant]:
    """This checkout, the others, PyTorch."""
    network = NETWORKS[name]
    ours = {"config": f"{_CONFIGS}/{network.config}", "frames": network.frames, "train": train, "overrides": []}
    theirs = {
        "network": name, "frames": network.frames, "train": train, "threads": threads,
        "clip_norm": network.clip_norm, "nesterov": network.nesterov,
    }  # fmt: skip
    file = "benchmarks/contestants/{}_networks.py:step"
    return [
        Contestant("ours", peers.ours(), file.format("paddle"), ours),
        *(Contestant(str(root), peers.ours(root), file.format("paddle"), ours) for root in roots),
        Contestant("PyTorch", peers.python_of("torch"), file.format("torch"), theirs),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--modes", nargs="+", choices=("train", "predict"), default=["train", "predict"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", nargs="+", type=Path, default=[], help="other checkouts of this project")
    args = parser.parse_args()
    print(header("python -m benchmarks.training_step") + "\n")
    head("network, batch 1", "threads", "what", "CPU s", "wall s", "peak MB", "CPU, relative to PyTorch", "wall")
    for threads in args.threads:
        for name in args.networks:
            for mode in args.modes:
                found = compare(contestants(name, mode == "train", threads, args.root), args.rounds, threads)
                for who, result in found.items():
                    _row(f"{name}, {mode}", threads, who, result, found["PyTorch"])


def _row(what: str, threads: int, who: str, result: Result, peer: Result) -> None:
    if result.error:
        row(what, threads, who, result.error, "", "", "", "")
        return
    row(
        what, threads, who, f"{result.cpu_s:.3f}", f"{result.wall_s:.3f}", f"{result.peak_mb:.0f}",
        f"{result.cpu_s / peer.cpu_s:.2f}", f"{result.wall_s / peer.wall_s:.2f}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
