"""``paddlevideo detect --spans``: the same persons and actions as in its other files, also where it is stopped."""

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.errors import EXIT_INTERRUPTED, UserError
from paddlevideo.inference.detector import ActionDetector, StoppedDetection, detect
from paddlevideo.inference.person_actions import DetectionSettings
from paddlevideo.inference.person_detectors import PersonDetector
from paddlevideo.inference.video_output import OutputVideo
from paddlevideo.inference.video_stage import VideoProcess
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.spans import read_spans


class Two(PersonDetector):
    name = "two"

    def detect(self, frames, timestamps_s):
        boxes = np.array([[10, 20, 50, 90, 0.9], [70, 20, 110, 90, 0.8]], np.float32)
        return [boxes for _ in frames]


@pytest.fixture(scope="module")
def whole(tiny_ava):
    """The result of the video from its first to its last frame."""
    return detect(tiny_ava.video, tiny_ava.folder, detector=Two(), every_s=0.5, device="cpu")


@pytest.fixture
def command(tiny_ava, tmp_path, monkeypatch, capsys):
    """``command(*words)`` -> code, out, err of ``paddlevideo detect`` with the tiny model and two persons."""
    import paddlevideo.inference.detector as module

    monkeypatch.setattr(module, "open_detector", lambda *rest: Two())
    monkeypatch.chdir(tmp_path)

    def run(*words, videos=(tiny_ava.video,)):
        model = ["--model_file", tiny_ava.folder, "--device", "cpu", "--every", 0.5, "--video_path", *videos]
        code = main([str(word) for word in ("detect", *model, *words)])
        return code, *capsys.readouterr()

    return run


RULE = ("--on", 0.5, "--off", 0.3, "--smoothing", "none", "--min_s", 0, "--gap_s", 0)


def test_the_spans_are_of_the_key_frames_scores(command, tiny_ava):
    code, _, err = command("--spans", "s.json", "s.csv", "s.srt", "--json", "k.json", "--out-filename", "", *RULE,
                           "--action-score-thr", 0)  # fmt: skip
    assert code == 0, err
    table = read_spans("s.json")
    assert table.spans and {span.person for span in table.spans} == {"0", "1"}
    assert {span.video for span in table.spans} == {str(tiny_ava.video)}
    facts = table.videos[str(tiny_ava.video)]
    assert (facts["fps"], facts["width"], facts["height"]) == (30, 128, 96)
    assert table.settings["window_s"] == pytest.approx(16 / 30) and table.settings["hop_s"] == 0.5
    for record in json.loads(Path("k.json").read_text()):  # every score agrees with whether a span covers it
        assert record["video"] == str(tiny_ava.video)
        for person in record["persons"]:
            own = [span for span in table.spans if span.person == str(person["id"])]
            covered = {span.label for span in own if span.start_s <= record["time_s"] < span.end_s}
            scores = {action["label"]: action["score"] for action in person["actions"]}
            assert {label for label, score in scores.items() if score >= 0.5} <= covered
            assert not covered & {label for label, score in scores.items() if score < 0.3}
    assert [(s.start_s, s.label, s.person) for s in read_spans("s.csv").spans] == [
        (s.start_s, s.label, s.person) for s in table.spans
    ]
    assert "[person 0]" in Path("s.srt").read_text() and "srt holds no scores" in err


def test_the_table_of_persons_trains_and_goes_to_annotation_tools(command, tiny_ava, capsys):
    assert command("--spans", "s.json", "--people", "p.csv", "--out-filename", "", *RULE)[0] == 0
    with open("p.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) > 2 * 151 / 30 / 0.2 and {row["person"] for row in rows} == {"0", "1"}  # every 0.2 s
    assert main(["prepare", "spans", "s.json", "p.csv", "--out", "a.xml"]) == 0
    assert main(["prepare", "spans", "a.xml", "--fps", "30", "--out", "back.json"]) == 0
    words = ["prepare", "people", "p.csv", "--videos", str(tiny_ava.video.parent), "--out", "data", "--val", "0"]
    assert main(words) == 0
    sent, back = read_spans("s.json").spans, read_spans("back.json").spans
    assert [(s.label, s.person) for s in back] == [(s.label, s.person) for s in sent]
    moved = [abs(a - b) for s, t in zip(sent, back) for a, b in ((s.start_s, t.start_s), (s.end_s, t.end_s))]
    assert max(moved) <= 0.5 / 30 + 1e-3
    capsys.readouterr()
    assert main(["prepare", "spans", "p.csv", "--out", "a.xml"]) == 2
    assert "p.csv: boxes of persons without spans; name the file of spans, too" in capsys.readouterr().err


def test_several_videos_share_a_model_and_files(command, whole, tiny_ava, tmp_path):
    two = sorted(tiny_ava.video.parent.glob("*.mp4"))
    code, _, err = command("--spans", "s.json", "--csv", "r.csv", "--out-filename", "drawn", *RULE, videos=two)
    assert code == 0, err
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {path.name for path in two}
    table = read_spans("s.json")
    assert set(table.videos) == {span.video for span in table.spans} == {str(path) for path in two}
    assert {line.split(",")[0] for line in Path("r.csv").read_text().splitlines()} == {path.stem for path in two}
    own = whole.spans(on=0.5, off=0.3, smoothing="none", min_s=0, gap_s=0)
    assert own.spans == tuple(span for span in table.spans if span.video == str(tiny_ava.video))


def test_finished_videos_are_written_where_a_later_one_fails(command, tiny_ava, monkeypatch):
    two, predict = sorted(tiny_ava.video.parent.glob("*.mp4")), ActionDetector.predict

    def failing(self, reader, *rest):
        if reader.path == str(two[1]):
            raise VideoReadError(reader.path, "corrupt", "frame 30 is damaged")
        return predict(self, reader, *rest)

    monkeypatch.setattr(ActionDetector, "predict", failing)
    code, _, err = command("--spans", "s.json", "--json", "k.json", "--out-filename", "", videos=two)
    assert code == 2 and "frame 30 is damaged" in err.splitlines()[-1]
    assert set(read_spans("s.json").videos) == {str(two[0])}
    assert {record["video"] for record in json.loads(Path("k.json").read_text())} == {str(two[0])}
    Path("s.json").unlink()
    assert command("--spans", "s.json", "--out-filename", "", videos=two[1:])[0] == 2 and not Path("s.json").exists()


def test_ctrl_c_writes_what_was_found(command, whole, monkeypatch, tmp_path):
    scores, runs = ActionDetector.scores, []

    def interrupted(self, batch):
        runs.append(batch)
        if len(runs) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return scores(self, batch)

    monkeypatch.setattr(ActionDetector, "scores", interrupted)
    code, _, err = command("--spans", "s.json", "--json", "k.json", "--csv", "r.csv", *RULE)
    assert code == EXIT_INTERRUPTED and "stopped; writing what was found" in err
    records = json.loads(Path("k.json").read_text())
    assert 3 <= len(records) <= 5 and all(len(record["persons"]) == 2 for record in records)
    times = [frame.time_s for frame in whole.key_frames[: len(records)]]
    assert [record["time_s"] for record in records] == pytest.approx(times, abs=1e-6)
    assert max(span.end_s for span in read_spans("s.json").spans) <= times[-1] + whole.key_every_s
    assert {path.name for path in tmp_path.iterdir()} == {"s.json", "k.json", "r.csv"}  # and no part of a video


@pytest.mark.parametrize("place", ["finish", "later"])
def test_ctrl_c_while_the_video_is_finished_keeps_everything_else(place, whole, monkeypatch, tiny_ava, tmp_path):
    from paddlevideo.inference import detection_run, video_output

    def interrupt(*_):
        raise KeyboardInterrupt

    if place == "finish":
        monkeypatch.setattr(VideoProcess, "finish", interrupt)
    else:  # the video is written in a pass of its own
        monkeypatch.setattr(detection_run, "_HELD_BYTES", 1)
        monkeypatch.setattr(video_output, "write_annotated_video", interrupt)
    with pytest.raises(StoppedDetection) as stopped:
        detect(
            tiny_ava.video,
            tiny_ava.folder,
            detector=Two(),
            every_s=0.5,
            device="cpu",
            output=OutputVideo(tmp_path / "o.mp4"),
        )
    result = stopped.value.result
    assert result.spans(on=0.5).spans == whole.spans(on=0.5).spans and len(result.key_frames) == len(whole.key_frames)
    assert set(result.tracks) == {0, 1} and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--spans", "s.txt"), "s.txt: expected a json, csv, jsonl, srt or vtt file of spans"),
        (("--people", "p.json"), "--people p.json: expected a name ending in .csv"),
        (("--on", 0.2), "off: expected at most on, which is 0.2, got 0.4"),
        (("--background", "nothing"), "background: 'nothing' is not among the 6 classes"),
    ],
)
def test_mistakes_are_found_before_detection(words, message, command, monkeypatch):
    monkeypatch.setattr(ActionDetector, "predict", lambda *_: pytest.fail("detection began"))
    code, _, err = command(*words)
    assert code == 2 and message in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--out-filename: several videos need a folder"),
        (("--out-filename", "", "--spans", "s.srt"), "--spans s.srt: subtitles are of one video, and 2 are given"),
        (("--out-filename", "", "--video-id", "a"), "--video-id is of one video, and 2 are given"),
        (("--out-filename", "", "--bank", "a.bank"), "--bank is of one video, and 2 are given"),
    ],
)
def test_what_several_videos_cannot_share(words, message, command, tiny_ava):
    code, _, err = command(*words, videos=sorted(tiny_ava.video.parent.glob("*.mp4")))
    assert code == 2 and message in err


def test_two_videos_of_one_name_are_refused(command, tiny_ava):
    code, _, err = command("--out-filename", "", videos=(tiny_ava.video, f"other/{tiny_ava.video.stem}.mov"))
    assert code == 2 and "two of the videos have the same name" in err


def test_a_background_class_has_no_spans(whole):
    label = whole.spans(on=0.5).spans[0].label
    assert label not in {span.label for span in whole.spans(on=0.5, background=label).spans}
    with pytest.raises(UserError, match="background"):
        whole.spans(background="nothing")


def test_the_head_decides_whether_actions_exclude_one_another(whole, tiny_ava):
    assert whole.settings.multi_label and not whole.spans().settings["exclusive"]
    softmax = ["MODEL.head.bbox_head.multilabel=False"]
    result = detect(tiny_ava.video, tiny_ava.config, tiny_ava.weights, detector=Two(), every_s=2.0, device="cpu",
                    overrides=softmax)  # fmt: skip
    assert not result.settings.multi_label and result.spans().settings["exclusive"]
    described = result.settings.describe()
    assert DetectionSettings.of_description(described, "inference.yml") == result.settings
    del described["multi_label"]  # an export from before it was noted
    assert DetectionSettings.of_description(described, "inference.yml").multi_label
