"""Weights of other projects for a network: read without running code, renamed by it, compared key by key.

A file is unwrapped to a table of arrays, its origin is detected from its keys, the network renames them, and the result
is refused if anything is left over on either side that was not allowed by name.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.downloads.cache import local_weights
from paddlevideo.errors import UserError
from paddlevideo.modeling.naming import which_network
from paddlevideo.modeling.shift import TemporalShift
from paddlevideo.modeling.weight_arrays import KeyReport, compare, read_weights
from paddlevideo.safe_io import file_form, read_pickle
from paddlevideo.torch_files import read_torch
from paddlevideo.weight_names import PARAMS

ORIGINS = ("mmaction2", "timesformer", "torchvision", "tonylins", "timm", "paddle")
_TORCH_SUFFIXES = (".pth", ".pyth", ".pt", ".tar", ".bin", ".ckpt")
_FOREIGN_FORMS = ("torch legacy", "zip", "safetensors")
_WRAPPERS = ("state_dict", "model", "model_state")
_AVERAGED = ("state_dict_ema", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")  # of DistributedDataParallel, torch.compile, the original TimeSformer
_BACKBONE = "backbone."
_CLASSIFIER = "head."  # of the origins without 'backbone.'
_SHIFT_DIV = 8  # of every TSM that MMAction2 ships

# why keys without a counterpart are left out; the first pattern that fits counts
_LEFT_OUT = (
    (re.compile(r"(.*\.)?num_batches_tracked"), "batch counters, which are not used here"),
    (re.compile(r"data_preprocessor\..*"), "preprocessing of MMAction2 1.x; here PIPELINE and the framework do it"),
    (re.compile(r"ema_.*"), "raw copies that MMAction2's EMA hook keeps beside the averaged weights"),
)
# the order matters: MMAction2's files hold torchvision-like names too
_SIGNS = (
    (
        "mmaction2",
        r"(cls_head|roi_head)\..*|(backbone\.)?(conv1\.conv\.weight|layer\d+\.\d+\.conv\d*\.(\d+\.)?conv\..*)",
    ),
    ("mmaction2", r"(backbone\.)?(patch_embed\.projection|transformer_layers)\..*"),
    ("tonylins", r"features\.\d+\.conv\.0\.weight"),  # MobileNetV2; torchvision has a pair there
    ("torchvision", r"layer1\.0\.conv1\.weight|features\.0\.0\.weight"),
    ("paddle", r".*\._(batch_norm|conv)\..*|head\.fc\..*"),
    ("timesformer", r"time_embed|blocks\.0\.temporal_attn\.qkv\.weight"),
    ("timm", r"blocks\.0\.attn\.qkv\.weight|patch_embed\.proj\.weight|conv_stem\.weight"),
)
_SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "?",
}  # fmt: skip


@dataclass
class Source:
    """A file's arrays, and a line for each thing that was unwrapped or left out."""

    arrays: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)


@dataclass
class Conversion:
    """What became of a file.

    Args:
        arrays: under this suite's names, float32; what is written.
        report: file against network.
        origin: one of ``ORIGINS``.
        part: "recogniser", or "backbone" for weights that ``MODEL.backbone.pretrained`` takes.
        notes: everything that was decided on the way.
        other_network: where the backbone's keys are not those of this network: what they are; else "".
    """

    arrays: dict[str, np.ndarray]
    report: KeyReport
    origin: str
    part: str
    notes: list[str]
    other_network: str = ""

    def __str__(self) -> str:
        report = self.report
        counts = (
            f"{len(report.matched)} matched, {len(report.missing)} missing, {len(report.unexpected)} unexpected, "
            f"{len(report.mismatched)} mismatched"
        )
        explained = _grouped(report.explained)
        lines = [f"{report.source}: {self.origin} -> {self.part}: {counts}", *self.notes, *explained, *report.table()]
        return "\n  ".join(lines)

    def describe(self) -> dict[str, Any]:
        """What was decided, as plain data for the note beside the weights."""
        return {
            "origin": self.origin,
            "part": self.part,
            "matched": len(self.report.matched),
            "missing": self.report.missing,
            "unexpected": self.report.unexpected,
            "explained": self.report.explained,
            "notes": self.notes,
        }


def convert_weights(
    framework: Any,
    source: Path,
    *,
    origin: str = "auto",
    backbone_only: bool = False,
    averaged: bool = False,
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
) -> Conversion:
    """The weights of a file, for a network.

    Args:
        framework: the network; files that its configuration names need not be loaded.
        source: ``.pth`` (and torch's other suffixes), ``.safetensors`` or ``.pdparams``.
        origin: one of ``ORIGINS``, or "auto".
        backbone_only: take the backbone alone; a file without a recogniser's prefixes is one anyway.
        averaged: take the exponential average where the file has both (timm).
        allow_missing: patterns (``*`` as in a shell) of the network's keys that the file may lack.
        allow_unexpected: patterns of converted keys that may be left out.

    Raises:
        UserError: the file is missing, unsafe or of unknown origin, or keys are left over.
    """
    conversion = convert(framework, read_source(source, averaged), source, origin, backbone_only)
    _refuse_gaps(conversion, allow_missing, allow_unexpected, framework)
    _refuse_other_shift(conversion, framework.backbone, framework.weights_prefix)
    if framework.weights_prefix:
        conversion.notes.append(f"under the names of {framework.weights_prefix[:-1]}'s own configuration")
    return conversion


def is_foreign(path: Path) -> bool:
    """Whether a file of weights is of torch or safetensors, so that its arrays have another project's names.

    Its content decides, whatever its name: the address of a download often has no suffix.

    Raises:
        UserError: the file is missing.
    """
    if not path.is_file() or path.suffix == PARAMS:
        return False
    return path.suffix in (*_TORCH_SUFFIXES, ".safetensors") or file_form(path) in _FOREIGN_FORMS


def renamed(framework: Any, source: Path) -> Conversion:
    """A file's arrays under the names of ``framework``; which keys must fit is the caller's rule.

    Raises:
        UserError: the file is unsafe or of unknown origin, its network shifts in the other direction, or ``framework``
            holds several networks.
    """
    if "backbone" not in dict(framework.named_children()):
        raise UserError(f"{source}: is for one network, and MODEL has several; convert it for one: paddlevideo convert")
    conversion = convert(framework, read_source(source), source, "auto", False)
    _refuse_other_shift(conversion, framework.backbone, framework.weights_prefix)
    return conversion


def renamed_backbone(backbone: Any, source: Path) -> Conversion:
    """The same of a backbone's arrays; those of a head are left out."""
    arrays, origin, notes = _of_origin(read_source(source), source, "auto")
    conversion = _backbone(backbone, arrays, source, origin, _is_whole(arrays), notes)
    _refuse_other_shift(conversion, backbone, "")
    return conversion


def convert(framework: Any, found: Source, source: Path, origin: str, backbone_only: bool) -> Conversion:
    """Renames a file's arrays for ``framework`` (a Recognizer) and compares both sides."""
    arrays, origin, notes = _of_origin(found, source, origin)
    whole = _is_whole(arrays)
    if backbone_only or not whole:
        if not whole and not backbone_only:
            notes.append("no key begins with 'backbone.': taken as weights of the backbone alone")
        return _backbone(framework.backbone, arrays, source, origin, whole, notes)
    converted = _renamed(framework, arrays, origin, source, notes)
    report = compare(framework, converted, str(source))
    own = {key[len(_BACKBONE) :]: value for key, value in arrays.items() if key.startswith(_BACKBONE)}
    other = _other_network(framework.backbone, own, origin, report)
    return Conversion(_float32(converted), report, origin, "recogniser", notes, other)


def _of_origin(found: Source, source: Path, origin: str) -> tuple[dict[str, np.ndarray], str, list[str]]:
    """The arrays with 'backbone.' where the origin has such parts, the origin, and lines about both."""
    arrays, notes = dict(found.arrays), list(found.notes)
    if origin == "auto":
        origin = detect_origin(arrays, source)
        notes.append(f"origin detected from the keys: {origin}")
    if origin == "timesformer" and any(key.startswith(_CLASSIFIER) for key in arrays):
        arrays = {key if key.startswith(_CLASSIFIER) else _BACKBONE + key: value for key, value in arrays.items()}
    return arrays, origin, notes


def _is_whole(arrays: Iterable[str]) -> bool:
    return any(key.startswith((_BACKBONE, "cls_head.")) for key in arrays)


def _backbone(
    backbone: Any, arrays: dict[str, np.ndarray], source: Path, origin: str, whole: bool, notes: list[str]
) -> Conversion:
    if whole:
        others = [key for key in arrays if not key.startswith(_BACKBONE)]
        notes += [f"left out: {key} (not of the backbone)" for key in others]
        arrays = {key[len(_BACKBONE) :]: value for key, value in arrays.items() if key.startswith(_BACKBONE)}
    converted = _renamed(backbone, arrays, origin, source, notes)
    # the same step as at loading; here only to find what will fit, since sizes are adapted to each configuration
    adapted, explained = backbone.adapt_pretrained(dict(converted))
    # what inflation gives another name stays under its own: it is inflated when it is loaded
    known = {*adapted, *(() if origin == "paddle" else backbone.names(origin).values())}
    notes += [f"left out: {key} (the classifier of the file)" for key in converted if key not in known]
    report = compare(backbone, adapted, str(source))
    report.explained = {key: explained[key] for key in report.missing if key in explained}
    report.missing = [key for key in report.missing if key not in explained]
    kept = _float32({key: value for key, value in converted.items() if key in known})
    other = _other_network(backbone, arrays, origin, report)
    return Conversion(kept, report, origin, "backbone", notes, other)


def _other_network(backbone: Any, arrays: Mapping[str, np.ndarray], origin: str, report: KeyReport) -> str:
    if origin == "paddle" and report.clean:  # the network's own names, and which_network would build others
        return ""
    return which_network(backbone, arrays, origin)


def _renamed(
    owner: Any, arrays: Mapping[str, np.ndarray], origin: str, source: Path, notes: list[str]
) -> dict[str, np.ndarray]:
    if origin == "paddle":
        return dict(arrays)
    name = type(owner).__name__
    try:
        converted = owner.convert(arrays, origin)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise UserError(
            f"{source}: {name} cannot rename these keys as {origin}'s ({type(error).__name__}: {error}); "
            "is it the right configuration, and the right --from?"
        ) from error
    if len(converted) < len(arrays):
        notes.append(f"left out: {len(arrays) - len(converted)} keys, by {name}'s own rule")
    return converted


def _refuse_gaps(
    conversion: Conversion, allow_missing: Sequence[str], allow_unexpected: Sequence[str], framework: Any
) -> None:
    report = conversion.report
    for patterns, keys, word in (
        (allow_missing, report.missing, "missing"),
        (allow_unexpected, report.unexpected, "unexpected"),
    ):
        for key in _matching(keys, patterns):
            keys.remove(key)
            report.explained[key] = f"allowed to be {word}"
            if word == "unexpected":
                conversion.arrays.pop(key, None)
    if report.clean and report.matched:
        return
    rest = bool(report.missing or report.unexpected)
    if conversion.other_network:
        way_out = conversion.other_network
    elif not rest and all(key.startswith(framework.classifier_prefixes) for key in report.mismatched):
        classes = next(iter(report.mismatched.values()))[0][-1]
        place = "head.num_classes" if "head.fc.bias" in report.mismatched else "backbone.class_num"
        inner = framework.weights_prefix
        setting = f"{inner}{place}: {classes} in MODEL.models" if inner else f"-o MODEL.{place}={classes}"
        way_out = f"Only the class count differs: {setting}, or --backbone-only."
    elif not report.matched:
        way_out = "No key matches: choose the configuration of this network, or name the origin with --from."
    else:
        way_out = "Choose the file's own configuration, or allow a gap by name: --allow-missing, --allow-unexpected."
    raise UserError(f"{conversion}\nNothing was written. {way_out}")


def _refuse_other_shift(conversion: Conversion, backbone: Any, prefix: str) -> None:
    """No array states the direction of a shift or the share it moves; files of MMAction2 mean MMAction2's.

    Raises:
        UserError: the network shifts in PaddleVideo's direction, and the file is MMAction2's.
    """
    shifts = [s for s in backbone.sublayers() if isinstance(s, TemporalShift) and s.shift]
    if conversion.origin != "mmaction2" or not shifts:
        return
    shift = shifts[0]
    where = f"{prefix}backbone of MODEL.models" if prefix else "MODEL.backbone"
    if shift.direction == "mmaction2":
        if shift.shift_div != _SHIFT_DIV:
            stated = f"shift_div {shift.shift_div}, as the configuration states"
            conversion.notes.append(f"{where}: {stated}; MMAction2's default is {_SHIFT_DIV}, and no array states it")
        return
    settings = {"shift_direction": "mmaction2"} | ({"shift_div": _SHIFT_DIV} if shift.shift_div != _SHIFT_DIV else {})
    if prefix:
        way_out = f"set {', '.join(f'{key}: {value}' for key, value in settings.items())} in {where}"
    else:
        way_out = " ".join(f"-o {where}.{key}={value}" for key, value in settings.items())
    raise UserError(
        f"{conversion.report.source}: an MMAction2 network, whose shift takes the other direction than {where} (and "
        f"moves 1/{_SHIFT_DIV} of the channels by default, here 1/{shift.shift_div}); no array states it. Nothing was "
        f"written. Choose the configuration of its training, or {way_out}, here and wherever the weights are used."
    )


def _matching(keys: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return [key for key in keys if any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)]


def detect_origin(keys: Iterable[str], source: Path) -> str:
    """The project that the names come from; a ``.pdparams`` file with no other known name has Paddle's layout.

    Raises:
        UserError: no known name is among them.
    """
    keys = list(keys)
    if any(key.endswith(("._mean", "._variance")) for key in keys):  # Paddle's batch norms, e.g. in MMAction2's layers
        return "paddle"
    for origin, pattern in _SIGNS:
        if origin == "paddle" and source.suffix == ".pdparams":
            return origin
        if any(re.fullmatch(pattern, key) for key in keys):
            return origin
    raise UserError(
        f"{source}: unknown origin; its keys begin with {', '.join(keys[:3])}. Name it: --from {'|'.join(ORIGINS)}"
    )


def read_source(path: Path, averaged: bool = False) -> Source:
    """The arrays of a weight file of any kind, without running anything of it.

    Raises:
        UserError: the file is missing, damaged, unsafe, of an unknown kind, or holds no arrays.
    """
    path = local_weights(path)
    form = file_form(path)
    if not form and path.suffix not in (*_TORCH_SUFFIXES, ".safetensors", ".pdparams"):
        known = ", ".join((*_TORCH_SUFFIXES, ".safetensors", ".pdparams"))
        raise UserError(f"{path}: is no file of torch, safetensors or Paddle; expected one ending in one of {known}")
    if form == "safetensors" or (path.suffix == ".safetensors" and not form):
        content: Any = read_safetensors(path)
    elif form in ("torch legacy", "zip"):
        content = read_torch(path)
    elif path.suffix == ".pdparams":
        content = read_weights(path)
    else:
        content = read_pickle(path)
    source = Source({})
    source.arrays = _strip(_unwrap(content, path, averaged, source.notes), source.notes)
    source.arrays = _leave_out(source.arrays, source.notes)
    if not source.arrays:
        raise UserError(f"{path}: it holds no arrays of a network")
    for key, value in source.arrays.items():  # uint16 is Paddle's bfloat16
        if value.ndim > 1 and value.dtype.kind in "iu" and value.dtype != np.uint16:
            raise UserError(f"{path}: {key} holds {value.dtype}: of a quantised network; take its float weights")
    return source


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.safetensors`` file; bfloat16 as float32.

    Raises:
        UserError: the file is damaged, or holds a number type that weights do not have.
    """
    try:
        import safetensors
    except ImportError:
        raise UserError(f"{path}: reading it needs 'pip install safetensors'") from None
    try:
        entries = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: damaged, or no safetensors file ({error}); download it again") from error
    arrays = {}
    for name, entry in sorted(entries, key=lambda item: item[0]):  # they come in no order
        if entry["dtype"] not in _SAFETENSORS:
            raise UserError(f"{path}: {name} has the number type {entry['dtype']}, which cannot be read")
        flat = np.frombuffer(entry["data"], _SAFETENSORS[entry["dtype"]])
        if entry["dtype"] == "BF16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = flat.reshape(entry["shape"])
    return arrays


def _unwrap(content: Any, path: Path, averaged: bool, notes: list[str]) -> dict[str, np.ndarray]:
    """The table of arrays within a checkpoint."""
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: expected a table of arrays, got {type(content).__name__}")
    tables = [key for key in (*_WRAPPERS, *_AVERAGED) if isinstance(content.get(key), Mapping)]
    if not tables:
        if averaged:
            raise UserError(f"{path}: --ema: there is no {' or '.join(_AVERAGED)} in it")
        others = [str(key) for key, value in content.items() if not isinstance(value, np.ndarray)]
        if others:
            notes.append(f"left out: {', '.join(others[:12])} (no arrays)")
        return {str(key): value for key, value in content.items() if isinstance(value, np.ndarray)}
    wanted = [key for key in tables if (key in _AVERAGED) == averaged]
    if not wanted:
        side = f"no {' or '.join(_AVERAGED)}" if averaged else "averaged weights only: take them with --ema"
        raise UserError(f"{path}: {side} in it; there are: {', '.join(tables)}")
    rest = [str(key) for key in content if key != wanted[0]]
    notes.append(f"taken from {wanted[0]!r}" + (f"; left out: {', '.join(rest[:12])}" if rest else ""))
    if not averaged and set(tables) & set(_AVERAGED):
        notes.append("the file holds averaged weights too: --ema takes them")
    return _unwrap(content[wanted[0]], path, False, notes)


def _strip(arrays: dict[str, np.ndarray], notes: list[str]) -> dict[str, np.ndarray]:
    """Without the wrappers' prefixes, where every key has them."""
    while found := next((p for p in _PREFIXES if arrays and all(key.startswith(p) for key in arrays)), None):
        notes.append(f"prefix {found!r} removed")
        arrays = {key[len(found) :]: value for key, value in arrays.items()}
    return arrays


def _leave_out(arrays: dict[str, np.ndarray], notes: list[str]) -> dict[str, np.ndarray]:
    reasons = {}
    for key in arrays:
        reason = next((why for pattern, why in _LEFT_OUT if pattern.fullmatch(key)), None)
        if reason:
            reasons[key] = reason
    notes += [f"left out: {line}" for line in _grouped(reasons)]
    return {key: value for key, value in arrays.items() if key not in reasons}


def _grouped(reasons: Mapping[str, str]) -> list[str]:
    """A line per reason, with its number of keys and the first of them."""
    groups: dict[str, list[str]] = {}
    for key, reason in reasons.items():
        groups.setdefault(reason, []).append(key)
    return [f"{len(keys)} keys ({keys[0]}{', ...' if keys[1:] else ''}): {why}" for why, keys in groups.items()]


def _float32(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        key: np.ascontiguousarray(value, "float32" if value.dtype.kind == "f" else None).reshape(value.shape)
        for key, value in arrays.items()
    }
