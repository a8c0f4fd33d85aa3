"""Windows of a stream: where they begin and end, what they hold, and what is held of the stream meanwhile."""

from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference.stream import TimedFrame, open_stream
from paddlevideo.inference.windows import WindowReader, Windows
from paddlevideo.loader.decode import open_video
from tests.clips import frame_numbers, numbered_frames, write_clip


def stream(times, width=4, live=False):
    return [TimedFrame(float(t), SimpleNamespace(width=width, height=1), live=live) for t in times]


def spans(times, *arguments, live=False):
    return [(round(w.start_s, 6), round(w.end_s, 6)) for w in Windows(stream(times, live=live), *arguments)]


def test_windows_begin_every_hop_and_the_last_one_reaches_the_end():
    times = np.arange(47) / 10  # to 4.7 s
    assert spans(times, 2.0, 1.0) == [(0, 2), (1, 3), (2, 4), (2.7, 4.7)]


def test_a_video_that_ends_with_a_window_has_no_other():
    assert spans(np.arange(40) / 10, 2.0, 1.0) == [(0, 2), (1, 3), (2, 4)]


def test_a_short_video_is_one_window_and_none_is_none():
    assert spans(np.arange(5) / 10, 2.0, 1.0) == [(0, 0.5)]
    assert spans([], 2.0, 1.0) == []
    assert spans([0.0], 2.0, 1.0) == [(0, 0.04)]  # by the rate of the source


def test_a_hop_beyond_the_window_leaves_time_between():
    assert spans(np.arange(50) / 10, 1.0, 2.0) == [(0, 1), (2, 3), (4, 5)]


@pytest.mark.parametrize(("window_s", "hop_s"), [(1.0, 0.25), (0.7, 0.3), (1.0, 1.5)])
def test_windows_equal_a_plain_definition(window_s, hop_s):
    rng = np.random.default_rng(0)
    times = np.cumsum([0, *rng.uniform(0.01, 0.12, 200)])
    got = [(w.start_s, w.end_s, [f.time_s for f in w.frames]) for w in Windows(stream(times), window_s, hop_s)]
    expected = []
    for k in range(1000):
        start, end = k * hop_s, k * hop_s + window_s
        if end > times[-1]:
            break
        expected.append((start, end, times[(times >= start) & (times < end)].tolist()))
    assert got[: len(expected)] == expected and len(got) - len(expected) <= 1


def test_windows_across_a_stall_are_left_out_however_slow_the_source_is():
    times = np.r_[np.arange(30) / 10, 6.5 + np.arange(25) / 10]  # nothing from 3 to 6.5 s
    assert spans(times, 2.0, 1.0, live=True) == [(0, 2), (1, 3), (6, 8), (7, 9)]
    slow = np.arange(20) * 2.0
    assert spans(slow, 8.0, 8.0, live=True) == [(0, 8), (8, 16), (16, 24), (24, 32), (32, 40)]


def test_in_a_file_a_picture_is_shown_until_the_next_one():
    times = np.r_[np.arange(30) / 10, 7.5, 7.6]
    found = Windows(stream(times), 2.0, 1.0)
    got = {round(w.start_s, 6): [round(f.time_s, 6) for f in w.frames] for w in found}
    assert [*got] == [0, 1, 2, 3, 4, 5, 5.7] and found.end_s == pytest.approx(7.7)
    assert got[2] == [round(2 + k / 10, 6) for k in range(10)] and got[3] == [3] and got[4] == [4]
    assert got[5] == [5] and got[5.7] == [5.7, 7.5, 7.6]  # begin with the picture of 2.9 s


def test_frames_that_are_passed_over_are_held_where_they_are_shown_for_long():
    frames = stream([*np.arange(25) / 10, 9.0])
    at_five = next(w for w in Windows(frames, 2.0, 1.0, "a", 1.0) if w.start_s == 5)
    assert at_five.frames[0].frame is frames[24].frame
    with pytest.raises(
        UserError, match=r"max_fps: expected at least 1, which are 2 frames of a window of 2 s, got 0.1"
    ):
        Windows(frames, 2.0, 1.0, "a", 0.1)


def test_no_more_than_a_window_is_held():
    for hop in (0.5, 1.0, 4.0):
        found = Windows(stream(np.arange(1000) / 10), 2.0, hop)
        assert max(len(found._held) for _ in found) <= 24


def test_frames_beyond_memory_are_one_line_and_fewer_per_second_are_less():
    wide = stream(np.arange(100) / 10, width=100 << 20)
    with pytest.raises(UserError, match=r"cam: the frames of a window of 8 s take more than 2 GiB; give a shorter"):
        list(Windows(wide, 8.0, 1.0, "cam"))
    thin = list(Windows(wide, 8.0, 1.0, "cam", max_fps=1.0))
    assert [frame.time_s for frame in thin[0].frames] == list(range(8))


def test_a_window_is_read_like_the_video_that_it_is_cut_from(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered_frames(40))
    window = list(Windows(open_stream(str(path), print), 1.0, 0.5))[0]
    reader = WindowReader(window, "a.mp4", (64, 48))
    with open_video(path) as whole:
        assert (reader.get([0, 7, 29]) == whole.get([0, 7, 29])).all()
        assert np.allclose(reader.times(), whole.times()[:30]) and abs(reader.fps - whole.fps) < 1e-6
    assert frame_numbers(reader.get([29, 3, 3])) == [29, 3, 3] and len(reader) == 30
