"""How every command ends: one line and an exit code, never a traceback for a user's mistake."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.build import normalization_of
from paddlevideo.config import Config, load_config
from paddlevideo.config.checking import SPLITS, pipeline_problems
from paddlevideo.config.config import Assigned
from paddlevideo.engine.escaping import escaped_output
from paddlevideo.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, ConfigError, UserError
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.memory import is_out_of_memory, reason
from paddlevideo.solver.check import check_lr, check_optimizer
from paddlevideo.solver.lengths import Run, broken, differences

# names of packages that differ from their modules'
_PIP = {"paddle": "paddlepaddle (or paddlepaddle-gpu)", "cv2": "opencv-python-headless", "yaml": "pyyaml",
        "PIL": "pillow"}  # fmt: skip


@escaped_output()
def run_command(main: Callable[[], int | None]) -> int:
    """Runs a command's ``main`` and turns its outcome into an exit code.

    Returns:
        0 or what ``main`` returned, or another of ``EXIT_CODES``; a ``UserError``, or what the disk, memory or
        installation lacks, is printed to stderr in one line.
    """
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        line = _of_the_system(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return EXIT_USER_ERROR


def _of_the_system(error: Exception) -> str | None:
    """One line for what disks, memory and the installation lack; None where it is a bug."""
    if is_out_of_memory(error):
        return f"out of memory ({reason(error)}); lower the batch size, the number of frames or their size"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("paddlevideo"):
        package = error.name.partition(".")[0]
        return f"the Python package {package!r} is not installed here: pip install {_PIP.get(package, package)}"
    if isinstance(error, OSError) and error.errno is not None:
        path = error.filename2 or error.filename
        return f"{path}: {error.strerror}" if path is not None else str(error.strerror)
    return None


def load_run_config(
    path: str | Path, overrides: Sequence[str] = (), uses: Sequence[str] = SPLITS, imports: Sequence[str] = ()
) -> Config:
    """The configuration of a training or test run, its OPTIMIZER and SWA.lr checked with the rest; imports no Paddle.

    Args:
        uses: the pipelines that the command runs: a test's network need not fit PIPELINE.train, nor its schedule.
        imports: modules with a user's own classes, besides those that the file imports.

    Raises:
        ConfigError: every mistake of it.
    """
    checks = (_optimizer, _normalization, *([_lengths] if "train" in uses else []))
    return load_config(path, overrides, checks=checks, uses=uses, imports=imports)


def length_remarks(config: Mapping[str, Any], steps_per_epoch: int | None = None) -> list[str]:
    """One line for each length of a schedule that is not the run's (``solver.lengths``)."""
    schedules = _schedules(config, config.get("epochs"))
    return [
        line
        for where, section, epochs in schedules
        for line in differences(section, where, Run(epochs, steps_per_epoch))
    ]


def _optimizer(data: Mapping[str, Any], assigned: Assigned) -> list[str]:
    problems = check_optimizer(data["OPTIMIZER"]) if "OPTIMIZER" in data else []
    section = data.get("SWA")
    return problems + (check_lr(section["lr"], "SWA.lr") if isinstance(section, Mapping) and "lr" in section else [])


def _normalization(data: Mapping[str, Any], assigned: Assigned) -> list[str]:
    """What the pipelines refuse when they are built, and how they normalise: a network does it in one way."""
    sections = data.get("PIPELINE")
    if not isinstance(sections, Mapping) or pipeline_problems(data, ()):
        return []
    pipelines, problems = {}, []
    for split, steps in sections.items():
        try:
            pipelines[split] = Pipeline(steps, f"PIPELINE.{split}")
        except ConfigError as error:
            problems += error.problems
    try:
        normalization_of(pipelines, "")
    except ConfigError as error:
        problems += error.problems
    return problems


def _lengths(data: Mapping[str, Any], assigned: Assigned) -> list[str]:
    """The lengths that ``-o epochs=N`` leaves behind; of sound schedules alone."""
    before = assigned.file.get("epochs")
    if "epochs" not in assigned.paths or not _is_length(before) or _optimizer(data, assigned):
        return []
    lasted = {where: epochs for where, _, epochs in _schedules(assigned.file, before)}
    return [
        line
        for where, section, epochs in _schedules(data, data["epochs"])
        for line in broken(section, where, lasted.get(where, epochs), epochs, assigned.paths)
    ]


def _schedules(data: Mapping[str, Any], epochs: Any) -> Iterator[tuple[str, Any, int]]:
    """Key path and section of each schedule, and the epochs that it holds for."""
    optimizer, swa = data.get("OPTIMIZER"), data.get("SWA")
    if not _is_length(epochs):
        return
    if isinstance(optimizer, Mapping) and "learning_rate" in optimizer:
        yield "OPTIMIZER.learning_rate", optimizer["learning_rate"], epochs
    if isinstance(swa, Mapping) and "lr" in swa:
        start = swa.get("start_epoch")
        last = epochs - start + 1 if _is_length(start) else swa.get("last_epochs")
        if _is_length(last):
            yield "SWA.lr", swa["lr"], last


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
