"""TimeSformer's and PP-TimeSformer's recipes as numbers, PaddleVideo's original files, and the page's commands.

Numbers are typed from the papers' and the projects' pages, not read from the YAML files.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest

from paddlevideo.build import load_run_config, network
from paddlevideo.config import Config, load_config
from paddlevideo.engine.testing import test as run_test
from paddlevideo.engine.training import train
from paddlevideo.inference.export import export
from paddlevideo.safe_io import write_pickle
from paddlevideo.settings import Options
from paddlevideo.solver.check import Run, in_numbers
from paddlevideo.solver.optimizer import parameter_groups
from tests.config.test_num_seg import RECIPE
from tests.test_configs import REDUCED
from tests.test_recipes import clip_of, names
from tests.tiny import ROOT, make_clips, save

FOLDER = ROOT / "configs" / "recognition"
PP = FOLDER / "pptimesformer" / "pptimesformer_k400_videos.yaml"


# --- the recipes -----------------------------------------------------------------------------------------------------

MMACTION2 = {  # kind -> (attention, clips per GPU, rate, top-1, top-5, MB, parameters)
    "divST": ("divided_space_time", 8, 0.005, "77.92", "93.29", "17874", 121_566_352),
    "jointST": ("joint_space_time", 7, 0.004375, "77.01", "93.08", "25658", 86_112_400),
    "spaceOnly": ("space_only", 8, 0.005, "76.93", "92.90", "12750", 86_106_256),
}


def mmaction2_file(kind):
    return FOLDER / "timesformer" / f"timesformer_{kind}_8x32x1_15e_kinetics400_rgb.yaml"


@pytest.mark.parametrize("kind", MMACTION2)
def test_mmaction2_s_rows(kind):
    attention, batch, rate, top1, top5, memory, _ = MMACTION2[kind]
    config = load_run_config(mmaction2_file(kind))
    model, optimizer = config.section("MODEL"), config.section("OPTIMIZER")
    backbone = model["backbone"]
    assert (backbone["attention_type"], backbone["num_seg"], backbone["qkv_bias"]) == (attention, 8, True)
    assert (config["DATASET"]["batch_size"], optimizer["base_batch_size"]) == (batch, batch * 8)
    assert (config["DATASET"]["num_workers"], config["DATASET"]["test_batch_size"]) == (2, 1)
    assert in_numbers(optimizer["learning_rate"], Run(15), False) == {
        "name": "WarmupStepDecay", "base_lr": rate, "milestones": [5, 10], "gamma": 0.1,
    }  # fmt: skip
    assert (optimizer["momentum"], optimizer["use_nesterov"], optimizer["weight_decay"]["value"]) == (0.9, True, 1e-4)
    assert optimizer["grad_clip"]["value"] == 40.0
    spared = {"cls_token", "pos_embed", *(() if kind == "spaceOnly" else ("time_embed",))}
    assert set(optimizer["no_weight_decay_name"].split()) == spared
    assert (config["epochs"], config["val_interval"], config["save_interval"]) == (15, 1, 1)
    assert model["runtime_cfg"]["test"]["avg_type"] == "prob"
    pipelines = config.section("PIPELINE")
    assert names(pipelines["train"]["transform"]) == ["RandomRescale", "RandomCrop", "Flip", "Normalization"]
    shapes = [clip_of(pipelines[split]).shape for split in ("train", "valid", "test")]
    assert shapes == [(1, 8, 224, 224, 3), (1, 8, 224, 224, 3), (3, 8, 224, 224, 3)]
    for steps in pipelines.values():
        assert (steps["sample"]["frame_interval"], steps["sample"]["clip_len"], steps["sample"]["num_clips"]) == (
            32,
            8,
            1,
        )
        assert steps["transform"][-1]["Normalization"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert all(figure in mmaction2_file(kind).read_text() for figure in (top1, top5, memory))


@pytest.mark.parametrize("kind", MMACTION2)
def test_with_no_names_every_parameter_decays_as_in_mmaction2_s_training(kind):
    """Its files exclude the embeddings under names with a leading dot, which no parameter has."""
    config = load_run_config(mmaction2_file(kind), [*SMALL, 'OPTIMIZER.no_weight_decay_name=""'])
    groups = parameter_groups(config.section("OPTIMIZER"), network(config, pretrained=False))
    assert [(group.lr_mult, group.decay_mult) for group in groups] == [(1.0, 1.0)]
    for page in ("README.md", "README_zh-CN.md"):
        assert '`OPTIMIZER.no_weight_decay_name: ""`' in (FOLDER / "timesformer" / page).read_text()


def test_the_misspelt_name_is_the_same_configuration():
    assert load_config(mmaction2_file("sapceOnly")).to_dict() == load_config(mmaction2_file("spaceOnly")).to_dict()


PADDLEVIDEO = {  # file -> (frames, clips per card, classes, epochs, published top-1)
    "timesformer/timesformer_k400_videos": (8, 1, 400, 15, "77.29"),
    "timesformer/timesformer_ucf101_videos": (8, 4, 101, 15, None),
    "pptimesformer/pptimesformer_k400_videos": (8, 8, 400, 20, "78.61"),
    "pptimesformer/pptimesformer_k400_videos_16frames": (16, 4, 400, 20, "79.44"),
    "pptimesformer/pptimesformer_ucf101_videos": (8, 8, 101, 15, None),
}


@pytest.mark.parametrize("name", PADDLEVIDEO)
def test_paddlevideo_s_rows(name):
    frames, batch, classes, epochs, published = PADDLEVIDEO[name]
    config = load_run_config(FOLDER / f"{name}.yaml")
    model, pipelines, pp = config.section("MODEL"), config.section("PIPELINE"), name.startswith("pp")
    assert (model["backbone"]["num_seg"], model["head"]["num_classes"], config["epochs"]) == (frames, classes, epochs)
    assert model["backbone"]["qkv_bias"] is not pp and model["head"].get("ls_eps", 0.0) == (0.1 if pp else 0.0)
    assert (config["DATASET"]["batch_size"], config["GRADIENT_ACCUMULATION"]["global_batch_size"]) == (batch, 64)
    for split, steps in pipelines.items():
        assert steps["decode"]["mode"] == split and steps["sample"]["linspace_sample"] is True
        assert clip_of(steps).shape == (3 if split == "test" else 1, frames, 224, 224, 3)
    crops = ["JitterScale", "CenterCrop"] if pp else ["JitterScale", "RandomCrop", "RandomFlip"]
    assert names(pipelines["valid"]["transform"])[2:] == crops
    assert len((ROOT / config["DATASET"]["label_names"]).read_text().splitlines()) == classes
    rates = config["OPTIMIZER"]["learning_rate"]
    scale = 1.0 if classes == 400 else 0.1  # fine-tuning: chosen here
    peak = rates["cosine_base_lr"] if pp else rates["learning_rate"]
    assert peak == pytest.approx((0.0025 if pp else 0.005) * scale)
    assert published is None or published in (FOLDER / f"{name}.yaml").read_text()
    if pp:
        assert config["MIX"] == {"name": "VideoMix", "cutmix_prob": 0.5, "mixup_alpha": 0.2, "cutmix_alpha": 1.0}
        assert "max_epoch" not in rates and config["OPTIMIZER"]["grad_clip"]["value"] == 40.0


# --- PaddleVideo's own files, their keys and values written anew -----------------------------------------------------


def original(pp, avg_type, metric, head):
    """What PaddleVideo's ``timesformer_k400_videos.yaml`` (or, ``pp``, ``pptimesformer_...``) says, every key of it."""
    mean, std = ([0, 0, 0], [1, 1, 1]) if pp else ([0.45] * 3, [0.225] * 3)
    begin = [
        {"Normalization": {"mean": mean, "std": std, "tensor_shape": [1, 1, 1, 3]}},
        {"Image2Array": {"data_format": "cthw"}},
    ]

    def scale(low, high):
        return {"JitterScale": {"min_size": low, "max_size": high}}

    drawn = [*begin, scale(256, 320), {"RandomCrop": {"target_size": 224}}, {"RandomFlip": None}]
    centre = [*begin, scale(256, 256), {"CenterCrop": {"target_size": 224}}]
    three = [*begin, scale(224, 224), {"UniformCrop": {"target_size": 224}}]

    def steps(mode, valid_mode, transform):
        sample = {"name": "Sampler", "num_seg": 8, "seg_len": 1, "valid_mode": valid_mode, "linspace_sample": True}
        decode = {"name": "VideoDecoder", "backend": "pyav", "mode": mode, "num_seg": 8}
        return {"decode": decode, "sample": sample, "transform": transform}

    def split(name):
        return {"format": "VideoDataset", "data_prefix": "data/k400/videos", "file_path": f"data/k400/{name}.list"}

    rate = {"learning_rate": 0.005, "name": "MultiStepDecay", "milestones": [11, 14], "gamma": 0.1}
    if pp:
        rate = {
            "iter_step": True, "name": "CustomWarmupCosineDecay", "max_epoch": 20, "warmup_epochs": 2,
            "warmup_start_lr": 0.00025, "cosine_base_lr": 0.0025,
        }  # fmt: skip
    optimizer = {
        "name": "Momentum", "momentum": 0.9, "learning_rate": rate,
        "weight_decay": {"name": "L2", "value": 0.00007 if pp else 0.0001}, "use_nesterov": True,
    }  # fmt: skip
    weights = "vit_base_patch16_224_miil_21k_trans" if pp else "ViT_base_patch16_224_pretrained"
    helper = {"name": "TimeSformer_Inference_helper", "num_seg": 8, "target_size": 224}
    return {
        "MODEL": {
            "framework": "RecognizerTransformer",
            "backbone": {
                "name": "VisionTransformer_tweaks" if pp else "VisionTransformer",
                "pretrained": f"data/{weights}.pdparams", "img_size": 224, "patch_size": 16, "in_channels": 3,
                "embed_dim": 768, "depth": 12, "num_heads": 12, "mlp_ratio": 4, "qkv_bias": not pp,
                "epsilon": "1e-6", "num_seg": 8, "attention_type": "divided_space_time",
            },
            "head": {
                "name": head, "num_classes": 400, "in_channels": 768, "std": 0.02, **({"ls_eps": 0.1} if pp else {}),
            },
            "runtime_cfg": {"test": {"num_seg": 8, "avg_type": avg_type}},
        },
        "DATASET": {
            "batch_size": 8 if pp else 1, "num_workers": 4, "test_batch_size": 1 if pp else 8,
            "train": split("train"), "valid": split("val"), "test": split("val"),
        },
        "PIPELINE": {
            "train": steps("train", False, drawn),
            "valid": steps("valid", pp, centre if pp else drawn),
            "test": steps("test", True, three),
        },
        "OPTIMIZER": {**optimizer, **({"grad_clip": {"name": "ClipGradByGlobalNorm", "value": 40.0}} if pp else {})},
        "GRADIENT_ACCUMULATION": {"global_batch_size": 64},
        **({"MIX": {"name": "VideoMix", "cutmix_prob": 0.5, "mixup_alpha": 0.2, "cutmix_alpha": 1.0}} if pp else {}),
        "METRIC": {"name": metric},
        "INFERENCE": {**helper, "mean": mean, "std": std} if pp else helper,
        "model_name": "ppTimeSformer" if pp else "TimeSformer",
        "log_interval": 20,
        "save_interval": 5 if pp else 3,
        "epochs": 20 if pp else 15,
        "log_level": "INFO",
    }  # fmt: skip


ORIGINALS = {  # as released at different times
    "timesformer_score": (False, "score", "MultiCropMetric", "TimeSformerHead"),
    "timesformer_prob": (False, "prob", "CenterCropMetric", "TimeSformerHead"),
    "pptimesformer": (True, "prob", "CenterCropMetric", "TimeSformerHead"),
    "pptimesformer_own_head": (True, "prob", "CenterCropMetric", "ppTimeSformerHead"),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("k400") / "clips", 4)


def reduced(config, clips, output):
    """The same at 3 blocks' cost: small network, small data, no accumulation."""
    backbone = config["MODEL"]["backbone"]
    smaller, config["MODEL"]["head"]["in_channels"] = REDUCED[backbone["name"]]
    backbone |= smaller
    backbone.pop("pretrained")
    config["DATASET"] |= {"batch_size": 2, "test_batch_size": 2, "num_workers": 0}
    for split in ("train", "valid", "test"):
        config["DATASET"][split] |= {"file_path": str(clips), "data_prefix": ""}
    config["GRADIENT_ACCUMULATION"] = {"global_batch_size": 2}
    return config | {"epochs": 1, "output_dir": str(output)}


@pytest.mark.parametrize("name", ORIGINALS)
def test_paddlevideo_s_original_file_runs_as_it_is(name, clips, tmp_path, capsys, monkeypatch):
    import main as command

    file = save(original(*ORIGINALS[name]), tmp_path / "k400_videos.yaml")
    monkeypatch.setattr(sys, "argv", ["main.py", "-c", str(file), "--check"])
    assert command.main() == 0 and "TimeSformer_Inference_helper" in capsys.readouterr().out
    config = Config(reduced(load_run_config(file).to_dict(), clips, tmp_path / "out"), str(file))
    run = train(config, Options(validate=True, max_iters=1))
    best = tmp_path / "out" / f"{config['model_name']}_best.pdparams"
    assert run.progress.step == 1 and best.is_file()
    assert run_test(config, Options(weights=str(best), max_iters=1))["num_samples"] == 2
    report = export(config, best, tmp_path / "inference", say=lambda line: None)
    assert report.program.is_file() and report.num_classes == 400


def test_the_shipped_files_say_what_the_originals_say():
    """All but what is said elsewhere: INFERENCE (the test pipeline is it) and the batch that --scale_lr reads."""
    for file, key in (
        (PP, "pptimesformer_own_head"),
        (FOLDER / "timesformer" / "timesformer_k400_videos.yaml", "timesformer_score"),
    ):
        ours, theirs = load_config(file).to_dict(), original(*ORIGINALS[key])
        theirs.pop("INFERENCE")
        theirs["METRIC"] = {"name": "CenterCropMetric"}  # the other name of the same figures
        theirs["MODEL"]["backbone"]["epsilon"] = 1e-6
        ours["OPTIMIZER"].pop("base_batch_size")
        ours["OPTIMIZER"]["learning_rate"] = in_numbers(ours["OPTIMIZER"]["learning_rate"], Run(ours["epochs"]), False)
        ours["DATASET"].pop("label_names")
        assert ours == theirs


# --- the page's commands, on a miniature Kinetics --------------------------------------------------------------------

SMALL = (
    "MODEL.backbone.patch_size=32", "MODEL.backbone.embed_dim=24", "MODEL.backbone.depth=2",
    "MODEL.backbone.num_heads=2", "MODEL.head.in_channels=24",
)  # fmt: skip


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
    framework = network(load_config(PP, [*SMALL, f"num_seg={frames}"]), pretrained=False)
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

    small, quick = overrides(*SMALL), overrides(*QUICK)
    assert run(monkeypatch, command, "--validate", "-c", PP, *small, *quick) == 0
    best = tmp_path / "output" / "ppTimeSformer" / "ppTimeSformer_best.pdparams"
    assert best.is_file() and "Already save the best model (top1 acc)0." in capsys.readouterr().out

    assert run(monkeypatch, command, "--test", "-c", PP, "-w", best, *small, *quick) == 0
    assert run(monkeypatch, command, "--test", "-c", PP, *small, *quick, *overrides(*RECIPE),
        "-w", "data/ppTimeSformer_k400_16f_distill.pdparams") == 0  # fmt: skip

    override = overrides(*SMALL, flag="--override")
    assert run_script("tools/export_model.py", ["-c", str(PP), "-p", "data/ppTimeSformer_k400_8f.pdparams", "-o",
        "inference/ppTimeSformer", *override]) == 0  # fmt: skip
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
    settings = ["-c", PP, *overrides(*SMALL, *QUICK)]
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

    exported, given = "inference/ppTimeSformer/ppTimeSformer", overrides(*SMALL, flag="--override")
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

    config = load_config(PP, [*SMALL, f"num_seg={frames}"])
    framework = network(config, pretrained=False)
    framework.eval()
    load_weights(framework, weights)
    sample = {"filename": "data/example.avi", "index": 0}
    clip = Pipeline(config.section("PIPELINE")["test"], "test")(sample, np.random.default_rng(0))["imgs"]
    with paddle.no_grad():
        return framework({"imgs": paddle.to_tensor(clip[None])}, mode="predict")["scores"].numpy()[0]


def test_eight_frame_weights_fine_tune_sixteen_frames_but_do_not_test_them(kinetics, monkeypatch, capsys):
    import main as command
    from paddlevideo.errors import UserError

    weights = "data/ppTimeSformer_k400_8f.pdparams"
    file = FOLDER / "pptimesformer" / "pptimesformer_k400_videos_16frames.yaml"
    quick = overrides(*SMALL, "DATASET.batch_size=2", "DATASET.num_workers=0", "epochs=1",
        "GRADIENT_ACCUMULATION.global_batch_size=2", "OPTIMIZER.learning_rate.warmup_epochs=1")  # fmt: skip
    assert run(monkeypatch, command, "-c", file, "-w", weights, "--max_iters", 1, *quick) == 0
    assert "resized     backbone.time_embed: file [1, 8, 24], network [1, 16, 24]" in capsys.readouterr().out
    with pytest.raises(UserError, match="a test never resizes"):
        run(monkeypatch, command, "--test", "-c", file, "-w", weights, *quick)


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
    plain = load_run_config(PP, [*SMALL, "DATASET.num_workers=0"], uses=("test",))
    assert run_test(plain, Options(weights=str(best), max_iters=1))["num_samples"] == 1


@pytest.mark.parametrize("page", ["README.md", "README_zh-CN.md"])
def test_the_pages_recipe_for_16_frames_of_448_pixels(page):
    """The command's overrides, read from the page: clips of that size, and 8-frame 224-pixel weights that begin it."""
    from paddlevideo.modeling.weights import load_weights

    text = (FOLDER / "timesformer" / page).read_text()
    command = next(block for block in text.split("```") if "img_size=448" in block).replace("\\\n", " ").split()
    file = ROOT / command[command.index("-c") + 1]
    given = [command[i + 1] for i, word in enumerate(command) if word == "-o"]
    config = load_config(file, [*given, *SMALL], uses=("train", "valid"))
    pipelines = config.section("PIPELINE")
    assert clip_of(pipelines["train"]).shape == clip_of(pipelines["valid"]).shape == (1, 16, 448, 448, 3)
    small = network(load_config(file, SMALL), pretrained=False).state_dict()
    report = load_weights(network(config, pretrained=False), {k: v.numpy() for k, v in small.items()}, strict=False)
    assert report.resized == {
        "backbone.pos_embed": ([1, 50, 24], [1, 197, 24]), "backbone.time_embed": ([1, 8, 24], [1, 16, 24]),
    }  # fmt: skip


def test_every_configuration_and_command_of_the_pages_exists():
    for folder in ("timesformer", "pptimesformer"):
        files = {file.name for file in (FOLDER / folder).glob("*.yaml")}
        for page in ("README.md", "README_zh-CN.md"):
            text = (FOLDER / folder / page).read_text()
            named = set(re.findall(r"configs/recognition/[\w/]+\.yaml", text))
            assert all((ROOT / name).is_file() for name in named)
            told = {file for file in files if file.split(".")[0] in text}
            assert told >= {file for file in files if "sapceOnly" not in file}
