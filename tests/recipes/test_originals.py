"""PaddleVideo's own files, their keys and values written anew: they run as they are, and say what ours say."""

import sys

import pytest
import yaml

from paddlevideo.build import load_run_config
from paddlevideo.config import Config, load_config
from paddlevideo.config.checking import check
from paddlevideo.engine.training import train
from paddlevideo.inference.export import export
from paddlevideo.settings import Options
from paddlevideo.solver.check import Run, in_numbers
from tests.recipes.leaves import CONFIGS, reduce
from tests.tiny import make_clips, run_test, save

FOLDER = CONFIGS / "recognition"
PP = FOLDER / "pptimesformer" / "pptimesformer_k400_videos.yaml"
AVA = CONFIGS / "detection" / "ava" / "ava.yaml"


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


@pytest.mark.parametrize("name", ORIGINALS)
def test_paddlevideo_s_original_file_runs_as_it_is(name, clips, tmp_path, capsys, monkeypatch):
    import main as command

    file = save(original(*ORIGINALS[name]), tmp_path / "k400_videos.yaml")
    monkeypatch.setattr(sys, "argv", ["main.py", "-c", str(file), "--check"])
    assert command.main() == 0 and "TimeSformer_Inference_helper" in capsys.readouterr().out
    config = load_run_config(file).to_dict()
    config = Config(reduce(config, {"VideoDataset": clips}, tmp_path / "out"), str(file))
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


# --- AVA


def original_ava():
    """What PaddleVideo's ``configs/detection/ava/ava.yaml`` says, spelled as there."""
    config = load_config(AVA).to_dict()
    for split, low in (("train", "(256,320)"), ("valid", "(-1, 256)"), ("test", "(-1, 256)")):
        first = config["PIPELINE"][split]["transform"][0]
        next(iter(first.values()))["scale_range"] = low
    for split in ("train", "valid"):
        del config["DATASET"][split]["suffix"]
    config["DATASET"]["valid"]["test_mode"] = config["DATASET"]["test"]["test_mode"] = True
    config["DATASET"]["test"]["exclude_file"] = "./data/ava_test_excluded_timestamps_v2.1.csv"  # there is no such file
    config["PIPELINE"]["test"]["sample"] = config["PIPELINE"]["test"].pop("sampler")
    order = ("sample", "decoder", "transform")
    config["PIPELINE"]["test"] = {key: config["PIPELINE"]["test"][key] for key in order}
    rate = config["OPTIMIZER"]["learning_rate"]
    config["OPTIMIZER"]["learning_rate"] = rate | {"lrs": [1, 0.1, 0.01, 0.001, 0.0001, 0.00001], "gamma": 0.1}
    config["OPTIMIZER"]["weight_decay"]["value"] = "1e-5"
    del config["OPTIMIZER"]["base_batch_size"]
    config["INFERENCE"] = {
        "name": "AVA_SlowFast_FastRCNN_Inference_helper", "config_file_path": "configs/detection/ava/ava.yaml",
        "detection_model_name": "faster_rcnn/faster_rcnn_r50_fpn_1x_coco",
        "detection_model_weights": "faster_rcnn_r50_fpn_1x_coco.pdparams",
        "predict_stepsize": 4, "num_frames": 32, "alpha": 4, "target_size": 256,
    }  # fmt: skip
    return config


def test_paddlevideos_original_file_is_accepted(tmp_path):
    file = tmp_path / "ava.yaml"
    file.write_text(yaml.safe_dump(original_ava(), sort_keys=False))
    config = load_run_config(file)
    assert config.section("OPTIMIZER")["weight_decay"]["value"] == 1e-5
    assert [*config.section("PIPELINE")["test"]] == ["sample", "decoder", "transform"]
    broken = original_ava()
    broken["MODEL"]["head"]["bbox_head"]["droput_ratio"] = 0.1
    assert any("droput_ratio" in problem for problem in check(broken))
