import multiprocessing
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml

from paddlevideo.errors import UserError
from paddlevideo.inference import predictor as predictor_module
from paddlevideo.inference.predictor import Prediction, Predictor, to_foreign_layout, to_probabilities
from paddlevideo.inference.runtimes.base import Runtime
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.loader.pipelines import Pipeline
from tests.tiny_export import LABELS, NUM_CLASSES, tiny_config
from tests.unit.inference.test_export import network_of, network_scores


@pytest.fixture(scope="module")
def predictor(tiny):
    return Predictor.from_export(tiny.folder)


def test_scores_of_a_file_are_those_of_the_network_in_test_mode(tiny, predictor):
    pipeline = Pipeline(tiny_config()["PIPELINE"]["test"], "PIPELINE.test")
    framework = network_of(tiny)
    for index, prediction in enumerate(predictor.predict(tiny.videos)):
        sample = {"filename": str(tiny.videos[index]), "index": index}
        imgs = pipeline(sample, np.random.default_rng([1234, 0, index]))["imgs"]
        np.testing.assert_allclose(prediction.scores, network_scores(framework, imgs[None])[0], atol=1e-6)


def test_the_videos_give_different_scores(tiny, predictor):
    scores = np.stack([p.scores for p in predictor.predict(tiny.videos)])
    assert np.abs(scores[0] - scores[1]).max() > 0.05 and scores.max() < 0.999


def test_batches_change_nothing(tiny, predictor):
    alone = predictor.predict(tiny.videos)
    batched = Predictor.from_export(tiny.folder, batch_size=2).predict(tiny.videos)
    assert [p.path for p in batched] == [str(v) for v in tiny.videos]
    for a, b in zip(alone, batched):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-6)


def test_a_clip_in_memory_goes_the_same_way_as_a_file(tiny, predictor):
    import av

    with av.open(str(tiny.videos[1])) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    of_file, of_array = predictor.predict([tiny.videos[1], frames], fps=25)
    np.testing.assert_allclose(of_array.scores, of_file.scores, atol=1e-6)
    assert of_array.path == "array[1]"


@pytest.mark.parametrize(
    "frames", [np.zeros((4, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((4, 8, 0, 3), np.uint8)]
)
def test_an_array_that_is_no_clip_is_refused(predictor, frames):
    with pytest.raises(UserError, match=r"uint8 \[T, H, W, 3\]"):
        predictor.predict(frames)


@pytest.mark.parametrize("fps", [0, -5, float("nan"), float("inf"), "25", [25, 30]])
def test_a_rate_that_is_none_is_refused(predictor, fps):
    with pytest.raises(UserError, match="fps: expected frames per second, a number above 0"):
        predictor.predict(np.zeros((9, 32, 32, 3), np.uint8), fps=fps)


def test_top_classes_come_with_names_best_first(predictor, tiny):
    prediction = predictor.predict(tiny.videos[0])[0]
    top = prediction.top(NUM_CLASSES + 3)
    assert [score for _, score, _ in top] == sorted((float(s) for s in prediction.scores), reverse=True)
    assert all(name == LABELS[i] for i, _, name in top) and len(top) == NUM_CLASSES


@pytest.mark.parametrize("k", [0, -1, 2.5, "3"])
def test_a_number_of_classes_that_is_none_is_refused(k):
    with pytest.raises(ValueError, match="k: expected a whole number from 1 on"):
        Prediction("x", np.array([0.2, 0.4], np.float32)).top(k)


def test_equal_scores_are_in_class_order():
    assert [i for i, _, _ in Prediction("x", np.array([0.2, 0.4, 0.4], np.float32)).top(3)] == [1, 2, 0]


def test_a_bad_file_raises_after_what_was_read_before_it(tiny):
    predictor = Predictor.from_export(tiny.folder, batch_size=8)
    stream = predictor.stream([tiny.videos[0], tiny.root / "none.mp4", tiny.videos[1]])
    assert next(stream).path == str(tiny.videos[0])
    with pytest.raises(VideoReadError, match="none.mp4"):
        next(stream)


def test_a_bad_file_can_be_skipped_without_disturbing_the_others(tiny, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    predictor = Predictor.from_export(tiny.folder, batch_size=2)
    first, bad, second = predictor.predict([tiny.videos[0], tmp_path / "text.mp4", tiny.videos[1]], on_error="skip")
    assert "text.mp4" in bad.error and bad.scores is None
    assert bad.top(3) == bad.best() == bad.best(threshold=0.1) == []
    expected = predictor.predict([tiny.videos[0], tiny.videos[2], tiny.videos[1]])
    np.testing.assert_allclose(first.scores, expected[0].scores, atol=1e-6)
    np.testing.assert_allclose(second.scores, expected[2].scores, atol=1e-6)


def test_finds_the_json_for_the_pdmodel(tiny):
    reported = []
    predictor = Predictor.from_export(tiny.folder / "TSM.pdmodel", tiny.folder / "TSM.pdiparams", say=reported.append)
    assert predictor.model.name.endswith("TSM.json") and "TSM.json" in reported[0]


def test_an_export_without_description_needs_a_pipeline(tiny, tmp_path):
    for name in ("TSM.json", "TSM.pdiparams"):
        shutil.copy(tiny.folder / name, tmp_path)
    with pytest.raises(UserError, match="inference.yml: not there"):
        Predictor.from_export(tmp_path / "TSM.json")
    predictor = Predictor.from_export(tmp_path / "TSM.json", pipeline=tiny_config()["PIPELINE"]["test"], labels=LABELS)
    (prediction,) = predictor.predict(tiny.videos[0])
    np.testing.assert_allclose(prediction.scores, Predictor.from_export(tiny.folder).predict(tiny.videos[0])[0].scores)


def test_a_pipeline_of_other_sizes_is_refused_with_both(tiny):
    pipeline = tiny_config()["PIPELINE"]["test"]
    pipeline["transform"][1]["CenterCrop"]["target_size"] = 24
    predictor = Predictor.from_export(tiny.folder, pipeline=pipeline)
    with pytest.raises(UserError, match=r"\[1, 4, 24, 24, 3\].*\[1, 4, 32, 32, 3\]"):
        predictor.predict(tiny.videos[0])


@pytest.mark.parametrize("name", ["TSM.json", "TSM.pdiparams"])
@pytest.mark.parametrize("described", [True, False])
def test_a_damaged_file_is_named(tiny, tmp_path, name, described):
    folder = tmp_path / "copy"
    shutil.copytree(tiny.folder, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:500])
    if not described:
        (folder / "inference.yml").unlink()
    with pytest.raises(UserError, match=name):
        Predictor.from_export(folder / "TSM.json", pipeline=tiny_config()["PIPELINE"]["test"])


def test_missing_files_are_named(tiny, tmp_path):
    with pytest.raises(UserError, match="TSM.json"):
        Predictor.from_export(tmp_path / "TSM.pdmodel")
    shutil.copy(tiny.folder / "TSM.json", tmp_path)
    with pytest.raises(UserError, match="TSM.pdiparams"):
        Predictor.from_export(tmp_path / "TSM.json")
    with pytest.raises(UserError, match="no exported model"):
        Predictor.from_export(tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("- a list", "damaged .the top level must be a mapping"),
        ("a: [", "damaged"),
        ("format_version: 99", "format 99"),
        ("format_version: 1\nprogram: TSM.json", "lacks params"),
    ],
)
def test_a_damaged_description_is_named(tiny, tmp_path, text, message):
    folder = tmp_path / "copy"
    shutil.copytree(tiny.folder, folder)
    (folder / "inference.yml").write_text(text)
    with pytest.raises(UserError, match=message):
        Predictor.from_export(folder / "TSM.json")


def test_labels_that_do_not_fit_are_refused(tiny):
    with pytest.raises(UserError, match="2 class names, but the model has 5"):
        Predictor.from_export(tiny.folder, labels=["a", "b"])


@pytest.mark.parametrize(
    "choice, way_out",
    [
        pytest.param({"use_gpu": True}, "--use_gpu=False", marks=pytest.mark.scorecard(37)),
        ({"use_tensorrt": True}, "--use_tensorrt=False"),
        ({"precision": "fp16"}, "--precision=fp32"),
        ({"precision": "int8"}, "--precision=fp32"),
        ({"use_xpu": True}, "--use_xpu"),
        ({"use_npu": True}, "--use_npu"),
        ({"cpu_threads": 0}, "at least 1"),
    ],
)
def test_what_this_machine_lacks_is_an_error_with_the_way_out(tiny, choice, way_out):
    import paddle

    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=way_out):
        Predictor.from_export(tiny.folder, runtime=Runtime(**choice))


def test_onednn_on_request_gives_the_same_scores(tiny, predictor):
    (prediction,) = Predictor.from_export(tiny.folder, runtime=Runtime(enable_mkldnn=True)).predict(tiny.videos[0])
    np.testing.assert_allclose(prediction.scores, predictor.predict(tiny.videos[0])[0].scores, atol=1e-4)


def test_without_onednn_where_onednn_cannot_load_the_model(tiny, monkeypatch):
    import paddle.inference

    real, reported = paddle.inference.create_predictor, []

    def create(config):
        if config.mkldnn_enabled():
            raise RuntimeError("C++ trace\n(InvalidArgument) type mismatch in a fuse pass (at /paddle/x.cc:1)")
        return real(config)

    monkeypatch.setattr(paddle.inference, "create_predictor", create)
    predictor = Predictor.from_export(tiny.folder, runtime=Runtime(enable_mkldnn=True), say=reported.append)
    assert predictor.predict(tiny.videos[0])[0].scores.shape == (NUM_CLASSES,)
    assert reported == [
        "oneDNN cannot run this model under this Paddle ((InvalidArgument) type mismatch in a fuse pass); "
        "running without it"
    ]


_OLD_EXPORT = """
import sys, paddle
from paddle import nn
paddle.seed(1)
class Net(nn.Layer):  # logits of PaddleVideo's 2D layout [N, T, 3, H, W]
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 5)
    def forward(self, imgs):
        return self.fc(imgs.mean([1, 3, 4])) * 4
net = Net(); net.eval()
spec = [paddle.static.InputSpec([None, 4, 3, 32, 32], "float32", name="data_batch")]
paddle.jit.save(paddle.jit.to_static(net, input_spec=spec, full_graph=True), sys.argv[1])
paddle.save(net.state_dict(), sys.argv[2])
"""


def test_reads_what_paddlevideo_exported_under_paddle_2(tiny, tmp_path):
    """A .pdmodel, float input, no inference.yml, logits: the pipeline comes from the configuration."""
    from paddlevideo.safe_io import read_pickle

    stem, weights = tmp_path / "ppTSM", tmp_path / "w.pdparams"
    environment = {"FLAGS_enable_pir_api": "0", "PATH": "", "HOME": str(tmp_path)}
    script = tmp_path / "old_export.py"
    script.write_text(_OLD_EXPORT)
    command = [sys.executable, str(script), str(stem), str(weights)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    reported, section = [], tiny_config()["PIPELINE"]["test"]
    predictor = Predictor.from_export(f"{stem}.json", pipeline=section, say=reported.append)
    assert "ppTSM.pdmodel" in reported[0]
    (prediction,) = predictor.predict(tiny.videos[0])
    sample = {"filename": str(tiny.videos[0]), "index": 0}
    imgs = Pipeline(section, "x")(sample, np.random.default_rng(0))["imgs"][0]
    x = (imgs / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    state = read_pickle(weights)
    logits = (x.mean((0, 1, 2)) @ state["fc.weight"] + state["fc.bias"]) * 4
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(prediction.scores, expected, atol=1e-5)


def test_the_description_of_another_model_in_the_folder_is_not_used(tiny, tmp_path):
    reported = []
    for name in ("TSM.json", "TSM.pdiparams"):
        shutil.copy(tiny.folder / name, tmp_path / name.replace("TSM", "other"))
    shutil.copy(tiny.folder / "inference.yml", tmp_path)
    with pytest.raises(UserError, match="not there|not known"):
        Predictor.from_export(tmp_path / "other.json", say=reported.append)
    assert "is about TSM.json" in reported[0]


def test_files_of_two_exports_do_not_mix(tiny, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny.folder, folder)
    noted = yaml.safe_load((folder / "inference.yml").read_text())
    noted["files"]["TSM.pdiparams"] = "0" * 64
    (folder / "inference.yml").write_text(yaml.safe_dump(noted))
    with pytest.raises(UserError, match="TSM.pdiparams: differs"):
        Predictor.from_export(folder / "TSM.json")


def test_a_pipeline_for_extracted_frames_reads_a_video_file_directly(tiny, predictor):
    section = tiny_config()["PIPELINE"]["test"]
    section["decode"] = {"name": "FrameDecoder"}
    (prediction,) = Predictor.from_export(tiny.folder, pipeline=section).predict(tiny.videos[0])
    np.testing.assert_allclose(prediction.scores, predictor.predict(tiny.videos[0])[0].scores, atol=1e-6)


@pytest.mark.parametrize("shape, axes", [((-1, 8, 3, 4, 5), (0, 1, 4, 2, 3)), ((-1, 3, 8, 4, 5), (0, 4, 1, 2, 3))])
def test_clips_in_paddlevideos_axis_orders(shape, axes):
    imgs = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 4, 5, 3), dtype=np.uint8)  # N V T H W C
    got = to_foreign_layout(imgs, shape, ([0.4, 0.5, 0.6], [0.1, 0.2, 0.3]))
    wanted = ((imgs / 255.0 - [0.4, 0.5, 0.6]) / [0.1, 0.2, 0.3]).reshape(2, 8, 4, 5, 3).transpose(axes)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    assert got.dtype == np.float32 and got.flags.c_contiguous


def test_probabilities_stay_and_logits_become_some():
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5]], np.float32)
    assert to_probabilities(probabilities) is probabilities
    np.testing.assert_allclose(to_probabilities(np.array([[3.0, 1.0]])), [[0.880797, 0.119203]], rtol=1e-5)
    with pytest.raises(UserError, match="PaddleVideo's 2D and 3D"):
        to_foreign_layout(np.zeros((1, 1, 4, 4, 5, 3), np.uint8), (-1, 12, 4, 5), None)


def test_other_names_than_the_models_are_refused_and_another_order_is_mapped(tiny, tmp_path):
    reported = []
    turned = Predictor.from_export(tiny.folder, labels=LABELS[::-1], say=reported.append)
    assert turned.names == LABELS and any("another order" in line for line in reported)
    with pytest.raises(UserError, match="only in inference.yml: eating cake; not there: z"):
        Predictor.from_export(tiny.folder, labels=[*LABELS[:-1], "z"])


def test_workers_change_nothing(tiny, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    sources = [tiny.videos[0], tmp_path / "text.mp4", *tiny.videos[1:], tiny.videos[0]]
    runs = []
    for num_workers in (0, 1, 2, None):
        predictor = Predictor.from_export(tiny.folder, batch_size=2, num_workers=num_workers)
        runs.append(predictor.predict(sources, on_error="skip"))
    for run in runs:
        for one, first in zip(run, runs[0], strict=True):
            assert (one.path, one.error, one.span_s) == (first.path, first.error, first.span_s)
            assert one.scores is None if first.scores is None else np.array_equal(one.scores, first.scores)
            assert one.prepare_s > 0 and one.wait_s >= 0
    assert all(one.wait_s == one.prepare_s for one in runs[0])  # nothing is decoded ahead
    stream = Predictor.from_export(tiny.folder, num_workers=1).stream(sources)
    assert next(stream).path == str(tiny.videos[0])
    with pytest.raises(VideoReadError, match="text.mp4"):
        next(stream)


def test_a_worker_that_dies_is_named_with_its_video(tiny, monkeypatch):
    parent, clip = os.getpid(), Predictor.clip

    def killed(predictor, source, *rest):
        if os.getpid() != parent and source == tiny.videos[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return clip(predictor, source, *rest)

    monkeypatch.setattr(Predictor, "clip", killed)
    stream = Predictor.from_export(tiny.folder, num_workers=1).stream(tiny.videos)
    assert next(stream).path == str(tiny.videos[0])
    with pytest.raises(VideoReadError, match=r"clip 1.mp4: crashed .*exit code -9.*fewer --num_workers.*tried twice"):
        next(stream)
    assert multiprocessing.active_children() == []


def test_where_processes_cannot_be_forked_videos_are_decoded_in_turn(tiny, monkeypatch):
    monkeypatch.setattr(predictor_module, "can_fork", lambda: False)
    lines = []
    predictor = Predictor.from_export(tiny.folder, num_workers=2, say=lines.append)
    assert len(predictor.predict(tiny.videos)) == 3 and [line for line in lines if "cannot fork" in line] == lines


def test_a_mistake_of_the_pipeline_is_the_same_from_a_worker(tiny):
    pipeline = tiny_config()["PIPELINE"]["test"]
    pipeline["transform"][1]["CenterCrop"]["target_size"] = 24
    texts = []
    for num_workers in (0, 1):
        predictor = Predictor.from_export(tiny.folder, pipeline=pipeline, num_workers=num_workers)
        with pytest.raises(UserError) as raised:
            predictor.predict(tiny.videos)
        texts.append(str(raised.value))
    assert texts[0] == texts[1]
