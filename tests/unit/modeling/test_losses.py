"""Losses of recognition by hand: focal and asymmetric, weights of classes, the sigmoid side of distillation."""

import numpy as np
import paddle
import pytest

from paddlevideo.errors import ConfigError
from paddlevideo.modeling.heads.bbox_head_ava import BBoxHeadAVA
from paddlevideo.registry import LOSSES

X = np.array([[2.0, -1.0, 0.5], [-3.0, 0.25, 1.5]])
Y = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
S = 1 / (1 + np.exp(-X))
W = np.array([2.0, 1.0, 0.5])


def loss(name, labels=Y, logits=X, **arguments):
    criterion = LOSSES.build({"name": name, **arguments}, "loss")
    return criterion(paddle.to_tensor(logits, dtype="float32"), paddle.to_tensor(labels, dtype="float32")).item()


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.5, None), (0.0, 0.25), (1.0, 1.0)])
def test_focal_loss(gamma, alpha):
    sides = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    wanted = -sides[0] * Y * (1 - S) ** gamma * np.log(S) - sides[1] * (1 - Y) * S**gamma * np.log(1 - S)
    assert loss("FocalLoss", gamma=gamma, alpha=alpha) == pytest.approx(wanted.mean(), rel=1e-5)
    weighted = loss("FocalLoss", gamma=gamma, alpha=alpha, class_weights=W.tolist())
    assert weighted == pytest.approx((W * wanted).mean(), rel=1e-5)


@pytest.mark.parametrize(("clip", "positive"), [(0.05, 0.0), (0.2, 1.0), (0.0, 2.0)])
def test_asymmetric_loss(clip, positive):
    m = np.maximum(S - clip, 0)
    wanted = -Y * (1 - S) ** positive * np.log(S) - (1 - Y) * m**4 * np.log(1 - m)
    assert loss("AsymmetricLoss", clip=clip, gamma_pos=positive) == pytest.approx(wanted.mean(), rel=1e-5)


def test_without_their_factors_both_are_the_binary_cross_entropy():
    wanted = loss("BCELoss")
    assert loss("FocalLoss", gamma=0, alpha=None) == pytest.approx(wanted, rel=1e-6)
    assert loss("AsymmetricLoss", gamma_neg=0, gamma_pos=0, clip=0) == pytest.approx(wanted, rel=1e-6)


def test_the_focal_factor_of_a_detector_is_the_same():
    head = BBoxHeadAVA(8, num_classes=4, topk=1, focal_gamma=2.0, focal_alpha=1.0)
    rows = np.concatenate([np.zeros((2, 1)), X], axis=1).astype("float32")
    labels = np.concatenate([np.zeros((2, 1)), Y], axis=1).astype("float32")
    found = float(head.loss(paddle.to_tensor(rows), labels)["loss"])
    assert found == pytest.approx(loss("FocalLoss", alpha=None), rel=1e-5)


@pytest.mark.parametrize("name", ["FocalLoss", "AsymmetricLoss"])
def test_gradients_are_finite_where_a_probability_is_0_or_1(name):
    for gamma in (0.5, 2.0):
        key = {"gamma": gamma} if name == "FocalLoss" else {"gamma_neg": gamma, "gamma_pos": gamma}
        x = paddle.to_tensor([[300.0, -300.0, 300.0, -300.0]], stop_gradient=False)
        LOSSES.build({"name": name, **key}, "loss")(x, paddle.to_tensor([[1.0, 0.0, 0.0, 1.0]])).backward()
        assert np.isfinite(x.grad.numpy()).all() and x.grad.numpy()[0, 3] < 0


def test_weights_of_classes_in_the_cross_entropies():
    log_p = X - np.log(np.exp(X).sum(1, keepdims=True))
    wanted = -np.mean([W[0] * log_p[0, 0], W[2] * log_p[1, 2]])
    criterion = LOSSES.build({"name": "CrossEntropyLoss", "class_weights": W.tolist()}, "loss")
    assert criterion(paddle.to_tensor(X, dtype="float32"), paddle.to_tensor([0, 2])).item() == pytest.approx(wanted)
    terms = -Y * np.log(S) - (1 - Y) * np.log(1 - S)
    assert loss("BCELoss", class_weights=W.tolist()) == pytest.approx((W * terms).mean(), rel=1e-6)
    for name in ("CrossEntropyLoss", "BCELoss", "FocalLoss"):
        with pytest.raises(ConfigError, match="class_weights: expected one number for each of 3 classes, got 2"):
            loss(name, class_weights=[1.0, 2.0])
        with pytest.raises(ConfigError, match="'auto' is replaced by numbers when paddlevideo train begins"):
            loss(name, class_weights="auto")


def test_distillation_of_several_labels():
    t = np.array([[0.5, -2.0, 3.0], [1.0, 0.0, -1.0]])
    p = 1 / (1 + np.exp(-t))
    binary = -(p * np.log(S) + (1 - p) * np.log(1 - S)).mean()
    assert loss("DistillationCELoss", t, act="sigmoid") == pytest.approx(binary, rel=1e-5)
    p, q = 1 / (1 + np.exp(-t / 2)), 1 / (1 + np.exp(-X / 2))
    divergence = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    assert loss("DistillationKLLoss", t, act="sigmoid", temperature=2.0) == pytest.approx(4 * divergence, rel=1e-4)
    assert loss("DistillationKLLoss", X, act="sigmoid") == pytest.approx(0, abs=1e-6)
    labels = LOSSES.build({"name": "DistillationCELoss", "act": "sigmoid", "loss_weight": 3.0}, "loss")
    given = labels.of_labels(paddle.to_tensor(X, dtype="float32"), paddle.to_tensor(Y, dtype="float32"))
    assert float(given) == pytest.approx(3 * loss("BCELoss"), rel=1e-5)
