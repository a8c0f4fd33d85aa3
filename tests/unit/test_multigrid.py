"""Shapes, rates and batches of multigrid training: the numbers that PaddleVideo's file gives there."""

import pytest

from paddlevideo.errors import ConfigError
from paddlevideo.loader.sampler import BatchPlan
from paddlevideo.multigrid import Multigrid
from paddlevideo.settings import MultigridSettings
from paddlevideo.solver.lr import UnevenSchedule, build_lr

FACTORS = [{"value": pair} for pair in ([0.25, 0.7071], [0.5, 0.7071], [0.5, 1], [1, 1])]
RATE = {
    "name": "CustomWarmupPiecewiseDecay", "iter_step": True, "warmup_epochs": 34, "warmup_start_lr": 0.01,
    "step_base_lr": 0.1, "lrs": [1, 0.1, 0.01, 0.001, 0.0001, 0.00001], "gamma": 0.1, "steps": [0, 94, 154, 196],
    "max_epoch": 239,
}  # fmt: skip


def grid(rate=RATE, **changes):
    section = {"LONG_CYCLE": True, "SHORT_CYCLE": True, "epoch_factor": 1.5, "long_cycle_factors": FACTORS}
    return Multigrid.of(MultigridSettings.of(section | changes), rate, (32, 224), batch_size=8)


def test_the_shapes_and_their_ends():
    stages = grid().stages
    assert [stage.end for stage in stages] == [73, 110, 142, 158, 205, 228, 248, 259, 291, 308, 322, 329, 358]
    shapes = [(stage.batch_factor, stage.num_frames, stage.crop_size) for stage in stages]
    assert shapes == 3 * [(8, 8, 158), (4, 16, 158), (2, 16, 224), (1, 32, 224)] + [(1, 32, 224)]


def test_batches_of_the_short_cycle():
    clips = [[grid().clips(epoch, number) for number in range(4)] for epoch in (0, 73, 110, 142, 357)]
    assert clips == [[128, 64, 64, 128], [64, 32, 32, 64], [64, 32, 16, 64], [32, 16, 8, 32], [32, 16, 8, 32]]
    sides = [grid().shape(epoch, number).crop_size for epoch in (72, 110) for number in range(3)]
    assert sides == [112, 158, 158, 112, 158, 224]
    alone = grid(SHORT_CYCLE=False)
    assert [alone.clips(stage.end - 1, 1) for stage in alone.stages[:4]] == [64, 32, 16, 8]


def test_clips_of_fewer_frames_may_span_the_time_of_the_full_ones():
    assert [grid().shape(epoch, 0).longest_interval for epoch in (0, 73, 142)] == [4, 2, 1]


def test_batch_norms_see_about_as_many_clips_in_every_shape():
    assert [grid().num_splits(epoch) for epoch in (0, 73, 110, 142)] == [8, 4, 2, 1]
    assert [grid(bn_base_size=24).num_splits(epoch) for epoch in (0, 73)] == [2, 1]


def test_validations_and_ends_of_shapes():
    due = [epochs for epochs in range(1, 359) if grid().validates_after(epochs)]
    assert due[:6] == [23, 48, 73, 84, 97, 110] and {stage.end for stage in grid().stages} <= set(due)
    assert [epochs for epochs in range(1, 150) if grid().is_end(epochs)] == [73, 110, 142]


def rates(shapes, steps_in=lambda epoch: 10):
    return UnevenSchedule(build_lr(shapes.learning_rate(RATE), steps_in(0), shapes.epochs), steps_in)


def test_rates_follow_the_batches():
    schedule = rates(grid())
    got = [
        schedule.rate(epoch, 5) / 0.1 for epoch in (72, 73, 110, 142, 158, 205, 228, 248, 259, 291, 308, 322, 342, 343)
    ]
    assert got == pytest.approx([8, 4, 2, 1, 0.8, 0.4, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01, 0.01, 0.001])
    assert schedule.rate(0) == 0.01 and schedule.rate(17) == pytest.approx((0.01 + 0.8) / 2)


def test_a_rate_between_epochs_counts_the_steps_of_its_own_epoch():
    schedule = rates(grid(), lambda epoch: 4 + epoch)
    assert schedule.rate(10, 7) == pytest.approx(0.01 + (10 + 7 / 14) / 34 * 0.79)


def test_the_short_cycle_alone_is_epoch_factor_times_as_long():
    """The reference makes it the square of its epochs."""
    shapes = grid(LONG_CYCLE=False)
    assert shapes.epochs == int(239 * 1.5)
    section = shapes.learning_rate(RATE)
    assert (section["steps"], section["max_epoch"], section["lrs"]) == ([0, 141, 231, 294], 358, RATE["lrs"])
    assert [shapes.clips(357, number) for number in range(3)] == [32, 16, 8]


@pytest.mark.parametrize(
    ("changes", "rate", "words"),
    [
        ({"LONG_CYCLE": False, "SHORT_CYCLE": False}, RATE, "are both False"),
        ({"short_cycle_factors": [0.5]}, RATE, "short_cycle_factors: expected two"),
        ({"long_cycle_factors": [[0.5, 2.0]]}, RATE, "long_cycle_factors: expected pairs"),
        ({}, {"name": "CustomWarmupCosineDecay", "max_epoch": 9}, "divides the steps of CustomWarmupPiecewiseDecay"),
        ({}, RATE | {"steps": [0]}, "before the last step"),
        ({}, RATE | {"steps": [0, 1], "max_epoch": 2}, "leave some without an epoch"),
    ],
)
def test_what_makes_no_sequence_of_shapes(changes, rate, words):
    with pytest.raises(ConfigError, match=words):
        grid(rate, **changes)


def test_a_plan_deals_batches_of_changing_size_to_ranks():
    def plan(**more):
        return BatchPlan(
            20, 2, 5, shuffle=True, drop_last=True, sizes=lambda epoch, n: (4, 2, 1)[n % 3] + epoch, **more
        )

    alone = plan().batches(0)
    assert [len(batch) for batch in alone] == [4, 2, 1, 4, 2, 1, 4, 2] and plan().num_batches(1) == 6
    ranks = [plan(rank=rank, world_size=2).batches(0) for rank in range(2)]
    assert [len(batch) for batch in ranks[0]] == [len(batch) for batch in ranks[1]] == [4, 2, 1]
    together = [index for pair in zip(*ranks) for batch in pair for index in batch]
    assert together == [index for batch in alone for index in batch][:14]
