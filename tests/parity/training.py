"""Training parity: the suite's own steps, with its optimizer and its loop, in float32 or in float64."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from paddlevideo.build import network
from paddlevideo.config import load_config
from paddlevideo.engine.precision import Precision
from paddlevideo.engine.trainer import Trainer
from paddlevideo.settings import Options
from paddlevideo.solver.lr import build_lr
from paddlevideo.solver.optimizer import build_optimizer
from tests.parity.training_inputs import CASES, SEED, STEPS, batch, start_weights, torch_name


@dataclass(frozen=True)
class Step:
    """What a step gives: its loss, the norm of its gradients before clipping, and the rate.

    ``gradients``, before clipping, and ``weights``, after the step: float arrays by PyTorch's names, in its layout.
    """

    loss: float
    gradient_norm: float
    rate: float
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def run(name: str, dtype: str, steps: int = STEPS, overrides: tuple[str, ...] = (), arrays: bool = False) -> list[Step]:
    """The first steps of a case of ``CASES``.

    Args:
        dtype: "float32", what the suite trains in, or "float64".
        overrides: of the configuration, in addition to the case's.
        arrays: keep gradients and weights.
    """
    case = CASES[name]
    with in_float64() if dtype == "float64" else contextlib.nullcontext():
        config = load_config(case.config, [*case.overrides, *overrides])
        framework = network(config)
        layout = _Layout(framework)
        layout.start()
        trainer = _trainer(config, framework)
        framework.train()
        found = []
        for number in range(steps):
            figures = trainer._step([batch(case, number)])
            trainer.progress.epoch += 1  # an epoch is one step
            trainer.progress.step += 1
            kept = ({}, {})
            if arrays:
                weights = {p.name: p.numpy() for p in trainer.optimizer._parameter_list}
                kept = layout.torch(trainer.precision.gradients), layout.torch(weights)
            found.append(Step(figures["loss"], trainer.precision.norm, figures["lr"], *kept))
    return found


class _Recorder(Precision):
    """``Precision`` that keeps the norm and the gradients of the last step."""

    def check(self, optimizer: Any, *arguments: Any) -> Any:
        found = super().check(optimizer, *arguments)
        self.norm = found[0].gradient_norm
        self.gradients = {p.name: p.grad.numpy() for p in optimizer._parameter_list}
        return found


class _Layout:
    """The names and axes of a network's parameters here and in PyTorch, where weights of linear layers are [out, in].

    Args:
        framework: the suite's network.
    """

    def __init__(self, framework: paddle.nn.Layer):
        self._state = {torch_name(key): value for key, value in framework.state_dict().items()}
        linear = {layer.weight.name for layer in framework.sublayers() if isinstance(layer, paddle.nn.Linear)}
        self._turned = {key for key, value in self._state.items() if value.name in linear}
        self._names = {value.name: key for key, value in self._state.items()}

    def start(self) -> None:
        """Gives the network the start weights of the cases."""
        shapes = {key: value.shape[::-1] if key in self._turned else value.shape for key, value in self._state.items()}
        for key, value in start_weights(shapes.items()).items():
            value = value.T if key in self._turned else value
            self._state[key].set_value(value.astype(self._state[key].numpy().dtype))

    def torch(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays by Paddle's names of the parameters, by PyTorch's names and in its layout."""
        named = {self._names[name]: value for name, value in arrays.items()}
        return {key: (value.T if key in self._turned else value).copy() for key, value in named.items()}


def _trainer(config: Any, framework: Any) -> Trainer:
    """The trainer of a run whose epochs are one step, without a loader and without hooks."""
    section = {key: value for key, value in config.section("OPTIMIZER").items() if key != "base_batch_size"}
    schedule = build_lr(section["learning_rate"], 1, config.settings.epochs)
    optimizer = build_optimizer(section, schedule, framework, False, framework.networks())
    return Trainer(
        config=config, options=Options(), pipelines={}, framework=framework, model=framework, loader=None,
        schedule=schedule, optimizer=optimizer, precision=_Recorder(), folder=None, accumulate=1, seed=SEED,
    )  # fmt: skip


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Within it the suite's float32 is float64: new parameters, casts, and tensors of float32 arrays.

    Over a few steps batch norms of small batches amplify the rounding of float32 beyond what a comparison can tell from
    a mistake.
    """
    default, astype, to_tensor = paddle.get_default_dtype(), paddle.Tensor.astype, paddle.to_tensor

    def wide(tensor: paddle.Tensor, dtype: Any) -> paddle.Tensor:
        return astype(tensor, "float64" if dtype in ("float32", paddle.float32) else dtype)

    def made(*arguments: Any, **options: Any) -> paddle.Tensor:
        tensor = to_tensor(*arguments, **options)
        return wide(tensor, "float32") if tensor.dtype == paddle.float32 else tensor

    paddle.set_default_dtype("float64")
    paddle.Tensor.astype, paddle.to_tensor = wide, made
    try:
        yield
    finally:
        paddle.Tensor.astype, paddle.to_tensor = astype, to_tensor
        paddle.set_default_dtype(default)
