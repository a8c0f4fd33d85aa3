"""T6, its server part: a camera that is cut for 5 s and comes back; memory of all processes stays bounded."""

import os
import time

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from tests.clips import numbered_frames, write_clip
from tests.studio.browser import started
from tests.studio.camera import camera, jpegs_of
from tests.studio.memory import tree_bytes_over
from tests.studio.test_jobs import until

MB = 1 << 20
LASTS_S = float(os.environ.get("STUDIO_LIVE_S", "20"))  # of the measurement of memory; 120 shows a leak of 0.2 MB/s
SETTINGS = {"window_s": 0.5, "on": 0.22, "off": 0.21, "min_s": 0.05, "smoothing": "none"}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]


@pytest.fixture
def shown(tmp_path):
    """A running camera of 25 pictures/s."""
    with camera(jpegs_of(write_clip(tmp_path / "a.mp4", numbered_frames(100), 25)), 25) as camera_:
        yield camera_


def test_a_camera_that_is_cut_for_five_seconds_comes_back_and_memory_stays(shown, tmp_path, tiny):
    with started(tmp_path / "project", "--model", tiny.folder) as studio:
        live = lambda: studio.client.get("/api/live").json()  # noqa: E731
        answer = studio.client.post("/api/live", json={"source": shown.url, "settings": SETTINGS})
        assert answer.status_code == 202, answer.text
        until(lambda: len(live()["spans"]) > 3, 90)
        shown.cut(5.0)
        until(lambda: any("connection lost" in line for line in live()["remarks"]), 30)
        count = len(live()["spans"])
        until(lambda: shown.connections == 2, 30)
        until(lambda: len(live()["spans"]) > count, 30)
        assert live()["state"] == "running" and shown.refused > 0
        time.sleep(3)  # buffers have their size
        memory = tree_bytes_over(studio.process.pid, LASTS_S)
        assert max(memory) < 1500 * MB
        assert max(memory[len(memory) // 2 :]) - max(memory[: len(memory) // 2]) < 30 * MB
        assert live()["state"] == "running"
        studio.client.delete("/api/live")
        until(lambda: live()["state"] == "off", 30)
