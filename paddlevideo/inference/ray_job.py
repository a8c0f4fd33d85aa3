"""Prediction of many videos as a Ray Data job: actors predict, this process writes their lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.environment import set_cpu_environment
from paddlevideo.errors import UserError
from paddlevideo.inference.inputs import VideoInput, VideoInputs, read_input
from paddlevideo.inference.many import Output, lines_of
from paddlevideo.inference.predictor import Predictor

_MAX_ROWS = 64  # videos of a task: what is lost of each actor where the job is killed


class RayJob:
    """Makes lines on the actors of a Ray cluster, or of this machine where none is named by ``RAY_ADDRESS``.

    Paths and the working directory must be the same on all machines.

    Args:
        make: gives the predictor; called in each actor.
        output: what a line has.
        num_actors: None: as many as the cluster has GPUs, or sets of ``cpus``.
        cpus: cores of an actor: its model, and its processes that decode.
        gpu: whether each has a GPU.

    Raises:
        UserError: Ray is not installed.
    """

    def __init__(
        self, make: Callable[[], Predictor], output: Output, num_actors: int | None, cpus: int, gpu: bool
    ):  # fmt: skip
        require_ray()
        self._make, self._output, self._num_actors, self._cpus, self._gpu = make, output, num_actors, cpus, gpu

    def lines(self, videos: VideoInputs, todo: np.ndarray) -> Iterator[tuple[bytes, bool]]:
        """The lines of these inputs, in the order in which they are done.

        Raises:
            UserError: of an actor; the cluster has not the cores that an actor needs.
        """
        import ray

        if not len(todo):
            return
        ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="warning")
        try:
            yield from self._run(videos, todo)
        except ray.exceptions.RayError as error:
            raise UserError(f"--ray: {_cause(error)}") from error
        finally:
            ray.shutdown()

    def _run(self, videos: VideoInputs, todo: np.ndarray) -> Iterator[tuple[bytes, bool]]:
        import ray
        from ray.data import DataContext

        DataContext.get_current().enable_progress_bars = False
        num_actors = self._actors()
        rows = min(_MAX_ROWS, -(-len(todo) // num_actors))
        tables = [_table(videos, todo[begin : begin + rows]) for begin in range(0, len(todo), rows)]
        results = ray.data.from_arrow(tables).map_batches(
            _Actor,
            fn_constructor_args=(self._make, self._output, os.getcwd()),
            batch_size=None,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=num_actors),
            num_cpus=self._cpus,
            num_gpus=int(self._gpu),
        )
        for batch in results.iter_batches(batch_size=None, batch_format="numpy"):
            yield from zip(batch["line"].tolist(), batch["good"].tolist())

    def _actors(self) -> int:
        import ray

        resources = ray.cluster_resources()
        fitting = int(resources.get("CPU", 0) // self._cpus)
        if self._gpu:
            fitting = min(fitting, int(resources.get("GPU", 0)))
        if fitting < (self._num_actors or 1):
            needs = f"{self._cpus} CPUs{' and a GPU' if self._gpu else ''}"
            raise UserError(
                f"--ray: {self._num_actors or 1} actors of {needs} each, but the cluster has room for {fitting}; lower "
                "--ray or --num_workers"
            )
        return self._num_actors or fitting


def require_ray() -> None:
    """
    Raises:
        UserError: Ray Data is not installed.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError:
        raise UserError("--ray needs Ray Data: pip install 'ray[data]>=2.9'") from None


def _table(videos: VideoInputs, indices: np.ndarray) -> Any:
    """An Arrow table of inputs, not looked up yet: text as bytes, and the list that it is in."""
    import pyarrow

    rows = [videos.row(int(index)) for index in indices]
    texts, files, occurrences = zip(*rows)
    return pyarrow.table(
        {"index": indices, "text": list(texts), "file": [str(file or "") for file in files], "occurrence": occurrences}
    )


class _Rows(Sequence[str]):
    """The inputs of a batch by their index among all."""

    def __init__(self, batch: dict[str, np.ndarray]):
        columns = [batch[name].tolist() for name in ("index", "text", "file", "occurrence")]
        self._rows = {index: row for index, *row in zip(*columns)}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> str:
        return self.at(index).path

    def at(self, index: int) -> VideoInput:
        """An input, its path looked up."""
        text, file, occurrence = self._rows[index]
        return read_input(os.fsdecode(text), Path(file) if file else None, occurrence)


class _Actor:
    """A predictor in a process of the cluster."""

    def __init__(self, make: Callable[[], Predictor], output: Output, folder: str):
        set_cpu_environment()
        os.chdir(folder)
        self._predictor, self._output = make(), output

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        found = list(lines_of(self._predictor, _Rows(batch), batch["index"], self._output))
        lines, good = zip(*found)
        return {"line": np.array(lines, object), "good": np.array(good)}


def _cause(error: BaseException) -> str:
    """The message of the error that an actor raised."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
