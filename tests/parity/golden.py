"""Weights and inputs of golden parity cases: formulas instead of files.

Every array is a function of (seed, its name in the reference, its shape), drawn in float64 from numpy's default
generator seeded with the seed and the CRC-32 of the name, then cast to float32.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_EMBEDDINGS = {"cls_token", "pos_embed", "time_embed"}
_VARIANCES = {"running_var", "_variance"}
_MEANS = {"running_mean", "_mean"}
_SOFT = (".theta.", ".phi.")  # queries and keys of non-local blocks are kept small, so that their softmax stays soft


def draw(seed: int, name: str) -> np.random.Generator:
    """The generator of one array."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def parameter(seed: int, name: str, shape: Sequence[int], layout: str = "paddle", gain: float = 1.0) -> np.ndarray:
    """float32 parameter or buffer.

    Args:
        seed: the case's.
        name: in the reference's state dict.
        shape: in the reference's layout.
        layout: "paddle" keeps a linear weight as [in, out], "torch" as [out, in].
        gain: factor of weights of two or more dimensions.
    """
    size, last = tuple(int(n) for n in shape), name.rpartition(".")[2]
    rng = draw(seed, name)
    if last in _VARIANCES:
        return rng.uniform(0.5, 1.5, size).astype("float32")
    normal = rng.standard_normal(size)
    if last in _MEANS:
        return (0.1 * normal).astype("float32")
    if last in _EMBEDDINGS:
        return (0.05 * normal).astype("float32")
    if len(size) < 2:
        return ((1.0 if last == "weight" else 0.0) + 0.1 * normal).astype("float32")
    if len(size) > 2:
        inputs = int(np.prod(size[1:]))
    else:
        inputs = size[0] if layout == "paddle" else size[1]
    value = gain * normal / np.sqrt(inputs)
    if any(part in name for part in _SOFT):
        value = 0.1 * value
    return value.astype("float32")


def weights(
    seed: int, names_and_shapes: Iterable[tuple[str, Sequence[int]]], layout: str = "paddle", gain: float = 1.0
) -> dict[str, np.ndarray]:
    """All arrays of a network; ``num_batches_tracked`` counters take no part."""
    listed = ((name, shape) for name, shape in names_and_shapes if not name.endswith("num_batches_tracked"))
    return {name: parameter(seed, name, shape, layout, gain) for name, shape in listed}


def checksum(arrays: Mapping[str, np.ndarray]) -> list[float]:
    """[number of values, sum, sum of absolute values], in float64."""
    values = list(arrays.values())
    return [
        sum(int(value.size) for value in values),
        float(sum(value.sum(dtype=np.float64) for value in values)),
        float(sum(np.abs(value).sum(dtype=np.float64) for value in values)),
    ]


def differences(value: Any, expected: Any) -> np.ndarray:
    """Absolute differences, float64: 0 where both are NaN, or the same infinity; infinite where only one of them is."""
    value, expected = np.asarray(value, "float64"), np.asarray(expected, "float64")
    finite = np.isfinite(value) & np.isfinite(expected)
    same = np.equal(value, expected) | (np.isnan(value) & np.isnan(expected))
    apart = np.abs(np.where(finite, value, 0.0) - np.where(finite, expected, 0.0))
    return np.where(finite, apart, np.where(same, 0.0, np.inf))


def magnitude(expected: Any) -> float:
    """The greatest absolute value among the finite ones; 0 if there is none."""
    expected = np.asarray(expected, "float64")
    return float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))


def dense_input(
    seed: int, name: str, shape: Sequence[int], cell: int = 32, coarse: float = 1.0, fine: float = 0.5
) -> np.ndarray:
    """float32 pictures: squares of ``cell`` pixels that share one normal value, and noise on every pixel."""
    *lead, height, width = (int(n) for n in shape)
    rng = draw(seed, name)
    squares = rng.standard_normal((*lead, -(-height // cell), -(-width // cell)))
    picture = np.repeat(np.repeat(squares, cell, axis=-2), cell, axis=-1)[..., :height, :width]
    return (coarse * picture + fine * rng.standard_normal((*lead, height, width))).astype("float32")


def integers(seed: int, name: str, low: int, high: int, shape: Sequence[int]) -> np.ndarray:
    """int64 in [low, high)."""
    return draw(seed, name).integers(low, high, tuple(shape))


def boxes(seed: int, name: str, count: int, width: float, height: float) -> np.ndarray:
    """float32 [count, 4] x1, y1, x2, y2 in pixels, inside of the picture, each side at least 8 % of the picture's."""
    share = draw(seed, name).uniform(0.0, 1.0, (count, 4))
    sides = (0.08 + 0.6 * share[:, 2:]) * (width, height)
    corner = share[:, :2] * ((width, height) - sides)
    return np.concatenate([corner, corner + sides], axis=1).astype("float32")


def make_input(seed: int, entry: Mapping[str, Any]) -> np.ndarray:
    """The array that one entry of a case's ``inputs`` describes.

    Raises:
        KeyError: the entry is of a kind that this module does not make.
    """
    options = {key: value for key, value in entry.items() if key in ("shape", "cell", "coarse", "fine", "low", "high")}
    return {"dense_input": dense_input, "integers": integers}[entry["kind"]](seed, entry["name"], **options)
