"""What happens around a training step: an ordered list of hooks, each with five moments and a state.

    start(run)        before the first step, after a resume
    epoch_start(run)
    after_step(run)   ``run.last`` holds the step's figures
    epoch_end(run)    ``run.progress.epoch`` epochs are finished
    finish(run)       also after a stop

``state_dict`` is JSON-able and goes into every resume point; arrays go through ``arrays``, one file each.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import sys
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import paddle

from paddlevideo.build import loader_for, metric_for, monitor_problem
from paddlevideo.engine import distributed
from paddlevideo.engine.checkpoint import Arrays
from paddlevideo.engine.data_summary import class_line, fingerprint, fitted_videos_line, log_data, shared_videos_line
from paddlevideo.engine.evaluate import evaluate
from paddlevideo.engine.sinks import SinkRun, Sinks
from paddlevideo.errors import UserError
from paddlevideo.loader.headers import check_headers
from paddlevideo.safe_io import write_pickle

if TYPE_CHECKING:
    from paddlevideo.engine.trainer import Trainer

log = logging.getLogger("paddlevideo")

_COSTS = ("batch_cost", "reader_cost")


class Hook:
    """Does nothing at every moment; a subclass overrides what it needs."""

    name = "hook"

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        """The hook as the run's configuration and options have it; None where they have none.

        Args:
            run: complete, but for its hooks.
        """
        return cls()

    def start(self, run: Trainer) -> None: ...

    def epoch_start(self, run: Trainer) -> None: ...

    def after_step(self, run: Trainer) -> None: ...

    def epoch_end(self, run: Trainer) -> None: ...

    def finish(self, run: Trainer) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def arrays(self) -> dict[str, Arrays]:
        """Array files of the resume point, by suffix."""
        return {}

    def load_arrays(self, arrays: dict[str, Arrays]) -> None: ...


def _figure_names(table: dict[str, float]) -> list[str]:
    """The framework's own figures among those of a step, or among sums of them."""
    return [name for name in table if name not in ("loss", "lr", "batch_size", "steps", *_COSTS)]


class LogHook(Hook):
    """PaddleVideo's log lines, a progress bar for a person, and the sinks.

    Args:
        interval: steps between lines; an epoch that is no longer has its first and its last step.
        sinks: where the figures go besides.
    """

    name = "log"

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        settings, config = run.config.settings, run.config
        if not distributed.is_main():
            return cls(settings.log_interval, Sinks())
        about = SinkRun(run.folder.path, settings.model_name, run.folder.run, config.to_dict(), config.to_yaml())
        return cls(settings.log_interval, Sinks.of(about, settings.sinks))

    def __init__(self, interval: int, sinks: Sinks):
        self.interval, self.sinks = interval, sinks
        self.sums: dict[str, float] = {}
        self.samples = 0.0
        self.replaced: list[int] = []
        self._bar: Any = None

    def epoch_start(self, run: Trainer) -> None:
        if sys.stdout.isatty() and distributed.is_main():
            from tqdm import tqdm

            done = run.progress.step_in_epoch
            self._bar = tqdm(
                total=run.steps_per_epoch, initial=done, desc=f"epoch {run.progress.epoch + 1}", leave=False
            )

    def after_step(self, run: Trainer) -> None:
        last = run.last
        weight = last["batch_size"]
        self.samples += weight if run.stepped else 0
        # the figures of a rejected step are not finite, or are of weights that were discarded: not in the means
        for key in (*(("loss", *_figure_names(last)) if run.stepped else ()), *_COSTS):
            self.sums[key] = self.sums.get(key, 0.0) + last[key] * (1 if key in _COSTS else weight)
        self.sums["steps"] = self.sums.get("steps", 0) + 1
        self.replaced += [int(i) for i in run.replaced if int(i) not in self.replaced]
        if self._bar is not None:
            self._bar.update()
        step = run.progress.step_in_epoch - 1
        ends = run.steps_per_epoch <= self.interval and step == run.steps_per_epoch - 1  # else it has its first alone
        if step % self.interval == 0 or ends:
            log.info(self._line(run, step))
            figures = {key: last[key] for key in ("loss", "lr", *_figure_names(last), *_COSTS)}
            self.write("train", run.progress.step, {**figures, "epoch": run.progress.epoch + 1})

    def _line(self, run: Trainer, step: int) -> str:
        last, epoch = run.last, run.progress.epoch + 1
        steps = max(1.0, self.sums["steps"])
        seconds = int(run.steps_left * self.sums["batch_cost"] / steps)
        memory = ""
        if paddle.get_device().startswith("gpu"):
            reserved = paddle.device.cuda.max_memory_reserved() >> 20
            allocated = paddle.device.cuda.max_memory_allocated() >> 20
            memory = f", max_mem_reserved: {reserved} MB max_mem_allocated: {allocated} MB"
        figures = "".join(f"{name}: {last[name]:.5f} " for name in _figure_names(last))
        return (
            f"epoch:[{epoch:>3d}/{run.epochs:<3d}] train step:{step:<4d} loss: {last['loss']:7.5f} lr: {last['lr']:f} "
            f"{figures}batch_cost: {last['batch_cost']:.5f} sec, "
            f"reader_cost: {last['reader_cost']:.5f} sec, "
            f"ips: {last['batch_size'] / last['batch_cost']:.5f} instance/sec, "
            f"eta: {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{memory}"
        )

    def epoch_end(self, run: Trainer) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        samples, steps = max(1.0, self.samples), max(1.0, self.sums.get("steps", 0))
        sums = self.sums
        figures = "".join(f"{name}_avg: {sums[name] / samples:.5f} " for name in _figure_names(sums))
        log.info(
            f"END epoch:{run.progress.epoch:<3d} train loss_avg: {sums.get('loss', 0) / samples:.5f} "
            f"{figures}avg_batch_cost: {sums.get('batch_cost', 0) / steps:.5f} sec, "
            f"avg_reader_cost: {sums.get('reader_cost', 0) / steps:.5f} sec, "
            f"batch_cost_sum: {sums.get('batch_cost', 0):.5f} sec, "
            f"avg_ips: {samples / max(1e-9, sums.get('batch_cost', 0)):.5f} instance/sec."
        )
        # without a step that was taken there is no mean
        means = {key: sums[key] / samples if self.samples else math.nan for key in ("loss", *_figure_names(sums))}
        means |= {key: sums.get(key, 0.0) / steps for key in _COSTS}
        self.write("epoch", run.progress.step, {**means, "epoch": run.progress.epoch})
        self._report_replaced(run)
        self.sums, self.samples, self.replaced = {}, 0.0, []

    def _report_replaced(self, run: Trainer) -> None:
        replaced = sorted({i for part in distributed.gather(self.replaced) for i in part})
        if not replaced:
            return
        names = [run.file_of(i) for i in replaced]
        log.warning("%d unreadable training files were skipped in this epoch: %s", len(names), ", ".join(names[:10]))
        if distributed.is_main():
            text = "".join(f"{name}\n" for name in names)
            (run.folder.path / "unreadable_train.txt").write_text(text, encoding="utf-8")

    def write(self, mode: str, step: int, figures: dict[str, float]) -> None:
        """One record to every sink."""
        self.sinks.figures(mode, step, figures)

    def finish(self, run: Trainer) -> None:
        self.sinks.close()

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums, "samples": self.samples, "replaced": self.replaced}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums, self.samples = dict(state["sums"]), state["samples"]
        self.replaced = list(state["replaced"])


class CheckpointHook(Hook):
    """Resume points: at every epoch's end, every ``steps`` optimizer steps, on SIGTERM or SIGINT, and when time is up.

    Comes after the hooks that change arrays of the run (averages, batch norms), and before those that may fail
    although the epoch is done (validation); these store their result with ``update``.

    Files are written in the background, from copies of the arrays, of which there is one set at a time: the next point
    waits for the one before it.  A file that could not be written ends the run at the next step.

    Args:
        save_interval: epochs between checkpoints that stay, PaddleVideo's way: the first, every n-th after, the last.
        steps: optimizer steps between points within an epoch; 0 for none.
        keep: how many resume points stay.
    """

    name = "checkpoint"

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        settings = run.config.settings
        return cls(settings.save_interval, settings.checkpoint_steps, settings.keep_checkpoints)

    def __init__(self, save_interval: int, steps: int, keep: int):
        self.save_interval, self.steps, self.keep = save_interval, steps, keep
        self._overdue = False  # a point was left out since the run had diverged

    def after_step(self, run: Trainer) -> None:
        run.folder.background.check()
        due = self._overdue or (self.steps and run.progress.step % self.steps == 0)
        if run.stop_signal or run.out_of_time:
            self.save(run)
        elif due and run.progress.step_in_epoch < run.steps_per_epoch:
            self._save_unless_diverged(run)

    def epoch_end(self, run: Trainer) -> None:
        if run.progress.epoch == run.epochs:
            self.save(run, self._lasting(run))
        else:
            self._save_unless_diverged(run, self._lasting(run))

    def _save_unless_diverged(self, run: Trainer, also: str | None = None) -> None:
        """Points of a run that has diverged would push out those that one can go back to."""
        diverged = run.diverged()
        if not diverged:
            self.save(run, also)
        elif not self._overdue:
            log.warning("step %d: no resume point is written until the loss is usable again", run.progress.step)
        self._overdue = diverged

    def _lasting(self, run: Trainer) -> str | None:
        epoch = run.progress.epoch
        kept = (epoch - 1) % self.save_interval == 0 or epoch == run.epochs
        kept = kept or (run.grid is not None and run.grid.is_end(epoch))
        return f"epoch_{epoch:05d}" if kept else None

    def save(self, run: Trainer, also: str | None = None) -> None:
        """Begins to write the resume point of the current step; ``also`` gives its files a lasting name."""
        if not distributed.is_main():
            return
        folder, step = run.folder, run.progress.step
        folder.background.wait()
        state, arrays = copy.deepcopy(run.state_dict()), run.arrays()

        def write() -> None:
            stem = folder.save(f"step_{step:08d}", arrays, state)
            if also:
                folder.copy(stem, also, state)
            folder.keep_newest("step_", self.keep, step)

        folder.background.submit(write)

    def update(self, run: Trainer) -> None:
        """Writes the state of the hooks after this one into the points of this epoch's end; their arrays stay."""
        if not distributed.is_main():
            return
        folder, state, lasting = run.folder, copy.deepcopy(run.state_dict()), self._lasting(run)
        points = (f"step_{run.progress.step:08d}", *([lasting] if lasting else []))

        def write() -> None:
            for what in points:
                folder.update(what, state)  # does nothing where none was written

        folder.background.submit(write)

    def finish(self, run: Trainer) -> None:
        """Blocks until all is written; no rank ends before, since a launcher ends the others then."""
        run.folder.background.wait()
        distributed.barrier()


class ValidateHook(Hook):
    """Evaluates every ``interval`` epochs and keeps the best weights as ``<model_name>_best.pdparams``.

    An epoch's resume point is written before.  If the validation fails or is killed, a resumed run begins with it.

    Args:
        loader: of the validation split.
        build_metric: gives a fresh metric.
        interval: epochs between validations; the last epoch is always validated.  Multigrid training with a long cycle
            has its own (``Multigrid.validates_after``).
        monitor: the figure that picks the best weights; None: the metric's own.
    """

    name = "validate"

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        """With ``--validate``: DATASET.valid, and METRIC."""
        if not run.options.validate:
            if distributed.is_main():
                unused = f", and monitor ({run.config.settings.monitor}) picks none" * bool(run.config.settings.monitor)
                log.info("no --validate: there will be no %s_best.pdparams%s", run.config.settings.model_name, unused)
            return None
        classes = run.folder.classes
        loader = loader_for(
            run.config, "valid", run.framework.num_classes, run.seed, classes, run.pipelines.get("valid")
        )
        log_data(loader, "valid", classes)
        if line := shared_videos_line(run.loader.dataset, loader.dataset):
            log.warning("%s", line)
        if run.options.weights and (line := fitted_videos_line(run.options.weights, loader.dataset, "valid")):
            log.warning("%s", line)
        if distributed.is_main():
            check_headers(loader, "DATASET.valid", run.folder.path / "checked_files.json")
        settings = run.config.settings
        hook = cls(loader, lambda: metric_for(run.config), settings.val_interval, settings.monitor)
        hook._try_metric(run)  # nothing of an earlier run is moved yet
        return hook

    def __init__(self, loader: Any, build_metric: Callable[[], Any], interval: int, monitor: str | None = None):
        self.loader, self.build_metric, self.interval, self.monitor = loader, build_metric, interval, monitor
        self.best: float | None = None
        self.best_epoch = 0
        self.figure: str | None = None  # whose best it is
        self.begins_anew = False
        self.measured: Any = None  # the metric of the newest validation, on the main rank, until a report takes it
        self.validated_epoch: int | None = 0  # None: a point of before this was recorded, after its validation

    @cached_property
    def data(self) -> str:
        """Of the samples that are measured."""
        return fingerprint(self.loader.dataset)

    def start(self, run: Trainer) -> None:
        epoch, best = run.progress.epoch, run.folder.stem("best")
        if self.begins_anew and run.hook("early_stop") is not None:
            run.hook("early_stop").begin_anew()
        if self.best is not None and not best.with_name(f"{best.name}.pdparams").is_file():
            log.warning("%s.pdparams is not here: the best of the validations from now on will be written", best)
            self.best = None
        if run.progress.step_in_epoch == 0 and self.validated_epoch is not None and epoch > self.validated_epoch:
            self.epoch_end(run)

    def epoch_end(self, run: Trainer) -> None:
        epoch = run.progress.epoch
        if not self._is_due(run):
            return
        ema = run.hook("ema")
        with ema.average.applied() if ema is not None else contextlib.nullcontext():
            self._validate(run)
        self.validated_epoch = epoch
        run.hook("checkpoint").update(run)

    def _is_due(self, run: Trainer) -> bool:
        epoch = run.progress.epoch
        if run.grid is not None and run.grid.settings.LONG_CYCLE:
            return run.grid.validates_after(epoch)
        return epoch % self.interval == 0 or epoch == run.epochs

    def _try_metric(self, run: Trainer) -> None:
        """A metric of a user's own file measures one batch, so that its mistakes show before the first step; and any
        metric where ``monitor`` names one of its figures, or that finds thresholds, which not all labels have.

        Raises:
            UserError: it has no such figure.
        """
        metric = self.build_metric()
        own = not type(metric).__module__.startswith("paddlevideo.")
        if self.monitor is None and not own and not metric.finds_thresholds:
            return
        figures = evaluate(run.framework, self.loader, metric, run.precision, max_batches=1)
        names = [name for name in figures if not name.startswith("num_")]
        if (line := monitor_problem(run.config, metric, names)) is not None:
            raise UserError(f"{run.config.source}: {line}")

    def measure(self, run: Trainer, mode: str) -> tuple[Any, dict[str, float]]:
        """Evaluates the weights that are in the network now, and logs the figures as ``mode``."""
        started = time.perf_counter()
        metric = self.build_metric()
        figures = evaluate(run.framework, self.loader, metric, run.precision, max_batches=run.max_iters)
        seconds = time.perf_counter() - started
        named = " ".join(f"{key}_avg: {value:.5f}" for key, value in figures.items() if not key.startswith("num_"))
        count = figures.get("num_samples", 0)
        log.info(
            f"END epoch:{run.progress.epoch:<3d} {mode} {named} batch_cost_sum: {seconds:.5f} sec, "
            f"avg_ips: {count / max(seconds, 1e-9):.5f} instance/sec."
        )
        if rows := metric.per_class():
            log.info("%s", class_line(rows, mode, run.folder.classes))
        run.hook("log").write(mode, run.progress.step, {**figures, "epoch": run.progress.epoch})
        return metric, figures

    def _validate(self, run: Trainer) -> None:
        metric, figures = self.measure(run, "val")
        self.measured = metric if distributed.is_main() else None
        name = self.monitor or metric.primary
        label, figure = self.monitor or metric.primary_label, figures[name]
        usable = not math.isnan(figure)  # else there is nothing to measure against; the metric has logged why
        if usable and figures.get("num_non_finite"):
            log.warning("epoch %d: not taken as the best model, since scores are not finite", run.progress.epoch)
            usable = False
        early_stop = run.hook("early_stop")
        if early_stop is not None:
            early_stop.take(figure if usable else -math.inf, name)
        if self.best is not None and self.figure not in (None, name):
            self._begin_anew(f"METRIC: {self.figure} chose the best then, {name} now")
        self.figure = name
        if usable and (self.best is None or figure > self.best):
            self.best, self.best_epoch = figure, run.progress.epoch
            about = {"thresholds": metric.thresholds} if metric.finds_thresholds else {}
            self._save_best(run, f"({label}){int(figure * 10000) / 10000}", about)

    def _save_best(self, run: Trainer, figure: str, about: dict[str, Any]) -> None:
        """Begins to write the weights and the optimizer; the log has a line when they are whole.

        Args:
            about: more fields of the weights' note.
        """
        if not distributed.is_main():
            log.info("Already save the best model %s", figure)
            return
        folder, about = run.folder, {**run.written_at(), **about}
        folder.background.wait()
        write_weights, optimizer = folder.weights_job("best", run.framework, about), run.optimizer_arrays()

        def write() -> None:
            write_weights()
            write_pickle(folder.path / f"{folder.stem('best').name}.pdopt", optimizer)
            log.info("Already save the best model %s", figure)

        folder.background.submit(write)

    def state_dict(self) -> dict[str, Any]:
        state = {"best": self.best, "best_epoch": self.best_epoch, "validated_epoch": self.validated_epoch}
        return state | {"monitor": self.monitor, "figure": self.figure, "data": self.data}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.validated_epoch, then = state.get("validated_epoch"), state.get("monitor")
        self.figure = state.get("figure")
        if then != self.monitor:
            self._begin_anew(f"monitor: {then or 'not given'} then, {self.monitor or 'not given'} now")
        elif state.get("data", self.data) != self.data:
            self._begin_anew("DATASET.valid: other samples than those that the best was measured on")

    def _begin_anew(self, why: str) -> None:
        """Figures of now and then do not compare."""
        if self.best is not None:
            log.warning("%s: the best of the validations from now on will be written", why)
        self.best, self.begins_anew = None, True
