"""The forms for other runtimes: what export writes and refuses, and prediction without Paddle's files."""

import contextlib
import importlib.util
import io
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from benchmarks import export_formats
from paddlevideo.build import deployed_network
from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.errors import UserError
from paddlevideo.inference import export as export_module
from paddlevideo.inference import formats as formats_module
from paddlevideo.inference.detector import detect
from paddlevideo.inference.export import export
from paddlevideo.inference.export_check import Reference, random_clips
from paddlevideo.inference.formats import compare_formats, write_formats
from paddlevideo.inference.predictor import load
from paddlevideo.inference.runtimes import choice
from paddlevideo.inference.runtimes.onnx import OnnxModel
from paddlevideo.safe_io import sha256

FORMS = ("onnx", "openvino")
LACKING = [name for name in ("paddle2onnx", "onnxruntime", "openvino") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}")
PADDLES = ("{}.json", "{}.pdiparams")


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """The folder of a recognition model in all forms, the lines printed, and what timing was given."""
    folder, printed, converts = tmp_path_factory.mktemp("forms"), io.StringIO(), []
    (folder / "TSM.int8.onnx").touch()  # of an earlier export
    words = ["-c", str(tiny.config), "-w", str(tiny.weights), "--out", str(folder), "--format", "paddle, openvino,onnx"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(export_module, "time_runtimes", lambda *given: converts.append(given[-1]) or {})
        assert main(["export", *words]) == 0
    return folder, printed.getvalue().splitlines(), converts


def without_paddle(folder, name, target, *others):
    """A copy without the files of Paddle, and without ``others``."""
    shutil.copytree(folder, target)
    for file in (*(pattern.format(name) for pattern in PADDLES), *others):
        (target / file).unlink()
    return target


def files_of(folder):
    return {path.name: sha256(path) for path in folder.iterdir()}


def test_every_form_is_written_with_its_digest_and_its_difference(made):
    folder, lines, converts = made
    noted = yaml.safe_load((folder / "inference.yml").read_text())
    files = {"TSM.json", "TSM_names.json", "TSM.pdiparams", "TSM.onnx", "TSM.xml", "TSM.bin"}
    assert {*files_of(folder)} == files | {"inference.yml", "TSM_config.yml"}
    assert noted["files"] == {name: digest for name, digest in files_of(folder).items() if name in files}
    for form in FORMS:
        assert 0 <= noted["check"][form]["max_difference"] < 1e-5
        assert any(line.startswith(f"format {form} against the network, largest difference") for line in lines)
    assert 0 <= noted["check"]["max_difference"] < 1e-5 and "runtime" not in noted
    assert converts == [False]  # timing converts only where no format is named


@pytest.mark.parametrize("backend", FORMS)
def test_prediction_needs_no_file_of_paddle(made, tiny, tmp_path, backend):
    expected = [p.scores for p in load(made[0], device="cpu").predict(tiny.videos)]
    others = ["TSM.xml", "TSM.bin"] if backend == "onnx" else ["TSM.onnx"]
    folder = without_paddle(made[0], "TSM", tmp_path / "e", *others)
    for path, chosen in ((folder, None), (folder / "TSM.json", backend), (folder / "TSM", None)):
        predictor = load(path, device="cpu", backend=chosen, batch_size=2)
        assert predictor.model.runtime.backend == backend
        np.testing.assert_allclose([p.scores for p in predictor.predict(tiny.videos)], expected, atol=1e-5)
    with pytest.raises(UserError, match=f"TSM.json: not there, and backend paddle .* use --backend {backend}"):
        load(folder, device="cpu", backend="paddle")


@pytest.mark.parametrize("file, backend", [("TSM.onnx", "onnx"), ("TSM.xml", "openvino")])
def test_a_form_that_is_named_by_itself_is_refused_with_the_way_out(made, file, backend):
    with pytest.raises(UserError, match=f"{file}: name its folder .*--model_file .* --backend {backend}"):
        load(made[0] / file, device="cpu")


def test_the_first_form_that_is_there_and_installed_is_taken(made, tmp_path, monkeypatch):
    assert load(made[0], device="cpu").model.runtime.backend == "paddle"
    folder = without_paddle(made[0], "TSM", tmp_path / "e")
    assert load(folder, device="cpu").model.name.endswith("TSM.onnx")
    monkeypatch.setattr(choice, "installed", lambda backend: backend != "onnx")
    assert load(folder, device="cpu").model.name.endswith("TSM.xml")
    monkeypatch.setattr(choice, "installed", lambda backend: backend == "paddle")
    with pytest.raises(UserError, match=r"use --backend onnx \(pip install onnxruntime\); or use --backend openvino"):
        load(folder, device="cpu")


@pytest.mark.parametrize("file, backend", [("TSM.onnx", "onnx"), ("TSM.bin", "openvino"), ("TSM.xml", "openvino")])
def test_a_form_that_was_changed_is_refused(made, tmp_path, file, backend):
    folder = shutil.copytree(made[0], tmp_path / "e")
    (folder / file).write_bytes((folder / file).read_bytes() + b" ")
    with pytest.raises(UserError, match=f"{file}: differs from what inference.yml"):
        load(folder, device="cpu", backend=backend)
    assert load(folder, device="cpu").model.runtime.backend == "paddle"


def test_a_backend_without_its_form_names_the_way_out(tiny):
    for backend, library in (("onnx", "onnxruntime"), ("openvino", "openvino")):
        way = f"--backend paddle; or paddlevideo export --time .*--format {backend} .pip install paddle2onnx {library}"
        with pytest.raises(UserError, match=way):
            load(tiny.folder, device="cpu", backend=backend)


def test_the_commands_run_without_paddles_files(made, tiny, tmp_path):
    folder = without_paddle(made[0], "TSM", tmp_path / "e")

    def command(name, *more):
        words = [name, "-i", str(tiny.videos[0]), "--model_file", str(folder), *more]
        return subprocess.run([sys.executable, "-m", "paddlevideo", *words], capture_output=True, text=True)

    shown = [command("predict"), command("predict", "--backend", "openvino")]
    assert [run.returncode for run in shown] == [0, 0], [run.stderr for run in shown]
    assert "top-1 class" in shown[0].stdout
    assert shown[0].stdout.split("score")[0] == shown[1].stdout.split("score")[0]
    assert command("timeline", "--backend", "onnx").returncode == 0
    assert command("predict", "--backend", "paddle").returncode == 2


# ---- what export refuses


def test_a_form_that_differs_is_refused(made, monkeypatch):
    program, real = made[0] / "TSM.json", OnnxModel.output
    batch = {"imgs": random_clips(np.zeros((1, 4, 32, 32, 3), np.uint8))}
    reference = Reference([batch], [load(made[0], device="cpu", backend="paddle").model.run(batch)])
    assert compare_formats(program, ["onnx"], reference, print)["onnx"].small
    monkeypatch.setattr(OnnxModel, "output", lambda self, arrays: real(self, arrays) + np.float32(2e-4))
    with pytest.raises(UserError, match="TSM: format onnx differs from the network: .*0.0002.*nothing was written"):
        compare_formats(program, ["onnx"], reference, print)


@pytest.mark.parametrize(
    "names, lacks, message",
    [
        (
            ["onnx"],
            "paddle2onnx",
            "format onnx: paddle2onnx not installed: pip install paddle2onnx; nothing was written",
        ),
        (["paddle", "openvino"], "openvino", "format openvino: openvino not installed: pip install openvino"),
        (["onnx", "tflite"], None, "formats: tflite: expected a list of paddle, onnx, openvino"),
        ("onnx", None, "formats: onnx: expected a list"),
    ],
)
def test_a_form_that_cannot_be_made_is_refused_at_once(tiny, tmp_path, monkeypatch, names, lacks, message):
    monkeypatch.setattr(formats_module, "can_convert", lambda: lacks != "paddle2onnx")
    monkeypatch.setattr(formats_module, "installed", lambda backend: backend != lacks)
    with pytest.raises(UserError, match=message):
        export(load_config(tiny.config), tiny.weights, tmp_path / "e", say=pytest.fail, formats=names)
    assert not (tmp_path / "e").exists()


def test_a_model_that_cannot_be_converted_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(formats_module, "convert", lambda *files: "paddle2onnx: the process ended with SIGABRT")
    with pytest.raises(UserError, match="TSM: format onnx: this model cannot be converted .*SIGABRT.*without --format"):
        write_formats(tmp_path / "TSM.json", ["onnx"])
    assert list(tmp_path.iterdir()) == []


# ---- persons


def test_detection_needs_no_file_of_paddle(tiny_ava, tmp_path):
    config = load_config(tiny_ava.config)
    report = export(config, tiny_ava.weights, tmp_path / "e", say=print, formats=FORMS)
    assert all(difference < 1e-5 for difference in report.format_differences.values())
    folder = without_paddle(tmp_path / "e", "tiny_ava", tmp_path / "other")
    found = []
    for path, backend in ((tmp_path / "e", "paddle"), (folder, None), (folder, "openvino")):
        result = detect(tiny_ava.video, path, proposals=tiny_ava.proposals, device="cpu", backend=backend, batch_size=3)
        found.append(np.array([person.scores for frame in result.key_frames for person in frame.persons]))
    assert len(found[0]) > 2
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5)


# ---- the benchmark


def test_the_benchmark_gives_a_form_that_export_would_refuse_a_row(monkeypatch):
    clip, scores = np.zeros((1, 4, 32, 32, 3), np.uint8), np.full((1, 3), 0.25, np.float32)
    forms = {"paddle": 0.0, "onnx": 0.5, "openvino": 0.125}
    network = SimpleNamespace(takes_boxes=False, input_spec=lambda batch: [])
    monkeypatch.setattr(export_formats, "save_program", lambda *given: None)
    monkeypatch.setattr(export_formats, "write_formats", lambda *given: None)
    monkeypatch.setattr(export_formats.Reference, "of", lambda *given: Reference([{"imgs": clip[None]}], [scores]))
    monkeypatch.setattr(
        export_formats,
        "open_model",
        lambda program, params, runtime, say: SimpleNamespace(run=lambda batch: scores + forms[runtime.backend]),
    )
    assert export_formats.differences(network, clip, None) == forms


def test_conditioned_normalisations_have_no_variance_below_the_median(tiny):
    network, clip = deployed_network(load_config(tiny.config)), np.zeros((1, 4, 32, 32, 3), np.uint8)
    export_formats.prepared(network, clip, None, conditioned=True)
    norms = [layer for layer in network.sublayers() if hasattr(layer, "_variance")]
    variances = [layer._variance.numpy() for layer in norms]
    assert len(variances) > 10 and all(2 * v.min() > np.median(v) > 0 for v in variances)
