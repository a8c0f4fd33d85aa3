"""The weights of an exported program, under the names that the network has for them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddlevideo.errors import DamagedFileError
from paddlevideo.modeling.layers import branches_of
from paddlevideo.weight_names import CLASSIFIER, read_names


def variables_of(program: Path) -> dict[str, Any]:
    """The tensors of an exported program and its weights, by the names of its variables."""
    loaded = paddle.jit.load(str(program.with_suffix("")))
    # Paddle appends a number to every name, another one each time that a process loads it
    return {tensor.name.rpartition("_")[0]: tensor for tensor in loaded.state_dict().values()}


def names_of(network: Any, program: Path) -> dict[str, str]:
    """Parameter or buffer of the network -> variable of the program that was exported from it in this process.

    What the program has no use for is not among them.
    """
    variables = variables_of(program)
    return {
        key: tensor.name
        for key, tensor in network.state_dict().items()
        if tensor.name in variables and _equal(tensor, variables[tensor.name])
    }


def unnamed(network: Any, names: Mapping[str, str]) -> list[str]:
    """The parameters and buffers that ``names_of`` lacks, without those that ``load_weights`` makes of others."""
    fused = tuple(branches_of(network))
    return [key for key in network.state_dict() if key not in names and not (fused and key.startswith(fused))]


def digest_of_features(network: Any, model: Mapping[str, Any]) -> str:
    """SHA-256 of what the input of the classifier depends on: MODEL without its numbers of classes, and the weights
    without those of the classifier.

    Args:
        model: the section MODEL.
    """
    digest = hashlib.sha256(json.dumps(_without(model), sort_keys=True, default=str).encode())
    for key, tensor in sorted(network.state_dict().items()):
        if not key.startswith(CLASSIFIER):
            array = tensor.numpy()
            digest.update(f"{key} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _without(section: Any) -> Any:
    if isinstance(section, Mapping):
        return {key: _without(value) for key, value in section.items() if key not in ("num_classes", "pretrained")}
    return section


def _equal(one: Any, other: Any) -> bool:
    return np.array_equal(one.numpy(), other.numpy(), equal_nan=True)


def read_exported(path: str | os.PathLike) -> Mapping[str, np.ndarray]:
    """The arrays of exported weights by the network's names.

    Args:
        path: ``NAME.pdiparams``, or its folder.

    Raises:
        UserError: it has no ``NAME_names.json``, or a file is damaged.
    """
    found = read_names(path)
    variables = variables_of(found.program)
    lost = [name for name in found.names.values() if name not in variables]
    if lost:
        raise DamagedFileError(f"{found.file}: the program has no variable {lost[0]!r}; export the model again")
    return {key: variables[name].numpy() for key, name in found.names.items()}
