"""YAML -> plain mappings, with the file and line that every key came from.

Differs from a bare ``yaml.safe_load`` in five ways: ``1e-4`` is a number (YAML 1.1 needs ``1.0e-4``); ``010`` and
``1:30``, there 8 and 90, are errors, and text in ``-o``; a key given twice is an error; quoted numbers and tuples such
as ``"(256, 320)"`` are read as PaddleVideo reads them; and the size of a document is bounded while it is parsed, so
that bombs of any kind end with a message.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import yaml

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.out_of_scope import placeholder_line

_MAX_BYTES = 1 << 24
_MAX_NODES = 100_000
_MAX_DEPTH = 50
_MAX_LITERAL = 10_000  # letters of a quoted number or sequence
_MERGE = "tag:yaml.org,2002:merge"
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_OTHER_BASE = re.compile(r"^[-+]?(0[0-7_]+$|[0-9][0-9_.]*:)")  # 010 is 8 and 1:30 is 90 in YAML 1.1, of base 8 and 60
_PLACEHOLDER = "PLACEHOLDER"  # the whole text of some of PaddleVideo's files
# sections that this suite ignores; a repeated key in them is harmless
_UNREAD = ("INFERENCE",)


class _PlainLoader(yaml.SafeLoader):
    """Safe loader that stops where a document is larger or deeper than any configuration."""

    def __init__(self, text: str, file: Path):
        self._file, self._nodes, self._depth = file, 0, 0
        super().__init__(text)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        self._depth += 1
        self.count(1, self._depth)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def count(self, nodes: int, depth: int) -> None:
        """Takes so many nodes, at this depth, from what a document may have."""
        self._nodes += nodes
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            text = f"more than {_MAX_NODES} values or {_MAX_DEPTH} levels: not a configuration"
            raise ConfigError(str(self._file), [text])

    def merged(self, node: yaml.MappingNode, depth: int = 0) -> list[tuple[yaml.Node, yaml.Node]]:
        """The pairs of a mapping, those that '<<' brings before its own, which win."""
        self.count(len(node.value), depth)
        brought: list[tuple[yaml.Node, yaml.Node]] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                bases = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for base in reversed(bases):  # of several, the first wins
                    if not isinstance(base, yaml.MappingNode):
                        line = base.start_mark.line + 1
                        raise ConfigError(str(self._file), [f"line {line}: '<<' expects a mapping or a list of them"])
                    brought += self.merged(base, depth + 1)
                    self.count(len(brought), depth)
        return brought + [pair for pair in node.value if pair[0].tag != _MERGE]


class _Loader(_PlainLoader):
    """Reads ``1e-4`` as a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

Lines = dict[str, str]


def join(path: str, key: object) -> str:
    """Key path of a child: ``a.b`` for mappings, ``a[0]`` for lists."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def read_yaml(file: Path, plain: bool = False) -> tuple[dict[str, Any], Lines]:
    """The mapping a YAML file holds, and ``file:line`` for every key path in it.

    Args:
        plain: a file of the suite's own: YAML as it is, quoted numbers and sequences stay text.

    Raises:
        UserError: no such file.
        ConfigError: it is not YAML, not a mapping, has a key twice, a number of base 8 or 60 (``010``, ``1:30``), or
            uses a tag beyond plain data.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such configuration file")
    size = file.stat().st_size
    if size > _MAX_BYTES:
        raise ConfigError(str(file), [f"{size} bytes, expected at most {_MAX_BYTES}: not a configuration"])
    try:
        loader = (_PlainLoader if plain else _Loader)(file.read_text(encoding="utf-8-sig"), file)
        node = loader.get_single_node()
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    except Exception as error:  # PyYAML raises many kinds
        raise ConfigError(str(file), [f"not YAML ({_first_line(error)})"]) from None
    reader = _Reader(loader, file, plain)
    value = reader.value(node, "", 0) if node is not None else {}
    if value == _PLACEHOLDER:
        raise UserError(f"{file}: {placeholder_line(file.stem)}")
    if not isinstance(value, dict):
        reader.problems.append("the top level must be a mapping of sections")
    if reader.problems:
        raise ConfigError(str(file), reader.problems)
    return value, reader.lines


def parse_value(text: str) -> Any:
    """The value part of ``-o key=value``: YAML data; other text stays as it is, ``010`` too, and nothing is the empty
    text."""
    if not text.strip():
        return ""
    try:
        loader = _Loader(text, Path("-o"))
        node = loader.get_single_node()
    except UserError:
        raise
    except Exception:  # PyYAML raises many kinds
        return text
    if node is None:  # a comment alone
        return text
    reader = _Reader(loader, Path("-o"))
    value = reader.value(node, "", 0)
    return text if reader.problems else value


class _Reader:
    """Walks a composed YAML document."""

    def __init__(self, loader: _PlainLoader, file: Path, plain: bool = False):
        self.loader, self.file, self.plain = loader, file, plain
        self.lines: Lines = {}
        self.problems: list[str] = []
        self.loader._nodes = 0  # aliases make more of them than were composed

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        self.loader.count(1, depth)
        self.lines[path] = f"{self.file}:{node.start_mark.line + 1}"
        if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
            return [self.value(child, join(path, i), depth + 1) for i, child in enumerate(node.value)]
        value = self._scalar(node, path)
        return value if self.plain else _as_paddlevideo(value)

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        where = f"{path} (line {node.start_mark.line + 1})".lstrip()
        if not isinstance(node, yaml.ScalarNode):
            self.problems.append(f"{where}: {node.tag!r} is not plain data here")
            return None
        try:
            value = self.loader.construct_object(node)
            if not self.plain and node.style is None and type(value) in (int, float) and _OTHER_BASE.match(node.value):
                self.problems.append(f"{where}: YAML reads {node.value} as the number {value}; write that, or quote it")
            return value
        except Exception as error:  # yaml.YAMLError, ValueError, KeyError, IndexError: by the tag
            self.problems.append(f"{where}: {node.value!r:.80} is no {node.tag!r} ({_first_line(error):.200})")
            return None

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        own = {id(key) for key, _ in node.value}
        result: dict[str, Any] = {}
        given: set[str] = set()
        for key_node, value_node in self.loader.merged(node, depth):
            key = self._scalar(key_node, path)
            if not isinstance(key, str) and not self.plain:
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
    if len(text) <= _MAX_LITERAL and (_NUMBER.match(text) or text[:1] in ("(", "[")):
        try:
            literal = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
        return list(literal) if isinstance(literal, tuple) else literal
    return value


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())
