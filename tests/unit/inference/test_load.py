"""``load``: one call for exports and trained weights, files and arrays; and what it says of videos and mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from paddlevideo.config import load_config
from paddlevideo.errors import UserError
from paddlevideo.inference.predictor import load
from paddlevideo.loader.decode import VideoReadError
from tests.clips import cut, numbered_frames, write_clip
from tests.tiny_export import LABELS, NUM_CLASSES, tiny_config, write_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def trained(tiny):
    return load(tiny.config, tiny.weights, device="cpu", say=print)


@pytest.fixture(scope="module")
def exported(tiny):
    return load(tiny.folder, device="cpu", say=print)


def test_trained_weights_give_the_scores_of_their_export(tiny, trained, exported):
    for model in (trained, exported):
        assert (model.name, model.names, model.multi_label) == ("TSM", LABELS, False)
    for ours, theirs in zip(trained.predict(tiny.videos), exported.predict(tiny.videos), strict=True):
        assert ours.path == theirs.path and ours.scores.shape == (NUM_CLASSES,) and ours.scores.dtype == np.float32
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
        assert [item[2] for item in ours.top(2)] == [item[2] for item in theirs.top(2)]


def test_trained_weights_give_the_scores_of_test(tiny, trained, tmp_path):
    from paddlevideo.settings import Options
    from tests.tiny import run_test

    (tmp_path / "test.list").write_text("".join(f"{video} {i}\n" for i, video in enumerate(tiny.videos)))
    config = tiny_config(test_batch_size=1, test={"format": "VideoDataset", "file_path": str(tmp_path / "test.list")})
    path = write_config(tmp_path, config | {"output_dir": str(tmp_path / "output")})
    run_test(load_config(path), Options(weights=str(tiny.weights), device="cpu"), str(tmp_path / "test.json"))
    tested = [record["scores"] for record in json.loads((tmp_path / "test.json").read_text())]
    assert np.array_equal(np.float32(tested), [prediction.scores for prediction in trained.predict(tiny.videos)])


@pytest.mark.parametrize("kind", ["trained", "exported"])
def test_a_clip_in_memory_is_a_video_and_times_are_of_the_frames_read(tiny, kind, request):
    with av.open(str(tiny.videos[1])) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    model = request.getfixturevalue(kind)
    of_file, of_array = model.predict([tiny.videos[1], frames], fps=25)
    np.testing.assert_allclose(of_array.scores, of_file.scores, atol=1e-6)
    assert of_file.span_s == pytest.approx((0.08, 0.68)) == of_array.span_s  # middles of 4 segments of 20 frames
    assert of_file.prepare_s > 0 and of_file.infer_s > 0


def test_a_damaged_video_is_read_where_testing_reads_it_and_reported(tiny, tmp_path):
    whole = write_clip(tmp_path / "whole.mkv", numbered_frames(30))
    bad = cut(whole, tmp_path / "bad.mkv", 0.6)
    reported = []
    refusing = load(tiny.config, tiny.weights, device="cpu", say=reported.append)
    with pytest.raises(VideoReadError, match="bad.mkv: truncated"):
        refusing.predict(bad)
    config = write_config(tmp_path, tiny_config(test={"format": "VideoDataset", "file_path": "x", "damaged": "read"}))
    reading = load(config, tiny.weights, device="cpu", say=reported.append)
    (prediction,) = reading.predict(bad)
    assert prediction.scores.shape == (NUM_CLASSES,) and f"{bad}: truncated" in reported[-1]
    refusing.damaged = "read"
    assert np.array_equal(refusing.predict(bad)[0].scores, prediction.scores)


def test_the_tool_takes_weights_too(tiny, trained, run_tool, tmp_path):
    model = ["-c", tiny.config, "-w", tiny.weights, "--use_gpu", "False"]
    done = run_tool("predict", "-i", *tiny.videos, *model, "--out", tmp_path / "p.json")
    assert done.code == 0 and done.out.startswith("Inference model(TSM)...\n"), done.err
    scores = [record["scores"] for record in json.loads((tmp_path / "p.json").read_text())]
    assert np.array_equal(np.float32(scores), [prediction.scores for prediction in trained.predict(tiny.videos)])
    for options, message in (
        ([], "name one model: -c CONFIG -w WEIGHTS, or --model_file"),
        ([*model, "--model_file", tiny.folder], "name one model"),
        (["-w", tiny.weights], "-w needs the configuration"),
        ([*model, "--use_tensorrt", "True"], "use --use_tensorrt=False"),
        ([*model, "--label_file", "none.txt"], "none.txt"),
    ):
        done = run_tool("predict", "-i", *tiny.videos, *options)
        assert done.code == 2 and message in done.err.splitlines()[-1], done.err


def test_mistakes_name_what_is_missing(tiny, tiny_ava):
    for arguments, message in (
        ((tiny.config,), "tsm.yaml: a configuration; name the weights"),
        ((load_config(tiny.config),), "tsm.yaml: a configuration; name the weights"),
        (("tsm_own_videos",), r"tsm_own_videos: a configuration; .*load\(config, weights\)"),
        ((tiny.weights,), "tsm.pdparams: weights; name the configuration"),
        ((tiny.root / "none",), "none: no such model file"),
        ((tiny.config, tiny.root / "none.pdparams"), "none.pdparams: no such file"),
        ((tiny_ava.folder,), "a detection model"),
        ((tiny_ava.config, tiny_ava.weights), "tiny_ava.yaml: MODEL names what people do"),
    ):
        with pytest.raises(UserError, match=message):
            load(*arguments, device="cpu", say=print)
    with pytest.raises(UserError, match="4 class names, but the model has 5"):
        load(tiny.config, tiny.weights, labels=LABELS[1:], device="cpu", say=print)
    with pytest.raises(UserError, match="--device tpu"):
        load(tiny.folder, device="tpu")


OWN = """
import numpy as np
from paddlevideo.loader.pipelines.base import Transform
from paddlevideo.registry import TRANSFORMS

@TRANSFORMS.register
class Upside(Transform):
    def __init__(self, axis: int = 2):
        self.axis = axis

    def __call__(self, sample, rng):
        return {**sample, "imgs": np.ascontiguousarray(np.flip(sample["imgs"], self.axis))}
"""
SCRIPT = """
import json, sys, paddlevideo
video, model, *weights = sys.argv[1:]
imports = []
try:
    paddlevideo.load(model, *weights, device="cpu")
except paddlevideo.errors.UserError as error:
    assert ("Upside" if weights else "runs no code by itself") in str(error)
    imports = ["own_steps.py"]
print(json.dumps([imports, paddlevideo.load(model, *weights, imports=imports).predict(video)[0].scores.tolist()]))
"""


@pytest.mark.slow
def test_classes_of_ones_own_come_by_imports_and_with_exports(tiny, tmp_path):
    from paddlevideo.inference.export import export

    (tmp_path / "own_steps.py").write_text(OWN)
    section = tiny_config()
    section["PIPELINE"]["test"]["transform"].insert(2, {"Upside": {"axis": 2}})
    config = write_config(tmp_path, section)
    loaded = load_config(config, imports=[str(tmp_path / "own_steps.py")])
    export(loaded, tiny.weights, tmp_path / "exported", say=print)
    scores = []
    for model in ([config, tiny.weights], [tmp_path / "exported"]):
        command = [sys.executable, "-c", SCRIPT, tiny.videos[0], *model]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        given, found = json.loads(done.stdout)
        assert given == ["own_steps.py"]
        scores.append(found)
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    plain = load(tiny.config, tiny.weights, device="cpu", say=print).predict(tiny.videos[0])[0].scores
    assert np.abs(plain - scores[0]).max() > 1e-3
