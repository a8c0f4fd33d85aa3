"""Schedules: resuming, the beat they are stepped at."""

import inspect
import json
import math
from pathlib import Path

import pytest
from paddle.optimizer import lr as paddle_lr

from paddlevideo.errors import ConfigError
from paddlevideo.solver import lr
from paddlevideo.solver.check import ALWAYS_BY_ITERATION, ENDS, schedule_arguments, schedule_names

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cases"
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
    found = []
    for step in range(start, start + count):
        found.append(schedule.lr)
        schedule.step_batch()
        if step % per_epoch == per_epoch - 1:
            schedule.step_epoch()
    return found


def test_every_schedule_has_a_section_here():
    assert set(SECTIONS) == set(schedule_names())


@pytest.mark.parametrize("name", schedule_names())
@pytest.mark.parametrize("cut", [1, 5, 11])
@pytest.mark.parametrize("by_iteration", [True, False], ids=["by iteration", "by epoch"])
def test_moved_to_a_position_a_schedule_continues_bit_identically(name, cut, by_iteration):
    section = SECTIONS[name] if name in ALWAYS_BY_ITERATION else {"iter_step": by_iteration, **SECTIONS[name]}
    section = {"name": name, **section}
    whole = rates(lr.build_lr(section, 5, 6), 30)
    moved = lr.build_lr(section, 5, 6)
    for position in (29, cut):  # back from further on, as from a point that has diverged to an older one
        moved.move_to(*divmod(position, 5))
        assert rates(moved, 30 - position, position) == whole[position:]


def test_table_of_arguments_equals_the_constructors():
    for name in schedule_names():
        factory = getattr(lr, name, None) or getattr(paddle_lr, name)
        parameters = dict(list(inspect.signature(factory.__init__).parameters.items())[1:])
        parameters.pop("num_iters", None)
        parameters.pop("scale_fn", None)  # a function: YAML has none
        required = {key for key, value in parameters.items() if value.default is inspect.Parameter.empty}
        required -= set(ENDS)  # the run's end

        table = schedule_arguments(name)
        assert set(table) == set(parameters), name
        assert {key for key, (needed, _) in table.items() if needed} == required, name
    assert set(paddle_lr.__all__) - set(schedule_names()) == {
        "LRScheduler",
        "LambdaDecay",
        "MultiplicativeDecay",
        "ReduceOnPlateau",
    }


def test_beat():
    section = {"name": "PiecewiseDecay", "boundaries": [1], "values": [0.1, 0.01]}
    by_epoch = lr.build_lr(section, 5, 2)
    by_epoch.step_batch()
    assert by_epoch.lr == 0.1
    by_epoch.step_epoch()
    assert by_epoch.lr == 0.01
    by_iteration = lr.build_lr({**section, "iter_step": True}, 5, 2)
    by_iteration.step_epoch()
    assert by_iteration.lr == 0.1
    by_iteration.step_batch()
    assert by_iteration.lr == 0.01


def test_custom_schedule_by_epoch_counts_whole_epochs():
    schedule = lr.build_lr({"name": "CustomWarmupCosineDecay", **SECTIONS["CustomWarmupCosineDecay"]}, 5, 10)
    for _ in range(4):
        schedule.step_epoch()
    assert schedule.scheduler.last_epoch == 4


def test_constant():
    schedule = lr.build_lr(0.25, 5, 2)
    schedule.step_batch()
    schedule.step_epoch()
    assert schedule.lr == 0.25


def test_custom_schedule_inside_a_warm_up_moves_by_iteration():
    inner = {"name": "CustomWarmupCosineDecay", "warmup_start_lr": 0.1, "warmup_epochs": 0, "cosine_base_lr": 0.1}
    section = {"name": "LinearWarmup", "iter_step": True, "warmup_steps": 4, "start_lr": 0.0, "end_lr": 0.1}
    found = rates(lr.build_lr({**section, "learning_rate": {**inner, "max_epoch": 2}}, 5, 2), 15)
    assert found[:4] == pytest.approx([0, 0.025, 0.05, 0.075])
    assert found[4:14] == pytest.approx([0.05 * (1 + math.cos(math.pi * i / 10)) for i in range(10)])


def test_mmaction2_step_with_warm_up():
    section = {"name": "WarmupStepDecay", "base_lr": 0.1, "milestones": [2, 3], "warmup_epochs": 1, "warmup_ratio": 0.2}
    found = rates(lr.build_lr(section, 4, 4), 16)
    assert found[:4] == pytest.approx([0.1 * (1 - (1 - i / 4) * 0.8) for i in range(4)])
    assert found[4:] == pytest.approx([0.1] * 4 + [0.01] * 4 + [0.001] * 4)


def test_mmaction2_cosine_sinks_beneath_its_warm_up():
    section = {"name": "WarmupCosineDecay", "base_lr": 0.1, "min_lr": 0.01, "warmup_iters": 3, "warmup_ratio": 0.1}
    regular = [0.01 + 0.045 * (1 + math.cos(math.pi * i / 12)) for i in range(12)]
    expected = [value * (1 - (1 - min(i / 3, 1)) * 0.9) for i, value in enumerate(regular)]
    assert rates(lr.build_lr(section, 4, 3), 12) == pytest.approx(expected)
    by_epoch = rates(lr.build_lr({**section, "by_epoch": True, "warmup_iters": 0}, 4, 3), 12)
    assert by_epoch == pytest.approx([regular[i // 4 * 4] for i in range(12)])


def test_mistakes_name_their_key():
    with pytest.raises(ConfigError, match="OPTIMIZER.learning_rate.value: .*did you mean 'values'"):
        lr.build_lr({"name": "PiecewiseDecay", "boundaries": [1], "value": [1, 2]}, 5, 2)
