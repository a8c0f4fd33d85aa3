"""A distillation as a run: what is written, tested, exported and resumed."""

import numpy as np
import paddle
import pytest

from paddlevideo.config import Config, load_config
from paddlevideo.engine.parts import Options
from paddlevideo.engine.testing import test as run_test
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.inference.export import export
from paddlevideo.modeling import build_framework
from paddlevideo.safe_io import read_pickle, write_pickle
from tests.tiny import make_clips, save, timesformer_config, tsm_config

NAME = "distilled"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


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
    return config | {"model_name": NAME, "epochs": 2, "PRECISEBN": {"num_iters_preciseBN": 3}, "EMA": {"decay": 0.5}}


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
        ("epoch_00002", {"Student", "criteria"}),
    ):
        assert {k.split(".")[0] for k in read_pickle(output / f"{NAME}_{file}.pdparams")} == parts
    optimizer = read_pickle(output / f"{NAME}_epoch_00002.pdopt")
    assert not [key for key in optimizer if key.startswith("Teacher")]


def test_the_student_is_tested_and_exported_with_its_own_file_or_the_whole(whole, clips, teacher, tmp_path):
    output, _ = whole
    own = plain_config(clips, tmp_path / "plain")
    both = Config(config_for(clips, tmp_path / "both", "a teacher that is not here"))
    scores = []
    for config, file in ((own, "best_student"), (both, "best"), (both, "best_student")):
        weights = str(output / f"{NAME}_{file}.pdparams")
        out = tmp_path / "scores.json"
        run_test(config, Options(weights=weights), str(out))
        scores.append(out.read_text())
    assert scores[1] == scores[0] and scores[2] == scores[0]
    export(own, output / f"{NAME}_best_student.pdparams", tmp_path / "a", say=lambda line: None)
    export(both, output / f"{NAME}_best.pdparams", tmp_path / "b", say=lambda line: None)
    stems = [tmp_path / "a" / "TimeSformer.pdiparams", tmp_path / "b" / f"{NAME}.pdiparams"]
    assert stems[0].read_bytes() == stems[1].read_bytes()


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


def test_a_configuration_that_cannot_be_is_refused_at_load(clips, tmp_path):
    config = config_for(clips, tmp_path, "teacher.pdparams")
    config["MODEL"]["models"][0]["Teacher"]["head"]["num_clases"] = 2
    config["PIPELINE"]["train"]["sample"]["num_seg"] = 8
    with pytest.raises(UserError) as refused:
        load_config(save(config, tmp_path / "c.yaml"))
    assert "MODEL.models[0].Teacher.head.num_clases: TSMHead takes no 'num_clases'" in str(refused.value)
    assert "gives 8 frames, MODEL.models[0].Teacher.backbone.num_seg wants 4" in str(refused.value)
