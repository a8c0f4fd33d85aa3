"""Trains, and prints what the process holds after every epoch, as JSON.

    python -m tests.faults.endurance CONFIG [--leak]

``--leak`` keeps 64 KiB, an open file, a thread and a process of every epoch: what a test must notice.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np


def num_children() -> int:
    """Processes whose parent this one is, ended ones that nobody waited for too."""
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found += int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid()
        except OSError:  # it has ended
            continue
    return found


def held() -> dict[str, int]:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "children": num_children(),
    }


def main() -> None:
    from paddlevideo.config import load_config
    from paddlevideo.engine.hooks import CheckpointHook
    from paddlevideo.engine.training import train
    from paddlevideo.settings import Options

    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--leak", action="store_true")
    args = parser.parse_args()
    samples: list[dict[str, int]] = []
    kept: list[Any] = []
    stop, epoch_end = threading.Event(), CheckpointHook.epoch_end

    def sampled(hook: CheckpointHook, run: Any) -> None:
        epoch_end(hook, run)
        if args.leak:
            thread = threading.Thread(target=stop.wait)
            thread.start()
            child = subprocess.Popen(["sleep", "3600"])
            kept.append((np.ones(64 << 10, np.uint8), open(os.devnull), thread, child))  # noqa: SIM115 (the leak)
        gc.collect()
        samples.append(held())

    CheckpointHook.epoch_end = sampled
    stdout, sys.stdout = sys.stdout, sys.stderr  # the log
    train(load_config(args.config), Options(seed=1, validate=True))
    stop.set()
    for *_, child in kept:
        child.kill()
    stdout.write(json.dumps(samples))


if __name__ == "__main__":
    main()
