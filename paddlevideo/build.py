"""From a configuration to its network: what training, testing, export and prediction build alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddlevideo.classes import class_counts, classes_of_config, settled
from paddlevideo.config import Config
from paddlevideo.config.checking import AUTO
from paddlevideo.errors import ConfigError
from paddlevideo.loader.pipelines import Pipeline

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
