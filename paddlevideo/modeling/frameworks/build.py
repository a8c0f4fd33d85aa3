"""From the MODEL section to a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddle import nn

from paddlevideo.registry import FRAMEWORKS


def build_framework(model_cfg: Mapping[str, Any], normalization: Sequence[Sequence[float]] | None = None) -> nn.Layer:
    """The network that MODEL describes, with ``pretrained`` weights where it names them.

    Args:
        model_cfg: ``{framework: Class, backbone: {...}, head: {...}, runtime_cfg: {...}}``; it is not changed.
        normalization: (mean, std) on the 0..1 scale for uint8 clips, or None.

    Raises:
        ConfigError: a class or argument is wrong.
        UserError: the pretrained weights are missing or do not fit.
    """
    spec = {("name" if key == "framework" else key): value for key, value in model_cfg.items()}
    return FRAMEWORKS.build(spec, "MODEL", normalization=normalization)
