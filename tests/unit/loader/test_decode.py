"""Readers against each other: the selective one must equal sequential decoding bit for bit."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.loader.decode import FrameFolder, VideoReadError, backends, ffmpeg_errors, open_video, packets, pyav
from paddlevideo.loader.decode.container import declared_size
from paddlevideo.loader.decode.pyav import PyAVReader, needed_runs
from paddlevideo.loader.decode.pyav_sequential import PyAVSequentialReader
from tests.clips import cut, damage, frame_numbers, numbered_frames, write_clip, write_frames

MEDIA = Path(__file__).resolve().parents[3] / ".." / "shared" / "media"
NUM = 60
VARIABLE = np.cumsum(np.random.default_rng(1).integers(10, 60, NUM))
CLIPS = {
    "plain.mp4": {},
    "one_group.mp4": {"gop": 250},
    "open_gop.mp4": {"open_gop": True, "bframes": 3},
    "open_gop_hevc.mp4": {"codec": "libx265", "open_gop": True},
    "variable_rate.mp4": {"pts": VARIABLE},
    "audio.mp4": {"audio": True},
    "turned.mp4": {"rotation": 90},
    "half_turn.mp4": {"rotation": 180},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "matroska.mkv": {},
    "transport.ts": {},
    "open_gop.ts": {"open_gop": True, "bframes": 3},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "vp8.webm": {"codec": "libvpx"},
    "mjpeg.avi": {"codec": "mjpeg"},
    "xvid.avi": {"codec": "mpeg4"},
    "h264.avi": {},
    "raw.h264": {},
}
SEQUENTIAL = {"vp8.webm", "xvid.avi", "h264.avi", "raw.h264"}  # no usable time stamps, or hidden frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def frames():
    return numbered_frames(NUM)


@pytest.fixture(scope="module")
def clip(folder, frames):
    """name -> path; encodes at the first use."""

    def make(name: str) -> Path:
        path = folder / name
        return path if path.exists() else write_clip(path, frames, **CLIPS[name])

    return make


def not_the_long_way(clip):
    raise AssertionError(f"frames {sorted(clip.missing)} did not come out of the selected packets")


def assert_equals_sequential(path: Path) -> np.ndarray:
    with open_video(path, "pyav_sequential") as slow, open_video(path) as fast:
        whole = slow.get(range(len(slow)))
        assert len(fast) == len(slow)
        fast._get_sequentially = not_the_long_way  # it would hide a mistake
        assert np.array_equal(fast.get(range(len(fast))), whole)
        rng = np.random.default_rng(0)
        for _ in range(8):  # any order, with repetitions
            wanted = rng.integers(0, len(fast), 8)
            assert np.array_equal(fast.get(wanted), whole[wanted])
        for index in (0, len(fast) // 2, len(fast) - 1):
            assert np.array_equal(fast.get([index])[0], whole[index])
    return whole


@pytest.mark.parametrize("name", CLIPS)
def test_selective_equals_sequential(clip, name):
    whole = assert_equals_sequential(clip(name))
    upright = np.rot90(whole, -CLIPS[name].get("rotation", 0) // 90, axes=(1, 2))
    assert frame_numbers(upright) == list(range(NUM))
    with open_video(clip(name)) as reader:
        assert type(reader) is (PyAVSequentialReader if name in SEQUENTIAL else PyAVReader)


@pytest.mark.parametrize(
    "path", sorted({*MEDIA.glob("*.mp4"), *MEDIA.glob("*.avi")}) or [None], ids=lambda p: p.name if p else "none"
)
def test_real_clips(path):
    if path is None:
        pytest.skip("no ../shared/media beside the repository")
    with open_video(path, "pyav_sequential") as slow, open_video(path) as fast:
        assert len(fast) == len(slow)
        wanted = np.random.default_rng(0).integers(0, len(fast), 12)
        assert np.array_equal(fast.get(wanted), slow.get(wanted))


def test_edit_list(folder, frames):
    # the first frames lie before time 0: they are decoded for the others to refer to, but not shown
    path = write_clip(folder / "edited.mp4", frames, pts=20 * (np.arange(NUM) - 7))
    whole = assert_equals_sequential(path)
    assert frame_numbers(whole) == list(range(7, NUM))


def test_stream_that_begins_inside_a_group(folder, clip):
    # cut out of a longer stream, without its first key frame: what cannot be decoded must not be counted
    data = clip("transport.ts").read_bytes()
    path = folder / "middle.ts"
    path.write_bytes(data[188 * (len(data) // 188 // 3) :])
    assert len(assert_equals_sequential(path)) < NUM


@pytest.mark.parametrize("name", sorted(CLIPS.keys() - SEQUENTIAL))
def test_long_file_is_not_held(clip, monkeypatch, name):
    monkeypatch.setattr(packets, "_KEEP_BYTES", 1000)
    with open_video(clip(name)) as reader:
        assert reader._table.packets is None
    whole_pass = packets.OpenVideo.table
    with monkeypatch.context() as patch:  # known by now: only the sequential reader counts again
        patch.setattr(packets.OpenVideo, "table", lambda file, *given: whole_pass(file, *given) if given else 1 / 0)
        assert_equals_sequential(clip(name))


def test_a_long_file_is_fetched_by_seeking(tmp_path, monkeypatch):
    monkeypatch.setattr(packets, "_KEEP_BYTES", 1000)
    path = tmp_path / "long.mp4"
    write_clip(path, numbered_frames(400), gop=10)
    read = []
    real = packets.OpenVideo.demux
    monkeypatch.setattr(packets.OpenVideo, "demux", lambda self: (read.append(1) or packet for packet in real(self)))
    with open_video(path) as reader:
        assert frame_numbers(reader.get([305, 8, 390])) == [305, 8, 390]
        assert len(read) < 60
    write_clip(path, numbered_frames(40), gop=10)  # another file under the same name is another file
    with open_video(path) as reader:
        assert len(reader) == 40


def test_of_long_files_the_latest_are_cached(clip, monkeypatch):
    monkeypatch.setattr(packets, "_KEEP_BYTES", 1000)
    monkeypatch.setattr(pyav, "_MAX_CACHED", 2)
    monkeypatch.setattr(pyav, "_cache", {})
    names = sorted(CLIPS.keys() - SEQUENTIAL)[:3]
    for name in (names[0], names[1], names[0], names[2]):
        open_video(clip(name)).close()
    assert [Path(path).name for path, *_ in pyav._cache] == [clip(names[0]).name, clip(names[2]).name]


def test_decodes_only_what_is_needed(clip):
    with open_video(clip("plain.mp4")) as reader:
        fed = [0]
        real = reader._packets

        def counting(runs):
            for first, group in real(runs):
                group = list(group)
                fed[0] += len(group)
                yield first, iter(group)

        reader._packets = counting
        reader.get([30])
    assert 1 <= fed[0] <= 12


def test_needed_runs():
    # in decoding order: I0 P3 b1 b2 | I6 b4 b5 P9 b7 b8 (open: b4, b5 come after the key frame and before it in time)
    pts, keys = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8], [0, 4]
    assert needed_runs([1], pts, keys) == [(0, 1)]
    assert needed_runs([5], pts, keys) == [(0, 5)]  # b4 needs the group before
    assert needed_runs([8], pts, keys) == [(4, 8)]
    assert needed_runs([0, 8], pts, keys) == [(0, 0), (4, 8)]
    assert needed_runs([2, 5, 8], pts, keys) == [(0, 8)]
    assert needed_runs([0, 4, 5], pts, keys) == [(0, 5)]  # the open group reaches back over the run of its key frame


def test_display_order_refuses_doubtful_time_stamps():
    def order(pts, keys):
        stamps = np.array([packets.NO_STAMP if stamp is None else stamp for stamp in pts])
        return packets.PacketTable(
            stamps, np.flatnonzero(keys), np.array([], int), np.zeros(len(stamps), np.uint8)
        ).order

    assert order([0, 2, 1], [1, 0, 0]).tolist() == [0, 2, 1]
    for pts, keys in (
        ([0, 2, 2], [1, 0, 0]),
        ([0, None, 1], [1, 0, 0]),
        ([0, 2, 1], [0, 1, 0]),
        ([5, 2, 9], [1, 0, 0]),
    ):
        assert order(pts, keys) is None


@pytest.mark.parametrize("backend", ["cv2", "decord", "pyav", "pyav_sequential"])
def test_backends_by_name(clip, backend):
    if backend == "decord":
        pytest.importorskip("decord")
    with open_video(clip("plain.mp4"), backend) as reader, open_video(clip("plain.mp4")) as exact:
        assert len(reader) == NUM
        assert reader.fps == pytest.approx(30)
        got = reader.get([50, 3, 3, 20])
        assert got.dtype == np.uint8 and got.shape == (4, 48, 64, 3)
        assert frame_numbers(got) == [50, 3, 3, 20]
        assert np.abs(got.astype(int) - exact.get([50, 3, 3, 20])).max() <= 2
        with pytest.raises(IndexError):
            reader.get([NUM])
    assert backend in backends()


def test_cv2_turns_the_picture_the_same_way(clip):
    with open_video(clip("turned.mp4"), "cv2") as reader, open_video(clip("turned.mp4")) as exact:
        assert np.abs(reader.get([5]).astype(int) - exact.get([5])).max() <= 2


def test_unknown_backend(clip):
    with pytest.raises(UserError, match="did you mean 'pyav'"):
        open_video(clip("plain.mp4"), "pyaw")


@pytest.mark.parametrize("name", ["plain.mp4", "matroska.mkv", "vp9.webm", "mjpeg.avi"])
@pytest.mark.parametrize("backend", ["pyav", "cv2", "decord"])
def test_cut_file_is_named(clip, folder, name, backend):
    assert declared_size(str(clip(name))) in (None, clip(name).stat().st_size)
    path = cut(clip(name), folder / f"cut_{name}", 0.6)
    with pytest.raises(VideoReadError) as caught:
        open_video(path, backend)
    assert caught.value.reason == "truncated" and caught.value.path == str(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


def test_cut_mp4_with_its_index_in_front(folder, frames):
    path = write_clip(folder / "front.mp4", frames, muxer_options={"movflags": "faststart"})
    with pytest.raises(VideoReadError, match="truncated"):
        open_video(cut(path, folder / "cut_front.mp4", 0.6))


def test_damaged_frames_are_an_error_and_others_still_come(folder, frames):
    path = write_clip(folder / "front2.mp4", frames, muxer_options={"movflags": "faststart"})
    bad = damage(path, folder / "damaged.mp4", start=0.4, share=0.3)
    with open_video(bad) as reader:
        with pytest.raises(VideoReadError) as caught:
            reader.get(range(NUM))
        assert caught.value.reason == "corrupt" and "damaged.mp4" in str(caught.value)
        assert frame_numbers(reader.get([0, 1])) == [0, 1]


def test_frame_folder(tmp_path, frames):
    folder = write_frames(tmp_path / "frames", frames[:6])
    with FrameFolder(folder, 6) as reader:
        assert frame_numbers(reader.get([5, 0, 0])) == [5, 0, 0]
    (folder / "img_00004.jpg").unlink()
    with pytest.raises(VideoReadError, match="img_00004.jpg: missing"):
        FrameFolder(folder, 6).get([0, 3])
    (folder / "img_00004.jpg").write_bytes(b"no picture")
    with pytest.raises(VideoReadError, match="img_00004.jpg: corrupt"):
        FrameFolder(folder, 6).get([3])
    with pytest.raises(VideoReadError, match="missing"):
        FrameFolder(tmp_path / "nowhere", 6)


def test_name_like_an_address(tmp_path, frames, monkeypatch):
    write_clip(tmp_path / "plain.mp4", frames[:5]).rename(tmp_path / "concat:a.mp4")
    monkeypatch.chdir(tmp_path)
    with open_video("concat:a.mp4") as reader:
        assert len(reader) == 5


def test_no_error_is_lost_where_another_thread_stops_listening(monkeypatch):
    from av import logging

    line, seen = (logging.ERROR, "codec", "a text"), []
    listens, restored = threading.Event(), threading.Event()
    set_level, before = logging.set_level, (logging.get_level(), logging.get_skip_repeated())

    def listen():
        with ffmpeg_errors.error_lines() as lines:
            listens.set()
            restored.wait()
            logging.log(*line)
        seen.append(lines)

    def restore_late(level):
        if level == before[0]:
            monkeypatch.undo()
            thread.start()
            listens.wait(0.2)  # not until the level is restored
        set_level(level)

    thread = threading.Thread(target=listen)
    monkeypatch.setattr(logging, "set_level", restore_late)
    with ffmpeg_errors.error_lines():
        pass
    restored.set()
    thread.join()
    assert seen == [[line]]
    assert (logging.get_level(), logging.get_skip_repeated()) == before
