"""What ``paddlevideo detect`` writes of a video, in the project: boxes and spans of persons."""

import argparse
import json

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.jobs import Job
from paddlevideo_studio.models import Model
from paddlevideo_studio.work import NUMBERS, TEXTS, analyse_steps, finish_analyse

from paddlevideo.cli import detect, timeline
from paddlevideo.errors import UserError
from paddlevideo.spans import Span, SpanTable, write_spans
from tests.studio.test_annotations import put

PEOPLE = """video,time_s,x1,y1,x2,y2,actions,person
a.mp4,0.000,0.10000,0.20000,0.30000,0.90000,"talk to (e.g., self);walk",1
a.mp4,0.200,0.11000,0.20000,0.31000,0.90000,"talk to (e.g., self)",1
a.mp4,0.200,0.50000,0.20000,0.70000,0.90000,,2
"""
MODEL = Model(1, "people", "people", ("walk", "talk to (e.g., self)", "fly"))


@pytest.fixture
def analyse(client, video, project, tmp_path):
    """``analyse(run)`` -> the result of a run of the model of people."""
    project.models._models[1] = MODEL

    def run(number, people=PEOPLE):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "people.csv").write_text(people)
        write_spans(folder / "spans.json", SpanTable([Span(0, 0.2, "walk", 0.8, "1", "a.mp4")]))
        return finish_analyse(project, Job(number, "analyse", [], video["id"], 1), folder, True)

    return run


def test_boxes_and_spans_of_persons_are_taken_once(analyse, client, video):
    wanted = {"spans": 1, "added": 1, "checked_before": 0, "boxes": 3, "boxes_added": 3}
    assert analyse(1) == wanted
    url = f"/api/videos/{video['id']}"
    people = client.get(f"{url}/people").json()
    assert [(b["person"], b["time_s"], b["actions"], b["by"]) for b in people["people"]] == [
        ("1", 0.0, ["talk to (e.g., self)", "walk"], "model 1"), ("1", 0.2, ["talk to (e.g., self)"], "model 1"),
        ("2", 0.2, [], "model 1"),
    ]  # fmt: skip
    assert [s["person"] for s in client.get(f"{url}/spans").json()["spans"]] == ["1"]
    assert "fly" not in [each["name"] for each in client.get("/api/project").json()["classes"]]
    assert analyse(2) == wanted and len(client.get(f"{url}/people").json()["people"]) == 3


def test_a_span_that_was_taken_back_is_no_decision(analyse, client, video):
    url = f"/api/videos/{video['id']}"
    put(client, video, {"start_s": 0.0, "end_s": 0.2, "label": "walk", "person": "1"})
    assert client.post(f"{url}/undo", json={"what": "spans"}).json()["spans"] == []
    assert analyse(1)["added"] == 1
    assert [span["by"] for span in client.get(f"{url}/spans").json()["spans"]] == ["model 1"]


def test_tracks_that_a_person_corrected_stay(analyse, client, video):
    analyse(1)
    url = f"/api/videos/{video['id']}"
    box = client.get(f"{url}/people").json()["people"][0]
    change = {key: box[key] for key in ("id", "time_s", "person", "actions")} | {"box": [0.0, 0.0, 0.5, 0.5]}
    put(client, video, change, what="people")
    assert analyse(2)["boxes_added"] == 1
    found = client.get(f"{url}/people").json()["people"]
    assert [(b["person"], b["box"][0], b["by"]) for b in found] == [
        ("1", 0.0, "human"), ("1", 0.11, "model 1"), ("2", 0.5, "model 1")
    ]  # fmt: skip


def test_a_video_without_persons_has_none(analyse, client, video):
    assert analyse(1, PEOPLE.splitlines()[0] + "\n")["boxes"] == 0


def test_a_part_of_the_boxes_has_those_that_are_interpolated_to(client, video):
    box = {"box": [0.1, 0.2, 0.3, 0.9], "person": "1"}
    put(
        client, video, *({**box, "time_s": t} for t in (0, 1, 2, 3)), {**box, "person": "2", "time_s": 0}, what="people"
    )
    part = client.get(f"/api/videos/{video['id']}/people", params={"from_s": 1.2, "to_s": 1.8}).json()
    assert [(b["person"], b["time_s"]) for b in part["people"]] == [("1", 1.0), ("1", 2.0), ("2", 0.0)]


def test_the_commands_have_the_options_that_the_studio_gives(client, video, project):
    settings = {**dict.fromkeys(NUMBERS, 0.5), "smoothing": "none", "background": "walk"}
    assert {*settings} == {*NUMBERS, *TEXTS}
    of_people = {key: value for key, value in settings.items() if key not in ("window_s", "hop_s")}
    stored = project.videos.get(video["id"])
    for model, module, own in ((MODEL, detect, of_people), (Model(1, "t", "timeline", ("a",)), timeline, settings)):
        (words,) = analyse_steps(project, stored, model, own, project.root)
        parser = argparse.ArgumentParser(exit_on_error=False)
        module.add_arguments(parser)
        args = parser.parse_args(words[4:])
        assert (args.on, args.smoothing, args.background) == (0.5, "none", "walk")
    with pytest.raises(UserError, match="has no window_s"):
        analyse_steps(project, stored, MODEL, settings, project.root)


def test_a_person_made_by_hand_is_none_of_the_model_s(analyse, client, video):
    """The model's person "1" gets a name of its own, in boxes and spans alike."""
    box = {"time_s": 1.0, "box": [0.7, 0.2, 0.9, 0.9], "person": "1"}
    put(client, video, box, what="people")
    assert analyse(1)["boxes_added"] == 3
    url = f"/api/videos/{video['id']}"
    found = client.get(f"{url}/people").json()
    assert [(b["person"], b["by"]) for b in found["people"]] == [
        ("1", "human"), ("2", "model 1"), ("3", "model 1"), ("3", "model 1")
    ]  # fmt: skip
    assert [s["person"] for s in client.get(f"{url}/spans").json()["spans"]] == ["3"]


def test_an_action_is_held_over_the_boxes_of_a_track(client, video, project):
    """Begun at 1 s and ended at 2.5 s on a track of the detector, with one change each."""
    line = {"video": project.videos.get(video["id"]).file, "box": [0.1, 0.2, 0.3, 0.9], "units": "fractions"}
    project.people.append([{**line, "time_s": t, "person": "1", "actions": []} for t in (0, 1, 2, 3)], "detector")
    project.people.append([{**line, "time_s": 2.0, "person": "2", "actions": []}], "detector")

    def actions():
        found = client.get(f"/api/videos/{video['id']}/people").json()["people"]
        return [(b["time_s"], *b["actions"]) for b in found if b["person"] == "1"]

    first = client.get(f"/api/videos/{video['id']}/people").json()["people"][1]
    box = {"box": [0.1, 0.2, 0.3, 0.9], "person": "1", "hold": True}
    put(client, video, {**box, "id": first["id"], "time_s": 1.0, "actions": ["walk"]}, what="people")
    assert actions() == [(0,), (1, "walk"), (2, "walk"), (3, "walk")]
    put(client, video, {**box, "time_s": 2.5, "actions": []}, what="people")
    assert actions() == [(0,), (1, "walk"), (2, "walk"), (2.5,), (3,)]
    put(client, video, {**box, "time_s": 0.5, "actions": ["run"]}, what="people")
    assert actions() == [(0,), (0.5, "run"), (1, "walk"), (2, "walk"), (2.5,), (3,)]
    client.post(f"/api/videos/{video['id']}/undo", json={"what": "people"})
    client.post(f"/api/videos/{video['id']}/undo", json={"what": "people"})
    assert actions() == [(0,), (1, "walk"), (2, "walk"), (3, "walk")]


def test_an_action_is_held_up_to_the_next_box_by_a_person(client, video, project):
    line = {"video": f"{video['id']}.mp4", "box": [0.1, 0.2, 0.3, 0.9], "units": "fractions", "person": "1"}
    found = [{**line, "time_s": t, "actions": ["run"] if t == 0.5 else []} for t in (0.5, 1, 1.5, 2, 2.5, 3)]
    found = project.people.append(found, "detector")
    box = {"box": line["box"], "person": "1"}
    put(client, video, {**box, "id": found[3]["id"], "time_s": 2, "actions": []}, what="people")
    put(client, video, {**box, "id": found[0]["id"], "time_s": 0.5, "actions": ["walk"], "hold": True}, what="people")
    boxes = client.get(f"/api/videos/{video['id']}/people").json()["people"]
    assert [(b["time_s"], *b["actions"], b["by"]) for b in boxes] == [
        (0.5, "walk", "human"), (1, "walk", "human"), (1.5, "walk", "human"), (2, "human"), (2.5, "detector"),
        (3, "detector"),
    ]  # fmt: skip
    from paddlevideo_studio.boxes import people_of

    trained = people_of(project, {line["video"]: "a"}, lambda entry: True)  # all of them: see people_training.split
    assert sorted((p.time_s, *p.actions) for p in trained)[:4] == [(0.5, "walk"), (1, "walk"), (1.5, "walk"), (2,)]


def test_a_person_that_is_found_again_is_known_by_the_place_and_not_by_the_number(analyse, client, video):
    analyse(1)
    url = f"/api/videos/{video['id']}"
    box = client.get(f"{url}/people").json()["people"][0]
    change = {key: box[key] for key in ("id", "time_s", "person", "actions")} | {"box": [0.0, 0.0, 0.5, 0.5]}
    put(client, video, change, what="people")
    header, first, second, other = PEOPLE.splitlines()
    turned = [header, f"{first[:-1]}2", f"{second[:-1]}2", f"{other[:-1]}1"]  # the numbers of the two are the other way
    assert analyse(2, "\n".join(turned) + "\n")["boxes_added"] == 1
    found = client.get(f"{url}/people").json()["people"]
    assert [(b["person"], b["box"][0], b["by"]) for b in found] == [
        ("1", 0.0, "human"), ("1", 0.11, "model 1"), ("3", 0.5, "model 1")
    ]  # fmt: skip
    client.post(f"{url}/persons", json={"person": "1", "to": "5"})
    analyse(3, "\n".join(turned) + "\n")
    assert client.get(f"{url}/people").json()["persons"] == ["3", "5"]


def test_what_a_model_finds_has_the_present_names_of_classes(analyse, client, video, project):
    analyse(1)
    url = f"/api/videos/{video['id']}"
    (span,) = client.get(f"{url}/spans").json()["spans"]
    put(client, video, {"id": span["id"], "removed": True})
    classes = client.get("/api/project").json()["classes"]
    renamed = [{"name": "stroll", "was": "walk"} if c["name"] == "walk" else {"name": c["name"]} for c in classes]
    assert client.patch("/api/project", json={"classes": renamed}).status_code == 200
    assert analyse(2)["added"] == 0  # removed under its old name
    found = client.get(f"{url}/people").json()["people"]
    assert found[0]["actions"] == ["talk to (e.g., self)", "stroll"] and "walk" not in project.class_names()
    assert json.loads((project.root / "project.json").read_text())["renames"][0]["names"] == {"walk": "stroll"}
