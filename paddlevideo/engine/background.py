"""Work that a thread does beside training: one job after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

Job = Callable[[], None]


class Background:
    """Jobs in the order in which they were given; the thread lives while there are any.

    A job works on copies: what training changes meanwhile must not reach it.  After a job that failed the jobs behind
    it are dropped, and its error is raised once, by the next call from the outside.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._thread: threading.Thread | None = None
        self._idle = threading.Condition()
        self._error: BaseException | None = None

    def submit(self, job: Job) -> None:
        """Runs the job after those before it.

        Raises:
            Exception: of an earlier job.
        """
        self.check()
        with self._idle:
            self._jobs.append(job)
            if self._thread is None:
                # a daemon: a second signal ends the process, and an unfinished file has a temporary name
                self._thread = threading.Thread(target=self._run, name="background", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Blocks until no job is left.

        Raises:
            Exception: of a job.
        """
        with self._idle:
            self._idle.wait_for(lambda: self._thread is None)
        self.check()

    def check(self) -> None:
        """Raises the error of a job that has failed; never blocks."""
        with self._idle:
            error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            with self._idle:
                if not self._jobs:
                    self._thread = None
                    self._idle.notify_all()
                    return
                job: Job | None = self._jobs.popleft()
            try:
                job()
            except BaseException as error:  # it is raised in the thread that trains
                with self._idle:
                    self._jobs.clear()
                    self._error = error
            job = None  # with the arrays that it holds
