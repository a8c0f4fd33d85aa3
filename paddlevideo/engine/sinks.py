"""Where the figures and pictures of a run go: ``metrics.jsonl``, and what ``LOGGING`` names.

A sink opens its files or its connection at the first record: until then the folder may hold another run.  One that
fails later (a full disk, a server that is gone) is closed and left out with one warning; training goes on.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import logging
import math
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.addresses import without_secrets
from paddlevideo.errors import UserError
from paddlevideo.safe_io import write_atomic

log = logging.getLogger("paddlevideo")


@dataclass(frozen=True)
class SinkRun:
    """What a sink needs of the run.

    Args:
        folder: the output folder.
        name: ``model_name``.
        identity: of the run, the same after a resume.
        config: the resolved configuration, and the same as YAML text.
    """

    folder: Path
    name: str
    identity: str
    config: Mapping[str, Any]
    config_text: str


class Sink(ABC):
    """Takes figures, and where it can also pictures, of a run.

    Attributes:
        takes_pictures: whether ``picture`` does anything.
        package: the library that it writes with, as pip and Python name it; "": none.
        label: what warnings call it; "": its class, as a part of ``LOGGING``.

    Args:
        run: of whose folder and configuration.
        options: of the configuration, checked against ``ranges``.
    """

    takes_pictures = False
    package = ""
    label = ""

    def __init__(self, run: SinkRun, options: Mapping[str, Any]):
        self.run, self.options = run, options

    @abstractmethod
    def figures(self, mode: str, step: int, figures: Mapping[str, float]) -> None:
        """Takes one record.

        Args:
            mode: train (a step), epoch (means over an epoch's steps), val, or swa.
            step: optimizer steps since the run's beginning.
            figures: by name; NaN and infinity are possible.
        """

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """Takes a picture, uint8 [H, W, 3] RGB."""
        return

    def close(self) -> None:
        """Called once, after the last record."""
        return


class JsonLines(Sink):
    """``metrics.jsonl``: an object per record: ``mode``, ``step``, ``time``, and the figures (null: not finite)."""

    label = "metrics.jsonl"
    _stream: Any = None

    def figures(self, mode: str, step: int, figures: Mapping[str, float]) -> None:
        if self._stream is None:
            self._stream = _appended(self.run.folder / "metrics.jsonl")
        # JSON has no NaN
        figures = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        self._stream.write(json.dumps({"mode": mode, "step": step, "time": round(time.time(), 3), **figures}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


class CsvFiles(Sink):
    """``metrics_<mode>.csv``, a column per figure; a file gets its new columns when a figure comes that it lacks."""

    def __init__(self, run: SinkRun, options: Mapping[str, Any]):
        super().__init__(run, options)
        self._streams: dict[str, tuple[list[str], Any]] = {}  # mode -> columns, stream

    def figures(self, mode: str, step: int, figures: Mapping[str, float]) -> None:
        columns, stream = self._streams.get(mode) or self._open(mode, figures)
        if any(name not in columns for name in figures):
            stream.close()
            columns, stream = self._open(mode, figures)
        row = {"step": step, "time": round(time.time(), 3), **figures}
        csv.writer(stream).writerow([row.get(name, "") for name in columns])
        stream.flush()

    def _open(self, mode: str, figures: Iterable[str]) -> tuple[list[str], Any]:
        """The file with a column for each of these figures, besides those that it has."""
        path = self.run.folder / f"metrics_{mode}.csv"
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8")))) if path.is_file() else []
        old = rows[0] if rows else ["step", "time"]
        columns = [*old, *(name for name in figures if name not in old)]
        if columns != old or not rows:
            text = io.StringIO()
            table = csv.writer(text)
            table.writerow(columns)
            table.writerows(row + [""] * (len(columns) - len(row)) for row in rows[1:])
            write_atomic(path, text.getvalue())
        stream = _appended(path)
        self._streams[mode] = columns, stream
        return columns, stream

    def close(self) -> None:
        for _, stream in self._streams.values():
            stream.close()


class EventWriter(Sink):
    """A writer of TensorBoard's interface, which VisualDL has, too: scalars, pictures, and the configuration as text.

    Args:
        open_writer: called with the run at the first record.
    """

    takes_pictures = True
    picture_form: Mapping[str, str] = {}  # arguments of ``add_image`` for [H, W, 3]

    def __init__(self, run: SinkRun, options: Mapping[str, Any]):
        super().__init__(run, options)
        self._writer: Any = None
        self._make = self.library()

    @staticmethod
    @abstractmethod
    def library() -> Callable[[Path], Any]:
        """What opens a writer in the output folder."""

    @property
    def writer(self) -> Any:
        """Opened at its first use, with the configuration as its first record."""
        if self._writer is None:
            self._writer = self._make(self.run.folder)
            text = "".join(f"    {line}\n" for line in self.run.config_text.splitlines())  # Markdown: verbatim
            self._writer.add_text("configuration", text, 0)
        return self._writer

    def figures(self, mode: str, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(f"{mode}/{name}", value, step)

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        self.writer.add_image(name, picture, step, **self.picture_form)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class TensorBoard(EventWriter):
    """Event files in ``tensorboard``."""

    package = "tensorboardX"
    picture_form = {"dataformats": "HWC"}

    @staticmethod
    def library() -> Callable[[Path], Any]:
        from tensorboardX import SummaryWriter

        return lambda folder: SummaryWriter(str(folder / "tensorboard"))


class VisualDL(EventWriter):
    """Record files in ``visualdl``."""

    package = "visualdl"

    @staticmethod
    def library() -> Callable[[Path], Any]:
        from visualdl import LogWriter

        return lambda folder: LogWriter(logdir=str(folder / "visualdl"))


class WeightsAndBiases(Sink):
    """A run of Weights & Biases, in ``wandb``; offline unless ``mode`` or WANDB_MODE is online.

    A resumed run continues under the same identity.  Steps are a figure of their own, since a resumed run repeats some.
    """

    takes_pictures = True
    package = "wandb"

    def __init__(self, run: SinkRun, options: Mapping[str, Any]):
        super().__init__(run, options)
        import wandb

        self._library, self._session = wandb, None

    @property
    def session(self) -> Any:
        """Opened at its first use."""
        if self._session is None:
            chosen = {"project": self.run.name, "name": self.run.folder.name, **self.options}
            mode = chosen.pop("mode", None) or os.environ.get("WANDB_MODE") or "offline"
            self._session = self._library.init(
                dir=str(self.run.folder), mode=mode, id=self.run.identity, resume="allow", config=dict(self.run.config),
                **chosen,
            )  # fmt: skip
            self._session.define_metric("*", step_metric="step")
        return self._session

    def figures(self, mode: str, step: int, figures: Mapping[str, float]) -> None:
        self.session.log({"step": step, **{f"{mode}/{name}": value for name, value in figures.items()}})

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        self.session.log({"step": step, name: self._library.Image(picture)})

    def close(self) -> None:
        if self._session is not None:
            self._session.finish()


class MLflow(Sink):
    """A run of MLflow, in the file store ``mlruns``; elsewhere with ``tracking_uri`` or MLFLOW_TRACKING_URI.

    A resumed run continues the one with its identity.
    """

    takes_pictures = True
    package = "mlflow"
    _OTHER = re.compile(r"[^\w\-. /]")  # characters that MLflow allows in no name
    # newer versions refuse a store of files unless it is allowed; by its own defaults MLflow retries a server that is
    # gone for minutes, in which training would stand still
    _DEFAULTS = {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    }

    def __init__(self, run: SinkRun, options: Mapping[str, Any]):
        super().__init__(run, options)
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        self._client_of, self._metric = MlflowClient, Metric
        self._opened: tuple[Any, str] | None = None

    @property
    def session(self) -> tuple[Any, str]:
        """The client and the identity of MLflow's run, opened at their first use."""
        if self._opened is None:
            chosen = self.options.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI")
            for name, value in self._DEFAULTS.items():
                os.environ.setdefault(name, value)
            client = self._client_of(tracking_uri=chosen or (self.run.folder / "mlruns").resolve().as_uri())
            name = self.options.get("experiment", self.run.name)
            found = client.get_experiment_by_name(name)
            experiment = client.create_experiment(name) if found is None else found.experiment_id
            tags = {"paddlevideo.run": self.run.identity}
            runs = client.search_runs([experiment], f"tags.`paddlevideo.run` = '{self.run.identity}'", max_results=1)
            if runs:
                identity = runs[0].info.run_id
            else:
                name = self.options.get("run_name", self.run.folder.name)
                identity = client.create_run(experiment, tags=tags, run_name=name).info.run_id
            client.update_run(identity, status="RUNNING")
            client.log_text(identity, self.run.config_text, "config.yaml")
            self._opened = client, identity
        return self._opened

    def figures(self, mode: str, step: int, figures: Mapping[str, float]) -> None:
        client, identity = self.session
        now_ms = int(1000 * time.time())
        names = {name: self._OTHER.sub("_", f"{mode}/{name}") for name in figures}
        metrics = [self._metric(names[name], float(value), now_ms, step) for name, value in figures.items()]
        client.log_batch(identity, metrics=metrics)

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        client, identity = self.session
        client.log_image(identity, picture, f"{name}/step_{step:08d}.png")

    def close(self) -> None:
        if self._opened is not None:
            client, identity = self._opened
            client.set_terminated(identity)


SINKS: dict[str, type[Sink]] = {
    "csv": CsvFiles, "tensorboard": TensorBoard, "visualdl": VisualDL, "wandb": WeightsAndBiases, "mlflow": MLflow,
}  # fmt: skip


def missing_libraries(chosen: Iterable[str]) -> list[str]:
    """A line for each of these sinks whose library is not installed; nothing is imported."""
    needed = {name: SINKS[name].package for name in chosen if SINKS[name].package}
    return [
        f"LOGGING: {name} needs 'pip install {package}'"
        for name, package in needed.items()
        if importlib.util.find_spec(package) is None
    ]


class Sinks:
    """All sinks of a run; none on ranks other than the main one."""

    def __init__(self, sinks: Iterable[Sink] = ()):
        self._sinks = list(sinks)

    @classmethod
    def of(cls, run: SinkRun, chosen: Mapping[str, Mapping[str, Any]]) -> Sinks:
        """``metrics.jsonl``, and what ``Settings.sinks`` names.

        Raises:
            UserError: libraries are not installed, or damaged.
        """
        if missing := missing_libraries(chosen):
            raise UserError("; ".join(missing))
        sinks: list[Sink] = [JsonLines(run, {})]
        for name, options in chosen.items():
            try:
                sinks.append(SINKS[name](run, options))
            except ImportError as error:
                again = f"'pip install --force-reinstall {SINKS[name].package}' may mend it"
                raise UserError(f"LOGGING: {name}: its library cannot be imported ({error}); {again}") from None
        return cls(sinks)

    @property
    def take_pictures(self) -> bool:
        """Whether any of them takes pictures."""
        return any(sink.takes_pictures for sink in self._sinks)

    def figures(self, mode: str, step: int, figures: Mapping[str, float]) -> None:
        """One record to every sink; numbers of numpy become Python's."""
        figures = {name: value.item() if isinstance(value, np.generic) else value for name, value in figures.items()}
        self._each(lambda sink: sink.figures(mode, step, figures))

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """A picture to every sink that takes them, uint8 [H, W, 3] RGB."""
        self._each(lambda sink: sink.picture(name, step, picture))

    def close(self) -> None:
        """Closes all of them; a second call does nothing."""
        self._each(lambda sink: sink.close())
        self._sinks.clear()

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                call(sink)
            except Exception as error:  # a library or a server of others; a run of days is worth more than a record
                name = sink.label or f"LOGGING: {type(sink).__name__}"
                text = " ".join(map(without_secrets, str(error).split()))
                log.warning("%s fails (%s: %.300s); nothing more goes to it", name, type(error).__name__, text)
                self._sinks.remove(sink)
                with contextlib.suppress(Exception):  # it has failed already
                    sink.close()


def _appended(path: Path) -> Any:
    """The file, open at its end; a last line that a killed run left unfinished is ended."""
    stream = path.open("a", encoding="utf-8", newline="")
    if path.stat().st_size:
        with path.open("rb") as existing:
            existing.seek(-1, os.SEEK_END)
            if existing.read(1) != b"\n":
                stream.write("\n")
    return stream
