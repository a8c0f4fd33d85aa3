"""Bad files: one clear line that names the file, a rule for what happens, and never another video in silence."""

from __future__ import annotations

import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

from paddlevideo.errors import UserError
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.fetch import time_limit
from tests.clips import cut, numbered_frames, write_audio, write_clip
from tests.unit.loader.fakes import DecodingPipeline, arrays, assert_same, dataset_of, loader_of

REASONS = {
    "missing.mp4": "missing",
    "folder.mp4": "missing",
    "empty.mp4": "empty",
    "text.mp4": "not_a_video",
    "text.txt": "not_a_video",
    "playlist.m3u8": "not_a_video",
    "garbage.mp4": "not_a_video",
    "audio.m4a": "no_video_stream",
    "no_index.mp4": "truncated",
    "half.mp4": "truncated",
    "half.mkv": "truncated",
    "half.avi": "truncated",
    "picture.jpg": "not_a_video",
    "picture.mp4": "not_a_video",
    "picture.png": "not_a_video",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("bad")
    frames = numbered_frames(30)
    good = write_clip(root / "good.mp4", frames)
    (root / "folder.mp4").mkdir()
    (root / "empty.mp4").touch()
    for name in ("text.mp4", "text.txt"):
        (root / name).write_text("this is no video\n" * 40)
    (root / "playlist.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{good}\n#EXT-X-ENDLIST\n")
    (root / "garbage.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    write_audio(root / "audio.m4a")
    cut(good, root / "no_index.mp4", 0.5)
    front = write_clip(root / "front.mp4", frames, muxer_options={"movflags": "faststart"})
    cut(front, root / "half.mp4", 0.5)
    cut(write_clip(root / "a.mkv", frames), root / "half.mkv", 0.5)
    cut(write_clip(root / "a.avi", frames, codec="mjpeg"), root / "half.avi", 0.5)
    for name in ("picture.jpg", "picture.png"):
        Image.fromarray(frames[0]).save(root / name)
    shutil.copy(root / "picture.jpg", root / "picture.mp4")
    return root


def test_a_file_of_many_pictures_is_a_video(folder):
    (folder / "many.mjpg").write_bytes((folder / "picture.jpg").read_bytes() * 3)
    assert len(open_video(folder / "many.mjpg")) == 3


@pytest.mark.parametrize("backend", ["pyav", "pyav_sequential", "cv2", "decord"])
@pytest.mark.parametrize("name", REASONS)
def test_reason_and_file_are_named(folder, name, backend):
    if backend == "decord":
        pytest.importorskip("decord")
    with pytest.raises(VideoReadError) as caught:
        open_video(folder / name, backend).get([0])
    error = caught.value
    assert error.path == str(folder / name) and name in str(error) and "\n" not in str(error)
    assert error.reason == REASONS[name], error


def test_nul_and_control_characters_in_a_name():
    with pytest.raises(VideoReadError) as caught:
        open_video("a\0\x1b[31m\nb.mp4")
    assert caught.value.reason == "missing" and str(caught.value).isprintable()


@pytest.mark.scorecard(16)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_evaluation_raises(folder, num_workers):
    dataset = dataset_of(folder, ["good.mp4", "half.mp4"])
    loader = loader_of(dataset, 2, num_workers, on_error="raise", pipeline=DecodingPipeline(), shuffle=False)
    with pytest.raises(VideoReadError) as caught:
        list(loader.epoch(0))
    assert caught.value.reason == "truncated" and "half.mp4" in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_counts(folder, num_workers):
    dataset = dataset_of(folder, ["empty.mp4", "good.mp4", "text.mp4"])
    loader = loader_of(dataset, 3, num_workers, on_error="count", pipeline=DecodingPipeline(), shuffle=False)
    (batch,) = arrays(loader.epoch(0))
    assert batch["valid"].tolist() == [0, 1, 0]
    assert batch["index"].tolist() == [0, 1, 2] and batch["label"].tolist() == [0, 1, 2]
    assert not batch["imgs"][0].any() and batch["imgs"][1].any()
    assert "empty (0 bytes)" in loader.unreadable[0] and set(loader.unreadable) == {0, 2}


def test_counting_needs_one_readable_file(folder):
    dataset = dataset_of(folder, ["empty.mp4", "text.mp4"])
    with pytest.raises(UserError, match="none of the first 2 files can be read"):
        list(loader_of(dataset, 2, on_error="count", pipeline=DecodingPipeline()).epoch(0))


MIXED = ["clip_0", "unreadable_1", "clip_2", "clip_3", "unreadable_4", "clip_5", "clip_6"]


@pytest.mark.scorecard(15)
def test_training_replaces_by_rule(tmp_path):
    dataset = dataset_of(tmp_path, MIXED)
    loader = loader_of(dataset, 7)
    (batch,) = list(loader.epoch(0))
    replaced = batch["replaced"].tolist()
    assert sorted(r for r in replaced if r >= 0) == [1, 4]
    for index, stands_for, label in zip(batch["index"], replaced, batch["label"]):
        assert index not in (1, 4) and label == index % 3  # what was really seen, with its own label
        assert stands_for in (-1, 1, 4)
    assert batch["valid"].all()
    assert set(loader.unreadable) == {1, 4} and "unreadable_4: corrupt (a test)" in loader.unreadable[4]
    # the same on every run, with workers, on other ranks
    for num_workers in (0, 2):
        assert_same([batch], arrays(loader_of(dataset, 7, num_workers).epoch(0)))
    other = [
        int(i) for e in range(1, 8) for b in loader_of(dataset, 7).epoch(e) for i in b["index"][b["replaced"] == 1]
    ]
    assert len(set(other)) > 1  # not always the same neighbour


def test_replacement_does_not_repeat_pixels(tmp_path):
    (batch,) = list(loader_of(dataset_of(tmp_path, ["clip_0", "unreadable_1"]), 2, shuffle=False).epoch(0))
    assert batch["index"].tolist() == [0, 0] and not np.array_equal(batch["imgs"][0], batch["imgs"][1])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_unreadable_files(tmp_path, num_workers):
    dataset = dataset_of(tmp_path, [f"unreadable_{n}" for n in range(30)])
    with pytest.raises(UserError, match="11 files in a row cannot be read"):
        list(loader_of(dataset, 2, num_workers).epoch(0))


@pytest.mark.parametrize("on_error", ["skip", "count", "raise"])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_bug_is_never_skipped(tmp_path, num_workers, on_error):
    dataset = dataset_of(tmp_path, ["clip_0", "bug_1"])
    with pytest.raises(UserError, match=r"bug_1: KeyError: 'scale' \(at fakes.py:\d+\)"):
        list(loader_of(dataset, 2, num_workers, on_error=on_error).epoch(0))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_stuck_file(tmp_path, num_workers):
    dataset = dataset_of(tmp_path, ["clip_0", "slow_1"])
    start = time.monotonic()
    with pytest.raises(VideoReadError) as caught:
        list(loader_of(dataset, 1, num_workers, on_error="raise", timeout_s=0.5, shuffle=False).epoch(0))
    assert caught.value.reason == "timeout" and "slow_1" in str(caught.value) and "timeout_s" in str(caught.value)
    assert time.monotonic() - start < 10


def test_stuck_file_is_skipped_in_training(tmp_path):
    dataset = dataset_of(tmp_path, ["clip_0", "slow_1", "clip_2"])
    (batch,) = list(loader_of(dataset, 3, timeout_s=0.3).epoch(0))
    assert 1 in batch["replaced"]


def test_time_limit_passes_through_catch_all_handlers():
    def library():
        try:
            time.sleep(5)
        except Exception:
            return "swallowed"

    with pytest.raises(VideoReadError), time_limit("x.mp4", 0.1):
        library()
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0 and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_time_limit_leaves_a_foreign_alarm_alone():
    mine = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        with time_limit("x.mp4", 5):
            assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    finally:
        signal.signal(signal.SIGALRM, mine)


def test_an_address_is_not_opened_as_a_video_and_its_password_is_not_shown():
    with pytest.raises(VideoReadError, match="rtsp://127.0.0.1/x: missing .no such file; it is an address") as caught:
        open_video("rtsp://user:secret@127.0.0.1/x")
    assert "secret" not in str(caught.value)
