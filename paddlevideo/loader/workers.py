"""Batches from worker processes, on ``paddle.io.DataLoader``, without its traps.

Paddle's loader loses the reason of an exception in a worker, waits for ever for a stuck one, keeps workers alive
after an early ``break``, and hangs on exceptions when it has no workers.  So no exception is raised inside it: a
failure travels as an array and is raised here; a watch kills workers that give nothing; and the end, early or not,
reaps them.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.collate import BatchSource
from paddlevideo.loader.decode.reader import VideoReadError

log = logging.getLogger("paddlevideo")

_LISTS = frozenset({"unreadable", "remarks"})  # entries of a batch that are no arrays
_JOIN_S = 3
_START_S = 30  # a worker begins within a second, or it never does
_POLL_S = 2  # how often paddle looks whether a worker died
_PR_SET_PDEATHSIG = 1


Task = tuple[int, int, np.ndarray]  # epoch, number of the batch, its sample indices


class WorkersStuck(UserError):
    """Workers that gave nothing for too long and were ended."""


def worker_batches(source: BatchSource, tasks: list[Task], num_workers: int) -> Iterator[dict[str, Any]]:
    """Batches of paddle Tensors, in the tasks' order.

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


def _batches_of_one_set(source: BatchSource, tasks: list[Task], num_workers: int) -> Iterator[dict[str, Any]]:
    import paddle

    longest = max(len(indices) for _, _, indices in tasks)
    begun = multiprocessing.RawArray("b", num_workers)
    loader = paddle.io.DataLoader(
        dataset=_Keyed(source),
        batch_sampler=[[task] for task in tasks],
        collate_fn=_only,
        num_workers=num_workers,
        worker_init_fn=functools.partial(_start_worker, os.getpid(), begun),
        use_shared_memory=True,
        timeout=_POLL_S,
    )
    iterator = iter(loader)
    shut_down = functools.partial(_shut_down, iterator)
    atexit.register(shut_down)  # before multiprocessing's own exit, which would wait for workers that ignore SIGTERM
    _keep_deaths_out_of_the_signal_handler(iterator)
    try:
        limit_s = _limit(source.samples.timeout_s, longest)
        for number, (_, _, indices) in enumerate(tasks):
            beginning = (_START_S, lambda: all(begun)) if number == 0 else None
            with _watch(iterator, limit_s, beginning) as watch:
                try:
                    batch = next(iterator)
                except (StopIteration, SystemError, RuntimeError) as error:
                    raise _death(iterator, watch, source, indices, error) from None
            _raise_failure(batch)
            for key in _LISTS & batch.keys():
                batch[key] = _unpack(batch[key])
            yield batch
    finally:
        atexit.unregister(shut_down)
        shut_down()


class _Keyed:
    """A paddle data set whose keys are tasks and whose items are whole batches, or the failure to make one."""

    def __init__(self, source: BatchSource):
        self._source = source

    def __len__(self) -> int:
        return len(self._source.samples.dataset.records)

    def __getitem__(self, task: Task) -> dict[str, np.ndarray]:
        try:
            batch = self._source.make(*task)
            for key in _LISTS & batch.keys():
                batch[key] = _pack(batch[key])
            return batch
        except VideoReadError as error:
            return {"failure": _pack({"path": error.path, "reason": error.reason, "detail": error.detail})}
        except Exception as error:
            text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            return {"failure": _pack({"message": text})}


def _only(items: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return items[0]


def _raise_failure(batch: dict[str, Any]) -> None:
    if "failure" in batch:
        failure = _unpack(batch["failure"])
        raise UserError(failure["message"]) if "message" in failure else VideoReadError(**failure)


def _pack(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8).copy()


def _unpack(array: Any) -> Any:
    return json.loads(np.asarray(array).tobytes().decode())


def _start_worker(parent: int, begun: Any, number: int) -> None:
    """Runs first in each worker: no life after the parent, signals left to it, one thread; then a sign of life.

    A SIGTERM that a scheduler sends to all processes of a job must not take the batches away from a parent that is
    about to finish its step and save.
    """

    def leave_if_orphaned(*_: object) -> None:
        if os.getppid() != parent:
            _leave()

    signal.signal(signal.SIGTERM, leave_if_orphaned)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    leave_if_orphaned()  # the parent may have died before the line above
    import cv2

    cv2.setNumThreads(0)
    begun[number] = 1


def _leave() -> None:
    """Frees shared memory and ends at once: a normal exit would wait for a queue that nobody reads any more."""
    from paddle.base import core

    core._cleanup_mmap_fds()
    os._exit(128 + signal.SIGTERM)


def _keep_deaths_out_of_the_signal_handler(iterator: Any) -> None:
    # paddle raises from SIGCHLD, in the middle of whatever the main thread does; ``next`` reports the death anyway
    from paddle.base import core

    core._erase_process_pids(id(iterator))


def _limit(timeout_s: float, batch_size: int) -> float | None:
    """Seconds without a batch after which a worker must be stuck where its own time limit does not reach."""
    return 2 * timeout_s * batch_size + 30 if timeout_s > 0 else None


@contextmanager
def _watch(
    iterator: Any, limit_s: float | None, beginning: tuple[float, Callable[[], bool]] | None
) -> Iterator[threading.Event]:
    """Kills the workers if the block takes too long; the event tells so.

    Args:
        beginning: seconds after which the given condition must hold.
    """
    fired = threading.Event()

    def kill(unless: Callable[[], bool] = lambda: False) -> None:
        if not unless():
            fired.set()
            _kill(iterator)

    timers = [threading.Timer(limit_s, kill)] if limit_s else []
    if beginning:
        timers.append(threading.Timer(beginning[0], kill, [beginning[1]]))
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield fired
    finally:
        for timer in timers:
            timer.cancel()


def _death(
    iterator: Any, watch: threading.Event, source: BatchSource, indices: np.ndarray, error: BaseException
) -> UserError:
    records = source.samples.dataset.records
    first = records[int(indices[0])]
    name = first.get("filename") or first.get("frame_dir")
    near = f"while the batch that begins with {name} was awaited"
    if watch.is_set():
        return WorkersStuck(
            f"the data workers gave nothing for too long and were ended, {near}; a file system that hangs?"
        )
    codes = [f"pid {w.pid}: exit code {w.exitcode}" for w in iterator._workers if w.exitcode not in (None, 0)]
    if codes:
        hint = "-9 is mostly the system's memory limit: fewer DATASET.num_workers or a smaller batch"
        return UserError(f"a data worker died ({', '.join(codes)}; {hint}), {near}")
    return UserError(f"the data workers ended without a batch ({type(error).__name__}: {error}), {near}")


def _kill(iterator: Any) -> None:
    for worker in iterator._workers:
        if worker.is_alive():
            worker.kill()


def _shut_down(iterator: Any) -> None:
    try:
        iterator._try_shutdown_all(_JOIN_S)
    finally:
        _kill(iterator)
