"""The last seconds of a live source, kept as received, and joined into one file."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference import recording
from paddlevideo.inference.recording import join_parts, parts_of
from paddlevideo.inference.stream import LiveSettings, open_stream
from paddlevideo.loader.decode import open_video
from tests.clips import frame_numbers
from tests.servers import RtspServer, answer, h264, http_server, jpegs, mjpeg


def settings(folder, keep_s=60.0):
    return LiveSettings(buffer_s=5, open_s=2, read_s=1, outage_s=0.1, keep=str(folder), keep_s=keep_s)


def received(text, folder, count, **more):
    """The remarks of a stream of which so many frames were read."""
    remarks = []
    stream = open_stream(text, remarks.append, settings=settings(folder, **more))
    try:
        for _, _ in zip(range(count), stream):
            pass
    finally:
        stream.close()
    return remarks


def test_an_rtsp_stream_is_kept_frame_by_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "_PART_S", 0.2)
    with RtspServer(*h264(60)) as server:
        received(f"rtsp://127.0.0.1:{server.port}/live", tmp_path / "ring", 55)
    assert len(parts_of(tmp_path / "ring")) > 1
    file = join_parts(tmp_path / "ring", tmp_path / "saved")
    assert file.name == "saved.mp4"
    with open_video(file) as video:
        found = frame_numbers(video.get(range(len(video))))
        assert found == list(range(found[0], found[0] + len(found))) and found[0] <= 10 and len(found) >= 45
        np.testing.assert_allclose(np.diff(video.times()), 1 / 30, atol=2e-3)


def test_pictures_over_http_are_kept_with_their_times_of_arrival(tmp_path):
    with http_server(mjpeg(jpegs(40), fps=50, endless=True)) as port:
        received(f"http://127.0.0.1:{port}/", tmp_path / "ring", 40)
    file = join_parts(tmp_path / "ring", tmp_path / "saved")
    assert file.name == "saved.mkv"
    with open_video(file) as video:
        found = frame_numbers(video.get(range(len(video))))
        assert all((b - a) % 40 == 1 for a, b in zip(found, found[1:])) and len(found) >= 35
        assert 0.5 < video.times()[-1] < 20


def test_old_parts_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "_PART_S", 0.05)
    with http_server(mjpeg(jpegs(40), fps=50, endless=True)) as port:
        received(f"http://127.0.0.1:{port}/", tmp_path / "ring", 80, keep_s=0.3)
    parts = parts_of(tmp_path / "ring")
    assert 2 <= len(parts) <= 16 and parts[0].name != "part-00000001.mkv"
    time.sleep(0.01)
    with open_video(join_parts(tmp_path / "ring", tmp_path / "saved")) as video:
        assert len(video) < 60


def test_a_cut_connection_begins_a_part(tmp_path):
    with http_server(mjpeg(jpegs(40), fps=60, endless=True, cut_after=20)) as port:
        received(f"http://127.0.0.1:{port}/", tmp_path / "ring", 30)
    assert len(parts_of(tmp_path / "ring")) == 2
    with open_video(join_parts(tmp_path / "ring", tmp_path / "saved")) as video:
        assert len(video) >= 25


def test_a_picture_that_a_cut_connection_left_half_is_not_kept(tmp_path):
    pictures, sent = jpegs(10), []

    def half_at_last(request):
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        for number, content in enumerate(pictures):
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            whole = number < len(pictures) - 1
            request.wfile.write(head + (content + b"\r\n" if whole else content[: len(content) // 2]))
            time.sleep(0.02)
        sent.append(1)

    with http_server(answer(half_at_last)) as port:
        received(f"http://127.0.0.1:{port}/", tmp_path / "ring", 25)
    assert len(sent) > 1
    with open_video(join_parts(tmp_path / "ring", tmp_path / "saved")) as video:
        found = frame_numbers(video.get(range(len(video))))
    assert len(found) > 12 and max(found) < 9


def test_pictures_that_arrive_at_once_have_times_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "time", SimpleNamespace(monotonic=lambda: 5.0, time=time.time))
    with http_server(mjpeg(jpegs(20), fps=50, endless=True)) as port:
        received(f"http://127.0.0.1:{port}/", tmp_path / "ring", 20)
    with open_video(join_parts(tmp_path / "ring", tmp_path / "saved")) as video:
        assert len(video) >= 18 and np.all(np.diff(video.times()) > 0)


def test_an_empty_ring_is_named(tmp_path):
    with pytest.raises(UserError, match="nothing of the source is kept yet"):
        join_parts(tmp_path, tmp_path / "saved")
