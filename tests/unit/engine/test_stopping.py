"""What ends a run early, and what picks its best weights; a continued run does what an uninterrupted one does."""

import json

import numpy as np
import pytest

from paddlevideo import api
from paddlevideo.cli.main import main
from paddlevideo.config import Config
from paddlevideo.config.checking import check
from paddlevideo.engine.stopping import EarlyStopHook
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.metrics.topk import TopKMetric
from paddlevideo.settings import EarlyStopSettings, Options
from tests.tiny import save, tsm_config


def config_of(clips, output, **more):
    return Config(tsm_config(clips, output) | more)


def log_of(folder):
    return (folder / "log.txt").read_text()


@pytest.fixture
def figures(monkeypatch):
    """Validations give these figures in turn."""
    values = [0.5, 0.7, 0.7, 0.705, 0.6, 0.9, 0.9, 0.9]
    compute = TopKMetric.compute

    def scripted(self):
        return {**compute(self), "top1": values.pop(0)}

    monkeypatch.setattr(TopKMetric, "compute", scripted)
    return values


def test_training_ends_after_validations_without_an_improvement(clips, tmp_path, figures):
    section = {"patience": 2, "min_delta": 0.01}
    done = api.train(config_of(clips, tmp_path, epochs=8, EARLY_STOP=section), validate=True, max_iters=1)
    assert "2 validations in a row without an improvement of top1 (the best is 0.70000)" in log_of(tmp_path)
    assert "ends after epoch 4 of 8" in log_of(tmp_path) and "training TSM finished" not in log_of(tmp_path)
    assert done.last == tmp_path / "TSM_epoch_00004.pdparams" and done.last.is_file()
    assert json.loads((tmp_path / "TSM_best.pdparams.json").read_text())["epoch"] == 4  # 0.705: the best, if by little

    resumed = train(config_of(clips, tmp_path, epochs=8, EARLY_STOP=section), Options(validate=True, resume="auto"))
    assert resumed.progress.epoch == 4 and log_of(tmp_path).count("ends after epoch 4 of 8") == 2
    longer = config_of(clips, tmp_path, epochs=8, EARLY_STOP=section | {"patience": 3})
    resumed = train(longer, Options(validate=True, resume="auto", max_iters=1))
    assert resumed.progress.epoch == 5 and figures == [0.9] * 3  # the validation of epoch 5 is the third


def test_unusable_figures_are_no_improvement():
    hook = EarlyStopHook(EarlyStopSettings(patience=2))
    for figure, waited in ((-np.inf, 1), (0.1, 0), (0.1, 1), (-np.inf, 2)):
        hook.take(figure, "top1")
        assert hook.waited == waited
    again = EarlyStopHook(EarlyStopSettings(patience=2))
    again.load_state_dict(json.loads(json.dumps(hook.state_dict())))
    assert again.state_dict() == hook.state_dict()
    again.take(0.1, "mean_class_accuracy")  # another figure begins anew
    assert again.waited == 0


def test_another_monitored_figure_begins_anew():
    hook = EarlyStopHook(EarlyStopSettings(patience=1))
    hook.take(0.5, "top1")
    hook.take(0.5, "top1")
    for before, monitor, waited in (
        (hook.state_dict(), None, 1), (hook.state_dict(), "top1", 1), (hook.state_dict(), "top5", 0),
        (hook.state_dict() | {"monitor": "top1"}, None, 0),
    ):  # fmt: skip
        again = EarlyStopHook(EarlyStopSettings(patience=1), monitor)
        again.load_state_dict(before)
        assert again.waited == waited


def test_early_stop_needs_validations_and_no_average_of_the_last_epochs(clips, tmp_path):
    with pytest.raises(UserError, match="EARLY_STOP: counts validations; add --validate"):
        train(config_of(clips, tmp_path, EARLY_STOP={}), Options())
    both = tsm_config(clips, tmp_path) | {"EARLY_STOP": {"patience": 0}, "SWA": {"last_epochs": 1}}
    problems = check(both)
    assert any("EARLY_STOP.patience: expected at least 1, got 0" in line for line in problems)
    assert any(line.startswith("EARLY_STOP: may end a run before its last epochs, which SWA") for line in problems)


def test_monitor_picks_the_best_by_another_figure(clips, tmp_path, monkeypatch):
    means = [0.2, 0.9, 0.3, 0.1]  # the first is of the one batch that is tried
    compute = TopKMetric.compute
    monkeypatch.setattr(
        TopKMetric, "compute", lambda self: {**compute(self), "top1": 0.5, "mean_class_accuracy": means.pop(0)}
    )
    train(config_of(clips, tmp_path, monitor="mean_class_accuracy"), Options(validate=True, max_iters=1))
    assert "Already save the best model (mean_class_accuracy)0.9" in log_of(tmp_path)
    assert json.loads((tmp_path / "TSM_best.pdparams.json").read_text())["epoch"] == 1


def test_a_wrong_monitor_is_named_before_the_first_step(clips, tmp_path):
    with pytest.raises(
        UserError, match=r"monitor: 'top3' is no figure of TopKMetric.*top1, top5, mean_class_accuracy$"
    ):
        train(config_of(clips, tmp_path, monitor="top3"), Options(validate=True))
    assert not [*tmp_path.glob("*.pdparams")]


@pytest.mark.parametrize(
    ("monitor", "several", "wrong"),
    [("top3", False, True), ("top1", False, False), ("mAP", False, True), ("mAP", True, False), ("top1", True, True)],
)
def test_a_wrong_monitor_is_a_mistake_of_the_configuration(clips, tmp_path, capsys, monitor, several, wrong):
    config = tsm_config(clips, tmp_path / "out") | {"monitor": monitor}
    if several:
        config["MODEL"]["head"]["loss_cfg"] = {"name": "BCELossWithLogits"}
        for split in ("train", "valid", "test"):
            config["DATASET"][split] = config["DATASET"][split] | {"multi_label": True}
    words = ["-c", str(save(config, tmp_path / "c.yaml"))]
    assert main(["check", *words]) == (2 if wrong else 0)
    assert (f"  monitor: '{monitor}' is no figure of TopKMetric" in capsys.readouterr().err) == wrong


def test_what_can_never_act_is_logged(clips, tmp_path):
    more = {"EARLY_STOP": {"patience": 1}, "val_interval": 5, "GRADIENT_ACCUMULATION": {"num_iters": 100}}
    train(config_of(clips, tmp_path, epochs=2, **more), Options(validate=True))
    assert "EARLY_STOP.patience: 1, but 2 epochs have 1 validations: it never ends the run" in log_of(tmp_path)
    assert "GRADIENT_ACCUMULATION: 100 batches per step, and an epoch has 4: it is one step" in log_of(tmp_path)


def test_a_monitor_that_is_always_1_is_refused(clips, tmp_path, capsys):
    config = save(tsm_config(clips, tmp_path / "out") | {"monitor": "top5"}, tmp_path / "c.yaml")
    assert main(["check", "-c", str(config)]) == 2
    assert "monitor: top5 of 2 classes is 1 after every epoch" in capsys.readouterr().err


def test_a_wrong_monitor_moves_no_earlier_run(clips, tmp_path):
    train(config_of(clips, tmp_path, epochs=1), Options(max_iters=1))
    with pytest.raises(UserError, match="monitor: 'top3' is no figure"):
        train(config_of(clips, tmp_path, monitor="top3"), Options(validate=True, overwrite=True))
    assert (tmp_path / "TSM_epoch_00001.pdparams").is_file() and not [*tmp_path.glob("previous*")]


def test_thresholds_of_one_label_per_clip_are_refused(clips, tmp_path):
    config = tsm_config(clips, tmp_path)
    config["METRIC"] = config["METRIC"] | {"threshold": "best_f1"}
    (line,) = check(config)
    assert line == "METRIC.threshold: best_f1 is for several labels per clip, CrossEntropyLoss is for one; take it out"
    with pytest.raises(UserError, match=r"METRIC\.threshold: best_f1 is for several labels per clip, not for one"):
        train(Config(config), Options(validate=True))
    assert not [*tmp_path.glob("*.pdparams")]


def test_the_command_after_a_time_limit_is_that_which_resumes(clips, tmp_path, capsys):
    file = save(tsm_config(clips, tmp_path / "out"), tmp_path / "c.yaml")
    words = ["-c", file, "--validate", "--max_hours", "1e-9", "-o", "log_interval=1", "--device", "cpu"]
    assert main(["train", *map(str, words)]) == 0
    out = capsys.readouterr().out
    wanted = f"paddlevideo train -c {file} -o log_interval=1 --validate --max_hours 1e-09 --device cpu --resume"
    assert f"resume:  {wanted}" in out and "paddlevideo test" not in out


def test_a_run_that_is_out_of_time_continues_bit_by_bit(clips, tmp_path):
    whole = train(config_of(clips, tmp_path / "whole"), Options())
    done = api.train(config_of(clips, tmp_path / "parts"), max_hours=1e-9)
    text = log_of(tmp_path / "parts")
    assert "(--max_hours 1e-09) in epoch 1 of 3, step 1; continue with --resume" in text
    assert done.last == tmp_path / "parts" / "TSM_step_00000001.pdparams" and done.last.is_file()
    resumed = train(config_of(clips, tmp_path / "parts"), Options(resume="auto", max_hours=100.0))
    assert resumed.progress.epoch == 3 and "finished" in log_of(tmp_path / "parts")
    for key, value in whole.framework.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), resumed.framework.state_dict()[key].numpy(), err_msg=key)


def test_every_class_is_logged_beside_its_count(clips, tmp_path):
    train(config_of(clips, tmp_path, epochs=1), Options(validate=True))
    (line,) = [line for line in log_of(tmp_path).splitlines() if "val classes: " in line]
    assert line.count("/4 (recall") == 2
