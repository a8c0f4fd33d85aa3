"""The largest difference of a score between each network and its exported forms, family by family.

``python -m benchmarks.export_formats [--families NAME...] [--size 64] [--seed 0]``

The networks are those of the shipped configurations, with random weights: normalisations have the statistics of random
clips, and the last layer is scaled so that logits have a standard deviation of 2.  Pictures are smaller than in the
configurations; the clips, persons and runtimes are those of ``paddlevideo export --format paddle,onnx,openvino``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.build import deployed_network
from paddlevideo.config import load_config
from paddlevideo.environment import cpu_name, hide_paddle_remarks, set_cpu_environment
from paddlevideo.inference.export import save_program
from paddlevideo.inference.export_check import Reference, compare
from paddlevideo.inference.formats import compare_formats, write_formats
from paddlevideo.inference.video_bank import Window

FORMS = ("onnx", "openvino")
FAMILIES = {
    "TSM": "tsm_r50_1x1x8_50e_kinetics400_rgb.yaml",
    "TSM, MobileNetV2": "tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb.yaml",
    "TSM, non-local": "tsm_nl_embedded_gaussian_r50_1x1x8_50e_kinetics400_rgb.yaml",
    "PP-TSM": "pptsm_k400_frames_uniform.yaml",
    "TimeSformer": "timesformer_k400_videos.yaml",
    "PP-TimeSformer": "pptimesformer_k400_videos.yaml",
    "SlowOnly": "slowonly_r50_4x16x1_256e_kinetics400_rgb.yaml",
    "SlowFast": "slowfast_r50_4x16x1_256e_kinetics400_rgb.yaml",
    "AVA, SlowOnly": "slowonly_kinetics_pretrained_r50_4x16x1_20e_ava_rgb.yaml",
    "AVA, SlowFast": "slowfast_kinetics_pretrained_r50_4x16x1_20e_ava_rgb.yaml",
    "AVA, SlowOnly, non-local": "slowonly_nl_kinetics_pretrained_r50_4x16x1_10e_ava_rgb.yaml",
    "AVA, SlowFast, context": "slowfast_context_kinetics_pretrained_r50_4x16x1_20e_ava_rgb.yaml",
    "AVA, SlowFast, temporal max, focal":
        "slowfast_temporal_max_focal_alpha3_gamma1_kinetics_pretrained_r50_8x8x1_cosine_10e_ava22_rgb.yaml",
    "AVA, SlowFast, ACRN": "slowfast_acrn_kinetics_pretrained_r50_8x8x1_cosine_10e_ava_rgb.yaml",
    "AVA, SlowOnly, feature bank": "lfb_nl_kinetics_pretrained_slowonly_r50_4x16x1_20e_ava_rgb.yaml",
}  # fmt: skip
_DEVIATION = 2.0


def network_of(config: str, size: int, seed: int) -> tuple[Any, np.ndarray, Window | None]:
    """A network, a clip of its size and its window."""
    import paddle

    section = load_config(config, uses=("test",))["MODEL"]
    overrides = [f"MODEL.backbone.img_size={size}"] if "img_size" in section["backbone"] else []
    paddle.seed(seed)
    network = deployed_network(load_config(config, overrides, uses=("test",)))
    frames = network.backbone.num_seg or 8
    clip = np.zeros((1, frames, size, size, 3), "uint8")
    window = Window(5, 3, network.long_term_channels) if network.takes_boxes and network.needs_long_term else None
    return network, clip, window


def prepared(network: Any, clip: np.ndarray, window: Window | None, deviation: float = _DEVIATION) -> Any:
    """The network with statistics of the clips and logits of a standard deviation that tells classes apart."""
    import paddle
    from paddle import nn

    norms = [layer for layer in network.sublayers() if isinstance(layer, nn.layer.norm._BatchNormBase)]
    rng = np.random.default_rng(0)
    for layer in norms:
        layer._momentum = 0.0
        layer.weight.set_value(rng.uniform(0.5, 1.0, layer.weight.shape).astype("float32"))
        layer.train()
    reference = Reference.of(network, clip, window)
    network.eval()
    scores = np.concatenate(Reference.of(network, clip, window).scores if norms else reference.scores)
    logits = np.log(np.maximum(scores, 1e-12)) - (np.log1p(-np.minimum(scores, 1 - 1e-7)) if network.multi_label else 0)
    last = [layer for layer in network.sublayers() if isinstance(layer, nn.Linear)][-1]
    with paddle.no_grad():
        last.weight.set_value(last.weight * float(deviation / logits.std(1).mean()))
    return network


def differences(network: Any, clip: np.ndarray, window: Window | None) -> dict[str, float]:
    """Largest absolute difference of a score by form."""
    specs = network.input_spec({"imgs": clip[None], **(window.empty(1) if window else {})})
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "m.json")
        save_program(network, specs, program.with_suffix(""))
        write_formats(program, FORMS)
        reference = Reference.of(network, clip, window)
        others = compare_formats(program, FORMS, reference, lambda line: None)
        found = {"paddle": compare(reference, program), **others}
        return {form: difference.absolute for form, difference in found.items()}


def main() -> None:
    """Prints one row per family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME")
    parser.add_argument("--size", type=int, default=64, help="height and width of pictures (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    set_cpu_environment()
    hide_paddle_remarks()
    import paddle

    paddle.set_device("cpu")
    size = arguments.size
    print(f"{cpu_name()}, {time.strftime('%Y-%m-%d')}, seed {arguments.seed}, {size} x {size} pixels")
    print("| family | configuration | Paddle | ONNX Runtime | OpenVINO |\n|---|---|---|---|---|", flush=True)
    for family in arguments.families:
        network, clip, window = network_of(FAMILIES[family], arguments.size, arguments.seed)
        network.eval()
        found = differences(prepared(network, clip, window), clip, window)
        cells = " | ".join(f"{found[form]:.1e}" for form in ("paddle", *FORMS))
        print(f"| {family} | {FAMILIES[family].removesuffix('.yaml')} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
