"""Weights as other projects name them, small: MMAction2, torchvision, timm, TimeSformer's authors; and safetensors."""

import json
import re
import struct
from pathlib import Path

import numpy as np

from paddlevideo.modeling import build_framework
from tests.parity import golden

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "mmaction2"
VIT = {"name": "VisionTransformer", "img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2,
       "num_seg": 4, "qkv_bias": True}  # fmt: skip


def case_of(name, project="mmaction2"):
    return json.loads((GOLDEN.parent / project / f"{name}.json").read_text())


def arrays_of(case):
    return golden.weights(case["seed"], case["state_dict"], case["layout"], case["gain"])


def write_safetensors(path, arrays, types=None):
    """By hand, from the format's description: 8 bytes of header length, the header as JSON, the raw numbers."""
    header, parts, position = {"__metadata__": {"format": "pt"}}, [], 0
    for name, value in arrays.items():
        raw, kind = value.tobytes(), {"f": "F32", "i": "I64", "u": "BF16"}[value.dtype.kind]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [position, position + len(raw)]}
        parts.append(raw)
        position += len(raw)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return path


def small(classes=3, **backbone):
    given = {"name": "ResNetTSM", "depth": 18, "width": 4, "num_seg": 4, "shift_direction": "mmaction2", **backbone}
    return {
        "framework": "Recognizer2D",
        "backbone": given,
        "head": {"name": "TSMHead", "num_classes": classes, "in_channels": 32},
    }


def image_resnet18(section, block_bn="bn"):
    """torchvision's names of a ResNet-18, with the shapes of ``section``'s network."""
    norm = [f"{{}}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    names = ["conv1.weight", *(n.format("bn1") for n in norm), "bn1.num_batches_tracked"]
    for stage in range(1, 5):
        for block in range(2):
            at = f"layer{stage}.{block}"
            for i in (1, 2):
                names += [f"{at}.conv{i}.weight", *(n.format(f"{at}.{block_bn}{i}") for n in norm)]
            if stage > 1 and block == 0:
                names += [f"{at}.downsample.0.weight", *(n.format(f"{at}.downsample.1") for n in norm)]
    backbone = build_framework(section).backbone
    shapes, ours = {k: list(v.shape) for k, v in backbone.state_dict().items()}, backbone.names("torchvision")
    table = [(name, shapes[ours[name]]) for name in names if "tracked" not in name]
    arrays = golden.weights(7, [*table, ("fc.weight", [1000, 32]), ("fc.bias", [1000])], "torch")
    return arrays | {"bn1.num_batches_tracked": np.array(9, "int64")}


def image_mobilenet(section):
    """torchvision's names of a MobileNetV2."""

    def pair(convolution, norm):
        parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return [f"{convolution}.weight", *(f"{norm}.{part}" for part in parts)]

    names = pair("features.0.0", "features.0.1") + pair("features.18.0", "features.18.1")
    for i in range(1, 18):
        at, last = f"features.{i}.conv", 1 if i == 1 else 2
        for place in range(last):
            names += pair(f"{at}.{place}.0", f"{at}.{place}.1")
        names += pair(f"{at}.{last}", f"{at}.{last + 1}")
    backbone = build_framework(section).backbone
    shapes, ours = {k: list(v.shape) for k, v in backbone.state_dict().items()}, backbone.names("torchvision")
    table = [(name, shapes[ours[name]]) for name in names if "tracked" not in name]
    return golden.weights(7, [*table, ("classifier.1.weight", [1000, 1280]), ("classifier.1.bias", [1000])], "torch")


def mmaction_checkpoint(section, net=".net"):
    """A whole TSM checkpoint in MMAction2's names; ``net`` is what a shift adds to that of a convolution."""
    arrays = {}
    for name, value in image_resnet18(section).items():
        name = re.sub(r"(conv\d)\.weight", r"\1.conv.weight", re.sub(r"bn(\d)\.", r"conv\1.bn.", name))
        name = name.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")
        name = re.sub(r"(layer\d\.\d\.conv1\.conv)", rf"\1{net}", name)
        arrays |= {} if name.startswith("fc.") else {f"backbone.{name}": value}
    classes, width = section["head"]["num_classes"], section["head"]["in_channels"]
    head = golden.weights(7, [("fc_cls.weight", [classes, width]), ("fc_cls.bias", [classes])], "torch")
    return arrays | {f"cls_head.{k}": v for k, v in head.items()}


def image_vit(backbone, **more):
    """timm's names of the image ViT that ``backbone`` begins with, and ``more`` (names of (shape))."""
    own = build_framework(divided(3, **backbone)).backbone.state_dict()
    plain = {key: value for key, value in own.items() if "temporal" not in key and key != "time_embed"}
    shapes = {key: list(value.shape)[::-1] if value.ndim == 2 else list(value.shape) for key, value in plain.items()}
    return golden.weights(5, list({**shapes, **more}.items()), "torch")


def divided(classes=3, **backbone):
    return {
        "framework": "RecognizerTransformer",
        "backbone": VIT | backbone,
        "head": {"name": "TimeSformerHead", "num_classes": classes, "in_channels": 16},
    }


def original_timesformer(section):
    """The names that TimeSformer's authors gave: ``model.``, then timm's, and beside them those of the time."""
    framework = build_framework(section)
    table = []
    for key, value in framework.state_dict().items():
        name = key.removeprefix("backbone.").replace("head.fc.", "head.")
        table.append((f"model.{name}", list(value.shape)[::-1] if value.ndim == 2 else list(value.shape)))
    return golden.weights(11, table, "torch")
