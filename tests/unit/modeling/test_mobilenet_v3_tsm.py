"""PPTSM_MobileNetV3: which blocks are shifted, its gates, and where the classifier is."""

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.backbones.mobilenet_v3_tsm import PPTSM_MobileNetV3
from paddlevideo.modeling.layers import SqueezeExcitation
from paddlevideo.modeling.weights import load_weights
from paddlevideo.safe_io import write_pickle


def pptsm(classes=3, **backbone):
    backbone = {"name": "PPTSM_MobileNetV3", "class_num": classes, "num_seg": 2, "scale": 0.25, **backbone}
    section = {"framework": "Recognizer2D", "backbone": backbone, "head": {"name": "MoViNetHead"}}
    return build_framework(section)


def test_ten_blocks_are_shifted_before_their_branch_and_eight_have_gates():
    blocks = PPTSM_MobileNetV3(scale=0.25).blocks
    assert [i for i, block in enumerate(blocks) if block.shift is not None] == [0, 2, 4, 5, 7, 8, 9, 11, 13, 14]
    assert [i for i, block in enumerate(blocks) if block.mid_se is not None] == [3, 4, 5, 10, 11, 12, 13, 14]


@pytest.mark.parametrize(("slope", "value"), [(0.2, 0.7), (None, 1 / (1 + np.exp(-1.0)))])
def test_a_gate_is_linear_with_its_slope_or_a_sigmoid(slope, value):
    gates = SqueezeExcitation(8, slope)
    gates.conv2.weight.set_value(paddle.zeros_like(gates.conv2.weight))
    gates.conv2.bias.set_value(paddle.ones_like(gates.conv2.bias))
    assert np.allclose(gates(paddle.ones([1, 8, 2, 2])).numpy(), value, atol=1e-6)


def test_fine_tuning_replaces_the_classifier_in_the_backbone(tmp_path):
    source, network = pptsm(5), pptsm(3)
    arrays = {key: value.numpy() for key, value in source.state_dict().items()}
    with pytest.raises(UserError, match="MODEL.backbone.class_num to 5"):
        load_weights(network, arrays)
    report = load_weights(network, arrays, strict=False, allow_head_mismatch=True)
    assert set(report.mismatched) == {"backbone.fc.weight", "backbone.fc.bias"}
    write_pickle(tmp_path / "w.pdparams", arrays)
    same, other = (pptsm(n, pretrained=str(tmp_path / "w.pdparams")) for n in (5, 3))
    assert np.array_equal(same.backbone.fc.weight.numpy(), arrays["backbone.fc.weight"])
    assert np.array_equal(other.backbone.last_conv.weight.numpy(), arrays["backbone.last_conv.weight"])
