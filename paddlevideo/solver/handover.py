"""One rate schedule after another, for the part of a run whose weights are averaged."""

from __future__ import annotations

from typing import Any

from paddle.optimizer.lr import LRScheduler

from paddlevideo.solver.lr import Schedule


class _Relay(LRScheduler):
    """The rate of whichever schedule holds; an optimizer reads one scheduler from its beginning to its end."""

    def __init__(self, current: LRScheduler):
        self.current = current
        super().__init__(float(current()))

    def get_lr(self) -> float:
        return float(self.current())


class Handover(Schedule):
    """One schedule for the first epochs, then another from its own beginning, each at its own beat.

    Args:
        before: holds for ``epochs`` epochs.
        after: holds from then on; its steps count from there.
        epochs: 0 begins with ``after``.
    """

    def __init__(self, before: Schedule, after: Schedule, epochs: int):
        self.before, self.after, self.epochs = before, after, epochs
        self.epochs_done = 0
        super().__init__(_Relay(self.current.scheduler), by_iteration=True)

    @property
    def current(self) -> Schedule:
        """The schedule that holds now."""
        return self.before if self.epochs_done < self.epochs else self.after

    def step_batch(self) -> None:
        """To be called after every optimizer step."""
        self.current.step_batch()
        self._relay()

    def step_epoch(self) -> None:
        """To be called after every epoch."""
        self.current.step_epoch()
        self.epochs_done += 1
        self._relay()

    def move_to(self, epochs: int, steps: int = 0) -> None:
        """Goes to the position after so many epochs and so many optimizer steps of the next one."""
        self.epochs_done = epochs
        ended = epochs >= self.epochs
        self.before.move_to(min(epochs, self.epochs), 0 if ended else steps)
        self.after.move_to(max(0, epochs - self.epochs), steps if ended else 0)
        self._relay()

    def _relay(self) -> None:
        self.scheduler.current = self.current.scheduler
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The counters of both schedules, and the epochs done."""
        return {
            "class": type(self).__name__,
            "lr": self.lr,
            "epochs_done": self.epochs_done,
            "before": self.before.state_dict(),
            "after": self.after.state_dict(),
        }
