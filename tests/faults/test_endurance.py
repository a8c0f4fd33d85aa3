"""Three hundred epochs: what a long run holds on to does not grow."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.tiny import ROOT, save, tsm_config

pytestmark = pytest.mark.reliability

EPOCHS, SETTLED = 300, 60  # caches, pools and the allocator have grown to their size before SETTLED
# from SETTLED to the end: 35 KB an epoch; a file or thread in 30 epochs.  At the end of an epoch the threads of its
# data worker are still there or not, which is 5 files and 3 threads more or less.
MOST_GROWTH = {"memory_bytes": 8 << 20, "files": 8, "threads": 8, "children": 1}


def growth_over(epochs, clips, folder, *words) -> dict[str, float]:
    """Of each figure: its slope after ``SETTLED`` epochs, times the epochs from there to the end."""
    config = tsm_config(clips, folder / "run") | {"epochs": epochs, "checkpoint_steps": 3, "keep_checkpoints": 2}
    config |= {"EMA": {"decay": 0.9}, "save_interval": 100}
    config["DATASET"]["num_workers"] = 1
    command = [sys.executable, "-m", "tests.faults.endurance", str(save(config, folder / "config.yaml")), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    samples = json.loads(done.stdout)
    assert len(samples) == epochs
    rows = np.array([[*each.values()] for each in samples[SETTLED:]], np.float64)
    slopes = np.polyfit(np.arange(len(rows)), rows, 1)[0]
    return dict(zip(samples[0], slopes * len(rows), strict=True))


@pytest.mark.scorecard("endurance", times=EPOCHS)
def test_memory_files_threads_and_processes_do_not_grow(clips, tmp_path):
    grown = growth_over(EPOCHS, clips, tmp_path)
    assert all(grown[name] < most for name, most in MOST_GROWTH.items()), grown


@pytest.mark.scorecard("endurance", times=0)
def test_a_leak_of_each_kind_is_noticed(clips, tmp_path):
    """The negative control."""
    num = 40
    grown = growth_over(SETTLED + num, clips, tmp_path, "--leak")
    for name, most in MOST_GROWTH.items():
        assert grown[name] / num > 2 * most / (EPOCHS - SETTLED), (name, grown)
