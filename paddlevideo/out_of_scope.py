"""Models of PaddleVideo and MMAction2 that this suite does not have on purpose, and what is nearest to them here."""

from __future__ import annotations

import re

# pattern of a whole name (letters and digits, small) but for its kind -> what it is, and what is nearest here
_FAMILIES: dict[str, tuple[str, str | None]] = {
    "bmn": ("temporal localisation (BMN)", None),
    "bsn": ("temporal localisation (BSN)", None),
    "ctcn": ("temporal localisation (C-TCN)", None),
    "yowo": ("YOWO", "FastRCNN (configs/detection/ava)"),
    "(resnet|resnettweaks|pp)?tsn": ("TSN", "ResNetTSM or ResNetTweaksTSM with shift: False"),
    "(video)?swin(transformer)?(3d)?": ("Video Swin", "VisionTransformer (TimeSformer)"),
    "movinet(?!head)(a[0-5])?(recognizerframe)?": ("MoViNet", "PPTSM_MobileNetV2"),
    "tokenshift(visiontransformer)?": ("TokenShift", "VisionTransformer with attention_type: space_only"),
    "mvit(v[12])?": ("MViT", "VisionTransformer (TimeSformer)"),
    "posec3d": ("PoseC3D (heat maps of skeletons)", "ResNet3dSlowOnly on RGB"),
    "(recognizer|a|aa|st|ctr)?gcn(2s|pp)?": ("recognition from skeletons", None),
    "attentionlstm": ("recognition from features (AttentionLSTM)", None),
    "actbert": ("video with text (ActBERT)", None),
    "transnet(v2)?": ("shot detection (TransNetV2)", None),
    "mstcn": ("action segmentation (MS-TCN)", None),
    "asrf": ("action segmentation (ASRF)", None),
    "cfbi": ("video object segmentation (CFBI)", None),
    "adds(depthnet)?": ("depth estimation (ADDS)", None),
    "depthestimator": ("depth estimation (ADDS)", None),
    "(ucf101)?skeleton(norm|cropsample)?": ("recognition from skeletons", "ResNet3dSlowOnly (SlowOnly) on RGB"),
}
_KIND = "(head|dataset|loss|metric|localizer|recognizer|partitioner|inferencehelper)?"  # after such a name
# files of PaddleVideo whose whole text is the word PLACEHOLDER -> their family
_PLACEHOLDERS = {
    "bsn": ("temporal localisation (BSN)", None),
    "ctcn": ("temporal localisation (C-TCN)", None),
    "non_local": ("a non-local network by itself", "tsm_nl_* and slowonly_nl_*, with non-local blocks"),
}
# names of single classes -> what there is instead
_CLASSES = {
    "MultiCenterCrop": "it belongs to PaddleVideo's TokenShift; for one crop CenterCrop, for three UniformCrop",
}


def out_of_scope(name: str) -> str | None:
    """What a class of such a name would be, and what is nearest; None for other names."""
    if name in _CLASSES:
        return _CLASSES[name]
    found = _find(name)
    return found and f"{found[0]} is not part of this suite" + (f"; nearest: {found[1]}" if found[1] else "")


def family_line(name: str) -> str | None:
    """``NAME is out of scope: FAMILY; nearest here: MODEL`` of a class of another model; None for other names."""
    found = _find(name)
    return found and f"{name} is out of scope: {_nearest(*found)}"


def placeholder_line(stem: str) -> str:
    """The same of a file that holds PaddleVideo's word PLACEHOLDER and no configuration.

    Args:
        stem: the file's name without its ending.
    """
    found = _PLACEHOLDERS.get(stem) or _find(stem)
    rest = f", out of scope: {_nearest(*found)}" if found else "; name another configuration"
    return f"PaddleVideo's placeholder (its text is PLACEHOLDER, without a model){rest}"


def _find(name: str) -> tuple[str, str | None] | None:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return next((family for pattern, family in _FAMILIES.items() if re.fullmatch(pattern + _KIND, plain)), None)


def _nearest(what: str, nearest: str | None) -> str:
    return f"{what}; " + (f"nearest here: {nearest}" if nearest else "nothing here is near it")
