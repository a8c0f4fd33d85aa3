"""T3, its server part: a few corrected spans of a new class, a head trained on them, and another timeline by it."""

import time

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from demo.run_studio import CLASSES, NEW_CLASS
from tests.studio.browser import started
from tests.studio.demo_model import ANALYSIS
from tests.studio.test_annotations import put
from tests.studio.test_videos import wait

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("demo model"),
]
LIMIT_S = 180


def chosen(truth):
    """A span of the new class, and one of another."""
    new = next(span for span in truth if span.label == NEW_CLASS)
    return [new, next(span for span in truth if span.label != NEW_CLASS)]


def corrected(truth, found):
    """The change of the found span that overlaps a true one most, into that one."""
    best = max(found, key=lambda span: min(span["end_s"], truth.end_s) - max(span["start_s"], truth.start_s))
    return {"id": best["id"], "start_s": truth.start_s, "end_s": truth.end_s, "label": truth.label}


def test_a_head_is_taught_from_six_spans_and_finds_a_new_class(demo_model, new_class_videos, tmp_path):
    files = [path for path, _ in new_class_videos]
    with started(tmp_path / "project", "--model", demo_model, "--add", *files, *ANALYSIS) as studio:
        client = studio.client
        client.patch("/api/project", json={"classes": [{"name": name} for name in (*CLASSES, NEW_CLASS)]})
        videos = client.get("/api/videos").json()["videos"]
        before = [labels(client, video) for video in videos]
        begun = time.monotonic()
        for video, (_, truth) in zip(videos[:3], new_class_videos):
            for span in chosen(truth):
                found = client.get(f"/api/videos/{video['id']}/spans").json()["spans"]
                put(client, video, corrected(span, [each for each in found if each["by"] != "human"]))
        assert client.get("/api/project").json()["counts"]["corrections"] == 6
        answer = client.post("/api/train", json={"mode": "head"})
        assert answer.status_code == 202, answer.text
        job = wait(client, answer.json()["id"], LIMIT_S)
        assert job["state"] == "done", client.get(f"/api/jobs/{job['id']}/log").text[-3000:]
        assert time.monotonic() - begun < LIMIT_S
        result, models = job["result"], client.get("/api/models").json()["models"]
        assert 0 <= result["held_out"]["value"] <= 1 and result["previous"]["name"] == result["held_out"]["name"]
        assert [model["id"] for model in models] == [1, result["model"]] and NEW_CLASS in models[1]["classes"]
        client.post(f"/api/models/{result['model']}/use").raise_for_status()
        after = [labels(client, video) for video in videos]
        assert NEW_CLASS not in {*sum(before, [])} and NEW_CLASS in {*sum(after, [])} and after[-1] != before[-1]


def labels(client, video):
    """Labels of the spans that an analysis by the model in use finds, in their order."""
    job = wait(client, client.post(f"/api/videos/{video['id']}/analyse", json={}).json()["id"])
    assert job["state"] == "done", client.get(f"/api/jobs/{job['id']}/log").text[-3000:]
    found = client.get(f"/api/videos/{video['id']}/spans", params={"run": job["id"]}).json()["spans"]
    return [span["label"] for span in found]
