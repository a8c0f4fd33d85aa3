import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_export import LABELS, NUM_CLASSES, tiny_config, write_config

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "predict.py"


@pytest.fixture
def model(tiny):
    return ["--model_file", tiny.folder / "TSM.json", "--params_file", tiny.folder / "TSM.pdiparams"]


def test_the_documented_command_prints_what_paddlevideo_users_parse(tiny, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable, TOOL, "--input_file", tiny.videos[0], "--config", tiny.config, "--model_file",
        tiny.folder / "TSM.json", "--params_file", tiny.folder / "TSM.pdiparams", "--use_gpu=False",
        "--use_tensorrt=False",
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, file, top_class, top_score, top_name = done.stdout.splitlines()
    assert first == "Inference model(TSM)..."
    assert file == f"Current video file: {tiny.videos[0]}"
    assert top_class.startswith("\ttop-1 class: ") and top_score.startswith("\ttop-1 score: ")
    assert top_name == f"\ttop-1 name: {LABELS[int(top_class.split(': ')[1])]}"
    score = float(top_score.split(": ")[1])
    assert np.float32(score) == score  # every digit of a float32


def test_other_weights_run_in_paddle_and_are_named(tiny, run_tool, tmp_path):
    (tmp_path / "other.pdiparams").write_bytes((tiny.folder / "TSM.pdiparams").read_bytes())
    words = [
        "predict",
        "-i",
        tiny.videos[0],
        "--model_file",
        tiny.folder,
        "--params_file",
        tmp_path / "other.pdiparams",
    ]
    done = run_tool(*words)
    assert done.code == 0 and "is of TSM.pdiparams, so these weights are used without a comparison" in done.err
    done = run_tool(*words, "--backend", "onnx")
    assert done.code == 2 and "other.pdiparams: is read by Paddle alone; --backend onnx runs a form of TSM" in done.err


def test_top_k_lists_are_in_falling_order(tiny, model, run_tool):
    done = run_tool("predict", "-i", tiny.videos[0], *model, "--top_k", 3)
    values = dict(line.strip().split(": ", 1) for line in done.out.splitlines() if line.startswith("\t"))
    scores = json.loads(values["top-3 score"])
    assert scores == sorted(scores, reverse=True) and len(json.loads(values["top-3 class"])) == 3
    assert values["top-3 name"].count("'") == 6
    assert f"top-{NUM_CLASSES} class" in run_tool("predict", "-i", tiny.videos[0], *model, "--top_k", 99).out


def test_the_configurations_inference_section_may_set_top_k(tiny, model, run_tool, tmp_path):
    config = write_config(tmp_path, {**tiny_config(), "INFERENCE": {"name": "ppTSM_Inference_helper", "top_k": 2}})
    assert "top-2 class" in run_tool("predict", "-i", tiny.videos[0], *model, "-c", config).out


def test_a_folder_and_a_list_give_every_video(tiny, model, run_tool, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(f"{video} {i}" for i, video in enumerate(tiny.videos)))
    for source in (tiny.root / "videos", tmp_path / "list.txt"):
        done = run_tool("predict", "-i", source, *model, "-b", 2)
        assert done.out.count("Current video file") == 3 and f"3 videos found in {source}" in done.err


def test_json_and_csv_hold_what_was_printed(tiny, run_tool, tmp_path):
    for out in (tmp_path / "out.json", tmp_path / "out.csv"):
        source = ["-i", tiny.root / "videos", "--model_file", tiny.folder]
        done = run_tool("predict", *source, "--top_k", 2, "--out", out)
        assert done.code == 0, done.err
    records = json.loads((tmp_path / "out.json").read_text())
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [r["path"] for r in records] == [r["path"] for r in rows] == list(map(str, tiny.videos))
    for record, row in zip(records, rows):
        assert len(record["scores"]) == NUM_CLASSES and int(np.argmax(record["scores"])) == record["top"][0]["class"]
        assert record["top"][1] == {"class": int(row["class_2"]), "score": float(row["score_2"]), "name": row["name_2"]}


@pytest.mark.scorecard(38)
def test_a_bad_video_is_named_and_what_was_done_is_kept(tiny, model, run_tool, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(tiny.videos[1].read_bytes()[:700])
    videos = [tiny.videos[0], tmp_path / "bad.mp4", tiny.videos[2]]
    done = run_tool("predict", "-i", *videos, *model, "--out", tmp_path / "out.json")
    assert done.code == 2 and "bad.mp4" in done.err.splitlines()[-1] and "Traceback" not in done.err
    assert [r["path"] for r in json.loads((tmp_path / "out.json").read_text())] == [str(tiny.videos[0])]
    done = run_tool("predict", "-i", *videos, *model, "--out", tmp_path / "out.json", "--on_error", "skip")
    records = json.loads((tmp_path / "out.json").read_text())
    assert done.code == 0 and "bad.mp4" in records[1]["error"] and "scores" in records[2]
    assert "1 of 3 videos could not be read" in done.err
    assert run_tool("predict", "-i", tmp_path / "bad.mp4", *model, "--on_error", "skip").code == 2
    (tmp_path / "some.list").write_text(f"{tiny.videos[0]} 0\ngone.mp4 1\n")
    words = ["predict", "-i", tmp_path / "some.list", *model, "--out", tmp_path / "list.json"]
    assert run_tool(*words).code == 2
    assert run_tool(*words, "--on_error", "skip").code == 0
    records = json.loads((tmp_path / "list.json").read_text())
    assert "scores" in records[0] and "gone.mp4" in records[1]["error"]


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["-i", "none.mp4"], "none.mp4"),
        (["-i", "VIDEO", "--use_gpu", "True"], "--use_gpu=False"),
        (["-i", "VIDEO", "--use_tensorrt", "yes"], "--use_tensorrt=False"),
        (["-i", "VIDEO", "--out", "x.xlsx"], ".json, .csv or .jsonl"),
        (["-i", "VIDEO", "-o", "a=1"], "--config"),
        (["-i", "VIDEO", "--label_file", "none.txt"], "none.txt"),
        (["-i", "VIDEO", "--use_gpu", "maybe"], "expected true or false"),
        (["-i", "VIDEO", "--top_k", "0"], "at least 1"),
        (["-i", "VIDEO", "-b", "0"], "at least 1"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tiny, model, run_tool, arguments, named):
    import paddle

    if "True" in arguments and paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle may have a GPU")
    done = run_tool("predict", *[tiny.videos[0] if a == "VIDEO" else a for a in arguments], *model)
    assert done.code == 2 and named in done.err.splitlines()[-1] and "Traceback" not in done.err


@pytest.mark.parametrize(
    "word, value", [("True", True), ("t", True), ("1", True), ("YES", True), ("false", False), ("0", False)]
)
def test_truth_values(word, value):
    from paddlevideo.cli.options import parse_bool

    assert parse_bool(word) is value


def test_pdmodel_requested_json_found(tiny, run_tool):
    done = run_tool("predict", "-i", tiny.videos[0], "--model_file", tiny.folder / "TSM.pdmodel")
    assert done.code == 0 and "TSM.json" in done.err


def test_an_edited_configuration_is_named_and_the_exported_pipeline_holds(tiny, model, run_tool, tmp_path):
    config = tiny_config()
    config["PIPELINE"]["test"]["transform"][0]["Scale"]["short_size"] = 48
    path = write_config(tmp_path, config)
    plain = run_tool("predict", "-i", tiny.videos[0], *model)
    edited = run_tool("predict", "-i", tiny.videos[0], *model, "-c", path)
    assert edited.out == plain.out
    assert "PIPELINE.test.transform[0].Scale.short_size: here 48, exported 36" in edited.err
    assert not run_tool("predict", "-i", tiny.videos[0], *model, "-c", tiny.config).err


def test_a_configuration_of_another_network_is_named(tiny, model, run_tool):
    arguments = ["predict", "-i", tiny.videos[0], *model, "-c", tiny.config, "-o", "MODEL.head.num_classes=9"]
    err = run_tool(*arguments, "-o", "MODEL.backbone.pretrained=none.pdparams").err
    assert "another network than TSM.json, which is used: MODEL.head.num_classes: here 9, exported" in err
    assert "pretrained" not in err
    assert not run_tool(*arguments[:-1], "MODEL.head.num_classes=auto").err


def test_an_override_on_this_command_line_is_followed_and_reported(tiny, model, run_tool):
    change = ["-c", tiny.config, "-o", "PIPELINE.test.transform.0.Scale.short_size=48"]
    plain, changed = (run_tool("predict", "-i", tiny.videos[0], *model, *more) for more in ([], change))
    assert changed.code == 0 and changed.out != plain.out
    assert "-o PIPELINE.test: using the configuration's preprocessing" in changed.err


def test_an_export_without_description_works_with_a_configuration_alone(tiny, run_tool, tmp_path):
    for name in ("TSM.json", "TSM.pdiparams"):
        shutil.copy(tiny.folder / name, tmp_path)
    model = ["--model_file", tmp_path / "TSM.json"]
    without = run_tool("predict", "-i", tiny.videos[0], *model)
    assert without.code == 2 and "--config" in without.err
    done = run_tool("predict", "-i", tiny.videos[0], *model, "-c", tiny.config)
    described = run_tool("predict", "-i", tiny.videos[0], "--model_file", tiny.folder)
    assert done.out == described.out


def test_times(tiny, model, run_tool):
    done = run_tool("predict", "-i", tiny.videos[0], *model, "--time_test_file", "t", "--enable_benchmark", "t")
    assert "\ttime: prepare " in done.out and "videos/s" in done.out


def test_predict_gives_the_scores_of_test_on_the_same_files(tiny, run_tool, tmp_path):
    from paddlevideo.config import load_config
    from paddlevideo.settings import Options
    from tests.tiny import run_test as test

    (tmp_path / "test.list").write_text("".join(f"{video} {i}\n" for i, video in enumerate(tiny.videos)))
    config = tiny_config()
    config["DATASET"] = {
        "test_batch_size": 2,
        "test": {"format": "VideoDataset", "file_path": str(tmp_path / "test.list"), "data_prefix": ""},
    }
    config["output_dir"] = str(tmp_path / "output")
    path = write_config(tmp_path, config)
    test(load_config(path), Options(weights=str(tiny.weights), device="cpu"), str(tmp_path / "test.json"))
    source = ["-i", tmp_path / "test.list", "--model_file", tiny.folder, "--out", tmp_path / "predict.json"]
    assert run_tool("predict", *source).code == 0
    tested = json.loads((tmp_path / "test.json").read_text())
    predicted = json.loads((tmp_path / "predict.json").read_text())
    assert [record["path"] for record in predicted] == [record["path"] for record in tested]
    for ours, theirs in zip(predicted, tested):
        np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-6)


def test_an_export_from_before_interpolations_were_noted_keeps_its_pixels(tiny, run_tool, tmp_path):
    """Then everything was linear; the same configuration means Pillow's pixels now, which is said."""
    noted = (tiny.folder / "inference.yml").read_text()
    assert noted.count("interpolation: antialias") == 1
    outputs = []
    for name, line in (("old", ""), ("linear", "interpolation: linear"), ("new", "interpolation: antialias")):
        folder = shutil.copytree(tiny.folder, tmp_path / name)
        (folder / "inference.yml").write_text(noted.replace("interpolation: antialias", line))
        outputs.append(
            run_tool("predict", "-i", tiny.videos[0], "--model_file", folder / "TSM.json", "-c", tiny.config)
        )
    old, linear, new = outputs
    assert (old.code, old.out) == (0, linear.out) and old.out != new.out
    assert "Scale.interpolation: here 'antialias', exported 'linear'" in old.err


@pytest.mark.reliability
@pytest.mark.scorecard(38, times=10)
def test_each_of_ten_bad_files_ends_in_its_line(tiny, model, run_tool, tmp_path):
    whole = tiny.videos[1].read_bytes()
    bad = {
        "empty": b"", "text": b"no video\n" * 40, "cut": whole[:700], "head": whole[:16], "zeros": bytes(5000),
        "end": whole[len(whole) // 2 :], "noise": np.random.default_rng(0).bytes(5000), "picture": b"\x89PNG",
        "archive": b"PK\x03\x04" + bytes(99), "one byte": b"x",
    }  # fmt: skip
    for name, content in bad.items():
        file = tmp_path / f"{name}.mp4"
        file.write_bytes(content)
        done = run_tool("predict", "-i", file, *model)
        assert done.code == 2 and file.name in done.err.splitlines()[-1] and "Traceback" not in done.err, done.err


SHELL = ("$(touch x).mp4", "`touch x`.mp4", "; touch x;.mp4", "| touch x |.mp4", "a || touch x ||.mp4")


@pytest.mark.reliability
@pytest.mark.scorecard(13, times=len(SHELL))
def test_no_name_of_a_video_reaches_a_shell(tiny, model, run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in SHELL:
        subprocess.run(["sh", "-c", f"ls {name}"], capture_output=True)
        Path("x").unlink()  # a shell does run it
        shutil.copy(tiny.videos[0], name)
        assert run_tool("predict", "-i", name, *model).code == 0
        assert not Path("x").exists(), name
