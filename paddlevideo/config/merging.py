"""Inheritance (``_base_``), command-line overrides (``-o a.b.0.c=value``), and how two sections differ.

A mapping over a list of steps changes the steps that it names, each of which the list has once:

    transform:
        CenterCrop: {target_size: 256}                # other arguments
        CenterCrop: {name: TenCrop, crop_size: 224}   # or another class in its place
        Flip: null                                    # or no such step
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from paddlevideo.config.finding import find_config
from paddlevideo.config.reading import Lines, join, parse_value, read_yaml
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.registry import suggest

_MAX_LEVELS = 2
_CLASS_KEYS = ("name", "framework", "format")


def read_with_bases(file: Path, children: tuple[Path, ...] = ()) -> tuple[dict[str, Any], Lines]:
    """A configuration file merged over its ``_base_`` files, in their order.

    Args:
        children: the files whose base it is, outermost first.

    Raises:
        ConfigError: more than two levels of inheritance, or a base that is not there.
    """
    data, lines = read_yaml(file)
    bases = data.pop("_base_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if bases and len(children) >= _MAX_LEVELS:
        chain = " > ".join(path.name for path in (*children, file))
        raise ConfigError(
            str(children[0]),
            [f"_base_: more than {_MAX_LEVELS} levels of inheritance ({chain} > {bases[0]}); name the bases of "
             f"{children[0].name} directly"],
        )  # fmt: skip
    merge = Merge()
    merged: dict[str, Any] = {}
    for base in bases:
        try:
            path = find_config(base, file)
        except UserError as error:
            others = ", ".join(
                sorted(other.name for other in (file.parent / base).parent.glob("*.yaml") if other != file)
            )
            raise ConfigError(str(file), [f"_base_: {error}; beside it are: {others or 'no YAML files'}"]) from None
        base_data, base_lines = read_with_bases(path, (*children, file))
        merge.lines.update(base_lines)
        merged = merge(merged, base_data)
    merge.lines.update(lines)
    merged = merge(merged, data)
    if merge.problems:
        raise ConfigError(str(file), merge.problems)
    return merged, merge.lines


class Merge:
    """``Merge()(base, child)``: mappings merge key by key, everything else replaces.

    A mapping that names another class replaces the base's whole: arguments belong to the class that takes them.  A
    mapping over a list of steps changes the steps that it names.

    Attributes:
        lines: file and line of each key path; a changed list gets the places of its steps.
        problems: one line for each named step that cannot be changed.
    """

    def __init__(self, lines: Lines | None = None):
        self.lines: Lines = {} if lines is None else lines
        self.problems: list[str] = []

    def __call__(self, base: Any, child: Any, where: str = "", base_where: str | None = None) -> Any:
        """The merged value; neither argument is changed.

        Args:
            where: key path of ``child``, and of the result.
            base_where: key path of ``base``; None: the same.
        """
        base_where = where if base_where is None else base_where
        if isinstance(base, list) and isinstance(child, dict) and child and "name" not in child:
            return self._steps(base, child, where, base_where)
        if not (isinstance(base, dict) and isinstance(child, dict)):
            return copy.deepcopy(child)
        for key in _CLASS_KEYS:
            if key in child and key in base and child[key] != base[key]:
                own = {where, *_paths(child, where)}
                for path in [path for path in self.lines if path.startswith((f"{where}.", f"{where}["))]:
                    if path not in own:  # the place of a key of the base, which is gone
                        del self.lines[path]
                return copy.deepcopy(child)
        result = copy.deepcopy(base)
        for key, value in child.items():
            paths = join(where, key), join(base_where, key)
            result[key] = self(result[key], value, *paths) if key in result else copy.deepcopy(value)
        return result

    def _steps(self, base: list[Any], child: dict[str, Any], where: str, base_where: str) -> list[Any]:
        """``base``, a list of ``Name`` or ``{Name: arguments}``, with the changes of the steps that ``child`` names."""
        names = [next(iter(item)) if isinstance(item, dict) and len(item) == 1 else item for item in base]
        self.problems += _step_problems(names, child, where)
        result: list[Any] = []
        places = []
        for i, (name, item) in enumerate(zip(names, base)):
            change = child.get(name, {}) if isinstance(name, str) else {}
            place = self.lines.get(join(base_where, i))
            if change is None:
                continue
            arguments = (item[name] if isinstance(item, dict) and name in item else None) or {}
            if isinstance(change, dict) and change and isinstance(arguments, dict):  # the check reports others
                changed = self({"name": name, **arguments}, change)
                item = {changed.pop("name"): changed or None}
                place = self.lines.get(join(where, name), place)
            result.append(copy.deepcopy(item))
            places.append(place)
        for path in [path for path in self.lines if path.startswith(f"{where}[")]:
            del self.lines[path]
        self.lines.update({join(where, i): place for i, place in enumerate(places) if place})
        return result


def _paths(value: Any, where: str) -> Iterator[str]:
    """The key paths of all parts of a value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield join(where, key)
        yield from _paths(part, join(where, key))


def _step_problems(names: list[Any], child: dict[str, Any], where: str) -> list[str]:
    problems = []
    for name, change in child.items():
        here, count = join(where, name), names.count(name)
        if count != 1:
            known = ", ".join(str(other) for other in names) or "empty"
            problems.append(
                f"{here}: expected a step that the list has once, it has {count} of this name; it is: {known}"
            )
        elif change is not None and not isinstance(change, dict):
            problems.append(f"{here}: expected a mapping of arguments, or null for no such step, got {change!r}")
    return problems


def override(data: dict[str, Any], assignment: str, creatable: tuple[str, ...]) -> tuple[str, str | None]:
    """Sets one ``a.b.0.c=value`` in place.

    The last key may be new (the check reports an unknown one); the way to it must exist, except that the
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


def differences(
    ours: Any, theirs: Any, where: str, ordered: bool = False, text: Callable[[Any], str] = repr
) -> Iterator[tuple[str, str, str]]:
    """Every place where two sections differ: key path, and both values as text.

    Lists of one length are compared item by item, and tuples are lists: JSON makes lists of them.

    Args:
        where: key path of the sections.
        ordered: the order of keys counts, as that of a pipeline's steps, and None is not an empty section.
        text: of a value.
    """
    if not ordered:
        ours, theirs = ({} if a is None and isinstance(b, Mapping) else a for a, b in ((ours, theirs), (theirs, ours)))
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        if ordered and list(ours) != list(theirs):
            yield where, ", ".join(map(str, ours)), ", ".join(map(str, theirs))
            return
        pairs = [(ours.get(key), theirs.get(key), f"{where}.{key}") for key in dict.fromkeys((*ours, *theirs))]
    elif isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(ours, theirs))]
    else:
        if ours != theirs:
            yield where, text(ours), text(theirs)
        return
    for a, b, path in pairs:
        yield from differences(a, b, path, ordered, text)
