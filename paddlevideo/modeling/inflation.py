"""Weights of picture networks for 3-D networks: under their names, and with a time axis.

Three spellings of the same 2-D ResNet are known: torchvision's (``layer1.0.bn2.weight``; paddle.vision has the same),
PaddleVideo's (``res2a.conv1._batch_norm.weight``) and PaddleClas' (``blocks.0.conv1.bn.weight``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# what is spelled otherwise in MMAction2 0.x or torchvision than here; applied in turn
_SPELLINGS = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"\.running_mean$", "._mean"),
        (r"\.running_var$", "._variance"),
        (r"(^|\.)bn(\d)\.", r"\1conv\2.bn."),
        (r"(^|\.)(conv\d)\.weight$", r"\1\2.conv.weight"),
        (r"downsample\.0\.", "downsample.conv."),
        (r"downsample\.1\.", "downsample.bn."),
        (r"_lateral\.conv\.", "_lateral."),
        (r"non_local_block\.conv_out\.bn\.", "non_local.bn."),
        (r"non_local_block\.(\w+?)(?:\.0)?\.conv\.", r"non_local.\1."),
        (r"non_local_block\b", "non_local"),
    )
)
_PADDLEVIDEO = re.compile(r"(\w+)\.(?:(conv\d|short)\.)?(_conv|_batch_norm)\.(\w+)")
_KINDS = {"_conv": "conv", "_batch_norm": "bn"}


def spelled_here(key: str) -> str:
    """MMAction2's or torchvision's name of a parameter of a ResNet, as the 3-D networks here have it."""
    for pattern, ours in _SPELLINGS:
        key = pattern.sub(ours, key)
    return key


def from_pictures(arrays: Mapping[str, Any], blocks: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The arrays of a 2-D ResNet under the names ``conv1.conv.weight``, ``layer1.0.conv2.bn._mean``; no classifier.

    Args:
        arrays: torchvision's names or PaddleVideo's.
        blocks: of every block PaddleVideo's name and the one here: ``("res2a", "layer1.0")``.
    """
    places = dict(blocks)
    renamed = {}
    for key, value in arrays.items():
        if key.startswith(("fc.", "out.")) or key.endswith("num_batches_tracked"):
            continue
        if (match := _PADDLEVIDEO.fullmatch(key)) and (match.group(1) in places or key.startswith("conv._")):
            place, part, kind, tensor = match.groups()
            inside = "downsample" if part == "short" else f"conv{int((part or 'conv0')[-1]) + 1}"
            lead = f"{places[place]}." if part else ""
            key = f"{lead}{inside}.{_KINDS[kind]}.{tensor}"
        renamed[spelled_here(key)] = value
    return renamed


def inflated(arrays: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Filters over pictures as filters over clips: repeated along time and divided by the number of frames.

    On a clip of equal frames they give what they gave on the picture.  Where the 3-D filter takes more channels (those
    that a lateral connection adds), its weights for them are 0.  All other arrays stay as they are.

    Args:
        shapes: of the 3-D network's arrays, by name.

    *Source*: I3D (Carreira and Zisserman, 2017); MMAction2 ``ResNet3d.inflate_weights``.
    """
    result = {}
    for key, value in arrays.items():
        wanted = shapes.get(key)
        if wanted is not None and len(wanted) == 5 and np.ndim(value) == 4:
            value = np.asarray(value)
            missing = max(wanted[1] - value.shape[1], 0)
            value = np.pad(value, [(0, 0), (0, missing), (0, 0), (0, 0)])
            value = np.repeat(value[:, :, None] / wanted[2], wanted[2], axis=2).astype(value.dtype)
        result[key] = value
    return result


def is_of_pictures(arrays: Mapping[str, Any]) -> bool:
    """Whether the convolutions of a file have no time axis."""
    return any(np.ndim(value) == 4 for value in arrays.values())
