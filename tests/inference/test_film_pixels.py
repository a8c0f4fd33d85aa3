"""A film shows what players show: pixels that are not square are stretched, and boxes with them."""

from types import SimpleNamespace

import numpy as np

from paddlevideo.drawing import Marked
from paddlevideo.inference import ava_film
from paddlevideo.inference.ava_clips import open_forward
from tests.clips import numbered_frames, set_display_matrix, write_clip


def test_a_film_has_square_pixels(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", numbered_frames(4), pixel_aspect=2)
    drawn = []
    monkeypatch.setattr(ava_film, "mark", lambda frame, people: drawn.append(people[0].box_px.tolist()) or frame)
    box = np.array([8.0, 8.0, 16.0, 24.0])
    monkeypatch.setattr(ava_film, "marked_people", lambda *_: [Marked(0, box, [])])
    (frame, *_) = ava_film.drawn_frames(SimpleNamespace(tracks={}), open_forward(path), [0], 0.5, 1)
    assert frame.shape == (48, 128, 3) and drawn[0] == [16.0, 8.0, 32.0, 24.0]
    set_display_matrix(path, (0, 1, -1, 0))  # a quarter turn: wide pixels become high ones
    (frame, *_) = ava_film.drawn_frames(SimpleNamespace(tracks={}), open_forward(path), [0], 0.5, 1)
    assert frame.shape == (64, 24, 3)
