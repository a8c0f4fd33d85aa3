"""Rate schedules: PaddleVideo's five, MMAction2's two, and every schedule of ``paddle.optimizer.lr``.

A schedule's value after ``i`` steps is the rate of iteration (or epoch) ``i``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from paddle.optimizer import lr as paddle_lr
from paddle.optimizer.lr import LRScheduler

from paddlevideo.errors import ConfigError
from paddlevideo.solver.check import ALWAYS_BY_ITERATION, check_lr, scale_lr, schedule_arguments
from paddlevideo.solver.lengths import Run, in_numbers

__all__ = ["EpochSchedule", "Schedule", "build_lr", "check_lr", "scale_lr"]


class ConstantLR(LRScheduler):
    """The same rate for ever."""

    def get_lr(self) -> float:
        """The rate."""
        return self.base_lr


class EpochSchedule(LRScheduler):
    """A schedule over fractional epochs: every step moves ``last_epoch`` on by ``1 / num_iters``.

    The fraction is summed up step by step, as PaddleVideo does: rounding decides in which iteration a rate drops, and
    the same rounding gives the same iteration.  ``num_steps`` counts the steps as a whole number.

    Args:
        base_lr: the rate that Paddle's base class is told.
        num_iters: steps of one epoch; 1 if the schedule is stepped once per epoch.
        last_epoch: the epoch to begin at; -1 begins at the start.
    """

    def __init__(self, base_lr: float, num_iters: int = 1, last_epoch: int = -1, verbose: bool = False):
        self.num_iters = num_iters
        self._start = max(last_epoch, 0)
        self.num_steps = self._start * num_iters
        # the base class's constructor calls step(), which has to end at the first epoch
        self._begun = False
        super().__init__(base_lr, max(last_epoch, 0), verbose)

    def step(self, epoch: int | None = None) -> None:
        """Goes to the next step.

        Args:
            epoch: the step to go to, counted from 0 in steps: ``LinearWarmup`` moves the schedule inside it so.
        """
        if epoch is not None:
            self.num_steps = int(epoch)
            self.last_epoch = epoch / self.num_iters
        elif self._begun:
            self.num_steps += 1
            self.last_epoch += 1 / self.num_iters
        self._begun = True
        self.last_lr = self.get_lr()
        if self.verbose:
            print(f"Epoch {self.last_epoch}: {type(self).__name__} set learning rate to {self.last_lr}.")

    def move_to(self, num_steps: int) -> None:
        """Goes to the position after ``num_steps`` calls of ``step()`` from the beginning, bit for bit."""
        self.num_steps, self.last_epoch = self._start * self.num_iters + num_steps, self._start
        for _ in range(num_steps):
            self.last_epoch += 1 / self.num_iters
        self.last_lr = self.get_lr()

    def state_keys(self) -> None:
        """Names the attributes that are saved (Paddle's protocol)."""
        self.keys = ["last_epoch", "last_lr", "num_steps"]


class CustomWarmupCosineDecay(EpochSchedule):
    """Half a cosine from ``cosine_base_lr`` to 0, begun by a straight line up to the cosine's value.

    At epoch e: ``c(e) = cosine_base_lr (1 + cos(pi e / max_epoch)) / 2``; for ``e < warmup_epochs`` the line from
    ``warmup_start_lr`` to ``c(warmup_epochs)``.  *Source*: PaddleVideo ``CustomWarmupCosineDecay``.
    """

    def __init__(
        self,
        warmup_start_lr: float,
        warmup_epochs: float,
        cosine_base_lr: float,
        max_epoch: float,
        num_iters: int = 1,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        self.warmup_start_lr = warmup_start_lr
        self.warmup_epochs = warmup_epochs
        self.cosine_base_lr = cosine_base_lr
        self.max_epoch = max_epoch
        super().__init__(cosine_base_lr, num_iters, last_epoch, verbose)

    def get_lr(self) -> float:
        """The rate at ``last_epoch``."""
        if self.last_epoch < self.warmup_epochs:
            slope = (self._cosine(self.warmup_epochs) - self.warmup_start_lr) / self.warmup_epochs
            return self.warmup_start_lr + self.last_epoch * slope
        return self._cosine(self.last_epoch)

    def _cosine(self, epoch: float) -> float:
        return self.cosine_base_lr * 0.5 * (1 + _half_cosine(epoch, self.max_epoch))


class CustomWarmupPiecewiseDecay(EpochSchedule):
    """``step_base_lr`` times the factor of the current stage, begun by a straight line.

    Stage k holds from epoch ``steps[k]`` to the next one and has the rate ``lrs[k] * step_base_lr``.  The first rate of
    all is ``warmup_start_lr``, even without a warm-up.  ``gamma`` is taken for the sake of PaddleVideo's files and has
    no effect, as there.  *Source*: PaddleVideo ``CustomWarmupPiecewiseDecay``.
    """

    def __init__(
        self,
        warmup_start_lr: float,
        warmup_epochs: float,
        step_base_lr: float,
        lrs: list[float],
        steps: list[float],
        max_epoch: float,
        gamma: float = 0.1,
        num_iters: int = 1,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        self.warmup_start_lr = warmup_start_lr
        self.warmup_epochs = warmup_epochs
        self.step_base_lr = step_base_lr
        self.lrs = list(lrs)
        self.steps = list(steps)
        self.max_epoch = max_epoch
        self.gamma = gamma
        super().__init__(step_base_lr, num_iters, last_epoch, verbose)

    def get_lr(self) -> float:
        """The rate at ``last_epoch``."""
        if self.num_steps == 0:
            return self.warmup_start_lr
        if self.last_epoch < self.warmup_epochs:
            slope = (self._stage(self.warmup_epochs) - self.warmup_start_lr) / self.warmup_epochs
            return self.warmup_start_lr + self.last_epoch * slope
        return self._stage(self.last_epoch)

    def _stage(self, epoch: float) -> float:
        ends = [*self.steps, self.max_epoch]
        # after the last epoch the last stage goes on
        index = next((i for i, end in enumerate(ends) if epoch < end), len(ends) - 1)
        return self.lrs[index - 1] * self.step_base_lr


class CustomWarmupAdjustDecay(EpochSchedule):
    """A line up to the base rate, then a factor at each boundary.

    At epoch e: ``step_base_lr (e + 1) / warmup_epochs`` while ``e < warmup_epochs``, then
    ``step_base_lr * lr_decay_rate ** (number of boundaries <= e)``.  The line ends above the base rate when it moves by
    iteration: so it is in the reference.  *Source*: PaddleVideo ``CustomWarmupAdjustDecay``.
    """

    def __init__(
        self,
        step_base_lr: float,
        warmup_epochs: float,
        lr_decay_rate: float,
        boundaries: list[float],
        num_iters: int = 1,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        self.step_base_lr = step_base_lr
        self.warmup_epochs = warmup_epochs
        self.lr_decay_rate = lr_decay_rate
        self.boundaries = list(boundaries)
        super().__init__(step_base_lr, num_iters, last_epoch, verbose)

    def get_lr(self) -> float:
        """The rate at ``last_epoch``."""
        if self.last_epoch < self.warmup_epochs:
            return self.step_base_lr * (self.last_epoch + 1) / self.warmup_epochs
        passed = sum(self.last_epoch >= boundary for boundary in self.boundaries)
        return self.step_base_lr * self.lr_decay_rate**passed


class CustomWarmupCosineStepDecay(EpochSchedule):
    """A cosine that moves once per epoch, under a warm-up that moves at every step.

    At epoch e (whole number): ``min_lr + (base_lr - min_lr) (1 + cos(pi e / max_epoch)) / 2``; in the first W steps
    times ``1 - (1 - step / W) (1 - warmup_ratio)``.

    Args:
        warmup_iters: length of the warm-up in *epochs*, in spite of its name: W = warmup_iters * num_iters.

    *Source*: PaddleVideo ``CustomWarmupCosineStepDecay``, which loses its counters when it is saved.
    """

    def __init__(
        self,
        warmup_iters: float,
        base_lr: float,
        max_epoch: float,
        warmup_ratio: float = 0.1,
        min_lr: float = 0.0,
        num_iters: int = 1,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        self.warmup_iters = warmup_iters
        self.warmup_ratio = warmup_ratio
        self.min_lr = min_lr
        self.max_epoch = max_epoch
        self.base_lr = base_lr
        super().__init__(base_lr, num_iters, last_epoch, verbose)

    def get_lr(self) -> float:
        """The rate after ``num_steps`` steps."""
        epoch = self.num_steps // self.num_iters
        regular = self.min_lr + 0.5 * (self.base_lr - self.min_lr) * (1 + _half_cosine(epoch, self.max_epoch))
        return regular * _warmup_factor(self.num_steps, self.warmup_iters * self.num_iters, self.warmup_ratio)


class CustomPiecewiseDecay(paddle_lr.PiecewiseDecay):
    """``values[k]`` up to ``boundaries[k]``, counted in steps.  *Source*: PaddleVideo; Paddle's ``PiecewiseDecay``."""

    def __init__(
        self,
        boundaries: list[int],
        values: list[float],
        num_iters: int = 1,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        super().__init__(boundaries, values, last_epoch, verbose)


class WarmupStepDecay(EpochSchedule):
    """``base_lr * gamma ** (number of milestones <= epoch)`` under a linear warm-up; moves at every iteration.

    In the first W iterations the rate is multiplied by ``1 - (1 - i / W) (1 - warmup_ratio)``.

    Args:
        milestones: epochs, counted from 0.
        warmup_iters: W in iterations; or give ``warmup_epochs``.
        warmup_ratio: the first factor, 0 to 1.

    *Source*: MMAction2 0.24 ``lr_config`` with ``policy='step'`` and ``warmup='linear'``.
    """

    def __init__(
        self,
        base_lr: float,
        milestones: list[int],
        gamma: float = 0.1,
        warmup_iters: int = 0,
        warmup_epochs: float = 0,
        warmup_ratio: float = 0.1,
        num_iters: int = 1,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        self.base_lr = base_lr
        self.milestones = list(milestones)
        self.gamma = gamma
        self.warmup_steps = warmup_iters or warmup_epochs * num_iters
        self.warmup_ratio = warmup_ratio
        super().__init__(base_lr, num_iters, last_epoch, verbose)

    def get_lr(self) -> float:
        """The rate after ``num_steps`` steps."""
        epoch = self.num_steps // self.num_iters
        regular = self.base_lr * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
        return regular * _warmup_factor(self.num_steps, self.warmup_steps, self.warmup_ratio)


class WarmupCosineDecay(EpochSchedule):
    """Half a cosine from ``base_lr`` to ``min_lr`` under a linear warm-up; moves at every iteration.

    After i of N iterations: ``min_lr + (base_lr - min_lr) (1 + cos(pi i / N)) / 2``, in the first W iterations times
    ``1 - (1 - i / W) (1 - warmup_ratio)``: the cosine sinks beneath the warm-up.

    Args:
        max_epoch: N in epochs; the run's epochs if not given.
        by_epoch: the cosine itself moves once per epoch.
        warmup_iters: W in iterations; or give ``warmup_epochs``.
        warmup_ratio: the first factor, 0 to 1.

    *Source*: MMAction2 0.24 ``lr_config`` with ``policy='CosineAnnealing'`` and ``warmup='linear'``.
    """

    def __init__(
        self,
        base_lr: float,
        max_epoch: float,
        min_lr: float = 0.0,
        by_epoch: bool = False,
        warmup_iters: int = 0,
        warmup_epochs: float = 0,
        warmup_ratio: float = 0.1,
        num_iters: int = 1,
        last_epoch: int = -1,
        verbose: bool = False,
    ):
        self.base_lr = base_lr
        self.max_epoch = max_epoch
        self.min_lr = min_lr
        self.by_epoch = by_epoch
        self.warmup_steps = warmup_iters or warmup_epochs * num_iters
        self.warmup_ratio = warmup_ratio
        super().__init__(base_lr, num_iters, last_epoch, verbose)

    def get_lr(self) -> float:
        """The rate after ``num_steps`` steps."""
        epochs = self.num_steps // self.num_iters if self.by_epoch else self.num_steps / self.num_iters
        regular = self.min_lr + 0.5 * (self.base_lr - self.min_lr) * (1 + _half_cosine(epochs, self.max_epoch))
        return regular * _warmup_factor(self.num_steps, self.warmup_steps, self.warmup_ratio)


class CosineAnnealingDecay(paddle_lr.CosineAnnealingDecay):
    """Paddle's half cosine from the rate to ``eta_min``, where it stays; Paddle's own climbs again after ``T_max``."""

    def get_lr(self) -> float:
        """The rate at ``last_epoch``, not worked out from the last rate as Paddle does."""
        return self.eta_min + (self.base_lr - self.eta_min) * (1 + _half_cosine(self.last_epoch, self.T_max)) / 2

    _get_closed_form_lr = get_lr


class LinearLR(paddle_lr.LinearLR):
    """Paddle's line from ``start_factor`` to ``end_factor`` times the rate in ``total_steps`` steps."""

    def get_lr(self) -> float:
        """The rate at ``last_epoch``, not worked out from the last rate as Paddle does."""
        done = min(self.last_epoch, self.total_steps) / self.total_steps
        return self.base_lr * (self.start_factor + (self.end_factor - self.start_factor) * done)


class OneCycleLR(paddle_lr.OneCycleLR):
    """Paddle's one cycle, whose end holds; Paddle's own stops training after ``total_steps``."""

    def get_lr(self) -> float:
        """The rate at ``last_epoch``."""
        position, self.last_epoch = self.last_epoch, min(self.last_epoch, self.total_steps - 1)
        try:
            return super().get_lr()
        finally:
            self.last_epoch = position


class CosineAnnealingWarmRestarts(paddle_lr.CosineAnnealingWarmRestarts):
    """Paddle's cosine with restarts; the stage follows from ``last_epoch`` alone, which is all that is saved."""

    def step(self, epoch: int | None = None) -> None:
        """Goes to the next step, or to ``epoch``."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else int(epoch)
        self.T_cur, self.T_i = self.last_epoch, self.T_0
        if self.T_mult == 1:
            self.T_cur %= self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self.last_lr = self.get_lr()


class Schedule:
    """A schedule and the beat it is stepped at.

    Args:
        scheduler: what the optimizer reads its rate from.
        by_iteration: stepped after every optimizer step; otherwise after every epoch.
        steps_per_epoch: optimizer steps of one epoch.
    """

    def __init__(self, scheduler: LRScheduler, by_iteration: bool, steps_per_epoch: int = 1):
        self.scheduler = scheduler
        self.by_iteration = by_iteration
        self.steps_per_epoch = steps_per_epoch
        self._start = scheduler.last_epoch

    @property
    def lr(self) -> float:
        """The rate of the next optimizer step."""
        return float(self.scheduler())

    def step_batch(self) -> None:
        """To be called after every optimizer step."""
        if self.by_iteration:
            self.scheduler.step()

    def step_epoch(self) -> None:
        """To be called after every epoch."""
        if not self.by_iteration:
            self.scheduler.step()

    def move_to(self, epochs: int, steps: int = 0) -> None:
        """Goes to the position after so many epochs and so many optimizer steps of the next one.

        A rate is a function of the position alone: a run can be resumed with any schedule.
        """
        position = epochs * self.steps_per_epoch + steps if self.by_iteration else epochs
        if isinstance(self.scheduler, EpochSchedule):
            self.scheduler.move_to(position)
        else:
            self.scheduler.step(self._start + position)

    def state_dict(self) -> dict[str, Any]:
        """All counters, the schedule inside a ``LinearWarmup`` included: plain numbers and texts."""
        return {**_state(self.scheduler), "lr": self.lr}


def build_lr(
    section: Mapping[str, Any] | float, steps_per_epoch: int, epochs: int, where: str = "OPTIMIZER.learning_rate"
) -> Schedule:
    """The schedule of an OPTIMIZER.learning_rate section.

    ``iter_step: True`` steps it after every optimizer step, otherwise after every epoch; the arguments of Paddle's own
    schedules count in these steps.  A mapping as ``learning_rate`` is a schedule inside ``LinearWarmup``; it moves at
    the beat of the outer one.

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
    if not isinstance(section, Mapping):
        return Schedule(ConstantLR(float(section)), False, steps_per_epoch)
    by_iteration = bool(section.get("iter_step", False)) or section["name"] in ALWAYS_BY_ITERATION
    scheduler = _build(section, Run(epochs, steps_per_epoch), by_iteration, where)
    return Schedule(scheduler, by_iteration, steps_per_epoch)


def _build(section: Mapping[str, Any], run: Run, by_iteration: bool, where: str) -> LRScheduler:
    name = section["name"]
    own = globals().get(name)
    factory = own or getattr(paddle_lr, name)
    arguments = in_numbers(section, run, by_iteration)
    for key in ("name", "iter_step", "num_iters"):
        arguments.pop(key, None)
    for key, (_, kind) in schedule_arguments(name).items():
        value = arguments.get(key)
        if kind in ("count", "start", "beat") and value is not None:
            arguments[key] = int(value)
        elif kind == "lr" and isinstance(value, Mapping):
            inner = Run(run.epochs, run.steps_per_epoch, int(arguments["warmup_steps"]))
            arguments[key] = _build(value, inner, by_iteration, f"{where}.{key}")
    if own is not None and issubclass(own, (EpochSchedule, CustomPiecewiseDecay)):
        arguments["num_iters"] = run.steps_per_epoch if by_iteration else 1
    try:
        return factory(**arguments)
    except (AssertionError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(where, [f"{where} ({name}): {error}"]) from error


def _state(scheduler: LRScheduler) -> dict[str, Any]:
    state = {"class": type(scheduler).__name__}
    scheduler.state_keys()
    for key in scheduler.keys:
        state[key] = getattr(scheduler, key)
    inner = getattr(scheduler, "learning_rate", None)
    if isinstance(inner, LRScheduler):
        state["inside"] = _state(inner)
    return state


def _half_cosine(position: float, length: float) -> float:
    """From 1 at 0 to -1 at ``length``, and -1 from there on."""
    return math.cos(math.pi * min(position, length) / length)


def _warmup_factor(step: int, num_warmup_steps: float, ratio: float) -> float:
    """1 after the warm-up, before that a line from ``ratio`` to 1."""
    if step >= num_warmup_steps:
        return 1.0
    return 1 - (1 - step / num_warmup_steps) * (1 - ratio)
