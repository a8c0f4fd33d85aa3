"""Multigrid training: clips of several shapes, small and many at first, large and few at last.

The long cycle gives each step of the learning rate a sequence of shapes; within an epoch of one shape the short cycle
lets batches go round three picture sizes.  A batch holds as many more clips as they are smaller, so a step costs about
the same.  Everything is a function of the epoch and of the number of a batch in it: nothing has a state.

*Source*: Wu et al., 2020, "A Multigrid Method for Efficiently Training Video Models"; PaddleVideo's ``--multigrid``,
from which the numbers of ``Multigrid.of`` are.  It differs on purpose in this:

* The short cycle alone makes a run ``epoch_factor`` times as long; there it makes it the square of its epochs.
* Clips of fewer frames lie up to as much farther apart, by a draw, so that they span the time of the full ones, as in
  the authors' own code; there ``long_cycle_sampling_rate`` is computed and not used, and 8 frames span a quarter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddlevideo.errors import ConfigError
from paddlevideo.settings import MultigridSettings

SHAPE = "clip_shape"  # key of a sample of multigrid training: its ``ClipShape``
_RATE = "OPTIMIZER.learning_rate"
_SCHEDULE = "CustomWarmupPiecewiseDecay"


@dataclass(frozen=True)
class ClipShape:
    """What the clips of a batch are.

    Args:
        num_frames: T.
        crop_size: side of the square pictures, in pixels.
        short_factor: of the short cycle: the side's share of the base's; None: the size of the long cycle.
        longest_interval: frames may be so many times as far apart as those of a base clip.
    """

    num_frames: int
    crop_size: int
    short_factor: float | None = None
    longest_interval: int = 1


@dataclass(frozen=True)
class Stage:
    """Epochs of one shape of the long cycle.

    Args:
        end: epochs of the run that are done when it ends.
        rate_step: number of the learning rate's step that it belongs to.
        batch_factor: clips of a batch, in base batches.
        num_frames, crop_size: of its clips.
    """

    end: int
    rate_step: int
    batch_factor: int
    num_frames: int
    crop_size: int


@dataclass(frozen=True)
class Multigrid:
    """The shapes of a run.

    Args:
        stages: in order; the last one ends with the run.
        base: frames and side of a full clip.
        batch_size: full clips per rank and batch.
        settings: the section MULTIGRID.
    """

    stages: tuple[Stage, ...]
    base: tuple[int, int]
    batch_size: int
    settings: MultigridSettings

    @classmethod
    def of(cls, settings: MultigridSettings, learning_rate: Any, base: tuple[int, int], batch_size: int) -> Multigrid:
        """The shapes of a configuration.

        Args:
            learning_rate: the section, ``CustomWarmupPiecewiseDecay``, as the file has it.
            base: frames and side that PIPELINE.train gives.
            batch_size: DATASET.batch_size.

        Raises:
            ConfigError: the section MULTIGRID or the schedule does not make a sequence of shapes.
        """
        factors = _checked(settings, learning_rate)
        last = learning_rate["max_epoch"]
        if not settings.LONG_CYCLE:
            stages = (Stage(int(last * settings.epoch_factor), 0, 1, *base),)
        else:
            stages = tuple(_long_cycle(settings, factors, [*learning_rate["steps"], last], base))
        if any(end <= begin for begin, end in zip([0, *[s.end for s in stages]], [s.end for s in stages])):
            problem = f"MULTIGRID.epoch_factor: {len(stages)} shapes leave some without an epoch; train longer"
            raise ConfigError("MULTIGRID", [problem])
        return cls(stages, base, batch_size, settings)

    @property
    def epochs(self) -> int:
        """Of the run."""
        return self.stages[-1].end

    def stage(self, epoch: int) -> Stage:
        """Of an epoch, counted from 0; after the last one the last."""
        place = bisect_right([stage.end for stage in self.stages], epoch)
        return self.stages[min(place, len(self.stages) - 1)]

    def shape(self, epoch: int, number: int) -> ClipShape:
        """Of batch ``number`` of an epoch."""
        stage, factor = self.stage(epoch), self._short_factor(number)
        side = stage.crop_size if factor is None else _rounded(self.base[1] * factor)
        return ClipShape(stage.num_frames, side, factor, self.base[0] // stage.num_frames)

    def clips(self, epoch: int, number: int) -> int:
        """Clips per rank of batch ``number`` of an epoch."""
        stage, factor = self.stage(epoch), self._short_factor(number)
        times = 1 if factor is None else max(1, round((stage.crop_size / (self.base[1] * factor)) ** 2))
        return self.batch_size * stage.batch_factor * times

    def num_splits(self, epoch: int) -> int:
        """Parts of a batch that batch norms normalise each by itself: of about ``bn_base_size`` clips."""
        clips = self.batch_size * self.stage(epoch).batch_factor
        return next(n for n in range(max(1, clips // self.settings.bn_base_size), 0, -1) if clips % n == 0)

    def is_end(self, epochs: int) -> bool:
        """Whether a shape's last epoch is done after so many epochs."""
        return any(stage.end == epochs for stage in self.stages)

    def validates_after(self, epochs: int) -> bool:
        """Whether the long cycle validates after so many epochs: EVAL_FREQ times per shape, the last at its end."""
        stage = self.stage(epochs - 1)
        begin = max((s.end for s in self.stages if s.end < stage.end), default=0)
        return (stage.end - epochs) % max(1, (stage.end - begin) // self.settings.EVAL_FREQ + 1) == 0

    def learning_rate(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """The schedule of the shapes: a rate for each, times its batch factor; the last one begins at the one before.

        Without the long cycle: the schedule, ``epoch_factor`` times as long.
        """
        if not self.settings.LONG_CYCLE:
            steps = [int(step * self.settings.epoch_factor) for step in section["steps"]]
            return {**section, "steps": steps, "max_epoch": self.epochs}
        gamma = section.get("gamma", 0.1)
        rates = [gamma**stage.rate_step * stage.batch_factor for stage in self.stages]
        ends = [stage.end for stage in self.stages]
        begins = [0, *ends[:-1], (ends[-2] + ends[-1]) // 2]
        return {**section, "steps": begins, "lrs": [*rates[:-1], rates[-2], rates[-1]], "max_epoch": ends[-1]}

    def _short_factor(self, number: int) -> float | None:
        if not self.settings.SHORT_CYCLE:
            return None
        return [*self.settings.short_cycle_factors, None][number % 3]


def _long_cycle(
    settings: MultigridSettings, factors: Sequence[tuple[float, float]], ends: Sequence[int], base: tuple[int, int]
) -> list[Stage]:
    """Every step of the rate but the last goes through all shapes, each for its share of clips; the last has one shape.

    Args:
        factors: (frames, side) of each shape, in those of the base.
        ends: first epoch of each step of the rate, and the end of the last.
    """
    frames, side = base
    shapes = [(_rounded(frames * t), _rounded(side * s)) for t, s in factors]
    short = [side * factor for factor in settings.short_cycle_factors] if settings.SHORT_CYCLE else []
    clips = [[_clips(base, t, s) for s in (*short, own)] for t, own in shapes]
    means = [float(np.mean(counts)) for counts in clips]
    lengths, stages = [], []
    for step, (begin, end) in enumerate(zip(ends[:-2], ends[1:-1])):
        for (t, s), counts, mean in zip(shapes, clips, means):
            lengths.append((end - begin) * mean / sum(means))
            stages.append((step, counts[-1], t, s))
    saving = sum(means) / len(means)  # of optimizer steps, by all but the last step of the rate
    lengths.append((ends[-1] - ends[-2]) / saving * means[-1])
    stages.append((len(ends) - 2, clips[-1][-1], *shapes[-1]))
    scaled = np.cumsum(lengths) * ends[-1] * settings.epoch_factor / sum(lengths)
    return [Stage(_rounded(end), *stage) for end, stage in zip(scaled.tolist(), stages)]


def _clips(base: tuple[int, int], num_frames: int, side: float) -> int:
    """Clips of this shape that hold as many pixels as one of the base."""
    frames, full = base
    return max(1, _rounded(frames * full * full / (num_frames * side * side)))


def _rounded(value: float) -> int:
    return int(round(value))


def _checked(settings: MultigridSettings, learning_rate: Any) -> list[tuple[float, float]]:
    """The long cycle's factors.

    Raises:
        ConfigError: all that is wrong with the section, and with the schedule.
    """
    problems = []
    if not (settings.LONG_CYCLE or settings.SHORT_CYCLE):
        problems.append("MULTIGRID: LONG_CYCLE and SHORT_CYCLE are both False; set one, or leave out --multigrid")
    if len(settings.short_cycle_factors) != 2:
        problems.append(f"MULTIGRID.short_cycle_factors: expected two, got {list(settings.short_cycle_factors)}")
    given = [item["value"] if isinstance(item, Mapping) else item for item in settings.long_cycle_factors]
    if settings.LONG_CYCLE and not (given and all(len(pair) == 2 and max(pair) <= 1 for pair in given)):
        problems.append(
            f"MULTIGRID.long_cycle_factors: expected pairs [frames, side] of numbers above 0 to 1, got {given}"
        )
    name = learning_rate.get("name") if isinstance(learning_rate, Mapping) else None
    steps = (learning_rate.get("steps") or []) if name == _SCHEDULE else []
    if name != _SCHEDULE or not all(isinstance(step, int) for step in [*steps, learning_rate.get("max_epoch")]):
        problems.append(
            f"{_RATE}: --multigrid divides the steps of {_SCHEDULE}, given in epochs, among the shapes; got "
            f"{name or learning_rate}"
        )
    elif settings.LONG_CYCLE and len(steps) < 2:
        problems.append(f"{_RATE}.steps: the long cycle goes through all shapes before the last step; expected several")
    if problems:
        raise ConfigError("MULTIGRID", problems)
    return [(float(pair[0]), float(pair[1])) for pair in given]
