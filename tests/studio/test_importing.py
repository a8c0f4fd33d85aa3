"""Import of files of others: whose rows they are, what is refused, what is there already."""

import io
import zipfile
from urllib.parse import unquote

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.project import MOST_CLASSES, Project

from tests.studio.conftest import TYPE
from tests.studio.test_annotations import BOX, SPAN, put
from tests.studio.test_people_files import imported


def spans_of(client, video):
    return [
        (s["start_s"], s["end_s"], s["label"]) for s in client.get(f"/api/videos/{video['id']}/spans").json()["spans"]
    ]


def csv_of(*rows, header="video,start_s,end_s,label"):
    return "\n".join([header, *rows]) + "\n"


def test_the_chosen_video_gets_its_own_rows_alone(client, upload):
    a, b = upload("a.mp4"), upload("b.mp4")
    found = imported(client, b, "x.csv", csv_of("a.mp4,0,1,walk", "b.mp4,1,2,run", "b.mp4,2,3,run"))
    assert found["added"] == 2 and found["videos"] == [b["id"]]
    assert found["notes"] == ["dropped: 1 spans and boxes of other videos: 'a.mp4'"]
    assert spans_of(client, a) == [] and spans_of(client, b) == [(1, 2, "run"), (2, 3, "run")]
    error = imported(client, b, "x.csv", csv_of("c.mp4,0,1,walk", "d.mp4,1,2,run"), 422)["error"]
    assert "names 2 videos, and none of them is 'b.mp4': 'c.mp4', 'd.mp4'" in error
    one = imported(client, b, "x.csv", csv_of("c.mp4,0,1,walk"))  # of one video, which the person has chosen
    assert one["added"] == 1 and "the file names 'c.mp4'; taken as of the chosen video" in one["notes"][0]
    srt = "1\n00:00:02,000 --> 00:00:03,500\nwalk\n"
    assert imported(client, b, "x.srt", srt)["videos"] == [b["id"]]
    rows = [f"{name},1,0.1,0.1,0.5,0.5,walk,1" for name in ("a.mp4", "b.mp4")]
    boxes = csv_of(*rows, header="video,time_s,x1,y1,x2,y2,actions,person")
    assert imported(client, b, "x.csv", boxes)["boxes"] == 1


def test_labels_are_checked_and_a_project_with_bad_ones_opens(client, video, project, capsys, tmp_path):
    for label in ("a\u3000b", "a\xa0b", "x" * 201):
        text = csv_of(f"a.mp4,0,1,{label}")
        assert "class: expected 1 to 200 printable" in imported(client, video, "x.csv", text, 422)["error"]
    text = csv_of(*(f"a.mp4,0,1,c{n}" for n in range(MOST_CLASSES)))
    assert f"expected at most {MOST_CLASSES}" in imported(client, video, "x.csv", text, 422)["error"]
    assert project.class_names() == ["walk", "run"] and spans_of(client, video) == []
    folder = tmp_path / "old"
    folder.mkdir()
    file = (project.root / "project.json").read_text().replace('"walk"', '"a\u3000b"').replace("#2d6cec", "blue")
    (folder / "project.json").write_text(file)
    with Project.open(folder) as old:
        assert old.class_names() == ["a\u3000b", "run"]
        old.set_classes([("a\u3000b", None, None), ("run", None, None), ("jump", None, None)])
        old.set_classes([("ab", None, "a\u3000b")])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "no colour as #rrggbb" in lines[0] and "rename it" in lines[1]


def test_spans_that_are_there_are_skipped(client, video, project):
    put(client, video, SPAN)
    file = f"{video['id']}.mp4"
    project.spans.append([{"video": file, "start_s": 2, "end_s": 3, "label": "run", "score": 0.9}], "model 1")
    text = csv_of("a.mp4,0.481,1.519,walk", "a.mp4,2,3,run", "a.mp4,2,3,run", "a.mp4,2,3,walk")
    found = imported(client, video, "x.csv", text)
    assert (found["added"], found["skipped"]) == (2, 2)
    spans = client.get(f"/api/videos/{video['id']}/spans").json()["spans"]
    assert [(s["start_s"], s["label"], s["by"]) for s in spans] == [
        (0.48, "walk", "human"), (2, "run", "human"), (2, "walk", "human")
    ]  # fmt: skip
    assert imported(client, video, "x.csv", text)["skipped"] == 4


def test_videos_of_two_folders_are_not_one(client, video):
    where = {"params": {"filename": "x.csv"}, "headers": TYPE}
    text = csv_of("roomA/a.mp4,0,1,walk", "roomB/a.mp4,1,2,walk")
    answer = client.post("/api/import", content=text.encode(), **where)
    assert (
        answer.status_code == 422 and "'roomA/a.mp4' and 'roomB/a.mp4' would both be 'a.mp4'" in answer.json()["error"]
    )
    text = csv_of("x/roomA/a.mp4,0,1,walk", "roomA/a.mp4,1,2,walk", "a.mp4,2,3,walk")
    assert client.post("/api/import", content=text.encode(), **where).json()["added"] == 3


def test_ends_after_the_video_are_cut_or_refused(client, video):
    """The video lasts 4 s at 25 frames per second."""
    for way in (
        lambda end, status: put(client, video, {**SPAN, "start_s": 3, "end_s": end}, status=status),
        lambda end, status: imported(client, video, "x.csv", csv_of(f"a.mp4,3.5,{end},walk"), status),
    ):
        way(4.05, 200)
        assert {span[1] for span in spans_of(client, video)} == {4.0}
        assert "but the video lasts 4.000 s" in way(4.2, 422)["error"]


def test_the_ending_of_a_long_name_is_no_part_of_a_path(client, video):
    error = imported(client, video, "a." + "é" * 150, "x", 422)["error"]
    assert "expected" in error


def test_videos_that_differ_in_their_ending_alone(client, upload):
    a, b = upload("a.mp4"), upload("a.mov")
    put(client, b, SPAN)
    put(client, b, BOX, what="people")
    for form in ("people_ava", "people_csv", "label_studio"):
        assert client.get("/api/export", params={"form": form}).status_code == 409
        assert client.get("/api/export", params={"form": form, "names": "id"}).status_code == 200
    text = client.get("/api/export", params={"form": "csv"}).text
    assert "a.mov,0.480" in text
    answer = client.post("/api/import", params={"filename": "x.csv"}, content=text.encode(), headers=TYPE).json()
    assert answer["skipped"] == 1 and answer["videos"] == [b["id"]] and spans_of(client, a) == []


def test_actions_of_boxes_that_a_form_of_spans_leaves_out_are_named(client, video):
    put(client, video, {**SPAN, "person": "1"})
    put(client, video, BOX, {**BOX, "time_s": 1.5}, {**BOX, "time_s": 3.0}, what="people")  # the last one has no span
    for form in ("cvat", "label_studio"):
        answer = client.get("/api/export", params={"form": form, "video": video["id"]})
        assert "1 boxes of persons have actions without a span" in unquote(answer.headers["X-Lost"])


def test_large_and_slow_files_end_in_a_process_of_their_own(client, video, monkeypatch):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("people.csv", b"\n" * (17 << 20))
        archive.writestr("labels.pbtxt", 'item { name: "a" id: 1 }')
    assert "larger than 16 MB" in imported(client, video, "x.zip", content.getvalue(), 422)["error"]
    rows = "a.mp4,1,0.1,0.1,0.5,0.5,walk,1\n" * 100_001
    text = "video,time_s,x1,y1,x2,y2,actions,person\n" + rows
    assert "100,001 spans and boxes" in imported(client, video, "x.csv", text, 422)["error"]
    from paddlevideo_studio import importing

    monkeypatch.setattr(importing, "BOUNDS", importing.Bounds(time_s=0.05))
    assert "x.csv: reading it takes longer" in imported(client, video, "x.csv", text, 422)["error"]


def test_a_box_that_is_rounded_to_nothing_is_refused(client, video):
    thin = {**BOX, "box": [0.1, 0.2, 0.1 + 4e-7, 0.9]}
    assert "expected fractions x1 < x2" in put(client, video, thin, what="people", status=422)["error"]
