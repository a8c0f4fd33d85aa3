"""Several labels per clip hold for every network of recognition: loss, gradients, sigmoid scores, static program."""

import copy

import numpy as np
import paddle
import pytest

from paddlevideo.inference.export import save_program
from paddlevideo.modeling import build_framework
from paddlevideo.registry import LOSSES
from tests.models.sections import NORMALIZATION, QUICK, RECOGNIZERS, clips
from tests.slow_cases import some_slow

LABELS = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
OF_SEVERAL = [name for name in LOSSES.names() if LOSSES.entry(name).constants.get("multi_label")]


def build(name, loss="BCELoss"):
    """A network in eval mode with the same start weights at every call."""
    section = copy.deepcopy(RECOGNIZERS[name])
    section["head"]["loss_cfg"] = {"name": loss}
    paddle.seed(7)
    network = build_framework(section, NORMALIZATION)
    network.eval()
    return network


def step(network, batch):
    """The gradients of one training step."""
    network.train()
    outputs = network(batch)
    outputs["loss"].backward()
    assert outputs["loss"].shape == [] and np.isfinite(float(outputs["loss"]))
    trained = {key: p for key, p in network.named_parameters() if not p.stop_gradient}
    assert [key for key, p in trained.items() if p.grad is None] == []
    assert all(np.isfinite(p.grad.numpy()).all() for p in trained.values())
    network.eval()


def check(network, imgs, folder):
    """Scores are sigmoids of the logits, the same in the program."""
    scores = network({"imgs": imgs}, mode="predict")["scores"].numpy()
    logits = network.view_logits(imgs).numpy()[:, 0]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-5)
    save_program(network, network.input_spec({"imgs": imgs}), folder / "m")
    np.testing.assert_allclose(paddle.jit.load(str(folder / "m"))(imgs).numpy(), scores, atol=1e-5)


@pytest.mark.parametrize("name", some_slow(RECOGNIZERS, lambda name: name not in QUICK))
def test_every_network(name, tmp_path):
    network, imgs = build(name), clips(name)
    assert network.multi_label
    step(network, {"imgs": imgs, "label": paddle.to_tensor(LABELS)})
    check(network, imgs, tmp_path)


@pytest.mark.parametrize("loss", OF_SEVERAL)
def test_every_loss(loss):
    assert {"BCELoss", "FocalLoss", "AsymmetricLoss"} <= set(OF_SEVERAL)
    network = build("tsm", loss)
    step(network, {"imgs": clips("tsm"), "label": paddle.to_tensor(LABELS)})


def test_distillation(tmp_path):
    student, teacher = copy.deepcopy(RECOGNIZERS["pptsm mobilenet"]), copy.deepcopy(RECOGNIZERS["tsm"])
    for own in (student, teacher):
        own["head"]["loss_cfg"] = {"name": "BCELoss"}
    pairs = {"model_name_pairs": ["Student", "Teacher"], "act": "sigmoid"}
    losses = [{"name": f"Distillation{kind}Loss", **pairs} for kind in ("CE", "KL", "DML")]
    losses.append({**losses[0], "model_name_pairs": ["Student", "GroundTruth"]})
    section = {
        "framework": "RecognizerDistillation", "models": [{"Teacher": teacher}, {"Student": student}],
        "freeze_params_list": ["Teacher"], "loss": {"Train": losses},
    }  # fmt: skip
    network = build_framework(section, NORMALIZATION)
    imgs = clips("tsm")
    assert network.multi_label
    step(network, {"imgs": imgs, "label": paddle.to_tensor(LABELS)})
    check(network.student_network, imgs, tmp_path)
