"""How the classes of MMAction2's golden cases are spelled here."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.backbones.mobilenet_v2_tsm import MobileNetV2Trunk
from paddlevideo.modeling.backbones.resnet3d import ResNet3D
from paddlevideo.modeling.backbones.resnet3d_slowfast import ResNet3dSlowFast
from paddlevideo.modeling.backbones.resnet_tsm import BLOCKS, ResNetTSM, block_name
from paddlevideo.modeling.backbones.vit import VisionTransformer
from paddlevideo.modeling.inflation import spelled_here
from tests.parity.cases import Unavailable


@dataclass(frozen=True)
class Translation:
    """How a class of MMAction2 is spelled here.

    Args:
        name: our class.
        arguments: their name -> ours.
        ignored: arguments that change nothing in these outputs, with the only values for which that holds.
        constants: our arguments that their class fixes.
    """

    name: str
    arguments: Mapping[str, str]
    ignored: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    constants: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda given: {}


_ANY: tuple[Any, ...] = ()


def _every_second(given: Mapping[str, Any]) -> dict[str, Any]:
    """A long third stage makes MMAction2 shift every second block only, unless it shifts whole blocks."""
    long = given.get("depth", 50) >= 101 and given.get("shift_place", "blockres") == "blockres"
    return {"shift_every": 2 if long else 1}


def _non_local(given: Mapping[str, Any]) -> dict[str, Any]:
    """MMAction2 looks at ``non_local`` only where ``non_local_cfg`` has something; BN3d is the one normalisation."""
    own = dict(given.get("non_local_cfg") or {})
    if not own:
        return {}
    norm = own.pop("norm_cfg", {})
    if norm.get("type") != "BN3d":
        raise Unavailable(f"non-local blocks with {norm or 'no normalisation'}")
    return {"non_local": {**own, "blocks": given.get("non_local")}}


# arguments of MMAction2's ResNet3d, with the values that the networks here have
_RESNET3D: dict[str, tuple[Any, ...]] = {
    "pretrained2d": _ANY,
    "norm_eval": _ANY,
    "norm_cfg": _ANY,
    "num_stages": (4,),
    "lateral": (False,),
    "with_pool2": (False,),
    "conv1_stride_t": (1,),
    "pool1_stride_t": (1,),
    "dilations": ([1, 1, 1, 1],),
}


def _pathways(slow: Mapping[str, Any], fast: Mapping[str, Any]) -> dict[str, Any]:
    """What MMAction2 says of each pathway, where ours has one argument for both."""
    fixed = {"type": ("resnet3d",), "pretrained": _ANY, **_RESNET3D, "depth": (fast.get("depth"),)}
    fixed["spatial_strides"] = (fast.get("spatial_strides", [1, 2, 2, 2]),)
    slow_only = {"lateral": (True,), "conv1_kernel": ([1, 7, 7],), "inflate": ([0, 0, 1, 1],), "fusion_kernel": _ANY}
    fast_only = {"base_channels": (8,), "conv1_kernel": ([5, 7, 7],), "inflate": ([1, 1, 1, 1],)}
    for where, pathway, own in (("slow_pathway", slow, slow_only), ("fast_pathway", fast, fast_only)):
        known = {**fixed, **own}
        for key, value in pathway.items():
            if key not in known or (known[key] and value not in known[key]):
                raise Unavailable(f"ResNet3dSlowFast with {where}.{key} {value}")
    return {
        "depth": fast["depth"],
        "spatial_strides": fast.get("spatial_strides", [1, 2, 2, 2]),
        "lateral_kernel": slow.get("fusion_kernel", 5),
    }


TRANSLATIONS = {
    "ResNetTSM": Translation(
        "ResNetTSM",
        {
            "depth": "depth",
            "num_segments": "num_seg",
            "shift_div": "shift_div",
            "is_shift": "shift",
            "shift_place": "shift_place",
            "temporal_pool": "temporal_pool",
        },
        {"pretrained": _ANY, "norm_eval": _ANY, "non_local": _ANY, "non_local_cfg": _ANY},
        lambda given: {"shift_direction": "mmaction2", **_every_second(given), **_non_local(given)},
    ),
    "MobileNetV2TSM": Translation(
        "MobileNetV2TSM",
        {"num_segments": "num_seg", "shift_div": "shift_div", "is_shift": "shift", "widen_factor": "scale"},
        {"pretrained": _ANY, "norm_eval": _ANY},
        lambda given: {"shift_direction": "mmaction2"},
    ),
    "TimeSformer": Translation(
        "VisionTransformer",
        {
            "num_frames": "num_seg",
            "img_size": "img_size",
            "patch_size": "patch_size",
            "in_channels": "in_channels",
            "dropout_ratio": "drop_rate",
            "attention_type": "attention_type",
            "embed_dims": "embed_dim",
            "num_heads": "num_heads",
            "num_transformer_layers": "depth",
        },
        {"pretrained": _ANY},
        lambda given: {"qkv_bias": True, "epsilon": 1e-6},
    ),
    "ResNet3dSlowOnly": Translation(
        "ResNet3dSlowOnly",
        {"depth": "depth", "spatial_strides": "spatial_strides", "inflate": "inflate"},
        {"pretrained": _ANY, "non_local": _ANY, "non_local_cfg": _ANY, **_RESNET3D, "conv1_kernel": ([1, 7, 7],)},
        _non_local,
    ),
    "ResNet3dSlowFast": Translation(
        "ResNet3dSlowFast",
        {"resample_rate": "resample_rate", "speed_ratio": "speed_ratio", "channel_ratio": "channel_ratio"},
        {"pretrained": _ANY, "slow_pathway": _ANY, "fast_pathway": _ANY},
        lambda given: _pathways(given["slow_pathway"], given["fast_pathway"]),
    ),
    "TSMHead": Translation(
        "TSMHead",
        {"num_classes": "num_classes", "in_channels": "in_channels", "dropout_ratio": "drop_ratio", "init_std": "std"},
        {
            "num_segments": _ANY,
            "is_shift": _ANY,
            "spatial_type": ("avg",),
            "temporal_pool": _ANY,  # the backbone says how many frames it leaves
            "consensus": _ANY,
        },
    ),
    "TimeSformerHead": Translation(
        "TimeSformerHead", {"num_classes": "num_classes", "in_channels": "in_channels", "init_std": "std"}
    ),
}


def translate(spec: dict[str, Any]) -> dict[str, Any]:
    """``{type: Class, arguments}`` of MMAction2 as ``{name: Class, arguments}`` of this suite; ``spec`` loses its type.

    Raises:
        Unavailable: there is no such class or argument here.
    """
    kind = spec.pop("type")
    if kind not in TRANSLATIONS:
        raise Unavailable(kind)
    table = TRANSLATIONS[kind]
    result = {"name": table.name, **table.constants(spec)}
    for key, value in spec.items():
        if key in table.arguments:
            result[table.arguments[key]] = value
        elif key not in table.ignored or (table.ignored[key] and value not in table.ignored[key]):
            raise Unavailable(f"{kind} with {key}")
    return result


@functools.singledispatch
def layer_name(backbone: Backbone, name: str) -> str:
    """The layer of a backbone here that gives the output of the layer ``name`` of MMAction2's."""
    return name


@layer_name.register
def _(backbone: ResNetTSM, name: str) -> str:
    def block(stage: str, index: str | int) -> str:
        return block_name(backbone.depth, int(stage) - 1, int(index))

    if name == "conv1":
        return "conv"
    if match := re.fullmatch(r"layer(\d)", name):  # a stage ends with its last block
        return block(match.group(1), BLOCKS[backbone.depth][int(match.group(1)) - 1] - 1)
    if match := re.fullmatch(r"layer(\d)\.(\d+)", name):
        return block(*match.groups())
    if match := re.fullmatch(r"layer(\d)\.(\d+)\.non_local_block", name):
        return f"{block(*match.groups())}.non_local"
    return name


@layer_name.register
def _(backbone: MobileNetV2Trunk, name: str) -> str:
    if match := re.fullmatch(r"layer(\d)", name):
        return f"conv{int(match.group(1)) + 1}"
    return {"conv2": "conv9"}.get(name, name)


@layer_name.register(ResNet3D)
@layer_name.register(ResNet3dSlowFast)
def _(backbone: Backbone, name: str) -> str:
    return spelled_here(name)


@layer_name.register
def _(backbone: VisionTransformer, name: str) -> str:
    return re.sub(r"^transformer_layers\.layers\.(\d+)$", r"blocks.\1", name)
