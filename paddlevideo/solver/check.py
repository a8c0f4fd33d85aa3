"""Checks of the OPTIMIZER section and SWA.lr without Paddle: names, arguments, lengths of schedules.

A class of ``paddle.optimizer`` is read by its source, not imported; ranges of its arguments are in
``_RANGES``.  A registered class (``SCHEDULES``, ``OPTIMIZERS``) has them in its annotations.

A length of a schedule (``max_epoch``, ``T_max``, ``boundaries``, ``warmup_epochs``...) is a number, or a share of the
run as text, ``20/50``, which follows ``epochs``.  The end of a schedule may be left out: it is the run's end.  A number
is compared with ``epochs``: a difference is reported, and ``-o epochs=N`` is refused while numbers remain that no other
``-o`` repeats.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    return {key: _whole(value, kinds[key].annotation) for key, value in section.items() if key not in SUITE_KEYS}


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
    elif _unit(annotation):
        hint = "; a share of the run is written like 20/50"
        value = _each(value, lambda item: 1 if is_share(item) else item)
    lines = mistakes(_whole(value, annotation), annotation, where)
    texts = value if isinstance(value, (list, tuple)) else [value]
    if "1e-4" in hint and not any(isinstance(text, str) and _EXPONENT.fullmatch(text) for text in texts):
        hint = ""
    return [line + hint if line.endswith(("'", '"')) else line for line in lines]  # of those that quote a text


def _relation_problems(section: Mapping[str, Any], name: str, where: str) -> list[str]:
    """The mistake that arguments make together, or nothing."""
    for key in ENDS:
        if section.get(key) == 0:
            return [f"{where}.{key}: expected more than 0; leave it out for the length of the run"]
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


@dataclass(frozen=True)
class Run:
    """The run that a schedule is made for.

    Args:
        epochs: of the run, or of its part that the schedule holds for.
        steps_per_epoch: optimizer steps; None where the data are unknown.
        steps_before: steps of the schedule that pass before it begins.
    """

    epochs: int
    steps_per_epoch: int | None = None
    steps_before: int = 0

    def total(self, unit: str, each_step: bool) -> int | float | None:
        """The run in epochs or in steps of the schedule; None where that is unknown."""
        per_epoch = self.steps_per_epoch if each_step else 1
        if unit == "epochs" and not self.steps_before:
            return self.epochs
        if per_epoch is None:
            return None
        steps = max(1, self.epochs * per_epoch - self.steps_before)
        return steps if unit == "steps" else steps / per_epoch


@dataclass(frozen=True)
class _Length:
    """One argument that states a length: key path, value, unit ("epochs" or "steps" of the schedule), and its run."""

    path: str
    value: Any
    unit: str
    each_step: bool
    run: Run

    @property
    def is_end(self) -> bool:
        return self.path.rpartition(".")[2] in ENDS

    @property
    def is_warmup(self) -> bool:
        return self.path.rpartition(".")[2].startswith("warmup")

    @property
    def numbers(self) -> list[int | float]:
        """The numbers in it; shares and 0, the beginning, are left out."""
        return [value for value in _listed(self.value) if isinstance(value, (int, float)) and value > 0]

    @property
    def words(self) -> str:
        return "steps" if self.unit == "steps" and self.each_step else "epochs"


def is_share(value: Any) -> bool:
    """Whether ``value`` is a share of the run, a text like ``20/50``."""
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    return match is not None and int(match[2]) > 0


def in_numbers(section: Mapping[str, Any], run: Run, each_step: bool) -> dict[str, Any]:
    """The arguments of a schedule, shares of the run as numbers, and an end that is left out as the run's.

    Steps are whole: a share that falls between two is the later one.  A schedule inside is left as it is.
    """
    found = dict(section)
    for name, parameter in schedule_arguments(section["name"]).items():
        unit = _unit(parameter.annotation)
        total = run.total(unit, each_step) if unit else None
        if unit and name in ENDS:
            found.setdefault(name, total)
        if name in found:
            found[name] = _whole(_number(found[name], total, unit), parameter.annotation)
    return found


def differences(section: Any, where: str, run: Run) -> list[str]:
    """One line for each length that is not the run's; lengths in iterations only where ``steps_per_epoch`` is given."""
    return [line for length in _lengths(section, where, run) for line in _difference(length)]


def broken(section: Any, where: str, before: int, epochs: int, assigned: Sequence[str]) -> list[str]:
    """Lengths that ``-o epochs=N`` leaves: one line for each length that the file states for its own ``epochs``.

    Args:
        before: the file's ``epochs``.
        epochs: the command line's.
        assigned: key paths that ``-o`` has set; a length among them is meant.
    """
    found = [length for length in _lengths(section, where, Run(epochs)) if length.numbers]
    if before == epochs or any(length.is_end and length.value == epochs for length in found):
        return []
    return [
        _outdated(length, before, epochs)
        for length in found
        if not any(length.path == path or length.path.startswith(f"{path}.") for path in assigned)
        # a warm-up shorter than the run is one of any run; one in iterations is compared when the data are known
        and not (length.is_warmup and (length.words == "steps" or max(length.numbers) < epochs))
    ]


def _lengths(section: Any, where: str, run: Run, each_step: bool | None = None) -> Iterator[_Length]:
    if not isinstance(section, Mapping) or section.get("cycle") is True:
        return
    each_step = by_iteration(section) if each_step is None else each_step
    for argument, parameter in schedule_arguments(section["name"]).items():
        value, unit = section.get(argument), _unit(parameter.annotation)
        if isinstance(value, Mapping):
            if each_step and run.steps_per_epoch is None:
                continue
            before = in_numbers(section, run, each_step).get("warmup_steps", 0)
            inner = Run(run.epochs, run.steps_per_epoch, int(before))
            yield from _lengths(value, f"{where}.{argument}", inner, each_step)
        elif unit and value is not None:
            yield _Length(f"{where}.{argument}", value, unit, each_step, run)


def _difference(length: _Length) -> Iterator[str]:
    total = length.run.total(length.unit, length.each_step)
    if total is None or not length.numbers:
        return
    words, least, most = length.words, min(length.numbers), max(length.numbers)
    # iterations counted by hand may be off by the incomplete batches of an epoch
    slack = length.run.steps_per_epoch - 1 if words == "steps" else 0
    run = f"the run has {total:g} {words}"
    if length.is_end and least < total - slack:
        yield f"{length.path}: the schedule ends after {least:g} {words} and {run}: its last rate holds from there on"
    elif length.is_end and most > total + slack:
        yield f"{length.path}: the schedule takes {most:g} {words} and {run}: its last rate is never reached"
    elif length.is_warmup and most >= total:
        yield f"{length.path}: the warm-up takes {most:g} {words} and {run}: its end is never reached"
    elif not length.is_end and most >= total:
        late = [f"{number:g}" for number in length.numbers if number >= total]
        yield f"{length.path}: {', '.join(late)} of {words} is never reached, {run}"


def _outdated(length: _Length, before: int, epochs: int) -> str:
    if length.words == "epochs":
        shares = [f"{item:g}/{before}" if item in length.numbers else str(item) for item in _listed(length.value)]
        shape = f"[{','.join(shares)}]" if isinstance(length.value, (list, tuple)) else shares[0]
    else:
        shape = "a share of the run like 2/5"
    own = str(length.value).replace(" ", "")
    return (
        f"{length.path}: is {own} for the file's {before} epochs, and -o sets epochs to {epochs}; add -o "
        f"{length.path}={shape} to keep the shape of the schedule, or ={own} to keep the number"
    )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _number(value: Any, total: int | float | None, unit: str | None) -> Any:
    """A length with its shares as numbers of the unit."""
    if isinstance(value, (list, tuple)):
        numbers = [_number(item, total, unit) for item in value]
        if unit == "steps":
            # shares of a short run that fall on one step follow one another: every drop happens, in its order
            for i in range(1, len(numbers)):
                numbers[i] = max(numbers[i], numbers[i - 1] + 1) if is_share(value[i]) else numbers[i]
        return numbers
    if unit is None or not is_share(value):
        return value
    part, whole = (int(digits) for digits in _SHARE.fullmatch(value).groups())
    if unit == "steps":
        return max(1, -(-total * part // whole))
    return total * part // whole if total * part % whole == 0 else total * part / whole


def _unit(annotation: str | None) -> str | None:
    """The unit of a length; None for other arguments."""
    return next((unit.lower() for unit in ("Epochs", "Steps") if unit in (annotation or "")), None)


def _whole(value: Any, annotation: str | None) -> Any:
    """5.0 as 5, where whole numbers are meant."""
    whole = _each(value, lambda item: int(item) if isinstance(item, float) and item.is_integer() else item)
    return whole if mistakes(value, annotation, "") else value


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    return [change(item) for item in value] if isinstance(value, (list, tuple)) else change(value)
