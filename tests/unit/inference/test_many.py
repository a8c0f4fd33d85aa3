"""What decides the results of many videos, and what does not."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.inference.exported import Description, Export
from paddlevideo.inference.many import Output, predict_many, run_of
from paddlevideo.inference.predictions import Prediction, write_predictions
from paddlevideo.inference.predictor import Origin, Predictor, _without_pretrained
from paddlevideo.inference.runtimes.base import InputSpec
from paddlevideo.loader.decode import reader
from paddlevideo.loader.pipelines import Pipeline
from tests.tiny_export import write_video


class Mean:
    """A model: two scores, by the mean of the clip."""

    inputs, name = (InputSpec("imgs", (-1,) * 6, "uint8"),), "mean"

    def run(self, batch):
        mean = batch["imgs"].mean(axis=(1, 2, 3, 4, 5)) / 255
        return np.stack([mean, 1 - mean], 1).astype(np.float32)


def predictor_of(backend="pyav", **more):
    steps = {"decode": {"name": "VideoDecoder", "backend": backend},
             "sample": {"name": "Sampler", "num_seg": 2, "seg_len": 1, "valid_mode": True},
             "transform": [{"Scale": {"short_size": 32}}, {"Image2Array": None}]}  # fmt: skip
    return Predictor(Mean(), Pipeline(steps, "PIPELINE.test"), "mean", num_workers=0, **more)


def test_videos_of_different_sizes_are_in_batches_of_their_own(tmp_path):
    sizes = [(64, 48), (64, 48), (80, 48), (64, 48), (48, 48)]
    videos = [write_video(tmp_path / f"{i}.mp4", i, 4, *size) for i, size in enumerate(sizes)]
    videos.insert(1, tmp_path / "none.mp4")
    alone = predictor_of(batch_size=1).predict(videos, "skip")
    counts = predict_many(predictor_of(batch_size=3), videos, tmp_path / "r.jsonl", Output(), lambda line: None)
    assert (counts.predicted, counts.failed) == (5, 1)
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()[1:]]
    assert [record["path"] for record in records] == list(map(str, videos))
    for record, one in zip(records, alone):
        assert record.get("scores") == (None if one.error else one.scores.tolist())


def test_the_backend_that_reads_decides_the_results(monkeypatch):
    described = {}
    for has_decord in (True, False):
        monkeypatch.setattr(reader, "has_decord", lambda found=has_decord: found)
        for backend in ("decord", "pyav"):
            described[backend, has_decord] = run_of(predictor_of(backend), Output())["preprocessing"]
    assert described["decord", True] != described["decord", False]
    assert described["pyav", True] == described["pyav", False]


@pytest.fixture
def export(tmp_path):
    """An export of which files for another runtime alone are left."""
    files = {"N.json": "a1", "N.pdiparams": "b2", "N.onnx": "c3", "N.int8.onnx": "d4"}
    description = Description("N", "N.json", "N.pdiparams", {}, {}, 2, "probability", 1, None, {}, files=files)
    return Export(tmp_path / "N.json", tmp_path / "N.pdiparams", description)


def test_an_export_is_known_by_its_digests(export):
    whole = Origin.of_export(export, "fp32").digest()
    files = export.description.files
    del files["N.onnx"]
    assert Origin.of_export(export, "fp32").digest() == whole
    int8 = Origin.of_export(export, "int8").digest()
    files["N.int8.onnx"] = "e5"
    assert len({int8, Origin.of_export(export, "int8").digest(), whole}) == 3
    assert Origin.of_export(export, "fp32").digest() == whole
    del files["N.pdiparams"]  # changed on purpose: its content counts
    digests = set()
    for content in "xy":
        export.params.write_text(content)
        digests.add(Origin.of_export(export, "fp32").digest())
    assert len(digests | {whole}) == 3


def test_the_weights_that_training_began_with_do_not_count():
    model = {"backbone": {"name": "R", "pretrained": "a.pdparams"}, "head": {"num_classes": 2}}
    assert _without_pretrained(model) == {"backbone": {"name": "R"}, "head": {"num_classes": 2}}


def test_a_name_that_is_not_utf8_is_written(tmp_path):
    predictions = [Prediction("x\udcff.mp4", np.array([0.25, 0.75], np.float32)), Prediction("猫", None, error="no")]
    write_predictions(tmp_path / "a.json", predictions, 1)
    assert json.loads((tmp_path / "a.json").read_bytes())[0]["path"] == "x\udcff.mp4"
    write_predictions(Path(tmp_path / "a.csv"), predictions, 1)
    with open(tmp_path / "a.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["path", "x\udcff.mp4", "猫"]
