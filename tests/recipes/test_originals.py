"""PaddleVideo's own files, their keys and values written anew: they run as they are, and say what ours say."""

import sys

import cv2
import numpy as np
import pytest
import yaml

from paddlevideo.build import load_run_config
from paddlevideo.config import Config, load_config
from paddlevideo.config.checking import check
from paddlevideo.engine.training import train
from paddlevideo.inference.export import export
from paddlevideo.inference.predictor import load
from paddlevideo.modeling import build_framework
from paddlevideo.settings import Options
from paddlevideo.solver.lengths import Run, in_numbers
from tests.recipes.leaves import CONFIGS, reduce
from tests.tiny import make_clips, moving_square, run_test, save

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


# --- PP-TSM v2, alone and learning with a teacher; PP-TSM on MobileNetV3

PPTSM = FOLDER / "pptsm"
NETWORKS = {"v2": ("PPTSM_v2", "PPLCNetV2_base"), "mv3": ("PPTSM_MobileNetV3", "MobileNetV3_large_x1_0")}


def student(kind, frames, mutual):
    """The backbone and head of a file; that of MobileNetV3 names neither frames nor classes."""
    name, weights = NETWORKS[kind]
    backbone = {"name": name, "pretrained": f"data/{weights}_ssld_pretrained.pdparams"}
    if kind == "v2":
        backbone |= {"num_seg": frames, "class_num": 400}
    if mutual and frames == 16:
        backbone["use_temporal_att"] = True
    return {"backbone": backbone, "head": {"name": "MoViNetHead"}}


def mutual_model(frames):
    """MODEL of the files with ``dml_distillation`` in their names."""
    teacher = {
        "backbone": {
            "name": "ResNetTweaksTSM", "pretrained": "data/ResNet50_vd_ssld_v2_pretrained.pdparams", "depth": 50,
            "num_seg": frames,
        },
        "head": {
            "name": "ppTSMHead", "num_classes": 400, "in_channels": 2048, "drop_ratio": 0.5, "std": 0.01,
            "num_seg": frames,
        },
    }  # fmt: skip
    labels = {
        name: {"name": "DistillationCELoss", "model_name_pairs": [name, "GroundTruth"]}
        for name in ("Student", "Teacher")
    }
    mutual = {"name": "DistillationDMLLoss", "model_name_pairs": ["Student", "Teacher"]}
    return {
        "framework": "RecognizerDistillation",
        "freeze_params_list": [False, False],
        "models": [{"Teacher": teacher}, {"Student": student("v2", frames, mutual=True)}],
        "loss": {"Train": [*labels.values(), mutual], "Val": [labels["Student"]]},
    }


def original_pptsm(kind, frames, mutual=False):
    """What PaddleVideo's ``pptsm_lcnet_k400_{frames}frames_uniform`` and its relatives say."""
    normalization = {"Normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}
    end = [{"Image2Array": None}, normalization]
    drawn = [
        {"Scale": {"short_size": 256}}, {"MultiScaleCrop": {"target_size": 256}}, {"RandomCrop": {"target_size": 224}},
        {"RandomFlip": None}, *end,
    ]  # fmt: skip
    centre = [{"Scale": {"short_size": 256}}, {"CenterCrop": {"target_size": 224}}, *end]

    def steps(valid_mode, transform):
        sample = {"name": "Sampler", "num_seg": frames, "seg_len": 1, "valid_mode": valid_mode}
        return {"decode": {"name": "FrameDecoder"}, "sample": sample, "transform": transform}

    def split(name):
        listed = f"data/k400_frames/{name}.list"
        return {"format": "FrameDataset", "data_prefix": "", "file_path": listed, "suffix": "img_{:05}.jpg"}

    rate, epochs = (0.005 if mutual else 0.01), (120 if kind == "v2" else 80)
    precise = {"preciseBN_interval": 5, "num_iters_preciseBN": 200}
    return {
        "MODEL": mutual_model(frames) if mutual else {"framework": "Recognizer2D", **student(kind, frames, False)},
        "DATASET": {
            "batch_size": 8 if mutual else 16, "num_workers": 4,
            "train": split("train"), "valid": split("val"), "test": split("val"),
        },
        "PIPELINE": {"train": steps(False, drawn), "valid": steps(True, centre), "test": steps(True, centre)},
        "OPTIMIZER": {
            "name": "Momentum", "momentum": 0.9,
            "learning_rate": {
                "iter_step": True, "name": "CustomWarmupCosineDecay", "max_epoch": epochs, "warmup_epochs": 10,
                "warmup_start_lr": rate / 2, "cosine_base_lr": rate,
            },
            "weight_decay": {"name": "L2", "value": 0.0001}, "use_nesterov": True,
        },
        "MIX": {"name": "Mixup", "alpha": 0.2},
        **({} if kind == "v2" else {"PRECISEBN": precise}),
        "METRIC": {"name": "CenterCropMetric"},
        "INFERENCE": {"name": "ppTSM_Inference_helper", "num_seg": frames, "target_size": 224},
        "model_name": "ppTSMv2" if kind == "v2" else "ppTSM",
        "log_interval": 10, "epochs": epochs, "log_level": "INFO",
    }  # fmt: skip


PPTSM_ORIGINALS = {
    "v2/pptsm_lcnet_k400_8frames_uniform": ("v2", 8),
    "v2/pptsm_lcnet_k400_16frames_uniform": ("v2", 16),
    "v2/pptsm_lcnet_k400_8frames_uniform_dml_distillation": ("v2", 8, True),
    "v2/pptsm_lcnet_k400_16frames_uniform_dml_distillation": ("v2", 16, True),
    "pptsm_mv3_k400_frames_uniform": ("mv3", 8),
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A list of four folders of 20 frames."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    for i in range(4):
        (folder / str(i)).mkdir()
        for t, frame in enumerate(moving_square(rng, bool(i % 2), frames=20), 1):
            cv2.imwrite(str(folder / str(i) / f"img_{t:05}.jpg"), frame)
    (folder / "frames.list").write_text("".join(f"{folder / str(i)} 20 {i % 2}\n" for i in range(4)))
    return folder / "frames.list"


@pytest.mark.parametrize("name", PPTSM_ORIGINALS)
def test_an_original_file_of_pptsm_trains_as_it_is(name, frames, tmp_path, capsys, monkeypatch):
    """With Mixup, which fails in PaddleVideo's own mutual learning."""
    import main as command

    file = save(original_pptsm(*PPTSM_ORIGINALS[name]), tmp_path / "k400_frames.yaml")
    monkeypatch.setattr(sys, "argv", ["main.py", "-c", str(file), "--check"])
    assert command.main() == 0 and "ppTSM_Inference_helper" in capsys.readouterr().out
    config = load_run_config(file).to_dict()
    config = Config(reduce(config, {"FrameDataset": frames}, tmp_path / "out"), str(file))
    run = train(config, Options(validate=True, max_iters=1))
    mutual = name.endswith("distillation")
    best = tmp_path / "out" / f"{config['model_name']}_best{'_student' if mutual else ''}.pdparams"
    assert run.progress.step == 1 and best.is_file()
    assert run_test(config, Options(weights=str(best), max_iters=1))["num_samples"] == 2
    if mutual:  # both learn, and the plain file takes the student
        learning = {key.partition(".")[0] for key, p in run.framework.named_parameters() if not p.stop_gradient}
        assert learning == {"Teacher", "Student"}
        plain = original_pptsm("v2", PPTSM_ORIGINALS[name][1])
        plain["MODEL"] = student("v2", PPTSM_ORIGINALS[name][1], mutual=True) | {"framework": "Recognizer2D"}
        plain = Config(reduce(plain, {"FrameDataset": frames}, tmp_path / "plain"), str(file))
        assert run_test(plain, Options(weights=str(best), max_iters=1))["num_samples"] == 2


@pytest.mark.parametrize("name", PPTSM_ORIGINALS)
def test_the_shipped_file_of_pptsm_equals_the_original(name):
    ours, theirs = load_config(PPTSM / f"{name}.yaml").to_dict(), original_pptsm(*PPTSM_ORIGINALS[name])
    theirs.pop("INFERENCE")
    theirs["MODEL"].get("loss", {}).pop("Val", None)  # validation computes METRIC
    if name.startswith("pptsm_mv3"):
        theirs["MODEL"]["backbone"] |= {"num_seg": 8, "class_num": 400}
    ours["OPTIMIZER"].pop("base_batch_size")
    ours["OPTIMIZER"]["learning_rate"] = in_numbers(ours["OPTIMIZER"]["learning_rate"], Run(ours["epochs"]), False)
    ours["DATASET"].pop("label_names")
    assert ours["PIPELINE"]["test"]["sample"].pop("dense_sample") is False
    assert ours == theirs


# --- SlowFast

SPLITS = ("train", "valid", "test")
WRITTEN_WHILE_RUNNING = (
    "default_batch_size", "default_temporal_size", "default_crop_size", "long_cycle_sampling_rate",
)  # fmt: skip


def original_slowfast(multigrid):
    """What PaddleVideo's ``slowfast.yaml`` (or, ``multigrid``, ``slowfast_multigrid.yaml``) says, every key of it."""
    alpha, side = (4, 224) if multigrid else (8, 256)

    def steps(test, low, high, size):
        sampler = {
            "name": "DecodeSampler",
            "num_frames": 32,
            "sampling_rate": 2,
            **({"test_mode": True} if test else {}),
        }
        crop = {"target_size": size, **({"test_mode": True} if test else {})}
        colours = {"mean": [0.45] * 3, "std": [0.225] * 3, "tensor_shape": [1, 1, 1, 3]}
        return {
            "decode_sampler": sampler,
            "transform": [
                {"JitterScale": {"min_size": low, "max_size": high}}, {"MultiCrop": crop},
                *([] if test else [{"RandomFlip": None}]), {"Image2Array": {"transpose": False}},
                {"Normalization": colours}, {"PackOutput": {"alpha": alpha}},
            ],
        }  # fmt: skip

    def split(name, **more):
        prefix = {} if multigrid else {"data_prefix": "data/k400/videos"}
        return {"format": "SFVideoDataset", **prefix, "file_path": f"data/k400/{name}.list", **more}

    rate = {
        "iter_step": True, "name": "CustomWarmupCosineDecay", "max_epoch": 196, "warmup_epochs": 34,
        "warmup_start_lr": 0.01, "cosine_base_lr": 0.1,
    }  # fmt: skip
    grid = {}
    if multigrid:
        rate = {
            "iter_step": True, "name": "CustomWarmupPiecewiseDecay", "warmup_epochs": 34, "warmup_start_lr": 0.01,
            "step_base_lr": 0.1, "lrs": [1, 0.1, 0.01, 0.001, 0.0001, 0.00001], "gamma": 0.1,
            "steps": [0, 94, 154, 196], "max_epoch": 239,
        }  # fmt: skip
        factors = [{"value": pair} for pair in ([0.25, 0.7071], [0.5, 0.7071], [0.5, 1], [1, 1])]
        grid = {
            "LONG_CYCLE": True, "SHORT_CYCLE": True, "default_batch_size": 0, "default_temporal_size": 0,
            "default_crop_size": 0, "epoch_factor": 1.5, "bn_base_size": 8, "long_cycle_sampling_rate": 0,
            "long_cycle_factors": factors, "short_cycle_factors": [0.5, 0.7071],
        }  # fmt: skip
    views = {"num_ensemble_views": 10, "num_spatial_crops": 3}
    sizes = {"width_per_group": 64, "alpha": alpha, "beta": 8}
    return {
        "MODEL": {
            "framework": "Recognizer3D",
            "backbone": {
                "name": "ResNetSlowFast", "depth": 50, **sizes, "fusion_kernel_sz": 7 if multigrid else 5,
                **({"bn_norm_type": "batchnorm"} if multigrid else {}),
            },
            "head": {
                "name": "SlowFastHead", **sizes, "num_classes": 400, "num_frames": 32, "crop_size": 224,
                "dropout_rate": 0.5, **({"multigrid_short": True} if multigrid else {}),
            },
        },
        "DATASET": {
            "batch_size": 8, "test_batch_size": 8, "num_workers": 4 if multigrid else 8, "train": split("train"),
            "valid": split("val"), "test": split("val", test_mode=True, **views),
        },
        "PIPELINE": {
            "train": steps(False, 256, 320, 224), "valid": steps(False, 256, 320, 224),
            "test": steps(True, side, side, side),
        },
        "OPTIMIZER": {
            "name": "Momentum", "momentum": 0.9, "learning_rate": rate,
            "weight_decay": {"name": "L2", "value": "1e-4"}, "use_nesterov": True,
        },
        "METRIC": {"name": "MultiCropMetric", **views, ("num_classes" if multigrid else "num_cls"): 400},
        **({"MULTIGRID": grid} if multigrid else {}),
        "PRECISEBN": {"preciseBN_interval": 20 if multigrid else 10, "num_iters_preciseBN": 200},
        "INFERENCE": {
            "name": "SlowFast_Inference_helper", "num_frames": 32, "sampling_rate": 2, "target_size": 256,
            "alpha": alpha,
        },
        "model_name": "SlowFast",
        **({} if multigrid else {"log_interval": 20, "save_interval": 10}),
        "val_interval": 20 if multigrid else 10,
        "epochs": 239 if multigrid else 196,
        "log_level": "INFO",
    }  # fmt: skip


@pytest.mark.parametrize(("multigrid", "count"), [(False, 34_540_904), (True, 34_627_176)])
def test_slowfast_s_network_has_the_values_of_the_reference(multigrid, count):
    state = build_framework(original_slowfast(multigrid)["MODEL"]).state_dict()
    assert len(state) == 552 and sum(int(value.size) for value in state.values()) == count
    assert list(state["head.projection.weight"].shape) == [2304, 400]


@pytest.mark.slow
@pytest.mark.parametrize("multigrid", [False, True], ids=["slowfast", "slowfast_multigrid"])
def test_paddlevideo_s_slowfast_files_run_as_they_are(multigrid, clips, tmp_path, capsys, monkeypatch):
    import main as command

    file = save(original_slowfast(multigrid), tmp_path / "slowfast.yaml")
    monkeypatch.setattr(sys, "argv", ["main.py", "-c", str(file), "--check"])
    assert command.main() == 0 and "num_clips: 10" in capsys.readouterr().out
    config = load_run_config(file).to_dict()
    config = Config(reduce(config, {"SFVideoDataset": clips}, tmp_path / "out"), str(file))
    run = train(config, Options(validate=True, max_iters=1))
    best = tmp_path / "out" / "SlowFast_best.pdparams"
    assert run.progress.step == 1 and best.is_file()
    assert run_test(config, Options(weights=str(best), max_iters=1))["num_samples"] == 2
    report = export(config, best, tmp_path / "inference", say=lambda line: None)
    assert "num_clips: 2" in (tmp_path / "inference" / "inference.yml").read_text()
    (predicted,) = load(str(report.program)).predict(clips.with_name("clip 0.mp4"))
    assert report.num_classes == 400 and predicted.scores.shape == (400,)


def test_the_shipped_slowfast_files_say_what_the_originals_say(tmp_path):
    """All but INFERENCE, the names of classes, the batch that --scale_lr reads, the test batch (30 views are one sample
    here), the folder of the videos, the keys that PaddleVideo writes to while it runs, and PIPELINE.valid: the
    originals validate on random clips and crops."""
    for multigrid, name in ((False, "slowfast"), (True, "slowfast_multigrid")):
        ours = load_config(FOLDER / "slowfast" / f"{name}.yaml").to_dict()
        theirs = load_config(save(original_slowfast(multigrid), tmp_path / "original.yaml")).to_dict()
        for config in (ours, theirs):
            for path in ("INFERENCE", "PIPELINE.valid", "DATASET.label_names", "DATASET.test_batch_size",
                         "OPTIMIZER.base_batch_size", "log_interval", "save_interval",
                         *(f"DATASET.{split}.{key}" for split in SPLITS for key in ("data_prefix", "test_mode")),
                         *(f"MULTIGRID.{key}" for key in WRITTEN_WHILE_RUNNING)):  # fmt: skip
                *parents, last = path.split(".")
                section = config
                for key in parents:
                    section = section.get(key, {})
                section.pop(last, None)
        rate = ours["OPTIMIZER"]["learning_rate"]
        ours["OPTIMIZER"]["learning_rate"] = in_numbers(rate, Run(ours["epochs"]), False)
        theirs["METRIC"] = {"name": theirs["METRIC"]["name"]}  # its numbers stand in DATASET.test and MODEL.head, too
        theirs["OPTIMIZER"]["weight_decay"]["value"] = float(theirs["OPTIMIZER"]["weight_decay"]["value"])
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
