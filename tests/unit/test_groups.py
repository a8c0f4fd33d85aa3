"""Groups of clips from lists and paths, and folds that keep them whole."""

from __future__ import annotations

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.groups import folds_of, groups_by_pattern, read_groups


def test_a_line_names_a_video_by_the_end_of_its_path(tmp_path):
    file = tmp_path / "groups.txt"
    file.write_text("a 1.mp4 north\nwave/b.mp4,south\n\n/data/own/run/b.mp4 east\n")
    videos = ["/data/own/walk/a 1.mp4", "/data/own/wave/b.mp4", "/data/own/run/b.mp4"]
    assert read_groups(file, videos) == ["north", "south", "east"]


def test_videos_without_a_line_and_with_two_are_all_named(tmp_path):
    file = tmp_path / "groups.txt"
    file.write_text("a.mp4 1\na.mp4 2\nalone\n")
    with pytest.raises(UserError) as error:
        read_groups(file, ["x/a.mp4", "x/c.mp4"])
    text = str(error.value)
    assert "groups.txt:3" in text and "x/a.mp4 has the groups 1, 2" in text and "x/c.mp4 has no line" in text


def test_a_pattern_takes_the_group_out_of_a_path():
    assert groups_by_pattern(r"_(g\d+)_", ["v_Run_g07_c02.avi", "v_Run_g11_c01.avi"]) == ["g07", "g11"]


@pytest.mark.parametrize(
    "pattern, part", [("(", "no regular"), ("g[0-9]+", "parentheses"), ("_(x)_", "finds no group")]
)
def test_a_pattern_that_gives_no_group_is_refused(pattern, part):
    with pytest.raises(UserError, match=part):
        groups_by_pattern(pattern, ["v_Run_g07_c02.avi"])


def test_folds_keep_groups_whole_and_classes_even():
    rng = np.random.default_rng(0)
    groups = [f"s{g}" for g in rng.integers(0, 40, 400)]
    labels = rng.integers(0, 3, 400)
    fold = folds_of(groups, labels, 5)
    assert all(len({f for f, own in zip(fold, groups) if own == name}) == 1 for name in set(groups))
    counts = np.array([np.bincount(labels[fold == number], minlength=3) for number in range(5)])
    assert (counts > 15).all() and np.ptp(counts.sum(1)) < 20
    assert (folds_of(groups, labels, 5) == fold).all()


def test_more_folds_than_groups_are_refused():
    with pytest.raises(UserError, match="3 folds of 2 groups"):
        folds_of(["a", "a", "b"], np.array([0, 1, 1]), 3)
