"""Distillation: every loss against numpy, who learns and who does not, which configurations are refused."""

import copy

import numpy as np
import paddle
import pytest

from paddlevideo.config.checking import check
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.frameworks.build import build_deployed, without_start_weights
from paddlevideo.modeling.weights import load_weights
from paddlevideo.registry import LOSSES
from paddlevideo.safe_io import write_pickle
from paddlevideo.solver.lr import build_lr
from paddlevideo.solver.optimizer import build_optimizer
from tests.unit.modeling.test_frameworks import NORMALIZATION, TIMESFORMER, TSM, clips

RNG = np.random.default_rng(0)
X, Y = (RNG.normal(0, 2, (5, 7)).astype("float32") for _ in range(2))
CE = {"name": "DistillationCELoss", "model_name_pairs": ["Student", "GroundTruth"]}
KL = {"name": "DistillationKLLoss", "model_name_pairs": ["Student", "Teacher"], "temperature": 2.0}
DML = {"name": "DistillationDMLLoss", "model_name_pairs": ["Student", "Teacher"]}
FEATURES = {"name": "FeatureMatchingLoss", "model_name_pairs": ["Student", "Teacher"]}


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def loss(name, x, y, **arguments):
    criterion = LOSSES.build({"name": name, **arguments}, "loss")
    return criterion(paddle.to_tensor(x), paddle.to_tensor(y)).item()


def arrays_of(network):
    return {name: value.numpy().copy() for name, value in network.state_dict().items()}


def section(losses=(CE, KL), frozen=("Teacher",), teacher=TSM, student=TIMESFORMER, **teacher_keys):
    return copy.deepcopy(
        {
            "framework": "RecognizerDistillation",
            "models": [{"Teacher": {**teacher, **teacher_keys}}, {"Student": student}],
            "freeze_params_list": list(frozen),
            "loss": {"Train": list(losses), "Val": [CE]},
        }
    )


def build(*args, **kwargs):
    paddle.seed(4)
    return build_framework(section(*args, **kwargs), NORMALIZATION)


def batch():
    return {"imgs": clips(), "label": paddle.to_tensor([0, 2])}


def test_class_weights_are_factors_of_the_loss_with_the_labels():
    weights = [1.0, 2.0, 0.5, 3.0, 1.0, 1.0, 4.0]
    criterion = LOSSES.build({"name": "DistillationCELoss", "class_weights": weights}, "loss")
    labels = np.array([0, 6, 3, 3, 1])
    wanted = -(np.log(softmax(X)[np.arange(5), labels]) * np.array(weights)[labels]).mean()
    assert criterion.of_labels(paddle.to_tensor(X), paddle.to_tensor(labels)).item() == pytest.approx(wanted, rel=1e-5)
    head = {**TSM["head"], "loss_cfg": {"name": "CrossEntropyLoss", "class_weights": "auto"}}
    model = section(student={**TSM, "head": head})
    (line,) = [line for line in check({"model_name": "x", "MODEL": model}) if "class_weights" in line]
    assert line.startswith("MODEL.models[1].Student.head.loss_cfg.class_weights: a distillation trains with MODEL.loss")


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_labels_at_a_temperature(temperature):
    p, q = softmax(Y / temperature), softmax(X / temperature)
    wanted = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    got = loss("DistillationKLLoss", X, Y, temperature=temperature, loss_weight=3.0)
    assert got == pytest.approx(3 * wanted, rel=1e-5)
    assert loss("DistillationKLLoss", X, X, temperature=temperature) == pytest.approx(0, abs=1e-6)


def test_mutual_learning_is_the_mean_of_both_divergences_summed_over_the_classes():
    p, q = softmax(X), softmax(Y)
    wanted = np.mean((p * np.log(p / q) + q * np.log(q / p)) / 2) * X.shape[1]  # as PaddleVideo writes it
    assert loss("DistillationDMLLoss", X, Y) == pytest.approx(wanted, rel=1e-5)
    p, q = 1 / (1 + np.exp(-X)), 1 / (1 + np.exp(-Y))
    wanted = np.mean((p * np.log(p / q) + q * np.log(q / p)) / 2) * X.shape[1]
    assert loss("DistillationDMLLoss", X, Y, act="sigmoid") == pytest.approx(wanted, rel=1e-5)


def test_cross_entropy_with_labels_and_with_a_model():
    criterion = LOSSES.build({"name": "DistillationCELoss", "loss_weight": 2.0}, "loss")
    labels = np.array([0, 6, 3, 3, 1])
    wanted = -2 * np.log(softmax(X)[np.arange(5), labels]).mean()
    assert criterion.of_labels(paddle.to_tensor(X), paddle.to_tensor(labels)).item() == pytest.approx(wanted, rel=1e-5)
    mixed = softmax(Y)
    wanted = -2 * (mixed * np.log(softmax(X))).sum(1).mean()
    assert criterion.of_labels(paddle.to_tensor(X), paddle.to_tensor(mixed)).item() == pytest.approx(wanted, rel=1e-5)
    assert criterion(paddle.to_tensor(X), paddle.to_tensor(Y)).item() == pytest.approx(wanted, rel=1e-5)


def test_features_by_square_and_by_angle():
    assert loss("FeatureMatchingLoss", X, Y) == pytest.approx(((X - Y) ** 2).mean(), rel=1e-5)
    cosine = (X * Y).sum(1) / np.linalg.norm(X, axis=1) / np.linalg.norm(Y, axis=1)
    assert loss("FeatureMatchingLoss", X, Y, distance="cosine") == pytest.approx(1 - cosine.mean(), rel=1e-5)
    criterion = LOSSES.build({"name": "FeatureMatchingLoss"}, "loss")
    criterion.connect(7, 4)
    projected = X @ criterion.projection.weight.numpy() + criterion.projection.bias.numpy()
    got = criterion(paddle.to_tensor(X), paddle.to_tensor(Y[:, :4])).item()
    assert got == pytest.approx(((projected - Y[:, :4]) ** 2).mean(), rel=1e-4)


@pytest.mark.parametrize("name", ["DistillationKLLoss", "DistillationCELoss", "FeatureMatchingLoss"])
def test_a_target_gets_no_gradient(name):
    x, y = paddle.to_tensor(X, stop_gradient=False), paddle.to_tensor(Y, stop_gradient=False)
    LOSSES.build({"name": name}, "loss")(x, y).backward()
    assert np.abs(x.grad.numpy()).max() > 0 and y.grad is None


def test_the_loss_is_the_sum_over_the_pairs():
    network = build()
    network.train()
    network.model("Student").eval()  # no drop path
    got = network(batch(), mode="loss")
    logits = [network.model(name).view_logits(clips())[:, 0].numpy() for name in ("Student", "Teacher")]
    wanted = -np.log(softmax(logits[0])[[0, 1], [0, 2]]).mean() + loss("DistillationKLLoss", *logits, temperature=2.0)
    assert got["loss"].item() == pytest.approx(wanted, rel=1e-4)
    assert np.allclose(got["scores"].numpy(), softmax(logits[0]), atol=1e-6)


@pytest.mark.parametrize("frozen", [["Teacher"], [True, False]], ids=["names", "truth values"])
def test_a_frozen_teacher_stays_as_it_is_bit_by_bit(frozen):
    network = build([CE, KL, FEATURES], frozen)
    before, student = arrays_of(network.model("Teacher")), arrays_of(network.model("Student"))
    momentum = {"name": "Momentum", "learning_rate": 0.1, "weight_decay": 0.1}
    optimizer = build_optimizer(momentum, build_lr(0.1, 5, 1), network)
    teachers = {p.name for p in network.model("Teacher").parameters()}
    assert not teachers & {p.name for p in optimizer._parameter_list}
    projection = network.criteria[2].projection.weight.numpy().copy()
    for _ in range(2):
        network.train()
        assert not any(layer.training for layer in network.model("Teacher").sublayers(include_self=True))
        network(batch(), mode="loss")["loss"].backward()
        optimizer.step()
        optimizer.clear_grad()
    after = arrays_of(network.model("Teacher"))
    assert any(key.endswith("_variance") for key in before)
    assert all(np.array_equal(before[key], after[key]) for key in before)
    now = arrays_of(network.model("Student"))
    assert all(not np.array_equal(student[key], now[key]) for key in student if key.endswith("weight"))
    assert not np.array_equal(projection, network.criteria[2].projection.weight.numpy())


def test_mutual_learning_trains_both():
    network = build([CE, {**CE, "model_name_pairs": ["Teacher", "GroundTruth"]}, DML], [False, False])
    network(batch(), mode="loss")["loss"].backward()
    trainable = {name: p for name, p in network.named_parameters() if not p.stop_gradient}
    assert {name.split(".")[0] for name in trainable} == {"Teacher", "Student"}
    assert [name for name, p in trainable.items() if p.grad is None] == []


def test_soft_labels_and_views():
    network = build([CE, KL, FEATURES])
    label = paddle.to_tensor(softmax(X[:2, :3]))
    outputs = network({"imgs": clips(views=2), "label": label}, mode="loss")
    assert np.isfinite(outputs["loss"].item()) and outputs["scores"].shape == [2, 3]


def test_the_student_predicts_and_is_what_is_deployed(tmp_path):
    network = build([CE, KL, FEATURES])
    network.eval()
    scores = network({"imgs": clips()}, mode="predict")["scores"].numpy()
    parts = network.checkpoints()
    assert set(parts) == {"", "_student"}
    plain = build_framework(TIMESFORMER, NORMALIZATION)
    deployed = [build_deployed(section(weights="not there"), NORMALIZATION) for _ in range(2)]
    for target, source in ((plain, "_student"), (deployed[0], "_student"), (deployed[1], "")):
        write_pickle(tmp_path / "best.pdparams", arrays_of(parts[source]))
        assert load_weights(target, tmp_path / "best.pdparams").clean
        target.eval()
        assert np.array_equal(target({"imgs": clips()}, mode="predict")["scores"].numpy(), scores)
    assert not [key for key in arrays_of(parts["_student"]) if not key.startswith(("backbone.", "head."))]


def test_a_teacher_with_a_file_comes_from_it_and_not_from_checkpoints(tmp_path):
    teacher = build_framework(TSM, NORMALIZATION)
    write_pickle(tmp_path / "teacher.pdparams", arrays_of(teacher))
    network = build(weights=str(tmp_path / "teacher.pdparams"))
    assert all(np.array_equal(v, arrays_of(teacher)[k]) for k, v in arrays_of(network.model("Teacher")).items())
    assert {key.split(".")[0] for key in arrays_of(network)} == {"Student"}
    assert {key.split(".")[0] for key in arrays_of(build())} == {"Student", "Teacher"}
    # where a checkpoint follows, the frozen teacher still needs its file and the student does not
    whole = section(student={**TIMESFORMER, "weights": "s.pdparams"}, weights="t.pdparams")
    models = without_start_weights(whole)["models"]
    assert models[0]["Teacher"]["weights"] == "t.pdparams" and "weights" not in models[1]["Student"]
    with pytest.raises(UserError, match=r"MODEL\.models\[0\]\.Teacher: .*missing file.*: no such file"):
        build(weights=str(tmp_path / "missing file"))


def test_a_model_may_take_other_pixels():
    teacher = {**TSM, "normalization": {"mean": [0.0] * 3, "std": [1.0] * 3}}
    network = build(teacher=teacher)
    own = build_framework(TSM, ([0.0] * 3, [1.0] * 3))
    load_weights(own, arrays_of(network.model("Teacher")))
    own.eval()
    assert np.array_equal(own.view_logits(clips()).numpy(), network.model("Teacher").view_logits(clips()).numpy())


def other_frames():
    return {**TIMESFORMER, "backbone": {**TIMESFORMER["backbone"], "num_seg": 8}}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"losses": [CE], "frozen": []}, r"MODEL\.loss\.Train: no loss trains Teacher"),
        ({"frozen": ["Teacher", "Student"]}, r"MODEL\.freeze_params_list: all models are frozen"),
        ({"frozen": ["Techer"]}, r"MODEL\.freeze_params_list: there is no model 'Techer'; did you mean 'Teacher'"),
        ({"frozen": [True]}, r"MODEL\.freeze_params_list: expected a truth value for each of Teacher, Student"),
        (
            {"losses": [{**KL, "model_name_pairs": ["Student", "Techer"]}]},
            r"MODEL\.loss\.Train\[0\]\.model_name_pairs: there is no model 'Techer'",
        ),
        ({"losses": [{**KL, "model_name_pairs": ["Teacher", "Student"]}]}, r"Teacher is frozen; the model that learns"),
        ({"losses": [{**KL, "model_name_pairs": ["Student", "GroundTruth"]}]}, r"compares two models"),
        ({"losses": [{**KL, "model_name_pairs": "Student"}]}, r"expected \[Student, Teacher\]"),
        ({"losses": [{**CE, "name": "CrossEntropyLoss"}]}, r"CrossEntropyLoss is no loss between models"),
        ({"losses": [{**CE, "class_weights": [1.0]}]}, r"Train\[0\]\.class_weights: expected one number for each of 3"),
        (
            {"losses": [CE, {**CE, "class_weights": [1.0] * 3, "model_name_pairs": ["Student", "Teacher"]}]},
            r"MODEL\.loss\.Train\[1\]\.class_weights: is for a pair with GroundTruth, got \['Student', 'Teacher'\]",
        ),
        ({"losses": [{**FEATURES, "projection": False}]}, r"MODEL\.loss\.Train\[0\]\.projection: .* 16 and 32 values"),
        ({"student": other_frames()}, r"MODEL\.models\[0\]\.Teacher\.backbone\.num_seg: .* expected 8 .* got 4"),
        (
            {"student": {**TIMESFORMER, "head": {**TIMESFORMER["head"], "num_classes": 4}}},
            r"MODEL\.loss\.Train\[1\]\.model_name_pairs: Student has 4 classes, Teacher has 3",
        ),
        (
            {"student": {**TIMESFORMER, "head": {**TIMESFORMER["head"], "in_channels": 8}}},
            r"MODEL\.models\[1\]\.Student\.head\.in_channels: the backbone gives 16 channels, got 8",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)


def problems_of(model):
    return "\n".join(check({"model_name": "x", "MODEL": model}))


def test_configurations_are_checked_below_the_models():
    assert problems_of(section(weights="teacher.pdparams")) == ""
    released = section(frozen=[False, False], losses=[DML, CE])
    for item in released["models"]:
        next(iter(item.values())).pop("framework")  # PaddleVideo's files name none
    released["models"][1]["Student"] = {k: TSM[k] for k in ("backbone", "head")}
    assert problems_of(released) == ""
    wrong = section(losses=[{**KL, "temprature": 2}, {"name": "DistillationCELoss"}], weigths="t", normalization={})
    wrong["models"][1]["Student"]["backbone"]["embed_dims"] = 3
    wrong["loss"]["Valid"] = []
    found = problems_of(wrong)
    for line in (
        "MODEL.models[0].Teacher.weigths: Recognizer2D takes no 'weigths'",
        "MODEL.models[0].Teacher.normalization: expected mean and std",
        "MODEL.models[1].Student.backbone.embed_dims: VisionTransformer takes no 'embed_dims'; did you mean",
        "MODEL.loss.Train[0].temprature: DistillationKLLoss takes no 'temprature'; did you mean 'temperature'?",
        "MODEL.loss.Train[1].model_name_pairs: is missing",
        "MODEL.loss.Valid: unknown key; did you mean 'Val'?",
    ):
        assert line in found, found
    assert "MODEL.loss.Train: is missing" in problems_of({**section(), "loss": {"Val": [CE]}})
    assert "MODEL.models[0]: expected '- Teacher:'" in problems_of({**section(), "models": [{"a": {}, "b": {}}]})


def test_a_student_may_keep_a_part_as_it_is():
    network = build(student={**TIMESFORMER, "freeze": ["backbone"]})
    network.train()
    student = network.student_network
    assert student.head.training and not student.backbone.training and not network.model("Teacher").training
    network(batch(), mode="loss")["loss"].backward()
    assert student.head.fc.weight.grad is not None
    assert all(p.grad is None for p in student.backbone.parameters())
