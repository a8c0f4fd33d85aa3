"""Training parity, kept: the suite's steps give the losses and gradient norms that PyTorch gave with the same recipe.

``python -m benchmarks.training_parity --store`` makes the stored figures and compares gradients and weights, too.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity import training

STORED = json.loads(Path(__file__).with_name("training.json").read_text())["cases"]
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def difference(title, steps, overrides=(), keys=("loss", "gradient_norm")):
    """The largest relative difference of these figures to the stored ones."""
    found, stored = training.run(*title.split(", "), steps, overrides), STORED[title]
    ours = [[vars(step)[key] for step in found] for key in keys]
    theirs = np.array([stored[key][:steps] for key in keys])
    return float(np.abs(np.array(ours) / theirs - 1.0).max())


@pytest.mark.parametrize(
    ("title", "steps"),
    [
        ("TSM R50, float64", 6),
        ("TimeSformer, float64", 12),
        ("TimeSformer, float32", 12),
        ("SlowOnly AVA, float64", 7),
    ],
)
def test_steps_of_training_equal_pytorch_s(title, steps):
    assert difference(title, steps, keys=("loss", "gradient_norm", "rate")) < TOLERANCE[title.split(", ")[1]]


@pytest.mark.parametrize(
    ("title", "overrides"),
    [
        ("TimeSformer, float64", ["OPTIMIZER.no_weight_decay_name=''"]),
        ("TimeSformer, float64", ["OPTIMIZER.weight_decay.value=0.00011"]),
        ("TimeSformer, float64", ["OPTIMIZER.learning_rate.base_lr=0.0003126"]),
        ("TimeSformer, float64", ["OPTIMIZER.grad_clip.value=2.001"]),
        ("TimeSformer, float64", ["OPTIMIZER.use_nesterov=False"]),
    ],
)
def test_a_wrong_group_rate_decay_or_clip_is_noticed(title, overrides):
    assert difference(title, 5, tuple(overrides)) > 5 * TOLERANCE["float64"]


def test_a_wrong_group_of_tsm_s_classifier_is_noticed():
    assert difference("TSM R50, float64", 2, ("OPTIMIZER.fc_lr5=False",)) > 1e-5
