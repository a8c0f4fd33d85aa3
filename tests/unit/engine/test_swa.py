"""SWA in a run: what is averaged, at which rate, with which batch statistics, and that a stop changes no bit of it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from paddle import nn

from paddlevideo.build import load_run_config
from paddlevideo.config import Config
from paddlevideo.engine.batch_norms import batch_norms
from paddlevideo.engine.training import train
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.safe_io import read_pickle
from paddlevideo.settings import Options, SWASettings
from tests.faults.stopping import change_points, copy_of, equal, flat, train_until_sigterm
from tests.tiny import ROOT, save, timesformer_config, tsm_config

SEED = 7
STOP_AT = 7  # of 12 steps: in the middle of the second epoch, the first that is averaged
CYCLIC = {
    "name": "CyclicLR", "iter_step": True, "base_learning_rate": 0.001, "max_learning_rate": 0.01, "step_size_up": 2,
}  # fmt: skip


def config_for(clips, output, **section) -> Config:
    config = tsm_config(clips, output)
    swa = {"start_epoch": 2, "interval_steps": 2, "lr": CYCLIC, "bn_batches": 3}
    config |= {"EMA": {"decay": 0.9, "warmup": False}, "checkpoint_steps": 1, "keep_checkpoints": 3}
    return Config(config | {"SWA": {**swa, **section}})


def weights(path: Path) -> dict[str, np.ndarray]:
    return read_pickle(path)


def final(output: Path) -> dict[str, np.ndarray]:
    files = [*(f"TSM_epoch_00003.{suffix}" for suffix in ("pdparams", "pdema", "pdswa")), "TSM_swa.pdparams"]
    return {f"{name}.{key}": value for name in files for key, value in flat(output / name).items()}


def is_statistic(key: str) -> bool:
    return key.endswith(("._mean", "._variance"))


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    return output, train(config_for(clips, output), Options(validate=True, seed=SEED))


@pytest.fixture(scope="module")
def stopped(clips, tmp_path_factory):
    output = tmp_path_factory.mktemp("stopped")
    assert (
        train_until_sigterm(config_for(clips, output), Options(validate=True, seed=SEED), STOP_AT)
        == 128 + signal.SIGTERM
    )
    return output


def rates(output: Path) -> list[float]:
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [r["lr"] for r in records if r["mode"] == "train"]


def test_ema_without_validation_is_written_at_the_end(clips, tmp_path):
    config = timesformer_config(clips, tmp_path) | {"EMA": {"decay": 0.5, "warmup": False}}
    train(Config(config), Options())
    stem = f"{config['model_name']}_epoch_{config['epochs']:05d}"
    average, last = read_pickle(tmp_path / f"{stem}.pdema")["weights"], weights(tmp_path / f"{stem}.pdparams")
    found = weights(tmp_path / f"{config['model_name']}_ema.pdparams")
    assert all(np.array_equal(found[key], value) for key, value in average.items())
    assert any(not np.array_equal(found[key], last[key]) for key in average)


@pytest.mark.parametrize("section", [{"start_epoch": 2}, {"last_epochs": 2, "interval_steps": 0}])
def test_the_file_is_the_mean_of_the_epochs_checkpoints(clips, tmp_path, section):
    config = timesformer_config(clips, tmp_path) | {"SWA": section}
    train(Config(config), Options())
    epochs = [weights(tmp_path / f"TimeSformer_epoch_0000{i}.pdparams") for i in (1, 2, 3)]
    mean = weights(tmp_path / "TimeSformer_swa.pdparams")
    assert mean.keys() == epochs[0].keys()
    for key in mean:
        expected = np.mean([epoch[key].astype("float64") for epoch in epochs[1:]], axis=0)
        np.testing.assert_allclose(mean[key], expected, rtol=1e-6, atol=1e-7, err_msg=key)
    assert any(not np.allclose(mean[key], epochs[2][key], atol=1e-5) for key in mean)


def test_every_k_steps_counts_from_the_first_averaged_step(whole):
    state = read_pickle(whole[0] / "TSM_epoch_00003.pdswa")
    assert (state["num_calls"], state["num_updates"]) == (8, 4)  # two epochs of four steps


def test_the_mean_is_validated_and_the_figure_logged(whole):
    text = (whole[0] / "log.txt").read_text()
    assert "END epoch:3   swa top1_avg: " in text and "SWA: the mean of 4 sets of weights since epoch 2" in text
    assert '"mode": "swa"' in (whole[0] / "metrics.jsonl").read_text()


def test_its_own_schedule_takes_over_when_averaging_begins(whole, clips, tmp_path):
    got = rates(whole[0])
    np.testing.assert_allclose(got[4:], [0.001, 0.0055, 0.01, 0.0055] * 2)
    config = tsm_config(clips, tmp_path)
    train(Config(config), Options(seed=SEED))
    np.testing.assert_array_equal(got[:4], rates(tmp_path)[:4])
    assert whole[1].schedule.rate(2, 3) == pytest.approx(got[11])


def test_a_plain_number_is_a_constant_rate_and_scale_lr_scales_it(clips, tmp_path):
    config = config_for(clips, tmp_path, lr=0.004, start_epoch=3).to_dict()
    config["OPTIMIZER"]["base_batch_size"] = 4
    train(Config(config), Options(scale_lr=True))
    np.testing.assert_allclose(rates(tmp_path)[8:], 0.002)


def test_without_lr_the_runs_schedule_goes_on(clips, tmp_path):
    config = config_for(clips, tmp_path / "a").to_dict()
    del config["SWA"]["lr"]
    train(Config(config), Options(seed=SEED))
    train(Config(tsm_config(clips, tmp_path / "b")), Options(seed=SEED))
    assert rates(tmp_path / "a") == rates(tmp_path / "b")


def test_renewing_batch_norms_changes_statistics_only_and_the_run_keeps_its_own(clips, whole, tmp_path):
    train(config_for(clips, tmp_path, bn_batches=0), Options(seed=SEED))
    assert "SWA.bn_batches: 0: the batch norms of the mean keep" in (tmp_path / "log.txt").read_text()
    left, renewed = weights(tmp_path / "TSM_swa.pdparams"), weights(whole[0] / "TSM_swa.pdparams")
    last = weights(tmp_path / "TSM_epoch_00003.pdparams")
    for key in left:
        if is_statistic(key):
            np.testing.assert_array_equal(left[key], last[key])
            assert not np.array_equal(left[key], renewed[key]), key
        else:
            np.testing.assert_array_equal(left[key], renewed[key], err_msg=key)
    assert equal(last, weights(whole[0] / "TSM_epoch_00003.pdparams"))


def test_the_renewed_statistics_are_the_means_over_batches_under_the_mean_weights(whole):
    run = whole[1]
    mean = weights(whole[0] / "TSM_swa.pdparams")
    own = {k: v.numpy().copy() for k, v in run.framework.state_dict().items()}
    run.framework.set_state_dict(mean)
    run.framework.eval()
    outputs = []
    hook = run.framework.backbone.conv._conv.register_forward_post_hook(lambda layer, x, y: outputs.append(y.numpy()))
    for i, batch in enumerate(run.loader.epoch(2)):
        if i < 3:
            run.framework(run.tensors(batch), mode="predict")
    hook.remove()
    run.framework.set_state_dict(own)
    key = "backbone.conv._batch_norm._mean"
    np.testing.assert_allclose(mean[key], np.mean([y.mean((0, 2, 3)) for y in outputs], 0), rtol=1e-4, atol=1e-5)


def test_batch_norms_that_do_not_train_are_left_alone():
    class Network(nn.Layer):
        def __init__(self):
            super().__init__()
            self.student, self.teacher = nn.BatchNorm1D(3), nn.BatchNorm1D(3)
            self.fixed = nn.BatchNorm1D(3, use_global_stats=True)

        def train(self):
            super().train()
            self.teacher.eval()

    network = Network()
    assert batch_norms(network) == [network.student]


@pytest.mark.scorecard(22)
def test_a_stopped_run_is_resumed_bit_by_bit(clips, whole, stopped, tmp_path):
    output = copy_of(stopped, tmp_path / "run")
    assert (output / "TSM_step_00000007.pdswa").is_file() and not (output / "TSM_step_00000004.pdswa").exists()
    train(config_for(clips, output), Options(validate=True, resume="auto"))
    assert equal(final(whole[0]), final(output))
    assert not list(output.glob("TSM_step_00000007*"))  # removed with all of its files


def _zero(value):
    if isinstance(value, dict):
        return {key: _zero(item) for key, item in value.items()}
    return value if isinstance(value, str) else np.asarray(value) * 0 if isinstance(value, np.ndarray) else 0


def _without_mean(point):
    point.arrays[".pdswa"]["weights"] = _zero(point.arrays[".pdswa"]["weights"])


def _without_position(point):
    point.arrays[".pdswa"]["num_calls"] = point.state["hooks"]["swa"]["num_calls"] = 2


def _without_number(point):
    point.arrays[".pdswa"]["num_updates"] = 0


def _without_ema(point):
    point.arrays[".pdema"] = _zero(point.arrays[".pdema"])


NEGATIVE = [_without_mean, _without_position, _without_number, _without_ema]


@pytest.mark.scorecard(23)
@pytest.mark.parametrize("neglect", NEGATIVE, ids=lambda f: f.__name__[9:])
def test_without_any_one_item_the_result_differs(clips, whole, stopped, tmp_path, monkeypatch, neglect):
    output = copy_of(stopped, tmp_path / "run")
    change_points(monkeypatch, neglect)
    train(config_for(clips, output), Options(resume="auto"))
    assert not equal(final(whole[0]), final(output))


def test_a_plan_that_changed_after_averaging_began_is_refused(clips, stopped, tmp_path):
    output = copy_of(stopped, tmp_path / "run")
    with pytest.raises(UserError, match="SWA has changed .interval_steps: 2 then, 1 now"):
        train(config_for(clips, output, interval_steps=1), Options(resume="auto"))


def test_a_point_without_its_average_is_refused(clips, stopped, tmp_path, monkeypatch):
    output = copy_of(stopped, tmp_path / "run")
    change_points(monkeypatch, lambda point: point.arrays.pop(".pdswa"))
    with pytest.raises(UserError, match="has 3 steps in the average"):
        train(config_for(clips, output), Options(resume="auto"))


def test_averaging_can_be_added_to_a_run_but_not_after_its_start(clips, tmp_path):
    config = timesformer_config(clips, tmp_path)
    train(Config(config | {"epochs": 2}), Options(seed=SEED))
    with pytest.raises(UserError, match="beyond the start of epoch 2"):
        train(Config(config | {"SWA": {"start_epoch": 2}}), Options(resume="auto"))
    train(Config(config | {"SWA": {"start_epoch": 3}}), Options(resume="auto"))
    a, b = (weights(tmp_path / f"TimeSformer_{what}.pdparams") for what in ("swa", "epoch_00003"))
    assert equal(a, b)  # the mean of one


def test_an_interval_that_never_passes_is_an_error(clips, tmp_path):
    with pytest.raises(UserError, match="SWA.interval_steps: 9 steps never pass: from epoch 2 to 3 there are 8"):
        train(config_for(clips, tmp_path, interval_steps=9), Options())


def test_first_averaged_epoch():
    assert SWASettings(start_epoch=4).first_epoch(5) == 4 and SWASettings(last_epochs=5).first_epoch(5) == 1
    with pytest.raises(UserError, match="would begin with epoch -1 of 5"):
        SWASettings(last_epochs=7).first_epoch(5)


def test_every_mistake_of_the_section_is_one_line(clips, tmp_path):
    sections = {
        "SWA: give start_epoch": {"lr": 0.1},
        "SWA: give start_epoch (": {"start_epoch": 1, "last_epochs": 2},
        "SWA.start_epoch: expected at most 3 (epochs), got 9": {"start_epoch": 9},
        "SWA.last_epochs: expected at least 1, got 0": {"last_epochs": 0},
        "SWA.bn_batches: expected int, got 'all'": {"last_epochs": 1, "bn_batches": "all"},
        "SWA.interval_step: unknown key; did you mean 'interval_steps'?": {"last_epochs": 1, "interval_step": 3},
        "SWA.lr.name: there is no schedule 'CyclicLr'": {"last_epochs": 1, "lr": {"name": "CyclicLr"}},
        "SWA.lr: expected at least 0, got -0.1": {"last_epochs": 1, "lr": -0.1},
    }
    for words, section in sections.items():
        file = save(tsm_config(clips, tmp_path) | {"SWA": section}, tmp_path / "c.yaml")
        with pytest.raises(ConfigError) as error:
            load_run_config(file)
        assert words in str(error.value) and str(error.value).count("SWA") == 1, str(error.value)


def test_check_accepts_a_sound_section(clips, tmp_path):
    file = save(config_for(clips, tmp_path).to_dict(), tmp_path / "c.yaml")
    done = subprocess.run([sys.executable, "main.py", "-c", file, "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and yaml.safe_load(done.stdout)["SWA"]["lr"] == CYCLIC, done.stderr
