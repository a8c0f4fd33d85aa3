"""Uploads: what is taken, what is refused and why, what is played."""

import dataclasses
import time
import zipfile

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio import uploads
from paddlevideo_studio.inspection import MAX_PIXELS, is_even
from paddlevideo_studio.project import Project
from paddlevideo_studio.studio import Limits
from paddlevideo_studio.videos import clean_name

from paddlevideo.errors import UserError
from paddlevideo.loader.decode import open_video
from tests.clips import frame_numbers, numbered_frames, write_clip
from tests.studio.conftest import TYPE


def files(project):
    return {p.name for folder in ("videos", "originals") for p in (project.root / folder).iterdir()}


def wait(client, number, limit_s=120):
    """The job when it has ended."""
    end = time.monotonic() + limit_s
    while (job := client.get(f"/api/jobs/{number}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.1)
    return job


def test_a_video_that_browsers_play_is_kept_as_it_is(client, upload, project, clip):
    video = upload()
    facts = {"state": "ready", "duration_s": 4.0, "fps": 25.0, "num_frames": 100, "even": True, "width": 64}
    assert {key: video[key] for key in facts} == facts and not video["transcoded"]
    url = f"/api/videos/{video['id']}"
    whole = client.get(f"{url}/media")
    assert whole.content == clip.read_bytes() and whole.headers["content-type"] == "video/mp4"
    part = client.get(f"{url}/media", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, clip.read_bytes()[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    assert client.get(f"{url}/media", headers={"Range": "bytes=99999999-"}).status_code == 416
    for picture in ("thumbnail", "strip"):
        assert client.get(f"{url}/{picture}").content[:3] == b"\xff\xd8\xff"
    assert client.get(f"{url}/times").json() == {"fps": 25.0, "times_s": None}
    assert client.get(f"{url}/scores").json()["scores"] == []
    assert client.delete(url).status_code == 204 and files(project) == set()
    assert client.get(url).status_code == 404 and client.get("/api/videos").json() == {"videos": []}


def test_pictures_that_change_their_size_become_those_of_the_first(client, upload, project, tmp_path):
    large = write_clip(tmp_path / "large.ts", numbered_frames(15, 96, 128), fps=15)
    small = write_clip(tmp_path / "small.ts", numbered_frames(30, 48, 80)[15:], fps=15)
    video = upload("both.ts", large.read_bytes() + small.read_bytes())
    job = wait(client, video["job"])
    assert job["state"] == "done", client.get(f"/api/jobs/{job['id']}/log").text
    with open_video(project.root / "videos" / f"{video['id']}.mp4") as reader:
        images = reader.get(range(len(reader)))
    assert images.shape[1:] == (96, 128, 3) and {*range(30)} <= {*frame_numbers(images)}


def test_another_codec_is_transcoded_once_and_the_frames_keep_their_times(client, upload, project, tmp_path):
    stamps = [n * 24 if n < 30 else n * 48 - 720 for n in range(50)]  # of 600 a second: 25 fps, then 12.5
    source = write_clip(tmp_path / "a.mkv", numbered_frames(50, 48, 80), 25, "libx265", pts=stamps)
    video = upload("a.mkv", source.read_bytes())
    assert video["state"] == "preparing" and video["transcoded"]
    url = f"/api/videos/{video['id']}"
    early = client.get(f"{url}/media")
    assert early.status_code == 409 and "preparing" in early.json()["error"]
    assert wait(client, video["job"])["state"] == "done"
    video = client.get(url).json()
    assert video["state"] == "ready" and video["job"] is None and not video["even"]
    assert client.get(f"{url}/media").status_code == 200
    times = client.get(f"{url}/times").json()["times_s"]
    with open_video(source) as before, open_video(project.root / "videos" / f"{video['id']}.mp4") as after:
        np.testing.assert_allclose(after.times(), before.times(), atol=1e-3)
        np.testing.assert_allclose(times, before.times(), atol=1e-3)
        assert frame_numbers(after.get(range(50))) == list(range(50))
    assert (project.root / "originals" / f"{video['id']}.mkv").read_bytes() == source.read_bytes()


def test_a_frame_s_number_is_that_of_its_time_whatever_the_jitter(upload, client, tmp_path):
    stamps = [n * 24 + (9 if n % 3 == 1 else 0) for n in range(40)]  # of 600 a second: up to 0.375 frames late
    file = write_clip(tmp_path / "a.mp4", numbered_frames(40), 25, pts=stamps)
    video = upload("a.mp4", file.read_bytes())
    assert video["state"] == "ready" and not video["even"] and video["fps"] == pytest.approx(25, abs=0.3)
    times_s = client.get(f"/api/videos/{video['id']}/times").json()["times_s"]
    with open_video(file) as reader:
        np.testing.assert_allclose(times_s, reader.times(), atol=1e-4)


def test_rounded_times_are_even_and_jitter_is_not():
    numbers = np.arange(216_000)  # two hours
    fps = 30000 / 1001
    assert is_even(np.round(numbers / fps, 3), round(fps, 6), 0.001)  # a container of milliseconds
    assert is_even(numbers / 25, 25, 0.04)  # of frames
    late = np.where(numbers % 3 == 1, 0.4, 0) / 25
    for unit_s in (1e-4, 0.001, 0.04):
        assert not is_even(numbers / 25 + late, 25, unit_s)


def test_a_video_of_wide_pixels_has_its_shown_size(upload, tmp_path):
    file = write_clip(tmp_path / "a.mp4", numbered_frames(10, 48, 64), 25, pixel_aspect=2)
    assert (upload("a.mp4", file.read_bytes())["width"], upload("a.mp4", file.read_bytes())["height"]) == (128, 48)


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """Name -> content of files that are no readable videos."""
    folder = tmp_path_factory.mktemp("bad")
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        archive.writestr("a.txt", "a" * 1000)
    clip = write_clip(folder / "a.mp4", numbered_frames(60), 25).read_bytes()
    bomb = write_clip(folder / "bomb.mp4", np.zeros((1, 4416, 8192, 3), np.uint8), 25, options={"preset": "ultrafast"})
    assert MAX_PIXELS < 4416 * 8192 and bomb.stat().st_size < 200_000
    return {
        "zip.mp4": (folder / "zip").read_bytes(),
        "text.mp4": b"hello\n" * 100,
        "empty.mp4": b"",
        "page.mp4": b"<html><script>alert(1)</script></html>",
        "playlist.mp4": b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "concat.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "cut.mp4": clip[: len(clip) // 2],
        "bomb.mp4": bomb.read_bytes(),
    }


@pytest.mark.parametrize("name", ["zip.mp4", "text.mp4", "empty.mp4", "playlist.mp4", "cut.mp4", "bomb.mp4"])
def test_what_is_no_video_is_refused_and_leaves_nothing(client, project, bad_files, name):
    answer = client.post("/api/videos", params={"name": name}, content=bad_files[name], headers=TYPE)
    assert answer.status_code == 415, answer.text
    error = answer.json()["error"]
    assert name != "bomb.mp4" or f"more than max_pixels ({MAX_PIXELS:,})" in error
    assert error.startswith(f"{name}: ") and "\n" not in error and str(project.root) not in error
    assert files(project) == set() and client.get("/api/videos").json() == {"videos": []}


def test_decoding_is_limited_in_memory_and_time(tmp_path, monkeypatch):
    """Pictures below the limit of pixels that take more memory than allowed; an endless decoder."""
    from paddlevideo_studio import limited

    code = (
        "from paddlevideo_studio.limited import Bounds, bounded\n"
        "bounded(Bounds(time_s=1, memory_bytes=1 << 30, file_bytes=1000))\n"
    )
    import subprocess
    import sys

    def run(more):
        return subprocess.run([sys.executable, "-c", code + more], env=limited.environment(), capture_output=True)

    assert b"MemoryError" in run("b'x' * (2 << 30)").stderr
    with_file = f"with open({str(tmp_path / 'f')!r}, 'wb') as f: f.write(b'x' * 5000)"
    assert b"File too large" in run(with_file).stderr
    assert run("while True: pass").returncode < 0
    monkeypatch.setattr(limited.sys, "executable", "/bin/sleep")
    monkeypatch.setattr(limited.subprocess, "run", lambda *a, real=subprocess.run, **k: real(["sleep", "9"], **k))
    assert "takes longer than 0.2 s" in limited.run_module("inspection", [], 0.2)["error"]


NAMES = {
    "../../etc/passwd.mp4": "passwd.mp4",
    "..%2f..%2fa.mp4": "..%2f..%2fa.mp4",
    "C:\\videos\\a.mp4": "a.mp4",
    "a\0b\x1b[31m.mp4": "a b [31m.mp4",
    "x" * 300 + ".mp4": "x" * 196 + ".mp4",
    "<img onerror=alert(1)>.mp4": "<img onerror=alert(1)>.mp4",
    "a\u202egpj.mp4": "a gpj.mp4",
    "...": "video",
    "": "video",
}


@pytest.mark.scorecard(9, times=4)
def test_names_of_files_are_text_and_never_paths(client, clip, project):
    for name, shown in NAMES.items():
        assert clean_name(name) == shown
    for name in ("../../etc/passwd.mp4", "a\0b.mp4", "<img onerror=alert(1)>.mp4", "x" * 300 + ".mp4"):
        answer = client.post("/api/videos", params={"name": name}, content=clip.read_bytes(), headers=TYPE)
        assert answer.status_code == 201 and answer.json()["name"] == clean_name(name)
    assert all(name[:16] in {v["id"] for v in client.get("/api/videos").json()["videos"]} for name in files(project))
    assert {p.name for p in project.root.parent.iterdir()} == {"project"}


def test_an_upload_is_limited_while_it_streams(serve, project, monkeypatch):
    client = serve(limits=Limits(upload_bytes=3 << 20))
    sent = 0

    def chunks():
        nonlocal sent
        for _ in range(64):
            sent += 1 << 20
            yield b"x" * (1 << 20)

    answer = client.post("/api/videos", params={"name": "a.mp4"}, content=chunks(), headers=TYPE)
    assert answer.status_code == 413 and "larger than this server takes" in answer.json()["error"]
    answer = client.post("/api/videos", params={"name": "a.mp4"}, content=b"x" * (4 << 20), headers=TYPE)
    assert answer.status_code == 413 and files(project) == set()
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1 << 29}))
    answer = client.post("/api/videos", params={"name": "a.mp4"}, content=b"x", headers=TYPE)
    assert answer.status_code == 507 and files(project) == set()


def test_a_project_is_opened_once_and_a_wrong_folder_is_named(project, tmp_path):
    with pytest.raises(UserError, match="another studio has this project open"):
        Project.open(project.root)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("a")
    with pytest.raises(UserError, match="has files, but no project.json"):
        Project.open(tmp_path / "other")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "project.json").write_text('{"format": "x"}')
    with pytest.raises(UserError, match=r"project.json: expected the format paddlevideo.studio, version 1"):
        Project.open(tmp_path / "wrong")


def test_a_conversion_that_failed_is_repeated(client, upload, project, tmp_path):
    import shutil

    good = upload("a.avi", write_clip(tmp_path / "a.avi", numbered_frames(20), 25, "mpeg4").read_bytes())
    original = project.videos.originals / project.videos.get(good["id"]).original
    assert client.post(f"/api/videos/{good['id']}/retry").status_code == 409  # it is being prepared
    assert wait(client, good["job"])["state"] == "done"
    assert client.post(f"/api/videos/{good['id']}/retry").status_code == 409  # it is ready
    shutil.copy(original, tmp_path / "kept.avi")
    original.write_bytes(b"x")
    video = project.videos.get(good["id"])
    project.videos.write(dataclasses.replace(video, state="failed", error="broken"))
    job = client.post(f"/api/videos/{good['id']}/retry")
    assert job.status_code == 202 and job.json()["kind"] == "transcode"
    assert client.get(f"/api/videos/{good['id']}").json()["state"] in ("preparing", "failed")
    assert wait(client, job.json()["id"])["state"] == "failed"
    assert client.get(f"/api/videos/{good['id']}").json()["state"] == "failed"
    shutil.copy(tmp_path / "kept.avi", original)
    assert wait(client, client.post(f"/api/videos/{good['id']}/retry").json()["id"])["state"] == "done"
    shown = client.get(f"/api/videos/{good['id']}").json()
    assert (shown["state"], shown["error"]) == ("ready", None)
