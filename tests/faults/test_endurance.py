"""Three hundred epochs: what a long run holds on to does not grow."""

import gc
import os
import threading
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.config import Config
from paddlevideo.engine.hooks import CheckpointHook
from paddlevideo.engine.training import train
from paddlevideo.settings import Options
from tests.tiny import tsm_config

EPOCHS, SETTLED = 300, 60  # caches, pools and the allocator have grown to their size before SETTLED
MOST_GROWTH_BYTES = 8 << 20  # from SETTLED to the end: 35 KB an epoch


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    memory_bytes: int
    files: int
    threads: int
    children: int

    @classmethod
    def now(cls) -> "Held":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        threads = len(os.listdir("/proc/self/task"))
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd")), threads, num_children())


def num_children() -> int:
    """Processes whose parent this one is, ended ones that nobody waited for too."""
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found += int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid()
        except OSError:  # it has ended
            continue
    return found


def growth(samples: list[Held]) -> dict[str, float]:
    """Of each figure: its slope after ``SETTLED`` epochs, times the epochs from there to the end."""
    rows = np.array([astuple(each) for each in samples[SETTLED:]], np.float64)
    slopes = np.polyfit(np.arange(len(rows)), rows, 1)[0]
    return dict(zip(Held.__annotations__, slopes * len(rows), strict=True))


def train_and_sample(clips, output, monkeypatch, epochs, after_epoch=lambda: None):
    samples, epoch_end = [], CheckpointHook.epoch_end

    def sampled(hook, run):
        epoch_end(hook, run)
        after_epoch()
        gc.collect()
        samples.append(Held.now())

    monkeypatch.setattr(CheckpointHook, "epoch_end", sampled)
    config = tsm_config(clips, output) | {"epochs": epochs, "checkpoint_steps": 3, "keep_checkpoints": 2}
    config |= {"EMA": {"decay": 0.9}, "save_interval": 100}
    config["DATASET"]["num_workers"] = 1
    train(Config(config), Options(seed=1, validate=True))
    return samples


@pytest.mark.reliability
@pytest.mark.scorecard("endurance", times=EPOCHS)
def test_memory_files_threads_and_processes_do_not_grow(clips, tmp_path, monkeypatch):
    samples = train_and_sample(clips, tmp_path, monkeypatch, EPOCHS)
    grown = growth(samples)
    assert len(samples) == EPOCHS
    assert grown.pop("memory_bytes") < MOST_GROWTH_BYTES, grown
    assert all(value < 1 for value in grown.values()), grown


@pytest.mark.reliability
@pytest.mark.scorecard("endurance", times=0)
def test_a_leak_of_each_kind_is_noticed(clips, tmp_path, monkeypatch):
    """The negative control."""
    kept, stop = [], threading.Event()

    def leak():
        kept.append(np.ones(64 << 10, np.uint8))
        kept.append(open(os.devnull))  # noqa: SIM115 (it is left open on purpose)
        kept.append(threading.Thread(target=stop.wait))
        kept[-1].start()

    try:
        grown = growth(train_and_sample(clips, tmp_path, monkeypatch, SETTLED + 40, leak))
    finally:
        stop.set()
        for each in kept[1::3]:
            each.close()
    assert grown["memory_bytes"] > 40 * (60 << 10) and grown["files"] > 30 and grown["threads"] > 30
