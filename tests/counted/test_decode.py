"""What a clip costs: opened files, passes over them, seeks, packets read and packets given to the decoder."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest

from paddlevideo.inference.stream import open_stream
from paddlevideo.inference.windows import Windows
from paddlevideo.loader.decode import open_video
from paddlevideo.loader.decode.index import VideoIndex, packed, write_index
from paddlevideo.loader.decode.packets import OpenVideo
from tests.clips import frame_numbers, numbered_frames, write_clip

NUM = 300
WANTED = [20, 61, 62, 150, 155, 240, 281, 299]  # one or two in a group of 12; two groups of 250


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips")
    for gop in (12, 250):
        write_clip(path / f"gop{gop}.mp4", numbered_frames(NUM), gop=gop)
    write_clip(path / "intra.avi", numbered_frames(NUM), codec="mjpeg")
    return path


@pytest.fixture
def counts(monkeypatch):
    """Counter of what is called from now on."""
    found = Counter()

    def count(owner, name, what, of=lambda result: 1):
        real = getattr(owner, name)

        def counting(*args, **kwargs):
            result = real(*args, **kwargs)
            found[what] += of(result)
            return result

        monkeypatch.setattr(owner, name, counting)

    def demuxed(self):
        for packet in demux(self):
            found["packets"] += 1
            yield packet

    def decode(self, packet, lines):
        frames = real_decode(self, packet, lines)
        found["fed"] += packet is not None
        found["frames"] += len(frames)
        return frames

    demux, real_decode = OpenVideo.demux, OpenVideo.decode
    monkeypatch.setattr(OpenVideo, "demux", demuxed)
    monkeypatch.setattr(OpenVideo, "decode", decode)
    count(OpenVideo, "__init__", "opens")
    count(OpenVideo, "table", "passes")
    count(OpenVideo, "seek", "seeks")
    return found


def indexed(path):
    status = os.stat(path)
    with open_video(path) as reader:
        entries = {str(path): (status.st_size, status.st_mtime_ns, packed(reader.known()))}
    write_index(f"{path}.videoindex", {str(path.parent): entries})
    return VideoIndex(f"{path}.videoindex", str(path.parent))


# packets from each run's key frame to its last wanted frame; frames: without some that no other refers to; packets and
# seeks: with the index, where few packets are read and left out instead of sought over
EXPECTED = {
    "gop12.mp4": {"fed": 44, "frames": 35, "packets": 49, "seeks": 5},
    "gop250.mp4": {"fed": 289, "frames": 197, "packets": 289, "seeks": 1},
    "intra.avi": {"fed": 8, "frames": 8, "packets": 12, "seeks": 6},
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("with_index", [False, True])
def test_a_clip_costs_no_more(folder, counts, name, with_index):
    path = folder / name
    index = indexed(path) if with_index else None
    counts.clear()
    with open_video(path, index=index) as reader:
        assert frame_numbers(reader.get(WANTED)) == WANTED
    expected = EXPECTED[name] | {"opens": 1}
    if not with_index:  # the packets are held since the pass
        expected = {key: expected[key] for key in ("fed", "frames", "opens")} | {"passes": 1}
    assert {key: value for key, value in counts.items() if value} == expected


@pytest.mark.parametrize("with_index", [False, True])
def test_a_long_file_is_opened_once_per_clip(folder, counts, monkeypatch, with_index):
    from paddlevideo.loader.decode import packets, pyav

    monkeypatch.setattr(packets, "_KEEP_BYTES", 1000)
    monkeypatch.setattr(pyav, "_cache", {})
    monkeypatch.setattr(pyav, "_LONG", 100)
    path = folder / "gop12.mp4"
    index = indexed(path) if with_index else None
    monkeypatch.setattr(pyav, "_cache", {})
    for number in range(3):
        counts.clear()
        with open_video(path, index=index) as reader:
            assert np.array_equal(frame_numbers(reader.get(WANTED)), WANTED)
        first = number == 0 and not with_index
        assert (counts["opens"], counts["passes"]) == (1, int(first))
        expected = EXPECTED["gop12.mp4"]
        assert counts["fed"] == expected["fed"] and counts["packets"] == expected["packets"]
        assert counts["seeks"] == expected["seeks"]


@pytest.mark.parametrize("name", ["gop12.mp4", "gop250.mp4", "intra.avi"])
def test_a_stream_decodes_each_frame_once_however_its_windows_overlap(folder, counts, name):
    stream = open_stream(str(folder / name), print)
    found = list(Windows(stream, 2.0, 0.25))
    assert len(found) == 33 and sum(len(window.frames) for window in found) == 33 * 60
    assert counts["frames"] == stream.status.num_frames == NUM
    assert counts["passes"] == 1 and counts["seeks"] == 0
