"""A live source: spans as they close, the last minute as a video, and no credentials anywhere."""

import subprocess
import time

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from tests.servers import RtspServer, h264, http_server, jpegs, mjpeg
from tests.studio.test_analysis import model  # noqa: F401 (a fixture)
from tests.studio.test_jobs import until

SETTINGS = {"window_s": 0.5, "on": 0.22, "off": 0.21, "min_s": 0.05, "smoothing": "none"}


def test_spans_and_the_last_minute_of_a_camera(client, model, project):  # noqa: F811
    with RtspServer(*h264(3000), password=("user", "secret")) as server:
        source = f"rtsp://user:secret@127.0.0.1:{server.port}/live?token=secret"
        answer = client.post("/api/live", json={"source": source, "settings": SETTINGS})
        assert answer.status_code == 202, answer.text
        assert answer.json()["source"] == f"rtsp://127.0.0.1:{server.port}/live?..."
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert "user:secret" not in listed
        assert client.post("/api/live", json={"source": source}).status_code == 422  # one runs
        # a file of the last minute is written every half second
        until(lambda: [s for s in client.get("/api/live").json()["spans"] if s["end_s"] > 2], 90)
        found = client.get("/api/live").json()
        assert found["state"] == "running" and {*found["spans"][0]} == {"start_s", "end_s", "score", "label"}
        saved = client.post("/api/live/save")
        assert saved.status_code == 201, saved.text
        video = saved.json()
        assert video["name"].startswith("live 2") and video["num_frames"] > 20 and video["state"] == "ready"
        assert client.get(f"/api/videos/{video['id']}/media").status_code == 200
        assert client.delete("/api/live").json()["state"] in ("off", "running")
        until(lambda: client.get("/api/live").json()["state"] == "off")
    texts = [client.get("/api/live").text, *(f.read_text() for f in project.root.rglob("*.json*"))]
    assert not any("secret" in text for text in texts)


@pytest.mark.slow
def test_a_cut_camera_is_a_remark_and_goes_on(client, model):  # noqa: F811
    with http_server(mjpeg(jpegs(40), fps=50, endless=True, cut_after=60)) as port:
        source = f"http://127.0.0.1:{port}/"
        assert client.post("/api/live", json={"source": source, "settings": SETTINGS}).status_code == 202
        until(lambda: any("connection lost" in line for line in client.get("/api/live").json()["remarks"]), 90)
        count = len(client.get("/api/live").json()["spans"])
        until(lambda: len(client.get("/api/live").json()["spans"]) > count, 60)
        assert client.get("/api/live").json()["state"] == "running"
        client.delete("/api/live")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("/etc/passwd", "files are uploaded"),
        ("file:///etc/passwd", "sources of this scheme are not read"),
        ("gopher://127.0.0.1/", "sources of this scheme are not read"),
        ("rtsp://", "the address has no host"),
        ("concat:/etc/passwd", "files are uploaded"),
    ],
)
def test_sources_are_cameras_and_addresses_of_known_schemes(client, model, source, text):  # noqa: F811
    answer = client.post("/api/live", json={"source": source})
    assert answer.status_code == 422 and text in answer.json()["error"]
    assert client.get("/api/live").json()["state"] == "off"
    assert client.post("/api/live/save").status_code == 409


def test_a_camera_that_is_not_there_fails_in_one_line(client, model):  # noqa: F811
    client.post("/api/live", json={"source": "http://user:secret@127.0.0.1:9/x"})
    until(lambda: client.get("/api/live").json()["state"] == "failed", 90)
    time.sleep(0.1)
    found = client.get("/api/live").json()
    assert "http://127.0.0.1:9/x: Connection refused" in found["error"] and "secret" not in str(found)
