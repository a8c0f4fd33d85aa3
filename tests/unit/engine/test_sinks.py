"""Where a run's figures and pictures go, and what happens when one of these places fails."""

import csv
import importlib.util
import json
import math
import struct
import sys
import types

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.config import Config
from paddlevideo.engine.sinks import SINKS, CsvFiles, JsonLines, MLflow, Sink, SinkRun, Sinks
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.reporting.training_report import TrainingReport
from paddlevideo.settings import Options, Settings
from tests.tiny import save, tsm_config

PICTURE = np.zeros((4, 6, 3), "uint8")


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name, value in MLflow._DEFAULTS.items():
        monkeypatch.setenv(name, value)  # which it sets for the process otherwise
    return SinkRun(tmp_path, "TSM", "0123", {"epochs": 2}, "epochs: 2\n")


def needs(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


def test_names_have_any_case_and_options():
    settings = Settings.of({"model_name": "TSM", "LOGGING": ["CSV", {"WandB": {"project": "x"}}, {"MLflow": None}]})
    assert settings.sinks == {"csv": {}, "wandb": {"project": "x"}, "mlflow": {}}
    assert Settings.of({"model_name": "TSM", "log_sinks": ["TensorBoard"]}).sinks == {"tensorboard": {}}
    assert list(Settings.of({"model_name": "TSM"}).sinks) == []


@pytest.mark.parametrize("name", [name for name in SINKS if name != "csv"])
def test_a_library_that_is_missing_is_named_before_anything_is_written(run, monkeypatch, name):
    for module in ("tensorboardX", "visualdl", "wandb", "mlflow", "mlflow.entities"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=f"LOGGING: {name} needs 'pip install "):
        Sinks.of(run, {name: {}})
    assert list(run.folder.iterdir()) == []


def test_libraries_that_are_missing_are_mistakes_of_the_configuration(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = tsm_config(clips, tmp_path / "out") | {"LOGGING": ["csv", {"wandb": {"project": "x"}}]}
    assert main(["check", "-c", str(save(config, tmp_path / "c.yaml"))]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == ["  LOGGING: wandb needs 'pip install wandb'"]


def test_a_library_that_cannot_be_imported_is_named_with_the_reason(run, monkeypatch, tmp_path):
    (tmp_path / "wandb.py").write_text("from math import of_another_version\n")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="LOGGING: wandb: its library cannot be imported .*of_another_version"):
        Sinks.of(run, {"wandb": {}})


def test_csv_files_get_columns_that_come_later_and_continue_after_a_resume(run):
    for figures in ({"loss": 1.0}, {"loss": 0.5, "top1": 0.25}):
        sink = CsvFiles(run, {})
        sink.figures("train", 3, figures)
        sink.figures("val", 3, {"top1": math.nan})
        sink.close()
    with (run.folder / "metrics_train.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["step"], row["loss"], row["top1"]) for row in rows] == [("3", "1.0", ""), ("3", "0.5", "0.25")]
    assert [row[2] for row in csv.reader((run.folder / "metrics_val.csv").open())] == ["top1", "nan", "nan"]


def test_a_line_that_a_killed_run_cut_off_does_not_spoil_the_next(run):
    (run.folder / "metrics.jsonl").write_text('{"mode": "tr')
    sink = JsonLines(run, {})
    sink.figures("train", 1, {"loss": math.inf})
    sink.close()
    line = (run.folder / "metrics.jsonl").read_text().splitlines()[1]
    assert json.loads(line)["loss"] is None


def test_numbers_of_numpy_are_numbers_and_a_warning_names_the_file(run, caplog):
    sinks = Sinks([JsonLines(run, {})])
    sinks.figures("val", 1, {"mine": np.float32(0.5), "count": np.int64(3), "epoch": 1})
    line = json.loads((run.folder / "metrics.jsonl").read_text())
    assert (line["mine"], line["count"], line["epoch"]) == (0.5, 3, 1) and isinstance(line["count"], int)
    sinks.figures("val", 2, {"mine": "a text"})
    assert caplog.messages[0].startswith("metrics.jsonl fails (TypeError")


class Broken(Sink):
    closed = 0

    def figures(self, mode, step, figures):
        if step == 2:
            raise OSError("No space left\nat https://me:secret@example.org/x")

    def close(self):
        Broken.closed += 1
        raise OSError("still full")


def test_a_sink_that_fails_is_left_out_with_one_warning_and_the_others_go_on(run, caplog):
    sinks = Sinks([Broken(run, {}), JsonLines(run, {})])
    for step in (1, 2, 3, 4):
        sinks.figures("train", step, {"loss": 1.0})
    sinks.close()
    sinks.close()
    (message,) = [record.message for record in caplog.records]
    assert message == "LOGGING: Broken fails (OSError: No space left at https://example.org/x); nothing more goes to it"
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 4 and Broken.closed == 1


def filled(run, name, **options):
    """A sink that has taken a run's kinds of records."""
    sink = SINKS[name](run, options)
    sink.figures("train", 1, {"loss": 2.0})
    sink.figures("val", 4, {"mAP@0.5IOU": 0.5})
    sink.picture("val/clips", 4, PICTURE)
    sink.close()


def events(folder):
    """(tag, step, kind of value) of every record of TensorBoard's event file."""
    from tensorboardX.proto import event_pb2

    (file,) = folder.iterdir()
    data, at = file.read_bytes(), 0
    while at < len(data):
        (size,) = struct.unpack("<Q", data[at : at + 8])
        event = event_pb2.Event()
        event.ParseFromString(data[at + 12 : at + 12 + size])
        at += 16 + size
        for value in event.summary.value:
            yield value.tag, event.step, value.WhichOneof("value")


@needs("tensorboardX")
def test_tensorboards_file_has_scalars_pictures_and_the_configuration(run):
    filled(run, "tensorboard")
    assert set(events(run.folder / "tensorboard")) == {
        ("configuration/text_summary", 0, "tensor"),
        ("train/loss", 1, "simple_value"),
        ("val/mAP_0.5IOU", 4, "simple_value"),  # tensorboardX has no @ in names
        ("val/clips", 4, "image"),
    }


@needs("visualdl")
def test_visualdls_file_has_scalars_pictures_and_the_configuration(run):
    from visualdl import LogReader

    filled(run, "visualdl")
    (file,) = (run.folder / "visualdl").iterdir()
    tags = LogReader(file_path=str(file)).get_tags()
    assert tags["scalar"] == ["train/loss", "val/mAP@0.5IOU"] and tags["image"] == ["val/clips"]
    assert tags["text"] == ["configuration"]


@needs("mlflow")
def test_mlflows_store_has_one_run_also_after_a_resume(run, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    filled(run, "mlflow")
    filled(run, "mlflow")
    client = MlflowClient((run.folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("TSM")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.metrics == {"train/loss": 2.0, "val/mAP_0.5IOU": 0.5} and found.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(found.info.run_id)] == ["config.yaml", "val"]


class Recorder:
    """Takes the place of a library: keeps the calls of its parts, (name, arguments, named arguments)."""

    def __init__(self, calls, name=""):
        self.calls, self.name = calls, name

    def __getattr__(self, name):
        return Recorder(self.calls, f"{self.name}.{name}".lstrip("."))

    def __call__(self, *arguments, **named):
        self.calls.append((self.name, arguments, named))
        return Recorder(self.calls, self.name)


def test_wandb_is_offline_and_has_steps_of_its_own(run, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "wandb", Recorder(calls))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    filled(run, "wandb", project="mine", tags=["a"])
    name, _, named = calls[0]
    assert name == "init" and named == {
        "project": "mine", "name": run.folder.name, "tags": ["a"], "dir": str(run.folder), "mode": "offline",
        "id": "0123", "resume": "allow", "config": {"epochs": 2},
    }  # fmt: skip
    assert [name for name, _, _ in calls] == [
        "init", "init.define_metric", "init.log", "init.log", "Image", "init.log", "init.finish",
    ]  # fmt: skip
    assert calls[2][1] == ({"step": 1, "train/loss": 2.0},)
    calls.clear()
    filled(run, "wandb", mode="online")
    assert calls[0][2]["mode"] == "online"


def test_visualdl_gets_pictures_by_their_step(run, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "visualdl", Recorder(calls))
    filled(run, "visualdl")
    assert calls[0] == ("LogWriter", (), {"logdir": str(run.folder / "visualdl")})
    assert ("LogWriter.add_scalar", ("train/loss", 2.0, 1), {}) in calls
    assert [(name, arguments[0], arguments[2]) for name, arguments, _ in calls if "image" in name] == [
        ("LogWriter.add_image", "val/clips", 4)
    ]


def test_mlflow_gets_another_store_from_the_environment(run, monkeypatch):
    calls = []
    package = types.ModuleType("mlflow")
    entities, tracking = types.ModuleType("mlflow.entities"), types.ModuleType("mlflow.tracking")
    entities.Metric, tracking.MlflowClient = Recorder(calls, "Metric"), Recorder(calls, "Client")
    found = [types.SimpleNamespace(info=types.SimpleNamespace(run_id="7"))]
    monkeypatch.setattr(Recorder, "search_runs", lambda self, *_, **__: found, raising=False)
    for name, module in (("mlflow", package), ("mlflow.entities", entities), ("mlflow.tracking", tracking)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    filled(run, "mlflow")
    assert calls[0] == ("Client", (), {"tracking_uri": "http://127.0.0.1:1"})
    assert [arguments[0] for name, arguments, _ in calls if name == "Metric"] == ["train/loss", "val/mAP_0.5IOU"]
    assert ("Client.log_image", ("7", PICTURE, "val/clips/step_00000004.png"), {}) in calls
    assert calls[-1] == ("Client.set_terminated", ("7",), {})


def logged_steps(config, tmp_path):
    train(Config(config), Options(max_iters=3))
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    return [record["step"] for record in records if record["mode"] == "train"]


@pytest.mark.parametrize(("interval", "steps"), [(10, [1, 3, 4, 6]), (3, [1, 3, 4, 6]), (2, [1, 3, 4, 6]), (1, None)])
def test_a_short_epoch_has_its_first_and_its_last_step_in_the_log(clips, tmp_path, interval, steps):
    config = tsm_config(clips, tmp_path) | {"epochs": 2, "log_interval": interval}
    assert logged_steps(config, tmp_path) == (steps or [1, 2, 3, 4, 5, 6])


class Pictures(Sink):
    """Takes the place of csv."""

    takes_pictures = True
    taken: list = []

    def figures(self, mode, step, figures):
        return

    def picture(self, name, step, picture):
        assert picture.dtype == np.uint8 and picture.shape[2] == 3
        self.taken.append((name, step))


def test_a_training_leaves_its_page_and_gives_pictures_of_its_validations(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(SINKS, "csv", Pictures)
    monkeypatch.setattr(Pictures, "taken", [])
    config = tsm_config(clips, tmp_path) | {"epochs": 2, "LOGGING": ["csv"]}
    train(Config(config), Options(validate=True, max_iters=2), TrainingReport)
    assert Pictures.taken == [(f"val/{kind}", step) for step in (2, 4) for kind in ("confusion_matrix", "clips")]
    text, notes = (tmp_path / "training.html").read_text(), json.loads((tmp_path / "training.json").read_text())
    assert "2 of 2" in text and "best top1, epoch" in text and "Confusion matrix" in text and "model_name: TSM" in text
    assert notes["primary"] == "top1" and sum(cell[2] for cell in notes["confusion"]["last"]["cells"]) == 4
    train(Config(config | {"epochs": 3}), Options(validate=True, max_iters=2, resume="auto"), TrainingReport)
    text = (tmp_path / "training.html").read_text()
    assert "3 of 3" in text and "Resumed before" not in text  # no step was repeated


def test_the_page_has_the_validation_of_the_averaged_weights(clips, tmp_path):
    config = tsm_config(clips, tmp_path) | {"epochs": 2, "SWA": {"last_epochs": 1}}
    train(Config(config), Options(validate=True, max_iters=1), TrainingReport)
    assert "swa top1" in (tmp_path / "training.html").read_text()


class Failing:
    def __init__(self, folder, facts):
        self.calls = 0

    def validated(self, metric, epoch, best):
        raise ValueError("a bug\nof the page")

    def write(self):
        return


def test_a_page_that_fails_is_logged_once_and_training_goes_on(clips, tmp_path):
    train(Config(tsm_config(clips, tmp_path) | {"epochs": 2}), Options(validate=True, max_iters=1), Failing)
    text = (tmp_path / "log.txt").read_text()
    assert text.count("the report of the run is not written any more (ValueError: a bug of the page)") == 1
    assert "training TSM finished" in text


def test_the_page_of_a_run_that_diverges_has_its_last_steps(clips, tmp_path, monkeypatch):
    from paddlevideo.modeling.frameworks.recognizers import Recognizer2D

    forward = Recognizer2D.forward

    def poisoned(self, batch, mode="loss"):
        out = forward(self, batch, mode)
        return out | {"loss": out["loss"] * float("nan")}

    monkeypatch.setattr(Recognizer2D, "forward", poisoned)
    with pytest.raises(UserError, match="not finite 2 times in a row"):
        train(Config(tsm_config(clips, tmp_path)), Options(), TrainingReport)
    assert "The loss was not finite in 1 of the logged steps" in (tmp_path / "training.html").read_text()
