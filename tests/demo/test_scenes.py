"""The demo's long videos: what a scene shows, and that spans found by a model that is always right are the scenes."""

import numpy as np
import pytest

from demo import motion, scenes
from demo.run_long import boundary_table
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.timeline import TimelineSettings
from paddlevideo.inference.video_timeline import VideoTimeline
from paddlevideo.loader.decode import open_video
from paddlevideo.metrics.spans import score_spans
from paddlevideo.spans import Span, SpanTable

NO_DIGITS = np.zeros((0, 8, 8), np.float32)
GREYS = {"archery": 20, "bowling": 75, "crying": 130, "drumming": 185, "eating cake": 240}


@pytest.mark.parametrize("label", motion.LABELS)
def test_every_part_of_a_scene_shows_its_motion(label):
    axis, sign = {
        "left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1),
        "approach": (2, 1), "recede": (2, -1), "clockwise": (3, 1), "anticlockwise": (3, -1),
    }[label]  # fmt: skip
    drawn = scenes.Motion.draw(label, np.random.default_rng(1), 96, 80)
    poses = np.array([drawn.pose(age_s)[0] for age_s in np.arange(0, min(drawn.life_s, 12.0), 0.1)])
    steps = np.diff(poses, axis=0)
    steps[:, 3] = (steps[:, 3] + np.pi) % (2 * np.pi) - np.pi
    moved = np.abs(steps).max(axis=0) > 1e-6
    assert moved.tolist() == [k == axis for k in range(4)] and (steps[:, axis] * sign > 0).all()
    frames = np.stack([*scenes.scene_frames(label, 60, 10, np.random.default_rng(4), (96, 80), NO_DIGITS)])
    assert np.abs(frames[1:].astype(int) - frames[:-1]).max(axis=(1, 2, 3)).min() > 20  # never at rest


def test_the_spans_of_a_video_are_its_scenes(tmp_path):
    plan = [("left", 1.0), ("clockwise", 1.4), ("up", 0.6)]
    table = scenes.render_scenes(tmp_path / "v" / "a.mp4", plan, [0], 10, NO_DIGITS)
    assert [(s.start_s, s.end_s, s.label) for s in table.spans] == [
        (0, 1, "left"), (1, 2.4, "clockwise"), (2.4, 3, "up")
    ]  # fmt: skip
    assert table.videos == {"v/a.mp4": {"duration_s": 3.0, "fps": 10}}
    with open_video(tmp_path / "v" / "a.mp4") as reader:
        frames = reader.get(range(len(reader)))
        assert len(frames) == 30
    change = np.abs(frames[1:].astype(int) - frames[:-1]).mean(axis=(1, 2, 3))
    assert {*np.argsort(change)[-2:].tolist()} == {9, 23}  # the cuts
    assert sum(seconds for _, seconds in scenes.LONG) == 720
    drawn = scenes.short_scenes(np.random.default_rng(0))
    assert sorted(label for label, _ in drawn) == sorted(2 * motion.LABELS)


@pytest.mark.parametrize("smoothing", ["median", "none"])
def test_boundaries_are_within_a_hop_of_a_model_that_sees_what_a_window_holds(tiny, tmp_path, monkeypatch, smoothing):
    """40 s of 5 scenes; the oracle's score of a class is its share of the window's frames."""
    plan = [("archery", 9.3), ("crying", 6.1), ("bowling", 10.4), ("eating cake", 5.9), ("drumming", 8.3)]
    edges = np.round(np.cumsum([0, *(seconds for _, seconds in plan)]) * 10).astype(int)
    grey = [GREYS[label] for (label, _), first, end in zip(plan, edges, edges[1:]) for _ in range(end - first)]
    scenes.write_video(tmp_path / "a.mp4", (np.full((36, 36, 3), value, np.uint8) for value in grey), 10)
    predictor = Predictor.from_export(tiny.folder, say=lambda line: None)

    def oracle(imgs):
        levels = imgs.astype(float).mean(axis=(1, 3, 4, 5))  # [N, T]
        nearest = np.abs(levels[..., None] - [*GREYS.values()]).argmin(axis=-1)
        return np.stack([(nearest == k).mean(axis=1) for k in range(len(GREYS))], axis=1)

    monkeypatch.setattr(predictor, "scores", oracle)
    assert predictor.names == [*GREYS]
    timeline = VideoTimeline(predictor, str(tmp_path / "a.mp4"), TimelineSettings(2.0, smoothing=smoothing))
    list(timeline.run())
    truth = [Span(a / 10, b / 10, label) for (label, _), a, b in zip(plan, edges.tolist(), edges.tolist()[1:])]
    table, largest_s = boundary_table(truth, timeline.spans)
    assert [span.label for span in timeline.spans] == [label for label, _ in plan]
    assert largest_s <= timeline.settings.hop_s, table
    figures = score_spans(timeline.table(), SpanTable(truth)).figures
    assert figures["f1@50"] == figures["edit"] == 1 and figures["frame_accuracy"] > 0.95


def test_the_table_of_boundaries_names_a_scene_that_was_not_found():
    truth = [Span(0, 10, "left"), Span(10, 20, "up")]
    text, largest_s = boundary_table(truth, [Span(0.25, 9.5, "left", 0.9), Span(12, 13, "left", 0.9)])
    assert "| left | 0.000 - 10.000 | 0.250 - 9.500 | +0.250, -0.500 |" in text and "not found" in text
    assert largest_s == np.inf
