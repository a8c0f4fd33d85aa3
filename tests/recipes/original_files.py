"""The 24 files of PaddleVideo whose models are here, key by key and value by value, written anew."""

from typing import Any

from tests.recipes.test_originals import (
    ORIGINALS,
    PPTSM_ORIGINALS,
    original,
    original_ava,
    original_pptsm,
    original_slowfast,
)
from tests.unit.inference.test_quantisation_file import quantisation_file

IMAGENET = {"Normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}
FRAMES = {"suffix": "img_{:05}.jpg", "data_prefix": ""}


def splits(form: str, names: tuple[str, str], **more: Any) -> dict[str, Any]:
    """DATASET.train, valid and test of two lists."""
    train, val = names
    return {
        split: {"format": form, "file_path": file, **more}
        for split, file in (("train", train), ("valid", val), ("test", val))
    }


def tsm(data: str, kind: str) -> dict[str, Any]:
    """``tsm_{data}_{kind}.yaml``."""
    ucf, nhwc = data == "ucf101", kind.endswith("nhwc")
    layout = {"data_format": "NHWC"} if nhwc else {}
    colours = {"Normalization": {**IMAGENET["Normalization"], **({"tensor_shape": [1, 1, 3]} if nhwc else {})}}
    end = [{"Image2Array": {"transpose": False} if nhwc else None}, colours]
    drawn = [{"MultiScaleCrop": {"target_size": 224, "allow_duplication": True}}, {"RandomFlip": None}, *end]
    centre = [{"Scale": {"short_size": 256, "fixed_ratio": False}}, {"CenterCrop": {"target_size": 224}}, *end]
    form = "VideoDataset" if kind == "videos" else "FrameDataset"
    part = "videos" if kind == "videos" else "rawframes"
    lists = tuple(f"data/ucf101/ucf101_{split}_split_1_{part}.txt" for split in ("train", "val"))
    names = lists if ucf else ("data/k400/train.list", "data/k400/val.list")

    def steps(valid_mode: bool, transform: list) -> dict[str, Any]:
        sample = {"name": "Sampler", "num_seg": 8, "seg_len": 1, "valid_mode": valid_mode, "select_left": True}
        return {"decode": {"name": f"{form[:5]}Decoder"}, "sample": sample, "transform": transform}

    values = [0.001, 0.0001, 0.00001] if ucf else [0.02, 0.002, 0.0002]
    backbone = {"name": "ResNetTSM", "num_seg": 8, "depth": 50, **layout}
    return {
        "MODEL": {
            "framework": "Recognizer2D",
            "backbone": {
                **backbone, "pretrained": f"data/{'TSM_k400' if ucf else 'ResNet50_pretrain'}.pdparams",
                **({"bn_wd": False} if ucf else {}),
            },
            "head": {
                "name": "TSMHead", "num_classes": 101 if ucf else 400, "in_channels": 2048,
                "drop_ratio": 0.8 if ucf else 0.5, "std": 0.001, **layout,
            },
        },
        "DATASET": {
            "batch_size": 16, "num_workers": 4, **splits(form, names, **({} if kind == "videos" else FRAMES)),
        },
        "PIPELINE": {"train": steps(False, drawn), "valid": steps(True, centre), "test": steps(True, centre)},
        "OPTIMIZER": {
            "name": "Momentum", "momentum": 0.9,
            "learning_rate": {
                "name": "PiecewiseDecay", "boundaries": [10, 20] if ucf else [20, 40], "values": values,
            },
            **({} if ucf else {"weight_decay": {"name": "L2", "value": 0.0001}}),
            "grad_clip": {"name": "ClipGradByGlobalNorm", "value": 20.0},
        },
        "METRIC": {"name": "CenterCropMetric"},
        "INFERENCE": {"name": "ppTSM_Inference_helper", "num_seg": 8, "target_size": 224},
        "model_name": "TSM", "log_interval": 20, "save_interval": 10, "epochs": 25 if ucf else 50, "log_level": "INFO",
    }  # fmt: skip


def pptsm(kind: str) -> dict[str, Any]:
    """``pptsm_k400_{kind}.yaml``, or of MobileNetV2 ``pptsm_mv2_k400_videos_uniform.yaml``, kind "mv2"."""
    dense, deep, mobile = "dense" in kind, kind.endswith("r101"), kind == "mv2"
    data = original_pptsm("mv3", 8)  # its steps, lists of frames and schedule
    if mobile:
        model = {
            "backbone": {"name": "PPTSM_MobileNetV2", "pretrained": "data/MobileNetV2_ssld_pretrained.pdparams"},
            "head": {"name": "MoViNetHead"},
        }
    else:
        depth = 101 if deep else 50
        name = "ResNet101_vd_ssld_pretrained" if deep else "ResNet50_vd_ssld_v2_pretrained"
        backbone = {"name": "ResNetTweaksTSM", "pretrained": f"data/{name}.pdparams", "depth": depth}
        head = {"name": "ppTSMHead", "num_classes": 400, "in_channels": 2048, "drop_ratio": 0.5, "std": 0.01}
        model = {"backbone": backbone, "head": {**head, "ls_eps": 0.1}}
    data["MODEL"] = {"framework": "Recognizer2D", **model}
    if dense:
        data["DATASET"]["test_batch_size"] = 1
        for split in ("train", "test"):
            data["PIPELINE"][split]["sample"]["dense_sample"] = True
        views = [{"Scale": {"short_size": 256}}, {"GroupFullResSample": {"crop_size": 224}}]
        data["PIPELINE"]["test"]["transform"] = [*views, {"Image2Array": None}, IMAGENET]
    elif mobile or kind.startswith("videos"):
        lists = ("data/k400/train.list", "data/k400/val.list")
        data["DATASET"] |= splits("VideoDataset", lists, data_prefix="data/k400")
        for steps in data["PIPELINE"].values():
            steps["decode"] = {"name": "VideoDecoder", "backend": "decord"}
    data["OPTIMIZER"]["weight_decay"]["value"] = "1e-4"
    if deep:
        data["OPTIMIZER"]["learning_rate"] |= {"max_epoch": 100, "warmup_start_lr": 0.01, "cosine_base_lr": 0.02}
        data["epochs"] = 100
    return data | {"model_name": "ppTSM_mv2" if mobile else "ppTSM"}


def timesformer_xpu() -> dict[str, Any]:
    """``timesformer_ucf101_videos_xpu.yaml``: Kinetics' file on lists of UCF101."""
    data = original(False, "score", "CenterCropMetric", "TimeSformerHead")
    lists = tuple(f"data/ucf101/ucf101_{split}_split_1_videos.txt" for split in ("train", "val"))
    data["DATASET"] |= splits("VideoDataset", lists, data_prefix="", suffix=".avi")
    return data


def ava_part() -> dict[str, Any]:
    """``ava_part.yaml``: other lists, one worker, and no section of a test."""
    data = original_ava()
    for section in ("DATASET", "PIPELINE"):
        del data[section]["test"]
    del data["INFERENCE"]
    for split, file in (("train", "ava_train_v2.1_99320"), ("valid", "ava_val_v2.1_head27163")):
        data["DATASET"][split] |= {"file_path": f"./data/ava/annotations/{file}.csv", "data_prefix": "/mnt/ava/frames"}
    data["DATASET"]["num_workers"] = 1
    return data | {"save_interval": 10}


IN_SCOPE = {  # file -> its sections
    "detection/ava/ava": original_ava(),
    "detection/ava/ava_part": ava_part(),
    **{f"recognition/tsm/tsm_{data}_{kind}": tsm(data, kind) for data in ("k400", "ucf101")
       for kind in ("frames", "frames_nhwc", "videos")},
    **{f"recognition/pptsm/pptsm_k400_{kind}": pptsm(kind)
       for kind in ("frames_dense", "frames_dense_r101", "frames_uniform", "videos_uniform")},
    "recognition/pptsm/pptsm_mv2_k400_videos_uniform": pptsm("mv2"),
    **{f"recognition/pptsm/{name}": original_pptsm(*values) for name, values in PPTSM_ORIGINALS.items()},
    "recognition/pptsm/pptsm_k400_frames_uniform_quantization": quantisation_file("../../"),
    "recognition/timesformer/timesformer_k400_videos": original(*ORIGINALS["timesformer_score"]),
    "recognition/timesformer/timesformer_ucf101_videos_xpu": timesformer_xpu(),
    "recognition/pptimesformer/pptimesformer_k400_videos": original(*ORIGINALS["pptimesformer"]),
    "recognition/slowfast/slowfast": original_slowfast(False),
    "recognition/slowfast/slowfast_multigrid": original_slowfast(True),
}  # fmt: skip
