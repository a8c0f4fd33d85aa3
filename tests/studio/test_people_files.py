"""Boxes of persons from files and to them; the detector without a model of actions."""

import json
import zipfile
from io import BytesIO

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.boxes import DETECTOR
from paddlevideo_studio.command import detector_of
from paddlevideo_studio.jobs import Job
from paddlevideo_studio.work import finish_detect

from paddlevideo.ava_files import read_ava_csv
from paddlevideo.cli.main import main
from paddlevideo.errors import UserError
from tests.clips import numbered_frames, write_clip
from tests.commands.annotation_forms import BASE, EXPORTS
from tests.studio.conftest import TYPE
from tests.studio.test_annotations import BOX, put

KEYS = [
    {**BOX, "time_s": 0.2},
    {**BOX, "time_s": 1.4, "box": [0.3, 0.2, 0.5, 0.9], "actions": ["run", "walk"]},
    {**BOX, "time_s": 3.0, "actions": []},
    {**BOX, "time_s": 1.0, "person": "2", "box": [0.5, 0.25, 0.75, 0.875], "actions": ["run"]},
]


def people_of(client, video):
    found = client.get(f"/api/videos/{video['id']}/people").json()["people"]
    return [(b["person"], b["time_s"], b["box"], sorted(b["actions"])) for b in found]


def imported(client, video, name, content, status=200, **params):
    params = {"filename": name, "video": video["id"], **params}
    answer = client.post("/api/import", params=params, content=content, headers=TYPE)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize("form", ["people_csv", "people_jsonl", "people_ava", "people_cvat"])
def test_what_is_exported_is_imported_equal(client, video, form):
    put(client, video, *KEYS, what="people")
    before = people_of(client, video)
    answer = client.get("/api/export", params={"form": form, "video": video["id"]})
    assert answer.status_code == 200, answer.text
    name = answer.headers["Content-Disposition"].rpartition("''")[2]
    client.post(f"/api/videos/{video['id']}/undo", json={"what": "people"})
    found = imported(client, video, name, answer.content, form="people")
    assert (found["added"], found["boxes"], found["videos"]) == (0, 4, [video["id"]])
    after = people_of(client, video)
    assert [row[:2] + row[3:] for row in after] == [row[:2] + row[3:] for row in before]
    tolerance = 0.0006 if form == "people_ava" else 1e-5
    assert all(abs(a - b) < tolerance for x, y in zip(after, before) for a, b in zip(x[2], y[2]))
    assert all(b["by"] == "human" for b in client.get(f"/api/videos/{video['id']}/people").json()["people"])
    imported(client, video, name, answer.content)  # again: replaces, and is one step of undo
    assert len(people_of(client, video)) == 4
    client.post(f"/api/videos/{video['id']}/undo", json={"what": "people"})
    client.post(f"/api/videos/{video['id']}/undo", json={"what": "people"})
    assert people_of(client, video) == []


def test_an_export_is_a_data_set_of_every_second(client, upload, project, tmp_path):
    videos = [upload("a.mp4"), upload("b.mp4")]
    for each in videos:
        put(client, each, *KEYS, what="people")
    file = tmp_path / "people.csv"
    file.write_bytes(client.get("/api/export", params={"form": "people_csv", "names": "id"}).content)
    words = ["prepare", "people", str(file), "--videos", str(project.videos.folder), "--out", str(tmp_path / "data")]
    assert main([*words, "--val", "0.5", "--every_s", "1", "--jobs", "1", "--base", str(BASE)]) == 0
    rows = read_ava_csv(tmp_path / "data/train.csv")
    labelled = sorted({(float(rows.timestamp[i]), int(rows.entity[i])) for i in range(len(rows))})
    assert [time_s for time_s, _ in labelled] == [1.0, 1.0, 2.0]


def test_rows_without_a_person_become_tracks_and_bad_files_change_nothing(client, video, project):
    rows = [f"a.mp4,{t},{0.1 + 0.02 * t},0.2,{0.3 + 0.02 * t},0.9,jump" for t in range(4)]
    text = "video,time_s,x1,y1,x2,y2,actions\n" + "\n".join(rows)
    assert imported(client, video, "p.csv", text)["boxes"] == 4
    assert {row[0] for row in people_of(client, video)} == {"1"} and "jump" in project.class_names()
    size = (project.root / "people.jsonl").stat().st_size
    header = "video,time_s,x1,y1,x2,y2,actions,person\n"
    for name, content, wanted in (
        ("p.csv", header + "a.mp4,9,0.1,0.1,0.5,0.5,walk,1", "after the end of its video"),
        ("p.csv", header + "a.mp4,1,0.9,0.1,1.9,0.5,walk,1", "by more than half not in the picture"),
        ("p.csv", header + "a.mp4,1,0.1,0.1,0.5,0.5,walk,1\na.mp4,1,0.2,0.1,0.5,0.5,run,1", "two boxes at second 1"),
        ("p.csv", "a,1,0.1,0.1,0.5,0.5,1,1\n", "put it into a .zip with their list"),
        ("p.zip", b"PK\x03\x04", "expected an archive of AVA's csv"),
        ("p.jsonl", json.dumps({"box": [0, 0, 1], "time_s": 1}), "expected a box of four numbers"),
    ):
        error = imported(client, video, name, content, 422)["error"]
        assert wanted in error and "/tmp" not in error, error
    assert (project.root / "people.jsonl").stat().st_size == size


def test_an_archive_has_the_classes_in_their_order(client, video):
    put(client, video, *KEYS, what="people")
    content = client.get("/api/export", params={"form": "people_ava"}).content
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert 'name: "walk"\n  id: 1' in archive.read("labels.pbtxt").decode()
        assert archive.read("people.csv").decode().splitlines()[0] == "a,0000.2,0.100,0.200,0.300,0.900,1,1"
    wrong = client.get("/api/export", params={"form": "people_mot"})
    assert wrong.status_code == 422 and "people_csv" in wrong.json()["error"]


PEOPLE = """video,time_s,x1,y1,x2,y2,actions,person,units
a.mp4,0.000,0.1,0.2,0.3,0.9,,0,fractions
a.mp4,1.000,0.1,0.2,0.3,0.9,,0,fractions
a.mp4,1.000,0.5,0.2,0.7,0.9,,1,fractions
a.mp4,1.000,0.7,0.2,0.9,0.9,,2,fractions
"""


def test_a_detection_is_repeated_but_not_over_what_a_person_decided(client, video, project, tmp_path):
    put(client, video, {**BOX, "person": "2"}, what="people")  # made by hand: not the detector's "2"

    def detected(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "people.csv").write_text(PEOPLE)
        return finish_detect(project, Job(number, "detect", [], video["id"]), folder, True)

    assert detected(1) == {"persons": 3, "boxes": 4, "boxes_added": 4}
    url = f"/api/videos/{video['id']}/people"
    found = client.get(url).json()
    assert found["persons"] == ["0", "1", "2", "3"]
    assert {(b["person"], b["by"]) for b in found["people"]} == {
        ("0", DETECTOR), ("1", DETECTOR), ("2", "human"), ("3", DETECTOR)
    }  # fmt: skip
    ids = {b["person"]: b["id"] for b in found["people"] if b["time_s"] == 1.0}
    put(client, video, {**BOX, "id": ids["0"], "person": "0"}, {"id": ids["1"], "removed": True}, what="people")
    assert detected(2)["boxes_added"] == 1  # "0" was corrected, "1" removed
    assert client.get(url).json()["persons"] == ["0", "2", "3"]


def test_persons_of_a_video_are_found_by_a_job(client, video, project):
    from tests.studio.test_videos import wait

    url = f"/api/videos/{video['id']}"
    for wrong in ({"every_s": 0}, {"every_s": "a"}):
        assert client.post(f"{url}/detect", json=wrong).status_code == 422
    answer = client.post(f"{url}/detect", json={"every_s": 0.5})
    assert answer.status_code == 202 and answer.json()["kind"] == "detect"
    job = wait(client, answer.json()["id"])
    assert job["state"] == "done", job
    assert " --detector hog --every_s 0.5 " in job["command"] and job["command"].startswith("paddlevideo persons -i ")
    assert job["result"]["boxes"] == len(client.get(f"{url}/people").json()["people"])


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_annotation_of_every_tool_gives_its_boxes(client, upload, tmp_path, export):
    """Files that need no option of ``prepare people`` but the video."""
    clip = write_clip(tmp_path / "clip.mp4", numbered_frames(40, 64, 80), 10).read_bytes()
    box, names = np.array([0.1, 0.2, 0.5, 0.9]), {"a": [["walk"], ["walk", "run"]], "b": [["run"], []]}
    truth = [(v, t, box, names[v][t - 1], k) for v in "ab" for t in (1, 2) for k in (0, 1)]
    truth = [(v, t, b + 0.05 * k, n, k) for v, t, b, n, k in truth]
    videos = {name: upload(f"{name}.mp4", clip) for name in "ab"}
    for name, text, options in export(truth):
        if set(options) - {"video"}:
            pytest.skip(f"needs {', '.join(options)}")
        params = {"filename": name, "form": "people"}
        params |= {"video": videos[options["video"]]["id"]} if options else {}
        answer = client.post("/api/import", params=params, content=text.encode(), headers=TYPE)
        assert answer.status_code == 200, answer.text
    for name, video in videos.items():
        found = {(t, tuple(np.round(b, 2)), tuple(sorted(a))) for _, t, b, a in people_of(client, video)}
        wanted = {(t, tuple(np.round(b, 2)), tuple(sorted(n))) for v, t, b, n, _ in truth if v == name}
        assert wanted <= found, export.__name__


def test_the_detector_is_kept_as_a_whole_path_and_shown_by_its_name(client, project, tmp_path, monkeypatch):
    assert client.get("/api/project").json()["detector"] == "hog"
    (tmp_path / "yolo.onnx").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    project.change(detector=detector_of("yolo.onnx"))
    assert project.settings.detector == str(tmp_path / "yolo.onnx") and detector_of("HOG") == "hog"
    assert client.get("/api/project").json()["detector"] == "yolo.onnx"
    with pytest.raises(UserError, match="no such file; expected hog, an .onnx file"):
        detector_of("other.onnx")
