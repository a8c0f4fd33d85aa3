"""Every network of the TSM family: its published size, a training step, and the static program that it becomes."""

import numpy as np
import paddle
import pytest

from paddlevideo.modeling import build_framework

NORMALIZATION = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
MODES = ("embedded_gaussian", "gaussian", "dot_product")


def section(backbone, head="TSMHead", classes=400, **arguments):
    channels = {} if head == "MoViNetHead" else {"num_classes": classes, "in_channels": arguments.pop("channels", 2048)}
    return {
        "framework": "Recognizer2D",
        "backbone": {"name": backbone, **arguments},
        "head": {"name": head, **channels},
    }


def count(network):
    """Learnt values: Paddle counts running statistics among the parameters."""
    return sum(parameter.size for parameter in network.parameters() if not parameter.stop_gradient)


# published, or computed by hand from the structure where nothing is (ResNet-vd: stem 28,672 + 160 against 9,408 + 128)
SIZES = [
    (section("ResNetTSM"), 24_327_632),
    (section("ResNetTSM", classes=174), 23_864_558),
    (section("ResNetTSM", shift_place="block", temporal_pool=True), 24_327_632),
    (section("ResNetTSM", depth=101), 43_319_760),
    *((section("ResNetTSM", non_local={"mode": mode}), 31_682_000) for mode in ("embedded_gaussian", "dot_product")),
    (section("ResNetTSM", non_local={"mode": "gaussian"}), 28_007_888),
    (section("MobileNetV2TSM", channels=1280), 2_736_272),
    (section("PPTSM_MobileNetV2", "MoViNetHead"), 2_736_272 + 32 * 32 + 2 * 32),
    (section("ResNetTweaksTSM", "ppTSMHead"), 24_327_632 - (9_408 + 128) + (28_512 + 256)),
]


@pytest.mark.parametrize(("model", "parameters"), SIZES, ids=[f"{s['backbone']}"[1:60] for s, _ in SIZES])
def test_parameter_counts(model, parameters):
    assert count(build_framework(model)) == parameters


SMALL_R50 = {"depth": 50, "width": 4, "num_seg": 4, "channels": 128}
SMALL = {
    "r18": section("ResNetTSM", classes=3, **SMALL_R50 | {"depth": 18, "channels": 32}),
    "r101": section("ResNetTSM", classes=3, **SMALL_R50 | {"depth": 101}, shift_every=2),
    "block": section("ResNetTSM", classes=3, **SMALL_R50, shift_place="block", shift_direction="mmaction2"),
    "temporal pool": section("ResNetTSM", classes=3, **SMALL_R50, temporal_pool=True),
    **{mode: section("ResNetTSM", classes=3, **SMALL_R50, non_local={"mode": mode}) for mode in MODES},
    "both": section("ResNetTSM", classes=3, **SMALL_R50, temporal_pool=True, non_local={"sub_sample": False}),
    "online": section("ResNetTSM", classes=3, **SMALL_R50, shift_mode="online"),
    "mobilenet": section("MobileNetV2TSM", classes=3, num_seg=4, scale=0.25, channels=1280),
    "pptsm mobilenet": section("PPTSM_MobileNetV2", "MoViNetHead", class_num=3, num_seg=4, scale=0.25),
    "pptsm r18": section("ResNetTweaksTSM", "ppTSMHead", 3, **SMALL_R50 | {"depth": 18, "channels": 32}),
    "pptsm r50": section("ResNetTweaksTSM", "ppTSMHead", 3, **SMALL_R50),
}
EACH = pytest.mark.parametrize("name", SMALL)


def build(name):
    paddle.seed(7)
    return build_framework(SMALL[name], NORMALIZATION)


def clips(views=1):
    pixels = np.random.default_rng(3).integers(0, 256, (2, views, 4, 64, 64, 3), dtype="uint8")
    return paddle.to_tensor(pixels)


@EACH
def test_a_training_step_reaches_every_parameter_and_lowers_the_loss(name):
    network, batch = build(name), {"imgs": clips(), "label": paddle.to_tensor([0, 2])}
    optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters())
    network.train()
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0  # so that two losses can be compared
    before = network(batch)["loss"]
    before.backward()
    assert [key for key, p in network.named_parameters() if not p.stop_gradient and p.grad is None] == []
    assert all(np.isfinite(p.grad.numpy()).all() for p in network.parameters() if not p.stop_gradient)
    optimizer.step()
    assert float(network(batch)["loss"]) < float(before)


class Scores(paddle.nn.Layer):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, imgs):
        return self.network.predict_scores(imgs)


@EACH
def test_the_exported_program_gives_the_same(name, tmp_path):
    network, imgs = build(name), clips(views=2)
    network.eval()
    for layer in network.sublayers():  # non-local blocks are silent at the start
        if isinstance(layer, paddle.nn.BatchNorm3D):
            layer.weight.set_value(paddle.ones_like(layer.weight))
    model = Scores(network)
    model.eval()
    program = paddle.jit.to_static(model, input_spec=network.input_spec({"imgs": imgs}), full_graph=True)
    paddle.jit.save(program, str(tmp_path / "m"))
    loaded = paddle.jit.load(str(tmp_path / "m"))
    expected = network.predict_scores(imgs).numpy()
    assert np.allclose(loaded(imgs).numpy(), expected, atol=1e-5)
    assert np.allclose(loaded(imgs[:1]).numpy(), expected[:1], atol=1e-5)
