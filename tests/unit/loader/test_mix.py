"""Blended clips: the share stated in the label is the share in the picture."""

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.loader.mix import Cutmix, Mixup, VideoMix, cut_box, soft_labels
from paddlevideo.registry import TRANSFORMS

CLASSES = 5


def batch(n=4, dtype=np.uint8):
    """Clip n is filled with 50 n, and its class is n."""
    imgs = np.empty((n, 1, 3, 20, 24, 3), dtype)
    imgs[:] = (50 * np.arange(n)).reshape(n, 1, 1, 1, 1, 1)
    return {"imgs": imgs, "label": np.arange(n, dtype=np.int64), "index": np.arange(n)}


def test_cutmix_states_the_share_it_left():
    for seed in range(60):
        given = batch()
        out = Cutmix(1.0)(given, np.random.default_rng(seed), CLASSES)
        assert out["imgs"].dtype == np.uint8 and out["label"].dtype == np.float32
        for n in range(4):
            clip = out["imgs"][n]
            share = (clip == 50 * n).mean()
            for other in range(4):
                expected = (clip == 50 * other).mean()
                assert out["label"][n, other] == pytest.approx(expected, abs=1e-6)
            assert share > 0 or out["label"][n, n] == pytest.approx(0, abs=1e-6)
        np.testing.assert_array_equal(given["imgs"], batch()["imgs"])  # the given batch is left alone


def test_cutmix_box_is_the_same_in_all_frames_and_full_blooded():
    cut = 0
    for seed in range(40):
        imgs = Cutmix(1.0)(batch(), np.random.default_rng(seed), CLASSES)["imgs"]
        assert (imgs == imgs[:, :, :1]).all()
        own = imgs == (50 * np.arange(4)).reshape(4, 1, 1, 1, 1, 1)
        rows, columns = own.all(axis=(1, 2, 4, 5)), own.all(axis=(1, 2, 3, 5))
        cut += int(not rows.all() and not columns.all())
    assert cut > 25


def test_cut_box_lies_in_the_picture_and_has_the_wanted_share_in_the_middle():
    sizes = []
    for seed in range(300):
        top, bottom, left, right = cut_box(200, 300, 0.75, np.random.default_rng(seed))
        assert 0 <= top <= bottom <= 200 and 0 <= left <= right <= 300
        sizes.append((bottom - top, right - left))
    assert max(sizes) == (100, 150)


def test_mixup_blends_pictures_and_labels_with_one_share():
    for seed in range(40):
        out = Mixup(0.4)(batch(), np.random.default_rng(seed), CLASSES)
        assert out["imgs"].dtype == np.uint8
        expected = out["label"][:, :4] @ (50.0 * np.arange(4))
        np.testing.assert_allclose(out["imgs"][:, 0, 0, 0, 0, 0], expected, atol=0.51)
        np.testing.assert_allclose(out["label"].sum(1), 1, atol=1e-6)
    floats = Mixup(0.4)(batch(dtype=np.float32), np.random.default_rng(0), CLASSES)["imgs"]
    assert floats.dtype == np.float32


def test_soft_labels_pass_through():
    soft = np.array([[0.5, 0.5, 0, 0, 0], [0, 0, 1, 0, 0]], np.float32)
    given = {**batch(2), "label": soft}
    for op in (Mixup(), Cutmix(1.0)):
        np.testing.assert_allclose(op(given, np.random.default_rng(0), CLASSES)["label"].sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(soft_labels(soft, CLASSES), soft)


def test_videomix_is_either_and_draws_from_its_generator():
    op = VideoMix(0.5, 0.2, 1.0)
    one, same = (op(batch(), np.random.default_rng(1), CLASSES) for _ in range(2))
    np.testing.assert_array_equal(one["imgs"], same["imgs"])
    values = (50 * np.arange(4)).tolist()
    pasted = [np.isin(op(batch(), np.random.default_rng(s), CLASSES)["imgs"], values).all() for s in range(100)]
    assert 30 < sum(pasted) < 80
    for prob, seed in ((1.0, 0), (0.0, 0)):
        kind = Cutmix(1.0) if prob else Mixup(0.2)
        rng = np.random.default_rng(seed)
        rng.random()
        expected = kind(batch(), rng, CLASSES)
        got = VideoMix(prob)(batch(), np.random.default_rng(seed), CLASSES)
        np.testing.assert_array_equal(got["imgs"], expected["imgs"])


def test_bad_labels_and_arguments():
    with pytest.raises(UserError, match="labels 0 .. 3 do not fit 3 classes"):
        Mixup()(batch(), np.random.default_rng(0), 3)
    with pytest.raises(UserError, match="soft labels of 2 classes"):
        soft_labels(np.zeros((4, 2), np.float32), 3)
    for build in (lambda: Mixup(0), lambda: Cutmix(-1), lambda: VideoMix(1.5)):
        with pytest.raises(ValueError):
            build()


def test_the_names_of_existing_files_are_known():
    assert TRANSFORMS.build({"name": "VideoMix", "cutmix_prob": 0.5, "mixup_alpha": 0.2, "cutmix_alpha": 1.0}, "MIX")
    assert TRANSFORMS.build({"name": "Mixup", "alpha": 0.2}, "MIX")
