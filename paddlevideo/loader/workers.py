"""Batches from worker processes, on ``paddle.io.DataLoader``, without its pitfalls.

Paddle's loader loses the reason of an exception in a worker, waits for ever for a stuck one, keeps workers alive
after an early ``break``, and hangs on exceptions when it has no workers.  So no exception is raised inside it: a
failure travels as an array and is raised here; a watch kills workers that make no progress; and they are reaped at
the end, early or not.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode.reader import VideoReadError

log = logging.getLogger("paddlevideo")

_HOST_BYTES = 1 << 18  # arrays up to here stay arrays on the host
_FILLER = "filler"  # the only array of a batch without any: paddle takes one without tensors for the end
_JOIN_S = 3
_START_S = 30  # a worker begins within a second, or never
_POLL_S = 2  # interval at which paddle checks whether a worker died
_WATCH_S = 0.2  # interval at which the parent checks the workers' progress
_PR_SET_PDEATHSIG = 1


# exit code of a worker -> what it mostly means
_HINTS = {
    -signal.SIGKILL: "-9: killed, mostly by the system's memory limit: fewer {option} or a smaller batch",
    -signal.SIGBUS: "-7: bus error, mostly because shared memory is full: enlarge /dev/shm (docker run --shm-size=8g), "
    "or fewer {option} or a smaller batch",
    -signal.SIGSEGV: "-11: a library crashed, mostly on a file of this batch: paddlevideo check-data reads each alone",
    -signal.SIGABRT: "-6: a library aborted, mostly on a file of this batch, or for lack of memory: "
    "paddlevideo check-data reads each alone",
}


Task = tuple[int, int, np.ndarray]  # epoch, number of the batch, its sample indices


class TaskSource(Protocol):
    """Makes the batch of a task, the same in every process.

    Attributes:
        timeout_s: time limit of one clip; 0: none.
        option: the setting of the number of workers, for messages.
    """

    timeout_s: float
    option: str

    def make(self, epoch: int, number: int, indices: np.ndarray) -> dict[str, Any]:
        """The batch: arrays, and what JSON can hold."""

    def expect(self, indices: np.ndarray) -> None:
        """Takes the samples that this process reads next, in their order."""

    def observe(self, on_clip: Callable[[], None]) -> None:
        """Calls ``on_clip`` before each clip from now on."""

    def first_file(self, indices: np.ndarray) -> str:
        """The file of the task's first sample, for messages."""


class WorkersStuck(UserError):
    """Workers that made no progress for too long and were ended."""


class _Activity:
    """Since when each worker has been at its current clip, or idle: written by the workers, read by their parent."""

    def __init__(self, num_workers: int):
        # seconds of the monotonic clock, which all processes share; negative: idle; 0: not begun
        self._since = multiprocessing.RawArray("d", num_workers)
        self.num_workers = num_workers
        self._number = 0

    def begin(self, number: int) -> None:
        """Makes this process the worker of that number, idle."""
        self._number = number
        self.idle()

    def clip(self) -> None:
        """A clip begins."""
        self._since[self._number] = time.monotonic()

    def idle(self) -> None:
        """A batch is done."""
        self._since[self._number] = -time.monotonic()

    @property
    def all_begun(self) -> bool:
        return all(self._since)

    def stuck_s(self, awaited_from: float) -> float:
        """Seconds without progress, for a parent that has waited for a batch since ``awaited_from``."""
        since = list(self._since)
        busy = [begun for begun in since if begun > 0]
        return time.monotonic() - (min(busy) if busy else max(awaited_from, *(-idle for idle in since)))


def can_fork() -> bool:
    """Whether this process can have workers: they are forked, so that the caller's script is not run again in each."""
    return multiprocessing.get_start_method() == "fork" and not multiprocessing.current_process().daemon


def worker_batches(source: TaskSource, tasks: list[Task], num_workers: int) -> Iterator[dict[str, Any]]:
    """Batches of paddle Tensors, and of numpy arrays up to ``_HOST_BYTES``, in the tasks' order.

    Labels, indices and boxes are read by the host, too; a tensor on the device would have to be copied back for that.

    Stuck workers are replaced once per batch: a process that is forked while some library's thread holds a lock waits
    for that lock for ever, and the next one does not.  Batches are a function of their task, so nothing else changes.

    Raises:
        UserError: what went wrong in a worker, with the file's name; a worker that died, or is stuck again.
    """
    done, replaced_at = 0, -1
    while done < len(tasks):
        try:
            with contextlib.closing(_batches_of_one_set(source, tasks[done:], num_workers)) as batches:
                for batch in batches:
                    done += 1
                    yield batch
        except WorkersStuck as error:
            if replaced_at == done:
                raise
            replaced_at = done
            log.warning("%s Starting new ones.", error)


def _batches_of_one_set(source: TaskSource, tasks: list[Task], num_workers: int) -> Iterator[dict[str, Any]]:
    import paddle

    activity = _Activity(num_workers)
    loader = paddle.io.DataLoader(
        dataset=_Keyed(source, activity),
        batch_sampler=[[task] for task in tasks],
        collate_fn=_only,
        num_workers=num_workers,
        worker_init_fn=functools.partial(_start_worker, os.getpid(), source, activity, tasks),
        use_shared_memory=True,
        timeout=_POLL_S,
    )
    iterator = iter(loader)
    shut_down = functools.partial(_shut_down, iterator)
    atexit.register(shut_down)  # before multiprocessing's own exit, which would wait for workers that ignore SIGTERM
    _disable_sigchld_handler(iterator)
    try:
        limit_s = hang_limit_s(source.timeout_s)
        for _, _, indices in tasks:
            with _watch(iterator, activity, limit_s) as watch:
                try:
                    batch = next(iterator)
                except (StopIteration, SystemError, RuntimeError) as error:
                    raise _death(iterator, watch, source, indices, error) from None
            batch.pop(_FILLER, None)
            batch = {**batch.pop("host").values, **batch}
            if "failure" in batch:
                raise error_of(batch["failure"])
            yield batch
    finally:
        atexit.unregister(shut_down)
        shut_down()


@dataclass
class _OnHost:
    """Entries of a batch that Paddle's loader passes on as they are: no array, no sequence, no mapping."""

    values: dict[str, Any]


class _Keyed:
    """A paddle data set whose keys are tasks and whose items are whole batches, or the failure to make one."""

    def __init__(self, source: TaskSource, activity: _Activity):
        self._source, self._activity = source, activity

    def __getitem__(self, task: Task) -> dict[str, Any]:
        try:
            batch = self._source.make(*task)
        except Exception as error:
            batch = {"failure": failure_of(error)}
        finally:
            self._activity.idle()
        small = {key for key, value in batch.items() if getattr(value, "nbytes", 0) <= _HOST_BYTES} - {"imgs"}
        host = _OnHost({key: batch.pop(key) for key in small})
        return {"host": host, **(batch or {_FILLER: np.zeros(1, np.uint8)})}


def _only(items: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return items[0]


def failure_of(error: Exception) -> dict[str, str]:
    """An error in a form that JSON can hold; see ``error_of``."""
    if isinstance(error, VideoReadError):
        return {"path": error.path, "reason": error.reason, "detail": error.detail}
    return {"message": str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"}


def error_of(failure: Mapping[str, str]) -> UserError:
    """The error of ``failure_of``."""
    return UserError(failure["message"]) if "message" in failure else VideoReadError(**failure)


def _start_worker(parent: int, source: TaskSource, activity: _Activity, tasks: list[Task], number: int) -> None:
    """Runs first in each worker: announces what it reads (paddle deals the tasks out in turns), reports its start."""
    follow_parent(parent)
    mine = [indices for _, _, indices in tasks[number :: activity.num_workers]]
    source.expect(np.concatenate([np.empty(0, np.int64), *mine]))
    activity.begin(number)
    source.observe(activity.clip)


def follow_parent(parent: int) -> None:
    """Makes this forked process end with its parent, leave signals to it, and use one thread.

    A SIGTERM that a scheduler sends to all processes of a job must not end the batches of a parent that is
    about to finish its step and save.
    """

    def exit_if_orphaned(*_: object) -> None:
        if os.getppid() != parent:
            _exit_now()

    signal.signal(signal.SIGTERM, exit_if_orphaned)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    exit_if_orphaned()  # the parent may have died before the line above
    import cv2

    cv2.setNumThreads(0)


def _exit_now() -> None:
    """Frees shared memory and ends at once: a normal exit would wait for a queue that is no longer read."""
    from paddle.base import core

    core._cleanup_mmap_fds()
    os._exit(128 + signal.SIGTERM)


def _disable_sigchld_handler(iterator: Any) -> None:
    # paddle raises from SIGCHLD, in the middle of whatever the main thread does; ``next`` reports the death anyway
    from paddle.base import core

    core._erase_process_pids(id(iterator))


def hang_limit_s(timeout_s: float) -> float | None:
    """Seconds at one clip after which a worker must be stuck where the clip's own time limit does not reach."""
    return 2 * timeout_s + 30 if timeout_s > 0 else None


class _Watch:
    """Kills the workers when they make no progress for ``limit_s``; then ``expired_s`` is how long they had."""

    def __init__(self, iterator: Any, activity: _Activity, limit_s: float | None):
        self.expired_s: float | None = None
        self._iterator, self._activity, self._limit_s = iterator, activity, limit_s
        self._awaited_from = time.monotonic()

    def run(self, done: threading.Event) -> None:
        """Watches until ``done``."""
        while not done.wait(_WATCH_S):
            self.expired_s = self._expired()
            if self.expired_s is not None:
                _kill(self._iterator)
                return

    def _expired(self) -> float | None:
        if not self._activity.all_begun:
            return _START_S if time.monotonic() - self._awaited_from > _START_S else None
        if self._limit_s is None or self._activity.stuck_s(self._awaited_from) <= self._limit_s:
            return None
        return self._limit_s


@contextmanager
def _watch(iterator: Any, activity: _Activity, limit_s: float | None) -> Iterator[_Watch]:
    """Watches the workers while the block waits for a batch."""
    watch, done = _Watch(iterator, activity, limit_s), threading.Event()
    threading.Thread(target=watch.run, args=[done], daemon=True).start()
    try:
        yield watch
    finally:
        done.set()


def _death(iterator: Any, watch: _Watch, source: TaskSource, indices: np.ndarray, error: BaseException) -> UserError:
    batch = f"on the batch starting with {source.first_file(indices)}"
    if watch.expired_s is not None:
        waited = f"no batch for {watch.expired_s:g} s"
        return WorkersStuck(f"data workers timed out ({waited}) {batch}; is the storage hanging?")
    codes = [f"pid {w.pid}: exit code {w.exitcode}" for w in iterator._workers if w.exitcode not in (None, 0)]
    if codes:
        hints = dict.fromkeys(_HINTS[w.exitcode] for w in iterator._workers if w.exitcode in _HINTS)
        hints = [hint.format(option=source.option) for hint in hints]
        return UserError(f"a data worker died ({'; '.join([', '.join(codes), *hints])}), {batch}")
    return UserError(f"the data workers ended without a batch ({type(error).__name__}: {error}), {batch}")


def _kill(iterator: Any) -> None:
    for worker in iterator._workers:
        if worker.is_alive():
            worker.kill()


def _shut_down(iterator: Any) -> None:
    try:
        iterator._try_shutdown_all(_JOIN_S)
    finally:
        _kill(iterator)
