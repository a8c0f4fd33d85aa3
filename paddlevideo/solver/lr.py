"""Rate schedules: pure functions of the step, which compose.  ``build_lr`` makes the one of a run.

    @SCHEDULES.register                 # its name in YAML is the class name
    @dataclass(frozen=True)
    class Halving(Schedule):
        learning_rate: NonNegative      # numbers, with their ranges
        max_epoch: Epochs               # a length: a number or a share of the run, 20/50; an end may be left out

        def value(self, at: Position) -> float:
            return self.learning_rate * 0.5 ** (at.epoch / self.max_epoch)

Here are PaddleVideo's five, MMAction2's two, and those of ``paddle.optimizer.lr`` that end with the run or hold another
schedule; Paddle's others are used as they are.  Importing this module does not import Paddle.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Annotated, Any, Protocol

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.ranges import Epochs, NonNegative, Probability, Range, Steps
from paddlevideo.registry import SCHEDULES
from paddlevideo.solver.check import by_iteration, check_lr, schedule_arguments
from paddlevideo.solver.lengths import Run, in_numbers

__all__ = ["Position", "RunSchedule", "ScaledSchedule", "Schedule", "SequentialSchedule", "UnevenSchedule",
    "build_lr", "check_lr"]  # fmt: skip


@dataclass(frozen=True)
class Position:
    """The position of a schedule.

    Args:
        step: steps of the schedule that are done; a step is an epoch or an optimizer step (``iter_step``).
        per_epoch: steps of the schedule in one epoch.
        epoch: the steps in epochs.
    """

    step: int
    per_epoch: int
    epoch: float


class Schedule(ABC):
    """A rate as a function of the position alone."""

    last_epoch_counts = "steps"  # unit of the argument last_epoch, which every schedule takes

    @abstractmethod
    def value(self, at: Position) -> float:
        """The rate of the step that follows ``at``."""


class EpochSchedule(Schedule):
    """A schedule with an argument ``last_epoch`` that counts epochs, as in PaddleVideo."""

    last_epoch_counts = "epochs"


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate at every step."""

    learning_rate: NonNegative

    def value(self, at: Position) -> float:
        return self.learning_rate


@SCHEDULES.register
@dataclass(frozen=True)
class CustomWarmupCosineDecay(EpochSchedule):
    """Half a cosine from ``cosine_base_lr`` to 0, begun by a straight line up to the cosine's value.

    At epoch e: ``c(e) = cosine_base_lr (1 + cos(pi e / max_epoch)) / 2``; for ``e < warmup_epochs`` the line from
    ``warmup_start_lr`` to ``c(warmup_epochs)``.  *Source*: PaddleVideo ``CustomWarmupCosineDecay``.
    """

    warmup_start_lr: NonNegative
    warmup_epochs: Epochs
    cosine_base_lr: NonNegative
    max_epoch: Epochs

    def value(self, at: Position) -> float:
        if at.epoch < self.warmup_epochs:
            return _line(self.warmup_start_lr, self._cosine(self.warmup_epochs), at.epoch, self.warmup_epochs)
        return self._cosine(at.epoch)

    def _cosine(self, epoch: float) -> float:
        return self.cosine_base_lr * 0.5 * (1 + _half_cosine(epoch, self.max_epoch))


@SCHEDULES.register
@dataclass(frozen=True)
class CustomWarmupPiecewiseDecay(EpochSchedule):
    """``step_base_lr`` times the factor of the current stage, begun by a straight line.

    Stage k holds from epoch ``steps[k]`` to the next one and has the rate ``lrs[k] * step_base_lr``.  The first rate of
    all is ``warmup_start_lr``, even without a warm-up.  ``gamma`` has no effect, as in PaddleVideo.  *Source*:
    PaddleVideo ``CustomWarmupPiecewiseDecay``.
    """

    warmup_start_lr: NonNegative
    warmup_epochs: Epochs
    step_base_lr: NonNegative
    lrs: list[NonNegative]
    steps: list[Epochs]
    max_epoch: Epochs
    gamma: NonNegative = 0.1

    def value(self, at: Position) -> float:
        if at.step == 0:
            return self.warmup_start_lr
        if at.epoch < self.warmup_epochs:
            return _line(self.warmup_start_lr, self._stage(self.warmup_epochs), at.epoch, self.warmup_epochs)
        return self._stage(at.epoch)

    def _stage(self, epoch: float) -> float:
        ends = [*self.steps, self.max_epoch]
        # after the last epoch the last stage goes on
        index = next((i for i, end in enumerate(ends) if epoch < end), len(ends) - 1)
        return self.lrs[index - 1] * self.step_base_lr


@SCHEDULES.register
@dataclass(frozen=True)
class CustomWarmupAdjustDecay(EpochSchedule):
    """A line up to the base rate, then a factor at each boundary.

    At epoch e: ``step_base_lr (e + 1) / warmup_epochs`` while ``e < warmup_epochs``, then
    ``step_base_lr * lr_decay_rate ** (number of boundaries <= e)``.  The line ends above the base rate where it moves
    by fractions of an epoch, as in the reference.  *Source*: PaddleVideo ``CustomWarmupAdjustDecay``.
    """

    step_base_lr: NonNegative
    warmup_epochs: Epochs
    lr_decay_rate: NonNegative
    boundaries: list[Epochs]

    def value(self, at: Position) -> float:
        if at.epoch < self.warmup_epochs:
            return self.step_base_lr * (at.epoch + 1) / self.warmup_epochs
        return self.step_base_lr * self.lr_decay_rate ** sum(at.epoch >= boundary for boundary in self.boundaries)


@SCHEDULES.register
@dataclass(frozen=True)
class CustomWarmupCosineStepDecay(EpochSchedule):
    """A cosine that moves once per epoch, under a warm-up that moves at every step.

    At epoch e (whole number): ``min_lr + (base_lr - min_lr) (1 + cos(pi e / max_epoch)) / 2``; in the first W steps
    times ``1 - (1 - step / W) (1 - warmup_ratio)``.

    Args:
        warmup_iters: length of the warm-up in *epochs*, in spite of its name; W is that in steps.

    *Source*: PaddleVideo ``CustomWarmupCosineStepDecay``, which loses its counters when it is saved.
    """

    warmup_iters: Epochs
    base_lr: NonNegative
    max_epoch: Epochs
    warmup_ratio: Probability = 0.1
    min_lr: NonNegative = 0.0

    def value(self, at: Position) -> float:
        regular = _cosine(self.base_lr, self.min_lr, at.step // at.per_epoch, self.max_epoch)
        return regular * _warmup_factor(at.step, self.warmup_iters * at.per_epoch, self.warmup_ratio)


@SCHEDULES.register
@dataclass(frozen=True)
class WarmupStepDecay(EpochSchedule):
    """``base_lr * gamma ** (number of milestones <= epoch)`` under a linear warm-up; moves at every iteration.

    In the first W iterations the rate is multiplied by ``1 - (1 - i / W) (1 - warmup_ratio)``.

    Args:
        milestones: epochs, counted from 0.
        warmup_iters: W in iterations; or give ``warmup_epochs``.
        warmup_ratio: the first factor, 0 to 1.

    *Source*: MMAction2 0.24 ``lr_config`` with ``policy='step'`` and ``warmup='linear'``.
    """

    base_lr: NonNegative
    milestones: list[Epochs]
    gamma: NonNegative = 0.1
    warmup_iters: Steps = 0
    warmup_epochs: Epochs = 0
    warmup_ratio: Probability = 0.1

    def value(self, at: Position) -> float:
        epoch = at.step // at.per_epoch
        regular = self.base_lr * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
        warmup = self.warmup_iters or self.warmup_epochs * at.per_epoch
        return regular * _warmup_factor(at.step, warmup, self.warmup_ratio)


@SCHEDULES.register
@dataclass(frozen=True)
class WarmupCosineDecay(EpochSchedule):
    """Half a cosine from ``base_lr`` to ``min_lr`` under a linear warm-up; moves at every iteration.

    After i of N iterations: ``min_lr + (base_lr - min_lr) (1 + cos(pi i / N)) / 2``, in the first W iterations times
    ``1 - (1 - i / W) (1 - warmup_ratio)``: the cosine falls during the warm-up, too.

    Args:
        max_epoch: N in epochs.
        by_epoch: the cosine itself moves once per epoch.
        warmup_iters: W in iterations; or give ``warmup_epochs``.
        warmup_ratio: the first factor, 0 to 1.

    *Source*: MMAction2 0.24 ``lr_config`` with ``policy='CosineAnnealing'`` and ``warmup='linear'``.
    """

    base_lr: NonNegative
    max_epoch: Epochs
    min_lr: NonNegative = 0.0
    by_epoch: bool = False
    warmup_iters: Steps = 0
    warmup_epochs: Epochs = 0
    warmup_ratio: Probability = 0.1

    def value(self, at: Position) -> float:
        epochs = at.step // at.per_epoch if self.by_epoch else at.step / at.per_epoch
        regular = _cosine(self.base_lr, self.min_lr, epochs, self.max_epoch)
        warmup = self.warmup_iters or self.warmup_epochs * at.per_epoch
        return regular * _warmup_factor(at.step, warmup, self.warmup_ratio)


@SCHEDULES.register("PiecewiseDecay")
@dataclass(frozen=True)
class CustomPiecewiseDecay(Schedule):
    """``values[k]`` up to ``boundaries[k]``, counted in steps.  *Source*: PaddleVideo; Paddle's ``PiecewiseDecay``."""

    boundaries: list[Steps]
    values: list[NonNegative]

    def value(self, at: Position) -> float:
        ahead = (value for boundary, value in zip(self.boundaries, self.values) if at.step < boundary)
        return next(ahead, self.values[-1])


@SCHEDULES.register
@dataclass(frozen=True)
class LinearWarmup(Schedule):
    """A line from ``start_lr`` to ``end_lr``, then another schedule from its own beginning, or a number."""

    learning_rate: Schedule
    warmup_steps: Steps
    start_lr: NonNegative
    end_lr: NonNegative

    def value(self, at: Position) -> float:
        if at.step < self.warmup_steps:
            return (self.end_lr - self.start_lr) * float(at.step) / float(self.warmup_steps) + self.start_lr
        step = at.step - self.warmup_steps
        return self.learning_rate.value(Position(step, at.per_epoch, step / at.per_epoch))


@SCHEDULES.register
@dataclass(frozen=True)
class CosineAnnealingDecay(Schedule):
    """Half a cosine from the rate to ``eta_min``, which then holds; Paddle's own climbs again after ``T_max``."""

    learning_rate: NonNegative
    T_max: Steps
    eta_min: NonNegative = 0

    def value(self, at: Position) -> float:
        return self.eta_min + (self.learning_rate - self.eta_min) * (1 + _half_cosine(at.step, self.T_max)) / 2


@SCHEDULES.register
@dataclass(frozen=True)
class LinearLR(Schedule):
    """A line from ``start_factor`` to ``end_factor`` times the rate in ``total_steps`` steps, then ``end_factor``."""

    learning_rate: NonNegative
    total_steps: Steps
    start_factor: Annotated[float, Range(above=0, high=1)] = 1 / 3
    end_factor: Probability = 1.0

    def value(self, at: Position) -> float:
        done = min(at.step, self.total_steps) / self.total_steps
        return self.learning_rate * (self.start_factor + (self.end_factor - self.start_factor) * done)


class PaddleSchedule(Schedule):
    """Any class of ``paddle.optimizer.lr``, by the rates that it gives one after another.

    Args:
        name: the class.
        arguments: of its constructor.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any]):
        from paddle.optimizer import lr

        self.name = name
        self._rates = _Table(_stepped(getattr(lr, name)(**arguments)))
        # Paddle's OneCycleLR raises beyond its end; here its last rate holds
        self._last = arguments["total_steps"] - 1 if name == "OneCycleLR" else math.inf

    def value(self, at: Position) -> float:
        return self._rates[min(at.step, self._last)]


class RateOfRun(Protocol):
    """The rate at every place of a run."""

    def name(self, epoch: int) -> str:
        """The key path and the class of the schedule that gives the rate of an epoch."""

    def rate(self, epoch: int, step: int = 0) -> float:
        """The rate of the next optimizer step, after ``epoch`` epochs and ``step`` optimizer steps of the next one."""


def usable_rate(schedule: RateOfRun, epoch: int, step: int = 0) -> float:
    """The rate of a step that is about to be taken.

    Args:
        epoch: finished epochs.
        step: optimizer steps of the running epoch that are done.

    Raises:
        UserError: it is negative, NaN or infinite.
    """
    rate = schedule.rate(epoch, step)
    if not 0 <= rate < math.inf:
        place = f"in epoch {epoch + 1}, step {step}"
        raise UserError(f"{schedule.name(epoch)} gives the rate {rate} {place}, expected a finite number of 0 or more")
    return rate


class RunSchedule:
    """A schedule at its beat.

    Args:
        schedule: what is evaluated.
        by_iteration: it moves at every optimizer step; otherwise once per epoch.
        steps_per_epoch: optimizer steps of one epoch.
        last_epoch: where it begins; -1 is the beginning.
        where: key path of its section.
    """

    def __init__(
        self,
        schedule: Schedule,
        by_iteration: bool,
        steps_per_epoch: int,
        last_epoch: int = -1,
        where: str = "OPTIMIZER.learning_rate",
    ):
        self.schedule, self.by_iteration, self.where = schedule, by_iteration, where
        self.per_epoch = steps_per_epoch if by_iteration else 1
        in_epochs = schedule.last_epoch_counts == "epochs"
        self._start = max(last_epoch, 0) * self.per_epoch if in_epochs else last_epoch + 1
        # summed up step by step as in PaddleVideo: rounding decides in which iteration a rate drops
        start = max(last_epoch, 0) if in_epochs else self._start / self.per_epoch
        self._epochs = _Table(accumulate(repeat(1 / self.per_epoch), initial=start))

    def rate(self, epoch: int, step: int = 0) -> float:
        """The rate of the next optimizer step, after ``epoch`` epochs and ``step`` optimizer steps of the next one."""
        steps = epoch * self.per_epoch + step if self.by_iteration else epoch
        return float(self.schedule.value(Position(self._start + steps, self.per_epoch, self._epochs[steps])))

    def name(self, epoch: int) -> str:
        """As ``RateOfRun.name``."""
        kind = self.schedule.name if isinstance(self.schedule, PaddleSchedule) else type(self.schedule).__name__
        return f"{self.where}: {kind}"


@dataclass(frozen=True)
class UnevenSchedule:
    """A schedule of epochs in a run whose epochs have different numbers of optimizer steps.

    Args:
        base: what is evaluated, by the epochs that are done.
        steps_in: epoch -> its optimizer steps.
    """

    base: RunSchedule
    steps_in: Callable[[int], int]

    def rate(self, epoch: int, step: int = 0) -> float:
        """As ``RunSchedule.rate``."""
        per_epoch = self.steps_in(epoch) if self.base.by_iteration else 1
        done = epoch + (step / per_epoch if self.base.by_iteration else 0)
        return float(self.base.schedule.value(Position(round(done * per_epoch), per_epoch, done)))

    def name(self, epoch: int) -> str:
        """As ``RateOfRun.name``."""
        return self.base.name(epoch)


@dataclass(frozen=True)
class SequentialSchedule:
    """One rate for the first ``epochs`` epochs, then another from its own beginning."""

    before: RateOfRun
    after: RateOfRun
    epochs: int

    def rate(self, epoch: int, step: int = 0) -> float:
        """As ``RunSchedule.rate``."""
        if epoch < self.epochs:
            return self.before.rate(epoch, step)
        return self.after.rate(epoch - self.epochs, step)

    def name(self, epoch: int) -> str:
        """As ``RateOfRun.name``."""
        return self.before.name(epoch) if epoch < self.epochs else self.after.name(epoch - self.epochs)


@dataclass(frozen=True)
class ScaledSchedule:
    """``factor`` times another rate."""

    base: RateOfRun
    factor: float

    def rate(self, epoch: int, step: int = 0) -> float:
        """As ``RunSchedule.rate``."""
        return self.factor * self.base.rate(epoch, step)

    def name(self, epoch: int) -> str:
        """As ``RateOfRun.name``."""
        return self.base.name(epoch)


def build_lr(
    section: Mapping[str, Any] | float, steps_per_epoch: int, epochs: int, where: str = "OPTIMIZER.learning_rate"
) -> RunSchedule:
    """The schedule of an OPTIMIZER.learning_rate section.

    ``iter_step: True`` moves it at every optimizer step, otherwise it moves once per epoch; the arguments of Paddle's
    own schedules count in these steps.  A schedule inside another one counts the steps of the outer one.  ``verbose``
    has no effect: the log has the rates.

    Args:
        section: a number, or a mapping with ``name``.
        steps_per_epoch: optimizer steps of one epoch.
        epochs: epochs of the run.
        where: key path of the section.

    Raises:
        ConfigError: a mistake in the section.
    """
    problems = check_lr(section, where)
    if problems:
        raise ConfigError(where, problems)
    each_step = by_iteration(section)
    last_epoch = int(section.get("last_epoch", -1)) if isinstance(section, Mapping) else -1
    try:
        schedule = RunSchedule(
            _build(section, Run(epochs, steps_per_epoch), each_step), each_step, steps_per_epoch, last_epoch, where
        )
        usable_rate(schedule, 0)
    except (AssertionError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(where, [f"{where} ({section['name']}): {error}"]) from error
    return schedule


def _build(section: Mapping[str, Any] | float, run: Run, each_step: bool) -> Schedule:
    if not isinstance(section, Mapping):
        return Constant(float(section))
    name, given = section["name"], in_numbers(section, run, each_step)
    arguments = {key: given[key] for key in schedule_arguments(name) if key in given}
    for key, parameter in schedule_arguments(name).items():
        if "Schedule" in (parameter.annotation or "") and key in arguments:
            inner = Run(run.epochs, run.steps_per_epoch, int(arguments.get("warmup_steps", 0)))
            arguments[key] = _build(arguments[key], inner, each_step)
    return SCHEDULES.get(name)(**arguments) if name in SCHEDULES else PaddleSchedule(name, arguments)


class _Table:
    """The values of an iterator by their number, each computed once."""

    def __init__(self, values: Iterator[float]):
        self._values, self._known = values, array("d")

    def __getitem__(self, number: int) -> float:
        while len(self._known) <= number:
            self._known.append(next(self._values))
        return self._known[number]


def _stepped(scheduler: Any) -> Iterator[float]:
    while True:
        yield float(scheduler())
        scheduler.step()


def _line(start: float, end: float, position: float, length: float) -> float:
    return start + position * ((end - start) / length)


def _cosine(start: float, end: float, position: float, length: float) -> float:
    return end + 0.5 * (start - end) * (1 + _half_cosine(position, length))


def _half_cosine(position: float, length: float) -> float:
    """From 1 at 0 to -1 at ``length``, and -1 from there on."""
    return math.cos(math.pi * min(position, length) / length)


def _warmup_factor(step: int, num_warmup_steps: float, ratio: float) -> float:
    """1 after the warm-up, before that a line from ``ratio`` to 1."""
    if step >= num_warmup_steps:
        return 1.0
    return 1 - (1 - step / num_warmup_steps) * (1 - ratio)
