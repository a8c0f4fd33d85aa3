"""Where a run's words and figures go: console, log file, a JSON-lines file, and TensorBoard or VisualDL when asked."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from paddlevideo.errors import UserError

log = logging.getLogger("paddlevideo")


class _OneLine(logging.Formatter):
    """PaddleVideo's ``[month/day time] message``; control characters from file names cannot forge lines."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)


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
        name = "log.txt" if rank == 0 else f"log.rank{rank}.txt"
        handlers.append(logging.FileHandler(folder / name, encoding="utf-8"))
    for old in list(log.handlers):
        log.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(_OneLine("[%(asctime)s] %(message)s", "%m/%d %H:%M:%S"))
        log.addHandler(handler)
    log.setLevel(level.upper())
    log.propagate = False


class Sink(Protocol):
    """Takes the figures of a step: ``mode`` is train, val, swa or test."""

    def write(self, mode: str, step: int, figures: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """``metrics.jsonl``: an object per record: ``mode``, ``step``, ``time``, and the figures (null: not finite)."""

    def __init__(self, folder: Path):
        self._stream = (folder / "metrics.jsonl").open("a", encoding="utf-8")

    def write(self, mode: str, step: int, figures: dict[str, float]) -> None:
        # JSON has no NaN
        figures = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        self._stream.write(json.dumps({"mode": mode, "step": step, "time": round(time.time(), 3), **figures}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


class TensorBoard:
    """Event files in ``<folder>/tensorboard``."""

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UserError("log_sinks: TensorBoard needs 'pip install tensorboardX'") from None
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, mode: str, step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"{mode}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class VisualDL:
    """Record files in ``<folder>/visualdl``."""

    def __init__(self, folder: Path):
        try:
            from visualdl import LogWriter
        except ImportError:
            raise UserError("log_sinks: VisualDL needs 'pip install visualdl'") from None
        self._writer = LogWriter(logdir=str(folder / "visualdl"))

    def write(self, mode: str, step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"{mode}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


_SINKS: dict[str, Any] = {"TensorBoard": TensorBoard, "VisualDL": VisualDL}


def open_sinks(folder: Path, names: list[str]) -> list[Sink]:
    """The JSON-lines file, and the sinks asked for in ``log_sinks``.

    Raises:
        UserError: an unknown sink, or one whose library is not installed.
    """
    unknown = [name for name in names if name not in _SINKS]
    if unknown:
        raise UserError(f"log_sinks: there is no {unknown[0]!r}; there are: {', '.join(_SINKS)}")
    return [JsonLines(folder), *(_SINKS[name](folder) for name in names)]
