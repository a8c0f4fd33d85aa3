"""Measures what training each kind of attention takes:  python -m benchmarks.attention_memory

Every row is a fresh process that trains a small TimeSformer with SGD on one synthetic clip: the most memory it ever
had resident (Linux), less what it had before its first step, and the CPU seconds of a step (the least of --steps after
one that is thrown away).  At the same tokens, what a block keeps is linear in the width, but for the weights of the
attention: heads x tokens x tokens, whatever the width; 2 heads for a width of 96 are about ViT-B's share.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

KINDS = ("divided_space_time", "joint_space_time", "space_only")


def resident_mb() -> float:
    """The most this process has had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(args: argparse.Namespace) -> None:
    """Trains in this process and prints MB before the first step, MB at most, and CPU seconds of a step."""
    import numpy as np
    import paddle

    from paddlevideo.modeling import build_framework

    paddle.seed(args.seed)
    backbone = {
        "name": "VisionTransformer", "img_size": args.size, "embed_dim": args.width, "depth": args.depth,
        "num_heads": args.heads, "num_seg": args.frames, "attention_type": args.kind, "recompute": args.recompute,
        "qkv_bias": True,
    }  # fmt: skip
    head = {"name": "TimeSformerHead", "num_classes": 400, "in_channels": args.width}
    network = build_framework({"framework": "RecognizerTransformer", "backbone": backbone, "head": head})
    network.train()
    optimizer = paddle.optimizer.SGD(0.01, parameters=network.parameters())
    shape = (1, 1, args.frames, args.size, args.size, 3)
    clip = np.random.default_rng(args.seed).standard_normal(shape, dtype="float32")
    batch = {"imgs": paddle.to_tensor(clip), "label": paddle.to_tensor([3])}
    before, seconds = resident_mb(), []
    for _ in range(args.steps + 1):
        started = time.process_time()
        network(batch, mode="loss")["loss"].backward()
        optimizer.step()
        optimizer.clear_grad()
        seconds.append(time.process_time() - started)
    print(f"measured {before} {resident_mb()} {min(seconds[1:])}")


def measured(kind: str, recompute: bool) -> tuple[float, float, float]:
    """``measure`` in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.attention_memory",
        *sys.argv[1:],
        "--kind",
        kind,
        *(["--recompute"] if recompute else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("measured "))
    before, most, seconds = map(float, line.split()[1:])
    return before, most, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=224, help="pixels; patches have 16")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--recompute", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    from benchmarks.run import row
    from paddlevideo.environment import set_cpu_environment

    set_cpu_environment()
    if args.kind:
        measure(args)
        return
    day, load = datetime.date.today().isoformat(), os.getloadavg()[0]
    given = " ".join(["python -m benchmarks.attention_memory", *sys.argv[1:]])
    print(f"`{given}`, {day}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, seed {args.seed}: ")
    print(f"{args.frames} x {args.size // 16} x {args.size // 16} tokens, batch 1, {args.depth} blocks of {args.width} "
          f"with {args.heads} heads\n")  # fmt: skip
    row("attention", "peak RSS, MB", "of it for the steps, MB", "times divided", "CPU s per step")
    row(*["---"] * 5)
    reference = 0.0
    for recompute in (False, True):
        for kind in KINDS:
            before, most, seconds = measured(kind, recompute)
            steps = most - before
            reference = reference or steps
            name = kind.partition("_")[0] + (", recompute" if recompute else "")
            row(name, f"{most:.0f}", f"{steps:.0f}", f"{steps / reference:.2f}", f"{seconds:.2f}")


if __name__ == "__main__":
    main()
