"""Figures of spans: values by hand."""

import json

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.errors import UserError
from paddlevideo.metrics.spans import average_precision, edit_score, score_spans, segment_counts, segments_of
from paddlevideo.spans import Span, SpanTable, write_spans

ONE = {"a.mp4": {"duration_s": 10.0}}


def table(*spans, videos=None, source="file"):
    return SpanTable([Span(*span[:3], *span[3:4], video="a.mp4") for span in spans], videos or ONE, source=source)


TRUTH = table((0, 2, "run"), (2, 5, "walk"), (6, 9, "run"))


def test_what_is_right_has_one_in_all_figures():
    figures = score_spans(table((0, 2, "run", 0.5), (2, 5, "walk", 0.9), (6, 9, "run", 0.4)), TRUTH).figures
    maps = [f"mAP@{least}" for least in (0.3, 0.4, 0.5, 0.6, 0.7)]
    assert set(figures.values()) == {1.0}
    assert list(figures) == ["frame_accuracy", "edit", "f1@10", "f1@25", "f1@50", *maps, "mAP"]


def test_values_by_hand():
    predicted = table((0, 4, "run", 0.9), (4, 5, "walk", 0.8), (5, 6, "run", 0.7), (6.5, 10, "run", 0.6))
    figures = score_spans(predicted, TRUTH).figures
    # right: run 0-2, walk 4-5, run 6.5-9; nothing is where both have none
    assert figures["frame_accuracy"] == pytest.approx(0.55)
    # run walk run run against run walk run: one is to be deleted of four
    assert figures["edit"] == pytest.approx(0.75)
    # IoU: 2/4 run, 1/3 walk, 0 run, 2.5/4 run
    assert figures["f1@10"] == figures["f1@25"] == pytest.approx(6 / 7)
    assert figures["f1@50"] == pytest.approx(4 / 7)
    # run: hit (0.5), miss, hit (0.625) of 2; up to 0.5 AP = 1/2 * 1 + 1/2 * 2/3; walk: 1 of 1 at 0.3
    assert figures["mAP@0.3"] == pytest.approx((5 / 6 + 1) / 2)
    assert figures["mAP@0.4"] == figures["mAP@0.5"] == pytest.approx(5 / 12)
    # at 0.6: miss, miss, hit: 1/2 * 1/3
    assert figures["mAP@0.6"] == pytest.approx(1 / 12) and figures["mAP@0.7"] == 0
    assert figures["mAP"] == pytest.approx((11 / 12 + 5 / 6 + 1 / 12) / 5)


def test_the_background_class_is_time_without_a_span():
    truth = table((0, 5, "run"), (5, 10, "none"))
    figures = score_spans(table((0, 5, "run", 1.0)), truth, "none").figures
    assert set(figures.values()) == {1.0}
    assert score_spans(table((0, 5, "run", 1.0)), truth).figures["frame_accuracy"] == 0.5


@pytest.mark.parametrize("facts", [{"fps": 25.0}, {}])
def test_a_duration_that_one_file_states_counts(facts):
    spans, videos = [Span(0, 5, "run", 1.0, None, "a.mp4")], [{"a.mp4": {"duration_s": 100.0}}, {"a.mp4": facts}]
    truth = [Span(0, 10, "run", None, None, "a.mp4")]
    for stated, other in (videos, videos[::-1]):
        result = score_spans(SpanTable(spans, stated), SpanTable(truth, other))
        assert result.figures["frame_accuracy"] == pytest.approx(0.95) and result.notes == []


def test_edit_score():
    assert edit_score("abc", "abc") == 1 and edit_score("", "") == 1 and edit_score("a", "") == 0
    assert edit_score("kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert edit_score("ab", "ba") == 0  # two replacements of two


def test_a_segment_is_taken_once_and_only_the_best_is_tried():
    true = [(0, 10, "a"), (10, 12, "a")]
    assert segment_counts([(0, 5, "a"), (5, 10, "a")], true[:1], 0.5) == (1, 1, 0)  # both are half of it
    assert segment_counts([(0, 10, "a"), (1, 12, "a")], true, 0.1) == (1, 1, 1)  # its best one is taken already
    assert segment_counts([(0, 10, "b")], true, 0.1) == (0, 1, 2)
    assert segment_counts([(0, 5, "a")], true[:1], 0.5) == (1, 0, 0) and segment_counts([], [], 0.5) == (0, 0, 0)


def test_average_precision_takes_the_free_one_and_interpolates():
    key = ("a.mp4", "")
    true = {key: [Span(0, 10, "a"), Span(10, 20, "a")]}
    spans = [Span(0, 20, "a", 0.9), Span(0, 10, "a", 0.8), Span(30, 40, "a", 0.7), Span(10, 20, "a", 0.6)]
    # at 0.5 the first takes the first annotated span, the second finds only the other: false
    assert average_precision([(s, key) for s in spans], true, 0.5) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 4)
    # at 0.7: miss, hit, miss, hit; the highest precision of equal or higher recall is 1/2 at both
    assert average_precision([(s, key) for s in spans], true, 0.7) == pytest.approx(1 / 2)
    # miss, hit, hit: precision 1/2 at the first hit, but 2/3 at a higher recall
    assert average_precision([(s, key) for s in (spans[0], spans[1], spans[3])], true, 0.7) == pytest.approx(2 / 3)
    assert average_precision([], true, 0.5) == 0
    # equal scores: in the order given, not by chance
    equal = [Span(30, 40, "a", 0.5), Span(0, 10, "a", 0.5)]
    assert average_precision([(s, key) for s in equal], true, 0.5) == pytest.approx(1 / 4)


def test_one_label_per_moment():
    spans = [Span(0, 10, "a", 0.5), Span(2, 4, "b", 0.9), Span(3, 6, "c", 0.7), Span(10, 12, "a", 0.1)]
    expected = [(0, 2000, "a"), (2000, 4000, "b"), (4000, 6000, "c"), (6000, 12000, "a")]
    assert segments_of(spans) == segments_of(spans[::-1]) == expected
    rng = np.random.default_rng(0)
    for _ in range(50):
        spans = [
            Span(s, s + d, "ab"[i % 2], p) for i, (s, d, p) in enumerate(rng.uniform([0, 1, 0], [20, 9, 1], (9, 3)))
        ]
        found = segments_of(spans)
        for t in rng.uniform(0, 30, 40):
            there = [s for s in spans if s.start_s * 1000 <= t * 1000 < s.end_s * 1000]
            best = max(there, key=lambda s: s.score).label if there else None
            assert [s[2] for s in found if s[0] <= t * 1000 < s[1]] == ([best] if best else [])


def test_several_videos_and_persons():
    spans = [Span(0, 5, "a", 0.9, "1", "x"), Span(0, 5, "a", 0.8, "2", "x"), Span(5, 10, "b", 0.7, "1", "y")]
    videos = {name: {"duration_s": 10.0} for name in ("x", "y", "z")}
    truth = SpanTable([Span(s.start_s, s.end_s, s.label, None, s.person, s.video) for s in spans], videos)
    assert set(score_spans(SpanTable(spans, videos), truth).figures.values()) == {1.0}
    swapped = [Span(0, 5, "a", 0.9, "2", "x"), Span(2, 5, "a", 0.8, "1", "x"), spans[2]]
    result = score_spans(SpanTable(swapped), truth)
    assert result.figures["mAP@0.7"] == 0.75 and result.figures["mAP@0.6"] == 1
    renamed = score_spans(SpanTable([Span(0, 5, "a", 0.9, "7", "x"), *spans[1:]]), truth)
    assert "1 predicted persons are not annotated: x (person 7); persons are compared by their ids" in renamed.notes
    assert renamed.figures["mAP@0.3"] < 1
    with pytest.raises(UserError, match="has spans of persons"):
        score_spans(SpanTable([Span(0, 5, "a", 0.9, None, "x")]), truth)


def test_a_listed_video_is_no_person_that_is_right():
    """Of persons a listed video is no sequence of its own: nothing of it is right where every span is wrong."""
    videos = {"x": {"duration_s": 10.0}}
    truth = SpanTable([Span(0, 10, "run", None, "1", "x")], videos)
    figures = score_spans(SpanTable([Span(0, 5, "walk", 0.9, "1", "x")], videos), truth).figures
    assert figures["frame_accuracy"] == 0 and figures["edit"] == 0


def test_times_that_do_not_fit_are_noted():
    truth = SpanTable([Span(0, 5, "a", None, None, "x")], {"x": {"duration_s": 20.0}}, source="t.json")
    part = SpanTable([Span(0, 5, "a", 0.9, None, "x")], {"x": {"read_to_s": 12.0}}, source="p.json")
    text = "1 videos of p.json were read in part, x to 12 s; what is annotated after that counts as missed"
    assert score_spans(part, truth).notes == [text]
    frames = SpanTable([Span(0, 125, "a", 0.9, None, "x")], {"x": {"duration_s": 40.0}}, source="p.json")
    late, differ = score_spans(frames, truth).notes
    assert "1 spans of p.json are behind the end of their video; x: a span is from 0.000 to 125.000 s" in late
    assert differ.endswith("differ between the files; x lasts 40 and 20 s, the second counts")


@pytest.mark.parametrize(
    ("found", "annotated", "right"),
    [
        (["/data/v/a.mp4", "/data/v/b.mp4"], ["a.mp4", "b.mp4"], True),
        (["a.mp4"], ["v/a.mp4", "v/b.mp4"], True),
        (["/data/v/a.mp4", "/data/w/a.mp4"], ["v/a.mp4", "w/a.mp4"], True),
        (["/data/v/a.mp4"], ["a.mp4", "v/a.mp4"], True),  # the longer end; the other one has no prediction
        ([r"C:\data\a.mp4"], ["a.mp4", "b.mp4"], True),
        (["a.mp4", "w/a.mp4"], ["a.mp4", "b.mp4"], False),
        (["a.mp4"], ["v/a.mp4", "w/a.mp4"], False),
        (["w/a.mp4"], ["v/a.mp4", "v/b.mp4"], None),
    ],
)
def test_videos_are_found_by_the_end_of_their_path(found, annotated, right):
    spans = [Span(0, 5, "a", 0.9, None, name) for name in found]
    truth = SpanTable([Span(0, 5, "a", None, None, name) for name in annotated], source="truth")
    if right:
        result = score_spans(SpanTable(spans, source="found"), truth)
        assert result.classes["a"]["predicted"] == len(found) and "have another path" in result.notes[0]
        assert result.classes["a"]["AP@0.7"] == pytest.approx(len(found) / len(annotated))
    else:
        with pytest.raises(UserError, match="may be any of 2" if right is False else "not in truth"):
            score_spans(SpanTable(spans, source="found"), truth)


def test_what_is_left_out_is_noted():
    truth = table((0, 5, "a"), (4, 8, "b"), source="truth")
    result = score_spans(table((0, 5, "a"), (0, 5, "c"), source="found"), truth)
    assert not result.figures and result.classes["a"] == {"annotated": 1, "predicted": 1}
    assert [note.split(";")[0] for note in result.notes] == [
        "frame_accuracy, edit and f1 need one label per moment",
        "mAP needs scores",
        "1 predicted spans are of classes that are not annotated: c",
    ]
    with pytest.raises(UserError, match="no annotated span but of 'a'"):
        score_spans(truth, table((0, 1, "a")), "a")
    with pytest.raises(
        UserError, match="1 videos that are not in truth, the first is 'b.mp4'; expected names as 'a.mp4'"
    ):
        score_spans(SpanTable([Span(0, 1, "a", 0.5, None, "b.mp4")]), truth)


def test_the_command(tmp_path, capsys):
    found, truth, out = tmp_path / "found.srt", tmp_path / "truth.json", tmp_path / "figures.json"
    write_spans(found, SpanTable([Span(0, 2, "run"), Span(2, 5, "walk")]))
    write_spans(truth, TRUTH)
    assert main(["eval", str(found), str(truth), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "frame_accuracy: 0.7\n" in printed and "edit: 0.666667\n" in printed and "f1@50: 0.8\n" in printed
    assert "note: mAP needs scores; 2 predicted spans have none" in printed
    content = json.loads(out.read_text())
    assert content["figures"]["frame_accuracy"] == 0.7 and content["classes"]["run"] == {"annotated": 2, "predicted": 1}
    for words, text in [
        ([found], "expected two files"),
        ([found, truth, "--softmax"], "--softmax: is not for spans"),
        ([found, truth, "--background", "no"], "no span of either file has that label"),
        ([found, truth, "--out", "a.csv"], "expected a name ending in .json"),
        ([found, tmp_path / "no.json"], "no such file"),
    ]:
        assert main(["eval", *map(str, words)]) == 2
        assert text in capsys.readouterr().err
