"""NaN and infinity: a step that is refused changes nothing, no file holds them, and no command calls them a result."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.classes import UNKNOWN, write_weights
from paddlevideo.config import Config
from paddlevideo.engine import checkpoint
from paddlevideo.engine.batch_norms import renew_batch_norms
from paddlevideo.engine.checkpoint import RunFolder
from paddlevideo.engine.precision import Precision
from paddlevideo.engine.trainer import Trainer, _ranks
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.finite import non_finite
from paddlevideo.inference.export import export
from paddlevideo.manifest import read_manifest, write_manifest
from paddlevideo.metrics.topk import ranks
from paddlevideo.modeling.layers import ClipNormalize
from paddlevideo.safe_io import read_pickle, write_pickle
from paddlevideo.settings import Options
from tests.tiny import ROOT, run_test, save, tsm_config

BAD_STEP = 1


def config_for(clips, output, clip=True, **more) -> Config:
    config = tsm_config(clips, output) | {"epochs": 1} | more
    if not clip:
        del config["OPTIMIZER"]["grad_clip"]
    return Config(config)


def log_of(folder) -> str:
    return (folder / "log.txt").read_text()


def state_of(run: Trainer) -> dict[str, np.ndarray]:
    weights = {name: value.numpy().copy() for name, value in run.framework.state_dict().items()}
    return weights | {k: v for k, v in run.optimizer_arrays().items() if isinstance(v, np.ndarray)}


def nan_clip(run: Trainer, patch: pytest.MonkeyPatch) -> None:
    normalize = ClipNormalize.forward
    patch.setattr(ClipNormalize, "forward", lambda *a, **k: normalize(*a, **k) * float("nan"))


def nan_gradient(run: Trainer, patch: pytest.MonkeyPatch) -> None:
    handle = run.framework.backbone.conv._conv.weight.register_hook(lambda g: g * float("nan"))
    patch.callback = handle.remove


def nan_loss(run: Trainer, patch: pytest.MonkeyPatch) -> None:
    forward = type(run.framework).forward

    def poisoned(self, batch, mode="loss"):
        out = forward(self, batch, mode)
        return {**out, "loss": out["loss"] * float("nan")}

    patch.setattr(type(run.framework), "forward", poisoned)


@pytest.mark.scorecard(30)
@pytest.mark.parametrize("clip", [True, False], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("poison", [nan_clip, nan_gradient, nan_loss])
def test_a_step_that_is_not_finite_changes_nothing_and_the_run_goes_on(clips, tmp_path, monkeypatch, poison, clip):
    step, seen = Trainer._step, {}

    def with_one_bad_step(run, window):
        if run.progress.step != BAD_STEP:
            return step(run, window)
        seen["before"], seen["files"] = state_of(run), [run.file_of(int(i)) for i in np.asarray(window[0]["index"])]
        with pytest.MonkeyPatch.context() as patch:
            patch.callback = lambda: None
            poison(run, patch)
            figures = step(run, window)
            patch.callback()
        seen["after"], seen["stepped"] = state_of(run), run.stepped
        return figures

    monkeypatch.setattr(Trainer, "_step", with_one_bad_step)
    run = train(config_for(clips, tmp_path, clip), Options())
    assert seen["stepped"] is False
    assert seen["before"].keys() == seen["after"].keys()
    for name, value in seen["before"].items():
        np.testing.assert_array_equal(value, seen["after"][name], err_msg=name)
    (line,) = [line for line in log_of(tmp_path).splitlines() if "no step is taken" in line]
    assert f"step {BAD_STEP}: " in line and all(file in line for file in seen["files"])
    assert run.stepped and not list(non_finite(state_of(run)))
    final = read_pickle(tmp_path / "TSM_epoch_00001.pdparams")
    assert not list(non_finite(final))
    assert not np.array_equal(final["head.fc.weight"], seen["before"]["head.fc.weight"])
    # neither the means of the log nor the figures' file hold a NaN
    assert "loss_avg: nan" not in log_of(tmp_path) and "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def main(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "main.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.scorecard(30)
@pytest.mark.parametrize(
    "points",
    [pytest.param([], marks=pytest.mark.slow), ["-o", "checkpoint_steps=1"]],
    ids=["epoch ends", "every step"],
)
def test_a_rate_that_is_far_too_high_stops_the_run_and_a_lower_one_goes_on(clips, tmp_path, points):
    config = tsm_config(clips, tmp_path / "out")
    del config["OPTIMIZER"]["grad_clip"]
    config["OPTIMIZER"]["learning_rate"] = 10000
    file = save(config, tmp_path / "config.yaml")
    stopped = main("-c", file, "--validate", *points)
    assert stopped.returncode == 2
    (line,) = stopped.stderr.splitlines()
    assert "not finite 2 times in a row" in line and "lower OPTIMIZER.learning_rate" in line
    refused = [int(number) for number in re.findall(r"step (\d+): no step is taken", stopped.stdout)]
    assert len(refused) == 2 and refused[1] == refused[0] + 1
    for written in (tmp_path / "out").glob("*.pd[po]*"):
        assert not list(non_finite(read_pickle(written))), written.name
    resumed = main("-c", file, "--validate", "--resume", "auto", "-o", "OPTIMIZER.learning_rate=0.001", *points)
    assert resumed.returncode == 0, resumed.stderr
    assert "training TSM finished" in resumed.stdout and "no step is taken" not in resumed.stdout


@pytest.mark.parametrize("bad", [(3, 7), (3, 4)], ids=["ends of epochs", "an end and the next beginning"])
def test_a_clip_of_nan_costs_neither_its_epoch_s_point_nor_the_run(clips, tmp_path, monkeypatch, bad):
    """Steps 3 and 4 are the last of the first epoch and the first of the second: the same clip in both."""
    gradients, file_of = Trainer._gradients, Trainer.file_of

    def poisoned(run, window):
        with pytest.MonkeyPatch.context() as patch:
            if run.progress.step in bad:
                nan_clip(run, patch)
            return gradients(run, window)

    monkeypatch.setattr(Trainer, "_gradients", poisoned)
    if bad[1] == bad[0] + 1:
        monkeypatch.setattr(Trainer, "file_of", lambda run, i: "x.mp4" if run.progress.step in bad else file_of(run, i))
    train(config_for(clips, tmp_path, epochs=3), Options())
    assert log_of(tmp_path).count("no step is taken") == 2
    for epoch in (1, 2, 3):
        point = checkpoint.load(tmp_path / f"TSM_epoch_{epoch:05d}")
        assert point.state["progress"] == {"epoch": epoch, "step_in_epoch": 0, "step": 4 * epoch}


def test_weights_that_have_diverged_push_out_no_resume_point(clips, tmp_path, monkeypatch):
    """The point of step 2 stays, although steps 3 to 5 are taken, with weights that the third update has ruined."""
    step = Precision.step

    def exploding(precision, optimizer):
        step(precision, optimizer)
        if run_of[0].progress.step == 2:
            for parameter in run_of[0].framework.head.parameters():
                parameter.set_value(parameter * 1e8)

    run_of, init = [], Trainer.__post_init__
    monkeypatch.setattr(Trainer, "__post_init__", lambda run: (run_of.append(run), init(run))[1])
    monkeypatch.setattr(Precision, "step", exploding)
    config = config_for(clips, tmp_path, epochs=2, checkpoint_steps=1, keep_checkpoints=2)
    train(config, Options(max_iters=3))
    assert "no resume point is written until the loss is usable again" in log_of(tmp_path)
    steps = {entry.step for entry in RunFolder(tmp_path, "TSM", lock=False).entries()[0]}
    assert steps == {2, 6}  # the last epoch's weights are written in any case


def test_a_step_reads_the_device_once(clips, tmp_path, monkeypatch):
    reads = []
    for name in ("numpy", "item", "__float__", "__int__", "__bool__"):  # tolist is by numpy
        method = getattr(paddle.Tensor, name)

        def counted(tensor, *arguments, _method=method, _name=name):
            reads.append(_name)
            return _method(tensor, *arguments)

        monkeypatch.setattr(paddle.Tensor, name, counted)
    step, counts = Trainer._step, []

    def watched(run, window):
        reads.clear()
        figures = step(run, window)
        # the schedule's rate is a number, and batches are arrays on the host
        counts.append(list(reads))
        return figures

    monkeypatch.setattr(Trainer, "_step", watched)
    train(config_for(clips, tmp_path, GRADIENT_ACCUMULATION={"num_iters": 2}), Options())
    assert counts and all(len(names) == 1 for names in counts), counts


def test_the_step_s_accuracies_are_the_metric_s():
    scores = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [5, 4, 3, 2, 1, 0], [np.nan, 0, 0, 0, 0, 0]], "float32")
    labels = np.array([1, 5, 4, 0])
    got = _ranks(paddle.to_tensor(scores), paddle.to_tensor(labels))
    np.testing.assert_array_equal(got.numpy(), ranks(scores, labels))


def test_no_file_of_weights_is_written_with_nan_and_the_old_one_stays(tmp_path):
    path = tmp_path / "TSM_best.pdparams"
    write_weights(path, {"a": np.ones(2, "float32")}, UNKNOWN, {})
    with pytest.raises(UserError, match=r"1 array holds NaN or infinity \(first: b\)"):
        write_weights(path, {"a": np.zeros(2, "float32"), "b": np.array([np.inf], "float32")}, UNKNOWN, {})
    assert read_pickle(path)["a"].tolist() == [1, 1]
    folder = RunFolder(tmp_path, "TSM", lock=False)
    optimizer = {"velocity": np.array([np.nan])}
    with pytest.raises(UserError, match="NaN or infinity"):
        folder.save("step_00000001", {".pdparams": {"a": np.ones(1)}, ".pdopt": optimizer}, {"progress": {"step": 1}})
    assert not folder.entries()[0]


@pytest.mark.parametrize(
    ("array", "bad"),
    [
        (np.array([1.0, np.nan]), True),
        (np.array([1, 2]), False),
        (np.array([0x3F80, 0x7F80], "uint16"), True),  # bfloat16: one, infinity
        (np.array([0x3F80, 0xFF7F], "uint16"), False),  # one, the most negative number
        (np.array([True]), False),
    ],
)
def test_non_finite_arrays_of_every_kind_are_found(array, bad):
    assert list(non_finite({"x": {"y": array}})) == (["x.y"] if bad else [])


@pytest.fixture(scope="module")
def diverged(clips, tmp_path_factory):
    """A configuration, and weights for it whose first convolution is NaN: on CPUs relu(NaN) is 0."""
    folder = tmp_path_factory.mktemp("diverged")
    config = config_for(clips, folder / "out")
    train(config, Options(max_iters=1))
    weights = read_pickle(folder / "out" / "TSM_epoch_00001.pdparams")
    weights["backbone.conv._conv.weight"][:] = np.nan
    write_pickle(folder / "nan.pdparams", weights)
    return config, folder / "nan.pdparams"


@pytest.mark.parametrize("command", ["test", "train", "export"])
def test_weights_that_are_not_finite_are_refused(diverged, tmp_path, command):
    config, weights = diverged
    config = Config({**config.to_dict(), "output_dir": str(tmp_path)})
    with pytest.raises(UserError, match=r"nan.pdparams: 1 array holds NaN or infinity \(first: backbone.conv._conv"):
        if command == "export":
            export(config, weights, tmp_path / "exported")
        else:
            {"test": run_test, "train": train}[command](config, Options(weights=str(weights)))


def test_a_resume_point_of_nan_is_passed_over(clips, tmp_path):
    config = config_for(clips, tmp_path, epochs=2)
    train(config, Options())
    for stem in ("TSM_epoch_00002", "TSM_step_00000008"):
        weights = read_pickle(tmp_path / f"{stem}.pdparams")
        weights["head.fc.weight"][:] = np.nan
        manifest = tmp_path / f"{stem}.pdstates"
        content = read_manifest(manifest)
        content["files"][f"{stem}.pdparams"] = write_pickle(tmp_path / f"{stem}.pdparams", weights)
        write_manifest(manifest, content)
    point = RunFolder(tmp_path, "TSM", lock=False).newest()
    assert point.state["progress"]["step"] == 4
    assert "NaN or infinity" in log_of(tmp_path)


def test_scores_of_nan_are_counted_as_wrong_written_and_refused(clips, tmp_path, monkeypatch):
    config = config_for(clips, tmp_path)
    run = train(config, Options(max_iters=1))
    forward = type(run.framework).forward

    def poisoned(self, batch, mode="loss"):
        out = forward(self, batch, mode)
        if mode == "predict":
            rows = paddle.to_tensor(np.where(np.asarray(batch["index"])[:, None] == 3, np.inf, 0.0).astype("float32"))
            out["scores"] = out["scores"] + rows
        return out

    monkeypatch.setattr(type(run.framework), "forward", poisoned)
    out = tmp_path / "results.json"
    with pytest.raises(UserError, match=r"1 clips \(persons\) have scores of NaN"):
        run_test(config, Options(weights=str(tmp_path / "TSM_epoch_00001.pdparams")), str(out))
    rows = json.loads(out.read_text())
    assert [row["scores"] is None for row in rows] == [i == 3 for i in range(8)]
    assert "1 of 8 clips (persons) have scores of NaN" in log_of(tmp_path)
    # a validation counts them, and does not call such a network the best
    run = train(config_for(clips, tmp_path / "valid"), Options(validate=True))
    assert "not taken as the best model" in log_of(tmp_path / "valid")
    assert not list((tmp_path / "valid").glob("*_best*"))


def test_precise_batch_norm_leaves_out_a_batch_of_nan(clips, tmp_path, monkeypatch):
    run = train(config_for(clips, tmp_path), Options(max_iters=1))
    framework, normalize, calls = run.framework, ClipNormalize.forward, []

    def second_is_nan(self, x, channel_axis):
        calls.append(1)
        return normalize(self, x, channel_axis) * (float("nan") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(ClipNormalize, "forward", second_is_nan)
    assert renew_batch_norms(framework, run.loader, Precision(), 3)
    assert not list(non_finite({k: v.numpy() for k, v in framework.state_dict().items()}))
    assert "precise BN: batch 2 is left out" in log_of(tmp_path)


def test_an_epoch_is_kept_when_its_validation_fails_and_resuming_begins_with_that(clips, tmp_path, monkeypatch):
    """The whole run's best model and points, although a clip could not be read at the end of the first epoch."""
    config = config_for(clips, tmp_path / "whole", epochs=2)
    train(config, Options(validate=True))
    broken = config_for(clips, tmp_path / "broken", epochs=2)
    from paddlevideo.loader.decode import VideoReadError
    from paddlevideo.loader.fetch import SampleSource

    fetch = SampleSource.fetch

    def unreadable(self, epoch, index, shape=None):
        if index == 5 and self.on_error == "raise":
            raise VideoReadError("clip 5.mp4", "corrupt", "frame 3 cannot be decoded")
        return fetch(self, epoch, index, shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SampleSource, "fetch", unreadable)
        with pytest.raises(UserError, match=r"clip 5.mp4: corrupt.*on_error: count.*check-data"):
            train(broken, Options(validate=True))
    assert (tmp_path / "broken" / "TSM_epoch_00001.pdstates").is_file()
    train(broken, Options(validate=True, resume="auto"))
    for name in ("TSM_best.pdparams", "TSM_best.pdopt", "TSM_epoch_00002.pdparams"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    whole, again = (
        json.loads((tmp_path / folder / "TSM_epoch_00002.pdstates").read_text())["state"]["hooks"]["validate"]
        for folder in ("whole", "broken")
    )
    assert whole == again and whole["validated_epoch"] == 2


def test_validation_files_are_opened_before_the_first_step(clips, tmp_path):
    lines = clips.read_text().splitlines()
    cut = tmp_path / "cut.mp4"
    content = Path(lines[0].rsplit(" ", 1)[0]).read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    listed = tmp_path / "valid.list"
    listed.write_text("\n".join([*lines, f"{cut} 0"]) + "\n")
    config = config_for(clips, tmp_path / "out").to_dict()
    config["DATASET"]["valid"] = {"format": "VideoDataset", "file_path": str(listed)}
    with pytest.raises(
        UserError, match=r"DATASET.valid: 1 unreadable files.*\n.*cut.mp4: .*(\n.*)*on_error=count.*check-dat"
    ):
        train(Config(config), Options(validate=True))
    assert "train step" not in log_of(tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "checked_files.json").read_text())) == len(lines)
    config["DATASET"]["valid"]["on_error"] = "count"
    train(Config(config), Options(validate=True, max_iters=5))
