"""Head training and similar spans as jobs of the studio, whole."""

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo.spans import read_spans
from tests.scenes import NONE, SCENE_S, WINDOWS, write_scenes
from tests.studio.conftest import TYPE
from tests.studio.test_annotations import put
from tests.studio.test_videos import wait

SCENES = [["walk", NONE, "run"], ["run", "walk", NONE], ["walk", "run", NONE, "walk"]]


@pytest.fixture
def model(project, tiny):
    model = project.models.add_folder(tiny.folder)
    project.use(model)
    return model


@pytest.fixture
def videos(client, project, tmp_path):
    """Uploaded videos whose spans a person has marked."""
    found = []
    for number, kinds in enumerate(SCENES):
        file = tmp_path / f"{number}.mp4"
        spans = write_scenes(file, kinds, number)
        answer = client.post(f"/api/videos?name={file.name}", content=file.read_bytes(), headers=TYPE)
        found.append(answer.json())
        put(client, found[-1], *({k: vars(s)[k] for k in ("start_s", "end_s", "label")} for s in spans))
    project.change(analysis={**WINDOWS, "on": 0.5, "off": 0.3})
    return found


def run(client, url, body):
    answer = client.post(url, json=body)
    assert answer.status_code == 202, answer.text
    job = wait(client, answer.json()["id"], 120)
    assert job["state"] == "done", client.get(f"/api/jobs/{job['id']}/log").text[-3000:]
    return job


def test_a_head_is_taught_used_and_taught_again(client, videos, project, model):
    entry = {"video": project.videos.get(videos[0]["id"]).file, "start_s": 3.0, "end_s": 4.2, "label": "run"}
    project.spans.append([entry], "model 1")
    for each in videos[1:]:  # a model has analysed them, and a person has removed what it found
        found = {**entry, "video": project.videos.get(each["id"]).file}
        (line,) = project.spans.append([found], "model 1")
        project.spans.append([{"video": line["video"], "removed": True, "replaces": line["id"]}], "human")
    job = run(client, "/api/train", {"mode": "head"})
    assert job["kind"] == "teach" and job["command"].startswith("paddlevideo teach --model_file")
    folder = project.root / "runs" / str(job["id"])
    ignored = [s.to_dict() for s in read_spans(folder / "data" / "ignore.json").spans]
    assert ignored == [{**entry, "start_s": 0.0, "end_s": videos[0]["duration_s"]}]  # a span of it waits to be checked
    assert " --window_s 1 --hop_s 0.5 --on 0.5 --off 0.3 " in job["command"]
    result = job["result"]
    assert result["used"] and result["held_out"]["value"] > result["previous"]["value"]
    shown = client.get("/api/models").json()
    assert shown["model"] == 2 and shown["models"][-1]["classes"][:7] == [*model.classes, "walk", "run"]
    names = [each["name"] for each in client.get("/api/project").json()["classes"]]
    assert {*names} == {"walk", "run"}  # the model's background is no class that a person marks
    before = {file: file.stat().st_mtime_ns for file in project.features.glob("*.npz")}
    assert len(before) == len(SCENES)
    assert {"TSM_names.json", "TSM_config.yml"} <= {file.name for file in (project.root / "models" / "2").iterdir()}
    put(client, videos[0], {"start_s": 1, "end_s": 2, "label": "run", "person": "1"})
    again = run(client, "/api/train", {"mode": "head"})
    assert again["result"]["left_out"] == 1 and "left_out" not in result  # a head is not taught spans of persons
    assert again["model"] == 2 and f"({len(SCENES)} from " in client.get(f"/api/jobs/{again['id']}/log").text
    assert before == {file: file.stat().st_mtime_ns for file in project.features.glob("*.npz")}
    # of the same spans under other names the model in use has the same figure, and what is taught on it the new names
    client.patch("/api/project", json={"classes": [{"name": "run", "was": "walk"}, {"name": "walk", "was": "run"}]})
    assert client.post("/api/models/2/use").status_code == 200
    renamed = run(client, "/api/train", {"mode": "head"})["result"]
    assert renamed["previous"] == again["result"]["previous"] and renamed["left_out"] == 1
    swapped = ["run", "walk", *shown["models"][-1]["classes"][7:]]
    assert client.get("/api/models").json()["models"][-1]["classes"][5:] == swapped


def test_a_second_click_trains_nothing_twice(client, videos, model):
    first = client.post("/api/train", json={"mode": "head"}).json()
    again = client.post("/api/train", json={"mode": "head"})
    assert again.status_code == 409 and f"run {first['id']} is " in again.json()["error"]
    put(client, videos[0], {"start_s": 0.2, "end_s": 0.8, "label": "run"})
    changed = client.post("/api/train", json={"mode": "head"}).json()
    for job in (first, changed):
        assert client.post(f"/api/jobs/{job['id']}/cancel").status_code == 200
    wait(client, first["id"])
    anew = client.post("/api/train", json={"mode": "head"})
    assert anew.status_code == 202 and client.post(f"/api/jobs/{anew.json()['id']}/cancel").status_code == 200


def test_similar_spans_of_all_videos(client, videos, model):
    url = f"/api/videos/{videos[0]['id']}/similar"
    job = run(client, url, {"start_s": 0, "end_s": SCENE_S, "top": 3})
    assert job["kind"] == "similar" and job["video"] is None and job["model"] == model.id
    found = job["result"]["found"]
    assert len(found) == 3 and [*found[0]] == ["video", "start_s", "end_s", "similarity"]
    wanted = {(videos[1]["id"], 1), (videos[2]["id"], 0), (videos[2]["id"], 3)}
    assert {(each["video"], round(each["start_s"] / SCENE_S)) for each in found} == wanted
    for body in ({"start_s": 2, "end_s": 2}, {"start_s": 50, "end_s": 60}, {"start_s": 0, "end_s": 1, "top": 51}):
        assert client.post(url, json=body).status_code == 422
    assert client.post(url, json={"start_s": 0, "end_s": 1, "model": 9}).status_code == 404
    assert client.post("/api/videos/0123456789abcdef/similar", json={"start_s": 0, "end_s": 1}).status_code == 404


def test_a_head_needs_a_model_in_use(client, videos):
    assert client.post("/api/train", json={"mode": "head"}).status_code == 409
    assert "can_teach" not in client.get("/api/project").json()
