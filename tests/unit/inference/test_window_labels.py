"""Which windows of an annotated video are samples of what."""

import numpy as np

from paddlevideo.inference.window_labels import label_windows
from paddlevideo.spans import Span

WINDOWS = np.array([(start, start + 2.0) for start in range(9)])  # of 2 s, one a second
SPANS = [Span(2.0, 5.0, "run")]


def labels(ignored):
    return label_windows(WINDOWS, SPANS, ignored, ["walk", "run", "none"])


def test_windows_in_a_span_are_its_class_and_others_are_unmarked():
    assert [*labels([]).single(2)] == [2, -1, 1, 1, -1, 2, 2, 2, 2]
    assert [*labels([]).single(None)] == [-1, -1, 1, 1, -1, -1, -1, -1, -1]


def test_ignored_time_is_no_background_and_leaves_annotated_time_alone():
    whole = labels([Span(0.0, 10.0, "walk")])
    assert [*whole.single(2)] == [-1, -1, 1, 1, -1, -1, -1, -1, -1]
    short = label_windows(WINDOWS, [Span(3.5, 5.0, "run")], [Span(0.0, 10.0, "walk")], ["walk", "run", "none"])
    assert [*short.single(2)] == [
        -1,
        -1,
        -1,
        1,
        -1,
        -1,
        -1,
        -1,
        -1,
    ]  # [3, 5], partly ignored


def test_of_several_labels_ignored_time_counts_for_what_is_annotated_alone():
    targets, counts = labels([Span(0.0, 10.0, "walk")]).several(None)
    assert [*targets[:, 1]] == [0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert counts[0].sum() == 0 and counts[6].sum() == 0
    assert [*counts[2]] == [1, 1, 1]  # it lies in annotated time, in which there is no other class
