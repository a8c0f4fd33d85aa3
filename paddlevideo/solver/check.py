"""Checks and edits of the OPTIMIZER section that need no Paddle: names, arguments, scaling of rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from paddlevideo.registry import suggest

# "name:kind", optional ones with "?".  Kinds: rate (positive number, scaled by scale_lr; see SCALED), number, int,
# numbers, ints, bool, str, lr (a rate, or a schedule of its own).  A test compares this table with the constructors.
_OURS = {
    "CustomWarmupCosineDecay": "warmup_start_lr:rate warmup_epochs:number cosine_base_lr:rate max_epoch:number",
    "CustomWarmupPiecewiseDecay": "warmup_start_lr:rate warmup_epochs:number step_base_lr:rate lrs:numbers "
    "gamma?:number steps:numbers max_epoch:number",
    "CustomWarmupAdjustDecay": "step_base_lr:rate warmup_epochs:number lr_decay_rate:number boundaries:numbers",
    "CustomWarmupCosineStepDecay": "warmup_iters:number warmup_ratio?:number min_lr?:rate base_lr:rate "
    "max_epoch:number",
    "CustomPiecewiseDecay": "boundaries:ints values:rates",
    "WarmupStepDecay": "base_lr:rate milestones:ints gamma?:number warmup_iters?:int warmup_epochs?:number "
    "warmup_ratio?:number",
    "WarmupCosineDecay": "base_lr:rate min_lr?:rate max_epoch?:number by_epoch?:bool warmup_iters?:int "
    "warmup_epochs?:number warmup_ratio?:number",
}
_PADDLE = {
    "NoamDecay": "d_model:int warmup_steps:int learning_rate?:rate",
    "PiecewiseDecay": "boundaries:ints values:rates",
    "NaturalExpDecay": "learning_rate:rate gamma:number",
    "InverseTimeDecay": "learning_rate:rate gamma:number",
    "PolynomialDecay": "learning_rate:rate decay_steps:int end_lr?:rate power?:number cycle?:bool",
    "LinearWarmup": "learning_rate:lr warmup_steps:int start_lr:rate end_lr:rate",
    "ExponentialDecay": "learning_rate:rate gamma:number",
    "MultiStepDecay": "learning_rate:rate milestones:ints gamma?:number",
    "StepDecay": "learning_rate:rate step_size:int gamma?:number",
    "CosineAnnealingDecay": "learning_rate:rate T_max:int eta_min?:rate",
    "OneCycleLR": "max_learning_rate:rate total_steps:int divide_factor?:number end_learning_rate?:rate "
    "phase_pct?:number anneal_strategy?:str three_phase?:bool",
    "CyclicLR": "base_learning_rate:rate max_learning_rate:rate step_size_up:int step_size_down?:int mode?:str "
    "exp_gamma?:number scale_mode?:str",
    "LinearLR": "learning_rate:rate total_steps:int start_factor?:number end_factor?:number",
    "CosineAnnealingWarmRestarts": "learning_rate:rate T_0:int T_mult?:int eta_min?:rate",
}
_REFUSED = {
    "LRScheduler": "is the base class of the schedules",
    "LambdaDecay": "needs a Python function, which YAML cannot hold",
    "MultiplicativeDecay": "needs a Python function, which YAML cannot hold",
    "ReduceOnPlateau": "needs a figure at every step, which a schedule is not given here",
}
_EVERYWHERE = "last_epoch?:int verbose?:bool"
_INJECTED = ("num_iters",)
ALWAYS_BY_ITERATION = ("WarmupStepDecay", "WarmupCosineDecay")

# The class's own arguments (besides rate, parameters, weight decay and clip), by paddle's names.
_OPTIMIZERS = {
    "SGD": "momentum?:number use_nesterov?:bool nesterov?:bool",
    "Momentum": "momentum?:number use_nesterov?:bool nesterov?:bool",
    "Adam": "beta1?:number beta2?:number epsilon?:number amsgrad?:bool lazy_mode?:bool",
    "AdamW": "beta1?:number beta2?:number epsilon?:number amsgrad?:bool lazy_mode?:bool",
    "Adamax": "beta1?:number beta2?:number epsilon?:number",
    "Adagrad": "epsilon?:number initial_accumulator_value?:number",
    "Adadelta": "epsilon?:number rho?:number",
    "RMSProp": "rho?:number epsilon?:number momentum?:number centered?:bool",
    "NAdam": "beta1?:number beta2?:number epsilon?:number momentum_decay?:number",
    "RAdam": "beta1?:number beta2?:number epsilon?:number",
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


def optimizer_names() -> list[str]:
    """The optimizers that a YAML file may name."""
    return list(_OPTIMIZERS)


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
        return [f"{where}.name: missing; a schedule's class name is expected, or a plain number as {where}"]
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
        problems.append(f"{where}.learning_rate: missing; a number or a schedule is expected")
    else:
        problems += check_lr(section["learning_rate"], f"{where}.learning_rate")
    if name not in _OPTIMIZERS:
        problems.append(f"{where}.name: there is no optimizer {name!r}{suggest(str(name), _OPTIMIZERS)}")
    else:
        own = {key: value for key, value in section.items() if key not in SUITE_KEYS}
        problems += _argument_problems(own, optimizer_arguments(name), name, where, SUITE_KEYS)
    problems += _decay_problems(section, name, where)
    problems += _clip_problems(section.get("grad_clip"), f"{where}.grad_clip")
    problems += _kind_problem(section.get("no_weight_decay_name", ""), "str", f"{where}.no_weight_decay_name")
    if section.get("base_batch_size") is not None:
        problems += _kind_problem(section["base_batch_size"], "int", f"{where}.base_batch_size")
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
            problems.append(f"{where}.{key}: missing; {name} needs it")
    return problems


def _kind_problem(value: Any, kind: str, where: str) -> list[str]:
    """The line that says ``value`` is not of this kind, or nothing."""
    if kind == "lr":
        return check_lr(value, where)
    if kind in ("numbers", "ints", "rates"):
        if not isinstance(value, (list, tuple)) or not value:
            return [f"{where}: a list of numbers is expected, got {value!r}"]
        return [line for i, item in enumerate(value) for line in _kind_problem(item, kind[:-1], f"{where}[{i}]")]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        "rate": number and value >= 0,
        "number": number,
        "int": number and float(value).is_integer(),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
    }
    if fits[kind]:
        return []
    words = {
        "rate": "a number that is not negative",
        "number": "a number",
        "int": "a whole number",
        "bool": "true or false",
        "str": "a text",
    }
    # YAML 1.1 reads 1e-4 as a text, which is the usual reason for a text where a number belongs
    hint = "; write 1.0e-4 rather than 1e-4, which YAML reads as a text" if isinstance(value, str) else ""
    return [f"{where}: {words[kind]} is expected, got {value!r}{hint if kind != 'bool' else ''}"]


def _relation_problems(section: Mapping[str, Any], name: str, where: str) -> list[str]:
    """What no single argument shows."""
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
        f"{where}.weight_decay.{key}: there is no such key; name (L1 or L2) and value are expected"
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
        f"{where}.{key}: there is no such key; name and value are expected"
        for key in clip
        if key not in ("name", "value")
    ]
    if clip.get("name") not in CLIPS:
        problems.append(f"{where}.name: there is no clip {clip.get('name')!r}{suggest(str(clip.get('name')), CLIPS)}")
    return problems + _kind_problem(clip.get("value"), "rate", f"{where}.value")
