"""One source for files, cameras and addresses: servers on the loopback that end, stall, cut off and never end."""

import itertools
import os
import re
import socket
import struct
import threading
import time

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference.source_address import Address
from paddlevideo.inference.stream import LiveSettings, open_stream
from paddlevideo.inference.windows import Steps, Windows
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.decode.rgb import to_rgb
from tests.clips import damage, frame_numbers, numbered_frames, write_clip
from tests.servers import RtspServer, answer, answer_with, files, h264, http_server, jpegs, mjpeg

FAST = LiveSettings(buffer_s=5, open_s=2, read_s=1)
PLAYLIST, HEAD = "application/vnd.apple.mpegurl", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
PART = b"--b\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8"


def numbers(frames):
    return frame_numbers(np.stack([to_rgb(each.frame) for each in frames]))


@pytest.fixture
def opened():
    """``opened(text, ...)``: a stream that is closed at the end, and its remarks."""
    streams = []

    def open_one(text, settings=FAST, **options):
        remarks = []
        streams.append(open_stream(str(text), remarks.append, settings=settings, **options))
        return streams[-1], remarks

    yield open_one
    for stream in streams:
        stream.close()


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("clip.mp4", "file", "clip.mp4"),
        ("0", "camera", "/dev/video0"),
        ("/dev/video3", "camera", "/dev/video3"),
        ("rtsp://user:secret@10.0.0.1:554/a/b?token=secret", "network", "rtsp://10.0.0.1:554/a/b?..."),
        ("http://secret@[::1]:80/x", "network", "http://[::1]:80/x"),
        ("HTTPS://Host/x.m3u8", "network", "https://Host/x.m3u8"),
        ("rtsp://h/user=me&password=secret&channel=1", "network", "rtsp://h/user=me&password=...&channel=1"),
        ("rtsp://h/user=me_password=secret_channel=1.sdp", "network", "rtsp://h/user=me_password=..."),
        ("rtsp://me:p%2Fsecret@h/x", "network", "rtsp://h/x"),
    ],
)
def test_addresses_and_what_is_shown_of_them(text, kind, shown, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    address = Address.parse(text)
    assert (address.kind, address.shown) == (kind, shown)
    assert "secret" not in address.shown


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file:///etc/passwd", "write the path alone"),
        ("concat://a|b", "expected a path, or one of rtsp"),
        ("rtsp://", "has no host"),
        ("http://host:99999/", "not a valid address"),
        *((f"rtsp://me:{password}@h/s", "written %2F") for password in ("12/secret", "secr/et", "se?cret", "se#cret")),
        ("rtsp://me:secret\u2100@h/s", "not a valid address"),
    ],
)
def test_addresses_that_are_refused(text, named):
    with pytest.raises(UserError, match=named) as raised:
        Address.parse(text)
    assert not re.search("12|secr|cret", str(raised.value))


def test_a_file_named_like_a_camera_is_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").write_bytes(b"x")
    assert Address.parse("7").kind == "file"


def test_a_file_gives_every_frame_with_the_reader_s_time(tmp_path, opened):
    pts = np.cumsum([0, *[20, 40, 10] * 13]).tolist()
    path = write_clip(tmp_path / "a.mp4", numbered_frames(40), pts=pts)
    stream, _ = opened(path)
    frames = list(stream)
    assert numbers(frames) == list(range(40))
    with open_video(path) as reader:
        assert [each.time_s for each in frames] == reader.times().tolist()


def test_a_damaged_file_ends_in_its_error_or_is_read_as_it_comes(tmp_path, opened):
    whole = write_clip(tmp_path / "whole.mp4", numbered_frames(60), gop=60)
    path = damage(whole, tmp_path / "a.mp4")
    with pytest.raises(VideoReadError, match=r"a\.mp4: corrupt"):
        list(opened(path)[0])
    assert 0 < len(list(opened(path, damaged="read")[0])) <= 60


def test_missing_files_and_refused_connections_are_one_line(opened):
    with pytest.raises(VideoReadError, match="missing"):
        opened("no.mp4")
    with pytest.raises(UserError, match="http://127.0.0.1:9/x: Connection refused; check the address"):
        list(opened("http://user:secret@127.0.0.1:9/x")[0])


def test_an_address_that_is_no_video_is_one_line(tmp_path, opened):
    (tmp_path / "page.html").write_text("<html>" + "no video " * 100)
    with http_server(files(tmp_path)) as port, pytest.raises(UserError, match="page.html: Invalid data"):
        list(opened(f"http://127.0.0.1:{port}/page.html")[0])


LATE = {"pts": range(125, 175), "ticks": 25}  # begins at 5 s
HOLE = {"pts": [*range(25), *range(325, 350)], "ticks": 25}  # a picture is shown for 12 s


@pytest.mark.parametrize(
    ("name", "count", "options"),
    [
        ("a.mkv", 50, {}),
        ("late.mkv", 50, LATE),
        ("late.mp4", 50, LATE),
        ("hole.mkv", 50, HOLE),
        ("hole.mp4", 50, HOLE),
        ("a.ts", 50, {"muxer": "mpegts"}),
        ("a.h264", 50, {"muxer": "h264"}),
        ("live.mkv", 50, {"muxer": "matroska", "muxer_options": {"live": "1"}}),  # of unknown duration
        ("one.mkv", 1, {}),
        ("one.ts", 1, {"muxer": "mpegts"}),
    ],
)
def test_a_recording_over_http_equals_the_file(tmp_path, opened, name, count, options):
    path = write_clip(tmp_path / name, numbered_frames(count), fps=25, **options)
    here = list(opened(path)[0])
    with http_server(files(tmp_path)) as port:
        stream, remarks = opened(f"http://127.0.0.1:{port}/{name}", LiveSettings(buffer_s=0.5, read_s=2, outage_s=1))
        there = []
        for frame in itertools.islice(stream, 2 * count):  # slower than the server, and nothing is dropped
            there.append(frame)
            time.sleep(0.005)
    assert numbers(there) == numbers(here) == list(range(count)) and remarks == []
    np.testing.assert_allclose([each.time_s for each in there], [each.time_s for each in here], atol=1e-9)
    assert stream.status.num_dropped == 0 and stream.status.num_connections == 1
    end_s = 14.0 if options is HOLE else count * here[0].period_s if count == 1 else count / 25
    for kind, lengths in ((Windows, (1.0, 0.5)), (Steps, (0.25,))):
        cut = [kind(frames, *lengths) for frames in (here, there)]
        found = [list(each) for each in cut]
        assert len(found[0]) == len(found[1]) and [each.end_s for each in cut] == pytest.approx([end_s, end_s])
        if kind is Windows:
            assert [numbers(w.frames) for w in found[0]] == [numbers(w.frames) for w in found[1]]
            assert found[0][-1].end_s == pytest.approx(end_s)


def test_a_recording_that_is_cut_off_is_an_error(tmp_path, opened):
    path = write_clip(tmp_path / "a.mkv", numbered_frames(90))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with http_server(files(tmp_path)) as port, pytest.raises(UserError, match=r"cut off at \d\.\d of 3\.0 s"):
        list(opened(f"http://127.0.0.1:{port}/a.mkv")[0])


def sent(data, *, of=None):
    """For ``answer``: these bytes, of so many that are announced; None: nothing is announced."""

    def send(handler):
        answer_with(200, "video/mp2t", **({} if of is None else {"Content-Length": str(of)}))(handler)
        handler.wfile.write(data)

    return send


def test_a_recording_without_duration_ends_with_its_file_and_not_with_its_connection(tmp_path, opened):
    data = write_clip(tmp_path / "a.ts", numbered_frames(90), muxer="mpegts").read_bytes()
    with http_server(answer(sent(data))) as port:
        stream, remarks = opened(f"http://127.0.0.1:{port}/a.ts")
        assert numbers(itertools.islice(stream, 180)) == list(range(90)) and remarks == []
    named = r"cut off at \d\.\d s \(Input/output error\)"
    with http_server(answer(sent(data[: len(data) // 2], of=len(data)))) as port, pytest.raises(UserError, match=named):
        list(opened(f"http://127.0.0.1:{port}/a.ts")[0])


def test_a_playlist_must_not_name_local_files(tmp_path, opened):
    clip = write_clip(tmp_path / "secret.ts", numbered_frames(30), muxer="mpegts")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nfile://{clip}\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.m3u8").write_text(playlist)
    with http_server(files(tmp_path)) as port, pytest.raises(UserError):
        list(opened(f"http://127.0.0.1:{port}/a.m3u8")[0])


def endless(content_type, first, more, pause_s=0.0):
    """For ``answer``: never ends."""

    def send(handler):
        if content_type is None:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        else:
            answer_with(200, content_type)(handler)
        handler.wfile.write(first)
        while True:
            handler.wfile.write(more)
            time.sleep(pause_s)

    return send


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (answer_with(404), "404 Not Found"),
        (answer_with(401), "401 Unauthorized"),
        (answer_with(302, Location="/x"), "error"),
        (endless(None, b"", b"X-A: " + b"a" * 1000 + b"\r\n"), "nothing received for 0.5 s"),
        (endless("video/mp4", b"", b"\0", 0.1), "nothing received for 0.5 s"),
        (endless("video/mp4", b"", np.random.default_rng(0).bytes(1 << 16)), "Invalid data|nothing received"),
        (endless(PLAYLIST, HEAD, b"#EXTINF:1,\na.ts\n" * 500), "nothing received|Invalid data"),
        (endless("multipart/x-mixed-replace; boundary=b", PART, b"a" * 65536), "nothing received for 0.5 s"),
    ],
    ids=["404", "401", "redirects", "headers", "trickle", "garbage", "playlist", "picture"],
)  # fmt: skip
def test_servers_that_are_wrong_slow_or_endless_are_one_line_within_the_limits(opened, capfd, body, named):
    begun = time.monotonic()
    with http_server(answer(body)) as port, pytest.raises(UserError, match=named) as raised:
        list(opened(f"http://user:secret@127.0.0.1:{port}/x", LiveSettings(open_s=0.5, read_s=0.5))[0])
    assert time.monotonic() - begun < 5
    text = str(raised.value) + "".join(capfd.readouterr())  # FFmpeg writes to the file descriptor
    assert "\n" not in str(raised.value) and "secret" not in text


def test_an_address_that_answers_nothing_is_one_line(opened):
    with socket.create_server(("127.0.0.1", 0)) as server:
        for scheme in ("http", "rtsp"):
            with pytest.raises(UserError, match=f"{scheme}://127.0.0.1:[0-9]+/x: "):
                list(opened(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/x", LiveSettings(open_s=0.5))[0])


def test_a_redirection_must_not_name_local_files(tmp_path, opened):
    clip = write_clip(tmp_path / "a.mkv", numbered_frames(30))
    for target in (f"file://{clip}", f"concat:{clip}", str(clip)):
        with http_server(answer(answer_with(302, Location=target))) as port, pytest.raises(UserError):
            list(opened(f"http://127.0.0.1:{port}/x")[0])


def test_a_local_playlist_is_no_video_and_nothing_in_it_is_fetched(tmp_path, opened):
    requested = threading.Event()
    with http_server(answer(lambda handler: requested.set())) as port:
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n"
        for name in ("a.m3u8", "a.mp4"):
            (tmp_path / name).write_text(text)
            with pytest.raises(VideoReadError, match="not_a_video"):
                opened(tmp_path / name)
    assert not requested.is_set()


def test_hls_gives_the_frames_of_its_segments(tmp_path, opened):
    segments = []
    for k in range(3):
        frames = numbered_frames(60)[20 * k : 20 * k + 20]
        path = write_clip(
            tmp_path / f"{k}.ts", frames, muxer="mpegts", bframes=0, pts=range(20 * k, 20 * k + 20), ticks=30
        )
        segments.append(f"#EXTINF:{20 / 30:.6f},\n{path.name}\n")
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
    (tmp_path / "a.m3u8").write_text(head + "".join(segments) + "#EXT-X-ENDLIST\n")
    with http_server(files(tmp_path)) as port:
        stream, _ = opened(f"http://127.0.0.1:{port}/a.m3u8")
        frames = list(stream)
    assert numbers(frames) == list(range(60)) and stream.status.num_dropped == 0


def announced(picture, side=60000):
    """The JPEG with another size in its header."""
    at = picture.index(b"\xff\xc0") + 5
    return picture[:at] + struct.pack(">HH", side, side) + picture[at + 4 :]


def test_pictures_that_are_too_large_or_damaged_end_in_one_line(opened):
    pictures, settings = jpegs(10), LiveSettings(open_s=2, read_s=1, picture_s=0.5, outage_s=0.1)
    large = [announced(picture) for picture in pictures]
    named = "no picture could be decoded for 0.5 s; check the address"
    with http_server(mjpeg(large, endless=True)) as port, pytest.raises(UserError, match=named):
        list(opened(f"http://127.0.0.1:{port}/", settings)[0])
    with http_server(mjpeg([*pictures, *large * 20], fps=100)) as port:
        stream, remarks = opened(f"http://127.0.0.1:{port}/", settings)
        frames = []
        with pytest.raises(UserError, match=r"not back after 0\.1 s"):
            frames.extend(stream)
        assert stream.status.num_frames == 10 and stream.status.num_damaged > 10
    assert "connection lost (no picture could be decoded for 0.5 s)" in remarks[0]


def test_a_camera_that_is_not_there_is_one_line(opened):
    if os.path.exists("/dev/video63"):
        pytest.skip("there is a camera")
    with pytest.raises(UserError, match="/dev/video63: No such file or directory; is a camera connected"):
        list(opened("/dev/video63")[0])


def test_a_camera_over_http_that_is_cut_is_connected_again(opened):
    with http_server(mjpeg(jpegs(40), fps=60, endless=True, cut_after=20)) as port:
        stream, remarks = opened(f"http://127.0.0.1:{port}/")
        frames = list(itertools.islice(stream, 60))
    shown = numbers(frames)
    assert shown[:15] == list(range(15)) and len(frames) == 60
    times = [each.time_s for each in frames]
    assert times == sorted(times) and max(np.diff(times)) > 0.4  # the pause is in the clock
    assert stream.status.num_connections >= 2
    assert "connection lost (Input/output error); connecting again in 0.5 s" in remarks[0]
    assert "connected again; no picture for 0." in remarks[1]


def test_a_slow_reader_loses_the_oldest_frames_and_they_are_counted(opened):
    with http_server(mjpeg(jpegs(40), fps=100, endless=True)) as port:
        stream, _ = opened(f"http://127.0.0.1:{port}/", LiveSettings(buffer_s=0.3, open_s=2, read_s=1))
        frames = iter(stream)
        next(frames)
        time.sleep(1.0)
        after = next(frames)
        held = len(stream._buffer.frames)
    assert stream.status.num_dropped > 20 and held < 45
    assert after.time_s > 0.5


def test_a_source_that_falls_silent_is_connected_again_until_the_limit(opened):
    silent = threading.Event()

    def on_picture(number):
        if number == 10:
            silent.wait(3)
        return number < 10

    sets, pictures = h264(12)
    with RtspServer(sets, pictures, on_picture=on_picture) as server:
        address = f"rtsp://127.0.0.1:{server.port}/cam"
        stream, remarks = opened(address, LiveSettings(open_s=1, read_s=0.5, outage_s=0.2))
        frames = []
        with pytest.raises(UserError, match="not back after 0.2 s"):
            for frame in stream:
                frames.append(frame)
                if len(frames) == 10:
                    server.__exit__()
        silent.set()
    assert numbers(frames)[:5] == [0, 1, 2, 3, 4]
    assert "connection lost (nothing received for 0.5 s); connecting again in 0.5 s" in remarks[0]


def test_rtsp_with_a_password_gives_the_frames_and_their_clock(opened):
    sets, pictures = h264(40)
    with RtspServer(sets, pictures, speed=4, password=("user", "secret")) as server:
        stream, remarks = opened(f"rtsp://user:secret@127.0.0.1:{server.port}/cam")
        frames = list(itertools.islice(stream, 30))
    assert numbers(frames) == list(range(30))
    assert np.allclose([each.time_s for each in frames], np.arange(30) / 30, atol=0.002)
    assert "secret" not in " ".join(remarks)


def test_a_wrong_password_is_one_line_without_it(opened):
    sets, pictures = h264(4)
    with RtspServer(sets, pictures, password=("user", "right")) as server, pytest.raises(UserError) as raised:
        list(opened(f"rtsp://user:secret@127.0.0.1:{server.port}/cam")[0])
    assert "nauthorized" in str(raised.value) and "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "values", [{"buffer_s": -1.0}, {"buffer_s": float("nan")}, {"open_s": 0.0}, {"outage_s": -0.5}], ids=str
)
def test_times_of_a_live_source_that_cannot_be_are_refused(values):
    with pytest.raises(UserError, match=rf"{next(iter(values))}: expected"):
        LiveSettings(**values)
