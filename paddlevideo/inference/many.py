"""Predictions of many videos into a file that grows line by line: continued after a stop, split over ranks."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from paddlevideo import environment
from paddlevideo.errors import UserError
from paddlevideo.inference.inputs import KEY_BYTES, VideoInput, VideoInputs
from paddlevideo.inference.predictions import Threshold
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.result_lines import FORMAT, Head, ResultLines, heads_of, line_of, part_path, parts_of
from paddlevideo.inference.runtimes.base import Say, to_stderr
from paddlevideo.loader.decode.reader import backend_of_config

_REPORT_S = 10.0
_BLOCK = 1 << 14  # results that are looked up at once
_NONE, _FAILED, _DONE = range(3)


@dataclass(frozen=True)
class Output:
    """What a line has, and which videos are predicted.

    Args:
        top_k, threshold: which classes, as ``Prediction.best``; with all scores where ``scores``.
        retry_failed: predict the videos again that have an error in the file.
        rank, num_ranks: this process's share of the videos; None: as Paddle's launcher set them.
        on_error: ``skip``: a video that cannot be read is a line with ``error``; ``raise``: it ends the run.
    """

    top_k: int | None = None
    threshold: Threshold | None = None
    scores: bool = True
    retry_failed: bool = False
    rank: int | None = None
    num_ranks: int | None = None
    on_error: Literal["raise", "skip"] = "skip"

    def share(self) -> tuple[int, int]:
        """Rank and number of ranks.

        Raises:
            UserError: one without the other, or out of range.
        """
        if (self.rank is None) != (self.num_ranks is None):
            raise UserError("--rank and --num_ranks: give both, or none")
        if self.rank is None:
            return environment.rank(), environment.world_size()
        if not 0 <= self.rank < self.num_ranks:
            raise UserError(f"--rank {self.rank}: expected 0 to {self.num_ranks - 1} (--num_ranks {self.num_ranks})")
        return self.rank, self.num_ranks


@dataclass(frozen=True)
class Counts:
    """Videos of this process's share: all, those in the file before, results and errors of this run."""

    total: int
    before: int
    predicted: int
    failed: int


Line = tuple[bytes, bool]  # and whether it is a result


class Inputs(Protocol):
    """Paths of videos by their index among all."""

    def __getitem__(self, index: int) -> str: ...

    def at(self, index: int) -> VideoInput:
        """An input with its path and label."""


def lines_of(predictor: Predictor, videos: Inputs, indices: np.ndarray, output: Output) -> Iterator[Line]:
    """The lines of these inputs, as they are done: a slow video delays no other one."""
    for index, prediction in predictor.numbered(videos, output.on_error, indices=indices, ordered=False):
        line = line_of(videos.at(index), prediction, output.top_k, output.threshold, output.scores)
        yield line, prediction.error is None


def predict_many(
    predictor: Predictor,
    inputs: Sequence[str | Path],
    out: str | Path,
    output: Output | None = None,
    say: Say = to_stderr,
    lines: Callable[[VideoInputs, np.ndarray], Iterator[Line]] | None = None,
) -> Counts:
    """Predicts the videos that are not in the file yet; each is a line, also one that fails.

    Args:
        predictor: of ``paddlevideo.load``.
        inputs: videos, folders and list files; numbers after a path in a list are the ``label`` of its line.
        out: ends in .jsonl.
        say: receives the progress.
        lines: makes the lines of these inputs; None: in this process.

    Raises:
        UserError: the file is of another model or other options, or another process writes it; all videos fail.
    """
    output = output or Output()
    if Path(out).suffix.lower() != ".jsonl":
        raise UserError(f"{out}: expected a name that ends in .jsonl")
    videos = VideoInputs(inputs, say)
    run = ManyRun(videos, Path(out), run_of(predictor, output), output, say)
    made = lines(videos, run.todo) if lines else lines_of(predictor, videos, run.todo, output)
    with contextlib.closing(made):
        return run.write(made)


def run_of(predictor: Predictor, output: Output) -> dict[str, Any]:
    """What decides the results, and not their speed."""
    return {
        "format": FORMAT,
        "version": 1,
        "model": predictor.name,
        "weights": predictor.origin.digest()[:16],
        "preprocessing": _digest([_steps_here(predictor.pipeline.describe()), predictor.seed, predictor.damaged]),
        "classes": _digest(list(predictor.names) if predictor.names is not None else None),
        "top_k": output.top_k,
        "threshold": output.threshold,
        "scores": output.scores,
    }


def _steps_here(steps: Mapping[str, Any]) -> Any:
    """A pipeline with the backends that read here in place of the named ones."""

    def replaced(step: dict[str, Any]) -> dict[str, Any]:
        return {**step, "backend": backend_of_config(step["backend"])} if "backend" in step else step

    return json.loads(json.dumps(steps, default=str), object_hook=replaced)


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


class ManyRun:
    """The file of a run, and the videos that are not in it.

    Attributes:
        todo: int64, indices of the videos that this process predicts.
    """

    def __init__(self, videos: VideoInputs, out: Path, run: dict[str, Any], output: Output, say: Say):
        rank, num_ranks = output.share()
        self._file, self._say = ResultLines(part_path(out, rank, num_ranks), run), say
        state = _State(videos)
        try:
            state.add(self._file.heads())
            for path, ranks in parts_of(out).items():
                if path != self._file.path:
                    state.add(heads_of(path, run, others_write=ranks == num_ranks > 1))
        except BaseException:
            self._file.close()
            raise
        mine = np.arange(rank, len(videos), num_ranks)
        status = state.of_inputs[mine]
        wanted = status != _DONE if output.retry_failed else status == _NONE
        self.todo, self._total = mine[wanted], len(mine)
        self._any_done, self._is_rank = bool((state.of_inputs == _DONE).any()), num_ranks > 1
        if (status != _NONE).any():
            where = out if num_ranks == 1 else f"the files of {out}"
            failed = int((status == _FAILED).sum())
            errors = (
                f", {failed} of them with an error{'' if output.retry_failed or not failed else ' (--retry_failed)'}"
            )
            say(
                f"{int((status != _NONE).sum())} of {len(mine)} are in {where}{errors if failed else ''}; "
                f"{len(self.todo)} to go"
            )

    def write(self, lines: Iterable[Line]) -> Counts:
        """Appends the lines of ``todo``, each with whether it is a result.

        Raises:
            UserError: no video could be read, in this run or before; not of a rank: the launcher would end the others.
        """
        counts, begun_s = [0, 0], time.monotonic()
        reported_s = begun_s
        try:
            for line, good in lines:
                self._file.append(line)
                counts[not good] += 1
                if time.monotonic() - reported_s > _REPORT_S:
                    reported_s = time.monotonic()
                    self._report(sum(counts), counts[1], reported_s - begun_s)
        finally:
            self._file.close()
        if sum(counts):
            self._report(sum(counts), counts[1], time.monotonic() - begun_s)
        if not counts[0] and not self._any_done and not self._is_rank:
            raise UserError(f"none of {self._total} videos could be read; {self._file.path} has the reasons")
        return Counts(self._total, self._total - len(self.todo), *counts)

    def _report(self, done: int, failed: int, seconds: float) -> None:
        errors = f", {failed} with an error" if failed else ""
        rate = done / max(seconds, 1e-9)
        self._say(f"{done} of {len(self.todo)} videos in {self._file.path}{errors}; {rate:.1f} videos/s")


class _State:
    """Whether each input has a line."""

    def __init__(self, videos: VideoInputs):
        keys, self._videos = videos.keys(), videos
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self.of_inputs = np.full(len(keys), _NONE, np.int8)

    def add(self, heads: Iterator[Head]) -> None:
        """Takes lines; those of other inputs count nothing, and a result counts more than an error."""
        while block := list(islice(heads, _BLOCK)):
            keys = np.array([key for key, _, _ in block], f"S{KEY_BYTES}")
            ranges = np.searchsorted(self._keys, keys).tolist(), np.searchsorted(self._keys, keys, "right").tolist()
            for (_, path, good), begin, end in zip(block, *ranges):
                for index in self._order[begin:end].tolist():
                    if self._videos.can_be_at(index, path):
                        self.of_inputs[index] = max(self.of_inputs[index], _DONE if good else _FAILED)
