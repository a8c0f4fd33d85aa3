"""MobileNetV2TSM and PPTSM_MobileNetV2: names, converters, where the classifier is."""

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.backbones.mobilenet_v2_tsm import MobileNetV2TSM, PPTSM_MobileNetV2
from paddlevideo.modeling.shift import TemporalShift
from paddlevideo.modeling.weights import load_weights
from paddlevideo.safe_io import write_pickle


def pptsm(classes=3, **backbone):
    return build_framework(
        {
            "framework": "Recognizer2D",
            "backbone": {
                "name": "PPTSM_MobileNetV2", "class_num": classes, "num_seg": 2, "scale": 0.25, **backbone,
            },
            "head": {"name": "MoViNetHead"},
        }
    )  # fmt: skip


def arrays_of(network):
    return {key: value.numpy() for key, value in network.state_dict().items()}


def test_ten_blocks_are_shifted():
    for network in (MobileNetV2TSM(scale=0.25), PPTSM_MobileNetV2(scale=0.25)):
        assert len([layer for layer in network.sublayers() if isinstance(layer, TemporalShift)]) == 10


def test_names_are_those_of_paddlevideos_released_weights():
    shapes = {key: list(value.shape) for key, value in PPTSM_MobileNetV2().state_dict().items()}
    wanted = {
        "conv1._conv.weight": [32, 3, 3, 3],
        "conv1._batch_norm._mean": [32],
        "conv2._first_block._expand_conv._conv.weight": [32, 32, 1, 1],
        "conv3._first_block._bottleneck_conv._conv.weight": [96, 1, 3, 3],
        "conv5.conv5_4._linear_conv._batch_norm._variance": [64],
        "conv8._first_block._linear_conv._conv.weight": [320, 960, 1, 1],
        "conv9._conv.weight": [1280, 320, 1, 1],
        "out.weight": [1280, 400],
        "out.bias": [400],
    }
    assert wanted.items() <= shapes.items()
    assert len(shapes) == (2 + 3 * 17) * 5 + 2
    ours = MobileNetV2TSM().state_dict().keys()
    assert set(shapes) - set(ours) == {key for key in shapes if "conv2._first_block._expand" in key or "out." in key}


def torchvision_names():
    """The names of torchvision's MobileNetV2 in its order: convolution, normalisation, pair by pair."""
    tensors = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def pair(convolution, normalisation):
        return [f"features.{convolution}.weight"] + [f"features.{normalisation}.{t}" for t in tensors]

    names = pair("0.0", "0.1") + pair("1.conv.0.0", "1.conv.0.1") + pair("1.conv.1", "1.conv.2")
    for i in range(2, 18):
        names += pair(f"{i}.conv.0.0", f"{i}.conv.0.1") + pair(f"{i}.conv.1.0", f"{i}.conv.1.1")
        names += pair(f"{i}.conv.2", f"{i}.conv.3")
    return [*names, *pair("18.0", "18.1"), "classifier.1.weight", "classifier.1.bias"]


def test_torchvision_names_convert_one_to_one():
    network = MobileNetV2TSM(scale=0.25)
    converted = network.convert({name: np.zeros(1) for name in torchvision_names()}, "torchvision")
    kept, _ = network.adapt_pretrained(converted)
    assert list(kept) == list(network.state_dict())  # both in the order of execution
    assert {"classifier.1.weight", "classifier.1.bias"} == converted.keys() - kept.keys()


def tonylins_names():
    """Those of tonylins/pytorch-mobilenet-v2: what a Sequential holds is numbered through, activations too."""
    tensors = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def pair(place, number):
        return [f"features.{place}{number}.weight"] + [f"features.{place}{number + 1}.{t}" for t in tensors]

    names = pair("0.", 0) + pair("1.conv.", 0) + pair("1.conv.", 3)
    for i in range(2, 18):
        names += pair(f"{i}.conv.", 0) + pair(f"{i}.conv.", 3) + pair(f"{i}.conv.", 6)
    return [*names, *pair("18.", 0), "classifier.weight", "classifier.bias"]


def test_the_flat_names_of_tonylins_convert_one_to_one():
    network = MobileNetV2TSM(scale=0.25)
    converted = network.convert({name: np.zeros(1) for name in tonylins_names()}, "tonylins")
    kept, _ = network.adapt_pretrained(converted)
    assert list(kept) == list(network.state_dict())  # both in the order of execution


def test_a_foreign_name_stays_and_turns_up_as_unexpected():
    network = MobileNetV2TSM(scale=0.25)
    for name in ("features.19.conv.0.0.weight", "layer1.0.weight", "features.0.conv.0.0.weight"):
        for origin in ("torchvision", "tonylins", "mmaction2"):
            assert list(network.convert({name: np.zeros(1)}, origin)) == [name]


def test_time_matters_with_the_shift_and_not_without():
    x = paddle.randn([4, 3, 32, 32])
    for shift in (True, False):
        paddle.seed(1)
        network = MobileNetV2TSM(num_seg=4, scale=0.25, shift=shift)
        network.eval()
        there, back = network(x).mean(0).numpy(), network(x.flip([0])).mean(0).numpy()
        assert (np.abs(there - back).max() > 1e-5) == shift


def test_classes_are_counted_by_the_backbone():
    network = pptsm(7)
    assert network.num_classes == 7
    batch = {"imgs": paddle.randn([2, 3, 2, 32, 32, 3]), "label": paddle.to_tensor([0, 6])}
    outputs = network(batch, mode="loss")
    assert outputs["scores"].shape == [2, 7]


def test_fine_tuning_replaces_the_classifier_in_the_backbone(tmp_path):
    source, network = pptsm(5), pptsm(3)
    start = network.backbone.out.weight.numpy()
    with pytest.raises(UserError, match="MODEL.backbone.class_num"):
        load_weights(network, arrays_of(source), strict=False)
    report = load_weights(network, arrays_of(source), strict=False, allow_head_mismatch=True)
    assert set(report.mismatched) == {"backbone.out.weight", "backbone.out.bias"}
    assert np.array_equal(start, network.backbone.out.weight.numpy())
    write_pickle(tmp_path / "w.pdparams", arrays_of(source))
    same, other = (pptsm(n, pretrained=str(tmp_path / "w.pdparams")) for n in (5, 3))
    assert np.array_equal(same.backbone.out.weight.numpy(), source.backbone.out.weight.numpy())
    assert np.array_equal(other.backbone.conv9._conv.weight.numpy(), source.backbone.conv9._conv.weight.numpy())
