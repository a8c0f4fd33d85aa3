import numpy as np
import pytest

from paddlevideo.inference.linear_head import Fitting, LinearHead, Samples, fit, rehearsal

C = 6


def clouds(classes, count=40, seed=0, spread=0.6):
    """Samples around the corners of a cube, a corner per class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(classes, count)
    corners = np.random.default_rng(9).choice([-1.0, 1.0], (8, C))
    features = (corners[labels] + rng.normal(0, spread, (len(labels), C)) * [1, 1, 1, 1, 1, 0] + 5).astype(np.float32)
    return features, labels


def samples_of(features, labels, num_classes):
    targets = np.eye(num_classes, dtype=np.float32)[labels]
    return Samples(features, targets, np.ones_like(targets))


def none(count):
    return LinearHead(np.zeros((C, count), np.float32), np.zeros(count, np.float32))


def test_the_slope_of_the_loss_is_its_slope():
    features, labels = clouds([0, 2])
    rng = np.random.default_rng(1)
    prior = LinearHead(rng.normal(size=(C, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32))
    for multi_label in (False, True):
        fitting = Fitting(samples_of(features, labels, 4), prior, multi_label)
        logits = rng.normal(size=(len(features), 2))
        value, slope = fitting._loss(logits)
        step = rng.normal(size=logits.shape) * 1e-6
        assert fitting._loss(logits + step)[0] - value == pytest.approx(float((slope * step).sum()), rel=1e-3)


def test_classes_are_learned_and_a_class_without_samples_keeps_its_row():
    features, labels = clouds([0, 1, 3])
    rng = np.random.default_rng(1)
    prior = LinearHead(rng.normal(0, 0.1, (C, 4)).astype(np.float32), np.zeros(4, np.float32))
    head = fit(samples_of(features, labels, 4), prior, 0.01, False)
    assert (head.logits(features).argmax(1) == labels).mean() > 0.95
    assert np.array_equal(head.weight[:, 2], prior.weight[:, 2]) and head.bias[2] == prior.bias[2]
    scores = head.scores(features, False)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    again = fit(samples_of(features, labels, 4), prior, 0.01, False)
    assert np.array_equal(again.weight, head.weight)


def test_the_pull_decides_how_far_the_head_moves():
    samples = samples_of(*clouds([0, 1]), 2)
    far, near, nowhere = (fit(samples, none(2), strength, False) for strength in (1e-3, 1.0, 1e6))
    assert np.abs(far.weight).sum() > 3 * np.abs(near.weight).sum() > 0
    assert np.abs(nowhere.weight).max() < 1e-4


def test_rare_classes_weigh_as_much_as_frequent_ones():
    features, labels = clouds([0, 1], count=100, spread=2.0)
    few = (labels == 0) | (np.arange(len(labels)) % 10 == 0)
    samples = samples_of(features[few], labels[few], 2)
    scores = fit(samples, none(2), 0.01, False).scores(features, False).argmax(1)
    recalls = [(scores[labels == k] == k).mean() for k in (0, 1)]
    assert min(recalls) > 0.6


def test_several_labels_are_learned_each_by_itself():
    features, labels = clouds([0, 1, 2])
    targets = np.eye(4, dtype=np.float32)[labels]
    targets[labels == 2, 0] = 1  # the third kind has two labels
    counts = np.ones_like(targets)
    counts[labels == 0, 1] = 0  # of which it is unknown whether they show the second one
    prior = LinearHead(np.ones((C, 4), np.float32), np.zeros(4, np.float32))
    head = fit(Samples(features, targets, counts), prior, 0.001, True)
    found = head.scores(features, True) > 0.5
    assert ((found[:, :3] == targets[:, :3]) | (counts[:, :3] == 0)).mean() > 0.97
    assert np.array_equal(head.weight[:, 3], prior.weight[:, 3])


def test_more_classes_leave_the_scores_as_they_are():
    rng = np.random.default_rng(0)
    head = LinearHead(rng.normal(size=(C, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    features = rng.normal(size=(5, C)).astype(np.float32)
    wider = head.with_classes(5, False).logits(features)
    ratio = np.exp(wider[:, :3]) / np.exp(wider[:, :3]).sum(1, keepdims=True)
    np.testing.assert_allclose(ratio, head.scores(features, False), atol=1e-5)
    assert np.abs(wider[:, 3:]).max() == 0
    assert np.array_equal(head.with_classes(5, True).logits(features)[:, :3], head.logits(features))


def test_what_the_earlier_head_is_sure_of_keeps_a_class_without_samples():
    known = fit(samples_of(*clouds([0, 1]), 2), none(2), 0.01, False)
    features, labels = clouds([1, 2], seed=2)
    prior, samples = known.with_classes(3, False), samples_of(features, labels, 3)
    free = clouds([0, 1, 2], seed=3)
    (repeated,) = rehearsal(samples, prior, 2, [free[0]])
    sure = repeated >= 0
    assert (repeated[sure] == free[1][sure]).mean() > 0.95 and sure[free[1] == 0].mean() > 0.5
    more = samples_of(free[0][sure], repeated[sure], 3)
    both = [np.concatenate(pair) for pair in zip(list(vars(samples).values())[:3], list(vars(more).values())[:3])]
    rehearsed = np.arange(len(both[0])) >= len(features)
    features, labels = clouds([0], seed=4)
    share = [(head.logits(features).argmax(1) == 0).mean() for head in (
        fit(samples, prior, 0.0001, False), fit(Samples(*both, rehearsed), prior, 0.0001, False))]  # fmt: skip
    assert share[0] < 0.9 < share[1]


def test_a_rehearsed_class_weighs_a_quarter_where_a_person_has_annotated_it():
    targets = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]
    samples = Samples(np.zeros((4, C)), targets, np.ones_like(targets), np.array([0, 1, 1, 1], bool))
    weights = samples.weights(False)[:, 0] * 2.25
    assert weights == pytest.approx([1, 0.125, 0.125, 1])
