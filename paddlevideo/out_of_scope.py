"""Models of PaddleVideo and MMAction2 that this suite does not have on purpose, and what is nearest to them here."""

from __future__ import annotations

import re

# pattern within a name (letters and digits, small) -> what it is, and what is nearest here
_FAMILIES: dict[str, tuple[str, str | None]] = {
    "mobilenetv3": ("PP-TSM on MobileNetV3", "PPTSM_MobileNetV2"),
    "pptsmv2": ("PP-TSM v2", "PPTSM_MobileNetV2"),
    "bmn": ("temporal localisation (BMN)", None),
    "bsn": ("temporal localisation (BSN)", None),
    "ctcn": ("temporal localisation (C-TCN)", None),
    "yowo": ("YOWO", "FastRCNN (configs/detection/ava)"),
    "tsn": ("TSN", "ResNetTSM or ResNetTweaksTSM with shift: False"),
    "swin": ("Video Swin", "VisionTransformer (TimeSformer)"),
    "movinet(?!h)": ("MoViNet", "PPTSM_MobileNetV2"),
    "tokenshift": ("TokenShift", "VisionTransformer with attention_type: space_only"),
    "mvit": ("MViT", "VisionTransformer (TimeSformer)"),
    "posec3d": ("PoseC3D (heat maps of skeletons)", "ResNet3dSlowOnly on RGB"),
    "gcn": ("recognition from skeletons", None),
    "attentionlstm": ("recognition from features (AttentionLSTM)", None),
    "actbert": ("video with text (ActBERT)", None),
    "transnet": ("shot detection (TransNetV2)", None),
    "mstcn": ("action segmentation (MS-TCN)", None),
    "asrf": ("action segmentation (ASRF)", None),
    "cfbi": ("video object segmentation (CFBI)", None),
    "adds": ("depth estimation (ADDS)", None),
    "depthestimator": ("depth estimation (ADDS)", None),
}
# names of single classes -> what there is instead
_CLASSES = {
    "MultiCenterCrop": "it belongs to PaddleVideo's TokenShift; for one crop CenterCrop, for three UniformCrop",
}


def out_of_scope(name: str) -> str | None:
    """What a class of such a name would be, and what is nearest; None for other names."""
    if name in _CLASSES:
        return _CLASSES[name]
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    for pattern, (what, nearest) in _FAMILIES.items():
        if re.search(pattern, plain):
            return f"{what} is not part of this suite" + (f"; nearest: {nearest}" if nearest else "")
    return None
