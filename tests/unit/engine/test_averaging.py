"""Averages of weights: the arithmetic, the swap and its undoing, resuming."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddlevideo.engine.averaging import EMA, SWA
from paddlevideo.errors import UserError


@pytest.fixture
def net():
    paddle.seed(1)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1D(4), nn.Linear(4, 2))
    net[0].bias.stop_gradient = True
    return net


def move(net, seed):
    """What a training step does: other weights and other running statistics."""
    rng = np.random.default_rng(seed)
    for name, tensor in net.state_dict().items():
        if name != "0.bias":  # frozen
            tensor.set_value(rng.standard_normal(tensor.shape).astype("float32"))
    return state(net)


def state(net):
    return {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}


def test_ema_by_hand(net):
    average, expected = EMA(net, decay=0.75, warmup=False), state(net)["0.weight"].astype("float64")
    for seed in range(5):
        expected = 0.75 * expected + 0.25 * move(net, seed)["0.weight"]
        average.update()
    np.testing.assert_allclose(average.state_dict()["weights"]["0.weight"], expected, rtol=1e-5, atol=1e-6)


def test_warm_up_begins_with_a_short_memory(net):
    average = EMA(net, decay=0.9)
    shares = []
    for _ in range(100):
        shares.append(average.weight_of_new())
        average.update()
    assert (
        shares[0] == pytest.approx(0.9) and shares[1] == pytest.approx(1 - 2 / 11) and shares[-1] == pytest.approx(0.1)
    )


def test_swa_is_the_mean_of_every_second_step(net):
    average = SWA(net, interval=2)
    seen = []
    for seed in range(6):
        seen.append(move(net, seed)["2.weight"])
        average.update()
    np.testing.assert_allclose(average.weights()["2.weight"], np.mean(seen[1::2], axis=0), rtol=1e-5, atol=1e-6)


def test_applied_swaps_and_restores_bit_by_bit(net):
    average = EMA(net, decay=0.5)
    own = move(net, 1)
    average.update()
    with pytest.raises(ZeroDivisionError), average.applied() as swapped:
        inside = state(swapped)
        raise ZeroDivisionError
    np.testing.assert_array_equal(inside["0.weight"], average.state_dict()["weights"]["0.weight"])
    assert (inside["0.weight"] != own["0.weight"]).any()
    for name in ("0.bias", "1._mean", "1._variance"):
        np.testing.assert_array_equal(inside[name], own[name])
    np.testing.assert_equal(state(net), own)
    np.testing.assert_equal(average.weights(), inside)


def test_no_update_while_applied(net):
    average = EMA(net)
    with average.applied(), pytest.raises(RuntimeError, match="leave applied"):
        average.update()
    with average.applied(), pytest.raises(RuntimeError, match="already"), average.applied():
        pass


@pytest.mark.parametrize("make", [lambda net: EMA(net, 0.9, interval=2), lambda net: SWA(net, 2)])
def test_resume_is_bit_identical(net, make):
    straight = make(net)
    for seed in range(3):
        move(net, seed)
        straight.update()
    saved = straight.state_dict()
    resumed = make(net)
    resumed.load_state_dict(saved)
    for seed in range(3, 8):
        move(net, seed)
        straight.update()
        resumed.update()
    np.testing.assert_equal(resumed.state_dict(), straight.state_dict())


def test_half_precision_weights_are_averaged_in_float32(net):
    net.to(dtype="float16")
    average = EMA(net, decay=0.5)
    own = state(net)
    average.update()
    assert average.state_dict()["weights"]["0.weight"].dtype == np.float32
    with average.applied():
        assert net[0].weight.dtype == paddle.float16
    np.testing.assert_equal(state(net), own)


def test_a_state_that_does_not_fit_is_refused(net):
    saved = EMA(net).state_dict()
    del saved["weights"]["2.bias"]
    with pytest.raises(UserError, match="2.bias"):
        EMA(net).load_state_dict(saved)
    with pytest.raises(UserError, match="num_calls"):
        EMA(net).load_state_dict({"weights": saved["weights"]})
    with pytest.raises(UserError, match="EMA.decay"):
        EMA(net, decay=1.0)


def test_the_mean_of_one_is_itself_bit_by_bit(net):
    average = SWA(net)
    own = move(net, 5)
    average.update()
    np.testing.assert_equal(average.weights(), own)
