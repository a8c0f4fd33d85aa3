"""Jobs: one at a time, cancelled with all their processes, found again by a restarted server."""

import errno
import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.jobs import Jobs, QueueFull

from paddlevideo.errors import UserError

PYTHON = [sys.executable, "-c"]
SLEEP = [*PYTHON, "import time; print('at 3.0 s', flush=True); time.sleep(60)"]


def finish(project, job, folder, done):
    if job.options.get("bad"):
        raise UserError("its results are damaged")
    return {"done": done}


def until(condition, limit_s=60):
    end = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end, "timed out"
        time.sleep(0.05)
    return found


@pytest.fixture
def start(project):
    """``start()`` -> the jobs of the project; a second call is a restarted server."""
    opened = []

    def make(queue=2):
        for jobs in opened:
            jobs.close()
        opened.append(Jobs(project, {"work": finish}, queue))
        return opened[-1]

    yield make
    for job in opened[-1]:
        opened[-1].cancel(job)
    until(lambda: not [job for job in opened[-1] if job.state in ("queued", "running")])
    opened[-1].close()


def submit(jobs, *steps, **values):
    return jobs.submit("work", lambda folder: [list(step) for step in steps], **values)


def state(jobs, job):
    return jobs.get(job.id).state


def test_steps_run_in_order_until_one_fails(start, project):
    jobs = start()
    good = submit(jobs, [*PYTHON, "print('one')"], [*PYTHON, "import os; print(os.getcwd())"])
    bad = submit(jobs, [*PYTHON, "import sys; print('error: why'); sys.exit(2)"], [*PYTHON, "print('never')"])
    until(lambda: state(jobs, bad) == "failed")
    assert jobs.get(good.id).result == {"done": True}
    assert jobs.log(good).split() == ["one", str(project.root / "runs" / str(good.id))]
    assert jobs.get(bad.id).error == "error: why" and "never" not in jobs.log(bad)
    wrong = submit(jobs, [*PYTHON, ""], options={"bad": True})
    until(lambda: state(jobs, wrong) == "failed")
    assert jobs.get(wrong.id).error == "its results are damaged"


def test_one_runs_others_wait_and_a_full_queue_refuses(start):
    jobs = start(queue=2)
    first = submit(jobs, SLEEP, total_s=12.0)
    until(lambda: state(jobs, first) == "running")
    waiting = [submit(jobs, SLEEP), submit(jobs, SLEEP)]
    with pytest.raises(QueueFull):
        submit(jobs, SLEEP)
    assert [job.state for job in jobs] == ["queued", "queued", "running"]
    share, left_s = until(lambda: jobs.progress(jobs.get(first.id))[0] and jobs.progress(jobs.get(first.id)))
    assert share == 0.25 and left_s > 0
    assert jobs.cancel(waiting[0]).state == "cancelled"
    jobs.cancel(first)
    until(lambda: state(jobs, waiting[1]) == "running")
    assert state(jobs, first) == "cancelled" and len([*jobs]) == 3


def test_cancel_ends_all_processes_of_a_job(start, project):
    jobs = start()
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import os, time; "
    child += 'open("pid2", "w").write(str(os.getpid())); time.sleep(60)\'])'
    job = submit(jobs, [*PYTHON, child])
    file = jobs.folder(job) / "pid2"
    until(lambda: file.is_file() and file.read_text())
    jobs.cancel(job)
    until(lambda: state(jobs, job) == "cancelled")
    until(lambda: not Path(f"/proc/{file.read_text()}").exists() or b"Z" in _status(file.read_text()), 5)


def _status(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2][:3]
    except OSError:
        return b"Z"


def test_a_restarted_server_finds_jobs_that_run_have_ended_and_are_lost(start):
    jobs = start()
    running = submit(jobs, [*PYTHON, "import time; time.sleep(1.5); print('whole')"])
    queued = submit(jobs, [*PYTHON, "print('later')"])
    until(lambda: state(jobs, running) == "running")
    jobs = start()
    assert [job.state for job in jobs] == ["queued", "running"]
    until(lambda: state(jobs, queued) == "done")
    assert state(jobs, running) == "done" and jobs.log(running) == "whole\n"


def test_a_job_of_killed_processes_is_lost_and_names_its_command(start):
    jobs = start()
    job = submit(jobs, [sys.executable, "-m", "paddlevideo", "check", "-c", "x y"], [*SLEEP])
    job = submit(jobs, SLEEP)
    until(lambda: state(jobs, job) == "running" and (jobs.folder(job) / "pid").is_file() and jobs.log(job))
    os.killpg(int((jobs.folder(job) / "pid").read_text()), signal.SIGKILL)
    until(lambda: state(jobs, job) == "lost")
    assert "the command repeats it" in jobs.get(job.id).error
    assert [*jobs][-1].command.startswith("paddlevideo check -c 'x y' && python -c ")


def test_a_job_that_ended_while_no_server_ran_is_taken(start):
    jobs = start()
    job = submit(jobs, [*PYTHON, "import time; time.sleep(0.5)"])
    until(lambda: state(jobs, job) == "running")
    jobs.close()
    until(lambda: (jobs.folder(job) / "exit.json").is_file())
    assert state(jobs, job) == "running"
    jobs = start()
    until(lambda: state(jobs, job) == "done")
    assert jobs.get(job.id).result == {"done": True}


def test_a_full_disk_stops_no_later_job(start, monkeypatch, capfd):
    monkeypatch.setattr("paddlevideo_studio.jobs._RETRY_S", 0.05)
    jobs = start()
    write, full = jobs._write, [True]

    def fails(job):
        if full and job.state == "done":
            raise UserError("job.json: cannot be written") from OSError(errno.ENOSPC, "No space left on device")
        write(job)

    monkeypatch.setattr(jobs, "_write", fails)
    first, second = submit(jobs, [*PYTHON, ""]), submit(jobs, [*PYTHON, ""])
    until(lambda: "cannot be written; tried again" in capfd.readouterr().err)
    assert [job.state for job in jobs] == ["queued", "running"]
    full.clear()
    until(lambda: state(jobs, second) == "done")
    assert jobs.get(first.id).result == {"done": True}


def test_results_that_the_disk_has_no_room_for_are_taken_later(project, monkeypatch):
    monkeypatch.setattr("paddlevideo_studio.jobs._RETRY_S", 0.05)
    tried = []

    def take(project, job, folder, done):
        tried.append(job.id)
        if len(tried) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return {"done": done}

    jobs = Jobs(project, {"work": take}, 2)
    job = submit(jobs, [*PYTHON, ""])
    until(lambda: state(jobs, job) == "done")
    jobs.close()
    assert len(tried) == 3


def test_a_job_that_cannot_be_planned_leaves_no_folder(start, project):
    jobs = start()

    def plan(folder):
        raise UserError("no such model")

    with pytest.raises(UserError):
        jobs.submit("work", plan)
    assert not [*(project.root / "runs").iterdir()]


def test_numbers_of_jobs_do_not_begin_anew_where_runs_are_removed(start, project):
    project.spans.append([{"video": "a.mp4", "start_s": 0, "end_s": 1, "label": "walk", "run": 7}], "model 1")
    assert submit(start(), [*PYTHON, ""]).id == 8
