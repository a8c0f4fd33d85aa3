"""Weights of classes from the training list: resolved when training begins, and as a file of the command."""

import numpy as np
import pytest
import yaml

from paddlevideo.build import network
from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.errors import ConfigError
from paddlevideo.settings import Options
from tests.tiny import make_clips, run_test, save, tsm_config


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """Six clips of one class, two of another and none of a third."""
    root = tmp_path_factory.mktemp("rare")
    make_clips(root / "clips")
    labels = [0, 0, 0, 1, 0, 0, 1, 0]
    (root / "l.list").write_text("".join(f"{root}/clips/clip {i}.mp4 {k}\n" for i, k in enumerate(labels)))
    (root / "names.txt").write_text("often\nseldom\nnever\n")
    config = tsm_config(root / "l.list", root / "out") | {"epochs": 1}
    config["MODEL"]["head"]["num_classes"] = "auto"
    config["DATASET"]["label_names"] = str(root / "names.txt")
    return config, root


def weighted(config, value, output, name="CrossEntropyLoss"):
    head = config["MODEL"]["head"] | {"loss_cfg": {"name": name, "class_weights": value}}
    return config | {"MODEL": config["MODEL"] | {"head": head}, "output_dir": str(output)}


def test_auto_is_resolved_when_training_begins(rare, tmp_path, run_tool):
    config, root = rare
    given = weighted(config, "auto", tmp_path)
    run = train(Config(given), Options(max_iters=1))
    resolved = yaml.safe_load((tmp_path / "config.yaml").read_text())["MODEL"]["head"]["loss_cfg"]["class_weights"]
    assert resolved == pytest.approx([(8 / 12) ** 0.5, (8 / 4) ** 0.5, 1.0], abs=1e-3)
    assert run.framework.head.criterion.class_weights == resolved
    text = (tmp_path / "log.txt").read_text()
    assert "class_weights: power 0.5: 0 (often) 0.8165 of 6 samples, 1 (seldom) 1.414 of 2 samples" in text
    assert "1 class without a training sample has weight 1: 2 (never)" in text
    # the file as it was is tested, exported and used with the weights; its loss is not needed
    weights = tmp_path / "TSM_epoch_00001.pdparams"
    assert run_test(Config(given), Options(weights=str(weights)), str(tmp_path / "scores.json"))["num_samples"] == 8
    done = run_tool("predict", "-i", f"{root}/clips/clip 0.mp4", "-c", save(given, tmp_path / "c.yaml"), "-w", weights)
    assert done.code == 0, done.err
    train(Config(given), Options(max_iters=1, resume=str(tmp_path / "TSM_epoch_00001")))
    assert "differs from the first one" not in (tmp_path / "log.txt").read_text()


def test_the_command_writes_a_file_that_a_loss_may_name(rare, tmp_path, run_tool):
    config, _ = rare
    path, file = save(config, tmp_path / "c.yaml"), tmp_path / "weights.yml"
    done = run_tool("ava_class_weights", "-c", path, "--power", 1, "--out", file)
    assert done.code == 0 and "     1         2   2.000  seldom" in done.out, done.err
    assert yaml.safe_load(file.read_text()) == {"class_weights": [0.6667, 2.0, 1.0], "counts": [6, 2, 0], "power": 1.0}
    given = weighted(config, str(file), tmp_path / "out", "FocalLoss")
    run = train(Config(given), Options(max_iters=1))
    assert run.config["MODEL"]["head"]["loss_cfg"]["class_weights"] == [0.6667, 2.0, 1.0]
    assert np.isfinite(run.last["loss"])


def test_wrong_weights_are_named_before_training(rare, tmp_path):
    config, _ = rare
    for value, message in (
        (str(tmp_path / "absent.yml"), r"MODEL\.head\.loss_cfg\.class_weights: .*absent\.yml: no such file"),
        ([1.0, 2.0], r"MODEL\.head\.loss_cfg\.class_weights: expected one number for each of 3 classes, got 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(Config(weighted(config, value, tmp_path / "out")), Options())
    assert not [*(tmp_path / "out").glob("*.pdparams")]


def test_auto_weighs_the_classes_of_a_distillation_in_its_loss_with_the_labels(rare, tmp_path):
    config, _ = rare
    pair = {"name": "DistillationCELoss", "class_weights": "auto", "model_name_pairs": ["Student", "GroundTruth"]}
    model = {
        "framework": "RecognizerDistillation", "models": [{"Student": config["MODEL"]}], "loss": {"Train": [pair]},
    }  # fmt: skip
    run = train(Config(config | {"MODEL": model, "output_dir": str(tmp_path)}), Options(max_iters=1))
    wanted = pytest.approx([(8 / 12) ** 0.5, (8 / 4) ** 0.5, 1.0], abs=1e-3)
    assert run.framework.criteria[0].per_class() == {"class_weights": wanted}


def test_weights_count_the_samples_that_are_trained_on(rare, tmp_path):
    config, root = rare
    (tmp_path / "l.list").write_text((root / "l.list").read_text() + "".join(f"gone {i}.mp4 1\n" for i in range(9)))
    split = config["DATASET"]["train"] | {"file_path": str(tmp_path / "l.list"), "missing": "skip"}
    given = weighted(config | {"DATASET": config["DATASET"] | {"train": split}}, "auto", tmp_path / "out")
    run = train(Config(given), Options(max_iters=1))
    assert run.framework.head.criterion.class_weights[:2] == pytest.approx([(8 / 12) ** 0.5, (8 / 4) ** 0.5], abs=1e-3)


def test_a_network_that_does_not_train_needs_no_weights(rare, tmp_path):
    config, _ = rare
    for value in ("auto", {"power": 1.0}, str(tmp_path / "absent.yml")):
        assert network(Config(weighted(config, value, tmp_path))).head.criterion.class_weights is None


def test_a_power_below_zero_is_refused(rare, tmp_path, run_tool):
    config, _ = rare
    done = run_tool("ava_class_weights", "-c", save(config, tmp_path / "c.yaml"), "--power", -3)
    assert done.code == 2 and "--power: expected at least 0, got -3" in done.err
