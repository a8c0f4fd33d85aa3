"""TimeSformer: published sizes, identity at the start, and how pretrained weights are fitted."""

import logging

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling.backbones.vit import VisionTransformer, VisionTransformer_tweaks
from paddlevideo.modeling.embeddings import resize_places, resize_times
from paddlevideo.modeling.heads.timesformer_head import TimeSformerHead
from paddlevideo.modeling.weights import load_pretrained
from paddlevideo.safe_io import write_pickle

TYPES = ("divided_space_time", "joint_space_time", "space_only")


def tiny(attention_type="divided_space_time", **arguments):
    given = {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "num_seg": 4,
        "qkv_bias": True,
    }
    network = VisionTransformer(**{**given, "attention_type": attention_type, **arguments})
    network.eval()
    return network


def image_vit(path, **arguments):
    """Random weights of an image ViT under PaddleClas' names, classifier included; returns its network."""
    paddle.seed(5)
    network = tiny("space_only", num_seg=1, **arguments)
    for parameter in network.parameters():
        parameter.set_value(paddle.randn(parameter.shape) * 0.1)
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    write_pickle(path, {**arrays, "head.weight": np.zeros((16, 10), "float32"), "head.bias": np.zeros(10, "float32")})
    return network


@pytest.mark.parametrize(
    ("attention_type", "total"), zip(TYPES, (121_566_352, 86_112_400, 86_106_256)), ids=lambda value: str(value)
)
def test_parameter_counts_are_the_published_ones(attention_type, total):
    one, two = (
        sum(p.size for p in VisionTransformer(depth=depth, qkv_bias=True, attention_type=attention_type).parameters())
        for depth in (1, 2)
    )
    head = sum(parameter.size for parameter in TimeSformerHead(400, 768).parameters())
    assert one + 11 * (two - one) + head == total


def test_a_fresh_divided_network_with_image_weights_sees_a_still_clip_as_the_image(tmp_path):
    image_network = image_vit(tmp_path / "vit.pdparams")
    image = paddle.randn([2, 3, 1, 32, 32])
    for attention_type in TYPES[::2]:
        network = tiny(attention_type)
        load_pretrained(network, str(tmp_path / "vit.pdparams"))
        still = network(image.expand([2, 3, 4, 32, 32])).numpy()
        assert np.allclose(still, image_network(image).numpy(), atol=1e-5)


def test_temporal_attention_is_the_identity_at_first():
    x = paddle.randn([1, 3, 4, 32, 32])
    network = tiny()
    before = network(x).numpy()
    for block in network.blocks:
        block.temporal_attn.qkv.weight.set_value(paddle.randn([16, 48]))
    assert np.array_equal(before, network(x).numpy())


def test_time_order_matters_unless_space_only():
    x = paddle.randn([1, 3, 4, 32, 32])
    for attention_type in TYPES:
        network = tiny(attention_type)
        for parameter in network.parameters():
            parameter.set_value(paddle.randn(parameter.shape) * 0.3)
        changes = np.abs(network(x).numpy() - network(x.flip([2])).numpy()).max() > 1e-4
        assert changes == (attention_type != "space_only")


@pytest.mark.parametrize("attention_type", TYPES)
def test_image_weights_fit_every_attention_type(attention_type, tmp_path, caplog):
    image = image_vit(tmp_path / "vit.pdparams").state_dict()
    network = tiny(attention_type)
    with caplog.at_level(logging.INFO, "paddlevideo"):
        report = load_pretrained(network, str(tmp_path / "vit.pdparams"))
    assert not report.missing and not report.mismatched and "keys loaded" in caplog.text
    own = network.state_dict()
    assert np.array_equal(own["blocks.1.attn.qkv.weight"].numpy(), image["blocks.1.attn.qkv.weight"].numpy())
    if attention_type == "divided_space_time":
        assert np.array_equal(own["blocks.1.temporal_attn.proj.bias"].numpy(), image["blocks.1.attn.proj.bias"].numpy())
        assert np.array_equal(own["blocks.0.temporal_norm1.weight"].numpy(), image["blocks.0.norm1.weight"].numpy())
        assert not own["blocks.0.temporal_fc.weight"].numpy().any() and not own["time_embed"].numpy().any()


def test_places_and_times_are_resized(tmp_path):
    small = tiny(num_seg=2)
    small.time_embed.set_value(paddle.randn([1, 2, 16]))
    prefixed = {f"backbone.{key}": value.numpy() for key, value in small.state_dict().items()}
    write_pickle(tmp_path / "k400.pdparams", {**prefixed, "head.fc.weight": np.zeros((16, 400), "float32")})
    large = tiny(num_seg=8, img_size=64)
    report = load_pretrained(large, str(tmp_path / "k400.pdparams"))
    assert report.clean
    assert np.array_equal(large.time_embed.numpy()[0, :4], np.repeat(small.time_embed.numpy()[0, :1], 4, axis=0))
    assert np.allclose(large.pos_embed.numpy()[0, [0, 1, -1]], small.pos_embed.numpy()[0, [0, 1, -1]], atol=1e-6)


def test_resizing_is_linear_with_fixed_corners():
    plane = np.add.outer(np.arange(3.0), 10.0 * np.arange(3.0)).reshape(1, 9, 1)
    resized = resize_places(np.concatenate([[[[7.0]]], plane], axis=1).reshape(1, 10, 1), 26)[0, :, 0]
    assert resized[0] == 7.0
    assert np.allclose(resized[1:].reshape(5, 5), np.add.outer(np.linspace(0, 2, 5), 10.0 * np.linspace(0, 2, 5)))
    with pytest.raises(UserError, match="square"):
        resize_places(np.zeros((1, 10, 1)), 8)


def test_resized_times_are_the_nearest():
    assert resize_times(np.arange(8.0).reshape(1, 8, 1), 16)[0, :, 0].tolist() == [i // 2 for i in range(16)]
    assert resize_times(np.arange(8.0).reshape(1, 8, 1), 4)[0, :, 0].tolist() == [0, 2, 4, 6]


def test_places_resize_as_scipy_does():
    zoom = pytest.importorskip("scipy.ndimage").zoom
    grid = np.random.default_rng(0).standard_normal((14, 14, 5))
    expected = zoom(grid, (16 / 14, 16 / 14, 1), order=1).reshape(1, 256, 5)
    ours = resize_places(np.concatenate([np.zeros((1, 1, 5)), grid.reshape(1, 196, 5)], axis=1), 257)
    assert np.allclose(ours[:, 1:], expected, atol=1e-9)


def test_embeddings_of_the_tweaked_network_do_not_decay():
    tweaked = VisionTransformer_tweaks(img_size=16, embed_dim=8, depth=1, num_heads=2)
    assert tweaked.cls_token.decay_mult == tweaked.pos_embed.decay_mult == tweaked.time_embed.decay_mult == 0.0


def test_start_weights_are_small():
    network = VisionTransformer(img_size=32, embed_dim=192, depth=2, num_heads=2)
    assert abs(network.blocks[1].mlp.fc1.weight.numpy().std() - 0.02) < 0.002
    assert all(not block.temporal_fc.weight.numpy().any() for block in network.blocks)


def test_wrong_sizes_are_named():
    with pytest.raises(UserError, match="img_size"):
        tiny()(paddle.zeros([1, 3, 4, 48, 48]))


@pytest.mark.parametrize("kind", [VisionTransformer, VisionTransformer_tweaks])
def test_from_scratch_distinguishes_frames_and_places_from_the_first_step_on(kind):
    paddle.seed(0)
    net = kind(img_size=32, patch_size=8, embed_dim=48, depth=1, num_heads=2, num_seg=4, from_scratch=True)
    assert 0.8 < float(net.time_embed.std()) < 1.2 and 0.8 < float(net.pos_embed.std()) < 1.2
    block = net.blocks[0]
    assert float(block.mlp.fc2.weight.std()) == pytest.approx((4 * 48) ** -0.5, rel=0.1)
    assert not block.temporal_fc.weight.any() and not block.mlp.fc1.bias.any()
    usual = kind(img_size=32, patch_size=8, embed_dim=48, depth=1, num_heads=2, num_seg=4)
    assert not usual.time_embed.any() and float(usual.blocks[0].mlp.fc2.weight.std()) < 0.03
