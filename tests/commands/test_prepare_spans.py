"""``paddlevideo prepare spans``: from one form to another and back, and split by video."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.spans import SpanDataset
from paddlevideo.loader.labels import read_labels
from paddlevideo.preparation.importers.people import PersonBox
from paddlevideo.preparation.span_files import SpanContent, import_options, merged, read_any, write_any
from paddlevideo.spans import Span, SpanTable, read_spans, write_spans
from tests.clips import write_clip

FPS = 25.0
FACTS = {"duration_s": 20.0, "fps": FPS, "width": 640, "height": 360}
SPANS = [
    Span(0, 2.4, "run", None, None, "a.mp4"),
    Span(2, 5, "talk to (e.g., self)", None, None, "a.mp4"),  # they overlap
    Span(1, 4, "wave", None, "3", "a.mp4"),
    Span(2, 6, "walk", None, "3", "a.mp4"),
    Span(8, 9, "wave", None, "3", "a.mp4"),
    Span(0, 20, "walk", None, "12", "a.mp4"),
]
TABLE = SpanTable(SPANS, {"a.mp4": FACTS})


def boxes():
    """One of person 3 a second, and two of person 12."""
    of_3 = [(t, (0.1 + t / 40, 0.25, 0.2 + t / 40, 0.75)) for t in range(10)]
    of_12 = [(0.0, (0.5, 0.5, 0.75, 1.0)), (20.0, (0.25, 0.5, 0.5, 1.0))]
    rows = [("3", *row) for row in of_3] + [("12", *row) for row in of_12]
    return [PersonBox("a", t, box, (), person, "", in_pixels=False) for person, t, box in rows]


def by_person(content):
    """(person, second) -> box in fractions."""
    return {
        (p.person, round(p.time_s, 3)): np.array(p.box) / ([640, 360] * 2 if p.in_pixels else [1] * 4)
        for p in content.people
    }


@pytest.mark.parametrize(("form", "name"), [("label_studio", "a.json"), ("cvat", "a.xml")])
def test_annotation_tools_give_back_what_was_written(form, name, tmp_path):
    idle = [f"{tmp_path / name}: 5 boxes of persons who do nothing then are left out; cvat holds them"]
    assert write_any(tmp_path / name, SpanContent(TABLE, boxes()), form) == (idle if form == "label_studio" else [])
    found = read_any(tmp_path / name, options=import_options(FPS, None))
    assert found.table.spans == TABLE.spans
    seen = by_person(found)
    for second in (1, 2, 3, 4, 5, 8):
        np.testing.assert_allclose(seen["3", second], [0.1 + second / 40, 0.25, 0.2 + second / 40, 0.75], atol=1e-4)
    np.testing.assert_allclose(seen["12", 10], [0.375, 0.5, 0.625, 1.0], atol=1e-4)
    between = [p.actions for p in found.people if (p.person, p.time_s) == ("3", 7)]  # two spans
    assert between == ([()] if form == "cvat" else [])
    write_any(tmp_path / f"again {name}", SpanContent(SpanTable(found.table.spans, TABLE.videos), boxes()), form)
    assert (tmp_path / name).read_bytes() == (tmp_path / f"again {name}").read_bytes()


def test_what_label_studio_reads(tmp_path):
    write_any(
        tmp_path / "a.json", SpanContent(SpanTable(SPANS[:1] + SPANS[4:5], TABLE.videos), boxes()), "label_studio"
    )
    (task,) = json.loads((tmp_path / "a.json").read_text())
    assert task["data"] == {"video": "a.mp4"}
    timeline, box = task["annotations"][0]["result"]
    assert timeline["type"] == "timelinelabels" and (timeline["from_name"], timeline["to_name"]) == (
        "timeline",
        "video",
    )
    assert timeline["value"] == {
        "framesCount": 500, "duration": 20.0, "ranges": [{"start": 1, "end": 60}], "timelinelabels": ["run"],
    }  # fmt: skip
    assert (
        box["type"] == "videorectangle" and box["meta"] == {"text": ["person 3"]} and box["value"]["labels"] == ["wave"]
    )
    keys = box["value"]["sequence"]
    assert [(key["frame"], key["enabled"]) for key in keys] == [(201, True), (225, False)]
    assert keys[0] == {
        "frame": 201, "time": 8.0, "enabled": True, "rotation": 0, "x": 30.0, "y": 25.0, "width": 10.0, "height": 50.0,
    }  # fmt: skip
    # its own rate counts where none is given
    assert read_any(tmp_path / "a.json").table.spans == (SPANS[0], SPANS[4])


def test_what_cvat_reads(tmp_path):
    write_any(tmp_path / "a.xml", SpanContent(SpanTable(SPANS[:1] + SPANS[4:5], TABLE.videos), boxes()))
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    assert root.findtext("version") == "1.1" and root.findtext("meta/task/size") == "500"
    tracks = {track.get("id"): list(track) for track in root.iterfind("track")}
    assert set(tracks) == {"0", "3", "12"}
    assert [(b.get("frame"), b.get("outside"), b.get("xbr")) for b in tracks["0"]] == [
        ("0", "0", "640"),
        ("60", "1", "640"),
    ]
    # a box a second; the wave from 8 to 9 s; then the person is gone
    assert [(b.get("frame"), b.get("outside")) for b in tracks["3"]] == [
        *((str(25 * second), "0") for second in range(10)),
        ("226", "1"),
    ]
    assert [b.findtext("attribute") for b in tracks["3"]] == [*[""] * 8, "wave", "", ""]
    assert {b.findtext("attribute") for b in tracks["12"]} == {""}  # a person who does nothing is there to be corrected
    with pytest.raises(UserError, match="frame rate of 'a' is not known.*--videos or --fps"):
        read_any(tmp_path / "a.xml")


def test_what_a_form_cannot_hold_is_named(tmp_path):
    table = SpanTable([Span(0.01, 1, "a, b", 0.5, "x", "a.mp4"), Span(2, 3, "c", None, "y", "a.mp4")], TABLE.videos)
    people = [PersonBox("a", 0.0, (0, 0, 320, 180), (), "y", "")]
    xml, tasks = tmp_path / "a.xml", tmp_path / "a.json"
    assert write_any(xml, SpanContent(table, people)) == [
        f"{xml}: cvat holds no scores",
        f"{xml}: 1 spans of persons have no box: they are written as spans of the picture",
        f"{xml}: cvat numbers tracks: names of persons are not kept",
        f"{xml}: 'a, b' and the like are read back as several actions, unless --labels names them",
        f"{xml}: cvat counts frames: times moved by up to 0.010 s",
    ]
    assert len(write_any(tasks, SpanContent(table, people), "label_studio")) == 4
    assert [s.person for s in read_any(tasks).table.spans] == [None, "y"]
    assert write_any(tmp_path / "a.csv", SpanContent(table, people))[-1].endswith("1 boxes of persons are left out")
    with pytest.raises(UserError, match="of one video, and the spans are of 2"):
        write_any(xml, SpanContent(SpanTable([Span(0, 1, "a", video=v) for v in "ab"], dict.fromkeys("ab", FACTS))))
    with pytest.raises(UserError, match="frame rate of 'a' is not known"):
        write_any(tasks, SpanContent(SpanTable([Span(0, 1, "a", video="a")])), "label_studio")


@pytest.mark.parametrize(("form", "name"), [("label_studio", "a.json"), ("cvat", "a.xml")])
@pytest.mark.parametrize("person", [None, "3"])
def test_names_that_are_values_too_are_read_back(form, name, person, tmp_path):
    labels = ["0", "1", "7", "1e5", "nan", "none", "No", "true", "run", "action"]
    spans = [
        Span(k * 0.4, k * 0.4 + 0.8, label, None, person, "a.mp4") for k, label in enumerate(labels)
    ]  # they overlap
    lost = write_any(tmp_path / name, SpanContent(SpanTable(spans, TABLE.videos), boxes()), form)
    assert not any("read back" in line for line in lost)
    assert any("'0', '1', '1e5', '7', 'No', 'nan', 'none', 'true': each is a checkbox" in line for line in lost) == (
        form == "cvat"
    )
    assert read_any(tmp_path / name, options=import_options(FPS, None)).table.spans == SpanTable(spans).spans


@pytest.mark.parametrize(
    ("label", "person", "form", "line"),
    [
        ("run", None, "cvat", None),  # adjoining spans stay two
        ("run", None, "label_studio", None),
        ("run", "3", "cvat", "'a', person 3, frames 0 to 24; read: 'a', person 3, frames 0 to 49 of 'run'"),
        ("two  gaps", None, "cvat", "'a', frames 0 to 24; read: 'a', frames 0 to 24 of 'two gaps'"),
        ("person", "3", "label_studio", "'a', person 3, frames 0 to 24; read: nothing"),
    ],
)
def test_what_is_read_back_otherwise_is_named(label, person, form, line, tmp_path):
    spans = [Span(0, 1, label, None, person, "a.mp4"), Span(1, 2, label, None, person, "a.mp4")]
    file = tmp_path / ("a.xml" if form == "cvat" else "a.json")
    lost = write_any(file, SpanContent(SpanTable(spans, TABLE.videos), boxes()), form)
    if line is None:
        assert not any("read back" in text for text in lost)
        assert read_any(file, options=import_options(FPS, None)).table.spans == tuple(spans)
    else:
        assert f"{file}: 2 spans of {label!r} are read back otherwise; the first: {line}" in lost


def test_what_a_file_of_a_tool_is_taken_for_is_printed(tmp_path, capsys):
    boxes_ = [f'<box frame="{k}" outside="{int(k == 9)}" xtl="0" ytl="0" xbr="30" ybr="40">'
              f'<attribute name="action">{text}</attribute></box>' for k, text in ((0, "none"), (3, "7"), (6, "run"),
                                                                                  (9, ""))]  # fmt: skip
    track = f'<track id="0" label="person">{"".join(boxes_)}</track>'
    (tmp_path / "a.xml").write_text(f"<annotations><meta><source>a.mp4</source></meta>{track}</annotations>")
    words = ["prepare", "spans", f"{tmp_path}/a.xml", "--fps", "1", "--out", f"{tmp_path}/o.csv"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "values of 'action' are 'none' and taken for no action" in out and "are numbers and taken for no" in out
    assert main([*words, "--attribute", "action"]) == 0
    assert [span.label for span in read_spans(tmp_path / "o.csv").spans] == ["7", "run"]


def test_prepare_people_still_takes_whole_pictures_for_persons(tmp_path):
    write_any(tmp_path / "a.xml", SpanContent(SpanTable(SPANS[:1], TABLE.videos)))
    content = read_any(tmp_path / "a.xml", options=import_options(FPS, None))
    assert {p.actions for p in content.people} == {("run",)} and content.table.spans == (SPANS[0],)


def test_several_files_are_one(tmp_path):
    one, two = SpanTable([Span(0, 1, "b")], classes=["b", "a"]), SpanTable([Span(0, 1, "c", video="x")])
    found = merged([SpanContent(one), SpanContent(two)], "y").table
    assert [(s.video, s.label) for s in found.spans] == [("x", "c"), ("y", "b")] and found.classes == ("b", "a", "c")


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "videos" / "in").mkdir(parents=True)
    for k in range(4):
        write_clip(tmp_path / "videos" / "in" / f"{k}.mp4", np.full((30, 32, 48, 3), 90, "uint8"), fps=10)
    lines = [f"in/{k}.mp4,{s},{s + 1},{name}\n" for k in range(4) for s, name in enumerate(["run", "walk"])]
    (tmp_path / "all.csv").write_text("video,start_s,end_s,label\n" + "".join(lines))
    return tmp_path


@pytest.mark.parametrize("ending", ["xml", "json"])
def test_spans_of_a_video_with_a_variable_rate_keep_their_times(ending, tmp_path, capsys):
    """8 s at 25 frames a second, then 8 s at 5."""
    seconds = [k / 25 for k in range(200)] + [8 + k / 5 for k in range(40)]
    (tmp_path / "v").mkdir()
    write_clip(tmp_path / "v/a.mp4", np.full((240, 32, 48, 3), 90, "uint8"), pts=[round(600 * s) for s in seconds])
    (tmp_path / "a.csv").write_text("video,start_s,end_s,label\na.mp4,2,4,run\na.mp4,10,14,walk\na.mp4,15,16,run\n")
    tool, videos = f"{tmp_path}/o.{ending}", ["--videos", f"{tmp_path}/v"]
    form = ["--to", "label_studio"] if ending == "json" else []
    assert main(["prepare", "spans", f"{tmp_path}/a.csv", *videos, *form, "--out", tool]) == 0
    assert "times moved" in capsys.readouterr().out if form else "note" not in capsys.readouterr().out
    back = [*videos, "--out", f"{tmp_path}/back.csv"]
    assert main(["prepare", "spans", tool, *back]) == 0
    for found, span in zip(read_spans(tmp_path / "back.csv").spans, read_spans(tmp_path / "a.csv").spans, strict=True):
        moved_s = 0.5 / 14 if form else 0.0011  # Label Studio counts frames at an even rate
        assert (found.label, found.start_s) == (span.label, pytest.approx(span.start_s, abs=moved_s))
        assert found.end_s == pytest.approx(span.end_s, abs=moved_s)


def test_a_span_within_a_frame_is_the_frame_that_is_shown(tmp_path):
    table = SpanTable([Span(19.97, 20, "run", video="a.mp4"), Span(1.025, 1.035, "run", video="a.mp4")], TABLE.videos)
    write_any(tmp_path / "a.xml", SpanContent(table))
    found = read_any(tmp_path / "a.xml", options=import_options(FPS, None)).table
    assert [(span.start_s, span.end_s) for span in found.spans] == [(1.0, 1.04), (19.96, 20.0)]


def test_spans_are_split_by_video(videos, capsys):
    out = videos / "mine"
    words = ["prepare", "spans", str(videos / "all.csv"), "--videos", str(videos / "videos"), "--out", str(out)]
    assert main([*words, "--val", "0.25", "--test", "0.25"]) == 0
    assert "train: 4 spans of 2 videos (run 2, walk 2)" in capsys.readouterr().out
    parts = {split: read_spans(out / f"{split}.json") for split in ("train", "val", "test")}
    names = [part.video_names() for part in parts.values()]
    assert sorted(sum(names, [])) == [f"in/{k}.mp4" for k in range(4)] and list(map(len, names)) == [2, 1, 1]
    assert parts["train"].classes == ("run", "walk") == tuple(read_labels(out / "classes.txt"))
    assert set(map(str, parts["train"].videos.values())) == {
        "{'duration_s': 3.0, 'fps': 10.0, 'width': 48, 'height': 32}"
    }
    data = SpanDataset(str(out / "train.json"), str(videos / "videos"), class_names=["run", "walk"])
    assert len(data) == 4 and all(Path(record["filename"]).is_file() for record in data.records)
    assert main([*words, "--val", "0.25"]) == 0
    assert f"note: {out / 'test.json'} is of an earlier split and may share videos" in capsys.readouterr().out
    assert main([*words, "--val", "0.9", "--test", "0.9"]) == 2
    assert "4 videos cannot be parted" in capsys.readouterr().err


def test_spellings_are_one_class_and_equal_spans_one_span(tmp_path, capsys):
    rows = ["a.mp4,1,2,walk", "a.mp4,1,2,walk", "b.mp4,1,2,walk", "b.mp4,3,4,Walk", "b.mp4,1,2,run"]
    (tmp_path / "s.csv").write_text("\n".join(["video,start_s,end_s,label", *rows, ""]))
    out = tmp_path / "out.json"
    assert main(["prepare", "spans", str(tmp_path / "s.csv"), "--out", str(out)]) == 0
    assert [(span.video, span.label) for span in read_spans(out).spans] == [
        ("a.mp4", "walk"), ("b.mp4", "run"), ("b.mp4", "walk"), ("b.mp4", "walk")
    ]  # fmt: skip
    printed = capsys.readouterr().out
    assert "1 span of 'Walk' is taken as of 'walk'" in printed and "1 span that another one equals" in printed
    (tmp_path / "l.txt").write_text("walk\nrun\nwalk\n")
    assert (
        main(["prepare", "spans", str(tmp_path / "s.csv"), "--labels", str(tmp_path / "l.txt"), "--out", str(out)]) == 2
    )
    assert "'walk' is the name of two classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--val", "0.5"], "--val: parts videos for training, and --out"),
        (["--seed", "4"], "--seed: parts videos for training, and --out"),
        (["--from_boxes"], "--from_boxes: is of annotation of persons, and"),
        (["--attribute", "action"], "--attribute: is of annotation of persons, and"),
    ],
)
def test_an_option_that_has_no_effect_is_refused(words, named, tmp_path, capsys):
    (tmp_path / "s.csv").write_text("video,start_s,end_s,label\na.mp4,0,1,walk\n")
    assert main(["prepare", "spans", str(tmp_path / "s.csv"), "--out", str(tmp_path / "out.json"), *words]) == 2
    assert named in capsys.readouterr().err and not (tmp_path / "out.json").exists()


def test_annotated_spans_are_those_without_a_score(tmp_path, capsys):
    found = [Span(0, 1, "run", 0.9, None, "a.mp4"), Span(2, 3, "walk", None, None, "a.mp4")]
    write_spans(tmp_path / "a.json", SpanTable(found))
    words = ["prepare", "spans", str(tmp_path / "a.json"), "--annotated", "--out", str(tmp_path / "b.json")]
    assert main(words) == 0 and read_spans(tmp_path / "b.json").spans == (found[1],)
    write_spans(tmp_path / "a.json", SpanTable(found[:1]))
    assert main(words) == 2
    assert "every span has a score, so none is annotated" in capsys.readouterr().err


def test_the_command_converts_and_refuses(videos, capsys):
    table, out = videos / "all.csv", videos / "out"
    assert main(["prepare", "spans", str(table), "--to", "label_studio", "--fps", "10", "--out", f"{out}.json"]) == 0
    assert "8 spans of 4 videos" in capsys.readouterr().out
    assert main(["prepare", "spans", f"{out}.json", "--out", f"{out}.jsonl"]) == 0
    assert read_spans(f"{out}.jsonl").spans == read_spans(table).spans
    write_spans(videos / "late.csv", SpanTable([Span(2, 3.2, "run", video="in/0.mp4")]))
    write_spans(videos / "one.srt", SpanTable([Span(0, 1, "run")]))
    (videos / "other.csv").write_text("video,start,end,label\na.mp4,0,1,run\n")
    for words, text in [
        ([table, "--out", f"{out}.srt"], "subtitles are of one video"),
        ([table, "--out", f"{out}.xml"], "of one video, and the spans are of 4"),
        ([videos / "one.srt", "--out", out], "a span names no video (--video)"),
        ([table, "--out", out, "--to", "srt"], "SpanDataset reads json, csv and jsonl"),
        ([videos / "one.srt", "--video", "no.mp4", "--videos", videos / "videos", "--out", out], "no video 'no.mp4'"),
        ([videos / "no.csv", "--out", out], "no such file"),
        (
            [videos / "other.csv", "--out", out],
            "other.csv:1: the header has no start_s, or several; expected video,start_s",
        ),
        (
            [videos / "late.csv", "--videos", videos / "videos", "--out", out],
            "2.000 to 3.200 s, but the video lasts 3.000",
        ),
    ]:
        assert main(["prepare", "spans", *map(str, words)]) == 2
        assert text in capsys.readouterr().err, words
