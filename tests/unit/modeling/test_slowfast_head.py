"""PaddleVideo's SlowFastHead: windows, places, and the loss of a validation."""

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling.heads.pooling_heads import SlowFastHead

SIZES = {"width_per_group": 2, "alpha": 4, "beta": 2, "num_frames": 8, "crop_size": 64}  # 64 and 32 channels


def features(side):
    rng = np.random.default_rng(2)
    shapes = ((3, 64, 2, side, side), (3, 32, 8, side, side))
    return tuple(paddle.to_tensor(rng.standard_normal(shape).astype("float32")) for shape in shapes)


def head(**changes):
    paddle.seed(3)
    made = SlowFastHead(5, std=1.0, **SIZES | changes)
    made.eval()
    return made


def of_places(made, side):
    """Logits of every place [N, places, K], window by window."""
    slow, fast = features(side)
    corners = [(y, x) for y in range(side - 1) for x in range(side - 1)]
    cut = [[p[:, :, :, y : y + 2, x : x + 2].mean([2, 3, 4]) for p in (slow, fast)] for y, x in corners]
    return paddle.stack([made.projection(paddle.concat(parts, 1)) for parts in cut], 1)


def test_a_clip_of_the_training_s_size_has_one_place():
    np.testing.assert_allclose(head()(features(2)).numpy(), of_places(head(), 2)[:, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "BCELoss"])
def test_scores_of_a_larger_clip_are_the_mean_over_its_places(loss):
    made = head(loss_cfg={"name": loss})
    expected = made.scores(of_places(made, 3)).mean(1)
    np.testing.assert_allclose(made.scores(made(features(3))).numpy(), expected.numpy(), atol=1e-6)


def test_the_loss_in_evaluation_is_the_cross_entropy():
    """The reference logs the cross entropy of probabilities taken for logits."""
    made, labels = head(), paddle.to_tensor([0, 4, 2])
    probabilities = made.scores(of_places(made, 3)).mean(1).numpy()
    expected = -np.log(probabilities[np.arange(3), labels.numpy()]).mean()
    assert float(made.loss(made(features(3)), labels)) == pytest.approx(expected, rel=1e-5)


def test_multigrid_clips_are_averaged_whole():
    made, (slow, fast) = head(multigrid_short=True), features(1)
    expected = made.projection(paddle.concat([slow.mean([2, 3, 4]), fast.mean([2, 3, 4])], 1))
    np.testing.assert_allclose(made((slow, fast)).numpy(), expected.numpy(), atol=1e-5)


def test_a_clip_without_a_window_is_an_error():
    with pytest.raises(UserError, match=r"windows of \[2, 2, 2\].*gives \[2, 1, 1\].*multigrid_short"):
        head()(features(1))


@pytest.mark.parametrize("arguments", [{}, {"alpha": 4, "beta": 2}, {"in_channels": 96, **SIZES}])
def test_one_of_the_two_forms_is_given_whole(arguments):
    with pytest.raises(ValueError, match="give in_channels .* or all of width_per_group"):
        SlowFastHead(5, **arguments)


def test_dropout_has_two_names():
    assert head(dropout_rate=0.3).dropout.p == head(drop_ratio=0.3).dropout.p == 0.3 and head().dropout.p == 0.5
    with pytest.raises(ValueError, match="two names"):
        head(dropout_rate=0.3, drop_ratio=0.3)
