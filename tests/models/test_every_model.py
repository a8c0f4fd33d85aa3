"""What holds for every registered backbone, head and loss: shapes, names, gradients, weights, the static program."""

import json
import zlib
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.errors import ConfigError
from paddlevideo.inference.export import save_program
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.weights import load_pretrained
from paddlevideo.registry import BACKBONES, FRAMEWORKS, HEADS, LOSSES
from paddlevideo.safe_io import write_pickle
from tests.models.sections import FRAMES, NORMALIZATION, QUICK, RECOGNIZERS, SIZES, build, clips, section
from tests.slow_cases import some_slow
from tests.unit.modeling.test_fast_rcnn import KINDS as DETECTORS
from tests.unit.modeling.test_fast_rcnn import section as detector

each = pytest.mark.parametrize("name", RECOGNIZERS)
SECTIONS = RECOGNIZERS | {f"detector {kind}": detector(**changes) for kind, changes in DETECTORS.items()}
ELSEWHERE = {  # registered and in no section here
    "FBOHead": "tests/unit/modeling/test_fbo_head.py", "LFBInferHead": "tests/unit/engine/test_bank.py",
    "RecognizerDistillation": "tests/unit/modeling/test_distillation.py",
}  # fmt: skip


def names_in(spec):
    """Every ``name`` and ``framework`` of a mapping, however deep."""
    for key, value in spec.items():
        if key in ("name", "framework"):
            yield value
        elif isinstance(value, dict):
            yield from names_in(value)


def test_every_registered_backbone_head_and_framework_is_here():
    used = {name for spec in SECTIONS.values() for name in names_in(spec)} | ELSEWHERE.keys()
    assert {*BACKBONES.names(), *HEADS.names(), *FRAMEWORKS.names()} - used == set()
    assert all(name in Path(file).read_text() for name, file in ELSEWHERE.items())


@each
def test_features_have_the_declared_layout(name):
    backbone, side = build(name).backbone, SIZES[name]
    if backbone.layout == "frames":
        out = backbone(paddle.randn([2 * FRAMES, 3, side, side]))
        averaged = bool(backbone.classifier_prefixes)  # it classifies by itself
        assert out.shape[0] == 2 * (1 if averaged else backbone.out_seg or FRAMES)
        assert out.shape[1] == backbone.out_channels
        return
    out = backbone(paddle.randn([2, 3, FRAMES, side, side]))
    maps = out if isinstance(out, (tuple, list)) else [out]
    assert all(value.shape[0] == 2 for value in maps)
    assert sum(value.shape[1] for value in maps) == backbone.out_channels
    assert {value.ndim for value in maps} == {2 if backbone.layout == "tokens" else 5}


@each
def test_scores_are_the_classifier_of_the_features(name):
    network = build(name)
    network.eval()
    with paddle.no_grad():
        outputs = network({"imgs": clips(name)}, mode="features")
        scores = network({"imgs": clips(name)}, mode="predict")["scores"]
        own = network.head.scores(network.classifier(outputs["features"]))
    assert outputs["features"].ndim == 2 and len(outputs["features"]) == 2
    np.testing.assert_allclose(outputs["scores"].numpy(), scores.numpy(), atol=1e-6)
    np.testing.assert_allclose(own.numpy(), scores.numpy(), atol=1e-5)


@each
def test_scores_are_probabilities_of_each_clip_alone_and_repeat(name):
    network, imgs = build(name), clips(name)
    first, again = (network({"imgs": imgs}, mode="predict")["scores"].numpy() for _ in range(2))
    assert first.shape == (2, 3) and np.allclose(first.sum(1), 1.0, atol=1e-5)
    assert np.array_equal(first, again)
    alone = network({"imgs": imgs[1:]}, mode="predict")["scores"].numpy()
    assert np.allclose(alone, first[1:], atol=1e-5)


@each
def test_a_training_step_reaches_every_parameter_and_lowers_the_loss(name):
    network, batch = build(name), {"imgs": clips(name), "label": paddle.to_tensor([0, 2])}
    optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters())
    network.train()
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0  # so that two losses can be compared
    outputs = network(batch)
    assert outputs["loss"].shape == [] and outputs["scores"].shape == [2, 3] and outputs["scores"].stop_gradient
    outputs["loss"].backward()
    trained = {key: p for key, p in network.named_parameters() if not p.stop_gradient}
    assert [key for key, p in trained.items() if p.grad is None] == []
    assert all(np.isfinite(p.grad.numpy()).all() for p in trained.values())
    optimizer.step()
    assert float(network(batch)["loss"]) < float(outputs["loss"])


@pytest.mark.parametrize("name", some_slow(RECOGNIZERS, lambda name: name not in QUICK))
def test_the_static_program_gives_the_same_for_any_number_of_clips(name, tmp_path):
    network, imgs = build(name), clips(name, views=2)
    for layer in network.sublayers():  # non-local blocks and residual branches are silent at the start
        if isinstance(layer, paddle.nn.BatchNorm3D):
            layer.weight.set_value(paddle.ones_like(layer.weight))
    spec = network.input_spec({"imgs": imgs})
    assert spec[0].shape == (-1, *imgs.shape[1:]) and spec[0].dtype == paddle.uint8
    save_program(network, spec, tmp_path / "m")
    program = paddle.jit.load(str(tmp_path / "m"))
    expected = network.predict_scores(imgs).numpy()
    assert np.allclose(program(imgs).numpy(), expected, atol=1e-5)
    assert np.allclose(program(imgs[:1]).numpy(), expected[:1], atol=1e-5)


NAMES = Path(__file__).with_name("names.json")


def fingerprint(name):
    """Number of arrays and a checksum of their names and shapes."""
    shapes = {key: list(value.shape) for key, value in build_framework(SECTIONS[name]).state_dict().items()}
    return [len(shapes), zlib.crc32(json.dumps(shapes, sort_keys=True).encode())]


@pytest.mark.parametrize("name", SECTIONS)
def test_names_and_shapes_of_the_arrays_are_as_before(name):
    """Checkpoints that people have are read by these names; golden cases hold the references' own."""
    assert fingerprint(name) == json.loads(NAMES.read_text())[name]


GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PADDLEVIDEO = ["tsm_r50_small", "tsm_r101_small", "pptsm_r18_small", "pptsm_r34_small", "pptsm_r50_full",
    "pptsm_r101_small", "pptsm_mv2_small", "pptsm_mv3_small", "pptsm_v2_small", "pptsm_v2_att_small",
    "ava_slowfast_r50_small"]  # fmt: skip


@pytest.mark.parametrize("case", PADDLEVIDEO)
def test_names_and_shapes_are_those_of_paddlevideos_checkpoints(case):
    case = json.loads((GOLDEN / f"paddlevideo/{case}.json").read_text())
    wanted = {key[len("backbone.") :]: shape for key, shape in case["state_dict"] if key.startswith("backbone.")}
    network = BACKBONES.build(case["reference"]["backbone"], "")
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == wanted


@each
def test_a_recognition_checkpoint_starts_the_backbone_of_another_network(name, tmp_path):
    given = build(name).backbone.state_dict()
    arrays = {f"backbone.{key}": value.numpy() for key, value in given.items()}
    write_pickle(tmp_path / "k400.pdparams", {**arrays, "head.fc.weight": np.zeros((3, 2), "float32")})
    paddle.seed(8)
    other = build_framework(RECOGNIZERS[name], NORMALIZATION).backbone
    assert load_pretrained(other, str(tmp_path / "k400.pdparams")).clean
    assert all(np.array_equal(value.numpy(), given[key].numpy()) for key, value in other.state_dict().items())


@each
def test_names_of_other_projects_stand_for_every_array_once(name):
    network = build(name)
    own = {key: value.numpy() for key, value in network.backbone.state_dict().items()}
    for origin in ("mmaction2", "torchvision", "tonylins", "timm", "timesformer"):
        theirs = network.backbone.names(origin)
        if theirs:
            ours = [key for key in theirs.values() if key in own]
            assert len(ours) == len(set(ours)) and (origin != "mmaction2" or set(ours) == own.keys())
            given = {key: own[value] for key, value in theirs.items() if value in own}
            assert network.backbone.convert(given, origin).keys() == set(ours)


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss_is_a_finite_scalar_with_a_finite_gradient(name):
    """At moderate logits and at those of a network that has gone astray."""
    rng = np.random.default_rng(0)
    for scale in (1.0, 200.0):
        x = paddle.to_tensor(scale * rng.standard_normal((5, 4)).astype("float32"), stop_gradient=False)
        criterion = LOSSES.build({"name": name}, "loss")
        label = paddle.to_tensor([0, 1, 2, 3, 0])
        if hasattr(criterion, "takes"):
            criterion.connect(4, 4)
            label = paddle.to_tensor(scale * rng.standard_normal((5, 4)).astype("float32"))
        loss = criterion(x, label)
        loss.backward()
        assert loss.shape == [] and float(loss) > 0 and np.isfinite(float(loss))
        assert np.isfinite(x.grad.numpy()).all() and x.grad.numpy().any()


# by hand from the structure, of networks that no recipe has (ResNet-vd: stem 28,672 + 160 against 9,408 + 128)
SIZES_BY_HAND = [
    ("Recognizer2D", "ResNetTSM", "TSMHead", 2048, {"shift_place": "block", "temporal_pool": True}, 24_327_632),
    ("Recognizer2D", "ResNetTSM", "TSMHead", 2048, {"depth": 101}, 43_319_760),
    ("Recognizer2D", "PPTSM_MobileNetV2", "MoViNetHead", None, {}, 2_736_272 + 32 * 32 + 2 * 32),
    # as PaddleVideo's network counts, but for the 113,152 weights of the convolutions that only an export has
    ("Recognizer2D", "PPTSM_v2", "MoViNetHead", None, {}, 6_031_760 - 113_152),
    ("Recognizer2D", "ResNetTweaksTSM", "ppTSMHead", 2048, {}, 24_327_632 - (9_408 + 128) + (28_512 + 256)),
]


@pytest.mark.parametrize(("framework", "backbone", "head", "channels", "arguments", "parameters"), SIZES_BY_HAND)
def test_parameter_counts(framework, backbone, head, channels, arguments, parameters):
    network = build_framework(section(framework, backbone, head, channels, 400, **arguments))
    assert sum(int(p.size) for p in network.parameters() if not p.stop_gradient) == parameters


WRONG_ARGUMENTS = [
    ("ResNetTSM", {"depth": 51}, "depth"),
    ("ResNetTSM", {"shift_div": 1}, "shift_div"),
    ("ResNetTSM", {"shift_direction": "left"}, "shift_direction"),
    ("ResNetTSM", {"shift_mode": "past"}, "shift_mode"),
    ("ResNetTSM", {"shift_place": "everywhere"}, "shift_place"),
    ("ResNetTSM", {"temporal_pool": True, "num_seg": 5}, "temporal_pool: needs an even num_seg, got 5"),
    ("ResNetTSM", {"non_local": {"modus": "gaussian"}}, "non_local.modus: unknown key; did you mean 'mode'"),
    ("ResNetTSM", {"non_local": {"mode": "concatenation"}}, "non_local.mode: expected one of"),
    ("ResNetTSM", {"non_local": {}, "depth": 101}, "non_local.blocks: expected lists of 3, 4, 23, 3 numbers for depth"),
    ("ResNetTweaksTSM", {"depth": 51}, "depth"),
    ("PPTSM_MobileNetV2", {"scale": 0}, "scale"),
    ("PPTSM_MobileNetV2", {"num_seg": 0}, "num_seg"),
    ("PPTSM_MobileNetV2", {"class_num": 0}, "class_num"),
    ("PPTSM_MobileNetV3", {"dropout_prob": 1}, "dropout_prob"),
    ("PPTSM_v2", {"use_last_conv": False}, "use_last_conv: expected one of True"),
    ("PPTSM_v2", {"use_temporal_att": True, "shift_mode": "online"}, "shift_mode: 'online' sees no later frame"),
    ("VisionTransformer", {"attention_type": "joint"}, "attention_type"),
    ("VisionTransformer", {"num_heads": 7, "depth": 1}, ".*num_heads"),
    ("ResNet3dSlowOnly", {"depth": 51}, "depth: expected one of"),
    ("ResNet3dSlowOnly", {"num_seg": 0}, "num_seg: expected at least 1"),
    ("ResNet3dSlowOnly", {"spatial_strides": [1, 2, 2]}, "spatial_strides: expected four numbers"),
    ("ResNet3dSlowOnly", {"inflate": [0, 0, 1]}, "inflate: expected four numbers"),
    ("ResNet3dSlowOnly", {"width": 0}, "width: expected"),
    ("ResNet3dSlowOnly", {"non_local": {"modus": 1}}, "non_local.modus: unknown key; did you mean 'mode'"),
    ("ResNet3dSlowFast", {"num_seg": 20}, "num_seg: expected a multiple of resample_rate .8., got 20"),
    ("ResNet3dSlowFast", {"speed_ratio": 3}, "speed_ratio: expected a divisor of resample_rate .8., got 3"),
    ("ResNet3dSlowFast", {"channel_ratio": 7}, "channel_ratio: expected a divisor of width .64., got 7"),
    ("ResNet3dSlowFast", {"lateral_kernel": 4}, "lateral_kernel: expected an odd number"),
    ("ResNetSlowFast", {"depth": 18}, "depth: expected one of 50, 101, got 18"),
    ("ResNetSlowFast", {"fusion_kernel_sz": 4}, "fusion_kernel_sz: expected an odd number"),
    ("ResNetSlowFast", {"spatial_strides": [1, 2, 2, 1]}, "spatial_strides: expected .slow, fast. strides"),
    ("ResNetSlowFast", {"alpha": 4, "num_seg": 30}, "num_seg: expected a multiple of alpha .4., got 30"),
]


@pytest.mark.parametrize(("name", "arguments", "word"), WRONG_ARGUMENTS)
def test_wrong_arguments_are_named(name, arguments, word):
    with pytest.raises(ConfigError, match=f"MODEL.backbone .{name}.: {word}"):
        BACKBONES.build({"name": name, **arguments}, "MODEL.backbone")
