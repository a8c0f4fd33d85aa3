"""What is refused, cut off or done twice leaves nothing behind, and nothing of an earlier source or server is taken."""

import asyncio
import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio import adding, prediction
from paddlevideo_studio.live import Live
from paddlevideo_studio.models import ModelStore
from paddlevideo_studio.prediction import Predictions
from paddlevideo_studio.project import Project
from paddlevideo_studio.routes.models import _while_connected
from paddlevideo_studio.security import Access
from paddlevideo_studio.server import make_app
from paddlevideo_studio.studio import Limits
from starlette.testclient import TestClient

from paddlevideo.errors import UserError
from tests.clips import numbered_frames, write_clip
from tests.studio.conftest import HOST, TYPE
from tests.studio.test_analysis import model  # noqa: F401 (a fixture)
from tests.studio.test_jobs import SLEEP, until


def test_a_name_that_begins_with_a_minus_is_a_name(upload):
    assert upload("--pictures.mp4")["name"] == "--pictures.mp4"


def test_an_upload_that_cannot_be_written_leaves_no_file(client, clip, project, monkeypatch):
    def full(video):
        raise UserError("ID.json: cannot be written (No space left on device)")

    monkeypatch.setattr(project.videos, "write", full)
    answer = client.post("/api/videos", params={"name": "a.mp4"}, content=clip.read_bytes(), headers=TYPE)
    assert answer.status_code == 422 and "No space left" in answer.json()["error"]
    assert [*project.videos.folder.iterdir()] == []


def test_files_that_no_description_has_are_removed_at_start_but_those_of_spans(tmp_path):
    with Project.open(tmp_path / "p") as project:
        project.spans.append([{"video": f"{'b' * 16}.mp4", "start_s": 0, "end_s": 1, "label": "x"}], "human")
        for name in ("a" * 16 + ".mp4", "a" * 16 + ".strip.jpg", "b" * 16 + ".mp4", "notes.txt"):
            (project.videos.folder / name).write_bytes(b"x")
    with Project.open(tmp_path / "p") as project:
        assert {file.name for file in project.videos.folder.iterdir()} == {"b" * 16 + ".mp4", "notes.txt"}


def test_the_last_minute_is_not_that_of_an_earlier_server(project):
    (project.root / "live").mkdir()
    for name in ("part-00000001.mkv", "mine.mkv"):
        (project.root / "live" / name).write_bytes(b"x")
    Live(project)
    assert [file.name for file in (project.root / "live").iterdir()] == ["mine.mkv"]


def test_videos_to_add_wait_for_a_place_in_the_queue(project, tmp_path):
    files = [write_clip(tmp_path / f"{n}.avi", numbered_frames(10), 25, "mpeg4") for n in range(4)]
    app = make_app(project, Access.of("127.0.0.1", 8080, None), Limits(queue=1), add=files)
    with TestClient(app, base_url=HOST) as client:
        until(lambda: len(client.get("/api/videos").json()["videos"]) == 4)
        until(lambda: all(video["state"] == "ready" for video in client.get("/api/videos").json()["videos"]))


def test_the_example_requested_twice_at_once_is_added_once(client, monkeypatch, tmp_path, clip, tiny):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "new-0.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "export").symlink_to(tiny.folder)
    monkeypatch.setattr(adding, "EXAMPLE", tmp_path)
    with ThreadPoolExecutor(2) as pool:
        assert [a.status_code for a in pool.map(lambda _: client.post("/api/example"), range(2))] == [202, 202]
    assert len(client.get("/api/videos").json()["videos"]) == 1


def test_a_model_added_by_two_threads_is_there_once(tmp_path, tiny):
    store = ModelStore(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        assert {m.id for m in pool.map(lambda _: store.add_folder(tiny.folder), range(2))} == {1}


def test_a_prediction_ends_with_the_server_and_leaves_no_folder(project, model, clip, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(prediction, "COMMAND", SLEEP)
    monkeypatch.setattr(prediction.tempfile, "tempdir", str(tmp_path))
    before, results = {*tmp_path.iterdir()}, []
    predictions = Predictions(4)
    words = (project, model, clip, "-a.mp4")
    thread = threading.Thread(target=lambda: results.append(predictions.run(*words)))
    thread.start()
    until(lambda: predictions._process is not None)
    group, begun = predictions._process.pid, time.monotonic()
    predictions.close()
    thread.join()
    assert time.monotonic() - begun < 10 and "error" in results[0]
    assert {*tmp_path.iterdir()} == before
    assert str(group) not in subprocess.run(["ps", "-eo", "pgid"], capture_output=True, text=True).stdout.split()
    assert "error" in predictions.run(*words)  # none begins after it


def test_a_prediction_ends_when_its_client_goes(client, project, model, clip, monkeypatch):  # noqa: F811
    monkeypatch.setattr(prediction, "COMMAND", SLEEP)
    predictions = client.app._app._app.state.studio.predictions

    class Gone:
        async def is_disconnected(self):
            return predictions._process is not None

    begun = time.monotonic()
    state = client.app._app._app.state.studio
    with ThreadPoolExecutor(1) as pool:  # playwright, in other tests, has a loop in this thread
        result = pool.submit(asyncio.run, _while_connected(state, Gone(), model, clip, "a.mp4")).result()
    assert result["error"] == "the client has gone" and time.monotonic() - begun < 30
    assert predictions._process.poll() is not None


def test_a_video_that_is_removed_takes_its_features_along(client, upload, project):
    first, other = upload("a.mp4"), upload("b.mp4")
    project.features.mkdir()
    noted = {}
    for number, each in enumerate((first, other)):
        noted[str(project.videos.folder / f"{each['id']}.mp4")] = [1, 1, str(number) * 64]
        (project.features / f"{str(number) * 16}_x.npz").write_bytes(b"x")
    (project.features / "videos.json").write_text(json.dumps(noted))
    assert client.delete(f"/api/videos/{first['id']}").status_code == 204
    assert [file.name for file in project.features.glob("*.npz")] == [f"{'1' * 16}_x.npz"]
    assert [*json.loads((project.features / "videos.json").read_text()).values()] == [[1, 1, "1" * 64]]


def test_a_video_that_a_job_of_many_videos_reads_is_kept(client, upload, model):  # noqa: F811
    first, other = upload("a.mp4"), upload("b.mp4")
    job = client.post(f"/api/videos/{first['id']}/similar", json={"start_s": 0, "end_s": 1}).json()
    answer = client.delete(f"/api/videos/{other['id']}")
    assert answer.status_code == 409 and f"job {job['id']} (similar)" in answer.json()["error"]
    assert other["id"] not in job["command"]
    client.post(f"/api/jobs/{job['id']}/cancel")
    short = client.post(f"/api/videos/{first['id']}/similar", json={"start_s": 1, "end_s": 1.0004})
    assert short.status_code == 422 and "at least 1 ms" in short.json()["error"]
