"""Gradients of whole networks against differences of their loss.

Outputs equal to a reference say nothing of the way back; and Paddle's is not always right (``max_over_positions``).
"""

import numpy as np
import paddle
import pytest

from paddlevideo.modeling.frameworks.build import build_framework
from paddlevideo.modeling.heads.bbox_head_ava import BBoxHeadAVA
from paddlevideo.modeling.heads.fbo_head import FBOHead
from paddlevideo.modeling.layers import max_over_positions
from tests.models.sections import RECOGNIZERS, SIZES
from tests.unit.modeling.test_fast_rcnn import KINDS
from tests.unit.modeling.test_fast_rcnn import batch as key_frames
from tests.unit.modeling.test_fast_rcnn import section as detector


def slope_error(loss, tensors, epsilon, seed=0):
    """How far the slope that backward gives along one random direction is from the loss's difference, relatively."""
    rng = np.random.default_rng(seed)
    # what a gradient may be left unwritten in: recycled memory with large numbers
    junk = [paddle.full([n], 1e6) * 2 for n in (10**2, 10**3, 10**4, 10**5, 10**6)]
    del junk
    loss().backward()
    directions = [rng.standard_normal(t.shape) for t in tensors]
    slope = sum(float((t.grad.numpy() * d).sum()) for t, d in zip(tensors, directions) if t.grad is not None)
    values, starts = [], [t.numpy().copy() for t in tensors]
    for sign in (1, -1):
        for t, start, d in zip(tensors, starts, directions):
            t.set_value((start + sign * epsilon * d).astype(start.dtype))
        with paddle.no_grad():
            values.append(float(loss()))
    difference = (values[0] - values[1]) / (2 * epsilon)
    assert abs(difference) > 1e-6, "the loss does not depend on them"
    return abs(slope - difference) / abs(difference)


def network_error(section, given, normalization=None):
    paddle.seed(0)
    network = build_framework(section, normalization)
    network.eval()  # running statistics, no dropout: one and the same function at every call
    rng = np.random.default_rng(1)
    for value in network.state_dict().values():  # residual branches and the classifier start at 0 or nearly
        if value.dtype == paddle.float32:
            value.set_value(value.numpy() + rng.normal(0.0, 0.1, value.shape).astype("float32") * (value.ndim < 2))

    def loss():
        paddle.seed(3)  # boxes are drawn
        return network(given, mode="loss")["loss"]

    return slope_error(loss, [p for p in network.parameters() if not p.stop_gradient], 1e-5)


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_recognizers(name):
    imgs = np.random.default_rng(2).standard_normal((2, 1, 4, SIZES[name], SIZES[name], 3)).astype("float32")
    given = {"imgs": paddle.to_tensor(imgs), "label": paddle.to_tensor([0, 2])}
    assert network_error(RECOGNIZERS[name], given) < 0.1


@pytest.mark.parametrize("name", KINDS)
def test_detectors(name):
    given = key_frames(gt=(2, 1, 2))
    assert network_error(detector(**KINDS[name]), given, ([0.45] * 3, [0.225] * 3)) < 0.1


@pytest.mark.parametrize("pools", [("avg", "max"), ("max", "max"), ("max", "avg"), ("avg", "avg")])
def test_regions(pools):
    head = BBoxHeadAVA(6, 4, temporal_pool_type=pools[0], spatial_pool_type=pools[1], topk=1)
    head.eval()
    head.to(dtype="float64")
    regions = paddle.to_tensor(np.random.default_rng(0).standard_normal((5, 6, 2, 3, 3)), stop_gradient=False)
    assert slope_error(lambda: head(regions).square().sum(), [regions], 1e-6) < 1e-6


@pytest.mark.parametrize("fbo", ["non_local", "avg", "max"])
@pytest.mark.parametrize("mask_empty", [False, True])
def test_feature_banks(fbo, mask_empty):
    rng = np.random.default_rng(0)
    head = FBOHead(fbo, 6, 6, 4, mask_empty=mask_empty)
    head.eval()
    head.to(dtype="float64")
    regions = paddle.to_tensor(rng.standard_normal((5, 6, 2, 3, 3)), stop_gradient=False)
    filled = rng.random((2, 8)) < 0.6
    bank = paddle.to_tensor(rng.random((2, 8, 6)) * filled[..., None], stop_gradient=False)
    owner = paddle.to_tensor([0, 0, 1, 1, 1])
    weight = paddle.to_tensor(rng.standard_normal((5, head.out_channels, 1, 1, 1)))
    tensors = [regions, bank, *head.parameters()]
    assert (
        slope_error(lambda: (head(regions, owner, bank, paddle.to_tensor(filled)) * weight).sum(), tensors, 1e-6) < 1e-6
    )


def test_the_maximum_over_places_sends_its_gradient_to_the_largest_value():
    x = paddle.to_tensor(
        np.random.default_rng(0).permutation(96).reshape(2, 4, 3, 4).astype("float32"), stop_gradient=False
    )
    (max_over_positions(x) * 2).sum().backward()
    values = x.numpy()
    np.testing.assert_array_equal(x.grad.numpy(), 2.0 * (values == values.max((2, 3), keepdims=True)))
