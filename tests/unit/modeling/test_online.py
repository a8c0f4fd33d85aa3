"""A stream classified frame by frame: the same as offline, at the cost of a frame, and as a static program."""

import numpy as np
import paddle
import pytest

from paddlevideo.errors import ConfigError
from paddlevideo.modeling import build_framework

TSM_HEAD = {"name": "TSMHead", "num_classes": 3, "std": 0.5}
BACKBONES = {
    "resnet": {"name": "ResNetTSM", "depth": 50, "width": 8},
    "resnet block": {"name": "ResNetTSM", "depth": 18, "width": 16, "shift_place": "block"},
    "resnet mmaction2": {"name": "ResNetTSM", "depth": 18, "width": 16, "shift_direction": "mmaction2"},
    "mobilenet": {"name": "MobileNetV2TSM", "scale": 0.25},
    "tweaks": {"name": "ResNetTweaksTSM", "depth": 50, "width": 8},
    "pptsm mobilenet": {"name": "PPTSM_MobileNetV2", "scale": 0.25, "class_num": 3},
    "pptsm mobilenet v3": {"name": "PPTSM_MobileNetV3", "scale": 0.25, "class_num": 3},
    "pptsm v2": {"name": "PPTSM_v2", "scale": 0.25, "class_num": 3},
}
HEADS = {
    "resnet": {**TSM_HEAD, "in_channels": 256},
    "resnet block": {**TSM_HEAD, "in_channels": 128},
    "resnet mmaction2": {**TSM_HEAD, "in_channels": 128},
    "mobilenet": {**TSM_HEAD, "in_channels": 1280},
    **dict.fromkeys(("pptsm mobilenet", "pptsm mobilenet v3", "pptsm v2"), {"name": "MoViNetHead"}),
    "tweaks": {**TSM_HEAD, "name": "ppTSMHead", "in_channels": 256},
}
NAMES = pytest.mark.parametrize("name", BACKBONES)


def build(name="resnet mmaction2", num_seg=5, **backbone):
    paddle.seed(5)
    section = {
        "framework": "Recognizer2D",
        "backbone": {**BACKBONES[name], "num_seg": num_seg, "shift_div": 8, "shift_mode": "online", **backbone},
        "head": HEADS[name],
    }
    network = build_framework(section, ([0.45] * 3, [0.225] * 3))
    network.eval()
    return network


def clip(frames=5, size=32, count=2):
    return np.random.default_rng(2).integers(0, 256, (count, frames, size, size, 3), dtype="uint8")


def offline(name, imgs):
    """Logits [N, K] of the same weights for a clip of as many frames as there are."""
    network = build(name, num_seg=imgs.shape[1])
    return network.view_logits(paddle.to_tensor(imgs[:, None]))[:, 0].numpy()


@NAMES
def test_after_every_frame_the_stream_equals_the_clip_so_far(name):
    imgs, stream = clip(), build(name).stream()
    for t in range(5):
        logits = stream.step_logits(imgs[:, t]).numpy()
        expected = offline(name, imgs[:, : t + 1])
        assert np.allclose(logits, expected, atol=1e-4 * np.abs(expected).max()), t


def test_a_window_moves_along_and_a_reset_clears():
    imgs, network = clip(), build()
    alone, stream = network.stream(window=1), network.stream(window=3)
    last = [alone.step_logits(imgs[:, t]).numpy() for t in range(5)]
    for t in range(5):
        mean = np.mean(last[max(0, t - 2) : t + 1], axis=0)
        assert np.allclose(stream.step_logits(imgs[:, t]).numpy(), mean, atol=1e-5)
    assert not np.allclose(alone.step_logits(imgs[:, 0]).numpy(), last[0], atol=1e-5)
    alone.reset()
    scores = alone.step(imgs[:, 0]).numpy()
    expected = np.exp(last[0]) / np.exp(last[0]).sum(1, keepdims=True)
    assert np.allclose(scores, expected, atol=1e-6)


def test_no_frame_sees_a_later_one():
    """What is true of the stream must be true of training: the features of frame t depend on frames 1 to t only."""
    for mode, changes in (("online", False), ("offline", True)):
        network = build(shift_mode=mode)
        x = paddle.randn([5, 3, 32, 32])
        other = paddle.concat([x[:3], paddle.randn([2, 3, 32, 32])])
        first, second = network.backbone(x).numpy(), network.backbone(other).numpy()
        assert (np.abs(first[:3] - second[:3]).max() > 1e-5) == changes
        assert np.abs(first[3:] - second[3:]).max() > 1e-5


def test_a_step_costs_a_frame():
    """Every convolution gives a clip's fifth: nothing of the past is computed again."""
    network, imgs, given = build("resnet"), clip(count=1), []
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.Conv2D):
            layer.register_forward_post_hook(lambda layer, inputs, output: given.append(output.size))
    network.view_logits(paddle.to_tensor(imgs[:, None]))
    whole, stream = list(given), network.stream()
    for t in range(5):
        given.clear()
        stream.step(imgs[:, t])
        assert [5 * size for size in given] == whole


def test_the_step_becomes_a_static_program(tmp_path):
    """Tensors in, tensors out: what the step before left goes back in."""
    network, imgs = build("mobilenet"), clip()

    class Step(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, frames, past):
            logits, present = self.network.frame_logits(frames, past)
            return [logits, *present]

    _, past = network.frame_logits(paddle.to_tensor(imgs[:, 0]))
    spec = paddle.static.InputSpec([None, 32, 32, 3], "uint8")
    states = [paddle.static.InputSpec([None, *tensor.shape[1:]], "float32") for tensor in past]
    step = Step()
    step.eval()
    paddle.jit.save(paddle.jit.to_static(step, input_spec=[spec, states], full_graph=True), str(tmp_path / "step"))
    program = paddle.jit.load(str(tmp_path / "step"))
    stream, past = network.stream(window=1), [paddle.zeros_like(tensor) for tensor in past]
    for t in range(5):
        logits, *past = program(paddle.to_tensor(imgs[:, t]), *past)
        assert np.allclose(logits.numpy(), stream.step_logits(imgs[:, t]).numpy(), atol=1e-4)


def test_only_a_network_that_shifts_back_can_be_streamed():
    with pytest.raises(ConfigError, match="MODEL.backbone.shift_mode: a stream needs 'online'"):
        build(shift_mode="offline").stream().step(clip()[:, 0])
    for argument in ({"temporal_pool": True}, {"depth": 50, "non_local": {"mode": "gaussian"}}):
        with pytest.raises(ConfigError, match="shift_mode: 'online' sees no later frame"):
            build(num_seg=4, **argument)
    with pytest.raises(ValueError, match="window"):
        build().stream(window=0)
    network = build()
    network.train()
    with pytest.raises(ValueError, match="network.eval"):
        network.stream().step(clip()[:, 0])
