"""Place and time embeddings for another picture size or number of frames."""

from __future__ import annotations

import math

import numpy as np

from paddlevideo.errors import UserError


def resize_places(embedding: np.ndarray, length: int) -> np.ndarray:
    """[1, 1 + g * g, D] -> [1, length, D]: the class token's place stays, the square grid is resized bilinearly.

    Corners map to corners, as ``scipy.ndimage.zoom(order=1)`` does in PaddleVideo.

    Raises:
        UserError: one of the two grids is not square.
    """
    old, new = math.isqrt(embedding.shape[1] - 1), math.isqrt(length - 1)
    if old**2 != embedding.shape[1] - 1 or new**2 != length - 1:
        raise UserError(
            f"pos_embed: cannot resize {embedding.shape[1] - 1} places to {length - 1}: one is no square grid"
        )
    grid = embedding[0, 1:].reshape(old, old, -1).astype("float64")
    weights = _linear_weights(old, new)
    grid = np.einsum("ai,bj,ijd->abd", weights, weights, grid).reshape(1, new * new, -1)
    return np.concatenate([embedding[:, :1], grid.astype(embedding.dtype)], axis=1)


def resize_times(embedding: np.ndarray, length: int) -> np.ndarray:
    """[1, T, D] -> [1, length, D], nearest: frame i takes the embedding at ``i * T // length``."""
    return embedding[:, np.arange(length) * embedding.shape[1] // length]


def _linear_weights(old: int, new: int) -> np.ndarray:
    """[new, old] rows of linear interpolation, ends on ends."""
    place = np.linspace(0.0, old - 1.0, new)
    return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(old)[None]))
