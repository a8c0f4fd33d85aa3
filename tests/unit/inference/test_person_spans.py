"""``VideoActions.spans``: what each person does over time; and the table of persons beside it."""

import csv
import os
from dataclasses import replace

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference.key_frames import KeyMoment
from paddlevideo.inference.person_actions import DetectionSettings, KeyFrame, Person, VideoActions
from paddlevideo.inference.timeline import PersonTimelines, TimelineSettings
from paddlevideo.inference.tracking import tracks_of
from paddlevideo.inference.video_output import spans_of_videos, write_json, write_people
from paddlevideo.preparation.span_files import import_options, merged, read_any, write_any
from paddlevideo.safe_io import read_json
from paddlevideo.spans import Span, SpanTable, write_spans

SETTINGS = DetectionSettings([0, 3, 7], ["(reserved)", "walk", "wave"])
FPS, SECONDS = 10, 12
BOXES = {3: [0.1, 0.2, 0.3, 0.8], 8: [0.6, 0.25, 0.75, 1.0]}


def video(scores, path="clips/a.mp4", settings=SETTINGS):
    """Key frames once a second.  ``scores``: {person: {second: (walk, wave)}}."""
    frames = []
    for second in range(SECONDS):
        persons = [
            Person(i, np.zeros(4), np.array(BOXES[i], np.float32), 0.9, np.array([0.99, *own[second]], np.float32))
            for i, own in scores.items()
            if second in own
        ]
        frames.append(KeyFrame(KeyMoment(second * FPS, float(second), 900.0 + second), persons))
    times = np.arange(SECONDS * FPS) / FPS
    detected = np.array([frame.time_s for frame in frames])
    ids = [np.array([p.track_id for p in frame.persons], int) for frame in frames]
    boxes = [np.array([p.box_norm for p in frame.persons]).reshape(-1, 4) for frame in frames]
    tracks = tracks_of(boxes, detected, ids)
    return VideoActions(path, "a", (360, 640), times, frames, settings, tracks, detected)


def rows(spans):
    return [(span.person, span.label, span.start_s, span.end_s) for span in spans]


# 3 walks in seconds 0 to 5 and waves in 4 to 7; 8 comes at second 2, waves, and walks from 6 on
TWO = {
    3: {t: (0.9 if t <= 5 else 0.1, 0.8 if 4 <= t <= 7 else 0.0) for t in range(10)},
    8: {t: (0.2 if t < 6 else 0.7, 0.75 if t < 6 else 0.2) for t in range(2, SECONDS)},
}


def test_two_persons_with_actions_that_overlap_and_change():
    table = video(TWO).spans()
    assert rows(table.spans) == [
        ("3", "walk", 0, 5.5),
        ("8", "wave", 1.5, 5.5),
        ("3", "wave", 3.5, 7.5),
        ("8", "walk", 5.5, 11.5),
    ]
    assert [span.score for span in table.spans] == pytest.approx([0.9, 0.75, 0.8, 0.7], abs=1e-6)
    assert {span.video for span in table.spans} == {"clips/a.mp4"} and table.classes == ("walk", "wave")
    assert table.videos == {"clips/a.mp4": {"duration_s": 12.0, "fps": 10.0, "width": 640, "height": 360}}
    assert (table.settings["hop_s"], table.settings["on"], table.settings["exclusive"]) == (1.0, 0.6, False)


def test_the_rule_is_in_seconds_of_the_models_clip():
    settings = replace(video(TWO), clip_s=4.0).spans(gap_s=0.5).settings
    assert (settings["window_s"], settings["hop_s"], settings["smooth_s"], settings["min_s"]) == (4, 1, 2, 2)
    assert settings["gap_s"] == 0.5


def test_a_score_between_off_and_on_holds_a_span_and_begins_none():
    result = video({3: {t: (0.7 if t == 2 else 0.5, 0.5) for t in range(6)}})
    assert rows(result.spans().spans) == [("3", "walk", 1.5, 5.5)]
    assert rows(result.spans(on=0.5, off=0.5).spans) == [("3", "walk", 0, 5.5), ("3", "wave", 0, 5.5)]
    assert rows(result.spans(off=0.6).spans) == [("3", "walk", 1.5, 2.5)]


@pytest.mark.parametrize("clip_s", [None, 4.0])
def test_a_person_who_leaves_and_comes_back_continues_within_the_gap(clip_s):
    result = replace(video({3: dict.fromkeys((0, 1, 2, 6, 7), (0.9, 0.0))}), clip_s=clip_s)
    assert rows(result.spans(gap_s=3).spans) == [("3", "walk", 0, 7.5)]
    assert rows(result.spans(gap_s=2.9).spans) == [("3", "walk", 0, 2.5), ("3", "walk", 5.5, 7.5)]
    other = {
        3: dict.fromkeys((0, 1, 2), (0.9, 0.0)),
        8: dict.fromkeys((6, 7), (0.9, 0.0)),
    }  # another id continues nothing
    assert [span.person for span in video(other).spans(gap_s=9).spans] == ["3", "8"]


def test_classes_of_a_softmax_exclude_one_another():
    of_one = video({3: {t: (0.8 if t < 4 else 0.15, 0.1 if t < 4 else 0.75) for t in range(8)}})
    both = video({3: dict.fromkeys(range(8), (0.5, 0.45))})
    softmax = replace(SETTINGS, multi_label=False)
    assert rows(replace(of_one, settings=softmax).spans().spans) == [("3", "walk", 0, 3.5), ("3", "wave", 3.5, 7.5)]
    assert rows(replace(both, settings=softmax).spans(on=0.4).spans) == [("3", "walk", 0, 7.5)]
    assert len(both.spans(on=0.4).spans) == 2


def test_key_frame_by_key_frame_is_all_at_once_whatever_the_order_of_persons():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = {i: {t: rng.random(2) for t in range(SECONDS) if rng.random() < 0.8} for i in BOXES}
        rule = {"smooth_s": float(rng.choice([0, 3])), "gap_s": float(rng.choice([0, 2])), "min_s": 0.0}
        result = video(scores)
        table = result.spans(**rule)
        mirrored = replace(
            result, key_frames=[replace(frame, persons=frame.persons[::-1]) for frame in result.key_frames]
        )
        assert mirrored.spans(**rule).spans == table.spans
        timelines, given = PersonTimelines(TimelineSettings(**table.settings), SETTINGS.names[1:], result.path, 12), []
        for frame in result.key_frames:
            complete = timelines.push(frame.time_s, {str(p.track_id): p.scores[1:] for p in frame.persons})
            assert all(span.end_s <= frame.time_s + 0.5 for span in complete)
            given += complete
        assert SpanTable(given + timelines.finish()).spans == table.spans


def test_key_frames_that_share_a_frame_count_once():
    result = video({3: dict.fromkeys(range(SECONDS), (0.9, 0.0))})
    double = replace(result, key_frames=[*result.key_frames[:4], *result.key_frames[3:]])
    assert double.spans().spans == result.spans().spans


def test_a_rule_that_cannot_be_is_refused():
    for rule, message in (({"off": 0.9}, "off: expected at most on"), ({"background": "sit"}, "'sit' is not among")):
        with pytest.raises(UserError, match=message):
            video({}).spans(**rule)


def test_no_person_no_span():
    assert video({}).spans().spans == () and replace(video({}), key_frames=[]).spans().spans == ()


@pytest.mark.parametrize(("form", "name"), [("label_studio", "a.json"), ("cvat", "a.xml")])
def test_a_person_corrects_the_spans_in_an_annotation_tool(form, name, tmp_path):
    """Spans and boxes as ``detect`` writes them, to the tool's file and back: ids, actions and boxes are kept."""
    result = video(TWO)
    table = spans_of_videos([result])
    write_spans(tmp_path / "spans.json", table)
    write_people(tmp_path / "people.csv", [result], table)
    content = merged([read_any(tmp_path / file, options=import_options(None, None))
                      for file in ("spans.json", "people.csv")])  # fmt: skip
    lost = write_any(tmp_path / name, content, form)
    idle = f"{tmp_path / name}: 2 boxes of persons who do nothing then are left out; cvat holds them"
    assert lost == [f"{tmp_path / name}: {form} holds no scores", *([idle] if form == "label_studio" else [])]
    found = read_any(tmp_path / name, options=import_options(FPS, None))
    assert found.table.spans == tuple(replace(span, score=None, video=found.table.spans[0].video)
                                      for span in table.spans)  # fmt: skip
    for box in found.people:
        sides = np.array([640, 360] * 2) if box.in_pixels else 1.0
        np.testing.assert_allclose(np.array(box.box) / sides, BOXES[int(box.person)], atol=1e-3)


def test_the_table_of_persons_has_the_actions_of_each_moment(tmp_path):
    results = [video(TWO), video({3: {1: (0.9, 0.0)}}, "b.mp4")]
    write_people(tmp_path / "people.csv", results, spans_of_videos(results))
    lines = (tmp_path / "people.csv").read_text().splitlines()
    assert lines[0] == "video,time_s,x1,y1,x2,y2,actions,person" and len(lines) == 1 + 10 + 10 + 1
    assert "clips/a.mp4,5.000,0.10000,0.20000,0.30000,0.80000,walk;wave,3" in lines
    assert "clips/a.mp4,5.000,0.60000,0.25000,0.75000,1.00000,wave,8" in lines
    assert "clips/a.mp4,8.000,0.10000,0.20000,0.30000,0.80000,,3" in lines
    assert lines[-1].startswith("b.mp4,1.000,") and lines[-1].endswith(",walk,3")


@pytest.mark.parametrize("name", [" lead.mp4", "Screen\u202fPM.mp4", os.fsdecode(b"caf\xe9.mp4")])
def test_all_files_name_the_video_as_it_was_given(name, tmp_path):
    result = video(TWO, name)
    table = spans_of_videos([result])
    assert {span.video for span in table.spans} == {name} == set(table.videos)
    write_people(tmp_path / "p.csv", [result], table)
    with open(tmp_path / "p.csv", encoding="utf-8", errors="surrogateescape") as file:
        assert {row["video"] for row in csv.DictReader(file)} == {name}
    write_json(tmp_path / "k.json", [result], 0.5)
    assert {frame["video"] for frame in read_json(tmp_path / "k.json")} == {name}


def test_spans_of_several_videos_carry_their_video():
    table = spans_of_videos([video(TWO), video({3: {1: (0.9, 0.0)}}, "b.mp4")])
    assert set(table.videos) == {"clips/a.mp4", "b.mp4"}
    assert [span for span in table.spans if span.video == "b.mp4"] == [
        Span(0.5, 1.5, "walk", 0.9, "3", "b.mp4")
    ]  # fmt: skip
