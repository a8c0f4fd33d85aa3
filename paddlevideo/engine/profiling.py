"""The hook of ``--profiler_options``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

from paddlevideo.engine.hooks import Hook
from paddlevideo.errors import UserError

if TYPE_CHECKING:
    from paddlevideo.engine.trainer import Trainer

log = logging.getLogger("paddlevideo")


class ProfilerHook(Hook):
    """``paddle.profiler`` over a range of steps, by PaddleVideo's option string.

    Args:
        options: ``batch_range=[10,20];state=GPU;tracer_option=Default;profile_path=model.profile;timer_only=False;``
            ``exit_on_finished=True``, any part left out.

    Raises:
        UserError: an unknown or unreadable option.
    """

    name = "profiler"

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        return cls(run.options.profiler_options) if run.options.profiler_options else None

    def __init__(self, options: str):
        known = {"batch_range": "[10, 20]", "state": "All", "tracer_option": "Default", "sorted_key": "total"}
        known |= {"profile_path": "model.profile", "timer_only": "False", "exit_on_finished": "True"}
        for part in filter(None, (p.strip() for p in options.split(";"))):
            key, equals, value = part.partition("=")
            if not equals or key.strip() not in known:
                raise UserError(f"--profiler_options: {part!r} is none of {', '.join(f'{k}=..' for k in known)}")
            known[key.strip()] = value.strip()
        try:
            first, last = (int(v) for v in known["batch_range"].strip("[]()").split(","))
        except ValueError:
            raise UserError(f"--profiler_options: batch_range={known['batch_range']}: expected [first,last]") from None
        self.first, self.last, self.path = first, last, known["profile_path"]
        self.exit = known["exit_on_finished"].lower() == "true"
        self.timer_only = known["timer_only"].lower() == "true"
        self._profiler: Any = None

    def start(self, run: Trainer) -> None:
        from paddle import profiler

        self._profiler = profiler.Profiler(
            scheduler=(self.first, self.last),
            on_trace_ready=profiler.export_chrome_tracing(self.path),
            timer_only=self.timer_only,
        )
        self._profiler.start()

    def after_step(self, run: Trainer) -> None:
        if self._profiler is None:
            return
        self._profiler.step(run.last["batch_size"])
        if run.progress.step >= self.last:
            self.finish(run)
            if self.exit:
                log.info("profile written to %s; stopping, since exit_on_finished is True", self.path)
                run.end_early = True

    def finish(self, run: Trainer) -> None:
        if self._profiler is not None:
            self._profiler.stop()
            if not self.timer_only:
                self._profiler.summary()
            self._profiler = None
