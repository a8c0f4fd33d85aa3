"""ava_predict is test: its scores are main.py --test's; and its output video, csv and JSON have who does what where."""

import json

import av
import numpy as np
import pytest

from paddlevideo.ava_files import read_proposals
from paddlevideo.boxes import iou
from paddlevideo.drawing import colour_of, enlargement
from tests.tiny_ava import CUSTOM, SIZE_PX

NO_VIDEO = ["--out-filename", ""]


@pytest.fixture
def of_weights(tiny_ava):
    return ["-c", tiny_ava.config, "-w", tiny_ava.weights, "--device", "cpu"]


@pytest.fixture
def of_export(tiny_ava):
    return ["--model_file", tiny_ava.folder, "--device", "cpu"]


@pytest.fixture
def on_video(tiny_ava):
    return ["--video_path", tiny_ava.video, "--proposals", tiny_ava.proposals]


def read_video(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]), stream.average_rate


def box_of_colour(frame, person):
    """x1, y1, x2, y2 of the longest straight lines in a person's colour: the drawn box, not the label."""
    near = np.abs(frame.astype(int) - colour_of(person)).max(-1) < 40
    columns = np.flatnonzero(near.sum(0) > 40)
    rows = np.flatnonzero(near.sum(1) > 30)
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], float)


def test_scores_are_those_of_main_test(tiny_ava, of_weights, on_video, run_tool, tmp_path):
    from paddlevideo.build import deployed_network, loader_for
    from paddlevideo.config import load_config
    from paddlevideo.engine.evaluate import evaluate
    from paddlevideo.engine.precision import Precision
    from paddlevideo.metrics.base import Metric
    from paddlevideo.modeling.weights import load_weights

    config = load_config(tiny_ava.config)
    network = deployed_network(config)
    load_weights(network, tiny_ava.weights)
    loader, kept = loader_for(config, "test", network.num_classes, 7), []

    class ScoreCollector(Metric):
        primary = "count"

        def update(self, index, outputs, batch):
            ends = np.cumsum(batch["boxes_num"])[:-1]
            kept.extend(zip(index, np.split(batch["boxes_norm"], ends), np.split(outputs["scores"], ends)))

        def state(self):
            return {}

        def merge(self, states):
            pass

        def compute(self):
            return {"count": len(kept)}

    evaluate(network, loader, ScoreCollector(), Precision(False, "O1", "float16"))
    run = run_tool("ava_predict", *of_weights, *on_video, "--out-filename", "", "--json", tmp_path / "a.json",
                   "--action-score-thr", 0, "--batch_size", 2)  # fmt: skip
    assert run.code == 0, run.err
    found = {round(k["time_s"]) + 900: k["persons"] for k in json.loads((tmp_path / "a.json").read_text())}
    compared = 0
    for index, boxes, scores in kept:
        record = loader.dataset.records[index]
        if record["video_id"] != tiny_ava.video_id:
            continue
        persons = found[record["timestamp"]]
        np.testing.assert_allclose([p["box_norm"] for p in persons], boxes, atol=1e-6)
        rows = [[{a["id"]: a["score"] for a in p["actions"]}[i] for i in CUSTOM] for p in persons]
        np.testing.assert_allclose(rows, scores[:, 1:], atol=1e-5)  # batches of other sizes round otherwise
        compared += len(persons)
    assert compared >= 6


def test_an_exported_model_gives_the_same_files(of_weights, of_export, on_video, run_tool, tmp_path):
    for name, model in (("weights", of_weights), ("export", of_export)):
        out = ["--csv", tmp_path / f"{name}.csv", "--json", tmp_path / f"{name}.json", "--out-filename", ""]
        run = run_tool("ava_predict", *model, *on_video, *out)
        assert run.code == 0, run.err
    lines = [(tmp_path / f"{name}.csv").read_text() for name in ("weights", "export")]
    assert lines[0] == lines[1]
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("weights", "export"))
    assert [k["frame_index"] for k in first] == [k["frame_index"] for k in second]


def test_the_csv_holds_every_score_above_the_models_threshold(tiny_ava, of_export, on_video, run_tool, tmp_path):
    run_tool("ava_predict", *of_export, *on_video, "--csv", tmp_path / "r.csv", "--out-filename", "")
    rows = [line.split(",") for line in (tmp_path / "r.csv").read_text().splitlines()]
    assert rows and all(len(row) == 9 and row[0] == tiny_ava.video_id for row in rows)
    assert {int(row[6]) for row in rows} <= set(CUSTOM) and min(float(row[7]) for row in rows) >= 0.05
    proposals = read_proposals(tiny_ava.proposals)
    for row in rows:
        key = f"{row[0]},{int(row[1]):04d}"
        assert np.abs(proposals[key][:, :4] - np.array(row[2:6], float)).max(1).min() < 6e-4
    assert {row[8] for row in rows} >= {"0", "1"}


def test_the_drawn_boxes_are_where_the_actors_are(tiny_ava, of_export, on_video, run_tool, tmp_path):
    video, notes = tmp_path / "out.mp4", tmp_path / "out.json"
    options = ["--output-stepsize", 1, "--output-fps", 30, "--out-filename", video, "--json", notes]
    run = run_tool("ava_predict", *of_export, *on_video, *options, "--action-score-thr", 1)
    assert run.code == 0, run.err
    frames, rate = read_video(video)
    factor = enlargement(*SIZE_PX[::-1])
    assert frames.shape == (151, SIZE_PX[1] * factor, SIZE_PX[0] * factor, 3) and rate == 30
    compared = 0
    for key in json.loads(notes.read_text()):
        truth = tiny_ava.truth[key["frame_index"]]
        for person in key["persons"]:
            overlap = iou(np.array([person["box_px"]]), truth).max()
            if overlap < 0.7:  # the imitated detector invents somebody now and then
                continue
            drawn = box_of_colour(frames[key["frame_index"]], person["id"]) / factor
            assert np.abs(drawn - person["box_px"]).max() < 2.5
            assert iou(drawn[None], truth).max() > 0.65
            compared += 1
    assert compared >= 6


def test_prints_what_paddlevideo_prints_and_works_with_its_flags(tiny_ava, of_weights, run_tool, tmp_path, monkeypatch):
    """Its own flags, with a detector that sees one person in the middle."""
    import paddlevideo.inference.detector as module

    class Middle(module.PersonDetector):
        name = "the middle"

        def detect(self, frames, timestamps_s):
            return [np.array([[40, 20, 80, 90, 0.9]], np.float32) for _ in frames]

    monkeypatch.setattr(module, "open_detector", lambda spec, *rest: requested.append(spec) or Middle())
    monkeypatch.chdir(tmp_path)
    requested = []
    run = run_tool(
        "ava_predict", *of_weights, "--video_path", tiny_ava.video, "-o", "DATASET.test.person_det_score_thr=0.5",
        "--detection_model_name", "faster_rcnn/faster_rcnn_r50_fpn_1x_coco", "--detection_model_weights", "detector",
        "--out-filename", "out.mp4", "--predict-stepsize", 32, "--output-stepsize", 4, "--output-fps", 6,
    )  # fmt: skip
    assert run.code == 0, run.err
    assert requested == ["detector"]
    lines = run.out.splitlines()
    assert lines[:3] == [
        "Frame Number: 151",
        "timestamps number: 5",
        "Performing Human Detection for each frame (the middle)",
    ]
    assert "finish object detection" in lines and "Performing SpatioTemporal Action Detection for each clip" in lines
    assert "5 / 5" in lines and lines[-1] == "finish write !"
    frames, rate = read_video(tmp_path / "out.mp4")
    assert len(frames) == 38 and rate == 6
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]  # no folders of frames are left behind


def test_boxes_follow_the_people_between_key_frames(tiny_ava, of_export, run_tool, tmp_path, monkeypatch):
    """Somebody goes to and fro within the second and a half between two key frames."""
    import paddlevideo.inference.detector as module

    width, height = SIZE_PX

    def box_at(t):
        x = width * (0.4 + 0.2 * np.sin(2 * np.pi * t / 1.5))
        return np.array([x - 15, 0.2 * height, x + 15, 0.8 * height])

    class ToAndFro(module.PersonDetector):
        name = "to and fro"

        def detect(self, frames, timestamps_s):
            requested.extend(timestamps_s)
            return [np.array([[*box_at(t), 0.9]], np.float32) for t in timestamps_s]

    requested = []
    monkeypatch.setattr(module, "open_detector", lambda *rest: ToAndFro())
    video, notes = tmp_path / "out.mp4", tmp_path / "out.json"
    run = run_tool("ava_predict", *of_export, "--video_path", tiny_ava.video, "--action_every", 1.5, "--json", notes,
                   "--out-filename", video, "--action-score-thr", 1)  # fmt: skip
    assert run.code == 0, run.err
    keys = json.loads(notes.read_text())
    assert [key["frame_index"] for key in keys] == [0, 45, 90, 135]
    assert {person["id"] for key in keys for person in key["persons"]} == {0}
    assert np.diff(requested).max() < 0.2 + 1 / 30 and set(np.arange(0, 5, 1.5)) <= {round(t, 6) for t in requested}
    frames, rate = read_video(video)
    assert len(frames) == 151 and rate == 30
    for index in range(3, 150, 12):
        drawn = box_of_colour(frames[index], 0) / enlargement(height, width)
        assert np.abs(drawn - box_at(index / 30)).max() < 4


def test_no_person_in_the_video_is_a_result(tiny_ava, of_export, run_tool, tmp_path, monkeypatch):
    import paddlevideo.inference.detector as module

    class Blind(module.PersonDetector):
        name = "blind"

        def detect(self, frames, timestamps_s):
            return [np.zeros((0, 5), np.float32) for _ in frames]

    monkeypatch.setattr(module, "open_detector", lambda *rest: Blind())
    out = ["--out-filename", tmp_path / "o.mp4", "--json", tmp_path / "o.json", "--csv", tmp_path / "o.csv"]
    run = run_tool("ava_predict", *of_export, "--video_path", tiny_ava.video, "--every", 1, *out)
    assert run.code == 0, run.err
    records = json.loads((tmp_path / "o.json").read_text())
    assert [(k["frame_index"], k["persons"]) for k in records] == [(30 * s, []) for s in range(6)]
    video, rate = read_video(tmp_path / "o.mp4")
    assert (tmp_path / "o.csv").read_text() == "" and len(video) == 151 and rate == 30  # its own speed


def test_other_names_for_the_actions(tiny_ava, of_export, on_video, run_tool, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(f"{i}: Tätigkeit 动作 {i}" for i in CUSTOM[:-1]), encoding="utf-8")
    options = ["--label-file", tmp_path / "names.txt", "--action-score-thr", 0]
    run = run_tool("ava_predict", *of_export, *on_video, *options, "--json", tmp_path / "o.json", "--out-filename",
                   tmp_path / "o.mp4")  # fmt: skip
    assert run.code == 0, run.err
    actions = json.loads((tmp_path / "o.json").read_text())[0]["persons"][0]["actions"]
    assert {a["label"] for a in actions} == {f"Tätigkeit 动作 {i}" for i in CUSTOM[:-1]} | {f"class {CUSTOM[-1]}"}


@pytest.mark.parametrize(
    "options, message",
    [
        (["--video_path", "none.mp4"], "none.mp4: missing"),
        (["--video-id", "another"], "no boxes of the video 'another'"),
        (["--timestamp-start", 5000], "no second of 'test_00000' lies in the video; the video shows seconds 5000"),
        (["--detector", "hog"], "--proposals and a detector are both named"),
        (["--out-filename", "o.gif"], "o.gif: expected a name that ends in .mp4"),
        (["--csv", "/proc/none/a.csv"], "/proc/none/a.csv: cannot be written"),
        (["--device", "tpu"], "--device tpu: expected cpu"),
        (["-o", "a=b"], "add --config"),
        (["-w", "x.pdparams"], "name one model"),
        (["--label-file", "none.txt"], "none.txt: no such label file"),
    ],
)
def test_mistakes_are_one_line(tiny_ava, of_export, on_video, run_tool, tmp_path, options, message):
    run = run_tool("ava_predict", *of_export, *on_video, *NO_VIDEO, "--csv", tmp_path / "r.csv", *options)
    assert run.code == 2 and message in run.err.splitlines()[-1]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--detection_model_name", "faster_rcnn/x"], "not downloaded here.*--detector FOLDER"),
        (["--detector", "weights.pdparams"], "weights without their network"),
        (["--detector", "yolo"], "expected hog, an .onnx file"),
        (["--detector", "none.onnx"], "none.onnx"),
    ],
)
def test_detectors_that_cannot_be_are_named(tiny_ava, of_export, run_tool, tmp_path, options, message):
    import re

    out = [*NO_VIDEO, "--csv", tmp_path / "r.csv"]
    run = run_tool("ava_predict", *of_export, "--video_path", tiny_ava.video, *out, *options)
    assert run.code == 2 and re.search(message, run.err)


def test_a_run_that_would_write_nothing_is_refused(of_export, on_video, run_tool):
    run = run_tool("ava_predict", *of_export, *on_video, *NO_VIDEO)
    assert run.code == 2 and "nothing would be written; name --csv, --json, --people or --spans" in run.err


def test_a_model_of_whole_videos_is_refused(tiny, tiny_ava, run_tool, tmp_path):
    video = ["--video_path", tiny_ava.video, *NO_VIDEO, "--csv", tmp_path / "r.csv"]
    for model in (["--model_file", tiny.folder], ["-c", tiny.config, "-w", tiny.weights, "--device", "cpu"]):
        run = run_tool("ava_predict", *model, *video)
        assert run.code == 2 and "use paddlevideo predict" in run.err


def test_predict_refuses_a_detection_model(tiny_ava, run_tool):
    run = run_tool("predict", "-i", tiny_ava.video, "--model_file", tiny_ava.folder)
    assert run.code == 2 and "paddlevideo detect" in run.err.splitlines()[-1]
