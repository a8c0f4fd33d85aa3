"""Videos to frame folders and to small videos: what is written, what is skipped, what is named as bad."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from paddlevideo.loader.datasets.frame import FrameDataset
from paddlevideo.loader.decode import FrameFolder, open_video
from paddlevideo.preparation.parallel import Crashed, run_tasks
from tests.clips import cut, frame_numbers, numbered_frames, write_clip


@pytest.fixture
def videos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, count in (("a/one", 9), ("b/two and a half", 12)):
        Path("videos", name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(f"videos/{name}.mp4", numbered_frames(count, 96, 128))
    Path("train_videos.txt").write_text("videos/b/two and a half.mp4 1\nvideos/a/one.mp4 0\n")
    return tmp_path


def extract(run_tool, *more):
    return run_tool("prepare/extract_frames", "--videos", "videos", "--out", "raw", "--jobs", 1, *more)


def test_frames_and_their_list(videos, run_tool):
    done = extract(run_tool, "train_videos.txt")
    assert done.code == 0, done.err
    assert Path("train_rawframes.txt").read_text() == "raw/b/two and a half 12 1\nraw/a/one 9 0\n"
    records = FrameDataset("train_rawframes.txt").records
    for record in records:
        count = record["total_frames"]
        assert len(list(Path(record["frame_dir"]).glob("*.jpg"))) == count
        read = FrameFolder(record["frame_dir"], count).get(range(count))
        assert frame_numbers(read) == list(range(count))


def test_what_is_done_is_skipped_and_what_changed_is_done_again(videos, run_tool):
    extract(run_tool, "train_videos.txt")
    image = Path("raw/a/one/img_00001.jpg")
    made = image.stat().st_mtime_ns
    assert "0 made, 2 done before, 0 failed" in extract(run_tool, "train_videos.txt").out
    assert image.stat().st_mtime_ns == made
    write_clip("videos/a/one.mp4", numbered_frames(7, 96, 128))
    assert "1 made, 1 done before" in extract(run_tool, "train_videos.txt").out
    assert Path("train_rawframes.txt").read_text().endswith("raw/a/one 7 0\n")
    assert len(list(Path("raw/a/one").glob("*.jpg"))) == 7
    assert "2 made" in extract(run_tool, "train_videos.txt", "--short_side", 48).out
    assert cv2.imread("raw/a/one/img_00001.jpg").shape == (48, 64, 3)


def test_a_cut_video_is_named_and_leaves_no_folder(videos, run_tool):
    cut("videos/a/one.mp4", "videos/a/cut.mp4", 0.6)
    Path("train_videos.txt").write_text("videos/a/cut.mp4 0\nvideos/a/one.mp4 0\n")
    done = extract(run_tool, "train_videos.txt")
    assert done.code == 1
    assert "1 made, 0 done before, 1 failed" in done.out and "videos/a/cut.mp4: truncated" in done.out
    assert sorted(os.listdir("raw/a")) == ["one"]
    assert Path("train_rawframes.txt").read_text() == "raw/a/one 9 0\n"


def test_what_a_killed_run_left_is_no_frame_folder(videos, run_tool):
    Path("raw/a/.one.extracting").mkdir(parents=True)
    Path("raw/a/.one.extracting/img_00001.jpg").write_bytes(b"half")
    assert "2 made" in extract(run_tool).out
    assert sorted(os.listdir("raw/a")) == ["one"]


def test_others_frames_are_not_touched(videos, run_tool):
    Path("raw/a/one").mkdir(parents=True)
    Path("raw/a/one/img_00001.jpg").write_bytes(b"made by ffmpeg")
    done = extract(run_tool)
    assert done.code == 1 and "see --overwrite" in done.out
    assert os.listdir("raw/a/one") == ["img_00001.jpg"]
    assert extract(run_tool, "--overwrite").code == 0


def test_png_frames_are_the_readers_bit_for_bit(videos, run_tool):
    assert extract(run_tool, "--frame_name", "f{:03}.png").code == 0
    with open_video("videos/a/one.mp4") as reader:
        assert np.array_equal(FrameFolder("raw/a/one", 9, "f{:03}.png").get(range(9)), reader.get(range(9)))


def test_several_processes_do_the_same(videos, run_tool):
    extract(run_tool, "train_videos.txt", "--frame_name", "{:05}.png")
    alone = {p.relative_to("raw"): p.read_bytes() for p in Path("raw").rglob("*.png")}
    done = run_tool("prepare/extract_frames", "train_videos.txt", "--videos", "videos", "--out", "many", "--jobs", 2,
                    "--frame_name", "{:05}.png")  # fmt: skip
    assert done.code == 0, done.err
    assert {p.relative_to("many"): p.read_bytes() for p in Path("many").rglob("*.png")} == alone


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["--out", "videos/raw"], "need a folder of their own"),
        (["--frame_name", "img.jpg"], "expected one place for the number"),
        (["--frame_name", "{:05}.gif"], "expected the ending .jpg or .png"),
        (["outside.txt"], "outside.txt:1: '../secret.mp4' leads out of videos"),
        (["none.txt"], "none.txt: no such list file"),
    ],
)
def test_impossible_wishes(videos, run_tool, arguments, reported):
    Path("outside.txt").write_text("../secret.mp4 0\n")
    done = extract(run_tool, *arguments)
    assert done.code == 2 and reported in done.err


def test_two_videos_that_would_share_a_folder(videos, run_tool):
    write_clip("videos/a/one.avi", numbered_frames(3), codec="mpeg4", bframes=0)
    assert "a/one.avi and a/one.mp4 differ in their ending only" in extract(run_tool).err


def test_folders_of_other_videos_are_not_removed_with_a_videos_own(videos, run_tool):
    for name in ("a", "a/one"):
        write_clip(f"videos/{name}.mp4", numbered_frames(4))
    assert extract(run_tool).code == 0
    write_clip("videos/a.mp4", numbered_frames(5))
    done = extract(run_tool)
    assert done.code == 1 and "raw/a: holds 'one' and perhaps more folders, of other videos" in done.out
    assert len(list(Path("raw/a/one").glob("*.jpg"))) == 4 and len(list(Path("raw/a").glob("*.jpg"))) == 4


def test_a_replaced_video_is_resized_again_and_a_variable_rate_is_named(videos, run_tool):
    arguments = ("--videos", "videos", "--out", "small", "--short_side", 64, "--jobs", 1)
    assert "moments" not in run_tool("prepare/resize_videos", *arguments).out
    write_clip("videos/a/one.mp4", numbered_frames(6), pts=[0, 60, 120, 180, 240, 1200])  # the last one at 2 s
    done = run_tool("prepare/resize_videos", *arguments)
    assert "1 made, 1 done before, 0 failed" in done.out
    assert "1 video of a variable frame rate got the average one: moments of a/one.mp4 are up to 1.20 s" in done.out
    with open_video("small/a/one.mp4") as reader:
        assert len(reader) == 6


def test_resized_videos_have_the_same_frames(videos, run_tool):
    arguments = ("--videos", "videos", "--out", "small", "--short_side", 64, "--group", 4, "--jobs", 1)
    done = run_tool("prepare/resize_videos", *arguments)
    assert done.code == 0, done.err
    with open_video("small/b/two and a half.mp4") as reader:
        read = reader.get(range(len(reader)))
        assert read.shape == (12, 64, 86, 3) and reader.fps == 30
        assert frame_numbers(read) == list(range(12))
    with av.open("small/b/two and a half.mp4") as container:
        keys = [k for k, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert keys[:3] == [0, 4, 8]
    assert "0 made, 2 done before" in run_tool("prepare/resize_videos", *arguments).out
    other = run_tool("prepare/resize_videos", *arguments[:-3], 8, *arguments[-2:])
    assert other.code == 1 and "with other settings" in other.out


def dies_on_three(number: int) -> int:
    if number == 3:
        os._exit(1)  # what a crashing decoder looks like from outside
    return number * number


def test_a_crash_costs_one_file_and_names_it():
    results = dict(run_tasks(dies_on_three, range(8), 2, "", quiet=True))
    assert isinstance(results.pop(3), Crashed)
    assert results == {n: n * n for n in range(8) if n != 3}


def test_a_killed_command_leaves_no_processes(tmp_path):
    """Otherwise they go on beside the next run, and then wait for ever."""
    code = (
        "import time; from paddlevideo.preparation.parallel import run_tasks\n"
        "from tests.commands.test_prepare_frames import its_number\n"
        "if __name__ == '__main__':\n"
        "    for _, pid in run_tasks(its_number, range(9), 2, '', quiet=True):\n"
        f"        open(r'{tmp_path}/pids', 'a').write(f'{{pid}} ')\n"
        "    time.sleep(60)\n"
    )
    script = tmp_path / "command.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = subprocess.Popen([sys.executable, script], env=environment)
    pids: set[int] = set()
    deadline = time.monotonic() + 20
    while not pids and time.monotonic() < deadline:
        time.sleep(0.05)
        if (tmp_path / "pids").exists():
            pids = {int(pid) for pid in (tmp_path / "pids").read_text().split()}
    command.kill()
    command.wait()
    assert pids
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in pids)


def its_number(number: int) -> int:
    time.sleep(0.3 * (number > 3))  # so that some are still at work when the command is killed
    return os.getpid()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
