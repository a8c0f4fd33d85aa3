"""Two ranks on the CPU do what one process does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.errors import EXIT_RANK_HUNG
from paddlevideo.safe_io import read_pickle
from paddlevideo.settings import Options
from tests.tiny import ROOT, make_clips, save, timesformer_config, tsm_config

pytestmark = pytest.mark.xdist_group("distributed")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"), count=10)


def launch(ranks, config_file, log_dir, *arguments, check=True, script=("main.py", "-c")):
    command = [sys.executable, *script]
    if ranks > 1:
        launcher = ["paddle.distributed.launch", "--nproc_per_node", str(ranks), "--log_dir", str(log_dir)]
        command = [sys.executable, "-m", *launcher, *script]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE")}
    done = subprocess.run(
        [*command, str(config_file), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def run(tmp_path, clips, name, ranks, batch_size, *arguments):
    config = timesformer_config(clips, tmp_path / name)
    config["DATASET"] |= {"batch_size": batch_size, "valid_batch_size": 3}
    config["epochs"] = 1
    file = save(config, tmp_path / f"{name}.yaml")
    done = launch(ranks, file, tmp_path / f"{name}.log", "--validate", *arguments)
    records = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
    return read_pickle(tmp_path / name / "TimeSformer_epoch_00001.pdparams"), records, done


def test_two_ranks_take_the_steps_of_one_process_with_the_joined_batch(tmp_path, clips):
    alone, one, _ = run(tmp_path, clips, "one", 1, 4)
    together, two, _ = run(tmp_path, clips, "two", 2, 2)
    assert alone.keys() == together.keys()
    for key in alone:
        np.testing.assert_allclose(together[key], alone[key], rtol=0, atol=1e-5, err_msg=key)
    figures = [[r for r in records if r["mode"] == "val"][-1] for records in (one, two)]
    # ten videos, five a rank in batches of three: each is counted once
    assert figures[0]["num_samples"] == figures[1]["num_samples"] == 10
    assert figures[0]["top1"] == figures[1]["top1"]


@pytest.mark.slow
def test_only_rank_zero_writes_and_test_gathers_every_video_once(tmp_path, clips):
    config = timesformer_config(clips, tmp_path / "run")
    config["epochs"] = 1
    file = save(config, tmp_path / "run.yaml")
    launch(2, file, tmp_path / "log1", "--validate")
    weights = tmp_path / "run" / "TimeSformer_best.pdparams"
    results = {}
    for ranks in (1, 2):
        out = tmp_path / f"{ranks}.json"
        launch(ranks, file, tmp_path / "log2", "--test", "-w", str(weights), "--out", str(out))
        results[ranks] = json.loads(out.read_text())
    assert [row["path"] for row in results[1]] == [row["path"] for row in results[2]]
    assert len(results[2]) == 10
    for a, b in zip(results[1], results[2]):
        np.testing.assert_allclose(a["scores"], b["scores"], atol=1e-6)


SLOW_RANK = """
import runpy, sys, time
from paddlevideo.engine import checkpoint, distributed
from paddlevideo.loader.collate import BatchSource
def slow(function, rank):
    def run(*arguments):
        time.sleep(40 if distributed.rank() == rank else 0)
        return function(*arguments)
    return run
{patch}
sys.argv[0] = "main.py"
runpy.run_path("main.py", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "patch",
    ["checkpoint.RunFolder.save = slow(checkpoint.RunFolder.save, 0)", "BatchSource.make = slow(BatchSource.make, 1)"],
    ids=["writing", "reading"],
)
def test_a_rank_may_take_longer_than_gloo_waits(tmp_path, clips, patch):
    """gloo gives up on a rank after 30 s; here one is late by 40 s at every checkpoint, or at every batch."""
    (tmp_path / "slow.py").write_text(SLOW_RANK.format(patch=patch))
    config = timesformer_config(clips, tmp_path / "run") | {"epochs": 2}
    config["DATASET"]["batch_size"] = 5
    file = save(config, tmp_path / "run.yaml")
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE")} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *launcher, str(tmp_path / "slow.py"), "-c", str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=400, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "run" / "TimeSformer_epoch_00002.pdparams").is_file()


STOPPED_IN_A_COLLECTIVE = """
import os, signal
import paddle
import paddle.distributed as dist
from paddlevideo.engine import distributed
distributed.set_up("cpu")
with distributed.collective():
    if distributed.rank() == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    dist.all_reduce(paddle.zeros([1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit_s", ["4", "45"])
def test_a_rank_that_stops_in_a_collective_is_named(tmp_path, limit_s):
    """Within gloo's 30 s, and after them, when gloo has given up with a text that names nobody."""
    (tmp_path / "stop.py").write_text(STOPPED_IN_A_COLLECTIVE)
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE")}
    environment |= {"PYTHONPATH": str(ROOT), "PADDLEVIDEO_HANG_LIMIT_S": limit_s}
    done = subprocess.run(
        [sys.executable, *launcher, str(tmp_path / "stop.py")], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env=environment,
    )  # fmt: skip
    assert done.returncode == EXIT_RANK_HUNG
    assert f"rank 1 hangs: no heartbeat for {limit_s} s" in done.stdout


@pytest.fixture
def job(tmp_path, clips):
    """Starts a job of two ranks that nobody waits for, and ends it whatever happens."""
    started = []

    def start(config, at_least, **environment_too):
        file = save(config, tmp_path / "job.yaml")
        launcher = ["paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log")]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE")} | environment_too
        process = subprocess.Popen(
            [sys.executable, "-m", *launcher, "main.py", "-c", str(file)], cwd=ROOT, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        figures = tmp_path / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 90
        while not (figures.is_file() and figures.read_text().count("\n") >= at_least):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
@pytest.mark.scorecard(27)
def test_a_dead_rank_brings_the_job_down(tmp_path, clips, job):
    process = job(timesformer_config(clips, tmp_path / "run") | {"epochs": 500}, at_least=3)
    os.kill(_rank(process.pid, "1"), signal.SIGKILL)
    assert process.wait(timeout=60) != 0  # EXIT_RANK_LOST, where gloo does not abort rank 0


@pytest.mark.scorecard(28)
@pytest.mark.slow
@pytest.mark.parametrize("stopped, log", [("0", "log.rank1.txt"), ("1", "log.txt")])
def test_a_stopped_rank_brings_the_job_down_and_is_named(tmp_path, clips, job, stopped, log):
    config = timesformer_config(clips, tmp_path / "run") | {"epochs": 500}
    process = job(config, at_least=3, PADDLEVIDEO_HANG_LIMIT_S="4")
    os.kill(_rank(process.pid, stopped), signal.SIGSTOP)
    assert process.wait(timeout=60) == EXIT_RANK_HUNG
    assert (
        f"rank {stopped} hangs: no heartbeat for 4 s (PADDLEVIDEO_HANG_LIMIT_S), last seen in"
        in (tmp_path / "run" / log).read_text()
    )


@pytest.mark.scorecard(29)
def test_ranks_save_and_end_when_their_launcher_is_killed(tmp_path, clips, job):
    process = job(timesformer_config(clips, tmp_path / "run") | {"epochs": 500}, at_least=3)
    ranks = [_rank(process.pid, number) for number in "01"]
    process.kill()
    deadline = time.monotonic() + 60
    while any(map(_runs, ranks)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "stopped by signal 15; continue with --resume auto" in (tmp_path / "run" / "log.txt").read_text()
    assert list((tmp_path / "run").glob("TimeSformer_step_*.pdstates"))


@pytest.mark.scorecard(22)
@pytest.mark.scorecard(29)
@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_and_resuming_is_bit_identical(tmp_path, clips, job):
    config = timesformer_config(clips, tmp_path / "whole") | {"epochs": 20}
    config["MODEL"]["backbone"]["drop_path_rate"] = 0.2
    launch(2, save(config, tmp_path / "whole.yaml"), tmp_path / "log1")
    config["output_dir"] = str(tmp_path / "run")
    process = job(config, at_least=3)
    process.terminate()
    assert process.wait(timeout=60) != 0
    assert not (tmp_path / "run" / "TimeSformer_epoch_00020.pdparams").exists()
    assert list((tmp_path / "run").glob("TimeSformer_step_*.pdstates"))
    launch(2, tmp_path / "job.yaml", tmp_path / "log2", "--resume")
    last = "TimeSformer_epoch_00020.pdparams"
    whole, resumed = read_pickle(tmp_path / "whole" / last), read_pickle(tmp_path / "run" / last)
    for key in whole:
        np.testing.assert_array_equal(whole[key], resumed[key], err_msg=key)


def _rank(launcher: int, number: str) -> int:
    """The process of a rank, by its environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
        except OSError:
            continue
        if parent == str(launcher) and f"PADDLE_TRAINER_ID={number}".encode() in variables:
            return int(entry.name)
    raise AssertionError(f"no process of rank {number}")


@pytest.mark.slow
def test_a_fresh_start_beside_another_run_is_refused_on_every_rank_without_hanging(tmp_path, clips):
    config = timesformer_config(clips, tmp_path / "run") | {"epochs": 1}
    file = save(config, tmp_path / "run.yaml")
    train(Config(config), Options(max_iters=1))
    done = launch(2, file, tmp_path / "log2", "--max_iters", "1", check=False)
    assert done.returncode != 0 and "work of another run" in done.stdout + done.stderr + "".join(
        log.read_text() for log in (tmp_path / "log2").glob("workerlog.*")
    )
    launch(2, file, tmp_path / "log3", "--max_iters", "1", "--overwrite")
    assert (tmp_path / "run" / "previous_1" / "TimeSformer_epoch_00001.pdparams").is_file()
    launch(2, save(config | {"epochs": 2}, file), tmp_path / "log4", "--max_iters", "1", "--resume")
    assert (tmp_path / "run" / "TimeSformer_epoch_00002.pdparams").is_file()


@pytest.mark.slow
@pytest.mark.scorecard(30)
def test_a_nan_clip_on_one_rank_is_named_by_rank_0_and_no_rank_takes_the_step(tmp_path, clips):
    config = tsm_config(clips, tmp_path / "run") | {"epochs": 1}
    file = save(config, tmp_path / "run.yaml")
    launch(2, file, tmp_path / "log", script=(str(Path(__file__).with_name("nan_on_rank_one.py")),))
    (line,) = [line for line in (tmp_path / "run" / "log.txt").read_text().splitlines() if "no step is taken" in line]
    assert "step 1: " in line and line.count("clip ") == config["DATASET"]["batch_size"]
    weights = read_pickle(tmp_path / "run" / "TSM_epoch_00001.pdparams")
    assert all(np.isfinite(value).all() for value in weights.values())


@pytest.mark.slow
def test_a_signal_to_one_rank_between_two_exchanges_stops_all_at_the_same_step(tmp_path, clips):
    config = tsm_config(clips, tmp_path / "run") | {"epochs": 3}
    script = (str(Path(__file__).with_name("signal_to_one_rank.py")),)
    done = launch(2, save(config, tmp_path / "run.yaml"), tmp_path / "log", check=False, script=script)
    assert done.returncode != 0
    for name in ("log.txt", "log.rank1.txt"):
        assert "stopped by signal 15; continue with --resume auto" in (tmp_path / "run" / name).read_text()
    points = sorted(file.stem for file in (tmp_path / "run").glob("TSM_step_*.pdstates"))
    assert points[-1] == "TSM_step_00000003"


@pytest.mark.slow
def test_all_ranks_stop_at_the_step_in_which_the_time_of_one_is_up(tmp_path, clips):
    config = tsm_config(clips, tmp_path / "run") | {"epochs": 3}
    script = (str(Path(__file__).with_name("signal_to_one_rank.py")),)
    launch(2, save(config, tmp_path / "run.yaml"), tmp_path / "log", "time", script=script)
    for name in ("log.txt", "log.rank1.txt"):
        assert "(--max_hours 100) in epoch 2 of 3, step 3; continue" in (tmp_path / "run" / name).read_text()


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
