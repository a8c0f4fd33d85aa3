"""YAML -> plain mappings, with the file and line that every key came from.

Differs from a bare ``yaml.safe_load`` in four ways: ``1e-4`` is a number (YAML 1.1 wants ``1.0e-4``), a key given twice
is an error, quoted numbers and tuples such as ``"(256, 320)"`` are read as PaddleVideo reads them, and the size of a
document is bounded, so that an alias bomb ends with a message.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import yaml

from paddlevideo.errors import ConfigError, UserError

_MAX_NODES = 100_000
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
# sections that this suite reads past; a repeated key in them harms nobody
_UNREAD = ("INFERENCE",)


class _Loader(yaml.SafeLoader):
    """Safe loader that knows ``1e-4``."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

Lines = dict[str, str]


def join(path: str, key: object) -> str:
    """Key path of a child: ``a.b`` for mappings, ``a[0]`` for lists."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def read_yaml(file: Path) -> tuple[dict[str, Any], Lines]:
    """The mapping a YAML file holds, and ``file:line`` for every key path in it.

    Raises:
        UserError: no such file.
        ConfigError: it is not YAML, not a mapping, has a key twice, or uses a tag beyond plain data.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such configuration file")
    try:
        loader = _Loader(file.read_text(encoding="utf-8-sig"))
        node = loader.get_single_node()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), [_first_line(error)]) from None
    reader = _Reader(loader, file)
    value = reader.value(node, "", 0) if node is not None else {}
    if not isinstance(value, dict):
        reader.problems.append("the top level must be a mapping of sections")
    if reader.problems:
        raise ConfigError(str(file), reader.problems)
    return value, reader.lines


def parse_value(text: str) -> Any:
    """The value part of ``-o key=value``: YAML data; other text stays as it is, and nothing is the empty text."""
    if not text.strip():
        return ""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:  # a comment alone
            return text
        reader = _Reader(loader, Path("-o"))
        value = reader.value(node, "", 0)
    except yaml.YAMLError:
        return text
    return text if reader.problems else value


class _Reader:
    """Walks a composed YAML document."""

    def __init__(self, loader: yaml.SafeLoader, file: Path):
        self.loader, self.file = loader, file
        self.lines: Lines = {}
        self.problems: list[str] = []
        self.nodes = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > _MAX_NODES or depth > 50:
            raise ConfigError(str(self.file), [f"more than {_MAX_NODES} values or 50 levels: not a configuration"])
        self.lines[path] = f"{self.file}:{node.start_mark.line + 1}"
        if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
            return [self.value(child, join(path, i), depth + 1) for i, child in enumerate(node.value)]
        try:
            if isinstance(node, yaml.ScalarNode):
                return _as_paddlevideo(self.loader.construct_object(node))
        except (yaml.YAMLError, ValueError) as error:
            self.problems.append(f"{path} (line {node.start_mark.line + 1}): {_first_line(error)}")
            return None
        self.problems.append(f"{path} (line {node.start_mark.line + 1}): the tag {node.tag!r} is not plain data")
        return None

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        own = {id(key) for key, _ in node.value}
        self.loader.flatten_mapping(node)  # puts what '<<' brings before the mapping's own keys, which win
        result: dict[str, Any] = {}
        given: set[str] = set()
        for key_node, value_node in node.value:
            key = self.loader.construct_object(key_node)
            if not isinstance(key, str):
                key = str(key)
            where = join(path, key)
            line = key_node.start_mark.line + 1
            if key in given and where.split(".")[0] not in _UNREAD:
                self.problems.append(f"{where}: given twice, at {self.lines[where]} and line {line}")
            if id(key_node) in own:
                given.add(key)
            result[key] = self.value(value_node, where, depth + 1)
            self.lines[where] = f"{self.file}:{line}"
        return result


def _as_paddlevideo(value: Any) -> Any:
    """PaddleVideo evaluates every string that reads as a literal; the harmless part of that: numbers and sequences."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _NUMBER.match(text) or text[:1] in ("(", "["):
        try:
            literal = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
        return list(literal) if isinstance(literal, tuple) else literal
    return value


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())
