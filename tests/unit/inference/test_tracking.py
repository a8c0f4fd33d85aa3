"""Ids of persons: the assignment is optimal; ids survive crossings, gaps, any spacing in time, any order."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tracking import count_links, read_boxes
from paddlevideo.inference.tracking import Track, assign, colours_of, link, tracks_of

WALKERS = Path(__file__).resolve().parents[3] / "../shared/media/walkers.csv"


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


def walkers(times_s, seed, count=6):
    """People 90 pixels high who walk 0.3 to 0.9 heights a second on lanes half a height apart, in both directions.

    Returns:
        Per time boxes [n, 4] in random order, with noise of 2 pixels, and whose they are [n].
    """
    rng = np.random.default_rng(seed)
    speed = rng.uniform(27, 80, count) * rng.choice([-1, 1], count)  # pixels a second
    start, lane = rng.uniform(100, 700, count), 60 + 45 * np.arange(count) + rng.uniform(-8, 8, count)
    boxes, persons = [], []
    for t in times_s:
        x, order = start + speed * t, rng.permutation(count)
        clean = np.stack([x - 18, lane, x + 18, lane + 90], axis=1)
        boxes.append((clean + rng.normal(0, 2, clean.shape))[order])
        persons.append(order)
    return boxes, persons


def broken(ids, persons):
    """Links between consecutive sightings of a person, and how many of them change the id."""
    last, links, bad = {}, 0, 0
    for own, truth in zip(ids, persons):
        for number, person in zip(own.tolist(), truth.tolist()):
            links, bad = links + (person in last), bad + (person in last and last[person] != number)
            last[person] = number
    return links, bad


@pytest.mark.parametrize(
    "step_s, most",
    [(0.04, 0.0), (0.1, 0.0), (0.2, 0.0), (0.4, 0.01), (0.8, 0.03), (1.0, 0.06)],
)
def test_walkers_who_cross_keep_their_ids_at_any_spacing(step_s, most):
    links = bad = 0
    for seed in range(8):
        times = np.arange(0, 10, step_s)
        boxes, persons = walkers(times, seed)
        more, wrong = broken(link(boxes, times), persons)
        links, bad = links + more, bad + wrong
    assert bad <= most * links


@pytest.mark.parametrize("seed", range(3))
def test_a_rate_that_changes_and_missed_boxes_do_not_cost_the_id(seed):
    """5 to 25 frames a second from one frame to the next, and a fifth of all boxes missing."""
    rng = np.random.default_rng([seed, 1])
    times = np.cumsum(rng.choice([0.04, 0.1, 0.2], 80))
    boxes, persons = walkers(times, seed)
    seen = [rng.random(len(b)) < 0.8 for b in boxes]
    ids = link([b[s] for b, s in zip(boxes, seen)], times)
    links, bad = broken(ids, [p[s] for p, s in zip(persons, seen)])
    assert links > 300 and bad <= 0.01 * links


@pytest.mark.skipif(not WALKERS.is_file(), reason="the real boxes of walkers.csv are not on this machine")
@pytest.mark.parametrize("step, most", [(1, 0.01), (2, 0.02), (4, 0.03), (8, 0.07), (10, 0.12)])
def test_real_walkers(step, most):
    boxes = read_boxes(WALKERS)
    got = count_links(boxes, 10.0, link, step, step, range(len(boxes.found)))
    assert got.links > 4900 and got.broken <= most * got.links


@pytest.mark.parametrize("gap, kept", [(1, True), (4, True), (5, False)])
@pytest.mark.parametrize("step_s", [0.2, 0.1])
def test_a_missed_detection_does_not_cost_the_id_for_a_second(gap, kept, step_s):
    missing = range(5, 5 + round(gap * 0.2 / step_s))
    frames = [
        np.array([square(20 + 6 * t * step_s)]) if t not in missing else np.zeros((0, 5))
        for t in range(missing.stop + 9)
    ]
    ids = [int(i[0]) for i in link(frames, step_s * np.arange(len(frames)), max_gap_s=1.01) if len(i)]
    assert ids == ([0] * len(ids) if kept else [0] * 5 + [1] * (len(ids) - 5))


def test_one_missed_key_frame_does_not_cost_the_id_however_far_they_are_apart():
    frames = [np.array([square(20 + t)]) if t != 2 else np.zeros((0, 5)) for t in range(5)]
    assert [i.tolist() for i in link(frames, 3.0 * np.arange(5))] == [[0], [0], [], [0], [0]]
    assert [i.tolist() for i in link(frames, 30.0 * np.arange(5))] == [[0], [1], [], [2], [3]]  # half a minute: a guess


def test_one_who_stops_or_turns_is_not_lost():
    ids = link([np.array([square(x)]) for x in (0, 4, 8, 8, 8, 4, 0)], 0.4 * np.arange(7))
    assert {int(i[0]) for i in ids} == {0}


def test_newcomers_get_new_ids_and_none_gets_one_twice():
    frames = [np.array([square(20)]), np.array([square(300), square(21)]), np.array([square(22), square(300)])]
    assert [i.tolist() for i in link(frames, [0, 0.2, 0.4])] == [[0], [1, 0], [0, 1]]


def test_no_person_at_all():
    no_person = link([np.zeros((0, 5), np.float32)] * 3, [0, 1, 2])
    assert [i.tolist() for i in no_person] == [[], [], []] and link([], []) == []


def test_the_ids_do_not_depend_on_the_unit_of_the_boxes():
    times = np.arange(0, 8, 0.4)
    boxes, _ = walkers(times, 0)
    for a, b in zip(link(boxes, times), link([found / 1080 for found in boxes], times)):
        assert a.tolist() == b.tolist()


def test_a_track_moves_straight_and_ends():
    track = Track(np.array([1.0, 1.2, 1.8, 4.0]), np.array([square(x) for x in (0, 20, 80, 300)]))
    places = [track.at(t, usual_s=0.2) for t in (0.85, 0.95, 1.1, 1.5, 1.85, 2.5, 4.05, 4.2)]
    assert [None if box is None else round((box[0] + box[2]) / 2) for box in places] == [
        None, 0, 10, 50, 80, None, 300, None,
    ]  # fmt: skip


def test_ids_seen_together_have_different_colours():
    """Id 8 comes while id 0 is still there; 12 at once; and a colour is free again when its person is gone."""
    rng = np.random.default_rng(0)
    spans = [(0, 9), *((t, t + 2) for t in range(1, 8)), (8.5, 20), *((30, 40) for _ in range(12)), (60, 61)]
    times = np.arange(0, 62, 0.5)
    ids = [np.array([i for i, (a, b) in enumerate(spans) if a <= t <= b], int) for t in times]
    ids = [rng.permutation(own) for own in ids]
    tracks = tracks_of([np.zeros((len(own), 4)) for own in ids], times, ids)
    colours = colours_of(tracks, 8)
    assert all(len({colours[i] for i in own.tolist()}) == len(own) for own in ids)
    assert [colours[i] for i in range(8)] == list(range(8)) and colours[8] != 0
    assert colours[len(spans) - 1] == (len(spans) - 1) % 8 and max(colours.values()) == 11
