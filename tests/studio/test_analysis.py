"""T7: what the studio finds is what the command finds; prediction of a file; training of a project."""

import json
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio import training
from paddlevideo_studio.studio import Limits
from paddlevideo_studio.training import split, write_lists

from paddlevideo.cli.main import main
from paddlevideo.errors import UserError
from paddlevideo.spans import read_spans
from tests.studio.conftest import TYPE
from tests.studio.test_annotations import put
from tests.studio.test_videos import wait
from tests.tiny import save, tsm_config

SETTINGS = {"window_s": 0.5, "hop_s": 0.125, "on": 0.25, "off": 0.22, "min_s": 0.05, "gap_s": 0.01, "smoothing": "none"}
WORDS = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]


@pytest.fixture
def model(project, tiny):
    model = project.models.add_folder(tiny.folder)
    project.use(model)
    return model


def spans_of(client, video, **params):
    found = client.get(f"/api/videos/{video['id']}/spans", params=params).json()["spans"]
    return [(s["start_s"], s["end_s"], s["label"], s.get("score")) for s in found]


def test_spans_of_the_page_are_those_of_the_command(client, video, project, model, clip, tmp_path):
    url = f"/api/videos/{video['id']}"
    job = client.post(f"{url}/analyse", json={"settings": SETTINGS})
    assert job.status_code == 202
    assert client.post(f"{url}/analyse", json={}).status_code == 409  # it is analysed already
    job = wait(client, job.json()["id"])
    assert job["state"] == "done", client.get(f"/api/jobs/{job['id']}/log").text
    out = tmp_path / "out.json"
    words = ["timeline", "--model_file", str(project.models.path(model)), "-i", str(clip), "--out", str(out)]
    assert main([*words, *WORDS]) == 0
    wanted = [(s.start_s, s.end_s, s.label, s.score) for s in read_spans(out).spans]
    found = spans_of(client, video)
    assert found == wanted and len(found) > 2
    assert job["result"] == {"spans": len(found), "added": len(found), "checked_before": 0}
    assert spans_of(client, video, run=job["id"]) == wanted
    curve = client.get(f"{url}/scores").json()
    assert curve["model"] == model.id and len(curve["scores"]) == len(curve["windows_s"]) > 20
    assert all(abs(sum(row) - 1) < 0.01 for row in curve["scores"]) and curve["windows_s"][1] == [0.125, 0.625]
    shown = client.get(url).json()
    assert (shown["analysed"], shown["spans"], shown["checked"]) == ([model.id], len(found), 0)
    with project.lock:
        names = project.present_classes(model)
    assert curve["classes"] == names == [*model.classes]
    one, *others = project.class_names()
    classes = [{"name": "anew", "was": one}, *({"name": name} for name in others)]
    assert client.patch("/api/project", json={"classes": classes}).status_code == 200
    now = ["anew" if name == one else name for name in model.classes]
    assert client.get(f"{url}/scores").json()["classes"] == now
    relabelled = [(*s[:2], "anew" if s[2] == one else s[2], s[3]) for s in wanted]
    assert spans_of(client, video, run=job["id"]) == relabelled
    answer = client.post("/api/predict", params={"name": "b.mp4"}, content=clip.read_bytes(), headers=TYPE).json()
    assert answer["classes"] == now and {span["label"] for span in answer["spans"]} <= {*now}
    classes = [{"name": one, "was": "anew"}, *({"name": name} for name in others)]
    assert client.patch("/api/project", json={"classes": classes}).status_code == 200
    _corrected_spans_stay(client, video, found)


def test_the_project_s_options_are_those_of_every_analysis(client, video, project, model):
    assert client.patch("/api/project", json={"analysis": {"out": "x"}}).status_code == 422
    assert (
        client.patch("/api/project", json={"analysis": {"window_s": 0.5, "off": 0.3}}).json()["analysis"]["off"] == 0.3
    )
    job = client.post(f"/api/videos/{video['id']}/analyse", json={"settings": {"on": 0.9}}).json()
    client.post(f"/api/jobs/{job['id']}/cancel")
    assert " --window_s 0.5 --off 0.3 --on 0.9 " in job["command"] and wait(client, job["id"])["state"] == "cancelled"


def _corrected_spans_stay(client, video, found):
    """A further analysis does not show again what a person has kept, changed or removed."""
    url = f"/api/videos/{video['id']}"
    first, second, *_, last = client.get(f"{url}/spans").json()["spans"]
    kept = {key: first[key] for key in ("id", "start_s", "end_s", "label")}
    moved = {**kept, "id": second["id"], "start_s": second["start_s"], "end_s": second["end_s"] + 0.04}
    put(client, video, kept, {**moved, "label": second["label"]}, {"id": last["id"], "removed": True})
    job = wait(client, client.post(f"{url}/analyse", json={"settings": SETTINGS}).json()["id"])
    assert job["result"] == {"spans": len(found), "added": len(found) - 3, "checked_before": 3}
    assert len(spans_of(client, video)) == len(found) - 1
    assert client.get(url).json()["checked"] == 2
    undone = client.post(f"{url}/undo", json={"what": "spans"}).json()["spans"]
    assert len(undone) == len(found) and all(span["by"] == "model 1" for span in undone)


def test_a_file_is_predicted_and_not_kept(client, project, model, clip, tmp_path):
    answer = client.post("/api/predict", params={"name": "b.mp4"}, content=clip.read_bytes(), headers=TYPE)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    out = tmp_path / "out.json"
    assert main(["timeline", "--model_file", str(project.models.path(model)), "-i", str(clip), "--out", str(out)]) == 0
    wanted = json.loads(out.read_text())
    assert [{**s, "video": "b.mp4"} for s in wanted["spans"]] == found["spans"] and [*found["videos"]] == ["b.mp4"]
    assert found["settings"] == wanted["settings"] and not [*(project.root / "videos").iterdir()]
    bad = client.post("/api/predict", params={"name": "b.mp4"}, content=b"PK\x03\x04" * 100, headers=TYPE)
    assert bad.status_code == 415 and bad.json()["error"].startswith("b.mp4: ")


def test_a_full_queue_of_predictions_refuses(client, model):
    state = client.app._app._app.state.studio
    state.predictions.places._count, state.uploads._count = 5, 8
    for path in ("/api/predict", "/api/videos?name=a.mp4"):
        answer = client.post(path, content=b"x", headers=TYPE)
        assert answer.status_code == 429 and answer.headers["retry-after"] == "5"


def test_models_are_exports_of_this_suite(project, tiny, tmp_path, client):
    model = project.models.add_folder(tiny.folder)
    assert project.models.add_folder(tiny.folder) == model  # once
    assert (model.kind, model.classes[0]) == ("timeline", "archery") and model.held_out is None
    shown = client.get("/api/models").json()
    assert shown["model"] is None and shown["models"][0]["id"] == 1
    assert client.post("/api/models/1/use").json()["model"] == 1
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "model.pdparams").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="no exported model"):
        project.models.add_folder(tmp_path / "pickle")
    damaged = project.models.path(model) / "TSM.pdiparams"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="differs from what inference.yml"):
        project.models.add_folder(damaged.parent)


def test_a_failed_analysis_has_the_last_lines_of_its_log(client, video, project, model):
    (project.models.path(model) / "TSM.pdiparams").write_bytes(b"x")
    job = wait(client, client.post(f"/api/videos/{video['id']}/analyse", json={}).json()["id"])
    assert job["state"] == "failed" and "TSM.pdiparams: differs" in job["error"]
    assert job["command"].startswith("paddlevideo timeline --model_file")
    for wrong in ({"on": "high"}, {"out": "x"}, {"background": "--out"}):
        answer = client.post(f"/api/videos/{video['id']}/analyse", json={"settings": wrong})
        assert answer.status_code == 422 and "settings: " in answer.json()["error"]


def test_whole_videos_are_held_out_and_stay_so(client, upload, project, tmp_path):
    videos = [upload(f"{n}.mp4") for n in range(4)]
    with pytest.raises(UserError, match="training needs two or more videos"):
        split(project)
    for n, each in enumerate(videos):
        put(client, each, {"start_s": 0, "end_s": 1, "label": "walk"}, {"start_s": 1, "end_s": 2, "label": "run"})
        if n == 2:
            first = split(project)
    second = split(project)
    sides = [{table: {*part.video_names()} for table, part in parts.items()} for parts in (first, second)]
    assert len(sides[0]["val"]) == 1 and sides[0]["val"] <= sides[1]["val"] and sides[0]["train"] <= sides[1]["train"]
    write_lists(project, second, tmp_path / "data")
    assert len(read_spans(tmp_path / "data" / "train.json").spans) == 6
    assert Path(tmp_path / "data" / "classes.txt").read_text().splitlines() == ["walk", "run"]
    assert client.get("/api/project").json()["counts"]["corrections"] == 8


@pytest.mark.slow
def test_full_training_makes_a_model_with_a_held_out_figure(client, upload, project, tmp_path, monkeypatch):
    for n in range(3):
        each = upload(f"{n}.mp4")
        put(client, each, {"start_s": 0, "end_s": 1, "label": "walk"}, {"start_s": 1, "end_s": 2, "label": "run"})
    config = tsm_config(tmp_path, tmp_path)
    for part in ("train", "valid", "test"):
        config["DATASET"][part] = {"format": "SpanDataset", "file_path": "not there"}
    save(config, tmp_path / "tiny.yaml")
    monkeypatch.setattr(training, "CONFIGS", tmp_path)
    body = {"mode": "full", "config": "tiny", "override": ["log_interval=2"]}
    of_frames = {"override": ["DATASET.train.format=FrameDataset"]}
    for wrong in ({"config": "../tiny"}, {"override": ["imports=[a.py]"]}, {"override": ["output_dir=/"]}, of_frames):
        assert client.post("/api/train", json={**body, **wrong}).status_code == 422
    answer = client.post("/api/train", json=body)
    assert answer.status_code == 202, answer.text
    job = wait(client, answer.json()["id"], 300)
    assert job["state"] == "done", client.get(f"/api/jobs/{job['id']}/log").text[-3000:]
    result = job["result"]
    assert result["model"] == 1 and result["held_out"]["name"] == "top1" and result["used"]
    shown = client.get("/api/models").json()
    assert shown["model"] == 1 and shown["models"][0]["classes"] == ["walk", "run"]
    assert client.get("/api/project").json()["counts"]["corrections"] == 0
    assert [step.split()[1] for step in job["command"].split(" && ")[:2]] == ["train", "export"]


def test_a_full_queue_of_jobs_refuses(serve, clip, model):
    client = serve(limits=Limits(queue=1))
    keys = [client.post("/api/videos?name=a.mp4", content=clip.read_bytes()).json()["id"] for _ in range(3)]
    answers = [client.post(f"/api/videos/{key}/analyse", json={}) for key in keys]
    assert [a.status_code for a in answers] in ([202, 429, 429], [202, 202, 429])  # the first may run already
    assert answers[-1].headers["retry-after"] == "5" and "queue is full" in answers[-1].json()["error"]
    for job in client.get("/api/jobs").json()["jobs"]:
        client.post(f"/api/jobs/{job['id']}/cancel")
        assert wait(client, job["id"])["state"] == "cancelled"


def test_cancelling_an_analysis_leaves_the_video_as_it_was(client, video, model):
    url = f"/api/videos/{video['id']}"
    number = client.post(f"{url}/analyse", json={}).json()["id"]
    assert client.delete(url).status_code == 409
    time.sleep(0.5)
    client.post(f"/api/jobs/{number}/cancel")
    assert wait(client, number)["state"] == "cancelled"
    shown = client.get(url).json()
    assert shown["job"] is None and shown["analysed"] == [] and spans_of(client, video) == []
