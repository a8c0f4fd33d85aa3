"""One task on many files, on several processes, with a progress bar; a file that kills its process is named."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any

_AHEAD = 4  # tasks per process that wait in its queue


@dataclass(frozen=True)
class Crashed:
    """The result of a task that crashed its process, twice."""

    detail: str = "the process that read it died; its decoder crashed, or memory ran out"


def run_tasks(
    task: Callable[[Any], Any], items: Sequence[Any], jobs: int, title: str, quiet: bool = False
) -> Iterator[tuple[int, Any]]:
    """Yields (index of the item, ``task(item)``) as they are done, in any order.

    Args:
        task: a function of a module, or a partial of one, since other processes look it up by name.
        jobs: processes; 1: this process does everything, and a crash is then a crash of the command.
        title: of the progress bar.
        quiet: no bar; there is none either where stderr is no terminal.

    Raises:
        Exception: what a task raised; the rest is then dropped.
    """
    from tqdm import tqdm

    with tqdm(total=len(items), desc=title, unit="", disable=quiet or not items or None) as bar:
        for pair in _in_pools(task, items, jobs) if jobs > 1 else ((i, task(item)) for i, item in enumerate(items)):
            bar.update()
            yield pair


def _in_pools(task: Callable, items: Sequence[Any], jobs: int) -> Iterator[tuple[int, Any]]:
    left = list(reversed(range(len(items))))
    while left:
        suspects: list[int] = []
        yield from _one_pool(task, items, jobs, left, suspects)
        for index in suspects:  # one of those in flight brought the pool down: each gets a process of its own
            yield index, _alone(task, items[index])


def _one_pool(
    task: Callable, items: Sequence[Any], jobs: int, left: list[int], suspects: list[int]
) -> Iterator[tuple[int, Any]]:
    """Works until nothing is left or the pool is broken; what was in flight then is added to ``suspects``."""
    pool = _pool(jobs)
    running: dict[Future, int] = {}
    try:
        while left or running:
            try:
                while left and len(running) < jobs * _AHEAD:
                    running[pool.submit(task, items[left[-1]])] = left[-1]
                    left.pop()
            except BrokenProcessPool:
                if not running:
                    raise
                # else the broken futures report it below
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                index = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    suspects.append(index)
                    continue
                yield index, result
            if suspects:
                suspects += running.values()
                return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(task: Callable, item: Any) -> Any:
    with _pool(1) as pool:
        try:
            return pool.submit(task, item).result()
        except BrokenProcessPool:
            return Crashed()


def _pool(jobs: int) -> ProcessPoolExecutor:
    # spawned, as a fork copies whatever threads the caller has in whatever state they are
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare_process)


def _prepare_process() -> None:
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's: what is at work is finished, then it ends
    # workers of a killed command would wait for ever, since they hold both ends of their queue
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
