"""Resume points are written while training goes on: the same bits, errors at the next step, and nothing lost."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from paddlevideo.config import Config
from paddlevideo.engine import checkpoint
from paddlevideo.engine.background import Background
from paddlevideo.engine.checkpoint import ARRAYS, RunFolder
from paddlevideo.engine.trainer import Trainer
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.manifest import read_manifest
from paddlevideo.settings import Options
from tests.tiny import ROOT, save, tsm_config


def config_for(clips, output, **more) -> Config:
    config = tsm_config(clips, output) | {"epochs": 2, "checkpoint_steps": 1, "keep_checkpoints": 20}
    return Config(config | {"EMA": {"decay": 0.9}, "SWA": {"start_epoch": 2}} | more)


def test_jobs_run_in_order_and_an_error_drops_those_behind_it():
    background, done, gate = Background(), [], threading.Event()

    def fail():
        gate.wait(10)
        raise UserError("no room")

    background.submit(lambda: done.append(1))
    background.submit(fail)
    background.submit(lambda: done.append(2))
    background.check()  # not yet
    gate.set()
    with pytest.raises(UserError, match="no room"):
        background.wait()
    background.wait()  # once
    background.submit(lambda: done.append(3))
    background.wait()
    assert done == [1, 3]


def files_of(folder) -> dict[str, str]:
    """What resume points and weights hold: SHA-256 of arrays, the text of manifests without the run's random name."""
    found = {}
    for file in sorted(folder.iterdir()):
        if file.suffix in ARRAYS:
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        elif file.suffix == ".pdstates":
            content = read_manifest(file)
            state = {key: value for key, value in content["state"].items() if key not in ("run", "config")}
            for key in ("batch_cost", "reader_cost"):  # times
                state["hooks"]["log"]["sums"].pop(key, None)
            found[file.name] = json.dumps([content["files"], state], sort_keys=True)
    return found


def test_a_slow_disk_changes_no_bit(clips, tmp_path, monkeypatch):
    options = Options(validate=True, seed=1)
    train(config_for(clips, tmp_path / "quick"), options)
    writing, written_meanwhile = RunFolder.save, []

    def slow(folder, what, arrays, state):
        before = run_of[0].progress.step
        time.sleep(0.2)  # some steps
        written_meanwhile.append(run_of[0].progress.step > before)
        return writing(folder, what, arrays, state)

    run_of, init = [], Trainer.__post_init__
    monkeypatch.setattr(Trainer, "__post_init__", lambda run: (run_of.append(run), init(run))[1])
    monkeypatch.setattr(RunFolder, "save", slow)
    train(config_for(clips, tmp_path / "slow"), options)
    quick = files_of(tmp_path / "quick")
    assert any(written_meanwhile) and sum(name.endswith(".pdstates") for name in quick) == 10
    assert files_of(tmp_path / "slow") == quick


@pytest.mark.scorecard(18)
def test_a_full_disk_ends_the_run_at_the_next_step_in_one_line(clips, tmp_path, monkeypatch):
    write_pickle = checkpoint.write_pickle

    def full(path, value):
        if "step_00000002" in path.name:
            raise UserError(
                f"{path}: cannot be written (No space left on device); the existing file was left unchanged"
            )
        return write_pickle(path, value)

    run_of, init = [], Trainer.__post_init__
    monkeypatch.setattr(Trainer, "__post_init__", lambda run: (run_of.append(run), init(run))[1])
    monkeypatch.setattr(checkpoint, "write_pickle", full)
    with pytest.raises(UserError, match="cannot be written .No space left on device"):
        train(config_for(clips, tmp_path), Options(seed=1))
    assert run_of[0].progress.step <= 3
    assert [entry.step for entry in RunFolder(tmp_path, "TSM", lock=False).entries()[0]] == [1]


def test_an_error_of_training_waits_for_the_point_that_is_being_written(clips, tmp_path, monkeypatch):
    writing, step = RunFolder.save, Trainer._step

    def slow(*arguments):
        time.sleep(0.5)
        return writing(*arguments)

    def failing(run, window):
        if run.progress.step == 1:
            raise UserError("a clip is unreadable")
        return step(run, window)

    monkeypatch.setattr(RunFolder, "save", slow)
    monkeypatch.setattr(Trainer, "_step", failing)
    with pytest.raises(UserError, match="a clip is unreadable"):
        train(config_for(clips, tmp_path), Options(seed=1))
    assert checkpoint.load(tmp_path / "TSM_step_00000001").state["progress"]["step"] == 1
    RunFolder(tmp_path, "TSM").release()  # the lock is free


def test_a_point_that_was_not_written_is_raised_inside_a_handler_of_another_error(tmp_path, caplog):
    def full():
        raise UserError("No space left")

    def failed():
        folder = RunFolder(tmp_path, "TSM")
        folder.background.submit(full)
        return folder

    with pytest.raises(UserError, match="No space left"):  # the handler's error is no pending one
        try:
            raise ValueError
        except ValueError:
            failed().release()
    with pytest.raises(UserError, match="No space left"), failed():
        pass
    assert not caplog.messages
    with pytest.raises(ValueError, match="of training"), failed():
        raise ValueError("of training")
    assert "No space left" in caplog.text


KILLED = """
import runpy, sys, time
from paddlevideo.engine.checkpoint import RunFolder
manifest, point = RunFolder._write_manifest, sys.argv[1]
def slow(folder, stem, *arguments):
    time.sleep(60 if stem.name.endswith(point) else 0)
    manifest(folder, stem, *arguments)
RunFolder._write_manifest = slow
sys.argv[:2] = ["main.py"]
runpy.run_path("main.py", run_name="__main__")
"""


@pytest.mark.scorecard(17)
@pytest.mark.parametrize("at, left", [pytest.param("step_00000001", 0, marks=pytest.mark.slow), ("step_00000003", 2)])
def test_a_kill_while_a_point_is_written_leaves_the_older_ones(clips, tmp_path, at, left):
    config = config_for(clips, tmp_path / "run").to_dict()
    file = save(config, tmp_path / "config.yaml")
    command = [sys.executable, "-c", KILLED, at, "-c", str(file), "--seed", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / f"TSM_{at}.pdema").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    entries = RunFolder(tmp_path / "run", "TSM", lock=False).entries()[0]
    assert len(entries) == left
    resumed = train(Config(config), Options(seed=1, resume="auto"))
    whole = train(config_for(clips, tmp_path / "whole"), Options(seed=1))
    assert resumed.progress == whole.progress
    last = {name: value for name, value in files_of(tmp_path / "whole").items() if "_epoch_00002.pdp" in name}
    assert last and last.items() <= files_of(tmp_path / "run").items()


def test_the_records_are_hashed_once(clips, tmp_path):
    run = train(Config(tsm_config(clips, tmp_path) | {"epochs": 1}), Options(seed=1, max_iters=1))
    digest = run.compared()["shape"]["dataset"]
    records = json.dumps(list(run.loader.dataset.records), default=str, sort_keys=True)
    assert digest == hashlib.sha256(records.encode()).hexdigest()
    assert run.compared()["shape"]["dataset"] is digest
