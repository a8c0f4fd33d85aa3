"""All 65 configuration files of PaddleVideo: those of models that are here pass the check, each other one is one line.

A file out of scope is represented by the keys that decide what it is, and by keys that nothing here has.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from paddlevideo.cli.main import run_script
from paddlevideo.config.quantisation import is_quantisation
from tests.recipes.original_files import IN_SCOPE

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / name for name in ("coming_from.md", "coming_from_zh-CN.md")]


def model(framework, backbone=None, head=None, data="VideoDataset"):
    """The sections of a file, with what PaddleVideo's own classes take and this suite does not know."""
    parts = {"backbone": backbone and {"name": backbone, "graph": "ntu_rgb_d"}, "head": head and {"name": head}}
    section = {"framework": framework, **{key: part for key, part in parts.items() if part}}
    splits = {split: {"format": data, "label_path": "x.npy"} for split in ("train", "test")}
    return {
        "MODEL": section | {"loss": {"name": "Loss", "tscale": 100}}, "DATASET": {"batch_size": 4, **splits},
        "PIPELINE": {"train": {"load_feat": {"name": "LoadFeat"}}}, "METRIC": {"name": "OtherMetric"},
        "EVALUATION": {"interval": 5}, "model_name": "X", "resume_from": "",
    }  # fmt: skip


SKELETONS = ("recognition from skeletons", None)
SHIFT_FALSE = "ResNetTSM or ResNetTweaksTSM with shift: False"
OUT = {  # file -> (sections, family, nearest)
    "recognition/posec3d/posec3d": (
        model("Recognizer3D", "ResNet3dSlowOnly", "I3DHead", "UCF101SkeletonDataset"), SKELETONS[0],
        "ResNet3dSlowOnly (SlowOnly) on RGB",
    ),
    "recognition/token_transformer/tokShift_transformer_ucf101_256_videos": (
        model("RecognizerTransformer", "TokenShiftVisionTransformer", "TokenShiftHead"), "TokenShift",
        "VisionTransformer with attention_type: space_only",
    ),
    **{
        f"recognition/videoswin/videoswin_{size}_k400_videos": (
            model("RecognizerTransformer", "SwinTransformer3D", "I3DHead"), "Video Swin",
            "VisionTransformer (TimeSformer)",
        )
        for size in ("base", "small")
    },
    "recognition/movinet/movinet_k400_frame": (
        model("MoViNetRecognizerFrame", "MoViNet", "MoViNetHead", "FrameDataset"), "MoViNet", "PPTSM_MobileNetV2",
    ),
    "example": (model("Recognizer2D", "ResNet", "TSNHead"), "TSN", SHIFT_FALSE),
    **{
        f"recognition/tsn/tsn_{kind}": (model("Recognizer2D", "ResNet", "TSNHead"), "TSN", SHIFT_FALSE)
        for kind in ("dali", "k400_frames", "k400_videos")
    },
    **{
        f"recognition/pptsn/pptsn_k400_{kind}": (
            model("Recognizer2D", "ResNetTweaksTSN", "ppTSNHead"), "TSN", SHIFT_FALSE
        )
        for kind in ("frames", "videos")
    },
    **{
        f"recognition/{name}": (model("RecognizerGCN", backbone, head, "SkeletonDataset"), *SKELETONS)
        for backbone, head, names in (
            ("AGCN", "STGCNHead", ("agcn/agcn_fsd", "agcn/agcn_ntucs")),
            ("AGCN2s", "AGCN2sHead", tuple(f"agcn2s/agcn2s_{kind}" for kind in (
                "ntucs_bone", "ntucs_joint", "ntucs_joint_fsd", "ntucv_bone", "ntucv_joint"))),
            ("CTRGCN", "CTRGCNHead", tuple(f"ctrgcn/ctrgcn_ntucs_{kind}" for kind in (
                "bone", "bone_motion", "joint", "motion"))),
            ("STGCN", "STGCNHead", ("stgcn/stgcn_fsd", "stgcn/stgcn_ntucs")),
        )
        for name in names
    },
    "localization/bmn": (model("BMNLocalizer", "BMN", None, "BMNDataset"), "temporal localisation (BMN)", None),
    "localization/yowo": (
        model("YOWOLocalizer", "YOWO", None, "UCF24Dataset"), "YOWO", "FastRCNN (configs/detection/ava)",
    ),
    "localization/bsn": ("PLACEHOLDER", "temporal localisation (BSN)", None),
    "localization/ctcn": ("PLACEHOLDER\n", "temporal localisation (C-TCN)", None),
    "recognition/nonlocal/non_local": (
        "PLACEHOLDER", "a non-local network by itself", "tsm_nl_* and slowonly_nl_*, with non-local blocks",
    ),
    **{
        f"segmentation/{name}/{name}_{data}": (model(framework, framework, f"{framework}Head", form), family, None)
        for name, framework, form, family in (
            ("asrf", "ASRF", "ASRFDataset", "action segmentation (ASRF)"),
            ("ms_tcn", "MSTCN", "MSTCNDataset", "action segmentation (MS-TCN)"),
        )
        for data in ("50salads", "breakfast", "gtea")
    },
    "segmentation/cfbip_davis": (
        model("CFBI", "CFBI", "CollaborativeEnsemblerMS", "DavisDataset"), "video object segmentation (CFBI)", None,
    ),
    "recognition/attention_lstm/attention_lstm_youtube8m": (
        model("Recognizer1D", None, "AttentionLstmHead", "FeatureDataset"), "recognition from features (AttentionLSTM)",
        None,
    ),
    "multimodal/actbert/actbert": (
        model("ActBert", "BertForMultiModalPreTraining", None, "ActBertDataset"), "video with text (ActBERT)", None,
    ),
    "multimodal/actbert/actbert_msrvtt": (
        model("ActBert", "BertForMultiModalPreTraining", None, "MSRVTTDataset"), "video with text (ActBERT)", None,
    ),
    "estimation/adds/adds": (
        model("DepthEstimator", "ADDS_DepthNet", "AddsHead", "MonoDataset"), "depth estimation (ADDS)", None,
    ),
    "partitioners/transnetv2/transnetv2": (
        model("TransNetV2Partitioner", "TransNetV2", "TransNetV2Head"), "shot detection (TransNetV2)", None,
    ),
}  # fmt: skip
OUT["recognition/tsn/tsn_dali"][0]["DALI_LOADER"] = {"batch_size": 32, "file_path": "train.csv", "seg_num": 3}


def test_the_tables_have_every_file():
    assert (len(IN_SCOPE), len(OUT), len({*IN_SCOPE} | {*OUT})) == (24, 41, 65)


@pytest.mark.parametrize("name", OUT)
def test_a_file_out_of_scope_is_one_line(name, tmp_path, capsys):
    sections, family, nearest = OUT[name]
    file = tmp_path / f"{Path(name).name}.yaml"
    file.write_text(sections if isinstance(sections, str) else yaml.safe_dump(sections, sort_keys=False))
    for words in (["--check"], [], ["--test", "-w", "x.pdparams"]):
        assert run_script("main.py", ["-c", str(file), *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"out of scope: {family}; " in line and str(file) in line
        assert (f"nearest here: {nearest}" if nearest else "nothing here is near it") in line


@pytest.mark.parametrize("name", IN_SCOPE)
def test_a_file_in_scope_passes_the_check(name, tmp_path, capsys):
    file = tmp_path / f"{Path(name).name}.yaml"
    file.write_text(yaml.safe_dump(IN_SCOPE[name], sort_keys=False))
    assert run_script("main.py", ["-c", str(file), "--check"]) == 0, capsys.readouterr().err
    assert is_quantisation(IN_SCOPE[name]) == ("quantization" in name)


def test_a_class_of_a_user_s_own_is_in_scope(tmp_path):
    """In a process of its own, since a class stays registered."""
    (tmp_path / "own_bmn.py").write_text(
        "from paddlevideo.modeling.heads.base import Head\nfrom paddlevideo.registry import HEADS\n\n\n"
        "@HEADS.register\nclass BMNHead(Head):\n    def __init__(self, num_classes: int):\n        super().__init__()\n"
    )
    data = {**model("Recognizer2D", "ResNetTSM", "BMNHead"), "imports": ["own_bmn"]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(data))
    words = [sys.executable, "-m", "paddlevideo", "check", "-c", str(tmp_path / "own.yaml")]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 2 and "BMNHead" in done.stderr and "out of scope" not in done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_lists_every_file_with_what_happens(page):
    rows = [line.split("|") for line in page.read_text().splitlines() if line.startswith("| `")]
    text = {name.strip(" `"): row for row in rows for name in row[1].split(",")}
    stems = {Path(name).name for name in {*IN_SCOPE, *OUT}}
    assert stems <= {*text}
    for name, (_, _, nearest) in OUT.items():
        assert nearest is None or nearest.split(" ")[0] in "|".join(text[Path(name).name])


def test_the_flag_and_the_section_of_dali_are_accepted_with_a_line(tmp_path, capsys):
    """Of a model that is here; without DATASET.train there is nothing to train on."""
    dali = {"DALI_LOADER": {"batch_size": 32, "file_path": "train.csv"}}
    file = tmp_path / "dali.yaml"
    file.write_text(yaml.safe_dump({"_base_": [str(ROOT / "configs/recognition/tsm/tsm_k400_videos.yaml")], **dali}))
    assert run_script("main.py", ["-c", str(file), "--train_dali", "--check"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert any("--train_dali: the loader of DATASET.train decodes frames on the CPU" in line for line in lines)
    assert any("DALI_LOADER: is not read; DATASET.train and PIPELINE.train are" in line for line in lines)
    alone = {**yaml.safe_load(file.read_text()), "DATASET": None}
    file.write_text(yaml.safe_dump(alone))
    assert run_script("main.py", ["-c", str(file), "--train_dali"]) == 2
    assert "DALI_LOADER: is not read, frames are decoded on the CPU; write the same data" in capsys.readouterr().err
