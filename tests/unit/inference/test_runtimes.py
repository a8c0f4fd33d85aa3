"""Which runtime runs an export: what was timed, what the caller names, what is there; and the ONNX form."""

import dataclasses
import gc
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import yaml

import paddlevideo
from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.environment import cpu_name
from paddlevideo.errors import UserError
from paddlevideo.inference import export as export_module
from paddlevideo.inference import timing
from paddlevideo.inference.export import export
from paddlevideo.inference.export_check import Reference, random_clips, same_but_for_views
from paddlevideo.inference.exported import read_description
from paddlevideo.inference.person_detectors import PersonDetector
from paddlevideo.inference.predictor import Predictor, load
from paddlevideo.inference.runtimes import base, choice, onnx
from paddlevideo.inference.runtimes.base import Runtime
from paddlevideo.inference.runtimes.choice import Timed, described, fastest, resolved
from paddlevideo.modeling.frameworks.base import Recognizer
from paddlevideo.safe_io import read_json, sha256
from tests.tiny_export import NUM_CLASSES, write_config, write_weights
from tests.unit.inference.test_views import three_crop_config

PLAIN = Timed("paddle", cpu_threads=2, ms=100.0, max_difference=0.0, agrees=True)
ONEDNN = Timed("paddle", True, cpu_threads=2, ms=50.0, max_difference=1e-7, agrees=True)
BF16 = Timed("paddle", True, "bf16", cpu_threads=2, ms=10.0, max_difference=1e-3)
ORT = Timed("onnx", cpu_threads=1, ms=20.0, max_difference=1e-7, agrees=True)
WRONG = Timed("openvino", cpu_threads=2, ms=5.0, max_difference=0.5)
FAILED = Timed("openvino", cpu_threads=2, error="no such operator")
ROWS = [PLAIN, ONEDNN, BF16, ORT, WRONG, FAILED]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with NAME.json and NAME.onnx on a machine that has every runtime."""
    monkeypatch.setattr(choice, "installed", lambda backend: True)
    monkeypatch.setattr(base, "installed", lambda backend: True)
    monkeypatch.setattr(base, "has_bf16", lambda: True)
    monkeypatch.setattr(choice, "available_cores", lambda: 2)
    for ending in ("json", "onnx"):
        (tmp_path / f"M.{ending}").touch()
    return tmp_path


def chosen(place, runtime, rows=ROWS, **changes):
    lines = []
    found = resolved(
        runtime, {**described(rows, "1 clip"), **changes}, place / "M", place / "inference.yml", lines.append
    )
    return (found.backend, bool(found.enable_mkldnn), found.cpu_threads), lines


def test_the_fastest_in_float32_that_agrees_is_noted_and_noise_keeps_paddle():
    section = described(ROWS, "1 clip")
    assert (section["backend"], section["cpu_threads"], section["cpu"]) == ("onnx", 1, cpu_name())
    assert [Timed(**row) for row in section["timed"]] == ROWS
    assert fastest([PLAIN, dataclasses.replace(ONEDNN, ms=99.0)]) == PLAIN
    assert described([BF16, WRONG, FAILED], "1 clip") == {}


@pytest.mark.parametrize(
    "runtime, wanted",
    [
        (Runtime(), ("onnx", False, 1)),
        (Runtime(cpu_threads=2), ("onnx", False, 2)),
        (Runtime(backend="paddle"), ("paddle", True, 2)),
        (Runtime(enable_mkldnn=False), ("paddle", False, 2)),
        (Runtime(backend="openvino"), ("openvino", False, None)),  # none agrees, but it is what the caller names
        (Runtime(precision="bf16"), ("paddle", True, 2)),
    ],
)
def test_what_the_caller_names_holds_and_the_rest_is_the_fastest(place, runtime, wanted):
    assert chosen(place, runtime) == (wanted, [])


def test_scores_that_differ_or_were_not_compared_are_a_line(place):
    def line(runtime, rows=ROWS, compared=()):
        found = resolved(
            runtime, described(rows, "1 clip") if rows else {}, place / "M", place / "inference.yml", print
        )
        return choice.doubt(found, described(rows, "1 clip") if rows else {}, compared, place / "inference.yml")

    assert "OpenVINO gave other scores than the network when it was timed (difference 5.0e-01)" in line(
        Runtime(backend="openvino")
    )
    assert f"OpenVINO was not compared with the network; paddlevideo export --time {place}" in line(
        Runtime(backend="openvino"), rows=[], compared=("onnx",)
    )
    assert line(Runtime(backend="openvino"), rows=[], compared=("onnx", "openvino")) is None
    for runtime in (Runtime(), Runtime(backend="onnx"), Runtime(precision="bf16")):
        assert line(runtime) is None
    assert line(Runtime(), rows=[]) is None


def test_another_processor_uses_paddle_with_a_line_on_how_to_time_anew(place):
    found, (line,) = chosen(place, Runtime(), cpu="Another CPU")
    assert found == ("paddle", False, None)
    assert "Another CPU" in line and "Paddle is used" in line and f"paddlevideo export --time {place}" in line
    assert chosen(place, Runtime(backend="paddle"), cpu="Another CPU") == (("paddle", False, None), [])


def test_a_runtime_or_file_that_is_missing_is_replaced_with_a_line(place, monkeypatch):
    (place / "M.onnx").unlink()
    found, (line,) = chosen(place, Runtime())
    assert found == ("paddle", True, 2) and "M.onnx is not there: Paddle with oneDNN is used" in line
    monkeypatch.setattr(choice, "installed", lambda backend: backend == "paddle")
    found, (line,) = chosen(place, Runtime())
    assert found == ("paddle", True, 2) and "onnx is not installed" in line


def test_no_table_means_paddle_without_onednn_and_a_damaged_one_is_named(place):
    assert resolved(Runtime(), {}, place / "M", place / "i", print) == Runtime(backend="paddle")
    good = {"backend": "paddle", "ms": 1.0, "agrees": True}
    wrong = [
        {"ms": "fast"}, {"ms": True}, {"ms": float("nan")}, {"cpu_threads": 0}, {"cpu_threads": True}, {"agrees": "no"},
        {"backend": "tvm"}, {"precision": "fp8"}, {"enable_mkldnn": "yes"}, {"max_difference": "x"}, {"error": 3},
    ]  # fmt: skip
    for row in ({"ms": 1}, 3, *({**good, **change} for change in wrong)):
        with pytest.raises(UserError, match="inference.yml: runtime: damaged"):
            chosen(place, Runtime(), timed=[row])


@pytest.mark.parametrize(
    "runtime, named",
    [
        (Runtime(backend="onnx", enable_mkldnn=True), "enable_mkldnn"),
        (Runtime(backend="onnx", precision="bf16"), "runs in float32"),
        (Runtime(backend="tvm"), "expected paddle, onnx, openvino"),
        (Runtime(precision="bf16", enable_mkldnn=False), "needs oneDNN"),
    ],
)
def test_what_does_not_go_together_is_refused(place, runtime, named):
    with pytest.raises(UserError, match=named):
        runtime.device()


def test_a_backend_that_is_not_installed_is_named(tiny, monkeypatch):
    monkeypatch.setattr(base, "installed", lambda backend: False)
    with pytest.raises(UserError, match="openvino is not installed: pip install openvino"):
        load(tiny.folder, backend="openvino")
    with pytest.raises(UserError, match="paddlevideo export"):
        load(load_config(tiny.config), tiny.weights, backend="onnx")


# ---- views


def test_a_wrong_fold_of_views_is_found_on_the_twin(tiny, tmp_path, monkeypatch):
    config = write_config(tmp_path, three_crop_config("score"))
    weights = write_weights(config, tmp_path / "w.pdparams", tiny.videos)

    def first_view(self, imgs):
        return self.average(self.view_logits(imgs)[:, :1])

    def clips_and_views_swapped(self, imgs):
        logits = self.view_logits(imgs)  # [N, V, K]
        return self.average(logits.transpose([1, 0, 2]).reshape(logits.shape))

    for fold in (first_view, clips_and_views_swapped):
        monkeypatch.setattr(Recognizer, "predict_scores", fold)
        with pytest.raises(UserError, match="differs from the network"):
            export(load_config(config), weights, tmp_path / "exported", say=lambda line: None)


def test_programs_that_differ_by_more_than_views_are_no_twins(tiny, tmp_path, monkeypatch):
    config = write_config(tmp_path, three_crop_config("score"))
    weights = write_weights(config, tmp_path / "w.pdparams", tiny.videos)

    def by_views(self, imgs):
        scores = self.average(self.view_logits(imgs))
        return scores * 0.5 if imgs.shape[1] == 3 else scores

    monkeypatch.setattr(Recognizer, "predict_scores", by_views)
    with pytest.raises(UserError, match="differs from the network"):
        export(load_config(config), weights, tmp_path / "exported", say=lambda line: None)


def test_a_twin_scales_sizes_and_nothing_else(tmp_path):
    ours, theirs = tmp_path / "a.json", tmp_path / "b.json"

    def same(a, b):
        ours.write_text(a)
        theirs.write_text(b)
        return same_but_for_views(ours, theirs, 30, 2)

    assert same('{"shape": [-1, 30, 8, 60]}', '{"shape": [-1, 2, 8, 4]}')
    assert same('{"N": "struct_name", "D": "/Net_1/"}', '{"N": "struct_name", "D": "/Net/"}')
    for a, b in (("[1, 2]", "[1]"), ("[30]", "[3]"), ('{"a": 1}', '{"b": 1}'), ("[1.5]", "[0.1]"), ("[true]", "[1]")):
        assert not same(a, b)


def test_no_two_views_are_alike():
    clips = random_clips(np.zeros((3, 4, 8, 8, 3), np.uint8)).reshape(6, -1)
    assert len({view.tobytes() for view in clips}) == 6


# ---- timing


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny.folder, tmp_path / "exported")


def test_export_notes_the_choice_and_prints_the_table(tiny, tmp_path, monkeypatch):
    tried_rows = []

    def tried(row, program, params, reference, folder):
        tried_rows.append(row)
        ms = {("paddle", False): 100.0, ("paddle", True): 40.0, ("onnx", False): 90.0}[row.backend, row.enable_mkldnn]
        agrees = row.backend != "onnx" and row.precision == "fp32"
        return dataclasses.replace(row, ms=ms + row.cpu_threads, max_difference=0.0, agrees=agrees)

    monkeypatch.setattr(timing, "_tried", tried)
    monkeypatch.setattr(timing, "installed", lambda backend: backend != "openvino")
    monkeypatch.setattr(timing, "available_cores", lambda: 4)
    monkeypatch.setattr(timing, "can_convert", lambda: True)
    monkeypatch.setattr(timing, "convert", lambda program, params, onnx: onnx.write_text("graph") and None)
    lines = []
    export(load_config(tiny.config), tiny.weights, tmp_path / "e", say=lines.append, timing="quick")
    assert [(row.backend, row.enable_mkldnn, row.cpu_threads) for row in tried_rows if row.precision == "fp32"] == [
        ("paddle", False, 4), ("paddle", True, 4), ("onnx", False, 4),  # all
        ("paddle", True, 4), ("paddle", False, 4),  # those that agree once more
        ("paddle", True, 2), ("paddle", True, 1),  # the fastest on fewer threads
    ]  # fmt: skip
    noted = read_description(tmp_path / "e")
    assert (noted.runtime["backend"], noted.runtime["enable_mkldnn"], noted.runtime["cpu_threads"]) == (
        "paddle",
        True,
        1,
    )
    assert "TSM.onnx" not in noted.files and not (tmp_path / "e" / "TSM.onnx").exists()  # it does not agree
    assert any("Paddle with oneDNN, 1 thread: 41.0 ms" in line for line in lines)
    assert any("ONNX Runtime, 4 threads: 94.0 ms" in line and "too large, not used" in line for line in lines)


@pytest.mark.slow
def test_timing_anew_runs_the_model_in_processes_of_their_own(copy, tiny, monkeypatch, capsys):
    ways = [Timed("paddle", cpu_threads=1), Timed("paddle", precision="int8", cpu_threads=1)]
    monkeypatch.setattr(timing, "_ways", lambda files: ways)
    monkeypatch.setattr(timing, "can_convert", lambda: False)
    assert main(["export", "--time", str(copy)]) == 0
    printed = capsys.readouterr().out
    section = read_description(copy).runtime
    assert (section["backend"], section["cpu_threads"]) == ("paddle", 1) and section["timed"][0]["ms"] > 0
    assert "error" in section["timed"][1] and "int8 needs TensorRT" in printed
    before, after = (Predictor.from_export(folder).predict(tiny.videos[0])[0] for folder in (tiny.folder, copy))
    np.testing.assert_allclose(before.scores, after.scores, atol=1e-6)  # of another number of threads


@pytest.mark.parametrize(
    "tries, stays",
    [
        ({}, True),  # neither is installed
        ({"onnx": {"error": "an old version"}}, True),
        ({"onnx": {"ms": 1.0, "max_difference": 0.5}}, False),
        (
            {
                "onnx": {"ms": 1.0, "max_difference": 0.5},
                "openvino": {"ms": 1.0, "max_difference": 0.0, "agrees": True},
            },
            True,
        ),
    ],
)
def test_timing_anew_removes_an_onnx_form_only_if_it_gives_other_scores(copy, monkeypatch, capsys, tries, stays):
    right = {"ms": 1.0, "max_difference": 0.0, "agrees": True}
    file, tries = copy / "TSM.onnx", {"paddle": right, **tries}
    file.write_text("graph")
    monkeypatch.setattr(timing, "_scores", lambda *_, **__: ([], None))
    monkeypatch.setattr(timing, "_tried", lambda row, *_: dataclasses.replace(row, **tries[row.backend]))
    monkeypatch.setattr(timing, "installed", lambda backend: backend in tries)
    assert main(["export", "--time", str(copy)]) == 0
    assert file.exists() == stays and read_description(copy).files.get("TSM.onnx") == (sha256(file) if stays else None)
    printed = "not installed (pip install onnxruntime openvino paddle2onnx)" in capsys.readouterr().out
    assert printed == (len(tries) == 1)


def test_a_timing_that_is_none_of_the_two_is_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="timing 'fast': expected quick or none"):
        paddlevideo.export(tiny.config, tiny.weights, tmp_path / "e", timing="fast")


def test_a_process_that_aborts_is_a_line_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_CONVERT", "import os; os.abort()")
    assert onnx.convert(tmp_path / "a", tmp_path / "b", tmp_path / "c") == "paddle2onnx: the process ended with SIGABRT"
    monkeypatch.setattr(onnx, "_CONVERT", "raise ValueError('no such operator')")
    assert "no such operator" in onnx.convert(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    monkeypatch.setattr(onnx, "_CONVERT", "import sys, time; open(sys.argv[3], 'w').write('half'); time.sleep(60)")
    monkeypatch.setattr(onnx, "_LIMIT_S", 0.5)
    assert onnx.convert(tmp_path / "a", tmp_path / "b", tmp_path / "c") == "paddle2onnx: no result within 0.5 s"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="by a signal of Linux")
def test_a_process_that_is_run_alone_ends_with_a_killed_parent(tmp_path):
    file, code = (
        tmp_path / "pid",
        "import os, sys, time; open(sys.argv[1], 'w').write(f'{os.getpid()} '); time.sleep(90)",
    )
    call = f"from paddlevideo.inference.runtimes.base import run_alone; run_alone({code!r}, [{str(file)!r}], 90, {{}})"
    parent = subprocess.Popen([sys.executable, "-c", call])
    try:
        assert within_s(60, lambda: file.is_file() and file.read_text().endswith(" "))
    finally:
        parent.kill()
        parent.wait()
    status = Path("/proc", file.read_text().strip(), "stat")
    assert within_s(10, lambda: not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z")


def within_s(seconds, condition):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_folders_of_killed_exports_are_removed_and_those_of_others_stay(tmp_path):
    old = [tmp_path / name for name in (".export-killed", ".export-held", "kept")]
    for folder in old:
        folder.mkdir()
        (folder / "M.json").touch()
        os.utime(folder, (0, 0))
    code = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(old[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with export_module._work_folder(tmp_path) as folder:
            assert {path.name for path in tmp_path.iterdir()} == {".export-held", "kept", folder.name}
            os.utime(folder, (0, 0))
            export_module._sweep(tmp_path)  # of another export into the same folder
            assert folder.is_dir()
        other.stdin.close()


def test_a_forked_process_does_not_free_a_model():
    """OpenVINO's threads are not there, and freeing a model would wait for them without an end."""

    class Model(base.ExportedModel):
        def __init__(self, name):
            self.name = name

        def output(self, arrays):
            return arrays[0]

    models = [Model(name="M")]
    alive = weakref.ref(models[0])
    child = os.fork()
    if child == 0:
        models.clear()
        os._exit(0 if alive() is not None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    models.clear()
    assert alive() is None


def test_a_forked_process_does_not_free_a_detector_that_is_garbage_already():
    """``detect`` with a second video: the first one's detector is part of a cycle, which the child would collect."""

    class Detector(PersonDetector):
        def __init__(self):
            self.itself = self

        def detect(self, frames, timestamps_s):
            return []

    gc.collect()
    gc.disable()
    try:
        alive = weakref.ref(Detector())
        child = os.fork()
        if child == 0:
            gc.collect()
            os._exit(0 if alive() is not None else 1)
    finally:
        gc.enable()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_conversion_installs_nothing(tmp_path, monkeypatch):
    """paddle2onnx's own choice of a tool has pip install packages into the user's environment."""
    (tmp_path / "paddle2onnx.py").write_text(
        "import json, os\n"
        "def export(program, params, file, **options):\n"
        "    open(file, 'w').write(json.dumps([options, dict(os.environ)]))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("POLYGRAPHY_AUTOINSTALL_DEPS", "1")
    assert onnx.convert(tmp_path / "a", tmp_path / "b", tmp_path / "c.onnx") is None
    options, environment = read_json(tmp_path / "c.onnx")
    assert options["optimize_tool"] == "None"
    assert (environment["POLYGRAPHY_AUTOINSTALL_DEPS"], environment["PIP_NO_INDEX"]) == ("0", "1")


@pytest.mark.parametrize(
    "arguments, named", [([], "--time DIR"), (["-c", "tsm_own_videos", "--time", "x"], "-c, --time: name one of them")]
)
def test_export_takes_a_configuration_or_a_model_to_time(arguments, named, capsys):
    assert main(["export", *arguments]) == 2
    assert named in capsys.readouterr().err


# ---- ONNX


def graph_of_means(file):
    """imgs uint8 [N, 1, 4, 32, 32, 3] -> scores [N, K]: the mean of each clip over 256, K times."""
    helper = pytest.importorskip("onnx", reason="the test builds a graph with it").helper
    from onnx import TensorProto, save

    nodes = [
        helper.make_node("Cast", ["imgs"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3, 4, 5], keepdims=0),
        helper.make_node("Unsqueeze", ["m", "one"], ["u"]),
        helper.make_node("Mul", ["u", "by"], ["scores"]),
    ]
    constants = [
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("by", TensorProto.FLOAT, [1, NUM_CLASSES], [1 / 256] * NUM_CLASSES),
    ]
    given = helper.make_tensor_value_info("imgs", TensorProto.UINT8, ["N", 1, 4, 32, 32, 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", NUM_CLASSES])
    graph = helper.make_graph(nodes, "means", [given], [scores], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)


@pytest.mark.parametrize("backend, library", [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_the_onnx_form_runs_at_any_batch_after_its_digest_was_compared(copy, backend, library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    graph_of_means(copy / "TSM.onnx")
    noted = yaml.safe_load((copy / "inference.yml").read_text())
    noted["files"]["TSM.onnx"] = sha256(copy / "TSM.onnx")
    noted["runtime"] = described([Timed(backend, ms=1.0, max_difference=0.0, agrees=True)], "1 clip")
    (copy / "inference.yml").write_text(yaml.safe_dump(noted))
    predictor, lines = Predictor.from_export(copy, say=print), []
    assert predictor.model.runtime.backend == backend
    for num_clips in (1, 8):
        imgs = random_clips(np.zeros((1, 4, 32, 32, 3), np.uint8), num_clips)
        wanted = np.repeat(imgs.reshape(num_clips, -1).mean(1)[:, None] / 256, NUM_CLASSES, 1)
        np.testing.assert_allclose(predictor.scores(imgs), wanted, rtol=1e-5)
    assert Predictor.from_export(copy, runtime=Runtime(backend="paddle"), say=lines.append).model.name.endswith("json")
    (copy / "TSM.onnx").write_bytes(b"other")
    with pytest.raises(UserError, match="TSM.onnx: differs"):
        Predictor.from_export(copy)
    del noted["files"]["TSM.onnx"]
    (copy / "inference.yml").write_text(yaml.safe_dump(noted))
    with pytest.raises(UserError, match="TSM.onnx: .* cannot load it"):
        Predictor.from_export(copy)
    (copy / "TSM.onnx").unlink()
    with pytest.raises(UserError, match=r"TSM.(onnx|xml): not there, .* paddlevideo export --time"):
        Predictor.from_export(copy, runtime=Runtime(backend=backend))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("paddle2onnx") is None, reason="paddle2onnx is not installed")
@pytest.mark.parametrize("backend, library", [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_converted_model_gives_the_network_s_scores(tiny, tmp_path, backend, library):
    pytest.importorskip(library, reason=f"{library} is not installed")
    config = write_config(tmp_path, three_crop_config("prob"))
    weights = write_weights(config, tmp_path / "w.pdparams", tiny.videos)
    export(load_config(config), weights, tmp_path / "e", say=print, timing="quick")
    usual, other = (
        Predictor.from_export(tmp_path / "e", runtime=Runtime(backend=name), batch_size=2)
        for name in ("paddle", backend)
    )
    for a, b in zip(usual.predict(tiny.videos), other.predict(tiny.videos), strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


def test_a_model_that_the_converted_form_cannot_stand_for_runs_on_paddle(tiny, tmp_path, monkeypatch):
    """The twin is converted, the program of all views is not."""
    config = write_config(tmp_path, three_crop_config("score"))
    weights = write_weights(config, tmp_path / "w.pdparams", tiny.videos)

    def timed(program, params, reference: Reference, say, converts):
        choice.onnx_file(program.with_suffix("")).touch()
        return described([ORT], "1 clip")

    monkeypatch.setattr(export_module, "time_runtimes", timed)
    monkeypatch.setattr(export_module, "convert", lambda *files: "aborted")
    lines = []
    export(load_config(config), weights, tmp_path / "e", say=lines.append, timing="quick")
    assert read_description(tmp_path / "e").runtime == {} and any("cannot be converted (aborted)" in x for x in lines)


def test_what_onednn_prints_is_no_result(tiny):
    words = ["predict", "-i", str(tiny.videos[0]), "--model_file", str(tiny.folder), "--enable_mkldnn", "True"]
    run = subprocess.run([sys.executable, "-m", "paddlevideo", *words], capture_output=True, text=True, check=True)
    lines = [line for line in run.stdout.splitlines() if line]
    assert lines[0].startswith("Inference model(") and lines[1].startswith("Current video file"), run.stdout


def test_a_runtime_that_names_the_cpu_does_not_import_paddle():
    """Its import takes longer than the run of a small model, for each way that is timed."""
    pytest.importorskip("onnxruntime")
    code = (
        "import sys; from paddlevideo.inference.runtimes.base import Runtime; import paddlevideo.inference.trial;"
        "assert Runtime(use_gpu=False, backend='onnx').device() == 'cpu'; assert 'paddle' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
