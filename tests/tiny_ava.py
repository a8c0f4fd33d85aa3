"""A tiny detector that tells people apart, rendered videos with known boxes, and its export: what tests here share."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

CUSTOM = [2, 4, 5, 7, 9, 11]  # columns 1 .. 6
SIZE_PX = (128, 96)


def tiny_ava_config(data: Path) -> dict:
    """A SlowOnly of width 8 on clips of 4 frames, over a small synthetic AVA in ``data``."""
    split = {
        "format": "AVADataset", "videos": True, "video_suffix": ".mp4", "data_prefix": str(data / "videos"),
        "label_file": str(data / "labels.pbtxt"), "file_path": str(data / "test.csv"),
        "exclude_file": str(data / "test_excluded.csv"), "proposal_file": str(data / "test_proposals.pkl"),
        "custom_classes": CUSTOM, "timestamp_start": 900, "timestamp_end": 905,
    }  # fmt: skip
    clip = {
        "sample": {"name": "SampleAVAFrames", "clip_len": 4, "frame_interval": 4},
        "decode": {"name": "RawFrameDecode"},
        "transform": [
            {"Resize": {"scale": [-1, 64]}},
            {"Normalize": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}},
        ],
    }
    return {
        "MODEL": {
            "framework": "FastRCNN",
            "backbone": {
                "name": "ResNet3dSlowOnly", "depth": 18, "width": 8, "num_seg": 4, "spatial_strides": [1, 2, 2, 1]
            },
            "head": {
                "name": "AVARoIHead",
                "bbox_roi_extractor": {
                    "name": "SingleRoIExtractor3D", "featmap_stride": 16, "output_size": 4, "with_temporal_pool": True
                },
                "bbox_head": {
                    "name": "BBoxHeadAVA", "in_channels": 64, "num_classes": len(CUSTOM) + 1, "topk": [1, 3]
                },
                "action_thr": 0.05,
            },
        },
        "DATASET": {"batch_size": 2, "test_batch_size": 3, "num_workers": 0, "test": split},
        "PIPELINE": {"test": clip},
        "METRIC": {"name": "AVAMetric"},
        "model_name": "tiny_ava",
    }  # fmt: skip


def write_weights(config: Path, path: Path) -> Path:
    """Weights that spread the actions of different people over the scores."""
    import paddle

    from paddlevideo.build import deployed_network, loader_for
    from paddlevideo.config import load_config
    from paddlevideo.engine.evaluate import tensors
    from paddlevideo.safe_io import write_pickle

    paddle.seed(3)
    config = load_config(config)
    network = deployed_network(config)
    network.eval()
    head = network.roi_head.bbox_head.fc_cls
    rng = np.random.default_rng(0)
    head.weight.set_value(rng.normal(0, 1, head.weight.shape).astype(np.float32))
    loader = loader_for(config, "test", network.num_classes, 0)
    with paddle.no_grad():
        batches = [tensors(batch) for batch in loader.epoch(0)]
        logits = np.concatenate([network.box_logits(*(b[k] for k in ("imgs", "boxes", "boxes_num"))) for b in batches])
    scale = 1.5 / logits.std(0)
    head.weight.set_value((head.weight.numpy() * scale).astype(np.float32))
    head.bias.set_value((head.bias.numpy() * scale - logits.mean(0) * scale).astype(np.float32))
    write_pickle(path, {name: value.numpy() for name, value in network.state_dict().items()})
    return path


def make(root: Path, exported: bool = True) -> SimpleNamespace:
    """data, config, weights, folder (the export), video and its video_id, truth {frame index: boxes in pixels}."""
    from demo import ava_synthetic as tool
    from demo.stage.annotation import Settings
    from paddlevideo.ava_files import read_ava_csv
    from paddlevideo.config import load_config
    from paddlevideo.inference.export import export

    settings = Settings(seed=5, size_px=SIZE_PX, length_s=5)
    tool.make_dataset(root / "ava", {"train": 0, "val": 0, "test": 2}, settings, 1)
    config = root / "tiny_ava.yaml"
    config.write_text(yaml.safe_dump(tiny_ava_config(root / "ava"), sort_keys=False))
    weights = write_weights(config, root / "tiny_ava.pdparams")
    lines: list[str] = []
    report = export(load_config(config), weights, root / "exported", say=lines.append) if exported else None
    rows = read_ava_csv(root / "ava" / "test.csv")
    video = root / "ava" / "videos" / f"{rows.videos[0]}.mp4"
    own = rows.video == 0
    truth = {
        int(30 * (second - 900)): rows.boxes[own & (rows.timestamp == second)] * np.tile(SIZE_PX, 2)
        for second in np.unique(rows.timestamp[own])
    }
    return SimpleNamespace(
        root=root, data=root / "ava", config=config, weights=weights, folder=root / "exported", report=report,
        lines=lines, video=video, video_id=rows.videos[0], truth=truth, proposals=root / "ava" / "test_proposals.pkl",
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_ava(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """See ``make``."""
    return make(tmp_path_factory.mktemp("tiny_ava"))
