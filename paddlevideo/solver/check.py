"""Checks and edits of the OPTIMIZER section that need no Paddle: names, arguments, scaling of rates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from paddlevideo.ranges import misspelt, mistakes, suggest

# "name:kind", optional ones with "?".  Kinds: those of _KINDS, lists of them with an "s", and lr (a rate,
# or a schedule of its own).  A rate is scaled by scale_lr.  Of lengths an epoch is one of the run, a beat one step of
# the schedule.  A test compares this table with the constructors.
_OURS = {
    "CustomWarmupCosineDecay": "warmup_start_lr:rate warmup_epochs:epoch cosine_base_lr:rate max_epoch?:epoch",
    "CustomWarmupPiecewiseDecay": "warmup_start_lr:rate warmup_epochs:epoch step_base_lr:rate lrs:factors "
    "gamma?:factor steps:epochs max_epoch?:epoch",
    "CustomWarmupAdjustDecay": "step_base_lr:rate warmup_epochs:epoch lr_decay_rate:factor boundaries:epochs",
    "CustomWarmupCosineStepDecay": "warmup_iters:epoch warmup_ratio?:share min_lr?:rate base_lr:rate max_epoch?:epoch",
    "CustomPiecewiseDecay": "boundaries:beats values:rates",
    "WarmupStepDecay": "base_lr:rate milestones:epochs gamma?:factor warmup_iters?:beat warmup_epochs?:epoch "
    "warmup_ratio?:share",
    "WarmupCosineDecay": "base_lr:rate min_lr?:rate max_epoch?:epoch by_epoch?:bool warmup_iters?:beat "
    "warmup_epochs?:epoch warmup_ratio?:share",
}
_PADDLE = {
    "NoamDecay": "d_model:count warmup_steps:beat learning_rate?:rate",
    "PiecewiseDecay": "boundaries:beats values:rates",
    "NaturalExpDecay": "learning_rate:rate gamma:factor",
    "InverseTimeDecay": "learning_rate:rate gamma:factor",
    "PolynomialDecay": "learning_rate:rate decay_steps?:beat end_lr?:rate power?:positive cycle?:bool",
    "LinearWarmup": "learning_rate:lr warmup_steps:beat start_lr:rate end_lr:rate",
    "ExponentialDecay": "learning_rate:rate gamma:factor",
    "MultiStepDecay": "learning_rate:rate milestones:beats gamma?:factor",
    "StepDecay": "learning_rate:rate step_size:count gamma?:factor",
    "CosineAnnealingDecay": "learning_rate:rate T_max?:beat eta_min?:rate",
    "OneCycleLR": "max_learning_rate:rate total_steps?:beat divide_factor?:positive end_learning_rate?:rate "
    "phase_pct?:share anneal_strategy?:str three_phase?:bool",
    "CyclicLR": "base_learning_rate:rate max_learning_rate:rate step_size_up:count step_size_down?:count mode?:str "
    "exp_gamma?:factor scale_mode?:str",
    "LinearLR": "learning_rate:rate total_steps?:beat start_factor?:share end_factor?:share",
    "CosineAnnealingWarmRestarts": "learning_rate:rate T_0:count T_mult?:count eta_min?:rate",
}
_REFUSED = {
    "LRScheduler": "is the base class of the schedules",
    "LambdaDecay": "needs a Python function, which YAML cannot hold",
    "MultiplicativeDecay": "needs a Python function, which YAML cannot hold",
    "ReduceOnPlateau": "needs a figure at every step, which a schedule is not given here",
}
_EVERYWHERE = "last_epoch?:start verbose?:bool"
_INJECTED = ("num_iters",)
# the arguments that say where a schedule ends, which is the run's end where they are left out
ENDS = ("max_epoch", "T_max", "total_steps", "decay_steps")
LENGTHS = ("epoch", "beat")
SHARE = re.compile(r"\s*(\d+)\s*/\s*(\d+)\s*")
ALWAYS_BY_ITERATION = ("WarmupStepDecay", "WarmupCosineDecay")

# The class's own arguments (besides rate, parameters, weight decay and clip), by paddle's names.
_OPTIMIZERS = {
    "SGD": "momentum?:momentum use_nesterov?:bool nesterov?:bool",
    "Momentum": "momentum?:momentum use_nesterov?:bool nesterov?:bool",
    "Adam": "beta1?:momentum beta2?:momentum epsilon?:positive amsgrad?:bool lazy_mode?:bool",
    "AdamW": "beta1?:momentum beta2?:momentum epsilon?:positive amsgrad?:bool lazy_mode?:bool",
    "Adamax": "beta1?:momentum beta2?:momentum epsilon?:positive",
    "Adagrad": "epsilon?:positive initial_accumulator_value?:rate",
    "Adadelta": "epsilon?:positive rho?:momentum",
    "RMSProp": "rho?:momentum epsilon?:positive momentum?:momentum centered?:bool",
    "NAdam": "beta1?:momentum beta2?:momentum epsilon?:positive momentum_decay?:rate",
    "RAdam": "beta1?:momentum beta2?:momentum epsilon?:positive",
}
SUITE_KEYS = (
    "name",
    "learning_rate",
    "base_batch_size",
    "weight_decay",
    "grad_clip",
    "no_weight_decay_name",
    "param_groups",
    "fc_lr5",
)
CLIPS = ("ClipGradByGlobalNorm", "ClipGradByNorm", "ClipGradByValue")


def schedule_names() -> list[str]:
    """The schedules that a YAML file may name, ours first."""
    return [*_OURS, *_PADDLE]


def schedule_arguments(name: str) -> dict[str, tuple[bool, str]]:
    """Argument name -> (required, kind) of one schedule, without those that the engine gives."""
    return _parse(f"{_OURS.get(name) or _PADDLE[name]} {_EVERYWHERE}")


def optimizer_arguments(name: str) -> dict[str, tuple[bool, str]]:
    """Argument name -> (required, kind) of one optimizer, without those that every optimizer has."""
    return _parse(_OPTIMIZERS[name])


def check_lr(section: Any, where: str = "OPTIMIZER.learning_rate") -> list[str]:
    """What is wrong with a learning_rate section: one line per mistake, none if it can be built.

    Args:
        section: a number, or a mapping with ``name`` (a schedule of this suite or of ``paddle.optimizer.lr``).
        where: key path of the section.
    """
    if not isinstance(section, Mapping):
        return _kind_problem(section, "rate", where)
    name = section.get("name")
    if name is None:
        words = misspelt("name", section)
        return [f"{where}.name: missing; a schedule's class name is expected, or a plain number as {where}{words}"]
    if name in _REFUSED:
        return [f"{where}.name: {name} {_REFUSED[name]}"]
    if name not in _OURS and name not in _PADDLE:
        return [f"{where}.name: there is no schedule {name!r}{suggest(str(name), schedule_names())}"]
    given = {key: value for key, value in section.items() if key not in ("name", "iter_step", *_INJECTED)}
    problems = _argument_problems(given, schedule_arguments(name), name, where)
    if "iter_step" in section:
        problems += _kind_problem(section["iter_step"], "bool", f"{where}.iter_step")
        if name in ALWAYS_BY_ITERATION and section["iter_step"] is False:
            problems.append(f"{where}.iter_step: {name} moves at every iteration; leave the key out")
    return problems or _relation_problems(section, name, where)


def check_optimizer(section: Any, where: str = "OPTIMIZER") -> list[str]:
    """What is wrong with the whole OPTIMIZER section, its learning_rate included; one line per mistake."""
    if not isinstance(section, Mapping):
        return [f"{where}: a mapping with name and learning_rate is expected, got {section!r}"]
    problems: list[str] = []
    name = section.get("name")
    if "learning_rate" not in section:
        words = misspelt("learning_rate", section)
        problems.append(f"{where}.learning_rate: missing; a number or a schedule is expected{words}")
    else:
        problems += check_lr(section["learning_rate"], f"{where}.learning_rate")
    if name not in _OPTIMIZERS:
        words = misspelt("name", section, SUITE_KEYS) if name is None else ""
        problems.append(f"{where}.name: there is no optimizer {name!r}{words or suggest(str(name), _OPTIMIZERS)}")
    else:
        own = {key: value for key, value in section.items() if key not in SUITE_KEYS}
        problems += _argument_problems(own, optimizer_arguments(name), name, where, SUITE_KEYS)
    problems += _decay_problems(section, name, where)
    problems += _clip_problems(section.get("grad_clip"), f"{where}.grad_clip")
    problems += _kind_problem(section.get("no_weight_decay_name", ""), "str", f"{where}.no_weight_decay_name")
    if section.get("base_batch_size") is not None:
        problems += _kind_problem(section["base_batch_size"], "count", f"{where}.base_batch_size")
    groups = section.get("param_groups", "default")
    if groups not in ("default", "tsm"):
        problems.append(f"{where}.param_groups: 'default' or 'tsm' is expected, got {groups!r}")
    if "fc_lr5" in section:
        problems += _kind_problem(section["fc_lr5"], "bool", f"{where}.fc_lr5")
        if groups != "tsm":
            problems.append(f"{where}.fc_lr5: only param_groups: tsm knows it; add that, or leave fc_lr5 out")
    return problems


def scale_lr(section: Any, factor: float) -> Any:
    """A copy of a learning_rate section with every rate in it multiplied; multipliers and counts stay.

    Args:
        section: what ``check_lr`` takes.
        factor: new global batch / the global batch the section was written for.
    """
    if not isinstance(section, Mapping):
        return section * factor
    arguments = schedule_arguments(section["name"])
    scaled = {}
    for key, value in section.items():
        kind = arguments.get(key, (False, ""))[1]
        if kind in ("rate", "lr"):
            value = scale_lr(value, factor)
        elif kind == "rates":
            value = [rate * factor for rate in value]
        scaled[key] = value
    if section["name"] in _RATE_DEFAULTS:
        for key, default in _RATE_DEFAULTS[section["name"]].items():
            scaled.setdefault(key, default * factor)
    return scaled


# Rates a schedule assumes where the YAML is silent: they have to be scaled too.
_RATE_DEFAULTS = {
    "NoamDecay": {"learning_rate": 1.0},
    "PolynomialDecay": {"end_lr": 0.0001},
    "OneCycleLR": {"end_learning_rate": 0.0001},
}


def _parse(text: str) -> dict[str, tuple[bool, str]]:
    found = {}
    for word in text.split():
        name, kind = word.split(":")
        found[name.rstrip("?")] = (not name.endswith("?"), kind)
    return found


def _argument_problems(
    given: Mapping[str, Any],
    arguments: Mapping[str, tuple[bool, str]],
    name: str,
    where: str,
    more: Iterable[str] = (),
) -> list[str]:
    problems = []
    for key, value in given.items():
        if key not in arguments:
            problems.append(f"{where}.{key}: {name} takes no {key!r}{suggest(key, [*arguments, *more])}")
        else:
            problems += _kind_problem(value, arguments[key][1], f"{where}.{key}")
    for key, (required, _) in arguments.items():
        if required and key not in given:
            words = misspelt(key, given, arguments)
            problems.append(f"{where}.{key}: missing; {name} needs it{words}")
    return problems


def is_share(value: Any) -> bool:
    """Whether ``value`` is a share of the run, a text like ``20/50``."""
    match = SHARE.fullmatch(value) if isinstance(value, str) else None
    return match is not None and int(match[2]) > 0


# kind of a value -> its annotation (``paddlevideo.ranges``)
_KINDS = {
    "rate": "NonNegative",
    "factor": "NonNegative",
    "positive": "Positive",
    "share": "Probability",
    "momentum": "ProbabilityBelowOne",
    "count": "PositiveInt",
    "start": "Annotated[int, Range(-1)]",
    "epoch": "NonNegative",
    "beat": "NonNegativeInt",
    "bool": "bool",
    "str": "str",
}


def _kind_problem(value: Any, kind: str, where: str) -> list[str]:
    """The line that says ``value`` is not of this kind, or nothing."""
    if kind == "lr":
        return check_lr(value, where)
    if kind not in _KINDS:
        if not isinstance(value, (list, tuple)) or not value:
            return [f"{where}: expected a list of numbers, got {value!r}"]
        return [line for i, item in enumerate(value) for line in _kind_problem(item, kind[:-1], f"{where}[{i}]")]
    if kind in LENGTHS and is_share(value):
        return []
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 5.0 steps are 5
    hint = ""
    if isinstance(value, str) and kind in LENGTHS:
        hint = "; a share of the run is written like 20/50"
    elif isinstance(value, str):  # YAML 1.1 reads 1e-4 as a text
        hint = "; write 1.0e-4 rather than 1e-4, which YAML reads as a text"
    return [f"{line}{hint if kind not in ('bool', 'str') else ''}" for line in mistakes(value, _KINDS[kind], where)]


def _relation_problems(section: Mapping[str, Any], name: str, where: str) -> list[str]:
    """What no single argument shows."""
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


def _decay_problems(section: Mapping[str, Any], optimizer: Any, where: str) -> list[str]:
    decay = section.get("weight_decay")
    if decay is None:
        return []
    if not isinstance(decay, Mapping):
        return _kind_problem(decay, "rate", f"{where}.weight_decay")
    problems = [
        f"{where}.weight_decay.{key}: there is no such key{suggest(key, ('name', 'value'))}"
        for key in decay
        if key not in ("name", "value")
    ]
    if decay.get("name") not in ("L1", "L2"):
        problems.append(f"{where}.weight_decay.name: L1 or L2 is expected, got {decay.get('name')!r}")
    elif decay["name"] == "L1" and optimizer == "AdamW":
        problems.append(f"{where}.weight_decay.name: AdamW's decay is a plain shrinking of the weights; take L2")
    return problems + _kind_problem(decay.get("value"), "rate", f"{where}.weight_decay.value")


def _clip_problems(clip: Any, where: str) -> list[str]:
    if clip is None:
        return []
    if not isinstance(clip, Mapping):
        return _kind_problem(clip, "rate", where)
    problems = [
        f"{where}.{key}: there is no such key{suggest(key, ('name', 'value'))}"
        for key in clip
        if key not in ("name", "value")
    ]
    if clip.get("name") not in CLIPS:
        problems.append(f"{where}.name: there is no clip {clip.get('name')!r}{suggest(str(clip.get('name')), CLIPS)}")
    return problems + _kind_problem(clip.get("value"), "rate", f"{where}.value")
