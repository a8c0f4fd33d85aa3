"""The scalars of a run: each with its unit, range and default at its definition, and nowhere else.

A configuration is checked against the annotations (``config.checking``), and all code reads a value here:
``config.settings.log_interval``.  Nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import PathLike, fspath
from typing import Any, Literal, Self

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.ranges import (
    CycleFactors,
    LogSinks,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    ProbabilityBelowOne,
    Seed,
    mistakes,
    suggest,
)

DEFAULT_SEED = 1234  # of shuffling, augmentation, dropout and initial weights


class _Scalars:
    """A section of scalars: its fields are the keys that the section may have.

    A default of None stands for a key that is left out; ``null`` is a value only where the annotation has None.
    """

    @classmethod
    def of(cls, section: Mapping[str, Any], where: str = "") -> Self:
        """The section's own values, and the defaults of what it leaves out; keys of other parts are ignored.

        Args:
            where: key path of the section, for messages.

        Raises:
            ConfigError: values that the annotations do not allow.
        """
        given = {key: section[key] for key in cls.kinds() if key in section}
        prefix = f"{where}." if where else ""
        found = [line for key, value in given.items() for line in mistakes(value, cls.kinds()[key], prefix + key)]
        if found:
            raise ConfigError(where or cls.__name__, found)
        return cls(**given)

    @classmethod
    def kinds(cls) -> dict[str, str]:
        """Key -> annotation, as ``ranges.mistakes`` takes it."""
        return {field.name: str(field.type) for field in fields(cls)}


@dataclass(frozen=True)
class Batches(_Scalars):
    """DATASET without its splits."""

    batch_size: PositiveInt = 8  # clips per rank and batch
    valid_batch_size: PositiveInt = None  # None: batch_size
    test_batch_size: PositiveInt = 8
    num_workers: NonNegativeInt = 0  # processes per rank; 0: none but the rank's own
    valid_num_workers: NonNegativeInt = None  # None: num_workers
    test_num_workers: NonNegativeInt = None  # None: num_workers
    shuffle_valid: bool = False
    drop_last: bool = True  # of training
    label_names: str | None = None  # file of class names

    def batch_size_of(self, split: str) -> int:
        """Clips per rank and batch of ``train``, ``valid`` or ``test``."""
        sizes = {"valid": self.valid_batch_size, "test": self.test_batch_size}
        return sizes.get(split) or self.batch_size

    def num_workers_of(self, split: str) -> int:
        """Processes per rank."""
        own = {"valid": self.valid_num_workers, "test": self.test_num_workers}.get(split)
        return self.num_workers if own is None else own


@dataclass(frozen=True)
class Reading(_Scalars):
    """How the samples of DATASET.<split> are read, whatever the class of the data set."""

    on_error: Literal["raise", "skip", "count"] = None  # an unreadable file; None: train skip, else raise
    missing: Literal["raise", "skip"] = "raise"  # files that are not there
    timeout_s: Positive = 60.0  # per clip
    max_replacements: NonNegativeInt = 10  # other samples tried in the place of an unreadable one
    damaged: Literal["refuse", "read"] = "refuse"  # read: take what can be decoded of a damaged video
    index: str = "auto"  # of the videos (check-data writes it): auto: beside file_path; none; or the folder it is in
    sample_by_class: bool = False  # training draws a class first, then one of its samples, with replacement
    power: NonNegative = 0.0  # ... the class with probability ~ (its samples) ** power; 0: all alike, 1: as they come


@dataclass(frozen=True)
class Calibration(_Scalars):
    """DATASET of PaddleVideo's quantisation file, without its split."""

    batch_size: PositiveInt = 1  # clips per batch
    batch_nums: PositiveInt = 10  # batches that calibrate, in the order of the list
    num_workers: NonNegativeInt = 0  # PaddleVideo's key; calibration reads in its own process, whatever it is


@dataclass(frozen=True)
class PreciseBN(_Scalars):
    """PRECISEBN: batch-norm statistics measured again over training batches."""

    preciseBN_interval: PositiveInt = 1  # epochs
    num_iters_preciseBN: PositiveInt = 200  # batches per rank


@dataclass(frozen=True)
class Accumulation(_Scalars):
    """GRADIENT_ACCUMULATION: batches per optimizer step, or clips per optimizer step of all ranks."""

    global_batch_size: PositiveInt | None = None
    num_iters: PositiveInt | None = None


@dataclass(frozen=True)
class EMASettings(_Scalars):
    """EMA: the exponential moving average of the weights."""

    decay: ProbabilityBelowOne = 0.9998  # averages over about 5000 updates
    warmup: bool = True  # begin with less memory
    interval: PositiveInt = 1  # optimizer steps between updates


@dataclass(frozen=True)
class EarlyStopSettings(_Scalars):
    """EARLY_STOP: the end of training where validations improve no more."""

    patience: PositiveInt = 5  # validations in a row without an improvement, after which training ends
    min_delta: NonNegative = 0.0  # by so much the figure must rise to count as an improvement, 0..1


@dataclass(frozen=True)
class SWASettings(_Scalars):
    """SWA: the mean of the weights of the last epochs; ``start_epoch`` or ``last_epochs``, one of them."""

    start_epoch: PositiveInt = None  # the first epoch that counts, from 1
    last_epochs: PositiveInt = None  # how many count
    interval_steps: NonNegativeInt = 0  # optimizer steps between the weights that count; 0: the ends of epochs
    lr: Any = None  # the schedule from start_epoch on, which ``solver.check`` checks; None: OPTIMIZER's continues
    bn_batches: NonNegativeInt = 200  # batches per rank that batch norms are measured over for the mean; 0: none

    def first_epoch(self, epochs: int) -> int:
        """The first epoch that is averaged, from 1.

        Args:
            epochs: of the run.

        Raises:
            UserError: it lies outside of the run.
        """
        start = epochs - self.last_epochs + 1 if self.start_epoch is None else self.start_epoch
        if not 1 <= start <= epochs:
            raise UserError(
                f"SWA: averaging would begin with epoch {start} of {epochs}; start_epoch or last_epochs is off"
            )
        return start


@dataclass(frozen=True)
class MultigridSettings(_Scalars):
    """MULTIGRID: the shapes of a run with ``--multigrid`` (``paddlevideo.multigrid``); without it all is of one shape.

    The names are PaddleVideo's, which writes into the last four while it runs.
    """

    LONG_CYCLE: bool = False  # shapes of the epochs
    SHORT_CYCLE: bool = False  # picture sizes of the batches of an epoch
    epoch_factor: Positive = 1.0  # epochs of the run, in those of the schedule
    long_cycle_factors: list[CycleFactors | list[Positive]] = ()  # [frames, side] of each shape, of those of the base
    short_cycle_factors: list[Positive] = (0.5, 0.7071)  # sides of two of three batches, of that of the base
    bn_base_size: PositiveInt = 8  # clips that a batch norm normalises together
    EVAL_FREQ: PositiveInt = 3  # validations of a shape
    default_batch_size: NonNegativeInt = 0
    default_temporal_size: NonNegativeInt = 0
    default_crop_size: NonNegativeInt = 0
    long_cycle_sampling_rate: NonNegativeInt = 0


@dataclass(frozen=True)
class Settings(_Scalars):
    """The scalars of a configuration: its top level, and the sections that hold nothing else."""

    model_name: str  # names the output folder and its files
    epochs: PositiveInt = None  # passes over the training set; training needs it
    log_interval: PositiveInt = 10  # steps between log lines; an epoch of no more steps has its last one, too
    save_interval: PositiveInt = 1  # epochs between kept checkpoints
    val_interval: PositiveInt = 1  # epochs between validations
    monitor: str = None  # the figure of METRIC that picks the best weights, higher is better; None: the metric's own
    output_dir: str = ""  # where everything is written; empty: output/<model_name>
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"  # the least important lines that are written
    LOGGING: LogSinks = ()  # where figures go besides metrics.jsonl: csv, or a list: [csv, {wandb: {...}}]
    log_sinks: LogSinks = ()  # another name of LOGGING
    resume_epoch: NonNegativeInt = 0  # continue after this epoch's checkpoint; 0: do not
    checkpoint_steps: NonNegativeInt = 0  # optimizer steps between resume points within an epoch; 0: epoch ends only
    keep_checkpoints: PositiveInt = 2  # resume points that are kept
    non_finite_limit: PositiveInt = 2  # refused steps in a row (something is not finite) after which training stops
    flip: Literal["auto", "map", "keep", "none"] = None  # mirroring and left/right classes: ``paddlevideo.mirroring``
    sync_bn: bool = False  # batch statistics over all ranks (GPU only)
    to_static: bool = False  # PaddleVideo's flag; changes nothing
    use_npu: bool = False  # PaddleVideo's flag; must be False
    use_xpu: bool = False  # PaddleVideo's flag; must be False

    batches: Batches = Batches()
    accumulation: Accumulation = Accumulation()
    precise_bn: PreciseBN | None = None  # None: without the section
    ema: EMASettings | None = None
    swa: SWASettings | None = None
    multigrid: MultigridSettings | None = None
    early_stop: EarlyStopSettings | None = None

    @property
    def sinks(self) -> dict[str, dict[str, Any]]:
        """The names of LOGGING in lower case, each with its options."""
        given = [value if isinstance(value, list | tuple) else [value] for value in (self.LOGGING, self.log_sinks)]
        items = [item if isinstance(item, Mapping) else {item: {}} for items in given for item in items]
        return {name.lower(): dict(options or {}) for item in items for name, options in item.items()}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """From a configuration."""
        own = {key: config[key] for key in cls.kinds() if key in config}
        return cls(**own, **{name: part.of(config[key] or {}) for key, (name, part) in _PARTS.items() if key in config})

    @classmethod
    def kinds(cls) -> dict[str, str]:
        """Those of the top level."""
        parts = {name for name, _ in _PARTS.values()}
        return {key: kind for key, kind in super().kinds().items() if key not in parts}


# section -> field of Settings, class
_PARTS: dict[str, tuple[str, type[_Scalars]]] = {
    "DATASET": ("batches", Batches),
    "GRADIENT_ACCUMULATION": ("accumulation", Accumulation),
    "PRECISEBN": ("precise_bn", PreciseBN),
    "EMA": ("ema", EMASettings),
    "SWA": ("swa", SWASettings),
    "MULTIGRID": ("multigrid", MultigridSettings),
    "EARLY_STOP": ("early_stop", EarlyStopSettings),
}
# sections that hold nothing but scalars -> what each key may be
SMALL_SECTIONS: dict[str, dict[str, str]] = {key: part.kinds() for key, (_, part) in _PARTS.items() if key != "DATASET"}


class Checked:
    """A dataclass of options; its fields are checked against their annotations when it is made.

    Raises:
        UserError: values that the annotations do not allow.
    """

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """From keyword arguments; a path becomes its text.

        Raises:
            UserError: there is no such option.
        """
        known = [field.name for field in fields(cls)]
        found = [f"{name}: unknown option{suggest(name, known)}" for name in options if name not in known]
        if found:
            raise UserError("; ".join(found))
        return cls(**{name: fspath(v) if isinstance(v, PathLike) else v for name, v in options.items()})

    def __post_init__(self) -> None:
        values = vars(self)
        found = [line for field in fields(self) for line in mistakes(values[field.name], str(field.type), field.name)]
        if found:
            raise UserError("; ".join(found))


@dataclass(frozen=True)
class Options(Checked):
    """What the command line, or the caller of ``paddlevideo.train``, decides about a run."""

    validate: bool = False  # evaluate during training and keep the best weights
    weights: str | None = None  # .pdparams to test, or to begin training from
    resume: str | None = None  # auto (the newest valid point), or a resume point
    overwrite: bool = False  # move the work of another run in the output folder aside
    seed: Seed | None = None  # None: DEFAULT_SEED, of a resumed run its own
    deterministic: bool = False  # only GPU kernels that give the same bits at every run
    device: str = "auto"  # auto, cpu, gpu or gpu:N
    amp: bool = False  # mixed precision on GPUs
    amp_level: Literal["O1", "O2"] = "O1"
    amp_dtype: Literal["float16", "bfloat16"] = "float16"
    amp_black_list: list[str] | None = None  # operators that stay in float32; None: conv3d and reduce_mean
    max_iters: PositiveInt | None = None  # batches per epoch at most, in training and evaluation
    multigrid: bool = False  # clips of the shapes of MULTIGRID
    max_hours: Positive | None = None  # training stops with a resume point at the end of the step that exceeds it
    scale_lr: bool = False  # scale rates from OPTIMIZER.base_batch_size to this global batch
    profiler_options: str | None = None  # see ``ProfilerHook``
    fleet: bool = False  # PaddleVideo's flag; changes nothing
