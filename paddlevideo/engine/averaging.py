"""Averages of the weights over the steps of a run: EMA, SWA."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import paddle
from paddle import nn

from paddlevideo.engine import distributed
from paddlevideo.engine.batch_norms import batch_norms, renew_batch_norms, statistics_kept
from paddlevideo.engine.checkpoint import Arrays
from paddlevideo.engine.hooks import Hook
from paddlevideo.errors import UserError
from paddlevideo.settings import EMASettings

if TYPE_CHECKING:
    from paddlevideo.engine.trainer import Trainer

log = logging.getLogger("paddlevideo")


class WeightAverage:
    """A running average, in float32, of a network's trainable parameters.

    Everything else (running statistics of batch norms, frozen parameters) is the network's own.

    Args:
        model: the bare network, not wrapped for data parallelism.
        interval: every how many calls of ``update`` the average moves.
    """

    def __init__(self, model: nn.Layer, interval: int = 1):
        if interval < 1:
            raise UserError(f"an average of weights needs an interval of at least 1, got {interval}")
        self.interval = interval
        self.num_calls = 0
        self.num_updates = 0
        self._parameters = {name: p for name, p in model.named_parameters() if not p.stop_gradient}
        self._averages = {name: p.detach().astype("float32").clone() for name, p in self._parameters.items()}
        self._model = model
        self._applied = False

    def weight_of_new(self) -> float:
        """The share of the current weights in the next update, 0 to 1."""
        raise NotImplementedError

    @paddle.no_grad()
    def update(self) -> None:
        """Takes the current weights into the average; called after every optimizer step."""
        if self._applied:
            raise RuntimeError("the average is in the network's place; leave applied() before the next update")
        self.num_calls += 1
        if self.num_calls % self.interval:
            return
        share = self.weight_of_new()
        for name, parameter in self._parameters.items():
            average = self._averages[name]
            new = parameter.detach().astype("float32")
            if share == 1:  # exactly the weights, whatever the average was
                average.set_value(new)
            else:
                average.add_((new - average) * share)
        self.num_updates += 1

    @contextlib.contextmanager
    def applied(self) -> Iterator[nn.Layer]:
        """The network with the averages as its weights; its own weights are restored, bit by bit, at the end."""
        if self._applied:
            raise RuntimeError("the average is already in the network's place")
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._applied = True
        try:
            self._set(self._averages)
            yield self._model
        finally:
            self._set(own)
            self._applied = False

    def weights(self) -> dict[str, np.ndarray]:
        """The network's state dict: averages where there are any, the network's own values elsewhere."""
        with self.applied():
            return {name: tensor.numpy().copy() for name, tensor in self._model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """``num_calls``, ``num_updates``, and ``weights``: structured name -> float32 array."""
        return {
            "num_calls": self.num_calls,
            "num_updates": self.num_updates,
            "weights": {name: tensor.numpy().copy() for name, tensor in self._averages.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state_dict`` was taken.

        Raises:
            UserError: a weight is missing, unexpected or of another shape.
        """
        try:
            weights, num_calls, num_updates = state["weights"], int(state["num_calls"]), int(state["num_updates"])
        except KeyError as error:
            raise UserError(f"the saved average of weights lacks {error}; the checkpoint is incomplete") from error
        differing = sorted(weights.keys() ^ self._averages.keys())
        differing += [n for n in self._averages if n in weights and self._averages[n].shape != list(weights[n].shape)]
        if differing:
            raise UserError(
                f"the saved average of weights does not fit the network: {len(differing)} missing, unexpected or of "
                f"another shape ({', '.join(differing[:4])}{', ...' if len(differing) > 4 else ''})"
            )
        self.num_calls, self.num_updates = num_calls, num_updates
        for name, average in self._averages.items():
            average.set_value(np.asarray(weights[name], dtype="float32"))

    @paddle.no_grad()
    def _set(self, values: Mapping[str, paddle.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.set_value(values[name].astype(parameter.dtype))


class EMA(WeightAverage):
    """Exponential moving average: ``average = decay * average + (1 - decay) * weights``.

    Args:
        model: the bare network.
        decay: 0 to below 1; 0.9998 averages over about 5000 updates.
        warmup: begin with a smaller decay: update n (from 0) takes ``min(decay, (1 + n) / (10 + n))``.
        interval: every how many calls of ``update`` the average moves.
    """

    def __init__(
        self,
        model: nn.Layer,
        decay: float = EMASettings.decay,
        warmup: bool = EMASettings.warmup,
        interval: int = EMASettings.interval,
    ):
        if not 0 <= decay < 1:
            raise UserError(f"EMA.decay: a number from 0 to below 1 is expected, got {decay}")
        super().__init__(model, interval)
        self.decay, self.warmup = decay, warmup

    def weight_of_new(self) -> float:
        """1 - decay, more during the warm-up."""
        n = self.num_updates
        return 1 - (min(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay)


class SWA(WeightAverage):
    """The plain mean of the weights at each update; the initial weights do not count.

    *Source*: Izmailov et al., 2018, "Averaging Weights Leads to Wider Optima and Better Generalization".  Batch norms
    need new running statistics for the mean: compute precise ones afterwards.
    """

    def weight_of_new(self) -> float:
        """1 / n in update n, from 1."""
        return 1 / (self.num_updates + 1)


class AverageHook(Hook):
    """An average of the weights; its arrays are one more file of every resume point."""

    suffix = ""

    def __init__(self, average: WeightAverage):
        self.average = average

    def arrays(self) -> dict[str, Arrays]:
        return {self.suffix: self.average.state_dict()}

    def load_arrays(self, arrays: dict[str, Arrays]) -> None:
        if self.suffix not in arrays:
            section = self.name.upper()
            raise UserError(
                f"--resume: the resume point holds no {section}, as it was written without that section; go on without "
                f"it (-o {section}=null), or begin another run from its weights with -w"
            )
        self.average.load_state_dict(arrays[self.suffix])


class EMAHook(AverageHook):
    """An exponential moving average of the weights, used in validation and saved as the best model; without validation
    it is written at the run's end as ``<model_name>_ema.pdparams``."""

    name, suffix = "ema", ".pdema"

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        """From EMA."""
        section = run.config.settings.ema
        return section and cls(EMA(run.framework, **asdict(section)))

    def after_step(self, run: Trainer) -> None:
        if run.stepped:
            self.average.update()

    def finish(self, run: Trainer) -> None:
        is_complete = run.progress.epoch == run.epochs and not run.progress.step_in_epoch
        if not is_complete or run.hook("validate") is not None:
            return
        if distributed.is_main():
            with self.average.applied():
                run.folder.save_weights("ema", run.framework, run.written_at())
        distributed.barrier()
        log.info("EMA: the average of the weights: %s.pdparams", run.folder.stem("ema"))


class SWAHook(AverageHook):
    """The mean of the weights over the last epochs, written at the run's end as ``<model_name>_swa.pdparams``.

    Of a framework with several networks each one's own file is written besides, as for the best weights.

    Args:
        model: the bare network.
        start_epoch: the first epoch that counts, from 1.
        interval_steps: optimizer steps between the weights that count; 0 takes those at each epoch's end.
        bn_batches: training batches per rank that batch norms are measured over for the mean; 0 leaves them.
    """

    name, suffix = "swa", ".pdswa"

    def __init__(self, model: Any, start_epoch: int, interval_steps: int, bn_batches: int):
        super().__init__(SWA(model, max(1, interval_steps)))
        self.start_epoch, self.interval_steps, self.bn_batches = start_epoch, interval_steps, bn_batches
        self._resumed: dict[str, Any] | None = None

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        """From SWA."""
        section = run.config.settings.swa
        if section is None:
            return None
        return cls(run.framework, section.first_epoch(run.epochs), section.interval_steps, section.bn_batches)

    def start(self, run: Trainer) -> None:
        steps = (run.epochs - self.start_epoch + 1) * run.steps_per_epoch
        if self.interval_steps > steps:
            raise UserError(
                f"SWA.interval_steps: {self.interval_steps} steps never pass: from epoch {self.start_epoch} to "
                f"{run.epochs} there are {steps}; take fewer, or 0 for the ends of the epochs"
            )
        begun = (run.progress.epoch, run.progress.step_in_epoch) > (self.start_epoch - 1, 0)
        if begun and self._resumed is None:
            raise UserError(
                f"--resume: the resume point lies beyond the start of epoch {self.start_epoch}, where averaging "
                "begins, and holds no SWA; resume from an earlier one, or begin later with SWA.start_epoch"
            )

    def after_step(self, run: Trainer) -> None:
        if self.interval_steps and run.stepped and run.progress.epoch >= self.start_epoch - 1:
            self.average.update()

    def epoch_end(self, run: Trainer) -> None:
        epoch = run.progress.epoch
        if not self.interval_steps and epoch >= self.start_epoch:
            self.average.update()

    def finish(self, run: Trainer) -> None:
        """After the last resume point: if this fails, ``--resume`` does it again."""
        if run.progress.epoch == run.epochs and not run.progress.step_in_epoch:
            self._conclude(run)

    def _conclude(self, run: Trainer) -> None:
        """Batch norms, validation and the file; the network is unchanged afterwards."""
        count = self.average.num_updates
        if not count:
            log.warning("SWA: no weights were averaged (every step of the interval was left out); no file is written")
            return
        target = run.folder.stem("swa")
        with self.average.applied(), statistics_kept(run.framework):
            self._renew(run)
            validate, about = run.hook("validate"), run.written_at()
            if validate is not None:
                metric, _ = validate.measure(run, "swa")
                about |= {"thresholds": metric.thresholds} if metric.finds_thresholds else {}
            if distributed.is_main():
                run.folder.save_weights("swa", run.framework, about)
        distributed.barrier()
        log.info("SWA: the mean of %d sets of weights since epoch %d: %s.pdparams", count, self.start_epoch, target)

    def _renew(self, run: Trainer) -> None:
        if not self.bn_batches:
            if batch_norms(run.framework):
                log.warning("SWA.bn_batches: 0: the batch norms of the mean keep the last weights' statistics")
            return
        # dropout before a batch norm moves its statistics: the same draws however the run came here
        key = [run.seed, run.progress.step, distributed.rank()]
        paddle.seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        renew_batch_norms(
            run.framework, run.loader, run.precision, self.bn_batches, run.progress.epoch - 1, "batch norms of SWA"
        )

    def arrays(self) -> dict[str, Arrays]:
        """Nothing before averaging begins."""
        return super().arrays() if self.average.num_calls else {}

    def load_arrays(self, arrays: dict[str, Arrays]) -> None:
        if self.suffix in arrays:
            super().load_arrays(arrays)

    def state_dict(self) -> dict[str, Any]:
        return {**self._plan(), "num_calls": self.average.num_calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["num_calls"] != self.average.num_calls:
            raise UserError(
                f"--resume: the resume point has {state['num_calls']} steps in the average, its {self.suffix} has "
                f"{self.average.num_calls}; it is incomplete"
            )
        changed = [
            f"{key}: {state[key]} then, {value} now" for key, value in self._plan().items() if value != state[key]
        ]
        if changed and state["num_calls"]:
            raise UserError(
                f"--resume: averaging had begun, and SWA has changed ({'; '.join(changed)}); resume with what it "
                "was begun with, or from an earlier point"
            )
        self._resumed = dict(state)

    def _plan(self) -> dict[str, int]:
        return {"start_epoch": self.start_epoch, "interval_steps": self.interval_steps}
