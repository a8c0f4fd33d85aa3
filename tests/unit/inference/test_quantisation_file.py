"""PaddleVideo's quantisation file runs as it is, and prediction runs what it writes."""

import shutil

import cv2
import numpy as np
import pytest
import yaml

from paddlevideo.cli.main import main, run_script
from paddlevideo.config import load_config
from paddlevideo.config.quantisation import is_quantisation
from paddlevideo.inference.exported import read_description
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.quantisation_file import quantise_by_file
from paddlevideo.safe_io import sha256
from tests.tiny_export import NUM_CLASSES
from tests.unit.inference.test_quantisation import needs_converter, needs_libraries


def quantisation_file(up=""):
    """``pptsm_k400_frames_uniform_quantization.yaml``, key by key, at the size of the tiny export."""
    return {
        "DATASET": {
            "batch_size": 1, "batch_nums": 4, "num_workers": 0,
            "quant": {
                "format": "FrameDataset", "data_prefix": f"{up}data/k400/rawframes",
                "file_path": f"{up}data/k400/val_small_frames.list", "suffix": "img_{:05}.jpg",
            },
        },
        "PIPELINE": {
            "quant": {
                "decode": {"name": "FrameDecoder"},
                "sample": {"name": "Sampler", "num_seg": 4, "seg_len": 1, "valid_mode": True},
                "transform": [
                    {"Scale": {"short_size": 36}}, {"CenterCrop": {"target_size": 32}}, {"Image2Array": None},
                    {"Normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
                ],
            }
        },
        "inference_model_dir": f"{up}inference/ppTSM", "quant_output_dir": f"{up}inference/ppTSM/quant_model",
        "model_name": "ppTSM", "log_level": "INFO",
    }  # fmt: skip


@pytest.fixture
def here(tiny, tmp_path, monkeypatch):
    """A working directory with the export, six folders of frames and their list."""
    shutil.copytree(tiny.folder, tmp_path / "inference" / "ppTSM")
    lines = []
    for number in range(6):
        folder = tmp_path / "data" / "k400" / "rawframes" / f"clip_{number}"
        folder.mkdir(parents=True)
        rng = np.random.default_rng(number)
        for frame in range(1, 9):
            picture = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            cv2.imwrite(str(folder / f"img_{frame:05}.jpg"), picture)
        lines.append(f"clip_{number} 8 {number % NUM_CLASSES}\n")
    (tmp_path / "data" / "k400" / "val_small_frames.list").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, data):
    file = folder / "pptsm_quantization.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return str(file)


def test_it_is_checked_and_every_other_command_names_the_one_to_run(here, capsys):
    file = write(here, quantisation_file("../../"))
    assert is_quantisation(load_config(file, quantises=True))
    assert main(["check", "-c", file]) == 0
    assert f"calibrates an exported model in int8; paddlevideo export -c {file} runs it" in capsys.readouterr().err
    assert run_script("main.py", ["-c", file, "--check"]) == 0
    capsys.readouterr()
    for words in (["-c", file, "--validate"], ["-c", file, "--test", "-w", "x.pdparams"]):
        assert run_script("main.py", words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "has no MODEL to train, test or predict with" in line and f"paddlevideo export -c {file}" in line


def test_its_mistakes_are_named(here, capsys):
    data = quantisation_file()
    data["DATASET"]["batch_num"] = 3
    data["DATASET"]["quant"]["file_pth"] = data["DATASET"]["quant"].pop("file_path")
    data["PIPELINE"]["quant"]["sample"]["num_segs"] = 4
    data["quant_ouput_dir"] = data.pop("quant_output_dir")
    assert main(["check", "-c", write(here, data)]) == 2
    printed = capsys.readouterr().err
    for named in ("DATASET.batch_num: unknown key", "'batch_nums'", "DATASET.quant.file_pth", "num_segs",
                  "quant_output_dir: is missing", "(line "):  # fmt: skip
        assert named in printed
    missing = write(here, quantisation_file() | {"inference_model_dir": "inference/other"})
    assert main(["export", "-c", missing]) == 2
    assert "inference_model_dir: inference/other: not there; export the model first" in capsys.readouterr().err


@needs_libraries
@needs_converter
@pytest.mark.parametrize("up", ["", pytest.param("../../", marks=pytest.mark.slow)])
def test_export_calibrates_in_list_order_and_predict_runs_the_result(here, up, tiny, capsys):
    assert main(["export", "-c", write(here, quantisation_file(up))]) == 0
    printed = capsys.readouterr().out
    assert ("its paths count from deploy/slim" in printed) == bool(up)
    assert "calibrating on 4 clips of" in printed and "measuring on 2 of" in printed
    assert "top1" in printed and "MB" in printed and "PIPELINE.quant differs from inference.yml" in printed
    folder = here / "inference" / "ppTSM" / "quant_model"
    assert sorted(file.name for file in folder.iterdir()) == ["TSM.int8.onnx", "inference.yml"]
    noted = read_description(folder)
    assert noted.files["TSM.int8.onnx"] == sha256(folder / "TSM.int8.onnx")
    assert (noted.int8["num_clips"], noted.int8["cost"]["num_clips"], noted.int8["held_out"]) == (4, 2, True)
    assert read_description(here / "inference" / "ppTSM").int8 == {}  # the export is as it was
    assert main(["predict", "--model_file", str(folder), "-i", str(tiny.videos[0]), "--use_gpu", "False"]) == 0
    captured = capsys.readouterr()
    assert "top-1 class" in captured.out and "holds the model in int8 alone" in captured.err
    scores = Predictor.from_export(folder).predict(str(tiny.videos[0]))[0].scores
    usual = Predictor.from_export(here / "inference" / "ppTSM").predict(str(tiny.videos[0]))[0].scores
    assert 1e-6 < np.abs(scores - usual).max() < 0.2
    assert Predictor.from_export(folder).origin.digest() != Predictor.from_export(tiny.folder).origin.digest()


@needs_libraries
@needs_converter
def test_a_folder_that_cannot_be_read_ends_it_or_is_a_line(here):
    shutil.rmtree(here / "data" / "k400" / "rawframes" / "clip_1")
    config = load_config(write(here, quantisation_file()), quantises=True)
    with pytest.raises(Exception, match="clip_1"):
        quantise_by_file(config, say=lambda line: None)
    assert not (here / "inference" / "ppTSM" / "quant_model").exists()
    lines = []
    quantise_by_file(config, "skip", lines.append)
    assert any(line.startswith("skipped: ") and "clip_1" in line for line in lines)
    noted = read_description(here / "inference" / "ppTSM" / "quant_model").int8
    assert (noted["num_clips"], noted["cost"]["num_clips"]) == (3, 2)  # the first four of the list calibrate


def test_options_that_the_file_decides_are_refused(here, capsys):
    file = write(here, quantisation_file())
    for words, named in ((["--out", "x"], "--out: "), (["-w", "a.pdparams", "--format", "onnx"], "-w, --format: ")):
        assert main(["export", "-c", file, *words]) == 2
        error = capsys.readouterr().err
        assert named in error and "-o inference_model_dir=DIR" in error
