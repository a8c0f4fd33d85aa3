"""The picture of a timeline: bars, curves and axis at the right places."""

import numpy as np

from paddlevideo.drawing import Bar, colour_of, lanes
from paddlevideo.reporting.timeline_picture import timeline_picture
from paddlevideo.spans import Span, SpanTable

CLASSES = ("rest", "run", "walk")
TRUTH = SpanTable([Span(0, 10, "run"), Span(10, 20, "walk")], {"a.mp4": {"duration_s": 20.0}}, CLASSES)
FOUND = SpanTable([Span(0, 10.5, "run", 0.9), Span(11, 20, "walk", 0.8)], {}, CLASSES)
LEFT, WIDTH = 70, 1110  # of the bars


def at(picture, second, y, length_s=20):
    return tuple(picture[y, LEFT + int(second / length_s * WIDTH)].tolist())


def test_a_bar_per_row_in_the_colours_of_the_classes():
    picture = timeline_picture({"truth": TRUTH, "found": FOUND})
    run, walk = colour_of(0), colour_of(1)
    assert [at(picture, s, 30) for s in (5, 9.9, 10.1, 19)] == [run, run, walk, walk]
    assert [at(picture, s, 75) for s in (5, 10.4, 11.1, 19)] == [run, run, walk, walk]
    assert at(picture, 10.75, 75) == (225, 225, 225)  # nothing was found
    assert picture.shape[1] == 1200 and picture.dtype == np.uint8


def test_curves_are_drawn_over_the_centres_of_the_windows():
    windows = [(float(k), float(k + 2)) for k in range(19)]
    scores = [np.array([0.1, 0.75, 0.15] if k < 9 else [0.1, 0.15, 0.75]) for k in range(19)]
    plain = timeline_picture({"found": FOUND})
    picture = timeline_picture({"found": FOUND}, windows, scores, (0.6, 0.4))
    assert picture.shape[0] == plain.shape[0] + 212
    curves = picture[58 : 58 + 200]
    level = 58 + round(0.25 * 199)

    def near(second, colour):
        column = picture[level - 2 : level + 3, LEFT + int(second / 20 * WIDTH)].astype(int)
        return np.abs(column - colour).max(axis=1).min()

    assert near(5, colour_of(0)) < 60 and near(15, colour_of(1)) < 60 and near(5, colour_of(1)) > 60
    assert near(8.7, colour_of(0)) < 60 and near(10.3, colour_of(1)) < 60  # centres 9 and 10, where the label changes
    assert (curves == 255).mean() > 0.9


def test_spans_that_overlap_share_the_height_of_the_bar():
    assert [len(row) for row in lanes([Bar(0, 0.5, 0), Bar(0.5, 1, 1), Bar(0.2, 0.6, 2)])] == [2, 1]
    assert lanes([]) == [[]]
    both = SpanTable([Span(0, 20, "run", 0.9), Span(5, 15, "walk", 0.8)], {}, CLASSES)
    picture = timeline_picture({"found": both})
    assert [at(picture, 10, y) for y in (20, 40)] == [colour_of(0), colour_of(1)]
    assert at(picture, 1, 40) == (225, 225, 225)
