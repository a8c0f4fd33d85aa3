"""From a source to spans: what the model is given, that a stream gives what the file gives, and how it ends."""

import contextlib
import dataclasses
import gc
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.cli import timeline_files
from paddlevideo.cli.main import main
from paddlevideo.drawing import colour_of
from paddlevideo.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, UserError
from paddlevideo.inference import stream_clips
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.step_outputs import StepScores
from paddlevideo.inference.stream import TimedFrame
from paddlevideo.inference.timeline import TimelineSettings
from paddlevideo.inference.timeline_video import write_timeline_video
from paddlevideo.inference.video_timeline import VideoTimeline, window_of
from paddlevideo.inference.windows import Windows
from paddlevideo.loader.decode import open_video
from paddlevideo.loader.decode.packets import OpenVideo
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.spans import SpanTable, read_spans
from tests.clips import damage, numbered_frames, write_clip
from tests.servers import files, http_server, jpegs, mjpeg
from tests.tiny_export import tiny_config

SETTINGS = TimelineSettings(window_s=1.0, hop_s=0.5, on=0.3, off=0.2, smoothing="none", min_s=0.0, gap_s=0.0)


@pytest.fixture(scope="module")
def predictor(tiny):
    return Predictor.from_export(tiny.folder, say=lambda line: None)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """Pictures in three styles, two seconds each, of 6 s."""
    rng = np.random.default_rng(5)
    parts = [numbered_frames(50, seed=0), rng.integers(0, 80, (50, 48, 64, 3), np.uint8), numbered_frames(50, seed=9)]
    return write_clip(tmp_path_factory.mktemp("long") / "long.mkv", np.concatenate(parts), fps=25)


@pytest.fixture
def command(capsys):
    """``command("timeline", ...)`` -> code, out, err."""

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


def scores_of(predictor, path):
    """The scores of all windows."""
    steps = StepScores()
    list(VideoTimeline(predictor, str(path), SETTINGS, observers=[steps.add]).run())
    return steps


def test_a_window_is_scored_like_the_clip_that_holds_it(predictor, long_video):
    steps = scores_of(predictor, long_video)
    with open_video(long_video) as reader:
        for (start, end), scores in zip(steps.windows_s, steps.scores):
            inside = np.flatnonzero((reader.times() >= start - 1e-6) & (reader.times() < end - 1e-6))
            expected = predictor.predict(reader.get(inside), fps=25)[0].scores
            np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert [start for start, _ in steps.windows_s] == [0.5 * k for k in range(11)]


def test_a_stream_gives_the_spans_of_the_file_and_every_frame_is_decoded_once(predictor, long_video):
    scores = np.stack(scores_of(predictor, long_video).scores)
    level = float(scores[:, np.ptp(scores, axis=0).argmax()].mean())
    settings = dataclasses.replace(SETTINGS, exclusive=False, on=level, off=level)  # so that there are several
    here = VideoTimeline(predictor, str(long_video), settings)
    given = list(here.run())
    assert given == here.spans and len(given) >= 2 and here.status == "150 frames"
    with http_server(files(long_video.parent)) as port:
        there = VideoTimeline(predictor, f"http://127.0.0.1:{port}/long.mkv", settings)
        list(there.run())
    strip = lambda spans: [(span.start_s, span.end_s, span.label, span.score) for span in spans]  # noqa: E731
    assert strip(there.spans) == strip(here.spans) and there.status == "150 frames"


@pytest.mark.parametrize("name", [" lead.mkv", "Screen\u202fPM.mkv ", "a\nb.mkv", os.fsdecode(b"caf\xe9.mkv")])
def test_the_spans_name_the_file_as_it_was_given(name, predictor, long_video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(long_video, name)
    here = VideoTimeline(predictor, name, dataclasses.replace(SETTINGS, on=0.0, off=0.0))
    assert list(here.run()) and {span.video for span in here.spans} == {name} == set(here.table().videos)
    assert here.address.shown.isprintable()


def test_batches_and_a_process_that_cannot_be_forked_change_nothing(tiny, predictor, long_video, monkeypatch):
    one = scores_of(predictor, long_video)
    remarks = []
    batches = Predictor.from_export(tiny.folder, batch_size=4, say=remarks.append)
    four = scores_of(batches, long_video)
    monkeypatch.setattr(stream_clips, "can_fork", lambda: False)
    here = scores_of(batches, long_video)
    for other in (four, here):
        assert other.windows_s == one.windows_s
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-6)
    assert any("cannot fork" in line for line in remarks)


def test_a_file_that_breaks_off_gives_its_spans_and_then_the_error(predictor, tmp_path):
    whole = write_clip(tmp_path / "whole.mp4", numbered_frames(120), fps=25)
    broken = damage(whole, tmp_path / "broken.mp4", start=0.7, share=0.05)
    timeline, given = VideoTimeline(predictor, str(broken), SETTINGS), []
    with pytest.raises(UserError, match=r"broken\.mp4: corrupt \(frame \d+"):
        given.extend(timeline.run())
    assert timeline.num_windows >= 3 and timeline.spans[: len(given)] == given
    assert not [child for child in multiprocessing.active_children() if child.name == "stream"]


def test_frames_are_freed_and_the_process_ends_when_reading_stops(predictor, long_video):
    timeline = VideoTimeline(predictor, str(long_video), SETTINGS)
    with contextlib.closing(timeline.run()) as spans:
        next(spans)
    assert not [child for child in multiprocessing.active_children() if child.name == "stream"]
    assert timeline.spans


def test_a_model_states_the_length_of_its_clip(predictor):
    remarks = []
    assert window_of(predictor, remarks.append) == 4.0 and "give the length of the clips" in remarks[0]
    section = tiny_config()["PIPELINE"]["test"] | {
        "sample": {"name": "SampleFrames", "clip_len": 8, "frame_interval": 8, "num_clips": 1}
    }
    assert Pipeline(section, "PIPELINE.test").clip_s == pytest.approx(64 / 30)


def test_the_command_prints_and_writes_spans(tiny, long_video, tmp_path, command):
    out = [tmp_path / "a.json", tmp_path / "a.srt"]
    run = command(
        "timeline", "-m", tiny.folder, "-i", long_video, "--window_s", 1, "--hop_s", 0.5, "--on", 0.3, "--off", 0.2,
        "--out", *out,
    )  # fmt: skip
    assert run.code == 0, run.err
    table = read_spans(out[0])
    assert len(table.spans) == run.out.count("\n") - 1 > 0
    assert "-->" in out[1].read_text() and table.settings["window_s"] == 1.0
    assert f"{len(table.spans)} spans of 11 windows; 150 frames" in run.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-i", "no.mp4"], "no.mp4: missing"),
        (["-i", "file:///x"], "write the path alone"),
        (["-i", "VIDEO", "--window_s", "0"], "window_s"),
        (["-i", "VIDEO", "--on", "0.2", "--off", "0.5"], "off: expected at most on"),
        (["-i", "VIDEO", "--smoothing", "none", "--smooth_s", "2"], "--smoothing none has no width"),
        (["-i", "VIDEO", "--keep", "kept"], "--keep: is of a camera or an address"),
        (["-i", "VIDEO", "--outage_s", "9"], "--outage_s: is of a camera or an address"),
        (["-i", "rtsp://127.0.0.1/x", "--keep_s", "9"], "--keep_s: needs --keep DIR"),
        (["-i", "VIDEO", "--background", "archry"], "did you mean"),
        (["-i", "VIDEO", "--out", "spans.txt"], "spans.txt: expected"),
        (["-i", "VIDEO", "--srt", "spans.csv"], "--srt spans.csv: expected a name that ends in .srt or .vtt"),
        (["-i", "VIDEO", "--video", "out.gif"], "out.gif: expected a name that ends in .mp4"),
        (["-i", "VIDEO", "--video", "VIDEO"], "is an input (-i)"),
        (["-i", "rtsp://127.0.0.1/x", "--video", "out.mp4"], "needs a second pass, over a file"),
        (["-i", "VIDEO", "--plot", "out.jpg"], "out.jpg: expected a name that ends in .png"),
        (["-i", "VIDEO", "--truth", "truth.json"], "is a row of --plot"),
        (["-i", "VIDEO", "VIDEO"], "is named twice"),
        (["-i", "VIDEO", "--out", "a.csv", "--scores", "./a.csv"], "--scores ./a.csv: is the file of --out, too"),
        (["-i", "VIDEO", "--out", "a.csv", "a.csv"], "--out a.csv: is the file of --out, too"),
        (["-i", "VIDEO", "--out", "/proc/a.csv"], "--out /proc/a.csv: cannot be written (/proc: "),
        (["-i", "VIDEO", "0"], "/dev/video0: a camera or an address is a source of its own"),
        (["-i", "VIDEO", "b.mp4", "--srt", "a.srt"], "--srt a.srt: is of one video, and 2 are read"),
    ],
)
def test_mistakes_are_one_line(tiny, long_video, command, words, named):
    words = [str(long_video) if word == "VIDEO" else word for word in words]
    run = command("timeline", "-m", tiny.folder, *words)
    assert run.code == 2 and named in run.err.splitlines()[-1], run.err


@pytest.mark.parametrize("written", ["truth.csv", "list.csv", "other.csv", "export/tiny.json"])
def test_no_output_replaces_what_is_read(written, tiny, long_video, tmp_path, command):
    shutil.copytree(tiny.folder, tmp_path / "export")
    next((tmp_path / "export").glob("*.json")).rename(tmp_path / "export" / "tiny.json")
    next((tmp_path / "export").glob("*.pdiparams")).rename(tmp_path / "export" / "tiny.pdiparams")
    (tmp_path / "truth.csv").write_text("start_s,end_s,label\n0,1,x\n")
    (tmp_path / "list.csv").write_text(f"{long_video}\n")
    (tmp_path / "other.csv").hardlink_to(tmp_path / "list.csv")
    before = (tmp_path / written).read_bytes()
    run = command(
        "timeline", "-m", tmp_path / "export", "-i", tmp_path / "list.csv", "--truth", tmp_path / "truth.csv",
        "--plot", tmp_path / "p.png", "--out", tmp_path / written,
    )  # fmt: skip
    assert run.code == 2 and f"{written}: is an input (-" in run.err
    assert (tmp_path / written).read_bytes() == before


def test_a_source_that_cannot_be_read_leaves_earlier_results(tiny, tmp_path, command):
    flags = {"--out": "a.csv", "--labels_out": "b.csv", "--scores": "c.csv"}
    files = {flag: tmp_path / name for flag, name in flags.items()}
    for file in files.values():
        file.write_text("earlier")
    words = [word for pair in files.items() for word in pair]
    assert command("timeline", "-m", tiny.folder, "-i", tmp_path / "typo.mp4", *words).code == 2
    assert [file.read_text() for file in files.values()] == ["earlier"] * 3


def test_every_other_file_is_written_where_one_fails(tiny, long_video, tmp_path, command, monkeypatch):
    write_spans = timeline_files.write_spans

    def full(path, table):
        if path.endswith(".json"):
            raise UserError(f"{path}: cannot be written (No space left on device)")
        return write_spans(path, table)

    monkeypatch.setattr(timeline_files, "write_spans", full)
    names = {"--out": ["a.json", "a.csv"], "--srt": ["a.srt"], "--plot": ["a.png"], "--video": ["a.mp4"]}
    words = [word for flag, files in names.items() for word in (flag, *(tmp_path / file for file in files))]
    run = command("timeline", "-m", tiny.folder, "-i", long_video, *words, "--window_s", 1)
    assert (
        run.code == 2
        and run.err.splitlines()[-1] == f"error: {tmp_path}/a.json: cannot be written (No space left on device)"
    )
    assert {file.name for file in tmp_path.iterdir()} == {"a.csv", "a.srt", "a.png", "a.mp4"}


def test_an_error_of_an_observer_is_raised_once(tiny, long_video):
    rows = []

    def observe(clip, scores):
        rows.append(clip.start_s)
        if len(rows) == 6:
            raise UserError("labels.csv: cannot be written (No space left on device)")

    batches = Predictor.from_export(tiny.folder, batch_size=4, say=lambda line: None)
    with pytest.raises(UserError, match="No space left"):
        list(VideoTimeline(batches, str(long_video), SETTINGS, observers=[observe]).run())
    assert rows == [0.5 * k for k in range(6)]


def test_a_video_leaves_no_file_open(predictor, long_video):
    gc.collect()  # files of earlier tests' garbage
    run, held = [], []
    for _ in range(4):
        run.append(VideoTimeline(predictor, str(long_video), SETTINGS))
        list(run[-1].run())
        held.append(len(os.listdir("/proc/self/fd")))
    assert held[1:] == held[:1] * 3


def test_a_signal_while_files_are_written_ends_the_video_alone(tiny, long_video, tmp_path, command, monkeypatch):
    write_spans = timeline_files.write_spans

    def interrupted(path, table):
        os.kill(os.getpid(), signal.SIGTERM)
        return write_spans(path, table)

    monkeypatch.setattr(timeline_files, "write_spans", interrupted)
    words = ["--out", tmp_path / "a.json", tmp_path / "a.csv", "--video", tmp_path / "a.mp4", "--window_s", 2]
    run = command("timeline", "-m", tiny.folder, "-i", long_video, *words)
    assert run.code == EXIT_TERMINATED and "a.mp4: not written, as the command was stopped" in run.err, run.err
    assert {file.name for file in tmp_path.iterdir()} == {"a.json", "a.csv"}


@pytest.mark.parametrize(
    ("number", "code", "swallowed"),
    [(signal.SIGINT, EXIT_INTERRUPTED, False), (signal.SIGTERM, EXIT_TERMINATED, True)],
)
def test_a_signal_ends_a_list_of_files_with_what_was_found(
    number, code, swallowed, tiny, long_video, tmp_path, command, monkeypatch
):
    (tmp_path / "b.mkv").symlink_to(long_video)
    scores, runs, handlers = Predictor.scores, [], [signal.getsignal(k) for k in (signal.SIGINT, signal.SIGTERM)]

    def interrupted(self, batch):
        runs.append(len(batch))
        if len(runs) == 4:
            with contextlib.suppress(KeyboardInterrupt) if swallowed else contextlib.nullcontext():
                for _ in range(3):
                    os.kill(os.getpid(), number)
        return scores(self, batch)

    monkeypatch.setattr(Predictor, "scores", interrupted)
    words = ["--window_s", 1, "--hop_s", 0.5, "--on", 0.1, "--off", 0.05, "--out", tmp_path / "a.json"]
    run = command("timeline", "-m", tiny.folder, "-i", long_video, tmp_path / "b.mkv", *words)
    assert run.code == code and "stopped; writing what was found" in run.err, run.err
    table = read_spans(tmp_path / "a.json")
    (facts,) = table.videos.values()
    assert table.spans and facts.keys() == {"read_to_s"} and 2 <= facts["read_to_s"] <= 3.5
    assert handlers == [signal.getsignal(k) for k in (signal.SIGINT, signal.SIGTERM)]


def test_lines_of_spans_are_there_as_soon_as_they_are_complete(tiny, long_video, tmp_path, command, monkeypatch):
    file, runs, held = tmp_path / "a.jsonl", [], []

    def scores(self, batch):
        runs.append(len(batch))
        held.append(read_spans(file).spans if file.is_file() else ())
        return np.eye(len(self.names), dtype=np.float32)[
            [int(len(runs) > 4)]
        ]  # of another class from the fifth window on

    monkeypatch.setattr(Predictor, "scores", scores)
    words = ["--window_s", 1, "--hop_s", 0.5, "--smoothing", "none", "--min_s", 0, "--gap_s", 0]
    assert command("timeline", "-m", tiny.folder, "-i", long_video, *words, "--out", file).code == 0
    assert len(runs) == 11 and held[4] == () and len(held[8]) == 1 and len(read_spans(file).spans) == 2


def test_the_command_runs_in_a_thread(tiny, long_video):
    codes = []
    words = ["timeline", "-m", str(tiny.folder), "-i", str(long_video), "--window_s", "2"]
    thread = threading.Thread(target=lambda: codes.append(main(words)))
    thread.start()
    thread.join()
    assert codes == [0]


def test_wide_pixels_of_a_turned_video_are_high_ones(tmp_path):
    """Stored 128 x 96 with pixels twice as wide as high; turned it is shown as 48 x 128, with the bar below."""
    path = write_clip(tmp_path / "a.mp4", numbered_frames(6, 96, 128), pixel_aspect=2, rotation=90)
    write_timeline_video(tmp_path / "out.mp4", str(path), SpanTable([], {"a.mp4": {"duration_s": 0.2}}, ["walk"]))
    with open_video(tmp_path / "out.mp4") as made:
        height, width = made.get([0]).shape[1:3]
    assert 128 / 48 < height / width < 1.2 * 128 / 48


def test_the_video_is_the_source_with_labels_and_the_bar(tiny, tmp_path, command):
    stamps = np.cumsum([0, *[20, 20, 40] * 29]).tolist()  # a rate that varies, 600 ticks a second
    path = write_clip(tmp_path / "a.mp4", numbered_frames(88, 96, 160), pts=stamps, rotation=90)
    words = ["--window_s", 1, "--hop_s", 0.5, "--on", 0.1, "--off", 0.05, "--smoothing", "none"]
    files = {"--video": tmp_path / "out.mp4", "--srt": tmp_path / "out.srt", "--plot": tmp_path / "out.png"}
    files["--out"] = tmp_path / "spans.json"
    run = command("timeline", "-m", tiny.folder, "-i", path, *words, *sum(([k, v] for k, v in files.items()), []))
    assert run.code == 0, run.err
    spans = read_spans(files["--out"]).spans
    assert files["--srt"].read_text().count("-->") == len(spans) > 0
    with open_video(path) as source, open_video(files["--video"]) as made:
        length_s = source.times()[-1]
        assert abs(made.times()[-1] - length_s) < 0.05
        (frame,), (first, last) = source.get([0]), made.get([0, len(made) - 1])
    height, width = (4 * side for side in frame.shape[:2])  # upright: 160 x 96, enlarged for the text
    assert first.shape[1] == width and 10 < first.shape[0] - height < 60
    bar = first[height + 6 : -6].astype(int)
    cursor = [int(np.argmax(part[height:].astype(int).min(axis=2).mean(axis=0))) for part in (first, last)]
    assert cursor[0] < 5 and cursor[1] > 0.93 * width
    span = spans[0]
    colour = bar[:, int((span.start_s + span.end_s) / 2 / (length_s + 0.05) * width)].mean(axis=0)
    assert np.abs(colour - colour_of(0)).max() < 40  # of the only label


def test_the_video_decodes_every_frame_once_more(long_video, tmp_path, monkeypatch):
    count, decode = [], OpenVideo.decode
    monkeypatch.setattr(OpenVideo, "decode", lambda *given: count.append(frames := decode(*given)) or frames)
    write_timeline_video(tmp_path / "out.mp4", str(long_video), SpanTable([]))
    assert sum(map(len, count)) == 150
    with open_video(tmp_path / "out.mp4") as made:
        assert len(made) == 150


def test_a_folder_gives_one_file_and_a_video_that_cannot_be_read_is_a_line(tiny, long_video, tmp_path, command):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mkv", "c.mkv"):
        (folder / name).symlink_to(long_video)
    (folder / "b.mkv").write_bytes(b"no video")
    words = ["timeline", "-m", tiny.folder, "--window_s", 1, "--hop_s", 0.5, "--on", 0.1, "--off", 0.05]
    run = command(*words, "-i", folder, "--out", tmp_path / "all.json")
    assert run.code == 0 and "skipped: " in run.err and "1 of 3 videos could not be read" in run.err
    table = read_spans(tmp_path / "all.json")
    assert {span.video for span in table.spans} == {str(folder / name) for name in ("a.mkv", "c.mkv")}
    alone = command(*words, "-i", folder / "c.mkv", "--out", tmp_path / "one.json")
    assert alone.code == 0
    assert [*read_spans(tmp_path / "one.json").spans] == [s for s in table.spans if s.video.endswith("c.mkv")]
    assert command(*words, "-i", folder / "b.mkv", tmp_path / "no.mkv").code == 2


def test_a_damaged_video_of_a_list_is_marked(tiny, long_video, tmp_path, command):
    whole = write_clip(tmp_path / "whole.mp4", numbered_frames(120), fps=25)
    broken = damage(whole, tmp_path / "broken.mp4", start=0.7, share=0.05)
    words = ["--window_s", 1, "--hop_s", 0.5, "--on", 0.1, "--off", 0.05, "--out", tmp_path / "a.json"]
    run = command("timeline", "-m", tiny.folder, "-i", broken, long_video, *words)
    assert run.code == 0 and "1 of 2 videos were read in part (read_to_s in a json)" in run.err, run.err
    videos = read_spans(tmp_path / "a.json").videos
    assert videos[str(long_video)] == {"duration_s": 6.0} and videos[str(broken)].keys() == {"read_to_s"}
    read_to_s = videos[str(broken)]["read_to_s"]
    assert 2 <= read_to_s < 4.5 and f"{broken}: read to {read_to_s:.1f} s, then: {broken}: corrupt" in run.err
    assert command("timeline", "-m", tiny.folder, "-i", broken, tmp_path / "no.mkv", *words).code == 2


def test_a_camera_that_is_cut_goes_on_shows_it_and_ctrl_c_ends_it_with_what_it_has(tiny, tmp_path):
    out = tmp_path / "spans.json"
    with http_server(mjpeg(jpegs(20), fps=25, endless=True, cut_after=60, cut_s=1.5)) as port:
        process = subprocess.Popen(
            [sys.executable, "-m", "paddlevideo", "timeline", "-m", tiny.folder, "-i", f"http://u:secret@127.0.0.1:{port}/",
             "--window_s", "0.4", "--hop_s", "0.2", "--on", "0.1", "--off", "0.05", "--out", out],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ, start_new_session=True,
        )  # fmt: skip
        lines = []
        while not lines or (lines[-1] and "connected again" not in lines[-1]):
            lines.append(process.stdout.readline())
        time.sleep(1.5)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        text = "".join(lines) + process.communicate(timeout=90)[0]
    assert process.returncode == 0 and "stopped" in text, text
    assert "connection lost (Input/output error); connecting again in 0.5 s" in text
    silent_s = float(re.search(r"connected again; no picture for ([0-9.]+) s", text)[1])
    assert re.search(r"windows; \d+ frames, 1 reconnections", text), text
    spans = read_spans(out).spans
    assert silent_s >= 1.5 and not [span for span in spans if span.start_s < 2.7 and span.end_s > 2.4 + silent_s - 0.3]
    assert [span for span in spans if span.end_s < 3] and [span for span in spans if span.start_s > 2.4]
    assert "secret" not in text + out.read_text()


def test_what_is_held_of_an_endless_source_does_not_grow():
    frames = (frame_at(k / 25) for k in range(5000))
    largest = max(len(window.frames) for window in Windows(frames, 2.0, 0.5))
    assert largest == 50


def frame_at(time_s):
    return TimedFrame(time_s, SimpleNamespace(width=64, height=48))
