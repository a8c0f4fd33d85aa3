"""One schedule after another: which rate holds when, what the optimizer sees, resuming."""

import paddle
import pytest

from paddlevideo.errors import ConfigError
from paddlevideo.solver.handover import Handover
from paddlevideo.solver.lr import build_lr

PIECES = {"name": "PiecewiseDecay", "boundaries": [1], "values": [1.0, 0.5]}  # by epoch
CYCLIC = {
    "name": "CyclicLR", "iter_step": True, "base_learning_rate": 0.1, "max_learning_rate": 0.3, "step_size_up": 2,
}  # fmt: skip


def handover(epochs=2):
    return Handover(build_lr(PIECES, 3, 4), build_lr(CYCLIC, 3, 4 - epochs, "SWA.lr"), epochs)


def run(schedule, steps):
    rates = []
    for step in range(steps[0], steps[1]):
        rates.append(schedule.lr)
        schedule.step_batch()
        if step % 3 == 2:
            schedule.step_epoch()
    return rates


EXPECTED = [1, 1, 1, 0.5, 0.5, 0.5, 0.1, 0.2, 0.3, 0.2, 0.1, 0.2]


def test_each_keeps_its_own_beat_and_the_second_begins_at_its_beginning():
    assert run(handover(), (0, 12)) == pytest.approx(EXPECTED)
    assert run(handover(epochs=0), (0, 5)) == pytest.approx([0.1, 0.2, 0.3, 0.2, 0.1])


def test_the_optimizer_follows():
    schedule = handover(epochs=1)
    weight = paddle.create_parameter([1], "float32", default_initializer=paddle.nn.initializer.Constant(0.0))
    optimizer = paddle.optimizer.SGD(schedule.scheduler, parameters=[weight])
    steps = []
    for step in range(5):
        before = weight.item()
        weight.sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        steps.append(before - weight.item())
        schedule.step_batch()
        if step == 2:
            schedule.step_epoch()
    assert steps == pytest.approx([1, 1, 1, 0.1, 0.2], rel=1e-5)


@pytest.mark.parametrize("stop", [1, 5, 6, 8])
def test_resumed_anywhere_it_goes_on_alike(stop):
    schedule = handover()
    for position in (11, stop):
        schedule.move_to(*divmod(position, 3))
        assert run(schedule, (position, 12)) == pytest.approx(EXPECTED[position:])


def test_a_mistake_in_the_second_names_its_key():
    with pytest.raises(ConfigError, match="SWA.lr.name"):
        build_lr({"name": "Cyclic"}, 3, 4, "SWA.lr")
