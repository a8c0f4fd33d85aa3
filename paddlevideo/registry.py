"""Name in YAML -> class.  Nine registries, filled by looking into their folders and into a user's own files.

A registry reads the *source* of its folder to learn which classes there are and which arguments they take
(``paddlevideo.class_index``), so that a configuration is checked before anything heavy is imported.  A class is
imported when it is built, and then compared with the base class of its kind.  The values that an argument takes are in
its annotation (``paddlevideo.ranges``) and holds from Python, too.

    @BACKBONES.register                # its YAML name is the class name
    class ResNetTSM(Backbone): ...

    @TRANSFORMS.register("Scale_PV")   # and may have further ones
    class Scale(Transform): ...
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paddlevideo.class_index import PACKAGE, Entry, Parameter, entries_of_file
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.interface import missing_attributes, problems_of
from paddlevideo.out_of_scope import out_of_scope
from paddlevideo.ranges import limited, out_of_limits, suggest

__all__ = ["REGISTRIES", "ArgumentError", "Entry", "Parameter", "Registry", "suggest"]


class ArgumentError(ConfigError, ValueError):
    """Values that the annotations of a registered class do not allow; ``source`` is the class."""


class Registry:
    """One kind of component.

    Args:
        kind: the word used in messages, e.g. ``backbone``.
        places: folders or files below the package that hold such classes.
        bases: the base classes of this kind, ``module:Class``; a registered class derives from one of them.
    """

    def __init__(self, kind: str, *places: str, bases: tuple[str, ...] = ()):
        self.kind = kind
        self._places, self._base_names = places, bases
        self._classes: dict[str, type] = {}
        self._index: dict[str, Entry] | None = None

    def register(self, cls: type | str, *more: str) -> Any:
        """Class decorator, plain or with further YAML names.  The source index is built from its very form.

        Raises:
            UserError: the class lacks something of its base class, or its name is taken; in one line.
        """
        if isinstance(cls, str):
            return lambda target: self._add(target, (target.__name__, cls, *more))
        return self._add(cls, (cls.__name__,))

    def names(self) -> list[str]:
        """All YAML names, sorted."""
        return sorted({*self._entries(), *self._classes})

    def __contains__(self, name: object) -> bool:
        return name in self._entries() or name in self._classes

    def entry(self, name: str) -> Entry:
        """The constructor's arguments, without importing the class if its source is indexed."""
        entries = self._entries()
        if name in entries:
            return entries[name]
        return _entry_of_class(name, self._classes[name])

    def add_entry(self, entry: Entry) -> str | None:
        """Adds a class of a user's own file; what is wrong with it, or None."""
        known = self._entries().get(entry.name)
        if known is not None and (known.module, known.file) != (entry.module, entry.file):
            return f"{self.kind} {entry.name}: the name is taken by {known.module} ({known.file}); rename the class"
        self._entries()[entry.name] = entry
        return None

    def get(self, name: str) -> type:
        """The class itself; imports its module.

        Raises:
            ConfigError: there is no such class.
            UserError: its module cannot be imported, or the class lacks something of its base class.
        """
        if name not in self._classes:
            if name not in self._entries():
                raise ConfigError(self.kind, [self.unknown(name)])
            import_module_of(self._entries()[name])
        return self._classes[name]

    def build(self, spec: Mapping[str, Any], where: str, **given: Any) -> Any:
        """Makes the object that ``spec`` (a mapping with ``name``) describes; ``given`` are the caller's own."""
        arguments = {key: value for key, value in spec.items() if key != "name"}
        name = spec.get("name")
        if name not in self:
            raise ConfigError(where, [f"{where}.name: {self.unknown(name)}"])
        cls = self.get(name)
        try:
            built = cls(**arguments, **given)
        except ArgumentError as error:
            raise ConfigError(where, [f"{where} ({name}): {problem}" for problem in error.problems]) from error
        except (TypeError, ValueError) as error:
            place = _last_place(error, _file_of(cls))
            raise ConfigError(where, [f"{where} ({name}): {error}{f' ({place})' if place else ''}"]) from error
        missing = missing_attributes(built, self._bases())
        if missing:
            raise UserError(f"{_file_of(cls)}: {self.kind} {name}: its constructor must set {missing}")
        return built

    def unknown(self, name: object) -> str:
        """The sentence for a name that is not there."""
        remark = out_of_scope(str(name))
        if remark:
            return f"there is no {self.kind} {name!r} here: {remark}"
        return f"there is no {self.kind} {name!r}{suggest(str(name), self.names())}"

    def _add(self, cls: type, names: tuple[str, ...]) -> type:
        problems = problems_of(cls, self._bases())
        if problems:
            raise UserError(f"{_file_of(cls)}: {self.kind} {cls.__name__}: {'; '.join(problems)}")
        for name in names:
            taken = self._holder(name, cls)
            if taken:
                raise UserError(f"{_file_of(cls)}: {self.kind} {name}: the name is taken by {taken}; rename the class")
        _hold_limits(cls)
        self._classes.update(dict.fromkeys(names, cls))
        return cls

    def _holder(self, name: str, cls: type) -> str | None:
        """The module of another class of that name."""
        known = self._classes.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            return f"{known.__module__} ({_file_of(known)})"
        if cls.__module__.startswith("paddlevideo.") or name not in self._entries():
            return None
        entry = self._entries()[name]
        return None if entry.module == cls.__module__ else f"{entry.module} ({entry.file})"

    def _bases(self) -> tuple[type, ...]:
        named = (name.partition(":") for name in self._base_names)
        return tuple(getattr(importlib.import_module(module), base) for module, _, base in named)

    def _entries(self) -> dict[str, Entry]:
        if self._index is None:
            self._index = {}
            for file in _files(self._places):
                module = ".".join(["paddlevideo", *file.relative_to(PACKAGE).with_suffix("").parts])
                for _, entry in entries_of_file(file, module):
                    self._index[entry.name] = entry
        return self._index


def _last_place(error: BaseException, file: Any) -> str:
    """``file:line`` of the last line of a user's file in a traceback; empty where it has none."""
    trace, line = error.__traceback__, 0
    while trace is not None and not str(file).startswith(str(PACKAGE)):
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(file) else line
        trace = trace.tb_next
    return f"{file}:{line}" if line else ""


def import_module_of(entry: Entry) -> None:
    """Imports the module of an indexed class, a user's own from the folder it was found in.

    Raises:
        UserError: it cannot be imported, or another module has its name.
    """
    if entry.root is not None and str(entry.root) not in sys.path:
        sys.path.append(str(entry.root))
    own = entry.module.startswith("paddlevideo.")
    try:
        module = importlib.import_module(entry.module)
    except UserError:
        raise
    except Exception as error:
        if own:
            raise
        raise UserError(
            f"{_last_place(error, entry.file) or entry.file}: cannot be imported ({type(error).__name__}: {error})"
        ) from error
    if not own and Path(module.__file__ or "").resolve() != entry.file.resolve():
        raise UserError(
            f"{entry.file}: Python has another module {entry.module!r} ({module.__file__}); rename the file"
        )


def _file_of(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    return str(module.__dict__.get("__file__", cls.__module__)) if module else cls.__module__


_CHECKED: set[Any] = set()  # constructors that reject what their annotations do not allow


def _hold_limits(cls: type) -> None:
    """Makes the constructor reject what its annotations do not allow, before it begins.

    Raises (from the constructor):
        ArgumentError: one line per argument.
    """
    construct = cls.__init__
    if construct in _CHECKED:  # of a registered base
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

    _CHECKED.add(checked)
    cls.__init__ = checked


def _files(places: tuple[str, ...]) -> Iterator[Path]:
    for place in places:
        path = PACKAGE / place
        yield from sorted(path.rglob("*.py")) if path.is_dir() else filter(Path.is_file, [path])


def _entry_of_class(name: str, cls: type) -> Entry:
    parameters: list[Parameter] | None = []
    for p in list(inspect.signature(cls).parameters.values()):
        if p.kind is p.VAR_KEYWORD:
            parameters = None
            break
        default = None if p.default is p.empty else p.default
        parameters.append(Parameter(p.name, p.default is p.empty, _annotation(p), default))
    members = {key: value for base in reversed(cls.__mro__) for key, value in vars(base).items()}
    constants = {key: value for key, value in members.items() if isinstance(value, (str, tuple))}
    return Entry(name, cls.__module__, cls.__name__, None if parameters is None else tuple(parameters), constants)


def _annotation(parameter: inspect.Parameter) -> str | None:
    """The annotation as the source has it."""
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return None
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


FRAMEWORKS = Registry("framework", "modeling/frameworks", bases=("paddlevideo.modeling.frameworks.base:Framework",))
BACKBONES = Registry("backbone", "modeling/backbones", bases=("paddlevideo.modeling.backbones.base:Backbone",))
HEADS = Registry(
    "head",
    "modeling/heads",
    "modeling/box_assignment.py",
    "modeling/roi.py",
    bases=("paddlevideo.modeling.heads.base:Head", "paddlevideo.modeling.heads.base:DetectionPart"),
)
LOSSES = Registry(
    "loss",
    "modeling/losses",
    bases=("paddlevideo.modeling.losses.base:Loss", "paddlevideo.modeling.losses.base:PairLoss"),
)
DATASETS = Registry("dataset", "loader/datasets", bases=("paddlevideo.loader.datasets.base:Dataset",))
TRANSFORMS = Registry(
    "transform",
    "loader/pipelines",
    "loader/mix.py",
    bases=("paddlevideo.loader.pipelines.base:Transform", "paddlevideo.loader.pipelines.base:BatchTransform"),
)
METRICS = Registry("metric", "metrics", bases=("paddlevideo.metrics.base:Metric",))
# schedules and optimizers besides those of Paddle
SCHEDULES = Registry("schedule", "solver/lr.py", bases=("paddlevideo.solver.lr:Schedule",))
OPTIMIZERS = Registry("optimizer")
REGISTRIES = {
    "FRAMEWORKS": FRAMEWORKS,
    "BACKBONES": BACKBONES,
    "HEADS": HEADS,
    "LOSSES": LOSSES,
    "DATASETS": DATASETS,
    "TRANSFORMS": TRANSFORMS,
    "METRICS": METRICS,
    "SCHEDULES": SCHEDULES,
    "OPTIMIZERS": OPTIMIZERS,
}
