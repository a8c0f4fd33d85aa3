"""Files from cameras, browsers and converters: sound ones are read right, others are named as what they are."""

from __future__ import annotations

import os
import socket
from fractions import Fraction

import cv2
import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.ava_sampling import frames_at
from paddlevideo.loader.pipelines.resizing import Resize, Scale
from paddlevideo.registry import TRANSFORMS
from tests.clips import (
    cut,
    damage,
    frame_numbers,
    numbered_frames,
    set_display_matrix,
    write_clip,
    write_song,
)

NUM = 40
READERS = ["pyav", "pyav_sequential", "cv2", "decord"]
BURST = np.concatenate([np.arange(30) * 20, 600 * np.arange(1, 10)])  # 1/600 s: 30 pictures in second 0, then one each


@pytest.fixture(scope="module")
def frames():
    return numbered_frames(NUM)


@pytest.fixture(params=READERS)
def reader_name(request):
    if request.param == "decord":
        pytest.importorskip("decord")
    return request.param


def reason_of(path, backend="pyav", **options):
    with pytest.raises(VideoReadError) as caught, open_video(path, backend, **options) as reader:
        reader.get(range(len(reader)))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4"])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_avi_with_repeated_pictures(tmp_path, frames, reader_name, codec, at_the_end):
    # they are empty chunks, which the header counts and no reader hands out
    stamps = np.delete(np.arange(NUM + 6), [5, 6, 20, 21, 22, 23] if not at_the_end else [39, 40, 41, 42, 43, 44])
    path = write_clip(tmp_path / "a.avi", frames, codec=codec, pts=stamps, ticks=30, bframes=0)
    with open_video(path, reader_name) as reader:
        assert frame_numbers(reader.get(range(len(reader)))) == list(range(NUM))
        assert reader.times() == pytest.approx(stamps / 30)
    assert reason_of(cut(path, tmp_path / "cut.avi", 0.6), reader_name) == "truncated"


def test_avi_of_a_recorder_that_died_is_truncated(tmp_path, frames):
    path = write_clip(tmp_path / "a.avi", frames, codec="mjpeg")
    data = bytearray(path.read_bytes()[: path.stat().st_size // 2])
    data[4:8] = bytes(4)  # the size was never written
    path.write_bytes(bytes(data))
    assert reason_of(path) == "truncated"
    with open_video(path, damaged="read") as reader:
        assert 10 < len(reader) < NUM
        numbers = frame_numbers(reader.get(range(len(reader) - 1)))
        assert numbers == list(range(len(numbers)))


def test_an_avi_from_a_pipe_is_whole(tmp_path, frames, reader_name):
    path = write_clip(tmp_path / "a.avi", frames, codec="mjpeg", bframes=0)
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff" * 4  # a writer to a pipe cannot go back: the size stays open
    count = data.index(b"strh") + 40
    assert int.from_bytes(data[count : count + 4], "little") == NUM
    data[count : count + 4] = (1 << 30).to_bytes(4, "little")  # FFmpeg's placeholder
    path.write_bytes(data)
    if reader_name == "decord":  # it would take memory for 1 << 30 frames
        with pytest.raises(UserError, match="backend: pyav"):
            open_video(path, reader_name)
        return
    with open_video(path, reader_name) as reader:
        assert frame_numbers(reader.get(range(len(reader)))) == list(range(NUM))
    index = data.rindex(b"idx1")
    path.write_bytes(data[: index - 100])  # within the last picture
    assert reason_of(path, reader_name) == "truncated"


def test_a_subtitle_that_outlasts_the_video(tmp_path, frames, reader_name):
    import av

    clip_file = write_clip(tmp_path / "a.mp4", frames)
    subtitle = tmp_path / "a.srt"
    subtitle.write_text("1\n00:00:01,000 --> 00:00:30,000\nhello\n")
    path = tmp_path / "a.mkv"
    with av.open(str(clip_file)) as one, av.open(str(subtitle)) as two, av.open(str(path), "w") as out:
        sources = [one.streams.video[0], two.streams.subtitles[0]]
        targets = [out.add_stream_from_template(source) for source in sources]
        for source, target in zip(sources, targets):
            for packet in source.container.demux(source):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
    with av.open(str(path)) as made:
        assert made.duration > 29e6
    with open_video(path, reader_name) as reader:
        assert len(reader) == NUM


@pytest.mark.parametrize("name", ["a.webm", "vp9.webm", "a.mp4", "a.mkv"])
def test_variable_rate_is_measured(tmp_path, frames, reader_name, name):
    codec = {"a.webm": "libvpx", "vp9.webm": "libvpx-vp9"}.get(name, "libx264")
    path = write_clip(tmp_path / name, frames[: len(BURST)], codec=codec, pts=BURST)
    with open_video(path, reader_name) as reader:
        assert reader.times() == pytest.approx(BURST / 600, abs=0.002)
        assert reader.fps == pytest.approx(38 / 9, rel=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.flv"])
def test_constant_rate_is_exact(tmp_path, frames, reader_name, name):
    if (reader_name, name) == ("decord", "a.ts"):
        pytest.skip("decord reads no transport streams")
    with open_video(write_clip(tmp_path / name, frames, fps=25), reader_name) as reader:
        assert reader.fps == 25 and reader.times() == pytest.approx(np.arange(NUM) / 25, abs=0.002)


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a"])
def test_a_cover_picture_is_no_video(tmp_path, frames, reader_name, name):
    assert reason_of(write_song(tmp_path / name, frames[0]), reader_name) == "no_video_stream"


def test_the_default_track_is_read_and_reported(tmp_path, frames, reader_name):
    import av

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mjpeg", rate=30) for _ in range(2)]
        for stream, side in zip(streams, (48, 96)):
            stream.width, stream.height, stream.pix_fmt = 64, side, "yuvj420p"
        streams[0].disposition, streams[1].disposition = 0, av.stream.Disposition.default
        for number in range(5):
            for stream, images in zip(streams, (frames, numbered_frames(NUM, 96, 64))):
                frame = av.VideoFrame.from_ndarray(images[number], format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    if not reader_name.startswith("pyav"):  # they have no choice of a track
        with pytest.raises(UserError, match="first video track.*backend: pyav"):
            open_video(path, reader_name)
        return
    with open_video(path, reader_name) as reader:
        assert reader.get([0]).shape[1:3] == (96, 64)
        assert "of its 2 video tracks, number 2 is read" in reader.remarks[0]


PAL = ("yuv420p", Fraction(25), (720, 576))
NTSC = ("yuv411p", Fraction(30000, 1001), (720, 480))
INTERLACED = {  # codec's options, pixel format, rate, size; of pictures stored as two fields
    "a.mp4": ("libx264", {"x264-params": "tff=1", "preset": "veryfast"}, "yuv420p", 30, (128, 96)),
    "a.mpg": ("mpeg2video", {}, "yuv420p", 25, (128, 96)),
    "a.dv": ("dvvideo", {}, *PAL),
}


def write_interlaced(path, codec, options, pixels, rate, size):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
        for number, image in enumerate(numbered_frames(5, size[1], size[0])):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", INTERLACED)
def test_interlaced_pictures_are_right_or_refused(tmp_path, reader_name, name):
    path = write_interlaced(tmp_path / name, *INTERLACED[name])
    if reader_name == "cv2":  # OpenCV 5 gives black pictures
        with pytest.raises(UserError, match="backend: pyav"):
            open_video(path, reader_name).get([0])
        return
    with open_video(path, reader_name) as reader:
        assert frame_numbers(reader.get([0, 3])) == [0, 3]


ORIENTATIONS = {  # [a, b, c, d] -> what ffmpeg's command shows
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, 1, 0): lambda image: image.swapaxes(0, 1),
    (0, 1, -1, 0): lambda image: image.swapaxes(0, 1)[:, ::-1],
    (0, -1, 1, 0): lambda image: image.swapaxes(0, 1)[::-1],
    (0, -1, -1, 0): lambda image: image.swapaxes(0, 1)[::-1, ::-1],
}


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_all_orientations(tmp_path, frames, reader_name, matrix):
    path = write_clip(tmp_path / "a.mp4", frames[:12])
    with open_video(path, reader_name) as reader:
        stored = reader.get([3])[0]
    set_display_matrix(path, matrix)
    if reader_name == "decord" and matrix[0] == 0:  # it cannot turn what is not square
        with pytest.raises(UserError, match="decord cannot read it.*backend: pyav") as caught:
            open_video(path, reader_name).get([3])
        assert not isinstance(caught.value, VideoReadError)  # it is not damaged
        return
    with open_video(path, reader_name) as reader:
        shown = reader.get([3])[0]
    wanted = ORIENTATIONS[matrix](stored)
    assert shown.shape == wanted.shape and np.abs(shown.astype(int) - wanted).max() <= 2


def test_pixels_that_are_not_square_are_reported(tmp_path, frames):
    path = write_clip(tmp_path / "a.mp4", frames[:5], pixel_aspect=2)
    with open_video(path) as reader:
        assert reader.pixel_aspect == 2.0 and reader.get([0]).shape[1:3] == (48, 64)
        assert "2 times as wide as high" in reader.remarks[0]


@pytest.mark.parametrize("reader_name", ["pyav", "pyav_sequential", "cv2"])
def test_wide_pixels_of_a_turned_video_are_high_ones(tmp_path, frames, reader_name):
    path = write_clip(tmp_path / "a.mp4", frames[:5], pixel_aspect=2, rotation=90)
    with open_video(path, reader_name) as reader:
        assert reader.pixel_aspect == 0.5 and reader.get([0]).shape[1:3] == (64, 48)


def test_a_size_that_changes(tmp_path, frames, reader_name):
    large = write_clip(tmp_path / "large.ts", numbered_frames(15, 96, 128), fps=15)
    small = write_clip(tmp_path / "small.ts", frames[15:30], fps=15)
    path = tmp_path / "both.ts"
    path.write_bytes(large.read_bytes() + small.read_bytes())
    if reader_name == "decord":
        with pytest.raises(UserError, match="backend: pyav"):
            open_video(path, reader_name)
        return
    with open_video(path, reader_name) as reader:
        images = reader.get(range(len(reader)))
        assert images.shape == (30, 96, 128, 3) and frame_numbers(images) == list(range(30))
        assert any("the size of its pictures changes" in remark for remark in reader.remarks)


@pytest.mark.parametrize("codec, name", [("libx264", "a.mp4"), ("mpeg4", "a.avi"), ("mjpeg", "a.avi")])
def test_damaged_pictures_are_refused_and_read_on_purpose(tmp_path, frames, reader_name, codec, name):
    options = {"muxer_options": {"movflags": "faststart"}} if name == "a.mp4" else {}
    path = write_clip(tmp_path / name, frames, codec=codec, **options)
    bad = damage(path, tmp_path / f"bad_{name}", start=0.8, share=0.05)
    assert reason_of(bad, reader_name) in ("corrupt", "truncated")
    with open_video(bad, reader_name, damaged="read") as reader:
        assert frame_numbers(reader.get([0, 1])) == [0, 1]
        assert reader.remarks


@pytest.mark.parametrize("name", ["a.flv", "a.ts", "a.mkv"])
def test_a_missing_end_is_truncated(tmp_path, frames, reader_name, name):
    data = write_clip(tmp_path / name, frames).read_bytes()
    path = tmp_path / f"cut_{name}"
    path.write_bytes(data[: 188 * (len(data) // 300) + 100])  # at the end of a packet a transport stream looks whole
    assert reason_of(path, reader_name) == "truncated"


@pytest.mark.parametrize("system", [PAL, NTSC], ids=["pal", "ntsc"])
def test_a_cut_dv_is_truncated(tmp_path, reader_name, system):
    path = write_interlaced(tmp_path / "a.dv", "dvvideo", {}, *system)
    with open_video(path) as reader:
        assert len(reader) == 5
    assert reason_of(cut(path, tmp_path / "cut.dv", 0.55), reader_name) == "truncated"


def test_a_cut_ogg_is_truncated(tmp_path, frames, reader_name):
    path = write_clip(tmp_path / "a.ogv", frames, codec="libvpx", muxer_options={"page_duration": "100000"})
    with open_video(path) as reader:
        assert len(reader) == NUM
    data = path.read_bytes()
    for name, end in {"between.ogv": data.rindex(b"OggS"), "within.ogv": len(data) - 100}.items():  # pages
        (tmp_path / name).write_bytes(data[:end])
        assert reason_of(tmp_path / name, reader_name) == "truncated"


def test_too_many_pixels(tmp_path, frames, reader_name):
    path = write_clip(tmp_path / "a.mp4", frames[:3])
    for damaged in ("refuse", "read"):  # it is not damaged: only another max_pixels helps
        with pytest.raises(VideoReadError, match="larger max_pixels of VideoDecoder") as caught:
            open_video(path, reader_name, damaged=damaged, max_pixels=64 * 48 - 1)
        assert caught.value.reason == "too_large"
    with open_video(path, reader_name, max_pixels=64 * 48) as reader:
        assert len(reader) == 3
    picture = tmp_path / "picture.mp4"  # a PNG, in truth
    picture.write_bytes(cv2.imencode(".png", np.zeros((9000, 9000), np.uint8))[1].tobytes())
    with pytest.raises(VideoReadError, match=r"9000x9000.*more than max_pixels \(67,108,864\)"):
        open_video(picture, reader_name)


def test_what_is_no_file_is_named(tmp_path, frames, monkeypatch):
    os.mkfifo(tmp_path / "fifo.mp4")
    monkeypatch.chdir(tmp_path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket.mp4")
    write_clip(tmp_path / "sub" / "a.mp4", frames[:3])
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, text in {
        "fifo.mp4": "a pipe",
        "socket.mp4": "a socket",
        "/dev/null": "a device",
        "rtsp://camera/1": "an address",
        "http://example.org/a.mp4": "an address",
        "0": "a camera",
        r"sub\a.mp4": "write paths with /",
    }.items():
        with pytest.raises(VideoReadError, match=text) as caught:
            open_video(name)
        assert caught.value.reason == "missing"
    listening.close()
    assert len(open_video("~/sub/a.mp4")) == 3


def test_animated_webp_reports_what_to_convert(tmp_path, frames):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "a.webp"
    pictures = [image.fromarray(f) for f in frames[:5]]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    with pytest.raises(VideoReadError, match="animated WebP.*convert") as caught:
        open_video(path)
    assert caught.value.reason == "no_frames"


@pytest.mark.parametrize("by_decoder", [False, True])
@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_window_in_seconds_of_a_variable_rate(tmp_path, frames, codec, by_decoder):
    # 8.53 s of 8 frames from the beginning: frame 29 + s begins second s
    path = write_clip(tmp_path / "a.webm", frames[: len(BURST)], codec=codec, pts=BURST)
    decode = {"name": "VideoDecoder", **({"mode": "test", "num_seg": 8} if by_decoder else {})}
    sample = {"name": "Sampler", "num_seg": 8, "linspace_sample": True, "valid_mode": True}
    pipeline = Pipeline({"decode": decode, "sample": sample | ({} if by_decoder else {"sampling_rate": 32})}, "here")
    clip = pipeline({"filename": str(path)}, np.random.default_rng(0))["imgs"][0]
    numbers = np.array(frame_numbers(clip))
    assert np.maximum(numbers - 29, 0).tolist() == [0, 1, 2, 3, 4, 6, 7, 8]


def test_damaged_read_reaches_the_reader(tmp_path, frames):
    whole = write_clip(tmp_path / "whole.mkv", frames)
    cut(whole, tmp_path / "a.mkv", 0.6)
    (tmp_path / "list.txt").write_text("a.mkv 0\n")
    section = {"format": "VideoDataset", "file_path": str(tmp_path / "list.txt"), "data_prefix": str(tmp_path)}
    steps = {"decode": {"name": "VideoDecoder"}, "sample": {"name": "Sampler", "num_seg": 4, "valid_mode": True}}
    common = {"seed": 0, "num_classes": 2, "batch_size": 1, "num_workers": 0, "shuffle": False, "drop_last": False}
    with pytest.raises(VideoReadError, match="truncated"):
        list(build_loader(section, steps, "valid", **common).epoch(0))
    (batch,) = build_loader(section | {"damaged": "read"}, steps, "valid", **common).epoch(0)
    assert max(frame_numbers(batch["imgs"][0, 0])) < 25


def test_large_pictures_are_scaled_while_they_are_read(tmp_path, frames):
    import tracemalloc

    path = write_clip(tmp_path / "a.mkv", np.repeat(numbered_frames(6, 480, 640), 3, axis=0), gop=1)
    sample = {"name": "SampleFrames", "clip_len": 8, "num_clips": 10, "test_mode": True}
    steps = {"decode": {"name": "VideoDecoder"}, "sample": sample}
    short = {"short_size": 48, "fixed_ratio": False}
    linear, antialias = {"interpolation": "linear"}, {"interpolation": "antialias"}
    kinds = [{"Scale": short}, {"Scale": short | {"backend": "cv2"}}, {"Scale_PV": {"short_size": 48} | linear}]
    for scale in [*kinds, {"Resize": {"scale": [-1, 48]}}, {"Resize": {"scale": [-1, 48]} | antialias}]:
        pipeline = Pipeline({**steps, "transform": [scale]}, "here")
        later = Pipeline({**steps, "transform": [{"Flip": {"flip_ratio": 0}}, scale]}, "here")  # behind another step
        peaks, clips = [], []
        for one in (pipeline, later):
            tracemalloc.start()
            clips.append(one({"filename": str(path)}, np.random.default_rng(0))["imgs"])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert np.array_equal(*clips) and clips[0].shape == (10, 8, 48, 64, 3)
        assert peaks[0] < 5e6 < 70e6 < peaks[1]


@pytest.mark.parametrize("base", [Scale, Resize])
def test_a_subclass_with_its_own_call_gets_the_pictures_unscaled(tmp_path, frames, monkeypatch, base):
    class Own(base):
        """With a call that wants the stored pictures."""

        def __call__(self, sample, rng):
            seen.append(sample["imgs"].shape[2:4])
            return super().__call__(sample, rng)

    class Halves(base):
        def new_size(self, height, width):
            return height // 2, width // 2

    class Inherits(base):
        pass

    path, seen = write_clip(tmp_path / "a.mp4", frames[:8]), []
    for operator in (Own, Halves, Inherits):
        monkeypatch.setitem(TRANSFORMS._classes, operator.__name__, operator)
    arguments = {"short_size": 24, "fixed_ratio": False} if base is Scale else {"scale": [-1, 24]}
    sample = {"name": "Sampler", "num_seg": 4, "valid_mode": True}
    for name, by_frame in {"Own": False, "Halves": False, "Inherits": True}.items():
        steps = {"decode": {"name": "VideoDecoder"}, "sample": sample, "transform": [{name: arguments}]}
        pipeline = Pipeline(steps, "here")
        clip = pipeline({"filename": str(path)}, np.random.default_rng(0))["imgs"]
        assert clip.shape[2:4] == (24, 32) and any(pipeline._each) is by_frame
    assert seen == [(48, 64)]


def test_short_videos_of_the_tsm_test_sampler_are_reported_once(tmp_path, frames, caplog):
    for number, count in enumerate((8, 9, 40, 3)):
        write_clip(tmp_path / f"{number}.mp4", frames[:count])
    (tmp_path / "list.txt").write_text("".join(f"{k}.mp4 0\n" for k in range(4)))
    section = {"format": "VideoDataset", "file_path": str(tmp_path / "list.txt"), "data_prefix": str(tmp_path)}
    sample = {"name": "Sampler", "num_seg": 8, "valid_mode": True, "select_left": True}
    steps = {"decode": {"name": "VideoDecoder"}, "sample": sample}
    common = {"seed": 0, "num_classes": 2, "batch_size": 1, "shuffle": False, "drop_last": False}
    for num_workers in (0, 1):
        loader = build_loader(section, steps, "test", num_workers=num_workers, **common)
        caplog.clear()
        with caplog.at_level("WARNING", "paddlevideo"):
            for _ in range(2):
                assert sum(1 for _ in loader.epoch(0)) == 4
        (line,) = [record.message for record in caplog.records]
        assert (
            line.startswith("2 of 4 samples (50.0 %): at most 8 frames") and "frame 0 only" in line and "0.mp4" in line
        )
        loader.close()


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_key_frame_of_a_variable_rate_is_found_by_time(tmp_path, frames, codec):
    path = write_clip(tmp_path / "a.webm", frames[: len(BURST)], codec=codec, pts=BURST)
    with open_video(path) as reader:
        shown = frame_numbers(reader.get(frames_at(reader, np.arange(1.0, 10.0))))
    assert shown == list(range(30, 39))  # second s is frame 29 + s
