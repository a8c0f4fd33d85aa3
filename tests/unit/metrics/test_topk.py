"""Accuracies: ties and NaN, and a metric that counts every sample once."""

import json
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.metrics.topk import (
    TopKMetric,
    average_precision,
    mean_class_accuracy,
    predictions,
    softmax,
    top_k_accuracy,
)
from paddlevideo.registry import METRICS

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "cases"
CASES = json.loads((GOLDEN / "accuracy.json").read_text())["cases"]


@pytest.fixture(scope="module")
def arrays():
    return np.load(GOLDEN / "accuracy.npz")


def test_k_beyond_the_classes_is_all_classes():
    assert top_k_accuracy(np.array([[0.9, 0.1]]), np.array([1]), (1, 5)) == [0.0, 1.0]


def test_equal_scores_are_right_by_chance_only():
    scores, labels = np.zeros((10, 10)), np.arange(10)
    assert top_k_accuracy(scores, labels, (1, 5)) == [0.1, 0.5]
    assert (predictions(scores) == 0).all()


def test_nan_scores_are_wrong():
    scores = np.array([[np.nan, 1.0], [np.nan, np.nan], [0.0, 1.0]])
    assert top_k_accuracy(scores, np.array([1, 0, 1]), (1, 5)) == [1 / 3, 1 / 3]
    assert mean_class_accuracy(scores, np.array([1, 0, 1])) == 0.25
    assert predictions(scores).tolist() == [-1, -1, 1]


def test_average_precision_by_hand():
    # ranked: hit, miss, hit, miss
    assert average_precision([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # all equal: one threshold, precision 1 / 2
    assert average_precision([0.5, 0.5], [1, 0]) == pytest.approx(0.5)
    assert average_precision([np.nan, 0.1], [1, 0]) == pytest.approx(0.5)
    assert np.isnan(average_precision([0.5], [0]))


def test_average_precision_equals_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 20, 200) / 20, rng.integers(0, 2, 200)
    assert average_precision(scores, positive) == pytest.approx(sklearn.average_precision_score(positive, scores))


def test_labels_out_of_range_are_no_class():
    with pytest.raises(ValueError, match="labels from 0 to 1"):
        top_k_accuracy(np.zeros((1, 2)), np.array([2]))
    with pytest.raises(ValueError, match="labels from 0 to 1"):
        mean_class_accuracy(np.zeros((1, 2)), np.array([-1]))


def test_softmax():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0]])), [[0.5, 0.5]])


def filled(index, scores, labels, **more):
    metric = TopKMetric()
    metric.update(np.array(index), {"scores": np.array(scores, dtype="float32")}, {"label": np.array(labels), **more})
    return metric


def test_paddlevideos_names_are_registered():
    for name in ("CenterCropMetric", "MultiCropMetric", "TopKMetric"):
        metric = METRICS.build({"name": name, "topk": [1, 2]}, "METRIC")
        assert type(metric) is TopKMetric and metric.topk == (1, 2)


def test_figures_of_the_metric(arrays):
    scores, labels = arrays["2/scores"], arrays["2/labels"]
    metric = TopKMetric()
    for start in range(0, 1000, 128):  # a short last batch
        part = slice(start, start + 128)
        metric.update(np.arange(1000)[part], {"scores": scores[part]}, {"label": labels[part]})
    figures = metric.compute()
    assert list(figures) == ["top1", "top5", "mean_class_accuracy", "num_samples", "num_unreadable"]
    assert figures["top1"] == pytest.approx(0.255) and figures["top5"] == pytest.approx(0.677)
    assert figures["num_samples"] == 1000 and figures["num_unreadable"] == 0
    assert (metric.primary, metric.primary_label) == ("top1", "top1 acc")


def test_a_sample_seen_twice_counts_once():
    figures = filled([3, 5, 3], [[1, 0], [1, 0], [0, 1]], [0, 1, 0]).compute()
    assert figures["top1"] == 0.5 and figures["num_samples"] == 2


def test_ranks_together_equal_one_process(arrays):
    scores, labels = arrays["0/scores"], arrays["0/labels"]
    whole = filled(np.arange(50), scores, labels)
    parts = [filled(np.arange(50)[r::3], scores[r::3], labels[r::3]) for r in range(3)]
    states = [part.state() for part in parts] + [TopKMetric().state()]
    states[1] = {key: np.concatenate([value, parts[0].state()[key][:4]]) for key, value in states[1].items()}
    parts[2].merge(states)
    assert parts[2].compute() == whole.compute()
    np.testing.assert_equal(parts[2].state(), whole.state())


def test_unreadable_samples_are_wrong_and_reported():
    metric = filled([0, 1, 2], [[1, 0], [1, 0], [0, 1]], [0, 0, 1], valid=np.array([1, 0, 1], dtype="uint8"))
    merged = TopKMetric()
    merged.merge([metric.state()])
    for m in (metric, merged):
        figures = m.compute()
        assert figures["top1"] == pytest.approx(2 / 3) and figures["top5"] == pytest.approx(2 / 3)
        assert figures["mean_class_accuracy"] == 0.75
        assert figures["num_samples"] == 3 and figures["num_unreadable"] == 1


def test_results_are_sorted_by_index():
    rows = filled([7, 2], [[0.25, 0.75], [1, 0]], [1, 0]).results()
    assert [(i, label, scores.tolist()) for i, label, scores in rows] == [(2, 0, [1, 0]), (7, 1, [0.25, 0.75])]


def test_multi_hot_labels_give_average_precisions(arrays):
    metric = filled(np.arange(50), arrays["0/scores"], arrays["0/multi_hot"].astype("float32"))
    figures = metric.compute()
    assert (metric.primary, metric.primary_label) == ("mAP", "mAP")
    assert figures["mAP"] == pytest.approx(CASES[0]["mean_average_precision"])
    assert figures["mmit_mAP"] == pytest.approx(CASES[0]["mmit_mean_average_precision"])
    merged = TopKMetric()
    merged.merge([metric.state()])
    assert merged.compute() == figures


def test_misuse_is_named():
    with pytest.raises(UserError, match="sample 4 has label 2, the network has classes 0 to 1"):
        filled([4], [[1, 0]], [2])
    with pytest.raises(UserError, match="no labels"):
        TopKMetric().update(np.array([0]), {"scores": np.zeros((1, 2))}, {})
    with pytest.raises(UserError, match="no sample was evaluated"):
        TopKMetric().compute()
    with pytest.raises(ValueError, match="topk"):
        TopKMetric(topk=[0])
