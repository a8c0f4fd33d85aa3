"""Builds the parts of a configuration: the one assembler under training, testing, export, prediction and reports.

Pipelines, network, loaders and metric, and what they agree on: one way of normalising, one order of classes.  In
front of it, ``load_run_config`` reads a run's configuration and finds its mistakes without Paddle.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.classes import (
    UNKNOWN,
    Classes,
    agreed,
    check_count,
    class_counts,
    classes_of_config,
    count_key,
    counted,
    in_archives,
    names_in,
    order_in,
    settled,
    source_of,
)
from paddlevideo.config import Config, load_config
from paddlevideo.config.checking import AUTO, SPLITS, pipeline_problems
from paddlevideo.config.config import Assigned
from paddlevideo.environment import rank, world_size
from paddlevideo.errors import ConfigError, UserError, printable
from paddlevideo.loader.class_balance import DEFAULT_POWER, class_weights, counts_of, read_class_weights
from paddlevideo.loader.datasets.lists import expanded
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.metrics.topk import is_trivial
from paddlevideo.multigrid import Multigrid
from paddlevideo.network_input import compare_input, input_problems, set_rates
from paddlevideo.ranges import suggest
from paddlevideo.registry import DATASETS, METRICS
from paddlevideo.solver.check import check_lr, check_optimizer
from paddlevideo.solver.lengths import Run, broken, differences

log = logging.getLogger("paddlevideo")

_WEIGHTS = "class_weights"  # key of losses, and of a detector's box head
_LISTED, _SHOWN = 20, 5  # classes that a line names

Normalization = tuple[Any, Any]  # mean and std, float32 [3] each, on the 0..1 scale


def pipelines_of(config: Config) -> dict[str, Pipeline]:
    """Every pipeline of PIPELINE, by its split; a command builds them once and hands them on.

    Raises:
        ConfigError: there is no PIPELINE, or an operator rejects its arguments.
    """
    return {split: Pipeline(steps, f"PIPELINE.{split}") for split, steps in config.section("PIPELINE").items()}


def network(config: Config, pipelines: Mapping[str, Pipeline] | None = None, pretrained: bool = True) -> Any:
    """The framework of MODEL, which normalises as the pipelines state.

    Args:
        pipelines: of ``pipelines_of``; None builds them.
        pretrained: False drops ``MODEL.backbone.pretrained`` and its like: the weights come from elsewhere.

    Class weights of a loss that are not numbers yet are left out: training has replaced them (``weighted``), and
    nothing else computes the loss.
    """
    from paddlevideo.modeling.frameworks.build import build_framework, without_start_weights

    normalization = _normalization_of(config, pipelines)
    model = _without_unresolved(_settled(config, "train").section("MODEL"))
    if not pretrained:
        model = without_start_weights(model)
    return build_framework(model, normalization=normalization)


def deployed_network(config: Config, pipelines: Mapping[str, Pipeline] | None = None) -> Any:
    """What of MODEL is tested and exported, without weights; of a distillation the student alone.

    Args:
        pipelines: of ``pipelines_of``; None builds them.
    """
    from paddlevideo.modeling.frameworks.build import build_deployed

    model = _without_unresolved(_settled(config, "test").section("MODEL"))
    return build_deployed(model, normalization=_normalization_of(config, pipelines))


def trained_network(
    config: Config, weights: str | Path, say: Callable[[str], None], pipelines: Mapping[str, Pipeline] | None = None
) -> tuple[Config, Any, Classes]:
    """The deployed network with trained weights.

    Args:
        weights: ``.pdparams``.
        say: receives a line for each thing that is decided about classes and keys.
        pipelines: of ``pipelines_of``; None builds them.

    Returns:
        The configuration with its numbers of classes, the network, and what its class indices mean.

    Raises:
        UserError: the weights do not fit, or were trained on other classes than the configuration names.
    """
    from paddlevideo.modeling.weights import load_weights

    pipelines = pipelines_of(config) if pipelines is None else pipelines
    classes = agreed(config, weights, "test", say)
    compare_input(pipelines, weights, True, say, model=config.section("MODEL"))
    set_rates(pipelines, weights)
    config = settled(config, classes)
    framework = deployed_network(config, pipelines)
    say(str(load_weights(framework, weights)))
    check_count(config, framework.num_classes, classes, weights)
    return config, framework, classes


def loader_for(
    config: Config,
    split: str,
    num_classes: int,
    seed: int,
    classes: Classes = UNKNOWN,
    pipeline: Pipeline | None = None,
    grid: Multigrid | None = None,
) -> Any:
    """The loader of ``train``, ``valid`` or ``test``, this rank's share of it.

    Args:
        classes: what the network's class indices mean; labels come in this order.  Unknown: the configuration's.
        pipeline: PIPELINE.<split>; None builds it.
        grid: shapes of the clips of multigrid training.

    Raises:
        ConfigError: DATASET or PIPELINE has no such split.
        UserError: the data name other classes.
    """
    from paddlevideo.loader.build import build_loader

    pipelines = config.section("PIPELINE")
    sections = {"DATASET": config.section("DATASET"), "PIPELINE": pipelines}
    missing = [f"{name}.{split}: is missing" for name, section in sections.items() if split not in section]
    if missing:
        raise ConfigError(config.source, missing)
    training, batches = split == "train", config.settings.batches
    section, label_order = _by_name(config, split, classes)
    return build_loader(
        section,
        pipeline or pipelines[split],
        split,
        seed=seed,
        num_classes=counted(config, num_classes),
        batch_size=batches.batch_size_of(split),
        num_workers=batches.num_workers_of(split),
        rank=rank(),
        world_size=world_size(),
        shuffle=training or (split == "valid" and batches.shuffle_valid),
        drop_last=training and batches.drop_last,
        mix=config.section("MIX") if training and "MIX" in config else None,
        label_order=label_order,
        grid=grid,
    )


def weighted(config: Config, classes: Classes, say: Callable[[str], None]) -> Config:
    """The configuration with numbers in place of each ``class_weights`` of MODEL that is ``auto``, ``{power: P}`` or a
    file.

    Args:
        classes: of the training.
        say: receives a line for each.

    Raises:
        ConfigError: a file holds no weights; the number of classes is unknown.
    """
    data = config.to_dict()
    counts: Any = None
    for where, table in [*_unresolved(data["MODEL"], "MODEL")]:
        given, where = table[_WEIGHTS], f"{where}.{_WEIGHTS}"
        if isinstance(given, str) and given != AUTO:
            try:
                table[_WEIGHTS] = read_class_weights(given)
            except UserError as error:
                raise ConfigError(config.source, [f"{where}: {error}"]) from None
            say(f"{where}: {_weights_line(table[_WEIGHTS], None, classes)} ({given})")
            continue
        if counts is None:
            counts, of_boxes = training_counts(config, classes)
        power = given.get("power", DEFAULT_POWER) if isinstance(given, Mapping) else DEFAULT_POWER
        table[_WEIGHTS] = class_weights(counts, power, of_boxes)
        say(f"{where}: power {power:g}: {_weights_line(table[_WEIGHTS], counts, classes)}")
        empty = [k for k in range(int(of_boxes), len(counts)) if not counts[k]]
        if empty:
            shown = ", ".join(_class_name(k, classes) for k in empty[:_SHOWN]) + ", ..." * (len(empty) > _SHOWN)
            what = "classes without a training sample have" if len(empty) > 1 else "class without a training sample has"
            say(f"{where}: {len(empty)} {what} weight {0 if of_boxes else 1}: {shown}")
    return Config(data, config.source)


def training_counts(config: Config, classes: Classes) -> tuple[Any, bool]:
    """Samples per class of DATASET.train, int64 [K], in the order of ``classes``; and whether they are of boxes.

    They are those that are trained on: with ``missing: skip`` samples without their file do not count.

    Raises:
        UserError: there is no DATASET.train, or MODEL does not state the number of classes.
    """
    from paddlevideo.loader.build import present_dataset

    if "train" not in config.section("DATASET"):
        raise UserError(f"{config.source}: there is no DATASET.train to count in")
    count = next((value for value in class_counts(settled(config, classes)).values() if isinstance(value, int)), None)
    section, order = _by_name(config, "train", classes)
    has_boxes = DATASETS.get(section["format"]).has_boxes
    if count is None and not has_boxes:
        raise ConfigError(config.source, [f"{count_key(config)}: is missing; the number of classes is needed"])
    counts = counts_of(present_dataset(section, "train", count and counted(config, count)), count or 0)
    if order is not None:
        counts = counts[[order.index(k) for k in range(len(order))]]
    return counts, has_boxes


def _unresolved(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key path and mapping of each ``class_weights`` of MODEL that is not numbers yet."""
    if isinstance(value, dict):
        if isinstance(value.get(_WEIGHTS), str | dict):
            yield where, value
        for key, inner in value.items():
            yield from _unresolved(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _unresolved(inner, f"{where}[{i}]")


def _without_unresolved(model: dict[str, Any]) -> dict[str, Any]:
    """MODEL without each ``class_weights`` that is not numbers yet."""
    for _, table in [*_unresolved(model, "MODEL")]:
        del table[_WEIGHTS]
    return model


def _weights_line(weights: Sequence[float], counts: Any, classes: Classes) -> str:
    shown = [
        f"{_class_name(k, classes)} {weight:g}" + ("" if counts is None else f" of {counts[k]} samples")
        for k, weight in enumerate(weights[:_LISTED])
    ]
    rest = weights[_LISTED:]
    return ", ".join(shown) + (f", ... and {len(rest)} more from {min(rest):g} to {max(rest):g}" if rest else "")


def _class_name(k: int, classes: Classes) -> str:
    return f"{k} ({printable(classes.names[k])})" if classes.names and k < len(classes.names) else str(k)


def metric_for(config: Config) -> Any:
    """A fresh metric of METRIC; top-k where the section is missing."""
    return METRICS.build(_metric(config), "METRIC")


def monitor_problem(config: Config, metric: Any, names: Sequence[str]) -> str | None:
    """The line about a ``monitor`` that is none of a metric's figures; None: it is one, or there is no ``monitor``."""
    monitor = config.settings.monitor
    counts = [count for count in class_counts(config).values() if isinstance(count, int)]
    if monitor in names and counts and is_trivial(monitor, max(counts)):
        return f"monitor: {monitor} of {max(counts)} classes is 1 after every epoch; there are: {', '.join(names)}"
    if monitor is None or monitor in names:
        return None
    near_one = suggest(monitor, names, listed=False)
    return f"monitor: {monitor!r} is no figure of {type(metric).__name__}{near_one}; there are: {', '.join(names)}"


def monitor_findings(config: Config) -> list[str]:
    """A ``monitor`` that is no figure of a shipped metric; a user's own, which is not run here, is measured when
    training begins."""
    shipped = METRICS.entry(_metric(config)["name"]).module.startswith("paddlevideo.")
    if config.settings.monitor is None or not shipped:
        return []
    metric, section = metric_for(config), (config.to_dict().get("DATASET") or {}).get("valid") or {}
    takes = DATASETS.entry(section["format"]).parameters if section.get("format") in DATASETS else None
    states = any(parameter.name == "multi_label" for parameter in takes or ())
    names = metric.figure_names(section.get("multi_label", False) if states else None)
    line = None if names is None else monitor_problem(config, metric, names)
    return [] if line is None else [line]


def _metric(config: Config) -> Mapping[str, Any]:
    return config.get("METRIC") or {"name": "CenterCropMetric"}


def _by_name(config: Config, split: str, classes: Classes) -> tuple[dict[str, Any], list[int] | None]:
    """DATASET.<split> such that labels come in the order of ``classes``, and the order that is left to the loader.

    Raises:
        UserError: the data name other classes.
    """
    section, own = config.section("DATASET")[split], classes_of_config(config, split)
    classes = classes if classes.count else own
    if in_archives(section):  # with names of their own, labels are mapped to the given ones, as those of folders
        folder = names_in(section) is not None
    else:
        folder = os.path.isdir(expanded(section.get("file_path")) or "")
    order = None
    if not (folder and split != "train" and not config["DATASET"].get("label_names")):  # else by its own folders
        order = order_in(classes, own, "the training", f"{config.source}: {source_of(config, split)}")
    if order is not None and split != "test":  # a test has logged it for the weights
        log.info("DATASET.%s names the classes in another order than the training; they are mapped by name", split)
    if classes.ids:
        if order is not None:
            ids = {place: own.ids[k] for k, place in enumerate(order)}
            section["custom_classes"] = [ids[place] for place in range(1, len(order))]
        return section, None
    names = classes.names if folder else own.names or classes.names  # in which a list's labels are written
    taken = {parameter.name for parameter in DATASETS.entry(section["format"]).parameters or ()}
    if names and "class_names" in taken:
        section.setdefault("class_names", list(names))
    return section, None if folder else order


def _settled(config: Config, split: str) -> Config:
    """With a number for ``num_classes: auto`` where the caller has not put that of the weights."""
    return settled(config, classes_of_config(config, split)) if AUTO in class_counts(config).values() else config


def _normalization_of(config: Config, pipelines: Mapping[str, Pipeline] | None) -> Normalization | None:
    return normalization_of(pipelines_of(config) if pipelines is None else pipelines, config.source)


def normalization_of(pipelines: Mapping[str, Pipeline], source: str) -> Normalization | None:
    """The one rule: what the network does to the clips of these pipelines, or None if it takes them as they are.

    A network normalises in one way.  So all pipelines that leave it to the device name the same mean and std, and one
    without any Normalization gets the others'.  Pipelines that normalise by themselves go with no others.

    Args:
        pipelines: by name, for the message.
        source: the file they are from.

    Raises:
        ConfigError: they do not agree.
    """
    left = {name: p.normalization for name, p in pipelines.items() if p.normalization is not None}
    by_themselves = [name for name, p in pipelines.items() if p.normalizes]
    others = [name for name in pipelines if name not in by_themselves]
    if by_themselves and others:
        raise ConfigError(
            source,
            [
                f"PIPELINE: {', '.join(by_themselves)} normalises by itself (device: False, or an own operator), "
                f"{', '.join(others)} does not; the network would take one for the other. Write it the same way in all"
            ],
        )
    pairs = {name: (op.mean, op.std) for name, op in left.items()}
    listing = {name: f"mean {_listed(mean)} std {_listed(std)}" for name, (mean, std) in pairs.items()}
    if len(set(listing.values())) > 1:
        text = "; ".join(f"{name}: {value}" for name, value in listing.items())
        raise ConfigError(source, [f"PIPELINE: Normalization differs between pipelines ({text})"])
    return next(iter(pairs.values()), None)


def _listed(values: Any) -> str:
    """Float32 numbers as one writes them: 0.45, not 0.44999998807907104; different ones differ."""
    return f"[{', '.join(str(value) for value in values)}]"


def load_run_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    uses: Sequence[str] = SPLITS,
    imports: Sequence[str] = (),
    quantises: bool = False,
) -> Config:
    """The configuration of a training or test run, its OPTIMIZER and SWA.lr checked with the rest; imports no Paddle.

    Args:
        uses: the pipelines that the command runs: a test's network need not fit PIPELINE.train, nor its schedule.
        imports: modules with a user's own classes, besides those that the file imports.
        quantises: as of ``config.load_config``.

    Raises:
        ConfigError: every mistake of it.
    """
    checks = (_optimizer, _normalization, *([_lengths] if "train" in uses else []))
    return load_config(path, overrides, checks=checks, uses=uses, imports=imports, quantises=quantises)


def unread_remarks(config: Mapping[str, Any]) -> list[str]:
    """One line for each section of PaddleVideo that is accepted and not read."""
    line = "DALI_LOADER: is not read; DATASET.train and PIPELINE.train are, with frames decoded on the CPU"
    return [line] if "DALI_LOADER" in config else []


def length_remarks(config: Mapping[str, Any], steps_per_epoch: int | None = None) -> list[str]:
    """One line for each length of a schedule that is not the run's (``solver.lengths``)."""
    schedules = list(_schedules(config, config.get("epochs")))
    return [
        line
        for where, section, epochs in schedules
        for line in differences(section, where, Run(epochs, steps_per_epoch))
    ]


def data_findings(config: Config, splits: Sequence[str]) -> list[str]:
    """Mistakes in the data of DATASET that show without reading samples, each with its key path."""
    dataset, counts = config.to_dict().get("DATASET") or {}, class_counts(config)
    count = next((value for value in counts.values() if isinstance(value, int)), None)
    known = None if count is None else counted(config, count)
    sections = {split: dataset[split] for split in splits if split in dataset}
    return [
        f"DATASET.{split}: {line}"
        for split, section in sections.items()
        if section.get("format") in DATASETS
        for line in DATASETS.get(section["format"]).findings(section, known)
    ] + _count_findings(config, counts, splits)


def _count_findings(config: Config, counts: Mapping[str, Any], splits: Sequence[str]) -> list[str]:
    """The number of classes against the names that DATASET gives, where they can be read here."""
    count = counts.get(count_key(config)) if counts else None
    if not isinstance(count, int):
        return []
    try:
        check_count(config, count, classes_of_config(config, "train" if "train" in splits else "test"))
    except ConfigError as error:
        return error.problems
    except UserError:
        return []  # said where they are used: a configuration may be checked without its data
    return []


def _optimizer(data: Mapping[str, Any], assigned: Assigned) -> list[str]:
    problems = check_optimizer(data["OPTIMIZER"]) if "OPTIMIZER" in data else []
    section = data.get("SWA")
    return problems + (check_lr(section["lr"], "SWA.lr") if isinstance(section, Mapping) and "lr" in section else [])


def _normalization(data: Mapping[str, Any], assigned: Assigned) -> list[str]:
    """The errors of building the pipelines, and of what they give: a network takes one kind of clip."""
    sections = data.get("PIPELINE")
    if not isinstance(sections, Mapping) or pipeline_problems(data, ()):
        return []
    pipelines, problems = {}, []
    for split, steps in sections.items():
        try:
            pipelines[split] = Pipeline(steps, f"PIPELINE.{split}")
        except ConfigError as error:
            problems += error.problems
    try:
        normalization_of(pipelines, "")
    except ConfigError as error:
        problems += error.problems
    return problems + input_problems(pipelines)


def _lengths(data: Mapping[str, Any], assigned: Assigned) -> list[str]:
    """The lengths that ``-o epochs=N`` leaves unchanged, of valid schedules."""
    before = assigned.file.get("epochs")
    if "epochs" not in assigned.paths or not _is_length(before) or _optimizer(data, assigned):
        return []
    lasted = {where: epochs for where, _, epochs in _schedules(assigned.file, before)}
    return [
        line
        for where, section, epochs in _schedules(data, data["epochs"])
        for line in broken(section, where, lasted.get(where, epochs), epochs, assigned.paths)
    ]


def _schedules(data: Mapping[str, Any], epochs: Any) -> Iterator[tuple[str, Any, int]]:
    """Key path and section of each schedule, and the epochs that it holds for."""
    optimizer, swa = data.get("OPTIMIZER"), data.get("SWA")
    if not _is_length(epochs):
        return
    if isinstance(optimizer, Mapping) and "learning_rate" in optimizer:
        yield "OPTIMIZER.learning_rate", optimizer["learning_rate"], epochs
    if isinstance(swa, Mapping) and "lr" in swa:
        start = swa.get("start_epoch")
        last = epochs - start + 1 if _is_length(start) else swa.get("last_epochs")
        if _is_length(last):
            yield "SWA.lr", swa["lr"], last


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
