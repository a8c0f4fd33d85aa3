"""Averages: of weights over training steps (EMA, SWA), of batch-norm statistics, and of the files of several runs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import paddle
from paddle import nn

from paddlevideo.build import deployed_network, loader_for, pipelines_of
from paddlevideo.classes import UNKNOWN, Classes, classes_of_weights, order_in, write_weights
from paddlevideo.config import Config
from paddlevideo.downloads.cache import local_weights
from paddlevideo.engine import distributed
from paddlevideo.engine.checkpoint import Arrays, numpy_state
from paddlevideo.engine.evaluate import tensors
from paddlevideo.engine.hooks import Hook
from paddlevideo.engine.precision import Precision
from paddlevideo.errors import UserError
from paddlevideo.modeling.weights import load_weights, read_weights
from paddlevideo.network_input import KEY as INPUT
from paddlevideo.network_input import compare_input, input_of_weights, same_input
from paddlevideo.safe_io import sha256
from paddlevideo.settings import DEFAULT_SEED, EMASettings
from paddlevideo.weight_names import weights_file

if TYPE_CHECKING:
    from paddlevideo.engine.trainer import Trainer

log = logging.getLogger("paddlevideo")


# ---- batch norms


def batch_norms(framework: Any) -> list[Any]:
    """The batch norms with running statistics that training changes: not frozen, nor in a part that only evaluates.

    Leaves the network in training mode.
    """
    framework.train()
    return [m for m in _all(framework) if m.training and not m._use_global_stats]


class RunningStatistics:
    """The running means and variances of a network's batch norms, as one vector.

    A forward pass moves them before the step is checked; a rejected step restores them.
    """

    def __init__(self, framework: Any):
        self._tensors = [tensor for m in _all(framework) for tensor in (m._mean, m._variance)]

    @paddle.no_grad()
    def copy(self) -> paddle.Tensor:
        """All values one after the other, float32 [D]; [1] of zero for a network without batch norms."""
        if not self._tensors:
            return paddle.zeros([1])
        return paddle.concat([tensor.flatten() for tensor in self._tensors]).astype("float32")

    @paddle.no_grad()
    def restore(self, values: paddle.Tensor) -> None:
        """Puts back what ``copy`` gave."""
        start = 0
        for tensor in self._tensors:
            stop = start + int(tensor.size)
            tensor.set_value(values[start:stop].reshape(tensor.shape).astype(tensor.dtype))
            start = stop


@contextlib.contextmanager
def statistics_kept(framework: Any) -> Iterator[None]:
    """The running statistics of all batch norms are, on leaving, what they were."""
    statistics = RunningStatistics(framework)
    kept = statistics.copy()
    try:
        yield
    finally:
        statistics.restore(kept)


def renew_batch_norms(
    framework: Any, loader: Any, precision: Precision, num_batches: int, epoch: int = 0, what: str = "precise BN"
) -> int:
    """Running means and variances become the plain mean over the statistics of single batches; weights stay.

    Args:
        framework: the bare network; it is in training mode afterwards.
        loader: of training clips.
        num_batches: batches per rank; fewer if the loader has fewer.
        epoch: of the batches, counted from 0.
        what: the word for it in the log.

    Returns:
        The number of batch norms; 0 where there are none, and then no batch is read.

    *Source*: PaddleVideo ``do_preciseBN``.
    """
    layers = batch_norms(framework)
    count = min(num_batches, loader.num_batches(epoch))
    if not layers or not count:
        return 0
    momenta = [m._momentum for m in layers]
    sums, used = np.zeros(0), 0
    statistics = RunningStatistics(framework)
    kept = statistics.copy()
    try:
        for m in layers:
            m._momentum = 0.0  # running statistics become this batch's
        with contextlib.closing(loader.epoch(epoch)) as batches, paddle.no_grad(), precision.autocast():
            for i, batch in enumerate(batches, 1):
                if i % 50 == 1:
                    log.info("Computing %s %d / %d...", what, i, count)
                framework(tensors(batch), mode="loss")
                own = statistics.copy().numpy().astype("float64")
                if np.isfinite(own).all():
                    sums, used = (sums + own if used else own), used + 1
                else:
                    log.warning("%s: batch %d is left out, since its statistics are not finite", what, i)
                    statistics.restore(kept)  # NaN times a momentum of 0 would stay
                if i == count:
                    break
    finally:
        for m, momentum in zip(layers, momenta):
            m._momentum = momentum
    parts = [(total, number) for total, number in distributed.gather((sums, used)) if number]
    if not parts:
        log.warning("%s: no batch has finite statistics; the running ones stay as they are", what)
        statistics.restore(kept)
        return 0
    mean = np.mean([total / number for total, number in parts], axis=0)
    statistics.restore(paddle.to_tensor(mean.astype("float32")))
    return len(layers)


def _all(framework: Any) -> list[Any]:
    return [m for m in framework.sublayers() if isinstance(m, nn.layer.norm._BatchNormBase)]


class PreciseBNHook(Hook):
    """Batch-norm statistics as the plain mean over training batches instead of a running average.

    Args:
        interval: epochs between renewals.
        num_iters: batches per rank; fewer if the loader has fewer.
    """

    name = "precise_bn"

    def __init__(self, interval: int, num_iters: int):
        self.interval, self.num_iters = interval, num_iters

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        """From PRECISEBN."""
        section = run.config.settings.precise_bn
        return section and cls(section.preciseBN_interval, section.num_iters_preciseBN)

    def epoch_end(self, run: Trainer) -> None:
        epoch = run.progress.epoch
        if epoch % self.interval == 0:
            renew_batch_norms(run.framework, run.loader, run.precision, self.num_iters, epoch - 1)


# ---- weights over the steps of a run


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


# ---- files of several runs


def average_files(
    sources: Sequence[str | Path],
    target: str | Path,
    weights: Sequence[float] | None = None,
    config: Config | None = None,
    bn_batches: int = 0,
) -> int:
    """Writes the mean of several checkpoints, and ``target``.json that lists its sources.

    Args:
        sources: ``.pdparams`` files of one network, by path, name or address.
        target: ``.pdparams``.
        weights: the share of each; equal ones if not given.
        config: what the network and its training clips are; needed for ``bn_batches``.
        bn_batches: training batches that batch norms are measured over; 0 averages their statistics like the rest.

    Returns:
        The number of batch norms that were renewed.

    Raises:
        UserError: files that do not belong together, do not fit the configuration, or cannot be read.
    """
    target = Path(target).expanduser()
    if target.suffix != ".pdparams":
        raise UserError(f"{target}: the target must end in .pdparams")
    if bn_batches < 0:
        raise UserError(f"--bn_batches: expected at least 0, got {bn_batches}")
    if bn_batches and config is None:
        raise UserError("--bn_batches: which training clips? name the configuration with -c CFG")
    files = [local_weights(source) for source in sources]
    if any(target.resolve() == file.resolve() for file in files):
        raise UserError(f"{target}: is a source, too; give the average a name of its own")
    twice = [str(file) for i, file in enumerate(files) if file.resolve() in {f.resolve() for f in files[:i]}]
    if twice:
        raise UserError(f"{twice[0]}: is named twice; give it more weight with --weights")
    classes = _common_classes(files)
    mean = average_states({str(file): read_weights(file) for file in files}, weights)
    renewed = 0
    if bn_batches:
        for file in files:
            compare_input(pipelines_of(config), file, True, log.warning)
        mean, renewed = _renewed(mean, config, bn_batches, target)
    record = {
        "sources": [{"file": file.name, "sha256": sha256(weights_file(file))} for file in files],
        "weights": list(weights) if weights else "equal",
        "config": config.source if config else None,
        "bn_batches": bn_batches,
        "batch_norms_renewed": renewed,
    }
    clips = _common_input(files)
    if clips:
        record[INPUT] = clips
    write_weights(target, mean, classes, record)
    return renewed


def _common_classes(files: Sequence[Path]) -> Classes:
    """The classes of all the files; unknown if those of one are.

    Raises:
        UserError: two files name other classes, or the same in another order.
    """
    found = [classes_of_weights(file) for file in files]
    for file, classes in zip(files, found):
        if order_in(found[0], classes, str(files[0]), str(file)) is not None:
            raise UserError(
                f"{file}: its classes are in another order than those of {files[0]}; they cannot be averaged"
            )
    unknown = [str(file) for file, classes in zip(files, found) if not classes.count]
    if unknown:
        log.info("class names are unknown of %s, and so of the average", ", ".join(unknown))
    return UNKNOWN if unknown else found[0]


def _common_input(files: Sequence[Path]) -> dict[str, Any] | None:
    """What the clips of all the files are; None if it is unknown of one.

    Raises:
        UserError: two files were trained on others.
    """
    found = [input_of_weights(file) for file in files]
    known = [(file, clips) for file, clips in zip(files, found) if clips]
    for file, clips in known[1:]:
        if not same_input(clips, known[0][1]):
            raise UserError(
                f"{file}: was trained on other clips than {known[0][0]} (their PIPELINEs differ in what a "
                "picture shows or how it is normalised); they cannot be averaged"
            )
    return found[0] if all(found) else None


def _renewed(mean: Arrays, config: Config, bn_batches: int, target: Path) -> tuple[Arrays, int]:
    """The arrays with batch-norm statistics measured on DATASET.train; of a distillation the student's."""
    framework = deployed_network(config)
    load_weights(framework, mean, source=str(target))
    if not batch_norms(framework):
        return mean, 0
    loader = loader_for(config, "train", framework.num_classes, DEFAULT_SEED)
    paddle.seed(DEFAULT_SEED)
    try:
        count = renew_batch_norms(framework, loader, Precision(), bn_batches)
    finally:
        loader.close()
    prefix = framework.weights_prefix if any(key.startswith(framework.weights_prefix) for key in mean) else ""
    renewed = {f"{prefix}{key}": value for key, value in numpy_state(framework).items()}
    others = [key for key in mean if key not in renewed and key.endswith("._variance")]
    if others:
        log.warning("--bn_batches renews the network that is tested; averaged as they are: %s, ...", others[0])
    return {**mean, **renewed}, count


def average_states(
    states: Mapping[str, Mapping[str, np.ndarray]], weights: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """The mean of several state dicts of one network, summed in float64.

    Args:
        states: name of each (a file, for messages) -> its arrays; in order.
        weights: the share of each, positive; they are divided by their sum.  Equal shares if not given.

    Returns:
        Floating arrays: the mean, in the last state's dtype.  Others (counters): the last state's own.

    Raises:
        UserError: fewer than two states, unusable weights, other keys, shapes or kinds, numbers that are not finite.
    """
    if len(states) < 2:
        raise UserError(f"an average takes at least two checkpoints, got {len(states)}")
    shares = _shares(weights, len(states))
    (first, reference), *others = states.items()
    for name, state in others:
        _must_agree(first, reference, name, state)
    for name, state in states.items():
        for key, array in state.items():
            if array.dtype == np.uint16:
                raise UserError(f"{name}: {key} is bfloat16, which numpy cannot add up; save float32 weights instead")
            if not np.isfinite(array).all():
                raise UserError(f"{name}: {key} holds numbers that are not finite; leave this checkpoint out")
    last = states[list(states)[-1]]
    mean = {}
    for key, array in last.items():
        mean[key] = array
        if np.issubdtype(array.dtype, np.floating):
            total = sum(share * state[key].astype("float64") for share, state in zip(shares, states.values()))
            mean[key] = np.asarray(total).astype(array.dtype)
    return mean


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise UserError(f"{count} checkpoints need as many weights, got {len(weights)}")
    bad = [weight for weight in weights if not 0 < weight < float("inf")]
    if bad:
        raise UserError(f"weights of an average must be positive numbers, got {bad[0]}")
    return [weight / sum(weights) for weight in weights]


def _must_agree(first: str, reference: Mapping[str, Any], name: str, state: Mapping[str, Any]) -> None:
    differences = [f"{key} is only in {first}" for key in reference if key not in state]
    differences += [f"{key} is only in {name}" for key in state if key not in reference]
    for key in reference:
        a, b = reference[key], state.get(key, reference[key])
        if a.shape != b.shape:
            differences.append(f"{key}: {list(a.shape)} in {first}, {list(b.shape)} in {name}")
        elif a.dtype.kind != b.dtype.kind:
            differences.append(f"{key}: {a.dtype} in {first}, {b.dtype} in {name}")
    if differences:
        more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise UserError(f"{name}: does not belong to the same network: {'; '.join(differences[:4])}{more}")
