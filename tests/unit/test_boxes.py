"""Overlap of boxes by hand, at its edges, and in the precision of what it replaced."""

import numpy as np
import pytest

from paddlevideo.boxes import from_corner, iou, paired_iou, to_fractions, to_pixels

A = np.array([[0, 0, 10, 10], [5, 5, 5, 9], [8, 8, 2, 2.0]])
B = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30.0]])
NOTHING = np.zeros((0, 4))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_iou_is_intersection_over_union_and_0_without_area(dtype):
    found = iou(A.astype(dtype), B.astype(dtype))
    np.testing.assert_allclose(found, [[1, 1 / 3, 0], [0, 0, 0], [0, 0, 0]], rtol=1e-6)
    assert found.dtype == "float64" and iou(NOTHING, B).shape == (0, 3) and iou(A, NOTHING).shape == (3, 0)
    assert iou(A, A)[1, 1] == 0


def test_pairs_are_the_diagonal_and_a_score_behind_the_corners_does_not_count():
    scored = np.column_stack([B, [0.1, 0.2, 0.3]])
    assert paired_iou(A, scored).tolist() == np.diag(iou(A, B)).tolist()


def test_a_corner_and_sides_are_two_corners():
    assert from_corner(1, 2, 3, 4) == (1, 2, 4, 6)


def test_fractions_are_multiplied_by_width_and_height_and_a_score_is_not():
    boxes = np.array([[0.1, 0.2, 0.5, 1.0, 0.7]], "float32")
    in_pixels = to_pixels(boxes, 200, 100)
    np.testing.assert_allclose(in_pixels, [[20, 20, 100, 100, 0.7]], rtol=1e-6)
    assert in_pixels.astype("float32").tolist() == (boxes * np.array([200, 100, 200, 100, 1], "float32")).tolist()
    np.testing.assert_array_equal(to_fractions(in_pixels, 200, 100).astype("float32"), boxes)
    assert to_pixels(boxes[0, :4], 200, 100).shape == (4,)
