"""``detect``: one call from a video to persons, track ids and actions; equal to the tool, from weights and exports."""

import json
import multiprocessing
import os
import signal

import av
import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference import detection_run, detector, video_stage
from paddlevideo.inference.detector import detect
from paddlevideo.inference.key_frames import ForwardReader
from paddlevideo.inference.person_detectors import PersonDetector
from paddlevideo.inference.video_output import OutputVideo
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.video_files import write_video
from tests.clips import cut, numbered_frames, write_clip
from tests.tiny_ava import CUSTOM, SIZE_PX


class Middle(PersonDetector):
    name = "the middle"

    def detect(self, frames, timestamps_s):
        return [np.array([[40, 20, 80, 90, 0.9]], np.float32) for _ in frames]


def test_weights_export_and_tool_give_the_same(tiny_ava, run_tool, tmp_path):
    options = {"proposals": tiny_ava.proposals, "device": "cpu", "say": print}
    of_weights = detect(tiny_ava.video, tiny_ava.config, tiny_ava.weights, **options)
    of_export = detect(tiny_ava.video, tiny_ava.folder, **options)
    out = ["--out-filename", "", "--json", tmp_path / "a.json", "--action-score-thr", 0.3]
    flags = ["--video_path", tiny_ava.video, "--proposals", tiny_ava.proposals, "--device", "cpu"]
    assert run_tool("ava_predict", "--model_file", tiny_ava.folder, *flags, *out).code == 0
    written = json.loads((tmp_path / "a.json").read_text())
    assert len(of_weights.key_frames) == len(of_export.key_frames) == len(written) > 2
    assert len(of_weights.names) == len(CUSTOM) + 1 and of_weights.video_id == tiny_ava.video_id
    for ours, theirs, record in zip(of_weights.key_frames, of_export.key_frames, written):
        assert (ours.time_s, theirs.moment.frame_index) == (pytest.approx(record["time_s"]), record["frame_index"])
        for a, b, person in zip(ours.persons, theirs.persons, record["persons"], strict=True):
            assert a.track_id == b.track_id == person["id"] and a.scores.shape == (len(CUSTOM) + 1,)
            np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
            np.testing.assert_allclose(a.box_px, person["box_px"], atol=5e-3)
            np.testing.assert_allclose(a.box_px, a.box_norm * [*SIZE_PX, *SIZE_PX])
            assert [(i, name) for i, name, _ in of_export.actions(b, 0.3)] == [
                (action["id"], action["label"]) for action in person["actions"]
            ]


def test_a_detector_of_ones_own_and_key_frames_by_time(tiny_ava):
    steps = []
    result = detect(
        tiny_ava.video, tiny_ava.folder, detector=Middle(), every_s=2.0, device="cpu", announce=steps.append
    )
    assert [key_frame.time_s for key_frame in result.key_frames] == pytest.approx([0, 2, 4])
    assert {person.track_id for key_frame in result.key_frames for person in key_frame.persons} == {0}
    assert steps[0] == "Frame Number: 151" and "Performing Human Detection for each frame (the middle)" in steps
    with pytest.raises(TypeError, match="every"):
        detect(tiny_ava.video, tiny_ava.folder, every=2.0)
    for number in (0, -1.0, float("nan")):
        with pytest.raises(UserError, match="^every_s: expected above 0, got"):
            detect(tiny_ava.video, tiny_ava.folder, every_s=number)
    with pytest.raises(UserError, match="^step: expected at least 1, got 0; detect_every_s: expected above 0"):
        detect(tiny_ava.video, tiny_ava.folder, step=0, detect_every_s=0)


@pytest.mark.parametrize("proposed", [True, False])
def test_progress_is_announced_in_order_and_as_runs_end(tiny_ava, monkeypatch, proposed):
    lines, scores = [], detector.ActionDetector.scores
    monkeypatch.setattr(detector, "_PROGRESS_STEP", 1)
    monkeypatch.setattr(detector.ActionDetector, "scores", lambda *args: lines.append("run") or scores(*args))
    options = {"proposals": tiny_ava.proposals} if proposed else {"detector": Middle(), "every_s": 1.0}
    result = detect(tiny_ava.video, tiny_ava.folder, device="cpu", announce=lines.append, **options)
    count, seen = len(result.key_frames), 0 if proposed else len(result.detected_s)
    progress = [f"{done} / {count}" for done in range(1, count + 1)]
    assert [line for line in lines[3:] if line != "run"] == [
        *(f"{done} / {seen}" for done in range(1, seen + 1)), "finish object detection",
        "Performing SpatioTemporal Action Detection for each clip", *progress,
    ]  # fmt: skip
    if proposed:  # all persons are known before the first run
        assert lines[5:] == [line for pair in zip(["run"] * count, progress, strict=True) for line in pair]


def test_a_size_that_changes_is_reported_once_when_it_is_seen(tiny_ava, tmp_path):
    path = tmp_path / "both.ts"
    with av.open(str(path), "w") as joined:
        for number, size in enumerate([(96, 128), (48, 64)]):
            part = write_clip(tmp_path / f"{number}.ts", numbered_frames(15, *size), fps=15)
            with av.open(str(part)) as source:
                if number == 0:
                    track = joined.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.pts is not None:
                        packet.pts, packet.dts = (stamp + 90000 * number for stamp in (packet.pts, packet.dts))
                        packet.stream = track
                        joined.mux(packet)
    reported = []
    detect(path, tiny_ava.folder, detector=Middle(), device="cpu", say=reported.append)
    assert reported == [f"{path}: the size of its pictures changes (128 x 96 and 64 x 48); all are scaled to the first"]


def test_a_damaged_video_is_read_where_testing_reads_it(tiny_ava, tmp_path):
    whole = write_clip(tmp_path / "whole.mkv", numbered_frames(60, 96, 128), fps=30)
    bad, reported = cut(whole, tmp_path / "bad.mkv", 0.6), []
    options = {"detector": Middle(), "device": "cpu", "say": reported.append}
    with pytest.raises(VideoReadError, match="bad.mkv: truncated"):
        detect(bad, tiny_ava.config, tiny_ava.weights, **options)
    result = detect(bad, tiny_ava.config, tiny_ava.weights, overrides=["DATASET.test.damaged=read"], **options)
    assert 10 < len(result.times_s) < 60 and any(line.startswith(f"{bad}: truncated") for line in reported)
    assert all(len(key_frame.persons) == 1 for key_frame in result.key_frames)


def test_mistakes_name_what_is_missing(tiny, tiny_ava):
    for arguments, message in (
        ((tiny_ava.config,), "tiny_ava.yaml: a configuration; name the weights"),
        ((tiny_ava.weights,), "tiny_ava.pdparams: weights; name the configuration"),
        ((tiny.folder,), "names whole videos, not people"),
        ((tiny_ava.root / "none",), "none: no such model file"),
    ):
        with pytest.raises(UserError, match=message):
            detect(tiny_ava.video, *arguments, detector=Middle(), device="cpu", say=print)
    with pytest.raises(VideoReadError, match="none.mp4"):
        detect("none.mp4", tiny_ava.folder)


def test_a_decoding_process_that_dies_is_named_once(tiny_ava, tmp_path, monkeypatch):
    parent, picture = os.getpid(), ForwardReader.picture

    def killed(reader, frame):
        if os.getpid() != parent and reader._next > 100:
            os.kill(os.getpid(), signal.SIGKILL)
        return picture(reader, frame)

    monkeypatch.setattr(ForwardReader, "picture", killed)
    with pytest.raises(UserError) as raised:
        detect(tiny_ava.video, tiny_ava.folder, detector=Middle(), device="cpu")
    text = f"{tiny_ava.video}: the process that decodes it died with exit code -9 (killed, mostly by the system's"
    assert str(raised.value).startswith(text) and multiprocessing.active_children() == []


def test_a_decoding_process_that_hangs_is_killed_and_named(tiny_ava, tmp_path, monkeypatch):
    parent, picture = os.getpid(), ForwardReader.picture

    def stopped(reader, frame):
        if os.getpid() != parent and reader._next > 100:
            os.kill(os.getpid(), signal.SIGSTOP)
        return picture(reader, frame)

    monkeypatch.setattr(ForwardReader, "picture", stopped)
    monkeypatch.setattr(video_stage, "_STUCK_S", 0.5)
    monkeypatch.setattr(video_stage, "_WATCH_S", 0.25)
    with pytest.raises(UserError) as raised:
        detect(tiny_ava.video, tiny_ava.folder, detector=Middle(), device="cpu")
    text = f"{tiny_ava.video}: the process that decodes it timed out (no frame for 0.5 s); is the storage hanging?"
    assert str(raised.value) == text and multiprocessing.active_children() == []


class Plain:
    """An output video of frames without marks."""

    def __init__(self, path):
        self.path = path

    def draw(self, frame, pixel_aspect, marks):
        return frame

    def write(self, frames):
        return write_video(self.path, frames, 30)


@pytest.mark.parametrize("failing, forked", [("held", True), ("held", False), ("show", True)])
def test_an_output_video_is_whole_or_the_reason_is_raised(tiny_ava, tmp_path, monkeypatch, failing, forked):
    def broken(reader, index):
        if index == 5:
            raise RuntimeError("out of order")
        return held(reader, index)

    def broken_show(stage, frames):
        if frames[0][0] == 5:
            raise RuntimeError("out of order")
        show(stage, frames)

    held, show = ForwardReader.held, video_stage.VideoStage.show
    if failing == "held":
        monkeypatch.setattr(ForwardReader, "held", broken)
    else:
        monkeypatch.setattr(video_stage.VideoStage, "show", broken_show)
    monkeypatch.setattr(video_stage, "can_fork", lambda: forked)
    out = tmp_path / "out.mp4"
    with video_stage.open_stage(ForwardReader(tiny_ava.video), Plain(out), print) as stage:
        stage.keep(0)
        for index in range(10):
            stage.show([(index, None)])
        with pytest.raises((UserError, RuntimeError), match="out of order"):
            stage.finish()
    assert list(tmp_path.iterdir()) == []


def test_an_output_video_that_cannot_be_written_costs_no_result(tiny_ava, tmp_path):
    (tmp_path / "file").write_text("")
    output = OutputVideo(tmp_path / "file" / "out.mp4")
    result = detect(tiny_ava.video, tiny_ava.folder, detector=Middle(), device="cpu", output=output)
    assert len(result.key_frames) > 10 and result.written is None
    assert isinstance(result.not_written, UserError) and "out.mp4: cannot be written" in str(result.not_written)


def test_frames_that_would_be_held_for_too_long_are_read_again(tiny_ava, tmp_path, monkeypatch):
    written = []
    for most in (1 << 30, 1 << 16):
        monkeypatch.setattr(detection_run, "_HELD_BYTES", most)
        output = OutputVideo(tmp_path / f"{most}.mp4")
        result = detect(tiny_ava.video, tiny_ava.folder, detector=Middle(), device="cpu", output=output)
        assert f"{most}.mp4, 151 frames" in result.written
        written.append((tmp_path / f"{most}.mp4").read_bytes())
    assert written[0] == written[1]
