"""The check of configurations on PaddleVideo's sections for AVA: as they are, and with mistakes."""

import pytest
import yaml

from paddlevideo.config.checking import check

SECTIONS = """
DATASET:
    batch_size: 10
    num_workers: 4
    valid_batch_size: 1
    train:
        format: "AVADataset"
        file_path: "data/ava/annotations/ava_train_v2.1.csv"
        data_prefix: "data/ava/rawframes"
        proposal_file: "data/ava/annotations/ava_dense_proposals_train.FAIR.recall_93.9.pkl"
        exclude_file: "data/ava/annotations/ava_train_excluded_timestamps_v2.1.csv"
        label_file: "data/ava/annotations/ava_action_list_v2.1_for_activitynet_2018.pbtxt"
        person_det_score_thr: 0.9
        num_max_proposals: 1000
        timestamp_start: 900
        timestamp_end: 1800
        suffix: '{:05}.jpg'
        test_mode: False
PIPELINE:
    train:
        sample:
            name: "SampleAVAFrames"
            clip_len: 32
            frame_interval: 2
        decode:
            name: "RawFrameDecode"
        transform:
            - RandomRescale:
                scale_range: (256,320)
            - RandomCrop_v2:
                size: 256
            - Flip:
                flip_ratio: 0.5
            - Normalize:
                mean: [123.675, 116.28, 103.53]
                std: [58.395, 57.12, 57.375]
                to_bgr: False
            - PackOutput:
                alpha: 4
    valid:
        sample:
            name: "SampleAVAFrames"
            clip_len: 32
            frame_interval: 2
        decode:
            name: "RawFrameDecode"
        transform:
            - Rescale:
                scale_range: (-1,256)
"""


def problems(text=SECTIONS, **backbone):
    model = {"backbone": {"name": "ResNetSlowFast", **backbone}}
    found = check({"model_name": "ava", **yaml.safe_load(text), "MODEL": model})
    return [line for line in found if not line.startswith("MODEL")]


def test_paddlevideos_sections_are_accepted():
    assert problems() == problems(alpha=4, num_seg=32) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alpha: 4", "alpha: 8", "PIPELINE.train.transform[4].alpha: is 8, MODEL.backbone.alpha is 4"),
        ("timestamp_end: 1800", "timestamp_ende: 1800", "DATASET.train.timestamp_ende: AVADataset takes no"),
        (
            "num_max_proposals: 1000",
            "eval_keyframes: all",
            "DATASET.train.eval_keyframes: expected one of gt, proposals",
        ),
        ("flip_ratio: 0.5", "ratio: 0.5", "PIPELINE.train.transform[2].ratio: Flip takes no 'ratio'"),
        ("clip_len: 32", "clip_len: 16", "PIPELINE.train.sample.clip_len: gives 16 frames"),
    ],
)
def test_mistakes_are_named_by_their_place(old, new, message):
    found = problems(SECTIONS.replace(old, new), alpha=4, num_seg=32)
    assert any(line.startswith(message) for line in found), found
