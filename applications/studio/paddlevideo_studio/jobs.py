"""Jobs: processes of the package's commands, one at a time, in a bounded queue; each has a folder ``runs/N``.

A job is a session of its own, so that it outlives the server; a restarted server finds it by the lock of its folder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from paddlevideo.errors import UserError
from paddlevideo.safe_io import read_json, write_atomic
from paddlevideo_studio.descriptions import read_numbered
from paddlevideo_studio.journal import now
from paddlevideo_studio.limited import environment
from paddlevideo_studio.project import Project

ACTIVE = ("queued", "running")
_POLL_S = 0.2
_RETRY_S = 5.0  # after a failure of this machine, e.g. a full disk
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_PATIENCE_S = 10.0  # between SIGTERM and SIGKILL
_TAIL = 4096  # bytes of a log
_ERROR_LINES = 12
_AT = re.compile(r"^at ([\d.]+) s$", re.MULTILINE)
_EPOCH = re.compile(r"epoch:\[\s*(\d+)/(\d+)\s*\]")


class QueueFull(Exception):
    """So many jobs wait already."""


@dataclass(frozen=True)
class Job:
    """``job.json``.

    Args:
        steps: commands, as words.
        video, model: what it is about, or None.
        total_s: seconds of video that it goes through; 0: unknown.
        options: of its kind.
    """

    id: int
    kind: str
    steps: list[list[str]]
    video: str | None = None
    model: int | None = None
    total_s: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    state: str = "queued"
    created: str = ""
    started: str | None = None
    ended: str | None = None
    error: str | None = None
    result: dict[str, Any] | None = None

    @property
    def command(self) -> str:
        """The steps as a person types them."""
        return " && ".join(shlex.join(_as_typed(words)) for words in self.steps)


def _as_typed(words: Sequence[str]) -> list[str]:
    if list(words[1:3]) == ["-m", "paddlevideo"]:
        return ["paddlevideo", *words[3:]]
    return ["python", *words[1:]] if words[0] == sys.executable else list(words)


Finish = Callable[[Project, Job, Path, bool], dict[str, Any]]


class Jobs:
    """All jobs of a project, and the thread that starts and ends them.

    Args:
        finishes: kind -> what is to be done in the server when a job has ended: with whether it was successful; returns
            the job's result.
        queue: how many jobs may wait.
    """

    def __init__(self, project: Project, finishes: Mapping[str, Finish], queue: int):
        self._project, self._finishes, self._queue = project, finishes, queue
        self._folder, self._lock = project.root / "runs", project.lock
        files = self._folder.glob("*/job.json")
        found = sorted((read_numbered(file, Job, "a job's description") for file in files), key=lambda job: job.id)
        self._jobs = {job.id: job for job in found}
        self._progress: dict[int, float] = {}
        self._stopping: dict[int, float] = {}  # number -> when SIGKILL follows
        self._unwritten: dict[int, Job] = {}  # that have ended, while the disk is full
        self._process: subprocess.Popen | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; a running job goes on."""
        self._ended.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Job]:
        """Newest first."""
        with self._lock:
            return iter([*reversed(self._jobs.values())])

    def get(self, number: int) -> Job | None:
        """The job of that number."""
        return self._jobs.get(number)

    def folder(self, job: Job) -> Path:
        """``runs/N``."""
        return self._folder / str(job.id)

    def active(self, video: str) -> Job | None:
        """The queued or running job of a video."""
        return next((job for job in self if job.video == video and job.state in ACTIVE), None)

    def using(self, video: str) -> Job | None:
        """The queued or running job that reads a video, be it one of several."""
        return next((j for j in self if j.state in ACTIVE and video in (j.video, *j.options.get("videos", ()))), None)

    def is_full(self) -> bool:
        """Whether ``submit`` refuses a further job now."""
        return sum(job.state == "queued" for job in self) >= self._queue

    def submit(self, kind: str, plan: Callable[[Path], list[list[str]]], **values: Any) -> Job:
        """Adds a job to the queue.

        Args:
            plan: its steps, of its folder.
            values: further fields of ``Job``.

        Raises:
            QueueFull: it is.
        """
        with self._lock:
            if self.is_full():
                raise QueueFull("the queue is full; wait for a job to end, or cancel one")
            number = self._next_number()
            folder = self._folder / str(number)
            folder.mkdir()
            try:
                job = Job(number, kind, plan(folder), created=now(), **values)
                self._write(job)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return job

    def _next_number(self) -> int:
        """One that no job has had: the journals and the models name runs whose folder may be removed."""
        there = (int(p.name) for p in self._folder.iterdir() if p.name.isdecimal())
        of_models = (model.run or 0 for model in self._project.models)
        journals = (self._project.spans.last_run, self._project.people.last_run)
        return max([0, *there, *self._jobs, *of_models, *journals]) + 1

    def cancel(self, job: Job) -> Job:
        """Ends a job: SIGTERM to its processes, and SIGKILL after 10 s."""
        with self._lock:
            job = self._jobs[job.id]
            if job.state == "queued":
                job = self._end(job, "cancelled")
            elif job.state == "running" and job.id not in self._stopping:
                self._stopping[job.id] = time.monotonic() + _PATIENCE_S
                self._signal(job, signal.SIGTERM)
        return job

    def log(self, job: Job, tail: int = _TAIL) -> str:
        """The last bytes of its log."""
        return _tail(self.folder(job) / "log.txt", tail)

    def progress(self, job: Job) -> tuple[float | None, float | None]:
        """The share that is done, and seconds that are left; None: unknown."""
        share = self._progress.get(job.id) if job.state == "running" else None
        if share is None or not job.started or share <= 0:
            return share, None
        spent_s = time.time() - datetime.fromisoformat(job.started).timestamp()
        return share, round(spent_s * (1 - share) / share, 1)

    # ---- the thread

    def _run(self) -> None:
        wait_s, shown = _POLL_S, ""
        while not self._ended.wait(wait_s):
            try:
                self._turn()
                wait_s, shown = _POLL_S, ""
            except Exception as error:  # a full disk, mostly: later jobs must not wait for a restart
                text = f"jobs: {error or type(error).__name__}; tried again every {_RETRY_S:g} s"
                if text != shown:
                    print(text, file=sys.stderr, flush=True)
                wait_s, shown = _RETRY_S, text

    def _turn(self) -> None:
        """Looks after the job that runs, or starts the next one."""
        running = next((job for job in self if job.state == "running"), None)
        if running is not None:
            self._look(running)
            return
        with self._lock:
            waiting = next((job for job in self._jobs.values() if job.state == "queued"), None)
            if waiting is not None:
                self._start(waiting)

    def _start(self, job: Job) -> None:
        folder = self.folder(job)
        job = replace(job, state="running", started=now())
        with open(folder / "lock", "w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            self._write(job)
            command = [sys.executable, "-m", "paddlevideo_studio.runner", str(folder)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True, env=environment(), pass_fds=(guard.fileno(),),
            )  # fmt: skip
        write_atomic(folder / "pid", f"{self._process.pid}\n")

    def _look(self, job: Job) -> None:
        """Ends a job whose processes have ended; notes its progress otherwise."""
        folder = self.folder(job)
        if self._process is not None:
            self._process.poll()  # so that it is no zombie
        if _is_locked(folder / "lock"):
            kill_at = self._stopping.get(job.id)
            if kill_at is not None and time.monotonic() > kill_at:
                self._signal(job, signal.SIGKILL)
            self._note_progress(job)
            return
        self._process = None
        try:
            ending = read_json(folder / "exit.json")
        except UserError:
            ending = None
        if job.id in self._stopping or (ending and ending["stopped"]):
            self._end(job, "cancelled")
        elif ending is None:
            self._end(job, "lost", "the machine or the process was stopped; the command repeats it")
        elif ending["code"]:
            lines = self.log(job).strip().splitlines()[-_ERROR_LINES:]
            if ending["code"] < 0:
                lines.append(f"ended by signal {-ending['code']}; 9: out of memory, mostly")
            self._end(job, "failed", "\n".join(lines) or f"exit code {ending['code']}")
        else:
            self._end(job, "done")

    def _end(self, job: Job, state: str, error: str | None = None) -> Job:
        """Stores how it ended, after the kind's own part."""
        ended = self._unwritten.get(job.id) or self._ended_job(job, state, error)
        self._unwritten[job.id] = ended
        self._write(ended)
        del self._unwritten[job.id]
        self._stopping.pop(job.id, None)
        self._progress.pop(job.id, None)
        return ended

    def _ended_job(self, job: Job, state: str, error: str | None) -> Job:
        """What its description is to be.

        Raises:
            OSError, UserError: the disk is full; its results can be taken later.
        """
        result = None
        try:
            result = self._finishes[job.kind](self._project, job, self.folder(job), state == "done")
        except Exception as problem:  # one job's results must not end the thread
            if _is_disk_full(problem):
                raise
            known = isinstance(problem, UserError)
            text = str(problem) if known else f"its results cannot be read ({type(problem).__name__}: {problem})"
            state, error = "failed", text
        return replace(job, state=state, error=error, result=result if state == "done" else None, ended=now())

    def _note_progress(self, job: Job) -> None:
        tail = self.log(job)
        share = None
        if job.total_s and (found := _AT.findall(tail)):
            share = min(float(found[-1]) / job.total_s, 1.0)
        elif found := _EPOCH.findall(tail):
            share = min((int(found[-1][0]) - 1) / max(int(found[-1][1]), 1), 1.0)
        if share is not None and round(share, 3) != round(self._progress.get(job.id, -1.0), 3):
            self._progress[job.id] = share
            self._project.announce("job", job.id)

    def _signal(self, job: Job, number: int) -> None:
        try:
            pid = int((self.folder(job) / "pid").read_text())
        except (OSError, ValueError):  # of this server's own child it is known, too
            pid = self._process.pid if self._process is not None else 0
        if pid > 1 and _is_locked(self.folder(job) / "lock"):  # it runs, so the number is its own
            try:
                os.killpg(pid, number)
            except ProcessLookupError:
                return

    def _write(self, job: Job) -> None:
        with self._lock:
            content = json.dumps(asdict(job), indent=1, ensure_ascii=False) + "\n"
            write_atomic(self.folder(job) / "job.json", content)
            self._jobs[job.id] = job
        self._project.announce("job", job.id)
        if job.video is not None:
            self._project.announce("video", job.video)


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_locked(file: Path) -> bool:
    """Whether the process that inherited the lock runs."""
    try:
        with open(file) as guard:
            fcntl.flock(guard, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _tail(file: Path, count: int) -> str:
    try:
        with open(file, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - count, 0))
            return stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
