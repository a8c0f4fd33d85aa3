"""A timeline frame by frame: what the network is given, that it equals the clip so far, and when it begins anew."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.inference.frame_timeline import FrameTimeline
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.step_outputs import StepScores
from paddlevideo.inference.stream import FileStream, TimedFrame
from paddlevideo.inference.timeline import TimelineSettings
from paddlevideo.inference.windows import Steps
from paddlevideo.loader.decode import open_video
from paddlevideo.spans import read_spans
from tests.clips import numbered_frames, write_clip
from tests.servers import files, http_server

ONLINE = "MODEL.backbone.shift_mode=online"
NUM_SEG, HOP_S = 4, 0.25
SETTINGS = TimelineSettings(window_s=1.0, hop_s=HOP_S, on=0.3, off=0.2, smoothing="none", min_s=0.0, gap_s=0.0)
QUIET = {"say": lambda line: None}


@pytest.fixture(scope="module")
def build(tiny):
    """A predictor of the tiny model with the online shift, which has no parameters of its own."""

    def build(*overrides, **more):
        return Predictor.from_config(load_config(tiny.config, [ONLINE, *overrides]), tiny.weights, **QUIET, **more)

    return build


@pytest.fixture(scope="module")
def predictor(build):
    return build()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """6 s at 25 frames a second, in three styles."""
    rng = np.random.default_rng(5)
    parts = [numbered_frames(50, seed=0), rng.integers(0, 80, (50, 48, 64, 3), np.uint8), numbered_frames(52, seed=9)]
    return write_clip(tmp_path_factory.mktemp("frames") / "long.mkv", np.concatenate(parts), fps=25)


def scored(predictor, path, settings=SETTINGS, steps=None):
    """The timeline after it ran, and what it was given: [(time_s, scores)]."""
    found, timeline = [], FrameTimeline(predictor, str(path), settings)
    timeline.observers = [(steps or StepScores()).add, lambda clip, row: found.append((clip.time_s, row))]
    list(timeline.run())
    return timeline, found


def shown_at(path, times_s):
    """uint8 [T, H, W, 3], each the last one that begins by its time."""
    with open_video(path) as reader:
        return reader.get(np.searchsorted(reader.times(), np.asarray(times_s) + 1e-6, side="right") - 1)


def test_the_first_frames_are_scored_like_the_clip_of_them_and_each_later_one_like_the_stream(predictor, video):
    steps = StepScores()
    timeline, found = scored(predictor, video, steps=steps)
    times = [time_s for time_s, _ in found]
    assert times == [HOP_S * k for k in range(25)] and timeline.status == "152 frames"
    pictures = shown_at(video, times)
    clip = predictor.predict(pictures[:NUM_SEG], fps=1 / HOP_S)[0].scores
    np.testing.assert_allclose(found[NUM_SEG - 1][1], clip, atol=1e-6)
    stream = predictor.model.framework.stream()
    for picture, (_, scores) in zip(pictures, found):
        prepared = predictor.clip(picture[None].repeat(NUM_SEG, 0))["imgs"][:, 0]
        np.testing.assert_allclose(scores, stream.step(prepared).numpy()[0], atol=1e-6)
    assert steps.windows_s[:6] == [(0, 0.25), (0, 0.5), (0, 0.75), (0, 1.0), (0.25, 1.25), (0.5, 1.5)]
    assert timeline.table().videos[str(video)]["duration_s"] == 6.08


def test_a_stream_gives_the_spans_of_the_file(predictor, video):
    scores = np.stack([row for _, row in scored(predictor, video)[1]])
    level = float(scores[:, np.ptp(scores, axis=0).argmax()].mean())
    settings = dataclasses.replace(SETTINGS, exclusive=False, on=level, off=level)  # so that there are several
    here, frames_here = scored(predictor, video, settings)
    with http_server(files(video.parent)) as port:
        there, frames_there = scored(predictor, f"http://127.0.0.1:{port}/{video.name}", settings)
    strip = lambda spans: [(span.start_s, span.end_s, span.label, span.score) for span in spans]  # noqa: E731
    assert strip(there.spans) == strip(here.spans) and len(here.spans) >= 2
    assert max(span.end_s for span in here.spans) <= 6.08 + 1e-9  # not the last step's end
    for one, other in zip(frames_here, frames_there, strict=True):
        assert one[0] == other[0] and np.array_equal(one[1], other[1])


@pytest.fixture(scope="module")
def gap(tmp_path_factory):
    """From 1.6 to 4.6 s there is no frame."""
    stamps = [24 * k + (1800 if k >= 40 else 0) for k in range(70)]
    return write_clip(tmp_path_factory.mktemp("gap") / "gap.mkv", numbered_frames(70), fps=25, pts=stamps)


def test_in_a_file_the_network_takes_the_picture_that_is_shown_meanwhile(predictor, gap):
    timeline, found = scored(predictor, gap)
    assert [time_s for time_s, _ in found] == [HOP_S * k for k in range(24)]
    assert timeline.table().videos[str(gap)]["duration_s"] == 5.8


def test_after_a_stall_the_network_begins_anew(predictor, gap, monkeypatch):
    frames, path = FileStream.__iter__, gap
    monkeypatch.setattr(
        FileStream, "__iter__", lambda self: (dataclasses.replace(each, live=True) for each in frames(self))
    )
    steps = StepScores()
    timeline, found = scored(predictor, path, steps=steps)
    rest = [(time_s, row) for time_s, row in found if time_s > 2]
    assert [time_s for time_s, _ in found] == [HOP_S * k for k in range(7)] + [time_s for time_s, _ in rest]
    assert rest[0][0] == 4.75  # 1.6 s + 3 s, and to the next step
    alone = predictor.model.framework.stream()
    prepared = predictor.clip(shown_at(path, [4.75]).repeat(NUM_SEG, 0))["imgs"][:, 0]
    np.testing.assert_allclose(rest[0][1], alone.step(prepared).numpy()[0], atol=1e-6)
    assert steps.windows_s[7] == (4.75, 5.0)
    assert not [span for span in timeline.spans if span.start_s < 1.8 and span.end_s > 4.6]


@pytest.mark.parametrize("avg_type", ["prob", "score"])
def test_every_crop_is_a_stream_of_its_own(build, video, avg_type):
    wide = build(
        f"MODEL.runtime_cfg.test.avg_type={avg_type}", "PIPELINE.test.transform.1={TenCrop: {target_size: 32}}"
    )
    _, found = scored(wide, video)
    pictures = shown_at(video, [HOP_S * k for k in range(NUM_SEG)])
    assert wide.clip(pictures)["imgs"].shape[0] == 10
    np.testing.assert_allclose(found[NUM_SEG - 1][1], wide.predict(pictures)[0].scores, atol=1e-6)


def frame_at(time_s, live):
    return TimedFrame(time_s, SimpleNamespace(width=64, height=48), 0.1, live)


def taken(times_s, step_s, live=True):
    """(step, time of the frame that is shown, begins), and the end."""
    steps = Steps([frame_at(time_s, live) for time_s in times_s], step_s)
    return [(step.time_s, step.frame.time_s, step.begins) for step in steps], steps.end_s


def test_a_step_takes_the_frame_that_is_shown_then():
    fast, end_s = taken([0, 0.1, 0.2, 0.3, 0.4], 0.25)
    assert fast == [(0, 0, True), (0.25, 0.2, False)] and end_s == pytest.approx(0.5)
    slow, end_s = taken([0, 2.0, 4.0], 1.0)  # pictures of two seconds are not a stall
    assert slow == [(0, 0, True), (1, 0, False), (2, 2, False), (3, 2, False), (4, 4, False), (5, 4, False)]
    late, _ = taken([0.3, 0.4, 0.5, 0.6], 0.25)  # what came before was dropped
    assert late == [(0.5, 0.5, True)]
    gap, _ = taken([0, 0.1, 0.2, 0.3, 5.3, 5.4, 5.5], 0.25)
    assert gap == [(0, 0, True), (0.25, 0.2, False), (5.5, 5.5, True)]
    held, end_s = taken([0, 0.1, 0.2, 0.3, 1.4], 0.25, live=False)
    assert held == [(0, 0, True), (0.25, 0.2, False), *((0.25 * k, 0.3, False) for k in range(2, 6))]
    assert end_s == pytest.approx(1.5)
    assert taken([], 0.25) == ([], 0.0) and taken([0], 0.25) == ([(0, 0, True)], 0.1)


@pytest.fixture
def command(tiny, video, capsys):
    """``command(words...)`` of the timeline of the tiny model -> code, out, err."""

    def run(*words, model=("-c", tiny.config, "-w", tiny.weights, "-o", ONLINE)):
        capsys.readouterr()
        code = main([str(word) for word in ("timeline", *model, "-i", video, "--on", 0.3, "--off", 0.2, *words)])
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


def test_the_command_writes_a_label_per_frame(command, tmp_path):
    files_ = [tmp_path / "labels.csv", tmp_path / "labels.jsonl"]
    for path in files_:
        run = command("--window_s", 1, "--labels_out", path, "--out", tmp_path / "spans.json")
        assert run.code == 0, run.err
        assert (
            "long.mkv: frame by frame, one every 0.25 s, scored over 1 s" in run.out
            and "spans of 25 frames; 152" in run.err
        )
    rows = list(csv.DictReader(files_[0].open()))
    objects = [json.loads(line) for line in files_[1].read_text().splitlines()]
    assert [float(row["time_s"]) for row in rows] == [HOP_S * k for k in range(25)]
    assert [{key: str(value) for key, value in each.items()} for each in objects] == rows
    assert {row["label"] for row in rows} >= {span.label for span in read_spans(tmp_path / "spans.json").spans}


def test_windows_of_the_same_network_are_one_flag_away(command, tmp_path):
    run = command("--window_s", 1, "--by", "windows", "--labels_out", tmp_path / "labels.csv")
    assert run.code == 0 and "windows of 1 s every 0.25 s" in run.out, run.err
    rows = list(csv.DictReader((tmp_path / "labels.csv").open()))
    assert [float(row["time_s"]) for row in rows][:2] == [1.0, 1.25]  # known at their ends
    assert command("--hop_s", 0.5).out.splitlines()[0].endswith("one every 0.5 s, scored over 2 s")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--window_s", 1, "--hop_s", 0.5], "4 frames in 1 s are 0.25 s apart, got 0.5"),
        (["--window_s", 1, "-b", 2], "batch_size: frame by frame"),
        (["--window_s", 1, "--max_fps", 5], "max_fps: frame by frame"),
        (["--labels_out", "labels.txt"], "labels.txt: expected a name that ends in .csv or .jsonl"),
        (["--window_s", 1, "--labels_out", "no/folder/labels.csv"], "cannot write"),
    ],
)
def test_mistakes_are_one_line(command, words, named):
    run = command(*words)
    assert run.code == 2 and named in run.err.splitlines()[-1], run.err


def test_only_a_trained_network_with_the_online_shift_runs_frame_by_frame(command, tiny):
    for model in (("-m", tiny.folder), ("-c", tiny.config, "-w", tiny.weights)):
        run = command("--window_s", 1, "--by", "frames", model=model)
        assert run.code == 2 and "shift_mode: online" in run.err.splitlines()[-1], run.err
