"""The loss of regions, its figures and edges, and the two heads around it."""

import logging
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from paddlevideo.errors import ConfigError
from paddlevideo.modeling.heads.acrn_head import ACRNHead
from paddlevideo.modeling.heads.bbox_head_ava import BBoxHeadAVA
from tests.parity import runner as parity

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def head(**options):
    return BBoxHeadAVA(**{"in_channels": 6, "num_classes": 7, "topk": [1, 2], **options})


def given(rows=5, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((rows, classes)).astype("float32")
    labels = (rng.random((rows, classes)) < 0.4).astype("float32")
    labels[:, 1] = 1.0
    return paddle.to_tensor(logits, stop_gradient=False), paddle.to_tensor(labels)


def test_losses_gradients_and_figures_equal_the_reference():
    row = parity.check_case(GOLDEN / "mmaction2" / "bbox_head_loss.json")
    assert (row.status, row.notes) == (parity.OK, [])


def test_plain_loss_is_binary_cross_entropy_of_the_labelled_regions_without_class_0():
    logits, labels = given()
    labels[2] = 0.0
    labels[3, 0] = 1.0
    out = head().loss(logits, labels)
    kept = [0, 1, 3, 4]
    expected = F.binary_cross_entropy_with_logits(
        paddle.to_tensor(logits.numpy()[kept, 1:]), paddle.to_tensor(labels.numpy()[kept, 1:])
    )
    assert float(out["loss"]) == pytest.approx(float(expected), rel=1e-6)
    assert float(out["num_positive"]) == 4
    out["loss"].backward()
    gradient = logits.grad.numpy()
    assert not gradient[:, 0].any() and not gradient[2].any() and gradient[kept, 1:].all()


@pytest.mark.parametrize(
    ("multilabel", "recall", "precision"),
    # sigmoid: above 0.5 are {1, 2}, {}, {3}; softmax: the highest class, sure of it or not, is 1, 3, 3
    [(True, (1 + 0 + 1 / 2) / 3, (1 / 2 + 0 + 1) / 3), (False, (1 + 0 + 1 / 2) / 3, (1 + 0 + 1) / 3)],
)
def test_a_single_label_is_predicted_by_the_highest_class_whatever_its_probability(multilabel, recall, precision):
    logits = paddle.to_tensor([[9.0, 0.3, 0.2, -0.1], [9.0, -0.3, -0.2, -0.1], [9.0, -3.0, -2.0, 4.0]])
    labels = paddle.to_tensor([[0.0, 1, 0, 0], [0.0, 1, 0, 0], [0.0, 1, 0, 1]])
    out = head(num_classes=4, multilabel=multilabel).loss(logits, labels)
    assert float(out["recall@thr=0.5"]) == pytest.approx(recall, abs=1e-5)
    assert float(out["prec@thr=0.5"]) == pytest.approx(precision, abs=1e-5)


@pytest.mark.parametrize("multilabel", [True, False])
def test_class_weights_scale_the_terms_of_their_class(multilabel):
    logits, labels = given()
    labels = F.one_hot(paddle.to_tensor([1, 1, 2, 2, 2]), 7)
    weights = [9.0, 2.0, *[0.0] * 5]  # class 1 alone counts, twice
    weighted = float(head(multilabel=multilabel, class_weights=weights).loss(logits, labels)["loss"])
    z = logits.numpy()[:, 1:].astype("float64")
    if multilabel:
        truth = labels.numpy()[:, 1]
        expected = 2 * np.mean(np.log1p(np.exp(z[:, 0])) - truth * z[:, 0]) / 6
    else:
        expected = 2 * np.sum(np.log(np.exp(z[:2]).sum(1)) - z[:2, 0]) / 5
    assert weighted == pytest.approx(expected, rel=1e-5)


def test_without_a_labelled_region_the_loss_is_0_with_gradients_and_one_warning(caplog):
    network = head()
    with caplog.at_level(logging.WARNING, logger="paddlevideo"):
        for _ in range(2):
            logits = network(paddle.ones([3, 6, 1, 2, 2]))
            out = network.loss(logits, paddle.zeros([3, 7]))
            out["loss"].backward()
    assert {float(value) for value in out.values()} == {0.0}
    assert not network.fc_cls.weight.grad.numpy().any()
    assert sum("no region of a batch has a label" in record.message for record in caplog.records) == 1
    logits, labels = given()
    assert out.keys() == network.loss(logits, labels).keys()


def test_scores_keep_the_reserved_column():
    logits, _ = given()
    np.testing.assert_allclose(head().scores(logits).numpy(), 1 / (1 + np.exp(-logits.numpy())), rtol=1e-5)
    single = head(multilabel=False).scores(logits).numpy()
    np.testing.assert_allclose(single.sum(1), 1.0, rtol=1e-5)
    assert (single[:, 0] == 0).all()  # the reserved class, whose logit no loss reaches


@pytest.mark.parametrize("temporal", ["avg", "max"])
@pytest.mark.parametrize("spatial", ["avg", "max"])
def test_pools_over_time_and_space(temporal, spatial):
    network = head(temporal_pool_type=temporal, spatial_pool_type=spatial)
    network.eval()
    regions = np.random.default_rng(0).standard_normal((3, 6, 4, 2, 2)).astype("float32")
    pooled = regions.mean(2) if temporal == "avg" else regions.max(2)
    pooled = pooled.mean((2, 3)) if spatial == "avg" else pooled.max((2, 3))
    expected = pooled @ network.fc_cls.weight.numpy()
    np.testing.assert_allclose(network(paddle.to_tensor(regions)).numpy(), expected, atol=1e-6)


def test_dropout_before_the_pool_leaves_the_maximum_of_what_is_left():
    paddle.seed(0)
    regions = paddle.ones([64, 6, 1, 4, 4])
    before, after = (head(dropout_before_pool=first) for first in (True, False))
    for network in (before, after):
        network.fc_cls.weight.set_value(paddle.ones([6, 7]))
    assert set(before(regions).numpy().round(4).reshape(-1)) == {12.0}  # 16 places, of which one survives: 1 / (1 - .5)
    assert len(set(after(regions).numpy().round(4).reshape(-1))) > 2


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"num_classes": 3, "topk": [3, 5]}, r"topk: expected numbers from 1 to 2 \(below num_classes\), got \[3, 5\]"),
        ({"num_classes": 1}, "num_classes: expected at least 2"),
        ({"dropout_ratio": 1.5}, "dropout_ratio"),
        ({"spatial_pool_type": "sum"}, "spatial_pool_type"),
        ({"class_weights": [1.0]}, "class_weights: expected 7"),
    ],
)
def test_arguments_that_cannot_be_are_named_by_key_path(options, word):
    with pytest.raises(ConfigError, match=word):
        head(**options)


def test_mmaction2s_classifier_is_transposed():
    network = head()
    theirs = {"fc_cls.weight": np.arange(42.0, dtype="float32").reshape(7, 6), "fc_cls.bias": np.ones(7, "float32")}
    converted = network.convert(theirs, "mmaction2")
    assert converted["fc_cls.weight"].shape == tuple(network.fc_cls.weight.shape)
    np.testing.assert_array_equal(converted["fc_cls.weight"], theirs["fc_cls.weight"].T)


def test_acrn_is_the_convolution_of_actor_and_context_side_by_side():
    """The first convolution is computed in two parts; written out it is one on the joined maps."""
    paddle.seed(1)
    network = ACRNHead(in_channels=10, out_channels=8, num_convs=2)
    network.eval()
    rng = np.random.default_rng(0)
    regions, context = (
        paddle.to_tensor(rng.standard_normal(s).astype("float32")) for s in ([3, 4, 1, 2, 2], [2, 6, 1, 5, 7])
    )
    owner = paddle.to_tensor([1, 0, 1])
    got = network(regions, owner, context)
    actors = regions.amax([2, 3, 4], keepdim=True).expand([3, 4, 1, 5, 7])
    joined = paddle.concat([actors, paddle.gather(context, owner)], axis=1)
    expected = network.convs[0](network.conv2(network.conv1(joined)))
    assert got.shape == [3, 8, 1, 5, 7]
    np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-5)


def test_acrn_has_the_published_number_of_parameters():
    network = ACRNHead(in_channels=4608, out_channels=2304)
    counted = [p for name, p in network.state_dict().items() if not name.endswith(("_mean", "_variance"))]
    assert sum(p.size for p in counted) == 58_401_792
