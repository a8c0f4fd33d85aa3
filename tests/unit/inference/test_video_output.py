"""The output video: labels that can be read and hide nobody, boxes that move, and a file that every player opens."""

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import av
import numpy as np
import pytest

from paddlevideo.drawing import Marked, colour_of, drawable, enlargement, mark
from paddlevideo.errors import UserError
from paddlevideo.inference import video_output
from paddlevideo.inference.key_frames import KeyMoment, open_forward
from paddlevideo.inference.person_actions import DetectionSettings, KeyFrame, Person, VideoActions, names_of
from paddlevideo.inference.tracking import tracks_of
from paddlevideo.inference.video_output import drawn_frames, marked_persons, persons_at, shown_frames, write_csv
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.video_files import write_video
from tests.clips import numbered_frames, set_display_matrix, write_clip

SETTINGS = DetectionSettings([0, 3, 7], ["(reserved)", "walk", "sit"], action_thr=0.3)


def actions(key_frames, seconds=10, fps=10):
    """key_frames: {second: {person: x of a box 0.2 wide}}; a person's scores are 0.9 and 0.4."""
    frames = [
        KeyFrame(
            KeyMoment(round(s * fps), float(s), 900.0 + s),
            [
                Person(i, box * [200, 100, 200, 100], box, 0.95, np.array([0.99, 0.4, 0.9], np.float32))
                for i, box in ((i, np.array([x, 0.2, x + 0.2, 0.8], np.float32)) for i, x in people.items())
            ],
        )
        for s, people in key_frames.items()
    ]
    times = np.arange(seconds * fps) / fps
    detected = np.array([k.moment.time_s for k in frames])
    boxes = [np.array([p.box_norm for p in k.persons]).reshape(-1, 4) for k in frames]
    tracks = tracks_of(boxes, detected, [np.array([p.track_id for p in k.persons], int) for k in frames])
    return VideoActions("v.mp4", "v", (100, 200), times, frames, SETTINGS, tracks, detected)


def places(result, second):
    return {number: float(box[0]) for number, box, _ in persons_at(result, round(second * 10))}


COLOURS = {4: 4}


def test_boxes_move_straight_between_key_frames():
    result = actions({1: {0: 0.1}, 2: {0: 0.3}, 3: {0: 0.3}})
    for second, x in ((1.0, 0.1), (1.5, 0.2), (1.8, 0.26), (2.0, 0.3), (2.5, 0.3)):
        assert places(result, second) == pytest.approx({0: x}, abs=1e-6)


def test_who_is_at_one_key_frame_only_is_drawn_for_half_of_the_way():
    result = actions({1: {0: 0.1, 1: 0.7}, 2: {0: 0.1}, 3: {0: 0.1, 2: 0.5}})
    assert set(places(result, 1.4)) == {0, 1} and set(places(result, 1.6)) == {0}
    assert set(places(result, 2.4)) == {0} and set(places(result, 2.6)) == {0, 2}


def test_no_person_is_drawn_where_none_was_detected():
    result = actions({2: {0: 0.1}, 3: {0: 0.1}, 4: {0: 0.1}, 8: {0: 0.5}})
    shown = [bool(places(result, s)) for s in (1.4, 1.6, 4.4, 4.6, 6, 7.4, 7.6, 8.4, 8.6)]
    assert shown == [False, True, True, False, False, False, True, True, False]
    assert places(actions({2: {0: 0.1}}), 2.4) == pytest.approx({0: 0.1}) and not places(actions({2: {0: 0.1}}), 2.6)
    assert places(actions({}), 1) == {}


def test_labels_hold_the_id_and_the_best_actions():
    result = actions({1: {4: 0.1}})
    (marked,) = marked_persons(result, 10, 0.3, 3, COLOURS)
    assert marked.lines == ["4: sit 0.90", "walk 0.40"] and marked.box_px.tolist() == pytest.approx([20, 20, 60, 80])
    assert marked_persons(result, 10, 0.5, 3, COLOURS)[0].lines == ["4: sit 0.90"]
    assert marked_persons(result, 10, 0.3, 1, COLOURS)[0].lines == ["4: sit 0.90"]
    assert marked_persons(result, 10, 0.95, 3, COLOURS)[0].lines == ["4"]  # the reserved class is nobody's action


def test_people_found_between_key_frames_are_drawn_with_their_nearest_actions():
    """Key frames at seconds 1 and 2; between them somebody walks unevenly, and another one passes without any."""
    result = actions({1: {4: 0.1}, 2: {4: 0.5}})
    detected = np.array([1, 1.2, 1.4, 1.6, 1.8, 2])
    path = [[x, 0.2, x + 0.2, 0.8] for x in (0.1, 0.11, 0.12, 0.3, 0.45, 0.5)]
    boxes = [np.array([box, [0.7, 0.1, 0.8, 0.3]][: 2 if 1.1 < t < 1.7 else 1]) for t, box in zip(detected, path)]
    tracks = tracks_of(boxes, detected, [np.array([4, 5])[: len(found)] for found in boxes])
    result = replace(result, tracks=tracks, detected_s=detected)
    assert places(result, 1.3) == pytest.approx({4: 0.115, 5: 0.7}, abs=1e-6)
    assert places(result, 1.9) == pytest.approx({4: 0.475}, abs=1e-6)
    lines = [marked.lines for marked in marked_persons(result, 13, 0.5, 3, {4: 0, 5: 1})]
    assert lines == [["4: sit 0.90"], ["5"]]


STEADY = np.arange(150) / 25
UNEVEN = np.concatenate([np.arange(30) / 30, np.arange(1, 6)])  # a browser's: 30 a second, then one a second


class Clock(ArrayReader):
    def __init__(self, times):
        self._own = times

    def __len__(self):
        return len(self._own)

    def times(self):
        return self._own


@pytest.mark.parametrize(
    "times, own", [(STEADY, 25), (STEADY * 0.1, 30), (UNEVEN, 30), (np.zeros(1), 1)], ids=["25", "250", "uneven", "one"]
)
@pytest.mark.parametrize("fps", [None, 6.0, 50.0])
def test_the_output_video_plays_at_the_videos_own_speed(times, own, fps):
    indices, rate = shown_frames(Clock(times), None, fps)
    assert rate == pytest.approx(fps or own)
    shown = np.arange(len(indices)) / rate
    nearest = np.abs(times[None] - shown[:, None]).min(1)
    np.testing.assert_allclose(np.abs(times[indices] - shown), nearest, atol=1e-9)
    assert abs(shown[-1] - times[-1]) <= 0.5 / rate + 1e-9


def test_with_a_step_every_nth_frame_is_shown():
    indices, rate = shown_frames(Clock(STEADY), 4, 6.0)
    assert indices.tolist() == list(range(0, 150, 4)) and rate == 6.0
    assert shown_frames(Clock(STEADY), 5, None)[1] == pytest.approx(5.0)  # at its own speed


def test_the_csv_is_avas_result_format_with_the_persons_id(tmp_path):
    write_csv(tmp_path / "r.csv", [actions({1: {4: 0.1}, 2.5: {4: 0.2}})])
    assert (tmp_path / "r.csv").read_text().splitlines() == [
        "v,901,0.100,0.200,0.300,0.800,3,0.400,4",
        "v,901,0.100,0.200,0.300,0.800,7,0.900,4",
        "v,902.5,0.200,0.200,0.400,0.800,3,0.400,4",
        "v,902.5,0.200,0.200,0.400,0.800,7,0.900,4",
    ]


@pytest.mark.parametrize("height, width", [(96, 128), (240, 320), (360, 640), (1080, 1920)])
def test_every_label_is_inside_the_picture_and_off_the_other_people(height, width):
    grey = np.full((height, width, 3), 128, np.uint8)
    size = np.array([width, height] * 2)
    left, right = np.array([0.02, 0.3, 0.2, 0.95]), np.array([0.8, 0.02, 0.98, 0.95])
    alone = [mark(grey, [Marked(0, left * size, [])]), mark(grey, [Marked(1, right * size, [])])]
    both = mark(grey, [Marked(0, left * size, ["0: walk 0.93", "talk 0.81"]), Marked(1, right * size, ["1: sit 0.7"])])
    factor = enlargement(height, width)
    assert both.shape == (height * factor, width * factor, 3) and min(both.shape[:2]) >= 360
    for (x1, y1, x2, y2), before in zip(np.stack([left, right]) * size * factor, alone):
        inside = np.s_[int(y1) + 9 : int(y2) - 9, int(x1) + 9 : int(x2) - 9]
        np.testing.assert_array_equal(both[inside], before[inside])  # the labels hide neither of them
    labelled = (both != np.minimum(*alone)).any(-1)
    lines = np.flatnonzero(labelled.any(1))
    assert len(lines) >= 13 and labelled.sum() > 600  # letters of a size that can be read


def test_labels_of_a_crowd_do_not_cover_one_another():
    grey = np.full((360, 640, 3), 128, np.uint8)
    boxes = [np.array([40 + 80 * i, 150, 110 + 80 * i, 300.0]) for i in range(6)]  # labels are wider than boxes
    picture = mark(grey, [Marked(i, box, [f"{i}: talk to (a person) 0.9"]) for i, box in enumerate(boxes)])
    seen = []
    for i in range(6):  # a label's background is its person's colour: as much of each is seen
        near = np.abs(picture.astype(int) - (0.2 * 128 + 0.8 * np.array(colour_of(i)))).max(-1) < 3
        seen.append(near.sum())
    assert min(seen) > 0.9 * max(seen) > 800


def test_a_long_label_ends_in_dots_and_a_box_outside_is_cut():
    grey = np.full((360, 480, 3), 128, np.uint8)
    picture = mark(grey, [Marked(3, np.array([-50, 300, 700, 900.0]), ["3: " + "very long " * 30])])
    assert picture.shape == grey.shape and (picture != grey).any()


def test_names_that_the_fonts_lack_do_not_stop_it(monkeypatch):
    import paddlevideo.drawing as module

    monkeypatch.setattr(module.cv2, "__version__", "4.8.0")
    assert drawable("走路 walk") == "?? walk"
    monkeypatch.setattr(module.cv2, "__version__", "5.0.0")
    assert drawable("走路 walk") == "走路 walk"


def test_colours_differ():
    assert colour_of(3) == colour_of(3)
    assert all(np.abs(np.subtract(colour_of(a), colour_of(b))).max() > 25 for a, b in combinations(range(20), 2))


def test_a_video_of_odd_size_keeps_its_frames_and_its_rate(tmp_path):
    frames = [np.full((51, 75, 3), 20 * i, np.uint8) for i in range(10)]
    assert write_video(tmp_path / "sub" / "out.mp4", iter(frames), 7.5) == 10
    with av.open(str(tmp_path / "sub" / "out.mp4")) as video:
        stream = video.streams.video[0]
        back = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 7.5
    assert np.abs([b.mean() - f.mean() for b, f in zip(back, frames, strict=True)]).max() < 3
    assert back[0].shape == (52, 76, 3)


def test_a_video_that_breaks_off_leaves_the_older_one(tmp_path):
    def broken():
        yield np.zeros((32, 32, 3), np.uint8)
        raise UserError("the video is damaged")

    (tmp_path / "out.mp4").write_text("older")
    with pytest.raises(UserError, match="damaged"):
        write_video(tmp_path / "out.mp4", broken(), 6)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out.mp4", "older")]
    with pytest.raises(UserError, match="no frame to write"):
        write_video(tmp_path / "out.mp4", iter([]), 6)


def test_names_of_columns(tmp_path):
    (tmp_path / "l.txt").write_text("3: walk\n8: run")
    assert names_of([0, 3, 7], tmp_path / "l.txt") == ["(reserved)", "walk", "class 7"]
    assert names_of([0, 3], None) == ["(reserved)", "class 3"]
    with pytest.raises(UserError, match="none of the model's 2"):
        names_of([0, 1, 2], tmp_path / "l.txt")


def test_an_output_video_has_square_pixels_and_its_boxes_too(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", numbered_frames(4), pixel_aspect=2)
    drawn = []
    monkeypatch.setattr(video_output, "mark", lambda frame, persons: drawn.append(persons[0].box_px.tolist()) or frame)
    box = np.array([8.0, 8.0, 16.0, 24.0])
    monkeypatch.setattr(video_output, "marked_persons", lambda *_: [Marked(0, box, [])])

    def first_frame():
        result = SimpleNamespace(tracks={}, reader=open_forward(path, print))
        return next(drawn_frames(result, [0], 0.5, 1))

    assert first_frame().shape == (48, 128, 3) and drawn[0] == [16.0, 8.0, 32.0, 24.0]
    set_display_matrix(path, (0, 1, -1, 0))  # a quarter turn: wide pixels become high ones
    assert first_frame().shape == (64, 24, 3)
