"""Checks of the OPTIMIZER section and SWA.lr without Paddle: names and arguments.

A class of ``paddle.optimizer`` is read by its source, not imported; ranges of its arguments are in
``_RANGES``.  A registered class (``SCHEDULES``, ``OPTIMIZERS``) has them in its annotations.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from paddlevideo.ranges import misspelt, mistakes, suggest
from paddlevideo.registry import OPTIMIZERS, SCHEDULES, Parameter, Registry

# Arguments of Paddle's schedules and optimizers that have a range; others are of the kind that Paddle's source names.
_RANGES = {
    "NonNegative": "learning_rate start_lr end_lr eta_min base_learning_rate max_learning_rate end_learning_rate gamma "
    "exp_gamma momentum_decay initial_accumulator_value",
    "Positive": "power divide_factor epsilon",
    "Probability": "phase_pct",
    "ProbabilityBelowOne": "momentum beta1 beta2 rho",
    "PositiveInt": "d_model step_size step_size_up step_size_down T_0 T_mult batch_num",
    "Steps": "warmup_steps decay_steps total_steps",
    "list[Steps]": "boundaries milestones",
}
_RANGE_OF = {argument: annotation for annotation, arguments in _RANGES.items() for argument in arguments.split()}
_PLAIN = ("int", "float", "bool", "str", "None", "Literal[", "tuple[")  # kinds that YAML can hold
# functions that select the weights with weight decay
_DECAY_FILTERS = ("apply_decay_param_fun", "exclude_from_weight_decay_fn")
# what an optimizer gets from the run or from other keys of the section, and what would bypass parameter groups
_GIVEN = {
    *("learning_rate", "parameters", "weight_decay", "lamb_weight_decay", "grad_clip", "name", "multi_precision"),
    *("use_multi_tensor", "rescale_grad", *_DECAY_FILTERS),
}
# arguments of every schedule
_OF_ALL = {
    "last_epoch": Parameter("last_epoch", False, "Annotated[int, Range(-1)]"),
    "verbose": Parameter("verbose", False, "bool"),
    "iter_step": Parameter("iter_step", False, "bool"),
    "num_iters": Parameter("num_iters", False),  # PaddleVideo's files may hold it; the run gives it
}
# the arguments that end a schedule; the run's end where they are left out
ENDS = ("max_epoch", "T_max", "total_steps", "decay_steps")
ALWAYS_BY_ITERATION = ("WarmupStepDecay", "WarmupCosineDecay")
# keys of the section besides the optimizer's own arguments; those with a kind are checked by it alone
_KIND_OF_KEY = {"base_batch_size": "PositiveInt | None", "no_weight_decay_name": "str", "fc_lr5": "bool"}
SUITE_KEYS = ("name", "learning_rate", "weight_decay", "grad_clip", "param_groups", *_KIND_OF_KEY)
CLIPS = ("ClipGradByGlobalNorm", "ClipGradByNorm", "ClipGradByValue")
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")  # a number to people
_SHARE = re.compile(r"\s*(\d+)\s*/\s*(\d+)\s*")


class _Catalogue:
    """The classes of one kind: registered ones, and those of a file in ``paddle/optimizer``, or of its files."""

    def __init__(self, registry: Registry, file: str = ""):
        self.registry, self.file = registry, file

    def names(self) -> list[str]:
        """All that a YAML file may name, registered ones first."""
        others = [name for name in self._files() if name not in self.registry and not _reason(self._node(name))]
        return [*self.registry.names(), *others]

    def problem(self, name: Any) -> str:
        """Why there is no such class, or why it cannot be used; empty where it can."""
        if isinstance(name, str) and name in self.registry:
            readable = self.registry.entry(name).parameters is not None
            return (
                "" if readable else f"{name} needs an __init__ of its own without **kwargs, to be checked by its source"
            )
        if not isinstance(name, str) or name not in self._files():
            return f"there is no {self.registry.kind} {name!r}{suggest(str(name), self.names())}"
        reason = _reason(self._node(name))
        return f"{name} {reason}" if reason else ""

    def takes(self, name: str) -> dict[str, Parameter]:
        """The arguments of the constructor; of Paddle's classes with the ranges of ``_RANGES``."""
        if name in self.registry:
            return {parameter.name: parameter for parameter in self.registry.entry(name).parameters or ()}
        return {parameter.name: _with_range(parameter) for parameter in _parameters(self._node(name), "__init__")}

    def arguments(self, name: str, without: Collection[str]) -> dict[str, Parameter]:
        """Those of them that YAML can hold."""
        return {key: p for key, p in self.takes(name).items() if p.annotation != "" and key not in without}

    def _files(self) -> dict[str, str]:
        return dict.fromkeys(_classes(self.file), self.file) if self.file else _optimizer_files()

    def _node(self, name: str) -> ast.ClassDef:
        return _classes(self._files()[name])[name]


_SCHEDULES, _OPTIMIZERS = _Catalogue(SCHEDULES, "lr.py"), _Catalogue(OPTIMIZERS)
schedule_names, optimizer_names = _SCHEDULES.names, _OPTIMIZERS.names


def schedule_arguments(name: str) -> dict[str, Parameter]:
    """The arguments of one schedule, without those that every schedule has."""
    found = _SCHEDULES.arguments(name, _OF_ALL)
    return {key: replace(p, required=p.required and key not in ENDS) for key, p in found.items()}


def optimizer_arguments(name: str) -> dict[str, Parameter]:
    """The arguments of one optimizer that a YAML file may give, without those that every optimizer has."""
    if name != "SGD":
        return _OPTIMIZERS.arguments(name, _GIVEN)
    # SGD with a momentum and nesterov is how MMAction2 writes Momentum
    found = _OPTIMIZERS.arguments("Momentum", _GIVEN)
    return found | {"nesterov": found["use_nesterov"]}


def own_arguments(section: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's own arguments of a valid section; 5.0 as 5, where whole numbers are meant."""
    kinds = optimizer_arguments(section["name"])
    return {
        key: in_whole_numbers(value, kinds[key].annotation) for key, value in section.items() if key not in SUITE_KEYS
    }


def takes(optimizer: str, *arguments: str) -> bool:
    """Whether the constructor of an optimizer has one of these arguments."""
    return not _OPTIMIZERS.takes(optimizer).keys().isdisjoint(arguments)


def decays_weights_itself(optimizer: str) -> bool:
    """Whether an optimizer shrinks the weights (AdamW, Lamb); with others the decay is part of the gradient."""
    return takes(optimizer, *_DECAY_FILTERS)


def by_iteration(section: Any) -> bool:
    """Whether the schedule of a learning_rate section moves at every optimizer step, not once per epoch."""
    return isinstance(section, Mapping) and (bool(section.get("iter_step")) or section["name"] in ALWAYS_BY_ITERATION)


def check_lr(section: Any, where: str = "OPTIMIZER.learning_rate") -> list[str]:
    """The mistakes of a learning_rate section, one line each; none if it can be built.

    Args:
        section: a number, or a mapping with ``name`` (a registered schedule or one of ``paddle.optimizer.lr``).
        where: key path of the section.
    """
    if not isinstance(section, Mapping):
        return _value_problems(section, "NonNegative", where)
    name = section.get("name")
    if name is None:
        words = misspelt("name", section)
        return [f"{where}.name: missing; a schedule's class name is expected, or a plain number as {where}{words}"]
    problem = _SCHEDULES.problem(name)
    if problem:
        return [f"{where}.name: {problem}"]
    given = {key: value for key, value in section.items() if key != "name"}
    problems = _argument_problems(given, _OF_ALL | schedule_arguments(name), name, where)
    if name in ALWAYS_BY_ITERATION and section.get("iter_step") is False:
        problems.append(f"{where}.iter_step: {name} moves at every iteration; leave the key out")
    return problems or _relation_problems(section, name, where)


def check_optimizer(section: Any, where: str = "OPTIMIZER") -> list[str]:
    """The mistakes of the whole OPTIMIZER section, its learning_rate included; one line each."""
    if not isinstance(section, Mapping):
        return [f"{where}: a mapping with name and learning_rate is expected, got {section!r}"]
    problems: list[str] = []
    if "learning_rate" not in section:
        words = misspelt("learning_rate", section)
        problems.append(f"{where}.learning_rate: missing; a number or a schedule is expected{words}")
    else:
        problems += check_lr(section["learning_rate"], f"{where}.learning_rate")
    name, decay = section.get("name"), section.get("weight_decay")
    problem = _OPTIMIZERS.problem(name)
    if problem:
        words = misspelt("name", section, SUITE_KEYS) if name is None else ""
        problems.append(f"{where}.name: {f'there is no optimizer {name!r}{words}' if words else problem}")
    else:
        own = {key: value for key, value in section.items() if key not in SUITE_KEYS}
        problems += _argument_problems(own, optimizer_arguments(name), name, where, SUITE_KEYS)
        if isinstance(decay, Mapping) and decay.get("name") == "L1" and decays_weights_itself(name):
            line = f"{name}'s decay is a plain shrinking of the weights; take L2"
            problems.append(f"{where}.weight_decay.name: {line}")
    if name == "Rprop" and isinstance(section.get("learning_rate"), Mapping):
        problems.append(f"{where}.learning_rate: Rprop adapts one rate per weight and reads no schedule; give a number")
    problems += _pair_problems(decay, ("L1", "L2"), "L1 or L2 is expected, got {!r}", f"{where}.weight_decay")
    problems += _pair_problems(section.get("grad_clip"), CLIPS, "there is no clip {!r}", f"{where}.grad_clip")
    for key, kind in _KIND_OF_KEY.items():
        problems += _value_problems(section[key], kind, f"{where}.{key}") if key in section else []
    groups = section.get("param_groups", "default")
    if groups not in ("default", "tsm"):
        problems.append(f"{where}.param_groups: 'default' or 'tsm' is expected, got {groups!r}")
    if "fc_lr5" in section and groups != "tsm":
        problems.append(f"{where}.fc_lr5: only param_groups: tsm has it; add that, or leave fc_lr5 out")
    return problems


# --- arguments -------------------------------------------------------------------------------------------------------


def _argument_problems(
    given: Mapping[str, Any], arguments: Mapping[str, Parameter], name: str, where: str, more: Iterable[str] = ()
) -> list[str]:
    problems = []
    for key, value in given.items():
        if key not in arguments:
            problems.append(f"{where}.{key}: {name} takes no {key!r}{suggest(key, [*arguments, *more])}")
        else:
            problems += _value_problems(value, arguments[key].annotation, f"{where}.{key}")
    for key, parameter in arguments.items():
        if parameter.required and key not in given:
            problems.append(f"{where}.{key}: missing; {name} needs it{misspelt(key, given, arguments)}")
    return problems


def _value_problems(value: Any, annotation: str | None, where: str) -> list[str]:
    """A line if ``value`` is not of this kind, or nothing."""
    if annotation is None:
        return []
    if "Schedule" in annotation:
        return check_lr(value, where)
    if annotation.startswith(("list", "Sequence")) and not (isinstance(value, (list, tuple)) and value):
        return [f"{where}: expected a list of numbers, got {value!r}"]
    hint = "; write 1.0e-4 rather than 1e-4, which YAML reads as a text"
    if annotation.startswith(("bool", "str", "Literal")):
        hint = ""
    elif unit_of(annotation):
        hint = "; a share of the run is written like 20/50"
        value = _each(value, lambda item: 1 if share_of(item) else item)
    lines = mistakes(in_whole_numbers(value, annotation), annotation, where)
    texts = value if isinstance(value, (list, tuple)) else [value]
    if "1e-4" in hint and not any(isinstance(text, str) and _EXPONENT.fullmatch(text) for text in texts):
        hint = ""
    return [line + hint if line.endswith(("'", '"')) else line for line in lines]  # of those that quote a text


def _relation_problems(section: Mapping[str, Any], name: str, where: str) -> list[str]:
    """The mistake that arguments make together, or nothing."""
    for key in ENDS:
        if section.get(key) == 0:
            return [f"{where}.{key}: expected more than 0; leave it out for the length of the run"]
    for key in ("boundaries", "milestones", "steps"):
        places = [share_of(place) or (place, 1) for place in section.get(key) or ()]
        units = {share_of(place) is None for place in section.get(key) or ()}
        if len(units) == 1 and any(a[0] * b[1] > b[0] * a[1] for a, b in itertools.pairwise(places)):
            return [f"{where}.{key}: expected them in ascending order, got {section[key]}"]
    if "values" in section and "boundaries" in section and len(section["values"]) != len(section["boundaries"]) + 1:
        counts = f"{len(section['boundaries'])} boundaries need {len(section['boundaries']) + 1} values"
        return [f"{where}.values: {counts}, got {len(section['values'])}"]
    if name == "CustomWarmupPiecewiseDecay":
        if section["steps"][0] != 0:
            return [f"{where}.steps: the first step is epoch 0, got {section['steps'][0]!r}"]
        if len(section["lrs"]) < len(section["steps"]):
            return [f"{where}.lrs: {len(section['steps'])} steps need as many factors, got {len(section['lrs'])}"]
    if name == "LinearWarmup" and section["end_lr"] <= section["start_lr"]:
        return [f"{where}.end_lr: must be above start_lr {section['start_lr']!r}, got {section['end_lr']!r}"]
    inner = section.get("learning_rate")
    if isinstance(inner, Mapping) and inner.get("iter_step") and not section.get("iter_step"):
        return [f"{where}.learning_rate.iter_step: the outer schedule sets the beat; write {where}.iter_step: True"]
    if section.get("warmup_iters") and section.get("warmup_epochs"):
        return [f"{where}.warmup_epochs: give warmup_iters or warmup_epochs, not both"]
    return []


def _pair_problems(section: Any, names: Sequence[str], unknown: str, where: str) -> list[str]:
    """Mistakes of a number, or of a mapping of ``name`` and ``value``."""
    if section is None:
        return []
    if not isinstance(section, Mapping):
        return _value_problems(section, "NonNegative", where)
    problems = [
        f"{where}.{key}: there is no such key{suggest(key, ('name', 'value'))}"
        for key in section
        if key not in ("name", "value")
    ]
    if section.get("name") not in names:
        near_one = suggest(str(section.get("name")), names) if len(names) > 2 else ""
        problems.append(f"{where}.name: {unknown.format(section.get('name'))}{near_one}")
    return problems + _value_problems(section.get("value"), "NonNegative", f"{where}.value")


# --- classes of Paddle, by their source ------------------------------------------------------------------------------


@cache
def _classes(file: str) -> dict[str, ast.ClassDef]:
    """The public classes of a file of ``paddle/optimizer``, by name, without the base classes."""
    nodes = [node for node in _source(file).body if isinstance(node, ast.ClassDef) and node.bases]
    return {node.name: node for node in nodes if not node.name.startswith("_")}


@cache
def _optimizer_files() -> dict[str, str]:
    """Each optimizer of Paddle and the file of its class."""
    imports = [node for node in _source("__init__.py").body if isinstance(node, ast.ImportFrom) and node.module]
    files = {alias.name: f"{node.module}.py" for node in imports for alias in node.names}
    return {name: file for name, file in files.items() if name != "Optimizer"}


def _source(file: str) -> ast.Module:
    paddle = find_spec("paddle")
    if paddle is None or not paddle.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'paddle'", name="paddle")
    path = Path(paddle.submodule_search_locations[0], "optimizer", file)
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _parameters(node: ast.ClassDef, method: str) -> list[Parameter]:
    """What a method takes besides ``self``, as it is written; nothing if the class does not define it."""
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and function.name == method:
            plain = function.args.args[1:]
            required = len(plain) - len(function.args.defaults)
            kinds = [ast.unparse(a.annotation) if a.annotation else "" for a in plain]
            return [Parameter(a.arg, i < required, kind) for i, (a, kind) in enumerate(zip(plain, kinds))]
    return []


def _with_range(parameter: Parameter) -> Parameter:
    """An argument with its range, or with the kinds that YAML can hold; with "" where there are none."""
    kinds = [kind for kind in (parameter.annotation or "").split(" | ") if kind.startswith(_PLAIN)]
    written = "" if kinds == ["None"] else " | ".join(kinds)
    return replace(parameter, annotation=_RANGE_OF.get(parameter.name, written))


def _reason(node: ast.ClassDef) -> str:
    """Why the training loop cannot use a class; empty where it can."""
    for parameter in _parameters(node, "__init__"):
        if parameter.required and (parameter.annotation or "").startswith("Callable"):
            return "needs a Python function, which YAML cannot hold"
    for parameter in _parameters(node, "step"):
        if parameter.required:
            return f"needs {parameter.name!r} at every step, which the training loop does not give; take another"
    return ""


# --- lengths ---------------------------------------------------------------------------------------------------------


def share_of(value: Any) -> tuple[int, int] | None:
    """(20, 50) of a share of the run, a text like ``20/50``; None for anything else."""
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    return (int(match[1]), int(match[2])) if match and int(match[2]) else None


def unit_of(annotation: str | None) -> str | None:
    """The unit of a length; None for other arguments."""
    return next((unit.lower() for unit in ("Epochs", "Steps") if unit in (annotation or "")), None)


def in_whole_numbers(value: Any, annotation: str | None) -> Any:
    """5.0 as 5, where whole numbers are meant."""
    whole = _each(value, lambda item: int(item) if isinstance(item, float) and item.is_integer() else item)
    return whole if mistakes(value, annotation, "") else value


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    return [change(item) for item in value] if isinstance(value, (list, tuple)) else change(value)
