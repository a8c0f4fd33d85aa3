"""What ends a run before its last epoch: validations that improve no more, and a limit of time.

Neither changes the schedule: a run that continues goes on at the rates that it would have had.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, Self

from paddlevideo.engine.hooks import Hook
from paddlevideo.errors import UserError
from paddlevideo.settings import EarlyStopSettings

if TYPE_CHECKING:
    from paddlevideo.engine.trainer import Trainer

log = logging.getLogger("paddlevideo")

_HOUR_S = 3600.0


class TimeLimitHook(Hook):
    """Stops at the end of the step in which so many hours have passed; the checkpoint hook writes a resume point.

    The ranks agree on it with the exchange of that step.

    Args:
        hours: since the hook was made, before the first step.
    """

    name = "time_limit"

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        """With ``--max_hours``."""
        return None if run.options.max_hours is None else cls(run.options.max_hours)

    def __init__(self, hours: float):
        self.hours, self._begun = hours, time.monotonic()

    def start(self, run: Trainer) -> None:
        run.deadline = self._begun + self.hours * _HOUR_S

    def finish(self, run: Trainer) -> None:
        """The hooks finish in reverse order: the resume point is written."""
        if run.out_of_time and run.progress.epoch < run.epochs:
            passed = (time.monotonic() - self._begun) / _HOUR_S
            where = f"epoch {run.progress.epoch + 1} of {run.epochs}, step {run.progress.step}"
            log.info(
                "stopped after %.2f hours (--max_hours %g) in %s; continue with --resume", passed, self.hours, where
            )


class EarlyStopHook(Hook):
    """Ends training after ``patience`` validations in a row without an improvement.

    ``ValidateHook`` passes the figure of each validation on before it stores the state of the hooks, so that a resumed
    run counts on from there.

    Args:
        settings: EARLY_STOP.
        monitor: the figure that the configuration names; None: the metric's own.
    """

    name = "early_stop"

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        """From EARLY_STOP.

        Raises:
            UserError: nothing is validated.
        """
        settings = run.config.settings.early_stop
        if settings is not None and not run.options.validate:
            raise UserError(f"{run.config.source}: EARLY_STOP: counts validations; add --validate, or take it out")
        validations = math.ceil(run.epochs / run.config.settings.val_interval)
        if settings is not None and run.grid is None and settings.patience >= validations:
            log.warning(
                "EARLY_STOP.patience: %d, but %d epochs have %d validations: it never ends the run",
                *(settings.patience, run.epochs, validations),
            )
        return None if settings is None else cls(settings, run.config.settings.monitor)

    def __init__(self, settings: EarlyStopSettings, monitor: str | None = None):
        self.settings, self.monitor = settings, monitor
        self.best: float | None = None  # at the last improvement
        self.waited = 0  # validations since then
        self.figure = ""

    def start(self, run: Trainer) -> None:
        """A run that was ended here before ends again."""
        if self._is_over and run.progress.step_in_epoch == 0 and run.progress.epoch < run.epochs:
            self._end(run)

    def begin_anew(self) -> None:
        """Counts from the next validation on."""
        self.best, self.waited = None, 0

    def take(self, figure: float, name: str) -> None:
        """Counts a validation.

        Args:
            figure: higher is better; -inf where it is not usable.
            name: of the figure.
        """
        if name != self.figure:
            self.best, self.waited, self.figure = None, 0, name
        if figure > (-math.inf if self.best is None else self.best + self.settings.min_delta):
            self.best, self.waited = figure, 0
        else:
            self.waited += 1

    def epoch_end(self, run: Trainer) -> None:
        if self._is_over and run.progress.epoch < run.epochs:
            run.hook("checkpoint").save(run, f"epoch_{run.progress.epoch:05d}")
            self._end(run)

    @property
    def _is_over(self) -> bool:
        return self.waited >= self.settings.patience

    def _end(self, run: Trainer) -> None:
        best = "none was usable" if self.best is None else f"the best is {self.best:.5f}"
        log.info(
            "EARLY_STOP: %d validations in a row without an improvement of %s (%s): training ends after epoch %d of "
            "%d; --resume with a higher EARLY_STOP.patience continues",
            self.waited, self.figure, best, run.progress.epoch, run.epochs,
        )  # fmt: skip
        run.end_early = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "figure": self.figure, "monitor": self.monitor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is counted where another figure is monitored by now."""
        same = self.monitor == state["figure"] if self.monitor else state.get("monitor") is None
        if same:
            self.best, self.waited, self.figure = state["best"], state["waited"], state["figure"]
