"""With the index of a data set every result is what it is without: frames, counts, times, remarks and errors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.decode import VideoReadError, open_video, packets, pyav
from paddlevideo.loader.decode import index as indexing
from paddlevideo.loader.decode.index import VideoIndex, packed, place_of, write_index
from paddlevideo.loader.decode.pyav import PyAVReader
from tests.clips import cut, damage, frame_numbers, numbered_frames, write_clip
from tests.unit.loader.test_decode import CLIPS, NUM, SEQUENTIAL, VARIABLE

REPEATED = np.delete(np.arange(NUM + 6), [5, 6, 20, 21, 22, 23])
KINDS = {
    **CLIPS,
    "stream.flv": {},
    "edited.mp4": {"pts": 20 * (np.arange(NUM) - 7)},
    "repeated.avi": {"codec": "mjpeg", "pts": REPEATED, "ticks": 30, "bframes": 0},
    "slow.mkv": {"pts": 7919 * VARIABLE, "ticks": 90000},
    "intra.mkv": {"codec": "mjpeg", "gop": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One clip of each kind."""
    path = tmp_path_factory.mktemp("clips")
    frames = numbered_frames(NUM)
    for name, options in KINDS.items():
        write_clip(path / name, frames, **options)
    data = (path / "transport.ts").read_bytes()
    (path / "middle.ts").write_bytes(data[188 * (len(data) // 188 // 3) :])
    return path


def indexed(*paths, root):
    entries = {}
    for path in paths:
        status = os.stat(path)
        with open_video(path) as reader:
            entries[str(path)] = (status.st_size, status.st_mtime_ns, packed(reader.known()))
    write_index(str(root / "a.videoindex"), {str(root): entries})
    return VideoIndex(str(root / "a.videoindex"), str(root))


@pytest.fixture(scope="module")
def index(folder):
    return indexed(*sorted(folder.iterdir()), root=folder)


def outcome(path, index, wanted):
    """What a reader gives, or its error."""
    try:
        with open_video(path, index=index) as reader:
            count, fps, times, aspect = len(reader), reader.fps, reader.times(), reader.pixel_aspect
            frames = reader.get([i % count for i in wanted])
            times = None if times is None else times.tolist()
            return type(reader), count, fps, times, aspect, list(reader.remarks), frames.tobytes()
    except VideoReadError as error:
        return error.reason, str(error)


@pytest.mark.parametrize("name", [*KINDS, "middle.ts"])
def test_results_are_those_without_an_index(folder, index, name, monkeypatch):
    rng = np.random.default_rng(0)
    choices = [range(NUM), [0], [NUM - 1], *(rng.integers(0, NUM, 8) for _ in range(8))]
    expected = [outcome(folder / name, None, wanted) for wanted in choices]
    for what in ("table", "_check_complete"):  # no pass over the file
        monkeypatch.setattr(packets.OpenVideo, what, lambda *_: pytest.fail("all packets were read"))
    for wanted, good in zip(choices, expected):
        assert outcome(folder / name, index, wanted) == good
    if name in KINDS:
        assert expected[0][0] is PyAVReader or name in SEQUENTIAL


def test_counts_come_without_opening(folder, index, monkeypatch):
    expected = {}
    for name in KINDS:
        with open_video(folder / name) as reader:
            expected[name] = len(reader), reader.fps
    monkeypatch.setattr("av.open", lambda *_, **__: pytest.fail("a file was opened"))
    for name, options in KINDS.items():
        path = folder / name
        found = index.find(str(path), path.stat().st_size, path.stat().st_mtime_ns)
        assert (found.num_frames, found.fps) == expected[name]
        assert found.size == (64, 48) and found.track == 0
        assert found.orientation[0] == (options.get("rotation", 0) == 90)


@pytest.mark.parametrize("seconds_kept", [False, True])
def test_another_file_of_that_name_is_read_right(tmp_path, seconds_kept):
    path, frames = tmp_path / "a.avi", numbered_frames(30)
    write_clip(path, frames, codec="mjpeg")
    index, before = indexed(path, root=tmp_path), path.stat()
    write_clip(path, frames[5:25], codec="mjpeg")
    if seconds_kept:  # of the same size and time: only the header and the packets tell them apart
        path.write_bytes(path.read_bytes().ljust(before.st_size, b"\0"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with open_video(path, index=index) as reader:
        assert frame_numbers(reader.get(range(len(reader)))) == list(range(5, 25))
        assert "a.videoindex" in reader.remarks[-1]


@pytest.mark.parametrize("is_long", [False, True])
def test_packets_that_are_others_than_in_the_index(tmp_path, monkeypatch, is_long):
    """The same size, time and header: what is read differs, which is an error where the number of frames does, too."""
    monkeypatch.setattr(pyav, "_LONG", 10 if is_long else 100)
    monkeypatch.setattr(pyav, "_cache", {})
    path = tmp_path / "a.avi"
    write_clip(path, numbered_frames(30), codec="mjpeg")
    index, before = indexed(path, root=tmp_path), path.stat()
    monkeypatch.setattr(packets.OpenVideo, "digest", lambda self: index._records[0]["header"])
    stamps = np.delete(np.arange(31), 4)
    for count, given in ((30, stamps), (20, np.arange(20))):
        write_clip(path, numbered_frames(count), codec="mjpeg", pts=given, ticks=30, bframes=0)
        known = index.find(str(path), before.st_size, before.st_mtime_ns)
        with PyAVReader.open(str(path), packets.MAX_PIXELS, known=known) as reader:
            if count == 30:
                assert frame_numbers(reader.get([3, 5])) == [3, 5]
            else:
                with pytest.raises(UserError, match="20 frames, its entry .* states 30"):
                    reader.get([3, 29])  # the file ends before


@pytest.mark.parametrize("change", [7, -3, 256])
def test_a_packet_of_another_size_is_read_without_the_index(tmp_path, monkeypatch, change):
    """The sizes of packets are damaged in place: the file's size, time, header and time stamps are as they were."""
    path = tmp_path / "a.mp4"
    write_clip(path, numbered_frames(30), codec="mjpeg")
    index, before, data = indexed(path, root=tmp_path), path.stat(), bytearray(path.read_bytes())
    at = data.index(b"stsz") + 16 + 4 * 20
    data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") + change).to_bytes(4, "big")
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    calls, without = [], PyAVReader._without_index
    monkeypatch.setattr(PyAVReader, "_without_index", lambda *given: calls.append(1) or without(*given))
    assert outcome(path, index, [19]) == outcome(path, None, [19]) and not calls
    assert outcome(path, index, [20]) == outcome(path, None, [20]) and calls


def test_an_index_of_an_older_version_is_named(folder, index):
    data = bytearray(Path(index.file).read_bytes())
    data[8] = 1
    Path(index.file + "1").write_bytes(data)
    shutil.copy(index.file + "1", folder / "old.videoindex")
    found, line = indexing.index_of("old", str(folder), str(folder))
    assert found is None and "old.videoindex" in line and "check-data" in line


@pytest.mark.parametrize("name", ["plain.mp4", "matroska.mkv", "mjpeg.avi", "transport.ts", "vp9.webm", "stream.flv"])
@pytest.mark.parametrize("how", ["cut", "noise", "empty", "gone"])
def test_errors_are_those_without_an_index(folder, tmp_path, name, how):
    path = tmp_path / name
    shutil.copy(folder / name, path)
    index, before = indexed(path, root=tmp_path), path.stat()
    if how == "cut":
        cut(folder / name, path, 0.6)
    elif how == "noise":  # not even the time of the file says so
        damage(folder / name, path, start=0.4, share=0.3)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    if how == "noise" and name == "transport.ts":  # it loses pictures without an error
        with pytest.raises(UserError, match="its entry .* states 60"):
            outcome(path, index, range(NUM))
        return
    good, found = outcome(path, None, range(NUM)), outcome(path, index, range(NUM))
    assert good == found or good[:-2] + good[-1:] == found[:-2] + found[-1:]
    assert isinstance(good[0], str) or how == "noise"


def test_files_with_remarks_of_a_whole_pass_have_no_shortcut(folder, tmp_path):
    path = tmp_path / "a.mp4"
    shutil.copy(folder / "plain.mp4", path)
    with open_video(path) as reader:
        reader._source.remarks.append("2 of its packets are marked as damaged")
        known = reader.known()
    assert known.is_unusual
    status = path.stat()
    entry = status.st_size, status.st_mtime_ns, packed(known)
    write_index(str(tmp_path / "b"), {str(tmp_path): {str(path): entry}})
    with open_video(path, index=VideoIndex(str(tmp_path / "b"), str(tmp_path))) as reader:
        assert not reader._is_known and not reader.remarks


def test_a_damaged_entry_is_no_entry(folder, index):
    data = bytearray(Path(index.file).read_bytes())
    path = str(folder / "plain.mp4")
    status = os.stat(path)
    rng, kept = np.random.default_rng(0), 0
    good = index.find(path, status.st_size, status.st_mtime_ns)
    for at in rng.integers(64, len(data), 300).tolist():
        changed = data.copy()
        changed[at] ^= 1 << int(rng.integers(8))
        with open(index.file + "2", "wb") as stream:
            stream.write(changed)
        found = VideoIndex(index.file + "2", str(folder)).find(path, status.st_size, status.st_mtime_ns)
        if found is not None:
            kept += 1
            assert found.num_frames == good.num_frames and np.array_equal(found.table.pts, good.table.pts)
            assert np.array_equal(found.table.keys, good.table.keys)
    assert 200 < kept < 300


def test_stamps_of_any_size_come_back():
    rng = np.random.default_rng(0)
    for span in (1, 100, 30_000, 1 << 20, 1 << 45):
        for unit in (1, 512):
            values = (np.arange(50) + rng.integers(-span, span + 1, 50)) * unit - 77
            first, found_unit, steps = indexing._compact(values)
            assert np.array_equal(first + found_unit * (np.arange(50) + (steps if len(steps) else 0)), values)
    first, unit, steps = indexing._compact(np.array([5]))
    assert (first, unit, len(steps)) == (5, 1, 0)


def test_one_line_in_the_log(folder, tmp_path, caplog):
    for k in range(3):
        shutil.copy(folder / "plain.mp4", tmp_path / f"{k}.mp4")
    (tmp_path / "list.txt").write_text("".join(f"{k}.mp4 0\n" for k in range(3)))
    section = {"format": "VideoDataset", "file_path": str(tmp_path / "list.txt"), "data_prefix": str(tmp_path)}
    sample = {"name": "Sampler", "num_seg": 4, "valid_mode": True, "select_left": True}
    steps = {"decode": {"name": "VideoDecoder"}, "sample": sample}
    common = {"seed": 0, "num_classes": 2, "batch_size": 1, "shuffle": False, "drop_last": False}
    file, root = place_of(section["file_path"], section["data_prefix"])

    def lines(num_workers=0, **more):
        loader = build_loader({**section, **more}, steps, "test", num_workers=num_workers, **common)
        pixels = np.concatenate([np.asarray(batch["imgs"]) for batch in loader.epoch(0)])
        loader.close()
        found, _ = [record.message for record in caplog.records], caplog.clear()
        return pixels, found

    with caplog.at_level("INFO", "paddlevideo"):
        plain, logged = lines()
        assert not any("index" in line for line in logged)
        indexed(tmp_path / "0.mp4", tmp_path / "1.mp4", root=tmp_path)
        os.replace(tmp_path / "a.videoindex", file)
        for num_workers in (0, 1):  # the third file is not in it
            pixels, (first, second) = lines(num_workers)
            assert np.array_equal(pixels, plain)
            assert first == f"DATASET.test: index of 2 videos: {file}"
            assert second.startswith("1 of 3 samples") and file in second and "2.mp4" in second
        assert lines(index="none")[1] == []
        with open(file, "r+b") as stream:
            stream.truncate(500)
        pixels, (line,) = lines()
        assert np.array_equal(pixels, plain) and file in line and "bytes" in line and "check-data" in line
    with pytest.raises(UserError, match="no such file"):
        lines(index=str(tmp_path / "elsewhere"))
