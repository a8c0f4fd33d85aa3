"""Averages of weights around the training loop (EMA, SWA), and over the checkpoints of finished runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from paddlevideo.build import deployed_network, loader_for
from paddlevideo.classes import UNKNOWN, Classes, classes_of_weights, order_in, write_weights
from paddlevideo.config import Config
from paddlevideo.engine import distributed
from paddlevideo.engine.batch_norm import batch_norms, renew_batch_norms, statistics_kept
from paddlevideo.engine.checkpoint import Arrays, numpy_state
from paddlevideo.engine.hooks import Hook, ValidateHook
from paddlevideo.engine.precision import Precision
from paddlevideo.errors import UserError
from paddlevideo.modeling.weights import load_weights, read_weights
from paddlevideo.safe_io import sha256
from paddlevideo.settings import DEFAULT_SEED
from paddlevideo.solver.averaging import EMA, SWA, WeightAverage, average_states

if TYPE_CHECKING:
    from paddlevideo.engine.trainer import Trainer

log = logging.getLogger("paddlevideo")

DEFAULT_BN_BATCHES = 200  # as many as precise batch norm takes


class AverageHook(Hook):
    """An average of the weights, whose arrays are one more file of every resume point."""

    suffix = ""

    def __init__(self, average: WeightAverage):
        self.average = average

    def arrays(self) -> dict[str, Arrays]:
        return {self.suffix: self.average.state_dict()}

    def load_arrays(self, arrays: dict[str, Arrays]) -> None:
        if self.suffix not in arrays:
            section = self.name.upper()
            raise UserError(
                f"--resume: the resume point holds no {section}; it was written without the {section} section"
            )
        self.average.load_state_dict(arrays[self.suffix])


class EMAHook(AverageHook):
    """An exponential moving average of the weights, used in validation and saved as the best model."""

    name, suffix = "ema", ".pdema"

    def __init__(self, average: EMA):
        super().__init__(average)

    def after_step(self, run: Trainer) -> None:
        if run.stepped:
            self.average.update()


class SWAHook(AverageHook):
    """The mean of the weights over the last epochs, written at the run's end as ``<model_name>_swa.pdparams``.

    Of a framework with several networks each one's own file is written besides, as for the best weights.

    Args:
        model: the bare network.
        start_epoch: the first epoch that counts, from 1.
        interval_steps: optimizer steps between the weights that count; 0 takes those at each epoch's end.
        bn_batches: training batches per rank that batch norms are measured over for the mean; 0 leaves them.
        validate: measures the mean, too; None where nothing is validated.
    """

    name, suffix = "swa", ".pdswa"

    def __init__(
        self,
        model: Any,
        start_epoch: int,
        interval_steps: int = 0,
        bn_batches: int = DEFAULT_BN_BATCHES,
        validate: ValidateHook | None = None,
    ):
        super().__init__(SWA(model, max(1, interval_steps)))
        self.start_epoch, self.interval_steps = start_epoch, interval_steps
        self.bn_batches, self.validate = bn_batches, validate
        self._resumed: dict[str, Any] | None = None

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
        """Behind the last resume point: if this fails, ``--resume`` does it again."""
        if run.progress.epoch == run.epochs and not run.progress.step_in_epoch:
            self._conclude(run)

    def _conclude(self, run: Trainer) -> None:
        """Batch norms, validation and the file; the network goes on as it was."""
        count = self.average.num_updates
        if not count:
            log.warning("SWA: no weights were averaged (every step of the interval was left out); no file is written")
            return
        target = run.folder.stem("swa")
        with self.average.applied(), statistics_kept(run.framework):
            self._renew(run)
            if distributed.is_main():
                run.folder.save_weights("swa", run.framework, run.written_at())
            if self.validate is not None:
                self.validate.measure(run, "swa")
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
                f"--resume: the resume point speaks of {state['num_calls']} steps in the average, its {self.suffix} "
                f"of {self.average.num_calls}; it is not whole"
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


def average_files(
    sources: Sequence[str | Path],
    target: str | Path,
    weights: Sequence[float] | None = None,
    config: Config | None = None,
    bn_batches: int = 0,
) -> int:
    """Writes the mean of several checkpoints, and ``target``.json that says what it was made from.

    Args:
        sources: ``.pdparams`` files of one network.
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
    files = [Path(source).expanduser() for source in sources]
    if any(target.resolve() == file.resolve() for file in files):
        raise UserError(f"{target}: is a source, too; give the average a name of its own")
    twice = [str(file) for i, file in enumerate(files) if file.resolve() in {f.resolve() for f in files[:i]}]
    if twice:
        raise UserError(f"{twice[0]}: is named twice; give it more weight with --weights")
    classes = _common_classes(files)
    mean = average_states({str(file): read_weights(file) for file in files}, weights)
    renewed = 0
    if bn_batches:
        mean, renewed = _renewed(mean, config, bn_batches, target)
    record = {
        "sources": [{"file": file.name, "sha256": sha256(file)} for file in files],
        "weights": list(weights) if weights else "equal",
        "config": config.source if config else None,
        "bn_batches": bn_batches,
        "batch_norms_renewed": renewed,
    }
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
                f"{file}: its classes stand in another order than those of {files[0]}; they cannot be averaged"
            )
    unknown = [str(file) for file, classes in zip(files, found) if not classes.count]
    if unknown:
        log.info("class names are unknown of %s, and so of the average", ", ".join(unknown))
    return UNKNOWN if unknown else found[0]


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
