"""Confusion matrices: orientation, the table of classes."""

import numpy as np
import pytest

from paddlevideo.metrics.confusion import confusion_matrix, format_table, per_class_table


def test_rows_are_labels():
    assert confusion_matrix(np.array([1, 1, 0]), np.array([0, 0, 0]), 2).tolist() == [[1, 2], [0, 0]]


def test_no_prediction_is_in_no_column():
    scores = np.array([[np.nan, 0.0], [0.0, 1.0]])
    assert confusion_matrix(scores, np.array([0, 1]), 2).tolist() == [[0, 0], [0, 1]]


def test_classes_out_of_range():
    with pytest.raises(ValueError, match="classes from 0 to 1"):
        confusion_matrix(np.array([2]), np.array([0]), 2)


def test_table():
    rows = per_class_table(np.array([[1, 2, 1], [0, 4, 0], [0, 0, 0]]), ["left", "right", "up"])
    assert rows[0] == {
        "class": 0, "name": "left", "num_samples": 4, "num_predicted": 1, "num_right": 1, "accuracy": 0.25,
        "precision": 1.0, "most_taken_for": 1,
    }  # fmt: skip
    assert (
        rows[1]["precision"] == pytest.approx(4 / 6)
        and rows[1]["most_taken_for"] is None
        and rows[2]["accuracy"] is None
    )
    lines = format_table(rows).splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["left", "right", "up"]
    assert lines[1].split() == ["0", "left", "4", "1", "0.2500", "1.0000", "right"]
