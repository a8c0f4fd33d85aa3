"""int8: calibration on the export's own pipeline, the cost by hand, and a form that runs only where it is named."""

import dataclasses
import importlib.util
import os
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.inference import quantisation
from paddlevideo.inference.export import _move_to_target, export
from paddlevideo.inference.export_check import random_clips
from paddlevideo.inference.exported import MULTI_LABEL, Export, read_description
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.quantisation import Cost, LabelledVideos, lines_of, quantise
from paddlevideo.inference.runtimes.base import Runtime
from paddlevideo.inference.runtimes.choice import Timed, described, fastest, resolved
from paddlevideo.inference.runtimes.onnx import OnnxModel
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.safe_io import sha256
from tests.tiny_export import LABELS, NUM_CLASSES, write_config, write_video, write_weights
from tests.unit.inference.test_views import three_crop_config

INT8 = Runtime(backend="onnx", precision="int8")
SHAPE = (1, 4, 32, 32, 3)
HAS_LIBRARIES = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
needs_libraries = pytest.mark.skipif(not HAS_LIBRARIES, reason="onnx or onnxruntime is not installed")
needs_converter = pytest.mark.skipif(
    importlib.util.find_spec("paddle2onnx") is None, reason="paddle2onnx is not installed"
)


def write_network(file, seed=0):
    """imgs uint8 [N, 1, 4, 32, 32, 3] -> scores [N, K]: two convolutions per frame, a mean over frames, a softmax."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(seed)
    weights = {
        "scale": np.float32(1 / 255), "frames": np.array([-1, 32, 32, 3]), "clips": np.array([-1, 4, 8]),
        "w1": rng.normal(0, 0.4, (8, 3, 3, 3)), "w2": rng.normal(0, 0.2, (8, 8, 3, 3)),
        "fc": rng.normal(0, 1.0, (8, NUM_CLASSES)),
    }  # fmt: skip
    steps = [
        ("Cast", ["imgs"], {"to": TensorProto.FLOAT}), ("Mul", ["Cast", "scale"], {}),
        ("Reshape", ["Mul", "frames"], {}), ("Transpose", ["Reshape"], {"perm": [0, 3, 1, 2]}),
        ("Conv", ["Transpose", "w1"], {"strides": [2, 2]}), ("Relu", ["Conv"], {}),
    ]  # fmt: skip
    nodes = [helper.make_node(kind, given, [kind], **options) for kind, given, options in steps]
    nodes += [
        helper.make_node("Conv", ["Relu", "w2"], ["second"]),
        helper.make_node("GlobalAveragePool", ["second"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "clips"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["features"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["features", "fc"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.asarray(value, np.float32 if value.dtype == np.float64 else value.dtype), name)
        for name, value in weights.items()
    ]
    given = helper.make_tensor_value_info("imgs", TensorProto.UINT8, ["N", *SHAPE])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", NUM_CLASSES])
    graph = helper.make_graph(nodes, "network", [given], [scores], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny.folder, tmp_path / "exported")


@pytest.fixture
def with_network(copy, monkeypatch):
    """The export with another network as its ONNX form, which therefore is not compared with the program."""
    monkeypatch.setattr(quantisation, "_compared", lambda *_: None)
    noted = yaml.safe_load((copy / "inference.yml").read_text())
    noted["files"]["TSM.onnx"] = sha256(write_network(copy / "TSM.onnx"))
    (copy / "inference.yml").write_text(yaml.safe_dump(noted))
    return copy


@pytest.fixture
def videos(tmp_path):
    """A list of six videos with labels, its paths relative to its folder."""
    folder = tmp_path / "some videos"
    folder.mkdir()
    for i in range(6):
        write_video(folder / f"clip_{i}.mp4", seed=i)
    (folder / "all.list").write_text("".join(f"clip_{i}.mp4 {i % NUM_CLASSES}\n" for i in range(6)))
    return folder / "all.list"


# ---- the cost


def test_the_cost_by_hand():
    scores = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.4, 0.3, 0.3]])
    changed = np.array([[0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.4, 0.2, 0.4]])
    cost = Cost.of(scores, changed, np.array([0, 1, 2, 1]))
    # float: right, right, right, wrong; int8: right, wrong (2), right, wrong (a tie: class 0)
    assert cost.accuracy == {"top1": {"float": 0.75, "int8": 0.5}, "top5": {"float": 1.0, "int8": 1.0}}
    assert (cost.num_clips, cost.same_top1) == (4, 0.75)
    np.testing.assert_allclose([cost.max_difference, cost.mean_difference], [0.2, 0.8 / 12])
    assert Cost.of(scores, changed, None) == dataclasses.replace(cost, accuracy={})


def test_the_cost_of_several_labels_is_in_average_precision():
    labels = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.6]])
    changed = np.array([[0.9, 0.1], [0.8, 0.8], [0.7, 0.6]])  # class 0: positives at ranks 1 and 3
    accuracy = Cost.of(scores, changed, labels).accuracy
    assert accuracy == {"mAP": {"float": 1.0, "int8": pytest.approx((0.5 * (1 + 2 / 3) + 1.0) / 2)}}


def section(**changes):
    cost = {
        "num_clips": 4, "accuracy": {"top1": {"float": 0.75, "int8": 0.5}}, "same_top1": 0.75, "max_difference": 0.2,
        "mean_difference": 0.01, "ms": {"float": 30.0, "int8": 20.0}, "mb": {"float": 4.0, "int8": 1.0},
    }  # fmt: skip
    noted = {
        "calibration": "train.list", "num_clips": 9, "evaluation": "test.list", "held_out": True, "cpu": "X",
        "cpu_threads": 1,
    }  # fmt: skip
    return {**noted, **changes, "cost": {**cost, **changes.get("cost", {})}}


def test_the_printed_table():
    text = "\n".join(lines_of(section()))
    assert "X, 1 thread: 4 clips of test.list, not calibrated on; calibrated on 9 of train.list" in text
    assert ["top1", "75.00%", "50.00%", "-25.00", "points"] in [line.split() for line in text.splitlines()]
    assert "30.00     20.00  per clip, 1.50 to 1" in text and "4.00      1.00  file, 4.00 to 1" in text
    assert "the same top-1 class: 75.00% of the clips; difference of a score: largest 0.2, mean 0.01" in text
    assert "no labels" not in text and "4 clips of test.list, calibrated on;" in next(lines_of(section(held_out=False)))
    assert "test.list has no labels" in "\n".join(lines_of(section(cost={"accuracy": {}})))


# ---- videos and labels


def test_what_a_list_or_a_folder_holds(tiny, videos):
    description = read_description(tiny.folder)
    folder = videos.parent
    paths = [str(folder / f"clip_{i}.mp4") for i in range(6)]
    found = LabelledVideos.read(videos, description)
    assert (list(found.paths), found.labels.tolist()) == (paths, [0, 1, 2, 3, 4, 0])
    (folder / "named.csv").write_text(f"{paths[0]},{LABELS[3]}\n")  # class names stand for their numbers
    assert LabelledVideos.read(folder / "named.csv", description).labels.tolist() == [3]
    (folder / "paths.txt").write_text("clip_1.mp4\nclip_0.mp4\n")
    found = LabelledVideos.read(folder / "paths.txt", description)
    assert ([path[-10:] for path in found.paths], found.labels) == (["clip_1.mp4", "clip_0.mp4"], None)
    found = LabelledVideos.read(folder, description)
    assert (list(found.paths), found.labels) == (paths, None)
    (folder / "by class" / LABELS[1]).mkdir(parents=True)
    shutil.copy(paths[0], folder / "by class" / LABELS[1])
    assert LabelledVideos.read(folder / "by class", description).labels.tolist() == [1]
    (folder / "several.list").write_text(f"{paths[0]} 0;2\n{paths[1]} ;\n")
    several = dataclasses.replace(description, score_type=MULTI_LABEL)
    assert LabelledVideos.read(folder / "several.list", several).labels.tolist() == [[1, 0, 1, 0, 0], [0] * 5]


def test_a_list_keeps_videos_that_are_not_there(tiny, videos):
    """A missing video is an error of that video, and does not change what the other lines are."""
    description, file = read_description(tiny.folder), videos.with_name("other.list")
    for text, names, labels in (
        ("my 9th clip.mp4\nclip_0.mp4\nclip_1.mp4\n", ["my 9th clip.mp4", "clip_0.mp4", "clip_1.mp4"], None),
        ("clip_9.mp4 1\nclip_0.mp4 2\n", ["clip_9.mp4", "clip_0.mp4"], [1, 2]),
        ("clip_0.mp4 1\nclip_9.mp4 2\n", ["clip_0.mp4", "clip_9.mp4"], [1, 2]),
    ):
        file.write_text(text)
        found = LabelledVideos.read(file, description)
        assert [os.path.basename(path) for path in found.paths] == names
        assert labels == (None if found.labels is None else found.labels.tolist())
        there = [path for path in found.paths if os.path.isfile(path)]
        assert [os.path.basename(path) for path in there] == [name for name in names if "9" not in name]


def test_a_video_that_hangs_is_left_out_after_the_limit():
    model = SimpleNamespace(inputs=[SimpleNamespace(name="imgs")])
    predictor = SimpleNamespace(model=model, timeout_s=0.05, clip=lambda path, index: time.sleep(20))
    lines = []
    clips = quantisation.ClipsOfVideos(predictor, LabelledVideos("a list", ["slow.mp4"]), "skip", lines.append)
    started = time.perf_counter()
    with pytest.raises(UserError, match="a list: none of 1 videos could be read"):
        list(clips)
    assert time.perf_counter() - started < 10 and "timeout_s" in lines[0]


def test_lists_that_are_mistakes_are_named(tiny, videos):
    description, file = read_description(tiny.folder), videos.with_name("other.list")
    for text, error, named in (
        ("", UserError, "the list is empty"),
        ("clip_0.mp4 7\n", ConfigError, "num_classes of inference.yml is 5"),
    ):
        file.write_text(text)
        with pytest.raises(error, match=named):
            LabelledVideos.read(file, description)
    for path, named in (
        (file.with_name("no.list"), "no such file"),
        (file.with_name("clip_0.mp4"), "a video; expected"),
    ):
        with pytest.raises(UserError, match=named):
            LabelledVideos.read(path, description)


def test_the_parts_are_disjoint_in_order_and_the_same_each_time(tiny, videos):
    whole = LabelledVideos.read(videos, read_description(tiny.folder))
    used, rest = whole.parted(4)
    assert (len(used), len(rest)) == (4, 2) and sorted([*used.paths, *rest.paths]) == list(whole.paths)
    assert list(used.paths) == sorted(used.paths) and whole.parted(4)[0].paths == used.paths
    assert [whole.labels[whole.paths.index(path)] for path in rest.paths] == rest.labels.tolist()
    assert [len(part) for part in whole.parted(100)] == [6, 0]


# ---- quantisation


@needs_libraries
def test_int8_scores_of_a_small_network_are_close_to_float(tmp_path):
    source = write_network(tmp_path / "M.onnx")
    clips = random_clips(np.zeros(SHAPE, np.uint8), 12)
    quantisation._calibrate(source, tmp_path / "M.int8.onnx", iter([{"imgs": clip[None]} for clip in clips[:8]]))
    usual = OnnxModel(source, Runtime(backend="onnx"))(clips)
    scores = OnnxModel(tmp_path / "M.int8.onnx", INT8)(clips)
    np.testing.assert_allclose(scores, usual, atol=0.02)
    assert np.abs(scores - usual).max() > 1e-6  # it is another network
    import onnx

    kinds = [node.op_type for node in onnx.load(tmp_path / "M.int8.onnx").graph.node]
    assert kinds.count("DequantizeLinear") > 3
    stored = {w.name: w.data_type for w in onnx.load(tmp_path / "M.int8.onnx").graph.initializer}
    assert sum(kind == onnx.TensorProto.INT8 and "zero" not in name for name, kind in stored.items()) == 3  # w1, w2, fc


@needs_libraries
@needs_converter
def test_the_whole_way_on_videos(copy, videos, capsys):
    words = ["export", "--int8", str(copy), "--calibration", str(videos), "--num_calibration", "4"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "2 clips of all.list, not calibrated on; calibrated on 4 of all.list" in printed and "top1" in printed
    noted = read_description(copy)
    assert noted.files["TSM.int8.onnx"] == sha256(copy / "TSM.int8.onnx") and noted.files["TSM.onnx"]
    assert (noted.int8["num_clips"], noted.int8["cost"]["num_clips"], noted.int8["held_out"]) == (4, 2, True)
    assert set(noted.int8["cost"]["accuracy"]) == {"top1", "top5"} and list(noted.int8["cost"]["ms"]) == [
        "float",
        "int8",
    ]
    # the predictor's scores are those that the cost was measured on
    rest = LabelledVideos.read(videos, noted).parted(4)[1]
    scores = [
        np.stack([p.scores for p in Predictor.from_export(copy, runtime=runtime).predict(rest.paths)])
        for runtime in (Runtime(backend="onnx"), INT8)
    ]
    assert np.abs(np.float64(scores[1]) - scores[0]).max() == noted.int8["cost"]["max_difference"]
    assert 0 < noted.int8["cost"]["max_difference"] < 0.2
    assert main(["predict", "-i", rest.paths[0], "--model_file", str(copy), "--precision", "int8", "--backend",
                 "onnx", "--use_gpu", "False"]) == 0  # fmt: skip
    (copy / "TSM.int8.onnx").write_bytes((copy / "TSM.onnx").read_bytes())
    with pytest.raises(UserError, match="TSM.int8.onnx: differs"):
        Predictor.from_export(copy, runtime=INT8)


@needs_libraries
def test_where_all_clips_calibrate_the_cost_is_marked(with_network, videos):
    lines = []
    quantise(with_network, videos, say=lines.append)
    assert "all 6 clips calibrate, so the cost is measured on the calibration clips" in lines[0]
    assert (
        "6 clips of all.list, calibrated on" in "\n".join(lines) and not read_description(with_network).int8["held_out"]
    )
    quantise(with_network, videos, evaluation=videos.parent, say=lines.append)
    assert any("6 of 6 videos of" in line and "calibrate as well" in line for line in lines)
    assert any("has no labels: no accuracy, the agreement only" in line for line in lines)


@needs_libraries
def test_a_video_that_cannot_be_read_ends_it_or_is_a_line(with_network, videos):
    (videos.parent / "clip_2.mp4").write_bytes(b"no video")
    with pytest.raises(VideoReadError, match=r"clip_2.mp4"):
        quantise(with_network, videos)
    assert not (with_network / "TSM.int8.onnx").exists() and read_description(with_network).int8 == {}
    lines = []
    quantise(with_network, videos, on_error="skip", say=lines.append)
    noted = read_description(with_network).int8
    assert (noted["num_clips"], noted["cost"]["num_clips"]) == (5, 5)
    assert any(line.startswith("skipped: ") and "clip_2.mp4" in line for line in lines)
    for file in videos.parent.glob("*.mp4"):
        file.write_bytes(b"no video")
    with pytest.raises(UserError, match="none of 6 videos could be read"):
        quantise(with_network, videos, on_error="skip", say=lines.append)


@needs_libraries
def test_an_onnx_form_with_other_scores_than_the_program_is_refused(copy, videos):
    write_network(copy / "TSM.onnx")
    with pytest.raises(UserError, match="TSM.onnx: differs from the exported program: .*; nothing was written"):
        quantise(copy, videos)
    assert not (copy / "TSM.int8.onnx").exists()


@pytest.mark.slow
@needs_libraries
@needs_converter
def test_a_converted_transformer_of_three_crops_in_int8(tiny, videos, tmp_path):
    config = write_config(tmp_path, three_crop_config("prob"))
    weights = write_weights(config, tmp_path / "w.pdparams", tiny.videos)
    export(load_config(config), weights, tmp_path / "e", say=lambda line: None)
    lines = []
    file = quantise(tmp_path / "e", videos, num_calibration=4, say=lines.append)
    noted = read_description(tmp_path / "e")
    assert file == tmp_path / "e" / "TimeSformer.int8.onnx"
    assert {"TimeSformer.onnx", "TimeSformer.int8.onnx"} < set(noted.files)
    assert 0 < noted.int8["cost"]["max_difference"] < 0.05
    assert noted.int8["cost"]["mb"]["int8"] < noted.int8["cost"]["mb"]["float"]
    assert lines[0].startswith("calibrating on 4 clips of ") and "measuring on 2 of" in lines[0]


# ---- where it runs


def test_int8_is_never_chosen_by_itself(tmp_path, monkeypatch):
    from paddlevideo.inference.runtimes import choice

    monkeypatch.setattr(choice, "installed", lambda backend: True)
    usual = Timed("paddle", cpu_threads=2, ms=100.0, max_difference=0.0, agrees=True)
    quick = Timed("onnx", precision="int8", cpu_threads=2, ms=1.0, max_difference=0.0, agrees=True)
    for name in ("M.json", "M.onnx", "M.int8.onnx"):
        (tmp_path / name).touch()
    assert fastest([usual, quick]) == usual
    found = resolved(Runtime(), described([usual, quick], "1 clip"), tmp_path / "M", tmp_path / "inference.yml", print)
    assert (found.backend, found.precision) == ("paddle", "fp32")


@pytest.mark.parametrize(
    "runtime, named",
    [
        (Runtime(precision="int8"), "--backend onnx and the file that paddlevideo export --int8 makes"),
        (Runtime(backend="paddle", precision="int8"), "int8 needs TensorRT"),
        (Runtime(backend="openvino", precision="int8"), "runs in float32 or bf16"),
        (Runtime(backend="onnx", precision="fp16"), "runs in float32 or int8"),
    ],
)
def test_int8_elsewhere_is_refused(runtime, named):
    with pytest.raises(UserError, match=named):
        runtime.device()


@needs_libraries
def test_a_missing_int8_file_is_a_line_with_the_command(copy):
    with pytest.raises(
        UserError, match=r"TSM.int8.onnx: not there, .* paddlevideo export --int8 .* --calibration LIST"
    ):
        Predictor.from_export(copy, runtime=INT8)


def test_an_export_over_another_one_leaves_no_int8_of_other_weights(tmp_path):
    made, earlier = tmp_path / "made", tmp_path / "earlier"
    for folder, names in ((made, ("M.json", "M.onnx")), (earlier, ("M.json", "M.onnx", "M.int8.onnx"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(folder.name)
    _move_to_target(made, earlier)
    assert {file.name: file.read_text() for file in earlier.iterdir()} == {"M.json": "made", "M.onnx": "made"}


# ---- refusals


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--int8", "x"], "--calibration LIST"),
        (["-c", "tsm_own_videos", "--calibration", "x"], "one needs the other"),
        (["-c", "tsm_own_videos", "--evaluation", "x"], "needs both"),
        (["--int8", "x", "--time", "x", "--calibration", "y"], "--time, --int8: name one of them"),
        (["--calibration", "y"], "name the configuration to export (-c CFG)"),
        (["--int8", "x", "--calibration", "y", "--timing", "none"], "--timing: --int8 takes an export as it is"),
        (["--time", "x", "--timing", "none", "--on_error", "skip"], "--timing, --on_error: --time takes an export"),
        (["-c", "tsm_own_videos", "--on_error", "skip"], "--on_error: of --int8 and of a quantisation file"),
        (["--int8", "not there", "--calibration", "y"], "not there: no such model file"),
        (["--int8", "x", "--calibration", "y", "--out", "z", "-o", "a=1"], "--out, -o: --int8 takes an export"),
        (["--time", "x", "-w", "y", "--format", "onnx"], "-w, --format: --time takes an export as it is"),
    ],
)
def test_the_command_names_what_goes_together(arguments, named, capsys):
    assert main(["export", *arguments]) == 2
    assert named in capsys.readouterr().err


@needs_libraries
def test_exports_that_cannot_be_quantised_are_named(copy, tiny, tmp_path, monkeypatch):
    noted = read_description(copy)
    detection = Export(copy / noted.program, copy / noted.params, dataclasses.replace(noted, detection={"inputs": []}))
    with pytest.raises(UserError, match="takes persons' boxes as well as clips"):
        quantisation._checked(detection)
    monkeypatch.setattr(quantisation, "can_convert", lambda: False)
    with pytest.raises(UserError, match="TSM.onnx: not there, and paddle2onnx, .* pip install paddle2onnx"):
        quantise(copy, tiny.root / "videos")
    (copy / "TSM.pdiparams").write_bytes(b"other")
    with pytest.raises(UserError, match="TSM.pdiparams: differs"):
        quantise(copy, tiny.root / "videos")
    (copy / "TSM.json").rename(tmp_path / "TSM.json")
    write_network(copy / "TSM.onnx")
    with pytest.raises(UserError, match="TSM.json: not there; int8 is compared with Paddle's program"):
        quantise(copy, tiny.root / "videos")
    (tmp_path / "TSM.json").rename(copy / "TSM.json")
    (copy / "inference.yml").unlink()
    with pytest.raises(UserError, match="inference.yml: not there"):
        quantise(copy / "TSM.json", tiny.root / "videos")


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx"])
def test_a_missing_library_is_named(missing, copy, tiny, monkeypatch):
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, find=importlib.util.find_spec: name != missing or None
    )
    with pytest.raises(UserError, match=f"pip install {missing}$"):
        quantise(copy, tiny.root / "videos")
