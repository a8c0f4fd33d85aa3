"""Runs that are stopped by a signal, for the tests that resume them."""

import os
import signal
import time
from pathlib import Path

import pytest

from paddlevideo.engine.hooks import CheckpointHook
from paddlevideo.engine.training import train


def train_until_sigterm(config, options, step: int) -> int:
    """Trains, and sends SIGTERM to this process in the given optimizer step; returns the exit code."""
    after_step = CheckpointHook.after_step

    def stop_then_save(hook, run):
        if run.progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
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
