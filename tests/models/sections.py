"""A small MODEL section for every registered backbone, head and framework, in the variants that differ in structure."""

import copy

import numpy as np
import paddle

from paddlevideo.modeling import build_framework
from paddlevideo.modeling.non_local import MODES

NORMALIZATION = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
FRAMES = 4


def section(framework, backbone, head, channels=None, classes=3, **arguments):
    """MODEL of clips of four frames; ``channels`` None: the head is told nothing."""
    return {
        "framework": framework,
        "backbone": {"name": backbone, "num_seg": FRAMES, **arguments},
        "head": {"name": head, **({} if channels is None else {"num_classes": classes, "in_channels": channels})},
    }


def tsm(depth=18, channels=32, **arguments):
    return section("Recognizer2D", "ResNetTSM", "TSMHead", channels, depth=depth, width=4, **arguments)


def transformer(name="VisionTransformer", head="TimeSformerHead", **arguments):
    size = {"img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return section("RecognizerTransformer", name, head, 16, **size, **arguments)


R50 = {"depth": 50, "channels": 128}
PPTSM = ("Recognizer2D", "ResNetTweaksTSM", "ppTSMHead")
SLOWFAST = {"depth": 18, "width": 8, "resample_rate": 2, "speed_ratio": 2}
RECOGNIZERS = {
    "tsm": tsm(),
    "tsm r101": tsm(101, 128, shift_every=2),
    "tsm block": tsm(**R50, shift_place="block", shift_direction="mmaction2"),
    "tsm temporal pool": tsm(**R50, temporal_pool=True),
    **{f"tsm {mode}": tsm(**R50, non_local={"mode": mode}) for mode in MODES},
    "tsm both": tsm(**R50, temporal_pool=True, non_local={"sub_sample": False}),
    "tsm online": tsm(**R50, shift_mode="online"),
    "mobilenet": section("Recognizer2D", "MobileNetV2TSM", "TSMHead", 1280, scale=0.25),
    "pptsm mobilenet": section("Recognizer2D", "PPTSM_MobileNetV2", "MoViNetHead", class_num=3, scale=0.25),
    "pptsm mobilenet v3": section("Recognizer2D", "PPTSM_MobileNetV3", "MoViNetHead", class_num=3, scale=0.25),
    "pptsm v2": section("Recognizer2D", "PPTSM_v2", "MoViNetHead", class_num=3, scale=0.125),
    "pptsm v2 gates": section("Recognizer2D", "PPTSM_v2", "MoViNetHead", class_num=3, scale=0.125,
        use_temporal_att=True),
    "pptsm r18": section(*PPTSM, 32, depth=18, width=4),
    "pptsm r50": section(*PPTSM, 128, depth=50, width=4),
    "timesformer": transformer(qkv_bias=True),
    "timesformer joint": transformer(attention_type="joint_space_time", qkv_bias=True),
    "timesformer space": transformer(attention_type="space_only", qkv_bias=True),
    "pptimesformer": transformer("VisionTransformer_tweaks", "ppTimeSformerHead"),
    "slowonly": section("Recognizer3D", "ResNet3dSlowOnly", "I3DHead", 32, depth=18, width=4),
    "slowfast": section("Recognizer3D", "ResNet3dSlowFast", "SlowFastHead", 72, **SLOWFAST),
    "slowfast paddlevideo": section("Recognizer3D", "ResNetSlowFast", "SlowFastHead", 320, width_per_group=8, alpha=2,
        beta=4),
}  # fmt: skip
# what runs in make test where every network is a slow test: one of each framework, and the newest blocks
QUICK = {"tsm", "timesformer", "slowonly", "pptsm v2"}
LARGER = {"pptsm mobilenet v3", "pptsm v2", "pptsm v2 gates"}  # at 32 the last of their many norms see single pixels
SIZES = {
    name: 64 if own["backbone"].get("depth") in (50, 101) or name in LARGER else 32 for name, own in RECOGNIZERS.items()
}


def build(name, **changes):
    """A network in eval mode with the same start weights at every call."""
    paddle.seed(7)
    network = build_framework({**copy.deepcopy(RECOGNIZERS[name]), **changes}, NORMALIZATION)
    network.eval()
    return network


def clips(name, count=2, views=1):
    """uint8 [N, V, T, H, W, 3] for a network of the table."""
    shape = (count, views, FRAMES, SIZES[name], SIZES[name], 3)
    return paddle.to_tensor(np.random.default_rng(3).integers(0, 256, shape, dtype="uint8"))
