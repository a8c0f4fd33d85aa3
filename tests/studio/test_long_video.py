"""T10: a video of two hours with 14,400 windows and 3,000 spans: how the server takes it and gives it out."""

import threading
import time

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.project import Project

from paddlevideo.loader.decode import open_video
from tests.clips import frame_numbers
from tests.studio.browser import started
from tests.studio.conftest import TYPE
from tests.studio.long_video import FPS, PATTERN_S, TWO_HOURS_S, plant_analysis, write_long_video
from tests.studio.memory import tree_bytes

GB = 1 << 30
WINDOWS, CLASSES, SPANS = 14_400, 8, 3000

pytestmark = pytest.mark.xdist_group("long video")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The folder of a project with the video, its analysis, and what the upload took: seconds, most bytes."""
    base = tmp_path_factory.mktemp("long")
    file = write_long_video(base / "long.mp4")
    with started(base / "project") as studio:
        most, ended = [0], threading.Event()

        def watch():
            while not ended.wait(0.05):
                most[0] = max(most[0], tree_bytes(studio.process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        begun = time.monotonic()
        answer = studio.client.post("/api/videos", params={"name": "long.mp4"}, content=file.read_bytes(), headers=TYPE)
        spent_s = time.monotonic() - begun
        ended.set()
        watcher.join()
    assert answer.status_code == 201, answer.text
    plant_analysis(base / "project", answer.json()["id"], WINDOWS, CLASSES, SPANS)
    return base / "project", answer.json(), spent_s, most[0]


def test_the_upload_is_inspected_in_bounded_time_and_memory(project):
    _, video, spent_s, most = project
    assert (video["duration_s"], video["fps"], video["num_frames"]) == (TWO_HOURS_S, FPS, TWO_HOURS_S * FPS)
    assert video["state"] == "ready" and not video["transcoded"] and video["strip"]["num"] == 100
    assert spent_s < 60 and most < 1.5 * GB


def test_pictures_show_where_they_are(project):
    folder, video, _, _ = project
    with Project.open(folder) as opened, open_video(opened.videos.path(opened.videos.get(video["id"]))) as reader:
        wanted = [0, 1, PATTERN_S * FPS, 17_999, TWO_HOURS_S * FPS - 1]
        assert frame_numbers(reader.get(wanted)) == [number % (PATTERN_S * FPS) for number in wanted]
        assert reader.times()[-1] == pytest.approx(TWO_HOURS_S - 1 / FPS)


def test_scores_and_spans_of_the_whole_video_are_given_out(project):
    folder, video, _, _ = project
    url = f"/api/videos/{video['id']}"
    with started(folder) as studio:
        shown, curve, spans = (studio.client.get(f"{url}{path}").json() for path in ("", "/scores", "/spans"))
        assert (shown["spans"], shown["checked"], shown["analysed"]) == (SPANS, 0, [1])
        assert len(curve["scores"]) == WINDOWS and len(curve["classes"]) == CLASSES
        assert curve["windows_s"][-1] == [TWO_HOURS_S - 0.5, TWO_HOURS_S]
        assert len(spans["spans"]) == SPANS and spans["spans"][-1]["by"] == "model 1"
        middle = spans["spans"][1]
        row = curve["scores"][int((middle["start_s"] + middle["end_s"]) / 2 / 0.5)]
        assert curve["classes"][row.index(max(row))] == middle["label"]
        again = studio.client.get(f"{url}/spans", params={"run": curve["run"]}).json()
        assert len(again["spans"]) == SPANS
        change = {"id": middle["id"], "start_s": middle["start_s"], "end_s": middle["end_s"], "label": "class 1"}
        begun = time.monotonic()
        assert studio.client.put(f"{url}/spans", json={"changes": [change]}).status_code == 200
        assert time.monotonic() - begun < 5
        assert tree_bytes(studio.process.pid) < 1.5 * GB
        undone = studio.client.post(f"{url}/undo", json={"what": "spans"})
        assert undone.status_code == 200 and not undone.json()["can_undo"]
