"""Compares a class with the base class of its kind: what is missing, and what has another signature.

Of the base class count its public methods, properties and constants, and ``__call__``.  Abstract methods must be
there; what a class overrides takes the same parameters, under the same names, and demands no others.  A public
attribute that the base class only annotates (``out_channels: int``) must be there once an object is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

_SPECIAL = ("__call__",)
_ABSENT = object()


def problems_of(cls: type, bases: tuple[type, ...]) -> list[str]:
    """What ``cls`` lacks or has otherwise than its base class, an entry each; empty without ``bases``."""
    if not bases:
        return []
    base = next((b for b in bases if issubclass(cls, b)), None)
    if base is None:
        return [f"expected a subclass of {' or '.join(f'{b.__module__}.{b.__name__}' for b in bases)}"]
    problems = []
    for name, expected in _members(base).items():
        got = inspect.getattr_static(cls, name, None)
        if name in cls.__abstractmethods__:
            problems.append(f"{name} is missing: expected {_shown(name, expected)}")
        elif got is not expected:
            problems += _differences(name, expected, got)
    return problems


def missing_attributes(built: Any, bases: tuple[type, ...]) -> str:
    """The annotated attributes of its base class that an object lacks: ``out_channels (int)``; empty if none."""
    base = next((b for b in bases if isinstance(built, b)), None)
    expected = (
        {} if base is None else {k: v for c in reversed(_own_classes(base)) for k, v in c.__annotations__.items()}
    )
    lacking = [name for name in expected if inspect.getattr_static(built, name, _ABSENT) is _ABSENT]
    return ", ".join(f"{name} ({expected[name]})" for name in lacking if name[0] != "_")


def _own_classes(base: type) -> list[type]:
    """``base`` and its own bases as far as they belong to this package."""
    package = base.__module__.partition(".")[0]
    return [c for c in base.__mro__ if c.__module__.partition(".")[0] == package]


def _members(base: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for cls in reversed(_own_classes(base)):
        found |= {name: value for name, value in vars(cls).items() if name[0] != "_" or name in _SPECIAL}
    return found


def _function(member: Any) -> Any:
    """What is called: the function of a method, class method or static method, or of a property's getter."""
    if isinstance(member, (classmethod, staticmethod)):
        return member.__func__
    return member.fget if isinstance(member, property) else member


def _is_method(member: Any) -> bool:
    return inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod))


def _differences(name: str, expected: Any, got: Any) -> Iterator[str]:
    if not _is_method(expected):
        if _is_method(got):
            yield f"{name} is a method: expected an attribute or a property"
        return
    if not _is_method(got):
        yield f"{name} is {got!r}: expected the method {_shown(name, expected)}"
        return
    ours, theirs = (_parameters(member) for member in (expected, got))
    kinds = {parameter.kind for parameter in theirs}
    any_position, any_name = inspect.Parameter.VAR_POSITIONAL in kinds, inspect.Parameter.VAR_KEYWORD in kinds
    named = [p for p in theirs if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    places = [p.name for p in named if p.kind is p.POSITIONAL_OR_KEYWORD]
    fits = True
    for place, parameter in enumerate(p for p in ours if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)):
        if parameter.kind is parameter.KEYWORD_ONLY:
            fits &= any_name or parameter.name in [p.name for p in named]
        else:
            fits &= places[place : place + 1] == [parameter.name] or (place >= len(places) and any_position)
    known = {parameter.name for parameter in ours}
    open_ended = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in ours)
    demands = [p.name for p in named if p.default is p.empty and p.name not in known and not open_ended]
    by_position = inspect.Parameter.POSITIONAL_ONLY in kinds
    optional = {p.name for p in ours if p.default is not p.empty}
    demands += [p.name for p in named if p.name in optional and p.default is p.empty]
    if not fits or demands or by_position:
        yield f"{_shown(name, got)}: expected {_shown(name, expected)}"


def _parameters(member: Any) -> list[inspect.Parameter]:
    """Of a method, without ``self`` or ``cls``."""
    parameters = list(inspect.signature(_function(member)).parameters.values())
    return parameters if isinstance(member, staticmethod) else parameters[1:]


def _shown(name: str, member: Any) -> str:
    """``forward(self, x, state=None)``; a property by its name."""
    if not _is_method(member):
        return f"the attribute {name}"
    signature = inspect.signature(_function(member))
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return f"{name}{signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)}"
