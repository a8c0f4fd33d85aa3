"""Runs that are killed again and again at random steps, as often as the scorecard requires, end with the same bits."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import paddle
import pytest

from paddlevideo.modeling import build_framework
from paddlevideo.safe_io import write_pickle
from tests.faults.stopping import equal, flat
from tests.tiny import ROOT, distilled, save, timesformer_config, tsm_config
from tests.tiny_ava import tiny_ava_config

pytestmark = pytest.mark.reliability

SEED, MOST_STEPS = 7, 5
MOST_LOST = 3  # steps whose points were not written yet when the run was killed
MARKER = "PADDLEVIDEO_TEST_RUN"  # in the environment of every process of a run
AVERAGED = {"EMA": {"decay": 0.9}, "SWA": {"start_epoch": 2, "interval_steps": 3}}
ACCUMULATED = {"GRADIENT_ACCUMULATION": {"num_iters": 2}}


def detection(data: Path, output: Path) -> dict:
    """Training of the tiny detector on the samples that its other tests evaluate."""
    config = tiny_ava_config(data)
    config["DATASET"]["train"] = config["DATASET"].pop("test")
    del config["DATASET"]["test_batch_size"], config["METRIC"]
    flip = {"Flip": {"flip_ratio": 0.5}}
    clip = config["PIPELINE"].pop("test")
    config["PIPELINE"]["train"] = clip | {"transform": [*clip["transform"], flip]}
    return config | {key: tsm_config(data, output)[key] for key in ("OPTIMIZER", "output_dir", "log_interval")}


def distillation(data: Path, output: Path) -> dict:
    """A TSM taught by a frozen one."""
    return distilled(tsm_config(data, output), str(output.parent / "teacher.pdparams"))


@dataclass(frozen=True)
class Case:
    """A run, and how often it is killed."""

    number: int  # of the scorecard
    kills: int
    workers: int = 0
    ranks: int = 1
    network: Callable[[Path, Path], dict] = tsm_config
    more: dict = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """So many that the last kill comes before the end: four steps an epoch, a few more than drawn before a kill."""
        return (self.kills * (MOST_STEPS + 3)) // 4 * self.ranks + 2

    def config(self, data: Path, output: Path) -> dict:
        config = self.network(data, output) | {"epochs": self.epochs, "checkpoint_steps": 1, "keep_checkpoints": 2}
        config["OPTIMIZER"]["learning_rate"]["max_epoch"] = self.epochs
        config["DATASET"]["num_workers"] = self.workers
        return config | self.more


CASES = {
    "0 workers": Case(21, 20),
    "2 workers": Case(21, 20, workers=2),
    "accumulation": Case(22, 5, more=ACCUMULATED),
    "EMA and SWA": Case(22, 5, workers=2, more=AVERAGED),
    "accumulation, EMA and SWA": Case(22, 5, workers=2, more=ACCUMULATED | AVERAGED),
    "distillation": Case(22, 5, network=distillation),
    "detection": Case(22, 5, workers=2, network=detection),
    "two ranks": Case(22, 5, ranks=2, network=timesformer_config),
}


def records(output: Path) -> list[dict]:
    """What was written of each step that was taken, in order."""
    figures = output / "metrics.jsonl"
    lines = figures.read_text().splitlines() if figures.is_file() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]  # a kill may cut one off
    return [record for record in found if record["mode"] == "train"]


def losses(output: Path) -> dict[int, float]:
    """Step -> the loss of the last time that it was taken."""
    return {record["step"]: record["loss"] for record in records(output)}


def final(output: Path, epochs: int):
    files = [file for file in output.glob(f"*_epoch_{epochs:05d}.pd*") if file.suffix != ".pdstates"]
    found = {f"{file.suffix}.{key}": value for file in files for key, value in flat(file).items()}
    assert found
    return found


def start(case: Case, config: dict) -> subprocess.Popen:
    """Starts or continues the run of a configuration."""
    output = Path(config["output_dir"])
    file = save(config, output.with_suffix(".yaml"))
    words = [sys.executable]
    if case.ranks > 1:
        log = str(output.with_suffix(".log"))
        words += ["-m", "paddle.distributed.launch", "--nproc_per_node", str(case.ranks), "--log_dir", log]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE")} | {MARKER: str(output)}
    return subprocess.Popen(
        [*words, "main.py", "-c", str(file), "--seed", str(SEED), "--resume", "auto"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def processes(output: Path) -> list[int]:
    """Every process of a run: launcher, ranks and data workers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARKER}={output}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it has ended
            continue
    return found


def kill(output: Path) -> None:
    """SIGKILL to all processes of a run, the launcher last, so that it does not see its ranks end."""
    while running := sorted(processes(output)):
        for number, sent in [(running[0], signal.SIGSTOP), *((each, signal.SIGKILL) for each in reversed(running))]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, sent)
        time.sleep(0.01)


def kill_within_steps(case: Case, config: dict, rng: random.Random) -> None:
    """Starts or continues the run and kills it and its workers a few steps later, between two steps or within one."""
    output = Path(config["output_dir"])
    before = records(output)
    at = len(before) + rng.randint(1, MOST_STEPS)
    process = start(case, config)
    try:
        deadline = time.monotonic() + 240
        while len(records(output)) < at:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        assert process.poll() is None, "the run ended before it was killed"
    finally:
        kill(output)
    assert process.wait() == -signal.SIGKILL
    check_resumed(before, records(output))


def check_resumed(before: list[dict], after: list[dict]) -> None:
    """The run went on where it was killed, and did not begin anew, which would give the same bits in the end."""
    last = max((record["step"] for record in before), default=0)
    assert after[len(before)]["step"] > max(0, last - MOST_LOST), "it began too far back"


@pytest.fixture
def data(request, case, clips, tmp_path):
    """The list of clips, or the folder of persons and their boxes; the teacher beside the runs."""
    if case.network is distillation:
        paddle.seed(9)
        network = build_framework(tsm_config(clips, tmp_path)["MODEL"])
        write_pickle(tmp_path / "teacher.pdparams", {k: v.numpy() for k, v in network.state_dict().items()})
    return request.getfixturevalue("tiny_ava").data if case.network is detection else clips


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.scorecard(case.number, times=case.kills), id=id)
        for id, case in CASES.items()
    ],
)
def test_kills_at_random_steps_change_no_bit(case, data, tmp_path):
    whole, run = (case.config(data, tmp_path / name) for name in ("whole", "run"))
    whole["DATASET"]["num_workers"] = 0
    assert start(case, whole).wait(timeout=600) == 0
    rng = random.Random(str(case.more) + case.network.__name__ + str(case.workers))
    for _ in range(case.kills):
        kill_within_steps(case, run, rng)
    before = records(tmp_path / "run")
    assert start(case, run).wait(timeout=600) == 0
    check_resumed(before, records(tmp_path / "run"))
    assert equal(final(tmp_path / "whole", case.epochs), final(tmp_path / "run", case.epochs))
    assert losses(tmp_path / "whole") == losses(tmp_path / "run")
