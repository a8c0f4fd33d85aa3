"""Which values an argument takes: stated once, in its annotation.

    drop_ratio: Probability                            # a name of this module
    depth: Literal[50, 101]
    num_heads: Annotated[int, Divides("embed_dim")]    # a limit of its own
    lr_mult_list: list[NonNegative] | None

A configuration is checked against the annotation as the source has it (``mistakes``), without importing the class; a
registered class rejects the same values when it is built from Python.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; ``above`` and ``below`` leave the bound itself out."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def mistakes(self, value: Any, where: str, others: Mapping[str, Any]) -> list[str]:
        """A line if ``value`` lies outside, or nothing."""
        if (
            isinstance(value, (int, float))
            and math.isfinite(value)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        ):
            return []
        return [f"{where}: expected {self}, got {value!r}"]

    def __str__(self) -> str:
        upper = "" if self.high is None else f"to {self.high:g}"
        upper = upper if self.below is None else f"to below {self.below:g}"
        if self.above is not None:
            return f"above {self.above:g} {upper}".strip()
        if self.low is None:
            return f"at most {self.high:g}" if self.below is None else f"below {self.below:g}"
        return f"{self.low:g} {upper}" if upper else f"at least {self.low:g}"


@dataclass(frozen=True)
class Divides:
    """Whole numbers that another argument is a multiple of."""

    argument: str

    def mistakes(self, value: Any, where: str, others: Mapping[str, Any]) -> list[str]:
        """A line if the other argument is no multiple of ``value``, or nothing."""
        other = others.get(self.argument)
        if value >= 1 and (not isinstance(other, int) or other % value == 0):
            return []
        return [f"{where}: expected a divisor of {self.argument} ({other}), got {value!r}"]


@dataclass(frozen=True)
class Length:
    """Sequences of so many elements."""

    count: int

    def mistakes(self, value: Any, where: str, others: Mapping[str, Any]) -> list[str]:
        """A line with the expected length, or nothing."""
        return [] if len(value) == self.count else [f"{where}: expected a list of {self.count}, got {value!r}"]


class Filled:
    """Sequences of one element or more."""

    def mistakes(self, value: Any, where: str, others: Mapping[str, Any]) -> list[str]:
        """A line if there is no element, or nothing."""
        return [] if len(value) else [f"{where}: expected at least one element, got {value!r}"]


class Excludes:
    """Values but one, which does not go with what other arguments are.

    Args:
        value: the one.
        others: other arguments' values, all of which it takes to exclude it.
    """

    def __init__(self, value: Any, **others: Any):
        self.value, self.others = value, others

    def mistakes(self, value: Any, where: str, others: Mapping[str, Any]) -> list[str]:
        """A line with the other arguments that exclude ``value``, or nothing."""
        if value != self.value or any(others.get(name) != other for name, other in self.others.items()):
            return []
        listed = ", ".join(f"{name} {other}" for name, other in self.others.items())
        return [f"{where}: {value!r} is not possible with {listed}; change one of them"]


class Within:
    """Dotted paths that begin with one of these names."""

    def __init__(self, *names: str):
        self.names = names

    def mistakes(self, value: Any, where: str, others: Mapping[str, Any]) -> list[str]:
        """A line with the names that a path may begin with, or nothing."""
        first = value.partition(".")[0]
        if first in self.names:
            return []
        near_one = suggest(first, self.names, listed=False)
        return [f"{where}: expected {' or '.join(self.names)}, or a part of one, got {value!r}{near_one}"]


class Keys:
    """Mappings with no other keys than these.

    Args:
        annotations: of each key's value, as text.
    """

    def __init__(self, **annotations: str):
        self.annotations = annotations

    def mistakes(self, value: Any, where: str, others: Mapping[str, Any]) -> list[str]:
        """One line for each unknown key, and for each value of another kind."""
        found = []
        for key, item in value.items():
            if key not in self.annotations:
                found.append(f"{where}.{key}: unknown key{suggest(str(key), self.annotations)}")
            else:
                found += mistakes(item, self.annotations[key], f"{where}.{key}")
        return found


class AnyCase:
    """One name, whatever its case, or a mapping of one to its options, or a list of these.

    ``csv``, ``{WandB: {project: x}}``, ``[csv, {WandB: {project: x}}]``

    Args:
        options: of each name, the annotation of every option, as text.
    """

    def __init__(self, **options: dict[str, str]):
        self.options = options

    def mistakes(self, value: Any, where: str, others: Mapping[str, Any]) -> list[str]:
        """One line for an unknown name, and for each unknown option or value of another kind."""
        if isinstance(value, (list, tuple)):
            return [line for i, item in enumerate(value) for line in self._of_one(item, f"{where}[{i}]", "")]
        return self._of_one(value, where, ", or a list of them")

    def _of_one(self, item: Any, where: str, more: str) -> list[str]:
        if isinstance(item, Mapping) and len(item) > 1:
            return [f"{where}: expected one name per entry, as in [{', '.join(map(str, item))}], got {dict(item)!r}"]
        name, options = next(iter(item.items()), (item, {})) if isinstance(item, Mapping) else (item, {})
        known = self.options.get(name.lower()) if isinstance(name, str) else None
        if known is None:
            near_one = suggest(str(name), self.options, listed=False)
            return [f"{where}: expected one of {', '.join(sorted(self.options))}{more}, got {name!r}{near_one}"]
        if not isinstance(options, Mapping | None):
            return [f"{where}.{name}: expected a mapping of options, got {options!r}"]
        if options and not known:
            return [f"{where}.{name}: has no options, got {dict(options)!r}"]
        return Keys(**known).mistakes(options or {}, f"{where}.{name}", {})


class Component:
    """Sections ``{name: Class, argument: value}``, checked by ``config.checking`` against a class of the registry.

    Args:
        registry: its name in ``paddlevideo.registry``.
    """

    def __init__(self, registry: str):
        self.registry = registry

    def mistakes(self, value: Any, where: str, others: Mapping[str, Any]) -> list[str]:
        """None: registries are above this module."""
        return []


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, below=1 << 64)]  # what Paddle's generator takes
NumClasses = Annotated[int, Range(2)]  # one class is always right
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1)]
ProbabilityBelowOne = Annotated[float, Range(0, below=1)]
HeadSection = Annotated[dict, Component("HEADS")]
LossSection = Annotated[dict, Component("LOSSES")]
BalancePower = Annotated[dict, Keys(power="NonNegative")]  # of class_weights: 0: all classes alike, 1: by frequency
# lengths of a schedule, in epochs or in its own steps; in YAML also a share of the run, 20/50 (``solver.lengths``)
Epochs = Annotated[float, Range(0)]
Steps = Annotated[int, Range(0)]
ViewAveraging = Annotated[dict, Keys(num_seg="PositiveInt | None", avg_type="Literal['score', 'prob', 'none']")]
RuntimeConfig = Annotated[dict, Keys(test="ViewAveraging | None")]
CycleFactors = Annotated[dict, Keys(value="list[Positive]")]
# of backbones that shift channels: PaddleVideo's share, 1 / num_seg, of a single frame would be every channel
ShiftedFrames = Annotated[int, Range(1), Excludes(1, shift_div=None, shift=True, shift_direction="paddlevideo")]
ShiftDivisor = Annotated[int, Range(2)]
NonLocalBlocks = Annotated[
    dict,
    Keys(
        mode="Literal['embedded_gaussian', 'gaussian', 'dot_product']",
        sub_sample="bool",
        use_scale="bool",
        blocks="list[list[Literal[0, 1]]] | None",
    ),
]
_SINKS = AnyCase(
    csv={},
    tensorboard={},
    visualdl={},
    wandb={
        **dict.fromkeys(("project", "entity", "name", "group"), "str"),
        "tags": "list[str]",
        "mode": "Literal['offline', 'online', 'disabled']",
    },
    mlflow={"experiment": "str", "run_name": "str", "tracking_uri": "str"},
)
LogSinks = Annotated[object, _SINKS]

_LIMITS = {limit.__name__: limit for limit in (Range, Divides, Length, Filled, Excludes, Within, Component)}
_KINDS: dict[str, tuple[type, ...] | None] = {
    "object": None,  # any value
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "dict": (Mapping,),
    "Mapping": (Mapping,),
    "list": (list, tuple),
    "tuple": (list, tuple),
    "Sequence": (list, tuple),
    "None": (type(None),),
}


@dataclass(frozen=True)
class _Option:
    """One alternative of an annotation: a kind of value, with its limits, choices or elements."""

    kinds: tuple[type, ...] | None  # None: any value
    limits: tuple[Any, ...] = ()
    choices: tuple[Any, ...] = ()
    element: str | None = None

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is of this kind, whatever its limits."""
        if self.kinds is None:
            return True
        return isinstance(value, self.kinds) and (not isinstance(value, bool) or bool in self.kinds)


def mistakes(value: Any, annotation: str | None, where: str, others: Mapping[str, Any] | None = None) -> list[str]:
    """One line for each thing about ``value`` that the annotation, as written in the source, does not allow.

    Args:
        where: key path for the lines.
        others: the arguments beside it, which ``Divides`` compares with.
    """
    if annotation is None:
        return []
    options = _options(annotation)
    found: list[str] = []
    for option in options:
        if option.choices:
            if any(type(value) is type(choice) and value == choice for choice in option.choices):
                return []
            if len(options) == 1 or len([o for o in options if o.kinds != (type(None),)]) == 1:
                words = ", ".join(str(choice) for choice in option.choices)
                near = suggest(str(value), [str(choice) for choice in option.choices], listed=False)
                found = [f"{where}: expected one of {words}, got {value!r}{near}"]
        elif option.holds(value):
            lines = [line for limit in option.limits for line in limit.mistakes(value, where, others or {})]
            if option.element is not None and isinstance(value, (list, tuple)):
                for i, item in enumerate(value):
                    lines += mistakes(item, option.element, f"{where}[{i}]")
            if not lines:
                return []
            found = found or lines
    return found or [f"{where}: expected {_plain(annotation)}, got {value!r}"]


def component_registry(annotation: str | None) -> str | None:
    """The registry of an argument that is a section of its own (``HeadSection``), or None."""
    options = () if annotation is None else _options(annotation)
    limits = [limit for option in options for limit in option.limits]
    return next((limit.registry for limit in limits if isinstance(limit, Component)), None)


def limited(annotation: str | None) -> bool:
    """Whether the annotation limits more than the kind of value."""
    return annotation is not None and any(
        option.limits or option.choices or (option.element is not None and limited(option.element))
        for option in _options(annotation)
    )


def out_of_limits(value: Any, annotation: str, where: str, others: Mapping[str, Any]) -> list[str]:
    """``mistakes`` about a plain value of the right kind; a caller from Python may pass other kinds."""
    if not isinstance(value, (int, float, str, list, tuple, Mapping)):
        return []
    if not any(option.choices or option.holds(value) for option in _options(annotation)):
        return []
    return mistakes(value, annotation, where, others)


def suggest(name: str, choices: Iterable[str], listed: bool = True) -> str:
    """``"; did you mean 'x'?"``, or the sorted choices if nothing is near, or nothing if there are none."""
    choices = sorted(str(choice) for choice in choices)
    found = near(name, choices)
    if found is not None:
        return f"; did you mean {found!r}?"
    return f"; there are: {', '.join(choices)}" if choices and listed else ""


def near(name: str, choices: Iterable[str]) -> str | None:
    """The choice that ``name`` could be a misspelling of, or None."""
    lowered = {str(choice).lower(): str(choice) for choice in choices}
    found = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def misspelt(key: str, given: Iterable[str], known: Collection[str] = ()) -> str:
    """The given but unknown key that is nearest to a missing one, as the end of a message."""
    found = near(key, [other for other in given if other not in known])
    return f"; did you mean it by {found!r}?" if found else ""


@cache
def _options(annotation: str) -> tuple[_Option, ...]:
    try:
        return tuple(_of_node(ast.parse(annotation, mode="eval").body))
    except SyntaxError:  # of a class from elsewhere, whose annotations are objects
        return (_Option(None),)


def _of_node(node: ast.expr) -> Iterator[_Option]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _of_node(node.left)
        yield from _of_node(node.right)
        return
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # a quoted annotation
            yield from _options(node.value)
        else:
            yield _Option(_KINDS["None"] if node.value is None else None)
        return
    name = _last_name(node.value if isinstance(node, ast.Subscript) else node)
    if name == "Literal" and isinstance(node, ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        yield _Option((), choices=tuple(ast.literal_eval(part) for part in parts))
    elif name == "Annotated" and isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        first, *rest = node.slice.elts
        limits = tuple(_limit(part) for part in rest)
        for option in _of_node(first):
            yield _Option(option.kinds, limits, option.choices, option.element)
    elif name == "Optional" and isinstance(node, ast.Subscript):
        yield from _of_node(node.slice)
        yield _Option(_KINDS["None"])
    elif name in ALIASES:
        alias = ALIASES[name]
        yield _Option(_KINDS[alias.__origin__.__name__], alias.__metadata__)
    elif name in _KINDS:
        sequence = _KINDS[name] == (list, tuple) and isinstance(node, ast.Subscript)
        yield _Option(_KINDS[name], element=ast.unparse(node.slice) if sequence and name != "tuple" else None)
    else:
        yield _Option(None)


def _limit(node: ast.expr) -> Any:
    if not (isinstance(node, ast.Call) and _last_name(node.func) in _LIMITS):
        raise ValueError(f"an annotation may hold {', '.join(_LIMITS)} as limits, got {ast.unparse(node)}")
    arguments = [ast.literal_eval(part) for part in node.args]
    named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
    return _LIMITS[_last_name(node.func)](*arguments, **named)


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _plain(annotation: str) -> str:
    """The annotation without its limits, as messages have it: ``PositiveInt | None`` is ``int | None``."""

    class Plain(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            alias = ALIASES.get(node.id)
            return ast.Name(alias.__origin__.__name__) if alias else node

        def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
            if _last_name(node.value) == "Annotated" and isinstance(node.slice, ast.Tuple):
                return self.visit(node.slice.elts[0])
            return self.generic_visit(node)

    return ast.unparse(Plain().visit(ast.parse(annotation, mode="eval").body))


ALIASES: dict[str, Any] = {
    name: value for name, value in dict(globals()).items() if hasattr(value, "__metadata__") and name[0] != "_"
}
