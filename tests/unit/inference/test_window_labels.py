"""Which windows of an annotated video are samples of what."""

import numpy as np

from paddlevideo.inference.window_labels import label_windows, time_without
from paddlevideo.spans import Span

CLASSES = ["run", "walk", "idle"]
WINDOWS = np.stack([np.arange(0, 9, 0.5), np.arange(0, 9, 0.5) + 2], 1)  # of 2 s every 0.5 s, centres at 1.0 to 9.5


def single(spans, ignored=(), background=None):
    labels = label_windows(WINDOWS, spans, ignored, CLASSES)
    return dict(zip(WINDOWS.mean(1).tolist(), labels.single(background).tolist()))


def test_windows_across_a_boundary_are_left_out():
    found = single([Span(0, 5, "run"), Span(5, 11, "walk")])
    assert [found[centre] for centre in (1.0, 4.0)] == [0, 0]
    assert [found[centre] for centre in (4.5, 5.0, 5.5)] == [0, -1, 1]  # three quarters, half
    assert single([Span(0, 4.9, "run"), Span(4.9, 11, "walk")])[4.5] == -1
    assert [found[centre] for centre in (6.0, 9.5)] == [1, 1]


def test_unmarked_windows_are_the_background_or_nothing():
    spans = [Span(4, 6, "walk")]
    assert {centre for centre, k in single(spans, background=2).items() if k == 2} == {
        1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5,
    }  # fmt: skip
    assert set(single(spans).values()) == {-1, 1}


def test_a_span_that_is_shorter_than_the_hop_has_the_nearest_window():
    labels = label_windows(WINDOWS, [Span(4.1, 4.3, "walk"), Span(30, 31, "run")], (), CLASSES)
    assert WINDOWS.mean(1)[labels.shares[:, 1]].tolist() == [4.0] and labels.num_lost == 1


def test_ignored_time_is_used_for_nothing_but_what_is_annotated():
    spans, ignored = [Span(0, 4, "run")], [Span(3, 7, "walk", 0.5)]
    assert time_without(ignored, spans) == [(4, 7)]
    found = single(spans, ignored, background=2)
    assert {centre for centre, k in found.items() if k == 0} == {1.0, 1.5, 2.0, 2.5, 3.0, 3.5}
    assert {centre for centre, k in found.items() if k == 2} == {8.0, 8.5, 9.0, 9.5}


def test_several_labels_hold_at_once_and_boundaries_are_unknown():
    targets, counts = label_windows(WINDOWS, [Span(0, 5, "run"), Span(3, 11, "walk")], (), CLASSES).several(None)
    centres = WINDOWS.mean(1).tolist()
    row = {centre: (targets[k].tolist(), counts[k].tolist()) for k, centre in enumerate(centres)}
    assert row[1.0] == ([1, 0, 0], [1, 1, 1])
    assert row[4.0] == ([1, 1, 0], [1, 1, 1])
    assert row[5.0] == ([0, 1, 0], [0, 1, 1])  # half of it runs


SECONDS = np.array([(start, start + 2.0) for start in range(9)])  # of 2 s, one a second
SPANS = [Span(2.0, 5.0, "run")]


def labels(ignored):
    return label_windows(SECONDS, SPANS, ignored, ["walk", "run", "none"])


def test_windows_in_a_span_are_its_class_and_others_are_unmarked():
    assert [*labels([]).single(2)] == [2, -1, 1, 1, -1, 2, 2, 2, 2]
    assert [*labels([]).single(None)] == [-1, -1, 1, 1, -1, -1, -1, -1, -1]


def test_ignored_time_is_no_background_and_leaves_annotated_time_alone():
    whole = labels([Span(0.0, 10.0, "walk")])
    assert [*whole.single(2)] == [-1, -1, 1, 1, -1, -1, -1, -1, -1]
    short = label_windows(SECONDS, [Span(3.5, 5.0, "run")], [Span(0.0, 10.0, "walk")], ["walk", "run", "none"])
    assert [*short.single(2)] == [-1, -1, -1, 1, -1, -1, -1, -1, -1]  # [3, 5], partly ignored


def test_of_several_labels_ignored_time_counts_for_what_is_annotated_alone():
    targets, counts = labels([Span(0.0, 10.0, "walk")]).several(None)
    assert [*targets[:, 1]] == [0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert counts[0].sum() == 0 and counts[6].sum() == 0
    assert [*counts[2]] == [1, 1, 1]  # it lies in annotated time, in which there is no other class
