"""A transformer with three crops: views inside the exported model, and oneDNN, which cannot load such graphs."""

from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.build import deployed_network, pipelines_of
from paddlevideo.config import load_config
from paddlevideo.inference.export import export
from paddlevideo.inference.exported import read_description
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.runtimes.base import Runtime
from paddlevideo.modeling.weights import load_weights
from tests.tiny_export import NUM_CLASSES, tiny_config, write_config, write_weights
from tests.unit.inference.test_export import network_scores


def three_crop_config(avg_type: str) -> dict:
    config = tiny_config()
    config["MODEL"] = {
        "framework": "RecognizerTransformer",
        "backbone": {
            "name": "VisionTransformer",
            "img_size": 32,
            "patch_size": 16,
            "embed_dim": 24,
            "depth": 1,
            "num_heads": 2,
            "num_seg": 4,
        },
        "head": {"name": "TimeSformerHead", "num_classes": NUM_CLASSES, "in_channels": 24},
        "runtime_cfg": {"test": {"num_seg": 4, "avg_type": avg_type}},
    }
    config["PIPELINE"]["test"] = {
        "decode": {"name": "VideoDecoder", "backend": "pyav", "mode": "test", "num_seg": 4},
        "sample": {"name": "Sampler", "num_seg": 4, "seg_len": 1, "valid_mode": True, "linspace_sample": True},
        "transform": [
            {"Normalization": {"mean": [0.45, 0.45, 0.45], "std": [0.225, 0.225, 0.225]}},
            {"Image2Array": {"data_format": "cthw"}},
            {"JitterScale": {"min_size": 32, "max_size": 32}},
            {"UniformCrop": {"target_size": 32}},
        ],
    }
    return {**config, "model_name": "TimeSformer"}


@pytest.fixture(scope="module", params=["score", "prob"])
def three_crops(request, tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp(f"three-{request.param}")
    path = write_config(root, three_crop_config(request.param))
    weights = write_weights(path, root / "w.pdparams", tiny.videos)
    report = export(load_config(path), weights, root / "exported", say=lambda line: None)
    return SimpleNamespace(
        config=path, weights=weights, report=report, folder=root / "exported", avg_type=request.param
    )


def test_three_views_go_in_and_one_row_of_probabilities_comes_out(three_crops, tiny):
    description = read_description(three_crops.folder)
    assert (description.views, description.avg_type) == (3, three_crops.avg_type)
    assert description.input["shape"] == [-1, 3, 4, 32, 32, 3]
    config = load_config(three_crops.config)
    pipeline = pipelines_of(config)["test"]
    framework = deployed_network(config)
    framework.eval()
    load_weights(framework, three_crops.weights, strict=True)
    for index, prediction in enumerate(Predictor.from_export(three_crops.folder, batch_size=2).predict(tiny.videos)):
        rng = np.random.default_rng([1234, 0, index])
        imgs = pipeline({"filename": str(tiny.videos[index]), "index": index}, rng)["imgs"]
        assert imgs.shape[0] == 3 and np.abs(imgs[0].astype(int) - imgs[2]).max() > 0
        np.testing.assert_allclose(prediction.scores, network_scores(framework, imgs[None])[0], atol=1e-6)


def test_onednn_on_request_works_or_is_left_out_with_a_line(three_crops, tiny):
    reported = []
    predictor = Predictor.from_export(three_crops.folder, runtime=Runtime(enable_mkldnn=True), say=reported.append)
    plain = Predictor.from_export(three_crops.folder)
    for a, b in zip(predictor.predict(tiny.videos), plain.predict(tiny.videos)):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
    assert all("running without it" in line for line in reported)
