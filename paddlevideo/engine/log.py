"""Where a run's lines and figures are written: console, log file, JSON lines, and TensorBoard or VisualDL."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from paddlevideo.errors import UserError, printable

log = logging.getLogger("paddlevideo")


class _OneLine(logging.Formatter):
    """PaddleVideo's ``[month/day time] message``; control characters from file names cannot forge lines."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return printable(text, keep="\n\t")


class _Console(logging.Handler):
    """Prints above a progress bar, if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if sys.stdout.isatty():
            from tqdm import tqdm

            tqdm.write(text, file=sys.stdout)
        else:
            print(text, flush=True)


def set_up_logging(folder: Path | None, rank: int = 0, level: str = "INFO") -> None:
    """Console on rank 0; ``<folder>/log.txt`` (``log.rankN.txt`` elsewhere), appended to.

    Raises:
        UserError: ``level`` is none of the logging levels.
    """
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise UserError(f"log_level: expected DEBUG, INFO, WARNING or ERROR, got {level!r}")
    handlers: list[logging.Handler] = [_Console()] if rank == 0 else []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(_Recording(_log_file(folder, rank)))
    for old in list(log.handlers):
        log.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(_OneLine("[%(asctime)s] %(message)s", "%m/%d %H:%M:%S"))
        log.addHandler(handler)
    log.setLevel(level.upper())
    log.propagate = False


def continue_logging(folder: Path, rank: int = 0) -> None:
    """Begins the log file of ``set_up_logging`` again, with what was logged since then: the old file was moved away."""
    for old in [handler for handler in log.handlers if isinstance(handler, _Recording)]:
        log.removeHandler(old)
        new = _Recording(_log_file(folder, rank))
        new.setFormatter(old.formatter)
        log.addHandler(new)
        for record in old.records:
            new.handle(record)
        old.close()


def _log_file(folder: Path, rank: int) -> Path:
    return folder / ("log.txt" if rank == 0 else f"log.rank{rank}.txt")


class _Recording(logging.FileHandler):
    """A log file that keeps its first records, those of a run that is being assembled."""

    _MOST = 1000

    def __init__(self, path: Path):
        super().__init__(path, encoding="utf-8")
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.records) < self._MOST:
            self.records.append(record)
        super().emit(record)


class Sink(Protocol):
    """Takes the figures of a step: ``mode`` is train, val, swa or test."""

    def write(self, mode: str, step: int, figures: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """``metrics.jsonl``: an object per record: ``mode``, ``step``, ``time``, and the figures (null: not finite)."""

    def __init__(self, folder: Path):
        self._path = folder / "metrics.jsonl"
        self._stream: Any = None  # opened at the first record: until then the folder may hold another run

    def write(self, mode: str, step: int, figures: dict[str, float]) -> None:
        if self._stream is None:
            self._stream = self._path.open("a", encoding="utf-8")
        # JSON has no NaN
        figures = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        self._stream.write(json.dumps({"mode": mode, "step": step, "time": round(time.time(), 3), **figures}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


class _Scalars:
    """A writer of ``add_scalar`` records, opened at the first one."""

    def __init__(self, open_writer: Callable[[], Any]):
        self._open, self._writer = open_writer, None

    def write(self, mode: str, step: int, figures: dict[str, float]) -> None:
        self._writer = self._writer or self._open()
        for name, value in figures.items():
            self._writer.add_scalar(f"{mode}/{name}", value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _tensorboard(folder: Path) -> Sink:
    """Event files in ``<folder>/tensorboard``."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError("log_sinks: TensorBoard needs 'pip install tensorboardX'") from None
    return _Scalars(lambda: SummaryWriter(str(folder / "tensorboard")))


def _visualdl(folder: Path) -> Sink:
    """Record files in ``<folder>/visualdl``."""
    try:
        from visualdl import LogWriter
    except ImportError:
        raise UserError("log_sinks: VisualDL needs 'pip install visualdl'") from None
    return _Scalars(lambda: LogWriter(logdir=str(folder / "visualdl")))


_SINKS: dict[str, Any] = {"TensorBoard": _tensorboard, "VisualDL": _visualdl}


def open_sinks(folder: Path, names: list[str]) -> list[Sink]:
    """The JSON-lines file, and the sinks that ``log_sinks`` names.

    Raises:
        UserError: an unknown sink, or one whose library is not installed.
    """
    unknown = [name for name in names if name not in _SINKS]
    if unknown:
        raise UserError(f"log_sinks: there is no {unknown[0]!r}; there are: {', '.join(_SINKS)}")
    return [JsonLines(folder), *(_SINKS[name](folder) for name in names)]
