"""Inheritance (``_base_``) and command-line overrides (``-o a.b.0.c=value``)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from paddlevideo.config.finding import find_config
from paddlevideo.config.reading import Lines, join, parse_value, read_yaml
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.registry import suggest

_MAX_LEVELS = 2
_CLASS_KEYS = ("name", "framework", "format")


def read_with_bases(file: Path, level: int = 0) -> tuple[dict[str, Any], Lines]:
    """A configuration file merged over its ``_base_`` files, in their order.

    Raises:
        ConfigError: more than two levels of inheritance, or a base that is not there.
    """
    data, lines = read_yaml(file)
    bases = data.pop("_base_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if bases and level >= _MAX_LEVELS:
        raise ConfigError(
            str(file), [f"_base_: more than {_MAX_LEVELS} levels of inheritance; name the bases directly"]
        )
    merged: dict[str, Any] = {}
    merged_lines: Lines = {}
    for base in bases:
        try:
            path = find_config(base, file.parent)
        except UserError as error:
            raise ConfigError(str(file), [f"_base_: {error}"]) from None
        base_data, base_lines = read_with_bases(path, level + 1)
        merged = merge(merged, base_data)
        merged_lines.update(base_lines)
    return merge(merged, data), {**merged_lines, **lines}


def merge(base: Any, child: Any) -> Any:
    """Mappings merge key by key, everything else replaces.

    A mapping that names another class replaces the base's whole: arguments belong to the class that takes them.
    """
    if not (isinstance(base, dict) and isinstance(child, dict)):
        return copy.deepcopy(child)
    for key in _CLASS_KEYS:
        if key in child and key in base and child[key] != base[key]:
            return copy.deepcopy(child)
    result = copy.deepcopy(base)
    for key, value in child.items():
        result[key] = merge(result[key], value) if key in result else copy.deepcopy(value)
    return result


def override(data: dict[str, Any], assignment: str, creatable: tuple[str, ...]) -> tuple[str, str | None]:
    """Sets one ``a.b.0.c=value`` in place.

    The last key may be new (whether it is known is for the check to say); the way to it must exist, except that the
    sections in ``creatable`` come into being.

    Returns:
        (key path, problem or None)
    """
    path, equals, text = assignment.partition("=")
    path = path.strip()
    if not equals or not path:
        return path, f"-o {assignment}: expected key.path=value"
    keys = path.split(".")
    node: Any = data
    where = ""
    for i, key in enumerate(keys[:-1]):
        child_where = join(where, int(key) if isinstance(node, list) and key.isdigit() else key)
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                return path, f"-o {path}: {where} is a list of {len(node)}; {key!r} is no index of it"
            key = int(key)
        elif isinstance(node, dict):
            if key not in node and (i > 0 or key not in creatable):
                return path, f"-o {path}: there is no {child_where}{suggest(key, node)}"
            if node.get(key) is None:
                node[key] = {}  # '- RandomFlip:' has no arguments yet
        else:
            return path, f"-o {path}: {where} is the value {node!r}, which has no parts"
        node, where = node[key], child_where
    last = keys[-1]
    if isinstance(node, list):
        if not last.isdigit() or int(last) >= len(node):
            return path, f"-o {path}: {where} is a list of {len(node)}; {last!r} is no index of it"
        node[int(last)] = parse_value(text)
    elif isinstance(node, dict):
        node[last] = parse_value(text)
    else:
        return path, f"-o {path}: {where} is the value {node!r}, which has no parts"
    return join(where, int(last) if isinstance(node, list) else last), None
