"""From the MODEL section to a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddle import nn

from paddlevideo.registry import FRAMEWORKS


def build_framework(model_cfg: Mapping[str, Any], normalization: Sequence[Sequence[float]] | None = None) -> nn.Layer:
    """The network that MODEL describes, with ``pretrained`` weights where it names them.

    Args:
        model_cfg: ``{framework: Class, backbone: {...}, head: {...}, runtime_cfg: {...}}``; it is not changed.  A
            section inside another (see ``RecognizerDistillation``) may have its own ``normalization: {mean, std}``.
        normalization: (mean, std) on the 0..1 scale for uint8 clips, or None.

    Raises:
        ConfigError: a class or argument is wrong.
        UserError: the pretrained weights are missing or do not fit.
    """
    spec = {("name" if key == "framework" else key): value for key, value in model_cfg.items()}
    own = spec.pop("normalization", None)
    if own:
        normalization = (own["mean"], own["std"])
    return FRAMEWORKS.build(spec, "MODEL", normalization=normalization)


def build_deployed(model_cfg: Mapping[str, Any], normalization: Sequence[Sequence[float]] | None = None) -> nn.Layer:
    """The part of the network that is tested and exported, waiting for its weights; arguments as above.

    ``load_weights`` fills it from its own checkpoint, or from one of the whole network.
    """
    section, prefix = without_start_weights(model_cfg), ""
    if section.get("framework") in FRAMEWORKS:
        section, prefix = FRAMEWORKS.get(section["framework"]).deployed(section)
    network = build_framework(section, normalization)
    network.weights_prefix = prefix
    return network


def without_start_weights(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of MODEL without files to start from, for weights that come from elsewhere."""
    if model_cfg.get("framework") not in FRAMEWORKS:
        return dict(model_cfg)  # building it reports the mistake
    return FRAMEWORKS.get(model_cfg["framework"]).without_start_weights(model_cfg)
