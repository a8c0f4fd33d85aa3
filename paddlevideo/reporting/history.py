"""``metrics.jsonl`` of a training run as columns of numbers, read as it grows."""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paddlevideo.safe_io import reading

_FIRST = {"train": 0, "epoch": 1}  # of one step, in this order; validations after them
_LAST = 2
_NUMBERS = frozenset((int, float, type(None)))
_NO_FIGURES = ("time", "epoch")
COSTS = ("reader_cost", "batch_cost")


class _Table:
    """The records of one mode: a column per figure, NaN where a record lacks it, infinity for null (not finite)."""

    def __init__(self) -> None:
        self.steps, self.columns = array("q"), {}

    def add(self, step: int, record: dict[str, float | None]) -> None:
        """Appends a record without its mode and step."""
        for name in record:
            if name not in self.columns:
                self.columns[name] = array("d", [math.nan]) * len(self.steps)
        self.steps.append(step)
        for name, column in self.columns.items():
            value = record.get(name, math.nan)
            column.append(math.inf if value is None else value)

    def drop(self, start: int) -> int:
        """Drops the records from place ``start`` on; returns how many."""
        count = len(self.steps) - start
        del self.steps[start:]
        for column in self.columns.values():
            del column[start:]
        return count


class History:
    """The records of a run, each step of each mode once.

    A resumed run repeats the steps after its resume point: the latest records count, and those of the abandoned steps
    are left out.

    Args:
        path: of ``metrics.jsonl``; it may be missing.

    Attributes:
        resumes: the first step after each point at which the steps went back.
        num_dropped: records of abandoned steps.
        num_unread: lines that are no record.
        is_unfinished: the last line has no end, as of a run that was killed, or writes it.
    """

    def __init__(self, path: Path):
        self.path = path
        self.resumes: list[int] = []
        self.num_dropped = self.num_unread = 0
        self.is_unfinished = False
        self._tables: dict[str, _Table] = {}
        self._last = (-1, 0)  # step and rank of the newest record
        self._offset = 0

    def read(self) -> None:
        """Takes in the lines that were appended since the last call; an unfinished last line waits for the next.

        Raises:
            UserError: the file cannot be read.
        """
        if not self.path.is_file():
            return
        with reading(self.path, "the figures of a run"), self.path.open("rb") as stream:
            stream.seek(self._offset)
            self.is_unfinished = False
            for line in stream:
                if not line.endswith(b"\n"):
                    self.is_unfinished = True
                    break
                self._offset += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            mode, step = record.pop("mode"), record.pop("step")
            numbers = _NUMBERS.issuperset(map(type, record.values()))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            numbers, mode, step = False, None, None
        if not numbers or not isinstance(mode, str) or not isinstance(step, int) or not 0 <= step < 1 << 62:
            self.num_unread += bool(line.strip())
            return
        place = (step, _FIRST.get(mode, _LAST))
        if place < self._last or (place == self._last and self._has(mode, step)):
            self._go_back(place, mode)
        self._last = place
        self._tables.setdefault(mode, _Table()).add(step, record)

    def _has(self, mode: str, step: int) -> bool:
        table = self._tables.get(mode)
        return table is not None and bool(table.steps) and table.steps[-1] == step

    def _go_back(self, place: tuple[int, int], mode: str) -> None:
        """Drops what came at or after ``place``; a validation of the same step by another mode stays."""
        step, rank = place
        if place < self._last:
            self.resumes.append(step)
        for name, table in self._tables.items():
            after = _FIRST.get(name, _LAST) > rank or name == mode
            start = bisect_left(table.steps, step) if after else bisect_right(table.steps, step)
            self.num_dropped += table.drop(start)

    @property
    def modes(self) -> list[str]:
        """Those that have records."""
        return [name for name, table in self._tables.items() if table.steps]

    def figures(self, mode: str) -> list[str]:
        """Names of the mode's figures, in the order in which they came; no counts and no clock."""
        table = self._tables.get(mode)
        names = [] if table is None else list(table.columns)
        return [name for name in names if name not in _NO_FIGURES and not name.startswith("num_")]

    def steps(self, mode: str) -> np.ndarray:
        """int64 [R], ascending."""
        table = self._tables.get(mode)
        return np.zeros(0, "int64") if table is None else np.array(table.steps, "int64")

    def column(self, mode: str, name: str) -> np.ndarray:
        """float64 [R]: NaN where a record lacks the figure, infinity where it was not finite."""
        table = self._tables.get(mode)
        if table is None or name not in table.columns:
            return np.full(len(self.steps(mode)), np.nan)
        return np.array(table.columns[name], "float64")


class Epochs:
    """A run's training, epoch by epoch.

    The means of an epoch are its ``epoch`` record; of an epoch without one (of files of before such records, or not
    finished) those of its logged steps.

    Args:
        history: of the run.

    Attributes:
        numbers: int64 [E], ascending, from 1.
        ends: int64 [E], the last recorded step of each.
        exact: bool [E]; False: means of logged steps.
    """

    def __init__(self, history: History):
        self._history = history
        own = history.column("epoch", "epoch")
        of_steps = history.column("train", "epoch")
        known = np.concatenate([of_steps, own])
        self.numbers = np.unique(known[np.isfinite(known)].astype("int64"))
        self.ends = np.zeros(len(self.numbers), "int64")
        self._places: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # mode -> places in numbers, and of the records
        for mode, epochs in (("train", of_steps), ("epoch", own)):
            rows = np.flatnonzero(np.isfinite(epochs))
            at = np.searchsorted(self.numbers, epochs[rows].astype("int64"))
            self._places[mode] = at, rows
            np.maximum.at(self.ends, at, history.steps(mode)[rows])
        self.exact = np.isin(self.numbers, own[np.isfinite(own)].astype("int64"))

    def mean(self, name: str) -> np.ndarray:
        """float64 [E] of a figure of training, NaN where it is unknown or was never finite."""
        at, rows = self._places["train"]
        values = self._history.column("train", name)[rows]
        finite = np.isfinite(values)
        count = np.bincount(at[finite], minlength=len(self.numbers))
        total = np.bincount(at[finite], values[finite], minlength=len(self.numbers))
        means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        at, rows = self._places["epoch"]
        exact = self._history.column("epoch", name)[rows]
        noted = ~np.isnan(exact)  # the rate is in no record of an epoch
        means[at[noted]] = exact[noted]
        return np.where(np.isfinite(means), means, np.nan)

    def reader_share(self) -> np.ndarray:
        """float64 [E]: the part of a step's time that it waits for data, 0 to 1."""
        reader, batch = (self.mean(name) for name in COSTS)
        return np.divide(reader, batch, out=np.full(len(batch), np.nan), where=batch > 0)

    def validation(self, mode: str, name: str) -> np.ndarray:
        """float64 [E] of a figure of validations: of the epoch's record, NaN where it has none."""
        values = np.full(len(self.numbers), np.nan)
        epochs = self._history.column(mode, "epoch")
        rows = np.flatnonzero(np.isin(epochs, self.numbers))
        values[np.searchsorted(self.numbers, epochs[rows].astype("int64"))] = self._history.column(mode, name)[rows]
        return np.where(np.isfinite(values), values, np.nan)


def best_epoch(history: History, name: str, higher: bool = True) -> tuple[int, float] | None:
    """Epoch and value of the best validation by a figure, the earliest of equal ones; None without one."""
    values, epochs = history.column("val", name), history.column("val", "epoch")
    usable = np.isfinite(values) & np.isfinite(epochs)
    if not usable.any():
        return None
    values, epochs = values[usable], epochs[usable]
    best = int(np.argmax(values) if higher else np.argmin(values))
    return int(epochs[best]), float(values[best])


def not_finite(history: History, modes: Sequence[str], name: str) -> int:
    """How many records of these modes have a value of the figure that was not finite."""
    return sum(int(np.isinf(history.column(mode, name)).sum()) for mode in modes)
