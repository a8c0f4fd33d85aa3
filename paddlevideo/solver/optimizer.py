"""Optimizers with per-parameter rates and decays, and their state by structured parameter names.

Paddle clips a gradient norm per parameter group, so the "global" norm of a grouped optimizer is not global.  Therefore
all parameters go into one plain list, and the multipliers of the groups are set on the parameters: the rate in
``optimize_attr["learning_rate"]``, the decay in ``regularizer`` (AdamW: ``apply_decay_param_fun``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.nn import Layer
from paddle.optimizer import Optimizer
from paddle.regularizer import L1Decay, L2Decay

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.registry import OPTIMIZERS
from paddlevideo.solver.check import check_optimizer, decays_weights_itself, own_arguments, takes
from paddlevideo.solver.lr import Constant, RateOfRun, RunSchedule

log = logging.getLogger("paddlevideo")
_DECOUPLED_DEFAULT = 0.01  # of Paddle's constructors
_CONVOLUTIONS = (nn.Conv1D, nn.Conv2D, nn.Conv3D, nn.Conv1DTranspose, nn.Conv2DTranspose, nn.Conv3DTranspose)
_NORMS = (nn.BatchNorm, nn.layer.norm._BatchNormBase, nn.GroupNorm)
# in the state's keys, beside "velocity_0" and the like
_MASTER = "master_weight"


@dataclass
class ParameterGroup:
    """Parameters that share their multipliers.

    Args:
        lr_mult: times the schedule's rate.
        decay_mult: times the section's weight decay.
        decay: the product, once an optimizer is built.
        names: structured names, ``backbone.conv._conv.weight``.
    """

    lr_mult: float
    decay_mult: float
    decay: float = 0.0
    names: list[str] = field(default_factory=list)
    parameters: list[paddle.Tensor] = field(default_factory=list)


def build_optimizer(
    section: Mapping[str, Any],
    schedule: RateOfRun,
    model: Layer,
    multi_precision: bool = False,
    networks: Sequence[Layer] | None = None,
) -> Optimizer:
    """The optimizer of an OPTIMIZER section: a class of ``paddle.optimizer``, or one of the registry ``OPTIMIZERS``.

    Its rate is the schedule's first one; ``set_lr`` gives it those of later steps.

    Weight decay is added to the gradient, after clipping (L2 or L1), except with optimizers that shrink the weights
    themselves (AdamW, Lamb; by default 0.01).  ``SGD`` with a momentum, as MMAction2 writes it, is
    ``Momentum``.  Frozen parameters take no part.  The multipliers are written onto the parameters: building a second
    optimizer for the same model replaces them.

    Args:
        section: name, its own arguments, weight_decay (a number, or name L1 or L2 and value), grad_clip (a number for
            the global norm, or name and value), no_weight_decay_name (parts of parameter names, between blanks),
            param_groups: ``default`` (the hints of the model's parameters) or ``tsm``, fc_lr5 (with ``tsm``).
        multi_precision: float32 master weights for float16 or bfloat16 parameters, where the optimizer has them.
        networks: the parts of the model that have a classifier each; the model itself if not given.

    Raises:
        ConfigError: a mistake in the section.
        UserError: nothing to train; two parameters of one name; ``tsm`` on a network it does not support; rates or
            decays that the optimizer cannot apply.
    """
    problems = check_optimizer(section)
    if problems:
        raise ConfigError("OPTIMIZER", problems)
    groups = parameter_groups(section, model, networks)
    name, own = _named_as_paddle(section["name"], own_arguments(section))
    decay, decay_class = _weight_decay(section)
    coupled = not decays_weights_itself(name)
    for group in groups:
        group.decay = decay * group.decay_mult
        for parameter in group.parameters:
            parameter.optimize_attr["learning_rate"] = group.lr_mult
            parameter.regularizer = decay_class(group.decay) if coupled and group.decay else None
    arguments: dict[str, Any] = {"grad_clip": _clip(section.get("grad_clip")), **own}
    if not coupled:
        arguments |= _own_decay(name, groups, decay)
    if takes(name, "multi_precision"):
        arguments["multi_precision"] = multi_precision
    if name == "Rprop":
        _forbid_other_rates(groups, schedule)
    flat = [parameter for group in groups for parameter in group.parameters]
    factory = OPTIMIZERS.get(name) if name in OPTIMIZERS else getattr(paddle.optimizer, name)
    try:
        optimizer = factory(learning_rate=schedule.rate(0), parameters=flat, **arguments)
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError("OPTIMIZER", [f"OPTIMIZER ({name}): {error}"]) from error
    optimizer.parameter_groups = groups
    return optimizer


class _ClipGradByGlobalNorm(nn.ClipGradByGlobalNorm):
    """Paddle's, which takes over a norm that ``squared_gradient_norm`` has computed for the same step."""

    squared_norm: paddle.Tensor | None = None

    def _dygraph_clip(self, params_grads: list) -> list:
        squared, self.squared_norm = self.squared_norm, None
        if squared is None:
            return super()._dygraph_clip(params_grads)
        limit = paddle.full([], self.clip_norm)
        factor = limit / paddle.maximum(squared.sqrt(), limit)
        return [(p, g.multiply_(factor)) for p, g in params_grads]


@paddle.no_grad()
def squared_gradient_norm(optimizer: Optimizer) -> paddle.Tensor:
    """The sum of squares over the gradients of all the optimizer's parameters, float32 [], before clipping.

    The next ``optimizer.step()`` clips by this norm, if it clips by the global one; gradients may not change between.
    """
    gradients = [p.grad for p in optimizer._parameter_list if p.grad is not None]
    if not gradients:
        return paddle.zeros([])
    squared = paddle.stack([paddle._C_ops.squared_l2_norm(g.astype("float32")).reshape([]) for g in gradients]).sum()
    clip = optimizer._grad_clip
    # of half-precision gradients Paddle sums in its own order
    if isinstance(clip, _ClipGradByGlobalNorm) and all(g.dtype == paddle.float32 for g in gradients):
        clip.squared_norm = squared
    return squared


def parameter_groups(
    section: Mapping[str, Any], model: Layer, networks: Sequence[Layer] | None = None
) -> list[ParameterGroup]:
    """Every trainable parameter in exactly one group, by its multipliers, in the order of the model."""
    named = [(name, p) for name, p in model.named_parameters() if not p.stop_gradient]
    if not named:
        raise UserError("OPTIMIZER: the network has no parameter to train; all of them are frozen")
    _forbid_duplicates(named)
    if section.get("param_groups", "default") == "tsm":
        multipliers = _tsm_multipliers(model, section.get("fc_lr5", True), networks)
    else:
        multipliers = {
            name: (float(p.optimize_attr.get("learning_rate", 1.0)), float(getattr(p, "decay_mult", 1.0)))
            for name, p in named
        }
    spared = str(section.get("no_weight_decay_name") or "").split()
    if unknown := [part for part in spared if not any(part in name for name, _ in named)]:
        words = ", ".join(unknown)
        log.warning("OPTIMIZER.no_weight_decay_name: no trained parameter has %s in its name: no effect", words)
    groups: dict[tuple[float, float], ParameterGroup] = {}
    for name, parameter in named:
        lr_mult, decay_mult = multipliers[name]
        if any(part in name for part in spared):
            decay_mult = 0.0
        group = groups.setdefault((lr_mult, decay_mult), ParameterGroup(lr_mult, decay_mult))
        group.names.append(name)
        group.parameters.append(parameter)
    return list(groups.values())


def describe_groups(optimizer: Optimizer, model: Layer) -> str:
    """One line per group: how many parameters, times which rate, how much decay; one more for what is frozen."""
    lines = [
        f"{type(optimizer).__name__}: {len(g.names)} parameters ({sum(int(p.size) for p in g.parameters)} values): "
        f"lr x {g.lr_mult:g}, weight decay {g.decay:g}"
        for g in optimizer.parameter_groups
    ]
    # Paddle counts the running statistics of batch norms as parameters
    frozen = [p for n, p in model.named_parameters() if p.stop_gradient and not n.endswith(("._mean", "._variance"))]
    if frozen:
        lines.append(f"{len(frozen)} parameters ({sum(int(p.size) for p in frozen)} values) are frozen")
    return "\n".join(lines)


def optimizer_state(optimizer: Optimizer, model: Layer) -> dict[str, np.ndarray]:
    """The optimizer's state: ``<structured parameter name>.<accumulator>`` -> array; {} before the first step.

    Accumulators have Paddle's names (``velocity_0``, ``moment1_0``, ``beta1_pow_acc_0``...), float32 master
    weights ``master_weight``.  The schedule is not part of it.
    """
    if not optimizer._master_weights and not any(optimizer._accumulators.values()):
        return {}
    # those of parameters that never had a gradient are made too, so that a whole state always has the same keys
    return {key: tensor.numpy().copy() for key, tensor in _slots(optimizer, model).items()}


def load_optimizer_state(optimizer: Optimizer, model: Layer, state: Mapping[str, Any]) -> None:
    """Puts back what ``optimizer_state`` gave, before the first step or later, in whatever process.

    Args:
        state: by structured names; or as ``paddle.save(optimizer.state_dict())`` wrote it (PaddleVideo's ``.pdopt``),
            by Paddle's own parameter names, if those are the names of this model.

    Raises:
        UserError: a key is missing, unexpected or of another shape.
    """
    state = {key: value for key, value in state.items() if key != "LR_Scheduler"}
    if not state:
        if optimizer._master_weights or any(optimizer._accumulators.values()):
            raise UserError("the saved optimizer state is empty, and this optimizer has already taken a step")
        return
    slots = _slots(optimizer, model)
    if not any(key in slots for key in state):
        state = _renamed(state, optimizer, model)
    missing = [key for key in slots if key not in state]
    unexpected = [key for key in state if key not in slots]
    shapes = [
        f"{key} {list(np.shape(state[key]))} for {list(slot.shape)}"
        for key, slot in slots.items()
        if key in state and list(np.shape(state[key])) != list(slot.shape)
    ]
    found = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    faults = [f"{len(names)} {word} ({_some(names)})" for word, names in found if names]
    if faults:
        raise UserError(
            f"the saved optimizer state does not fit {type(optimizer).__name__} on this network: {', '.join(faults)}; "
            "resume with the configuration of the saved run"
        )
    for key, slot in slots.items():
        _fill(slot, np.asarray(state[key]))


def _slots(optimizer: Optimizer, model: Layer) -> dict[str, paddle.Tensor]:
    """All tensors of the optimizer's state, created first where they are missing."""
    names = {p.name: name for name, p in model.named_parameters()}
    block = paddle.base.framework.default_main_program().global_block()
    with paddle.no_grad():
        optimizer._create_accumulators(block, [p for p in optimizer._parameter_list if not p.stop_gradient])
    slots = {}
    for parameter, tensor in optimizer._master_weights.items():
        slots[f"{names[parameter]}.{_MASTER}"] = tensor
        # accumulators of a parameter with a master weight go by the master's name
        names[tensor.name] = names[parameter]
    for kind, tensors in optimizer._accumulators.items():
        for parameter, tensor in tensors.items():
            slots[f"{names[parameter]}.{kind}_0"] = tensor
    return slots


def _renamed(state: Mapping[str, Any], optimizer: Optimizer, model: Layer) -> dict[str, Any]:
    """Paddle's own keys, ``conv2d_0.w_0_velocity_0``, as structured ones; a key that fits nothing stays as it is."""
    masters = state.get("master_weights", {})
    keys = {}
    for structured, parameter in model.named_parameters():
        for kind in optimizer._accumulators:
            keys[f"{parameter.name}_{kind}_0"] = f"{structured}.{kind}_0"
            keys[f"{parameter.name}_fp32_master_0_{kind}_0"] = f"{structured}.{kind}_0"
    names = {parameter.name: structured for structured, parameter in model.named_parameters()}
    renamed = {keys.get(key, key): value for key, value in state.items() if key != "master_weights"}
    return renamed | {f"{names.get(key, key)}.{_MASTER}": value for key, value in masters.items()}


def _fill(slot: paddle.Tensor, value: np.ndarray) -> None:
    # Adam's powers of beta are on the CPU even when the weights are not: set_value would move them
    source = paddle.to_tensor(value, place=slot.place)
    slot.copy_(source if source.dtype == slot.dtype else source.astype(slot.dtype), True)


def _tsm_multipliers(model: Layer, fc_lr5: bool, networks: Sequence[Layer] | None) -> dict[str, tuple[float, float]]:
    """TSM's multipliers of rate and decay, by structured name; what is frozen has none.

    Weights of convolutions and linear layers 1, 1; their biases 2, 0; norms 1, 0.  With ``fc_lr5`` the last linear
    layer of each network, the classifier, has 5, 1 and its bias 10, 0.  *Source*: MMAction2 0.24
    ``TSMOptimizerConstructor``, by what its code does; it supports one network.
    """
    classifiers = set()
    for network in networks or [model]:
        linear = [layer for layer in network.sublayers(include_self=True) if isinstance(layer, nn.Linear)]
        classifiers |= {id(layer) for layer in linear[-1:] if fc_lr5}
    multipliers = {}
    for prefix, layer in model.named_sublayers(include_self=True):
        own = layer.named_parameters(include_sublayers=False)
        for name in [name for name, parameter in own if not parameter.stop_gradient]:
            if isinstance(layer, _NORMS):
                pair = (1.0, 0.0)
            elif isinstance(layer, (*_CONVOLUTIONS, nn.Linear)):
                times = (5.0, 10.0) if id(layer) in classifiers else (1.0, 2.0)
                pair = (times[1], 0.0) if name == "bias" else (times[0], 1.0)
            else:
                raise UserError(
                    f"OPTIMIZER.param_groups: tsm has no multipliers for {prefix or 'the network'} "
                    f"({type(layer).__name__}) and its parameter {name}, only for convolutions, linear layers, batch "
                    "and group norms; take param_groups: default"
                )
            multipliers[f"{prefix}.{name}" if prefix else name] = pair
    return multipliers


def _named_as_paddle(name: str, own: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Momentum for SGD with a momentum, as MMAction2 writes it, and ``use_nesterov`` for ``nesterov``."""
    if "nesterov" in own:
        own["use_nesterov"] = own.pop("nesterov")
    if name == "SGD" and own.get("momentum"):
        name = "Momentum"
    if name == "SGD":
        if own.get("use_nesterov"):
            raise ConfigError("OPTIMIZER", ["OPTIMIZER.use_nesterov: SGD needs a momentum for it"])
        own = {}
    return name, own


def _weight_decay(section: Mapping[str, Any]) -> tuple[float, type]:
    decay = section.get("weight_decay")
    if isinstance(decay, Mapping):
        return float(decay["value"]), L1Decay if decay["name"] == "L1" else L2Decay
    if decay is None:
        # what Paddle's own constructors do
        return (_DECOUPLED_DEFAULT if decays_weights_itself(section["name"]) else 0.0), L2Decay
    return float(decay), L2Decay


def _clip(section: Mapping[str, Any] | float | None) -> Any:
    if section is None:
        return None
    if not isinstance(section, Mapping):
        section = {"name": "ClipGradByGlobalNorm", "value": section}
    clips = {
        "ClipGradByGlobalNorm": _ClipGradByGlobalNorm,
        "ClipGradByNorm": nn.ClipGradByNorm,
        "ClipGradByValue": nn.ClipGradByValue,
    }
    return clips[section["name"]](float(section["value"]))


def _own_decay(name: str, groups: list[ParameterGroup], decay: float) -> dict[str, Any]:
    """The arguments of an optimizer that shrinks the weights itself.

    Raises:
        UserError: a group has a fraction of the decay.
    """
    for group in groups:
        if group.decay_mult not in (0.0, 1.0):
            raise UserError(
                f"OPTIMIZER: {name} decays a parameter wholly or not at all, {group.names[0]} has the multiplier "
                f"{group.decay_mult:g}; take Momentum or Adam"
            )
    names = {p.name for group in groups if group.decay_mult for p in group.parameters}
    if takes(name, "apply_decay_param_fun"):
        return {"weight_decay": decay, "apply_decay_param_fun": names.__contains__}
    return {"lamb_weight_decay": decay, "exclude_from_weight_decay_fn": lambda parameter: parameter.name not in names}


def _forbid_other_rates(groups: list[ParameterGroup], schedule: RateOfRun) -> None:
    """Rprop begins with one rate for all and adapts it for each weight."""
    if any(group.lr_mult != 1 for group in groups):
        raise UserError("OPTIMIZER: Rprop has one rate for all parameters, and some have multipliers; take another")
    if not (isinstance(schedule, RunSchedule) and isinstance(schedule.schedule, Constant)):
        raise UserError(
            "OPTIMIZER: Rprop adapts its rates itself: give a number as learning_rate, no SWA.lr, no --scale_lr"
        )


def _forbid_duplicates(named: list[tuple[str, paddle.Tensor]]) -> None:
    """Paddle keeps accumulators by ``parameter.name``: two parameters of one name would share them unnoticed."""
    seen: dict[str, str] = {}
    for name, parameter in named:
        other = seen.setdefault(parameter.name, name)
        if other != name:
            raise UserError(f"parameters {other} and {name} have the same Paddle name {parameter.name!r}; rename one")


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
