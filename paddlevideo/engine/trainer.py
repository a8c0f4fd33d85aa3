"""Training: the one loop, and the state that resumes it.

Randomness of the network (dropout, drop path) is keyed like the loader's: every optimizer step seeds Paddle with
(seed, step, rank).  A resumed run therefore needs the seed and the step, and no snapshot of any generator.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import paddle

from paddlevideo.config import Config
from paddlevideo.engine import checkpoint, distributed
from paddlevideo.engine.batch_norms import RunningStatistics
from paddlevideo.engine.checkpoint import RunFolder, numpy_state
from paddlevideo.engine.evaluate import tensors
from paddlevideo.engine.hooks import Hook
from paddlevideo.engine.precision import Precision, StepCheck
from paddlevideo.engine.resuming import compare, compare_rates
from paddlevideo.environment import versions
from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.lists import clip_name
from paddlevideo.loader.datasets.records import digest_of
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.memory import within_memory
from paddlevideo.modeling.weights import load_weights
from paddlevideo.multigrid import Multigrid
from paddlevideo.settings import Options
from paddlevideo.solver.lr import RateOfRun, usable_rate
from paddlevideo.solver.optimizer import load_optimizer_state, optimizer_state

log = logging.getLogger("paddlevideo")

_SECOND_SIGNAL_S = 2.0
_LOWER = (
    "lower DATASET.batch_size (GRADIENT_ACCUMULATION keeps the global batch), or the frames and the size that PIPELINE "
    "gives"
)
# a loss so many times the first one, or 1 if that is more, comes from weights that have diverged
_DIVERGED = 1000.0


@dataclass
class Progress:
    """Finished epochs, optimizer steps within the running epoch, and optimizer steps in all."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0


@dataclass
class Trainer:
    """A run: its parts, its position, and ``run``."""

    config: Config
    options: Options
    pipelines: Mapping[str, Pipeline]
    framework: Any
    model: Any  # the framework, wrapped for several ranks
    loader: Any
    schedule: RateOfRun
    optimizer: Any
    precision: Precision
    folder: RunFolder
    accumulate: int  # batches per optimizer step
    seed: int
    grid: Multigrid | None = None
    hooks: list[Hook] = field(default_factory=list)

    progress: Progress = field(default_factory=Progress)
    last: dict[str, float] = field(default_factory=dict)  # figures of the last step
    replaced: np.ndarray = field(default_factory=lambda: np.zeros(0, "int64"))
    stepped: bool = True  # False where the last step was left out
    stop_signal: int = 0  # that all ranks have agreed on
    deadline: float = math.inf  # of this rank, by time.monotonic()
    out_of_time: bool = False  # the deadline of a rank has passed; all ranks have agreed on it
    end_early: bool = False
    first_loss: float | None = None  # of the run's first step
    _loss: float = 0.0  # of the last step that was taken
    _taken: dict[str, Any] | None = None  # its first batch
    _refused: int = 0  # steps in a row
    _suspects: set[str] = field(default_factory=set)  # files of these steps
    _received: int = 0  # the signal that this rank has received

    def __post_init__(self) -> None:
        self._statistics = RunningStatistics(self.framework)

    @property
    def epochs(self) -> int:
        return self.config.settings.epochs if self.grid is None else self.grid.epochs

    @property
    def max_iters(self) -> int | None:
        return self.options.max_iters

    @property
    def batches_per_epoch(self) -> int:
        """Of the running epoch."""
        return self._batches_in(self.progress.epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of the running epoch; the last one may hold fewer batches than the others."""
        return self.steps_in(self.progress.epoch)

    def steps_in(self, epoch: int) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(self._batches_in(epoch) / self.accumulate)

    @property
    def steps_left(self) -> int:
        """Optimizer steps to the end of the run."""
        epochs = range(self.progress.epoch, self.epochs)
        if self.grid is None:
            return self.steps_per_epoch * len(epochs) - self.progress.step_in_epoch
        return sum(map(self.steps_in, epochs)) - self.progress.step_in_epoch

    def _batches_in(self, epoch: int) -> int:
        count = self.loader.num_batches(epoch)
        return min(count, self.max_iters or count)

    @property
    def lr(self) -> float:
        """The rate of the next step."""
        return self.schedule.rate(self.progress.epoch, self.progress.step_in_epoch)

    def run(self) -> None:
        """Trains from ``progress`` to the last epoch.

        Raises:
            UserError: too many steps in a row with a loss, gradients or batch-norm statistics that are not finite.
            SystemExit: 143 or 130 after a signal, with a resume point written.
        """
        with self._signals():
            self._call("start")
            while self.progress.epoch < self.epochs and not self.end_early:
                self._epoch()
            self._call("finish")
        if self.stop_signal and self.progress.epoch < self.epochs:
            log.info("stopped by signal %d; continue with --resume auto", self.stop_signal)
            raise SystemExit(128 + self.stop_signal)
        if self.progress.epoch == self.epochs:
            log.info("training %s finished", self.config.settings.model_name)

    def _epoch(self) -> None:
        progress = self.progress
        self._call("epoch_start")
        self.framework.train()
        waited_from = time.perf_counter()
        windows = self._windows(progress.step_in_epoch * self.accumulate)
        for window in windows:
            read_s = time.perf_counter() - waited_from
            with within_memory("a training step", window[0].get("imgs"), _LOWER):
                figures = self._step(window)
            progress.step_in_epoch += 1
            progress.step += 1
            self.last = {**figures, "reader_cost": read_s, "batch_cost": time.perf_counter() - waited_from}
            self._call("after_step")
            if self.stop_signal or self.out_of_time or self.end_early:
                self.end_early = True
                windows.close()
                return
            waited_from = time.perf_counter()
        progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
        self._call("epoch_end")

    def _windows(self, start: int) -> Iterator[list[dict[str, Any]]]:
        """The batches of each optimizer step, from batch ``start`` of the epoch on."""
        if start >= self.batches_per_epoch:
            return
        window = []
        with contextlib.closing(self.loader.epoch(self.progress.epoch, start)) as batches:
            for number, batch in enumerate(batches, start + 1):
                window.append(batch)
                if len(window) == self.accumulate or number == self.batches_per_epoch:
                    yield window
                    window = []
                if number == self.batches_per_epoch:
                    return

    def _step(self, window: list[dict[str, Any]]) -> dict[str, float]:
        """Forward and backward over the window's batches, then one optimizer step, if everything is finite.

        A rejected step changes neither weights nor optimizer nor the running statistics of batch norms.
        """
        statistics = self._statistics.copy()
        lr = usable_rate(self.schedule, self.progress.epoch, self.progress.step_in_epoch)
        loss, sums = self._gradients(window)
        after, stops = self._statistics.copy(), (bool(self._received), time.monotonic() >= self.deadline)
        check, figures = self.precision.check(self.optimizer, loss, after, sums, stops)
        signalled, self.out_of_time = check.stops
        if signalled:
            self.stop_signal = self._received or int(signal.SIGTERM)
        self.stepped = not check.refused
        if check.refused:
            self._statistics.restore(statistics)
            self._report_refused(window, check, explained=self.precision.refuse(self.optimizer))
        else:
            self.optimizer.set_lr(lr)
            self.precision.step(self.optimizer)
            self._refused, self._suspects = 0, set()
            self._loss, self._taken = check.loss, window[0]
            self.first_loss = check.loss if self.first_loss is None else self.first_loss
        self.optimizer.clear_grad(set_to_zero=False)  # zeroed gradients would take the weights' memory in the next step
        size = float(sum(len(batch["index"]) for batch in window))
        return {"loss": check.loss, "lr": lr, **figures, "batch_size": size}

    def _gradients(self, window: list[dict[str, Any]]) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """Adds up the gradients of the window's batches.

        Returns:
            The mean loss [] and the means of the log line's figures [], not read from the device yet.
        """
        sizes = [len(batch["index"]) for batch in window]
        self._seed_step()
        loss: paddle.Tensor = paddle.zeros([])
        means: dict[str, paddle.Tensor] = {}
        for number, (batch, size) in enumerate(zip(window, sizes)):
            waits = number < len(window) - 1 and self.model is not self.framework
            with self.model.no_sync() if waits else contextlib.nullcontext():
                tensors_of_batch, share_of_window = self.tensors(batch), size / sum(sizes)
                with self.precision.autocast():
                    outputs = self.model(tensors_of_batch, mode="loss")
                share = outputs["loss"] * share_of_window
                with contextlib.nullcontext() if waits else distributed.collective():
                    self.precision.backward(share)
            loss = loss + share.detach()
            for name, value in _figures(outputs, tensors_of_batch, self.framework.multi_label).items():
                means[name] = means.get(name, 0.0) + value * share_of_window
        self.replaced = np.concatenate([np.asarray(batch["replaced"]) for batch in window])
        self.replaced = self.replaced[self.replaced >= 0]
        return loss, means

    def _seed_step(self) -> None:
        key = [self.seed, self.progress.step, distributed.rank()]
        paddle.seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def diverged(self) -> bool:
        """Whether the weights are unusable: the loss is out of all proportion to the run's first one, or not finite.

        Of the last step that was taken, and of its batch with the weights that the step has made.  Changes nothing.
        """
        usable = self._in_proportion(self._loss)
        if usable and self._taken is not None:
            statistics = self._statistics.copy()
            self._seed_step()
            with paddle.no_grad(), self.precision.autocast():
                loss = float(self.framework(self.tensors(self._taken), mode="loss")["loss"])
            self._statistics.restore(statistics)
            usable = self._in_proportion(loss)
        return bool(distributed.all_reduce_sum([float(not usable)])[0])

    def _in_proportion(self, loss: float) -> bool:
        return loss <= _DIVERGED * max(1.0, self.first_loss or 0.0)  # not so for NaN

    def _report_refused(self, window: list[dict[str, Any]], check: StepCheck, explained: bool) -> None:
        """Logs the step's files, of the ranks that caused it; ends the run after too many in a row.

        A step with a file of the refused step before it does not count: the file may be at fault, at an epoch's end and
        at the beginning of the next.
        """
        own = math.isfinite(check.loss) and math.isfinite(check.statistics)
        files = [self.file_of(int(i)) for batch in window for i in np.asarray(batch["index"])]
        reports = distributed.gather((own, str(check), files))
        if explained and all(sound for sound, _, _ in reports):
            log.info("step %d: the gradients overflow in float16; the loss scale is lowered", self.progress.step)
            return
        causes = [report for report in reports if not report[0]] or reports
        names = list(dict.fromkeys(name for _, _, files in causes for name in files))
        self._refused += not self._suspects.intersection(names)
        self._suspects.update(names)
        log.warning("step %d: no step is taken (%s). Files: %s", self.progress.step, causes[0][1], ", ".join(names))
        if self._refused >= self.config.settings.non_finite_limit:
            self.folder.background.wait()
            distributed.barrier()
            stems = [entry.stem for entry in self.folder.entries()[0] if entry.run == self.folder.run]
            there = f"The newest resume point is {stems[0]}: continue with --resume auto" if stems else "Start anew"
            raise UserError(
                f"step {self.progress.step}: {causes[0][1]}: not finite {self._refused} times in a row, and training "
                "stops; lower OPTIMIZER.learning_rate, add OPTIMIZER.grad_clip, or look at the files named above. "
                f"No weights were changed by these steps. {there}"
            )

    def written_at(self) -> dict[str, Any]:
        """The step and epoch at which weights were written, for their note."""
        return {"epoch": self.progress.epoch, "step": self.progress.step}

    def file_of(self, index: int) -> str:
        """The file of a training sample, and the key frame in it where a file has several."""
        record = self.loader.dataset.records[index]
        name = clip_name(record)
        return f"{name} ({record['img_key']})" if "img_key" in record else name

    def tensors(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch of training, as the network takes it."""
        return tensors(batch, self.framework.host_keys)

    def optimizer_arrays(self) -> dict[str, Any]:
        """The content of ``.pdopt``: accumulators by structured name, and the rate under Paddle's own key."""
        rate = {"last_epoch": self.progress.epoch, "last_lr": self.lr}
        return {**optimizer_state(self.optimizer, self.framework), "LR_Scheduler": rate}

    def arrays(self) -> dict[str, checkpoint.Arrays]:
        """The array files of a resume point."""
        arrays = {".pdparams": numpy_state(self.framework), ".pdopt": self.optimizer_arrays()}
        for hook in self.hooks:
            arrays.update(hook.arrays())
        return arrays

    def state_dict(self) -> dict[str, Any]:
        """Everything of a resume point that is not an array."""
        return {
            "progress": asdict(self.progress),
            "seed": self.seed,
            "schedule": {"lr": self.lr},  # to be compared: the rate follows from the configuration and the progress
            "scaler": self.precision.state_dict(),
            "hooks": {hook.name: hook.state_dict() for hook in self.hooks},
            "non_finite": self._refused,
            "first_loss": self.first_loss,
            "versions": versions(),
            **self.compared(),
        }

    def compared(self) -> dict[str, Any]:
        """What a resumed run is compared with."""
        shape = {
            "batches_per_epoch": self._batches_in(0),
            "accumulate": self.accumulate,
            "world_size": distributed.world_size(),
            "dataset": self._records_digest,
            "weights": self.framework.kept_elsewhere(),
            "multigrid": self.grid is not None,
        }
        # no array of a checkpoint states the share of shifted channels
        shares = [network.backbone.shift_div for network in self.framework.networks()]
        return {"shape": shape, "shift_div": shares, "config": self.config.to_dict()}

    @functools.cached_property
    def _records_digest(self) -> str:
        return digest_of(self.loader.dataset.records)

    def load(self, point: checkpoint.ResumePoint) -> None:
        """Continues from a resume point.

        Raises:
            UserError: it lacks a part, or does not fit this network or loader.
        """
        state = point.state
        try:
            compare(state, self.compared(), state["progress"]["step_in_epoch"] > 0, point.stem)
            self.progress = Progress(**state["progress"])
            compare_rates(state["schedule"].get("lr"), self.lr)
            self.precision.load_state_dict(state["scaler"])
            self._refused, self.first_loss = state["non_finite"], state.get("first_loss")
            load_weights(self.framework, point.arrays[".pdparams"], source=str(point.stem) + ".pdparams")
            optimizer = {k: v for k, v in point.arrays[".pdopt"].items() if k != "LR_Scheduler"}
            load_optimizer_state(self.optimizer, self.framework, optimizer)
            for hook in self.hooks:
                hook.load_arrays(point.arrays)
                if hook.name in state["hooks"]:
                    hook.load_state_dict(state["hooks"][hook.name])
        except (KeyError, TypeError) as error:
            raise UserError(f"{point.stem}: the resume point is incomplete: {error} is missing") from error
        log.info(
            "Resume from checkpoint: %s (epoch %d, step %d)", point.stem, self.progress.epoch + 1, self.progress.step
        )

    def hook(self, name: str) -> Any | None:
        """The hook of that name, or None."""
        return next((hook for hook in self.hooks if hook.name == name), None)

    def _call(self, moment: str) -> None:
        # in reverse at the end: the log closes when the others have written to it
        for hook in self.hooks if moment != "finish" else reversed(self.hooks):
            getattr(hook, moment)(self)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C let the step finish and save; a second one, seconds later, ends at once.

        Of several ranks all stop after the step in which they exchange it: one that came between two exchanges waits
        for the next.

        Paddle's launcher passes one SIGTERM on three times in a row, which is no second one.  Signals reach the main
        thread alone: training in another one leaves them to the program.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        first = 0.0

        def stop(number: int, frame: Any) -> None:
            nonlocal first
            if not self._received:
                self._received, first = number, time.monotonic()
                if distributed.world_size() == 1:
                    self.stop_signal = number
            elif time.monotonic() - first > _SECOND_SIGNAL_S:
                raise SystemExit(128 + number)

        old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in old:  # Paddle's TCP store takes an interrupted system call for a broken connection
            signal.siginterrupt(number, False)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


@paddle.no_grad()
def _figures(
    outputs: dict[str, paddle.Tensor], batch: dict[str, paddle.Tensor], multi_label: bool
) -> dict[str, paddle.Tensor]:
    """Figures of a step's log line besides the loss: top-1 and top-5 of labelled clips, and the framework's own.

    Scalars on the device.  A mixed label counts as its larger part.  Of several labels per clip it is ``hit1``, the
    share of clips with one of them as the highest class.
    """
    figures: dict[str, paddle.Tensor] = {}
    if "scores" in outputs and "label" in batch:
        scores, labels = outputs["scores"].detach().astype("float32"), batch["label"]
        if multi_label and labels.ndim == 2:
            best = paddle.take_along_axis(labels, scores.argmax(-1, keepdim=True), 1)  # [N, 1]
            figures = {"hit1": (best > 0).astype("float32").mean()}
        else:
            labels = labels.argmax(-1) if labels.ndim == 2 else labels
            place = _ranks(scores, labels.astype("int64"))
            figures = {f"top{k}": (place < min(k, scores.shape[1])).astype("float32").mean() for k in (1, 5)}
    return figures | {name: value.detach() for name, value in outputs.items() if name != "loss" and value.ndim == 0}


def _ranks(scores: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """``metrics.topk.ranks`` on the device: how many classes rank before the label, K if the scores hold a NaN.

    Args:
        scores: float32 [N, K].
        labels: int64 [N].
    """
    classes = scores.shape[1]
    own = paddle.take_along_axis(scores, labels.unsqueeze(1), 1)  # [N, 1]
    earlier = paddle.arange(classes).unsqueeze(0) < labels.unsqueeze(1)  # [N, K]
    before = ((scores > own) | ((scores == own) & earlier)).astype("int64").sum(1)
    return paddle.where(paddle.isnan(scores).any(1), paddle.full_like(before, classes), before)
