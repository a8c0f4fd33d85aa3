"""Spans and boxes over the API: one line per change, steps of undo, other forms, a restarted server."""

import json
import shutil
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.project import Project
from paddlevideo_studio.work import SPANS, run_spans

from paddlevideo.cli.main import main
from paddlevideo.loader.datasets.spans import SpanDataset
from paddlevideo.preparation.importers.people import ImportOptions
from paddlevideo.preparation.person_annotations import read_people
from paddlevideo.spans import read_spans
from tests.clips import numbered_frames, write_clip
from tests.studio.conftest import TYPE

SPAN = {"start_s": 0.48, "end_s": 1.52, "label": "walk"}


def put(client, video, *changes, what="spans", status=200):
    answer = client.put(f"/api/videos/{video['id']}/{what}", json={"changes": changes})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_correction_is_one_line_and_is_there_after_a_restart(client, video, project, tmp_path):
    """T2: drag an edge, restart the server."""
    (span,) = put(client, video, SPAN)["spans"]
    assert span["by"] == "human" and "score" not in span
    before = (project.root / "spans.jsonl").read_text().splitlines()
    found = put(client, video, {**SPAN, "id": span["id"], "end_s": 1.8})
    after = (project.root / "spans.jsonl").read_text().splitlines()
    assert after[:-1] == before and found["can_undo"]
    shutil.copytree(project.root, tmp_path / "again")
    with Project.open(tmp_path / "again") as again:
        assert [(e["start_s"], e["end_s"]) for e in again.spans.current()] == [(0.48, 1.8)]
        assert [v.id for v in again.videos] == [video["id"]] and again.class_names() == ["walk", "run"]


def test_undo_takes_a_whole_request_back(client, video):
    put(client, video, SPAN, {**SPAN, "start_s": 2, "end_s": 3, "label": "run"})
    first, second = client.get(f"/api/videos/{video['id']}/spans").json()["spans"]
    put(client, video, {"id": first["id"], "removed": True}, {**SPAN, "id": second["id"], "start_s": 2.5, "end_s": 3})
    undo = f"/api/videos/{video['id']}/undo"
    found = client.post(undo, json={"what": "spans"}).json()
    assert [(s["start_s"], s["label"]) for s in found["spans"]] == [(0.48, "walk"), (2, "run")] and found["can_undo"]
    assert client.post(undo, json={"what": "spans"}).json() == {"spans": [], "can_undo": False}
    assert client.post(undo, json={"what": "spans"}).status_code == 409
    assert client.post(undo, json={"what": "files"}).status_code == 422


def test_what_is_refused_changes_nothing(client, video, project):
    (span,) = put(client, video, SPAN)["spans"]
    size = (project.root / "spans.jsonl").stat().st_size
    bad = [
        ({**SPAN, "label": "fly"}, "there is no class 'fly' in this project; add it first"),
        ({**SPAN, "end_s": 0.48}, "expected an end at least 0.001 s after the start"),
        ({**SPAN, "end_s": 9}, "but the video lasts 4.000 s"),
        ({"start_s": 1, "end_s": 2}, "a span needs start_s, end_s and label"),
        ({**SPAN, "person": "a\nb"}, "person: expected a text"),
        ({"removed": True}, "removed needs an id"),
        ({**SPAN, "path": "x"}, "Extra inputs are not permitted"),
    ]
    for change, text in bad:
        assert text in put(client, video, SPAN, change, status=422)["error"]
    put(client, video, {**SPAN, "id": "0" * 16}, status=409)
    put(client, video, {**SPAN, "id": span["id"]}, {"id": span["id"], "removed": True}, status=409)
    assert put(client, {"id": "0" * 16}, SPAN, status=404)["error"] == "there is no such video"
    assert (project.root / "spans.jsonl").stat().st_size == size


def test_a_span_is_there_once(client, video):
    (span,) = put(client, video, SPAN)["spans"]
    line = "'walk' from 0.480 to 1.520 s is there already; change that one (with its id)"
    for changes in ([SPAN], [{**SPAN, "start_s": 2, "end_s": 3}] * 2, [{**SPAN, "end_s": 2}, SPAN]):
        assert "is there already" in put(client, video, *changes, status=422)["error"]
    assert put(client, video, SPAN, status=422)["error"].endswith(line)
    put(client, video, {**SPAN, "id": span["id"]})  # confirmed as it is
    assert len(put(client, video, {**SPAN, "label": "run"}, {**SPAN, "person": "1"})["spans"]) == 3


def test_texts_that_no_file_can_hold_are_refused(client, video):
    """A JSON body may have half a character of UTF-16."""
    half, kind = '"\\ud800"', {"Content-Type": "application/json"}
    url = f"/api/videos/{video['id']}"
    bodies = [
        ("PUT", f"{url}/people", f'{{"changes": [{{"time_s": 1, "box": [0, 0, 1, 1], "person": {half}}}]}}'),
        ("PUT", f"{url}/spans", f'{{"changes": [{{"start_s": 0, "end_s": 1, "label": "walk", "person": {half}}}]}}'),
        ("PATCH", "/api/project", f'{{"name": {half}}}'),
        ("PATCH", "/api/project", f'{{"classes": [{{"name": {half}}}]}}'),
        ("PATCH", "/api/project", f'{{"analysis": {{"background": {half}}}}}'),
        ("PATCH", url, f'{{"name": {half}}}'),
        ("POST", f"{url}/persons", f'{{"person": "1", "to": {half}}}'),
        ("POST", "/api/train", f'{{"mode": "full", "config": {half}}}'),
    ]
    for method, path, body in bodies:
        answer = client.request(method, path, content=body, headers=kind)
        assert answer.status_code in (409, 422), (path, answer.text)


def test_classes_are_renamed_in_their_spans(client, video, project):
    put(client, video, SPAN)
    put(client, video, {**BOX, "actions": ["run", "walk"]}, what="people")
    classes = [{"name": "stroll", "was": "walk"}, {"name": "run"}, {"name": "<b>", "colour": "#123456"}]
    found = client.patch("/api/project", json={"classes": classes}).json()
    assert [each["name"] for each in found["classes"]] == ["stroll", "run", "<b>"]
    assert found["classes"][0]["colour"] == "#2d6cec" and found["counts"]["checked"] == 1
    assert [s["label"] for s in client.get(f"/api/videos/{video['id']}/spans").json()["spans"]] == ["stroll"]
    assert client.get(f"/api/videos/{video['id']}/people").json()["people"][0]["actions"] == ["run", "stroll"]
    answer = client.patch("/api/project", json={"classes": [{"name": "run"}]})
    assert answer.status_code == 422 and "spans or boxes have the class 'stroll'" in answer.json()["error"]
    for wrong in ([{"name": "a"}, {"name": "a"}], [{"name": " a"}], [{"name": "a", "colour": "red"}]):
        assert client.patch("/api/project", json={"classes": wrong}).status_code == 422
    (span,) = client.get(f"/api/videos/{video['id']}/spans").json()["spans"]
    put(client, video, {"id": span["id"], "removed": True})
    box = client.get(f"/api/videos/{video['id']}/people").json()["people"][0]
    put(client, video, {**BOX, "id": box["id"], "actions": []}, what="people")
    assert client.patch("/api/project", json={"classes": [{"name": "run"}]}).status_code == 200
    client.post(f"/api/videos/{video['id']}/undo", json={"what": "spans"})
    assert "stroll" in project.class_names()


def test_a_class_renamed_to_the_name_of_a_removed_one_is_not_taken_for_it(project, tmp_path):
    project.set_classes([("walk", None, None), ("run", None, None)])
    model = SimpleNamespace(classes=["walk", "run"], run=None, created="2020-01-01T00:00:00Z", id=1)
    project.set_classes([("run", None, "walk")])
    assert project.present_name_of(model) == {"walk": "run", "run": "run (former)"}
    spans = [{"video": "a.mp4", "start_s": k, "end_s": k + 1, "label": label} for k, label in enumerate(model.classes)]
    (tmp_path / SPANS).write_text(json.dumps({"spans": spans}))
    stub = SimpleNamespace(present_name_of=project.present_name_of, models={1: model})
    found = run_spans(stub, SimpleNamespace(model=1, created=model.created), tmp_path)
    assert [span["label"] for span in found] == ["run", "run (former)"]


def test_classes_are_not_merged_by_a_name(client, video, project):
    put(client, video, SPAN, {**SPAN, "label": "run", "start_s": 0})
    for classes, text in (
        ([{"name": "run", "was": "walk"}], "have the class 'run' already"),
        ([{"name": "a", "was": "walk"}, {"name": "b", "was": "walk"}, {"name": "run"}], "'walk' is renamed twice"),
        ([{"name": "a", "was": "walk"}, {"name": "walk"}, {"name": "run"}], "among the classes still"),
    ):
        answer = client.patch("/api/project", json={"classes": classes})
        assert answer.status_code == 422 and text in answer.json()["error"]
    swapped = [{"name": "run", "was": "walk"}, {"name": "walk", "was": "run"}]
    assert client.patch("/api/project", json={"classes": swapped}).status_code == 200
    spans = client.get(f"/api/videos/{video['id']}/spans").json()["spans"]
    assert [(s["start_s"], s["label"]) for s in spans] == [(0, "walk"), (0.48, "run")]


def test_undo_gives_the_present_name_of_a_class(client, video, project):
    (span,) = put(client, video, SPAN)["spans"]
    put(client, video, {**SPAN, "id": span["id"], "end_s": 2})
    put(client, video, {**BOX, "actions": ["walk"]}, what="people")
    box = client.get(f"/api/videos/{video['id']}/people").json()["people"][0]
    put(client, video, {"id": box["id"], "removed": True}, what="people")
    client.patch("/api/project", json={"classes": [{"name": "stroll", "was": "walk"}, {"name": "run"}]})
    undo = f"/api/videos/{video['id']}/undo"
    found = client.post(undo, json={"what": "spans"}).json()["spans"]
    assert [(s["label"], s["end_s"]) for s in found] == [("stroll", 1.52)]
    assert client.post(undo, json={"what": "people"}).json()["people"][0]["actions"] == ["stroll"]
    assert project.class_names() == ["stroll", "run"]


def test_the_package_reads_the_journal_as_it_is(client, video, project, tmp_path):
    (span,) = put(client, video, SPAN)["spans"]
    put(client, video, {**SPAN, "id": span["id"], "end_s": 2}, {**SPAN, "label": "run", "person": "3"})
    project.spans.append([{**SPAN, "video": f"{video['id']}.mp4", "score": 0.9}], "model 1")
    file = str(project.root / "spans.jsonl")
    videos = str(project.root / "videos")
    data = SpanDataset(file, videos, class_names=["walk", "run"])
    assert sorted((r["start_s"], r["end_s"], r["label"]) for r in data.records) == [
        (0.48, 1.52, 0), (0.48, 1.52, 1), (0.48, 2.0, 0)
    ]  # fmt: skip
    out = str(tmp_path / "out.csv")
    assert main(["prepare", "spans", file, "--videos", videos, "--annotated", "--out", out]) == 0
    assert [(s.end_s, s.label, s.person) for s in read_spans(out).spans] == [(1.52, "run", "3"), (2.0, "walk", None)]


@pytest.mark.parametrize("form", ["json", "csv", "jsonl", "srt", "vtt", "label_studio", "cvat"])
def test_what_is_exported_is_imported_equal(client, video, form):
    """T4."""
    put(client, video, SPAN, {"start_s": 0, "end_s": 4, "label": "run"}, {**SPAN, "start_s": 2, "end_s": 2.4})
    url = f"/api/videos/{video['id']}/spans"
    before = [(s["start_s"], s["end_s"], s["label"]) for s in client.get(url).json()["spans"]]
    answer = client.get("/api/export", params={"form": form, "video": video["id"]})
    assert answer.status_code == 200 and "filename*=UTF-8''a." in answer.headers["Content-Disposition"]
    client.post(f"/api/videos/{video['id']}/undo", json={"what": "spans"})
    name = {"label_studio": "a.json", "cvat": "a.xml"}.get(form, f"a.{form}")
    answer_2 = client.post("/api/import", params={"filename": name, "video": video["id"]}, content=answer.content)
    found = answer_2.json()
    assert (found["added"], found["boxes"], found["videos"]) == (3, 0, [video["id"]])
    assert [(s["start_s"], s["end_s"], s["label"]) for s in client.get(url).json()["spans"]] == before
    wrong = client.post("/api/import", params={"filename": name}, content=b"\x00\x01", headers=TYPE)
    assert wrong.status_code == 422 and name in wrong.json()["error"] and "/tmp" not in wrong.json()["error"]


def test_cvat_counts_the_frames_of_a_variable_rate(client, upload, tmp_path):
    """1 s at 25 frames a second, then 3 s at 10."""
    seconds = [k / 25 for k in range(25)] + [1 + k / 10 for k in range(30)]
    file = write_clip(tmp_path / "v.mp4", numbered_frames(55), pts=[round(600 * second) for second in seconds])
    video = upload("v.mp4", file.read_bytes())
    put(client, video, {**SPAN, "start_s": 0.52, "end_s": 3.5})
    exported = client.get("/api/export", params={"form": "cvat", "video": video["id"]})
    assert not exported.headers["X-Lost"]
    client.post(f"/api/videos/{video['id']}/undo", json={"what": "spans"})
    where = {"filename": "a.xml", "video": video["id"]}
    assert client.post("/api/import", params=where, content=exported.content, headers=TYPE).json()["added"] == 1
    (span,) = client.get(f"/api/videos/{video['id']}/spans").json()["spans"]
    assert (span["start_s"], span["end_s"]) == (0.52, 3.5)


def test_videos_of_an_export_have_the_names_that_people_gave(client, upload):
    videos = [upload("a.mp4"), upload("b c.mp4")]
    for each in videos:
        put(client, each, SPAN)
    text = client.get("/api/export", params={"form": "csv"}).text
    assert "\na.mp4,0.480,1.520,walk\n" in text and "\nb c.mp4,0.480" in text
    assert client.post("/api/import", params={"filename": "x.csv"}, content=text.encode()).json()["skipped"] == 2
    assert videos[0]["id"] in client.get("/api/export", params={"form": "csv", "names": "id"}).text
    answer = client.get("/api/export", params={"form": "srt"})
    assert answer.status_code == 422 and answer.json()["error"].startswith("spans.srt: subtitles are of one video")
    assert "expected one of" in client.get("/api/export", params={"form": "docx"}).json()["error"]
    client.patch(f"/api/videos/{videos[1]['id']}", json={"name": "a.mp4"})
    assert client.get("/api/export", params={"form": "csv"}).status_code == 409
    unknown = client.post("/api/import", params={"filename": "x.csv"}, content=text.encode())
    assert "several videos named 'a.mp4'" in unknown.json()["error"]


BOX = {"time_s": 1.0, "box": [0.1, 0.2, 0.3, 0.9], "person": "1", "actions": ["walk"]}


def test_boxes_are_lines_that_prepare_people_reads(client, video, project):
    put(client, video, BOX, {**BOX, "time_s": 2.0}, {**BOX, "person": "2", "actions": []}, what="people")
    found = client.get(f"/api/videos/{video['id']}/people").json()
    assert found["persons"] == ["1", "2"] and found["people"][0]["box"] == BOX["box"]
    put(client, video, {**BOX, "id": found["people"][0]["id"], "box": [0.2, 0.2, 0.4, 0.9]}, what="people")
    people = read_people(project.root / "people.jsonl", "auto", ImportOptions(lambda name: 25.0))
    assert [(p.person, p.time_s, p.box[0], p.actions, p.in_pixels) for p in people] == [
        ("1", 2.0, 0.1, ("walk",), False), ("2", 1.0, 0.1, (), False), ("1", 1.0, 0.2, ("walk",), False)
    ]  # fmt: skip
    for wrong in ({"box": [0.3, 0.2, 0.1, 0.9]}, {"box": [0, 0, 1, 1.2]}, {"time_s": -1}, {"person": " "},
                  {"person": "a\u200b"},
                  {"actions": ["fly"]}, {"box": [0, 0, 1]}, {"time_s": 99}):  # fmt: skip
        put(client, video, {**BOX, **wrong}, what="people", status=422)


def test_persons_are_merged_and_split_in_one_step(client, video):
    put(client, video, BOX, {**BOX, "time_s": 2.0}, {**BOX, "person": "2"}, what="people")
    put(client, video, {**SPAN, "person": "1"})
    url = f"/api/videos/{video['id']}"
    split = client.post(f"{url}/persons", json={"person": "1", "to": "3", "from_s": 1.5}).json()
    assert [(b["person"], b["time_s"], *b["actions"]) for b in split["people"]] == [
        ("1", 1.0, "walk"), ("1", 1.499, "walk"), ("2", 1.0, "walk"), ("3", 1.5, "walk"), ("3", 2.0, "walk")
    ]  # fmt: skip
    merged = client.post(f"{url}/persons", json={"person": "1", "to": "2"}).json()
    assert merged["persons"] == ["2", "3"]
    assert client.get(f"{url}/spans").json()["spans"][0]["person"] == "2"
    assert client.post(f"{url}/undo", json={"what": "people"}).json()["persons"] == ["1", "2", "3"]
    assert client.get(f"{url}/spans").json()["spans"][0]["person"] == "1"  # one step of boxes and spans
    assert client.post(f"{url}/persons", json={"person": "9", "to": "2"}).status_code == 404
    assert client.post(f"{url}/persons", json={"person": "1", "to": "1"}).status_code == 422


def test_a_step_of_both_is_not_undone_over_a_later_change(client, video):
    put(client, video, BOX, what="people")
    put(client, video, {**SPAN, "person": "1"})
    url = f"/api/videos/{video['id']}"
    client.post(f"{url}/persons", json={"person": "1", "to": "2"})
    (span,) = client.get(f"{url}/spans").json()["spans"]
    put(client, video, {**SPAN, "id": span["id"], "person": "2", "end_s": 3})
    answer = client.post(f"{url}/undo", json={"what": "people"})
    assert answer.status_code == 409 and "spans of this step were changed since" in answer.json()["error"]
    assert client.get(f"{url}/people").json()["persons"] == ["2"]
    for what, end_s, person in (("spans", 1.52, "2"), ("people", 1.52, "1")):
        assert client.post(f"{url}/undo", json={"what": what}).status_code == 200
        (span,) = client.get(f"{url}/spans").json()["spans"]
        assert (span["end_s"], span["person"]) == (end_s, person)


def test_a_split_at_a_key_and_a_box_between_two(client, video):
    put(client, video, BOX, {**BOX, "time_s": 3.0, "box": [0.3, 0.2, 0.5, 0.9], "actions": ["run"]}, what="people")
    url = f"/api/videos/{video['id']}/persons"
    split = client.post(url, json={"person": "1", "to": "3", "from_s": 2.0}).json()["people"]
    assert [(b["person"], b["time_s"], b["box"][0]) for b in split[1:3]] == [("1", 1.999, 0.1999), ("3", 2.0, 0.2)]
    split = client.post(url, json={"person": "3", "to": "4", "from_s": 3.0}).json()["people"]
    assert [(b["person"], b["time_s"], *b["actions"]) for b in split[2:]] == [
        ("3", 2.0, "walk"), ("3", 2.999, "walk"), ("4", 3.0, "run")
    ]  # fmt: skip


def test_boxes_at_one_moment_become_one_with_the_actions_of_both(client, video, project):
    line = {"video": f"{video['id']}.mp4", "box": [0.5, 0.2, 0.7, 0.9], "units": "fractions", "person": "2"}
    project.people.append([{**line, "time_s": t, "actions": ["run"]} for t in (1.0, 2.0)], "model 1")
    put(client, video, BOX, what="people")
    merged = client.post(f"/api/videos/{video['id']}/persons", json={"person": "1", "to": "2"}).json()["people"]
    assert [(b["person"], b["time_s"], b["box"][0], b["actions"], b["by"]) for b in merged] == [
        ("2", 1.0, 0.1, ["run", "walk"], "human"), ("2", 2.0, 0.5, ["run"], "model 1")
    ]  # fmt: skip
    wrong = put(client, video, {**BOX, "person": "2"}, what="people", status=422)
    assert "person '2' has a box at 1.000 s already" in wrong["error"]
    put(client, video, {**BOX, "person": "5"}, {**BOX, "person": "5"}, what="people", status=422)
    project.people.append([{**line, "time_s": 2.0, "actions": []}], "model 1")  # as an earlier version stored it
    part = client.get(f"/api/videos/{video['id']}/people", params={"from_s": 2, "to_s": 3}).json()["people"]
    assert len(part) == 2


def test_a_project_is_a_folder_that_people_can_read(client, video, project):
    put(client, video, SPAN)
    content = json.loads((project.root / "project.json").read_text())
    assert content["format"] == "paddlevideo.studio" and content["classes"][0] == {"name": "walk", "colour": "#2d6cec"}
    assert json.loads((project.root / "videos" / f"{video['id']}.json").read_text())["name"] == "a.mp4"
    assert {p.name for p in project.root.iterdir()} == {
        ".lock", "project.json", "spans.jsonl", "people.jsonl", "videos", "originals", "models", "runs"
    }  # fmt: skip
