"""Weights of other origins for SlowOnly and SlowFast, through the converter."""

import re

import numpy as np
import paddle
import pytest

from paddlevideo.build import network
from paddlevideo.cli.convert import convert_file
from paddlevideo.config import load_config
from paddlevideo.modeling.weights import read_weights
from paddlevideo.safe_io import write_pickle
from tests.recipes.leaves import CONFIGS

SMALL = {
    "slowonly": ["MODEL.backbone.depth=18", "MODEL.backbone.width=8", "MODEL.head.in_channels=64"],
    "slowfast": ["MODEL.backbone.depth=18", "MODEL.backbone.width=8", "MODEL.head.in_channels=72"],
}


def theirs(key):
    """MMAction2's name for one of ours."""
    key = key.replace("._mean", ".running_mean").replace("._variance", ".running_var")
    key = re.sub(r"_lateral\.", "_lateral.conv.", key)
    return key.replace("head.fc.", "cls_head.fc_cls.")


@pytest.mark.parametrize("folder", SMALL)
def test_mmaction2_s_checkpoints_convert_whole(folder, tmp_path):
    config = load_config(
        CONFIGS / "recognition" / folder / f"{folder}_r50_4x16x1_256e_kinetics400_rgb.yaml", SMALL[folder]
    )
    paddle.seed(1)
    ours = {key: value.numpy() for key, value in network(config, pretrained=False).state_dict().items()}
    write_pickle(tmp_path / "theirs.pdparams", {
        theirs(key): value.T if value.ndim == 2 else value for key, value in ours.items()
    })  # fmt: skip
    convert_file(config, tmp_path / "theirs.pdparams", tmp_path / "ours.pdparams", origin="mmaction2")
    found = read_weights(tmp_path / "ours.pdparams")
    assert found.keys() == ours.keys() and all(np.array_equal(found[key], ours[key]) for key in ours)
