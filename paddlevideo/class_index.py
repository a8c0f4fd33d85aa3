"""Which classes a source file registers, and what their constructors take; the file is read, not imported."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
_REQUIRED = object()
# bases from elsewhere that take no arguments which a configuration could give
_PLAIN_BASES = frozenset({"object", "ABC", "Layer", "Generic", "Protocol"})


@dataclass(frozen=True)
class Parameter:
    """One constructor argument: its name, whether it must be given, its annotation as written, its plain default."""

    name: str
    required: bool
    annotation: str | None = None
    default: Any = None


@dataclass(frozen=True)
class Entry:
    """A registered class.

    Args:
        name: in YAML.
        module: to be imported.
        class_name: in that module.
        parameters: of the constructor; None where the source does not show them: ``**kwargs``, a base class of another
            library.
        constants: plain attributes of the class, ``layout = "frames"``, and those of its bases in this package.
        file: of the module; None for a class that only Python has registered.
        root: folder from which the module is imported, of a user's own files; None: it is installed.
    """

    name: str
    module: str
    class_name: str
    parameters: tuple[Parameter, ...] | None
    constants: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    root: Path | None = None


def entries_of_file(file: Path, module: str, root: Path | None = None) -> Iterator[tuple[str, Entry]]:
    """Each registered class at the top level of a file, once per YAML name, with its registry: ("BACKBONES", entry).

    Raises:
        SyntaxError, UnicodeDecodeError: it is not Python.
    """
    tree = _parsed(file)
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            target = call.func if call else decorator
            if not (isinstance(target, ast.Attribute) and target.attr == "register"):
                continue
            more = [argument.value for argument in call.args if isinstance(argument, ast.Constant)] if call else []
            registry = _imported_name(ast.unparse(target.value).rpartition(".")[2], tree)
            parameters, constants = _parameters(node, tree), _constants(node, tree)
            for name in (node.name, *more):
                yield registry, Entry(name, module, node.name, parameters, constants, file, root)


@functools.cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8-sig"), str(file))


def _imported_name(name: str, tree: ast.Module) -> str:
    """What ``name`` is called where it comes from: ``from paddlevideo.registry import BACKBONES as B``."""
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if alias.asname == name:
                return alias.name
    return name


def _parameters(node: ast.ClassDef, tree: ast.Module) -> tuple[Parameter, ...] | None:
    """Constructor arguments by the source: of ``__init__``, a dataclass's fields, or of the first base with either."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return _of_function(member)
    is_dataclass = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    own = tuple(_of_fields(node)) if is_dataclass else ()
    for base in node.bases:
        found = _find_class(base, tree)
        if found is not None:
            inherited = _parameters(*found)
            if inherited is None:
                return None
            names = {parameter.name for parameter in own}
            return tuple(parameter for parameter in inherited if parameter.name not in names) + own
        if ast.unparse(base).partition("[")[0].rpartition(".")[2] not in _PLAIN_BASES:
            return None
    return own


def _constants(node: ast.ClassDef, tree: ast.Module) -> dict[str, Any]:
    """Attributes of the class body that are plain values, over those of its bases."""
    found: dict[str, Any] = {}
    for base in reversed(node.bases):
        definition = _find_class(base, tree)
        if definition is not None:
            found |= _constants(*definition)
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and member.value is not None:
            targets = [member.target]
        elif isinstance(member, ast.Assign):
            targets = member.targets
        else:
            continue
        if _is_literal(member.value):
            value = ast.literal_eval(member.value)
            found |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    return found


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return False
    return True


def _default(node: Any) -> Any:
    return ast.literal_eval(node) if isinstance(node, ast.expr) and _is_literal(node) else None


def _of_function(function: ast.FunctionDef) -> tuple[Parameter, ...] | None:
    arguments = function.args
    if arguments.kwarg is not None:
        return None
    plain = [*arguments.posonlyargs, *arguments.args][1:]
    defaults: list[Any] = [_REQUIRED] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = list(zip(plain, defaults)) + [
        (argument, _REQUIRED if default is None else default)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults)
    ]
    return tuple(
        Parameter(a.arg, d is _REQUIRED, ast.unparse(a.annotation) if a.annotation else None, _default(d))
        for a, d in pairs
    )


def _of_fields(node: ast.ClassDef) -> Iterator[Parameter]:
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            value = ast.unparse(member.value) if member.value is not None else ""
            annotation = ast.unparse(member.annotation)
            if "ClassVar" not in annotation and "init=False" not in value.replace(" ", ""):
                yield Parameter(member.target.id, member.value is None, annotation, _default(member.value))


def _find_class(base: ast.expr, tree: ast.Module) -> tuple[ast.ClassDef, ast.Module] | None:
    """The definition of a base class in the same file, or in the module of this package it is imported from."""
    if not isinstance(base, ast.Name):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == base.id:
            return node, tree
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("paddlevideo."):
            for alias in node.names:
                if (alias.asname or alias.name) == base.id:
                    file = PACKAGE.joinpath(*node.module.split(".")[1:]).with_suffix(".py")
                    if file.is_file():
                        return _find_class(ast.Name(alias.name), _parsed(file))
    return None
