"""Classifiers on frozen features: known answers, folds by source, draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paddlevideo.errors import DamagedFileError, UserError
from paddlevideo.inference.feature_table import FeatureTable, read_features
from paddlevideo.inference.probing import HEADS, Clips, cross_validate, scores_of, sources_of_table


def table_of(features, labels, names=()):
    count = len(features)
    videos = [f"v{i}.mp4" for i in range(count)]
    return FeatureTable(videos, features.astype(np.float32), labels, np.full((count, 2), np.nan), names)


def clusters(rng, count, dims=6, distance=4.0, classes=3):
    labels = np.arange(count) % classes
    return rng.normal(size=(count, dims)) + distance * np.eye(dims)[labels], labels


@pytest.mark.parametrize("head", HEADS)
def test_every_classifier_separates_clusters(head):
    features, labels = clusters(np.random.default_rng(0), 60)
    figures = cross_validate(table_of(features, labels), [f"g{i // 3}" for i in range(60)], 4, [head], num_seeds=1)
    assert [each.fold for each in figures] == [0, 1, 2, 3] and min(each.value for each in figures) > 0.9
    assert sum(each.num_test for each in figures) == 60


@pytest.mark.parametrize("head", HEADS)
def test_several_labels_have_a_mean_average_precision(head):
    rng = np.random.default_rng(0)
    hot = (rng.random((80, 3)) < 0.4).astype(np.float32)
    features = rng.normal(size=(80, 5)) * 0.5 + hot @ rng.normal(size=(3, 5)) * 3
    figures = cross_validate(table_of(features, hot), [f"g{i}" for i in range(80)], 4, [head])
    assert np.mean([each.value for each in figures]) > 0.8


def test_a_source_is_on_one_side_only():
    """Features that tell the source and nothing else: classified by it wherever a source is on both sides."""
    rng = np.random.default_rng(0)
    source = np.repeat(np.arange(12), 6)
    features, labels = np.eye(12)[source] * 5 + rng.normal(size=(72, 12)) * 0.01, rng.integers(0, 2, 12)[source]
    table = table_of(features, labels)
    by_source = cross_validate(table, [f"s{s}" for s in source], 4, ["knn"])
    by_clip = cross_validate(table, [f"c{i}" for i in range(72)], 4, ["knn"])
    assert np.mean([each.value for each in by_clip]) == 1 and np.mean([each.value for each in by_source]) < 0.8


def test_shots_are_drawn_by_seed_and_fold():
    features, labels = clusters(np.random.default_rng(0), 90, distance=1.0)
    groups = [f"g{i}" for i in range(90)]
    lines = []
    figures = cross_validate(table_of(features, labels, ["a", "b", "c"]), groups, 3, ["knn"], [25, 2], 3, lines.append)
    assert {each.num_train for each in figures if each.shots == 2} == {6}
    assert {each.num_train for each in figures if each.shots == 25} == {60}  # 20 per class are in two folds
    assert lines == ["25 clips per class: all that there are of a, b, c, which have fewer in some folds"]
    again = cross_validate(table_of(features, labels), groups, 3, ["knn"], [2], 3)
    assert again == [each for each in figures if each.shots == 2]
    assert len({each.value for each in again}) > 1


def test_a_class_without_a_training_clip_is_never_found():
    features, labels = clusters(np.random.default_rng(0), 30, classes=2)
    targets = np.eye(3, dtype=np.float32)[labels]
    known = Clips(features.astype(np.float32), targets, np.arange(30).astype(str), False)
    for head in HEADS:
        assert (scores_of(head, known, known.features).argmax(1) < 2).all()


def test_clips_without_labels_and_one_class_are_refused():
    features = np.zeros((4, 2))
    with pytest.raises(UserError, match="1 of 4 clips have no label"):
        cross_validate(table_of(features, np.array([0, 1, -1, 0])), list("abcd"), 2)
    with pytest.raises(UserError, match="labels go up to 1000000000000 in 4 clips"):
        cross_validate(table_of(features, np.array([1, 0, 1, 10**12])), list("abcd"), 2)
    with pytest.raises(UserError, match="one class"):
        cross_validate(table_of(features, np.array([1, 1, 1, 1])), list("abcd"), 2)


def test_a_clip_that_is_listed_twice_leaves_recordings_whole():
    videos = [f"/d/v_g0{i // 4}_c0{i}.avi" for i in range(12)]
    table = FeatureTable(
        [*videos, videos[0]], np.zeros((13, 2), np.float32), np.zeros(13, int), np.full((13, 2), np.nan)
    )
    assert len(set(sources_of_table(table, None).names)) == 3
    parts = replace(table, spans_s=np.zeros((13, 2)))
    assert sources_of_table(parts, None).rule == "by video"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([0, -2]), "clip 1: expected a class number from 0 on, or -1 for none, got -2"),
        (np.array([0.0, 1.0]), "clip 0: expected a class number"),
        (np.array([[0, 1], [np.nan, 1]]), "clip 1: expected labels of 0 or 1"),
        (np.array([[0, 1], [0.5, 1]]), "clip 1: expected labels of 0 or 1"),
    ],
)
def test_labels_of_a_file_that_are_none_are_refused(labels, words, tmp_path):
    FeatureTable(["a", "b"], np.zeros((2, 2), np.float32), labels, np.full((2, 2), np.nan)).write(tmp_path / "f.npz")
    with pytest.raises(DamagedFileError, match=words):
        read_features(tmp_path / "f.npz")


def test_sources_come_from_names_videos_or_a_file(tmp_path):
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    videos = [f"/data/{'wave' if k else 'run'}/p{i}/a.mp4" for k in range(2) for i in range(4)]
    table = FeatureTable(videos, np.zeros((8, 2), np.float32), labels, np.full((8, 2), np.nan))
    assert sources_of_table(table, None).names == ("p0", "p1", "p2", "p3") * 2
    (tmp_path / "sources.txt").write_text("".join(f"{video} {i % 2}\n" for i, video in enumerate(videos)))
    assert sources_of_table(table, str(tmp_path / "sources.txt")).names == ("0", "1") * 4
    spans = FeatureTable(videos[:4] * 2, table.features, labels, np.zeros((8, 2)))
    assert sources_of_table(spans, None).names == tuple(videos[:4] * 2)
