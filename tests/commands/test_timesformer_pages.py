"""The commands of TimeSformer's and PP-TimeSformer's pages, on a miniature Kinetics."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest

from paddlevideo.build import load_run_config, network
from paddlevideo.config import Config, load_config
from paddlevideo.engine.training import train
from paddlevideo.safe_io import write_pickle
from paddlevideo.settings import Options
from tests.recipes.leaves import CONFIGS, REDUCED, ROOT, SMALL_TIMESFORMER, clip_of
from tests.tiny import make_clips, run_test
from tests.unit.config.test_num_seg import RECIPE

FOLDER = CONFIGS / "recognition"
PP = FOLDER / "pptimesformer" / "pptimesformer_k400_videos.yaml"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("k400") / "clips", 4)


@pytest.fixture
def kinetics(clips, tmp_path, monkeypatch):
    """A working directory with the page's file names: lists, videos, labels and weights made by a formula."""
    data = tmp_path / "data"
    shutil.copytree(clips.parent, data / "k400" / "videos")
    lines = [line.rsplit("/", 1)[1] for line in clips.read_text().splitlines()]
    for name in ("train", "val"):
        (data / "k400" / f"{name}.list").write_text("\n".join(lines) + "\n")
    shutil.copy(ROOT / "data" / "k400" / "labels.txt", data / "k400")
    shutil.copy(data / "k400" / "videos" / "clip 0.mp4", data / "example.avi")
    for name, frames in (("8f", 8), ("16f_distill", 16)):
        formula_weights(data / f"ppTimeSformer_k400_{name}.pdparams", frames)
    monkeypatch.chdir(tmp_path)
    return data


def formula_weights(path, frames):
    """Sines of different pace, no randomness."""
    framework = network(load_config(PP, [*SMALL_TIMESFORMER, f"num_seg={frames}"]), pretrained=False)
    arrays = {}
    for i, (key, value) in enumerate(framework.state_dict().items()):
        wave = np.sin(0.7 * np.arange(value.size) + i).reshape(value.shape) * 0.05
        norm = key.endswith("weight") and "norm" in key
        arrays[key] = (1.0 + wave if norm else wave).astype("float32")
    write_pickle(path, arrays)


def run(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    return module.main()


def overrides(*assignments, flag="-o"):
    return [part for assignment in assignments for part in (flag, assignment)]


QUICK = (
    "MODEL.backbone.pretrained=null", "DATASET.batch_size=2", "DATASET.num_workers=0",
    "GRADIENT_ACCUMULATION.global_batch_size=4", "epochs=1", "OPTIMIZER.learning_rate.warmup_epochs=1",
)  # fmt: skip


def test_the_page_s_commands(kinetics, tmp_path, monkeypatch, capsys):
    import main as command
    from paddlevideo.cli.main import run_script

    small, quick = overrides(*SMALL_TIMESFORMER), overrides(*QUICK)
    assert run(monkeypatch, command, "--validate", "-c", PP, *small, *quick) == 0
    best = tmp_path / "output" / "ppTimeSformer" / "ppTimeSformer_best.pdparams"
    assert best.is_file() and "Already save the best model (top1 acc)0." in capsys.readouterr().out

    assert run(monkeypatch, command, "--test", "-c", PP, "-w", best, *small, *quick) == 0
    assert run(monkeypatch, command, "--test", "-c", PP, *small, *quick, *overrides(*RECIPE),
        "-w", "data/ppTimeSformer_k400_16f_distill.pdparams") == 0  # fmt: skip

    override = overrides(*SMALL_TIMESFORMER, flag="--override")
    assert run_script("tools/export_model.py", ["-c", str(PP), "-p", "data/ppTimeSformer_k400_8f.pdparams", "-o",
        "inference/ppTimeSformer", "--timing", "none", *override]) == 0  # fmt: skip
    capsys.readouterr()
    assert run_script("tools/predict.py", ["--input_file", "data/example.avi", "--config", str(PP), "--model_file",
        "inference/ppTimeSformer/ppTimeSformer.pdmodel", "--params_file",
        "inference/ppTimeSformer/ppTimeSformer.pdiparams", "--use_gpu=False", "--use_tensorrt=False"]) == 0  # fmt: skip
    printed = capsys.readouterr().out
    assert "Current video file: data/example.avi\n\ttop-1 class: " in printed and "top-1 name: " in printed
    score = float(printed.split("top-1 score: ")[1].split()[0])
    expected = scores_of(8, "data/ppTimeSformer_k400_8f.pdparams")
    assert score == pytest.approx(float(expected.max()), rel=1e-4)  # softmaxed once


@pytest.mark.slow
@pytest.mark.xdist_group("distributed")
def test_the_page_s_commands_on_two_ranks(kinetics, tmp_path):
    """As users type them, each in processes of its own; the scores of two ranks are those of one."""
    best, log_dir = "output/ppTimeSformer/ppTimeSformer_best.pdparams", tmp_path / "log_pptimesformer"
    launcher = ["-B", "-m", "paddle.distributed.launch", "--nproc_per_node", "2", f"--log_dir={log_dir}"]
    ranks, alone = [*launcher, str(ROOT / "main.py")], [str(ROOT / "main.py")]
    settings = ["-c", PP, *overrides(*SMALL_TIMESFORMER, *QUICK)]
    trained = shell(*ranks, "--validate", *settings)
    assert "Already save the best model (top1 acc)0." in trained and "2 rank(s)" in trained
    assert {file.name for file in log_dir.iterdir()} >= {"workerlog.0", "workerlog.1"}
    recipe = [*settings, *overrides(*RECIPE), "-w", "data/ppTimeSformer_k400_16f_distill.pdparams"]
    for test in ([*settings, "-w", best], recipe):
        shell(*ranks, "--test", *test, "--out", "two.json")
        shell(*alone, "--test", *test, "--out", "one.json")
        two, one = (json.loads((tmp_path / name).read_text()) for name in ("two.json", "one.json"))
        assert [row["path"] for row in two] == [row["path"] for row in one] and len(two) == 4
        np.testing.assert_allclose([row["scores"] for row in two], [row["scores"] for row in one], atol=1e-6)

    exported, given = "inference/ppTimeSformer/ppTimeSformer", overrides(*SMALL_TIMESFORMER, flag="--override")
    given += ["--timing", "none"]
    shell(ROOT / "tools" / "export_model.py", "-c", PP, "-p", best, "-o", "inference/ppTimeSformer", *given)
    printed = shell(ROOT / "tools" / "predict.py", "--input_file", "data/example.avi", "--config", PP, "--model_file",
        f"{exported}.pdmodel", "--params_file", f"{exported}.pdiparams", "--use_gpu=False",
        "--use_tensorrt=False")  # fmt: skip
    assert "Current video file: data/example.avi\n\ttop-1 class: " in printed
    score = float(printed.split("top-1 score: ")[1].split()[0])
    assert score == pytest.approx(float(scores_of(8, best).max()), rel=1e-4)


def shell(*command):
    """What ``python command`` prints, in the working directory of the test."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PADDLE")}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def scores_of(frames, weights):
    """Probabilities of data/example.avi, by the network and PIPELINE.test alone."""
    from paddlevideo.loader.pipelines import Pipeline
    from paddlevideo.modeling.weights import load_weights

    config = load_config(PP, [*SMALL_TIMESFORMER, f"num_seg={frames}"])
    framework = network(config, pretrained=False)
    framework.eval()
    load_weights(framework, weights)
    sample = {"filename": "data/example.avi", "index": 0}
    clip = Pipeline(config.section("PIPELINE")["test"], "test")(sample, np.random.default_rng(0))["imgs"]
    with paddle.no_grad():
        return framework({"imgs": paddle.to_tensor(clip[None])}, mode="predict")["scores"].numpy()[0]


def test_eight_frame_weights_fine_tune_sixteen_frames_but_do_not_test_them(kinetics, monkeypatch, capsys):
    import main as command

    weights = "data/ppTimeSformer_k400_8f.pdparams"
    file = FOLDER / "pptimesformer" / "pptimesformer_k400_videos_16frames.yaml"
    quick = overrides(*SMALL_TIMESFORMER, "DATASET.batch_size=2", "DATASET.num_workers=0", "epochs=1",
        "GRADIENT_ACCUMULATION.global_batch_size=2", "OPTIMIZER.learning_rate.warmup_epochs=1")  # fmt: skip
    assert run(monkeypatch, command, "-c", file, "-w", weights, "--max_iters", 1, *quick) == 0
    assert "resized     backbone.time_embed: file [1, 8, 24], network [1, 16, 24]" in capsys.readouterr().out
    assert run(monkeypatch, command, "--test", "-c", file, "-w", weights, *quick) == 2
    assert "a test never resizes" in capsys.readouterr().err


def test_the_distilled_student_is_tested_by_the_plain_file(kinetics, clips, tmp_path):
    """The teacher comes from the page's weights, stays as it is, and the student goes its own way."""
    from paddlevideo.modeling.weights import read_weights

    config = load_run_config(FOLDER / "pptimesformer" / "pptimesformer_k400_videos_distill.yaml").to_dict()
    teacher, student = (own for item in config["MODEL"]["models"] for own in item.values())
    for model in (teacher, student):
        smaller, model["head"]["in_channels"] = REDUCED[model["backbone"]["name"]]
        model["backbone"] |= smaller
    del student["backbone"]["pretrained"]
    config["DATASET"] |= {"batch_size": 2, "num_workers": 0}
    del config["GRADIENT_ACCUMULATION"]
    config |= {"output_dir": str(tmp_path / "out"), "epochs": 1}
    run = train(Config(config), Options(validate=True, max_iters=1))
    best = tmp_path / "out" / "ppTimeSformer_distill_best_student.pdparams"
    kept, given = run.framework.model("Teacher").state_dict(), read_weights(teacher["weights"])
    assert all(np.array_equal(kept[key].numpy(), given[key]) for key in kept)
    plain = load_run_config(PP, [*SMALL_TIMESFORMER, "DATASET.num_workers=0"], uses=("test",))
    assert run_test(plain, Options(weights=str(best), max_iters=1))["num_samples"] == 1


@pytest.mark.parametrize("page", ["README.md", "README_zh-CN.md"])
def test_the_pages_recipe_for_16_frames_of_448_pixels(page):
    """The command's overrides, read from the page: clips of that size, and 8-frame 224-pixel weights that begin it."""
    from paddlevideo.modeling.weights import load_weights

    text = (FOLDER / "timesformer" / page).read_text()
    command = next(block for block in text.split("```") if "img_size=448" in block).replace("\\\n", " ").split()
    file = ROOT / command[command.index("-c") + 1]
    given = [command[i + 1] for i, word in enumerate(command) if word == "-o"]
    config = load_config(file, [*given, *SMALL_TIMESFORMER], uses=("train", "valid"))
    pipelines = config.section("PIPELINE")
    assert clip_of(pipelines["train"]).shape == clip_of(pipelines["valid"]).shape == (1, 16, 448, 448, 3)
    small = network(load_config(file, SMALL_TIMESFORMER), pretrained=False).state_dict()
    report = load_weights(network(config, pretrained=False), {k: v.numpy() for k, v in small.items()}, strict=False)
    assert report.resized == {
        "backbone.pos_embed": ([1, 50, 24], [1, 197, 24]), "backbone.time_embed": ([1, 8, 24], [1, 16, 24]),
    }  # fmt: skip
