"""Weights for one picture size and number of frames begin the training of another; a test never resizes."""

import logging

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.weights import load_pretrained, load_weights
from paddlevideo.safe_io import write_pickle


def model(num_seg=8, img_size=32, classes=3, dim=16, attention_type="divided_space_time", name="VisionTransformer"):
    section = {
        "framework": "RecognizerTransformer",
        "backbone": {
            "name": name, "img_size": img_size, "patch_size": 16, "embed_dim": dim, "depth": 1, "num_heads": 2,
            "num_seg": num_seg, "attention_type": attention_type,
        },
        "head": {"name": "TimeSformerHead", "num_classes": classes, "in_channels": dim},
    }  # fmt: skip
    network = build_framework(section)
    network.eval()
    return network


def noise(network, seed=0):
    """Random arrays for every parameter, under their names."""
    rng = np.random.default_rng(seed)
    return {
        key: rng.standard_normal(value.shape).astype("float32") * 0.1 for key, value in network.state_dict().items()
    }


def places_by_hand(embedding, side):
    """Bilinear, corner on corner, one place at a time."""
    old = int(round((embedding.shape[1] - 1) ** 0.5))
    grid, rows = embedding[0, 1:].reshape(old, old, -1), [embedding[0, 0]]
    for i in range(side):
        for j in range(side):
            y, x = i * (old - 1) / (side - 1), j * (old - 1) / (side - 1)
            top, left = min(int(y), old - 2), min(int(x), old - 2)
            down, right = y - top, x - left
            upper = (1 - right) * grid[top, left] + right * grid[top, left + 1]
            lower = (1 - right) * grid[top + 1, left] + right * grid[top + 1, left + 1]
            rows.append((1 - down) * upper + down * lower)
    return np.stack(rows)[None]


def times_by_hand(embedding, frames):
    """The nearest frame before, as ``interpolate(mode="nearest")`` counts."""
    old = embedding.shape[1]
    return np.stack([embedding[0, int(np.floor(t * old / frames))] for t in range(frames)])[None]


@pytest.mark.parametrize("name", ["VisionTransformer", "VisionTransformer_tweaks"])
@pytest.mark.parametrize(("frames", "size"), [(16, 32), (32, 32), (8, 64), (16, 64), (4, 48)])
def test_fine_tuning_begins_with_resized_embeddings(frames, size, name, tmp_path):
    arrays = noise(model(name=name))
    write_pickle(tmp_path / "k400_8f.pdparams", arrays)
    network = model(frames, size, name=name)
    report = load_weights(network, tmp_path / "k400_8f.pdparams", strict=False, allow_head_mismatch=True)
    own = {key: value.numpy() for key, value in network.state_dict().items()}
    np.testing.assert_allclose(
        own["backbone.pos_embed"], places_by_hand(arrays["backbone.pos_embed"], size // 16), atol=1e-6
    )
    np.testing.assert_array_equal(own["backbone.time_embed"], times_by_hand(arrays["backbone.time_embed"], frames))
    rest = own.keys() - {"backbone.pos_embed", "backbone.time_embed"}
    assert all(np.array_equal(own[key], arrays[key]) for key in rest) and not report.mismatched
    noted = str(report)
    if frames != 8:
        assert f"resized     backbone.time_embed: file [1, 8, 16], network [1, {frames}, 16]" in noted
    if size != 32:
        assert f"resized     backbone.pos_embed: file [1, 5, 16], network [1, {1 + (size // 16) ** 2}, 16]" in noted
    scores = network({"imgs": paddle.zeros([1, 1, frames, size, size, 3])}, mode="predict")["scores"]
    assert np.isfinite(scores.numpy()).all()


def test_pretrained_reports_what_it_resized_too(tmp_path, caplog):
    write_pickle(tmp_path / "k400_8f.pdparams", noise(model()))
    with caplog.at_level(logging.INFO, "paddlevideo"):
        report = load_pretrained(model(16, 64).backbone, str(tmp_path / "k400_8f.pdparams"))
    assert report.resized == {"pos_embed": ([1, 5, 16], [1, 17, 16]), "time_embed": ([1, 8, 16], [1, 16, 16])}
    assert "resized     time_embed: file [1, 8, 16], network [1, 16, 16]" in caplog.text


def test_weights_of_the_same_size_are_untouched():
    arrays, network = noise(model()), model()
    report = load_weights(network, arrays, strict=False)
    assert report.clean and not report.resized
    assert np.array_equal(network.backbone.pos_embed.numpy(), arrays["backbone.pos_embed"])


@pytest.mark.parametrize(("frames", "size"), [(16, 32), (8, 64)])
def test_a_test_never_resizes_and_names_the_way_out(frames, size):
    network = model(frames, size)
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    with pytest.raises(UserError, match="a test never resizes: set num_seg and MODEL.backbone.img_size .* fine-tune"):
        load_weights(network, noise(model()))
    assert all(np.array_equal(value.numpy(), before[key]) for key, value in network.state_dict().items())


def test_another_width_is_still_refused():
    with pytest.raises(UserError, match=r"backbone.pos_embed: file \[1, 5, 16\], network \[1, 17, 24\]"):
        load_weights(model(16, 64, dim=24), noise(model()), strict=False, allow_head_mismatch=True)


def test_another_class_count_and_other_frames_together():
    network = model(16, classes=7)
    report = load_weights(network, noise(model()), strict=False, allow_head_mismatch=True)
    assert set(report.mismatched) == {"head.fc.weight", "head.fc.bias"} and len(report.resized) == 1
