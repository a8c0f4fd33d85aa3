"""The model of the other tests: it finds most spans of videos that it was not trained on, and not the new class."""

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from demo.run_studio import CLASSES, NEW_CLASS, SETTINGS, run_command
from paddlevideo.metrics.spans import span_iou
from paddlevideo.spans import read_spans

WORDS = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo model")]


def found_in(model, video, out):
    run_command("timeline", "--model_file", model, "-i", video, "--out", out, "-b", 8, *WORDS)
    return read_spans(out).spans


def f1(truth, found):
    """F1 of spans at an IoU of 0.5."""
    hits = sum(
        any(s.label == t.label and span_iou((s.start_s, s.end_s), (t.start_s, t.end_s)) >= 0.5 for s in found)
        for t in truth
    )
    return 2 * hits / (len(truth) + len(found))


def test_it_finds_most_spans_of_further_videos(demo_model, demo_videos, tmp_path):
    for video, truth in demo_videos:
        assert len(truth) == 5 and 30 < truth[-1].end_s < 60
        assert f1(truth, found_in(demo_model, video, tmp_path / "out.json")) >= 0.6


def test_a_new_class_is_in_the_videos_and_never_found(demo_model, new_class_videos, tmp_path):
    assert len(new_class_videos) >= 4
    assert all({span.label for span in truth} == {*CLASSES, NEW_CLASS} for _, truth in new_class_videos)
    video = new_class_videos[0][0]
    assert {span.label for span in found_in(demo_model, video, tmp_path / "out.json")} <= {*CLASSES}
