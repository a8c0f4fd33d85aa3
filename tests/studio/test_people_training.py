"""Training of a detector of actions on the boxes of a project, and analyses with it."""

import re

import numpy as np
import pytest
import yaml

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio import people_training, training

from tests.studio.test_annotations import BOX, put
from tests.studio.test_videos import wait
from tests.tiny_ava import tiny_ava_config

KEYS = [
    {**BOX, "time_s": 0.2},
    {**BOX, "time_s": 2.4, "box": [0.3, 0.2, 0.6, 0.9], "actions": ["run"]},
    {**BOX, "time_s": 3.0, "actions": []},
    {**BOX, "time_s": 1.0, "person": "2", "box": [0.5, 0.25, 0.75, 0.875], "actions": ["run"]},
]


@pytest.fixture
def people(client, upload, project):
    """Three videos with persons."""
    client.patch("/api/project", json={"kind": "people"})
    videos = [upload(f"{n}.mp4") for n in range(3)]
    for each in videos:
        put(client, each, *KEYS, what="people")
    return videos


def test_boxes_of_the_detector_are_trained_on_where_a_person_has_their_track(client, people, project):
    first = project.videos.get(people[0]["id"]).file
    for person, by in (("1", "detector"), ("9", "detector"), ("2", "model 1")):
        line = {"video": first, "time_s": 3.5, "box": [0.1, 0.1, 0.5, 0.9], "units": "fractions", "person": person}
        project.people.append([{**line, "actions": []}], by)
    parts = people_training.split(project)
    assert {(p.person, p.time_s) for p in parts.people if p.video == first} == {
        ("1", 0.2), ("1", 2.4), ("1", 3.0), ("1", 3.5), ("2", 1.0)
    }  # fmt: skip
    assert len(parts.held_out) == 1 and parts.classes == ["walk", "run"]
    assert people_training.split(project).held_out == parts.held_out
    assert client.get("/api/project").json()["counts"]["people_corrections"] == 12


def test_nothing_is_interpolated_across_boxes_that_no_person_checked(client, people, project):
    first = project.videos.get(people[0]["id"]).file
    line = {"video": first, "box": [0.1, 0.1, 0.5, 0.9], "units": "fractions", "person": "1", "actions": ["run"]}
    project.people.append([{**line, "time_s": 1.0}, {**line, "time_s": 2.0}, {**line, "time_s": 9.0}], "model 1")
    found = {(p.person, p.time_s) for p in people_training.split(project).people if p.video == first}
    assert found == {("1", 0.2), ("1 #2", 2.4), ("1 #2", 3.0), ("2", 1.0)}


def test_what_cannot_be_trained_is_refused(client, upload, project):
    client.patch("/api/project", json={"kind": "people"})
    body = {"mode": "full", "config": "slowonly_synthetic_demo"}
    put(client, upload("a.mp4"), *KEYS, what="people")
    answer = client.post("/api/train", json=body)
    assert answer.status_code == 409 and "persons by a person in 1 video:" in answer.json()["error"]
    for wrong, text in (({"config": "tsm_own_spans"}, "of no detector of actions"), ({"config": None}, "config: "),
                        ({"mode": "head"}, "are trained whole")):  # fmt: skip
        answer = client.post("/api/train", json={**body, **wrong})
        assert answer.status_code == 422 and text in answer.json()["error"]


def tiny_base(folder):
    """A configuration of the tiny detector with its training."""
    config = tiny_ava_config(folder / "none")
    test = {key: value for key, value in config["DATASET"]["test"].items() if key != "custom_classes"}
    config["DATASET"] |= {"train": test, "valid": test, "test": test, "valid_batch_size": 2}
    config["PIPELINE"] |= {"train": config["PIPELINE"]["test"], "valid": config["PIPELINE"]["test"]}
    config["MODEL"]["head"]["assigner"] = {
        "name": "MaxIoUAssignerAVA", "pos_iou_thr": 0.9, "neg_iou_thr": 0.9, "min_pos_iou": 0.9
    }  # fmt: skip
    config["MODEL"]["head"]["sampler"] = {
        "name": "RandomSampler", "num": 8, "pos_fraction": 1, "neg_pos_ub": -1, "add_gt_as_proposals": True
    }  # fmt: skip
    config["OPTIMIZER"] = {
        "name": "Momentum", "momentum": 0.9, "learning_rate": {"name": "PiecewiseDecay", "boundaries": [5],
                                                               "values": [0.01, 0.001]},
    }  # fmt: skip
    config |= {"epochs": 1, "log_interval": 1}
    (folder / "tiny_people.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.mark.slow
def test_a_training_makes_a_model_of_people_that_analyses(client, people, project, tmp_path, monkeypatch):
    tiny_base(tmp_path)
    monkeypatch.setattr(training, "CONFIGS", tmp_path)
    answer = client.post("/api/train", json={"mode": "full", "config": "tiny_people", "override": ["epochs=1"]})
    assert answer.status_code == 202, answer.text
    job = wait(client, answer.json()["id"], 300)
    assert job["state"] == "done", client.get(f"/api/jobs/{job['id']}/log").text[-3000:]
    assert job["result"]["held_out"]["name"] == "mAP@0.5IOU" and job["result"]["used"]
    shown = client.get("/api/models").json()
    assert shown["model"] == 1 and shown["models"][0]["kind"] == "people"
    assert client.get("/api/project").json()["counts"]["people_corrections"] == 0
    words = [step.split()[1:3] for step in job["command"].split(" && ")]
    assert words[0] == ["prepare", "people"] and [w[0] for w in words[1:3]] == ["train", "export"]
    _analyse(client, people[0], project, tmp_path)


def _analyse(client, video, project, folder):
    """With the model that was trained, and a detector that finds one person in every picture."""
    project.change(detector=str(one_person(folder / "one.onnx")), kind="people")
    url = f"/api/videos/{video['id']}"
    before = client.get(f"{url}/people").json()["people"]
    answer = client.post(f"{url}/analyse", json={"settings": {"on": 0.3, "off": 0.2}})
    assert answer.status_code == 202, answer.text
    job = wait(client, answer.json()["id"], 120)
    log = client.get(f"/api/jobs/{job['id']}/log").text
    assert job["state"] == "done", log[-3000:]
    assert re.search(r"^at \d+\.\d s$", log, re.MULTILINE)
    assert job["result"]["boxes"] > 10 and "--detector" in job["command"]
    found = client.get(f"{url}/people").json()
    new = [box for box in found["people"] if box["by"] == "model 1"]
    assert len(new) == job["result"]["boxes_added"] == len(found["people"]) - len(before)
    assert new[0]["box"] == pytest.approx([0.25, 0.25, 0.5, 0.75], abs=0.01)
    run = client.get(f"{url}/spans", params={"run": job["id"]}).json()
    assert (run["run"], run["model"]) == (job["id"], 1) and len(run["spans"]) == job["result"]["spans"]
    assert all(span["person"] for span in run["spans"])


def one_person(path):
    """An ONNX detector whose output is constant: rows x1, y1, x2, y2, score of pictures of 64 x 48."""
    library = pytest.importorskip("onnx", reason="onnx, which writes the graph, is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    helper, rows = library.helper, np.array([[[16, 12, 32, 36, 0.9]]], np.float32)
    node = helper.make_node("Constant", [], ["rows"], value=library.numpy_helper.from_array(rows))
    images = helper.make_tensor_value_info("images", library.TensorProto.FLOAT, [1, 3, 48, 64])
    out = helper.make_tensor_value_info("rows", library.TensorProto.FLOAT, [None] * 3)
    graph = helper.make_graph([node], "g", [images], [out])
    library.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return path
