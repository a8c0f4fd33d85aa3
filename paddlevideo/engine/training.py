"""From a configuration and the command line's options to a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import paddle

from paddlevideo.build import length_remarks, loader_for, metric_for, network, pipelines_of
from paddlevideo.classes import (
    Classes,
    check_count,
    classes_of_config,
    compare_start,
    settled,
    source_of,
    unknown_line,
)
from paddlevideo.config import Config
from paddlevideo.engine import checkpoint, distributed
from paddlevideo.engine.averaging import EMAHook, SWAHook
from paddlevideo.engine.checkpoint import RunFolder
from paddlevideo.engine.data_summary import data_summary
from paddlevideo.engine.hooks import CheckpointHook, Hook, LogHook, PreciseBNHook, ProfilerHook, ValidateHook
from paddlevideo.engine.log import continue_logging, open_sinks, set_up_logging
from paddlevideo.engine.precision import Precision, use_deterministic_kernels
from paddlevideo.engine.trainer import Trainer
from paddlevideo.errors import UserError
from paddlevideo.loader.headers import check_headers
from paddlevideo.modeling.weights import load_weights
from paddlevideo.safe_io import write_atomic
from paddlevideo.settings import (
    DEFAULT_SEED,
    Accumulation,
    Batches,
    EMASettings,
    Options,
    PreciseBN,
    Settings,
    SWASettings,
)
from paddlevideo.solver.averaging import EMA
from paddlevideo.solver.lr import RateOfRun, ScaledSchedule, SequentialSchedule, build_lr
from paddlevideo.solver.optimizer import build_optimizer, describe_groups

log = logging.getLogger("paddlevideo")


def train(config: Config, options: Options) -> Trainer:
    """Assembles a run and trains it.

    Reads MODEL, DATASET, PIPELINE, OPTIMIZER, METRIC, MIX, and the scalars of ``paddlevideo.settings``.

    Raises:
        UserError: whatever of it a user can mend.
    """
    settings = Settings.of(config)
    device = distributed.set_up(options.device)
    if options.deterministic:
        use_deterministic_kernels()
    folder = RunFolder(config.output_dir, settings.model_name, lock=distributed.is_main())
    try:
        set_up_logging(folder.path, distributed.rank(), settings.log_level)
        log.info("device %s, %d rank(s), output in %s", device, distributed.world_size(), folder.path)
        point, lost = _start(folder, options, settings.resume_epoch)
        trainer = _prepared(config, options, folder, point)
        if lost:
            _move_aside(folder, point, lost)
        folder.write_identity()
        if distributed.is_main():
            write_atomic(folder.path / "config.yaml", trainer.config.to_yaml())
            log.info("the resolved configuration is %s", folder.path / "config.yaml")
        trainer.run()
        return trainer
    finally:
        folder.release()


def _prepared(config: Config, options: Options, folder: RunFolder, point: checkpoint.ResumePoint | None) -> Trainer:
    """The run, at the resume point or at the beginning; nothing of the folder is changed by it."""
    folder.classes = _classes(config, point)
    config = settled(config, folder.classes)
    trainer = _assemble(config, options, folder, _seed(options.seed, point), resumed=point is not None)
    if point:
        trainer.load(point)
    return trainer


def _assemble(config: Config, options: Options, folder: RunFolder, seed: int, resumed: bool) -> Trainer:
    settings = Settings.of(config)
    paddle.seed(seed)
    if options.fleet:
        log.info("--fleet: collective data parallelism is what the launcher's ranks do here anyway")
    if settings.to_static:
        log.info("to_static: passed over; networks train in dygraph, which was measured to be as fast")
    pipelines = pipelines_of(config)
    framework = network(config, pipelines, pretrained=not (options.weights or resumed))
    if options.weights and not resumed:
        report = load_weights(framework, options.weights, strict=False, allow_head_mismatch=True)
        log.info("Finetune from checkpoint: %s\n%s", options.weights, report)
        compare_start(folder.classes, options.weights, options.weights, False, log.info)
    for where, (file, teaches) in framework.start_files().items():
        compare_start(folder.classes, file, f"{where}: {file}", teaches, log.info)
    check_count(config, framework.num_classes, folder.classes)
    if settings.sync_bn:
        framework = _sync_batch_norm(framework)
    loader = loader_for(config, "train", framework.num_classes, seed, folder.classes, pipelines.get("train"))
    for line in data_summary(loader, "train", folder.classes):
        log.info("%s", line)
    accumulate = _accumulation(config)
    section = config.section("OPTIMIZER")
    base_batch = section.pop("base_batch_size", None)
    rates = {"OPTIMIZER.learning_rate": section["learning_rate"]}
    swa = SWASettings.of(config.section("SWA")) if "SWA" in config else None
    if swa is not None and swa.lr is not None:
        rates["SWA.lr"] = swa.lr
    batches = min(len(loader), options.max_iters or len(loader))
    epochs = settings.epochs
    if epochs is None:
        raise UserError(f"{config.source}: epochs: is missing; training needs it")
    schedule = _schedule(config, rates, math.ceil(batches / accumulate), epochs)
    if options.scale_lr:
        schedule = ScaledSchedule(schedule, _rate_factor(base_batch, config, accumulate))
    for line in length_remarks(config, math.ceil(batches / accumulate)):
        log.warning("%s", line)
    precision = Precision(options.amp, options.amp_level, options.amp_dtype)
    optimizer = build_optimizer(section, schedule, framework, precision.multi_precision, framework.networks())
    log.info("%s", describe_groups(optimizer, framework))
    framework, optimizer = precision.prepare(framework, optimizer)
    model = distributed.parallel(framework)
    trainer = Trainer(
        config, framework, model, loader, schedule, optimizer, precision, folder, epochs, accumulate, seed,
        max_iters=options.max_iters, non_finite_limit=settings.non_finite_limit,
    )  # fmt: skip
    trainer.hooks = _hooks(config, options, trainer)
    return trainer


def _schedule(config: Config, rates: dict[str, Any], steps_per_epoch: int, epochs: int) -> RateOfRun:
    """OPTIMIZER.learning_rate, and from the first averaged epoch on SWA.lr, where there is one."""
    schedule = build_lr(rates["OPTIMIZER.learning_rate"], steps_per_epoch, epochs)
    if "SWA.lr" not in rates:
        return schedule
    before = SWASettings.of(config["SWA"]).first_epoch(epochs) - 1
    return SequentialSchedule(schedule, build_lr(rates["SWA.lr"], steps_per_epoch, epochs - before, "SWA.lr"), before)


def _hooks(config: Config, options: Options, run: Trainer) -> list[Hook]:
    main, settings = distributed.is_main(), Settings.of(config)
    sinks = open_sinks(run.folder.path, settings.log_sinks) if main else []
    logger = LogHook(settings.log_interval, sinks)
    average = EMA(run.framework, **asdict(EMASettings.of(config["EMA"]))) if "EMA" in config else None
    hooks: list[Hook] = [logger, *([EMAHook(average)] if average else [])]
    if "PRECISEBN" in config:
        section = PreciseBN.of(config["PRECISEBN"])
        hooks.append(PreciseBNHook(section.preciseBN_interval, section.num_iters_preciseBN))
    average_of_end = None
    if "SWA" in config:
        swa = SWASettings.of(config["SWA"])
        average_of_end = SWAHook(run.framework, swa.first_epoch(run.epochs), swa.interval_steps, swa.bn_batches)
        hooks.append(average_of_end)
    checkpoints = CheckpointHook(settings.save_interval, settings.checkpoint_steps, settings.keep_checkpoints)
    hooks.append(checkpoints)
    if options.validate:
        loader = loader_for(config, "valid", run.framework.num_classes, run.seed, run.folder.classes)
        for line in data_summary(loader, "valid", run.folder.classes):
            log.info("%s", line)
        if main:
            check_headers(loader, "DATASET.valid", run.folder.path / "checked_files.json")
        validate = ValidateHook(loader, lambda: metric_for(config), settings.val_interval, logger, average, checkpoints)
        hooks.append(validate)
        if average_of_end:
            average_of_end.validate = validate
    elif main:
        log.info("no --validate: there will be no %s_best.pdparams", settings.model_name)
    if options.profiler_options:
        hooks.append(ProfilerHook(options.profiler_options))
    return hooks


def _start(
    folder: RunFolder, options: Options, resume_epoch: int
) -> tuple[checkpoint.ResumePoint | None, Sequence[str]]:
    """What to continue from (None: the beginning), and whose files in the folder the run would overwrite.

    Raises:
        UserError: on every rank: there is such work and no ``--overwrite``, or nothing valid to resume.
    """
    point: checkpoint.ResumePoint | None = None

    def decide() -> tuple[str | None, list[str], str]:
        nonlocal point
        point = _resume_point(folder, options.resume, resume_epoch)
        lost = folder.in_the_way(point, newest=options.resume == "auto")
        if lost and not options.overwrite:
            raise UserError(_ways_on(folder, point, lost))
        return (str(point.stem) if point else None), lost, point.run if point else folder.run

    stem, lost, folder.run = _on_main(decide)
    if stem is not None and point is None:  # on the other ranks
        point = checkpoint.load(stem)
    distributed.barrier()  # all have read it
    return point, lost


def _move_aside(folder: RunFolder, point: checkpoint.ResumePoint | None, lost: Sequence[str]) -> None:
    """Makes room for a run that is ready to begin."""
    distributed.barrier()  # all have read what they need
    if distributed.is_main():
        target = folder.move_aside(point, lost)
    distributed.barrier()
    if point is None:  # the logs were moved, too
        continue_logging(folder.path, distributed.rank())
    if distributed.is_main():
        log.info("--overwrite: %s was moved to %s", "the earlier run" if point is None else ", ".join(lost), target)


def _ways_on(folder: RunFolder, point: checkpoint.ResumePoint | None, lost: list[str]) -> str:
    shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
    if point is None:
        name = folder.written_as()
        other = name not in (None, folder.model_name)
        named = f" -o model_name={name} -o output_dir={folder.path}" if other else ""
        return (
            f"{folder.path}: holds the work of another run ({shown}); continue it with --resume{named}, or give this "
            "one its own folder with -o output_dir=PATH, or move the earlier one aside with --overwrite"
        )
    return (
        f"{folder.path}: holds resume points that are not in the past of {point.stem.name} ({shown}) and would be "
        "overwritten; continue the newest with --resume auto, or write elsewhere with -o output_dir=PATH, or move them "
        "aside with --overwrite"
    )


def _on_main(decide: Callable[[], Any]) -> Any:
    """What the main rank decides, on every rank; its ``UserError`` too, so that no rank waits for one that has left."""
    result, problem = None, None
    if distributed.is_main():
        try:
            result = decide()
        except UserError as error:
            problem = str(error)
    result, problem = distributed.gather((result, problem))[0]
    if problem is not None:
        raise UserError(problem)
    return result


def _classes(config: Config, point: checkpoint.ResumePoint | None) -> Classes:
    """What the run's class indices mean: as when it began."""
    own = classes_of_config(config)
    classes = point.classes if point is not None else own
    if not classes.count and point is not None:
        log.info("%s", unknown_line(point.stem, own))
        classes = own
    if classes.count:
        log.info("%d classes, named by %s", classes.count, source_of(config) if point is None else point.stem.name)
    else:
        log.info("the classes have numbers and no names: DATASET.label_names gives none")
    return classes


def _resume_point(folder: RunFolder, resume: str | None, resume_epoch: int) -> checkpoint.ResumePoint | None:
    """What ``--resume`` or ``resume_epoch`` names; None to start at the beginning."""
    if resume is None and not resume_epoch:
        return None
    if resume != "auto":
        return checkpoint.load(resume or folder.stem(f"epoch_{resume_epoch:05d}"))
    point = folder.newest()
    if point is None:
        log.info("--resume auto: nothing to resume in %s; starting at the beginning", folder.path)
    return point


def _seed(asked: int | None, point: checkpoint.ResumePoint | None) -> int:
    """A resumed run goes on with its own seed, which shuffling, augmentation and dropout are keyed by."""
    if point is None:
        return DEFAULT_SEED if asked is None else asked
    if "seed" not in point.state:
        raise UserError(f"{point.stem}: the resume point is incomplete: 'seed' is missing")
    seed = point.state["seed"]
    if asked not in (None, seed):
        log.warning("--seed %d is passed over: the resumed run has seed %d", asked, seed)
    return seed


def _accumulation(config: Config) -> int:
    """Batches per optimizer step."""
    section = Accumulation.of(config.get("GRADIENT_ACCUMULATION") or {})
    per_step, total = _clips_per_batch(config), section.global_batch_size
    if section.num_iters or not total:
        return section.num_iters or 1
    if total % per_step:
        raise UserError(
            f"GRADIENT_ACCUMULATION.global_batch_size: {total} is no multiple of {per_step} "
            f"(DATASET.batch_size x {distributed.world_size()} ranks)"
        )
    return total // per_step


def _clips_per_batch(config: Config) -> int:
    """Of all ranks."""
    return Batches.of(config["DATASET"]).batch_size * distributed.world_size()


def _rate_factor(base_batch: int | None, config: Config, accumulate: int) -> float:
    """The run's global batch, divided by that which the rates are for."""
    if not base_batch:
        raise UserError("--scale_lr: OPTIMIZER.base_batch_size is missing: the global batch the rates were set for")
    batch = _clips_per_batch(config) * accumulate
    log.info(
        "--scale_lr: every learning rate x %g (global batch %d, rates are for %d)",
        batch / base_batch,
        batch,
        base_batch,
    )
    return batch / base_batch


def _sync_batch_norm(framework: Any) -> Any:
    if distributed.world_size() == 1 or not paddle.get_device().startswith("gpu"):
        log.info("sync_bn: left out (%s)", "one rank" if distributed.world_size() == 1 else "no such kernel on a CPU")
        return framework
    return paddle.nn.SyncBatchNorm.convert_sync_batchnorm(framework)
