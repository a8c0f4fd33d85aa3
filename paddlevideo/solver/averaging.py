"""Averages of weights: over training steps, exponential (EMA) or equal (SWA), and over the files of several runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import paddle
from paddle.nn import Layer

from paddlevideo.errors import UserError


class WeightAverage:
    """A running average, in float32, of a network's trainable parameters.

    Everything else (running statistics of batch norms, frozen parameters) is always the network's own.

    Args:
        model: the bare network, not wrapped for data parallelism.
        interval: every how many calls of ``update`` the average moves.
    """

    def __init__(self, model: Layer, interval: int = 1):
        if interval < 1:
            raise UserError(f"an average of weights needs an interval of at least 1, got {interval}")
        self.interval = interval
        self.num_calls = 0
        self.num_updates = 0
        self._parameters = {name: p for name, p in model.named_parameters() if not p.stop_gradient}
        self._averages = {name: p.detach().astype("float32").clone() for name, p in self._parameters.items()}
        self._model = model
        self._applied = False

    def weight_of_new(self) -> float:
        """The share of the current weights in the next update, 0 to 1."""
        raise NotImplementedError

    @paddle.no_grad()
    def update(self) -> None:
        """Moves the average; called after every optimizer step."""
        if self._applied:
            raise RuntimeError("the average is in the network's place; leave applied() before the next update")
        self.num_calls += 1
        if self.num_calls % self.interval:
            return
        share = self.weight_of_new()
        for name, parameter in self._parameters.items():
            average = self._averages[name]
            new = parameter.detach().astype("float32")
            if share == 1:  # exactly the weights, whatever the average was
                average.set_value(new)
            else:
                average.add_((new - average) * share)
        self.num_updates += 1

    @contextmanager
    def applied(self) -> Iterator[Layer]:
        """The network with the averages as its weights; its own weights are back, bit by bit, on leaving."""
        if self._applied:
            raise RuntimeError("the average is already in the network's place")
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._applied = True
        try:
            self._set(self._averages)
            yield self._model
        finally:
            self._set(own)
            self._applied = False

    def weights(self) -> dict[str, np.ndarray]:
        """A whole state dict of the network: averages where there are any, the network's own values elsewhere."""
        with self.applied():
            return {name: tensor.numpy().copy() for name, tensor in self._model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """``num_calls``, ``num_updates``, and ``weights``: structured name -> float32 array."""
        return {
            "num_calls": self.num_calls,
            "num_updates": self.num_updates,
            "weights": {name: tensor.numpy().copy() for name, tensor in self._averages.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where ``state_dict`` was taken.

        Raises:
            UserError: a weight is missing, unexpected or of another shape.
        """
        try:
            weights, num_calls, num_updates = state["weights"], int(state["num_calls"]), int(state["num_updates"])
        except KeyError as error:
            raise UserError(f"the saved average of weights lacks {error}; the checkpoint is not whole") from error
        differing = sorted(weights.keys() ^ self._averages.keys())
        differing += [n for n in self._averages if n in weights and self._averages[n].shape != list(weights[n].shape)]
        if differing:
            raise UserError(
                f"the saved average of weights does not fit the network: {len(differing)} missing, unexpected or of "
                f"another shape ({', '.join(differing[:4])}{', ...' if len(differing) > 4 else ''})"
            )
        self.num_calls, self.num_updates = num_calls, num_updates
        for name, average in self._averages.items():
            average.set_value(np.asarray(weights[name], dtype="float32"))

    @paddle.no_grad()
    def _set(self, values: Mapping[str, paddle.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.set_value(values[name].astype(parameter.dtype))


class EMA(WeightAverage):
    """Exponential moving average: ``average = decay * average + (1 - decay) * weights``.

    Args:
        model: the bare network.
        decay: 0 to 1; 0.9998 averages over about 5000 updates.
        warmup: begin with a smaller decay: update n (from 0) takes ``min(decay, (1 + n) / (10 + n))``.
        interval: every how many calls of ``update`` the average moves.
    """

    def __init__(self, model: Layer, decay: float = 0.9998, warmup: bool = True, interval: int = 1):
        if not 0 <= decay < 1:
            raise UserError(f"EMA.decay: a number from 0 to below 1 is expected, got {decay}")
        super().__init__(model, interval)
        self.decay, self.warmup = decay, warmup

    def weight_of_new(self) -> float:
        """1 - decay, more during the warm-up."""
        n = self.num_updates
        return 1 - (min(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay)


class SWA(WeightAverage):
    """The plain mean of the weights at each update; the initial weights do not count.

    *Source*: Izmailov et al., 2018, "Averaging Weights Leads to Wider Optima and Better Generalization".  Batch norms
    need new running statistics for the mean: compute precise ones afterwards.
    """

    def weight_of_new(self) -> float:
        """1 / the number of updates, this one included."""
        return 1 / (self.num_updates + 1)


def average_states(
    states: Mapping[str, Mapping[str, np.ndarray]], weights: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """The mean of several state dicts of one network, summed in float64.

    Args:
        states: name of each (a file, for messages) -> its arrays; in order.
        weights: the share of each, positive; they are divided by their sum.  Equal shares if not given.

    Returns:
        Floating arrays: the mean, in the last state's dtype.  Others (counters): the last state's own.

    Raises:
        UserError: fewer than two states, unusable weights, other keys, shapes or kinds, numbers that are not finite.
    """
    if len(states) < 2:
        raise UserError(f"an average takes at least two checkpoints, got {len(states)}")
    shares = _shares(weights, len(states))
    (first, reference), *others = states.items()
    for name, state in others:
        _must_agree(first, reference, name, state)
    for name, state in states.items():
        for key, array in state.items():
            if array.dtype == np.uint16:
                raise UserError(f"{name}: {key} is bfloat16, which numpy cannot add up; save float32 weights instead")
            if not np.isfinite(array).all():
                raise UserError(f"{name}: {key} holds numbers that are not finite; leave this checkpoint out")
    last = states[list(states)[-1]]
    mean = {}
    for key, array in last.items():
        mean[key] = array
        if np.issubdtype(array.dtype, np.floating):
            total = sum(share * state[key].astype("float64") for share, state in zip(shares, states.values()))
            mean[key] = np.asarray(total).astype(array.dtype)
    return mean


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise UserError(f"{count} checkpoints need as many weights, got {len(weights)}")
    bad = [weight for weight in weights if not 0 < weight < float("inf")]
    if bad:
        raise UserError(f"weights of an average must be positive numbers, got {bad[0]}")
    return [weight / sum(weights) for weight in weights]


def _must_agree(first: str, reference: Mapping[str, Any], name: str, state: Mapping[str, Any]) -> None:
    differences = [f"{key} is only in {first}" for key in reference if key not in state]
    differences += [f"{key} is only in {name}" for key in state if key not in reference]
    for key in reference:
        a, b = reference[key], state.get(key, reference[key])
        if a.shape != b.shape:
            differences.append(f"{key}: {list(a.shape)} in {first}, {list(b.shape)} in {name}")
        elif a.dtype.kind != b.dtype.kind:
            differences.append(f"{key}: {a.dtype} in {first}, {b.dtype} in {name}")
    if differences:
        more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise UserError(f"{name}: does not belong to the same network: {'; '.join(differences[:4])}{more}")
