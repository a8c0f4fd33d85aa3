"""Arguments of transforms that a file may give to its data set.

PaddleVideo's SlowFast files state the views of a test in DATASET.test (``num_ensemble_views``, ``num_spatial_crops``).
Here transforms make views, and an export holds PIPELINE alone, so the numbers are written into it when a file is read.
A transform's class names such arguments in ``follows``: argument -> key path, ``{split}`` is the pipeline's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paddlevideo.config.reading import join
from paddlevideo.registry import TRANSFORMS


def fill_from_data(data: dict[str, Any]) -> None:
    """Sets, in place, each argument of PIPELINE that is left out and that the data set states.

    An argument that is written stays; ``config.checking`` compares it with the data set's.
    """
    pipelines = data.get("PIPELINE")
    for split, steps in (pipelines if isinstance(pipelines, Mapping) else {}).items():
        for key, spec in (steps if isinstance(steps, Mapping) else {}).items():
            for _, name, arguments in operators(spec, f"PIPELINE.{split}.{key}"):
                for argument, path in followed(name, split).items():
                    value = value_at(data, path)
                    if value is not None and isinstance(arguments, dict):
                        arguments.setdefault(argument, value)


def followed(name: Any, split: str) -> dict[str, str]:
    """Argument -> key path, of a transform of one pipeline."""
    known = isinstance(name, str) and name in TRANSFORMS
    table = TRANSFORMS.entry(name).constants.get("follows", {}) if known else {}
    return {argument: path.format(split=split) for argument, path in table.items()}


def value_at(data: Any, path: str) -> Any:
    """The value at a key path of mappings; None where there is none."""
    for part in path.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def operators(spec: Any, where: str) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Key path, class name and arguments of a step's operators; what is no operator is left out."""
    if isinstance(spec, Mapping):
        yield where, spec.get("name"), spec
    for i, item in enumerate(spec if isinstance(spec, list) else ()):
        for name, arguments in item.items() if isinstance(item, Mapping) else ():
            yield join(where, i), name, arguments if isinstance(arguments, Mapping) else {}
