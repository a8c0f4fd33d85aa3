"""The figures of the detection demo's report."""

import numpy as np
import pytest

from demo import run_ava as demo_ava
from paddlevideo.ava_files import AVARows, read_ava_csv, write_ava_csv


def test_shuffling_keeps_boxes_and_scores_but_parts_them(tmp_path):
    rng = np.random.default_rng(0)
    boxes = np.repeat(np.round(rng.uniform(0, 0.4, (40, 4)) + (0, 0, 0.5, 0.5), 3), 3, axis=0)
    label, score = np.tile([1, 2, 3], 40), np.round(rng.uniform(size=120), 3)
    rows = AVARows("", ["v"], np.zeros(120, int), np.repeat(np.arange(40.0), 3), boxes, label, score=score)
    write_ava_csv(tmp_path / "a.csv", rows)
    demo_ava.shuffle_results(tmp_path / "a.csv", tmp_path / "b.csv", 0)
    one, two = (read_ava_csv(tmp_path / name, scored=True) for name in ("a.csv", "b.csv"))
    assert np.array_equal(one.score, two.score) and np.array_equal(one.label, two.label)
    assert np.array_equal(np.unique(one.boxes, axis=0), np.unique(two.boxes, axis=0))
    assert (two.boxes.reshape(40, 3, 4) == two.boxes.reshape(40, 3, 4)[:, :1]).all()  # a person's scores stay together
    assert 30 < (one.boxes != two.boxes).any(axis=1).reshape(40, 3).all(axis=1).sum() <= 40


def test_chance_is_the_share_of_people_without_excluded_key_frames(tmp_path):
    (tmp_path / "labels.pbtxt").write_text("1: walk\n2: wave\n")
    lines = [
        "v,0001,0,0,1,1,1,0",
        "v,0001,0,0,1,1,2,0",
        "v,0001,0,0,0.5,1,1,1",
        "v,0002,0,0,1,1,1,0",
        "v,0003,0,0,1,1,2,0",
    ]
    (tmp_path / "test.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "test_excluded.csv").write_text("v,0003\n")
    assert demo_ava.chance(tmp_path) == {"walk": pytest.approx(1.0), "wave": pytest.approx(1 / 3)}


def test_what_the_evaluation_prints_is_read():
    text = "class name      truth    found      AP\n    1 walk_left     4       12  0.1705\nmAP@0.5IOU: 0.0938552\n"
    assert demo_ava.precisions(text) == ({"walk_left": 0.1705}, 0.0938552)
