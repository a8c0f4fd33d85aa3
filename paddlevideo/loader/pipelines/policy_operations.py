"""The operations that augmentation policies are made of, and how strong a number makes them.

Each is a function ``(clip, value)`` or, where a border shows, ``(clip, value, fill)``, on uint8 [B, H, W, 3], all
frames alike; B stands for views x frames.  Results are rounded to the nearest level and clipped to 0..255.  Statistics
(grey mean, darkest and brightest level, histogram) are those of each frame, as Pillow and torchvision take them.

Below, x is a channel of a pixel, g = 0.299 R + 0.587 G + 0.114 B its grey level, and f the value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

_GREY = np.array([0.299, 0.587, 0.114])
_LEVELS = np.arange(256, dtype=np.float64)
# Pillow's ImageFilter.SMOOTH: the blurred picture that sharpening goes away from
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13


def _levels(table: np.ndarray) -> np.ndarray:
    """Any table of grey levels as uint8, rounded and clipped."""
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)


def tall(clip: np.ndarray) -> np.ndarray:
    """[B, H, W, 3] -> [B * H, W, 3], one tall picture, so that OpenCV is called once."""
    return clip.reshape(-1, *clip.shape[2:])


def _through(clip: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Every channel of every pixel through one table [256] uint8."""
    return cv2.LUT(tall(clip), table).reshape(clip.shape)


def brightness(clip: np.ndarray, factor: float) -> np.ndarray:
    """``f x``: 0 is black, 1 changes nothing."""
    return _through(clip, _levels(factor * _LEVELS))


def contrast(clip: np.ndarray, factor: float) -> np.ndarray:
    """``mean + f (x - mean)`` with the mean grey level of the frame: 0 is even grey, 1 changes nothing."""
    out = np.empty_like(clip)
    for frame, target in zip(clip, out):
        mean = float(_GREY @ cv2.mean(frame)[:3])
        cv2.LUT(frame, _levels(mean + factor * (_LEVELS - mean)), dst=target)
    return out


def saturation(clip: np.ndarray, factor: float) -> np.ndarray:
    """``g + f (x - g)``: 0 is a grey picture, 1 changes nothing."""
    return cv2.transform(tall(clip), factor * np.eye(3) + (1 - factor) * _GREY[None, :]).reshape(clip.shape)


def sharpness(clip: np.ndarray, factor: float) -> np.ndarray:
    """``s + f (x - s)``, s the mean of the 3 x 3 pixels around with weight 5 of 13 in the middle: 0 blurs, 1 changes
    nothing.  The outermost pixels stay as they are."""
    kernel = (1 - factor) * _SMOOTH
    kernel[1, 1] += factor
    out = cv2.filter2D(tall(clip), -1, kernel).reshape(clip.shape)
    # outermost rows are mixed with the frame above or below by now; they get back what they were
    out[:, [0, -1]] = clip[:, [0, -1]]
    out[:, :, [0, -1]] = clip[:, :, [0, -1]]
    return out


def autocontrast(clip: np.ndarray, value: float = 0.0) -> np.ndarray:
    """``255 (x - lo) / (hi - lo)``, lo and hi the darkest and brightest level of the channel in the frame.

    A channel of one level stays.  ``value`` changes nothing.
    """
    out = np.empty_like(clip)
    for frame, target in zip(clip, out):
        tables = np.empty((256, 1, 3), np.uint8)
        for c in range(3):
            low, high, _, _ = cv2.minMaxLoc(cv2.extractChannel(frame, c))
            tables[:, 0, c] = _levels((_LEVELS - low) * 255 / (high - low) if high > low else _LEVELS)
        cv2.LUT(frame, tables, dst=target)
    return out


def _equalizing(counts: np.ndarray) -> np.ndarray:
    """Table [256] that spreads a channel's levels evenly, from int64 [256] numbers of pixels.

    With ``step = (pixels - pixels of the brightest level) // 255``, level k becomes ``(step // 2 + pixels darker than
    k) // step``; nothing changes if step is 0.
    """
    present = np.flatnonzero(counts)
    step = int(counts.sum() - counts[present[-1]]) // 255
    if step == 0:
        return _LEVELS.astype(np.uint8)
    darker = np.cumsum(counts) - counts
    return np.minimum((step // 2 + darker) // step, 255).astype(np.uint8)


def equalize(clip: np.ndarray, value: float = 0.0) -> np.ndarray:
    """Levels of each channel of each frame spread evenly (``_equalizing``).  ``value`` changes nothing.

    *Source*: Pillow's ImageOps.equalize, whose table this is.
    """
    out = np.empty_like(clip)
    for frame, target in zip(clip, out):
        tables = np.empty((256, 1, 3), np.uint8)
        for c in range(3):
            counts = cv2.calcHist([frame], [c], None, [256], [0, 256])
            tables[:, 0, c] = _equalizing(counts.reshape(-1).astype(np.int64))
        cv2.LUT(frame, tables, dst=target)
    return out


def invert(clip: np.ndarray, value: float = 0.0) -> np.ndarray:
    """``255 - x``.  ``value`` changes nothing."""
    return cv2.bitwise_not(tall(clip)).reshape(clip.shape)


def posterize(clip: np.ndarray, bits: float) -> np.ndarray:
    """Keeps the ``bits`` highest of the 8 bits: 8 changes nothing, 0 is black."""
    kept = 256 - (1 << (8 - int(bits)))
    return _through(clip, np.arange(256, dtype=np.uint8) & np.uint8(kept))


def solarize(clip: np.ndarray, threshold: float) -> np.ndarray:
    """``255 - x`` where x >= ``threshold`` (0..255): 256 changes nothing, 0 inverts."""
    return _through(clip, np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS).astype(np.uint8))


def _warp(clip: np.ndarray, matrix: list[list[float]], fill: int) -> np.ndarray:
    """Every frame, bilinearly; ``matrix`` [2, 3] leads from a pixel (x, y, 1) of the result to its place in the frame.

    A border pixel is blended with ``fill``.
    """
    inverse = np.array(matrix, np.float64)
    out = np.empty_like(clip)
    size, flags = (clip.shape[2], clip.shape[1]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for frame, target in zip(clip, out):
        cv2.warpAffine(frame, inverse, size, dst=target, flags=flags, borderValue=(fill, fill, fill))
    return out


def shear_x(clip: np.ndarray, slope: float, fill: int, pivot: float = 0.0) -> np.ndarray:
    """Row y takes its pixels from ``slope`` times its distance to the right; the row at ``pivot`` (0 top, 1/2 middle)
    stays."""
    return _warp(clip, [[1, slope, slope * (0.5 - pivot * clip.shape[1])], [0, 1, 0]], fill)


def shear_y(clip: np.ndarray, slope: float, fill: int, pivot: float = 0.0) -> np.ndarray:
    """``shear_x`` with rows and columns exchanged; the column at ``pivot`` (0 left, 1/2 middle) stays."""
    return _warp(clip, [[1, 0, 0], [slope, 1, slope * (0.5 - pivot * clip.shape[2])]], fill)


def translate_x(clip: np.ndarray, share: float, fill: int) -> np.ndarray:
    """Moves the picture to the left by ``share`` of its width."""
    return _warp(clip, [[1, 0, share * clip.shape[2]], [0, 1, 0]], fill)


def translate_y(clip: np.ndarray, share: float, fill: int) -> np.ndarray:
    """Moves the picture up by ``share`` of its height."""
    return _warp(clip, [[1, 0, 0], [0, 1, share * clip.shape[1]]], fill)


def rotate(clip: np.ndarray, degrees: float, fill: int) -> np.ndarray:
    """Turns counter-clockwise around the middle."""
    height, width = clip.shape[1:3]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    x, y = (width - 1) / 2, (height - 1) / 2
    return _warp(clip, [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]], fill)


def cutout(clip: np.ndarray, box: tuple[float, float, float], fill: int) -> np.ndarray:
    """Paints a square, the same in all frames; ``box`` is its side as a share of the short side, and the row and column
    of its middle as shares of height and width.  What sticks out of the picture is cut."""
    height, width = clip.shape[1:3]
    share, row, column = box
    half = share * min(height, width) / 2
    top, bottom = (round(min(max(row * height + d, 0), height)) for d in (-half, half))
    left, right = (round(min(max(column * width + d, 0), width)) for d in (-half, half))
    out = clip.copy()
    out[:, top:bottom, left:right] = fill
    return out


Value = float | tuple[float, float, float]

LEVEL_OPERATIONS: dict[str, Callable[[np.ndarray, Any], np.ndarray]] = {
    "Brightness": brightness,
    "Contrast": contrast,
    "Saturation": saturation,
    "Sharpness": sharpness,
    "AutoContrast": autocontrast,
    "Equalize": equalize,
    "Invert": invert,
    "Posterize": posterize,
    "Solarize": solarize,
}
PLACE_OPERATIONS: dict[str, Callable[[np.ndarray, Any, int], np.ndarray]] = {
    "ShearX": shear_x,
    "ShearY": shear_y,
    "ShearXCentred": partial(shear_x, pivot=0.5),
    "ShearYCentred": partial(shear_y, pivot=0.5),
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
    "Cutout": cutout,
}


def apply(clip: np.ndarray, name: str, value: Value, fill: int = 128) -> np.ndarray:
    """One operation on all frames.

    Args:
        clip: uint8 [B, H, W, 3], C-contiguous; left as it is.
        name: of ``LEVEL_OPERATIONS`` or ``PLACE_OPERATIONS``.
        value: by the operation's docstring.
        fill: grey level of what comes in from outside the picture, and of a cut-out square.

    Returns:
        a new uint8 [B, H, W, 3].
    """
    if name in PLACE_OPERATIONS:
        return PLACE_OPERATIONS[name](clip, value, fill)
    return LEVEL_OPERATIONS[name](clip, value)
