"""How long a window of a feature bank takes, against a training step:  python -m benchmarks.feature_bank

A bank of 20 videos of 15 minutes is written to a temporary folder; windows of random key frames are read from it
(the file is in the system's cache) and turned into float32.  The step is that of the network of
lfb_nl_kinetics_pretrained_slowonly_r50_4x16x1_20e_ava_rgb on one clip with three persons.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from paddlevideo.environment import set_cpu_environment
from paddlevideo.loader.feature_bank import BankFrame, LongTermWindow, write_bank

ROOT = Path(__file__).resolve().parents[1]

CONFIG = ROOT / "configs/detection/lfb/lfb_nl_kinetics_pretrained_slowonly_r50_4x16x1_20e_ava_rgb.yaml"


def make_bank(path: Path, videos: int, seconds: int, rng: np.random.Generator) -> None:
    frames = (
        BankFrame(f"video{v}", 902 + s, rng.standard_normal((k, 2048), "float32"), rng.random(k, "float32"))
        for v in range(videos)
        for s in range(seconds)
        if (k := int(rng.integers(0, 6)))
    )
    write_bank(path, frames, half=True)


def window_ms(bank: Path, sampling: str, videos: int, seconds: int, repeats: int) -> float:
    """Median CPU milliseconds of one window."""
    window, taken = LongTermWindow([bank]), []
    for i in range(repeats):
        rng = np.random.default_rng(i)
        video, second = f"video{rng.integers(videos)}", 902 + int(rng.integers(seconds))
        begun = time.process_time()
        window(video, second, rng if sampling == "random" else None)
        taken.append(time.process_time() - begun)
    return 1e3 * float(np.median(taken))


def step_ms(repeats: int) -> float:
    """Median CPU milliseconds of one forward and backward pass of the network, one clip with three persons."""
    import paddle

    from paddlevideo.config import load_config
    from paddlevideo.modeling.frameworks.build import build_framework, without_start_weights

    model = without_start_weights(load_config(CONFIG).section("MODEL"))
    network = build_framework(model)
    network.train()
    batch = {
        "imgs": paddle.randn([1, 1, 4, 256, 256, 3]),
        "sizes": paddle.to_tensor([[256, 256]]),
        "boxes": paddle.to_tensor([[10.0, 10, 100, 200], [50, 20, 200, 250], [5, 5, 90, 90]]),
        "boxes_num": paddle.to_tensor([3], "int32"),
        "gt_boxes": paddle.to_tensor([[10.0, 10, 100, 200], [50, 20, 200, 250], [5, 5, 90, 90]]),
        "gt_boxes_num": paddle.to_tensor([3], "int32"),
        "gt_labels": paddle.concat([paddle.zeros([3, 1]), paddle.ones([3, 80])], axis=1),
        "long_term": paddle.randn([1, 300, 2048]),
        "long_term_filled": paddle.ones([1, 300], "bool"),
    }
    taken = []
    for _ in range(repeats + 1):
        begun = time.process_time()
        network(batch, mode="loss")["loss"].backward()
        network.clear_gradients()
        taken.append(time.process_time() - begun)
    return 1e3 * float(np.median(taken[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=900)
    parser.add_argument("--repeats", type=int, default=200)
    args = parser.parse_args()
    set_cpu_environment()
    with tempfile.TemporaryDirectory() as folder:
        bank = Path(folder) / "lfb.bank"
        make_bank(bank, args.videos, args.seconds, np.random.default_rng(0))
        size = bank.stat().st_size / 1e6
        figures = {s: window_ms(bank, s, args.videos, args.seconds, args.repeats) for s in ("random", "first")}
    step = step_ms(3)
    print(f"`python -m benchmarks.feature_bank`, seed 0, {datetime.date.today().isoformat()}, {platform.machine()}, "
          f"{os.cpu_count()} cores, bank of {size:.0f} MB\n")  # fmt: skip
    print("| window of 60 s, 300 slots x 2048 | CPU ms per clip | of a training step |\n|---|---|---|")
    for name, value in figures.items():
        print(f"| {name} | {value:.2f} | {100 * value / step:.2f} % of {step:.0f} ms |")


if __name__ == "__main__":
    main()
