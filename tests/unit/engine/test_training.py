"""The loop's arguments and hooks, on real clips and networks of a few thousand weights."""

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest

from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.metrics.topk import TopKMetric
from paddlevideo.safe_io import read_pickle
from paddlevideo.settings import Options
from paddlevideo.solver import lr
from tests.tiny import ROOT, run_test, save, timesformer_config, tsm_config


def log_of(config):
    return (Config(config).output_dir / "log.txt").read_text()


def test_the_folder_the_log_and_the_checkpoints_are_paddlevideos(clips, tmp_path):
    config = tsm_config(clips, tmp_path) | {"save_interval": 2}
    train(Config(config), Options(validate=True))
    names = {p.name for p in tmp_path.iterdir()}
    assert {"TSM_best.pdparams", "TSM_best.pdopt", "TSM_epoch_00001.pdparams", "TSM_epoch_00003.pdopt"} <= names
    assert "TSM_epoch_00002.pdparams" not in names
    text = log_of(config)
    assert "epoch:[  1/3  ] train step:0    loss: " in text
    assert "Already save the best model (top1 acc)0." in text or "Already save the best model (top1 acc)1." in text
    assert "END epoch:1   train loss_avg: " in text and "training TSM finished" in text
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["mode"] == "train"] == list(range(1, 13))
    assert sum(r["mode"] == "val" for r in records) == 3


def test_training_learns(clips, tmp_path):
    config = timesformer_config(clips, tmp_path) | {"epochs": 3}
    config["OPTIMIZER"] = {"name": "AdamW", "learning_rate": 0.01}
    train(Config(config), Options())
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [r["loss"] for r in records if r["mode"] == "train"]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_training_in_another_thread_than_the_main_one(clips, tmp_path):
    """Signal handlers can be installed in the main thread alone."""
    config = tsm_config(clips, tmp_path) | {"epochs": 1}
    with ThreadPoolExecutor(1) as pool:
        pool.submit(train, Config(config), Options(max_iters=1)).result()
    assert (tmp_path / "TSM_epoch_00001.pdparams").is_file()


def step_weights(config, **options):
    run = train(Config(config), Options(**options))
    return {k: v.numpy() for k, v in run.framework.state_dict().items()}


def test_accumulation_equals_the_large_batch_and_steps_the_partial_rest(clips, tmp_path):
    """Six batches of one as windows of 4 and 2 equal batches of 4 and 2 (no batch statistics in this network)."""
    large = timesformer_config(clips, tmp_path / "a") | {"epochs": 1}
    large["DATASET"] |= {"batch_size": 4, "drop_last": False}
    small = timesformer_config(clips, tmp_path / "b") | {"epochs": 1, "GRADIENT_ACCUMULATION": {"num_iters": 4}}
    small["DATASET"] |= {"batch_size": 1, "drop_last": False}
    lines = clips.read_text().splitlines()[:6]
    shorter = tmp_path / "six.list"
    shorter.write_text("\n".join(lines))
    for config in (large, small):
        config["DATASET"]["train"] = {"format": "VideoDataset", "file_path": str(shorter)}
    a, b = step_weights(large), step_weights(small)
    for key in a:
        np.testing.assert_allclose(a[key], b[key], atol=2e-6, err_msg=key)


def test_a_batch_of_one_clip_cannot_be_mixed(clips, tmp_path):
    config = tsm_config(clips, tmp_path / "run") | {"MIX": {"name": "Mixup"}}
    config["DATASET"]["batch_size"] = 1
    with pytest.raises(UserError, match="MIX: a batch of one clip mixes it with itself; set DATASET.batch_size to 2"):
        train(Config(config), Options(max_iters=1))


def test_global_batch_size_must_be_a_multiple(clips, tmp_path):
    config = tsm_config(clips, tmp_path) | {"GRADIENT_ACCUMULATION": {"global_batch_size": 5}}
    with pytest.raises(UserError, match="GRADIENT_ACCUMULATION.global_batch_size: 5 is no multiple of 2"):
        train(Config(config), Options())
    config["GRADIENT_ACCUMULATION"] = {"global_batch_size": 8, "num_iters": 1}
    with pytest.raises(UserError, match="num_iters 1 of batches of 2 are no global_batch_size of 8; give one"):
        train(Config(config), Options())


def test_a_non_finite_loss_takes_no_step_names_files_and_stops(clips, tmp_path, monkeypatch):
    config = tsm_config(clips, tmp_path) | {"non_finite_limit": 2, "epochs": 1}
    from paddlevideo.modeling.frameworks.recognizers import Recognizer2D

    forward = Recognizer2D.forward
    seen = {}

    def poisoned(self, batch, mode="loss"):
        out = forward(self, batch, mode)
        seen.setdefault("weights", self.state_dict()["head.fc.weight"].numpy().copy())
        seen["now"] = self.state_dict()["head.fc.weight"].numpy().copy()
        out["loss"] = out["loss"] * float("nan")
        return out

    monkeypatch.setattr(Recognizer2D, "forward", poisoned)
    with pytest.raises(UserError, match="not finite 2 times in a row"):
        train(Config(config), Options())
    assert "step 0: no step is taken (loss nan" in log_of(config) and "Files: " in log_of(config)
    np.testing.assert_array_equal(seen["weights"], seen["now"])


@pytest.mark.parametrize("name", ["SGD", "Lamb"])
def test_every_step_is_taken_at_the_schedules_rate(clips, tmp_path, monkeypatch, name):
    applied, step = [], getattr(paddle.optimizer, name).step

    def recorded(self):
        step(self)
        applied.append(float(self._global_learning_rate()))

    monkeypatch.setattr(getattr(paddle.optimizer, name), "step", recorded)
    config = tsm_config(clips, tmp_path)
    rate = {"name": "LinearLR", "iter_step": True, "learning_rate": 0.01, "start_factor": 1.0, "end_factor": 0.1}
    config["OPTIMIZER"] = {"name": name, "learning_rate": rate}
    train(Config(config), Options())
    wanted = [0.01 * (1 - 0.9 * i / 12) for i in range(12)]
    assert applied == pytest.approx(wanted, rel=1e-6)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["lr"] for r in records if r["mode"] == "train"] == pytest.approx(wanted)


def test_amp_on_a_cpu_reports_it_once_and_trains_in_float32(clips, tmp_path):
    config = tsm_config(clips, tmp_path) | {"epochs": 1}
    run = train(Config(config), Options(amp=True, max_iters=1))
    assert log_of(config).count("no half-precision kernels") == 1
    assert run.framework.state_dict()["head.fc.weight"].dtype == paddle.float32


def test_precise_bn_statistics_are_the_mean_over_batches(clips, tmp_path):
    config = tsm_config(clips, tmp_path) | {
        "epochs": 1,
        "PRECISEBN": {"preciseBN_interval": 1, "num_iters_preciseBN": 2},
    }
    run = train(Config(config), Options())
    first = run.framework.backbone.conv._batch_norm
    weights = run.framework.backbone.conv._conv
    stem = []
    run.framework.eval()
    hook = weights.register_forward_post_hook(lambda layer, x, y: stem.append(y.numpy()))
    for i, batch in enumerate(run.loader.epoch(0)):
        if i < 2:
            run.framework({k: paddle.to_tensor(v) for k, v in batch.items()}, mode="predict")
    hook.remove()
    mean = np.mean([y.mean((0, 2, 3)) for y in stem[:2]], axis=0)
    np.testing.assert_allclose(first._mean.numpy(), mean, rtol=1e-4, atol=1e-5)


def test_scale_lr_reports_what_it_does_and_needs_the_reference(clips, tmp_path):
    config = tsm_config(clips, tmp_path) | {"epochs": 1}
    with pytest.raises(UserError, match="base_batch_size is missing"):
        train(Config(config), Options(scale_lr=True))
    config["OPTIMIZER"]["base_batch_size"] = 8
    run = train(Config(config), Options(scale_lr=True, max_iters=1))
    assert "every learning rate x 0.25" in log_of(config)
    assert run.last["lr"] == pytest.approx(0.001 * 0.25)


def test_sync_bn_falls_back_with_a_line(clips, tmp_path):
    config = tsm_config(clips, tmp_path) | {"epochs": 1, "sync_bn": True}
    train(Config(config), Options(max_iters=1))
    assert "sync_bn: left out" in log_of(config)


def test_test_writes_results_per_video(clips, tmp_path):
    config = tsm_config(clips, tmp_path / "run")
    train(Config(config), Options(validate=True, max_iters=2))
    weights = str(tmp_path / "run" / "TSM_best.pdparams")
    for suffix in ("json", "csv", "pkl"):
        figures = run_test(Config(config), Options(weights=weights), str(tmp_path / f"results.{suffix}"))
    assert figures["num_samples"] == 8 and {"top1", "top5", "mean_class_accuracy"} <= figures.keys()
    rows = json.loads((tmp_path / "results.json").read_text())
    assert len(rows) == 8 and rows[0]["path"].endswith("clip 0.mp4")
    assert np.mean([np.argmax(r["scores"]) == r["label"] for r in rows]) == pytest.approx(figures["top1"])
    assert [r["scores"] for r in read_pickle(tmp_path / "results.pkl")] == [r["scores"] for r in rows]
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 9
    with pytest.raises(UserError, match="expected a name ending in"):
        run_test(Config(config), Options(weights=weights), "results.xml")


@pytest.mark.scorecard(36)
def test_weights_for_another_number_of_classes_are_refused_with_shapes(clips, tmp_path):
    config = tsm_config(clips, tmp_path / "run")
    train(Config(config), Options(validate=True, max_iters=1))
    config["MODEL"]["head"]["num_classes"] = 3
    with pytest.raises(UserError, match="head.fc.weight"):
        run_test(Config(config), Options(weights=str(tmp_path / "run" / "TSM_best.pdparams")))


def test_finetuning_starts_a_new_classifier_and_reports_it(clips, tmp_path):
    config = tsm_config(clips, tmp_path / "run")
    train(Config(config), Options(validate=True, max_iters=1))
    config["MODEL"]["head"]["num_classes"] = 3
    config["output_dir"] = str(tmp_path / "tuned")
    train(Config(config), Options(weights=str(tmp_path / "run" / "TSM_best.pdparams"), max_iters=1))
    assert "head.fc.weight" in log_of(config)


def main(*arguments):
    return subprocess.run([sys.executable, "main.py", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "change, arguments, words",
    [
        ({}, ["--test"], "-w PATH"),
        pytest.param({}, ["--device", "gpu"], "use --device cpu", marks=pytest.mark.scorecard(37)),
        ({"epocs": 1}, [], "did you mean 'epochs'?"),
        ({"DATASET": {"batch_size": 64}}, [], "batch"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(clips, tmp_path, change, arguments, words):
    config = tsm_config(clips, tmp_path / "run")
    for key, value in change.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    done = main("-c", save(config, tmp_path / "c.yaml"), *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and words in done.stderr


def test_check_prints_the_resolved_configuration(clips, tmp_path):
    done = main(
        "-c",
        save(tsm_config(clips, tmp_path), tmp_path / "c.yaml"),
        "--check",
        "-o",
        "epochs=9",
        "-o",
        "OPTIMIZER.learning_rate.max_epoch=1/1",
    )
    assert done.returncode == 0 and "epochs: 9" in done.stdout


def test_what_readers_remark_is_logged_once_in_training(clips, tmp_path, monkeypatch):
    from paddlevideo.loader.fetch import SampleSource

    fetch = SampleSource.fetch

    def remarked(source, epoch, index, shape=None):
        sample, failures = fetch(source, epoch, index, shape)
        return sample | {"remarks": ["pixels are not square"]}, failures

    monkeypatch.setattr(SampleSource, "fetch", remarked)
    config = tsm_config(clips, tmp_path) | {"epochs": 2}
    train(Config(config), Options())
    assert log_of(config).count("8 of 8 samples (100.0 %): pixels are not square") == 1


def test_a_rate_that_becomes_nan_ends_the_training_at_its_step_and_blames_no_file(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(lr.Constant, "value", lambda self, at: math.nan if at.step else 0.1)
    config = timesformer_config(clips, tmp_path) | {"epochs": 2}
    config["OPTIMIZER"] = {"name": "AdamW", "learning_rate": 0.01}
    with pytest.raises(UserError, match="^OPTIMIZER.learning_rate: Constant gives the rate nan in epoch 2, step 0"):
        train(Config(config), Options())
    assert "Files:" not in log_of(config)


@pytest.mark.parametrize("value", [np.zeros(3), "good", None, [[1, 2], [3, 4]]])
def test_a_figure_that_is_no_number_is_named_before_the_first_step(clips, tmp_path, monkeypatch, value):
    monkeypatch.setattr(TopKMetric, "compute", lambda self: {"top1": 1.0, "own": value})
    monkeypatch.setattr(TopKMetric, "__module__", "own")
    config = timesformer_config(clips, tmp_path)
    kind = type(value).__name__
    with pytest.raises(UserError, match=f"^METRIC: TopKMetric.compute gives the figure 'own' as {kind}, expect"):
        train(Config(config), Options(validate=True))
    assert "epoch:[" not in log_of(config)
