"""Clips from processes that decode videos while the model runs.

Each process has one video at a time, so that a crash or a hang of a decoder is an error of that video alone.  Clips
are passed in memory files that have no name: nothing is left behind, however a process ends.
"""

from __future__ import annotations

import atexit
import contextlib
import mmap
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode.reader import VideoReadError
from paddlevideo.loader.workers import failure_of, follow_parent, hang_limit_s

_START_S = 30  # a process begins within a second, or never
_TICK_S = 0.5  # seconds of waiting that are counted at once: all processes may have been suspended
_JOIN_S = 3
_TRIES = 2  # of one video, and of a process that does not begin
_KILLED = {
    -signal.SIGKILL: ": killed, mostly by the system's memory limit; fewer --num_workers need less",
    -signal.SIGBUS: ": bus error, mostly because memory is full",
    -signal.SIGSEGV: ": a library crashed",
    -signal.SIGABRT: ": a library aborted",
}

Made = tuple[dict[str, Any], np.ndarray | None]  # what a connection can send, and the clip
Make = Callable[[int], Made]


class ClipWorkers:
    """Processes that make the clips of numbered videos.

    Args:
        make: the clip of a video; its first part has ``error``, as ``failure_of`` gives it, where there is none.
        path_of: a video's path, for messages.
        num_workers: processes.
        num_ahead: clips that are made ahead, of all processes together; at least two of each.
        timeout_s: time limit of one clip, which ``make`` has, too; 0: none.
    """

    def __init__(
        self, make: Make, path_of: Callable[[int], str], num_workers: int, num_ahead: int, timeout_s: float
    ):  # fmt: skip
        self._make, self._path_of, self._num_workers = make, path_of, num_workers
        self._depth = max(2, -(-num_ahead // num_workers))
        self._limit_s = hang_limit_s(timeout_s)
        self._workers: list[_Worker] = []
        self._failures: dict[int, int] = {}  # position -> processes that died or hung with it
        self._num_unborn = 0  # processes in a row that did not begin

    def clips(self, indices: Sequence[int], ordered: bool = True) -> Iterator[tuple[int, Made]]:
        """The index and clip of each of these videos.  A video whose process dies or hangs is tried twice.

        Args:
            ordered: in their order, so that a slow video delays all after it; else as they are done.

        Raises:
            UserError: processes do not begin.
        """
        done: dict[int, Made] = {}  # by position
        num_dealt = 0
        atexit.register(self.close)  # before multiprocessing's own exit: the processes ignore its SIGTERM
        try:
            self._workers = [_Worker(self._make, deque()) for _ in range(self._num_workers)]
            for num_given in range(len(indices)):
                while (position := num_given if ordered else next(iter(done), None)) not in done:
                    num_dealt = self._deal(indices, num_dealt, num_given)
                    self._receive(indices, done)
                yield int(indices[position]), done.pop(position)
        finally:
            self.close()
            atexit.unregister(self.close)

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def _deal(self, indices: Sequence[int], num_dealt: int, num_given: int) -> int:
        """Gives each process its next videos; the number of those that were given so far."""
        last = min(len(indices), num_given + self._depth * self._num_workers)
        while num_dealt < last:
            worker = min(self._workers, key=lambda each: len(each.positions))
            if len(worker.positions) >= self._depth:
                break
            worker.positions.append(num_dealt)
            worker.send(int(indices[num_dealt]))
            num_dealt += 1
        return num_dealt

    def _receive(self, indices: Sequence[int], done: dict[int, Made]) -> None:
        """Waits for clips, and replaces processes that died or make no progress."""
        start = time.monotonic()
        ready = wait([worker.connection for worker in self._workers], timeout=_TICK_S)
        waited_s = min(time.monotonic() - start, _TICK_S)
        for number, worker in enumerate(self._workers):
            if worker.connection in ready:
                if worker.receive(done, self._limit_s):
                    self._num_unborn = 0
                else:
                    self._replace(number, indices, done)
            elif worker.is_stuck(waited_s, self._limit_s):
                self._replace(number, indices, done)

    def _replace(self, number: int, indices: Sequence[int], done: dict[int, Made]) -> None:
        worker = self._workers[number]
        reason, detail = worker.end()
        positions = worker.positions
        if not worker.begun:
            self._num_unborn += 1
            if self._num_unborn >= _TRIES:
                raise UserError(f"processes that decode videos do not begin ({detail}); --num_workers 0 needs none")
        elif positions:
            failed = positions[0]
            self._failures[failed] = self._failures.get(failed, 0) + 1
            if self._failures[failed] >= _TRIES:
                positions.popleft()
                del self._failures[failed]
                error = VideoReadError(self._path_of(int(indices[failed])), reason, f"{detail}; tried twice")
                done[failed] = {"error": failure_of(error)}, None
        self._workers[number] = _Worker(self._make, positions)
        for position in positions:
            self._workers[number].send(int(indices[position]))


class _Worker:
    """One process, seen from its parent.

    Attributes:
        positions: of the videos that it was given, in their order; it has the first one.
    """

    def __init__(self, make: Make, positions: deque[int]):
        context = multiprocessing.get_context("fork")
        self.connection, child_end = context.Pipe()
        arguments = (os.getpid(), self.connection, child_end, make)
        self.positions, self.begun = positions, False
        self._idle_s, self._expired_s = 0.0, None
        self._process = context.Process(target=_serve, args=arguments, name="decode", daemon=True)
        self._process.start()
        child_end.close()

    def send(self, index: int) -> None:
        """Gives it a video."""
        with contextlib.suppress(OSError):  # it died: its end is received
            self.connection.send(index)

    def receive(self, done: dict[int, Made], limit_s: float | None) -> bool:
        """Takes its next message; False: it died."""
        try:
            header = self.connection.recv()
            if header is None:
                self.begun, self._idle_s = True, 0.0
                return True
            imgs = None
            if "shape" in header:
                if not self.connection.poll(limit_s):  # it was stopped between the two parts
                    self._expired_s = limit_s
                    return False
                imgs = _mapped(reduction.recv_handle(self.connection), header.pop("shape"), header.pop("dtype"))
        except (EOFError, OSError, RuntimeError):
            return False
        done[self.positions.popleft()] = header, imgs
        self._idle_s = 0.0
        return True

    def is_stuck(self, waited_s: float, limit_s: float | None) -> bool:
        """Whether it has made no progress for too long; counts these seconds."""
        if self.begun and not self.positions:
            return False
        self._idle_s += waited_s
        limit_s = limit_s if self.begun else _START_S
        if limit_s is None or self._idle_s < limit_s:
            return False
        self._expired_s = limit_s
        return True

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.join(_JOIN_S)  # one that waits for its disk ends when the disk answers
        self.connection.close()

    def end(self) -> tuple[str, str]:
        """Why it ended: a word of ``VideoReadError`` and the cause."""
        if self._expired_s is None:
            self._process.join(_JOIN_S)
        code = self._process.exitcode
        self.kill()
        if self._expired_s is not None:
            return "timeout", f"no clip for {self._expired_s:g} s from the process that decodes it"
        return "crashed", f"the process that decodes it died with exit code {code}{_KILLED.get(code, '')}"


def _serve(parent: int, parent_end: Connection, connection: Connection, make: Make) -> None:
    """A process: sends None when it begins, then the clip of each number that it receives."""
    follow_parent(parent)
    parent_end.close()
    with contextlib.suppress(EOFError, OSError):  # the parent has closed its end
        connection.send(None)
        while True:
            index = connection.recv()
            try:
                header, imgs = make(index)
            except Exception as error:  # of a library; its video is named by the one who raises it
                header, imgs = {"error": failure_of(error)}, None
            _send(connection, header, imgs)


def _send(connection: Connection, header: dict[str, Any], imgs: np.ndarray | None) -> None:
    if imgs is None:
        connection.send(header)
        return
    file = os.memfd_create("clip")
    try:
        rest = memoryview(np.ascontiguousarray(imgs)).cast("B")
        while len(rest):
            rest = rest[os.write(file, rest) :]
        connection.send(header | {"shape": imgs.shape, "dtype": imgs.dtype.str})
        reduction.send_handle(connection, file, None)
    finally:
        os.close(file)


def _mapped(file: int, shape: Sequence[int], dtype: str) -> np.ndarray:
    """The array in a memory file, read only."""
    try:
        return np.frombuffer(mmap.mmap(file, 0, access=mmap.ACCESS_READ), dtype).reshape(shape)
    finally:
        os.close(file)
