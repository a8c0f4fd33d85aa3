"""A run that was stopped, whenever and however, ends with the very bits of one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.config import Config, load_config
from paddlevideo.engine import checkpoint
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.manifest import read_manifest, write_manifest
from paddlevideo.safe_io import read_pickle, write_pickle
from paddlevideo.settings import Options
from tests.faults.stopping import change_points, copy_of, equal, flat, train_until_sigterm
from tests.tiny import ROOT, save, tsm_config

LAST, EMA = "TSM_epoch_00003.pdparams", "TSM_epoch_00003.pdema"
SEED = 7
STOP_AT = 6  # of 12 steps: in the middle of the second epoch


def config_for(clips, output) -> Config:
    config = tsm_config(clips, output)
    config |= {"EMA": {"decay": 0.9, "warmup": False}, "checkpoint_steps": 1, "keep_checkpoints": 3}
    config["GRADIENT_ACCUMULATION"] = {"num_iters": 1}
    return Config(config)


def final(output: Path) -> dict[str, np.ndarray]:
    return {**read_pickle(output / LAST), **{f"ema.{k}": v for k, v in flat(output / EMA).items()}}


@pytest.fixture(scope="module")
def uninterrupted(clips, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    run = train(config_for(clips, output), Options(validate=True, seed=SEED))
    return output, run


@pytest.fixture(scope="module")
def stopped(clips, tmp_path_factory):
    """A run that got SIGTERM in its ``STOP_AT``-th step."""
    output = tmp_path_factory.mktemp("stopped")
    assert (
        train_until_sigterm(config_for(clips, output), Options(validate=True, seed=SEED), STOP_AT)
        == 128 + signal.SIGTERM
    )
    return output


def resume(clips, output, **options):
    return train(config_for(clips, output), Options(validate=True, resume="auto", **options))


def test_resuming_a_finished_run_trains_nothing_and_changes_nothing(clips, uninterrupted, tmp_path):
    """config.yaml stays what the weights were trained with."""
    folder = copy_of(uninterrupted[0], tmp_path / "run")
    before = (folder / "config.yaml").read_bytes()
    config = config_for(clips, folder).to_dict() | {"epochs": 2}
    run = train(Config(config), Options(validate=True, resume="auto"))
    assert run.progress.epoch == 3 and (folder / "config.yaml").read_bytes() == before
    assert (
        "nothing to train: 3 epochs are done, epochs is 2; a larger number goes on" in (folder / "log.txt").read_text()
    )


@pytest.mark.scorecard(24)
def test_sigterm_saves_and_the_resumed_run_is_bit_identical(clips, uninterrupted, stopped, tmp_path):
    output = copy_of(stopped, tmp_path / "run")
    resumed = resume(clips, output)
    assert resumed.progress == uninterrupted[1].progress
    assert equal(final(uninterrupted[0]), final(output))
    validate = {h.name: h.state_dict() for h in resumed.hooks}["validate"]
    assert validate == {h.name: h.state_dict() for h in uninterrupted[1].hooks}["validate"]


@pytest.mark.reliability
@pytest.mark.scorecard(24)
@pytest.mark.parametrize("step", range(1, 11))
def test_either_signal_at_any_step_saves_and_resumes_bit_by_bit(clips, uninterrupted, tmp_path, step):
    number = (signal.SIGTERM, signal.SIGINT)[step % 2]
    options = Options(validate=True, seed=SEED)
    assert train_until_sigterm(config_for(clips, tmp_path), options, step, number) == 128 + number
    assert not (tmp_path / LAST).exists()
    resume(clips, tmp_path)
    assert equal(final(uninterrupted[0]), final(tmp_path))


def _without_weights(point):
    for key, value in point.arrays[".pdparams"].items():
        if "_batch_norm" not in key:
            point.arrays[".pdparams"][key] = value * np.float32(1.001)


def _without_momentum(point):
    arrays = point.arrays[".pdopt"]
    point.arrays[".pdopt"] = {k: v * 0 if isinstance(v, np.ndarray) else v for k, v in arrays.items()}


def _without_average(point):
    def zero(value):
        return {k: zero(v) for k, v in value.items()} if isinstance(value, dict) else np.asarray(value) * 0

    point.arrays[".pdema"] = zero(point.arrays[".pdema"])


def _without_seed(point):
    point.state["seed"] = SEED + 1


def _without_position(point):
    point.state["progress"]["step_in_epoch"] = 0


def _without_step(point):
    point.state["progress"]["step"] = 0


def _without_epoch(point):
    point.state["progress"]["epoch"] = 0


NEGATIVE = [
    _without_weights, _without_momentum, _without_average, _without_seed, _without_position, _without_step,
    _without_epoch,
]  # fmt: skip


@pytest.mark.scorecard(23)
@pytest.mark.parametrize("neglect", NEGATIVE, ids=lambda f: f.__name__[9:])
def test_without_any_one_item_the_result_differs(clips, uninterrupted, stopped, tmp_path, monkeypatch, neglect):
    """The negative control: the comparison above notices each single item that a resume would forget."""
    output = copy_of(stopped, tmp_path / "run")
    change_points(monkeypatch, neglect)
    resume(clips, output)
    assert not equal(final(uninterrupted[0]), final(output))


@pytest.mark.scorecard(40)
def test_without_the_best_figure_a_worse_epoch_overwrites_it(clips, stopped, tmp_path, monkeypatch):
    output = copy_of(stopped, tmp_path / "run")
    better = {"best": 1.5, "best_epoch": 1}
    change_points(monkeypatch, lambda point: point.state["hooks"].update(validate=better))
    before = (output / "TSM_best.pdparams").read_bytes()
    resumed = resume(clips, output)
    assert {h.name: h.state_dict() for h in resumed.hooks}["validate"]["best"] == 1.5
    assert (output / "TSM_best.pdparams").read_bytes() == before


@pytest.mark.parametrize("item", ["progress", "seed", "schedule", "scaler", "hooks", "shape"])
def test_an_item_that_is_missing_is_named(clips, stopped, tmp_path, item):
    output = copy_of(stopped, tmp_path / "run")
    manifest = max(output.glob("TSM_step_*.pdstates"))
    content = read_manifest(manifest)
    del content["state"][item]
    write_manifest(manifest, content)
    with pytest.raises(UserError, match=item):
        train(config_for(clips, output), Options(resume=str(manifest)))


@pytest.mark.scorecard(20)
def test_a_damaged_latest_checkpoint_is_named_and_an_older_one_used(clips, uninterrupted, stopped, tmp_path, caplog):
    output = copy_of(stopped, tmp_path / "run")
    newest = max(output.glob("TSM_step_*.pdparams"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    resume(clips, output)
    assert f"{newest.name}: damaged" in (output / "log.txt").read_text()
    assert equal(final(uninterrupted[0]), final(output))


def test_nothing_valid_to_resume_is_an_error(clips, stopped, tmp_path):
    output = copy_of(stopped, tmp_path / "run")
    for file in output.glob("*.pdopt"):
        file.write_bytes(b"x")
    with pytest.raises(UserError, match="every resume point is damaged"):
        resume(clips, output)


@pytest.mark.scorecard(39)
def test_a_second_run_in_the_same_folder_is_refused(clips, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from paddlevideo.engine.checkpoint import RunFolder; "
        f"RunFolder(Path({str(tmp_path)!r}), 'TSM'); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert holder.stdout.readline().strip() == b"held"
        with pytest.raises(UserError, match="another run is writing here"):
            checkpoint.RunFolder(tmp_path, "TSM")
    finally:
        holder.kill()
        holder.wait()
    checkpoint.RunFolder(tmp_path, "TSM").release()  # a killed holder holds nothing


def _start(config_file, *arguments):
    command = [sys.executable, "main.py", "-c", str(config_file), "--validate", "--seed", str(SEED), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


@pytest.mark.scorecard(21)
@pytest.mark.parametrize("workers, kill_at", [pytest.param(0, 2, marks=pytest.mark.slow), (2, 7)])
def test_sigkill_at_a_step_and_resume_is_bit_identical(clips, uninterrupted, tmp_path, workers, kill_at):
    output = tmp_path / "run"
    config = config_for(clips, output).to_dict()
    config["DATASET"]["num_workers"] = workers
    file = save(config, tmp_path / "config.yaml")
    process = _start(file)
    figures = output / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if figures.is_file() and figures.read_text().count('"train"') >= kill_at:
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    process.wait()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    assert not (output / LAST).exists()
    config["DATASET"]["num_workers"] = 2 - workers
    resume = _start(save(config, file), "--resume")
    _, errors = resume.communicate(timeout=240)
    assert resume.returncode == 0, errors.decode()
    assert equal(final(uninterrupted[0]), final(output))


def test_the_weights_are_files_that_paddle_reads(uninterrupted):
    import paddle

    output = uninterrupted[0]
    weights = paddle.load(str(output / LAST))
    assert "head.fc.weight" in weights
    optimizer = paddle.load(str(output / LAST.replace("pdparams", "pdopt")))
    assert "LR_Scheduler" in optimizer
    assert load_config(output / "config.yaml")["model_name"] == "TSM"


def test_resume_epoch_names_a_checkpoint(clips, uninterrupted, tmp_path):
    output = copy_of(uninterrupted[0], tmp_path / "run")
    for file in output.glob("TSM_epoch_0000[23]*"):
        file.unlink()
    config = config_for(clips, output).to_dict() | {"resume_epoch": 1}
    with pytest.raises(UserError, match="not in the past of TSM_epoch_00001 .*--resume auto.*output_dir.*--overwrite"):
        train(Config(config), Options(validate=True))
    train(Config(config), Options(validate=True, overwrite=True))
    assert equal(final(uninterrupted[0]), final(output))
    assert (output / "previous_1" / "TSM_step_00000012.pdstates").is_file()


def _of_another_share(point):
    point.state["shift_div"] = [16]


def _of_an_earlier_version(point):
    """Which moved 1/8 where nothing else was named, and did not note it."""
    del point.state["shift_div"]


def _of_an_earlier_version_that_named_it(point):
    del point.state["shift_div"]
    point.state["config"]["MODEL"]["backbone"]["shift_div"] = 4


@pytest.mark.parametrize(
    ("changed", "then"),
    [(_of_another_share, 16), (_of_an_earlier_version, 8), (_of_an_earlier_version_that_named_it, None)],
)
def test_a_run_of_another_share_of_shifted_channels_is_not_resumed(
    clips, stopped, tmp_path, monkeypatch, changed, then
):
    config = config_for(clips, copy_of(stopped, tmp_path / "run"))
    change_points(monkeypatch, changed)
    if then is None:  # the tiny network has 4 frames
        assert train(config, Options(resume="auto", seed=SEED))
        return
    with pytest.raises(UserError, match=rf"shift_div: {then} then, 4 now\); .*-o MODEL.backbone.shift_div={then}"):
        train(config, Options(resume="auto", seed=SEED))


def test_write_pickle_round_trip(tmp_path):
    write_pickle(tmp_path / "x.pdparams", {"a": np.ones(3, "float32")})
    assert read_pickle(tmp_path / "x.pdparams")["a"].dtype == np.float32


def test_resume_auto_with_nothing_to_resume_still_loads_the_pretrained_weights(clips, uninterrupted, tmp_path):
    config = config_for(clips, tmp_path / "new").to_dict()
    config["MODEL"]["backbone"]["pretrained"] = str(uninterrupted[0] / LAST)
    train(Config(config), Options(resume="auto", max_iters=1))
    assert "pretrained " in (tmp_path / "new" / "log.txt").read_text()
