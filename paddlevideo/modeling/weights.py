"""Weights from files into networks: every load is compared key by key, and nothing is left out in silence."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddlevideo.errors import UserError
from paddlevideo.finite import refuse_non_finite
from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.exported_weights import read_exported
from paddlevideo.modeling.layers import branches_of
from paddlevideo.modeling.naming import network_of
from paddlevideo.safe_io import instead_of_a_file, read_pickle
from paddlevideo.weight_names import is_export

log = logging.getLogger("paddlevideo")

_SHOWN = 12  # lines of a table before it is cut
_PREFIX = "backbone."
_HEAD = "head."
_STUDENT = "Student."
# PaddleVideo's distillation numbers the two parts of each model; its file of the best student has these names alone
_NUMBERED = re.compile(r"((?:Student|Teacher)\.)?([01])\.(.+)")
_PARTS = {"0": _PREFIX, "1": _HEAD}


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
    """

    source: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    explained: dict[str, str] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)
    resized: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)

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
        return "\n  ".join([counts, *self._rules(), *self.table()])

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
        path: of the file; or exported weights: ``NAME.pdiparams``, or the folder that export wrote.

    Raises:
        UserError: the file is missing, damaged, names code, or holds something else than arrays; an export of an
            earlier version, which has no ``NAME_names.json``.
    """
    if is_export(path):
        arrays = dict(read_exported(path))
        refuse_non_finite(arrays, path, "the training that it was exported from has diverged")
        return arrays
    content = read_pickle(Path(path).expanduser())
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: expected a table of arrays, got {type(content).__name__}")
    arrays = {key: value for key, value in content.items() if key != "StructuredToParameterName@@"}
    strange = [key for key, value in arrays.items() if not (isinstance(key, str) and isinstance(value, np.ndarray))]
    if strange or not arrays:
        what = f"{strange[0]!r} is a {type(arrays[strange[0]]).__name__}" if strange else "it is empty"
        raise UserError(f"{path}: expected a table of arrays, but {what}; is it a .pdopt file or a checkpoint's state?")
    refuse_non_finite(arrays, path, "the training that wrote it has diverged; take an earlier checkpoint")
    return _with_named_parts(arrays)


def load_weights(
    model: Any,
    weights: str | os.PathLike | Mapping[str, Any],
    *,
    strict: bool = True,
    allow_head_mismatch: bool = False,
    source: str | None = None,
) -> KeyReport:
    """Loads a whole network's weights.

    Args:
        model: a ``Framework``; of a checkpoint with several networks it takes the keys of its ``weights_prefix``; one
            without takes those of ``Student``.
        weights: a ``.pdparams`` file, or the arrays themselves.
        strict: every key and shape must fit.  False is for fine-tuning: unexpected keys are left out and reported,
            keys of the head may be missing, the rest of the network must be there, and backbones fit
            embeddings of another picture size or number of frames (``Backbone.resize_embeddings``).
        allow_head_mismatch: keys of the head (``Framework.classifier_prefixes``) of another shape, which is another
            number of classes, keep their start values.
        source: what to call the weights in messages, if they are not a file.

    Returns:
        What was loaded and what was not; the caller prints it.

    Raises:
        UserError: something does not fit; nothing has been loaded then.
    """
    if isinstance(weights, Mapping):
        arrays = {key: value for key, value in weights.items() if key != "StructuredToParameterName@@"}
        name = source or "weights"
    else:
        arrays, name = read_weights(weights), source or str(weights)
    prefix = model.weights_prefix or _student_in(arrays, model)
    arrays = _own_part(arrays, prefix)
    if strict and (branches := _missing_branches(model, arrays)):
        arrays, name = {**arrays, **branches}, f"{name} (an export: its convolutions for the branches of training)"
    resized: dict[str, tuple[list[int], list[int]]] = {}
    if not strict:
        arrays, resized = _resize(model, arrays)
    report, head = compare(model, arrays, name), tuple(model.classifier_prefixes)
    report.resized = resized
    if not strict:
        rule = "of the head keep their start values"
        report.explained.update({key: rule for key in report.missing if key.startswith(head)})
        report.missing = [key for key in report.missing if key not in report.explained]
    refused = not report.clean if strict else bool(report.missing or report.mismatched)
    if refused and allow_head_mismatch and not report.missing and not (strict and report.unexpected):
        refused = any(not key.startswith(head) for key in report.mismatched)
    if refused:
        raise UserError(f"{report}\nNothing was loaded. {_way_out(report)}")
    assign(model, arrays, report)
    return report


def load_pretrained(backbone: nn.Layer, path: str, where: str = "MODEL.backbone.pretrained") -> KeyReport:
    """Loads what ``pretrained`` names into a backbone and prints the report.

    A key is looked up as it is, then with ``backbone.`` before it, so that ImageNet weights and whole recognition
    checkpoints both work.  The backbone's ``adapt_pretrained(arrays) -> (arrays, explained)`` resizes and copies what
    its architecture needs, and names the keys that such a file lacks by nature.

    Raises:
        UserError: the file is missing or unsafe, or a key is missing or has another shape without such a reason.
    """
    if not (Path(path).expanduser().is_file() or is_export(path)):
        raise UserError(
            f"{where}: {path}: {instead_of_a_file(path)}; get it from the model's page, or start without it: "
            f"-o {where}=null"
        )
    arrays = read_weights(path)
    arrays = _own_part(arrays, _student_in(arrays, backbone))
    own = {key[len(_PREFIX) :]: value for key, value in arrays.items() if key.startswith(_PREFIX)}
    rest = {key: value for key, value in arrays.items() if not key.startswith(_PREFIX)}
    # beside backbone.* keys, a head.* belongs to another class count, not to the backbone
    arrays = {**own, **{key: value for key, value in rest.items() if not (own and key.startswith(_HEAD))}}
    given, (arrays, explained) = arrays, backbone.adapt_pretrained(arrays)
    report = compare(backbone, arrays, str(path))
    report.resized = _changed(given, arrays)
    report.explained = {key: explained[key] for key in report.missing if key in explained}
    report.missing = [key for key in report.missing if key not in explained]
    if report.missing or report.mismatched:
        raise UserError(f"{where}: {report}\nNothing was loaded. {_way_out(report)}")
    assign(backbone, arrays, report)
    log.info("pretrained %s", report)
    return report


def _missing_branches(model: nn.Layer, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays for the branches that an export has fused: equal in evaluation, and no start for a training."""
    found: dict[str, np.ndarray] = {}
    for prefix, layer in branches_of(model).items():
        place = prefix.removesuffix(layer.branches)
        own = {key[len(place) :]: value for key, value in arrays.items() if key.startswith(place)}
        if own and not any(key.startswith(layer.branches) for key in own):
            found |= {place + key: value for key, value in layer.unfused(own).items()}
    return found


def _with_named_parts(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of PaddleVideo's distillation by the names of this suite; those of other files as they are."""
    found = {key: _NUMBERED.fullmatch(key) for key in arrays}
    if not all(found.values()):
        return arrays
    return {f"{m[1] or ''}{_PARTS[m[2]]}{m[3]}": arrays[key] for key, m in found.items()}


def _student_in(arrays: Mapping[str, Any], network: nn.Layer) -> str:
    """``Student.`` where the arrays are of a distillation and the network is one model."""
    whole = any(key.startswith(_STUDENT) for key in arrays)
    return _STUDENT if whole and not any(key.startswith(_STUDENT) for key in network.state_dict()) else ""


def _own_part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Of a checkpoint with several networks those keys that begin with ``prefix``, without it; else all as they are."""
    own = {key[len(prefix) :]: value for key, value in arrays.items() if prefix and key.startswith(prefix)}
    return own or arrays


def _resize(model: nn.Layer, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[list[int], list[int]]]]:
    """The arrays as the model's parts resize them, each its own, and what changed its shape by that."""
    fitted = dict(arrays)
    for name, part in model.named_sublayers(include_self=True):
        if not isinstance(part, Backbone):
            continue
        prefix = f"{name}." if name else ""
        own = {key[len(prefix) :]: value for key, value in arrays.items() if key.startswith(prefix)}
        fitted.update({prefix + key: value for key, value in part.resize_embeddings(own).items()})
    return fitted, _changed(arrays, fitted)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[list[int], list[int]]]:
    shapes = {key: (list(before[key].shape), list(after[key].shape)) for key in before if key in after}
    return {key: (old, new) for key, (old, new) in shapes.items() if old != new}


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


def _way_out(report: KeyReport) -> str:
    # a backbone alone has no prefix
    prefix = _PREFIX if any(key.startswith(_PREFIX) for key in (*report.matched, *report.missing)) else ""
    own = [key for key in report.matched if key.startswith(prefix)]
    if len(report.missing) > 10 * len(own):  # networks of other structure have a few names in common
        file_keys = [*report.matched, *report.mismatched, *report.unexpected]
        network = network_of(key.removeprefix(_PREFIX) for key in file_keys if key.startswith(prefix))
        found = network or "another network, or comes from another framework"
        few = f"Only {len(own)} keys" if own else "No key"
        if network or not own:
            way_out = f"the file is of {found}; choose the configuration it was trained with."
            return f"{few} of the backbone {'match' if own else 'matches'}: {way_out}"
    if _other_classes(report):
        key = "MODEL.head.num_classes" if "head.fc.weight" in report.mismatched else "MODEL.backbone.class_num"
        count = next(iter(report.mismatched.values()))[0][-1]
        return f"The number of classes differs: set {key} to {count}, the file's, or fine-tune with -w in training."
    embeddings = [key for key in report.mismatched if key.endswith(("pos_embed", "time_embed"))]
    if embeddings and len(embeddings) == len(report.mismatched):
        return (
            "The file is for another picture size (pos_embed: 1 + places) or number of frames (time_embed); a test "
            "never resizes: set num_seg and MODEL.backbone.img_size to the file's, or fine-tune with -w in training."
        )
    return "Choose the configuration that the file was trained with."


def _other_classes(report: KeyReport) -> bool:
    """Whether nothing but the classifier's last axis differs."""
    classifier = ("fc.weight", "fc.bias", "backbone.out.weight", "backbone.out.bias")
    return not (report.missing or report.unexpected) and all(
        key.endswith(classifier) and file[:-1] == own[:-1] for key, (file, own) in report.mismatched.items()
    )


def _cut(lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    if len(lines) <= _SHOWN:
        return lines
    return [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN} more"]
