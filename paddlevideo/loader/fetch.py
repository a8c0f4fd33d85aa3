"""One sample, read and transformed: the keyed generator, the time limit, and the rule for unreadable files."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.lists import describe, sample_error
from paddlevideo.loader.decode.reader import VideoReadError
from paddlevideo.loader.pipelines.sample_boxes import PER_PERSON
from paddlevideo.multigrid import SHAPE, ClipShape

_MAX_SHAPE_TRIES = 50


@dataclass
class SampleSource:
    """Gives the sample of (epoch, index), the same in every process.

    Args:
        dataset: has ``records`` and ``sample(index)``.
        pipeline: ``(sample, rng) -> sample``.
        seed: with epoch and index it seeds the generator of the sample's augmentation.
        on_error: at a VideoReadError ``raise`` it; ``skip`` to the next sample of a permutation seeded by (seed, epoch,
            index); or ``count``: a black clip, without persons, with ``valid`` 0.  Any other error is always raised.
        timeout_s: seconds for reading and transforming one clip; 0: no limit.
        max_replacements: samples tried in place of one unreadable sample.
        damaged: refuse, or read: take what can be decoded of a damaged video.
        video_index: of the data set's videos (``decode.index``); None: there is none.

    Attributes:
        on_clip: called before each clip is read; set in worker processes.
    """

    dataset: Any
    pipeline: Callable[[dict, np.random.Generator], dict]
    seed: int
    on_error: Literal["skip", "raise", "count"]
    timeout_s: float = 60.0
    max_replacements: int = 10
    damaged: Literal["refuse", "read"] = "refuse"
    video_index: Any = None
    on_clip: Callable[[], None] | None = field(default=None, init=False)
    _blank: dict[str, np.ndarray] | None = field(default=None, init=False)

    def fetch(
        self, epoch: int, index: int, shape: ClipShape | None = None
    ) -> tuple[dict[str, Any], list[tuple[int, str]]]:
        """The sample, with ``index`` (of what was read), ``replaced`` and ``valid``; and (index, why) per unreadable
        file.

        Args:
            shape: of the clip, in multigrid training.

        Raises:
            UserError: an error of the pipeline, naming the file; too many unreadable files in a row.
            VideoReadError: with ``on_error`` = ``raise``.
        """
        failures: list[tuple[int, str]] = []
        try:
            return self._finish(self._read([self.seed, epoch, index], index, shape), index), failures
        except VideoReadError as error:
            if self.on_error == "raise":
                raise
            failures.append((index, str(error)))
        if self.on_error == "count":
            return self._unreadable(index), failures
        for candidate in self._replacements(epoch, index):
            try:
                # the requested index is part of the key: a replacement is augmented differently than the clip itself
                sample = self._read([self.seed, epoch, candidate, index], candidate, shape)
                return self._finish(sample, candidate, replaced=index), failures
            except VideoReadError as error:
                failures.append((candidate, str(error)))
        raise UserError(f"{len(failures)} files in a row cannot be read, the first is {failures[0][1]}")

    def _read(self, key: list[int], index: int, shape: ClipShape | None = None) -> dict[str, Any]:
        record = self.dataset.records[index]
        name = record.get("filename") or record.get("frame_dir", "")
        if self.on_clip is not None:
            self.on_clip()
        try:
            with time_limit(name, self.timeout_s):
                sample = self.sample(index) if shape is None else {**self.sample(index), SHAPE: shape}
                return self.pipeline(sample, np.random.default_rng(key))
        except Exception as error:
            named = sample_error(record, error)
            raise named from (None if named is error else error)

    def sample(self, index: int) -> dict[str, Any]:
        """The data set's sample, before the pipeline."""
        return {**self.dataset.sample(index), "damaged": self.damaged, "video_index": self.video_index}

    def _finish(self, sample: dict[str, Any], index: int, replaced: int = -1) -> dict[str, Any]:
        if not isinstance(sample.get("imgs"), np.ndarray):
            record = describe(self.dataset.records[index])
            raise UserError(f"{record}: PIPELINE ended without frames ('imgs'); it needs a decode and a sample step")
        return {**sample, "index": index, "replaced": replaced, "valid": 1}

    def _replacements(self, epoch: int, index: int) -> list[int]:
        order = np.random.default_rng([self.seed, epoch, index, 1]).permutation(len(self.dataset.records))
        return [int(i) for i in order[: self.max_replacements + 1] if i != index][: self.max_replacements]

    def _unreadable(self, index: int) -> dict[str, Any]:
        if self._blank is None:
            seen = self._any_sample()
            # the picture may have a size of its own: batches of key frames are padded
            self._blank = {
                key: value[:0] if key in PER_PERSON else np.zeros_like(value)
                for key, value in arrays_of(seen).items()
                if key != "label"
            }
        kept = {"label": self.dataset.records[index]["label"]} if "label" in self.dataset.records[index] else {}
        return {**self._blank, "index": index, "replaced": -1, "valid": 0, **kept}

    def _any_sample(self) -> dict[str, Any]:
        for index in range(min(len(self.dataset.records), _MAX_SHAPE_TRIES)):
            try:
                return self._read([self.seed, 0, index], index)
            except VideoReadError as error:
                last = error
        raise UserError(f"none of the first {index + 1} files can be read; the last is {last}")


def arrays_of(sample: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What of a sample reaches the network: its arrays, numpy's scalars among them."""
    return {key: value for key, value in sample.items() if isinstance(value, np.ndarray | np.generic)}


class _TimeUp(BaseException):
    """Not an Exception, so that no library's error handling catches it."""


@contextmanager
def time_limit(path: str, seconds: float) -> Iterator[None]:
    """Raises VideoReadError (timeout) if the block takes longer.

    Works by SIGALRM, so in a process's main thread only, and not where other code uses that signal; the parent of
    the workers has a second watch for what a signal cannot interrupt.
    """
    free = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    if not free or seconds <= 0:
        yield
        return
    signal.signal(signal.SIGALRM, _raise_time_up)
    try:
        try:
            # repeated, because an exception inside a C callback is swallowed
            signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
    except _TimeUp:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        raise VideoReadError(path, "timeout", f"not read within {seconds:g} s (timeout_s)") from None


def _raise_time_up(*_: object) -> None:
    raise _TimeUp
