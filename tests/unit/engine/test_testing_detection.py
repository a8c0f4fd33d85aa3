"""--test of a detector: its csv, its report and its figures; the network and its loader are stand-ins here."""

import csv
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddlevideo.classes import Classes
from paddlevideo.collectors import Collector
from paddlevideo.config import Config
from paddlevideo.engine import testing
from paddlevideo.engine.hooks import ValidateHook
from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.metrics.ava import AVAMetric
from paddlevideo.metrics.ava_evaluation import read_ground_truth, score_csv
from paddlevideo.reporting.report import ReportFiles
from paddlevideo.settings import Options
from tests.tiny import make_clips, run_test, tsm_config
from tests.unit.reporting.test_report import Page

BOXES = np.array([[0.1, 0.1, 0.5, 0.9], [0.6, 0.2, 0.9, 0.8]], "float32")
ACTIONS = {0: (1, 2), 1: (2, 3), 2: (3, 1)}  # class of the first and second box by key frame


class Detector:
    """Says what is true, except of the last key frame."""

    num_classes, action_thr, bank_request, avg_type = 4, 0.002, None, None

    def eval(self):
        pass

    def __call__(self, batch, mode):
        frames = batch["index"].numpy().tolist()
        scores = np.full((2 * len(frames), 4), 0.1, "float32")
        for place, frame in enumerate(frames):
            for person, k in enumerate(ACTIONS[frame]):
                scores[2 * place + person, k if frame < 2 else 2] = 0.9
        return {"scores": paddle.to_tensor(scores)}


class KeyFrames(Dataset):
    has_boxes, class_names = True, ["(reserved)", "walk", "wave", "jump"]

    def __init__(self, records, file_path, label_file):
        self.records, self.file_path, self.label_file = records, file_path, label_file

    def sample(self, index):
        return dict(self.records[index])

    def annotation(self):
        return {"file_path": self.file_path, "label_file": self.label_file}


class Loader:
    """Three key frames, the first in a batch of its own."""

    def __init__(self, folder):
        records = [{"img_key": f"v,{902 + f:04d}", "frame_dir": "v", "timestamp": 902 + f} for f in range(3)]
        self.dataset = KeyFrames(records, str(folder / "gt.csv"), str(folder / "labels.txt"))

    def __len__(self):
        return 2

    def epoch(self, number):
        for frames in ([0], [1, 2]):
            boxes = np.concatenate([BOXES] * len(frames))
            yield {"index": np.array(frames), "boxes_norm": boxes, "boxes_num": np.full(len(frames), 2, "int32")}


@pytest.fixture
def detection(tmp_path, monkeypatch):
    lines = [
        f"v,{902 + frame:04d},{','.join(map(str, box))},{k},0\n"
        for frame, classes in ACTIONS.items()
        for box, k in zip(BOXES, classes)
    ]
    (tmp_path / "gt.csv").write_text("".join(lines))
    (tmp_path / "labels.txt").write_text("1: walk\n2: <b>wave\n3: jump\n")
    (tmp_path / "w.pdparams").write_bytes(b"")
    monkeypatch.setattr(testing, "trained_network", lambda config, *arguments: (config, Detector(), Classes()))
    monkeypatch.setattr(testing, "loader_for", lambda *arguments: Loader(tmp_path))
    config = tsm_config(make_clips(tmp_path / "clips"), tmp_path / "run") | {"METRIC": {"name": "AVAMetric"}}
    return SimpleNamespace(
        folder=tmp_path, config=Config(config), options=Options(weights=str(tmp_path / "w.pdparams"))
    )


def test_out_is_the_csv_that_gives_the_figure_again(detection):
    out = detection.folder / "sub" / "results.csv"
    figures = run_test(detection.config, detection.options, str(out))
    truth = read_ground_truth(detection.folder / "gt.csv", detection.folder / "labels.txt")
    assert score_csv(out, truth)[0].figures["mAP@0.5IOU"] == figures["mAP@0.5IOU"]
    assert 0.5 < figures["mAP@0.5IOU"] < 1.0
    # 6 boxes, 3 classes above 0.002 each
    assert len(out.read_text().splitlines()) == 18 and "v,902,0.100,0.100,0.500,0.900,1,0.900\n" in out.read_text()
    assert {path.name for path in out.parent.iterdir()} == {"results.csv", "report.html", "predictions.csv"}


def test_the_report_has_a_row_per_class_and_nothing_of_clips(detection, capsys):
    figures = run_test(detection.config, detection.options)
    text = (detection.folder / "run" / "report.html").read_text()
    page = Page(text)
    rows = {row[0]: row[1:] for row in page.rows if len(row) == 4}
    assert rows["1 walk"][:2] == ["2", "6"] and rows["3 jump"][:2] == ["2", "6"]
    assert rows["2 <b>wave"] == ["2", "6", "100.0 %"]
    assert [row[0] for row in page.rows if len(row) == 4][-1] == "2 <b>wave"
    assert "svg" not in page.tags and "b" in page.tags and "Worst clips" not in text
    assert f"{100 * figures['mAP@0.5IOU']:.2f} %" in text and "3 of 3 in DATASET.test" in text
    assert "PerformanceByCategory/AP@0.5IOU/<b>wave: 1" in capsys.readouterr().out
    with (detection.folder / "run" / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["predicted"] == row["label"] for row in rows] == [True] * 4 + [False] * 2


@pytest.mark.parametrize("name", ["r.json", "r.pkl"])
def test_detections_go_into_a_csv_only(name, detection):
    with pytest.raises(UserError, match=f"--out {name}: expected a name ending in .csv for the results of AVAMetric"):
        run_test(detection.config, detection.options, name)


def test_a_validation_without_ground_truth_is_no_best_model(monkeypatch):
    hook = ValidateHook(None, None, 1)
    metric = SimpleNamespace(primary="mAP@0.5IOU", primary_label="mAP@0.5IOU")
    monkeypatch.setattr(hook, "measure", lambda run, mode: (metric, {"mAP@0.5IOU": float("nan")}))
    hook._validate(SimpleNamespace(hook=lambda name: None))
    assert hook.best is None


def test_collectors_write_before_a_figure_is_computed(detection, monkeypatch):
    """A metric that fails loses nothing of what was evaluated."""
    moments = []

    class Noting(Collector):
        def prepare(self):
            moments.append("prepare")

        def update(self, index, outputs, batch):
            moments.append(index.tolist())

        def write(self, records):
            moments.append(f"write {len(records)}")

    class Files(ReportFiles):
        def collectors(self, framework):
            return [Noting()]

    def failing(metric):
        raise UserError("no ground truth")

    monkeypatch.setattr(AVAMetric, "compute", failing)
    with pytest.raises(UserError, match="no ground truth"):
        testing.test(detection.config, detection.options, Files(detection.options.weights))
    assert moments == ["prepare", [0], [1, 2], "write 3"]
