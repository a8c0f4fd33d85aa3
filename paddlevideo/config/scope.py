"""Configurations of models that this suite does not have on purpose: one line in place of all the mistakes in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paddlevideo.out_of_scope import family_line
from paddlevideo.registry import BACKBONES, DATASETS, FRAMEWORKS, HEADS, Registry

_SPLITS = ("train", "valid", "test")


def out_of_scope_line(data: Mapping[str, Any]) -> str | None:
    """Key path and family of the first class that belongs to a model out of scope; None: there is none.

    A registered class of such a name, also of a user's own file, is in scope.
    """
    for where, registry, name in _classes(data):
        line = family_line(name) if isinstance(name, str) and name not in registry else None
        if line:
            return f"{where}: {line}"
    return None


def _classes(data: Mapping[str, Any]) -> Iterator[tuple[str, Registry, Any]]:
    """Key path, registry and name of the classes that decide what a configuration is, the most telling first."""
    model = _mapping(data.get("MODEL"))
    yield "MODEL.framework", FRAMEWORKS, model.get("framework")
    for key, registry in (("backbone", BACKBONES), ("head", HEADS)):
        yield f"MODEL.{key}.name", registry, _mapping(model.get(key)).get("name")
    dataset = _mapping(data.get("DATASET"))
    for split in _SPLITS:
        yield f"DATASET.{split}.format", DATASETS, _mapping(dataset.get(split)).get("format")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
