"""Processes that decode: a video that kills or stops its process costs nothing but itself."""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference import clip_workers
from paddlevideo.inference.clip_workers import ClipWorkers


def clip(index):
    return {"index": index}, np.full((2, 3), index, np.int16)


def run(make, count=12, num_workers=2, num_ahead=3, timeout_s=0.0, ordered=True):
    workers = ClipWorkers(make, "{}.mp4".format, num_workers, num_ahead, timeout_s)
    with contextlib.closing(workers.clips(range(0, 10 * count, 10), ordered)) as clips:
        indices, found = zip(*clips)
    assert (list(indices) if ordered else sorted(indices)) == list(range(0, 10 * count, 10))
    return found if ordered else indices


@pytest.mark.parametrize("num_workers, num_ahead", [(1, 1), (2, 3), (3, 50)])
def test_clips_come_in_their_order(num_workers, num_ahead):
    def make(index):
        time.sleep(0.01 * (index % 3))
        return clip(index)

    for position, (header, imgs) in enumerate(run(make, 12, num_workers, num_ahead)):
        assert header == {"index": 10 * position} and np.array_equal(imgs, clip(10 * position)[1])
        assert imgs.dtype == np.int16
    assert multiprocessing.active_children() == []


def test_a_slow_video_delays_no_other_one_where_order_does_not_matter():
    """All that wait behind it in its process's queue come after it."""

    def make(index):
        time.sleep(0.8 if index == 10 else 0.01)
        return clip(index)

    indices = run(make, 12, 2, 3, ordered=False)
    assert indices.index(10) >= 10


def test_no_more_clips_are_made_than_are_wanted_ahead():
    made = multiprocessing.Value("i", 0)

    def make(index):
        with made.get_lock():
            made.value += 1
        return clip(index)

    workers = ClipWorkers(make, str, 2, 6, 0.0)
    clips = workers.clips(range(1000))
    next(clips)
    time.sleep(0.3)
    assert 6 <= made.value <= 7
    clips.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("number, text", [(signal.SIGSEGV, "-11: a library crashed"), (signal.SIGKILL, "memory limit")])
def test_a_process_that_dies_is_an_error_of_its_video(number, text):
    def make(index):
        if index in (30, 40):
            faulthandler.disable()
            os.kill(os.getpid(), number)
        return clip(index)

    found = run(make)
    errors = {i: header["error"] for i, (header, _) in enumerate(found) if "error" in header}
    assert sorted(errors) == [3, 4] and [imgs is None for _, imgs in found] == [i in errors for i in range(12)]
    assert errors[3]["path"] == "30.mp4" and errors[3]["reason"] == "crashed" and text in errors[3]["detail"]


def test_a_process_that_dies_once_is_replaced(tmp_path):
    """The system's memory limit, for instance, ends a process that did nothing wrong."""

    def make(index):
        if index == 50 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return clip(index)

    assert [header for header, _ in run(make)] == [{"index": 10 * i} for i in range(12)]


def test_a_stopped_process_is_an_error_of_its_video(monkeypatch):
    monkeypatch.setattr(clip_workers, "hang_limit_s", lambda timeout_s: 1.0)

    def make(index):
        if index == 20:
            os.kill(os.getpid(), signal.SIGSTOP)
        return clip(index)

    start = time.monotonic()
    found = run(make, timeout_s=1)
    assert [i for i, (header, _) in enumerate(found) if "error" in header] == [2]
    assert found[2][0]["error"]["reason"] == "timeout" and time.monotonic() - start < 20
    assert multiprocessing.active_children() == []


def test_an_error_of_a_library_is_an_error_of_its_video():
    def make(index):
        return clip(index) if index else 1 / index

    header, imgs = run(make, 2)[0]
    assert header == {"error": {"message": "ZeroDivisionError: division by zero"}} and imgs is None


def test_processes_that_do_not_begin_are_an_error(monkeypatch):
    monkeypatch.setattr(clip_workers, "follow_parent", lambda parent: os._exit(3))
    with pytest.raises(UserError, match="do not begin .*exit code 3.*--num_workers 0"):
        run(clip)
