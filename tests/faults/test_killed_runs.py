"""Runs that are killed again and again at random steps, as often as the scorecard requires, end with the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from paddlevideo.config import Config
from paddlevideo.settings import Options
from tests.faults.stopping import equal, flat
from tests.tiny import ROOT, save, tsm_config

pytestmark = pytest.mark.reliability

EPOCHS, SEED = 100, 7
AVERAGED = {"EMA": {"decay": 0.9}, "SWA": {"start_epoch": 2, "interval_steps": 3}}
ACCUMULATED = {"GRADIENT_ACCUMULATION": {"num_iters": 2}}
# number of the scorecard, workers, kills, sections of the configuration
CASES = {
    "0 workers": (21, 0, 20, {}),
    "2 workers": (21, 2, 20, {}),
    "accumulation": (22, 0, 10, ACCUMULATED),
    "EMA and SWA": (22, 2, 10, AVERAGED),
    "accumulation, EMA and SWA": (22, 2, 10, {**ACCUMULATED, **AVERAGED}),
}


def config_for(clips, output, more) -> dict:
    config = tsm_config(clips, output) | {"epochs": EPOCHS, "checkpoint_steps": 1, "keep_checkpoints": 2, **more}
    config["OPTIMIZER"]["learning_rate"]["max_epoch"] = EPOCHS
    return config


def losses(output) -> dict[int, float]:
    """Step -> the loss of the last time that it was taken."""
    lines = (output / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines if line.endswith("}")]  # a kill may cut one off
    return {record["step"]: record["loss"] for record in records if record["mode"] == "train"}


def final(output):
    files = [file for file in output.glob(f"TSM_epoch_{EPOCHS:05d}.pd*") if file.suffix != ".pdstates"]
    found = {f"{file.suffix}.{key}": value for file in files for key, value in flat(file).items()}
    assert found
    return found


def start(config_file):
    command = [sys.executable, "main.py", "-c", str(config_file), "--seed", str(SEED), "--resume", "auto"]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def steps_taken(output) -> int:
    figures = output / "metrics.jsonl"
    return figures.read_text().count('"train"') if figures.is_file() else 0


def kill_within_steps(config_file, output, rng) -> None:
    """Starts or continues the run and kills it and its workers a few steps later, between two steps or within one."""
    process, at = start(config_file), steps_taken(output) + rng.randint(1, 5)
    deadline = time.monotonic() + 240
    while steps_taken(output) < at:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(rng.random() * 0.05)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("workers", "kills", "more"),
    [pytest.param(*case[1:], marks=pytest.mark.scorecard(case[0], times=case[2]), id=id) for id, case in CASES.items()],
)
def test_kills_at_random_steps_change_no_bit(clips, tmp_path, workers, kills, more):
    from paddlevideo.engine.training import train

    train(Config(config_for(clips, tmp_path / "whole", more)), Options(seed=SEED))
    config = config_for(clips, tmp_path / "run", more)
    config["DATASET"]["num_workers"] = workers
    file = save(config, tmp_path / "config.yaml")
    rng = random.Random(f"{workers} {sorted(more)}")
    for _ in range(kills):
        kill_within_steps(file, tmp_path / "run", rng)
    assert start(file).wait(timeout=300) == 0
    assert equal(final(tmp_path / "whole"), final(tmp_path / "run"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "run")
