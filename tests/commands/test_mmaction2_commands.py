"""MMAction2's pages say how to train and test; the same lines work here, on a miniature Kinetics."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from paddlevideo.safe_io import read_pickle
from tests.tiny import moving_square

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "tsm_r50_1x1x8_50e_kinetics400_rgb"
PAGE = f"configs/recognition/tsm/{NAME}"
WORK = f"work_dirs/{NAME}"


@pytest.fixture
def kinetics(tmp_path, monkeypatch):
    """A project folder with four clips of Kinetics-400 as frames, and the page's configuration with a tiny network."""
    rng = np.random.default_rng(0)
    frames = tmp_path / "data" / "k400_frames"
    lines = []
    for i in range(4):
        folder = frames / "rawframes" / f"clip {i}"
        folder.mkdir(parents=True)
        for t, frame in enumerate(moving_square(rng, bool(i % 2)), 1):
            cv2.imwrite(str(folder / f"img_{t:05}.jpg"), frame)
        lines.append(f"{folder.relative_to(tmp_path)} 12 {i % 2}")
    for split in ("train", "val"):
        (frames / f"{split}.list").write_text("\n".join(lines))
    small = {
        "_base_": [str(REPOSITORY / f"{PAGE}.yaml")],
        "MODEL": {
            "backbone": {"depth": 18, "width": 4, "pretrained": None},
            "head": {"num_classes": 6, "in_channels": 32},
        },
        "DATASET": {"batch_size": 2, "num_workers": 0, "label_names": None},
        "epochs": 2,
        "val_interval": 1,
        "save_interval": 1,
    }
    (tmp_path / PAGE).parent.mkdir(parents=True)
    (tmp_path / f"{PAGE}.yaml").write_text(yaml.safe_dump(small))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights(path):
    return {key: np.asarray(value) for key, value in read_pickle(path).items()}


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_the_page_s_lines_run_as_printed(kinetics, run_tool):
    done = run_tool("train", f"{PAGE}.py", "--work-dir", WORK, "--validate", "--seed", "0", "--deterministic")
    assert done.code == 0, done.err
    assert f"{PAGE}.py: configurations are YAML here; using {PAGE}.yaml" in done.out
    assert {f"{NAME}_best.pdparams", f"{NAME}_epoch_00002.pdparams"} <= {p.name for p in Path(WORK).iterdir()}

    checkpoint = Path("checkpoints") / "SOME_CHECKPOINT.pdparams"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes((Path(WORK) / f"{NAME}_best.pdparams").read_bytes())
    metrics = ("--eval", "top_k_accuracy", "mean_class_accuracy")
    done = run_tool("test", f"{PAGE}.py", "checkpoints/SOME_CHECKPOINT.pth", *metrics, "--out", "result.json")
    assert done.code == 0, done.err
    figures = dict(line.split(": ") for line in done.out.splitlines() if line.partition(":")[0] in
        ("top1_acc", "top5_acc", "mean_class_accuracy"))  # fmt: skip
    rows = json.loads(Path("result.json").read_text())
    assert [row["label"] for row in rows] == [0, 1, 0, 1]
    right = np.mean([np.argmax(row["scores"]) == row["label"] for row in rows])
    assert float(figures["top1_acc"]) == pytest.approx(right, abs=1e-4)
    assert set(figures) == {"top1_acc", "top5_acc", "mean_class_accuracy"}


def test_deterministic_runs_give_equal_weights_and_another_seed_does_not(kinetics, run_tool):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        done = run_tool("train", f"{PAGE}.yaml", "--work-dir", name, "--seed", seed, "--deterministic")
        assert done.code == 0, done.err
    a, b, c = (weights(f"{name}/{NAME}_epoch_00002.pdparams") for name in "abc")
    assert equal(a, b) and not equal(a, c)


def test_main_trains_to_the_same_weights(kinetics, run_tool, monkeypatch):
    import main as command

    assert run_tool("train", f"{PAGE}.yaml", "--work-dir", "a", "--seed", 0, "--deterministic").code == 0
    line = ["main.py", "-c", f"{PAGE}.yaml", "-o", "output_dir=b", "--seed", "0", "--deterministic"]
    monkeypatch.setattr("sys.argv", line)
    assert command.main() == 0
    assert equal(weights(f"a/{NAME}_epoch_00002.pdparams"), weights(f"b/{NAME}_epoch_00002.pdparams"))


def test_a_run_goes_on_where_it_was_and_is_tested_at_its_end(kinetics, run_tool):
    run_tool("train", f"{PAGE}.yaml", "--work-dir", "whole", "--seed", 3)
    run_tool("train", f"{PAGE}.yaml", "--work-dir", "half", "--seed", 3, "--cfg-options", "epochs=1")
    done = run_tool("train", f"{PAGE}.yaml", "--work-dir", "half", "--validate", "--test-last", "--test-best",
        "--resume-from", f"half/{NAME}_epoch_00001.pdparams")  # fmt: skip
    assert done.code == 0, done.err
    assert equal(weights(f"half/{NAME}_epoch_00002.pdparams"), weights(f"whole/{NAME}_epoch_00002.pdparams"))
    for name in ("last_pred.pkl", "best_pred.pkl"):
        assert len(read_pickle(f"half/{name}")) == 4


@pytest.fixture
def checkpoint(kinetics, run_tool):
    assert run_tool("train", f"{PAGE}.yaml", "--work-dir", "w", "--cfg-options", "epochs=1").code == 0
    return f"w/{NAME}_epoch_00001.pdparams"


def test_average_clips_and_protocol_reach_the_network(checkpoint, run_tool):
    for how in ("prob", "score", "none"):
        done = run_tool("test", f"{PAGE}.yaml", checkpoint, "--out", f"{how}.pkl", "--average-clips", how,
            "--protocol", "accurate", "--eval", "top_k_accuracy", "--eval-options", "topk=1,3")  # fmt: skip
        assert done.code == 0, done.err
        assert "top3_acc: " in done.out and "top5_acc" not in done.out.split("[TEST] finished")[1].split("\n", 1)[1]
    prob, score = (np.array([row["scores"] for row in read_pickle(f"{how}.pkl")]) for how in ("prob", "score"))
    with np.load("none.views.npz") as kept:
        logits, index = kept["view_logits"], kept["index"]
    assert logits.shape == (4, 6, 6) and index.tolist() == [0, 1, 2, 3]  # 2 clips x 3 crops, 6 classes
    powers = np.exp(logits.astype("float64"))
    np.testing.assert_allclose((powers / powers.sum(-1, keepdims=True)).mean(1), prob, atol=1e-5)
    mean = np.exp(logits.astype("float64").mean(1))
    np.testing.assert_allclose(mean / mean.sum(-1, keepdims=True), score, atol=1e-5)


def test_multi_label_metrics_are_there_too(checkpoint, run_tool):
    metrics = ("mean_average_precision", "mmit_mean_average_precision")
    done = run_tool("test", f"{PAGE}.yaml", checkpoint, "--eval", *metrics)
    assert done.code == 0, done.err
    assert all(f"{name}: " in done.out for name in metrics)


@pytest.mark.parametrize(
    "tool, arguments, words",
    [
        ("train", (f"{PAGE}.yaml", "--cfg-options", "data.videos_per_gpu=4"), ("here it is DATASET.batch_size",)),
        ("train", (f"{PAGE}.yaml", "--cfg-options", "model.cls_head.dropout_ratio=0.1", "optimizer.lr=1"),
         ("MODEL.head.drop_ratio", "OPTIMIZER.learning_rate.base_lr")),
        ("train", (f"{PAGE}.yaml", "--cfg-options", "MODEL.backbon.depth=18"), ("did you mean 'backbone'",)),
        ("train", ("configs/recognition/tsm/tsm_r50_1x1x8_50e_kinetics40_rgb.py",), (f"did you mean '{NAME}'",)),
        ("train", (f"{PAGE}.yaml", "--test-best"), ("--validate",)),
        ("train", (f"{PAGE}.yaml", "--gpus", "8"), ("paddle.distributed.launch", "0,1,2,3,4,5,6,7")),
        ("train", (f"{PAGE}.yaml", "--gpu-ids", "2", "3"), ("paddle.distributed.launch", "2,3")),
        ("test", (f"{PAGE}.yaml", "x.pdparams"), ("--eval", "--out")),
        ("test", (f"{PAGE}.py", "x.pth", "--out", "r.json"), ("x.pth: no such file",)),
        ("test", (f"{PAGE}.py", "x.pdparams", "--out", "r.txt"), (".json",)),
        ("test", (f"{PAGE}.py", "x.pdparams", "--eval", "accuracy"), ("top_k_accuracy",)),
        ("test", (f"{PAGE}.py", "x.pdparams", "--out", "r.pkl", "--eval-options", "k=1"), ("topk",)),
        ("test", (f"{PAGE}.py", "x.pdparams", "--out", "r.pkl", "--protocol", "best"), ("accurate, dense",)),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_the_way_out(kinetics, run_tool, tool, arguments, words):
    done = run_tool(tool, *arguments)
    assert done.code == 2
    assert all(word in done.err for word in words), done.err


def test_lists_are_written_as_mmaction2_writes_them():
    from paddlevideo.cli.mmaction2 import overrides

    given = ["OPTIMIZER.learning_rate.milestones=1,2", "a.b=[1,2]", "c=(3,4)", "d=x"]
    assert overrides(given) == ["OPTIMIZER.learning_rate.milestones=[1,2]", *given[1:]]


def test_timesformer_s_arguments_are_named_in_this_suite_s_words():
    """The names given are the constructor's."""
    from inspect import signature

    from paddlevideo.cli.mmaction2 import overrides
    from paddlevideo.errors import ConfigError
    from paddlevideo.modeling.backbones.vit import VisionTransformer

    theirs = ("num_frames", "embed_dims", "num_transformer_layers", "dropout_ratio", "attention_type", "img_size")
    for name in theirs:
        with pytest.raises(ConfigError) as error:
            overrides([f"model.backbone.{name}=16"])
        ours = str(error.value).rpartition("MODEL.backbone.")[2].strip()
        assert ours in signature(VisionTransformer).parameters, ours
    with pytest.raises(ConfigError, match=r"here it is MODEL\.backbone\.num_seg"):
        overrides(["model.backbone.num_frames=16"])


def test_a_launcher_without_ranks_is_mentioned(kinetics, run_tool):
    done = run_tool("train", f"{PAGE}.yaml", "--launcher", "pytorch", "--gpus", "0", "--cfg-options", "epochs=1")
    assert done.code == 0 and "--launcher pytorch: this is one process" in done.out


def test_recognition_has_no_detection_figure(kinetics, run_tool):
    (kinetics / "w.pdparams").write_bytes(b"")
    done = run_tool("test", f"{PAGE}.yaml", "w.pdparams", "--eval", "mAP")
    assert done.code == 2 and "--eval mAP: TopKMetric measures top_k_accuracy, " in done.err
