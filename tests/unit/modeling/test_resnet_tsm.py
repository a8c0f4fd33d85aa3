"""ResNetTSM: PaddleVideo's names, sizes, what its arguments change."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.modeling.backbones.resnet_tsm import ResNetTSM
from paddlevideo.modeling.heads.tsm_head import TSMHead

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def tiny(**arguments):
    paddle.seed(3)
    network = ResNetTSM(**{"depth": 18, "width": 4, "num_seg": 4, **arguments})
    network.eval()
    return network


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
    assert np.array_equal(base, tiny(width=8, shift_div=4)(x).numpy())  # PaddleVideo's share is 1 / num_seg
    for arguments in (
        {"shift_div": 8},
        {"shift_direction": "mmaction2", "shift_div": 4},
        {"shift_every": 2},
        {"shift_place": "block"},
        {"shift_mode": "online"},
        {"num_seg": 8, "shift_div": 4},
    ):
        assert np.abs(base - tiny(width=8, **arguments)(x).numpy()).max() > 1e-5, arguments


def test_temporal_pool_halves_the_frames_behind_the_first_stage():
    network = tiny(temporal_pool=True)
    assert network.out_seg == 2 and network(paddle.randn([8, 3, 32, 32])).shape == [4, 32, 1, 1]
    assert [network.res2b.shift.num_seg, network.res3a.shift.num_seg, network.res5b.shift.num_seg] == [4, 2, 2]


def test_non_local_blocks_stand_at_the_published_places_by_default():
    def found(**arguments):
        network = ResNetTSM(width=4, **arguments)
        return [name for name in network.blocks if getattr(network, name).non_local is not None]

    assert found() == []
    assert found(depth=50, non_local={"mode": "gaussian"}) == ["res3a", "res3c", "res4a", "res4c", "res4e"]
    blocks = [[0, 1], [0, 0], [1, 0], [0, 0]]
    assert found(depth=18, non_local={"blocks": blocks}) == ["res2b", "res4a"]


def test_a_non_local_block_changes_nothing_at_the_start():
    x = paddle.randn([4, 3, 64, 64])
    plain, looking = tiny(depth=50), tiny(depth=50, non_local={"mode": "dot_product"})
    keys = plain.state_dict().keys()
    plain.set_state_dict({key: value for key, value in looking.state_dict().items() if key in keys})
    assert np.array_equal(plain(x).numpy(), looking(x).numpy())


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


def test_paddleclas_names_are_known():
    network = tiny(depth=50)
    theirs = {"stem.0.conv.weight": 0, "blocks.3.short.bn._mean": 1, "blocks.15.conv2.conv.weight": 2, "fc.weight": 3}
    found, explained = network.adapt_pretrained(theirs)
    assert found == {"conv._conv.weight": 0, "res3a.short._batch_norm._mean": 1, "res5c.conv2._conv.weight": 2}
    assert not explained


def test_wrapped_names_of_mmaction2_convert():
    """Every wrapper of a name belongs to an argument of the network, and to no network without it."""
    shift, attention = {"depth": 50}, {"depth": 50, "non_local": {}}
    for arguments, theirs, ours in (
        (shift, "layer1.0.conv1.conv.net.weight", "res2a.conv0._conv.weight"),
        ({"shift": False}, "layer1.0.conv1.conv.weight", "res2a.conv0._conv.weight"),
        ({"shift_every": 2}, "layer1.1.conv1.conv.weight", "res2b.conv0._conv.weight"),
        ({"shift_place": "block"}, "layer1.1.net.conv1.conv.weight", "res2b.conv0._conv.weight"),
        ({"temporal_pool": True}, "layer2.net.0.downsample.bn.running_var", "res3a.short._batch_norm._variance"),
        (attention, "layer2.0.block.conv3.bn.bias", "res3a.conv2._batch_norm.bias"),
        (attention, "layer2.0.non_local_block.phi.0.conv.bias", "res3a.non_local.phi.bias"),
        (attention, "layer3.4.non_local_block.conv_out.conv.weight", "res4e.non_local.conv_out.weight"),
        (attention, "layer3.4.non_local_block.conv_out.bn.running_mean", "res4e.non_local.bn._mean"),
        (
            {"depth": 50, "non_local": {"sub_sample": False}},
            "layer2.0.non_local_block.g.conv.weight",
            "res3a.non_local.g.weight",
        ),
    ):
        assert list(tiny(**arguments).convert({theirs: np.zeros(1)}, "mmaction2")) == [ours], theirs
        other = tiny(depth=arguments.get("depth", 18), shift=arguments is not shift)
        assert list(other.convert({theirs: np.zeros(1)}, "mmaction2")) == [theirs], theirs
