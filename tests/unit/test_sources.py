"""Recordings by the names of their clips, and splits that leave each of them on one side."""

import re
from collections import Counter

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.sources import Clip, folds_of, joined, sources_of, split_by_source


def clips(*names, label=0):
    return [Clip(name, label) for name in names]


@pytest.mark.parametrize(
    "names, sources",
    [
        ([f"person{p:02}_walk_d{k}.avi" for p in (1, 2, 3) for k in (1, 2)], ["person01", "person02", "person03"]),
        ([f"v_Archery_g{g:02}_c0{k}.avi" for g in (1, 2, 3) for k in (1, 2)], ["g01", "g02", "g03"]),
        ([f"{v}_0000{k}0_0000{k}9.mp4" for v in ("xa", "yb", "zc") for k in (1, 2)], ["xa", "yb", "zc"]),
        ([f"{v} part {k}.mp4" for v in ("red", "blue", "wet") for k in (1, 2)], ["blue", "red", "wet"]),
        ([f"day {d}/clip{k}.mp4" for d in (1, 2, 3) for k in (1, 2)], ["day 1", "day 2", "day 3"]),
    ],
)
def test_names_that_show_their_recording(names, sources):
    found = sources_of(clips(*names))
    assert sorted(set(found.names)) == sources and found.rule


@pytest.mark.parametrize("names", [["a.mp4", "b.mp4", "c.mp4"], ["clip1.mp4", "clip2.mp4", "clip3.mp4"]])
def test_names_that_show_nothing(names):
    found = sources_of(clips(*names))
    assert len(set(found.names)) == 3 and not found.rule


def test_two_prefixes_are_no_hint():
    """One of them would be all of a set."""
    found = sources_of(clips(*[f"{p}_{i}.mp4" for p in ("IMG", "VID") for i in range(4)]))
    assert len(set(found.names)) == 8


def test_numbers_alone_part_a_class_into_runs():
    names = [f"clip{i}.mp4" for i in range(40)]
    found = sources_of(clips(*names))
    assert "runs" in found.rule and Counter(found.names).most_common() == [(f"0/run {k}", 4) for k in range(10)]
    assert found.names[8:12] == ("0/run 2",) * 4


def test_a_pattern_and_a_file_of_sources(tmp_path):
    four = clips("x/a1-7.mp4", "x/a2-7.mp4", "x/b1-8.mp4", "x/c.mp4")
    assert sources_of(four, r"-(\d)").names == ("7", "7", "8", "0/x/c.mp4")
    file = tmp_path / "groups.txt"
    file.write_text('a1-7.mp4 one\nx/a2-7.mp4 one\nb1-8.mp4,two\n"c.mp4" three\n')
    assert sources_of(four, str(file)).names == ("one", "one", "two", "three")
    assert len(set(sources_of(four, "none").names)) == 4


@pytest.mark.parametrize(
    "pattern, words", [("(", "neither a file nor a regular"), ("zzz", "matches none of the names")]
)
def test_a_pattern_that_is_of_no_use(pattern, words):
    with pytest.raises(UserError, match=words):
        sources_of(clips("a.mp4"), pattern)


def test_names_without_a_match_are_counted():
    found = sources_of(clips("g01_a.mp4", "g01_b.mp4", "c.mp4"), r"g\d+")
    assert found.rule == "by --source; 1 of 3 names have no match, each is one by itself"


@pytest.mark.parametrize(
    ("line", "words"),
    [("a.mp4 r2", ":2: a.mp4 is of source r1 above, here of r2"), ("b.mp4", ":2: expected 'name source', got 'b.mp4'")],
)
def test_lines_of_a_file_of_sources_that_cannot_be_right(line, words, tmp_path):
    (tmp_path / "sources.txt").write_text(f"a.mp4 r1\n{line}\n")
    with pytest.raises(UserError, match=re.escape(words)):
        sources_of(clips("a.mp4"), str(tmp_path / "sources.txt"))


def test_a_file_that_lacks_a_clip(tmp_path):
    (tmp_path / "groups.txt").write_text("a.mp4 one\n")
    with pytest.raises(UserError, match="has no line for b.mp4"):
        sources_of(clips("a.mp4", "b.mp4"), str(tmp_path / "groups.txt"))


def test_equal_clips_share_their_source():
    assert joined(["a", "b", "c", "d"], [[1, 3], [3, 2]]) == ("a", "b", "b", "b")


@pytest.mark.parametrize("seed", range(5))
def test_a_split_keeps_sources_whole_and_classes_alike(seed):
    labels = [k for k in (0, 1, 2) for _ in range(40)]
    sources = [f"{(i * 7) % 23}" for i in range(120)]
    val = split_by_source(labels, sources, 0.2, seed)
    assert not {sources[i] for i in val} & {sources[i] for i in range(120) if i not in val}
    counts = Counter(labels[i] for i in val)
    assert all(3 <= counts[k] <= 10 for k in (0, 1, 2))
    assert val == split_by_source(labels, sources, 0.2, seed)


def test_the_seed_decides_on_the_split_and_a_new_clip_moves_few():
    labels, sources = [0, 1] * 50, [str(i) for i in range(100)]
    first = split_by_source(labels, sources, 0.2, 0)
    assert len(first) == 20 and first != split_by_source(labels, sources, 0.2, 1)
    more = split_by_source([*labels, 0], [*sources, "new"], 0.2, 0)
    assert len(first ^ more) <= 2


def test_a_class_never_loses_its_last_source():
    labels, sources = [0, 0, 1, 1, 2], ["a", "a", "b", "c", "d"]
    val = split_by_source(labels, sources, 0.2, 0)
    assert {labels[i] for i in val} == {1} and len(val) == 1
    assert split_by_source([0, 1], ["a", "b"], 0.2, 0) == set()


def test_a_source_of_large_parts_is_taken_where_nothing_else_is():
    labels, sources = [0] * 6 + [1] * 6, ["a"] * 3 + ["b"] * 3 + ["c"] * 3 + ["d"] * 3
    val = split_by_source(labels, sources, 0.2, 0)
    assert Counter(labels[i] for i in val) == {0: 3, 1: 3}


def test_folds_keep_sources_whole_and_classes_even():
    rng = np.random.default_rng(0)
    groups = [f"s{g}" for g in rng.integers(0, 40, 400)]
    labels = rng.integers(0, 3, 400)
    fold = folds_of(groups, labels, 5)
    assert all(len({f for f, own in zip(fold, groups) if own == name}) == 1 for name in set(groups))
    counts = np.array([np.bincount(labels[fold == number], minlength=3) for number in range(5)])
    assert (counts > 15).all() and np.ptp(counts.sum(1)) < 20
    assert (folds_of(groups, labels, 5) == fold).all()


def test_more_folds_than_sources_are_refused():
    with pytest.raises(UserError, match="3 folds of 2 sources"):
        folds_of(["a", "a", "b"], np.array([0, 1, 1]), 3)
