"""Several labels per clip, from a list to predict: trained, tested, exported and predicted alike."""

from __future__ import annotations

import csv
import json

import numpy as np
import paddle
import pytest

from paddlevideo import classes
from paddlevideo.config import Config
from paddlevideo.config.checking import check
from paddlevideo.engine.training import train
from paddlevideo.errors import ConfigError
from paddlevideo.inference.export import export
from paddlevideo.inference.exported import read_description
from paddlevideo.inference.predictor import Predictor
from paddlevideo.loader.mix import Mixup
from paddlevideo.modeling.losses.binary_cross_entropy import BCELoss
from paddlevideo.settings import Options
from tests.clips import write_clip
from tests.tiny import run_test, save, tsm_config

NAMES = ["red", "green", "blue"]


def make_clips(folder):
    """Bands of colour: any number of three at once; three clips of each choice.  Returns the list and the names."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(24):
        labels = [k for k in range(3) if number >> k & 1]
        clip = rng.integers(0, 30, (8, 40, 40, 3)).astype("uint8")
        for k in labels:
            clip[:, 13 * k : 13 * k + 13, :, k] = 220
        write_clip(folder / f"clip {number}.mp4", clip, fps=8)
        # both ways to write labels, and names
        shown = " ".join(map(str, labels)) if number % 2 else ";".join(NAMES[k] for k in labels)
        lines.append(f'"clip {number}.mp4" {shown or ";"}')
    (folder / "clips.list").write_text("\n".join(lines))
    (folder / "names.txt").write_text("\n".join(NAMES))
    return folder / "clips.list"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    clips = make_clips(root / "clips")
    config = tsm_config(clips, root / "out")
    config["MODEL"]["head"] |= {"num_classes": "auto", "loss_cfg": {"name": "BCELoss"}, "std": 0.1, "drop_ratio": 0.0}
    split = config["DATASET"]["train"] | {"multi_label": True, "data_prefix": str(root / "clips")}
    config["DATASET"] |= {"batch_size": 8, "label_names": str(root / "clips" / "names.txt")}
    config["DATASET"] |= dict.fromkeys(("train", "valid", "test"), split)
    config["METRIC"]["threshold"] = "best_f1"
    config["MIX"] = {"name": "Mixup", "alpha": 0.2}
    config["OPTIMIZER"]["learning_rate"] |= {"max_epoch": 12, "cosine_base_lr": 0.1}
    config |= {"epochs": 12, "PRECISEBN": {"preciseBN_interval": 12, "num_iters_preciseBN": 3}, "log_interval": 3}
    assert check(config) == []
    train(Config(config), Options(validate=True))
    return config, root


def test_train_test_export_and_predict_agree(run, run_tool):
    config, root = run
    log = [json.loads(line) for line in (root / "out" / "metrics.jsonl").read_text().splitlines()]
    assert any("hit1" in row for row in log) and not any("top1" in row for row in log)
    weights = root / "out" / "TSM_best.pdparams"
    figures = run_test(Config(config), Options(weights=str(weights)), str(root / "scores.json"))
    assert figures["mAP"] > 0.9 and "top1" not in figures, figures
    thresholds = json.loads((root / "out" / "TSM_best.pdparams.json").read_text())["thresholds"]
    half = run_test(Config(config | {"METRIC": {"name": "CenterCropMetric"}}), Options(weights=str(weights)))
    assert len(thresholds) == 3 and figures["f1_macro"] >= half["f1_macro"]  # of the same split
    assert f"{thresholds[0]:.3g}</td>" in (root / "report.html").read_text()
    rows = json.loads((root / "scores.json").read_text())
    scores = np.array([row["scores"] for row in rows])
    labels = np.array([row["label"] for row in rows])
    assert labels.shape == scores.shape == (24, 3) and labels[7].tolist() == [1, 1, 1] and not labels[0].any()
    assert np.ptp(scores.sum(1)) > 0.5  # sigmoid: rows sum to anything

    export(Config(config), weights, root / "model", say=lambda line: None)
    description = read_description(root / "model")
    assert description.score_type == "sigmoid" and description.thresholds == thresholds
    export(Config(config), root / "model", root / "again", say=lambda line: None)
    assert read_description(root / "again").thresholds == thresholds
    videos = [row["path"] for row in rows]
    predictions = Predictor.from_export(root / "model", say=lambda line: None).predict(videos)
    assert np.allclose([p.scores for p in predictions], scores, atol=1e-5)

    out = root / "predict.csv"
    done = run_tool("predict", "-i", *videos, "--model_file", root / "model", "--out", out)
    assert done.code == 0, done.err
    lines = [line.split(": ")[1] for line in done.out.splitlines() if "above its threshold class" in line]
    assert [sorted(json.loads(line)) for line in lines] == [
        np.flatnonzero(row >= thresholds).tolist() for row in scores
    ]
    of_weights = run_tool("predict", "-i", videos[7], "-c", save(config, root / "config.yaml"), "-w", weights)
    assert f"above its threshold class: {lines[7]}" in of_weights.out, of_weights.err
    half = run_tool("predict", "-i", videos[7], "--model_file", root / "model", "--threshold", 0.5)
    (line,) = [line.split(": ")[1] for line in half.out.splitlines() if "above 0.5 class" in line]
    assert sorted(json.loads(line)) == np.flatnonzero(scores[7] >= 0.5).tolist()
    table = list(csv.reader(out.read_text().splitlines()))
    assert {len(row) for row in table} == {len(table[0])}
    done = run_tool("predict", "-i", videos[0], "--model_file", root / "model", "--threshold", "0")
    assert "above 0 class: " in done.out and done.out.count("'") == 6
    assert "top-2 class" in run_tool("predict", "-i", videos[0], "--model_file", root / "model", "--top_k", 2).out


def test_thresholds_of_weights_that_are_given_by_name(run, monkeypatch):
    _, root = run
    file = root / "out" / "TSM_best.pdparams"
    monkeypatch.setattr(classes, "local_weights", lambda given: file if given == "by_name" else given)
    assert classes.thresholds_of_weights("by_name", 3) == classes.thresholds_of_weights(file, 3) is not None


def test_the_data_set_is_checked(run, run_tool):
    config, root = run
    done = run_tool("check_dataset", "-c", save(config, root / "config.yaml"), "--report", root / "check.json")
    report = json.loads((root / "check.json").read_text())
    assert {split["samples_by_class"]["2"] for split in report["sets"].values()} == {12}, done.out + done.err


@pytest.mark.parametrize("where", ["head", "student"])
def test_a_loss_for_one_label_is_refused(run, where):
    config, _ = run
    head = {key: value for key, value in config["MODEL"]["head"].items() if key != "loss_cfg"}
    model = config["MODEL"] | {"head": head}
    if where == "student":
        pair = {"name": "DistillationCELoss", "model_name_pairs": ["Student", "GroundTruth"]}
        models, loss = [{"Student": model}], {"Train": [pair]}
        model = {"framework": "RecognizerDistillation", "models": models, "loss": loss}
        acts = [line for line in check(config | {"MODEL": model}) if "set it to sigmoid" in line]
        assert len(acts) == 1 and acts[0].startswith("MODEL.loss.Train[0].act: DistillationCELoss")
    problems = [line for line in check(config | {"MODEL": model}) if "multi_label" in line]
    assert len(problems) == 3 and "BCELoss" in problems[0]


def test_the_loss_by_hand():
    logits, labels = np.array([[2.0, -1.0, 0.5], [30.0, -40.0, 0.0]]), np.array([[1.0, 0.0, 0.25], [1.0, 0.0, 1.0]])
    s = 1 / (1 + np.exp(-logits))
    tensors = [paddle.to_tensor(value, dtype="float32") for value in (logits, labels)]
    w = np.array([2.0, 1.0, 3.0])
    wanted = -(w * labels * np.log(s) + (1 - labels) * np.log1p(-np.minimum(s, 1 - 1e-12))).mean()
    assert np.isclose(float(BCELoss(pos_weight=[2.0, 1.0, 3.0])(*tensors)), wanted, rtol=1e-5)
    one = BCELoss()(tensors[0], paddle.to_tensor([0, 2]))
    assert np.isclose(float(one), float(BCELoss()(tensors[0], paddle.to_tensor([[1.0, 0, 0], [0, 0, 1]]))))
    with pytest.raises(ConfigError, match="pos_weight.*3 classes, got 2"):
        BCELoss(pos_weight=[1.0, 2.0])(*tensors)


def test_mixup_blends_several_labels():
    batch = {"imgs": np.zeros((2, 1, 1, 4, 4, 3), "uint8"), "label": np.array([[1, 1, 0], [0, 1, 1]], "float32")}
    label = Mixup(alpha=1.0)(batch, np.random.default_rng(3), 3)["label"]
    assert np.allclose(label[:, 1], 1) and label.sum() == pytest.approx(4)
