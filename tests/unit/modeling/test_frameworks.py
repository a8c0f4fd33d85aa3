"""Frameworks: views, losses, what they refuse, and the static program they become."""

import numpy as np
import paddle
import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.modeling import build_framework

TSM = {
    "framework": "Recognizer2D",
    "backbone": {"name": "ResNetTSM", "depth": 18, "width": 4, "num_seg": 4},
    "head": {"name": "TSMHead", "num_classes": 3, "in_channels": 32, "std": 0.5},
}
TIMESFORMER = {
    "framework": "RecognizerTransformer",
    "backbone": {
        "name": "VisionTransformer", "img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_seg": 4,
        "qkv_bias": True,
    },
    "head": {"name": "TimeSformerHead", "num_classes": 3, "in_channels": 16, "std": 0.5},
}  # fmt: skip
BOTH = pytest.mark.parametrize("section", [TSM, TIMESFORMER], ids=["tsm", "timesformer"])
NORMALIZATION = ([0.45] * 3, [0.225] * 3)


def build(section, avg_type=None, **changes):
    paddle.seed(2)
    runtime = {} if avg_type is None else {"runtime_cfg": {"test": {"num_seg": 4, "avg_type": avg_type}}}
    network = build_framework({**section, **runtime, **changes}, NORMALIZATION)
    network.eval()
    return network


def clips(count=2, views=1, frames=4, size=32):
    pixels = np.random.default_rng(1).integers(0, 256, (count, views, frames, size, size, 3), dtype="uint8")
    return paddle.to_tensor(pixels)


@BOTH
def test_views_are_averaged_as_configured(section):
    imgs = clips(count=2, views=3)
    network = build(section, "prob")
    each = np.stack([network({"imgs": imgs[:, v : v + 1]}, mode="predict")["scores"].numpy() for v in range(3)], 1)
    together = network({"imgs": imgs}, mode="predict")["scores"].numpy()
    assert np.allclose(together, each.mean(1), atol=1e-6)
    shuffled = network({"imgs": imgs[:, [2, 0, 1]]}, mode="predict")["scores"].numpy()
    assert np.allclose(together, shuffled, atol=1e-6)
    geometric = np.exp(np.log(each).mean(1))  # mean logits are log probabilities up to a constant
    score = build(section, "score")({"imgs": imgs}, mode="predict")["scores"].numpy()
    assert np.allclose(score, geometric / geometric.sum(1, keepdims=True), atol=1e-5)


@BOTH
def test_views_come_out_one_by_one_on_request(section):
    """There is a row per sample for the metric nevertheless."""
    imgs = clips(count=2, views=3)
    outputs = build(section, "none")({"imgs": imgs}, mode="predict")
    together = build(section, "score")({"imgs": imgs}, mode="predict")
    assert set(together) == {"scores"} and np.array_equal(outputs["scores"].numpy(), together["scores"].numpy())
    assert outputs["view_logits"].shape == [2, 3, 3]
    mean = paddle.nn.functional.softmax(outputs["view_logits"].mean(1))
    assert np.allclose(mean.numpy(), outputs["scores"].numpy(), atol=1e-6)


@BOTH
def test_a_soft_label_is_the_mixture_of_hard_ones(section):
    network = build(section, head={**section["head"], "ls_eps": 0.1})
    imgs, lam = clips(count=1), 0.3

    def loss(label):
        return float(network({"imgs": imgs, "label": label}, mode="loss")["loss"])

    mixed = loss(paddle.to_tensor([[lam, 0.0, 1 - lam]], "float32"))
    assert mixed == pytest.approx(lam * loss(paddle.to_tensor([0])) + (1 - lam) * loss(paddle.to_tensor([2])), rel=1e-5)


@BOTH
def test_every_view_counts_as_a_clip_in_the_loss(section):
    network, imgs, label = build(section), clips(count=2, views=2), paddle.to_tensor([0, 2])
    apart = [float(network({"imgs": imgs[:, v : v + 1], "label": label})["loss"]) for v in range(2)]
    assert float(network({"imgs": imgs, "label": label})["loss"]) == pytest.approx(np.mean(apart), rel=1e-5)


@BOTH
def test_uint8_clips_are_normalised_on_the_device(section):
    imgs = clips()
    normalised = ((imgs.numpy() / 255.0 - 0.45) / 0.225).astype("float32")
    network, bare = build(section), build_framework(section)
    bare.eval()
    bare.set_state_dict(network.state_dict())
    expected = bare({"imgs": paddle.to_tensor(normalised)}, mode="predict")["scores"].numpy()
    assert np.allclose(network({"imgs": imgs}, mode="predict")["scores"].numpy(), expected, atol=1e-5)
    assert not [key for key in network.state_dict() if "normalize" in key]
    with pytest.raises(UserError, match="imgs are float32, but this network normalises"):
        network({"imgs": paddle.to_tensor(normalised)}, mode="predict")


@BOTH
def test_another_number_of_frames_is_an_error_that_names_both_keys(section):
    with pytest.raises(UserError, match=r"3 frames, MODEL.backbone.num_seg is 4.*PIPELINE"):
        build(section)({"imgs": clips(frames=3)}, mode="predict")
    with pytest.raises(UserError, match="expected .N, V, T, H, W, 3."):
        build(section)({"imgs": clips()[0]}, mode="predict")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (
            {"head": {**TSM["head"], "in_channels": 64}},
            "MODEL.head.in_channels: the backbone gives 32 channels, got 64",
        ),
        ({"runtime_cfg": {"test": {"num_seg": 8}}}, r"MODEL.runtime_cfg.test.num_seg: .*\(4\), got 8"),
        ({"runtime_cfg": {"test": {"avg_type": "mean"}}}, "avg_type: expected one of score, prob, none, got 'mean'"),
        ({"runtime_cfg": {"test": {"avgtype": "prob"}}}, "did you mean 'avg_type'"),
        ({"backbone": {**TSM["backbone"], "name": "ResNetTMS"}}, "MODEL.backbone.name: .*did you mean 'ResNetTSM'"),
        ({"head": {**TSM["head"], "loss_cfg": {"name": "NoLoss"}}}, "MODEL.head.loss_cfg.name"),
    ],
)
def test_a_wrong_model_section_is_named(changes, word):
    with pytest.raises(ConfigError, match=word):
        build_framework({**TSM, **changes})


def test_loss_beyond_paddles_cut_is_exact():
    """Paddle's CPU kernel cuts at 64; a network that far off must not look better than it is."""
    network = build(TSM)
    logits = paddle.to_tensor([[0.0, 100.0, 0.0]])
    assert float(network.head.loss(logits, paddle.to_tensor([0]))) == pytest.approx(100.0)


def momentum_steps(network, batch, steps=2):
    """State before and after some steps on one batch."""
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    trained = [p for p in network.parameters() if not p.stop_gradient]
    optimizer = paddle.optimizer.Momentum(0.1, parameters=trained, weight_decay=0.1)
    network.train()
    for _ in range(steps):
        network(batch, mode="loss")["loss"].backward()
        optimizer.step()
        optimizer.clear_grad()
    return before, {name: value.numpy() for name, value in network.state_dict().items()}


@BOTH
def test_frozen_parts_stay_as_they_are_batch_norms_included(section):
    network = build(section, freeze=["backbone"])
    before, after = momentum_steps(network, {"imgs": clips(), "label": paddle.to_tensor([0, 2])})
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed and all(name.startswith("head.") for name in changed)
    assert not any(layer.training for layer in network.backbone.sublayers(include_self=True))


def test_a_part_of_the_backbone_can_be_frozen_and_the_rest_learns():
    network = build(TSM, freeze=["backbone.conv", "backbone.res2a"])
    before, after = momentum_steps(network, {"imgs": clips(), "label": paddle.to_tensor([0, 2])})
    kept = {name for name in before if np.array_equal(before[name], after[name])}
    assert kept and all(name.startswith(("backbone.conv.", "backbone.res2a.")) for name in kept)
    assert "backbone.conv._batch_norm._mean" in kept


def test_freezing_what_is_not_there_names_what_is():
    with pytest.raises(ConfigError, match=r"freeze\[1\]: expected backbone or head.*'backbne'; did you mean 'backbone"):
        build(TSM, freeze=["head", "backbne"])
    with pytest.raises(ConfigError, match=r"MODEL\.freeze\.1: no part 'backbone.con' of .*mean 'backbone.conv'"):
        build(TSM, freeze=["head", "backbone.con"])


def wrong(network, part, function):
    """The message where a part of the network gives what ``function`` makes of its output."""
    layer = part(network)
    forward = layer.forward
    layer.forward = lambda *inputs: function(forward(*inputs))
    with pytest.raises(UserError) as caught:
        network({"imgs": clips(), "label": paddle.zeros([2], "int64")})
    return str(caught.value)


def test_a_part_that_gives_another_shape_is_named_with_both():
    backbone, head, loss = (lambda n: n.backbone), (lambda n: n.head), (lambda n: n.head.criterion)
    text = wrong(build(TSM), backbone, lambda x: x[:4])
    assert text.startswith(
        "MODEL.backbone: ResNetTSM.forward gives [4, 32, 1, 1], expected [N * T, C, h, w] with 8 rows"
    )
    text = wrong(build(TIMESFORMER), backbone, lambda x: x[:, :8])
    assert text.startswith(
        "MODEL.backbone: VisionTransformer.forward gives [2, 8], expected [N, C] with 2 rows and C = 16"
    )
    text = wrong(build(TSM), head, lambda x: x.unsqueeze(1).tile([1, 4, 1]).flatten(0, 1))
    assert text == "MODEL.head: TSMHead.forward gives [8, 3], expected logits [N, K] = [2, 3]"
    text = wrong(build(TSM), loss, lambda x: x.tile([2]))
    assert text == "MODEL.head.loss_cfg: CrossEntropyLoss.forward gives [2], expected a scalar tensor of float32"


def test_a_head_takes_no_loss_between_networks():
    head = {**TSM["head"], "loss_cfg": {"name": "DistillationKLLoss"}}
    with pytest.raises(ConfigError, match="loss_cfg.name: DistillationKLLoss compares two networks"):
        build(TSM, head=head)


BACKBONE, HEAD, LOSS = (lambda n: n.backbone), (lambda n: n.head), (lambda n: n.head.criterion)


@pytest.mark.parametrize(
    ("part", "function", "words"),
    [
        (BACKBONE, lambda x: [x], "MODEL.backbone: ResNetTSM.forward gives a list of [8, 32, 1, 1], expected [N * T, "),
        (BACKBONE, lambda x: x.numpy(), "MODEL.backbone: ResNetTSM.forward gives ndarray, expected [N * T, C, h, w]"),
        (BACKBONE, lambda x: None, "MODEL.backbone: ResNetTSM.forward gives NoneType, expected [N * T, C, h, w]"),
        (HEAD, lambda x: [x], "MODEL.head: TSMHead.forward gives a list of [2, 3], expected logits [N, K] = [2, 3]"),
        (HEAD, lambda x: x.numpy(), "MODEL.head: TSMHead.forward gives ndarray, expected logits [N, K] = [2, 3]"),
        (HEAD, lambda x: None, "MODEL.head: TSMHead.forward gives NoneType, expected logits [N, K] = [2, 3]"),
        (LOSS, float, "MODEL.head.loss_cfg: CrossEntropyLoss.forward gives float, expected a scalar tensor"),
        (
            LOSS,
            lambda x: None,
            "MODEL.head.loss_cfg: CrossEntropyLoss.forward gives NoneType, expected a scalar te",
        ),
        (LOSS, lambda x: {"loss": x}, "MODEL.head.loss_cfg: CrossEntropyLoss.forward gives dict, expected a scalar te"),
        (
            LOSS,
            lambda x: x.astype("int64"),
            "MODEL.head.loss_cfg: CrossEntropyLoss.forward gives [] of int64, expect",
        ),
    ],
)
def test_a_part_that_gives_no_tensor_is_named(part, function, words):
    assert wrong(build(TSM), part, function).startswith(words)


def test_a_head_of_two_pathways_refuses_one():
    backbone = {"name": "ResNet3dSlowOnly", "depth": 18, "width": 8}
    head = {"name": "SlowFastHead", "num_classes": 3, "in_channels": 64}
    network = build({"framework": "Recognizer3D", "backbone": backbone, "head": head})
    words = r"^MODEL.backbone: ResNet3dSlowOnly.forward gives \[2, 64, .*MODEL.head takes a tuple of 2 tensors"
    with pytest.raises(UserError, match=words):
        network({"imgs": clips()}, mode="predict")
