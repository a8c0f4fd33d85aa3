"""From a configuration and the command line's options to a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import paddle

from paddlevideo.build import length_remarks, loader_for, network, pipelines_of, unread_remarks, weighted
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
from paddlevideo.engine.batch_norms import PreciseBNHook
from paddlevideo.engine.checkpoint import RunFolder
from paddlevideo.engine.data_summary import log_data
from paddlevideo.engine.hooks import CheckpointHook, Hook, LogHook, ValidateHook
from paddlevideo.engine.log import continue_logging, keep_no_more_records, set_up_logging
from paddlevideo.engine.multigrid import MultigridHook, shapes_of
from paddlevideo.engine.precision import Precision, use_deterministic_kernels
from paddlevideo.engine.profiling import ProfilerHook
from paddlevideo.engine.run_report import MakeReport, ReportHook
from paddlevideo.engine.stopping import EarlyStopHook, TimeLimitHook
from paddlevideo.engine.trainer import Trainer
from paddlevideo.errors import UserError
from paddlevideo.loader.headers import frame_rates
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.mirroring import settle_flip
from paddlevideo.modeling.weights import load_weights
from paddlevideo.multigrid import Multigrid
from paddlevideo.network_input import FPS, compare_input, compare_rates, input_of, pretrained_files
from paddlevideo.network_input import KEY as INPUT
from paddlevideo.safe_io import write_atomic
from paddlevideo.settings import DEFAULT_SEED, Options, Settings
from paddlevideo.solver.lr import RateOfRun, ScaledSchedule, SequentialSchedule, UnevenSchedule, build_lr
from paddlevideo.solver.optimizer import build_optimizer, describe_groups

log = logging.getLogger("paddlevideo")

# in this order at every moment but the end: the log has the step's figures before a checkpoint is written; its arrays
# the averages have changed, and what is validated is in a resume point already; validations come before what they end
HOOKS: tuple[type[Hook], ...] = (
    LogHook, MultigridHook, EMAHook, PreciseBNHook, SWAHook, TimeLimitHook, CheckpointHook, ValidateHook, EarlyStopHook,
    ProfilerHook,
)  # fmt: skip


def train(config: Config, options: Options, report: MakeReport | None = None) -> Trainer:
    """Assembles a run and trains it.

    Reads MODEL, DATASET, PIPELINE, OPTIMIZER, METRIC, MIX, and the scalars of ``paddlevideo.settings``.

    Args:
        report: makes what writes a page while it trains, e.g. ``reporting.training_report.TrainingReport``; None: none.

    Raises:
        UserError: whatever of it a user can mend.
    """
    settings = config.settings
    device = distributed.set_up(options.device)
    if options.deterministic:
        use_deterministic_kernels()
    with RunFolder(config.output_dir, settings.model_name, lock=distributed.is_main()) as folder:
        set_up_logging(folder.path, distributed.rank(), settings.log_level)
        log.info("device %s, %d rank(s), output in %s", device, distributed.world_size(), folder.path)
        point, lost = _start(folder, options, settings.resume_epoch)
        trainer = _prepared(config, options, folder, point)
        pages = [ReportHook(report)] if report is not None and distributed.is_main() else []
        trainer.hooks += pages  # last: all others have their figures
        if lost:
            _move_aside(folder, point, lost)
        keep_no_more_records()
        folder.write_identity()
        if trainer.progress.epoch >= trainer.epochs:  # config.yaml stays what the run was trained with
            done = f"{trainer.progress.epoch} epochs are done, epochs is {trainer.epochs}"
            log.warning("nothing to train: %s; a larger number goes on", done)
        elif distributed.is_main():
            write_atomic(folder.path / "config.yaml", trainer.config.to_yaml())
            log.info("the resolved configuration is %s", folder.path / "config.yaml")
        try:
            trainer.run()
        finally:  # also after an error, which the records up to it explain
            for page in pages:
                page.close(trainer)
            trainer.hook("log").finish(trainer)
        return trainer


def _prepared(config: Config, options: Options, folder: RunFolder, point: checkpoint.ResumePoint | None) -> Trainer:
    """The run, at the resume point or at the beginning; nothing of the folder is changed by it."""
    folder.classes = _classes(config, point)
    config = settled(config, folder.classes)
    config = settle_flip(config, folder.classes.names, log.info, log.warning)
    config = weighted(config, folder.classes, log.info)
    trainer = _assemble(config, options, folder, _seed(options.seed, point), resumed=point is not None)
    if point:
        _compare_input(point, folder)
        trainer.load(point)
    return trainer


def _compare_input(point: checkpoint.ResumePoint, folder: RunFolder) -> None:
    """
    Raises:
        UserError: the run was trained on pictures of another kind so far.
    """
    then, now = point.state.get(INPUT) or {}, folder.input
    if then and now and then["steps"].keys() != now["steps"].keys():
        kinds = [", ".join(sorted(each["steps"])) or "frames" for each in (then, now)]
        raise UserError(
            f"{point.stem}: this run learned from clips of {kinds[0]}, PIPELINE has {kinds[1]}; resume with the "
            "PIPELINE of the training, or start another run from its weights with -w"
        )


def _assemble(config: Config, options: Options, folder: RunFolder, seed: int, resumed: bool) -> Trainer:
    paddle.seed(seed)
    settings, pipelines = config.settings, pipelines_of(config)
    folder.input = input_of(pipelines, config.section("MODEL"))
    _note_flags(settings, options)
    if options.weights and resumed:
        log.warning("-w %s: passed over, the run goes on with the weights of its resume point", options.weights)
    framework = _network(config, options, folder.classes, pipelines, resumed)
    grid = shapes_of(config, options, pipelines)
    loader = loader_for(config, "train", framework.num_classes, seed, folder.classes, pipelines.get("train"), grid)
    rates = distributed.gather(frame_rates(loader) if distributed.is_main() else None)[0]
    if rates:
        folder.input[FPS] = rates
        if "valid" in pipelines:  # its videos of another rate get a remark
            pipelines["valid"].learned_fps = tuple(rates)
        if options.weights and not resumed:
            compare_rates(rates, options.weights, log.warning)
    log_data(loader, "train", folder.classes)
    accumulate = _accumulation(settings)
    batches = loader.num_batches(0)
    if accumulate > batches:
        log.warning(
            "GRADIENT_ACCUMULATION: %d batches per step, and an epoch has %d: it is one step", accumulate, batches
        )

    def steps_in(epoch: int) -> int:
        count = loader.num_batches(epoch)
        return math.ceil(min(count, options.max_iters or count) / accumulate)

    schedule = _schedule(config, options, steps_in, accumulate, grid)
    precision = Precision(options.amp, options.amp_level, options.amp_dtype, options.amp_black_list)
    section = {key: value for key, value in config.section("OPTIMIZER").items() if key != "base_batch_size"}
    optimizer = build_optimizer(section, schedule, framework, precision.multi_precision, framework.networks())
    log.info("%s", describe_groups(optimizer, framework))
    framework, optimizer = precision.prepare(framework, optimizer)
    model = distributed.parallel(framework)
    trainer = Trainer(
        config, options, pipelines, framework, model, loader, schedule, optimizer, precision, folder, accumulate, seed,
        grid,
    )  # fmt: skip
    trainer.hooks = [hook for kind in HOOKS if (hook := kind.from_run(trainer)) is not None]
    return trainer


def _note_flags(settings: Settings, options: Options) -> None:
    if options.fleet:
        log.info("--fleet: collective data parallelism is what the launcher's ranks do here anyway")
    if settings.to_static:
        log.info("to_static: passed over; networks train in dygraph, which was measured to be as fast")


def _network(
    config: Config, options: Options, classes: Classes, pipelines: Mapping[str, Pipeline], resumed: bool
) -> Any:
    """The network with the weights it starts from, its classes compared with the training's."""
    framework = network(config, pipelines, pretrained=not (options.weights or resumed))
    if options.weights and not resumed:
        report = load_weights(framework, options.weights, strict=False, allow_head_mismatch=True)
        log.info("Finetune from checkpoint: %s\n%s", options.weights, report)
        compare_start(classes, options.weights, options.weights, False, log.info)
        compare_input(pipelines, options.weights, False, log.warning, model=config.section("MODEL"))
    for where, (file, teaches) in framework.start_files().items():
        compare_start(classes, file, f"{where}: {file}", teaches, log.info)
        compare_input(pipelines, file, teaches, log.warning, f"{where}: {file}")
    for where, file in [] if resumed else pretrained_files(config.section("MODEL")):
        compare_input(pipelines, file, False, log.warning, f"{where}: {file}")
    check_count(config, framework.num_classes, classes)
    framework.check_losses()
    return _sync_batch_norm(framework) if config.settings.sync_bn else framework


def _schedule(
    config: Config, options: Options, steps_in: Callable[[int], int], accumulate: int, grid: Multigrid | None
) -> RateOfRun:
    """OPTIMIZER.learning_rate, and from the first averaged epoch on SWA.lr, where there is one.

    Args:
        steps_in: epoch -> its optimizer steps.
        grid: of multigrid training, which has rates for its shapes.
    """
    epochs, swa, section = config.settings.epochs, config.settings.swa, config.section("OPTIMIZER")
    if epochs is None:
        raise UserError(f"{config.source}: epochs: is missing; training needs it")
    steps_per_epoch = steps_in(0)
    if grid is None:
        schedule: RateOfRun = build_lr(section["learning_rate"], steps_per_epoch, epochs)
    else:
        rates = grid.learning_rate(section["learning_rate"])
        schedule = UnevenSchedule(build_lr(rates, steps_per_epoch, grid.epochs), steps_in)
    if swa is not None and swa.lr is not None:
        before = swa.first_epoch(epochs) - 1
        after = build_lr(swa.lr, steps_per_epoch, epochs - before, "SWA.lr")
        schedule = SequentialSchedule(schedule, after, before)
    if options.scale_lr:
        schedule = ScaledSchedule(schedule, _rate_factor(config.settings, section.get("base_batch_size"), accumulate))
    for line in unread_remarks(config) + length_remarks(config, steps_per_epoch):
        log.warning("%s", line)
    return schedule


def _start(
    folder: RunFolder, options: Options, resume_epoch: int
) -> tuple[checkpoint.ResumePoint | None, Sequence[str]]:
    """What to continue from (None: the beginning), and the files of another run that this one would overwrite.

    Raises:
        UserError: on every rank: there is such work and no ``--overwrite``, or nothing valid to resume.
    """
    point: checkpoint.ResumePoint | None = None

    def decide() -> tuple[str | None, list[str], str]:
        nonlocal point
        point = _resume_point(folder, options.resume, resume_epoch)
        lost = folder.in_the_way(point, newest=options.resume == "auto")
        if lost and not options.overwrite:
            raise UserError(_refusal(folder, point, lost))
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


def _refusal(folder: RunFolder, point: checkpoint.ResumePoint | None, lost: list[str]) -> str:
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


def _seed(given: int | None, point: checkpoint.ResumePoint | None) -> int:
    """A resumed run keeps its own seed, by which shuffling, augmentation and dropout are keyed."""
    if point is None:
        return DEFAULT_SEED if given is None else given
    if "seed" not in point.state:
        raise UserError(f"{point.stem}: the resume point is incomplete: 'seed' is missing")
    seed = point.state["seed"]
    if given not in (None, seed):
        log.warning("--seed %d is passed over: the resumed run has seed %d", given, seed)
    return seed


def _accumulation(settings: Settings) -> int:
    """Batches per optimizer step."""
    section = settings.accumulation
    per_step, total = _clips_per_batch(settings), section.global_batch_size
    if section.num_iters and total and section.num_iters * per_step != total:
        raise UserError(
            f"GRADIENT_ACCUMULATION: num_iters {section.num_iters} of batches of {per_step} are no global_batch_size "
            f"of {total}; give one of the two (-o GRADIENT_ACCUMULATION.global_batch_size=null takes num_iters)"
        )
    if section.num_iters or not total:
        return section.num_iters or 1
    if total % per_step:
        raise UserError(
            f"GRADIENT_ACCUMULATION.global_batch_size: {total} is no multiple of {per_step} "
            f"(DATASET.batch_size x {distributed.world_size()} ranks)"
        )
    return total // per_step


def _clips_per_batch(settings: Settings) -> int:
    """Of all ranks."""
    return settings.batches.batch_size * distributed.world_size()


def _rate_factor(settings: Settings, base_batch: int | None, accumulate: int) -> float:
    """The run's global batch, divided by the one that the rates are for."""
    if not base_batch:
        raise UserError("--scale_lr: OPTIMIZER.base_batch_size is missing: the global batch the rates were set for")
    batch = _clips_per_batch(settings) * accumulate
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
