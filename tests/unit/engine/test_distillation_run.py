"""A distillation as a run: what is written, tested, exported and resumed."""

import numpy as np
import paddle
import pytest

from paddlevideo.classes import Classes, write_weights
from paddlevideo.config import Config, load_config
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.inference.export import export
from paddlevideo.modeling import build_framework
from paddlevideo.safe_io import read_pickle, write_pickle
from paddlevideo.settings import Options
from tests.tiny import run_test, save, timesformer_config, tsm_config

NAME = "distilled"


@pytest.fixture(scope="module")
def teacher(clips, tmp_path_factory):
    """Weights of a TSM; its batch norms would move if it were let."""
    paddle.seed(9)
    network = build_framework(tsm_config(clips, "unused")["MODEL"])
    path = tmp_path_factory.mktemp("teacher") / "teacher.pdparams"
    write_pickle(path, {key: value.numpy() for key, value in network.state_dict().items()})
    return path


def config_for(clips, output, teacher=None, frozen=(True, False)):
    config = timesformer_config(clips, output)
    student = config["MODEL"]
    own = tsm_config(clips, output)["MODEL"] | ({"weights": str(teacher)} if teacher else {})
    pair = ["Student", "Teacher"]
    config["MODEL"] = {
        "framework": "RecognizerDistillation",
        "models": [{"Teacher": own}, {"Student": student}],
        "freeze_params_list": list(frozen),
        "loss": {
            "Train": [
                {"name": "DistillationCELoss", "model_name_pairs": ["Student", "GroundTruth"]},
                {"name": "DistillationKLLoss", "model_name_pairs": pair, "temperature": 4.0},
                {"name": "FeatureMatchingLoss", "model_name_pairs": pair, "distance": "cosine"},
            ],
        },
    }
    if not frozen[0]:
        config["MODEL"]["loss"]["Train"][1] = {"name": "DistillationDMLLoss", "model_name_pairs": pair}
    config |= {"PRECISEBN": {"num_iters_preciseBN": 3}, "EMA": {"decay": 0.5}, "SWA": {"start_epoch": 1}}
    return config | {"model_name": NAME, "epochs": 2}


def plain_config(clips, output):
    return Config(timesformer_config(clips, output))


@pytest.fixture(scope="module")
def whole(clips, teacher, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    return output, train(Config(config_for(clips, output, teacher)), Options(validate=True, seed=3))


def test_training_leaves_the_teacher_alone_and_out_of_the_files(whole, teacher):
    output, run = whole
    given = read_pickle(teacher)
    kept = {k: v.numpy() for k, v in run.framework.model("Teacher").state_dict().items()}
    assert all(np.array_equal(given[key], kept[key]) for key in given)
    for file, parts in (
        ("best", {"Student", "criteria"}),
        ("best_student", {"backbone", "head"}),
        ("swa", {"Student", "criteria"}),
        ("swa_student", {"backbone", "head"}),
        ("epoch_00002", {"Student", "criteria"}),
    ):
        assert {k.split(".")[0] for k in read_pickle(output / f"{NAME}_{file}.pdparams")} == parts
    optimizer = read_pickle(output / f"{NAME}_epoch_00002.pdopt")
    assert not [key for key in optimizer if key.startswith("Teacher")]


def test_the_student_alone_is_written_with_its_averages(whole):
    """The best one under EMA, which validation measures, and the mean of the epochs."""
    read = {name: read_pickle(whole[0] / f"{NAME}_{name}.pdparams") for name in
        ("best", "best_student", "swa", "swa_student", "epoch_00001", "epoch_00002")}  # fmt: skip
    for name in ("best", "swa"):
        own = {key.removeprefix("Student."): value for key, value in read[name].items() if key.startswith("Student.")}
        assert own.keys() == read[f"{name}_student"].keys()
        assert all(np.array_equal(value, read[f"{name}_student"][key]) for key, value in own.items())
    moved = 0
    for key, value in read["swa_student"].items():
        first, last = (read[f"epoch_0000{i}"][f"Student.{key}"] for i in (1, 2))
        np.testing.assert_allclose(value, (first.astype("float64") + last) / 2, rtol=1e-6, atol=1e-7, err_msg=key)
        moved += not np.allclose(value, last, atol=1e-5)
    assert moved


def test_the_student_is_tested_and_exported_with_its_own_file_or_the_whole(whole, clips, teacher, tmp_path):
    output, _ = whole
    own = plain_config(clips, tmp_path / "plain")
    both = Config(config_for(clips, tmp_path / "both", "a teacher that is not here"))
    scores = []
    for config, file in ((own, "best_student"), (both, "best"), (both, "best_student"), (own, "swa_student")):
        weights = str(output / f"{NAME}_{file}.pdparams")
        out = tmp_path / "scores.json"
        run_test(config, Options(weights=weights), str(out))
        scores.append(out.read_text())
    assert scores[1] == scores[0] and scores[2] == scores[0] and scores[3] != scores[0]
    for config, file, folder in ((own, "best_student", "a"), (both, "best", "b")):
        with paddle.utils.unique_name.guard():  # parameters are written in the order of Paddle's own names
            export(config, output / f"{NAME}_{file}.pdparams", tmp_path / folder, say=lambda line: None)
    stems = [tmp_path / "a" / "TimeSformer.pdiparams", tmp_path / "b" / f"{NAME}.pdiparams"]
    assert stems[0].read_bytes() == stems[1].read_bytes()


@pytest.mark.scorecard(22)
@pytest.mark.parametrize("frozen", [(True, False), (False, False)], ids=["teacher from its file", "mutual"])
def test_a_resumed_run_ends_with_the_same_bits(clips, teacher, tmp_path, frozen):
    def run(output, **options):
        config = config_for(clips, output, teacher if frozen[0] else None, frozen)
        train(Config(config), Options(seed=3, max_iters=2, **options))
        return read_pickle(output / f"{NAME}_epoch_00002.pdparams")

    once = run(tmp_path / "a")
    again = run(tmp_path / "b", resume=str(tmp_path / "a" / f"{NAME}_epoch_00001"))
    assert once.keys() == again.keys() and all(np.array_equal(once[key], again[key]) for key in once)
    assert any(key.startswith("Teacher.") for key in once) == (not frozen[0])


@pytest.mark.parametrize("within", [False, True], ids=["between epochs", "within an epoch"])
def test_another_teacher_is_another_run(clips, teacher, tmp_path, within):
    moved = tmp_path / "teacher.pdparams"
    moved.write_bytes(teacher.read_bytes())
    config = config_for(clips, tmp_path / "out", moved) | {"checkpoint_steps": 1, "keep_checkpoints": 9, "epochs": 1}
    train(Config(config), Options(seed=3, max_iters=2))
    write_pickle(moved, {key: value + 0.01 for key, value in read_pickle(teacher).items()})
    point = str(tmp_path / "out" / f"{NAME}_{'step_00000001' if within else 'epoch_00001'}")
    if within:
        with pytest.raises(UserError, match=r"the run has changed \(weights\.Teacher: "):
            train(Config(config | {"output_dir": str(tmp_path / "new")}), Options(max_iters=2, resume=point))
        return
    train(Config(config | {"epochs": 2}), Options(max_iters=2, resume=point))
    assert "resumed run differs from the first one: weights.Teacher: " in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.parametrize(
    "names, frozen, by, outcome",
    [
        (("right", "left"), True, "logits", "its 2 classes are in another order than those of the training"),
        (("right", "up"), True, "logits", "only in the training: left; not there: up"),
        (("left", "right"), True, "logits", None),
        (("right", "left"), False, "logits", "its 2 classes are in another order"),
        (("right", "left"), True, "features", None),
        (None, True, "logits", "its class names are unknown"),
    ],
)
def test_a_teacher_of_other_classes_or_another_order_is_refused(clips, teacher, tmp_path, names, frozen, by, outcome):
    weights, own = tmp_path / "teacher.pdparams", read_pickle(teacher)
    write_weights(weights, own, Classes(names), {}) if names else write_pickle(weights, own)
    (tmp_path / "names.txt").write_text("left\nright\n")
    config = config_for(clips, tmp_path / "out", weights, (frozen, False)) | {"epochs": 1}
    config["DATASET"]["label_names"] = str(tmp_path / "names.txt")
    if by == "features":
        del config["MODEL"]["loss"]["Train"][1]
    if outcome is None or names is None:
        train(Config(config), Options(max_iters=1))
        assert ("MODEL.models[0].Teacher.weights: " in (tmp_path / "out" / "log.txt").read_text()) == (names is None)
    else:
        with pytest.raises(UserError, match=rf"^MODEL.models\[0\].Teacher.weights: .*teacher.pdparams: .*{outcome}"):
            train(Config(config), Options(max_iters=1))


def test_a_configuration_that_cannot_be_is_refused_at_load(clips, tmp_path):
    config = config_for(clips, tmp_path, "teacher.pdparams")
    config["MODEL"]["models"][0]["Teacher"]["head"]["num_clases"] = 2
    config["PIPELINE"]["train"]["sample"]["num_seg"] = 8
    with pytest.raises(UserError) as refused:
        load_config(save(config, tmp_path / "c.yaml"))
    assert "MODEL.models[0].Teacher.head.num_clases: TSMHead takes no 'num_clases'" in str(refused.value)
    assert "gives 8 frames, MODEL.models[0].Teacher.backbone.num_seg takes 4" in str(refused.value)
