"""Ids of persons: the assignment is optimal, and ids survive crossings, misses, and any order of the boxes."""

from itertools import permutations

import numpy as np
import pytest

from paddlevideo.inference.tracks import assign, iou, link


def square(x: float, y: float = 50.0, size: float = 20.0) -> list[float]:
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2]


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 5), (5, 2), (5, 5), (6, 4), (0, 3), (3, 0)])
def test_no_other_assignment_costs_less(shape):
    rng = np.random.default_rng(sum(shape))
    for _ in range(20):
        cost = rng.choice([rng.normal(size=shape), rng.integers(-2, 2, shape)])  # ties as well
        pairs = assign(cost)
        few, many = min(shape), max(shape)
        assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs) == few
        wide = cost if shape[0] <= shape[1] else cost.T
        best = min(sum(wide[i, p[i]] for i in range(few)) for p in permutations(range(many), few))
        assert sum(cost[r, c] for r, c in pairs) == pytest.approx(best)


def test_overlap_of_known_boxes():
    a = np.array([[0, 0, 2, 2], [5, 5, 5, 9.0]])
    b = np.array([[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 5, 9.0]])
    np.testing.assert_allclose(iou(a, b), [[1 / 3, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("seed", range(5))
def test_actors_who_cross_keep_their_ids(seed):
    rng = np.random.default_rng(seed)
    frames, wanted = [], []
    for t in range(30):
        actors = np.array([square(20 + 5 * t), square(172 - 5 * t), square(20 + 3 * t, 110)])
        order = rng.permutation(3)
        frames.append((actors + rng.normal(0, 0.4, actors.shape))[order].astype(np.float32))
        wanted.append(order)
    ids = link(frames)
    person_of = dict(zip(ids[0], wanted[0]))
    for got, truth in zip(ids, wanted):
        assert [person_of[i] for i in got] == list(truth)


@pytest.mark.parametrize("gap, kept", [(1, True), (3, True), (4, False)])
def test_a_missed_detection_does_not_cost_the_id_for_a_while(gap, kept):
    frames = [np.array([square(20 + 6 * t)]) if not 5 <= t < 5 + gap else np.zeros((0, 5)) for t in range(14)]
    ids = [int(i[0]) for i in link(frames, max_gap=3) if len(i)]
    assert ids == ([0] * len(ids) if kept else [0] * 5 + [1] * (len(ids) - 5))


def test_uneven_times_count_in_the_movement():
    """Three key frames with twice the distance in time: only who knows the time expects the second step's length."""
    times = [0.0, 1.0, 3.0]
    right, left = [30, 38, 54], [68, 62, 50]
    frames = [np.array([square(r), square(x)]) for r, x in zip(right, left)]
    assert [i.tolist() for i in link(frames, times)] == [[0, 1], [0, 1], [0, 1]]


def test_one_who_stops_or_turns_is_not_lost():
    ids = link([np.array([square(x)]) for x in (0, 8, 16, 16, 16, 8, 0)])
    assert {int(i[0]) for i in ids} == {0}


def test_newcomers_get_new_ids_and_nobody_gets_one_twice():
    frames = [np.array([square(20)]), np.array([square(300), square(21)]), np.array([square(22), square(300)])]
    assert [i.tolist() for i in link(frames)] == [[0], [1, 0], [0, 1]]


def test_nobody_at_all():
    assert [i.tolist() for i in link([np.zeros((0, 5), np.float32)] * 3)] == [[], [], []] and link([]) == []


def test_the_ids_are_the_same_in_pixels_and_in_fractions():
    rng = np.random.default_rng(0)
    frames = [np.array([square(20 + 5 * t), square(150 - 4 * t)])[rng.permutation(2)] for t in range(20)]
    for a, b in zip(link(frames), link([f / [1920, 1080, 1920, 1080] for f in frames])):
        assert a.tolist() == b.tolist()
