"""From a configuration to its network: what training, testing, export and prediction build alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.classes import class_counts, classes_of_config, settled
from paddlevideo.config import Config, load_config
from paddlevideo.config.checking import AUTO, SPLITS, pipeline_problems
from paddlevideo.config.config import Assigned
from paddlevideo.errors import ConfigError
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.solver.check import Run, broken, check_lr, check_optimizer, differences

Normalization = tuple[Any, Any]  # mean and std, float32 [3] each, on the 0..1 scale


def network(config: Config, pretrained: bool = True) -> Any:
    """The framework of MODEL, normalising the way the pipelines say.

    Args:
        pretrained: False drops ``MODEL.backbone.pretrained`` and its like: the weights come from elsewhere.
    """
    from paddlevideo.modeling.frameworks.build import build_framework, without_start_weights

    model = _settled(config, "train").section("MODEL")
    if not pretrained:
        model = without_start_weights(model)
    return build_framework(model, normalization=normalization(config))


def deployed_network(config: Config) -> Any:
    """What of MODEL is tested and exported, without weights; of a distillation the student alone."""
    from paddlevideo.modeling.frameworks.build import build_deployed

    return build_deployed(_settled(config, "test").section("MODEL"), normalization=normalization(config))


def _settled(config: Config, split: str) -> Config:
    """With a number for ``num_classes: auto`` where the caller, who knows the weights' classes, has not put one."""
    return settled(config, classes_of_config(config, split)) if AUTO in class_counts(config).values() else config


def normalization(config: Config) -> Normalization | None:
    """How the network normalises: as all pipelines of the configuration say.

    Raises:
        ConfigError: they do not agree.
    """
    sections = config.section("PIPELINE")
    pipelines = {name: Pipeline(steps, f"PIPELINE.{name}") for name, steps in sections.items()}
    return normalization_of(pipelines, config.source)


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
    path: str | Path, overrides: Sequence[str] = (), uses: Sequence[str] = SPLITS, imports: Sequence[str] = ()
) -> Config:
    """The configuration of a training or test run, its OPTIMIZER and SWA.lr checked with the rest; imports no Paddle.

    Args:
        uses: the pipelines that the command runs: a test's network need not fit PIPELINE.train, nor its schedule.
        imports: modules with a user's own classes, besides those that the file imports.

    Raises:
        ConfigError: every mistake of it.
    """
    checks = (_optimizer, _normalization, *([_lengths] if "train" in uses else []))
    return load_config(path, overrides, checks=checks, uses=uses, imports=imports)


def length_remarks(config: Mapping[str, Any], steps_per_epoch: int | None = None) -> list[str]:
    """One line for each length of a schedule that is not the run's (``solver.check``)."""
    schedules = _schedules(config, config.get("epochs"))
    return [
        line
        for where, section, epochs in schedules
        for line in differences(section, where, Run(epochs, steps_per_epoch))
    ]


def _optimizer(data: Mapping[str, Any], assigned: Assigned) -> list[str]:
    problems = check_optimizer(data["OPTIMIZER"]) if "OPTIMIZER" in data else []
    section = data.get("SWA")
    return problems + (check_lr(section["lr"], "SWA.lr") if isinstance(section, Mapping) and "lr" in section else [])


def _normalization(data: Mapping[str, Any], assigned: Assigned) -> list[str]:
    """What the pipelines refuse when they are built, and how they normalise: a network does it in one way."""
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
    return problems


def _lengths(data: Mapping[str, Any], assigned: Assigned) -> list[str]:
    """The lengths that ``-o epochs=N`` leaves behind; of sound schedules alone."""
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
