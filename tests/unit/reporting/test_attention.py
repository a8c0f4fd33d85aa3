"""Attention rollout and Grad-CAM against computations by hand; what the network does for them costs it nothing."""

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling.backbones.vit import Attention, VisionTransformer
from paddlevideo.modeling.frameworks.build import build_framework
from paddlevideo.reporting.attention import (
    ROLLOUTS,
    attention_rollout,
    divided_rollout,
    enlarged,
    grad_cam,
    heat_maps,
    heat_over,
    joint_rollout,
    space_rollout,
    stretched,
)

TYPES = list(ROLLOUTS)
V, T, P = 2, 3, 4  # P patches: 2 x 2


def transformer(attention_type, **more):
    """Frames of 16 pixels, patches of 8, so 2 x 2 places; two blocks."""
    paddle.seed(3)
    backbone = {
        "name": "VisionTransformer", "img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2,
        "num_seg": T, "drop_path_rate": 0.0, "attention_type": attention_type, **more,
    }  # fmt: skip
    head = {"name": "TimeSformerHead", "num_classes": 5, "in_channels": 8}
    return build_framework({"framework": "RecognizerTransformer", "backbone": backbone, "head": head})


def convolutional(size=32, **more):
    paddle.seed(3)
    backbone = {"name": "ResNetTSM", "depth": 18, "width": 4, "num_seg": 4, **more}
    head = {"name": "TSMHead", "num_classes": 5, "in_channels": 32, "std": 0.5}
    network = build_framework({"framework": "Recognizer2D", "backbone": backbone, "head": head})
    network.eval()
    return network, paddle.to_tensor(np.random.default_rng(0).normal(size=(1, V, 4, size, size, 3)).astype("float32"))


def clips(dtype="float32"):
    return np.random.default_rng(0).uniform(0, 255, (V, T, 16, 16, 3)).astype(dtype)


def attention(rng, *shape):
    weights = rng.uniform(size=shape)
    return weights / weights.sum(-1, keepdims=True)


def test_joint_is_the_product_of_half_attention_half_identity():
    # one clip, one frame, one patch: tokens are (class, patch), two layers, by hand
    first, second = np.array([[[0.5, 0.5], [0.0, 1.0]]]), np.array([[[0.0, 1.0], [1.0, 0.0]]])
    # (first + 1) / 2 = [[.75, .25], [0, 1]]; (second + 1) / 2 = [[.5, .5], [.5, .5]]
    # class row of the product: .5 * [.75, .25] + .5 * [0, 1] = [.375, .625]
    np.testing.assert_allclose(joint_rollout([(first,), (second,)], 1, 1), [[[0.625]]])


def test_space_is_the_mean_of_the_frames():
    # one layer, one patch, two frames: the class tokens attend to their patch by .2 and .6
    layer = np.array([[[0.8, 0.2], [0.0, 1.0]], [[0.4, 0.6], [0.0, 1.0]]])
    np.testing.assert_allclose(space_rollout([(layer,)], 1, 2), [[[0.05], [0.15]]])


def dense_divided(time, space):
    """The matrix [1 + P * T] of one block and one view, written out token by token; patches time-minor."""
    size = 1 + P * T
    through_time, in_space = np.zeros((size, size)), np.zeros((size, size))
    through_time[0, 0] = 1.0

    def place(p, t):
        return 1 + p * T + t

    for p in range(P):
        for t in range(T):
            for other in range(T):
                through_time[place(p, t), place(p, other)] = (time[p, t, other] + (t == other)) / 2
            in_space[place(p, t), 0] = space[t, 1 + p, 0] / 2
            for other in range(P):
                in_space[place(p, t), place(other, t)] = (space[t, 1 + p, 1 + other] + (p == other)) / 2
    in_space[0, 0] = (space[:, 0, 0].mean() + 1) / 2
    for p in range(P):
        for t in range(T):
            in_space[0, place(p, t)] = space[t, 0, 1 + p] / T / 2
    for matrix in (through_time, in_space):
        np.testing.assert_allclose(matrix.sum(1), 1.0)
    return in_space @ through_time


def test_divided_composes_time_and_space():
    rng = np.random.default_rng(1)
    layers = [(attention(rng, V * P, T, T), attention(rng, V * T, 1 + P, 1 + P)) for _ in range(2)]
    got = divided_rollout(layers, V, T)
    for v in range(V):
        first, second = (dense_divided(t[v * P : (v + 1) * P], s[v * T : (v + 1) * T]) for t, s in layers)
        row = (second @ first)[0]
        np.testing.assert_allclose(got[v], row[1:].reshape(P, T).T, rtol=1e-12)


@pytest.mark.parametrize("attention_type", TYPES)
def test_even_attention_spreads_evenly(attention_type):
    network = transformer(attention_type)
    for part in network.sublayers():
        if isinstance(part, Attention):
            part.qkv.weight.set_value(paddle.zeros_like(part.qkv.weight))
    network.eval()
    maps = attention_rollout(network, paddle.to_tensor(clips()[None]))
    assert maps.shape == (V, T, 2, 2)
    np.testing.assert_allclose(maps, maps[0, 0, 0, 0], rtol=1e-6)
    assert 0 < maps[0].sum() < 1


@pytest.mark.parametrize("attention_type", TYPES)
def test_attention_hooks_get_rows_that_sum_to_one_and_change_nothing(attention_type):
    network = transformer(attention_type)
    network.eval()
    imgs = paddle.to_tensor(clips()[None] / 255)
    before = network.view_logits(imgs).numpy()
    seen = []
    attentions = [part for part in network.sublayers() if isinstance(part, Attention)]
    for part in attentions:
        part.attention_hook = lambda weights: seen.append(weights.numpy())
    np.testing.assert_array_equal(network.view_logits(imgs).numpy(), before)
    for part in attentions:
        part.attention_hook = None
    assert len(seen) == len(attentions)
    for weights in seen:
        np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    attention_rollout(network, imgs)
    assert all(part.attention_hook is None for part in attentions)


def test_rollout_follows_attention_to_the_patch_that_draws_it():
    """All keys alike but one patch's: the map is highest there, in the frame and place where it stands."""
    network = transformer("joint_space_time", depth=1, qkv_bias=True, num_heads=1)
    network.eval()
    backbone = network.backbone
    filters = np.full(backbone.patch_embed.proj.weight.shape, 0.01, "float32")
    filters[0] = -0.01
    backbone.patch_embed.proj.weight.set_value(paddle.to_tensor(filters))
    for embedding in (backbone.cls_token, backbone.pos_embed):
        embedding.set_value(paddle.zeros_like(embedding))
    part = backbone.blocks[0].attn
    weight = np.zeros(part.qkv.weight.shape, "float32")
    weight[1:, 8] = 1.0  # the first key is the sum of all dimensions but one, which only a bright patch has
    bias = np.zeros(24, "float32")
    bias[0] = 10.0  # and every query asks for it
    part.qkv.weight.set_value(paddle.to_tensor(weight))
    part.qkv.bias.set_value(paddle.to_tensor(bias))
    imgs = np.zeros((1, 1, T, 16, 16, 3), "float32")
    imgs[0, 0, 1, :8, 8:] = 5.0  # second frame, above, right
    maps = attention_rollout(network, paddle.to_tensor(imgs))[0]
    assert np.unravel_index(maps.argmax(), maps.shape) == (1, 0, 1)
    assert maps.max() > 1.5 * np.median(maps)


def test_grad_cam_of_the_last_block_by_hand():
    """Behind the last block stand a mean over places and frames and ``fc``: the gradient is fc / (places * frames)."""
    network, imgs = convolutional(size=32)
    with pytest.raises(UserError, match="no map of places"):
        grad_cam(network, imgs, 2, "backbone.res5b")  # one place is no map
    network, imgs = convolutional(size=64)
    with paddle.no_grad():
        features = network.backbone(imgs.reshape([-1, 64, 64, 3]).transpose([0, 3, 1, 2])).numpy()  # [V * 4, 32, 2, 2]
    maps, name = grad_cam(network, imgs, 2, "backbone.res5b")
    expected = np.maximum(np.einsum("nchw,c->nhw", features, network.head.fc.weight.numpy()[:, 2]), 0)
    assert name == "backbone.res5b" and expected.max() > 0
    np.testing.assert_allclose(maps, expected.reshape(V, 4, 2, 2) / (4 * 4 * V), rtol=1e-4, atol=1e-9)
    assert not network.backbone.res5b._forward_post_hooks


@pytest.mark.parametrize("size, name", [(8, "res2b"), (32, "res2b"), (64, "res3b"), (128, "res4b"), (224, "res5b")])
def test_default_layer_is_a_whole_block_and_fine_enough(size, name):
    """The last of at least 7 x 7 places; of 8 pixels none has, and the blocks behind res2 have but one place."""
    network, imgs = convolutional(size)
    assert grad_cam(network, imgs, 0)[1] == f"backbone.{name}"


def test_temporal_pooling_halves_the_maps_and_drawing_undoes_it():
    network, imgs = convolutional(64, temporal_pool=True)
    assert grad_cam(network, imgs, 0, "backbone.res4b")[0].shape == (V, 2, 4, 4)
    assert heat_maps(network, imgs[0].numpy(), layer="backbone.res4b").heat.shape == (V, 4, 64, 64)


def test_a_wrong_layer_or_class_is_named():
    network, imgs = convolutional()
    with pytest.raises(UserError, match=r"did you mean 'backbone.res4b'"):
        heat_maps(network, imgs[0].numpy(), layer="backbone.res4x")
    with pytest.raises(UserError, match="--class 5: the network has 5 classes, 0 to 4"):
        heat_maps(network, imgs[0].numpy(), class_id=5)
    with pytest.raises(UserError, match="--layer is for Grad-CAM"):
        heat_maps(transformer("space_only"), clips(), layer="backbone.norm")


def test_scores_are_those_of_predict():
    network = transformer("divided_space_time")
    maps = heat_maps(network, clips("uint8"))
    expected = network({"imgs": paddle.to_tensor(clips("uint8")[None])}, mode="predict")["scores"]
    np.testing.assert_array_equal(maps.scores, expected[0].numpy())
    assert maps.heat.shape == (V, T, 16, 16) and maps.heat.min() == 0.0 and maps.heat.max() == 1.0


def test_drawing():
    maps = np.arange(8, dtype="float32").reshape(1, 2, 2, 2)
    assert enlarged(maps, (4, 6, 6)).shape == (1, 4, 6, 6)
    np.testing.assert_allclose(stretched(maps)[0, 1, 1], [6 / 7, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(stretched(np.full((1, 1, 2, 2), 3.0)), 0.0)
    black = np.zeros((1, 1, 3, 3), "uint8")
    cold, middle, hot = heat_over(black, np.array([[[0.0, 0.5, 1.0]]]))[0, 0].astype(int)
    assert cold.argmax() == 2 and middle.argmax() == 1 and hot.argmax() == 0


@pytest.mark.parametrize("qk_scale", [None, 0.3])
def test_the_fused_path_computes_the_same(qk_scale):
    part = Attention(16, 2, qk_scale=qk_scale)
    part.eval()
    qkv = paddle.randn([3, 5, 3, 2, 8])
    np.testing.assert_allclose(part._fused(qkv).numpy(), part._written_out(qkv).numpy(), rtol=1e-5, atol=1e-6)
    assert not part._can_fuse(qkv) or qkv.place.is_gpu_place()


@pytest.mark.parametrize("attention_type", TYPES)
def test_recompute_gives_the_same_gradients_to_the_bit(attention_type):
    """With dropout and stochastic depth, whose draws must be the same the second time."""

    def gradients(recompute):
        paddle.seed(4)
        network = VisionTransformer(
            img_size=16, patch_size=8, embed_dim=8, depth=2, num_heads=2, num_seg=T, drop_rate=0.2, attn_drop_rate=0.2,
            drop_path_rate=0.3, attention_type=attention_type, recompute=recompute,
        )  # fmt: skip
        network.train()
        paddle.seed(5)
        loss = (network(paddle.to_tensor(clips().transpose(0, 4, 1, 2, 3) / 255)) ** 2).mean()
        loss.backward()
        return float(loss), {name: p.grad.numpy() for name, p in network.named_parameters()}

    (loss, plain), (same_loss, again) = gradients(False), gradients(True)
    assert loss == same_loss
    for name, gradient in plain.items():
        np.testing.assert_array_equal(again[name], gradient, err_msg=name)


def test_recompute_drops_the_inside_of_blocks_while_training_only():
    network = transformer("joint_space_time", recompute=True)
    calls = []
    network.backbone.blocks[0].attn.attention_hook = lambda weights: calls.append(1)
    batch = {"imgs": paddle.to_tensor(clips()[None] / 255), "label": paddle.zeros([1], "int64")}
    network.train()
    network(batch)["loss"].backward()
    assert len(calls) == 2  # forward, and again on the way back
    network.eval()
    network(batch, mode="predict")
    assert len(calls) == 3
