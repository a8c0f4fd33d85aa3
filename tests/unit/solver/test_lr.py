"""Schedules: resuming, the beat they are stepped at."""

import inspect
import json
import math
import sys
from pathlib import Path

import pytest
from paddle.optimizer import lr as paddle_lr

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.extensions import declare
from paddlevideo.registry import SCHEDULES
from paddlevideo.solver import lr
from paddlevideo.solver.check import ALWAYS_BY_ITERATION, ENDS, schedule_arguments, schedule_names

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "cases"
CASES = json.loads((GOLDEN / "lr_schedules.json").read_text())["cases"]

# one section for every schedule a YAML file may name
SECTIONS = {case["class"]: {k: v for k, v in case["kwargs"].items() if k != "num_iters"} for case in CASES} | {
    "WarmupStepDecay": {"base_lr": 0.1, "milestones": [2, 4], "warmup_iters": 7},
    "WarmupCosineDecay": {"base_lr": 0.1, "min_lr": 0.001, "warmup_epochs": 1.5},
    "NoamDecay": {"d_model": 16, "warmup_steps": 5},
    "PiecewiseDecay": {"boundaries": [3, 8], "values": [0.1, 0.01, 0.001]},
    "NaturalExpDecay": {"learning_rate": 0.1, "gamma": 0.1},
    "InverseTimeDecay": {"learning_rate": 0.1, "gamma": 0.1},
    "PolynomialDecay": {"learning_rate": 0.1, "decay_steps": 10},
    "LinearWarmup": {
        # its rate follows from its last one, so the inner state matters
        "learning_rate": {"name": "LinearLR", "learning_rate": 0.1, "total_steps": 20},
        "warmup_steps": 4,
        "start_lr": 0.0,
        "end_lr": 0.1,
    },
    "ExponentialDecay": {"learning_rate": 0.1, "gamma": 0.9},
    "MultiStepDecay": {"learning_rate": 0.1, "milestones": [3, 8]},
    "StepDecay": {"learning_rate": 0.1, "step_size": 3},
    "CosineAnnealingDecay": {"learning_rate": 0.1, "T_max": 12},
    "OneCycleLR": {"max_learning_rate": 0.1, "total_steps": 100},
    "CyclicLR": {"base_learning_rate": 0.01, "max_learning_rate": 0.1, "step_size_up": 3},
    "LinearLR": {"learning_rate": 0.1, "total_steps": 10},
    "CosineAnnealingWarmRestarts": {"learning_rate": 0.1, "T_0": 3, "T_mult": 2},
}


def rates(schedule, count, start=0, per_epoch=5):
    return [schedule.rate(*divmod(step, per_epoch)) for step in range(start, start + count)]


def test_every_schedule_has_a_section_here():
    assert set(SECTIONS) == set(schedule_names())


@pytest.mark.parametrize("name", schedule_names())
@pytest.mark.parametrize("by_iteration", [True, False], ids=["by iteration", "by epoch"])
def test_a_rate_depends_on_the_position_alone(name, by_iteration):
    section = SECTIONS[name] if name in ALWAYS_BY_ITERATION else {"iter_step": by_iteration, **SECTIONS[name]}
    section = {"name": name, **section}
    whole = rates(lr.build_lr(section, 5, 6), 30)
    jumping = lr.build_lr(section, 5, 6)
    for position in (29, 11, 1, 12):  # back and forth, as a run that is resumed anywhere
        assert jumping.rate(*divmod(position, 5)) == whole[position]


def test_paddles_own_schedules_have_paddles_rates():
    for name in set(schedule_names()) & set(paddle_lr.__all__) - set(SCHEDULES.names()):
        scheduler, expected = getattr(paddle_lr, name)(**SECTIONS[name]), []
        for _ in range(30):
            expected.append(scheduler())
            scheduler.step()
        assert rates(lr.build_lr({"name": name, "iter_step": True, **SECTIONS[name]}, 5, 6), 30) == expected, name


def test_arguments_are_those_of_paddles_constructors():
    for name in set(schedule_names()) & set(paddle_lr.__all__):
        parameters = dict(list(inspect.signature(getattr(paddle_lr, name).__init__).parameters.items())[1:])
        for key in ("scale_fn", "last_epoch", "verbose"):  # a function: YAML has none; arguments of every schedule
            parameters.pop(key, None)
        required = {key for key, value in parameters.items() if value.default is inspect.Parameter.empty}
        found = schedule_arguments(name)
        assert set(found) == set(parameters), name
        assert {key for key, parameter in found.items() if parameter.required} == required - set(ENDS), name
    assert set(paddle_lr.__all__) - set(schedule_names()) == {
        "LRScheduler",
        "LambdaDecay",
        "MultiplicativeDecay",
        "ReduceOnPlateau",
    }


def test_beat():
    section = {"name": "PiecewiseDecay", "boundaries": [1], "values": [0.1, 0.01]}
    by_epoch = lr.build_lr(section, 5, 2)
    assert (by_epoch.rate(0, 1), by_epoch.rate(1)) == (0.1, 0.01)
    by_iteration = lr.build_lr({**section, "iter_step": True}, 5, 2)
    assert (by_iteration.rate(0), by_iteration.rate(0, 1)) == (0.1, 0.01)


def test_constant():
    assert rates(lr.build_lr(0.25, 5, 2), 7) == [0.25] * 7


def test_custom_schedule_inside_a_warm_up_moves_by_iteration():
    inner = {"name": "CustomWarmupCosineDecay", "warmup_start_lr": 0.1, "warmup_epochs": 0, "cosine_base_lr": 0.1}
    section = {"name": "LinearWarmup", "iter_step": True, "warmup_steps": 4, "start_lr": 0.0, "end_lr": 0.1}
    found = rates(lr.build_lr({**section, "learning_rate": {**inner, "max_epoch": 2}}, 5, 2), 15)
    assert found[:4] == pytest.approx([0, 0.025, 0.05, 0.075])
    assert found[4:14] == pytest.approx([0.05 * (1 + math.cos(math.pi * i / 10)) for i in range(10)])


def test_mmaction2_step_with_warm_up():
    section = {"name": "WarmupStepDecay", "base_lr": 0.1, "milestones": [2, 3], "warmup_epochs": 1, "warmup_ratio": 0.2}
    found = rates(lr.build_lr(section, 4, 4), 16, per_epoch=4)
    assert found[:4] == pytest.approx([0.1 * (1 - (1 - i / 4) * 0.8) for i in range(4)])
    assert found[4:] == pytest.approx([0.1] * 4 + [0.01] * 4 + [0.001] * 4)


def test_mmaction2_cosine_sinks_beneath_its_warm_up():
    section = {"name": "WarmupCosineDecay", "base_lr": 0.1, "min_lr": 0.01, "warmup_iters": 3, "warmup_ratio": 0.1}
    regular = [0.01 + 0.045 * (1 + math.cos(math.pi * i / 12)) for i in range(12)]
    expected = [value * (1 - (1 - min(i / 3, 1)) * 0.9) for i, value in enumerate(regular)]
    assert rates(lr.build_lr(section, 4, 3), 12, per_epoch=4) == pytest.approx(expected)
    by_epoch = rates(lr.build_lr({**section, "by_epoch": True, "warmup_iters": 0}, 4, 3), 12, per_epoch=4)
    assert by_epoch == pytest.approx([regular[i // 4 * 4] for i in range(12)])


def test_mistakes_name_their_key():
    with pytest.raises(ConfigError, match="OPTIMIZER.learning_rate.value: .*did you mean 'values'"):
        lr.build_lr({"name": "PiecewiseDecay", "boundaries": [1], "value": [1, 2]}, 5, 2)


PIECES = {"name": "PiecewiseDecay", "boundaries": [1], "values": [1.0, 0.5]}  # by epoch
CYCLIC = {
    "name": "CyclicLR", "iter_step": True, "base_learning_rate": 0.1, "max_learning_rate": 0.3, "step_size_up": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    "epochs, expected",
    [(2, [1, 1, 1, 0.5, 0.5, 0.5, 0.1, 0.2, 0.3, 0.2, 0.1, 0.2]), (0, [0.1, 0.2, 0.3, 0.2, 0.1])],
)
def test_one_schedule_after_another_keeps_its_own_beat_and_begins_at_its_beginning(epochs, expected):
    after = lr.build_lr(CYCLIC, 3, 4 - epochs, "SWA.lr")
    schedule = lr.SequentialSchedule(lr.build_lr(PIECES, 3, 4), after, epochs)
    assert rates(schedule, len(expected), per_epoch=3) == pytest.approx(expected)


def test_a_scaled_schedule_scales_every_rate():
    for name in schedule_names():
        plain = lr.build_lr({"name": name, **SECTIONS[name]}, 5, 6)
        assert rates(lr.ScaledSchedule(plain, 2.0), 30) == [2 * rate for rate in rates(plain, 30)], name


USERS = """
from __future__ import annotations

from dataclasses import dataclass

from paddlevideo.ranges import Epochs, NonNegative
from paddlevideo.registry import SCHEDULES
from paddlevideo.solver.lr import Position, Schedule


@SCHEDULES.register
@dataclass(frozen=True)
class Halving(Schedule):
    learning_rate: NonNegative
    max_epoch: Epochs

    def value(self, at: Position) -> float:
        return self.learning_rate * 0.5 ** (at.epoch / self.max_epoch)


@SCHEDULES.register
@dataclass(frozen=True)
class Sum(Schedule):
    first: Schedule
    second: Schedule

    def value(self, at: Position) -> float:
        return self.first.value(at) + self.second.value(at)
"""


@pytest.fixture
def users_schedules(tmp_path, monkeypatch):
    """A file that ``imports: [my_schedules]`` names."""
    (tmp_path / "my_schedules.py").write_text(USERS)
    monkeypatch.setattr(SCHEDULES, "_index", dict(SCHEDULES._entries()))
    monkeypatch.setattr(SCHEDULES, "_classes", dict(SCHEDULES._classes))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield declare(["my_schedules"], [tmp_path])[1]
    sys.modules.pop("my_schedules")


def test_a_registered_schedule_of_a_users_file(users_schedules):
    halving = {"name": "Halving", "iter_step": True, "learning_rate": 0.8}
    assert users_schedules == [] and lr.check_lr(halving) == [] and "my_schedules" not in sys.modules
    assert rates(lr.build_lr({**halving, "max_epoch": 1}, 2, 4), 5, per_epoch=2)[::2] == pytest.approx([0.8, 0.4, 0.2])
    # an end that is left out is the run's, a share follows it, and mistakes are found as with ours
    assert (
        lr.build_lr(halving, 2, 4).rate(4) == 0.4 and lr.build_lr({**halving, "max_epoch": "1/2"}, 2, 4).rate(2) == 0.4
    )
    assert lr.check_lr({**halving, "learning_rate": -1}, "X") == ["X.learning_rate: expected at least 0, got -1"]
    warm = {"name": "LinearWarmup", "iter_step": True, "warmup_steps": 2, "start_lr": 0.0, "end_lr": 0.8}
    assert lr.build_lr({**warm, "learning_rate": halving}, 2, 4).rate(1) == 0.8
    assert lr.build_lr({"name": "Sum", "first": PIECES, "second": 0.25}, 2, 4).rate(1) == 0.75
    assert "X.second.name: there is no schedule 'Halvin'; did you mean 'Halving'?" in lr.check_lr(
        {"name": "Sum", "first": 1.0, "second": {"name": "Halvin"}}, "X"
    )


def test_a_schedule_without_value_is_refused_when_it_is_registered():
    with pytest.raises(UserError, match=r"schedule Nothing: value is missing: expected value\(self, at\)"):

        @SCHEDULES.register
        class Nothing(lr.Schedule):
            pass

    assert "Nothing" not in SCHEDULES


@pytest.mark.parametrize("rate", [math.nan, -1.0, math.inf])
def test_a_rate_that_is_no_rate_is_named_with_its_schedule_and_step(monkeypatch, rate):
    monkeypatch.setattr(lr.Constant, "value", lambda self, at: rate)
    words = f"^OPTIMIZER.learning_rate: Constant gives the rate {rate} in epoch 1, step 0, expected a finite number"
    with pytest.raises(UserError, match=words):
        lr.build_lr(0.1, 10, 5)
    monkeypatch.setattr(lr.Constant, "value", lambda self, at: rate if at.step else 0.1)
    late = lr.SequentialSchedule(lr.build_lr(0.1, 10, 5), lr.build_lr(0.1, 10, 5, "SWA.lr"), 2)
    assert lr.usable_rate(lr.ScaledSchedule(late, 1.0), 2) == 0.1
    with pytest.raises(UserError, match=f"^SWA.lr: Constant gives the rate {rate} in epoch 4, step 7, expected"):
        lr.usable_rate(lr.ScaledSchedule(late, 1.0), 3, 7)
