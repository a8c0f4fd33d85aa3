"""PP-TSM's dense test: three crops at middle height, from pictures that are higher and wider than the crop."""

import numpy as np

from paddlevideo.loader.pipelines.cropping import GroupFullResSample


def run(**arguments):
    rows, columns = np.meshgrid(np.arange(25), np.arange(40), indexing="ij")
    imgs = np.stack([rows, columns, np.zeros_like(rows)], -1).astype("uint8")[None, None].repeat(2, 1)
    return GroupFullResSample(16, **arguments)({"imgs": imgs}, np.random.default_rng(0))["imgs"]


def test_left_right_middle():
    """Steps of the grid: (25 - 16) // 4 = 2 and (40 - 16) // 4 = 6."""
    views = run()
    assert views.shape == (3, 2, 16, 16, 3)
    assert [tuple(view[1, 0, 0, :2]) for view in views] == [(4, 0), (4, 24), (4, 12)]


def test_each_crop_is_followed_by_its_mirror_image():
    plain, views = run(), run(flip=True)
    assert views.shape[0] == 6
    np.testing.assert_array_equal(views[0::2], plain)
    np.testing.assert_array_equal(views[1::2], plain[:, :, :, ::-1])
