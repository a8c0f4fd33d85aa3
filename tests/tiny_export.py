"""A tiny model with weights that tell videos apart, a few videos, and its export: what the tests here share."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import yaml

NUM_CLASSES = 5
LABELS = ["archery", "bowling", "crying", "drumming", "eating cake"]


def tiny_config(avg_type: str = "score", **dataset: object) -> dict:
    """A PaddleVideo-style TSM configuration at 32 pixels and 4 frames."""
    return {
        "MODEL": {
            "framework": "Recognizer2D",
            "backbone": {
                "name": "ResNetTSM",
                "depth": 18,
                "num_seg": 4,
                "width": 4,
                "pretrained": "data/not-there.pdparams",
            },
            "head": {
                "name": "TSMHead",
                "num_classes": NUM_CLASSES,
                "in_channels": 32,
                "drop_ratio": 0.5,
                "std": 0.01,
            },
            "runtime_cfg": {"test": {"num_seg": 4, "avg_type": avg_type}},
        },
        "DATASET": dict(dataset),
        "PIPELINE": {
            "test": {
                "decode": {"name": "VideoDecoder", "backend": "pyav"},
                "sample": {"name": "Sampler", "num_seg": 4, "seg_len": 1, "valid_mode": True},
                "transform": [
                    {"Scale": {"short_size": 36}},
                    {"CenterCrop": {"target_size": 32}},
                    {"Image2Array": None},
                    {"Normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
                ],
            }
        },
        "model_name": "TSM",
    }


def write_config(folder: Path, config: dict) -> Path:
    path = folder / "tsm.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def write_weights(config_path: Path, path: Path, videos: list[Path]) -> Path:
    """Weights of the configuration's model; the classifier spreads these videos over the classes, none surely."""
    import paddle

    from paddlevideo.build import deployed_network, pipelines_of
    from paddlevideo.config import load_config
    from paddlevideo.safe_io import write_pickle

    paddle.seed(3)
    rng = np.random.default_rng(3)
    config = load_config(config_path)
    pipeline = pipelines_of(config)["test"]
    framework = deployed_network(config)
    clips = np.stack([pipeline({"filename": str(v), "index": 0}, np.random.default_rng(0))["imgs"] for v in videos])
    for layer in framework.sublayers():
        if hasattr(layer, "_momentum"):
            layer._momentum = 0.0  # one pass sets the statistics; without, activations grow from block to block
    pooled: list[np.ndarray] = []
    hook = framework.head.fc.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0].numpy()))
    with paddle.no_grad():
        for mode in (framework.train, framework.eval):
            mode()
            framework.view_logits(paddle.to_tensor(clips))
    hook.remove()
    features = pooled[-1].reshape(len(videos), -1, pooled[-1].shape[-1]).mean(1)  # [number of videos, C]
    wanted = rng.normal(0.0, 1.5, (len(videos), NUM_CLASSES))
    weight = np.linalg.pinv(features - features.mean(0)) @ (wanted - wanted.mean(0))  # [C, K]
    framework.head.fc.weight.set_value(weight.astype(np.float32))
    framework.head.fc.bias.set_value((-features.mean(0) @ weight).astype(np.float32))
    write_pickle(path, {name: value.numpy() for name, value in framework.state_dict().items()})
    return path


def write_video(path: Path, seed: int, num_frames: int = 20, width: int = 64, height: int = 48) -> Path:
    """An mp4 of moving blocks in the colours of its seed."""
    rng = np.random.default_rng(seed)
    pattern = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((height // 6, width // 8, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(pattern, 2 * i, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """config, weights, folder (the export), report, videos [3], label_file."""
    from paddlevideo.config import load_config
    from paddlevideo.inference.export import export

    root: Path = tmp_path_factory.mktemp("tiny")
    label_file = root / "labels.txt"
    label_file.write_text("\n".join(LABELS), encoding="utf-8")
    config = write_config(root, tiny_config(label_names=str(label_file)))
    (root / "videos").mkdir()
    videos = [write_video(root / "videos" / f"clip {i}.mp4", seed=i) for i in range(3)]
    weights = write_weights(config, root / "tsm.pdparams", videos)
    lines: list[str] = []
    report = export(load_config(config), weights, root / "exported", say=lines.append)
    return SimpleNamespace(
        root=root,
        config=config,
        weights=weights,
        folder=root / "exported",
        report=report,
        lines=lines,
        videos=videos,
        label_file=label_file,
    )
