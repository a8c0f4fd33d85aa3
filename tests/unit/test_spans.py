"""Spans of time with a label, and their files."""

import json
import os

import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.spans import Span, SpanTable, holds_spans, read_spans, write_spans

FULL = SpanTable(
    [
        Span(3.0004, 3661.5, 'say "a, b" & <c>', 0.25, "7", "b/c d.mp4"),
        Span(0, 0.001, "[person 3] waves", 1.0, None, "a.mp4"),
        Span(0, 12.3456, "läuft -->", None, "x y", "a.mp4"),
    ],
    {"a.mp4": {"duration_s": 20.0, "fps": 25.0}, "b/c d.mp4": {}, "empty.mp4": {"duration_s": 3.5}},
    ["läuft -->", "[person 3] waves", 'say "a, b" & <c>'],
    {"window_s": 2.0, "background": None},
)
ONE = SpanTable([Span(s.start_s, s.end_s, s.label, None, s.person) for s in FULL.spans])


def test_a_span_is_checked_and_timed_to_the_millisecond():
    span = Span(1.00049, 2, "run", 1, "3", "a.mp4")
    assert (span.start_s, span.end_s, span.duration_s) == (1.0, 2.0, 1.0)
    assert span.to_dict() == {"video": "a.mp4", "start_s": 1.0, "end_s": 2.0, "label": "run", "score": 1, "person": "3"}
    bad = [(2, 2, "a"), (2, 2.0004, "a"), (-1, 2, "a"), (0, float("nan"), "a"), (0, float("inf"), "a"), (0, 1, ""),
           (0, 1, "a\nb"), (0, 1, " a"), (0, 1, 3), (0, 1, "a", 1.5), (0, 1, "a", True), (0, 1, "a", 0.5, ""),
           (True, 2, "a"), ("0", 1, "a"), (0, 1, "a", None, 3), (0, 1, "a", None, None, "")]  # fmt: skip
    for values in bad:
        with pytest.raises(ValueError):
            Span(*values)


def test_spans_are_sorted():
    assert [s.label for s in FULL.spans] == ["[person 3] waves", "läuft -->", 'say "a, b" & <c>']
    assert FULL.video_names() == ["a.mp4", "b/c d.mp4", "empty.mp4"]
    with pytest.raises(ValueError, match="label 'b' is not among the 1 classes"):
        SpanTable([Span(1, 2, "b")], classes=["a"])
    table = SpanTable([Span(1, 2, "b"), Span(0, 1, "a")], lines=[7, 8])
    assert [(s.label, line) for s, line in zip(table.spans, table.lines)] == [("a", 8), ("b", 7)]


@pytest.mark.parametrize("table", [FULL, ONE, SpanTable([])], ids=["full", "one", "none"])
def test_json_holds_everything(table, tmp_path):
    assert write_spans(tmp_path / "a.json", table) == []
    assert read_spans(tmp_path / "a.json") == table
    assert holds_spans(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["format"] == "paddlevideo.spans" and content["version"] == 1


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_tables_hold_the_spans(form, tmp_path):
    file = tmp_path / f"a.{form}"
    assert write_spans(file, FULL) == [f"{file}: {form} holds no classes, settings, durations and rates of videos"]
    assert read_spans(file).spans == FULL.spans and holds_spans(file)
    assert write_spans(file, ONE) == [] and read_spans(file) == ONE


NAMES = [" lead.mp4", "trail.mp4 ", " ", "Screen Recording\u202fPM.mov", "\u3000a.mp4", "a\nb\r.mp4", 'say "a, b".mp4',
         os.fsdecode(b"caf\xe9.mp4"), "caf\\udce9.mp4"]  # fmt: skip


@pytest.mark.parametrize("form", ["json", "csv", "jsonl"])
def test_names_of_files_are_held_exactly(form, tmp_path):
    file = tmp_path / f"a.{form}"
    table = SpanTable([Span(0, 1, "run", 0.5, None, name) for name in NAMES], dict.fromkeys(NAMES, {"fps": 25.0}))
    write_spans(file, table)
    assert read_spans(file).spans == table.spans and len(table.spans) == len(NAMES)
    assert form != "json" or read_spans(file).videos == table.videos


def test_names_that_no_file_has_and_labels_of_odd_bytes():
    for video in ("", "a\0b", "\ud800"):
        with pytest.raises(ValueError, match="video: expected the name of a file"):
            Span(0, 1, "run", video=video)
    with pytest.raises(ValueError, match="label: expected a text of UTF-8"):
        Span(0, 1, os.fsdecode(b"caf\xe9"))


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_hold_one_video(form, tmp_path):
    file = tmp_path / f"a.{form}"
    assert write_spans(file, ONE) == [] and read_spans(file) == ONE
    of_a = SpanTable([s for s in FULL.spans if s.video == "a.mp4"], settings={"on": 0.6})
    assert write_spans(file, of_a) == [f"{file}: {form} holds no scores, names of videos, settings"]
    assert [s.label for s in read_spans(file).spans] == [s.label for s in of_a.spans]
    with pytest.raises(UserError, match="one video, and the spans are of 2"):
        write_spans(file, FULL)


def test_srt_refuses_a_person_that_would_read_back_as_another(tmp_path):
    with pytest.raises(UserError, match="bracket; write vtt"):
        write_spans(tmp_path / "a.srt", SpanTable([Span(0, 1, "a", person="3] x")]))


def test_what_players_show(tmp_path):
    table = SpanTable([Span(0.5, 3661.25, "run & jump", person="3")])
    write_spans(tmp_path / "a.srt", table)
    assert (tmp_path / "a.srt").read_text() == "1\n00:00:00,500 --> 01:01:01,250\n[person 3] run & jump\n\n"
    write_spans(tmp_path / "a.vtt", table)
    assert (tmp_path / "a.vtt").read_text() == "WEBVTT\n\n00:00:00.500 --> 01:01:01.250\n<v 3>run &amp; jump\n"


def test_subtitles_of_other_programs(tmp_path):
    (tmp_path / "a.vtt").write_text(
        "\ufeffWEBVTT - title\nKind: captions\n\nNOTE no\ncue\n\nSTYLE\n::cue {}\n\nid 1\n"
        "00:01.5 --> 00:02.250 align:start\r\n<b>two</b>\r\nlines\r\n\r\n"
    )
    assert read_spans(tmp_path / "a.vtt").spans == (Span(1.5, 2.25, "two lines"),)
    (tmp_path / "a.vtt").write_text("WEBVTT - of a camera\n00:01.500 --> 00:02.250\nrun\n")
    assert read_spans(tmp_path / "a.vtt").spans == (Span(1.5, 2.25, "run"),)


def test_cues_without_a_blank_line_between_them_are_cues(tmp_path):
    time = "00:00:0{},000 --> 00:00:0{},000".format
    text = f"1\n{time(1, 2)}\n<i>walk</i>\nslowly\n2\n{time(3, 4)}\n7\n{time(5, 6)}\nrun\n"
    (tmp_path / "a.srt").write_text(text)
    assert read_spans(tmp_path / "a.srt").spans == (Span(1, 2, "walk slowly"), Span(3, 4, "7"), Span(5, 6, "run"))


def test_a_quote_that_is_not_closed_is_named(tmp_path):
    (tmp_path / "a.csv").write_text('video,start_s,end_s,label\na.mp4,0,1,"jump" \na.mp4,1,2,"run\nb.mp4,2,3,walk\n')
    with pytest.raises(UserError, match=r"a.csv:3: a quote is not closed in this line or after it; close it"):
        read_spans(tmp_path / "a.csv")


def test_every_mistake_has_its_line(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("video,start_s,end_s,label\na.mp4,0,1,run\na.mp4,2,1,run\n\na.mp4,x,1,run\na.mp4,1,2\na.mp4,1,2,\n")
    with pytest.raises(ConfigError) as error:
        read_spans(file)
    assert error.value.problems == [
        f"{file}:3: expected an end at least 0.001 s after the start, got 2.000 to 1.000",
        f"{file}:5: start_s: expected seconds from 0, got 'x'",
        f"{file}:6: has 3 fields, the header names 4; a text with a comma is quoted",
        f"{file}:7: has no label; expected start_s, end_s, label",
    ]
    file.write_text("start_s,end_s,label\n" + "1,0,a\n" * 1 + "".join(f"{k + 1},{k},a\n" for k in range(30)))
    with pytest.raises(ConfigError, match="31 mistakes|30 mistakes") as error:
        read_spans(file)
    assert "more" in str(error.value)
    (tmp_path / "a.jsonl").write_text('{"start_s": 0, "end_s": 1, "label": "a"}\n{"start_s"\n[1]\n')
    with pytest.raises(ConfigError, match="a.jsonl:2: expected a JSON object") as error:
        read_spans(tmp_path / "a.jsonl")
    (tmp_path / "b.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\na\n2\n00:00:03 --> 00:00:04\nb\n")
    with pytest.raises(ConfigError, match="b.srt:? *.*\n.*5.*expected 'H:MM:SS,mmm --> H:MM:SS,mmm', got"):
        read_spans(tmp_path / "b.srt")
    (tmp_path / "a.srt").write_text("1\n00:00:01,000 -> 00:00:02,000\na\n\n2\n00:00:01,000 --> 00:00:02,000\n\n")
    with pytest.raises(ConfigError) as error:
        read_spans(tmp_path / "a.srt")
    assert [p.split(": ")[0][-3:] for p in error.value.problems] == ["t:2", "t:6"]


def test_a_csv_of_a_spreadsheet(tmp_path):
    file = tmp_path / "a.csv"
    for text in (
        "video;start_s;end_s;label\na.mp4;0,5;1,25;run, fast\n",
        "label\tend_s\tstart_s\nrun, fast\t1.25\t0.5\n",
    ):
        file.write_text(text)
        assert holds_spans(file)
        (span,) = read_spans(file).spans
        assert (span.start_s, span.end_s, span.label) == (0.5, 1.25, "run, fast")


def test_a_json_that_is_no_file_of_spans(tmp_path):
    file = tmp_path / "a.json"
    for content, text in [
        ([], '"format": "paddlevideo.spans"'),
        ({"format": "paddlevideo.spans", "version": 2}, "version 2 of the format, expected 1"),
        ({"format": "paddlevideo.spans", "version": 1, "spans": {}}, "spans: expected a JSON list"),
        ({"format": "paddlevideo.spans", "version": 1, "span": []}, "span: unknown key"),
        ({"format": "paddlevideo.spans", "version": 1, "videos": {"a": {"fps": 0}}}, "videos.a: expected numbers"),
        ({"format": "paddlevideo.spans", "version": 1, "classes": ["a", "a"]}, "classes: expected names, each once"),
        (
            {"format": "paddlevideo.spans", "version": 1, "classes": ["a"],
             "spans": [{"start_s": 0, "end_s": 1, "label": "b"}]},
            r"spans\[0\]: label 'b' is not in classes",
        ),
    ]:  # fmt: skip
        file.write_text(json.dumps(content))
        with pytest.raises(UserError, match=text):
            read_spans(file)
    with pytest.raises(UserError, match="no such file"):
        read_spans(tmp_path / "b.json")
    with pytest.raises(UserError, match="expected a json, csv"):
        read_spans(tmp_path / "b.txt")


def test_results_of_recognition_are_no_spans(tmp_path):
    (tmp_path / "a.csv").write_text("path,label,predicted,0,1\n")
    (tmp_path / "a.json").write_text("[]")
    assert not holds_spans(tmp_path / "a.csv") and not holds_spans(tmp_path / "a.json")


def test_a_line_of_jsonl_replaces_another(tmp_path):
    file = tmp_path / "a.jsonl"
    lines = [
        {"id": "a", "start_s": 0, "end_s": 1, "label": "run", "score": 0.5},
        {"id": "b", "start_s": 2, "end_s": 3, "label": "run", "score": 0.5},
        {"start_s": 4, "end_s": 5, "label": "stand"},
        {"id": "c", "replaces": "a", "start_s": 0, "end_s": 1.5, "label": "walk"},
        {"id": "d", "replaces": "b", "removed": True},
        {"id": "e", "replaces": "c", "start_s": 0, "end_s": 1.25, "label": "walk"},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = read_spans(file)
    assert [(s.start_s, s.end_s, s.label) for s in table.spans] == [(0, 1.25, "walk"), (4, 5, "stand")]
    assert list(table.lines) == [6, 3]
    undo = {"id": "f", "replaces": "d", "start_s": 2, "end_s": 3, "label": "run", "score": 0.5}
    file.write_text(file.read_text() + json.dumps(undo) + "\n")
    assert len(read_spans(file).spans) == 3
    file.write_text(file.read_text() + json.dumps({**undo, "id": "g", "replaces": "a"}) + "\n")
    with pytest.raises(ConfigError, match="a.jsonl:8: replaces 'a', which no entry before it is, or which is replaced"):
        read_spans(file)
