"""ResNetTSM: PaddleVideo's names, sizes, what its arguments change."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.errors import ConfigError
from paddlevideo.modeling.backbones.resnet_tsm import ResNetTSM
from paddlevideo.modeling.heads.tsm_head import TSMHead
from paddlevideo.registry import BACKBONES

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def tiny(**arguments):
    paddle.seed(3)
    network = ResNetTSM(**{"depth": 18, "width": 4, "num_seg": 4, **arguments})
    network.eval()
    return network


@pytest.mark.parametrize("depth", [50, 101])
def test_names_and_shapes_are_paddlevideos(depth):
    case = json.loads((GOLDEN / f"paddlevideo/tsm_r{depth}_small.json").read_text())
    wanted = {key[len("backbone.") :]: shape for key, shape in case["state_dict"] if key.startswith("backbone.")}
    own = {key: list(value.shape) for key, value in ResNetTSM(depth).state_dict().items()}
    assert own == wanted


def test_parameter_counts_are_the_published_ones():
    # Paddle counts running statistics among the parameters
    backbone = sum(parameter.size for parameter in ResNetTSM(50).parameters() if not parameter.stop_gradient)
    for classes, total in ((400, 24_327_632), (174, 23_864_558), (101, 23_714_981), (51, 23_612_531), (48, 23_606_384)):
        assert backbone + sum(parameter.size for parameter in TSMHead(classes, 2048).parameters()) == total


@pytest.mark.parametrize(("depth", "last"), [(18, "res5b"), (34, "res5c")])
def test_small_depths_have_two_convolutions_and_the_same_scheme_of_names(depth, last):
    keys = ResNetTSM(depth, width=4).state_dict().keys()
    assert f"{last}.conv1._conv.weight" in keys and f"{last}.conv2._conv.weight" not in keys
    assert "res3a.short._conv.weight" in keys and "res2a.short._conv.weight" not in keys


def test_time_matters_with_the_shift_and_not_without():
    x = paddle.randn([4, 3, 32, 32])
    backwards = x.flip([0])
    for shift, changes in ((True, True), (False, False)):
        network = tiny(shift=shift)
        there, back = network(x).numpy(), network(backwards).numpy()[::-1]
        assert (np.abs(there - back).max() > 1e-4) == changes


def test_arguments_of_the_shift_change_the_output():
    x = paddle.randn([8, 3, 32, 32])
    base = tiny(width=8)(x).numpy()
    assert np.array_equal(base, tiny(width=8, shift_div=None)(x).numpy())
    for arguments in ({"shift_div": 4}, {"shift_direction": "mmaction2"}, {"shift_every": 2}, {"num_seg": 8}):
        assert np.abs(base - tiny(width=8, **arguments)(x).numpy()).max() > 1e-5, arguments


def test_sixteen_frames_shift_an_eighth_unless_told_to_shift_a_sixteenth():
    """PaddleVideo moves 1 / num_seg of the channels: its own 16-frame weights need shift_div 16."""
    assert {tiny(num_seg=16).res2a._shift["shift_div"], tiny(num_seg=16, shift_div=16).res2a._shift["shift_div"]} == {
        8,
        16,
    }


def test_layout_hint_changes_nothing():
    x = paddle.randn([4, 3, 32, 32])
    assert np.array_equal(tiny()(x).numpy(), tiny(data_format="NHWC")(x).numpy())


def test_two_networks_in_one_process():
    names = [parameter.name for network in (tiny(), tiny()) for parameter in network.parameters()]
    assert len(names) == len(set(names))


def test_the_classifier_learns_faster_and_its_bias_without_decay():
    head = TSMHead(5, 8)
    assert head.fc.weight.optimize_attr["learning_rate"] == 5.0 and not hasattr(head.fc.weight, "decay_mult")
    assert head.fc.bias.optimize_attr["learning_rate"] == 10.0 and head.fc.bias.decay_mult == 0.0


def test_torchvision_names_convert():
    network = tiny()
    theirs = {
        "conv1.weight": "conv._conv.weight",
        "bn1.running_var": "conv._batch_norm._variance",
        "layer1.0.conv1.weight": "res2a.conv0._conv.weight",
        "layer4.1.bn2.running_mean": "res5b.conv1._batch_norm._mean",
        "layer2.0.downsample.0.weight": "res3a.short._conv.weight",
        "layer2.0.downsample.1.bias": "res3a.short._batch_norm.bias",
    }
    assert list(network.convert({key: np.zeros(1) for key in theirs}, "torchvision")) == list(theirs.values())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"depth": 51}, "depth"), ({"shift_div": 1}, "shift_div"), ({"shift_direction": "left"}, "shift_direction")],
)
def test_wrong_arguments_are_named(arguments, word):
    with pytest.raises(ConfigError, match=f"MODEL.backbone .ResNetTSM.: {word}"):
        BACKBONES.build({"name": "ResNetTSM", **arguments}, "MODEL.backbone")
