"""Optimizers against arithmetic by hand, parameter groups, and resuming by structured names."""

import inspect
import logging

import numpy as np
import paddle
import pytest
from paddle import nn

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.ranges import NonNegative
from paddlevideo.registry import OPTIMIZERS
from paddlevideo.solver.check import check_optimizer, optimizer_arguments, optimizer_names, takes
from paddlevideo.solver.lr import build_lr
from paddlevideo.solver.optimizer import (
    build_optimizer,
    describe_groups,
    load_optimizer_state,
    optimizer_state,
    parameter_groups,
    squared_gradient_norm,
)

MOMENTUM = {"name": "Momentum", "momentum": 0.9, "use_nesterov": True, "learning_rate": 0.1, "weight_decay": 0.05}
ADAMW = {"name": "AdamW", "learning_rate": 0.1, "weight_decay": 0.05, "beta1": 0.8, "beta2": 0.9}


class Net(nn.Layer):
    """A network with one layer of every kind that the groups know."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2D(2, 3, 1)
        self.bn = nn.BatchNorm2D(3)
        self.conv2 = nn.Conv2D(3, 3, 1)
        self.hidden = nn.Linear(3, 3)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = self.conv2(self.bn(self.conv1(x)))
        return self.fc(self.hidden(x.mean((2, 3))))


@pytest.fixture
def net():
    paddle.seed(1)
    return Net()


def built(section, net, **more):
    return build_optimizer(section, build_lr(section["learning_rate"], 5, 5), net, **more)


def trained(net):
    """Without the running statistics, which Paddle counts as parameters."""
    return {name: p for name, p in net.named_parameters() if not name.endswith(("_mean", "_variance"))}


def random_gradients(net, seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(p.shape).astype("float32") for name, p in trained(net).items()}


def step(net, optimizer, gradients):
    """One optimizer step with given gradients, through autograd."""
    loss = sum((p * paddle.to_tensor(gradients[name])).sum() for name, p in trained(net).items())
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()


def weights(net):
    return {name: p.numpy().copy() for name, p in trained(net).items()}


def hinted(net):
    net.fc.weight.optimize_attr["learning_rate"] = 5.0
    net.fc.bias.optimize_attr["learning_rate"] = 10.0
    for p in (net.fc.bias, net.bn.weight, net.bn.bias):
        p.decay_mult = 0.0
    net.conv1.weight.decay_mult = 0.5
    lr = {"fc.weight": 5.0, "fc.bias": 10.0}
    decay = {"fc.bias": 0.0, "bn.weight": 0.0, "bn.bias": 0.0, "conv1.weight": 0.5}
    return lr, decay


def clipped(gradients, norm):
    total = np.sqrt(sum((g.astype("float64") ** 2).sum() for g in gradients.values()))
    assert total > norm
    return {name: g * (norm / total) for name, g in gradients.items()}


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_by_hand(net, nesterov):
    """Clip over all groups, then coupled decay, then momentum; every multiplier exactly once."""
    lr, decay = hinted(net)
    section = {**MOMENTUM, "use_nesterov": nesterov, "grad_clip": {"name": "ClipGradByGlobalNorm", "value": 0.5}}
    optimizer = built(section, net)
    expected = {name: w.astype("float64") for name, w in weights(net).items()}
    velocity = dict.fromkeys(expected, 0.0)
    for seed in (1, 2):
        gradients = random_gradients(net, seed)
        step(net, optimizer, gradients)
        for name, g in clipped(gradients, 0.5).items():
            g = g + 0.05 * decay.get(name, 1.0) * expected[name]
            velocity[name] = 0.9 * velocity[name] + g
            direction = g + 0.9 * velocity[name] if nesterov else velocity[name]
            expected[name] = expected[name] - 0.1 * lr.get(name, 1.0) * direction
    for name, w in weights(net).items():
        np.testing.assert_allclose(w, expected[name], rtol=2e-5, atol=2e-6, err_msg=name)


def test_sgd_by_hand(net):
    lr, decay = hinted(net)
    optimizer = built({"name": "SGD", "learning_rate": 0.1, "weight_decay": {"name": "L2", "value": 0.05}}, net)
    before, gradients = weights(net), random_gradients(net, 1)
    step(net, optimizer, gradients)
    for name, w in weights(net).items():
        g = gradients[name] + 0.05 * decay.get(name, 1.0) * before[name]
        np.testing.assert_allclose(w, before[name] - 0.1 * lr.get(name, 1.0) * g, rtol=2e-5, atol=2e-6, err_msg=name)


def test_l1_decay_by_hand(net):
    optimizer = built({"name": "SGD", "learning_rate": 0.1, "weight_decay": {"name": "L1", "value": 0.05}}, net)
    before, gradients = weights(net), random_gradients(net, 1)
    step(net, optimizer, gradients)
    for name, w in weights(net).items():
        expected = before[name] - 0.1 * (gradients[name] + 0.05 * np.sign(before[name]))
        np.testing.assert_allclose(w, expected, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("decoupled", [True, False])
def test_adam_by_hand(net, decoupled):
    """AdamW shrinks the weights by lr * decay; Adam adds the decay to the gradient."""
    lr, decay = hinted(net)
    net.conv1.weight.decay_mult = 1.0
    decay.pop("conv1.weight")
    optimizer = built({**ADAMW, "name": "AdamW" if decoupled else "Adam", "grad_clip": 0.5}, net)
    expected = {name: w.astype("float64") for name, w in weights(net).items()}
    first, second = dict.fromkeys(expected, 0.0), dict.fromkeys(expected, 0.0)
    for t, seed in enumerate((1, 2), 1):
        gradients = random_gradients(net, seed)
        step(net, optimizer, gradients)
        for name, g in clipped(gradients, 0.5).items():
            rate, coefficient = 0.1 * lr.get(name, 1.0), 0.05 * decay.get(name, 1.0)
            if decoupled:
                expected[name] = expected[name] * (1 - rate * coefficient)
            else:
                g = g + coefficient * expected[name]
            first[name] = 0.8 * first[name] + 0.2 * g
            second[name] = 0.9 * second[name] + 0.1 * g * g
            denominator = np.sqrt(second[name] / (1 - 0.9**t)) + 1e-8
            expected[name] = expected[name] - rate * first[name] / (1 - 0.8**t) / denominator
    for name, w in weights(net).items():
        np.testing.assert_allclose(w, expected[name], rtol=5e-5, atol=1e-5, err_msg=name)


def test_mmaction2_sgd_is_momentum(net):
    section = {"name": "SGD", "momentum": 0.9, "nesterov": True, "learning_rate": 0.1}
    optimizer = built(section, net)
    assert type(optimizer) is paddle.optimizer.Momentum and optimizer._use_nesterov
    with pytest.raises(ConfigError, match="needs a momentum"):
        built({"name": "SGD", "nesterov": True, "learning_rate": 0.1}, net)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ({"name": "ClipGradByNorm", "value": 1.0}, lambda g: g * min(1.0, 1.0 / np.linalg.norm(g.ravel()))),
        ({"name": "ClipGradByValue", "value": 0.25}, lambda g: g.clip(-0.25, 0.25)),
    ],
)
def test_other_clips(net, clip, expected):
    optimizer = built({"name": "SGD", "learning_rate": 0.1, "grad_clip": clip}, net)
    before, gradients = weights(net), random_gradients(net, 1)
    step(net, optimizer, gradients)
    for name, w in weights(net).items():
        np.testing.assert_allclose(w, before[name] - 0.1 * expected(gradients[name]), rtol=2e-5, atol=2e-6)


def multipliers(section, net, networks=None):
    return {name: (g.lr_mult, g.decay_mult) for g in parameter_groups(section, net, networks) for name in g.names}


def test_tsm_groups(net):
    section = {**MOMENTUM, "param_groups": "tsm"}
    body = {
        "conv1.weight": (1, 1),
        "conv1.bias": (2, 0),
        "bn.weight": (1, 0),
        "bn.bias": (1, 0),
        "conv2.weight": (1, 1),
        "conv2.bias": (2, 0),
        "hidden.weight": (1, 1),
        "hidden.bias": (2, 0),
    }
    assert multipliers(section, net) == {**body, "fc.weight": (5, 1), "fc.bias": (10, 0)}
    plain = multipliers({**section, "fc_lr5": False}, net)
    assert plain == {**body, "fc.weight": (1, 1), "fc.bias": (2, 0)}
    optimizer = built(section, net)
    assert net.fc.bias.optimize_attr["learning_rate"] == 10
    lines = describe_groups(optimizer, net).splitlines()
    assert lines == [
        "Momentum: 3 parameters (24 values): lr x 1, weight decay 0.05",
        "Momentum: 3 parameters (9 values): lr x 2, weight decay 0",
        "Momentum: 2 parameters (6 values): lr x 1, weight decay 0",
        "Momentum: 1 parameters (6 values): lr x 5, weight decay 0.05",
        "Momentum: 1 parameters (2 values): lr x 10, weight decay 0",
    ]


def test_tsm_groups_of_several_networks_have_each_one_s_classifier_and_leave_frozen_ones_alone(net):
    class Both(nn.Layer):
        def __init__(self):
            super().__init__()
            self.teacher = nn.Sequential(
                nn.Linear(2, 2), nn.LayerNorm(2)
            )  # frozen: no matter that LayerNorm is unknown
            self.first, self.second = net, Net()
            self.projection = nn.Linear(2, 2)  # a loss's: belongs to no network
            for parameter in self.teacher.parameters():
                parameter.stop_gradient = True

    both = Both()
    found = multipliers({**MOMENTUM, "param_groups": "tsm"}, both, [both.teacher, both.first, both.second])
    assert not [name for name in found if name.startswith("teacher")]
    assert {name for name, pair in found.items() if pair == (5, 1)} == {"first.fc.weight", "second.fc.weight"}
    assert {name for name, pair in found.items() if pair == (10, 0)} == {"first.fc.bias", "second.fc.bias"}
    assert found["projection.weight"] == (1, 1) and found["second.hidden.weight"] == (1, 1)


def test_tsm_groups_refuse_other_layers():
    with pytest.raises(UserError, match=r"tsm has no multipliers for 1 \(LayerNorm\)"):
        parameter_groups({"param_groups": "tsm"}, nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))


def test_no_weight_decay_name_goes_by_structured_names(net, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("paddlevideo"), "propagate", True)
    found = multipliers({**MOMENTUM, "no_weight_decay_name": "bias conv2 bn_typo"}, net)
    assert "no_weight_decay_name: no trained parameter has bn_typo in its name" in caplog.text
    assert {name for name, pair in found.items() if pair == (1, 0)} == {
        name for name in trained(net) if "bias" in name or "conv2" in name
    }


def test_frozen_parameters_are_left_out(net):
    net.conv1.weight.stop_gradient = True
    optimizer = built(MOMENTUM, net)
    assert "conv1.weight" not in multipliers(MOMENTUM, net)
    assert "1 parameters (6 values) are frozen" in describe_groups(optimizer, net)
    for p in net.parameters():
        p.stop_gradient = True
    with pytest.raises(UserError, match="no parameter to train"):
        built(MOMENTUM, net)


def test_adamw_refuses_fractions_of_decay(net):
    net.fc.weight.decay_mult = 0.5
    with pytest.raises(UserError, match="AdamW decays .* fc.weight has the multiplier 0.5"):
        built(ADAMW, net)


def test_a_second_optimizer_drops_the_decay_of_the_first(net):
    built(MOMENTUM, net)
    optimizer = built({**ADAMW, "weight_decay": 0.0}, net)
    before = weights(net)
    step(net, optimizer, {name: np.zeros_like(w) for name, w in before.items()})
    for name, w in weights(net).items():
        np.testing.assert_array_equal(w, before[name])


def test_every_optimizer_of_paddle_is_known_by_its_source():
    assert set(optimizer_names()) == set(paddle.optimizer.__all__) - {"Optimizer", "LBFGS"}
    for name in optimizer_names():
        parameters = inspect.signature(getattr(paddle.optimizer, name)).parameters
        assert (set(optimizer_arguments(name)) <= set(parameters)) or name == "SGD"
        assert takes(name, "multi_precision") == ("multi_precision" in parameters)


OTHERS = sorted(set(optimizer_names()) - {"Momentum", "AdamW"})


@pytest.mark.parametrize("section", [MOMENTUM, ADAMW, *({"name": name, "learning_rate": 0.1} for name in OTHERS)])
def test_resume_is_bit_identical(section):
    """A fresh model whose Paddle names differ, accumulators not yet made; the last bias has no gradient at first."""

    def run(net, optimizer, seeds):
        for seed in seeds:
            gradients = random_gradients(net, seed)
            if seed < 3:
                net.fc.bias.stop_gradient = True
            step(net, optimizer, gradients)
            net.fc.bias.stop_gradient = False

    paddle.seed(1)
    straight = Net()
    optimizer = built(section, straight)
    assert optimizer_state(optimizer, straight) == {}
    run(straight, optimizer, (1, 2))
    saved, state = weights(straight), optimizer_state(optimizer, straight)
    run(straight, optimizer, (3, 4, 5))

    resumed = Net()
    assert resumed.fc.weight.name != straight.fc.weight.name
    for name, p in trained(resumed).items():
        p.set_value(saved[name])
    optimizer = built(section, resumed)
    load_optimizer_state(optimizer, resumed, state)
    run(resumed, optimizer, (3, 4, 5))
    for name, w in weights(straight).items():
        np.testing.assert_array_equal(resumed.state_dict()[name].numpy(), w, err_msg=name)


def test_lamb_shrinks_only_the_weights_that_decay(net):
    section = {"name": "Lamb", "learning_rate": 0.1, "weight_decay": 0.5, "no_weight_decay_name": "bias bn"}
    optimizer = built(section, net)
    assert optimizer._lamb_weight_decay == 0.5
    left_out = {name for name, p in trained(net).items() if optimizer._exclude_from_weight_decay_fn(p)}
    assert left_out == {name for name in trained(net) if "bias" in name or "bn" in name}
    assert built({**section, "weight_decay": None}, net)._lamb_weight_decay == 0.01  # Paddle's default
    assert "shrinking" in check_optimizer({**section, "weight_decay": {"name": "L1", "value": 0.1}})[0]
    assert "takes no 'lamb_weight_decay'" in check_optimizer({**section, "lamb_weight_decay": 0.1})[0]


def test_what_the_loop_cannot_give_an_optimizer_is_refused(net):
    line = "OPTIMIZER.name: LBFGS needs 'closure' at every step, which the training loop does not give; take another"
    assert check_optimizer({"name": "LBFGS", "learning_rate": 0.1}) == [line]
    schedule = {"name": "StepDecay", "learning_rate": 0.1, "step_size": 2}
    assert "reads no schedule" in check_optimizer({"name": "Rprop", "learning_rate": schedule})[0]
    with pytest.raises(UserError, match="no SWA.lr"):
        build_optimizer({"name": "Rprop", "learning_rate": 0.1}, build_lr(schedule, 5, 5), net)
    assert check_optimizer({"name": "ASGD", "learning_rate": 0.1, "batch_num": 2.5}) != []
    assert built({"name": "ASGD", "learning_rate": 0.1, "batch_num": 2.0}, net)._n == 2
    with pytest.raises(ConfigError, match=r"OPTIMIZER \(Rprop\): .*learning_rate_range"):
        built({"name": "Rprop", "learning_rate": 99.0}, net)
    hinted(net)
    with pytest.raises(UserError, match="Rprop has one rate for all parameters"):
        built({"name": "Rprop", "learning_rate": 0.1}, net)


def test_a_registered_optimizer_of_a_users_file(net, monkeypatch):
    monkeypatch.setattr(OPTIMIZERS, "_classes", {})

    @OPTIMIZERS.register
    class SignSGD(paddle.optimizer.SGD):
        def __init__(
            self, learning_rate: float, parameters: list, grad_clip: object = None, threshold: NonNegative = 0.0
        ):
            super().__init__(learning_rate, parameters, grad_clip=grad_clip)
            self.threshold = threshold

        def _append_optimize_op(self, block, param_and_grad):
            parameter, gradient = param_and_grad
            sign = gradient.sign() * (gradient.abs() > self.threshold).astype("float32")
            parameter.set_value(parameter - self._create_param_lr(param_and_grad) * sign)

    section = {"name": "SignSGD", "learning_rate": 0.1, "threshold": 0.5}
    assert check_optimizer({**section, "threshold": -0.5}) == ["OPTIMIZER.threshold: expected at least 0, got -0.5"]
    OPTIMIZERS.register(type("Vague", (paddle.optimizer.SGD,), {"__init__": lambda self, **kwargs: None}))
    assert "Vague needs an __init__ of its own" in check_optimizer({"name": "Vague", "learning_rate": 0.1})[0]
    assert "did you mean 'SignSGD'" in check_optimizer({**section, "name": "SingSGD"})[0]
    optimizer, before, gradients = built(section, net), weights(net), random_gradients(net, 1)
    step(net, optimizer, gradients)
    for name, w in weights(net).items():
        expected = before[name] - 0.1 * np.sign(gradients[name]) * (abs(gradients[name]) > 0.5)
        np.testing.assert_allclose(w, expected, rtol=1e-5, atol=1e-6)


def test_state_is_by_structured_names(net):
    optimizer = built(ADAMW, net)
    step(net, optimizer, random_gradients(net, 1))
    state = optimizer_state(optimizer, net)
    kinds = ("moment1_0", "moment2_0", "beta1_pow_acc_0", "beta2_pow_acc_0")
    assert set(state) == {f"{name}.{kind}" for name in trained(net) for kind in kinds}


def test_state_is_a_copy_and_loads_after_steps_too(net):
    optimizer = built(MOMENTUM, net)
    step(net, optimizer, random_gradients(net, 1))
    state = optimizer_state(optimizer, net)
    kept = {key: value.copy() for key, value in state.items()}
    step(net, optimizer, random_gradients(net, 2))
    np.testing.assert_equal(state, kept)
    load_optimizer_state(optimizer, net, state)
    np.testing.assert_equal(optimizer_state(optimizer, net), kept)


def test_a_state_that_does_not_fit_is_refused(net):
    optimizer = built(MOMENTUM, net)
    step(net, optimizer, random_gradients(net, 1))
    state = optimizer_state(optimizer, net)
    lacking = {key: value for key, value in state.items() if key != "fc.bias.velocity_0"}
    with pytest.raises(UserError, match=r"1 missing \(fc.bias.velocity_0\)"):
        load_optimizer_state(optimizer, net, lacking)
    with pytest.raises(UserError, match=r"1 unexpected \(fc.bias.moment\)"):
        load_optimizer_state(optimizer, net, {**state, "fc.bias.moment": np.zeros(2)})
    with pytest.raises(UserError, match=r"1 of another shape \(fc.bias.velocity_0 \[3\] for \[2\]\)"):
        load_optimizer_state(optimizer, net, {**state, "fc.bias.velocity_0": np.zeros(3, "float32")})
    with pytest.raises(UserError, match="does not fit AdamW"):
        load_optimizer_state(built(ADAMW, net), net, state)
    with pytest.raises(UserError, match="is empty"):
        load_optimizer_state(optimizer, net, {})


def test_paddlevideos_own_pdopt_loads_if_the_names_fit(net):
    optimizer = built(MOMENTUM, net)
    step(net, optimizer, random_gradients(net, 1))
    written = {k: v if k == "LR_Scheduler" else v.numpy() for k, v in optimizer.state_dict().items()}
    fresh = built(MOMENTUM, net)
    load_optimizer_state(fresh, net, written)
    np.testing.assert_equal(optimizer_state(fresh, net), optimizer_state(optimizer, net))
    stranger = Net()
    with pytest.raises(UserError, match="unexpected"):
        load_optimizer_state(built(MOMENTUM, stranger), stranger, written)


def test_master_weights_are_saved_and_restored():
    """Without an accelerator no float16 step runs here; that the master weights travel can be seen all the same."""
    net = Net()
    net.to(dtype="float16")
    optimizer = built(MOMENTUM, net, multi_precision=True)
    optimizer._create_accumulators(
        paddle.base.framework.default_main_program().global_block(), optimizer._parameter_list
    )
    master = optimizer._master_weights[net.fc.weight.name]
    master.set_value(master + 1e-4)
    state = optimizer_state(optimizer, net)
    assert state["fc.weight.master_weight"].dtype == np.float32 and "fc.weight.velocity_0" in state
    other = built(MOMENTUM, net, multi_precision=True)
    load_optimizer_state(other, net, state)
    np.testing.assert_array_equal(other._master_weights[net.fc.weight.name].numpy(), master.numpy())


@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping_by_a_norm_that_was_read_gives_paddles_bits(limit):
    section = {**MOMENTUM, "grad_clip": {"name": "ClipGradByGlobalNorm", "value": limit}}
    results = []
    for read_norms in (False, True):
        paddle.seed(1)
        net = Net()
        optimizer = built(section, net)
        for seed in (1, 2):
            gradients = random_gradients(net, seed)
            loss = sum((p * paddle.to_tensor(gradients[name])).sum() for name, p in trained(net).items())
            loss.backward()
            if read_norms:
                norm = float(squared_gradient_norm(optimizer)) ** 0.5
                assert norm == pytest.approx(np.sqrt(sum((g.astype("float64") ** 2).sum() for g in gradients.values())))
            optimizer.step()
            optimizer.clear_grad()
        results.append(weights(net))
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name], err_msg=name)
