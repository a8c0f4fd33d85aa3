"""PPTSM_v2: one shift, gates for the frames, and the branches of training as one convolution in an export."""

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference.export import save_program
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.exported_weights import names_of, unnamed
from paddlevideo.modeling.layers import fused
from paddlevideo.modeling.shift import TemporalShift
from paddlevideo.modeling.weights import load_weights
from paddlevideo.solver.optimizer import parameter_groups

FRAMES, SIZE = 4, 64


def pptsm(**backbone):
    backbone = {"name": "PPTSM_v2", "class_num": 3, "num_seg": FRAMES, "scale": 0.125, **backbone}
    section = {"framework": "Recognizer2D", "backbone": backbone, "head": {"name": "MoViNetHead"}}
    return build_framework(section, ([0.45] * 3, [0.225] * 3))


def clips(count=2):
    shape = (count, 1, FRAMES, SIZE, SIZE, 3)
    return paddle.to_tensor(np.random.default_rng(0).integers(0, 256, shape, dtype="uint8"))


@pytest.fixture(scope="module")
def trained():
    """After two steps, so that branches, their statistics and offsets are no start values."""
    paddle.seed(1)
    network = pptsm()
    network.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters(), weight_decay=0.1)
    for _ in range(2):
        network({"imgs": clips(), "label": paddle.to_tensor([0, 2])})["loss"].backward()
        optimizer.step()
        optimizer.clear_grad()
    network.eval()
    return network


def logits_of(network):
    with paddle.no_grad():
        return network.view_logits(clips())[:, 0].numpy()


def test_the_map_at_stride_8_is_shifted_once():
    network, seen = pptsm(num_seg=16), []
    (shift,) = [layer for layer in network.sublayers() if isinstance(layer, TemporalShift)]
    shift.register_forward_post_hook(lambda layer, inputs, output: seen.append(output.shape))
    network.backbone(paddle.randn([16, 3, SIZE, SIZE]))
    assert seen == [[16, 32, SIZE // 8, SIZE // 8]] and shift.shift_div == 16


def test_frames_are_scaled_by_gates_that_depend_on_all_of_the_clip():
    gates = pptsm(use_temporal_att=True).backbone.global_attention
    x = paddle.randn([2 * FRAMES, 5, 3, 3])
    ratio = (gates(x) / x).numpy()
    assert np.allclose(ratio, ratio[:, :1, :1, :1], atol=1e-4) and (ratio > 0).all() and (ratio < 1).all()
    other = x.clone()
    other[1] = x[1] + 1.0  # a frame of the first clip
    changed = np.abs((gates(other) / other).numpy() - ratio)[:, 0, 0, 0] > 1e-6
    assert changed.tolist() == [True] * FRAMES + [False] * FRAMES


def test_the_gates_learn_faster_and_norms_do_not_decay():
    network = pptsm(use_temporal_att=True)
    groups = {name: (g.lr_mult, g.decay_mult) for g in parameter_groups({}, network) for name in g.names}
    assert groups["backbone.global_attention.fc.weight"] == (5.0, 1.0)
    assert groups["backbone.global_attention.fc.bias"] == (10.0, 0.0)
    assert {value for name, value in groups.items() if ".bn." in name} == {(1.0, 0.0)}
    assert groups["backbone.fc.bias"] == groups["backbone.stages.2.0.se.conv1.bias"] == (1.0, 1.0)
    assert not [name for name in groups if ".dw_conv.weight" in name or ".dw_conv.bias" in name]


def test_evaluation_multiplies_the_features_by_what_training_keeps():
    network = pptsm(dropout_prob=0.75)
    network.eval()
    x = paddle.ones([2, 4])
    assert np.array_equal(network.backbone.dropout(x).numpy(), np.full((2, 4), 0.25, "float32"))
    network.train()
    assert set(np.unique(network.backbone.dropout(paddle.ones([100, 4])).numpy())) == {0.0, 1.0}


def test_the_fused_network_gives_the_same_and_goes_back(trained):
    wanted = logits_of(trained)
    with fused(trained):
        got = logits_of(trained)
    assert 0 < np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert np.array_equal(logits_of(trained), wanted)
    with pytest.raises(ZeroDivisionError), fused(trained):
        raise ZeroDivisionError
    assert np.array_equal(logits_of(trained), wanted)


def test_an_export_has_one_convolution_in_place_of_the_branches_and_is_a_checkpoint(trained, tmp_path):
    save_program(trained, trained.input_spec({"imgs": clips()}), tmp_path / "m")
    names = names_of(trained, tmp_path / "m.json")
    assert unnamed(trained, names) == [] and not [name for name in names if "dw_conv_list" in name]
    assert "backbone.stages.2.0.dw_conv.weight" in names
    arrays = {key: trained.state_dict()[key].numpy() for key in names}
    again = pptsm()
    report = load_weights(again, arrays, source="export")
    again.eval()
    assert report.clean and "branches of training" in report.source
    wanted = logits_of(trained)
    assert np.abs(logits_of(again) - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_training_does_not_begin_with_fused_weights(trained):
    """Their branches have no statistics of their own."""
    arrays = {key: value.numpy() for key, value in trained.state_dict().items() if "dw_conv_list" not in key}
    with pytest.raises(UserError, match="missing +backbone.stages.2.0.dw_conv_list"):
        load_weights(pptsm(), arrays, strict=False)
