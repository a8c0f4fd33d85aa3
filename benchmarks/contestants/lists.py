"""The start of a data set in a process of its own."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import Any


def start(section: dict[str, Any], num_workers: int = 0) -> Callable[[], list[float]]:
    """[CPU seconds, resident MB after, peak MB, private MB of a forked process that reads 2,000 records]."""

    def run() -> list[float]:
        reader, writer = os.pipe()
        if not os.fork():
            os.close(reader)
            os.write(writer, repr(_measured(section)).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as stream:
            text = stream.read()
        os.wait()
        return [float(value) for value in text.strip("[]").split(",")]

    from paddlevideo.loader import build  # noqa: F401  a start without imports

    return run


def _measured(section: dict[str, Any]) -> list[float]:
    from paddlevideo.loader.build import build_dataset
    from paddlevideo.loader.datasets import lists

    try:
        from paddlevideo.loader.datasets.missing import drop_missing
    except ImportError:
        drop_missing = lists.drop_missing
    before = time.process_time()
    data = build_dataset(section, "train", 400 if section["format"] != "AVADataset" else 81)
    drop_missing(data, "raise", "DATASET.train")
    cpu_s = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    after = _status("VmRSS")
    reader, writer = os.pipe()
    if not os.fork():
        for i in range(0, len(data.records), max(1, len(data.records) // 2000)):
            data.records[i].get("label")
        os.write(writer, repr(_private_mb()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        private = float(stream.read())
    os.wait()
    return [cpu_s, after, peak, private]


def _status(name: str) -> float:
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith(name)) / 1e3


def _private_mb() -> float:
    with open("/proc/self/smaps_rollup") as stream:
        return sum(int(line.split()[1]) for line in stream if line.startswith("Private")) / 1e3
