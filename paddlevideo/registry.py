"""Name in YAML -> class.  Seven registries, filled by looking into their folders.

A registry reads the *source* of its folder to learn which classes there are and which arguments they take, so that a
configuration is checked in a blink, before anything heavy is imported.  A class is imported when it is built.  What
values an argument takes stands in its annotation (``paddlevideo.ranges``) and holds from Python, too.

    @BACKBONES.register            # its YAML name is the class name
    class ResNetTSM(nn.Layer): ...

    @TRANSFORMS.register("Scale_PV")   # and may have further ones
    class Scale: ...
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddlevideo.errors import ConfigError
from paddlevideo.out_of_scope import out_of_scope
from paddlevideo.ranges import limited, out_of_limits, suggest

__all__ = ["ArgumentError", "Entry", "Parameter", "Registry", "suggest"]

_PACKAGE = Path(__file__).parent
_REQUIRED = object()


class ArgumentError(ConfigError, ValueError):
    """Values that the annotations of a registered class do not allow; ``source`` is the class."""


@dataclass(frozen=True)
class Parameter:
    """One constructor argument: its name, whether it must be given, its annotation as written, its plain default."""

    name: str
    required: bool
    annotation: str | None = None
    default: Any = None


@dataclass(frozen=True)
class Entry:
    """Where a class stands and what its constructor takes.  ``parameters`` is None if it takes ``**kwargs``.

    ``constants`` are the class's own plain attributes, ``layout = "frames"``, and those of its bases in this package.
    """

    name: str
    module: str
    class_name: str
    parameters: tuple[Parameter, ...] | None
    constants: Mapping[str, Any] = field(default_factory=dict)


class Registry:
    """One kind of component.

    Args:
        kind: the word used in messages, e.g. ``backbone``.
        places: folders or files below the package that hold such classes.
    """

    def __init__(self, kind: str, *places: str):
        self.kind = kind
        self._places = places
        self._classes: dict[str, type] = {}
        self._index: dict[str, Entry] | None = None

    def register(self, cls: type | str, *more: str) -> Any:
        """Class decorator, plain or with further YAML names.  The source index is built from its very form."""
        if isinstance(cls, str):
            names = (cls, *more)

            def decorate(target: type) -> type:
                _hold_limits(target)
                for name in (target.__name__, *names):
                    self._classes[name] = target
                return target

            return decorate
        _hold_limits(cls)
        self._classes[cls.__name__] = cls
        return cls

    def names(self) -> list[str]:
        """All YAML names, sorted."""
        return sorted({*self._entries(), *self._classes})

    def __contains__(self, name: object) -> bool:
        return name in self._entries() or name in self._classes

    def entry(self, name: str) -> Entry:
        """The constructor's arguments, without importing the class if it stands in this package."""
        entries = self._entries()
        if name in entries:
            return entries[name]
        return _entry_of_class(name, self._classes[name])

    def get(self, name: str) -> type:
        """The class itself; imports its module."""
        if name not in self._classes:
            if name not in self._entries():
                raise ConfigError(self.kind, [self.unknown(name)])
            importlib.import_module(self._entries()[name].module)
        return self._classes[name]

    def build(self, spec: Mapping[str, Any], where: str, **given: Any) -> Any:
        """Makes the object that ``spec`` (a mapping with ``name``) describes; ``given`` are the caller's own."""
        arguments = {key: value for key, value in spec.items() if key != "name"}
        name = spec.get("name")
        if name not in self:
            raise ConfigError(where, [f"{where}.name: {self.unknown(name)}"])
        try:
            return self.get(name)(**arguments, **given)
        except ArgumentError as error:
            raise ConfigError(where, [f"{where} ({name}): {problem}" for problem in error.problems]) from error
        except (TypeError, ValueError) as error:
            raise ConfigError(where, [f"{where} ({name}): {error}"]) from error

    def unknown(self, name: object) -> str:
        """The sentence for a name that is not there."""
        remark = out_of_scope(str(name))
        if remark:
            return f"there is no {self.kind} {name!r} here: {remark}"
        return f"there is no {self.kind} {name!r}{suggest(str(name), self.names())}"

    def _entries(self) -> dict[str, Entry]:
        if self._index is None:
            self._index = {}
            for file in _files(self._places):
                for entry in _entries_of_file(file):
                    self._index[entry.name] = entry
        return self._index


def _hold_limits(cls: type) -> None:
    """Lets the constructor refuse what its annotations do not allow, before it begins.

    Raises (from the constructor):
        ArgumentError: one line per argument.
    """
    construct = cls.__init__
    if hasattr(construct, "checks_limits"):  # of a registered base
        return
    signature = inspect.signature(construct)
    annotations = {name: _annotation(parameter) for name, parameter in signature.parameters.items()}
    annotations = {name: annotation for name, annotation in annotations.items() if limited(annotation)}
    if not annotations:
        return

    @functools.wraps(construct)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        values = given.arguments
        found = [line for name, a in annotations.items() for line in out_of_limits(values[name], a, name, values)]
        if found:
            raise ArgumentError(cls.__name__, found)
        construct(self, *args, **kwargs)

    checked.checks_limits = True
    cls.__init__ = checked


def _files(places: Iterable[str]) -> Iterator[Path]:
    for place in places:
        path = _PACKAGE / place
        yield from sorted(path.rglob("*.py")) if path.is_dir() else filter(Path.is_file, [path])


def _entries_of_file(file: Path) -> Iterator[Entry]:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    module = ".".join(["paddlevideo", *file.relative_to(_PACKAGE).with_suffix("").parts])
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            names = _registered_names(decorator)
            if names is None:
                continue
            parameters, constants = _parameters(node, tree), _constants(node, tree)
            for name in (node.name, *names):
                yield Entry(name, module, node.name, parameters, constants)


def _registered_names(decorator: ast.expr) -> tuple[str, ...] | None:
    call = decorator if isinstance(decorator, ast.Call) else None
    target = call.func if call else decorator
    if not (isinstance(target, ast.Attribute) and target.attr == "register"):
        return None
    return tuple(argument.value for argument in call.args if isinstance(argument, ast.Constant)) if call else ()


def _parameters(node: ast.ClassDef, tree: ast.Module) -> tuple[Parameter, ...] | None:
    """Constructor arguments by the source: own ``__init__``, dataclass fields, or the first base that has either."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return _of_function(member)
    own = tuple(_of_fields(node)) if _is_dataclass(node) else ()
    for base in node.bases:
        found = _find_class(base, tree)
        if found is not None:
            inherited = _parameters(*found)
            if inherited is None:
                return None
            names = {parameter.name for parameter in own}
            return tuple(p for p in inherited if p.name not in names) + own
    return own


def _constants(node: ast.ClassDef, tree: ast.Module) -> dict[str, Any]:
    """Attributes of the class body that are plain values, over those of its bases."""
    found: dict[str, Any] = {}
    for base in reversed(node.bases):
        definition = _find_class(base, tree)
        if definition is not None:
            found |= _constants(*definition)
    for member in node.body:
        targets = member.targets if isinstance(member, ast.Assign) else [getattr(member, "target", None)]
        value = getattr(member, "value", None)
        if isinstance(member, (ast.Assign, ast.AnnAssign)) and value is not None and _is_literal(value):
            found |= {target.id: ast.literal_eval(value) for target in targets if isinstance(target, ast.Name)}
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
        if not (isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name)):
            continue
        value = ast.unparse(member.value) if member.value is not None else ""
        annotation = ast.unparse(member.annotation)
        if "ClassVar" in annotation or "init=False" in value.replace(" ", ""):
            continue
        yield Parameter(member.target.id, member.value is None, annotation, _default(member.value))


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


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
                    file = _PACKAGE.joinpath(*node.module.split(".")[1:]).with_suffix(".py")
                    if file.is_file():
                        other = ast.parse(file.read_text(encoding="utf-8"), str(file))
                        return _find_class(ast.Name(alias.name), other)
    return None


def _entry_of_class(name: str, cls: type) -> Entry:
    parameters: list[Parameter] | None = []
    for p in list(inspect.signature(cls).parameters.values()):
        if p.kind is p.VAR_KEYWORD:
            parameters = None
            break
        default = None if p.default is p.empty else p.default
        parameters.append(Parameter(p.name, p.default is p.empty, _annotation(p), default))
    constants = {key: getattr(cls, key) for key in dir(cls) if isinstance(getattr(cls, key, None), (str, tuple))}
    return Entry(name, cls.__module__, cls.__name__, None if parameters is None else tuple(parameters), constants)


def _annotation(parameter: inspect.Parameter) -> str | None:
    """The annotation as the source has it."""
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return None
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


FRAMEWORKS = Registry("framework", "modeling/frameworks")
BACKBONES = Registry("backbone", "modeling/backbones")
HEADS = Registry("head", "modeling/heads", "modeling/boxes.py", "modeling/roi.py")
LOSSES = Registry("loss", "modeling/losses")
DATASETS = Registry("dataset", "loader/datasets")
TRANSFORMS = Registry(
    "transform",
    "loader/pipelines",
    "loader/mix.py",
)
METRICS = Registry("metric", "metrics")
