"""F1 of several labels at thresholds, and the thresholds that are best on a split."""

import numpy as np
import pytest

from paddlevideo.metrics.several_labels import best_thresholds, class_rows, f1_scores, found_classes
from paddlevideo.metrics.topk import TopKMetric

SCORES = np.array([[0.9, 0.2, 0.1], [0.6, 0.35, 0.2], [0.4, 0.3, 0.3], [0.1, 0.1, 0.4]], "float32")
HOT = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]], "float32")


@pytest.mark.parametrize("topk", [3, (1, 2)])
@pytest.mark.parametrize("several", [True, False])
def test_the_figures_that_a_monitor_may_name_are_those_that_are_computed(topk, several):
    metric = TopKMetric(topk)
    metric.update(np.arange(4), {"scores": SCORES}, {"label": HOT if several else np.array([0, 1, 2, 0])})
    computed = [name for name in metric.compute() if not name.startswith("num_")]
    assert list(metric.figure_names(several)) == computed and set(computed) < set(metric.figure_names(None))


def test_figures_by_hand():
    rows = class_rows(SCORES, HOT, 0.5)
    assert [(r["num_truth"], r["num_predicted"], r["num_right"]) for r in rows] == [(3, 2, 2), (2, 0, 0), (0, 0, 0)]
    assert rows[0]["precision"] == 1 and rows[0]["recall"] == pytest.approx(2 / 3)
    assert rows[1]["precision"] is None and rows[1]["f1"] == 0 and rows[2]["f1"] is None
    figures = f1_scores(rows)
    assert figures["f1_micro"] == pytest.approx(4 / 7) and figures["f1_macro"] == pytest.approx(0.8 / 2)


def test_the_best_threshold_parts_what_has_the_class_from_what_has_not():
    found = best_thresholds(SCORES, HOT)
    assert found[0] == pytest.approx((0.4 + 0.1) / 2) and found[1] == pytest.approx((0.3 + 0.2) / 2) and found[2] == 0.5
    assert f1_scores(class_rows(SCORES, HOT, found)) == {"f1_micro": 1.0, "f1_macro": 1.0}


def test_no_other_threshold_is_better():
    rng = np.random.default_rng(0)
    scores = np.round(rng.random((60, 1)), 1).astype("float32")  # many are equal
    hot = rng.random((60, 1)) < scores
    best = class_rows(scores, hot, best_thresholds(scores, hot))[0]["f1"]
    assert best == pytest.approx(max(class_rows(scores, hot, t / 100)[0]["f1"] or 0 for t in range(101)))


def test_a_sample_without_scores_has_no_class():
    scores = SCORES.copy()
    scores[0, 1] = np.nan
    assert not found_classes(scores, 0.0)[0].any() and found_classes(scores, 0.0)[1:].all()
    assert best_thresholds(scores, HOT)[0] == pytest.approx((0.4 + 0.1) / 2)


def test_the_metric_finds_them_in_validation_and_takes_those_of_the_weights_in_a_test(caplog):
    def metric(**arguments):
        made = TopKMetric(**arguments)
        made.update(np.arange(4), {"scores": SCORES}, {"label": HOT})
        return made

    own = metric(threshold="best_f1")
    assert own.compute()["f1_macro"] == 1 and own.finds_thresholds and len(own.thresholds) == 3
    assert [row["num_truth"] for row in own.per_class()] == [3, 2, 0]
    given = metric(threshold="best_f1")
    given.use_thresholds([0.5, 0.32, 0.5])
    assert given.compute()["f1_micro"] == pytest.approx(2 * 3 / 8) and not given.finds_thresholds
    fixed = metric(threshold=0.3)
    fixed.use_thresholds([0.9] * 3)
    fixed.compute()
    assert fixed.thresholds == [0.3] * 3 and not fixed.finds_thresholds
    lacking = metric(threshold="best_f1")
    lacking.use_thresholds(None)
    lacking.compute()
    assert lacking.thresholds == [0.5] * 3 and "carry no thresholds" in caplog.text


def test_one_label_has_recall_and_precision_per_class():
    metric = TopKMetric()
    metric.update(np.arange(4), {"scores": np.eye(3)[[0, 0, 1, 1]]}, {"label": np.array([0, 1, 1, 2])})
    metric.compute()
    rows = [(r["num_truth"], r["num_predicted"], r["num_right"], r["recall"]) for r in metric.per_class()]
    assert rows == [(1, 2, 1, 1.0), (2, 2, 1, 0.5), (1, 0, 0, 0.0)] and metric.thresholds is None
