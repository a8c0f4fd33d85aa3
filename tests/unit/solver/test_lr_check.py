"""The checks of the OPTIMIZER section: every mistake is named, nothing heavy is imported."""

import subprocess
import sys

import pytest

from paddlevideo.solver.check import check_lr, check_optimizer

GOOD = {
    "name": "Momentum",
    "momentum": 0.9,
    "use_nesterov": True,
    "learning_rate": {"name": "PiecewiseDecay", "boundaries": [20, 40], "values": [0.02, 0.002, 0.0002]},
    "weight_decay": {"name": "L2", "value": 1e-4},
    "grad_clip": {"name": "ClipGradByGlobalNorm", "value": 20.0},
    "no_weight_decay_name": "cls_token pos_embed",
}


def test_paddlevideo_section_is_fine():
    assert check_optimizer(GOOD) == []


def test_paddle_is_not_imported():
    code = "import sys, paddlevideo.solver.lr; sys.exit('paddle' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"name": "PeicewiseDecay"}, "X.name: there is no schedule 'PeicewiseDecay'; did you mean 'PiecewiseDecay'?"),
        ({"boundaries": [1]}, "X.name: missing; a schedule's class name is expected, or a plain number as X"),
        ({"name": "LambdaDecay"}, "X.name: LambdaDecay needs a Python function, which YAML cannot hold"),
        ("1e-4", "X: expected float, got '1e-4'; write 1.0e-4 rather than 1e-4, which YAML"),
        (-1, "X: expected at least 0, got -1"),
        ({"name": "StepDecay", "learning_rate": 1}, "X.step_size: missing; StepDecay needs it"),
        (
            {"name": "PiecewiseDecay", "boundaries": [1], "values": [0.1]},
            "X.values: 1 boundaries need 2 values, got 1",
        ),
        (
            {"name": "PiecewiseDecay", "boundaries": [20, 10], "values": [0.1, 0.01, 0.001]},
            "X.boundaries: expected them in ascending order, got [20, 10]",
        ),
        (
            {"name": "PiecewiseDecay", "boundaries": ["2/5", "1/5"], "values": [0.1, 0.01, 0.001]},
            "X.boundaries: expected them in ascending order, got ['2/5', '1/5']",
        ),
        (
            {"name": "LinearWarmup", "learning_rate": {"name": "No"}, "warmup_steps": 1, "start_lr": 0, "end_lr": 1},
            "X.learning_rate.name: there is no schedule 'No'",
        ),
        (
            {
                "name": "LinearWarmup",
                "learning_rate": {"name": "StepDecay", "learning_rate": 1, "step_size": 2, "iter_step": True},
                "warmup_steps": 1,
                "start_lr": 0,
                "end_lr": 1,
            },
            "X.learning_rate.iter_step: the outer schedule sets the beat; write X.iter_step: True",
        ),
        (
            {"name": "WarmupStepDecay", "base_lr": 1, "milestones": [1], "iter_step": False},
            "X.iter_step: WarmupStepDecay moves at every iteration; leave the key out",
        ),
    ],
)
def test_schedule_mistakes(section, line):
    problems = check_lr(section, "X")
    assert len(problems) == 1 and problems[0].startswith(line)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"name": "Momentun"}, "OPTIMIZER.name: there is no optimizer 'Momentun'; did you mean 'Momentum'?"),
        ({"momentom": 0.9}, "OPTIMIZER.momentom: Momentum takes no 'momentom'; did you mean 'momentum'?"),
        ({"use_nesterov": "yes"}, "OPTIMIZER.use_nesterov: expected bool, got 'yes'"),
        ({"weight_decay": {"name": "L3", "value": 1.0}}, "OPTIMIZER.weight_decay.name: L1 or L2 is expected, got 'L3'"),
        ({"grad_clip": {"name": "ClipGradByGlobalNorm"}}, "OPTIMIZER.grad_clip.value: expected float, got None"),
        ({"grad_clip": {"name": "Clip", "value": 1}}, "OPTIMIZER.grad_clip.name: there is no clip 'Clip'"),
        ({"param_groups": "TSM"}, "OPTIMIZER.param_groups: 'default' or 'tsm' is expected, got 'TSM'"),
        ({"fc_lr5": True}, "OPTIMIZER.fc_lr5: only param_groups: tsm has it"),
    ],
)
def test_optimizer_mistakes(change, line):
    problems = check_optimizer({**GOOD, **change})
    assert len(problems) == 1 and problems[0].startswith(line)


def test_all_mistakes_at_once():
    assert len(check_optimizer({"name": "No", "weight_decay": "a", "param_groups": 1})) == 4
