"""Where a run's lines are written: the console and the log file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

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


def keep_no_more_records() -> None:
    """Drops what ``continue_logging`` would write again: the run has begun, and its log file is not moved any more."""
    for handler in log.handlers:
        if isinstance(handler, _Recording):
            handler.keeps = False
            handler.records.clear()


def _log_file(folder: Path, rank: int) -> Path:
    return folder / ("log.txt" if rank == 0 else f"log.rank{rank}.txt")


class _Recording(logging.FileHandler):
    """A log file that keeps its first records, those of a run that is being assembled."""

    _MOST = 1000

    def __init__(self, path: Path):
        super().__init__(path, encoding="utf-8")
        self.records: list[logging.LogRecord] = []
        self.keeps = True

    def emit(self, record: logging.LogRecord) -> None:
        if self.keeps and len(self.records) < self._MOST:
            self.records.append(record)
        super().emit(record)
