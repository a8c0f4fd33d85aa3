"""Measures what a frame of a stream costs with the online shift:  python -m benchmarks.online_shift

The one-frame step and the 8-frame clip of the same network take turns; CPU seconds of one thread, the median of
``--rounds`` after one round that is thrown away.  Weights are random.  At the cost of one frame per frame, a clip costs
8 steps: a camera at f frames a second needs f steps a second, and would need f clips with the offline shift.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FRAMES, SIDE = 8, 224
BACKBONES = {
    "TSM ResNet-50": ({"name": "ResNetTSM", "depth": 50}, 2048),
    "TSM MobileNetV2": ({"name": "MobileNetV2TSM"}, 1280),
}


def seconds(backbone: dict, channels: int, rounds: int) -> dict[str, float]:
    """CPU seconds of a clip and of a step in the middle of a stream, and the KB that a stream keeps."""
    import numpy as np
    import paddle

    from benchmarks.run import take_turns
    from paddlevideo.modeling import build_framework

    network = build_framework(
        {
            "framework": "Recognizer2D",
            "backbone": {**backbone, "num_seg": FRAMES, "shift_mode": "online"},
            "head": {"name": "TSMHead", "num_classes": 400, "in_channels": channels},
        },
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    )
    network.eval()
    imgs = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (1, 1, FRAMES, SIDE, SIDE, 3), dtype="uint8"))
    stream, frame = network.stream(), imgs[:, 0, 0]

    def clip() -> None:
        with paddle.no_grad():
            network.predict_scores(imgs).numpy()

    found = take_turns(rounds, {"clip": clip, "step": lambda: stream.step(frame).numpy()})
    with paddle.no_grad():
        _, kept = network.frame_logits(frame)
    return {**found, "kept": sum(tensor.size * 4 for tensor in kept) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    from benchmarks.run import row
    from paddlevideo.environment import set_cpu_environment

    set_cpu_environment()
    day, load = datetime.date.today().isoformat(), os.getloadavg()[0]
    print(
        f"`python -m benchmarks.online_shift`, {day}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}\n"
    )
    row(f"{SIDE} x {SIDE}", f"clip of {FRAMES}, CPU s", "one step, CPU s", "clip / step", "kept per stream, KB")
    row(*["---"] * 5)
    for name, (backbone, channels) in BACKBONES.items():
        found = seconds(backbone, channels, args.rounds)
        ratio = found["clip"] / found["step"]
        row(name, f"{found['clip']:.3f}", f"{found['step']:.3f}", f"{ratio:.1f}", f"{found['kept']:.0f}")


if __name__ == "__main__":
    main()
