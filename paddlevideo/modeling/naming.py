"""Names of weights in other projects.

A backbone states the exact name that every array of its own network has there (``names``).  What wraps a layer in the
other project (a shift, a pool, a non-local block) is part of the name, so it has to be part of the network: a file of
another network leaves keys over on both sides.  The ``variants`` of the backbones identify the network of a file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddlevideo.registry import BACKBONES

_BATCH_NORM = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}
_TRACKED = "num_batches_tracked"
_CLASSIFIERS = ("fc.", "classifier.", "head.", "pre_logits.", "out.")  # of whole image networks
_MARKS = ("weight_fake_quant", "activation_post_process", "_packed_params", "zero_point", "fake_quant", "_quantizer")


@dataclass(frozen=True)
class Variant:
    """A network that a file may be of.

    Args:
        arguments: of MODEL.backbone, ``name`` among them, that decide the names.
        names: name there -> name here.
        over_clips: its convolutions have a time axis.
    """

    arguments: Mapping[str, Any]
    names: Mapping[str, str]
    over_clips: bool = False


def batch_norm(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """(name in PyTorch, name in Paddle) of the four arrays of a batch normalisation."""
    return ((f"{theirs}.{name}", f"{ours}.{own}") for name, own in _BATCH_NORM.items())


def renamed(arrays: Mapping[str, np.ndarray], names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays under the names here; batch counters are left out, an unknown key stays, as unexpected."""
    return {names.get(key, key): value for key, value in arrays.items() if not key.endswith(_TRACKED)}


def which_network(backbone: Any, arrays: Mapping[str, np.ndarray], origin: str) -> str:
    """The network of a file with other keys than ``backbone``'s, and the configuration that fits; "" if none differ.

    Args:
        backbone: a ``Backbone``.
        arrays: by the names of ``origin``, without ``backbone.``.
    """
    keys = [key for key in arrays if not key.endswith(_TRACKED) and not key.startswith(_CLASSIFIERS)]
    names, own = backbone.names(origin), type(backbone).__name__
    strange = [key for key in keys if key not in names]
    if not strange and names.keys() <= arrays.keys():
        return ""
    quantised = [key for key in strange if any(mark in key for mark in _MARKS)]
    if quantised:
        return f"The file is of a quantised network ({quantised[0]}); take the float weights that it was made from."
    over_clips = any(np.ndim(arrays[key]) == 5 and "non_local" not in key for key in keys)
    fitting = [v for v in _variants(origin) if v.over_clips == over_clips and set(keys) <= v.names.keys()]
    if not fitting:
        return _nearest(strange, names)
    # the one with the fewest other keys; among equals this network's own class
    found = min(fitting, key=lambda v: (len(v.names) - len(keys), v.arguments["name"] != own))
    arguments = dict(found.arguments)
    name = arguments.pop("name")
    if name != own:
        listed = "".join(f", {key}: {value}" for key, value in arguments.items())
        return f"The keys are those of MODEL.backbone {{name: {name}{listed}}}: choose that network's configuration."
    changed = {key: value for key, value in arguments.items() if backbone.structure[key] != value}
    if not changed:
        return ""
    differences = ", ".join(f"{key} {value} (here {backbone.structure[key]})" for key, value in changed.items())
    settings = " ".join(f"-o MODEL.backbone.{key}={str(value).replace(' ', '')}" for key, value in changed.items())
    return (
        f"The keys are those of a {name} with {differences}: choose that network's configuration, or {settings}; what "
        "is converted so can be MODEL.backbone.pretrained of any other."
    )


def network_of(keys: Iterable[str]) -> str:
    """The network with these keys, as far as names identify it: "a ResNetTSM of depth 50"; "" if none."""
    keys = set(keys)
    origins = ("mmaction2", "paddle") if keys else ()
    fitting = [v for origin in origins for v in _variants(origin) if keys <= set(v.names.values())]
    if not fitting:
        return ""
    arguments = min(fitting, key=lambda v: len(v.names)).arguments
    return f"a {arguments['name']}" + (f" of depth {arguments['depth']}" if "depth" in arguments else "")


def _variants(origin: str) -> Iterator[Variant]:
    for name in BACKBONES.names():
        cls = BACKBONES.get(name)
        if "structures" in vars(cls):
            yield from cls.variants(origin)


def _nearest(strange: Iterable[str], names: Mapping[str, str]) -> str:
    for key in strange:
        near = difflib.get_close_matches(key, names, 1, 0.9)
        if near:
            twice = "; the shift is there twice" if ".net.net." in key else ""
            return f"The keys are of no network that is known here: {key}, where this one has {near[0]}{twice}."
    return ""
