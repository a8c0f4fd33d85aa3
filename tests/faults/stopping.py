"""Runs that are stopped by a signal, for the tests that resume them."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.engine import checkpoint
from paddlevideo.engine.checkpoint import ResumePoint
from paddlevideo.engine.hooks import CheckpointHook
from paddlevideo.engine.training import train
from paddlevideo.safe_io import read_pickle


def train_until_sigterm(config, options, step: int, number: int = signal.SIGTERM) -> int:
    """Trains, and sends SIGTERM (or SIGINT) to this process in the given optimizer step; returns the exit code."""
    after_step = CheckpointHook.after_step

    def stop_then_save(hook, run):
        if run.progress.step == step:
            os.kill(os.getpid(), number)
            time.sleep(0.05)
        after_step(hook, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointHook, "after_step", stop_then_save)
        with pytest.raises(SystemExit) as left:
            train(config, options)
    return left.value.code


def copy_of(folder: Path, target: Path) -> Path:
    """A copy of a run's folder, to resume in."""
    target.mkdir(parents=True)
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def change_points(patch: pytest.MonkeyPatch, change: Callable[[ResumePoint], None]) -> None:
    """Has every resume point changed behind its reading, as if the file said so."""
    load = checkpoint.load

    def changed(stem: Path) -> ResumePoint:
        point = load(stem)
        change(point)
        return point

    patch.setattr(checkpoint, "load", changed)


def flat(path: Path) -> dict[str, np.ndarray]:
    """The arrays and numbers of a file, those of a mapping inside it under ``key.inner``."""
    found = {}
    for key, value in read_pickle(path).items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        found.update({f"{key}.{inner}": np.asarray(item) for inner, item in parts})
    return found


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether two mappings hold the same bits under the same keys."""
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
