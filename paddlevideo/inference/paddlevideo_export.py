"""Exports of PaddleVideo itself: their layouts of clips, and their scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.errors import UserError


def to_foreign_layout(
    imgs: np.ndarray, shape: Sequence[int], normalization: tuple[Sequence[float], Sequence[float]] | None
) -> np.ndarray:
    """A batch in the layout of a PaddleVideo export.

    2D recognisers take ``[N, V*T, 3, H, W]``, TimeSformer and other 3D ones ``[N, 3, V*T, H, W]``: there the views
    follow one another on the time axis and the model averages them.

    Args:
        imgs: [N, V, T, H, W, 3], as the pipeline gives them.
        shape: the program's input, five axes.
        normalization: (mean, std) on the 0..1 scale, which the pipeline leaves to the network; None: it leaves nothing.

    Returns:
        float32, normalised, five axes.

    Raises:
        UserError: the program's input is neither of the two.
    """
    n, v, t, h, w, c = imgs.shape
    imgs = imgs.astype(np.float32)
    if normalization is not None:
        mean, std = (np.asarray(values, np.float32) for values in normalization)
        imgs = (imgs / np.float32(255.0) - mean) / std
    frames = imgs.reshape(n, v * t, h, w, c)
    if len(shape) == 5 and shape[1] == 3:
        return np.ascontiguousarray(frames.transpose(0, 4, 1, 2, 3))  # [N, 3, V*T, H, W]
    if len(shape) == 5 and shape[2] == 3:
        return np.ascontiguousarray(frames.transpose(0, 1, 4, 2, 3))  # [N, V*T, 3, H, W]
    raise UserError(
        f"the model's input is {list(shape)}, expected [N, V, T, H, W, 3] (this suite), [N, T, 3, H, W] or "
        "[N, 3, T, H, W] (PaddleVideo's 2D and 3D recognisers); export it again with paddlevideo export"
    )


def to_probabilities(scores: np.ndarray) -> np.ndarray:
    """Probabilities of what an undescribed export gives, float32 [N, K]; rows that are probabilities stay as they are.

    *Source*: PaddleVideo softmaxes every output, so that a model with ``avg_type: prob`` is softmaxed twice and a sure
    answer among 400 classes prints as 0.0068.
    """
    if np.all(scores >= 0) and np.allclose(scores.sum(axis=-1), 1.0, atol=1e-3):
        return scores
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
