"""Assignment and drawing of boxes: by hand, and at the edges of what they may be given."""

import numpy as np
import pytest

from paddlevideo.modeling.box_assignment import MaxIoUAssignerAVA, RandomSampler

NOTHING = np.zeros((0, 4), "float32")


def arrays(*rows):
    return np.array(rows, "float32")


def test_a_box_stands_for_the_ground_truth_it_overlaps_most():
    truth = arrays([0, 0, 10, 10], [20, 0, 30, 10])
    boxes = arrays([20, 0, 30, 9.5], [0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60])
    assert MaxIoUAssignerAVA().assign(boxes, truth).tolist() == [2, 1, 0, 0]
    between = MaxIoUAssignerAVA(pos_iou_thr=0.9, neg_iou_thr=0.5, min_pos_iou=0.9)
    assert between.assign(boxes, truth).tolist() == [2, 1, -1, 0]


def test_a_ground_truth_claims_its_best_boxes_even_below_the_threshold():
    truth, boxes = arrays([0, 0, 10, 10]), arrays([0, 0, 10, 8], [0, 0, 10, 8], [0, 0, 10, 7])
    low = {"pos_iou_thr": 0.9, "neg_iou_thr": 0.9, "min_pos_iou": 0.5}
    assert MaxIoUAssignerAVA(**low).assign(boxes, truth).tolist() == [1, 1, 0]
    assert MaxIoUAssignerAVA(**low, match_low_quality=False).assign(boxes, truth).tolist() == [0, 0, 0]


def test_without_ground_truth_everything_is_background():
    assert MaxIoUAssignerAVA().assign(arrays([0, 0, 1, 1]), NOTHING).tolist() == [0]
    assert MaxIoUAssignerAVA().assign(NOTHING, arrays([0, 0, 1, 1])).tolist() == []


def labels(count):
    return np.eye(5, dtype="float32")[1 : count + 1]


def test_the_ground_truth_comes_first_and_background_last():
    truth = arrays([0, 0, 10, 10], [20, 0, 30, 10])
    boxes = arrays([50, 50, 60, 60], [20, 0, 30, 10])
    drawn, own = RandomSampler().sample(boxes, np.array([0, 2]), truth, labels(2), np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, np.concatenate([truth, boxes[1:], boxes[:1]]))
    np.testing.assert_array_equal(own, np.concatenate([labels(2), labels(2)[1:], np.zeros((1, 5))]))
    alone, _ = RandomSampler(add_gt_as_proposals=False).sample(boxes, np.array([0, 2]), truth, labels(2), None)
    np.testing.assert_array_equal(alone, boxes[[1, 0]])


def test_more_boxes_than_wanted_are_drawn_by_the_generator_without_repetition():
    boxes = np.arange(400, dtype="float32").reshape(100, 4)
    assigned = np.repeat([1, 0], 50)
    sampler = RandomSampler(num=32, pos_fraction=0.25, neg_pos_ub=2, add_gt_as_proposals=False)

    def draw(seed):
        return sampler.sample(boxes, assigned, boxes[:1], labels(1), np.random.default_rng(seed))

    first, own = draw(0)
    assert len(first) == 8 + 16 and own.sum() == 8 and own[:8, 1].all()
    assert len(np.unique(first, axis=0)) == len(first)
    np.testing.assert_array_equal(first, draw(0)[0])
    assert not np.array_equal(first, draw(1)[0])


def test_arguments_out_of_range_are_named():
    for make, word in (
        (lambda: MaxIoUAssignerAVA(pos_iou_thr=2.0), "pos_iou_thr"),
        (lambda: MaxIoUAssignerAVA(pos_iou_thr=0.5), "neg_iou_thr"),
        (lambda: RandomSampler(num=0), "num"),
        (lambda: RandomSampler(pos_fraction=1.5), "pos_fraction"),
    ):
        with pytest.raises(ValueError, match=word):
            make()
