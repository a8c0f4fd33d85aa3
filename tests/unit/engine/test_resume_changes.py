"""Resuming with another configuration: the new rate holds from the first step on, and every change is said."""

import re
from pathlib import Path

import pytest

from paddlevideo.build import load_run_config
from paddlevideo.config import Config
from paddlevideo.engine.hooks import CheckpointHook
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.settings import Options
from tests.faults.stopping import change_points
from tests.tiny import distilled, save, tsm_config

STEPS = 4  # of an epoch


@pytest.fixture
def stopped(clips, tmp_path, monkeypatch):
    """Trains one epoch of three, or two steps more; gives the configuration."""

    def run(within=False):
        config = tsm_config(clips, tmp_path / "run") | {"checkpoint_steps": 1}
        train(Config(config | {"epochs": 1}), Options(seed=7))
        if within:
            after_step = CheckpointHook.after_step

            def stop(self, run):
                run.stop_signal = 15 if run.progress.step == STEPS + 2 else 0
                after_step(self, run)

            with monkeypatch.context() as patch, pytest.raises(SystemExit):
                patch.setattr(CheckpointHook, "after_step", stop)
                train(Config(config), Options(resume="auto"))
        return config

    return run


def resume(config, **options) -> str:
    """What the log says of the resumed run."""
    log = Path(config["output_dir"]) / "log.txt"
    before = len(log.read_text())
    train(Config(config), Options(resume="auto", **options))
    return log.read_text()[before:]


def rates(text):
    return [float(rate) for rate in re.findall(r" lr: ([\d.]+)", text)]


def test_a_lower_rate_holds_from_the_first_step_and_is_reported(stopped):
    config = stopped(within=True)
    config["OPTIMIZER"]["learning_rate"]["cosine_base_lr"] = 0.0005
    config["OPTIMIZER"]["grad_clip"]["value"] = 5.0
    reported = resume(config)
    assert "OPTIMIZER.learning_rate.cosine_base_lr: 0.05 then, 0.0005 now" in reported
    assert "OPTIMIZER.grad_clip.value: 20.0 then, 5.0 now" in reported
    assert re.search(r"the rate of the next step: 0\.0\d+ then, 0\.000\d+ now", reported)
    assert max(rates(reported)) <= 0.0005, rates(reported)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda config, _: config["METRIC"].update(topk=[2]), "METRIC: top1 chose the best then, top2 now"),
        (lambda config, shorter: config["DATASET"]["valid"].update(file_path=shorter), "DATASET.valid: other samples"),
    ],
)
def test_a_best_of_another_figure_or_of_other_samples_is_none(clips, tmp_path, change, line):
    config = tsm_config(clips, tmp_path / "run") | {"epochs": 1}
    train(Config(config), Options(validate=True, max_iters=1))
    shorter = Path(clips).with_name("shorter.list")
    shorter.write_text("".join(Path(clips).read_text().splitlines(keepends=True)[:3]))
    change(config, str(shorter))
    reported = resume(config | {"epochs": 2}, validate=True, max_iters=1, weights="other.pdparams")
    assert f"{line}" in reported and "the best of the validations from now on will be written" in reported
    assert "Already save the best model" in reported
    assert "-w other.pdparams: passed over, the run goes on with the weights of its resume point" in reported


OTHERS = {
    "constant": (0.001, {}, [0.001] * 6),
    "Paddle's, by epoch": ({"name": "StepDecay", "learning_rate": 0.008, "step_size": 1, "gamma": 0.5}, {}, None),
    "ours, by epoch": (
        {"name": "CustomWarmupAdjustDecay", "step_base_lr": 0.008, "warmup_epochs": 0, "lr_decay_rate": 0.5,
         "boundaries": [1, 2]},
        {}, None,
    ),
    "Paddle's, by step": (
        {"name": "LinearWarmup", "iter_step": True, "learning_rate": 0.008, "warmup_steps": 8, "start_lr": 0.0,
         "end_lr": 0.008},
        {}, [0.006, 0.007] + [0.008] * 4,
    ),
    "handed over": (0.001, {"SWA": {"start_epoch": 3, "lr": 0.0005}}, [0.001] * 2 + [0.0005] * 4),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_schedule_goes_on_at_the_runs_position_and_is_reported(stopped, name):
    """The way out of a loss that is not finite: ``--resume auto -o OPTIMIZER.learning_rate=...``."""
    config = stopped(within=True)
    section, more, expected = OTHERS[name]
    config["OPTIMIZER"]["learning_rate"] = section
    reported = resume(config | more)
    assert re.search(r"OPTIMIZER\.learning_rate.*: .*CustomWarmupCosineDecay.* then, ", reported)
    assert not more or "SWA.lr: not given then, 0.0005 now" in reported
    assert rates(reported) == pytest.approx(expected or [0.004] * 2 + [0.002] * 4)


def test_other_epochs_are_reported_and_the_rate_follows_at_once(stopped):
    config = stopped()
    config["OPTIMIZER"]["learning_rate"]["max_epoch"] = 6
    reported = resume(config | {"epochs": 6})
    assert "epochs: 1 then, 6 now" in reported and "the rate of the next step: 0.0375 then, 0.0466" in reported
    assert rates(reported)[0] == pytest.approx(0.046651, abs=1e-6)  # a sixth of half a cosine from 0.05 to 0 has passed
    assert rates(reported)[-1] < 0.001


@pytest.mark.parametrize(
    ("shift", "path"), [(True, "MODEL.models.1.Student.backbone.shift_div"), (False, None)], ids=["shifts", "does not"]
)
def test_an_unnoted_share_of_shifted_channels_is_compared_where_something_shifts(
    clips, tmp_path, monkeypatch, shift, path
):
    """Points of earlier versions note no share: it was 1/8 where none was named.  The tiny network has 4 frames now."""
    config = tsm_config(clips, tmp_path)
    config["MODEL"]["backbone"]["shift"] = shift
    teacher = {**config["MODEL"], "backbone": {**config["MODEL"]["backbone"], "shift_div": 8}}
    config = distilled(config)
    config["MODEL"]["models"][0]["Teacher"] = teacher
    train(Config(config | {"epochs": 1}), Options(max_iters=1))
    change_points(monkeypatch, lambda point: point.state.pop("shift_div"))
    if path is None:
        assert train(Config(config), Options(resume="auto", max_iters=1)).progress.epoch == 3
        return
    with pytest.raises(UserError, match=f"shift_div: 8 then, 4 now.*-o {path}=8$"):
        train(Config(config), Options(resume="auto", max_iters=1))
    assert train(load_run_config(save(config, tmp_path / "c.yaml"), [f"{path}=8"]), Options(resume="auto", max_iters=1))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"MIX": {"name": "Mixup", "alpha": 0.2}}, "MIX.name: not given then, Mixup now"),
        ({"DATASET": {"batch_size": 4}}, "DATASET.batch_size: 2 then, 4 now"),
    ],
)
@pytest.mark.parametrize("within", [False, True], ids=["between epochs", "within an epoch"])
def test_other_batches_are_reported_and_refused_within_an_epoch(stopped, within, change, words):
    config = stopped(within)
    for key, value in change.items():
        config[key] = {**config.get(key, {}), **value}
    if within:
        with pytest.raises(UserError, match=words if "DATASET" not in change else "batches_per_epoch|" + words):
            resume(config)
        return
    reported = resume(config)
    assert words in reported and "epoch:[  3/3  ]" in reported


def test_no_time_is_left_below_zero_with_fewer_steps_per_epoch(stopped):
    config = stopped()
    config["DATASET"]["batch_size"] = 8
    reported = resume(config)
    assert "eta: 0:" in reported and "eta: -" not in reported
    # one step an epoch: a third of the cosine has passed, then two
    assert rates(reported) == pytest.approx([0.0375, 0.0125], abs=1e-6)
