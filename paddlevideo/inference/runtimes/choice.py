"""Which runtime a model runs with: what was timed on this machine, under what the caller names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from paddlevideo.environment import available_cores, cpu_name
from paddlevideo.errors import UserError
from paddlevideo.inference.runtimes.base import (
    BACKENDS,
    LIBRARIES,
    PRECISIONS,
    Backend,
    ExportedModel,
    Runtime,
    Say,
    installed,
)
from paddlevideo.inference.runtimes.onnx import CONVERTER, INT8_SUFFIX, SUFFIX, OnnxModel
from paddlevideo.inference.runtimes.openvino import OpenVinoModel
from paddlevideo.inference.runtimes.paddle import PARAMS_SUFFIX, PROGRAM_SUFFIXES, PaddleModel

# how much faster than Paddle's plain run another choice must be: less is noise
_LEAST_GAIN = 1.03


@dataclass(frozen=True)
class Timed:
    """A way to run a model, and how it did.

    Args:
        ms: fastest run of one clip, by the wall clock; None: it failed.
        max_difference: largest absolute difference of a score to the network's.
        agrees: whether the difference can come from rounding.
        error: why it failed.
    """

    backend: Backend
    enable_mkldnn: bool = False
    precision: str = "fp32"
    cpu_threads: int = 1
    ms: float | None = None
    max_difference: float | None = None
    agrees: bool = False
    error: str | None = None

    def __str__(self) -> str:
        name = {"paddle": "Paddle", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}[self.backend]
        return name + (" with oneDNN" if self.enable_mkldnn else "") + (", bf16" if self.precision == "bf16" else "")

    def runtime(self, base: Runtime) -> Runtime:
        """``base`` with these settings."""
        mkldnn = self.enable_mkldnn if self.backend == "paddle" else None
        return replace(
            base, backend=self.backend, enable_mkldnn=mkldnn, precision=self.precision, cpu_threads=self.cpu_threads
        )


def plain(rows: Iterable[Timed]) -> Timed | None:
    """Paddle without oneDNN, on the most threads; None where it failed."""
    rows = [row for row in rows if row.backend == "paddle" and not row.enable_mkldnn and row.ms is not None]
    return max(rows, key=lambda row: row.cpu_threads, default=None)


def fastest(rows: Iterable[Timed]) -> Timed | None:
    """The fastest of those in float32 that agree; Paddle's plain run where none is clearly faster."""
    rows = leading(rows)
    best, usual = rows[0] if rows else None, plain(rows)
    return usual if best and usual and usual.ms < best.ms * _LEAST_GAIN else best


def leading(rows: Iterable[Timed], count: int | None = None) -> list[Timed]:
    """Those in float32 that agree, the fastest first."""
    rows = [row for row in rows if row.ms is not None and row.agrees and row.precision == "fp32"]
    return sorted(rows, key=lambda row: row.ms)[:count]


def described(rows: Iterable[Timed], clip: str) -> dict[str, Any]:
    """The section ``runtime`` of ``inference.yml``; empty if nothing agrees.

    Args:
        clip: what one run took.
    """
    rows = list(rows)
    best = fastest(rows)
    if best is None:
        return {}
    chosen = {key: value for key, value in asdict(best).items() if key in _KEYS}
    table = [{key: value for key, value in asdict(row).items() if value is not None} for row in rows]
    return {**chosen, "cpu": cpu_name(), "cores": available_cores(), "clip": clip, "timed": table}


_KEYS = ("backend", "enable_mkldnn", "precision", "cpu_threads")


def rows_of(section: Mapping[str, Any], where: str) -> list[Timed]:
    """The table of a section.

    Raises:
        UserError: it is not one.
    """
    damaged = UserError(f"{where}: runtime: damaged; remove this key, or export the model again")
    try:
        rows = [Timed(**row) for row in section["timed"]]
    except (KeyError, TypeError):
        raise damaged from None
    if not all(_is_sound(row) for row in rows):
        raise damaged
    return rows


def _is_sound(row: Timed) -> bool:
    """Whether the fields of a row that was read have their types and ranges."""
    numbers = [value for value in (row.ms, row.max_difference) if value is not None]
    return (
        row.backend in BACKENDS
        and row.precision in PRECISIONS
        and type(row.enable_mkldnn) is bool
        and type(row.agrees) is bool
        and type(row.cpu_threads) is int
        and row.cpu_threads > 0
        and all(type(value) in (int, float) and 0 <= value < math.inf for value in numbers)
        and isinstance(row.error, str | None)
    )


def resolved(runtime: Runtime, section: Mapping[str, Any], files: Path, where: Path, say: Say) -> Runtime:
    """The runtime with a value for all that it leaves open.

    What the caller names holds.  The rest is that of the fastest way that was timed on this processor and can run
    here; without such a table, Paddle without oneDNN on all cores, and where its files are gone, the first of ONNX
    Runtime and OpenVINO that has its files and is installed.

    Args:
        section: ``runtime`` of ``inference.yml``; may be empty.
        files: the program without its ending.
        where: ``inference.yml``.
        say: receives a line where the chosen way cannot run here.
    """
    usual = replace(runtime, backend=runtime.backend or _usual(files))
    if not section or runtime.device() != "cpu":
        return usual
    rows = [row for row in rows_of(section, str(where)) if row.ms is not None and _fits(row, runtime)]
    if not rows:
        return usual
    again = f"paddlevideo export --time {where.parent} times them anew"
    if section.get("cpu") != cpu_name():
        if runtime.backend is None:
            say(f"{where}: runtimes were timed on {section.get('cpu')}, not on this {cpu_name()}: "
                f"{_named(usual)} is used; {again}")  # fmt: skip
        return usual
    best = fastest(rows) if runtime.precision == "fp32" else min(rows, key=lambda row: row.ms)
    here = [row for row in rows if _lacking(row, files) is None]
    chosen = fastest(here) if runtime.precision == "fp32" else min(here, key=lambda row: row.ms, default=None)
    if best is not None and chosen != best and runtime.backend is None:
        say(f"{where}: {best} was the fastest, but {_lacking(best, files)}: "
            f"{chosen or _named(usual)} is used; {again}")  # fmt: skip
    if chosen is None:
        return usual
    threads = runtime.cpu_threads or min(chosen.cpu_threads, available_cores())
    return replace(chosen.runtime(runtime), cpu_threads=threads)


def _fits(row: Timed, runtime: Runtime) -> bool:
    """Whether a row is as the caller names, where it names something."""
    if runtime.precision != row.precision or (runtime.precision == "fp32" and not row.agrees):
        return False
    if runtime.backend is not None and runtime.backend != row.backend:
        return False
    return runtime.enable_mkldnn is None or (row.backend == "paddle" and runtime.enable_mkldnn == row.enable_mkldnn)


def _lacking(row: Timed, files: Path) -> str | None:
    """Why a row cannot run here; None if it can."""
    if not installed(row.backend):
        return f"{row.backend} is not installed"
    if not files_of(row.backend, files):
        return f"{form_files(row.backend, files)[0].name} is not there"
    return None


def _usual(files: Path) -> Backend:
    """The first backend that has its files and is installed; ``paddle`` if none has."""
    able = (backend for backend in BACKENDS if files_of(backend, files) and installed(backend))
    return next(able, "paddle")


def _named(runtime: Runtime) -> str:
    return str(Timed(runtime.backend or "paddle", bool(runtime.enable_mkldnn), runtime.precision))


def onnx_file(files: Path, precision: str = "fp32") -> Path:
    """``NAME.onnx`` of a program ``NAME``; in int8 ``NAME.int8.onnx``."""
    return files.with_name(files.name + (INT8_SUFFIX if precision == "int8" else SUFFIX))


def form_files(backend: Backend, files: Path) -> tuple[Path, ...]:
    """What export writes for a backend: ``NAME.json`` and ``.pdiparams``, ``.onnx``, or ``.xml`` and ``.bin``.

    Args:
        files: the program without its ending.
    """
    suffixes = {"paddle": (PROGRAM_SUFFIXES[0], PARAMS_SUFFIX), "onnx": (SUFFIX,), "openvino": (".xml", ".bin")}
    return tuple(files.with_name(files.name + suffix) for suffix in suffixes[backend])


def files_of(backend: Backend, files: Path, precision: str = "fp32") -> tuple[Path, ...]:
    """The files that a backend runs, all of them there; none if one is missing.

    OpenVINO runs ``NAME.onnx`` where its own files are not there.
    """
    choices = [form_files(backend, files)]
    if backend == "onnx":
        choices = [(onnx_file(files, precision),)]
    if backend == "paddle":  # Paddle 2's format; weights may have another name
        choices = [(files.with_name(files.name + suffix),) for suffix in PROGRAM_SUFFIXES]
    if backend == "openvino":
        choices.append((onnx_file(files),))
    return next((found for found in choices if all(file.is_file() for file in found)), ())


def open_model(program: Path, params: Path, runtime: Runtime, say: Say) -> ExportedModel:
    """The model in the form that the runtime's backend takes.

    Raises:
        UserError: files that are missing or damaged, a runtime that is not there.
    """
    backend, stem = runtime.backend or "paddle", program.with_suffix("")
    runtime.device()
    found = files_of(backend, stem, runtime.precision)
    if not found and backend == "onnx" and runtime.precision == "int8":
        raise UserError(
            f"{onnx_file(stem, 'int8')}: not there, and precision int8 needs it; paddlevideo export --int8 "
            f"{stem.parent} --calibration LIST makes it"
        )
    if not found:
        raise _not_there(backend, stem)
    if backend == "paddle":
        return PaddleModel(program, params, runtime, say)
    return (OnnxModel if backend == "onnx" else OpenVinoModel)(found[0], runtime)


def _not_there(backend: Backend, stem: Path) -> UserError:
    """The refusal of a backend without its files, with the ways out."""
    file, again = form_files(backend, stem)[0], "export the model again"
    ways = [f"use {_shown(other)}" for other in BACKENDS if files_of(other, stem)]
    if backend != "paddle":
        again += f" with --format {backend} (pip install {CONVERTER} {LIBRARIES[backend]})"
        if files_of("paddle", stem):
            again = f"paddlevideo export --time {stem.parent} makes {onnx_file(stem).name}, or {again}"
    return UserError(f"{file}: not there, and backend {backend} needs it; {'; or '.join([*ways, again])}")


def _shown(backend: Backend) -> str:
    return f"--backend {backend}" + ("" if installed(backend) else f" (pip install {LIBRARIES[backend]})")
