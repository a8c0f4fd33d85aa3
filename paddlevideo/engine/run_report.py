"""The report of a run while it trains: a page, and the pictures that sinks take."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import paddle

from paddlevideo.engine import distributed
from paddlevideo.engine.hooks import Hook
from paddlevideo.environment import versions
from paddlevideo.errors import printable

if TYPE_CHECKING:
    from paddlevideo.engine.trainer import Trainer

log = logging.getLogger("paddlevideo")


class Report(Protocol):
    """What draws and writes; e.g. ``reporting.training_report.TrainingReport``.  Pictures are uint8 [H, W, 3] RGB."""

    def validated(self, metric: Any, epoch: int, best: tuple[int, float] | None) -> Mapping[str, np.ndarray]:
        """Notes a validation and gives pictures of its figures, by name; ``best`` is an epoch and its figure."""

    def clips(self, metric: Any, loader: Any) -> Mapping[str, np.ndarray]:
        """Pictures of clips of the validation."""

    def write(self) -> Path:
        """Writes the page."""


MakeReport = Callable[[Path, Mapping[str, Any]], Report]


class ReportHook(Hook):
    """Writes the report at the beginning, at every epoch's end and after the end of all hooks; on the main rank alone.

    An error in it is logged once, and training goes on without it.

    Args:
        make: gives the report for the output folder and facts of the run.
    """

    name = "report"

    def __init__(self, make: MakeReport):
        self._make = make
        self._report: Report | None = None

    def start(self, run: Trainer) -> None:
        self._guarded(self._begin, run)

    def epoch_end(self, run: Trainer) -> None:
        self._guarded(self._update, run)

    def close(self, run: Trainer) -> None:
        """Called once, after the run and the end of its hooks, which may validate; also after an error."""
        self._guarded(self._update, run)
        self._report = None

    def _guarded(self, call: Callable[[Trainer], None], run: Trainer) -> None:
        try:
            call(run)
        except Exception as error:  # a page is worth less than the run
            self._report = None
            text = printable(" ".join(str(error).split()))
            log.warning("the report of the run is not written any more (%s: %.300s)", type(error).__name__, text)

    def _begin(self, run: Trainer) -> None:
        shown = {
            "command": shlex.join(sys.argv),
            "configuration": run.config.source,
            "device": f"{paddle.get_device()}, {distributed.world_size()} rank(s)",
            "steps per epoch": run.steps_per_epoch,
            **versions(),
        }
        names = run.folder.classes.names
        facts = {
            "run": run.folder.run, "class_names": list(names) if names else None, "shown": shown,
            "monitor": run.config.settings.monitor, "epochs": run.epochs,
        }  # fmt: skip
        self._report = self._make(run.folder.path, facts)
        self._update(run)

    def _update(self, run: Trainer) -> None:
        if self._report is None:
            return
        validation, sinks = run.hook("validate"), run.hook("log").sinks
        if validation is not None and validation.measured is not None:
            metric, validation.measured = validation.measured, None
            best = None if validation.best is None else (validation.best_epoch, validation.best)
            pictures = dict(self._report.validated(metric, run.progress.epoch, best))
            if sinks.take_pictures:
                pictures.update(self._report.clips(metric, validation.loader))
                for name, picture in pictures.items():
                    sinks.picture(name, run.progress.step, picture)
        self._report.write()
