"""Scores of windows to spans: one rule for a whole video and for a stream."""

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference.timeline import PersonTimelines, Timeline, TimelineSettings, spans_of
from paddlevideo.spans import Span

CLASSES = ("nothing", "run", "walk")
PLAIN = TimelineSettings(2.0, hop_s=1.0, smoothing="none", min_s=0, gap_s=0, exclusive=False)


def windows(count, hop_s=1.0, window_s=2.0, first_s=0.0):
    starts = first_s + hop_s * np.arange(count)
    return np.stack([starts, starts + window_s], axis=1)


def defined(scores, times, settings, classes, end_s=None):
    """The spans by the definition on the page of the module, from all windows at once."""
    centres = times.mean(axis=1)
    stall = max(settings.window_s, 1.5 * settings.hop_s) + 1e-6
    pieces = np.split(np.arange(len(scores)), np.flatnonzero(np.diff(centres) > stall) + 1)
    cells = []  # (start, end, scores, piece)
    for number, piece in enumerate(p for p in pieces if len(p)):
        for i in piece:
            if settings.smoothing == "median" and settings.smooth_s:
                near = [j for j in piece if abs(centres[j] - centres[i]) <= settings.smooth_s / 2 + 1e-6]
                row = np.median(scores[near], axis=0)
            elif settings.smoothing == "exponential" and settings.smooth_s and i > piece[0]:
                share = 1 - np.exp(-(centres[i] - centres[i - 1]) / settings.smooth_s)
                row = cells[-1][2] + share * (scores[i] - cells[-1][2])
            else:
                row = scores[i]
            start = (
                max(times[i, 0], cells[-1][1] if cells else 0) if i == piece[0] else (centres[i - 1] + centres[i]) / 2
            )
            last = end_s if end_s is not None and i == len(scores) - 1 else times[i, 1]
            end = max(last, start) if i == piece[-1] else (centres[i] + centres[i + 1]) / 2
            cells.append((start, end, row, number))
    background = classes.index(settings.background) if settings.background else None
    on = np.zeros((len(cells), len(classes)), bool)
    for i, (_, _, row, piece) in enumerate(cells):
        before = on[i - 1] if i and cells[i - 1][3] == piece else np.zeros(len(classes), bool)
        if not settings.exclusive:
            on[i] = (row >= settings.on) | (before & (row >= settings.off))
            continue
        held = [k for k in np.flatnonzero(before) if row[k] >= settings.off]
        best = int(row.argmax())
        if row[best] >= settings.on and (not held or row[best] > row[held[0]]):
            on[i, best] = True
        elif held:
            on[i, held[0]] = True
    spans = []
    for k, name in enumerate(classes):
        if k == background:
            continue
        runs = []  # first and last cell of each part
        for i in np.flatnonzero(on[:, k]):
            if runs and runs[-1][-1][1] == i - 1 and cells[i][3] == cells[i - 1][3]:
                runs[-1][-1][1] = i
                continue
            if runs:
                previous = runs[-1][-1][1]
                near = cells[i][0] - cells[previous][1] <= settings.gap_s + 1e-6
                others = np.delete(on[previous + 1 : i], [k] if background is None else [k, background], axis=1)
                if near and not (settings.exclusive and others.any()):
                    runs[-1].append([i, i])
                    continue
            runs.append([[i, i]])
        for parts in runs:
            members = [cells[i] for first, last in parts for i in range(first, last + 1)]
            start, end = members[0][0], members[-1][1]
            if end - start >= max(settings.min_s, 0.001) - 1e-6:
                weights = np.array([c[1] - c[0] for c in members])
                spans.append(
                    (round(start, 3), round(end, 3), name, weights @ [c[2][k] for c in members] / weights.sum())
                )
    return sorted(spans)


def random_case(seed):
    rng = np.random.default_rng(seed)
    hop, window = rng.choice([0.25, 0.5, 1.0, 3.0]), rng.choice([0.5, 1.0, 2.0])
    count = int(rng.integers(1, 60))
    starts = np.cumsum(hop * rng.choice([1, 1, 1, 1, 1, 2, 7], count) + rng.uniform(0, hop / 4, count) * (seed % 2))
    times = np.stack([starts, starts + window], axis=1)
    scores = rng.random((count, 3)) ** 0.5 if seed % 3 else rng.dirichlet([0.3] * 3, count)
    if seed % 5 == 0:  # scores that last
        scores = np.repeat(scores, 4, axis=0)[:count]
    settings = TimelineSettings(
        float(window),
        hop_s=float(hop),
        smoothing=str(rng.choice(["median", "exponential", "none"])),
        smooth_s=float(rng.choice([0, 1, 2.5])),
        on=float(rng.choice([0.5, 0.6, 0.8])),
        off=float(rng.choice([0.3, 0.4, 0.5])),
        min_s=float(rng.choice([0, 1, 2])),
        gap_s=float(rng.choice([0, 1, 2.5])),
        exclusive=bool(rng.integers(2)),
        background=str(rng.choice(["nothing", ""])) or None,
    )
    end = float(times[-1, 1] + rng.choice([-0.2, 0.3])) if seed % 4 == 0 else None
    return scores, times, settings, end


def test_a_stream_gives_what_the_definition_gives():
    total = 0
    for seed in range(400):
        scores, times, settings, end = random_case(seed)
        expected = defined(scores, times, settings, CLASSES, end)
        found = spans_of(scores, times, settings, CLASSES, end_s=end)
        plain = sorted((s.start_s, s.end_s, s.label, s.score) for s in found)
        assert [s[2] for s in plain] == [s[2] for s in expected], seed
        np.testing.assert_allclose([s[:2] for s in plain], [s[:2] for s in expected], atol=0.0011)
        np.testing.assert_allclose([s[3] for s in plain], [s[3] for s in expected], atol=2e-6)
        timeline = Timeline(settings, CLASSES)  # a stream, window by window
        given = [s for row, (a, b) in zip(scores, times) for s in timeline.push(row, a, b)]
        assert sorted(given + timeline.finish(end), key=Span.order) == found
        total += len(found)
    assert total > 1000


def test_spans_come_as_soon_as_they_are_complete():
    timeline = Timeline(PLAIN, ("run",))
    given = [
        timeline.push([score], start, start + 2) for (start, _), score in zip(windows(6), [0, 0.6, 0.5, 0.3, 0, 0])
    ]
    # centres 1..6; the third window's time ends at 3.5, in the middle to the fourth centre
    assert given == [[], [], [], [], [Span(1.5, 3.5, "run", 0.55)], []]
    assert timeline.finish() == []


def test_the_first_and_last_windows_reach_to_the_ends_of_the_video():
    assert spans_of(np.ones((4, 1)), windows(4), PLAIN, ["run"]) == [Span(0, 5, "run", 1)]
    assert spans_of(np.ones((4, 1)), windows(4), PLAIN, ["run"], end_s=5.7) == [Span(0, 5.7, "run", 1)]
    assert spans_of(np.ones((1, 1)), windows(1), PLAIN, ["run"], end_s=1.2) == [Span(0, 1.2, "run", 1)]
    assert spans_of(np.ones((0, 1)), windows(0), PLAIN, ["run"]) == []


def test_a_stall_is_time_without_scores():
    times = np.concatenate([windows(3), windows(3, first_s=10)])
    assert spans_of(np.ones((6, 1)), times, PLAIN, ["run"]) == [Span(0, 4, "run", 1), Span(10, 14, "run", 1)]
    bridged = TimelineSettings(2.0, hop_s=1.0, smoothing="none", min_s=0, gap_s=6, exclusive=False)
    assert spans_of(np.ones((6, 1)), times, bridged, ["run"]) == [Span(0, 14, "run", 1)]


def test_a_stall_can_be_stated_where_the_windows_are_near():
    def spans(stalled):
        timeline, given = Timeline(PLAIN, CLASSES), []
        for number, (start_s, end_s) in enumerate([(0, 2), (1, 3), (3.5, 4), (3.5, 4.5)]):
            given += timeline.stall() if stalled and number == 2 else []
            given += timeline.push([0, 0.9, 0], start_s, end_s)
        return [(span.start_s, span.end_s) for span in given + timeline.finish()]

    assert spans(stalled=True) == [(0, 3), (3.5, 4.5)]
    assert spans(stalled=False) == [(0, 4.5)]


def test_a_span_is_as_long_as_its_rounded_times():
    settings = TimelineSettings(0.001, hop_s=0.001, smoothing="none", min_s=0, gap_s=0, exclusive=False)
    times = windows(3000, 0.001, 0.001, first_s=0.0)
    scores = np.zeros((len(times), 3))
    scores[::2, 1] = 1.0
    shifted = spans_of(scores, times + 0.0005, settings, CLASSES)  # both ends between two milliseconds
    assert shifted and all(span.duration_s > 0.0009 for span in shifted)
    assert len(spans_of(scores, times, settings, CLASSES)) == 1500


def test_exclusive_classes_never_overlap_and_the_background_is_no_span():
    settings = TimelineSettings(2.0, hop_s=1.0, smoothing="none", min_s=0, gap_s=3, background="nothing")
    run, walk, nothing = [0, 1, 0], [0, 0, 1], [1, 0, 0]
    found = spans_of(np.array([run, nothing, run, walk, run]), windows(5), settings, CLASSES)
    assert [(s.start_s, s.end_s, s.label) for s in found] == [(0, 3.5, "run"), (3.5, 4.5, "walk"), (4.5, 6, "run")]
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = spans_of(rng.dirichlet([0.4] * 3, 80), windows(80), settings, CLASSES)
        assert all(a.end_s <= b.start_s for a, b in zip(found, found[1:]))


def test_the_defaults_follow_the_clip_of_the_model():
    settings = TimelineSettings(2.0)
    assert (settings.hop_s, settings.smooth_s, settings.min_s, settings.gap_s) == (0.5, 1.0, 1.0, 1.0)
    assert settings == TimelineSettings(**settings.to_dict())
    for wrong, text in [
        ({"on": 0.3}, "off: expected at most on"),
        ({"hop_s": 0}, "hop_s"),
        ({"on": 2}, "on: expected"),
    ]:
        with pytest.raises(UserError, match=text):
            TimelineSettings(2.0, **wrong)
    with pytest.raises(UserError, match="background: 'nothin' is not among the 3 classes; did you mean 'nothing'"):
        Timeline(TimelineSettings(2.0, background="nothin"), CLASSES)


def test_windows_that_cannot_be():
    timeline = Timeline(PLAIN, CLASSES)
    timeline.push([0, 0, 1], 1, 3)
    for scores, start, end in [
        ([0, 1], 2, 4),
        ([0, 0, np.nan], 2, 4),
        ([0, 0, 2], 2, 4),
        ([0, 0, 1], 1, 3),
        ([0] * 3, 4, 4),
    ]:
        with pytest.raises(ValueError):
            timeline.push(scores, start, end)


@pytest.mark.parametrize("smoothing", ["median", "exponential"])
def test_the_state_does_not_grow(smoothing):
    """Two days of windows, all of one class: the span is open to the end."""
    timeline = Timeline(TimelineSettings(2.0, smoothing=smoothing, exclusive=False), ("run", "walk"))
    for i in range(5000):
        timeline.push([1, i // 10 % 2], i * 0.5, i * 0.5 + 2)
        assert len(timeline._smoother._windows) <= 6
        assert len(timeline._hysteresis._runs) + len(timeline._hysteresis._ended) <= 2
    assert [s for s in timeline.finish() if s.label == "run"] == [Span(0, 2501.5, "run", 1)]


ACTIONS = TimelineSettings(1.0, hop_s=1.0, smoothing="none", min_s=0, gap_s=1.5, exclusive=False)


def test_spans_of_persons():
    rows = [(0, {"1": [0.9, 0]}), (1, {"1": [0.9, 0.7], "2": [0.8, 0]}), (2, {"2": [0.8, 0]}), (3, {"1": [0.6, 0]})]
    timelines = PersonTimelines(ACTIONS, ["run", "wave"], "a.mp4", end_s=3.2)
    found = [span for time_s, scores in rows for span in timelines.push(time_s, scores)] + timelines.finish()
    assert sorted(found, key=Span.order) == [
        Span(0, 3.2, "run", round((0.9 * 1.5 + 0.6 * 0.7) / 2.2, 6), "1", "a.mp4"),
        Span(0.5, 1.5, "wave", 0.7, "1", "a.mp4"),
        Span(0.5, 2.5, "run", 0.8, "2", "a.mp4"),
    ]


def test_a_person_who_is_gone_has_ended_and_is_not_held():
    timelines = PersonTimelines(ACTIONS, ["run"])
    assert timelines.push(0, {"1": [1]}) == []
    given = [timelines.push(time_s, {"2": [0]}) for time_s in range(1, 9)]
    assert sum(given, []) == [Span(0, 0.5, "run", 1, "1")] and len(timelines) == 1
    assert timelines.push(9, {"1": [1]}) == [] and timelines.end("1") == [Span(8.5, 9.5, "run", 1, "1")]


def test_a_person_s_spans_are_those_of_the_person_alone():
    """Whoever else is in the picture, and whenever an absent person is let go."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        settings = TimelineSettings(1.0, hop_s=1.0, smooth_s=float(rng.choice([0, 3])), gap_s=float(rng.choice([0, 4])),
                                    exclusive=False)  # fmt: skip
        there, scores = rng.random((60, 3)) < 0.6, rng.random((60, 3, 2))
        timelines = PersonTimelines(settings, ["a", "b"])
        found = []
        for t in range(60):
            found += timelines.push(t, {str(p): scores[t, p] for p in range(3) if there[t, p]})
        found += timelines.finish()
        for p in range(3):
            alone = Timeline(settings, ["a", "b"], None, str(p))
            spans = [
                s for t in np.flatnonzero(there[:, p]) for s in alone.push(scores[t, p], max(t - 0.5, 0), t + 0.5, t)
            ]
            spans += alone.finish()
            assert sorted(spans, key=Span.order) == sorted([s for s in found if s.person == str(p)], key=Span.order)
