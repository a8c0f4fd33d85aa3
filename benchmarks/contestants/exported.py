"""An exported network under the project's runtimes, and the same network eager: contestants of benchmarks.inference.

``python benchmarks/contestants/exported.py NAME FOLDER`` exports one, with random weights and one view per clip.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_RECIPES = Path(__file__).resolve().parents[2] / "configs" / "recognition"
# recipe, frames of a clip
NETWORKS = {
    "TSM-R50": ("tsm/tsm_k400_videos.yaml", 8),
    "TSM-MobileNetV2": ("tsm/tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb.yaml", 8),
    "SlowOnly-R50 4x16": ("slowonly/slowonly_r50_4x16x1_256e_kinetics400_rgb.yaml", 4),
    "SlowFast-R50 4x16": ("slowfast/slowfast_r50_4x16x1_256e_kinetics400_rgb.yaml", 32),
    "TimeSformer-B": ("timesformer/timesformer_k400_videos.yaml", 8),
}


def _start() -> None:
    from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment

    os.environ.pop("MKL_DEBUG_CPU_TYPE", None)  # as the commands set it
    hide_paddle_remarks()
    set_cpu_environment()


def _config(name: str) -> Any:
    """The recipe with one centre crop per clip."""
    from paddlevideo.config import Config, load_config

    file, frames = NETWORKS[name]
    config = load_config(_RECIPES / file, ["MODEL.backbone.pretrained=null", "DATASET.label_names=null"])
    data = config.to_dict()
    steps = [{"Scale": {"short_size": 256}}, {"CenterCrop": {"target_size": 224}}, {"Image2Array": None}]
    data["PIPELINE"] = {
        "test": {
            "decode": {"name": "VideoDecoder"},
            "sample": {"name": "Sampler", "num_seg": frames, "seg_len": 1, "valid_mode": True},
            "transform": [*steps, {"Normalization": {"mean": [0.45] * 3, "std": [0.225] * 3}}],
        }
    }
    return Config(data, config.source)


def export(name: str, folder: Path) -> None:
    """Writes the export and its weights, the runtimes timed."""
    _start()
    import paddle

    from paddlevideo.build import deployed_network
    from paddlevideo.inference.export import export as write_export
    from paddlevideo.safe_io import write_pickle

    paddle.seed(0)
    config = _config(name)
    network = deployed_network(config)
    _calibrate(network, _clips(NETWORKS[name][1], 1))
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "weights.pdparams"
    write_pickle(weights, {key: value.numpy() for key, value in network.state_dict().items()})
    lines: list[str] = []
    write_export(config, weights, folder, "model", lines.append, timing="quick")
    (folder / "timing.txt").write_text("\n".join(line for line in lines if line.startswith(("runtimes", " ", "pred"))))


def _calibrate(network: Any, imgs: Any) -> None:
    """Batch statistics of one clip: with those of a new network activations vanish or grow from block to block."""
    import paddle

    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D | paddle.nn.BatchNorm3D | paddle.nn.BatchNorm1D):
            layer._momentum = 0.0
    network.train()
    with paddle.no_grad():
        network.view_logits(paddle.to_tensor(imgs))
    network.eval()


def _clips(frames: int, batch: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (batch, 1, frames, 224, 224, 3), dtype=np.uint8)


def program(folder: str, name: str, batch: int, runtime: dict[str, Any]) -> Callable[[], list[float]]:
    """The export; what ``runtime`` leaves open is as it was timed. Returns the scores of the first clip."""
    _start()
    from paddlevideo.inference.exported import Export
    from paddlevideo.inference.runtimes.base import Runtime, to_stderr

    model = Export.find(folder, None, to_stderr).load(Runtime(**runtime), to_stderr)
    imgs = _clips(NETWORKS[name][1], batch)
    return lambda: model(imgs)[0].tolist()


def eager(folder: str, name: str, batch: int) -> Callable[[], list[float]]:
    """The network that was exported."""
    _start()
    from paddlevideo.inference.network import TrainedNetwork
    from paddlevideo.inference.runtimes.base import to_stderr

    weights = Path(folder) / "weights.pdparams"
    network = TrainedNetwork(_config(name), weights, "cpu", of_persons=False, say=to_stderr)
    imgs = _clips(NETWORKS[name][1], batch)
    return lambda: network.run({"imgs": imgs})[0].tolist()


if __name__ == "__main__":
    export(sys.argv[1], Path(sys.argv[2]))
