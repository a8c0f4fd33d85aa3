"""The arrays of a weights file, and their keys and shapes compared with a network's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddlevideo.downloads.cache import local_weights
from paddlevideo.errors import UserError
from paddlevideo.finite import refuse_non_finite
from paddlevideo.modeling.exported_weights import read_exported
from paddlevideo.safe_io import read_pickle
from paddlevideo.weight_names import is_export

_SHOWN = 12  # lines of a table before it is cut
# PaddleVideo's distillation numbers the two parts of each model; its file of the best student has these names alone
_NUMBERED = re.compile(r"((?:Student|Teacher)\.)?([01])\.(.+)")
_PARTS = {"0": "backbone.", "1": "head."}


@dataclass
class KeyReport:
    """What came of comparing a file with a network.

    Args:
        source: the file.
        matched: keys that were loaded.
        missing: keys of the network that the file lacks.
        explained: keys that the file lacks by a known rule, and the rule.
        unexpected: keys of the file that the network lacks.
        mismatched: key -> (shape in the file, shape in the network).
        resized: embeddings that were fitted to another picture size or number of frames, as in ``mismatched``.
        notes: lines on a conversion, where the file has another project's names.
    """

    source: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    explained: dict[str, str] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)
    resized: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether file and network have the same keys and shapes."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.explained) + len(self.mismatched)
        counts = (
            f"{self.source}: {len(self.matched)} of {total} keys loaded, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.mismatched)} of another shape"
        )
        return "\n  ".join([counts, *self.notes, *self._rules(), *self.table()])

    def table(self) -> list[str]:
        """One line per key that was not loaded, cut after a dozen of a kind."""
        lines = _cut([f"missing     {key}" for key in self.missing])
        lines += _cut([f"unexpected  {key}" for key in self.unexpected])
        return lines + _cut([f"shape       {key}: file {a}, network {b}" for key, (a, b) in self.mismatched.items()])

    def _rules(self) -> list[str]:
        rules: dict[str, int] = {}
        for rule in self.explained.values():
            rules[rule] = rules.get(rule, 0) + 1
        resized = [f"resized     {key}: file {old}, network {new}" for key, (old, new) in self.resized.items()]
        return resized + [f"{count} keys {rule}" for rule, count in rules.items()]


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a ``.pdparams`` file (PaddleVideo's, PaddleClas', or this suite's), without running anything of it.

    The parts that PaddleVideo's distillation numbers have their names: ``Student.0.X`` is ``Student.backbone.X``, and
    in the file of a student ``0.X`` is ``backbone.X``, ``1.X`` is ``head.X``.

    Args:
        path: of the file, or a name or address of it (``downloads.cache.local_weights``); or exported weights:
            ``NAME.pdiparams``, or the folder that export wrote.

    Raises:
        UserError: the file is missing, damaged, names code, or holds something else than arrays; an export of an
            earlier version, which has no ``NAME_names.json``.
    """
    path = local_weights(path)
    if is_export(path):
        arrays = dict(read_exported(path))
        refuse_non_finite(arrays, path, "the training that it was exported from has diverged")
        return arrays
    content = read_pickle(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: expected a table of arrays, got {type(content).__name__}")
    arrays = {key: value for key, value in content.items() if key != "StructuredToParameterName@@"}
    strange = [key for key, value in arrays.items() if not (isinstance(key, str) and isinstance(value, np.ndarray))]
    if strange or not arrays:
        what = f"{strange[0]!r} is a {type(arrays[strange[0]]).__name__}" if strange else "it is empty"
        raise UserError(f"{path}: expected a table of arrays, but {what}; is it a .pdopt file or a checkpoint's state?")
    refuse_non_finite(arrays, path, "the training that wrote it has diverged; take an earlier checkpoint")
    return _with_named_parts(arrays)


def _with_named_parts(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of PaddleVideo's distillation by the names of this suite; those of other files as they are."""
    found = {key: _NUMBERED.fullmatch(key) for key in arrays}
    if not all(found.values()):
        return arrays
    return {f"{m[1] or ''}{_PARTS[m[2]]}{m[3]}": arrays[key] for key, m in found.items()}


def compare(model: nn.Layer, arrays: Mapping[str, Any], source: str) -> KeyReport:
    """Sorts the keys of both sides, in the network's order."""
    report = KeyReport(source)
    own = model.state_dict()
    for key, tensor in own.items():
        if key not in arrays:
            report.missing.append(key)
        elif list(arrays[key].shape) != list(tensor.shape):
            report.mismatched[key] = (list(arrays[key].shape), list(tensor.shape))
        else:
            report.matched.append(key)
    report.unexpected = [key for key in arrays if key not in own]
    return report


def assign(model: nn.Layer, arrays: Mapping[str, Any], report: KeyReport) -> None:
    """Copies the matched arrays, cast to each parameter's own type."""
    own = model.state_dict()
    for key in report.matched:
        own[key].set_value(paddle.to_tensor(_plain(arrays[key])).astype(own[key].dtype))


def _plain(array: Any) -> np.ndarray:
    """A numpy array; bfloat16, which pickles as unmarked uint16, becomes the float32 of the same value."""
    array = np.asarray(array)
    if array.dtype != np.uint16:
        return array
    return (array.astype(np.uint32) << 16).view(np.float32)


def _cut(lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    if len(lines) <= _SHOWN:
        return lines
    return [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN} more"]
