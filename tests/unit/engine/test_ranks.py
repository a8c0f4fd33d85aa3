"""Ranks that hang, die or only work for long: what the others do.  Small processes without Paddle stand for ranks."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from paddlevideo.errors import EXIT_CODES, EXIT_RANK_HUNG, EXIT_RANK_LOST
from tests.tiny import ROOT

RANK = """
import logging, os, sys, threading, time
from pathlib import Path
sys.path.insert(0, {root!r})
from paddlevideo.engine.rank_channel import RankChannel, connect
from paddlevideo.engine.rank_watch import RankWatch
logging.basicConfig(level=logging.INFO, format="%(message)s")
rank, world, folder, scene = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]

def fetch():
    while not (folder / "address").exists():
        time.sleep(0.01)
    return (folder / "address").read_text()

def publish(address):
    (folder / "new").write_text(address)
    (folder / "new").rename(folder / "address")

sums, heartbeats = connect(rank, world, "127.0.0.1", publish, fetch)
watch = RankWatch(rank, heartbeats, None, hang_limit_s=2.0, stall_limit_s=3.0)
channel = RankChannel(rank, sums, watch)
watch.start()
assert channel.all_reduce_sum([rank, 0.5]) == [sum(range(world)), 0.5 * world]
if scene == "forked" and os.fork() == 0:
    os.closerange(1, 3)  # not the connections
    time.sleep(30)
    os._exit(0)
print("ready", flush=True)

def work(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))

if scene == "barriers":
    while True:
        channel.barrier()
if scene in ("collective", "forked"):
    while True:  # as in gloo: at work, in nobody's call
        work(0.1)
if scene == "deadlock":
    if rank == 1:
        lock = threading.Lock()
        lock.acquire() and lock.acquire()
    channel.barrier()
if scene == "long work":
    work(4.5 if rank == 1 else 0.0)
    channel.barrier()
if scene == "many barriers":
    end = time.monotonic() + 6
    while channel.all_reduce_sum([time.monotonic() < end])[0]:
        pass
print("done", flush=True)
"""


@pytest.fixture
def ranks(tmp_path):
    """Starts ranks in a scene and returns them when they have met."""
    started = []

    def start(scene, world=2):
        code = RANK.format(root=str(ROOT))
        for rank in range(world):
            command = [sys.executable, "-c", code, str(rank), str(world), str(tmp_path), scene]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        for process in started:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        return started

    yield start
    for process in started:
        process.kill()
        process.wait()


def ending(process):
    """Exit code and what it wrote."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out + err


@pytest.mark.scorecard(28)
@pytest.mark.parametrize("scene", ["barriers", "collective"])
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_stopped_rank_is_named_and_ends_the_others(ranks, scene, stopped):
    processes = ranks(scene, world=3)
    processes[stopped].send_signal(signal.SIGSTOP)
    for process in processes:  # the stopped one too: it is continued to end itself
        code, text = ending(process)
        assert code == EXIT_RANK_HUNG
        assert f"error: rank {stopped} hangs: no heartbeat for 2 s (PADDLEVIDEO_HANG_LIMIT_S), last seen in " in text


@pytest.mark.scorecard(28)
def test_a_deadlocked_main_thread_is_a_rank_that_hangs(ranks):
    for process in ranks("deadlock"):
        code, text = ending(process)
        assert code == EXIT_RANK_HUNG
        assert "error: rank 1 hangs: its main thread has not run for 3 s (PADDLEVIDEO_STALL_LIMIT_S), in " in text


@pytest.mark.scorecard(27)
@pytest.mark.parametrize(
    "scene, killed",
    [("barriers", 0), ("barriers", 1), pytest.param("forked", 1, marks=pytest.mark.slow)],
)
def test_a_killed_rank_ends_the_others(ranks, scene, killed):
    processes = ranks(scene, world=3)
    processes[killed].kill()
    for number, process in enumerate(processes):
        if number != killed:
            code, text = ending(process)
            assert code == EXIT_RANK_LOST
            assert "ended before the others" in text


@pytest.mark.slow
def test_long_work_and_long_waiting_are_no_hang(ranks):
    (code, waiting), (other_code, _) = [ending(process) for process in ranks("long work")]
    assert code == other_code == 0
    assert re.search(r"waiting for \d s for rank 1 \(.*, last heartbeat 0 s ago\)", waiting)


@pytest.mark.slow
def test_a_job_that_is_stopped_as_a_whole_goes_on(ranks):
    processes = ranks("many barriers")
    for action in (signal.SIGSTOP, signal.SIGCONT):
        for process in processes:
            process.send_signal(action)
        time.sleep(3)
    assert [ending(process)[0] for process in processes] == [0, 0]


@pytest.mark.parametrize("page", ["README.md", "README_zh-CN.md"])
def test_the_pages_list_every_exit_code(page):
    rows = re.findall(r"^\| (\d+) \| ", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(row) for row in rows] == list(EXIT_CODES)


PARENT = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=sys.stdout)
os.read(0, 1)
os._exit(0)
"""

CHILD = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from paddlevideo.engine import distributed
distributed.set_up("cpu")
print("ready", flush=True)
time.sleep(4)
print("outlived", flush=True)
"""


@pytest.mark.parametrize("launched", [True, False])
def test_a_rank_ends_with_its_launcher_but_not_with_a_shell(launched):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE")}
    environment |= {"PADDLE_RANK_IN_NODE": "0"} if launched else {}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout.readline() == "ready\n"
    parent.stdin.write("x")
    parent.stdin.close()
    assert parent.wait(timeout=30) == 0
    assert ("outlived" in parent.stdout.read()) != launched  # read to the end of the child, which holds the pipe
