"""Every network in the forms of the other runtimes: scores of ONNX Runtime and OpenVINO against the network's own."""

import importlib.util

import numpy as np
import paddle
import pytest

from benchmarks.export_formats import prepared
from paddlevideo.inference.export import save_program
from paddlevideo.inference.export_check import TOLERANCE, Reference
from paddlevideo.inference.formats import compare_formats, write_formats
from paddlevideo.inference.runtimes.base import BACKENDS, LIBRARIES
from paddlevideo.inference.video_bank import Window
from paddlevideo.modeling.exported_weights import names_of, unnamed, variables_of
from tests.models.sections import FRAMES, RECOGNIZERS, SIZES, build
from tests.slow_cases import some_slow
from tests.unit.modeling.test_fast_rcnn import KINDS, T, detector

WINDOW = Window(window_s=3, max_features=2, channels=24)


def bank_head(fbo, channels, **more):
    """A head that reads feature banks, over the 32 channels of a region."""
    bank = {"name": "FBOHead", "st_feat_channels": 32, "lt_feat_channels": WINDOW.channels, "latent_channels": 16}
    return {"shared": {**bank, "fbo": fbo, **more}, "in_channels": 32 + channels}


EVERY_FRAME = {"with_temporal_pool": False}
DETECTORS = {
    **KINDS,
    "focal": {"bbox_head": {"name": "BBoxHeadAVA", "in_channels": 32, "num_classes": 6, "topk": [1],
        "focal_alpha": 3.0, "focal_gamma": 1.0, "temporal_pool_type": "max", "spatial_pool_type": "avg"}},
    "temporal max": {"extractor": {"temporal_pool_mode": "max"}},
    "not aligned": {"extractor": {"aligned": False, "sampling_ratio": 2}},
    "context, every frame": {"extractor": {"with_global": True, **EVERY_FRAME}, "in_channels": 64},
    "slowfast, every frame": {"fast": True, "extractor": EVERY_FRAME},
    "bank": bank_head("non_local", 16, mask_empty=True),
    "bank, no mask": bank_head("non_local", 16, pre_activate=False),
    "bank mean": bank_head("avg", 24),
    "bank maximum": bank_head("max", 24, mask_empty=True),
}  # fmt: skip
# besides TSM and SlowOnly with persons, which tests/unit/inference/test_formats.py exports
QUICK = {"pptsm r18", "timesformer", "detector context"}
NAMES = [*RECOGNIZERS, *(f"detector {kind}" for kind in DETECTORS)]


def network_of(name):
    """A network whose normalisations of volumes pass something on, and a clip of its size."""
    if name.startswith("detector "):
        return detector(**DETECTORS[name.removeprefix("detector ")]), np.zeros((1, T, 48, 64, 3), "uint8")
    network = build(name)
    for layer in network.sublayers():  # non-local blocks and residual branches are silent at the start
        if isinstance(layer, paddle.nn.BatchNorm3D):
            layer.weight.set_value(paddle.ones_like(layer.weight))
    return network, np.zeros((2, FRAMES, SIZES[name], SIZES[name], 3), "uint8")


@pytest.mark.skipif(importlib.util.find_spec("paddle2onnx") is None, reason="paddle2onnx is not installed")
@pytest.mark.parametrize("name", some_slow(NAMES, lambda name: name not in QUICK))
def test_every_form_gives_the_network_s_scores(name, tmp_path):
    """One clip and three; 0, 1, 7 and 40 boxes, two sizes of pictures."""
    forms = [form for form in BACKENDS[1:] if importlib.util.find_spec(LIBRARIES[form])]
    if not forms:
        pytest.skip("neither onnxruntime nor openvino is installed")
    network, clip = network_of(name)
    window = WINDOW if network.takes_boxes and network.needs_long_term else None
    network = prepared(network, clip, window, deviation=0.5)
    specs = network.input_spec({"imgs": clip[None], **(window.empty(1) if window else {})})
    save_program(network, specs, tmp_path / "m")
    write_formats(tmp_path / "m.json", forms)
    reference = Reference.of(network, clip, window)
    scores = np.concatenate([rows for rows in reference.scores if len(rows)])
    assert np.ptp(scores, 0).max() > 1e-3, "the scores of all clips are alike, so a difference would not be seen"
    found = compare_formats(tmp_path / "m.json", forms, reference, print)
    assert found.keys() == {*forms}
    assert all(difference.absolute <= TOLERANCE for difference in found.values()), found


@pytest.mark.parametrize("name", some_slow(NAMES, lambda name: name not in QUICK))
def test_every_weight_is_found_again_in_the_program(name, tmp_path):
    network, clip = network_of(name)
    network.eval()
    window = WINDOW if network.takes_boxes and network.needs_long_term else None
    specs = network.input_spec({"imgs": clip[None], **(window.empty(1) if window else {})})
    save_program(network, specs, tmp_path / "m")
    names = names_of(network, tmp_path / "m.json")
    assert unnamed(network, names) == []
    variables = variables_of(tmp_path / "m.json")
    state = network.state_dict()
    for key, variable in names.items():
        assert np.array_equal(variables[variable].numpy(), state[key].numpy()), key
