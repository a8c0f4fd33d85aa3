"""From a configuration and the command line's options to a run."""

from __future__ import annotations

import logging
import math
from typing import Any

import paddle

from paddlevideo.build import network
from paddlevideo.config import Config
from paddlevideo.engine import checkpoint, distributed
from paddlevideo.engine.averaging import EMAHook, SWAHook, first_averaged_epoch
from paddlevideo.engine.checkpoint import RunFolder
from paddlevideo.engine.hooks import CheckpointHook, Hook, LogHook, PreciseBNHook, ProfilerHook, ValidateHook
from paddlevideo.engine.log import open_sinks, set_up_logging
from paddlevideo.engine.parts import (
    DEFAULT_SEED,
    Options,
    loader_for,
    metric_for,
    use_deterministic_kernels,
)
from paddlevideo.engine.precision import Precision
from paddlevideo.engine.trainer import Trainer
from paddlevideo.errors import UserError
from paddlevideo.modeling.weights import load_weights
from paddlevideo.safe_io import write_atomic
from paddlevideo.solver.averaging import EMA
from paddlevideo.solver.handover import Handover
from paddlevideo.solver.lr import Schedule, build_lr, scale_lr
from paddlevideo.solver.optimizer import build_optimizer, describe_groups

log = logging.getLogger("paddlevideo")


def train(config: Config, options: Options) -> Trainer:
    """Assembles a run and trains it.

    Reads MODEL, DATASET, PIPELINE, OPTIMIZER, METRIC, MIX, PRECISEBN, GRADIENT_ACCUMULATION, EMA, SWA and the scalars
    of ``config.checking.SCALARS``.

    Raises:
        UserError: whatever of it a user can mend.
    """
    device = distributed.set_up(options.device)
    if options.deterministic:
        use_deterministic_kernels()
    folder = RunFolder(config.output_dir, config["model_name"], lock=distributed.is_main())
    try:
        set_up_logging(folder.path, distributed.rank(), config.get("log_level", "INFO"))
        log.info("device %s, %d rank(s), output in %s", device, distributed.world_size(), folder.path)
        if distributed.is_main():
            write_atomic(folder.path / "config.yaml", config.to_yaml())
            log.info("the resolved configuration is %s", folder.path / "config.yaml")
        point = _resume_point(folder, options.resume, config.get("resume_epoch", 0))
        trainer = _assemble(config, options, folder, _seed(options.seed, point), resumed=point is not None)
        if point:
            trainer.load(point)
        trainer.run()
        return trainer
    finally:
        folder.release()


def _assemble(config: Config, options: Options, folder: RunFolder, seed: int, resumed: bool) -> Trainer:
    paddle.seed(seed)
    if options.fleet:
        log.info("--fleet: collective data parallelism is what the launcher's ranks do here anyway")
    if config.get("to_static"):
        log.info("to_static: passed over; networks train in dygraph, which was measured to be as fast")
    framework = network(config, pretrained=not (options.weights or resumed))
    if options.weights and not resumed:
        report = load_weights(framework, options.weights, strict=False, allow_head_mismatch=True)
        log.info("Finetune from checkpoint: %s\n%s", options.weights, report)
    if config.get("sync_bn"):
        framework = _sync_batch_norm(framework)
    loader = loader_for(config, "train", framework.num_classes, seed)
    accumulate = _accumulation(config)
    section = config.section("OPTIMIZER")
    base_batch = section.pop("base_batch_size", None)
    rates = {"OPTIMIZER.learning_rate": section["learning_rate"]}
    if "lr" in config.get("SWA", {}):
        rates["SWA.lr"] = config["SWA"].to_dict()["lr"]
    if options.scale_lr:
        rates = {key: _scaled(rate, base_batch, config, accumulate) for key, rate in rates.items()}
    batches = min(len(loader), options.max_iters or len(loader))
    epochs = config.get("epochs")
    if epochs is None:
        raise UserError(f"{config.source}: epochs: is missing; training needs it")
    schedule = _schedule(config, rates, math.ceil(batches / accumulate), epochs)
    precision = Precision(options.amp, options.amp_level, options.amp_dtype)
    optimizer = build_optimizer(section, schedule, framework, multi_precision=precision.multi_precision)
    log.info("%s", describe_groups(optimizer, framework))
    framework, optimizer = precision.prepare(framework, optimizer)
    model = distributed.parallel(framework)
    trainer = Trainer(
        config, framework, model, loader, schedule, optimizer, precision, folder, epochs, accumulate, seed,
        max_iters=options.max_iters, non_finite_limit=config.get("non_finite_limit", 3),
    )  # fmt: skip
    trainer.hooks = _hooks(config, options, trainer)
    return trainer


def _schedule(config: Config, rates: dict[str, Any], steps_per_epoch: int, epochs: int) -> Schedule:
    """OPTIMIZER.learning_rate, and from the first averaged epoch on SWA.lr, where there is one."""
    schedule = build_lr(rates["OPTIMIZER.learning_rate"], steps_per_epoch, epochs)
    if "SWA.lr" not in rates:
        return schedule
    before = first_averaged_epoch(config.section("SWA"), epochs) - 1
    return Handover(schedule, build_lr(rates["SWA.lr"], steps_per_epoch, epochs - before, "SWA.lr"), before)


def _hooks(config: Config, options: Options, run: Trainer) -> list[Hook]:
    main = distributed.is_main()
    sinks = open_sinks(run.folder.path, config.get("log_sinks", [])) if main else []
    logger = LogHook(config.get("log_interval", 10), sinks)
    average = EMA(run.framework, **config.section("EMA")) if "EMA" in config else None
    hooks: list[Hook] = [logger, *([EMAHook(average)] if average else [])]
    if "PRECISEBN" in config:
        section = config["PRECISEBN"]
        hooks.append(PreciseBNHook(section.get("preciseBN_interval", 1), section.get("num_iters_preciseBN", 200)))
    validate = None
    if options.validate:
        loader = loader_for(config, "valid", run.framework.num_classes, run.seed)
        interval = config.get("val_interval", 1)
        validate = ValidateHook(loader, lambda: metric_for(config), interval, logger, average)
        hooks.append(validate)
    elif main:
        log.info("no --validate: there will be no %s_best.pdparams", config["model_name"])
    if "SWA" in config:
        section = config.section("SWA")
        plan = {key: section[key] for key in ("interval_steps", "bn_batches") if key in section}
        hooks.append(SWAHook(run.framework, first_averaged_epoch(section, run.epochs), validate=validate, **plan))
    # last of those with a state: what it writes holds what the others did
    steps, keep = config.get("checkpoint_steps", 0), config.get("keep_checkpoints", 2)
    hooks.append(CheckpointHook(config.get("save_interval", 1), steps, keep))
    if options.profiler_options:
        hooks.append(ProfilerHook(options.profiler_options))
    return hooks


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
    section = config.get("GRADIENT_ACCUMULATION")
    if not section:
        return 1
    if "num_iters" in section:
        return max(1, section["num_iters"])
    per_step = config["DATASET"].get("batch_size", 8) * distributed.world_size()
    total = section["global_batch_size"]
    if total % per_step:
        raise UserError(
            f"GRADIENT_ACCUMULATION.global_batch_size: {total} is no multiple of {per_step} "
            f"(DATASET.batch_size x {distributed.world_size()} ranks)"
        )
    return total // per_step


def _scaled(learning_rate: Any, base_batch: int | None, config: Config, accumulate: int) -> Any:
    if not base_batch:
        raise UserError("--scale_lr: OPTIMIZER.base_batch_size is missing: the global batch the rates were set for")
    batch = config["DATASET"].get("batch_size", 8) * distributed.world_size() * accumulate
    log.info(
        "--scale_lr: every learning rate x %g (global batch %d, rates are for %d)",
        batch / base_batch,
        batch,
        base_batch,
    )
    return scale_lr(learning_rate, batch / base_batch)


def _sync_batch_norm(framework: Any) -> Any:
    if distributed.world_size() == 1 or not paddle.get_device().startswith("gpu"):
        log.info("sync_bn: left out (%s)", "one rank" if distributed.world_size() == 1 else "no such kernel on a CPU")
        return framework
    return paddle.nn.SyncBatchNorm.convert_sync_batchnorm(framework)
