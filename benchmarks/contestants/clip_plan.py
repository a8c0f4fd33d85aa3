"""What every contestant of the file-to-clip table draws: frames and crops of TSM's training and test, 8 x 224 x 224."""

import numpy as np

SEGMENTS, SIDE, SHORT = 8, 224, 256


def frames(rng, count, train):
    """One frame of each of 8 equal parts: a random one in training, the middle one in testing."""
    part = count // SEGMENTS if train else count / SEGMENTS
    if train:
        return [int(k * part + rng.integers(part)) for k in range(SEGMENTS)]
    return [int(part / 2 + part * k) for k in range(SEGMENTS)]


def multi_scale_crop(rng, height, width):
    """Top, left, height and width of a crop whose sides are 1, 7/8, 3/4 or 2/3 of the short side."""
    sides = [int(min(height, width) * scale) for scale in (1, 0.875, 0.75, 0.66)]
    at = int(rng.integers(len(sides)))
    near = min(max(at + int(rng.integers(-1, 2)), 0), len(sides) - 1)
    h, w = sides[at], sides[near]
    return (height - h) * int(rng.integers(5)) // 4, (width - w) * int(rng.integers(5)) // 4, h, w


def short_side(height, width):
    """The size with a short side of 256."""
    if height < width:
        return SHORT, int(width * SHORT / height)
    return int(height * SHORT / width), SHORT


def repeated(clip, clips):
    """What each round calls: ``clips`` clips, the same ones in every round and for every contestant."""

    def call():
        shapes = {tuple(clip(np.random.default_rng(number)).shape) for number in range(clips)}
        return sorted(map(list, shapes))

    return call
